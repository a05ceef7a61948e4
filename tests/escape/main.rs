//! A hostile guest: from all vCPUs at once it accesses every kind of address around its RAM in
//! every way, programs devices with numbers of chance, sends those that access memory everywhere, and
//! rewrites its page tables and its code while it uses them. Mynah neither crashes nor hangs: its
//! monitor answers all the time, its memory stays bounded, and what the guest may not write stays
//! as it was. Guest RAM lies between guards, and an access to those kills Mynah: a failure.
//!
//! The guest is in the folder `guest`; the host's gcc builds it. A machine that the guest ends or
//! that has lived for a while is followed by the next, with another seed.

mod build;
#[path = "../machine/mod.rs"]
mod machine;

use build::{Config, Guest};
use machine::guests::{scratch, text};
use machine::monitor::Monitor;
use machine::{Machine, socket};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// A vCPU that has not answered for so long hangs; the monitor itself has less patience. (A host
/// that punishes locked accesses across lines of its cache may let one take ten seconds.)
const PATIENCE: Duration = Duration::from_secs(180);

/// Host memory that a machine may have beyond its RAM: translated code, most of all.
const OVERHEAD: u64 = 600 << 20;

/// The attacks, in the order in which the guest counts them.
const ATTACKS: [&str; 12] = [
    "accesses",
    "strings",
    "page tables",
    "ports",
    "PCI configuration",
    "registers",
    "virtio",
    "IDE",
    "firmware configuration",
    "rewritten code",
    "user code",
    "system code",
];

/// What the monitor is asked.
const QUESTIONS: [&str; 19] = [
    "info registers",
    "info status",
    "info tlb",
    "info mem",
    "info irq",
    "info pci",
    "info jit",
    "info block",
    "info network",
    "xp /16xb 0x9fff8",
    "xp /4xg 0x1102ff0",
    "x /8i $pc",
    "x /8xg $sp",
    "cpu 1",
    "cpu 0",
    "stop",
    "cont",
    "screendump /dev/null",
    "system_reset",
];

/// What one machine did.
#[derive(Default)]
struct Life {
    attacks: [u64; ATTACKS.len()],
    /// The guest ended it.
    ended: bool,
    /// Most host memory.
    memory: u64,
}

/// Lets machines live, one after the other.
struct Trial {
    tier: &'static str,
    guest: Guest,
    /// The file of this name, which belongs to this trial.
    file: Box<dyn Fn(&str) -> PathBuf>,
    attacks: [u64; ATTACKS.len()],
    memory: u64,
    lives: u32,
    ended: u32,
}

impl Trial {
    /// A machine with this seed lives for so long, or until the guest ends it.
    fn live(&mut self, seed: u64, time: Duration) {
        let cpus = 2 + seed % 3;
        let memory = match seed % 16 {
            // Some of it above 4 GiB.
            7 => (3 << 30) + (5 << 20),
            even if even % 2 == 0 => (17 << 20) + 0x3000,
            _ => 20 << 20,
        };
        let is_firmware = seed.is_multiple_of(4);
        let image = self.guest.image(Config { seed, memory, cpus }, is_firmware);
        let kernel = (self.file)("image");
        fs::write(&kernel, image).expect("room");
        let kernel = text(&kernel);
        let path = socket(&format!("escape-{}", self.tier));
        let _ = fs::remove_file(&path);
        let monitor = format!("unix:{}", path.display());
        let [written, read_only, ide, disc] = ["written", "read-only", "ide", "disc"].map(|name| {
            let file = (self.file)(name);
            if !file.exists() {
                fs::write(&file, contents(name)).expect("room");
            }
            text(&file)
        });
        let (cpus_text, memory_text) = (cpus.to_string(), format!("{}K", memory >> 10));
        let threshold = (1 + seed % 40).to_string();
        let start = if is_firmware { "--firmware" } else { "--kernel" };
        let options = [
            [start, &kernel],
            ["--smp", &cpus_text],
            ["--memory", &memory_text],
            ["--tier", self.tier],
            ["--threshold", &threshold],
            ["--monitor", &monitor],
            ["--serial", "/dev/null"],
            // What the guest sends goes nowhere.
            ["--net", "user,restrict=on"],
            ["--disk", &format!("{written},format=raw")],
            ["--disk", &format!("{read_only},format=raw,readonly")],
            ["--disk", &format!("{ide},format=raw,if=ide")],
            ["--cdrom", &disc],
        ];
        let options = options.concat();
        let machine = Machine::start(&options).patience(PATIENCE);
        let mut watched = Watched { machine, seed, what: options.join(" "), life: Life::default() };
        watched.watch(&path, time, cpus, memory + OVERHEAD);
        for (file, word) in [(&read_only, "read-only"), (&disc, "disc")] {
            let is_same = fs::read(file).expect("it is there") == contents(word);
            assert!(is_same, "seed {seed}: {file} was written");
        }
        let life = watched.life;
        self.lives += 1;
        self.ended += u32::from(life.ended);
        self.memory = self.memory.max(life.memory);
        self.attacks.iter_mut().zip(life.attacks).for_each(|(all, count)| *all += count);
    }
}

