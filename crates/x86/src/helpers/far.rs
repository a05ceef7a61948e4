//! Transfers between segments and privilege levels (SDM 3A 5.8; 2, JMP, CALL, RET, IRET, SYSCALL,
//! SYSENTER).

use super::control::{changeable, open_window};
use super::segment::{
    Descriptor, Result, answer, code_segment, descriptor, mark_accessed, real_segment, set_code,
    stack_segment, upper_half,
};
use super::stack::{Stack, task_field, task_stack};
use super::task::{self, Switch};
use crate::flags::{self, IF, IOPL, NT, RF, TF, VIF, VIP, VM};
use crate::registers::{dr6, efer};
use crate::segment::{
    CS, DS, ES, FS, GP, GS, SS, Segment, UD, attribute, is_canonical, is_null, kind, protection,
    rpl, selector_fault,
};
use crate::space::refresh;
use crate::{Space, X86, trap};
use mynah_guest::Cpu;

/// What a far JMP or CALL names.
#[derive(Clone, Copy)]
struct Pointer {
    selector: u16,
    offset: u64,
    /// The operand size in bytes: 2, 4, 8.
    bytes: u32,
    /// Linear address of the next instruction.
    next: u64,
}

impl Pointer {
    fn unpack(shape: u64, offset: u64, next: u64) -> Pointer {
        let bytes = match shape & 255 {
            2 => 2,
            4 => 4,
            _ => 8,
        };
        Pointer { selector: (shape >> 16) as u16, offset, bytes, next }
    }
}

pub(super) extern "C" fn jump<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: u64,
    offset: u64,
    next: u64,
) -> u64 {
    let target = jump_far(cpu, Pointer::unpack(shape, offset, next));
    answer(cpu, target)
}

pub(super) extern "C" fn call<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: u64,
    offset: u64,
    next: u64,
) -> u64 {
    let target = call_far(cpu, Pointer::unpack(shape, offset, next));
    answer(cpu, target)
}

/// Whether `offset`, of which 32 bits count outside 64-bit code, lies in the code segment: #GP if
/// not.
fn check_target<M: Space>(cpu: &Cpu<X86<M>>, segment: &Segment, offset: u64) -> Result<()> {
    let inside = if cpu.state.is_long() && segment.has(attribute::LONG) {
        is_canonical(offset, cpu.state.system.is_la57())
    } else {
        offset as u32 <= segment.limit
    };
    if inside { Ok(()) } else { Err(GP) }
}

/// CS as real and virtual-8086 mode load it.
fn real_code<M: Space>(cpu: &Cpu<X86<M>>, selector: u16, offset: u64) -> Result<Segment> {
    let segment = real_segment(cpu, CS, selector);
    if offset > segment.limit.into() { Err(GP) } else { Ok(segment) }
}

/// Sets CS as real and virtual-8086 mode do; the linear address.
fn set_real_code<M: Space>(cpu: &mut Cpu<X86<M>>, segment: Segment, offset: u64) -> u64 {
    cpu.state.set_segment(CS, segment);
    refresh(cpu);
    cpu.state.code_address(offset)
}

/// What a selector in a far JMP or CALL stands for in protected mode.
enum Target {
    /// Code at the same privilege level, or conforming code.
    Code(Segment),
    /// A call gate.
    Gate(Descriptor),
    /// A task: the selector of its TSS.
    Task(u16),
}

