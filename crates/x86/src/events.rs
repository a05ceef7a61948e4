//! Exceptions and interrupts on their way to the guest's handlers (SDM 3A chapter 6).
//!
//! The machine around a vCPU calls [`deliver`] with what the vCPU reported, or with an interrupt,
//! and [`attend`] between instructions. Nothing of the vCPU changes before all is known to be
//! right; what goes wrong then is delivered instead, as a double fault where the manual says so.

use crate::access;
use crate::flags::{AC, IF, NT, RF, TF, VM};
use crate::helpers::debug::RESUMED;
use crate::helpers::far::{check_handler, handler_segment};
use crate::helpers::segment::{Descriptor, Result, set_code};
use crate::helpers::stack::{Stack, task_stack};
use crate::helpers::task::{self, Switch};
use crate::paging::NON_CANONICAL;
use crate::registers::{DR6_RESET, dr6, dr7};
use crate::segment::{CS, DS, ES, FS, GS, SS, Segment, attribute, fault, kind, protection};
use crate::space::{SUPERVISOR, refresh, with_space};
use crate::{Space, State, X86, trap};
use mynah_guest::{Access, Cause, Cpu, Fault, MemFault};
use mynah_ir::Trap;

/// Something that has a handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// An instruction could not complete; the pc is its own.
    Fault(Fault),
    /// An instruction asked for it: INT n, INT3, INTO or INT1, whose traps are in [`trap`]. The pc is
    /// that behind it.
    Trap(Trap),
    /// An interrupt controller's interrupt with this vector. The pc is that of the next
    /// instruction.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
}

/// The vCPU stopped: an exception could not be delivered, nor the double fault that it became
/// ("triple fault"). Most machines reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shutdown;

/// What is due between two instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// An exception was: it is delivered, and the pc is its handler's.
    Delivered,
    /// One instruction is to be executed before anything is delivered: the one behind STI or a load
    /// of SS. Then the machine is to attend again.
    Instruction,
    /// Nothing: interrupts may be delivered, if [`State::is_interruptible`].
    Nothing,
}

/// How an event came to be, which decides on what is checked and saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    /// An exception of the instruction at the pc.
    Fault,
    /// A breakpoint on the instruction at the pc: a fault that leaves RF as it is saved
    /// (SDM 3B 17.3.1.1).
    Breakpoint,
    /// An exception or interrupt before the instruction at the pc.
    Outside,
    /// INT n, INT3, INTO, of so many bytes: the gate must permit it. If it cannot be delivered it is
    /// as if the instruction had not been executed.
    Software(u64),
}

/// An event on its way.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    vector: u8,
    error: Option<u32>,
    origin: Origin,
    /// CR2 for a page fault.
    address: Option<u64>,
}

/// How exceptions combine when one meets another (SDM 3A table 6-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Benign,
    Contributory,
    Page,
}

impl Delivery {
    fn exception(vector: u16, code: u32) -> Delivery {
        let has_code = matches!(vector, trap::DOUBLE | trap::TASK..=trap::PAGE | trap::ALIGNMENT);
        Delivery {
            vector: vector as u8,
            error: has_code.then_some(code),
            origin: Origin::Fault,
            address: None,
        }
    }

    fn outside(vector: u8) -> Delivery {
        Delivery { vector, error: None, origin: Origin::Outside, address: None }
    }

    fn of_fault(fault: Fault) -> Delivery {
        match fault {
            Fault::Trap(Trap { code, data }) => Delivery::exception(code, data),
            Fault::Memory(MemFault { va, access, cause }) => match cause {
                Cause::Refused(NON_CANONICAL) => Delivery::exception(trap::PROTECTION, 0),
                Cause::Refused(code) => {
                    let address = Some(va);
                    Delivery { address, ..Delivery::exception(trap::PAGE, code) }
                }
                // What no device answers reads as ones, which are no instruction.
                _ if access == Access::Fetch => Delivery::exception(trap::UNDEFINED, 0),
                _ => Delivery::exception(trap::PROTECTION, 0),
            },
        }
    }

