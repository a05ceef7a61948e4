//! The guest's memory: ranges of Mynah's own address space, at the addresses the guest uses.
//!
//! [`Space`] knows which ranges are the guest's and never maps over any other. The host's
//! protection of a page differs from the guest's in two ways: nothing is executable, and a page
//! that code was translated from is not writable, until a write to it has told the engine.

use crate::{Errno, host};
use mynah_engine::{CodeSource, Watch};
use mynah_mem::{Access, Cause, Flat, MemFault, Memory as _, PAGE, Unit};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Write faults on a page after which its writes are no longer caught.
const MAX_FAULTS: u8 = 16;

const READ: u32 = libc::PROT_READ as u32;
const WRITE: u32 = libc::PROT_WRITE as u32;
const EXEC: u32 = libc::PROT_EXEC as u32;
const ANONYMOUS: i32 = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_NORESERVE;

type Invalidate = Box<dyn Fn(Range<u64>) + Send + Sync>;

/// The guest's memory.
#[derive(Default)]
pub(crate) struct Space {
    table: Mutex<Table>,
    /// Number of pages that the host protects though the guest may write them.
    caught: AtomicUsize,
    /// Tells the engine that code may have changed. Called without the table's lock, since the
    /// engine asks for it under its own.
    invalidate: OnceLock<Invalidate>,
}

/// What the guest has mapped. Whoever holds its lock may change it and the host's mappings.
#[derive(Default)]
pub(crate) struct Table {
    /// By first address; they do not overlap.
    areas: BTreeMap<u64, Area>,
    /// Pages that code was translated from, by address.
    pages: BTreeMap<u64, Page>,
    /// From the data segment's end as loaded to its present end.
    brk: Range<u64>,
}

/// A range of the guest's memory that is alike throughout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Area {
    /// Behind its last address.
    pub end: u64,
    /// PROT_READ, PROT_WRITE, PROT_EXEC as the guest set them.
    pub prot: u32,
    /// Whether others may write it (MAP_SHARED).
    pub shared: bool,
}

#[derive(Clone, Copy, Default)]
struct Page {
    /// The host protects it though the guest may write it.
    caught: bool,
    /// How often the guest has written it while it was caught.
    faults: u8,
}

/// What a refused write comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// The page was watched; it can be written now.
    Watched,
    /// The guest may write there: another thread has changed something meanwhile.
    Allowed,
    /// The guest may not write there.
    Denied,
}

/// How the host protects what the guest protects as `prot`. Nothing can be written or executed
/// that cannot be read.
fn host_prot(prot: u32) -> u32 {
    let read = if prot & (READ | WRITE | EXEC) != 0 { READ } else { 0 };
    read | prot & WRITE
}

fn page_range(va: u64, len: u64) -> Result<Range<u64>, Errno> {
    if !va.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let len = len.checked_next_multiple_of(PAGE).ok_or(Errno::ENOMEM)?;
    let end = va.checked_add(len).ok_or(Errno::ENOMEM)?;
    Ok(va..end)
}

fn host_mmap(
    range: &Range<u64>,
    prot: u32,
    flags: i32,
    fd: i32,
    offset: u64,
) -> Result<u64, Errno> {
    let len = range.end - range.start;
    let args = [range.start, len, prot.into(), flags as u64, fd as u64, offset];
    host::call(libc::SYS_mmap, args)
}

fn host_munmap(range: &Range<u64>) -> Result<u64, Errno> {
    host::call(libc::SYS_munmap, [range.start, range.end - range.start, 0, 0, 0, 0])
}

fn host_mprotect(range: &Range<u64>, prot: u32) -> Result<u64, Errno> {
    let args = [range.start, range.end - range.start, prot.into(), 0, 0, 0];
    host::call(libc::SYS_mprotect, args)
}

impl Table {
    /// The area that holds `va`, and its start.
    pub(crate) fn area(&self, va: u64) -> Option<(u64, Area)> {
        let (&start, &area) = self.areas.range(..=va).next_back()?;
        (va < area.end).then_some((start, area))
    }

