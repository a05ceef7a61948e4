//! Signals as the host hands them to Mynah, and what the guest has said they do.
//!
//! A host signal whose guest action is a handler is accepted by `on_signal`: it stores the
//! `siginfo_t` in the thread's [`Pending`], asks the vCPU for attention, and returns with all
//! signals blocked, so that further ones wait in the kernel until this one has been delivered to
//! the guest ([`crate::task`]). The host's mask of a thread is otherwise the guest's, less
//! SIGSEGV, SIGBUS and SIGFPE, by which Mynah learns of refused accesses; when they come from
//! elsewhere, they wait in Mynah.
#![expect(unsafe_code, reason = "signal handlers, and the kernel's own rt_sigaction")]

use crate::{Errno, host};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Signals are numbered 1 to this.
pub(crate) const COUNT: usize = 64;

/// SIG_DFL as a handler.
pub(crate) const DEFAULT: u64 = 0;
/// SIG_IGN as a handler.
pub(crate) const IGNORE: u64 = 1;

const KERNEL_SET_BYTES: u64 = 8;

/// A set of signals: bit `n - 1` stands for signal `n`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct SigSet(pub u64);

impl SigSet {
    /// All signals.
    pub(crate) const ALL: SigSet = SigSet(u64::MAX);
    /// Those by which the host reports refused accesses.
    pub(crate) const FAULTS: SigSet = SigSet::of(&[libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE]);
    /// Those that cannot be blocked.
    pub(crate) const FIXED: SigSet = SigSet::of(&[libc::SIGKILL, libc::SIGSTOP]);

    /// These signals.
    pub(crate) const fn of(signals: &[i32]) -> SigSet {
        let mut bits = 0;
        let mut n = 0;
        while n < signals.len() {
            bits |= 1 << (signals[n] - 1);
            n += 1;
        }
        SigSet(bits)
    }

    /// Whether `signal` is in it.
    pub(crate) fn has(self, signal: i32) -> bool {
        self.0 >> (signal - 1) & 1 != 0
    }

    /// Both sets' signals.
    pub(crate) fn and(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }

    /// This set's signals that are not in `other`.
    pub(crate) fn less(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }
}

/// `siginfo_t`: laid out alike on all 64-bit architectures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub(crate) struct SigInfo(pub [u8; 128]);

impl SigInfo {
    /// A signal at an address.
    pub(crate) fn at(signal: i32, code: i32, address: u64) -> SigInfo {
        let mut bytes = [0; 128];
        bytes[0..4].copy_from_slice(&signal.to_ne_bytes());
        bytes[8..12].copy_from_slice(&code.to_ne_bytes());
        bytes[16..24].copy_from_slice(&address.to_ne_bytes());
        SigInfo(bytes)
    }

    /// `si_signo`.
    pub(crate) fn signal(&self) -> i32 {
        i32::from_ne_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// `si_addr`.
    pub(crate) fn address(&self) -> u64 {
        u64::from_ne_bytes(self.0[16..24].try_into().expect("8 bytes"))
    }

    /// `si_code`.
    pub(crate) fn code(&self) -> i32 {
        i32::from_ne_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }
}

/// The alternate signal stack (sigaltstack(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AltStack {
    /// Its lowest address.
    pub sp: u64,
    /// SS_DISABLE, SS_AUTODISARM.
    pub flags: u32,
    /// Its length in bytes.
    pub size: u64,
}

impl AltStack {
    /// None.
    pub(crate) const NONE: AltStack = AltStack { sp: 0, flags: libc::SS_DISABLE as u32, size: 0 };
    /// SS_AUTODISARM: leaving for a handler disables it.
    pub(crate) const AUTODISARM: u32 = 1 << 31;
    /// SS_ONSTACK.
    pub(crate) const ONSTACK: u32 = 1;

    /// Whether handlers may run on it.
    pub(crate) fn enabled(self) -> bool {
        self.flags & libc::SS_DISABLE as u32 == 0 && self.size != 0
    }

    /// Whether `sp` lies on it.
    pub(crate) fn holds(self, sp: u64) -> bool {
        self.enabled() && sp > self.sp && sp - self.sp <= self.size
    }

    /// As `stack_t`.
    pub(crate) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.sp.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[16..].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    /// From a `stack_t`.
    pub(crate) fn from_bytes(bytes: [u8; 24]) -> AltStack {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        AltStack { sp: word(0), flags: word(8) as u32, size: word(16) }
    }
}

/// What a signal does (rt_sigaction(2)).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Action {
    /// The handler's address, [`DEFAULT`] or [`IGNORE`].
    pub handler: u64,
    /// SA_SIGINFO and others.
    pub flags: u64,
    /// What the handler returns to, with SA_RESTORER.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: SigSet,
}

