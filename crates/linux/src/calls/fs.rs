//! The file system: names, attributes of what they name, and file systems themselves.

use super::{CWD, names, proc};
use crate::Errno;
use crate::abi::StatLayout;
use crate::call::Call;
use crate::row::rows;

rows! {
    stat(path: Path, buffer: OutFixed(STAT)) = Do(stat);
    lstat(path: Path, buffer: OutFixed(STAT)) = Do(lstat);
    fstat(fd: Fd, buffer: OutFixed(STAT)) = Do(fstat);
    newfstatat(dir: DirFd, path: Path, buffer: OutFixed(STAT), flags: Flags(names::AT)) = Do(newfstatat);
    statx(dir: DirFd, path: Path, flags: Flags(names::AT), mask: Hex, buffer: OutFixed(256)) = Pass;
    statfs(path: Path, buffer: OutFixed(120)) = Pass;
    fstatfs(fd: Fd, buffer: OutFixed(120)) = Pass;
    ustat(device: Hex, buffer: OutFixed(32)) = Refuse(Errno::ENOSYS);
    access(path: Path, mode: Flags(names::ACCESS)) = Do(|c| at(c, "faccessat", []));
    faccessat(dir: DirFd, path: Path, mode: Flags(names::ACCESS)) = Pass;
    faccessat2(dir: DirFd, path: Path, mode: Flags(names::ACCESS), flags: Flags(names::FACCESSAT)) = Pass;

    readlink(path: Path, buffer: Out(2), size: Size) = Do(readlink);
    readlinkat(dir: DirFd, path: Path, buffer: Out(3), size: Size) = Do(readlinkat);
    getcwd(buffer: Out(1), size: Size) = Pass;
    chdir(path: Path) = Pass;
    mkdir(path: Path, mode: Mode) = Do(|c| at(c, "mkdirat", []));
    mkdirat(dir: DirFd, path: Path, mode: Mode) = Pass;
    mknod(path: Path, mode: Mode, device: Hex) = Do(|c| at(c, "mknodat", []));
    mknodat(dir: DirFd, path: Path, mode: Mode, device: Hex) = Pass;
    rmdir(path: Path) = Do(|c| at(c, "unlinkat", [libc::AT_REMOVEDIR as u64]));
    unlink(path: Path) = Do(|c| at(c, "unlinkat", [0]));
    unlinkat(dir: DirFd, path: Path, flags: Flags(names::AT)) = Pass;
    rename(old: Path, new: Path) = Do(rename);
    renameat(old_dir: DirFd, old: Path, new_dir: DirFd, new: Path) = Do(renameat);
    renameat2(old_dir: DirFd, old: Path, new_dir: DirFd, new: Path, flags: Flags(names::RENAME)) = Pass;
    link(old: Path, new: Path) = Do(link);
    linkat(old_dir: DirFd, old: Path, new_dir: DirFd, new: Path, flags: Flags(names::AT)) = Pass;
    symlink(target: Text, path: Path) = Do(symlink);
    symlinkat(target: Text, dir: DirFd, path: Path) = Pass;
    chmod(path: Path, mode: Mode) = Do(|c| at(c, "fchmodat", []));
    fchmodat(dir: DirFd, path: Path, mode: Mode) = Pass;
    fchmodat2(dir: DirFd, path: Path, mode: Mode, flags: Flags(names::AT)) = Pass;
    chown(path: Path, user: Int, group: Int) = Do(|c| at(c, "fchownat", [0]));
    lchown(path: Path, user: Int, group: Int) = Do(|c| at(c, "fchownat", [libc::AT_SYMLINK_NOFOLLOW as u64]));
    fchownat(dir: DirFd, path: Path, user: Int, group: Int, flags: Flags(names::AT)) = Pass;
    umask(mask: Mode) = Pass;
    truncate(path: Path, length: Long) = Block(Errno::ERESTARTSYS);
    utime(path: Path, times: InFixed(16)) = Do(utime);
    utimes(path: Path, times: InFixed(32)) = Do(utimes);
    futimesat(dir: DirFd, path: Path, times: InFixed(32)) = Do(futimesat);
    utimensat(dir: DirFd, path: Path, times: Timespec(2), flags: Flags(names::AT)) = Pass;

    getxattr(path: Path, name: Text, value: Out(3), size: Size) = Pass;
    lgetxattr(path: Path, name: Text, value: Out(3), size: Size) = Pass;
    setxattr(path: Path, name: Text, value: In(3), size: Size, flags: Flags(names::XATTR)) = Pass;
    lsetxattr(path: Path, name: Text, value: In(3), size: Size, flags: Flags(names::XATTR)) = Pass;
    listxattr(path: Path, list: Out(2), size: Size) = Pass;
    llistxattr(path: Path, list: Out(2), size: Size) = Pass;
    removexattr(path: Path, name: Text) = Pass;
    lremovexattr(path: Path, name: Text) = Pass;

    inotify_init() = Do(|c| c.host("inotify_init1", [0; 6]));
    inotify_init1(flags: Flags(names::INOTIFY)) = Pass;
    inotify_add_watch(fd: Fd, path: Path, mask: Flags(names::INOTIFY_MASK)) = Pass;
    inotify_rm_watch(fd: Fd, watch: Int) = Pass;
    fanotify_init(flags: Hex, event_flags: Hex) = Refuse(Errno::EPERM);
    fanotify_mark(fd: Fd, flags: Hex, mask: Hex, dir: DirFd, path: Path) = Refuse(Errno::EPERM);
    name_to_handle_at(dir: DirFd, path: Path, handle: Address, mount: OutFixed(4), flags: Hex) = Refuse(Errno::EOPNOTSUPP);
    open_by_handle_at(mount: Fd, handle: Address, flags: Flags(names::OPEN)) = Refuse(Errno::EPERM);
    quotactl(command: Hex, special: Text, id: Int, address: Address) = Refuse(Errno::EPERM);
    chroot(path: Path) = Pass;
    mount(source: Text, target: Path, kind: Text, flags: Flags(names::MOUNT), data: Address) = Pass;
    umount2(target: Path, flags: Hex) = Pass;
    pivot_root(new: Path, old: Path) = Refuse(Errno::EPERM);
}

