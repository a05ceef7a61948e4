//! The neutral part of a vCPU, at fixed offsets for compiled code.

use crate::Fault;
use mynah_ir::fp;
use std::sync::atomic::AtomicU32;

/// An entry of a vCPU's jump cache: the compiled code last found for a guest address.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct JumpEntry {
    /// Guest address; [`JumpEntry::EMPTY`] holds one that no lookup asks for.
    pub pc: u64,
    /// Host address of the code.
    pub code: usize,
}

impl JumpEntry {
    /// Number of entries of a jump cache.
    pub const COUNT: usize = 4096;
    /// Matches no pc at its index (its index would be another).
    pub const EMPTY: JumpEntry = JumpEntry { pc: u64::MAX, code: 0 };

    /// The index of `pc`: folds bits 12 and up onto the low ones.
    #[inline(always)]
    pub const fn index(pc: u64) -> usize {
        ((pc ^ pc >> 12) as usize) % JumpEntry::COUNT
    }
}

/// What compiled code and the run loop share, whatever the guest.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Core {
    /// Not 0: leave translated code at the next poll. Set by any thread.
    pub attention: AtomicU32,
    /// The guest's floating-point environment while no guest code runs ([`fp`]).
    pub fp_env: u32,
    /// Guest pc at block boundaries and faults.
    pub pc: u64,
    /// Not 0: `fault` holds a fault that a helper raised.
    pub fault_pending: u32,
    /// Translation mode of the running code.
    pub mode: u32,
    /// Address of the jump cache: [`JumpEntry::COUNT`] entries.
    pub jump_cache: usize,
    /// Address of the table of helper addresses.
    pub helpers: usize,
    /// Address of the table of operation thunks (see the code generator).
    pub thunks: usize,
    /// A parameter of the exit that compiled code took, such as the address of a misaligned access.
    pub exit_value: u64,
    /// Arguments and result of an operation thunk.
    pub scratch: [u128; 4],
    /// The fault that was raised.
    pub fault: Option<Fault>,
}

impl Core {
    pub(crate) fn new() -> Core {
        Core {
            attention: AtomicU32::new(0),
            fp_env: fp::DEFAULT,
            pc: 0,
            fault_pending: 0,
            mode: 0,
            jump_cache: 0,
            helpers: 0,
            thunks: 0,
            exit_value: 0,
            scratch: [0; 4],
            fault: None,
        }
    }
}
