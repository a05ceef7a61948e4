//! Instructions on the flags themselves (SDM 1 7.3.13).

use super::Lift;
use crate::flags::{self, AF, ARITHMETIC, CF, OF, PF, RF, SF, USER, VM, ZF};
use crate::helpers::Id;
use crate::mode;
use crate::state::{DF, RAX, RSP};
use iced_x86::{Mnemonic, Register};
use mynah_guest::Access;
use mynah_ir::Ty;

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Clc => l.flags(flags::only_cf(l.iconst(Ty::I1, 0))),
        Mnemonic::Stc => l.flags(flags::only_cf(l.iconst(Ty::I1, 1))),
        Mnemonic::Cmc => l.flags(flags::only_cf(l.cf().not())),
        Mnemonic::Cld => l.set(DF, l.iconst(Ty::I64, 0)),
        Mnemonic::Std => l.set(DF, l.iconst(Ty::I64, 1)),
        Mnemonic::Lahf => {
            let low = l.flags_word().trunc(Ty::I8) | 2;
            l.set_register(Register::AH, low);
        }
        Mnemonic::Sahf => {
            let low = l.get(RAX).shr(8) & (SF | ZF | AF | PF | CF);
            l.flags(flags::eager((l.flags_word() & OF) | low));
        }
        Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq => {
            if l.is(mode::VIRTUAL) {
                l.call(Id::CheckIopl, &[]);
            }
            let word = l.call(Id::Rflags, &[]);
            let word = if l.is(mode::SYSTEM) { word & !(RF | VM) } else { word };
            l.push(word.trunc(l.stack_ty()));
        }
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => popf(l),
        _ => return false,
    }
    true
}

fn popf(l: &mut Lift<'_>) {
    let ty = l.stack_ty();
    if !l.is(mode::SYSTEM) {
        let word = l.pop(ty).zext(Ty::I64);
        let mask = l.iconst(Ty::I64, (ARITHMETIC | flags::DF | USER) & ty.mask());
        l.call(Id::SetRflags, &[word, mask]);
        return l.forget_flags();
    }
    let top = l.top();
    let word = l.load(ty, l.stack_address(top, ty, Access::Read)).zext(Ty::I64);
    l.call(Id::PopRflags, &[word, l.iconst(Ty::I64, ty.mask())]);
    l.set_part(RSP, top + u64::from(ty.bytes()));
    l.forget_flags();
    l.end_here();
}
