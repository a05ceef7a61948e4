//! How a machine starts: what is put into memory, and where its first processor begins.

pub(crate) mod firmware;
mod information;
mod linux;
mod map;
mod multiboot;
mod pvh;

use crate::layout;
use mynah_bus::Ram;
use mynah_bus::ram::NotRam;
use mynah_loader::{Physical, PhysicalSegment};
use mynah_x86::State;
use mynah_x86::segment::{Segment, attribute};
use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a machine cannot start: one line for the user.
#[derive(Debug)]
pub struct BootError {
    file: Option<PathBuf>,
    message: String,
}

impl BootError {
    pub(crate) fn new(message: impl Into<String>) -> BootError {
        BootError { file: None, message: message.into() }
    }

    pub(crate) fn of(file: impl Into<PathBuf>, message: impl Into<String>) -> BootError {
        BootError { file: Some(file.into()), message: message.into() }
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: {}", file.display(), self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for BootError {}

impl From<NotRam> for BootError {
    fn from(at: NotRam) -> BootError {
        BootError::new(format!("{at}: the machine has too little memory for what it starts"))
    }
}

/// Longest file that is read into memory whole.
const MAX_FILE: u64 = 1 << 30;

/// The contents of `path`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, BootError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    file.and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|e| BootError::of(path, e.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(BootError::of(path, "longer than 1 GiB"));
    }
    Ok(bytes)
}

/// What is started.
#[derive(Clone, Copy)]
pub(crate) struct Image<'a> {
    /// The kernel's name, for messages and command lines that begin with it.
    pub(crate) name: &'a Path,
    /// The kernel.
    pub(crate) file: &'a [u8],
    pub(crate) initrd: Option<&'a Path>,
    pub(crate) command_line: &'a str,
    /// Physical address of the ACPI tables' root, if there are any.
    pub(crate) rsdp: Option<u64>,
    /// Bytes of RAM.
    pub(crate) memory: u64,
}

/// Puts a kernel of any kind that is known into `ram`.
pub(crate) fn load(image: &Image<'_>, ram: &Ram) -> Result<Entry, BootError> {
    if linux::is_kernel(image.file) {
        linux::load(image, ram)
    } else if let Some(header) = multiboot::Header::find(image.file) {
        multiboot::load(image, &header, ram)
    } else if image.file.starts_with(b"\x7fELF") {
        pvh::load(image, ram)
    } else {
        let message = "not a kernel that is known: no Linux bzImage, no multiboot header, no ELF";
        Err(BootError::of(image.name, message))
    }
}

/// The bytes of a command line, which ends with a zero in memory.
fn command_line(text: &str) -> Result<&[u8], BootError> {
    if text.contains('\0') {
        return Err(BootError::new("the command line contains a zero byte"));
    }
    Ok(text.as_bytes())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// A part of a kernel in memory.
struct Piece<'a> {
    pa: u64,
    /// Its first bytes; zeros follow.
    bytes: &'a [u8],
    /// Bytes in memory.
    len: u64,
}

/// The pieces of an ELF file.
fn pieces<'f>(kernel: &Physical, file: &'f [u8]) -> Vec<Piece<'f>> {
    let piece = |segment: &PhysicalSegment| Piece {
        pa: segment.pa,
        bytes: &file[segment.file.clone()],
        len: segment.len,
    };
    kernel.segments.iter().map(piece).collect()
}

