//! Floating point in software, bit for bit as the SSE unit does it, flags included.
//!
//! For hosts whose unit does not speak the environment word, and for what an x86-64 host lacks. The
//! word in force is a thread-local; exceptions count as masked whatever its masks say. Every
//! operation computes an exact significand of up to 128 bits, the lowest of them sticky, and hands
//! it to `finish`, the only place that rounds.

use super::{Mode, Nan, Round, default_nan, env};
use crate::Ty;
use std::cell::Cell;
use std::cmp::Ordering;

thread_local! {
    static WORD: Cell<u32> = const { Cell::new(super::DEFAULT) };
}

/// Puts the environment `word` in force on this thread.
pub fn enter(word: u32) {
    WORD.set(word & 0xffff | env::MASKS);
}

/// The environment as it stands now; the thread returns to the default one.
pub fn leave() -> u32 {
    WORD.replace(super::DEFAULT)
}

/// Runs `f`, whose operations are this module's, under `word`; yields the word afterwards.
pub fn with_word<R>(word: u32, f: impl FnOnce() -> R) -> (R, u32) {
    let before = WORD.replace(word);
    let result = f();
    (result, WORD.replace(before))
}

fn raise(flags: u32) {
    WORD.set(WORD.get() | flags);
}

fn has(bit: u32) -> bool {
    WORD.get() & bit != 0
}

fn current_mode() -> Mode {
    match WORD.get() >> env::ROUNDING_SHIFT & 3 {
        0 => Mode::Nearest,
        1 => Mode::Down,
        2 => Mode::Up,
        _ => Mode::Zero,
    }
}

/// Significand bits, the hidden one included.
const fn precision(ty: Ty) -> u32 {
    match ty {
        Ty::F32 => 24,
        _ => 53,
    }
}

/// The exponent of the greatest finite numbers.
const fn max_exponent(ty: Ty) -> i32 {
    match ty {
        Ty::F32 => 127,
        _ => 1023,
    }
}

/// The exponent of the least normal number.
const fn min_exponent(ty: Ty) -> i32 {
    1 - max_exponent(ty)
}

const fn sign_bit(ty: Ty) -> u64 {
    1 << (ty.bits() - 1)
}

const fn infinity(ty: Ty) -> u64 {
    sign_bit(ty) - (1 << (precision(ty) - 1))
}

const fn quiet_bit(ty: Ty) -> u64 {
    1 << (precision(ty) - 2)
}

const fn is_nan(ty: Ty, a: u64) -> bool {
    a & !sign_bit(ty) > infinity(ty)
}

const fn is_signalling(ty: Ty, a: u64) -> bool {
    is_nan(ty, a) && a & quiet_bit(ty) == 0
}

const fn is_denormal(ty: Ty, a: u64) -> bool {
    let magnitude = a & !sign_bit(ty);
    magnitude != 0 && magnitude >> (precision(ty) - 1) == 0
}

fn signed(ty: Ty, negative: bool, magnitude: u64) -> u64 {
    if negative { magnitude | sign_bit(ty) } else { magnitude }
}

/// A number taken apart: ± significand × 2^exponent, bit 63 of the significand set if finite.
#[derive(Clone, Copy)]
struct Parts {
    negative: bool,
    kind: Kind,
    exponent: i32,
    significand: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zero,
    Finite,
    Infinite,
}

/// Takes a number that is no NaN apart.
fn parts(ty: Ty, a: u64) -> Parts {
    let negative = a & sign_bit(ty) != 0;
    let magnitude = a & !sign_bit(ty);
    let fraction_bits = precision(ty) - 1;
    let biased = (magnitude >> fraction_bits) as i32;
    let fraction = magnitude & ((1 << fraction_bits) - 1);
    let significand = if biased == 0 { fraction } else { fraction | 1 << fraction_bits };
    let kind = match magnitude {
        0 => Kind::Zero,
        m if m == infinity(ty) => Kind::Infinite,
        _ => Kind::Finite,
    };
    let shift = significand.leading_zeros() % 64;
    let exponent = biased.max(1) - max_exponent(ty) - fraction_bits as i32 - shift as i32;
    Parts { negative, kind, exponent, significand: significand << shift }
}

/// Operands as the unit sees them: denormals are zero where the environment says so.
fn operands<const N: usize>(ty: Ty, values: [u64; N]) -> [u64; N] {
    if !has(env::DENORMALS_ARE_ZERO) {
        return values;
    }
    values.map(|a| if is_denormal(ty, a) { a & sign_bit(ty) } else { a })
}

