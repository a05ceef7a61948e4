//! The firmware configuration device: how a board hands tables and files to firmware and to Linux's
//! boot code. Its interface is that of the specification which Linux documents as
//! "firmware configuration device" (`QEMU0002`): a selector, a byte-wide data port, and DMA.

use mynah_bus::{Device, Ram, read_bytes, write_bytes};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Keys of items that are not files.
mod key {
    pub(super) const SIGNATURE: u16 = 0x00;
    pub(super) const ID: u16 = 0x01;
    pub(super) const FILE_DIR: u16 = 0x19;
    pub(super) const FILE_FIRST: u16 = 0x20;
    /// Keys have 14 bits; the two above ask for writing, and for items of the architecture.
    pub(super) const MASK: u16 = 0xbfff;
}

/// What the device offers: the ports, and DMA.
const FEATURES: u32 = 0b11;

/// What the DMA address register reads as.
const DMA_SIGNATURE: u64 = u64::from_be_bytes(*b"QEMU CFG");

/// Bytes of a file's name in the directory, with the zero at its end.
const NAME: usize = 56;

/// Bits of a DMA request's control word.
mod dma {
    pub(super) const ERROR: u32 = 1 << 0;
    pub(super) const READ: u32 = 1 << 1;
    pub(super) const SKIP: u32 = 1 << 2;
    pub(super) const SELECT: u32 = 1 << 3;
    pub(super) const WRITE: u32 = 1 << 4;
}

/// The items, which the board makes before the machine runs.
#[derive(Clone, Default)]
pub struct Items {
    items: BTreeMap<u16, Arc<[u8]>>,
    files: Vec<(String, u16, u32)>,
}

impl Items {
    /// No items.
    pub fn new() -> Items {
        Items::default()
    }

    /// Adds an item with a key of its own, in place of any that has it.
    pub fn add(&mut self, key: u16, data: impl Into<Arc<[u8]>>) {
        self.items.insert(key & key::MASK, data.into());
    }

    /// Adds a file with a name of at most 55 bytes (a longer one is cut). Files are listed in the
    /// order of names.
    pub fn add_file(&mut self, name: &str, data: impl Into<Arc<[u8]>>) {
        let data = data.into();
        let mut end = name.len().min(NAME - 1);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let key = key::FILE_FIRST + self.files.len() as u16;
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.files.push((name[..end].to_owned(), key, size));
        self.files.sort();
        self.add(key, data);
    }

    /// The item of a key.
    fn find(&self, key: u16) -> Option<Arc<[u8]>> {
        match key & key::MASK {
            key::SIGNATURE => Some(b"QEMU".as_slice().into()),
            key::ID => Some(FEATURES.to_le_bytes().as_slice().into()),
            key::FILE_DIR => Some(self.directory().into()),
            key => self.items.get(&key).cloned(),
        }
    }

    /// The number of files, and for each its size, its key, two reserved bytes and its name; numbers
    /// are big-endian.
    fn directory(&self) -> Vec<u8> {
        let mut directory = (self.files.len() as u32).to_be_bytes().to_vec();
        for (name, key, size) in &self.files {
            directory.extend(size.to_be_bytes());
            directory.extend(key.to_be_bytes());
            directory.extend([0; 2]);
            let end = directory.len() + NAME;
            directory.extend(name.as_bytes());
            directory.resize(end, 0);
        }
        directory
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.items.iter().map(|(key, data)| (format!("{key:#x}"), data.len()));
        f.debug_struct("Items")
            .field("files", &self.files)
            .field("sizes", &sizes.collect::<Vec<_>>())
            .finish()
    }
}

#[derive(Clone, Debug)]
struct State {
    item: Option<Arc<[u8]>>,
    offset: usize,
    /// The high half of the DMA address.
    dma_high: u32,
}

impl State {
    fn new() -> State {
        State { item: None, offset: 0, dma_high: 0 }
    }

    /// The item's bytes from the offset on.
    fn rest(&self) -> &[u8] {
        self.item.as_deref().and_then(|item| item.get(self.offset..)).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.offset = self.offset.saturating_add(bytes);
    }
}

/// The device: the selector at offset 0, data at offset 1 (ports 510h and 511h), and the DMA address
/// at offset 4, for a range of 12 ports.
pub struct FwCfg {
    state: State,
    items: Items,
    ram: Ram,
}

impl FwCfg {
    /// Ports in the range.
    pub const PORTS: u64 = 12;

    /// A device with these items, which does DMA in `ram`.
    pub fn new(items: Items, ram: Ram) -> FwCfg {
        FwCfg { state: State::new(), items, ram }
    }

    fn select(&mut self, key: u16) {
        self.state.item = self.items.find(key);
        self.state.offset = 0;
    }

    /// Does the request at `pa`: control, length and address, big-endian. Its control word then says
    /// whether there was an error.
    fn dma(&mut self, pa: u64) {
        let mut request = [0; 16];
        if self.ram.read(pa, &mut request).is_err() {
            return;
        }
        let [c0, c1, c2, c3, l0, l1, l2, l3, address @ ..] = request;
        let control = u32::from_be_bytes([c0, c1, c2, c3]);
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        let address = u64::from_be_bytes(address);
        if control & dma::SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let done = if control & dma::READ != 0 {
            self.dma_read(address, len)
        } else if control & dma::WRITE != 0 {
            false // Items are read only.
        } else {
            if control & dma::SKIP != 0 {
                self.state.skip(len as usize);
            }
            true
        };
        let result = if done { 0 } else { dma::ERROR };
        // The guest may have asked for this very memory to be overwritten: it is still RAM.
        let _ = self.ram.write(pa, &result.to_be_bytes());
    }

