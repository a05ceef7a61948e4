//! System calls of other hosts, through the C library. A signal that arrives between the look at
//! the pending word and the entry into the kernel is noticed only when the call returns.
#![expect(unsafe_code, reason = "the C library's syscall function")]

use crate::Errno;
use std::sync::atomic::{AtomicU32, Ordering};

/// The host's system call `number`.
pub(super) fn call(number: i64, args: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = args;
    // SAFETY: which calls are made with which arguments is the guest's affair, whose memory
    // Mynah's own is apart from.
    let result = unsafe { libc::syscall(number as libc::c_long, a, b, c, d, e, f) };
    match result {
        -1 => -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
        result => result as i64,
    }
}

/// The code that returns from a signal handler: the kernel has its own.
pub(crate) const RESTORER: Option<unsafe extern "C" fn()> = None;

/// The system call unless `pending`.
pub(super) fn interruptible(pending: &AtomicU32, number: i64, args: [u64; 6]) -> i64 {
    match pending.load(Ordering::SeqCst) {
        0 => call(number, args),
        _ => -i64::from(Errno::ERESTARTNOINTR.0),
    }
}

/// The gap cannot be told from the context.
pub(crate) fn leave_gap(_context: &mut libc::ucontext_t) {}
