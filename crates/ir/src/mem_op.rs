//! What a guest memory access asks for: alignment rule and ordering.

/// What happens when an address is not a multiple of the access width.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Align {
    /// Any address will do.
    Any,
    /// A misaligned address faults (`Fault::Misaligned`).
    Natural,
}

/// Memory ordering that the guest's architecture gives the access.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Order {
    /// No ordering beyond program order on one vCPU.
    Relaxed,
    /// x86 total store order: loads acquire, stores release.
    Tso,
    /// Acquire (loads) or release (stores).
    AcqRel,
    /// Sequentially consistent.
    SeqCst,
}

/// Alignment and ordering of an access; its width is the instruction's type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemOp {
    /// Alignment rule.
    pub align: Align,
    /// Ordering.
    pub order: Order,
}

impl MemOp {
    /// Any address, no ordering.
    pub const PLAIN: MemOp = MemOp { align: Align::Any, order: Order::Relaxed };
    /// An ordinary x86 access.
    pub const TSO: MemOp = MemOp { align: Align::Any, order: Order::Tso };
    /// An ordinary x86 access to an operand that must be aligned.
    pub const TSO_ALIGNED: MemOp = MemOp { align: Align::Natural, order: Order::Tso };

    /// As an instruction's immediate (bits 0–7).
    pub const fn pack(self) -> u64 {
        self.align as u64 | (self.order as u64) << 4
    }

    /// The inverse of [`MemOp::pack`]; higher bits are ignored.
    #[inline(always)]
    pub const fn unpack(imm: u64) -> MemOp {
        let align = if imm & 1 == 0 { Align::Any } else { Align::Natural };
        let order = match imm >> 4 & 3 {
            0 => Order::Relaxed,
            1 => Order::Tso,
            2 => Order::AcqRel,
            _ => Order::SeqCst,
        };
        MemOp { align, order }
    }
}

/// What an atomic read-modify-write stores, given the old value and its argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Rmw {
    /// The argument.
    Xchg,
    /// Their sum.
    Add,
    /// Old minus argument.
    Sub,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// The lesser, signed.
    Smin,
    /// The greater, signed.
    Smax,
    /// The lesser, unsigned.
    Umin,
    /// The greater, unsigned.
    Umax,
}

impl Rmw {
    /// All operations, in the order of their discriminants.
    pub const ALL: [Rmw; 10] = [
        Rmw::Xchg,
        Rmw::Add,
        Rmw::Sub,
        Rmw::And,
        Rmw::Or,
        Rmw::Xor,
        Rmw::Smin,
        Rmw::Smax,
        Rmw::Umin,
        Rmw::Umax,
    ];

    /// The immediate of an `rmw` (bits 8–15 beside the [`MemOp`]).
    pub const fn pack(self, mem: MemOp) -> u64 {
        mem.pack() | (self as u64) << 8
    }

    /// The operation in an `rmw`'s immediate.
    #[inline(always)]
    pub const fn unpack(imm: u64) -> Rmw {
        Rmw::ALL[(imm >> 8 & 0xff) as usize % Rmw::ALL.len()]
    }

    /// The value stored, before it is cut to `ty`.
    #[inline(always)]
    pub fn apply(self, ty: crate::Ty, old: u64, arg: u64) -> u64 {
        match self {
            Rmw::Xchg => arg,
            Rmw::Add => old.wrapping_add(arg),
            Rmw::Sub => old.wrapping_sub(arg),
            Rmw::And => old & arg,
            Rmw::Or => old | arg,
            Rmw::Xor => old ^ arg,
            Rmw::Smin => {
                if ty.sext(old) < ty.sext(arg) {
                    old
                } else {
                    arg
                }
            }
            Rmw::Smax => {
                if ty.sext(old) > ty.sext(arg) {
                    old
                } else {
                    arg
                }
            }
            Rmw::Umin => old.min(arg),
            Rmw::Umax => old.max(arg),
        }
    }
}
