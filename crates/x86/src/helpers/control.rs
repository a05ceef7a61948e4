//! Control registers, RFLAGS, MSRs and the TLB (SDM 3A 2.5, 2.8, 4.10).

use super::segment::{Result, answer};
use crate::flags::{AC, ARITHMETIC, DF, ID, IF, IOPL, NT, RF, TF};
use crate::registers::{cr0, cr4, msr};
use crate::segment::{GP, UD, is_canonical};
use crate::space::{refresh, refresh_paging, remap};
use crate::{Space, X86, paging};
use mynah_guest::{Core, Cpu};
use std::sync::atomic::Ordering;

/// Asks for the environment's attention behind this instruction.
pub(crate) fn ask_attention<M: Space>(cpu: &Cpu<X86<M>>) {
    cpu.core.attention.fetch_or(Core::ATTENTION, Ordering::SeqCst);
}

/// To be called after IF may have been set: an interrupt that waited for it can be delivered.
pub(crate) fn open_window<M: Space>(cpu: &Cpu<X86<M>>) {
    if cpu.state.rflags & IF != 0 && cpu.state.system.interrupt_waiting {
        ask_attention(cpu);
    }
}

/// The bits of RFLAGS that POPF changes at this privilege level.
pub(crate) fn changeable<M: Space>(cpu: &Cpu<X86<M>>) -> u64 {
    let cpl = cpu.state.system.cpl;
    let mut mask = ARITHMETIC | DF | TF | NT | AC | ID;
    if cpl <= cpu.state.iopl() {
        mask |= IF;
    }
    if cpl == 0 {
        mask |= IOPL;
    }
    mask
}

pub(super) extern "C" fn pop_rflags<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    word: u64,
    width: u64,
    _: u64,
) -> u64 {
    if cpu.state.is_virtual() && cpu.state.iopl() < 3 {
        cpu.raise(GP);
        return 0;
    }
    let mask = changeable(cpu) & width;
    let before = cpu.state.rflags;
    cpu.state.set_rflags_bits(word & !RF, mask | RF);
    // The mode depends on no other flags that POPF changes.
    if (before ^ cpu.state.rflags) & (TF | AC) != 0 {
        refresh(cpu);
    }
    open_window(cpu);
    0
}

fn may_change_if<M: Space>(cpu: &Cpu<X86<M>>) -> Result<()> {
    if cpu.state.system.cpl > cpu.state.iopl() { Err(GP) } else { Ok(()) }
}

pub(super) extern "C" fn check_iopl<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    let permitted = may_change_if(cpu).map(|()| 0);
    answer(cpu, permitted)
}

pub(super) extern "C" fn cli<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    let permitted = may_change_if(cpu).map(|()| {
        cpu.state.rflags &= !IF;
        0
    });
    answer(cpu, permitted)
}

pub(super) extern "C" fn sti<M: Space>(cpu: &mut Cpu<X86<M>>, next: u64, _: u64, _: u64) -> u64 {
    let permitted = may_change_if(cpu).map(|()| {
        if cpu.state.rflags & IF == 0 {
            cpu.state.rflags |= IF;
            cpu.state.system.shadow_pc = Some(next);
            open_window(cpu);
        }
        0
    });
    answer(cpu, permitted)
}

pub(super) extern "C" fn set_ac<M: Space>(cpu: &mut Cpu<X86<M>>, on: u64, _: u64, _: u64) -> u64 {
    cpu.state.set_rflags_bits(if on != 0 { AC } else { 0 }, AC);
    // The mode does not depend on AC at privilege level 0.
    cpu.state.refresh_space();
    cpu.set_space();
    0
}

pub(super) extern "C" fn clts<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    cpu.state.system.cr0 &= !cr0::TS;
    refresh(cpu);
    0
}

pub(super) extern "C" fn lmsw<M: Space>(cpu: &mut Cpu<X86<M>>, word: u64, _: u64, _: u64) -> u64 {
    const WORD: u64 = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
    let before = cpu.state.system.cr0;
    // PE can be set, not cleared.
    let value = before & !WORD | word & WORD | before & cr0::PE;
    let written = set_cr0(cpu, value).map(|()| 0);
    answer(cpu, written)
}

pub(super) extern "C" fn check_umip<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    let system = &cpu.state.system;
    if system.cr4 & cr4::UMIP != 0 && system.cpl != 0 {
        cpu.raise(GP);
    }
    0
}

/// Words of the system that SLDT, STR and SMSW read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum SystemWord {
    Ldtr,
    Tr,
    Cr0,
}