/// What the signals of a process do, by number less one.
#[derive(Debug)]
pub(crate) struct Actions(Mutex<[Action; COUNT]>);

impl Actions {
    /// What the host does with them now: each by default, or ignored.
    pub(crate) fn inherited() -> Actions {
        let mut actions = [Action::default(); COUNT];
        for (index, action) in actions.iter_mut().enumerate() {
            let signal = index as i32 + 1;
            let ignored = match signal {
                // The Rust runtime has changed it.
                libc::SIGPIPE => SIGPIPE_IGNORED.load(Ordering::Relaxed) == 1,
                _ => host_action(signal).is_ok_and(|old| old.handler == IGNORE as usize),
            };
            action.handler = if ignored { IGNORE } else { DEFAULT };
        }
        let actions = Actions(Mutex::new(actions));
        let pipe = actions.get(libc::SIGPIPE);
        _ = set_host_action(libc::SIGPIPE, &pipe);
        actions
    }

    /// A copy for a child that shares the parent's memory.
    pub(crate) fn copy(&self) -> Actions {
        Actions(Mutex::new(*self.lock()))
    }

    /// The table, locked.
    pub(crate) fn lock(&self) -> MutexGuard<'_, [Action; COUNT]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `signal` does.
    pub(crate) fn get(&self, signal: i32) -> Action {
        self.lock()[signal as usize - 1]
    }

    /// Sets what `signal` does, for the host too; yields what it did.
    pub(crate) fn set(&self, signal: i32, action: Action) -> Result<Action, Errno> {
        let mut actions = self.lock();
        set_host_action(signal, &action)?;
        Ok(std::mem::replace(&mut actions[signal as usize - 1], action))
    }
}

/// The kernel's `struct sigaction`.
#[repr(C)]
#[derive(Clone, Copy)]
struct KernelAction {
    handler: usize,
    flags: u64,
    #[cfg(target_arch = "x86_64")]
    restorer: Option<unsafe extern "C" fn()>,
    mask: u64,
}

impl KernelAction {
    fn new(handler: usize, flags: u64) -> KernelAction {
        let restorer = if host::RESTORER.is_some() { SA_RESTORER } else { 0 };
        KernelAction {
            handler,
            flags: flags | restorer,
            #[cfg(target_arch = "x86_64")]
            restorer: host::RESTORER,
            mask: u64::MAX,
        }
    }
}

/// SA_RESTORER: the action has a restorer.
pub(crate) const SA_RESTORER: u64 = 0x0400_0000;

fn rt_sigaction(signal: i32, new: Option<&KernelAction>) -> Result<KernelAction, Errno> {
    let mut old = KernelAction::new(0, 0);
    let new = new.map_or(0, |new| std::ptr::from_ref(new) as u64);
    let old_at = &raw mut old as u64;
    host::call(libc::SYS_rt_sigaction, [signal as u64, new, old_at, KERNEL_SET_BYTES, 0, 0])?;
    Ok(old)
}

fn host_action(signal: i32) -> Result<KernelAction, Errno> {
    rt_sigaction(signal, None)
}

/// Makes the host act as the guest's `action` of `signal` requires.
fn set_host_action(signal: i32, action: &Action) -> Result<(), Errno> {
    // Mynah's own handlers stay; they bring what others send to `sent`.
    if SigSet::FAULTS.has(signal) {
        return Ok(());
    }
    let kept = action.flags & (libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT) as u64;
    let (handler, flags) = match action.handler {
        DEFAULT => (libc::SIG_DFL, kept),
        IGNORE => (libc::SIG_IGN, kept),
        _ => {
            let handler = on_signal as *const () as usize;
            (handler, kept | (libc::SA_SIGINFO | libc::SA_ONSTACK) as u64)
        }
    };
    rt_sigaction(signal, Some(&KernelAction::new(handler, flags)))?;
    Ok(())
}

/// Installs Mynah's handlers of refused accesses.
pub(crate) fn install() {
    mynah_mem::host::signal::install(Some(sent));
}

static SIGPIPE_IGNORED: AtomicI32 = AtomicI32::new(0);

/// Sees SIGPIPE's action before the Rust runtime changes it.
#[unsafe(link_section = ".init_array")]
#[used]
static LOOK: extern "C" fn() = {
    extern "C" fn look() {
        let ignored = host_action(libc::SIGPIPE).is_ok_and(|old| old.handler == IGNORE as usize);
        SIGPIPE_IGNORED.store(ignored.into(), Ordering::Relaxed);
    }
    look
};

