//! Guest memory accesses of the process machine: guest addresses are host addresses.

use super::{Lower, clif_type, own};
use crate::Exit;
use cranelift_codegen::ir::{self as clif, AtomicRmwOp, InstBuilder, MemFlagsData, types};
use mynah_guest::{Core, Guest};
use mynah_ir::{Align, Inst, MemOp, Order, Rmw, Ty};
use mynah_mem::Access;
use std::mem::offset_of;

/// Guest accesses may be refused by the host, at any address.
fn guest() -> MemFlagsData {
    MemFlagsData::new()
}

impl<G: Guest> Lower<'_, G> {
    /// The address of an access of `inst`, checked, with the state complete.
    fn access(&mut self, inst: &Inst, access: Access) -> clif::Value {
        self.sync(inst);
        let address = self.arg(inst, 0);
        if MemOp::unpack(inst.imm).align == Align::Natural && inst.ty.bytes() > 1 {
            let low = self.b.ins().band_imm_s(address, i64::from(inst.ty.bytes()) - 1);
            self.unlikely(low, |l| {
                l.state_before();
                let offset = offset_of!(Core, exit_value) as i32;
                l.b.ins().store(own(), address, l.cpu, offset);
                l.leave(Exit::Misaligned(access));
            });
        }
        // Keeps the optimiser from merging, moving or removing what the guest can see.
        self.b.ins().sequence_point();
        address
    }

    pub(super) fn load(&mut self, inst: &Inst) -> clif::Value {
        let address = self.access(inst, Access::Read);
        let ty = clif_type(inst.ty);
        let value = if self.needs_atomic(inst) {
            self.b.ins().atomic_load(ty, guest(), address)
        } else {
            self.b.ins().load(ty, guest(), address, 0)
        };
        // Keeps the load from becoming a later instruction's operand, whose pc a fault would report.
        self.b.ins().sequence_point();
        value
    }

    pub(super) fn store(&mut self, inst: &Inst) {
        let address = self.access(inst, Access::Write);
        let value = self.arg(inst, 1);
        if self.needs_atomic(inst) {
            self.b.ins().atomic_store(guest(), value, address);
        } else {
            self.b.ins().store(guest(), value, address, 0);
        }
    }

    /// Whether a plain host access would be weaker than the guest's architecture asks.
    fn needs_atomic(&self, inst: &Inst) -> bool {
        let strong = match MemOp::unpack(inst.imm).order {
            Order::Relaxed => false,
            Order::Tso | Order::AcqRel => !cfg!(target_arch = "x86_64"),
            Order::SeqCst => true,
        };
        strong && inst.ty.is_int()
    }

    pub(super) fn rmw(&mut self, inst: &Inst) -> clif::Value {
        let address = self.access(inst, Access::Write);
        let op = match Rmw::unpack(inst.imm) {
            Rmw::Xchg => AtomicRmwOp::Xchg,
            Rmw::Add => AtomicRmwOp::Add,
            Rmw::Sub => AtomicRmwOp::Sub,
            Rmw::And => AtomicRmwOp::And,
            Rmw::Or => AtomicRmwOp::Or,
            Rmw::Xor => AtomicRmwOp::Xor,
            Rmw::Smin => AtomicRmwOp::Smin,
            Rmw::Smax => AtomicRmwOp::Smax,
            Rmw::Umin => AtomicRmwOp::Umin,
            Rmw::Umax => AtomicRmwOp::Umax,
        };
        let arg = self.arg(inst, 1);
        self.b.ins().atomic_rmw(clif_type(inst.ty), guest(), op, address, arg)
    }

    pub(super) fn cas(&mut self, inst: &Inst) -> clif::Value {
        let address = self.access(inst, Access::Write);
        let (expected, new) = (self.arg(inst, 1), self.arg(inst, 2));
        if inst.ty != Ty::V128 {
            return self.b.ins().atomic_cas(guest(), address, expected, new);
        }
        let expected = self.b.ins().bitcast(types::I128, little(), expected);
        let new = self.b.ins().bitcast(types::I128, little(), new);
        let old = self.b.ins().atomic_cas(guest(), address, expected, new);
        self.b.ins().bitcast(types::I8X16, little(), old)
    }
}

/// Lane order of bit casts between vectors and other types.
pub(super) fn little() -> MemFlagsData {
    MemFlagsData::new().with_endianness(clif::Endianness::Little)
}
