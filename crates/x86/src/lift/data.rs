//! Moves, exchanges and conversions of integers (SDM 1 7.3.1).

use super::{DEST, Lift, SRC};
use crate::flags::{self, Cond};
use crate::state::{RAX, RBX, RCX, RDX};
use iced_x86::{Mnemonic, OpKind, Register};
use mynah_guest::Access;
use mynah_ir::{Align, MemOp, Op, Order, Rmw, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Mov => return mov(l),
        Mnemonic::Movzx => l.write(DEST, l.read(SRC).zext(l.ty(DEST))),
        Mnemonic::Movsx | Mnemonic::Movsxd => l.write(DEST, l.read(SRC).sext(l.ty(DEST))),
        Mnemonic::Lea => l.write(DEST, l.offset().trunc(l.ty(DEST))),
        Mnemonic::Xchg => xchg(l),
        Mnemonic::Xadd => xadd(l),
        Mnemonic::Cmpxchg => cmpxchg(l),
        Mnemonic::Cmpxchg8b => cmpxchg8b(l),
        Mnemonic::Cmpxchg16b => cmpxchg16b(l),
        Mnemonic::Bswap => bswap(l),
        Mnemonic::Cbw => l.set_part(RAX, l.part(RAX, Ty::I8).sext(Ty::I16)),
        Mnemonic::Cwde => l.set_part(RAX, l.part(RAX, Ty::I16).sext(Ty::I32)),
        Mnemonic::Cdqe => l.set_part(RAX, l.part(RAX, Ty::I32).sext(Ty::I64)),
        Mnemonic::Cwd => l.set_part(RDX, l.part(RAX, Ty::I16).sar(15)),
        Mnemonic::Cdq => l.set_part(RDX, l.part(RAX, Ty::I32).sar(31)),
        Mnemonic::Cqo => l.set_part(RDX, l.part(RAX, Ty::I64).sar(63)),
        Mnemonic::Xlatb => xlat(l),
        _ => return conditional(l, mnemonic),
    }
    true
}

fn mov(l: &mut Lift<'_>) -> bool {
    let is_selector =
        |op| l.insn.op_kind(op) == OpKind::Register && l.insn.op_register(op).is_segment_register();
    let is_system = |op| {
        let register = l.insn.op_register(op);
        l.insn.op_kind(op) == OpKind::Register
            && (register.is_cr() || register.is_dr() || register.is_tr())
    };
    if is_selector(DEST) || is_selector(SRC) {
        return super::system::move_selector(l);
    }
    if is_system(DEST) || is_system(SRC) {
        super::privileged::move_register(l);
        return true;
    }
    l.write(DEST, l.read(SRC));
    true
}

/// CMOVcc and SETcc.
fn conditional(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    let code = l.insn.condition_code() as u8;
    if code == 0 {
        return false;
    }
    let cond = Cond(code - 1);
    match l.insn.op_count() {
        // SETcc has one operand of a byte, CMOVcc two wider ones; Jcc has a branch target.
        1 if matches!(l.insn.op_kind(DEST), OpKind::Register | OpKind::Memory) => {
            l.write(DEST, l.cond(cond).zext(Ty::I8));
        }
        2 if is_cmov(mnemonic) => {
            let source = l.read(SRC);
            l.write(DEST, l.cond(cond).select(source, l.read(DEST)));
        }
        _ => return false,
    }
    true
}

fn is_cmov(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Cmova
            | Cmovae
            | Cmovb
            | Cmovbe
            | Cmove
            | Cmovg
            | Cmovge
            | Cmovl
            | Cmovle
            | Cmovne
            | Cmovno
            | Cmovnp
            | Cmovns
            | Cmovo
            | Cmovp
            | Cmovs
    )
}

fn xchg(l: &mut Lift<'_>) {
    // The memory operand may be written second in assembly; iced puts it first.
    let source = l.read(SRC);
    let (old, _) = l.rmw(DEST, Rmw::Xchg, source);
    l.write(SRC, old);
}

