//! What CPUID reports (SDM 2A, CPUID): x86-64-v2 to a process, and in the system machine what an
//! operating system uses besides.

use crate::State;
use crate::helpers::xsave;
use crate::paging::PHYSICAL_BITS;
use crate::registers::{cr4, misc_enable, msr};
use crate::time::TSC_HZ;

/// EAX, EBX, ECX, EDX of a leaf.
pub type Leaf = [u32; 4];

/// The bits of a list.
const fn bits(list: &[u32]) -> u32 {
    let mut word = 0;
    let mut i = 0;
    while i < list.len() {
        word |= 1 << list[i];
        i += 1;
    }
    word
}

/// Leaf 1 EDX: FPU, TSC, CX8, CMOV, CLFSH, MMX, FXSR, SSE, SSE2.
const FEATURES_D: u32 = bits(&[0, 4, 8, 15, 19, 23, 24, 25, 26]);
/// Leaf 1 ECX: SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT, and the mark of a hypervisor.
const FEATURES_C: u32 = bits(&[0, 9, 13, 19, 20, 23, 31]);
/// Leaf 0x8000_0001 EDX: SYSCALL, NX, RDTSCP, 64-bit mode.
const EXTENDED_D: u32 = bits(&[11, 20, 27, 29]);
/// Leaf 0x8000_0001 ECX: LAHF and SAHF in 64-bit mode, PREFETCHW.
const EXTENDED_C: u32 = bits(&[0, 8]);
/// Leaf 7 EBX: ERMS, because REP MOVSB and STOSB are moved in bulk.
const LEAF7_B: u32 = bits(&[9]);

const VENDOR: &[u8; 12] = b"GenuineIntel";
const BRAND: &[u8; 48] =
    b"Mynah virtual CPU\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Family 6, model 15, stepping 1.
pub(crate) const SIGNATURE: u32 = 0x6f1;
/// CLFLUSH line of 64 bytes; one logical processor.
const LINE_AND_COUNT: u32 = 0x0001_0800;
const HIGHEST: u32 = 0xd;
const HIGHEST_EXTENDED: u32 = 0x8000_0008;

const fn word(text: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]])
}

/// What CPUID yields for EAX = `leaf` and ECX = `subleaf`.
pub fn cpuid(leaf: u32, subleaf: u32) -> Leaf {
    match leaf {
        0 => [HIGHEST, word(VENDOR, 0), word(VENDOR, 8), word(VENDOR, 4)],
        1 => [SIGNATURE, LINE_AND_COUNT, FEATURES_C, FEATURES_D],
        4 => cache(subleaf),
        7 if subleaf == 0 => [0, LEAF7_B, 0, 0],
        0x8000_0000 => [HIGHEST_EXTENDED, 0, 0, 0],
        0x8000_0001 => [0, 0, EXTENDED_C, EXTENDED_D],
        0x8000_0002..=0x8000_0004 => {
            let at = (leaf - 0x8000_0002) as usize * 16;
            [word(BRAND, at), word(BRAND, at + 4), word(BRAND, at + 8), word(BRAND, at + 12)]
        }
        // 64 bytes a line, 8 ways, 1 MiB.
        0x8000_0006 => [0, 0, 0x0400_6040, 0],
        // Physical addresses of 46 bits, virtual ones of 48.
        0x8000_0008 => [0x302e, 0, 0, 0],
        _ => [0; 4],
    }
}

/// What differs between the vCPUs of system machines. The machine sets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The local APIC's identifier.
    pub apic_id: u32,
    /// vCPUs of the machine.
    pub cpus: u32,
    /// Whether the local APIC has the x2APIC mode.
    pub x2apic: bool,
    /// Whether the local APIC's timer has the TSC-deadline mode.
    pub tsc_deadline: bool,
    /// Whether there is 5-level paging. Systems that find it use it, and walk one level more.
    pub five_levels: bool,
}

impl Default for Identity {
    /// The only vCPU, without what its devices may add.
    fn default() -> Identity {
        Identity { apic_id: 0, cpus: 1, x2apic: false, tsc_deadline: false, five_levels: false }
    }
}

/// What the local APIC's timer counts in a second before its divider: the core crystal clock.
pub const CRYSTAL_HZ: u32 = TSC_HZ as u32;

