//! Ports: an address space of devices besides memory, which some architectures have.

use std::fmt;

/// What answers at port addresses. The machine around a vCPU supplies it.
pub trait Ports: Send + Sync {
    /// The value of `bytes` (1, 2, 4) at `port`.
    fn read(&self, port: u16, bytes: u8) -> u32;

    /// Writes `value` of `bytes` (1, 2, 4) to `port`.
    fn write(&self, port: u16, bytes: u8, value: u32);
}

impl fmt::Debug for dyn Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ports")
    }
}
