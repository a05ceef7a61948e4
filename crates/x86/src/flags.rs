//! Arithmetic flags, kept as what they were computed from.
//!
//! An instruction that sets flags stores only its operands or result ([`CC_A`], [`CC_B`]) and what
//! it did ([`CC_OP`]); a flag is computed when something reads it. `Flags` describes what was
//! done. The lift remembers the last description of the block, so that a condition that follows in
//! the same block becomes a comparison of the operands; a condition on flags from elsewhere asks
//! the helpers below.
//!
//! `CC_OP` holds the kind in bits 0–3, the operand width in bits 4–5 (log2 of bytes), CF and OF
//! given outright in bits 8 and 9 if bits 10 and 11 say so, the carry-in in bit 12, and the count of
//! a shift in bits 16–21. INC and DEC keep CF: over flags that the lift does not know they leave all
//! of this as it is and say in bits 13 and 14 which of them came after it, and in bits 22–23 at what
//! width; all flags but CF are then those of its result, [`CC_STEP`].

use crate::lift::Lift;
use crate::state::{CC_A, CC_B, CC_OP, CC_STEP, State};
use mynah_ir::{Ty, V, Value};

/// Carry flag.
pub const CF: u64 = 1 << 0;
/// Parity flag.
pub const PF: u64 = 1 << 2;
/// Auxiliary carry flag.
pub const AF: u64 = 1 << 4;
/// Zero flag.
pub const ZF: u64 = 1 << 6;
/// Sign flag.
pub const SF: u64 = 1 << 7;
/// Trap flag.
pub const TF: u64 = 1 << 8;
/// Interrupt enable flag.
pub const IF: u64 = 1 << 9;
/// Direction flag.
pub const DF: u64 = 1 << 10;
/// Overflow flag.
pub const OF: u64 = 1 << 11;
/// Position of the I/O privilege level.
pub const IOPL_SHIFT: u64 = 12;
/// I/O privilege level.
pub const IOPL: u64 = 3 << IOPL_SHIFT;
/// Nested task flag.
pub const NT: u64 = 1 << 14;
/// Resume flag: code breakpoints do not count.
pub const RF: u64 = 1 << 16;
/// Virtual-8086 mode.
pub const VM: u64 = 1 << 17;
/// Alignment check flag.
pub const AC: u64 = 1 << 18;
/// Virtual interrupt flag.
pub const VIF: u64 = 1 << 19;
/// Virtual interrupt pending.
pub const VIP: u64 = 1 << 20;
/// Identification flag.
pub const ID: u64 = 1 << 21;
/// The arithmetic flags.
pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
/// Bits of [`State::rflags`].
pub const SYSTEM: u64 = TF | IF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
/// Those of them that POPF sets whatever the privilege level.
pub const USER: u64 = TF | NT | AC | ID;

const EAGER: u64 = 0;
const SUM: u64 = 1;
const DIFFERENCE: u64 = 2;
const RESULT: u64 = 3;
const SHIFT_LEFT: u64 = 4;
const SHIFT_RIGHT: u64 = 5;
const SHIFT_ARITHMETIC: u64 = 6;
const PRODUCT: u64 = 7;
const SIGNED_PRODUCT: u64 = 8;
const KIND: u64 = 0xf;
const WIDTH_SHIFT: u64 = 4;
const CF_SHIFT: u64 = 8;
const OF_SHIFT: u64 = 9;
const CF_GIVEN: u64 = 1 << 10;
const OF_GIVEN: u64 = 1 << 11;
const CARRY_SHIFT: u64 = 12;
const INC: u64 = 1 << 13;
const DEC: u64 = 1 << 14;
const COUNT_SHIFT: u64 = 16;
const STEP_WIDTH_SHIFT: u64 = 22;

/// What flags come from, over values `X` of the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags<X> {
    base: Base<X>,
    /// CF, if it does not follow from the base.
    cf: Option<X>,
    /// OF, if it does not follow from the base.
    of: Option<X>,
}

