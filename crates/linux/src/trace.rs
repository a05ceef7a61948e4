//! What `--strace` and `--stats` write to stderr.

use crate::row::Row;
use crate::signal::SigInfo;
use crate::thread::Thread;
use crate::{Errno, Process, host, strace};
use mynah_engine::Stats;
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

/// What the engine did, at the process's end.
pub(crate) fn stats(process: &Process, stats: &Stats) {
    if !process.options.stats {
        return;
    }
    let (id, time) = (std::process::id(), process.started.elapsed().as_secs_f64());
    write(&format!("process {id} ran for {time:.3} s\n{stats}\n"));
}

/// Writes a line that says which thread it is about, if there are several.
fn print(process: &Process, text: &str) {
    let tid = Thread::id();
    let alone = tid == process.first_tid && process.threads.load(Ordering::Relaxed) == 1;
    write(&if alone { format!("{text}\n") } else { format!("[pid {tid}] {text}\n") });
}

/// Writes `text` as one piece, so that those of several threads do not mix.
fn write(text: &str) {
    let stderr = libc::STDERR_FILENO as u64;
    _ = host::call(libc::SYS_write, [stderr, text.as_ptr() as u64, text.len() as u64, 0, 0, 0]);
}
