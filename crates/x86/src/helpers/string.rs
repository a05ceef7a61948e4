//! Repeated string instructions in bulk: at each call as many elements as one page of each operand
//! holds, so that a fault finds whole iterations and the run loop can poll in between.

use crate::state::State;
use crate::{Space, X86};
use mynah_guest::{Cpu, MemFault};
use mynah_ir::Ty;
use mynah_mem::Memory;

/// Bytes that one call handles at most.
const CHUNK: u64 = 4096;

/// An element's width and the prefix.
#[derive(Clone, Copy)]
struct Shape {
    width: u64,
    /// REPNE: go on while elements differ.
    unequal: bool,
    /// Addresses and the counter have 32 bits.
    narrow: bool,
}

impl Shape {
    fn unpack(word: u64) -> Shape {
        let width = match word & 15 {
            width @ (1 | 2 | 4) => width,
            _ => 8,
        };
        Shape { width, unequal: word >> 8 & 1 != 0, narrow: word >> 9 & 1 != 0 }
    }

    /// Bits of addresses and of the counter.
    fn mask(self) -> u64 {
        if self.narrow { 0xffff_ffff } else { u64::MAX }
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
    fn source(&self, shape: Shape, base: u64) -> u64 {
        base.wrapping_add(self.gpr[6] & shape.mask()) & shape.mask()
    }

    /// The linear address of the destination element.
    fn dest(&self, shape: Shape, base: u64) -> u64 {
        base.wrapping_add(self.gpr[7] & shape.mask()) & shape.mask()
    }

    /// How many elements can be handled at once, going up: no more than lie before the ends of the
    /// pages of `addresses`, and before 32-bit addresses begin anew. One, if it lies across such an
    /// end or if the direction is down.
    fn at_once(&self, shape: Shape, addresses: &[u64]) -> u64 {
        let to_end = |va: &u64| CHUNK - va % CHUNK;
        let mut room = addresses.iter().map(to_end).min().unwrap_or(CHUNK);
        if shape.narrow {
            let last = (self.gpr[6] as u32).max(self.gpr[7] as u32);
            room = room.min((1 << 32) - u64::from(last));
        }
        let elements = if self.df == 0 { room / shape.width } else { 1 };
        elements.max(1).min(self.gpr[1] & shape.mask())
    }

    /// Moves on by `elements`; whether there are more.
    fn advance(&mut self, elements: u64, shape: Shape, moves: Moves) -> bool {
        let bytes = elements.wrapping_mul(shape.width);
        let step = if self.df == 0 { bytes } else { bytes.wrapping_neg() };
        if moves == Moves::SourceAndDest {
            self.gpr[6] = self.gpr[6].wrapping_add(step) & shape.mask();
        }
        self.gpr[7] = self.gpr[7].wrapping_add(step) & shape.mask();
        self.gpr[1] = self.gpr[1].wrapping_sub(elements) & shape.mask();
        self.gpr[1] != 0
    }
}

fn load(memory: &mut impl Memory, shape: Shape, va: u64) -> Result<u64, MemFault> {
    memory.load_word(va, shape.width as u32)
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
fn answer<M: Space>(cpu: &mut Cpu<X86<M>>, more: Result<bool, MemFault>) -> u64 {
    match more {
        Ok(more) => more.into(),
        Err(fault) => {
            cpu.raise(fault);
            0
        }
    }
}

pub(super) extern "C" fn rep_movs<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: u64,
    source: u64,
    dest: u64,
) -> u64 {
    let more = move_some(cpu, Shape::unpack(shape), [source, dest]);
    answer(cpu, more)
}

fn move_some<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: Shape,
    bases: [u64; 2],
) -> Result<bool, MemFault> {
    let (source, dest) = (cpu.state.source(shape, bases[0]), cpu.state.dest(shape, bases[1]));
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

pub(super) extern "C" fn rep_stos<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: u64,
    _: u64,
    dest: u64,
) -> u64 {
    let more = fill_some(cpu, Shape::unpack(shape), dest);
    answer(cpu, more)
}

fn fill_some<M: Space>(cpu: &mut Cpu<X86<M>>, shape: Shape, base: u64) -> Result<bool, MemFault> {
    let dest = cpu.state.dest(shape, base);
    let elements = cpu.state.at_once(shape, &[dest]);
    let value = cpu.state.gpr[0];
    if elements == 1 {
        store(&mut cpu.memory, shape, dest, value)?;
    } else {
        // Eight bytes at a time, whatever the width: it is a power of two.
        let ty = shape.ty();
        let pattern = ty.wrap(value).wrapping_mul(u64::MAX / ty.mask());
        let mut buffer = [0; CHUNK as usize];
        let bytes = (elements * shape.width) as usize;
        for word in buffer[..bytes.next_multiple_of(8)].chunks_exact_mut(8) {
            word.copy_from_slice(&pattern.to_le_bytes());
        }
        cpu.memory.write(dest, &buffer[..bytes])?;
    }
    Ok(cpu.state.advance(elements, shape, Moves::Dest))
}

pub(super) extern "C" fn rep_cmps<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: u64,
    source: u64,
    dest: u64,
) -> u64 {
    let shape = Shape::unpack(shape);
    let (source, dest) = (cpu.state.source(shape, source), cpu.state.dest(shape, dest));
    let elements = cpu.state.at_once(shape, &[source, dest]);
    let operands = |memory: &mut M, at: u64| {
        // The destination is read first, as processors do.
        let b = load(memory, shape, dest.wrapping_add(at))?;
        Ok((load(memory, shape, source.wrapping_add(at))?, b))
    };
    let more = compare_some(cpu, shape, elements, Moves::SourceAndDest, operands);
    answer(cpu, more)
}

pub(super) extern "C" fn rep_scas<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: u64,
    _: u64,
    dest: u64,
) -> u64 {
    let shape = Shape::unpack(shape);
    let (dest, a) = (cpu.state.dest(shape, dest), shape.ty().wrap(cpu.state.gpr[0]));
    let elements = cpu.state.at_once(shape, &[dest]);
    let operands = |memory: &mut M, at: u64| Ok((a, load(memory, shape, dest.wrapping_add(at))?));
    let more = compare_some(cpu, shape, elements, Moves::Dest, operands);
    answer(cpu, more)
}

/// Compares `operands` at byte offsets of up to so many elements.
fn compare_some<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: Shape,
    elements: u64,
    moves: Moves,
    operands: impl Fn(&mut M, u64) -> Result<(u64, u64), MemFault>,
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
