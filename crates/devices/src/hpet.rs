//! The high precision event timers: IA-PC HPET specification 1.0a. Three timers at 100 MHz.

use mynah_bus::{Device, IrqLine, Messages, Pins, Timer, Timers, ones};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Nanoseconds of a tick.
const TICK: u64 = 10;
/// Femtoseconds of a tick.
const PERIOD: u64 = TICK * 1_000_000;
/// Timers.
const COUNT: usize = 3;

/// Registers.
mod reg {
    pub(super) const CAPABILITIES: u64 = 0x000;
    pub(super) const CONFIGURATION: u64 = 0x010;
    pub(super) const STATUS: u64 = 0x020;
    pub(super) const COUNTER: u64 = 0x0f0;
    pub(super) const TIMERS: u64 = 0x100;
}

/// General capabilities: revision 1, three timers, 64 bits, legacy routes, Intel.
const CAPABILITIES: u64 =
    PERIOD << 32 | 0x8086 << 16 | 1 << 15 | 1 << 13 | (COUNT as u64 - 1) << 8 | 1;

/// General configuration.
const ENABLE: u64 = 1 << 0;
const LEGACY: u64 = 1 << 1;

/// A timer's configuration.
mod cfg {
    pub(super) const LEVEL: u64 = 1 << 1;
    pub(super) const ENABLE: u64 = 1 << 2;
    pub(super) const PERIODIC: u64 = 1 << 3;
    pub(super) const VALUE_SET: u64 = 1 << 6;
    pub(super) const BITS_32: u64 = 1 << 8;
    pub(super) const FSB: u64 = 1 << 14;
    pub(super) const WRITABLE: u64 = 0x7f4e;
    /// Periodic, 64 bits, messages.
    pub(super) const CAPABLE: u64 = 1 << 4 | 1 << 5 | 1 << 15;
}

#[derive(Clone, Copy, Debug)]
struct Comparator {
    configuration: u64,
    comparator: u64,
    /// What a periodic timer adds to the comparator.
    period: u64,
    /// Data and address of its message.
    route: u64,
}

impl Comparator {
    fn has(&self, bit: u64) -> bool {
        self.configuration & bit != 0
    }

    fn mask(&self) -> u64 {
        if self.has(cfg::BITS_32) { 0xffff_ffff } else { u64::MAX }
    }

    /// Ticks from counter value `from` to the next match: at least 1, and 0 for 2⁶⁴.
    fn distance(&self, from: u64) -> u64 {
        let distance = self.comparator.wrapping_sub(from) & self.mask();
        if distance == 0 { self.mask().wrapping_add(1) } else { distance }
    }

    /// Whether the comparator matched when the counter went from `before` to `now`. A periodic one
    /// moves on.
    fn expire(&mut self, before: u64, now: u64) -> bool {
        let passed = now.wrapping_sub(before);
        let distance = self.distance(before);
        if distance == 0 || distance > passed {
            return false;
        }
        if self.has(cfg::PERIODIC) && self.period != 0 {
            let late = passed - distance;
            let periods = late / self.period + 1;
            let comparator = self.comparator.wrapping_add(periods.wrapping_mul(self.period));
            self.comparator = comparator & self.mask();
        }
        true
    }
}

#[derive(Clone, Copy, Debug)]
struct State {
    configuration: u64,
    status: u64,
    /// The counter at virtual time `since`, from which it counts while it is enabled.
    counter: u64,
    since: u64,
    timers: [Comparator; COUNT],
}

impl State {
    fn new() -> State {
        let timer = Comparator { configuration: 0, comparator: u64::MAX, period: 0, route: 0 };
        State { configuration: 0, status: 0, counter: 0, since: 0, timers: [timer; COUNT] }
    }

    fn is_enabled(&self) -> bool {
        self.configuration & ENABLE != 0
    }

    fn is_legacy(&self) -> bool {
        self.configuration & LEGACY != 0
    }
}

/// Cuts the lines of the interval timer and the real-time clock while the HPET takes their place: its
/// [`Pins`] are 0 for the former and 1 for the latter.
pub struct LegacyRoutes {
    lines: [IrqLine; 2],
    state: Mutex<Legacy>,
}

#[derive(Clone, Copy, Default)]
struct Legacy {
    inputs: [bool; 2],
    /// What the HPET's timers 0 and 1 want, while they take over.
    taken: Option<[bool; 2]>,
}

