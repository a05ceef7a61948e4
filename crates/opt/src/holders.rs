//! Which slots hold which values where, for the state map.

use mynah_guest::Guest;
use mynah_ir::{Block, Effect, Known, Op, Recover, Slot, SlotSet, Value};

/// A `set` or `get` after which its slot holds its value.
#[derive(Clone, Copy)]
struct Holder {
    slot: Slot,
    /// Index of the `set` or `get`.
    from: usize,
}

/// Where the values of a block can be found.
pub(crate) struct Holders {
    /// The first two slots that come to hold each value.
    of: Vec<[Option<Holder>; 2]>,
    /// For each `set` and `get`: the index at which its slot is written next.
    until: Vec<usize>,
    /// `set`s that the state map relies on.
    source: Vec<bool>,
    /// `set`s that the state map replaces.
    removed: Vec<bool>,
}

impl Holders {
    pub(crate) fn of<G: Guest>(block: &Block) -> Holders {
        let len = block.insts.len();
        let mut holders = Holders {
            of: vec![[None; 2]; len],
            until: vec![len; len],
            source: vec![false; len],
            removed: vec![false; len],
        };
        // The last `set` or `get` of each slot since it was written, and for each the one before.
        let mut last: [Option<usize>; SlotSet::CAPACITY] = [None; SlotSet::CAPACITY];
        let mut before: Vec<Option<usize>> = vec![None; len];
        let mut written = SlotSet::EMPTY;
        for (index, inst) in block.insts.iter().enumerate() {
            let value = match inst.op.info().effect {
                Effect::ReadsState => Value(index as u16),
                Effect::WritesState => inst.args[0],
                Effect::Helper => {
                    for slot in G::HELPERS[inst.imm as usize].writes.iter() {
                        holders.end(&mut last[slot.0 as usize], &before, index);
                    }
                    continue;
                }
                _ => continue,
            };
            let slot = Slot(inst.imm as u8);
            let last = &mut last[slot.0 as usize];
            if inst.op == Op::Set {
                holders.end(last, &before, index);
                written.insert(slot);
            }
            // What a `get` finds is only certain to stay if no `set` put it there.
            let stays = inst.op == Op::Set || !written.contains(slot);
            before[index] = last.replace(index);
            if !stays {
                continue;
            }
            let places = &mut holders.of[value.index()];
            if let Some(free) = places.iter_mut().find(|place| place.is_none()) {
                *free = Some(Holder { slot, from: index });
            }
        }
        holders
    }

    /// The slot that `last` is of is written at `index`.
    fn end(&mut self, last: &mut Option<usize>, before: &[Option<usize>], index: usize) {
        while let Some(holder) = *last {
            self.until[holder] = index;
            *last = before[holder];
        }
    }

    /// Whether the state map relies on the `set` at `index`.
    pub(crate) fn is_source(&self, index: usize) -> bool {
        self.source[index]
    }

    /// Adds to the state map what the `set` at `index` wrote, for faults of the instructions whose
    /// marks are given; false, with nothing added, if it is not known at all of them.
    pub(crate) fn recover(
        &mut self,
        block: &Block,
        index: usize,
        marks: &[usize],
        map: &mut Vec<(usize, Recover)>,
    ) -> bool {
        let inst = block.insts[index];
        let slot = Slot(inst.imm as u8);
        let begin = map.len();
        for &mark in marks {
            let pc = block.insts[mark].imm;
            let Some((known, source)) = self.known(block, inst.args[0], slot, mark) else {
                map.truncate(begin);
                return false;
            };
            if let Some(source) = source {
                self.source[source] = true;
            }
            map.push((mark, Recover { pc, slot, known }));
        }
        self.removed[index] = true;
        true
    }

    /// How `value` can be told at the instruction whose mark is given, without `slot`; and the
    /// `set` that this relies on.
    fn known(
        &self,
        block: &Block,
        value: Value,
        slot: Slot,
        mark: usize,
    ) -> Option<(Known, Option<usize>)> {
        let inst = &block.insts[value.index()];
        if inst.op == Op::Iconst {
            return Some((Known::Const(inst.imm), None));
        }
        let holder = self.of[value.index()].iter().flatten().find(|holder| {
            let there = holder.from < mark && self.until[holder.from] >= mark;
            there && holder.slot != slot && !self.removed[holder.from]
        })?;
        let is_set = block.insts[holder.from].op == Op::Set;
        Some((Known::Slot(holder.slot), is_set.then_some(holder.from)))
    }
}
