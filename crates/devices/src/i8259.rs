//! The pair of interrupt controllers of a PC: Intel 8259A data sheet, with the edge/level control
//! registers of the 82371SB.
//!
//! A request that has come as an edge stays until it is acknowledged, even if its line falls before.

use mynah_bus::{Device, IrqLine, Pins, read_bytes, write_bytes};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// What an 8259A expects to be written next to its data port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Icw2,
    Icw3,
    Icw4,
    /// The interrupt mask.
    Ocw1,
}

/// One 8259A.
#[derive(Clone, Copy, Debug)]
struct Chip {
    /// Levels of its lines.
    lines: u8,
    irr: u8,
    isr: u8,
    imr: u8,
    /// Lines that are level-triggered: the edge/level control register.
    elcr: u8,
    /// Bits of ELCR that exist.
    elcr_mask: u8,
    /// ICW1: all lines are level-triggered.
    ltim: bool,
    /// ICW1: there is no other chip.
    single: bool,
    /// ICW1: ICW4 will come.
    needs_icw4: bool,
    expected: Expected,
    /// Bits 7 to 3 of the vector.
    base: u8,
    /// ICW3 of the first chip: the lines that others are at. Of others: their number.
    icw3: u8,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_fully_nested: bool,
    special_mask: bool,
    /// The next read polls.
    poll: bool,
    /// Reads of the command port give ISR in place of IRR.
    read_isr: bool,
    /// The line with the lowest priority.
    lowest: u8,
}

impl Chip {
    fn new(elcr_mask: u8) -> Chip {
        Chip {
            lines: 0,
            irr: 0,
            isr: 0,
            imr: 0,
            elcr: 0,
            elcr_mask,
            ltim: false,
            single: false,
            needs_icw4: false,
            expected: Expected::Ocw1,
            base: 0,
            icw3: 0,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_fully_nested: false,
            special_mask: false,
            poll: false,
            read_isr: false,
            lowest: 7,
        }
    }

    fn level_triggered(&self) -> u8 {
        if self.ltim { 0xff } else { self.elcr }
    }

