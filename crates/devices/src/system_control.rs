//! The small ports by which software controls the machine: system control port A (92h), the reset
//! control register (CF9h), the POST port (80h), and two for tests and firmware: the exit port
//! (isa-debug-exit) and the debug console (isa-debugcon).
//! System control port B (61h) belongs to the [`i8254`](crate::i8254).

use mynah_bus::Device;
use std::fmt;
use std::sync::Arc;

/// What is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reset {
    /// The whole machine.
    Machine,
    /// The vCPUs (INIT); RAM and devices stay as they are.
    Cpus,
}

/// What devices ask of the machine around them. A device asks with itself locked, so an
/// implementation takes notes, and acts when no device is being called.
pub trait Control: Send + Sync {
    /// Reset.
    fn reset(&self, what: Reset);
    /// Switch the power off.
    fn power_off(&self);
    /// End the emulation with this status.
    fn exit(&self, status: u8);
    /// Address line 20 follows the vCPU (`true`), or is zero.
    fn a20(&self, open: bool);
}

/// System control port A, port 92h: bit 0 resets the vCPUs on a rising edge, bit 1 opens A20.
pub struct PortA {
    control: Arc<dyn Control>,
    state: u8,
}

impl PortA {
    /// The port, for a range of one.
    pub fn new(control: Arc<dyn Control>) -> PortA {
        PortA { control, state: 0 }
    }
}

const FAST_RESET: u8 = 1 << 0;
const A20: u8 = 1 << 1;

impl Device for PortA {
    fn read(&mut self, _: u64, _: u8) -> u64 {
        u64::from(self.state)
    }

    fn write(&mut self, _: u64, _: u8, value: u64) {
        let value = value as u8;
        let rising = value & !self.state;
        self.state = value & !FAST_RESET;
        self.control.a20(value & A20 != 0);
        if rising & FAST_RESET != 0 {
            self.control.reset(Reset::Cpus);
        }
    }

    /// A machine starts with A20 open, whatever the bit says, as firmware expects it.
    fn reset(&mut self) {
        self.state = 0;
        self.control.a20(true);
    }
}

/// The reset control register, port CF9h: bit 1 chooses a hard reset, and bit 2 resets on a rising
/// edge (82371SB data sheet, RC).
#[derive(Clone)]
pub struct ResetControl {
    control: Arc<dyn Control>,
    state: u8,
}

const HARD: u8 = 1 << 1;
const RESET_CPU: u8 = 1 << 2;

impl ResetControl {
    /// The register, for a range of one port.
    pub fn new(control: Arc<dyn Control>) -> ResetControl {
        ResetControl { control, state: 0 }
    }
}

impl Device for ResetControl {
    fn read(&mut self, _: u64, _: u8) -> u64 {
        u64::from(self.state)
    }

    fn write(&mut self, _: u64, _: u8, value: u64) {
        let value = value as u8;
        let rising = value & !self.state;
        // The edge is seen again at the next write: the bit does not stay.
        self.state = value & HARD;
        if rising & RESET_CPU != 0 {
            let what = if value & HARD != 0 { Reset::Machine } else { Reset::Cpus };
            self.control.reset(what);
        }
    }

    fn reset(&mut self) {
        self.state = 0;
    }
}

impl fmt::Debug for ResetControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResetControl({:#04x})", self.state)
    }
}

impl fmt::Debug for PortA {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortA({:#04x})", self.state)
    }
}

/// The exit port of tests: writing `n` ends the emulation with status `2n + 1`, so that it is never
/// that of a success.
pub struct DebugExit(Arc<dyn Control>);

impl DebugExit {
    /// The port, for a range of up to four.
    pub fn new(control: Arc<dyn Control>) -> DebugExit {
        DebugExit(control)
    }
}

impl Device for DebugExit {
    fn read(&mut self, _: u64, _: u8) -> u64 {
        0
    }

    fn write(&mut self, _: u64, _: u8, value: u64) {
        self.0.exit((value as u8) << 1 | 1);
    }

    fn reset(&mut self) {}
}

impl fmt::Debug for DebugExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DebugExit")
    }
}

/// The POST port, port 80h: a latch for progress codes, whose other use is to take its time.
#[derive(Default, Debug)]
pub struct Post(u8);

