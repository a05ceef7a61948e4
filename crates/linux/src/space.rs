//! The guest's memory: its own addresses in Mynah's address space.

use crate::Errno;
use mynah_mem::{Memory, Unit};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// The guest's memory.
pub(crate) struct Space {
    table: Mutex<Table>,
    /// Number of pages write-protected though the guest may write them.
    watched: AtomicUsize,
    /// Tells the engine that code may have changed.
    invalidate: OnceLock<Box<dyn Fn(Range<u64>) + Send + Sync>>,
}

#[derive(Default)]
struct Table {
    /// Pages with watched code: address, and whether the host protects them now.
    pages: BTreeMap<u64, Page>,
}

#[derive(Default)]
struct Page {
    caught: bool,
}

impl Space {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value at `va`.
    pub(crate) fn load<U: Unit>(&self, va: u64) -> Result<U, Errno> {
        Ok(Memory::FLAT.load(va)?)
    }

    /// Stores `value` at `va`.
    pub(crate) fn store<U: Unit>(&self, va: u64, value: U) -> Result<(), Errno> {
        self.prepare(va, size_of::<U>() as u64);
        Ok(Memory::FLAT.store(va, value)?)
    }

    /// Copies guest memory at `va` into `buffer`.
    pub(crate) fn read(&self, va: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        Ok(Memory::FLAT.read(va, buffer)?)
    }

    /// Copies `bytes` into guest memory at `va`.
    pub(crate) fn write(&self, va: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.prepare(va, bytes.len() as u64);
        Ok(Memory::FLAT.write(va, bytes)?)
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

    /// Whether any page is watched.
    pub(crate) fn watches(&self) -> bool {
        self.watched.load(Ordering::Acquire) != 0
    }

    /// Lets `len` bytes at `va` be written by the kernel or by Mynah on the guest's behalf.
    pub(crate) fn prepare(&self, va: u64, len: u64) {
        if !self.watches() || len == 0 {
            return;
        }
        let start = va & !(PAGE - 1);
        let end = va.saturating_add(len);
        let pages: Vec<u64> = {
            let table = self.table();
            table.pages.range(start..end).filter(|(_, p)| p.caught).map(|(va, _)| *va).collect()
        };
        for page in pages {
            self.unwatch(page);
        }
    }

    /// Stops watching all pages; false if none was watched.
    pub(crate) fn unwatch_all(&self) -> bool {
        let any = self.watches();
        self.prepare(0, u64::MAX);
        any
    }

    fn unwatch(&self, _page: u64) {}
}