    fn set_line(&mut self, line: u8, level: bool) {
        let bit = 1 << line;
        let rises = level && self.lines & bit == 0;
        if level {
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
        if self.level_triggered() & bit != 0 {
            self.irr = self.irr & !bit | self.lines & bit;
        } else if rises {
            self.irr |= bit;
        }
    }

    /// Whether a request of `line` waits to be acknowledged.
    fn holds(&self, line: u8) -> bool {
        self.irr & !self.imr & 1 << line != 0
    }

    /// The line of highest priority among `lines`, and its rank, 0 being the highest.
    fn highest(&self, lines: u8) -> Option<(u8, u8)> {
        (0..8)
            .map(|rank| (self.lowest.wrapping_add(1 + rank) & 7, rank))
            .find(|(line, _)| lines & 1 << line != 0)
    }

    /// The line to serve next. `cascade` is those at which other chips are.
    fn pending(&self, cascade: u8) -> Option<u8> {
        let (line, rank) = self.highest(self.irr & !self.imr)?;
        let mut serving = self.isr;
        if self.special_mask {
            serving &= !self.imr;
        }
        if self.special_fully_nested {
            serving &= !cascade;
        }
        let blocked = self.highest(serving).is_some_and(|(_, serving)| serving <= rank);
        (!blocked).then_some(line)
    }

    /// What INTA does for `line`.
    fn acknowledge(&mut self, line: u8) {
        let bit = 1 << line;
        if self.level_triggered() & bit == 0 {
            self.irr &= !bit;
        }
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotate_on_auto_eoi {
            self.lowest = line;
        }
    }

    fn write_command(&mut self, value: u8) {
        match value & 0x18 {
            0x10 | 0x18 => self.icw1(value),
            0x00 => self.ocw2(value),
            _ => self.ocw3(value),
        }
    }

    fn icw1(&mut self, value: u8) {
        self.ltim = value & 8 != 0;
        self.single = value & 2 != 0;
        self.needs_icw4 = value & 1 != 0;
        self.expected = Expected::Icw2;
        // An edge must come again; levels are still there.
        self.irr = self.lines & self.level_triggered();
        self.isr = 0;
        self.imr = 0;
        self.lowest = 7;
        self.special_mask = false;
        self.read_isr = false;
        self.poll = false;
        self.auto_eoi = false;
        self.rotate_on_auto_eoi = false;
        self.special_fully_nested = false;
    }

    fn ocw2(&mut self, value: u8) {
        let named = value & 7;
        let top = self.highest(self.isr & if self.special_mask { !self.imr } else { 0xff });
        let top = top.map(|(line, _)| line);
        match value >> 5 {
            0b000 => self.rotate_on_auto_eoi = false,
            0b100 => self.rotate_on_auto_eoi = true,
            0b001 => self.end(top, false),
            0b101 => self.end(top, true),
            0b011 => self.end(Some(named), false),
            0b111 => self.end(Some(named), true),
            0b110 => self.lowest = named,
            _ => {}
        }
    }

    /// The end of the service of `line`, which gets the lowest priority with `rotate`.
    fn end(&mut self, line: Option<u8>, rotate: bool) {
        let Some(line) = line else { return };
        self.isr &= !(1 << line);
        if rotate {
            self.lowest = line;
        }
    }

    fn ocw3(&mut self, value: u8) {
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
        self.poll = value & 4 != 0;
        if value & 2 != 0 {
            self.read_isr = value & 1 != 0;
        }
    }

    fn write_data(&mut self, value: u8) {
        self.expected = match self.expected {
            Expected::Ocw1 => {
                self.imr = value;
                Expected::Ocw1
            }
            Expected::Icw2 => {
                self.base = value & 0xf8;
                match (self.single, self.needs_icw4) {
                    (false, _) => Expected::Icw3,
                    (true, true) => Expected::Icw4,
                    (true, false) => Expected::Ocw1,
                }
            }
            Expected::Icw3 => {
                self.icw3 = value;
                if self.needs_icw4 { Expected::Icw4 } else { Expected::Ocw1 }
            }
            Expected::Icw4 => {
                self.special_fully_nested = value & 0x10 != 0;
                self.auto_eoi = value & 2 != 0;
                Expected::Ocw1
            }
        };
    }

    /// Reads the command or the data port.
    fn read(&mut self, is_data: bool, cascade: u8) -> u8 {
        if std::mem::take(&mut self.poll) {
            return match self.pending(cascade) {
                Some(line) => {
                    self.acknowledge(line);
                    0x80 | line
                }
                None => 0,
            };
        }
        match (is_data, self.read_isr) {
            (true, _) => self.imr,
            (false, true) => self.isr,
            (false, false) => self.irr,
        }
    }
}

/// The line of the first chip at which the second is.
const CASCADE: u8 = 2;

#[derive(Clone, Copy, Debug)]
struct State {
    first: Chip,
    second: Chip,
}

impl State {
    fn new() -> State {
        // The timer, the keyboard, the cascade, the clock and the coprocessor are edges.
        State { first: Chip::new(0xf8), second: Chip::new(0xde) }
    }

    /// Passes the second chip's output on; the level of INT.
    fn settle(&mut self) -> bool {
        let cascaded = self.second.pending(0).is_some();
        // The second chip's output is there as long as it has something.
        self.first.irr = self.first.irr & !(1 << CASCADE) | u8::from(cascaded) << CASCADE;
        self.first.pending(1 << CASCADE).is_some()
    }
}

/// The controllers. Their inputs are [`Pins`] 0 to 15, of which 2 is the cascade and does nothing.
pub struct I8259 {
    state: Mutex<State>,
    int: IrqLine,
}

impl I8259 {
    /// Controllers whose INT output is `int`.
    pub fn new(int: IrqLine) -> Arc<I8259> {
        Arc::new(I8259 { state: Mutex::new(State::new()), int })
    }

