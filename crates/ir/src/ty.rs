//! Value types and lane shapes.

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum Ty {
    /// A truth value, 0 or 1.
    I1,
    /// An 8-bit integer.
    I8,
    /// A 16-bit integer.
    I16,
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// An IEEE 754 binary32, held as its bits.
    F32,
    /// An IEEE 754 binary64, held as its bits.
    F64,
    /// 128 bits whose lane shape belongs to the operation.
    V128,
}

impl Ty {
    /// All types, in the order of their discriminants.
    pub const ALL: [Ty; 8] =
        [Ty::I1, Ty::I8, Ty::I16, Ty::I32, Ty::I64, Ty::F32, Ty::F64, Ty::V128];

    /// Width in bits; 1 for `I1`.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        match self {
            Ty::I1 => 1,
            Ty::I8 => 8,
            Ty::I16 => 16,
            Ty::I32 | Ty::F32 => 32,
            Ty::I64 | Ty::F64 => 64,
            Ty::V128 => 128,
        }
    }

    /// Width in bytes as it stands in memory; 1 for `I1`.
    #[inline(always)]
    pub const fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// The bits a scalar of this type may have set in its 64-bit form.
    #[inline(always)]
    pub const fn mask(self) -> u64 {
        match self {
            Ty::V128 => u64::MAX,
            _ => u64::MAX >> (64 - self.bits()),
        }
    }

    /// `value` cut to this type, in its zero-extended form.
    #[inline(always)]
    pub const fn wrap(self, value: u64) -> u64 {
        value & self.mask()
    }

    /// The value of this type's bits read as a two's complement number.
    #[inline(always)]
    pub const fn sext(self, value: u64) -> i64 {
        let spare = 64 - self.bits();
        ((value << spare) as i64) >> spare
    }

    /// A constant as code generators take it: sign-extended, but 0 or 1 for a truth value.
    pub const fn sext_unless_truth(self, value: u64) -> i64 {
        if matches!(self, Ty::I1) { value as i64 } else { self.sext(value) }
    }

    /// An integer of 8 to 64 bits.
    pub const fn is_int(self) -> bool {
        matches!(self, Ty::I8 | Ty::I16 | Ty::I32 | Ty::I64)
    }

    /// `F32` or `F64`.
    pub const fn is_float(self) -> bool {
        matches!(self, Ty::F32 | Ty::F64)
    }

    /// The integer type of `bytes` bytes; `None` if there is none.
    pub const fn int(bytes: u32) -> Option<Ty> {
        Some(match bytes {
            1 => Ty::I8,
            2 => Ty::I16,
            4 => Ty::I32,
            8 => Ty::I64,
            _ => return None,
        })
    }

    /// The name used by the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Ty::I1 => "i1",
            Ty::I8 => "i8",
            Ty::I16 => "i16",
            Ty::I32 => "i32",
            Ty::I64 => "i64",
            Ty::F32 => "f32",
            Ty::F64 => "f64",
            Ty::V128 => "v128",
        }
    }

    /// The type that [`Ty::name`] calls `name`.
    pub fn from_name(name: &str) -> Option<Ty> {
        Ty::ALL.into_iter().find(|t| t.name() == name)
    }
}

/// How an operation divides a `V128`. Lane 0 holds the least significant bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Lane {
    /// Sixteen bytes.
    I8,
    /// Eight 16-bit words.
    I16,
    /// Four 32-bit words.
    I32,
    /// Two 64-bit words.
    I64,
    /// Four binary32.
    F32,
    /// Two binary64.
    F64,
}

impl Lane {
    /// All lane shapes, in the order of their discriminants.
    pub const ALL: [Lane; 6] = [Lane::I8, Lane::I16, Lane::I32, Lane::I64, Lane::F32, Lane::F64];

    /// The type of one lane.
    #[inline(always)]
    pub const fn ty(self) -> Ty {
        match self {
            Lane::I8 => Ty::I8,
            Lane::I16 => Ty::I16,
            Lane::I32 => Ty::I32,
            Lane::I64 => Ty::I64,
            Lane::F32 => Ty::F32,
            Lane::F64 => Ty::F64,
        }
    }

    /// The shape in bits 0–7 of an immediate.
    #[inline(always)]
    pub const fn unpack(imm: u64) -> Lane {
        match imm & 0xff {
            0 => Lane::I8,
            1 => Lane::I16,
            2 => Lane::I32,
            3 => Lane::I64,
            4 => Lane::F32,
            _ => Lane::F64,
        }
    }

    /// The shape of integer lanes of this width.
    #[inline(always)]
    pub const fn as_int(self) -> Lane {
        match self {
            Lane::F32 => Lane::I32,
            Lane::F64 => Lane::I64,
            lane => lane,
        }
    }

    /// How many lanes 128 bits hold.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        128 / self.ty().bits()
    }
}
