//! MMX (SDM 1 chapter 9), and the SSE instructions that use MMX registers.
//!
//! An MMX register is worked on as the low half of a vector with zeros above, so that most
//! instructions are those of SSE. Here are the rest: those that mix halves, and moves.
//!
//! MMX registers are the low parts of R0–R7, whatever TOP is; an instruction that uses them makes
//! all of them valid and TOP 0, and what is above a register that it sets becomes all ones.

use super::sse::{adjacent, integer, shuffle};
use super::{DEST, Lift, SRC};
use crate::helpers::Id;
use crate::helpers::fpu::{Control, Move};
use crate::state;
use iced_x86::{Mnemonic, OpKind, Register};
use mynah_ir::Lane::{self, F32, F64, I8, I16, I32, I64};
use mynah_ir::fp::Round;
use mynah_ir::{Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    if mnemonic == Mnemonic::Emms {
        wait(l);
        control(l, Control::LeaveMmx);
        l.lifter.mmx = false;
        return true;
    }
    let converts = converts(mnemonic);
    if !l.uses_mmx() && !converts {
        return false;
    }
    // CVTPI2PS and CVTPI2PD from memory leave the x87 unit alone.
    let enters = !l.lifter.mmx && l.uses_mmx();
    if enters {
        wait(l);
    }
    if converts {
        conversion(l, mnemonic, enters);
        return true;
    }
    let known = mixed(l, mnemonic) || moves(l, mnemonic) || shared(l, mnemonic);
    if enters && known {
        enter(l);
    }
    known
}

/// The x87 unit is made one of MMX registers.
fn enter(l: &mut Lift<'_>) {
    control(l, Control::EnterMmx);
    l.lifter.mmx = true;
}

/// Instructions that do in each half what they do in the other.
fn shared(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Punpcklbw | Punpcklwd | Punpckldq => shuffle::lift(l, mnemonic),
        _ => integer::lift(l, mnemonic),
    }
}

impl<'b> Lift<'b> {
    /// Whether an operand is an MMX register.
    pub(super) fn uses_mmx(&self) -> bool {
        (0..self.insn.op_count()).any(|op| self.is_mmx(op))
    }

    /// Whether operand `op` is an MMX register.
    pub(super) fn is_mmx(&self, op: u32) -> bool {
        self.insn.op_kind(op) == OpKind::Register && self.insn.op_register(op).is_mm()
    }

    /// An MMX register with zeros above.
    pub(super) fn mmx(&self, register: Register) -> V<'b> {
        self.low_bits(self.get(state::mmx(register.number())))
    }

    /// Sets an MMX register to the low half of `value`.
    pub(super) fn set_mmx(&self, register: Register, value: V<'b>) {
        self.set_mmx_bits(register, value.vlow());
    }

    fn set_mmx_bits(&self, register: Register, value: V<'b>) {
        self.set(state::mmx(register.number()), value);
        self.set(state::mmx_high(register.number()), self.iconst(Ty::I64, 0xffff));
    }
}

/// Faults if an x87 exception waits.
fn wait(l: &Lift<'_>) {
    let which = l.iconst(Ty::I64, Move::Wait as u64);
    l.call(Id::FpuTransfer, &[which, l.iconst(Ty::I64, 0)]);
}

fn control(l: &Lift<'_>, which: Control) {
    l.call(Id::FpuControl, &[l.iconst(Ty::I64, which as u64)]);
}

/// Instructions whose lanes go from one half to the other.
fn mixed(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Packsswb => pairs(l, |ab| ab.vpacks(ab, I16)),
        Packssdw => pairs(l, |ab| ab.vpacks(ab, I32)),
        Packuswb => pairs(l, |ab| ab.vpacku(ab, I16)),
        Phaddw => pairs(l, |ab| adjacent(ab, ab, I16, V::vadd)),
        Phaddd => pairs(l, |ab| adjacent(ab, ab, I32, V::vadd)),
        Phaddsw => pairs(l, |ab| adjacent(ab, ab, I16, V::vadds)),
        Phsubw => pairs(l, |ab| adjacent(ab, ab, I16, V::vsub)),
        Phsubd => pairs(l, |ab| adjacent(ab, ab, I32, V::vsub)),
        Phsubsw => pairs(l, |ab| adjacent(ab, ab, I16, V::vsubs)),
        Punpckhbw => zip_high(l, I8),
        Punpckhwd => zip_high(l, I16),
        Punpckhdq => zip_high(l, I32),
        // Of an index only the bits that stay in the register count, and bit 7, which clears.
        Pshufb => {
            let mask = l.b.vconst(u128::from_le_bytes([0x87; 16]));
            l.packed(|a, b| a.vswizzle(b.vand(mask)));
        }
        Palignr => l.packed(|a, b| both(l, b, a).valign(l.zero(), l.imm8().min(16))),
        Pshufw => {
            let imm = l.imm8();
            let lanes = [0, 2, 4, 6, 0, 2, 4, 6].map(|at| imm >> at & 3);
            l.packed_from(|b| b.vshuffle(b, I16, &lanes));
        }
        _ => return false,
    }
    true
}

