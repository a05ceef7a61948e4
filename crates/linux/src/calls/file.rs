//! Open files: opening, reading, writing, and what else is done through a descriptor.

use super::{CWD, names, proc};
use crate::Errno;
use crate::call::Call;
use crate::row::rows;

/// How calls end that are made again after handlers with SA_RESTART.
const INTR: Errno = Errno::ERESTARTSYS;

rows! {
    open(path: Path, flags: Mixed(3, names::OPEN_MODE, names::OPEN), mode: Mode) = Do(open);
    openat(dir: DirFd, path: Path, flags: Mixed(3, names::OPEN_MODE, names::OPEN), mode: Mode) = Do(openat);
    openat2(dir: DirFd, path: Path, how: In(3), size: Size) = Block(INTR);
    creat(path: Path, mode: Mode) = Do(creat);
    close(fd: Fd) = Pass;
    close_range(first: Uint, last: Uint, flags: Flags(names::CLOSE_RANGE)) = Pass;

    read(fd: Fd, buffer: Out(2), count: Size) = Block(INTR);
    write(fd: Fd, buffer: In(2), count: Size) = Block(INTR);
    pread64(fd: Fd, buffer: Out(2), count: Size, offset: Long) = Block(INTR);
    pwrite64(fd: Fd, buffer: In(2), count: Size, offset: Long) = Block(INTR);
    readv(fd: Fd, iov: OutIov(2), count: Size) = Block(INTR);
    writev(fd: Fd, iov: InIov(2), count: Size) = Block(INTR);
    preadv(fd: Fd, iov: OutIov(2), count: Size, low: Long, high: Long) = Block(INTR);
    pwritev(fd: Fd, iov: InIov(2), count: Size, low: Long, high: Long) = Block(INTR);
    preadv2(fd: Fd, iov: OutIov(2), count: Size, low: Long, high: Long, flags: Flags(names::RWF)) = Block(INTR);
    pwritev2(fd: Fd, iov: InIov(2), count: Size, low: Long, high: Long, flags: Flags(names::RWF)) = Block(INTR);
    lseek(fd: Fd, offset: Long, whence: Enum(names::WHENCE)) = Pass;
    sendfile(out: Fd, input: Fd, offset: OutFixed(8), count: Size) = Block(INTR);
    splice(input: Fd, input_offset: OutFixed(8), out: Fd, out_offset: OutFixed(8), count: Size, flags: Flags(names::SPLICE)) = Block(INTR);
    tee(input: Fd, out: Fd, count: Size, flags: Flags(names::SPLICE)) = Block(INTR);
    vmsplice(fd: Fd, iov: OutIov(2), count: Size, flags: Flags(names::SPLICE)) = Block(INTR);
    copy_file_range(input: Fd, input_offset: OutFixed(8), out: Fd, out_offset: OutFixed(8), count: Size, flags: Hex) = Block(INTR);

    dup(fd: Fd) = Pass;
    dup2(fd: Fd, new: Fd) = Do(dup2);
    dup3(fd: Fd, new: Fd, flags: Flags(names::OPEN)) = Pass;
    pipe(fds: OutFixed(8)) = Do(pipe);
    pipe2(fds: OutFixed(8), flags: Flags(names::OPEN)) = Pass;
    fcntl(fd: Fd, command: Enum(names::FCNTL), argument: Hex) = Block(INTR);
    ioctl(fd: Fd, request: Enum(names::IOCTL), argument: Hex) = Block(INTR);
    flock(fd: Fd, operation: Flags(names::LOCK)) = Block(INTR);

    fsync(fd: Fd) = Block(INTR);
    fdatasync(fd: Fd) = Block(INTR);
    sync() = Pass;
    syncfs(fd: Fd) = Pass;
    sync_file_range(fd: Fd, offset: Long, count: Long, flags: Hex) = Block(INTR);
    ftruncate(fd: Fd, length: Long) = Block(INTR);
    fallocate(fd: Fd, mode: Flags(names::FALLOCATE), offset: Long, length: Long) = Block(INTR);
    fadvise64(fd: Fd, offset: Long, length: Long, advice: Enum(names::FADVISE)) = Pass;
    readahead(fd: Fd, offset: Long, count: Size) = Pass;
    memfd_create(name: Text, flags: Flags(names::MEMFD)) = Pass;

    getdents(fd: Fd, entries: Out(2), count: Uint) = Pass;
    getdents64(fd: Fd, entries: Out(2), count: Uint) = Pass;
    fchdir(fd: Fd) = Pass;
    fchmod(fd: Fd, mode: Mode) = Pass;
    fchown(fd: Fd, user: Int, group: Int) = Pass;
    fgetxattr(fd: Fd, name: Text, value: Out(3), size: Size) = Pass;
    fsetxattr(fd: Fd, name: Text, value: In(3), size: Size, flags: Flags(names::XATTR)) = Pass;
    flistxattr(fd: Fd, list: Out(2), size: Size) = Pass;
    fremovexattr(fd: Fd, name: Text) = Pass;
}

fn open(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [_, flags, mode, ..] = call.args;
    open_path(call, CWD, 0, flags, mode)
}

fn creat(call: &mut Call<'_>) -> Result<u64, Errno> {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    let mode = call.args[1];
    open_path(call, CWD, 0, flags as u64, mode)
}

fn openat(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [dir, _, flags, mode, ..] = call.args;
    open_path(call, dir, 1, flags, mode)
}

fn open_path(
    call: &mut Call<'_>,
    dir: u64,
    path: usize,
    flags: u64,
    mode: u64,
) -> Result<u64, Errno> {
    if let Some(own) = proc::open(call.process(), &call.text(path)?, flags) {
        return own;
    }
    let path = call.path(path)?;
    let args = [dir, path.as_ptr() as u64, flags, mode, 0, 0];
    call.host_block("openat", args, INTR)
}

fn dup2(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [old, new, ..] = call.args;
    if old as u32 != new as u32 {
        return call.host("dup3", [old, new, 0, 0, 0, 0]);
    }
    call.host("fcntl", [old, libc::F_GETFD as u64, 0, 0, 0, 0])?;
    Ok(new & 0xffff_ffff)
}

fn pipe(call: &mut Call<'_>) -> Result<u64, Errno> {
    let fds = call.args[0];
    call.host("pipe2", [fds, 0, 0, 0, 0, 0])
}
