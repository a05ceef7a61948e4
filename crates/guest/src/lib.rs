//! The contract between a guest architecture and the translator.
//!
//! An ISA supplies its state ([`Guest::State`], whose registers are named by [`Guest::SLOTS`]), a
//! lift of one instruction at a time ([`Guest::lift`]) and helper functions for what the IR does
//! not express. The rest of Mynah sees only [`Cpu`]: the neutral [`Core`], the state, and the
//! interpreter's temporaries, in one allocation that compiled code addresses through one pointer.

mod core;
mod cpu;
mod helper;
mod ports;
pub mod toy;

pub use core::{Core, JumpEntry};
pub use cpu::Cpu;
pub use helper::{Helper, HelperFn};
pub use mynah_ir as ir;
pub use mynah_mem::{Access, Cause, Flat, MemFault, Memory};
pub use ports::Ports;

use mynah_ir::{Builder, End, SlotInfo, Trap};

/// Why an instruction did not complete. State and pc are those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A guest memory access failed.
    Memory(MemFault),
    /// The instruction asks its environment for something, such as the divide error.
    Trap(Trap),
}

impl From<MemFault> for Fault {
    fn from(fault: MemFault) -> Fault {
        Fault::Memory(fault)
    }
}

/// What lifting one instruction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifted {
    /// The instruction of `len` bytes is lifted and control goes on behind it.
    Next {
        /// Its length in bytes.
        len: u32,
    },
    /// The instruction of `len` bytes ends the block.
    End {
        /// Its length in bytes.
        len: u32,
        /// Where control goes.
        end: End,
    },
    /// `code` ends within the instruction.
    Truncated,
    /// Nothing was lifted: the bytes are no instruction, or one this guest does not know. The trap
    /// is the architecture's answer (#UD), taken at the instruction's own address.
    Undefined {
        /// Its length in bytes, 1 if unknown: how much of `code` was looked at.
        len: u32,
        /// The trap it causes.
        trap: Trap,
    },
}

/// A guest architecture.
pub trait Guest: Sized + Send + Sync + 'static {
    /// Registers, `repr(C)`, as [`Guest::SLOTS`] lays out.
    type State: Send + 'static;
    /// Guest memory as its vCPUs see it.
    type Memory: Memory;
    /// What a lift remembers from one instruction of a block to the next, such as the last values
    /// that flags were computed from. It may hold [`mynah_ir::Value`]s of the block.
    type Lifter: Default;

    /// The architecture's name, as `uname -m` prints it.
    const NAME: &'static str;
    /// The registers. A slot's index is its [`mynah_ir::Slot`].
    const SLOTS: &'static [SlotInfo];
    /// Helpers. A helper's index is the immediate of `call`.
    const HELPERS: &'static [Helper<Self>];
    /// The longest instruction, in bytes.
    const MAX_INSN: usize;

    /// State after reset.
    fn reset() -> Self::State;

    /// Facts of state that change translation: part of a block's key. An instruction that changes
    /// them ends its block, and its helper says so by [`Cpu::mode_changed`].
    fn mode(state: &Self::State) -> u32;

    /// The rights ([`Memory::set_space`]) of the accesses that code makes. An instruction that
    /// changes them ends its block so that its unit ends as well (not [`End::Jump`]), and its helper
    /// calls [`Cpu::set_space`] or [`Cpu::mode_changed`].
    fn space(_state: &Self::State) -> u8 {
        0
    }

    /// Lifts the instruction at `pc` from the start of `code` (at most [`Guest::MAX_INSN`] bytes
    /// are looked at). The `insn` mark has been appended. On `Truncated` and `Undefined` the
    /// caller discards what was appended.
    fn lift(
        lifter: &mut Self::Lifter,
        code: &[u8],
        pc: u64,
        mode: u32,
        builder: &Builder,
    ) -> Lifted;

    /// The instruction at the start of `code` in the manual's syntax, and its length in bytes
    /// (at least 1, also for what is no instruction).
    fn disassemble(code: &[u8], pc: u64, mode: u32) -> (String, usize);
}

/// The guest's names of slots and helpers, for the IR's text form.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestNames<G>(std::marker::PhantomData<G>);

impl<G> GuestNames<G> {
    /// The names of `G`.
    pub const fn new() -> GuestNames<G> {
        GuestNames(std::marker::PhantomData)
    }
}

impl<G: Guest> mynah_ir::Names for GuestNames<G> {
    fn slot(&self, index: u64) -> Option<&str> {
        G::SLOTS.get(index as usize).map(|s| s.name)
    }
    fn helper(&self, index: u64) -> Option<&str> {
        G::HELPERS.get(index as usize).map(|h| h.name)
    }
}
