//! ELF programs (gABI, chapters 4 and 5): 64-bit, little-endian.

use crate::Error;
use object::elf::{self, FileHeader64, ProgramHeader64};
use object::read::ReadCache;
use object::read::elf::ProgramHeader;
use object::{LittleEndian, ReadRef};
use std::ops::Range;

/// Machines that Mynah runs programs of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Machine {
    /// EM_X86_64.
    X86_64,
    /// EM_RISCV.
    RiscV64,
}

/// Where a program may be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// At the addresses in the file (ET_EXEC).
    Fixed,
    /// At any page-aligned distance from them (ET_DYN).
    Anywhere,
}

/// A part of the file to map (PT_LOAD).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its addresses; what lies beyond `file` is zero.
    pub va: Range<u64>,
    /// Its bytes' offsets in the file. Offset and address agree modulo the page size.
    pub file: Range<u64>,
    /// PF_R.
    pub read: bool,
    /// PF_W.
    pub write: bool,
    /// PF_X.
    pub execute: bool,
}

/// A program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Elf {
    /// The machine it is for.
    pub machine: Machine,
    /// Where it may be mapped.
    pub placement: Placement,
    /// Where it starts.
    pub entry: u64,
    /// What to map: at least one, ascending and apart from each other, below [`Elf::TOP`].
    pub segments: Vec<Segment>,
    /// The file that loads its libraries (PT_INTERP), without the terminating zero.
    pub interpreter: Option<Vec<u8>>,
    /// Address of the program headers in memory; 0 if no segment holds them.
    pub headers_va: u64,
    /// Number of program headers.
    pub headers: u16,
    /// The largest alignment that a segment asks for; a power of two.
    pub align: u64,
    /// Whether it asks for a stack that can be executed.
    pub executable_stack: bool,
}

const LE: LittleEndian = LittleEndian;
const PAGE: u64 = 4096;

impl Elf {
    /// No segment reaches beyond.
    pub const TOP: u64 = 1 << 47;

    /// Bytes of one program header.
    pub const HEADER_BYTES: u16 = size_of::<ProgramHeader64<LittleEndian>>() as u16;

    /// The program in `data`.
    ///
    /// # Errors
    /// If it is none, or one that cannot be run.
    pub fn parse<'data, R: ReadRef<'data>>(data: R) -> Result<Elf, Error> {
        let len = data.len().map_err(|()| Error::Truncated)?;
        let magic = data.read_bytes_at(0, len.min(4)).map_err(|()| Error::NotElf)?;
        if magic != elf::ELFMAG {
            return Err(Error::NotElf);
        }
        let ident = data.read_bytes_at(0, 6).map_err(|()| Error::Truncated)?;
        if ident[4] != elf::ELFCLASS64 {
            return Err(Error::Class);
        }
        if ident[5] != elf::ELFDATA2LSB {
            return Err(Error::Endian);
        }
        let header: &FileHeader64<LittleEndian> = data.read_at(0).map_err(|()| Error::Truncated)?;
        let machine = match header.e_machine.get(LE) {
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_RISCV => Machine::RiscV64,
            other => return Err(Error::Machine(other)),
        };
        let placement = match header.e_type.get(LE) {
            elf::ET_EXEC => Placement::Fixed,
            elf::ET_DYN => Placement::Anywhere,
            other => return Err(Error::Type(other)),
        };
        let count = header.e_phnum.get(LE);
        if header.e_phentsize.get(LE) != Elf::HEADER_BYTES {
            return Err(Error::Malformed("the size of its program headers"));
        }
        let offset = header.e_phoff.get(LE);
        let headers: &[ProgramHeader64<LittleEndian>] =
            data.read_slice_at(offset, count.into()).map_err(|()| Error::Truncated)?;

        let mut program = Elf {
            machine,
            placement,
            entry: header.e_entry.get(LE),
            segments: Vec::new(),
            interpreter: None,
            headers_va: 0,
            headers: count,
            align: PAGE,
            executable_stack: false,
        };
        for header in headers {
            match header.p_type(LE) {
                elf::PT_LOAD => program.add(header, len)?,
                elf::PT_INTERP => program.interpreter = Some(interpreter(header, data)?),
                elf::PT_GNU_STACK => {
                    program.executable_stack = header.p_flags(LE) & elf::PF_X != 0;
                }
                _ => {}
            }
        }
        if program.segments.is_empty() {
            return Err(Error::Malformed("it has nothing to load"));
        }
        let holder = program.segments.iter().find(|s| s.file.contains(&offset));
        program.headers_va = holder.map_or(0, |s| s.va.start + (offset - s.file.start));
        Ok(program)
    }

