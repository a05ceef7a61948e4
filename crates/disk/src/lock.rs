//! Locks on image files, compatible with those of QEMU, so that neither program opens what the
//! other writes.
//!
//! They are open file description locks on single bytes, which vanish with the process. For each
//! permission *i* there are two bytes: a shared lock on byte 100 + *i* says that the holder uses the
//! permission, one on byte 200 + *i* that it lets no one else use it. Who has set its locks looks
//! for contradictory ones of others.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::io;

use crate::Access;

const USES: i64 = 100;
const DENIES: i64 = 200;

// Permissions.
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// How locking went.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Lock {
    /// The file is ours, as far as was asked.
    Held,
    /// Another program has it open in a way that does not go together with this.
    Taken,
    /// The file system has no such locks.
    Unsupported,
}

/// Locks `file` against writers, and for [`Access::Write`] against readers as well. The lock lasts
/// until the file and its duplicates are closed.
pub(crate) fn lock(file: &File, access: Access) -> io::Result<Lock> {
    let uses: &[i64] = match access {
        Access::Read => &[CONSISTENT_READ],
        Access::Write => &[CONSISTENT_READ, WRITE, RESIZE],
    };
    let denies = [WRITE, RESIZE];
    let ours = uses.iter().map(|p| USES + p).chain(denies.iter().map(|p| DENIES + p));
    for byte in ours {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_RDLCK, byte))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(Lock::Taken),
            Err(Errno::EINVAL | Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                return Ok(Lock::Unsupported);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let theirs = uses.iter().map(|p| DENIES + p).chain(denies.iter().map(|p| USES + p));
    for byte in theirs {
        // Would an exclusive lock fit? Our own locks do not stand in its way.
        let mut found = range(libc::F_WRLCK, byte);
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut found)).map_err(io::Error::from)?;
        if i32::from(found.l_type) != libc::F_UNLCK {
            return Ok(Lock::Taken);
        }
    }
    Ok(Lock::Held)
}

fn range(kind: libc::c_int, byte: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}