    fn of_trap(Trap { code, data }: Trap) -> Delivery {
        let origin = Origin::Software((data >> 8).into());
        let vector = if code == trap::INT { data as u8 } else { code as u8 };
        match code {
            // INT1 is not asked whether the gate permits it.
            trap::DEBUG => Delivery::outside(trap::DEBUG as u8),
            _ => Delivery { vector, error: None, origin, address: None },
        }
    }

    fn class(&self) -> Class {
        match (self.origin, self.vector.into()) {
            (Origin::Software(_), _) => Class::Benign,
            (Origin::Outside, _) => Class::Benign,
            (_, trap::DIVIDE | trap::TASK..=trap::PROTECTION) => Class::Contributory,
            (_, trap::PAGE) => Class::Page,
            _ => Class::Benign,
        }
    }

    /// Bit 0 of the error codes of what goes wrong: the event came from outside the program.
    fn external(&self) -> u32 {
        u32::from(!matches!(self.origin, Origin::Software(_)))
    }

    /// The fault of its gate.
    fn gate_fault(&self, vector: u16) -> Fault {
        fault(vector, u16::from(self.vector) << 3 | 2)
    }
}

impl State {
    /// Whether maskable interrupts may be delivered.
    pub fn is_interruptible(&self) -> bool {
        self.rflags & IF != 0
    }
}

/// Makes the vCPU go on in the handler of `event`.
pub fn deliver<M: Space>(cpu: &mut Cpu<X86<M>>, event: Event) -> std::result::Result<(), Shutdown> {
    let mut delivery = match event {
        Event::Fault(fault) => Delivery::of_fault(access::exception(cpu, fault)),
        Event::Trap(trap) => Delivery::of_trap(trap),
        Event::Interrupt(vector) => Delivery::outside(vector),
        Event::Nmi => Delivery::outside(trap::NMI as u8),
    };
    settle_debug(cpu, &mut delivery);
    if matches!(event, Event::Trap(_)) {
        // Its handler is not stepped into.
        cpu.state.system.debug_pending &= !dr6::BS;
    }
    if event == Event::Nmi {
        cpu.state.system.nmi_blocked = true;
    }
    loop {
        if let Some(address) = delivery.address {
            cpu.state.system.cr2 = address;
        }
        let Err(fault) = with_space(cpu, SUPERVISOR, |cpu| enter_over_code(cpu, &delivery)) else {
            return Ok(());
        };
        if delivery.vector == trap::DOUBLE as u8 && delivery.origin == Origin::Fault {
            return Err(Shutdown);
        }
        if let Origin::Software(len) = delivery.origin {
            cpu.core.pc = cpu.state.back(cpu.core.pc, len);
        }
        delivery = follow(&delivery, fault);
    }
}

impl State {
    /// The linear address `len` bytes before `pc`.
    fn back(&self, pc: u64, len: u64) -> u64 {
        let before = pc.wrapping_sub(len);
        if self.is_64() { before } else { before & 0xffff_ffff }
    }
}

/// What is delivered after `fault` was met in the delivery of `first`.
fn follow(first: &Delivery, fault: Fault) -> Delivery {
    let mut second = Delivery::of_fault(fault);
    let double = matches!(
        (first.class(), second.class()),
        (Class::Contributory, Class::Contributory)
            | (Class::Page, Class::Contributory | Class::Page)
    );
    if double {
        let address = second.address;
        return Delivery { address, ..Delivery::exception(trap::DOUBLE, 0) };
    }
    let about_selector = matches!(second.vector.into(), trap::TASK..=trap::PROTECTION);
    if about_selector {
        second.error = second.error.map(|code| code | first.external());
    }
    second
}

/// Debug conditions that were found in the instruction at hand go to DR6 with the exception, or are
/// lost with the instruction.
fn settle_debug<M: Space>(cpu: &mut Cpu<X86<M>>, delivery: &mut Delivery) {
    let system = &mut cpu.state.system;
    match delivery.origin {
        Origin::Fault => {
            let pending = std::mem::take(&mut system.debug_pending) & !RESUMED;
            if delivery.vector == trap::DEBUG as u8 {
                system.dr6 |= pending;
                if pending & dr6::BD == 0 {
                    delivery.origin = Origin::Breakpoint;
                }
            }
        }
        Origin::Breakpoint | Origin::Software(_) | Origin::Outside => {}
    }
    if delivery.vector == trap::DEBUG as u8 {
        system.dr7 &= !dr7::GD;
    }
}

