//! Linux on 64-bit RISC-V: the psABI's registers, and the kernel's signal frame.

use super::{Abi, Asked, CloneArgs, Exception, Frame, Info, StatLayout};
use crate::signal::{AltStack, SigSet};
use crate::space::Space;
use crate::{Errno, numbers};
use mynah_guest::Cpu;
use mynah_ir::Trap;
use mynah_riscv::{RiscV, State, float, trap};

const RA: usize = 1;
const SP: usize = 2;
const TP: usize = 4;
const A0: usize = 10;
const A1: usize = 11;
const A2: usize = 12;
const A7: usize = 17;

/// The letters of the extensions, IMAFDC, as AT_HWCAP reports them.
const HWCAP: u64 = 1 << 8 | 1 << 12 | 1 << 0 | 1 << 5 | 1 << 3 | 1 << 2;

/// `li a7, 139; ecall`: rt_sigreturn(2).
const TRAMPOLINE: [u8; 8] = [0x93, 0x08, 0xb0, 0x08, 0x73, 0x00, 0x00, 0x00];

/// Offsets in `struct rt_sigframe`: `siginfo_t`, then `struct ucontext`, whose registers are
/// aligned to 16 bytes.
mod frame {
    pub(super) const UC: usize = 128;
    pub(super) const STACK: usize = UC + 16;
    pub(super) const SIGMASK: usize = UC + 40;
    pub(super) const REGS: usize = UC + 176;
    pub(super) const FLOATS: usize = REGS + 256;
    pub(super) const FCSR: usize = FLOATS + 256;
    pub(super) const BYTES: usize = FLOATS + 528;
}

impl Abi for RiscV {
    const INFO: Info = Info {
        machine: "riscv64",
        numbers: numbers::RISCV64,
        stat: StatLayout::Generic,
        epoll_packed: false,
        platform: None,
        hwcap: HWCAP,
        red_zone: 0,
        restorer: false,
        trampoline: Some(&TRAMPOLINE),
    };

    const CALL_BYTES: u64 = 4;

    fn call(state: &State) -> (u64, [u64; 6]) {
        let x = &state.x;
        (x[A7], std::array::from_fn(|n| x[A0 + n]))
    }

    fn set_result(state: &mut State, result: u64) {
        state.x[A0] = result;
    }

    fn sp(state: &State) -> u64 {
        state.x[SP]
    }

    fn set_sp(state: &mut State, sp: u64) {
        state.x[SP] = sp;
    }

    fn set_tls(state: &mut State, tls: u64) {
        state.x[TP] = tls;
    }

    fn clone_args([flags, stack, parent_tid, tls, child_tid, _]: [u64; 6]) -> CloneArgs {
        let exit_signal = flags & 0xff;
        let flags = flags & !0xff;
        CloneArgs { flags, stack, parent_tid, child_tid, tls, pidfd: parent_tid, exit_signal }
    }

    fn asked(cpu: &mut Cpu<RiscV>, trap: Trap) -> Asked {
        let signal = |signal, code| {
            let (address, vector) = (cpu.core.pc, trap.code.into());
            Asked::Signal(Exception { signal, code, address, vector, error: 0 })
        };
        match trap.code {
            trap::ECALL => Asked::Call,
            trap::EBREAK => signal(libc::SIGTRAP, 1), // TRAP_BRKPT
            _ => signal(libc::SIGILL, 1),             // ILL_ILLOPC
        }
    }

    fn misaligned(va: u64) -> Exception {
        // BUS_ADRALN.
        Exception { signal: libc::SIGBUS, code: 1, address: va, vector: 0, error: 0 }
    }

    fn push_frame(cpu: &mut Cpu<RiscV>, space: &Space, frame: &Frame) -> Result<(), Errno> {
        let sp = frame.sp.wrapping_sub(frame::BYTES as u64) & !15;
        let mut bytes = [0; frame::BYTES];
        let mut put = |at: usize, value: u64| {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        put(frame::SIGMASK, frame.mask.0);
        put(frame::REGS, cpu.core.pc);
        for n in 1..32 {
            put(frame::REGS + 8 * n, cpu.state.x[n]);
        }
        for n in 0..32 {
            put(frame::FLOATS + 8 * n, cpu.state.f[n]);
        }
        put(frame::FCSR, float::fcsr(cpu.core.fp_env, cpu.state.frm));
        bytes[..128].copy_from_slice(&frame.info.0);
        bytes[frame::STACK..frame::STACK + 24].copy_from_slice(&frame.stack.to_bytes());
        space.write(sp, &bytes)?;

        let x = &mut cpu.state.x;
        x[RA] = frame.action.restorer;
        x[SP] = sp;
        x[A0] = frame.info.signal() as u64;
        x[A1] = sp;
        x[A2] = sp + frame::UC as u64;
        cpu.core.pc = frame.action.handler;
        Ok(())
    }

    fn pop_frame(cpu: &mut Cpu<RiscV>, space: &Space) -> Result<(SigSet, AltStack), Errno> {
        let mut bytes = [0; frame::BYTES];
        space.read(cpu.state.x[SP], &mut bytes)?;
        let get = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        cpu.core.pc = get(frame::REGS);
        for n in 1..32 {
            cpu.state.x[n] = get(frame::REGS + 8 * n);
        }
        for n in 0..32 {
            cpu.state.f[n] = get(frame::FLOATS + 8 * n);
        }
        let (env, frm) = float::split_fcsr(get(frame::FCSR) & 0xffff_ffff);
        cpu.core.fp_env = env;
        cpu.state.frm = frm;
        let stack = bytes[frame::STACK..frame::STACK + 24].try_into().expect("24 bytes");
        Ok((SigSet(get(frame::SIGMASK)), AltStack::from_bytes(stack)))
    }

    fn own_call(
        _cpu: &mut Cpu<RiscV>,
        _space: &Space,
        _name: &str,
        _args: [u64; 6],
    ) -> Result<u64, Errno> {
        Err(Errno::ENOSYS)
    }
}
