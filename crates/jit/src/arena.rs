//! Memory for compiled code: one memfd mapped twice, writable here and executable there (W^X).
#![expect(unsafe_code, reason = "maps memory and writes code into it")]

use crate::{Artifact, Unit};
use mynah_mem::host::signal::{register_code, unregister_code};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;

/// Installed code. Space is handed out in order and taken back all at once ([`CodeCache::flush`]).
#[derive(Debug)]
pub struct CodeCache {
    size: usize,
    write: usize,
    execute: usize,
    used: Mutex<usize>,
}

/// Code starts at multiples of this.
const ALIGNMENT: usize = 32;

impl CodeCache {
    /// A cache of `size` bytes (a multiple of the page size), of which the host provides memory as
    /// it is used. Errors are the host's: no memfd, or no address space.
    pub fn new(size: usize) -> io::Result<CodeCache> {
        let fd = code_file(size)?;
        let map = |protection, at| map_shared(at, size, protection, &fd);
        let write = map(libc::PROT_READ | libc::PROT_WRITE, None)?;
        let execute = map(libc::PROT_READ | libc::PROT_EXEC, None)?;
        register_code(execute, execute + size);
        // Made now, so that nothing is mapped later, where a guest may want to be.
        crate::stubs::unlinked();
        Ok(CodeCache { size, write, execute, used: Mutex::new(0) })
    }

    /// Makes the code executable; `None` if the cache is full.
    pub fn install(&self, artifact: Artifact) -> Option<Unit> {
        let Artifact { code, slots, starts, sites } = artifact;
        let mut used = self.used.lock().expect("no one panics while holding it");
        let offset = used.next_multiple_of(ALIGNMENT);
        let end = offset.checked_add(code.len()).filter(|&end| end <= self.size)?;
        // SAFETY: `offset..end` lies in the writable mapping, and nothing else writes there: it
        // was not handed out since the last flush.
        unsafe {
            let to = (self.write + offset) as *mut u8;
            to.copy_from_nonoverlapping(code.as_ptr(), code.len());
        }
        *used = end;
        Some(Unit { entry: self.execute + offset, len: code.len(), slots, starts, sites })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        *self.used.lock().expect("no one panics while holding it")
    }

    /// Starts a new generation: all installed code is gone. The caller has made sure that no vCPU
    /// is in it or can get there.
    pub fn flush(&self) {
        *self.used.lock().expect("no one panics while holding it") = 0;
    }

    /// Gives the child of a fork code memory of its own, at the same addresses and with the same
    /// content: the mappings it inherited are the parent's too. Called in the child, with no other
    /// thread, and not from compiled code.
    pub fn after_fork(&self) -> io::Result<()> {
        let fd = code_file(self.size)?;
        let used = self.used();
        let mut done = 0;
        while done < used {
            // SAFETY: reads `done..used` of the writable mapping, which is in use.
            let written = unsafe {
                let from = (self.write + done) as *const libc::c_void;
                libc::pwrite(fd.as_raw_fd(), from, used - done, done as i64)
            };
            if written <= 0 {
                return Err(io::Error::last_os_error());
            }
            done += written as usize;
        }
        for (at, protection) in [
            (self.write, libc::PROT_READ | libc::PROT_WRITE),
            (self.execute, libc::PROT_READ | libc::PROT_EXEC),
        ] {
            map_shared(Some(at), self.size, protection, &fd)?;
        }
        Ok(())
    }
}

impl Drop for CodeCache {
    fn drop(&mut self) {
        unregister_code(self.execute);
        for at in [self.write, self.execute] {
            // SAFETY: unmaps this cache's own mapping, which nothing uses any more: units are run
            // by vCPUs, which keep the engine that keeps the cache.
            unsafe { libc::munmap(at as *mut libc::c_void, self.size) };
        }
    }
}

fn code_file(size: usize) -> io::Result<OwnedFd> {
    // SAFETY: makes a file from a descriptor that the call has just created.
    let fd = unsafe {
        let fd = libc::memfd_create(c"mynah-code".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: sets the size of our own file.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), size as i64) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

/// Maps the file, at `at` (over this cache's own earlier mapping) or anywhere.
fn map_shared(at: Option<usize>, size: usize, protection: i32, fd: &OwnedFd) -> io::Result<usize> {
    let fixed = if at.is_some() { libc::MAP_FIXED } else { 0 };
    let hint = at.unwrap_or(0) as *mut libc::c_void;
    // SAFETY: maps at a free address, or over a mapping of the same size that this cache owns.
    let address =
        unsafe { libc::mmap(hint, size, protection, libc::MAP_SHARED | fixed, fd.as_raw_fd(), 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(address as usize)
}
