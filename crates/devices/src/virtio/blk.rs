//! The block device (chapter 5.2).

use super::{Chain, Model, Ring};
use crate::pci::Class;
use mynah_disk::{Disk, SECTOR, Unmap};
use std::io;
use virtio_bindings::virtio_blk::*;
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

const QUEUE_SIZE: u16 = 256;

/// Segments of a request, at most: the queue's descriptors less those of header and status.
const SEGMENTS: u32 = QUEUE_SIZE as u32 - 2;

/// Bytes between host and guest at a time.
const PIECE: usize = 256 * 1024;

/// Sectors that a range of DISCARD or WRITE ZEROES has, at most; and ranges of a request.
const RANGE: u32 = 1 << 22;
const RANGES: u32 = 32;

/// A block device.
pub struct Blk {
    disk: Box<dyn Disk>,
    buffer: Vec<u8>,
    /// The driver does not know of FLUSH: what is written lasts at once.
    through: bool,
}

/// Why a request failed.
enum Failure {
    Io,
    Unsupported,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        tracing::warn!("a disk request failed: {error}");
        Failure::Io
    }
}

impl Blk {
    /// A device of what is on `disk`.
    pub fn new(disk: Box<dyn Disk>) -> Blk {
        Blk { disk, buffer: vec![0; PIECE], through: false }
    }

    /// Carries out a request.
    fn request(&mut self, chain: &mut Chain<'_>, ring: &Ring<'_>) -> Result<(), Failure> {
        let room = chain.writable();
        let mut header = [0; 16];
        chain.read(&mut header)?;
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        let sector = u64::from_le_bytes(sector);
        match u32::from_le_bytes([a, b, c, d]) {
            VIRTIO_BLK_T_IN => {
                self.check(sector, room)?;
                let (mut sector, mut left) = (sector, room);
                while left > 0 {
                    if ring.is_halted() {
                        return Err(Failure::Io);
                    }
                    let piece = &mut self.buffer[..left.min(PIECE)];
                    self.disk.read(sector, piece)?;
                    chain.write(piece)?;
                    sector += (piece.len() / SECTOR) as u64;
                    left -= piece.len();
                }
            }
            VIRTIO_BLK_T_OUT => {
                let (mut sector, mut left) = (sector, chain.readable());
                self.check(sector, left)?;
                while left > 0 {
                    if ring.is_halted() {
                        return Err(Failure::Io);
                    }
                    let piece = &mut self.buffer[..left.min(PIECE)];
                    chain.read(piece)?;
                    self.disk.write(sector, piece)?;
                    sector += (piece.len() / SECTOR) as u64;
                    left -= piece.len();
                }
                if self.through {
                    self.disk.flush()?;
                }
            }
            VIRTIO_BLK_T_FLUSH => self.disk.flush()?,
            VIRTIO_BLK_T_GET_ID => {
                let mut id = [0; VIRTIO_BLK_ID_BYTES as usize];
                for (to, from) in id.iter_mut().zip(self.disk.id().bytes()) {
                    *to = from;
                }
                chain.write(&id[..room.min(id.len())])?;
            }
            kind @ (VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES) => {
                self.ranges(kind, chain)?;
            }
            _ => return Err(Failure::Unsupported),
        }
        Ok(())
    }

    /// Whether `bytes` from `sector` on are whole sectors of the disk.
    fn check(&self, sector: u64, bytes: usize) -> Result<(), Failure> {
        let end = sector.checked_add((bytes / SECTOR) as u64);
        let fits = end.is_some_and(|end| end <= self.disk.sectors());
        if fits && bytes.is_multiple_of(SECTOR) { Ok(()) } else { Err(Failure::Io) }
    }

    fn ranges(&mut self, kind: u32, chain: &mut Chain<'_>) -> Result<(), Failure> {
        if self.disk.is_read_only() || !chain.readable().is_multiple_of(16) {
            return Err(Failure::Io);
        }
        if chain.readable() > 16 * RANGES as usize {
            return Err(Failure::Io);
        }
        while chain.readable() > 0 {
            let mut range = [0; 16];
            chain.read(&mut range)?;
            let [a, b, c, d, e, f, g, h, count @ .., i, j, k, l] = range;
            let sector = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            let count = u32::from_le_bytes(count);
            let flags = u32::from_le_bytes([i, j, k, l]);
            let allowed = if kind == VIRTIO_BLK_T_DISCARD { 0 } else { 1 };
            if flags & !allowed != 0 {
                return Err(Failure::Unsupported);
            }
            let end = sector.checked_add(count.into()).filter(|_| count <= RANGE);
            let sectors = sector..end.ok_or(Failure::Io)?;
            if kind == VIRTIO_BLK_T_DISCARD {
                self.disk.discard(sectors)?;
            } else {
                let unmap = if flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0 {
                    Unmap::Allowed
                } else {
                    Unmap::No
                };
                self.disk.write_zeroes(sectors, unmap)?;
            }
        }
        Ok(())
    }
}

impl Model for Blk {
    fn id(&self) -> u16 {
        VIRTIO_ID_BLOCK as u16
    }

    fn class(&self) -> Class {
        Class(1, 0, 0)
    }

    fn features(&self) -> u64 {
        let always =
            1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE | 1 << VIRTIO_BLK_F_FLUSH;
        if self.disk.is_read_only() {
            always | 1 << VIRTIO_BLK_F_RO
        } else {
            always | 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES
        }
    }

    fn queues(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    /// 5.2.4.
    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 60];
        let mut put = |at: usize, value: &[u8]| {
            config[at..at + value.len()].copy_from_slice(value);
        };
        put(0, &self.disk.sectors().to_le_bytes());
        put(12, &SEGMENTS.to_le_bytes());
        put(20, &(SECTOR as u32).to_le_bytes());
        put(34, &1_u16.to_le_bytes());
        put(36, &RANGE.to_le_bytes()); // max_discard_sectors
        put(40, &RANGES.to_le_bytes()); // max_discard_seg
        put(44, &8_u32.to_le_bytes()); // discard_sector_alignment
        put(48, &RANGE.to_le_bytes()); // max_write_zeroes_sectors
        put(52, &RANGES.to_le_bytes()); // max_write_zeroes_seg
        put(56, &[1]); // write_zeroes_may_unmap
        config
    }

    fn activate(&mut self, features: u64) {
        self.through = features & 1 << VIRTIO_BLK_F_FLUSH == 0;
    }

    fn process(&mut self, _: usize, ring: &mut Ring<'_>) {
        while let Some(mut chain) = ring.pop() {
            // Data, and a byte of status.
            if chain.keep_last() {
                let status = match self.request(&mut chain, ring) {
                    Ok(()) => VIRTIO_BLK_S_OK,
                    Err(Failure::Io) => VIRTIO_BLK_S_IOERR,
                    Err(Failure::Unsupported) => VIRTIO_BLK_S_UNSUPP,
                };
                // The status is at the end, whatever was written of the data.
                chain.finish(status as u8);
            }
            ring.push(chain);
        }
    }

    fn close(&mut self) {
        if let Err(error) = self.disk.flush() {
            tracing::error!("the last flush of a disk: {error}");
        }
    }
}
