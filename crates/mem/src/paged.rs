//! The system machine's memory: page tables, and a TLB before them.

use crate::tlb::{Buffered, Fill, Known};
use crate::{Access, Cause, Flat, MemFault, Memory, Moved, PAGE, Phys, Unit, host};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// What the guest's page tables say of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// Physical address of its 4 KiB.
    pub pa: u64,
    /// Whether it may be written without another walk: permitted, and marked dirty already.
    pub writable: bool,
    /// Whether it stays where it is when the address space changes.
    pub global: bool,
    /// Bytes that the guest's page covers, 4096 or more: [`Memory::flush_page`] forgets them all.
    pub span: u64,
}

/// A guest architecture's walk of its page tables.
pub trait Walk: Send + 'static {
    /// Where the page of `va` is, for an access with the rights of `space`; marks it accessed, and
    /// dirty if it is to be written. The error is the architecture's code for the refusal.
    fn walk(&mut self, phys: &Phys, va: u64, access: Access, space: u8) -> Result<Page, u32>;
}

/// Guest memory behind page tables.
pub struct Paged<W> {
    /// The registers that govern paging.
    pub walker: W,
    phys: Arc<Phys>,
    /// What is known of the current address space: here what is used often.
    tlb: Buffered,
    context: u64,
    era: u64,
    /// What is known of others; the last one was left last.
    others: Vec<Context>,
    /// The last era that has begun.
    eras: u64,
    space: u8,
    /// Pages larger than 4 KiB of which parts may be in a TLB: their numbers, by their spans.
    large: HashMap<u64, HashSet<u64>>,
    /// Virtual pages that [`Memory::locate`] was asked for since all of them may have moved: global
    /// ones, and others.
    located: [HashSet<u64>; 2],
    moved: Moved,
}

/// What is known of an address space.
struct Context {
    identifier: u64,
    tlb: Buffered,
    /// Pages that are not global for which [`Memory::locate`] was asked.
    located: HashSet<u64>,
    era: u64,
}

impl Context {
    /// Forgets its pages but (`globals` false) global ones; `era` begins.
    fn flush(&mut self, globals: bool, era: u64) {
        self.tlb.flush(globals);
        self.located.clear();
        self.era = era;
    }
}

/// Where an access goes.
enum Target {
    /// To memory, at a host address.
    Host(u64),
    /// Nowhere: a write to ROM.
    Nowhere,
    /// To a device, at a physical address.
    Io(u64),
}

/// When so many pages are known to have been located, all of them are forgotten.
const MOST_LOCATED: usize = 1 << 16;

/// When so many large pages of a span are known to have been used, everything is forgotten.
const MOST_LARGE: usize = 1 << 12;

/// Address spaces that are remembered at a time, besides the current one.
const OTHERS: usize = 7;

/// Serialises atomic accesses that the host cannot make atomic: across pages, and to devices.
static SPLIT: Mutex<()> = Mutex::new(());

impl<W: Walk> Paged<W> {
    /// Memory `phys` as `walker` shows it.
    pub fn new(walker: W, phys: Arc<Phys>) -> Paged<W> {
        let tlb = Buffered::new();
        phys.register(tlb.table());
        Paged {
            walker,
            phys,
            tlb,
            context: 0,
            era: 0,
            others: Vec::new(),
            eras: 0,
            space: 0,
            large: HashMap::new(),
            located: Default::default(),
            moved: Moved::Nothing,
        }
    }

    /// The machine's physical memory.
    pub fn phys(&self) -> &Arc<Phys> {
        &self.phys
    }

    /// The physical address of `va`, as a debugger asks: without rights, faults or marks other
    /// than those of a read.
    pub fn physical(&mut self, va: u64) -> Option<u64> {
        let page = self.walker.walk(&self.phys, va, Access::Read, 0).ok()?;
        Some(self.phys.masked(page.pa) + va % PAGE)
    }

    /// Makes `context` the current address space. What was known of it when it was left is known
    /// again; so many are remembered, and global pages are remembered for each.
    pub fn enter(&mut self, context: u64) {
        if context == self.context {
            return;
        }
        let known = self.others.iter().position(|other| other.identifier == context);
        let mut entered = match known {
            Some(at) => self.others.remove(at),
            None if self.others.len() < OTHERS => {
                let tlb = Buffered::new();
                self.phys.register(tlb.table());
                let era = self.begin_era();
                Context { identifier: context, tlb, located: HashSet::new(), era }
            }
            None => {
                let mut first = self.others.remove(0);
                first.identifier = context;
                first.flush(false, self.begin_era());
                first
            }
        };
        std::mem::swap(&mut self.tlb, &mut entered.tlb);
        std::mem::swap(&mut self.context, &mut entered.identifier);
        std::mem::swap(&mut self.era, &mut entered.era);
        std::mem::swap(&mut self.located[1], &mut entered.located);
        self.others.push(entered);
        self.moved = self.moved.max(Moved::Locals);
    }

