//! String instructions (SDM 1 7.3.9): one iteration, which under REP ends by jumping to itself, so
//! that faults and interrupts find whole iterations. REP MOVS and REP STOS are done in bulk by
//! helpers that stop at page ends and do at least one.

use super::Lift;
use crate::flags;
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
            false => string(l, &[RCX, RSI, RDI], |l| {
                let x = l.load(ty, l.source_string());
                l.store(l.dest_string(), x);
                l.advance(RSI, ty);
                l.advance(RDI, ty);
            }),
        },
        Stosb | Stosw | Stosd | Stosq => match l.bulk() {
            true => bulk(l, Id::RepStos, ty),
            false => string(l, &[RCX, RDI], |l| {
                l.store(l.dest_string(), l.part(RAX, ty));
                l.advance(RDI, ty);
            }),
        },
        Lodsb | Lodsw | Lodsd | Lodsq => string(l, &[], |l| {
            let x = l.load(ty, l.source_string());
            l.set_part(RAX, x);
            l.advance(RSI, ty);
        }),
        Cmpsb | Cmpsw | Cmpsd | Cmpsq => match l.bulk() {
            true => bulk(l, Id::RepCmps, ty),
            false => compare(l, |l| {
                // The destination is read first, as processors do.
                let b = l.load(ty, l.dest_string());
                let a = l.load(ty, l.source_string());
                l.advance(RSI, ty);
                l.advance(RDI, ty);
                (a, b)
            }),
        },
        _ => match l.bulk() {
            true => bulk(l, Id::RepScas, ty),
            false => compare(l, |l| {
                let b = l.load(ty, l.dest_string());
                l.advance(RDI, ty);
                (l.part(RAX, ty), b)
            }),
        },
    }
    true
}

/// MOVS, STOS and LODS: `body`, under a repeat prefix until RCX is 0.
fn string<'b>(l: &mut Lift<'b>, narrowed: &[Slot], body: impl FnOnce(&mut Lift<'b>)) {
    if !l.repeated() {
        return body(l);
    }
    // Processors clear the high halves in narrow MOVS and STOS even if ECX is 0. If it is not, that
    // waits for the iteration's end, as the access may fault.
    if l.string_address() == Ty::I32 {
        let ends = l.part(RCX, Ty::I32).eq(0);
        for &slot in narrowed {
            let low = l.part(slot, Ty::I32).zext(Ty::I64);
            l.set(slot, ends.select(low, l.get(slot)));
        }
    }
    repeat(l, |l| {
        body(l);
        None
    });
}

/// CMPS and SCAS: `operands` are compared, under a repeat prefix until RCX is 0 or ZF is not as the
/// prefix says. Flags are set when the loop ends: a fault finds those before it (SDM 2B, REP).
fn compare<'b>(l: &mut Lift<'b>, operands: impl FnOnce(&mut Lift<'b>) -> (V<'b>, V<'b>)) {
    if !l.repeated() {
        let (a, b) = operands(l);
        return l.flags(flags::sub(a, b));
    }
    let mut last = None;
    let more = repeat(l, |l| {
        let (a, b) = operands(l);
        last = Some(flags::sub(a, b));
        Some(if l.insn.has_repne_prefix() { a.ne(b) } else { a.eq(b) })
    });
    if let Some(last) = last {
        l.flags_if(more.not(), last);
    }
}

/// One iteration of a repeated instruction; `body` says on what else than RCX it goes on. Yields
/// whether it does.
fn repeat<'b>(l: &mut Lift<'b>, body: impl FnOnce(&mut Lift<'b>) -> Option<V<'b>>) -> V<'b> {
    let count = l.part(RCX, l.string_address());
    l.b.exit_if(count.eq(0), l.next());
    let again = body(l);
    let rest = count - 1;
    l.set_part(RCX, rest);
    let more = rest.ne(0);
    let more = again.map_or(more, |again| more & again);
    l.end(End::Branch { cond: more.value(), taken: l.pc, not: l.next() });
    more
}

/// Many iterations, by a helper that says whether there is more to do.
fn bulk(l: &mut Lift<'_>, helper: Id, ty: Ty) {
    l.b.exit_if(l.get(RCX).eq(0), l.next());
    let shape = u64::from(ty.bytes()) | u64::from(l.insn.has_repne_prefix()) << 8;
    let base = l.segmented(l.insn.memory_segment(), l.iconst(Ty::I64, 0));
    let more = l.call(helper, &[l.iconst(Ty::I64, shape), base]).ne(0);
    l.end(End::Branch { cond: more.value(), taken: l.pc, not: l.next() });
    l.forget_flags();
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
