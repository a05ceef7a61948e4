//! Guest memory as a vCPU sees it.
//!
//! In the process machine guest addresses are host addresses. An access that the host refuses is
//! reported as a [`MemFault`]; it never brings Mynah down. [`host`] holds the accesses themselves,
//! one module for each kind of host.

pub mod host;

pub use host::signal::HostFault;

/// What an access wants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Access {
    /// To read data.
    Read,
    /// To write data, or to read and write it.
    Write,
    /// To execute.
    Fetch,
}

/// Why an access failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cause {
    /// Nothing is mapped there.
    Unmapped,
    /// What is mapped there does not permit the access.
    Protected,
    /// The address is not a multiple of the width, and the operation requires it.
    Misaligned,
    /// The address is not canonical.
    NonCanonical,
    /// The object mapped there has no such page (a file mapping past the file's end).
    Bus,
}

/// A guest memory access that failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemFault {
    /// The guest-virtual address that could not be accessed.
    pub va: u64,
    /// What was wanted.
    pub access: Access,
    /// Why it failed.
    pub cause: Cause,
}

/// An integer as memory holds it.
pub trait Unit: Copy {
    /// The value at `va`.
    fn load(va: u64) -> Result<Self, MemFault>;
    /// Stores the value at `va`.
    fn store(self, va: u64) -> Result<(), MemFault>;
    /// As [`Unit::load`], without a reason for a failure.
    fn try_load(va: u64) -> Option<Self>;
    /// As [`Unit::store`], without a reason for a failure.
    fn try_store(self, va: u64) -> Option<()>;
}

macro_rules! units {
    ($($ty:ty: $load:ident $store:ident $try_load:ident $try_store:ident;)*) => {$(
        impl Unit for $ty {
            #[inline(always)]
            fn load(va: u64) -> Result<$ty, MemFault> {
                host::$load(va)
            }
            #[inline(always)]
            fn store(self, va: u64) -> Result<(), MemFault> {
                host::$store(va, self)
            }
            #[inline(always)]
            fn try_load(va: u64) -> Option<$ty> {
                host::$try_load(va)
            }
            #[inline(always)]
            fn try_store(self, va: u64) -> Option<()> {
                host::$try_store(va, self)
            }
        }
    )*};
}

units! {
    u8: load8 store8 try_load8 try_store8;
    u16: load16 store16 try_load16 try_store16;
    u32: load32 store32 try_load32 try_store32;
    u64: load64 store64 try_load64 try_store64;
    u128: load128 store128 try_load128 try_store128;
}

/// A vCPU's view of guest memory.
#[derive(Clone, Debug, Default)]
pub struct Memory;

impl Memory {
    /// The process machine's memory: guest addresses are host addresses.
    pub const FLAT: Memory = Memory;

    /// The value at `va`, which need not be aligned.
    #[inline(always)]
    pub fn load<U: Unit>(&self, va: u64) -> Result<U, MemFault> {
        U::load(va)
    }

    /// Stores `value` at `va`, which need not be aligned.
    #[inline(always)]
    pub fn store<U: Unit>(&self, va: u64, value: U) -> Result<(), MemFault> {
        value.store(va)
    }

    /// As [`Memory::load`], without a reason for a failure: for a fast path that tries again.
    #[inline(always)]
    pub fn try_load<U: Unit>(&self, va: u64) -> Option<U> {
        U::try_load(va)
    }

    /// As [`Memory::store`], without a reason for a failure: for a fast path that tries again.
    #[inline(always)]
    pub fn try_store<U: Unit>(&self, va: u64, value: U) -> Option<()> {
        value.try_store(va)
    }

    /// Atomically changes the `bytes`-wide (1, 2, 4, 8) value at `va`; yields the old value.
    #[inline]
    pub fn update(
        &self,
        va: u64,
        bytes: u32,
        change: impl Fn(u64) -> u64,
    ) -> Result<u64, MemFault> {
        let mask = u64::MAX >> (64 - 8 * bytes);
        let mut old = match bytes {
            1 => self.load::<u8>(va)?.into(),
            2 => self.load::<u16>(va)?.into(),
            4 => self.load::<u32>(va)?.into(),
            _ => self.load::<u64>(va)?,
        };
        loop {
            let found = self.compare_exchange(va, bytes, old, change(old) & mask)?;
            if found == old {
                return Ok(old);
            }
            old = found;
        }
    }

    /// Atomically stores `new` at `va` if the `bytes`-wide (1, 2, 4, 8) value there is `expected`;
    /// yields the value found. Faults as a write does, also when nothing is stored.
    #[inline]
    pub fn compare_exchange(
        &self,
        va: u64,
        bytes: u32,
        expected: u64,
        new: u64,
    ) -> Result<u64, MemFault> {
        host::compare_exchange(va, bytes, expected, new)
    }

    /// As [`Memory::compare_exchange`] for 16 bytes; `va` must be a multiple of 16.
    pub fn compare_exchange128(
        &self,
        va: u64,
        expected: u128,
        new: u128,
    ) -> Result<u128, MemFault> {
        host::compare_exchange128(va, expected, new)
    }

    /// Copies guest memory at `va` into `buffer`; on a fault, what lies before it has been copied.
    pub fn read(&self, va: u64, buffer: &mut [u8]) -> Result<(), MemFault> {
        host::copy_in(va, buffer)
    }

    /// Copies `bytes` into guest memory at `va`; on a fault, what lies before it has been copied.
    pub fn write(&self, va: u64, bytes: &[u8]) -> Result<(), MemFault> {
        host::copy_out(va, bytes)
    }
}
