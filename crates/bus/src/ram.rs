//! Guest RAM as devices see it.
//!
//! `unsafe` is here because RAM is address space that this module reserves from the host: each
//! region lies between two guards that nothing may touch, so that an access that runs over its end
//! faults in place of reaching what the host keeps there.
#![expect(unsafe_code, reason = "reserves address space for RAM")]

use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::{Arc, OnceLock};
use vm_memory::bitmap::{Bitmap, BitmapSlice, WithBitmapSlice};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
};

pub use vm_memory;

/// Bytes of address space before and after each region in which every access faults.
pub const GUARD: usize = 1 << 21;

/// Where the host puts regions: at multiples of its large pages.
const ALIGN: usize = 1 << 21;

/// The granule of regions.
const PAGE: u64 = 4096;

/// Guest RAM as `vm-memory` has it, for code that is generic over that.
pub type Memory = GuestMemoryMmap<Written>;

/// A region of RAM.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// The guest-physical address of its first byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// Its first byte on the host. It stays valid as long as any clone of the [`Ram`].
    pub host: *mut u8,
}

// SAFETY: a `Region` only says where memory is; whoever accesses it answers for how.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// Guest RAM. Clones are the same RAM.
///
/// Devices read and write it through [`vm_memory::Bytes`] on [`Ram::memory`], or through the
/// shorthands here, which the guest's addresses may make fail, but never go astray. Every write is
/// reported to the hook, if there is one: the translator must learn of code that a device
/// overwrites.
#[derive(Clone)]
pub struct Ram {
    memory: Memory,
    hook: Hook,
}

/// Why RAM could not be made.
#[derive(Debug)]
pub enum RamError {
    /// A region is empty, overlaps another, is not made of whole pages, or lies beyond the
    /// 52 bits of physical addresses.
    Layout(Range<u64>),
    /// The host gave no address space for so many bytes.
    Host(u64, io::Error),
}

/// An access to physical addresses that are not all RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotRam {
    /// The first address of the access.
    pub pa: u64,
    /// Its bytes.
    pub len: u64,
}

/// What is told of writes: the physical addresses written.
type Hook = Arc<OnceLock<Box<dyn Fn(Range<u64>) + Send + Sync>>>;

impl Ram {
    /// RAM at `ranges` of guest-physical addresses, in any order. It reads as zeros; the host
    /// provides each page when it is first touched.
    pub fn new(ranges: &[Range<u64>]) -> Result<Ram, RamError> {
        let hook = Hook::default();
        let mut sorted = ranges.to_vec();
        sorted.sort_by_key(|range| range.start);
        let mut free = 0;
        let mut regions = Vec::new();
        for range in sorted {
            let whole = range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
            if range.is_empty() || !whole || range.start < free || range.end > 1 << 52 {
                return Err(RamError::Layout(range));
            }
            free = range.end;
            let len = range.end - range.start;
            let reserve = |len| Reservation::new(usize::try_from(len).map_err(io::Error::other)?);
            let reservation = reserve(len).map_err(|error| RamError::Host(len, error))?;
            let (host, size) = (reservation.base, reservation.len);
            let written = Written { start: range.start, hook: hook.clone(), _keep: reservation };
            let builder = MmapRegionBuilder::new_with_bitmap(size, written)
                .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
                .with_mmap_flags(libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_NORESERVE);
            // SAFETY: `host` and `size` are the reservation's memory, which is readable and
            // writable, and which the region keeps by its bitmap for as long as it lives.
            let region = unsafe { builder.with_raw_mmap_pointer(host) }
                .build()
                .map_err(|error| RamError::Host(len, io::Error::other(error)))?;
            let region = GuestRegionMmap::new(region, GuestAddress(range.start));
            regions.push(region.ok_or(RamError::Layout(range))?);
        }
        let memory = if regions.is_empty() {
            Memory::new()
        } else {
            let all = ranges[0].start..free;
            Memory::from_regions(regions).map_err(|_| RamError::Layout(all))?
        };
        Ok(Ram { memory, hook })
    }

    /// RAM of `len` bytes at address 0.
    pub fn flat(len: u64) -> Result<Ram, RamError> {
        Ram::new(std::slice::from_ref(&(0..len)))
    }

    /// The RAM as `vm-memory` has it.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The regions, in the order of addresses.
    pub fn regions(&self) -> Vec<Region> {
        let region = |region: &GuestRegionMmap<Written>| Region {
            start: region.start_addr().0,
            len: region.len(),
            host: region.as_ptr(),
        };
        self.memory.iter().map(region).collect()
    }

    /// Bytes of RAM.
    pub fn len(&self) -> u64 {
        self.memory.iter().map(|region| region.len()).sum()
    }

