//! x87 operations, carried out on two registers and an operand in memory.
//!
//! Each host has a module with the same items: on x86-64 the instructions themselves, elsewhere
//! software.

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::{run, supports};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{run, supports};

/// What an operation came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Done {
    /// The registers afterwards: the result, or two with the one pushed last first. Without
    /// meaning if an unmasked exception kept the operation from storing them.
    pub(crate) st0: u128,
    pub(crate) st1: u128,
    /// The operand in memory, as a store left it.
    pub(crate) memory: u128,
    /// Status word: exception flags and condition codes as the operation alone sets them.
    pub(crate) status: u16,
}

macro_rules! operations {
    ($($name:ident $text:literal;)*) => {
        /// An operation: ST0, ST1 and memory (`{m}`) are its operands.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum Op { $(#[doc = $text] $name,)* }

        impl Op {
            /// All operations, in the order of their discriminants.
            pub(crate) const ALL: &'static [Op] = &[$(Op::$name),*];
        }
    };
}

/// Hands the table of operations to a macro.
///
/// A row is name, instruction, and what it leaves: `both` registers, both with `one` more
/// pushed, both with one `popped`, or `varies`.
macro_rules! with_operations {
    ($macro:ident) => {
        $macro! {
            Add "fadd st(0), st(1)" both;
            AddF32 "fadd dword ptr [{m}]" both;
            AddF64 "fadd qword ptr [{m}]" both;
            AddI16 "fiadd word ptr [{m}]" both;
            AddI32 "fiadd dword ptr [{m}]" both;
            Mul "fmul st(0), st(1)" both;
            MulF32 "fmul dword ptr [{m}]" both;
            MulF64 "fmul qword ptr [{m}]" both;
            MulI16 "fimul word ptr [{m}]" both;
            MulI32 "fimul dword ptr [{m}]" both;
            Sub "fsub st(0), st(1)" both;
            SubF32 "fsub dword ptr [{m}]" both;
            SubF64 "fsub qword ptr [{m}]" both;
            SubI16 "fisub word ptr [{m}]" both;
            SubI32 "fisub dword ptr [{m}]" both;
            Subr "fsubr st(0), st(1)" both;
            SubrF32 "fsubr dword ptr [{m}]" both;
            SubrF64 "fsubr qword ptr [{m}]" both;
            SubrI16 "fisubr word ptr [{m}]" both;
            SubrI32 "fisubr dword ptr [{m}]" both;
            Div "fdiv st(0), st(1)" both;
            DivF32 "fdiv dword ptr [{m}]" both;
            DivF64 "fdiv qword ptr [{m}]" both;
            DivI16 "fidiv word ptr [{m}]" both;
            DivI32 "fidiv dword ptr [{m}]" both;
            Divr "fdivr st(0), st(1)" both;
            DivrF32 "fdivr dword ptr [{m}]" both;
            DivrF64 "fdivr qword ptr [{m}]" both;
            DivrI16 "fidivr word ptr [{m}]" both;
            DivrI32 "fidivr dword ptr [{m}]" both;
            Com "fcom st(1)" both;
            ComF32 "fcom dword ptr [{m}]" both;
            ComF64 "fcom qword ptr [{m}]" both;
            ComI16 "ficom word ptr [{m}]" both;
            ComI32 "ficom dword ptr [{m}]" both;
            Ucom "fucom st(1)" both;
            Tst "ftst" both;
            LoadF32 "fld dword ptr [{m}]" one;
            LoadF64 "fld qword ptr [{m}]" one;
            LoadI16 "fild word ptr [{m}]" one;
            LoadI32 "fild dword ptr [{m}]" one;
            LoadI64 "fild qword ptr [{m}]" one;
            LoadBcd "fbld tbyte ptr [{m}]" one;
            One "fld1" one;
            Log2Of10 "fldl2t" one;
            Log2OfE "fldl2e" one;
            Pi "fldpi" one;
            Log10Of2 "fldlg2" one;
            LnOf2 "fldln2" one;
            Zero "fldz" one;
            StoreF32 "fst dword ptr [{m}]" both;
            StoreF64 "fst qword ptr [{m}]" both;
            StoreI16 "fist word ptr [{m}]" both;
            StoreI32 "fist dword ptr [{m}]" both;
            StoreI64 "fistp qword ptr [{m}]" popped;
            TruncI16 "fisttp word ptr [{m}]" popped;
            TruncI32 "fisttp dword ptr [{m}]" popped;
            TruncI64 "fisttp qword ptr [{m}]" popped;
            StoreBcd "fbstp tbyte ptr [{m}]" popped;
            Sqrt "fsqrt" both;
            Round "frndint" both;
            Scale "fscale" both;
            Prem "fprem" both;
            Prem1 "fprem1" both;
            Exp2 "f2xm1" both;
            Sin "fsin" both;
            Cos "fcos" both;
            Log "fyl2x" popped;
            LogPlus1 "fyl2xp1" popped;
            Atan "fpatan" popped;
            Tan "fptan" varies;
            SinCos "fsincos" varies;
            Extract "fxtract" varies;
        }
    };
}
pub(crate) use with_operations;

macro_rules! names {
    ($($name:ident $text:literal $leaves:ident;)*) => { operations! { $($name $text;)* } };
}

with_operations!(names);
