//! Operands: registers and their parts, memory addresses, immediates (SDM 2A chapter 2).

use super::Lift;
use crate::helpers::Id;
use crate::mode::{self, Class};
use crate::{state, trap};
use iced_x86::{OpKind, Register};
use mynah_guest::Access;
use mynah_ir::{Slot, Ty, V};

/// Where a general register or a part of one is.
#[derive(Clone, Copy)]
struct Part {
    slot: Slot,
    ty: Ty,
    /// AH, CH, DH, BH: bits 8–15.
    high: bool,
}

impl Part {
    fn of(register: Register) -> Part {
        let full = register.full_register();
        debug_assert!(full.is_gpr64(), "{register:?} is no general register");
        let ty = Ty::int(register.size() as u32).unwrap_or(Ty::I64);
        let high = matches!(register, Register::AH | Register::CH | Register::DH | Register::BH);
        Part { slot: state::gpr(full.number()), ty, high }
    }
}

impl<'b> Lift<'b> {
    /// Whether operand `op` is in memory.
    pub(crate) fn is_memory(&self, op: u32) -> bool {
        self.insn.op_kind(op) == OpKind::Memory
    }

    /// The type of operand `op`, an integer or (16 bytes in memory, XMM) a vector.
    pub(crate) fn ty(&self, op: u32) -> Ty {
        let of_bytes = |bytes: usize| match bytes {
            16 => Ty::V128,
            bytes => Ty::int(bytes as u32).unwrap_or(Ty::I64),
        };
        match self.insn.op_kind(op) {
            OpKind::Register => of_bytes(self.insn.op_register(op).size()),
            OpKind::Memory => of_bytes(self.insn.memory_size().size()),
            OpKind::Immediate8 | OpKind::Immediate8_2nd => Ty::I8,
            OpKind::Immediate16 | OpKind::Immediate8to16 => Ty::I16,
            OpKind::Immediate32 | OpKind::Immediate8to32 => Ty::I32,
            _ => Ty::I64,
        }
    }

