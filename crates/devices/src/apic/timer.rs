//! The local APIC's timer: one-shot, periodic, and by the time-stamp counter (SDM volume 3A, "APIC
//! Timer").

use mynah_bus::time::{SECOND, scale, scale_up};

/// Nanoseconds of a tick of the timer's clock before it is divided: it has 1 GHz.
const TICK: u64 = 1;

/// The timer's mode: bits 18 and 17 of its LVT entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    OneShot,
    Periodic,
    TscDeadline,
    Reserved,
}

impl Mode {
    pub(super) fn of(lvt: u32) -> Mode {
        match lvt >> 17 & 3 {
            0 => Mode::OneShot,
            1 => Mode::Periodic,
            2 => Mode::TscDeadline,
            _ => Mode::Reserved,
        }
    }
}

/// The vCPU's time-stamp counter as a function of virtual time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tsc {
    /// Counts in a second.
    pub(super) frequency: u64,
    /// The count at power-on.
    pub(super) offset: u64,
}

impl Tsc {
    /// The virtual time at which the counter reaches `count`; 0 if it was past it at power-on.
    fn when(self, count: u64) -> u64 {
        let ahead = count.wrapping_sub(self.offset);
        // A counter that was set back has a large offset: half of the range is past, half to come.
        if ahead > u64::MAX / 2 { 0 } else { scale_up(ahead, SECOND, self.frequency) }
    }
}

/// What the guest can change of the timer, but for its LVT entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) initial: u32,
    pub(super) divide: u32,
    /// The value of IA32_TSC_DEADLINE while it is armed, else 0.
    tsc_deadline: u64,
    /// When the count reaches zero, or the time-stamp counter its deadline.
    deadline: Option<u64>,
}

impl State {
    pub(super) fn new() -> State {
        State { initial: 0, divide: 0, tsc_deadline: 0, deadline: None }
    }

    /// When to be called.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Nanoseconds of a count.
    fn count(&self) -> u64 {
        let log = self.divide & 3 | self.divide >> 1 & 4;
        TICK << ((log + 1) & 7)
    }

    /// The current count register.
    pub(super) fn current(&self, now: u64, mode: Mode) -> u32 {
        match (mode, self.deadline) {
            (Mode::OneShot | Mode::Periodic, Some(deadline)) => {
                let left = deadline.saturating_sub(now).div_ceil(self.count());
                left.min(self.initial.into()) as u32
            }
            _ => 0,
        }
    }

    /// Writes the initial count register, which starts the count, or stops it with 0.
    pub(super) fn set_initial(&mut self, now: u64, mode: Mode, count: u32) {
        if mode == Mode::TscDeadline {
            return;
        }
        self.initial = count;
        self.deadline = (count != 0).then(|| now + u64::from(count) * self.count());
    }

    /// Writes the divide configuration register; what is left is counted at the new rate.
    pub(super) fn set_divide(&mut self, now: u64, mode: Mode, divide: u32) {
        let left = self.current(now, mode);
        self.divide = divide & 0xb;
        if self.deadline.is_some() && mode != Mode::TscDeadline {
            self.deadline = Some(now + u64::from(left) * self.count());
        }
    }

    /// The mode has changed: a change from or to the deadline mode disarms.
    pub(super) fn set_mode(&mut self, old: Mode, new: Mode) {
        if (old == Mode::TscDeadline) != (new == Mode::TscDeadline) {
            self.deadline = None;
            self.tsc_deadline = 0;
            self.initial = 0;
        }
    }

    /// IA32_TSC_DEADLINE: 0 when the timer is not armed by it.
    pub(super) fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    /// Writes IA32_TSC_DEADLINE: arms the timer, or disarms it with 0. Ignored in other modes.
    pub(super) fn set_tsc_deadline(&mut self, mode: Mode, count: u64, tsc: Tsc) {
        if mode == Mode::TscDeadline {
            self.tsc_deadline = count;
            self.deadline = (count != 0).then(|| tsc.when(count));
        }
    }

    /// The time-stamp counter was written: the deadline is at another time.
    pub(super) fn tsc_changed(&mut self, mode: Mode, tsc: Tsc) {
        if self.tsc_deadline != 0 {
            self.set_tsc_deadline(mode, self.tsc_deadline, tsc);
        }
    }

    /// Whether the timer has expired by `now`. Periods that nobody saw count once.
    pub(super) fn expire(&mut self, now: u64, mode: Mode) -> bool {
        let Some(deadline) = self.deadline.filter(|&deadline| deadline <= now) else {
            return false;
        };
        let period = u64::from(self.initial) * self.count();
        self.deadline = match mode {
            Mode::Periodic if period > 0 => {
                Some(deadline + scale(now - deadline, 1, period) * period + period)
            }
            _ => None,
        };
        self.tsc_deadline = 0;
        true
    }
}
