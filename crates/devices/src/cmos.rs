//! The real-time clock and its battery-backed RAM: Motorola MC146818A data sheet, with the PC's
//! century byte.
//!
//! The time of day follows from virtual time and what the guest has set; nothing ticks, and the
//! flags of register C are found out when they are read or when they interrupt.

use mynah_bus::time::{SECOND, scale, scale_up};
use mynah_bus::{Device, IrqLine, Timer, Timers, read_bytes, write_bytes};
use parking_lot::Mutex;
use std::sync::Arc;

/// Addresses of the registers.
mod at {
    pub(super) const SECONDS: u8 = 0x00;
    pub(super) const SECONDS_ALARM: u8 = 0x01;
    pub(super) const MINUTES: u8 = 0x02;
    pub(super) const MINUTES_ALARM: u8 = 0x03;
    pub(super) const HOURS: u8 = 0x04;
    pub(super) const HOURS_ALARM: u8 = 0x05;
    pub(super) const DAY_OF_WEEK: u8 = 0x06;
    pub(super) const DAY: u8 = 0x07;
    pub(super) const MONTH: u8 = 0x08;
    pub(super) const YEAR: u8 = 0x09;
    pub(super) const A: u8 = 0x0a;
    pub(super) const B: u8 = 0x0b;
    pub(super) const C: u8 = 0x0c;
    pub(super) const D: u8 = 0x0d;
    pub(super) const CENTURY: u8 = 0x32;
}

/// Register A: an update is in progress.
const UIP: u8 = 1 << 7;

/// Register B.
mod b {
    pub(super) const SET: u8 = 1 << 7;
    pub(super) const PIE: u8 = 1 << 6;
    pub(super) const AIE: u8 = 1 << 5;
    pub(super) const UIE: u8 = 1 << 4;
    pub(super) const BINARY: u8 = 1 << 2;
    pub(super) const HOURS_24: u8 = 1 << 1;
}

/// Register C; the enables in B are at the same bits.
mod c {
    pub(super) const IRQF: u8 = 1 << 7;
    pub(super) const PF: u8 = 1 << 6;
    pub(super) const AF: u8 = 1 << 5;
    pub(super) const UF: u8 = 1 << 4;
}

/// Register D: RAM and time are valid.
const VRT: u8 = 1 << 7;

/// UIP is set for so many nanoseconds before an update.
const UPDATE: u64 = 244_000;

/// The least nanoseconds between a period that the guest has taken and one that is made up for.
const LATER: u64 = 50_000;

/// The oscillator's frequency.
const OSCILLATOR: u64 = 32_768;

const DAY: u64 = 86_400;