    /// Copies to RAM; what is after the item's end is zeros.
    fn dma_read(&mut self, pa: u64, len: u32) -> bool {
        if !self.ram.contains(pa, len.into()) {
            return false;
        }
        let rest = self.state.rest();
        let (data, zeros) = (rest.len().min(len as usize), [0; 4096]);
        let mut done = self.ram.write(pa, &rest[..data]).is_ok();
        let mut at = data as u64;
        while done && at < u64::from(len) {
            let piece = (u64::from(len) - at).min(zeros.len() as u64);
            done = self.ram.write(pa + at, &zeros[..piece as usize]).is_ok();
            at += piece;
        }
        self.state.skip(len as usize);
        done
    }
}

impl Device for FwCfg {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        match offset {
            1 => read_bytes(0, bytes, |_| {
                let byte = self.state.rest().first().copied().unwrap_or(0);
                self.state.skip(1);
                byte
            }),
            4..12 => {
                // Big-endian.
                let signature = DMA_SIGNATURE.to_be_bytes();
                read_bytes(offset - 4, bytes, |at| signature.get(at as usize).copied().unwrap_or(0))
            }
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        match (offset, bytes) {
            (0, 2 | 4) => self.select(value as u16),
            (4, 8) => self.dma(value.swap_bytes()),
            (4, 4) => self.state.dma_high = (value as u32).swap_bytes(),
            (8, 4) => {
                let high = std::mem::take(&mut self.state.dma_high);
                self.dma(u64::from(high) << 32 | u64::from((value as u32).swap_bytes()));
            }
            // Data cannot be written.
            _ => write_bytes(offset, bytes, value, |_, _| {}),
        }
    }

    fn reset(&mut self) {
        self.state = State::new();
    }
}

impl fmt::Debug for FwCfg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FwCfg").field("items", &self.items).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> FwCfg {
        let mut items = Items::new();
        items.add(0x0f, 2_u16.to_le_bytes());
        items.add_file("etc/b", *b"second");
        items.add_file("etc/a", *b"first");
        FwCfg::new(items, Ram::flat(0x10000).expect("RAM"))
    }

    fn read(device: &mut FwCfg, key: u16, len: usize) -> Vec<u8> {
        device.write(0, 2, key.into());
        (0..len).map(|_| device.read(1, 1) as u8).collect()
    }

    #[test]
    fn items_are_read_byte_by_byte() {
        let mut device = device();
        assert_eq!(read(&mut device, 0, 5), *b"QEMU\0");
        assert_eq!(read(&mut device, 1, 4), [3, 0, 0, 0]);
        assert_eq!(read(&mut device, 0x0f, 2), [2, 0]);
        assert_eq!(read(&mut device, 0x7777, 3), [0; 3]);
        assert_eq!((device.read(4, 4) as u32).swap_bytes(), 0x5145_4d55);
        assert_eq!((device.read(8, 4) as u32).swap_bytes(), 0x2043_4647);
    }

    #[test]
    fn files_are_listed_by_name() {
        let mut device = device();
        let directory = read(&mut device, 0x19, 4 + 2 * 64);
        assert_eq!(directory[..4], [0, 0, 0, 2]);
        assert_eq!(directory[4..18], *b"\0\0\0\x05\0\x21\0\0etc/a\0");
        assert_eq!(directory[68..82], *b"\0\0\0\x06\0\x20\0\0etc/b\0");
        assert_eq!(read(&mut device, 0x21, 5), *b"first");
        let mut items = Items::new();
        items.add_file(&"ü".repeat(40), *b"");
        assert_eq!(items.directory().len(), 68);
    }

    /// Does a request, whose control word is returned.
    fn dma(device: &mut FwCfg, control: u32, len: u32, address: u64) -> u32 {
        let mut request = control.to_be_bytes().to_vec();
        request.extend(len.to_be_bytes());
        request.extend(address.to_be_bytes());
        device.ram.write(0x8000, &request).expect("RAM");
        device.write(4, 4, 0);
        device.write(8, 4, 0x8000_u32.swap_bytes().into());
        let mut result = [0; 4];
        device.ram.read(0x8000, &mut result).expect("RAM");
        u32::from_be_bytes(result)
    }

    #[test]
    fn dma_selects_skips_and_copies() {
        let mut device = device();
        device.ram.write(0x100, &[0xcc; 16]).expect("RAM");
        assert_eq!(dma(&mut device, 0x20 << 16 | dma::SELECT | dma::SKIP, 2, 0), 0);
        assert_eq!(dma(&mut device, dma::READ, 6, 0x100), 0);
        let mut bytes = [0; 8];
        device.ram.read(0x100, &mut bytes).expect("RAM");
        assert_eq!(bytes, *b"cond\0\0\xcc\xcc");
        assert_eq!(dma(&mut device, dma::WRITE, 1, 0x100), dma::ERROR);
        assert_eq!(dma(&mut device, 0x20 << 16 | dma::SELECT | dma::READ, 2, 0xffff), dma::ERROR);
        assert_eq!(dma(&mut device, dma::READ, u32::MAX, 0x100), dma::ERROR);
        device.write(4, 8, u64::MAX);
        assert_eq!(dma(&mut device, dma::READ, 0xe000, 0x1000), 0);
    }
}
