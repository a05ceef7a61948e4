//! String instructions (SDM 1 7.3.9): one iteration, which under REP ends by jumping to itself, so
//! that faults and interrupts find whole iterations. REP MOVS and REP STOS are done in bulk by
//! helpers that stop at page ends and do at least one.

use super::Lift;
use crate::flags::{self, Cond};
use crate::helpers::Id;
use crate::state::{DF, RAX, RCX, RDI, RSI};
use crate::trap;
use iced_x86::{Mnemonic, OpKind};
use mynah_ir::{End, Slot, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    let ty = match mnemonic {
        Movsb | Stosb | Lodsb | Cmpsb | Scasb => Ty::I8,
        Movsw | Stosw | Lodsw | Cmpsw | Scasw => Ty::I16,
        Movsd | Stosd | Lodsd | Cmpsd | Scasd => Ty::I32,
        Movsq | Stosq | Lodsq | Cmpsq | Scasq => Ty::I64,
        // INS and OUTS.
        _ => {
            l.fault(trap::PROTECTION);
            return true;
        }
    };
    match mnemonic {
        Movsb | Movsw | Movsd | Movsq => match l.bulk() {
            true => bulk(l, Id::RepMovs, ty),
            false => string(l, While::Count, |l| {
                let x = l.load(ty, l.source_string());
                l.store(l.dest_string(), x);
                l.advance(RSI, ty);
                l.advance(RDI, ty);
            }),
        },
        Stosb | Stosw | Stosd | Stosq => match l.bulk() {
            true => bulk(l, Id::RepStos, ty),
            false => string(l, While::Count, |l| {
                l.store(l.dest_string(), l.part(RAX, ty));
                l.advance(RDI, ty);
            }),
        },
        Lodsb | Lodsw | Lodsd | Lodsq => string(l, While::Count, |l| {
            let x = l.load(ty, l.source_string());
            l.set_part(RAX, x);
            l.advance(RSI, ty);
        }),
        Cmpsb | Cmpsw | Cmpsd | Cmpsq => string(l, While::Compared, |l| {
            let a = l.load(ty, l.source_string());
            let b = l.load(ty, l.dest_string());
            l.advance(RSI, ty);
            l.advance(RDI, ty);
            l.flags(flags::sub(a, b));
        }),
        _ => string(l, While::Compared, |l| {
            let a = l.part(RAX, ty);
            let b = l.load(ty, l.dest_string());
            l.advance(RDI, ty);
            l.flags(flags::sub(a, b));
        }),
    }
    true
}

/// What a repeat prefix goes on for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum While {
    /// RCX is not 0.
    Count,
    /// RCX is not 0 and ZF is as the prefix says.
    Compared,
}

/// The shared frame: one iteration of `body`, and under a repeat prefix the loop around it.
fn string<'b>(l: &mut Lift<'b>, repeat: While, body: impl FnOnce(&mut Lift<'b>)) {
    if !l.repeated() {
        return body(l);
    }
    let (pc, next) = (l.pc, l.next());
    let count = l.part(RCX, l.string_address());
    l.b.exit_if(count.eq(0), next);
    body(l);
    let rest = count - 1;
    l.set_part(RCX, rest);
    let more = match repeat {
        While::Count => rest.ne(0),
        While::Compared if l.insn.has_repne_prefix() => rest.ne(0) & l.cond(Cond::E.negated()),
        While::Compared => rest.ne(0) & l.cond(Cond::E),
    };
    l.end(End::Branch { cond: more.value(), taken: pc, not: next });
}

/// The loop with many iterations done by a helper.
fn bulk(l: &mut Lift<'_>, helper: Id, ty: Ty) {
    let (pc, next) = (l.pc, l.next());
    l.b.exit_if(l.get(RCX).eq(0), next);
    let width = l.iconst(Ty::I64, ty.bytes().into());
    let base = l.segmented(l.insn.memory_segment(), l.iconst(Ty::I64, 0));
    l.call(helper, &[width, base]);
    let more = l.get(RCX).ne(0);
    l.end(End::Branch { cond: more.value(), taken: pc, not: next });
}

impl<'b> Lift<'b> {
    fn repeated(&self) -> bool {
        self.insn.has_rep_prefix() || self.insn.has_repne_prefix()
    }

    /// Whether helpers do it: under a repeat prefix and with 64-bit addresses.
    fn bulk(&self) -> bool {
        self.repeated() && self.string_address() == Ty::I64
    }

    /// The address size of a string instruction.
    fn string_address(&self) -> Ty {
        let narrow = |kind| {
            matches!(kind, OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI)
        };
        if self.insn.op_kinds().any(narrow) { Ty::I32 } else { Ty::I64 }
    }

    /// The address of the source element; the segment may be overridden.
    fn source_string(&self) -> V<'b> {
        let offset = self.part(RSI, self.string_address()).zext(Ty::I64);
        self.segmented(self.insn.memory_segment(), offset)
    }

    /// The address of the destination element, always in ES.
    fn dest_string(&self) -> V<'b> {
        self.part(RDI, self.string_address()).zext(Ty::I64)
    }

    /// Moves a string pointer to the next element, down if DF is set.
    fn advance(&self, pointer: Slot, ty: Ty) {
        let bytes = u64::from(ty.bytes());
        let twice = u64::from(bytes.ilog2() + 1);
        let step = self.iconst(Ty::I64, bytes) - self.get(DF).shl(twice);
        let address = self.string_address();
        self.set_part(pointer, (self.get(pointer) + step).trunc(address));
    }
}