/// Leaf 1 EDX, besides [`FEATURES_D`]: DE, PSE, MSR, PAE, MCE, SEP, MTRR, PGE, MCA, PAT, PSE-36.
const SYSTEM_D: u32 = bits(&[2, 3, 5, 6, 7, 11, 12, 13, 14, 16, 17]);
/// Leaf 1 EDX: a local APIC that is on.
const APIC: u32 = 1 << 9;
/// Leaf 1 EDX: more than one logical processor.
const HTT: u32 = 1 << 28;
/// Leaf 1 ECX, besides [`FEATURES_C`]: PCID, XSAVE.
const SYSTEM_C: u32 = bits(&[17, 26]);
/// Leaf 1 ECX: MONITOR and MWAIT.
const MONITOR: u32 = 1 << 3;
/// Leaf 5: lines of 64 bytes; MWAIT can be told that interrupts wake it where IF is 0. It names no
/// state of sleep, so that systems that have the choice halt, which costs less.
const LEAF5: Leaf = [64, 64, 3, 0];
/// Leaf 1 ECX: x2APIC.
const X2APIC: u32 = 1 << 21;
/// Leaf 1 ECX: the TSC-deadline timer.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1 ECX: CR4.OSXSAVE is set.
const OSXSAVE: u32 = 1 << 27;
/// Leaf 6 EAX: the local APIC's timer never stops.
const ARAT: u32 = 1 << 2;
/// Leaf 7 EBX, besides [`LEAF7_B`]: FSGSBASE, TSC_ADJUST, SMEP, INVPCID, SMAP.
const SYSTEM_7B: u32 = bits(&[0, 1, 7, 10, 20]);
/// Leaf 7 ECX: UMIP.
const SYSTEM_7C: u32 = bits(&[2]);
/// Leaf 7 ECX: 5-level paging.
const LA57: u32 = 1 << 16;
/// Leaf 7 EDX: IBRS and IBPB, STIBP, IA32_ARCH_CAPABILITIES, SSBD.
const SYSTEM_7D: u32 = bits(&[26, 27, 29, 31]);
/// Leaf 7 subleaf 2 EDX: IA32_SPEC_CTRL.BHI_DIS_S, which Linux sets instead of clearing the branch
/// history at every system call.
const BHI_CTRL: u32 = 1 << 4;
/// Leaf 0x8000_0001 EDX, besides [`EXTENDED_D`]: pages of 1 GiB.
const SYSTEM_XD: u32 = bits(&[26]);
/// Leaf 0x8000_0007 EDX: the time-stamp counter never stops or changes its rate.
const INVARIANT_TSC: u32 = 1 << 8;
/// The highest leaf of a system machine.
const SYSTEM_HIGHEST: u32 = 0x16;
/// MHz of the processor and of its bus, for display.
const MHZ: [u32; 2] = [(TSC_HZ / 1_000_000) as u32, 100];

impl State {
    /// What CPUID yields for EAX = `leaf` and ECX = `subleaf`.
    pub fn cpuid(&self, leaf: u32, subleaf: u32) -> Leaf {
        if self.system.on { self.system_leaf(leaf, subleaf) } else { cpuid(leaf, subleaf) }
    }

