//! Files under /proc that tell of the process itself, where Mynah's own would be told of instead.

use crate::{Errno, Process, host};
use std::ffi::CStr;
use std::fmt::Write;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

/// The name below /proc/self of `path`, if it names a file of this process.
fn own_name(path: &CStr) -> Option<&[u8]> {
    let path = path.to_bytes().strip_prefix(b"/proc/")?;
    let pid = std::process::id().to_string();
    ["self", "thread-self", &pid]
        .iter()
        .find_map(|own| path.strip_prefix(own.as_bytes())?.strip_prefix(b"/"))
}

/// What the link `path` holds, if it is one of the process's own.
pub(super) fn link(process: &Process, path: &CStr) -> Option<Vec<u8>> {
    match own_name(path)? {
        b"exe" => Some(process.exe.as_os_str().as_bytes().to_vec()),
        _ => None,
    }
}

/// Opens `path`, if it is one of the process's own: a copy of what it says now.
pub(super) fn open(process: &Process, path: &CStr, flags: u64) -> Option<Result<u64, Errno>> {
    let text = content(process, own_name(path)?)?;
    Some(copy(&text, flags))
}

fn content(process: &Process, name: &[u8]) -> Option<Vec<u8>> {
    match name {
        b"maps" => Some(maps(process).into_bytes()),
        b"auxv" => Some(process.image.auxv.clone()),
        b"cmdline" => memory(process, process.image.args),
        b"environ" => memory(process, process.image.env),
        _ => None,
    }
}

/// What the process has at these addresses now.
fn memory(process: &Process, (start, end): (u64, u64)) -> Option<Vec<u8>> {
    let mut text = vec![0; end.saturating_sub(start).min(1 << 22) as usize];
    process.space.read(start, &mut text).ok()?;
    Some(text)
}

/// A line of the host's /proc/self/maps.
pub(super) struct HostArea {
    /// Its addresses.
    pub range: Range<u64>,
    /// The file's offset, device and inode.
    source: String,
    offset: u64,
    name: String,
}

/// Everything that is mapped, Mynah's own too.
pub(super) fn host_areas() -> Vec<HostArea> {
    let text = std::fs::read("/proc/self/maps").unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(host_area).collect()
}

/// `start-end perms offset device inode   name`.
fn host_area(line: &str) -> Option<HostArea> {
    let number = |text| u64::from_str_radix(text, 16).ok();
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let _permissions = fields.next()?;
    let offset = number(fields.next()?)?;
    let source = format!("{} {}", fields.next()?, fields.next()?);
    let name = fields.next().unwrap_or("").trim_start().to_owned();
    Some(HostArea { range: number(start)?..number(end)?, source, offset, name })
}

/// The guest's part of what is mapped, as the guest has protected it.
fn maps(process: &Process) -> String {
    let (heap, stack) = (process.space.heap(), process.image.stack.0);
    let mut text = String::new();
    for host in host_areas() {
        let areas = process.space.table().areas(host.range.clone());
        for (range, area) in areas {
            let allowed = |bit: i32, letter| if area.prot & bit as u32 != 0 { letter } else { '-' };
            let line = format!(
                "{:08x}-{:08x} {}{}{}{} {:08x} {}",
                range.start,
                range.end,
                allowed(libc::PROT_READ, 'r'),
                allowed(libc::PROT_WRITE, 'w'),
                allowed(libc::PROT_EXEC, 'x'),
                if area.shared { 's' } else { 'p' },
                if host.source.ends_with(" 0") {
                    0
                } else {
                    host.offset + range.start - host.range.start
                },
                host.source,
            );
            let name = if range.contains(&stack) {
                "[stack]"
            } else if range.start < heap.end && heap.start < range.end {
                "[heap]"
            } else {
                // The host's names of anonymous memory are not the guest's.
                Some(host.name.as_str()).filter(|name| !name.starts_with('[')).unwrap_or("")
            };
            let _ = match name {
                "" => writeln!(text, "{line}"),
                _ => writeln!(text, "{line:72} {name}"),
            };
        }
    }
    text
}

/// A descriptor from which `text` can be read.
fn copy(text: &[u8], flags: u64) -> Result<u64, Errno> {
    if flags & libc::O_ACCMODE as u64 != libc::O_RDONLY as u64 {
        return Err(Errno::EACCES);
    }
    let close = flags & libc::O_CLOEXEC as u64 != 0;
    let memfd_flags = if close { libc::MFD_CLOEXEC } else { 0 };
    let name = c"proc".as_ptr() as u64;
    let fd = host::call(libc::SYS_memfd_create, [name, memfd_flags.into(), 0, 0, 0, 0])?;
    let mut written = 0;
    while written < text.len() {
        let rest = &text[written..];
        let args = [fd, rest.as_ptr() as u64, rest.len() as u64, written as u64, 0, 0];
        match host::call(libc::SYS_pwrite64, args) {
            Ok(count) => written += count as usize,
            Err(Errno::EINTR) => {}
            Err(errno) => {
                let _ = host::call(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
                return Err(errno);
            }
        }
    }
    Ok(fd)
}
