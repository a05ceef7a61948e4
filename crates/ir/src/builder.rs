//! Building blocks: value handles that read like the manual's pseudo-code.

use crate::{Block, BlockKey, End, Inst, MemOp, NONE, Op, Rmw, Slot, SlotInfo, Trap, Ty, Value};
use crate::{Lane, fp::Round};
use std::cell::RefCell;

/// A block under construction. Methods take `&self`, so that handles ([`V`]) can be copied and
/// combined freely.
#[derive(Debug)]
pub struct Builder {
    slots: &'static [SlotInfo],
    insts: RefCell<Vec<Inst>>,
}

/// A value under construction: `a + b` appends an `add`.
#[derive(Clone, Copy, Debug)]
pub struct V<'b> {
    pub(crate) builder: &'b Builder,
    value: Value,
    ty: Ty,
}

impl Builder {
    /// The most operations a block may have; lifting stops well before.
    pub const CAPACITY: usize = 16_384;

    /// An empty block over a guest with these slots.
    pub fn new(slots: &'static [SlotInfo]) -> Builder {
        Builder { slots, insts: RefCell::new(Vec::with_capacity(60)) }
    }

    /// Number of operations so far.
    pub fn len(&self) -> usize {
        self.insts.borrow().len()
    }

    /// Whether nothing has been appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes what was appended since the block had `len` operations: an instruction whose lift
    /// was given up.
    pub fn truncate(&self, len: usize) {
        self.insts.borrow_mut().truncate(len);
    }

    /// The finished block.
    pub fn finish(&self, key: BlockKey, len: u32, guest_insts: u32, end: End) -> Block {
        Block { key, len, guest_insts, insts: self.insts.take(), end, recover: Vec::new() }
    }

    /// Appends an operation as it stands.
    ///
    /// # Panics
    /// If the block is over [`Builder::CAPACITY`].
    pub fn push(&self, op: Op, ty: Ty, args: [Value; 3], imm: u64) -> Value {
        let mut insts = self.insts.borrow_mut();
        let value = Value(insts.len() as u16);
        assert!(insts.len() < Builder::CAPACITY, "a block has at most {} ops", Builder::CAPACITY);
        insts.push(Inst { op, ty, args, imm });
        value
    }

    /// Appends an operation that yields a value.
    pub fn op<'b>(&'b self, op: Op, ty: Ty, args: &[V<'b>], imm: u64) -> V<'b> {
        let result = op.result(ty).unwrap_or_else(|| panic!("{op:?} yields no value"));
        let value = self.push(op, ty, pad(args), imm);
        V { builder: self, value, ty: result }
    }

    /// The handle of a value appended before.
    ///
    /// # Panics
    /// If the operation there yields nothing.
    pub fn value(&self, value: Value) -> V<'_> {
        let inst = self.insts.borrow()[value.index()];
        let ty = inst.result().unwrap_or_else(|| panic!("{:?} yields no value", inst.op));
        V { builder: self, value, ty }
    }

    fn effect(&self, op: Op, ty: Ty, args: &[V<'_>], imm: u64) {
        self.push(op, ty, pad(args), imm);
    }

    /// Marks the start of the guest instruction at `pc`.
    pub fn insn(&self, pc: u64) {
        self.effect(Op::Insn, Ty::I64, &[], pc);
    }

    /// A constant, cut to `ty`.
    pub fn iconst(&self, ty: Ty, value: u64) -> V<'_> {
        self.op(Op::Iconst, ty, &[], ty.wrap(value))
    }

