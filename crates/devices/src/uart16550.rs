//! The serial port: National Semiconductor PC16550D data sheet.
//!
//! A character is sent and received in no time, so the transmitter is always empty, and the timeout
//! interrupt of the receiver's FIFO comes at once. On a PC, OUT2 lets the interrupt through.

use mynah_bus::{Device, IrqLine, read_bytes, write_bytes};
use std::collections::VecDeque;
use std::fmt;

/// Characters in a FIFO.
const FIFO: usize = 16;

/// Receiver buffer and transmitter holding register; the divisor's low byte with DLAB.
const RBR_THR: u64 = 0;
/// Interrupt enable; the divisor's high byte with DLAB.
const IER: u64 = 1;
/// Interrupt identification and FIFO control.
const IIR_FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;

mod ier {
    pub(super) const ERBFI: u8 = 1 << 0;
    pub(super) const ETBEI: u8 = 1 << 1;
    pub(super) const ELSI: u8 = 1 << 2;
    pub(super) const EDSSI: u8 = 1 << 3;
}

mod iir {
    pub(super) const NONE: u8 = 0x01;
    pub(super) const MODEM_STATUS: u8 = 0x00;
    pub(super) const THR_EMPTY: u8 = 0x02;
    pub(super) const DATA_AVAILABLE: u8 = 0x04;
    pub(super) const LINE_STATUS: u8 = 0x06;
    pub(super) const TIMEOUT: u8 = 0x0c;
    pub(super) const FIFOS: u8 = 0xc0;
}

mod fcr {
    pub(super) const ENABLE: u8 = 1 << 0;
    pub(super) const CLEAR_RECEIVER: u8 = 1 << 1;
}

const DLAB: u8 = 1 << 7;

mod mcr {
    pub(super) const DTR: u8 = 1 << 0;
    pub(super) const RTS: u8 = 1 << 1;
    pub(super) const OUT1: u8 = 1 << 2;
    pub(super) const OUT2: u8 = 1 << 3;
    pub(super) const LOOP: u8 = 1 << 4;
}

mod lsr {
    pub(super) const DR: u8 = 1 << 0;
    pub(super) const OE: u8 = 1 << 1;
    pub(super) const BI: u8 = 1 << 4;
    pub(super) const ERRORS: u8 = 0x1e;
    pub(super) const THRE: u8 = 1 << 5;
    pub(super) const TEMT: u8 = 1 << 6;
    pub(super) const IN_FIFO: u8 = 1 << 7;
}

mod msr {
    pub(super) const DELTAS: u8 = 0x0f;
    pub(super) const TERI: u8 = 1 << 2;
    pub(super) const CTS: u8 = 1 << 4;
    pub(super) const DSR: u8 = 1 << 5;
    pub(super) const RI: u8 = 1 << 6;
    pub(super) const DCD: u8 = 1 << 7;
}

#[derive(Clone, Debug)]
struct State {
    /// Received characters with their error bits of LSR.
    received: VecDeque<(u8, u8)>,
    divisor: u16,
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    /// Error bits that LSR shows until it is read.
    errors: u8,
    msr: u8,
    scr: u8,
    /// Whether the empty transmitter has not been noticed yet.
    thr_interrupt: bool,
}

impl State {
    fn new() -> State {
        State {
            received: VecDeque::new(),
            divisor: 12,
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            errors: 0,
            msr: CARRIER,
            scr: 0,
            thr_interrupt: false,
        }
    }

    fn has_fifos(&self) -> bool {
        self.fcr & fcr::ENABLE != 0
    }

    /// Characters that interrupt.
    fn trigger(&self) -> usize {
        if self.has_fifos() { [1, 4, 8, 14][usize::from(self.fcr >> 6)] } else { 1 }
    }

    /// The highest pending interrupt.
    fn iir(&self) -> u8 {
        let waiting = self.received.len();
        if self.ier & ier::ELSI != 0 && self.errors != 0 {
            iir::LINE_STATUS
        } else if self.ier & ier::ERBFI != 0 && waiting >= self.trigger() {
            iir::DATA_AVAILABLE
        } else if self.ier & ier::ERBFI != 0 && waiting > 0 {
            iir::TIMEOUT
        } else if self.ier & ier::ETBEI != 0 && self.thr_interrupt {
            iir::THR_EMPTY
        } else if self.ier & ier::EDSSI != 0 && self.msr & msr::DELTAS != 0 {
            iir::MODEM_STATUS
        } else {
            iir::NONE
        }
    }

