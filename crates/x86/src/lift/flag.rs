//! Instructions on the flags themselves (SDM 1 7.3.13).

use super::Lift;
use crate::flags::{self, AF, ARITHMETIC, CF, OF, PF, SF, SYSTEM, ZF};
use crate::helpers::Id;
use crate::state::{DF, RAX};
use iced_x86::{Mnemonic, Register};
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
            l.push(l.call(Id::Rflags, &[]).trunc(l.stack_ty()));
        }
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => {
            let ty = l.stack_ty();
            let word = l.pop(ty).zext(Ty::I64);
            let mask = l.iconst(Ty::I64, (ARITHMETIC | flags::DF | SYSTEM) & ty.mask());
            l.call(Id::SetRflags, &[word, mask]);
            l.forget_flags();
        }
        _ => return false,
    }
    true
}
