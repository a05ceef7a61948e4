//! Leaving a unit: links, lookups, polls, traps.

use super::{Lower, clif_type, constant, own};
use crate::Exit;
use cranelift_codegen::ir::{self as clif, InstBuilder, condcodes::IntCC, types};
use mynah_guest::{Core, Cpu, Guest, JumpEntry};
use mynah_ir::{Inst, Known, SlotSet, Trap};
use mynah_mem::{Memory, PAGE};
use std::mem::offset_of;

impl<G: Guest> Lower<'_, G> {
    pub(super) fn set_pc(&mut self, pc: u64) {
        let pc = self.b.ins().iconst(types::I64, pc as i64);
        self.b.ins().store(own(), pc, self.cpu, offset_of!(Core, pc) as i32);
    }

    /// Returns to the run loop. State and pc have been stored.
    pub(super) fn leave(&mut self, exit: Exit) {
        let word = self.b.ins().iconst(types::I64, exit.encode() as i64);
        self.b.ins().return_(&[word]);
    }

    /// Returns to the run loop if `cond` is not 0, with the pc of this instruction and the state
    /// complete.
    pub(super) fn leave_if(&mut self, cond: clif::Value, exit: Exit) {
        self.unlikely(cond, |l| {
            l.state_before();
            l.leave(exit);
        });
    }

    /// Makes the state and the pc in memory those before the instruction being lowered.
    pub(super) fn state_before(&mut self) {
        self.write_back(SlotSet::ALL);
        let site = self.sites.last().expect("an instruction is being lowered").clone();
        for entry in &site.recover {
            let value = match entry.known {
                Known::Const(bits) => self.b.ins().iconst(types::I64, bits as i64),
                // Just written back, or never dirty.
                Known::Slot(from) => {
                    let ty = clif_type(G::SLOTS[from.0 as usize].ty);
                    self.b.ins().load(ty, own(), self.cpu, Cpu::<G>::offset(from) as i32)
                }
            };
            let offset = Cpu::<G>::offset(entry.slot) as i32;
            self.b.ins().store(own(), value, self.cpu, offset);
        }
        self.set_pc(site.pc);
    }

    /// What `then` emits happens, and ends, out of line if `cond` is not 0.
    pub(super) fn unlikely(&mut self, cond: clif::Value, then: impl FnOnce(&mut Self)) {
        let cold = self.b.create_block();
        let on = self.b.create_block();
        self.b.set_cold_block(cold);
        self.b.ins().brif(cond, cold, &[], on, &[]);
        self.b.switch_to_block(cold);
        then(self);
        self.b.switch_to_block(on);
    }

    /// Leaves if another thread, or a signal handler, asked for attention.
    pub(super) fn poll(&mut self, pc: u64) {
        let address = self.core_load(types::I64, constant(), Core::ATTENTION_AT);
        // Atomic, so that it is repeated in every turn of a loop.
        let attention = self.b.ins().atomic_load(types::I32, own(), address);
        self.unlikely(attention, |l| {
            l.write_back(SlotSet::ALL);
            l.set_pc(pc);
            l.leave(Exit::Attention);
        });
    }

    pub(super) fn exit_if(&mut self, inst: &Inst) {
        let cond = self.arg(inst, 0);
        self.unlikely(cond, |l| l.exit_to(inst.imm));
    }

    pub(super) fn trap_if(&mut self, inst: &Inst) {
        let cond = self.arg(inst, 0);
        self.leave_if(cond, Exit::TrapFault(Trap::unpack(inst.imm)));
    }

    /// To the guest code at `pc`: within the unit, or through a link slot.
    pub(super) fn goto(&mut self, pc: u64) {
        if let Some(index) = self.shape.block(pc) {
            let body = self.bodies[index];
            self.b.ins().jump(body, &[]);
        } else {
            self.exit_to(pc);
        }
    }

    /// Leaves the unit to the guest code at `pc`, through a link slot.
    fn exit_to(&mut self, pc: u64) {
        if G::Memory::PAGED && pc / PAGE != self.page {
            // Where that page is may change while this one stays.
            let pc = self.b.ins().iconst(types::I64, pc as i64);
            return self.dispatch(pc);
        }
        self.write_back(SlotSet::ALL);
        let rest = &self.exits[self.used_exits..];
        let found = rest.iter().position(|slot| slot.pc == pc);
        let slot = found.expect("every exit has a slot") + self.used_exits;
        let address = std::ptr::from_ref(&self.exits[slot]) as i64;
        let address = self.b.ins().iconst(types::I64, address);
        // Atomic: it may change at any time.
        let target = self.b.ins().atomic_load(types::I64, own(), address);
        self.b.ins().return_call_indirect(self.unit_sig, target, &[self.cpu, address]);
    }

    /// A return to the computed address `pc`: behind one of the unit's calls, or anywhere.
    pub(super) fn return_to(&mut self, pc: clif::Value) {
        for continuation in self.shape.continuations.clone() {
            let index = self.shape.block(continuation).expect("a continuation is a block here");
            let (body, other) = (self.bodies[index], self.b.create_block());
            let expected = self.b.ins().iconst(types::I64, continuation as i64);
            let hit = self.b.ins().icmp(IntCC::Equal, pc, expected);
            self.b.ins().brif(hit, body, &[], other, &[]);
            self.b.switch_to_block(other);
        }
        self.dispatch(pc);
    }

    /// To the guest code at the computed address `pc`, by the jump cache.
    pub(super) fn dispatch(&mut self, pc: clif::Value) {
        self.write_back(SlotSet::ALL);
        let folded = self.b.ins().ushr_imm_u(pc, 12);
        let folded = self.b.ins().bxor(pc, folded);
        let index = self.b.ins().band_imm_s(folded, JumpEntry::COUNT as i64 - 1);
        let offset = self.b.ins().ishl_imm_u(index, size_of::<JumpEntry>().ilog2() as i64);
        let cache = self.core_load(types::I64, constant(), offset_of!(Core, jump_cache));
        let entry = self.b.ins().iadd(cache, offset);
        let found = self.b.ins().load(types::I64, own(), entry, JumpEntry::PC as i32);
        let miss = self.b.ins().icmp(IntCC::NotEqual, found, pc);
        self.unlikely(miss, |l| {
            l.b.ins().store(own(), pc, l.cpu, offset_of!(Core, pc) as i32);
            l.leave(Exit::Lookup);
        });
        let code = self.b.ins().load(types::I64, own(), entry, JumpEntry::CODE as i32);
        let slot = self.b.ins().iconst(types::I64, 0);
        self.b.ins().return_call_indirect(self.unit_sig, code, &[self.cpu, slot]);
    }
}
