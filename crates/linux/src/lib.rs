//! The process machine: runs a Linux program of a guest architecture as a process of the host.

mod abi;
mod call;
mod calls;
mod errno;
mod host;
mod numbers;
mod process;
mod row;
mod signal;
mod space;
mod strace;
mod thread;

pub use errno::Errno;

use call::Call;
use mynah_engine::Config;
use process::Process;
use std::ffi::OsString;
use std::path::PathBuf;

/// How to run a program.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program's file.
    pub program: PathBuf,
    /// What it is told as its name, if not `program`.
    pub argv0: Option<OsString>,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// Its environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where absolute paths are looked up first.
    pub sysroot: Option<PathBuf>,
    /// How the engine works.
    pub config: Config,
    /// Report each system call on stderr.
    pub strace: bool,
    /// Report what the engine did on stderr at the end.
    pub stats: bool,
}