impl Post {
    /// The port, for a range of one.
    pub fn new() -> Post {
        Post::default()
    }

    /// The last code that was written.
    pub fn code(&self) -> u8 {
        self.0
    }
}

impl Device for Post {
    fn read(&mut self, _: u64, _: u8) -> u64 {
        u64::from(self.0)
    }

    fn write(&mut self, _: u64, _: u8, value: u64) {
        self.0 = value as u8;
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}

type Output = Box<dyn FnMut(&[u8]) + Send>;

/// The debug console, to which firmware writes its log: port 402h for SeaBIOS and OVMF, or E9h.
pub struct DebugConsole {
    output: Output,
}

impl DebugConsole {
    /// The port, for a range of one. `output` gets what is written.
    pub fn new(output: impl FnMut(&[u8]) + Send + 'static) -> DebugConsole {
        DebugConsole { output: Box::new(output) }
    }
}

impl Device for DebugConsole {
    /// By this value, software knows that the console is there.
    fn read(&mut self, _: u64, _: u8) -> u64 {
        0xe9
    }

    fn write(&mut self, _: u64, bytes: u8, value: u64) {
        (self.output)(&value.to_le_bytes()[..usize::from(bytes.min(8))]);
    }

    fn reset(&mut self) {}
}

impl fmt::Debug for DebugConsole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DebugConsole")
    }
}

/// A [`Control`] that notes what was asked, for tests.
#[cfg(test)]
pub(crate) mod notes {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum Asked {
        Reset(Reset),
        PowerOff,
        Exit(u8),
        A20(bool),
    }

    #[derive(Default)]
    pub(crate) struct Notes(Mutex<Vec<Asked>>);

    impl Notes {
        pub(crate) fn new() -> Arc<Notes> {
            Arc::default()
        }

        /// What was asked since the last call.
        pub(crate) fn take(&self) -> Vec<Asked> {
            std::mem::take(&mut self.0.lock())
        }
    }

    impl Control for Notes {
        fn reset(&self, what: Reset) {
            self.0.lock().push(Asked::Reset(what));
        }
        fn power_off(&self) {
            self.0.lock().push(Asked::PowerOff);
        }
        fn exit(&self, status: u8) {
            self.0.lock().push(Asked::Exit(status));
        }
        fn a20(&self, open: bool) {
            self.0.lock().push(Asked::A20(open));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::notes::{Asked, Notes};
    use super::*;

    #[test]
    fn port_92_opens_a20_and_resets_on_an_edge() {
        let notes = Notes::new();
        let mut port = PortA::new(notes.clone());
        port.write(0, 1, 2);
        assert_eq!(port.read(0, 1), 2);
        port.write(0, 1, 1);
        assert_eq!(port.read(0, 1), 0);
        use Asked::{A20, Reset as Done};
        assert_eq!(notes.take(), [A20(true), A20(false), Done(Reset::Cpus)]);
        port.reset();
        assert_eq!(notes.take(), [A20(true)]);
    }

    #[test]
    fn cf9_resets_hard_or_soft() {
        let notes = Notes::new();
        let mut port = ResetControl::new(notes.clone());
        port.write(0, 1, 2);
        assert_eq!((port.read(0, 1), notes.take().len()), (2, 0));
        port.write(0, 1, 6);
        port.write(0, 1, 4);
        let resets = [Asked::Reset(Reset::Machine), Asked::Reset(Reset::Cpus)];
        assert_eq!(notes.take(), resets);
    }

    #[test]
    fn the_debug_console_passes_bytes_on() {
        let log = Arc::new(parking_lot::Mutex::new(Vec::<u8>::new()));
        let to = log.clone();
        let mut port = DebugConsole::new(move |bytes| to.lock().extend(bytes));
        assert_eq!(port.read(0, 1), 0xe9);
        port.write(0, 1, 0x41);
        port.write(0, 2, 0x4342);
        assert_eq!(log.lock()[..], *b"ABC");
    }

    #[test]
    fn the_exit_port_never_reports_success() {
        let notes = Notes::new();
        let mut port = DebugExit::new(notes.clone());
        port.write(0, 4, 0x10);
        port.write(0, 1, 0);
        assert_eq!(notes.take(), [Asked::Exit(0x21), Asked::Exit(1)]);
    }
}