pub(super) extern "C" fn system_word<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    which: u64,
    _: u64,
    _: u64,
) -> u64 {
    const LDTR: u64 = SystemWord::Ldtr as u64;
    const TR: u64 = SystemWord::Tr as u64;
    let system = &cpu.state.system;
    match which {
        LDTR => system.ldtr.selector.into(),
        TR => system.tr.selector.into(),
        _ => system.cr0,
    }
}

pub(super) extern "C" fn read_control<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    n: u64,
    _: u64,
    _: u64,
) -> u64 {
    let system = &cpu.state.system;
    match n {
        0 => system.cr0,
        2 => system.cr2,
        3 => system.cr3,
        4 => system.cr4,
        _ => system.devices.as_ref().map_or(0, |devices| devices.task_priority().into()),
    }
}

pub(super) extern "C" fn write_control<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    n: u64,
    value: u64,
    _: u64,
) -> u64 {
    let written = match n {
        0 => set_cr0(cpu, value),
        2 => {
            cpu.state.system.cr2 = value;
            Ok(())
        }
        3 => set_cr3(cpu, value),
        4 => set_cr4(cpu, value),
        _ => set_cr8(cpu, value),
    };
    answer(cpu, written.map(|()| 0))
}

/// The page-directory-pointer-table entries at `cr3`, where paging is (or will be) PAE paging.
fn pdptes<M: Space>(cpu: &mut Cpu<X86<M>>, cr0: u64, cr3: u64, cr4: u64) -> Result<[u64; 4]> {
    let long = cpu.state.is_long();
    let before = cpu.state.system.pdptes;
    if long || cr0 & cr0::PG == 0 || cr4 & cr4::PAE == 0 {
        return Ok(before);
    }
    let entries = [0, 1, 2, 3].map(|n| cpu.memory.load_physical((cr3 & 0xffff_ffe0) + 8 * n));
    let wrong = |&entry: &u64| entry & 1 != 0 && entry & paging::PDPTE_RESERVED != 0;
    if entries.iter().any(wrong) { Err(GP) } else { Ok(entries) }
}

/// Sets CR0.
pub(crate) fn set_cr0<M: Space>(cpu: &mut Cpu<X86<M>>, value: u64) -> Result<()> {
    let before = (cpu.state.system.cr0, cpu.state.system.efer);
    cpu.state.write_cr0(value)?;
    let (cr0, cr3, cr4) = {
        let system = &cpu.state.system;
        (system.cr0, system.cr3, system.cr4)
    };
    match pdptes(cpu, cr0, cr3, cr4) {
        Ok(entries) => cpu.state.system.pdptes = entries,
        Err(fault) => {
            (cpu.state.system.cr0, cpu.state.system.efer) = before;
            return Err(fault);
        }
    }
    if (before.0 ^ cr0) & (cr0::PE | cr0::PG | cr0::WP) != 0 {
        remap(cpu, true);
    }
    refresh(cpu);
    Ok(())
}

/// Sets CR3. With process-context identifiers, bit 63 keeps what is known of the one it names.
pub(crate) fn set_cr3<M: Space>(cpu: &mut Cpu<X86<M>>, value: u64) -> Result<()> {
    let system = &cpu.state.system;
    let keep = if system.cr4 & cr4::PCIDE != 0 { value & 1 << 63 } else { 0 };
    let value = value & !keep;
    let value = if cpu.state.is_long() { value } else { value & 0xffff_ffff };
    if value >> paging::PHYSICAL_BITS != 0 {
        return Err(GP);
    }
    let (cr0, cr4) = (system.cr0, system.cr4);
    cpu.state.system.pdptes = pdptes(cpu, cr0, value, cr4)?;
    cpu.state.system.cr3 = value;
    refresh_paging(cpu);
    if keep == 0 {
        cpu.memory.flush(false);
        cpu.mapping_changed();
    }
    Ok(())
}

fn set_cr4<M: Space>(cpu: &mut Cpu<X86<M>>, value: u64) -> Result<()> {
    const PAGING: u64 =
        cr4::PSE | cr4::PAE | cr4::PGE | cr4::LA57 | cr4::PCIDE | cr4::SMEP | cr4::SMAP;
    let before = cpu.state.system.cr4;
    let changed = before ^ value;
    let (cr0, cr3) = (cpu.state.system.cr0, cpu.state.system.cr3);
    cpu.state.write_cr4(value)?;
    if changed & (cr4::PAE | cr4::PGE | cr4::PSE | cr4::SMEP) != 0 {
        match pdptes(cpu, cr0, cr3, value) {
            Ok(entries) => cpu.state.system.pdptes = entries,
            Err(fault) => {
                cpu.state.system.cr4 = before;
                return Err(fault);
            }
        }
    }
    if changed & PAGING != 0 {
        remap(cpu, true);
    }
    refresh(cpu);
    Ok(())
}

