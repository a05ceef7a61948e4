//! `cargo xtask test`: every test there is, and a summary.

use crate::{guests, shell};
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each fuzz target runs, in seconds; 0 runs none
    #[arg(long, value_name = "N", default_value_t = 10)]
    fuzz_seconds: u32,
    /// Leaves out whole programs in a release build
    #[arg(long)]
    quick: bool,
}

/// One step of the chore and how it went.
struct Step {
    name: String,
    time: Duration,
    result: Result<(), String>,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    guests::collect()?;
    let mut steps = Vec::new();
    // The development profile checks overflow and invariants; it is optimised enough for rows and
    // short programs.
    step(&mut steps, "workspace, checked", || {
        shell::run(shell::cargo().args(["test", "--workspace", "--locked"]))
    });
    if !options.quick {
        step(&mut steps, "whole programs, release", || {
            shell::run(
                shell::cargo()
                    .args(["test", "--release", "--locked", "--test", "programs"])
                    .args(["--", "--include-ignored", "--test-threads", "2"]),
            )
        });
    }
    fuzz(&mut steps, options.fuzz_seconds);
    println!("\nsummary");
    for step in &steps {
        let verdict = if step.result.is_ok() { "ok" } else { "FAILED" };
        println!("  {:30} {:7.1} s  {verdict}", step.name, step.time.as_secs_f64());
    }
    let failures: Vec<_> = steps.into_iter().filter_map(|step| step.result.err()).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n       ")) }
}

fn step(steps: &mut Vec<Step>, name: &str, work: impl FnOnce() -> Result<(), String>) {
    println!("\n── {name}");
    let start = Instant::now();
    let result = work();
    steps.push(Step { name: name.to_owned(), time: start.elapsed(), result });
}

/// Runs each target for a while as the plain program that it also is; 0 seconds run none. Seeds are
/// the same each time, so that a failure repeats.
fn fuzz(steps: &mut Vec<Step>, seconds: u32) {
    let folder = shell::root().join("fuzz");
    let manifest = folder.join("Cargo.toml");
    if seconds == 0 || !manifest.exists() {
        return;
    }
    for target in targets(&folder) {
        step(steps, &format!("fuzz {target}"), || {
            let (manifest, seconds) = (manifest.display().to_string(), seconds.to_string());
            shell::run(
                shell::cargo()
                    .args(["run", "--release", "--manifest-path", &manifest, "--bin", &target])
                    .args(["--", "--cases", "1000000000", "--seconds", &seconds]),
            )
        });
    }
}

fn targets(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("fuzz_targets")).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}
