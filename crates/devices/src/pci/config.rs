//! The configuration space of a PCI function: header, base address registers, capabilities, and the
//! interrupts that are configured there (PCI Local Bus Specification 3.0, chapter 6).

use super::ROM;
use super::msi::{Msi, Msix};
use mynah_bus::{IrqLine, Messages};
use std::fmt;
use std::sync::Arc;

/// Offsets of the registers of header type 0.
#[expect(missing_docs, reason = "names of the specification")]
pub mod reg {
    pub const VENDOR_ID: u8 = 0x00;
    pub const DEVICE_ID: u8 = 0x02;
    pub const COMMAND: u8 = 0x04;
    pub const STATUS: u8 = 0x06;
    pub const REVISION_ID: u8 = 0x08;
    pub const CLASS_CODE: u8 = 0x09;
    pub const HEADER_TYPE: u8 = 0x0e;
    pub const BAR0: u8 = 0x10;
    pub const SUBSYSTEM_VENDOR_ID: u8 = 0x2c;
    pub const SUBSYSTEM_ID: u8 = 0x2e;
    pub const EXPANSION_ROM: u8 = 0x30;
    pub const CAPABILITIES: u8 = 0x34;
    pub const INTERRUPT_LINE: u8 = 0x3c;
    pub const INTERRUPT_PIN: u8 = 0x3d;
}

/// Bits of the command register.
#[expect(missing_docs, reason = "names of the specification")]
pub mod command {
    pub const IO_SPACE: u16 = 1 << 0;
    pub const MEMORY_SPACE: u16 = 1 << 1;
    pub const BUS_MASTER: u16 = 1 << 2;
    pub const SERR_ENABLE: u16 = 1 << 8;
    pub const INTERRUPT_DISABLE: u16 = 1 << 10;
}

/// Bits of the status register.
#[expect(missing_docs, reason = "names of the specification")]
pub mod status {
    pub const INTERRUPT: u16 = 1 << 3;
    pub const CAPABILITIES_LIST: u16 = 1 << 4;
    pub const DEVSEL_MEDIUM: u16 = 1 << 9;
    /// Errors and aborts, which writing ones clears.
    pub const ERRORS: u16 = 0xf900;
}

/// A class code: base class, sub-class and programming interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class(pub u8, pub u8, pub u8);

/// What a function says that it is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Who made it.
    pub vendor: u16,
    /// Which of the vendor's devices.
    pub device: u16,
    /// Its revision.
    pub revision: u8,
    /// What kind of device.
    pub class: Class,
    /// Who made the board, or 0.
    pub subsystem_vendor: u16,
    /// Which of that vendor's boards, or 0.
    pub subsystem: u16,
}

/// What a base address register describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarKind {
    /// Ports.
    Io,
    /// Memory below 4 GiB.
    Memory,
    /// Memory anywhere: takes this register and the next.
    Memory64,
    /// As [`BarKind::Memory64`], and reads there have no effects.
    Prefetchable64,
}

/// A range that a function decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// Of what.
    pub kind: BarKind,
    /// Where it starts.
    pub address: u64,
    /// Its bytes, a power of two.
    pub size: u64,
}

/// Where capabilities start.
const FIRST_CAPABILITY: u8 = 0x40;

/// A configuration space of 256 bytes.
#[derive(Clone)]
pub struct Config {
    /// What it reads as.
    bytes: [u8; 256],
    /// After reset.
    initial: [u8; 256],
    /// Bits that writes change.
    writable: [u8; 256],
    /// Bits that writing ones clears.
    clearable: [u8; 256],
    /// Kinds and sizes of base address registers, and of the ROM.
    bars: [Option<(BarKind, u64)>; 7],
    /// Where the next capability goes, and the link that will lead to it.
    free: u16,
    link: u8,
    msi: Option<Msi>,
    msix: Option<Msix>,
    line: IrqLine,
    messages: Option<Arc<dyn Messages>>,
    /// The level that the function wants its INTx to have.
    intx: bool,
}

