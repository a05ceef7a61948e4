//! Evaluators of the vector operations, as lanes in plain Rust.

use crate::{Args, Lane};

/// A way to divide 128 bits: an array of lanes, lane 0 the least significant.
trait Shape: Copy {
    type Lane: Copy;
    fn split(bits: u128) -> Self;
    fn join(self) -> u128;
    fn zip(self, other: Self, f: impl Fn(Self::Lane, Self::Lane) -> Self::Lane) -> Self;
}

macro_rules! shapes {
    ($($ty:ident $count:literal;)*) => {$(
        impl Shape for [$ty; $count] {
            type Lane = $ty;

            #[inline(always)]
            fn split(bits: u128) -> Self {
                const BYTES: usize = 16 / $count;
                let bytes = bits.to_le_bytes();
                std::array::from_fn(|i| {
                    $ty::from_le_bytes(std::array::from_fn(|j| bytes[BYTES * i + j]))
                })
            }

            #[inline(always)]
            fn join(self) -> u128 {
                const BYTES: usize = 16 / $count;
                let mut bytes = [0; 16];
                for (to, lane) in bytes.chunks_exact_mut(BYTES).zip(self) {
                    to.copy_from_slice(&lane.to_le_bytes());
                }
                u128::from_le_bytes(bytes)
            }

            #[inline(always)]
            fn zip(self, other: Self, f: impl Fn($ty, $ty) -> $ty) -> Self {
                std::array::from_fn(|i| f(self[i], other[i]))
            }
        }
    )*};
}

shapes! {
    u8 16; u16 8; u32 4; u64 2;
    i8 16; i16 8; i32 4; i64 2;
}

#[inline(always)]
fn zip<S: Shape>(a: u128, b: u128, f: impl Fn(S::Lane, S::Lane) -> S::Lane) -> u128 {
    S::split(a).zip(S::split(b), f).join()
}

#[inline(always)]
fn map<S: Shape>(a: u128, f: impl Fn(S::Lane) -> S::Lane) -> u128 {
    let a = S::split(a);
    a.zip(a, |x, _| f(x)).join()
}

/// An expression in the lane type `L` and its shape `S` that the immediate of `x` names.
macro_rules! by_lane {
    (unsigned $x:ident, $e:expr) => {
        by_lane!($x, $e, u8, u16, u32, u64)
    };
    (signed $x:ident, $e:expr) => {
        by_lane!($x, $e, i8, i16, i32, i64)
    };
    ($x:ident, $e:expr, $byte:ty, $word:ty, $dword:ty, $qword:ty) => {
        match Lane::unpack($x.imm) {
            Lane::I8 => by_lane!($e, $byte, 16),
            Lane::I16 => by_lane!($e, $word, 8),
            Lane::I32 | Lane::F32 => by_lane!($e, $dword, 4),
            Lane::I64 | Lane::F64 => by_lane!($e, $qword, 2),
        }
    };
    ($e:expr, $lane:ty, $count:literal) => {{
        #[allow(dead_code, reason = "not every expression names it")]
        type L = $lane;
        type S = [$lane; $count];
        $e
    }};
}

macro_rules! lane_wise {
    ($($name:ident $sign:ident |$a:ident $(, $b:ident)?| $e:expr;)*) => {$(
        #[inline]
        pub(crate) fn $name(x: Args<u128>) -> u128 {
            by_lane!($sign x, lane_wise!(x, |$a $(, $b)?| $e))
        }
    )*};
    ($x:ident, |$a:ident, $b:ident| $e:expr) => { zip::<S>($x.a, $x.b, |$a, $b| $e) };
    ($x:ident, |$a:ident| $e:expr) => { map::<S>($x.a, |$a| $e) };
}

lane_wise! {
    add unsigned |a, b| a.wrapping_add(b);
    sub unsigned |a, b| a.wrapping_sub(b);
    add_signed signed |a, b| a.saturating_add(b);
    add_unsigned unsigned |a, b| a.saturating_add(b);
    sub_signed signed |a, b| a.saturating_sub(b);
    sub_unsigned unsigned |a, b| a.saturating_sub(b);
    mul unsigned |a, b| a.wrapping_mul(b);
    mul_high_signed signed |a, b| ((a as i64).wrapping_mul(b as i64) >> L::BITS.min(32)) as L;
    mul_high_unsigned unsigned |a, b| ((a as u64).wrapping_mul(b as u64) >> L::BITS.min(32)) as L;
    average unsigned |a, b| (a | b) - ((a ^ b) >> 1);
    min_signed signed |a, b| a.min(b);
    min_unsigned unsigned |a, b| a.min(b);
    max_signed signed |a, b| a.max(b);
    max_unsigned unsigned |a, b| a.max(b);
    abs signed |a| a.wrapping_abs();
    equal signed |a, b| if a == b { -1 } else { 0 };
    greater_signed signed |a, b| if a > b { -1 } else { 0 };
}

