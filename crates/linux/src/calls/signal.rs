//! Signals: what they do, which are blocked, and waiting for them.

use crate::row::{Names, rows};
use crate::signal::{Action, AltStack, COUNT, SigSet};
use crate::{Call, Errno};

const HOW: Names = &[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")];

rows! {
    rt_sigaction(signum: Signal, act: Address, oldact: Address, size: Size) = Do(sigaction);
    rt_sigprocmask(how: Enum(HOW), set: SigSet, oldset: Address, size: Size) = Do(sigprocmask);
    rt_sigpending(set: OutFixed(8), size: Size) = Do(sigpending);
    rt_sigsuspend(mask: SigSet, size: Size) = Block(Errno::ERESTARTNOHAND);
    rt_sigtimedwait(set: SigSet, info: OutFixed(128), timeout: Timespec(1), size: Size)
        = Do(sigtimedwait);
    rt_sigreturn() = Task;
    sigaltstack(ss: Address, old_ss: Address) = Task;
    kill(pid: Int, signal: Signal) = Pass;
    tkill(tid: Int, signal: Signal) = Pass;
    tgkill(pid: Int, tid: Int, signal: Signal) = Pass;
    rt_sigqueueinfo(pid: Int, signal: Signal, info: InFixed(128)) = Pass;
    rt_tgsigqueueinfo(pid: Int, tid: Int, signal: Signal, info: InFixed(128)) = Pass;
    pause() = Block(Errno::ERESTARTNOHAND);
}

fn check_size(size: u64) -> Result<(), Errno> {
    if size == 8 { Ok(()) } else { Err(Errno::EINVAL) }
}

fn sigtimedwait(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [set, info, timeout, size, ..] = call.args;
    if timeout == 0 {
        return call.block(Errno::ERESTARTNOHAND);
    }
    let time = call.time_left(timeout)?;
    let args = [set, info, time.as_ptr() as u64, size, 0, 0];
    call.host_block("rt_sigtimedwait", args, Errno::ERESTARTNOHAND)
}

fn sigaction(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [_, new, old, size, ..] = call.args;
    let signal = call.int(0);
    check_size(size)?;
    if !(1..=COUNT as i32).contains(&signal) || new != 0 && SigSet::FIXED.has(signal) {
        return Err(Errno::EINVAL);
    }
    let process = call.process();
    let space = &process.space;
    // The mask is the last of three or four words.
    let mask_at = if process.abi.restorer { 24 } else { 16 };
    let before = if new == 0 {
        process.actions.get(signal)
    } else {
        let action = Action {
            handler: space.load(new)?,
            flags: space.load(new.wrapping_add(8))?,
            restorer: if process.abi.restorer { space.load(new.wrapping_add(16))? } else { 0 },
            mask: SigSet(space.load(new.wrapping_add(mask_at))?).less(SigSet::FIXED),
        };
        process.actions.set(signal, action)?
    };
    if old != 0 {
        space.store(old, before.handler)?;
        space.store(old.wrapping_add(8), before.flags)?;
        if process.abi.restorer {
            space.store(old.wrapping_add(16), before.restorer)?;
        }
        space.store(old.wrapping_add(mask_at), before.mask.0)?;
    }
    Ok(0)
}

fn sigprocmask(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [_, set, old, size, ..] = call.args;
    check_size(size)?;
    let before = call.thread.mask;
    let space = std::sync::Arc::clone(&call.process().space);
    if set != 0 {
        let set = SigSet(space.load(set)?);
        let mask = match call.int(0) {
            libc::SIG_BLOCK => before.and(set),
            libc::SIG_UNBLOCK => before.less(set),
            libc::SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        call.thread.set_mask(mask);
    }
    if old != 0 {
        space.store(old, before.0)?;
    }
    Ok(0)
}

fn sigpending(call: &mut Call<'_>) -> Result<u64, Errno> {
    call.pass()?;
    let sent = call.thread.pending.sent();
    let space = &call.process().space;
    let pending: u64 = space.load(call.args[0])?;
    space.store(call.args[0], pending | sent.0)?;
    Ok(0)
}

/// sigaltstack(2) for a thread whose stack pointer is `sp`.
pub(crate) fn sigaltstack(call: &mut Call<'_>, sp: u64) -> Result<u64, Errno> {
    const MIN: u64 = 2048;
    let [new, old, ..] = call.args;
    let stack = call.thread.alt_stack;
    let space = std::sync::Arc::clone(&call.process().space);
    let on_it = stack.holds(sp) && stack.flags & AltStack::AUTODISARM == 0;
    let disable = libc::SS_DISABLE as u32;
    if new != 0 {
        let mut bytes = [0; 24];
        space.read(new, &mut bytes)?;
        let mut wanted = AltStack::from_bytes(bytes);
        if on_it {
            return Err(Errno::EPERM);
        }
        // SS_ONSTACK is tolerated.
        wanted.flags &= !AltStack::ONSTACK;
        if wanted.flags & !(disable | AltStack::AUTODISARM) != 0 {
            return Err(Errno::EINVAL);
        }
        if wanted.flags & disable != 0 {
            wanted = AltStack::NONE;
        } else if wanted.size < MIN {
            return Err(Errno::ENOMEM);
        }
        call.thread.alt_stack = wanted;
    }
    if old != 0 {
        let mut told = stack;
        if on_it {
            told.flags |= AltStack::ONSTACK;
        }
        space.write(old, &told.to_bytes())?;
    }
    Ok(0)
}
