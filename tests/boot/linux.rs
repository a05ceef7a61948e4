//! Linux: Debian's kernel for virtual machines starts a RAM disk with BusyBox, on every tier, with one
//! vCPU and with several, does some work and turns the machine off.

use crate::archive::Archive;
use crate::machine::Machine;
use crate::machine::guests::{foreign_guest, guest, host, scratch};
use crate::modules::Modules;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the first process does. The numbers come out the same everywhere.
pub(crate) const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
echo init runs with $(grep -c ^processor /proc/cpuinfo) vCPUs
seq 1 20000 | sha256sum
seq 1 3000 | sort -r | md5sum
i=0; while [ $i -lt 30 ]; do i=$((i+1)); (exit $i) & done; wait; echo $i processes
seq 1 5000 | gzip -c | gunzip -c | sha1sum
for n in 1 2 3 4; do (seq 1 4000 | sha256sum) & done; wait
dmesg | grep -iE 'warning|oops|bug:|call trace|segfault' | head -5
echo done
poweroff -f
";

/// The RAM disk, written into the folder of tests.
pub(crate) fn ram_disk(busybox: &Path) -> PathBuf {
    static DISK: OnceLock<PathBuf> = OnceLock::new();
    DISK.get_or_init(|| Archive::system(busybox, INIT).write(scratch("boot-test.img"))).clone()
}

/// Boots with these options and checks what the guest prints.
fn linux(vcpus: &str, options: &[&str]) {
    let (Some(kernel), Some(busybox)) = (guest("vmlinuz-cloud"), guest("bin/busybox")) else {
        return;
    };
    boot(&kernel, &ram_disk(&busybox), vcpus, options);
}

fn boot(kernel: &Path, initrd: &Path, vcpus: &str, options: &[&str]) {
    let (kernel, initrd) = (kernel.display().to_string(), initrd.display().to_string());
    let mut all = vec!["--kernel", &kernel, "--initrd", &initrd, "--memory", "192M"];
    all.extend(["--smp", vcpus, "--append", "console=ttyS0 panic=-1"]);
    all.extend(options);
    let (output, status) = Machine::start(&all).finish();
    check(&output, vcpus);
    assert!(status.success(), "{status}: {output}");
}

#[test]
fn linux_speaks_on_a_virtio_console() {
    let found = (guest("vmlinuz-cloud"), guest("bin/busybox"), guest("vmlinuz-cloud.root/lib"));
    let (Some(kernel), Some(busybox), Some(library)) = found else { return };
    let modules = Modules::named(&library.join("modules"), &["virtio_pci", "virtio_console"]);
    let init = format!(
        "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/bin\n{}\
         mount -t devtmpfs dev /dev\n\
         i=0; while [ ! -c /dev/hvc0 -a $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done\n\
         exec </dev/hvc0 >/dev/hvc0 2>&1\n\
         echo who is there; read name; echo hello, $name\nseq 1 2000\npoweroff -f\n",
        modules.insert()
    );
    let mut archive = Archive::system(&busybox, &init);
    modules.add_to(&mut archive);
    let initrd = archive.write(scratch("hvc.img")).display().to_string();
    let (kernel, serial) = (kernel.display().to_string(), scratch("hvc.serial"));
    let serial = serial.display().to_string();
    let options = ["--kernel", &kernel, "--initrd", &initrd, "--memory", "192M"];
    let consoles = ["--virtio-console", "stdio", "--serial", &serial];
    let mut machine = Machine::start(&[&options[..], &consoles].concat());
    machine.wait_for("who is there");
    machine.type_in("a mynah\r");
    machine.wait_for("hello, a mynah");
    let (output, status) = machine.finish();
    assert!(status.success(), "{status}: {output}");
    assert!(output.contains("\n1999\n2000\n"), "{output}");
    let log = std::fs::read_to_string(serial).expect("the serial port's file");
    assert!(log.contains("Linux version") && !output.contains("Linux version"));
}

