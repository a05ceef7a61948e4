//! Segment registers and descriptor tables (SDM 3A 3.4, 3.5, 5.5, 5.6, 5.10).

use crate::segment::{
    CS, GP, SS, Segment, Table, attribute, fault, is_canonical, is_null, kind, protection, rpl,
    selector_fault,
};
use crate::space::{SUPERVISOR, with_space};
use crate::{Space, X86, space, trap};
use mynah_guest::{Cpu, Fault};

pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// The helper's answer, or its fault.
pub(super) fn answer<M: Space>(cpu: &mut Cpu<X86<M>>, result: Result<u64>) -> u64 {
    result.unwrap_or_else(|fault| {
        cpu.raise(fault);
        0
    })
}

/// A descriptor, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) selector: u16,
    pub(crate) va: u64,
    pub(crate) low: u64,
}

impl Descriptor {
    /// What a segment register would hold.
    pub(crate) fn segment(&self) -> Segment {
        Segment::new(self.selector, self.low)
    }

    /// The target of a gate: its selector.
    pub(crate) fn gate_selector(&self) -> u16 {
        (self.low >> 16) as u16
    }

    /// The target of a gate: its offset, but for bits 32–63.
    pub(crate) fn gate_offset(&self) -> u64 {
        self.low & 0xffff | self.low >> 32 & 0xffff_0000
    }
}

/// Base and limit of the table that `selector` is an index of.
fn table<M: Space>(cpu: &Cpu<X86<M>>, selector: u16) -> Option<(u64, u64)> {
    let system = &cpu.state.system;
    match selector & 4 {
        0 => Some((system.gdtr.base, system.gdtr.limit.into())),
        _ if system.ldtr.has(attribute::PRESENT) => {
            Some((system.ldtr.base, system.ldtr.limit.into()))
        }
        _ => None,
    }
}

/// The descriptor of `selector`, if it lies within its table.
fn look_up<M: Space>(cpu: &mut Cpu<X86<M>>, selector: u16, bytes: u64) -> Result<Option<u64>> {
    let Some((base, limit)) = table(cpu, selector) else { return Ok(None) };
    let at = u64::from(selector & !7) + bytes - 8;
    if at + 7 > limit {
        return Ok(None);
    }
    let va = base.wrapping_add(at);
    let low = with_space(cpu, SUPERVISOR, |cpu| cpu.memory.load::<u64>(va))?;
    Ok(Some(low))
}

/// The descriptor of `selector`; an exception `vector` about it if there is none.
pub(crate) fn descriptor<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    selector: u16,
    vector: u16,
) -> Result<Descriptor> {
    let found = look_up(cpu, selector, 8)?;
    let low = found.ok_or(selector_fault(vector, selector))?;
    let base = table(cpu, selector).map_or(0, |(base, _)| base);
    let va = base.wrapping_add((selector & !7).into());
    Ok(Descriptor { selector, va, low })
}

/// Bits 32–63 of the base or offset in a system descriptor of long mode.
pub(crate) fn upper_half<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    descriptor: &Descriptor,
    vector: u16,
) -> Result<u64> {
    let wrong = selector_fault(vector, descriptor.selector);
    let high = look_up(cpu, descriptor.selector, 16)?.ok_or(wrong)?;
    // The type of the upper half must be 0, so that it is no descriptor by itself.
    if high >> 40 & 31 != 0 { Err(wrong) } else { Ok(high << 32) }
}

/// Marks the descriptor of code or data accessed.
pub(crate) fn mark_accessed<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    descriptor: &Descriptor,
) -> Result<()> {
    if descriptor.low >> 40 & 1 == 0 {
        set_type_bits(cpu, descriptor.va, 1, 0)?;
    }
    Ok(())
}

/// Sets and clears bits of the type in the descriptor at `va`.
pub(crate) fn set_type_bits<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    va: u64,
    set: u64,
    clear: u64,
) -> Result<()> {
    with_space(cpu, SUPERVISOR, |cpu| {
        cpu.memory.update(va.wrapping_add(5), 1, |byte| byte & !clear | set)
    })?;
    Ok(())
}

