//! Linux on x86-64: the System V ABI's registers, and the kernel's signal frame.

use super::{Abi, Asked, CloneArgs, Exception, Frame, Info, StatLayout};
use crate::signal::{AltStack, SA_RESTORER, SigSet};
use crate::space::Space;
use crate::{Errno, numbers};
use mynah_guest::Cpu;
use mynah_ir::{Trap, fp};
use mynah_x86::{State, X86, trap};

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;
const RSP: usize = 4;
const RBP: usize = 5;
const RSI: usize = 6;
const RDI: usize = 7;

/// CPUID leaf 1, EDX of an x86-64-v2 processor: what AT_HWCAP reports.
const HWCAP: u64 = 0x178b_fbff;

/// `si_code` of a signal without further explanation.
const SI_KERNEL: i32 = 0x80;

/// The general registers in the order of `struct sigcontext`.
const CONTEXT_ORDER: [usize; 16] =
    [8, 9, 10, 11, 12, 13, 14, 15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP];

/// Offsets in `struct rt_sigframe`: the return address, `struct ucontext`, `siginfo_t`.
mod frame {
    pub(super) const UC: usize = 8;
    pub(super) const STACK: usize = UC + 16;
    pub(super) const GPRS: usize = UC + 40;
    pub(super) const RIP: usize = GPRS + 128;
    pub(super) const EFLAGS: usize = RIP + 8;
    pub(super) const SELECTORS: usize = EFLAGS + 8;
    pub(super) const ERR: usize = SELECTORS + 8;
    pub(super) const TRAPNO: usize = ERR + 8;
    pub(super) const OLDMASK: usize = TRAPNO + 8;
    pub(super) const CR2: usize = OLDMASK + 8;
    pub(super) const FPSTATE: usize = CR2 + 8;
    pub(super) const SIGMASK: usize = UC + 296;
    pub(super) const INFO: usize = SIGMASK + 8;
    pub(super) const BYTES: usize = INFO + 128;
}

/// UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
const UC_FLAGS: u64 = 6;

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("N bytes")
}

/// The FXSAVE area (SDM 1 10.5.1), as long as no XSAVE features are reported.
fn fxsave(cpu: &Cpu<X86>) -> [u8; 512] {
    let mut area = [0; 512];
    let fpu = &cpu.state.fpu;
    put(&mut area, 0, fpu.control.to_le_bytes());
    put(&mut area, 2, fpu.status.to_le_bytes());
    area[4] = fpu.tags;
    put(&mut area, 24, cpu.core.fp_env.to_le_bytes());
    put(&mut area, 28, 0xffff_u32.to_le_bytes());
    let top = usize::from(fpu.status >> 11 & 7);
    for n in 0..8 {
        put(&mut area, 32 + 16 * n, fpu.regs[(top + n) % 8].to_le_bytes());
    }
    for (n, xmm) in cpu.state.xmm.iter().enumerate() {
        put(&mut area, 160 + 16 * n, xmm.to_le_bytes());
    }
    area
}

fn fxrstor(cpu: &mut Cpu<X86>, area: &[u8; 512]) {
    let fpu = &mut cpu.state.fpu;
    fpu.control = u16::from_le_bytes(get(area, 0));
    fpu.status = u16::from_le_bytes(get(area, 2));
    fpu.tags = area[4];
    let top = usize::from(fpu.status >> 11 & 7);
    for n in 0..8 {
        // An 80-bit register; what lies above it is reserved.
        let register = u128::from_le_bytes(get(area, 32 + 16 * n)) & ((1 << 80) - 1);
        fpu.regs[(top + n) % 8] = register;
    }
    for (n, xmm) in cpu.state.xmm.iter_mut().enumerate() {
        *xmm = u128::from_le_bytes(get(area, 160 + 16 * n));
    }
    mynah_x86::set_mxcsr(cpu, u32::from_le_bytes(get(area, 24)));
}

/// `si_code` of an unmasked floating-point exception among `flags`.
fn float_code(flags: u32) -> i32 {
    const FPE_FLTDIV: i32 = 3;
    const FPE_FLTOVF: i32 = 4;
    const FPE_FLTUND: i32 = 5;
    const FPE_FLTRES: i32 = 6;
    const FPE_FLTINV: i32 = 7;
    match flags {
        f if f & fp::env::INVALID != 0 => FPE_FLTINV,
        f if f & fp::env::DIVIDE != 0 => FPE_FLTDIV,
        f if f & fp::env::OVERFLOW != 0 => FPE_FLTOVF,
        f if f & (fp::env::UNDERFLOW | fp::env::DENORMAL) != 0 => FPE_FLTUND,
        f if f & fp::env::INEXACT != 0 => FPE_FLTRES,
        _ => 0,
    }
}

