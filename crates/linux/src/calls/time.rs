//! Clocks, timers and sleeping.

use super::names;
use crate::Errno;
use crate::call::Call;
use crate::row::rows;

rows! {
    time(result: OutFixed(8)) = Do(time);
    gettimeofday(time: OutFixed(16), zone: OutFixed(8)) = Pass;
    settimeofday(time: InFixed(16), zone: InFixed(8)) = Pass;
    adjtimex(buffer: OutFixed(208)) = Pass;
    clock_adjtime(clock: Enum(names::CLOCK), buffer: OutFixed(208)) = Pass;
    clock_gettime(clock: Enum(names::CLOCK), time: OutFixed(16)) = Pass;
    clock_settime(clock: Enum(names::CLOCK), time: Timespec(1)) = Pass;
    clock_getres(clock: Enum(names::CLOCK), resolution: OutFixed(16)) = Pass;
    clock_nanosleep(clock: Enum(names::CLOCK), flags: Flags(names::TIMER), time: Timespec(1), left: OutFixed(16)) = Do(clock_nanosleep);
    nanosleep(time: Timespec(1), left: OutFixed(16)) = Do(nanosleep);
    times(buffer: OutFixed(32)) = Pass;

    alarm(seconds: Uint) = Do(alarm);
    getitimer(which: Enum(names::ITIMER), value: OutFixed(32)) = Pass;
    setitimer(which: Enum(names::ITIMER), value: InFixed(32), old: OutFixed(32)) = Pass;
    timer_create(clock: Enum(names::CLOCK), event: InFixed(64), timer: OutFixed(4)) = Pass;
    timer_settime(timer: Int, flags: Flags(names::TIMER), value: InFixed(32), old: OutFixed(32)) = Pass;
    timer_gettime(timer: Int, value: OutFixed(32)) = Pass;
    timer_getoverrun(timer: Int) = Pass;
    timer_delete(timer: Int) = Pass;
    timerfd_create(clock: Enum(names::CLOCK), flags: Flags(names::TIMERFD)) = Pass;
    timerfd_settime(fd: Fd, flags: Flags(names::TIMERFD_SET), value: InFixed(32), old: OutFixed(32)) = Pass;
    timerfd_gettime(fd: Fd, value: OutFixed(32)) = Pass;
}

fn time(call: &mut Call<'_>) -> Result<u64, Errno> {
    let mut now = [0u64; 2];
    let args = [libc::CLOCK_REALTIME_COARSE as u64, now.as_mut_ptr() as u64, 0, 0, 0, 0];
    call.host("clock_gettime", args)?;
    if call.args[0] != 0 {
        call.process().space.store(call.args[0], now[0])?;
    }
    Ok(now[0])
}

fn alarm(call: &mut Call<'_>) -> Result<u64, Errno> {
    let seconds = call.args[0] & 0xffff_ffff;
    let (new, mut old) = ([0, 0, seconds, 0], [0u64; 4]);
    let which = libc::ITIMER_REAL as u64;
    let args = [which, new.as_ptr() as u64, old.as_mut_ptr() as u64, 0, 0, 0];
    call.host("setitimer", args)?;
    // Rounded, but a timer that runs never yields 0.
    let [_, _, left, microseconds] = old;
    let up = microseconds >= 500_000 || (left == 0 && microseconds > 0);
    Ok(left + u64::from(up))
}

fn nanosleep(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [time, left, ..] = call.args;
    sleep(call, time, left, |time, left| ("nanosleep", [time, left, 0, 0, 0, 0]))
}

fn clock_nanosleep(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [clock, flags, time, left, ..] = call.args;
    if flags & libc::TIMER_ABSTIME as u64 != 0 {
        return call.block(Errno::ERESTARTNOHAND);
    }
    sleep(call, time, left, |time, left| ("clock_nanosleep", [clock, flags, time, left, 0, 0]))
}

/// Sleeps for what is left of the time at `time`, by the host's call that `host` makes of the
/// addresses of two times. If that is interrupted, the guest learns at `left` how long it would have
/// gone on.
fn sleep(
    call: &mut Call<'_>,
    time: u64,
    left: u64,
    host: impl FnOnce(u64, u64) -> (&'static str, [u64; 6]),
) -> Result<u64, Errno> {
    let time = call.time_left(time)?;
    let mut rest = [0_i64; 2];
    let (name, args) = host(time.as_ptr() as u64, rest.as_mut_ptr() as u64);
    let result = call.host_block(name, args, Errno::ERESTARTNOHAND);
    if result == Err(Errno::ERESTARTNOHAND) && left != 0 {
        let space = &call.process().space;
        for (word, at) in rest.into_iter().zip([left, left.wrapping_add(8)]) {
            space.store(at, word as u64)?;
        }
    }
    result
}