/// Bytes of the longest `struct stat`.
const STAT: usize = 144;

/// The call of a name in the working directory, as the `*at` call `name` with what follows.
fn at<const N: usize>(call: &mut Call<'_>, name: &str, last: [u64; N]) -> Result<u64, Errno> {
    let path = call.path(0)?;
    let given = call.row.args.len();
    let mut args = [0; 6];
    args[0] = CWD;
    args[1..=given].copy_from_slice(&call.args[..given]);
    args[1] = path.as_ptr() as u64;
    args[1 + given..][..N].copy_from_slice(&last);
    call.host(name, args)
}

fn rename(call: &mut Call<'_>) -> Result<u64, Errno> {
    let (old, new) = (call.path(0)?, call.path(1)?);
    let args = [CWD, old.as_ptr() as u64, CWD, new.as_ptr() as u64, 0, 0];
    call.host("renameat2", args)
}

fn renameat(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [old_dir, _, new_dir, ..] = call.args;
    let (old, new) = (call.path(1)?, call.path(3)?);
    let args = [old_dir, old.as_ptr() as u64, new_dir, new.as_ptr() as u64, 0, 0];
    call.host("renameat2", args)
}

fn link(call: &mut Call<'_>) -> Result<u64, Errno> {
    let (old, new) = (call.path(0)?, call.path(1)?);
    let args = [CWD, old.as_ptr() as u64, CWD, new.as_ptr() as u64, 0, 0];
    call.host("linkat", args)
}

fn symlink(call: &mut Call<'_>) -> Result<u64, Errno> {
    let path = call.path(1)?;
    let target = call.args[0];
    call.host("symlinkat", [target, CWD, path.as_ptr() as u64, 0, 0, 0])
}

fn readlink(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [_, buffer, size, ..] = call.args;
    read_link(call, CWD, 0, buffer, size)
}

