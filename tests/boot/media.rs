//! Disks and discs: what firmware starts from them, and file systems on them.

use crate::archive::Archive;
use crate::linux::{self, ram_disk};
use crate::machine::Machine;
use crate::machine::guests::{guest, host, run, scratch, text};
use crate::modules::Modules;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Options by which SeaBIOS starts.
fn seabios() -> Option<[String; 2]> {
    Some(["--firmware".to_owned(), text(&guest("seabios/bios-256k.bin")?)])
}

#[test]
fn seabios_starts_grub_from_a_cd_which_has_a_prompt() {
    let (Some([option, bios]), Some(disc)) = (seabios(), guest("grub-rescue.iso")) else { return };
    let mut machine = Machine::start(&[&option, &bios, "--cdrom", &text(&disc)]);
    machine.wait_for("GNU GRUB");
    machine.wait_for("executed automatically");
    machine.type_slowly("c");
    machine.wait_for("grub>");
    // Once as it is typed, and once as it is said; the cursor may go there without a new line.
    machine.type_slowly("echo it\r");
    machine.wait_for("echo it");
    machine.wait_for("it");
    // Much more than a BIOS keeps, and nothing of it is lost.
    machine.type_in("echo one_two_three_four_five_six_seven_eight\r");
    machine.wait_for("echo one_two_three_four_five_six_seven_eight");
    machine.wait_for("one_two_three_four_five_six_seven_eight");
    machine.type_slowly("halt\r");
    let (output, status) = machine.finish();
    assert!(status.success(), "{status}: {output}");
}

#[test]
fn memtest_tests_and_its_screen_is_seen() {
    let (Some([option, bios]), Some(disc)) = (seabios(), guest("memtest.iso")) else { return };
    let picture = scratch("memtest.png");
    let _ = fs::remove_file(&picture);
    let (disc, shot) = (text(&disc), text(&picture));
    let mut machine = Machine::start(&[
        &option,
        &bios,
        "--cdrom",
        &disc,
        "--memory",
        "32M",
        "--display",
        "text",
        "--screenshot",
        &shot,
    ]);
    machine.wait_for("Memtest86");
    machine.wait_for("Test #1");
    machine.quit();
    let png = fs::read(&picture).expect("a picture");
    assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
    // 80 characters of 9 dots, 25 of 16 lines.
    assert_eq!(png[16..24], [0, 0, 2, 208, 0, 0, 1, 144]);
}

/// Sectors of the disk, and of what is before its partition.
const SECTORS: u32 = 64 << 11;
const BEFORE: u32 = 1 << 11;

/// A disk with a partition from which SYSLINUX starts Linux.
fn syslinux_disk(kernel: &Path, initrd: &Path) -> Option<PathBuf> {
    let mbr = guest("syslinux-mbr.bin")?;
    let (mtools, syslinux) = (guest("bin/mtools")?, guest("bin/syslinux")?);
    let path = scratch("syslinux.img");
    let mut disk = File::create(&path).expect("a disk");
    disk.set_len(u64::from(SECTORS) * 512).expect("room");
    disk.write_all(&fs::read(mbr).expect("a boot record")).expect("room");
    // An active partition of FAT32.
    let mut entry = vec![0x80, 0, 33, 0, 0x0c, 0xfe, 0xff, 0xff];
    entry.extend(BEFORE.to_le_bytes());
    entry.extend((SECTORS - BEFORE).to_le_bytes());
    disk.seek(SeekFrom::Start(446)).expect("a disk");
    disk.write_all(&entry).expect("room");
    disk.seek(SeekFrom::Start(510)).expect("a disk");
    disk.write_all(&[0x55, 0xaa]).expect("room");
    drop(disk);

    let config = scratch("syslinux.cfg");
    let lines = "SERIAL 0 115200\nDEFAULT linux\nPROMPT 0\nLABEL linux\n  KERNEL vmlinuz\n  \
                 APPEND initrd=initrd.img console=ttyS0 panic=-1\n";
    fs::write(&config, lines).expect("room");
    let (before, total) = (BEFORE.to_string(), (SECTORS - BEFORE).to_string());
    let image = format!("{}@@{}", path.display(), BEFORE * 512);
    let format =
        ["-c", "mformat", "-i", &image, "-F", "-h", "16", "-s", "63", "-H", &before, "-T", &total];
    run(&mtools, &[&format[..], &["::"]].concat());
    run(&syslinux, &["--install", "--offset", &(BEFORE * 512).to_string(), &text(&path)]);
    for (file, name) in [(kernel, "vmlinuz"), (initrd, "initrd.img"), (&config, "syslinux.cfg")] {
        run(&mtools, &["-c", "mcopy", "-i", &image, &text(file), &format!("::{name}")]);
    }
    Some(path)
}

