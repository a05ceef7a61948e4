//! The host kernel: its system calls as the guest's calls use them.
//!
//! Unlike the C library's wrappers these leave `errno` alone, and [`interruptible`] closes the gap
//! between the look at a thread's pending signal and the entry into the kernel.
#![expect(unsafe_code, reason = "processes are made by the C library")]

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

#[cfg(not(target_arch = "x86_64"))]
mod portable;
#[cfg(not(target_arch = "x86_64"))]
use portable as arch;

use crate::Errno;
use std::sync::atomic::AtomicU32;

pub(crate) use arch::{RESTORER, leave_gap};

/// Makes host system call `number` as it is.
pub(crate) fn call(number: i64, args: [u64; 6]) -> Result<u64, Errno> {
    Errno::decode(arch::call(number, args))
}

/// As [`call`], but fails with [`Errno::ERESTARTNOINTR`], and has not entered the kernel, if
/// `pending` is not 0. A signal whose handler sets `pending` and calls [`leave_gap`] is never slept
/// through.
pub(crate) fn interruptible(
    pending: &AtomicU32,
    number: i64,
    args: [u64; 6],
) -> Result<u64, Errno> {
    Errno::decode(arch::interruptible(pending, number, args))
}

/// Keeps Mynah's own heap in its data segment: memory mapped for it at any time could otherwise take
/// a place that the guest has unmapped and is about to map again.
#[cfg(target_env = "gnu")]
pub(crate) fn keep_heap_apart() {
    // SAFETY: sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_MAX, 0);
    }
}

/// Other allocators have no such setting.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_heap_apart() {}

/// fork(2) for `flags` 0, else clone(2) with them: 0 in the child, its number in the parent, or
/// the negative error number.
pub(crate) fn fork(flags: u64, exit_signal: u64) -> i32 {
    if flags == 0 && exit_signal == libc::SIGCHLD as u64 {
        // SAFETY: the caller holds what locks the child needs; the library looks after its own.
        let pid = unsafe { libc::fork() };
        return if pid < 0 { -last_errno() } else { pid };
    }
    match call(libc::SYS_clone, [flags | exit_signal, 0, 0, 0, 0, 0]) {
        Ok(pid) => pid as i32,
        Err(errno) => -errno.0,
    }
}

/// Runs `child` in a new process that shares this one's memory, on a stack of its own of `stack`
/// bytes, and waits until it has executed a program or ended. `child` must not return. Yields its
/// number or the negative error number.
pub(crate) fn vfork(
    flags: u64,
    exit_signal: u64,
    stack: usize,
    mut child: &mut dyn FnMut(),
) -> i32 {
    extern "C" fn enter(child: *mut std::ffi::c_void) -> i32 {
        // SAFETY: `child` below, which the waiting parent keeps.
        unsafe { (*child.cast::<&mut dyn FnMut()>())() };
        127
    }
    let mut memory: Vec<u128> = Vec::with_capacity(stack / 16);
    let flags = flags as i32 | exit_signal as i32 | libc::CLONE_VM | libc::CLONE_VFORK;
    // SAFETY: the stack is the child's alone and outlives it, since CLONE_VFORK makes this thread
    // wait; `child` does too.
    let pid = unsafe {
        let top = memory.as_mut_ptr().add(memory.capacity());
        libc::clone(enter, top.cast(), flags, (&raw mut child).cast())
    };
    if pid < 0 { -last_errno() } else { pid }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EAGAIN)
}
