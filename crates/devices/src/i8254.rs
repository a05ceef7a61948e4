//! The programmable interval timer: Intel 8254 data sheet, and system control port B (61h), which
//! holds the gate and the output of counter 2.
//!
//! Nothing counts here: the state of a counter follows from the time at which it was loaded. Times
//! are in ticks of the 1.193182 MHz clock since power-on.

use mynah_bus::time::{SECOND, scale, scale_up};
use mynah_bus::{Device, IrqLine, Timer, Timers, read_bytes, write_bytes};
use parking_lot::Mutex;
use std::sync::Arc;

/// Ticks in a second.
pub const FREQUENCY: u64 = 1_193_182;

/// Ticks that are kept for a guest that does not take them in time, at most.
const OWED: u64 = 1000;

/// The least nanoseconds between two looks at whether the guest can take a tick that is late.
const LATER: u64 = 200_000;

/// Nanoseconds for which the refresh toggle of port B keeps its level.
const REFRESH: u64 = 15_085;

/// Which bytes of the count are read and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Low,
    High,
    Both,
}

/// One counter.
#[derive(Clone, Copy, Debug)]
struct Counter {
    mode: u8,
    bcd: bool,
    access: Access,
    gate: bool,
    /// The low byte that was written, when the high byte comes next.
    low: Option<u8>,
    /// The count in the count register, 1 to 65 536.
    count: u64,
    /// It has been written since the mode was set.
    is_written: bool,
    /// What the counting element counts from, once that differs from `count`.
    loaded: u64,
    /// The tick at which it was loaded. None before that.
    start: Option<u64>,
    /// Ticks that were counted when the gate stopped the counting.
    paused: Option<u64>,
    /// The byte of the count that is read next is the high one.
    read_high: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Counter {
    fn new(gate: bool) -> Counter {
        Counter {
            mode: 0,
            bcd: false,
            access: Access::Both,
            gate,
            low: None,
            count: 0x1_0000,
            is_written: false,
            loaded: 0x1_0000,
            start: None,
            paused: None,
            read_high: false,
            latched_count: None,
            latched_status: None,
        }
    }

    fn is_periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    /// Ticks counted at `now`. None before the count was loaded.
    fn elapsed(&self, now: u64) -> Option<u64> {
        self.paused.or_else(|| self.start.map(|start| now.saturating_sub(start)))
    }

    /// Loads what a periodic counter loads at the end of its period.
    fn settle(&mut self, now: u64) {
        if self.is_periodic()
            && self.loaded != self.count
            && self.paused.is_none()
            && let Some(start) = self.start
            && now >= start + self.loaded
        {
            self.start = Some(start + self.loaded);
            self.loaded = self.count;
        }
    }

    /// The level of OUT.
    fn out(&self, now: u64) -> bool {
        let Some(elapsed) = self.elapsed(now) else { return self.mode != 0 };
        let n = self.loaded;
        match self.mode {
            0 | 1 => elapsed >= n,
            2 => !self.gate || elapsed % n != n - 1,
            3 => !self.gate || elapsed % n < n.div_ceil(2),
            _ => elapsed != n,
        }
    }

    /// The first tick after `now` at which OUT rises.
    fn next_rise(&self, now: u64) -> Option<u64> {
        if self.paused.is_some() {
            return None;
        }
        let start = self.start?;
        let n = self.loaded;
        match self.mode {
            0 | 1 => Some(start + n),
            2 | 3 => Some(start + (now.saturating_sub(start) / n + 1) * n),
            _ => Some(start + n + 1),
        }
        .filter(|&tick| tick > now)
    }

    /// How often OUT has risen behind tick `seen`, up to `now`.
    fn rises(&self, seen: u64, now: u64) -> u64 {
        match self.next_rise(seen) {
            Some(first) if first > now => 0,
            Some(first) if self.is_periodic() => 1 + (now - first) / self.loaded,
            Some(_) => 1,
            None => 0,
        }
    }

    /// What the counting element holds.
    fn value(&self, now: u64) -> u16 {
        let modulus = if self.bcd { 10_000 } else { 0x1_0000 };
        let n = self.loaded;
        let value = match self.elapsed(now) {
            None => self.count,
            Some(elapsed) => match self.mode {
                2 => n - elapsed % n,
                3 => {
                    let at = elapsed % n;
                    let half = n.div_ceil(2);
                    let at = if at < half { at } else { at - half };
                    (n & !1).saturating_sub(2 * at)
                }
                _ => (n + modulus - elapsed % modulus) % modulus,
            },
        } % modulus;
        if self.bcd { to_bcd(value) } else { value as u16 }
    }

    fn status(&self, now: u64) -> u8 {
        let access = match self.access {
            Access::Low => 1,
            Access::High => 2,
            Access::Both => 3,
        };
        let null = self.start.is_none() && self.paused.is_none() || self.loaded != self.count;
        u8::from(self.out(now)) << 7
            | u8::from(null) << 6
            | access << 4
            | self.mode << 1
            | u8::from(self.bcd)
    }

    fn set_mode(&mut self, word: u8) {
        let mode = word >> 1 & 7;
        *self = Counter {
            mode: if mode > 5 { mode - 4 } else { mode },
            bcd: word & 1 != 0,
            access: match word >> 4 & 3 {
                1 => Access::Low,
                2 => Access::High,
                _ => Access::Both,
            },
            ..Counter::new(self.gate)
        };
    }

    fn latch(&mut self, now: u64) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.value(now));
            self.read_high = false;
        }
    }

    fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let value = self.latched_count.unwrap_or_else(|| self.value(now));
        let [low, high] = value.to_le_bytes();
        let (byte, is_last) = match self.access {
            Access::Low => (low, true),
            Access::High => (high, true),
            Access::Both => {
                self.read_high = !self.read_high;
                if self.read_high { (low, false) } else { (high, true) }
            }
        };
        if is_last {
            self.latched_count = None;
        }
        byte
    }

    fn write(&mut self, now: u64, value: u8) {
        let [low, high] = match (self.access, self.low.take()) {
            (Access::Low, _) => [value, 0],
            (Access::High, _) => [0, value],
            (Access::Both, Some(low)) => [low, value],
            (Access::Both, None) => {
                self.low = Some(value);
                if self.mode == 0 {
                    // The first byte stops the counting.
                    self.start = None;
                    self.paused = None;
                }
                return;
            }
        };
        self.load(now, u16::from_le_bytes([low, high]));
    }

    /// A new count: loaded at the next tick, or with a trigger, or at the end of the period.
    fn load(&mut self, now: u64, written: u16) {
        self.count = match (self.bcd, written) {
            (false, 0) => 0x1_0000,
            (false, n) => u64::from(n),
            (true, n) => match from_bcd(n) {
                0 => 10_000,
                n => n,
            },
        };
        if self.is_periodic() {
            self.count = self.count.max(2); // 1 is not allowed.
        }
        let first = !self.is_written;
        self.is_written = true;
        match self.mode {
            0 | 4 => self.begin(now + 1),
            2 | 3 if first => self.begin(now + 1),
            2 | 3 => {
                // So that `settle` finds the end of this period.
                let within = |start| now.saturating_sub(start) % self.loaded;
                self.start = self.start.map(|start| start.max(now - within(start)));
            }
            _ => {}
        }
    }

    /// Counts from tick `start`, when the gate allows.
    fn begin(&mut self, start: u64) {
        self.loaded = self.count;
        self.start = Some(start);
        self.paused = (!self.gate && !matches!(self.mode, 1 | 5)).then_some(0);
    }

    fn set_gate(&mut self, now: u64, gate: bool) {
        if gate == self.gate {
            return;
        }
        let elapsed = self.elapsed(now);
        self.gate = gate;
        match (self.mode, gate) {
            (1 | 5, true) if self.is_written => self.begin(now + 1),
            (1 | 5, _) => {}
            (2 | 3, true) if self.is_written => self.begin(now + 1),
            (_, true) => {
                if let Some(elapsed) = self.paused.take() {
                    self.start = Some(now.wrapping_sub(elapsed));
                    // A count may be longer than the time since power-on.
                    if elapsed > now {
                        self.begin(now);
                    }
                }
            }
            (_, false) => self.paused = elapsed,
        }
    }
}

