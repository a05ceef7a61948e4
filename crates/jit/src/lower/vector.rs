//! Vector operations. `None` for those that are left to their evaluators.
//!
//! Guest vectors are held as `I8X16`; a change of lane shape costs nothing. Floating point and what
//! only x86 has is lowered on x86-64 hosts alone: there Cranelift's choice of instruction is the SSE
//! instruction itself, with its NaNs, rounding and flags.

use super::Lower;
use super::memory::little;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::V128Imm;
use cranelift_codegen::ir::{self as clif, ConstantData, InstBuilder, InstructionData, types};
use mynah_guest::Guest;
use mynah_ir::fp::{Mode, Predicate, Round};
use mynah_ir::{Effect, Inst, Lane, Op, Ty};

/// Whether the host is an x86-64.
const X86: bool = cfg!(target_arch = "x86_64");

/// The Cranelift type of a vector of such lanes.
fn shape(lane: Lane) -> clif::Type {
    match lane {
        Lane::I8 => types::I8X16,
        Lane::I16 => types::I16X8,
        Lane::I32 => types::I32X4,
        Lane::I64 => types::I64X2,
        Lane::F32 => types::F32X4,
        Lane::F64 => types::F64X2,
    }
}

impl<G: Guest> Lower<'_, G> {
    pub(super) fn vector(&mut self, inst: &Inst) -> Option<clif::Value> {
        let on_lanes = matches!(inst.op, Op::Vsplat | Op::Vextract | Op::Vinsert);
        if inst.ty != Ty::V128 && !on_lanes {
            return None;
        }
        let mut arg = [self.cpu; 3];
        for (to, from) in arg.iter_mut().zip(inst.args()) {
            *to = self.value(from);
        }
        let [a, b, c] = arg;
        let lane = Lane::unpack(inst.imm);
        let param = inst.imm >> 8;
        let result = match inst.op {
            Op::Vpair => self.pair(a, b),
            Op::Vlow => return Some(self.extract(Lane::I64, a, 0)),
            Op::Vhigh => return Some(self.extract(Lane::I64, a, 1)),
            Op::Vsplat => self.b.ins().splat(shape(lane), a),
            Op::Vextract => return Some(self.extract(lane, a, param)),
            Op::Vinsert => self.insert(lane, a, b, param),
            Op::Vmask => {
                let a = self.lanes(lane, a);
                return Some(self.b.ins().vhigh_bits(types::I64, a));
            }
            Op::Vand => self.b.ins().band(a, b),
            Op::Vor => self.b.ins().bor(a, b),
            Op::Vxor => self.b.ins().bxor(a, b),
            Op::Vandn => self.b.ins().band_not(b, a),
            Op::Vblend if X86 && lane != Lane::I16 => {
                let [a, b, c] = [a, b, c].map(|v| self.lanes(lane.as_int(), v));
                self.b.ins().blendv(a, b, c)
            }
            Op::Vswizzle if X86 => self.b.ins().x86_pshufb(a, b),
            Op::Vshuffle | Op::Valign | Op::Vziplow | Op::Vziphigh => self.shuffle(inst, a, b),
            Op::Vfmin | Op::Vfmax | Op::Vfcmp => self.compare_floats(inst, a, b)?,
            Op::Vshl | Op::Vshr | Op::Vsar => self.shift(inst.op, lane, a, b)?,
            _ => {
                let is_float = inst.op.info().effect == Effect::Float;
                let lane = if is_float { lane } else { lane.as_int() };
                let a = self.lanes(argument_lane(inst.op, lane), a);
                let b = match inst.args().count() {
                    2 => self.lanes(argument_lane(inst.op, lane), b),
                    _ => a,
                };
                self.lane_wise(inst, lane, a, b).or_else(|| self.float(inst, lane, a, b))?
            }
        };
        Some(self.opaque(result))
    }

    /// A vector seen as lanes.
    fn lanes(&mut self, lane: Lane, vector: clif::Value) -> clif::Value {
        let ty = shape(lane);
        if self.b.func.dfg.value_type(vector) == ty {
            return vector;
        }
        self.b.ins().bitcast(ty, little(), vector)
    }

    /// A vector of any lanes as the type that holds guest vectors.
    fn opaque(&mut self, vector: clif::Value) -> clif::Value {
        self.lanes(Lane::I8, vector)
    }

    /// The constant that `value` is, if it is one.
    fn known(&self, value: clif::Value) -> Option<i64> {
        let inst = self.b.func.dfg.value_def(value).inst()?;
        match self.b.func.dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: clif::Opcode::Iconst, imm } => Some(imm.bits()),
            _ => None,
        }
    }

    fn is_zero(&self, vector: clif::Value) -> bool {
        let Some(inst) = self.b.func.dfg.value_def(vector).inst() else { return false };
        match self.b.func.dfg.insts[inst] {
            InstructionData::UnaryConst { opcode: clif::Opcode::Vconst, constant_handle } => {
                let bytes = self.b.func.dfg.constants.get(constant_handle);
                bytes.iter().all(|&byte| byte == 0)
            }
            _ => false,
        }
    }

    fn vconst(&mut self, lane: Lane, bits: u128) -> clif::Value {
        let bytes = bits.to_le_bytes();
        let handle = self.b.func.dfg.constants.insert(ConstantData::from(bytes.as_slice()));
        self.b.ins().vconst(shape(lane), handle)
    }

    fn pair(&mut self, low: clif::Value, high: clif::Value) -> clif::Value {
        match (self.known(low), self.known(high)) {
            (Some(low), Some(high)) => {
                let bits = u128::from(low as u64) | u128::from(high as u64) << 64;
                self.vconst(Lane::I8, bits)
            }
            (None, Some(0)) => self.b.ins().scalar_to_vector(types::I64X2, low),
            _ => {
                let low = self.b.ins().scalar_to_vector(types::I64X2, low);
                self.b.ins().insertlane(low, high, 1)
            }
        }
    }

    fn extract(&mut self, lane: Lane, vector: clif::Value, index: u64) -> clif::Value {
        let vector = self.lanes(lane, vector);
        self.b.ins().extractlane(vector, (index % u64::from(lane.count())) as u8)
    }

    fn insert(
        &mut self,
        lane: Lane,
        vector: clif::Value,
        value: clif::Value,
        index: u64,
    ) -> clif::Value {
        if index == 0 && self.is_zero(vector) {
            return self.b.ins().scalar_to_vector(shape(lane), value);
        }
        let vector = self.lanes(lane, vector);
        self.b.ins().insertlane(vector, value, (index % u64::from(lane.count())) as u8)
    }

    /// The operations that choose bytes of two vectors by constants.
    fn shuffle(&mut self, inst: &Inst, a: clif::Value, b: clif::Value) -> clif::Value {
        let bytes = chosen_bytes(inst).expect("the operation chooses bytes");
        if bytes == IDENTITY {
            return a;
        }
        if bytes == IDENTITY.map(|i| i + 16) {
            return b;
        }
        let (a, b) = (self.opaque(a), self.opaque(b));
        let mask = self.b.func.dfg.immediates.push(V128Imm(bytes).0.as_slice().into());
        self.b.ins().shuffle(a, b, mask)
    }

    /// Shifts all lanes by a scalar. Cranelift takes it modulo the width, the guest does not.
    fn shift(
        &mut self,
        op: Op,
        lane: Lane,
        a: clif::Value,
        by: clif::Value,
    ) -> Option<clif::Value> {
        if lane == Lane::I8 {
            return None;
        }
        let lane = lane.as_int();
        let a = self.lanes(lane, a);
        let width = i64::from(lane.ty().bits());
        let known = self.known(by).map(|by| by as u64);
        let is_large = known.map(|by| by >= width as u64);
        if op == Op::Vsar {
            let by = match is_large {
                Some(false) => by,
                Some(true) => self.b.ins().iconst(types::I64, width - 1),
                None => {
                    let most = self.b.ins().iconst(types::I64, width - 1);
                    self.b.ins().umin(by, most)
                }
            };
            return Some(self.b.ins().sshr(a, by));
        }
        if is_large == Some(true) {
            return Some(self.vconst(lane, 0));
        }
        let shifted =
            if op == Op::Vshl { self.b.ins().ishl(a, by) } else { self.b.ins().ushr(a, by) };
        if is_large == Some(false) {
            return Some(shifted);
        }
        let small = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, by, width);
        let small = self.b.ins().uextend(types::I64, small);
        let ones = self.b.ins().ineg(small);
        let mask = self.b.ins().splat(types::I64X2, ones);
        let mask = self.lanes(lane, mask);
        Some(self.b.ins().band(shifted, mask))
    }

    /// Integer operations on lanes.
    fn lane_wise(
        &mut self,
        inst: &Inst,
        lane: Lane,
        a: clif::Value,
        b: clif::Value,
    ) -> Option<clif::Value> {
        let saturates = matches!(lane, Lane::I8 | Lane::I16);
        let orders = matches!(lane, Lane::I8 | Lane::I16 | Lane::I32);
        Some(match inst.op {
            Op::Vadd => self.b.ins().iadd(a, b),
            Op::Vsub => self.b.ins().isub(a, b),
            Op::Vadds if saturates => self.b.ins().sadd_sat(a, b),
            Op::Vaddu if saturates => self.b.ins().uadd_sat(a, b),
            Op::Vsubs if saturates => self.b.ins().ssub_sat(a, b),
            Op::Vsubu if saturates => self.b.ins().usub_sat(a, b),
            Op::Vmul if lane != Lane::I8 => self.b.ins().imul(a, b),
            Op::Vmulhs if lane == Lane::I16 => {
                let (low, high) = self.wide_products(a, b, Sign::Signed);
                let [low, high] = [low, high].map(|v| self.b.ins().sshr_imm_u(v, 16));
                self.b.ins().snarrow(low, high)
            }
            Op::Vmulhu if lane == Lane::I16 => {
                let (low, high) = self.wide_products(a, b, Sign::Unsigned);
                let [low, high] = [low, high].map(|v| self.b.ins().ushr_imm_u(v, 16));
                self.b.ins().unarrow(low, high)
            }
            Op::Vmulr if X86 => self.b.ins().x86_pmulhrsw(a, b),
            Op::Vmuls => {
                let [a, b] = [a, b].map(|v| {
                    let v = self.even(v);
                    self.b.ins().swiden_low(v)
                });
                self.b.ins().imul(a, b)
            }
            Op::Vmulu => {
                let [a, b] = [a, b].map(|v| {
                    let v = self.even(v);
                    self.b.ins().uwiden_low(v)
                });
                self.b.ins().imul(a, b)
            }
            Op::Vdots => {
                let (low, high) = self.wide_products(a, b, Sign::Signed);
                self.b.ins().iadd_pairwise(low, high)
            }
            Op::Vdotus if X86 => self.b.ins().x86_pmaddubsw(b, a),
            Op::Vavg if saturates => self.b.ins().avg_round(a, b),
            Op::Vmins if orders => self.b.ins().smin(a, b),
            Op::Vminu if orders => self.b.ins().umin(a, b),
            Op::Vmaxs if orders => self.b.ins().smax(a, b),
            Op::Vmaxu if orders => self.b.ins().umax(a, b),
            Op::Vabs => self.b.ins().iabs(a),
            Op::Veq => self.b.ins().icmp(IntCC::Equal, a, b),
            Op::Vgts => self.b.ins().icmp(IntCC::SignedGreaterThan, a, b),
            Op::Vpacks if matches!(lane, Lane::I16 | Lane::I32) => self.b.ins().snarrow(a, b),
            Op::Vpacku if matches!(lane, Lane::I16 | Lane::I32) => self.b.ins().unarrow(a, b),
            Op::Vwidens if orders => self.b.ins().swiden_low(a),
            Op::Vwidenu if orders => self.b.ins().uwiden_low(a),
            Op::Vsad => self.sum_differences(a, b),
            _ => return None,
        })
    }

    /// The 32-bit products of 16-bit lanes: of the low half, and of the high half.
    fn wide_products(
        &mut self,
        a: clif::Value,
        b: clif::Value,
        sign: Sign,
    ) -> (clif::Value, clif::Value) {
        let mut widen = |v| match sign {
            Sign::Signed => (self.b.ins().swiden_low(v), self.b.ins().swiden_high(v)),
            Sign::Unsigned => (self.b.ins().uwiden_low(v), self.b.ins().uwiden_high(v)),
        };
        let ((a_low, a_high), (b_low, b_high)) = (widen(a), widen(b));
        (self.b.ins().imul(a_low, b_low), self.b.ins().imul(a_high, b_high))
    }

    /// The even 32-bit lanes, in the low half.
    fn even(&mut self, v: clif::Value) -> clif::Value {
        let v = self.opaque(v);
        let bytes = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
        let mask = self.b.func.dfg.immediates.push(bytes.as_slice().into());
        let picked = self.b.ins().shuffle(v, v, mask);
        self.lanes(Lane::I32, picked)
    }

    fn sum_differences(&mut self, a: clif::Value, b: clif::Value) -> clif::Value {
        let above = self.b.ins().usub_sat(a, b);
        let below = self.b.ins().usub_sat(b, a);
        let bytes = self.b.ins().bor(above, below);
        let (low, high) = (self.b.ins().uwiden_low(bytes), self.b.ins().uwiden_high(bytes));
        let words = self.b.ins().iadd_pairwise(low, high);
        // No sum has more than 11 bits, so signed widening, which costs less, will do.
        let (low, high) = (self.b.ins().swiden_low(words), self.b.ins().swiden_high(words));
        let dwords = self.b.ins().iadd_pairwise(low, high);
        let odd = self.lanes(Lane::I64, dwords);
        let odd = self.b.ins().ushr_imm_u(odd, 32);
        let odd = self.lanes(Lane::I32, odd);
        let sums = self.b.ins().iadd(dwords, odd);
        let sums = self.lanes(Lane::I64, sums);
        let mask = self.vconst(Lane::I64, 0xffff_ffff << 64 | 0xffff_ffff);
        self.b.ins().band(sums, mask)
    }

    /// Floating-point operations on lanes.
    fn float(
        &mut self,
        inst: &Inst,
        lane: Lane,
        a: clif::Value,
        b: clif::Value,
    ) -> Option<clif::Value> {
        if !X86 {
            return None;
        }
        let round = Round::unpack(inst.imm >> 8);
        Some(match inst.op {
            Op::Vfadd => self.b.ins().fadd(a, b),
            Op::Vfsub => self.b.ins().fsub(a, b),
            Op::Vfmul => self.b.ins().fmul(a, b),
            Op::Vfdiv => self.b.ins().fdiv(a, b),
            Op::Vfsqrt => self.b.ins().sqrt(a),
            Op::Vfround if !round.quiet => match round.mode {
                Mode::Nearest => self.b.ins().nearest(a),
                Mode::Down => self.b.ins().floor(a),
                Mode::Up => self.b.ins().ceil(a),
                Mode::Zero => self.b.ins().trunc(a),
                Mode::Current => return None,
            },
            Op::Vsitof if lane == Lane::F32 => self.b.ins().fcvt_from_sint(types::F32X4, a),
            Op::Vsitof => {
                let wide = self.b.ins().swiden_low(a);
                self.b.ins().fcvt_from_sint(types::F64X2, wide)
            }
            Op::Vftosi if round == Round::ZERO && lane == Lane::F32 => {
                self.b.ins().x86_cvtt2dq(types::I32X4, a)
            }
            Op::Vftosi if round == Round::ZERO => {
                let wide = self.b.ins().x86_cvtt2dq(types::I64X2, a);
                let zero = self.vconst(Lane::I64, 0);
                self.b.ins().snarrow(wide, zero)
            }
            Op::Vfpromote => self.b.ins().fvpromote_low(a),
            Op::Vfdemote => self.b.ins().fvdemote(a),
            _ => return None,
        })
    }

    /// Packed comparisons, and the lesser and greater lanes that they choose.
    fn compare_floats(
        &mut self,
        inst: &Inst,
        a: clif::Value,
        b: clif::Value,
    ) -> Option<clif::Value> {
        if !X86 {
            return None;
        }
        let lane = Lane::unpack(inst.imm);
        let (a, b) = (self.lanes(lane, a), self.lanes(lane, b));
        let cc = match inst.op {
            Op::Vfcmp => match Predicate::unpack(inst.imm >> 8) {
                Predicate::Equal => FloatCC::Equal,
                Predicate::Less => FloatCC::LessThan,
                Predicate::LessOrEqual => FloatCC::LessThanOrEqual,
                Predicate::Unordered => FloatCC::Unordered,
                Predicate::NotEqual => FloatCC::NotEqual,
                Predicate::NotLess => FloatCC::UnorderedOrGreaterThanOrEqual,
                Predicate::NotLessOrEqual => FloatCC::UnorderedOrGreaterThan,
                Predicate::Ordered => FloatCC::Ordered,
            },
            _ => FloatCC::LessThan,
        };
        // This form of choice is MINPS and MAXPS to Cranelift.
        let order = if inst.op == Op::Vfmax { (b, a) } else { (a, b) };
        let mask = self.b.ins().fcmp(cc, order.0, order.1);
        if inst.op == Op::Vfcmp {
            return Some(mask);
        }
        let mask = self.b.ins().bitcast(shape(lane), little(), mask);
        Some(self.b.ins().bitselect(mask, a, b))
    }
}

