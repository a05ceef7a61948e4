//! The keyboard controller of a PC: Intel 8042 with the firmware of the PS/2, and the [`Keyboard`] and
//! [`Mouse`] at its ports (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary
//! Device Controller").

mod keyboard;
mod keys;
mod mouse;

pub use keyboard::Keyboard;
pub use keys::{Stroke, key_by_name};
pub use mouse::{Buttons, Mouse};

use crate::system_control::{Control, Reset};
use mynah_bus::{Device, IrqLine};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Bits of the status register.
mod status {
    pub(super) const OUTPUT_FULL: u8 = 1 << 0;
    pub(super) const SYSTEM: u8 = 1 << 2;
    pub(super) const COMMAND: u8 = 1 << 3;
    pub(super) const UNLOCKED: u8 = 1 << 4;
    pub(super) const AUX: u8 = 1 << 5;
}

/// Bits of the command byte.
mod command {
    pub(super) const KEYBOARD_IRQ: u8 = 1 << 0;
    pub(super) const MOUSE_IRQ: u8 = 1 << 1;
    pub(super) const SYSTEM: u8 = 1 << 2;
    pub(super) const KEYBOARD_OFF: u8 = 1 << 4;
    pub(super) const MOUSE_OFF: u8 = 1 << 5;
    pub(super) const TRANSLATE: u8 = 1 << 6;
}

/// Bits of the output port. Reset is active when it is low.
mod output {
    pub(super) const NOT_RESET: u8 = 1 << 0;
    pub(super) const A20: u8 = 1 << 1;
    pub(super) const KEYBOARD_FULL: u8 = 1 << 4;
    pub(super) const MOUSE_FULL: u8 = 1 << 5;
}

/// Scan codes of set 1 by those of set 2, as the controller translates them. Codes from 85h on are
/// the same in both.
const TRANSLATION: [u8; 0x85] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
    0x80, 0x81, 0x82, 0x41, 0x54,
];

/// The prefix of a key's release in set 2.
const RELEASE: u8 = 0xf0;

/// Who a byte in the output buffer is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    Controller,
    Keyboard,
    Mouse,
}

#[derive(Clone, Debug)]
struct State {
    command: u8,
    output: u8,
    /// Controller RAM but for the command byte.
    ram: [u8; 31],
    /// The last write was a command.
    was_command: bool,
    /// The command that waits for its byte of data.
    waiting: Option<u8>,
    buffer: Option<(u8, From)>,
    /// Answers of the controller, and whom they seem to be from.
    answers: VecDeque<(u8, From)>,
    /// The last byte that was read.
    last: u8,
    /// The keyboard's last byte was the prefix of a release, which is being translated.
    releasing: bool,
}

impl State {
    fn new() -> State {
        State {
            // The system flag tells software that the controller has tested itself.
            command: command::KEYBOARD_IRQ | command::TRANSLATE,
            output: output::NOT_RESET | output::A20 | 0xcc,
            ram: [0; 31],
            was_command: false,
            waiting: None,
            buffer: None,
            answers: VecDeque::new(),
            last: 0,
            releasing: false,
        }
    }

    fn has(&self, bit: u8) -> bool {
        self.command & bit != 0
    }

    /// A byte from the keyboard, as the output buffer gets it. None for what only changes the next.
    fn translate(&mut self, byte: u8) -> Option<u8> {
        if !self.has(command::TRANSLATE) {
            return Some(byte);
        }
        if byte == RELEASE {
            self.releasing = true;
            return None;
        }
        let code = TRANSLATION.get(usize::from(byte)).copied().unwrap_or(byte);
        Some(code | u8::from(std::mem::take(&mut self.releasing)) << 7)
    }
}

/// Answers of the controller that have not been read, at most.
const ANSWERS: usize = 16;

/// The controller with its two devices: data at offset 0 (port 60h), command and status at offset
/// [`I8042::COMMAND`] (port 64h).
pub struct I8042 {
    state: State,
    keyboard: Keyboard,
    mouse: Mouse,
    keyboard_irq: IrqLine,
    mouse_irq: IrqLine,
    control: Arc<dyn Control>,
}

impl I8042 {
    /// The offset of the command and status port.
    pub const COMMAND: u64 = 4;

    /// A controller that interrupts by the two lines, which on a PC are 1 and 12.
    pub fn new(keyboard_irq: IrqLine, mouse_irq: IrqLine, control: Arc<dyn Control>) -> I8042 {
        I8042 {
            state: State::new(),
            keyboard: Keyboard::new(),
            mouse: Mouse::new(),
            keyboard_irq,
            mouse_irq,
            control,
        }
    }

    /// A key goes down or comes up. `code` is its make code in scan code set 1, with E000h added for
    /// those with the prefix E0h, and E11Dh for Pause. `false` if the keyboard's buffer is full.
    pub fn key(&mut self, code: u16, is_down: bool) -> bool {
        let taken = self.keyboard.key(code, is_down);
        self.update();
        taken
    }

    /// Whether the guest has read everything that the keyboard and the controller have to say.
    pub fn is_quiet(&self) -> bool {
        self.state.buffer.is_none() && self.state.answers.is_empty() && self.keyboard.is_empty()
    }

    /// Whether keys have an effect: software can switch the keyboard off.
    pub fn takes_keys(&self) -> bool {
        self.keyboard.is_enabled()
    }

    /// The mouse moves, right and up being positive; its wheel turns, towards the user being
    /// positive; `buttons` are down.
    pub fn mouse(&mut self, dx: i32, dy: i32, wheel: i32, buttons: Buttons) {
        self.mouse.moves(dx, dy, wheel, buttons);
        self.update();
    }

