//! The guest's registers, and their slots.

use crate::fpu::Fpu;
use mynah_ir::{Slot, SlotInfo, SlotSet, Ty};
use std::mem::offset_of;

/// User-visible registers. MXCSR is the core's floating-point environment word.
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
    /// The direction flag, 0 or 1.
    pub df: u64,
    /// Linear address of the FS segment.
    pub fs_base: u64,
    /// Linear address of the GS segment.
    pub gs_base: u64,
    /// The other bits of RFLAGS that POPF can change (TF, NT, AC, ID), in place.
    pub rflags: u64,
    /// Selectors of ES, CS, SS, DS, FS, GS.
    pub selectors: [u16; 6],
    /// XMM0–XMM15.
    pub xmm: [u128; 16],
    /// Operands of helpers that take vectors.
    pub scratch: [u128; 2],
    /// x87 and MMX.
    pub fpu: Fpu,
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

/// The arithmetic flags.
pub const FLAGS: SlotSet = SlotSet::of(&[CC_OP, CC_A, CC_B]);

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

/// The slot table, in the order of the constants above.
pub const SLOTS: [SlotInfo; 56] = {
    let mut slots = [slot("", 0); 56];
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
    slots[CC_OP.0 as usize] = slot("cc_op", offset_of!(State, cc_op));
    slots[CC_A.0 as usize] = slot("cc_a", offset_of!(State, cc_a));
    slots[CC_B.0 as usize] = slot("cc_b", offset_of!(State, cc_b));
    slots[DF.0 as usize] = slot("df", offset_of!(State, df));
    slots[FS_BASE.0 as usize] = slot("fs_base", offset_of!(State, fs_base));
    slots[GS_BASE.0 as usize] = slot("gs_base", offset_of!(State, gs_base));
    slots[SCRATCH0.0 as usize] = vector("scratch0", offset_of!(State, scratch));
    slots[SCRATCH1.0 as usize] = vector("scratch1", offset_of!(State, scratch) + 16);
    slots
};

/// Selectors as Linux gives them to a 64-bit process: ES, CS, SS, DS, FS, GS.
const SELECTORS: [u16; 6] = [0, 0x33, 0x2b, 0, 0, 0];

impl State {
    /// State of a fresh 64-bit user process, all registers zero.
    pub fn new() -> State {
        State {
            gpr: [0; 16],
            cc_op: 0,
            cc_a: 0,
            cc_b: 0,
            df: 0,
            fs_base: 0,
            gs_base: 0,
            rflags: 0,
            selectors: SELECTORS,
            xmm: [0; 16],
            scratch: [0; 2],
            fpu: Fpu::new(),
        }
    }
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}