impl Config {
    /// The space of a function without base address registers, capabilities and interrupts.
    pub fn new(identity: Identity) -> Config {
        let mut config = Config {
            bytes: [0; 256],
            initial: [0; 256],
            writable: [0; 256],
            clearable: [0; 256],
            bars: [None; 7],
            free: u16::from(FIRST_CAPABILITY),
            link: reg::CAPABILITIES,
            msi: None,
            msix: None,
            line: IrqLine::nowhere(),
            messages: None,
            intx: false,
        };
        let Class(base, sub, interface) = identity.class;
        config.set_u16(reg::VENDOR_ID, identity.vendor);
        config.set_u16(reg::DEVICE_ID, identity.device);
        config.set_u8(reg::REVISION_ID, identity.revision);
        config.set_u8(reg::CLASS_CODE, interface);
        config.set_u8(reg::CLASS_CODE + 1, sub);
        config.set_u8(reg::CLASS_CODE + 2, base);
        config.set_u16(reg::SUBSYSTEM_VENDOR_ID, identity.subsystem_vendor);
        config.set_u16(reg::SUBSYSTEM_ID, identity.subsystem);
        use command::*;
        let command =
            IO_SPACE | MEMORY_SPACE | BUS_MASTER | SERR_ENABLE | INTERRUPT_DISABLE | 1 << 6;
        config.set_writable(reg::COMMAND, &command.to_le_bytes());
        config.set_writable(0x0c, &[0xff, 0xff]); // cache line size, latency timer
        config.set_writable(reg::INTERRUPT_LINE, &[0xff]);
        let at = usize::from(reg::STATUS);
        config.clearable[at..at + 2].copy_from_slice(&status::ERRORS.to_le_bytes());
        config
    }

    /// Sets what a byte reads as, now and after reset. For functions that are being made.
    pub fn set_u8(&mut self, offset: u8, value: u8) {
        self.bytes[usize::from(offset)] = value;
        self.initial[usize::from(offset)] = value;
    }

    /// As [`Config::set_u8`], for two bytes.
    pub fn set_u16(&mut self, offset: u8, value: u16) {
        let [low, high] = value.to_le_bytes();
        self.set_u8(offset, low);
        self.set_u8(offset.wrapping_add(1), high);
    }

    /// Makes the bits of `mask` writable, from `offset` on.
    pub fn set_writable(&mut self, offset: u8, mask: &[u8]) {
        for (byte, mask) in self.writable[usize::from(offset)..].iter_mut().zip(mask) {
            *byte |= mask;
        }
    }

    /// Says that the device has several functions.
    pub fn set_multifunction(&mut self) {
        self.set_u8(reg::HEADER_TYPE, 0x80);
    }

    /// Has the function use interrupt pin `pin`: 1 is INTA.
    pub fn set_interrupt_pin(&mut self, pin: u8) {
        self.set_u8(reg::INTERRUPT_PIN, pin.min(4));
    }

    /// Adds base address register `number`, or the expansion [`ROM`]: `size` bytes, a power of two of
    /// at least 16 (2 KiB for a ROM; 4 GiB at most without 64 bits).
    ///
    /// # Panics
    /// If there is none such, or if it is taken.
    pub fn add_bar(&mut self, number: u8, kind: BarKind, size: u64) {
        let at = usize::from(number);
        assert!(self.bars[at].is_none() && !self.is_upper_half(at), "BAR {number} is taken");
        let least = if number == ROM { 2048 } else { 16 };
        assert!(size.is_power_of_two() && size >= least, "BAR {number} of {size} bytes");
        let wide = matches!(kind, BarKind::Memory64 | BarKind::Prefetchable64);
        assert!(!wide || at < 5 && self.bars[at + 1].is_none(), "BAR {number} cannot be wide");
        assert!(wide || size <= 1 << 31, "BAR {number} of {size} bytes");
        assert!(kind != BarKind::Io || size <= 256, "BAR {number} of {size} ports");
        self.bars[at] = Some((kind, size));
        let offset = bar_offset(at);
        let fixed = match kind {
            BarKind::Io => 1,
            BarKind::Memory => 0,
            BarKind::Memory64 => 4,
            BarKind::Prefetchable64 => 0xc,
        };
        self.set_u8(offset, fixed);
        let mask = !(size - 1);
        self.set_writable(offset, &(mask as u32).to_le_bytes());
        if wide {
            self.set_writable(offset + 4, &((mask >> 32) as u32).to_le_bytes());
        }
        if number == ROM {
            self.set_writable(offset, &[1]);
        }
    }

