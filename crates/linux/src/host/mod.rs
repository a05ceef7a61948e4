//! The host kernel: its system calls as the guest's calls use them.
//!
//! Unlike the C library's wrappers these leave `errno` alone, and [`interruptible`] closes the gap
//! between the look at a thread's pending signal and the entry into the kernel.

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

/// As [`call`], but fails with EINTR, and has not entered the kernel, if `pending` is not 0. A
/// signal whose handler sets `pending` and calls [`leave_gap`] is never slept through.
pub(crate) fn interruptible(
    pending: &AtomicU32,
    number: i64,
    args: [u64; 6],
) -> Result<u64, Errno> {
    Errno::decode(arch::interruptible(pending, number, args))
}
