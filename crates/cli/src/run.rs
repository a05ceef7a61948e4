//! `mynah run`: a Linux program as a process.

use clap::ValueEnum;
use mynah_engine::{Config, Tier};
use mynah_linux::Address;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run a Linux program for x86-64 or RISC-V
///
/// PROGRAM is an ELF file, or a script with a `#!` line. A name without a slash is looked up in the
/// current folder, then on the search path. Everything after PROGRAM is the program's own.
/// Programs that it starts run under Mynah too, with the same options.
///
/// Mynah ends as the program does: with its exit status, or by the signal that killed it. If the
/// program cannot be found the status is 127, if it cannot be run 126.
#[derive(clap::Args, Debug)]
#[command(override_usage = "mynah run [OPTIONS] PROGRAM [ARGS]...", after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Which tiers run guest code
    #[arg(long, value_enum, default_value_t, value_name = "TIER")]
    tier: TierName,
    /// Executions after which `--tier auto` compiles a block
    #[arg(long, value_name = "N", default_value_t = Config::default().threshold)]
    threshold: u32,
    /// At the end, report on stderr what each tier did
    #[arg(long)]
    stats: bool,
    /// Report each system call on stderr
    #[arg(long)]
    strace: bool,
    /// Look up absolute paths below DIR first: libraries of another architecture, say
    #[arg(long, value_name = "DIR")]
    sysroot: Option<PathBuf>,
    /// Wait for gdb (its `target remote`) on :PORT, ADDRESS:PORT or unix:PATH before the first
    /// instruction; programs that it starts run without
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse)]
    gdb: Option<Address>,
    /// What the program is told as its name
    #[arg(long, value_name = "NAME")]
    argv0: Option<OsString>,
    /// A variable of the program's environment, besides those that Mynah has
    #[arg(long, value_name = "NAME=VALUE", hide = true)]
    env: Vec<OsString>,
    /// The program, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  mynah run /bin/ls -l /usr/bin
  mynah run --tier 0 ./a.out                    interpret everything
  mynah run --threshold 100 ./a.out             compile sooner
  mynah run --strace ./a.out 2>calls.txt        see its system calls
  mynah run --gdb :1234 ./a.out                 then: gdb -ex 'target remote :1234' a.out
  mynah run --sysroot /usr/riscv64-linux-gnu ./a.out
                                                a dynamic RISC-V program, and its libraries";

#[derive(ValueEnum, Clone, Copy, Default, Debug)]
pub(crate) enum TierName {
    /// Interpret cold code, compile warm code in the background
    #[default]
    Auto,
    /// Interpret everything
    #[value(name = "0")]
    Zero,
    /// Compile everything before it runs
    #[value(name = "1")]
    One,
}

impl From<TierName> for Tier {
    fn from(name: TierName) -> Tier {
        match name {
            TierName::Auto => Tier::Auto,
            TierName::Zero => Tier::Interpreter,
            TierName::One => Tier::Compiler,
        }
    }
}

impl Options {
    /// The program and its arguments.
    #[cfg(test)]
    pub(crate) fn command(&self) -> &[OsString] {
        &self.command
    }
}

pub(crate) fn run(options: Options) -> ExitCode {
    let mut words = options.command.into_iter();
    let Some(name) = words.next() else {
        crate::complain("no program is named");
        return ExitCode::from(127);
    };
    let Some(program) = find(Path::new(&name)) else {
        crate::complain(&format!("{}: not found", name.display()));
        return ExitCode::from(127);
    };
    let result = mynah_linux::run(mynah_linux::Options {
        program,
        argv0: Some(options.argv0.unwrap_or(name)),
        args: words.collect(),
        env: std::env::vars_os().chain(options.env.iter().filter_map(|v| variable(v))).collect(),
        sysroot: options.sysroot,
        config: Config {
            tier: options.tier.into(),
            threshold: options.threshold,
            ..Config::default()
        },
        strace: options.strace,
        stats: options.stats,
        gdb: options.gdb,
    });
    match result {
        Ok(never) => match never {},
        Err(error) => {
            crate::complain(&error.to_string());
            ExitCode::from(if error.errno == mynah_linux::Errno::ENOENT { 127 } else { 126 })
        }
    }
}

/// The name and the value of an environment variable.
fn variable(text: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=')?;
    let part = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    Some((part(&bytes[..at]), part(&bytes[at + 1..])))
}

/// The program's file, as a shell would find it, but that the current folder counts.
fn find(name: &Path) -> Option<PathBuf> {
    let has_folder = name.components().count() > 1 || name.has_root();
    if has_folder || name.is_file() {
        return Some(name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