    fn begin_era(&mut self) -> u64 {
        self.eras += 1;
        self.eras
    }

    /// Forgets where the page of `va` leads in the address space `context`.
    pub fn flush_page_of(&mut self, context: u64, va: u64) {
        if context == self.context {
            return self.flush_page(va);
        }
        let large = self.is_large(va);
        let era = self.begin_era();
        if let Some(other) = self.others.iter_mut().find(|other| other.identifier == context) {
            if large {
                return other.flush(false, era);
            }
            other.tlb.flush_page(va);
            other.era = era;
        }
    }

    /// Forgets where virtual addresses of the address space `context`, or of all, lead, but for
    /// global pages.
    pub fn flush_contexts(&mut self, context: Option<u64>) {
        let meant = |other: u64| context.is_none_or(|context| context == other);
        let era = self.begin_era();
        for other in self.others.iter_mut().filter(|other| meant(other.identifier)) {
            other.flush(false, era);
        }
        if meant(self.context) {
            self.flush(false);
        }
    }

    /// Whether a page larger than 4 KiB is at `va`, or has been.
    fn is_large(&self, va: u64) -> bool {
        self.large.iter().any(|(span, known)| known.contains(&(va / span)))
    }

    /// Where `bytes` at `va`, within one page, are for this access.
    fn target(&mut self, va: u64, bytes: usize, access: Access) -> Result<Target, MemFault> {
        let known = match self.tlb.recall(self.space, va, access) {
            Some(known) => known,
            None => match self.walk(va, access)? {
                Ok(known) => known,
                Err(target) => return Ok(target),
            },
        };
        self.tlb.fill(self.space, va, known);
        // Filled before it is asked whether there is code: whoever declares code after this finds
        // the entry.
        let pa = self.phys.at_host(known.host);
        let write = known.fill.write;
        if (write || access == Access::Write) && self.phys.has_code(pa) {
            let fill = Fill { write, slow: true, ..Fill::default() };
            self.tlb.fill(self.space, va, Known { fill, ..known });
            let at = pa + va % PAGE;
            if access == Access::Write
                && let Some(code) = self.phys.code_in(at..at + bytes as u64)
            {
                let va = va + (code - at);
                return Err(MemFault { va, access, cause: Cause::Code });
            }
        }
        Ok(Target::Host(known.host + va % PAGE))
    }

    /// What the page tables say of the page of `va`, or where the access goes if not to memory.
    fn walk(&mut self, va: u64, access: Access) -> Result<Result<Known, Target>, MemFault> {
        let fault = |cause| MemFault { va, access, cause };
        let walked = self.walker.walk(&self.phys, va, access, self.space);
        let page = walked.map_err(|code| fault(Cause::Refused(code)))?;
        if page.span > PAGE {
            let known = self.large.entry(page.span).or_default();
            known.insert(va / page.span);
            if known.len() > MOST_LARGE {
                self.flush(true);
            }
        }
        let pa = self.phys.masked(page.pa);
        let backing = self.phys.backing(pa);
        let host = match (access, backing.read, backing.write) {
            (Access::Write, _, Some(host)) => host,
            (Access::Write, Some(_), None) => return Ok(Err(Target::Nowhere)),
            (Access::Read | Access::Fetch, Some(host), _) => host,
            (_, None, _) => return Ok(Err(Target::Io(pa + va % PAGE))),
        };
        let fill = Fill {
            read: access != Access::Fetch && backing.read == Some(host),
            write: access == Access::Write && page.writable,
            fetch: access == Access::Fetch,
            slow: false,
        };
        Ok(Ok(Known { host, global: page.global, fill }))
    }

    /// As [`Paged::target`], by the TLB if it knows.
    #[inline]
    fn find(&mut self, va: u64, bytes: usize, access: Access) -> Result<Target, MemFault> {
        let entry = self.tlb.entry(self.space, va);
        let page = va / PAGE * PAGE;
        let known = match access {
            Access::Read => entry.reads(page),
            Access::Write => entry.writes(page),
            Access::Fetch => entry.fetches(page),
        };
        if known { Ok(Target::Host(entry.host(va))) } else { self.target(va, bytes, access) }
    }

    /// Calls `each` with the parts of `len` bytes at `va`, one for each page.
    fn parts(
        &mut self,
        va: u64,
        len: usize,
        access: Access,
        mut each: impl FnMut(&Phys, Target, Range<usize>) -> Result<(), MemFault>,
    ) -> Result<(), MemFault> {
        let mut done = 0;
        while done < len {
            let at = va.wrapping_add(done as u64);
            let count = ((PAGE - at % PAGE) as usize).min(len - done);
            let target = self.find(at, count, access)?;
            each(&self.phys, target, done..done + count)?;
            done += count;
        }
        Ok(())
    }

