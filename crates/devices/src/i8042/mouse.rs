//! A PS/2 mouse, with the wheel and the two more buttons of the IntelliMouse protocols (IBM PS/2
//! Hardware Interface Technical Reference, "Auxiliary Devices").

use std::collections::VecDeque;

/// Bytes that wait to be sent, at most, but for answers.
const BUFFER: usize = 32;

/// Answers.
const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;

/// Buttons that are down.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Buttons {
    /// The left one.
    pub left: bool,
    /// The right one.
    pub right: bool,
    /// The middle one.
    pub middle: bool,
    /// Those at the sides.
    pub side: [bool; 2],
}

/// What the mouse is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Model {
    Plain,
    Wheel,
    FiveButtons,
}

#[derive(Clone, Debug)]
struct State {
    model: Model,
    /// The last three sample rates, by which software finds out about the wheel.
    rates: [u8; 3],
    resolution: u8,
    scaling: bool,
    remote: bool,
    wrap: bool,
    enabled: bool,
    /// The command that waits for its byte of data.
    waiting: Option<u8>,
    /// What has moved since the last report.
    moved: [i32; 3],
    buttons: Buttons,
    /// The buttons have changed since the last report.
    changed: bool,
    queue: VecDeque<u8>,
    last: u8,
}

impl State {
    fn new() -> State {
        State {
            model: Model::Plain,
            rates: [100; 3],
            resolution: 2,
            scaling: false,
            remote: false,
            wrap: false,
            enabled: false,
            waiting: None,
            moved: [0; 3],
            buttons: Buttons::default(),
            changed: false,
            queue: VecDeque::new(),
            last: 0,
        }
    }

    fn flags(&self) -> u8 {
        u8::from(self.buttons.left)
            | u8::from(self.buttons.right) << 1
            | u8::from(self.buttons.middle) << 2
    }

    /// Queues a report of what has moved, as far as one can tell of it.
    fn report(&mut self) {
        let mut part = |at: usize, limit: i32| {
            let moved = self.moved[at].clamp(-limit, limit - 1);
            self.moved[at] -= moved;
            moved
        };
        let (x, y) = (part(0, 256), part(1, 256));
        let wheel = match self.model {
            Model::Plain => part(2, i32::MAX),
            Model::Wheel | Model::FiveButtons => part(2, 8),
        };
        let sign = |value: i32, bit: u8| if value < 0 { 1 << bit } else { 0 };
        self.queue.extend([self.flags() | 1 << 3 | sign(x, 4) | sign(y, 5), x as u8, y as u8]);
        let side = u8::from(self.buttons.side[0]) << 4 | u8::from(self.buttons.side[1]) << 5;
        match self.model {
            Model::Plain => {}
            Model::Wheel => self.queue.push_back(wheel as u8),
            Model::FiveButtons => self.queue.push_back(wheel as u8 & 15 | side),
        }
        self.changed = false;
    }

    fn set_rate(&mut self, rate: u8) {
        self.rates = [self.rates[1], self.rates[2], rate];
        match (self.rates, self.model) {
            ([200, 100, 80], Model::Plain) => self.model = Model::Wheel,
            ([200, 200, 80], Model::Wheel) => self.model = Model::FiveButtons,
            _ => {}
        }
    }
}

/// A mouse.
#[derive(Clone, Debug)]
pub struct Mouse {
    state: State,
}

impl Default for Mouse {
    fn default() -> Mouse {
        Mouse::new()
    }
}

impl Mouse {
    /// A mouse that has just been switched on.
    pub fn new() -> Mouse {
        Mouse { state: State::new() }
    }

    /// See [`I8042::mouse`](super::I8042::mouse).
    pub(super) fn moves(&mut self, dx: i32, dy: i32, wheel: i32, buttons: Buttons) {
        let state = &mut self.state;
        state.changed |= buttons != state.buttons;
        state.buttons = buttons;
        for (moved, by) in state.moved.iter_mut().zip([dx, dy, wheel]) {
            // What nobody asks for is forgotten.
            *moved = moved.saturating_add(by).clamp(-4096, 4096);
        }
        self.stream();
    }

    /// Reports, in stream mode, while there is something and room for it.
    fn stream(&mut self) {
        let state = &mut self.state;
        let streams = state.enabled && !state.remote && !state.wrap;
        while streams
            && (state.changed || state.moved != [0; 3])
            && state.queue.len() + 4 <= BUFFER / 2
        {
            state.report();
        }
    }

    /// The next byte for the controller.
    pub(super) fn send(&mut self) -> Option<u8> {
        if self.state.queue.is_empty() {
            self.stream();
        }
        let byte = self.state.queue.pop_front()?;
        self.state.last = byte;
        Some(byte)
    }

    /// A byte from the controller: a command, or the data of one.
    pub(super) fn receive(&mut self, byte: u8) {
        let state = &mut self.state;
        if state.queue.len() >= BUFFER {
            return;
        }
        if state.wrap && !matches!(byte, 0xec | 0xff) {
            state.queue.push_back(byte);
            return;
        }
        match (state.waiting.take(), byte) {
            (Some(0xf3), 1..=200) => {
                state.set_rate(byte);
                state.queue.push_back(ACK);
                return;
            }
            (Some(0xe8), 0..=3) => {
                state.resolution = byte;
                state.queue.push_back(ACK);
                return;
            }
            _ => {}
        }
        let known = matches!(byte, 0xe6..=0xee | 0xf0 | 0xf2..=0xf6 | 0xff) && byte != 0xed;
        if !known {
            let answer = if byte == 0xfe { state.last } else { RESEND };
            state.queue.push_back(answer);
            return;
        }
        // A command ends the report that is being sent.
        state.queue.clear();
        state.queue.push_back(ACK);
        match byte {
            0xe6 => state.scaling = false,
            0xe7 => state.scaling = true,
            0xe8 | 0xf3 => state.waiting = Some(byte),
            0xe9 => {
                let mode = u8::from(state.remote) << 6
                    | u8::from(state.enabled) << 5
                    | u8::from(state.scaling) << 4;
                let buttons = u8::from(state.buttons.left) << 2
                    | u8::from(state.buttons.middle) << 1
                    | u8::from(state.buttons.right);
                state.queue.extend([mode | buttons, state.resolution, state.rates[2]]);
            }
            0xea => state.remote = false,
            0xeb => state.report(),
            0xec => state.wrap = false,
            0xee => state.wrap = true,
            0xf0 => state.remote = true,
            0xf2 => state.queue.push_back(match state.model {
                Model::Plain => 0,
                Model::Wheel => 3,
                Model::FiveButtons => 4,
            }),
            0xf4 => state.enabled = true,
            0xf5 => state.enabled = false,
            0xf6 => {
                let model = state.model;
                *state = State { model, queue: VecDeque::from([ACK]), ..State::new() };
            }
            // 0xff
            _ => *state = State { queue: VecDeque::from([ACK, 0xaa, 0x00]), ..State::new() },
        }
    }
}
