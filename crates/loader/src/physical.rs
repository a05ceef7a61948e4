//! ELF files that go to physical addresses: kernels, 32-bit or 64-bit (gABI, chapters 4 and 5).

use crate::Error;
use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, ReadRef};
use std::ops::Range;

/// A part of the file to copy (PT_LOAD).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PhysicalSegment {
    /// Physical address of its first byte.
    pub pa: u64,
    /// Bytes in memory; what lies beyond `file` is zero. Neither zero nor past the address space.
    pub len: u64,
    /// Its bytes' offsets in the file; no more of them than `len`.
    pub file: Range<usize>,
}

/// A kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Physical {
    /// The physical address where it starts. (The header has a virtual one, which lies in a
    /// segment; otherwise it is taken as it is.)
    pub entry: u64,
    /// What to copy: at least one, in the file's order.
    pub segments: Vec<PhysicalSegment>,
    /// XEN_ELFNOTE_PHYS32_ENTRY: the physical address where it starts as a PVH guest, in 32-bit
    /// protected mode.
    pub pvh_entry: Option<u64>,
}

const LE: LittleEndian = LittleEndian;
/// A kernel has a handful.
const MAX_HEADERS: usize = 1024;
/// Longest segment of notes that is read.
const MAX_NOTES: u64 = 1 << 16;
/// XEN_ELFNOTE_PHYS32_ENTRY.
const PHYS32_ENTRY: u32 = 18;

impl Physical {
    /// The kernel for x86 processors in `data`.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(data: &[u8]) -> Result<Physical, Error> {
        if !data.starts_with(&elf::ELFMAG) {
            return Err(Error::NotElf);
        }
        match data.get(5) {
            Some(&elf::ELFDATA2LSB) => {}
            Some(_) => return Err(Error::Endian),
            None => return Err(Error::Truncated),
        }
        match data[4] {
            elf::ELFCLASS32 => parse::<FileHeader32<LittleEndian>>(data),
            elf::ELFCLASS64 => parse::<FileHeader64<LittleEndian>>(data),
            _ => Err(Error::Malformed("its class")),
        }
    }
}

fn parse<H: FileHeader<Endian = LittleEndian>>(data: &[u8]) -> Result<Physical, Error> {
    let header: &H = data.read_at(0).map_err(|()| Error::Truncated)?;
    match header.e_machine(LE) {
        elf::EM_386 | elf::EM_X86_64 => {}
        other => return Err(Error::Machine(other)),
    }
    if header.e_type(LE) != elf::ET_EXEC && header.e_type(LE) != elf::ET_DYN {
        return Err(Error::Type(header.e_type(LE)));
    }
    let headers = header.program_headers(LE, data).map_err(|_| Error::Truncated)?;
    if headers.len() > MAX_HEADERS {
        return Err(Error::Malformed("the number of its program headers"));
    }
    let virtual_entry: u64 = header.e_entry(LE).into();
    let mut kernel = Physical { entry: virtual_entry, segments: Vec::new(), pvh_entry: None };
    for header in headers {
        match header.p_type(LE) {
            elf::PT_LOAD => {
                let Some(segment) = segment(header, data)? else { continue };
                let into = virtual_entry.wrapping_sub(header.p_vaddr(LE).into());
                if into < segment.len {
                    kernel.entry = segment.pa + into;
                }
                kernel.segments.push(segment);
            }
            elf::PT_NOTE if header.p_filesz(LE).into() <= MAX_NOTES => {
                kernel.pvh_entry = kernel.pvh_entry.or_else(|| pvh_entry(header, data));
            }
            _ => {}
        }
    }
    if kernel.segments.is_empty() {
        return Err(Error::Malformed("it has nothing to load"));
    }
    Ok(kernel)
}

