//! Instructions to IR: each is one arm.

use crate::csr::{self, Access};
use crate::decode::{Insn, Op};
use crate::float::{Request, Slow, canonical_nan, rm};
use crate::guest::helper;
use crate::state::{self, Mode, NO_RESERVATION};
use crate::trap;
use mynah_ir::fp::Round;
use mynah_ir::{Align, Builder, End, MemOp, Order, Rmw, Ty, V, Value};

use Ty::{F32, F64, I8, I16, I32, I64};

/// Floating-point registers known to hold a single, as that single: it need not be unboxed.
#[derive(Debug, Default)]
pub struct Singles([Option<Value>; 32]);

/// Where control goes after an instruction.
pub(crate) enum Then {
    Next,
    End(End),
    Illegal,
}

/// Appends the meaning of `insn` at `pc`.
pub(crate) fn lift(singles: &mut Singles, insn: Insn, pc: u64, mode: Mode, b: &Builder) -> Then {
    let rounds = insn.op.encoding().format.rounds();
    if rounds && insn.rm == rm::DYN && mode == Mode::Reserved {
        return Then::Illegal;
    }
    Lift { b, insn, pc, mode, singles }.lift()
}

struct Lift<'b, 's> {
    b: &'b Builder,
    insn: Insn,
    pc: u64,
    mode: Mode,
    singles: &'s mut Singles,
}

