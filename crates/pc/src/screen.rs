//! Pictures of the screen.

use crate::board::Board;
use mynah_devices::vga::{Image, Screen};

impl Board {
    /// What is on the screen.
    pub(crate) fn screen(&self) -> Screen {
        self.vga.lock().screen()
    }
}

/// The picture as a file in PNG format.
pub(crate) fn png(image: &Image) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, image.width as u32, image.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(image.pixels.as_flattened())?;
        writer.finish()
    });
    written.expect("a screen has pixels, and memory takes what is written");
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_read_back_as_it_was() {
        let pixels = vec![[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 255], [255, 0, 0], [0, 255, 0]];
        let file = png(&Image { width: 3, height: 2, pixels: pixels.clone() });
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("PNG");
        let mut bytes = vec![0; 18];
        let info = reader.next_frame(&mut bytes).expect("a picture");
        assert_eq!((info.width, info.height, info.color_type), (3, 2, png::ColorType::Rgb));
        assert_eq!(bytes, pixels.as_flattened());
    }
}
