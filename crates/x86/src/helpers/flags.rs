//! Flags that the block at hand does not know.

use crate::{X86, flags};
use mynah_guest::Cpu;

pub(super) extern "C" fn cond(cpu: &mut Cpu<X86>, code: u64, _: u64, _: u64) -> u64 {
    cpu.state.cond(code).into()
}

pub(super) extern "C" fn flags(cpu: &mut Cpu<X86>, _: u64, _: u64, _: u64) -> u64 {
    cpu.state.arithmetic_flags()
}

pub(super) extern "C" fn rflags(cpu: &mut Cpu<X86>, _: u64, _: u64, _: u64) -> u64 {
    cpu.state.rflags()
}

pub(super) extern "C" fn set_rflags(cpu: &mut Cpu<X86>, word: u64, mask: u64, _: u64) -> u64 {
    let rflags = cpu.state.rflags() & !mask | word & mask;
    cpu.state.set_rflags(rflags);
    debug_assert_eq!(cpu.state.rflags & !flags::SYSTEM, 0);
    0
}