    fn lsr(&self) -> u8 {
        let ready = if self.received.is_empty() { 0 } else { lsr::DR };
        let bad = self.has_fifos() && self.received.iter().any(|(_, errors)| *errors != 0);
        let in_fifo = if bad { lsr::IN_FIFO } else { 0 };
        lsr::THRE | lsr::TEMT | ready | in_fifo | self.errors
    }

    /// Characters that fit.
    fn room(&self) -> usize {
        (if self.has_fifos() { FIFO } else { 1 }) - self.received.len()
    }

    /// Puts a character into the FIFO; without room it is an overrun.
    fn put(&mut self, byte: u8, errors: u8) {
        if self.room() == 0 {
            self.errors |= lsr::OE;
            if self.has_fifos() {
                return;
            }
            self.received.clear();
        }
        self.received.push_back((byte, errors));
        if self.received.len() == 1 {
            self.errors |= errors;
        }
    }

    fn take(&mut self) -> u8 {
        let byte = self.received.pop_front().map_or(0, |(byte, _)| byte);
        if let Some((_, errors)) = self.received.front() {
            self.errors |= errors;
        }
        byte
    }

    /// The modem's inputs: what is connected is always ready, and loopback connects the outputs.
    fn update_modem(&mut self) {
        let inputs = if self.mcr & mcr::LOOP == 0 {
            CARRIER
        } else {
            let pairs = [
                (mcr::RTS, msr::CTS),
                (mcr::DTR, msr::DSR),
                (mcr::OUT1, msr::RI),
                (mcr::OUT2, msr::DCD),
            ];
            let on = |&(output, input): &(u8, u8)| if self.mcr & output != 0 { input } else { 0 };
            pairs.iter().map(on).sum()
        };
        let changed = (self.msr ^ inputs) & !msr::DELTAS;
        let mut deltas = changed >> 4;
        if inputs & msr::RI != 0 {
            deltas &= !msr::TERI; // It tells of the trailing edge alone.
        }
        self.msr = inputs | self.msr & msr::DELTAS | deltas;
    }
}

/// What a connected terminal shows.
const CARRIER: u8 = msr::CTS | msr::DSR | msr::DCD;

type Output = Box<dyn FnMut(&[u8]) + Send>;
type Wake = Box<dyn FnMut() + Send>;

/// A serial port, for a range of 8 ports.
pub struct Uart16550 {
    state: State,
    irq: IrqLine,
    output: Output,
    on_room: Option<Wake>,
}

impl Uart16550 {
    /// A port that interrupts by `irq` and passes on what the guest sends to `output`, which must
    /// not wait.
    pub fn new(irq: IrqLine, output: impl FnMut(&[u8]) + Send + 'static) -> Uart16550 {
        Uart16550 { state: State::new(), irq, output: Box::new(output), on_room: None }
    }

    /// Has `wake` called when a character was read, so that there is room for another. It is called
    /// with the port locked.
    pub fn on_room(&mut self, wake: impl FnMut() + Send + 'static) {
        self.on_room = Some(Box::new(wake));
    }

    /// Characters that [`Uart16550::receive`] would take. None in loopback, which cuts the line.
    pub fn room(&self) -> usize {
        if self.state.mcr & mcr::LOOP != 0 { 0 } else { self.state.room() }
    }

    /// How many characters the guest has not read yet.
    pub fn unread(&self) -> usize {
        self.state.received.len()
    }

    /// Whether the guest has not asked for interrupts when there are characters.
    pub fn is_polled(&self) -> bool {
        self.state.ier & ier::ERBFI == 0
    }

