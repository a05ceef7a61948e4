//! The guest's registers, and their slots.

use crate::cpuid::Identity;
use crate::fpu::Fpu;
use crate::mode::{self, Class};
use crate::registers::{Devices, cr0, cr4, efer, misc_enable};
use crate::segment::{CS, SS, Segment, Table, attribute};
use crate::{flags, registers, space};
use mynah_ir::{Slot, SlotInfo, SlotSet, Ty};
use std::mem::offset_of;

/// The registers. MXCSR is the core's floating-point environment word.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct State {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8–R15.
    pub gpr: [u64; 16],
    /// Arithmetic flags, kept as what they were computed from; see [`crate::flags`].
    pub cc_op: u64,
    /// First operand or result of what last set the flags.
    pub cc_a: u64,
    /// Second operand of what last set the flags.
    pub cc_b: u64,
    /// Result of the INC or DEC since.
    pub cc_step: u64,
    /// The direction flag, 0 or 1.
    pub df: u64,
    /// Linear addresses of the ES, CS, SS and DS segments.
    pub bases: [u64; 4],
    /// Linear address of the FS segment.
    pub fs_base: u64,
    /// Linear address of the GS segment.
    pub gs_base: u64,
    /// The highest offsets in ES, CS, SS, DS, FS, GS, below 2³².
    pub limits: [u64; 6],
    /// Linear address of the last byte of CS.
    pub cs_last: u64,
    /// The other bits of RFLAGS ([`flags::SYSTEM`]), in place.
    pub rflags: u64,
    /// Selectors of ES, CS, SS, DS, FS, GS.
    pub selectors: [u16; 6],
    /// XMM0–XMM15.
    pub xmm: [u128; 16],
    /// Operands of helpers that take vectors.
    pub scratch: [u128; 2],
    /// x87 and MMX.
    pub fpu: Fpu,
    /// What only the system machine changes.
    pub system: System,
}

/// Registers of the operating system, and what the vCPU of a system machine keeps besides.
#[derive(Clone, Debug)]
pub struct System {
    /// Whether this is the vCPU of a system machine.
    pub on: bool,
    /// The translation mode that follows from the rest of the state; see [`State::refresh_mode`].
    pub mode: u32,
    /// Whether MXCSR, which is not kept here, leaves some exception unmasked.
    pub unmasked: bool,
    /// MXCSR's flags while an instruction whose exceptions are not all masked raises its own.
    pub raised_before: u32,
    /// The rights of accesses that follow from the rest of the state, as a number for
    /// [`mynah_mem::Memory::set_space`].
    pub space: u8,
    /// The current privilege level.
    pub cpl: u8,
    /// Attributes of ES, CS, SS, DS, FS, GS: see [`Segment`].
    pub attributes: [u32; 6],
    /// GDTR.
    pub gdtr: Table,
    /// IDTR.
    pub idtr: Table,
    /// LDTR.
    pub ldtr: Segment,
    /// TR.
    pub tr: Segment,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3, without its bit 63.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// The page-directory-pointer-table entries of PAE paging, read when CR3 was set.
    pub pdptes: [u64; 4],
    /// XCR0.
    pub xcr0: u64,
    /// DR0–DR3.
    pub dr: [u64; 4],
    /// DR6.
    pub dr6: u64,
    /// DR7.
    pub dr7: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_STAR.
    pub star: u64,
    /// IA32_LSTAR.
    pub lstar: u64,
    /// IA32_CSTAR.
    pub cstar: u64,
    /// IA32_FMASK.
    pub fmask: u64,
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// IA32_SYSENTER_CS.
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// IA32_TSC_AUX.
    pub tsc_aux: u64,
    /// What the machine adds to the clock so that the time-stamp counter stands while the machine
    /// does.
    pub tsc_offset: u64,
    /// IA32_TSC_ADJUST: what the guest has added to the time-stamp counter.
    pub tsc_adjust: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_SPEC_CTRL, which has no effect.
    pub spec_ctrl: u64,
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// IA32_MTRR_DEF_TYPE.
    pub mtrr_default: u64,
    /// The fixed-range MTRRs, in the order of their numbers.
    pub mtrr_fixed: [u64; 11],
    /// IA32_MTRR_PHYSBASEn and PHYSMASKn, in turn.
    pub mtrr_variable: [u64; 16],
    /// Bits for DR6 of debug exceptions that are due behind the instruction at hand.
    pub debug_pending: u64,
    /// Accesses that a debugger outside the guest watches; a change of them may change the mode.
    pub watches: Vec<Watch>,
    /// The first access that met one of `watches`, until the machine takes it. An instruction that
    /// faults has made none.
    pub watched: Option<Watched>,
    /// A fault that a task switch left behind: it is due before the next instruction.
    pub due: Option<mynah_guest::Fault>,
    /// Interrupts are not delivered while the pc is this one: behind STI and loads of SS.
    pub shadow_pc: Option<u64>,
    /// An NMI is being handled: there is no other until IRET.
    pub nmi_blocked: bool,
    /// The line of physical memory that the last MONITOR named.
    pub monitored: Option<u64>,
    /// The machine holds an interrupt that waits for IF, or for the end of a shadow: the vCPU asks
    /// for attention when it could be delivered.
    pub interrupt_waiting: bool,
    /// What CPUID reports of this vCPU.
    pub identity: Identity,
    /// The devices that have registers in the vCPU.
    pub devices: Option<Devices>,
}

