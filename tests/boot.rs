//! Linux on the emulated PC: Debian's kernel for virtual machines starts a RAM disk with BusyBox,
//! on every tier, with one vCPU and with several, does some work and turns the machine off.
//!
//! `cargo xtask guests` fetches both. Without them, which only happens where there is no apt, the
//! tests say so and pass.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

/// A machine that runs longer hangs.
const PATIENCE: Duration = Duration::from_secs(400);

fn guests() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).join("guests")
}

/// What the first process does. The numbers come out the same everywhere.
const INIT: &str = "#!/bin/busybox sh
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

/// An archive in the "new ASCII" format of cpio.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(&mut self, name: &str, mode: u32, data: &[u8], device: (u32, u32)) {
        let number = self.0.len() as u32;
        let mut header = String::from("070701");
        let name_len = name.len() as u32 + 1;
        let len = data.len() as u32;
        let fields = [number, mode, 0, 0, 1, 0, len, 0, 0, device.0, device.1, name_len, 0];
        for field in fields {
            header += &format!("{field:08X}");
        }
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.pad();
        self.0.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The RAM disk, written into the folder of the guests.
fn ram_disk(busybox: &Path) -> PathBuf {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "tmp"] {
        archive.add(folder, 0o040_755, &[], (0, 0));
    }
    let program = fs::read(busybox).unwrap_or_else(|e| panic!("{}: {e}", busybox.display()));
    archive.add("bin/busybox", 0o100_755, &program, (0, 0));
    archive.add("init", 0o100_755, INIT.as_bytes(), (0, 0));
    archive.add("dev/console", 0o020_600, &[], (5, 1));
    archive.add("dev/null", 0o020_666, &[], (1, 3));
    archive.add("TRAILER!!!", 0, &[], (0, 0));
    static DISK: OnceLock<PathBuf> = OnceLock::new();
    let path = || {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boot-test.img");
        fs::write(&path, &archive.0).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    };
    DISK.get_or_init(path).clone()
}

/// Runs `mynah boot` with these options and nothing on standard input; its output and status.
fn boot(options: &[&str]) -> (String, ExitStatus) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mynah"))
        .arg("boot")
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("mynah starts");
    let mut stdout = child.stdout.take().expect("it is a pipe");
    let (done, text) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        let _ = stdout.read_to_end(&mut output);
        let _ = done.send(output);
    });
    let output = text.recv_timeout(PATIENCE);
    if output.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().expect("it is our child");
    let output = output.or_else(|_| text.recv()).unwrap_or_default();
    (String::from_utf8_lossy(&output).replace('\r', ""), status)
}

/// Boots with these options and checks what the guest prints.
fn linux(vcpus: &str, options: &[&str]) {
    let kernel = guests().join("vmlinuz-cloud");
    let busybox = guests().join("bin/busybox");
    if !kernel.exists() || !busybox.exists() {
        let _ = writeln!(std::io::stderr(), "no guests: `cargo xtask guests` fetches them");
        assert!(std::env::var_os("CI").is_none(), "CI needs the guests");
        return;
    }
    let (kernel, initrd) = (kernel.display().to_string(), ram_disk(&busybox));
    let initrd = initrd.display().to_string();
    let mut all = vec!["--kernel", &kernel, "--initrd", &initrd, "--memory", "192M"];
    all.extend(["--smp", vcpus, "--append", "console=ttyS0 panic=-1"]);
    all.extend(options);
    let (output, status) = boot(&all);
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
    assert!(status.success(), "{status}: {said}");
}

/// What the host's shell makes of `command`.
fn host(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("there is a shell");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
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