    /// The value of operand `op`: a general register or part of one, memory, or an immediate.
    pub(crate) fn read(&self, op: u32) -> V<'b> {
        match self.insn.op_kind(op) {
            OpKind::Register => self.register(self.insn.op_register(op)),
            OpKind::Memory => self.load(self.ty(op), self.ea(op)),
            _ => self.iconst(self.ty(op), self.insn.immediate(op)),
        }
    }

    /// Sets operand `op`: a general register or part of one, or memory.
    pub(crate) fn write(&self, op: u32, value: V<'b>) {
        match self.insn.op_kind(op) {
            OpKind::Register => self.set_register(self.insn.op_register(op), value),
            _ => self.store(self.ea(op), value),
        }
    }

    /// The value of a general register or part of one, in its own width.
    pub(crate) fn register(&self, register: Register) -> V<'b> {
        let part = Part::of(register);
        let full = self.get(part.slot);
        if part.high { full.shr(8).trunc(part.ty) } else { full.trunc(part.ty) }
    }

    /// Sets a general register or part of one: 32 bits clear those above, 8 and 16 keep them.
    pub(crate) fn set_register(&self, register: Register, value: V<'b>) {
        let (slot, merged) = self.merged(register, value);
        self.set(slot, merged);
    }

    /// What setting a general register or part of one makes of its slot.
    pub(crate) fn merged(&self, register: Register, value: V<'b>) -> (Slot, V<'b>) {
        let part = Part::of(register);
        debug_assert_eq!(part.ty, value.ty(), "{register:?}");
        let wide = value.zext(Ty::I64);
        let merged = match part {
            Part { ty: Ty::I32 | Ty::I64, .. } => wide,
            Part { high: true, .. } => (self.get(part.slot) & !0xff00) | wide.shl(8),
            Part { ty, .. } => (self.get(part.slot) & !ty.mask()) | wide,
        };
        (part.slot, merged)
    }

    /// The low part of the general register in `slot`, as wide as `ty`.
    pub(crate) fn part(&self, slot: Slot, ty: Ty) -> V<'b> {
        self.get(slot).trunc(ty)
    }

    /// Sets the low part of the general register in `slot`: 32 bits clear those above, 8 and 16
    /// keep them.
    pub(crate) fn set_part(&self, slot: Slot, value: V<'b>) {
        let wide = match value.ty() {
            Ty::I8 | Ty::I16 => (self.get(slot) & !value.ty().mask()) | value.zext(Ty::I64),
            _ => value,
        };
        self.set(slot, wide);
    }

    /// The linear address of memory operand `op`: its effective address in its segment.
    pub(crate) fn ea(&self, op: u32) -> V<'b> {
        let bytes = self.insn.memory_size().size() as u64;
        let segment = self.insn.memory_segment();
        self.linear(segment, self.offset(), bytes, || self.access(op))
    }

    /// How operand `op`, in memory, is accessed.
    fn access(&self, op: u32) -> Access {
        use iced_x86::OpAccess::*;
        let mut factory = iced_x86::InstructionInfoFactory::new();
        match factory.info(&self.insn).op_access(op) {
            Write | CondWrite | ReadWrite | ReadCondWrite => Access::Write,
            _ => Access::Read,
        }
    }

    /// The linear address of `offset` (`I64`) in `segment`, for an access of `bytes` bytes. In 64-bit
    /// code only FS and GS have a base, and no segment a limit.
    pub(crate) fn linear(
        &self,
        segment: Register,
        offset: V<'b>,
        bytes: u64,
        access: impl Fn() -> Access,
    ) -> V<'b> {
        let address = self.in_segment(segment, offset, bytes, &access);
        if self.is(mode::DEBUG) {
            self.watch(address, bytes, access());
        }
        if self.is(mode::ALIGNED) && matches!(bytes, 2 | 4 | 8) {
            self.fault_if((address & (bytes - 1)).ne(0), trap::ALIGNMENT);
        }
        address
    }

    fn in_segment(
        &self,
        segment: Register,
        offset: V<'b>,
        bytes: u64,
        access: impl Fn() -> Access,
    ) -> V<'b> {
        let n = segment.number();
        if self.is_64() {
            return match segment {
                Register::FS | Register::GS => self.get(state::base(n)) + offset,
                _ => offset,
            };
        }
        let protected = self.is(mode::PROTECTED) && !self.is(mode::VIRTUAL);
        if segment == Register::CS && protected && access() == Access::Write {
            self.fault_if(self.iconst(Ty::I1, 1), trap::PROTECTION);
        }
        match self.class(segment) {
            Class::Flat => offset,
            Class::Based => self.based(n, offset),
            Class::Limited => {
                let last = if bytes > 1 { offset + (bytes - 1) } else { offset };
                let beyond = self.get(state::limit(n)).ult(last);
                let stack = segment == Register::SS;
                self.fault_if(beyond, if stack { trap::STACK } else { trap::PROTECTION });
                self.based(n, offset)
            }
            Class::Odd => {
                let write = u64::from(access() == Access::Write);
                let shape = self.iconst(Ty::I64, n as u64 | write << 8 | bytes.max(1) << 16);
                self.call(Id::SegmentAddress, &[shape, offset])
            }
        }
    }

    /// `offset` behind the base of segment register `n`, outside 64-bit code.
    pub(super) fn based(&self, n: usize, offset: V<'b>) -> V<'b> {
        (self.get(state::base(n)) + offset) & 0xffff_ffff
    }

    /// The effective address of the memory operand, without a segment: what LEA computes.
    pub(crate) fn offset(&self) -> V<'b> {
        self.moved_offset(0)
    }

    /// The effective address with `by` added to the base.
    pub(crate) fn moved_offset(&self, by: u64) -> V<'b> {
        let insn = &self.insn;
        let displacement = insn.memory_displacement64().wrapping_add(by);
        if insn.is_ip_rel_memory_operand() {
            return self.iconst(Ty::I64, displacement);
        }
        let index = match insn.memory_index() {
            Register::None => None,
            index => Some((self.wide(index), insn.memory_index_scale())),
        };
        let base = match insn.memory_base() {
            Register::None => None,
            base => Some(self.wide(base)),
        };
        let scaled = index.map(|(index, scale)| match scale {
            1 => index,
            scale => index.shl(u64::from(scale.trailing_zeros())),
        });
        let sum = match (base, scaled) {
            (Some(base), Some(scaled)) => base + scaled,
            (Some(sum), None) | (None, Some(sum)) => sum,
            (None, None) => self.iconst(Ty::I64, 0),
        };
        let sum = match (sum.constant(), displacement) {
            (Some(_), displacement) => self.iconst(Ty::I64, displacement),
            (None, 0) => sum,
            (None, displacement) => sum + displacement,
        };
        self.address_of_size(sum, self.address_bytes())
    }

    /// The address size of the memory operand, in bytes.
    pub(crate) fn address_bytes(&self) -> usize {
        let insn = &self.insn;
        [insn.memory_base(), insn.memory_index()]
            .into_iter()
            .find(|&register| register != Register::None)
            .map_or(insn.memory_displ_size() as usize, |register| register.size())
    }

    /// `address` cut to an address size of so many bytes.
    pub(crate) fn address_of_size(&self, address: V<'b>, bytes: usize) -> V<'b> {
        let ty = match bytes {
            2 => Ty::I16,
            4 => Ty::I32,
            _ => return address,
        };
        match address.constant() {
            Some(value) => self.iconst(Ty::I64, ty.wrap(value)),
            None => address.trunc(ty).zext(Ty::I64),
        }
    }

    /// A general register of 32 or 64 bits with all 64 of its bits.
    fn wide(&self, register: Register) -> V<'b> {
        self.get(state::gpr(register.full_register().number()))
    }
}
