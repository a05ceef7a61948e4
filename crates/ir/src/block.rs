//! A block: straight guest code to its first transfer.

use crate::{Inst, Slot, Value};

/// What identifies a translation: where the code is and the state it was translated for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct BlockKey {
    /// Guest-virtual address of the first instruction.
    pub pc: u64,
    /// Facts of state that change translation, as the guest encodes them.
    pub mode: u32,
}

/// Why translated code asks its environment for something. Codes are the guest architecture's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Trap {
    /// Which trap.
    pub code: u16,
    /// A parameter, such as an interrupt vector.
    pub data: u32,
}

impl Trap {
    /// As an instruction's immediate.
    pub const fn pack(self) -> u64 {
        self.code as u64 | (self.data as u64) << 16
    }

    /// The inverse of [`Trap::pack`].
    pub const fn unpack(imm: u64) -> Trap {
        Trap { code: imm as u16, data: (imm >> 16) as u32 }
    }
}

/// How control leaves a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// To a known address.
    Jump(u64),
    /// To one of two known addresses.
    Branch {
        /// `I1`.
        cond: Value,
        /// Successor if `cond` is 1.
        taken: u64,
        /// Successor if `cond` is 0.
        not: u64,
    },
    /// To a computed address.
    Dispatch(Value),
    /// A call of a known address; `ret` is where it will return. The block has stored the return
    /// address itself: this only predicts.
    Call {
        /// The function.
        to: u64,
        /// The address after the call.
        ret: u64,
    },
    /// A call of a computed address.
    CallIndirect {
        /// The function.
        to: Value,
        /// The address after the call.
        ret: u64,
    },
    /// A return to a computed address.
    Return(Value),
    /// To the environment, with the guest's pc set to `pc`.
    Trap {
        /// What is asked.
        trap: Trap,
        /// The guest's pc as the environment finds it.
        pc: u64,
    },
}

impl End {
    /// The known addresses where control goes, or comes back to after a call.
    pub fn leads_to(&self) -> impl Iterator<Item = u64> + use<> {
        let (a, b) = match *self {
            End::Jump(to) => (Some(to), None),
            End::Branch { taken, not, .. } => (Some(taken), Some(not)),
            End::Call { to, ret } => (Some(to), Some(ret)),
            End::CallIndirect { ret, .. } => (Some(ret), None),
            End::Dispatch(_) | End::Return(_) | End::Trap { .. } => (None, None),
        };
        a.into_iter().chain(b)
    }

    /// The value the end uses, if any.
    pub fn value(&self) -> Option<Value> {
        match *self {
            End::Branch { cond, .. } => Some(cond),
            End::Dispatch(v) | End::Return(v) | End::CallIndirect { to: v, .. } => Some(v),
            End::Jump(_) | End::Call { .. } | End::Trap { .. } => None,
        }
    }

    /// The value the end uses, for a pass that renumbers.
    pub fn value_mut(&mut self) -> Option<&mut Value> {
        match self {
            End::Branch { cond, .. } => Some(cond),
            End::Dispatch(v) | End::Return(v) | End::CallIndirect { to: v, .. } => Some(v),
            End::Jump(_) | End::Call { .. } | End::Trap { .. } => None,
        }
    }
}

/// What a slot holds when an instruction faults, where the block does not write it there because
/// nothing else would see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recover {
    /// The instruction.
    pub pc: u64,
    /// The slot to be written when it faults.
    pub slot: Slot,
    /// Its value.
    pub known: Known,
}

/// A value that can be told without code of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// A constant.
    Const(u64),
    /// What this slot holds. It is not one that is to be recovered at the same instruction.
    Slot(Slot),
}

/// The meaning of a stretch of guest code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// What it translates.
    pub key: BlockKey,
    /// Guest code bytes covered, from `key.pc`.
    pub len: u32,
    /// Guest instructions covered.
    pub guest_insts: u32,
    /// Operations; each guest instruction's begin with an [`crate::Op::Insn`] mark.
    pub insts: Vec<Inst>,
    /// How control leaves.
    pub end: End,
    /// The state map: what a fault must write besides, in the order of the instructions. Made by
    /// the optimiser.
    pub recover: Vec<Recover>,
}
