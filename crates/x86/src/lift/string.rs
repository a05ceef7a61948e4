//! String instructions (SDM 1 7.3.9): one iteration, which under REP ends by jumping to itself, so
//! that faults and interrupts find whole iterations. REP MOVS and REP STOS are done in bulk by
//! helpers that stop at page ends and do at least one.

use super::Lift;
use crate::flags;
use crate::helpers::Id;
use crate::mode::{self, Class};
use crate::state::{self, DF, RAX, RCX, RDI, RDX, RSI};
use crate::trap;
use iced_x86::{Mnemonic, OpKind, Register};
use mynah_guest::Access;
use mynah_ir::{End, Slot, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    let ty = match mnemonic {
        Movsb | Stosb | Lodsb | Cmpsb | Scasb => Ty::I8,
        Insb | Outsb => Ty::I8,
        Insw | Outsw => Ty::I16,
        Insd | Outsd => Ty::I32,
        Movsw | Stosw | Lodsw | Cmpsw | Scasw => Ty::I16,
        Movsd | Stosd | Lodsd | Cmpsd | Scasd => Ty::I32,
        Movsq | Stosq | Lodsq | Cmpsq | Scasq => Ty::I64,
        _ => return false,
    };
    match mnemonic {
        Insb | Insw | Insd | Outsb | Outsw | Outsd => ports(l, mnemonic, ty),
        Movsb | Movsw | Movsd | Movsq => match l.bulk() {
            true => bulk(l, Id::RepMovs, ty),
            false => string(l, &[RCX, RSI, RDI], |l| {
                let x = l.load(ty, l.source_string(ty));
                l.store(l.dest_string(ty, Access::Write), x);
                l.advance(RSI, ty);
                l.advance(RDI, ty);
            }),
        },
        Stosb | Stosw | Stosd | Stosq => match l.bulk() {
            true => bulk(l, Id::RepStos, ty),
            false => string(l, &[RCX, RDI], |l| {
                l.store(l.dest_string(ty, Access::Write), l.part(RAX, ty));
                l.advance(RDI, ty);
            }),
        },
        Lodsb | Lodsw | Lodsd | Lodsq => string(l, &[], |l| {
            let x = l.load(ty, l.source_string(ty));
            l.set_part(RAX, x);
            l.advance(RSI, ty);
        }),
        Cmpsb | Cmpsw | Cmpsd | Cmpsq => match l.bulk() {
            true => bulk(l, Id::RepCmps, ty),
            false => compare(l, |l| {
                // The destination is read first, as processors do.
                let b = l.load(ty, l.dest_string(ty, Access::Read));
                let a = l.load(ty, l.source_string(ty));
                l.advance(RSI, ty);
                l.advance(RDI, ty);
                (a, b)
            }),
        },
        _ => match l.bulk() {
            true => bulk(l, Id::RepScas, ty),
            false => compare(l, |l| {
                let b = l.load(ty, l.dest_string(ty, Access::Read));
                l.advance(RDI, ty);
                (l.part(RAX, ty), b)
            }),
        },
    }
    true
}

/// INS and OUTS: memory is known to be there before the port is touched.
fn ports(l: &mut Lift<'_>, mnemonic: Mnemonic, ty: Ty) {
    if !l.is(mode::SYSTEM) {
        return l.fault(trap::PROTECTION);
    }
    let input = matches!(mnemonic, Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd);
    string(l, &[], |l| {
        let port = l.part(RDX, Ty::I16).zext(Ty::I64);
        let bytes = l.iconst(Ty::I64, ty.bytes().into());
        l.call(Id::CheckPort, &[port, bytes]);
        if input {
            let address = l.dest_string(ty, Access::Write);
            l.call(Id::Ins, &[port, bytes, address]);
            l.advance(RDI, ty);
        } else {
            let value = l.load(ty, l.source_string(ty));
            l.call(Id::Out, &[port, bytes, value]);
            l.advance(RSI, ty);
        }
    });
    if l.end.is_none() {
        l.end_here();
    }
}

/// MOVS, STOS and LODS: `body`, under a repeat prefix until RCX is 0.
fn string<'b>(l: &mut Lift<'b>, narrowed: &[Slot], body: impl FnOnce(&mut Lift<'b>)) {
    if !l.repeated() {
        return body(l);
    }
    // Processors clear the high halves in narrow MOVS and STOS even if ECX is 0. If it is not, that
    // waits for the iteration's end, as the access may fault.
    if l.is_64() && l.string_address() == Ty::I32 {
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
    let address = l.string_address();
    l.b.exit_if(l.part(RCX, address).eq(0), l.next());
    let shape = u64::from(ty.bytes())
        | u64::from(l.insn.has_repne_prefix()) << 8
        | u64::from(address == Ty::I32) << 9;
    let bases = [l.insn.memory_segment(), Register::ES].map(|segment| l.segment_base(segment));
    let more = l.call(helper, &[l.iconst(Ty::I64, shape), bases[0], bases[1]]).ne(0);
    l.end(End::Branch { cond: more.value(), taken: l.pc, not: l.next() });
    l.forget_flags();
}

impl<'b> Lift<'b> {
    fn repeated(&self) -> bool {
        self.insn.has_rep_prefix() || self.insn.has_repne_prefix()
    }

    /// Whether helpers do it: under a repeat prefix, with addresses as wide as code's, and where
    /// segments have no limit.
    fn bulk(&self) -> bool {
        if !self.repeated() || self.is(mode::DEBUG) {
            return false;
        }
        let free = |segment| self.class(segment) <= Class::Based;
        match self.string_address() {
            Ty::I64 => true,
            Ty::I32 => !self.is_64() && free(self.insn.memory_segment()) && free(Register::ES),
            _ => false,
        }
    }

    /// The address size of a string instruction.
    fn string_address(&self) -> Ty {
        use OpKind::*;
        let size = |kind| match kind {
            MemorySegSI | MemorySegDI | MemoryESDI => Some(Ty::I16),
            MemorySegESI | MemorySegEDI | MemoryESEDI => Some(Ty::I32),
            _ => None,
        };
        self.insn.op_kinds().find_map(size).unwrap_or(Ty::I64)
    }

    /// What the addresses in a segment without limits begin at.
    fn segment_base(&self, segment: Register) -> V<'b> {
        let zero = self.iconst(Ty::I64, 0);
        match segment {
            Register::FS | Register::GS => self.get(state::base(segment.number())),
            _ if self.is_64() || self.class(segment) == Class::Flat => zero,
            _ => self.get(state::base(segment.number())),
        }
    }

    /// The address of the source element; the segment may be overridden.
    fn source_string(&self, ty: Ty) -> V<'b> {
        let offset = self.part(RSI, self.string_address()).zext(Ty::I64);
        self.linear(self.insn.memory_segment(), offset, ty.bytes().into(), || Access::Read)
    }

    /// The address of the destination element, always in ES.
    fn dest_string(&self, ty: Ty, access: Access) -> V<'b> {
        let offset = self.part(RDI, self.string_address()).zext(Ty::I64);
        self.linear(Register::ES, offset, ty.bytes().into(), || access)
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
