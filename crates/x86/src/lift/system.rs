//! What is left to the system: traps, segments, CPUID, clocks, fences, hints, and the privileged
//! instructions, which are #GP in user mode (SDM 2; SDM 3A 2.8).

use super::{DEST, Lift, SRC};
use crate::flags;
use crate::helpers::Id;
use crate::state::{R11, RAX, RCX, RDX};
use crate::trap;
use iced_x86::{Mnemonic, OpKind, Register};
use mynah_ir::{End, Trap, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Nop | Reservednop | Endbr64 | Endbr32 | Pause | Rdsspd | Rdsspq => {}
        Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2 | Prefetchw | Prefetch | Prefetchwt1
        | Prefetchit0 | Prefetchit1 => {}
        // Loads are not reordered, stores neither: only a load may pass a store.
        Lfence | Sfence => {}
        Mfence => l.b.fence(),
        // It faults where a load of a byte does.
        Clflush => {
            l.load(Ty::I8, l.ea(DEST));
        }
        Syscall => {
            let next = l.next();
            l.set(R11, l.call(Id::Rflags, &[]));
            l.set(RCX, l.iconst(Ty::I64, next));
            l.trap(trap::SYSCALL, 0);
        }
        Int3 => l.trap(trap::BREAKPOINT, 0),
        Int1 => l.trap(trap::DEBUG, 0),
        Int => l.trap(trap::INT, l.insn.immediate(DEST) as u32),
        Cpuid => {
            l.call(Id::Cpuid, &[]);
        }
        Rdtsc => clock(l),
        Rdtscp => {
            clock(l);
            // IA32_TSC_AUX: processor 0 of node 0.
            l.set(RCX, l.iconst(Ty::I64, 0));
        }
        Lfs | Lgs | Lss => load_far_pointer(l, mnemonic),
        // No descriptor can be looked up: every selector is one that may not be used.
        Verr | Verw | Lar | Lsl => {
            l.read_selector();
            let others = l.flags_word() & !flags::ZF;
            l.flags(flags::eager(others));
        }
        Hlt | Cli | Sti | Clts | Invd | Wbinvd | Wbnoinvd | Invlpg | Invpcid | Lgdt | Lidt
        | Lldt | Ltr | Lmsw | Sgdt | Sidt | Sldt | Str | Smsw | Swapgs | Sysret | Sysretq
        | Sysexit | Sysexitq | Rdmsr | Wrmsr | Rdpmc | In | Out => l.fault(trap::PROTECTION),
        _ => return false,
    }
    true
}

impl<'b> Lift<'b> {
    /// Ends the block with a trap behind the instruction.
    fn trap(&mut self, code: u16, data: u32) {
        let pc = self.next();
        self.end(End::Trap { trap: Trap { code, data }, pc });
    }

    /// The selector in operand `op`, if that is a segment register.
    pub(super) fn segment_operand(&self, op: u32) -> Option<V<'b>> {
        let register = self.insn.op_register(op);
        let is = self.insn.op_kind(op) == OpKind::Register && register.is_segment_register();
        is.then(|| {
            let number = self.iconst(Ty::I64, register.number() as u64);
            self.call(Id::Selector, &[number]).trunc(Ty::I16)
        })
    }

    /// Loads a segment register.
    pub(super) fn set_segment(&self, register: Register, selector: V<'b>) {
        let number = self.iconst(Ty::I64, register.number() as u64);
        self.call(Id::SetSelector, &[number, selector]);
    }

    /// Reads the selector operand of LAR and its kin, for the faults of reading it.
    fn read_selector(&self) {
        let last = self.insn.op_count() - 1;
        if self.is_memory(last) {
            self.load(Ty::I16, self.ea(last));
        }
    }
}

/// MOV from and to a segment register.
pub(super) fn move_selector(l: &mut Lift<'_>) -> bool {
    if let Some(selector) = l.segment_operand(SRC) {
        // A register is written in its whole width, memory in 16 bits.
        let ty = if l.is_memory(DEST) { Ty::I16 } else { l.ty(DEST) };
        l.write(DEST, selector.zext(ty));
        return true;
    }
    let register = l.insn.op_register(DEST);
    if register == Register::CS {
        return false;
    }
    let selector = if l.is_memory(SRC) { l.load(Ty::I16, l.ea(SRC)) } else { l.read(SRC) };
    l.set_segment(register, selector.trunc(Ty::I16));
    true
}

fn load_far_pointer(l: &mut Lift<'_>, mnemonic: Mnemonic) {
    let register = match mnemonic {
        Mnemonic::Lfs => Register::FS,
        Mnemonic::Lgs => Register::GS,
        _ => Register::SS,
    };
    let ty = l.ty(DEST);
    let address = l.ea(SRC);
    let offset = l.load(ty, address);
    let selector = l.load(Ty::I16, address + u64::from(ty.bytes()));
    l.set_segment(register, selector);
    l.write(DEST, offset);
}

fn clock(l: &mut Lift<'_>) {
    let time = l.call(Id::Tsc, &[]);
    l.set_part(RAX, time.trunc(Ty::I32));
    l.set_part(RDX, time.shr(32).trunc(Ty::I32));
}
