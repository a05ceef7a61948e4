//! The bare-metal guest that `mynah boot` carries: its way through the processor's modes, its
//! interrupts, faults and console, on every tier; and how a guest ends its machine.

mod machine;

use machine::Machine;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// What the guest says when it has started.
const PROMPT: &str = "Type `help`";

/// Runs `mynah boot` with these options and types each text of `input` as soon as the guest asks
/// for the next; its output and status.
fn boot(options: &[&str], input: &[&str]) -> (String, ExitStatus) {
    let mut machine = Machine::carried(options);
    for text in input {
        machine.wait_for(PROMPT);
        machine.type_in(text);
    }
    let status = machine.wait();
    (machine.output(), status)
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

/// Whether this process ignores the signal.
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("it is there");
    u64::from_str_radix(mask.trim(), 16).expect("a mask") >> (number - 1) & 1 != 0
}

#[test]
fn a_signal_ends_the_machine_in_order() {
    let picture = machine::socket("signal.png");
    let path = picture.display().to_string();
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        // Under nohup the machine ignores what we do.
        if is_ignored(number) {
            continue;
        }
        let mut machine = Machine::carried(&["--screenshot", &path]);
        machine.wait_for("Type `help`");
        machine.signal(name);
        let status = machine.wait();
        assert_eq!(status.signal(), Some(number), "{status}: {}", machine.errors());
        let bytes = std::fs::read(&picture).expect("there is a picture");
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
        std::fs::remove_file(&picture).expect("it is ours");
    }
}