/// Copies a kernel's pieces into memory that is still all zeros; the end of the highest.
///
/// Pieces that lie on each other, or on what the board has put there, are an error.
fn place(pieces: &[Piece<'_>], name: &Path, ram: &Ram) -> Result<u64, BootError> {
    let taken = [0..GDT + GDT_BYTES, information::ROOM, layout::TABLES];
    let mut places: Vec<Range<u64>> = taken.to_vec();
    for piece in pieces {
        let Some(end) =
            piece.pa.checked_add(piece.len).filter(|_| ram.contains(piece.pa, piece.len))
        else {
            let (len, pa) = (piece.len, piece.pa);
            let message = format!("{len:#x} bytes for {pa:#x}: the machine has too little memory");
            return Err(BootError::of(name, message));
        };
        if let Some(other) = places.iter().find(|p| p.start < end && piece.pa < p.end) {
            let (start, pa) = (other.start, piece.pa);
            let message = format!("what it loads at {pa:#x} lies on what is at {start:#x}");
            return Err(BootError::of(name, message));
        }
        places.push(piece.pa..end);
        ram.write(piece.pa, piece.bytes)?;
    }
    Ok(places[taken.len()..].iter().map(|place| place.end).max().unwrap_or(0))
}

/// Copies files behind a kernel, each to the start of a page; their addresses.
fn place_files(
    files: &[(&Path, Vec<u8>)],
    end: u64,
    ram: &Ram,
) -> Result<Vec<Range<u64>>, BootError> {
    let mut next = end.max(layout::EXTENDED);
    let mut places = Vec::new();
    for (path, bytes) in files {
        let start = next.next_multiple_of(4096);
        ram.write(start, bytes).map_err(|at| {
            BootError::of(*path, format!("{at}: the machine has too little memory"))
        })?;
        next = start + bytes.len() as u64;
        places.push(start..next);
    }
    Ok(places)
}

/// Where the first processor begins, in which mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// At the reset vector, where the firmware is.
    Reset,
    /// In 32-bit protected mode without paging, flat segments.
    Protected { pc: u32, eax: u32, ebx: u32, esi: u32 },
    /// In long mode, the first 4 GiB mapped one to one.
    Long { pc: u64, rsi: u64 },
}

/// Selector of flat code in [`GDT`].
const CODE: u16 = 0x10;
/// Selector of flat data in [`GDT`].
const DATA: u16 = 0x18;
/// Physical address of the descriptor table that the processor starts with.
const GDT: u64 = 0x500;
/// Bytes of that table.
const GDT_BYTES: u64 = 4 * 8;
/// Physical address of the page tables that a processor in long mode starts with.
const PAGE_TABLES: u64 = 0x9000;

impl Entry {
    /// Puts what this entry needs into memory and `state`; yields the pc.
    pub(crate) fn apply(self, ram: &Ram, state: &mut State) -> Result<u64, BootError> {
        use mynah_x86::registers::{cr0, cr4, efer};
        let (pc, rsi, long) = match self {
            Entry::Reset => return Ok(mynah_x86::state::RESET_PC),
            Entry::Protected { pc, eax, ebx, esi } => {
                state.gpr[0] = eax.into();
                state.gpr[3] = ebx.into();
                (pc.into(), esi.into(), false)
            }
            Entry::Long { pc, rsi } => (pc, rsi, true),
        };
        let code: u64 = if long { 0x00af_9b00_0000_ffff } else { 0x00cf_9b00_0000_ffff };
        let data: u64 = 0x00cf_9300_0000_ffff;
        for (n, descriptor) in [0, 0, code, data].into_iter().enumerate() {
            ram.write(GDT + 8 * n as u64, &descriptor.to_le_bytes())?;
        }
        state.system.gdtr.base = GDT;
        state.system.gdtr.limit = GDT_BYTES as u16 - 1;
        let flat =
            |selector, attributes| Segment { selector, attributes, base: 0, limit: u32::MAX };
        let width = if long { attribute::LONG } else { attribute::BIG };
        let common = attribute::PRESENT | attribute::MEMORY | attribute::PAGES;
        state.set_segment(1, flat(CODE, common | width | 0xb << 8));
        for n in [0, 2, 3, 4, 5] {
            state.set_segment(n, flat(DATA, common | attribute::BIG | 0x3 << 8));
        }
        state.system.cr0 = cr0::PE | cr0::ET;
        if long {
            identity(ram)?;
            state.system.cr3 = PAGE_TABLES;
            state.system.cr4 = cr4::PAE;
            state.system.efer = efer::LME | efer::LMA;
            state.system.cr0 |= cr0::PG;
        }
        state.gpr[6] = rsi;
        state.refresh_mode();
        Ok(pc)
    }
}

