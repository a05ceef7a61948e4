//! Signals: the host's, caught by Mynah's handlers, and the guest's, delivered between blocks.

use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

/// A set of signals: bit `n - 1` stands for signal `n`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct SigSet(pub u64);

/// The alternate signal stack (sigaltstack(2)).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct AltStack {
    /// Its lowest address.
    pub sp: u64,
    /// SS_DISABLE, SS_AUTODISARM.
    pub flags: u32,
    /// Its length in bytes.
    pub size: u64,
}

/// What a signal does (rt_sigaction(2)).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Action {
    /// The handler's address, SIG_DFL or SIG_IGN.
    pub handler: u64,
    /// SA_SIGINFO and others.
    pub flags: u64,
    /// What the handler returns to, with SA_RESTORER.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: SigSet,
}

/// What the signals of a process do, by number less one.
pub(crate) struct Actions(pub Mutex<[Action; 64]>);

/// The signal that a host handler has accepted for a thread and that the guest has not seen yet.
pub(crate) struct Pending {
    word: AtomicU32,
}

impl Pending {
    /// Not 0 while there is a signal.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }
}
