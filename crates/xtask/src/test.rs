//! `cargo xtask test`: every test there is, and a summary.

use crate::{guests, shell};
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each fuzz target runs; 0 leaves them out
    #[arg(long, value_name = "N", default_value_t = 10)]
    fuzz_seconds: u32,
    /// Leaves out what needs a release build: long programs, machines that run for many minutes,
    /// and fuzz targets at full speed
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
        shell::run(shell::cargo().args(["test", "--workspace", "--locked", "--no-fail-fast"]))
    });
    if !options.quick {
        // Machines of several vCPUs have the host to themselves.
        for (name, test, threads) in [
            ("whole programs, release", "programs", "2"),
            ("machines, release", "boot", "1"),
            ("hostile guests, release", "escape", "1"),
        ] {
            step(&mut steps, name, || {
                shell::run(
                    shell::cargo().args(["test", "--release", "--locked", "--test", test]).args([
                        "--",
                        "--include-ignored",
                        "--test-threads",
                        threads,
                    ]),
                )
            });
        }
    }
    fuzz(&mut steps, options);
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

/// Runs each fuzz target on fresh inputs for a while; the tests have replayed the corpus. A quick
/// run takes the profile that the tests were built with.
fn fuzz(steps: &mut Vec<Step>, options: &Options) {
    let folder = shell::root().join("fuzz");
    if options.fuzz_seconds == 0 {
        return;
    }
    let seconds = options.fuzz_seconds.to_string();
    for target in targets(&folder) {
        step(steps, &format!("fuzz {target}"), || {
            let mut cargo = shell::cargo();
            cargo.args(["run", "--locked", "--quiet", "--bin", &target]);
            cargo.args((!options.quick).then_some("--release"));
            cargo.arg("--manifest-path").arg(folder.join("Cargo.toml"));
            cargo.arg("--target-dir").arg(shell::target());
            shell::run(cargo.args(["--", "--cases", "1000000000", "--seconds", &seconds]))
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
