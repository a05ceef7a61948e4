//! The signals by which the host asks a program to end: SIGHUP, SIGINT and SIGTERM.
//!
//! They are blocked in all threads, and one thread waits for them. The first that comes ends the
//! machine, as the user would; another one, or one that finds no machine, ends the process at once.
#![expect(unsafe_code, reason = "signal sets are the C library's")]

use libc::c_int;
use std::io;
use std::mem::MaybeUninit;

/// Signals that ask for an end.
const ENDS: [c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// Has a thread call `ends` with each signal that comes; it says whether it has seen to it. To be
/// called before the process has other threads. Signals that whoever started the process has had
/// ignored, as nohup does, stay so.
///
/// # Errors
/// The host has no threads.
pub(crate) fn heed(ends: impl Fn(c_int) -> bool + Send + 'static) -> io::Result<()> {
    let set = set_of(ENDS.into_iter().filter(|&signal| !is_ignored(signal)));
    // SAFETY: the set is initialised, and the mask that was is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    let serve = move || {
        loop {
            let mut signal = 0;
            // SAFETY: the set is initialised, and the signal's number is written to a local.
            let error = unsafe { libc::sigwait(&raw const set, &raw mut signal) };
            if error == 0 && !ends(signal) {
                die(signal);
            }
        }
    };
    std::thread::Builder::new().name("mynah-signals".into()).spawn(serve).map(drop)
}

/// Ends the process by `signal`, so that who waits for it knows why.
pub fn die(signal: c_int) -> ! {
    let set = set_of([signal]);
    // SAFETY: the default action is set for a signal, which is then let through and sent to this
    // thread; all pointers are to locals or null where that is allowed.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(signal);
    }
    // No signal that is asked for here can be survived.
    std::process::exit(128 + signal)
}

fn set_of(signals: impl IntoIterator<Item = c_int>) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; the numbers are signals'.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action only the present one is written, which a zeroed one stands for
    // should the call fail.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