    fn answer(&mut self, byte: u8, from: From) {
        if self.state.answers.len() < ANSWERS {
            self.state.answers.push_back((byte, from));
        }
    }

    /// Fills the output buffer, if it is empty, and sets the lines.
    fn update(&mut self) {
        while self.state.buffer.is_none() {
            let state = &mut self.state;
            if let Some(answer) = state.answers.pop_front() {
                state.buffer = Some(answer);
            } else if !state.has(command::KEYBOARD_OFF)
                && let Some(byte) = self.keyboard.send()
            {
                state.buffer = state.translate(byte).map(|byte| (byte, From::Keyboard));
            } else if !state.has(command::MOUSE_OFF)
                && let Some(byte) = self.mouse.send()
            {
                state.buffer = Some((byte, From::Mouse));
            } else {
                break;
            }
        }
        self.update_lines();
    }

    fn update_lines(&self) {
        let (keyboard, mouse) = match self.state.buffer {
            Some((_, From::Mouse)) => (false, true),
            Some(_) => (true, false),
            None => (false, false),
        };
        self.keyboard_irq.set(keyboard && self.state.has(command::KEYBOARD_IRQ));
        self.mouse_irq.set(mouse && self.state.has(command::MOUSE_IRQ));
    }

    fn read_data(&mut self) -> u8 {
        if let Some((byte, _)) = self.state.buffer.take() {
            self.state.last = byte;
            // Each byte is an edge.
            self.update_lines();
        }
        self.state.last
    }

    fn read_status(&self) -> u8 {
        let state = &self.state;
        let full = match state.buffer {
            Some((_, From::Mouse)) => status::OUTPUT_FULL | status::AUX,
            Some(_) => status::OUTPUT_FULL,
            None => 0,
        };
        let system = if state.has(command::SYSTEM) { status::SYSTEM } else { 0 };
        let was_command = if state.was_command { status::COMMAND } else { 0 };
        full | system | was_command | status::UNLOCKED
    }

    fn write_command(&mut self, value: u8) {
        self.state.was_command = true;
        self.state.waiting = None;
        match value {
            0x20 => self.answer(self.state.command, From::Controller),
            0x21..=0x3f => {
                let byte = self.state.ram[usize::from(value) - 0x21];
                self.answer(byte, From::Controller);
            }
            0x60..=0x7f | 0xd1..=0xd4 => self.state.waiting = Some(value),
            0xa7 => self.state.command |= command::MOUSE_OFF,
            0xa8 => self.state.command &= !command::MOUSE_OFF,
            0xa9 | 0xab => self.answer(0, From::Controller), // Both interfaces are well.
            0xaa => {
                self.state.command |= command::SYSTEM;
                self.answer(0x55, From::Controller);
            }
            0xad => self.state.command |= command::KEYBOARD_OFF,
            0xae => self.state.command &= !command::KEYBOARD_OFF,
            0xc0 => self.answer(0x80, From::Controller), // The keyboard is not locked.
            0xd0 => {
                let full = match self.state.buffer {
                    Some((_, From::Mouse)) => output::MOUSE_FULL,
                    Some(_) => output::KEYBOARD_FULL,
                    None => 0,
                };
                self.answer(self.state.output | full, From::Controller);
            }
            0xdd => self.write_output(self.state.output & !output::A20),
            0xdf => self.write_output(self.state.output | output::A20),
            0xe0 => self.answer(0, From::Controller),
            // Pulses the bits of the output port that are 0.
            0xf0..=0xff if value & output::NOT_RESET == 0 => self.control.reset(Reset::Machine),
            _ => {}
        }
    }

    fn write_output(&mut self, value: u8) {
        let a20 = value & output::A20 != 0;
        self.state.output = value & 0xcf | output::NOT_RESET;
        self.control.a20(a20);
        if value & output::NOT_RESET == 0 {
            self.control.reset(Reset::Machine);
        }
    }

    fn write_data(&mut self, value: u8) {
        self.state.was_command = false;
        match self.state.waiting.take() {
            Some(0x60) => self.state.command = value,
            Some(command @ 0x61..=0x7f) => self.state.ram[usize::from(command) - 0x61] = value,
            Some(0xd1) => self.write_output(value),
            Some(0xd2) => self.answer(value, From::Keyboard),
            Some(0xd3) => self.answer(value, From::Mouse),
            Some(_) => {
                self.state.command &= !command::MOUSE_OFF;
                self.mouse.receive(value);
            }
            None => {
                self.state.command &= !command::KEYBOARD_OFF;
                self.keyboard.receive(value);
            }
        }
    }
}

impl Device for I8042 {
    fn read(&mut self, offset: u64, _: u8) -> u64 {
        let byte = match offset {
            0 => self.read_data(),
            I8042::COMMAND => self.read_status(),
            _ => 0xff,
        };
        self.update();
        byte.into()
    }

    fn write(&mut self, offset: u64, _: u8, value: u64) {
        match offset {
            0 => self.write_data(value as u8),
            I8042::COMMAND => self.write_command(value as u8),
            _ => {}
        }
        self.update();
    }

    fn reset(&mut self) {
        self.state = State::new();
        self.keyboard = Keyboard::new();
        self.mouse = Mouse::new();
        self.control.a20(true);
        self.update();
    }
}

impl fmt::Debug for I8042 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("I8042")
            .field("state", &self.state)
            .field("keyboard", &self.keyboard)
            .field("mouse", &self.mouse)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
