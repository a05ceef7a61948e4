//! x87 operations in software, bit for bit as the unit does them.
//!
//! For hosts without an x87 unit. The transcendental functions are not here ([`supports`]): their
//! last bit is a matter of each processor's tables.
//!
//! A finite number is worked on as an exact significand of 128 bits, the highest one set and the
//! lowest one sticky; [`Unit::finish`] is the only place that rounds.

use super::{Done, Op};
use crate::fpu::{INDEFINITE, status};
use std::cmp::Ordering;

const INEXACT: u16 = 1 << 5;
/// The integer bit of a register's significand.
const INTEGER: u64 = 1 << 63;
/// The bit that makes a NaN quiet.
const QUIET: u64 = 1 << 62;
/// Exponents of the least and greatest normal numbers.
const LEAST: i32 = -16382;
const GREATEST: i32 = 16383;
/// By what an unmasked overflow or underflow moves the exponent.
const BIAS_ADJUST: i32 = 24576;

/// Whether [`run`] knows `op`.
pub(crate) fn supports(op: Op) -> bool {
    use Op::*;
    !matches!(op, Exp2 | Sin | Cos | Log | LogPlus1 | Atan | Tan | SinCos)
}

/// Carries out `op` under the control word `control`.
///
/// # Panics
/// If [`supports`] does not have it.
pub(crate) fn run(op: Op, control: u16, st0: u128, st1: u128, memory: u128) -> Done {
    let mut unit = Unit { control, status: 0 };
    let mut done = Done { st0, st1, memory: 0, status: 0 };
    unit.operate(op, &mut done, memory);
    const BEFORE: u16 = status::INVALID | status::DENORMAL | status::DIVIDE;
    if unit.status & BEFORE & !control != 0 {
        // Unmasked, so that there is no result to tell of.
        unit.status &= BEFORE;
    }
    done.status = unit.status;
    done
}

/// A number as it stands in a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Number {
    Zero,
    /// significand ÷ 2¹²⁷ × 2^exponent.
    Finite {
        exponent: i32,
        significand: u128,
    },
    Infinite,
    Nan,
    /// An encoding that is no number.
    Unsupported,
}

#[derive(Clone, Copy, Debug)]
struct Value {
    sign: bool,
    number: Number,
    denormal: bool,
    /// The significand's bits.
    bits: u64,
}

use Number::{Finite, Infinite, Nan, Unsupported, Zero};

fn unpack(bits: u128) -> Value {
    let significand = bits as u64;
    let exponent = (bits >> 64) as i32 & 0x7fff;
    let sign = bits >> 79 & 1 != 0;
    let denormal = exponent == 0 && significand != 0;
    let number = match exponent {
        0 if significand == 0 => Zero,
        0 => {
            let shift = significand.leading_zeros();
            let exponent = LEAST - shift as i32;
            Finite { exponent, significand: u128::from(significand << shift) << 64 }
        }
        _ if significand & INTEGER == 0 => Unsupported,
        0x7fff if significand == INTEGER => Infinite,
        0x7fff => Nan,
        _ => Finite { exponent: exponent - 16383, significand: u128::from(significand) << 64 },
    };
    Value { sign, number, denormal, bits: significand }
}

impl Value {
    fn is_signalling(self) -> bool {
        self.number == Nan && self.bits & QUIET == 0
    }

    fn is_nan(self) -> bool {
        self.number == Nan
    }

    fn negated(self) -> Value {
        Value { sign: !self.sign, ..self }
    }
}

fn pack(sign: bool, exponent: u128, significand: u64) -> u128 {
    u128::from(sign) << 79 | exponent << 64 | u128::from(significand)
}

fn zero(sign: bool) -> u128 {
    pack(sign, 0, 0)
}

fn infinity(sign: bool) -> u128 {
    pack(sign, 0x7fff, INTEGER)
}

/// A NaN, made quiet.
fn quieted(v: Value) -> u128 {
    pack(v.sign, 0x7fff, v.bits | QUIET)
}

/// A finite number that is exact in a register.
fn exact(sign: bool, exponent: i32, significand: u128) -> u128 {
    pack(sign, (exponent + 16383) as u128, (significand >> 64) as u64)
}

/// `a`, whose bits are given, as a result; a denormal number whose integer bit is set has an
/// exponent of its own.
fn plain(a: Value, bits: u128) -> u128 {
    match a.number {
        Finite { exponent, significand } if exponent >= LEAST => {
            exact(a.sign, exponent, significand)
        }
        _ => bits,
    }
}