impl Abi for X86 {
    const INFO: Info = Info {
        machine: "x86_64",
        numbers: numbers::X86_64,
        stat: StatLayout::X86_64,
        epoll_packed: true,
        platform: Some("x86_64"),
        hwcap: HWCAP,
        red_zone: 128,
        restorer: true,
        trampoline: None,
    };

    const CALL_BYTES: u64 = 2;

    fn call(state: &State) -> (u64, [u64; 6]) {
        let r = &state.gpr;
        // A number is an `int`; the rest of the register is ignored.
        (r[RAX] & 0xffff_ffff, [r[RDI], r[RSI], r[RDX], r[10], r[8], r[9]])
    }

    fn set_result(state: &mut State, result: u64) {
        state.gpr[RAX] = result;
    }

    fn sp(state: &State) -> u64 {
        state.gpr[RSP]
    }

    fn set_sp(state: &mut State, sp: u64) {
        state.gpr[RSP] = sp;
    }

    fn set_tls(state: &mut State, tls: u64) {
        state.fs_base = tls;
    }

    fn clone_args([flags, stack, parent_tid, child_tid, tls, _]: [u64; 6]) -> CloneArgs {
        let exit_signal = flags & 0xff;
        let flags = flags & !0xff;
        // CLONE_PIDFD stores where CLONE_PARENT_SETTID would.
        CloneArgs { flags, stack, parent_tid, child_tid, tls, pidfd: parent_tid, exit_signal }
    }

    fn asked(cpu: &mut Cpu<X86>, trap: Trap) -> Asked {
        let signal = |signal, code, address| {
            let (vector, error) = (trap.code.into(), trap.data.into());
            Asked::Signal(Exception { signal, code, address, vector, error })
        };
        let pc = cpu.core.pc;
        match trap.code {
            trap::SYSCALL => Asked::Call,
            trap::DIVIDE => signal(libc::SIGFPE, 1, pc), // FPE_INTDIV
            trap::DEBUG => signal(libc::SIGTRAP, 1, pc), // TRAP_BRKPT
            trap::BREAKPOINT => signal(libc::SIGTRAP, SI_KERNEL, 0),
            trap::UNDEFINED => signal(libc::SIGILL, 2, pc), // ILL_ILLOPN
            trap::X87 => {
                let fpu = &cpu.state.fpu;
                signal(libc::SIGFPE, float_code(u32::from(fpu.status & !fpu.control)), pc)
            }
            trap::SIMD => {
                let env = cpu.core.fp_env;
                signal(libc::SIGFPE, float_code(env & !(env >> 7) & fp::env::FLAGS), pc)
            }
            trap::INT if matches!(trap.data, 3 | 4) => {
                // The gates of INT3 and INTO are open to programs.
                let signal = if trap.data == 3 { libc::SIGTRAP } else { libc::SIGSEGV };
                let (code, vector) = (SI_KERNEL, trap.data.into());
                Asked::Signal(Exception { signal, code, address: 0, vector, error: 0 })
            }
            trap::INT => {
                // No other gate is open, also that of 32-bit calls (80h), as under a kernel without
                // IA-32 emulation: #GP at the instruction, with the vector in IDT form.
                cpu.core.pc = pc.wrapping_sub(2);
                let error = u64::from(trap.data) * 8 + 2;
                let (signal, code) = (libc::SIGSEGV, SI_KERNEL);
                Asked::Signal(Exception { signal, code, address: 0, vector: 13, error })
            }
            _ => signal(libc::SIGSEGV, SI_KERNEL, 0),
        }
    }

    fn misaligned(_va: u64) -> Exception {
        // #GP.
        let (signal, code) = (libc::SIGSEGV, SI_KERNEL);
        Exception { signal, code, address: 0, vector: 13, error: 0 }
    }