fn raise_denormal(ty: Ty, values: &[u64]) {
    if values.iter().any(|&a| is_denormal(ty, a)) {
        raise(env::DENORMAL);
    }
}

/// The first NaN, made quiet; invalid if any of them signals.
fn nan_of(ty: Ty, values: &[u64]) -> Option<u64> {
    if values.iter().any(|&a| is_signalling(ty, a)) {
        raise(env::INVALID);
    }
    values.iter().find(|&&a| is_nan(ty, a)).map(|a| a | quiet_bit(ty))
}

fn invalid(ty: Ty) -> u64 {
    raise(env::INVALID);
    default_nan(ty)
}

/// `significand` without its low `drop` bits, rounded; and whether they were not all zero.
fn shift_rounded(significand: u128, drop: u32, mode: Mode, negative: bool) -> (u128, bool) {
    let (kept, rest, half) = match drop {
        0 => return (significand, false),
        1..128 => (significand >> drop, significand & ((1 << drop) - 1), 1 << (drop - 1)),
        128 => (0, significand, 1 << 127),
        _ => (0, u128::from(significand != 0), 2),
    };
    let up = match mode {
        Mode::Nearest => rest > half || rest == half && kept & 1 != 0,
        Mode::Down => negative && rest != 0,
        Mode::Up => !negative && rest != 0,
        _ => false,
    };
    (kept + u128::from(up), rest != 0)
}

/// ± `significand` × 2^`exponent`, not zero, rounded to `ty` as the environment says.
fn finish(ty: Ty, negative: bool, significand: u128, exponent: i32) -> u64 {
    let mode = current_mode();
    let shift = significand.leading_zeros();
    let significand = significand << shift;
    let unrounded = exponent - shift as i32 + 127;
    let mut exponent = unrounded;
    let drop = 128 - precision(ty);
    let (mut rounded, inexact) = shift_rounded(significand, drop, mode, negative);
    if rounded >> precision(ty) != 0 {
        rounded >>= 1;
        exponent += 1;
    }
    if exponent < min_exponent(ty) {
        return tiny(ty, negative, significand, unrounded);
    }
    if exponent > max_exponent(ty) {
        raise(env::OVERFLOW | env::INEXACT);
        let away = match mode {
            Mode::Down => negative,
            Mode::Up => !negative,
            Mode::Zero => false,
            _ => true,
        };
        return signed(ty, negative, infinity(ty) - u64::from(!away));
    }
    if inexact {
        raise(env::INEXACT);
    }
    let biased = (exponent + max_exponent(ty)) as u64;
    let fraction = rounded as u64 & ((1 << (precision(ty) - 1)) - 1);
    signed(ty, negative, biased << (precision(ty) - 1) | fraction)
}

/// The result where rounding with an unbounded exponent gives less than the least normal number:
/// ± `significand` (bit 127 set), whose first bit stands for 2^`exponent`.
fn tiny(ty: Ty, negative: bool, significand: u128, exponent: i32) -> u64 {
    if has(env::FLUSH_TO_ZERO) {
        raise(env::UNDERFLOW | env::INEXACT);
        return signed(ty, negative, 0);
    }
    let drop = 128 - precision(ty) + (min_exponent(ty) - exponent) as u32;
    let (rounded, inexact) = shift_rounded(significand, drop, current_mode(), negative);
    if inexact {
        raise(env::UNDERFLOW | env::INEXACT);
    }
    // Rounded up to the least normal number, it carries into the exponent's field.
    signed(ty, negative, rounded as u64)
}

/// `value` shifted right; the lost bits leave a sticky one.
fn shift_sticky(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..128 => value >> by | u128::from(value << (128 - by) != 0),
        _ => u128::from(value != 0),
    }
}

/// An exact finite value on its way to `finish`: ± significand × 2^exponent.
#[derive(Clone, Copy)]
struct Exact {
    negative: bool,
    significand: u128,
    exponent: i32,
}

/// a + b. The first bits of the significands are bit 126 or below; at least the low 20 bits of the
/// one with the greater exponent are zero.
fn sum(ty: Ty, a: Exact, b: Exact) -> u64 {
    let (large, small) = if a.exponent >= b.exponent { (a, b) } else { (b, a) };
    let distance = (large.exponent - small.exponent) as u32;
    let shifted = shift_sticky(small.significand, distance);
    let (negative, significand) = if large.negative == small.negative {
        (large.negative, large.significand + shifted)
    } else if large.significand >= shifted {
        (large.negative, large.significand - shifted)
    } else {
        (small.negative, shifted - large.significand)
    };
    if significand == 0 {
        return zero_sum(ty, a.negative, b.negative);
    }
    finish(ty, negative, significand, large.exponent)
}

