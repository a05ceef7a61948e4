//! Packed floating point lane by lane, under the word of [`portable`].

use super::{Predicate, Round, portable};
use crate::{Lane, Ty};

/// `f` of each lane.
fn map(lane: Lane, a: u128, f: impl Fn(Ty, u64) -> u64) -> u128 {
    zip(lane, a, 0, |ty, a, _| f(ty, a))
}

/// `f` of each pair of lanes.
fn zip(lane: Lane, a: u128, b: u128, f: impl Fn(Ty, u64, u64) -> u64) -> u128 {
    zip_indexed(lane, a, b, |_, ty, a, b| f(ty, a, b))
}

/// `f` of the index and the values of each pair of lanes.
fn zip_indexed(lane: Lane, a: u128, b: u128, f: impl Fn(u32, Ty, u64, u64) -> u64) -> u128 {
    let ty = lane.ty();
    (0..lane.count()).rev().fold(0, |sum, i| {
        let at = |v: u128| ty.wrap((v >> (i * ty.bits())) as u64);
        sum << ty.bits() | u128::from(f(i, ty, at(a), at(b)))
    })
}

macro_rules! arithmetic {
    ($($(#[doc = $doc:literal])+ $name:ident;)*) => {$(
        $(#[doc = $doc])+
        pub fn $name(lane: Lane, a: u128, b: u128) -> u128 {
            zip(lane, a, b, portable::$name)
        }
    )*};
}

arithmetic! {
    /// a + b.
    add;
    /// a − b.
    sub;
    /// a × b.
    mul;
    /// a ÷ b.
    div;
    /// a if it is less than b, else b.
    min;
    /// a if it is greater than b, else b.
    max;
}

/// a − b in even lanes, a + b in odd ones.
pub fn addsub(lane: Lane, a: u128, b: u128) -> u128 {
    zip_indexed(lane, a, b, |i, ty, a, b| {
        if i % 2 == 0 { portable::sub(ty, a, b) } else { portable::add(ty, a, b) }
    })
}

/// Square root.
pub fn sqrt(lane: Lane, a: u128) -> u128 {
    map(lane, a, portable::sqrt)
}

/// About 1 ÷ a, for binary32.
pub fn recip(a: u128) -> u128 {
    map(Lane::F32, a, |_, a| approximate(a, |x| 1.0 / x))
}

/// About 1 ÷ √a, for binary32.
pub fn rsqrt(a: u128) -> u128 {
    map(Lane::F32, a, |_, a| approximate(a, |x| 1.0 / x.sqrt()))
}

/// `f` of a binary32 as RCPPS and RSQRTPS treat one: denormals, also of the result, are zero.
fn approximate(a: u64, f: impl Fn(f64) -> f64) -> u64 {
    let flush = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    let x = flush(f32::from_bits(a as u32));
    if x.is_nan() {
        return a | 1 << 22;
    }
    let result = flush(f(x.into()) as f32);
    if result.is_nan() { super::default_nan(Ty::F32) } else { result.to_bits().into() }
}

/// All ones where the predicate holds, else 0.
pub fn compare(lane: Lane, a: u128, b: u128, predicate: Predicate) -> u128 {
    zip(lane, a, b, |ty, a, b| {
        let order = portable::compare(ty, a, b, predicate.nan());
        if predicate.holds(order) { ty.mask() } else { 0 }
    })
}

/// Rounded to integral values.
pub fn round(lane: Lane, a: u128, rounding: Round) -> u128 {
    map(lane, a, |ty, a| portable::round(ty, a, rounding))
}

/// Signed 32-bit lanes (the low two for binary64) as floats.
pub fn from_i32(lane: Lane, a: u128) -> u128 {
    let a = if lane == Lane::F32 { a } else { a & 0xffff_ffff | (a & 0xffff_ffff << 32) << 32 };
    map(lane, a, |ty, a| portable::from_i32(ty, a as i32))
}

/// Floats as signed 32-bit lanes (zeros above for binary64); the least integer if one does not fit.
pub fn to_i32(lane: Lane, a: u128, rounding: Round) -> u128 {
    let x = map(lane, a, |ty, a| portable::to_int(ty, a, Ty::I32, rounding));
    if lane == Lane::F32 { x } else { low_words(x) }
}

/// The low two binary32 as binary64.
pub fn promote(a: u128) -> u128 {
    let a = a & 0xffff_ffff | (a & 0xffff_ffff << 32) << 32;
    map(Lane::F64, a, |_, a| portable::promote(a))
}

/// The two binary64 as binary32, zeros above.
pub fn demote(a: u128) -> u128 {
    low_words(map(Lane::F64, a, |_, a| portable::demote(a)))
}

/// The low 32 bits of each half, side by side.
fn low_words(x: u128) -> u128 {
    x & 0xffff_ffff | (x >> 32) & 0xffff_ffff << 32
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::{self as fp, packed_x86_64 as host};
    use super::*;

    /// Vectors of ordinary and odd numbers in mixed company.
    fn vectors() -> Vec<u128> {
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let odd = [0, 1, 0x7f80_0000, 0x7fc0_0001, 0x7f80_0001, 0x3f80_0000, 0x4f00_0000];
        let odd64 =
            [0, 1, 0x7ff << 52, 0x7ff8 << 48 | 1, 0x7ff << 52 | 1, 0x41e0 << 48, 0x3ff << 52];
        let mut vectors = Vec::new();
        for i in 0..120 {
            let mut words = [next() as u32, next() as u32, next() as u32, next() as u32];
            if i % 3 != 0 {
                let place = next() as usize % 4;
                words[place] = odd[next() as usize % odd.len()] | (next() as u32) << 31;
                words[(place + 1) % 4] = 0x3f80_0000 | next() as u32 >> 7;
            }
            let mut vector = words.into_iter().fold(0u128, |v, w| v << 32 | u128::from(w));
            if i % 5 == 4 {
                let place = 64 * (next() % 2);
                let number = odd64[next() as usize % odd64.len()] | next() << 63;
                vector = vector & !(u128::from(u64::MAX) << place) | u128::from(number) << place;
            }
            vectors.push(vector);
        }
        vectors
    }

    fn same(what: &str, args: &[u128], ours: impl Fn() -> u128, hosts: impl Fn() -> u128) {
        for mode in 0..16 {
            let word = fp::DEFAULT | (mode & 7) << 13 | (mode >> 3) << 6;
            let expected = fp::with_env(word, &hosts);
            let found = portable::with_word(word, &ours);
            assert_eq!(found, expected, "{what} {args:x?} under {word:x}");
        }
    }

    #[test]
    fn lanes_are_the_hosts() {
        let vectors = vectors();
        type Binary = fn(Lane, u128, u128) -> u128;
        let binaries: [(&str, Binary, Binary); 7] = [
            ("add", add, host::add),
            ("sub", sub, host::sub),
            ("mul", mul, host::mul),
            ("div", div, host::div),
            ("min", min, host::min),
            ("max", max, host::max),
            ("addsub", addsub, host::addsub),
        ];
        for lane in [Lane::F32, Lane::F64] {
            for &a in &vectors {
                same("sqrt", &[a], || sqrt(lane, a), || host::sqrt(lane, a));
                same("from_i32", &[a], || from_i32(lane, a), || host::from_i32(lane, a));
                for imm in [0, 1, 2, 3, 4, 8, 9, 10, 11, 12] {
                    let r = Round::unpack(imm);
                    same("round", &[a], || round(lane, a, r), || host::round(lane, a, r));
                }
                for r in [Round::CURRENT, Round::ZERO] {
                    same("to_i32", &[a], || to_i32(lane, a, r), || host::to_i32(lane, a, r));
                }
                for &b in vectors.iter().step_by(3) {
                    for (name, ours, hosts) in binaries {
                        same(name, &[a, b], || ours(lane, a, b), || hosts(lane, a, b));
                    }
                    for predicate in 0..8 {
                        let p = Predicate::unpack(predicate);
                        let ours = || compare(lane, a, b, p);
                        same("compare", &[a, b], ours, || host::compare(lane, a, b, p));
                    }
                }
            }
        }
        for &a in &vectors {
            same("promote", &[a], || promote(a), || host::promote(a));
            same("demote", &[a], || demote(a), || host::demote(a));
        }
    }

    #[test]
    fn approximations_are_near_the_hosts() {
        let near = |ours: u128, hosts: u128| {
            (0..4).all(|i| {
                let at = |v: u128| f32::from_bits((v >> (32 * i)) as u32);
                let (x, y) = (at(ours), at(hosts));
                x.is_nan() && y.is_nan() || x == y || ((x - y) / y).abs() < 3.0 / 4096.0
            })
        };
        for a in vectors() {
            assert!(near(recip(a), host::recip(a)), "{a:x}");
            assert!(near(rsqrt(a), host::rsqrt(a)), "{a:x}");
        }
    }
}
