//! Floating point that the IR does not express: the floating-point CSR, operations with a rounding
//! mode of their own, conversions to integers with the manual's limits, and classification.
//!
//! Round-to-nearest, ties away (RMM) differs from ties to even only in the value of a tie: flags
//! are those of ties to even, which the host computes, and the value is `rustc_apfloat`'s.

use crate::guest::RiscV;
use mynah_guest::Cpu;
use mynah_ir::{Ty, fp};
use rustc_apfloat::{Float, FloatConvert, Round, ieee};

/// Bits of `fflags`.
pub mod flag {
    /// Inexact.
    pub const NX: u64 = 1;
    /// Underflow.
    pub const UF: u64 = 2;
    /// Overflow.
    pub const OF: u64 = 4;
    /// Divide by zero.
    pub const DZ: u64 = 8;
    /// Invalid operation.
    pub const NV: u64 = 16;
}

const FLAGS: [(u64, u32); 5] = [
    (flag::NX, fp::env::INEXACT),
    (flag::UF, fp::env::UNDERFLOW),
    (flag::OF, fp::env::OVERFLOW),
    (flag::DZ, fp::env::DIVIDE),
    (flag::NV, fp::env::INVALID),
];

/// Rounding modes as the `rm` and `frm` fields number them.
pub mod rm {
    /// To nearest, ties to even.
    pub const RNE: u8 = 0;
    /// Toward zero.
    pub const RTZ: u8 = 1;
    /// Down.
    pub const RDN: u8 = 2;
    /// Up.
    pub const RUP: u8 = 3;
    /// To nearest, ties away from zero.
    pub const RMM: u8 = 4;
    /// As `frm` says.
    pub const DYN: u8 = 7;
}

const ROUNDING: u32 = 3 << fp::env::ROUNDING_SHIFT;

/// The environment's rounding field for a rounding mode; ties to even stand in for the others.
const fn rounding(rm: u64) -> u32 {
    let mode = match rm as u8 {
        rm::RTZ => fp::Mode::Zero,
        rm::RDN => fp::Mode::Down,
        rm::RUP => fp::Mode::Up,
        _ => fp::Mode::Nearest,
    };
    (mode as u32) << fp::env::ROUNDING_SHIFT
}

/// The value of `fcsr` for an environment word and rounding mode.
pub fn fcsr(word: u32, frm: u64) -> u64 {
    let flags = FLAGS.iter().filter(|f| word & f.1 != 0).map(|f| f.0).sum::<u64>();
    flags | frm << 5
}

/// The environment word and rounding mode for a value of `fcsr`.
pub fn split_fcsr(fcsr: u64) -> (u32, u64) {
    let frm = fcsr >> 5 & 7;
    let flags = FLAGS.iter().filter(|f| fcsr & f.0 != 0).map(|f| f.1).sum::<u32>();
    (flags | fp::env::MASKS | rounding(frm), frm)
}

/// The canonical NaN.
pub const fn canonical_nan(ty: Ty) -> u64 {
    match ty {
        Ty::F32 => 0x7fc0_0000,
        _ => 0x7ff8_0000_0000_0000,
    }
}

/// An operation of `slow`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Slow {
    /// a + b.
    Add,
    /// a − b.
    Sub,
    /// a × b.
    Mul,
    /// a ÷ b.
    Div,
    /// Square root.
    Sqrt,
    /// a × b + c.
    Fma,
    /// A double as a single.
    Demote,
    /// A signed integer as a float.
    FromSigned,
    /// An unsigned integer as a float.
    FromUnsigned,
    /// A float as a signed integer.
    ToSigned,
    /// A float as an unsigned integer.
    ToUnsigned,
}

/// What `slow` is to do, as [`crate::State::request`] holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The operation.
    pub op: Slow,
    /// The float type it works on.
    pub ty: Ty,
    /// The integer type of a conversion.
    pub int: Ty,
    /// The rounding mode.
    pub rm: u8,
}

impl Request {
    const OPS: [Slow; 11] = [
        Slow::Add,
        Slow::Sub,
        Slow::Mul,
        Slow::Div,
        Slow::Sqrt,
        Slow::Fma,
        Slow::Demote,
        Slow::FromSigned,
        Slow::FromUnsigned,
        Slow::ToSigned,
        Slow::ToUnsigned,
    ];

