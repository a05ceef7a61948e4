//! The display in the terminal: text as it is, pixels as coarse blocks.

use crate::board::Board;
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetColors};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use mynah_devices::vga::{Image, Screen, Text};
use parking_lot::{Condvar, Mutex};
use std::io::{self, Write};
use std::time::Duration;

/// Where the display is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Display {
    /// Nowhere; the terminal is the serial port's.
    #[default]
    None,
    /// In the terminal, which is also the machine's keyboard.
    Text,
}

/// Time between two looks at the screen.
const FRAME: Duration = Duration::from_millis(40);

/// Code page 437 from 00h to 1Fh; from 20h to 7Eh it is ASCII.
const LOW: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
/// Code page 437 from 7Fh on.
const HIGH: &str = "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫\
                    ╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// The color of the terminal for each of a text's.
const COLORS: [Color; 16] = [
    Color::Black,
    Color::DarkBlue,
    Color::DarkGreen,
    Color::DarkCyan,
    Color::DarkRed,
    Color::DarkMagenta,
    Color::DarkYellow,
    Color::Grey,
    Color::DarkGrey,
    Color::Blue,
    Color::Green,
    Color::Cyan,
    Color::Red,
    Color::Magenta,
    Color::Yellow,
    Color::White,
];

/// What is in a place of the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Glyph {
    character: char,
    foreground: Color,
    background: Color,
    blinks: bool,
}

/// What the terminal shows.
#[derive(PartialEq, Eq, Debug, Default)]
struct Picture {
    /// Rows, from the top.
    rows: Vec<Vec<Glyph>>,
    /// Column and row of the cursor.
    cursor: Option<(usize, usize)>,
}

impl Picture {
    /// The picture of a screen for a terminal with so many columns and rows. Text that does not fit
    /// is cut; graphics are made to fit.
    fn new(screen: &Screen, columns: usize, rows: usize) -> Picture {
        match screen {
            Screen::Blank => Picture::default(),
            Screen::Text(text) => Picture::of_text(text, columns, rows),
            Screen::Graphics(image) => Picture::of_image(image, columns, rows),
        }
    }

    fn of_text(text: &Text, columns: usize, rows: usize) -> Picture {
        let glyph = |cell: &mynah_devices::vga::Cell| Glyph {
            character: character(cell.character as u8),
            foreground: COLORS[usize::from(cell.foreground) % 16],
            background: COLORS[usize::from(cell.background) % 16],
            blinks: cell.blinks,
        };
        let lines = text.cells.chunks(text.columns.max(1)).take(rows);
        let rows: Vec<Vec<Glyph>> =
            lines.map(|line| line.iter().take(columns).map(glyph).collect()).collect();
        let cursor = text.cursor.map(|cursor| (cursor.column, cursor.row));
        let cursor = cursor.filter(|&(column, row)| column < columns && row < rows.len());
        Picture { rows, cursor }
    }

    /// Each place shows two pixels, one above the other.
    fn of_image(image: &Image, columns: usize, rows: usize) -> Picture {
        let color = |x: usize, y: usize| {
            let (x, y) = (x * image.width / columns, y * image.height / (2 * rows));
            let [r, g, b] = image.pixels.get(y * image.width + x).copied().unwrap_or_default();
            Color::Rgb { r, g, b }
        };
        let glyph = |x, y| Glyph {
            character: '▀',
            foreground: color(x, 2 * y),
            background: color(x, 2 * y + 1),
            blinks: false,
        };
        let rows = (0..rows).map(|y| (0..columns).map(|x| glyph(x, y)).collect()).collect();
        Picture { rows, cursor: None }
    }

    /// Makes a terminal that shows `before` show this.
    fn draw(&self, before: &Picture, output: &mut impl Write) -> io::Result<()> {
        queue!(output, Hide)?;
        if self.rows.len() < before.rows.len() {
            queue!(output, ResetColor, Clear(ClearType::All))?;
        }
        for (y, row) in self.rows.iter().enumerate() {
            let old = before.rows.get(y).filter(|_| self.rows.len() >= before.rows.len());
            if old == Some(row) {
                continue;
            }
            queue!(output, MoveTo(0, y as u16))?;
            let mut last = None;
            for glyph in row {
                let style = (glyph.foreground, glyph.background, glyph.blinks);
                if last != Some(style) {
                    let blink =
                        if glyph.blinks { Attribute::SlowBlink } else { Attribute::NoBlink };
                    let colors = crossterm::style::Colors::new(style.0, style.1);
                    queue!(output, SetAttribute(blink), SetColors(colors))?;
                    last = Some(style);
                }
                queue!(output, Print(glyph.character))?;
            }
            queue!(output, SetAttribute(Attribute::NoBlink), ResetColor)?;
            queue!(output, Clear(ClearType::UntilNewLine))?;
        }
        if let Some((x, y)) = self.cursor {
            queue!(output, MoveTo(x as u16, y as u16), Show)?;
        }
        output.flush()
    }
}

/// The character of a number in code page 437.
fn character(number: u8) -> char {
    let found = match number {
        0..0x20 => LOW.chars().nth(number.into()),
        0x20..0x7f => Some(char::from(number)),
        _ => HIGH.chars().nth(usize::from(number) - 0x7f),
    };
    found.unwrap_or(' ')
}