/// What a disk holds at first.
fn contents(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(1 << 20).collect()
}

/// A machine that is watched.
struct Watched {
    machine: Machine,
    seed: u64,
    what: String,
    life: Life,
}

impl Watched {
    fn fail(&self, message: &str) -> ! {
        let errors = self.machine.errors();
        panic!("seed {}: {message}\nmynah boot {}\n{errors}", self.seed, self.what)
    }

    /// Looks at the machine until its time has come.
    fn watch(&mut self, path: &std::path::Path, time: Duration, cpus: u64, most: u64) {
        let start = Instant::now();
        let Some(mut monitor) = self.connect(path) else { return };
        let mut turn = self.seed as usize;
        while start.elapsed() < time {
            std::thread::sleep(Duration::from_millis(150));
            turn += 1;
            let question = QUESTIONS[turn % QUESTIONS.len()];
            let answered = self.ask(&mut monitor, question).is_some()
                && self.count(&mut monitor, cpus)
                && self.ask(&mut monitor, "cont").is_some();
            if !answered {
                return;
            }
            if let Some(memory) = resident(self.machine.id()) {
                self.life.memory = self.life.memory.max(memory);
                if memory > most {
                    self.fail(&format!("{} MiB of host memory", memory >> 20));
                }
            }
        }
        if monitor.tell("quit").is_err() {
            self.end();
            return;
        }
        let status = self.machine.wait();
        self.check(status);
    }

