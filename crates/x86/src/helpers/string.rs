//! Repeated string instructions in bulk: at each call as many elements as one page of each operand
//! holds, so that a fault finds whole iterations and the run loop can poll in between.

use crate::X86;
use crate::state::State;
use mynah_guest::{Cpu, MemFault};
use mynah_ir::Ty;
use mynah_mem::{Flat, Memory};

/// Bytes that one call handles at most.
const CHUNK: u64 = 4096;

/// An element's width and the prefix.
#[derive(Clone, Copy)]
struct Shape {
    width: u64,
    /// REPNE: go on while elements differ.
    unequal: bool,
}

impl Shape {
    fn unpack(word: u64) -> Shape {
        let width = match word & 15 {
            width @ (1 | 2 | 4) => width,
            _ => 8,
        };
        Shape { width, unequal: word >> 8 & 1 != 0 }
    }

    fn ty(self) -> Ty {
        Ty::int(self.width as u32).unwrap_or(Ty::I64)
    }
}

/// The pointers that an instruction moves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moves {
    Dest,
    SourceAndDest,
}

impl State {
    /// The linear address of the source element.
    fn source(&self, base: u64) -> u64 {
        base.wrapping_add(self.gpr[6])
    }

    /// The linear address of the destination element.
    fn dest(&self) -> u64 {
        self.gpr[7]
    }

    /// How many elements can be handled at once, going up: no more than lie before the ends of the
    /// pages of `addresses`. One, if it lies across such an end or if the direction is down.
    fn at_once(&self, shape: Shape, addresses: &[u64]) -> u64 {
        let to_end = |va: &u64| CHUNK - va % CHUNK;
        let room = addresses.iter().map(to_end).min().unwrap_or(CHUNK);
        let elements = if self.df == 0 { room / shape.width } else { 1 };
        elements.max(1).min(self.gpr[1])
    }

    /// Moves on by `elements`; whether there are more.
    fn advance(&mut self, elements: u64, shape: Shape, moves: Moves) -> bool {
        let bytes = elements.wrapping_mul(shape.width);
        let step = if self.df == 0 { bytes } else { bytes.wrapping_neg() };
        if moves == Moves::SourceAndDest {
            self.gpr[6] = self.gpr[6].wrapping_add(step);
        }
        self.gpr[7] = self.gpr[7].wrapping_add(step);
        self.gpr[1] = self.gpr[1].wrapping_sub(elements);
        self.gpr[1] != 0
    }
}

fn load(memory: &mut impl Memory, shape: Shape, va: u64) -> Result<u64, MemFault> {
    Ok(match shape.width {
        1 => memory.load::<u8>(va)?.into(),
        2 => memory.load::<u16>(va)?.into(),
        4 => memory.load::<u32>(va)?.into(),
        _ => memory.load::<u64>(va)?,
    })
}

fn store(memory: &mut impl Memory, shape: Shape, va: u64, value: u64) -> Result<(), MemFault> {
    match shape.width {
        1 => memory.store(va, value as u8),
        2 => memory.store(va, value as u16),
        4 => memory.store(va, value as u32),
        _ => memory.store(va, value),
    }
}

/// The helper's answer: whether there are more elements to handle.
fn answer(cpu: &mut Cpu<X86>, more: Result<bool, MemFault>) -> u64 {
    match more {
        Ok(more) => more.into(),
        Err(fault) => {
            cpu.raise(fault);
            0
        }
    }
}

pub(super) extern "C" fn rep_movs(cpu: &mut Cpu<X86>, shape: u64, base: u64, _: u64) -> u64 {
    let more = move_some(cpu, Shape::unpack(shape), base);
    answer(cpu, more)
}

