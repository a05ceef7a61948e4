//! Files under /proc that tell of the process itself, where Mynah's own would be told of instead.

use crate::{Errno, Process, host};
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;

/// The name below /proc/self of `path`, if it names a file of this process.
fn own_name<'a>(path: &'a CStr) -> Option<&'a [u8]> {
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
        b"auxv" => Some(process.image.auxv.clone()),
        b"cmdline" => {
            let (start, end) = process.image.args;
            let mut text = vec![0; end.saturating_sub(start).min(1 << 22) as usize];
            process.space.read(start, &mut text).ok()?;
            Some(text)
        }
        _ => None,
    }
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
