//! Packed floating point by the host's SSE unit, under the host's MXCSR.
#![expect(unsafe_code, reason = "host instructions under the guest's rounding mode and flags")]

use super::{Mode, Predicate, Round};
use crate::Lane;
use std::arch::{asm, x86_64::__m128i};

#[inline(always)]
fn host(bits: u128) -> __m128i {
    // SAFETY: both are 128 bits of which all patterns are valid.
    unsafe { std::mem::transmute(bits) }
}

#[inline(always)]
fn bits(host: __m128i) -> u128 {
    // SAFETY: both are 128 bits of which all patterns are valid.
    unsafe { std::mem::transmute(host) }
}

macro_rules! unary {
    ($insn:expr, $a:expr) => {{
        let x: __m128i;
        // SAFETY: register arithmetic (at most SSE4.1, which the engine requires of an x86-64
        // host); its only other effect is on MXCSR's flags.
        unsafe {
            asm!($insn, a = in(xmm_reg) host($a), x = lateout(xmm_reg) x,
                 options(nomem, nostack, preserves_flags));
        }
        bits(x)
    }};
}

macro_rules! binary {
    ($insn:expr, $a:expr, $b:expr) => {{
        let mut x = host($a);
        // SAFETY: register arithmetic; its only other effect is on MXCSR's flags.
        unsafe {
            asm!($insn, x = inout(xmm_reg) x, b = in(xmm_reg) host($b),
                 options(nomem, nostack, preserves_flags));
        }
        bits(x)
    }};
}

macro_rules! arithmetic {
    ($($(#[doc = $doc:literal])+ $name:ident $single:literal $double:literal;)*) => {$(
        $(#[doc = $doc])+
        #[inline]
        pub fn $name(lane: Lane, a: u128, b: u128) -> u128 {
            match lane {
                Lane::F32 => binary!(concat!($single, " {x}, {b}"), a, b),
                _ => binary!(concat!($double, " {x}, {b}"), a, b),
            }
        }
    )*};
}

arithmetic! {
    /// a + b.
    add "addps" "addpd";
    /// a − b.
    sub "subps" "subpd";
    /// a × b.
    mul "mulps" "mulpd";
    /// a ÷ b.
    div "divps" "divpd";
    /// a if it is less than b, else b.
    min "minps" "minpd";
    /// a if it is greater than b, else b.
    max "maxps" "maxpd";
    /// a − b in even lanes, a + b in odd ones.
    addsub "addsubps" "addsubpd";
}

/// Square root.
#[inline]
pub fn sqrt(lane: Lane, a: u128) -> u128 {
    match lane {
        Lane::F32 => unary!("sqrtps {x}, {a}", a),
        _ => unary!("sqrtpd {x}, {a}", a),
    }
}

/// About 1 ÷ a, for binary32.
#[inline]
pub fn recip(a: u128) -> u128 {
    unary!("rcpps {x}, {a}", a)
}

/// About 1 ÷ √a, for binary32.
#[inline]
pub fn rsqrt(a: u128) -> u128 {
    unary!("rsqrtps {x}, {a}", a)
}

/// All ones where the predicate holds, else 0.
pub fn compare(lane: Lane, a: u128, b: u128, predicate: Predicate) -> u128 {
    macro_rules! by_predicate {
        ($($name:ident $code:literal;)*) => {
            match (lane, predicate) {
                $((Lane::F32, Predicate::$name) => {
                    binary!(concat!("cmpps {x}, {b}, ", $code), a, b)
                })*
                $((_, Predicate::$name) => {
                    binary!(concat!("cmppd {x}, {b}, ", $code), a, b)
                })*
            }
        };
    }
    by_predicate! {
        Equal 0; Less 1; LessOrEqual 2; Unordered 3;
        NotEqual 4; NotLess 5; NotLessOrEqual 6; Ordered 7;
    }
}

/// Rounded to integral values.
pub fn round(lane: Lane, a: u128, rounding: Round) -> u128 {
    macro_rules! by_mode {
        ($($mode:ident $loud:literal $quiet:literal;)*) => {
            match (lane, rounding.mode, rounding.quiet) {
                $((Lane::F32, Mode::$mode, false) => {
                    unary!(concat!("roundps {x}, {a}, ", $loud), a)
                })*
                $((Lane::F32, Mode::$mode, true) => {
                    unary!(concat!("roundps {x}, {a}, ", $quiet), a)
                })*
                $((_, Mode::$mode, false) => unary!(concat!("roundpd {x}, {a}, ", $loud), a),)*
                $((_, Mode::$mode, true) => unary!(concat!("roundpd {x}, {a}, ", $quiet), a),)*
            }
        };
    }
    by_mode! { Nearest 0 8; Down 1 9; Up 2 10; Zero 3 11; Current 4 12; }
}

/// Signed 32-bit lanes (the low two for binary64) as floats.
#[inline]
pub fn from_i32(lane: Lane, a: u128) -> u128 {
    match lane {
        Lane::F32 => unary!("cvtdq2ps {x}, {a}", a),
        _ => unary!("cvtdq2pd {x}, {a}", a),
    }
}

/// Floats as signed 32-bit lanes (zeros above for binary64); the least integer if one does not fit.
#[inline]
pub fn to_i32(lane: Lane, a: u128, rounding: Round) -> u128 {
    match (lane, rounding.mode) {
        (Lane::F32, Mode::Current) => unary!("cvtps2dq {x}, {a}", a),
        (Lane::F32, Mode::Zero) => unary!("cvttps2dq {x}, {a}", a),
        (_, Mode::Current) => unary!("cvtpd2dq {x}, {a}", a),
        (_, Mode::Zero) => unary!("cvttpd2dq {x}, {a}", a),
        _ => to_i32(lane, round(lane, a, rounding), Round::ZERO),
    }
}

/// The low two binary32 as binary64.
#[inline]
pub fn promote(a: u128) -> u128 {
    unary!("cvtps2pd {x}, {a}", a)
}

/// The two binary64 as binary32, zeros above.
#[inline]
pub fn demote(a: u128) -> u128 {
    unary!("cvtpd2ps {x}, {a}", a)
}
