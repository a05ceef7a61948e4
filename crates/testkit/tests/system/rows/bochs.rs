//! Bochs as an oracle: a Python process with `bochscpu-python`, which runs rows for us.

use super::image;
use super::state::{Outcome, Row};
use mynah_testkit::subject::hex;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The Python interpreter that has `bochscpu`.
const PYTHON: &str = "BOCHS_PYTHON";

/// What Bochs does with each of `rows`.
pub(crate) fn outcomes(rows: &[&Row]) -> Vec<Result<Outcome, String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/insn/system/bochs.py");
    let python = std::env::var_os(PYTHON).unwrap_or("python3".into());
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{PYTHON} names no Python that starts: {error}"));
    let mut requests = format!("image {}\n", hex(image::image()));
    for row in rows {
        requests.push_str(&row.request());
        requests.push('\n');
    }
    let mut input = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || input.write_all(requests.as_bytes()));
    let output = child.wait_with_output().expect("what Bochs says");
    drop(writer.join());
    let text = String::from_utf8_lossy(&output.stdout);
    let answers: Vec<&str> = text.lines().collect();
    assert_eq!(answers.len(), rows.len(), "one answer to each row; is bochscpu installed?");
    let read = |(row, answer): (&&Row, &&str)| Outcome::read(answer, &row.memory());
    rows.iter().zip(&answers).map(read).collect()
}
