//! `mynah demo`: small guest programs that Mynah carries, on every tier.
//!
//! Each program takes a number of rounds, and each round executes the same number of instructions,
//! so a program's speed follows from its time.

use crate::out::print;
use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Run embedded x86-64 and RISC-V programs on each tier, and compare
///
/// Draws the Mandelbrot set, as a RISC-V program sees it, then measures three programs, each built
/// for both architectures: on tier 0 (interpreted), on tier 1 (compiled), on both as `mynah run`
/// does by default, and on the processor itself where that can run them.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Draw in colour; by default, if standard output is a terminal
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: clap::ColorChoice,
    /// How long a measurement takes, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 250)]
    milliseconds: u64,
}

const EXAMPLES: &str = "\
Examples:
  mynah demo
  mynah demo --color never            the picture in letters
  mynah demo --milliseconds 2000      measure longer, and so better";

/// A program for one guest architecture.
struct Program {
    name: &'static str,
    guest: &'static str,
    elf: &'static [u8],
}

macro_rules! programs {
    ($($name:literal $guest:literal,)*) => {
        &[$(Program {
            name: $name,
            guest: $guest,
            elf: include_bytes!(concat!("../demo/", $name, ".", $guest, ".elf")),
        }),*]
    };
}

const PROGRAMS: &[Program] = programs![
    "mandelbrot" "x86_64",
    "mandelbrot" "riscv64",
    "sieve" "x86_64",
    "sieve" "riscv64",
    "nbody" "x86_64",
    "nbody" "riscv64",
];

/// Lines of program, guest, instructions once, instructions per round.
const COUNTS: &str = include_str!("../demo/counts.txt");

/// Rounds of the run whose output is compared.
const CHECKED_ROUNDS: u64 = 3;

/// How a program is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Tier(&'static str),
    Native,
}

const WAYS: [Way; 4] = [Way::Tier("0"), Way::Tier("1"), Way::Tier("auto"), Way::Native];

/// The programs as files, as long as this lives.
struct Files {
    folder: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let files = Files::new()?;
    let color = match options.color {
        clap::ColorChoice::Always => true,
        clap::ColorChoice::Never => false,
        clap::ColorChoice::Auto => std::io::stdout().is_terminal(),
    };
    let artist = &PROGRAMS[1];
    let argument = if color { "color" } else { "plain" };
    let picture = output(&mut files.command(artist, Way::Tier("auto"), argument)?)?;
    print(&format!(
        "The Mandelbrot set, drawn by a {} program on this {} processor:\n\n{picture}\n",
        spell(artist.guest),
        spell(std::env::consts::ARCH),
    ))?;
    print(
        "Guest instructions per second, in millions (and time relative to the processor itself):\n\n",
    )?;
    let mut heading = format!("{:12}{:8}", "program", "guest");
    for way in WAYS {
        heading += &format!("{:>18}", way.name());
    }
    print(&format!("{heading}\n"))?;
    let patience = Duration::from_millis(options.milliseconds);
    for pair in PROGRAMS.chunk_by(|a, b| a.name == b.name) {
        measure(&files, pair, patience)?;
    }
    Ok(())
}

/// Prints the lines of a program, which prints the same for every guest.
fn measure(files: &Files, programs: &[Program], patience: Duration) -> Result<(), String> {
    let mut expected: Option<String> = None;
    for program in programs {
        let (once, per_round) = count(program);
        let speeds = WAYS
            .iter()
            .filter(|way| **way != Way::Native || program.guest == std::env::consts::ARCH)
            .map(|way| {
                let (text, _) = files.time(program, *way, CHECKED_ROUNDS)?;
                let expected = expected.get_or_insert_with(|| text.clone());
                if *expected != text {
                    let name = program.title(*way);
                    return Err(format!("{name} computes {}, not {expected}", text.trim()));
                }
                let (rounds, time) = files.long_run(program, *way, patience)?;
                Ok((once + per_round * rounds) as f64 / time.as_secs_f64())
            })
            .collect::<Result<Vec<f64>, String>>()?;
        let native = speeds.get(WAYS.len() - 1).copied();
        let mut line = format!("{:12}{:8}", program.name, spell(program.guest));
        for (way, speed) in WAYS.iter().zip(&speeds) {
            let ratio = match native {
                Some(native) if *way != Way::Native => format!(" ({:.1}×)", native / speed),
                _ => String::new(),
            };
            line += &format!("{:>18}", format!("{:.0}{ratio}", speed / 1e6));
        }
        print(&format!("{line}\n"))?;
    }
    Ok(())
}

