//! The devices of a PC, one file or folder for each chip, named after it.
//!
//! A device is one `State` of plain data, all that a guest can change, so that reset is
//! `State::new()`; registers with the names of the data sheet; one `match` for each direction; and
//! the interrupt level recomputed from the state at the end. Addresses and pins are the board's.

pub mod acpi_pm;
pub mod apic;
pub mod cmos;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod i8254;
pub mod i8259;
pub mod ide;
pub mod pci;
pub mod system_control;
pub mod uart16550;
pub mod vga;
pub mod virtio;

#[cfg(test)]
mod testing;