    /// Whether there is no RAM.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all of `len` bytes at `pa` are RAM.
    pub fn contains(&self, pa: u64, len: u64) -> bool {
        usize::try_from(len).is_ok_and(|len| self.memory.check_range(GuestAddress(pa), len))
    }

    /// Has `hook` called after every write by a device, with the range of physical addresses it
    /// wrote. Only the first hook counts; `false` for another.
    pub fn on_write(&self, hook: impl Fn(Range<u64>) + Send + Sync + 'static) -> bool {
        self.hook.set(Box::new(hook)).is_ok()
    }

    /// Fills `buffer` from `pa`. All of it is RAM, or nothing is read.
    pub fn read(&self, pa: u64, buffer: &mut [u8]) -> Result<(), NotRam> {
        use vm_memory::Bytes;
        let error = NotRam { pa, len: buffer.len() as u64 };
        if !self.contains(pa, error.len) {
            return Err(error);
        }
        self.memory.read_slice(buffer, GuestAddress(pa)).map_err(|_| error)
    }

    /// Writes `bytes` at `pa`. All of it is RAM, or nothing is written.
    pub fn write(&self, pa: u64, bytes: &[u8]) -> Result<(), NotRam> {
        use vm_memory::Bytes;
        let error = NotRam { pa, len: bytes.len() as u64 };
        if !self.contains(pa, error.len) {
            return Err(error);
        }
        self.memory.write_slice(bytes, GuestAddress(pa)).map_err(|_| error)
    }
}

impl fmt::Debug for Ram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.regions()).finish()
    }
}

impl fmt::Display for RamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RamError::Layout(range) => write!(f, "there can be no RAM at {range:#x?}"),
            RamError::Host(len, error) => {
                write!(f, "the host cannot reserve {} MiB of guest RAM: {error}", len >> 20)
            }
        }
    }
}

impl std::error::Error for RamError {}

impl fmt::Display for NotRam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} bytes at {:#x} are not all RAM", self.len, self.pa)
    }
}

impl std::error::Error for NotRam {}

/// Reports the writes to a region to the hook, as its `vm-memory` bitmap.
pub struct Written {
    start: u64,
    hook: Hook,
    _keep: Reservation,
}

/// Part of a [`Written`].
#[derive(Clone)]
pub struct WrittenSlice<'a> {
    start: u64,
    hook: &'a Hook,
}

fn report(hook: &Hook, start: u64, len: usize) {
    if let Some(hook) = hook.get()
        && len > 0
    {
        hook(start..start.saturating_add(len as u64));
    }
}

impl<'a> WithBitmapSlice<'a> for Written {
    type S = WrittenSlice<'a>;
}

impl Bitmap for Written {
    fn mark_dirty(&self, offset: usize, len: usize) {
        report(&self.hook, self.start.wrapping_add(offset as u64), len);
    }

    /// Always: what is written is reported, not kept.
    fn dirty_at(&self, _: usize) -> bool {
        true
    }

    fn slice_at(&self, offset: usize) -> WrittenSlice<'_> {
        WrittenSlice { start: self.start.wrapping_add(offset as u64), hook: &self.hook }
    }
}

impl WithBitmapSlice<'_> for WrittenSlice<'_> {
    type S = Self;
}

impl BitmapSlice for WrittenSlice<'_> {}

impl Bitmap for WrittenSlice<'_> {
    fn mark_dirty(&self, offset: usize, len: usize) {
        report(self.hook, self.start.wrapping_add(offset as u64), len);
    }

    fn dirty_at(&self, _: usize) -> bool {
        true
    }

    fn slice_at(&self, offset: usize) -> Self {
        WrittenSlice { start: self.start.wrapping_add(offset as u64), hook: self.hook }
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({:#x})", self.start)
    }
}

impl fmt::Debug for WrittenSlice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrittenSlice({:#x})", self.start)
    }
}

/// Address space with memory in the middle and a guard on either side.
struct Reservation {
    whole: *mut u8,
    size: usize,
    base: *mut u8,
    len: usize,
}

// SAFETY: it only owns the address space; nothing is accessed through it.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// `len` bytes of memory, a multiple of the page size.
    fn new(len: usize) -> io::Result<Reservation> {
        let too_many = || io::Error::from(io::ErrorKind::OutOfMemory);
        let size = len.checked_add(2 * GUARD + ALIGN).ok_or_else(too_many)?;
        let flags = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the host's choice touches no other.
        let whole = unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_NONE, flags, -1, 0) };
        if whole == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let whole = whole.cast::<u8>();
        let base = whole.wrapping_add(GUARD);
        let base = base.wrapping_add(base.align_offset(ALIGN));
        let reservation = Reservation { whole, size, base, len };
        // SAFETY: `base` is at most `GUARD + ALIGN` into the mapping just made, so `len` bytes
        // there are within it.
        let done = unsafe { libc::mprotect(base.cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(reservation)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is this reservation's own, whole, and nothing refers to it: regions
        // keep their reservation.
        unsafe { libc::munmap(self.whole.cast(), self.size) };
    }
}

