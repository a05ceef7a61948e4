//! Fuzz targets, and what drives them without a fuzzer.
//!
//! A [`Target`] tries one case from a source of random numbers. Under cargo-fuzz the source begins
//! with the fuzzer's bytes; [`main`] makes a plain program of a target, which tries as many cases
//! as it is told, prints their rate and the share of those that tested something, and reports each
//! kind of failure once.

pub mod decode;
pub mod devices;
pub mod disks;
pub mod elf;
pub mod insn;
pub mod net;
pub mod tiers;

use crate::random::Rng;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What came of a call of [`Target::case`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// No failure.
    Passed {
        /// Cases that were tried.
        cases: u64,
        /// Of those, the ones that tested something.
        useful: u64,
    },
    /// What is tested is not there yet, such as an instruction without a lift: its name.
    Missing(String),
    /// A case failed.
    Failed {
        /// What failures with the same cause are likely to share.
        kind: String,
        /// All about it; empty if the target has reported that kind before.
        report: String,
    },
}

/// Something to fuzz.
pub trait Target {
    /// Tries the case that `rng` describes, or several that have much in common.
    fn case(&mut self, rng: &mut Rng) -> Verdict;

    /// Tries the cases that a file of the corpus lists, and counts them. `name` is the file's. The
    /// error reports what fails, or what is wrong with the file.
    fn replay(&mut self, name: &str, text: &str) -> Result<usize, String>;
}

/// The lines of a corpus file that are cases, with their numbers: all but blank ones and comments.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().map(str::trim).enumerate().map(|(at, line)| (at + 1, line));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Replays a file of which each line is the seed of a case.
fn replay_seeds(target: &mut dyn Target, text: &str) -> Result<usize, String> {
    let mut count = 0;
    for (number, line) in lines(text) {
        let seed = line.parse().map_err(|_| format!("line {number}: {line} is no seed"))?;
        if let Verdict::Failed { report, .. } = target.case(&mut Rng::new(seed)) {
            return Err(format!("line {number}\n{report}"));
        }
        count += 1;
    }
    Ok(count)
}

/// Tries the case that a fuzzer's bytes describe.
///
/// # Panics
/// If it fails, with the report.
pub fn one(target: &mut dyn Target, bytes: &[u8]) {
    if let Verdict::Failed { report, .. } = target.case(&mut Rng::from_bytes(bytes)) {
        panic!("{report}");
    }
}

/// What the command line of a target asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Cases to try at most.
    pub cases: u64,
    /// Seconds to try them in at most.
    pub seconds: u64,
    /// Of the first case.
    pub seed: u64,
    /// Kinds of failures to report.
    pub failures: usize,
    /// What to restrict the cases to; targets read it differently.
    pub only: String,
}

impl Default for Options {
    fn default() -> Options {
        Options { cases: 1_000_000, seconds: u64::MAX, seed: 1, failures: 10, only: String::new() }
    }
}

const USAGE: &str = "\
usage: [--cases N] [--seconds N] [--seed N] [--failures N] [--only TEXT]
  --cases N     cases to try (1000000)
  --seconds N   and not for longer than that
  --seed N      of the first cases (1); a report names the seed that repeats it alone
  --failures N  kinds of failures to report (10)
  --only TEXT   try only what this names; for insn, instructions whose name contains it";

impl Options {
    /// Options from a command line's arguments. The error is what to tell the user.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options::default();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(USAGE)?;
            let number = || value.replace('_', "").parse::<u64>().map_err(|_| USAGE);
            match name.as_str() {
                "--cases" => options.cases = number()?,
                "--seconds" => options.seconds = number()?,
                "--seed" => options.seed = number()?,
                "--failures" => options.failures = number()? as usize,
                "--only" => options.only = value,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

/// Counts of a run.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Cases tried.
    pub cases: u64,
    /// Of those, the ones that tested something.
    pub useful: u64,
    /// The longest time that a call of [`Target::case`] took, and its seed.
    pub slowest: (Duration, u64),
    /// What was missing, and how often.
    pub missing: BTreeMap<String, u64>,
    /// Cases and time until the first failure.
    pub first: Option<(u64, Duration)>,
    /// Reports of failures by kind, and how often that kind failed.
    pub failed: BTreeMap<String, (String, u64)>,
}

/// Tries cases as `options` say.
pub fn run(target: &mut dyn Target, options: &Options) -> Summary {
    let start = Instant::now();
    let limit = Duration::from_secs(options.seconds);
    let mut summary = Summary::default();
    for seed in options.seed.. {
        if summary.cases >= options.cases || seed % 64 == 0 && start.elapsed() >= limit {
            break;
        }
        let began = Instant::now();
        let verdict = target.case(&mut Rng::new(seed));
        summary.slowest = summary.slowest.max((began.elapsed(), seed));
        match verdict {
            Verdict::Passed { cases, useful } => {
                summary.cases += cases;
                summary.useful += useful;
                continue;
            }
            Verdict::Missing(what) => *summary.missing.entry(what).or_default() += 1,
            Verdict::Failed { kind, report } => {
                summary.first.get_or_insert((summary.cases, start.elapsed()));
                let known = summary.failed.contains_key(&kind);
                if !known && summary.failed.len() == options.failures {
                    break;
                }
                let first = || (format!("seed {seed}: {report}"), 0);
                summary.failed.entry(kind).or_insert_with(first).1 += 1;
            }
        }
        summary.cases += 1;
    }
    summary
}

/// A target as a program: tries cases as the command line says and prints what came of them.
pub fn main<T: Target>(make: impl FnOnce(&Options) -> Result<T, String>) -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut target = match make(&options) {
        Ok(target) => target,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let start = Instant::now();
    let summary = run(&mut target, &options);
    let seconds = start.elapsed().as_secs_f64();
    for (kind, (report, count)) in &summary.failed {
        println!("== {kind}: {count} failures, the first\n{report}");
    }
    for (what, count) in &summary.missing {
        println!("missing: {what} ({count})");
    }
    if let Some((cases, time)) = summary.first {
        println!("the first failure after {cases} cases, {:.1} s", time.as_secs_f64());
    }
    println!(
        "{} cases, {:.1} % useful, {:.0} a second (the slowest, seed {}, took {:.1} ms), {} kinds of \
         failures, {} missing",
        summary.cases,
        100.0 * summary.useful as f64 / summary.cases.max(1) as f64,
        summary.cases as f64 / seconds,
        summary.slowest.1,
        summary.slowest.0.as_secs_f64() * 1e3,
        summary.failed.len(),
        summary.missing.len(),
    );
    if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The entry of a fuzz target, for cargo-fuzz and as a program. The argument makes the [`Target`]
/// from [`Options`], or says why there is none.
#[macro_export]
macro_rules! fuzz_target {
    (|$options:ident| $make:expr) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            std::thread_local! {
                static TARGET: std::cell::RefCell<Box<dyn $crate::fuzz::Target>> = {
                    let $options = &$crate::fuzz::Options::default();
                    let target = $make.unwrap_or_else(|message| panic!("{message}"));
                    std::cell::RefCell::new(Box::new(target))
                };
            }
            TARGET.with_borrow_mut(|target| $crate::fuzz::one(target.as_mut(), bytes));
        });

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::fuzz::main(|$options| $make)
        }
    };
}
