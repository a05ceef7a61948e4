//! `cargo xtask compare --system`: the same Linux boots under qemu-system-x86_64 and in Mynah's system
//! machine, does the same work, and tells where each piece of it begins and ends.

#[path = "../../../../tests/boot/archive.rs"]
mod archive;

use super::programs::{COMPILED, compile};
use super::{Options, mean, mynah, tier_name};
use crate::guests::Guests;
use crate::shell;
use crate::svg::{BarChart, Group};
use archive::Archive;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the shell of the guest does, with the class and the name of each row.
const WORK: &[(&str, &str, &str)] = &[
    (
        "kernel",
        "fork and exec",
        "i=0; while [ $i -lt 300 ]; do /bin/busybox true; i=$((i+1)); done",
    ),
    ("kernel", "pipe", "dd if=/dev/zero bs=4k count=8000 2>/dev/null | cat | wc -c"),
    ("kernel", "system calls", "dd if=/dev/zero of=/dev/null bs=1 count=300000 2>/dev/null"),
    ("kernel", "page faults", "/programs/faults"),
    ("kernel", "disk", "dd if=/dev/zero of=/dev/vda bs=64k count=512 conv=fsync 2>/dev/null"),
    ("tools", "sha256", "dd if=/dev/zero bs=64k count=300 2>/dev/null | sha256sum"),
    ("tools", "gzip", "seq 1 400000 | gzip -c | wc -c"),
];

/// The modules of the disk, in the order in which they need one another.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
];

/// Bytes of the disk.
const DISK: u64 = 64 << 20;

/// A machine to boot.
struct Contender {
    name: String,
    command: Vec<String>,
}

/// A piece of work.
struct Piece {
    class: &'static str,
    name: String,
}

/// What a run said: for each piece its seconds, and its output.
type Answers = Vec<(f64, String)>;

pub(super) fn run(options: &Options, guests: &Guests) -> Result<(), String> {
    let built = shell::target().join("compare");
    fs::create_dir_all(built.join("static")).map_err(|e| format!("{}: {e}", built.display()))?;
    let (pieces, ram_disk) = work(guests, &built)?;
    let contenders = contenders(options, &ram_disk, &built)?;
    let mut least: Vec<Vec<Option<f64>>> = vec![vec![None; contenders.len()]; pieces.len()];
    let mut expected: Option<Vec<String>> = None;
    let mut complaints = Vec::new();
    for round in 0..options.runs.max(1) {
        for (i, contender) in contenders.iter().enumerate() {
            eprintln!("compare: {} boots, run {}", contender.name, round + 1);
            let answers = match boot(contender, &pieces, Duration::from_secs(options.patience)) {
                Ok(answers) => answers,
                Err(e) => {
                    complaints.push(format!("{}: {e}", contender.name));
                    continue;
                }
            };
            let said: Vec<String> = answers.iter().map(|(_, text)| text.clone()).collect();
            let expected = expected.get_or_insert_with(|| said.clone());
            for (n, (time, text)) in answers.into_iter().enumerate() {
                if text == expected[n] {
                    let before = least[n][i].unwrap_or(f64::INFINITY);
                    least[n][i] = Some(before.min(time));
                } else {
                    let name = &pieces[n].name;
                    complaints.push(format!(
                        "{}: {name}: {text:?}, not {:?}",
                        contender.name, expected[n]
                    ));
                }
            }
        }
    }
    println!("\n{}", table(&contenders, &pieces, &least));
    let picture = shell::target().join("compare-system.svg");
    let chart = chart(&contenders, &pieces, &least);
    fs::write(&picture, chart).map_err(|e| format!("{}: {e}", picture.display()))?;
    println!("plotted in {}", picture.display());
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n       ")) }
}

/// What is done, and the RAM disk that does it.
fn work(guests: &Guests, built: &Path) -> Result<(Vec<Piece>, PathBuf), String> {
    let busybox = guests.get("busybox").ok_or("busybox is needed in the guest")?;
    let gcc = guests.get("gcc").ok_or("gcc is needed to build the programs that are compared")?;
    let (_, modules) = Guests::kernel()?;
    let mut pieces = vec![Piece { class: "boot", name: "boot to init".to_owned() }];
    let mut init = String::from(
        "#!/bin/busybox sh\necho\necho =end\n/bin/busybox --install -s /bin\nexport PATH=/bin\n\
         mount -t devtmpfs dev /dev\nmount -t proc proc /proc\n",
    );
    let mut programs = Vec::new();
    for module in MODULES {
        if let Some(file) = find(&modules, &format!("{module}.ko")) {
            programs.push((format!("{module}.ko"), file));
            init += &format!("insmod /programs/{module}.ko\n");
        }
    }
    for (class, name, command) in WORK {
        pieces.push(Piece { class, name: (*name).to_owned() });
        init += &format!("echo =begin\n{command}\necho =end\n");
    }
    let sources = shell::root().join("tests/compare");
    let mut build = |source: &Path, name: &str| -> Result<(), String> {
        let file = built.join("static").join(name);
        compile(gcc, source, &file, &["-static"])?;
        programs.push((name.to_owned(), file));
        Ok(())
    };
    build(&sources.join("system/faults.c"), "faults")?;
    for (class, names) in COMPILED {
        for name in *names {
            build(&sources.join(format!("{name}.c")), name)?;
            pieces.push(Piece { class, name: (*name).to_owned() });
            init += &format!("echo =begin\n/programs/{name}\necho =end\n");
        }
    }
    init += "poweroff -f\n";
    let mut archive = Archive::system(busybox, &init);
    archive.add("programs", 0o040_755, &[], (0, 0));
    for (name, file) in programs {
        let bytes = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        archive.add(&format!("programs/{name}"), 0o100_755, &bytes, (0, 0));
    }
    Ok((pieces, archive.write(built.join("system.img"))))
}