fn readlinkat(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [dir, _, buffer, size, ..] = call.args;
    read_link(call, dir, 1, buffer, size)
}

fn read_link(
    call: &mut Call<'_>,
    dir: u64,
    path: usize,
    buffer: u64,
    size: u64,
) -> Result<u64, Errno> {
    if size as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    if let Some(target) = proc::link(call.process(), &call.text(path)?) {
        let len = target.len().min(size as usize);
        call.process().space.write(buffer, &target[..len])?;
        return Ok(len as u64);
    }
    let path = call.path(path)?;
    call.host("readlinkat", [dir, path.as_ptr() as u64, buffer, size, 0, 0])
}

/// How the host lays out `struct stat`.
const HOST_STAT: StatLayout =
    if cfg!(target_arch = "x86_64") { StatLayout::X86_64 } else { StatLayout::Generic };

fn stat(call: &mut Call<'_>) -> Result<u64, Errno> {
    let path = call.path(0)?;
    let buffer = call.args[1];
    stat_of(call, CWD, path.as_ptr() as u64, 0, buffer)
}

fn lstat(call: &mut Call<'_>) -> Result<u64, Errno> {
    let path = call.path(0)?;
    let buffer = call.args[1];
    stat_of(call, CWD, path.as_ptr() as u64, libc::AT_SYMLINK_NOFOLLOW as u64, buffer)
}

fn newfstatat(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [dir, path, buffer, flags, ..] = call.args;
    if path == 0 && flags & libc::AT_EMPTY_PATH as u64 != 0 {
        return stat_of(call, dir, c"".as_ptr() as u64, flags, buffer);
    }
    let path = call.path(1)?;
    stat_of(call, dir, path.as_ptr() as u64, flags, buffer)
}

fn fstat(call: &mut Call<'_>) -> Result<u64, Errno> {
    if call.process().abi.stat == HOST_STAT {
        return call.pass();
    }
    let [fd, buffer, ..] = call.args;
    if (fd as i32) < 0 {
        return Err(Errno::EBADF);
    }
    stat_of(call, fd, c"".as_ptr() as u64, libc::AT_EMPTY_PATH as u64, buffer)
}

/// Writes what newfstatat(2) tells, as the guest lays it out, to `buffer`.
fn stat_of(
    call: &mut Call<'_>,
    dir: u64,
    path: u64,
    flags: u64,
    buffer: u64,
) -> Result<u64, Errno> {
    let layout = call.process().abi.stat;
    if layout == HOST_STAT {
        return call.host("newfstatat", [dir, path, buffer, flags, 0, 0]);
    }
    let mut found = [0u64; 32];
    let flags = flags | libc::AT_NO_AUTOMOUNT as u64;
    let mask = libc::STATX_BASIC_STATS.into();
    call.host("statx", [dir, path, flags, mask, found.as_mut_ptr() as u64, 0])?;
    let bytes = encode_stat(&found, layout);
    call.process().space.write(buffer, &bytes)?;
    Ok(0)
}

