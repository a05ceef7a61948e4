//! Address maps: which device answers at a port or at a physical address.

use crate::{Device, ones};
use parking_lot::{Mutex, RwLock};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A device as maps and boards share it.
pub type Shared = Arc<Mutex<dyn Device>>;

/// Names a range in a [`Map`], for [`Map::remove`] and [`Map::relocate`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place(u64);

/// Part of a map where a device answers.
struct Entry {
    place: Place,
    range: Range<u64>,
    /// What the device sees as the offset of the range's first byte.
    offset: u64,
    device: Shared,
}

/// A range of the map that one entry answers: none overlap.
struct Segment {
    range: Range<u64>,
    /// Offset of the segment's first byte.
    offset: u64,
    device: Shared,
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    /// What the entries come to, sorted by address.
    segments: Vec<Segment>,
    next: u64,
}

/// A map of ports or of physical addresses to devices.
///
/// Ranges may overlap, as guests are free to program base address registers badly: where they do,
/// the range that was added first answers, so that what the board has put in place is safe from
/// what a guest moves.
#[derive(Default)]
pub struct Map(RwLock<Table>);

impl Map {
    /// A map in which nothing answers.
    pub fn new() -> Map {
        Map::default()
    }

    /// Lets `device` answer in `range`; it sees offsets from the range's start.
    pub fn add(&self, range: Range<u64>, device: Shared) -> Place {
        self.add_at(range, 0, device)
    }

    /// Lets `device` answer in `range`, whose first byte it sees at `offset`: for devices with
    /// several ranges.
    pub fn add_at(&self, range: Range<u64>, offset: u64, device: Shared) -> Place {
        let mut table = self.0.write();
        let place = Place(table.next);
        table.next += 1;
        table.entries.push(Entry { place, range, offset, device });
        table.flatten();
        place
    }

    /// Ends the answering at `place`; `false` if nothing did.
    pub fn remove(&self, place: Place) -> bool {
        let mut table = self.0.write();
        let before = table.entries.len();
        table.entries.retain(|entry| entry.place != place);
        table.flatten();
        table.entries.len() != before
    }

    /// Moves the range of `place` to start at `start`, keeping its length; `false` if there is no
    /// such place.
    pub fn relocate(&self, place: Place, start: u64) -> bool {
        let mut table = self.0.write();
        let Some(entry) = table.entries.iter_mut().find(|entry| entry.place == place) else {
            return false;
        };
        let len = entry.range.end.saturating_sub(entry.range.start);
        entry.range = start..start.saturating_add(len);
        table.flatten();
        true
    }

    /// Reads `bytes` bytes (1 to 8). Bytes that nothing answers are all ones.
    pub fn read(&self, address: u64, bytes: u8) -> u64 {
        debug_assert!((1..=8).contains(&bytes));
        if let Some((device, offset, room)) = self.find(address)
            && room >= u64::from(bytes)
            && bytes.is_power_of_two()
        {
            return device.lock().read(offset, bytes) & ones(bytes);
        }
        let mut value = 0;
        self.pieces(address, bytes, |at, n, target| {
            let piece = match target {
                Some((device, offset)) => device.lock().read(offset, n) & ones(n),
                None => ones(n),
            };
            value |= piece << (at * 8);
        });
        value
    }

    /// Writes the low `bytes` bytes (1 to 8) of `value`. Bytes that nothing answers are lost.
    pub fn write(&self, address: u64, bytes: u8, value: u64) {
        debug_assert!((1..=8).contains(&bytes));
        if let Some((device, offset, room)) = self.find(address)
            && room >= u64::from(bytes)
            && bytes.is_power_of_two()
        {
            device.lock().write(offset, bytes, value & ones(bytes));
            return;
        }
        self.pieces(address, bytes, |at, n, target| {
            if let Some((device, offset)) = target {
                device.lock().write(offset, n, value >> (at * 8) & ones(n));
            }
        });
    }

    /// Whether a device answers at `address`.
    pub fn answers(&self, address: u64) -> bool {
        self.0.read().find(address).is_some()
    }