/// What hides the display while the terminal is something else.
#[derive(Default)]
pub(crate) struct Curtain {
    state: Mutex<Drawn>,
    changed: Condvar,
}

#[derive(Default)]
struct Drawn {
    /// The display is to be hidden.
    wanted: bool,
    /// There is a display, and it is not hidden.
    shows: bool,
}

impl Curtain {
    /// Hides the display, or lets it be seen again. When this returns, nothing is drawn any more.
    pub(crate) fn hide(&self, hide: bool) {
        let mut state = self.state.lock();
        state.wanted = hide;
        while hide && state.shows {
            self.changed.wait(&mut state);
        }
    }

    fn is_wanted(&self) -> bool {
        self.state.lock().wanted
    }

    fn shows(&self, shows: bool) {
        self.state.lock().shows = shows;
        self.changed.notify_all();
    }
}

/// Draws the board's screen in the terminal until the machine ends, but for the time that the
/// curtain hides it. A terminal that is gone is not drawn on.
pub(crate) fn show(board: &Board, curtain: &Curtain) {
    loop {
        while curtain.is_wanted() {
            if board.wait_for(FRAME).is_some() {
                return;
            }
        }
        curtain.shows(true);
        let ended = draw(board, curtain);
        curtain.shows(false);
        if ended {
            return;
        }
    }
}

/// Draws until the machine ends or the curtain is wanted; whether the machine has ended, or the
/// terminal.
fn draw(board: &Board, curtain: &Curtain) -> bool {
    let mut output = io::BufWriter::new(io::stdout());
    let _ = queue!(output, EnterAlternateScreen, Clear(ClearType::All));
    let mut shown = Picture::default();
    let mut drawn = None;
    let ended = loop {
        let size = terminal::size().unwrap_or((80, 25));
        let version = board.vga.lock().version();
        if drawn != Some((size, version)) {
            if drawn.is_none_or(|(before, _)| before != size) {
                shown = Picture::default();
                let _ = queue!(output, Clear(ClearType::All));
            }
            drawn = Some((size, version));
            let (columns, rows) = (usize::from(size.0).max(1), usize::from(size.1).max(1));
            let picture = Picture::new(&board.screen(), columns, rows);
            if picture != shown && picture.draw(&shown, &mut output).is_err() {
                return true;
            }
            shown = picture;
        }
        match board.wait_for(FRAME) {
            Some(_) => break true,
            None if curtain.is_wanted() => break false,
            None => {}
        }
    };
    let _ = queue!(output, ResetColor, Show, LeaveAlternateScreen);
    let _ = output.flush();
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use mynah_bus::{Clock, Device};
    use mynah_devices::vga::Vga;

    #[test]
    fn characters_are_those_of_the_code_page() {
        assert_eq!((LOW.chars().count(), HIGH.chars().count()), (32, 129));
        let rows = [(0, ' '), (0x18, '↑'), (b'A', 'A'), (0x7f, '⌂'), (0x80, 'Ç'), (0xb3, '│')];
        let more = [(0xc4, '─'), (0xda, '┌'), (0xdb, '█'), (0xe1, 'ß'), (0xfe, '■')];
        for (number, expected) in rows.into_iter().chain(more) {
            assert_eq!(character(number), expected, "{number:#x}");
        }
    }

    fn text(bytes: u64) -> Screen {
        let mut vga = Vga::new(Clock::stopped(), &[]);
        vga.set_text_mode(None);
        vga.write(0x1_8000, 8, bytes);
        vga.screen()
    }

    #[test]
    fn rows_that_change_are_drawn() {
        let before = Picture::new(&text(0x0720_0720_0720_1f48), 80, 25);
        let mut all = Vec::new();
        before.draw(&Picture::default(), &mut all).expect("memory takes all");
        let all = String::from_utf8(all).expect("text");
        assert!(all.contains('H') && all.contains("\u{1b}[25;1H"), "{all:?}");
        let after = Picture::new(&text(0x0720_0720_0720_1f49), 80, 25);
        let mut one = Vec::new();
        after.draw(&before, &mut one).expect("memory takes all");
        let one = String::from_utf8(one).expect("text");
        assert!(one.contains("\u{1b}[1;1H") && !one.contains("\u{1b}[2;1H"), "{one:?}");
        assert!(one.contains('I') && one.len() < 300, "{one:?}");
    }

    #[test]
    fn a_small_terminal_shows_a_part() {
        let picture = Picture::new(&text(0x0720_0720_0720_1f48), 10, 3);
        assert_eq!(picture.rows.iter().map(Vec::len).collect::<Vec<_>>(), [10; 3]);
        let image = Image { width: 4, height: 4, pixels: vec![[9; 3]; 16] };
        let picture = Picture::new(&Screen::Graphics(image), 7, 2);
        assert_eq!(picture.rows.len(), 2);
        let grey = Color::Rgb { r: 9, g: 9, b: 9 };
        assert!(
            picture.rows.iter().flatten().all(|g| g.foreground == grey && g.background == grey)
        );
    }
}
