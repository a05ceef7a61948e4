//! x87 (SDM 1 chapter 8). Every instruction is a call: operation, registers and address go to a
//! helper, which does the rest.

use super::{DEST, Lift, SRC};
use crate::flags::{self, Cond};
use crate::helpers::Id;
use crate::helpers::fpu::{Code, Control, Image, Move};
use crate::host::{self, Op};
use crate::trap;
use iced_x86::{MemorySize, Mnemonic};
use mynah_ir::{Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    let known = data(l, mnemonic) || arithmetic(l, mnemonic) || control(l, mnemonic);
    l.lifter.mmx &= !known;
    known
}

fn arithmetic(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Fadd | Fiadd => combine(l, ADD, 0),
        Faddp => combine(l, ADD, 1),
        Fmul | Fimul => combine(l, MUL, 0),
        Fmulp => combine(l, MUL, 1),
        Fsub | Fisub => combine(l, SUB, 0),
        Fsubp => combine(l, SUB, 1),
        Fsubr | Fisubr => combine(l, SUBR, 0),
        Fsubrp => combine(l, SUBR, 1),
        Fdiv | Fidiv => combine(l, DIV, 0),
        Fdivp => combine(l, DIV, 1),
        Fdivr | Fidivr => combine(l, DIVR, 0),
        Fdivrp => combine(l, DIVR, 1),

        Fcom | Ficom => compare(l, COM, 0),
        Fcomp | Ficomp => compare(l, COM, 1),
        Fcompp => compare(l, COM, 2),
        Fucom => compare(l, UCOM, 0),
        Fucomp => compare(l, UCOM, 1),
        Fucompp => compare(l, UCOM, 2),
        Ftst => compare(l, [Op::Tst; 5], 0),
        Fcomi => compare_flags(l, Op::Com, 0),
        Fcomip => compare_flags(l, Op::Com, 1),
        Fucomi => compare_flags(l, Op::Ucom, 0),
        Fucomip => compare_flags(l, Op::Ucom, 1),
        Fxam => transfer(l, Move::Examine, 0),

        Fabs => transfer(l, Move::Absolute, 0),
        Fchs => transfer(l, Move::Negate, 0),
        Fsqrt => transform(l, Op::Sqrt),
        Frndint => transform(l, Op::Round),
        Fscale => transform(l, Op::Scale),
        Fprem => transform(l, Op::Prem),
        Fprem1 => transform(l, Op::Prem1),
        Fxtract => transform(l, Op::Extract),
        F2xm1 => transform(l, Op::Exp2),
        Fyl2x => transform(l, Op::Log),
        Fyl2xp1 => transform(l, Op::LogPlus1),
        Fpatan => transform(l, Op::Atan),
        Fptan => transform(l, Op::Tan),
        Fsin => transform(l, Op::Sin),
        Fcos => transform(l, Op::Cos),
        Fsincos => transform(l, Op::SinCos),
        _ => return false,
    }
    true
}

fn data(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Fld if !l.is_memory(DEST) => transfer(l, Move::Push, index(l, DEST)),
        Fld if l.insn.memory_size() == MemorySize::Float80 => {
            transfer_at(l, Move::Load);
        }
        Fld | Fild => push(l, by_size(l, LOADS)),
        Fbld => push(l, Op::LoadBcd),
        Fld1 => push(l, Op::One),
        Fldl2t => push(l, Op::Log2Of10),
        Fldl2e => push(l, Op::Log2OfE),
        Fldpi => push(l, Op::Pi),
        Fldlg2 => push(l, Op::Log10Of2),
        Fldln2 => push(l, Op::LnOf2),
        Fldz => push(l, Op::Zero),

        Fst if !l.is_memory(DEST) => transfer(l, Move::Copy, index(l, DEST)),
        Fstp if !l.is_memory(DEST) => transfer(l, Move::CopyPop, index(l, DEST)),
        Fstpnce => transfer(l, Move::CopyPopUnchecked, index(l, DEST)),
        Fstp if l.insn.memory_size() == MemorySize::Float80 => {
            transfer_at(l, Move::Store);
        }
        Fst | Fist => store(l, by_size(l, STORES), 0),
        Fstp | Fistp => store(l, by_size(l, STORES), 1),
        Fisttp => store(l, by_size(l, TRUNCATIONS), 1),
        Fbstp => store(l, Op::StoreBcd, 1),

        Fxch => transfer(l, Move::Exchange, index(l, SRC)),
        Fcmovb => conditional(l, Cond::B),
        Fcmove => conditional(l, Cond::E),
        Fcmovbe => conditional(l, Cond::BE),
        Fcmovu => conditional(l, Cond::P),
        Fcmovnb => conditional(l, Cond::B.negated()),
        Fcmovne => conditional(l, Cond::E.negated()),
        Fcmovnbe => conditional(l, Cond::BE.negated()),
        Fcmovnu => conditional(l, Cond::P.negated()),
        _ => return false,
    }
    true
}

