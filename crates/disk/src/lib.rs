//! Disks: what a disk or CD-ROM device of the machine keeps its sectors in.
//!
//! [`Options::open`] makes a [`Disk`] of an image file: raw, or qcow2 with its backing files through
//! the `imago` library. With [`Options::snapshot`] what the guest writes goes to an overlay that is
//! thrown away. An image is locked while it is open, in the way of QEMU, so that no two programs
//! write it at once.

mod check;
mod error;
mod lock;
mod memory;
mod open;
mod overlay;
mod qcow2;
mod raw;

pub use error::Error;
pub use memory::Memory;
pub use open::{Format, Opened, Options};
pub use overlay::Overlay;
pub use raw::Raw;

use std::io;
use std::ops::Range;

/// Bytes in a sector.
pub const SECTOR: usize = 512;

/// What becomes of the host's storage under sectors that are to read as zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmap {
    /// It stays, so that later writes there do not run out of it.
    No,
    /// It may be given back.
    Allowed,
}

/// A disk of sectors of [`SECTOR`] bytes, numbered from 0.
///
/// Requests beyond the end fail, and so do writes to a disk that is read-only; an error leaves the
/// sectors of the request with any contents. What has been written is on the host's storage after
/// the next [`Disk::flush`], and perhaps before.
pub trait Disk: Send {
    /// How many sectors there are.
    fn sectors(&self) -> u64;

    /// Whether writes fail.
    fn is_read_only(&self) -> bool;

    /// Fills `buffer`, a whole number of sectors, from `sector` on.
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes`, a whole number of sectors, from `sector` on.
    fn write(&mut self, sector: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what has been written last: it is there after the process or the host has crashed.
    fn flush(&mut self) -> io::Result<()>;

    /// Makes sectors read as zeros.
    fn write_zeroes(&mut self, sectors: Range<u64>, unmap: Unmap) -> io::Result<()>;

    /// Says that the contents of sectors are of no more use; what they read as is not defined.
    fn discard(&mut self, sectors: Range<u64>) -> io::Result<()>;

    /// What the guest sees as the serial number: 20 ASCII characters at most.
    fn id(&self) -> &str;
}

impl<D: Disk + ?Sized> Disk for Box<D> {
    fn sectors(&self) -> u64 {
        (**self).sectors()
    }
    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read(sector, buffer)
    }
    fn write(&mut self, sector: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write(sector, bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
    fn write_zeroes(&mut self, sectors: Range<u64>, unmap: Unmap) -> io::Result<()> {
        (**self).write_zeroes(sectors, unmap)
    }
    fn discard(&mut self, sectors: Range<u64>) -> io::Result<()> {
        (**self).discard(sectors)
    }
    fn id(&self) -> &str {
        (**self).id()
    }
}

/// Whether a disk may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The bytes of `len` bytes from `sector` on, if they are whole sectors of a disk of `sectors`.
pub(crate) fn extent(sectors: u64, sector: u64, len: usize) -> io::Result<Range<u64>> {
    let count = (len / SECTOR) as u64;
    if !len.is_multiple_of(SECTOR) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "part of a sector"));
    }
    bytes_of(sectors, sector..sector.saturating_add(count))
}

/// The bytes of a range of the sectors of a disk of `sectors`.
pub(crate) fn bytes_of(sectors: u64, range: Range<u64>) -> io::Result<Range<u64>> {
    if range.start > range.end || range.end > sectors {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the end of the disk"));
    }
    // A disk has at most 2⁶³ bytes: its length is a file's.
    Ok(range.start * SECTOR as u64..range.end * SECTOR as u64)
}

pub(crate) fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the disk is read-only")
}