/// The bytes that a shuffle chooses, counted through its first argument and then its second.
pub(super) fn chosen_bytes(inst: &Inst) -> Option<[u8; 16]> {
    if !matches!(inst.op, Op::Vshuffle | Op::Valign | Op::Vziplow | Op::Vziphigh) {
        return None;
    }
    let lane = Lane::unpack(inst.imm);
    let param = inst.imm >> 8;
    let (width, count) = (16 / lane.count(), lane.count());
    let of_lanes = |index: &dyn Fn(u32) -> u32| -> [u8; 16] {
        std::array::from_fn(|i| (index(i as u32 / width) * width + i as u32 % width) as u8)
    };
    let alternately = |from: u32| of_lanes(&|i| from + i / 2 + i % 2 * count);
    Some(match inst.op {
        Op::Vziplow => alternately(0),
        Op::Vziphigh => alternately(count / 2),
        Op::Valign => std::array::from_fn(|i| i as u8 + param.min(16) as u8),
        _ => of_lanes(&|i| (param >> (4 * i)) as u32 % (2 * count)),
    })
}

const IDENTITY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

#[derive(Clone, Copy)]
enum Sign {
    Signed,
    Unsigned,
}

/// The lanes of an operation's arguments.
fn argument_lane(op: Op, lane: Lane) -> Lane {
    match op {
        Op::Vmulr | Op::Vdots => Lane::I16,
        Op::Vmuls | Op::Vmulu | Op::Vsitof => Lane::I32,
        Op::Vdotus | Op::Vsad => Lane::I8,
        Op::Vfpromote | Op::Vfrecip | Op::Vfrsqrt => Lane::F32,
        Op::Vfdemote => Lane::F64,
        _ => lane,
    }
}
