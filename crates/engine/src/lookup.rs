//! What a vCPU remembers of where code is, by the address of the code.
//!
//! Three caches have the same index, so that what moves is forgotten by all of them at once: those
//! of compiled and of interpreted code for jumps to computed addresses, and the run loop's own.

use crate::table::Translation;
use mynah_guest::{Guest, JumpEntry};
use mynah_interp::JumpCache;
use mynah_ir::BlockKey;
use mynah_mem::{Memory, Moved};
use std::collections::VecDeque;
use std::sync::Arc;

/// Jump caches of compiled code, which finds code by its address alone: one for each translation
/// mode of late. Other threads may empty entries.
pub(crate) type JumpCaches = Arc<[Box<[JumpEntry]>]>;

/// What a vCPU remembers.
pub(crate) struct Lookup<G: Guest> {
    pub(crate) compiled: JumpCaches,
    pub(crate) interpreted: JumpCache<G>,
    found: Box<[Option<&'static Translation<G>>]>,
    /// The modes that `compiled` are for, and the one in use.
    modes: Box<[Option<u32>]>,
    mode: usize,
    /// What was inserted that lasts when pages move that are not global, and what passes with
    /// `era`.
    lasting: Filled<G>,
    passing: Filled<G>,
    /// [`Memory::era`].
    era: u64,
    /// What has passed with other eras, the last one last.
    passed: VecDeque<(u64, Filled<G>)>,
}

/// Translations that were inserted.
struct Filled<G: Guest> {
    translations: Vec<&'static Translation<G>>,
    /// They are too many to be remembered.
    all: bool,
}

impl<G: Guest> Default for Filled<G> {
    fn default() -> Filled<G> {
        Filled { translations: Vec::new(), all: false }
    }
}

impl<G: Guest> Filled<G> {
    /// More than these are not told apart.
    const MOST: usize = JumpEntry::COUNT / 2;

    fn insert(&mut self, translation: &'static Translation<G>) {
        if self.translations.len() == Filled::<G>::MOST {
            self.translations.clear();
            self.all = true;
        }
        if !self.all {
            self.translations.push(translation);
        }
    }

    /// Calls `each` with the index of every one.
    fn each(&self, mut each: impl FnMut(usize)) {
        if self.all {
            (0..JumpEntry::COUNT).for_each(each);
        } else {
            self.translations.iter().for_each(|t| each(JumpEntry::index(t.key().pc)));
        }
    }
}

impl<G: Guest> Lookup<G> {
    /// Eras that are remembered.
    const ERAS: usize = 8;

    /// User and supervisor code take turns.
    const MODES: usize = if G::Memory::PAGED { 4 } else { 1 };

    pub(crate) fn new() -> Lookup<G> {
        Lookup {
            compiled: (0..Self::MODES).map(|_| JumpEntry::cache()).collect(),
            interpreted: JumpCache::default(),
            found: vec![None; JumpEntry::COUNT].into(),
            modes: vec![None; Self::MODES].into(),
            mode: 0,
            lasting: Filled::default(),
            passing: Filled::default(),
            era: 0,
            passed: VecDeque::new(),
        }
    }

    /// Address of compiled code's jump cache for the mode in use.
    pub(crate) fn jump_cache(&self) -> usize {
        self.compiled[self.mode].as_ptr() as usize
    }

    /// Goes over to `mode`; whether that is another one.
    #[inline]
    pub(crate) fn change_mode(&mut self, mode: u32) -> bool {
        if self.modes[self.mode] == Some(mode) {
            return false;
        }
        self.mode = match self.modes.iter().position(|&known| known == Some(mode)) {
            Some(index) => index,
            None => {
                let index = (self.mode + 1) % self.modes.len();
                let cache = &self.compiled[index];
                (0..JumpEntry::COUNT).for_each(|entry| JumpEntry::clear(cache, entry));
                self.modes[index] = Some(mode);
                index
            }
        };
        true
    }

    /// Forgets code that may have moved, and remembers what was known when this era was left.
    #[inline]
    pub(crate) fn forget(&mut self, moved: Moved, era: u64) {
        if moved != Moved::Nothing {
            self.move_on(moved, era);
        }
    }

    fn move_on(&mut self, moved: Moved, era: u64) {
        let (compiled, interpreted) = (&self.compiled, &mut self.interpreted);
        let found = &mut self.found;
        let mut forget = |index| {
            compiled.iter().for_each(|cache| JumpEntry::clear(cache, index));
            interpreted.forget(index);
            found[index] = None;
        };
        self.passing.each(&mut forget);
        if moved == Moved::All {
            std::mem::take(&mut self.lasting).each(&mut forget);
        }
        let back = self.passed.iter().position(|(passed, _)| *passed == era);
        let back = back.and_then(|at| self.passed.remove(at));
        let left = std::mem::take(&mut self.passing);
        if self.passed.len() == Self::ERAS {
            self.passed.pop_front();
        }
        self.passed.push_back((std::mem::replace(&mut self.era, era), left));
        for translation in back.into_iter().flat_map(|(_, filled)| filled.translations) {
            self.restore(translation);
        }
    }

    /// Lets all know `translation` again, which is where it was.
    fn restore(&mut self, translation: &'static Translation<G>) {
        if !translation.is_valid() || !translation.is_linkable() || translation.compare.is_some() {
            return;
        }
        self.insert(translation, false);
        let mode = translation.key().mode;
        match (translation.entry(), self.modes.iter().position(|&known| known == Some(mode))) {
            (Some(entry), Some(index)) => self.remember_in(index, translation, entry),
            (None, _) => self.interpreted.insert(translation.code),
            (Some(_), None) => {}
        }
    }

    /// The translation for `key`, if the run loop knows it.
    #[inline]
    pub(crate) fn find(&self, key: BlockKey) -> Option<&'static Translation<G>> {
        let found = self.found[JumpEntry::index(key.pc)]?;
        let holds = found.key() == key && found.compare.is_none() && found.is_valid();
        holds.then_some(found)
    }

    /// Lets the run loop know `translation`; `lasts` says whether it stays where it is when pages
    /// move that are not global. Comes before it is inserted anywhere else.
    pub(crate) fn insert(&mut self, translation: &'static Translation<G>, lasts: bool) {
        let index = JumpEntry::index(translation.key().pc);
        self.found[index] = Some(translation);
        if G::Memory::PAGED {
            let filled = if lasts { &mut self.lasting } else { &mut self.passing };
            filled.insert(translation);
        }
    }

    /// Lets compiled code know the compiled code of `translation`, at `entry`.
    pub(crate) fn remember(&self, translation: &Translation<G>, entry: usize) {
        self.remember_in(self.mode, translation, entry);
    }

    fn remember_in(&self, mode: usize, translation: &Translation<G>, entry: usize) {
        let pc = translation.key().pc;
        let place = &self.compiled[mode][JumpEntry::index(pc)];
        if place.leads_to(pc, entry) {
            return;
        }
        place.fill(pc, entry);
        if !translation.is_valid() {
            place.forget(pc);
        }
    }
}
