//! Accesses on hosts without a module of their own: by system calls that report a refused address.
//! Slow; a host that matters gets a module like `x86_64`.
#![expect(unsafe_code, reason = "accesses at addresses that the guest chose")]

use crate::{Access, Cause, MemFault};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

fn refused(va: u64, access: Access) -> MemFault {
    MemFault { va, access, cause: Cause::Unmapped }
}

fn vectors(local: *mut u8, va: u64, len: usize) -> (libc::iovec, libc::iovec) {
    let local = libc::iovec { iov_base: local.cast(), iov_len: len };
    (local, libc::iovec { iov_base: va as *mut libc::c_void, iov_len: len })
}

/// Copies guest memory at `va` into `buffer`.
pub fn copy_in(va: u64, buffer: &mut [u8]) -> Result<(), MemFault> {
    let (local, remote) = vectors(buffer.as_mut_ptr(), va, buffer.len());
    // SAFETY: the kernel writes the buffer and checks the other address itself.
    let done = unsafe {
        libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
    };
    let done = done.max(0) as u64;
    if done == buffer.len() as u64 { Ok(()) } else { Err(refused(va + done, Access::Read)) }
}

/// Copies `bytes` into guest memory at `va`.
pub fn copy_out(va: u64, bytes: &[u8]) -> Result<(), MemFault> {
    let (local, remote) = vectors(bytes.as_ptr().cast_mut(), va, bytes.len());
    // SAFETY: the kernel only reads the slice and checks the other address itself.
    let done = unsafe {
        libc::process_vm_writev(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
    };
    let done = done.max(0) as u64;
    if done == bytes.len() as u64 { Ok(()) } else { Err(refused(va + done, Access::Write)) }
}

macro_rules! scalar {
    ($($(#[doc = $doc:literal])+ $load:ident $store:ident $try_load:ident $try_store:ident
       $ty:ty;)*) => {$(
        $(#[doc = $doc])+
        pub fn $try_load(va: u64) -> Option<$ty> {
            $load(va).ok()
        }

        $(#[doc = $doc])+
        pub fn $try_store(va: u64, value: $ty) -> Option<()> {
            $store(va, value).ok()
        }

        $(#[doc = $doc])+
        pub fn $load(va: u64) -> Result<$ty, MemFault> {
            let mut bytes = [0; size_of::<$ty>()];
            copy_in(va, &mut bytes)?;
            Ok(<$ty>::from_le_bytes(bytes))
        }

        $(#[doc = $doc])+
        pub fn $store(va: u64, value: $ty) -> Result<(), MemFault> {
            copy_out(va, &value.to_le_bytes())
        }
    )*};
}

scalar! {
    /// A byte at `va`.
    load8 store8 try_load8 try_store8 u8;
    /// Two bytes at `va`.
    load16 store16 try_load16 try_store16 u16;
    /// Four bytes at `va`.
    load32 store32 try_load32 try_store32 u32;
    /// Eight bytes at `va`.
    load64 store64 try_load64 try_store64 u64;
    /// Sixteen bytes at `va`.
    load128 store128 try_load128 try_store128 u128;
}

/// Fails if the word around `va` cannot be written: the kernel adds 0 to it (FUTEX_WAKE_OP).
fn probe_write(va: u64) -> Result<(), MemFault> {
    const WAKE_OP: i32 = 5;
    const ADD_ZERO: u32 = 1 << 28;
    let nobody = 0u32;
    let word = va & !3;
    // SAFETY: the kernel checks the address; the operation leaves the word as it is.
    let result = unsafe {
        libc::syscall(libc::SYS_futex, &raw const nobody, WAKE_OP, 0, 0usize, word, ADD_ZERO)
    };
    if result < 0 { Err(refused(va, Access::Write)) } else { Ok(()) }
}

/// One at a time where the host has no atomic of the size, or the address is misaligned.
static LOCK: Mutex<()> = Mutex::new(());

/// Compares and exchanges 1, 2, 4 or 8 bytes; atomic where `va` is aligned.
pub fn compare_exchange(va: u64, bytes: u32, expected: u64, new: u64) -> Result<u64, MemFault> {
    probe_write(va)?;
    probe_write(va + u64::from(bytes) - 1)?;
    macro_rules! exchange {
        ($atomic:ty, $int:ty) => {{
            // SAFETY: the address is aligned for the type, and was writable a moment ago.
            let place = unsafe { &*(va as *const $atomic) };
            let order = Ordering::SeqCst;
            match place.compare_exchange(expected as $int, new as $int, order, order) {
                Ok(old) | Err(old) => Ok(old.into()),
            }
        }};
    }
    if va.is_multiple_of(u64::from(bytes)) {
        return match bytes {
            1 => exchange!(AtomicU8, u8),
            2 => exchange!(AtomicU16, u16),
            4 => exchange!(AtomicU32, u32),
            _ => exchange!(AtomicU64, u64),
        };
    }
    let _lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let mut old = [0; 8];
    copy_in(va, &mut old[..bytes as usize])?;
    let old = u64::from_le_bytes(old);
    if old == expected {
        copy_out(va, &new.to_le_bytes()[..bytes as usize])?;
    }
    Ok(old)
}

/// Compares and exchanges 16 bytes, against others that do so here.
pub fn compare_exchange128(va: u64, expected: u128, new: u128) -> Result<u128, MemFault> {
    probe_write(va)?;
    let _lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let old = load128(va)?;
    if old == expected {
        store128(va, new)?;
    }
    Ok(old)
}
