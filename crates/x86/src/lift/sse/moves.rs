//! Moves: whole vectors, scalars, halves, and to and from general registers.

use super::super::{DEST, Lift, SRC};
use crate::helpers::Id;
use crate::state::{self, RDI};
use iced_x86::{Mnemonic, OpKind, Register};
use mynah_guest::Access;
use mynah_ir::{Lane, MemOp, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Movaps | Movapd | Movdqa | Movntps | Movntpd | Movntdq | Movntdqa => {
            whole(l, MemOp::TSO_ALIGNED);
        }
        Movups | Movupd | Movdqu | Lddqu => whole(l, MemOp::TSO),
        Movnti => l.write(DEST, l.read(SRC)),
        Movss => scalar(l, Lane::F32),
        Movsd => scalar(l, Lane::F64),
        Movd | Movq => word(l),
        Movlps | Movlpd => half(l, 0),
        Movhps | Movhpd => half(l, 1),
        Movlhps => l.packed(|a, b| a.vinsert(Lane::F64, 1, b.vextract(Lane::F64, 0))),
        Movhlps => l.packed(|a, b| a.vinsert(Lane::F64, 0, b.vextract(Lane::F64, 1))),
        Movddup => l.set_dest(l.lane(SRC, Lane::F64).vsplat(Lane::F64)),
        Movsldup => l.packed_from(|b| b.vshuffle(b, Lane::I32, &[0, 0, 2, 2])),
        Movshdup => l.packed_from(|b| b.vshuffle(b, Lane::I32, &[1, 1, 3, 3])),
        Movmskps => signs(l, Lane::I32),
        Movmskpd => signs(l, Lane::I64),
        Pmovmskb => signs(l, Lane::I8),
        Maskmovdqu => masked(l),
        Pextrb => extract(l, Lane::I8),
        Pextrw => extract(l, Lane::I16),
        Pextrd | Extractps => extract(l, Lane::I32),
        Pextrq => extract(l, Lane::I64),
        Pinsrb => insert(l, Lane::I8),
        Pinsrw => insert(l, Lane::I16),
        Pinsrd => insert(l, Lane::I32),
        Pinsrq => insert(l, Lane::I64),
        Insertps => insertps(l),
        _ => return false,
    }
    true
}

fn whole(l: &Lift<'_>, mem: MemOp) {
    l.set_vector_at(DEST, mem, l.vector_at(SRC, mem));
}

/// MOVSS, MOVSD: between registers the lane alone, from memory zeros above it.
fn scalar(l: &Lift<'_>, lane: Lane) {
    let value = l.lane(SRC, lane);
    if l.is_memory(DEST) {
        l.store(l.ea(DEST), value);
    } else if l.is_memory(SRC) {
        l.set_dest(l.alone(lane, value));
    } else {
        l.set_lane(lane, value);
    }
}

/// MOVD, MOVQ: to an XMM register with zeros above, or from one.
fn word(l: &Lift<'_>) {
    let is_xmm = |op| l.insn.op_kind(op) == OpKind::Register && l.insn.op_register(op).is_xmm();
    if is_xmm(DEST) {
        let from_xmm = || l.alone(Lane::F64, l.lane(SRC, Lane::F64));
        l.set_dest(if is_xmm(SRC) { from_xmm() } else { l.low_bits(l.read(SRC)) });
    } else {
        let lane = if l.ty(DEST) == Ty::I32 { Lane::I32 } else { Lane::I64 };
        l.write(DEST, l.lane(SRC, lane));
    }
}

/// MOVLPS and its kin: one half between a register and memory.
fn half(l: &Lift<'_>, index: u32) {
    if l.is_memory(DEST) {
        l.store(l.ea(DEST), l.vector(SRC).vextract(Lane::F64, index));
    } else {
        let value = l.load(Ty::F64, l.ea(SRC));
        l.set_dest(l.vector(DEST).vinsert(Lane::F64, index, value));
    }
}

fn signs(l: &Lift<'_>, lane: Lane) {
    let mask = l.vector(SRC).vmask(lane);
    l.write(DEST, mask.trunc(l.ty(DEST)));
}

/// MASKMOVDQU: the bytes of the first register whose sign in the second is set, to RDI.
fn masked(l: &Lift<'_>) {
    // The explicit operands are the two registers; iced lists the memory operand first.
    let registers: Vec<Register> = (0..l.insn.op_count())
        .filter(|&op| l.insn.op_kind(op) == OpKind::Register)
        .map(|op| l.insn.op_register(op))
        .collect();
    let &[data, mask] = registers.as_slice() else { unreachable!("MASKMOVDQU has two registers") };
    let address = l.masked_address(16);
    l.set(state::SCRATCH0, l.xmm(data));
    l.set(state::SCRATCH1, l.xmm(mask));
    l.call(Id::MaskedStore, &[address]);
}

impl<'b> Lift<'b> {
    /// The address of the implied memory operand of MASKMOVQ and MASKMOVDQU.
    pub(in crate::lift) fn masked_address(&self, bytes: u64) -> V<'b> {
        let size = match self.insn.op_kind(DEST) {
            OpKind::MemorySegDI => 2,
            OpKind::MemorySegEDI => 4,
            _ => 8,
        };
        let offset = self.address_of_size(self.get(RDI), size);
        self.linear(self.insn.memory_segment(), offset, bytes, || Access::Write)
    }
}

/// PEXTRx, EXTRACTPS: to memory, or to a register with zeros above.
fn extract(l: &Lift<'_>, lane: Lane) {
    let value = l.vector(SRC).vextract(lane, l.imm8() % lane.count());
    if l.is_memory(DEST) {
        l.store(l.ea(DEST), value);
    } else {
        l.write(DEST, value.zext(l.ty(DEST)));
    }
}

fn insert(l: &Lift<'_>, lane: Lane) {
    let value = match l.insn.op_kind(SRC) {
        OpKind::Register => l.read(SRC).trunc(lane.ty()),
        _ => l.load(lane.ty(), l.ea(SRC)),
    };
    l.set_dest(l.vector(DEST).vinsert(lane, l.imm8() % lane.count(), value));
}

/// INSERTPS: imm bits 6–7 choose the source lane (memory has one), 4–5 the lane it goes to, 0–3
/// lanes that become 0.
fn insertps(l: &Lift<'_>) {
    let imm = l.imm8();
    let value: V<'_> = match l.insn.op_kind(SRC) {
        OpKind::Register => l.vector(SRC).vextract(Lane::I32, imm >> 6),
        _ => l.load(Ty::I32, l.ea(SRC)),
    };
    let inserted = l.vector(DEST).vinsert(Lane::I32, imm >> 4 & 3, value);
    let kept = (0..4).filter(|i| imm >> i & 1 == 0).map(|i| 0xffff_ffffu128 << (32 * i)).sum();
    l.set_dest(if imm & 15 == 0 { inserted } else { inserted.vand(l.b.vconst(kept)) });
}
