//! Rules that make one pure operation simpler.

use crate::forward::Output;
use crate::lanes;
use mynah_ir::{Args, Inst, NONE, Op, Ty, Value};

/// What an operation turned out to be.
pub(crate) enum Simple {
    /// Nothing simpler.
    Same,
    /// A value that is there.
    Value(Value),
    /// Another operation, which may be simpler still.
    Inst(Inst),
}

fn inst(op: Op, ty: Ty, args: &[Value]) -> Simple {
    let mut padded = [NONE; 3];
    padded[..args.len()].copy_from_slice(args);
    Simple::Inst(Inst { op, ty, args: padded, imm: 0 })
}

/// A conversion of `x` to `ty` by `op` (`zext`, `sext`, `trunc`), or `x` itself.
fn convert(out: &Output, op: Op, ty: Ty, x: Value) -> Simple {
    let from = out.ty(x);
    if from == ty {
        return Simple::Value(x);
    }
    let imm = if op == Op::Sext { from as u64 } else { 0 };
    Simple::Inst(Inst { op, ty, args: [x, NONE, NONE], imm })
}

/// One step toward the simplest form of the pure operation `i`. Each step lessens the operation's
/// kind or its distance to its inputs, so that repeating it comes to an end.
pub(crate) fn simplify(out: &mut Output, i: &Inst) -> Simple {
    if i.op == Op::Iconst {
        return Simple::Same;
    }
    let [a, b, c] = i.args;
    let (ka, kb) = (out.constant(a), out.constant(b));
    if let Some(folded) = fold(out, i) {
        return Simple::Value(folded);
    }
    if ka.is_some() && is_commutative(i.op) {
        return Simple::Inst(Inst { args: [b, a, NONE], ..*i });
    }
    match i.op {
        Op::Zext | Op::Sext | Op::Trunc | Op::Bitcast => conversion(out, i),
        Op::Select => select(out, i, [a, b, c]),
        Op::Vextract | Op::Vlow | Op::Vhigh => lanes::extract(out, i),
        Op::Vinsert => lanes::insert(out, i),
        Op::Vpair | Op::Vxor | Op::Vand | Op::Vor => vector(out, i),
        Op::Not | Op::Neg => negation(out, i),
        Op::Eq | Op::Ne | Op::Ult | Op::Ule | Op::Slt | Op::Sle => comparison(out, i, kb),
        _ => arithmetic(out, i, kb),
    }
}

/// The constant that an operation on constants comes to.
fn fold(out: &mut Output, i: &Inst) -> Option<Value> {
    let ty = i.result().filter(|&ty| ty != Ty::V128)?;
    let mut bits = [0u128; 3];
    for (bits, arg) in bits.iter_mut().zip(i.args()) {
        *bits = out.constant(arg)?.into();
    }
    let [a, b, c] = bits;
    let folded = i.op.eval(Args { ty: i.ty, imm: i.imm, a, b, c })?;
    Some(out.iconst(ty, folded as u64))
}

fn is_commutative(op: Op) -> bool {
    matches!(
        op,
        Op::Add | Op::Mul | Op::Umulh | Op::Smulh | Op::And | Op::Or | Op::Xor | Op::Eq | Op::Ne
    )
}

fn conversion(out: &Output, i: &Inst) -> Simple {
    let x = i.args[0];
    let of = out.inst(x);
    let inner = of.args[0];
    match (i.op, of.op) {
        (Op::Bitcast, Op::Bitcast) if out.ty(inner) == i.ty => Simple::Value(inner),
        (Op::Bitcast, Op::Bitcast) => inst(Op::Bitcast, i.ty, &[inner]),
        (Op::Bitcast, _) if out.ty(x) == i.ty => Simple::Value(x),
        (Op::Zext, Op::Zext) | (Op::Sext, Op::Sext) => convert(out, of.op, i.ty, inner),
        // The sign of a zero-extended value is zero.
        (Op::Sext, Op::Zext) => convert(out, Op::Zext, i.ty, inner),
        (Op::Trunc, Op::Trunc) => convert(out, Op::Trunc, i.ty, inner),
        (Op::Trunc, Op::Zext | Op::Sext) => {
            let op = if out.ty(inner).bits() > i.ty.bits() { Op::Trunc } else { of.op };
            convert(out, op, i.ty, inner)
        }
        // Nothing is lost if the bits above are zero anyway.
        (Op::Zext, Op::Trunc) if out.ty(inner) == i.ty && width(out, inner) <= of.ty.bits() => {
            Simple::Value(inner)
        }
        _ => Simple::Same,
    }
}

/// How many low bits of an integer may be other than zero, as far as is seen at a glance.
fn width(out: &Output, value: Value) -> u32 {
    let i = out.inst(value);
    let ty = i.result().map_or(64, Ty::bits);
    let constant = |v| out.constant(v).map_or(ty, |c| 64 - c.leading_zeros());
    match i.op {
        Op::Zext => out.ty(i.args[0]).bits(),
        Op::And => constant(i.args[1]).min(ty),
        Op::Shr => out.constant(i.args[1]).map_or(ty, |by| ty - (by as u32 & (ty - 1))),
        Op::Iconst => constant(value),
        _ => ty,
    }
}

fn select(out: &Output, i: &Inst, [cond, yes, no]: [Value; 3]) -> Simple {
    if yes == no {
        return Simple::Value(yes);
    }
    if let Some(c) = out.constant(cond) {
        return Simple::Value(if c != 0 { yes } else { no });
    }
    let of = out.inst(cond);
    if of.op == Op::Not {
        return inst(Op::Select, i.ty, &[of.args[0], no, yes]);
    }
    match (out.constant(yes), out.constant(no)) {
        (Some(1), Some(0)) if i.ty == Ty::I1 => Simple::Value(cond),
        (Some(1), Some(0)) if i.ty.is_int() => inst(Op::Zext, i.ty, &[cond]),
        (Some(0), Some(1)) if i.ty == Ty::I1 => inst(Op::Not, Ty::I1, &[cond]),
        _ => Simple::Same,
    }
}

