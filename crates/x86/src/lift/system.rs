//! What is left to the system: traps, segment registers, CPUID, clocks, fences, hints (SDM 2). The
//! instructions of operating systems are in `privileged`.

use super::{DEST, Lift, SRC};
use crate::helpers::Id;
use crate::state::{R11, RCX};
use crate::{mode, trap};
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
        Syscall if !l.is(mode::SYSTEM) => {
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
            // Outside the system machine: processor 0 of node 0.
            let aux = match l.is(mode::SYSTEM) {
                true => l.call(Id::TscAux, &[]),
                false => l.iconst(Ty::I64, 0),
            };
            l.set(RCX, aux);
        }
        Les | Lds | Lfs | Lgs | Lss => load_far_pointer(l, mnemonic),
        _ => return false,
    }
    true
}

impl<'b> Lift<'b> {
    /// Ends the block with a trap behind the instruction. In the system machine its data says above
    /// bit 8 how long the instruction is.
    pub(super) fn trap(&mut self, code: u16, data: u32) {
        let pc = self.next();
        let len = if self.is(mode::SYSTEM) { self.insn.len() as u32 } else { 0 };
        let data = data | len << 8;
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

    /// Loads a segment register. In the system machine the mode may change.
    pub(super) fn set_segment(&mut self, register: Register, selector: V<'b>) {
        let number = self.iconst(Ty::I64, register.number() as u64);
        let next = self.iconst(Ty::I64, self.next());
        self.call(Id::SetSelector, &[number, selector, next]);
        if self.is(mode::SYSTEM) && (!self.is_64() || register == Register::SS) {
            self.end_here();
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
        Mnemonic::Les => Register::ES,
        Mnemonic::Lds => Register::DS,
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
    if l.is(mode::SYSTEM) && mode::cpl(l.mode) != 0 {
        l.call(Id::CheckClock, &[]);
    }
    let time = l.call(Id::Tsc, &[]);
    l.set_pair(time);
}