    /// Adds a capability: `body` is what follows its id and link. The offset at which it is.
    ///
    /// # Panics
    /// If there is no more room.
    pub fn add_capability(&mut self, id: u8, body: &[u8]) -> u8 {
        let end = usize::from(self.free) + 2 + body.len();
        assert!(end <= 256, "capabilities fill the configuration space");
        let at = self.free as u8;
        self.set_u8(self.link, at);
        self.set_u8(at, id);
        for (offset, &byte) in (at + 2..=255).zip(body) {
            self.set_u8(offset, byte);
        }
        self.link = at + 1;
        self.free = end.next_multiple_of(4) as u16;
        let flags = self.u16(reg::STATUS) | status::CAPABILITIES_LIST;
        self.set_u16(reg::STATUS, flags);
        at
    }

    /// Adds MSI with `vectors` (a power of two, 32 at most) messages.
    ///
    /// # Panics
    /// If there is no more room.
    pub fn add_msi(&mut self, vectors: u8) {
        let log = vectors.clamp(1, 32).ilog2() as u8;
        let at = self.add_capability(0x05, &Msi::body(log));
        self.set_writable(at, &Msi::writable());
        self.msi = Some(Msi { at, log });
    }

    /// Adds MSI-X with `vectors` (2048 at most): a table of 16 bytes for each at `table` and their
    /// pending bits at `pending`, offsets in the range of base address register `bar` that are
    /// multiples of 8.
    ///
    /// # Panics
    /// If there is no more room, or if the tables are not in the register's range.
    pub fn add_msix(&mut self, vectors: u16, bar: u8, table: u32, pending: u32) {
        let size = self.bars[usize::from(bar)].map_or(0, |(_, size)| size);
        let msix = Msix::new(vectors, bar, table, pending);
        assert!(msix.fits(size), "the MSI-X table is not within BAR {bar}");
        let at = self.add_capability(0x11, &msix.body());
        self.set_writable(at + 3, &[0xc0]);
        self.msix = Some(msix.at(at));
    }

    /// Connects interrupts: done by the bus.
    pub(super) fn connect(&mut self, line: IrqLine, messages: Arc<dyn Messages>) {
        self.line = line;
        self.messages = Some(messages);
    }

    /// Which interrupt pin the function has: 1 is INTA, 0 is none.
    pub fn interrupt_pin(&self) -> u8 {
        self.bytes[usize::from(reg::INTERRUPT_PIN)]
    }

    /// Reads 1, 2 or 4 bytes.
    pub fn read(&self, offset: u8, bytes: u8) -> u32 {
        let byte = |at| self.bytes.get(usize::from(offset) + at).copied().unwrap_or(0xff);
        (0..usize::from(bytes.min(4))).fold(0, |v, at| v | u32::from(byte(at)) << (at * 8))
    }

    /// Reads two bytes.
    pub fn u16(&self, offset: u8) -> u16 {
        self.read(offset, 2) as u16
    }

    /// Reads four bytes.
    pub fn u32(&self, offset: u8) -> u32 {
        self.read(offset, 4)
    }

    /// Writes 1, 2 or 4 bytes: the writable bits among them.
    pub fn write(&mut self, offset: u8, bytes: u8, value: u32) {
        for (at, byte) in (usize::from(offset)..256).zip(value.to_le_bytes()).take(bytes.into()) {
            let writable = self.writable[at];
            self.bytes[at] = self.bytes[at] & !writable | byte & writable;
            self.bytes[at] &= !(byte & self.clearable[at]);
        }
        self.update();
    }

    /// Sets what bytes read as, in place of what the guest wrote there, until reset: for registers
    /// that a device changes.
    pub fn put(&mut self, offset: u8, bytes: &[u8]) {
        for (at, byte) in (usize::from(offset)..256).zip(bytes) {
            self.bytes[at] = *byte;
        }
    }

    /// What reset does.
    pub fn reset(&mut self) {
        self.bytes = self.initial;
        self.intx = false;
        if let Some(msix) = &mut self.msix {
            msix.reset();
        }
        self.update();
    }

    /// Whether the function may read and write RAM, and send messages.
    pub fn is_bus_master(&self) -> bool {
        self.u16(reg::COMMAND) & command::BUS_MASTER != 0
    }

    /// Sets the level of the function's INTx pin. It does not get there while MSI or MSI-X are
    /// enabled.
    pub fn set_intx(&mut self, level: bool) {
        self.intx = level;
        self.update();
    }

    /// Whether the guest has enabled MSI-X.
    pub fn is_msix_enabled(&self) -> bool {
        self.msix.as_ref().is_some_and(|msix| msix.is_enabled(&self.bytes))
    }

