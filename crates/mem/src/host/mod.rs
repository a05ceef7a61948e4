//! Accesses to memory that may not be there, and the signals by which the host says so.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

#[cfg(not(target_arch = "x86_64"))]
mod portable;
#[cfg(not(target_arch = "x86_64"))]
use portable as arch;

pub mod signal;

pub use arch::{
    compare_exchange, compare_exchange128, copy_in, copy_out, load8, load16, load32, load64,
    load128, store8, store16, store32, store64, store128, try_load8, try_load16, try_load32,
    try_load64, try_load128, try_store8, try_store16, try_store32, try_store64, try_store128,
};
