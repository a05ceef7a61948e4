//! Operations that Cranelift does not lower: compiled code calls their evaluators.
//!
//! Arguments and result pass through [`Core::scratch`] (0–2 and 3).

use mynah_guest::Core;
use mynah_ir::ops::{Op, ScalarOp, VectorOp, Visitor};
use mynah_ir::{Args, Ty};
use std::sync::OnceLock;

/// An operation on `core.scratch`.
pub(crate) type Thunk = extern "C" fn(core: &mut Core, imm: u64, ty: u64);

extern "C" fn scalar<O: ScalarOp>(core: &mut Core, imm: u64, ty: u64) {
    let [a, b, c, _] = core.scratch;
    let ty = Ty::ALL[ty as usize % Ty::ALL.len()];
    let x = Args { ty, imm, a: a as u64, b: b as u64, c: c as u64 };
    core.scratch[3] = O::eval(x).into();
}

extern "C" fn vector<O: VectorOp>(core: &mut Core, imm: u64, ty: u64) {
    let [a, b, c, _] = core.scratch;
    let ty = Ty::ALL[ty as usize % Ty::ALL.len()];
    core.scratch[3] = O::eval(Args { ty, imm, a, b, c });
}

extern "C" fn none(_: &mut Core, _: u64, _: u64) {
    panic!("compiled code called the thunk of an operation without an evaluator");
}

struct Address;

impl Visitor for Address {
    type Out = Thunk;
    fn scalar<O: ScalarOp>(self) -> Thunk {
        scalar::<O>
    }
    fn vector<O: VectorOp>(self) -> Thunk {
        vector::<O>
    }
    fn other(self) -> Thunk {
        none
    }
}

/// The table that [`Core::thunks`] points to, indexed by [`Op`].
pub(crate) fn table() -> &'static [Thunk] {
    static TABLE: OnceLock<Vec<Thunk>> = OnceLock::new();
    TABLE.get_or_init(|| Op::ALL.iter().map(|op| op.visit(Address)).collect())
}
