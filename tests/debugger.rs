//! `--gdb` with the real gdb: the system machine with the guest that Mynah carries, built here with
//! its symbols, and a small program. And without gdb, in the protocol's own words.

#[path = "machine/mod.rs"]
mod machine;

use machine::{Machine, socket};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    listening(address);
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

/// Waits until there is a socket.
fn listening(address: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !address.exists() {
        assert!(Instant::now() < deadline, "nobody listens at {}", address.display());
        std::thread::sleep(Duration::from_millis(5));
    }
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
    let folder =
        std::env::temp_dir().join(format!("mynah-test-{name}-guest-{}", std::process::id()));
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
    (Machine::carried(&all), path)
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
    let commands = ["backtrace", INTERRUPT, "continue", "print ticks > 50", "kill"];
    let said = gdb(&symbols, &path, &commands);
    in_order(&said, &["console_read ()", "received signal SIGINT", "$1 = 1", "killed"]);
    assert!(machine.wait().success());
}

#[test]
fn gdb_sees_a_32_bit_processor_and_a_sleeping_one() {
    if !has("gdb") || !has("gcc") {
        return;
    }
    let (symbols, image) = guest("narrow");
    let path = socket("narrow");
    let address = format!("unix:{},i386", path.display());
    let kernel = image.display().to_string();
    let mut machine = Machine::carried(&["--kernel", &kernel, "--gdb", &address, "--stopped"]);
    // The guest begins in 32-bit code: `cli; cld`.
    let commands = [
        "show architecture",
        "x/2i $eip",
        "stepi",
        "info registers eip cs cr0",
        "print $xmm7.uint128",
        "set var $eax = 0x12345678",
        "print/x $eax",
        "detach",
    ];
    let said = gdb(&image, &path, &commands);
    in_order(
        &said,
        &["\"i386\"", "cli", "cld", "eip ", "cs ", "0x10", "cr0 ", "$1 = 0", "$2 = 0x12345678"],
    );
    machine.wait_for("Type `help`");
    drop(machine);

    // A processor that sleeps steps when something wakes it: into the handler.
    let (mut machine, path) = boot("sleeping", &image, &[]);
    machine.wait_for("Type `help`");
    let said = gdb(&symbols, &path, &["x/1i $pc - 1", "stepi", "info symbol $pc", "detach"]);
    in_order(&said, &["hlt"]);
    assert!(!said.contains("rror"), "{said}");
}