impl Way {
    fn name(self) -> String {
        match self {
            Way::Tier("auto") => "auto".to_owned(),
            Way::Tier(tier) => format!("tier {tier}"),
            Way::Native => "native".to_owned(),
        }
    }
}

impl Program {
    fn title(&self, way: Way) -> String {
        format!("{} for {}, {}", self.name, spell(self.guest), way.name())
    }
}

/// An architecture's name as people write it.
fn spell(guest: &str) -> &str {
    match guest {
        "x86_64" => "x86-64",
        "riscv64" => "RISC-V",
        other => other,
    }
}

/// The program's instructions outside its rounds and in each.
fn count(program: &Program) -> (u64, u64) {
    let mut lines = COUNTS.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = lines.find_map(|words| match words[..] {
        [name, guest, once, per_round] if name == program.name && guest == program.guest => {
            Some((once.parse().ok()?, per_round.parse().ok()?))
        }
        _ => None,
    });
    found.expect("counts.txt has a line for each program")
}

impl Files {
    fn new() -> Result<Files, String> {
        let folder = std::env::temp_dir().join(format!("mynah-demo-{}", std::process::id()));
        let failed = |e| format!("{}: {e}", folder.display());
        fs::create_dir(&folder).map_err(failed)?;
        let files = Files { folder: folder.clone() };
        for program in PROGRAMS {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o700);
            let mut file: File = options.open(files.path(program)).map_err(failed)?;
            file.write_all(program.elf).map_err(failed)?;
        }
        Ok(files)
    }

    fn path(&self, program: &Program) -> PathBuf {
        self.folder.join(format!("{}.{}", program.name, program.guest))
    }

    fn command(&self, program: &Program, way: Way, argument: &str) -> Result<Command, String> {
        let file = self.path(program);
        let mut command = match way {
            Way::Native => Command::new(file),
            Way::Tier(tier) => {
                let mynah =
                    std::env::current_exe().map_err(|e| format!("Mynah's own file: {e}"))?;
                let mut command = Command::new(mynah);
                command.args(["run", "--tier", tier]).arg(file);
                command
            }
        };
        command.arg(argument);
        Ok(command)
    }

    /// The output of a run, and how long it took.
    fn time(&self, program: &Program, way: Way, rounds: u64) -> Result<(String, Duration), String> {
        let mut command = self.command(program, way, &rounds.to_string())?;
        let start = Instant::now();
        let text = output(&mut command).map_err(|e| format!("{}: {e}", program.title(way)))?;
        Ok((text, start.elapsed()))
    }

    /// Runs of growing length until one takes as long as `patience`.
    fn long_run(
        &self,
        program: &Program,
        way: Way,
        patience: Duration,
    ) -> Result<(u64, Duration), String> {
        let mut rounds = 10;
        loop {
            let (_, time) = self.time(program, way, rounds)?;
            if time * 5 >= patience * 4 {
                return Ok((rounds, time));
            }
            let wanted = patience.as_secs_f64() / time.as_secs_f64().max(1e-4);
            rounds = (rounds as f64 * wanted.clamp(1.5, 20.0)).ceil() as u64;
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the folder of temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The standard output of a command that succeeds.
fn output(command: &mut Command) -> Result<String, String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = errors.lines().next().unwrap_or_default();
        return Err(format!("{}: {first}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_counted() {
        for program in PROGRAMS {
            assert!(count(program).1 > 0, "{} {}", program.name, program.guest);
        }
    }
}