/// The zero that is the sum of numbers with these signs.
fn zero_sum(ty: Ty, a_negative: bool, b_negative: bool) -> u64 {
    let negative = if a_negative == b_negative { a_negative } else { current_mode() == Mode::Down };
    signed(ty, negative, 0)
}

/// a + b.
pub fn add(ty: Ty, a: u64, b: u64) -> u64 {
    let [a, b] = operands(ty, [a, b]);
    if let Some(nan) = nan_of(ty, &[a, b]) {
        return nan;
    }
    add_numbers(ty, a, b)
}

/// a − b.
pub fn sub(ty: Ty, a: u64, b: u64) -> u64 {
    let [a, b] = operands(ty, [a, b]);
    if let Some(nan) = nan_of(ty, &[a, b]) {
        return nan;
    }
    add_numbers(ty, a, b ^ sign_bit(ty))
}

fn add_numbers(ty: Ty, a: u64, b: u64) -> u64 {
    let (x, y) = (parts(ty, a), parts(ty, b));
    let opposite = x.negative != y.negative;
    if x.kind == Kind::Infinite && y.kind == Kind::Infinite && opposite {
        return invalid(ty);
    }
    raise_denormal(ty, &[a, b]);
    match (x.kind, y.kind) {
        (Kind::Infinite, _) => a,
        (_, Kind::Infinite) => b,
        (Kind::Zero, Kind::Zero) => zero_sum(ty, x.negative, y.negative),
        _ => sum(ty, exact(x), exact(y)),
    }
}

/// A number as a term of a sum.
fn exact(x: Parts) -> Exact {
    let Parts { negative, exponent, significand, .. } = x;
    // A zero's exponent is below all others', so that it never pushes the other term down.
    let exponent = if x.kind == Kind::Zero { i32::MIN / 2 } else { exponent - 62 };
    Exact { negative, significand: u128::from(significand) << 62, exponent }
}

/// a × b.
pub fn mul(ty: Ty, a: u64, b: u64) -> u64 {
    let [a, b] = operands(ty, [a, b]);
    if let Some(nan) = nan_of(ty, &[a, b]) {
        return nan;
    }
    let (x, y) = (parts(ty, a), parts(ty, b));
    let negative = x.negative != y.negative;
    match (x.kind, y.kind) {
        (Kind::Infinite, Kind::Zero) | (Kind::Zero, Kind::Infinite) => return invalid(ty),
        _ => raise_denormal(ty, &[a, b]),
    }
    match (x.kind, y.kind) {
        (Kind::Infinite, _) | (_, Kind::Infinite) => signed(ty, negative, infinity(ty)),
        (Kind::Zero, _) | (_, Kind::Zero) => signed(ty, negative, 0),
        _ => {
            let product = u128::from(x.significand) * u128::from(y.significand);
            finish(ty, negative, product, x.exponent + y.exponent)
        }
    }
}

/// a ÷ b.
pub fn div(ty: Ty, a: u64, b: u64) -> u64 {
    let [a, b] = operands(ty, [a, b]);
    if let Some(nan) = nan_of(ty, &[a, b]) {
        return nan;
    }
    let (x, y) = (parts(ty, a), parts(ty, b));
    let negative = x.negative != y.negative;
    match (x.kind, y.kind) {
        (Kind::Infinite, Kind::Infinite) | (Kind::Zero, Kind::Zero) => return invalid(ty),
        (Kind::Finite, Kind::Zero) => {
            raise(env::DIVIDE);
            return signed(ty, negative, infinity(ty));
        }
        _ => raise_denormal(ty, &[a, b]),
    }
    match (x.kind, y.kind) {
        (Kind::Infinite, _) => signed(ty, negative, infinity(ty)),
        (_, Kind::Infinite) | (Kind::Zero, _) => signed(ty, negative, 0),
        _ => {
            let dividend = u128::from(x.significand) << 64;
            let divisor = u128::from(y.significand);
            let quotient = (dividend / divisor) << 1 | u128::from(dividend % divisor != 0);
            finish(ty, negative, quotient, x.exponent - y.exponent - 65)
        }
    }
}

