//! A PS/2 keyboard with 102 keys, which knows scan code sets 1 and 2 (IBM PS/2 Hardware Interface
//! Technical Reference, "Keyboards").

use super::{RELEASE, TRANSLATION};
use std::collections::VecDeque;

/// Bytes that wait to be sent, at most, but for answers.
const BUFFER: usize = 16;

/// Answers.
const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;

/// The Pause key, which has no release.
const PAUSE: u16 = 0xe11d;

#[derive(Clone, Debug)]
struct State {
    /// The scan code set: 1 or 2.
    set: u8,
    enabled: bool,
    leds: u8,
    typematic: u8,
    /// The command that waits for its byte of data.
    waiting: Option<u8>,
    queue: VecDeque<u8>,
    last: u8,
}

impl State {
    fn new() -> State {
        State {
            set: 2,
            enabled: true,
            leds: 0,
            typematic: 0x2b,
            waiting: None,
            queue: VecDeque::new(),
            last: 0,
        }
    }
}

/// A keyboard.
#[derive(Clone, Debug)]
pub struct Keyboard {
    state: State,
}

impl Default for Keyboard {
    fn default() -> Keyboard {
        Keyboard::new()
    }
}

impl Keyboard {
    /// A keyboard that has just been switched on.
    pub fn new() -> Keyboard {
        Keyboard { state: State::new() }
    }

    /// Scroll, num and caps lock, from bit 0 on.
    pub fn leds(&self) -> u8 {
        self.state.leds
    }

    /// A key goes down or comes up; see [`I8042::key`](super::I8042::key). `false` if there is no
    /// room for it, or if the keyboard is disabled.
    pub(super) fn key(&mut self, code: u16, is_down: bool) -> bool {
        let mut bytes = Vec::new();
        if code == PAUSE {
            if is_down {
                let release = |byte: &u8| match self.state.set {
                    1 => vec![byte | 0x80],
                    _ => vec![RELEASE, set_2(*byte)],
                };
                let press = |byte: &u8| if self.state.set == 1 { *byte } else { set_2(*byte) };
                bytes.push(0xe1);
                bytes.extend([0x1d, 0x45].iter().map(press));
                bytes.push(0xe1);
                bytes.extend([0x1d, 0x45].iter().flat_map(release));
            }
        } else {
            if code >> 8 == 0xe0 {
                bytes.push(0xe0);
            }
            let code = code as u8 & 0x7f;
            match (self.state.set, is_down) {
                (1, true) => bytes.push(code),
                (1, false) => bytes.push(code | 0x80),
                (_, true) => bytes.push(set_2(code)),
                (_, false) => bytes.extend([RELEASE, set_2(code)]),
            }
        }
        let fits = self.state.enabled && self.state.queue.len() + bytes.len() <= BUFFER;
        if fits {
            self.state.queue.extend(bytes);
        }
        fits
    }

    /// Whether keys have an effect: software can switch that off.
    pub(super) fn is_enabled(&self) -> bool {
        self.state.enabled
    }

    /// Whether everything has been sent.
    pub(super) fn is_empty(&self) -> bool {
        self.state.queue.is_empty()
    }

    /// The next byte for the controller.
    pub(super) fn send(&mut self) -> Option<u8> {
        let byte = self.state.queue.pop_front()?;
        self.state.last = byte;
        Some(byte)
    }

    /// A byte from the controller: a command, or the data of one.
    pub(super) fn receive(&mut self, byte: u8) {
        let state = &mut self.state;
        // A command ends the sending of anything else.
        let answer = match (state.waiting.take(), byte) {
            (Some(0xed), 0..0x80) => {
                state.leds = byte & 7;
                ACK
            }
            (Some(0xf0), 0) => {
                state.queue.push_back(ACK);
                state.set
            }
            (Some(0xf0), 1 | 2) => {
                state.queue.clear();
                state.set = byte;
                ACK
            }
            (Some(0xf3), 0..0x80) => {
                state.typematic = byte;
                ACK
            }
            (_, 0xed | 0xf0 | 0xf3) => {
                state.waiting = Some(byte);
                ACK
            }
            (_, 0xee) => 0xee,
            (_, 0xf2) => {
                state.queue.extend([ACK, 0xab]);
                0x83
            }
            (_, 0xf4) => {
                state.queue.clear();
                state.enabled = true;
                ACK
            }
            (_, 0xf5 | 0xf6) => {
                let leds = state.leds;
                *state = State { leds, enabled: byte == 0xf6, ..State::new() };
                ACK
            }
            (_, 0xfe) => state.last,
            (_, 0xff) => {
                *state = State::new();
                state.queue.push_back(ACK);
                SELF_TEST_PASSED
            }
            _ => RESEND,
        };
        // Answers have room of their own, but not without end.
        if state.queue.len() < 2 * BUFFER {
            state.queue.push_back(answer);
        }
    }
}

/// The code in set 2 of one in set 1. Codes that no key has are themselves.
fn set_2(code: u8) -> u8 {
    // Where two codes are translated to one, the later is the key's.
    TRANSLATION.iter().rposition(|one| *one == code).map_or(code, |two| two as u8)
}
