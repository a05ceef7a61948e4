//! Throw-away overlays.

use crate::{Disk, Raw, SECTOR, Unmap, bytes_of, extent};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// A disk whose written sectors are in `scratch`, at the same place as in the disk below, which
/// stays as it is.
pub struct Overlay<D> {
    below: D,
    scratch: Raw,
    written: Ranges,
}

impl<D: Disk> Overlay<D> {
    /// An overlay without any written sectors. `scratch` has as many sectors as `below`.
    pub(crate) fn new(below: D, scratch: Raw) -> Overlay<D> {
        Overlay { below, scratch, written: Ranges::default() }
    }
}

impl<D: Disk> Disk for Overlay<D> {
    fn sectors(&self) -> u64 {
        self.below.sectors()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> io::Result<()> {
        extent(self.sectors(), sector, buffer.len())?;
        let (mut at, mut rest) = (sector, buffer);
        while !rest.is_empty() {
            let left = (rest.len() / SECTOR) as u64;
            let (is_written, end) = self.written.run(at, at + left);
            let (piece, after) = rest.split_at_mut((end - at) as usize * SECTOR);
            if is_written {
                self.scratch.read(at, piece)?;
            } else {
                self.below.read(at, piece)?;
            }
            (at, rest) = (end, after);
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> io::Result<()> {
        extent(self.sectors(), sector, bytes.len())?;
        self.scratch.write(sector, bytes)?;
        self.written.add(sector..sector + (bytes.len() / SECTOR) as u64);
        Ok(())
    }

    /// Nothing: what is here is not meant to last.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write_zeroes(&mut self, sectors: Range<u64>, _: Unmap) -> io::Result<()> {
        bytes_of(self.sectors(), sectors.clone())?;
        self.scratch.write_zeroes(sectors.clone(), Unmap::Allowed)?;
        self.written.add(sectors);
        Ok(())
    }

    fn discard(&mut self, sectors: Range<u64>) -> io::Result<()> {
        self.write_zeroes(sectors, Unmap::Allowed)
    }

    fn id(&self) -> &str {
        self.below.id()
    }
}

/// A set of numbers as ranges that neither overlap nor touch: end by start.
#[derive(Default, Debug)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn add(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        // From the last on, take out what this touches.
        while let Some((&s, &e)) = self.0.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.0.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        self.0.insert(start, end);
    }

    /// Whether `at` is in the set, and the end, at most `limit`, of the run of numbers of which the
    /// same is true.
    fn run(&self, at: u64, limit: u64) -> (bool, u64) {
        if let Some((_, &end)) = self.0.range(..=at).next_back()
            && at < end
        {
            return (true, end.min(limit));
        }
        let next = self.0.range(at..).next().map_or(limit, |(&start, _)| start);
        (false, next.min(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_say_how_far_they_go() {
        let mut set = Ranges::default();
        for range in [10..20, 30..40, 5..5, 20..25, 28..30, 100..101] {
            set.add(range);
        }
        assert_eq!(set.0, BTreeMap::from([(10, 25), (28, 40), (100, 101)]));
        assert_eq!(set.run(0, 50), (false, 10));
        assert_eq!(set.run(10, 50), (true, 25));
        assert_eq!(set.run(24, 50), (true, 25));
        assert_eq!(set.run(25, 27), (false, 27));
        assert_eq!(set.run(39, 39 + 1), (true, 40));
        assert_eq!(set.run(200, 300), (false, 300));
        set.add(0..1000);
        assert_eq!(set.0, BTreeMap::from([(0, 1000)]));
    }
}
