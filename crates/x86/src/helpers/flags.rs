//! Flags that the block at hand does not know.

use crate::{Space, X86};
use mynah_guest::Cpu;

pub(super) extern "C" fn cond<M: Space>(cpu: &mut Cpu<X86<M>>, code: u64, _: u64, _: u64) -> u64 {
    cpu.state.cond(code).into()
}

pub(super) extern "C" fn flags<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    cpu.state.arithmetic_flags()
}

pub(super) extern "C" fn rflags<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    cpu.state.rflags()
}

pub(super) extern "C" fn set_rflags<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    word: u64,
    mask: u64,
    _: u64,
) -> u64 {
    cpu.state.set_rflags_bits(word, mask);
    0
}
