//! Guest memory as a vCPU sees it: [`Memory`].
//!
//! In the process machine ([`Flat`]) guest addresses are host addresses. An access that the host
//! refuses is reported as a [`MemFault`]; it never brings Mynah down. In the system machine
//! ([`Paged`]) the guest's page tables lead from virtual to physical addresses ([`Phys`]), and a
//! TLB remembers where. [`host`] holds the accesses themselves, one module for each kind of host.

mod flat;
pub mod host;
mod paged;
mod phys;
mod tlb;

pub use flat::Flat;
pub use host::signal::HostFault;
pub use paged::{Page, Paged, Walk};
pub use phys::{Io, Phys, Ram, Rights};
pub use tlb::TlbEntry;

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
    /// The guest's page tables do not permit it; the code is the guest architecture's own.
    Refused(u32),
    /// A write to bytes that have been translated: the engine forgets the translations and has the
    /// instruction executed again. No guest sees it.
    Code,
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

/// An integer as memory holds it: accesses at host addresses, which may be refused.
pub trait Unit: Copy {
    /// Its width in bytes.
    const BYTES: usize;
    /// The value at `va`.
    fn load(va: u64) -> Result<Self, MemFault>;
    /// Stores the value at `va`.
    fn store(self, va: u64) -> Result<(), MemFault>;
    /// As [`Unit::load`], without a reason for a failure.
    fn try_load(va: u64) -> Option<Self>;
    /// As [`Unit::store`], without a reason for a failure.
    fn try_store(self, va: u64) -> Option<()>;
    /// The low bytes of `wide`.
    fn narrow(wide: u128) -> Self;
    /// Zero-extended.
    fn widen(self) -> u128;
}

