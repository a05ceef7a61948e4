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
    #[inline]
    pub fn tsc(&self) -> u64 {
        ticks().wrapping_add(self.system.tsc_offset).wrapping_add(self.system.tsc_adjust)
    }

    /// Sets IA32_TSC_ADJUST, and the time-stamp counter with it: in the vCPU, and in its local APIC,
    /// whose timer may wait for a count.
    pub(crate) fn set_tsc_adjust(&mut self, adjust: u64) {
        self.system.tsc_adjust = adjust;
        if let Some(devices) = &self.system.devices {
            devices.set_tsc_adjust(adjust);
        }
    }
}
