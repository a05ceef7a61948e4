//! Integer arithmetic that the IR does not express.

use crate::{X86, trap};
use mynah_guest::{Cpu, Fault};

pub(super) extern "C" fn div64(cpu: &mut Cpu<X86>, high: u64, low: u64, divisor: u64) -> u64 {
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

pub(super) extern "C" fn idiv64(cpu: &mut Cpu<X86>, high: u64, low: u64, divisor: u64) -> u64 {
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

pub(super) extern "C" fn rcl(_: &mut Cpu<X86>, value: u64, by: u64, shape: u64) -> u64 {
    let mask = u64::MAX >> (64 - (shape & 0x7f));
    rotate_through_carry(value, by, shape) as u64 & mask
}

pub(super) extern "C" fn rcl_carry(_: &mut Cpu<X86>, value: u64, by: u64, shape: u64) -> u64 {
    (rotate_through_carry(value, by, shape) >> (shape & 0x7f)) as u64
}