fn segment<P: ProgramHeader<Endian = LittleEndian>>(
    header: &P,
    data: &[u8],
) -> Result<Option<PhysicalSegment>, Error> {
    let (pa, len): (u64, u64) = (header.p_paddr(LE).into(), header.p_memsz(LE).into());
    let (offset, in_file): (u64, u64) = (header.p_offset(LE).into(), header.p_filesz(LE).into());
    if len == 0 {
        return Ok(None);
    }
    if in_file > len {
        return Err(Error::Malformed("a segment is larger in the file than in memory"));
    }
    if pa.checked_add(len).is_none() {
        return Err(Error::Malformed("a segment lies outside the address space"));
    }
    if in_file == 0 {
        return Ok(Some(PhysicalSegment { pa, len, file: 0..0 }));
    }
    let end = offset.checked_add(in_file).filter(|&end| end <= data.len() as u64);
    let end = end.ok_or(Error::Truncated)?;
    Ok(Some(PhysicalSegment { pa, len, file: offset as usize..end as usize }))
}

/// The note that makes a kernel a PVH guest. Notes that cannot be read are none.
fn pvh_entry<P: ProgramHeader<Endian = LittleEndian>>(header: &P, data: &[u8]) -> Option<u64> {
    let mut notes = header.notes(LE, data).ok()??;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == b"Xen" && note.n_type(LE) == PHYS32_ENTRY {
            return match *note.desc() {
                [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d]).into()),
                [a, b, c, d, e, f, g, h] => Some(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
                _ => None,
            };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 32-bit file: a segment of 16 bytes in the file and 32 in memory, and a PVH note.
    fn file() -> Vec<u8> {
        let mut file = b"\x7fELF\x01\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2, 0, 3, 0, 1, 0, 0, 0]);
        // Entry, program headers, section headers, flags.
        for word in [0xc010_0004_u32, 52, 0, 0] {
            file.extend(word.to_le_bytes());
        }
        for half in [52_u16, 32, 2, 40, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        for word in [1_u32, 0, 0xc010_0000, 0x10_0000, 16, 32, 5, 4096] {
            file.extend(word.to_le_bytes());
        }
        for word in [4_u32, 116, 0, 0, 20, 20, 4, 4] {
            file.extend(word.to_le_bytes());
        }
        for word in [4_u32, 4, 18, u32::from_le_bytes(*b"Xen\0"), 0x10_0008] {
            file.extend(word.to_le_bytes());
        }
        file
    }

    #[test]
    fn a_kernel_is_placed_by_its_physical_addresses() {
        let kernel = Physical::parse(&file()).expect("a kernel");
        assert_eq!(kernel.entry, 0x10_0004);
        assert_eq!(kernel.pvh_entry, Some(0x10_0008));
        assert_eq!(kernel.segments, [PhysicalSegment { pa: 0x10_0000, len: 32, file: 0..16 }]);
    }

    #[test]
    fn what_is_no_kernel_is_named() {
        let changed = |at: usize, value: u8| {
            let mut bytes = file();
            bytes[at] = value;
            Physical::parse(&bytes)
        };
        assert_eq!(changed(0, 0), Err(Error::NotElf));
        assert_eq!(changed(5, 2), Err(Error::Endian));
        assert_eq!(changed(18, 243), Err(Error::Machine(243)));
        assert_eq!(changed(16, 1), Err(Error::Type(1)));
        // The segment's place in the file, its lengths, its address.
        assert_eq!(changed(52 + 5, 1), Err(Error::Truncated));
        assert_eq!(changed(52 + 20, 8), changed(52 + 16, 33));
        assert!(matches!(changed(52 + 20, 8), Err(Error::Malformed(_))));
        assert!(matches!(changed(52, 6), Err(Error::Malformed(_))));
    }

    #[test]
    fn hostile_files_never_panic() {
        let file = file();
        for len in 0..file.len() {
            let _ = Physical::parse(&file[..len]);
            for value in [0, 1, 2, 0x7f, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[len] = value;
                if let Ok(kernel) = Physical::parse(&changed) {
                    for segment in kernel.segments {
                        assert!(segment.file.end <= file.len());
                        assert!(segment.pa.checked_add(segment.len).is_some());
                    }
                }
            }
        }
    }
}