/// A `struct statx`, which is the same on every architecture, as the `struct stat` of `layout`.
fn encode_stat(statx: &[u64; 32], layout: StatLayout) -> Vec<u8> {
    let (low, high) = (|word: u64| word & 0xffff_ffff, |word: u64| word >> 32);
    let pair = |low: u64, high: u64| high << 32 | low;
    let device = |word: u64| {
        let (major, minor) = (low(word), high(word));
        minor & 0xff | major << 8 | (minor & !0xff) << 12
    };
    let (block_size, links, user) = (high(statx[0]), low(statx[2]), high(statx[2]));
    let (group, mode) = (low(statx[3]), high(statx[3]) & 0xffff);
    let (inode, size, blocks) = (statx[4], statx[5], statx[6]);
    let (special, on) = (device(statx[16]), device(statx[17]));
    let mut words = match layout {
        StatLayout::X86_64 => {
            let owner = [links, pair(mode, user), group];
            [&[on, inode], &owner[..], &[special, size, block_size, blocks]].concat()
        }
        StatLayout::Generic => {
            let owner = [pair(mode, links), pair(user, group)];
            [&[on, inode], &owner[..], &[special, 0, size, block_size, blocks]].concat()
        }
    };
    // Last access, modification, change of status.
    for time in [8, 14, 12] {
        words.extend([statx[time], low(statx[time + 1])]);
    }
    words.resize(if layout == StatLayout::X86_64 { 18 } else { 16 }, 0);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn utime(call: &mut Call<'_>) -> Result<u64, Errno> {
    let times = match call.args[1] {
        0 => None,
        va => {
            let space = &call.process().space;
            Some([space.load(va)?, 0, space.load(va.wrapping_add(8))?, 0])
        }
    };
    set_times(call, CWD, 0, times)
}

fn utimes(call: &mut Call<'_>) -> Result<u64, Errno> {
    let times = timevals(call, call.args[1])?;
    set_times(call, CWD, 0, times)
}

fn futimesat(call: &mut Call<'_>) -> Result<u64, Errno> {
    let times = timevals(call, call.args[2])?;
    set_times(call, call.args[0], 1, times)
}

/// Two `struct timeval` as two `struct timespec`.
fn timevals(call: &Call<'_>, va: u64) -> Result<Option<[u64; 4]>, Errno> {
    if va == 0 {
        return Ok(None);
    }
    let mut times = [0; 4];
    for (index, field) in times.iter_mut().enumerate() {
        *field = call.process().space.load(va.wrapping_add(8 * index as u64))?;
    }
    for index in [1, 3] {
        if times[index] >= 1_000_000 {
            return Err(Errno::EINVAL);
        }
        times[index] *= 1000;
    }
    Ok(Some(times))
}

fn set_times(
    call: &mut Call<'_>,
    dir: u64,
    path: usize,
    times: Option<[u64; 4]>,
) -> Result<u64, Errno> {
    let times = times.as_ref().map_or(0, |times| times.as_ptr() as u64);
    let path = match call.args[path] {
        0 => None,
        _ => Some(call.path(path)?),
    };
    let path = path.as_ref().map_or(0, |path| path.as_ptr() as u64);
    call.host("utimensat", [dir, path, times, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::fs::MetadataExt;

    /// Both layouts of this crate's own manifest against what the host's C library says.
    #[test]
    fn layouts() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml\0");
        let mut statx = [0u64; 32];
        let mask = libc::STATX_BASIC_STATS.into();
        let args = [CWD, path.as_ptr() as u64, 0, mask, statx.as_mut_ptr() as u64, 0];
        crate::host::call(libc::SYS_statx, args).unwrap();
        let known = std::fs::metadata(path.trim_end_matches('\0')).unwrap();
        let field = |bytes: &[u8], at: usize, len: usize| {
            bytes[at..at + len].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        };
        // Offsets and lengths of dev, ino, nlink, mode, uid, gid, size, blksize, blocks, mtime.
        let x86 = [
            (0, 8),
            (8, 8),
            (16, 8),
            (24, 4),
            (28, 4),
            (32, 4),
            (48, 8),
            (56, 8),
            (64, 8),
            (88, 8),
            (96, 8),
        ];
        let generic = [
            (0, 8),
            (8, 8),
            (20, 4),
            (16, 4),
            (24, 4),
            (28, 4),
            (48, 8),
            (56, 4),
            (64, 8),
            (88, 8),
            (96, 8),
        ];
        let expected = [
            known.st_dev(),
            known.st_ino(),
            known.st_nlink(),
            known.st_mode().into(),
            known.st_uid().into(),
            known.st_gid().into(),
            known.st_size(),
            known.st_blksize(),
            known.st_blocks(),
            known.st_mtime() as u64,
            known.st_mtime_nsec() as u64,
        ];
        for (layout, fields, len) in
            [(StatLayout::X86_64, x86, 144), (StatLayout::Generic, generic, 128)]
        {
            let bytes = encode_stat(&statx, layout);
            assert_eq!(bytes.len(), len);
            assert_eq!(fields.map(|(at, len)| field(&bytes, at, len)), expected);
        }
    }
}