/// Accesses that are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watch {
    /// First virtual address.
    pub start: u64,
    /// Number of bytes.
    pub len: u64,
    /// Whether reads are watched.
    pub reads: bool,
    /// Whether writes are watched.
    pub writes: bool,
}

/// A watched access that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watched {
    /// Its first virtual address that is watched.
    pub va: u64,
    /// What watches it.
    pub watch: Watch,
}

impl Watch {
    /// What an access of `bytes` bytes at `va` meets of it.
    pub(crate) fn meets(&self, va: u64, bytes: u64, write: bool) -> Option<Watched> {
        let wanted = if write { self.writes } else { self.reads };
        let before = self.start.wrapping_sub(va);
        let overlap = va.wrapping_sub(self.start) < self.len || before < bytes;
        let first = if before < bytes { self.start } else { va };
        (wanted && overlap).then_some(Watched { va: first, watch: *self })
    }
}

/// The slot of the general register of number `n`.
pub const fn gpr(n: usize) -> Slot {
    Slot(n as u8)
}

/// The slot of XMM register `n`.
pub const fn xmm(n: usize) -> Slot {
    Slot(XMM0.0 + n as u8)
}

/// RAX.
pub const RAX: Slot = gpr(0);
/// RCX.
pub const RCX: Slot = gpr(1);
/// RDX.
pub const RDX: Slot = gpr(2);
/// RBX.
pub const RBX: Slot = gpr(3);
/// RSP.
pub const RSP: Slot = gpr(4);
/// RBP.
pub const RBP: Slot = gpr(5);
/// RSI.
pub const RSI: Slot = gpr(6);
/// RDI.
pub const RDI: Slot = gpr(7);
/// R11.
pub const R11: Slot = gpr(11);
/// [`State::cc_op`].
pub const CC_OP: Slot = Slot(16);
/// [`State::cc_a`].
pub const CC_A: Slot = Slot(17);
/// [`State::cc_b`].
pub const CC_B: Slot = Slot(18);
/// [`State::df`].
pub const DF: Slot = Slot(19);
/// [`State::fs_base`].
pub const FS_BASE: Slot = Slot(20);
/// [`State::gs_base`].
pub const GS_BASE: Slot = Slot(21);
/// XMM0; the others follow.
pub const XMM0: Slot = Slot(22);
/// First vector operand of a helper.
pub const SCRATCH0: Slot = Slot(38);
/// Second vector operand of a helper.
pub const SCRATCH1: Slot = Slot(39);

/// The slot of MMX register `n`: the low 64 bits of x87 register `n`.
pub const fn mmx(n: usize) -> Slot {
    Slot(40 + n as u8)
}

/// The slot of what is above MMX register `n` in x87 register `n`.
pub const fn mmx_high(n: usize) -> Slot {
    Slot(48 + n as u8)
}

/// The slot of the base of segment register `n` (ES, CS, SS, DS, FS, GS).
pub const fn base(n: usize) -> Slot {
    match n {
        0..4 => Slot(56 + n as u8),
        4 => FS_BASE,
        _ => GS_BASE,
    }
}

/// The slot of the limit of segment register `n` (ES, CS, SS, DS, FS, GS).
pub const fn limit(n: usize) -> Slot {
    Slot(60 + n as u8)
}

/// [`State::cs_last`].
pub const CS_LAST: Slot = Slot(66);
/// [`State::cc_step`].
pub const CC_STEP: Slot = Slot(67);

/// What loading segment registers changes.
pub const SEGMENTS: SlotSet = {
    let mut set = SlotSet::of(&[CS_LAST]);
    let mut n = 0;
    while n < 6 {
        set = set.with(base(n)).with(limit(n));
        n += 1;
    }
    set
};