    /// The program in `file`.
    ///
    /// # Errors
    /// As [`Elf::parse`].
    pub fn read(file: &std::fs::File) -> Result<Elf, Error> {
        Elf::parse(&ReadCache::new(file))
    }

    fn add(&mut self, header: &ProgramHeader64<LittleEndian>, len: u64) -> Result<(), Error> {
        let (va, offset) = (header.p_vaddr(LE), header.p_offset(LE));
        let (in_memory, in_file) = (header.p_memsz(LE), header.p_filesz(LE));
        if in_memory == 0 {
            return Ok(());
        }
        if in_file > in_memory {
            return Err(Error::Malformed("a segment is larger in the file than in memory"));
        }
        let end = va.checked_add(in_memory).filter(|&end| end <= Elf::TOP);
        let end = end.ok_or(Error::Malformed("a segment lies outside the address space"))?;
        let file_end = offset.checked_add(in_file).ok_or(Error::Truncated)?;
        if in_file != 0 && file_end > len {
            return Err(Error::Truncated);
        }
        if va % PAGE != offset % PAGE {
            return Err(Error::Malformed("a segment's address does not fit its offset"));
        }
        // As ld writes them and the gABI demands. Two may share a page, at whose boundary the
        // latter's mapping prevails.
        if self.segments.last().is_some_and(|last| va < last.va.end) {
            return Err(Error::Malformed("segments overlap or do not ascend"));
        }
        let align = header.p_align(LE);
        if align.is_power_of_two() && align <= 1 << 30 {
            self.align = self.align.max(align);
        }
        let flags = header.p_flags(LE);
        self.segments.push(Segment {
            va: va..end,
            file: offset..file_end,
            read: flags & elf::PF_R != 0,
            write: flags & elf::PF_W != 0,
            execute: flags & elf::PF_X != 0,
        });
        Ok(())
    }

    /// The page-aligned addresses that the segments span.
    pub fn span(&self) -> Range<u64> {
        let start = self.segments.first().map_or(0, |s| s.va.start & !(PAGE - 1));
        let end = self.segments.last().map_or(0, |s| s.va.end.next_multiple_of(PAGE));
        start..end
    }
}

fn interpreter<'data>(
    header: &ProgramHeader64<LittleEndian>,
    data: impl ReadRef<'data>,
) -> Result<Vec<u8>, Error> {
    let (offset, len) = (header.p_offset(LE), header.p_filesz(LE));
    if !(2..=4096).contains(&len) {
        return Err(Error::Malformed("the length of its interpreter's name"));
    }
    let bytes = data.read_bytes_at(offset, len).map_err(|()| Error::Truncated)?;
    match bytes.split_last() {
        Some((0, name)) if !name.contains(&0) => Ok(name.to_vec()),
        _ => Err(Error::Malformed("its interpreter's name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").expect("the test's own file")
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_real_program() {
        let elf = Elf::parse(&*own()).expect("a program");
        assert_eq!(elf.machine, Machine::X86_64);
        assert_eq!(elf.placement, Placement::Anywhere);
        assert!(elf.interpreter.is_some_and(|name| name.starts_with(b"/lib")));
        assert_ne!(elf.headers_va, 0);
        assert!(elf.segments.iter().any(|s| s.execute && s.va.contains(&elf.entry)));
    }

    #[test]
    fn prefixes_are_refused() {
        let bytes = own();
        assert_eq!(Elf::parse(&b""[..]), Err(Error::NotElf));
        assert_eq!(Elf::parse(&b"#!/bin/sh"[..]), Err(Error::NotElf));
        let loaded = Elf::parse(&*bytes).expect("a program").segments;
        let end = loaded.last().map_or(0, |s| s.file.end as usize);
        for len in (4..4096).chain([end - 1]) {
            assert!(Elf::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn changed_headers_never_panic() {
        let bytes = own();
        for at in 0..1024 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes[..bytes.len().min(1 << 16)].to_vec();
                changed[at] = value;
                if let Ok(elf) = Elf::parse(&*changed) {
                    assert!(elf.span().end <= Elf::TOP);
                    assert!(elf.segments.is_sorted_by_key(|s| s.va.start));
                }
            }
        }
    }

    #[test]
    fn wrong_kinds_are_named() {
        let changed = |at: usize, value: u8| {
            let mut bytes = own();
            bytes[at] = value;
            Elf::parse(&*bytes)
        };
        assert_eq!(changed(4, 1), Err(Error::Class));
        assert_eq!(changed(5, 2), Err(Error::Endian));
        assert_eq!(changed(18, 40), Err(Error::Machine(40)));
        assert_eq!(changed(16, 1), Err(Error::Type(1)));
    }
}
