//! One operation of a block.

use crate::{Op, Ty};

/// The result of the instruction at this index of its block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Value(pub u16);

/// Stands where an instruction has no argument.
pub const NONE: Value = Value(u16::MAX);

impl Value {
    /// The index of the instruction that defines the value.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// An operation with its type, arguments and immediate: 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inst {
    /// What is done.
    pub op: Op,
    /// The type the operation works on (`T` of its rule in [`crate::ops`]).
    pub ty: Ty,
    /// Arguments; [`NONE`] beyond the last.
    pub args: [Value; 3],
    /// The immediate: a constant, slot, [`crate::MemOp`], lane, helper or target, as `op` says.
    pub imm: u64,
}

impl Inst {
    /// The arguments that are there.
    #[inline]
    pub fn args(&self) -> impl Iterator<Item = Value> + '_ {
        self.args.iter().copied().take_while(|&v| v != NONE)
    }

    /// The type of the result; `None` if the operation yields nothing.
    #[inline]
    pub fn result(&self) -> Option<Ty> {
        self.op.result(self.ty)
    }
}

/// What an evaluator is given: type, immediate and argument bits.
#[derive(Clone, Copy, Debug)]
pub struct Args<B> {
    /// The instruction's type.
    pub ty: Ty,
    /// The instruction's immediate.
    pub imm: u64,
    /// First argument.
    pub a: B,
    /// Second argument.
    pub b: B,
    /// Third argument.
    pub c: B,
}
