//! Control, debug and model-specific registers: their bits, and what may be written to them
//! (SDM 3A 2.5, 3B 17.2, 4 chapter 2).

use crate::flags;
use crate::segment::{GP, is_canonical};
use crate::state::{State, System};
use mynah_guest::Fault;
use std::sync::Arc;

/// Bits of CR0.
pub mod cr0 {
    /// Protected mode.
    pub const PE: u64 = 1 << 0;
    /// WAIT heeds TS.
    pub const MP: u64 = 1 << 1;
    /// No x87 unit.
    pub const EM: u64 = 1 << 2;
    /// Task switched.
    pub const TS: u64 = 1 << 3;
    /// Always 1.
    pub const ET: u64 = 1 << 4;
    /// x87 errors are exceptions.
    pub const NE: u64 = 1 << 5;
    /// Supervisor code heeds read-only pages.
    pub const WP: u64 = 1 << 16;
    /// EFLAGS.AC counts.
    pub const AM: u64 = 1 << 18;
    /// Not write-through.
    pub const NW: u64 = 1 << 29;
    /// Caches are off.
    pub const CD: u64 = 1 << 30;
    /// Paging.
    pub const PG: u64 = 1 << 31;
    /// All of them; the rest of the low half reads as 0.
    pub const ALL: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// Bits of CR4.
pub mod cr4 {
    /// RDTSC is privileged.
    pub const TSD: u64 = 1 << 2;
    /// Debug extensions.
    pub const DE: u64 = 1 << 3;
    /// Large pages in 32-bit paging.
    pub const PSE: u64 = 1 << 4;
    /// PAE paging.
    pub const PAE: u64 = 1 << 5;
    /// Machine checks.
    pub const MCE: u64 = 1 << 6;
    /// Global pages.
    pub const PGE: u64 = 1 << 7;
    /// RDPMC for everyone.
    pub const PCE: u64 = 1 << 8;
    /// FXSAVE, FXRSTOR and SSE.
    pub const OSFXSR: u64 = 1 << 9;
    /// SSE exceptions are #XM.
    pub const OSXMMEXCPT: u64 = 1 << 10;
    /// SGDT and its kin are privileged.
    pub const UMIP: u64 = 1 << 11;
    /// 5-level paging.
    pub const LA57: u64 = 1 << 12;
    /// RDFSBASE and its kin.
    pub const FSGSBASE: u64 = 1 << 16;
    /// Process-context identifiers.
    pub const PCIDE: u64 = 1 << 17;
    /// XSAVE and its kin.
    pub const OSXSAVE: u64 = 1 << 18;
    /// Supervisor code may not execute user pages.
    pub const SMEP: u64 = 1 << 20;
    /// Supervisor code may not access user pages.
    pub const SMAP: u64 = 1 << 21;
    /// Those that may be set: what CPUID always reports.
    pub const ALL: u64 = TSD
        | DE
        | PSE
        | PAE
        | MCE
        | PGE
        | PCE
        | OSFXSR
        | OSXMMEXCPT
        | UMIP
        | FSGSBASE
        | PCIDE
        | OSXSAVE
        | SMEP
        | SMAP;
}

/// Bits of IA32_EFER.
pub mod efer {
    /// SYSCALL and SYSRET.
    pub const SCE: u64 = 1 << 0;
    /// IA-32e mode, when paging is on.
    pub const LME: u64 = 1 << 8;
    /// IA-32e mode.
    pub const LMA: u64 = 1 << 10;
    /// Pages that are not executable.
    pub const NXE: u64 = 1 << 11;
    /// Those that may be written.
    pub const WRITABLE: u64 = SCE | LME | NXE;
}

/// DR6 after RESET: bits that are always 1.
pub const DR6_RESET: u64 = 0xffff_0ff0;
/// DR7 after RESET: a bit that is always 1.
pub const DR7_RESET: u64 = 0x400;

/// Bits of DR6.
pub mod dr6 {
    /// An access of the debug registers was caught.
    pub const BD: u64 = 1 << 13;
    /// Single step.
    pub const BS: u64 = 1 << 14;
    /// Task switch.
    pub const BT: u64 = 1 << 15;
    /// What can be written.
    pub const WRITABLE: u64 = 0xe00f;
}

/// Bits of DR7.
pub mod dr7 {
    /// Accesses of the debug registers are caught.
    pub const GD: u64 = 1 << 13;
    /// The bits that task switches clear.
    pub const LOCAL: u64 = 0x155;
}

/// Registers in the vCPU that belong to devices: the local APIC's. The machine supplies them.
pub trait Msrs: Send + Sync {
    /// The model-specific register `msr`, or nothing if the devices have none of this number.
    fn read(&self, msr: u32) -> Option<u64>;
    /// Writes the model-specific register `msr`; whether there is one that takes `value`.
    fn write(&self, msr: u32, value: u64) -> bool;
    /// CR8: the task priority, 0 to 15.
    fn task_priority(&self) -> u8;
    /// Sets CR8.
    fn set_task_priority(&self, priority: u8);
    /// IA32_TSC_ADJUST has become `adjust`: the time-stamp counter is so much more than what it would
    /// be if nobody had ever written it.
    fn set_tsc_adjust(&self, adjust: u64);
}

impl std::fmt::Debug for dyn Msrs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Msrs")
    }
}