fn from_integer(value: i64) -> u128 {
    if value == 0 {
        return 0;
    }
    let magnitude = value.unsigned_abs();
    let shift = magnitude.leading_zeros();
    exact(value < 0, 63 - shift as i32, u128::from(magnitude << shift) << 64)
}

/// `x` shifted right; what is lost stays as a sticky lowest bit.
fn shift_right(x: u128, by: u32) -> u128 {
    match by {
        0 => x,
        1..=127 => x >> by | u128::from(x << (128 - by) != 0),
        _ => u128::from(x != 0),
    }
}

/// The format that a result is rounded to.
#[derive(Clone, Copy)]
struct Format {
    precision: u32,
    least: i32,
    greatest: i32,
}

const EXTENDED: Format = Format { precision: 64, least: LEAST, greatest: GREATEST };
const SINGLE: Format = Format { precision: 24, least: -126, greatest: 127 };
const DOUBLE: Format = Format { precision: 53, least: -1022, greatest: 1023 };

/// What rounding to a format came to.
enum Rounded {
    Zero,
    /// Exponent and significand; a significand without its highest bit is a denormal number's.
    Finite(i32, u128),
    Infinite,
}

/// One operation's control and status.
struct Unit {
    control: u16,
    status: u16,
}

impl Unit {
    fn raise(&mut self, flags: u16) {
        self.status |= flags;
    }

    fn masks(&self, flag: u16) -> bool {
        self.control & flag != 0
    }

    fn invalid(&mut self) -> u128 {
        self.raise(status::INVALID);
        INDEFINITE
    }

