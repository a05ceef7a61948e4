//! XSAVE and XRSTOR of the x87 and SSE state (SDM 1 chapter 13).

use super::segment::{Result, answer};
use super::sse::{Area, legacy_area, restore_area};
use crate::registers::cr4;
use crate::segment::{GP, UD};
use crate::{Space, X86, trap};
use mynah_guest::{Cpu, Fault};

/// The components there are: x87, SSE.
pub(crate) const COMPONENTS: u64 = 3;
/// Bytes of the area: legacy region and header.
pub(crate) const AREA: u32 = 576;
/// Where the header is.
const HEADER: u64 = 512;
/// MXCSR and its mask in the legacy region: they go with SSE.
const MXCSR: usize = 24;
const XMM0: usize = 160;

/// Whether the instructions may be used.
fn check<M: Space>(cpu: &Cpu<X86<M>>) -> Result<()> {
    if cpu.state.system.cr4 & cr4::OSXSAVE == 0 { Err(UD) } else { Ok(()) }
}

pub(super) extern "C" fn xgetbv<M: Space>(cpu: &mut Cpu<X86<M>>, n: u64, _: u64, _: u64) -> u64 {
    let known = if n == 0 { Ok(cpu.state.system.xcr0) } else { Err(GP) };
    let value = check(cpu).and(known);
    answer(cpu, value)
}

pub(super) extern "C" fn xsetbv<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    n: u64,
    value: u64,
    _: u64,
) -> u64 {
    let done = check(cpu).and_then(|()| {
        if n != 0 || value & !COMPONENTS != 0 || value & 1 == 0 {
            return Err(GP);
        }
        cpu.state.system.xcr0 = value;
        Ok(0)
    });
    answer(cpu, done)
}

fn check_area<M: Space>(cpu: &Cpu<X86<M>>, va: u64) -> Result<()> {
    check(cpu)?;
    if cpu.state.system.cr0 & crate::registers::cr0::TS != 0 {
        return Err(Fault::Trap(trap::exception(trap::NO_UNIT)));
    }
    if va.is_multiple_of(64) { Ok(()) } else { Err(GP) }
}

pub(super) extern "C" fn xsave<M: Space>(cpu: &mut Cpu<X86<M>>, va: u64, mask: u64, _: u64) -> u64 {
    let saved = save(cpu, va, mask).map(|()| 0);
    answer(cpu, saved)
}

fn save<M: Space>(cpu: &mut Cpu<X86<M>>, va: u64, mask: u64) -> Result<()> {
    check_area(cpu, va)?;
    let parts = mask & cpu.state.system.xcr0;
    let header = va.wrapping_add(HEADER);
    let present = cpu.memory.load::<u64>(header)?;
    let area = legacy_area(cpu);
    // These fault as a write does, and change nothing.
    cpu.memory.compare_exchange(va, 1, 0, 0)?;
    cpu.memory.compare_exchange(header, 1, 0, 0)?;
    if parts & 1 != 0 {
        cpu.memory.write(va, &area[..MXCSR])?;
        cpu.memory.write(va.wrapping_add(32), &area[32..XMM0])?;
    }
    if parts & 2 != 0 {
        cpu.memory.write(va.wrapping_add(MXCSR as u64), &area[MXCSR..32])?;
        cpu.memory.write(va.wrapping_add(XMM0 as u64), &area[XMM0..])?;
    }
    cpu.memory.store(header, present & !mask | parts)?;
    Ok(())
}

pub(super) extern "C" fn xrstor<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    va: u64,
    mask: u64,
    _: u64,
) -> u64 {
    let restored = restore(cpu, va, mask).map(|()| 0);
    answer(cpu, restored)
}

fn restore<M: Space>(cpu: &mut Cpu<X86<M>>, va: u64, mask: u64) -> Result<()> {
    check_area(cpu, va)?;
    let mut header = [0; 24];
    cpu.memory.read(va.wrapping_add(HEADER), &mut header)?;
    let mut stored: Area = [0; 416];
    cpu.memory.read(va, &mut stored)?;
    let present = u64::from_le_bytes(std::array::from_fn(|i| header[i]));
    let reserved = header[8..].iter().any(|&byte| byte != 0);
    if reserved || present & !cpu.state.system.xcr0 != 0 {
        return Err(GP);
    }
    let parts = mask & cpu.state.system.xcr0;
    // What is not in the area takes its initial value; what is not asked for stays.
    let mut area = legacy_area(cpu);
    if parts & 1 != 0 {
        area[..MXCSR].fill(0);
        area[32..XMM0].fill(0);
        area[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        if present & 1 != 0 {
            area[..MXCSR].copy_from_slice(&stored[..MXCSR]);
            area[32..XMM0].copy_from_slice(&stored[32..XMM0]);
        }
    }
    if parts & 2 != 0 {
        area[MXCSR..32].copy_from_slice(&stored[MXCSR..32]);
        area[XMM0..].fill(0);
        if present & 2 != 0 {
            area[XMM0..].copy_from_slice(&stored[XMM0..]);
        }
    }
    restore_area(cpu, &area)
}
