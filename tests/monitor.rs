//! The monitor of `mynah boot`, over a socket and on the terminal, with the guest that Mynah
//! carries.

#[path = "machine/mod.rs"]
mod machine;

use machine::monitor::Monitor;
use machine::{Machine, socket};
use std::time::Duration;

#[test]
fn the_monitor_answers_over_a_socket() {
    let path = socket("monitor");
    let address = format!("unix:{}", path.display());
    let mut machine = Machine::carried(&["--monitor", &address, "--smp", "2"]);
    machine.wait_for("Type `help`");
    let mut monitor = Monitor::connect(&path);
    let has = |answer: &str, parts: &[&str]| {
        parts.iter().for_each(|part| assert!(answer.contains(part), "no `{part}` in:\n{answer}"));
    };
    has(&monitor.ask("help"), &["info registers", "system_powerdown", "quit"]);
    has(
        &monitor.ask("info status"),
        &["running", "memory 16 MiB", "* vCPU 0:", "  vCPU 1: sleeping"],
    );
    has(
        &monitor.ask("info registers"),
        &["vCPU 0: long mode, 64-bit code", "\nrax ", "cr3", "xmm15"],
    );
    has(&monitor.ask("info tlb"), &["0000000000000000  0000000000000000      2M"]);
    has(&monitor.ask("info mem"), &["0000000000000000  000000003fffffff"]);
    has(&monitor.ask("info irq"), &["8259s    requested", "APIC 1: "]);
    has(&monitor.ask("info pci"), &["00:00.0  8086:1237  class 060000", "00:01.1  8086:7010"]);
    has(&monitor.ask("info jit"), &["translated", "code cache 256 MiB"]);
    has(&monitor.ask("info block"), &["There are no disks."]);
    has(&monitor.ask("info network"), &["gateway 10.0.2.2"]);
    // The real-mode interrupt table, and the kernel's multiboot header somewhere in its first page.
    assert_eq!(monitor.ask("xp /4xb 0x100000").split_whitespace().count(), 5);
    assert_eq!(monitor.ask("x /3i 0x100000").lines().count(), 3);
    has(&monitor.ask("x /1i $pc"), &["00000000001"]);
    has(&monitor.ask("x /1xw 0x50000000"), &["There is no memory at 0x50000000."]);
    has(&monitor.ask("cpu 2"), &["The vCPUs are numbered 0 to 1."]);
    assert_eq!(monitor.ask("cpu 1"), "");
    has(&monitor.ask("info registers"), &["vCPU 1: real mode, 16-bit code"]);
    has(&monitor.ask("info mem"), &["Paging is off"]);
    has(&monitor.ask("nonsense"), &["`nonsense` is no command: `help` lists them."]);

    let picture = path.with_extension("png");
    assert_eq!(monitor.ask(&format!("screendump {}", picture.display())), "");
    assert!(std::fs::read(&picture).is_ok_and(|file| file.starts_with(b"\x89PNG")));
    std::fs::remove_file(&picture).expect("it was written");
    has(&monitor.ask("screendump /nowhere/screen.png"), &["/nowhere/screen.png: No such file"]);

    // Time stands while the machine is stopped, and a guest that is stopped says nothing.
    assert_eq!(monitor.ask("stop"), "");
    let before = monitor.ask("info status");
    has(&before, &["stopped, "]);
    machine.type_in("time\n");
    std::thread::sleep(Duration::from_millis(300));
    let line = |answer: &str| answer.lines().next().map(str::to_owned);
    assert_eq!(line(&before), line(&monitor.ask("info status")));
    assert!(!machine.output().contains("seconds"), "{}", machine.output());
    assert_eq!(monitor.ask("cont"), "");
    has(&monitor.ask("info status"), &["running, "]);
    machine.wait_for("second");

    // A reset makes another machine, and the monitor stays.
    assert_eq!(monitor.ask("system_reset"), "");
    machine.wait_for("Type `help`");
    has(&monitor.ask("info status"), &["running", "vCPU 1"]);
    has(&monitor.ask("system_powerdown"), &["does not listen to the power button"]);
    monitor.tell("quit").expect("it listens");
    assert!(machine.wait().success());
    assert!(!path.exists(), "the socket is removed");
}

#[test]
fn quit_is_heard_while_the_machine_is_reset() {
    let path = socket("quit");
    let address = format!("unix:{}", path.display());
    for turn in 0..10 {
        let mut machine = Machine::carried(&["--monitor", &address]);
        machine.wait_for("Type `help`");
        let mut monitor = Monitor::connect(&path);
        monitor.tell("system_reset").expect("it listens");
        // Sooner or later in the course of it.
        std::thread::sleep(Duration::from_millis(turn));
        monitor.tell("quit").expect("it listens");
        assert!(machine.wait().success());
    }
}

#[test]
fn the_terminal_changes_to_the_monitor_and_back() {
    let mut machine = Machine::carried(&[]);
    // The prompt comes last: nothing of the guest's is between the monitor's words.
    machine.wait_for("to leave.\n> ");
    machine.type_in("\x01cinfo status\n\x01cnonsense\n");
    machine.wait_for("`nonsense` is no command");
    let output = machine.output();
    assert!(output.contains("(mynah) running, "), "{output}");
    machine.type_in("\x01c\nquit\n");
    assert!(machine.wait().success());
}

#[test]
fn the_terminal_can_begin_as_the_monitor() {
    let mut machine = Machine::carried(&["--monitor", "stdio", "--stopped"]);
    machine.type_in("info status\n");
    machine.wait_for("stopped, 0.000 s");
    assert!(!machine.output().contains("Type `help`"));
    machine.type_in("cont\n");
    machine.wait_for("Type `help`");
    machine.type_in("quit\n");
    assert!(machine.wait().success());
}

#[test]
fn an_address_in_use_is_one_line_and_no_machine() {
    let path = socket("taken");
    let taken = std::os::unix::net::UnixListener::bind(&path).expect("it is free");
    for option in ["--monitor", "--gdb"] {
        let mut machine = Machine::carried(&[option, &format!("unix:{}", path.display())]);
        let status = machine.wait();
        assert_eq!(status.code(), Some(1));
        assert_eq!(machine.output(), "");
        let errors = machine.errors();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with(&format!("mynah: {option}: unix:")), "{errors}");
    }
    drop(taken);
    let _ = std::fs::remove_file(path);
}
