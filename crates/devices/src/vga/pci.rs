//! The adapter as a PCI function: its linear memory, and the ROM with its BIOS.

use super::Vga;
use super::memory::SIZE;
use crate::pci::{BarKind, Class, Config, Function, Identity, ROM};
use mynah_bus::{Device, ones};

/// The base address register of the memory.
const MEMORY: u8 = 0;

/// The configuration space of an adapter with so many bytes of ROM.
pub(super) fn config(rom: usize) -> Config {
    // Bochs's adapter, as its drivers find it.
    let mut config = Config::new(Identity {
        vendor: 0x1234,
        device: 0x1111,
        revision: 2,
        class: Class(3, 0, 0),
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
    });
    config.add_bar(MEMORY, BarKind::Memory, SIZE as u64);
    if rom != 0 {
        config.add_bar(ROM, BarKind::Memory, rom.next_power_of_two().max(2048) as u64);
    }
    config
}

impl Function for Vga {
    fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    fn read(&mut self, bar: u8, offset: u64, bytes: u8) -> u64 {
        match bar {
            MEMORY => self.memory.linear(offset as usize, bytes),
            ROM => mynah_bus::read_bytes(offset, bytes, |at| {
                self.rom.get(at as usize).copied().unwrap_or(0xff)
            }),
            _ => ones(bytes),
        }
    }

    fn write(&mut self, bar: u8, offset: u64, bytes: u8, value: u64) {
        if bar == MEMORY {
            self.memory.set_linear(offset as usize, bytes, value);
            self.version += 1;
        }
    }

    fn reset(&mut self) {
        Device::reset(self);
    }
}
