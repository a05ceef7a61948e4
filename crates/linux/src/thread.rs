//! A guest thread, apart from its vCPU.

use crate::Process;
use crate::signal::{AltStack, Pending, SigSet};
use std::sync::Arc;

/// A guest thread: a host thread's own.
pub(crate) struct Thread {
    /// Its process.
    pub process: Arc<Process>,
    /// The signal that the host has handed to Mynah for it, if any.
    pub pending: Box<Pending>,
    /// The signals it blocks.
    pub mask: SigSet,
    /// The mask to return to when the next signal is delivered or none is (rt_sigsuspend).
    pub saved_mask: Option<SigSet>,
    /// The stack for handlers that ask for it.
    pub alt_stack: AltStack,
    /// Where 0 is written and a futex woken when it ends; 0 for nowhere.
    pub clear_tid: u64,
    /// Its robust futexes: address of the list's head; 0 for none.
    pub robust_list: u64,
}

impl Thread {
    /// The host's number of the calling thread, which is the guest's.
    pub(crate) fn id() -> i32 {
        crate::host::call(libc::SYS_gettid, [0; 6]).map_or(0, |tid| tid as i32)
    }

    /// Blocks exactly `mask` until a signal has been delivered or none is found.
    pub(crate) fn mask_for_now(&mut self, mask: SigSet) {
        self.saved_mask = Some(std::mem::replace(&mut self.mask, mask));
    }
}
