//! The pixels of a screen, as a monitor shows them.

use super::screen::{Image, Screen, Text};

/// The picture of a screen that shows nothing.
const BLANK: (usize, usize) = (640, 400);

impl Screen {
    /// The picture. Text is drawn in the font that the guest has loaded; what blinks is shown.
    pub fn image(&self) -> Image {
        match self {
            Screen::Blank => {
                let (width, height) = BLANK;
                Image { width, height, pixels: vec![[0; 3]; width * height] }
            }
            Screen::Text(text) => text.image(),
            Screen::Graphics(image) => image.clone(),
        }
    }
}

impl Text {
    fn image(&self) -> Image {
        let (width, height) = (self.columns * self.width, self.rows * self.height);
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            let (row, line) = (y / self.height, y % self.height);
            for column in 0..self.columns {
                let cell = self.cells[row * self.columns + column];
                let covered = self.cursor.is_some_and(|cursor| {
                    let (first, last) = cursor.lines;
                    (cursor.column, cursor.row) == (column, row)
                        && (usize::from(first)..=usize::from(last)).contains(&line)
                });
                let dots = self.font[usize::from(cell.character) % self.font.len()][line % 32];
                for x in 0..self.width {
                    let dot = match x {
                        0..8 => dots >> (7 - x) & 1 != 0,
                        _ => matches!(cell.character as u8, 0xc0..=0xdf) && dots & 1 != 0,
                    };
                    let color = if covered || dot { cell.foreground } else { cell.background };
                    pixels.push(self.colors[usize::from(color) % 16]);
                }
            }
        }
        Image { width, height, pixels }
    }
}