/// What ES, DS, FS or GS holds when it is loaded with `selector` in protected mode.
pub(crate) fn data_segment<M: Space>(cpu: &mut Cpu<X86<M>>, selector: u16) -> Result<Segment> {
    if is_null(selector) {
        return Ok(Segment::null(selector));
    }
    let found = descriptor(cpu, selector, trap::PROTECTION)?;
    let segment = found.segment();
    let outer = rpl(selector).max(cpu.state.system.cpl);
    if !segment.is_readable() || !segment.is_conforming() && outer > segment.dpl() {
        return Err(protection(selector));
    }
    if !segment.has(attribute::PRESENT) {
        return Err(selector_fault(trap::ABSENT, selector));
    }
    mark_accessed(cpu, &found)?;
    Ok(Segment { attributes: segment.attributes | attribute::ACCESSED, ..segment })
}

/// What SS holds when it is loaded with `selector` at privilege level `cpl` in protected mode; an
/// exception `vector` about it if that is not permitted. `long` is whether the code will be 64-bit
/// code.
pub(crate) fn stack_segment<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    selector: u16,
    cpl: u8,
    vector: u16,
    long: bool,
) -> Result<Segment> {
    if is_null(selector) {
        let permitted = long && cpl < 3 && rpl(selector) == cpl;
        return if permitted { Ok(Segment::null(selector)) } else { Err(fault(vector, 0)) };
    }
    let found = descriptor(cpu, selector, vector)?;
    let segment = found.segment();
    if rpl(selector) != cpl || segment.dpl() != cpl || !segment.is_writable() {
        return Err(selector_fault(vector, selector));
    }
    if !segment.has(attribute::PRESENT) {
        return Err(selector_fault(trap::STACK, selector));
    }
    mark_accessed(cpu, &found)?;
    Ok(Segment { attributes: segment.attributes | attribute::ACCESSED, ..segment })
}

/// A segment as real and virtual-8086 mode load it into register `n`.
pub(crate) fn real_segment<M: Space>(cpu: &Cpu<X86<M>>, n: usize, selector: u16) -> Segment {
    let base = u64::from(selector) << 4;
    if cpu.state.is_virtual() {
        return Segment { selector, base, ..Segment::VIRTUAL };
    }
    // Limit and attributes stay as they are.
    Segment { selector, base, ..cpu.state.segment(n) }
}

pub(super) extern "C" fn set_selector<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    register: u64,
    selector: u64,
    next: u64,
) -> u64 {
    let (n, selector) = (register as usize % 6, selector as u16);
    if !cpu.state.system.on {
        return set_process_selector(cpu, n, selector);
    }
    let segment = match (cpu.state.is_protected(), n) {
        (false, _) => Ok(real_segment(cpu, n, selector)),
        (true, SS) => {
            let (cpl, long) = (cpu.state.system.cpl, cpu.state.is_64());
            stack_segment(cpu, selector, cpl, trap::PROTECTION, long)
        }
        (true, _) => data_segment(cpu, selector),
    };
    let loaded = segment.map(|segment| {
        cpu.state.set_segment(n, segment);
        if n == SS {
            cpu.state.system.shadow_pc = Some(next);
        }
        space::refresh(cpu);
        0
    });
    answer(cpu, loaded)
}

/// Selectors that a 64-bit process may load: null ones (but into SS), its data segment, and (but
/// into SS) its readable code segments of 32 and 64 bits.
fn set_process_selector<M: Space>(cpu: &mut Cpu<X86<M>>, n: usize, selector: u16) -> u64 {
    const FS: usize = 4;
    const GS: usize = 5;
    const USER_DATA: u16 = 0x2b;
    const USER_CODE: [u16; 2] = [0x23, 0x33];
    let not_stack = is_null(selector) || USER_CODE.contains(&selector);
    if selector != USER_DATA && (!not_stack || n == SS) {
        cpu.raise(protection(selector));
        return 0;
    }
    cpu.state.selectors[n] = selector;
    match n {
        FS => cpu.state.fs_base = 0,
        GS => cpu.state.gs_base = 0,
        _ => {}
    }
    0
}

pub(super) extern "C" fn address<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: u64,
    offset: u64,
    _: u64,
) -> u64 {
    let n = (shape & 255) as usize % 6;
    let write = shape >> 8 & 1 != 0;
    let segment = cpu.state.segment(n);
    let checked = check_access(cpu, n, &segment, offset, shape >> 16, write);
    let address = u64::from(segment.base.wrapping_add(offset) as u32);
    answer(cpu, checked.map(|()| address))
}

