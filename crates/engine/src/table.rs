//! Translations, and where they are found.

use crate::sync::Mutex;
use hashbrown::HashMap;
use mynah_guest::Guest;
use mynah_interp::Code;
use mynah_ir::{Block, BlockKey};
use mynah_jit::{LinkSlot, Unit};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Code pages are watched and invalidated in units of this many bytes.
pub(crate) const PAGE: u64 = 4096;

/// One block of guest code, translated. Never freed: code that is being left may still name it.
pub(crate) struct Translation<G: Guest> {
    pub(crate) block: Block,
    pub(crate) code: &'static Code<G>,
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
    pub(crate) fn leak(
        block: Block,
        code: &'static Code<G>,
        compare: Option<Box<[u8]>>,
    ) -> &'static Translation<G> {
        let compiled = Compiled { unit: None, incoming: Vec::new(), heads: Vec::new() };
        Box::leak(Box::new(Translation {
            block,
            code,
            compare,
            valid: AtomicBool::new(true),
            queued: AtomicBool::new(false),
            covered: AtomicBool::new(false),
            entry: AtomicUsize::new(0),
            compiled: Mutex::new(compiled),
        }))
    }

    pub(crate) fn key(&self) -> BlockKey {
        self.block.key
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
        if let (true, Some(entry)) = (self.is_valid(), self.entry()) {
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
    by_key: HashMap<BlockKey, &'static Translation<G>>,
    by_page: HashMap<u64, Vec<&'static Translation<G>>>,
}

impl<G: Guest> Default for Table<G> {
    fn default() -> Table<G> {
        Table { by_key: HashMap::new(), by_page: HashMap::new() }
    }
}

impl<G: Guest> Table<G> {
    pub(crate) fn get(&self, key: BlockKey) -> Option<&'static Translation<G>> {
        self.by_key.get(&key).copied()
    }

    pub(crate) fn insert(&mut self, translation: &'static Translation<G>) {
        for page in pages(&translation.block) {
            self.by_page.entry(page).or_default().push(translation);
        }
        self.by_key.insert(translation.key(), translation);
    }

    /// Takes out and retires every translation of code in `range`, and every head of a unit that
    /// such a one is part of. Yields them.
    pub(crate) fn invalidate(&mut self, range: Range<u64>) -> Vec<&'static Translation<G>> {
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
                let start = translation.key().pc;
                let end = start.saturating_add(translation.block.len.into());
                if start < range.end && end > range.start {
                    found.push(translation);
                }
            }
        }
        self.retire(found)
    }

    /// Takes out and retires every translation.
    pub(crate) fn clear(&mut self) -> Vec<&'static Translation<G>> {
        let all = self.by_key.values().copied().collect();
        self.retire(all)
    }

    fn retire(&mut self, found: Vec<&'static Translation<G>>) -> Vec<&'static Translation<G>> {
        let mut retired = Vec::new();
        let mut pending = found;
        while let Some(translation) = pending.pop() {
            if !translation.is_valid() {
                continue;
            }
            translation.retire();
            pending.append(&mut translation.compiled.lock().heads);
            self.by_key.remove(&translation.key());
            for page in pages(&translation.block) {
                if let Some(list) = self.by_page.get_mut(&page) {
                    list.retain(|t| !std::ptr::eq(*t, translation));
                    if list.is_empty() {
                        self.by_page.remove(&page);
                    }
                }
            }
            retired.push(translation);
        }
        retired
    }
}

fn pages(block: &Block) -> impl Iterator<Item = u64> + use<> {
    let end = block.key.pc.saturating_add(u64::from(block.len.max(1)) - 1);
    block.key.pc / PAGE..=end / PAGE
}
