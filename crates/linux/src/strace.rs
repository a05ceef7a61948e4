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
        let text = format!("{}{} = ?\n", prefix(process), shown(&process.space, &line, None));
        print(&text);
    }
    Some(line)
}

/// The call that began as `line` has ended; without a result if it has none (rt_sigreturn).
pub(crate) fn end(process: &Process, line: Option<Line>, result: Option<Result<u64, Errno>>) {
    let Some(line) = line else { return };
    let mut text = prefix(process) + &shown(&process.space, &line, result.and_then(Result::ok));
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

fn shown(space: &Space, line: &Line, result: Option<u64>) -> String {
    let args: Vec<String> = (line.row.args.iter().zip(line.args).zip(&line.texts))
        .map(|((arg, value), text)| match text {
            Some(text) => text.clone(),
            None => after(space, arg.kind, value, &line.args, result),
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
        Kind::Flags(names) => flags(names, value & 0xffff_ffff),
        Kind::Mixed(mask, choices, names) => {
            let choice = choice(choices, value & mask);
            match value & !mask & 0xffff_ffff {
                0 => choice,
                rest => format!("{choice}|{}", flags(names, rest)),
            }
        }
        Kind::Enum(names) => choice(names, value & 0xffff_ffff),
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
        Kind::SockAddr(len) => socket_address(space, value, args[len]),
        Kind::InIov(count) => iov(space, value, args[count], u64::MAX),
        Kind::Out(_) | Kind::OutIov(_) | Kind::OutFixed(4 | 8) => return None,
        Kind::Address
        | Kind::InFixed(_)
        | Kind::OutFixed(_)
        | Kind::OutArray(..)
        | Kind::OutSized(_)
        | Kind::OutMsg
        | Kind::OutMsgs(_) => format!("{value:#x}"),
    })
}

/// What an argument says after a call that returned `result`, or failed.
fn after(space: &Space, kind: Kind, value: u64, args: &[u64; 6], result: Option<u64>) -> String {
    match (kind, result) {
        (Kind::Out(len), Some(result)) => bytes(space, value, result.min(args[len])),
        (Kind::OutIov(count), Some(result)) => iov(space, value, args[count], result),
        (Kind::OutFixed(bytes @ (4 | 8)), Some(_)) => words(space, value, bytes as u64 / 4),
        _ => format!("{value:#x}"),
    }
}

fn choice(names: Names, value: u64) -> String {
    let found = names.iter().find(|(number, _)| number & 0xffff_ffff == value);
    found.map_or_else(|| format!("{value:#x}"), |(_, name)| (*name).to_owned())
}

/// The `count` 32-bit integers that a call has written.
fn words(space: &Space, va: u64, count: u64) -> String {
    let words: Result<Vec<String>, Errno> = (0..count)
        .map(|n| Ok((space.load::<u32>(va.wrapping_add(4 * n))? as i32).to_string()))
        .collect();
    words.map_or_else(|_| format!("{va:#x}"), |words| format!("[{}]", words.join(", ")))
}

/// The first buffers of an array, as far as `len` bytes go.
fn iov(space: &Space, va: u64, count: u64, mut len: u64) -> String {
    const BUFFERS: u64 = 4;
    let mut parts = Vec::new();
    for n in 0..count.min(BUFFERS) {
        let at = va.wrapping_add(16 * n);
        let (Ok(base), Ok(size)) = (space.load::<u64>(at), space.load::<u64>(at.wrapping_add(8)))
        else {
            return format!("{va:#x}");
        };
        let shown = bytes(space, base, size.min(len));
        parts.push(format!("{{iov_base={shown}, iov_len={size}}}"));
        len -= size.min(len);
    }
    let more = if count > BUFFERS { ", ..." } else { "" };
    format!("[{}{more}]", parts.join(", "))
}

fn socket_address(space: &Space, va: u64, len: u64) -> String {
    let mut bytes = [0; 110];
    let bytes = &mut bytes[..len.min(110) as usize];
    if bytes.len() < 2 || space.read(va, bytes).is_err() {
        return format!("{va:#x}");
    }
    let port = || u16::from_be_bytes([bytes[2], bytes[3]]);
    match i32::from(u16::from_le_bytes([bytes[0], bytes[1]])) {
        libc::AF_UNIX => {
            // An abstract name begins with a zero.
            let end = bytes.iter().skip(3).position(|&byte| byte == 0);
            let path = &bytes[2..end.map_or(bytes.len(), |end| end + 3)];
            let path = path.escape_ascii();
            format!("{{sa_family=AF_UNIX, sun_path=\"{path}\"}}")
        }
        libc::AF_INET if bytes.len() >= 8 => {
            let address = std::net::Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            let port = port();
            format!(
                "{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{address}\")}}"
            )
        }
        libc::AF_INET6 if bytes.len() >= 24 => {
            let mut address = [0; 16];
            address.copy_from_slice(&bytes[8..24]);
            let (address, port) = (std::net::Ipv6Addr::from(address), port());
            format!("{{sa_family=AF_INET6, sin6_port=htons({port}), sin6_addr=\"{address}\"}}")
        }
        family => format!("{{sa_family={family}, ...}}"),
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
    let list = |set: u64| {
        let names: Vec<String> = (1..=64)
            .filter(|n| set >> (n - 1) & 1 != 0)
            .map(|n| signal_name(n).trim_start_matches("SIG").to_owned())
            .collect();
        names.join(" ")
    };
    // What is missing, if that is less.
    if set.count_ones() > 32 { format!("~[{}]", list(!set)) } else { format!("[{}]", list(set)) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::FAMILIES;

    /// Call `name` with `args`, which returned `result`, or failed.
    #[track_caller]
    fn check(name: &str, args: &[u64], result: Option<u64>, expected: &str) {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let mut rows = FAMILIES.iter().copied().flatten();
        let row = rows.find(|row| row.name == name).expect("a row of that name");
        let space = Space::default();
        let texts = row.args.iter().zip(all);
        let texts = texts.map(|(arg, value)| before(&space, arg.kind, value, &all)).collect();
        assert_eq!(shown(&space, &Line { row, args: all, texts }, result), expected);
    }

    fn at<T: ?Sized>(value: &T) -> u64 {
        std::ptr::from_ref(value).cast::<u8>() as u64
    }

    #[test]
    fn lines() {
        mynah_mem::host::signal::install(None);
        let cwd = libc::AT_FDCWD as u64;
        let flags = (libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC) as u64;
        check(
            "openat",
            &[cwd, at(b"/etc/x\n\0"), flags, 0o644],
            None,
            r#"openat(AT_FDCWD, "/etc/x\n", O_WRONLY|O_CREAT|O_CLOEXEC, 0644)"#,
        );
        check("read", &[3, at(b"hello, world"), 100], Some(5), "read(3, \"hello\", 100)");
        let long = "x".repeat(32);
        check(
            "write",
            &[1, at(&[b'x'; 40]), 40],
            Some(40),
            &format!("write(1, \"{long}\"..., 40)"),
        );
        check("exit_group", &[3], None, "exit_group(3)");
        check("kill", &[u64::MAX, 15], Some(0), "kill(-1, SIGTERM)");
        let stream = 1 | libc::SOCK_CLOEXEC as u64;
        check("socket", &[2, stream, 0], Some(4), "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0)");
        check("pipe2", &[at(&[5_u32, 6]), 0], Some(0), "pipe2([5, 6], 0)");
        check("access", &[8, 0], None, "access(0x8, F_OK)");
        let address = [2_u8, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        check(
            "connect",
            &[3, at(&address), 16],
            Some(0),
            r#"connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16)"#,
        );
        check(
            "futex",
            &[0, 0x80, 1],
            None,
            "futex(NULL, FUTEX_WAIT|FUTEX_PRIVATE_FLAG, 1, 0, NULL, 0)",
        );
    }

    #[test]
    fn signal_sets() {
        assert_eq!(signal_set(1 << 1 | 1 << 16), "[INT CHLD]");
        assert_eq!(signal_set(!(1 << 8)), "~[KILL]");
    }
}
