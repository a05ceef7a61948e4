//! What a RISC-V instruction may ask of its environment: [`mynah_ir::Trap::code`].

use mynah_ir::Trap;

/// ECALL: the environment's pc is the next instruction's.
pub const ECALL: u16 = 1;
/// EBREAK: the environment's pc is the instruction's own.
pub const EBREAK: u16 = 2;
/// An instruction that is none, or is not permitted; pc is its own.
pub const ILLEGAL: u16 = 3;

/// The trap of this code.
pub const fn of(code: u16) -> Trap {
    Trap { code, data: 0 }
}
