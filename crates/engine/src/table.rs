//! Translations, and where they are found.

use crate::generation::Leaked;
use crate::sync::Mutex;
use hashbrown::{HashMap, HashSet};
use mynah_guest::Guest;
use mynah_interp::OwnedCode;
use mynah_ir::{Block, BlockKey};
use mynah_jit::{LinkSlot, Unit};
use mynah_mem::{Memory, PAGE};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where a block's code is, as [`mynah_mem::Memory::locate`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Its first byte.
    pub(crate) at: u64,
    /// The page after that of its first byte, if the block reaches into it.
    pub(crate) next: Option<u64>,
}

impl Place {
    /// The parts of a block of `len` bytes, each within a page.
    fn parts(self, len: u32) -> impl Iterator<Item = Range<u64>> + use<> {
        let len = u64::from(len.max(1));
        let first = match self.next {
            Some(_) => PAGE - self.at % PAGE,
            None => len,
        };
        let rest = self.next.map(|next| next..next + (len - first));
        std::iter::once(self.at..self.at + first).chain(rest)
    }
}

/// One block of guest code, translated. It stays for as long as its generation: code that is being
/// left may still name it. Its IR is not kept, since few blocks are ever compiled:
/// [`crate::translate::again`] makes it anew.
pub(crate) struct Translation<G: Guest> {
    /// Length in bytes.
    pub(crate) len: u32,
    /// Where it leads ([`mynah_ir::End::leads_to`]).
    pub(crate) leads_to: [Option<u64>; 2],
    pub(crate) code: OwnedCode<G>,
    pub(crate) place: Place,
    /// The guest bytes, where writes to them go unnoticed ([`crate::Watch::Compare`]).
    pub(crate) compare: Option<Box<[u8]>>,
    /// Cleared when the guest code is no longer what was translated.
    valid: AtomicBool,
    /// Whether it has been handed to the compiler.
    pub(crate) queued: AtomicBool,
    /// Whether it has become part of another's unit since it was queued last.
    pub(crate) covered: AtomicBool,
    /// Host address of its compiled code; 0 if there is none.
    entry: AtomicUsize,
    pub(crate) compiled: Mutex<Compiled<G>>,
}

/// A translation's part in compiled code.
pub(crate) struct Compiled<G: Guest> {
    /// The unit that is entered here.
    pub(crate) unit: Option<&'static Unit>,
    /// Exits of other units that jump to it.
    pub(crate) incoming: Vec<&'static LinkSlot>,
    /// Heads of units that this block is part of.
    pub(crate) heads: Vec<&'static Translation<G>>,
}

impl<G: Guest> Translation<G> {
    pub(crate) fn new(
        block: &Block,
        code: OwnedCode<G>,
        place: Place,
        compare: Option<Box<[u8]>>,
    ) -> Translation<G> {
        let compiled = Compiled { unit: None, incoming: Vec::new(), heads: Vec::new() };
        let mut leads_to = block.end.leads_to();
        Translation {
            len: block.len,
            leads_to: [leads_to.next(), leads_to.next()],
            code,
            place,
            compare,
            valid: AtomicBool::new(true),
            queued: AtomicBool::new(false),
            covered: AtomicBool::new(false),
            entry: AtomicUsize::new(0),
            compiled: Mutex::new(compiled),
        }
    }

    /// Bytes of memory that it takes, about.
    fn bytes(&self) -> usize {
        size_of_val(self) + self.code.bytes() + self.compare.as_ref().map_or(0, |bytes| bytes.len())
    }

    pub(crate) fn key(&self) -> BlockKey {
        self.code.key
    }

    /// Whether the way to it is known for good from wherever its first page is in sight. If not,
    /// each look finds out where its second page is.
    pub(crate) fn is_linkable(&self) -> bool {
        !G::Memory::PAGED || self.place.next.is_none()
    }

    /// The bytes that were translated, by where they are.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Range<u64>> + use<G> {
        self.place.parts(self.len)
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.valid.load(Ordering::SeqCst)
    }

    /// Host address of the compiled code.
    pub(crate) fn entry(&self) -> Option<usize> {
        Some(self.entry.load(Ordering::SeqCst)).filter(|&e| e != 0)
    }

    /// Makes `unit` what this block runs as.
    pub(crate) fn publish(&self, unit: &'static Unit) {
        let mut compiled = self.compiled.lock();
        if self.is_valid() {
            compiled.unit = Some(unit);
            self.entry.store(unit.entry, Ordering::SeqCst);
            self.code.stop();
        }
    }

    /// Links the exit `slot` here, if there is compiled code.
    pub(crate) fn link(&self, slot: &'static LinkSlot) {
        let mut compiled = self.compiled.lock();
        if let (true, Some(entry)) = (self.is_valid() && self.is_linkable(), self.entry()) {
            slot.link(entry);
            compiled.incoming.push(slot);
        }
    }

    /// Makes the translation unreachable: no link, cache or counter leads to it any more, apart
    /// from the vCPUs' jump caches.
    fn retire(&self) {
        let mut compiled = self.compiled.lock();
        self.valid.store(false, Ordering::SeqCst);
        self.entry.store(0, Ordering::SeqCst);
        self.code.stop();
        for slot in compiled.incoming.drain(..) {
            slot.unlink();
        }
    }
}

