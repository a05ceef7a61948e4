//! What joins the devices of a machine to each other, and knows no CPU.
//!
//! * [`Device`] is what answers at addresses; a [`Map`] of ports or of physical memory finds it.
//! * [`IrqLine`] is a device's end of a wire to one of the [`Pins`] of an interrupt controller, and
//!   [`CpuLine`] what controllers do to a vCPU.
//! * [`Clock`] is the machine's time, and [`Timers`] wake devices at times they asked for.
//! * [`Ram`] is guest memory as devices read and write it.
//!
//! # Locks
//!
//! A device is behind a mutex, and is called with it held. From there it may set its lines, arm its
//! timers, access RAM, and change a map; none of these calls back into a device that is not an
//! interrupt controller. Controllers take their own lock inside, in the order of the wires: the
//! device's line, then the 8259 or the IOAPIC, then the local APIC, then the vCPU.

pub mod irq;
pub mod map;
pub mod ram;
pub mod time;

pub use irq::{CpuLine, IrqLine, Messages, Pins};
pub use map::{Map, Shared};
pub use ram::Ram;
pub use time::{Clock, Timer, Timers};

/// What answers at a range of addresses: ports, or physical memory that is not RAM.
pub trait Device: Send {
    /// The value of `bytes` bytes (1, 2, 4 or 8) at `offset`, least significant first. Higher bits
    /// of the result are ignored. A device's range may be read in any width and at any alignment.
    fn read(&mut self, offset: u64, bytes: u8) -> u64;

    /// Writes the low `bytes` bytes (1, 2, 4 or 8) of `value` at `offset`; its other bits are zero.
    fn write(&mut self, offset: u64, bytes: u8, value: u64);

    /// What the machine's reset line does.
    fn reset(&mut self);
}

/// All ones in the low `bytes` bytes: what is read where nothing answers.
pub fn ones(bytes: u8) -> u64 {
    match bytes {
        0 => 0,
        1..8 => (1 << (bytes * 8)) - 1,
        _ => u64::MAX,
    }
}

/// Reads a register file of bytes: `read(offset + i)` is byte `i` of the result.
pub fn read_bytes(offset: u64, bytes: u8, mut read: impl FnMut(u64) -> u8) -> u64 {
    (0..bytes.min(8))
        .fold(0, |value, i| value | u64::from(read(offset.wrapping_add(u64::from(i)))) << (i * 8))
}

/// Writes a register file of bytes: byte `i` of `value` goes to `write(offset + i)`.
pub fn write_bytes(offset: u64, bytes: u8, value: u64, mut write: impl FnMut(u64, u8)) {
    for i in 0..bytes.min(8) {
        write(offset.wrapping_add(u64::from(i)), (value >> (i * 8)) as u8);
    }
}
