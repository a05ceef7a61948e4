//! The guest's address space.

use super::names;
use crate::Errno;
use crate::call::Call;
use crate::row::rows;
use crate::space::PAGE;

rows! {
    mmap(address: Address, length: Size, protection: Flags(names::PROT), flags: Flags(names::MAP), fd: Int, offset: Hex) = Do(mmap);
    mprotect(address: Address, length: Size, protection: Flags(names::PROT)) = Do(mprotect);
    pkey_mprotect(address: Address, length: Size, protection: Flags(names::PROT), key: Int) = Do(pkey_mprotect);
    munmap(address: Address, length: Size) = Do(munmap);
    mremap(address: Address, length: Size, new_length: Size, flags: Flags(names::MREMAP), new_address: Address) = Do(mremap);
    brk(address: Address) = Do(brk);
    madvise(address: Address, length: Size, advice: Enum(names::MADVISE)) = Do(madvise);
    mincore(address: Address, length: Size, pages: Address) = Do(mincore);
    msync(address: Address, length: Size, flags: Flags(names::MSYNC)) = Block(Errno::EINTR);
    mlock(address: Address, length: Size) = Pass;
    mlock2(address: Address, length: Size, flags: Hex) = Pass;
    munlock(address: Address, length: Size) = Pass;
    mlockall(flags: Flags(names::MLOCKALL)) = Pass;
    munlockall() = Pass;
    shmat(segment: Int, address: Address, flags: Flags(names::SHM)) = Do(shmat);
    shmdt(address: Address) = Do(shmdt);
    riscv_flush_icache(start: Address, end: Address, flags: Hex) = Do(flush);
}

fn mmap(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [va, len, prot, flags, fd, offset] = call.args;
    call.process().space.mmap(va, len, prot as u32, flags as i32, fd as i32, offset)
}

fn mprotect(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [va, len, prot, ..] = call.args;
    call.process().space.mprotect(va, len, prot as u32)
}

fn pkey_mprotect(call: &mut Call<'_>) -> Result<u64, Errno> {
    // Key -1 is none; there are no others (pkey_alloc).
    if call.int(3) != -1 {
        return Err(Errno::EINVAL);
    }
    mprotect(call)
}

fn munmap(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [va, len, ..] = call.args;
    call.process().space.munmap(va, len)
}

fn mremap(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [va, len, new_len, flags, new_va, _] = call.args;
    call.process().space.mremap(va, len, new_len, flags, new_va)
}

fn brk(call: &mut Call<'_>) -> Result<u64, Errno> {
    Ok(call.process().space.brk(call.args[0]))
}

fn madvise(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [va, len, ..] = call.args;
    let space = &call.process().space;
    if len > 0 && !space.owns(va, len) {
        return Err(Errno::ENOMEM);
    }
    let discards = matches!(
        call.int(2),
        libc::MADV_DONTNEED | libc::MADV_FREE | libc::MADV_REMOVE | libc::MADV_DONTNEED_LOCKED
    );
    if discards {
        space.changed(va, len);
    }
    call.pass()
}

fn mincore(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [_, len, pages, ..] = call.args;
    call.process().space.prepare(pages, len.div_ceil(PAGE));
    call.pass()
}

fn shmat(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [segment, va, flags, ..] = call.args;
    let len = segment_size(call, segment)?;
    let flags = flags as i32;
    let remap = flags & libc::SHM_REMAP != 0;
    if remap && !call.process().space.owns(va, len) {
        return Err(Errno::EINVAL);
    }
    // Nothing of the guest's is executable for the host.
    let host_flags = flags & !libc::SHM_EXEC;
    let at = call.host("shmat", [segment, va, host_flags as u64, 0, 0, 0])?;
    let mut prot = libc::PROT_READ;
    if flags & libc::SHM_RDONLY == 0 {
        prot |= libc::PROT_WRITE;
    }
    if flags & libc::SHM_EXEC != 0 {
        prot |= libc::PROT_EXEC;
    }
    let space = &call.process().space;
    let range = at..at + len;
    space.disown(&range);
    space.adopt(&range, prot as u32);
    Ok(at)
}

/// Bytes of a shared memory segment, whole pages.
fn segment_size(call: &mut Call<'_>, segment: u64) -> Result<u64, Errno> {
    // struct shmid_ds: struct ipc_perm of 48 bytes, the size, and more.
    let mut status = [0u64; 14];
    let args = [segment, libc::IPC_STAT as u64, status.as_mut_ptr() as u64, 0, 0, 0];
    call.host("shmctl", args)?;
    status[6].checked_next_multiple_of(PAGE).ok_or(Errno::EINVAL)
}

fn shmdt(call: &mut Call<'_>) -> Result<u64, Errno> {
    let va = call.args[0];
    if !call.process().space.is_mapped(va) {
        return Err(Errno::EINVAL);
    }
    // As far as the host has mapped the segment.
    let end = super::proc::host_areas()
        .into_iter()
        .find(|area| area.range.start == va)
        .map_or(va + PAGE, |area| area.range.end);
    call.pass()?;
    call.process().space.disown(&(va..end));
    Ok(0)
}

fn flush(_: &mut Call<'_>) -> Result<u64, Errno> {
    // Writes to code are noticed as they happen.
    Ok(0)
}
