//! From the first operation to the last: known state, simplification, common subexpressions.

use crate::simplify::{Simple, simplify};
use crate::{SCRATCH, Scratch, filled};
use mynah_guest::Guest;
use mynah_ir::{Block, Effect, End, Inst, NONE, Op, Slot, SlotSet, Ty, Value};

/// Replaces `get`s of slots whose value is known, drops `set`s that change nothing, folds and
/// simplifies pure operations and finds those computed before. What it makes unused stays, for
/// [`crate::dead`] to remove.
pub fn forward<G: Guest>(block: &mut Block) {
    SCRATCH.with_borrow_mut(|scratch| forward_with::<G>(block, scratch));
}

fn forward_with<G: Guest>(block: &mut Block, scratch: &mut Scratch) {
    let mut out = Output::new(std::mem::take(&mut scratch.insts));
    let renamed = filled(&mut scratch.renamed, block.insts.len(), NONE);
    let mut known = [NONE; SlotSet::CAPACITY];
    for (index, inst) in block.insts.iter().enumerate() {
        let mut inst = *inst;
        for arg in inst.args.iter_mut().filter(|arg| **arg != NONE) {
            *arg = renamed[arg.index()];
        }
        let value = match inst.op.info().effect {
            Effect::Pure => out.pure(inst),
            Effect::ReadsState => {
                let value = &mut known[inst.imm as usize];
                if *value == NONE {
                    *value = out.push(inst);
                }
                *value
            }
            Effect::WritesState => {
                let value = std::mem::replace(&mut known[inst.imm as usize], inst.args[0]);
                if value == inst.args[0] { NONE } else { out.push(inst) }
            }
            Effect::Helper => {
                for Slot(slot) in G::HELPERS[inst.imm as usize].writes.iter() {
                    known[slot as usize] = NONE;
                }
                out.push(inst)
            }
            Effect::Leaves if out.constant(inst.args[0]) == Some(0) => NONE,
            _ => out.push(inst),
        };
        renamed[index] = value;
    }
    scratch.insts = std::mem::replace(&mut block.insts, out.insts);
    if let Some(value) = block.end.value_mut() {
        *value = renamed[value.index()];
    }
    simplify_end(block);
}

fn simplify_end(block: &mut Block) {
    if let End::Branch { cond, taken, not } = block.end {
        let inst = &block.insts[cond.index()];
        block.end = match inst.op {
            _ if taken == not => End::Jump(taken),
            Op::Iconst => End::Jump(if inst.imm != 0 { taken } else { not }),
            Op::Not => End::Branch { cond: inst.args[0], taken: not, not: taken },
            _ => block.end,
        };
    }
}

/// The operations of the block that is being made.
pub(crate) struct Output {
    insts: Vec<Inst>,
    /// Pure operations by the low bits of their hash.
    seen: [Value; 256],
}

impl Output {
    fn new(mut insts: Vec<Inst>) -> Output {
        insts.clear();
        Output { insts, seen: [NONE; 256] }
    }

    fn push(&mut self, inst: Inst) -> Value {
        let value = Value(self.insts.len() as u16);
        self.insts.push(inst);
        value
    }

    /// Appends a pure operation in its simplest form, or finds it.
    pub(crate) fn pure(&mut self, mut inst: Inst) -> Value {
        loop {
            match simplify(self, &inst) {
                Simple::Same => return self.find(inst),
                Simple::Value(value) => return value,
                Simple::Inst(simpler) => inst = simpler,
            }
        }
    }

    fn find(&mut self, inst: Inst) -> Value {
        let entry = hash(&inst);
        let seen = self.seen[entry];
        if seen != NONE && self.insts[seen.index()] == inst {
            return seen;
        }
        let value = self.push(inst);
        self.seen[entry] = value;
        value
    }

    /// The constant of this type.
    pub(crate) fn iconst(&mut self, ty: Ty, imm: u64) -> Value {
        self.find(Inst { op: Op::Iconst, ty, args: [NONE; 3], imm: ty.wrap(imm) })
    }

    /// The operation that yields `value`.
    pub(crate) fn inst(&self, value: Value) -> Inst {
        self.insts[value.index()]
    }

    /// The constant that `value` is.
    pub(crate) fn constant(&self, value: Value) -> Option<u64> {
        let inst = self.insts.get(value.index())?;
        (inst.op == Op::Iconst).then_some(inst.imm)
    }

    /// The type of `value`.
    pub(crate) fn ty(&self, value: Value) -> Ty {
        self.insts[value.index()].result().unwrap_or(Ty::I64)
    }
}

fn hash(inst: &Inst) -> usize {
    let Inst { op, ty, args: [a, b, c], imm } = *inst;
    let args = u64::from(a.0) | u64::from(b.0) << 16 | u64::from(c.0) << 32;
    let bits =
        args ^ (op as u64) << 48 ^ (ty as u64) << 56 ^ imm.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize
}
