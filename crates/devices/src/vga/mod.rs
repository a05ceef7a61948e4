//! The display adapter: IBM VGA, as the "VGA" chapters of the IBM PS/2 Hardware Interface Technical
//! Reference and of data sheets of its successors describe it, with the linear memory and the larger
//! modes of Bochs's adapter. [`Vga::screen`] is what a monitor would show, [`Screen::image`] the
//! pixels of it.

mod dispi;
mod memory;
mod pci;
mod render;
mod screen;

pub use screen::{Cell, Cursor, Image, Screen, Text};

use crate::pci::Config;
use dispi::{Dispi, Then};
use memory::Memory;
use mynah_bus::time::SECOND;
use mynah_bus::{Clock, Device, read_bytes, write_bytes};
use std::fmt;
use std::sync::Arc;

/// Nanoseconds of a line at 31.5 kHz, and of the part of it that is blank.
const LINE: u64 = 31_778;
const LINE_BLANK: u64 = 6_356;
/// Lines of a frame at 70 Hz, and those of them that are visible, and where the vertical retrace is.
const FRAME_LINES: u64 = 449;
const VISIBLE_LINES: u64 = 400;
const RETRACE: std::ops::Range<u64> = 412..414;

/// CRT controller registers.
mod crtc {
    pub(super) const HORIZONTAL_DISPLAY_END: usize = 0x01;
    pub(super) const OVERFLOW: usize = 0x07;
    pub(super) const MAXIMUM_SCAN_LINE: usize = 0x09;
    pub(super) const CURSOR_START: usize = 0x0a;
    pub(super) const CURSOR_END: usize = 0x0b;
    pub(super) const START_ADDRESS: usize = 0x0c;
    pub(super) const CURSOR_LOCATION: usize = 0x0e;
    pub(super) const VERTICAL_RETRACE_END: usize = 0x11;
    pub(super) const VERTICAL_DISPLAY_END: usize = 0x12;
    pub(super) const OFFSET: usize = 0x13;
    pub(super) const UNDERLINE: usize = 0x14;
    pub(super) const MODE_CONTROL: usize = 0x17;
}

/// Sequencer registers.
mod seq {
    pub(super) const CLOCKING_MODE: usize = 1;
    pub(super) const MAP_MASK: usize = 2;
    pub(super) const CHARACTER_MAP: usize = 3;
    pub(super) const MEMORY_MODE: usize = 4;
    /// The bits that each has.
    pub(super) const BITS: [u8; 8] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0];
}

/// Graphics controller registers.
mod gc {
    pub(super) const SET_RESET: usize = 0;
    pub(super) const ENABLE_SET_RESET: usize = 1;
    pub(super) const COLOR_COMPARE: usize = 2;
    pub(super) const DATA_ROTATE: usize = 3;
    pub(super) const READ_MAP: usize = 4;
    pub(super) const MODE: usize = 5;
    pub(super) const MISCELLANEOUS: usize = 6;
    pub(super) const COLOR_DONT_CARE: usize = 7;
    pub(super) const BIT_MASK: usize = 8;
    /// The bits that each has.
    pub(super) const BITS: [u8; 9] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff];
}

/// Attribute controller registers.
mod attr {
    pub(super) const MODE_CONTROL: usize = 0x10;
    pub(super) const PLANE_ENABLE: usize = 0x12;
    pub(super) const PANNING: usize = 0x13;
    pub(super) const COLOR_SELECT: usize = 0x14;
    pub(super) const COUNT: usize = 0x15;
    /// The bits that each has, from the mode control on.
    pub(super) const BITS: [u8; 5] = [0xef, 0xff, 0x3f, 0x0f, 0x0f];
}

/// Miscellaneous output: the ports are at 3Dxh, and the processor reaches the memory.
const COLOR_PORTS: u8 = 1 << 0;
const RAM_ENABLE: u8 = 1 << 1;

