//! The TLB: where a page of virtual addresses lies in the host, as compiled code looks it up.

use crate::{Access, PAGE};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is known of one page of virtual addresses (4 KiB). A tag is the page's address if accesses
/// of its kind may go straight to the host; any other value sends them the long way.
///
/// Only the vCPU's own thread fills entries; any thread may make a write go the long way.
#[derive(Debug)]
#[repr(C)]
pub struct TlbEntry {
    read: AtomicU64,
    write: AtomicU64,
    fetch: AtomicU64,
    /// What added to a virtual address makes the host address.
    addend: AtomicU64,
}

/// No page's address.
const NONE: u64 = u64::MAX;

/// Set in a write tag: the page may be written, the long way only.
const SLOW: u64 = 1;

impl TlbEntry {
    /// Entries for each space.
    pub const COUNT: usize = 2048;
    /// Number of spaces.
    pub const SPACES: usize = 3;
    /// Byte offset of the tag for reading.
    pub const READ: usize = std::mem::offset_of!(TlbEntry, read);
    /// Byte offset of the tag for writing.
    pub const WRITE: usize = std::mem::offset_of!(TlbEntry, write);
    /// Byte offset of what makes a host address of a virtual one.
    pub const ADDEND: usize = std::mem::offset_of!(TlbEntry, addend);

    const fn new() -> TlbEntry {
        TlbEntry {
            read: AtomicU64::new(NONE),
            write: AtomicU64::new(NONE),
            fetch: AtomicU64::new(NONE),
            addend: AtomicU64::new(0),
        }
    }

    fn clear(&self) {
        for tag in [&self.read, &self.write, &self.fetch] {
            tag.store(NONE, Ordering::Relaxed);
        }
    }

    /// Whether reads of the page at `page` go straight to the host.
    #[inline(always)]
    pub(crate) fn reads(&self, page: u64) -> bool {
        self.read.load(Ordering::Relaxed) == page
    }

    /// Whether writes to the page at `page` go straight to the host.
    #[inline(always)]
    pub(crate) fn writes(&self, page: u64) -> bool {
        self.write.load(Ordering::Acquire) == page
    }

    /// Whether the page at `page` may be written, straight or the long way.
    pub(crate) fn may_write(&self, page: u64) -> bool {
        self.write.load(Ordering::Acquire) & !SLOW == page
    }

    /// Whether code may be fetched from the page at `page`.
    #[inline(always)]
    pub(crate) fn fetches(&self, page: u64) -> bool {
        self.fetch.load(Ordering::Relaxed) == page
    }

    /// The page that it knows, and what it permits there.
    fn known(&self) -> Option<(u64, Fill)> {
        let [read, write, fetch] =
            [&self.read, &self.write, &self.fetch].map(|tag| tag.load(Ordering::Relaxed));
        let page = [read, write, fetch].into_iter().find(|&tag| tag != NONE)? & !SLOW;
        let [read, write, fetch] = [read, write, fetch].map(|tag| tag != NONE);
        Some((page, Fill { read, write, fetch, slow: false }))
    }

    /// The host address of `va`.
    #[inline(always)]
    pub(crate) fn host(&self, va: u64) -> u64 {
        va.wrapping_add(self.addend.load(Ordering::Relaxed))
    }
}

/// What an entry permits besides what it permits already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fill {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) fetch: bool,
    pub(crate) slow: bool,
}

/// What is known of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Where it lies in the host.
    pub(crate) host: u64,
    pub(crate) global: bool,
    pub(crate) fill: Fill,
}

impl Fill {
    fn permits(self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
            Access::Fetch => self.fetch,
        }
    }
}

/// One vCPU's TLB. Which entries are in use stands in tables of their own, which compiled code does
/// not read: a flush looks at those entries alone.
#[derive(Debug)]
pub(crate) struct Tlb {
    entries: Box<[TlbEntry]>,
    /// The entries that may know a page.
    used: Marks,
    /// Those of them whose page is global.
    globals: Marks,
}

/// A bit for each entry.
#[derive(Debug)]
struct Marks(Box<[AtomicU64]>);