fn target<M: Space>(cpu: &mut Cpu<X86<M>>, selector: u16) -> Result<Target> {
    if is_null(selector) {
        return Err(GP);
    }
    let wrong = protection(selector);
    let found = descriptor(cpu, selector, trap::PROTECTION)?;
    let segment = found.segment();
    let (cpl, dpl) = (cpu.state.system.cpl, segment.dpl());
    if segment.has(attribute::MEMORY) {
        let permitted = match segment.is_conforming() {
            true => dpl <= cpl,
            false => rpl(selector) <= cpl && dpl == cpl,
        };
        if !segment.is_code() || !permitted {
            return Err(wrong);
        }
        return code_segment(cpu, &found).map(Target::Code);
    }
    let long = cpu.state.is_long();
    let known = match segment.kind() {
        kind::CALL32 => true,
        kind::CALL16 | kind::TASK | kind::TSS16 | kind::TSS32 => !long,
        _ => false,
    };
    if !known || dpl < cpl || rpl(selector) > dpl {
        return Err(wrong);
    }
    if !segment.has(attribute::PRESENT) {
        return Err(selector_fault(trap::ABSENT, selector));
    }
    Ok(match segment.kind() {
        kind::TASK => Target::Task(found.gate_selector()),
        kind::TSS16 | kind::TSS32 => Target::Task(selector),
        _ => Target::Gate(found),
    })
}

/// Which code a call gate may lead to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    /// JMP: the privilege level stays.
    Jump,
    /// CALL: it may become an inner one.
    Call,
}

/// The code that a call gate leads to, and the offset there.
fn gate_target<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    gate: &Descriptor,
    through: Through,
) -> Result<(Segment, u64)> {
    let selector = gate.gate_selector();
    let wide = gate.segment().kind() == kind::CALL32;
    let offset = if wide { gate.gate_offset() } else { gate.low & 0xffff };
    let long = cpu.state.is_long();
    let high = if long { upper_half(cpu, gate, trap::PROTECTION)? } else { 0 };
    if is_null(selector) {
        return Err(GP);
    }
    let found = descriptor(cpu, selector, trap::PROTECTION)?;
    let segment = found.segment();
    let (cpl, dpl) = (cpu.state.system.cpl, segment.dpl());
    let stays = dpl == cpl || segment.is_conforming() || through == Through::Call;
    let not_64 = long && (!segment.has(attribute::LONG) || segment.has(attribute::BIG));
    if !segment.is_code() || dpl > cpl || !stays || not_64 {
        return Err(protection(selector));
    }
    let segment = code_segment(cpu, &found)?;
    Ok((segment, offset | high))
}

fn jump_far<M: Space>(cpu: &mut Cpu<X86<M>>, pointer: Pointer) -> Result<u64> {
    if !cpu.state.is_protected() {
        let segment = real_code(cpu, pointer.selector, pointer.offset)?;
        return Ok(set_real_code(cpu, segment, pointer.offset));
    }
    let cpl = cpu.state.system.cpl;
    let (segment, offset) = match target(cpu, pointer.selector)? {
        Target::Code(segment) => (segment, pointer.offset),
        Target::Gate(gate) => gate_target(cpu, &gate, Through::Jump)?,
        Target::Task(selector) => {
            let next = cpu.state.code_offset(pointer.next);
            return task::switch(cpu, selector, Switch::Jump, next);
        }
    };
    check_target(cpu, &segment, offset)?;
    set_code(cpu, segment, cpl);
    Ok(cpu.state.code_address(offset))
}

fn call_far<M: Space>(cpu: &mut Cpu<X86<M>>, pointer: Pointer) -> Result<u64> {
    let return_to = cpu.state.code_offset(pointer.next);
    let return_selector = u64::from(cpu.state.selectors[CS]);
    let mut stack = Stack::current(cpu);
    if !cpu.state.is_protected() {
        let segment = real_code(cpu, pointer.selector, pointer.offset)?;
        stack.push(cpu, return_selector, pointer.bytes)?;
        stack.push(cpu, return_to, pointer.bytes)?;
        stack.commit_pointer(cpu);
        return Ok(set_real_code(cpu, segment, pointer.offset));
    }
    let cpl = cpu.state.system.cpl;
    let (segment, offset, bytes) = match target(cpu, pointer.selector)? {
        Target::Code(segment) => (segment, pointer.offset, pointer.bytes),
        Target::Task(selector) => return task::switch(cpu, selector, Switch::Call, return_to),
        Target::Gate(gate) => {
            let (segment, offset) = gate_target(cpu, &gate, Through::Call)?;
            let bytes = match gate.segment().kind() {
                _ if cpu.state.is_long() => 8,
                kind::CALL32 => 4,
                _ => 2,
            };
            if !segment.is_conforming() && segment.dpl() < cpl {
                return call_inner(cpu, &gate, segment, offset, bytes, return_to);
            }
            (segment, offset, bytes)
        }
    };
    check_target(cpu, &segment, offset)?;
    stack.push(cpu, return_selector, bytes)?;
    stack.push(cpu, return_to, bytes)?;
    stack.commit_pointer(cpu);
    set_code(cpu, segment, cpl);
    Ok(cpu.state.code_address(offset))
}

