//! Translation modes: facts of state that change what code means, as bits of a block key's mode.
//!
//! The process machine's 64-bit code has mode 0. What the bits say is constant while a block is
//! lifted, so that none of it costs anything at run time.

/// 64-bit code.
pub const CODE64: u32 = 0;
/// 32-bit code.
pub const CODE32: u32 = 1;
/// 16-bit code.
pub const CODE16: u32 = 2;
/// Mask of the width of code.
pub const CODE: u32 = 3;
/// The vCPU of a system machine: privileged instructions, segments and faults as in hardware.
pub const SYSTEM: u32 = 1 << 2;
/// CR0.PE: protected mode.
pub const PROTECTED: u32 = 1 << 5;
/// EFLAGS.VM: virtual-8086 mode.
pub const VIRTUAL: u32 = 1 << 6;
/// The stack pointer is ESP, not SP (SS.B); of no meaning in 64-bit code.
pub const STACK32: u32 = 1 << 7;
/// CR0.MP: WAIT heeds [`SWITCHED`].
pub const MONITOR: u32 = 1 << 8;
/// CR0.EM: there is no x87 unit.
pub const EMULATED: u32 = 1 << 9;
/// CR0.TS: x87 and SSE registers may be another task's.
pub const SWITCHED: u32 = 1 << 10;
/// CR4.OSFXSR: SSE may be used.
pub const SSE: u32 = 1 << 11;
/// Single steps or breakpoints: a block is one instruction, which looks for them.
pub const DEBUG: u32 = 1 << 12;

/// Misaligned accesses are #AC: CR0.AM and EFLAGS.AC are set, and the privilege level is 3.
pub const ALIGNED: u32 = 1 << 25;

/// MXCSR does not mask all exceptions of SSE: what may raise one looks for it.
pub const UNMASKED: u32 = 1 << 27;

const CPL_SHIFT: u32 = 3;
const CLASS_SHIFT: u32 = 13;

/// Bits of an address.
pub const fn bitness(mode: u32) -> u32 {
    match mode & CODE {
        CODE64 => 64,
        CODE32 => 32,
        _ => 16,
    }
}

/// The current privilege level.
pub const fn cpl(mode: u32) -> u32 {
    mode >> CPL_SHIFT & 3
}

/// The bits that say this privilege level.
pub const fn with_cpl(cpl: u8) -> u32 {
    (cpl as u32 & 3) << CPL_SHIFT
}

/// What an access through a segment register asks for outside 64-bit code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Class {
    /// Base 0, all of 4 GiB, readable and (but CS) writable: nothing.
    Flat = 0,
    /// As flat, with a base.
    Based = 1,
    /// A base and a limit.
    Limited = 2,
    /// Everything: it may be null, read-only, not readable, or expand down.
    Odd = 3,
}

/// The class of segment register `n` (ES, CS, SS, DS, FS, GS).
pub const fn class(mode: u32, n: usize) -> Class {
    match mode >> (CLASS_SHIFT + 2 * n as u32) & 3 {
        // Outside the system machine FS and GS have bases that no descriptor tells of.
        0 if n < 4 || mode & SYSTEM != 0 => Class::Flat,
        0 | 1 => Class::Based,
        2 => Class::Limited,
        _ => Class::Odd,
    }
}

/// The bits that say this class of segment register `n`.
pub const fn with_class(n: usize, class: Class) -> u32 {
    (class as u32) << (CLASS_SHIFT + 2 * n as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap() {
        for n in 0..6 {
            for class_of_n in [Class::Flat, Class::Based, Class::Limited, Class::Odd] {
                let mode = SYSTEM | DEBUG | with_cpl(3) | with_class(n, class_of_n);
                assert_eq!(class(mode, n), class_of_n);
                assert!((0..6).filter(|&m| m != n).all(|m| class(mode, m) == Class::Flat));
                assert_eq!((cpl(mode), mode & (PROTECTED | VIRTUAL)), (3, 0));
            }
        }
        assert_eq!(class(CODE32, 3), Class::Flat);
        assert_eq!(class(CODE32, 5), Class::Based);
    }
}