    /// The format that the precision control asks arithmetic for.
    fn format(&self) -> Format {
        let precision = match self.control >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        };
        Format { precision, ..EXTENDED }
    }

    /// Whether a magnitude with this sign is rounded up, given its last bit and the rest behind it
    /// in units of half the last bit: 0 nothing, 1 less than half, 2 half, 3 more.
    fn rounds_up(&self, sign: bool, last: bool, rest: u8) -> bool {
        match self.control >> 10 & 3 {
            0 => rest == 3 || rest == 2 && last,
            1 => rest != 0 && sign,
            2 => rest != 0 && !sign,
            _ => false,
        }
    }

    /// `significand` with all but its highest `keep` bits rounded away; whether it was inexact and
    /// whether it was rounded up, which may carry out (significand 0 then stands for 2¹²⁸).
    fn round(&self, sign: bool, significand: u128, keep: u32) -> (u128, bool, bool) {
        let unit = 1u128 << (128 - keep);
        let rest = significand & (unit - 1);
        let kept = significand - rest;
        let half = unit >> 1;
        let rest = match rest.cmp(&half) {
            _ if rest == 0 => 0,
            Ordering::Less => 1,
            Ordering::Equal => 2,
            Ordering::Greater => 3,
        };
        let up = self.rounds_up(sign, kept & unit != 0, rest);
        (if up { kept.wrapping_add(unit) } else { kept }, rest != 0, up)
    }

    /// Rounds a finite number to `format` and raises what that comes to. After an unmasked overflow
    /// or underflow the result has another exponent if it `adjusts`, and else no meaning.
    fn fit(
        &mut self,
        sign: bool,
        mut exponent: i32,
        significand: u128,
        format: Format,
        adjusts: bool,
    ) -> Rounded {
        let (mut rounded, mut inexact, mut up) = self.round(sign, significand, format.precision);
        let mut normal = exponent;
        if rounded == 0 {
            (rounded, normal) = (1 << 127, exponent + 1);
        }
        if normal < format.least && self.masks(status::UNDERFLOW) {
            // Tiny after rounding, as the unit sees it: rounded anew at the least exponent.
            let by = (format.least - exponent) as u32;
            (rounded, inexact, up) =
                self.round(sign, shift_right(significand, by.min(128)), format.precision);
            if inexact {
                self.raise(status::UNDERFLOW | INEXACT);
            }
            if up {
                self.raise(status::C1);
            }
            return if rounded == 0 {
                Rounded::Zero
            } else {
                Rounded::Finite(format.least, rounded)
            };
        }
        exponent = normal;
        if exponent < format.least {
            self.raise(status::UNDERFLOW);
            if !adjusts {
                return Rounded::Zero;
            }
            exponent += BIAS_ADJUST;
            if exponent < format.least {
                self.raise(INEXACT);
                return Rounded::Zero;
            }
        } else if exponent > format.greatest {
            self.raise(status::OVERFLOW);
            if self.masks(status::OVERFLOW) {
                self.raise(INEXACT);
                // Up to infinity, or down to the greatest number.
                let infinite = match self.control >> 10 & 3 {
                    0 => true,
                    1 => sign,
                    2 => !sign,
                    _ => false,
                };
                if infinite {
                    self.raise(status::C1);
                    return Rounded::Infinite;
                }
                let greatest = u128::MAX << (128 - format.precision);
                return Rounded::Finite(format.greatest, greatest);
            }
            if !adjusts {
                return Rounded::Infinite;
            }
            exponent -= BIAS_ADJUST;
            if exponent > format.greatest {
                self.raise(INEXACT | status::C1);
                return Rounded::Infinite;
            }
        }
        if inexact {
            self.raise(INEXACT);
        }
        if up {
            self.raise(status::C1);
        }
        Rounded::Finite(exponent, rounded)
    }

    /// A finite result in a register.
    fn finish(&mut self, sign: bool, exponent: i32, significand: u128, format: Format) -> u128 {
        match self.fit(sign, exponent, significand, format, true) {
            Rounded::Zero => zero(sign),
            Rounded::Infinite => infinity(sign),
            Rounded::Finite(_, significand) if significand >> 127 == 0 => {
                pack(sign, 0, (significand >> 64) as u64)
            }
            Rounded::Finite(exponent, significand) => exact(sign, exponent, significand),
        }
    }

    /// The result of an operation on NaNs or what is no number; `None` if neither operand is one.
    fn nan(&mut self, a: Value, b: Value) -> Option<u128> {
        if a.number == Unsupported || b.number == Unsupported {
            return Some(self.invalid());
        }
        if a.is_signalling() || b.is_signalling() {
            self.raise(status::INVALID);
        }
        Some(match (a.is_nan(), b.is_nan()) {
            (false, false) => return None,
            (true, false) => quieted(a),
            (false, true) => quieted(b),
            // Of a quiet and a signalling one the quiet one.
            _ if a.is_signalling() != b.is_signalling() => {
                quieted(if a.is_signalling() { b } else { a })
            }
            // Else the larger significand, or the positive one.
            _ => match a.bits.cmp(&b.bits) {
                Ordering::Greater => quieted(a),
                Ordering::Less => quieted(b),
                Ordering::Equal => quieted(if a.sign { b } else { a }),
            },
        })
    }

    /// The NaN that `a` alone leads to.
    fn nan_of(&mut self, a: Value) -> Option<u128> {
        self.nan(a, Value { number: Zero, ..a })
    }

    fn note_denormals(&mut self, values: &[Value]) {
        if values.iter().any(|v| v.denormal) {
            self.raise(status::DENORMAL);
        }
    }

    // ── operations ───────────────────────────────────────────────────────────────────────────

    fn operate(&mut self, op: Op, done: &mut Done, memory: u128) {
        use Op::*;
        let a = unpack(done.st0);
        let operand = |unit: &mut Unit| unit.operand(op, done.st1, memory);
        match op {
            Add | AddF32 | AddF64 | AddI16 | AddI32 => {
                let b = operand(self);
                done.st0 = self.nan(a, b).unwrap_or_else(|| self.sum(a, b));
            }
            Sub | SubF32 | SubF64 | SubI16 | SubI32 => {
                let b = operand(self);
                done.st0 = self.nan(a, b).unwrap_or_else(|| self.sum(a, b.negated()));
            }
            Subr | SubrF32 | SubrF64 | SubrI16 | SubrI32 => {
                let b = operand(self);
                done.st0 = self.nan(a, b).unwrap_or_else(|| self.sum(b, a.negated()));
            }
            Mul | MulF32 | MulF64 | MulI16 | MulI32 => {
                let b = operand(self);
                done.st0 = self.multiply(a, b);
            }
            Div | DivF32 | DivF64 | DivI16 | DivI32 => {
                let b = operand(self);
                done.st0 = self.divide(a, b);
            }
            Divr | DivrF32 | DivrF64 | DivrI16 | DivrI32 => {
                let b = operand(self);
                done.st0 = self.divide(b, a);
            }
            Com | ComF32 | ComF64 | ComI16 | ComI32 | Ucom | Tst => {
                let b = operand(self);
                self.compare(a, b, op == Ucom);
            }
            LoadF32 | LoadF64 => done.st0 = self.load(op, memory),
            LoadI16 => done.st0 = from_integer((memory as i16).into()),
            LoadI32 => done.st0 = from_integer((memory as i32).into()),
            LoadI64 => done.st0 = from_integer(memory as i64),
            LoadBcd => done.st0 = load_bcd(memory),
            One => done.st0 = from_integer(1),
            Zero => done.st0 = 0,
            Log2Of10 => done.st0 = self.constant(1, 0xd49a_784b_cd1b_8afe_492b_f6ff_4daf_db4c),
            Log2OfE => done.st0 = self.constant(0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88),
            Pi => done.st0 = self.constant(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1),
            Log10Of2 => done.st0 = self.constant(-2, 0x9a20_9a84_fbcf_f798_8f89_59ac_0b7c_9178),
            LnOf2 => done.st0 = self.constant(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af),
            StoreF32 => done.memory = self.store(a, SINGLE).into(),
            StoreF64 => done.memory = self.store(a, DOUBLE).into(),
            StoreI16 => done.memory = self.store_integer(a, 16, None).into(),
            StoreI32 => done.memory = self.store_integer(a, 32, None).into(),
            StoreI64 => done.memory = self.store_integer(a, 64, None).into(),
            TruncI16 => done.memory = self.store_integer(a, 16, Some(3)).into(),
            TruncI32 => done.memory = self.store_integer(a, 32, Some(3)).into(),
            TruncI64 => done.memory = self.store_integer(a, 64, Some(3)).into(),
            StoreBcd => done.memory = self.store_bcd(a),
            Sqrt => done.st0 = self.square_root(a),
            Round => done.st0 = self.round_to_integral(a, done.st0),
            Scale => done.st0 = self.scale(a, unpack(done.st1), done.st0),
            Prem => done.st0 = self.remainder(a, unpack(done.st1), done.st0, false),
            Prem1 => done.st0 = self.remainder(a, unpack(done.st1), done.st0, true),
            Extract => self.extract(a, done),
            Exp2 | Sin | Cos | Log | LogPlus1 | Atan | Tan | SinCos => {
                panic!("{op:?} is not supported on this host")
            }
        }
    }

    /// The second operand of arithmetic and comparisons.
    fn operand(&mut self, op: Op, st1: u128, memory: u128) -> Value {
        use Op::*;
        match op {
            AddF32 | SubF32 | SubrF32 | MulF32 | DivF32 | DivrF32 | ComF32 => {
                widen(memory as u32 as u64, SINGLE)
            }
            AddF64 | SubF64 | SubrF64 | MulF64 | DivF64 | DivrF64 | ComF64 => {
                widen(memory as u64, DOUBLE)
            }
            AddI16 | SubI16 | SubrI16 | MulI16 | DivI16 | DivrI16 | ComI16 => {
                unpack(from_integer((memory as i16).into()))
            }
            AddI32 | SubI32 | SubrI32 | MulI32 | DivI32 | DivrI32 | ComI32 => {
                unpack(from_integer((memory as i32).into()))
            }
            Tst => unpack(0),
            _ => unpack(st1),
        }
    }

    /// a + b, neither a NaN nor no number.
    fn sum(&mut self, a: Value, b: Value) -> u128 {
        if a.number == Infinite && b.number == Infinite && a.sign != b.sign {
            return self.invalid();
        }
        self.note_denormals(&[a, b]);
        let down = self.control >> 10 & 3 == 1;
        match (a.number, b.number) {
            (Infinite, _) => infinity(a.sign),
            (_, Infinite) => infinity(b.sign),
            (Zero, Zero) => zero(if a.sign == b.sign { a.sign } else { down }),
            (Zero, Finite { exponent, significand }) => {
                self.finish(b.sign, exponent, significand, self.format())
            }
            (Finite { exponent, significand }, Zero) => {
                self.finish(a.sign, exponent, significand, self.format())
            }
            (
                Finite { exponent: ea, significand: sa },
                Finite { exponent: eb, significand: sb },
            ) => {
                let top = ea.max(eb) + 1;
                let x = shift_right(sa >> 1, (top - 1 - ea).unsigned_abs().min(128));
                let y = shift_right(sb >> 1, (top - 1 - eb).unsigned_abs().min(128));
                let (sign, sum) = match (a.sign == b.sign, x.cmp(&y)) {
                    (true, _) => (a.sign, x + y),
                    (_, Ordering::Equal) => return zero(down),
                    (_, Ordering::Greater) => (a.sign, x - y),
                    (_, Ordering::Less) => (b.sign, y - x),
                };
                let shift = sum.leading_zeros();
                self.finish(sign, top - shift as i32, sum << shift, self.format())
            }
            _ => unreachable!("NaNs and non-numbers are dealt with"),
        }
    }

    fn multiply(&mut self, a: Value, b: Value) -> u128 {
        if let Some(nan) = self.nan(a, b) {
            return nan;
        }
        if matches!((a.number, b.number), (Zero, Infinite) | (Infinite, Zero)) {
            return self.invalid();
        }
        self.note_denormals(&[a, b]);
        let sign = a.sign != b.sign;
        match (a.number, b.number) {
            (Infinite, _) | (_, Infinite) => infinity(sign),
            (
                Finite { exponent: ea, significand: sa },
                Finite { exponent: eb, significand: sb },
            ) => {
                let product = (sa >> 64) * (sb >> 64);
                let shift = product.leading_zeros();
                self.finish(sign, ea + eb + 1 - shift as i32, product << shift, self.format())
            }
            _ => zero(sign),
        }
    }

    fn divide(&mut self, a: Value, b: Value) -> u128 {
        if let Some(nan) = self.nan(a, b) {
            return nan;
        }
        if matches!((a.number, b.number), (Zero, Zero) | (Infinite, Infinite)) {
            return self.invalid();
        }
        // A division by zero comes before a denormal operand.
        if b.number != Zero {
            self.note_denormals(&[a, b]);
        }
        let sign = a.sign != b.sign;
        match (a.number, b.number) {
            (Infinite, _) => infinity(sign),
            (_, Zero) => {
                self.raise(status::DIVIDE);
                infinity(sign)
            }
            (
                Finite { exponent: ea, significand: sa },
                Finite { exponent: eb, significand: sb },
            ) => {
                // Half of a, so that the first digit of 64 bits fits.
                let (dividend, divisor) = (sa >> 1, sb >> 64);
                let (high, rest) = (dividend / divisor, dividend % divisor);
                let (low, rest) = ((rest << 64) / divisor, (rest << 64) % divisor);
                let quotient = high << 64 | low;
                let shift = quotient.leading_zeros();
                let quotient = quotient << shift | u128::from(rest != 0);
                self.finish(sign, ea - eb - shift as i32, quotient, self.format())
            }
            _ => zero(sign),
        }
    }

    fn square_root(&mut self, a: Value) -> u128 {
        if let Some(nan) = self.nan_of(a) {
            return nan;
        }
        match a.number {
            Zero => zero(a.sign),
            _ if a.sign => self.invalid(),
            Finite { exponent, significand } => {
                self.note_denormals(&[a]);
                // Digit by digit: pairs of bits of the radicand, which lies in 1…4.
                let odd = exponent.rem_euclid(2) as u32;
                let mut radicand = significand >> (1 - odd);
                let (mut root, mut rest) = (0u128, 0u128);
                let digits = 70;
                for _ in 0..digits {
                    rest = rest << 2 | radicand >> 126;
                    radicand <<= 2;
                    let trial = root << 2 | 1;
                    root <<= 1;
                    if rest >= trial {
                        rest -= trial;
                        root |= 1;
                    }
                }
                let root = root << (128 - digits) | u128::from(rest != 0);
                self.finish(false, exponent.div_euclid(2), root, self.format())
            }
            _ => infinity(false),
        }
    }

    fn compare(&mut self, a: Value, b: Value, quiet: bool) {
        use status::{C0, C3, C023};
        let unsupported = a.number == Unsupported || b.number == Unsupported;
        if unsupported || a.is_nan() || b.is_nan() {
            if unsupported || !quiet || a.is_signalling() || b.is_signalling() {
                self.raise(status::INVALID);
            }
            return self.raise(C023);
        }
        self.note_denormals(&[a, b]);
        match order(a, b) {
            Ordering::Less => self.raise(C0),
            Ordering::Equal => self.raise(C3),
            Ordering::Greater => {}
        }
    }

    // ── loads and stores ─────────────────────────────────────────────────────────────────────

    fn load(&mut self, op: Op, memory: u128) -> u128 {
        let v = match op {
            Op::LoadF32 => widen(memory as u32 as u64, SINGLE),
            _ => widen(memory as u64, DOUBLE),
        };
        if let Some(nan) = self.nan_of(v) {
            return nan;
        }
        self.note_denormals(&[v]);
        match v.number {
            Finite { exponent, significand } => exact(v.sign, exponent, significand),
            Infinite => infinity(v.sign),
            _ => zero(v.sign),
        }
    }

    /// A constant, rounded as the control word says; no flag tells.
    fn constant(&mut self, exponent: i32, significand: u128) -> u128 {
        exact(false, exponent, self.round(false, significand, 64).0)
    }

    /// The bits of `a` as a binary32 or binary64.
    fn store(&mut self, a: Value, format: Format) -> u64 {
        let fraction = format.precision - 1;
        let top = u64::from((2 * format.greatest + 1).unsigned_abs());
        let sign_bit = 1 << (fraction + if fraction == 23 { 8 } else { 11 });
        let sign = if a.sign { sign_bit } else { 0 };
        match a.number {
            Zero => sign,
            Infinite => sign | top << fraction,
            Unsupported => {
                self.raise(status::INVALID);
                sign_bit | top << fraction | 1 << (fraction - 1)
            }
            Nan => {
                if a.is_signalling() {
                    self.raise(status::INVALID);
                }
                sign | top << fraction | (a.bits | QUIET) << 1 >> (64 - fraction)
            }
            Finite { exponent, significand } => {
                match self.fit(a.sign, exponent, significand, format, false) {
                    Rounded::Zero => sign,
                    Rounded::Infinite => sign | top << fraction,
                    Rounded::Finite(exponent, significand) => {
                        let bits = (significand >> (128 - format.precision)) as u64;
                        let biased = match bits >> fraction {
                            0 => 0,
                            _ => (exponent + format.greatest) as u64,
                        };
                        sign | biased << fraction | bits & ((1 << fraction) - 1)
                    }
                }
            }
        }
    }

    /// The magnitude of `a` rounded to an integer below 2⁶⁴; `None` if it is larger or no number.
    fn integer(&mut self, a: Value, mode: Option<u16>) -> Option<(u64, bool, bool)> {
        let control = self.control;
        if let Some(mode) = mode {
            self.control = control & !(3 << 10) | mode << 10;
        }
        let found = match a.number {
            Zero => Some((0, false, false)),
            Finite { exponent, significand } if exponent < 64 => {
                let by = (63 - exponent).min(128) as u32;
                let (rounded, inexact, up) = self.round(a.sign, shift_right(significand, by), 64);
                let carried = rounded == 0 && up;
                (!carried).then_some(((rounded >> 64) as u64, inexact, up))
            }
            _ => None,
        };
        self.control = control;
        found
    }

    fn store_integer(&mut self, a: Value, bits: u32, mode: Option<u16>) -> u64 {
        let limit = 1u64 << (bits - 1);
        match self.integer(a, mode) {
            Some((magnitude, inexact, up)) if magnitude < limit || a.sign && magnitude == limit => {
                self.note_rounding(inexact, up);
                let value = if a.sign { magnitude.wrapping_neg() } else { magnitude };
                value & u64::MAX >> (64 - bits)
            }
            _ => {
                self.raise(status::INVALID);
                limit
            }
        }
    }

    fn note_rounding(&mut self, inexact: bool, up: bool) {
        if inexact {
            self.raise(INEXACT);
        }
        if up {
            self.raise(status::C1);
        }
    }

    fn store_bcd(&mut self, a: Value) -> u128 {
        match self.integer(a, None) {
            Some((mut magnitude, inexact, up)) if magnitude < 1_000_000_000_000_000_000 => {
                self.note_rounding(inexact, up);
                let mut packed = u128::from(a.sign) << 79;
                for digit in 0..18 {
                    packed |= u128::from(magnitude % 10) << (4 * digit);
                    magnitude /= 10;
                }
                packed
            }
            _ => self.invalid(),
        }
    }

    // ── the rest ─────────────────────────────────────────────────────────────────────────────

    fn round_to_integral(&mut self, a: Value, bits: u128) -> u128 {
        if let Some(nan) = self.nan_of(a) {
            return nan;
        }
        self.note_denormals(&[a]);
        match self.integer(a, None) {
            _ if matches!(a.number, Finite { exponent, .. } if exponent >= 63) => bits,
            Some((magnitude, inexact, up)) => {
                self.note_rounding(inexact, up);
                if magnitude == 0 {
                    return zero(a.sign);
                }
                let shift = magnitude.leading_zeros();
                exact(a.sign, 63 - shift as i32, u128::from(magnitude << shift) << 64)
            }
            None => bits,
        }
    }

    fn scale(&mut self, a: Value, b: Value, bits: u128) -> u128 {
        if let Some(nan) = self.nan(a, b) {
            return nan;
        }
        match (a.number, b.number) {
            (Zero, Infinite) if !b.sign => return self.invalid(),
            (Infinite, Infinite) if b.sign => return self.invalid(),
            _ => {}
        }
        self.note_denormals(&[a, b]);
        match (a.number, b.number) {
            (Infinite | Zero, _) | (_, Zero) => plain(a, bits),
            (_, Infinite) if b.sign => zero(a.sign),
            (_, Infinite) => infinity(a.sign),
            (Finite { exponent, significand }, _) => {
                let by = match self.integer(b, Some(3)) {
                    Some((magnitude, ..)) => magnitude.min(1 << 17) as i32,
                    None => 1 << 17,
                };
                let exponent = if b.sign { exponent - by } else { exponent + by };
                self.finish(a.sign, exponent, significand, EXTENDED)
            }
            _ => unreachable!("NaNs and non-numbers are dealt with"),
        }
    }

    /// The remainder of a ÷ b, its quotient rounded to nearest or toward zero.
    fn remainder(&mut self, a: Value, b: Value, bits: u128, nearest: bool) -> u128 {
        use status::{C0, C1, C2, C3};
        if let Some(nan) = self.nan(a, b) {
            return nan;
        }
        if a.number == Infinite || b.number == Zero {
            return self.invalid();
        }
        self.note_denormals(&[a, b]);
        let (Finite { exponent: ea, significand: sa }, Finite { exponent: eb, significand: sb }) =
            (a.number, b.number)
        else {
            return plain(a, bits);
        };
        let distance = ea - eb;
        if distance < if nearest { -1 } else { 0 } {
            return self.finish(a.sign, ea, sa, EXTENDED);
        }
        let divisor = sb >> 64;
        let (mut rest, mut quotient) = (sa >> 64, 0u64);
        let partial = distance >= 64;
        // A reduction that leaves some for later takes a number of bits that is the processor's.
        let steps = if partial { 32 + distance % 32 } else { distance };
        let mut sign = a.sign;
        if distance >= 0 {
            for step in 0..=steps {
                if step > 0 {
                    rest <<= 1;
                }
                quotient <<= 1;
                if rest >= divisor {
                    rest -= divisor;
                    quotient |= 1;
                }
            }
        }
        let mut exponent = if distance >= 0 { ea - steps } else { ea };
        if nearest && !partial {
            let (double, whole) =
                if distance >= 0 { (rest << 1, divisor) } else { (rest, divisor) };
            if double > whole || double == whole && quotient & 1 != 0 {
                rest = if distance >= 0 { divisor - rest } else { (divisor << 1) - rest };
                sign = !sign;
                quotient = quotient.wrapping_add(1);
            }
        }
        if partial {
            self.raise(C2);
        } else {
            for (bit, code) in [(2, C0), (1, C3), (0, C1)] {
                if quotient >> bit & 1 != 0 {
                    self.raise(code);
                }
            }
        }
        if rest == 0 {
            return zero(a.sign);
        }
        let shift = rest.leading_zeros() as i32 - 64;
        exponent -= shift;
        let keep_codes = self.status & (C0 | C1 | C2 | C3);
        let result = self.finish(sign, exponent, rest << (64 + shift), EXTENDED);
        self.status = self.status & !C1 | keep_codes & C1;
        result
    }

    fn extract(&mut self, a: Value, done: &mut Done) {
        if let Some(nan) = self.nan_of(a) {
            (done.st0, done.st1) = (nan, nan);
            return;
        }
        match a.number {
            Infinite => (done.st0, done.st1) = (infinity(a.sign), infinity(false)),
            Finite { exponent, significand } => {
                self.note_denormals(&[a]);
                done.st0 = exact(a.sign, 0, significand);
                done.st1 = from_integer(exponent.into());
            }
            _ => {
                self.raise(status::DIVIDE);
                (done.st0, done.st1) = (zero(a.sign), infinity(true));
            }
        }
    }
}

