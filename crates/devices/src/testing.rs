//! What the tests of devices share.

use mynah_bus::{IrqLine, Pins};
use parking_lot::Mutex;
use std::sync::Arc;

/// The levels of interrupt pins, and how often each rose.
#[derive(Default)]
pub(crate) struct Levels(Mutex<Vec<(bool, u32)>>);

impl Levels {
    pub(crate) fn new() -> Arc<Levels> {
        Arc::new(Levels(Mutex::new(vec![(false, 0); 256])))
    }

    /// A new wire to `pin`.
    pub(crate) fn line(self: &Arc<Levels>, pin: u32) -> IrqLine {
        IrqLine::new(self.clone(), pin)
    }

    pub(crate) fn is_high(&self, pin: usize) -> bool {
        self.0.lock()[pin].0
    }

    /// How often `pin` rose since the last call.
    pub(crate) fn take_edges(&self, pin: usize) -> u32 {
        std::mem::take(&mut self.0.lock()[pin].1)
    }
}

impl Pins for Levels {
    fn set(&self, pin: u32, level: bool) {
        let (is, edges) = &mut self.0.lock()[pin as usize];
        *edges += u32::from(level && !*is);
        *is = level;
    }
}