    /// Lets no device answer any more: the machine is taken apart. Devices that hold the map of what
    /// they are in are let go of by this.
    pub fn clear(&self) {
        let entries = std::mem::take(&mut *self.0.write());
        // Without the lock, as devices that go may look at the map.
        drop(entries);
    }

    /// The ranges in which devices answer, sorted; none overlap.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        self.0.read().segments.iter().map(|segment| segment.range.clone()).collect()
    }

    /// Resets each device once.
    pub fn reset(&self) {
        let mut devices: Vec<Shared> = Vec::new();
        for entry in &self.0.read().entries {
            if !devices.iter().any(|d| Arc::ptr_eq(d, &entry.device)) {
                devices.push(entry.device.clone());
            }
        }
        for device in devices {
            device.lock().reset();
        }
    }

    /// The device at `address`, the offset there, and the bytes up to the segment's end. No lock
    /// is held afterwards, so that the device may change the map.
    fn find(&self, address: u64) -> Option<(Shared, u64, u64)> {
        let table = self.0.read();
        let segment = table.find(address)?;
        let within = address - segment.range.start;
        Some((
            segment.device.clone(),
            segment.offset.wrapping_add(within),
            segment.range.end - address,
        ))
    }

    /// Cuts an access into pieces that one device answers with a width of 1, 2 or 4: each is its
    /// position in the access, its bytes, and the device and offset, if any.
    fn pieces(
        &self,
        address: u64,
        bytes: u8,
        mut piece: impl FnMut(u8, u8, Option<(Shared, u64)>),
    ) {
        let mut at = 0;
        while at < bytes {
            let left = bytes - at;
            match address.checked_add(u64::from(at)).and_then(|a| self.find(a)) {
                Some((device, offset, room)) => {
                    let fits = u64::from(left).min(room) as u8;
                    let n = 1 << fits.ilog2();
                    piece(at, n, Some((device, offset)));
                    at += n;
                }
                None => {
                    piece(at, 1, None);
                    at += 1;
                }
            }
        }
    }
}