macro_rules! shifts {
    ($($name:ident $sign:ident |$a:ident, $by:ident| $e:expr;)*) => {$(
        #[inline]
        pub(crate) fn $name(x: Args<u128>) -> u128 {
            let by = u32::try_from(x.b).unwrap_or(u32::MAX);
            by_lane!($sign x, {
                let $by = by;
                map::<S>(x.a, |$a| $e)
            })
        }
    )*};
}

shifts! {
    shift_left unsigned |a, by| a.checked_shl(by).unwrap_or(0);
    shift_right unsigned |a, by| a.checked_shr(by).unwrap_or(0);
    shift_right_signed signed |a, by| a >> by.min(L::BITS - 1);
}

/// The 128 bits with `low` and `high` halves.
#[inline(always)]
pub(crate) fn pair(low: u128, high: u128) -> u128 {
    low | high << 64
}

pub(crate) fn splat(x: Args<u128>) -> u128 {
    by_lane!(unsigned x, map::<S>(0, |_| x.a as L))
}

/// The parameter of an immediate.
#[inline(always)]
fn param(x: Args<u128>) -> u64 {
    x.imm >> 8
}

/// Bit position of the lane that the parameter names.
#[inline(always)]
fn position(x: Args<u128>) -> u32 {
    (param(x) as u32).wrapping_mul(x.ty.bits()) % 128
}

#[inline]
pub(crate) fn extract(x: Args<u128>) -> u128 {
    u128::from(x.ty.wrap((x.a >> position(x)) as u64))
}

#[inline]
pub(crate) fn insert(x: Args<u128>) -> u128 {
    let mask = u128::from(x.ty.mask()) << position(x);
    x.a & !mask | x.b << position(x) & mask
}

#[inline]
pub(crate) fn blend(x: Args<u128>) -> u128 {
    let mask = by_lane!(signed x, map::<S>(x.a, |a| a >> (L::BITS - 1)));
    x.b & mask | x.c & !mask
}

#[inline]
pub(crate) fn shuffle(x: Args<u128>) -> u128 {
    let choice = param(x);
    macro_rules! pick {
        ($lane:ty, $count:literal) => {{
            let (a, b) = (<[$lane; $count]>::split(x.a), <[$lane; $count]>::split(x.b));
            let picked: [$lane; $count] = std::array::from_fn(|i| {
                let index = (choice >> (4 * i)) as usize % (2 * $count);
                if index < $count { a[index] } else { b[index - $count] }
            });
            picked.join()
        }};
    }
    match Lane::unpack(x.imm) {
        Lane::I8 | Lane::I16 => pick!(u16, 8),
        Lane::I32 | Lane::F32 => pick!(u32, 4),
        Lane::I64 | Lane::F64 => pick!(u64, 2),
    }
}

#[inline]
pub(crate) fn swizzle(a: u128, b: u128) -> u128 {
    let a = a.to_le_bytes();
    map::<[u8; 16]>(b, |b| if b >> 7 == 0 { a[usize::from(b & 15)] } else { 0 })
}

#[inline]
pub(crate) fn align(x: Args<u128>) -> u128 {
    match param(x) {
        0 => x.a,
        from @ 1..16 => x.a >> (8 * from) | x.b << (128 - 8 * from),
        _ => x.b,
    }
}

#[inline]
pub(crate) fn zip_low(x: Args<u128>) -> u128 {
    by_lane!(unsigned x, {
        let (a, b) = (S::split(x.a), S::split(x.b));
        let mut zipped = a;
        for i in 0..zipped.len() {
            zipped[i] = if i % 2 == 0 { a[i / 2] } else { b[i / 2] };
        }
        zipped.join()
    })
}

#[inline]
pub(crate) fn zip_high(x: Args<u128>) -> u128 {
    zip_low(Args { a: x.a >> 64, b: x.b >> 64, ..x })
}

/// The lanes of a, then b, each cut to the type `N` after being clamped to its range.
macro_rules! pack {
    ($x:ident, $from:ty, $count:literal, $to:ty, $twice:literal) => {{
        let (a, b) = (<[$from; $count]>::split($x.a), <[$from; $count]>::split($x.b));
        let packed: [$to; $twice] = std::array::from_fn(|i| {
            let lane = if i < $count { a[i] } else { b[i - $count] };
            lane.clamp(<$to>::MIN as $from, <$to>::MAX as $from) as $to
        });
        packed.join()
    }};
}

