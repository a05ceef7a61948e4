//! Which slots hold which values where, for the state map.

use mynah_guest::Guest;
use mynah_ir::{Block, Effect, Known, Op, Recover, Slot, SlotSet, Value};

/// A `set` or `get` after which its slot holds its value.
#[derive(Clone, Copy)]
struct Holder {
    slot: Slot,
    /// Index of the `set` or `get`.
    from: u16,
}

/// What is known of the operation at an index.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The first two slots that come to hold its value.
    holders: [Option<Holder>; 2],
    /// For a `set` or `get`: the index at which its slot is written next.
    until: u16,
    /// For a `set` or `get`: the one before it of the same slot, since the slot was written.
    before: u16,
    /// A `set` that the state map relies on.
    source: bool,
    /// A `set` that the state map replaces.
    removed: bool,
}

/// No index.
const NOWHERE: u16 = u16::MAX;

/// Where the values of a block can be found.
pub(crate) struct Holders<'s> {
    places: &'s mut [Place],
}

impl<'s> Holders<'s> {
    /// What is known of `block`, put into `places`.
    pub(crate) fn of<G: Guest>(block: &Block, places: &'s mut Vec<Place>) -> Holders<'s> {
        let len = block.insts.len();
        let unknown = Place {
            holders: [None; 2],
            until: len as u16,
            before: NOWHERE,
            source: false,
            removed: false,
        };
        let mut holders = Holders { places: crate::filled(places, len, unknown) };
        // The last `set` or `get` of each slot since it was written.
        let mut last = [NOWHERE; SlotSet::CAPACITY];
        let mut written = SlotSet::EMPTY;
        for (index, inst) in block.insts.iter().enumerate() {
            let value = match inst.op.info().effect {
                Effect::ReadsState => Value(index as u16),
                Effect::WritesState => inst.args[0],
                Effect::Helper => {
                    for slot in G::HELPERS[inst.imm as usize].writes.iter() {
                        holders.end(&mut last[slot.0 as usize], index);
                    }
                    continue;
                }
                _ => continue,
            };
            let slot = Slot(inst.imm as u8);
            let last = &mut last[slot.0 as usize];
            if inst.op == Op::Set {
                holders.end(last, index);
                written.insert(slot);
            }
            // What a `get` finds is only certain to stay if no `set` put it there.
            let stays = inst.op == Op::Set || !written.contains(slot);
            let from = index as u16;
            holders.places[index].before = std::mem::replace(last, from);
            if !stays {
                continue;
            }
            let known = &mut holders.places[value.index()].holders;
            if let Some(free) = known.iter_mut().find(|holder| holder.is_none()) {
                *free = Some(Holder { slot, from });
            }
        }
        holders
    }

    /// The slot that `last` is of is written at `index`.
    fn end(&mut self, last: &mut u16, index: usize) {
        while *last != NOWHERE {
            let place = &mut self.places[usize::from(*last)];
            place.until = index as u16;
            *last = place.before;
        }
    }

    /// Whether the state map relies on the `set` at `index`.
    pub(crate) fn is_source(&self, index: usize) -> bool {
        self.places[index].source
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
                self.places[source].source = true;
            }
            map.push((mark, Recover { pc, slot, known }));
        }
        self.places[index].removed = true;
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
        let holder = self.places[value.index()].holders.iter().flatten().find(|holder| {
            let from = usize::from(holder.from);
            let there = from < mark && usize::from(self.places[from].until) >= mark;
            there && holder.slot != slot && !self.places[from].removed
        })?;
        let from = usize::from(holder.from);
        let is_set = block.insts[from].op == Op::Set;
        Some((Known::Slot(holder.slot), is_set.then_some(from)))
    }
}
