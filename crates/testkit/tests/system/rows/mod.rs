//! Rows about the system: faults, segments, paging and interrupts, judged by Bochs. Their files and
//! format are described in `tests/insn/system/README.md`.
//!
//! `BLESS=1 BOCHS_PYTHON=python cargo test -p mynah-testkit --test system rows` asks Bochs about all
//! rows and fills in what it says.

mod bochs;
mod compiled;
mod image;
mod state;

use crate::machine::{Ended, Machine, Style};
use compiled::Compiled;
use image::CODE;
use mynah_testkit::rows::{files, line_text, rewrite, split_comment};
use state::{End, Outcome, Row, State};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

/// Blocks that a row may execute.
const TURNS: u32 = 64;

/// The rows of a file. A list `a|b` in a row without a right side makes it a row for each.
fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut header = None;
    for (index, whole) in text.lines().enumerate() {
        let line = index + 1;
        let content = split_comment(whole).0.trim();
        let fail = |error: String| format!("line {line}: {error}");
        if content.is_empty() {
            continue;
        }
        if let Some(rest) = content.strip_prefix('[') {
            let (code, rest) = rest.split_once(']').ok_or_else(|| fail("no ]".into()))?;
            let code = mynah_testkit::rows::bytes(&code.replace(' ', "")).map_err(fail)?;
            header = Some((code, !rest.contains("{no-bochs}")));
            continue;
        }
        let (code, bochs) = header.as_ref().ok_or_else(|| fail("no header before it".into()))?;
        for text in expanded(content) {
            rows.push(Row::parse(line, code, *bochs, &text).map_err(fail)?);
        }
    }
    Ok(rows)
}

/// The rows that a line without a right side stands for.
fn expanded(text: &str) -> Vec<String> {
    if text.contains("=>") {
        return vec![text.into()];
    }
    let mut rows = vec![String::new()];
    for word in text.split_whitespace() {
        let (name, values) = match word.split_once('=') {
            Some((name, values)) => (format!("{name}="), values),
            None => (String::new(), word),
        };
        let with = |row: &String| {
            let values = values.split('|');
            values.map(|value| format!("{row} {name}{value}")).collect::<Vec<_>>()
        };
        rows = rows.iter().flat_map(with).collect();
    }
    rows
}

/// What Mynah does with the row.
fn run(machine: &mut Machine, row: &Row) -> Outcome {
    let before = row.memory();
    machine.reset();
    machine.fill(&before);
    row.state.load(&before, &mut machine.cpu);
    machine.begin(row.state.pc);
    machine.limit_to(CODE..CODE + row.code.len() as u64);
    let end = match machine.run_for(TURNS) {
        Ended::Outside => End::At,
        Ended::Halted => End::Halt,
        Ended::Shutdown => End::Shutdown,
        Ended::Endless => End::Endless,
    };
    let mut memory = before;
    machine.load(0, &mut memory);
    Outcome { end, state: State::save(&mut machine.cpu), memory }
}

/// `text` as Bochs has it. Rows that hold there stay as they are.
fn bless(text: &str, path: &Path) -> String {
    let rows = parse(text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let asked: Vec<&Row> = rows.iter().filter(|row| row.bochs).collect();
    let mut lines: HashMap<usize, String> = HashMap::new();
    for (row, outcome) in asked.iter().zip(bochs::outcomes(&asked)) {
        let right = match outcome.map(|outcome| row.check(&outcome)) {
            Ok(Ok(())) => continue,
            Ok(Err(right)) => right,
            Err(error) => {
                eprintln!("{}, line {}: {}: {error}", path.display(), row.line, row.input);
                continue;
            }
        };
        let line = lines.entry(row.line).or_default();
        if !line.is_empty() {
            line.push('\n');
        }
        line.push_str(&line_text(&row.input, &right, ""));
    }
    rewrite(text, |line| lines.get(&line).cloned())
}

fn check_file(path: &Path, failures: &mut String) {
    let mut text = std::fs::read_to_string(path).expect("a file of rows");
    if std::env::var_os("BLESS").is_some() {
        let blessed = bless(&text, path);
        if blessed != text {
            std::fs::write(path, &blessed).expect("the file can be written");
            text = blessed;
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let rows = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut machines = [Style::Single, Style::Blocks].map(|style| (style, Machine::new(style)));
    let mut compiled = Compiled::new();
    for row in &rows {
        let expected = row.expected.as_ref().map_or("(BLESS=1)".into(), |e| e.join(" "));
        if let Err(error) = row.check_words() {
            let _ = writeln!(failures, "{name} line {}: {error}", row.line);
        }
        let mut runners: Vec<(String, Box<dyn FnMut() -> Outcome + '_>)> = Vec::new();
        for (style, machine) in &mut machines {
            runners.push((format!("{style:?}"), Box::new(|| run(machine, row))));
        }
        runners.push(("compiled".into(), Box::new(|| compiled.run(row))));
        for (style, mut run) in runners {
            let Err(right) = row.check(&run()) else { continue };
            let _ = writeln!(
                failures,
                "{name} line {}, {style}: {}\n  {}\n  expected {expected}\n  it did   {right}",
                row.line,
                mynah_testkit::subject::hex(&row.code),
                row.input
            );
            // Both do the same wrong, as a rule.
            break;
        }
    }
}

#[test]
fn the_system_does_what_rows_say() {
    let mut failures = String::new();
    let only = std::env::var("ROWS").ok();
    for path in files("system") {
        let name = path.to_string_lossy();
        if only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            check_file(&path, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