/// The arithmetic flags.
pub const FLAGS: SlotSet = SlotSet::of(&[CC_OP, CC_A, CC_B, CC_STEP]);

const fn slot(name: &'static str, offset: usize) -> SlotInfo {
    SlotInfo { name, offset: offset as u32, ty: Ty::I64 }
}

const fn vector(name: &'static str, offset: usize) -> SlotInfo {
    SlotInfo { name, offset: offset as u32, ty: Ty::V128 }
}

const GPR_NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

const XMM_NAMES: [&str; 16] = [
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
    "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
];

const MMX_NAMES: [&str; 8] = ["mm0", "mm1", "mm2", "mm3", "mm4", "mm5", "mm6", "mm7"];
const MMX_HIGH_NAMES: [&str; 8] = ["mm0h", "mm1h", "mm2h", "mm3h", "mm4h", "mm5h", "mm6h", "mm7h"];

const BASE_NAMES: [&str; 4] = ["es_base", "cs_base", "ss_base", "ds_base"];
const LIMIT_NAMES: [&str; 6] =
    ["es_limit", "cs_limit", "ss_limit", "ds_limit", "fs_limit", "gs_limit"];

/// The slot table, in the order of the constants above.
pub const SLOTS: [SlotInfo; 68] = {
    let mut slots = [slot("", 0); 68];
    let mut n = 0;
    while n < 16 {
        slots[n] = slot(GPR_NAMES[n], offset_of!(State, gpr) + 8 * n);
        slots[XMM0.0 as usize + n] = vector(XMM_NAMES[n], offset_of!(State, xmm) + 16 * n);
        n += 1;
    }
    let mut n = 0;
    while n < 8 {
        let at = offset_of!(State, fpu.regs) + 16 * n;
        slots[mmx(n).0 as usize] = slot(MMX_NAMES[n], at);
        slots[mmx_high(n).0 as usize] = slot(MMX_HIGH_NAMES[n], at + 8);
        n += 1;
    }
    let mut n = 0;
    while n < 4 {
        slots[base(n).0 as usize] = slot(BASE_NAMES[n], offset_of!(State, bases) + 8 * n);
        n += 1;
    }
    let mut n = 0;
    while n < 6 {
        slots[limit(n).0 as usize] = slot(LIMIT_NAMES[n], offset_of!(State, limits) + 8 * n);
        n += 1;
    }
    slots[CS_LAST.0 as usize] = slot("cs_last", offset_of!(State, cs_last));
    slots[CC_OP.0 as usize] = slot("cc_op", offset_of!(State, cc_op));
    slots[CC_A.0 as usize] = slot("cc_a", offset_of!(State, cc_a));
    slots[CC_B.0 as usize] = slot("cc_b", offset_of!(State, cc_b));
    slots[CC_STEP.0 as usize] = slot("cc_step", offset_of!(State, cc_step));
    slots[DF.0 as usize] = slot("df", offset_of!(State, df));
    slots[FS_BASE.0 as usize] = slot("fs_base", offset_of!(State, fs_base));
    slots[GS_BASE.0 as usize] = slot("gs_base", offset_of!(State, gs_base));
    slots[SCRATCH0.0 as usize] = vector("scratch0", offset_of!(State, scratch));
    slots[SCRATCH1.0 as usize] = vector("scratch1", offset_of!(State, scratch) + 16);
    slots
};

/// Selectors as Linux gives them to a 64-bit process: ES, CS, SS, DS, FS, GS.
const SELECTORS: [u16; 6] = [0, 0x33, 0x2b, 0, 0, 0];

/// FSTCW after RESET and INIT (SDM 3A table 10-1).
const FCW_RESET: u16 = 0x40;

impl State {
    /// State of a fresh 64-bit user process, all registers zero.
    pub fn new() -> State {
        State {
            gpr: [0; 16],
            cc_op: 0,
            cc_a: 0,
            cc_b: 0,
            cc_step: 0,
            df: 0,
            bases: [0; 4],
            fs_base: 0,
            gs_base: 0,
            limits: [u32::MAX.into(); 6],
            cs_last: u32::MAX.into(),
            rflags: flags::IF,
            selectors: SELECTORS,
            xmm: [0; 16],
            scratch: [0; 2],
            fpu: Fpu::new(),
            system: System::new(),
        }
    }

    /// State of a system machine's vCPU after RESET (SDM 3A table 10-1). The pc is [`RESET_PC`].
    pub fn power_on() -> State {
        let mut state = State::new();
        state.system.on = true;
        state.fpu.control = FCW_RESET;
        state.fpu.tags = 0xff;
        state.to_reset_vector();
        state
    }