#[inline]
pub(crate) fn pack_signed(x: Args<u128>) -> u128 {
    match Lane::unpack(x.imm) {
        Lane::I8 | Lane::I16 => pack!(x, i16, 8, i8, 16),
        Lane::I32 | Lane::F32 => pack!(x, i32, 4, i16, 8),
        Lane::I64 | Lane::F64 => pack!(x, i64, 2, i32, 4),
    }
}

#[inline]
pub(crate) fn pack_unsigned(x: Args<u128>) -> u128 {
    match Lane::unpack(x.imm) {
        Lane::I8 | Lane::I16 => pack!(x, i16, 8, u8, 16),
        Lane::I32 | Lane::F32 => pack!(x, i32, 4, u16, 8),
        Lane::I64 | Lane::F64 => pack!(x, i64, 2, u32, 4),
    }
}

macro_rules! widen {
    ($a:expr, $from:ty, $count:literal, $to:ty, $half:literal) => {{
        let a = <[$from; $count]>::split($a);
        let wide: [$to; $half] = std::array::from_fn(|i| a[i].into());
        wide.join()
    }};
}

#[inline]
pub(crate) fn widen_signed(x: Args<u128>) -> u128 {
    match Lane::unpack(x.imm) {
        Lane::I8 => widen!(x.a, i8, 16, i16, 8),
        Lane::I16 => widen!(x.a, i16, 8, i32, 4),
        _ => widen!(x.a, i32, 4, i64, 2),
    }
}

#[inline]
pub(crate) fn widen_unsigned(x: Args<u128>) -> u128 {
    match Lane::unpack(x.imm) {
        Lane::I8 => widen!(x.a, u8, 16, u16, 8),
        Lane::I16 => widen!(x.a, u16, 8, u32, 4),
        _ => widen!(x.a, u32, 4, u64, 2),
    }
}

#[inline]
pub(crate) fn mask(x: Args<u128>) -> u128 {
    by_lane!(signed x, {
        let lanes = S::split(x.a).into_iter().enumerate();
        lanes.fold(0, |mask, (i, lane)| mask | u128::from(lane < 0) << i)
    })
}

#[inline]
pub(crate) fn mul_rounded(a: u128, b: u128) -> u128 {
    zip::<[i16; 8]>(a, b, |a, b| ((i32::from(a) * i32::from(b) + 0x4000) >> 15) as i16)
}

#[inline]
pub(crate) fn mul_even_signed(a: u128, b: u128) -> u128 {
    zip::<[i64; 2]>(a, b, |a, b| i64::from(a as i32) * i64::from(b as i32))
}

#[inline]
pub(crate) fn mul_even_unsigned(a: u128, b: u128) -> u128 {
    zip::<[u64; 2]>(a, b, |a, b| u64::from(a as u32) * u64::from(b as u32))
}

#[inline]
pub(crate) fn dot_signed(a: u128, b: u128) -> u128 {
    zip::<[i32; 4]>(a, b, |a, b| {
        let low = i32::from(a as i16) * i32::from(b as i16);
        low.wrapping_add((a >> 16) * (b >> 16))
    })
}

#[inline]
pub(crate) fn dot_mixed(a: u128, b: u128) -> u128 {
    zip::<[i16; 8]>(a, b, |a, b| {
        let low = i32::from(a as u8) * i32::from(b as i8);
        let high = i32::from((a as u16 >> 8) as u8) * i32::from(b >> 8);
        (low + high).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    })
}

#[inline]
pub(crate) fn sad(a: u128, b: u128) -> u128 {
    let differences = zip::<[u8; 16]>(a, b, u8::abs_diff);
    map::<[u64; 2]>(differences, |half| half.to_le_bytes().map(u64::from).iter().sum())
}

pub(crate) fn multi_sad(x: Args<u128>) -> u128 {
    let (a, b) = (x.a.to_le_bytes(), x.b.to_le_bytes());
    let from_a = (param(x) as usize >> 2 & 1) * 4;
    let from_b = (param(x) as usize & 3) * 4;
    let sums: [u16; 8] = std::array::from_fn(|i| {
        (0..4).map(|j| u16::from(a[from_a + i + j].abs_diff(b[from_b + j]))).sum()
    });
    sums.join()
}

pub(crate) fn least(a: u128) -> u128 {
    let lanes = <[u16; 8]>::split(a).into_iter().enumerate();
    let (index, least) = lanes.min_by_key(|&(_, lane)| lane).unwrap_or_default();
    u128::from(least) | (index as u128) << 16
}
