//! Packed integers: arithmetic, logic, comparisons, shifts, sums.

use super::super::{DEST, Lift, SRC};
use crate::flags;
use iced_x86::{Mnemonic, OpKind};
use mynah_ir::Lane::{self, I8, I16, I32, I64};
use mynah_ir::{Ty, V};

pub(in super::super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Paddb => l.packed(|a, b| a.vadd(b, I8)),
        Paddw => l.packed(|a, b| a.vadd(b, I16)),
        Paddd => l.packed(|a, b| a.vadd(b, I32)),
        Paddq => l.packed(|a, b| a.vadd(b, I64)),
        Psubb => l.packed(|a, b| a.vsub(b, I8)),
        Psubw => l.packed(|a, b| a.vsub(b, I16)),
        Psubd => l.packed(|a, b| a.vsub(b, I32)),
        Psubq => l.packed(|a, b| a.vsub(b, I64)),
        Paddsb => l.packed(|a, b| a.vadds(b, I8)),
        Paddsw => l.packed(|a, b| a.vadds(b, I16)),
        Paddusb => l.packed(|a, b| a.vaddu(b, I8)),
        Paddusw => l.packed(|a, b| a.vaddu(b, I16)),
        Psubsb => l.packed(|a, b| a.vsubs(b, I8)),
        Psubsw => l.packed(|a, b| a.vsubs(b, I16)),
        Psubusb => l.packed(|a, b| a.vsubu(b, I8)),
        Psubusw => l.packed(|a, b| a.vsubu(b, I16)),

        Pmullw => l.packed(|a, b| a.vmul(b, I16)),
        Pmulld => l.packed(|a, b| a.vmul(b, I32)),
        Pmulhw => l.packed(|a, b| a.vmulhs(b, I16)),
        Pmulhuw => l.packed(|a, b| a.vmulhu(b, I16)),
        Pmulhrsw => l.packed(|a, b| a.vmulr(b)),
        Pmuludq => l.packed(|a, b| a.vmulu(b)),
        Pmuldq => l.packed(|a, b| a.vmuls(b)),
        Pmaddwd => l.packed(|a, b| a.vdots(b)),
        Pmaddubsw => l.packed(|a, b| a.vdotus(b)),
        Psadbw => l.packed(|a, b| a.vsad(b)),
        Mpsadbw => l.packed(|a, b| a.vmsad(b, l.imm8().into())),
        Phminposuw => l.packed_from(|b| b.vleast()),

        Pavgb => l.packed(|a, b| a.vavg(b, I8)),
        Pavgw => l.packed(|a, b| a.vavg(b, I16)),
        Pminsb => l.packed(|a, b| a.vmins(b, I8)),
        Pminsw => l.packed(|a, b| a.vmins(b, I16)),
        Pminsd => l.packed(|a, b| a.vmins(b, I32)),
        Pminub => l.packed(|a, b| a.vminu(b, I8)),
        Pminuw => l.packed(|a, b| a.vminu(b, I16)),
        Pminud => l.packed(|a, b| a.vminu(b, I32)),
        Pmaxsb => l.packed(|a, b| a.vmaxs(b, I8)),
        Pmaxsw => l.packed(|a, b| a.vmaxs(b, I16)),
        Pmaxsd => l.packed(|a, b| a.vmaxs(b, I32)),
        Pmaxub => l.packed(|a, b| a.vmaxu(b, I8)),
        Pmaxuw => l.packed(|a, b| a.vmaxu(b, I16)),
        Pmaxud => l.packed(|a, b| a.vmaxu(b, I32)),
        Pabsb => l.packed_from(|b| b.vabs(I8)),
        Pabsw => l.packed_from(|b| b.vabs(I16)),
        Pabsd => l.packed_from(|b| b.vabs(I32)),
        Psignb => l.packed(|a, b| sign(l, a, b, I8)),
        Psignw => l.packed(|a, b| sign(l, a, b, I16)),
        Psignd => l.packed(|a, b| sign(l, a, b, I32)),

        Phaddw => l.packed(|a, b| adjacent(a, b, I16, V::vadd)),
        Phaddd => l.packed(|a, b| adjacent(a, b, I32, V::vadd)),
        Phaddsw => l.packed(|a, b| adjacent(a, b, I16, V::vadds)),
        Phsubw => l.packed(|a, b| adjacent(a, b, I16, V::vsub)),
        Phsubd => l.packed(|a, b| adjacent(a, b, I32, V::vsub)),
        Phsubsw => l.packed(|a, b| adjacent(a, b, I16, V::vsubs)),

        Pand | Andps | Andpd => l.packed(V::vand),
        Pandn | Andnps | Andnpd => l.packed(V::vandn),
        Por | Orps | Orpd => l.packed(V::vor),
        Pxor | Xorps | Xorpd => xor(l),

        Pcmpeqb => l.packed(|a, b| a.veq(b, I8)),
        Pcmpeqw => l.packed(|a, b| a.veq(b, I16)),
        Pcmpeqd => l.packed(|a, b| a.veq(b, I32)),
        Pcmpeqq => l.packed(|a, b| a.veq(b, I64)),
        Pcmpgtb => l.packed(|a, b| a.vgts(b, I8)),
        Pcmpgtw => l.packed(|a, b| a.vgts(b, I16)),
        Pcmpgtd => l.packed(|a, b| a.vgts(b, I32)),
        Pcmpgtq => l.packed(|a, b| a.vgts(b, I64)),
        Ptest => test(l),

        Psllw => shift(l, |a, by| a.vshl(by, I16)),
        Pslld => shift(l, |a, by| a.vshl(by, I32)),
        Psllq => shift(l, |a, by| a.vshl(by, I64)),
        Psrlw => shift(l, |a, by| a.vshr(by, I16)),
        Psrld => shift(l, |a, by| a.vshr(by, I32)),
        Psrlq => shift(l, |a, by| a.vshr(by, I64)),
        Psraw => shift(l, |a, by| a.vsar(by, I16)),
        Psrad => shift(l, |a, by| a.vsar(by, I32)),
        _ => return false,
    }
    true
}

