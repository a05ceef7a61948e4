//! A look at the tables of a qcow2 image before it is written (QEMU's docs/interop/qcow2.txt).
//!
//! What allocates clusters trusts the reference counts. If those of the tables themselves are wrong,
//! new data would go over them, so an image like that is better refused. It takes a read for each
//! table, of which there is one for as many gigabytes; clusters of data are not looked at.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bits of an entry of the L1 table that are an offset.
const L1_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Those of an entry of the refcount table.
const REFTABLE_OFFSET: u64 = !0x1ff;

/// Incompatible features.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;

/// The greatest tables that QEMU opens, in bytes.
const L1_BYTES: u64 = 32 << 20;
const REFTABLE_BYTES: u64 = 8 << 20;

/// What of an image's header this is about.
struct Tables<'a> {
    file: &'a File,
    cluster_bits: u32,
    refcount_order: u32,
    reftable: Vec<u64>,
}

/// What is wrong with the tables, if something is. Errors are those of reading.
pub(crate) fn damage(file: &File) -> io::Result<Option<&'static str>> {
    let mut header = [0; 104];
    if let Err(error) = file.read_exact_at(&mut header[..72], 0) {
        return short(error, "its header is cut short");
    }
    let u32_at = |header: &[u8; 104], at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let u64_at = |header: &[u8; 104], at: usize| {
        u64::from(u32_at(header, at)) << 32 | u64::from(u32_at(header, at + 4))
    };
    let (mut features, mut refcount_order) = (0, 4);
    if u32_at(&header, 4) >= 3 {
        if let Err(error) = file.read_exact_at(&mut header, 0) {
            return short(error, "its header is cut short");
        }
        (features, refcount_order) = (u64_at(&header, 72), u32_at(&header, 96));
    }
    if features & DIRTY != 0 {
        return Ok(Some("its reference counts are out of date, as it was not closed"));
    }
    if features & CORRUPT != 0 {
        return Ok(Some("it is marked as corrupt"));
    }
    let cluster_bits = u32_at(&header, 20);
    if !(9..=21).contains(&cluster_bits) || refcount_order > 6 {
        return Ok(Some("its header makes no sense"));
    }
    let (l1_offset, l1_bytes) = (u64_at(&header, 40), u64::from(u32_at(&header, 36)) * 8);
    let reftable_offset = u64_at(&header, 48);
    let reftable_bytes = u64::from(u32_at(&header, 56)) << cluster_bits;
    if l1_bytes > L1_BYTES || reftable_bytes > REFTABLE_BYTES || reftable_bytes == 0 {
        return Ok(Some("its tables are of an impossible size"));
    }
    let reftable = match table(file, reftable_offset, reftable_bytes) {
        Ok(table) => table,
        Err(error) => return short(error, "its refcount table is not in the file"),
    };
    let l1 = match table(file, l1_offset, l1_bytes) {
        Ok(table) => table,
        Err(error) => return short(error, "its L1 table is not in the file"),
    };
    let tables = Tables { file, cluster_bits, refcount_order, reftable };
    let blocks = tables.reftable.iter().map(|entry| (entry & REFTABLE_OFFSET, 1));
    let l2 = l1.iter().map(|entry| (entry & L1_OFFSET, 1));
    let others = [(0, 1), (reftable_offset, reftable_bytes), (l1_offset, l1_bytes)];
    for (at, bytes) in others.into_iter().chain(blocks.chain(l2).filter(|(at, _)| *at != 0)) {
        if !tables.are_counted(at, bytes)? {
            return Ok(Some("its tables are where it says that nothing is"));
        }
    }
    Ok(None)
}

/// A read beyond the end is damage.
fn short(error: io::Error, what: &'static str) -> io::Result<Option<&'static str>> {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ok(Some(what)) } else { Err(error) }
}

fn table(file: &File, at: u64, bytes: u64) -> io::Result<Vec<u64>> {
    let mut table = vec![0; bytes as usize];
    file.read_exact_at(&mut table, at)?;
    let (entries, _) = table.as_chunks();
    Ok(entries.iter().map(|entry| u64::from_be_bytes(*entry)).collect())
}

impl Tables<'_> {
    /// Whether all clusters of `bytes` bytes at `at` begin there and have references.
    fn are_counted(&self, at: u64, bytes: u64) -> io::Result<bool> {
        if at & ((1 << self.cluster_bits) - 1) != 0 {
            return Ok(false);
        }
        let first = at >> self.cluster_bits;
        let count = bytes.div_ceil(1 << self.cluster_bits);
        for cluster in first..first + count {
            if !self.is_counted(cluster)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a cluster has references.
    fn is_counted(&self, cluster: u64) -> io::Result<bool> {
        // A block is one cluster of counts.
        let block_bits = self.cluster_bits + 3 - self.refcount_order;
        let entry = usize::try_from(cluster >> block_bits).ok();
        let entry = entry.and_then(|at| self.reftable.get(at));
        let Some(block) = entry.map(|entry| entry & REFTABLE_OFFSET).filter(|at| *at != 0) else {
            return Ok(false);
        };
        let bit = (cluster & ((1 << block_bits) - 1)) << self.refcount_order;
        let width = 1_u64 << self.refcount_order;
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..width.div_ceil(8) as usize];
        let Some(at) = block.checked_add(bit / 8) else { return Ok(false) };
        match self.file.read_exact_at(bytes, at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        if width < 8 {
            let count = bytes[0] >> (bit % 8) & ((1 << width) - 1);
            return Ok(count != 0);
        }
        Ok(bytes.iter().any(|byte| *byte != 0))
    }
}
