//! Interrupt wires.

use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The inputs of an interrupt controller.
pub trait Pins: Send + Sync {
    /// The level at input `pin` is now `level`. Called when it changes, in the order of changes. A
    /// pin that the controller does not have is ignored.
    fn set(&self, pin: u32, level: bool);

    /// Whether an edge that came at `pin` waits to be taken by a vCPU: another edge would be lost in
    /// it. Devices that count out ticks ask; false where that is not known.
    fn holds(&self, _pin: u32) -> bool {
        false
    }
}

/// What takes message-signalled interrupts: writes of devices to where local APICs listen.
pub trait Messages: Send + Sync {
    /// A write of the 32 bits `data` at physical `address`. One to elsewhere is lost.
    fn message(&self, address: u64, data: u32);
}

/// What an interrupt controller does to a vCPU.
pub trait CpuLine: Send + Sync {
    /// Level of INTR: whether there is an interrupt for the vCPU to acknowledge.
    fn interrupt(&self, level: bool);
    /// An NMI.
    fn nmi(&self);
    /// INIT: the vCPU resets, all but its caches, and waits for a start-up if it is not the
    /// bootstrap processor.
    fn init(&self);
    /// A start-up IPI: a vCPU that waits for it starts in real mode at `vector << 12`.
    fn startup(&self, vector: u8);
    /// An SMI. Mynah's PC has no system management mode, so a vCPU ignores it.
    fn smi(&self) {}
}

/// A wire, driven by any number of sources: its level is the OR of theirs.
struct Wire {
    pins: Arc<dyn Pins>,
    pin: u32,
    /// Sources whose level is high. Held while the level is passed on, so that changes arrive in
    /// order.
    high: Mutex<u32>,
}

/// One source of a wire.
struct Source {
    wire: Arc<Wire>,
    level: AtomicBool,
}

/// A device's end of an interrupt wire. A clone is the same end; [`IrqLine::join`] makes another
/// end of the same wire. The default leads nowhere.
#[derive(Clone, Default)]
pub struct IrqLine(Option<Arc<Source>>);

impl IrqLine {
    /// A wire to input `pin` of `pins`; its level is low.
    pub fn new(pins: Arc<dyn Pins>, pin: u32) -> IrqLine {
        let wire = Arc::new(Wire { pins, pin, high: Mutex::new(0) });
        IrqLine(Some(Arc::new(Source { wire, level: AtomicBool::new(false) })))
    }

    /// A line that leads nowhere.
    pub fn nowhere() -> IrqLine {
        IrqLine(None)
    }

    /// A wire to the far ends of all `lines`.
    pub fn fan(lines: Vec<IrqLine>) -> IrqLine {
        IrqLine::new(Arc::new(Fan(lines)), 0)
    }

    /// Another end of this wire, for a device that shares it: the wire is high while any end is.
    pub fn join(&self) -> IrqLine {
        IrqLine(self.0.as_ref().map(|source| {
            Arc::new(Source { wire: source.wire.clone(), level: AtomicBool::new(false) })
        }))
    }

    /// Sets the level of this end.
    pub fn set(&self, level: bool) {
        let Some(source) = &self.0 else { return };
        if source.level.load(Ordering::Acquire) == level {
            return;
        }
        let wire = &source.wire;
        let mut high = wire.high.lock();
        if source.level.swap(level, Ordering::AcqRel) == level {
            return;
        }
        let was = *high > 0;
        *high = if level { *high + 1 } else { *high - 1 };
        let is = *high > 0;
        if was != is {
            wire.pins.set(wire.pin, is);
        }
    }

    /// Raises and lowers the level: an edge.
    pub fn pulse(&self) {
        self.set(true);
        self.set(false);
    }

    /// Whether an edge of this line waits to be taken by a vCPU; see [`Pins::holds`].
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_some_and(|source| source.wire.pins.holds(source.wire.pin))
    }

    /// The level of this end.
    pub fn level(&self) -> bool {
        self.0.as_ref().is_some_and(|source| source.level.load(Ordering::Acquire))
    }
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(source) => write!(f, "IrqLine(pin {}, {})", source.wire.pin, self.level()),
            None => write!(f, "IrqLine(nowhere)"),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // A source that goes away must not hold its wire high for ever.
        if *self.level.get_mut() {
            let mut high = self.wire.high.lock();
            *high -= 1;
            if *high == 0 {
                self.wire.pins.set(self.wire.pin, false);
            }
        }
    }
}

/// Lines that follow one.
struct Fan(Vec<IrqLine>);

impl Pins for Fan {
    fn set(&self, _: u32, level: bool) {
        for line in &self.0 {
            line.set(level);
        }
    }

    fn holds(&self, _: u32) -> bool {
        self.0.iter().any(IrqLine::is_held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<(u32, bool)>>);

    impl Pins for Recorder {
        fn set(&self, pin: u32, level: bool) {
            self.0.lock().push((pin, level));
        }
    }

    #[test]
    fn a_shared_wire_is_high_while_any_end_is() {
        let pins = Arc::new(Recorder::default());
        let a = IrqLine::new(pins.clone(), 5);
        let b = a.join();
        a.set(true);
        b.set(true);
        a.clone().set(false);
        assert_eq!(*pins.0.lock(), [(5, true)]);
        b.set(false);
        b.pulse();
        assert_eq!(*pins.0.lock(), [(5, true), (5, false), (5, true), (5, false)]);
    }

    #[test]
    fn an_end_that_goes_away_lets_go() {
        let pins = Arc::new(Recorder::default());
        let a = IrqLine::new(pins.clone(), 1);
        let b = a.join();
        b.set(true);
        drop(b);
        assert_eq!(*pins.0.lock(), [(1, true), (1, false)]);
        assert!(!a.level());
    }

    #[test]
    fn a_fan_drives_all_and_nowhere_is_quiet() {
        let pins = Arc::new(Recorder::default());
        let lines =
            vec![IrqLine::new(pins.clone(), 1), IrqLine::nowhere(), IrqLine::new(pins.clone(), 2)];
        IrqLine::fan(lines).set(true);
        assert_eq!(pins.0.lock()[..2], [(1, true), (2, true)]);
    }
}
