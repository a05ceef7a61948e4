//! What a kernel is told: tables and texts that point at each other, one after the other in
//! conventional memory.

use super::BootError;
use mynah_bus::Ram;
use std::ops::Range;

/// Where the information may lie; a kernel must not load itself there.
pub(crate) const ROOM: Range<u64> = 0x1_0000..0x3_0000;

/// The information so far.
#[derive(Default)]
pub(crate) struct Information(Vec<u8>);

impl Information {
    /// The address that what is added next will have.
    fn next(&self) -> u64 {
        ROOM.start + self.0.len() as u64
    }

    /// Adds a table of fields of 1 to 8 bytes; its physical address, a multiple of 8.
    pub(crate) fn add(&mut self, table: &[u8]) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let at = self.next();
        self.0.extend_from_slice(table);
        at as u32
    }

    /// Adds a text and the zero at its end; its physical address.
    pub(crate) fn text(&mut self, text: &[u8]) -> u32 {
        let at = self.add(text);
        self.0.push(0);
        at
    }

    /// Puts all of it where the addresses say.
    ///
    /// # Errors
    /// There is more of it than [`ROOM`].
    pub(crate) fn write(&self, ram: &Ram) -> Result<(), BootError> {
        if self.next() > ROOM.end {
            return Err(BootError::new("the command lines are too long"));
        }
        Ok(ram.write(ROOM.start, &self.0)?)
    }
}

/// The little-endian bytes of words, one after the other.
pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_bounded() {
        let ram = Ram::flat(1 << 20).expect("RAM");
        let mut information = Information::default();
        assert_eq!(information.text(b"abc"), 0x1_0000);
        assert_eq!(information.add(&words(&[1, 2])), 0x1_0008);
        assert!(information.write(&ram).is_ok());
        let mut bytes = [0; 12];
        ram.read(0x1_0000, &mut bytes).expect("RAM");
        assert_eq!(bytes, *b"abc\0\0\0\0\0\x01\0\0\0");
        information.text(&vec![b'x'; 0x2_0000]);
        assert!(information.write(&ram).is_err());
    }
}
