//! The row tests: every file of `tests/insn` on every runner.
//!
//! `BLESS=1 cargo test -p mynah-testkit --test insn` first fills in listings and expectations from
//! the host CPU.

use libtest_mimic::{Arguments, Failed, Trial};
use mynah_riscv::RiscV;
use mynah_testkit::check::{bless, check, check_listings};
use mynah_testkit::native::Native;
use mynah_testkit::rows::files;
use mynah_testkit::runner::Runner;
use mynah_testkit::subject::Subject;
use mynah_testkit::tier::{Tier, TierRunner};
use mynah_x86::X86;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for file in files(X86::FOLDER) {
        if std::env::var_os("BLESS").is_some() {
            bless_file(&file);
        }
        trial::<X86>(&mut trials, &file, "host", || {
            Native::new().map(|native| Box::new(native) as Box<dyn Runner<X86>>)
        });
        tiers::<X86>(&mut trials, &file);
    }
    for file in files(RiscV::FOLDER) {
        tiers::<RiscV>(&mut trials, &file);
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn tiers<S: Subject>(trials: &mut Vec<Trial>, file: &Path) {
    for tier in Tier::ALL {
        trial::<S>(trials, file, tier.name(), move || Some(Box::new(TierRunner::<S>::new(tier))));
    }
    let path = file.to_path_buf();
    trials.push(Trial::test(name::<S>(file, "listing"), move || {
        check_listings::<S>(&read(&path)).map_err(Failed::from)
    }));
}

fn trial<S: Subject>(
    trials: &mut Vec<Trial>,
    file: &Path,
    runner: &str,
    make: impl FnOnce() -> Option<Box<dyn Runner<S>>> + Send + 'static,
) {
    let path = file.to_path_buf();
    trials.push(Trial::test(name::<S>(file, runner), move || match make() {
        Some(mut runner) => {
            check::<S>(&read(&path), runner.as_mut()).map(drop).map_err(Failed::from)
        }
        None => Ok(()),
    }));
}

fn name<S: Subject>(file: &Path, runner: &str) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    format!("{}/{stem}::{runner}", S::FOLDER)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn bless_file(path: &Path) {
    let Some(mut native) = Native::new() else {
        panic!("this host's CPU is no oracle");
    };
    let text = read(path);
    let blessed = bless(&text, &mut native).unwrap_or_else(|e| panic!("{}, {e}", path.display()));
    if blessed != text {
        std::fs::write(path, blessed).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}
