//! Multiplication and division (SDM 1 7.3.2.3).

use super::{DEST, Lift, SRC, SRC2};
use crate::flags::{self, Sign};
use crate::helpers::Id;
use crate::state::{RAX, RDX};
use crate::trap;
use iced_x86::Mnemonic;
use mynah_ir::{Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Mul => multiply(l, Sign::Unsigned),
        Mnemonic::Imul if l.insn.op_count() == 1 => multiply(l, Sign::Signed),
        Mnemonic::Imul => {
            let (a, b) = match l.insn.op_count() {
                2 => (l.read(DEST), l.read(SRC)),
                _ => (l.read(SRC), l.read(SRC2)),
            };
            let (low, high) = (a * b, a.smulh(b));
            l.write(DEST, low);
            l.flags(flags::product(Sign::Signed, low, high));
        }
        Mnemonic::Div => divide(l, Sign::Unsigned),
        Mnemonic::Idiv => divide(l, Sign::Signed),
        _ => return false,
    }
    true
}

impl Sign {
    fn extend(self, value: V<'_>, ty: Ty) -> V<'_> {
        match self {
            Sign::Signed => value.sext(ty),
            Sign::Unsigned => value.zext(ty),
        }
    }
}

/// The type of twice the width.
fn double(ty: Ty) -> Ty {
    match ty {
        Ty::I8 => Ty::I16,
        Ty::I16 => Ty::I32,
        _ => Ty::I64,
    }
}

/// Sets AX, DX:AX, EDX:EAX or RDX:RAX.
fn set_pair<'b>(l: &Lift<'b>, low: V<'b>, high: V<'b>) {
    if low.ty() == Ty::I8 {
        l.set_part(RAX, low.zext(Ty::I16) | high.zext(Ty::I16).shl(8));
    } else {
        l.set_part(RAX, low);
        l.set_part(RDX, high);
    }
}

fn multiply(l: &mut Lift<'_>, sign: Sign) {
    let b = l.read(DEST);
    let ty = b.ty();
    let a = l.part(RAX, ty);
    let low = a * b;
    let high = match (ty, sign) {
        (Ty::I8, _) => (sign.extend(a, Ty::I16) * sign.extend(b, Ty::I16)).shr(8).trunc(Ty::I8),
        (_, Sign::Signed) => a.smulh(b),
        (_, Sign::Unsigned) => a.umulh(b),
    };
    set_pair(l, low, high);
    l.flags(flags::product(sign, low, high));
}

/// DIV and IDIV. The flags, which the manual leaves undefined, stay.
fn divide(l: &mut Lift<'_>, sign: Sign) {
    let divisor = l.read(DEST);
    let ty = divisor.ty();
    if ty == Ty::I64 {
        let (high, low) = (l.get(RDX), l.get(RAX));
        let helper = if sign == Sign::Signed { Id::Idiv64 } else { Id::Div64 };
        let quotient = l.call(helper, &[high, low, divisor]);
        set_pair(l, quotient, low - quotient * divisor);
        return;
    }
    let wide = double(ty);
    let dividend = if ty == Ty::I8 {
        l.part(RAX, Ty::I16)
    } else {
        let high = l.part(RDX, ty).zext(wide).shl(u64::from(ty.bits()));
        high | l.part(RAX, ty).zext(wide)
    };
    let by = sign.extend(divisor, wide);
    let quotient = match sign {
        Sign::Signed => dividend.sdiv(by),
        Sign::Unsigned => dividend.udiv(by),
    };
    let low = quotient.trunc(ty);
    l.fault_if(divisor.eq(0) | sign.extend(low, wide).ne(quotient), trap::DIVIDE);
    set_pair(l, low, (dividend - quotient * by).trunc(ty));
}
