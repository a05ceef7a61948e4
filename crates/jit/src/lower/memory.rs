//! Guest memory accesses. In the process machine guest addresses are host addresses; in the
//! system machine they are looked up in the vCPU's TLB. If it does not know an access, the page is
//! walked; an access that it cannot answer even then leaves the unit with nothing of its
//! instruction done.

use super::{Lower, clif_type, constant, own};
use crate::{Exit, fill, stubs};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self as clif, AtomicRmwOp, InstBuilder, MemFlagsData, types};
use cranelift_codegen::isa::CallConv;
use mynah_guest::{Core, Guest};
use mynah_ir::{Align, Inst, MemOp, Order, Rmw, Ty};
use mynah_mem::{Access, Memory, PAGE, TlbEntry};
use std::mem::offset_of;

/// Guest accesses may be refused by the host, at any address.
fn guest() -> MemFlagsData {
    MemFlagsData::new()
}

impl<G: Guest> Lower<'_, G> {
    /// The host address of an access of `inst`, checked; should it be refused, the state can be
    /// completed.
    fn access(&mut self, inst: &Inst, access: Access) -> clif::Value {
        self.sync(inst);
        if G::Memory::PAGED {
            return self.looked_up(inst, access);
        }
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

    /// The host address of an access of `inst`, from the TLB.
    fn looked_up(&mut self, inst: &Inst, access: Access) -> clif::Value {
        const { assert!(size_of::<TlbEntry>().is_power_of_two()) };
        let address = self.arg(inst, 0);
        let bytes = i64::from(inst.ty.bytes());
        let tag = if access == Access::Write { TlbEntry::WRITE } else { TlbEntry::READ };
        let page = self.b.ins().ushr_imm_u(address, i64::from(PAGE.ilog2()));
        let index = self.b.ins().band_imm_s(page, TlbEntry::COUNT as i64 - 1);
        let offset = self.b.ins().ishl_imm_u(index, i64::from(size_of::<TlbEntry>().ilog2()));
        let tlb = self.core_load(types::I64, constant(), offset_of!(Core, tlb));
        let entry = self.b.ins().iadd(tlb, offset);
        // Atomic: other threads may make writes go the long way.
        let place = self.b.ins().iadd_imm_s(entry, tag as i64);
        let found = self.b.ins().atomic_load(types::I64, own(), place);
        // The page of the last byte: an access across pages matches no entry. If the access must
        // be aligned, the bits that must be 0 take part.
        let natural = MemOp::unpack(inst.imm).align == Align::Natural;
        let page_bits = -(PAGE as i64);
        let wanted = if natural || bytes == 1 {
            self.b.ins().band_imm_s(address, page_bits | (bytes - 1))
        } else {
            let last = self.b.ins().iadd_imm_s(address, bytes - 1);
            self.b.ins().band_imm_s(last, page_bits)
        };
        let miss = self.b.ins().icmp(IntCC::NotEqual, found, wanted);
        self.if_missed(miss, address, fill::request(inst.ty.bytes(), access, natural));
        let addend = self.b.ins().load(types::I64, own(), entry, TlbEntry::ADDEND as i32);
        let host = self.b.ins().iadd(address, addend);
        // Keeps the optimiser from merging, moving or removing what the guest can see.
        self.b.ins().sequence_point();
        host
    }

    /// If `miss` is not 0, has the TLB filled for the access at `address`, or leaves.
    fn if_missed(&mut self, miss: clif::Value, address: clif::Value, request: u64) {
        let [cold, leave, on] = [(); 3].map(|()| self.b.create_block());
        self.b.set_cold_block(cold);
        self.b.set_cold_block(leave);
        self.b.ins().brif(miss, cold, &[], on, &[]);
        self.b.switch_to_block(cold);
        let signature = *self.fill_sig.get_or_insert_with(|| {
            self.b.import_signature(stubs::fill_signature(CallConv::PreserveAll))
        });
        let stub = self.b.ins().iconst(types::I64, stubs::fill() as i64);
        let request = self.b.ins().iconst(types::I64, request as i64);
        self.b.ins().call_indirect(signature, stub, &[self.cpu, address, request]);
        let filled = self.core_load(types::I64, own(), offset_of!(Core, filled));
        self.b.ins().brif(filled, on, &[], leave, &[]);
        self.b.switch_to_block(leave);
        self.state_before();
        self.leave(Exit::Miss);
        self.b.switch_to_block(on);
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
