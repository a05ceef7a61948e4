//! The host's synchronous signals: turns a refused access into an error for interpreted code and
//! helpers, and into a return with [`EXIT_FAULT`] for compiled code.
//!
//! The handler only redirects; everything else happens in ordinary context afterwards, from what
//! [`last_fault`] tells. A signal from anywhere else, or sent by another process, goes to the hook
//! of the machine ([`install`]).
#![expect(unsafe_code, reason = "signal handlers and their machine contexts")]

use crate::{Access, Cause};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What compiled code returns when the host refused one of its accesses.
pub const EXIT_FAULT: u64 = u64::MAX;

/// A refused access as the host reported it.
#[derive(Clone, Copy, Debug)]
pub struct HostFault {
    /// Host address of the instruction.
    pub pc: usize,
    /// The address it could not access; 0 if the host did not say (not canonical).
    pub va: u64,
    /// What it wanted.
    pub access: Access,
    /// Why it was refused.
    pub cause: Cause,
    /// The signal: SIGSEGV, SIGBUS or SIGFPE.
    pub signal: i32,
}

thread_local! {
    static LAST: Cell<HostFault> = const {
        Cell::new(HostFault {
            pc: 0,
            va: 0,
            access: Access::Read,
            cause: Cause::Unmapped,
            signal: 0,
        })
    };
}

/// The last refused access of this thread.
pub fn last_fault() -> HostFault {
    LAST.get()
}

/// Address ranges of compiled code, as pairs of start and end; 0 where free.
static CODE: [[AtomicUsize; 2]; 64] = [const { [const { AtomicUsize::new(0) }; 2] }; 64];

/// Declares host addresses `start..end` to hold compiled code: Tail functions with frame pointers whose caller saved all registers, so that a return to the caller
/// may be made at any of their guest accesses.
///
/// # Panics
/// If there are already 64 ranges.
pub fn register_code(start: usize, end: usize) {
    let free = CODE.iter().find(|range| {
        range[0].compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    });
    free.expect("at most 64 code ranges")[1].store(end, Ordering::Release);
}

/// Takes back what [`register_code`] declared for `start`: no thread is in that code any more.
pub fn unregister_code(start: usize) {
    if let Some(range) = CODE.iter().find(|range| range[0].load(Ordering::Acquire) == start) {
        range[1].store(0, Ordering::Release);
        range[0].store(0, Ordering::Release);
    }
}

fn is_code(pc: usize) -> bool {
    CODE.iter().any(|[start, end]| {
        let start = start.load(Ordering::Acquire);
        start != 0 && pc >= start && pc < end.load(Ordering::Acquire)
    })
}

/// What a machine does with a signal that is not a guest access's. Runs in the signal handler.
pub type Hook = fn(signal: i32, info: &mut libc::siginfo_t, context: &mut libc::ucontext_t);

static HOOK: AtomicUsize = AtomicUsize::new(0);

/// Installs the handler of SIGSEGV, SIGBUS and SIGFPE for the process. `hook`, if any, receives
/// the signals that other processes send; without one they end the process as usual.
pub fn install(hook: Option<Hook>) {
    HOOK.store(hook.map_or(0, |h| h as usize), Ordering::Release);
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE] {
        // SAFETY: `on_signal` has the signature that SA_SIGINFO asks for and is safe in a handler.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut std::ffi::c_void) {
    // SAFETY: the kernel passes valid pointers to both.
    let (info, context) = unsafe { (&mut *info, &mut *context.cast::<libc::ucontext_t>()) };
    let synchronous = info.si_code > 0;
    if synchronous && machine::redirect(signal, info, context) {
        return;
    }
    let hook = HOOK.load(Ordering::Acquire);
    if !synchronous && hook != 0 {
        // SAFETY: only `install` stores, and only a `Hook`.
        let hook = unsafe { std::mem::transmute::<usize, Hook>(hook) };
        return hook(signal, info, context);
    }
    // SAFETY: with the default action the signal, raised again on return, ends the process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        if !synchronous {
            libc::raise(signal);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use super::{Access, Cause, EXIT_FAULT, HostFault, LAST, is_code};
    use crate::host::x86_64::fixup;
    use libc::{REG_ERR, REG_R11, REG_RAX, REG_RBP, REG_RIP, REG_RSP};

    /// Makes the interrupted access fail; false if it is not one.
    pub(super) fn redirect(
        signal: i32,
        info: &libc::siginfo_t,
        context: &mut libc::ucontext_t,
    ) -> bool {
        let regs = &mut context.uc_mcontext.gregs;
        let pc = regs[REG_RIP as usize] as usize;
        let resume = fixup(pc);
        if resume.is_none() && !is_code(pc) {
            return false;
        }
        // SI_KERNEL: a general-protection fault, for which the host gives no address.
        let canonical = info.si_code != 0x80;
        let cause = match (signal, info.si_code) {
            (libc::SIGBUS, _) => Cause::Bus,
            _ if !canonical => Cause::NonCanonical,
            (_, 2) => Cause::Protected, // SEGV_ACCERR
            _ => Cause::Unmapped,
        };
        let write = regs[REG_ERR as usize] & 2 != 0;
        LAST.set(HostFault {
            pc,
            // SAFETY: SIGSEGV, SIGBUS and SIGFPE carry an address.
            va: if canonical { unsafe { info.si_addr() as u64 } } else { 0 },
            access: if write { Access::Write } else { Access::Read },
            cause,
            signal,
        });
        match resume {
            Some(resume) => {
                regs[REG_RIP as usize] = resume as i64;
                regs[REG_R11 as usize] = 1;
            }
            None => {
                // `leave; ret` with the result in RAX.
                let frame = regs[REG_RBP as usize] as *const i64;
                // SAFETY: compiled code keeps a frame: [RBP] is the caller's RBP, the return
                // address lies above it (see `register_code`).
                let (rbp, rip) = unsafe { (*frame, *frame.add(1)) };
                regs[REG_RSP as usize] = frame as i64 + 16;
                regs[REG_RBP as usize] = rbp;
                regs[REG_RIP as usize] = rip;
                regs[REG_RAX as usize] = EXIT_FAULT as i64;
            }
        }
        true
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    /// Makes the interrupted access fail; false if it is not one. Portable accesses raise no
    /// signals, and code is not compiled on hosts without a module of their own.
    pub(super) fn redirect(
        _signal: i32,
        _info: &libc::siginfo_t,
        _context: &mut libc::ucontext_t,
    ) -> bool {
        false
    }
}
