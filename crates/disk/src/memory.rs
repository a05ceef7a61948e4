//! Disks in memory, for tests and for small images that the program brings along.

use crate::{Disk, SECTOR, Unmap, bytes_of, extent};
use std::io;
use std::ops::Range;

/// A disk in memory.
#[derive(Clone, Debug)]
pub struct Memory {
    bytes: Vec<u8>,
}

impl Memory {
    /// A disk with `bytes`, and zeros up to a whole number of sectors.
    pub fn new(mut bytes: Vec<u8>) -> Memory {
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        Memory { bytes }
    }

    /// What is on it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn within(bytes: Range<u64>) -> Range<usize> {
    bytes.start as usize..bytes.end as usize
}

impl Disk for Memory {
    fn sectors(&self) -> u64 {
        (self.bytes.len() / SECTOR) as u64
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = within(extent(self.sectors(), sector, buffer.len())?);
        buffer.copy_from_slice(&self.bytes[at]);
        Ok(())
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> io::Result<()> {
        let at = within(extent(self.sectors(), sector, bytes.len())?);
        self.bytes[at].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write_zeroes(&mut self, sectors: Range<u64>, _: Unmap) -> io::Result<()> {
        let at = within(bytes_of(self.sectors(), sectors)?);
        self.bytes[at].fill(0);
        Ok(())
    }

    fn discard(&mut self, sectors: Range<u64>) -> io::Result<()> {
        bytes_of(self.sectors(), sectors).map(|_| ())
    }

    fn id(&self) -> &str {
        "MEMORY"
    }
}
