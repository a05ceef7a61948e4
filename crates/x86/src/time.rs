//! The time-stamp counter.

use crate::State;
use std::sync::OnceLock;
use std::time::Instant;

/// What the counter counts in a second.
pub const TSC_HZ: u64 = 1_000_000_000;

/// Ticks since the first time it was asked, the same for all vCPUs.
pub(crate) fn ticks() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

impl State {
    /// The time-stamp counter, which counts at [`TSC_HZ`].
    pub fn tsc(&self) -> u64 {
        ticks().wrapping_add(self.system.tsc_offset)
    }
}