/// A log of writes, for tests of devices that do DMA.
#[derive(Clone, Default, Debug)]
pub struct WriteLog(Arc<Mutex<Vec<Range<u64>>>>);

impl WriteLog {
    /// A log of what devices write to `ram`, which must not have a hook yet.
    pub fn of(ram: &Ram) -> WriteLog {
        let log = WriteLog::default();
        let writes = log.0.clone();
        ram.on_write(move |range| writes.lock().push(range));
        log
    }

    /// The ranges written since the last call.
    pub fn take(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.0.lock())
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of ranges may be of one")]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn writes_are_reported_by_physical_address() {
        let ram = Ram::new(&[0x10_0000..0x20_0000, 0..0x1000]).expect("two regions");
        assert_eq!(ram.len(), 0x10_1000);
        let log = WriteLog::of(&ram);
        assert!(!ram.on_write(|_| {}));
        ram.write(0x10_0ffe, &[1, 2, 3]).expect("RAM");
        ram.memory().write_obj(0x1234_u16, GuestAddress(0x10)).expect("RAM");
        ram.memory()
            .store(7_u32, GuestAddress(0x20), std::sync::atomic::Ordering::SeqCst)
            .expect("RAM");
        let slice = ram.memory().get_slice(GuestAddress(0x10_0100), 0x100).expect("RAM");
        slice.subslice(0x10, 0x20).expect("within").copy_from(&[0_u8; 4]);
        assert_eq!(
            log.take(),
            [0x10_0ffe..0x10_1001, 0x10..0x12, 0x20..0x24, 0x10_0110..0x10_0114]
        );
        let mut back = [0; 4];
        ram.read(0x10_0ffd, &mut back).expect("RAM");
        assert_eq!((back, log.take().len()), ([0, 1, 2, 3], 0));
    }

    #[test]
    fn what_is_not_ram_is_refused_whole() {
        let ram = Ram::new(&[0..0x2000, 0x4000..0x5000]).expect("two regions");
        for (pa, len) in [(0x1fff, 2), (0x2000, 1), (0x5000, 1), (u64::MAX, 2), (0x1fff, 0x4000)] {
            let error = NotRam { pa, len };
            let mut buffer = vec![0; len as usize];
            assert_eq!(ram.read(pa, &mut buffer), Err(error));
            assert_eq!(ram.write(pa, &buffer), Err(error));
        }
        assert!(ram.contains(0x1000, 0x1000) && !ram.contains(0x1000, 0x1001));
        assert!(!ram.contains(0, u64::MAX));
    }

    #[test]
    fn layouts_that_make_no_sense_are_errors() {
        for ranges in [
            vec![0..0],
            vec![0..0x1001],
            vec![0..0x2000, 0x1000..0x3000],
            vec![0..1 << 53],
            vec![0..1 << 51],
        ] {
            let error = Ram::new(&ranges).expect_err("no such RAM");
            assert!(!error.to_string().is_empty());
        }
        assert!(Ram::new(&[]).expect("no RAM at all").is_empty());
    }

    #[test]
    fn regions_lie_between_guards_and_outlive_the_first_handle() {
        let ram = Ram::flat(0x3000).expect("one region");
        let region = ram.regions()[0];
        assert_eq!((region.start, region.len), (0, 0x3000));
        assert!(region.host.addr().is_multiple_of(ALIGN));
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let line = |address: usize| {
            maps.lines().find(|line| {
                let (range, _) = line.split_once(' ').expect("maps have columns");
                let (from, to) = range.split_once('-').expect("a range");
                let hex = |text| usize::from_str_radix(text, 16).expect("hex");
                (hex(from)..hex(to)).contains(&address)
            })
        };
        if !maps.is_empty() {
            let host = region.host.addr();
            for (address, rights) in [
                (host - GUARD, " ---p"),
                (host - 1, " ---p"),
                (host, " rw-p"),
                (host + 0x2fff, " rw-p"),
                (host + 0x3000, " ---p"),
                (host + 0x3000 + GUARD - 1, " ---p"),
            ] {
                assert!(line(address).is_some_and(|line| line.contains(rights)), "{address:x}");
            }
        }
        let memory = ram.memory().clone();
        drop(ram);
        memory.write_obj(1_u64, GuestAddress(0x2ff8)).expect("still there");
    }
}