impl LegacyRoutes {
    /// Routes to the lines of the interval timer's and the clock's interrupts.
    pub fn new(timer: IrqLine, clock: IrqLine) -> Arc<LegacyRoutes> {
        Arc::new(LegacyRoutes { lines: [timer, clock], state: Mutex::default() })
    }

    fn change(&self, change: impl FnOnce(&mut Legacy)) {
        let mut state = self.state.lock();
        change(&mut state);
        for (line, level) in self.lines.iter().zip(state.taken.unwrap_or(state.inputs)) {
            line.set(level);
        }
    }
}

impl Pins for LegacyRoutes {
    fn set(&self, pin: u32, level: bool) {
        self.change(|state| {
            if let Some(input) = state.inputs.get_mut(pin as usize) {
                *input = level;
            }
        });
    }

    fn holds(&self, pin: u32) -> bool {
        let connected = self.state.lock().taken.is_none();
        connected && self.lines.get(pin as usize).is_some_and(IrqLine::is_held)
    }
}

/// The timers, for a range of 1 KiB.
pub struct Hpet {
    state: State,
    legacy: Arc<LegacyRoutes>,
    lines: Vec<IrqLine>,
    messages: Arc<dyn Messages>,
    timer: Timer,
}

impl Hpet {
    /// Bytes of the registers.
    pub const SIZE: u64 = 0x400;

    /// Timers that interrupt by `legacy`, by `lines` (the IOAPIC's, by pin, 32 at most), or by
    /// `messages`.
    pub fn new(
        legacy: Arc<LegacyRoutes>,
        lines: Vec<IrqLine>,
        messages: Arc<dyn Messages>,
        timers: &Timers,
    ) -> Arc<Mutex<Hpet>> {
        Arc::new_cyclic(|device| {
            let timer = timers.timer_of(device, |device: &mut Hpet, _| device.update());
            Mutex::new(Hpet { state: State::new(), legacy, lines, messages, timer })
        })
    }

    /// General capabilities, for the board's ACPI table.
    pub fn capabilities() -> u32 {
        CAPABILITIES as u32
    }

    /// Pins that timers may be routed to: the last of the IOAPIC, which nobody else uses.
    fn routes(&self) -> u64 {
        (20..self.lines.len().min(32)).fold(0, |set, pin| set | 1 << pin)
    }

    fn counter(&self, now: u64) -> u64 {
        let state = &self.state;
        let passed = if state.is_enabled() { (now - state.since.min(now)) / TICK } else { 0 };
        state.counter.wrapping_add(passed)
    }

    /// Interrupts for what has matched, and asks to be called at the next match.
    fn update(&mut self) {
        let now = self.timer.now();
        let (before, counter) = (self.state.counter, self.counter(now));
        let mut next = None;
        if self.state.is_enabled() {
            // Whole ticks: the rest of one goes on.
            self.state.since += counter.wrapping_sub(before) * TICK;
            self.state.counter = counter;
            for at in 0..COUNT {
                if self.state.timers[at].expire(before, counter) {
                    self.interrupt(at);
                }
                let timer = &self.state.timers[at];
                let distance = timer.distance(counter);
                if timer.has(cfg::ENABLE) && distance != 0 {
                    let at = self.state.since.saturating_add(distance.saturating_mul(TICK));
                    next = next.into_iter().chain([at]).min();
                }
            }
        } else {
            self.state.since = now;
        }
        self.timer.set_or_cancel(next);
        self.update_lines(None);
    }

    fn interrupt(&mut self, at: usize) {
        let timer = self.state.timers[at];
        if timer.has(cfg::LEVEL) && !timer.has(cfg::FSB) {
            self.state.status |= 1 << at;
            return;
        }
        if !timer.has(cfg::ENABLE) {
            return;
        }
        if timer.has(cfg::FSB) {
            self.messages.message(timer.route >> 32, timer.route as u32);
            return;
        }
        self.update_lines(None);
        self.update_lines(Some(at));
        self.update_lines(None);
    }