    fn system_leaf(&self, leaf: u32, subleaf: u32) -> Leaf {
        let id = self.system.identity;
        let when = |on, bits| if on { bits } else { 0 };
        let [a, b, c, d] = cpuid(leaf, subleaf);
        // Bits of an APIC identifier that tell the machine's vCPUs apart.
        let width = id.cpus.max(1).next_power_of_two().trailing_zeros();
        match leaf {
            0 => [SYSTEM_HIGHEST, b, c, d],
            1 => {
                let count = id.cpus.min(255) << 16 | LINE_AND_COUNT & 0xff00;
                let b = id.apic_id << 24 | count;
                let osxsave = self.system.cr4 & cr4::OSXSAVE != 0;
                let c = c
                    | SYSTEM_C
                    | when(self.has_monitor(), MONITOR)
                    | when(id.x2apic, X2APIC)
                    | when(id.tsc_deadline, TSC_DEADLINE)
                    | when(osxsave, OSXSAVE);
                let d = d | SYSTEM_D | when(self.has_apic(), APIC) | when(id.cpus > 1, HTT);
                [a, b, c, d]
            }
            // Leaf 4 tells of the caches.
            2 => [0x00ff_0001, 0, 0, 0],
            4 if a != 0 => {
                let cores = ((1 << width) - 1).min(63) << 26;
                let sharing = if a >> 5 & 7 == 3 { ((1 << width) - 1).min(4095) << 14 } else { 0 };
                [a | cores | sharing, b, c, d]
            }
            5 if self.has_monitor() => LEAF5,
            6 => [ARAT, 0, 0, 0],
            7 if subleaf == 2 => [0, 0, 0, BHI_CTRL],
            7 if subleaf == 0 => {
                let c = SYSTEM_7C | when(id.five_levels, LA57);
                [2, b | SYSTEM_7B, c, SYSTEM_7D]
            }
            // Extended topology: threads, then cores.
            0xb => match subleaf {
                0 => [0, 1, 1 << 8, id.apic_id],
                1 => [width, id.cpus, 2 << 8 | 1, id.apic_id],
                _ => [0, 0, subleaf & 0xff, id.apic_id],
            },
            0xd if subleaf == 0 => [xsave::COMPONENTS as u32, xsave::AREA, xsave::AREA, 0],
            // The time-stamp counter runs as fast as the crystal.
            0x15 => [1, (TSC_HZ / u64::from(CRYSTAL_HZ)) as u32, CRYSTAL_HZ, 0],
            0x16 => [MHZ[0], MHZ[0], MHZ[1], 0],
            0x8000_0001 => [a, b, c, d | SYSTEM_XD],
            0x8000_0007 => [0, 0, 0, INVARIANT_TSC],
            0x8000_0008 => [PHYSICAL_BITS | if id.five_levels { 57 } else { 48 } << 8, 0, 0, 0],
            _ => [a, b, c, d],
        }
    }

    /// Whether there are MONITOR and MWAIT.
    pub(crate) fn has_monitor(&self) -> bool {
        self.system.misc_enable & misc_enable::MONITOR != 0
    }

    /// Whether there is a local APIC, and IA32_APIC_BASE has it on.
    fn has_apic(&self) -> bool {
        let base = self.system.devices.as_ref().and_then(|d| d.read(msr::APIC_BASE));
        base.is_some_and(|base| base >> 11 & 1 != 0)
    }
}

/// Deterministic cache parameters: level, kind (1 data, 2 code, 3 both), ways, sets.
fn cache(subleaf: u32) -> Leaf {
    let (level, kind, ways, sets) = match subleaf {
        0 => (1, 1, 8, 64),
        1 => (1, 2, 8, 64),
        2 => (2, 3, 16, 1024),
        3 => (3, 3, 16, 16384),
        _ => return [0; 4],
    };
    let self_initialising = 1 << 8;
    [kind | level << 5 | self_initialising, (ways - 1) << 22 | 63, sets - 1, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_sees_what_a_process_does_not() {
        let process = State::new();
        assert_eq!(process.cpuid(1, 0), cpuid(1, 0));
        assert_eq!(process.cpuid(7, 0)[3], 0);
        let mut system = State::power_on();
        let [_, b, c, d] = system.cpuid(1, 0);
        assert_eq!((b >> 24, b >> 16 & 255), (0, 1));
        assert_eq!((c & OSXSAVE, d & (APIC | HTT), d & 1 << 6), (0, 0, 1 << 6));
        system.system.cr4 |= cr4::OSXSAVE;
        system.system.identity = Identity { apic_id: 3, cpus: 4, ..Identity::default() };
        let [_, b, c, d] = system.cpuid(1, 0);
        assert_eq!((b >> 24, b >> 16 & 255), (3, 4));
        assert_eq!((c & OSXSAVE, d & HTT), (OSXSAVE, HTT));
        assert_eq!(system.cpuid(0xb, 1), [2, 4, 0x201, 3]);
        assert_eq!(system.cpuid(0x8000_0008, 0)[0], 0x302e);
        assert_eq!(system.cpuid(0x15, 0)[..3], [1, 1, CRYSTAL_HZ]);
    }
}
