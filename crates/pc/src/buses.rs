//! The vCPUs' ways to devices: ports, memory-mapped registers, and the registers that each vCPU
//! shares with its local APIC.

use mynah_bus::{Map, Ram};
use mynah_devices::apic::Lapic;
use mynah_guest::Ports;
use mynah_mem::Io;
use mynah_x86::registers::Msrs;
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    /// The number of the vCPU that runs on this thread.
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Says that vCPU `number` runs on this thread.
pub(crate) fn enter(number: usize) {
    CURRENT.set(Some(number));
}

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
pub(crate) struct MemorySpace {
    pub(crate) map: Arc<Map>,
    pub(crate) lapics: Vec<Arc<Lapic>>,
    /// The memory at the other addresses. [`mynah_mem::Phys`], which has this, only knows where on
    /// the host it lies: code is compiled from there until after the board is gone.
    pub(crate) _memory: Vec<Ram>,
}

/// Bytes of a local APIC's page.
const PAGE: u64 = 4096;

impl MemorySpace {
    /// The vCPU's own local APIC and the offset in its page, if it answers at `pa`.
    fn lapic(&self, pa: u64) -> Option<(&Lapic, u64)> {
        let lapic = self.lapics.get(CURRENT.get()?)?;
        let offset = pa.checked_sub(lapic.address()?).filter(|&offset| offset < PAGE)?;
        Some((lapic, offset))
    }
}

impl Io for MemorySpace {
    fn read(&self, pa: u64, bytes: u8) -> u64 {
        match self.lapic(pa) {
            Some((lapic, offset)) => lapic.read(offset, bytes),
            None => self.map.read(pa, bytes),
        }
    }

    fn write(&self, pa: u64, bytes: u8, value: u64) {
        match self.lapic(pa) {
            Some((lapic, offset)) => lapic.write(offset, bytes, value),
            None => self.map.write(pa, bytes, value),
        }
    }
}

/// A vCPU's registers that are its local APIC's.
pub(crate) struct ApicRegisters(pub(crate) Arc<Lapic>);

impl Msrs for ApicRegisters {
    fn read(&self, msr: u32) -> Option<u64> {
        self.0.read_msr(msr).ok()
    }

    fn write(&self, msr: u32, value: u64) -> bool {
        self.0.write_msr(msr, value).is_ok()
    }

    fn task_priority(&self) -> u8 {
        self.0.cr8()
    }

    fn set_task_priority(&self, priority: u8) {
        self.0.set_cr8(priority);
    }

    fn set_tsc_adjust(&self, adjust: u64) {
        self.0.set_tsc_adjust(adjust);
    }
}
