//! The one list of operations: name, type rule, immediate, effect and evaluator of each.
//!
//! A row reads
//!
//! ```text
//! Name "text" (argument rules) -> result rule [types of T] immediate effect = evaluator;
//! ```
//!
//! and expands to the [`Op`] variant, its [`OpInfo`] (from which the text form and the verifier
//! work), and an evaluator type in [`kind`] that the folding pass, the interpreter and the tests
//! of the code generator share. Scalar evaluators work on 64-bit zero-extended values and need not
//! cut their result: [`ScalarOp::eval`] does. An operation that touches state, memory or control
//! has no evaluator.

use crate::{Args, Lane, Ty, fp, vector};

/// A rule for the type of an argument or result, relative to the instruction's type `T`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// `T` itself.
    T,
    /// An integer or truth value narrower than `T`.
    Narrower,
    /// An integer wider than `T`.
    Wider,
    /// A type of the same width as `T`.
    SameWidth,
    /// Exactly this type.
    Is(Ty),
    /// A value of any integer type.
    AnyInt,
}

/// What an instruction's immediate means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Imm {
    /// Not used; zero.
    None,
    /// A constant of type `T`.
    Const,
    /// A [`crate::Slot`].
    Slot,
    /// A [`crate::MemOp`].
    Mem,
    /// A [`crate::Rmw`] and its [`crate::MemOp`].
    Rmw,
    /// A [`Ty`]: the source type.
    Ty,
    /// A [`fp::Round`] with its inexact-suppression bit.
    Round,
    /// A [`crate::Lane`] in bits 0–7 and an operation-specific parameter in bits 8–63.
    Lane,
    /// A guest address.
    Pc,
    /// A [`crate::Trap`].
    Trap,
    /// The index of a guest helper.
    Helper,
}

/// What an operation does besides yielding its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing: may be removed, repeated, moved and folded.
    Pure,
    /// Reads and changes the floating-point environment: neither folded nor moved across another
    /// environment access; may be removed only with its flags.
    Float,
    /// Reads a state slot.
    ReadsState,
    /// Writes a state slot.
    WritesState,
    /// Accesses guest memory and may fault.
    Memory,
    /// Orders memory accesses.
    Fence,
    /// May leave the block.
    Leaves,
    /// As the guest's helper table says.
    Helper,
    /// Marks the start of a guest instruction.
    Mark,
}

/// What the list says of an operation.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// The name in the text form.
    pub name: &'static str,
    /// Rules of the arguments. Trailing arguments of a helper call may be absent.
    pub args: &'static [Rule],
    /// Rule of the result, if there is one.
    pub result: Option<Rule>,
    /// Types that `T` may be.
    pub types: &'static [Ty],
    /// Meaning of the immediate.
    pub imm: Imm,
    /// Effect.
    pub effect: Effect,
}

/// An operation on scalars, as a type: generic code is compiled once for each.
pub trait ScalarOp: 'static {
    /// The operation.
    const OP: Op;
    /// The result's bits, cut to the result's type.
    fn eval(x: Args<u64>) -> u64;
}

/// An operation with a `V128` among its arguments or as its result. Scalars stand zero-extended.
pub trait VectorOp: 'static {
    /// The operation.
    const OP: Op;
    /// The result's bits, cut to the result's type.
    fn eval(x: Args<u128>) -> u128;
}

/// What is done with an operation's evaluator; see [`Op::visit`].
pub trait Visitor {
    /// What comes of it.
    type Out;
    /// The operation has a scalar evaluator.
    fn scalar<O: ScalarOp>(self) -> Self::Out;
    /// The operation has a vector evaluator.
    fn vector<O: VectorOp>(self) -> Self::Out;
    /// The operation has no evaluator.
    fn other(self) -> Self::Out;
}

macro_rules! rule {
    (T) => {
        Rule::T
    };
    (Narrower) => {
        Rule::Narrower
    };
    (Wider) => {
        Rule::Wider
    };
    (SameWidth) => {
        Rule::SameWidth
    };
    (AnyInt) => {
        Rule::AnyInt
    };
    ($ty:ident) => {
        Rule::Is(Ty::$ty)
    };
}

macro_rules! result {
    () => {
        None
    };
    ($rule:ident) => {
        Some(rule!($rule))
    };
}

