//! The PCI bus: functions, and the two ways to their configuration space.
//!
//! There is one bus, number 0. A [`Function`] is what is plugged into it; [`Bus`] finds functions
//! for the configuration accesses of [`ConfigPorts`] (mechanism #1, ports CF8h and CFCh) and
//! [`Ecam`] (the memory-mapped space of PCI Express), and keeps the ranges that base address
//! registers describe in the machine's maps up to date. Sources: PCI Local Bus Specification 3.0,
//! PCI Firmware Specification 3.
//!
//! The machine's bridges are those of the 440FX set, [`I440fx`] and [`Piix3`], which SeaBIOS, GRUB
//! and every Linux know how to program. ECAM is an addition to it: the board puts it where it
//! wants, reserves that memory and tells the guest by the ACPI table MCFG.

mod config;
mod i440fx;
mod msi;
mod piix3;

pub use config::{Bar, BarKind, Class, Config, Identity, command, reg, status};
pub use i440fx::{I440fx, Shadow};
pub use msi::Msix;
pub use piix3::{Piix3, PirqRouter};

use crate::system_control::ResetControl;
use mynah_bus::map::Place;
use mynah_bus::{Device, IrqLine, Map, Messages, Pins, ones};
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, Weak};

/// The number that [`Function::read`] and [`Function::write`] get for the expansion ROM.
pub const ROM: u8 = 6;

/// A PCI function: a device with a configuration space.
pub trait Function: Send {
    /// Its configuration space.
    fn config(&mut self) -> &mut Config;

    /// Reads `bytes` bytes (1, 2, 4 or 8) at `offset` in base address register `bar`'s range, or in
    /// that of the expansion [`ROM`]. The range's part that is an MSI-X table or its pending bits
    /// does not get here.
    fn read(&mut self, _bar: u8, _offset: u64, bytes: u8) -> u64 {
        ones(bytes)
    }

    /// Writes there, as [`Function::read`] reads.
    fn write(&mut self, _bar: u8, _offset: u64, _bytes: u8, _value: u64) {}

    /// What the bus's reset line does to the function's own state. The configuration space is reset
    /// by the caller.
    fn reset(&mut self);

    /// Reads configuration space: 1, 2 or 4 bytes at `offset`, which is aligned. For functions
    /// with registers there that are more than memory.
    fn read_config(&mut self, offset: u8, bytes: u8) -> u32 {
        self.config().read(offset, bytes)
    }

    /// Writes configuration space, as [`Function::read_config`] reads.
    fn write_config(&mut self, offset: u8, bytes: u8, value: u32) {
        self.config().write(offset, bytes, value);
    }
}

/// A function as the bus and the board share it.
pub type Plugged = Arc<Mutex<dyn Function>>;

/// Where a function is: device 0 to 31 and function 0 to 7 of bus 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u8);

impl Address {
    /// Function `function` (modulo 8) of device `device` (modulo 32).
    pub fn new(device: u8, function: u8) -> Address {
        Address(device << 3 | function & 7)
    }

    /// The device's number.
    pub fn device(self) -> u8 {
        self.0 >> 3
    }

    /// The function's number.
    pub fn function(self) -> u8 {
        self.0 & 7
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00:{:02x}.{}", self.device(), self.function())
    }
}

/// A plugged function and what of it is in the maps.
struct Slot {
    function: Plugged,
    /// Where base address registers 0 to 5 and the ROM are in their maps.
    placed: [Option<Placed>; 7],
}

#[derive(Clone, Copy)]
struct Placed {
    place: Place,
    start: u64,
    io: bool,
}

/// A PCI bus.
pub struct Bus {
    ports: Arc<Map>,
    memory: Arc<Map>,
    messages: Arc<dyn Messages>,
    /// The wires PIRQA to PIRQD.
    pirq: [IrqLine; 4],
    slots: Mutex<Vec<Option<Slot>>>,
}

impl Bus {
    /// An empty bus. Functions' ranges appear in `ports` and `memory`, their messages go to
    /// `messages`, and their INTx pins to pins 0 to 3 of `pirq` (PIRQA to PIRQD).
    pub fn new(
        ports: Arc<Map>,
        memory: Arc<Map>,
        messages: Arc<dyn Messages>,
        pirq: Arc<dyn Pins>,
    ) -> Arc<Bus> {
        let pirq = [0, 1, 2, 3].map(|pin| IrqLine::new(pirq.clone(), pin));
        let slots = Mutex::new((0..256).map(|_| None).collect());
        Arc::new(Bus { ports, memory, messages, pirq, slots })
    }