impl Table {
    fn find(&self, address: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.range.start <= address);
        let segment = &self.segments[after.checked_sub(1)?];
        (address < segment.range.end).then_some(segment)
    }

    /// Computes the segments: each entry gets what earlier entries left of its range.
    fn flatten(&mut self) {
        let mut segments: Vec<Segment> = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let mut free = entry.range.start;
            let mut gaps = Vec::new();
            for taken in &segments {
                if taken.range.end <= free {
                    continue;
                }
                if taken.range.start >= entry.range.end {
                    break;
                }
                gaps.push(free..taken.range.start);
                free = taken.range.end;
            }
            gaps.push(free..entry.range.end);
            for range in gaps.into_iter().filter(|gap| gap.start < gap.end) {
                let offset = entry.offset.wrapping_add(range.start - entry.range.start);
                segments.push(Segment { range, offset, device: entry.device.clone() });
            }
            segments.sort_by_key(|segment| segment.range.start);
        }
        self.segments = segments;
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ranges().iter().map(|r| format!("{r:x?}"))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers accesses; reads as `base + offset` in each byte.
    struct Bytes {
        base: u8,
        log: Vec<(u64, u8, u64)>,
    }

    impl Device for Bytes {
        fn read(&mut self, offset: u64, bytes: u8) -> u64 {
            crate::read_bytes(offset, bytes, |at| self.base.wrapping_add(at as u8))
        }

        fn write(&mut self, offset: u64, bytes: u8, value: u64) {
            self.log.push((offset, bytes, value));
        }

        fn reset(&mut self) {
            self.log.clear();
        }
    }

    fn device(base: u8) -> Arc<Mutex<Bytes>> {
        Arc::new(Mutex::new(Bytes { base, log: Vec::new() }))
    }

    #[test]
    fn a_cleared_map_lets_go_of_its_devices() {
        let map = Map::new();
        let gone = Arc::downgrade(&{
            let device = device(0);
            map.add(0x10..0x20, device.clone());
            device
        });
        assert!(gone.upgrade().is_some());
        map.clear();
        assert!(gone.upgrade().is_none() && !map.answers(0x10));
    }

    #[test]
    fn reads_find_their_device() {
        let map = Map::new();
        map.add(0x10..0x20, device(0));
        map.add_at(0x40..0x44, 8, device(0x80));
        let rows: &[(u64, u8, u64)] = &[
            (0x0f, 1, 0xff),
            (0x10, 1, 0x00),
            (0x1f, 1, 0x0f),
            (0x20, 1, 0xff),
            (0x12, 4, 0x0504_0302),
            (0x18, 8, 0x0f0e_0d0c_0b0a_0908),
            (0x40, 4, 0x8b8a_8988),
            (0x1e, 4, 0xffff_0f0e), // over the end
            (0x0d, 8, 0x0403_0201_00ff_ffff),
            (0x3f, 8, 0xffff_ff8b_8a89_88ff),
            (0x42, 3, 0xff_8b8a),
            (u64::MAX, 8, u64::MAX),
        ];
        for &(address, bytes, value) in rows {
            assert_eq!(map.read(address, bytes), value, "{address:#x}, {bytes}");
        }
    }

    #[test]
    fn writes_over_an_edge_are_split() {
        let (a, b) = (device(0), device(0));
        let map = Map::new();
        map.add(0..3, a.clone());
        map.add(3..8, b.clone());
        map.write(0, 8, 0x8877_6655_4433_2211);
        assert_eq!(a.lock().log, [(0, 2, 0x2211), (2, 1, 0x33)]);
        assert_eq!(b.lock().log, [(0, 4, 0x7766_5544), (4, 1, 0x88)]);
        map.reset();
        assert!(a.lock().log.is_empty() && b.lock().log.is_empty());
        map.write(4, 2, 0xffff_1234);
        assert_eq!(b.lock().log, [(1, 2, 0x1234)]);
    }

    #[test]
    fn the_first_to_come_answers_where_ranges_overlap() {
        let map = Map::new();
        map.add(0x100..0x110, device(0xa0));
        let moving = map.add(0x0f8..0x118, device(0x00));
        assert_eq!(map.read(0x0f8, 1), 0x00);
        assert_eq!(map.read(0x100, 1), 0xa0);
        assert_eq!(map.read(0x110, 1), 0x18);
        assert!(map.relocate(moving, 0x200));
        assert_eq!(map.read(0x110, 1), 0xff);
        assert_eq!(map.read(0x21f, 1), 0x1f);
        assert!(map.remove(moving));
        assert!(!map.remove(moving) && !map.relocate(moving, 0));
        assert_eq!(map.ranges(), vec![0x100..0x110; 1]);
    }

    #[test]
    fn a_range_may_end_at_the_last_address() {
        let map = Map::new();
        let place = map.add(0..0x1000, device(0));
        assert!(map.relocate(place, u64::MAX - 4));
        assert_eq!(map.read(u64::MAX - 4, 4), 0x0302_0100);
        assert_eq!(map.read(u64::MAX - 4, 8), 0xffff_ffff_0302_0100);
    }

    #[test]
    fn a_device_may_change_the_map_it_is_in() {
        struct Mover(Arc<Map>, Option<Place>);
        impl Device for Mover {
            fn read(&mut self, _: u64, _: u8) -> u64 {
                1
            }
            fn write(&mut self, _: u64, _: u8, value: u64) {
                let place = self.1.expect("the test set it");
                self.0.relocate(place, value);
            }
            fn reset(&mut self) {}
        }
        let map = Arc::new(Map::new());
        let mover = Arc::new(Mutex::new(Mover(map.clone(), None)));
        mover.lock().1 = Some(map.add(0..4, mover.clone()));
        map.write(0, 4, 0x1000);
        assert_eq!((map.read(0, 1), map.read(0x1000, 1)), (0xff, 1));
    }
}