    /// Receives characters from outside: as many as there is room for. How many those were.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        for &byte in &bytes[..count] {
            self.state.put(byte, 0);
        }
        self.update();
        count
    }

    /// Receives a break condition; `false` without room.
    pub fn receive_break(&mut self) -> bool {
        let fits = self.room() > 0;
        if fits {
            self.state.put(0, lsr::BI);
            self.update();
        }
        fits
    }

    fn update(&mut self) {
        let pending = self.state.iir() != iir::NONE;
        let is_open = self.state.mcr & (mcr::OUT2 | mcr::LOOP) == mcr::OUT2;
        self.irq.set(pending && is_open);
    }

    fn wake(&mut self) {
        if self.room() > 0
            && let Some(wake) = &mut self.on_room
        {
            wake();
        }
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        let state = &mut self.state;
        let dlab = state.lcr & DLAB != 0;
        match offset & 7 {
            RBR_THR if dlab => state.divisor as u8,
            RBR_THR => {
                let byte = state.take();
                self.wake();
                byte
            }
            IER if dlab => (state.divisor >> 8) as u8,
            IER => state.ier,
            IIR_FCR => {
                let iir = state.iir();
                if iir == iir::THR_EMPTY {
                    state.thr_interrupt = false;
                }
                iir | if state.has_fifos() { iir::FIFOS } else { 0 }
            }
            LCR => state.lcr,
            MCR => state.mcr,
            LSR => {
                let lsr = state.lsr();
                state.errors &= !lsr::ERRORS;
                if let Some((_, errors)) = state.received.front_mut() {
                    *errors = 0; // They have been seen.
                }
                lsr
            }
            MSR => {
                let msr = state.msr;
                state.msr &= !msr::DELTAS;
                msr
            }
            _ => state.scr,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        let state = &mut self.state;
        let dlab = state.lcr & DLAB != 0;
        match offset & 7 {
            RBR_THR if dlab => state.divisor = state.divisor & 0xff00 | u16::from(value),
            RBR_THR => {
                state.thr_interrupt = true;
                if state.mcr & mcr::LOOP != 0 {
                    state.put(value, 0);
                } else {
                    (self.output)(&[value]);
                }
            }
            IER if dlab => state.divisor = state.divisor & 0xff | u16::from(value) << 8,
            IER => {
                // Enabling the interrupt of a transmitter that is empty interrupts.
                state.thr_interrupt |= value & !state.ier & ier::ETBEI != 0;
                state.ier = value & 0x0f;
            }
            IIR_FCR => {
                let switched = (value ^ state.fcr) & fcr::ENABLE != 0;
                if switched || value & fcr::CLEAR_RECEIVER != 0 {
                    state.received.clear();
                }
                // Without the enable bit, the others are not programmed.
                state.fcr = if value & fcr::ENABLE != 0 { value & 0xc9 } else { 0 };
                self.wake();
            }
            LCR => state.lcr = value,
            MCR => {
                let looped = state.mcr & mcr::LOOP != 0;
                state.mcr = value & 0x1f;
                state.update_modem();
                if looped {
                    self.wake();
                }
            }
            LSR | MSR => {} // For factory tests.
            _ => state.scr = value,
        }
    }
}

impl Device for Uart16550 {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        let value = read_bytes(offset, bytes, |at| self.read_byte(at));
        self.update();
        value
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        write_bytes(offset, bytes, value, |at, byte| self.write_byte(at, byte));
        self.update();
    }

    fn reset(&mut self) {
        self.state = State::new();
        self.update();
        self.wake();
    }
}

