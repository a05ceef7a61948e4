//! A font for displays that no BIOS has set up: ASCII, five dots wide and seven high, each shown on two
//! lines.

/// From the space on, seven rows for each character: the value of a digit (0 to 9, then a to v) has a
/// bit for each dot, the highest to the left.
const GLYPHS: &str = "\
    0000000 4444404 aaa0000 aavavaa 4fke5u4 op248j3 cik8lid 4480000 2488842 8422248 04lel40 044v440 \
    0000c48 000v000 00000cc 0124800 ehjlphe 4c4444e eh1248v v2421he 26aiv22 vgu11he 68guhhe v124888 \
    ehhehhe ehhf12c 0cc0cc0 0cc0c48 248g842 00v0v00 8421248 eh12404 eh1dlle ehhhvhh uhhuhhu ehggghe \
    sihhhis vgguggv vgguggg ehgnhhf hhhvhhh e44444e 72222ic hikokih ggggggv hrllhhh hhpljhh ehhhhhe \
    uhhuggg ehhhlid uhhukih fgge11u v444444 hhhhhhe hhhhha4 hhhllla hha4ahh hhha444 v1248gv e88888e \
    0g84210 e22222e 4ah0000 000000v 8420000 00e1fhf ggmphhu 00egghe 11djhhf 00ehvge 698s888 0fhhf1e \
    ggmphhh 40c444e 20622ic ggikoki c44444e 00qllhh 00mphhh 00ehhhe 00uhugg 00djf11 00mpggg 00ege1u \
    88s8896 00hhhjd 00hhha4 00hhlla 00ha4ah 00hhf1e 00v248v 2448442 4444444 8442448 008l200";

/// The font: 16 lines for each of 256 characters. Those that are not ASCII are blank, but for the
/// full block (DBh).
pub(crate) fn font() -> Box<[[u8; 16]; 256]> {
    let mut font = Box::new([[0; 16]; 256]);
    for (glyph, lines) in GLYPHS.split_whitespace().zip(&mut font[0x20..]) {
        for (row, digit) in glyph.chars().enumerate() {
            let dots = digit.to_digit(32).unwrap_or(0) as u8;
            lines[1 + 2 * row..][..2].fill(dots << 2);
        }
    }
    font[0xdb] = [0xff; 16];
    font
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a glyph.
    const ROWS: usize = 7;

    #[test]
    fn every_character_has_its_rows() {
        let glyphs: Vec<&str> = GLYPHS.split_whitespace().collect();
        assert_eq!(glyphs.len(), 95);
        for (glyph, character) in glyphs.iter().zip(' '..) {
            assert!(glyph.chars().all(|digit| digit.is_digit(32)), "{character}");
            assert_eq!(glyph.len(), ROWS, "{character}");
        }
        let font = font();
        let l = font[usize::from(b'L')];
        assert_eq!(l, [0, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 124, 124, 0]);
        let mut drawn: Vec<_> = font[0x21..0x7f].to_vec();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 94, "no two characters look the same");
    }
}