/// a, −a or 0 as b is positive, negative or 0.
fn sign<'b>(l: &Lift<'b>, a: V<'b>, b: V<'b>, lane: Lane) -> V<'b> {
    let zero = l.zero();
    let negative = zero.vgts(b, lane);
    let flipped = a.vxor(negative).vsub(negative, lane);
    b.veq(zero, lane).vandn(flipped)
}

/// `f` of adjacent lanes: a's in the low half, b's in the high half.
pub(in super::super) fn adjacent<'b>(
    a: V<'b>,
    b: V<'b>,
    lane: Lane,
    f: impl FnOnce(V<'b>, V<'b>, Lane) -> V<'b>,
) -> V<'b> {
    let even: Vec<u32> = (0..lane.count()).map(|i| 2 * i).collect();
    let odd: Vec<u32> = (0..lane.count()).map(|i| 2 * i + 1).collect();
    f(a.vshuffle(b, lane, &even), a.vshuffle(b, lane, &odd), lane)
}

/// Exclusive or; of a register with itself it is the constant 0.
fn xor(l: &Lift<'_>) {
    let same = !l.is_memory(SRC) && l.insn.op_register(DEST) == l.insn.op_register(SRC);
    if same { l.set_dest(l.zero()) } else { l.packed(V::vxor) }
}

fn is_zero(vector: V<'_>) -> V<'_> {
    (vector.vlow() | vector.vhigh()).eq(0)
}

fn test(l: &mut Lift<'_>) {
    let b = l.vector(SRC);
    let a = l.vector(DEST);
    let (zf, cf) = (is_zero(a.vand(b)), is_zero(a.vandn(b)));
    l.flags(flags::compared(cf, l.iconst(Ty::I1, 0), zf));
}

/// DEST shifted by an immediate, or by the low 64 bits of SRC.
fn shift<'b>(l: &Lift<'b>, f: impl FnOnce(V<'b>, V<'b>) -> V<'b>) {
    let by = match l.insn.op_kind(SRC) {
        OpKind::Immediate8 => l.iconst(Ty::I64, l.imm8().into()),
        _ => l.vector(SRC).vlow(),
    };
    l.set_dest(f(l.vector(DEST), by));
}
