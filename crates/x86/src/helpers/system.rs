//! CPUID, the clock, segment registers.

use crate::{X86, cpuid, trap};
use mynah_guest::{Cpu, Fault};
use std::sync::OnceLock;
use std::time::Instant;

pub(super) extern "C" fn cpuid(cpu: &mut Cpu<X86>, _: u64, _: u64, _: u64) -> u64 {
    let gpr = &mut cpu.state.gpr;
    let [a, b, c, d] = cpuid::cpuid(gpr[0] as u32, gpr[1] as u32);
    gpr[0] = a.into();
    gpr[3] = b.into();
    gpr[1] = c.into();
    gpr[2] = d.into();
    0
}

/// The counter runs at 1 GHz from the first time it is read.
pub(super) extern "C" fn tsc(_: &mut Cpu<X86>, _: u64, _: u64, _: u64) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

pub(super) extern "C" fn selector(cpu: &mut Cpu<X86>, register: u64, _: u64, _: u64) -> u64 {
    cpu.state.selectors[register as usize % 6].into()
}

/// Selectors that a 64-bit process may load: null ones (but into SS), its data segment, and (but
/// into SS) its readable code segments of 32 and 64 bits.
pub(super) extern "C" fn set_selector(
    cpu: &mut Cpu<X86>,
    register: u64,
    selector: u64,
    _: u64,
) -> u64 {
    const SS: u64 = 2;
    const FS: u64 = 4;
    const GS: u64 = 5;
    const USER_DATA: u16 = 0x2b;
    const USER_CODE: [u16; 2] = [0x23, 0x33];
    let selector = selector as u16;
    let not_stack = selector & !3 == 0 || USER_CODE.contains(&selector);
    if selector != USER_DATA && (!not_stack || register == SS) {
        let error = u32::from(selector & !3);
        let trap = mynah_ir::Trap { code: trap::PROTECTION, data: error };
        cpu.raise(Fault::Trap(trap));
        return 0;
    }
    cpu.state.selectors[register as usize % 6] = selector;
    match register {
        FS => cpu.state.fs_base = 0,
        GS => cpu.state.gs_base = 0,
        _ => {}
    }
    0
}
