//! Guest-physical memory: RAM, ROM, and everything else, which is I/O.

use crate::tlb::Tlb;
use crate::{Access, PAGE, Unit, host};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Memory-mapped I/O: what answers at physical addresses that are no memory.
pub trait Io: Send + Sync {
    /// The value of `bytes` (1, 2, 4, 8) at `pa`.
    fn read(&self, pa: u64, bytes: u8) -> u64;
    /// Stores `value` of `bytes` (1, 2, 4, 8) at `pa`.
    fn write(&self, pa: u64, bytes: u8, value: u64);
}

/// A range of physical addresses that is memory. `start` and `len` are multiples of 4 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Ram {
    /// First physical address.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Host address of its first byte; the memory there stays mapped for as long as the [`Phys`]
    /// lives.
    pub host: u64,
    /// Whether the guest reaches it, before any [`Phys::set_rights`].
    pub rights: Rights,
    /// Host address of the ROM that is read where the guest cannot read the memory; without one
    /// there is I/O. It stays mapped as the memory does.
    pub behind: Option<u64>,
}

/// How a guest reaches an area of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Reads find the memory, and not what is behind it.
    pub read: bool,
    /// Writes go to the memory. Otherwise they go nowhere, or to I/O where reads do.
    pub write: bool,
}

impl Rights {
    fn bits(self) -> u8 {
        u8::from(self.read) | u8::from(self.write) << 1
    }

    /// Those of RAM.
    pub const ALL: Rights = Rights { read: true, write: true };
    /// Those of ROM.
    pub const READ: Rights = Rights { read: true, write: false };
    /// Those of memory that is switched off.
    pub const NONE: Rights = Rights { read: false, write: false };
}

/// What is behind a physical address: host addresses. Where nothing is read there is I/O; where
/// there is something to be read but not to be written, writes are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Backing {
    pub(crate) read: Option<u64>,
    pub(crate) write: Option<u64>,
}

/// Called with the range of physical addresses whose translated bytes are written otherwise than by
/// a vCPU's instruction.
type Written = Box<dyn Fn(Range<u64>) + Send + Sync>;

/// Guest-physical memory, as all vCPUs of a machine see it.
pub struct Phys {
    ram: Box<[Area]>,
    /// The largest of them, which is looked at first.
    main: usize,
    io: Arc<dyn Io>,
    /// Address bits that are there: bit 20 may be held at 0.
    mask: AtomicU64,
    tlbs: Mutex<Vec<Weak<Tlb>>>,
    written: Mutex<Option<Written>>,
    unwatched: Mutex<Option<Written>>,
    any_code: AtomicBool,
    any_monitor: AtomicBool,
}

struct Area {
    ram: Ram,
    /// Bit 0: reads find the memory, bit 1: writes do.
    rights: AtomicU8,
    /// For each page, which of its 64 lines of 64 bytes hold translated code.
    code: Box<[AtomicU64]>,
}

/// Bytes of a line, the unit in which code is known to be there.
const LINE: u64 = 64;

impl std::fmt::Debug for Phys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ram.iter().map(|area| area.ram)).finish()
    }
}

impl Phys {
    /// Memory as `ram` says, and `io` at all other addresses.
    ///
    /// # Panics
    /// If areas overlap or are not made of whole pages.
    pub fn new(mut ram: Vec<Ram>, io: Arc<dyn Io>) -> Arc<Phys> {
        ram.sort_by_key(|r| r.start);
        let whole = ram.iter().all(|r| (r.start | r.len | r.host).is_multiple_of(PAGE));
        assert!(whole, "memory is made of whole pages");
        let apart = ram.windows(2).all(|w| w[0].start + w[0].len <= w[1].start);
        assert!(apart, "areas of memory overlap");
        let area = |ram: Ram| Area {
            ram,
            rights: AtomicU8::new(ram.rights.bits()),
            code: (0..ram.len / PAGE).map(|_| AtomicU64::new(0)).collect(),
        };
        Arc::new(Phys {
            main: (0..ram.len()).max_by_key(|&i| ram[i].len).unwrap_or(0),
            ram: ram.into_iter().map(area).collect(),
            io,
            mask: AtomicU64::new(u64::MAX),
            tlbs: Mutex::default(),
            written: Mutex::default(),
            unwatched: Mutex::default(),
            any_code: AtomicBool::new(false),
            any_monitor: AtomicBool::new(false),
        })
    }

    /// Installs what is called when translated bytes are written otherwise than by an instruction of
    /// a vCPU: it forgets the translations and [unwatches](Phys::unwatch) the bytes.
    pub fn on_written(&self, hook: impl Fn(Range<u64>) + Send + Sync + 'static) {
        *lock(&self.written) = Some(Box::new(hook));
    }

    /// Lets address bit 20 through, or holds it at 0. The caller flushes the TLBs of all vCPUs.
    pub fn set_a20(&self, on: bool) {
        self.mask.store(if on { u64::MAX } else { !(1 << 20) }, Ordering::SeqCst);
    }

