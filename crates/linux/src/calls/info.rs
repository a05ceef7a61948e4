//! What a process is told about itself and the system, and its identities, limits and scheduling.

use super::names;
use crate::Errno;
use crate::call::Call;
use crate::row::rows;
use std::sync::Mutex;

rows! {
    uname(buffer: OutFixed(390)) = Do(uname);
    sysinfo(buffer: OutFixed(112)) = Pass;
    sethostname(name: In(1), length: Size) = Pass;
    setdomainname(name: In(1), length: Size) = Pass;
    getrandom(buffer: Out(1), size: Size, flags: Flags(names::RANDOM)) = Block(Errno::ERESTARTSYS);
    getcpu(cpu: OutFixed(4), node: OutFixed(4), cache: Address) = Pass;

    getppid() = Pass;
    getpgrp() = Do(|c| c.host("getpgid", [0; 6]));
    getpgid(pid: Int) = Pass;
    setpgid(pid: Int, group: Int) = Pass;
    getsid(pid: Int) = Pass;
    setsid() = Pass;
    getuid() = Pass;
    geteuid() = Pass;
    getgid() = Pass;
    getegid() = Pass;
    getresuid(real: OutFixed(4), effective: OutFixed(4), saved: OutFixed(4)) = Pass;
    getresgid(real: OutFixed(4), effective: OutFixed(4), saved: OutFixed(4)) = Pass;
    setuid(user: Int) = Pass;
    setgid(group: Int) = Pass;
    setreuid(real: Int, effective: Int) = Pass;
    setregid(real: Int, effective: Int) = Pass;
    setresuid(real: Int, effective: Int, saved: Int) = Pass;
    setresgid(real: Int, effective: Int, saved: Int) = Pass;
    setfsuid(user: Int) = Pass;
    setfsgid(group: Int) = Pass;
    getgroups(size: Int, list: OutArray(0, 4)) = Pass;
    setgroups(size: Size, list: Address) = Pass;
    capget(header: OutFixed(8), data: OutFixed(24)) = Pass;
    capset(header: OutFixed(8), data: InFixed(24)) = Pass;

    getrlimit(resource: Enum(names::RESOURCE), limit: OutFixed(16)) = Do(getrlimit);
    setrlimit(resource: Enum(names::RESOURCE), limit: InFixed(16)) = Do(setrlimit);
    prlimit64(pid: Int, resource: Enum(names::RESOURCE), new: InFixed(16), old: OutFixed(16)) = Do(prlimit64);
    getrusage(who: Enum(names::USAGE), usage: OutFixed(144)) = Pass;
    getpriority(which: Enum(names::PRIORITY), who: Int) = Pass;
    setpriority(which: Enum(names::PRIORITY), who: Int, priority: Int) = Pass;
    ioprio_get(which: Int, who: Int) = Pass;
    ioprio_set(which: Int, who: Int, priority: Int) = Pass;

    sched_yield() = Pass;
    sched_getaffinity(pid: Int, size: Size, mask: Out(1)) = Pass;
    sched_setaffinity(pid: Int, size: Size, mask: Address) = Pass;
    sched_getparam(pid: Int, parameters: OutFixed(4)) = Pass;
    sched_setparam(pid: Int, parameters: InFixed(4)) = Pass;
    sched_getscheduler(pid: Int) = Pass;
    sched_setscheduler(pid: Int, policy: Enum(names::POLICY), parameters: InFixed(4)) = Pass;
    sched_getattr(pid: Int, attributes: Out(2), size: Uint, flags: Hex) = Pass;
    sched_setattr(pid: Int, attributes: OutFixed(4), flags: Hex) = Pass;
    sched_get_priority_max(policy: Enum(names::POLICY)) = Pass;
    sched_get_priority_min(policy: Enum(names::POLICY)) = Pass;
    sched_rr_get_interval(pid: Int, interval: OutFixed(16)) = Pass;

    prctl(option: Enum(names::PRCTL), a: Hex, b: Hex, c: Hex, d: Hex) = Do(prctl);
    personality(persona: Hex) = Do(personality);
}

/// Bytes of one field of `struct utsname`.
const UTS_FIELD: usize = 65;

