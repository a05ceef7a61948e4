//! The bare-metal guest that `mynah boot` carries: its way through the processor's modes, its
//! interrupts, faults and console, on every tier; and how a guest ends its machine.

use std::io::{Read as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A machine that runs longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the guest says when it has started.
const PROMPT: &str = "Type `help`";

/// Runs `mynah boot` with these options and types each text of `input` as soon as the guest asks
/// for the next; its output and status.
fn boot(options: &[&str], input: &[&str]) -> (String, ExitStatus) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mynah"))
        .args(["boot", "--memory", "16M"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("mynah starts");
    // The guest ends the machine, not the end of the input.
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let mut stdout = child.stdout.take().expect("it is a pipe");
    let (more, chunks) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            let _ = more.send(buffer[..count].to_vec());
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut output = Vec::new();
    let mut texts = input.iter();
    let mut prompts = 0;
    loop {
        let wanted = String::from_utf8_lossy(&output).matches(PROMPT).count();
        if wanted > prompts {
            prompts = wanted;
            if let Some(text) = texts.next() {
                stdin.write_all(text.as_bytes()).expect("the pipe has room for a few lines");
            }
        }
        match chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(chunk) => output.extend(chunk),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                break;
            }
        }
    }
    let status = child.wait().expect("it is our child");
    (String::from_utf8_lossy(&output).replace('\r', ""), status)
}

/// Boots on a tier and checks what the guest shows.
fn guest(options: &[&str]) {
    let (output, status) = boot(options, &["help\nfault\ntime\nmandelbrot\nnonsense\npoweroff\n"]);
    for line in [
        "  protected mode: 32-bit code, flat segments, started by a multiboot loader",
        "  real mode: 16-bit code, which prints this by its own INT 80h",
        "  long mode: 64-bit code, the first GiB mapped by pages of 2 MiB",
        "  interrupts: 8259s, an 8254 at 100 Hz, a 16550",
        "  poweroff     turns the machine off",
        "All three were caught, and the guest goes on.",
        // A line of the picture, whose numbers come out the same everywhere.
        PICTURE,
        "`nonsense` is no command: `help` lists them.",
    ] {
        assert!(output.lines().any(|l| l == line), "`{line}` is missing in: {output}");
    }
    let mut rest = output.as_str();
    for part in ["#PF, page fault", "error code 0", "cr2=50000000", "#UD, invalid", "#DE, divide"] {
        let at = rest.find(part).unwrap_or_else(|| panic!("no {part} in: {output}"));
        rest = &rest[at..];
    }
    assert!(status.success(), "{status}: {output}");
}

const PICTURE: &str = "   ...,,,,,,,,,,,:::++*o+*@+@++++%@@@@@@@@@@@@@@@@@@@@@@@@@*+:,,,,......";

#[test]
fn the_guest_runs_on_tier_0() {
    guest(&["--tier", "0"]);
}

#[test]
fn the_guest_runs_on_tier_1() {
    guest(&["--tier", "1"]);
}

#[test]
fn the_guest_runs_on_all_tiers() {
    guest(&["--threshold", "5"]);
}

#[test]
fn the_guest_is_told_its_command_line_and_uses_the_exit_device() {
    let (output, status) = boot(&["--append", "one two", "--smp", "2"], &["exit 3\n"]);
    assert!(output.contains("  command line: guest one two\n"), "{output}");
    assert_eq!(status.code(), Some(7), "{output}");
}

#[test]
fn a_reboot_starts_anew() {
    let (output, status) = boot(&[], &["reboot\n", "poweroff\n"]);
    assert_eq!(output.matches("  long mode:").count(), 2, "{output}");
    assert!(status.success(), "{status}: {output}");
}

#[test]
fn escapes_are_kept_from_the_guest() {
    let (output, status) = boot(&[], &["\x01h\x01x"]);
    assert!(output.contains("ends the machine"), "{output}");
    assert!(status.success(), "{status}: {output}");
}
