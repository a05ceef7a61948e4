//! Breakpoints and single steps (SDM 3B 17.2, 17.3). While there are any, a block is one
//! instruction: it looks for code breakpoints at its begin, and what is found of the others is due
//! behind it ([`crate::events::debug`]).

use super::control::ask_attention;
use super::segment::{Result, answer};
use crate::flags::{RF, TF};
use crate::registers::{cr4, dr6, dr7};
use crate::segment::{GP, UD};
use crate::space::refresh;
use crate::state::{System, Watch};
use crate::{Space, X86, trap};
use mynah_guest::{Cpu, Fault};

/// In [`System::debug_pending`] besides bits of DR6: RF has served its one instruction.
pub(crate) const RESUMED: u64 = 1 << 16;

/// What a breakpoint waits for: DR7's R/W field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Execute,
    Write,
    Port,
    Access,
}

impl System {
    /// The bits of DR6 of the breakpoints that `hits` for its kind.
    fn hits(&self, hits: impl Fn(Kind) -> bool, at: u64, bytes: u64) -> u64 {
        let enabled = |n: usize| self.dr7 >> (2 * n) & 3 != 0;
        let hit = |n: usize| {
            let field = self.dr7 >> (16 + 4 * n);
            let kind = [Kind::Execute, Kind::Write, Kind::Port, Kind::Access][(field & 3) as usize];
            let len = [1, 2, 8, 4][(field >> 2 & 3) as usize];
            let first = self.dr[n] & !(len - 1);
            let overlap = at.wrapping_sub(first) < len || first.wrapping_sub(at) < bytes;
            enabled(n) && hits(kind) && overlap
        };
        (0..4).filter(|&n| hit(n)).map(|n| 1 << n).sum()
    }
}

/// #DB as a fault: at its delivery DR6 takes `bits`.
fn debug_fault<M: Space>(cpu: &mut Cpu<X86<M>>, bits: u64) -> Fault {
    cpu.state.system.debug_pending = bits;
    Fault::Trap(trap::exception(trap::DEBUG))
}

/// The instruction at `pc` begins.
pub(super) extern "C" fn begin_step<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    pc: u64,
    _: u64,
    _: u64,
) -> u64 {
    let hits = cpu.state.system.hits(|kind| kind == Kind::Execute, pc, 1);
    let resumed = cpu.state.rflags & RF != 0;
    if hits != 0 && !resumed {
        let fault = debug_fault(cpu, hits);
        cpu.raise(fault);
        return 0;
    }
    if resumed {
        cpu.state.system.debug_pending |= RESUMED;
        ask_attention(cpu);
    }
    if cpu.state.rflags & TF != 0 {
        cpu.state.system.debug_pending |= dr6::BS;
        ask_attention(cpu);
    }
    0
}

pub(super) extern "C" fn watch<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    va: u64,
    shape: u64,
    _: u64,
) -> u64 {
    let write = shape >> 32 != 0;
    let wants = |kind| kind == Kind::Access || write && kind == Kind::Write;
    let hits = cpu.state.system.hits(wants, va, shape & 0xffff_ffff);
    if hits != 0 {
        cpu.state.system.debug_pending |= hits;
        ask_attention(cpu);
    }
    let system = &mut cpu.state.system;
    if system.watched.is_none() {
        let meets = |watch: &Watch| watch.meets(va, shape & 0xffff_ffff, write);
        system.watched = system.watches.iter().find_map(meets);
        if system.watched.is_some() {
            ask_attention(cpu);
        }
    }
    0
}

/// A port of so many bytes is about to be used.
pub(super) fn watch_port<M: Space>(cpu: &mut Cpu<X86<M>>, port: u64, bytes: u64) {
    let system = &mut cpu.state.system;
    if system.dr7 & 0xff == 0 || system.cr4 & cr4::DE == 0 {
        return;
    }
    let hits = system.hits(|kind| kind == Kind::Port, port, bytes);
    if hits != 0 {
        system.debug_pending |= hits;
        ask_attention(cpu);
    }
}

/// Whether debug register `n` may be accessed.
fn check<M: Space>(cpu: &mut Cpu<X86<M>>, n: u64) -> Result<()> {
    let system = &cpu.state.system;
    if matches!(n, 4 | 5) && system.cr4 & cr4::DE != 0 {
        return Err(UD);
    }
    if system.cpl != 0 {
        return Err(GP);
    }
    if system.dr7 & dr7::GD != 0 {
        return Err(debug_fault(cpu, dr6::BD));
    }
    Ok(())
}

pub(super) extern "C" fn read<M: Space>(cpu: &mut Cpu<X86<M>>, n: u64, _: u64, _: u64) -> u64 {
    let value = check(cpu, n).map(|()| cpu.state.read_dr(n as usize));
    answer(cpu, value)
}

pub(super) extern "C" fn write<M: Space>(cpu: &mut Cpu<X86<M>>, n: u64, value: u64, _: u64) -> u64 {
    let written = check(cpu, n).and_then(|()| cpu.state.write_dr(n as usize, value));
    refresh(cpu);
    answer(cpu, written.map(|()| 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;

    #[test]
    fn watches_meet_accesses_that_overlap_them() {
        let watch = Watch { start: 0x1000, len: 4, reads: false, writes: true };
        let met = |va, bytes, write| watch.meets(va, bytes, write).map(|hit| hit.va);
        assert_eq!(met(0xffc, 8, true), Some(0x1000));
        assert_eq!(met(0x1002, 8, true), Some(0x1002));
        assert_eq!(met(0x1002, 1, false), None);
        assert_eq!((met(0xffc, 4, true), met(0x1004, 1, true)), (None, None));
    }

    #[test]
    fn breakpoints_overlap_accesses() {
        let mut system = State::power_on().system;
        system.dr = [0x1003, 0x2000, 0, 0];
        // DR0: writes of 4 bytes; DR1: execution.
        system.dr7 = 0b1101 << 16 | 0b0101;
        let writes = |kind| kind == Kind::Write;
        assert_eq!(system.hits(writes, 0x1003, 1), 1, "the address is rounded down");
        assert_eq!(system.hits(writes, 0xffd, 4), 1);
        assert_eq!(system.hits(writes, 0xffc, 4), 0);
        assert_eq!(system.hits(writes, 0x1004, 4), 0);
        assert_eq!(system.hits(|kind| kind == Kind::Execute, 0x2000, 1), 2);
        system.dr7 &= !0xff;
        assert_eq!(system.hits(writes, 0x1000, 4), 0);
    }
}
