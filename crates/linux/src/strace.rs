//! The lines of `--strace`: a call as strace(1) writes it.

use crate::Errno;
use crate::row::{Kind, Names, Row};
use crate::space::Space;
use std::fmt::Write;

/// Bytes of a buffer that are shown.
const SHOWN: usize = 32;

/// Call `row` with `args`, and what it came to; `None` if it does not return.
pub(crate) fn line(
    space: &Space,
    row: &Row,
    args: &[u64; 6],
    result: Option<Result<u64, Errno>>,
) -> String {
    let writer = Writer { space, args, result: result.and_then(Result::ok) };
    let mut text = format!("{}(", row.name);
    for (index, arg) in row.args.iter().enumerate() {
        if matches!(arg.kind, Kind::Mode) && !creates(row, args, index) {
            break;
        }
        if index > 0 {
            text.push_str(", ");
        }
        writer.argument(&mut text, arg.kind, args[index]);
    }
    text.push(')');
    finish(text, result)
}

/// Whether the mode in argument `index` counts: open(2) looks at it only if it makes a file.
fn creates(row: &Row, args: &[u64; 6], index: usize) -> bool {
    const CREATES: i32 = libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY;
    let after_flags = index > 0 && matches!(row.args[index - 1].kind, Kind::Mixed(..));
    !after_flags || args[index - 1] & CREATES as u64 != 0
}

/// Call `name`, of which nothing more is known.
pub(crate) fn unknown(name: &str, args: &[u64; 6], result: Result<u64, Errno>) -> String {
    let args: Vec<String> = args.iter().map(|arg| format!("{arg:#x}")).collect();
    finish(format!("{name}({})", args.join(", ")), Some(result))
}

fn finish(mut text: String, result: Option<Result<u64, Errno>>) -> String {
    while text.len() < 39 {
        text.push(' ');
    }
    let _ = match result {
        None => write!(text, " = ?"),
        // Addresses are long, counts and descriptors short.
        Some(Ok(value)) if value > u64::from(u32::MAX) => write!(text, " = {value:#x}"),
        Some(Ok(value)) => write!(text, " = {value}"),
        Some(Err(Errno::ERESTARTSYS | Errno::ERESTARTNOINTR | Errno::ERESTARTNOHAND)) => {
            write!(text, " = ? (interrupted)")
        }
        Some(Err(errno)) => write!(text, " = -1 {} ({errno})", errno.name()),
    };
    text
}

struct Writer<'a> {
    space: &'a Space,
    args: &'a [u64; 6],
    /// The result of a call that succeeded.
    result: Option<u64>,
}