/// The signals that have come for a thread and that the guest has not seen yet.
pub(crate) struct Pending {
    /// Bit 0: `info` holds a signal. Bit 1: `sent` holds some that are not blocked. Bit 2: Mynah
    /// itself asks for attention.
    word: AtomicU32,
    /// What the host's handler was told. Written by it while bit 0 is clear; all signals that
    /// write it are blocked while it is set.
    info: UnsafeCell<SigInfo>,
    /// SIGSEGV, SIGBUS and SIGFPE that others have sent.
    sent: AtomicU64,
    /// The attention word of the thread's vCPU.
    attention: AtomicPtr<AtomicU32>,
}

const ACCEPTED: u32 = 1;
const SENT: u32 = 2;
const ASKED: u32 = 4;

/// What a signal is sent with by which Mynah asks a thread of its own for attention; its address is
/// what the signal carries.
static ASKS: u8 = 0;

/// SI_QUEUE.
const SI_QUEUE: i32 = -1;

/// Makes a thread of this process leave translated code, and the call in which it waits: its vCPU
/// asks for attention. The guest does not see the signal by which this is done.
pub(crate) fn ask(thread: i32) {
    let mut info = SigInfo::at(libc::SIGFPE, SI_QUEUE, 0);
    info.0[24..32].copy_from_slice(&(&raw const ASKS as u64).to_ne_bytes());
    let at = &raw const info as u64;
    let process = u64::from(std::process::id());
    let args = [process, thread as u64, libc::SIGFPE as u64, at, 0, 0];
    // A thread that has ended is not asked.
    _ = host::call(libc::SYS_rt_tgsigqueueinfo, args);
}

// SAFETY: `info` is accessed on the thread that `bind` names alone, by its signal handler and,
// only while the word says that the handler stays away, by the thread itself.
unsafe impl Sync for Pending {}
// SAFETY: as above.
unsafe impl Send for Pending {}

impl Pending {
    /// None, for a vCPU whose attention word this is.
    pub(crate) fn new(attention: &AtomicU32) -> Box<Pending> {
        Box::new(Pending {
            word: AtomicU32::new(0),
            info: UnsafeCell::new(SigInfo([0; 128])),
            sent: AtomicU64::new(0),
            attention: AtomicPtr::new(std::ptr::from_ref(attention).cast_mut()),
        })
    }

    /// Not 0 while there is a signal.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Whether there is a signal.
    pub(crate) fn any(&self) -> bool {
        self.word.load(Ordering::Acquire) != 0
    }

    /// Takes a signal; one that the host's handler accepted comes first.
    pub(crate) fn take(&self, mask: SigSet) -> Option<SigInfo> {
        if self.word.load(Ordering::Acquire) & ACCEPTED != 0 {
            // SAFETY: the bit is set, so no handler writes.
            let info = unsafe { *self.info.get() };
            self.word.fetch_and(!ACCEPTED, Ordering::Release);
            return Some(info);
        }
        self.word.fetch_and(!SENT, Ordering::AcqRel);
        let ready = SigSet(self.sent.load(Ordering::Acquire)).less(mask);
        if ready.0 == 0 {
            return None;
        }
        let signal = ready.0.trailing_zeros() as i32 + 1;
        self.sent.fetch_and(!SigSet::of(&[signal]).0, Ordering::AcqRel);
        self.recheck(mask);
        Some(SigInfo::at(signal, libc::SI_USER, 0))
    }

    /// To be called when `mask` has become the thread's mask.
    pub(crate) fn recheck(&self, mask: SigSet) {
        if SigSet(self.sent.load(Ordering::Acquire)).less(mask).0 != 0 {
            self.word.fetch_or(SENT, Ordering::AcqRel);
        }
    }

    /// Mynah has attention: [`ask`] is answered.
    pub(crate) fn answer(&self) {
        self.word.fetch_and(!ASKED, Ordering::AcqRel);
    }

    /// Those of [`SigSet::FAULTS`] that others have sent.
    pub(crate) fn sent(&self) -> SigSet {
        SigSet(self.sent.load(Ordering::Acquire))
    }

    /// Forgets all: for the child of a fork.
    pub(crate) fn clear(&self) {
        self.sent.store(0, Ordering::Release);
        self.word.store(0, Ordering::Release);
    }

    fn raise(&self, bit: u32) {
        self.word.fetch_or(bit, Ordering::AcqRel);
        let attention = self.attention.load(Ordering::Acquire);
        // SAFETY: the vCPU outlives the binding of its `Pending` to the thread (`bind`).
        unsafe { (*attention).store(1, Ordering::Release) };
    }
}

thread_local! {
    static CURRENT: Cell<*const Pending> = const { Cell::new(std::ptr::null()) };
}

