//! What a vCPU remembers of where code is, by the address of the code.
//!
//! The caches of compiled and of interpreted code for jumps to computed addresses have the same
//! index, so that what moves is forgotten by both at once. The run loop's own forgets nothing: what
//! may have moved is looked at again.

use crate::table::Translation;
use mynah_guest::{Core, Guest, JumpEntry, ModeCache};
use mynah_interp::JumpCache;
use mynah_ir::BlockKey;
use mynah_mem::{Memory, Moved};
use std::sync::Arc;

/// Jump caches of compiled code, which finds code by its address alone: one for each translation
/// mode of late. Other threads may empty entries.
pub(crate) type JumpCaches = Arc<[Box<[JumpEntry]>]>;

/// What a vCPU remembers.
pub(crate) struct Lookup<G: Guest> {
    pub(crate) compiled: JumpCaches,
    pub(crate) interpreted: JumpCache<G>,
    found: Box<[Option<Found<G>>]>,
    /// The next of `compiled` that is given to another mode.
    oldest: usize,
    /// Where something was inserted that lasts when pages move that are not global, and where
    /// something else.
    lasting: Filled,
    passing: Filled,
    /// [`Memory::era`].
    era: u64,
    /// How often all pages may have moved, the global ones too.
    ages: u64,
}

/// A translation that was found.
struct Found<G: Guest> {
    key: BlockKey,
    translation: &'static Translation<G>,
    /// Whether it is found on a global page.
    lasts: bool,
    /// The era when it was last seen to be where it is; if it lasts, the age.
    seen: u64,
}

/// What the run loop remembers of a translation.
pub(crate) enum Known<G: Guest> {
    /// It is where it was.
    Here(&'static Translation<G>),
    /// It is if its address still leads where it did.
    Perhaps(&'static Translation<G>),
}

/// Indices of entries that are in use.
#[derive(Default)]
struct Filled {
    indices: Vec<u16>,
    /// They are too many to be counted.
    all: bool,
}

impl Filled {
    /// More than these are not told apart.
    const MOST: usize = JumpEntry::COUNT / 2;

    fn insert(&mut self, index: usize) {
        if self.indices.len() == Filled::MOST {
            self.indices.clear();
            self.all = true;
        }
        if !self.all {
            self.indices.push(index as u16);
        }
    }

    /// Calls `each` with every index, and forgets them.
    fn drain(&mut self, mut each: impl FnMut(usize)) {
        if std::mem::take(&mut self.all) {
            (0..JumpEntry::COUNT).for_each(each);
        } else {
            self.indices.drain(..).for_each(|index| each(index.into()));
        }
    }
}

impl<G: Guest> Lookup<G> {
    /// Modes that have a jump cache.
    const MODES: usize = if G::Memory::PAGED { Core::MODES } else { 1 };

    /// Translations that the run loop remembers.
    const FOUND: usize = if G::Memory::PAGED { 4 } else { 1 } * JumpEntry::COUNT;

    pub(crate) fn new() -> Lookup<G> {
        Lookup {
            compiled: (0..Self::MODES).map(|_| JumpEntry::cache()).collect(),
            interpreted: JumpCache::default(),
            found: (0..Self::FOUND).map(|_| None).collect(),
            oldest: 0,
            lasting: Filled::default(),
            passing: Filled::default(),
            era: 0,
            ages: 0,
        }
    }

    /// Makes `mode` that of the code that is looked up from now on.
    #[inline]
    pub(crate) fn change_mode(&mut self, core: &mut Core, mode: u32) {
        if core.go_over(mode) {
            return;
        }
        let cache = &self.compiled[self.oldest];
        (0..JumpEntry::COUNT).for_each(|entry| JumpEntry::clear(cache, entry));
        let address = cache.as_ptr() as usize;
        core.caches[self.oldest] = ModeCache { mode: Some(mode), address };
        self.oldest = (self.oldest + 1) % self.compiled.len();
        core.go_over(mode);
    }

    /// Forgets code that may have moved, now that `era` is the memory's.
    #[inline]
    pub(crate) fn forget(&mut self, moved: Moved, era: u64) {
        if moved == Moved::Nothing {
            return;
        }
        let (compiled, interpreted) = (&self.compiled, &mut self.interpreted);
        let mut forget = |index| {
            compiled.iter().for_each(|cache| JumpEntry::clear(cache, index));
            interpreted.forget(index);
        };
        self.passing.drain(&mut forget);
        self.era = era;
        if moved == Moved::All {
            self.lasting.drain(&mut forget);
            self.ages += 1;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        for index in 0..JumpEntry::COUNT {
            self.compiled.iter().for_each(|cache| JumpEntry::clear(cache, index));
            self.interpreted.forget(index);
        }
        self.found.iter_mut().for_each(|found| *found = None);
        (self.passing, self.lasting) = Default::default();
    }

    /// What the run loop remembers for `key`.
    #[inline]
    pub(crate) fn find(&self, key: BlockKey) -> Option<Known<G>> {
        let found = self.found[Self::place(key)].as_ref()?;
        if found.key != key || !found.translation.is_valid() {
            return None;
        }
        Some(match found.seen == self.now(found.lasts) {
            true => Known::Here(found.translation),
            false => Known::Perhaps(found.translation),
        })
    }

    /// When what is seen now was seen.
    fn now(&self, lasts: bool) -> u64 {
        if lasts { self.ages } else { self.era }
    }

    /// Where [`Lookup::found`] has the translation for `key`.
    #[inline]
    fn place(key: BlockKey) -> usize {
        (key.pc ^ key.pc >> Self::FOUND.ilog2()) as usize % Self::FOUND
    }

    /// Lets the run loop know `translation`; `lasts` says whether it stays where it is when pages
    /// move that are not global. Comes before it is inserted anywhere else.
    pub(crate) fn insert(&mut self, translation: &'static Translation<G>, lasts: bool) {
        let key = translation.key();
        if translation.compare.is_none() {
            let seen = self.now(lasts);
            self.found[Self::place(key)] = Some(Found { key, translation, lasts, seen });
        }
        if G::Memory::PAGED {
            let filled = if lasts { &mut self.lasting } else { &mut self.passing };
            filled.insert(JumpEntry::index(key.pc));
        }
    }

    /// Lets compiled code know the compiled code of `translation`, at `entry`.
    pub(crate) fn remember(&self, core: &Core, translation: &Translation<G>, entry: usize) {
        let BlockKey { pc, mode } = translation.key();
        let Some(cache) = core.caches.iter().position(|cache| cache.mode == Some(mode)) else {
            return;
        };
        let place = &self.compiled[cache][JumpEntry::index(pc)];
        if place.leads_to(pc, entry) {
            return;
        }
        place.fill(pc, entry);
        if !translation.is_valid() {
            place.forget(pc);
        }
    }
}
