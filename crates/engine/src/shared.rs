//! What other threads may reach of a vCPU.

use crate::lookup::JumpCaches;
use mynah_guest::{Core, JumpEntry};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// No generation: later than all.
const OUTSIDE: u64 = u64::MAX;

/// What other threads may reach of a vCPU.
pub(crate) struct Shared {
    jumps: JumpCaches,
    attention: Arc<AtomicU32>,
    /// The generation of the code cache that the vCPU's thread may be in; [`OUTSIDE`] if none.
    generation: AtomicU64,
}

impl Shared {
    pub(crate) fn new(jumps: JumpCaches, attention: Arc<AtomicU32>) -> Shared {
        Shared { jumps, attention, generation: AtomicU64::new(OUTSIDE) }
    }

    /// Makes compiled code forget where the code for `pc` is.
    pub(crate) fn forget(&self, pc: u64) {
        for jumps in &*self.jumps {
            jumps[JumpEntry::index(pc)].forget(pc);
        }
    }

    /// Makes the vCPU leave translated code soon.
    pub(crate) fn kick(&self) {
        self.attention.fetch_or(Core::KICK, Ordering::SeqCst);
    }

    /// Whether the vCPU may be in compiled code of a generation before `now`.
    pub(crate) fn is_behind(&self, now: u64) -> bool {
        self.generation.load(Ordering::SeqCst) < now
    }

    /// Says that the vCPU's thread is in none of the compiled code.
    pub(crate) fn leave(&self) {
        self.generation.store(OUTSIDE, Ordering::SeqCst);
    }

    /// Says that the vCPU's thread may be in code of generation `now` from here on, and no older.
    pub(crate) fn enter(&self, now: u64) {
        self.generation.store(now, Ordering::SeqCst);
    }
}
