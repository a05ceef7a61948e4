//! Shuffles, blends, packing, unpacking, widening.

use super::super::{Lift, SRC};
use iced_x86::Mnemonic;
use iced_x86::Register::XMM0;
use mynah_ir::Lane::{self, I8, I16, I32, I64};
use mynah_ir::V;

pub(in super::super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    let imm = || l.imm8();
    match mnemonic {
        Punpcklbw => l.packed(|a, b| a.vziplow(b, I8)),
        Punpcklwd => l.packed(|a, b| a.vziplow(b, I16)),
        Punpckldq | Unpcklps => l.packed(|a, b| a.vziplow(b, I32)),
        Punpcklqdq | Unpcklpd => l.packed(|a, b| a.vziplow(b, I64)),
        Punpckhbw => l.packed(|a, b| a.vziphigh(b, I8)),
        Punpckhwd => l.packed(|a, b| a.vziphigh(b, I16)),
        Punpckhdq | Unpckhps => l.packed(|a, b| a.vziphigh(b, I32)),
        Punpckhqdq | Unpckhpd => l.packed(|a, b| a.vziphigh(b, I64)),
        Packsswb => l.packed(|a, b| a.vpacks(b, I16)),
        Packssdw => l.packed(|a, b| a.vpacks(b, I32)),
        Packuswb => l.packed(|a, b| a.vpacku(b, I16)),
        Packusdw => l.packed(|a, b| a.vpacku(b, I32)),

        Pshufb => l.packed(|a, b| a.vswizzle(b)),
        Pshufd => l.packed_from(|b| b.vshuffle(b, I32, &fields(imm(), 0))),
        Pshuflw => l.packed_from(|b| {
            let low = fields(imm(), 0);
            b.vshuffle(b, I16, &[low[0], low[1], low[2], low[3], 4, 5, 6, 7])
        }),
        Pshufhw => l.packed_from(|b| {
            let high = fields(imm(), 4);
            b.vshuffle(b, I16, &[0, 1, 2, 3, high[0], high[1], high[2], high[3]])
        }),
        Shufps => l.packed(|a, b| {
            let (low, high) = (fields(imm(), 0), fields(imm(), 4));
            a.vshuffle(b, I32, &[low[0], low[1], high[2], high[3]])
        }),
        Shufpd => l.packed(|a, b| a.vshuffle(b, I64, &[imm() & 1, 2 + (imm() >> 1 & 1)])),
        Pblendw => l.packed(|a, b| blend(a, b, imm(), I16)),
        Blendps => l.packed(|a, b| blend(a, b, imm(), I32)),
        Blendpd => l.packed(|a, b| blend(a, b, imm(), I64)),
        Pblendvb => l.packed(|a, b| l.xmm(XMM0).vblend(b, a, I8)),
        Blendvps => l.packed(|a, b| l.xmm(XMM0).vblend(b, a, I32)),
        Blendvpd => l.packed(|a, b| l.xmm(XMM0).vblend(b, a, I64)),

        Pslldq => {
            let from = 16 - imm().min(16);
            l.set_dest(l.zero().valign(l.vector(0), from));
        }
        Psrldq => l.set_dest(l.vector(0).valign(l.zero(), imm().min(16))),
        Palignr => l.packed(|a, b| match imm() {
            from @ 0..=16 => b.valign(a, from),
            from => a.valign(l.zero(), (from - 16).min(16)),
        }),

        Pmovsxbw => widen(l, I8, 8, V::vwidens),
        Pmovsxbd => widen(l, I8, 4, V::vwidens),
        Pmovsxbq => widen(l, I8, 2, V::vwidens),
        Pmovsxwd => widen(l, I16, 8, V::vwidens),
        Pmovsxwq => widen(l, I16, 4, V::vwidens),
        Pmovsxdq => widen(l, I32, 8, V::vwidens),
        Pmovzxbw => widen(l, I8, 8, V::vwidenu),
        Pmovzxbd => widen(l, I8, 4, V::vwidenu),
        Pmovzxbq => widen(l, I8, 2, V::vwidenu),
        Pmovzxwd => widen(l, I16, 8, V::vwidenu),
        Pmovzxwq => widen(l, I16, 4, V::vwidenu),
        Pmovzxdq => widen(l, I32, 8, V::vwidenu),
        _ => return false,
    }
    true
}

/// The four two-bit fields of an immediate, each plus `base`.
fn fields(imm: u32, base: u32) -> [u32; 4] {
    [0, 2, 4, 6].map(|at| base + (imm >> at & 3))
}

/// b's lanes where `mask` has ones, else a's.
fn blend<'b>(a: V<'b>, b: V<'b>, mask: u32, lane: Lane) -> V<'b> {
    let count = lane.count();
    let lanes: Vec<u32> = (0..count).map(|i| i + count * (mask >> i & 1)).collect();
    a.vshuffle(b, lane, &lanes)
}

/// The low `bytes` bytes of SRC, lanes widened until they fill 16 bytes.
fn widen<'b>(l: &Lift<'b>, from: Lane, bytes: u32, step: impl Fn(V<'b>, Lane) -> V<'b>) {
    let mut value = l.vector_low(SRC, bytes);
    let (mut lane, mut width) = (from, bytes);
    while width < 16 {
        value = step(value, lane);
        width *= 2;
        lane = match lane {
            I8 => I16,
            I16 => I32,
            _ => I64,
        };
    }
    l.set_dest(value);
}
