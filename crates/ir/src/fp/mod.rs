//! Scalar floating point under the guest's environment.
//!
//! The environment is one word in the layout of x86's MXCSR: sticky exception flags in bits 0–5
//! (invalid, denormal, divide by zero, overflow, underflow, inexact), denormals-are-zero in bit 6,
//! exception masks in bits 7–12, the rounding mode in bits 13–14 (nearest even, down, up, toward
//! zero), flush-to-zero in bit 15. While guest code runs it is in force between [`enter`] and
//! [`leave`]; on x86-64 hosts it is the hardware's.
//!
//! NaNs follow SSE: the first NaN operand, made quiet; an invalid operation without one yields
//! [`default_nan`]. A guest with other rules adjusts the result in its lift.

pub mod packed_portable;
#[cfg(target_arch = "x86_64")]
mod packed_x86_64;
pub mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(not(target_arch = "x86_64"))]
use portable as host;
#[cfg(target_arch = "x86_64")]
use x86_64 as host;

/// Floating point on the lanes of 128 bits.
pub mod packed {
    #[cfg(not(target_arch = "x86_64"))]
    pub use super::packed_portable::*;
    #[cfg(target_arch = "x86_64")]
    pub use super::packed_x86_64::*;
}

use crate::Ty;
use std::cmp::Ordering;

pub use host::{
    add, compare, demote, div, enter, fma, from_i32, from_i64, from_u64, leave, max, min, mul,
    promote, round, sqrt, sub, to_int,
};

/// The environment after reset: all exceptions masked, nearest even.
pub const DEFAULT: u32 = 0x1f80;

/// Flags and fields of the environment word.
pub mod env {
    /// An operand was a signalling NaN, or the operation has no meaning.
    pub const INVALID: u32 = 1 << 0;
    /// An operand was denormal.
    pub const DENORMAL: u32 = 1 << 1;
    /// A finite number was divided by zero.
    pub const DIVIDE: u32 = 1 << 2;
    /// The result was too large.
    pub const OVERFLOW: u32 = 1 << 3;
    /// The result was tiny and inexact.
    pub const UNDERFLOW: u32 = 1 << 4;
    /// The result was rounded.
    pub const INEXACT: u32 = 1 << 5;
    /// Denormal operands count as zero.
    pub const DENORMALS_ARE_ZERO: u32 = 1 << 6;
    /// All sticky flags.
    pub const FLAGS: u32 = 0x3f;
    /// All exceptions masked.
    pub const MASKS: u32 = 0x1f80;
    /// Position of the rounding mode.
    pub const ROUNDING_SHIFT: u32 = 13;
    /// Tiny results become zero.
    pub const FLUSH_TO_ZERO: u32 = 1 << 15;
}

/// What a comparison makes of a quiet NaN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nan {
    /// Unordered, nothing more.
    Quiet,
    /// Unordered and invalid.
    Invalid,
}

/// How a value is rounded to an integral one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mode {
    /// To nearest, ties to even.
    Nearest,
    /// Toward minus infinity.
    Down,
    /// Toward plus infinity.
    Up,
    /// Toward zero.
    Zero,
    /// As the environment says.
    Current,
}

/// A rounding mode, and whether an inexact result is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Round {
    /// The mode.
    pub mode: Mode,
    /// Do not set the inexact flag.
    pub quiet: bool,
}

impl Round {
    /// As the environment says; inexact is recorded.
    pub const CURRENT: Round = Round { mode: Mode::Current, quiet: false };
    /// Toward zero; inexact is recorded.
    pub const ZERO: Round = Round { mode: Mode::Zero, quiet: false };

    /// As an instruction's immediate: the encoding of ROUNDSD's.
    pub const fn pack(self) -> u64 {
        self.mode as u64 | (self.quiet as u64) << 3
    }

    /// The inverse of [`Round::pack`].
    #[inline(always)]
    pub const fn unpack(imm: u64) -> Round {
        let mode = match imm & 7 {
            0 => Mode::Nearest,
            1 => Mode::Down,
            2 => Mode::Up,
            3 => Mode::Zero,
            _ => Mode::Current,
        };
        Round { mode, quiet: imm & 8 != 0 }
    }
}

/// What a packed comparison asks of its operands, in CMPPS's encoding. Bit 2 negates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Predicate {
    /// a = b; only a signalling NaN is invalid.
    Equal,
    /// a < b; a NaN is invalid.
    Less,
    /// a ≤ b; a NaN is invalid.
    LessOrEqual,
    /// a or b is a NaN; only a signalling one is invalid.
    Unordered,
    /// Not a = b.
    NotEqual,
    /// Not a < b.
    NotLess,
    /// Not a ≤ b.
    NotLessOrEqual,
    /// Neither is a NaN.
    Ordered,
}

impl Predicate {
    /// The predicate in bits 0–2 of an immediate.
    #[inline(always)]
    pub const fn unpack(imm: u64) -> Predicate {
        match imm & 7 {
            0 => Predicate::Equal,
            1 => Predicate::Less,
            2 => Predicate::LessOrEqual,
            3 => Predicate::Unordered,
            4 => Predicate::NotEqual,
            5 => Predicate::NotLess,
            6 => Predicate::NotLessOrEqual,
            _ => Predicate::Ordered,
        }
    }

    /// Whether a quiet NaN is invalid.
    pub const fn nan(self) -> Nan {
        match self {
            Predicate::Less
            | Predicate::LessOrEqual
            | Predicate::NotLess
            | Predicate::NotLessOrEqual => Nan::Invalid,
            _ => Nan::Quiet,
        }
    }

    /// Whether it holds of operands in this order (`None`: unordered).
    pub fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Predicate::Equal => order == Some(Ordering::Equal),
            Predicate::Less => order == Some(Ordering::Less),
            Predicate::LessOrEqual => order.is_some_and(Ordering::is_le),
            Predicate::Unordered => order.is_none(),
            Predicate::NotEqual => order != Some(Ordering::Equal),
            Predicate::NotLess => order != Some(Ordering::Less),
            Predicate::NotLessOrEqual => !order.is_some_and(Ordering::is_le),
            Predicate::Ordered => order.is_some(),
        }
    }
}

/// The NaN that an invalid operation yields.
pub const fn default_nan(ty: Ty) -> u64 {
    match ty {
        Ty::F32 => 0xffc0_0000,
        _ => 0xfff8_0000_0000_0000,
    }
}

/// Runs `f` with `word` in force; yields its result and the word as it stands afterwards.
pub fn with_env<R>(word: u32, f: impl FnOnce() -> R) -> (R, u32) {
    enter(word);
    let result = f();
    (result, leave())
}

fn ordering(less: bool, equal: bool, unordered: bool) -> Option<Ordering> {
    match (unordered, less, equal) {
        (true, ..) => None,
        (_, true, _) => Some(Ordering::Less),
        (_, _, true) => Some(Ordering::Equal),
        _ => Some(Ordering::Greater),
    }
}