fn check_access<M: Space>(
    cpu: &Cpu<X86<M>>,
    n: usize,
    segment: &Segment,
    offset: u64,
    bytes: u64,
    write: bool,
) -> Result<()> {
    let beyond = if n == SS { trap::STACK } else { trap::PROTECTION };
    if cpu.state.is_protected() {
        if !segment.has(attribute::PRESENT) {
            return Err(fault(beyond, 0));
        }
        let permitted = if write { segment.is_writable() } else { segment.is_readable() };
        if !permitted {
            return Err(GP);
        }
    }
    if segment.holds(offset, bytes) { Ok(()) } else { Err(fault(beyond, 0)) }
}

/// What LAR, LSL, VERR and VERW ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Inquiry {
    Rights,
    Limit,
    Readable,
    Writable,
}

impl Inquiry {
    const ALL: [Inquiry; 4] =
        [Inquiry::Rights, Inquiry::Limit, Inquiry::Readable, Inquiry::Writable];
}

/// The inquiry's answer carries this when there is one.
const YES: u64 = 1 << 32;

pub(super) extern "C" fn inquire<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    which: u64,
    selector: u64,
    _: u64,
) -> u64 {
    let which = Inquiry::ALL[which as usize % Inquiry::ALL.len()];
    let answered = inquire_about(cpu, which, selector as u16).map(|yes| yes.unwrap_or(0));
    answer(cpu, answered)
}

fn inquire_about<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    which: Inquiry,
    selector: u16,
) -> Result<Option<u64>> {
    if is_null(selector) {
        return Ok(None);
    }
    let Some(low) = look_up(cpu, selector, 8)? else { return Ok(None) };
    let segment = Segment::new(selector, low);
    let outer = rpl(selector).max(cpu.state.system.cpl);
    if !segment.is_conforming() && outer > segment.dpl() {
        return Ok(None);
    }
    let long = cpu.state.is_long();
    let kind = segment.kind();
    let is_memory = segment.has(attribute::MEMORY);
    let has_limit = match kind {
        kind::LDT | kind::TSS32 | kind::BUSY32 => true,
        kind::TSS16 | kind::BUSY16 => !long,
        _ => is_memory,
    };
    let has_rights = match kind {
        kind::CALL32 => true,
        kind::CALL16 | kind::TASK => !long,
        _ => has_limit,
    };
    Ok(match which {
        Inquiry::Rights if has_rights => Some(low >> 32 & 0x00ff_ff00 | YES),
        Inquiry::Limit if has_limit => Some(u64::from(segment.limit) | YES),
        Inquiry::Readable if segment.is_readable() => Some(YES),
        Inquiry::Writable if segment.is_writable() => Some(YES),
        _ => None,
    })
}

/// Which table LGDT and its kin mean, and how wide its base is.
fn which_table(shape: u64) -> (bool, u32) {
    (shape >> 8 & 1 != 0, (shape & 255) as u32)
}

pub(super) extern "C" fn load_table<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: u64,
    va: u64,
    _: u64,
) -> u64 {
    let loaded = load_table_from(cpu, shape, va).map(|()| 0);
    answer(cpu, loaded)
}

fn load_table_from<M: Space>(cpu: &mut Cpu<X86<M>>, shape: u64, va: u64) -> Result<()> {
    let (interrupts, bytes) = which_table(shape);
    let limit = cpu.memory.load::<u16>(va)?;
    let at = va.wrapping_add(2);
    let base = match bytes {
        8 => cpu.memory.load::<u64>(at)?,
        4 => cpu.memory.load::<u32>(at)?.into(),
        _ => u64::from(cpu.memory.load::<u32>(at)?) & 0x00ff_ffff,
    };
    if bytes == 8 && !is_canonical(base, cpu.state.system.is_la57()) {
        return Err(GP);
    }
    let table = Table { base, limit };
    if interrupts {
        cpu.state.system.idtr = table;
    } else {
        cpu.state.system.gdtr = table;
    }
    Ok(())
}