/// All translations of an engine.
pub(crate) struct Table<G: Guest> {
    /// By what they translate and where that is.
    by_key: HashMap<(BlockKey, u64), &'static Translation<G>>,
    by_page: HashMap<u64, Vec<&'static Translation<G>>>,
    /// Where no translation begins or goes on. They are here so that the set and the translations
    /// made under it change together, and that finding a translation does not look at it.
    pub(crate) breakpoints: Arc<HashSet<u64>>,
    /// All translations of this generation, retired or not.
    owned: Vec<Leaked<Translation<G>>>,
    /// The bytes of all of them, and of those that are retired.
    bytes: usize,
    retired: usize,
}

impl<G: Guest> Default for Table<G> {
    fn default() -> Table<G> {
        Table {
            by_key: HashMap::new(),
            by_page: HashMap::new(),
            breakpoints: Arc::default(),
            owned: Vec::new(),
            bytes: 0,
            retired: 0,
        }
    }
}

impl<G: Guest> Table<G> {
    pub(crate) fn get(&self, key: BlockKey, at: u64) -> Option<&'static Translation<G>> {
        self.by_key.get(&(key, at)).copied()
    }

    /// Whether there are translations of more than `most` bytes, or retired ones of more than a
    /// sixteenth of that: a new generation should begin.
    pub(crate) fn is_full(&self, most: usize) -> bool {
        self.bytes > most || self.retired > most / 16
    }

    /// Yields the translations of this generation, all of which have been retired.
    pub(crate) fn take(&mut self) -> Vec<Leaked<Translation<G>>> {
        (self.bytes, self.retired) = (0, 0);
        std::mem::take(&mut self.owned)
    }

    pub(crate) fn insert(&mut self, translation: Translation<G>) -> &'static Translation<G> {
        let (translation, owned) = Leaked::new(translation);
        self.owned.push(owned);
        self.bytes += translation.bytes();
        for part in translation.parts() {
            self.by_page.entry(part.start / PAGE).or_default().push(translation);
        }
        self.by_key.insert((translation.key(), translation.place.at), translation);
        translation
    }

    /// Takes out and retires every translation of code in `range`, and every head of a unit that
    /// such a one is part of. Yields their addresses.
    pub(crate) fn invalidate(&mut self, range: Range<u64>) -> Vec<u64> {
        if range.is_empty() || self.by_page.is_empty() {
            return Vec::new();
        }
        let (first, last) = (range.start / PAGE, (range.end - 1) / PAGE);
        let pages: Vec<u64> = if last - first > self.by_page.len() as u64 {
            self.by_page.keys().copied().filter(|p| (first..=last).contains(p)).collect()
        } else {
            (first..=last).filter(|p| self.by_page.contains_key(p)).collect()
        };
        let mut found = Vec::new();
        for page in pages {
            for &translation in &self.by_page[&page] {
                if translation.parts().any(|p| p.start < range.end && p.end > range.start) {
                    found.push(translation);
                }
            }
        }
        self.retire(found)
    }

    /// Takes out and retires every translation. Yields their addresses.
    pub(crate) fn clear(&mut self) -> Vec<u64> {
        // One that another vCPU's replaced has no key any more, but pages.
        let all = self.by_page.values().flatten().copied().collect();
        self.retire(all)
    }

    fn retire(&mut self, found: Vec<&'static Translation<G>>) -> Vec<u64> {
        let mut retired = Vec::new();
        let mut pending = found;
        while let Some(translation) = pending.pop() {
            if !translation.is_valid() {
                continue;
            }
            translation.retire();
            pending.append(&mut translation.compiled.lock().heads);
            self.by_key.remove(&(translation.key(), translation.place.at));
            for part in translation.parts() {
                let page = part.start / PAGE;
                if let Some(list) = self.by_page.get_mut(&page) {
                    list.retain(|t| !std::ptr::eq(*t, translation));
                    if list.is_empty() {
                        self.by_page.remove(&page);
                    }
                }
            }
            self.retired += translation.bytes();
            retired.push(translation.key().pc);
        }
        retired
    }
}