macro_rules! evaluator {
    ($name:ident scalar |$x:pat_param| $e:expr) => {
        impl ScalarOp for kind::$name {
            const OP: Op = Op::$name;
            #[inline(always)]
            fn eval(x: Args<u64>) -> u64 {
                let wrap = Op::$name.result_mask(x.ty);
                let $x = x;
                u64::from($e) & wrap
            }
        }
    };
    ($name:ident vector |$x:pat_param| $e:expr) => {
        impl VectorOp for kind::$name {
            const OP: Op = Op::$name;
            #[inline]
            fn eval($x: Args<u128>) -> u128 {
                u128::from($e)
            }
        }
    };
    ($name:ident) => {};
}

macro_rules! visit {
    ($v:ident $name:ident scalar) => {
        $v.scalar::<kind::$name>()
    };
    ($v:ident $name:ident vector) => {
        $v.vector::<kind::$name>()
    };
    ($v:ident $name:ident) => {
        $v.other()
    };
}

macro_rules! ops {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident $text:literal ($($arg:ident),*) $(-> $res:ident)? [$types:ident] $imm:ident
        $effect:ident $(= $form:ident |$x:pat_param| $e:expr)?;
    )*) => {
        /// An operation. Each variant's documentation is its meaning.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Op { $($(#[doc = $doc])+ $name,)* }

        impl Op {
            /// Every operation, in the order of its discriminant.
            pub const ALL: &'static [Op] = &[$(Op::$name),*];

            /// What the list says of this operation.
            #[inline]
            pub const fn info(self) -> &'static OpInfo {
                const INFO: &[OpInfo] = &[$(OpInfo {
                    name: $text,
                    args: &[$(rule!($arg)),*],
                    result: result!($($res)?),
                    types: types::$types,
                    imm: Imm::$imm,
                    effect: Effect::$effect,
                }),*];
                &INFO[self as usize]
            }

            /// Hands this operation's evaluator to `v`.
            pub fn visit<V: Visitor>(self, v: V) -> V::Out {
                match self { $(Op::$name => visit!(v $name $($form)?),)* }
            }
        }

        /// Each operation as a type.
        pub mod kind { $($(#[doc = $doc])+ #[derive(Clone, Copy, Debug)] pub struct $name;)* }

        $(evaluator!($name $($form |$x| $e)?);)*
    };
}

/// The types an operation may work on.
mod types {
    use crate::Ty::{self, *};
    pub(super) const NONE: &[Ty] = &[I64];
    pub(super) const INT: &[Ty] = &[I8, I16, I32, I64];
    pub(super) const INT1: &[Ty] = &[I1, I8, I16, I32, I64];
    pub(super) const WIDE: &[Ty] = &[I32, I64];
    pub(super) const MUL: &[Ty] = &[I16, I32, I64];
    pub(super) const FLOAT: &[Ty] = &[F32, F64];
    pub(super) const SCALAR: &[Ty] = &[I1, I8, I16, I32, I64, F32, F64];
    pub(super) const CAST: &[Ty] = &[I32, I64, F32, F64];
    pub(super) const MEM: &[Ty] = &[I8, I16, I32, I64, F32, F64, V128];
    pub(super) const CAS: &[Ty] = &[I8, I16, I32, I64, V128];

    pub(super) const SLOT: &[Ty] = &[I64, F64, V128];
    pub(super) const ONLY_F32: &[Ty] = &[F32];
    pub(super) const ONLY_F64: &[Ty] = &[F64];
    pub(super) const V: &[Ty] = &[V128];
    pub(super) const LANE: &[Ty] = &[I8, I16, I32, I64, F32, F64];
}

ops! {
    // ── marks, constants, state ──────────────────────────────────────────────────────────────
    /// Start of the guest instruction at the immediate.
    Insn "insn" () [NONE] Pc Mark;
    /// The immediate.
    Iconst "iconst" () -> T [SCALAR] Const Pure = scalar |x| x.imm;
    /// The slot's value.
    Get "get" () -> T [SLOT] Slot ReadsState;
    /// Makes the argument the slot's value.
    Set "set" (T) [SLOT] Slot WritesState;

    // ── integers ─────────────────────────────────────────────────────────────────────────────
    /// a + b.
    Add "add" (T, T) -> T [INT] None Pure = scalar |x| x.a.wrapping_add(x.b);
    /// a − b.
    Sub "sub" (T, T) -> T [INT] None Pure = scalar |x| x.a.wrapping_sub(x.b);
    /// Low half of a × b.
    Mul "mul" (T, T) -> T [INT] None Pure = scalar |x| x.a.wrapping_mul(x.b);
    /// High half of the unsigned a × b.
    Umulh "umulh" (T, T) -> T [MUL] None Pure
        = scalar |x| (u128::from(x.a) * u128::from(x.b) >> x.ty.bits()) as u64;
    /// High half of the signed a × b.
    Smulh "smulh" (T, T) -> T [MUL] None Pure
        = scalar |x| (i128::from(x.ty.sext(x.a)) * i128::from(x.ty.sext(x.b)) >> x.ty.bits()) as u64;
    /// Unsigned a ÷ b; all ones if b is 0.
    Udiv "udiv" (T, T) -> T [INT] None Pure = scalar |x| x.a.checked_div(x.b).unwrap_or(u64::MAX);
    /// Unsigned remainder; a if b is 0.
    Urem "urem" (T, T) -> T [INT] None Pure = scalar |x| x.a.checked_rem(x.b).unwrap_or(x.a);
    /// Signed a ÷ b, toward zero; −1 if b is 0, a if it overflows.
    Sdiv "sdiv" (T, T) -> T [INT] None Pure = scalar |x| match x.ty.sext(x.b) {
        0 => u64::MAX,
        b => x.ty.sext(x.a).wrapping_div(b) as u64,
    };
    /// Signed remainder with the sign of a; a if b is 0, 0 if the quotient overflows.
    Srem "srem" (T, T) -> T [INT] None Pure = scalar |x| match x.ty.sext(x.b) {
        0 => x.a,
        b => x.ty.sext(x.a).wrapping_rem(b) as u64,
    };
    /// Bitwise and.
    And "and" (T, T) -> T [INT1] None Pure = scalar |x| x.a & x.b;
    /// Bitwise or.
    Or "or" (T, T) -> T [INT1] None Pure = scalar |x| x.a | x.b;
    /// Bitwise exclusive or.
    Xor "xor" (T, T) -> T [INT1] None Pure = scalar |x| x.a ^ x.b;
    /// Bitwise complement.
    Not "not" (T) -> T [INT1] None Pure = scalar |x| !x.a;
    /// −a.
    Neg "neg" (T) -> T [INT] None Pure = scalar |x| x.a.wrapping_neg();
    /// a shifted left.
    Shl "shl" (T, T) -> T [INT] None Pure = scalar |x| x.a << (x.b & u64::from(x.ty.bits() - 1));
    /// a shifted right, zeros entering.
    Shr "shr" (T, T) -> T [INT] None Pure = scalar |x| x.a >> (x.b & u64::from(x.ty.bits() - 1));
    /// a shifted right, its sign entering.
    Sar "sar" (T, T) -> T [INT] None Pure
        = scalar |x| (x.ty.sext(x.a) >> (x.b & u64::from(x.ty.bits() - 1))) as u64;
    /// a rotated left.
    Rotl "rotl" (T, T) -> T [INT] None Pure = scalar |x| rotl(x.ty, x.a, x.b);
    /// a rotated right.
    Rotr "rotr" (T, T) -> T [INT] None Pure = scalar |x| rotl(x.ty, x.a, x.b.wrapping_neg());
    /// Leading zeros; the width if a is 0.
    Clz "clz" (T) -> T [INT] None Pure
        = scalar |x| u64::from(x.a.leading_zeros() - (64 - x.ty.bits()));
    /// Trailing zeros; the width if a is 0.
    Ctz "ctz" (T) -> T [INT] None Pure
        = scalar |x| u64::from(x.a.trailing_zeros().min(x.ty.bits()));
    /// Number of ones.
    Popcnt "popcnt" (T) -> T [INT] None Pure = scalar |x| u64::from(x.a.count_ones());
    /// Bytes in reverse order.
    Bswap "bswap" (T) -> T [MUL] None Pure
        = scalar |x| x.a.swap_bytes() >> (64 - x.ty.bits());
    /// a = b.
    Eq "eq" (T, T) -> I1 [INT1] None Pure = scalar |x| x.a == x.b;
    /// a ≠ b.
    Ne "ne" (T, T) -> I1 [INT1] None Pure = scalar |x| x.a != x.b;
    /// a < b, unsigned.
    Ult "ult" (T, T) -> I1 [INT] None Pure = scalar |x| x.a < x.b;
    /// a ≤ b, unsigned.
    Ule "ule" (T, T) -> I1 [INT] None Pure = scalar |x| x.a <= x.b;
    /// a < b, signed.
    Slt "slt" (T, T) -> I1 [INT] None Pure = scalar |x| x.ty.sext(x.a) < x.ty.sext(x.b);
    /// a ≤ b, signed.
    Sle "sle" (T, T) -> I1 [INT] None Pure = scalar |x| x.ty.sext(x.a) <= x.ty.sext(x.b);
    /// b if a is 1, else c. (For `V128` see `vselect`.)
    Select "select" (I1, T, T) -> T [SCALAR] None Pure = scalar |x| if x.a != 0 { x.b } else { x.c };
    /// a with zeros above.
    Zext "zext" (Narrower) -> T [INT] None Pure = scalar |x| x.a;
    /// a, of the type in the immediate, with its sign above.
    Sext "sext" (Narrower) -> T [INT] Ty Pure
        = scalar |x| Ty::ALL[(x.imm & 7) as usize].sext(x.a) as u64;
    /// The low bits of a.
    Trunc "trunc" (Wider) -> T [INT1] None Pure = scalar |x| x.a;
    /// The same bits as another type.
    Bitcast "bitcast" (SameWidth) -> T [CAST] None Pure = scalar |x| x.a;

    // ── floating point (the environment decides rounding and receives flags) ─────────────────
    /// a + b.
    Fadd "fadd" (T, T) -> T [FLOAT] None Float = scalar |x| fp::add(x.ty, x.a, x.b);
    /// a − b.
    Fsub "fsub" (T, T) -> T [FLOAT] None Float = scalar |x| fp::sub(x.ty, x.a, x.b);
    /// a × b.
    Fmul "fmul" (T, T) -> T [FLOAT] None Float = scalar |x| fp::mul(x.ty, x.a, x.b);
    /// a ÷ b.
    Fdiv "fdiv" (T, T) -> T [FLOAT] None Float = scalar |x| fp::div(x.ty, x.a, x.b);
    /// a if it is less than b, else b; invalid if either is a NaN.
    Fmin "fmin" (T, T) -> T [FLOAT] None Float = scalar |x| fp::min(x.ty, x.a, x.b);
    /// a if it is greater than b, else b; invalid if either is a NaN.
    Fmax "fmax" (T, T) -> T [FLOAT] None Float = scalar |x| fp::max(x.ty, x.a, x.b);
    /// Square root.
    Fsqrt "fsqrt" (T) -> T [FLOAT] None Float = scalar |x| fp::sqrt(x.ty, x.a);
    /// a × b + c with one rounding.
    Fma "fma" (T, T, T) -> T [FLOAT] None Float = scalar |x| fp::fma(x.ty, x.a, x.b, x.c);
    /// a = b; false if unordered; only a signalling NaN is invalid.
    Feq "feq" (T, T) -> I1 [FLOAT] None Float
        = scalar |x| fp::compare(x.ty, x.a, x.b, fp::Nan::Quiet) == Some(std::cmp::Ordering::Equal);
    /// a < b; false and invalid if unordered.
    Flt "flt" (T, T) -> I1 [FLOAT] None Float
        = scalar |x| fp::compare(x.ty, x.a, x.b, fp::Nan::Invalid) == Some(std::cmp::Ordering::Less);
    /// a ≤ b; false and invalid if unordered.
    Fle "fle" (T, T) -> I1 [FLOAT] None Float
        = scalar |x| fp::compare(x.ty, x.a, x.b, fp::Nan::Invalid).is_some_and(|o| o.is_le());
    /// a < b; false if unordered; only a signalling NaN is invalid.
    Fltq "fltq" (T, T) -> I1 [FLOAT] None Float
        = scalar |x| fp::compare(x.ty, x.a, x.b, fp::Nan::Quiet) == Some(std::cmp::Ordering::Less);
    /// a ≤ b; false if unordered; only a signalling NaN is invalid.
    Fleq "fleq" (T, T) -> I1 [FLOAT] None Float
        = scalar |x| fp::compare(x.ty, x.a, x.b, fp::Nan::Quiet).is_some_and(|o| o.is_le());
    /// Whether a or b is a NaN; only a signalling NaN is invalid.
    Funord "funord" (T, T) -> I1 [FLOAT] None Float
        = scalar |x| fp::compare(x.ty, x.a, x.b, fp::Nan::Quiet).is_none();
    /// A binary32 as binary64.
    Fpromote "fpromote" (F32) -> T [ONLY_F64] None Float = scalar |x| fp::promote(x.a);
    /// A binary64 as binary32.
    Fdemote "fdemote" (F64) -> T [ONLY_F32] None Float = scalar |x| fp::demote(x.a);
    /// The signed 32-bit a as a float.
    Sitof32 "sitof32" (I32) -> T [FLOAT] None Float = scalar |x| fp::from_i32(x.ty, x.a as i32);
    /// The signed 64-bit a as a float.
    Sitof64 "sitof64" (I64) -> T [FLOAT] None Float = scalar |x| fp::from_i64(x.ty, x.a as i64);
    /// The unsigned 64-bit a as a float.
    Uitof64 "uitof64" (I64) -> T [FLOAT] None Float = scalar |x| fp::from_u64(x.ty, x.a);
    /// The binary32 a as a signed integer, rounded as the immediate says; the least integer and
    /// invalid if it is a NaN or does not fit.
    F32tosi "f32tosi" (F32) -> T [WIDE] Round Float
        = scalar |x| fp::to_int(Ty::F32, x.a, x.ty, fp::Round::unpack(x.imm));
    /// The binary64 a as a signed integer, rounded as the immediate says; the least integer and
    /// invalid if it is a NaN or does not fit.
    F64tosi "f64tosi" (F64) -> T [WIDE] Round Float
        = scalar |x| fp::to_int(Ty::F64, x.a, x.ty, fp::Round::unpack(x.imm));
    /// a rounded to an integral value as the immediate says.
    Fround "fround" (T) -> T [FLOAT] Round Float
        = scalar |x| fp::round(x.ty, x.a, fp::Round::unpack(x.imm));

    // ── guest memory ─────────────────────────────────────────────────────────────────────────
    /// The value at address a.
    Load "load" (I64) -> T [MEM] Mem Memory;
    /// Stores b at address a.
    Store "store" (I64, T) [MEM] Mem Memory;
    /// Atomically changes the value at address a with argument b; yields the old value.
    Rmw "rmw" (I64, T) -> T [INT] Rmw Memory;
    /// Atomically stores c at address a if the value there is b; yields the old value.
    Cas "cas" (I64, T, T) -> T [CAS] Mem Memory;
    /// Full memory fence.
    Fence "fence" () [NONE] None Fence;

    // ── control and helpers ──────────────────────────────────────────────────────────────────
    /// Leaves to the guest address in the immediate if a is 1.
    ExitIf "exit_if" (I1) [NONE] Pc Leaves;
    /// Leaves to the environment with the trap in the immediate if a is 1; the guest's pc and state
    /// are those before the instruction.
    TrapIf "trap_if" (I1) [NONE] Trap Leaves;
    /// Calls the guest's helper with up to three integer arguments.
    Call "call" (AnyInt, AnyInt, AnyInt) -> T [NONE] Helper Helper;

    // ── vectors ──────────────────────────────────────────────────────────────────────────────
    // The lane shape is the immediate's; operations that mix two shapes name the one of their
    // argument's lanes unless they say otherwise.
    /// The 128 bits whose low half is a and whose high half is b.
    Vpair "vpair" (I64, I64) -> T [V] None Pure = vector |x| vector::pair(x.a, x.b);
    /// The low half.
    Vlow "vlow" (V128) -> I64 [V] None Pure = vector |x| x.a & u128::from(u64::MAX);
    /// The high half.
    Vhigh "vhigh" (V128) -> I64 [V] None Pure = vector |x| x.a >> 64;
    /// Every lane is a.
    Vsplat "vsplat" (T) -> V128 [LANE] Lane Pure = vector |x| vector::splat(x);
    /// The lane whose index is the parameter.
    Vextract "vextract" (V128) -> T [LANE] Lane Pure = vector |x| vector::extract(x);
    /// a with the lane whose index is the parameter replaced by b.
    Vinsert "vinsert" (V128, T) -> V128 [LANE] Lane Pure = vector |x| vector::insert(x);
    /// Bitwise and.
    Vand "vand" (T, T) -> T [V] None Pure = vector |x| x.a & x.b;
    /// Bitwise or.
    Vor "vor" (T, T) -> T [V] None Pure = vector |x| x.a | x.b;
    /// Bitwise exclusive or.
    Vxor "vxor" (T, T) -> T [V] None Pure = vector |x| x.a ^ x.b;
    /// b and not a.
    Vandn "vandn" (T, T) -> T [V] None Pure = vector |x| !x.a & x.b;
    /// Where the sign of a's lane is set, b's lane, else c's.
    Vblend "vblend" (T, T, T) -> T [V] Lane Pure = vector |x| vector::blend(x);
    /// Lane i of the result is the lane of a and b (a's first) whose index is bits 4i–4i+3 of the
    /// parameter. Not for bytes.
    Vshuffle "vshuffle" (T, T) -> T [V] Lane Pure = vector |x| vector::shuffle(x);
    /// Byte i is the byte of a whose index is the low four bits of b's byte i; 0 if its sign is set.
    Vswizzle "vswizzle" (T, T) -> T [V] None Pure = vector |x| vector::swizzle(x.a, x.b);
    /// The 16 bytes of a and b (a below) from the one whose index (0–16) is the parameter.
    Valign "valign" (T, T) -> T [V] Lane Pure = vector |x| vector::align(x);
    /// The lanes of the low halves, alternately a's and b's.
    Vziplow "vziplow" (T, T) -> T [V] Lane Pure = vector |x| vector::zip_low(x);
    /// The lanes of the high halves, alternately a's and b's.
    Vziphigh "vziphigh" (T, T) -> T [V] Lane Pure = vector |x| vector::zip_high(x);
    /// The signed lanes of a, then b, as signed lanes of half the width; the nearest if too large.
    Vpacks "vpacks" (T, T) -> T [V] Lane Pure = vector |x| vector::pack_signed(x);
    /// The signed lanes of a, then b, as unsigned lanes of half the width; the nearest if too large.
    Vpacku "vpacku" (T, T) -> T [V] Lane Pure = vector |x| vector::pack_unsigned(x);
    /// The lanes of the low half, signed, twice as wide.
    Vwidens "vwidens" (T) -> T [V] Lane Pure = vector |x| vector::widen_signed(x);
    /// The lanes of the low half, unsigned, twice as wide.
    Vwidenu "vwidenu" (T) -> T [V] Lane Pure = vector |x| vector::widen_unsigned(x);
    /// The signs of the lanes, lane 0's in bit 0.
    Vmask "vmask" (V128) -> I64 [V] Lane Pure = vector |x| vector::mask(x);
    /// a + b.
    Vadd "vadd" (T, T) -> T [V] Lane Pure = vector |x| vector::add(x);
    /// a − b.
    Vsub "vsub" (T, T) -> T [V] Lane Pure = vector |x| vector::sub(x);
    /// The nearest signed value to a + b.
    Vadds "vadds" (T, T) -> T [V] Lane Pure = vector |x| vector::add_signed(x);
    /// The nearest unsigned value to a + b.
    Vaddu "vaddu" (T, T) -> T [V] Lane Pure = vector |x| vector::add_unsigned(x);
    /// The nearest signed value to a − b.
    Vsubs "vsubs" (T, T) -> T [V] Lane Pure = vector |x| vector::sub_signed(x);
    /// The nearest unsigned value to a − b.
    Vsubu "vsubu" (T, T) -> T [V] Lane Pure = vector |x| vector::sub_unsigned(x);
    /// The low half of a × b.
    Vmul "vmul" (T, T) -> T [V] Lane Pure = vector |x| vector::mul(x);
    /// The high half of the signed a × b; for lanes of up to 32 bits.
    Vmulhs "vmulhs" (T, T) -> T [V] Lane Pure = vector |x| vector::mul_high_signed(x);
    /// The high half of the unsigned a × b; for lanes of up to 32 bits.
    Vmulhu "vmulhu" (T, T) -> T [V] Lane Pure = vector |x| vector::mul_high_unsigned(x);
    /// The signed 16-bit a × b, without its low 15 bits, rounded up from the half.
    Vmulr "vmulr" (T, T) -> T [V] None Pure = vector |x| vector::mul_rounded(x.a, x.b);
    /// The signed 64-bit products of the even 32-bit lanes.
    Vmuls "vmuls" (T, T) -> T [V] None Pure = vector |x| vector::mul_even_signed(x.a, x.b);
    /// The unsigned 64-bit products of the even 32-bit lanes.
    Vmulu "vmulu" (T, T) -> T [V] None Pure = vector |x| vector::mul_even_unsigned(x.a, x.b);
    /// The sums of adjacent products of signed 16-bit lanes, as 32 bits.
    Vdots "vdots" (T, T) -> T [V] None Pure = vector |x| vector::dot_signed(x.a, x.b);
    /// The sums, saturating at signed 16 bits, of adjacent products of a's unsigned and b's signed
    /// bytes.
    Vdotus "vdotus" (T, T) -> T [V] None Pure = vector |x| vector::dot_mixed(x.a, x.b);
    /// The unsigned mean, rounded up from the half.
    Vavg "vavg" (T, T) -> T [V] Lane Pure = vector |x| vector::average(x);
    /// The lesser, signed.
    Vmins "vmins" (T, T) -> T [V] Lane Pure = vector |x| vector::min_signed(x);
    /// The lesser, unsigned.
    Vminu "vminu" (T, T) -> T [V] Lane Pure = vector |x| vector::min_unsigned(x);
    /// The greater, signed.
    Vmaxs "vmaxs" (T, T) -> T [V] Lane Pure = vector |x| vector::max_signed(x);
    /// The greater, unsigned.
    Vmaxu "vmaxu" (T, T) -> T [V] Lane Pure = vector |x| vector::max_unsigned(x);
    /// |a|, wrapping.
    Vabs "vabs" (T) -> T [V] Lane Pure = vector |x| vector::abs(x);
    /// All ones where a = b, else 0.
    Veq "veq" (T, T) -> T [V] Lane Pure = vector |x| vector::equal(x);
    /// All ones where a > b, signed, else 0.
    Vgts "vgts" (T, T) -> T [V] Lane Pure = vector |x| vector::greater_signed(x);
    /// The lanes shifted left by b; 0 if b is the width or more.
    Vshl "vshl" (T, I64) -> T [V] Lane Pure = vector |x| vector::shift_left(x);
    /// The lanes shifted right by b, zeros entering; 0 if b is the width or more.
    Vshr "vshr" (T, I64) -> T [V] Lane Pure = vector |x| vector::shift_right(x);
    /// The lanes shifted right by b, their signs entering; the sign alone if b is the width or more.
    Vsar "vsar" (T, I64) -> T [V] Lane Pure = vector |x| vector::shift_right_signed(x);
    /// In each half, the sum of the absolute differences of its unsigned bytes.
    Vsad "vsad" (T, T) -> T [V] None Pure = vector |x| vector::sad(x.a, x.b);
    /// In 16-bit lane i, the sum of the absolute differences of four unsigned bytes of b and four of
    /// a: b's from byte 4 × (parameter's bits 0–1), a's from byte i + 4 × (parameter's bit 2).
    Vmsad "vmsad" (T, T) -> T [V] Lane Pure = vector |x| vector::multi_sad(x);
    /// The least unsigned 16-bit lane, and in bits 16–18 the index of the first such lane.
    Vleast "vleast" (T) -> T [V] None Pure = vector |x| vector::least(x.a);
    /// About 1 ÷ a, for binary32 lanes: relative error below 1.5 × 2⁻¹², and the host's bits.
    Vfrecip "vfrecip" (T) -> T [V] None Pure = vector |x| fp::packed::recip(x.a);
    /// About 1 ÷ √a, for binary32 lanes: relative error below 1.5 × 2⁻¹², and the host's bits.
    Vfrsqrt "vfrsqrt" (T) -> T [V] None Pure = vector |x| fp::packed::rsqrt(x.a);
    /// a + b.
    Vfadd "vfadd" (T, T) -> T [V] Lane Float = vector |x| fp::packed::add(lane(x), x.a, x.b);
    /// a − b.
    Vfsub "vfsub" (T, T) -> T [V] Lane Float = vector |x| fp::packed::sub(lane(x), x.a, x.b);
    /// a × b.
    Vfmul "vfmul" (T, T) -> T [V] Lane Float = vector |x| fp::packed::mul(lane(x), x.a, x.b);
    /// a ÷ b.
    Vfdiv "vfdiv" (T, T) -> T [V] Lane Float = vector |x| fp::packed::div(lane(x), x.a, x.b);
    /// a if it is less than b, else b; invalid if either is a NaN.
    Vfmin "vfmin" (T, T) -> T [V] Lane Float = vector |x| fp::packed::min(lane(x), x.a, x.b);
    /// a if it is greater than b, else b; invalid if either is a NaN.
    Vfmax "vfmax" (T, T) -> T [V] Lane Float = vector |x| fp::packed::max(lane(x), x.a, x.b);
    /// a − b in even lanes, a + b in odd ones.
    Vfaddsub "vfaddsub" (T, T) -> T [V] Lane Float
        = vector |x| fp::packed::addsub(lane(x), x.a, x.b);
    /// Square root.
    Vfsqrt "vfsqrt" (T) -> T [V] Lane Float = vector |x| fp::packed::sqrt(lane(x), x.a);
    /// All ones where the [`crate::fp::Predicate`] in the parameter holds of a and b, else 0.
    Vfcmp "vfcmp" (T, T) -> T [V] Lane Float = vector |x| {
        fp::packed::compare(lane(x), x.a, x.b, fp::Predicate::unpack(x.imm >> 8))
    };
    /// Rounded to integral values as the [`crate::fp::Round`] in the parameter says.
    Vfround "vfround" (T) -> T [V] Lane Float
        = vector |x| fp::packed::round(lane(x), x.a, fp::Round::unpack(x.imm >> 8));
    /// Signed 32-bit lanes (the low two for binary64) as floats of the immediate's shape.
    Vsitof "vsitof" (T) -> T [V] Lane Float = vector |x| fp::packed::from_i32(lane(x), x.a);
    /// Floats of the immediate's shape as signed 32-bit lanes (zeros above for binary64), rounded as
    /// the [`crate::fp::Round`] in the parameter says; the least integer and invalid if one does not fit.
    Vftosi "vftosi" (T) -> T [V] Lane Float
        = vector |x| fp::packed::to_i32(lane(x), x.a, fp::Round::unpack(x.imm >> 8));
    /// The low two binary32 as binary64.
    Vfpromote "vfpromote" (T) -> T [V] None Float = vector |x| fp::packed::promote(x.a);
    /// The two binary64 as binary32, zeros above.
    Vfdemote "vfdemote" (T) -> T [V] None Float = vector |x| fp::packed::demote(x.a);
}

/// The lane shape in the immediate.
#[inline(always)]
fn lane(x: Args<u128>) -> Lane {
    Lane::unpack(x.imm)
}

impl Op {
    /// The type of the result for an instruction of type `ty`; `None` if there is no result.
    #[inline(always)]
    pub const fn result(self, ty: Ty) -> Option<Ty> {
        match self.info().result {
            None => None,
            Some(Rule::Is(is)) => Some(is),
            Some(_) => Some(ty),
        }
    }

    #[inline(always)]
    const fn result_mask(self, ty: Ty) -> u64 {
        match self.result(ty) {
            Some(ty) => ty.mask(),
            None => 0,
        }
    }

    /// The operation of this name in the text form.
    pub fn from_name(name: &str) -> Option<Op> {
        Op::ALL.iter().copied().find(|op| op.info().name == name)
    }

    /// The result of an operation that has an evaluator, as 128 bits; `None` for the others.
    /// `Float` operations use and change the floating-point environment ([`fp`]).
    pub fn eval(self, x: Args<u128>) -> Option<u128> {
        struct Eval(Args<u128>);
        impl Visitor for Eval {
            type Out = Option<u128>;
            fn scalar<O: ScalarOp>(self) -> Option<u128> {
                let Args { ty, imm, a, b, c } = self.0;
                let x = Args { ty, imm, a: a as u64, b: b as u64, c: c as u64 };
                Some(O::eval(x).into())
            }
            fn vector<O: VectorOp>(self) -> Option<u128> {
                Some(O::eval(self.0))
            }
            fn other(self) -> Option<u128> {
                None
            }
        }
        self.visit(Eval(x))
    }
}

#[inline(always)]
fn rotl(ty: Ty, a: u64, by: u64) -> u64 {
    let by = (by & u64::from(ty.bits() - 1)) as u32;
    if by == 0 { a } else { a << by | a >> (ty.bits() - by) }
}
