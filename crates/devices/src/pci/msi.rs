//! Message-signalled interrupts: MSI and MSI-X (PCI Local Bus Specification 3.0, 6.8).

use mynah_bus::{ones, read_bytes};

/// The MSI capability of a function, with 64-bit addresses: where it is in configuration space.
#[derive(Clone, Debug)]
pub(super) struct Msi {
    pub(super) at: u8,
    /// Base-two logarithm of the messages that it can ask for.
    pub(super) log: u8,
}

impl Msi {
    /// What follows id and link: message control, address, data.
    pub(super) fn body(log: u8) -> [u8; 12] {
        let mut body = [0; 12];
        body[0] = 0x80 | log << 1; // 64-bit addresses
        body
    }

    /// The writable bits, from the capability's start: enable and multiple messages enabled,
    /// address, data.
    pub(super) fn writable() -> [u8; 14] {
        let mut mask = [0xff; 14];
        mask[..5].copy_from_slice(&[0, 0, 0x71, 0, 0xfc]);
        mask
    }

    pub(super) fn is_enabled(&self, config: &[u8; 256]) -> bool {
        config[usize::from(self.at) + 2] & 1 != 0
    }

    /// Address and data of message `vector`: the low bits of the data are the vector's.
    pub(super) fn message(&self, vector: u16, config: &[u8; 256]) -> (u64, u32) {
        let at = usize::from(self.at);
        let byte = |offset| config[at + offset as usize];
        let granted = (byte(2) >> 4 & 7).min(self.log);
        let mask = (1_u32 << granted) - 1;
        let address = read_bytes(4, 8, byte);
        let data = read_bytes(12, 2, byte) as u32;
        (address, data & !mask | u32::from(vector) & mask)
    }
}

/// An entry of an MSI-X table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    data: u32,
    /// Vector control; bit 0 masks.
    control: u32,
}

const RESET: Entry = Entry { address: 0, data: 0, control: 1 };

/// The MSI-X capability of a function, its table and its pending bits.
#[derive(Clone, Debug)]
pub struct Msix {
    /// Where the capability is in configuration space.
    at: u8,
    bar: u8,
    table: u64,
    pending: u64,
    entries: Vec<Entry>,
    /// Pending bits.
    waiting: Vec<u64>,
}

/// Set in the offsets that [`Msix::find`] gives for pending bits.
const PENDING: u64 = 1 << 32;

impl Msix {
    pub(super) fn new(vectors: u16, bar: u8, table: u32, pending: u32) -> Msix {
        let vectors = usize::from(vectors.clamp(1, 2048));
        Msix {
            at: 0,
            bar,
            table: u64::from(table & !7),
            pending: u64::from(pending & !7),
            entries: vec![RESET; vectors],
            waiting: vec![0; vectors.div_ceil(64)],
        }
    }

    pub(super) fn at(self, at: u8) -> Msix {
        Msix { at, ..self }
    }

    /// Whether table and pending bits lie within `size` bytes, and apart.
    pub(super) fn fits(&self, size: u64) -> bool {
        let table = self.table..self.table + self.entries.len() as u64 * 16;
        let pending = self.pending..self.pending + self.waiting.len() as u64 * 8;
        table.end <= size
            && pending.end <= size
            && (table.end <= pending.start || pending.end <= table.start)
    }

    /// What follows id and link: message control, table, pending bits.
    pub(super) fn body(&self) -> [u8; 10] {
        let mut body = [0; 10];
        body[..2].copy_from_slice(&(self.entries.len() as u16 - 1).to_le_bytes());
        body[2..6].copy_from_slice(&(self.table as u32 | u32::from(self.bar)).to_le_bytes());
        body[6..].copy_from_slice(&(self.pending as u32 | u32::from(self.bar)).to_le_bytes());
        body
    }

    pub(super) fn is_enabled(&self, config: &[u8; 256]) -> bool {
        config[usize::from(self.at) + 3] & 0x80 != 0
    }

    fn is_masked(&self, config: &[u8; 256]) -> bool {
        config[usize::from(self.at) + 3] & 0x40 != 0
    }

    /// All vectors are masked and nothing is pending.
    pub(super) fn reset(&mut self) {
        self.entries.fill(RESET);
        self.waiting.fill(0);
    }

    /// The message of `vector` to send; none if it must wait or does not exist.
    pub(super) fn raise(&mut self, vector: u16, config: &[u8; 256]) -> Option<(u64, u32)> {
        let at = usize::from(vector);
        let entry = self.entries.get(at)?;
        if self.is_masked(config) || entry.control & 1 != 0 {
            self.waiting[at / 64] |= 1 << (at % 64);
            return None;
        }
        Some((entry.address, entry.data))
    }

    /// A message that waits and need not any more. It no longer waits.
    pub(super) fn unmasked(&mut self, config: &[u8; 256]) -> Option<(u64, u32)> {
        if !self.is_enabled(config) || self.is_masked(config) {
            return None;
        }
        let waits = |at: usize| self.waiting[at / 64] >> (at % 64) & 1 != 0;
        if self.waiting.iter().all(|word| *word == 0) {
            return None;
        }
        let open = |at: &usize| waits(*at) && self.entries[*at].control & 1 == 0;
        let at = (0..self.entries.len()).find(open)?;
        self.waiting[at / 64] &= !(1 << (at % 64));
        Some((self.entries[at].address, self.entries[at].data))
    }

    /// What is at `offset` in the range of register `bar`, if it is part of this.
    pub(super) fn find(&self, bar: u8, offset: u64) -> Option<u64> {
        let within = |start: u64, len: usize| {
            offset.checked_sub(start).filter(|at| bar == self.bar && *at < len as u64)
        };
        within(self.table, self.entries.len() * 16)
            .or_else(|| within(self.pending, self.waiting.len() * 8).map(|at| at | PENDING))
    }

    /// Reads at what [`Msix::find`] gave: 4 or 8 bytes, aligned; others are not defined.
    pub(super) fn read(&self, offset: u64, bytes: u8) -> u64 {
        let word = |offset: u64| -> u64 {
            let at = (offset & !PENDING) as usize;
            if offset & PENDING != 0 {
                let word = self.waiting.get(at / 8).copied().unwrap_or(0);
                return word >> (at % 8 * 8) & 0xffff_ffff;
            }
            let Some(entry) = self.entries.get(at / 16) else { return 0 };
            u64::from(match at % 16 / 4 {
                0 => entry.address as u32,
                1 => (entry.address >> 32) as u32,
                2 => entry.data,
                _ => entry.control,
            })
        };
        match bytes {
            4 if offset & 3 == 0 => word(offset),
            8 if offset & 7 == 0 => word(offset) | word(offset + 4) << 32,
            _ => ones(bytes),
        }
    }

    /// Writes at what [`Msix::find`] gave. Pending bits cannot be written.
    pub(super) fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        if offset & PENDING != 0 {
            return;
        }
        match bytes {
            4 if offset & 3 == 0 => self.write_word(offset as usize, value as u32),
            8 if offset & 7 == 0 => {
                self.write_word(offset as usize, value as u32);
                self.write_word(offset as usize + 4, (value >> 32) as u32);
            }
            _ => {}
        }
    }

    fn write_word(&mut self, at: usize, value: u32) {
        let Some(entry) = self.entries.get_mut(at / 16) else { return };
        match at % 16 / 4 {
            0 => entry.address = entry.address & !0xffff_ffff | u64::from(value & !3),
            1 => entry.address = entry.address & 0xffff_ffff | u64::from(value) << 32,
            2 => entry.data = value,
            _ => entry.control = value & 1,
        }
    }
}