/// All registers.
#[derive(Clone, Debug)]
struct Registers {
    misc: u8,
    feature: u8,
    seq_index: u8,
    seq: [u8; 8],
    gc_index: u8,
    gc: [u8; 16],
    crtc_index: u8,
    crtc: [u8; 32],
    /// With bit 5, which lets the palette be seen.
    attr_index: u8,
    attr: [u8; attr::COUNT],
    /// The next write to the attribute controller is of data.
    attr_data: bool,
    dac: [[u8; 3]; 256],
    dac_mask: u8,
    dac_read: u8,
    dac_write: u8,
    /// The component of a color that comes next.
    dac_part: usize,
    /// Components that wait for the last of their color.
    dac_latch: [u8; 3],
    /// The color that was asked for last was to be read.
    dac_reading: bool,
}

impl Registers {
    fn new() -> Registers {
        Registers {
            misc: 0,
            feature: 0,
            seq_index: 0,
            seq: [0; 8],
            gc_index: 0,
            gc: [0; 16],
            crtc_index: 0,
            crtc: [0; 32],
            attr_index: 0,
            attr: [0; attr::COUNT],
            attr_data: false,
            dac: [[0; 3]; 256],
            dac_mask: 0xff,
            dac_read: 0,
            dac_write: 0,
            dac_part: 0,
            dac_latch: [0; 3],
            dac_reading: false,
        }
    }

    /// Those of mode 3: text of 80 by 25 in 16 colors.
    fn text_mode() -> Registers {
        let mut registers = Registers::new();
        registers.misc = 0x67;
        registers.seq[..5].copy_from_slice(&[0x03, 0x00, 0x03, 0x00, 0x02]);
        registers.gc[..9].copy_from_slice(&[0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x0f, 0xff]);
        registers.crtc[..25].copy_from_slice(&[
            0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00,
            0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
        ]);
        registers.attr = [
            0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
            0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00,
        ];
        registers.attr_index = 0x20;
        // Two bits for each component: the high ones are bits 2 to 0, the low ones bits 5 to 3.
        for (at, color) in registers.dac.iter_mut().take(64).enumerate() {
            let part =
                |bit: usize| (at >> bit & 1) as u8 * 0x2a + (at >> (bit + 3) & 1) as u8 * 0x15;
            *color = [part(2), part(1), part(0)];
        }
        registers
    }

    /// Two registers of the CRT controller: high and low byte.
    fn crtc_word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.crtc[at], self.crtc[at + 1]])
    }

    fn write_attr(&mut self, value: u8) {
        self.attr_data = !self.attr_data;
        if self.attr_data {
            self.attr_index = value & 0x3f;
            return;
        }
        let at = usize::from(self.attr_index & 0x1f);
        // The palette can be written while it is not in use.
        if at < 16 && self.attr_index & 0x20 == 0 {
            self.attr[at] = value & 0x3f;
        } else if (16..attr::COUNT).contains(&at) {
            self.attr[at] = value & attr::BITS[at - 16];
        }
    }

    fn write_crtc(&mut self, value: u8) {
        let at = usize::from(self.crtc_index);
        let is_protected = at <= 7 && self.crtc[crtc::VERTICAL_RETRACE_END] & 0x80 != 0;
        match (self.crtc.get_mut(at), is_protected) {
            (Some(register), false) => *register = value,
            // The line compare's bit is never protected.
            (Some(register), true) if at == crtc::OVERFLOW => {
                *register = *register & !0x10 | value & 0x10;
            }
            _ => {}
        }
    }

    fn write_dac(&mut self, value: u8) {
        self.dac_latch[self.dac_part] = value;
        self.dac_part = (self.dac_part + 1) % 3;
        if self.dac_part == 0 {
            self.dac[usize::from(self.dac_write)] = self.dac_latch;
            self.dac_write = self.dac_write.wrapping_add(1);
        }
    }

    fn read_dac(&mut self) -> u8 {
        let value = self.dac[usize::from(self.dac_read)][self.dac_part];
        self.dac_part = (self.dac_part + 1) % 3;
        if self.dac_part == 0 {
            self.dac_read = self.dac_read.wrapping_add(1);
        }
        value
    }
}

