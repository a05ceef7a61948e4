//! Transfers of control within the code segment (SDM 1 7.3.8); those between segments are in
//! `far`.
//!
//! Addresses are linear: outside 64-bit code they are the instruction pointer plus the base of CS,
//! and instructions that the architecture describes by the instruction pointer subtract the base.

use super::{DEST, Lift};
use crate::flags::Cond;
use crate::mode::Class;
use crate::segment::CS;
use crate::state::{self, RCX, RSP};
use crate::trap;
use iced_x86::{Code, Mnemonic, OpKind, Register};
use mynah_ir::{End, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Jmp if l.is_near_branch() => {
            let target = l.branch_target();
            l.end(match target {
                Target::Known(to) => End::Jump(to),
                Target::Offset(offset) => End::Dispatch(l.code_address(offset, None).value()),
            });
        }
        Mnemonic::Jmp if !l.is_far() => {
            let target = l.read(DEST).zext(Ty::I64);
            l.end(End::Dispatch(l.code_address(target, None).value()));
        }
        Mnemonic::Call if l.is_near_branch() => call(l),
        Mnemonic::Call if !l.is_far() => {
            let target = l.read(DEST);
            let to = l.code_address(target.zext(Ty::I64), None).value();
            let ret = l.next();
            l.push(l.next_offset(target.ty()));
            l.end(End::CallIndirect { to, ret });
        }
        Mnemonic::Ret => ret(l),
        Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => {
            let taken = l.part(RCX, counter(l)).eq(0);
            l.branch(taken, |_| {});
        }
        Mnemonic::Loop => count_down(l, |_, more| more),
        Mnemonic::Loope => count_down(l, |l, more| more & l.cond(Cond::E)),
        Mnemonic::Loopne => count_down(l, |l, more| more & l.cond(Cond::E.negated())),
        _ if l.insn.is_jcc_short_or_near() => {
            let cond = l.cond(Cond(l.insn.condition_code() as u8 - 1));
            l.branch(cond, |_| {});
        }
        _ => return false,
    }
    true
}

/// Where a branch goes.
enum Target<'b> {
    /// To this linear address.
    Known(u64),
    /// To this offset in CS: how far the linear address is from here depends on the base.
    Offset(V<'b>),
}

impl<'b> Lift<'b> {
    fn is_near_branch(&self) -> bool {
        let kind = self.insn.op_kind(DEST);
        matches!(kind, OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
    }

    fn is_far(&self) -> bool {
        let insn = &self.insn;
        insn.is_jmp_far_indirect()
            || insn.is_call_far_indirect()
            || insn.is_jmp_far()
            || insn.is_call_far()
    }

    fn branch_target(&self) -> Target<'b> {
        let target = self.insn.near_branch_target();
        let based = !self.is_64() && self.class(Register::CS) != Class::Flat;
        match self.insn.op_kind(DEST) {
            OpKind::NearBranch16 if based => {
                // iced takes the low half of the linear address for IP.
                let by = (target as u16).wrapping_sub(self.next() as u16);
                let offset = self.next_offset(Ty::I16) + u64::from(by);
                Target::Offset(offset.zext(Ty::I64))
            }
            _ if based && self.class(Register::CS) != Class::Based => {
                Target::Offset((self.iconst(Ty::I64, target) - self.get(state::base(CS))) & U32)
            }
            _ => Target::Known(target),
        }
    }