/// CALL by a gate to an inner privilege level: the stack changes, and parameters are copied.
fn call_inner<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    gate: &Descriptor,
    segment: Segment,
    offset: u64,
    bytes: u32,
    return_to: u64,
) -> Result<u64> {
    let cpl = segment.dpl();
    let long = cpu.state.is_long();
    let outer = Stack::current(cpu);
    let mut inner = task_stack(cpu, cpl, cpl.into())?;
    check_target(cpu, &segment, offset)?;
    let parameters = if long { 0 } else { gate.low >> 32 & 31 };
    inner.push(cpu, cpu.state.selectors[SS].into(), bytes)?;
    inner.push(cpu, cpu.state.gpr[4], bytes)?;
    for n in (0..parameters).rev() {
        let parameter = outer.peek(cpu, n * u64::from(bytes), bytes)?;
        inner.push(cpu, parameter, bytes)?;
    }
    inner.push(cpu, cpu.state.selectors[CS].into(), bytes)?;
    inner.push(cpu, return_to, bytes)?;
    inner.commit(cpu);
    set_code(cpu, segment, cpl);
    Ok(cpu.state.code_address(offset))
}

pub(super) extern "C" fn ret<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    bytes: u64,
    parameters: u64,
    _: u64,
) -> u64 {
    let target = return_far(cpu, bytes as u32, parameters);
    answer(cpu, target)
}

/// The code that RET or IRET goes back to.
fn return_segment<M: Space>(cpu: &mut Cpu<X86<M>>, selector: u16) -> Result<Segment> {
    if is_null(selector) {
        return Err(GP);
    }
    let wrong = protection(selector);
    let found = descriptor(cpu, selector, trap::PROTECTION)?;
    let segment = found.segment();
    let level = rpl(selector);
    let permitted = match segment.is_conforming() {
        true => segment.dpl() <= level,
        false => segment.dpl() == level,
    };
    if level < cpu.state.system.cpl || !segment.is_code() || !permitted {
        return Err(wrong);
    }
    code_segment(cpu, &found)
}

fn return_far<M: Space>(cpu: &mut Cpu<X86<M>>, bytes: u32, parameters: u64) -> Result<u64> {
    let mut stack = Stack::current(cpu);
    let offset = stack.pop(cpu, bytes)?;
    let selector = stack.pop(cpu, bytes)? as u16;
    if !cpu.state.is_protected() {
        let segment = real_code(cpu, selector, offset)?;
        stack.drop(parameters);
        stack.commit_pointer(cpu);
        return Ok(set_real_code(cpu, segment, offset));
    }
    let segment = return_segment(cpu, selector)?;
    stack.drop(parameters);
    if rpl(selector) == cpu.state.system.cpl {
        check_target(cpu, &segment, offset)?;
        stack.commit_pointer(cpu);
        set_code(cpu, segment, rpl(selector));
        return Ok(cpu.state.code_address(offset));
    }
    let pointer = stack.pop(cpu, bytes)?;
    let outer_selector = stack.pop(cpu, bytes)? as u16;
    return_outer(cpu, segment, offset, outer_selector, pointer, parameters)
}