/// The machine's [`Msrs`].
pub type Devices = Arc<dyn Msrs>;

/// Numbers of model-specific registers.
pub mod msr {
    /// IA32_TIME_STAMP_COUNTER.
    pub const TSC: u32 = 0x10;
    /// IA32_PLATFORM_ID.
    pub const PLATFORM_ID: u32 = 0x17;
    /// IA32_APIC_BASE, a device's.
    pub const APIC_BASE: u32 = 0x1b;
    /// IA32_FEATURE_CONTROL.
    pub const FEATURE_CONTROL: u32 = 0x3a;
    /// IA32_TSC_ADJUST.
    pub const TSC_ADJUST: u32 = 0x3b;
    /// IA32_SPEC_CTRL.
    pub const SPEC_CTRL: u32 = 0x48;
    /// IA32_PRED_CMD.
    pub const PRED_CMD: u32 = 0x49;
    /// IA32_BIOS_SIGN_ID: the microcode's revision.
    pub const MICROCODE: u32 = 0x8b;
    /// IA32_MTRRCAP.
    pub const MTRR_CAP: u32 = 0xfe;
    /// IA32_ARCH_CAPABILITIES.
    pub const ARCH_CAPABILITIES: u32 = 0x10a;
    /// IA32_SYSENTER_CS.
    pub const SYSENTER_CS: u32 = 0x174;
    /// IA32_SYSENTER_ESP.
    pub const SYSENTER_ESP: u32 = 0x175;
    /// IA32_SYSENTER_EIP.
    pub const SYSENTER_EIP: u32 = 0x176;
    /// IA32_MCG_CAP.
    pub const MCG_CAP: u32 = 0x179;
    /// IA32_MCG_STATUS.
    pub const MCG_STATUS: u32 = 0x17a;
    /// IA32_PERF_STATUS.
    pub const PERF_STATUS: u32 = 0x198;
    /// IA32_MISC_ENABLE.
    pub const MISC_ENABLE: u32 = 0x1a0;
    /// IA32_DEBUGCTL.
    pub const DEBUGCTL: u32 = 0x1d9;
    /// IA32_MTRR_PHYSBASE0; masks and bases follow in turn.
    pub const MTRR_VARIABLE: u32 = 0x200;
    /// The fixed-range MTRRs.
    pub const MTRR_FIXED: [u32; 11] =
        [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
    /// IA32_PAT.
    pub const PAT: u32 = 0x277;
    /// IA32_MTRR_DEF_TYPE.
    pub const MTRR_DEFAULT: u32 = 0x2ff;
    /// IA32_EFER.
    pub const EFER: u32 = 0xc000_0080;
    /// IA32_STAR.
    pub const STAR: u32 = 0xc000_0081;
    /// IA32_LSTAR.
    pub const LSTAR: u32 = 0xc000_0082;
    /// IA32_CSTAR.
    pub const CSTAR: u32 = 0xc000_0083;
    /// IA32_FMASK.
    pub const FMASK: u32 = 0xc000_0084;
    /// IA32_FS_BASE.
    pub const FS_BASE: u32 = 0xc000_0100;
    /// IA32_GS_BASE.
    pub const GS_BASE: u32 = 0xc000_0101;
    /// IA32_KERNEL_GS_BASE.
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    /// IA32_TSC_AUX.
    pub const TSC_AUX: u32 = 0xc000_0103;
}

/// IA32_ARCH_CAPABILITIES: nothing here speculates. RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO,
/// MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO,
/// RFDS_NO, ITS_NO.
const NOT_AFFECTED: u64 = {
    let bits = [0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62];
    let mut word = 0;
    let mut i = 0;
    while i < bits.len() {
        word |= 1 << bits[i];
        i += 1;
    }
    word
};
/// IA32_SPEC_CTRL: IBRS, STIBP, SSBD, BHI_DIS_S.
const SPEC_CTRL: u64 = 7 | 1 << 10;
/// IA32_MTRRCAP: 8 variable ranges, fixed ranges, write combining.
const MTRR_CAP: u64 = 8 | 1 << 8 | 1 << 10;
/// Bits of IA32_MISC_ENABLE.
pub mod misc_enable {
    /// MONITOR and MWAIT are there.
    pub const MONITOR: u64 = 1 << 18;
    /// What it is after reset: these, and fast strings.
    pub(crate) const RESET: u64 = MONITOR | 1;
}

/// IA32_MISC_ENABLE: what may be written (fast strings, MONITOR, and bits without effect here).
const MISC_ENABLE: u64 = 1 << 0 | 1 << 3 | 1 << 7 | 1 << 16 | 1 << 18 | 1 << 22 | 1 << 34;

impl System {
    /// The current process-context identifier.
    pub(crate) fn pcid(&self) -> u64 {
        if self.cr4 & cr4::PCIDE != 0 { self.cr3 & 0xfff } else { 0 }
    }

