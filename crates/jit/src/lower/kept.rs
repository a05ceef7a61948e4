//! Floating-point operations whose result nothing needs. Cranelift would drop them, but their flags
//! are part of the environment.
//!
//! A result is needed if it reaches a store, an exit, a call or the state. What Cranelift does not
//! need is what the lowering does not use: lanes that a shuffle leaves out, and what a shift by
//! more than its width moves out.

use super::vector::chosen_bytes;
use crate::region::{self, Flow};
use mynah_guest::Guest;
use mynah_ir::{Block, Effect, End, Inst, Lane, NONE, Op, Slot, SlotSet, Ty, Value};

/// Whether the block has a floating-point operation.
pub(crate) fn has_floats(block: &Block) -> bool {
    block.insts.iter().any(|inst| is_float(inst.op))
}

/// For each block of a unit and each of its operations, whether its result must be stored somewhere
/// for its flags' sake. Empty for a block without floating-point operations. Of comparisons of the
/// same values one is enough.
pub(super) fn for_flags<G: Guest>(blocks: &[&Block], flows: &[Flow]) -> Vec<Vec<bool>> {
    if !blocks.iter().any(|block| has_floats(block)) {
        return vec![Vec::new(); blocks.len()];
    }
    let mut used: Vec<Vec<bool>> = blocks.iter().map(|b| vec![false; b.insts.len()]).collect();
    // Slots whose variables are needed at the blocks' starts.
    let mut needed = vec![SlotSet::EMPTY; blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for i in (0..blocks.len()).rev() {
            let after = if leaves(blocks[i], &flows[i]) {
                SlotSet::ALL
            } else {
                let inside = flows[i].successors.iter().map(|&s| needed[s]);
                inside.fold(SlotSet::EMPTY, SlotSet::union)
            };
            let mut before = mark_used::<G>(blocks[i], after, &mut used[i]);
            if flows[i].is_loop {
                before = SlotSet::ALL; // the poll stores what is dirty
            }
            changed |= before != needed[i];
            needed[i] = before;
        }
    }
    blocks.iter().zip(&used).map(|(block, used)| unused_floats(block, used)).collect()
}

fn is_float(op: Op) -> bool {
    op.info().effect == Effect::Float
}

/// Whether the block's end may leave the unit, which completes the state.
fn leaves(block: &Block, flow: &Flow) -> bool {
    match block.end {
        End::Jump(_) | End::Call { .. } => flow.successors.is_empty(),
        End::Branch { .. } => flow.successors.len() < 2,
        _ => true,
    }
}

/// Marks operations whose results are needed if the variables of `needed` are needed at the end;
/// yields those needed at the start.
fn mark_used<G: Guest>(block: &Block, mut needed: SlotSet, used: &mut [bool]) -> SlotSet {
    if let Some(value) = block.end.value() {
        used[value.index()] = true;
    }
    for (index, inst) in block.insts.iter().enumerate().rev() {
        let slot = Slot(inst.imm as u8);
        let uses_arguments = match inst.op.info().effect {
            Effect::Pure => used[index],
            Effect::ReadsState => {
                if used[index] {
                    needed.insert(slot);
                }
                false
            }
            Effect::WritesState => {
                let wanted = needed.contains(slot);
                needed.remove(slot);
                wanted
            }
            Effect::Leaves => {
                needed = SlotSet::ALL;
                true
            }
            Effect::Memory | Effect::Helper => {
                let sync = region::sync::<G>(inst, false);
                needed = needed.minus(sync.stale).union(sync.needed);
                true
            }
            Effect::Float | Effect::Mark | Effect::Fence => true,
        };
        if uses_arguments {
            for (place, arg) in inst.args().enumerate() {
                used[arg.index()] |= !ignores(block, inst, place);
            }
        }
    }
    needed
}

/// Whether the lowering does not use the argument at `place`.
fn ignores(block: &Block, inst: &Inst, place: usize) -> bool {
    match inst.op {
        Op::Vshl | Op::Vshr => {
            let by = &block.insts[inst.args[1].index()];
            let width = Lane::unpack(inst.imm).ty().bits();
            place == 0 && by.op == Op::Iconst && by.imm >= u64::from(width)
        }
        _ => chosen_bytes(inst)
            .is_some_and(|bytes| bytes.iter().all(|&byte| usize::from(byte / 16) != place)),
    }
}

fn unused_floats(block: &Block, used: &[bool]) -> Vec<bool> {
    if !has_floats(block) {
        return Vec::new();
    }
    let unused = |(inst, used): (&Inst, &bool)| is_float(inst.op) && !used;
    let mut kept: Vec<bool> = block.insts.iter().zip(used).map(unused).collect();
    for i in 0..kept.len() {
        let Some(compared) = compared(block, i).filter(|_| kept[i]) else { continue };
        // Another one that is done anyway, or a later one that will be.
        kept[i] = !(0..kept.len()).any(|other| {
            let covers = Compared::covers;
            (used[other] || other > i && kept[other])
                && self::compared(block, other).is_some_and(|o| covers(&o, &compared))
        });
    }
    kept
}

/// What a comparison compares, whatever it asks.
struct Compared {
    values: [Value; 2],
    ty: Ty,
    /// Whether a quiet NaN is invalid.
    signalling: bool,
}

impl Compared {
    /// Whether this one's flags are at least the other's.
    fn covers(&self, other: &Compared) -> bool {
        self.values == other.values && self.ty == other.ty && (self.signalling || !other.signalling)
    }
}

fn compared(block: &Block, index: usize) -> Option<Compared> {
    let inst = &block.insts[index];
    let signalling = match inst.op {
        Op::Feq | Op::Fltq | Op::Fleq | Op::Funord => false,
        Op::Flt | Op::Fle => true,
        _ => return None,
    };
    let [mut a, mut b, _] = inst.args;
    debug_assert_ne!(b, NONE, "a comparison has two arguments");
    if b < a {
        std::mem::swap(&mut a, &mut b);
    }
    Some(Compared { values: [a, b], ty: inst.ty, signalling })
}
