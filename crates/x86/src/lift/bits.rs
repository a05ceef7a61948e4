//! Bit tests, scans and counts (SDM 1 7.3.7).

use super::{DEST, Lift, SRC};
use crate::flags;
use iced_x86::{Mnemonic, OpKind};
use mynah_guest::Access;
use mynah_ir::{Rmw, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Bt => bit(l, |_, _| None),
        Mnemonic::Bts => bit(l, |_, mask| Some((Rmw::Or, mask))),
        Mnemonic::Btr => bit(l, |_, mask| Some((Rmw::And, mask.not()))),
        Mnemonic::Btc => bit(l, |_, mask| Some((Rmw::Xor, mask))),
        Mnemonic::Bsf => scan(l, |source| source.ctz()),
        Mnemonic::Bsr => scan(l, |source| source.clz() ^ u64::from(source.ty().bits() - 1)),
        Mnemonic::Popcnt => {
            let source = l.read(SRC);
            l.write(DEST, source.popcnt());
            let clear = l.iconst(Ty::I1, 0);
            l.flags(flags::compared(clear, clear, source.eq(0)));
        }
        _ => return false,
    }
    true
}

/// BT and its kin: CF is the selected bit before `change`, which names an operation and its
/// argument for the bit's mask. Other flags stay.
fn bit<'b>(l: &mut Lift<'b>, change: impl Fn(&Lift<'b>, V<'b>) -> Option<(Rmw, V<'b>)>) {
    let ty = l.ty(DEST);
    let bits = u64::from(ty.bits());
    let index = match l.insn.op_kind(SRC) {
        OpKind::Register => l.read(SRC),
        _ => l.iconst(ty, l.insn.immediate(SRC) & (bits - 1)),
    };
    let mask = l.iconst(ty, 1).shl(index);
    let change = change(l, mask);
    let old = if l.is_memory(DEST) {
        let address = bit_string(l, index);
        match change {
            Some((rmw, arg)) => l.rmw_at(address, rmw, arg).0,
            None => l.load(ty, address),
        }
    } else {
        match change {
            Some((rmw, arg)) => l.rmw(DEST, rmw, arg).0,
            None => l.read(DEST),
        }
    };
    l.flags(flags::only_cf(old.shr(index).trunc(Ty::I1)));
}

/// The address of the unit of the bit string that holds bit `index`, which is signed.
fn bit_string<'b>(l: &Lift<'b>, index: V<'b>) -> V<'b> {
    let ty = index.ty();
    if l.insn.op_kind(SRC) != OpKind::Register {
        return l.ea(DEST);
    }
    let unit = index.sext(Ty::I64).sar(u64::from(ty.bits().ilog2()));
    let offset = l.offset() + unit.shl(u64::from(ty.bytes().ilog2()));
    let offset = l.address_of_size(offset, l.address_bytes());
    let access = || if l.insn.mnemonic() == Mnemonic::Bt { Access::Read } else { Access::Write };
    l.linear(l.insn.memory_segment(), offset, ty.bytes().into(), access)
}

/// BSF and BSR: DEST stays if the source is 0, all 64 bits of it, as processors have it. Of the
/// flags only ZF is defined.
fn scan<'b>(l: &mut Lift<'b>, position: impl Fn(V<'b>) -> V<'b>) {
    let source = l.read(SRC);
    let zero = source.eq(0);
    let (slot, found) = l.merged(l.insn.op_register(DEST), position(source));
    l.set(slot, zero.select(l.get(slot), found));
    l.flags(flags::logic(source));
}