/// Square root.
pub fn sqrt(ty: Ty, a: u64) -> u64 {
    let [a] = operands(ty, [a]);
    if let Some(nan) = nan_of(ty, &[a]) {
        return nan;
    }
    let x = parts(ty, a);
    if x.kind == Kind::Zero {
        return a;
    }
    if x.negative {
        return invalid(ty);
    }
    raise_denormal(ty, &[a]);
    if x.kind == Kind::Infinite {
        return a;
    }
    // 126 or 127 bits with an even exponent: the root has 63 or 64.
    let up = 62 + (x.exponent & 1) as u32;
    let radicand = u128::from(x.significand) << up;
    let root = radicand.isqrt();
    let sticky = u128::from(root * root != radicand);
    finish(ty, false, root << 1 | sticky, (x.exponent - up as i32) / 2 - 1)
}

/// a × b + c with one rounding.
pub fn fma(ty: Ty, a: u64, b: u64, c: u64) -> u64 {
    let [a, b, c] = operands(ty, [a, b, c]);
    if let Some(nan) = nan_of(ty, &[a, b, c]) {
        return nan;
    }
    let (x, y, z) = (parts(ty, a), parts(ty, b), parts(ty, c));
    let negative = x.negative != y.negative;
    let infinite = x.kind == Kind::Infinite || y.kind == Kind::Infinite;
    let zero = x.kind == Kind::Zero || y.kind == Kind::Zero;
    if infinite && (zero || z.kind == Kind::Infinite && z.negative != negative) {
        return invalid(ty);
    }
    raise_denormal(ty, &[a, b, c]);
    if infinite {
        return signed(ty, negative, infinity(ty));
    }
    match (zero, z.kind) {
        (_, Kind::Infinite) => c,
        (true, Kind::Zero) => zero_sum(ty, negative, z.negative),
        (true, _) => sum(ty, exact(z), Exact { negative, significand: 0, exponent: i32::MIN / 2 }),
        (false, _) => {
            let product = u128::from(x.significand) * u128::from(y.significand);
            let exponent = x.exponent + y.exponent;
            // The product has at most 106 significant bits, so the shift loses none.
            let product = Exact { negative, significand: product >> 2, exponent: exponent + 2 };
            sum(ty, product, exact(z))
        }
    }
}

fn ordered(ty: Ty, a: u64, b: u64) -> Ordering {
    // Sign and magnitude as two's complement; both zeros are 0.
    let key = |a: u64| {
        let magnitude = (a & !sign_bit(ty)) as i64;
        if a & sign_bit(ty) != 0 { -magnitude } else { magnitude }
    };
    key(a).cmp(&key(b))
}

/// How a stands to b; `None` if either is a NaN.
pub fn compare(ty: Ty, a: u64, b: u64, nan: Nan) -> Option<Ordering> {
    let [a, b] = operands(ty, [a, b]);
    if nan_of(ty, &[a, b]).is_some() {
        if nan == Nan::Invalid {
            raise(env::INVALID);
        }
        return None;
    }
    raise_denormal(ty, &[a, b]);
    Some(ordered(ty, a, b))
}

/// a if it is less than b, else b; invalid if either is a NaN.
pub fn min(ty: Ty, a: u64, b: u64) -> u64 {
    choose(ty, a, b, Ordering::Less)
}

/// a if it is greater than b, else b; invalid if either is a NaN.
pub fn max(ty: Ty, a: u64, b: u64) -> u64 {
    choose(ty, a, b, Ordering::Greater)
}

fn choose(ty: Ty, a: u64, b: u64, wanted: Ordering) -> u64 {
    let order = compare(ty, a, b, Nan::Invalid);
    let [a, b] = operands(ty, [a, b]);
    if order == Some(wanted) { a } else { b }
}

/// A binary32 as binary64.
pub fn promote(a: u64) -> u64 {
    let [a] = operands(Ty::F32, [a]);
    convert(Ty::F32, Ty::F64, a)
}

/// A binary64 as binary32.
pub fn demote(a: u64) -> u64 {
    let [a] = operands(Ty::F64, [a]);
    convert(Ty::F64, Ty::F32, a)
}

fn convert(from: Ty, to: Ty, a: u64) -> u64 {
    let negative = a & sign_bit(from) != 0;
    if let Some(nan) = nan_of(from, &[a]) {
        // The first bits of the fraction are kept.
        let fraction = (nan & (infinity(from) ^ !sign_bit(from))) << (64 - precision(from) + 1);
        let kept = fraction >> (64 - precision(to) + 1);
        return signed(to, negative, infinity(to) | kept);
    }
    raise_denormal(from, &[a]);
    let x = parts(from, a);
    match x.kind {
        Kind::Zero => signed(to, negative, 0),
        Kind::Infinite => signed(to, negative, infinity(to)),
        Kind::Finite => finish(to, negative, x.significand.into(), x.exponent),
    }
}