    fn push_frame(cpu: &mut Cpu<X86>, space: &Space, frame: &Frame) -> Result<(), Errno> {
        // The kernel insists on a restorer.
        if frame.action.flags & SA_RESTORER == 0 {
            return Err(Errno::EFAULT);
        }
        let area = frame.sp.wrapping_sub(512) & !63;
        let sp = (area.wrapping_sub(frame::BYTES as u64) & !15).wrapping_sub(8);
        let mut bytes = [0; frame::BYTES];
        let state = &cpu.state;
        put(&mut bytes, 0, frame.action.restorer.to_le_bytes());
        put(&mut bytes, frame::UC, UC_FLAGS.to_le_bytes());
        put(&mut bytes, frame::STACK, frame.stack.to_bytes());
        for (n, &register) in CONTEXT_ORDER.iter().enumerate() {
            put(&mut bytes, frame::GPRS + 8 * n, state.gpr[register].to_le_bytes());
        }
        put(&mut bytes, frame::RIP, cpu.core.pc.to_le_bytes());
        put(&mut bytes, frame::EFLAGS, state.rflags().to_le_bytes());
        // CS, GS, FS, SS.
        for (n, selector) in [1, 5, 4, 2].into_iter().enumerate() {
            let selector = state.selectors[selector].to_le_bytes();
            put(&mut bytes, frame::SELECTORS + 2 * n, selector);
        }
        if let Some(exception) = frame.exception {
            put(&mut bytes, frame::ERR, exception.error.to_le_bytes());
            put(&mut bytes, frame::TRAPNO, exception.vector.to_le_bytes());
            put(&mut bytes, frame::CR2, exception.address.to_le_bytes());
        }
        put(&mut bytes, frame::OLDMASK, frame.mask.0.to_le_bytes());
        put(&mut bytes, frame::FPSTATE, area.to_le_bytes());
        put(&mut bytes, frame::SIGMASK, frame.mask.0.to_le_bytes());
        put(&mut bytes, frame::INFO, frame.info.0);
        space.write(area, &fxsave(cpu))?;
        space.write(sp, &bytes)?;

        let state = &mut cpu.state;
        state.gpr[RDI] = frame.info.signal() as u64;
        state.gpr[RSI] = sp + frame::INFO as u64;
        state.gpr[RDX] = sp + frame::UC as u64;
        state.gpr[RAX] = 0;
        state.gpr[RSP] = sp;
        state.df = 0;
        // The trap flag is cleared for the handler.
        let rflags = state.rflags() & !(1 << 8);
        state.set_rflags(rflags);
        mynah_x86::set_mxcsr(cpu, fp::DEFAULT);
        cpu.state.fpu = mynah_x86::fpu::Fpu::new();
        cpu.core.pc = frame.action.handler;
        Ok(())
    }

    fn pop_frame(cpu: &mut Cpu<X86>, space: &Space) -> Result<(SigSet, AltStack), Errno> {
        let mut bytes = [0; frame::BYTES];
        // The handler's RET has taken the return address off.
        space.read(cpu.state.gpr[RSP].wrapping_sub(8), &mut bytes)?;
        let word = |at| u64::from_le_bytes(get(&bytes, at));
        let area = word(frame::FPSTATE);
        if area == 0 {
            mynah_x86::set_mxcsr(cpu, fp::DEFAULT);
            cpu.state.fpu = mynah_x86::fpu::Fpu::new();
        } else {
            let mut saved = [0; 512];
            space.read(area, &mut saved)?;
            fxrstor(cpu, &saved);
        }
        for (n, &register) in CONTEXT_ORDER.iter().enumerate() {
            cpu.state.gpr[register] = word(frame::GPRS + 8 * n);
        }
        cpu.core.pc = word(frame::RIP);
        cpu.state.set_rflags(word(frame::EFLAGS));
        let stack = AltStack::from_bytes(get(&bytes, frame::STACK));
        Ok((SigSet(word(frame::SIGMASK)), stack))
    }

    fn own_call(
        cpu: &mut Cpu<X86>,
        space: &Space,
        name: &str,
        [code, value, ..]: [u64; 6],
    ) -> Result<u64, Errno> {
        const ARCH_SET_GS: u64 = 0x1001;
        const ARCH_SET_FS: u64 = 0x1002;
        const ARCH_GET_FS: u64 = 0x1003;
        const ARCH_GET_GS: u64 = 0x1004;
        if name != "arch_prctl" {
            return Err(Errno::ENOSYS);
        }
        let state = &mut cpu.state;
        match code {
            ARCH_SET_FS | ARCH_SET_GS if value >= mynah_loader::Elf::TOP => {
                return Err(Errno::EPERM);
            }
            ARCH_SET_GS => state.gs_base = value,
            ARCH_SET_FS => state.fs_base = value,
            ARCH_GET_FS => space.store(value, state.fs_base)?,
            ARCH_GET_GS => space.store(value, state.gs_base)?,
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }
}
