//! Integer arithmetic that the IR does not express.

use crate::flags::{self, AF, CF};
use crate::{Space, X86, trap};
use mynah_guest::{Cpu, Fault};

pub(super) extern "C" fn div64<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    high: u64,
    low: u64,
    divisor: u64,
) -> u64 {
    if divisor <= high {
        cpu.raise(Fault::Trap(trap::exception(trap::DIVIDE)));
        return 0;
    }
    if high == 0 {
        return low / divisor;
    }
    let dividend = u128::from(high) << 64 | u128::from(low);
    (dividend / u128::from(divisor)) as u64
}

pub(super) extern "C" fn idiv64<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    high: u64,
    low: u64,
    divisor: u64,
) -> u64 {
    let dividend = (u128::from(high) << 64 | u128::from(low)) as i128;
    let divisor = i128::from(divisor as i64);
    let quotient = match (i64::try_from(dividend), divisor) {
        (Ok(dividend), 1..) => Some(i128::from(dividend / divisor as i64)),
        _ => dividend.checked_div(divisor),
    };
    match quotient.map(i64::try_from) {
        Some(Ok(quotient)) => quotient as u64,
        _ => {
            cpu.raise(Fault::Trap(trap::exception(trap::DIVIDE)));
            0
        }
    }
}

/// The value and its carry above it, rotated; `width` + 1 bits in all.
fn rotate_through_carry(value: u64, by: u64, width_and_carry: u64) -> u128 {
    let width = width_and_carry & 0x7f;
    let carry = width_and_carry >> 8 & 1;
    let bits = width + 1;
    let by = by % bits;
    let ring = u128::from(carry) << width | u128::from(value);
    let rotated = ring << by | ring >> (bits - by);
    rotated & (u128::MAX >> (128 - bits))
}

pub(super) extern "C" fn rcl<M: Space>(
    _: &mut Cpu<X86<M>>,
    value: u64,
    by: u64,
    shape: u64,
) -> u64 {
    let mask = u64::MAX >> (64 - (shape & 0x7f));
    rotate_through_carry(value, by, shape) as u64 & mask
}

pub(super) extern "C" fn rcl_carry<M: Space>(
    _: &mut Cpu<X86<M>>,
    value: u64,
    by: u64,
    shape: u64,
) -> u64 {
    (rotate_through_carry(value, by, shape) >> (shape & 0x7f)) as u64
}

/// The adjustments of decimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Decimal {
    Aaa,
    Aas,
    Aam,
    Aad,
    Daa,
    Das,
}

impl Decimal {
    const ALL: [Decimal; 6] =
        [Decimal::Aaa, Decimal::Aas, Decimal::Aam, Decimal::Aad, Decimal::Daa, Decimal::Das];

    /// AX and the arithmetic flags after the adjustment; `base` is the operand of AAM and AAD, not
    /// 0 for AAM. Flags that the manual leaves undefined are those of AL, or 0.
    fn adjust(self, ax: u16, flags: u64, base: u8) -> (u16, u64) {
        let [al, ah] = ax.to_le_bytes();
        let low = al & 15 > 9 || flags & AF != 0;
        let high = al > 0x99 || flags & CF != 0;
        let ascii = if low { AF | CF } else { 0 };
        let six = if low { 6 } else { 0 };
        let sixty = if high { 0x60 } else { 0 };
        let carry = |also: bool| (if low { AF } else { 0 }) | if high || also { CF } else { 0 };
        let (ax, more) = match self {
            Decimal::Aaa if low => (ax.wrapping_add(0x106) & 0xff0f, ascii),
            Decimal::Aas if low => (ax.wrapping_sub(6).wrapping_sub(0x100) & 0xff0f, ascii),
            Decimal::Aaa | Decimal::Aas => (ax & 0xff0f, 0),
            Decimal::Aam => (u16::from_le_bytes([al % base.max(1), al / base.max(1)]), 0),
            Decimal::Aad => (al.wrapping_add(ah.wrapping_mul(base)).into(), 0),
            Decimal::Daa => {
                let sum = al.wrapping_add(six).wrapping_add(sixty);
                (u16::from_le_bytes([sum, ah]), carry(false))
            }
            Decimal::Das => {
                let difference = al.wrapping_sub(six).wrapping_sub(sixty);
                (u16::from_le_bytes([difference, ah]), carry(low && al < 6))
            }
        };
        (ax, more | flags::of_byte(ax as u8))
    }
}

pub(super) extern "C" fn decimal<M: Space>(
    _: &mut Cpu<X86<M>>,
    which: u64,
    ax: u64,
    flags: u64,
) -> u64 {
    let [which, base, ..] = which.to_le_bytes();
    let decimal = Decimal::ALL[usize::from(which) % Decimal::ALL.len()];
    let (ax, flags) = decimal.adjust(ax as u16, flags, base);
    u64::from(ax) | flags << 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::ARITHMETIC;

    /// AX and the flags CF and AF after the adjustment.
    fn adjust(which: Decimal, ax: u16, flags: u64) -> (u16, u64) {
        let (ax, flags) = which.adjust(ax, flags, 10);
        assert_eq!(flags & !ARITHMETIC, 0);
        (ax, flags & (CF | AF))
    }

    #[test]
    fn digits_are_adjusted() {
        // SDM 2A, DAA: ADD AL,BL; DAA with AL 79h and BL 35h.
        assert_eq!(adjust(Decimal::Daa, 0xae, 0), (0x14, CF | AF));
        assert_eq!(adjust(Decimal::Daa, 0x2e, 0), (0x34, AF));
        // SDM 2A, DAS: SUB AL,BL; DAS with AL 35h and BL 47h.
        assert_eq!(adjust(Decimal::Das, 0xee, CF | AF), (0x88, CF | AF));
        assert_eq!(adjust(Decimal::Das, 0x01, AF), (0xfb, CF | AF));
        assert_eq!(adjust(Decimal::Aaa, 0x000b, 0), (0x0101, CF | AF));
        assert_eq!(adjust(Decimal::Aaa, 0x00f5, 0), (0x0005, 0));
        assert_eq!(adjust(Decimal::Aas, 0x02ff, AF), (0x0109, CF | AF));
        assert_eq!(adjust(Decimal::Aam, 0x0047, 0), (0x0701, 0));
        assert_eq!(adjust(Decimal::Aad, 0x0701, 0), (0x0047, 0));
    }
}
