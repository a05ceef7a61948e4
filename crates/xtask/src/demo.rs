//! `cargo xtask demo`: builds the programs that `mynah demo` carries.
//!
//! The built files are committed, so that a user needs no compiler.

use crate::shell;
use std::process::Command;

/// A guest architecture: the suffix of its files, its compiler and options.
const GUESTS: &[(&str, &str, &[&str])] = &[
    ("x86_64", "gcc", &["-march=x86-64-v2", "-mno-red-zone"]),
    ("riscv64", "riscv64-linux-gnu-gcc", &["-march=rv64gc", "-mabi=lp64d", "-Wl,-z,separate-code"]),
];

const PROGRAMS: &[&str] = &["mandelbrot", "sieve", "nbody"];

/// No library, no start-up files, no position independence: nothing but the program's own code.
const OPTIONS: &[&str] = &[
    "-O2",
    "-static",
    "-nostdlib",
    "-nostartfiles",
    "-ffreestanding",
    "-fno-pie",
    "-no-pie",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-tree-loop-distribute-patterns",
    "-fcf-protection=none",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-s",
    "-Wl,--build-id=none",
    "-Wl,-z,noseparate-code",
    "-Wl,-z,max-page-size=4096",
];

pub(crate) fn build() -> Result<(), String> {
    let folder = shell::root().join("crates/cli/demo");
    for (guest, compiler, options) in GUESTS {
        for program in PROGRAMS {
            let file = folder.join(format!("{program}.{guest}.elf"));
            let mut command = Command::new(compiler);
            let known = |option: &&&str| *guest == "x86_64" || !option.contains("cf-protection");
            command.args(OPTIONS.iter().filter(known)).args(*options);
            command.arg("-o").arg(&file).arg(folder.join(format!("{program}.c")));
            shell::run(&mut command)?;
            let size = file.metadata().map_err(|e| format!("{}: {e}", file.display()))?.len();
            println!("demo: {size:6} bytes  {}", file.display());
        }
    }
    Ok(())
}