/// The file called `name` below `folder`.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() { find(&path, name) } else { Some(path).filter(|p| p.ends_with(name)) }
    })
}

/// qemu is the first, if there is one.
fn contenders(options: &Options, ram_disk: &Path, built: &Path) -> Result<Vec<Contender>, String> {
    let (kernel, _) = Guests::kernel()?;
    let disk = built.join("system.raw");
    fs::File::create(&disk)
        .and_then(|file| file.set_len(DISK))
        .map_err(|e| format!("{}: {e}", disk.display()))?;
    let (kernel, disk) = (kernel.display().to_string(), disk.display().to_string());
    let (ram_disk, append) = (ram_disk.display().to_string(), "console=ttyS0 quiet panic=-1");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut all = Vec::new();
    match shell::find("qemu-system-x86_64") {
        Some(qemu) => {
            let qemu = qemu.display().to_string();
            let drive = format!("file={disk},if=virtio,format=raw");
            let mut command = words(&[&qemu, "-accel", "tcg", "-m", "256", "-nographic"]);
            command.extend(words(&["-no-reboot", "-kernel", &kernel, "-initrd", &ram_disk]));
            command.extend(words(&["-append", append, "-drive", &drive]));
            all.push(Contender { name: "qemu".to_owned(), command });
        }
        None => println!("compare: no qemu-system-x86_64, so Mynah runs alone"),
    }
    let mynah = mynah(options)?.display().to_string();
    for tier in &options.tiers {
        let mut command = words(&[&mynah, "boot", "--tier", tier, "--memory", "256M"]);
        command.extend(words(&["--kernel", &kernel, "--initrd", &ram_disk, "--append", append]));
        command.extend(words(&["--disk", &format!("{disk},format=raw")]));
        all.push(Contender { name: tier_name(tier), command });
    }
    Ok(all)
}

/// Boots the machine and listens until it has turned itself off.
fn boot(contender: &Contender, pieces: &[Piece], patience: Duration) -> Result<Answers, String> {
    let mut begin = Instant::now();
    let mut child = Command::new(&contender.command[0])
        .args(&contender.command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("{}: {e}", contender.command[0]))?;
    let lines = lines(&mut child);
    let (mut answers, mut text) = (Answers::new(), String::new());
    // What firmware and kernel say before the first mark counts for nothing.
    while let Ok((time, line)) = lines.recv_timeout(patience) {
        match line.as_str() {
            "=begin" => {
                begin = time;
                text.clear();
            }
            "=end" => {
                let said = if answers.is_empty() { String::new() } else { text.clone() };
                answers.push((time.duration_since(begin).as_secs_f64(), said));
            }
            // The kernel's own lines have the time in front.
            line if line.starts_with('[') => {}
            line => text += line,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    let (done, all) = (answers.len(), pieces.len());
    if done == all { Ok(answers) } else { Err(format!("{done} of {all} pieces done, then {text}")) }
}

/// The lines of the machine's console, with the moment at which each was there.
fn lines(child: &mut Child) -> mpsc::Receiver<(Instant, String)> {
    let (send, receive) = mpsc::channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        for line in stdout.into_iter().flat_map(|out| BufReader::new(out).split(b'\n')) {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if send.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    receive
}

/// Pieces that follow one another and are of one class.
fn classes(pieces: &[Piece]) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let class = pieces.get(start)?.class;
        let len = pieces[start..].iter().take_while(|piece| piece.class == class).count();
        start += len;
        Some(start - len..start)
    })
}

fn table(contenders: &[Contender], pieces: &[Piece], least: &[Vec<Option<f64>>]) -> String {
    let mut text = format!("{:18}", "");
    contenders.iter().for_each(|c| text += &format!("{:>12}", c.name));
    let against = contenders.first().filter(|c| c.name == "qemu");
    let ours = if against.is_some() { 1..contenders.len() } else { 0..0 };
    ours.clone().for_each(|i| text += &format!("{:>13}", format!("{}/qemu", contenders[i].name)));
    text.push('\n');
    let ratio = |n: usize, i: usize| Some(least[n][i]? / least[n][0]?);
    let cell = |value: Option<f64>| value.map_or("—".to_owned(), |value| format!("{value:.2}×"));
    for class in classes(pieces) {
        for n in class.clone() {
            text += &format!("{:18}", pieces[n].name);
            for time in &least[n] {
                let time = time.map_or("—".to_owned(), |time| format!("{time:.2} s"));
                text += &format!("{time:>12}");
            }
            ours.clone().for_each(|i| text += &format!("{:>13}", cell(ratio(n, i))));
            text.push('\n');
        }
        let mean = |i: usize| mean(class.clone().filter_map(|n| ratio(n, i)));
        let width = 18 + 12 * contenders.len();
        text += &format!("{:width$}", format!("  {} (mean)", pieces[class.start].class));
        ours.clone().for_each(|i| text += &format!("{:>13}", cell(mean(i))));
        text += "\n\n";
    }
    text
}

fn chart(contenders: &[Contender], pieces: &[Piece], least: &[Vec<Option<f64>>]) -> String {
    let group = |class: std::ops::Range<usize>| Group {
        label: pieces[class.start].class.to_owned(),
        values: (0..contenders.len())
            .map(|i| mean(class.clone().filter_map(|n| least[n][i])))
            .map(|time| time.map(|seconds| seconds * 1e3))
            .collect(),
    };
    let chart = BarChart {
        title: "Milliseconds in the guest (geometric means; shorter is better)".to_owned(),
        series: contenders.iter().map(|c| c.name.clone()).collect(),
        groups: classes(pieces).map(group).collect(),
    };
    chart.draw()
}
