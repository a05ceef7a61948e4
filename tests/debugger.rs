//! `--gdb` with the real gdb: the system machine with the guest that Mynah carries, built here with
//! its symbols.

#[path = "machine/mod.rs"]
mod machine;

use machine::{Machine, socket};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A debugger that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether the host has what these tests need; CI must.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "CI needs {program}");
        eprintln!("{program} is not installed: nothing was tested");
    }
    found
}

/// Runs a command that must succeed.
fn run(command: &mut Command) {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What gdb says when it executes `commands` about `program`, connected to `address`.
fn gdb(program: &Path, address: &Path, commands: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).args(["gdb", "-nx", "-q", "-batch"]);
    let connect = format!("target remote {}", address.display());
    let settings = ["set pagination off", "set confirm off", "set width 0"];
    for line in settings.iter().copied().chain([connect.as_str()]).chain(commands.iter().copied()) {
        command.args(["-ex", line]);
    }
    // Errors stand where they happened.
    let (mut reader, writer) = std::io::pipe().expect("there are pipes");
    command.arg(program).stdin(Stdio::null());
    command.stdout(writer.try_clone().expect("there are pipes")).stderr(writer);
    let mut child = command.spawn().expect("gdb starts");
    drop(command);
    let mut said = Vec::new();
    reader.read_to_end(&mut said).expect("it is our pipe");
    child.wait().expect("it is our child");
    String::from_utf8_lossy(&said).into_owned()
}

/// Checks that `said` has these parts in this order.
fn in_order(said: &str, parts: &[&str]) {
    let mut rest = said;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("no `{part}` next in:\n{said}"));
        rest = &rest[at + part.len()..];
    }
}

/// The guest with its symbols, and as it is loaded.
fn guest(name: &str) -> (PathBuf, PathBuf) {
    let folder = std::env::temp_dir().join(format!("mynah-test-{name}-guest-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is room");
    let (symbols, image) = (folder.join("guest.elf64"), folder.join("guest.elf"));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/pc/guest");
    let files = ["start.S", "vectors.S", "main.c", "console.c", "interrupts.c", "commands.c"];
    run(Command::new("gcc")
        .args(["-g", "-O1", "-static", "-nostdlib", "-nostartfiles", "-ffreestanding", "-fno-pie"])
        .args(["-no-pie", "-fno-stack-protector", "-fcf-protection=none", "-march=x86-64"])
        .args(["-fno-omit-frame-pointer", "-mno-red-zone", "-Wl,-z,noexecstack"])
        .args(["-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Wl,-z,max-page-size=4096"])
        .arg("-Wl,--no-warn-rwx-segments")
        .arg(format!("-Wl,-T,{}", sources.join("guest.ld").display()))
        .arg("-o")
        .arg(&symbols)
        .args(files.map(|file| sources.join(file))));
    run(Command::new("objcopy").args(["-O", "elf32-i386"]).arg(&symbols).arg(&image));
    (symbols, image)
}

fn boot(name: &str, image: &Path, options: &[&str]) -> (Machine, PathBuf) {
    let path = socket(name);
    let address = format!("unix:{}", path.display());
    let kernel = image.display().to_string();
    let mut all = vec!["--kernel", &kernel, "--append", "", "--gdb", &address];
    all.extend(options);
    (Machine::boot(&all), path)
}

#[test]
fn gdb_follows_the_system_machine() {
    if !has("gdb") || !has("gcc") {
        return;
    }
    let (symbols, image) = guest("system");
    for tier in [&["--tier", "0"][..], &["--tier", "1"], &["--threshold", "5"]] {
        let (mut machine, path) =
            boot("system", &image, &[tier, &["--stopped", "--smp", "2"]].concat());
        machine.type_in("time\nnonsense\n");
        let commands = [
            "info threads",
            "print $cr0 & 0x80000001",
            "break main",
            "continue",
            "print $cr0 & 0x80000001",
            "print $efer",
            "backtrace",
            "delete",
            // A function that is called in a loop, and the instruction behind its call.
            "break command",
            "continue",
            "print (char *)line",
            "backtrace",
            "stepi",
            "stepi",
            "up",
            "print $xmm0.v4_int32",
            "print $mxcsr",
            "continue",
            "print (char *)line",
            "set var *(char *)line = 'N'",
            "delete",
            // The timer's interrupts count.
            "watch ticks",
            "continue",
            "continue",
            "backtrace 2",
            "delete",
            "tbreak interrupt if f->vector == 32",
            "continue",
            "finish",
            "x/2xb 0x60000000",
            "print *(int *)0x60000000",
            "monitor info status",
            "thread 2",
            "print/x $pc",
            "detach",
        ];
        let said = gdb(&symbols, &path, &commands);
        in_order(
            &said,
            &[
                "(vCPU 0)",
                "(vCPU 1)",
                "$1 = 1",
                "Thread 1 hit Breakpoint 1, main ()",
                "$2 = 2147483649",
                "$3 = 1280",
                "#0  main ()",
                "hit Breakpoint 2, command (line=",
                "\"time\"",
                "#1 ",
                " in main ()",
                "main ()",
                " = {0, 0, 0, 0}",
                "[ IM DM ZM OM UM PM ]",
                "hit Breakpoint 2, command (line=",
                "\"nonsense\"",
                "hit Hardware watchpoint 3: ticks",
                "Old value = ",
                "New value = ",
                "hit Hardware watchpoint 3: ticks",
                "interrupt (f=",
                "hit Temporary breakpoint 4, interrupt (f=",
                "common () at",
                "Cannot access memory at address 0x60000000",
                "Cannot access memory at address 0x60000000",
                "stopped, ",
                "Switching to thread 2",
                "0xfffffff0",
                "detached",
            ],
        );
        // The guest goes on, with what the debugger wrote.
        machine.wait_for("`Nonsense` is no command");
        machine.type_in("poweroff\n");
        assert!(machine.wait().success(), "{said}");
    }
}

#[test]
fn gdb_interrupts_and_kills_the_system_machine() {
    if !has("gdb") || !has("gcc") {
        return;
    }
    let (symbols, image) = guest("interrupt");
    let (mut machine, path) = boot("interrupt", &image, &[]);
    machine.wait_for("Type `help`");
    // Connecting stops the machine, a sleeping one as well.
    let interrupt = "python import threading; threading.Timer(1, lambda: gdb.post_event(lambda: gdb.execute('interrupt'))).start()";
    let commands = ["backtrace", interrupt, "continue", "print ticks > 50", "kill"];
    let said = gdb(&symbols, &path, &commands);
    in_order(&said, &["console_read ()", "received signal SIGINT", "$1 = 1", "killed"]);
    assert!(machine.wait().success());
}