    /// As the slot holds it.
    pub const fn pack(self) -> u64 {
        self.op as u64 | (self.ty as u64) << 8 | (self.int as u64) << 16 | (self.rm as u64) << 24
    }

    /// The inverse of [`Request::pack`].
    pub fn unpack(bits: u64) -> Request {
        let byte = |n: u32| (bits >> (8 * n)) as u8;
        Request {
            op: Request::OPS[usize::from(byte(0)) % Request::OPS.len()],
            ty: Ty::ALL[usize::from(byte(1) % 8)],
            int: Ty::ALL[usize::from(byte(2) % 8)],
            rm: byte(3),
        }
    }
}

/// The helper that does the operation in [`crate::State::request`].
pub(crate) extern "C" fn slow(cpu: &mut Cpu<RiscV>, a: u64, b: u64, c: u64) -> u64 {
    let request = Request::unpack(cpu.state.request);
    let word = fp::leave();
    let rm = if request.rm == rm::DYN { cpu.state.frm } else { request.rm.into() };
    let (result, after) = compute(request, rm as u8, word & !ROUNDING | rounding(rm), [a, b, c]);
    fp::enter(after & !ROUNDING | word & ROUNDING);
    result
}

/// The result and the environment after `request`, done with rounding mode `rm` under `word`.
fn compute(request: Request, rm: u8, word: u32, [a, b, c]: [u64; 3]) -> (u64, u32) {
    let Request { op, ty, int, .. } = request;
    if let Slow::ToSigned | Slow::ToUnsigned = op {
        let (result, flags) = to_int(ty, a, int, op == Slow::ToSigned, rm);
        return (result, word | split_fcsr(flags).0 & fp::env::FLAGS);
    }
    let (result, word) = fp::with_env(word, || match op {
        Slow::Add => fp::add(ty, a, b),
        Slow::Sub => fp::sub(ty, a, b),
        Slow::Mul => fp::mul(ty, a, b),
        Slow::Div => fp::div(ty, a, b),
        Slow::Sqrt => fp::sqrt(ty, a),
        Slow::Fma => fp::fma(ty, a, b, c),
        Slow::Demote => fp::demote(a),
        Slow::FromSigned => fp::from_i64(ty, int.sext(a)),
        Slow::FromUnsigned => fp::from_u64(ty, int.wrap(a)),
        Slow::ToSigned | Slow::ToUnsigned => 0,
    });
    // Invalid also if the addend is a quiet NaN, which SSE's rules leave out.
    let invalid = op == Slow::Fma && infinity_times_zero(ty, a, b);
    let word = if invalid { word | fp::env::INVALID } else { word };
    let result_ty = if op == Slow::Demote { Ty::F32 } else { ty };
    if is_nan(result_ty, result) {
        return (canonical_nan(result_ty), word);
    }
    if rm != self::rm::RMM || op == Slow::Sqrt {
        // A square root is never a tie: a tie's square has more bits than an operand.
        return (result, word);
    }
    let away = match ty {
        _ if op == Slow::Demote => {
            let single: ieee::Single =
                ieee::Double::from_bits(a.into()).convert_r(AWAY, &mut false).value;
            single.to_bits()
        }
        Ty::F32 => away::<ieee::Single>(op, int, a, b, c),
        _ => away::<ieee::Double>(op, int, a, b, c),
    };
    (away as u64, word)
}

const AWAY: Round = Round::NearestTiesToAway;

fn away<F: Float>(op: Slow, int: Ty, a: u64, b: u64, c: u64) -> u128 {
    let float = |bits: u64| F::from_bits(bits.into());
    let result = match op {
        Slow::Add => float(a).add_r(float(b), AWAY),
        Slow::Sub => float(a).sub_r(float(b), AWAY),
        Slow::Mul => float(a).mul_r(float(b), AWAY),
        Slow::Div => float(a).div_r(float(b), AWAY),
        Slow::Fma => float(a).mul_add_r(float(b), float(c), AWAY),
        Slow::FromSigned => F::from_i128_r(int.sext(a).into(), AWAY),
        _ => F::from_u128_r(int.wrap(a).into(), AWAY),
    };
    result.value.to_bits()
}

