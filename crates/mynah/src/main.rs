//! The `mynah` command.

fn main() -> std::process::ExitCode {
    mynah_cli::main()
}