/// A VGA: its window of 128 KiB (A0000h) at offset [`Vga::MEMORY`], ports 3B0h to 3DFh at offset
/// [`Vga::PORTS`], and the display interface's ports 1CEh to 1D0h at offset [`Vga::DISPI`]. They
/// answer whatever the PCI function's command register says, which switches its other ranges.
pub struct Vga {
    config: Config,
    rom: Arc<[u8]>,
    registers: Registers,
    dispi: Dispi,
    memory: Memory,
    clock: Clock,
    version: u64,
}

impl Vga {
    /// The offset of the memory window.
    pub const MEMORY: u64 = 0;
    /// Bytes of the memory window.
    pub const MEMORY_SIZE: u64 = 0x2_0000;
    /// The offset of the ports.
    pub const PORTS: u64 = Vga::MEMORY_SIZE;
    /// The first port, and how many there are.
    pub const FIRST_PORT: u64 = 0x3b0;
    /// Ports in the range.
    pub const PORT_COUNT: u64 = 0x30;
    /// The offset of the display interface's ports: the index, and at the next the data.
    pub const DISPI: u64 = Vga::PORTS + Vga::PORT_COUNT;
    /// Longest ROM.
    pub const MAX_ROM: usize = 256 << 10;

    /// A VGA as it is after reset: it shows nothing until it is programmed. `rom` is its BIOS, of
    /// [`Vga::MAX_ROM`] bytes at most (what is beyond is cut); without one the function has no ROM.
    pub fn new(clock: Clock, rom: &[u8]) -> Vga {
        let rom = &rom[..rom.len().min(Vga::MAX_ROM)];
        Vga {
            config: pci::config(rom.len()),
            rom: rom.into(),
            registers: Registers::new(),
            dispi: Dispi::new(),
            memory: Memory::new(),
            clock,
            version: 0,
        }
    }

    /// Does what a BIOS does for mode 3, text of 80 by 25, with `font`: 16 lines for each of 256
    /// characters. For machines without a BIOS.
    pub fn set_text_mode(&mut self, font: Option<&[[u8; 16]; 256]>) {
        self.registers = Registers::text_mode();
        self.memory = Memory::new();
        for cell in 0..80 * 25 {
            self.memory.set(0, cell * 2, b' ');
            self.memory.set(1, cell * 2, 0x07);
        }
        for (character, lines) in font.into_iter().flatten().enumerate() {
            for (at, line) in lines.iter().enumerate() {
                self.memory.set(2, character * 32 + at, *line);
            }
        }
        self.version += 1;
    }

    /// A number that changes when the screen may have.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Input status 1: bit 0 is a retrace, bit 3 the vertical one.
    fn status(&self) -> u8 {
        let at = self.clock.now() % (LINE * FRAME_LINES).min(SECOND);
        let (line, within) = (at / LINE, at % LINE);
        let is_blank = line >= VISIBLE_LINES || within >= LINE - LINE_BLANK;
        u8::from(is_blank) | u8::from(RETRACE.contains(&line)) << 3
    }

    /// Whether a port of the CRT controller is where it answers.
    fn is_selected(&self, port: u64) -> bool {
        let color = self.registers.misc & COLOR_PORTS != 0;
        match port {
            0x3b0..=0x3bf => !color,
            0x3d0..=0x3df => color,
            _ => true,
        }
    }