/// Page tables that map the first 4 GiB one to one, in pages of 2 MiB.
fn identity(ram: &Ram) -> Result<(), BootError> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    let entry = |at: u64, value: u64| ram.write(at, &value.to_le_bytes());
    let directories = PAGE_TABLES + 0x2000;
    entry(PAGE_TABLES, (PAGE_TABLES + 0x1000) | PRESENT_WRITABLE)?;
    for n in 0..4 {
        entry(PAGE_TABLES + 0x1000 + 8 * n, (directories + 0x1000 * n) | PRESENT_WRITABLE)?;
    }
    for n in 0..2048 {
        entry(directories + 8 * n, n << 21 | LARGE | PRESENT_WRITABLE)?;
    }
    Ok(())
}

#[cfg(test)]
mod testing {
    //! Small kernels and machines for tests.

    use super::*;

    /// An empty machine, and its bytes of memory.
    pub(super) fn machine() -> (Ram, u64) {
        let memory = 4 << 20;
        (Ram::new(&layout::ram(memory)).expect("RAM"), memory)
    }

    pub(super) fn image(file: &[u8], memory: u64) -> Image<'_> {
        let name = Path::new("kernel");
        Image { name, file, initrd: None, command_line: "", rsdp: None, memory }
    }

    pub(super) fn word(ram: &Ram, pa: u64) -> u32 {
        let mut bytes = [0; 4];
        ram.read(pa, &mut bytes).expect("RAM");
        u32::from_le_bytes(bytes)
    }

    /// A 64-bit ELF file with these segments: type, physical address, bytes, length in memory.
    pub(super) fn elf(segments: &[(u32, u64, &[u8], u64)]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
        for long in [0x10_0000_u64, 64, 0] {
            file.extend(long.to_le_bytes());
        }
        file.extend([0; 4]);
        for half in [64_u16, 56, segments.len() as u16, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut offset = 64 + 56 * segments.len() as u64;
        for (kind, pa, bytes, len) in segments {
            file.extend(kind.to_le_bytes());
            file.extend(7_u32.to_le_bytes());
            let size = bytes.len() as u64;
            for long in [offset, *pa, *pa, size, *len, 4] {
                file.extend(long.to_le_bytes());
            }
            offset += size;
        }
        segments.iter().for_each(|(_, _, bytes, _)| file.extend_from_slice(bytes));
        file
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{elf, image, machine};
    use super::*;

    fn error(file: &[u8]) -> String {
        let (ram, memory) = machine();
        load(&image(file, memory), &ram).expect_err("no kernel").to_string()
    }

    #[test]
    fn kernels_are_known_by_their_content() {
        assert!(error(b"").contains("not a kernel"));
        assert!(error(b"MZ and more").contains("not a kernel"));
        assert!(error(b"\x7fELF").contains("truncated"));
        assert!(error(&elf(&[(1, 0x10_0000, b"code", 4)])).contains("PVH"));
        let mut linux = vec![0; 1024];
        linux[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        linux[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(error(&linux).contains("boot protocol"));
    }

    #[test]
    fn pieces_lie_in_ram_and_apart() {
        let (ram, _) = machine();
        let at = |pa, len| Piece { pa, bytes: b"abc", len };
        let result = |pieces: &[Piece<'_>]| place(pieces, Path::new("kernel"), &ram).ok();
        assert_eq!(result(&[at(0x10_0000, 3), at(0x10_0003, 7)]), Some(0x10_000a));
        assert_eq!(result(&[at(0x10_0000, 4), at(0x10_0003, 7)]), None);
        for pa in [GDT, information::ROOM.end - 1, layout::TABLES.start - 1, 0xa_0000, u64::MAX] {
            assert_eq!(result(&[at(pa, 3)]), None, "{pa:#x}");
        }
        assert_eq!(result(&[at(0x10_0000, 1 << 40)]), None);
        assert_eq!(result(&[at(0x10_0000, u64::MAX)]), None);
    }
}