    /// Whether address bit 20 is let through.
    pub fn a20(&self) -> bool {
        self.mask.load(Ordering::SeqCst) == u64::MAX
    }

    /// Changes how the guest reaches the areas that lie in `range`. The caller flushes the TLBs of all
    /// vCPUs. Translations stay, as code is known by the memory that it is in.
    pub fn set_rights(&self, range: Range<u64>, rights: Rights) {
        let within = |ram: &Ram| range.start <= ram.start && ram.start + ram.len <= range.end;
        for area in self.ram.iter().filter(|area| within(&area.ram)) {
            area.rights.store(rights.bits(), Ordering::SeqCst);
        }
    }

    pub(crate) fn register(&self, tlb: &Arc<Tlb>) {
        let mut tlbs = lock(&self.tlbs);
        tlbs.retain(|t| t.strong_count() > 0);
        tlbs.push(Arc::downgrade(tlb));
    }

    /// `pa` as it leaves the processor.
    #[inline]
    pub(crate) fn masked(&self, pa: u64) -> u64 {
        pa & self.mask.load(Ordering::Relaxed)
    }

    #[inline]
    fn area(&self, pa: u64) -> Option<&Area> {
        let main = self.ram.get(self.main)?;
        if pa.wrapping_sub(main.ram.start) < main.ram.len {
            return Some(main);
        }
        let after = self.ram.partition_point(|area| area.ram.start <= pa);
        let area = &self.ram[after.checked_sub(1)?];
        (pa - area.ram.start < area.ram.len).then_some(area)
    }

    /// What is at `pa`, which is masked.
    pub(crate) fn backing(&self, pa: u64) -> Backing {
        let Some(area) = self.area(pa) else { return Backing { read: None, write: None } };
        let offset = pa - area.ram.start;
        let memory = Some(area.ram.host + offset);
        let rights = area.rights.load(Ordering::SeqCst);
        let behind = || area.ram.behind.map(|host| host + offset);
        Backing {
            read: if rights & 1 != 0 { memory } else { behind() },
            write: if rights & 2 != 0 { memory } else { None },
        }
    }

    /// The physical address of the memory at host address `host`: that of its own area, wherever
    /// else the guest sees it.
    pub(crate) fn at_host(&self, host: u64) -> u64 {
        let area = self.ram.iter().find(|area| host.wrapping_sub(area.ram.host) < area.ram.len);
        area.map_or(u64::MAX, |area| area.ram.start + (host - area.ram.host))
    }

    pub(crate) fn io(&self) -> &dyn Io {
        &*self.io
    }

    /// The value at `pa`, which is a multiple of its width: for walks of page tables.
    pub fn load<U: Unit>(&self, pa: u64) -> U {
        let pa = self.masked(pa);
        match self.backing(pa).read {
            Some(host) => U::try_load(host).unwrap_or(U::narrow(u128::MAX)),
            None => self.read_io(pa),
        }
    }

    /// Stores `value` at `pa`, which is a multiple of its width.
    pub fn store<U: Unit>(&self, pa: u64, value: U) {
        let pa = self.masked(pa);
        match self.backing(pa) {
            Backing { write: Some(host), .. } => {
                self.wrote(pa..pa + U::BYTES as u64);
                let _ = value.try_store(host);
            }
            Backing { read: Some(_), .. } => {}
            _ => self.write_io(pa, value),
        }
    }

    /// Atomically stores `new` at `pa` if the `bytes`-wide (4, 8) value there is `old`; yields the
    /// value found: for accessed and dirty bits. Where there is no memory nothing is stored.
    pub fn compare_exchange(&self, pa: u64, bytes: u32, old: u64, new: u64) -> u64 {
        let pa = self.masked(pa);
        match self.backing(pa).write {
            Some(host) => host::compare_exchange(host, bytes, old, new).unwrap_or(old),
            None => old,
        }
    }

    /// Whether there is memory at `pa` that this access reaches.
    pub fn is_memory(&self, pa: u64, access: Access) -> bool {
        let backing = self.backing(self.masked(pa));
        let host = if access == Access::Write { backing.write } else { backing.read };
        host.is_some()
    }

    /// Copies memory at `pa` into `buffer`; zeros where there is none.
    pub fn read(&self, pa: u64, buffer: &mut [u8]) {
        let mut done = 0;
        while done < buffer.len() {
            let at = self.masked(pa.wrapping_add(done as u64));
            let count = ((PAGE - at % PAGE) as usize).min(buffer.len() - done);
            let part = &mut buffer[done..done + count];
            let host = self.backing(at).read;
            if host.is_none_or(|host| host::copy_in(host, part).is_err()) {
                part.fill(0);
            }
            done += count;
        }
    }

