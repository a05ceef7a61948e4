//! The control and status registers of user mode: chapters "Zicsr", "Zicntr" and "F".

use crate::float;
use crate::guest::RiscV;
use crate::state::mode;
use mynah_guest::Cpu;
use mynah_ir::fp;
use std::sync::OnceLock;
use std::time::Instant;

pub(crate) const FFLAGS: i64 = 0x001;
pub(crate) const FRM: i64 = 0x002;
pub(crate) const FCSR: i64 = 0x003;
pub(crate) const CYCLE: i64 = 0xc00;
pub(crate) const TIME: i64 = 0xc01;
pub(crate) const INSTRET: i64 = 0xc02;

/// What a CSR instruction does with its operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Access {
    Read,
    Write,
    Set,
    Clear,
}

/// The helper of the floating-point CSRs: does access `a` to CSR `b` with operand `c`; its old
/// value.
pub(crate) extern "C" fn float_csr(cpu: &mut Cpu<RiscV>, a: u64, b: u64, c: u64) -> u64 {
    let word = fp::leave();
    let fcsr = float::fcsr(word, cpu.state.frm);
    let (shift, mask) = match b as i64 {
        FFLAGS => (0, 0x1f),
        FRM => (5, 7),
        _ => (0, 0xff),
    };
    let old = fcsr >> shift & mask;
    let new = match a {
        1 => c,
        2 => old | c,
        3 => old & !c,
        _ => old,
    };
    let fcsr = fcsr & !(mask << shift) | (new & mask) << shift;
    let before = mode(cpu.state.frm);
    let (word, frm) = float::split_fcsr(fcsr);
    cpu.state.frm = frm;
    fp::enter(word);
    if mode(frm) != before {
        cpu.mode_changed();
    }
    old
}

/// The helper of the counters: CYCLE and INSTRET count nanoseconds, TIME tenths of microseconds.
pub(crate) extern "C" fn counter(_: &mut Cpu<RiscV>, a: u64, _: u64, _: u64) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed().as_nanos() as u64;
    if a as i64 == TIME { elapsed / 100 } else { elapsed }
}
