//! SSE to SSE4.2 (SDM 1 chapters 10–12).
//!
//! What the instructions share is here: XMM registers and memory as vectors, the alignment that
//! 16-byte memory operands must have, scalars in lane 0, and the look for exceptions that MXCSR does
//! not mask.

mod float;
pub(super) mod integer;
mod moves;
pub(super) mod shuffle;
mod special;

use super::{DEST, Lift, SRC};
use crate::helpers::Id;
use crate::helpers::float::Tiny;
use crate::{mode, state};
use iced_x86::{EncodingKind, Mnemonic, OpKind, Register};
pub(super) use integer::adjacent;
use mynah_ir::{Lane, MemOp, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    if l.uses_mmx() || l.insn.encoding() != EncodingKind::Legacy {
        return false;
    }
    moves::lift(l, mnemonic)
        || integer::lift(l, mnemonic)
        || shuffle::lift(l, mnemonic)
        || float::lift(l, mnemonic)
        || special::lift(l, mnemonic)
}

impl<'b> Lift<'b> {
    /// The value of an XMM register.
    fn xmm(&self, register: Register) -> V<'b> {
        self.get(state::xmm(register.number()))
    }

    /// Operand `op`, an XMM register or 16 aligned bytes of memory; or an MMX register or what goes
    /// with one in memory, with zeros above.
    pub(super) fn vector(&self, op: u32) -> V<'b> {
        self.vector_at(op, MemOp::TSO_ALIGNED)
    }

    /// Operand `op`, an XMM register or 16 bytes of memory.
    fn vector_at(&self, op: u32, mem: MemOp) -> V<'b> {
        match self.insn.op_kind(op) {
            OpKind::Register if self.is_mmx(op) => self.mmx(self.insn.op_register(op)),
            OpKind::Register => self.xmm(self.insn.op_register(op)),
            _ if self.uses_mmx() && self.ty(op) != Ty::V128 => self.low_bits(self.read(op)),
            _ => self.b.load(Ty::V128, mem, self.ea(op)),
        }
    }

    /// Makes `value` operand `op`, an XMM register or 16 bytes of memory, or its low half an MMX
    /// register.
    fn set_vector_at(&self, op: u32, mem: MemOp, value: V<'b>) {
        match self.insn.op_kind(op) {
            OpKind::Register if self.is_mmx(op) => self.set_mmx(self.insn.op_register(op), value),
            OpKind::Register => self.set(state::xmm(self.insn.op_register(op).number()), value),
            _ => self.b.store(mem, self.ea(op), value),
        }
    }

    /// Makes `value` the XMM register DEST.
    pub(super) fn set_dest(&self, value: V<'b>) {
        self.set_vector_at(DEST, MemOp::TSO_ALIGNED, value);
    }

    /// The lane 0 of operand `op`, an XMM register or a scalar in memory.
    pub(super) fn lane(&self, op: u32, lane: Lane) -> V<'b> {
        match self.insn.op_kind(op) {
            OpKind::Register => self.xmm(self.insn.op_register(op)).vextract(lane, 0),
            _ => self.load(lane.ty(), self.ea(op)),
        }
    }

    /// Replaces lane 0 of the XMM register DEST.
    fn set_lane(&self, lane: Lane, value: V<'b>) {
        self.set_dest(self.vector(DEST).vinsert(lane, 0, value));
    }

    /// Operand `op`, an XMM register or its low `bytes` bytes in memory. What is above in the
    /// vector has no meaning.
    fn vector_low(&self, op: u32, bytes: u32) -> V<'b> {
        match self.insn.op_kind(op) {
            OpKind::Register => self.xmm(self.insn.op_register(op)),
            _ => {
                let ty = Ty::int(bytes).unwrap_or(Ty::I64);
                self.low_bits(self.load(ty, self.ea(op)))
            }
        }
    }

    /// A vector with this integer in its low bits, zeros above.
    pub(super) fn low_bits(&self, value: V<'b>) -> V<'b> {
        self.b.vpair(value.zext(Ty::I64), self.iconst(Ty::I64, 0))
    }

    /// A vector with this value in lane 0, zeros above.
    fn alone(&self, lane: Lane, value: V<'b>) -> V<'b> {
        self.zero().vinsert(lane, 0, value)
    }

    /// The vector 0.
    pub(super) fn zero(&self) -> V<'b> {
        self.b.vconst(0)
    }

    /// The last operand, an immediate byte.
    pub(super) fn imm8(&self) -> u32 {
        self.insn.immediate(self.insn.op_count() - 1) as u32 & 0xff
    }

    /// The value of `f`, a floating-point operation on operands that have been read; #XM.
    pub(super) fn raises(&self, f: impl FnOnce() -> V<'b>) -> V<'b> {
        if !self.is(mode::UNMASKED) {
            return f();
        }
        self.call(Id::BeginFloat, &[]);
        let value = f();
        let zero = self.iconst(Ty::I64, 0);
        let (low, high) = match value.ty() {
            Ty::V128 => (value.vlow(), value.vhigh()),
            Ty::F32 => (value.bitcast(Ty::I32).zext(Ty::I64), zero),
            Ty::F64 => (value.bitcast(Ty::I64), zero),
            _ => (value.zext(Ty::I64), zero),
        };
        self.call(
            Id::CheckFloat,
            &[low, high, self.iconst(Ty::I64, tiny(self.insn.mnemonic()).pack())],
        );
        value
    }

    /// DEST's lane 0 := f(DEST's, SRC's), floating point.
    fn scalar(&self, lane: Lane, f: impl FnOnce(V<'b>, V<'b>) -> V<'b>) {
        let b = self.lane(SRC, lane);
        let a = self.lane(DEST, lane);
        self.set_lane(lane, self.raises(|| f(a, b)));
    }

    /// DEST's lane 0 := f(SRC's), floating point.
    fn scalar_from(&self, lane: Lane, f: impl FnOnce(V<'b>) -> V<'b>) {
        let b = self.lane(SRC, lane);
        self.set_lane(lane, self.raises(|| f(b)));
    }

    /// DEST := f(DEST, SRC), vectors of floats.
    fn floats(&self, f: impl FnOnce(V<'b>, V<'b>) -> V<'b>) {
        self.packed(|a, b| self.raises(|| f(a, b)));
    }

    /// DEST := f(SRC), vectors of floats.
    fn floats_from(&self, f: impl FnOnce(V<'b>) -> V<'b>) {
        self.packed_from(|b| self.raises(|| f(b)));
    }

    /// DEST := f(DEST, SRC), vectors.
    pub(super) fn packed(&self, f: impl FnOnce(V<'b>, V<'b>) -> V<'b>) {
        let b = self.vector(SRC);
        self.set_dest(f(self.vector(DEST), b));
    }

    /// DEST := f(SRC), vectors.
    pub(super) fn packed_from(&self, f: impl FnOnce(V<'b>) -> V<'b>) {
        self.set_dest(f(self.vector(SRC)));
    }
}

/// What of an instruction's result may be too small for a normal number.
fn tiny(mnemonic: Mnemonic) -> Tiny {
    use Mnemonic::*;
    match mnemonic {
        Addss | Subss | Mulss | Divss | Cvtsd2ss => Tiny::Scalar(Lane::F32),
        Addsd | Subsd | Mulsd | Divsd => Tiny::Scalar(Lane::F64),
        Addps | Subps | Mulps | Divps | Addsubps | Haddps | Hsubps | Dpps | Cvtpd2ps => {
            Tiny::Lanes(Lane::F32)
        }
        Addpd | Subpd | Mulpd | Divpd | Addsubpd | Haddpd | Hsubpd | Dppd => Tiny::Lanes(Lane::F64),
        _ => Tiny::Never,
    }
}
