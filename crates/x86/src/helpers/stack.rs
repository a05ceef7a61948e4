//! Stacks as far transfers and the delivery of events use them: nothing of the vCPU changes until
//! all is known to be right.

use super::segment::Result;
use crate::segment::{SS, Segment, attribute, fault, is_canonical, kind, selector_fault};
use crate::space::{SUPERVISOR, with_space};
use crate::{Space, X86, trap};
use mynah_guest::Cpu;

/// A stack being pushed to or popped from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    segment: Segment,
    /// The stack pointer's new value.
    pub(crate) pointer: u64,
    /// Bits of the stack pointer that count.
    mask: u64,
    /// The rights of accesses.
    space: u8,
    /// The error code of an access beyond the limit.
    error: u16,
}

/// The bits of the stack pointer that count.
fn mask_of(segment: &Segment, long: bool) -> u64 {
    match () {
        () if long => u64::MAX,
        () if segment.has(attribute::BIG) => 0xffff_ffff,
        () => 0xffff,
    }
}

impl Stack {
    /// The stack in use, with the rights of the code in use.
    pub(crate) fn current<M: Space>(cpu: &Cpu<X86<M>>) -> Stack {
        let segment = cpu.state.segment(SS);
        Stack {
            segment,
            pointer: cpu.state.gpr[4],
            mask: mask_of(&segment, cpu.state.is_64()),
            space: cpu.memory.space(),
            error: 0,
        }
    }

    /// A stack to be switched to by code that becomes 64-bit code if `long`, with the rights of
    /// privilege level `cpl`.
    pub(crate) fn inner<M: Space>(
        cpu: &Cpu<X86<M>>,
        cpl: u8,
        segment: Segment,
        pointer: u64,
        long: bool,
    ) -> Stack {
        let mask = mask_of(&segment, long);
        // In long mode it is the address that is wrong, not what a selector says.
        let error = if long { 0 } else { segment.selector & !3 };
        Stack { segment, pointer, mask, space: cpu.state.rights_at(cpl), error }
    }

    /// The stack in use, with the rights of its privilege level, to deliver an event on.
    pub(crate) fn own<M: Space>(cpu: &Cpu<X86<M>>) -> Stack {
        Stack { space: cpu.state.rights_at(cpu.state.system.cpl), ..Stack::current(cpu) }
    }

    /// The linear address of `bytes` bytes at `pointer`.
    fn address<M: Space>(&self, cpu: &Cpu<X86<M>>, pointer: u64, bytes: u32) -> Result<u64> {
        let offset = pointer & self.mask;
        let (address, inside) = if self.mask == u64::MAX {
            (offset, is_canonical(offset, cpu.state.system.is_la57()))
        } else {
            let address = u64::from(self.segment.base.wrapping_add(offset) as u32);
            (address, self.segment.holds(offset, bytes.into()))
        };
        if inside { Ok(address) } else { Err(fault(trap::STACK, self.error)) }
    }

    /// Pushes `value` of `bytes` (2, 4, 8).
    pub(crate) fn push<M: Space>(
        &mut self,
        cpu: &mut Cpu<X86<M>>,
        value: u64,
        bytes: u32,
    ) -> Result<()> {
        let pointer = self.pointer.wrapping_sub(bytes.into());
        let va = self.address(cpu, pointer, bytes)?;
        with_space(cpu, self.space, |cpu| match bytes {
            2 => cpu.memory.store(va, value as u16),
            4 => cpu.memory.store(va, value as u32),
            _ => cpu.memory.store(va, value),
        })?;
        self.move_to(pointer);
        Ok(())
    }

