//! Waiting for descriptors, and the descriptors made for it.

use super::names;
use crate::Errno;
use crate::call::Call;
use crate::row::rows;

/// How calls end that no handler lets be made again.
const INTR: Errno = Errno::ERESTARTNOHAND;

rows! {
    poll(fds: OutArray(1, 8), count: Uint, timeout: Int) = Do(poll);
    ppoll(fds: OutArray(1, 8), count: Uint, timeout: OutFixed(16), mask: SigSet, size: Size) = Block(INTR);
    select(count: Int, read: OutFixed(128), write: OutFixed(128), except: OutFixed(128), timeout: OutFixed(16)) = Do(select);
    pselect6(count: Int, read: OutFixed(128), write: OutFixed(128), except: OutFixed(128), timeout: OutFixed(16), mask: Address) = Block(INTR);
    epoll_create(size: Int) = Do(epoll_create);
    epoll_create1(flags: Flags(names::EPOLL_FLAGS)) = Pass;
    epoll_ctl(epoll: Fd, operation: Enum(names::EPOLL_OP), fd: Fd, event: Address) = Do(epoll_ctl);
    epoll_wait(epoll: Fd, events: Address, most: Int, timeout: Int) = Do(epoll_wait);
    epoll_pwait(epoll: Fd, events: Address, most: Int, timeout: Int, mask: SigSet, size: Size) = Do(epoll_pwait);
    epoll_pwait2(epoll: Fd, events: Address, most: Int, timeout: Timespec(1), mask: SigSet, size: Size) = Do(epoll_pwait2);
    eventfd(value: Uint) = Do(|c| { let value = c.args[0]; c.host("eventfd2", [value, 0, 0, 0, 0, 0]) });
    eventfd2(value: Uint, flags: Flags(names::EVENTFD)) = Pass;
    signalfd(fd: Fd, mask: SigSet, size: Size) = Do(|c| { let [fd, mask, size, ..] = c.args; c.host("signalfd4", [fd, mask, size, 0, 0, 0]) });
    signalfd4(fd: Fd, mask: SigSet, size: Size, flags: Flags(names::SIGNALFD)) = Pass;
}

/// Whether the host's `struct epoll_event` is packed.
const HOST_PACKED: bool = cfg!(target_arch = "x86_64");

fn poll(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [fds, count, timeout, ..] = call.args;
    let milliseconds = call.milliseconds_left(timeout as i32);
    let time = [milliseconds as u64 / 1000, milliseconds as u64 % 1000 * 1_000_000];
    let time = if milliseconds < 0 { 0 } else { time.as_ptr() as u64 };
    call.host_block("ppoll", [fds, count, time, 0, 0, 0], INTR)
}

fn select(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [count, read, write, except, timeout, _] = call.args;
    if timeout == 0 {
        return call.host_block("pselect6", [count, read, write, except, 0, 0], INTR);
    }
    let space = &call.process().space;
    let (seconds, microseconds) =
        (space.load::<u64>(timeout)? as i64, space.load::<u64>(timeout.wrapping_add(8))? as i64);
    let seconds = seconds.wrapping_add(microseconds / 1_000_000);
    let mut time = [seconds, microseconds % 1_000_000 * 1000];
    let args = [count, read, write, except, time.as_mut_ptr() as u64, 0];
    let result = call.host_block("pselect6", args, INTR);
    // As Linux does: what is left of the time, also after an error.
    let space = &call.process().space;
    let _ = space.store(timeout, time[0] as u64);
    let _ = space.store(timeout.wrapping_add(8), time[1] as u64 / 1000);
    result
}

fn epoll_create(call: &mut Call<'_>) -> Result<u64, Errno> {
    if call.int(0) <= 0 {
        return Err(Errno::EINVAL);
    }
    call.host("epoll_create1", [0; 6])
}

fn epoll_ctl(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [epoll, operation, fd, event, ..] = call.args;
    if event == 0 || call.process().abi.epoll_packed == HOST_PACKED {
        return call.pass();
    }
    let packed = call.process().abi.epoll_packed;
    let space = &call.process().space;
    let data: u64 = space.load(event.wrapping_add(data_offset(packed)))?;
    let mut event = libc::epoll_event { events: space.load(event)?, u64: data };
    call.host("epoll_ctl", [epoll, operation, fd, &raw mut event as u64, 0, 0])
}

fn epoll_wait(call: &mut Call<'_>) -> Result<u64, Errno> {
    let left = call.milliseconds_left(call.int(3));
    events(call, "epoll_pwait", [left as u64, 0, 8])
}

fn epoll_pwait(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [.., mask, size] = call.args;
    let left = call.milliseconds_left(call.int(3));
    events(call, "epoll_pwait", [left as u64, mask, size])
}

fn epoll_pwait2(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [.., timeout, mask, size] = call.args;
    if timeout == 0 {
        return events(call, "epoll_pwait2", [0, mask, size]);
    }
    let left = call.time_left(timeout)?;
    events(call, "epoll_pwait2", [left.as_ptr() as u64, mask, size])
}

/// Where `struct epoll_event` has its `data`.
fn data_offset(packed: bool) -> u64 {
    if packed { 4 } else { 8 }
}

/// Waits by host call `name` (with timeout, mask and the mask's size) and hands the events over as
/// the guest lays them out.
fn events(call: &mut Call<'_>, name: &str, until: [u64; 3]) -> Result<u64, Errno> {
    let [timeout, mask, size] = until;
    let [epoll, buffer, most, ..] = call.args;
    let packed = call.process().abi.epoll_packed;
    let bytes = data_offset(packed) + 8;
    let most = most as i32;
    if most <= 0 || most > i32::MAX / 16 {
        return Err(Errno::EINVAL);
    }
    if packed == HOST_PACKED {
        call.process().space.prepare(buffer, most as u64 * bytes);
        return call.host_block(name, [epoll, buffer, most as u64, timeout, mask, size], INTR);
    }
    // Fewer than asked for are no error: the rest is told next time.
    let most = most.min(1024) as usize;
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; most];
    let args = [epoll, events.as_mut_ptr() as u64, most as u64, timeout, mask, size];
    let count = call.host_block(name, args, INTR)?;
    let space = &call.process().space;
    for (index, event) in events.iter().take(count as usize).enumerate() {
        let at = buffer.wrapping_add(index as u64 * bytes);
        space.store(at, event.events)?;
        space.store(at.wrapping_add(data_offset(packed)), event.u64)?;
    }
    Ok(count)
}
