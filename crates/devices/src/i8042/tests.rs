//! Tests of the controller with its devices.

use super::*;
use crate::system_control::notes::{Asked, Notes};
use crate::testing::Levels;

struct Rig {
    chip: I8042,
    levels: Arc<Levels>,
    notes: Arc<Notes>,
}

fn rig() -> Rig {
    let (levels, notes) = (Levels::new(), Notes::new());
    let chip = I8042::new(levels.line(1), levels.line(12), notes.clone());
    Rig { chip, levels, notes }
}

impl Rig {
    fn status(&mut self) -> u8 {
        self.chip.read(4, 1) as u8
    }
    /// All that is in the output buffer, one after the other.
    fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.status() & 1 != 0 {
            bytes.push(self.chip.read(0, 1) as u8);
        }
        bytes
    }
    fn command(&mut self, command: u8, data: Option<u8>) -> Vec<u8> {
        self.chip.write(4, 1, command.into());
        if let Some(data) = data {
            self.chip.write(0, 1, data.into());
        }
        self.drain()
    }
    fn keyboard(&mut self, bytes: &[u8]) -> Vec<u8> {
        for &byte in bytes {
            self.chip.write(0, 1, byte.into());
        }
        self.drain()
    }
    fn mouse(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for &byte in bytes {
            answers.extend(self.command(0xd4, Some(byte)));
        }
        answers
    }
}

#[test]
fn keys_are_translated_to_set_1() {
    let mut rig = rig();
    assert!(rig.chip.key(0x1e, true));
    assert!(rig.levels.is_high(1));
    assert_eq!(rig.status(), 0x11);
    assert_eq!(rig.drain(), [0x1e]);
    assert!(!rig.levels.is_high(1));
    let rows: &[(u16, bool, &[u8], &[u8])] = &[
        (0x1e, false, &[0x9e], &[0xf0, 0x1c]),
        (0xe048, true, &[0xe0, 0x48], &[0xe0, 0x75]),
        (0xe048, false, &[0xe0, 0xc8], &[0xe0, 0xf0, 0x75]),
        (0x41, true, &[0x41], &[0x83]),
        (0x41, false, &[0xc1], &[0xf0, 0x83]),
        (0x57, true, &[0x57], &[0x78]),
        (PAUSE, true, &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5], PAUSE_2),
        (PAUSE, false, &[], &[]),
    ];
    const PAUSE: u16 = 0xe11d;
    const PAUSE_2: &[u8] = &[0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77];
    for (code, is_down, one, two) in rows {
        assert!(rig.command(0x60, Some(0x45)).is_empty());
        rig.chip.key(*code, *is_down);
        assert_eq!(rig.drain(), *one, "{code:#x}");
        rig.command(0x60, Some(0x05));
        rig.chip.key(*code, *is_down);
        assert_eq!(rig.drain(), *two, "{code:#x}");
        rig.keyboard(&[0xf0, 0x01]);
        rig.chip.key(*code, *is_down);
        assert_eq!(rig.drain(), *one, "{code:#x}, by the keyboard");
        rig.keyboard(&[0xf0, 0x02]);
    }
}

#[test]
fn each_byte_is_an_edge() {
    let mut rig = rig();
    rig.chip.key(0xe01d, true);
    assert_eq!(rig.levels.take_edges(1), 1);
    rig.chip.read(0, 1);
    assert_eq!((rig.levels.take_edges(1), rig.levels.is_high(1)), (1, true));
    assert_eq!((rig.chip.read(0, 1), rig.chip.read(0, 1)), (0x1d, 0x1d));
    rig.command(0x60, Some(0x44));
    rig.chip.key(0x10, true);
    assert!(!rig.levels.is_high(1));
    rig.drain();
    // Disabled, the keyboard keeps its bytes.
    rig.command(0xad, None);
    rig.chip.key(0x11, true);
    assert_eq!((rig.drain(), rig.command(0xae, None)), (vec![], vec![0x11]));
}