/// What the first process does to see a vCPU go and come: one that is switched off waits by MONITOR
/// and MWAIT, and is started anew.
const OFFLINE: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
cd /sys/devices/system/cpu
/bin/busybox grep -q ' monitor ' /proc/cpuinfo && echo it can wait
for n in 1 2 3; do
  echo 0 > cpu1/online; echo online $(/bin/busybox cat online)
  echo 1 > cpu1/online; echo online $(/bin/busybox cat online)
done
/bin/busybox dmesg | /bin/busybox grep -iE 'warning|oops|bug:|call trace' | /bin/busybox head -5
/bin/busybox poweroff -f
";

#[test]
fn a_vcpu_is_switched_off_and_on() {
    let (Some(kernel), Some(busybox)) = (guest("vmlinuz-cloud"), guest("bin/busybox")) else {
        return;
    };
    let initrd = Archive::system(&busybox, OFFLINE).write(scratch("offline.img"));
    let (kernel, initrd) = (kernel.display().to_string(), initrd.display().to_string());
    let options = ["--kernel", &kernel, "--initrd", &initrd, "--memory", "192M", "--smp", "2"];
    let append = ["--append", "console=ttyS0 quiet panic=-1"];
    let (output, status) = Machine::start(&[&options[..], &append].concat()).finish();
    let from = output.find("it can wait").unwrap_or_else(|| panic!("no MONITOR: {output}"));
    let said: Vec<_> = output[from..].lines().filter(|line| line.starts_with("online")).collect();
    assert_eq!(said, ["online 0", "online 0-1"].repeat(3), "{output}");
    for word in ["Call Trace", "BUG:", "Oops", "WARNING"] {
        assert!(!output.contains(word), "{word} in: {output}");
    }
    assert!(status.success(), "{status}: {output}");
}

/// Checks what [`INIT`] prints.
pub(crate) fn check(output: &str, vcpus: &str) {
    let from = output.find("init runs").unwrap_or_else(|| panic!("no init: {output}"));
    let said = &output[from..];
    let expected = [
        format!("init runs with {vcpus} vCPUs"),
        "done".to_owned(),
        "30 processes".to_owned(),
        host("seq 1 20000 | sha256sum"),
        host("seq 1 3000 | sort -r | md5sum"),
        host("seq 1 5000 | sha1sum"),
    ];
    for line in &expected {
        assert!(said.lines().any(|l| l == line), "`{line}` is missing in: {said}");
    }
    let same = host("seq 1 4000 | sha256sum");
    assert_eq!(said.lines().filter(|l| **l == same).count(), 4, "{said}");
    for word in ["Call Trace", "BUG:", "Oops", "segfault", "WARNING"] {
        assert!(!said.contains(word), "{word} in: {said}");
    }
}

#[test]
fn linux_boots_on_tier_0() {
    linux("1", &["--tier", "0"]);
}

#[test]
fn linux_boots_with_two_vcpus() {
    linux("2", &[]);
}

#[test]
fn the_32_bit_kernel_boots() {
    let found = (foreign_guest("vmlinuz-686"), foreign_guest("busybox-i386"));
    let (Some(kernel), Some(busybox)) = found else { return };
    let initrd = Archive::system(&busybox, INIT).write(scratch("boot-686.img"));
    boot(&kernel, &initrd, "1", &[]);
}

#[test]
#[ignore = "long: compiles all that it runs"]
fn linux_boots_on_tier_1() {
    linux("1", &["--tier", "1"]);
}

#[test]
#[ignore = "long"]
fn linux_boots_with_four_vcpus_compiled_early() {
    linux("4", &["--threshold", "20"]);
}

#[test]
fn what_cannot_be_started_is_one_line() {
    for (options, says) in [
        (vec!["--kernel", "/nowhere/kernel"], "/nowhere/kernel"),
        (vec!["--kernel", "/dev/null"], "not a"),
        (vec!["--kernel", env!("CARGO_BIN_EXE_mynah"), "--memory", "1K"], "less than 1M"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_mynah"))
            .arg("boot")
            .args(&options)
            .output()
            .expect("mynah starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(says), "{options:?}: {text}");
        assert!(!output.status.success() && output.stdout.is_empty());
    }
}
