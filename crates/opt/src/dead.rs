//! Removal of what nothing observes.

use mynah_guest::Guest;
use mynah_ir::{Block, Effect, NONE, Op, Slot, SlotSet, Value};

/// Removes `set`s whose slot is set again before anything could see it, and operations without
/// effect whose result is not used.
pub fn dead<G: Guest>(block: &mut Block) {
    let mut used = vec![false; block.insts.len()];
    if let Some(value) = block.end.value() {
        used[value.index()] = true;
    }
    // Slots that are certain to be set before they are seen.
    let mut hidden = SlotSet::EMPTY;
    let mut keep = 0;
    for (index, inst) in block.insts.iter_mut().enumerate().rev() {
        let wanted = match inst.op.info().effect {
            Effect::Pure => used[index],
            Effect::ReadsState => {
                if used[index] {
                    hidden.remove(Slot(inst.imm as u8));
                }
                used[index]
            }
            Effect::WritesState => {
                let slot = Slot(inst.imm as u8);
                let seen = !hidden.contains(slot);
                hidden.insert(slot);
                seen
            }
            Effect::Memory | Effect::Leaves => {
                hidden = SlotSet::EMPTY;
                true
            }
            Effect::Helper => {
                let helper = &G::HELPERS[inst.imm as usize];
                let wanted = used[index] || !helper.pure;
                if wanted && helper.faults {
                    hidden = SlotSet::EMPTY;
                } else if wanted {
                    hidden = hidden.minus(helper.reads);
                }
                wanted
            }
            Effect::Float | Effect::Fence | Effect::Mark => true,
        };
        used[index] = wanted;
        if wanted {
            inst.args().for_each(|arg| used[arg.index()] = true);
            keep += 1;
        }
    }
    if keep < block.insts.len() {
        compact(block, &used);
    }
}

/// Removes operations that are not `used`.
fn compact(block: &mut Block, used: &[bool]) {
    let mut renamed = vec![NONE; used.len()];
    let mut next = 0;
    for index in 0..used.len() {
        if !used[index] {
            continue;
        }
        let mut inst = block.insts[index];
        for arg in inst.args.iter_mut().filter(|arg| **arg != NONE) {
            *arg = renamed[arg.index()];
        }
        block.insts[next] = inst;
        renamed[index] = Value(next as u16);
        next += 1;
    }
    block.insts.truncate(next);
    if let Some(value) = block.end.value_mut() {
        *value = renamed[value.index()];
    }
    debug_assert!(block.insts.first().is_none_or(|i| i.op == Op::Insn), "marks are kept");
}
