//! `cargo xtask demo`: builds the programs that `mynah demo` carries, and the guest of `mynah boot`.
//!
//! The built files are committed, so that a user needs no compiler.

use crate::shell;
use std::path::Path;
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
    build_programs()?;
    build_bare()
}

fn build_programs() -> Result<(), String> {
    let folder = shell::root().join("crates/cli/demo");
    let mut counts = String::new();
    for (guest, compiler, options) in GUESTS {
        for program in PROGRAMS {
            let file = folder.join(format!("{program}.{guest}.elf"));
            let mut command = Command::new(compiler);
            let known = |option: &&&str| *guest == "x86_64" || !option.contains("cf-protection");
            command.args(OPTIONS.iter().filter(known)).args(*options);
            command.arg("-o").arg(&file).arg(folder.join(format!("{program}.c")));
            shell::run(&mut command)?;
            let size = file.metadata().map_err(|e| format!("{}: {e}", file.display()))?.len();
            let [one, two] = [count(guest, &file, 1)?, count(guest, &file, 2)?];
            let per_round = two - one;
            println!(
                "demo: {size:6} bytes, {per_round:8} instructions a round  {}",
                file.display()
            );
            counts += &format!("{program} {guest} {} {per_round}\n", one - per_round);
        }
    }
    let file = folder.join("counts.txt");
    std::fs::write(&file, counts).map_err(|e| format!("{}: {e}", file.display()))
}

/// Sources of the bare-metal guest.
const BARE: &[&str] =
    &["start.S", "vectors.S", "main.c", "console.c", "interrupts.c", "commands.c"];

/// The guest that `mynah boot` carries: 64-bit code in a 32-bit ELF file, which is what every
/// multiboot loader takes.
fn build_bare() -> Result<(), String> {
    let folder = shell::root().join("crates/pc/guest");
    let long = shell::target().join("guest.elf64");
    let mut command = Command::new("gcc");
    // All registers of SSE are saved at interrupts; the stack below RSP is not.
    command.args(OPTIONS).args(["-Os", "-march=x86-64", "-mno-red-zone", "-Wl,-z,noexecstack"]);
    command.arg(format!("-Wl,-T,{}", folder.join("guest.ld").display()));
    command.arg("-Wl,--no-warn-rwx-segments");
    command.arg("-o").arg(&long).args(BARE.iter().map(|name| folder.join(name)));
    shell::run(&mut command)?;
    let file = folder.join("guest.elf");
    shell::run(Command::new("objcopy").args(["-O", "elf32-i386"]).arg(&long).arg(&file))?;
    let size = file.metadata().map_err(|e| format!("{}: {e}", file.display()))?.len();
    println!("demo: {size:6} bytes  {}", file.display());
    Ok(())
}

/// How many instructions a program executes for so many rounds, as qemu counts them.
fn count(guest: &str, file: &Path, rounds: u32) -> Result<u64, String> {
    let mut qemu = Command::new(format!("qemu-{guest}"));
    // One instruction a block, and a line of the log for each that is executed.
    qemu.args(["-singlestep", "-d", "nochain,exec", "-D", "/dev/stdout"]);
    let log = shell::output(qemu.arg(file).arg(rounds.to_string()))?;
    Ok(log.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"Trace")).count() as u64)
}
