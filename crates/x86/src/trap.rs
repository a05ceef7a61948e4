//! Codes of the traps that x86 code asks of its environment.
//!
//! Codes below 32 are exception vectors (SDM 3A 6.15) and arrive as faults, with the pc of the
//! instruction itself; their data is the error code. [`BREAKPOINT`], [`OVERFLOW`], [`DEBUG`],
//! [`INT`] and [`SYSCALL`] arrive as traps, with the pc behind the instruction.

use mynah_ir::Trap;

/// #DE: a division by zero, or its quotient does not fit.
pub const DIVIDE: u16 = 0;
/// #DB, by INT1.
pub const DEBUG: u16 = 1;
/// A non-maskable interrupt.
pub const NMI: u16 = 2;
/// #BP, by INT3.
pub const BREAKPOINT: u16 = 3;
/// #OF, by INTO.
pub const OVERFLOW: u16 = 4;
/// #BR: BOUND's index is outside.
pub const BOUND: u16 = 5;
/// #UD: no instruction, or one that CPUID does not report.
pub const UNDEFINED: u16 = 6;
/// #NM: the x87 or SSE unit is off.
pub const NO_UNIT: u16 = 7;
/// #DF: an exception while another was being delivered.
pub const DOUBLE: u16 = 8;
/// #TS: a task-state segment that cannot be used.
pub const TASK: u16 = 10;
/// #NP: a segment that is not present.
pub const ABSENT: u16 = 11;
/// #SS: an access beyond the stack's limit, or a stack segment that is not present.
pub const STACK: u16 = 12;
/// #GP: a privileged instruction, or an operand that is not permitted.
pub const PROTECTION: u16 = 13;
/// #PF: a page fault; its address is in CR2.
pub const PAGE: u16 = 14;
/// #MF: an unmasked x87 exception.
pub const X87: u16 = 16;
/// #AC: a misaligned access.
pub const ALIGNMENT: u16 = 17;
/// #XM: an unmasked SSE exception.
pub const SIMD: u16 = 19;
/// SYSCALL; RCX and R11 are set.
pub const SYSCALL: u16 = 0x100;
/// INT n (two bytes long); n is the trap's data.
pub const INT: u16 = 0x101;

/// HLT: sleep until an interrupt, with the pc behind the instruction.
pub const HALT: u16 = 0x102;
/// MWAIT: sleep until an interrupt, or until what MONITOR named is written; the pc is behind the
/// instruction. Bit 0 of RCX says that interrupts wake it also where IF is 0.
pub const WAIT: u16 = 0x103;

/// The trap of an exception without an error code.
pub const fn exception(vector: u16) -> Trap {
    Trap { code: vector, data: 0 }
}
