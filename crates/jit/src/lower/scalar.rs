//! Scalar operations. `None` for those without a Cranelift equivalent on every host.

use super::{Lower, clif_type};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{self as clif, InstBuilder, InstructionData, MemFlagsData, types};
use mynah_guest::Guest;
use mynah_ir::fp::{Mode, Round};
use mynah_ir::{Inst, Op, Ty};

impl<G: Guest> Lower<'_, G> {
    pub(super) fn scalar(&mut self, inst: &Inst) -> Option<clif::Value> {
        let ty = clif_type(inst.ty);
        let mut arg = [self.cpu; 3];
        for (to, from) in arg.iter_mut().zip(inst.args()) {
            *to = self.value(from);
        }
        let [a, b, c] = arg;
        let from = self.b.func.dfg.value_type(a);
        Some(match inst.op {
            Op::Iconst => self.constant(inst.ty, inst.imm),
            Op::Add => self.b.ins().iadd(a, b),
            Op::Sub => self.b.ins().isub(a, b),
            Op::Mul => self.b.ins().imul(a, b),
            Op::Umulh => self.high_product(ty, a, b, false),
            Op::Smulh => self.high_product(ty, a, b, true),
            Op::Udiv | Op::Urem | Op::Sdiv | Op::Srem => self.divide(inst.op, ty, a, b),
            Op::And => self.b.ins().band(a, b),
            Op::Or => match self.unordered_or_equal(a, b) {
                Some(either) => either,
                None => self.b.ins().bor(a, b),
            },
            Op::Xor => self.b.ins().bxor(a, b),
            Op::Not if inst.ty == Ty::I1 => self.b.ins().bxor_imm_s(a, 1),
            Op::Not => self.b.ins().bnot(a),
            Op::Neg => self.b.ins().ineg(a),
            Op::Shl => self.b.ins().ishl(a, b),
            Op::Shr => self.b.ins().ushr(a, b),
            Op::Sar => self.b.ins().sshr(a, b),
            Op::Rotl => self.b.ins().rotl(a, b),
            Op::Rotr => self.b.ins().rotr(a, b),
            Op::Clz => self.in_word(ty, a, |l, x, spare| {
                let zeros = l.b.ins().clz(x);
                if spare == 0 { zeros } else { l.b.ins().iadd_imm_s(zeros, -i64::from(spare)) }
            }),
            Op::Ctz => self.in_word(ty, a, |l, x, spare| {
                let x = if spare == 0 { x } else { l.b.ins().bor_imm_s(x, 1 << (32 - spare)) };
                l.b.ins().ctz(x)
            }),
            Op::Popcnt => self.in_word(ty, a, |l, x, _| l.b.ins().popcnt(x)),
            Op::Bswap => self.b.ins().bswap(a),
            Op::Eq => self.b.ins().icmp(IntCC::Equal, a, b),
            Op::Ne => self.b.ins().icmp(IntCC::NotEqual, a, b),
            Op::Ult => self.b.ins().icmp(IntCC::UnsignedLessThan, a, b),
            Op::Ule => self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, a, b),
            Op::Slt => self.b.ins().icmp(IntCC::SignedLessThan, a, b),
            Op::Sle => self.b.ins().icmp(IntCC::SignedLessThanOrEqual, a, b),
            Op::Select => self.b.ins().select(a, b, c),
            Op::Zext if from == ty => a, // a truth value is held as a byte
            Op::Zext => self.b.ins().uextend(ty, a),
            Op::Sext if inst.imm == Ty::I1 as u64 => {
                let wide = if from == ty { a } else { self.b.ins().uextend(ty, a) };
                self.b.ins().ineg(wide)
            }
            Op::Sext => self.b.ins().sextend(ty, a),
            Op::Trunc if inst.ty == Ty::I1 => {
                let byte = if from == types::I8 { a } else { self.b.ins().ireduce(types::I8, a) };
                self.b.ins().band_imm_s(byte, 1)
            }
            Op::Trunc => self.b.ins().ireduce(ty, a),
            Op::Bitcast if from == ty => a,
            Op::Bitcast => self.b.ins().bitcast(ty, MemFlagsData::new(), a),
            Op::Fadd => self.b.ins().fadd(a, b),
            Op::Fsub => self.b.ins().fsub(a, b),
            Op::Fmul => self.b.ins().fmul(a, b),
            Op::Fdiv => self.b.ins().fdiv(a, b),
            // This form of choice is MINSS and MAXSS to Cranelift.
            Op::Fmin if cfg!(target_arch = "x86_64") => {
                let less = self.b.ins().fcmp(FloatCC::LessThan, a, b);
                self.b.ins().select(less, a, b)
            }
            Op::Fmax if cfg!(target_arch = "x86_64") => {
                let less = self.b.ins().fcmp(FloatCC::LessThan, b, a);
                self.b.ins().select(less, a, b)
            }
            Op::Fsqrt => self.b.ins().sqrt(a),
            Op::Feq => self.b.ins().fcmp(FloatCC::Equal, a, b),
            Op::Fltq => self.b.ins().fcmp(FloatCC::LessThan, a, b),
            Op::Fleq => self.b.ins().fcmp(FloatCC::LessThanOrEqual, a, b),
            Op::Funord => self.b.ins().fcmp(FloatCC::Unordered, a, b),
            Op::Flt => self.signalling(FloatCC::LessThan, a, b),
            Op::Fle => self.signalling(FloatCC::LessThanOrEqual, a, b),
            Op::Fpromote => self.b.ins().fpromote(ty, a),
            Op::Fdemote => self.b.ins().fdemote(ty, a),
            Op::Sitof32 | Op::Sitof64 => self.b.ins().fcvt_from_sint(ty, a),
            Op::F32tosi | Op::F64tosi if Round::unpack(inst.imm) == Round::ZERO => {
                self.truncate(ty, a)
            }
            Op::Fround if !Round::unpack(inst.imm).quiet => match Round::unpack(inst.imm).mode {
                Mode::Nearest => self.b.ins().nearest(a),
                Mode::Down => self.b.ins().floor(a),
                Mode::Up => self.b.ins().ceil(a),
                Mode::Zero => self.b.ins().trunc(a),
                Mode::Current => return None,
            },
            _ => return None,
        })
    }

    fn constant(&mut self, ty: Ty, bits: u64) -> clif::Value {
        match ty {
            Ty::F32 => self.b.ins().f32const(f32::from_bits(bits as u32)),
            Ty::F64 => self.b.ins().f64const(f64::from_bits(bits)),
            _ => self.b.ins().iconst(clif_type(ty), ty.sext_unless_truth(bits)),
        }
    }

    /// Applies `count` to `a` in 32 bits at least; it is told how many of them are spare.
    fn in_word(
        &mut self,
        ty: clif::Type,
        a: clif::Value,
        count: impl FnOnce(&mut Self, clif::Value, u32) -> clif::Value,
    ) -> clif::Value {
        if ty.bits() >= 32 {
            return count(self, a, 0);
        }
        let wide = self.b.ins().uextend(types::I32, a);
        let counted = count(self, wide, 32 - ty.bits());
        self.b.ins().ireduce(ty, counted)
    }

    fn high_product(
        &mut self,
        ty: clif::Type,
        a: clif::Value,
        b: clif::Value,
        signed: bool,
    ) -> clif::Value {
        if ty == types::I64 {
            return if signed { self.b.ins().smulhi(a, b) } else { self.b.ins().umulhi(a, b) };
        }
        let widen = |l: &mut Self, x| {
            if signed { l.b.ins().sextend(types::I64, x) } else { l.b.ins().uextend(types::I64, x) }
        };
        let (a, b) = (widen(self, a), widen(self, b));
        let product = self.b.ins().imul(a, b);
        let high = self.b.ins().ushr_imm_u(product, i64::from(ty.bits()));
        self.b.ins().ireduce(ty, high)
    }

    /// Division without traps: where the divisor is 0 or the quotient overflows, 1 is divided by.
    fn divide(&mut self, op: Op, ty: clif::Type, a: clif::Value, b: clif::Value) -> clif::Value {
        let signed = matches!(op, Op::Sdiv | Op::Srem);
        if ty.bits() < 32 {
            let widen = |l: &mut Self, x| {
                if signed {
                    l.b.ins().sextend(types::I32, x)
                } else {
                    l.b.ins().uextend(types::I32, x)
                }
            };
            let (a, b) = (widen(self, a), widen(self, b));
            let result = self.divide(op, types::I32, a, b);
            return self.b.ins().ireduce(ty, result);
        }
        let zero = self.b.ins().icmp_imm_s(IntCC::Equal, b, 0);
        let one = self.b.ins().iconst(ty, 1);
        let mut replace = zero;
        if signed {
            let least = if ty == types::I64 { i64::MIN } else { i64::from(i32::MIN) };
            let is_least = self.b.ins().icmp_imm_s(IntCC::Equal, a, least);
            let minus_one = self.b.ins().icmp_imm_s(IntCC::Equal, b, -1);
            let overflows = self.b.ins().band(is_least, minus_one);
            replace = self.b.ins().bor(zero, overflows);
        }
        let divisor = self.b.ins().select(replace, one, b);
        match op {
            Op::Udiv | Op::Sdiv => {
                let quotient = if signed {
                    self.b.ins().sdiv(a, divisor)
                } else {
                    self.b.ins().udiv(a, divisor)
                };
                let ones = self.b.ins().iconst(ty, -1);
                self.b.ins().select(zero, ones, quotient)
            }
            _ => {
                let rest = if signed {
                    self.b.ins().srem(a, divisor)
                } else {
                    self.b.ins().urem(a, divisor)
                };
                self.b.ins().select(zero, a, rest)
            }
        }
    }

    /// The disjunction of "equal" and "unordered" of the same floats, which is one comparison.
    fn unordered_or_equal(&mut self, a: clif::Value, b: clif::Value) -> Option<clif::Value> {
        let comparison = |value| {
            let inst = self.b.func.dfg.value_def(value).inst()?;
            match self.b.func.dfg.insts[inst] {
                InstructionData::FloatCompare { args, cond, .. } => Some((args, cond)),
                _ => None,
            }
        };
        match (comparison(a)?, comparison(b)?) {
            ((x, FloatCC::Equal), (y, FloatCC::Unordered)) if x == y => {
                Some(self.b.ins().fcmp(FloatCC::UnorderedOrEqual, x[0], x[1]))
            }
            _ => None,
        }
    }

    /// A comparison for which every NaN is invalid. The vector comparison is such a one on x86;
    /// the scalar one is not.
    fn signalling(&mut self, cc: FloatCC, a: clif::Value, b: clif::Value) -> clif::Value {
        let ty = self.b.func.dfg.value_type(a);
        let vector = if ty == types::F32 { types::F32X4 } else { types::F64X2 };
        let a = self.b.ins().scalar_to_vector(vector, a);
        let b = self.b.ins().scalar_to_vector(vector, b);
        let mask = self.b.ins().fcmp(cc, a, b);
        let lane = self.b.ins().extractlane(mask, 0);
        let byte = self.b.ins().ireduce(types::I8, lane);
        self.b.ins().band_imm_s(byte, 1)
    }

    /// Toward zero; the least integer for a NaN or what does not fit.
    fn truncate(&mut self, ty: clif::Type, a: clif::Value) -> clif::Value {
        if cfg!(target_arch = "x86_64") && ty == types::I32 {
            return self.truncate_lane(a);
        }
        let saturated = self.b.ins().fcvt_to_sint_sat(ty, a);
        // Compared as integers, which touches no flags: the magnitude with 2^(width − 1).
        let power = (1u64 << (ty.bits() - 1)) as f64;
        let (int, limit) = if self.b.func.dfg.value_type(a) == types::F32 {
            (types::I32, i64::from((power as f32).to_bits()))
        } else {
            (types::I64, power.to_bits() as i64)
        };
        let bits = self.b.ins().bitcast(int, MemFlagsData::new(), a);
        let doubled = self.b.ins().ishl_imm_u(bits, 1);
        let magnitude = self.b.ins().ushr_imm_u(doubled, 1);
        let limit = self.b.ins().iconst(int, limit);
        let fits = self.b.ins().icmp(IntCC::UnsignedLessThan, magnitude, limit);
        let least = if ty == types::I64 { i64::MIN } else { i64::from(i32::MIN) };
        let least = self.b.ins().iconst(ty, least);
        self.b.ins().select(fits, saturated, least)
    }

    /// To 32 bits, by the packed conversion, whose result is the least integer where none fits.
    fn truncate_lane(&mut self, a: clif::Value) -> clif::Value {
        let lanes = if self.b.func.dfg.value_type(a) == types::F32 {
            let vector = self.b.ins().scalar_to_vector(types::F32X4, a);
            self.b.ins().x86_cvtt2dq(types::I32X4, vector)
        } else {
            let vector = self.b.ins().scalar_to_vector(types::F64X2, a);
            let wide = self.b.ins().x86_cvtt2dq(types::I64X2, vector);
            let zero = self.b.func.dfg.constants.insert([0; 16].as_slice().into());
            let zero = self.b.ins().vconst(types::I64X2, zero);
            self.b.ins().snarrow(wide, zero)
        };
        self.b.ins().extractlane(lanes, 0)
    }
}