/// Fraction bits of a float type.
const fn fraction_bits(ty: Ty) -> u32 {
    match ty {
        Ty::F32 => 23,
        _ => 52,
    }
}

fn infinity_times_zero(ty: Ty, a: u64, b: u64) -> bool {
    let infinity = ty.mask() >> 1 & (u64::MAX << fraction_bits(ty));
    let magnitude = |x: u64| x & ty.mask() >> 1;
    let (a, b) = (magnitude(a), magnitude(b));
    (a.min(b), a.max(b)) == (0, infinity)
}

/// Whether the bits are a NaN.
fn is_nan(ty: Ty, bits: u64) -> bool {
    let infinity = Ty::mask(ty) >> 1 & (u64::MAX << fraction_bits(ty));
    bits & ty.mask() >> 1 > infinity
}

/// A float as an integer of type `int`, extended to 64 bits by its sign whether it is signed or
/// not, and the flags: a NaN and what is too large become the greatest, what is too small the
/// least integer.
fn to_int(ty: Ty, bits: u64, int: Ty, signed: bool, rm: u8) -> (u64, u64) {
    let fraction_bits = fraction_bits(ty);
    let negative = bits >> (ty.bits() - 1) & 1 != 0;
    let exponent = (bits & ty.mask() >> 1) >> fraction_bits;
    let fraction = bits & ((1 << fraction_bits) - 1);
    let special = exponent == ty.mask() >> (fraction_bits + 1);

    let greatest = if signed { int.mask() >> 1 } else { int.mask() };
    let least = if signed { !greatest } else { 0 };
    let limit = |up: bool| (int.sext(if up { greatest } else { least }) as u64, flag::NV);
    if special {
        return limit(fraction != 0 || !negative);
    }

    let bias = (1i64 << (ty.bits() - 2 - fraction_bits)) - 1;
    let significand = if exponent == 0 { fraction } else { fraction | 1 << fraction_bits };
    // The value is significand × 2^scale.
    let scale = exponent.max(1) as i64 - bias - i64::from(fraction_bits);
    if scale > 64 {
        return limit(!negative);
    }
    let (whole, inexact) = if scale >= 0 {
        (u128::from(significand) << scale, false)
    } else {
        // Below 2^-2 the distance to a half no longer matters.
        let drop = (-scale).min(i64::from(fraction_bits) + 3) as u32;
        let (whole, rest) = (significand >> drop, significand & ((1 << drop) - 1));
        let half = 1 << (drop - 1);
        let up = match rm {
            self::rm::RTZ => false,
            self::rm::RDN => negative && rest != 0,
            self::rm::RUP => !negative && rest != 0,
            self::rm::RMM => rest >= half,
            _ => rest > half || rest == half && whole & 1 != 0,
        };
        (u128::from(whole) + u128::from(up), rest != 0)
    };
    let greatest_magnitude = if negative { least.wrapping_neg() } else { greatest };
    if whole > u128::from(greatest_magnitude) {
        return limit(!negative);
    }
    let value = if negative { (whole as u64).wrapping_neg() } else { whole as u64 };
    (int.sext(int.wrap(value)) as u64, if inexact { flag::NX } else { 0 })
}

/// The helper of FCLASS: the class, as one of ten bits, of the bits `a`, a double if `b` is 1.
pub(crate) extern "C" fn class(_: &mut Cpu<RiscV>, a: u64, b: u64, _: u64) -> u64 {
    let ty = if b == 1 { Ty::F64 } else { Ty::F32 };
    let fraction_bits = fraction_bits(ty);
    let negative = a >> (ty.bits() - 1) & 1 != 0;
    let exponent = (a & ty.mask() >> 1) >> fraction_bits;
    let fraction = a & ((1 << fraction_bits) - 1);
    let quiet = fraction >> (fraction_bits - 1) != 0;
    let special = exponent == ty.mask() >> (fraction_bits + 1);
    let bit = match (special, exponent, fraction, negative) {
        (true, _, 0, true) => 0,
        (true, _, 0, false) => 7,
        (true, ..) => 8 + u32::from(quiet),
        (_, 0, 0, true) => 3,
        (_, 0, 0, false) => 4,
        (_, 0, _, true) => 2,
        (_, 0, _, false) => 5,
        (.., true) => 1,
        (.., false) => 6,
    };
    1 << bit
}