/// Delivers what is due before the next instruction other than interrupts: to be called when the
/// vCPU asks for attention.
pub fn attend<M: Space>(cpu: &mut Cpu<X86<M>>) -> std::result::Result<Due, Shutdown> {
    if let Some(fault) = cpu.state.system.due.take() {
        deliver(cpu, Event::Fault(fault))?;
        return Ok(Due::Delivered);
    }
    let system = &mut cpu.state.system;
    if system.debug_pending & RESUMED != 0 {
        system.debug_pending &= !RESUMED;
        cpu.state.rflags &= !RF;
    }
    let system = &mut cpu.state.system;
    if system.shadow_pc.take() == Some(cpu.core.pc) {
        // The single step is the next instruction's.
        system.debug_pending &= !dr6::BS;
        return Ok(Due::Instruction);
    }
    let pending = std::mem::take(&mut system.debug_pending);
    if pending == 0 {
        return Ok(Due::Nothing);
    }
    system.dr6 = system.dr6 & !0xf | pending | DR6_RESET;
    system.dr7 &= !dr7::GD;
    deliver_outside(cpu, trap::DEBUG as u8)?;
    Ok(Due::Delivered)
}

fn deliver_outside<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    vector: u8,
) -> std::result::Result<(), Shutdown> {
    deliver(cpu, Event::Interrupt(vector))
}

/// Enters the handler, also where what it saves lies on translated code: that is forgotten first, a
/// line for each attempt. The longest entry writes two task-state segments and a stack.
fn enter_over_code<M: Space>(cpu: &mut Cpu<X86<M>>, delivery: &Delivery) -> Result<()> {
    const ATTEMPTS: usize = 16;
    for _ in 0..ATTEMPTS {
        match enter(cpu, delivery) {
            Err(Fault::Memory(MemFault { va, cause: Cause::Code, .. })) => {
                cpu.memory.forget_code(va);
            }
            result => return result,
        }
    }
    enter(cpu, delivery)
}

/// Enters the handler.
fn enter<M: Space>(cpu: &mut Cpu<X86<M>>, delivery: &Delivery) -> Result<()> {
    if !cpu.state.is_protected() && !cpu.state.is_virtual() {
        return enter_real(cpu, delivery);
    }
    let gate = gate(cpu, delivery)?;
    let segment = gate.segment();
    match segment.kind() {
        kind::TASK => enter_task(cpu, delivery, &gate),
        _ if cpu.state.is_long() => enter_long(cpu, delivery, &gate),
        _ => enter_protected(cpu, delivery, &gate),
    }
}

/// RFLAGS as the handler finds it saved.
fn saved_rflags<M: Space>(cpu: &Cpu<X86<M>>, delivery: &Delivery) -> u64 {
    let resume = if delivery.origin == Origin::Fault { RF } else { 0 };
    cpu.state.rflags() & !RF | resume
}

/// By the interrupt vector table of real mode: no error codes, 16 bits.
fn enter_real<M: Space>(cpu: &mut Cpu<X86<M>>, delivery: &Delivery) -> Result<()> {
    let idtr = cpu.state.system.idtr;
    let at = u64::from(delivery.vector) * 4;
    if at + 3 > idtr.limit.into() {
        return Err(delivery.gate_fault(trap::PROTECTION));
    }
    let pointer = u64::from(cpu.memory.load::<u32>(idtr.base.wrapping_add(at))?);
    let (offset, selector) = (pointer & 0xffff, (pointer >> 16) as u16);
    let mut stack = Stack::own(cpu);
    stack.push(cpu, cpu.state.rflags() & !RF, 2)?;
    stack.push(cpu, cpu.state.selectors[CS].into(), 2)?;
    stack.push(cpu, cpu.state.code_offset(cpu.core.pc), 2)?;
    stack.commit_pointer(cpu);
    let base = u64::from(selector) << 4;
    cpu.state.set_segment(CS, Segment { selector, base, ..cpu.state.segment(CS) });
    cpu.state.set_rflags_bits(0, IF | TF | AC | RF);
    refresh(cpu);
    cpu.core.pc = cpu.state.code_address(offset);
    Ok(())
}