/// Goes back to an outer privilege level, or to the same one with SS:RSP from the stack.
fn return_outer<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    segment: Segment,
    offset: u64,
    stack_selector: u16,
    pointer: u64,
    parameters: u64,
) -> Result<u64> {
    let level = rpl(segment.selector);
    let to_64 = cpu.state.is_long() && segment.has(attribute::LONG);
    let stack = stack_segment(cpu, stack_selector, level, trap::PROTECTION, to_64)?;
    check_target(cpu, &segment, offset)?;
    let before = cpu.state.system.cpl;
    set_code(cpu, segment, level);
    cpu.state.set_segment(SS, stack);
    let mut outer = Stack::current(cpu);
    outer.move_to(pointer.wrapping_add(parameters));
    outer.commit_pointer(cpu);
    if level > before {
        drop_inner_segments(cpu, level);
    }
    refresh(cpu);
    Ok(cpu.state.code_address(offset))
}

/// Data segments that privilege level `level` may not use become null.
fn drop_inner_segments<M: Space>(cpu: &mut Cpu<X86<M>>, level: u8) {
    for n in [ES, DS, FS, GS] {
        let segment = cpu.state.segment(n);
        let loaded = segment.has(attribute::PRESENT);
        if loaded && !segment.is_conforming() && segment.dpl() < level {
            cpu.state.set_segment(n, Segment::null(0));
        }
    }
}

pub(super) extern "C" fn iret<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    bytes: u64,
    next: u64,
    _: u64,
) -> u64 {
    let target = return_interrupt(cpu, bytes as u32, next);
    if target.is_ok() {
        cpu.state.system.nmi_blocked = false;
        open_window(cpu);
    }
    answer(cpu, target)
}

fn return_interrupt<M: Space>(cpu: &mut Cpu<X86<M>>, bytes: u32, next: u64) -> Result<u64> {
    // Of the flags only what the operand holds changes.
    let width = if bytes == 2 { 0xffff } else { u64::MAX };
    if !cpu.state.is_protected() {
        return return_real(cpu, bytes, width);
    }
    if cpu.state.rflags & NT != 0 {
        if cpu.state.is_long() {
            return Err(GP);
        }
        let link = task_field(cpu, 0, 2)? as u16;
        let next = cpu.state.code_offset(next);
        return task::switch(cpu, link, Switch::Return, next);
    }
    let in_64 = cpu.state.is_64();
    let mut stack = Stack::current(cpu);
    let offset = stack.pop(cpu, bytes)?;
    let selector = stack.pop(cpu, bytes)? as u16;
    let rflags = stack.pop(cpu, bytes)?;
    if rflags & VM != 0 && bytes == 4 && cpu.state.system.cpl == 0 && !cpu.state.is_long() {
        return return_virtual(cpu, stack, offset, selector, rflags);
    }
    let segment = return_segment(cpu, selector)?;
    let system = if cpu.state.system.cpl == 0 { VIF | VIP } else { 0 };
    let mask = (changeable(cpu) | RF | system) & width;
    if !in_64 && rpl(selector) == cpu.state.system.cpl {
        check_target(cpu, &segment, offset)?;
        stack.commit_pointer(cpu);
        cpu.state.set_rflags_bits(rflags, mask);
        set_code(cpu, segment, rpl(selector));
        return Ok(cpu.state.code_address(offset));
    }
    let pointer = stack.pop(cpu, bytes)?;
    let stack_selector = stack.pop(cpu, bytes)? as u16;
    let target = return_outer(cpu, segment, offset, stack_selector, pointer, 0)?;
    cpu.state.set_rflags_bits(rflags, mask);
    refresh(cpu);
    Ok(target)
}

/// IRET in real and virtual-8086 mode.
fn return_real<M: Space>(cpu: &mut Cpu<X86<M>>, bytes: u32, width: u64) -> Result<u64> {
    let virtual_8086 = cpu.state.is_virtual();
    if virtual_8086 && cpu.state.iopl() < 3 {
        return Err(GP);
    }
    let mut stack = Stack::current(cpu);
    let offset = stack.pop(cpu, bytes)?;
    let selector = stack.pop(cpu, bytes)? as u16;
    let rflags = stack.pop(cpu, bytes)?;
    let segment = real_code(cpu, selector, offset)?;
    let kept = if virtual_8086 { IOPL } else { 0 };
    let mask = (changeable(cpu) | RF) & !kept & width;
    cpu.state.set_rflags_bits(rflags, mask);
    stack.commit_pointer(cpu);
    Ok(set_real_code(cpu, segment, offset))
}