#[derive(Clone, Copy, Debug)]
enum Base<X> {
    /// What the slots say.
    Slots,
    /// Flags at their places in RFLAGS.
    Eager(X),
    /// CF, PF and ZF; the others are 0.
    Compared { cf: X, pf: X, zf: X, floats: Option<(X, X)> },
    /// All but CF, which the slots tell, are of the result of INC or DEC.
    Stepped { way: Step, result: X },
    /// a + b + carry.
    Sum { a: X, b: X, carry: Option<X> },
    /// a − b − carry.
    Difference { a: X, b: X, carry: Option<X> },
    /// SF, ZF and PF of a result; the others are 0.
    Result(X),
    /// `a` shifted by `count` (`I64`, not 0): CF is the bit that left last, OF what it is for a count
    /// of 1.
    Shifted { way: Way, result: X, a: X, count: X },
    /// CF and OF: whether `low` is not all of the product. ZF is 0.
    Product { sign: Sign, low: X, high: X },
}

/// Where a shift goes, and what enters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Left,
    Right,
    /// To the right, the sign entering.
    Arithmetic,
}

/// INC or DEC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Up,
    Down,
}

/// How operands are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sign {
    Signed,
    Unsigned,
}

impl<X> Default for Flags<X> {
    fn default() -> Flags<X> {
        Flags { base: Base::Slots, cf: None, of: None }
    }
}

impl<X: Copy> Flags<X> {
    fn map<Y>(self, f: impl Fn(X) -> Y) -> Flags<Y> {
        let base = match self.base {
            Base::Slots => Base::Slots,
            Base::Eager(v) => Base::Eager(f(v)),
            Base::Compared { cf, pf, zf, floats } => Base::Compared {
                cf: f(cf),
                pf: f(pf),
                zf: f(zf),
                floats: floats.map(|(a, b)| (f(a), f(b))),
            },
            Base::Stepped { way, result } => Base::Stepped { way, result: f(result) },
            Base::Sum { a, b, carry } => Base::Sum { a: f(a), b: f(b), carry: carry.map(&f) },
            Base::Difference { a, b, carry } => {
                Base::Difference { a: f(a), b: f(b), carry: carry.map(&f) }
            }
            Base::Result(v) => Base::Result(f(v)),
            Base::Shifted { way, result, a, count } => {
                Base::Shifted { way, result: f(result), a: f(a), count: f(count) }
            }
            Base::Product { sign, low, high } => Base::Product { sign, low: f(low), high: f(high) },
        };
        Flags { base, cf: self.cf.map(&f), of: self.of.map(&f) }
    }

    /// The same, but with this CF (`I1`).
    pub(crate) fn with_cf(self, cf: X) -> Flags<X> {
        Flags { cf: Some(cf), ..self }
    }

    /// The same, but with this OF (`I1`).
    pub(crate) fn with_of(self, of: X) -> Flags<X> {
        Flags { of: Some(of), ..self }
    }
}

/// All flags of a + b.
pub(crate) fn add<'b>(a: V<'b>, b: V<'b>) -> Flags<V<'b>> {
    Flags { base: Base::Sum { a, b, carry: None }, cf: None, of: None }
}

/// All flags of a + b + carry (`I1`).
pub(crate) fn adc<'b>(a: V<'b>, b: V<'b>, carry: V<'b>) -> Flags<V<'b>> {
    Flags { base: Base::Sum { a, b, carry: Some(carry) }, cf: None, of: None }
}

/// All flags of a − b.
pub(crate) fn sub<'b>(a: V<'b>, b: V<'b>) -> Flags<V<'b>> {
    Flags { base: Base::Difference { a, b, carry: None }, cf: None, of: None }
}

/// All flags of a − b − carry (`I1`).
pub(crate) fn sbb<'b>(a: V<'b>, b: V<'b>, carry: V<'b>) -> Flags<V<'b>> {
    Flags { base: Base::Difference { a, b, carry: Some(carry) }, cf: None, of: None }
}

/// Flags of `a` shifted by `count` (`I64`, not 0). For counts above 1 the manual leaves OF
/// undefined; processors have it as for 1.
pub(crate) fn shifted<'b>(way: Way, result: V<'b>, a: V<'b>, count: V<'b>) -> Flags<V<'b>> {
    Flags { base: Base::Shifted { way, result, a, count }, cf: None, of: None }
}