/// Operations on integer registers and memory, by the manual's words.
impl<'b> Lift<'b, '_> {
    fn x(&self, n: u8) -> V<'b> {
        if n == 0 { self.b.iconst(I64, 0) } else { self.b.get(state::x(n)) }
    }

    fn rs1(&self) -> V<'b> {
        self.x(self.insn.rs1)
    }

    fn rs2(&self) -> V<'b> {
        self.x(self.insn.rs2)
    }

    /// The low word of `rs1`.
    fn w1(&self) -> V<'b> {
        self.rs1().trunc(I32)
    }

    /// The low word of `rs2`.
    fn w2(&self) -> V<'b> {
        self.rs2().trunc(I32)
    }

    fn imm(&self) -> u64 {
        self.insn.imm as u64
    }

    /// Sets `rd`, extending a narrower value by its sign and a truth value by zeros.
    fn rd(&self, value: V<'b>) {
        if self.insn.rd == 0 {
            return;
        }
        let wide = if value.ty() == Ty::I1 { value.zext(I64) } else { value.sext(I64) };
        self.b.set(state::x(self.insn.rd), wide);
    }

    fn next(&self) -> u64 {
        self.pc.wrapping_add(self.insn.len.into())
    }

    fn address(&self) -> V<'b> {
        match self.imm() {
            0 => self.rs1(),
            imm => self.rs1() + imm,
        }
    }

    fn load(&self, ty: Ty) -> V<'b> {
        self.b.load(ty, MemOp::PLAIN, self.address())
    }

    fn store(&self, ty: Ty) {
        self.b.store(MemOp::PLAIN, self.address(), self.rs2().trunc(ty));
    }

    fn branch(&self, cond: V<'b>) -> Then {
        let taken = self.pc.wrapping_add(self.imm());
        Then::End(End::Branch { cond: cond.value(), taken, not: self.next() })
    }

    /// The alignment and ordering of an atomic: section "Specifying Ordering of Atomic
    /// Instructions".
    fn atomic(&self) -> MemOp {
        let order = match self.insn.order {
            0 => Order::Relaxed,
            3 => Order::SeqCst,
            _ => Order::AcqRel,
        };
        MemOp { align: Align::Natural, order }
    }

    fn amo(&self, rmw: Rmw, ty: Ty) {
        self.rd(self.b.rmw(rmw, self.atomic(), self.rs1(), self.rs2().trunc(ty)));
    }

    fn load_reserved(&self, ty: Ty) {
        let address = self.rs1();
        let value = self.b.load(ty, self.atomic(), address);
        self.b.set(state::RESERVATION, address);
        self.b.set(state::RESERVED, value.zext(I64));
        self.rd(value);
    }

    /// SC stores if the address is the reserved one and still holds the value LR found there. A
    /// value that was changed and changed back goes unnoticed, as in other translators: guests that
    /// count on SC to notice would have to look at more than the value.
    fn store_conditional(&self, ty: Ty) {
        let address = self.rs1();
        let found = self.b.get(state::RESERVED).trunc(ty);
        let reserved = self.b.get(state::RESERVATION).eq(address);
        // Without a reservation the value is stored over itself, which changes nothing.
        let new = reserved.select(self.rs2().trunc(ty), found);
        let old = self.b.cas(self.atomic(), address, found, new);
        let stored = reserved & old.eq(found);
        self.b.set(state::RESERVATION, self.b.iconst(I64, NO_RESERVATION));
        self.rd(stored.not());
    }

    /// MULHSU: the signed `rs1` times the unsigned `rs2`.
    fn mulhsu(&self) -> V<'b> {
        let (a, b) = (self.rs1(), self.rs2());
        a.umulh(b) - (a.sar(63) & b)
    }

    fn jump_register(&self) -> Then {
        let target = self.address() & !1;
        self.rd(self.b.iconst(I64, self.next()));
        let link = |n: u8| n == 1 || n == 5;
        let to = target.value();
        let Insn { rd, rs1, .. } = self.insn;
        // Section 2.5.1: hints of the return-address stack.
        Then::End(match (link(rd), link(rs1)) {
            (true, _) => End::CallIndirect { to, ret: self.next() },
            (false, true) => End::Return(to),
            (false, false) => End::Dispatch(to),
        })
    }

    fn csr(&self, access: Access, operand: V<'b>) -> Then {
        let Insn { rd, rs1, imm, .. } = self.insn;
        let access = if access != Access::Write && rs1 == 0 { Access::Read } else { access };
        match (imm, access) {
            (csr::FFLAGS | csr::FRM | csr::FCSR, _) => {
                let access_code = self.b.iconst(I64, access as u64);
                let number = self.b.iconst(I64, self.imm());
                self.rd(self.b.call(helper::FLOAT_CSR, &[access_code, number, operand]));
                if imm == csr::FFLAGS || access == Access::Read {
                    return Then::Next;
                }
                // The mode may have changed.
                Then::End(End::Jump(self.next()))
            }
            (csr::CYCLE | csr::TIME | csr::INSTRET, Access::Read) => {
                if rd != 0 {
                    let number = self.b.iconst(I64, self.imm());
                    self.rd(self.b.call(helper::COUNTER, &[number]));
                }
                Then::Next
            }
            _ => Then::Illegal,
        }
    }
}

