//! Memory: mappings and the data segment.

use super::{names, proc};
use crate::row::rows;
use crate::{Call, Errno};

rows! {
    mmap(addr: Address, length: Size, prot: Flags(names::PROT), flags: Flags(names::MAP), fd: Fd, offset: Hex)
        = Do(mmap);
    munmap(addr: Address, length: Size) = Do(munmap);
    mprotect(addr: Address, length: Size, prot: Flags(names::PROT)) = Do(mprotect);
    mremap(addr: Address, old_size: Size, new_size: Size, flags: Flags(names::MREMAP), new_addr: Address)
        = Do(mremap);
    brk(addr: Address) = Do(brk);
    madvise(addr: Address, length: Size, advice: Enum(names::MADVISE)) = Do(madvise);
    msync(addr: Address, length: Size, flags: Flags(names::MSYNC)) = Block(Errno::ERESTARTSYS);
    mincore(addr: Address, length: Size, vec: Address) = Do(mincore);
    mlock(addr: Address, length: Size) = Pass;
    mlock2(addr: Address, length: Size, flags: Hex) = Pass;
    munlock(addr: Address, length: Size) = Pass;
    mlockall(flags: Flags(names::MLOCKALL)) = Pass;
    munlockall() = Pass;
    shmget(key: Hex, size: Size, flags: Hex) = Pass;
    shmctl(id: Int, command: Hex, buf: OutFixed(112)) = Pass;
    shmat(id: Int, addr: Address, flags: Flags(names::SHM)) = Do(shmat);
    shmdt(addr: Address) = Do(shmdt);
    pkey_alloc(flags: Hex, rights: Hex) = Refuse(Errno::ENOSPC);
    pkey_free(key: Int) = Refuse(Errno::EINVAL);
    pkey_mprotect(addr: Address, length: Size, prot: Flags(names::PROT), key: Int) = Do(pkey_mprotect);
    get_mempolicy(mode: Address, mask: Address, max: Size, addr: Address, flags: Hex) = Pass;
    set_mempolicy(mode: Int, mask: Address, max: Size) = Pass;
    mbind(addr: Address, length: Size, mode: Int, mask: Address, max: Size, flags: Hex) = Pass;
}

fn mmap(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [addr, length, prot, flags, fd, offset] = call.args;
    call.process().space.mmap(addr, length, prot as u32, flags as i32, fd as i32, offset)
}

fn munmap(call: &mut Call<'_>) -> Result<u64, Errno> {
    call.process().space.munmap(call.args[0], call.args[1])
}

fn mprotect(call: &mut Call<'_>) -> Result<u64, Errno> {
    call.process().space.mprotect(call.args[0], call.args[1], call.args[2] as u32)
}

fn pkey_mprotect(call: &mut Call<'_>) -> Result<u64, Errno> {
    match call.int(3) {
        -1 | 0 => mprotect(call),
        _ => Err(Errno::EINVAL),
    }
}

fn mremap(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [addr, old_size, new_size, flags, new_addr, _] = call.args;
    call.process().space.mremap(addr, old_size, new_size, flags, new_addr)
}

fn brk(call: &mut Call<'_>) -> Result<u64, Errno> {
    Ok(call.process().space.brk(call.args[0]))
}

fn madvise(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [addr, length, ..] = call.args;
    if length != 0 && !call.process().space.owns(addr, length) {
        return Err(Errno::ENOMEM);
    }
    let result = call.pass();
    // Pages may have been replaced by zeros or by the file's contents.
    call.process().space.changed(addr, length);
    result
}

fn mincore(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [addr, length, vec, ..] = call.args;
    let space = &call.process().space;
    if length != 0 && !space.owns(addr, length) {
        return Err(Errno::ENOMEM);
    }
    space.prepare(vec, length.div_ceil(mynah_mem::PAGE));
    call.pass()
}

/// Bytes of the shared memory segment `id`, in whole pages.
fn segment_bytes(call: &mut Call<'_>, id: u64) -> Result<u64, Errno> {
    // struct shmid_ds: a struct ipc_perm of 48 bytes, then the size.
    let mut data = [0_u64; 14];
    let stat = libc::IPC_STAT as u64;
    call.host("shmctl", [id, stat, data.as_mut_ptr() as u64, 0, 0, 0])?;
    Ok(data[6].next_multiple_of(mynah_mem::PAGE))
}

fn shmat(call: &mut Call<'_>) -> Result<u64, Errno> {
    const READ_WRITE: u32 = (libc::PROT_READ | libc::PROT_WRITE) as u32;
    let [id, addr, flags, ..] = call.args;
    let bytes = segment_bytes(call, id)?;
    let space = std::sync::Arc::clone(&call.process().space);
    if flags & libc::SHM_REMAP as u64 != 0 && !space.owns(addr, bytes) {
        return Err(Errno::EINVAL);
    }
    // The host makes no executable mappings for the guest.
    let host_flags = flags & !(libc::SHM_EXEC as u64);
    let at = call.host("shmat", [id, addr, host_flags, 0, 0, 0])?;
    let read_only = flags & libc::SHM_RDONLY as u64 != 0;
    let mut prot = if read_only { libc::PROT_READ as u32 } else { READ_WRITE };
    if flags & libc::SHM_EXEC as u64 != 0 {
        prot |= libc::PROT_EXEC as u32;
    }
    space.changed(at, bytes);
    space.adopt(&(at..at + bytes), prot);
    Ok(at)
}

fn shmdt(call: &mut Call<'_>) -> Result<u64, Errno> {
    let addr = call.args[0];
    if !call.process().space.owns(addr, 1) {
        return Err(Errno::EINVAL);
    }
    // As far as the host has mapped the segment.
    let end = proc::host_areas()
        .into_iter()
        .find(|area| area.range.start == addr)
        .map_or(addr + mynah_mem::PAGE, |area| area.range.end);
    call.pass()?;
    call.process().space.disown(&(addr..end));
    Ok(0)
}