/// IRET to virtual-8086 mode: all segment registers are on the stack.
fn return_virtual<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    mut stack: Stack,
    offset: u64,
    selector: u16,
    rflags: u64,
) -> Result<u64> {
    let pointer = stack.pop(cpu, 4)?;
    let mut selectors = [(SS, 0), (ES, 0), (DS, 0), (FS, 0), (GS, 0)];
    for (_, value) in &mut selectors {
        *value = stack.pop(cpu, 4)? as u16;
    }
    if offset > 0xffff {
        return Err(GP);
    }
    cpu.state.set_rflags_bits(rflags, flags::ARITHMETIC | flags::DF | flags::SYSTEM);
    enter_virtual(cpu, selector, &selectors);
    cpu.state.gpr[4] = pointer;
    Ok(cpu.state.code_address(offset))
}

/// Loads the segment registers as virtual-8086 mode has them, RFLAGS being set.
pub(crate) fn enter_virtual<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    code: u16,
    selectors: &[(usize, u16)],
) {
    for &(n, selector) in selectors.iter().chain(&[(CS, code)]) {
        let base = u64::from(selector) << 4;
        cpu.state.set_segment(n, Segment { selector, base, ..Segment::VIRTUAL });
    }
    cpu.state.system.cpl = 3;
    refresh(cpu);
}

/// A flat code segment, as SYSCALL and its kin load it.
fn flat_code(selector: u16, cpl: u8, long: bool) -> Segment {
    let width = if long { attribute::LONG } else { attribute::BIG };
    Segment { attributes: FLAT_CODE | u32::from(cpl) << 13 | width, ..flat(selector) }
}

/// A flat stack segment, as SYSCALL and its kin load it.
fn flat_stack(selector: u16, cpl: u8) -> Segment {
    Segment { attributes: FLAT_DATA | attribute::BIG | u32::from(cpl) << 13, ..flat(selector) }
}

fn flat(selector: u16) -> Segment {
    Segment { selector, attributes: 0, base: 0, limit: u32::MAX }
}

const FLAT_DATA: u32 = attribute::PRESENT
    | attribute::MEMORY
    | attribute::WRITABLE
    | attribute::ACCESSED
    | attribute::PAGES;
const FLAT_CODE: u32 = FLAT_DATA | attribute::CODE;

/// Sets CS and SS to flat segments at privilege level `cpl`.
fn set_flat<M: Space>(cpu: &mut Cpu<X86<M>>, code: u16, stack: u16, cpl: u8, long: bool) {
    let level = u16::from(cpl);
    cpu.state.set_segment(SS, flat_stack(stack & !3 | level, cpl));
    set_code(cpu, flat_code(code & !3 | level, cpl, long), cpl);
}

pub(super) extern "C" fn syscall<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    let system = &cpu.state.system;
    if system.efer & efer::SCE == 0 || !cpu.state.is_64() {
        cpu.raise(UD);
        return 0;
    }
    let (selector, target, fmask) = ((system.star >> 32) as u16, system.lstar, system.fmask);
    let all = flags::ARITHMETIC | flags::DF | flags::SYSTEM;
    cpu.state.set_rflags_bits(0, fmask & all | RF);
    if fmask & TF != 0 {
        cpu.state.system.debug_pending &= !dr6::BS;
    }
    set_flat(cpu, selector, selector.wrapping_add(8), 0, true);
    target
}

pub(super) extern "C" fn sysret<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    bytes: u64,
    rcx: u64,
    r11: u64,
) -> u64 {
    let target = return_from_system(cpu, bytes == 8, rcx, r11);
    answer(cpu, target)
}