impl fmt::Debug for Uart16550 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Uart16550").field(&self.state).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Levels;
    use parking_lot::Mutex;
    use std::sync::Arc;

    struct Rig {
        uart: Uart16550,
        levels: Arc<Levels>,
        sent: Arc<Mutex<Vec<u8>>>,
    }

    fn rig() -> Rig {
        let levels = Levels::new();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let to = sent.clone();
        let uart = Uart16550::new(levels.line(4), move |bytes| to.lock().extend(bytes));
        Rig { uart, levels, sent }
    }

    impl Rig {
        fn read(&mut self, offset: u64) -> u8 {
            self.uart.read(offset, 1) as u8
        }
        fn write(&mut self, offset: u64, value: u8) {
            self.uart.write(offset, 1, value.into());
        }
        fn irq(&self) -> bool {
            self.levels.is_high(4)
        }
    }

    #[test]
    fn characters_are_sent_and_the_transmitter_interrupts() {
        let mut rig = rig();
        rig.write(RBR_THR, b'a');
        assert_eq!(rig.sent.lock()[..], *b"a");
        rig.write(MCR, mcr::OUT2);
        rig.write(IER, ier::ETBEI);
        assert!(rig.irq());
        assert_eq!(rig.read(IIR_FCR), iir::THR_EMPTY);
        assert!(!rig.irq());
        assert_eq!(rig.read(IIR_FCR), iir::NONE);
        rig.write(RBR_THR, b'b');
        assert!(rig.irq());
        rig.write(MCR, 0);
        assert!(!rig.irq());
        assert_eq!(rig.read(LSR), lsr::THRE | lsr::TEMT);
    }

    #[test]
    fn the_fifo_fills_to_its_trigger_and_pushes_back() {
        let mut rig = rig();
        rig.write(MCR, mcr::OUT2);
        rig.write(IER, ier::ERBFI);
        rig.write(IIR_FCR, 0x81); // 8 characters
        assert_eq!(rig.uart.receive(b"abc"), 3);
        assert_eq!(rig.read(IIR_FCR), iir::TIMEOUT | iir::FIFOS);
        assert_eq!(rig.uart.receive(&[b'x'; 20]), 13);
        assert_eq!(rig.read(IIR_FCR), iir::DATA_AVAILABLE | iir::FIFOS);
        let woken = Arc::new(Mutex::new(0));
        let count = woken.clone();
        rig.uart.on_room(move || *count.lock() += 1);
        assert_eq!((rig.read(RBR_THR), rig.read(RBR_THR)), (b'a', b'b'));
        assert_eq!((*woken.lock(), rig.uart.room()), (2, 2));
        assert!(rig.irq());
        rig.write(IIR_FCR, 0x83);
        assert!(!rig.irq());
        assert_eq!((rig.read(LSR), rig.read(RBR_THR)), (0x60, 0));
    }

    #[test]
    fn one_character_is_all_that_fits_without_fifos() {
        let mut rig = rig();
        assert_eq!(rig.uart.receive(b"ab"), 1);
        assert_eq!(rig.uart.receive(b"b"), 0);
        assert_eq!((rig.read(LSR), rig.read(RBR_THR)), (0x61, b'a'));
        assert_eq!(rig.uart.receive(b"b"), 1);
        rig.write(MCR, mcr::LOOP);
        rig.write(RBR_THR, b'c');
        assert_eq!(rig.read(LSR), 0x61 | lsr::OE);
        assert_eq!((rig.read(RBR_THR), rig.read(LSR)), (b'c', 0x60));
    }

    #[test]
    fn loopback_turns_outputs_into_inputs() {
        let mut rig = rig();
        assert_eq!(rig.read(MSR), 0xb0);
        rig.write(MCR, mcr::LOOP | mcr::RTS | mcr::OUT1);
        // CTS stays, RI comes; DSR and DCD go.
        assert_eq!(rig.read(MSR), msr::CTS | msr::RI | 0x0a);
        assert_eq!(rig.read(MSR), msr::CTS | msr::RI);
        rig.write(IER, ier::EDSSI);
        rig.write(MCR, mcr::LOOP);
        assert_eq!(rig.read(IIR_FCR), iir::MODEM_STATUS);
        assert_eq!(rig.read(MSR), msr::TERI | 1);
        rig.write(RBR_THR, b'z');
        assert_eq!((rig.read(RBR_THR), rig.sent.lock().len()), (b'z', 0));
        assert_eq!(rig.uart.receive(b"a"), 0);
    }

    #[test]
    fn a_break_is_an_error_of_its_character() {
        let mut rig = rig();
        rig.write(IIR_FCR, 1);
        rig.write(MCR, mcr::OUT2);
        rig.write(IER, ier::ELSI);
        rig.uart.receive(b"a");
        assert!(rig.uart.receive_break());
        assert_eq!(rig.read(LSR), 0x61 | lsr::IN_FIFO);
        assert!(!rig.irq());
        rig.read(RBR_THR);
        assert!(rig.irq());
        assert_eq!(rig.read(IIR_FCR), iir::LINE_STATUS | iir::FIFOS);
        assert_eq!(rig.read(LSR), 0x61 | lsr::BI | lsr::IN_FIFO);
        assert!(!rig.irq());
        assert_eq!(rig.read(LSR), 0x61);
    }

    #[test]
    fn the_divisor_hides_data_and_interrupts() {
        let mut rig = rig();
        rig.write(LCR, DLAB | 3);
        rig.uart.write(0, 2, 0x1234);
        assert_eq!((rig.read(0), rig.read(1), rig.read(LCR)), (0x34, 0x12, 0x83));
        rig.write(LCR, 3);
        assert_eq!((rig.read(IER), rig.sent.lock().len()), (0, 0));
        rig.write(7, 0x5a);
        assert_eq!(rig.read(7), 0x5a);
    }
}