#[test]
fn a_reset_and_garbage_leave_a_debugger_a_machine() {
    if !has("gdb") || !has("gcc") {
        return;
    }
    let (symbols, image) = guest("reset");
    let (mut machine, path) = boot("reset", &image, &["--smp", "2"]);
    machine.wait_for("Type `help`");
    // Neither what is no packet ends anything, nor what is an odd one.
    let mut garbage: Vec<u8> =
        (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    garbage.iter_mut().step_by(37).for_each(|byte| *byte = b'$');
    garbage.iter_mut().step_by(83).for_each(|byte| *byte = b'#');
    let odd = [
        "Hg-1",
        "Hc0",
        "m,",
        "mffffffffffffffff,ffff",
        "X0,0:",
        "G00",
        "P0=",
        "Zf,0,0",
        "Z2,0,0",
        "vCont;s",
        "vCont;r0,0",
        "qXfer:features:read:target.xml:ffffffffffffffff,1",
        "qRcmd,00",
        "?",
    ];
    for packet in odd.iter().map(|text| text.as_bytes().to_vec()).chain([garbage]) {
        let mut stream = machine::connect(&path);
        let sum = packet.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        // The other end may close at any byte.
        let _ = stream.write_all(&[b"$", &packet[..], format!("#{sum:02x}").as_bytes()].concat());
        std::thread::sleep(Duration::from_millis(20));
    }
    let commands = [
        "break main",
        "monitor system_reset",
        "continue",
        "info threads",
        "backtrace",
        "delete",
        "detach",
    ];
    let said = gdb(&symbols, &path, &commands);
    in_order(
        &said,
        &["hit Breakpoint 1, main ()", "(vCPU 0)", "(vCPU 1)", "#0  main ()", "detached"],
    );
    machine.wait_for("Type `help`");
}

/// A program's process, which ends with its test.
struct Process {
    child: Child,
    socket: PathBuf,
}

impl Process {
    fn run(name: &str, options: &[&str], program: &Path) -> Process {
        let socket = socket(name);
        let child = Command::new(env!("CARGO_BIN_EXE_mynah"))
            .args(["run", "--gdb", &format!("unix:{}", socket.display())])
            .args(options)
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mynah starts");
        Process { child, socket }
    }

    fn status(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of the tests with its symbols.
fn program(name: &str) -> PathBuf {
    let file = std::env::temp_dir().join(format!("mynah-test-{name}-{}", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/debugged.c");
    run(Command::new("gcc").args(["-g", "-O1", "-pthread", "-o"]).arg(&file).arg(source));
    file
}

/// Interrupts the program after a second, as Ctrl-C does.
const INTERRUPT: &str = "python import threading; threading.Timer(1, \
    lambda: gdb.post_event(lambda: gdb.execute('interrupt'))).start()";

#[test]
fn gdb_follows_a_process() {
    if !has("gdb") || !has("gcc") {
        return;
    }
    let file = program("debugged");
    for tier in [&["--tier", "0"][..], &["--tier", "1"], &["--threshold", "5"]] {
        let mut process = Process::run("process", tier, &file);
        let commands = [
            "set sysroot /",
            // The first instruction is the loader's: `mov %rsp,%rdi`.
            "x/1i $pc",
            "break main",
            "continue",
            "break square",
            "continue",
            "backtrace",
            "finish",
            "delete",
            "watch counter",
            "continue",
            "delete",
            "continue",
            "break on_signal",
            "continue",
            "print number",
            "break second",
            "continue",
            "info threads",
            "delete",
            "next",
            "next",
            "print counter",
            "set var counter = 1",
            INTERRUPT,
            "continue",
            "print counter",
            "thread 1",
            "backtrace",
            "print *(char *)16",
            "set var counter = 42",
            "print $fs_base != 0",
            // A register that no system call looks at; the read goes on with what it was given.
            "print $orig_rax",
            "detach",
        ];
        let said = gdb(&file, &process.socket, &commands);
        in_order(
            &said,
            &[
                "mov    %rsp,%rdi",
                "Breakpoint 1, main ()",
                "Breakpoint 2, square (n=n@entry=1)",
                "#1 ",
                "in sum (last=last@entry=3)",
                "#2 ",
                "in main ()",
                "Value returned is $1 = 1",
                "Hardware watchpoint 3: counter",
                "Old value = 0",
                "New value = 14",
                "received signal SIGUSR1",
                "Breakpoint 4, on_signal (number=",
                "$2 = 10",
                "hit Breakpoint 5, second (",
                "* 2 ",
                "second (",
                "$3 = 31",
                "received signal SIGINT",
                "$4 = 1",
                "wait_for_it ()",
                "Cannot access memory at address 0x10",
                "$5 = 1",
                "$6 = -1",
                "detached",
            ],
        );
        // It goes on by itself, with what the debugger wrote.
        drop(process.child.stdin.take());
        assert_eq!(process.status().code(), Some(42), "{said}");
    }
    let _ = std::fs::remove_file(file);
}

#[test]
fn gdb_sees_how_a_process_ends() {
    if !has("gdb") || !has("gcc") {
        return;
    }
    let file = program("ends");
    let mut process = Process::run("exits", &[], &file);
    drop(process.child.stdin.take());
    let said = gdb(&file, &process.socket, &["handle SIGUSR1 nostop noprint", "continue"]);
    in_order(&said, &["exited with code 037"]);
    assert_eq!(process.status().code(), Some(31));

    // The program does not see a signal that the debugger keeps.
    let mut process = Process::run("kept", &[], &file);
    drop(process.child.stdin.take());
    let said = gdb(&file, &process.socket, &["continue", "signal 0", "print $_exitcode"]);
    in_order(&said, &["received signal SIGUSR1", "$1 = 21"]);
    assert_eq!(process.status().code(), Some(21));

    let mut process = Process::run("dies", &[], &file);
    let said = gdb(&file, &process.socket, &["break square", "continue", "jump *16", "continue"]);
    in_order(
        &said,
        &["Breakpoint 1, square", "received signal SIGSEGV", "terminated with signal SIGSEGV"],
    );
    assert_eq!(process.status().signal(), Some(11));

    let mut process = Process::run("killed", &[], &file);
    let said = gdb(&file, &process.socket, &["kill"]);
    in_order(&said, &["killed"]);
    assert_eq!(process.status().signal(), Some(9));
    assert!(!process.socket.exists() || std::fs::remove_file(&process.socket).is_ok());
    let _ = std::fs::remove_file(file);
}

/// A debugger of few words.
struct Remote(UnixStream);

impl Remote {
    fn connect(address: &Path) -> Remote {
        listening(address);
        let stream = machine::connect(address);
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        Remote(stream)
    }

    fn send(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.0, "${packet}#{sum:02x}").expect("it listens");
    }

    /// The next packet, without its frame and run-length encoding.
    fn receive(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while bytes.len() < 3 || bytes[bytes.len() - 3] != b'#' {
            self.0.read_exact(&mut byte).expect("it answers");
            // Acknowledgements come before packets.
            if !bytes.is_empty() || byte[0] == b'$' {
                bytes.push(byte[0]);
            }
        }
        // It may have gone after its last word.
        let _ = self.0.write_all(b"+");
        let mut text: Vec<u8> = Vec::new();
        let mut rest = bytes[1..bytes.len() - 3].iter();
        while let Some(&byte) = rest.next() {
            match byte {
                b'*' => {
                    let count = rest.next().expect("a count follows") - 29;
                    let last = *text.last().expect("it repeats something");
                    text.extend(std::iter::repeat_n(last, count.into()));
                }
                byte => text.push(byte),
            }
        }
        String::from_utf8(text).expect("packets are text")
    }

    fn ask(&mut self, packet: &str) -> String {
        self.send(packet);
        self.receive()
    }

    /// The pc of RISC-V: the register behind the 32 others.
    fn pc(&mut self) -> u64 {
        let registers = self.ask("g");
        let bytes = &registers[32 * 16..33 * 16];
        u64::from_str_radix(bytes, 16).expect("hexadecimal").swap_bytes()
    }
}

#[test]
fn a_risc_v_process_speaks_the_protocol() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/cli/demo/sieve.riscv64.elf");
    for tier in ["0", "1"] {
        let mut process = Process::run("protocol", &["--tier", tier], &file);
        let mut remote = Remote::connect(&process.socket);
        assert!(remote.ask("qSupported:swbreak+;vContSupported+").contains("qXfer:features:read+"));
        let stop = remote.ask("?");
        let thread = stop.strip_prefix("T05thread:").and_then(|rest| rest.split(';').next());
        let step = format!("vCont;s:{}", thread.unwrap_or_else(|| panic!("{stop}")));
        assert_eq!(remote.ask("Hg0"), "OK", "registers are those of any thread");
        let description = remote.ask("qXfer:features:read:target.xml:0,3fff");
        assert!(description.contains("<architecture>riscv:rv64</architecture>"), "{description}");
        assert!(remote.ask("vCont?").contains("vCont;c"));

        let first = remote.pc();
        let code = remote.ask(&format!("m{first:x},4"));
        assert_eq!(code.len(), 8, "{code}");
        // Steps by an instruction each, and to a breakpoint on the third.
        assert!(remote.ask(&step).starts_with("T05"));
        let second = remote.pc();
        assert!((2..=4).contains(&(second - first)), "{first:x} {second:x}");
        assert!(remote.ask(&step).starts_with("T05"));
        let third = remote.pc();
        assert_eq!(remote.ask(&format!("P20={:016x}", first.swap_bytes())), "OK");
        assert_eq!(remote.pc(), first);
        assert_eq!(remote.ask(&format!("Z0,{third:x},2")), "OK");
        let stop = remote.ask("vCont;c");
        assert!(stop.starts_with("T05") && stop.contains("swbreak:"), "{stop}");
        assert_eq!(remote.pc(), third);
        assert_eq!(remote.ask(&format!("m{first:x},4")), code, "memory is left alone");
        assert_eq!(remote.ask(&format!("z0,{third:x},2")), "OK");

        // What is not there, and what is no packet.
        assert!(remote.ask("m10,4").starts_with('E'));
        assert!(remote.ask("M10,4:00000000").starts_with('E'));
        assert!(remote.ask("P7f=00").starts_with('E'));
        assert_eq!(remote.ask("Z2,1000,4"), "", "the debugger watches by itself");
        assert_eq!(remote.ask("vNonsense"), "");
        assert_eq!(remote.ask("D"), "OK");
        assert!(process.status().success(), "it goes on by itself");
    }
}
