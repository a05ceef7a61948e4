//! Floating point, scalar and packed: arithmetic, comparisons, conversions (SDM 1 chapter 11).

use super::super::{DEST, Lift, SRC};
use super::integer::adjacent;
use crate::flags;
use iced_x86::Mnemonic;
use mynah_ir::Lane::{self, F32, F64};
use mynah_ir::V;
use mynah_ir::fp::{Predicate, Round};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Addss => l.scalar(F32, V::fadd),
        Addsd => l.scalar(F64, V::fadd),
        Addps => l.floats(|a, b| a.vfadd(b, F32)),
        Addpd => l.floats(|a, b| a.vfadd(b, F64)),
        Subss => l.scalar(F32, V::fsub),
        Subsd => l.scalar(F64, V::fsub),
        Subps => l.floats(|a, b| a.vfsub(b, F32)),
        Subpd => l.floats(|a, b| a.vfsub(b, F64)),
        Mulss => l.scalar(F32, V::fmul),
        Mulsd => l.scalar(F64, V::fmul),
        Mulps => l.floats(|a, b| a.vfmul(b, F32)),
        Mulpd => l.floats(|a, b| a.vfmul(b, F64)),
        Divss => l.scalar(F32, V::fdiv),
        Divsd => l.scalar(F64, V::fdiv),
        Divps => l.floats(|a, b| a.vfdiv(b, F32)),
        Divpd => l.floats(|a, b| a.vfdiv(b, F64)),
        Minss => l.scalar(F32, V::fmin),
        Minsd => l.scalar(F64, V::fmin),
        Minps => l.floats(|a, b| a.vfmin(b, F32)),
        Minpd => l.floats(|a, b| a.vfmin(b, F64)),
        Maxss => l.scalar(F32, V::fmax),
        Maxsd => l.scalar(F64, V::fmax),
        Maxps => l.floats(|a, b| a.vfmax(b, F32)),
        Maxpd => l.floats(|a, b| a.vfmax(b, F64)),
        Sqrtss => l.scalar_from(F32, V::fsqrt),
        Sqrtsd => l.scalar_from(F64, V::fsqrt),
        Sqrtps => l.floats_from(|b| b.vfsqrt(F32)),
        Sqrtpd => l.floats_from(|b| b.vfsqrt(F64)),
        Rcpps => l.packed_from(V::vfrecip),
        Rcpss => approximate(l, V::vfrecip),
        Rsqrtps => l.packed_from(V::vfrsqrt),
        Rsqrtss => approximate(l, V::vfrsqrt),

        Addsubps => l.floats(|a, b| a.vfaddsub(b, F32)),
        Addsubpd => l.floats(|a, b| a.vfaddsub(b, F64)),
        Haddps => l.floats(|a, b| adjacent(a, b, F32, V::vfadd)),
        Haddpd => l.floats(|a, b| adjacent(a, b, F64, V::vfadd)),
        Hsubps => l.floats(|a, b| adjacent(a, b, F32, V::vfsub)),
        Hsubpd => l.floats(|a, b| adjacent(a, b, F64, V::vfsub)),
        Dpps => dot(l, F32),
        Dppd => dot(l, F64),
        Roundss => l.scalar_from(F32, |b| b.fround(rounding(l))),
        Roundsd => l.scalar_from(F64, |b| b.fround(rounding(l))),
        Roundps => l.floats_from(|b| b.vfround(F32, rounding(l))),
        Roundpd => l.floats_from(|b| b.vfround(F64, rounding(l))),

        Cmpps => l.floats(|a, b| a.vfcmp(b, F32, predicate(l))),
        Cmppd => l.floats(|a, b| a.vfcmp(b, F64, predicate(l))),
        Cmpss => compare_scalar(l, F32),
        Cmpsd => compare_scalar(l, F64),
        Ucomiss => compare(l, F32, V::fleq),
        Ucomisd => compare(l, F64, V::fleq),
        Comiss => compare(l, F32, V::fle),
        Comisd => compare(l, F64, V::fle),

        Cvtsi2ss => from_integer(l, F32),
        Cvtsi2sd => from_integer(l, F64),
        Cvtss2si => to_integer(l, F32, Round::CURRENT),
        Cvtsd2si => to_integer(l, F64, Round::CURRENT),
        Cvttss2si => to_integer(l, F32, Round::ZERO),
        Cvttsd2si => to_integer(l, F64, Round::ZERO),
        Cvtss2sd => convert(l, F32, F64, V::fpromote),
        Cvtsd2ss => convert(l, F64, F32, V::fdemote),
        Cvtdq2ps => l.floats_from(|b| b.vsitof(F32)),
        Cvtdq2pd => l.set_dest(l.vector_low(SRC, 8).vsitof(F64)),
        Cvtps2dq => l.floats_from(|b| b.vftosi(F32, Round::CURRENT)),
        Cvttps2dq => l.floats_from(|b| b.vftosi(F32, Round::ZERO)),
        Cvtpd2dq => l.floats_from(|b| b.vftosi(F64, Round::CURRENT)),
        Cvttpd2dq => l.floats_from(|b| b.vftosi(F64, Round::ZERO)),
        Cvtps2pd => {
            let low = l.vector_low(SRC, 8);
            l.set_dest(l.raises(|| low.vfpromote()));
        }
        Cvtpd2ps => l.floats_from(V::vfdemote),
        _ => return false,
    }
    true
}

