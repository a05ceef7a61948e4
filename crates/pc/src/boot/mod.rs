//! How a machine starts: what is put into memory, and where its first processor begins.

pub(crate) mod linux;

use mynah_bus::Ram;
use mynah_bus::ram::NotRam;
use mynah_x86::State;
use mynah_x86::segment::{Segment, attribute};
use std::fmt;
use std::path::PathBuf;

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

/// Where the first processor begins, in which mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// At the reset vector, where the firmware is.
    Reset,
    /// In 32-bit protected mode without paging, flat segments.
    Protected { pc: u32, esi: u32 },
    /// In long mode, the first 4 GiB mapped one to one.
    Long { pc: u64, rsi: u64 },
}

/// Selector of flat code in [`GDT`].
const CODE: u16 = 0x10;
/// Selector of flat data in [`GDT`].
const DATA: u16 = 0x18;
/// Physical address of the descriptor table that the processor starts with.
const GDT: u64 = 0x500;
/// Physical address of the page tables that a processor in long mode starts with.
const PAGE_TABLES: u64 = 0x9000;

impl Entry {
    /// Puts what this entry needs into memory and `state`; yields the pc.
    pub(crate) fn apply(self, ram: &Ram, state: &mut State) -> Result<u64, BootError> {
        use mynah_x86::registers::{cr0, cr4, efer};
        let (pc, rsi, long) = match self {
            Entry::Reset => return Ok(mynah_x86::state::RESET_PC),
            Entry::Protected { pc, esi } => (pc.into(), esi.into(), false),
            Entry::Long { pc, rsi } => (pc, rsi, true),
        };
        let code: u64 = if long { 0x00af_9b00_0000_ffff } else { 0x00cf_9b00_0000_ffff };
        let data: u64 = 0x00cf_9300_0000_ffff;
        for (n, descriptor) in [0, 0, code, data].into_iter().enumerate() {
            ram.write(GDT + 8 * n as u64, &descriptor.to_le_bytes())?;
        }
        state.system.gdtr.base = GDT;
        state.system.gdtr.limit = 4 * 8 - 1;
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
