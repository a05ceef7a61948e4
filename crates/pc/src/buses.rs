//! The vCPUs' ways to devices: ports, and memory-mapped registers.

use mynah_bus::Map;
use mynah_guest::Ports;
use mynah_mem::Io;
use std::sync::Arc;

/// The port addresses.
pub(crate) struct PortSpace(pub(crate) Arc<Map>);

impl Ports for PortSpace {
    fn read(&self, port: u16, bytes: u8) -> u32 {
        self.0.read(port.into(), bytes) as u32
    }

    fn write(&self, port: u16, bytes: u8, value: u32) {
        self.0.write(port.into(), bytes, value.into());
    }
}

/// Physical addresses that are no memory.
pub(crate) struct MemorySpace(pub(crate) Arc<Map>);

impl Io for MemorySpace {
    fn read(&self, pa: u64, bytes: u8) -> u64 {
        self.0.read(pa, bytes)
    }

    fn write(&self, pa: u64, bytes: u8, value: u64) {
        self.0.write(pa, bytes, value);
    }
}