fn control(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Fincstp => transfer(l, Move::Increment, 0),
        Fdecstp => transfer(l, Move::Decrement, 0),
        Ffree => transfer(l, Move::Free, index(l, DEST)),
        Ffreep => transfer(l, Move::FreePop, index(l, DEST)),
        Fnop | Wait => transfer(l, Move::Wait, 0),
        Fldcw => transfer_at(l, Move::LoadControl),
        Fninit => {
            status(l, Control::Init);
        }
        Fnclex => {
            status(l, Control::ClearExceptions);
        }
        Fnstcw => l.write(DEST, status(l, Control::Fcw)),
        Fnstsw => l.write(DEST, status(l, Control::Fsw)),
        Fnstenv => image(l, Image::StoreEnvironment, Image::StoreEnvironment16, 28),
        Fldenv => image(l, Image::LoadEnvironment, Image::LoadEnvironment16, 28),
        Fnsave => image(l, Image::Save, Image::Save16, 108),
        Frstor => image(l, Image::Restore, Image::Restore16, 108),
        // As on every unit since the 387 these do nothing.
        Fneni | Fndisi | Fnsetpm | Frstpm => {}
        _ => return false,
    }
    true
}

/// An operation on ST(i), binary32, binary64, and integers of 16 and 32 bits.
type Forms = [Op; 5];

const ADD: Forms = [Op::Add, Op::AddF32, Op::AddF64, Op::AddI16, Op::AddI32];
const MUL: Forms = [Op::Mul, Op::MulF32, Op::MulF64, Op::MulI16, Op::MulI32];
const SUB: Forms = [Op::Sub, Op::SubF32, Op::SubF64, Op::SubI16, Op::SubI32];
const SUBR: Forms = [Op::Subr, Op::SubrF32, Op::SubrF64, Op::SubrI16, Op::SubrI32];
const DIV: Forms = [Op::Div, Op::DivF32, Op::DivF64, Op::DivI16, Op::DivI32];
const DIVR: Forms = [Op::Divr, Op::DivrF32, Op::DivrF64, Op::DivrI16, Op::DivrI32];
const COM: Forms = [Op::Com, Op::ComF32, Op::ComF64, Op::ComI16, Op::ComI32];
const UCOM: Forms = [Op::Ucom; 5];

/// Binary32, binary64, integers of 16, 32 and 64 bits.
const LOADS: Forms = [Op::LoadF32, Op::LoadF64, Op::LoadI16, Op::LoadI32, Op::LoadI64];
const STORES: Forms = [Op::StoreF32, Op::StoreF64, Op::StoreI16, Op::StoreI32, Op::StoreI64];
const TRUNCATIONS: Forms = [Op::StoreF32, Op::StoreF64, Op::TruncI16, Op::TruncI32, Op::TruncI64];

/// The form for the operand in memory.
fn by_size(l: &Lift<'_>, [f32, f64, i16, i32, i64]: Forms) -> Op {
    match l.insn.memory_size() {
        MemorySize::Float32 => f32,
        MemorySize::Float64 => f64,
        MemorySize::Int16 => i16,
        MemorySize::Int32 => i32,
        _ => i64,
    }
}

/// The number of the x87 register that is operand `op`.
fn index(l: &Lift<'_>, op: u32) -> u8 {
    l.insn.op_register(op).number() as u8
}

fn code<'b>(l: &Lift<'b>, code: Code) -> V<'b> {
    l.iconst(Ty::I64, code.pack())
}

