//! Bare-metal programs for the x86 vCPU of the system machine. Each file of `programs` is a listing
//! of the GNU assembler (`as -aln=NAME.lst --listing-lhs-width=4 NAME.S`) of a program that is
//! loaded at 0x7c00, begins there in real mode, writes text to port 0xe9 and halts. Its first line
//! says what text is expected.

mod hostile;
mod machine;
mod rows;

use machine::{Ended, Machine, Style};
use std::path::Path;

/// Where programs are loaded.
const ORIGIN: u64 = 0x7c00;

/// The bytes of a listing.
fn assemble(listing: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in listing.lines() {
        let (left, _) = line.split_once('\t').unwrap_or((line, ""));
        // A line number, an offset, and bytes; a continuation has no offset.
        let words: Vec<&str> = left.split_whitespace().collect();
        let code = match words.as_slice() {
            [_, offset, code @ ..] if offset.len() == 4 && !code.is_empty() => {
                let at = usize::from_str_radix(offset, 16).expect("an offset");
                bytes.resize(at.max(bytes.len()), 0);
                code
            }
            [_, code @ ..] => code,
            [] => &[],
        };
        for hex in code {
            for at in (0..hex.len()).step_by(2) {
                bytes.push(u8::from_str_radix(&hex[at..at + 2], 16).expect("bytes"));
            }
        }
    }
    bytes
}

/// The text that the program's first line promises.
fn expected(listing: &str) -> &str {
    let line = listing.lines().find(|line| line.contains("# expect: "));
    line.and_then(|line| line.split("# expect: ").nth(1)).expect("a line that says what to expect")
}

fn program(name: &str, end: Ended) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/programs").join(name);
    let listing = std::fs::read_to_string(&path).expect("the program's listing");
    let bytes = assemble(&listing);
    for style in [Style::Single, Style::Blocks] {
        let mut machine = Machine::new(style);
        machine.store(ORIGIN, &bytes);
        machine.start(ORIGIN);
        let ended = machine.run();
        let at = format!("{style:?} at {:#x}, {:x?}", machine.cpu.core.pc, machine.cpu.state);
        assert_eq!(machine.text(), expected(&listing).trim_end(), "{at}");
        assert_eq!(ended, end, "{at}");
    }
}

#[test]
fn long_mode() {
    program("long.lst", Ended::Halted);
}

#[test]
fn contexts() {
    program("contexts.lst", Ended::Halted);
}

#[test]
fn real_mode() {
    program("real.lst", Ended::Halted);
}

#[test]
fn protected_mode() {
    program("protected.lst", Ended::Halted);
}

#[test]
fn triple_fault() {
    program("fault.lst", Ended::Shutdown);
}