/// Makes `pending` take the calling thread's signals until the guard is dropped, when what took
/// them before does so again. Signals must be blocked at both moments, and `pending` must outlive
/// the guard.
pub(crate) fn bind(pending: *const Pending) -> Binding {
    Binding { before: CURRENT.replace(pending) }
}

/// See [`bind`].
pub(crate) struct Binding {
    before: *const Pending,
}

impl Drop for Binding {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// The host's handler of signals that the guest handles.
extern "C" fn on_signal(signal: i32, info: *const libc::siginfo_t, context: *mut std::ffi::c_void) {
    // SAFETY: the kernel passes valid pointers to both.
    let (info, context) = unsafe { (*info.cast::<SigInfo>(), &mut *context.cast()) };
    accept(signal, info, context);
}

fn accept(signal: i32, info: SigInfo, context: &mut libc::ucontext_t) {
    // From here on the interrupted thread has all signals blocked that it can do without.
    let all = SigSet::ALL.less(SigSet::FAULTS).0;
    // SAFETY: the kernel's set is the first eight bytes of the library's.
    unsafe { (&raw mut context.uc_sigmask).cast::<u64>().write(all) };
    let current = CURRENT.get();
    if current.is_null() {
        // A thread of Mynah's own: the signal is for another one, which does not block it.
        let at = std::ptr::from_ref(&info) as u64;
        let process = u64::from(std::process::id());
        _ = host::call(libc::SYS_rt_sigqueueinfo, [process, signal as u64, at, 0, 0, 0]);
        return;
    }
    // SAFETY: a binding lasts no longer than what it binds.
    let pending = unsafe { &*current };
    // SAFETY: the bit is clear: while it is set, the signals that come here are blocked.
    unsafe { *pending.info.get() = info };
    pending.raise(ACCEPTED);
    host::leave_gap(context);
}

/// SIGSEGV, SIGBUS or SIGFPE that was sent by someone.
fn sent(signal: i32, info: &mut libc::siginfo_t, context: &mut libc::ucontext_t) {
    let current = CURRENT.get();
    if current.is_null() {
        return;
    }
    // SAFETY: a binding lasts no longer than what it binds.
    let pending = unsafe { &*current };
    // SAFETY: both are the kernel's `siginfo_t`.
    let info = unsafe { &*std::ptr::from_mut(info).cast::<SigInfo>() };
    if info.code() == SI_QUEUE && info.0[24..32] == (&raw const ASKS as u64).to_ne_bytes() {
        pending.raise(ASKED);
        return host::leave_gap(context);
    }
    pending.sent.fetch_or(SigSet::of(&[signal]).0, Ordering::AcqRel);
    pending.raise(SENT);
    host::leave_gap(context);
}

/// Sets the host's mask of the calling thread to what the guest's `mask` requires; yields the
/// host's mask before.
pub(crate) fn set_host_mask(mask: SigSet) -> SigSet {
    let new = mask.less(SigSet::FAULTS).0;
    let mut old = 0_u64;
    let (set, before) = (&raw const new as u64, &raw mut old as u64);
    let how = libc::SIG_SETMASK as u64;
    _ = host::call(libc::SYS_rt_sigprocmask, [how, set, before, KERNEL_SET_BYTES, 0, 0]);
    SigSet(old)
}

/// Ends the process by `signal`, whose action is the default one.
pub(crate) fn die(signal: i32) -> ! {
    // The library's `signal` refuses some; Mynah's own handlers go too.
    _ = rt_sigaction(signal, Some(&KernelAction::new(libc::SIG_DFL, 0)));
    send_self(signal);
    let none = 0_u64;
    let (how, set) = (libc::SIG_SETMASK as u64, &raw const none as u64);
    _ = host::call(libc::SYS_rt_sigprocmask, [how, set, 0, KERNEL_SET_BYTES, 0, 0]);
    // The host ignores the signal, as it does for the first process of a namespace.
    _ = host::call(libc::SYS_exit_group, [128 + signal as u64, 0, 0, 0, 0, 0]);
    std::process::abort()
}

/// Sends `signal` to the calling thread, for what the host does with it.
pub(crate) fn send_self(signal: i32) {
    let process = u64::from(std::process::id());
    let thread = crate::thread::Thread::id() as u64;
    _ = host::call(libc::SYS_tgkill, [process, thread, signal as u64, 0, 0, 0]);
}

/// Hands a signal that this thread accepted but will not see back to the process.
pub(crate) fn pass_on(info: &SigInfo) {
    const SI_TKILL: i32 = -6;
    if info.code() == SI_TKILL {
        return;
    }
    let at = std::ptr::from_ref(info) as u64;
    let process = u64::from(std::process::id());
    _ = host::call(libc::SYS_rt_sigqueueinfo, [process, info.signal() as u64, at, 0, 0, 0]);
}