    /// Whether 5-level paging is on.
    pub fn is_la57(&self) -> bool {
        self.cr4 & cr4::LA57 != 0
    }
}

impl State {
    /// RDMSR.
    pub fn read_msr(&self, number: u32) -> Result<u64, Fault> {
        let s = &self.system;
        Ok(match number {
            msr::TSC => self.tsc(),
            msr::TSC_ADJUST => s.tsc_adjust,
            // The performance counters do not count.
            0xc1 | 0xc2 | 0x186 | 0x187 => 0,
            msr::SPEC_CTRL => s.spec_ctrl,
            msr::PLATFORM_ID | msr::PERF_STATUS | msr::DEBUGCTL => 0,
            // Locked, nothing enabled.
            msr::FEATURE_CONTROL => 1,
            msr::MICROCODE => 1 << 32,
            msr::ARCH_CAPABILITIES => NOT_AFFECTED,
            msr::MCG_CAP | msr::MCG_STATUS => 0,
            msr::MTRR_CAP => MTRR_CAP,
            msr::MTRR_DEFAULT => s.mtrr_default,
            _ if fixed_range(number).is_some() => s.mtrr_fixed[fixed_range(number).unwrap_or(0)],
            msr::MTRR_VARIABLE..0x210 => s.mtrr_variable[(number - msr::MTRR_VARIABLE) as usize],
            msr::PAT => s.pat,
            msr::MISC_ENABLE => s.misc_enable,
            msr::SYSENTER_CS => s.sysenter_cs,
            msr::SYSENTER_ESP => s.sysenter_esp,
            msr::SYSENTER_EIP => s.sysenter_eip,
            msr::EFER => s.efer,
            msr::STAR => s.star,
            msr::LSTAR => s.lstar,
            msr::CSTAR => s.cstar,
            msr::FMASK => s.fmask,
            msr::FS_BASE => self.fs_base,
            msr::GS_BASE => self.gs_base,
            msr::KERNEL_GS_BASE => s.kernel_gs_base,
            msr::TSC_AUX => s.tsc_aux,
            _ => s.devices.as_ref().and_then(|devices| devices.read(number)).ok_or(GP)?,
        })
    }

