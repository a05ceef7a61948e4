//! Guest semantics that the lifts call. One row of the table below is one helper.

mod flags;
pub(crate) mod fpu;
mod integer;
pub(crate) mod sse;
mod string;
mod system;

use crate::X86;
use crate::state::{self, DF, RAX, RBX, RCX, RDI, RDX, RSI};
use mynah_guest::Helper;
use mynah_ir::SlotSet;

const NONE: SlotSet = SlotSet::EMPTY;
const FLAGS: SlotSet = state::FLAGS;
const SCRATCH: SlotSet = SlotSet::of(&[state::SCRATCH0, state::SCRATCH1]);
const XMM: SlotSet = {
    let mut set = SlotSet::EMPTY;
    let mut n = 0;
    while n < 16 {
        set = set.with(state::xmm(n));
        n += 1;
    }
    set
};
const MMX: SlotSet = {
    let mut set = SlotSet::EMPTY;
    let mut n = 0;
    while n < 8 {
        set = set.with(state::mmx(n)).with(state::mmx_high(n));
        n += 1;
    }
    set
};
/// Every register. What reads it finds all earlier floating-point operations done, and their flags
/// raised: the code generator may move an operation up to where its result is first needed.
const STATE: SlotSet = {
    let mut set = SlotSet::EMPTY;
    let mut n = 0;
    while n < state::SLOTS.len() {
        set = set.with(mynah_ir::Slot(n as u8));
        n += 1;
    }
    set
};
const STRING: SlotSet = SlotSet::of(&[RAX, RCX, RSI, RDI, DF]);