    /// Sets the lines: of the timers with a level that is pending, and of `edge`.
    fn update_lines(&self, edge: Option<usize>) {
        let state = &self.state;
        let mut pins = 0_u64;
        let mut legacy = [false; 2];
        for (at, timer) in state.timers.iter().enumerate() {
            let pending = state.status >> at & 1 != 0 && timer.has(cfg::LEVEL);
            if !(pending && timer.has(cfg::ENABLE) || edge == Some(at)) || timer.has(cfg::FSB) {
                continue;
            }
            if state.is_legacy() && at < 2 {
                legacy[at] = true;
            } else {
                pins |= 1 << (timer.configuration >> 9 & 31);
            }
        }
        self.legacy.change(|routes| routes.taken = state.is_legacy().then_some(legacy));
        let routes = self.routes();
        for (pin, line) in self.lines.iter().enumerate().take(32) {
            line.set(pins & routes & 1 << pin != 0);
        }
    }

    fn read_word(&self, register: u64) -> u64 {
        let state = &self.state;
        match register {
            reg::CAPABILITIES => CAPABILITIES,
            reg::CONFIGURATION => state.configuration,
            reg::STATUS => state.status,
            reg::COUNTER => state.counter,
            _ => match timer_of(register) {
                Some((at, 0x00)) => {
                    state.timers[at].configuration | cfg::CAPABLE | self.routes() << 32
                }
                Some((at, 0x08)) => state.timers[at].comparator,
                Some((at, 0x10)) => state.timers[at].route,
                _ => 0,
            },
        }
    }

    /// Writes the bits of `mask` in a register.
    fn write_word(&mut self, register: u64, value: u64, mask: u64) {
        let now = self.timer.now();
        let merged = |old: u64| old & !mask | value & mask;
        let state = &mut self.state;
        match register {
            reg::CONFIGURATION => {
                let was = state.is_enabled();
                state.configuration = merged(state.configuration) & (ENABLE | LEGACY);
                if !was {
                    state.since = now;
                }
            }
            reg::STATUS => state.status &= !(value & mask),
            reg::COUNTER => {
                state.counter = merged(state.counter);
                state.since = now;
            }
            _ => {
                let Some((at, offset)) = timer_of(register) else { return };
                let timer = &mut state.timers[at];
                match offset {
                    0x00 => {
                        timer.configuration = merged(timer.configuration) & cfg::WRITABLE;
                        timer.comparator &= timer.mask();
                        timer.period &= timer.mask();
                        if !timer.has(cfg::LEVEL) {
                            state.status &= !(1 << at);
                        }
                    }
                    0x08 => {
                        let bits = timer.mask();
                        if !timer.has(cfg::PERIODIC) || timer.has(cfg::VALUE_SET) {
                            timer.comparator = merged(timer.comparator) & bits;
                        }
                        if timer.has(cfg::PERIODIC) {
                            timer.period = merged(timer.period) & bits;
                        }
                        // Both halves of a value are set before it is over.
                        if mask >> 32 != 0 || timer.has(cfg::BITS_32) {
                            timer.configuration &= !cfg::VALUE_SET;
                        }
                    }
                    0x10 => timer.route = merged(timer.route),
                    _ => {}
                }
            }
        }
    }
}

/// The timer of a register, and the register's offset in it.
fn timer_of(register: u64) -> Option<(usize, u64)> {
    let offset = register.checked_sub(reg::TIMERS)?;
    let at = (offset / 0x20) as usize;
    (at < COUNT).then_some((at, offset % 0x20))
}

impl Device for Hpet {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        self.update();
        self.read_word(offset & !7) >> ((offset & 7) * 8) & ones(bytes)
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        self.update();
        let shift = (offset & 7) * 8;
        self.write_word(offset & !7, value << shift, ones(bytes) << shift);
        self.update();
    }

    fn reset(&mut self) {
        self.state = State { since: self.timer.now(), ..State::new() };
        self.update();
    }
}

impl fmt::Debug for Hpet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hpet").field(&self.state).finish()
    }
}

