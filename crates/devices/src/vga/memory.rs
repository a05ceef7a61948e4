//! The four planes of memory, and what the graphics controller does between them and the processor.

use super::{RAM_ENABLE, Registers, gc, seq};

/// Bytes of a plane, as far as the VGA's registers reach.
pub(super) const PLANE: usize = 0x1_0000;

/// Bytes of memory.
pub(super) const SIZE: usize = 16 << 20;

/// The memory: a byte of each plane in turn.
pub(super) struct Memory {
    bytes: Box<[u8]>,
    /// What the last read found in each plane.
    latches: [u8; 4],
}

impl Memory {
    pub(super) fn new() -> Memory {
        Memory { bytes: vec![0; SIZE].into_boxed_slice(), latches: [0; 4] }
    }

    pub(super) fn clear(&mut self) {
        *self = Memory::new();
    }

    /// What is at `address` in each plane.
    pub(super) fn planes(&self, address: usize) -> [u8; 4] {
        let at = address % (SIZE / 4) * 4;
        [0, 1, 2, 3].map(|plane| self.bytes[at + plane])
    }

    /// Stores into a plane.
    pub(super) fn set(&mut self, plane: usize, address: usize, value: u8) {
        self.bytes[address % (SIZE / 4) * 4 + plane % 4] = value;
    }

    /// The byte at `offset` in all of the memory; zero after its end.
    pub(super) fn byte(&self, offset: usize) -> u8 {
        self.bytes.get(offset).copied().unwrap_or(0)
    }

    /// Reads `bytes` bytes (1 to 8) at `offset` in all of the memory.
    pub(super) fn linear(&self, offset: usize, bytes: u8) -> u64 {
        let mut value = [0; 8];
        let bytes = usize::from(bytes.min(8));
        if let Some(from) = offset.checked_add(bytes).and_then(|end| self.bytes.get(offset..end)) {
            value[..bytes].copy_from_slice(from);
        }
        u64::from_le_bytes(value)
    }

    /// Writes there, as [`Memory::linear`] reads.
    pub(super) fn set_linear(&mut self, offset: usize, bytes: u8, value: u64) {
        let bytes = usize::from(bytes.min(8));
        let to = offset.checked_add(bytes).and_then(|end| self.bytes.get_mut(offset..end));
        if let Some(to) = to {
            to.copy_from_slice(&value.to_le_bytes()[..bytes]);
        }
    }

    /// Reads at `offset` in the window.
    pub(super) fn read(&mut self, registers: &Registers, offset: usize) -> u8 {
        let Some(offset) = within(registers, offset) else { return 0xff };
        let gc = &registers.gc;
        let odd_even = gc[gc::MODE] & 0x10 != 0;
        let map = usize::from(gc[gc::READ_MAP] & 3);
        let (address, plane) = if is_chained(registers) {
            (offset & !3, offset & 3)
        } else if odd_even {
            (offset & !1, map & 2 | offset & 1)
        } else {
            (offset, map)
        };
        let address = address & (PLANE - 1);
        self.latches = self.planes(address);
        if gc[gc::MODE] & 8 == 0 {
            return self.latches[plane];
        }
        // Read mode 1: the pixels whose color is the compared one, in the planes that count.
        (0..4).fold(0xff, |same, plane| {
            let compared = spread(gc[gc::COLOR_COMPARE], plane);
            let counts = spread(gc[gc::COLOR_DONT_CARE], plane);
            same & !((self.latches[plane] ^ compared) & counts)
        })
    }

    /// Writes at `offset` in the window.
    pub(super) fn write(&mut self, registers: &Registers, offset: usize, value: u8) {
        let Some(offset) = within(registers, offset) else { return };
        let odd_even = registers.seq[seq::MEMORY_MODE] & 4 == 0;
        let (address, reachable) = if is_chained(registers) {
            (offset & !3, 1 << (offset & 3))
        } else if odd_even {
            (offset & !1, 0b0101 << (offset & 1))
        } else {
            (offset, 0b1111)
        };
        let address = address & (PLANE - 1);
        let mask = registers.seq[seq::MAP_MASK] & reachable;
        for plane in (0..4).filter(|plane| mask >> plane & 1 != 0) {
            self.set(plane, address, self.written(registers, plane, value));
        }
    }

    /// What a plane gets for a byte that the processor writes.
    fn written(&self, registers: &Registers, plane: usize, value: u8) -> u8 {
        let gc = &registers.gc;
        let latch = self.latches[plane];
        let rotated = value.rotate_right((gc[gc::DATA_ROTATE] & 7).into());
        let set_reset = spread(gc[gc::SET_RESET], plane);
        let (data, mask) = match gc[gc::MODE] & 3 {
            0 if gc[gc::ENABLE_SET_RESET] >> plane & 1 != 0 => (set_reset, gc[gc::BIT_MASK]),
            0 => (rotated, gc[gc::BIT_MASK]),
            1 => return latch,
            2 => (spread(value, plane), gc[gc::BIT_MASK]),
            _ => (set_reset, rotated & gc[gc::BIT_MASK]),
        };
        let combined = match gc[gc::DATA_ROTATE] >> 3 & 3 {
            0 => data,
            1 => data & latch,
            2 => data | latch,
            _ => data ^ latch,
        };
        combined & mask | latch & !mask
    }
}

/// All ones if the bit of `plane` is set.
fn spread(bits: u8, plane: usize) -> u8 {
    if bits >> plane & 1 != 0 { 0xff } else { 0 }
}

/// Chain 4: the two lowest bits of the address are the plane.
fn is_chained(registers: &Registers) -> bool {
    registers.seq[seq::MEMORY_MODE] & 8 != 0
}

/// The address in the part of the window that is decoded.
fn within(registers: &Registers, offset: usize) -> Option<usize> {
    let part = match registers.gc[gc::MISCELLANEOUS] >> 2 & 3 {
        0 => 0..0x2_0000,
        1 => 0..0x1_0000,
        2 => 0x1_0000..0x1_8000,
        _ => 0x1_8000..0x2_0000,
    };
    let reachable = registers.misc & RAM_ENABLE != 0 && part.contains(&offset);
    reachable.then(|| offset - part.start)
}
