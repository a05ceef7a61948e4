//! `--strace`: one line on stderr for each system call, in the manner of strace(1).

use crate::row::{Kind, Names, Row};
use crate::signal::SigInfo;
use crate::space::Space;
use crate::thread::Thread;
use crate::{Errno, Process, host};
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Bytes of a string that are shown.
const SHOWN: usize = 32;

/// A call whose result is still to come.
pub(crate) struct Line {
    row: &'static Row,
    args: [u64; 6],
    /// The arguments as far as they can be told before the call.
    texts: Vec<Option<String>>,
}

/// Writes `line`, which has its line feed, as one piece.
fn print(line: &str) {
    let stderr = libc::STDERR_FILENO as u64;
    _ = host::call(libc::SYS_write, [stderr, line.as_ptr() as u64, line.len() as u64, 0, 0, 0]);
}

fn prefix(process: &Process) -> String {
    let tid = Thread::id();
    if tid == process.first_tid && process.threads.load(Ordering::Relaxed) == 1 {
        String::new()
    } else {
        format!("[pid {tid}] ")
    }
}

/// A call begins.
pub(crate) fn begin(process: &Process, row: &'static Row, args: [u64; 6]) -> Option<Line> {
    if !process.options.strace {
        return None;
    }
    let line = Line {
        row,
        args,
        texts: (row.args.iter().zip(args))
            .map(|(arg, value)| before(&process.space, arg.kind, value, &args))
            .collect(),
    };
    if matches!(row.name, "exit" | "execve" | "execveat") {
        let text = format!("{}{} = ?\n", prefix(process), shown(process, &line, None));
        print(&text);
    }
    Some(line)
}

/// The call that began as `line` has ended; without a result if it has none (rt_sigreturn).
pub(crate) fn end(process: &Process, line: Option<Line>, result: Option<Result<u64, Errno>>) {
    let Some(line) = line else { return };
    let mut text = prefix(process) + &shown(process, &line, result.and_then(Result::ok));
    match result {
        None => text.push_str(" = ?"),
        Some(Ok(value)) if value > 0xffff_ffff => _ = write!(text, " = {value:#x}"),
        Some(Ok(value)) => _ = write!(text, " = {value}"),
        Some(Err(errno)) if errno.0 >= 512 => _ = write!(text, " = ? {}", errno.name()),
        Some(Err(errno)) => _ = write!(text, " = -1 {} ({errno})", errno.name()),
    }
    text.push('\n');
    print(&text);
}

/// exit_group(2), which does not return.
pub(crate) fn exited(process: &Process, status: i32) {
    if process.options.strace {
        print(&format!("{}exit_group({status}) = ?\n", prefix(process)));
        print(&format!("{}+++ exited with {} +++\n", prefix(process), status & 0xff));
    }
}

/// A call that Mynah does not know.
pub(crate) fn unknown(process: &Process, number: u64, args: [u64; 6]) {
    let name = process.call_name(number).unwrap_or("?");
    tracing::debug!(number, name, "unknown system call");
    if process.options.strace {
        let prefix = prefix(process);
        let [a, b, c, ..] = args;
        print(&format!(
            "{prefix}{name}[{number}]({a:#x}, {b:#x}, {c:#x}, …) = -1 ENOSYS (not provided by Mynah)\n"
        ));
    }
}

/// A signal is being delivered.
pub(crate) fn signal(process: &Process, info: &SigInfo) {
    if process.options.strace {
        let (name, code) = (signal_name(info.signal()), info.code());
        print(&format!("{}--- {name} {{si_code={code}}} ---\n", prefix(process)));
    }
}

/// A signal ends the process.
pub(crate) fn killed(process: &Process, signal: i32) {
    if process.options.strace {
        print(&format!("{}+++ killed by {} +++\n", prefix(process), signal_name(signal)));
    }
}

fn shown(process: &Process, line: &Line, result: Option<u64>) -> String {
    let args: Vec<String> = (line.row.args.iter().zip(line.args).zip(&line.texts))
        .map(|((arg, value), text)| match text {
            Some(text) => text.clone(),
            None => after(&process.space, arg.kind, value, &line.args, result),
        })
        .collect();
    format!("{}({})", line.row.name, args.join(", "))
}

