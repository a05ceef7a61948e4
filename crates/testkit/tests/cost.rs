//! The golden cost file: what a guest instruction comes to at each stage.
//!
//! Each line of `tests/cost/*.txt` is an instruction with its counts; `BLESS=1` writes them anew. A
//! change of code generation shows as a change of these files.

#![cfg(target_arch = "x86_64")]

use mynah_guest::Guest;
use mynah_ir::{Block, Op};
use mynah_jit::{Compiler, Effort};
use mynah_riscv::RiscV;
use mynah_testkit::check::listing;
use mynah_testkit::pages::ENTRY;
use mynah_testkit::runner::lift;
use mynah_testkit::subject::Subject;
use mynah_x86::X86;
use std::fmt::Write as _;
use std::path::Path;

const HEADER: &str = "\
# Guest code, and what it comes to: ops as lifted, ops optimised, steps of tier 0, instructions of
# Cranelift's IR and bytes of host code on tier 1. Written by `BLESS=1 cargo test --test cost`.
";

#[test]
fn x86() {
    golden::<X86>();
}

#[test]
fn riscv() {
    golden::<RiscV>();
}

/// Compares the counts of every line of the guest's file.
fn golden<S: Subject>() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cost");
    let path = folder.join(format!("{}.txt", S::FOLDER));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut compiler = Compiler::<S>::new();
    let mut out = String::from(HEADER);
    for line in text.lines().filter(|line| line.starts_with('[')) {
        let digits = line[1..].split(']').next().unwrap_or_default();
        let code: Vec<u8> = digits
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|e| panic!("{line}: {e}")))
            .collect();
        let _ = writeln!(out, "{}", cost::<S>(&mut compiler, digits, &code));
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, out).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    } else {
        let differ = text.lines().zip(out.lines()).filter(|(old, new)| old != new);
        let lines: Vec<String> = differ.map(|(old, new)| format!("- {old}\n+ {new}")).collect();
        assert!(text == out, "costs changed; BLESS=1 accepts them\n{}", lines.join("\n"));
    }
}

fn cost<S: Subject>(compiler: &mut Compiler<S>, digits: &str, code: &[u8]) -> String {
    let lifted = lift::<S>(code, ENTRY, S::mode(&<S as Guest>::reset()));
    let name = format!("[{digits}]  {}", listing::<S>(code));
    let Ok(mut block) = lifted else { return format!("{name:<64} not lifted") };
    let before = ops(&block);
    mynah_opt::optimise::<S>(&mut block);
    let after = ops(&block);
    let steps = mynah_interp::flatten::<S>(&block).map_or(0, |code| code.step_count());
    let listing = compiler.explain(&[&block], Effort::Quick);
    let (clif, host) = listing.map_or((0, 0), |l| (l.clif_insts, l.host_len));
    format!("{name:<64} {before:>3} {after:>3} {steps:>3} {clif:>4} {host:>4}")
}

fn ops(block: &Block) -> usize {
    block.insts.iter().filter(|inst| inst.op != Op::Insn).count()
}