    /// Plugs `function` in at `address`; `false` if another is there.
    pub fn plug(&self, address: Address, function: Plugged) -> bool {
        if self.function(address).is_some() {
            return false;
        }
        {
            let mut function = function.lock();
            let config = function.config();
            let pin = config.interrupt_pin();
            let line = match pin {
                1..=4 => self.pirq[pirq(address.device(), pin)].join(),
                _ => IrqLine::nowhere(),
            };
            config.connect(line, self.messages.clone());
        }
        let slot = Slot { function, placed: [None; 7] };
        self.slots.lock()[usize::from(address.0)] = Some(slot);
        true
    }

    /// The plugged functions.
    pub fn functions(&self) -> Vec<(Address, Plugged)> {
        let slots = self.slots.lock();
        let plugged = (0..=255).zip(slots.iter());
        plugged
            .filter_map(|(at, slot)| Some((Address(at), slot.as_ref()?.function.clone())))
            .collect()
    }

    /// Reads configuration space: 1, 2 or 4 bytes. All ones where no function is, and for accesses
    /// that are not aligned.
    pub fn read_config(&self, address: Address, offset: u8, bytes: u8) -> u32 {
        let none = ones(bytes.min(4)) as u32;
        if !is_aligned(offset, bytes) {
            return none;
        }
        match self.function(address) {
            Some(function) => function.lock().read_config(offset, bytes) & none,
            None => none,
        }
    }

    /// Writes configuration space: 1, 2 or 4 bytes, aligned.
    pub fn write_config(&self, address: Address, offset: u8, bytes: u8, value: u32) {
        if !is_aligned(offset, bytes) {
            return;
        }
        let Some(function) = self.function(address) else { return };
        let value = value & ones(bytes) as u32;
        // Another vCPU may be at the same registers: what is placed follows what was written last,
        // as the function stays locked.
        let mut locked = function.lock();
        locked.write_config(offset, bytes, value);
        let bars = locked.config().decoded();
        self.place(address, &function, bars);
    }

    /// Resets all functions, and takes their ranges from the maps.
    pub fn reset(&self) {
        for (address, function) in self.functions() {
            let mut locked = function.lock();
            locked.config().reset();
            locked.reset();
            let bars = locked.config().decoded();
            self.place(address, &function, bars);
        }
    }

    fn function(&self, address: Address) -> Option<Plugged> {
        Some(self.slots.lock()[usize::from(address.0)].as_ref()?.function.clone())
    }

    /// Brings the maps in line with what a function decodes.
    fn place(&self, address: Address, function: &Plugged, bars: [Option<Bar>; 7]) {
        let mut slots = self.slots.lock();
        let Some(slot) = &mut slots[usize::from(address.0)] else { return };
        for (number, (bar, placed)) in (0..).zip(bars.into_iter().zip(&mut slot.placed)) {
            let map = |io| if io { &self.ports } else { &self.memory };
            match (bar, &mut *placed) {
                (None, None) => {}
                (None, Some(old)) => {
                    map(old.io).remove(old.place);
                    *placed = None;
                }
                (Some(bar), Some(old)) => {
                    if old.start != bar.address {
                        map(old.io).relocate(old.place, bar.address);
                        old.start = bar.address;
                    }
                }
                (Some(bar), None) => {
                    let io = bar.kind == BarKind::Io;
                    let window = Window { function: Arc::downgrade(function), bar: number };
                    let range = bar.address..bar.address.saturating_add(bar.size);
                    let place = map(io).add(range, Arc::new(Mutex::new(window)));
                    *placed = Some(Placed { place, start: bar.address, io });
                }
            }
        }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.functions().iter().map(|(address, _)| address)).finish()
    }
}

/// The PIRQ wire of a device's interrupt pin (1 is INTA): boards turn the wires by one from slot to
/// slot, and the bridge at device 1 begins with PIRQA.
fn pirq(device: u8, pin: u8) -> usize {
    usize::from(device.wrapping_add(pin).wrapping_sub(2) & 3)
}

/// The wire (0 is PIRQA) to which INTA of `device` leads; the pins after it follow in a circle. For
/// the board's ACPI table of routes.
pub fn intx_wire(device: u8, pin: u8) -> u32 {
    pirq(device, pin) as u32
}