/// ROUNDxx's immediate.
fn rounding(l: &Lift<'_>) -> Round {
    Round::unpack(l.imm8().into())
}

/// CMPxx's immediate; its bits above 2 count for nothing.
fn predicate(l: &Lift<'_>) -> Predicate {
    Predicate::unpack(l.imm8().into())
}

/// RCPSS, RSQRTSS.
fn approximate<'b>(l: &Lift<'b>, f: impl FnOnce(V<'b>) -> V<'b>) {
    let value = f(l.vector_low(SRC, 4)).vextract(F32, 0);
    l.set_lane(F32, value);
}

/// CMPSS, CMPSD: a packed comparison whose other lanes compare zeros, which raises nothing.
fn compare_scalar(l: &Lift<'_>, lane: Lane) {
    let alone = |op| l.alone(lane, l.lane(op, lane));
    let (b, a) = (alone(SRC), alone(DEST));
    let mask = l.raises(|| a.vfcmp(b, lane, predicate(l)));
    l.set_lane(lane, mask.vextract(lane, 0));
}

/// COMISx, UCOMISx: `at_most` is ≤ with the instruction's idea of invalid.
fn compare<'b>(l: &mut Lift<'b>, lane: Lane, at_most: impl FnOnce(V<'b>, V<'b>) -> V<'b>) {
    let b = l.lane(SRC, lane);
    let a = l.lane(DEST, lane);
    // What the others raise is a part of it.
    let below = l.raises(|| at_most(b, a)).not();
    let unordered = a.funord(b);
    let equal = a.feq(b) | unordered;
    l.flags(flags::compared_floats([below, unordered, equal], a, b));
}

fn from_integer(l: &Lift<'_>, lane: Lane) {
    let value = l.read(SRC);
    l.set_lane(lane, l.raises(|| value.sitof(lane.ty())));
}

/// DEST's lane 0 of format `to` := f(SRC's of format `from`).
fn convert<'b>(l: &Lift<'b>, from: Lane, to: Lane, f: impl FnOnce(V<'b>) -> V<'b>) {
    let value = l.lane(SRC, from);
    l.set_lane(to, l.raises(|| f(value)));
}

fn to_integer(l: &Lift<'_>, lane: Lane, round: Round) {
    let value = l.lane(SRC, lane);
    l.write(DEST, l.raises(|| value.ftosi(l.ty(DEST), round)));
}

/// DPPS, DPPD: the sum of the products that imm bits 4–7 choose, in the lanes that bits 0–3 choose.
fn dot<'b>(l: &Lift<'b>, lane: Lane) {
    let imm = l.imm8();
    let mask = |bits: u32| {
        let lanes = (0..lane.count()).filter(|i| bits >> i & 1 != 0);
        let width = lane.ty().bits();
        let mask = lanes.map(|i| u128::from(lane.ty().mask()) << (i * width)).sum();
        l.b.vconst(mask)
    };
    let chosen = mask(imm >> 4);
    // 0 × 0 is +0 and raises nothing, as the lanes that are left out do.
    l.packed(|a, b| {
        let products = l.raises(|| a.vand(chosen).vfmul(b.vand(chosen), lane));
        // Each lane adds up its own way, which tells where there are several NaNs.
        let add = |a: V<'b>, b: V<'b>| l.raises(|| a.vfadd(b, lane));
        let sum = if lane == F32 {
            let pairs = add(products.vshuffle(products, lane, &[1, 0, 3, 2]), products);
            add(pairs, pairs.vshuffle(pairs, lane, &[2, 3, 0, 1]))
        } else {
            add(products, products.vshuffle(products, lane, &[1, 0]))
        };
        sum.vand(mask(imm))
    });
}