    fn is_split(va: u64, bytes: usize) -> bool {
        va % PAGE + bytes as u64 > PAGE
    }
}

/// A device's registers are read and written in units of at most 8 bytes, each aligned.
fn io_units(len: usize, pa: u64) -> impl Iterator<Item = (usize, u8)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let left = len - at;
        if left == 0 {
            return None;
        }
        let natural = 1 << (pa + at as u64).trailing_zeros().min(3);
        let unit = [8, 4, 2, 1].into_iter().find(|&u| u <= left && u <= natural)?;
        at += unit;
        Some((at - unit, unit as u8))
    })
}

impl<W: Walk> Memory for Paged<W> {
    const PAGED: bool = true;

    #[inline(always)]
    fn try_load<U: Unit>(&mut self, va: u64) -> Option<U> {
        let entry = self.tlb.entry(self.space, va);
        let last = va.wrapping_add(U::BYTES as u64 - 1);
        if entry.reads(last & !(PAGE - 1)) { U::try_load(entry.host(va)) } else { None }
    }

    #[inline(always)]
    fn try_store<U: Unit>(&mut self, va: u64, value: U) -> Option<()> {
        let entry = self.tlb.entry(self.space, va);
        let last = va.wrapping_add(U::BYTES as u64 - 1);
        if entry.writes(last & !(PAGE - 1)) { value.try_store(entry.host(va)) } else { None }
    }

    fn load<U: Unit>(&mut self, va: u64) -> Result<U, MemFault> {
        if Self::is_split(va, U::BYTES) {
            let mut bytes = [0; 16];
            self.read(va, &mut bytes[..U::BYTES])?;
            return Ok(U::narrow(u128::from_le_bytes(bytes)));
        }
        match self.find(va, U::BYTES, Access::Read)? {
            Target::Host(host) => U::load(host).map_err(|fault| MemFault { va, ..fault }),
            Target::Nowhere => Ok(U::narrow(u128::MAX)),
            Target::Io(pa) => Ok(self.phys.read_io(pa)),
        }
    }

    fn store<U: Unit>(&mut self, va: u64, value: U) -> Result<(), MemFault> {
        if Self::is_split(va, U::BYTES) {
            self.check_write(va, U::BYTES)?;
            return self.write(va, &value.widen().to_le_bytes()[..U::BYTES]);
        }
        match self.find(va, U::BYTES, Access::Write)? {
            Target::Host(host) => value.store(host).map_err(|fault| MemFault { va, ..fault }),
            Target::Nowhere => Ok(()),
            Target::Io(pa) => {
                self.phys.write_io(pa, value);
                Ok(())
            }
        }
    }

    fn compare_exchange(
        &mut self,
        va: u64,
        bytes: u32,
        expected: u64,
        new: u64,
    ) -> Result<u64, MemFault> {
        if !Self::is_split(va, bytes as usize)
            && let Target::Host(host) = self.find(va, bytes as usize, Access::Write)?
        {
            let found = host::compare_exchange(host, bytes, expected, new);
            return found.map_err(|fault| MemFault { va, ..fault });
        }
        self.check_write(va, bytes as usize)?;
        let _alone = SPLIT.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.load_word(va, bytes)?;
        if old == expected {
            self.write(va, &new.to_le_bytes()[..bytes as usize])?;
        }
        Ok(old)
    }

    fn update(
        &mut self,
        va: u64,
        bytes: u32,
        change: impl Fn(u64) -> u64,
    ) -> Result<u64, MemFault> {
        let len = bytes as usize;
        if !Self::is_split(va, len)
            && let Target::Host(host) = self.find(va, len, Access::Write)?
        {
            return Flat.update(host, bytes, change).map_err(|fault| MemFault { va, ..fault });
        }
        self.check_write(va, len)?;
        let _alone = SPLIT.lock().unwrap_or_else(PoisonError::into_inner);
        // Once each: a device may give another value whenever it is asked.
        let old = self.load_word(va, bytes)?;
        self.write(va, &change(old).to_le_bytes()[..len])?;
        Ok(old)
    }

    fn compare_exchange128(
        &mut self,
        va: u64,
        expected: u128,
        new: u128,
    ) -> Result<u128, MemFault> {
        if let Target::Host(host) = self.find(va, 16, Access::Write)? {
            let found = host::compare_exchange128(host, expected, new);
            return found.map_err(|fault| MemFault { va, ..fault });
        }
        let _alone = SPLIT.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.load(va)?;
        if old == expected {
            self.store(va, new)?;
        }
        Ok(old)
    }