    /// WRMSR. The mode and the page walker may have changed.
    pub fn write_msr(&mut self, number: u32, value: u64) -> Result<(), Fault> {
        let five_levels = self.system.is_la57();
        let canonical = |value| if is_canonical(value, five_levels) { Ok(value) } else { Err(GP) };
        let only = |mask: u64| if value & !mask == 0 { Ok(value) } else { Err(GP) };
        let now = if number == msr::TSC { self.tsc() } else { 0 };
        let s = &mut self.system;
        match number {
            msr::TSC => {
                let adjust = s.tsc_adjust.wrapping_add(value.wrapping_sub(now));
                self.set_tsc_adjust(adjust);
            }
            msr::TSC_ADJUST => self.set_tsc_adjust(value),
            0xc1 | 0xc2 | 0x186 | 0x187 | msr::DEBUGCTL => {}
            // A load of microcode, and of its revision: there is none.
            0x79 | msr::MICROCODE => {}
            msr::SPEC_CTRL => s.spec_ctrl = only(SPEC_CTRL)?,
            msr::PRED_CMD => drop(only(1)?),
            msr::MCG_STATUS => drop(only(0)?),
            msr::MTRR_DEFAULT => s.mtrr_default = only(0xcff)?,
            _ if fixed_range(number).is_some() => {
                s.mtrr_fixed[fixed_range(number).unwrap_or(0)] = types(value)?;
            }
            msr::MTRR_VARIABLE..0x210 => {
                s.mtrr_variable[(number - msr::MTRR_VARIABLE) as usize] = value;
            }
            msr::PAT => s.pat = types(value)?,
            msr::MISC_ENABLE => s.misc_enable = value & MISC_ENABLE,
            msr::SYSENTER_CS => s.sysenter_cs = value & 0xffff_ffff,
            msr::SYSENTER_ESP => s.sysenter_esp = canonical(value)?,
            msr::SYSENTER_EIP => s.sysenter_eip = canonical(value)?,
            msr::EFER => self.write_efer(value)?,
            msr::STAR => s.star = value,
            msr::LSTAR => s.lstar = canonical(value)?,
            msr::CSTAR => s.cstar = canonical(value)?,
            msr::FMASK => s.fmask = value & 0xffff_ffff,
            msr::FS_BASE => self.fs_base = canonical(value)?,
            msr::GS_BASE => self.gs_base = canonical(value)?,
            msr::KERNEL_GS_BASE => s.kernel_gs_base = canonical(value)?,
            msr::TSC_AUX => s.tsc_aux = only(0xffff_ffff)?,
            _ => {
                let taken = s.devices.as_ref().is_some_and(|d| d.write(number, value));
                if !taken {
                    return Err(GP);
                }
            }
        }
        Ok(())
    }

    fn write_efer(&mut self, value: u64) -> Result<(), Fault> {
        let s = &mut self.system;
        let changed = value ^ s.efer;
        if value & !(efer::WRITABLE | efer::LMA) != 0 {
            return Err(GP);
        }
        if changed & efer::LME != 0 && s.cr0 & cr0::PG != 0 {
            return Err(GP);
        }
        s.efer = value & efer::WRITABLE | s.efer & efer::LMA;
        Ok(())
    }

    /// MOV CR0: the state with this value. SDM 3A 2.5, 4.1.2, 10.8.5.
    pub fn write_cr0(&mut self, value: u64) -> Result<(), Fault> {
        let code_is_long = self.segment(crate::segment::CS).has(crate::segment::attribute::LONG);
        let s = &mut self.system;
        let value = value & cr0::ALL | cr0::ET | value & !0xffff_ffff;
        let has = |bit| value & bit != 0;
        if value >> 32 != 0 || has(cr0::PG) && !has(cr0::PE) || has(cr0::NW) && !has(cr0::CD) {
            return Err(GP);
        }
        let paging = has(cr0::PG);
        if paging && s.cr0 & cr0::PG == 0 && s.efer & efer::LME != 0 {
            if s.cr4 & cr4::PAE == 0 || code_is_long {
                return Err(GP);
            }
            s.efer |= efer::LMA;
        }
        if !paging && s.cr0 & cr0::PG != 0 {
            let in_64 = s.efer & efer::LMA != 0 && code_is_long;
            if in_64 || s.cr4 & cr4::PCIDE != 0 {
                return Err(GP);
            }
            s.efer &= !efer::LMA;
        }
        s.cr0 = value;
        Ok(())
    }

    /// MOV CR4: the state with this value.
    pub fn write_cr4(&mut self, value: u64) -> Result<(), Fault> {
        let s = &mut self.system;
        let long = s.efer & efer::LMA != 0;
        let set = |bit| value & bit != 0 && s.cr4 & bit == 0;
        let changed = |bit| (value ^ s.cr4) & bit != 0;
        let la57 = if s.identity.five_levels { cr4::LA57 } else { 0 };
        let refused = value & !(cr4::ALL | la57) != 0
            || long && value & cr4::PAE == 0
            || long && changed(cr4::LA57)
            || set(cr4::PCIDE) && (!long || s.cr3 & 0xfff != 0);
        if refused {
            return Err(GP);
        }
        s.cr4 = value;
        Ok(())
    }

    /// MOV to DR `n` (0–7), DR4 and DR5 being DR6 and DR7.
    pub fn write_dr(&mut self, n: usize, value: u64) -> Result<(), Fault> {
        let s = &mut self.system;
        match n {
            0..4 => s.dr[n] = value,
            _ if value >> 32 != 0 => return Err(GP),
            4 | 6 => s.dr6 = value & dr6::WRITABLE | DR6_RESET,
            _ => s.dr7 = value & 0xffff_2bff | DR7_RESET,
        }
        Ok(())
    }

