//! x87 operations by the host's own unit.
//!
//! Outside this module the unit is as the ABI wants it: empty, all exceptions masked, no flag set.
#![expect(unsafe_code, reason = "x87 instructions under the guest's control word")]

use super::{Done, Op, with_operations};
use std::arch::asm;

/// The control word that the ABI promises to other code.
const DEFAULT: u16 = 0x37f;
/// Exception masks.
const MASKS: u16 = 0x3f;
/// All exception flags and the stack fault.
const FLAGS: u16 = 0x7f;

/// What FNSAVE stores: 28 bytes of environment, ST0 to ST7.
#[repr(C, align(16))]
struct Image([u8; 112]);

impl Image {
    const STATUS: usize = 4;

    fn status(&self) -> u16 {
        u16::from_le_bytes([self.0[Self::STATUS], self.0[Self::STATUS + 1]])
    }

    fn st(&self, i: usize) -> u128 {
        let mut bytes = [0; 16];
        bytes[..10].copy_from_slice(&self.0[28 + 10 * i..][..10]);
        u128::from_le_bytes(bytes)
    }
}

/// `$insn` between loads of both registers and `$tail`.
macro_rules! x87 {
    ($st0:expr, $st1:expr, $memory:expr, [$insn:literal $(, $tail:literal)*] $($operand:tt)*) => {
        asm!(
            "fld tbyte ptr [{st1}]",
            "fld tbyte ptr [{st0}]",
            $insn,
            $($tail,)*
            "# {m}",
            st0 = in(reg) &raw mut $st0,
            st1 = in(reg) &raw mut $st1,
            m = in(reg) &raw mut $memory,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            options(nostack)
            $($operand)*
        )
    };
}

/// The fast form: the result and the status word are taken out one by one. `None` if it varies
/// how much there is to take out.
macro_rules! quick {
    ($st0:expr, $st1:expr, $memory:expr, $insn:literal both) => {{
        let status: u16;
        x87!($st0, $st1, $memory, [$insn, "fnstsw ax", "fstp tbyte ptr [{st0}]", "fstp st(0)"]
            , out("ax") status);
        Some(status)
    }};
    ($st0:expr, $st1:expr, $memory:expr, $insn:literal one) => {{
        let status: u16;
        x87!($st0, $st1, $memory, [$insn, "fnstsw ax", "fstp tbyte ptr [{st0}]", "fstp st(0)",
            "fstp st(0)"], out("ax") status);
        Some(status)
    }};
    ($st0:expr, $st1:expr, $memory:expr, $insn:literal popped) => {{
        let status: u16;
        x87!($st0, $st1, $memory, [$insn, "fnstsw ax", "fstp tbyte ptr [{st0}]"]
            , out("ax") status);
        Some(status)
    }};
    ($st0:expr, $st1:expr, $memory:expr, $insn:literal varies) => {
        None
    };
}

macro_rules! runners {
    ($($name:ident $insn:literal $leaves:ident;)*) => {
        /// Runs `op` with all exceptions masked; its status word.
        #[inline]
        fn run_masked(op: Op, st0: &mut u128, st1: &mut u128, memory: &mut u128) -> Option<u16> {
            // SAFETY: the operands are ours and as large as any access; the unit is empty again
            // afterwards, and no exception can be unmasked.
            unsafe {
                match op {
                    $(Op::$name => quick!((*st0), (*st1), (*memory), $insn $leaves),)*
                }
            }
        }

        /// Runs `op` with exceptions masked or not; the unit's image.
        fn run_saving(op: Op, st0: &mut u128, st1: &mut u128, memory: &mut u128) -> Image {
            let mut image = Image([0; 112]);
            // SAFETY: as above; FNSAVE does not wait for exceptions and leaves the unit empty.
            unsafe {
                match op {
                    $(Op::$name => x87!((*st0), (*st1), (*memory), [$insn, "fnsave [{image}]"]
                        , image = in(reg) &raw mut image),)*
                }
            }
            image
        }
    };
}

with_operations!(runners);

/// Whether [`run`] knows `op`.
pub(crate) fn supports(_: Op) -> bool {
    true
}

/// Carries out `op` under the control word `control`.
pub(crate) fn run(op: Op, control: u16, st0: u128, st1: u128, memory: u128) -> Done {
    let mut done = Done { st0, st1, memory, status: 0 };
    if control != DEFAULT {
        load_control(control);
    }
    let masked = control & MASKS == MASKS;
    let status =
        if masked { run_masked(op, &mut done.st0, &mut done.st1, &mut done.memory) } else { None };
    match status {
        Some(status) => {
            done.status = status;
            if status & FLAGS != 0 {
                clear_flags();
            }
        }
        None => {
            let image = run_saving(op, &mut done.st0, &mut done.st1, &mut done.memory);
            done.status = image.status();
            (done.st0, done.st1) = (image.st(0), image.st(1));
            return done;
        }
    }
    if control != DEFAULT {
        load_control(DEFAULT);
    }
    done
}

fn load_control(control: u16) {
    // SAFETY: no exception is pending that the new masks could let through.
    unsafe { asm!("fldcw [{}]", in(reg) &raw const control, options(nostack)) }
}

fn clear_flags() {
    // SAFETY: changes nothing but the flags.
    unsafe { asm!("fnclex", options(nomem, nostack)) }
}