    fn read(&mut self, va: u64, buffer: &mut [u8]) -> Result<(), MemFault> {
        self.parts(va, buffer.len(), Access::Read, |phys, target, part| {
            match target {
                Target::Host(host) => host::copy_in(host, &mut buffer[part])?,
                Target::Nowhere => buffer[part].fill(0xff),
                Target::Io(pa) => {
                    for (at, unit) in io_units(part.len(), pa) {
                        let value = phys.io().read(pa + at as u64, unit).to_le_bytes();
                        let to = part.start + at;
                        buffer[to..to + unit as usize].copy_from_slice(&value[..unit as usize]);
                    }
                }
            }
            Ok(())
        })
    }

    fn write(&mut self, va: u64, bytes: &[u8]) -> Result<(), MemFault> {
        self.parts(va, bytes.len(), Access::Write, |phys, target, part| {
            match target {
                Target::Host(host) => host::copy_out(host, &bytes[part])?,
                Target::Nowhere => {}
                Target::Io(pa) => {
                    for (at, unit) in io_units(part.len(), pa) {
                        let mut value = [0; 8];
                        let from = part.start + at;
                        value[..unit as usize].copy_from_slice(&bytes[from..from + unit as usize]);
                        phys.io().write(pa + at as u64, unit, u64::from_le_bytes(value));
                    }
                }
            }
            Ok(())
        })
    }

    fn check_write(&mut self, va: u64, len: usize) -> Result<(), MemFault> {
        self.parts(va, len, Access::Write, |_, _, _| Ok(()))
    }

    fn locate(&mut self, va: u64) -> Result<u64, MemFault> {
        match self.find(va, 1, Access::Fetch)? {
            Target::Host(host) => {
                let locals = usize::from(!self.lasts(va));
                if self.located[locals].len() >= MOST_LOCATED {
                    self.located[locals].clear();
                    self.era = self.begin_era();
                    self.moved = Moved::All;
                }
                self.located[locals].insert(va / PAGE);
                Ok(self.phys.at_host(host))
            }
            // Code cannot be fetched from a device.
            Target::Nowhere | Target::Io(_) => {
                Err(MemFault { va, access: Access::Fetch, cause: Cause::Bus })
            }
        }
    }

    fn locate_write(&mut self, va: u64) -> Result<u64, MemFault> {
        let page = self.walker.walk(&self.phys, va, Access::Write, self.space);
        let page = page.map_err(|code| MemFault {
            va,
            access: Access::Write,
            cause: Cause::Refused(code),
        })?;
        Ok(self.phys.masked(page.pa) + va % PAGE)
    }

    fn forget_code(&mut self, va: u64) {
        if let Ok(pa) = self.locate_write(va) {
            self.phys.wrote(pa..pa + 1);
        }
    }

    fn set_space(&mut self, space: u8) {
        self.space = space;
    }

    fn space(&self) -> u8 {
        self.space
    }

    fn flush(&mut self, globals: bool) {
        self.tlb.flush(globals);
        self.located[1].clear();
        self.era = self.begin_era();
        if globals {
            let era = self.begin_era();
            self.others.iter_mut().for_each(|other| other.flush(true, era));
            self.located[0].clear();
            self.large.clear();
        }
        self.moved = self.moved.max(if globals { Moved::All } else { Moved::Locals });
    }

    fn flush_page(&mut self, va: u64) {
        if self.is_large(va) {
            // Which entries are parts of the large page is not known.
            return self.flush(true);
        }
        self.tlb.flush_page(va);
        // It may be a global one.
        self.others.iter_mut().for_each(|other| other.tlb.flush_page(va));
        let page = va / PAGE;
        // A block may begin on the page before.
        let pages = [page.wrapping_sub(1), page];
        let [global, local] = &mut self.located;
        if pages.iter().any(|page| global.contains(page)) {
            self.moved = Moved::All;
            global.clear();
        } else if pages.iter().any(|page| local.contains(page)) {
            self.moved = self.moved.max(Moved::Locals);
        } else {
            return;
        }
        local.clear();
        self.era = self.begin_era();
    }

    fn lasts(&self, va: u64) -> bool {
        self.tlb.fetches_global(self.space, va)
    }

    fn era(&self) -> u64 {
        self.era
    }

    fn has_moved(&self) -> bool {
        self.moved != Moved::Nothing
    }

    fn take_moved(&mut self) -> Moved {
        std::mem::replace(&mut self.moved, Moved::Nothing)
    }

    fn fill(&mut self, va: u64, bytes: usize, access: Access) -> bool {
        !Self::is_split(va, bytes) && matches!(self.find(va, bytes, access), Ok(Target::Host(_)))
    }

    fn tlb(&self) -> usize {
        self.tlb.address(self.space)
    }
}