fn to_bcd(value: u64) -> u16 {
    (0..4).fold(0, |bcd, digit| bcd | ((value / 10_u64.pow(digit) % 10) << (digit * 4)) as u16)
}

fn from_bcd(bcd: u16) -> u64 {
    (0..4).map(|digit| u64::from(bcd >> (digit * 4) & 15) * 10_u64.pow(digit)).sum()
}

#[derive(Clone, Copy, Debug)]
struct State {
    counters: [Counter; 3],
    /// Bits 0 to 3 of port B: gate 2, speaker data, and the enables of NMI causes.
    port_b: u8,
    /// The tick up to which rises of OUT 0 have been passed on.
    seen: u64,
    /// Periods of counter 0 whose interrupt was lost in one that the guest had not taken yet, or
    /// that came when nobody watched. They are made up for as it takes others, so that a guest that
    /// counts them keeps time on a host that is busy.
    owed: u64,
}

impl State {
    fn new() -> State {
        State {
            counters: [Counter::new(true), Counter::new(true), Counter::new(false)],
            port_b: 0,
            seen: 0,
            owed: 0,
        }
    }
}

/// The interval timer: the counters and the control word at offsets 0 to 3 (ports 40h to 43h), and
/// port B at offset 4 (port 61h).
#[derive(Debug)]
pub struct I8254 {
    state: State,
    irq: IrqLine,
    timer: Timer,
}

