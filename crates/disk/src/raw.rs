//! Raw images: the disk's sectors, one after the other.

use crate::{Access, Disk, SECTOR, Unmap, bytes_of, extent, open, read_only};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Zeros are written in pieces of this many bytes where the host cannot do better.
const PIECE: usize = 1 << 16;

/// A disk in a file or host block device, sector by sector. The last sector of a file that does not
/// end with one reads as if it did, with zeros.
#[derive(Debug)]
pub struct Raw {
    file: File,
    sectors: u64,
    access: Access,
    id: String,
    /// Nobody said that the image is raw: see [`Raw::guessed`].
    guessed: bool,
}

impl Raw {
    /// A disk of what is in `file`, which has `len` bytes.
    pub(crate) fn new(file: File, len: u64, access: Access, id: String) -> Raw {
        Raw { file, sectors: len.div_ceil(SECTOR as u64), access, id, guessed: false }
    }

    /// Refuses writes that would make the image look like one of another format: the next one to
    /// open it without a format would then read host files of the guest's choice as backing files.
    pub(crate) fn guessed(self) -> Raw {
        Raw { guessed: true, ..self }
    }

    fn writable(&self) -> io::Result<()> {
        if self.access == Access::Write { Ok(()) } else { Err(read_only()) }
    }

    /// Zeros by giving storage back or by a note of the file system; `false` if it cannot.
    fn fast_zeroes(&self, bytes: &Range<u64>, unmap: Unmap) -> io::Result<bool> {
        let how = match unmap {
            Unmap::No => FallocateFlags::ZERO_RANGE,
            Unmap::Allowed => FallocateFlags::PUNCH_HOLE,
        };
        let len = bytes.end - bytes.start;
        loop {
            return match fallocate(&self.file, how | FallocateFlags::KEEP_SIZE, bytes.start, len) {
                Ok(()) => Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
    }
}

impl Disk for Raw {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::Read
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut at = extent(self.sectors, sector, buffer.len())?.start;
        let mut rest = buffer;
        while !rest.is_empty() {
            match self.file.read_at(rest, at) {
                // The end of the file, in its last sector or because it has been cut short.
                Ok(0) => {
                    rest.fill(0);
                    break;
                }
                Ok(n) => {
                    at += n as u64;
                    rest = &mut rest[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        let at = extent(self.sectors, sector, bytes.len())?.start;
        if self.guessed && sector == 0 && open::probe(bytes) != open::Probe::Unknown {
            let what = "the image would look like one of another format";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        self.file.write_all_at(bytes, at)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.access == Access::Write { self.file.sync_data() } else { Ok(()) }
    }

    fn write_zeroes(&mut self, sectors: Range<u64>, unmap: Unmap) -> io::Result<()> {
        self.writable()?;
        let bytes = bytes_of(self.sectors, sectors)?;
        if bytes.is_empty() || self.fast_zeroes(&bytes, unmap)? {
            return Ok(());
        }
        let zeros = [0; PIECE];
        let mut at = bytes.start;
        while at < bytes.end {
            let n = (bytes.end - at).min(PIECE as u64) as usize;
            self.file.write_all_at(&zeros[..n], at)?;
            at += n as u64;
        }
        Ok(())
    }

    fn discard(&mut self, sectors: Range<u64>) -> io::Result<()> {
        self.writable()?;
        let bytes = bytes_of(self.sectors, sectors)?;
        if !bytes.is_empty() {
            // If the host cannot, the contents stay, which is as good.
            self.fast_zeroes(&bytes, Unmap::Allowed)?;
        }
        Ok(())
    }

    fn id(&self) -> &str {
        &self.id
    }
}