    /// DR `n` (0–7).
    pub fn read_dr(&self, n: usize) -> u64 {
        match n {
            0..4 => self.system.dr[n],
            4 | 6 => self.system.dr6,
            _ => self.system.dr7,
        }
    }

    /// The I/O privilege level.
    pub fn iopl(&self) -> u8 {
        (self.rflags >> flags::IOPL_SHIFT & 3) as u8
    }
}

/// The index of a fixed-range MTRR.
fn fixed_range(number: u32) -> Option<usize> {
    msr::MTRR_FIXED.iter().position(|&fixed| fixed == number)
}

/// Eight memory types: 0, 1, 4, 5, 6, and (in the PAT) 7.
fn types(value: u64) -> Result<u64, Fault> {
    let valid = value.to_le_bytes().iter().all(|ty| matches!(ty, 0 | 1 | 4..=7));
    if valid { Ok(value) } else { Err(GP) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn long_mode_begins_with_paging() {
        let mut state = State::power_on();
        assert_eq!(state.write_cr0(cr0::PG), Err(GP));
        state.write_msr(msr::EFER, efer::LME).expect("LME may be set");
        assert_eq!(state.write_cr0(cr0::PE | cr0::PG), Err(GP), "PAE is off");
        state.write_cr4(cr4::PAE).expect("PAE may be set");
        state.write_cr0(cr0::PE | cr0::PG).expect("paging may be turned on");
        assert_eq!(state.system.efer, efer::LME | efer::LMA);
        assert_eq!(state.write_msr(msr::EFER, 0), Err(GP));
        assert_eq!(state.write_cr4(0), Err(GP));
        state.write_cr0(cr0::PE).expect("paging may be turned off in compatibility mode");
        assert_eq!(state.system.efer, efer::LME);
    }

    #[test]
    fn reserved_bits_fault() {
        let mut state = State::power_on();
        assert_eq!(state.write_cr4(1 << 63), Err(GP));
        assert_eq!(state.write_cr4(cr4::PCIDE), Err(GP));
        assert_eq!(state.write_cr0(cr0::NW), Err(GP));
        assert_eq!(state.write_cr0(1 << 32), Err(GP));
        assert_eq!(state.write_msr(msr::EFER, 1 << 20), Err(GP));
        assert_eq!(state.write_msr(msr::LSTAR, 1 << 63), Err(GP));
        assert_eq!(state.write_msr(msr::PAT, 2), Err(GP));
        assert_eq!(state.write_msr(0x1234_5678, 0), Err(GP));
        assert_eq!(state.read_msr(0x1234_5678), Err(GP));
        assert_eq!(state.write_dr(7, 1 << 40), Err(GP));
    }

    #[test]
    fn the_counter_can_be_set() {
        let mut state = State::power_on();
        state.write_msr(msr::TSC, 1 << 60).expect("the counter may be set");
        assert_eq!(state.tsc() >> 60, 1);
        state.write_msr(msr::TSC_ADJUST, 0).expect("the adjustment may be set");
        assert_eq!(state.tsc() >> 60, 0);
    }

    /// A local APIC that is told of the counter.
    #[derive(Default)]
    struct Told(AtomicU64);

    impl Msrs for Told {
        fn read(&self, _: u32) -> Option<u64> {
            None
        }
        fn write(&self, _: u32, _: u64) -> bool {
            false
        }
        fn task_priority(&self) -> u8 {
            0
        }
        fn set_task_priority(&self, _: u8) {}
        fn set_tsc_adjust(&self, adjust: u64) {
            self.0.store(adjust, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_local_apic_hears_of_writes_to_the_counter() {
        let mut state = State::power_on();
        let told = Arc::new(Told::default());
        state.system.devices = Some(told.clone());
        // The machine's own part is none of the guest's adjustment.
        state.system.tsc_offset = 12345;
        state.write_msr(msr::TSC, 1 << 60).expect("the counter may be set");
        let adjust = state.read_msr(msr::TSC_ADJUST).expect("there is one");
        assert_eq!((told.0.load(Ordering::Relaxed), state.tsc() >> 60), (adjust, 1));
        state.write_msr(msr::TSC_ADJUST, 77).expect("the adjustment may be set");
        assert_eq!((told.0.load(Ordering::Relaxed), state.tsc() >> 60), (77, 0));
    }
}
