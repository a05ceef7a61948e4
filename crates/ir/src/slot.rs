//! Named places in guest state, and sets of them.

use crate::Ty;

/// The index of a guest register in its ISA's slot table (at most [`SlotSet::CAPACITY`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Slot(pub u8);

/// Where a slot is and what it holds.
#[derive(Clone, Copy, Debug)]
pub struct SlotInfo {
    /// The register's name, as the text form and reports spell it.
    pub name: &'static str,
    /// Byte offset in the guest's state: a multiple of 8, of 16 for `V128`.
    pub offset: u32,
    /// `I64` (narrower registers are zero-extended to it), `F64` or `V128`.
    pub ty: Ty,
}

/// A set of slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct SlotSet([u64; 2]);

impl SlotSet {
    /// How many slots an ISA may have.
    pub const CAPACITY: usize = 128;
    /// No slot.
    pub const EMPTY: SlotSet = SlotSet([0; 2]);
    /// Every slot.
    pub const ALL: SlotSet = SlotSet([u64::MAX; 2]);

    /// The set of the given slots.
    pub const fn of(slots: &[Slot]) -> SlotSet {
        let mut set = SlotSet::EMPTY;
        let mut i = 0;
        while i < slots.len() {
            set = set.with(slots[i]);
            i += 1;
        }
        set
    }

    /// This set and `slot`.
    #[must_use]
    pub const fn with(mut self, slot: Slot) -> SlotSet {
        self.0[slot.0 as usize / 64] |= 1 << (slot.0 % 64);
        self
    }

    /// This set but `slot`.
    #[must_use]
    pub const fn without(mut self, slot: Slot) -> SlotSet {
        self.0[slot.0 as usize / 64] &= !(1 << (slot.0 % 64));
        self
    }

    /// Adds `slot`.
    pub const fn insert(&mut self, slot: Slot) {
        *self = self.with(slot);
    }

    /// Takes `slot` out.
    pub const fn remove(&mut self, slot: Slot) {
        *self = self.without(slot);
    }

    /// Whether `slot` is in the set.
    pub const fn contains(self, slot: Slot) -> bool {
        self.0[slot.0 as usize / 64] >> (slot.0 % 64) & 1 != 0
    }

    /// Slots in either.
    #[must_use]
    pub const fn union(self, other: SlotSet) -> SlotSet {
        SlotSet([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }

    /// Slots in both.
    #[must_use]
    pub const fn intersection(self, other: SlotSet) -> SlotSet {
        SlotSet([self.0[0] & other.0[0], self.0[1] & other.0[1]])
    }

    /// Slots in this set and not in the other.
    #[must_use]
    pub const fn minus(self, other: SlotSet) -> SlotSet {
        SlotSet([self.0[0] & !other.0[0], self.0[1] & !other.0[1]])
    }

    /// Whether no slot is in the set.
    pub const fn is_empty(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0
    }

    /// The slots, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        let [mut low, mut high] = self.0;
        std::iter::from_fn(move || {
            let (word, base) = if low != 0 { (&mut low, 0) } else { (&mut high, 64) };
            if *word == 0 {
                return None;
            }
            let bit = word.trailing_zeros() as u8;
            *word &= *word - 1;
            Some(Slot(base + bit))
        })
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(iter: I) -> SlotSet {
        iter.into_iter().fold(SlotSet::EMPTY, SlotSet::with)
    }
}