impl I8254 {
    /// The offset of system control port B.
    pub const PORT_B: u64 = 4;

    /// A timer whose counter 0 drives `irq`.
    pub fn new(irq: IrqLine, timers: &Timers) -> Arc<Mutex<I8254>> {
        let device = Arc::new_cyclic(|device| {
            let timer = timers.timer_of(device, |device: &mut I8254, _| device.update());
            Mutex::new(I8254 { state: State::new(), irq, timer })
        });
        device.lock().update();
        device
    }

    /// The tone that the speaker plays, in hertz, or none: for those who have one.
    pub fn tone(&self) -> Option<u64> {
        let counter = &self.state.counters[2];
        let on = self.state.port_b & 3 == 3 && counter.mode == 3 && counter.is_written;
        on.then(|| FREQUENCY / counter.count)
    }

    fn now(&self) -> u64 {
        scale(self.timer.now(), FREQUENCY, SECOND)
    }

    /// Passes on OUT 0, with rises that nobody watched, and asks to be called at the next.
    fn update(&mut self) {
        let now = self.now();
        let counter = &mut self.state.counters[0];
        let rises = counter.rises(self.state.seen, now);
        counter.settle(now);
        let counter = *counter;
        self.state.seen = now;
        if !counter.is_periodic() {
            self.state.owed = 0;
        }
        if rises > 0 || self.state.owed > 0 && !self.irq.is_held() {
            self.tick(rises);
        }
        self.irq.set(counter.out(now));
        let next = counter.next_rise(now).map(|tick| scale_up(tick, SECOND, FREQUENCY));
        let period = scale(counter.loaded, SECOND, FREQUENCY);
        let later = self.timer.now() + (period / 4).max(LATER);
        let later = (self.state.owed > 0).then_some(later);
        self.timer.set_or_cancel(next.into_iter().chain(later).min());
    }

    /// Makes an edge, after `rises` of OUT 0; none if it is to make up for one.
    fn tick(&mut self, rises: u64) {
        let is_lost = self.irq.is_held();
        self.irq.set(false);
        self.irq.set(true);
        let owed = (self.state.owed + rises).saturating_sub(u64::from(!is_lost));
        // Where the edge is not held there is no use for more.
        self.state.owed = if self.irq.is_held() { owed.min(OWED) } else { 0 };
    }

    fn control(&mut self, word: u8, now: u64) {
        let counters = &mut self.state.counters;
        match (word >> 6, word >> 4 & 3) {
            // Read-back: the bits are those of the counters, and low to latch count and status.
            (3, _) => {
                let chosen = |at: usize| word >> (at + 1) & 1 != 0;
                for counter in (0..3).filter(|&at| chosen(at)) {
                    let counter = &mut counters[counter];
                    if word & 0x20 == 0 {
                        counter.latch(now);
                    }
                    if word & 0x10 == 0 && counter.latched_status.is_none() {
                        counter.latched_status = Some(counter.status(now));
                    }
                }
            }
            (counter, 0) => counters[usize::from(counter)].latch(now),
            (counter, _) => counters[usize::from(counter)].set_mode(word),
        }
    }

    fn read_byte(&mut self, offset: u64, now: u64) -> u8 {
        match offset {
            0..=2 => self.state.counters[offset as usize].read(now),
            4 => {
                let toggle = self.timer.now() / REFRESH & 1;
                let out = self.state.counters[2].out(now);
                self.state.port_b | (toggle as u8) << 4 | u8::from(out) << 5
            }
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8, now: u64) {
        match offset {
            0..=2 => self.state.counters[offset as usize].write(now, value),
            3 => self.control(value, now),
            4 => {
                self.state.port_b = value & 0x0f;
                self.state.counters[2].set_gate(now, value & 1 != 0);
            }
            _ => {}
        }
    }
}

impl Device for I8254 {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        let now = self.now();
        self.settle(now);
        read_bytes(offset, bytes, |at| self.read_byte(at, now))
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        self.update();
        let now = self.state.seen;
        self.settle(now);
        write_bytes(offset, bytes, value, |at, byte| self.write_byte(at, byte, now));
        self.update();
    }

    fn reset(&mut self) {
        self.state = State::new();
        self.update();
    }
}

