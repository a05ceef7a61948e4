//! What a monitor shows: the CRT controller's way through memory, and the attribute controller's
//! colors.

use super::{Vga, attr, crtc, dispi, gc, memory::PLANE, seq};

/// Lines of a screen, at most: what the registers may ask for beyond is cut.
const MAX_LINES: usize = 1200;

/// What is on the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Screen {
    /// Nothing: the display is off, or not programmed.
    Blank,
    /// Characters.
    Text(Text),
    /// Pixels.
    Graphics(Image),
}

/// A screen of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    /// Characters in a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// Characters, row by row.
    pub cells: Vec<Cell>,
    /// The cursor, while it is shown.
    pub cursor: Option<Cursor>,
    /// The 16 colors of cells: red, green and blue.
    pub colors: [[u8; 3]; 16],
    /// Lines of a character.
    pub height: usize,
    /// Dots of a character: 8, or 9, of which the last is empty, but for C0h to DFh, where it
    /// repeats the eighth.
    pub width: usize,
    /// The lines of characters, most significant bit to the left. The second 256 are another font,
    /// or the same.
    pub font: Vec<[u8; 32]>,
}

/// A character on the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// Its number in the font; in the first 256, of code page 437 as a rule.
    pub character: u16,
    /// Color of its dots.
    pub foreground: u8,
    /// Color of what is around.
    pub background: u8,
    /// It blinks.
    pub blinks: bool,
}

/// The text cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// From the left, from 0.
    pub column: usize,
    /// From the top, from 0.
    pub row: usize,
    /// The lines of the character that it covers: first and last.
    pub lines: (u8, u8),
}

/// A screen of pixels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Pixels in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Red, green and blue, line by line.
    pub pixels: Vec<[u8; 3]>,
}

impl Text {
    /// The characters as lines of text, without blanks at their ends. Those beyond ASCII are `?`.
    pub fn lines(&self) -> Vec<String> {
        let character = |cell: &Cell| match cell.character as u8 {
            0 => ' ',
            byte @ 0x20..0x7f => char::from(byte),
            _ => '?',
        };
        let rows = self.cells.chunks(self.columns.max(1));
        rows.map(|row| row.iter().map(character).collect::<String>().trim_end().to_owned())
            .collect()
    }
}

impl Vga {
    /// What is on the screen.
    pub fn screen(&self) -> Screen {
        if let Some(mode) = self.dispi.mode() {
            return Screen::Graphics(self.large(mode));
        }
        let registers = &self.registers;
        let is_off = registers.seq[seq::CLOCKING_MODE] & 0x20 != 0
            || registers.attr_index & 0x20 == 0
            || registers.crtc[crtc::MODE_CONTROL] & 0x80 == 0;
        if is_off {
            Screen::Blank
        } else if registers.gc[gc::MISCELLANEOUS] & 1 == 0 {
            Screen::Text(self.text())
        } else {
            Screen::Graphics(self.image())
        }
    }

    /// Characters, or units of eight dots, in a line.
    fn columns(&self) -> usize {
        usize::from(self.registers.crtc[crtc::HORIZONTAL_DISPLAY_END]) + 1
    }

    /// Visible lines.
    fn lines(&self) -> usize {
        let crtc = &self.registers.crtc;
        let overflow = usize::from(crtc[crtc::OVERFLOW]);
        let end = usize::from(crtc[crtc::VERTICAL_DISPLAY_END])
            | (overflow & 0x02) << 7
            | (overflow & 0x40) << 3;
        (end + 1).min(MAX_LINES)
    }

    /// Lines for which a row of memory is shown.
    fn row_height(&self) -> usize {
        let register = self.registers.crtc[crtc::MAXIMUM_SCAN_LINE];
        (usize::from(register & 0x1f) + 1) << (register >> 7)
    }

    /// Where a value of the CRT controller's counter is in a plane.
    fn address(&self, counter: usize) -> usize {
        let crtc = &self.registers.crtc;
        let address = if crtc[crtc::UNDERLINE] & 0x40 != 0 {
            counter << 2
        } else if crtc[crtc::MODE_CONTROL] & 0x40 == 0 {
            counter << 1
        } else {
            counter
        };
        address & (PLANE - 1)
    }

    /// The counter at the beginning of a row.
    fn row_start(&self, row: usize) -> usize {
        let start = usize::from(self.registers.crtc_word(crtc::START_ADDRESS));
        start + row * usize::from(self.registers.crtc[crtc::OFFSET]) * 2
    }

    /// The color of a value of the DAC, with eight bits for each component.
    fn dac(&self, value: u8) -> [u8; 3] {
        let color = self.registers.dac[usize::from(value & self.registers.dac_mask)];
        if self.dispi.has_wide_dac() { color } else { color.map(|part| part << 2 | part >> 4) }
    }

    /// The color of an attribute, by way of the palette.
    fn color(&self, attribute: u8) -> [u8; 3] {
        let attrs = &self.registers.attr;
        let palette = attrs[usize::from(attribute & attrs[attr::PLANE_ENABLE] & 15)];
        let select = attrs[attr::COLOR_SELECT];
        let value = if attrs[attr::MODE_CONTROL] & 0x80 != 0 {
            palette & 0x0f | select << 4
        } else {
            palette & 0x3f | (select & 0x0c) << 4
        };
        self.dac(value)
    }