fn vector(out: &mut Output, i: &Inst) -> Simple {
    let [a, b, _] = i.args;
    let of = out.inst(a);
    match i.op {
        Op::Vpair if of.op == Op::Vlow => {
            let high = out.inst(b);
            match high.op {
                Op::Vhigh if high.args[0] == of.args[0] => Simple::Value(of.args[0]),
                _ => Simple::Same,
            }
        }
        Op::Vxor if a == b => {
            let zero = out.iconst(Ty::I64, 0);
            inst(Op::Vpair, Ty::V128, &[zero, zero])
        }
        Op::Vand | Op::Vor if a == b => Simple::Value(a),
        _ => Simple::Same,
    }
}

fn negation(out: &Output, i: &Inst) -> Simple {
    let of = out.inst(i.args[0]);
    let [a, b, _] = of.args;
    if of.op == i.op {
        return Simple::Value(a);
    }
    match (i.op, of.op) {
        (Op::Not, Op::Eq) => inst(Op::Ne, of.ty, &[a, b]),
        (Op::Not, Op::Ne) => inst(Op::Eq, of.ty, &[a, b]),
        // The others belong to I1 here: only a comparison yields it.
        (Op::Not, Op::Ult) => inst(Op::Ule, of.ty, &[b, a]),
        (Op::Not, Op::Ule) => inst(Op::Ult, of.ty, &[b, a]),
        (Op::Not, Op::Slt) => inst(Op::Sle, of.ty, &[b, a]),
        (Op::Not, Op::Sle) => inst(Op::Slt, of.ty, &[b, a]),
        _ => Simple::Same,
    }
}

fn comparison(out: &mut Output, i: &Inst, kb: Option<u64>) -> Simple {
    let [a, b, _] = i.args;
    if a == b {
        let holds = matches!(i.op, Op::Eq | Op::Ule | Op::Sle);
        return Simple::Value(out.iconst(Ty::I1, holds.into()));
    }
    let equality = matches!(i.op, Op::Eq | Op::Ne);
    let Some(k) = kb else { return Simple::Same };
    let of = out.inst(a);
    match (i.op, of.op) {
        (Op::Eq | Op::Ne, _) if i.ty == Ty::I1 => {
            if (k != 0) == (i.op == Op::Eq) {
                Simple::Value(a)
            } else {
                inst(Op::Not, Ty::I1, &[a])
            }
        }
        (Op::Ult, _) if k == 0 => Simple::Value(out.iconst(Ty::I1, 0)),
        (Op::Ult, _) if k == 1 => {
            let zero = out.iconst(i.ty, 0);
            inst(Op::Eq, i.ty, &[a, zero])
        }
        (Op::Ule, _) if k == i.ty.mask() => Simple::Value(out.iconst(Ty::I1, 1)),
        (Op::Ule, _) if k == 0 => inst(Op::Eq, i.ty, &[a, b]),
        (_, Op::Zext) if equality => {
            let [x, _, _] = of.args;
            let narrow = out.ty(x);
            if narrow.wrap(k) != k {
                return Simple::Value(out.iconst(Ty::I1, (i.op == Op::Ne).into()));
            }
            let k = out.iconst(narrow, k);
            inst(i.op, narrow, &[x, k])
        }
        (_, Op::Xor | Op::Sub) if equality && k == 0 => inst(i.op, i.ty, &[of.args[0], of.args[1]]),
        _ => Simple::Same,
    }
}

fn arithmetic(out: &mut Output, i: &Inst, kb: Option<u64>) -> Simple {
    let [a, b, _] = i.args;
    if a == b {
        match i.op {
            Op::And | Op::Or => return Simple::Value(a),
            Op::Sub | Op::Xor => return Simple::Value(out.iconst(i.ty, 0)),
            _ => {}
        }
    }
    let Some(k) = kb else { return Simple::Same };
    let mask = i.ty.mask();
    let of = out.inst(a);
    let nested = of.op == i.op && of.ty == i.ty;
    let inner = out.constant(of.args[1]).filter(|_| nested);
    let shift = u64::from(i.ty.bits() - 1);
    match i.op {
        Op::Add | Op::Or | Op::Xor | Op::Sub if k == 0 => Simple::Value(a),
        Op::Sub => {
            let k = out.iconst(i.ty, k.wrapping_neg());
            inst(Op::Add, i.ty, &[a, k])
        }
        Op::And if k == mask => Simple::Value(a),
        Op::And | Op::Mul if k == 0 => Simple::Value(b),
        Op::Or if k == mask => Simple::Value(b),
        Op::Xor if k == mask => inst(Op::Not, i.ty, &[a]),
        Op::Mul if k == 1 => Simple::Value(a),
        Op::Mul if k.is_power_of_two() => {
            let by = out.iconst(i.ty, k.trailing_zeros().into());
            inst(Op::Shl, i.ty, &[a, by])
        }
        Op::Shl | Op::Shr | Op::Sar | Op::Rotl | Op::Rotr if k & shift == 0 => Simple::Value(a),
        Op::Add | Op::And | Op::Or | Op::Xor => match inner {
            None => Simple::Same,
            Some(inner) => {
                let args = Args { ty: i.ty, imm: 0, a: inner.into(), b: k.into(), c: 0 };
                let k = i.op.eval(args).unwrap_or(0) as u64;
                let k = out.iconst(i.ty, k);
                inst(i.op, i.ty, &[of.args[0], k])
            }
        },
        _ => Simple::Same,
    }
}