    /// The `bytes` (2, 4, 8) that are `above` bytes above the top.
    pub(crate) fn peek<M: Space>(
        &self,
        cpu: &mut Cpu<X86<M>>,
        above: u64,
        bytes: u32,
    ) -> Result<u64> {
        let va = self.address(cpu, self.pointer.wrapping_add(above), bytes)?;
        let value = with_space(cpu, self.space, |cpu| {
            Ok::<u64, mynah_guest::MemFault>(match bytes {
                2 => cpu.memory.load::<u16>(va)?.into(),
                4 => cpu.memory.load::<u32>(va)?.into(),
                _ => cpu.memory.load::<u64>(va)?,
            })
        })?;
        Ok(value)
    }

    /// Pops `bytes` (2, 4, 8).
    pub(crate) fn pop<M: Space>(&mut self, cpu: &mut Cpu<X86<M>>, bytes: u32) -> Result<u64> {
        let value = self.peek(cpu, 0, bytes)?;
        self.drop(bytes.into());
        Ok(value)
    }

    /// Moves the top up by so many bytes.
    pub(crate) fn drop(&mut self, bytes: u64) {
        self.move_to(self.pointer.wrapping_add(bytes));
    }

    /// Makes the low bits that count those of `pointer`. Of SP the high half of ESP stays; above
    /// ESP there is nothing.
    pub(crate) fn move_to(&mut self, pointer: u64) {
        let kept = self.pointer & !self.mask & 0xffff_ffff;
        self.pointer = kept | pointer & self.mask;
    }

    /// Moves the top to a multiple of 16.
    pub(crate) fn align(&mut self) {
        self.pointer &= !15;
    }

    /// Makes this the stack in use: SS and RSP.
    pub(crate) fn commit<M: Space>(&self, cpu: &mut Cpu<X86<M>>) {
        cpu.state.set_segment(SS, self.segment);
        cpu.state.gpr[4] = self.pointer;
    }

    /// Makes the top RSP; SS stays.
    pub(crate) fn commit_pointer<M: Space>(&self, cpu: &mut Cpu<X86<M>>) {
        cpu.state.gpr[4] = self.pointer;
    }
}

/// The `bytes` at `offset` in the TSS; #TS if it does not reach so far.
pub(crate) fn task_field<M: Space>(cpu: &mut Cpu<X86<M>>, offset: u64, bytes: u32) -> Result<u64> {
    let tr = cpu.state.system.tr;
    if !tr.has(attribute::PRESENT) || offset + u64::from(bytes) - 1 > tr.limit.into() {
        return Err(selector_fault(trap::TASK, tr.selector));
    }
    let va = tr.base.wrapping_add(offset);
    let value = with_space(cpu, SUPERVISOR, |cpu| {
        Ok::<u64, mynah_guest::MemFault>(match bytes {
            2 => cpu.memory.load::<u16>(va)?.into(),
            4 => cpu.memory.load::<u32>(va)?.into(),
            _ => cpu.memory.load::<u64>(va)?,
        })
    })?;
    Ok(value)
}

/// The stack that the TSS has for privilege level `cpl`: in long mode entry `n` of its stack
/// pointers (RSP0–2, then from 4 on IST1–7) with a null SS.
pub(crate) fn task_stack<M: Space>(cpu: &mut Cpu<X86<M>>, cpl: u8, n: u64) -> Result<Stack> {
    if cpu.state.is_long() {
        let pointer = task_field(cpu, 4 + 8 * n, 8)?;
        return Ok(Stack::inner(cpu, cpl, Segment::null(cpl.into()), pointer, true));
    }
    let wide = matches!(cpu.state.system.tr.kind(), kind::TSS32 | kind::BUSY32);
    let cpl_offset = u64::from(cpl);
    let (pointer, selector) = if wide {
        (task_field(cpu, 4 + 8 * cpl_offset, 4)?, task_field(cpu, 8 + 8 * cpl_offset, 2)?)
    } else {
        (task_field(cpu, 2 + 4 * cpl_offset, 2)?, task_field(cpu, 4 + 4 * cpl_offset, 2)?)
    };
    let segment = super::segment::stack_segment(cpu, selector as u16, cpl, trap::TASK, false)?;
    Ok(Stack::inner(cpu, cpl, segment, pointer, false))
}