/// The signed a as a float.
pub fn from_i32(ty: Ty, a: i32) -> u64 {
    from_i64(ty, a.into())
}

/// The signed a as a float.
pub fn from_i64(ty: Ty, a: i64) -> u64 {
    if a == 0 { 0 } else { finish(ty, a < 0, a.unsigned_abs().into(), 0) }
}

/// The unsigned a as a float.
pub fn from_u64(ty: Ty, a: u64) -> u64 {
    if a == 0 { 0 } else { finish(ty, false, a.into(), 0) }
}

/// A finite number's magnitude rounded to an integer, and whether that changed it. Numbers of 2^64
/// and more, which are integers, yield `None`.
fn integral(x: Parts, mode: Mode) -> Option<(u128, bool)> {
    match x.kind {
        Kind::Zero => Some((0, false)),
        Kind::Infinite => None,
        Kind::Finite if x.exponent > 0 => None,
        Kind::Finite => {
            let drop = x.exponent.unsigned_abs();
            // Half of a 64-bit significand is seen only if it is not shifted out altogether.
            let significand = u128::from(x.significand) << 64;
            Some(shift_rounded(significand, drop.saturating_add(64), mode, x.negative))
        }
    }
}

fn resolve(mode: Mode) -> Mode {
    if mode == Mode::Current { current_mode() } else { mode }
}

/// a, of float type `from`, as a signed integer of type `to`; the least integer and invalid if it
/// is a NaN or does not fit.
pub fn to_int(from: Ty, a: u64, to: Ty, rounding: Round) -> u64 {
    let [a] = operands(from, [a]);
    let least = 1u64 << (to.bits() - 1);
    let x = parts(from, a);
    let found = if is_nan(from, a) { None } else { integral(x, resolve(rounding.mode)) };
    let limit = u128::from(least) - u128::from(!x.negative);
    match found {
        Some((magnitude, changed)) if magnitude <= limit => {
            if changed && !rounding.quiet {
                raise(env::INEXACT);
            }
            let magnitude = magnitude as u64;
            to.wrap(if x.negative { magnitude.wrapping_neg() } else { magnitude })
        }
        _ => {
            raise(env::INVALID);
            least
        }
    }
}

