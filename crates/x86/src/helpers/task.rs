//! Task switches (SDM 3A 8.3). Long mode has none.

use super::control::{ask_attention, set_cr3};
use super::far::enter_virtual;
use super::segment::{
    Result, code_segment, data_segment, descriptor, ldt, set_type_bits, stack_segment,
    system_segment,
};
use crate::flags::{ARITHMETIC, DF as DIRECTION, NT, SYSTEM, VM};
use crate::registers::{cr0, dr6, dr7};
use crate::segment::{
    CS, DS, ES, FS, GS, SS, Segment, is_null, kind, protection, rpl, selector_fault,
};
use crate::space::{SUPERVISOR, refresh, with_space};
use crate::{Space, X86, trap};
use mynah_guest::Cpu;
use mynah_mem::MemFault;

/// Why the task changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Switch {
    /// JMP.
    Jump,
    /// CALL, or a task gate of the IDT: the new task is nested in the old.
    Call,
    /// IRET of a nested task.
    Return,
}

/// Where a TSS has its fields, in bytes from its begin.
struct Layout {
    /// Bytes of a general register.
    bytes: u32,
    cr3: Option<u64>,
    /// The instruction pointer; the flags, eight general registers and the segment registers (each
    /// as wide as a general register) follow.
    eip: u64,
    segments: u64,
    /// ES, CS, SS, DS, and (32-bit) FS, GS.
    segment_count: u64,
    ldt: u64,
    /// The trap bit.
    trap: Option<u64>,
    /// The least limit.
    limit: u32,
}

const WIDE: Layout = Layout {
    bytes: 4,
    cr3: Some(28),
    eip: 32,
    segments: 72,
    segment_count: 6,
    ldt: 96,
    trap: Some(100),
    limit: 0x67,
};
const NARROW: Layout = Layout {
    bytes: 2,
    cr3: None,
    eip: 14,
    segments: 34,
    segment_count: 4,
    ldt: 42,
    trap: None,
    limit: 0x2b,
};

impl Layout {
    fn of(kind: u32) -> &'static Layout {
        if matches!(kind, kind::TSS32 | kind::BUSY32) { &WIDE } else { &NARROW }
    }

    /// Where what a switch saves ends.
    fn saved_end(&self) -> u64 {
        self.segments + self.segment_count * u64::from(self.bytes)
    }

    fn general(&self, n: usize) -> u64 {
        self.eip + u64::from(self.bytes) * (2 + n as u64)
    }
}

fn load<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    va: u64,
    bytes: u32,
) -> std::result::Result<u64, MemFault> {
    Ok(match bytes {
        2 => cpu.memory.load::<u16>(va)?.into(),
        _ => cpu.memory.load::<u32>(va)?.into(),
    })
}

fn store<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    va: u64,
    value: u64,
    bytes: u32,
) -> std::result::Result<(), MemFault> {
    match bytes {
        2 => cpu.memory.store(va, value as u16),
        _ => cpu.memory.store(va, value as u32),
    }
}

/// Switches to the task of the TSS `selector`; `next` is the instruction pointer at which the old
/// one will go on. The linear address of the new task's next instruction. What loading its segment
/// registers meets is due there.
pub(crate) fn switch<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    selector: u16,
    why: Switch,
    next: u64,
) -> Result<u64> {
    let returns = why == Switch::Return;
    let vector = if returns { trap::TASK } else { trap::PROTECTION };
    if is_null(selector) {
        return Err(selector_fault(vector, selector));
    }
    let wanted = if returns { [kind::BUSY16, kind::BUSY32] } else { [kind::TSS16, kind::TSS32] };
    let (segment, found) = system_segment(cpu, selector, vector, |kind| wanted.contains(&kind))?;
    let new = Layout::of(segment.kind());
    if segment.limit < new.limit {
        return Err(selector_fault(trap::TASK, selector));
    }
    let incoming = with_space(cpu, SUPERVISOR, |cpu| Image::load(cpu, new, segment.base))?;
    let old = cpu.state.system.tr;
    let kept = if returns { !NT } else { u64::MAX };
    with_space(cpu, SUPERVISOR, |cpu| save(cpu, &old, next, kept))?;
    if why != Switch::Call {
        let busy = descriptor(cpu, old.selector, trap::TASK)?;
        set_type_bits(cpu, busy.va, 0, 2)?;
    } else {
        with_space(cpu, SUPERVISOR, |cpu| store(cpu, segment.base, old.selector.into(), 2))?;
    }
    if !returns {
        set_type_bits(cpu, found.va, 2, 0)?;
    }
    // From here on it is the new task that faults.
    cpu.state.system.tr = Segment { attributes: segment.attributes | 2 << 8, ..segment };
    cpu.state.system.cr0 |= cr0::TS;
    cpu.state.system.dr7 &= !dr7::LOCAL;
    let nested = if why == Switch::Call { NT } else { 0 };
    let entered = enter(cpu, new, &incoming, nested);
    refresh(cpu);
    if let Err(fault) = entered {
        cpu.state.system.due = Some(fault);
        ask_attention(cpu);
    }
    if incoming.trap {
        cpu.state.system.debug_pending |= dr6::BT;
        ask_attention(cpu);
    }
    Ok(cpu.state.code_address(incoming.eip))
}