    fn text(&self) -> Text {
        let registers = &self.registers;
        let columns = self.columns();
        let height = self.row_height();
        let rows = (self.lines() / height).max(1);
        let blinking = registers.attr[attr::MODE_CONTROL] & 8 != 0;
        // Bit 3 of the attribute chooses between two fonts, when they differ.
        let (a, b) = fonts(registers.seq[seq::CHARACTER_MAP]);
        let mut cells = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            for column in 0..columns {
                let at = self.address(self.row_start(row) + column);
                let [character, attribute, ..] = self.memory.planes(at);
                let second = a != b && attribute & 8 != 0;
                cells.push(Cell {
                    character: u16::from(character) | u16::from(second) << 8,
                    foreground: attribute & 15,
                    background: attribute >> 4 & if blinking { 7 } else { 15 },
                    blinks: blinking && attribute & 0x80 != 0,
                });
            }
        }
        let glyph = |font: usize, at: usize| -> [u8; 32] {
            std::array::from_fn(|line| self.memory.planes(font + at * 32 + line)[2])
        };
        let font = (0..256).map(|at| glyph(b, at)).chain((0..256).map(|at| glyph(a, at))).collect();
        Text {
            columns,
            rows,
            cells,
            cursor: self.cursor(columns, rows),
            colors: std::array::from_fn(|color| self.color(color as u8)),
            height: height.min(32),
            width: if registers.seq[seq::CLOCKING_MODE] & 1 != 0 { 8 } else { 9 },
            font,
        }
    }

    fn cursor(&self, columns: usize, rows: usize) -> Option<Cursor> {
        let crtc = &self.registers.crtc;
        let (start, end) = (crtc[crtc::CURSOR_START], crtc[crtc::CURSOR_END] & 0x1f);
        let location = usize::from(self.registers.crtc_word(crtc::CURSOR_LOCATION));
        let pitch = usize::from(crtc[crtc::OFFSET]) * 2;
        let distance = location.checked_sub(self.row_start(0))?;
        let (row, column) = (distance.checked_div(pitch)?, distance.checked_rem(pitch)?);
        let shown = start & 0x20 == 0 && start & 0x1f <= end && row < rows && column < columns;
        shown.then_some(Cursor { column, row, lines: (start & 0x1f, end) })
    }

    fn image(&self) -> Image {
        let registers = &self.registers;
        let units = self.columns();
        let row_height = self.row_height();
        // Each line of memory is shown for several of the screen: they are one here, unless the
        // planes take the lines in turn, as the CGA's modes have it.
        let height = (self.lines() / row_height).max(1);
        let shift = registers.gc[gc::MODE] >> 5 & 3;
        let dots = if shift >= 2 { 4 } else { 8 };
        let width = units * dots;
        let panning = usize::from(registers.attr[attr::PANNING] & 7).min(dots - 1);
        let mut pixels = Vec::with_capacity(width * height);
        for row in 0..height {
            let start = self.row_start(row);
            for x in panning..width + panning {
                let at = self.address(start + x / dots);
                let planes = self.memory.planes(at);
                pixels.push(match shift {
                    0 => self.color(planar(planes, x % 8)),
                    1 => self.color(pairs(planes, x % 8)),
                    _ => self.dac(planes[x % 4]),
                });
            }
        }
        Image { width, height, pixels }
    }
}

impl Vga {
    /// The picture of a mode of the display interface.
    fn large(&self, mode: dispi::Mode) -> Image {
        let mut pixels = Vec::with_capacity(mode.width * mode.height);
        for y in 0..mode.height {
            let line = (mode.start.0 + y) * mode.pitch;
            for x in mode.start.1..mode.start.1 + mode.width {
                pixels.push(self.large_pixel(mode.bpp, line, x));
            }
        }
        Image { width: mode.width, height: mode.height, pixels }
    }

    /// A pixel of a line that begins at `line`.
    fn large_pixel(&self, bpp: u16, line: usize, x: usize) -> [u8; 3] {
        let bytes = usize::from(bpp.div_ceil(8));
        let byte = |n: usize| self.memory.byte(line + x * bytes + n);
        let word = || usize::from(byte(0)) | usize::from(byte(1)) << 8;
        // A component of so many bits.
        let part = |at: usize, bits: usize| {
            let value = word() >> at & ((1 << bits) - 1);
            (value << (8 - bits) | value >> (2 * bits - 8)) as u8
        };
        match bpp {
            4 => self.color(planar(self.memory.planes(line + x / 8), x % 8)),
            8 => self.dac(byte(0)),
            15 => [part(10, 5), part(5, 5), part(0, 5)],
            16 => [part(11, 5), part(5, 6), part(0, 5)],
            _ => [byte(2), byte(1), byte(0)],
        }
    }
}

/// A pixel with one bit in each plane.
fn planar(planes: [u8; 4], x: usize) -> u8 {
    (0..4).fold(0, |color, plane| color | (planes[plane] >> (7 - x) & 1) << plane)
}

/// A pixel with two bits in planes 0 and 1, which are taken one after the other, and two in planes 2
/// and 3.
fn pairs(planes: [u8; 4], x: usize) -> u8 {
    let at = 6 - x % 4 * 2;
    let half = x / 4;
    planes[half] >> at & 3 | (planes[2 + half] >> at & 3) << 2
}

/// The addresses in plane 2 of the fonts for attributes with and without bit 3: A and B.
fn fonts(register: u8) -> (usize, usize) {
    let font = |low: u8, high: u8| {
        // Fonts 0 to 3 are 16 KiB apart, and 4 to 7 lie between them.
        usize::from(low) * 0x4000 + usize::from(high) * 0x2000
    };
    (font(register >> 2 & 3, register >> 5 & 1), font(register & 3, register >> 4 & 1))
}
