//! Instructions that 64-bit code does not have (SDM 1 7.3.2.5 and 7.3.8.4).

use super::{DEST, Lift, SRC};
use crate::flags::{self, Cond};
use crate::helpers::Id;
use crate::helpers::integer::Decimal;
use crate::state::RAX;
use crate::{mode, trap};
use iced_x86::Mnemonic;
use mynah_ir::Ty;

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Aaa => decimal(l, Decimal::Aaa),
        Mnemonic::Aas => decimal(l, Decimal::Aas),
        Mnemonic::Daa => decimal(l, Decimal::Daa),
        Mnemonic::Das => decimal(l, Decimal::Das),
        Mnemonic::Aam if l.insn.immediate(DEST) == 0 => l.fault(trap::DIVIDE),
        Mnemonic::Aam => decimal(l, Decimal::Aam),
        Mnemonic::Aad => decimal(l, Decimal::Aad),
        Mnemonic::Salc => {
            let carry = l.cf().sext(Ty::I8);
            l.set_part(RAX, carry);
        }
        Mnemonic::Bound => {
            let index = l.read(DEST);
            let ty = index.ty();
            let address = l.ea(SRC);
            let lower = l.load(ty, address);
            let upper = l.load(ty, address + u64::from(ty.bytes()));
            l.fault_if(index.slt(lower) | upper.slt(index), trap::BOUND);
        }
        Mnemonic::Into => {
            let no_overflow = l.cond(Cond::O.negated());
            l.b.exit_if(no_overflow, l.next());
            l.trap(trap::OVERFLOW, 0);
        }
        Mnemonic::Arpl if l.is(mode::PROTECTED) && !l.is(mode::VIRTUAL) => {
            // Of registers, which have 32 bits in 32-bit code, the low halves.
            let source = l.read(SRC).trunc(Ty::I16);
            let whole = l.read(DEST);
            let dest = whole.trunc(Ty::I16);
            let raised = (dest & 3).ult(source & 3);
            let adjusted = (whole & !3) | (source & 3).zext(whole.ty());
            l.write(DEST, raised.select(adjusted, whole));
            let others = l.flags_word() & !flags::ZF;
            l.flags(flags::eager(others | raised.zext(Ty::I64).shl(6)));
        }
        _ => return false,
    }
    true
}

/// A decimal adjustment of AX, by a helper that yields AX and the flags above it.
fn decimal(l: &mut Lift<'_>, which: Decimal) {
    let operand = if l.insn.op_count() > 0 { l.insn.immediate(DEST) } else { 0 };
    let which = l.iconst(Ty::I64, which as u64 | operand << 8);
    let flags = l.flags_word();
    let adjusted = l.call(Id::Decimal, &[which, l.part(RAX, Ty::I16), flags]);
    l.set_part(RAX, adjusted.trunc(Ty::I16));
    l.flags(flags::eager(adjusted.shr(16)));
}
