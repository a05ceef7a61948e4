//! From Rust into compiled code and back.
#![expect(unsafe_code, reason = "calls code that was generated at run time")]

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as host;

use mynah_guest::{Cpu, Guest};

/// Runs the unit whose entry is at host address `entry` on `cpu` until it returns its exit word
/// ([`crate::Exit::decode`]).
///
/// `entry` must be a [`crate::Unit`]'s, compiled for `G`, in a generation that is not flushed
/// while the call lasts; the engine's block table hands out no other. `cpu.core`'s tables must be
/// set.
pub fn enter<G: Guest>(cpu: &mut Cpu<G>, entry: usize) -> u64 {
    // SAFETY: the caller vouches for `entry`; compiled code reaches the vCPU through this pointer
    // and guest memory through accesses whose failure the signal handler turns into a return.
    unsafe { host::enter(std::ptr::from_mut(cpu).cast(), entry) }
}
