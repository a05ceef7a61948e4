//! stress-ng in Linux with two vCPUs: its workers check what they compute, and the kernel finds
//! nothing to complain about.

use crate::archive::Archive;
use crate::machine::Machine;
use crate::machine::guests::{guest, scratch, shared_libraries, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a kernel says when something is wrong with the machine it runs on.
const COMPLAINTS: &[&str] = &[
    "BUG",
    "WARNING",
    "Oops",
    "Call Trace",
    "lockup",
    "stall",
    "hung task",
    "blocked for more than",
    "unstable",
    "segfault",
    "general protection",
    "Machine check",
    "nobody cared",
    "Out of memory",
];

/// A RAM disk whose first process lets stress-ng work for so many seconds.
fn ram_disk(busybox: &Path, stress: &Path, seconds: u64) -> PathBuf {
    let init = format!(
        "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
cd /tmp
echo it begins
stress-ng --verify --temp-path /tmp --timeout {seconds}s --metrics-brief \\
    --cpu 2 --vm 2 --vm-bytes 32M --fork 2 --futex 2 --switch 2 --timer 2 2>&1
echo its status is $?
echo the kernel says
dmesg
echo done
poweroff -f
"
    );
    let mut archive = Archive::system(busybox, &init);
    for folder in ["lib", "lib64"] {
        archive.add(folder, 0o040_755, &[], (0, 0));
    }
    for (place, file) in shared_libraries(stress) {
        let bytes = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        archive.add(&place, 0o100_755, &bytes, (0, 0));
    }
    let bytes = fs::read(stress).unwrap_or_else(|e| panic!("{}: {e}", stress.display()));
    archive.add("bin/stress-ng", 0o100_755, &bytes, (0, 0));
    archive.write(scratch(&format!("stress-{seconds}.img")))
}

/// Lets stress-ng work in Linux for so many seconds, and checks what it and the kernel say.
fn stress(seconds: u64) {
    let found = (guest("vmlinuz-cloud"), guest("bin/busybox"), guest("bin/stress-ng"));
    let (Some(kernel), Some(busybox), Some(stress)) = found else { return };
    let initrd = text(&ram_disk(&busybox, &stress, seconds));
    let kernel = text(&kernel);
    let mut all = vec!["--kernel", &kernel, "--initrd", &initrd, "--memory", "512M"];
    all.extend(["--smp", "2", "--append", "console=ttyS0 quiet panic=-1"]);
    let machine = Machine::start(&all).patience(Duration::from_secs(400 + 2 * seconds));
    let (output, status) = machine.finish();
    let from = output.find("it begins").unwrap_or_else(|| panic!("no beginning: {output}"));
    let said = &output[from..];
    assert!(said.contains("its status is 0\n") && said.contains("\ndone\n"), "{output}");
    assert!(said.contains("successful run completed"), "{said}");
    for stressor in ["cpu", "vm", "fork", "futex", "switch", "timer"] {
        let line = said.lines().find(|line| {
            let mut words = line.split_whitespace().skip(3);
            words.next() == Some(stressor) && words.next().is_some_and(|ops| ops != "0")
        });
        assert!(line.is_some(), "{stressor} has done nothing: {said}");
    }
    for word in ["fail:", "error:"] {
        assert!(!said.contains(word), "{word} in: {said}");
    }
    for line in output.lines() {
        for word in COMPLAINTS {
            assert!(!line.contains(word), "`{line}` in: {output}");
        }
    }
    assert!(status.success(), "{status}: {output}");
}

#[test]
fn stress_ng_finds_no_error_in_linux() {
    stress(20);
}

#[test]
#[ignore = "long: five minutes"]
fn stress_ng_finds_no_error_in_linux_in_five_minutes() {
    stress(300);
}