/// The gate of the event, checked.
fn gate<M: Space>(cpu: &mut Cpu<X86<M>>, delivery: &Delivery) -> Result<Descriptor> {
    let long = cpu.state.is_long();
    let software = matches!(delivery.origin, Origin::Software(_));
    let breakpoint = matches!(delivery.vector.into(), trap::BREAKPOINT | trap::OVERFLOW);
    if software && !breakpoint && cpu.state.is_virtual() && cpu.state.iopl() < 3 {
        return Err(crate::segment::GP);
    }
    let bytes = if long { 16 } else { 8 };
    let idtr = cpu.state.system.idtr;
    let at = u64::from(delivery.vector) * bytes;
    if at + bytes - 1 > idtr.limit.into() {
        return Err(delivery.gate_fault(trap::PROTECTION));
    }
    let va = idtr.base.wrapping_add(at);
    let low = cpu.memory.load::<u64>(va)?;
    let gate = Descriptor { selector: 0, va, low };
    let segment = gate.segment();
    let known = match segment.kind() {
        kind::INTERRUPT32 | kind::TRAP32 => true,
        kind::TASK | kind::INTERRUPT16 | kind::TRAP16 => !long,
        _ => false,
    };
    if !known || software && segment.dpl() < cpu.state.system.cpl {
        return Err(delivery.gate_fault(trap::PROTECTION));
    }
    if !segment.has(attribute::PRESENT) {
        return Err(delivery.gate_fault(trap::ABSENT));
    }
    Ok(gate)
}

fn enter_task<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    delivery: &Delivery,
    gate: &Descriptor,
) -> Result<()> {
    let before = cpu.state.rflags;
    cpu.state.rflags = saved_rflags(cpu, delivery) & crate::flags::SYSTEM;
    let next = cpu.state.code_offset(cpu.core.pc);
    let switched = task::switch(cpu, gate.gate_selector(), Switch::Call, next);
    let target = switched.inspect_err(|_| cpu.state.rflags = before)?;
    cpu.core.pc = target;
    if let (Some(code), None) = (delivery.error, cpu.state.system.due) {
        let wide = matches!(cpu.state.system.tr.kind(), kind::TSS32 | kind::BUSY32);
        let mut stack = Stack::own(cpu);
        match stack.push(cpu, code.into(), if wide { 4 } else { 2 }) {
            Ok(()) => stack.commit_pointer(cpu),
            // It is the new task's.
            Err(fault) => {
                cpu.state.system.due = Some(fault);
                crate::helpers::control::ask_attention(cpu);
            }
        }
    }
    Ok(())
}

/// Into a handler that a 32-bit or 16-bit gate leads to.
fn enter_protected<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    delivery: &Delivery,
    gate: &Descriptor,
) -> Result<()> {
    let wide = matches!(gate.segment().kind(), kind::INTERRUPT32 | kind::TRAP32);
    let (bytes, offset) = if wide { (4, gate.gate_offset()) } else { (2, gate.low & 0xffff) };
    let selector = gate.gate_selector();
    let (segment, cpl) = handler_segment(cpu, selector)?;
    let from_virtual = cpu.state.is_virtual();
    let inner = cpl < cpu.state.system.cpl;
    if from_virtual && cpl != 0 {
        return Err(protection(selector));
    }
    let mut stack = if inner { task_stack(cpu, cpl, cpl.into())? } else { Stack::own(cpu) };
    check_handler(cpu, &segment, offset)?;
    if from_virtual {
        for n in [GS, FS, DS, ES] {
            stack.push(cpu, cpu.state.selectors[n].into(), bytes)?;
        }
    }
    if inner {
        stack.push(cpu, cpu.state.selectors[SS].into(), bytes)?;
        stack.push(cpu, cpu.state.gpr[4], bytes)?;
    }
    push_frame(cpu, delivery, &mut stack, bytes)?;
    if inner {
        stack.commit(cpu);
    } else {
        stack.commit_pointer(cpu);
    }
    if from_virtual {
        for n in [GS, FS, DS, ES] {
            cpu.state.set_segment(n, Segment::null(0));
        }
    }
    go(cpu, segment, cpl, offset, gate);
    Ok(())
}

