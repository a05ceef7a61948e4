//! Operands: registers and their parts, memory addresses, immediates (SDM 2A chapter 2).

use super::Lift;
use crate::state::{self, FS_BASE, GS_BASE};
use iced_x86::{OpKind, Register};
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

    /// The linear address of memory operand `op`: its effective address, and the segment's base.
    pub(crate) fn ea(&self, _op: u32) -> V<'b> {
        self.segmented(self.insn.memory_segment(), self.offset())
    }

    /// `offset` in a segment. In 64-bit code only FS and GS have a base.
    pub(crate) fn segmented(&self, segment: Register, offset: V<'b>) -> V<'b> {
        match segment {
            Register::FS => self.get(FS_BASE) + offset,
            Register::GS => self.get(GS_BASE) + offset,
            _ => offset,
        }
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
        match (address.constant(), bytes) {
            (Some(value), 4) => self.iconst(Ty::I64, Ty::I32.wrap(value)),
            (_, 4) => address.trunc(Ty::I32).zext(Ty::I64),
            _ => address,
        }
    }

    /// A general register of 32 or 64 bits with all 64 of its bits.
    fn wide(&self, register: Register) -> V<'b> {
        self.get(state::gpr(register.full_register().number()))
    }
}
