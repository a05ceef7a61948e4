//! MXCSR, and the SSE exceptions that it does not mask (SDM 1 11.5).
//!
//! The host's unit runs with all exceptions masked. Where the guest's MXCSR leaves some unmasked,
//! the lifts put [`begin`] before an operation and [`check`] between it and what it writes. The flag
//! of inexact results is then, beside an overflow or underflow that is not masked, what it would be
//! beside a masked one.

use crate::registers::cr4;
use crate::{Space, X86, trap};
use mynah_guest::{Cpu, Fault};
use mynah_ir::Lane;
use mynah_ir::fp::env;

/// Bits of MXCSR that may be set.
pub(super) const MASK: u32 = 0xffff;

/// Makes MXCSR `word`, while no guest code runs.
pub fn set_mxcsr<M: Space>(cpu: &mut Cpu<X86<M>>, word: u32) {
    cpu.core.fp_env = word & MASK;
    heed_masks(cpu, word);
}

/// Makes MXCSR `word`, in guest code.
pub(super) fn set_live<M: Space>(cpu: &mut Cpu<X86<M>>, word: u32) {
    cpu.core.set_live_fp(word);
    heed_masks(cpu, word);
}

fn heed_masks<M: Space>(cpu: &mut Cpu<X86<M>>, word: u32) {
    cpu.state.system.unmasked = word & env::MASKS != env::MASKS;
    crate::refresh(cpu);
}

pub(super) extern "C" fn load<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    cpu.core.live_fp().into()
}

pub(super) extern "C" fn store<M: Space>(cpu: &mut Cpu<X86<M>>, word: u64, _: u64, _: u64) -> u64 {
    set_live(cpu, word as u32);
    0
}

/// What was raised before is put aside.
pub(super) extern "C" fn begin<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    let word = cpu.core.live_fp();
    cpu.state.system.raised_before = word & env::FLAGS;
    cpu.core.set_live_fp(word & !env::FLAGS);
    0
}

/// Results that may be too small to be normal numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tiny {
    /// None.
    Never,
    /// All lanes of this format.
    Lanes(Lane),
    /// A scalar of this format.
    Scalar(Lane),
}

impl Tiny {
    pub(crate) const fn pack(self) -> u64 {
        match self {
            Tiny::Never => 0,
            Tiny::Lanes(Lane::F32) => 1,
            Tiny::Lanes(_) => 2,
            Tiny::Scalar(Lane::F32) => 3,
            Tiny::Scalar(_) => 4,
        }
    }

    /// Whether there is such a result in these two halves of a vector.
    fn is_in(packed: u64, low: u64, high: u64) -> bool {
        let single = |bits: u64| (bits as u32) << 1 != 0 && (bits as u32) << 1 < 1 << 24;
        let double = |bits: u64| bits << 1 != 0 && bits << 1 < 1 << 53;
        match packed {
            1 => [low, low >> 32, high, high >> 32].into_iter().any(single),
            2 => double(low) || double(high),
            3 => single(low),
            4 => double(low),
            _ => false,
        }
    }
}

/// #XM if the operation since [`begin`] has raised what is not masked. Of what an instruction
/// raises, that which its operands alone tell comes before that which its result tells.
pub(super) extern "C" fn check<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    low: u64,
    high: u64,
    tiny: u64,
) -> u64 {
    const OPERANDS: u32 = env::INVALID | env::DENORMAL | env::DIVIDE;
    let word = cpu.core.live_fp();
    let unmasked = !(word >> 7) & env::FLAGS;
    let mut raised = word & env::FLAGS;
    // A tiny result that is exact underflows too, unless that is masked.
    if unmasked & env::UNDERFLOW != 0 && Tiny::is_in(tiny, low, high) {
        raised |= env::UNDERFLOW;
    }
    if raised & unmasked & OPERANDS != 0 {
        raised &= OPERANDS;
    }
    cpu.core.set_live_fp(word & !env::FLAGS | cpu.state.system.raised_before | raised);
    if raised & unmasked != 0 {
        let system = &cpu.state.system;
        let handled = !system.on || system.cr4 & cr4::OSXMMEXCPT != 0;
        let vector = if handled { trap::SIMD } else { trap::UNDEFINED };
        cpu.raise(Fault::Trap(trap::exception(vector)));
    }
    0
}
