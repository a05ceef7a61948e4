//! Shifts and rotates (SDM 1 7.3.6).

use super::{DEST, Lift, SRC, SRC2};
use crate::flags::{self, Way};
use crate::helpers::Id;
use iced_x86::{Mnemonic, OpKind};
use mynah_ir::{Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Shl | Mnemonic::Sal => shift(l, Way::Left, |a, by| a.zext(Ty::I64).shl(by)),
        Mnemonic::Shr => shift(l, Way::Right, |a, by| a.zext(Ty::I64).shr(by)),
        Mnemonic::Sar => shift(l, Way::Arithmetic, |a, by| a.sext(Ty::I64).sar(by)),
        Mnemonic::Shld => double_shift(l, Way::Left),
        Mnemonic::Shrd => double_shift(l, Way::Right),
        Mnemonic::Rol => rotate(l, Way::Left),
        Mnemonic::Ror => rotate(l, Way::Right),
        Mnemonic::Rcl => rotate_through_carry(l, Way::Left),
        Mnemonic::Rcr => rotate_through_carry(l, Way::Right),
        _ => return false,
    }
    true
}

/// The count in operand `op` as an `I64`: 6 bits of it for a 64-bit operand, else 5.
fn count<'b>(l: &Lift<'b>, op: u32, ty: Ty) -> V<'b> {
    let mask = if ty == Ty::I64 { 0x3f } else { 0x1f };
    match l.insn.op_kind(op) {
        OpKind::Register => l.read(op).zext(Ty::I64) & mask,
        _ => l.iconst(Ty::I64, l.insn.immediate(op) & mask),
    }
}

/// Whether flags change: not if the count is 0.
fn changes<'b>(l: &Lift<'b>, by: V<'b>) -> V<'b> {
    match by.constant() {
        Some(by) => l.iconst(Ty::I1, u64::from(by != 0)),
        None => by.ne(0),
    }
}

/// A shift, done in 64 bits so that counts beyond the operand's width come out right.
fn shift<'b>(l: &mut Lift<'b>, way: Way, step: impl Fn(V<'b>, V<'b>) -> V<'b>) {
    let ty = l.ty(DEST);
    let by = count(l, SRC, ty);
    let (a, result) = l.update(DEST, |a| step(a, by).trunc(ty));
    l.flags_if(changes(l, by), flags::shifted(way, result, a, by));
}

/// SHLD and SHRD. With a 16-bit operand and a count above 16, which the manual leaves undefined,
/// the operand itself follows the second one, as in processors.
fn double_shift<'b>(l: &mut Lift<'b>, way: Way) {
    let ty = l.ty(DEST);
    let b = l.read(SRC);
    let by = count(l, SRC2, ty);
    let (a, result) = l.update(DEST, |a| double(ty, way, a, b, by));
    let flags = flags::shifted(way, result, a, by);
    let flags = match way {
        Way::Left => flags,
        _ => flags.with_of(b.trunc(Ty::I1) ^ a.slt(0)),
    };
    l.flags_if(changes(l, by), flags);
}

/// `a` shifted by `by`, bits of `b` entering.
fn double<'b>(ty: Ty, way: Way, a: V<'b>, b: V<'b>, by: V<'b>) -> V<'b> {
    let wide = |v: V<'b>| v.zext(Ty::I64);
    match (ty, way) {
        (Ty::I16, Way::Left) => {
            let ring = wide(a).shl(32) | wide(b).shl(16) | wide(a);
            ring.shl(by).shr(32).trunc(ty)
        }
        (Ty::I16, _) => {
            let ring = wide(a).shl(32) | wide(b).shl(16) | wide(a);
            ring.shr(by).trunc(ty)
        }
        (Ty::I32, Way::Left) => (wide(a).shl(32) | wide(b)).shl(by).shr(32).trunc(ty),
        (Ty::I32, _) => (wide(b).shl(32) | wide(a)).shr(by).trunc(ty),
        // In two steps, for a count of 0 to let nothing enter.
        (_, Way::Left) => a.shl(by) | b.shr(1).shr(by ^ 63),
        (_, _) => a.shr(by) | b.shl(1).shl(by ^ 63),
    }
}

fn rotate(l: &mut Lift<'_>, way: Way) {
    let ty = l.ty(DEST);
    let by = count(l, SRC, ty);
    let (_, result) = l.update(DEST, |a| match way {
        Way::Left => a.rotl(by.trunc(ty)),
        _ => a.rotr(by.trunc(ty)),
    });
    let top = result.slt(0);
    let (cf, of) = match way {
        Way::Left => {
            let cf = result.trunc(Ty::I1);
            (cf, cf ^ top)
        }
        _ => (top, (result ^ result.shl(1)).slt(0)),
    };
    l.flags_if(changes(l, by), flags::only_cf(cf).with_of(of));
}

fn rotate_through_carry(l: &mut Lift<'_>, way: Way) {
    let ty = l.ty(DEST);
    let bits = u64::from(ty.bits());
    let by = count(l, SRC, ty);
    let carry = l.cf();
    if by.constant() == Some(1) {
        return rotate_once(l, way, carry);
    }
    // Right by n is left by the rest of the ring, which has the carry in it.
    let left = match way {
        Way::Left => by,
        _ => l.iconst(Ty::I64, 4 * (bits + 1)) - by,
    };
    let shape = carry.zext(Ty::I64).shl(8) | bits;
    let (a, result) = l.update(DEST, |a| l.call(Id::Rcl, &[a, left, shape]).trunc(ty));
    let cf = l.call(Id::RclCarry, &[a, left, shape]).trunc(Ty::I1);
    let of = match way {
        Way::Left => cf ^ result.slt(0),
        _ => (result ^ result.shl(1)).slt(0),
    };
    // A whole turn changes nothing.
    let turned = match by.constant() {
        Some(by) => l.iconst(Ty::I64, by % (bits + 1)),
        None if bits < 32 => by.urem(bits + 1),
        None => by,
    };
    l.flags_if(changes(l, turned), flags::only_cf(cf).with_of(of));
}

fn rotate_once<'b>(l: &mut Lift<'b>, way: Way, carry: V<'b>) {
    let ty = l.ty(DEST);
    let top = u64::from(ty.bits() - 1);
    let entering = carry.zext(ty);
    let (a, _) = l.update(DEST, |a| match way {
        Way::Left => a.shl(1) | entering,
        _ => a.shr(1) | entering.shl(top),
    });
    let (cf, of) = match way {
        Way::Left => (a.slt(0), (a ^ a.shl(1)).slt(0)),
        _ => (a.trunc(Ty::I1), carry ^ a.slt(0)),
    };
    l.flags(flags::only_cf(cf).with_of(of));
}
