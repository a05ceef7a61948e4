//! Lifting: one instruction to IR.
//!
//! [`Lift`] is the vocabulary in which the families (one file each) write down instructions: read
//! operands, compute, write, flags. What instructions share is here or in a file of its own:
//! partial registers, addressing and segments (`operand`), LOCK, the stack. Whatever may fault comes
//! before the first write of an instruction, so that a fault finds the state before it.

mod alu;
mod bits;
mod control;
mod data;
mod flag;
mod fpu;
mod mmx;
mod muldiv;
mod operand;
mod shift;
mod sse;
mod stack;
mod string;
mod system;

use crate::flags::Known;
use crate::helpers::Id;
use crate::trap;
use iced_x86::{Instruction, Mnemonic};
use mynah_guest::Lifted;
use mynah_ir::{Builder, End, MemOp, Order, Rmw, Slot, Trap, Ty, V};

/// The first operand.
pub(crate) const DEST: u32 = 0;
/// The second operand.
pub(crate) const SRC: u32 = 1;
/// The third operand.
pub(crate) const SRC2: u32 = 2;

/// An atomic access.
const ATOMIC: MemOp = MemOp { order: Order::SeqCst, ..MemOp::TSO };

/// What a lift remembers from one instruction of a block to the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lifter {
    pub(crate) flags: Known,
    /// The x87 unit is in the state that MMX instructions put it in.
    pub(crate) mmx: bool,
}

/// One instruction being lifted.
pub(crate) struct Lift<'b> {
    pub(crate) b: &'b Builder,
    pub(crate) lifter: &'b mut Lifter,
    pub(crate) insn: Instruction,
    pub(crate) pc: u64,
    end: Option<End>,
    fault: Option<Trap>,
}

/// Lifts the decoded instruction at `pc`.
pub(crate) fn lift(lifter: &mut Lifter, insn: &Instruction, pc: u64, builder: &Builder) -> Lifted {
    let len = insn.len() as u32;
    let mut l = Lift { b: builder, lifter, insn: *insn, pc, end: None, fault: None };
    if !dispatch(&mut l) {
        l.fault(trap::UNDEFINED);
    }
    match (l.fault, l.end) {
        (Some(trap), _) => Lifted::Undefined { len, trap },
        (None, Some(end)) => Lifted::End { len, end },
        (None, None) => Lifted::Next { len },
    }
}

/// Whether some family knows the instruction.
fn dispatch(l: &mut Lift<'_>) -> bool {
    let mnemonic = l.insn.mnemonic();
    // iced gives the string and the SSE2 forms of MOVSD and CMPSD one mnemonic each.
    if l.insn.is_string_instruction() {
        return string::lift(l, mnemonic);
    }
    type Family = fn(&mut Lift<'_>, Mnemonic) -> bool;
    const FAMILIES: [Family; 12] = [
        data::lift,
        alu::lift,
        control::lift,
        stack::lift,
        shift::lift,
        sse::lift,
        bits::lift,
        muldiv::lift,
        flag::lift,
        fpu::lift,
        mmx::lift,
        system::lift,
    ];
    FAMILIES.iter().any(|family| family(l, mnemonic))
}

impl<'b> Lift<'b> {
    /// The address of the instruction behind this one.
    pub(crate) fn next(&self) -> u64 {
        self.insn.next_ip()
    }

    /// How the block ends, after this instruction.
    pub(crate) fn end(&mut self, end: End) {
        self.end = Some(end);
    }

    /// The instruction always faults with this exception: nothing of it is lifted.
    pub(crate) fn fault(&mut self, vector: u16) {
        self.fault = Some(trap::exception(vector));
    }

    /// Faults with this exception if `cond`.
    pub(crate) fn fault_if(&self, cond: V<'b>, vector: u16) {
        self.b.trap_if(cond, trap::exception(vector));
    }

    /// A constant.
    pub(crate) fn iconst(&self, ty: Ty, value: u64) -> V<'b> {
        self.b.iconst(ty, value)
    }

    /// The value of a slot.
    pub(crate) fn get(&self, slot: Slot) -> V<'b> {
        self.b.get(slot)
    }

    /// Sets a slot; a narrower integer is zero-extended.
    pub(crate) fn set(&self, slot: Slot, value: V<'b>) {
        let value = if value.ty() == Ty::V128 { value } else { value.zext(Ty::I64) };
        self.b.set(slot, value);
    }

    /// Calls a helper.
    pub(crate) fn call(&self, helper: Id, args: &[V<'b>]) -> V<'b> {
        self.b.call(helper as u16, args)
    }

    /// The value in memory at `address`.
    pub(crate) fn load(&self, ty: Ty, address: V<'b>) -> V<'b> {
        self.b.load(ty, MemOp::TSO, address)
    }

    /// Stores `value` at `address`.
    pub(crate) fn store(&self, address: V<'b>, value: V<'b>) {
        self.b.store(MemOp::TSO, address, value);
    }

    /// Combines operand `op` with `arg`, atomically under LOCK; the value before and the value
    /// after.
    pub(crate) fn rmw(&self, op: u32, rmw: Rmw, arg: V<'b>) -> (V<'b>, V<'b>) {
        if !self.is_memory(op) {
            let old = self.read(op);
            let new = combine(rmw, old, arg);
            self.write(op, new);
            return (old, new);
        }
        self.rmw_at(self.ea(op), rmw, arg)
    }

    /// Combines what is at `address` with `arg`, atomically under LOCK; the value before and the
    /// value after.
    pub(crate) fn rmw_at(&self, address: V<'b>, rmw: Rmw, arg: V<'b>) -> (V<'b>, V<'b>) {
        // SDM 2D, XCHG: LOCK is implied.
        if self.insn.has_lock_prefix() || rmw == Rmw::Xchg {
            let old = self.b.rmw(rmw, ATOMIC, address, arg);
            return (old, combine(rmw, old, arg));
        }
        let old = self.load(arg.ty(), address);
        let new = combine(rmw, old, arg);
        self.store(address, new);
        (old, new)
    }

    /// Replaces operand `op` with what `change` makes of it, atomically under LOCK; the value
    /// before and the value after. For what [`Rmw`] has no word for: another vCPU's write in between repeats the
    /// instruction.
    pub(crate) fn update(&self, op: u32, change: impl FnOnce(V<'b>) -> V<'b>) -> (V<'b>, V<'b>) {
        if !self.is_memory(op) {
            let old = self.read(op);
            let new = change(old);
            self.write(op, new);
            return (old, new);
        }
        let address = self.ea(op);
        let old = self.load(self.ty(op), address);
        let new = change(old);
        if self.insn.has_lock_prefix() {
            let found = self.b.cas(ATOMIC, address, old, new);
            self.b.exit_if(found.ne(old), self.pc);
        } else {
            self.store(address, new);
        }
        (old, new)
    }
}

fn combine<'b>(rmw: Rmw, old: V<'b>, arg: V<'b>) -> V<'b> {
    match rmw {
        Rmw::Xchg => arg,
        Rmw::Add => old + arg,
        Rmw::Sub => old - arg,
        Rmw::And => old & arg,
        Rmw::Or => old | arg,
        Rmw::Xor => old ^ arg,
        Rmw::Smin => old.slt(arg).select(old, arg),
        Rmw::Smax => old.slt(arg).select(arg, old),
        Rmw::Umin => old.ult(arg).select(old, arg),
        Rmw::Umax => old.ult(arg).select(arg, old),
    }
}