impl Writer<'_> {
    fn argument(&self, text: &mut String, kind: Kind, value: u64) {
        // Writing to a string does not fail.
        let _ = match kind {
            Kind::Int | Kind::Fd => write!(text, "{}", value as i32),
            Kind::Uint => write!(text, "{}", value as u32),
            Kind::Long => write!(text, "{}", value as i64),
            Kind::Size => write!(text, "{value}"),
            Kind::Hex => write!(text, "{value:#x}"),
            Kind::DirFd if value as i32 == libc::AT_FDCWD => write!(text, "AT_FDCWD"),
            Kind::DirFd => write!(text, "{}", value as i32),
            Kind::Mode => write!(text, "0{:03o}", value as u32),
            Kind::Flags(names) => write!(text, "{}", flags(names, value as u32)),
            Kind::Mixed(mask, choices, names) => {
                let choice = choice(choices, value & mask);
                match value & !mask & 0xffff_ffff {
                    0 => write!(text, "{choice}"),
                    rest => write!(text, "{choice}|{}", flags(names, rest as u32)),
                }
            }
            Kind::Enum(names) => write!(text, "{}", choice(names, value & 0xffff_ffff)),
            Kind::Signal => write!(text, "{}", signal(value as i32)),
            _ if value == 0 => write!(text, "NULL"),
            Kind::Path | Kind::Text => match self.space.cstr(value) {
                Ok(string) => write!(text, "\"{}\"", string.to_bytes().escape_ascii()),
                Err(_) => write!(text, "{value:#x}"),
            },
            Kind::SigSet => match self.space.load::<u64>(value) {
                Ok(set) => write!(text, "{}", signals(set)),
                Err(_) => write!(text, "{value:#x}"),
            },
            Kind::Timespec(count) => self.timespecs(text, value, count),
            Kind::In(len) => self.buffer(text, value, self.args[len]),
            Kind::Out(_) => match self.result {
                Some(len) => self.buffer(text, value, len),
                None => write!(text, "{value:#x}"),
            },
            Kind::SockAddr(len) => self.socket_address(text, value, self.args[len]),
            Kind::InIov(count) => self.iov(text, value, self.args[count], u64::MAX),
            Kind::OutIov(count) => match self.result {
                Some(len) => self.iov(text, value, self.args[count], len),
                None => write!(text, "{value:#x}"),
            },
            Kind::OutFixed(4) => self.words::<u32>(text, value, 1),
            Kind::OutFixed(8) => self.words::<u32>(text, value, 2),
            Kind::InFixed(bytes) if bytes <= SHOWN => {
                self.words::<u64>(text, value, bytes as u64 / 8)
            }
            Kind::Address
            | Kind::InFixed(_)
            | Kind::OutFixed(_)
            | Kind::OutArray(..)
            | Kind::OutSized(_)
            | Kind::OutMsg
            | Kind::OutMsgs(_) => write!(text, "{value:#x}"),
        };
    }

    /// Up to [`SHOWN`] of the `len` bytes at `va`, quoted.
    fn buffer(&self, text: &mut String, va: u64, len: u64) -> std::fmt::Result {
        let mut bytes = vec![0; len.min(SHOWN as u64) as usize];
        if self.space.read(va, &mut bytes).is_err() {
            return write!(text, "{va:#x}");
        }
        let more = if len > SHOWN as u64 { "..." } else { "" };
        write!(text, "\"{}\"{more}", bytes.escape_ascii())
    }

    /// The integers that a call has written.
    fn words<U: mynah_mem::Unit + std::fmt::Display>(
        &self,
        text: &mut String,
        va: u64,
        count: u64,
    ) -> std::fmt::Result {
        let words: Result<Vec<U>, Errno> = (0..count)
            .map(|index| self.space.load(va.wrapping_add(index * size_of::<U>() as u64)))
            .collect();
        match (self.result, words) {
            (Some(_), Ok(words)) => {
                let words: Vec<String> = words.iter().map(U::to_string).collect();
                write!(text, "[{}]", words.join(", "))
            }
            _ => write!(text, "{va:#x}"),
        }
    }

    fn timespecs(&self, text: &mut String, va: u64, count: usize) -> std::fmt::Result {
        for index in 0..count as u64 {
            let at = va.wrapping_add(16 * index);
            let (Ok(seconds), Ok(nanoseconds)) =
                (self.space.load::<u64>(at), self.space.load::<u64>(at.wrapping_add(8)))
            else {
                return write!(text, "{va:#x}");
            };
            let separator = if index > 0 { ", " } else { "" };
            write!(
                text,
                "{separator}{{tv_sec={}, tv_nsec={}}}",
                seconds as i64, nanoseconds as i64
            )?;
        }
        Ok(())
    }

    /// The first buffers of an array, as far as `len` bytes go.
    fn iov(&self, text: &mut String, va: u64, count: u64, mut len: u64) -> std::fmt::Result {
        const BUFFERS: u64 = 4;
        text.push('[');
        for index in 0..count.min(BUFFERS) {
            let at = va.wrapping_add(16 * index);
            let (Ok(base), Ok(size)) =
                (self.space.load::<u64>(at), self.space.load::<u64>(at.wrapping_add(8)))
            else {
                break;
            };
            text.push_str(if index > 0 { ", {iov_base=" } else { "{iov_base=" });
            self.buffer(text, base, size.min(len))?;
            write!(text, ", iov_len={size}}}")?;
            len -= size.min(len);
        }
        text.push_str(if count > BUFFERS { ", ...]" } else { "]" });
        Ok(())
    }

    fn socket_address(&self, text: &mut String, va: u64, len: u64) -> std::fmt::Result {
        let mut bytes = [0; 110];
        let len = len.min(bytes.len() as u64) as usize;
        let bytes = &mut bytes[..len];
        if len < 2 || self.space.read(va, bytes).is_err() {
            return write!(text, "{va:#x}");
        }
        let port = || u16::from_be_bytes([bytes[2], bytes[3]]);
        match i32::from(u16::from_le_bytes([bytes[0], bytes[1]])) {
            libc::AF_UNIX => {
                let end = bytes.iter().skip(3).position(|&b| b == 0).map_or(len, |end| end + 3);
                let path = bytes[2..end.max(2)].escape_ascii();
                write!(text, "{{sa_family=AF_UNIX, sun_path=\"{path}\"}}")
            }
            libc::AF_INET if len >= 8 => write!(
                text,
                "{{sa_family=AF_INET, sin_port=htons({}), sin_addr=inet_addr(\"{}.{}.{}.{}\")}}",
                port(),
                bytes[4],
                bytes[5],
                bytes[6],
                bytes[7]
            ),
            libc::AF_INET6 if len >= 24 => {
                let mut address = [0; 16];
                address.copy_from_slice(&bytes[8..24]);
                let address = std::net::Ipv6Addr::from(address);
                write!(
                    text,
                    "{{sa_family=AF_INET6, sin6_port=htons({}), sin6_addr=\"{address}\"}}",
                    port()
                )
            }
            family => write!(text, "{{sa_family={family}, ...}}"),
        }
    }
}

