//! Binary arithmetic and logic (SDM 1 7.3.2 and 7.3.3).

use super::{DEST, Lift, SRC};
use crate::flags::{self, Step};
use iced_x86::Mnemonic;
use mynah_ir::Rmw;

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Add => {
            let b = l.read(SRC);
            let (a, _) = l.rmw(DEST, Rmw::Add, b);
            l.flags(flags::add(a, b));
        }
        Mnemonic::Adc => {
            let carry = l.cf();
            let b = l.read(SRC);
            let (a, _) = l.rmw(DEST, Rmw::Add, b + carry.zext(b.ty()));
            l.flags(flags::adc(a, b, carry));
        }
        Mnemonic::Sub => {
            let b = l.read(SRC);
            let (a, _) = l.rmw(DEST, Rmw::Sub, b);
            l.flags(flags::sub(a, b));
        }
        Mnemonic::Sbb => {
            let borrow = l.cf();
            let b = l.read(SRC);
            let (a, _) = l.rmw(DEST, Rmw::Sub, b + borrow.zext(b.ty()));
            l.flags(flags::sbb(a, b, borrow));
        }
        Mnemonic::Cmp => l.flags(flags::sub(l.read(DEST), l.read(SRC))),
        Mnemonic::And => {
            let (_, r) = l.rmw(DEST, Rmw::And, l.read(SRC));
            l.flags(flags::logic(r));
        }
        Mnemonic::Or => {
            let (_, r) = l.rmw(DEST, Rmw::Or, l.read(SRC));
            l.flags(flags::logic(r));
        }
        Mnemonic::Xor => {
            let (_, r) = l.rmw(DEST, Rmw::Xor, l.read(SRC));
            l.flags(flags::logic(r));
        }
        Mnemonic::Test => l.flags(flags::logic(l.read(DEST) & l.read(SRC))),
        Mnemonic::Inc => {
            let one = l.iconst(l.ty(DEST), 1);
            let (a, r) = l.rmw(DEST, Rmw::Add, one);
            l.flags_of_step(Step::Up, a, r);
        }
        Mnemonic::Dec => {
            let one = l.iconst(l.ty(DEST), 1);
            let (a, r) = l.rmw(DEST, Rmw::Sub, one);
            l.flags_of_step(Step::Down, a, r);
        }
        Mnemonic::Neg => {
            let zero = l.iconst(l.ty(DEST), 0);
            let (a, _) = l.update(DEST, |a| a.neg());
            l.flags(flags::sub(zero, a));
        }
        Mnemonic::Not => {
            l.rmw(DEST, Rmw::Xor, l.iconst(l.ty(DEST), u64::MAX));
        }
        _ => return false,
    }
    true
}