/// Flags of a product: CF and OF tell whether `low` is not all of it. The manual leaves SF, ZF and
/// PF undefined; processors have SF and PF of `low`, and 0 for ZF.
pub(crate) fn product<'b>(sign: Sign, low: V<'b>, high: V<'b>) -> Flags<V<'b>> {
    Flags { base: Base::Product { sign, low, high }, cf: None, of: None }
}

/// Flags of a bitwise operation: CF, OF and AF are 0.
pub(crate) fn logic(r: V<'_>) -> Flags<V<'_>> {
    Flags { base: Base::Result(r), cf: None, of: None }
}

/// All flags from an `I64` that holds them at their places in RFLAGS; its other bits are 0.
pub(crate) fn eager(bits: V<'_>) -> Flags<V<'_>> {
    Flags { base: Base::Eager(bits), cf: None, of: None }
}

/// CF, PF and ZF (`I1` each) as given; the others are 0.
pub(crate) fn compared<'b>(cf: V<'b>, pf: V<'b>, zf: V<'b>) -> Flags<V<'b>> {
    Flags { base: Base::Compared { cf, pf, zf, floats: None }, cf: None, of: None }
}

/// Flags of a comparison of the floats `a` and `b`: CF, PF and ZF (`I1` each) as given, which is
/// what COMISD makes of them; the others are 0.
pub(crate) fn compared_floats<'b>([cf, pf, zf]: [V<'b>; 3], a: V<'b>, b: V<'b>) -> Flags<V<'b>> {
    Flags { base: Base::Compared { cf, pf, zf, floats: Some((a, b)) }, cf: None, of: None }
}

