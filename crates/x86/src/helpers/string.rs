//! Repeated string instructions in bulk.

use crate::X86;
use crate::state::State;
use mynah_guest::{Cpu, MemFault};

/// Bytes that one call handles at most: the run loop polls in between.
const CHUNK: u64 = 4096;

/// Bytes from `va` to the end of its page.
fn to_page_end(va: u64) -> u64 {
    CHUNK - va % CHUNK
}

impl State {
    /// Moves the string pointers and the count on by `elements` of `width` bytes.
    fn advance(&mut self, elements: u64, width: u64, source: bool) {
        let bytes = elements.wrapping_mul(width);
        let step = if self.df == 0 { bytes } else { bytes.wrapping_neg() };
        if source {
            self.gpr[6] = self.gpr[6].wrapping_add(step);
        }
        self.gpr[7] = self.gpr[7].wrapping_add(step);
        self.gpr[1] -= elements;
    }
}

/// Elements that can be handled at once: up to the end of the page, with DF = 0 only.
fn elements(cpu: &Cpu<X86>, width: u64, room: u64) -> u64 {
    if cpu.state.df != 0 { 1 } else { (room / width).max(1).min(cpu.state.gpr[1]) }
}

fn element(value: u64, width: u64) -> [u8; 8] {
    debug_assert!(matches!(width, 1 | 2 | 4 | 8));
    value.to_le_bytes()
}

pub(super) extern "C" fn rep_movs(cpu: &mut Cpu<X86>, width: u64, base: u64, _: u64) -> u64 {
    match move_some(cpu, width, base) {
        Ok(n) => cpu.state.advance(n, width, true),
        Err(fault) => cpu.raise(fault),
    }
    0
}

fn move_some(cpu: &Cpu<X86>, width: u64, base: u64) -> Result<u64, MemFault> {
    let source = base.wrapping_add(cpu.state.gpr[6]);
    let dest = cpu.state.gpr[7];
    let mut room = to_page_end(source).min(to_page_end(dest));
    // What is written must not be read in the same chunk: a pattern that repeats itself.
    let ahead = dest.wrapping_sub(source);
    if ahead != 0 {
        room = room.min(ahead);
    }
    let n = elements(cpu, width, room);
    let bytes = (n * width) as usize;
    let mut buffer = [0; CHUNK as usize];
    let buffer = &mut buffer[..bytes];
    cpu.memory.read(source, buffer)?;
    cpu.memory.write(dest, buffer)?;
    Ok(n)
}

pub(super) extern "C" fn rep_stos(cpu: &mut Cpu<X86>, width: u64, _: u64, _: u64) -> u64 {
    match fill_some(cpu, width) {
        Ok(n) => cpu.state.advance(n, width, false),
        Err(fault) => cpu.raise(fault),
    }
    0
}

fn fill_some(cpu: &Cpu<X86>, width: u64) -> Result<u64, MemFault> {
    let dest = cpu.state.gpr[7];
    let n = elements(cpu, width, to_page_end(dest));
    let pattern = element(cpu.state.gpr[0], width);
    let mut buffer = [0; CHUNK as usize];
    for chunk in buffer.chunks_exact_mut(width as usize).take(n as usize) {
        chunk.copy_from_slice(&pattern[..width as usize]);
    }
    cpu.memory.write(dest, &buffer[..(n * width) as usize])?;
    Ok(n)
}