/// RFLAGS, CS, the instruction pointer and the error code.
fn push_frame<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    delivery: &Delivery,
    stack: &mut Stack,
    bytes: u32,
) -> Result<()> {
    stack.push(cpu, saved_rflags(cpu, delivery), bytes)?;
    stack.push(cpu, cpu.state.selectors[CS].into(), bytes)?;
    stack.push(cpu, cpu.state.code_offset(cpu.core.pc), bytes)?;
    if let Some(code) = delivery.error {
        stack.push(cpu, code.into(), bytes)?;
    }
    Ok(())
}

/// Goes on at the handler; nothing can fail any more.
fn go<M: Space>(cpu: &mut Cpu<X86<M>>, segment: Segment, cpl: u8, offset: u64, gate: &Descriptor) {
    let masks = matches!(gate.segment().kind(), kind::INTERRUPT16 | kind::INTERRUPT32);
    let cleared = TF | NT | VM | RF | if masks { IF } else { 0 };
    cpu.state.set_rflags_bits(0, cleared);
    let attributes = segment.attributes | attribute::ACCESSED;
    set_code(cpu, Segment { attributes, ..segment }, cpl);
    cpu.core.pc = cpu.state.code_address(offset);
}

/// Into a handler of long mode: SS and RSP are always saved, on a stack that is aligned.
fn enter_long<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    delivery: &Delivery,
    gate: &Descriptor,
) -> Result<()> {
    let high = cpu.memory.load::<u64>(gate.va.wrapping_add(8))?;
    let offset = gate.gate_offset() | high << 32;
    let (segment, cpl) = handler_segment(cpu, gate.gate_selector())?;
    let inner = cpl < cpu.state.system.cpl;
    let interrupt_stack = gate.low >> 32 & 7;
    let current = cpu.state.segment(SS);
    let mut stack = match interrupt_stack {
        0 if inner => task_stack(cpu, cpl, cpl.into())?,
        0 => Stack::inner(cpu, cpl, current, cpu.state.gpr[4], true),
        n => {
            let stack = task_stack(cpu, cpl, 3 + n)?;
            if inner { stack } else { Stack::inner(cpu, cpl, current, stack.pointer, true) }
        }
    };
    check_handler(cpu, &segment, offset)?;
    stack.align();
    stack.push(cpu, current.selector.into(), 8)?;
    stack.push(cpu, cpu.state.gpr[4], 8)?;
    push_frame(cpu, delivery, &mut stack, 8)?;
    stack.commit(cpu);
    go(cpu, segment, cpl, offset, gate);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_combine() {
        let page = |va| {
            let cause = Cause::Refused(2);
            Fault::Memory(MemFault { va, access: Access::Write, cause })
        };
        let gp = protection(8);
        let after = |first: Fault, second: Fault| {
            let delivery = follow(&Delivery::of_fault(first), second);
            (delivery.vector, delivery.error)
        };
        assert_eq!(after(gp, gp), (8, Some(0)));
        assert_eq!(after(page(0), page(0)), (8, Some(0)));
        assert_eq!(after(page(0), gp), (8, Some(0)));
        assert_eq!(after(gp, page(0)), (14, Some(2)));
        assert_eq!(after(crate::segment::UD, gp), (13, Some(9)));
        let software = Delivery::of_trap(Trap { code: trap::INT, data: 0x2_0d });
        let second = follow(&software, gp);
        assert_eq!((second.vector, second.error), (13, Some(8)));
    }

    #[test]
    fn faults_of_memory_become_exceptions() {
        let of = |access, cause| {
            let delivery = Delivery::of_fault(MemFault { va: 5, access, cause }.into());
            (delivery.vector, delivery.error, delivery.address)
        };
        assert_eq!(of(Access::Read, Cause::Refused(4)), (14, Some(4), Some(5)));
        assert_eq!(of(Access::Read, Cause::Refused(NON_CANONICAL)), (13, Some(0), None));
        assert_eq!(of(Access::Read, Cause::Misaligned), (13, Some(0), None));
        assert_eq!(of(Access::Fetch, Cause::Bus), (6, None, None));
    }
}