    /// The vCPU's interrupt acknowledge: the vector. When the request has gone, it is that of line 7
    /// or 15.
    pub fn acknowledge(&self) -> u8 {
        let mut state = self.state.lock();
        let vector = match state.first.pending(1 << CASCADE) {
            Some(CASCADE) => {
                state.first.acknowledge(CASCADE);
                let line = state.second.pending(0);
                if let Some(line) = line {
                    state.second.acknowledge(line);
                }
                state.second.base | line.unwrap_or(7)
            }
            Some(line) => {
                state.first.acknowledge(line);
                state.first.base | line
            }
            None => state.first.base | 7,
        };
        self.int.set(state.settle());
        vector
    }

    /// Whether a vCPU that acknowledged would get an interrupt.
    pub fn has_interrupt(&self) -> bool {
        self.state.lock().first.pending(1 << CASCADE).is_some()
    }

    /// The controllers' ports.
    pub fn ports(self: &Arc<I8259>) -> I8259Ports {
        I8259Ports(self.clone())
    }

    /// IRR, ISR, IMR and ELCR of both chips, the second in the high bytes; for reports.
    pub fn registers(&self) -> [u16; 4] {
        let State { first, second } = *self.state.lock();
        let pair = |first: u8, second: u8| u16::from(second) << 8 | u16::from(first);
        [
            pair(first.irr, second.irr),
            pair(first.isr, second.isr),
            pair(first.imr, second.imr),
            pair(first.elcr, second.elcr),
        ]
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let int = state.settle();
        self.int.set(int);
        result
    }
}

impl Pins for I8259 {
    fn set(&self, pin: u32, level: bool) {
        self.change(|state| match pin {
            2 => {}
            0..8 => state.first.set_line(pin as u8, level),
            8..16 => state.second.set_line(pin as u8 - 8, level),
            _ => {}
        });
    }

    fn holds(&self, pin: u32) -> bool {
        let state = self.state.lock();
        match pin {
            0..8 => state.first.holds(pin as u8),
            8..16 => state.second.holds(pin as u8 - 8),
            _ => false,
        }
    }
}

impl fmt::Debug for I8259 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("I8259").field(&*self.state.lock()).finish()
    }
}

/// The ports of the controllers: the first chip's two at offset 0, the second's two at 2, and the two
/// edge/level control registers at 4.
#[derive(Debug)]
pub struct I8259Ports(Arc<I8259>);

impl I8259Ports {
    /// The offset of the first chip's ports.
    pub const FIRST: u64 = 0;
    /// The offset of the second chip's ports.
    pub const SECOND: u64 = 2;
    /// The offset of the edge/level control registers.
    pub const ELCR: u64 = 4;
}