    /// The areas within `range`, cut to it.
    pub(crate) fn areas(&self, range: Range<u64>) -> Vec<(Range<u64>, Area)> {
        let first = self.area(range.start).map_or(range.start, |(start, _)| start);
        let cut = |(&start, &area): (&u64, &Area)| {
            (start.max(range.start)..area.end.min(range.end), area)
        };
        self.areas.range(first..range.end).map(cut).collect()
    }

    /// The parts of `range` that are not the guest's.
    fn gaps(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for (part, _) in self.areas(range.clone()) {
            if at < part.start {
                gaps.push(at..part.start);
            }
            at = part.end;
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    fn owns(&self, range: &Range<u64>) -> bool {
        self.gaps(range).is_empty()
    }

    /// Makes `at` a boundary between areas.
    fn split(&mut self, at: u64) {
        if let Some((start, area)) = self.area(at)
            && start < at
        {
            self.areas.insert(start, Area { end: at, ..area });
            self.areas.insert(at, area);
        }
    }

    fn remove(&mut self, range: &Range<u64>) {
        self.split(range.start);
        self.split(range.end);
        let inside: Vec<u64> = self.areas.range(range.clone()).map(|(&start, _)| start).collect();
        for start in inside {
            self.areas.remove(&start);
        }
    }

    fn insert(&mut self, range: &Range<u64>, prot: u32, shared: bool) {
        self.remove(range);
        let mut area = Area { end: range.end, prot: prot & (READ | WRITE | EXEC), shared };
        let mut start = range.start;
        let alike = |other: &Area| other.prot == area.prot && other.shared == shared;
        if let Some((&before, other)) = self.areas.range(..start).next_back()
            && other.end == start
            && alike(other)
        {
            start = before;
        }
        if let Some(other) = self.areas.get(&range.end).copied()
            && alike(&other)
        {
            self.areas.remove(&range.end);
            area.end = other.end;
        }
        self.areas.insert(start, area);
    }

    /// Makes sure that all of `range` can be replaced: what is not the guest's must be free. Maps
    /// the gaps, inaccessible, so that they stay free of others' mappings.
    fn claim(&mut self, range: &Range<u64>) -> Result<(), Errno> {
        let mut done = Vec::new();
        for gap in self.gaps(range) {
            let flags = ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            match host_mmap(&gap, 0, flags, -1, 0) {
                Ok(_) => done.push(gap),
                Err(errno) => {
                    for gap in &done {
                        _ = host_munmap(gap);
                    }
                    let taken = errno == Errno::EEXIST;
                    return Err(if taken { Errno::ENOMEM } else { errno });
                }
            }
        }
        Ok(())
    }
}

impl Space {
    /// Sets whom to tell that code may have changed.
    pub(crate) fn connect(&self, invalidate: impl Fn(Range<u64>) + Send + Sync + 'static) {
        // Set once: a space has one engine.
        _ = self.invalidate.set(Box::new(invalidate));
    }

    fn tell(&self, range: Range<u64>) {
        if let Some(invalidate) = self.invalidate.get() {
            invalidate(range);
        }
    }

    /// The table, locked. The engine must not be called under it.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the translated pages in `range`, undoing their protection; true if there were any.
    fn release(&self, table: &mut Table, range: &Range<u64>) -> bool {
        let pages: Vec<(u64, Page)> =
            table.pages.range(range.clone()).map(|(&va, &page)| (va, page)).collect();
        for &(va, page) in &pages {
            table.pages.remove(&va);
            if page.caught {
                self.caught.fetch_sub(1, Ordering::AcqRel);
                if let Some((_, area)) = table.area(va) {
                    _ = host_mprotect(&(va..va + PAGE), host_prot(area.prot));
                }
            }
        }
        !pages.is_empty()
    }

    /// mmap(2).
    pub(crate) fn mmap(
        &self,
        va: u64,
        len: u64,
        prot: u32,
        flags: i32,
        fd: i32,
        offset: u64,
    ) -> Result<u64, Errno> {
        let fixed = flags & libc::MAP_FIXED != 0 && flags & libc::MAP_FIXED_NOREPLACE == 0;
        if len == 0 || fixed && !va.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let wanted = page_range(if fixed { va } else { va & !(PAGE - 1) }, len)?;
        let shared = flags & libc::MAP_TYPE != libc::MAP_PRIVATE;
        let mut table = self.table();
        let mut told = false;
        if fixed {
            table.claim(&wanted)?;
            told = self.release(&mut table, &wanted);
        }
        let mapped = host_mmap(&wanted, host_prot(prot), flags, fd, offset);
        let result = match mapped {
            Ok(at) => {
                let range = at..at + (wanted.end - wanted.start);
                told |= self.release(&mut table, &range);
                table.insert(&range, prot, shared);
                Ok(at)
            }
            Err(errno) => {
                if fixed {
                    for gap in table.gaps(&wanted) {
                        _ = host_munmap(&gap);
                    }
                }
                Err(errno)
            }
        };
        drop(table);
        if told {
            self.tell(wanted);
        }
        result
    }

    /// munmap(2); what is not the guest's stays.
    pub(crate) fn munmap(&self, va: u64, len: u64) -> Result<u64, Errno> {
        let range = page_range(va, len)?;
        if range.is_empty() {
            return Err(Errno::EINVAL);
        }
        let mut table = self.table();
        let told = self.release(&mut table, &range);
        for (part, _) in table.areas(range.clone()) {
            host_munmap(&part)?;
            table.remove(&part);
        }
        drop(table);
        if told {
            self.tell(range);
        }
        Ok(0)
    }

    /// mprotect(2).
    pub(crate) fn mprotect(&self, va: u64, len: u64, prot: u32) -> Result<u64, Errno> {
        let range = page_range(va, len)?;
        if range.is_empty() {
            return Ok(0);
        }
        let mut table = self.table();
        if !table.owns(&range) {
            return Err(Errno::ENOMEM);
        }
        let told = self.release(&mut table, &range);
        let result = host_mprotect(&range, host_prot(prot));
        if result.is_ok() {
            for (part, area) in table.areas(range.clone()) {
                table.insert(&part, prot, area.shared);
            }
        }
        drop(table);
        if told {
            self.tell(range);
        }
        result
    }

    /// mremap(2).
    pub(crate) fn mremap(
        &self,
        va: u64,
        len: u64,
        new_len: u64,
        flags: u64,
        new_va: u64,
    ) -> Result<u64, Errno> {
        let fixed = flags & libc::MREMAP_FIXED as u64 != 0;
        let old = page_range(va, len)?;
        let size = new_len.checked_next_multiple_of(PAGE).ok_or(Errno::ENOMEM)?;
        if size == 0 {
            return Err(Errno::EINVAL);
        }
        let mut table = self.table();
        let area = match table.area(va) {
            Some((_, area)) if table.owns(&old) => area,
            _ => return Err(Errno::EFAULT),
        };
        let mut told = self.release(&mut table, &old);
        let mut target = new_va..new_va;
        if fixed {
            target = page_range(new_va, size)?;
            table.claim(&target)?;
            told |= self.release(&mut table, &target);
        }
        let args = [va, len, new_len, flags, new_va, 0];
        let result = host::call(libc::SYS_mremap, args);
        match result {
            Ok(at) => {
                if flags & libc::MREMAP_DONTUNMAP as u64 == 0 {
                    table.remove(&old);
                }
                table.insert(&(at..at + size), area.prot, area.shared);
            }
            Err(_) => {
                for gap in table.gaps(&target) {
                    _ = host_munmap(&gap);
                }
            }
        }
        drop(table);
        if told {
            self.tell(old);
            self.tell(target);
        }
        result
    }

    /// Declares where the data segment ends as loaded.
    pub(crate) fn set_brk(&self, va: u64) {
        self.table().brk = va..va;
    }

    /// brk(2): the data segment's end, moved to `va` if that is possible.
    pub(crate) fn brk(&self, va: u64) -> u64 {
        let mut table = self.table();
        let Range { start, end } = table.brk;
        if va < start || va >= mynah_loader::Elf::TOP {
            return end;
        }
        let (top, new_top) = (end.next_multiple_of(PAGE), va.next_multiple_of(PAGE));
        if new_top > top {
            let more = top..new_top;
            let flags = ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            if host_mmap(&more, READ | WRITE, flags, -1, 0).is_err() {
                return end;
            }
            table.insert(&more, READ | WRITE, false);
        } else if new_top < top {
            drop(table);
            _ = self.munmap(new_top, top - new_top);
            table = self.table();
        }
        table.brk.end = va;
        va
    }

    /// The data segment beyond what was loaded.
    pub(crate) fn heap(&self) -> Range<u64> {
        self.table().brk.clone()
    }

    /// Takes note of a mapping that the host has made for the guest (shmat(2)).
    pub(crate) fn adopt(&self, range: &Range<u64>, prot: u32) {
        self.table().insert(range, prot, true);
    }

    /// Leaves `range` as it is and disowns it, so that the host maps nothing there.
    pub(crate) fn abandon(&self, range: &Range<u64>) {
        self.table().remove(range);
    }

    /// Forgets mappings that the host has removed (shmdt(2)).
    pub(crate) fn disown(&self, range: &Range<u64>) {
        let mut table = self.table();
        let told = self.release(&mut table, range);
        table.remove(range);
        drop(table);
        if told {
            self.tell(range.clone());
        }
    }

    /// Whether all pages from `va` on are the guest's.
    pub(crate) fn owns(&self, va: u64, len: u64) -> bool {
        let start = va & !(PAGE - 1);
        va.checked_add(len).is_some_and(|end| self.table().owns(&(start..end)))
    }

    /// Forgets translations of code in `len` bytes at `va`, because it may have changed.
    pub(crate) fn changed(&self, va: u64, len: u64) {
        let range = va & !(PAGE - 1)..va.saturating_add(len);
        let told = self.release(&mut self.table(), &range);
        if told {
            self.tell(range);
        }
    }

    /// The value at `va`.
    pub(crate) fn load<U: Unit>(&self, va: u64) -> Result<U, Errno> {
        Ok(Flat.load(va)?)
    }

    /// Stores `value` at `va`.
    pub(crate) fn store<U: Unit>(&self, va: u64, value: U) -> Result<(), Errno> {
        self.prepare(va, size_of::<U>() as u64);
        Ok(Flat.store(va, value)?)
    }

    /// Copies guest memory at `va` into `buffer`.
    pub(crate) fn read(&self, va: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        Ok(Flat.read(va, buffer)?)
    }

    /// Copies `bytes` into guest memory at `va`.
    pub(crate) fn write(&self, va: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.prepare(va, bytes.len() as u64);
        Ok(Flat.write(va, bytes)?)
    }

    /// The string at `va`, at most 128 KiB long.
    pub(crate) fn cstr(&self, va: u64) -> Result<CString, Errno> {
        let mut text = Vec::new();
        let mut at = va;
        while text.len() < 0x20000 {
            // Up to the page's end, so that a string just before a hole can be read.
            let mut chunk = [0; 256];
            let len = (PAGE - at % PAGE).min(256) as usize;
            self.read(at, &mut chunk[..len])?;
            if let Some(end) = chunk[..len].iter().position(|&byte| byte == 0) {
                text.extend_from_slice(&chunk[..end]);
                return CString::new(text).map_err(|_| Errno::EINVAL);
            }
            text.extend_from_slice(&chunk[..len]);
            at = at.wrapping_add(len as u64);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Whether any page is protected to catch writes.
    pub(crate) fn watches(&self) -> bool {
        self.caught.load(Ordering::Acquire) != 0
    }

    /// Lets `len` bytes at `va` be written by the kernel or by Mynah on the guest's behalf.
    pub(crate) fn prepare(&self, va: u64, len: u64) {
        if !self.watches() || len == 0 {
            return;
        }
        let range = va & !(PAGE - 1)..va.saturating_add(len);
        let pages: Vec<u64> = {
            let table = self.table();
            table.pages.range(range).filter(|(_, p)| p.caught).map(|(va, _)| *va).collect()
        };
        for page in pages {
            self.write_refused(page);
        }
    }

    /// Lets all pages be written; false if none was watched.
    pub(crate) fn unwatch_all(&self) -> bool {
        let any = self.watches();
        self.prepare(0, u64::MAX);
        any
    }

    /// Deals with a write at `va` that the host has refused.
    pub(crate) fn write_refused(&self, va: u64) -> Refused {
        let start = va & !(PAGE - 1);
        let mut table = self.table();
        let Some((_, area)) = table.area(va) else { return Refused::Denied };
        if area.prot & WRITE == 0 {
            return Refused::Denied;
        }
        let Some(page) = table.pages.get_mut(&start).filter(|page| page.caught) else {
            return Refused::Allowed;
        };
        page.caught = false;
        page.faults = page.faults.saturating_add(1);
        self.caught.fetch_sub(1, Ordering::AcqRel);
        _ = host_mprotect(&(start..start + PAGE), host_prot(area.prot));
        drop(table);
        self.tell(start..start + PAGE);
        Refused::Watched
    }

    /// Whether the guest has mapped `va`.
    pub(crate) fn is_mapped(&self, va: u64) -> bool {
        self.table().area(va).is_some()
    }
}

fn executable(table: &Table, va: u64) -> Result<Area, MemFault> {
    let fault = |cause| MemFault { va, access: Access::Fetch, cause };
    match table.area(va) {
        None => Err(fault(Cause::Unmapped)),
        Some((_, area)) if area.prot & EXEC == 0 => Err(fault(Cause::Protected)),
        Some((_, area)) => Ok(area),
    }
}

impl CodeSource for Space {
    fn watch(&self, range: Range<u64>) -> Result<Watch, MemFault> {
        let start = range.start & !(PAGE - 1);
        let mut table = self.table();
        let area = executable(&table, range.start)?;
        let page = table.pages.entry(start).or_default();
        // What is shared can be written through another mapping.
        if area.shared || page.faults >= MAX_FAULTS {
            return Ok(Watch::Compare);
        }
        if area.prot & WRITE != 0 && !page.caught {
            if host_mprotect(&(start..start + PAGE), READ).is_err() {
                return Ok(Watch::Compare);
            }
            page.caught = true;
            self.caught.fetch_add(1, Ordering::AcqRel);
        }
        Ok(Watch::Caught)
    }

    fn fetch(&self, va: u64, buffer: &mut [u8]) -> Result<usize, MemFault> {
        let table = self.table();
        let mut end = executable(&table, va)?.end;
        let wanted = va.saturating_add(buffer.len() as u64);
        while end < wanted
            && let Ok(area) = executable(&table, end)
        {
            end = area.end;
        }
        let len = (end.min(wanted) - va) as usize;
        match Flat.read(va, &mut buffer[..len]) {
            Ok(()) => Ok(len),
            Err(fault) => {
                // Beyond a file's end: what lies on the first page is enough.
                let first = (PAGE - va % PAGE).min(len as u64) as usize;
                let fault = MemFault { access: Access::Fetch, ..fault };
                Flat.read(va, &mut buffer[..first]).map_err(|_| fault)?;
                Ok(first)
            }
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        for (&start, area) in &self.table().areas {
            _ = host_munmap(&(start..area.end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    const FIXED: i32 = PRIVATE | libc::MAP_FIXED;

    /// Maps pages where the host puts nothing of its own, so that holes stay free.
    fn map(space: &Space, pages: u64, prot: u32) -> u64 {
        static NEXT: AtomicUsize = AtomicUsize::new(0x20_0000_0000);
        mynah_mem::host::signal::install(None);
        let at = NEXT.fetch_add(1 << 30, Ordering::Relaxed) as u64;
        let flags = PRIVATE | libc::MAP_FIXED_NOREPLACE;
        space.mmap(at, pages * PAGE, prot, flags, -1, 0).expect("memory")
    }

    #[test]
    fn ranges_are_split_and_joined() {
        let space = Space::default();
        let at = map(&space, 8, READ | WRITE);
        let areas = || space.table().areas(at..at + 8 * PAGE);
        assert_eq!(areas().len(), 1);
        space.mprotect(at + 2 * PAGE, PAGE, READ).expect("its own");
        assert_eq!(areas().len(), 3);
        assert_eq!(areas()[1].1, Area { end: at + 3 * PAGE, prot: READ, shared: false });
        space.mprotect(at + 2 * PAGE, PAGE, READ | WRITE).expect("its own");
        assert_eq!(areas().len(), 1);
        space.munmap(at + 4 * PAGE, PAGE).expect("its own");
        assert_eq!(areas().len(), 2);
        assert!(!space.owns(at, 8 * PAGE));
        assert_eq!(space.mprotect(at, 8 * PAGE, READ), Err(Errno::ENOMEM));
        assert_eq!(space.load::<u8>(at + 4 * PAGE), Err(Errno::EFAULT));
        space.mmap(at + 3 * PAGE, 3 * PAGE, READ, FIXED, -1, 0).expect("its own and a gap");
        assert!(space.owns(at, 8 * PAGE));
    }

    #[test]
    fn mynahs_own_memory_is_never_replaced() {
        let space = Space::default();
        let own = vec![7_u8; 16 * PAGE as usize];
        let at = (own.as_ptr() as u64).next_multiple_of(PAGE);
        let result = space.mmap(at, 4 * PAGE, READ, FIXED, -1, 0);
        assert_eq!(result, Err(Errno::ENOMEM));
        assert_eq!(space.munmap(at, 4 * PAGE), Ok(0));
        assert_eq!(space.mprotect(at, 4 * PAGE, 0), Err(Errno::ENOMEM));
        let guest = map(&space, 1, READ);
        let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
        assert_eq!(space.mremap(guest, PAGE, PAGE, flags, at), Err(Errno::ENOMEM));
        assert!(own.iter().all(|&byte| byte == 7));
    }

    #[test]
    fn the_data_segment_grows_and_shrinks() {
        let space = Space::default();
        let start = map(&space, 64, 0);
        space.munmap(start, 64 * PAGE).expect("its own");
        space.set_brk(start + 5);
        assert_eq!(space.brk(0), start + 5);
        assert_eq!(space.brk(start + 3 * PAGE), start + 3 * PAGE);
        space.store(start + 2 * PAGE, 5_u32).expect("it is writable");
        assert_eq!(space.brk(start + PAGE), start + PAGE);
        assert_eq!(space.load::<u32>(start + 2 * PAGE), Err(Errno::EFAULT));
        assert_eq!(space.brk(start + 3 * PAGE), start + 3 * PAGE);
        assert_eq!(space.load::<u32>(start + 2 * PAGE), Ok(0));
        assert_eq!(space.brk(u64::MAX), start + 3 * PAGE);
    }

    #[test]
    fn writes_to_code_are_caught_until_there_are_too_many() {
        let space = std::sync::Arc::new(Space::default());
        let told = std::sync::Arc::new(AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&told);
        space.connect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let at = map(&space, 2, READ | WRITE | EXEC);
        for n in 1..=usize::from(MAX_FAULTS) {
            assert_eq!(space.watch(at..at + 4), Ok(Watch::Caught));
            assert!(Flat.store(at, n as u64).is_err());
            assert_eq!(space.write_refused(at), Refused::Watched);
            assert_eq!(told.load(Ordering::Relaxed), n);
            assert_eq!(Flat.store(at, n as u64), Ok(()));
            assert_eq!(space.write_refused(at), Refused::Allowed);
        }
        assert_eq!(space.watch(at..at + 4), Ok(Watch::Compare));
        assert_eq!(space.watch(at + PAGE..at + PAGE + 4), Ok(Watch::Caught));
        space.store(at + PAGE, 1_u8).expect("Mynah's writes are the guest's");
        assert!(!space.watches());
        space.mprotect(at, 2 * PAGE, READ | EXEC).expect("its own");
        assert_eq!(space.write_refused(at), Refused::Denied);
    }

    #[test]
    fn only_executable_bytes_are_fetched() {
        let space = Space::default();
        let at = map(&space, 3, READ | WRITE);
        space.mprotect(at, 2 * PAGE, READ | EXEC).expect("its own");
        let mut buffer = [0; 16];
        assert_eq!(space.fetch(at + PAGE - 4, &mut buffer), Ok(16));
        assert_eq!(space.fetch(at + 2 * PAGE - 4, &mut buffer), Ok(4));
        let refused = |va, cause| Err(MemFault { va, access: Access::Fetch, cause });
        let data = at + 2 * PAGE;
        assert_eq!(space.fetch(data, &mut buffer), refused(data, Cause::Protected));
        assert_eq!(
            space.watch(data..data + 4),
            refused(data, Cause::Protected).map(|_: usize| Watch::Caught)
        );
        space.munmap(at, 3 * PAGE).expect("its own");
        assert_eq!(space.fetch(at, &mut buffer), refused(at, Cause::Unmapped));
    }
}
