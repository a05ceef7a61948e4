//! The workspace's chores: `cargo xtask guests`, `test`, `compare`, `demo`.

mod compare;
mod demo;
mod guests;
mod shell;
mod svg;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Chores of the workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Collects the guest programs that tests and comparisons run, in target/guests
    ///
    /// A program that the host has is used where it is. What is missing is fetched as Debian
    /// packages with apt-get and unpacked; nothing is installed and no root is needed.
    Guests,
    /// Collects guest programs, then runs every test and a short fuzz run
    Test(test::Options),
    /// Runs a fixed set of programs natively, under qemu and under Mynah, and compares the times
    ///
    /// Prints a table and draws target/compare.svg. Outputs must agree, or the chore fails.
    Compare(compare::Options),
    /// Builds the demo's guest programs from their sources in crates/cli/demo, and the guest of
    /// `mynah boot` from crates/pc/guest
    Demo,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Guests => guests::collect().map(|_| ()),
        Chore::Test(options) => test::run(&options),
        Chore::Compare(options) => compare::run(&options),
        Chore::Demo => demo::build(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
