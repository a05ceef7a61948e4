//! MXCSR, FXSAVE, CRC32 and the string comparisons of SSE4.2.

use super::super::{DEST, Lift, SRC};
use crate::helpers::Id;
use crate::helpers::sse::text;
use crate::state::{RAX, RCX, RDX, SCRATCH0, SCRATCH1, XMM0};
use crate::{flags, trap};
use iced_x86::Mnemonic;
use mynah_ir::{MemOp, Slot, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Ldmxcsr => ldmxcsr(l),
        Stmxcsr => {
            let word = l.call(Id::Mxcsr, &[]);
            l.store(l.ea(DEST), word.trunc(Ty::I32));
        }
        Fxsave | Fxsave64 => fxsave(l),
        Fxrstor | Fxrstor64 => fxrstor(l),
        Crc32 => crc32(l),
        Pcmpistri => compare_text(l, Lengths::Implicit, Answer::Index),
        Pcmpistrm => compare_text(l, Lengths::Implicit, Answer::Mask),
        Pcmpestri => compare_text(l, Lengths::Explicit(Ty::I32), Answer::Index),
        Pcmpestrm => compare_text(l, Lengths::Explicit(Ty::I32), Answer::Mask),
        Pcmpestri64 => compare_text(l, Lengths::Explicit(Ty::I64), Answer::Index),
        Pcmpestrm64 => compare_text(l, Lengths::Explicit(Ty::I64), Answer::Mask),
        _ => return false,
    }
    true
}

/// The block ends, so that no floating-point operation moves across the change of environment.
fn ldmxcsr(l: &mut Lift<'_>) {
    let word = l.read(DEST);
    l.fault_if(word.shr(16).ne(0), trap::PROTECTION);
    l.call(Id::SetMxcsr, &[word]);
    l.end_here();
}

/// The address of FXSAVE's area, which must be aligned.
fn save_area<'b>(l: &Lift<'b>) -> V<'b> {
    let address = l.ea(DEST);
    l.fault_if((address & 15).ne(0), trap::PROTECTION);
    address
}

fn fxsave(l: &Lift<'_>) {
    l.call(Id::Fxsave, &[save_area(l)]);
}

fn fxrstor(l: &mut Lift<'_>) {
    l.call(Id::Fxrstor, &[save_area(l)]);
    l.end_here();
}

/// CRC32: the CRC-32C of the source's bytes, over the running value in the destination.
fn crc32(l: &Lift<'_>) {
    let value = l.read(SRC);
    let bytes = l.iconst(Ty::I64, value.ty().bytes().into());
    let crc = l.read(DEST).trunc(Ty::I32);
    let crc = l.call(Id::Crc32, &[crc, value, bytes]);
    l.write(DEST, crc.trunc(l.ty(DEST)));
}

/// Where the lengths of the texts are.
#[derive(Clone, Copy)]
enum Lengths {
    /// The texts end before their first 0.
    Implicit,
    /// In EAX and EDX, or RAX and RDX.
    Explicit(Ty),
}

/// What becomes of the bits that a comparison yields.
#[derive(Clone, Copy)]
enum Answer {
    /// The index of one goes to ECX.
    Index,
    /// They go to XMM0.
    Mask,
}

fn compare_text(l: &mut Lift<'_>, lengths: Lengths, answer: Answer) {
    let b = l.vector_at(SRC, MemOp::TSO);
    let a = l.vector(DEST);
    let length = |slot: Slot| match lengths {
        Lengths::Implicit => l.iconst(Ty::I64, 0),
        Lengths::Explicit(ty) => l.part(slot, ty).sext(Ty::I64),
    };
    let implicit = match lengths {
        Lengths::Implicit => text::IMPLICIT,
        Lengths::Explicit(_) => 0,
    };
    let control = l.iconst(Ty::I64, u64::from(l.imm8()) | implicit);
    l.set(SCRATCH0, a);
    l.set(SCRATCH1, b);
    let found = l.call(Id::CompareText, &[control, length(RAX), length(RDX)]);
    match answer {
        Answer::Index => l.set(RCX, found & text::INDEX),
        Answer::Mask => l.set(XMM0, l.get(SCRATCH0)),
    }
    l.flags(flags::eager(found.shr(text::FLAGS_SHIFT)));
}
