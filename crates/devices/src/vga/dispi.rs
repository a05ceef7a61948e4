//! The display interface of Bochs's adapter, by which drivers choose modes that the VGA does not have
//! (the "VBE DISPI" registers, as Bochs' documentation and its driver in Linux describe them).

use super::memory::SIZE;

/// Numbers of registers.
mod index {
    pub(super) const ID: u16 = 0;
    pub(super) const XRES: u16 = 1;
    pub(super) const YRES: u16 = 2;
    pub(super) const BPP: u16 = 3;
    pub(super) const ENABLE: u16 = 4;
    pub(super) const BANK: u16 = 5;
    pub(super) const VIRT_WIDTH: u16 = 6;
    pub(super) const VIRT_HEIGHT: u16 = 7;
    pub(super) const X_OFFSET: u16 = 8;
    pub(super) const Y_OFFSET: u16 = 9;
    pub(super) const MEMORY_64K: u16 = 10;
}

/// Bits of the enable register.
mod enable {
    pub(super) const ON: u16 = 1 << 0;
    pub(super) const GET_CAPS: u16 = 1 << 1;
    pub(super) const DAC_8_BITS: u16 = 1 << 5;
    pub(super) const LFB: u16 = 1 << 6;
    pub(super) const NO_CLEAR: u16 = 1 << 7;
    pub(super) const BITS: u16 = ON | GET_CAPS | DAC_8_BITS | LFB | NO_CLEAR;
}

/// The versions of the interface: the first and the last.
const IDS: std::ops::RangeInclusive<u16> = 0xb0c0..=0xb0c5;

/// The largest mode.
const MAX: (u16, u16) = (2560, 1600);

/// The registers.
#[derive(Clone, Debug)]
pub(super) struct Dispi {
    index: u16,
    id: u16,
    x: u16,
    y: u16,
    bpp: u16,
    enable: u16,
    bank: u16,
    virtual_width: u16,
    x_offset: u16,
    y_offset: u16,
}

/// A mode that is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mode {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bits of a pixel: 4 (one in each plane), 8, 15, 16, 24 or 32.
    pub(super) bpp: u16,
    /// Bytes from one line to the next; in a plane, with 4 bits.
    pub(super) pitch: usize,
    /// The first pixel's line and its column.
    pub(super) start: (usize, usize),
}

/// What a write leaves to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    Nothing,
    /// The memory is to be cleared: a mode was switched on.
    Clear,
}

impl Dispi {
    pub(super) fn new() -> Dispi {
        Dispi {
            index: 0,
            id: *IDS.end(),
            x: 640,
            y: 480,
            bpp: 8,
            enable: 0,
            bank: 0,
            virtual_width: 640,
            x_offset: 0,
            y_offset: 0,
        }
    }

    pub(super) fn set_index(&mut self, index: u16) {
        self.index = index;
    }

    pub(super) fn index(&self) -> u16 {
        self.index
    }

    /// The mode, if the interface and not the VGA shows the picture.
    pub(super) fn mode(&self) -> Option<Mode> {
        (self.enable & enable::ON != 0).then(|| Mode {
            width: self.x.into(),
            height: self.y.into(),
            bpp: self.bpp,
            pitch: self.pitch(),
            start: (self.y_offset.into(), self.x_offset.into()),
        })
    }

    /// Whether components of colors have eight bits in place of six.
    pub(super) fn has_wide_dac(&self) -> bool {
        self.enable & enable::DAC_8_BITS != 0
    }

    /// Where in memory the window of 64 KiB begins.
    pub(super) fn window(&self) -> usize {
        usize::from(self.bank) << 16
    }

    fn pitch(&self) -> usize {
        let width = usize::from(self.virtual_width);
        match self.bpp {
            4 => width / 8,
            bpp => width * usize::from(bpp.div_ceil(8)),
        }
    }

    pub(super) fn read(&self) -> u16 {
        let asks = self.enable & enable::GET_CAPS != 0;
        match self.index {
            index::ID => self.id,
            index::XRES if asks => MAX.0,
            index::XRES => self.x,
            index::YRES if asks => MAX.1,
            index::YRES => self.y,
            index::BPP if asks => 32,
            index::BPP => self.bpp,
            index::ENABLE => self.enable,
            index::BANK => self.bank,
            index::VIRT_WIDTH => self.virtual_width,
            index::VIRT_HEIGHT => {
                let lines = SIZE / if self.bpp == 4 { 4 } else { 1 } / self.pitch().max(1);
                u16::try_from(lines).unwrap_or(u16::MAX)
            }
            index::X_OFFSET => self.x_offset,
            index::Y_OFFSET => self.y_offset,
            index::MEMORY_64K => (SIZE >> 16) as u16,
            _ => 0xffff,
        }
    }

    /// Writes the register. Values that no mode has are not taken.
    pub(super) fn write(&mut self, value: u16) -> Then {
        match self.index {
            index::ID if IDS.contains(&value) => self.id = value,
            index::XRES if (8..=MAX.0).contains(&value) => {
                self.x = value & !7;
                self.virtual_width = self.virtual_width.max(self.x);
            }
            index::YRES if (1..=MAX.1).contains(&value) => self.y = value,
            index::BPP if matches!(value, 4 | 8 | 15 | 16 | 24 | 32) => self.bpp = value,
            index::BPP if value == 0 => self.bpp = 8,
            index::ENABLE => {
                let was_on = self.enable & enable::ON != 0;
                self.enable = value & enable::BITS;
                self.bank = 0;
                if value & enable::ON != 0 && !was_on {
                    (self.virtual_width, self.x_offset, self.y_offset) = (self.x, 0, 0);
                    if value & enable::NO_CLEAR == 0 {
                        return Then::Clear;
                    }
                }
            }
            index::BANK if usize::from(value) < SIZE >> 16 => self.bank = value,
            index::VIRT_WIDTH => self.virtual_width = (value & !7).max(self.x),
            index::X_OFFSET => self.x_offset = value,
            index::Y_OFFSET => self.y_offset = value,
            _ => {}
        }
        Then::Nothing
    }
}