    /// INIT: all that RESET does, but for the x87 and vector registers, the MSRs, and the cache
    /// bits of CR0. The pc becomes [`RESET_PC`]; the memory's page walker is to be told.
    pub fn init(&mut self) {
        let kept = cr0::CD | cr0::NW;
        let caches = self.system.cr0 & kept;
        self.to_reset_vector();
        self.system.cr0 = self.system.cr0 & !kept | caches;
        self.refresh_mode();
    }

    /// A start-up IPI: execution begins at page `vector`, whose address it yields.
    pub fn start_up(&mut self, vector: u8) -> u64 {
        let base = u64::from(vector) << 12;
        let selector = u16::from(vector) << 8;
        self.set_segment(CS, Segment { selector, base, ..self.segment(CS) });
        self.refresh_mode();
        base
    }

    fn to_reset_vector(&mut self) {
        self.gpr = [0; 16];
        // EDX is the processor's signature.
        self.gpr[2] = crate::cpuid::SIGNATURE.into();
        self.set_arithmetic_flags(0);
        self.df = 0;
        self.rflags = 0;
        for n in 0..6 {
            self.set_segment(n, Segment::REAL);
        }
        let high = Segment { selector: 0xf000, base: 0xffff_0000, ..Segment::REAL };
        self.set_segment(CS, high);
        let system = &mut self.system;
        system.cpl = 0;
        system.gdtr = Table { base: 0, limit: 0xffff };
        system.idtr = Table { base: 0, limit: 0xffff };
        system.ldtr = Segment { attributes: attribute::PRESENT | 2 << 8, ..Segment::REAL };
        system.tr = Segment { attributes: attribute::PRESENT | 11 << 8, ..Segment::REAL };
        system.cr0 = cr0::ET | cr0::CD | cr0::NW;
        (system.cr2, system.cr3, system.cr4, system.efer) = (0, 0, 0, 0);
        system.dr = [0; 4];
        system.dr6 = registers::DR6_RESET;
        system.dr7 = registers::DR7_RESET;
        system.debug_pending = 0;
        system.due = None;
        system.shadow_pc = None;
        system.nmi_blocked = false;
        self.refresh_mode();
    }

    /// Segment register `n` (ES, CS, SS, DS, FS, GS).
    pub fn segment(&self, n: usize) -> Segment {
        let base = match n {
            0..4 => self.bases[n],
            4 => self.fs_base,
            _ => self.gs_base,
        };
        Segment {
            selector: self.selectors[n],
            attributes: self.system.attributes[n],
            base,
            limit: self.limits[n] as u32,
        }
    }

    /// Sets segment register `n` without any check. The mode may change.
    pub fn set_segment(&mut self, n: usize, segment: Segment) {
        self.selectors[n] = segment.selector;
        self.system.attributes[n] = segment.attributes;
        self.limits[n] = segment.limit.into();
        match n {
            0..4 => self.bases[n] = segment.base,
            4 => self.fs_base = segment.base,
            _ => self.gs_base = segment.base,
        }
        if n == CS {
            self.cs_last = segment.base + u64::from(segment.limit);
        }
    }

    /// Whether the vCPU is in IA-32e mode, 64-bit or compatibility.
    pub fn is_long(&self) -> bool {
        self.system.efer & efer::LMA != 0
    }

    /// Whether the vCPU is in protected mode (of which long mode is a part), not virtual-8086.
    pub fn is_protected(&self) -> bool {
        self.system.cr0 & cr0::PE != 0 && self.rflags & flags::VM == 0
    }

    /// Whether the vCPU is in virtual-8086 mode.
    pub fn is_virtual(&self) -> bool {
        self.system.cr0 & cr0::PE != 0 && self.rflags & flags::VM != 0
    }

    /// Whether the vCPU runs 64-bit code.
    pub fn is_64(&self) -> bool {
        self.system.mode & mode::CODE == mode::CODE64
    }

    /// The linear address of `offset` in CS.
    pub fn code_address(&self, offset: u64) -> u64 {
        if self.is_64() { offset } else { u64::from((self.bases[CS] + offset) as u32) }
    }

    /// The instruction pointer whose linear address is `pc`.
    pub fn code_offset(&self, pc: u64) -> u64 {
        if self.is_64() { pc } else { u64::from(pc.wrapping_sub(self.bases[CS]) as u32) }
    }