/// The operation in the form for the source operand, and that operand: the last register, or
/// memory, whose address follows.
fn with_source<'b>(l: &Lift<'b>, forms: Forms) -> (Op, u8, V<'b>) {
    if l.insn.op_count() > 0 && l.is_memory(DEST) {
        let [register, f32, f64, i16, i32] = forms;
        return (by_size(l, [f32, f64, i16, i32, register]), Code::MEMORY, l.ea(DEST));
    }
    // The implied operand of FCOM and its kin is ST1; FTST has none but ST0.
    let src = match (forms[0], l.insn.op_count()) {
        (Op::Tst, _) => 0,
        (_, 0) => 1,
        (_, count) => index(l, count - 1),
    };
    (forms[0], src, l.iconst(Ty::I64, 0))
}

/// DEST := DEST op SRC; DEST is ST0 if SRC is in memory.
fn combine(l: &Lift<'_>, forms: Forms, pops: u8) {
    let (op, src, address) = with_source(l, forms);
    let dest = if src == Code::MEMORY { 0 } else { index(l, DEST) };
    l.call(Id::FpuArithmetic, &[code(l, Code { op, dest, src, pops }), address]);
}

fn compare(l: &Lift<'_>, forms: Forms, pops: u8) {
    let (op, src, address) = with_source(l, forms);
    l.call(Id::FpuCompare, &[code(l, Code { op, dest: 0, src, pops }), address]);
}

fn compare_flags(l: &mut Lift<'_>, op: Op, pops: u8) {
    let src = index(l, SRC);
    let found = l.call(Id::FpuCompareFlags, &[code(l, Code { op, dest: 0, src, pops })]);
    l.flags(flags::eager(found));
}

/// A function of the top of the stack; #UD where the host cannot compute it.
fn transform(l: &mut Lift<'_>, op: Op) {
    if !host::supports(op) {
        return l.fault(trap::UNDEFINED);
    }
    l.call(Id::FpuTransform, &[code(l, Code { op, dest: 0, src: 0, pops: 0 })]);
}

fn push(l: &Lift<'_>, op: Op) {
    let memory = l.insn.op_count() > 0;
    let src = if memory { Code::MEMORY } else { 0 };
    let address = if memory { l.ea(DEST) } else { l.iconst(Ty::I64, 0) };
    l.call(Id::FpuPush, &[code(l, Code { op, dest: 0, src, pops: 0 }), address]);
}

fn store(l: &Lift<'_>, op: Op, pops: u8) {
    let code = code(l, Code { op, dest: 0, src: Code::MEMORY, pops });
    l.call(Id::FpuStore, &[code, l.ea(DEST)]);
}

fn transfer(l: &Lift<'_>, which: Move, register: u8) {
    let which = l.iconst(Ty::I64, which as u64);
    l.call(Id::FpuTransfer, &[which, l.iconst(Ty::I64, register.into())]);
}

fn transfer_at(l: &Lift<'_>, which: Move) {
    let which = l.iconst(Ty::I64, which as u64);
    l.call(Id::FpuTransfer, &[which, l.ea(DEST)]);
}

/// FCMOVcc.
fn conditional(l: &Lift<'_>, condition: Cond) {
    let (yes, no) = (Move::Conditional as u64, Move::Nothing as u64);
    let which = l.cond(condition).select(l.iconst(Ty::I64, yes), l.iconst(Ty::I64, no));
    l.call(Id::FpuTransfer, &[which, l.iconst(Ty::I64, index(l, SRC).into())]);
}

/// A word of the unit, or nothing.
fn status<'b>(l: &Lift<'b>, which: Control) -> V<'b> {
    l.call(Id::FpuControl, &[l.iconst(Ty::I64, which as u64)]).trunc(Ty::I16)
}

/// An image in its `wide` form if the operand has that size, else `narrow`.
fn image(l: &Lift<'_>, wide: Image, narrow: Image, wide_bytes: usize) {
    let is_wide = l.insn.memory_size().size() == wide_bytes;
    let which = l.iconst(Ty::I64, if is_wide { wide } else { narrow } as u64);
    l.call(Id::FpuImage, &[which, l.ea(DEST)]);
}
