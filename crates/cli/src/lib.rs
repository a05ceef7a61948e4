//! The command line: `mynah run`, `mynah boot`, `mynah demo`, `mynah explain`.

mod boot;
mod demo;
mod explain;
mod out;
mod run;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Runs Linux programs of one architecture on another, by translating them as they run
#[derive(Parser, Debug)]
#[command(name = "mynah", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mynah demo                          see it work: no guest files are needed
  mynah run ls -l /                   run a program of this machine
  mynah run ./hello.riscv64           run a RISC-V program
  mynah run --stats python3 -c pass   see what the translator did
  mynah explain --hex '48 01 d8 c3'   see how guest code is translated

`mynah COMMAND --help` tells more.";

#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Options),
    Boot(Box<boot::Options>),
    Demo(demo::Options),
    Explain(explain::Options),
}

/// Runs the command line that the process was started with.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(options) => run::run(options),
        Command::Boot(options) => boot::run(&options),
        Command::Demo(options) => finish(demo::run(&options)),
        Command::Explain(options) => finish(explain::run(&options)),
    }
}

/// The exit status of a command that fails with a message.
fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// Text on stderr, as it is.
fn tell(text: &str) {
    // Nobody can be told that stderr is closed.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

/// One line on stderr.
fn complain(message: &str) {
    // Nobody can be told that stderr is closed.
    let _ =
        std::io::Write::write_all(&mut std::io::stderr(), format!("mynah: {message}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_guests_arguments_are_left_alone() {
        let words = ["mynah", "run", "--tier", "0", "ls", "--tier", "-l", "--", "x"];
        let Command::Run(options) = Arguments::parse_from(words).command else {
            panic!("`run` is the command");
        };
        assert_eq!(options.command(), ["ls", "--tier", "-l", "--", "x"]);
    }

    #[test]
    fn an_unknown_option_is_not_a_program() {
        assert!(Arguments::try_parse_from(["mynah", "run", "--teir", "0", "ls"]).is_err());
    }
}