fn move_some(cpu: &mut Cpu<X86>, shape: Shape, base: u64) -> Result<bool, MemFault> {
    let (source, dest) = (cpu.state.source(base), cpu.state.dest());
    // What is written in one go must not be read in it: a pattern that repeats itself.
    let ahead = dest.wrapping_sub(source);
    let apart = if ahead == 0 { u64::MAX } else { ahead / shape.width };
    let elements = cpu.state.at_once(shape, &[source, dest]).min(apart.max(1));
    if elements == 1 {
        let value = load(&mut cpu.memory, shape, source)?;
        store(&mut cpu.memory, shape, dest, value)?;
    } else {
        let mut buffer = [0; CHUNK as usize];
        let bytes = &mut buffer[..(elements * shape.width) as usize];
        cpu.memory.read(source, bytes)?;
        cpu.memory.write(dest, bytes)?;
    }
    Ok(cpu.state.advance(elements, shape, Moves::SourceAndDest))
}

pub(super) extern "C" fn rep_stos(cpu: &mut Cpu<X86>, shape: u64, _: u64, _: u64) -> u64 {
    let more = fill_some(cpu, Shape::unpack(shape));
    answer(cpu, more)
}

fn fill_some(cpu: &mut Cpu<X86>, shape: Shape) -> Result<bool, MemFault> {
    let dest = cpu.state.dest();
    let elements = cpu.state.at_once(shape, &[dest]);
    let value = cpu.state.gpr[0];
    if elements == 1 {
        store(&mut cpu.memory, shape, dest, value)?;
    } else {
        let width = shape.width as usize;
        let mut buffer = [0; CHUNK as usize];
        let bytes = &mut buffer[..elements as usize * width];
        for element in bytes.chunks_exact_mut(width) {
            element.copy_from_slice(&value.to_le_bytes()[..width]);
        }
        cpu.memory.write(dest, bytes)?;
    }
    Ok(cpu.state.advance(elements, shape, Moves::Dest))
}

pub(super) extern "C" fn rep_cmps(cpu: &mut Cpu<X86>, shape: u64, base: u64, _: u64) -> u64 {
    let shape = Shape::unpack(shape);
    let (source, dest) = (cpu.state.source(base), cpu.state.dest());
    let elements = cpu.state.at_once(shape, &[source, dest]);
    let operands = |memory: &mut Flat, at: u64| {
        // The destination is read first, as processors do.
        let b = load(memory, shape, dest.wrapping_add(at))?;
        Ok((load(memory, shape, source.wrapping_add(at))?, b))
    };
    let more = compare_some(cpu, shape, elements, Moves::SourceAndDest, operands);
    answer(cpu, more)
}

pub(super) extern "C" fn rep_scas(cpu: &mut Cpu<X86>, shape: u64, _: u64, _: u64) -> u64 {
    let shape = Shape::unpack(shape);
    let (dest, a) = (cpu.state.dest(), shape.ty().wrap(cpu.state.gpr[0]));
    let elements = cpu.state.at_once(shape, &[dest]);
    let operands =
        |memory: &mut Flat, at: u64| Ok((a, load(memory, shape, dest.wrapping_add(at))?));
    let more = compare_some(cpu, shape, elements, Moves::Dest, operands);
    answer(cpu, more)
}

/// Compares `operands` at byte offsets of up to so many elements.
fn compare_some(
    cpu: &mut Cpu<X86>,
    shape: Shape,
    elements: u64,
    moves: Moves,
    operands: impl Fn(&mut Flat, u64) -> Result<(u64, u64), MemFault>,
) -> Result<bool, MemFault> {
    let mut done = 0;
    loop {
        let (a, b) = match operands(&mut cpu.memory, done * shape.width) {
            Ok(operands) => operands,
            // Those before it are done; the next call faults.
            Err(_) if done > 0 => return Ok(cpu.state.advance(done, shape, moves)),
            Err(fault) => return Err(fault),
        };
        done += 1;
        let stop = (a != b) != shape.unequal;
        if stop || done == elements {
            let more = cpu.state.advance(done, shape, moves) && !stop;
            if !more {
                cpu.state.compare(shape.ty(), a, b);
            }
            return Ok(more);
        }
    }
}