pub(super) extern "C" fn store_table<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    shape: u64,
    va: u64,
    _: u64,
) -> u64 {
    let (interrupts, bytes) = which_table(shape);
    let system = &cpu.state.system;
    let table = if interrupts { system.idtr } else { system.gdtr };
    let mut image = [0; 10];
    image[..2].copy_from_slice(&table.limit.to_le_bytes());
    image[2..].copy_from_slice(&table.base.to_le_bytes());
    let len = if bytes == 8 { 10 } else { 6 };
    let stored = super::fpu::write_whole(&mut cpu.memory, va, &image[..len]);
    answer(cpu, stored.map(|()| 0).map_err(Fault::from))
}

pub(super) extern "C" fn load_ldt<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    selector: u64,
    _: u64,
    _: u64,
) -> u64 {
    let loaded = ldt(cpu, selector as u16, trap::PROTECTION).map(|ldtr| {
        cpu.state.system.ldtr = ldtr;
        0
    });
    answer(cpu, loaded)
}

/// What LDTR holds when it is loaded with `selector`; an exception `vector` about it if that is
/// not permitted.
pub(crate) fn ldt<M: Space>(cpu: &mut Cpu<X86<M>>, selector: u16, vector: u16) -> Result<Segment> {
    if is_null(selector) {
        return Ok(Segment::null(selector));
    }
    system_segment(cpu, selector, vector, |kind| kind == kind::LDT).map(|(segment, _)| segment)
}

/// The system segment of `selector`, in the GDT, if it has a type that `is_right`.
pub(crate) fn system_segment<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    selector: u16,
    vector: u16,
    is_right: impl Fn(u32) -> bool,
) -> Result<(Segment, Descriptor)> {
    if selector & 4 != 0 {
        return Err(selector_fault(vector, selector));
    }
    let found = descriptor(cpu, selector, vector)?;
    let mut segment = found.segment();
    if !is_right(segment.kind()) {
        return Err(selector_fault(vector, selector));
    }
    if !segment.has(attribute::PRESENT) {
        return Err(selector_fault(trap::ABSENT, selector));
    }
    if cpu.state.is_long() {
        segment.base |= upper_half(cpu, &found, vector)?;
        if !is_canonical(segment.base, cpu.state.system.is_la57()) {
            return Err(selector_fault(vector, selector));
        }
    }
    Ok((segment, found))
}

pub(super) extern "C" fn load_task<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    selector: u64,
    _: u64,
    _: u64,
) -> u64 {
    let loaded = load_task_register(cpu, selector as u16).map(|()| 0);
    answer(cpu, loaded)
}

fn load_task_register<M: Space>(cpu: &mut Cpu<X86<M>>, selector: u16) -> Result<()> {
    if is_null(selector) {
        return Err(GP);
    }
    let long = cpu.state.is_long();
    let available = |kind| kind == kind::TSS32 || kind == kind::TSS16 && !long;
    let (segment, found) = system_segment(cpu, selector, trap::PROTECTION, available)?;
    set_type_bits(cpu, found.va, 2, 0)?;
    cpu.state.system.tr = Segment { attributes: segment.attributes | 2 << 8, ..segment };
    Ok(())
}

/// The code segment of a far transfer that stays at its privilege level: what CS is to hold.
pub(crate) fn code_segment<M: Space>(cpu: &mut Cpu<X86<M>>, found: &Descriptor) -> Result<Segment> {
    let segment = found.segment();
    if !segment.has(attribute::PRESENT) {
        return Err(selector_fault(trap::ABSENT, found.selector));
    }
    // 64-bit code that is 32-bit code as well is neither.
    let both = segment.has(attribute::LONG | attribute::BIG);
    if both && cpu.state.is_long() {
        return Err(protection(found.selector));
    }
    mark_accessed(cpu, found)?;
    Ok(Segment { attributes: segment.attributes | attribute::ACCESSED, ..segment })
}

/// Sets CS at privilege level `cpl` and brings the mode up to date.
pub(crate) fn set_code<M: Space>(cpu: &mut Cpu<X86<M>>, segment: Segment, cpl: u8) {
    let selector = segment.selector & !3 | u16::from(cpl);
    cpu.state.set_segment(CS, Segment { selector, ..segment });
    cpu.state.system.cpl = cpl;
    space::refresh(cpu);
}
