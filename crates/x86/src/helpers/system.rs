//! CPUID, the clock, segment registers.

use crate::registers::{cr0, cr4};
use crate::segment::GP;
use crate::{Space, X86};
use mynah_guest::Cpu;

pub(super) extern "C" fn cpuid<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    let [leaf, subleaf] = [0, 1].map(|n| cpu.state.gpr[n] as u32);
    let [a, b, c, d] = cpu.state.cpuid(leaf, subleaf);
    let gpr = &mut cpu.state.gpr;
    gpr[0] = a.into();
    gpr[3] = b.into();
    gpr[1] = c.into();
    gpr[2] = d.into();
    0
}

pub(super) extern "C" fn tsc<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    cpu.state.tsc()
}

pub(super) extern "C" fn tsc_aux<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    cpu.state.system.tsc_aux
}

/// RDTSC above privilege level 0.
pub(super) extern "C" fn check_clock<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    let system = &cpu.state.system;
    if system.cr4 & cr4::TSD != 0 && system.cr0 & cr0::PE != 0 {
        cpu.raise(GP);
    }
    0
}

pub(super) extern "C" fn selector<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    register: u64,
    _: u64,
    _: u64,
) -> u64 {
    cpu.state.selectors[register as usize % 6].into()
}
