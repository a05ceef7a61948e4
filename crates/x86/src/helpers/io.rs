//! Ports (SDM 1 chapter 19).

use super::segment::{Result, answer};
use crate::flags;
use crate::segment::{GP, attribute, kind};
use crate::space::{SUPERVISOR, with_space};
use crate::{Space, X86};
use mynah_guest::Cpu;

/// Offset of the I/O map's own offset in a 32-bit or 64-bit TSS.
const MAP_BASE: u64 = 0x66;

pub(super) extern "C" fn check<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    port: u64,
    bytes: u64,
    _: u64,
) -> u64 {
    let permitted = check_port(cpu, port, bytes).map(|()| 0);
    answer(cpu, permitted)
}

fn check_port<M: Space>(cpu: &mut Cpu<X86<M>>, port: u64, bytes: u64) -> Result<()> {
    let virtual_8086 = cpu.state.rflags & flags::VM != 0;
    if !virtual_8086 && cpu.state.system.cpl <= cpu.state.iopl() {
        super::debug::watch_port(cpu, port, bytes);
        return Ok(());
    }
    let tr = cpu.state.system.tr;
    let wide = matches!(tr.kind(), kind::TSS32 | kind::BUSY32) && tr.has(attribute::PRESENT);
    if !wide || !tr.holds(MAP_BASE, 2) {
        return Err(GP);
    }
    let map = with_space(cpu, SUPERVISOR, |cpu| {
        let map = cpu.memory.load::<u16>(tr.base.wrapping_add(MAP_BASE))?;
        let at = u64::from(map) + port / 8;
        // The bits of a port may lie in two bytes, which are both read.
        if !tr.holds(at, 2) {
            return Err(GP);
        }
        Ok(cpu.memory.load::<u16>(tr.base.wrapping_add(at))?)
    })?;
    let bits = ((1 << bytes) - 1) << (port % 8);
    if u64::from(map) & bits != 0 {
        return Err(GP);
    }
    super::debug::watch_port(cpu, port, bytes);
    Ok(())
}

fn read<M: Space>(cpu: &Cpu<X86<M>>, port: u64, bytes: u64) -> u64 {
    match &cpu.core.ports {
        Some(ports) => ports.read(port as u16, bytes as u8).into(),
        // Nothing drives the bus.
        None => u32::MAX.into(),
    }
}

pub(super) extern "C" fn input<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    port: u64,
    bytes: u64,
    _: u64,
) -> u64 {
    read(cpu, port, bytes)
}

pub(super) extern "C" fn output<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    port: u64,
    bytes: u64,
    value: u64,
) -> u64 {
    if let Some(ports) = &cpu.core.ports {
        ports.write(port as u16, bytes as u8, value as u32);
    }
    0
}

pub(super) extern "C" fn input_to<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    port: u64,
    bytes: u64,
    va: u64,
) -> u64 {
    // What the port yields once must not be lost in a fault.
    let bytes = bytes.clamp(1, 4);
    let stored = cpu.memory.check_write(va, bytes as usize).and_then(|()| {
        let value = read(cpu, port, bytes).to_le_bytes();
        cpu.memory.write(va, &value[..bytes as usize])
    });
    answer(cpu, stored.map(|()| 0).map_err(Into::into))
}
