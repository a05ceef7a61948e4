//! The process machine's memory: guest addresses are host addresses.

use crate::{MemFault, Memory, PAGE, Unit, host};

/// Guest memory at its own addresses in the host process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flat;

impl Memory for Flat {
    const PAGED: bool = false;

    #[inline(always)]
    fn try_load<U: Unit>(&mut self, va: u64) -> Option<U> {
        U::try_load(va)
    }

    #[inline(always)]
    fn try_store<U: Unit>(&mut self, va: u64, value: U) -> Option<()> {
        value.try_store(va)
    }

    #[inline(always)]
    fn load<U: Unit>(&mut self, va: u64) -> Result<U, MemFault> {
        U::load(va)
    }

    #[inline(always)]
    fn store<U: Unit>(&mut self, va: u64, value: U) -> Result<(), MemFault> {
        value.store(va)
    }

    #[inline]
    fn compare_exchange(
        &mut self,
        va: u64,
        bytes: u32,
        expected: u64,
        new: u64,
    ) -> Result<u64, MemFault> {
        host::compare_exchange(va, bytes, expected, new)
    }

    fn compare_exchange128(
        &mut self,
        va: u64,
        expected: u128,
        new: u128,
    ) -> Result<u128, MemFault> {
        host::compare_exchange128(va, expected, new)
    }

    fn read(&mut self, va: u64, buffer: &mut [u8]) -> Result<(), MemFault> {
        host::copy_in(va, buffer)
    }

    fn write(&mut self, va: u64, bytes: &[u8]) -> Result<(), MemFault> {
        host::copy_out(va, bytes)
    }

    fn check_write(&mut self, va: u64, len: usize) -> Result<(), MemFault> {
        // Rights are those of whole pages. Of a byte at a time, as an access across lines of the
        // cache would lock the host's bus.
        let last = len.saturating_sub(1) as u64;
        for at in (0..last).step_by(PAGE as usize).chain([last]) {
            host::compare_exchange(va.wrapping_add(at), 1, 0, 0)?;
        }
        Ok(())
    }

    fn locate(&mut self, va: u64) -> Result<u64, MemFault> {
        Ok(va)
    }
}