    /// The linear address of `offset` in CS, which is checked (if `taken`) against the limit.
    pub(super) fn code_address(&self, offset: V<'b>, taken: Option<V<'b>>) -> V<'b> {
        if self.is_64() {
            return offset;
        }
        let class = self.class(Register::CS);
        if class > Class::Based {
            let beyond = self.get(state::limit(CS)).ult(offset);
            let beyond = taken.map_or(beyond, |taken| taken & beyond);
            self.fault_if(beyond, trap::PROTECTION);
        }
        if class == Class::Flat { offset } else { self.based(CS, offset) }
    }

    /// The instruction pointer behind this instruction, cut to `ty`: what CALL pushes.
    pub(super) fn next_offset(&self, ty: Ty) -> V<'b> {
        let next = self.next();
        if self.is_64() || self.class(Register::CS) == Class::Flat {
            return self.iconst(ty, next);
        }
        (self.iconst(Ty::I64, next) - self.get(state::base(CS))).trunc(ty)
    }

    /// Ends the block: to the branch target if `taken`, else behind the instruction. What cannot
    /// be undone is left to `commit`, after which nothing faults.
    fn branch(&mut self, taken: V<'b>, commit: impl FnOnce(&Lift<'b>)) {
        let not = self.next();
        let end = match self.branch_target() {
            Target::Known(to) => End::Branch { cond: taken.value(), taken: to, not },
            Target::Offset(offset) => {
                let to = self.code_address(offset, Some(taken));
                let not = self.iconst(Ty::I64, not);
                End::Dispatch(taken.select(to, not).value())
            }
        };
        commit(self);
        self.end(end);
    }
}

/// Mask of a linear address outside 64-bit code.
const U32: u64 = 0xffff_ffff;

/// The type of the counter of LOOP and JCXZ: CX, ECX or RCX.
fn counter(l: &Lift<'_>) -> Ty {
    use Code::*;
    match l.insn.code() {
        Jcxz_rel8_16 | Jcxz_rel8_32 => Ty::I16,
        Loop_rel8_16_CX | Loope_rel8_16_CX | Loopne_rel8_16_CX => Ty::I16,
        Loop_rel8_32_CX | Loope_rel8_32_CX | Loopne_rel8_32_CX => Ty::I16,
        Jrcxz_rel8_16 | Jrcxz_rel8_64 => Ty::I64,
        Loop_rel8_16_RCX | Loope_rel8_16_RCX | Loopne_rel8_16_RCX => Ty::I64,
        Loop_rel8_64_RCX | Loope_rel8_64_RCX | Loopne_rel8_64_RCX => Ty::I64,
        _ => Ty::I32,
    }
}

/// LOOP and its kin: `condition` makes of whether the counter is not yet 0 whether it jumps.
fn count_down<'b>(l: &mut Lift<'b>, condition: impl FnOnce(&Lift<'b>, V<'b>) -> V<'b>) {
    let count = l.part(RCX, counter(l)) - 1;
    let taken = condition(l, count.ne(0));
    l.branch(taken, |l| l.set_part(RCX, count));
}

fn call(l: &mut Lift<'_>) {
    let ty = match l.insn.op_kind(DEST) {
        OpKind::NearBranch16 => Ty::I16,
        OpKind::NearBranch32 => Ty::I32,
        _ => Ty::I64,
    };
    let ret = l.next();
    match l.branch_target() {
        Target::Known(to) => {
            l.push(l.next_offset(ty));
            // A call of the next instruction reads the pc; nothing returns from it.
            l.end(if to == ret { End::Jump(to) } else { End::Call { to, ret } });
        }
        Target::Offset(offset) => {
            let to = l.code_address(offset, None).value();
            l.push(l.next_offset(ty));
            l.end(End::CallIndirect { to, ret });
        }
    }
}

fn ret(l: &mut Lift<'_>) {
    let ty = l.stack_ty_of_return();
    let top = l.top();
    let offset = l.load(ty, l.stack_address(top, ty, mynah_guest::Access::Read));
    let target = l.code_address(offset.zext(Ty::I64), None);
    // RET n: n bytes of parameters are dropped.
    let parameters = if l.insn.op_count() > 0 { l.insn.immediate(DEST) } else { 0 };
    let popped = top + u64::from(ty.bytes());
    l.set_part(RSP, if parameters == 0 { popped } else { popped + parameters });
    l.end(End::Return(target.value()));
}

impl Lift<'_> {
    /// The type of the address that RET pops.
    fn stack_ty_of_return(&self) -> Ty {
        match self.insn.code() {
            Code::Retnw | Code::Retnw_imm16 => Ty::I16,
            Code::Retnd | Code::Retnd_imm16 => Ty::I32,
            _ => Ty::I64,
        }
    }
}