fn is_aligned(offset: u8, bytes: u8) -> bool {
    matches!(bytes, 1 | 2 | 4) && offset & (bytes - 1) == 0
}

/// What answers in the range of a base address register.
struct Window {
    function: Weak<Mutex<dyn Function>>,
    bar: u8,
}

impl Device for Window {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        let Some(function) = self.function.upgrade() else { return u64::MAX };
        let mut function = function.lock();
        match function.config().msix_at(self.bar, offset) {
            Some((table, offset)) => table.read(offset, bytes),
            None => function.read(self.bar, offset, bytes),
        }
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        let Some(function) = self.function.upgrade() else { return };
        let mut function = function.lock();
        if function.config().msix_at(self.bar, offset).is_some() {
            function.config().write_msix(self.bar, offset, bytes, value);
        } else {
            function.write(self.bar, offset, bytes, value);
        }
    }

    /// The bus resets its functions.
    fn reset(&mut self) {}
}

/// Configuration mechanism #1: CONFADD at offset 0 (port CF8h) and CONFDATA at offset 4 (CFCh).
/// A byte at offset 1 is the reset control register (CF9h), which lies in between.
#[derive(Debug)]
pub struct ConfigPorts {
    bus: Arc<Bus>,
    reset_control: ResetControl,
    /// CONFADD: bit 31 enables, then bus, device, function, register.
    confadd: u32,
}

impl ConfigPorts {
    /// The ports of `bus`, for a range of 8 ports.
    pub fn new(bus: Arc<Bus>, reset_control: ResetControl) -> ConfigPorts {
        ConfigPorts { bus, reset_control, confadd: 0 }
    }

    /// What CONFDATA stands for.
    fn target(&self) -> Option<(Address, u8)> {
        let here = self.confadd >> 31 != 0 && self.confadd >> 16 & 0xff == 0;
        here.then_some((Address((self.confadd >> 8) as u8), self.confadd as u8 & 0xfc))
    }
}

impl Device for ConfigPorts {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        match (offset, bytes, self.target()) {
            (0, 4, _) => u64::from(self.confadd),
            (1, 1, _) => self.reset_control.read(0, 1),
            (4..=7, 1 | 2 | 4, Some((address, register))) => {
                u64::from(self.bus.read_config(address, register + (offset - 4) as u8, bytes))
            }
            _ => ones(bytes),
        }
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        match (offset, bytes, self.target()) {
            (0, 4, _) => self.confadd = value as u32 & 0x80ff_fffc,
            (1, 1, _) => self.reset_control.write(0, 1, value),
            (4..=7, 1 | 2 | 4, Some((address, register))) => {
                self.bus.write_config(address, register + (offset - 4) as u8, bytes, value as u32);
            }
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.confadd = 0;
        self.reset_control.reset();
        self.bus.reset();
    }
}

/// The enhanced configuration access mechanism: 1 MiB for each bus, 4 KiB for each function. The
/// functions here have 256 bytes of configuration space; what is after them reads as all ones.
#[derive(Debug)]
pub struct Ecam(Arc<Bus>);

impl Ecam {
    /// Bytes of memory for each bus.
    pub const BUS: u64 = 1 << 20;

    /// ECAM of `bus`, for a range of [`Ecam::BUS`] or a multiple for buses that are not there.
    pub fn new(bus: Arc<Bus>) -> Ecam {
        Ecam(bus)
    }

    fn target(offset: u64) -> Option<(Address, u8)> {
        let here = offset < Ecam::BUS && offset & 0xf00 == 0;
        here.then_some((Address((offset >> 12) as u8), offset as u8))
    }
}

impl Device for Ecam {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        let Some((address, register)) = Ecam::target(offset) else { return ones(bytes) };
        match bytes {
            8 if register & 7 == 0 => {
                let half = |at| u64::from(self.0.read_config(address, register + at, 4));
                half(0) | half(4) << 32
            }
            _ => {
                u64::from(self.0.read_config(address, register, bytes)) | ones(bytes) & !0xffff_ffff
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        let Some((address, register)) = Ecam::target(offset) else { return };
        if bytes == 8 && register & 7 == 0 {
            self.0.write_config(address, register, 4, value as u32);
            self.0.write_config(address, register + 4, 4, (value >> 32) as u32);
        } else {
            self.0.write_config(address, register, bytes, value as u32);
        }
    }

    /// The bus is reset by its [`ConfigPorts`].
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests;
