//! Tests with image files. Those of qcow2 make and check them with `qemu-img`, and say that they did
//! nothing where there is none.

use super::*;
use crate::Unmap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mynah-disk-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a temporary folder");
        Folder(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("a temporary file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs qemu-img; `None` if there is none.
fn qemu_img(args: &[&str]) -> Option<(i32, String)> {
    match Command::new("qemu-img").args(args).output() {
        Ok(out) => {
            let text = [out.stdout, out.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            Some((out.status.code().unwrap_or(-1), text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("nothing tested: no qemu-img");
            None
        }
        Err(error) => panic!("qemu-img: {error}"),
    }
}

/// `true` if qemu-img made an image.
fn create(path: &Path, args: &[&str]) -> bool {
    let path = path.to_str().expect("a path in UTF-8");
    let mut all = vec!["create", "-q", "-f", "qcow2"];
    all.extend(args.iter().filter(|arg| !arg.ends_with('M')));
    all.push(path);
    all.extend(args.iter().filter(|arg| arg.ends_with('M')));
    match qemu_img(&all) {
        Some((status, text)) => {
            assert_eq!(status, 0, "{text}");
            true
        }
        None => false,
    }
}

fn check(path: &Path) {
    let path = path.to_str().expect("a path in UTF-8");
    if let Some((status, text)) = qemu_img(&["check", "-f", "qcow2", path]) {
        assert_eq!(status, 0, "{text}");
    }
}

fn open(path: &Path) -> Box<dyn Disk> {
    let opened = Options::new(path).open().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(opened.notes, [""; 0]);
    opened.disk
}

fn refusal(options: Options) -> String {
    match options.open() {
        Ok(_) => panic!("opened"),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            text
        }
    }
}

fn sector(disk: &mut dyn Disk, sector: u64) -> u8 {
    let mut buffer = [0xee; SECTOR];
    disk.read(sector, &mut buffer).expect("sectors can be read");
    assert!(buffer.iter().all(|byte| *byte == buffer[0]), "a torn sector");
    buffer[0]
}

fn fill(disk: &mut dyn Disk, at: u64, count: usize, byte: u8) {
    disk.write(at, &vec![byte; count * SECTOR]).expect("sectors can be written");
}

#[test]
fn a_raw_image_keeps_what_is_written() {
    let folder = Folder::new();
    let path = folder.file("a.img", &[7; 10 * SECTOR + 100]);
    let mut disk = open(&path);
    assert_eq!((disk.sectors(), disk.is_read_only()), (11, false));
    let mut last = [9; SECTOR];
    disk.read(10, &mut last).expect("the last sector");
    assert_eq!((last[99], last[100]), (7, 0));
    fill(&mut disk, 2, 3, 5);
    disk.write_zeroes(3..4, Unmap::No).expect("zeros");
    disk.write_zeroes(5..7, Unmap::Allowed).expect("zeros");
    disk.discard(9..10).expect("discard");
    disk.flush().expect("flush");
    let seen: Vec<u8> = (1..9).map(|at| sector(&mut disk, at)).collect();
    assert_eq!(seen, [7, 5, 0, 5, 0, 0, 7, 7]);
    assert!(disk.read(10, &mut [0; 2 * SECTOR]).is_err());
    assert!(disk.write(u64::MAX, &[0; SECTOR]).is_err());
    assert!(disk.read(0, &mut [0; 100]).is_err());
    assert!(disk.discard(10..12).is_err());
    drop(disk);
    assert_eq!(fs::read(&path).expect("the image")[2 * SECTOR], 5);
}

#[test]
fn a_guest_cannot_change_the_format_of_a_guessed_raw_image() {
    let folder = Folder::new();
    let path = folder.file("a.img", &[0; 8 * SECTOR]);
    let mut header = vec![0; 2 * SECTOR];
    header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    let mut disk = open(&path);
    let error = disk.write(0, &header).expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    disk.write(1, &header).expect("elsewhere it does no harm");
    drop(disk);
    let asked = Options::new(&path).format(Some(Format::Raw)).open().expect("opens");
    let mut disk = asked.disk;
    disk.write(0, &header).expect("the user said that it is raw");
}

#[test]
fn a_snapshot_leaves_the_image_alone() {
    let folder = Folder::new();
    let path = folder.file("a.img", &[1; 64 * SECTOR]);
    let mut disk = Options::new(&path).snapshot(&folder.0).open().expect("opens").disk;
    let mut second = Options::new(&path).snapshot(&folder.0).open().expect("shares").disk;
    assert!(!disk.is_read_only());
    fill(&mut disk, 10, 4, 2);
    fill(&mut disk, 12, 4, 3);
    disk.write_zeroes(11..12, Unmap::No).expect("zeros");
    disk.flush().expect("flush");
    let seen: Vec<u8> = (9..17).map(|at| sector(&mut disk, at)).collect();
    assert_eq!(seen, [1, 2, 0, 3, 3, 3, 3, 1]);
    let mut all = vec![0; 64 * SECTOR];
    disk.read(0, &mut all).expect("a read across all");
    let seen: Vec<u8> = (9..17).map(|at| all[at * SECTOR]).collect();
    assert_eq!(seen, [1, 2, 0, 3, 3, 3, 3, 1]);
    assert!(disk.write(63, &[0; 2 * SECTOR]).is_err());
    assert_eq!(sector(&mut second, 10), 1);
    drop((disk, second));
    assert!(fs::read(&path).expect("the image").iter().all(|byte| *byte == 1));
    assert_eq!(fs::read_dir(&folder.0).expect("the folder").count(), 1);
}

#[test]
fn what_cannot_be_opened_is_said_in_a_line() {
    let folder = Folder::new();
    let rows: [(&[u8], Option<Format>, &str); 6] = [
        (b"", None, "it has no sectors"),
        (b"KDMV", None, "it is a VMDK image"),
        (b"QFI\xfb\0\0\0\x01", None, "it is a qcow image"),
        (b"QFI\xfb\0\0\0\x03", None, "its header is cut short"),
        (b"hello", Some(Format::Qcow2), "it is not a qcow2 image"),
        (&[0xff; 4096], Some(Format::Qcow2), "it is not a qcow2 image"),
    ];
    for (bytes, format, what) in rows {
        let path = folder.file("odd.img", bytes);
        let text = refusal(Options::new(&path).format(format));
        assert!(text.contains(what) && text.contains("odd.img"), "{text}");
    }
    let text = refusal(Options::new(folder.0.join("none.img")));
    assert!(text.contains("there is no such file; qemu-img create"), "{text}");
    assert!(refusal(Options::new(&folder.0)).contains("it is a folder"));
}

#[test]
fn an_image_has_one_writer() {
    let folder = Folder::new();
    let path = folder.file("a.img", &[0; 8 * SECTOR]);
    let writer = open(&path);
    assert!(refusal(Options::new(&path)).contains("another machine uses it"));
    assert!(refusal(Options::new(&path).read_only(true)).contains("another machine writes it"));
    drop(writer);
    let reader = Options::new(&path).read_only(true).open().expect("opens");
    let _other = Options::new(&path).read_only(true).open().expect("readers share");
    assert!(refusal(Options::new(&path)).contains("another machine uses it"));
    let mut disk = reader.disk;
    assert!(disk.is_read_only());
    let error = disk.write(0, &[0; SECTOR]).expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert!(disk.discard(0..1).is_err() && disk.write_zeroes(0..1, Unmap::No).is_err());
}

#[test]
fn qemu_respects_our_locks() {
    let folder = Folder::new();
    let path = folder.0.join("a.qcow2");
    if !create(&path, &["4M"]) {
        return;
    }
    let disk = open(&path);
    let name = path.to_str().expect("a path in UTF-8");
    let (status, text) = qemu_img(&["check", name]).expect("there is one");
    assert!(status != 0 && text.contains("lock"), "{text}");
    drop(disk);
    check(&path);
}

#[test]
fn a_qcow2_image_keeps_what_is_written() {
    let folder = Folder::new();
    let path = folder.0.join("a.qcow2");
    if !create(&path, &["-o", "cluster_size=4096", "64M"]) {
        return;
    }
    let mut disk = Options::new(&path).id("serial number é 0123456789").open().expect("opens").disk;
    assert_eq!((disk.sectors(), disk.id()), (64 << 11, "serialnumber01234567"));
    for at in 0..200 {
        fill(&mut disk, at * 631, 3, at as u8 + 1);
    }
    disk.write_zeroes(631..632, Unmap::No).expect("zeros");
    disk.write_zeroes(1261..1270, Unmap::Allowed).expect("zeros");
    disk.discard(3000 * 8..4000 * 8).expect("discard");
    disk.flush().expect("flush");
    drop(disk);
    check(&path);
    let mut disk = open(&path);
    assert_eq!(sector(&mut disk, 0), 1);
    assert_eq!((sector(&mut disk, 631), sector(&mut disk, 632)), (0, 2));
    assert_eq!((sector(&mut disk, 1261), sector(&mut disk, 1262)), (0, 0));
    assert_eq!((sector(&mut disk, 199 * 631 + 2), sector(&mut disk, 199 * 631 + 3)), (200, 0));
    assert!(disk.read((64 << 11) - 1, &mut [0; 2 * SECTOR]).is_err());
}

#[test]
fn images_of_all_kinds_are_read_and_written() {
    let folder = Folder::new();
    let data: Vec<u8> = (0..4096 * SECTOR).map(|at| (at / SECTOR / 3) as u8).collect();
    let raw = folder.file("a.img", &data);
    let options = [
        "compat=0.10",
        "compat=1.1,lazy_refcounts=on",
        "cluster_size=512",
        "cluster_size=2M",
        "compat=1.1,refcount_bits=1",
        "data_file=DATA,data_file_raw=on",
        "compressed",
        "compressed,cluster_size=4096",
    ];
    for (number, options) in options.into_iter().enumerate() {
        let path = folder.0.join(format!("{number}.qcow2"));
        let outer = folder.0.join(format!("{number}.data"));
        let name = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let options = options.replace("DATA", &name(&outer));
        let compressed = options.strip_prefix("compressed");
        let options = compressed.unwrap_or(&options).trim_start_matches(',').to_owned();
        let (from, to) = (name(&raw), name(&path));
        let mut args = vec!["convert", "-f", "raw", "-O", "qcow2"];
        args.extend(compressed.map(|_| "-c"));
        args.extend((!options.is_empty()).then_some("-o"));
        args.extend((!options.is_empty()).then_some(options.as_str()));
        args.extend([from.as_str(), to.as_str()]);
        let Some((status, text)) = qemu_img(&args) else { return };
        assert_eq!(status, 0, "{options}: {text}");
        let mut expected = data.clone();
        let mut disk = open(&path);
        for at in [0_u64, 100, 1000, 4000] {
            fill(&mut disk, at, 10, 0xcd);
            let at = at as usize * SECTOR;
            expected[at..at + 10 * SECTOR].fill(0xcd);
        }
        disk.write_zeroes(2000..2200, Unmap::Allowed).expect("zeros");
        expected[2000 * SECTOR..2200 * SECTOR].fill(0);
        disk.flush().expect("flush");
        let mut all = vec![0; data.len()];
        disk.read(0, &mut all).expect("sectors can be read");
        assert!(all == expected, "{options}");
        drop(disk);
        check(&path);
        open(&path).read(0, &mut all).expect("sectors can be read");
        assert!(all == expected, "{options}, opened again");
    }
}

#[test]
fn damaged_images_are_refused_or_read() {
    let folder = Folder::new();
    let path = folder.0.join("a.qcow2");
    if !create(&path, &["-o", "cluster_size=4096", "64M"]) {
        return;
    }
    let mut disk = open(&path);
    for at in 0..30 {
        fill(&mut disk, at * 4001, 5, 1);
    }
    drop(disk);
    let good = fs::read(&path).expect("the image");
    let mut seed = 1_u64;
    let mut random = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % bound
    };
    for _ in 0..100 {
        let mut bytes = good.clone();
        for _ in 0..=random(3) {
            // The header, or any of the tables.
            let at = if random(2) == 0 { 8 + random(100) } else { random(bytes.len()) };
            bytes[at] = [0, 0xff, 0x80, random(256) as u8][random(4)];
        }
        if random(8) == 0 {
            bytes.truncate(random(good.len()));
        }
        let path = folder.file("damaged.qcow2", &bytes);
        let Ok(opened) = Options::new(&path).format(Some(Format::Qcow2)).open() else { continue };
        let mut disk = opened.disk;
        let mut buffer = vec![0; 64 * SECTOR];
        for at in 0..30 {
            // Whatever comes of it.
            let _ = disk.read(at * 4001, &mut buffer);
            let _ = disk.write(at * 4003, &buffer);
        }
        let _ = disk.flush();
    }
}

#[test]
fn images_with_wrong_tables_are_not_written() {
    let folder = Folder::new();
    let path = folder.0.join("a.qcow2");
    if !create(&path, &["-o", "cluster_size=4096", "64M"]) {
        return;
    }
    let mut disk = open(&path);
    fill(&mut disk, 0, 100, 1);
    drop(disk);
    let good = fs::read(&path).expect("the image");
    let reftable = u64::from_be_bytes(good[48..56].try_into().expect("eight bytes")) as usize;
    let rows: [(usize, u8, &str); 5] = [
        (79, 1, "out of date"),                 // incompatible feature: dirty
        (79, 2, "marked as corrupt"),           // the same: corrupt
        (23, 40, "makes no sense"),             // cluster_bits
        (reftable + 6, 0, "says that nothing"), // the first block of counts
        (46, 0x7f, "says that nothing"),        // the L1 table's place
    ];
    for (at, byte, what) in rows {
        let mut bytes = good.clone();
        bytes[at] = byte;
        fs::write(&path, &bytes).expect("the image");
        let text = refusal(Options::new(&path));
        let same = text.contains(what) || text.contains("not in the file");
        assert!(same && text.contains("qemu-img check -r all"), "{at}: {text}");
    }
}

#[test]
fn backing_files_show_through() {
    let folder = Folder::new();
    folder.file("base.img", &[1; 4 << 20]);
    let (mid, top) = (folder.0.join("mid.qcow2"), folder.0.join("top.qcow2"));
    if !create(&mid, &["-b", "base.img", "-F", "raw"]) {
        return;
    }
    let mut disk = open(&mid);
    fill(&mut disk, 100, 10, 2);
    drop(disk);
    assert!(create(&top, &["-b", "mid.qcow2", "-F", "qcow2"]));
    let mut disk = open(&top);
    fill(&mut disk, 105, 10, 3);
    let seen = [99, 104, 105, 114, 115].map(|at| sector(&mut disk, at));
    assert_eq!(seen, [1, 2, 3, 3, 1]);
    // The file below is in use, if only for reading.
    assert!(refusal(Options::new(&mid)).contains("another machine uses it"));
    drop(disk);
    for path in [&mid, &top] {
        check(path);
    }
    fs::remove_file(&mid).expect("removed");
    let text = refusal(Options::new(&top));
    assert!(text.contains("mid.qcow2: there is no such file"), "{text}");
    // A circle.
    fs::copy(&top, &mid).expect("copied");
    let text = refusal(Options::new(&top).read_only(true));
    assert!(text.contains("in a circle"), "{text}");
}

/// Set for the process that is killed: the image.
const VICTIM: &str = "MYNAH_DISK_TEST_IMAGE";

/// What [`what_was_flushed_survives_a_kill`] runs and kills.
#[test]
fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let mut disk = open(Path::new(&path));
    for round in 1..=u8::MAX {
        for at in 0..64 {
            fill(&mut disk, at * 1531 % 100_000, 9, round);
        }
        if round % 5 == 0 {
            disk.write_zeroes(20_000..30_000, Unmap::Allowed).expect("zeros");
        }
        disk.flush().expect("flush");
        println!("flushed {round}");
    }
}

#[test]
fn what_was_flushed_survives_a_kill() {
    let folder = Folder::new();
    for rounds in [1, 3, 5, 8] {
        let path = folder.0.join(format!("{rounds}.qcow2"));
        if !create(&path, &["-o", "cluster_size=4096", "64M"]) {
            return;
        }
        let program = std::env::current_exe().expect("the test has a file");
        let mut child = Command::new(program)
            .args(["--exact", "open::tests::victim", "--nocapture", "--test-threads=1"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the victim starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let flushed = lines.map_while(Result::ok).filter(|line| line.contains("flushed "));
        let last = flushed.take(rounds).last().expect("it flushes");
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        let round: u8 = last.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        // Clusters that nothing refers to may be left over (status 3), but nothing is damaged.
        let name = path.to_str().expect("a path in UTF-8");
        let (status, text) = qemu_img(&["check", "-f", "qcow2", name]).expect("there is one");
        assert!(status == 0 || status == 3, "{text}");
        let mut disk = open(&path);
        for at in (0..64).map(|at| at * 1531 % 100_000) {
            let zeroed = (20_000..30_000).contains(&at);
            let found = sector(&mut disk, at);
            assert!(found >= round || zeroed, "sector {at}: {found}, flushed {round}");
        }
    }
}
