//! Mynah is killed while its guest writes: the disk is as after a power cut. What the guest was
//! told to be on the disk is there, and neither the image nor the file system on it is damaged.

use crate::archive::Archive;
use crate::machine::Machine;
use crate::machine::guests::{guest, output, run, scratch, text};
use crate::modules::Modules;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the first process does: files of numbers, each of another length, are written and synced
/// while others are written and removed, and each is reported when it is on the disk. The first of
/// them follows the last that an earlier life of the machine has left.
const INIT: &str = "
mount -t proc proc /proc
mount -t ext4 /dev/[vs]da /disk || exit
echo mounted
mkdir -p /disk/numbers /disk/rubbish
(while :; do
    dd if=/dev/zero of=/disk/rubbish/a bs=16k count=40 2>/dev/null
    mv /disk/rubbish/a /disk/rubbish/b
    seq 1 9000 > /disk/rubbish/c
    rm /disk/rubbish/[bc]
done) &
n=$(ls /disk/numbers | sort -n | tail -n 1)
n=${n:-0}
while :; do
    n=$((n+1))
    seq $n $((n*7%4001+n)) | dd of=/disk/numbers/$n conv=fsync 2>/dev/null &&
        echo \"synced $n.\"
done
";

/// What the file of this number holds.
fn contents(n: u64) -> String {
    (n..=n * 7 % 4001 + n).map(|line| format!("{line}\n")).collect()
}

/// Bytes of the disk.
const SIZE: &str = "192M";

/// An image with an empty file system, in a format.
fn image(format: &str, name: &str) -> Option<PathBuf> {
    let (mke2fs, qemu_img) = (guest("bin/mke2fs")?, guest("bin/qemu-img")?);
    let (raw, image) = (scratch(&format!("{name}.raw")), scratch(&format!("{name}.{format}")));
    for file in [&raw, &image] {
        let _ = fs::remove_file(file);
    }
    run(&mke2fs, &["-q", "-t", "ext4", &text(&raw), SIZE]);
    if format != "raw" {
        run(&qemu_img, &["convert", "-f", "raw", "-O", format, &text(&raw), &text(&image)]);
        fs::remove_file(&raw).expect("it was made just now");
    }
    Some(image)
}

/// The numbers that the guest has reported.
fn synced(said: &str) -> impl Iterator<Item = u64> + '_ {
    said.split("synced ").skip(1).filter_map(|rest| rest.split_once('.')?.0.parse().ok())
}

/// Checks the image, the file system after its journal has been replayed, and the files.
fn check(image: &Path, format: &str, name: &str, expected: &BTreeSet<u64>) {
    let tool = |name: &str| guest(&format!("bin/{name}")).expect("it was there before");
    let raw = scratch(&format!("{name}-after.raw"));
    if format == "raw" {
        fs::copy(image, &raw).expect("room");
    } else {
        let found = output(&tool("qemu-img"), &["check", "-f", format, &text(image)]);
        let said = String::from_utf8_lossy(&found.stdout);
        // 3: there are clusters that nothing uses, and no errors.
        let fine = matches!(found.status.code(), Some(0 | 3));
        assert!(fine, "{name}: {}: {said}", found.status);
        let convert = ["convert", "-f", format, "-O", "raw", &text(image), &text(&raw)];
        run(&tool("qemu-img"), &convert);
    }
    let journal = output(&tool("e2fsck"), &["-y", "-E", "journal_only", &text(&raw)]);
    assert!(matches!(journal.status.code(), Some(0 | 1)), "{name}: {journal:?}");
    let checked = output(&tool("e2fsck"), &["-f", "-n", &text(&raw)]);
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{name}: {}: {said}", checked.status);

    let files = scratch(&format!("{name}-files"));
    let _ = fs::remove_dir_all(&files);
    fs::create_dir_all(&files).expect("room");
    let dump = format!("rdump /numbers {}", files.display());
    run(&tool("debugfs"), &["-R", &dump, &text(&raw)]);
    for n in expected {
        let file = fs::read(files.join(format!("numbers/{n}")));
        let file = file.unwrap_or_else(|e| panic!("{name}: {n} was synced: {e}"));
        let is_whole = file == contents(*n).into_bytes();
        assert!(is_whole, "{name}: {n} was synced, and holds {} other bytes", file.len());
    }
    fs::remove_dir_all(&files).expect("it was made just now");
    fs::remove_file(&raw).expect("it was made just now");
}

/// Kills so many machines in a row while they write to the same disk.
fn survives(format: &str, interface: &str, times: u32) {
    let found = (guest("vmlinuz-generic"), guest("bin/busybox"), guest("vmlinuz-generic.root/lib"));
    let (Some(kernel), Some(busybox), Some(library)) = found else { return };
    let name = format!("killed-{interface}-{format}-{times}");
    if guest("bin/e2fsck").is_none() || guest("bin/debugfs").is_none() {
        return;
    }
    let Some(image) = image(format, &name) else { return };
    let modules = Modules::of(&library.join("modules"));
    let init = format!(
        "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nmount -t devtmpfs dev /dev\n{}{INIT}",
        modules.commands()
    );
    let mut archive = Archive::system(&busybox, &init);
    modules.add_to(&mut archive);
    let initrd = text(&archive.write(scratch(&format!("{name}.img"))));
    let drive = format!("{},if={interface},format={format}", image.display());

    let mut expected = BTreeSet::new();
    for life in 1..=times {
        let mut machine = Machine::start(&[
            "--kernel",
            &text(&kernel),
            "--initrd",
            &initrd,
            "--disk",
            &drive,
            "--smp",
            "2",
            "--append",
            "console=ttyS0 panic=-1",
        ]);
        machine.wait_for("mounted");
        // A few files more or less, and then anywhere in the midst of what is done for one.
        let random = chance();
        for _ in 0..1 + random % 8 {
            machine.wait_for("synced ");
        }
        let pause = Duration::from_micros(random % 700_000);
        std::thread::sleep(pause);
        machine.kill();
        let said = machine.output();
        for word in ["EXT4-fs error", "EXT4-fs warning", "I/O error", "Call Trace", "BUG:"] {
            assert!(!said.contains(word), "{name}: {word} in life {life}: {said}");
        }
        let before = expected.len();
        expected.extend(synced(&said));
        eprintln!("{name}: life {life}: {} files, killed after {pause:?}", expected.len() - before);
        check(&image, format, &name, &expected);
    }
    fs::remove_file(&image).expect("it is ours");
}

/// Any number.
fn chance() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}

#[test]
fn a_qcow2_disk_of_virtio_survives_two_kills() {
    survives("qcow2", "virtio", 2);
}

#[test]
#[ignore = "long: boots ten times"]
fn a_raw_disk_of_virtio_survives_ten_kills() {
    survives("raw", "virtio", 10);
}

#[test]
#[ignore = "long: boots ten times"]
fn a_qcow2_disk_of_virtio_survives_ten_kills() {
    survives("qcow2", "virtio", 10);
}

#[test]
#[ignore = "long: boots ten times"]
fn a_raw_disk_of_ide_survives_ten_kills() {
    survives("raw", "ide", 10);
}

#[test]
#[ignore = "long: boots ten times"]
fn a_qcow2_disk_of_ide_survives_ten_kills() {
    survives("qcow2", "ide", 10);
}