/// DEST := the low half of f of the vector of DEST and, above it, SRC.
fn pairs<'b>(l: &Lift<'b>, f: impl FnOnce(V<'b>) -> V<'b>) {
    l.packed(|a, b| f(both(l, a, b)));
}

/// The low halves of `a` and, above it, `b`.
fn both<'b>(l: &Lift<'b>, a: V<'b>, b: V<'b>) -> V<'b> {
    l.b.vpair(a.vlow(), b.vlow())
}

fn zip_high(l: &Lift<'_>, lane: Lane) {
    l.packed(|a, b| l.low_bits(a.vziplow(b, lane).vhigh()));
}

fn moves(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    let register = |op| l.insn.op_register(op);
    match mnemonic {
        Movd | Movq | Movntq => {
            if l.is_mmx(DEST) {
                let value = match l.is_mmx(SRC) {
                    true => l.mmx(register(SRC)).vlow(),
                    false => l.read(SRC).zext(Ty::I64),
                };
                l.set_mmx_bits(register(DEST), value);
            } else {
                l.write(DEST, l.mmx(register(SRC)).vlow().trunc(l.ty(DEST)));
            }
        }
        Movq2dq => l.set(state::xmm(register(DEST).number()), l.mmx(register(SRC))),
        Movdq2q => l.set_mmx_bits(register(DEST), l.lane(SRC, I64)),
        Pmovmskb => l.write(DEST, l.vector(SRC).vmask(I8).trunc(l.ty(DEST))),
        Pextrw => {
            let value = l.vector(SRC).vextract(I16, l.imm8() & 3);
            l.write(DEST, value.zext(l.ty(DEST)));
        }
        Pinsrw => {
            let value = match l.insn.op_kind(SRC) {
                OpKind::Register => l.read(SRC).trunc(Ty::I16),
                _ => l.load(Ty::I16, l.ea(SRC)),
            };
            l.set_dest(l.vector(DEST).vinsert(I16, l.imm8() & 3, value));
        }
        Maskmovq => masked(l),
        _ => return false,
    }
    true
}

/// MASKMOVQ: the bytes of the first register whose sign in the second is set, to RDI.
fn masked(l: &Lift<'_>) {
    // iced lists the memory operand first.
    let address = l.masked_address(8);
    l.set(state::SCRATCH0, l.mmx(l.insn.op_register(1)));
    l.set(state::SCRATCH1, l.mmx(l.insn.op_register(2)));
    l.call(Id::MaskedStore, &[address]);
}

fn converts(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Cvtpi2ps | Cvtpi2pd | Cvtps2pi | Cvttps2pi | Cvtpd2pi | Cvttpd2pi)
}

/// Conversions between two integers of 32 bits and floats. The unit `enters` its state even if one
/// of them raises an exception that is not masked.
fn conversion(l: &mut Lift<'_>, mnemonic: Mnemonic, enters: bool) {
    use Mnemonic::*;
    let source = match mnemonic {
        Cvtpd2pi | Cvttpd2pi => l.vector(SRC),
        // Lanes of no concern are 0, which converts without a flag.
        _ if l.is_mmx(SRC) => l.mmx(l.insn.op_register(SRC)),
        _ => l.low_bits(l.lane(SRC, I64)),
    };
    if enters {
        enter(l);
    }
    let round = match mnemonic {
        Cvttps2pi | Cvttpd2pi => Round::ZERO,
        _ => Round::CURRENT,
    };
    match mnemonic {
        Cvtpi2ps => {
            let floats = l.raises(|| source.vsitof(F32));
            l.set_dest(l.vector(DEST).vinsert(I64, 0, floats.vlow()));
        }
        Cvtpi2pd => l.set_dest(source.vsitof(F64)),
        Cvtps2pi | Cvttps2pi => l.set_dest(l.raises(|| source.vftosi(F32, round))),
        _ => l.set_dest(l.raises(|| source.vftosi(F64, round))),
    }
}