    /// The constant 128 bits.
    pub fn vconst(&self, value: u128) -> V<'_> {
        let low = self.iconst(Ty::I64, value as u64);
        let high = self.iconst(Ty::I64, (value >> 64) as u64);
        self.op(Op::Vpair, Ty::V128, &[low, high], 0)
    }

    /// The slot's value.
    pub fn get(&self, slot: Slot) -> V<'_> {
        self.op(Op::Get, self.slots[slot.0 as usize].ty, &[], slot.0.into())
    }

    /// Makes `value` the slot's.
    pub fn set(&self, slot: Slot, value: V<'_>) {
        let ty = self.slots[slot.0 as usize].ty;
        assert_eq!(ty, value.ty, "slot {}", self.slots[slot.0 as usize].name);
        self.effect(Op::Set, ty, &[value], slot.0.into());
    }

    /// The value of type `ty` at `address`.
    pub fn load<'b>(&'b self, ty: Ty, mem: MemOp, address: V<'b>) -> V<'b> {
        self.op(Op::Load, ty, &[address], mem.pack())
    }

    /// Stores `value` at `address`.
    pub fn store(&self, mem: MemOp, address: V<'_>, value: V<'_>) {
        self.effect(Op::Store, value.ty, &[address, value], mem.pack());
    }

    /// Atomically combines the value at `address` with `arg`; the old value.
    pub fn rmw<'b>(&'b self, rmw: Rmw, mem: MemOp, address: V<'b>, arg: V<'b>) -> V<'b> {
        self.op(Op::Rmw, arg.ty, &[address, arg], rmw.pack(mem))
    }

    /// Atomically stores `new` at `address` if `expected` is there; the old value.
    pub fn cas<'b>(&'b self, mem: MemOp, address: V<'b>, expected: V<'b>, new: V<'b>) -> V<'b> {
        self.op(Op::Cas, new.ty, &[address, expected, new], mem.pack())
    }

    /// Full memory fence.
    pub fn fence(&self) {
        self.effect(Op::Fence, Ty::I64, &[], 0);
    }

    /// Leaves to `pc` if `cond`.
    pub fn exit_if(&self, cond: V<'_>, pc: u64) {
        self.effect(Op::ExitIf, Ty::I64, &[cond], pc);
    }

    /// Leaves to the environment with `trap` if `cond`.
    pub fn trap_if(&self, cond: V<'_>, trap: Trap) {
        self.effect(Op::TrapIf, Ty::I64, &[cond], trap.pack());
    }

    /// Calls the guest's helper of index `helper`.
    pub fn call<'b>(&'b self, helper: u16, args: &[V<'b>]) -> V<'b> {
        self.op(Op::Call, Ty::I64, args, helper.into())
    }
}