    /// Whether the guest has enabled MSI.
    pub fn is_msi_enabled(&self) -> bool {
        self.msi.as_ref().is_some_and(|msi| msi.is_enabled(&self.bytes))
    }

    /// Sends message `vector` by MSI-X or MSI, whichever is enabled; with MSI, vectors that the
    /// guest did not grant become others. Nothing happens with neither enabled, as the function
    /// uses INTx then, and for a vector that does not exist. A masked vector is sent when it is
    /// unmasked.
    pub fn send(&mut self, vector: u16) {
        let message = if self.is_msix_enabled() {
            let bytes = &self.bytes;
            self.msix.as_mut().and_then(|msix| msix.raise(vector, bytes))
        } else if self.is_msi_enabled() {
            self.msi.as_ref().map(|msi| msi.message(vector, &self.bytes))
        } else {
            None
        };
        if let Some(message) = message {
            self.deliver(message);
        }
    }

    fn deliver(&self, (address, data): (u64, u32)) {
        if self.is_bus_master()
            && let Some(messages) = &self.messages
        {
            messages.message(address, data);
        }
    }

    /// Recomputes the interrupt status and line, and sends what is no longer masked.
    fn update(&mut self) {
        let flags = self.u16(reg::STATUS) & !status::INTERRUPT;
        let pending = if self.intx { status::INTERRUPT } else { 0 };
        self.put(reg::STATUS, &(flags | pending).to_le_bytes());
        let disabled = self.u16(reg::COMMAND) & command::INTERRUPT_DISABLE != 0
            || self.is_msix_enabled()
            || self.is_msi_enabled();
        self.line.set(self.intx && !disabled);
        while let Some(message) = {
            let bytes = &self.bytes;
            self.msix.as_mut().and_then(|msix| msix.unmasked(bytes))
        } {
            self.deliver(message);
        }
    }

    /// The MSI-X structure at `offset` of the range of register `bar`, and the offset in it.
    pub(super) fn msix_at(&self, bar: u8, offset: u64) -> Option<(&Msix, u64)> {
        let msix = self.msix.as_ref()?;
        Some((msix, msix.find(bar, offset)?))
    }

    /// Writes the MSI-X table.
    pub(super) fn write_msix(&mut self, bar: u8, offset: u64, bytes: u8, value: u64) {
        if let Some(msix) = &mut self.msix
            && let Some(offset) = msix.find(bar, offset)
        {
            msix.write(offset, bytes, value);
        }
        self.update();
    }

    fn is_upper_half(&self, at: usize) -> bool {
        use BarKind::{Memory64, Prefetchable64};
        let below = at.checked_sub(1).and_then(|below| self.bars[below]);
        at < 6 && matches!(below, Some((Memory64 | Prefetchable64, _)))
    }

    /// The ranges that the function answers in, as the command and base address registers are: those
    /// of registers 0 to 5, and of the ROM. A register that is zero has not been programmed.
    pub fn decoded(&self) -> [Option<Bar>; 7] {
        let command = self.u16(reg::COMMAND);
        std::array::from_fn(|at| {
            let (kind, size) = self.bars[at]?;
            let offset = bar_offset(at);
            let low = u64::from(self.u32(offset));
            let (enable, address) = match kind {
                BarKind::Io => (command::IO_SPACE, low & 0xfffc),
                BarKind::Memory => (command::MEMORY_SPACE, low & !0xf),
                BarKind::Memory64 | BarKind::Prefetchable64 => {
                    (command::MEMORY_SPACE, low & !0xf | u64::from(self.u32(offset + 4)) << 32)
                }
            };
            let address = address & !(size - 1);
            let rom_is_off = at == usize::from(ROM) && low & 1 == 0;
            let is_on = command & enable != 0 && address != 0 && !rom_is_off;
            is_on.then_some(Bar { kind, address, size })
        })
    }
}

fn bar_offset(at: usize) -> u8 {
    if at == usize::from(ROM) { reg::EXPANSION_ROM } else { reg::BAR0 + 4 * at as u8 }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("vendor", &format_args!("{:#06x}", self.u16(reg::VENDOR_ID)))
            .field("device", &format_args!("{:#06x}", self.u16(reg::DEVICE_ID)))
            .field("command", &format_args!("{:#06x}", self.u16(reg::COMMAND)))
            .field("bars", &self.decoded())
            .finish_non_exhaustive()
    }
}