/// A time of day and date in the proleptic Gregorian calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Date {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Date {
    /// The date `seconds` after the beginning of the year 1.
    fn from_seconds(seconds: u64) -> Date {
        let (days, rest) = (seconds / DAY, seconds % DAY);
        // Years that begin in March have their leap day at the end.
        let days = days + 306;
        let era = days / 146_097;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Date {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: of_year - (153 * shifted + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    /// Seconds since the beginning of the year 1. Fields out of range count on.
    fn seconds(self) -> u64 {
        let month = self.month.clamp(1, 12);
        let year = self.year.max(1) - u64::from(month <= 2);
        let shifted = if month > 2 { month - 3 } else { month + 9 };
        let days = 365 * year + year / 4 - year / 100
            + year / 400
            + (153 * shifted + 2) / 5
            + self.day.max(1)
            - 1;
        days.saturating_sub(306) * DAY + self.hour * 3600 + self.minute * 60 + self.second
    }

    /// 1 is Sunday.
    fn day_of_week(self) -> u64 {
        (self.seconds() / DAY + 1) % 7 + 1
    }
}

/// Seconds from the beginning of the year 1 to that of 1970.
const UNIX: u64 = 719_162 * DAY;

#[derive(Clone, Debug)]
struct State {
    index: u8,
    ram: [u8; 128],
    /// The time, in nanoseconds since the beginning of the year 1, is this much ahead of virtual
    /// time. It has room for 30 000 years.
    ahead: u128,
    /// The virtual time up to which flags have been found out.
    seen: u64,
    /// Periods that interrupted while the guest had not read register C after the one before. They
    /// are made up for, so that a guest that counts them keeps time on a host that is busy.
    owed: u64,
    /// When the next of them interrupts.
    makes_up: Option<u64>,
}

impl State {
    fn new(unix_seconds: u64) -> State {
        let mut ram = [0; 128];
        ram[usize::from(at::A)] = 0x26;
        ram[usize::from(at::B)] = b::HOURS_24;
        ram[usize::from(at::D)] = VRT;
        let seconds = unix_seconds.min(200_000_000_000) + UNIX;
        State {
            index: 0,
            ram,
            ahead: u128::from(seconds) * u128::from(SECOND),
            seen: 0,
            owed: 0,
            makes_up: None,
        }
    }

    fn get(&self, at: u8) -> u8 {
        self.ram[usize::from(at & 0x7f)]
    }

    fn put(&mut self, at: u8, value: u8) {
        self.ram[usize::from(at & 0x7f)] = value;
    }

    /// Whether the divider chain runs, so that there are updates.
    fn is_running(&self) -> bool {
        self.get(at::A) >> 4 & 7 < 6 && self.get(at::B) & b::SET == 0
    }

    /// The clock's seconds at a virtual time, and the nanoseconds of the current one.
    fn seconds(&self, now: u64) -> (u64, u64) {
        let time = self.ahead + u128::from(now);
        ((time / u128::from(SECOND)) as u64, (time % u128::from(SECOND)) as u64)
    }

    /// The virtual time at which the clock's seconds become `seconds`.
    fn when(&self, seconds: u64) -> u64 {
        let time = (u128::from(seconds) * u128::from(SECOND)).saturating_sub(self.ahead);
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// Ticks of the oscillator in a period of the periodic interrupt.
    fn period(&self) -> Option<u64> {
        match self.get(at::A) & 0x0f {
            0 => None,
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    fn encode(&self, value: u64) -> u8 {
        if self.get(at::B) & b::BINARY != 0 {
            value as u8
        } else {
            (value / 10 % 10 << 4 | value % 10) as u8
        }
    }

    fn decode(&self, byte: u8) -> u64 {
        if self.get(at::B) & b::BINARY != 0 {
            byte.into()
        } else {
            u64::from(byte >> 4) * 10 + u64::from(byte & 15)
        }
    }

    fn encode_hour(&self, hour: u64) -> u8 {
        if self.get(at::B) & b::HOURS_24 != 0 {
            return self.encode(hour);
        }
        let afternoon = if hour >= 12 { 0x80 } else { 0 };
        self.encode((hour + 11) % 12 + 1) | afternoon
    }

    fn decode_hour(&self, byte: u8) -> u64 {
        if self.get(at::B) & b::HOURS_24 != 0 {
            return self.decode(byte);
        }
        self.decode(byte & 0x7f) % 12 + if byte & 0x80 != 0 { 12 } else { 0 }
    }

    /// Brings the time registers up to date.
    fn show(&mut self, now: u64) {
        if !self.is_running() {
            return;
        }
        let date = Date::from_seconds(self.seconds(now).0);
        let fields = [
            (at::SECONDS, self.encode(date.second)),
            (at::MINUTES, self.encode(date.minute)),
            (at::HOURS, self.encode_hour(date.hour)),
            (at::DAY_OF_WEEK, self.encode(date.day_of_week())),
            (at::DAY, self.encode(date.day)),
            (at::MONTH, self.encode(date.month)),
            (at::YEAR, self.encode(date.year % 100)),
            (at::CENTURY, self.encode(date.year / 100)),
        ];
        for (at, value) in fields {
            self.put(at, value);
        }
    }

    /// Takes the time from the registers; `fraction` nanoseconds of the second have passed.
    fn take(&mut self, now: u64, fraction: u64) {
        let field = |at| self.decode(self.get(at));
        let date = Date {
            year: field(at::CENTURY) * 100 + field(at::YEAR),
            month: field(at::MONTH),
            day: field(at::DAY),
            hour: self.decode_hour(self.get(at::HOURS)),
            minute: field(at::MINUTES),
            second: field(at::SECONDS),
        };
        let time = u128::from(date.seconds()) * u128::from(SECOND) + u128::from(fraction);
        // A clock that is set to before power-on began in the year 1.
        self.ahead = time.saturating_sub(u128::from(now));
    }

    /// Whether an alarm register matches a value, which is encoded.
    fn matches(&self, at: u8, value: u8) -> bool {
        let alarm = self.get(at);
        alarm >= 0xc0 || alarm == value
    }

    /// The first of the clock's seconds after `seconds` at which the alarm is due.
    fn next_alarm(&self, seconds: u64) -> Option<u64> {
        let end = seconds + 1 + DAY;
        let mut at = seconds + 1;
        while at < end {
            let (hour, minute, second) = (at / 3600 % 24, at / 60 % 60, at % 60);
            at = if !self.matches(at::HOURS_ALARM, self.encode_hour(hour)) {
                (at / 3600 + 1) * 3600
            } else if !self.matches(at::MINUTES_ALARM, self.encode(minute)) {
                (at / 60 + 1) * 60
            } else if !self.matches(at::SECONDS_ALARM, self.encode(second)) {
                at + 1
            } else {
                return Some(at);
            };
        }
        None
    }

    /// Sets the flags of what has happened up to `now`.
    fn settle(&mut self, now: u64) {
        let before = std::mem::replace(&mut self.seen, now);
        let mut flags = 0;
        if let Some(period) = self.period() {
            let periods = |time| scale(time, OSCILLATOR, SECOND) / period;
            let came = periods(now) - periods(before);
            if came > 0 {
                flags |= c::PF;
            }
            self.count(came, OSCILLATOR / period);
        }
        if self.period().is_none() || self.get(at::B) & b::PIE == 0 {
            self.owed = 0;
        }
        if self.makes_up.is_some_and(|when| when <= now) {
            self.makes_up = None;
            if self.owed > 0 && (flags | self.get(at::C)) & c::PF == 0 {
                self.owed -= 1;
                flags |= c::PF;
            }
        }
        if self.is_running() {
            let (before, now) = (self.seconds(before).0, self.seconds(now).0);
            if before < now {
                flags |= c::UF;
                if self.next_alarm(before).is_some_and(|alarm| alarm <= now) {
                    flags |= c::AF;
                }
            }
        }
        self.put(at::C, self.get(at::C) | flags);
    }

    /// `came` periods have passed, of which there are `rate` in a second.
    fn count(&mut self, came: u64, rate: u64) {
        let noticed = u64::from(self.get(at::C) & c::PF == 0);
        self.owed = (self.owed + came.saturating_sub(noticed)).min(rate);
    }

    /// When something will happen that interrupts.
    fn next(&self, now: u64) -> Option<u64> {
        let b = self.get(at::B);
        let second = self.seconds(now).0;
        let periodic = self.period().filter(|_| b & b::PIE != 0).map(|period| {
            let periods = scale(now, OSCILLATOR, SECOND) / period + 1;
            scale_up(periods * period, SECOND, OSCILLATOR)
        });
        let update = (b & b::UIE != 0 && self.is_running()).then(|| self.when(second + 1));
        let alarm = (b & b::AIE != 0 && self.is_running())
            .then(|| self.next_alarm(second).map(|second| self.when(second)))
            .flatten();
        [periodic, update, alarm, self.makes_up].into_iter().flatten().min()
    }
}

/// The clock and its RAM: the index at offset 0 (port 70h), the data at offset 1 (port 71h).
#[derive(Debug)]
pub struct Cmos {
    state: State,
    irq: IrqLine,
    timer: Timer,
}

impl Cmos {
    /// A clock whose time at power-on is `unix_seconds` after the beginning of 1970.
    pub fn new(irq: IrqLine, timers: &Timers, unix_seconds: u64) -> Arc<Mutex<Cmos>> {
        Arc::new_cyclic(|device| {
            let timer = timers.timer_of(device, |device: &mut Cmos, _| device.update());
            Mutex::new(Cmos { state: State::new(unix_seconds), irq, timer })
        })
    }

    /// Sets a byte of the RAM, as firmware's setup would. The time and its registers (up to 0Dh) are
    /// left alone. The checksum of bytes 10h to 2Dh is kept.
    pub fn set(&mut self, at: u8, value: u8) {
        if !matches!(at, 0x0e..=0x7f) || at == at::CENTURY {
            return;
        }
        self.state.put(at, value);
        let sum: u16 = (0x10..0x2e).map(|at| u16::from(self.state.get(at))).sum();
        let [low, high] = sum.to_le_bytes();
        self.state.put(0x2e, high);
        self.state.put(0x2f, low);
    }

    /// A byte of the RAM.
    pub fn get(&self, at: u8) -> u8 {
        self.state.get(at)
    }

    /// Tells firmware how much RAM there is: `low` bytes below 4 GiB, beginning at address 0, and
    /// `high` bytes from 4 GiB on.
    pub fn set_memory(&mut self, low: u64, high: u64) {
        let mut set = |at: u8, bytes: u8, value: u64| {
            for i in 0..bytes {
                self.set(at + i, (value >> (i * 8)) as u8);
            }
        };
        set(0x15, 2, (low >> 10).min(640));
        let extended = (low >> 10).saturating_sub(1024).min(0xffff);
        set(0x17, 2, extended);
        set(0x30, 2, extended);
        set(0x34, 2, (low >> 16).saturating_sub(256).min(0xffff));
        set(0x5b, 3, (high >> 16).min(0xff_ffff));
    }

    fn update(&mut self) {
        let now = self.timer.now();
        let state = &mut self.state;
        state.settle(now);
        let flags = state.get(at::C) & (c::PF | c::AF | c::UF);
        let irqf = if flags & state.get(at::B) != 0 { c::IRQF } else { 0 };
        state.put(at::C, flags | irqf);
        self.irq.set(irqf != 0);
        // While it interrupts, nothing more can happen.
        let next = if irqf == 0 { state.next(now) } else { None };
        self.timer.set_or_cancel(next);
    }

    fn read_data(&mut self) -> u8 {
        let now = self.timer.now();
        let state = &mut self.state;
        match state.index {
            at::A => {
                let updating = state.is_running() && state.seconds(now).1 >= SECOND - UPDATE;
                state.get(at::A) | if updating { UIP } else { 0 }
            }
            at::C => {
                let flags = state.get(at::C);
                state.put(at::C, 0);
                if state.owed > 0
                    && let Some(period) = state.period()
                {
                    let period = scale_up(period, SECOND, OSCILLATOR);
                    state.makes_up = Some(now + (period / 4).max(LATER));
                }
                flags
            }
            index => {
                state.show(now);
                state.get(index)
            }
        }
    }

    fn write_data(&mut self, value: u8) {
        let now = self.timer.now();
        let state = &mut self.state;
        state.show(now);
        match state.index {
            at::A => {
                let was_running = state.is_running();
                state.put(at::A, value & !UIP);
                if !was_running && state.is_running() {
                    // The first update comes half a second after the divider is released.
                    state.take(now, SECOND / 2);
                }
            }
            at::B => {
                let was_running = state.is_running();
                state.put(at::B, if value & b::SET != 0 { value & !b::UIE } else { value });
                if !was_running && state.is_running() {
                    // The divider has gone on: the second's fraction stays.
                    let fraction = state.seconds(now).1;
                    state.take(now, fraction);
                }
            }
            at::C | at::D => {}
            index => {
                state.put(index, value);
                let is_time = matches!(
                    index,
                    at::SECONDS
                        | at::MINUTES
                        | at::HOURS
                        | at::DAY
                        | at::MONTH
                        | at::YEAR
                        | at::CENTURY
                );
                if is_time && state.is_running() {
                    let fraction = state.seconds(now).1;
                    state.take(now, fraction);
                }
            }
        }
    }
}

impl Device for Cmos {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        self.update();
        let value = read_bytes(offset, bytes, |at| match at {
            1 => self.read_data(),
            _ => 0xff, // The index can only be written.
        });
        self.update();
        value
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        self.update();
        write_bytes(offset, bytes, value, |at, byte| match at {
            0 => self.state.index = byte & 0x7f, // Bit 7 masks NMI causes that are not there.
            1 => self.write_data(byte),
            _ => {}
        });
        self.update();
    }

    /// The battery keeps the time and the RAM.
    fn reset(&mut self) {
        let b = self.state.get(at::B);
        self.state.put(at::B, b & !(b::PIE | b::AIE | b::UIE));
        self.state.put(at::C, 0);
        self.state.index = 0;
        self.update();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Levels;
    use mynah_bus::Clock;

    struct Rig {
        cmos: Arc<Mutex<Cmos>>,
        timers: Timers,
        levels: Arc<Levels>,
    }

    /// 2024-02-29, a Thursday, 23:59:58.
    const LEAP_DAY: u64 = 1_709_251_198;

    fn rig() -> Rig {
        let timers = Timers::new(Clock::stopped());
        let levels = Levels::new();
        let cmos = Cmos::new(levels.line(8), &timers, LEAP_DAY);
        Rig { cmos, timers, levels }
    }

    impl Rig {
        fn read(&self, at: u8) -> u8 {
            self.cmos.lock().write(0, 1, at.into());
            self.cmos.lock().read(1, 1) as u8
        }
        fn write(&self, at: u8, value: u8) {
            self.cmos.lock().write(0, 1, at.into());
            self.cmos.lock().write(1, 1, value.into());
        }
        fn irq(&self) -> bool {
            self.levels.is_high(8)
        }
        /// Century, year, month, day, day of the week, hours, minutes, seconds.
        fn time(&self) -> [u8; 8] {
            [0x32, 9, 8, 7, 6, 4, 2, 0].map(|at| self.read(at))
        }
    }

    #[test]
    fn dates_come_back_from_seconds() {
        for day in (0..3_000_000).step_by(97) {
            let date = Date::from_seconds(day * DAY + 12_345);
            assert_eq!(date.seconds(), day * DAY + 12_345, "{date:?}");
        }
        let first = Date { year: 1970, month: 1, day: 1, hour: 0, minute: 0, second: 0 };
        assert_eq!((Date::from_seconds(UNIX), first.day_of_week()), (first, 5));
    }

    #[test]
    fn the_time_passes_in_decimal_and_binary() {
        let rig = rig();
        assert_eq!(rig.time(), [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x58]);
        rig.timers.advance(2 * SECOND);
        assert_eq!(rig.time(), [0x20, 0x24, 0x03, 0x01, 6, 0x00, 0x00, 0x00]);
        rig.write(at::B, b::BINARY);
        assert_eq!(rig.time(), [20, 24, 3, 1, 6, 12, 0, 0]);
        rig.timers.advance(45_296 * SECOND); // 12:34:56
        assert_eq!(rig.time(), [20, 24, 3, 1, 6, 0x8c, 34, 56]);
    }

    #[test]
    fn the_time_can_be_set() {
        let rig = rig();
        rig.timers.advance(SECOND / 4);
        rig.write(at::B, b::SET | b::HOURS_24);
        for (at, value) in [(0, 0x30), (2, 0x45), (4, 0x12), (7, 0x24), (8, 0x12), (9, 0x99)] {
            rig.write(at, value);
        }
        rig.write(at::CENTURY, 0x19);
        rig.timers.advance(10 * SECOND);
        assert_eq!(rig.read(0), 0x30);
        rig.write(at::B, b::HOURS_24);
        rig.timers.advance(SECOND / 2);
        assert_eq!(rig.time(), [0x19, 0x99, 0x12, 0x24, 6, 0x12, 0x45, 0x30]);
        rig.timers.advance(SECOND / 4);
        assert_eq!(rig.read(0), 0x31);
        rig.write(at::MINUTES, 0x46);
        assert_eq!((rig.read(2), rig.read(0)), (0x46, 0x31));
    }

    #[test]
    fn an_update_is_announced_and_interrupts() {
        let rig = rig();
        assert_eq!(rig.read(at::A), 0x26);
        rig.timers.advance(SECOND - 100_000);
        assert_eq!(rig.read(at::A), 0xa6);
        rig.write(at::B, b::UIE | b::HOURS_24);
        assert!(!rig.irq());
        rig.timers.advance(100_000);
        assert!(rig.irq());
        assert_eq!(rig.read(at::C) & !c::PF, c::IRQF | c::UF);
        assert_eq!((rig.irq(), rig.read(at::C)), (false, 0));
        rig.timers.advance(3 * SECOND);
        assert_eq!((rig.irq(), rig.levels.take_edges(8)), (true, 2));
        rig.cmos.lock().reset();
        assert!(!rig.irq());
    }

    #[test]
    fn the_alarm_has_dont_cares() {
        let rig = rig();
        rig.write(at::HOURS_ALARM, 0xff);
        rig.write(at::MINUTES_ALARM, 0x01);
        rig.write(at::SECONDS_ALARM, 0x05);
        rig.write(at::B, b::AIE | b::HOURS_24);
        rig.timers.advance(66 * SECOND);
        assert!(!rig.irq());
        rig.timers.advance(SECOND);
        assert!(rig.irq());
        assert_eq!(rig.read(at::C) & c::AF, c::AF);
        rig.timers.advance(3600 * SECOND);
        assert!(rig.irq());
        rig.read(at::C);
        rig.write(at::SECONDS_ALARM, 0x77); // Never.
        rig.timers.advance(2 * DAY * SECOND);
        assert!(!rig.irq());
    }

    #[test]
    fn the_periodic_interrupt_has_its_rate() {
        let rig = rig();
        rig.write(at::B, b::PIE | b::HOURS_24); // 1024 Hz
        rig.read(at::C);
        rig.levels.take_edges(8);
        for _ in 0..1024 {
            rig.timers.advance(SECOND.div_ceil(1024));
            rig.read(at::C);
        }
        assert_eq!(rig.levels.take_edges(8), 1024);
        rig.write(at::A, 0x20);
        rig.read(at::C);
        rig.timers.advance(SECOND);
        // It is midnight, for which the alarm is set.
        assert_eq!(rig.read(at::C), c::UF | c::AF);
    }

    #[test]
    fn periods_that_a_guest_takes_late_are_made_up_for() {
        let rig = rig();
        rig.write(at::B, b::PIE | b::HOURS_24); // 1024 Hz
        rig.read(at::C);
        rig.levels.take_edges(8);
        let period = SECOND.div_ceil(1024);
        rig.timers.advance(50 * period);
        rig.timers.jump(50 * period);
        let mut taken = 0;
        for _ in 0..400 {
            taken += u32::from(rig.read(at::C) & c::PF != 0);
            rig.timers.advance(period / 4);
        }
        assert!((199..=201).contains(&taken), "{taken} periods of 200");
        assert_eq!(rig.levels.take_edges(8), taken);
        // No more than a second's are kept, and none for a guest that does not want them.
        rig.timers.advance(5 * SECOND);
        rig.read(at::C);
        assert_eq!(rig.cmos.lock().state.owed, 1024);
        rig.write(at::B, b::HOURS_24);
        assert_eq!(rig.cmos.lock().state.owed, 0);
    }

    #[test]
    fn ram_keeps_what_setup_and_guest_write() {
        let rig = rig();
        rig.cmos.lock().set_memory(0xc000_0000, 0x4000_0000);
        let words = [(0x15, 640), (0x17, 0xffff), (0x30, 0xffff), (0x34, 0xbf00), (0x5b, 0x4000)];
        for (at, value) in words {
            assert_eq!(u16::from_le_bytes([rig.read(at), rig.read(at + 1)]), value, "{at:#x}");
        }
        rig.write(0x0f, 0x0a);
        rig.cmos.lock().reset();
        assert_eq!((rig.read(0x0f), rig.read(at::D)), (0x0a, VRT));
        rig.write(at::D, 0);
        assert_eq!(rig.read(at::D), VRT);
        assert_eq!(rig.cmos.lock().read(0, 1), 0xff);
    }
}