    pub(crate) fn read_io<U: Unit>(&self, pa: u64) -> U {
        if U::BYTES == 16 {
            let low = u128::from(self.io.read(pa, 8));
            return U::narrow(low | u128::from(self.io.read(pa + 8, 8)) << 64);
        }
        U::narrow(self.io.read(pa, U::BYTES as u8).into())
    }

    pub(crate) fn write_io<U: Unit>(&self, pa: u64, value: U) {
        let wide = value.widen();
        if U::BYTES == 16 {
            self.io.write(pa, 8, wide as u64);
            self.io.write(pa + 8, 8, (wide >> 64) as u64);
        } else {
            self.io.write(pa, U::BYTES as u8, wide as u64);
        }
    }

    // ── code ─────────────────────────────────────────────────────────────────────────────────

    /// The lines of `range`, which lies within one page, as bits.
    fn lines(range: &Range<u64>) -> u64 {
        let first = range.start % PAGE / LINE;
        let last = (range.end - 1) % PAGE / LINE;
        (u64::MAX >> (63 - (last - first))) << first
    }

    /// Declares that the bytes in `range`, within one page, are about to be fetched and
    /// translated: writes to their lines meet [`crate::Cause::Code`] from now on. Whether there is
    /// memory.
    pub fn watch(&self, range: Range<u64>) -> bool {
        let Some(area) = self.area(range.start) else { return false };
        let offset = range.start - area.ram.start;
        let lines = Phys::lines(&range);
        let word = &area.code[(offset / PAGE) as usize];
        self.any_code.store(true, Ordering::SeqCst);
        if word.fetch_or(lines, Ordering::SeqCst) == 0 {
            let host = area.ram.host + offset / PAGE * PAGE;
            for tlb in lock(&self.tlbs).iter().filter_map(Weak::upgrade) {
                tlb.slow_writes(host);
            }
        }
        true
    }

    /// The whole lines that `range` touches: all translations of code in them are to be forgotten
    /// when `range` is written, so that [`Phys::unwatch`] can let the write happen.
    pub fn lines_around(range: Range<u64>) -> Range<u64> {
        range.start / LINE * LINE..range.end.div_ceil(LINE) * LINE
    }

    /// Takes back [`Phys::watch`] for the lines of `range`, whose translations are forgotten.
    pub fn unwatch(&self, range: Range<u64>) {
        let mut pa = range.start;
        while pa < range.end {
            let end = (pa / PAGE * PAGE + PAGE).min(range.end);
            if let Some(area) = self.area(pa) {
                let word = &area.code[((pa - area.ram.start) / PAGE) as usize];
                word.fetch_and(!Phys::lines(&(pa..end)), Ordering::SeqCst);
            }
            pa = end;
        }
        if self.any_monitor.load(Ordering::SeqCst)
            && let Some(hook) = &*lock(&self.unwatched)
        {
            hook(range);
        }
    }

    /// Watches the line of `pa` as if it held code, for a vCPU that waits for it to be written.
    /// Yields its address; nothing if there is no memory.
    pub fn monitor(&self, pa: u64) -> Option<u64> {
        let line = Phys::lines_around(pa..pa + 1);
        self.any_monitor.store(true, Ordering::SeqCst);
        self.watch(line.clone()).then_some(line.start)
    }

    /// Whether the line at `line` is watched: nobody has written there since.
    pub fn is_watched(&self, line: u64) -> bool {
        self.code_in(line..line + LINE).is_some()
    }

    /// Installs what is called when lines are no longer watched, once any has been
    /// [monitored](Phys::monitor): they are about to be written.
    pub fn on_unwatched(&self, hook: impl Fn(Range<u64>) + Send + Sync + 'static) {
        *lock(&self.unwatched) = Some(Box::new(hook));
    }

    /// Whether a page holds translated code.
    pub(crate) fn has_code(&self, pa: u64) -> bool {
        self.area(pa).is_some_and(|area| {
            area.code[((pa - area.ram.start) / PAGE) as usize].load(Ordering::SeqCst) != 0
        })
    }

    /// The first address of `range`, within one page, on a line that holds translated code.
    pub(crate) fn code_in(&self, range: Range<u64>) -> Option<u64> {
        let area = self.area(range.start)?;
        let word = &area.code[((range.start - area.ram.start) / PAGE) as usize];
        let lines = word.load(Ordering::SeqCst) & Phys::lines(&range);
        let line = range.start / PAGE * PAGE + u64::from(lines.trailing_zeros()) * LINE;
        (lines != 0).then(|| line.max(range.start))
    }

    /// To be called before memory in `range` is written otherwise than by an instruction of a vCPU.
    pub fn wrote(&self, range: Range<u64>) {
        if !self.any_code.load(Ordering::Relaxed) {
            return;
        }
        let mut pa = range.start;
        while pa < range.end {
            let end = (pa / PAGE * PAGE + PAGE).min(range.end);
            if self.code_in(pa..end).is_some()
                && let Some(hook) = &*lock(&self.written)
            {
                hook(pa..end);
            }
            pa = end;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
