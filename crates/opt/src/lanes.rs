//! Rules for single lanes of vectors: what scalar floating point in vector registers comes down to.

use crate::forward::Output;
use crate::simplify::Simple;
use mynah_ir::{Inst, NONE, Op, Ty, Value};

/// Bits of the vector that an insertion or extraction is about: position and width.
fn place(i: &Inst) -> (u32, u32) {
    let width = i.ty.bits();
    ((i.imm >> 8) as u32 % (128 / width) * width, width)
}

fn disjoint(a: (u32, u32), b: (u32, u32)) -> bool {
    a.0 + a.1 <= b.0 || b.0 + b.1 <= a.0
}

/// `value` with its bits as type `ty`.
fn bits_as(out: &Output, ty: Ty, value: Value) -> Simple {
    if out.ty(value) == ty {
        return Simple::Value(value);
    }
    Simple::Inst(Inst { op: Op::Bitcast, ty, args: [value, NONE, NONE], imm: 0 })
}

/// One step for `vextract`, `vlow` and `vhigh`.
pub(crate) fn extract(out: &Output, i: &Inst) -> Simple {
    let (ty, wanted) = match i.op {
        Op::Vlow => (Ty::I64, (0, 64)),
        Op::Vhigh => (Ty::I64, (64, 64)),
        _ => (i.ty, place(i)),
    };
    let of = out.inst(i.args[0]);
    match of.op {
        Op::Vinsert if place(&of) == wanted => bits_as(out, ty, of.args[1]),
        Op::Vinsert if disjoint(place(&of), wanted) => {
            Simple::Inst(Inst { args: [of.args[0], NONE, NONE], ..*i })
        }
        Op::Vpair if wanted.1 == 64 => bits_as(out, ty, of.args[usize::from(wanted.0 != 0)]),
        _ => Simple::Same,
    }
}

/// One step for `vinsert`.
pub(crate) fn insert(out: &Output, i: &Inst) -> Simple {
    let [vector, value, _] = i.args;
    let (of, from) = (out.inst(vector), out.inst(value));
    // A lane put back where it came from.
    if from.op == Op::Vextract && from.args[0] == vector && place(&from) == place(i) {
        return Simple::Value(vector);
    }
    if of.op == Op::Vinsert && place(&of) == place(i) {
        return Simple::Inst(Inst { args: [of.args[0], value, NONE], ..*i });
    }
    Simple::Same
}

#[cfg(test)]
mod tests {
    use super::*;
    use mynah_ir::Lane;

    #[test]
    fn places_are_bits() {
        let of = |lane: Lane, index: u64| {
            let imm = lane as u64 | index << 8;
            Inst { op: Op::Vextract, ty: lane.ty(), args: [NONE; 3], imm }
        };
        let (f64_1, i32_2) = (of(Lane::F64, 1), of(Lane::I32, 2));
        assert_eq!(place(&f64_1), (64, 64));
        assert_eq!(place(&i32_2), (64, 32));
        assert!(!disjoint(place(&f64_1), place(&i32_2)));
        assert!(disjoint((0, 64), place(&i32_2)));
    }
}