fn set_cr8<M: Space>(cpu: &mut Cpu<X86<M>>, value: u64) -> Result<()> {
    if value > 15 {
        return Err(GP);
    }
    if let Some(devices) = &cpu.state.system.devices {
        devices.set_task_priority(value as u8);
    }
    Ok(())
}

pub(super) extern "C" fn read_msr<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    number: u64,
    _: u64,
    _: u64,
) -> u64 {
    let value = cpu.state.read_msr(number as u32);
    answer(cpu, value)
}

pub(super) extern "C" fn write_msr<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    number: u64,
    value: u64,
    _: u64,
) -> u64 {
    let written = cpu.state.write_msr(number as u32, value);
    if written.is_ok() && number == u64::from(msr::EFER) {
        remap(cpu, true);
        refresh(cpu);
    }
    answer(cpu, written.map(|()| 0))
}

pub(super) extern "C" fn swapgs<M: Space>(cpu: &mut Cpu<X86<M>>, _: u64, _: u64, _: u64) -> u64 {
    std::mem::swap(&mut cpu.state.gs_base, &mut cpu.state.system.kernel_gs_base);
    0
}

/// The bases that RDFSBASE and its kin read and write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Base {
    Fs,
    Gs,
}

fn base<M: Space>(cpu: &mut Cpu<X86<M>>, which: u64) -> Result<&mut u64> {
    if cpu.state.system.cr4 & cr4::FSGSBASE == 0 {
        return Err(UD);
    }
    let state = &mut cpu.state;
    Ok(if which == Base::Fs as u64 { &mut state.fs_base } else { &mut state.gs_base })
}

pub(super) extern "C" fn read_base<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    which: u64,
    _: u64,
    _: u64,
) -> u64 {
    let value = base(cpu, which).map(|base| *base);
    answer(cpu, value)
}

pub(super) extern "C" fn write_base<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    which: u64,
    value: u64,
    _: u64,
) -> u64 {
    let canonical = is_canonical(value, cpu.state.system.is_la57());
    let written = base(cpu, which).and_then(|base| {
        if !canonical {
            return Err(GP);
        }
        *base = value;
        Ok(0)
    });
    answer(cpu, written)
}

pub(super) extern "C" fn invlpg<M: Space>(cpu: &mut Cpu<X86<M>>, va: u64, _: u64, _: u64) -> u64 {
    cpu.memory.flush_page(va);
    cpu.mapping_changed();
    0
}

pub(super) extern "C" fn monitor<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    at: u64,
    extensions: u64,
    _: u64,
) -> u64 {
    let done = has_monitor(cpu, extensions, 0).and_then(|()| {
        cpu.memory.load::<u8>(at)?;
        cpu.state.system.monitored = cpu.memory.monitor(at);
        Ok(0)
    });
    answer(cpu, done)
}

pub(super) extern "C" fn check_wait<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    extensions: u64,
    _: u64,
    _: u64,
) -> u64 {
    let done = has_monitor(cpu, extensions, 1).map(|()| 0);
    answer(cpu, done)
}

/// Whether MONITOR and MWAIT are there, and no `extensions` but `known` are asked for.
fn has_monitor<M: Space>(cpu: &Cpu<X86<M>>, extensions: u64, known: u64) -> Result<()> {
    match cpu.state.has_monitor() {
        false => Err(UD),
        true if extensions & !known != 0 => Err(GP),
        true => Ok(()),
    }
}

pub(super) extern "C" fn invpcid<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    kind: u64,
    at: u64,
    _: u64,
) -> u64 {
    let done = invalidate_contexts(cpu, kind, at).map(|()| 0);
    answer(cpu, done)
}

fn invalidate_contexts<M: Space>(cpu: &mut Cpu<X86<M>>, kind: u64, at: u64) -> Result<()> {
    let identifier = cpu.memory.load::<u64>(at)?;
    let va = cpu.memory.load::<u64>(at.wrapping_add(8))?;
    let tagged = cpu.state.system.cr4 & cr4::PCIDE != 0;
    if kind > 3 || identifier >> 12 != 0 || kind < 2 && identifier != 0 && !tagged {
        return Err(GP);
    }
    if kind == 0 {
        if !is_canonical(va, cpu.state.system.is_la57()) {
            return Err(GP);
        }
        cpu.memory.flush_page_of(identifier, va);
    } else {
        match kind {
            1 => cpu.memory.flush_contexts(Some(identifier)),
            2 => cpu.memory.flush(true),
            _ => cpu.memory.flush_contexts(None),
        }
    }
    cpu.mapping_changed();
    Ok(())
}