impl fmt::Debug for LegacyRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LegacyRoutes").field(&self.lines).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Levels;
    use mynah_bus::Clock;

    #[derive(Default)]
    struct Seen(Mutex<Vec<(u64, u32)>>);

    impl Messages for Seen {
        fn message(&self, address: u64, data: u32) {
            self.0.lock().push((address, data));
        }
    }

    struct Rig {
        hpet: Arc<Mutex<Hpet>>,
        legacy: Arc<LegacyRoutes>,
        timers: Timers,
        levels: Arc<Levels>,
        seen: Arc<Seen>,
    }

    /// The IOAPIC's pins are 0 to 23; the legacy lines are 32 and 33.
    fn rig() -> Rig {
        let timers = Timers::new(Clock::stopped());
        let (levels, seen) = (Levels::new(), Arc::new(Seen::default()));
        let legacy = LegacyRoutes::new(levels.line(32), levels.line(33));
        let lines = (0..24).map(|pin| levels.line(pin)).collect();
        let hpet = Hpet::new(legacy.clone(), lines, seen.clone(), &timers);
        Rig { hpet, legacy, timers, levels, seen }
    }

    impl Rig {
        fn read(&self, offset: u64) -> u64 {
            self.hpet.lock().read(offset, 8)
        }
        fn write(&self, offset: u64, value: u64) {
            self.hpet.lock().write(offset, 8, value);
        }
    }

    #[test]
    fn the_counter_counts_while_enabled() {
        let rig = rig();
        assert_eq!(rig.read(0), 0x0098_9680_8086_a201);
        rig.timers.advance(1000);
        assert_eq!(rig.read(0xf0), 0);
        rig.write(0x10, 1);
        rig.timers.advance(1005);
        assert_eq!(rig.read(0xf0), 100);
        rig.timers.advance(5);
        assert_eq!(rig.hpet.lock().read(0xf0, 4), 101);
        rig.write(0x10, 0);
        rig.timers.advance(5000);
        rig.write(0xf0, 0x1_2345_6789);
        assert_eq!(rig.hpet.lock().read(0xf4, 4), 1);
        rig.hpet.lock().write(0xf0, 4, 7);
        assert_eq!(rig.read(0xf0), 0x1_0000_0007);
    }

    #[test]
    fn a_timer_interrupts_once_by_edge_or_level() {
        let rig = rig();
        rig.write(0x10, 1);
        rig.write(0x148, 500);
        rig.write(0x140, cfg::ENABLE | 20 << 9);
        rig.timers.advance(4990);
        assert_eq!(rig.levels.take_edges(20), 0);
        rig.timers.advance(10);
        assert_eq!((rig.levels.take_edges(20), rig.levels.is_high(20)), (1, false));
        rig.timers.advance(100_000);
        assert_eq!(rig.levels.take_edges(20), 0);
        rig.write(0x140, cfg::ENABLE | cfg::LEVEL | 21 << 9);
        rig.write(0x148, 20_000);
        rig.timers.advance(200_000);
        assert_eq!((rig.levels.is_high(21), rig.read(0x20)), (true, 4));
        rig.write(0x20, 4);
        assert_eq!((rig.levels.is_high(21), rig.read(0x20)), (false, 0));
        assert_eq!(rig.read(0x140) >> 32, 0xf0_0000);
    }

    #[test]
    fn periods_are_set_in_two_steps() {
        let rig = rig();
        rig.write(0x10, 1);
        rig.timers.advance(10_000);
        rig.write(0x100, cfg::ENABLE | cfg::PERIODIC | cfg::VALUE_SET | cfg::BITS_32 | 22 << 9);
        rig.hpet.lock().write(0x108, 4, 1200);
        rig.hpet.lock().write(0x108, 4, 100);
        assert_eq!(rig.read(0x108), 1200);
        rig.timers.advance(2000);
        assert_eq!((rig.levels.take_edges(22), rig.read(0x108)), (1, 1300));
        rig.timers.advance(10_000);
        assert_eq!((rig.levels.take_edges(22), rig.read(0x108)), (10, 2300));
    }

    #[test]
    fn legacy_routes_take_over() {
        let rig = rig();
        rig.legacy.set(0, true);
        rig.legacy.set(0, false);
        assert_eq!(rig.levels.take_edges(32), 1);
        rig.write(0x108, 100);
        rig.write(0x100, cfg::ENABLE | 22 << 9);
        rig.write(0x10, 3);
        rig.legacy.set(0, true);
        assert_eq!(rig.levels.take_edges(32), 0);
        rig.timers.advance(1000);
        assert_eq!((rig.levels.take_edges(32), rig.levels.take_edges(22)), (1, 0));
        rig.hpet.lock().reset();
        assert!(rig.levels.is_high(32));
    }

    #[test]
    fn messages() {
        let rig = rig();
        rig.write(0x130, 0xfee0_1000 << 32 | 0x55);
        rig.write(0x128, 10);
        rig.write(0x120, cfg::ENABLE | cfg::FSB);
        rig.write(0x10, 1);
        rig.timers.advance(100);
        assert_eq!(*rig.seen.0.lock(), [(0xfee0_1000, 0x55)]);
    }
}