fn return_from_system<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    to_64: bool,
    rcx: u64,
    r11: u64,
) -> Result<u64> {
    let system = &cpu.state.system;
    if system.efer & efer::SCE == 0 || !cpu.state.is_64() {
        return Err(UD);
    }
    if system.cpl != 0 || to_64 && !is_canonical(rcx, system.is_la57()) {
        return Err(GP);
    }
    let selector = (system.star >> 48) as u16;
    let code = if to_64 { selector.wrapping_add(16) } else { selector };
    let all = flags::ARITHMETIC | flags::DF | flags::SYSTEM;
    cpu.state.set_rflags_bits(r11 & !(RF | VM), all);
    set_flat(cpu, code, selector.wrapping_add(8), 3, to_64);
    open_window(cpu);
    Ok(if to_64 { rcx } else { rcx & 0xffff_ffff })
}

pub(super) extern "C" fn sysenter<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    let system = &cpu.state.system;
    let real = system.cr0 & crate::registers::cr0::PE == 0;
    let selector = system.sysenter_cs as u16;
    if real || is_null(selector) {
        cpu.raise(GP);
        return 0;
    }
    let long = cpu.state.is_long();
    let width = if long { u64::MAX } else { 0xffff_ffff };
    let (top, target) = (system.sysenter_esp & width, system.sysenter_eip & width);
    cpu.state.set_rflags_bits(0, VM | IF | RF);
    cpu.state.gpr[4] = top;
    set_flat(cpu, selector, selector.wrapping_add(8), 0, long);
    target
}

pub(super) extern "C" fn sysexit<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    bytes: u64,
    rcx: u64,
    rdx: u64,
) -> u64 {
    let target = exit_system(cpu, bytes == 8, rcx, rdx);
    answer(cpu, target)
}

fn exit_system<M: Space>(cpu: &mut Cpu<X86<M>>, to_64: bool, rcx: u64, rdx: u64) -> Result<u64> {
    let system = &cpu.state.system;
    let selector = system.sysenter_cs as u16;
    let real = system.cr0 & crate::registers::cr0::PE == 0;
    let canonical = |va| is_canonical(va, system.is_la57());
    if real || is_null(selector) || system.cpl != 0 {
        return Err(GP);
    }
    if to_64 && !(canonical(rcx) && canonical(rdx)) {
        return Err(GP);
    }
    let width = if to_64 { u64::MAX } else { 0xffff_ffff };
    let code = selector.wrapping_add(if to_64 { 32 } else { 16 });
    cpu.state.gpr[4] = rcx & width;
    set_flat(cpu, code, code.wrapping_add(8), 3, to_64);
    Ok(rdx & width)
}

/// The code that a gate of the IDT leads to: its segment, at the privilege level that the handler
/// has.
pub(crate) fn handler_segment<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    selector: u16,
) -> Result<(Segment, u8)> {
    if is_null(selector) {
        return Err(GP);
    }
    let found = descriptor(cpu, selector, trap::PROTECTION)?;
    let segment = found.segment();
    let cpl = cpu.state.system.cpl;
    if !segment.is_code() || segment.dpl() > cpl {
        return Err(protection(selector));
    }
    let not_64 = !segment.has(attribute::LONG) || segment.has(attribute::BIG);
    if cpu.state.is_long() && not_64 {
        return Err(protection(selector));
    }
    if !segment.has(attribute::PRESENT) {
        return Err(selector_fault(trap::ABSENT, selector));
    }
    mark_accessed(cpu, &found)?;
    let level = if segment.is_conforming() { cpl } else { segment.dpl() };
    Ok((segment, level))
}

/// Checks the handler's entry point: #GP if it lies outside its segment.
pub(crate) fn check_handler<M: Space>(
    cpu: &Cpu<X86<M>>,
    segment: &Segment,
    offset: u64,
) -> Result<()> {
    check_target(cpu, segment, offset)
}