    /// Connects to the monitor, unless the guest is faster.
    fn connect(&mut self, path: &std::path::Path) -> Option<Monitor> {
        let start = Instant::now();
        loop {
            if let Ok(monitor) = UnixStream::connect(path).and_then(Monitor::over) {
                return Some(monitor);
            }
            if let Some(status) = self.machine.ended() {
                self.machine.wait();
                self.check(status);
                self.life.ended = true;
                return None;
            }
            if start.elapsed() > PATIENCE {
                self.fail("the monitor does not answer");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The monitor's answer, or nothing if the guest has ended the machine.
    fn ask(&mut self, monitor: &mut Monitor, question: &str) -> Option<String> {
        let start = Instant::now();
        loop {
            match monitor.try_ask(question) {
                Ok(answer) if answer.contains("does not answer") => {
                    if start.elapsed() > PATIENCE {
                        self.fail(&format!("{question}: {answer}"));
                    }
                }
                Ok(answer) => return Some(answer),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.fail(&format!("{question}: no answer"));
                }
                Err(_) => {
                    self.end();
                    return None;
                }
            }
        }
    }

    /// Reads the guest's counters; `false` if it has ended the machine.
    fn count(&mut self, monitor: &mut Monitor, cpus: u64) -> bool {
        let mut attacks = [0; ATTACKS.len()];
        for cpu in 0..cpus {
            let address = build::CPUS + cpu * build::CPU_SIZE;
            let question = format!("xp /{}xg {address:#x}", ATTACKS.len());
            let Some(answer) = self.ask(monitor, &question) else { return false };
            let words = answer.lines().flat_map(|line| line.split_whitespace().skip(1));
            for (count, word) in attacks.iter_mut().zip(words) {
                *count += u64::from_str_radix(word, 16).unwrap_or(0);
            }
        }
        // After a reset they begin anew; and the guest may have overwritten them.
        let all: u64 = attacks.iter().sum();
        if all > self.life.attacks.iter().sum() && all < 1 << 24 {
            self.life.attacks = attacks;
        }
        true
    }

    /// The guest has ended the machine.
    fn end(&mut self) {
        let status = self.machine.wait();
        self.check(status);
        self.life.ended = true;
    }

    /// Checks how Mynah has ended.
    fn check(&self, status: ExitStatus) {
        let errors = self.machine.errors();
        let fine = match status.code() {
            // Turned off, or ended by the monitor.
            Some(0) => errors.is_empty(),
            Some(1) if !errors.is_empty() => {
                errors.lines().count() == 1 && errors.contains("met a triple fault")
            }
            // The exit device: twice what was written, and one.
            Some(status) => status % 2 == 1 && errors.is_empty(),
            None => false,
        };
        if !fine {
            self.fail(&format!("{status}"));
        }
    }
}

/// Bytes of the host's memory that a process has.
fn resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Lets machines live for so long on a tier, beginning with this seed.
fn escape(tier: &'static str, seeds: u64, time: Duration) {
    let Some(guest) = Guest::build(&format!("escape-{tier}-{}", time.as_secs())) else { return };
    let name = format!("escape-{tier}-{}", time.as_secs());
    let file = move |file: &str| scratch(&format!("{name}-{file}"));
    let (attacks, memory, lives, ended) = ([0; ATTACKS.len()], 0, 0, 0);
    let mut trial = Trial { tier, guest, file: Box::new(file), attacks, memory, lives, ended };
    let start = Instant::now();
    let mut seed = seeds;
    while start.elapsed() < time {
        let left = time.saturating_sub(start.elapsed());
        let life = if seed % 10 == 9 { 20 } else { 1 + seed % 4 };
        eprintln!("tier {tier}: seed {seed}");
        trial.live(seed, Duration::from_secs(life).min(left));
        seed += 1;
    }
    let Trial { lives, ended, memory, attacks, .. } = trial;
    eprintln!(
        "tier {tier}: {lives} machines, {ended} ended by the guest, at most {} MiB",
        memory >> 20
    );
    for (name, count) in ATTACKS.iter().zip(attacks) {
        eprintln!("  {name:24} {count}");
        assert!(count > 0 || time < Duration::from_secs(60), "{name}: never done");
    }
    assert!(attacks.iter().sum::<u64>() > 100, "the guest has done next to nothing: {attacks:?}");
}

/// Any number, unless the user names one by which something can be repeated.
fn seeds() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    let named = std::env::var("MYNAH_SEED").ok().and_then(|seed| seed.parse().ok());
    named.unwrap_or_else(|| RandomState::new().hash_one(0) >> 40)
}

const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(600);

#[test]
fn nothing_escapes_tier_0() {
    escape("0", 1, SHORT);
}

#[test]
fn nothing_escapes_tier_1() {
    escape("1", 1, SHORT);
}

#[test]
fn nothing_escapes_all_tiers() {
    escape("auto", 1, SHORT);
}

#[test]
#[ignore = "long: ten minutes"]
fn nothing_escapes_tier_0_in_ten_minutes() {
    escape("0", seeds(), LONG);
}

#[test]
#[ignore = "long: ten minutes"]
fn nothing_escapes_tier_1_in_ten_minutes() {
    escape("1", seeds(), LONG);
}

#[test]
#[ignore = "long: ten minutes"]
fn nothing_escapes_all_tiers_in_ten_minutes() {
    escape("auto", seeds(), LONG);
}
