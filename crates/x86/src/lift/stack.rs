//! The stack (SDM 1 chapter 6).

use super::{DEST, Lift, SRC};
use crate::mode;
use crate::state::{RBP, RSP, gpr};
use iced_x86::{Code, Mnemonic, OpKind, Register};
use mynah_guest::Access;
use mynah_ir::{Rmw, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Push => {
            let value = match l.segment_operand(DEST) {
                // Of a slot of 32 bits only the low half is written, as processors do.
                Some(selector) if l.stack_ty() == Ty::I32 => return push_selector(l, selector),
                Some(selector) => selector.zext(l.stack_ty()),
                None => l.read(DEST),
            };
            l.push(value);
        }
        Mnemonic::Pusha => push_all(l, Ty::I16),
        Mnemonic::Pushad => push_all(l, Ty::I32),
        Mnemonic::Popa => pop_all(l, Ty::I16),
        Mnemonic::Popad => pop_all(l, Ty::I32),
        Mnemonic::Pop => pop(l),
        Mnemonic::Enter => enter(l),
        Mnemonic::Leave => {
            let ty = l.stack_ty();
            let frame = l.part(RBP, l.stack_size());
            let saved = l.load(ty, l.stack_address(frame, ty, Access::Read));
            l.set_part(RSP, frame + u64::from(ty.bytes()));
            l.set_part(RBP, saved);
        }
        _ => return false,
    }
    true
}

impl<'b> Lift<'b> {
    /// The type of what this instruction pushes or pops.
    pub(super) fn stack_ty(&self) -> Ty {
        match (self.insn.code(), self.insn.stack_pointer_increment()) {
            (Code::Enterw_imm16_imm8 | Code::Leavew, _) | (_, -2 | 2) => Ty::I16,
            (Code::Enterd_imm16_imm8 | Code::Leaved, _) | (_, -4 | 4) => Ty::I32,
            _ => Ty::I64,
        }
    }

    /// The type of the stack pointer.
    pub(super) fn stack_size(&self) -> Ty {
        match (self.is_64(), self.is(mode::STACK32) || !self.is(mode::SYSTEM)) {
            (true, _) => Ty::I64,
            (false, true) => Ty::I32,
            (false, false) => Ty::I16,
        }
    }

    /// The stack pointer.
    pub(super) fn top(&self) -> V<'b> {
        self.part(RSP, self.stack_size())
    }

    /// The linear address of `pointer`, of the stack pointer's type, for an access of type `ty`.
    pub(super) fn stack_address(&self, pointer: V<'b>, ty: Ty, access: Access) -> V<'b> {
        let bytes = ty.bytes().into();
        self.linear(Register::SS, pointer.zext(Ty::I64), bytes, || access)
    }

    /// Pushes a value of its own width.
    pub(super) fn push(&self, value: V<'b>) {
        let top = self.top() - u64::from(value.ty().bytes());
        self.store(self.stack_address(top, value.ty(), Access::Write), value);
        self.set_part(RSP, top);
    }

    /// Pops a value of type `ty`. Nothing may fault afterwards.
    pub(super) fn pop(&self, ty: Ty) -> V<'b> {
        let top = self.top();
        let value = self.load(ty, self.stack_address(top, ty, Access::Read));
        self.set_part(RSP, top + u64::from(ty.bytes()));
        value
    }
}

fn push_selector<'b>(l: &Lift<'b>, selector: V<'b>) -> bool {
    let top = l.top() - 4;
    l.store(l.stack_address(top, Ty::I16, Access::Write), selector);
    l.set_part(RSP, top);
    true
}

/// PUSHA: the lowest first, which is the one that may lie on another, missing page.
fn push_all(l: &Lift<'_>, ty: Ty) {
    let bytes = u64::from(ty.bytes());
    let top = l.top();
    for n in (0..8).rev() {
        let address = l.stack_address(top - (n + 1) * bytes, ty, Access::Write);
        l.store(address, l.part(gpr(n as usize), ty));
    }
    l.set_part(RSP, top - 8 * bytes);
}

/// POPA: all but the stack pointer.
fn pop_all(l: &Lift<'_>, ty: Ty) {
    let bytes = u64::from(ty.bytes());
    let top = l.top();
    let values: [V<'_>; 8] = std::array::from_fn(|n| {
        l.load(ty, l.stack_address(top + (7 - n as u64) * bytes, ty, Access::Read))
    });
    for (n, value) in values.into_iter().enumerate().filter(|&(n, _)| gpr(n) != RSP) {
        l.set_part(gpr(n), value);
    }
    l.set_part(RSP, top + 8 * bytes);
}

fn pop(l: &mut Lift<'_>) {
    let ty = l.stack_ty();
    let bytes = u64::from(ty.bytes());
    if l.segment_operand(DEST).is_some() {
        let top = l.top();
        // Only the selector is read, whatever RSP moves by.
        let value = l.load(Ty::I16, l.stack_address(top, Ty::I16, Access::Read));
        l.set_segment(l.insn.op_register(DEST), value);
        l.set_part(RSP, top + bytes);
        return;
    }
    if l.insn.op_kind(DEST) == OpKind::Register {
        let value = l.pop(ty);
        l.write(DEST, value);
        return;
    }
    // An address by RSP is computed after RSP has been moved (SDM 2B, POP).
    let top = l.top();
    let value = l.load(ty, l.stack_address(top, ty, Access::Read));
    let by_rsp = l.insn.memory_base().full_register() == Register::RSP;
    let offset = if by_rsp { l.moved_offset(bytes) } else { l.offset() };
    l.store(l.linear(l.insn.memory_segment(), offset, bytes, || Access::Write), value);
    l.set_part(RSP, top + bytes);
}

/// ENTER. What lies below the stack pointer may have been written when it faults.
fn enter(l: &mut Lift<'_>) {
    let ty = l.stack_ty();
    let bytes = u64::from(ty.bytes());
    let size = l.insn.immediate(DEST);
    let level = l.insn.immediate(SRC) & 31;
    let frame = l.part(RBP, l.stack_size());
    let new_frame = l.top() - bytes;
    // RBP takes the width of the operand, which the stack pointer's may be narrower than.
    let saved = l.part(RBP, ty);
    let wide_frame = match l.stack_size() {
        Ty::I16 if ty == Ty::I32 => (l.part(RSP, Ty::I32) & 0xffff_0000) | new_frame.zext(ty),
        _ => new_frame.trunc(ty),
    };
    l.store(l.stack_address(new_frame, ty, Access::Write), saved);
    for n in 1..level {
        let outer = l.load(ty, l.stack_address(frame - n * bytes, ty, Access::Read));
        l.store(l.stack_address(new_frame - n * bytes, ty, Access::Write), outer);
    }
    if level > 0 {
        l.store(l.stack_address(new_frame - level * bytes, ty, Access::Write), wide_frame);
    }
    let new_top = new_frame - level * bytes - size;
    // The new top must be writable (SDM 2A, ENTER): written with what is there. One byte will do,
    // and is never a locked access across cache lines.
    let probe = l.stack_address(new_top, Ty::I8, Access::Write);
    l.b.rmw(Rmw::Or, super::ATOMIC, probe, l.iconst(Ty::I8, 0));
    l.set_part(RBP, wide_frame);
    l.set_part(RSP, new_top);
}
