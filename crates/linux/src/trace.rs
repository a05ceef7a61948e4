//! What `--strace` writes to stderr, and when.

use crate::row::Row;
use crate::signal::SigInfo;
use crate::thread::Thread;
use crate::{Errno, Process, host, strace};
use std::sync::atomic::Ordering;

/// A call has returned, or will not.
pub(crate) fn call(
    process: &Process,
    row: &Row,
    args: &[u64; 6],
    result: Option<Result<u64, Errno>>,
) {
    if process.options.strace {
        print(process, &strace::line(&process.space, row, args, result));
    }
}

/// A call that Mynah does not know.
pub(crate) fn unknown(process: &Process, number: u64, args: &[u64; 6]) {
    let name = process.call_name(number);
    tracing::debug!(number, name, "unknown system call");
    if process.options.strace {
        let name = name.map_or_else(|| format!("syscall_{number}"), str::to_owned);
        print(process, &strace::unknown(&name, args, Err(Errno::ENOSYS)));
    }
}

/// A signal is being delivered.
pub(crate) fn signal(process: &Process, info: &SigInfo) {
    if process.options.strace {
        let (name, code) = (strace::signal(info.signal()), info.code());
        let detail = match info.signal() {
            libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP => {
                format!(", si_addr={:#x}", info.address())
            }
            _ => String::new(),
        };
        print(process, &format!("--- {name} {{si_code={code}{detail}}} ---"));
    }
}

/// The process exits.
pub(crate) fn exited(process: &Process, status: i32) {
    if process.options.strace {
        print(process, &format!("+++ exited with {} +++", status & 0xff));
    }
}

/// A signal ends the process.
pub(crate) fn killed(process: &Process, signal: i32) {
    if process.options.strace {
        print(process, &format!("+++ killed by {} +++", strace::signal(signal)));
    }
}

/// Writes a line as one piece, so that those of several threads do not mix.
fn print(process: &Process, text: &str) {
    let tid = Thread::id();
    let alone = tid == process.first_tid && process.threads.load(Ordering::Relaxed) == 1;
    let line = if alone { format!("{text}\n") } else { format!("[pid {tid}] {text}\n") };
    let stderr = libc::STDERR_FILENO as u64;
    _ = host::call(libc::SYS_write, [stderr, line.as_ptr() as u64, line.len() as u64, 0, 0, 0]);
}