/// a rounded to an integral value.
pub fn round(ty: Ty, a: u64, rounding: Round) -> u64 {
    let [a] = operands(ty, [a]);
    if let Some(nan) = nan_of(ty, &[a]) {
        return nan;
    }
    let x = parts(ty, a);
    let Some((magnitude, changed)) = integral(x, resolve(rounding.mode)) else {
        return a;
    };
    if changed && !rounding.quiet {
        raise(env::INEXACT);
    }
    match magnitude {
        0 => signed(ty, x.negative, 0),
        // Exact: it has no more bits than a's significand.
        _ => finish(ty, x.negative, magnitude, 0),
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::{DEFAULT, x86_64 as host};
    use super::*;

    /// Numbers at which something changes, and random ones.
    fn values(ty: Ty) -> Vec<u64> {
        let p = precision(ty) - 1;
        let one = (max_exponent(ty) as u64) << p;
        let mut values = vec![0, 1, 2, 3, (1 << p) - 1, 1 << p, (1 << p) + 1];
        for magnitude in [infinity(ty), one, infinity(ty) | quiet_bit(ty), 2 << p] {
            values.extend([magnitude - 1, magnitude, magnitude + 1, magnitude + 2]);
        }
        for exponent in [1, 2, 22, 23, 24, 29, 30, 31, 32, 51, 52, 53, 61, 62, 63, 64] {
            let power = one.saturating_add(exponent << p).min(infinity(ty));
            values.extend([power - 1, power, power + 1, power | 1 << (p - 1)]);
            values.push(one - (exponent << p));
            values.push((exponent << p) | 3);
        }
        values.extend([one | 1 << (p - 1), one - (1 << p), one - (1 << p) + 1, one - (2 << p) + 5]);
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        for i in 0..40 {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let random = ty.wrap(seed >> 7 ^ seed << 31);
            // Some near one another, so that sums cancel.
            values.push(if i % 2 == 0 { random } else { random % (4 << p) + one });
        }
        values.extend(values.clone().into_iter().map(|v| v ^ sign_bit(ty)));
        values
    }

    fn words() -> impl Iterator<Item = u32> {
        (0..16).map(|i| {
            let flush = if i & 8 != 0 { env::FLUSH_TO_ZERO } else { 0 };
            let zero = if i & 4 != 0 { env::DENORMALS_ARE_ZERO } else { 0 };
            DEFAULT | flush | zero | (i & 3) << env::ROUNDING_SHIFT
        })
    }

    fn same<R: PartialEq + std::fmt::Debug>(
        what: &str,
        args: &[u64],
        ours: impl Fn() -> R,
        hosts: impl Fn() -> R,
    ) {
        for word in words() {
            host::enter(word);
            let expected = (hosts(), host::leave());
            let found = with_word(word, &ours);
            assert_eq!(found, expected, "{what} {args:x?} under {word:x}");
        }
    }

    fn same_unary(what: &str, ours: fn(Ty, u64) -> u64, hosts: fn(Ty, u64) -> u64) {
        for ty in [Ty::F32, Ty::F64] {
            for a in values(ty) {
                same(&format!("{what} {ty:?}"), &[a], || ours(ty, a), || hosts(ty, a));
            }
        }
    }

    fn same_binary(what: &str, ours: fn(Ty, u64, u64) -> u64, hosts: fn(Ty, u64, u64) -> u64) {
        for ty in [Ty::F32, Ty::F64] {
            for a in values(ty) {
                for b in values(ty) {
                    let name = format!("{what} {ty:?}");
                    same(&name, &[a, b], || ours(ty, a, b), || hosts(ty, a, b));
                }
            }
        }
    }

    #[test]
    fn sums_are_the_hosts() {
        same_binary("add", add, host::add);
        same_binary("sub", sub, host::sub);
    }

    #[test]
    fn products_and_quotients_are_the_hosts() {
        same_binary("mul", mul, host::mul);
        same_binary("div", div, host::div);
    }

    #[test]
    fn minima_are_the_hosts() {
        same_binary("min", min, host::min);
        same_binary("max", max, host::max);
    }

    #[test]
    fn roots_are_the_hosts() {
        same_unary("sqrt", sqrt, host::sqrt);
    }

    #[test]
    fn comparisons_are_the_hosts() {
        for nan in [Nan::Quiet, Nan::Invalid] {
            for ty in [Ty::F32, Ty::F64] {
                for a in values(ty) {
                    for b in values(ty) {
                        let ours = || compare(ty, a, b, nan);
                        same("compare", &[a, b], ours, || host::compare(ty, a, b, nan));
                    }
                }
            }
        }
    }

    #[test]
    fn conversions_are_the_hosts() {
        for a in values(Ty::F32) {
            same("promote", &[a], || promote(a), || host::promote(a));
        }
        for a in values(Ty::F64) {
            same("demote", &[a], || demote(a), || host::demote(a));
            let a = a.rotate_left(9);
            for ty in [Ty::F32, Ty::F64] {
                same("from_i32", &[a], || from_i32(ty, a as i32), || host::from_i32(ty, a as i32));
                same("from_i64", &[a], || from_i64(ty, a as i64), || host::from_i64(ty, a as i64));
                same("from_u64", &[a], || from_u64(ty, a), || host::from_u64(ty, a));
            }
        }
    }

    #[test]
    fn roundings_are_the_hosts() {
        for ty in [Ty::F32, Ty::F64] {
            for a in values(ty) {
                for imm in [0, 1, 2, 3, 4, 8, 9, 10, 11, 12] {
                    let r = Round::unpack(imm);
                    same("round", &[a, imm], || round(ty, a, r), || host::round(ty, a, r));
                    if matches!(r.mode, Mode::Current | Mode::Zero) && !r.quiet {
                        for to in [Ty::I32, Ty::I64] {
                            let ours = || to_int(ty, a, to, r);
                            same("to_int", &[a, imm], ours, || host::to_int(ty, a, to, r));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn fused_products_are_the_hosts() {
        if !std::arch::is_x86_feature_detected!("fma") {
            return;
        }
        for ty in [Ty::F32, Ty::F64] {
            let values = values(ty);
            for (i, &a) in values.iter().enumerate() {
                for &b in values.iter().skip(i % 5).step_by(5) {
                    for &c in values.iter().skip(i % 7).step_by(7) {
                        same("fma", &[a, b, c], || fma(ty, a, b, c), || host::fma(ty, a, b, c));
                    }
                }
            }
        }
    }
}