/// Operations on floating-point registers.
impl<'b> Lift<'b, '_> {
    /// Register `n` as a value of type `ty`. A single is boxed in ones; what is not counts as the
    /// canonical NaN (section "NaN Boxing of Narrower Values").
    fn f(&mut self, n: u8, ty: Ty) -> V<'b> {
        if ty == F64 {
            return self.b.get(state::f(n));
        }
        if let Some(single) = self.singles.0[usize::from(n)] {
            return self.b.value(single);
        }
        let bits = self.b.get(state::f(n)).bitcast(I64);
        let boxed = bits.shr(32).eq(u64::from(u32::MAX));
        let nan = self.b.iconst(I32, canonical_nan(F32));
        let single = boxed.select(bits.trunc(I32), nan).bitcast(F32);
        self.singles.0[usize::from(n)] = Some(single.value());
        single
    }

    fn f1(&mut self, ty: Ty) -> V<'b> {
        self.f(self.insn.rs1, ty)
    }

    fn f2(&mut self, ty: Ty) -> V<'b> {
        self.f(self.insn.rs2, ty)
    }

    fn f3(&mut self, ty: Ty) -> V<'b> {
        self.f(self.insn.rs3, ty)
    }

    /// Sets `fd` to a single or double.
    fn fd(&mut self, value: V<'b>) {
        let n = self.insn.rd;
        self.singles.0[usize::from(n)] = None;
        if value.ty() == F64 {
            return self.b.set(state::f(n), value);
        }
        let bits = value.bitcast(I32).zext(I64) | 0xffff_ffff_0000_0000;
        self.b.set(state::f(n), bits.bitcast(F64));
        self.singles.0[usize::from(n)] = Some(value.value());
    }

    /// Sets `fd` to the result of an operation, whose NaN is always the canonical one.
    fn fd_canonical(&mut self, value: V<'b>) {
        let nan = self.b.iconst(value.ty(), canonical_nan(value.ty()));
        self.fd(value.funord(value).select(nan, value));
    }

    fn sign(&self, ty: Ty) -> u64 {
        1 << (ty.bits() - 1)
    }

    fn negate(&self, value: V<'b>) -> V<'b> {
        let ty = value.ty();
        (bits(value) ^ self.sign(ty)).bitcast(ty)
    }

    /// Whether the instruction rounds as the host does.
    fn rounds_as_host(&self) -> bool {
        self.insn.rm == rm::DYN && self.mode == Mode::Host
    }

    /// The operation by the helper, which takes any rounding mode.
    fn slow(&self, op: Slow, ty: Ty, int: Ty, args: &[V<'b>]) -> V<'b> {
        let request = Request { op, ty, int, rm: self.insn.rm };
        self.b.set(state::REQUEST, self.b.iconst(I64, request.pack()));
        let zero = self.b.iconst(I64, 0);
        let mut wide = [zero; 3];
        for (to, &from) in wide.iter_mut().zip(args) {
            *to = bits(from).zext(I64);
        }
        self.b.call(helper::SLOW, &wide)
    }

    /// The operation by the helper, with a float as its result.
    fn slow_float(&mut self, op: Slow, ty: Ty, args: &[V<'b>]) {
        let result = self.slow(op, ty, I64, args);
        let result_ty = if op == Slow::Demote { F32 } else { ty };
        self.fd(float(result, result_ty));
    }

    /// An operation on `fs1` and `fs2` that rounds.
    fn arithmetic(&mut self, op: Slow, ty: Ty, fast: fn(V<'b>, V<'b>) -> V<'b>) {
        let (a, b) = (self.f1(ty), self.f2(ty));
        if self.rounds_as_host() {
            self.fd_canonical(fast(a, b));
        } else {
            self.slow_float(op, ty, &[a, b]);
        }
    }

    fn fsqrt(&mut self, ty: Ty) {
        let a = self.f1(ty);
        if self.rounds_as_host() {
            self.fd_canonical(a.fsqrt());
        } else {
            self.slow_float(Slow::Sqrt, ty, &[a]);
        }
    }

    /// ±(fs1 × fs2) ± fs3.
    fn fma(&mut self, ty: Ty, product: Sign, addend: Sign) {
        let (a, b, c) = (self.f1(ty), self.f2(ty), self.f3(ty));
        let a = if product == Sign::Minus { self.negate(a) } else { a };
        let c = if addend == Sign::Minus { self.negate(c) } else { c };
        if !self.rounds_as_host() {
            return self.slow_float(Slow::Fma, ty, &[a, b, c]);
        }
        // Infinity times zero is invalid also if the addend is a quiet NaN, which SSE's rules leave
        // out: subtract the infinity from itself.
        let zero = self.b.iconst(ty, 0);
        let infinity = b.feq(zero).select(a, a.feq(zero).select(b, zero));
        let _ = infinity.fsub(infinity);
        self.fd_canonical(a.fma(b, c));
    }

    fn sign_injection(&mut self, ty: Ty, sign: fn(V<'b>, V<'b>) -> V<'b>) {
        let (a, b) = (bits(self.f1(ty)), bits(self.f2(ty)));
        let mask = self.sign(ty);
        self.fd((a & (mask - 1) | sign(a, b) & mask).bitcast(ty));
    }

    /// FMIN and FMAX: the other operand if one is a NaN; −0 is less than +0. The choice is made
    /// among bits, which leaves no room for the host's own minimum: it finds quiet NaNs invalid.
    fn extreme(&mut self, ty: Ty, min: bool) {
        let (a, b) = (self.f1(ty), self.f2(ty));
        let (x, y) = (bits(a), bits(b));
        let equal = if min { x | y } else { x & y };
        let first = if min { a.fltq(b) } else { b.fltq(a) };
        let ordered = a.feq(b).select(equal, first.select(x, y));
        self.fd_canonical(b.funord(b).select(x, ordered).bitcast(ty));
    }

    fn class(&mut self, ty: Ty) {
        let a = bits(self.f1(ty)).zext(I64);
        let double = self.b.iconst(I64, u64::from(ty == F64));
        self.rd(self.b.call(helper::CLASS, &[a, double]));
    }

    /// FCVT from a float to a signed integer.
    fn convert_to_signed(&mut self, from: Ty, to: Ty) {
        let a = self.f1(from);
        let round = match self.insn.rm {
            rm::RTZ => Round::ZERO,
            rm::DYN if self.mode == Mode::Host => Round::CURRENT,
            // The IR's other roundings report an inexact result beside an invalid one.
            _ => return self.rd(self.slow(Slow::ToSigned, from, to, &[a])),
        };
        let least = self.b.iconst(to, 1 << (to.bits() - 1));
        let negative = a.fltq(self.b.iconst(from, 0));
        let result = a.ftosi(to, round);
        // The IR's answer to what does not fit is the least integer; the manual's is the nearest
        // one, and the greatest for a NaN.
        let limit = negative.select(least, least.not());
        self.rd(result.eq(least).select(limit, result));
    }

    fn convert_to_unsigned(&mut self, from: Ty, to: Ty) {
        let a = self.f1(from);
        self.rd(self.slow(Slow::ToUnsigned, from, to, &[a]));
    }

    /// FCVT from an integer to a float.
    fn convert_integer(&mut self, from: Ty, signed: bool, to: Ty) {
        let exact = from == I32 && to == F64;
        let a = self.rs1().trunc(from);
        if !exact && !self.rounds_as_host() {
            let op = if signed { Slow::FromSigned } else { Slow::FromUnsigned };
            let result = self.slow(op, to, from, &[a]);
            return self.fd(float(result, to));
        }
        self.fd(match (signed, from) {
            (true, _) => a.sitof(to),
            (false, I32) => a.zext(I64).sitof(to),
            (false, _) => a.uitof(to),
        });
    }

    fn demote(&mut self) {
        let a = self.f1(F64);
        if self.rounds_as_host() {
            self.fd_canonical(a.fdemote());
        } else {
            self.slow_float(Slow::Demote, F64, &[a]);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

/// A float's bits as an integer; an integer as it is.
fn bits(value: V<'_>) -> V<'_> {
    match value.ty() {
        F32 => value.bitcast(I32),
        F64 => value.bitcast(I64),
        _ => value,
    }
}

/// The float whose bits the low ones of an `I64` are.
fn float(bits: V<'_>, ty: Ty) -> V<'_> {
    let int = if ty == F32 { I32 } else { I64 };
    bits.trunc(int).bitcast(ty)
}

/// The bits below bit `n`'s place in each byte set to the byte's being nonzero: ORC.B.
fn or_combine(a: V<'_>) -> V<'_> {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let high = (((a & LOW) + LOW) | a) & !LOW;
    high.shr(7) * 0xff
}

impl Lift<'_, '_> {
    fn lift(&mut self) -> Then {
        use Op::*;
        use Sign::{Minus, Plus};
        let l = self;
        match l.insn.op {
            // ── RV64I ────────────────────────────────────────────────────────────────────────
            Lui => l.rd(l.b.iconst(I64, l.imm())),
            Auipc => l.rd(l.b.iconst(I64, l.pc.wrapping_add(l.imm()))),
            Jal => {
                l.rd(l.b.iconst(I64, l.next()));
                let to = l.pc.wrapping_add(l.imm());
                return Then::End(match l.insn.rd {
                    1 | 5 => End::Call { to, ret: l.next() },
                    _ => End::Jump(to),
                });
            }
            Jalr => return l.jump_register(),
            Beq => return l.branch(l.rs1().eq(l.rs2())),
            Bne => return l.branch(l.rs1().ne(l.rs2())),
            Blt => return l.branch(l.rs1().slt(l.rs2())),
            Bge => return l.branch(l.rs2().sle(l.rs1())),
            Bltu => return l.branch(l.rs1().ult(l.rs2())),
            Bgeu => return l.branch(l.rs2().ule(l.rs1())),
            Lb => l.rd(l.load(I8)),
            Lh => l.rd(l.load(I16)),
            Lw => l.rd(l.load(I32)),
            Ld => l.rd(l.load(I64)),
            Lbu => l.rd(l.load(I8).zext(I64)),
            Lhu => l.rd(l.load(I16).zext(I64)),
            Lwu => l.rd(l.load(I32).zext(I64)),
            Sb => l.store(I8),
            Sh => l.store(I16),
            Sw => l.store(I32),
            Sd => l.store(I64),
            Addi => l.rd(match (l.insn.rs1, l.imm()) {
                (0, imm) => l.b.iconst(I64, imm),
                (_, 0) => l.rs1(),
                (_, imm) => l.rs1() + imm,
            }),
            Slti => l.rd(l.rs1().slt(l.imm())),
            Sltiu => l.rd(l.rs1().ult(l.imm())),
            Xori => l.rd(l.rs1() ^ l.imm()),
            Ori => l.rd(l.rs1() | l.imm()),
            Andi => l.rd(l.rs1() & l.imm()),
            Slli => l.rd(l.rs1().shl(l.imm())),
            Srli => l.rd(l.rs1().shr(l.imm())),
            Srai => l.rd(l.rs1().sar(l.imm())),
            Add => l.rd(match (l.insn.rs1, l.insn.rs2) {
                (0, _) => l.rs2(),
                (_, 0) => l.rs1(),
                _ => l.rs1() + l.rs2(),
            }),
            Sub => l.rd(l.rs1() - l.rs2()),
            Sll => l.rd(l.rs1().shl(l.rs2())),
            Slt => l.rd(l.rs1().slt(l.rs2())),
            Sltu => l.rd(l.rs1().ult(l.rs2())),
            Xor => l.rd(l.rs1() ^ l.rs2()),
            Srl => l.rd(l.rs1().shr(l.rs2())),
            Sra => l.rd(l.rs1().sar(l.rs2())),
            Or => l.rd(l.rs1() | l.rs2()),
            And => l.rd(l.rs1() & l.rs2()),
            Addiw => l.rd(match l.imm() {
                0 => l.w1(),
                imm => l.w1() + u64::from(imm as u32),
            }),
            Slliw => l.rd(l.w1().shl(l.imm())),
            Srliw => l.rd(l.w1().shr(l.imm())),
            Sraiw => l.rd(l.w1().sar(l.imm())),
            Addw => l.rd(l.w1() + l.w2()),
            Subw => l.rd(l.w1() - l.w2()),
            Sllw => l.rd(l.w1().shl(l.w2())),
            Srlw => l.rd(l.w1().shr(l.w2())),
            Sraw => l.rd(l.w1().sar(l.w2())),
            Fence => {
                // PAUSE and other fences with an empty set order nothing.
                if l.imm() & 15 != 0 && l.imm() >> 4 & 15 != 0 {
                    l.b.fence();
                }
            }
            Ecall => {
                l.b.set(state::RESERVATION, l.b.iconst(I64, NO_RESERVATION));
                let trap = trap::of(trap::ECALL);
                return Then::End(End::Trap { trap, pc: l.next() });
            }
            Ebreak => {
                return Then::End(End::Trap { trap: trap::of(trap::EBREAK), pc: l.pc });
            }

            // ── Zifencei and Zicsr ───────────────────────────────────────────────────────────
            // Written code is seen at the next block.
            FenceI => return Then::End(End::Jump(l.next())),
            Csrrw => return l.csr(Access::Write, l.rs1()),
            Csrrs => return l.csr(Access::Set, l.rs1()),
            Csrrc => return l.csr(Access::Clear, l.rs1()),
            Csrrwi => return l.csr(Access::Write, l.b.iconst(I64, l.insn.rs1.into())),
            Csrrsi => return l.csr(Access::Set, l.b.iconst(I64, l.insn.rs1.into())),
            Csrrci => return l.csr(Access::Clear, l.b.iconst(I64, l.insn.rs1.into())),

            // ── M ────────────────────────────────────────────────────────────────────────────
            Mul => l.rd(l.rs1() * l.rs2()),
            Mulh => l.rd(l.rs1().smulh(l.rs2())),
            Mulhsu => l.rd(l.mulhsu()),
            Mulhu => l.rd(l.rs1().umulh(l.rs2())),
            Div => l.rd(l.rs1().sdiv(l.rs2())),
            Divu => l.rd(l.rs1().udiv(l.rs2())),
            Rem => l.rd(l.rs1().srem(l.rs2())),
            Remu => l.rd(l.rs1().urem(l.rs2())),
            Mulw => l.rd(l.w1() * l.w2()),
            Divw => l.rd(l.w1().sdiv(l.w2())),
            Divuw => l.rd(l.w1().udiv(l.w2())),
            Remw => l.rd(l.w1().srem(l.w2())),
            Remuw => l.rd(l.w1().urem(l.w2())),

            // ── A ────────────────────────────────────────────────────────────────────────────
            LrW => l.load_reserved(I32),
            LrD => l.load_reserved(I64),
            ScW => l.store_conditional(I32),
            ScD => l.store_conditional(I64),
            AmoswapW => l.amo(Rmw::Xchg, I32),
            AmoaddW => l.amo(Rmw::Add, I32),
            AmoxorW => l.amo(Rmw::Xor, I32),
            AmoandW => l.amo(Rmw::And, I32),
            AmoorW => l.amo(Rmw::Or, I32),
            AmominW => l.amo(Rmw::Smin, I32),
            AmomaxW => l.amo(Rmw::Smax, I32),
            AmominuW => l.amo(Rmw::Umin, I32),
            AmomaxuW => l.amo(Rmw::Umax, I32),
            AmoswapD => l.amo(Rmw::Xchg, I64),
            AmoaddD => l.amo(Rmw::Add, I64),
            AmoxorD => l.amo(Rmw::Xor, I64),
            AmoandD => l.amo(Rmw::And, I64),
            AmoorD => l.amo(Rmw::Or, I64),
            AmominD => l.amo(Rmw::Smin, I64),
            AmomaxD => l.amo(Rmw::Smax, I64),
            AmominuD => l.amo(Rmw::Umin, I64),
            AmomaxuD => l.amo(Rmw::Umax, I64),

            // ── F ────────────────────────────────────────────────────────────────────────────
            Flw => {
                let single = l.load(I32).bitcast(F32);
                l.fd(single);
            }
            Fsw => {
                let single = l.b.get(state::f(l.insn.rs2)).bitcast(I64).trunc(I32);
                l.b.store(MemOp::PLAIN, l.address(), single);
            }
            FmaddS => l.fma(F32, Plus, Plus),
            FmsubS => l.fma(F32, Plus, Minus),
            FnmsubS => l.fma(F32, Minus, Plus),
            FnmaddS => l.fma(F32, Minus, Minus),
            FaddS => l.arithmetic(Slow::Add, F32, |a, b| a.fadd(b)),
            FsubS => l.arithmetic(Slow::Sub, F32, |a, b| a.fsub(b)),
            FmulS => l.arithmetic(Slow::Mul, F32, |a, b| a.fmul(b)),
            FdivS => l.arithmetic(Slow::Div, F32, |a, b| a.fdiv(b)),
            FsqrtS => l.fsqrt(F32),
            FsgnjS => l.sign_injection(F32, |_, b| b),
            FsgnjnS => l.sign_injection(F32, |_, b| b.not()),
            FsgnjxS => l.sign_injection(F32, |a, b| a ^ b),
            FminS => l.extreme(F32, true),
            FmaxS => l.extreme(F32, false),
            FeqS => {
                let (a, b) = (l.f1(F32), l.f2(F32));
                l.rd(a.feq(b));
            }
            FltS => {
                let (a, b) = (l.f1(F32), l.f2(F32));
                l.rd(a.flt(b));
            }
            FleS => {
                let (a, b) = (l.f1(F32), l.f2(F32));
                l.rd(a.fle(b));
            }
            FclassS => l.class(F32),
            FcvtWS => l.convert_to_signed(F32, I32),
            FcvtWuS => l.convert_to_unsigned(F32, I32),
            FcvtLS => l.convert_to_signed(F32, I64),
            FcvtLuS => l.convert_to_unsigned(F32, I64),
            FcvtSW => l.convert_integer(I32, true, F32),
            FcvtSWu => l.convert_integer(I32, false, F32),
            FcvtSL => l.convert_integer(I64, true, F32),
            FcvtSLu => l.convert_integer(I64, false, F32),
            // The bits as they are, boxed or not.
            FmvXW => l.rd(l.b.get(state::f(l.insn.rs1)).bitcast(I64).trunc(I32)),
            FmvWX => l.fd(l.w1().bitcast(F32)),

            // ── D ────────────────────────────────────────────────────────────────────────────
            Fld => {
                let double = l.load(F64);
                l.fd(double);
            }
            Fsd => l.b.store(MemOp::PLAIN, l.address(), l.b.get(state::f(l.insn.rs2))),
            FmaddD => l.fma(F64, Plus, Plus),
            FmsubD => l.fma(F64, Plus, Minus),
            FnmsubD => l.fma(F64, Minus, Plus),
            FnmaddD => l.fma(F64, Minus, Minus),
            FaddD => l.arithmetic(Slow::Add, F64, |a, b| a.fadd(b)),
            FsubD => l.arithmetic(Slow::Sub, F64, |a, b| a.fsub(b)),
            FmulD => l.arithmetic(Slow::Mul, F64, |a, b| a.fmul(b)),
            FdivD => l.arithmetic(Slow::Div, F64, |a, b| a.fdiv(b)),
            FsqrtD => l.fsqrt(F64),
            FsgnjD => l.sign_injection(F64, |_, b| b),
            FsgnjnD => l.sign_injection(F64, |_, b| b.not()),
            FsgnjxD => l.sign_injection(F64, |a, b| a ^ b),
            FminD => l.extreme(F64, true),
            FmaxD => l.extreme(F64, false),
            FeqD => {
                let (a, b) = (l.f1(F64), l.f2(F64));
                l.rd(a.feq(b));
            }
            FltD => {
                let (a, b) = (l.f1(F64), l.f2(F64));
                l.rd(a.flt(b));
            }
            FleD => {
                let (a, b) = (l.f1(F64), l.f2(F64));
                l.rd(a.fle(b));
            }
            FclassD => l.class(F64),
            FcvtWD => l.convert_to_signed(F64, I32),
            FcvtWuD => l.convert_to_unsigned(F64, I32),
            FcvtLD => l.convert_to_signed(F64, I64),
            FcvtLuD => l.convert_to_unsigned(F64, I64),
            FcvtDW => l.convert_integer(I32, true, F64),
            FcvtDWu => l.convert_integer(I32, false, F64),
            FcvtDL => l.convert_integer(I64, true, F64),
            FcvtDLu => l.convert_integer(I64, false, F64),
            FmvXD => l.rd(l.b.get(state::f(l.insn.rs1)).bitcast(I64)),
            FmvDX => l.fd(l.rs1().bitcast(F64)),
            FcvtSD => l.demote(),
            FcvtDS => {
                let double = l.f1(F32).fpromote();
                l.fd_canonical(double);
            }

            // ── Zba ──────────────────────────────────────────────────────────────────────────
            Sh1add => l.rd(l.rs1().shl(1) + l.rs2()),
            Sh2add => l.rd(l.rs1().shl(2) + l.rs2()),
            Sh3add => l.rd(l.rs1().shl(3) + l.rs2()),
            AddUw => l.rd(l.w1().zext(I64) + l.rs2()),
            Sh1addUw => l.rd(l.w1().zext(I64).shl(1) + l.rs2()),
            Sh2addUw => l.rd(l.w1().zext(I64).shl(2) + l.rs2()),
            Sh3addUw => l.rd(l.w1().zext(I64).shl(3) + l.rs2()),
            SlliUw => l.rd(l.w1().zext(I64).shl(l.imm())),

            // ── Zbb ──────────────────────────────────────────────────────────────────────────
            Andn => l.rd(l.rs1() & l.rs2().not()),
            Orn => l.rd(l.rs1() | l.rs2().not()),
            Xnor => l.rd((l.rs1() ^ l.rs2()).not()),
            Min => l.rd(l.rs1().slt(l.rs2()).select(l.rs1(), l.rs2())),
            Minu => l.rd(l.rs1().ult(l.rs2()).select(l.rs1(), l.rs2())),
            Max => l.rd(l.rs1().slt(l.rs2()).select(l.rs2(), l.rs1())),
            Maxu => l.rd(l.rs1().ult(l.rs2()).select(l.rs2(), l.rs1())),
            Rol => l.rd(l.rs1().rotl(l.rs2())),
            Ror => l.rd(l.rs1().rotr(l.rs2())),
            Rolw => l.rd(l.w1().rotl(l.w2())),
            Rorw => l.rd(l.w1().rotr(l.w2())),
            Rori => l.rd(l.rs1().rotr(l.imm())),
            Roriw => l.rd(l.w1().rotr(l.imm())),
            Clz => l.rd(l.rs1().clz()),
            Ctz => l.rd(l.rs1().ctz()),
            Cpop => l.rd(l.rs1().popcnt()),
            SextB => l.rd(l.rs1().trunc(I8)),
            SextH => l.rd(l.rs1().trunc(I16)),
            Clzw => l.rd(l.w1().clz()),
            Ctzw => l.rd(l.w1().ctz()),
            Cpopw => l.rd(l.w1().popcnt()),
            ZextH => l.rd(l.rs1().trunc(I16).zext(I64)),
            Rev8 => l.rd(l.rs1().bswap()),
            OrcB => l.rd(or_combine(l.rs1())),

            // ── Zbs ──────────────────────────────────────────────────────────────────────────
            Bclr => l.rd(l.rs1() & l.b.iconst(I64, 1).shl(l.rs2()).not()),
            Bclri => l.rd(l.rs1() & !(1 << l.imm())),
            Bext => l.rd(l.rs1().shr(l.rs2()) & 1),
            Bexti => l.rd(l.rs1().shr(l.imm()) & 1),
            Binv => l.rd(l.rs1() ^ l.b.iconst(I64, 1).shl(l.rs2())),
            Binvi => l.rd(l.rs1() ^ (1 << l.imm())),
            Bset => l.rd(l.rs1() | l.b.iconst(I64, 1).shl(l.rs2())),
            Bseti => l.rd(l.rs1() | (1 << l.imm())),
        }
        Then::Next
    }
}