fn pad(args: &[V<'_>]) -> [Value; 3] {
    let mut padded = [NONE; 3];
    for (to, from) in padded.iter_mut().zip(args) {
        *to = from.value;
    }
    padded
}

macro_rules! unary {
    ($($(#[doc = $doc:literal])+ $name:ident $op:ident;)*) => {$(
        $(#[doc = $doc])+
        #[must_use]
        pub fn $name(self) -> V<'b> {
            self.builder.op(Op::$op, self.ty, &[self], 0)
        }
    )*};
}

macro_rules! binary {
    ($($(#[doc = $doc:literal])+ $name:ident $op:ident;)*) => {$(
        $(#[doc = $doc])+
        #[must_use]
        pub fn $name(self, other: impl Operand<'b>) -> V<'b> {
            let other = other.of(self);
            self.builder.op(Op::$op, self.ty, &[self, other], 0)
        }
    )*};
}

/// What may stand on the right of an operator: a value, or a constant of the left's type.
pub trait Operand<'b> {
    /// As a value of `like`'s type.
    fn of(self, like: V<'b>) -> V<'b>;
}

impl<'b> Operand<'b> for V<'b> {
    fn of(self, _: V<'b>) -> V<'b> {
        self
    }
}

impl<'b> Operand<'b> for u64 {
    fn of(self, like: V<'b>) -> V<'b> {
        like.builder.iconst(like.ty, self)
    }
}

impl<'b> V<'b> {
    /// The value's type.
    pub fn ty(self) -> Ty {
        self.ty
    }

    /// The value in its block.
    pub fn value(self) -> Value {
        self.value
    }

    /// The constant it is, if it is one.
    pub fn constant(self) -> Option<u64> {
        let inst = self.builder.insts.borrow()[self.value.index()];
        (inst.op == Op::Iconst).then_some(inst.imm)
    }

    unary! {
        /// Bitwise complement.
        not Not;
        /// Two's complement.
        neg Neg;
        /// Leading zeros.
        clz Clz;
        /// Trailing zeros.
        ctz Ctz;
        /// Number of ones.
        popcnt Popcnt;
        /// Bytes in reverse order.
        bswap Bswap;
        /// Square root.
        fsqrt Fsqrt;
        /// The low half of a vector.
        vlow Vlow;
        /// The high half of a vector.
        vhigh Vhigh;
    }

    binary! {
        /// Unsigned quotient.
        udiv Udiv;
        /// Unsigned remainder.
        urem Urem;
        /// Signed quotient.
        sdiv Sdiv;
        /// Signed remainder.
        srem Srem;
        /// High half of the unsigned product.
        umulh Umulh;
        /// High half of the signed product.
        smulh Smulh;
        /// Shifted left.
        shl Shl;
        /// Shifted right, zeros entering.
        shr Shr;
        /// Shifted right, sign entering.
        sar Sar;
        /// Rotated left.
        rotl Rotl;
        /// Rotated right.
        rotr Rotr;
        /// Whether equal.
        eq Eq;
        /// Whether different.
        ne Ne;
        /// Unsigned less.
        ult Ult;
        /// Unsigned less or equal.
        ule Ule;
        /// Signed less.
        slt Slt;
        /// Signed less or equal.
        sle Sle;
        /// Float sum.
        fadd Fadd;
        /// Float difference.
        fsub Fsub;
        /// Float product.
        fmul Fmul;
        /// Float quotient.
        fdiv Fdiv;
        /// The lesser float; the second if unordered or equal.
        fmin Fmin;
        /// The greater float; the second if unordered or equal.
        fmax Fmax;
        /// Float equal.
        feq Feq;
        /// Float less, signalling.
        flt Flt;
        /// Float less or equal, signalling.
        fle Fle;
        /// Float less, quiet.
        fltq Fltq;
        /// Float less or equal, quiet.
        fleq Fleq;
        /// Float unordered, quiet.
        funord Funord;
        /// Vector and.
        vand Vand;
        /// Vector or.
        vor Vor;
        /// Vector exclusive or.
        vxor Vxor;
        /// `other` and not self.
        vandn Vandn;
    }

    /// `yes` if this truth value is 1, else `no`.
    #[must_use]
    pub fn select(self, yes: V<'b>, no: V<'b>) -> V<'b> {
        self.builder.op(Op::Select, yes.ty, &[self, yes, no], 0)
    }

    /// As a wider integer, zeros above; itself if it has that type.
    #[must_use]
    pub fn zext(self, ty: Ty) -> V<'b> {
        if self.ty == ty { self } else { self.builder.op(Op::Zext, ty, &[self], 0) }
    }

    /// As a wider integer, its sign above; itself if it has that type.
    #[must_use]
    pub fn sext(self, ty: Ty) -> V<'b> {
        if self.ty == ty {
            return self;
        }
        self.builder.op(Op::Sext, ty, &[self], self.ty as u64)
    }

    /// Its low bits as a narrower integer; itself if it has that type.
    #[must_use]
    pub fn trunc(self, ty: Ty) -> V<'b> {
        if self.ty == ty { self } else { self.builder.op(Op::Trunc, ty, &[self], 0) }
    }

    /// Its bits as another type of the same width; itself if it has that type.
    #[must_use]
    pub fn bitcast(self, ty: Ty) -> V<'b> {
        if self.ty == ty { self } else { self.builder.op(Op::Bitcast, ty, &[self], 0) }
    }

    /// self × b + c with one rounding.
    #[must_use]
    pub fn fma(self, b: V<'b>, c: V<'b>) -> V<'b> {
        self.builder.op(Op::Fma, self.ty, &[self, b, c], 0)
    }

    /// A binary32 as binary64.
    #[must_use]
    pub fn fpromote(self) -> V<'b> {
        self.builder.op(Op::Fpromote, Ty::F64, &[self], 0)
    }

    /// A binary64 as binary32.
    #[must_use]
    pub fn fdemote(self) -> V<'b> {
        self.builder.op(Op::Fdemote, Ty::F32, &[self], 0)
    }

    /// A signed integer of 32 or 64 bits as a float.
    #[must_use]
    pub fn sitof(self, ty: Ty) -> V<'b> {
        let op = if self.ty == Ty::I32 { Op::Sitof32 } else { Op::Sitof64 };
        self.builder.op(op, ty, &[self], 0)
    }

    /// An unsigned 64-bit integer as a float.
    #[must_use]
    pub fn uitof(self, ty: Ty) -> V<'b> {
        self.builder.op(Op::Uitof64, ty, &[self], 0)
    }

    /// A float as a signed integer of 32 or 64 bits; the least one if it does not fit.
    #[must_use]
    pub fn ftosi(self, ty: Ty, round: Round) -> V<'b> {
        let op = if self.ty == Ty::F32 { Op::F32tosi } else { Op::F64tosi };
        self.builder.op(op, ty, &[self], round.pack())
    }

    /// A float rounded to an integral value.
    #[must_use]
    pub fn fround(self, round: Round) -> V<'b> {
        self.builder.op(Op::Fround, self.ty, &[self], round.pack())
    }

    /// A vector operation on lanes: `op` with this, `others`, the lane shape and a parameter.
    #[must_use]
    pub fn lanes(self, op: Op, others: &[V<'b>], lane: Lane, param: u64) -> V<'b> {
        let mut args = [self; 3];
        args[1..=others.len()].copy_from_slice(others);
        self.builder.op(op, Ty::V128, &args[..=others.len()], lane as u64 | param << 8)
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident $op:ident;)*) => {$(
        impl<'b, O: Operand<'b>> std::ops::$trait<O> for V<'b> {
            type Output = V<'b>;
            fn $method(self, other: O) -> V<'b> {
                let other = other.of(self);
                self.builder.op(Op::$op, self.ty, &[self, other], 0)
            }
        }
    )*};
}

operator! {
    Add add Add;
    Sub sub Sub;
    Mul mul Mul;
    BitAnd bitand And;
    BitOr bitor Or;
    BitXor bitxor Xor;
}