impl Device for I8259Ports {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        self.0.change(|state| {
            read_bytes(offset, bytes, |at| match at {
                0 | 1 => state.first.read(at == 1, 1 << CASCADE),
                2 | 3 => state.second.read(at == 3, 0),
                4 => state.first.elcr,
                5 => state.second.elcr,
                _ => 0xff,
            })
        })
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        self.0.change(|state| {
            write_bytes(offset, bytes, value, |at, byte| match at {
                0 => state.first.write_command(byte),
                1 => state.first.write_data(byte),
                2 => state.second.write_command(byte),
                3 => state.second.write_data(byte),
                4 | 5 => {
                    let chip = if at == 4 { &mut state.first } else { &mut state.second };
                    chip.elcr = byte & chip.elcr_mask;
                    // What has become a level follows its line.
                    chip.irr = chip.irr & !chip.elcr | chip.lines & chip.elcr;
                }
                _ => {}
            });
        });
    }

    fn reset(&mut self) {
        self.0.change(|state| {
            let (first, second) = (state.first.lines, state.second.lines);
            *state = State::new();
            // The lines are the devices'.
            state.first.lines = first;
            state.second.lines = second;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Levels;

    struct Rig {
        pic: Arc<I8259>,
        ports: I8259Ports,
        levels: Arc<Levels>,
    }

    /// Controllers as PC firmware leaves them: vectors 08h and 70h.
    fn rig() -> Rig {
        let levels = Levels::new();
        let pic = I8259::new(levels.line(0));
        let ports = pic.ports();
        let mut rig = Rig { pic, ports, levels };
        for (offset, value) in
            [(0, 0x11), (1, 0x08), (1, 0x04), (1, 0x01), (2, 0x11), (3, 0x70), (3, 0x02), (3, 0x01)]
        {
            rig.write(offset, value);
        }
        rig
    }

    impl Rig {
        fn write(&mut self, offset: u64, value: u8) {
            self.ports.write(offset, 1, value.into());
        }
        fn read(&mut self, offset: u64) -> u8 {
            self.ports.read(offset, 1) as u8
        }
        fn edge(&self, pin: u32) {
            self.pic.set(pin, true);
            self.pic.set(pin, false);
        }
        fn int(&self) -> bool {
            assert_eq!(self.levels.is_high(0), self.pic.has_interrupt());
            self.levels.is_high(0)
        }
        fn isr(&mut self) -> (u8, u8) {
            self.write(0, 0x0b);
            self.write(2, 0x0b);
            (self.read(0), self.read(2))
        }
    }

    #[test]
    fn higher_lines_interrupt_lower_ones() {
        let mut rig = rig();
        rig.edge(4);
        assert!(rig.int());
        assert_eq!((rig.pic.acknowledge(), rig.int()), (0x0c, false));
        rig.edge(5);
        assert!(!rig.int());
        rig.edge(1);
        assert_eq!((rig.int(), rig.pic.acknowledge()), (true, 0x09));
        assert_eq!(rig.isr(), (0x12, 0));
        rig.write(0, 0x20);
        assert_eq!((rig.isr(), rig.int()), ((0x10, 0), false));
        rig.write(0, 0x20);
        assert_eq!((rig.int(), rig.pic.acknowledge()), (true, 0x0d));
    }

    #[test]
    fn the_second_chip_comes_through_the_cascade() {
        let mut rig = rig();
        rig.edge(14);
        assert_eq!((rig.int(), rig.pic.acknowledge()), (true, 0x76));
        assert_eq!(rig.isr(), (0x04, 0x40));
        rig.edge(8); // The first chip is still serving line 2.
        assert!(!rig.int());
        rig.write(0, 0x20);
        assert_eq!((rig.int(), rig.pic.acknowledge()), (true, 0x70));
        rig.write(2, 0x20);
        rig.write(2, 0x20);
        rig.write(0, 0x20);
        assert_eq!((rig.isr(), rig.int()), ((0, 0), false));
    }

    #[test]
    fn masks_hold_requests_back() {
        let mut rig = rig();
        rig.write(1, 0xfe);
        rig.edge(3);
        assert!(!rig.int());
        rig.write(0, 0x0a);
        assert_eq!((rig.read(0), rig.read(1)), (0x08, 0xfe));
        rig.write(1, 0);
        assert!(rig.int());
    }

    #[test]
    fn a_request_that_has_gone_is_spurious() {
        let mut rig = rig();
        rig.write(4, 0x08);
        assert_eq!(rig.pic.acknowledge(), 0x0f);
        rig.pic.set(3, true);
        assert!(rig.int());
        rig.pic.set(3, false);
        assert_eq!((rig.int(), rig.pic.acknowledge(), rig.isr()), (false, 0x0f, (0, 0)));
    }

    #[test]
    fn a_level_comes_again_as_long_as_it_lasts() {
        let mut rig = rig();
        rig.write(5, 0xff);
        assert_eq!(rig.read(5), 0xde);
        rig.pic.set(11, true);
        assert_eq!(rig.pic.acknowledge(), 0x73);
        rig.write(2, 0x63);
        rig.write(0, 0x62);
        assert!(rig.int());
        rig.pic.set(11, false);
        assert!(!rig.int());
        // An edge does not.
        rig.pic.set(8, true);
        assert_eq!(rig.pic.acknowledge(), 0x70);
        rig.write(2, 0x60);
        rig.write(0, 0x62);
        assert!(!rig.int());
    }

    #[test]
    fn priorities_rotate() {
        let mut rig = rig();
        rig.write(0, 0xc3); // Line 3 has the lowest priority, so 4 the highest.
        rig.edge(3);
        rig.edge(4);
        assert_eq!(rig.pic.acknowledge(), 0x0c);
        rig.write(0, 0xa0); // The end of 4, which becomes the lowest.
        rig.edge(4);
        assert_eq!(rig.pic.acknowledge(), 0x0b);
        rig.write(0, 0xe3);
        assert_eq!(rig.pic.acknowledge(), 0x0c);
    }

    #[test]
    fn automatic_end_of_interrupt() {
        let mut rig = rig();
        for (offset, value) in [(0, 0x11), (1, 0x20), (1, 0x04), (1, 0x03), (0, 0x80)] {
            rig.write(offset, value);
        }
        rig.edge(0);
        rig.edge(1);
        assert_eq!((rig.pic.acknowledge(), rig.isr()), (0x20, (0, 0)));
        rig.edge(0); // Has rotated to the lowest priority.
        assert_eq!((rig.pic.acknowledge(), rig.pic.acknowledge()), (0x21, 0x20));
    }

    #[test]
    fn special_mask_mode_lets_lower_lines_in() {
        let mut rig = rig();
        rig.edge(1);
        rig.pic.acknowledge();
        rig.edge(6);
        assert!(!rig.int());
        rig.write(1, 0x02);
        rig.write(0, 0x68);
        assert!(rig.int());
        assert_eq!(rig.pic.acknowledge(), 0x0e);
        rig.write(0, 0x20); // Ends 6: the masked 1 is passed over.
        assert_eq!(rig.isr(), (0x02, 0));
        rig.write(0, 0x48);
        rig.edge(6);
        assert!(!rig.int());
    }

    #[test]
    fn the_special_fully_nested_mode_lets_the_second_chip_nest() {
        let mut rig = rig();
        for (offset, value) in [(0, 0x11), (1, 0x08), (1, 0x04), (1, 0x11)] {
            rig.write(offset, value);
        }
        rig.edge(14);
        rig.pic.acknowledge();
        rig.edge(15);
        assert!(!rig.int());
        rig.edge(8);
        assert_eq!((rig.int(), rig.pic.acknowledge()), (true, 0x70));
    }

    #[test]
    fn polling_acknowledges() {
        let mut rig = rig();
        rig.write(0, 0x0c);
        assert_eq!(rig.read(0), 0);
        rig.edge(5);
        rig.write(0, 0x0c);
        assert_eq!((rig.read(0), rig.int()), (0x85, false));
        assert_eq!(rig.isr(), (0x20, 0));
    }

    #[test]
    fn initialization_forgets_edges() {
        let mut rig = rig();
        rig.pic.set(1, true);
        rig.write(0, 0x13); // Alone, with ICW4.
        rig.write(1, 0x40);
        rig.write(1, 0x01);
        rig.write(1, 0x80);
        assert_eq!((rig.read(0), rig.read(1), rig.int()), (0, 0x80, false));
        rig.pic.set(1, false);
        rig.pic.set(1, true);
        assert_eq!(rig.pic.acknowledge(), 0x41);
        rig.ports.reset();
        assert!(!rig.int());
    }
}
