//! Guest semantics that the lifts call. One row of the table below is one helper.

pub(crate) mod control;
pub(crate) mod debug;
pub(crate) mod far;
mod flags;
pub(crate) mod float;
pub(crate) mod fpu;
pub(crate) mod integer;
mod io;
pub(crate) mod segment;
pub(crate) mod sse;
pub(crate) mod stack;
mod string;
mod system;
pub(crate) mod task;
pub(crate) mod xsave;

use crate::state::{self, DF, RAX, RBX, RCX, RDI, RDX, RSI};
use crate::{Space, X86};
use mynah_guest::Helper;
use mynah_ir::SlotSet;

const NONE: SlotSet = SlotSet::EMPTY;
const FLAGS: SlotSet = state::FLAGS;
const SEGMENTS: SlotSet = state::SEGMENTS;
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

/// The helpers of a vCPU with memory `M`.
pub(crate) struct Table<M>(std::marker::PhantomData<M>);

macro_rules! helpers {
    ($($(#[doc = $doc:literal])+ $id:ident $name:literal = $function:path,
       reads $reads:expr, writes $writes:expr, $effect:ident;)*) => {
        /// The helpers; the discriminant is the index in `TABLE`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        pub enum Id { $($(#[doc = $doc])+ $id,)* }

        impl<M: Space> Table<M> {
            /// The helpers as the translator sees them.
            pub(crate) const TABLE: &'static [Helper<X86<M>>] = &[$(Helper {
                name: $name,
                function: $function,
                reads: $reads,
                writes: $writes,
                faults: matches!(Effect::$effect, Effect::Faults),
                pure: matches!(Effect::$effect, Effect::Pure),
            }),*];
        }
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
    /// REP MOVS: some of RCX elements of `a` & 15 bytes from `b` + RSI to `c` + RDI, one at least;
    /// whether there are more. With `a` bit 9 the registers have 32 bits.
    RepMovs "rep_movs" = string::rep_movs, reads STRING, writes STRING, Faults;
    /// REP STOS: some of RCX elements of `a` & 15 bytes at `c` + RDI, one at least; whether there
    /// are more.
    RepStos "rep_stos" = string::rep_stos, reads STRING, writes STRING, Faults;
    /// REPE or (`a` bit 8) REPNE CMPS: some of RCX elements of `a` & 15 bytes at `b` + RSI and
    /// `c` + RDI, one at least; whether there are more to compare. Sets flags when there are not.
    RepCmps "rep_cmps" = string::rep_cmps, reads STRING, writes STRING.union(FLAGS), Faults;
    /// REPE or (`a` bit 8) REPNE SCAS, in the same way.
    RepScas "rep_scas" = string::rep_scas, reads STRING, writes STRING.union(FLAGS), Faults;
    /// Decimal adjustment (`a` & 255, with an operand above) of AX `b`, flags being `c`: AX, and the
    /// arithmetic flags above it.
    Decimal "decimal" = integer::decimal, reads NONE, writes NONE, Pure;
    /// CPUID.
    Cpuid "cpuid" = system::cpuid, reads SlotSet::of(&[RAX, RCX]),
        writes SlotSet::of(&[RAX, RBX, RCX, RDX]), Changes;
    /// The time-stamp counter.
    Tsc "tsc" = system::tsc, reads NONE, writes NONE, Changes;
    /// IA32_TSC_AUX.
    TscAux "tsc_aux" = system::tsc_aux, reads NONE, writes NONE, Pure;
    /// Whether the counter may be read; #GP.
    CheckClock "check_clock" = system::check_clock, reads NONE, writes NONE, Faults;
    /// The selector of segment register `a`.
    Selector "selector" = system::selector, reads NONE, writes NONE, Pure;
    /// Loads segment register `a` with selector `b`; `c` is the address of the next instruction.
    SetSelector "set_selector" = segment::set_selector, reads SEGMENTS, writes SEGMENTS, Faults;
    /// The linear address of offset `b` in segment register `a` & 255, for an access of `a` >> 16
    /// bytes, to write if `a` bit 8 says so; #GP, #SS.
    SegmentAddress "segment_address" = segment::address, reads SEGMENTS, writes NONE, Faults;
    /// LAR, LSL, VERR or VERW (`a`) of selector `b`: the answer, and above bit 32 whether there is
    /// one.
    Inquire "inquire" = segment::inquire, reads NONE, writes NONE, Faults;
    /// LGDT or (`a` bit 8) LIDT from `b`, the base having `a` & 255 bytes.
    LoadTable "load_table" = segment::load_table, reads NONE, writes NONE, Faults;
    /// SGDT or SIDT.
    StoreTable "store_table" = segment::store_table, reads NONE, writes NONE, Faults;
    /// LLDT.
    LoadLdt "load_ldt" = segment::load_ldt, reads NONE, writes NONE, Faults;
    /// LTR.
    LoadTask "load_task" = segment::load_task, reads NONE, writes NONE, Faults;
    /// Far JMP to offset `b` of `a` & 255 bytes in the segment of selector `a` >> 16; `c` is the
    /// address of the next instruction. The linear address.
    JumpFar "jump_far" = far::jump, reads STATE, writes STATE, Faults;
    /// Far CALL, in the same way.
    CallFar "call_far" = far::call, reads STATE, writes STATE, Faults;
    /// Far RET of `a` bytes, dropping `b` bytes of parameters. The linear address.
    ReturnFar "return_far" = far::ret, reads STATE, writes STATE, Faults;
    /// IRET of `a` bytes; `b` is the address of the next instruction. The linear address.
    ReturnInterrupt "return_interrupt" = far::iret, reads STATE, writes STATE, Faults;
    /// SYSCALL, with `a` the address of the next instruction; RCX and R11 are the caller's. The
    /// address.
    Syscall "syscall" = far::syscall, reads STATE, writes STATE, Faults;
    /// SYSRET to code of `a` bytes, RCX `b` and R11 `c`. The address.
    Sysret "sysret" = far::sysret, reads STATE, writes STATE, Faults;
    /// SYSENTER. The address.
    Sysenter "sysenter" = far::sysenter, reads STATE, writes STATE, Faults;
    /// SYSEXIT to code of `a` bytes, RCX `b` and RDX `c`. The address.
    Sysexit "sysexit" = far::sysexit, reads STATE, writes STATE, Faults;
    /// POPF of `a` in the system machine, as far as the mask `b` reaches.
    PopRflags "pop_rflags" = control::pop_rflags, reads FLAGS.with(DF), writes FLAGS.with(DF),
        Faults;
    /// Whether IOPL permits instructions on IF; #GP.
    CheckIopl "check_iopl" = control::check_iopl, reads NONE, writes NONE, Faults;
    /// CLI.
    Cli "cli" = control::cli, reads NONE, writes NONE, Faults;
    /// STI; `a` is the address of the next instruction.
    Sti "sti" = control::sti, reads NONE, writes NONE, Faults;
    /// Sets AC to `a`.
    SetAc "set_ac" = control::set_ac, reads NONE, writes NONE, Changes;
    /// CLTS.
    Clts "clts" = control::clts, reads NONE, writes NONE, Changes;
    /// LMSW.
    Lmsw "lmsw" = control::lmsw, reads NONE, writes NONE, Faults;
    /// Whether SGDT and its kin may be used; #GP.
    CheckUmip "check_umip" = control::check_umip, reads NONE, writes NONE, Faults;
    /// LDTR, TR or CR0 (`a` is 0, 1 or 2).
    SystemWord "system_word" = control::system_word, reads NONE, writes NONE, Pure;
    /// Control register `a`.
    ReadControl "read_control" = control::read_control, reads NONE, writes NONE, Changes;
    /// Sets control register `a` to `b`.
    WriteControl "write_control" = control::write_control, reads STATE, writes NONE, Faults;
    /// Debug register `a`.
    ReadDebug "read_debug" = debug::read, reads NONE, writes NONE, Faults;
    /// Sets debug register `a` to `b`.
    WriteDebug "write_debug" = debug::write, reads NONE, writes NONE, Faults;
    /// RDMSR of `a`.
    ReadMsr "read_msr" = control::read_msr, reads SEGMENTS, writes NONE, Faults;
    /// WRMSR of `a`: `b`.
    WriteMsr "write_msr" = control::write_msr, reads SEGMENTS, writes SEGMENTS, Faults;
    /// SWAPGS.
    Swapgs "swapgs" = control::swapgs, reads SEGMENTS, writes SEGMENTS, Changes;
    /// RDFSBASE or (`a` is 1) RDGSBASE.
    ReadBase "read_base" = control::read_base, reads SEGMENTS, writes NONE, Faults;
    /// WRFSBASE or WRGSBASE of `b`.
    WriteBase "write_base" = control::write_base, reads NONE, writes SEGMENTS, Faults;
    /// INVLPG of `a`.
    Invlpg "invlpg" = control::invlpg, reads NONE, writes NONE, Changes;
    /// MONITOR of the line at `a`, with the extensions `b`; #UD, #GP.
    Monitor "monitor" = control::monitor, reads NONE, writes NONE, Faults;
    /// Whether MWAIT is there and has the extensions `a`; #UD, #GP.
    CheckWait "check_wait" = control::check_wait, reads NONE, writes NONE, Faults;
    /// INVPCID of kind `a` with the descriptor at `b`.
    Invpcid "invpcid" = control::invpcid, reads NONE, writes NONE, Faults;
    /// XGETBV of `a`.
    Xgetbv "xgetbv" = xsave::xgetbv, reads NONE, writes NONE, Faults;
    /// XSETBV of `a`: `b`.
    Xsetbv "xsetbv" = xsave::xsetbv, reads NONE, writes NONE, Faults;
    /// XSAVE to `a` of the parts `b`.
    Xsave "xsave" = xsave::xsave, reads STATE, writes NONE, Faults;
    /// XRSTOR from `a` of the parts `b`.
    Xrstor "xrstor" = xsave::xrstor, reads STATE, writes XMM.union(MMX), Faults;
    /// Whether port `a` of `b` bytes may be used; #GP.
    CheckPort "check_port" = io::check, reads NONE, writes NONE, Faults;
    /// The value of `b` bytes at port `a`.
    In "in" = io::input, reads NONE, writes NONE, Changes;
    /// Writes `c`, of `b` bytes, to port `a`.
    Out "out" = io::output, reads NONE, writes NONE, Changes;
    /// Stores the value of `b` bytes at port `a` at address `c`.
    Ins "ins" = io::input_to, reads NONE, writes NONE, Faults;
    /// The instruction at `a` begins, while there are breakpoints or single steps; #DB.
    BeginStep "begin_step" = debug::begin_step, reads NONE, writes NONE, Faults;
    /// An access at `a` of so many bytes (`b`, to write if bit 32 says so) is looked up among the
    /// breakpoints.
    Watch "watch" = debug::watch, reads NONE, writes NONE, Changes;
    /// MXCSR.
    Mxcsr "mxcsr" = float::load, reads STATE, writes NONE, Changes;
    /// Puts MXCSR `a` in force. It counts as a write of the vector registers, so that operations on
    /// them are not taken for those done under the environment before.
    SetMxcsr "set_mxcsr" = float::store, reads STATE, writes XMM, Changes;
    /// An operation begins whose exceptions are not all masked.
    BeginFloat "begin_float" = float::begin, reads STATE, writes NONE, Changes;
    /// The operation's result is the vector `b`:`a`, and may be tiny as `c` says; #XM.
    CheckFloat "check_float" = float::check, reads STATE, writes NONE, Faults;
    /// Stores the bytes of the first scratch vector whose sign in the second is set, at `a`.
    MaskedStore "masked_store" = sse::masked_store, reads SCRATCH, writes NONE, Faults;
    /// CRC-32C `a` continued over the low `c` bytes of `b`.
    Crc32 "crc32" = sse::crc32, reads NONE, writes NONE, Pure;
    /// FXSAVE to `a`.
    Fxsave "fxsave" = sse::fxsave, reads STATE, writes NONE, Faults;
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
