//! The bus master of a channel: registers, and the table of physical regions that it goes through
//! (Programming Interface for Bus Master IDE Controller, revision 1.0).

use mynah_bus::Ram;
use mynah_bus::ram::NotRam;

// Bits of BMICX, the command register.
pub(super) const START: u8 = 1 << 0;
const TO_MEMORY: u8 = 1 << 3;

// Bits of BMISX, the status register.
pub(super) const ACTIVE: u8 = 1 << 0;
pub(super) const ERROR: u8 = 1 << 1;
pub(super) const INTERRUPT: u8 = 1 << 2;
const CAPABLE: u8 = 3 << 5;

/// A table lies within 64 KiB, so it has at most as many entries of 8 bytes.
const ENTRIES: u32 = 1 << 13;

/// The registers, and where in the table the master is.
#[derive(Clone, Default, Debug)]
pub(super) struct Master {
    pub(super) bmic: u8,
    pub(super) bmis: u8,
    pub(super) bmidtp: u32,
    /// Address of the next entry.
    next: u32,
    /// How many there have been.
    entries: u32,
    /// What is left of the current region.
    region: u32,
    left: u32,
    /// The current region is the last.
    last: bool,
}

/// Why bytes could not be moved.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// The table has no room for them: it is the drive that waits now.
    TableEnds,
    /// A region or the table is not RAM.
    Fault,
}

impl From<NotRam> for Stop {
    fn from(_: NotRam) -> Stop {
        Stop::Fault
    }
}

impl Master {
    pub(super) fn read(&self, offset: u64) -> u8 {
        match offset {
            0 => self.bmic,
            2 => self.bmis,
            4..=7 => (self.bmidtp >> ((offset - 4) * 8)) as u8,
            _ => 0,
        }
    }

    /// Writes a register; `true` if that starts the master.
    pub(super) fn write(&mut self, offset: u64, value: u8) -> bool {
        match offset {
            0 => {
                let starts = value & START != 0 && self.bmic & START == 0;
                self.bmic = value & (START | TO_MEMORY);
                if value & START == 0 {
                    self.bmis &= !ACTIVE;
                }
                if starts {
                    self.bmis |= ACTIVE;
                    (self.next, self.entries, self.left, self.last) = (self.bmidtp, 0, 0, false);
                }
                return starts;
            }
            2 => {
                let cleared = value & (INTERRUPT | ERROR);
                self.bmis = self.bmis & !cleared & !CAPABLE | value & CAPABLE;
            }
            4..=7 => {
                let shift = (offset - 4) * 8;
                self.bmidtp = self.bmidtp & !(0xff << shift) | u32::from(value) << shift;
                self.bmidtp &= !3;
            }
            _ => {}
        }
        false
    }

    pub(super) fn is_active(&self) -> bool {
        self.bmis & ACTIVE != 0
    }

    /// Moves bytes from the drive to memory.
    pub(super) fn to_memory(&mut self, ram: &Ram, bytes: &[u8]) -> Result<(), Stop> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (at, n) = self.take(ram, rest.len())?;
            ram.write(at, &rest[..n])?;
            rest = &rest[n..];
        }
        Ok(())
    }

    /// Moves bytes from memory to the drive.
    pub(super) fn from_memory(&mut self, ram: &Ram, bytes: &mut [u8]) -> Result<(), Stop> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (at, n) = self.take(ram, rest.len())?;
            ram.read(at, &mut rest[..n])?;
            rest = &mut rest[n..];
        }
        Ok(())
    }

    /// The next at most `len` bytes of memory: where, and how many.
    fn take(&mut self, ram: &Ram, len: usize) -> Result<(u64, usize), Stop> {
        if self.left == 0 {
            if self.last || self.entries == ENTRIES {
                return Err(Stop::TableEnds);
            }
            let mut entry = [0; 8];
            ram.read(u64::from(self.next), &mut entry)?;
            let [a, b, c, d, low, high, _, flags] = entry;
            self.region = u32::from_le_bytes([a, b, c, d]) & !1;
            self.left = match u16::from_le_bytes([low, high]) & !1 {
                0 => 1 << 16,
                count => u32::from(count),
            };
            self.last = flags & 0x80 != 0;
            self.next = self.next.wrapping_add(8);
            self.entries += 1;
        }
        let n = (self.left as usize).min(len);
        let at = u64::from(self.region);
        self.region = self.region.wrapping_add(n as u32);
        self.left -= n as u32;
        Ok((at, n))
    }

    /// The drive has moved all it had: whether the master stays active says whether the table had
    /// room for more.
    pub(super) fn end(&mut self) {
        if self.last && self.left == 0 {
            self.bmis &= !ACTIVE;
        }
    }
}