/// A binary32 or binary64.
fn widen(bits: u64, format: Format) -> Value {
    let fraction = format.precision - 1;
    let width = if fraction == 23 { 8 } else { 11 };
    let sign = bits >> (fraction + width) & 1 != 0;
    let field = (bits >> fraction) as i32 & ((1 << width) - 1);
    let low = (bits & ((1 << fraction) - 1)) << (63 - fraction);
    let finite = |exponent, significand: u64| Finite {
        exponent,
        significand: u128::from(significand) << 64,
    };
    let special = field == (1 << width) - 1;
    let denormal = field == 0 && low != 0;
    let number = match (field, low) {
        (0, 0) => Zero,
        (0, _) => {
            let shift = low.leading_zeros();
            finite(format.least - shift as i32, low << shift)
        }
        _ if special => {
            if low == 0 {
                Infinite
            } else {
                Nan
            }
        }
        _ => finite(field - format.greatest, low | INTEGER),
    };
    Value { sign, number, denormal, bits: low | INTEGER }
}

fn load_bcd(memory: u128) -> u128 {
    let digits = (0..18).rev().map(|i| (memory >> (4 * i)) as i64 & 15);
    let magnitude = digits.fold(0i64, |sum, digit| sum.wrapping_mul(10).wrapping_add(digit));
    let sign = memory >> 79 & 1;
    from_integer(magnitude) & !(1 << 79) | sign << 79
}

