//! The architectural state, and what of it a block's key holds.

use mynah_ir::{Slot, SlotInfo, Ty};
use std::mem::offset_of;

/// Registers of one hart. Its pc and accrued exceptions are in [`mynah_guest::Core`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct State {
    /// Integer registers; `x[0]` is never written.
    pub x: [u64; 32],
    /// Floating-point registers; a single stands with ones above it.
    pub f: [u64; 32],
    /// The address that LR reserved, or [`NO_RESERVATION`].
    pub reservation: u64,
    /// The value that LR found there: SC stores if it is still there.
    pub reserved: u64,
    /// The rounding mode, 0 to 7.
    pub frm: u64,
    /// What `float::slow` is to do.
    pub request: u64,
}

/// The reservation is invalid: no instruction can reserve an odd address.
pub const NO_RESERVATION: u64 = u64::MAX;

impl State {
    /// State after reset: all zeros and no reservation.
    pub const fn new() -> State {
        State {
            x: [0; 32],
            f: [0; 32],
            reservation: NO_RESERVATION,
            reserved: 0,
            frm: 0,
            request: 0,
        }
    }
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

/// The slot of integer register `n`.
pub const fn x(n: u8) -> Slot {
    Slot(n)
}

/// The slot of floating-point register `n`.
pub const fn f(n: u8) -> Slot {
    Slot(32 + n)
}

/// [`State::reservation`].
pub const RESERVATION: Slot = Slot(64);
/// [`State::reserved`].
pub const RESERVED: Slot = Slot(65);
/// [`State::frm`].
pub const FRM: Slot = Slot(66);
/// [`State::request`].
pub const REQUEST: Slot = Slot(67);

/// ABI names of the integer registers.
pub const X_NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4",
    "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4",
    "t5", "t6",
];

/// ABI names of the floating-point registers.
pub const F_NAMES: [&str; 32] = [
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2",
    "fa3", "fa4", "fa5", "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9",
    "fs10", "fs11", "ft8", "ft9", "ft10", "ft11",
];

/// The slot table.
pub(crate) const SLOTS: [SlotInfo; 68] = {
    let none = SlotInfo { name: "", offset: 0, ty: Ty::I64 };
    let mut slots = [none; 68];
    let mut n = 0;
    while n < 32 {
        let step = 8 * n as u32;
        let (x, f) = (offset_of!(State, x) as u32 + step, offset_of!(State, f) as u32 + step);
        slots[n] = SlotInfo { name: X_NAMES[n], offset: x, ty: Ty::I64 };
        slots[32 + n] = SlotInfo { name: F_NAMES[n], offset: f, ty: Ty::F64 };
        n += 1;
    }
    const fn word(name: &'static str, offset: usize) -> SlotInfo {
        SlotInfo { name, offset: offset as u32, ty: Ty::I64 }
    }
    slots[RESERVATION.0 as usize] = word("reservation", offset_of!(State, reservation));
    slots[RESERVED.0 as usize] = word("reserved", offset_of!(State, reserved));
    slots[FRM.0 as usize] = word("frm", offset_of!(State, frm));
    slots[REQUEST.0 as usize] = word("request", offset_of!(State, request));
    slots
};

/// What the dynamic rounding mode means for translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Mode {
    /// The environment's rounding mode is `frm`.
    Host = 0,
    /// `frm` is round-to-nearest-away: operations that round are done by a helper.
    Away = 1,
    /// `frm` is reserved: operations with the dynamic rounding mode are illegal.
    Reserved = 2,
}

/// The mode of a state whose rounding mode is `frm`.
pub const fn mode(frm: u64) -> Mode {
    match frm {
        0..=3 => Mode::Host,
        4 => Mode::Away,
        _ => Mode::Reserved,
    }
}
