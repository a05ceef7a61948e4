//! The shape of an address: what a memory step computes by itself.

use mynah_ir::{Block, NONE, Op, Ty, Value};

/// base + (index << shift) + disp, modulo 2⁶⁴; base or index may be absent, base only with index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) base: Value,
    pub(crate) index: Value,
    pub(crate) shift: u16,
    pub(crate) disp: u64,
}

impl Address {
    /// The parts of the address `value`.
    pub(crate) fn of(block: &Block, value: Value) -> Address {
        let (value, disp) = split(block, value);
        let alone = Address { base: value, index: NONE, shift: 0, disp };
        let Some([a, b]) = sum(block, value) else { return alone };
        let ((a, da), (b, db)) = (split(block, a), split(block, b));
        let disp = disp.wrapping_add(da).wrapping_add(db);
        if a == NONE || b == NONE {
            let base = if a == NONE { b } else { a };
            return Address { base, disp, ..alone };
        }
        if let Some((index, shift)) = shifted(block, b) {
            Address { base: a, index, shift, disp }
        } else if let Some((index, shift)) = shifted(block, a) {
            Address { base: b, index, shift, disp }
        } else {
            Address { base: a, index: b, shift: 0, disp }
        }
    }

    /// The parts that are values.
    pub(crate) fn values(self) -> impl Iterator<Item = Value> {
        [self.base, self.index].into_iter().filter(|&v| v != NONE)
    }
}

/// `value` as another value, if there is more to it than a constant, plus a constant.
fn split(block: &Block, mut value: Value) -> (Value, u64) {
    let mut disp = 0u64;
    loop {
        if let Some(c) = constant(block, value) {
            return (NONE, disp.wrapping_add(c));
        }
        let Some([a, b]) = sum(block, value) else { return (value, disp) };
        let (rest, c) = match (constant(block, a), constant(block, b)) {
            (_, Some(c)) => (a, c),
            (Some(c), _) => (b, c),
            _ => return (value, disp),
        };
        disp = disp.wrapping_add(c);
        value = rest;
    }
}

/// The constant that `value` is.
pub(crate) fn constant(block: &Block, value: Value) -> Option<u64> {
    let inst = block.insts.get(value.index())?;
    (inst.op == Op::Iconst).then_some(inst.imm)
}

fn sum(block: &Block, value: Value) -> Option<[Value; 2]> {
    let inst = block.insts.get(value.index())?;
    (inst.op == Op::Add && inst.ty == Ty::I64).then_some([inst.args[0], inst.args[1]])
}

fn shifted(block: &Block, value: Value) -> Option<(Value, u16)> {
    let inst = block.insts.get(value.index())?;
    if inst.op != Op::Shl || inst.ty != Ty::I64 {
        return None;
    }
    Some((inst.args[0], (constant(block, inst.args[1])? & 63) as u16))
}