/// How numbers that are ordered stand to each other.
fn order(a: Value, b: Value) -> Ordering {
    let magnitude = |v: Value| match v.number {
        Zero => (i32::MIN, 0),
        Finite { exponent, significand } => (exponent, significand),
        _ => (i32::MAX, 0),
    };
    let by_magnitude = magnitude(a).cmp(&magnitude(b));
    match (a.sign, b.sign) {
        _ if a.number == Zero && b.number == Zero => Ordering::Equal,
        (false, false) => by_magnitude,
        (true, true) => by_magnitude.reverse(),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::{Op, x86_64};
    use super::{status, supports};

    /// Splitmix64.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn register(state: &mut u64) -> u128 {
        let sign = random(state) & 0x8000;
        let exponent = match random(state) % 8 {
            0 => 0,
            1 => 0x7fff,
            2 => 1 + random(state) % 70,
            3 => 0x7ffe - random(state) % 70,
            4 => random(state) & 0x7fff,
            _ => 0x3fff - 40 + random(state) % 110,
        };
        let significand = match random(state) % 6 {
            0 => 0,
            1 => 1 << 63,
            2 => u64::MAX << (random(state) % 64),
            3 => random(state) >> (random(state) % 64),
            4 => 1 << 63 | random(state) << 40,
            _ => 1 << 63 | random(state),
        };
        u128::from(sign | exponent) << 64 | u128::from(significand)
    }

    fn memory(op: Op, state: &mut u64) -> u128 {
        if op == Op::LoadBcd {
            let digits = (0..18).map(|i| u128::from(random(state) % 10) << (4 * i));
            return digits.sum::<u128>() | u128::from(random(state) & 1) << 79;
        }
        let float = |field: u64, fraction: u32, state: &mut u64| {
            let exponent = match random(state) % 4 {
                0 => 0,
                1 => field,
                2 => field / 2,
                _ => random(state) & field,
            };
            let low = random(state) << (random(state) % 64) & ((1 << fraction) - 1);
            let sign = (random(state) & 1) * (field + 1);
            (sign | exponent) << fraction | low
        };
        let bits = match random(state) % 3 {
            0 => random(state),
            1 => float(0xff, 23, state),
            _ => float(0x7ff, 52, state),
        };
        bits.into()
    }

    #[test]
    fn software_does_what_the_unit_does() {
        let mut state = 1;
        for round in 0..200_000 {
            let op = Op::ALL[(random(&mut state) % Op::ALL.len() as u64) as usize];
            if !supports(op) {
                continue;
            }
            let (st0, st1) = (register(&mut state), register(&mut state));
            let memory = memory(op, &mut state);
            let masks = if round % 4 == 0 { random(&mut state) as u16 & 0x3f } else { 0x3f };
            let control = 0x40 | masks | random(&mut state) as u16 & 0xf00;
            let stores = matches!(
                op,
                Op::StoreF32
                    | Op::StoreF64
                    | Op::StoreI16
                    | Op::StoreI32
                    | Op::StoreI64
                    | Op::TruncI16
                    | Op::TruncI32
                    | Op::TruncI64
                    | Op::StoreBcd
            );
            let memory = if stores { 0 } else { memory };
            let host = x86_64::run(op, control, st0, st1, memory);
            let ours = super::run(op, control, st0, st1, memory);
            let compares = format!("{op:?}").contains("Com") || op == Op::Tst;
            let mut bits = status::EXCEPTIONS | status::C1;
            // Without a quotient its bits have no meaning.
            let quotient = host.st0 >> 64 & 0x7fff != 0x7fff;
            let stops = host.status & !control & (status::EXCEPTIONS & 7) != 0;
            if !stops && (compares || matches!(op, Op::Prem | Op::Prem1) && quotient) {
                bits |= status::C023;
            }
            // An unmasked exception may keep the unit from storing a result.
            let unmasked = host.status & !control & status::EXCEPTIONS;
            let stopping = status::INVALID | status::DENORMAL | status::DIVIDE;
            let same = if unmasked & stopping != 0 || stores && unmasked != 0 {
                true
            } else if stores {
                host.memory == ours.memory
            } else {
                compares || host.st0 == ours.st0
            };
            let same = same && (op != Op::Extract || unmasked != 0 || host.st1 == ours.st1);
            assert!(
                same && host.status & bits == ours.status & bits,
                "{round}: {op:?} {control:#x} {st0:#x} {st1:#x} {memory:#x}\n{host:x?}\n{ours:x?}"
            );
        }
    }
}