#[test]
fn the_keyboard_answers_commands() {
    let mut rig = rig();
    rig.command(0x60, Some(0x05));
    assert_eq!(rig.keyboard(&[0xff]), [0xfa, 0xaa]);
    assert_eq!(rig.keyboard(&[0xf2]), [0xfa, 0xab, 0x83]);
    assert_eq!(rig.keyboard(&[0xee]), [0xee]);
    assert_eq!(rig.keyboard(&[0xed, 0x02]), [0xfa, 0xfa]);
    assert_eq!(rig.chip.keyboard.leds(), 2);
    assert_eq!(rig.keyboard(&[0xf0, 0x00]), [0xfa, 0xfa, 0x02]);
    assert_eq!(rig.keyboard(&[0xf0, 0x03]), [0xfa, 0xfe]);
    assert_eq!(rig.keyboard(&[0xf3, 0x20]), [0xfa; 2]);
    assert_eq!(rig.keyboard(&[0xf5]), [0xfa]);
    assert!(!rig.chip.key(0x1e, true));
    assert_eq!(rig.keyboard(&[0xf4]), [0xfa]);
    assert_eq!(rig.keyboard(&[0x12]), [0xfe]);
    // Its buffer ends.
    assert_eq!((0..40).filter(|_| rig.chip.key(0x1e, true)).count(), 17);
}

#[test]
fn the_controller_answers_commands() {
    let mut rig = rig();
    assert_eq!(rig.command(0xaa, None), [0x55]);
    assert_eq!(rig.command(0xab, None), [0x00]);
    assert_eq!(rig.command(0x20, None), [0x45]);
    rig.command(0x65, Some(0x77));
    assert_eq!(rig.command(0x25, None), [0x77]);
    assert_eq!(rig.command(0xd2, Some(0x12)), [0x12]);
    rig.chip.write(4, 1, 0xd3);
    assert_eq!(rig.status() & 8, 8);
    rig.chip.write(0, 1, 0x34);
    assert_eq!((rig.status(), rig.drain()), (0x35, vec![0x34]));
    for _ in 0..100 {
        rig.chip.write(4, 1, 0x20);
    }
    assert_eq!(rig.drain().len(), ANSWERS + 1);
}

#[test]
fn a20_and_reset() {
    let mut rig = rig();
    assert_eq!(rig.command(0xd0, None), [0xcf]);
    rig.command(0xd1, Some(0xcd));
    rig.command(0xdf, None);
    rig.command(0xfe, None);
    rig.command(0xff, None);
    let reset = Asked::Reset(Reset::Machine);
    assert_eq!(rig.notes.take(), [Asked::A20(false), Asked::A20(true), reset]);
    rig.command(0xd1, Some(0xce));
    assert_eq!(rig.notes.take(), [Asked::A20(true), reset]);
}

#[test]
fn the_mouse_reports() {
    let mut rig = rig();
    rig.command(0x60, Some(0x47));
    assert_eq!(rig.mouse(&[0xff]), [0xfa, 0xaa, 0x00]);
    let left = Buttons { left: true, ..Buttons::default() };
    rig.chip.mouse(5, -3, 1, left);
    assert_eq!(rig.drain(), []);
    assert_eq!(rig.mouse(&[0xe9]), [0xfa, 0x04, 2, 100]);
    assert_eq!(rig.mouse(&[0xeb]), [0xfa, 0x29, 5, 0xfd]);
    assert_eq!(rig.mouse(&[0xf4]), [0xfa]);
    rig.levels.take_edges(12);
    rig.chip.mouse(300, 0, 0, left);
    assert_eq!(rig.status() & 0x21, 0x21);
    assert_eq!(rig.drain(), [0x09, 255, 0, 0x09, 45, 0]);
    assert_eq!(rig.levels.take_edges(12), 6);
    rig.chip.mouse(0, 0, 0, Buttons::default());
    assert_eq!(rig.drain(), [0x08, 0, 0]);
    assert_eq!(rig.mouse(&[0xee, 0x55, 0xec]), [0xfa, 0x55, 0xfa]);
    assert_eq!(rig.mouse(&[0xf3, 0x00]), [0xfa, 0xfe]);
}

#[test]
fn the_mouse_has_a_wheel_for_those_who_ask() {
    let mut rig = rig();
    rig.mouse(&[0xf3, 200, 0xf3, 100, 0xf3, 80]);
    assert_eq!(rig.mouse(&[0xf2]), [0xfa, 3]);
    rig.mouse(&[0xf4]);
    rig.chip.mouse(0, 0, -9, Buttons::default());
    assert_eq!(rig.drain(), [0x08, 0, 0, 0xf8, 0x08, 0, 0, 0xff]);
    rig.mouse(&[0xf3, 200, 0xf3, 200, 0xf3, 80]);
    assert_eq!(rig.mouse(&[0xf2]), [0xfa, 4]);
    rig.chip.mouse(0, 0, -1, Buttons { side: [false, true], ..Buttons::default() });
    assert_eq!(rig.drain(), [0x08, 0, 0, 0x2f]);
    rig.mouse(&[0xff]);
    assert_eq!(rig.mouse(&[0xf2]), [0xfa, 0]);
}