/// What an argument says before the call; `None` if that is only known afterwards.
fn before(space: &Space, kind: Kind, value: u64, args: &[u64; 6]) -> Option<String> {
    Some(match kind {
        Kind::Int => (value as i32).to_string(),
        Kind::Fd => (value as i32).to_string(),
        Kind::DirFd if value as i32 == libc::AT_FDCWD => "AT_FDCWD".to_owned(),
        Kind::DirFd => (value as i32).to_string(),
        Kind::Uint => (value as u32).to_string(),
        Kind::Long => (value as i64).to_string(),
        Kind::Size => value.to_string(),
        Kind::Hex => format!("{value:#x}"),
        Kind::Mode => format!("0{:o}", value as u32),
        Kind::Signal => signal_name(value as i32),
        Kind::Flags(names) => flags(names, value),
        Kind::Enum(names) => {
            let found = names.iter().find(|(v, _)| *v == value);
            found.map_or_else(|| format!("{value:#x}"), |(_, name)| (*name).to_owned())
        }
        _ if value == 0 => "NULL".to_owned(),
        Kind::Path | Kind::Text => match space.cstr(value) {
            Ok(text) => quoted(text.as_bytes(), usize::MAX),
            Err(_) => format!("{value:#x}"),
        },
        Kind::In(len) => bytes(space, value, args[len]),
        Kind::SigSet => match space.load::<u64>(value) {
            Ok(set) => signal_set(set),
            Err(_) => format!("{value:#x}"),
        },
        Kind::Timespec(count) => {
            let one = |n: usize| {
                let at = value.wrapping_add(16 * n as u64);
                let seconds = space.load::<u64>(at).ok()? as i64;
                let nanos = space.load::<u64>(at.wrapping_add(8)).ok()? as i64;
                Some(format!("{{tv_sec={seconds}, tv_nsec={nanos}}}"))
            };
            let all: Option<Vec<String>> = (0..count.max(1)).map(one).collect();
            match all {
                Some(all) if all.len() == 1 => all[0].clone(),
                Some(all) => format!("[{}]", all.join(", ")),
                None => format!("{value:#x}"),
            }
        }
        Kind::Out(_) => return None,
        Kind::Address
        | Kind::InFixed(_)
        | Kind::InIov(_)
        | Kind::OutFixed(_)
        | Kind::OutArray(..)
        | Kind::OutSized(_)
        | Kind::OutIov(_)
        | Kind::OutMsg => format!("{value:#x}"),
    })
}

/// What an argument says after a call that returned `result`, or failed.
fn after(space: &Space, kind: Kind, value: u64, args: &[u64; 6], result: Option<u64>) -> String {
    match (kind, result) {
        (Kind::Out(len), Some(result)) => bytes(space, value, result.min(args[len])),
        _ => format!("{value:#x}"),
    }
}

fn flags(names: Names, value: u64) -> String {
    let mut rest = value;
    let mut found = Vec::new();
    for &(bits, name) in names {
        if bits != 0 && rest & bits == bits {
            found.push(name.to_owned());
            rest &= !bits;
        }
    }
    if rest != 0 || found.is_empty() {
        let zero = names.iter().find(|(bits, _)| *bits == 0 && rest == 0);
        found.push(zero.map_or_else(|| format!("{rest:#x}"), |(_, name)| (*name).to_owned()));
    }
    found.join("|")
}

fn bytes(space: &Space, va: u64, len: u64) -> String {
    // One more than is shown tells whether there is more.
    let mut buffer = vec![0; len.min(SHOWN as u64 + 1) as usize];
    match space.read(va, &mut buffer) {
        Ok(()) => quoted(&buffer, SHOWN),
        Err(_) => format!("{va:#x}"),
    }
}

fn quoted(bytes: &[u8], most: usize) -> String {
    let shown = &bytes[..bytes.len().min(most)];
    let more = if shown.len() < bytes.len() { "..." } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii())
}

fn signal_set(set: u64) -> String {
    let names: Vec<String> = (1..=64)
        .filter(|n| set >> (n - 1) & 1 != 0)
        .map(|n| signal_name(n).trim_start_matches("SIG").to_owned())
        .collect();
    format!("[{}]", names.join(" "))
}

/// A signal's name.
pub(crate) fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match signal {
        1..=31 => format!("SIG{}", NAMES[signal as usize - 1]),
        32..=64 => format!("SIGRT_{}", signal - 32),
        _ => signal.to_string(),
    }
}
