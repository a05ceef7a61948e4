//! Guest semantics that the IR calls instead of expressing.

use crate::{Cpu, Guest};
use mynah_ir::SlotSet;

/// A helper as interpreted and compiled code call it: up to three integers in, one out. A helper
/// that fails calls [`Cpu::raise`], changes nothing else, and returns anything. It runs under the
/// guest's floating-point environment and must not do floating-point arithmetic in Rust.
#[expect(improper_ctypes_definitions, reason = "the caller passes the pointer on")]
pub type HelperFn<G> = extern "C" fn(cpu: &mut Cpu<G>, a: u64, b: u64, c: u64) -> u64;

/// A helper and what the translator may assume of it.
#[derive(Debug)]
pub struct Helper<G: Guest> {
    /// Its name in the text form.
    pub name: &'static str,
    /// The function.
    pub function: HelperFn<G>,
    /// Slots it may read.
    pub reads: SlotSet,
    /// Slots it may write.
    pub writes: SlotSet,
    /// Whether it may [`Cpu::raise`] a fault. All state is in memory when it is called.
    pub faults: bool,
    /// Whether it only computes its result from its arguments and `reads`: it may be removed when
    /// the result is not used.
    pub pure: bool,
}