fn uname(call: &mut Call<'_>) -> Result<u64, Errno> {
    let mut names = [0u8; 6 * UTS_FIELD];
    call.host("uname", [names.as_mut_ptr() as u64, 0, 0, 0, 0, 0])?;
    let machine = &mut names[4 * UTS_FIELD..][..UTS_FIELD];
    machine.fill(0);
    let name = call.process().abi.machine.as_bytes();
    machine[..name.len()].copy_from_slice(name);
    call.process().space.write(call.args[0], &names)?;
    Ok(0)
}

/// Limits that the guest has set and that are not the host's affair, since they would hit Mynah
/// itself: soft and hard, by resource.
static OWN_LIMITS: Mutex<[Option<[u64; 2]>; 16]> = Mutex::new([None; 16]);

fn is_own_limit(resource: u64) -> bool {
    let resource = resource as u32;
    resource == libc::RLIMIT_AS || resource == libc::RLIMIT_DATA || resource == libc::RLIMIT_STACK
}

fn getrlimit(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [resource, old, ..] = call.args;
    limit(call, 0, resource, 0, old)
}

fn setrlimit(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [resource, new, ..] = call.args;
    if new == 0 {
        return Err(Errno::EFAULT);
    }
    limit(call, 0, resource, new, 0)
}

fn prlimit64(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [pid, resource, new, old, ..] = call.args;
    limit(call, pid, resource, new, old)
}

fn limit(call: &mut Call<'_>, pid: u64, resource: u64, new: u64, old: u64) -> Result<u64, Errno> {
    let own = pid as u32 == 0 || pid as u32 == std::process::id();
    if !own || !is_own_limit(resource) {
        return call.host("prlimit64", [pid, resource, new, old, 0, 0]);
    }
    let mut host = [0u64; 2];
    call.host("prlimit64", [0, resource, 0, host.as_mut_ptr() as u64, 0, 0])?;
    let space = &call.process().space;
    let wanted = match new {
        0 => None,
        va => Some([space.load::<u64>(va)?, space.load(va.wrapping_add(8))?]),
    };
    let mut limits = OWN_LIMITS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let limit = &mut limits[resource as u32 as usize];
    let now = limit.unwrap_or(host);
    if let Some([soft, hard]) = wanted {
        if soft > hard {
            return Err(Errno::EINVAL);
        }
        if hard > now[1] && hard > host[1] {
            return Err(Errno::EPERM);
        }
        *limit = Some([soft, hard]);
    }
    if old != 0 {
        space.store(old, now[0])?;
        space.store(old.wrapping_add(8), now[1])?;
    }
    Ok(0)
}

fn prctl(call: &mut Call<'_>) -> Result<u64, Errno> {
    let a = call.args[1];
    let bytes = match call.int(0) {
        libc::PR_GET_NAME => 16,
        libc::PR_GET_PDEATHSIG | libc::PR_GET_CHILD_SUBREAPER => 4,
        libc::PR_SET_PDEATHSIG
        | libc::PR_SET_NAME
        | libc::PR_GET_DUMPABLE
        | libc::PR_SET_DUMPABLE
        | libc::PR_GET_KEEPCAPS
        | libc::PR_SET_KEEPCAPS
        | libc::PR_CAPBSET_READ
        | libc::PR_CAPBSET_DROP
        | libc::PR_GET_SECUREBITS
        | libc::PR_SET_SECUREBITS
        | libc::PR_GET_TIMERSLACK
        | libc::PR_SET_TIMERSLACK
        | libc::PR_SET_CHILD_SUBREAPER
        | libc::PR_GET_NO_NEW_PRIVS
        | libc::PR_SET_NO_NEW_PRIVS
        | libc::PR_GET_THP_DISABLE
        | libc::PR_SET_THP_DISABLE
        | libc::PR_GET_SECCOMP
        | libc::PR_CAP_AMBIENT
        | libc::PR_SET_VMA => 0,
        // The others change what Mynah itself relies on, or the machine that the guest sees.
        _ => return Err(Errno::EINVAL),
    };
    call.process().space.prepare(a, bytes);
    call.pass()
}

fn personality(call: &mut Call<'_>) -> Result<u64, Errno> {
    // Other executables' personalities (the low byte) are not ours to give.
    const QUERY: u32 = u32::MAX;
    let persona = call.args[0] as u32;
    if persona != QUERY && persona & 0xff != 0 {
        return Err(Errno::EINVAL);
    }
    call.pass()
}