macro_rules! helpers {
    ($($(#[doc = $doc:literal])+ $id:ident $name:literal = $function:path,
       reads $reads:expr, writes $writes:expr, $effect:ident;)*) => {
        /// The helpers; the discriminant is the index in `TABLE`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        pub enum Id { $($(#[doc = $doc])+ $id,)* }

        /// The helpers as the translator sees them.
        pub(crate) static TABLE: &[Helper<X86>] = &[$(Helper {
            name: $name,
            function: $function,
            reads: $reads,
            writes: $writes,
            faults: matches!(Effect::$effect, Effect::Faults),
            pure: matches!(Effect::$effect, Effect::Pure),
        }),*];
    };
}

/// What a helper does besides returning a value.
#[allow(dead_code, reason = "each is used by some row of the table")]
enum Effect {
    /// Nothing.
    Pure,
    /// Changes state, and cannot fail.
    Changes,
    /// May fail, and changes state only if it does not.
    Faults,
}

helpers! {
    /// Whether the condition of code `a` holds.
    Cond "cond" = flags::cond, reads FLAGS, writes NONE, Pure;
    /// The arithmetic flags, at their places in RFLAGS.
    Flags "flags" = flags::flags, reads FLAGS, writes NONE, Pure;
    /// RFLAGS as PUSHF stores it.
    Rflags "rflags" = flags::rflags, reads FLAGS.with(DF), writes NONE, Pure;
    /// POPF: RFLAGS from `a`, as far as the mask `b` reaches.
    SetRflags "set_rflags" = flags::set_rflags, reads FLAGS.with(DF), writes FLAGS.with(DF),
        Changes;
    /// Quotient of the 128-bit `a`:`b` by `c`; #DE.
    Div64 "div64" = integer::div64, reads NONE, writes NONE, Faults;
    /// Signed quotient of the 128-bit `a`:`b` by `c`; #DE.
    Idiv64 "idiv64" = integer::idiv64, reads NONE, writes NONE, Faults;
    /// `a` rotated left by `b` through a carry: `c` is the width in bits, the carry in bit 8. The
    /// carry out.
    RclCarry "rcl_carry" = integer::rcl_carry, reads NONE, writes NONE, Pure;
    /// `a` rotated left by `b` through a carry: `c` is the width in bits, the carry in bit 8.
    Rcl "rcl" = integer::rcl, reads NONE, writes NONE, Pure;
    /// REP MOVS: some of RCX elements of `a` & 15 bytes from `b` + RSI to RDI, one at least; whether
    /// there are more.
    RepMovs "rep_movs" = string::rep_movs, reads STRING, writes STRING, Faults;
    /// REP STOS: some of RCX elements of `a` & 15 bytes at RDI, one at least; whether there are
    /// more.
    RepStos "rep_stos" = string::rep_stos, reads STRING, writes STRING, Faults;
    /// REPE or (`a` bit 8) REPNE CMPS: some of RCX elements of `a` & 15 bytes at `b` + RSI and RDI,
    /// one at least; whether there are more to compare. Sets flags when there are not.
    RepCmps "rep_cmps" = string::rep_cmps, reads STRING, writes STRING.union(FLAGS), Faults;
    /// REPE or (`a` bit 8) REPNE SCAS, in the same way.
    RepScas "rep_scas" = string::rep_scas, reads STRING, writes STRING.union(FLAGS), Faults;
    /// CPUID.
    Cpuid "cpuid" = system::cpuid, reads SlotSet::of(&[RAX, RCX]),
        writes SlotSet::of(&[RAX, RBX, RCX, RDX]), Changes;
    /// The time-stamp counter.
    Tsc "tsc" = system::tsc, reads NONE, writes NONE, Changes;
    /// The selector of segment register `a`.
    Selector "selector" = system::selector, reads NONE, writes NONE, Pure;
    /// Loads segment register `a` with selector `b`; #GP.
    SetSelector "set_selector" = system::set_selector, reads NONE,
        writes SlotSet::of(&[state::FS_BASE, state::GS_BASE]), Faults;
    /// MXCSR.
    Mxcsr "mxcsr" = sse::mxcsr, reads STATE, writes NONE, Changes;
    /// Puts MXCSR `a` in force. It counts as a write of the vector registers, so that operations on
    /// them are not taken for those done under the environment before.
    SetMxcsr "set_mxcsr" = sse::set_mxcsr, reads STATE, writes XMM, Changes;
    /// Stores the bytes of the first scratch vector whose sign in the second is set, at `a`.
    MaskedStore "masked_store" = sse::masked_store, reads SCRATCH, writes NONE, Faults;
    /// CRC-32C `a` continued over the low `c` bytes of `b`.
    Crc32 "crc32" = sse::crc32, reads NONE, writes NONE, Pure;
    /// FXSAVE to `a`.
    Fxsave "fxsave" = sse::fxsave, reads XMM.union(MMX), writes NONE, Faults;
    /// FXRSTOR from `a`.
    Fxrstor "fxrstor" = sse::fxrstor, reads NONE, writes XMM.union(MMX), Faults;
    /// Compares the texts in the scratch vectors as `a` says; `b` and `c` are their lengths.
    CompareText "compare_text" = sse::text::compare_text, reads SCRATCH,
        writes SlotSet::of(&[state::SCRATCH0]), Changes;
    /// x87 arithmetic: the operation and registers `a` with memory at `b`; #MF.
    FpuArithmetic "fpu_arithmetic" = fpu::arithmetic, reads MMX, writes MMX, Faults;
    /// x87 comparison: the operation and registers `a` with memory at `b`; #MF.
    FpuCompare "fpu_compare" = fpu::compare, reads MMX, writes MMX, Faults;
    /// x87 comparison of the registers `a`: the arithmetic flags; #MF.
    FpuCompareFlags "fpu_compare_flags" = fpu::compare_flags, reads MMX.union(FLAGS), writes MMX,
        Faults;
    /// x87: pushes the constant `a`, or what that load makes of memory at `b`; #MF.
    FpuPush "fpu_push" = fpu::push, reads MMX, writes MMX, Faults;
    /// x87: the store `a` to memory at `b`; #MF.
    FpuStore "fpu_store" = fpu::store, reads MMX, writes MMX, Faults;
    /// x87: the function `a` of the top of the stack; #MF.
    FpuTransform "fpu_transform" = fpu::transform, reads MMX, writes MMX, Faults;
    /// x87: the move `a` of register or address `b`; #MF.
    FpuTransfer "fpu_transfer" = fpu::transfer, reads MMX, writes MMX, Faults;
    /// x87: control and status, and the unit's state around MMX.
    FpuControl "fpu_control" = fpu::control, reads NONE, writes NONE, Changes;
    /// x87: the image `a` at `b`; #MF.
    FpuImage "fpu_image" = fpu::image, reads MMX, writes MMX, Faults;
}
