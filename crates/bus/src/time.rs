//! The machine's time, and timers.

use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// `value * numerator / denominator`, without overflow on the way; for converting between
/// nanoseconds and the ticks of a device. Saturates.
pub fn scale(value: u64, numerator: u64, denominator: u64) -> u64 {
    let wide = u128::from(value) * u128::from(numerator) / u128::from(denominator.max(1));
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// As [`scale`], rounding up: the time at which a tick has been reached.
pub fn scale_up(value: u64, numerator: u64, denominator: u64) -> u64 {
    let wide = (u128::from(value) * u128::from(numerator)).div_ceil(u128::from(denominator.max(1)));
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// Virtual time: nanoseconds since power-on. It runs with the host's monotonic clock while it is
/// running, and stands still while it is stopped. Clones are the same clock. [`Timers`] start, stop
/// and move it, as timers depend on it.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    origin: Instant,
    /// While running: the host's nanoseconds since `origin` at which virtual time was zero, modulo
    /// 2⁶³. While stopped: [`STOPPED`] and the virtual time.
    state: AtomicU64,
}

const STOPPED: u64 = 1 << 63;

impl Clock {
    /// A clock that stands at zero.
    pub fn stopped() -> Clock {
        Clock(Arc::new(Inner { origin: Instant::now(), state: AtomicU64::new(STOPPED) }))
    }

    /// A running clock.
    pub fn running() -> Clock {
        let clock = Clock::stopped();
        clock.start();
        clock
    }

    /// Nanoseconds since power-on. Never less than before.
    pub fn now(&self) -> u64 {
        let state = self.0.state.load(Ordering::Acquire);
        if state & STOPPED != 0 {
            state & !STOPPED
        } else {
            self.host().wrapping_sub(state) & !STOPPED
        }
    }

    /// For how many nanoseconds the clock has stood still while the host's went on, from an origin
    /// of its own: while it runs this does not change.
    pub fn lag(&self) -> u64 {
        let state = self.0.state.load(Ordering::Acquire);
        match state & STOPPED {
            0 => state,
            _ => self.host().wrapping_sub(state & !STOPPED) & !STOPPED,
        }
    }

    /// Whether time passes.
    pub fn is_running(&self) -> bool {
        self.0.state.load(Ordering::Acquire) & STOPPED == 0
    }

    fn host(&self) -> u64 {
        // It overflows after 292 years.
        self.0.origin.elapsed().as_nanos() as u64 & !STOPPED
    }

    /// Makes time pass, if it did not.
    fn start(&self) {
        self.change(|state, host| {
            let zero = host.wrapping_sub(state & !STOPPED) & !STOPPED;
            (state & STOPPED != 0).then_some(zero)
        });
    }

    /// Makes time stand still, if it did not.
    fn stop(&self) {
        self.change(|state, host| {
            (state & STOPPED == 0).then(|| host.wrapping_sub(state) & !STOPPED | STOPPED)
        });
    }

    /// Moves a stopped clock on by `ns` nanoseconds; a running clock moves by itself.
    fn advance(&self, ns: u64) {
        self.change(|state, _| {
            let time = (state & !STOPPED).saturating_add(ns).min(STOPPED - 1);
            (state & STOPPED != 0).then_some(time | STOPPED)
        });
    }

    fn change(&self, change: impl Fn(u64, u64) -> Option<u64>) {
        let mut state = self.0.state.load(Ordering::Acquire);
        while let Some(new) = change(state, self.host()) {
            let order = Ordering::AcqRel;
            match self.0.state.compare_exchange_weak(state, new, order, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_running() { "running" } else { "stopped" };
        write!(f, "Clock({} ns, {state})", self.now())
    }
}

/// No deadline.
const NEVER: u64 = u64::MAX;

/// The least time between two rounds of [`Timers::serve`], so that a guest which asks for absurd
/// rates does not keep a host CPU busy.
const ROUND: Duration = Duration::from_micros(20);

/// A queue of deadlines. Clones are the same queue.
#[derive(Clone)]
pub struct Timers(Arc<Queue>);

struct Queue {
    clock: Clock,
    armed: Mutex<Armed>,
    changed: Condvar,
}

#[derive(Default)]
struct Armed {
    /// Timers with a deadline, by that and their number.
    deadlines: BTreeMap<(u64, u64), Arc<Alarm>>,
    next: u64,
    /// The deadline for which the thread in [`Timers::serve`] waits; 0 while it does not.
    waiting: u64,
    closed: bool,
}

impl Armed {
    /// The first deadline.
    fn first(&self) -> Option<u64> {
        self.deadlines.keys().next().map(|&(deadline, _)| deadline)
    }
}

/// What a timer does.
struct Alarm {
    id: u64,
    /// When, or [`NEVER`]. Changes with the queue locked.
    deadline: AtomicU64,
    expired: Box<dyn Fn(u64) + Send + Sync>,
}

/// A device's timer: it is off, or has one deadline. Dropping it turns it off.
pub struct Timer {
    timers: Timers,
    alarm: Arc<Alarm>,
}

impl Timers {
    /// A queue that goes by `clock`.
    pub fn new(clock: Clock) -> Timers {
        Timers(Arc::new(Queue {
            clock,
            armed: Mutex::new(Armed::default()),
            changed: Condvar::new(),
        }))
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// A timer that calls `expired` with the time then. The call is made by another thread or a
    /// little late, without any lock, and perhaps when the timer has just been set again or turned
    /// off: what is called compares the time with what the device waits for.
    pub fn timer(&self, expired: impl Fn(u64) + Send + Sync + 'static) -> Timer {
        let mut armed = self.0.armed.lock();
        armed.next += 1;
        let alarm =
            Alarm { id: armed.next, deadline: AtomicU64::new(NEVER), expired: Box::new(expired) };
        Timer { timers: self.clone(), alarm: Arc::new(alarm) }
    }

    /// A timer of `device`, which is locked for the call; see [`Timers::timer`]. It is for use in
    /// [`Arc::new_cyclic`].
    pub fn timer_of<D: Send + 'static>(
        &self,
        device: &Weak<Mutex<D>>,
        expired: impl Fn(&mut D, u64) + Send + Sync + 'static,
    ) -> Timer {
        let device = device.clone();
        self.timer(move |now| {
            if let Some(device) = device.upgrade() {
                expired(&mut device.lock(), now);
            }
        })
    }

    /// Makes time pass.
    pub fn start(&self) {
        self.0.clock.start();
        self.notify();
    }

    /// Makes time stand still.
    pub fn stop(&self) {
        self.0.clock.stop();
        self.notify();
    }

    /// Moves a stopped clock on by `ns` nanoseconds and calls the timers that expire on the way,
    /// each at its time. A timer that is set again to a time that has passed waits for the next
    /// call.
    pub fn advance(&self, ns: u64) {
        let end = self.0.clock.now().saturating_add(ns).min(STOPPED - 1);
        loop {
            let now = self.0.clock.now();
            let first = self.0.armed.lock().first();
            let Some(first) = first.filter(|&first| first <= end) else { break };
            self.0.clock.advance(first.saturating_sub(now));
            let next = self.run_due();
            if first <= now && next.is_some_and(|next| next <= now) {
                break;
            }
        }
        self.0.clock.advance(end.saturating_sub(self.0.clock.now()));
        self.notify();
    }

    /// Moves a stopped clock on by `ns` nanoseconds at once, and then calls the timers that are due: as
    /// when the host was busy with something else.
    pub fn jump(&self, ns: u64) {
        self.0.clock.advance(ns);
        self.run_due();
        self.notify();
    }

    /// Calls the timers whose deadline has come, in the order of deadlines, each once. The deadline
    /// to come next, if any.
    pub fn run_due(&self) -> Option<u64> {
        self.expire();
        self.0.armed.lock().first()
    }

    /// Calls the timers that are due; whether there were any.
    fn expire(&self) -> bool {
        let now = self.0.clock.now();
        let due = {
            let mut armed = self.0.armed.lock();
            if armed.first().is_none_or(|first| first > now) {
                return false;
            }
            let later = armed.deadlines.split_off(&(now.saturating_add(1), 0));
            let due = std::mem::replace(&mut armed.deadlines, later);
            for alarm in due.values() {
                alarm.deadline.store(NEVER, Ordering::Release);
            }
            due
        };
        for alarm in due.into_values() {
            (alarm.expired)(now);
        }
        true
    }

    /// Calls timers as their time comes, until [`Timers::close`]. This is the loop of a machine's
    /// timer thread.
    pub fn serve(&self) {
        let queue = &*self.0;
        loop {
            if self.expire() {
                std::thread::sleep(ROUND);
            }
            let mut armed = queue.armed.lock();
            loop {
                if armed.closed {
                    return;
                }
                match armed.first().filter(|_| queue.clock.is_running()) {
                    Some(deadline) => {
                        let left = deadline.saturating_sub(queue.clock.now());
                        if left == 0 {
                            break;
                        }
                        armed.waiting = deadline;
                        queue.changed.wait_for(&mut armed, Duration::from_nanos(left));
                    }
                    None => {
                        armed.waiting = NEVER;
                        queue.changed.wait(&mut armed);
                    }
                }
                armed.waiting = 0;
            }
        }
    }

    /// Ends [`Timers::serve`], now or when it is called.
    pub fn close(&self) {
        self.0.armed.lock().closed = true;
        self.notify();
    }

    fn notify(&self) {
        // Whoever is about to wait holds the lock, and would miss it.
        drop(self.0.armed.lock());
        self.0.changed.notify_all();
    }

    fn set(&self, alarm: &Arc<Alarm>, deadline: u64) {
        if alarm.deadline.load(Ordering::Acquire) == deadline {
            return;
        }
        let mut armed = self.0.armed.lock();
        let old = alarm.deadline.swap(deadline, Ordering::AcqRel);
        if old != NEVER {
            armed.deadlines.remove(&(old, alarm.id));
        }
        if deadline != NEVER {
            armed.deadlines.insert((deadline, alarm.id), alarm.clone());
            // A thread that waits for an earlier time will see to this one then.
            let is_sooner = deadline < armed.waiting;
            drop(armed);
            if is_sooner {
                self.0.changed.notify_all();
            }
        }
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let armed = self.0.armed.lock();
        f.debug_struct("Timers")
            .field("clock", &self.0.clock)
            .field("deadlines", &armed.deadlines.keys().map(|&(at, _)| at).collect::<Vec<_>>())
            .finish()
    }
}

impl Timer {
    /// Sets the deadline, in nanoseconds since power-on, in place of any other. One that has passed
    /// is called as soon as can be.
    pub fn set(&self, deadline: u64) {
        self.timers.set(&self.alarm, deadline);
    }

    /// Turns the timer off.
    pub fn cancel(&self) {
        self.timers.set(&self.alarm, NEVER);
    }

    /// Sets the deadline, or turns the timer off.
    pub fn set_or_cancel(&self, deadline: Option<u64>) {
        self.timers.set(&self.alarm, deadline.unwrap_or(NEVER));
    }

    /// The deadline, while the timer is on.
    pub fn deadline(&self) -> Option<u64> {
        Some(self.alarm.deadline.load(Ordering::Acquire)).filter(|&deadline| deadline != NEVER)
    }

    /// The time now.
    pub fn now(&self) -> u64 {
        self.timers.clock().now()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timer({:?})", self.deadline())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn scaling_does_not_overflow() {
        assert_eq!(scale(u64::MAX, 3, 4), u64::MAX / 4 * 3 + 2);
        assert_eq!(scale(u64::MAX, 2, 1), u64::MAX);
        assert_eq!((scale(10, 1, 3), scale_up(10, 1, 3), scale_up(9, 1, 3)), (3, 4, 3));
    }

    #[test]
    fn a_clock_stops_starts_and_never_goes_back() {
        let timers = Timers::new(Clock::stopped());
        let clock = timers.clock();
        timers.advance(5 * SECOND);
        assert_eq!(clock.now(), 5 * SECOND);
        timers.start();
        let (a, b) = (clock.now(), clock.now());
        assert!(5 * SECOND <= a && a <= b && b < 3600 * SECOND);
        let lag = clock.lag();
        assert_eq!(lag, clock.lag());
        timers.stop();
        let c = clock.now();
        assert!(b <= c && c == clock.now());
        std::thread::sleep(Duration::from_millis(1));
        assert!(clock.lag() > lag + 900_000);
        timers.advance(1);
        assert_eq!(clock.now(), c + 1);
    }

    #[test]
    fn timers_expire_in_order_and_once() {
        let timers = Timers::new(Clock::stopped());
        let log = Arc::new(Mutex::new(Vec::new()));
        let make = |name: char| {
            let log = log.clone();
            timers.timer(move |now| log.lock().push((name, now)))
        };
        let (a, b, c) = (make('a'), make('b'), make('c'));
        a.set(30);
        b.set(10);
        c.set(20);
        a.set(25);
        c.cancel();
        timers.advance(9);
        assert!(log.lock().is_empty());
        timers.advance(100);
        assert_eq!(*log.lock(), [('b', 10), ('a', 25)]);
        assert_eq!((a.deadline(), timers.run_due()), (None, None));
        a.set(1); // has passed
        timers.advance(0);
        assert_eq!(log.lock()[2..], [('a', 109)]);
        c.set(200);
        drop(c);
        timers.advance(1000);
        assert_eq!(log.lock().len(), 3);
    }

    struct Ticker {
        timer: Timer,
        ticks: Vec<u64>,
        period: u64,
    }

    fn ticker(timers: &Timers, period: u64) -> Arc<Mutex<Ticker>> {
        Arc::new_cyclic(|device| {
            let timer = timers.timer_of(device, |ticker: &mut Ticker, now| {
                ticker.ticks.push(now);
                ticker.timer.set(now + ticker.period);
            });
            Mutex::new(Ticker { timer, ticks: Vec::new(), period })
        })
    }

    #[test]
    fn a_device_sets_its_timer_again() {
        let timers = Timers::new(Clock::stopped());
        let device = ticker(&timers, 10);
        device.lock().timer.set(10);
        timers.advance(35);
        assert_eq!(device.lock().ticks, [10, 20, 30]);
        timers.jump(35);
        assert_eq!(device.lock().ticks[3..], [70]);
        // Without progress there is no endless loop.
        device.lock().period = 0;
        timers.advance(100);
        assert!(device.lock().ticks.len() <= 7);
        drop(device);
        timers.advance(1000);
    }

    #[test]
    fn a_thread_serves_timers_until_it_is_told() {
        let timers = Timers::new(Clock::stopped());
        let count = Arc::new(AtomicUsize::new(0));
        let (thread, counter) = (timers.clone(), count.clone());
        let thread = std::thread::spawn(move || thread.serve());
        let timer = timers.timer(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        timer.set(1_000_000);
        timers.start();
        while count.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        // First later, then sooner than what the thread waits for.
        timer.set(timers.clock().now() + 3600 * SECOND);
        timer.set(timers.clock().now() + 1_000_000);
        while count.load(Ordering::SeqCst) == 1 {
            std::thread::yield_now();
        }
        timers.close();
        thread.join().expect("the thread ends");
    }
}
