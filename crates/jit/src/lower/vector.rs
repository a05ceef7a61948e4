//! Vector operations. `None` for those that are left to their evaluators.

use super::Lower;
use super::memory::little;
use cranelift_codegen::ir::{self as clif, InstBuilder, types};
use mynah_guest::Guest;
use mynah_ir::{Inst, Op};

impl<G: Guest> Lower<'_, G> {
    pub(super) fn vector(&mut self, inst: &Inst) -> Option<clif::Value> {
        let mut arg = [self.cpu; 3];
        for (to, from) in arg.iter_mut().zip(inst.args()) {
            *to = self.value(from);
        }
        let [a, b, _] = arg;
        Some(match inst.op {
            Op::Vpair => {
                let low = self.b.ins().scalar_to_vector(types::I64X2, a);
                let both = self.b.ins().insertlane(low, b, 1);
                self.opaque(both)
            }
            Op::Vlow => {
                let lanes = self.lanes(types::I64X2, a);
                self.b.ins().extractlane(lanes, 0)
            }
            Op::Vhigh => {
                let lanes = self.lanes(types::I64X2, a);
                self.b.ins().extractlane(lanes, 1)
            }
            Op::Vand => self.b.ins().band(a, b),
            Op::Vor => self.b.ins().bor(a, b),
            Op::Vxor => self.b.ins().bxor(a, b),
            Op::Vandn => self.b.ins().band_not(b, a),
            _ => return None,
        })
    }

    /// A vector seen as lanes of type `ty`.
    fn lanes(&mut self, ty: clif::Type, vector: clif::Value) -> clif::Value {
        self.b.ins().bitcast(ty, little(), vector)
    }

    /// A vector of any lanes as the type that holds guest vectors.
    fn opaque(&mut self, vector: clif::Value) -> clif::Value {
        if self.b.func.dfg.value_type(vector) == types::I8X16 {
            return vector;
        }
        self.b.ins().bitcast(types::I8X16, little(), vector)
    }
}