/// `value` as names joined by `|`. Where names share bits, the table has the longer ones first.
fn flags(names: Names, value: u32) -> String {
    let mut parts = Vec::new();
    let mut rest = value;
    for &(bits, name) in names {
        let bits = bits as u32;
        if bits == value || bits != 0 && rest & bits == bits {
            parts.push(name.to_owned());
            rest &= !bits;
        }
        if rest == 0 && !parts.is_empty() {
            break;
        }
    }
    if rest != 0 || parts.is_empty() {
        parts.push(if rest == 0 { "0".to_owned() } else { format!("{rest:#x}") });
    }
    parts.join("|")
}

fn choice(names: Names, value: u64) -> String {
    match names.iter().find(|(number, _)| *number & 0xffff_ffff == value) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("{value:#x}"),
    }
}

/// The signal's name.
pub(crate) fn signal(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match number {
        1..=31 => format!("SIG{}", NAMES[number as usize - 1]),
        32..=64 => format!("SIGRT_{}", number - 32),
        _ => number.to_string(),
    }
}

fn signals(set: u64) -> String {
    let list = |set: u64| {
        let names: Vec<String> = (1..=64)
            .filter(|number| set >> (number - 1) & 1 != 0)
            .map(|number| signal(number).trim_start_matches("SIG").to_owned())
            .collect();
        names.join(" ")
    };
    // What is missing, if that is less.
    if set.count_ones() > 32 { format!("~[{}]", list(!set)) } else { format!("[{}]", list(set)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::FAMILIES;

    fn row(name: &str) -> &'static Row {
        let mut rows = FAMILIES.iter().copied().flatten();
        rows.find(|row| row.name == name).unwrap_or_else(|| panic!("no row of {name}"))
    }

    #[track_caller]
    fn check(name: &str, args: &[u64], result: Option<Result<u64, Errno>>, expected: &str) {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let line = line(&Space::default(), row(name), &all, result);
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words, expected);
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
            &[cwd, at(c"/etc/x\n".to_bytes()), flags, 0o644],
            Some(Err(Errno::ENOENT)),
            r#"openat(AT_FDCWD, "/etc/x\n", O_WRONLY|O_CREAT|O_CLOEXEC, 0644) = -1 ENOENT (No such file or directory)"#,
        );
        check("read", &[3, at(b"hello, world"), 100], Some(Ok(5)), "read(3, \"hello\", 100) = 5");
        check(
            "write",
            &[1, at(&[b'x'; 40]), 40],
            Some(Ok(40)),
            "write(1, \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"..., 40) = 40",
        );
        check("exit_group", &[3], None, "exit_group(3) = ?");
        check("kill", &[u64::MAX, 15], Some(Ok(0)), "kill(-1, SIGTERM) = 0");
        check(
            "socket",
            &[2, 1 | libc::SOCK_CLOEXEC as u64, 0],
            Some(Ok(4)),
            "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0) = 4",
        );
        check("pipe2", &[at(&[5u32, 6]), 0], Some(Ok(0)), "pipe2([5, 6], 0) = 0");
        check(
            "access",
            &[8, 0],
            Some(Err(Errno::EFAULT)),
            "access(0x8, F_OK) = -1 EFAULT (Bad address)",
        );
    }

    #[test]
    fn signal_sets() {
        assert_eq!(signals(1 << 1 | 1 << 16), "[INT CHLD]");
        assert_eq!(signals(!(1 << 8)), "~[KILL]");
    }
}
