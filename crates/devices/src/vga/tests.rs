//! Tests of the display adapter, by its registers and its memory.

use super::*;
use mynah_bus::Timers;

fn vga() -> Vga {
    Vga::new(Clock::stopped(), &[])
}

impl Vga {
    fn out(&mut self, port: u64, value: u8) {
        self.write(Vga::PORTS + port - Vga::FIRST_PORT, 1, value.into());
    }
    fn inp(&mut self, port: u64) -> u8 {
        self.read(Vga::PORTS + port - Vga::FIRST_PORT, 1) as u8
    }
    /// Writes indexed registers.
    fn set(&mut self, port: u64, registers: &[(u8, u8)]) {
        for (index, value) in registers {
            self.write(
                Vga::PORTS + port - Vga::FIRST_PORT,
                2,
                u64::from(*value) << 8 | u64::from(*index),
            );
        }
    }
    fn text_screen(&self) -> Text {
        match self.screen() {
            Screen::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }
}

#[test]
fn text_appears_with_its_colors() {
    let mut vga = vga();
    assert_eq!(vga.screen(), Screen::Blank);
    vga.set_text_mode(None);
    let before = vga.version();
    vga.write(0x1_8000, 8, 0x9c6c_1f65_0748);
    vga.write(0x1_8000 + 160 * 24 + 158, 2, 0x0721);
    assert_ne!(vga.version(), before);
    let text = vga.text_screen();
    assert_eq!((text.columns, text.rows, text.width, text.height), (80, 25, 9, 16));
    assert_eq!(text.lines()[0], "Hel");
    assert_eq!(text.lines()[24], " ".repeat(79) + "!");
    let cell = |character, foreground, background, blinks| Cell {
        character,
        foreground,
        background,
        blinks,
    };
    let expected = [cell(0x48, 7, 0, false), cell(0x65, 15, 1, false), cell(0x6c, 12, 1, true)];
    assert_eq!(text.cells[..3], expected);
    assert_eq!(text.colors[7], [0xaa; 3]);
    assert_eq!(text.colors[6], [0xaa, 0x55, 0]);
    assert_eq!(text.colors[12], [0xff, 0x55, 0x55]);
    assert_eq!(vga.read(0x1_8002, 2), 0x1f65);
    // Elsewhere in the window nothing answers.
    assert_eq!((vga.read(0, 1), vga.read(0x1_0000, 1)), (0xff, 0xff));
}

#[test]
fn the_cursor_and_the_start_move() {
    let mut vga = vga();
    vga.set_text_mode(None);
    vga.set(0x3d4, &[(0x0e, 0), (0x0f, 83)]);
    let cursor = Cursor { column: 3, row: 1, lines: (13, 14) };
    assert_eq!(vga.text_screen().cursor, Some(cursor));
    vga.set(0x3d4, &[(0x0c, 0), (0x0d, 80)]);
    assert_eq!(vga.text_screen().cursor, Some(Cursor { row: 0, ..cursor }));
    vga.write(0x1_8000 + 160, 2, 0x0758);
    assert_eq!(vga.text_screen().lines()[0], "X");
    vga.set(0x3d4, &[(0x0a, 0x20)]);
    assert_eq!(vga.text_screen().cursor, None);
    vga.set(0x3d4, &[(0x0a, 0x0d), (0x0d, 84)]);
    assert_eq!(vga.text_screen().cursor, None);
}

#[test]
fn fonts_are_loaded_into_plane_2() {
    let mut vga = vga();
    vga.set_text_mode(Some(&[[0x55; 16]; 256]));
    // As a BIOS does it: plane 2 alone, in sequence, at A0000h.
    vga.set(0x3c4, &[(2, 4), (4, 7)]);
    vga.set(0x3ce, &[(4, 2), (5, 0), (6, 4)]);
    for line in 0..16 {
        vga.write(0x41 * 32 + line, 1, 0xf0 | line);
        vga.write(0x4000 + 0x41 * 32 + line, 1, line);
    }
    assert_eq!(vga.read(0x41 * 32 + 3, 1), 0xf3);
    vga.set(0x3c4, &[(2, 3), (4, 3)]);
    vga.set(0x3ce, &[(4, 0), (5, 0x10), (6, 0x0e)]);
    let text = vga.text_screen();
    assert_eq!((text.font[0x41][3], text.font[0x42][3], text.font[0x141][3]), (0xf3, 0x55, 0xf3));
    // The first font for attributes with bit 3 is the second one now.
    vga.set(0x3c4, &[(3, 0x04)]);
    vga.write(0x1_8000, 4, 0x0f41_0741);
    let text = vga.text_screen();
    assert_eq!((text.cells[0].character, text.cells[1].character), (0x41, 0x141));
    assert_eq!((text.font[0x41][3], text.font[0x141][3]), (0xf3, 0x03));
}

/// Mode 12h: 640 by 480 in 16 colors.
fn planar_mode(vga: &mut Vga) {
    vga.set_text_mode(None);
    vga.memory = Memory::new();
    vga.set(0x3c4, &[(1, 1), (2, 15), (4, 6)]);
    vga.set(0x3ce, &[(5, 0), (6, 5)]);
    vga.set(0x3d4, &[(0x11, 0x0c), (7, 0x3e), (9, 0x40), (0x12, 0xdf), (0x17, 0xe3)]);
}

#[test]
fn write_modes() {
    let mut vga = vga();
    planar_mode(&mut vga);
    let planes = |vga: &mut Vga, at: u64| {
        [0, 1, 2, 3].map(|plane| {
            vga.set(0x3ce, &[(4, plane)]);
            vga.read(at, 1) as u8
        })
    };
    vga.write(0, 1, 0xa5);
    assert_eq!(planes(&mut vga, 0), [0xa5; 4]);
    vga.set(0x3c4, &[(2, 0b0101)]);
    vga.write(1, 1, 0x0f);
    vga.set(0x3c4, &[(2, 15)]);
    assert_eq!(planes(&mut vga, 1), [0x0f, 0, 0x0f, 0]);
    // Set/reset and bit mask: the rest is from the latches.
    vga.set(0x3ce, &[(0, 0b0011), (1, 0b0111), (8, 0x3c)]);
    vga.read(0, 1);
    vga.write(2, 1, 0xff);
    assert_eq!(planes(&mut vga, 2), [0xbd, 0xbd, 0x81, 0xbd]);
    // Rotation and exclusive or.
    vga.set(0x3ce, &[(1, 0), (3, 0x1c), (8, 0xff)]);
    vga.read(0, 1);
    vga.write(3, 1, 0xf1);
    assert_eq!(planes(&mut vga, 3), [0xa5 ^ 0x1f; 4]);
    vga.set(0x3ce, &[(3, 0), (5, 1)]);
    vga.read(1, 1);
    vga.write(4, 1, 0x77);
    assert_eq!(planes(&mut vga, 4), [0x0f, 0, 0x0f, 0]);
    vga.set(0x3ce, &[(5, 2)]);
    vga.write(5, 1, 0b1010);
    assert_eq!(planes(&mut vga, 5), [0, 0xff, 0, 0xff]);
    vga.set(0x3ce, &[(0, 0b1001), (5, 3)]);
    vga.read(5, 1);
    vga.write(6, 1, 0xf0);
    assert_eq!(planes(&mut vga, 6), [0xf0, 0x0f, 0, 0xff]);
    // Read mode 1 finds the color 1010b, then without regard to plane 3.
    vga.set(0x3ce, &[(5, 8), (2, 0b0010), (7, 15)]);
    assert_eq!(vga.read(6, 1), 0);
    vga.set(0x3ce, &[(7, 0b0111)]);
    assert_eq!(vga.read(6, 1), 0x0f);
}

#[test]
fn graphics_are_pixels() {
    let mut vga = vga();
    planar_mode(&mut vga);
    vga.set(0x3c4, &[(2, 0b0100)]);
    vga.write(80, 1, 0x01);
    let Screen::Graphics(image) = vga.screen() else { panic!("no graphics") };
    assert_eq!((image.width, image.height), (640, 480));
    assert_eq!(image.pixels[640 + 7], [0xaa, 0, 0]);
    assert_eq!(image.pixels.iter().filter(|pixel| **pixel != [0; 3]).count(), 1);
    // Mode 13h: 320 by 200 in 256 colors.
    vga.set_text_mode(None);
    vga.set(0x3c4, &[(1, 1), (2, 15), (4, 0x0e)]);
    vga.set(0x3ce, &[(5, 0x40), (6, 5)]);
    vga.set(0x3d4, &[(9, 0x41), (0x14, 0x40)]);
    vga.out(0x3c8, 200);
    for part in [0x3f, 0x10, 0x01] {
        vga.out(0x3c9, part);
    }
    vga.write(320 * 2 + 5, 1, 200);
    let Screen::Graphics(image) = vga.screen() else { panic!("no graphics") };
    assert_eq!((image.width, image.height), (320, 200));
    assert_eq!(image.pixels[320 * 2 + 5], [0xff, 0x41, 0x04]);
}

#[test]
fn registers_and_colors_can_be_read_back() {
    let mut vga = vga();
    vga.set_text_mode(None);
    vga.out(0x3d4, 0x13);
    assert_eq!(vga.inp(0x3d5), 0x28);
    vga.set(0x3d4, &[(1, 99)]); // Protected.
    assert_eq!(vga.inp(0x3d5), 0x4f);
    vga.inp(0x3da);
    for value in [0x10, 0x04, 0x30] {
        vga.out(0x3c0, value);
    }
    assert_eq!((vga.inp(0x3c1), vga.inp(0x3c0)), (0x04, 0x30));
    vga.out(0x3c7, 7);
    assert_eq!((vga.inp(0x3c9), vga.inp(0x3c9), vga.inp(0x3c9)), (0x2a, 0x2a, 0x2a));
    assert_eq!((vga.inp(0x3c9), vga.inp(0x3c7)), (0, 3));
    // At the monochrome ports, when told so.
    assert_eq!((vga.inp(0x3b4), vga.inp(0x3cc)), (0xff, 0x67));
    vga.out(0x3c2, 0x66);
    assert_eq!((vga.inp(0x3b4), vga.inp(0x3d4)), (1, 0xff));
}

#[test]
fn retraces_come_in_time() {
    let timers = Timers::new(Clock::stopped());
    let mut vga = Vga::new(timers.clock().clone(), &[]);
    vga.set_text_mode(None);
    let mut seen = Vec::new();
    for _ in 0..FRAME_LINES {
        seen.push(vga.inp(0x3da));
        timers.advance(LINE);
    }
    let count = |status| seen.iter().filter(|one| **one == status).count();
    assert_eq!((count(0), count(1), count(9)), (400, 47, 2));
}

#[test]
fn absurd_registers_still_show_something_finite() {
    let mut vga = vga();
    vga.set_text_mode(None);
    vga.set(0x3d4, &[(0x11, 0)]);
    for register in 0..25 {
        vga.set(0x3d4, &[(register, 0xff)]);
    }
    assert!(vga.text_screen().cells.len() <= 256 * 1200);
    vga.set(0x3ce, &[(6, 1)]);
    for mode in 0..=255 {
        vga.set(0x3ce, &[(5, mode)]);
        vga.set(0x3d4, &[(9, mode)]);
        assert!(
            matches!(vga.screen(), Screen::Graphics(image) if image.pixels.len() <= 2048 * 1200)
        );
    }
}