impl I8254 {
    fn settle(&mut self, now: u64) {
        // Counter 0 is settled with its rises, by `update`.
        for counter in &mut self.state.counters[1..] {
            counter.settle(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Levels;
    use mynah_bus::{Clock, Pins};
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Rig {
        pit: Arc<Mutex<I8254>>,
        timers: Timers,
        levels: Arc<Levels>,
    }

    fn rig() -> Rig {
        let timers = Timers::new(Clock::stopped());
        let levels = Levels::new();
        let pit = I8254::new(levels.line(0), &timers);
        Rig { pit, timers, levels }
    }

    impl Rig {
        fn write(&self, offset: u64, value: u8) {
            self.pit.lock().write(offset, 1, value.into());
        }
        fn read(&self, offset: u64) -> u8 {
            self.pit.lock().read(offset, 1) as u8
        }
        /// Counter 0 or 2, by latching.
        fn count(&self, counter: u8) -> u16 {
            self.write(3, counter << 6);
            let low = self.read(counter.into());
            u16::from_le_bytes([low, self.read(counter.into())])
        }
        fn status(&self, counter: u8) -> u8 {
            self.write(3, 0xe0 | 2 << counter);
            self.read(counter.into())
        }
        fn load(&self, counter: u64, count: u16) {
            self.write(counter, count as u8);
            self.write(counter, (count >> 8) as u8);
        }
        /// To the beginning of the tick `ticks` after this one.
        fn pass(&self, ticks: u64) {
            let clock = self.timers.clock();
            let tick = scale(clock.now(), FREQUENCY, SECOND) + ticks;
            self.timers.advance(scale_up(tick, SECOND, FREQUENCY) - clock.now());
        }
        fn edges(&self) -> u32 {
            self.levels.take_edges(0)
        }
    }

    #[test]
    fn mode_0_interrupts_once_at_the_end() {
        let rig = rig();
        rig.write(3, 0x30);
        assert_eq!(rig.status(0), 0x70);
        rig.load(0, 100);
        rig.pass(1);
        assert_eq!((rig.count(0), rig.status(0)), (100, 0x30));
        rig.pass(99);
        assert_eq!((rig.count(0), rig.edges()), (1, 0));
        rig.pass(1);
        assert_eq!((rig.count(0), rig.edges(), rig.status(0)), (0, 1, 0xb0));
        rig.pass(1);
        assert_eq!(rig.count(0), 0xffff);
        rig.pass(100_000);
        assert_eq!(rig.edges(), 0);
        rig.load(0, 5);
        assert!(!rig.levels.is_high(0));
        rig.pass(6);
        assert_eq!(rig.edges(), 1);
    }

    #[test]
    fn mode_2_interrupts_each_period() {
        let rig = rig();
        rig.write(3, 0x34);
        rig.load(0, 1000);
        assert!(rig.levels.is_high(0));
        rig.edges();
        rig.pass(1);
        assert_eq!(rig.count(0), 1000);
        rig.pass(999);
        assert_eq!((rig.count(0), rig.edges()), (1, 0));
        for _ in 0..10 {
            rig.pass(1000);
            assert_eq!(rig.edges(), 1);
        }
        // A new count waits for the end of the period.
        rig.load(0, 50);
        assert_eq!(rig.status(0) & 0x40, 0x40);
        rig.pass(1);
        assert_eq!((rig.edges(), rig.status(0) & 0x40), (1, 0));
        rig.pass(500);
        assert_eq!((rig.edges(), rig.count(0)), (10, 50));
    }

    #[test]
    fn mode_3_is_a_square_wave() {
        let rig = rig();
        rig.write(4, 1);
        rig.write(3, 0xb6);
        rig.load(2, 7);
        rig.pass(1);
        let mut levels = Vec::new();
        for _ in 0..14 {
            levels.push(rig.read(4) >> 5 & 1);
            rig.pass(1);
        }
        assert_eq!(levels, [1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0]);
        assert_eq!(rig.pit.lock().tone(), None);
        rig.write(4, 3);
        assert_eq!(rig.pit.lock().tone(), Some(FREQUENCY / 7));
        rig.load(2, 100);
        rig.pass(7);
        rig.pass(10);
        assert_eq!(rig.count(2), 80);
        // Without its gate OUT is high, and the count begins anew with it.
        rig.write(4, 0);
        rig.pass(60);
        assert_eq!(rig.read(4) & 0x20, 0x20);
        rig.write(4, 1);
        rig.pass(11);
        assert_eq!(rig.count(2), 80);
    }

    #[test]
    fn the_gate_holds_mode_0_and_starts_mode_1() {
        let rig = rig();
        rig.write(3, 0xb0);
        rig.load(2, 50);
        rig.pass(100);
        assert_eq!((rig.count(2), rig.read(4) & 0x20), (50, 0));
        rig.write(4, 1);
        rig.pass(20);
        rig.write(4, 0);
        rig.pass(20);
        assert_eq!(rig.count(2), 30);
        rig.write(4, 1);
        rig.pass(30);
        assert_eq!((rig.count(2), rig.read(4) & 0x20), (0, 0x20));
        rig.write(4, 0);
        rig.write(3, 0xb2);
        rig.load(2, 10);
        rig.pass(100);
        assert_eq!(rig.read(4) & 0x20, 0x20);
        rig.write(4, 1);
        rig.pass(10);
        assert_eq!(rig.read(4) & 0x20, 0);
        rig.pass(1);
        assert_eq!(rig.read(4) & 0x20, 0x20);
    }

    #[test]
    fn mode_4_strobes() {
        let rig = rig();
        rig.edges();
        rig.write(3, 0x38);
        rig.load(0, 10);
        rig.edges();
        rig.pass(11);
        assert_eq!(rig.status(0) & 0x80, 0);
        rig.pass(1);
        assert_eq!(rig.edges(), 1);
        rig.pass(200_000);
        assert_eq!(rig.edges(), 0);
    }

    #[test]
    fn latches_hold_until_read() {
        let rig = rig();
        rig.write(3, 0x34);
        rig.load(0, 0);
        rig.pass(1);
        rig.write(3, 0xc2); // Count and status of counter 0.
        rig.pass(10);
        rig.write(3, 0x00);
        assert_eq!((rig.read(0), rig.read(0), rig.read(0)), (0xb4, 0x00, 0x00));
        assert_eq!((rig.read(0), rig.read(0)), (0xf6, 0xff));
        rig.write(3, 0x14); // The low byte alone.
        rig.write(0, 20);
        rig.pass(3);
        assert_eq!((rig.read(0), rig.read(0)), (18, 18));
    }

    #[test]
    fn decimal_counts() {
        let rig = rig();
        rig.write(3, 0x31);
        rig.load(0, 0x1000);
        rig.pass(2);
        assert_eq!(rig.count(0), 0x0999);
        rig.load(0, 0);
        rig.pass(2);
        assert_eq!(rig.count(0), 0x9999);
    }

    /// A controller that holds an edge until the guest takes it.
    #[derive(Default)]
    struct Holding {
        held: AtomicBool,
        level: AtomicBool,
    }

    impl Pins for Holding {
        fn set(&self, _: u32, level: bool) {
            if level && !self.level.swap(level, Ordering::SeqCst) {
                self.held.store(true, Ordering::SeqCst);
            }
            self.level.store(level, Ordering::SeqCst);
        }
        fn holds(&self, _: u32) -> bool {
            self.held.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn ticks_that_a_guest_takes_late_are_made_up_for() {
        let timers = Timers::new(Clock::stopped());
        let guest = Arc::new(Holding::default());
        let pit = I8254::new(IrqLine::new(guest.clone(), 0), &timers);
        let write = |offset, value| pit.lock().write(offset, 1, value);
        write(3, 0x34);
        write(0, 0xa9);
        write(0, 0x04); // 1193 ticks: 1 ms
        let take = || u64::from(guest.held.swap(false, Ordering::SeqCst));
        take();
        let millisecond = scale_up(1193, SECOND, FREQUENCY);
        // Time passes step by step while the guest does nothing, and at once while the host does.
        timers.advance(30 * millisecond);
        timers.jump(20 * millisecond);
        // The first period begins a tick late, so that there have been 49.
        assert_eq!(pit.lock().state.owed, 48);
        let mut taken = take();
        for _ in 0..200 {
            timers.advance(millisecond / 4);
            taken += take();
        }
        assert!((98..=100).contains(&taken), "{taken} ticks in 100 ms");
        assert_eq!(pit.lock().state.owed, 0);
        // There is an end to what is kept, and another mode has no use for it.
        timers.advance(5 * SECOND);
        assert_eq!(pit.lock().state.owed, OWED);
        write(3, 0x30);
        assert_eq!(pit.lock().state.owed, 0);
    }

    #[test]
    fn a_late_timer_still_makes_an_edge() {
        let rig = rig();
        rig.write(3, 0x34);
        rig.load(0, 2);
        rig.edges();
        // A guest asks for absurd rates: interrupts are lost, time is not.
        rig.timers.advance(SECOND / 100);
        assert!((1..20_000).contains(&rig.edges()));
    }
}
