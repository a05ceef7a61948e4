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
    let time = call.time_left(time)?;
    call.host_block("nanosleep", [time.as_ptr() as u64, left, 0, 0, 0, 0], Errno::ERESTARTNOHAND)
}

fn clock_nanosleep(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [clock, flags, time, left, ..] = call.args;
    if flags & libc::TIMER_ABSTIME as u64 != 0 {
        return call.block(Errno::ERESTARTNOHAND);
    }
    let time = call.time_left(time)?;
    let args = [clock, flags, time.as_ptr() as u64, left, 0, 0];
    call.host_block("clock_nanosleep", args, Errno::ERESTARTNOHAND)
}