/// Changes CF (`I1`) alone.
pub(crate) fn only_cf(cf: V<'_>) -> Flags<V<'_>> {
    Flags::default().with_cf(cf)
}

/// A condition: the low four bits of Jcc's opcode (SDM 1 appendix B).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cond(pub(crate) u8);

impl Cond {
    pub(crate) const O: Cond = Cond(0);
    pub(crate) const B: Cond = Cond(2);
    pub(crate) const E: Cond = Cond(4);
    pub(crate) const BE: Cond = Cond(6);
    const S: Cond = Cond(8);
    pub(crate) const P: Cond = Cond(10);
    const L: Cond = Cond(12);
    const LE: Cond = Cond(14);

    /// The condition without its lowest bit, which negates.
    fn positive(self) -> Cond {
        Cond(self.0 & !1)
    }

    /// The opposite condition.
    pub(crate) fn negated(self) -> Cond {
        Cond(self.0 ^ 1)
    }

    /// Whether it holds for these arithmetic flags.
    fn of(self, flags: u64) -> bool {
        let is = |flag| flags & flag != 0;
        let positive = match self.positive() {
            Cond::O => is(OF),
            Cond::B => is(CF),
            Cond::E => is(ZF),
            Cond::BE => is(CF | ZF),
            Cond::S => is(SF),
            Cond::P => is(PF),
            Cond::L => is(SF) != is(OF),
            _ => is(ZF) || is(SF) != is(OF),
        };
        positive != (self.0 & 1 != 0)
    }
}

impl<'b> Lift<'b> {
    /// Sets the flags that `new` describes.
    pub(crate) fn flags(&mut self, new: Flags<V<'b>>) {
        let known = match new.base {
            Base::Slots => {
                let old = self.known_flags();
                Flags { base: old.base, cf: new.cf.or(old.cf), of: new.of.or(old.of) }
            }
            _ => new,
        };
        let op = match known.base {
            Base::Slots | Base::Stepped { .. } => self.given_over(self.get(CC_OP), new),
            _ => self.cc_op(known),
        };
        self.set(CC_OP, op);
        if !matches!(new.base, Base::Slots) {
            let (a, b) = self.cc_operands(new.base);
            self.set(CC_A, a);
            if let Some(b) = b {
                self.set(CC_B, b);
            }
        }
        self.lifter.flags = known.map(V::value);
    }

    /// Sets the flags of INC or DEC, which makes `result` of `a`.
    pub(crate) fn flags_of_step(&mut self, way: Step, a: V<'b>, result: V<'b>) {
        let old = self.known_flags();
        if let Some(cf) = self.positive(old, Cond::B) {
            let one = self.iconst(a.ty(), 1);
            let new = if way == Step::Up { add(a, one) } else { sub(a, one) };
            return self.flags(new.with_cf(cf));
        }
        let step = match way {
            Step::Up => INC,
            Step::Down => DEC,
        };
        // What OF was is not asked for any more.
        let gone = OF_GIVEN | 1 << OF_SHIFT | INC | DEC | 3 << STEP_WIDTH_SHIFT;
        let width = u64::from(result.ty().bytes().ilog2()) << STEP_WIDTH_SHIFT;
        self.set(CC_OP, (self.get(CC_OP) & !gone) | (step | width));
        self.set(CC_STEP, result.zext(Ty::I64));
        self.lifter.flags =
            Flags { base: Base::Stepped { way, result }, ..Flags::default() }.map(V::value);
    }

    /// Sets the flags that `new` describes if `cond`; else they stay as they are.
    pub(crate) fn flags_if(&mut self, cond: V<'b>, new: Flags<V<'b>>) {
        match cond.constant() {
            Some(0) => return,
            Some(_) => return self.flags(new),
            None => {}
        }
        let old_op = self.get(CC_OP);
        let op = match new.base {
            Base::Slots => self.given_over(old_op, new),
            _ => self.cc_op(new),
        };
        self.set(CC_OP, cond.select(op, old_op));
        if !matches!(new.base, Base::Slots) {
            let (a, b) = self.cc_operands(new.base);
            self.set(CC_A, cond.select(a, self.get(CC_A)));
            if let Some(b) = b {
                self.set(CC_B, cond.select(b, self.get(CC_B)));
            }
        }
        self.lifter.flags = Flags::default();
    }

    /// Whether the condition holds now.
    pub(crate) fn cond(&self, cond: Cond) -> V<'b> {
        let flags = self.known_flags();
        if let Some(fused) = self.fused(flags, cond) {
            return fused;
        }
        if let Some(positive) = self.positive(flags, cond.positive()) {
            return if cond.0 & 1 == 0 { positive } else { positive.not() };
        }
        let code = self.iconst(Ty::I64, cond.0.into());
        self.call(crate::helpers::Id::Cond, &[code]).trunc(Ty::I1)
    }

    /// Nothing is known of the flags any more but what the slots say.
    pub(crate) fn forget_flags(&mut self) {
        self.lifter.flags = Flags::default();
    }

    /// CF now.
    pub(crate) fn cf(&self) -> V<'b> {
        self.cond(Cond::B)
    }

    /// The arithmetic flags now, at their places in RFLAGS.
    pub(crate) fn flags_word(&self) -> V<'b> {
        match self.known_flags() {
            Flags { base: Base::Eager(bits), cf: None, of: None } => bits,
            _ => self.call(crate::helpers::Id::Flags, &[]),
        }
    }

    fn known_flags(&self) -> Flags<V<'b>> {
        self.lifter.flags.map(|v| self.b.value(v))
    }

    /// `CC_OP` for a base that is not in the slots.
    fn cc_op(&self, flags: Flags<V<'b>>) -> V<'b> {
        let (kind, ty) = match flags.base {
            Base::Eager(_) | Base::Compared { .. } => (EAGER, Ty::I64),
            Base::Slots | Base::Stepped { .. } => unreachable!("the slots hold their operation"),
            Base::Sum { a, .. } => (SUM, a.ty()),
            Base::Difference { a, .. } => (DIFFERENCE, a.ty()),
            Base::Result(a) => (RESULT, a.ty()),
            Base::Shifted { way: Way::Left, a, .. } => (SHIFT_LEFT, a.ty()),
            Base::Shifted { way: Way::Right, a, .. } => (SHIFT_RIGHT, a.ty()),
            Base::Shifted { way: Way::Arithmetic, a, .. } => (SHIFT_ARITHMETIC, a.ty()),
            Base::Product { sign: Sign::Unsigned, low, .. } => (PRODUCT, low.ty()),
            Base::Product { sign: Sign::Signed, low, .. } => (SIGNED_PRODUCT, low.ty()),
        };
        let op = self.iconst(Ty::I64, kind | width(ty));
        let op = self.given_over(op, flags);
        match flags.base {
            Base::Sum { carry, .. } | Base::Difference { carry, .. } => {
                self.with_field(op, carry, CARRY_SHIFT)
            }
            Base::Shifted { count, .. } => self.with_field(op, Some(count), COUNT_SHIFT),
            _ => op,
        }
    }

    /// `op` with the CF and OF that `flags` gives outright.
    fn given_over(&self, op: V<'b>, flags: Flags<V<'b>>) -> V<'b> {
        let mut cleared = 0;
        let mut given = 0;
        if flags.cf.is_some() {
            cleared |= 1 << CF_SHIFT;
            given |= CF_GIVEN;
        }
        if flags.of.is_some() {
            cleared |= 1 << OF_SHIFT;
            given |= OF_GIVEN;
        }
        let op = match op.constant() {
            _ if given == 0 => op,
            Some(op) => self.iconst(Ty::I64, op & !cleared | given),
            None => (op & !cleared) | given,
        };
        self.with_field(self.with_field(op, flags.cf, CF_SHIFT), flags.of, OF_SHIFT)
    }

    /// `op` with `field` at `shift`, where `op` has 0.
    fn with_field(&self, op: V<'b>, field: Option<V<'b>>, shift: u64) -> V<'b> {
        let Some(field) = field else { return op };
        match (op.constant(), field.constant()) {
            (_, Some(0)) => op,
            (Some(op), Some(field)) => self.iconst(Ty::I64, op | field << shift),
            (None, Some(field)) => op | field << shift,
            (_, None) => op | field.zext(Ty::I64).shl(shift),
        }
    }

    /// `CC_A` and, where the kind uses it, `CC_B`.
    fn cc_operands(&self, base: Base<V<'b>>) -> (V<'b>, Option<V<'b>>) {
        let wide = |v: V<'b>| match v.constant() {
            Some(value) => self.iconst(Ty::I64, value),
            None => v.zext(Ty::I64),
        };
        match base {
            Base::Slots | Base::Stepped { .. } => unreachable!("the slots hold their operands"),
            Base::Eager(bits) => (bits, None),
            Base::Compared { cf, pf, zf, .. } => {
                (wide(cf) | wide(pf).shl(2) | wide(zf).shl(6), None)
            }
            Base::Sum { a, b, .. } | Base::Difference { a, b, .. } => (wide(a), Some(wide(b))),
            Base::Result(a) => (wide(a), None),
            Base::Shifted { result, a, .. } => (wide(result), Some(wide(a))),
            Base::Product { low, high, .. } => (wide(low), Some(wide(high))),
        }
    }

    /// Conditions that are one comparison.
    fn fused(&self, flags: Flags<V<'b>>, cond: Cond) -> Option<V<'b>> {
        let Flags { base, cf, of } = flags;
        match base {
            Base::Difference { a, b, carry: None } => match cond.0 {
                2 if cf.is_none() => Some(a.ult(b)),
                3 if cf.is_none() => Some(b.ule(a)),
                4 => Some(a.eq(b)),
                5 => Some(a.ne(b)),
                6 if cf.is_none() => Some(a.ule(b)),
                7 if cf.is_none() => Some(b.ult(a)),
                12 if of.is_none() => Some(a.slt(b)),
                13 if of.is_none() => Some(b.sle(a)),
                14 if of.is_none() => Some(a.sle(b)),
                15 if of.is_none() => Some(b.slt(a)),
                _ => None,
            },
            Base::Stepped { result, .. } => match cond.0 {
                4 => Some(result.eq(0)),
                5 => Some(result.ne(0)),
                8 => Some(result.slt(0)),
                9 => Some(self.iconst(result.ty(), 0).sle(result)),
                _ => None,
            },
            Base::Result(r) => {
                let zero = || self.iconst(r.ty(), 0);
                match cond.0 {
                    4 => Some(r.eq(0)),
                    5 => Some(r.ne(0)),
                    6 if cf.is_none() => Some(r.eq(0)),
                    7 if cf.is_none() => Some(r.ne(0)),
                    8 => Some(r.slt(0)),
                    9 => Some(zero().sle(r)),
                    12 if of.is_none() => Some(r.slt(0)),
                    13 if of.is_none() => Some(zero().sle(r)),
                    14 if of.is_none() => Some(r.sle(0)),
                    15 if of.is_none() => Some(zero().slt(r)),
                    _ => None,
                }
            }
            // The comparison has raised what there is to raise.
            Base::Compared { floats: Some((a, b)), .. } if cf.is_none() => match cond.0 {
                6 => Some(b.fltq(a).not()),
                7 => Some(b.fltq(a)),
                _ => None,
            },
            _ => None,
        }
    }

    /// An even condition, by its flags; `None` if they are not known in this block.
    fn positive(&self, flags: Flags<V<'b>>, cond: Cond) -> Option<V<'b>> {
        let one = |cond| self.positive(flags, cond);
        Some(match cond {
            Cond::O => match flags.of {
                Some(of) => of,
                None => self.of_of(flags.base)?,
            },
            Cond::B => match flags.cf {
                Some(cf) => cf,
                None => self.cf_of(flags.base)?,
            },
            Cond::E => self.zf_of(flags.base)?,
            Cond::BE => one(Cond::B)? | one(Cond::E)?,
            Cond::S => self.sf_of(flags.base)?,
            Cond::P => self.pf_of(flags.base)?,
            Cond::L => one(Cond::S)? ^ one(Cond::O)?,
            Cond::LE => one(Cond::E)? | (one(Cond::S)? ^ one(Cond::O)?),
            Cond(_) => return None,
        })
    }

    /// The result whose sign, zeroness and parity the flags tell.
    fn result_of(&self, base: Base<V<'b>>) -> Option<V<'b>> {
        Some(match base {
            Base::Sum { a, b, carry: None } => a + b,
            Base::Sum { a, b, carry: Some(c) } => a + b + c.zext(a.ty()),
            Base::Difference { a, b, carry: None } => a - b,
            Base::Difference { a, b, carry: Some(c) } => a - b - c.zext(a.ty()),
            Base::Result(r) | Base::Shifted { result: r, .. } | Base::Product { low: r, .. } => r,
            Base::Stepped { result, .. } => result,
            Base::Slots | Base::Eager(_) | Base::Compared { .. } => return None,
        })
    }

    fn zf_of(&self, base: Base<V<'b>>) -> Option<V<'b>> {
        match base {
            Base::Eager(bits) => Some(bits.shr(6).trunc(Ty::I1)),
            Base::Compared { zf, .. } => Some(zf),
            Base::Product { .. } => Some(self.iconst(Ty::I1, 0)),
            _ => Some(self.result_of(base)?.eq(0)),
        }
    }

    fn sf_of(&self, base: Base<V<'b>>) -> Option<V<'b>> {
        match base {
            Base::Eager(bits) => Some(bits.shr(7).trunc(Ty::I1)),
            Base::Compared { .. } => Some(self.iconst(Ty::I1, 0)),
            _ => Some(self.result_of(base)?.slt(0)),
        }
    }

    fn pf_of(&self, base: Base<V<'b>>) -> Option<V<'b>> {
        match base {
            Base::Eager(bits) => Some(bits.shr(2).trunc(Ty::I1)),
            Base::Compared { pf, .. } => Some(pf),
            _ => Some(self.result_of(base)?.trunc(Ty::I8).popcnt().trunc(Ty::I1).not()),
        }
    }

    fn cf_of(&self, base: Base<V<'b>>) -> Option<V<'b>> {
        Some(match base {
            Base::Eager(bits) => bits.trunc(Ty::I1),
            Base::Compared { cf, .. } => cf,
            Base::Sum { a, b, carry: None } => (a + b).ult(a),
            Base::Sum { a, b, carry: Some(c) } => {
                let r = a + b + c.zext(a.ty());
                r.ult(a) | (c & r.eq(a))
            }
            Base::Difference { a, b, carry: None } => a.ult(b),
            Base::Difference { a, b, carry: Some(c) } => a.ult(b) | (c & a.eq(b)),
            Base::Shifted { way, a, count, .. } => left_last(way, a, count),
            Base::Product { sign, low, high } => exceeds(sign, low, high),
            Base::Result(_) => self.iconst(Ty::I1, 0),
            Base::Slots | Base::Stepped { .. } => return None,
        })
    }

    fn of_of(&self, base: Base<V<'b>>) -> Option<V<'b>> {
        Some(match base {
            Base::Eager(bits) => bits.shr(11).trunc(Ty::I1),
            Base::Compared { .. } => self.iconst(Ty::I1, 0),
            Base::Sum { a, b, .. } => {
                let r = self.result_of(base)?;
                ((a ^ r) & (b ^ r)).slt(0)
            }
            Base::Difference { a, b, .. } => {
                let r = self.result_of(base)?;
                ((a ^ b) & (a ^ r)).slt(0)
            }
            Base::Shifted { way: Way::Left, a, .. } => (a ^ a.shl(1)).slt(0),
            Base::Shifted { way: Way::Right, a, .. } => a.slt(0),
            Base::Shifted { way: Way::Arithmetic, .. } => self.iconst(Ty::I1, 0),
            Base::Product { sign, low, high } => exceeds(sign, low, high),
            Base::Result(_) => self.iconst(Ty::I1, 0),
            Base::Stepped { way, result } => result.eq(self.overflown(way, result.ty())),
            Base::Slots => return None,
        })
    }

    /// The result of INC or DEC where it overflows.
    fn overflown(&self, way: Step, ty: Ty) -> V<'b> {
        let least = 1 << (ty.bits() - 1);
        self.iconst(ty, if way == Step::Up { least } else { least - 1 })
    }
}

/// The bit of `a` that leaves last when it is shifted by `count`.
fn left_last<'b>(way: Way, a: V<'b>, count: V<'b>) -> V<'b> {
    let bits = u64::from(a.ty().bits());
    match way {
        Way::Left if bits == 64 => a.shr(count.neg()),
        Way::Left => a.zext(Ty::I64).shl(count).shr(bits),
        Way::Right => a.zext(Ty::I64).shr(count - 1),
        Way::Arithmetic => a.sext(Ty::I64).sar(count - 1),
    }
    .trunc(Ty::I1)
}

/// Whether a product does not fit into its low half.
fn exceeds<'b>(sign: Sign, low: V<'b>, high: V<'b>) -> V<'b> {
    match sign {
        Sign::Signed => low.sar(u64::from(low.ty().bits() - 1)).ne(high),
        Sign::Unsigned => high.ne(0),
    }
}

/// The width field of `CC_OP`.
fn width(ty: Ty) -> u64 {
    u64::from(ty.bytes().ilog2()) << WIDTH_SHIFT
}

/// What the lift of a block knows of the flags.
pub(crate) type Known = Flags<Value>;

/// The arithmetic flags that the three slots stand for. Inlined, so that who asks for one of them
/// does not compute the others.
#[inline(always)]
fn evaluate(op: u64, a: u64, b: u64, step: u64) -> u64 {
    let width = |shift| [Ty::I8, Ty::I16, Ty::I32, Ty::I64][(op >> shift & 3) as usize];
    let ty = width(WIDTH_SHIFT);
    let carry = op >> CARRY_SHIFT & 1;
    let sign = |v: u64| v >> (ty.bits() - 1) & 1;
    let mut flags = match op & KIND {
        SUM => {
            let r = ty.wrap(a.wrapping_add(b).wrapping_add(carry));
            let carries = (a & b) | ((a | b) & !r);
            let overflow = (a ^ r) & (b ^ r);
            of_result(ty, r) | when(sign(carries), CF) | when(sign(overflow), OF) | (a ^ b ^ r) & AF
        }
        DIFFERENCE => {
            let r = ty.wrap(a.wrapping_sub(b).wrapping_sub(carry));
            let borrows = (!a & b) | ((!a | b) & r);
            let overflow = (a ^ b) & (a ^ r);
            of_result(ty, r) | when(sign(borrows), CF) | when(sign(overflow), OF) | (a ^ b ^ r) & AF
        }
        RESULT => of_result(ty, a),
        kind @ (SHIFT_LEFT | SHIFT_RIGHT | SHIFT_ARITHMETIC) => {
            // At most 63, and at least 1.
            let count = op >> COUNT_SHIFT & 63;
            let (last, overflow) = match kind {
                SHIFT_LEFT if ty == Ty::I64 => (b >> (count.wrapping_neg() & 63), sign(b ^ b << 1)),
                SHIFT_LEFT => (b << count >> ty.bits(), sign(b ^ b << 1)),
                SHIFT_RIGHT => (b >> (count.wrapping_sub(1) & 63), sign(b)),
                _ => ((ty.sext(b) >> (count.wrapping_sub(1) & 63)) as u64, 0),
            };
            of_result(ty, a) | when(last, CF) | when(overflow, OF)
        }
        PRODUCT => of_result(ty, a) & !ZF | when((b != 0).into(), CF | OF),
        SIGNED_PRODUCT => {
            let exceeds = ty.wrap((ty.sext(a) >> 63) as u64) != b;
            of_result(ty, a) & !ZF | when(exceeds.into(), CF | OF)
        }
        _ => a & ARITHMETIC,
    };
    if op & (INC | DEC) != 0 {
        flags = flags & CF | of_step(width(STEP_WIDTH_SHIFT), step, op & DEC != 0);
    }
    if op & CF_GIVEN != 0 {
        flags = flags & !CF | when(op >> CF_SHIFT, CF);
    }
    if op & OF_GIVEN != 0 {
        flags = flags & !OF | when(op >> OF_SHIFT, OF);
    }
    flags
}

/// `flag` if the lowest bit of `bit` is set.
fn when(bit: u64, flag: u64) -> u64 {
    (bit & 1) * flag
}

/// SF, ZF and PF of a result.
fn of_result(ty: Ty, r: u64) -> u64 {
    let odd = (r as u8).count_ones();
    when((r == 0).into(), ZF) | when(r >> (ty.bits() - 1), SF) | when((!odd).into(), PF)
}

/// All flags but CF of the result of INC, or (`down`) DEC.
fn of_step(ty: Ty, r: u64, down: bool) -> u64 {
    let least = 1 << (ty.bits() - 1);
    let (half, overflow) = if down { (15, least - 1) } else { (0, least) };
    let (half, overflow) = (r & 15 == half, r == overflow);
    of_result(ty, r) | when(half.into(), AF) | when(overflow.into(), OF)
}

/// SF, ZF and PF of a byte.
pub(crate) fn of_byte(r: u8) -> u64 {
    of_result(Ty::I8, r.into())
}

impl State {
    /// The arithmetic flags.
    pub fn arithmetic_flags(&self) -> u64 {
        evaluate(self.cc_op, self.cc_a, self.cc_b, self.cc_step)
    }

    /// Sets the arithmetic flags; other bits are ignored.
    pub fn set_arithmetic_flags(&mut self, flags: u64) {
        self.cc_op = EAGER;
        self.cc_a = flags & ARITHMETIC;
    }

    /// Sets the flags of a − b of type `ty`.
    pub(crate) fn compare(&mut self, ty: Ty, a: u64, b: u64) {
        self.cc_op = DIFFERENCE | width(ty);
        self.cc_a = a;
        self.cc_b = b;
    }

    /// RFLAGS.
    pub fn rflags(&self) -> u64 {
        self.arithmetic_flags() | self.df << 10 | self.rflags & SYSTEM | 2
    }

    /// Sets RFLAGS as POPF does in user mode.
    pub fn set_rflags(&mut self, rflags: u64) {
        self.set_rflags_bits(rflags, ARITHMETIC | DF | USER);
    }

    /// Sets the bits of RFLAGS that are in `mask`.
    pub fn set_rflags_bits(&mut self, rflags: u64, mask: u64) {
        match mask & ARITHMETIC {
            0 => {}
            ARITHMETIC => self.set_arithmetic_flags(rflags),
            some => self.set_arithmetic_flags(self.arithmetic_flags() & !some | rflags & some),
        }
        if mask & DF != 0 {
            self.df = rflags >> 10 & 1;
        }
        self.rflags = (self.rflags & !mask | rflags & mask) & SYSTEM;
    }

    /// Whether the condition of this code (the low four bits of Jcc's opcode) holds.
    pub(crate) fn cond(&self, code: u64) -> bool {
        let cond = Cond(code as u8 & 15);
        if cond == Cond::B {
            return evaluate(self.cc_op, self.cc_a, self.cc_b, self.cc_step) & CF != 0;
        }
        cond.of(self.arithmetic_flags())
    }
}
