//! Codes of the traps that x86 code asks of its environment.
//!
//! Codes below 32 are exception vectors (SDM 3A 6.15) and arrive as faults, with the pc of the
//! instruction itself; their data is the error code. [`BREAKPOINT`], [`DEBUG`], [`INT`] and
//! [`SYSCALL`] arrive as traps, with the pc behind the instruction.

use mynah_ir::Trap;

/// #DE: a division by zero, or its quotient does not fit.
pub const DIVIDE: u16 = 0;
/// #DB, by INT1.
pub const DEBUG: u16 = 1;
/// #BP, by INT3.
pub const BREAKPOINT: u16 = 3;
/// #UD: no instruction, or one that CPUID does not report.
pub const UNDEFINED: u16 = 6;
/// #GP: a privileged instruction, or an operand that is not permitted.
pub const PROTECTION: u16 = 13;
/// #MF: an unmasked x87 exception.
pub const X87: u16 = 16;
/// #XM: an unmasked SSE exception.
pub const SIMD: u16 = 19;
/// SYSCALL; RCX and R11 are set.
pub const SYSCALL: u16 = 0x100;
/// INT n (two bytes long); n is the trap's data.
pub const INT: u16 = 0x101;

/// The trap of an exception without an error code.
pub const fn exception(vector: u16) -> Trap {
    Trap { code: vector, data: 0 }
}
