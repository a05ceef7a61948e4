//! What firmware says of the physical address space.

use crate::layout;

/// RAM.
pub(crate) const RAM: u32 = 1;
/// Not to be used.
pub(crate) const RESERVED: u32 = 2;

/// What the firmware says of a range of physical addresses, in the terms of INT 15h, E820h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) kind: u32,
}

impl Range {
    /// Its bytes, as INT 15h and those after it have them.
    pub(crate) fn bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.start.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..].copy_from_slice(&self.kind.to_le_bytes());
        bytes
    }
}

/// The memory map of a machine with `memory` bytes.
pub(crate) fn memory_map(memory: u64) -> Vec<Range> {
    let mut map = Vec::new();
    let mut add = |start: u64, end: u64, kind| {
        if start < end {
            map.push(Range { start, len: end - start, kind });
        }
    };
    add(0, layout::EBDA, RAM);
    add(layout::EBDA, layout::CONVENTIONAL_END, RESERVED);
    add(layout::TABLES.start, layout::TABLES.end, RESERVED);
    add(layout::EXTENDED, memory.min(layout::LOW_END), RAM);
    add(layout::HIGH, layout::HIGH + memory.saturating_sub(layout::LOW_END), RAM);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_below_and_above_the_devices() {
        let ram = |memory| {
            let map = memory_map(memory).into_iter().filter(|range| range.kind == RAM);
            map.map(|range| (range.start, range.len)).collect::<Vec<_>>()
        };
        assert_eq!(ram(1 << 20), [(0, 0x9_fc00)]);
        assert_eq!(ram(2 << 20), [(0, 0x9_fc00), (1 << 20, 1 << 20)]);
        let above = (4 << 30, 1 << 30);
        assert_eq!(ram(4 << 30), [(0, 0x9_fc00), (1 << 20, (3 << 30) - (1 << 20)), above]);
    }
}