impl Marks {
    fn new(count: usize) -> Marks {
        Marks((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn set(&self, index: usize, on: bool) {
        let (word, bit) = (&self.0[index / 64], 1 << (index % 64));
        let is = word.load(Ordering::Relaxed) & bit != 0;
        if on && !is {
            word.fetch_or(bit, Ordering::SeqCst);
        } else if !on && is {
            word.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64].load(Ordering::Relaxed) >> (index % 64) & 1 != 0
    }

    /// The indices in `bits`, the word at `n`.
    fn indices(n: usize, mut bits: u64) -> impl Iterator<Item = usize> {
        std::iter::from_fn(move || {
            let at = (bits != 0).then(|| n * 64 + bits.trailing_zeros() as usize);
            bits &= bits.wrapping_sub(1);
            at
        })
    }

    /// The index of every mark.
    fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.0.iter().map(|word| word.load(Ordering::SeqCst)).enumerate();
        words.flat_map(|(n, bits)| Marks::indices(n, bits))
    }
}

impl Tlb {
    fn new() -> Tlb {
        let count = TlbEntry::COUNT * TlbEntry::SPACES;
        Tlb {
            entries: (0..count).map(|_| TlbEntry::new()).collect(),
            used: Marks::new(count),
            globals: Marks::new(count),
        }
    }

    pub(crate) fn address(&self, space: u8) -> usize {
        std::ptr::from_ref(self.entry(space, 0)) as usize
    }

    #[inline(always)]
    fn index(space: u8, va: u64) -> usize {
        (space as usize % TlbEntry::SPACES) * TlbEntry::COUNT
            + (va / PAGE) as usize % TlbEntry::COUNT
    }

    #[inline(always)]
    pub(crate) fn entry(&self, space: u8, va: u64) -> &TlbEntry {
        &self.entries[Tlb::index(space, va)]
    }

    /// Adds what is known of the page at `page`. Yields the page that had its place.
    fn fill(&self, space: u8, page: u64, known: Known) -> Option<Victim> {
        let Known { host, global, fill } = known;
        let index = Tlb::index(space, page);
        let entry = &self.entries[index];
        let victim = entry.known().filter(|(known, _)| *known != page).map(|(page, fill)| {
            let known = Known { host: entry.host(page), global: self.globals.has(index), fill };
            Victim { space, page, known }
        });
        // Before it knows anything: `slow_writes` looks at entries that are in use.
        self.used.set(index, true);
        self.globals.set(index, global);
        let addend = host.wrapping_sub(page);
        let same = entry.addend.load(Ordering::Relaxed) == addend
            && (entry.reads(page) || entry.may_write(page) || entry.fetches(page));
        if !same {
            entry.clear();
            entry.addend.store(addend, Ordering::Relaxed);
        }
        if fill.read {
            entry.read.store(page, Ordering::Relaxed);
        }
        if fill.write {
            let slow = if fill.slow { SLOW } else { 0 };
            entry.write.store(page | slow, Ordering::SeqCst);
        }
        if fill.fetch {
            entry.fetch.store(page, Ordering::Relaxed);
        }
        victim
    }

    /// Whether code is fetched from the page of `va`, and the page is global.
    pub(crate) fn fetches_global(&self, space: u8, va: u64) -> bool {
        let index = Tlb::index(space, va);
        self.globals.has(index) && self.entries[index].fetches(va & !(PAGE - 1))
    }

    /// Forgets all pages but (`globals` false) the global ones.
    fn flush(&self, globals: bool) {
        for (n, (used, global)) in self.used.0.iter().zip(&self.globals.0).enumerate() {
            let kept = if globals { 0 } else { global.load(Ordering::Relaxed) };
            let gone = used.load(Ordering::Relaxed) & !kept;
            if gone != 0 {
                Marks::indices(n, gone).for_each(|index| self.entries[index].clear());
                used.fetch_and(kept, Ordering::SeqCst);
            }
        }
    }

    /// Forgets the page of `va` in every space.
    fn flush_page(&self, va: u64) {
        for space in 0..TlbEntry::SPACES as u8 {
            self.entry(space, va).clear();
        }
    }

    /// Makes writes to the page at host address `host` go the long way. Called by any thread.
    pub(crate) fn slow_writes(&self, host: u64) {
        for entry in self.used.iter().map(|index| &self.entries[index]) {
            let tag = entry.write.load(Ordering::SeqCst);
            if tag != NONE && entry.host(tag & !(PAGE - 1)) == host {
                // An entry that its vCPU changes at this moment is filled after it has looked at
                // whether the page holds code.
                let _ = entry.write.compare_exchange(
                    tag,
                    tag | SLOW,
                    Ordering::SeqCst,
                    Ordering::SeqCst,
                );
            }
        }
    }
}

/// A page whose place in a TLB another one has taken.
#[derive(Clone, Copy, Debug)]
struct Victim {
    space: u8,
    page: u64,
    known: Known,
}

/// A TLB as its own vCPU has it: behind the table stand the pages that lost their places last, so
/// that two that share a place and are used by turns need not be walked each time.
#[derive(Debug)]
pub(crate) struct Buffered {
    table: Arc<Tlb>,
    victims: [Option<Victim>; Buffered::VICTIMS],
    /// The oldest of them.
    oldest: usize,
}

impl std::ops::Deref for Buffered {
    type Target = Tlb;

    #[inline(always)]
    fn deref(&self) -> &Tlb {
        &self.table
    }
}

impl Buffered {
    const VICTIMS: usize = 8;

    pub(crate) fn new() -> Buffered {
        Buffered { table: Arc::new(Tlb::new()), victims: [None; Buffered::VICTIMS], oldest: 0 }
    }

    /// What other threads may reach.
    pub(crate) fn table(&self) -> &Arc<Tlb> {
        &self.table
    }

    /// Adds what is known of the page of `va`.
    pub(crate) fn fill(&mut self, space: u8, va: u64, known: Known) {
        if let Some(victim) = self.table.fill(space, va & !(PAGE - 1), known) {
            self.victims[self.oldest] = Some(victim);
            self.oldest = (self.oldest + 1) % Buffered::VICTIMS;
        }
    }

    /// Takes out the page of `va` if it has lost its place. Yields what was known of it if that
    /// permits `access`.
    pub(crate) fn recall(&mut self, space: u8, va: u64, access: Access) -> Option<Known> {
        let page = va & !(PAGE - 1);
        let is = |v: &Option<Victim>| v.is_some_and(|v| v.page == page && v.space == space);
        let victim = self.victims.iter_mut().find(|v| is(v))?.take()?;
        Some(victim.known).filter(|known| known.fill.permits(access))
    }

    /// Forgets all pages but (`globals` false) the global ones.
    pub(crate) fn flush(&mut self, globals: bool) {
        self.table.flush(globals);
        self.keep(|victim| victim.known.global && !globals);
    }

    /// Forgets the page of `va` in every space.
    pub(crate) fn flush_page(&mut self, va: u64) {
        self.table.flush_page(va);
        self.keep(|victim| victim.page != va & !(PAGE - 1));
    }

    fn keep(&mut self, which: impl Fn(&Victim) -> bool) {
        self.victims.iter_mut().for_each(|victim| *victim = victim.filter(&which));
    }
}