    fn read_port(&mut self, port: u64) -> u8 {
        if !self.is_selected(port) {
            return 0xff;
        }
        let status = self.status();
        let registers = &mut self.registers;
        match port {
            0x3c0 => registers.attr_index,
            0x3c1 => {
                registers.attr.get(usize::from(registers.attr_index & 0x1f)).copied().unwrap_or(0)
            }
            0x3c2 => 0x10, // A monitor is there.
            0x3c3 => 1,
            0x3c4 => registers.seq_index,
            0x3c5 => registers.seq[usize::from(registers.seq_index & 7)],
            0x3c6 => registers.dac_mask,
            0x3c7 => u8::from(registers.dac_reading) * 3,
            0x3c8 => registers.dac_write,
            0x3c9 => registers.read_dac(),
            0x3ca => registers.feature,
            0x3cc => registers.misc,
            0x3ce => registers.gc_index,
            0x3cf => registers.gc[usize::from(registers.gc_index & 15)],
            0x3b4 | 0x3d4 => registers.crtc_index,
            0x3b5 | 0x3d5 => {
                registers.crtc.get(usize::from(registers.crtc_index)).copied().unwrap_or(0xff)
            }
            0x3ba | 0x3da => {
                registers.attr_data = false;
                status
            }
            _ => 0xff,
        }
    }

    fn write_port(&mut self, port: u64, value: u8) {
        if !self.is_selected(port) {
            return;
        }
        let registers = &mut self.registers;
        match port {
            0x3c0 => registers.write_attr(value),
            0x3c2 => registers.misc = value,
            0x3c4 => registers.seq_index = value & 7,
            0x3c5 => {
                let at = usize::from(registers.seq_index);
                registers.seq[at] = value & seq::BITS[at];
            }
            0x3c6 => registers.dac_mask = value,
            0x3c7 => {
                registers.dac_read = value;
                registers.dac_part = 0;
                registers.dac_reading = true;
            }
            0x3c8 => {
                registers.dac_write = value;
                registers.dac_part = 0;
                registers.dac_reading = false;
            }
            0x3c9 => {
                registers.write_dac(if self.dispi.has_wide_dac() { value } else { value & 0x3f });
            }
            0x3ce => registers.gc_index = value & 15,
            0x3cf => {
                let at = usize::from(registers.gc_index);
                registers.gc[at] = value & gc::BITS.get(at).copied().unwrap_or(0);
            }
            0x3b4 | 0x3d4 => registers.crtc_index = value,
            0x3b5 | 0x3d5 => registers.write_crtc(value),
            0x3ba | 0x3da => registers.feature = value,
            _ => {}
        }
    }
}

impl Vga {
    /// The offset in all of the memory of `offset` in the window, if a mode of the display interface
    /// makes the window linear.
    fn linear(&self, offset: u64) -> Option<usize> {
        let is_linear = self.dispi.mode().is_some_and(|mode| mode.bpp != 4);
        (is_linear && offset < 0x1_0000).then(|| self.dispi.window() + offset as usize)
    }
}

impl Device for Vga {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        match offset {
            ..Vga::PORTS => match self.linear(offset) {
                Some(at) => self.memory.linear(at, bytes),
                None => {
                    read_bytes(offset, bytes, |at| self.memory.read(&self.registers, at as usize))
                }
            },
            Vga::PORTS..Vga::DISPI => read_bytes(offset - Vga::PORTS, bytes, |at| {
                self.read_port(at.saturating_add(Vga::FIRST_PORT))
            }),
            Vga::DISPI => self.dispi.index().into(),
            _ => self.dispi.read().into(),
        }
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        match offset {
            ..Vga::PORTS => match self.linear(offset) {
                Some(at) => self.memory.set_linear(at, bytes, value),
                None => write_bytes(offset, bytes, value, |at, byte| {
                    self.memory.write(&self.registers, at as usize, byte);
                }),
            },
            Vga::PORTS..Vga::DISPI => {
                write_bytes(offset - Vga::PORTS, bytes, value, |at, byte| {
                    self.write_port(at.saturating_add(Vga::FIRST_PORT), byte);
                });
            }
            Vga::DISPI => self.dispi.set_index(value as u16),
            _ => {
                if self.dispi.write(value as u16) == Then::Clear {
                    self.memory.clear();
                }
            }
        }
        self.version += 1;
    }

    fn reset(&mut self) {
        self.registers = Registers::new();
        self.dispi = Dispi::new();
        self.memory.clear();
        self.version += 1;
    }
}

impl fmt::Debug for Vga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vga").field("registers", &self.registers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