fn xadd(l: &mut Lift<'_>) {
    let source = l.read(SRC);
    if l.is_memory(DEST) {
        let (old, _) = l.rmw(DEST, Rmw::Add, source);
        l.write(SRC, old);
        l.flags(flags::add(old, source));
    } else {
        // SDM 2D: SRC ← DEST, then DEST ← the sum, also if both are one register.
        let old = l.read(DEST);
        l.write(SRC, old);
        l.write(DEST, old + source);
        l.flags(flags::add(old, source));
    }
}

fn accumulator_of(ty: Ty) -> Register {
    match ty {
        Ty::I8 => Register::AL,
        Ty::I16 => Register::AX,
        Ty::I32 => Register::EAX,
        _ => Register::RAX,
    }
}

fn cmpxchg(l: &mut Lift<'_>) {
    let ty = l.ty(DEST);
    let accumulator = l.part(RAX, ty);
    let source = l.read(SRC);
    let old = if l.is_memory(DEST) {
        let order = if l.insn.has_lock_prefix() { Order::SeqCst } else { Order::Tso };
        l.b.cas(MemOp { align: Align::Any, order }, l.ea(DEST), accumulator, source)
    } else {
        l.read(DEST)
    };
    let equal = old.eq(accumulator);
    if !l.is_memory(DEST) {
        // Not written at all if they differ: a 32-bit DEST then keeps the bits above.
        let (slot, written) = l.merged(l.insn.op_register(DEST), source);
        l.set(slot, equal.select(written, l.get(slot)));
    }
    let (_, loaded) = l.merged(accumulator_of(ty), old);
    l.set(RAX, equal.select(l.get(RAX), loaded));
    l.flags(flags::sub(accumulator, old));
}

/// The arithmetic flags with ZF replaced.
fn set_zf<'b>(l: &mut Lift<'b>, zf: V<'b>) {
    let others = l.flags_word() & !flags::ZF;
    l.flags(flags::eager(others | zf.zext(Ty::I64).shl(6)));
}

fn cmpxchg8b(l: &mut Lift<'_>) {
    let pair = |low, high| {
        let high: V<'_> = l.get(high);
        l.part(low, Ty::I32).zext(Ty::I64) | high.shl(32)
    };
    let expected = pair(RAX, RDX);
    let new = pair(RBX, RCX);
    let old = l.b.cas(super::ATOMIC, l.ea(DEST), expected, new);
    let equal = old.eq(expected);
    l.set(RAX, equal.select(l.get(RAX), old.trunc(Ty::I32).zext(Ty::I64)));
    l.set(RDX, equal.select(l.get(RDX), old.shr(32)));
    set_zf(l, equal);
}

fn cmpxchg16b(l: &mut Lift<'_>) {
    let pair = |low, high| l.b.op(Op::Vpair, Ty::V128, &[l.get(low), l.get(high)], 0);
    let aligned = MemOp { align: Align::Natural, order: Order::SeqCst };
    let old = l.b.cas(aligned, l.ea(DEST), pair(RAX, RDX), pair(RBX, RCX));
    let (low, high) =
        (l.b.op(Op::Vlow, Ty::V128, &[old], 0), l.b.op(Op::Vhigh, Ty::V128, &[old], 0));
    let equal = low.eq(l.get(RAX)) & high.eq(l.get(RDX));
    l.set(RAX, low);
    l.set(RDX, high);
    set_zf(l, equal);
}

fn bswap(l: &mut Lift<'_>) {
    let value = l.read(DEST);
    // A 16-bit operand is undefined (SDM 2A); processors clear it.
    let swapped = if value.ty() == Ty::I16 { l.iconst(Ty::I16, 0) } else { value.bswap() };
    l.write(DEST, swapped);
}

fn xlat(l: &mut Lift<'_>) {
    let base = l.insn.memory_base();
    let sum = l.get(RBX) + l.part(RAX, Ty::I8).zext(Ty::I64);
    let offset = l.address_of_size(sum, base.size());
    let address = l.linear(l.insn.memory_segment(), offset, 1, || Access::Read);
    l.set_part(RAX, l.load(Ty::I8, address));
}
