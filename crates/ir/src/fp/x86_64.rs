//! Floating point by the host's SSE unit, under the host's MXCSR.
//!
//! Rust assumes the default environment for its own arithmetic, so none stands here: every
//! operation on guest values is an instruction of an `asm!` block.
#![expect(unsafe_code, reason = "host instructions under the guest's rounding mode and flags")]

use super::{Mode, Nan, Round, env, ordering, portable};
use crate::Ty;
use std::arch::asm;
use std::cmp::Ordering;

/// Puts the environment `word` in force on this thread.
#[inline]
pub fn enter(word: u32) {
    // Reserved bits would fault; unmasked exceptions would reach us as signals.
    let word = word & 0xffff | env::MASKS;
    // SAFETY: loads a valid MXCSR; Rust code that runs until `leave` does no SSE arithmetic.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &word, options(nostack, readonly, preserves_flags)) }
}

/// The environment as it stands now; the thread returns to the default one.
#[inline]
pub fn leave() -> u32 {
    let mut word = 0u32;
    // SAFETY: stores MXCSR to a local, then loads its default value.
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags));
        asm!("ldmxcsr [{}]", in(reg) &super::DEFAULT, options(nostack, readonly, preserves_flags));
    }
    word
}

fn f32(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn f64(bits: u64) -> f64 {
    f64::from_bits(bits)
}

macro_rules! binary {
    ($($(#[doc = $doc:literal])+ $name:ident $single:literal $double:literal;)*) => {$(
        $(#[doc = $doc])+
        #[inline]
        pub fn $name(ty: Ty, a: u64, b: u64) -> u64 {
            // SAFETY: register arithmetic; its only other effect is on MXCSR's flags.
            unsafe {
                if ty == Ty::F32 {
                    let mut x = f32(a);
                    asm!(concat!($single, " {}, {}"), inout(xmm_reg) x, in(xmm_reg) f32(b),
                         options(nomem, nostack, preserves_flags));
                    x.to_bits().into()
                } else {
                    let mut x = f64(a);
                    asm!(concat!($double, " {}, {}"), inout(xmm_reg) x, in(xmm_reg) f64(b),
                         options(nomem, nostack, preserves_flags));
                    x.to_bits()
                }
            }
        }
    )*};
}

binary! {
    /// a + b.
    add "addss" "addsd";
    /// a − b.
    sub "subss" "subsd";
    /// a × b.
    mul "mulss" "mulsd";
    /// a ÷ b.
    div "divss" "divsd";
    /// a if it is less than b, else b.
    min "minss" "minsd";
    /// a if it is greater than b, else b.
    max "maxss" "maxsd";
}

/// Square root.
#[inline]
pub fn sqrt(ty: Ty, a: u64) -> u64 {
    // SAFETY: register arithmetic; its only other effect is on MXCSR's flags.
    unsafe {
        if ty == Ty::F32 {
            let mut x = f32(a);
            asm!("sqrtss {0}, {0}", inout(xmm_reg) x, options(nomem, nostack, preserves_flags));
            x.to_bits().into()
        } else {
            let mut x = f64(a);
            asm!("sqrtsd {0}, {0}", inout(xmm_reg) x, options(nomem, nostack, preserves_flags));
            x.to_bits()
        }
    }
}

/// a × b + c with one rounding.
pub fn fma(ty: Ty, a: u64, b: u64, c: u64) -> u64 {
    if !std::arch::is_x86_feature_detected!("fma") {
        let (result, word) = portable::with_word(leave(), || portable::fma(ty, a, b, c));
        enter(word);
        return result;
    }
    // Of two NaNs the instruction's second operand wins.
    // SAFETY: the host has FMA; register arithmetic whose only other effect is on MXCSR's flags.
    unsafe {
        if ty == Ty::F32 {
            let mut x = f32(b);
            asm!("vfmadd213ss {}, {}, {}", inout(xmm_reg) x, in(xmm_reg) f32(a),
                 in(xmm_reg) f32(c), options(nomem, nostack, preserves_flags));
            x.to_bits().into()
        } else {
            let mut x = f64(b);
            asm!("vfmadd213sd {}, {}, {}", inout(xmm_reg) x, in(xmm_reg) f64(a),
                 in(xmm_reg) f64(c), options(nomem, nostack, preserves_flags));
            x.to_bits()
        }
    }
}

macro_rules! comparison {
    ($insn:literal, $a:expr, $b:expr) => {{
        let (less, equal, unordered): (u8, u8, u8);
        asm!(concat!($insn, " {a}, {b}"), "setb {l}", "sete {e}", "setp {u}",
             a = in(xmm_reg) $a, b = in(xmm_reg) $b,
             l = lateout(reg_byte) less, e = lateout(reg_byte) equal,
             u = lateout(reg_byte) unordered, options(nomem, nostack));
        ordering(less != 0, equal != 0, unordered != 0)
    }};
}

/// How a stands to b; `None` if either is a NaN.
#[inline]
pub fn compare(ty: Ty, a: u64, b: u64, nan: Nan) -> Option<Ordering> {
    // SAFETY: compares registers; its only other effect is on MXCSR's flags.
    unsafe {
        match (ty, nan) {
            (Ty::F32, Nan::Quiet) => comparison!("ucomiss", f32(a), f32(b)),
            (Ty::F32, Nan::Invalid) => comparison!("comiss", f32(a), f32(b)),
            (_, Nan::Quiet) => comparison!("ucomisd", f64(a), f64(b)),
            (_, Nan::Invalid) => comparison!("comisd", f64(a), f64(b)),
        }
    }
}

/// A binary32 as binary64.
#[inline]
pub fn promote(a: u64) -> u64 {
    let x: f64;
    // SAFETY: register conversion.
    unsafe {
        asm!("cvtss2sd {}, {}", out(xmm_reg) x, in(xmm_reg) f32(a),
             options(nomem, nostack, preserves_flags));
    }
    x.to_bits()
}

/// A binary64 as binary32.
#[inline]
pub fn demote(a: u64) -> u64 {
    let x: f32;
    // SAFETY: register conversion.
    unsafe {
        asm!("cvtsd2ss {}, {}", out(xmm_reg) x, in(xmm_reg) f64(a),
             options(nomem, nostack, preserves_flags));
    }
    x.to_bits().into()
}

macro_rules! from_integer {
    ($ty:expr, $single:literal, $double:literal, $a:expr) => {
        // SAFETY: register conversion.
        unsafe {
            if $ty == Ty::F32 {
                let x: f32;
                asm!($single, out(xmm_reg) x, in(reg) $a,
                     options(nomem, nostack, preserves_flags));
                x.to_bits().into()
            } else {
                let x: f64;
                asm!($double, out(xmm_reg) x, in(reg) $a,
                     options(nomem, nostack, preserves_flags));
                x.to_bits()
            }
        }
    };
}

/// The signed a as a float.
#[inline]
pub fn from_i32(ty: Ty, a: i32) -> u64 {
    from_integer!(ty, "cvtsi2ss {}, {:e}", "cvtsi2sd {}, {:e}", a)
}

/// The signed a as a float.
#[inline]
pub fn from_i64(ty: Ty, a: i64) -> u64 {
    from_integer!(ty, "cvtsi2ss {}, {:r}", "cvtsi2sd {}, {:r}", a)
}

/// The unsigned a as a float.
#[inline]
pub fn from_u64(ty: Ty, a: u64) -> u64 {
    if a >> 63 == 0 {
        return from_i64(ty, a as i64);
    }
    // Half of it, the lost bit kept as a sticky one, rounds as the whole does; doubling is exact.
    let half = from_i64(ty, (a >> 1 | a & 1) as i64);
    add(ty, half, half)
}

/// a, of float type `from`, as a signed integer of type `to`; the least integer and invalid if it
/// is a NaN or does not fit.
#[inline]
pub fn to_int(from: Ty, a: u64, to: Ty, rounding: Round) -> u64 {
    macro_rules! convert {
        ($insn:literal, $out:ty, $x:expr) => {{
            let r: $out;
            asm!($insn, out(reg) r, in(xmm_reg) $x, options(nomem, nostack, preserves_flags));
            r as u64
        }};
    }
    let (a, zero) = match rounding.mode {
        Mode::Current => (a, false),
        Mode::Zero => (a, true),
        _ => (round(from, a, rounding), true),
    };
    // SAFETY: register conversion; its only other effect is on MXCSR's flags.
    unsafe {
        match (from, to, zero) {
            (Ty::F32, Ty::I32, false) => convert!("cvtss2si {:e}, {}", u32, f32(a)),
            (Ty::F32, Ty::I32, true) => convert!("cvttss2si {:e}, {}", u32, f32(a)),
            (Ty::F32, _, false) => convert!("cvtss2si {:r}, {}", u64, f32(a)),
            (Ty::F32, _, true) => convert!("cvttss2si {:r}, {}", u64, f32(a)),
            (_, Ty::I32, false) => convert!("cvtsd2si {:e}, {}", u32, f64(a)),
            (_, Ty::I32, true) => convert!("cvttsd2si {:e}, {}", u32, f64(a)),
            (_, _, false) => convert!("cvtsd2si {:r}, {}", u64, f64(a)),
            (_, _, true) => convert!("cvttsd2si {:r}, {}", u64, f64(a)),
        }
    }
}

/// a rounded to an integral value.
pub fn round(ty: Ty, a: u64, rounding: Round) -> u64 {
    macro_rules! by_mode {
        ($insn:literal, $float:ty, $x:expr; $($mode:literal)*) => {{
            let r: $float;
            match rounding.pack() {
                $($mode => asm!(concat!($insn, " {}, {}, ", $mode), out(xmm_reg) r,
                                in(xmm_reg) $x, options(nomem, nostack, preserves_flags)),)*
                _ => unreachable!("a rounding mode has four bits"),
            }
            r
        }};
    }
    // SAFETY: register arithmetic (SSE4.1, which the engine requires of an x86-64 host); its only
    // other effect is on MXCSR's flags.
    unsafe {
        if ty == Ty::F32 {
            by_mode!("roundss", f32, f32(a); 0 1 2 3 4 8 9 10 11 12).to_bits().into()
        } else {
            by_mode!("roundsd", f64, f64(a); 0 1 2 3 4 8 9 10 11 12).to_bits()
        }
    }
}