#[test]
fn seabios_starts_syslinux_from_a_disk_which_starts_linux() {
    let found = (seabios(), guest("vmlinuz-cloud"), guest("bin/busybox"));
    let (Some([option, bios]), Some(kernel), Some(busybox)) = found else { return };
    let Some(disk) = syslinux_disk(&kernel, &ram_disk(&busybox)) else { return };
    for interface in ["ide", "virtio"] {
        let drive = format!("{},if={interface}", disk.display());
        let machine = Machine::start(&[&option, &bios, "--disk", &drive, "--snapshot"]);
        let (output, status) = machine.finish();
        linux::check(&output, "1");
        assert!(status.success(), "{status}: {output}");
    }
}

/// A RAM disk that mounts the root on a disk of either kind.
fn ram_disk_with_modules(busybox: &Path, folder: &Path) -> PathBuf {
    let modules = Modules::of(folder);
    let init = format!(
        "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nmount -t devtmpfs dev /dev\n{}\
         for disk in /dev/vda /dev/sda; do [ -b $disk ] && mount -t ext4 $disk /disk; done\n\
         mount --move /dev /disk/dev\nexec switch_root /disk /init\n",
        modules.commands()
    );
    let mut archive = Archive::system(busybox, &init);
    modules.add_to(&mut archive);
    archive.write(scratch("modules-test.img"))
}

/// What the first process of the disk does.
const ON_DISK: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -o remount,rw /
echo the root is $(grep -o '/ ext4 rw' /proc/mounts)
seq 1 200000 > /tmp/numbers; sync; echo 3 > /proc/sys/vm/drop_caches
sha256sum < /tmp/numbers
dmesg | grep -iE 'warning|oops|bug:|call trace|segfault|i/o error' | head -5
mount -o remount,ro /; echo done; poweroff -f
";

/// A disk whose whole is a file system in the format of ext4.
fn ext4_disk(busybox: &Path) -> Option<PathBuf> {
    let mke2fs = guest("bin/mke2fs")?;
    let (root, path) = (scratch("ext4-root"), scratch("ext4.img"));
    let _ = fs::remove_dir_all(&root);
    let _ = fs::remove_file(&path);
    for folder in ["bin", "dev", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder)).expect("room");
    }
    fs::copy(busybox, root.join("bin/busybox")).expect("room");
    fs::write(root.join("init"), ON_DISK).expect("room");
    run(Path::new("chmod"), &["755", &text(&root.join("init"))]);
    run(&mke2fs, &["-q", "-t", "ext4", "-d", &text(&root), &text(&path), "32M"]);
    Some(path)
}

#[test]
fn the_generic_kernel_has_its_root_on_disks_of_both_kinds() {
    let found = (guest("vmlinuz-generic"), guest("bin/busybox"), guest("vmlinuz-generic.root/lib"));
    let (Some(kernel), Some(busybox), Some(library)) = found else { return };
    let Some(disk) = ext4_disk(&busybox) else { return };
    let initrd = ram_disk_with_modules(&busybox, &library.join("modules"));
    let (kernel, initrd) = (text(&kernel), text(&initrd));
    let sum = host("seq 1 200000 | sha256sum");
    for interface in ["virtio", "ide"] {
        let drive = format!("{},if={interface}", disk.display());
        let machine = Machine::start(&[
            "--kernel",
            &kernel,
            "--initrd",
            &initrd,
            "--disk",
            &drive,
            "--append",
            "console=ttyS0 panic=-1",
        ]);
        let (output, status) = machine.finish();
        let said = &output[output.find("the root is").unwrap_or(0)..];
        for line in ["the root is / ext4 rw", &sum, "done"] {
            assert!(said.lines().any(|l| l == line), "{interface}: no `{line}` in: {output}");
        }
        for word in ["Call Trace", "BUG:", "Oops", "segfault", "WARNING", "I/O error"] {
            assert!(!said.contains(word), "{interface}: {word} in: {said}");
        }
        assert!(status.success(), "{status}: {said}");
    }
}

#[test]
#[ignore = "long: unpacks a large RAM disk"]
fn the_debian_installer_asks_its_first_question() {
    let (Some(kernel), Some(initrd)) = (guest("installer-linux"), guest("installer-initrd.gz"))
    else {
        return;
    };
    let (kernel, initrd) = (text(&kernel), text(&initrd));
    let mut machine = Machine::start(&["--kernel", &kernel, "--initrd", &initrd, "--memory", "1G"]);
    machine.wait_for("Select a language");
    machine.wait_for("<Go Back>");
    machine.quit();
}