    /// Brings [`System::mode`] and [`System::space`] up to date; whether one has changed.
    pub fn refresh_mode(&mut self) -> bool {
        let before = (self.system.mode, self.system.space);
        self.system.mode = self.mode();
        self.refresh_space();
        before != (self.system.mode, self.system.space)
    }

    /// Brings [`System::space`] up to date.
    pub(crate) fn refresh_space(&mut self) {
        self.system.space = self.rights_at(self.system.cpl);
    }

    /// The rights of code at privilege level `cpl` with the flags as they are, which it has on its
    /// stack while an event is delivered, too (SDM 3A 4.6: these accesses are explicit).
    pub(crate) fn rights_at(&self, cpl: u8) -> u8 {
        let lifts_smap = self.system.cr4 & cr4::SMAP != 0 && self.rflags & flags::AC != 0;
        match cpl {
            3 => space::USER,
            _ if lifts_smap => space::SUPERVISOR_AC,
            _ => space::SUPERVISOR,
        }
    }

    fn mode(&self) -> u32 {
        let System { on, unmasked, cpl, cr0, cr4, efer, dr7, .. } = self.system;
        let watched = !self.system.watches.is_empty();
        if !on {
            let debug = if watched { mode::DEBUG } else { 0 };
            return mode::CODE64 | debug | if unmasked { mode::UNMASKED } else { 0 };
        }
        let code = self.segment(CS);
        let long = efer & efer::LMA != 0 && code.has(attribute::LONG);
        let mut word = mode::SYSTEM | mode::with_cpl(cpl);
        let mut add = |bit, on| word |= if on { bit } else { 0 };
        add(mode::PROTECTED, cr0 & cr0::PE != 0);
        add(mode::VIRTUAL, self.is_virtual());
        add(mode::MONITOR, cr0 & cr0::MP != 0);
        add(mode::EMULATED, cr0 & cr0::EM != 0);
        add(mode::SWITCHED, cr0 & cr0::TS != 0);
        add(mode::SSE, cr4 & cr4::OSFXSR != 0);
        add(mode::UNMASKED, unmasked);
        add(mode::DEBUG, self.rflags & flags::TF != 0 || dr7 & 0xff != 0 || watched);
        add(mode::ALIGNED, cr0 & cr0::AM != 0 && self.rflags & flags::AC != 0 && cpl == 3);
        if long {
            return word | mode::CODE64;
        }
        add(mode::STACK32, self.segment(SS).has(attribute::BIG));
        add(mode::CODE32, code.has(attribute::BIG));
        add(mode::CODE16, !code.has(attribute::BIG));
        for n in 0..6 {
            word |= mode::with_class(n, self.class(n));
        }
        word
    }

    fn class(&self, n: usize) -> Class {
        let segment = self.segment(n);
        let plain = match self.is_protected() {
            true => segment.is_readable() && (n == CS || segment.is_writable()),
            // Of the attributes only the limit counts in the other modes.
            false => true,
        };
        match (segment.limit, segment.base) {
            _ if !plain || segment.is_expand_down() => Class::Odd,
            (u32::MAX, 0) => Class::Flat,
            (u32::MAX, _) => Class::Based,
            _ => Class::Limited,
        }
    }
}

/// Where execution begins after RESET, as a linear address.
pub const RESET_PC: u64 = 0xffff_fff0;

impl System {
    fn new() -> System {
        System {
            on: false,
            mode: mode::CODE64,
            unmasked: false,
            raised_before: 0,
            space: space::SUPERVISOR,
            cpl: 0,
            attributes: [0; 6],
            gdtr: Table::default(),
            idtr: Table::default(),
            ldtr: Segment::default(),
            tr: Segment::default(),
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            pdptes: [0; 4],
            xcr0: 1,
            dr: [0; 4],
            dr6: registers::DR6_RESET,
            dr7: registers::DR7_RESET,
            efer: 0,
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            tsc_aux: 0,
            tsc_offset: 0,
            tsc_adjust: 0,
            pat: PAT_RESET,
            spec_ctrl: 0,
            misc_enable: misc_enable::RESET,
            mtrr_default: 0,
            mtrr_fixed: [0; 11],
            mtrr_variable: [0; 16],
            debug_pending: 0,
            watches: Vec::new(),
            watched: None,
            due: None,
            shadow_pc: None,
            nmi_blocked: false,
            monitored: None,
            interrupt_waiting: false,
            identity: Identity::default(),
            devices: None,
        }
    }
}

/// IA32_PAT after RESET (SDM 3A 12.12.4).
const PAT_RESET: u64 = 0x0007_0406_0007_0406;

impl Default for State {
    fn default() -> State {
        State::new()
    }
}
