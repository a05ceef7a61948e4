//! The I/O APIC: Intel 82093AA data sheet, with the EOI register of the ICH families.
//!
//! Its wires carry whether a device asks for an interrupt, so the polarity that an entry has is of no
//! consequence.

use super::{ApicBus, Delivery, Destination, Message};
use mynah_bus::{Device, Pins, ones};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Inputs.
const PINS: usize = 24;

/// Memory-mapped registers.
const IOREGSEL: u64 = 0x00;
const IOWIN: u64 = 0x10;
const EOIR: u64 = 0x40;

/// Indirect registers.
mod index {
    pub(super) const IOAPICID: u8 = 0x00;
    pub(super) const IOAPICVER: u8 = 0x01;
    pub(super) const IOAPICARB: u8 = 0x02;
    pub(super) const IOREDTBL: u8 = 0x10;
}

/// Bits of a redirection table entry.
mod entry {
    pub(super) const LOGICAL: u64 = 1 << 11;
    pub(super) const REMOTE_IRR: u64 = 1 << 14;
    pub(super) const LEVEL: u64 = 1 << 15;
    pub(super) const MASKED: u64 = 1 << 16;
    pub(super) const WRITABLE: u64 = 0xff00_0000_0001_afff;
}

#[derive(Clone, Copy, Debug)]
struct State {
    select: u8,
    id: u32,
    entries: [u64; PINS],
    /// Levels of the pins.
    lines: [bool; PINS],
}

impl State {
    fn new() -> State {
        State { select: 0, id: 0, entries: [entry::MASKED; PINS], lines: [false; PINS] }
    }

    fn version() -> u32 {
        (PINS as u32 - 1) << 16 | 0x20
    }

    fn read(&self) -> u32 {
        match self.select {
            index::IOAPICID | index::IOAPICARB => self.id << 24,
            index::IOAPICVER => State::version(),
            select => {
                let Some((pin, high)) = entry_of(select) else { return 0 };
                (self.entries[pin] >> if high { 32 } else { 0 }) as u32
            }
        }
    }
}

/// The pin of an indirect register, and whether it is the entry's high half.
fn entry_of(select: u8) -> Option<(usize, bool)> {
    let at = usize::from(select.checked_sub(index::IOREDTBL)?);
    (at < 2 * PINS).then_some((at / 2, at % 2 == 1))
}

/// An IOAPIC. Its inputs are [`Pins`] 0 to 23.
pub struct IoApic {
    state: Mutex<State>,
    bus: Arc<ApicBus>,
}

impl IoApic {
    /// An IOAPIC on `bus`.
    pub fn new(bus: &Arc<ApicBus>) -> Arc<IoApic> {
        let ioapic = Arc::new(IoApic { state: Mutex::new(State::new()), bus: bus.clone() });
        bus.ioapics.write().push(Arc::downgrade(&ioapic));
        ioapic
    }

    /// Its registers, for a range of 100h bytes or more.
    pub fn registers(self: &Arc<IoApic>) -> IoApicRegisters {
        IoApicRegisters(self.clone())
    }

    /// The redirection table, for reports.
    pub fn entries(&self) -> [u64; PINS] {
        self.state.lock().entries
    }

    /// Sends what an entry says. With a level, nothing more is sent before its end.
    fn send(&self, state: &mut State, pin: usize) {
        let bits = state.entries[pin];
        let is_level = bits & entry::LEVEL != 0;
        if bits & entry::MASKED != 0 || is_level && bits & entry::REMOTE_IRR != 0 {
            return;
        }
        let Some(delivery) = Delivery::from_bits((bits >> 8) as u32) else { return };
        let has_vector = matches!(delivery, Delivery::Fixed | Delivery::LowestPriority);
        if is_level && has_vector {
            state.entries[pin] |= entry::REMOTE_IRR;
        }
        self.bus.send(Message {
            destination: Destination::from_field((bits >> 56) as u8, bits & entry::LOGICAL != 0),
            delivery,
            vector: bits as u8,
            is_level: is_level && has_vector,
        });
    }

    /// The interrupt with this vector has ended: a level that is still there interrupts again.
    pub(super) fn end_of_interrupt(&self, vector: u8) {
        let mut state = self.state.lock();
        for pin in 0..PINS {
            let bits = state.entries[pin];
            if bits as u8 == vector && bits & entry::REMOTE_IRR != 0 {
                state.entries[pin] &= !entry::REMOTE_IRR;
                if state.lines[pin] {
                    self.send(&mut state, pin);
                }
            }
        }
    }

    fn write_selected(&self, value: u32) {
        let mut state = self.state.lock();
        if state.select == index::IOAPICID {
            state.id = value >> 24 & 0xf;
        }
        let Some((pin, high)) = entry_of(state.select) else { return };
        let value = u64::from(value);
        let bits = &mut state.entries[pin];
        let written =
            if high { *bits & 0xffff_ffff | value << 32 } else { *bits & !0xffff_ffff | value };
        *bits = written & entry::WRITABLE | *bits & entry::REMOTE_IRR;
        if *bits & entry::LEVEL == 0 {
            *bits &= !entry::REMOTE_IRR;
        } else if state.lines[pin] {
            self.send(&mut state, pin);
        }
    }
}

impl Pins for IoApic {
    fn set(&self, pin: u32, level: bool) {
        let pin = pin as usize;
        if pin >= PINS {
            return;
        }
        let mut state = self.state.lock();
        let rises = level && !state.lines[pin];
        state.lines[pin] = level;
        if rises {
            // An edge at a masked pin is lost.
            self.send(&mut state, pin);
        }
    }

    fn holds(&self, pin: u32) -> bool {
        let Some(&bits) = self.state.lock().entries.get(pin as usize) else { return false };
        let delivery = Delivery::from_bits((bits >> 8) as u32);
        let has_vector = matches!(delivery, Some(Delivery::Fixed | Delivery::LowestPriority));
        let destination = Destination::from_field((bits >> 56) as u8, bits & entry::LOGICAL != 0);
        bits & entry::MASKED == 0 && has_vector && self.bus.has_requested(destination, bits as u8)
    }
}

impl fmt::Debug for IoApic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries();
        f.debug_list().entries(entries.iter().map(|entry| format!("{entry:016x}"))).finish()
    }
}

/// The registers of an [`IoApic`].
#[derive(Debug)]
pub struct IoApicRegisters(Arc<IoApic>);

impl Device for IoApicRegisters {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        let state = self.0.state.lock();
        let value = match offset & !15 & 0xff {
            IOREGSEL => state.select.into(),
            IOWIN => state.read(),
            _ => 0,
        };
        u64::from(value).checked_shr((offset as u32 & 15) * 8).unwrap_or(0) & ones(bytes)
    }

    fn write(&mut self, offset: u64, _: u8, value: u64) {
        match offset & 0xff {
            IOREGSEL => self.0.state.lock().select = value as u8,
            IOWIN => self.0.write_selected(value as u32),
            EOIR => self.0.end_of_interrupt(value as u8),
            _ => {}
        }
    }

    fn reset(&mut self) {
        let mut state = self.0.state.lock();
        let lines = state.lines;
        *state = State { lines, ..State::new() };
    }
}
