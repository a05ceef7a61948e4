//! The host CPU as a runner: what the hardware itself makes of guest code.
//!
//! [`Native`] runs the code in the test pages ([`crate::pages`]) from a given register state until
//! it reaches an INT3 around it or an exception, and tells the register state then. A module for
//! each kind of host has the same items; where there is no oracle, [`Native::new`] says so.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::Native;

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(not(target_arch = "x86_64"))]
pub use absent::Native;

/// The registers of an x86-64 CPU in user mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Regs {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8–R15.
    pub gpr: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    /// Base of FS.
    pub fs_base: u64,
    /// Base of GS.
    pub gs_base: u64,
    /// x87, MMX, MXCSR and XMM0–15.
    pub fx: Fx,
}

impl Regs {
    /// All zero but what must not be.
    pub const RESET: Regs =
        Regs { gpr: [0; 16], rflags: 2, rip: 0, fs_base: 0, gs_base: 0, fx: Fx::RESET };
}

/// The image that FXSAVE64 writes (SDM 1, 10.5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(16))]
pub struct Fx {
    /// x87 control word.
    pub fcw: u16,
    /// x87 status word.
    pub fsw: u16,
    /// One bit for each physical register that is not empty.
    pub ftw: u16,
    /// Opcode of the last x87 instruction.
    pub fop: u16,
    /// Address of the last x87 instruction.
    pub fip: u64,
    /// Address of its operand.
    pub fdp: u64,
    /// SSE control and status.
    pub mxcsr: u32,
    /// Bits of MXCSR that exist.
    pub mxcsr_mask: u32,
    /// ST0–ST7 in the low 80 bits.
    pub st: [u128; 8],
    /// XMM0–15.
    pub xmm: [u128; 16],
    /// Not used.
    pub rest: [u128; 6],
}

impl Fx {
    /// After FNINIT and a reset.
    pub const RESET: Fx = Fx {
        fcw: 0x37f,
        fsw: 0,
        ftw: 0,
        fop: 0,
        fip: 0,
        fdp: 0,
        mxcsr: 0x1f80,
        mxcsr_mask: 0xffff,
        st: [0; 8],
        xmm: [0; 16],
        rest: [0; 6],
    };
}

/// How a run on the host CPU ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Control left the code under test; RIP says whereto.
    Left,
    /// An exception, RIP as the exception leaves it.
    Exception {
        /// The vector (SDM 3A, 6.15).
        vector: u8,
        /// The error code.
        error: u64,
        /// CR2, for a page fault.
        address: u64,
    },
}