macro_rules! units {
    ($($ty:ty: $load:ident $store:ident $try_load:ident $try_store:ident;)*) => {$(
        impl Unit for $ty {
            const BYTES: usize = size_of::<$ty>();
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
            #[inline(always)]
            fn narrow(wide: u128) -> $ty {
                wide as $ty
            }
            #[inline(always)]
            fn widen(self) -> u128 {
                self.into()
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

/// Bytes of a page: what is mapped, protected and watched together, and what moves together when the
/// translation of addresses changes.
pub const PAGE: u64 = 4096;

/// What code may no longer be where [`Memory::locate`] said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Moved {
    /// None.
    Nothing,
    /// Code in pages that are not global.
    Locals,
    /// Any.
    All,
}

/// A vCPU's view of guest memory. Addresses are guest-virtual; accesses need not be aligned.
///
/// `locate` and what follows it matter in the system machine alone.
pub trait Memory: Send + 'static {
    /// Whether compiled code looks addresses up in [`Memory::tlb`]; otherwise guest addresses are
    /// host addresses.
    const PAGED: bool;

    /// The value at `va`, if that takes no more than a look; for a fast path that tries again with
    /// [`Memory::load`].
    fn try_load<U: Unit>(&mut self, va: u64) -> Option<U>;

    /// Stores `value` at `va`, if that takes no more than a look; for a fast path that tries again
    /// with [`Memory::store`].
    fn try_store<U: Unit>(&mut self, va: u64, value: U) -> Option<()>;

    /// The value at `va`.
    fn load<U: Unit>(&mut self, va: u64) -> Result<U, MemFault>;

    /// Stores `value` at `va`.
    fn store<U: Unit>(&mut self, va: u64, value: U) -> Result<(), MemFault>;

    /// Atomically stores `new` at `va` if the `bytes`-wide (1, 2, 4, 8) value there is `expected`;
    /// yields the value found. Faults as a write does, also when nothing is stored.
    fn compare_exchange(
        &mut self,
        va: u64,
        bytes: u32,
        expected: u64,
        new: u64,
    ) -> Result<u64, MemFault>;

    /// As [`Memory::compare_exchange`] for 16 bytes; `va` must be a multiple of 16.
    fn compare_exchange128(&mut self, va: u64, expected: u128, new: u128)
    -> Result<u128, MemFault>;

    /// Copies guest memory at `va` into `buffer`; on a fault, what lies before it may have been
    /// copied.
    fn read(&mut self, va: u64, buffer: &mut [u8]) -> Result<(), MemFault>;

    /// Copies `bytes` into guest memory at `va`; on a fault, what lies before it may have been
    /// copied.
    fn write(&mut self, va: u64, bytes: &[u8]) -> Result<(), MemFault>;

    /// Faults as a write of `len` bytes at `va` would; nothing is written.
    fn check_write(&mut self, va: u64, len: usize) -> Result<(), MemFault>;

    /// The `bytes`-wide (1, 2, 4, 8) value at `va`, zero-extended.
    #[inline]
    fn load_word(&mut self, va: u64, bytes: u32) -> Result<u64, MemFault> {
        Ok(match bytes {
            1 => self.load::<u8>(va)?.into(),
            2 => self.load::<u16>(va)?.into(),
            4 => self.load::<u32>(va)?.into(),
            _ => self.load::<u64>(va)?,
        })
    }

    /// Atomically changes the `bytes`-wide (1, 2, 4, 8) value at `va`; yields the old value.
    #[inline]
    fn update(
        &mut self,
        va: u64,
        bytes: u32,
        change: impl Fn(u64) -> u64,
    ) -> Result<u64, MemFault> {
        let mask = u64::MAX >> (64 - 8 * bytes);
        let mut old = self.load_word(va, bytes)?;
        loop {
            let found = self.compare_exchange(va, bytes, old, change(old) & mask)?;
            if found == old {
                return Ok(old);
            }
            old = found;
        }
    }

    /// Where the code at `va` is: the same bytes have the same place in every vCPU. The fault is
    /// that of fetching from there.
    fn locate(&mut self, va: u64) -> Result<u64, MemFault>;

    /// Where what is at `va` is written: as [`Memory::locate`], for a write that met
    /// [`Cause::Code`].
    fn locate_write(&mut self, va: u64) -> Result<u64, MemFault> {
        Ok(va)
    }

    /// Has the translations of what is at `va` forgotten, after a write that met [`Cause::Code`] and
    /// that no instruction made which could be executed again.
    fn forget_code(&mut self, _va: u64) {}

    /// Makes accesses have the rights of `space`, a number below [`TlbEntry::SPACES`] with which
    /// the guest's walker knows what to do.
    fn set_space(&mut self, _space: u8) {}

    /// The rights that accesses have.
    fn space(&self) -> u8 {
        0
    }

    /// Forgets where virtual addresses lead; with `globals` false, pages that the walker called
    /// global and all of other address spaces are kept.
    fn flush(&mut self, _globals: bool) {}

    /// Forgets where the page of `va` leads, global or not.
    fn flush_page(&mut self, _va: u64) {}

    /// Whether what [`Memory::locate`] has just said of `va` lasts when pages that are not global
    /// move ([`Moved::Locals`]).
    fn lasts(&self, _va: u64) -> bool {
        true
    }

    /// A number of where code that is not global is. Whenever it is the same, and
    /// [`Memory::take_moved`] has been heeded, such code is where [`Memory::locate`] said then.
    fn era(&self) -> u64 {
        0
    }

    /// Whether [`Memory::take_moved`] has something to say.
    fn has_moved(&self) -> bool {
        false
    }

    /// What of that which [`Memory::locate`] has said since the last call may no longer hold.
    fn take_moved(&mut self) -> Moved {
        Moved::Nothing
    }

    /// Has the TLB know an access of `bytes` at `va` that it could not answer: then it has the host
    /// address, and the access is permitted. False if the access must go the long way: to a device,
    /// to a watched place, across pages, or into a fault.
    fn fill(&mut self, _va: u64, _bytes: usize, _access: Access) -> bool {
        false
    }

    /// Host address of the TLB for the rights that accesses have: [`TlbEntry::COUNT`] entries.
    fn tlb(&self) -> usize {
        0
    }
}
