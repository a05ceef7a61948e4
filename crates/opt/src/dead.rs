//! Removal of what nothing observes.

use crate::holders::Holders;
use crate::{SCRATCH, Scratch, filled};
use mynah_guest::Guest;
use mynah_ir::{Block, Effect, NONE, Op, Slot, SlotSet, Value};

/// Removes `set`s whose slot is set again before anything could see it, and operations without
/// effect whose result is not used. A `set` that only faults could see is removed as well if the
/// state map ([`Block::recover`]) can tell its value.
pub fn dead<G: Guest>(block: &mut Block) {
    SCRATCH.with_borrow_mut(|scratch| dead_with::<G>(block, scratch));
}

fn dead_with<G: Guest>(block: &mut Block, scratch: &mut Scratch) {
    let Scratch { renamed, used, places, faults, recover, .. } = scratch;
    let used = filled(used, block.insts.len(), false);
    faults.clear();
    if let Some(value) = block.end.value() {
        used[value.index()] = true;
    }
    let mut holders = Holders::of::<G>(block, places);
    // A second time everything stays that the state map may rely on.
    let again = !block.recover.is_empty();
    // Slots that are certain to be set before anything but a fault sees them.
    let mut hidden = SlotSet::EMPTY;
    // Marks of instructions that may fault, the last first, and for each hidden slot how many of
    // them come after it is set again.
    let mut later = [0_u16; SlotSet::CAPACITY];
    let mut may_fault = false;
    let mut keep = 0;
    for index in (0..block.insts.len()).rev() {
        let inst = block.insts[index];
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
                let seen_by = &faults[usize::from(later[slot.0 as usize])..];
                let removed = hidden.contains(slot)
                    && !may_fault
                    && !holders.is_source(index)
                    && holders.recover(block, index, seen_by, recover);
                hidden.insert(slot);
                later[slot.0 as usize] = faults.len() as u16;
                !removed
            }
            Effect::Memory => {
                may_fault = true;
                true
            }
            Effect::Leaves => {
                if inst.op == Op::TrapIf {
                    may_fault = true;
                } else {
                    hidden = SlotSet::EMPTY;
                }
                true
            }
            Effect::Helper => {
                let helper = &G::HELPERS[inst.imm as usize];
                let wanted = used[index] || !helper.pure;
                if wanted {
                    may_fault |= helper.faults;
                    hidden = hidden.minus(helper.reads);
                }
                wanted
            }
            Effect::Mark => {
                if may_fault && again {
                    hidden = SlotSet::EMPTY;
                }
                if std::mem::take(&mut may_fault) {
                    faults.push(index);
                }
                true
            }
            Effect::Float | Effect::Fence => true,
        };
        used[index] = wanted;
        if wanted {
            inst.args().for_each(|arg| used[arg.index()] = true);
            keep += 1;
        }
    }
    recover.sort_by_key(|&(mark, _)| mark);
    block.recover.extend(recover.drain(..).map(|(_, entry)| entry));
    if keep < block.insts.len() {
        compact(block, used, renamed);
    }
}

/// Removes operations that are not `used`.
fn compact(block: &mut Block, used: &[bool], renamed: &mut Vec<Value>) {
    let renamed = filled(renamed, used.len(), NONE);
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
