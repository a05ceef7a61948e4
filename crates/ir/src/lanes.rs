//! Builder methods for the vector operations.

use crate::fp::{Predicate, Round};
use crate::{Builder, Lane, Op, Ty, V};

impl Builder {
    /// The vector whose low half is `low` and whose high half is `high`.
    pub fn vpair<'b>(&'b self, low: V<'b>, high: V<'b>) -> V<'b> {
        self.op(Op::Vpair, Ty::V128, &[low, high], 0)
    }
}

macro_rules! lane_unary {
    ($($(#[doc = $doc:literal])+ $name:ident $op:ident;)*) => {$(
        $(#[doc = $doc])+
        #[must_use]
        pub fn $name(self, lane: Lane) -> V<'b> {
            self.lanes(Op::$op, &[], lane, 0)
        }
    )*};
}

macro_rules! lane_binary {
    ($($(#[doc = $doc:literal])+ $name:ident $op:ident;)*) => {$(
        $(#[doc = $doc])+
        #[must_use]
        pub fn $name(self, other: V<'b>, lane: Lane) -> V<'b> {
            self.lanes(Op::$op, &[other], lane, 0)
        }
    )*};
}

macro_rules! whole {
    ($($(#[doc = $doc:literal])+ $name:ident($($other:ident)?) $op:ident;)*) => {$(
        $(#[doc = $doc])+
        #[must_use]
        pub fn $name(self $(, $other: V<'b>)?) -> V<'b> {
            self.builder.op(Op::$op, Ty::V128, &[self $(, $other)?], 0)
        }
    )*};
}

impl<'b> V<'b> {
    lane_unary! {
        /// The low half's signed lanes, twice as wide.
        vwidens Vwidens;
        /// The low half's unsigned lanes, twice as wide.
        vwidenu Vwidenu;
        /// Absolute values.
        vabs Vabs;
        /// The signs of the lanes as an integer.
        vmask Vmask;
        /// Square roots.
        vfsqrt Vfsqrt;
        /// Signed 32-bit integers as floats of this shape.
        vsitof Vsitof;
    }

    lane_binary! {
        /// The low halves' lanes alternately.
        vziplow Vziplow;
        /// The high halves' lanes alternately.
        vziphigh Vziphigh;
        /// Signed lanes at half the width, saturating.
        vpacks Vpacks;
        /// Signed lanes as unsigned ones of half the width, saturating.
        vpacku Vpacku;
        /// Sums.
        vadd Vadd;
        /// Differences.
        vsub Vsub;
        /// Signed saturating sums.
        vadds Vadds;
        /// Unsigned saturating sums.
        vaddu Vaddu;
        /// Signed saturating differences.
        vsubs Vsubs;
        /// Unsigned saturating differences.
        vsubu Vsubu;
        /// Low halves of the products.
        vmul Vmul;
        /// High halves of the signed products.
        vmulhs Vmulhs;
        /// High halves of the unsigned products.
        vmulhu Vmulhu;
        /// Unsigned means.
        vavg Vavg;
        /// The lesser lanes, signed.
        vmins Vmins;
        /// The lesser lanes, unsigned.
        vminu Vminu;
        /// The greater lanes, signed.
        vmaxs Vmaxs;
        /// The greater lanes, unsigned.
        vmaxu Vmaxu;
        /// All ones where equal.
        veq Veq;
        /// All ones where self is greater, signed.
        vgts Vgts;
        /// Lanes shifted left by a scalar.
        vshl Vshl;
        /// Lanes shifted right by a scalar, zeros entering.
        vshr Vshr;
        /// Lanes shifted right by a scalar, signs entering.
        vsar Vsar;
        /// Float sums.
        vfadd Vfadd;
        /// Float differences.
        vfsub Vfsub;
        /// Float products.
        vfmul Vfmul;
        /// Float quotients.
        vfdiv Vfdiv;
        /// The lesser floats; the second if unordered or equal.
        vfmin Vfmin;
        /// The greater floats; the second if unordered or equal.
        vfmax Vfmax;
        /// Float differences in even lanes, sums in odd ones.
        vfaddsub Vfaddsub;
    }

    whole! {
        /// Bytes of self chosen by `index`.
        vswizzle(index) Vswizzle;
        /// Rounded and scaled signed 16-bit products.
        vmulr(other) Vmulr;
        /// Signed products of even 32-bit lanes.
        vmuls(other) Vmuls;
        /// Unsigned products of even 32-bit lanes.
        vmulu(other) Vmulu;
        /// Sums of adjacent signed 16-bit products.
        vdots(other) Vdots;
        /// Saturating sums of adjacent products of unsigned and signed bytes.
        vdotus(other) Vdotus;
        /// Sums of absolute differences of each half's bytes.
        vsad(other) Vsad;
        /// The least unsigned 16-bit lane and its index.
        vleast() Vleast;
        /// Approximate reciprocals of binary32 lanes.
        vfrecip() Vfrecip;
        /// Approximate reciprocal square roots of binary32 lanes.
        vfrsqrt() Vfrsqrt;
        /// The low two binary32 as binary64.
        vfpromote() Vfpromote;
        /// The two binary64 as binary32, zeros above.
        vfdemote() Vfdemote;
    }

    /// A vector of this in every lane; the lane shape is that of its type.
    #[must_use]
    pub fn vsplat(self, lane: Lane) -> V<'b> {
        self.builder.op(Op::Vsplat, lane.ty(), &[self], lane as u64)
    }

    /// Lane `index`.
    #[must_use]
    pub fn vextract(self, lane: Lane, index: u32) -> V<'b> {
        self.builder.op(Op::Vextract, lane.ty(), &[self], lane as u64 | u64::from(index) << 8)
    }

    /// This with lane `index` replaced by `value`.
    #[must_use]
    pub fn vinsert(self, lane: Lane, index: u32, value: V<'b>) -> V<'b> {
        let imm = lane as u64 | u64::from(index) << 8;
        self.builder.op(Op::Vinsert, lane.ty(), &[self, value], imm)
    }

    /// `yes` in the lanes whose sign is set here, else `no`.
    #[must_use]
    pub fn vblend(self, yes: V<'b>, no: V<'b>, lane: Lane) -> V<'b> {
        self.lanes(Op::Vblend, &[yes, no], lane, 0)
    }

    /// Lanes of this and `other` by index, this one's first; as many as the shape has, not bytes.
    #[must_use]
    pub fn vshuffle(self, other: V<'b>, lane: Lane, indices: &[u32]) -> V<'b> {
        assert!(lane != Lane::I8 && indices.len() == lane.count() as usize);
        let choice = indices.iter().rev().fold(0, |sum, &i| sum << 4 | u64::from(i));
        self.lanes(Op::Vshuffle, &[other], lane, choice)
    }

    /// The 16 bytes from byte `from` (0–16) of this and, above it, `high`.
    #[must_use]
    pub fn valign(self, high: V<'b>, from: u32) -> V<'b> {
        self.lanes(Op::Valign, &[high], Lane::I8, from.into())
    }

    /// Sums of absolute differences of byte groups, as MPSADBW's immediate says.
    #[must_use]
    pub fn vmsad(self, other: V<'b>, groups: u64) -> V<'b> {
        self.lanes(Op::Vmsad, &[other], Lane::I8, groups & 7)
    }

    /// All ones where the predicate holds of this and `other`.
    #[must_use]
    pub fn vfcmp(self, other: V<'b>, lane: Lane, predicate: Predicate) -> V<'b> {
        self.lanes(Op::Vfcmp, &[other], lane, predicate as u64)
    }

    /// Floats rounded to integral values.
    #[must_use]
    pub fn vfround(self, lane: Lane, round: Round) -> V<'b> {
        self.lanes(Op::Vfround, &[], lane, round.pack())
    }

    /// Floats as signed 32-bit integers.
    #[must_use]
    pub fn vftosi(self, lane: Lane, round: Round) -> V<'b> {
        self.lanes(Op::Vftosi, &[], lane, round.pack())
    }
}