/// Saves the state of the task in use; `kept` are the flags that stay.
fn save<M: Space>(cpu: &mut Cpu<X86<M>>, tr: &Segment, next: u64, kept: u64) -> Result<()> {
    let layout = Layout::of(tr.kind());
    // Linear addresses have 32 bits here, whatever long mode has left in TR.
    let (bytes, base) = (layout.bytes, tr.base & 0xffff_ffff);
    if u64::from(tr.limit) < layout.saved_end() - 1 {
        return Err(selector_fault(trap::TASK, tr.selector));
    }
    store(cpu, base + layout.eip, next, bytes)?;
    let rflags = cpu.state.rflags() & kept;
    store(cpu, base + layout.eip + u64::from(bytes), rflags, bytes)?;
    for n in 0..8 {
        store(cpu, base + layout.general(n), cpu.state.gpr[n], bytes)?;
    }
    for n in 0..layout.segment_count {
        let selector = cpu.state.selectors[n as usize];
        store(cpu, base + layout.segments + n * u64::from(bytes), selector.into(), 2)?;
    }
    Ok(())
}

/// A task's state in memory.
struct Image {
    cr3: Option<u64>,
    eip: u64,
    rflags: u64,
    general: [u64; 8],
    selectors: [u16; 6],
    ldt: u16,
    trap: bool,
}

impl Image {
    fn load<M: Space>(cpu: &mut Cpu<X86<M>>, layout: &Layout, base: u64) -> Result<Image> {
        let bytes = layout.bytes;
        let mut image = Image {
            cr3: None,
            eip: load(cpu, base + layout.eip, bytes)?,
            rflags: load(cpu, base + layout.eip + u64::from(bytes), bytes)?,
            general: [0; 8],
            selectors: [0; 6],
            ldt: load(cpu, base + layout.ldt, 2)? as u16,
            trap: false,
        };
        for n in 0..8 {
            image.general[n] = load(cpu, base + layout.general(n), bytes)?;
        }
        for n in 0..layout.segment_count {
            let at = base + layout.segments + n * u64::from(bytes);
            image.selectors[n as usize] = load(cpu, at, 2)? as u16;
        }
        if let Some(at) = layout.cr3 {
            image.cr3 = Some(load(cpu, base + at, 4)?);
        }
        if let Some(at) = layout.trap {
            image.trap = load(cpu, base + at, 2)? & 1 != 0;
        }
        Ok(image)
    }
}

/// Takes on the state of the new task.
fn enter<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    layout: &Layout,
    image: &Image,
    nested: u64,
) -> Result<()> {
    for (n, &value) in image.general.iter().enumerate() {
        // A 16-bit TSS leaves the high halves undefined; they stay.
        let kept = if layout.bytes == 2 { cpu.state.gpr[n] & 0xffff_0000 } else { 0 };
        cpu.state.gpr[n] = kept | value;
    }
    let width = if layout.bytes == 2 { 0xffff } else { u64::MAX };
    let all = (ARITHMETIC | DIRECTION | SYSTEM) & width;
    cpu.state.set_rflags_bits(image.rflags | nested, all | VM);
    // Until they are loaded, none of the segments can be used.
    for n in [ES, SS, DS, FS, GS] {
        cpu.state.set_segment(n, Segment::null(image.selectors[n]));
    }
    let level = rpl(image.selectors[CS]);
    if image.rflags & VM != 0 && layout.bytes == 4 {
        let selectors = [ES, SS, DS, FS, GS].map(|n| (n, image.selectors[n]));
        enter_virtual(cpu, image.selectors[CS], &selectors);
    } else {
        cpu.state.system.cpl = level;
        let selector = image.selectors[CS];
        cpu.state.set_segment(CS, Segment { selector, ..cpu.state.segment(CS) });
    }
    cpu.state.system.ldtr = Segment::null(image.ldt);
    if let Some(cr3) = image.cr3
        && cpu.state.system.cr0 & cr0::PG != 0
        && cr3 != cpu.state.system.cr3
    {
        set_cr3(cpu, cr3)?;
    }
    cpu.state.system.ldtr = ldt(cpu, image.ldt, trap::TASK)?;
    if cpu.state.is_virtual() {
        return Ok(());
    }
    // The stack comes first, so that the handler of what the others meet has one, and the code last.
    let stack = stack_segment(cpu, image.selectors[SS], level, trap::TASK, false)?;
    cpu.state.set_segment(SS, stack);
    for n in [DS, ES, FS, GS] {
        let selector = image.selectors[n];
        let as_task = |fault| {
            if fault == protection(selector) { selector_fault(trap::TASK, selector) } else { fault }
        };
        let segment = data_segment(cpu, selector).map_err(as_task)?;
        cpu.state.set_segment(n, segment);
    }
    let selector = image.selectors[CS];
    if is_null(selector) {
        return Err(selector_fault(trap::TASK, selector));
    }
    let found = descriptor(cpu, selector, trap::TASK)?;
    let segment = found.segment();
    let right_level = match segment.is_conforming() {
        true => segment.dpl() <= level,
        false => segment.dpl() == level,
    };
    if !segment.is_code() || !right_level {
        return Err(selector_fault(trap::TASK, selector));
    }
    let code = code_segment(cpu, &found)?;
    cpu.state.set_segment(CS, code);
    if image.eip > code.limit.into() {
        return Err(crate::segment::GP);
    }
    Ok(())
}
