//! The stack (SDM 1 chapter 6).

use super::{DEST, Lift, SRC};
use crate::state::{RBP, RSP};
use iced_x86::{Code, Mnemonic, OpKind, Register};
use mynah_ir::{Rmw, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Push => {
            let value = match l.segment_operand(DEST) {
                Some(selector) => selector.zext(l.stack_ty()),
                None => l.read(DEST),
            };
            l.push(value);
        }
        Mnemonic::Pop => pop(l),
        Mnemonic::Enter => enter(l),
        Mnemonic::Leave => {
            let ty = l.stack_ty();
            let frame = l.get(RBP);
            let saved = l.load(ty, frame);
            l.set(RSP, frame + u64::from(ty.bytes()));
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
            (_, -4 | 4) => Ty::I32,
            _ => Ty::I64,
        }
    }

    /// Pushes a value of its own width.
    pub(super) fn push(&self, value: V<'b>) {
        let top = self.get(RSP) - u64::from(value.ty().bytes());
        self.store(top, value);
        self.set(RSP, top);
    }

    /// Pops a value of type `ty`. Nothing may fault afterwards.
    pub(super) fn pop(&self, ty: Ty) -> V<'b> {
        let top = self.get(RSP);
        let value = self.load(ty, top);
        self.set(RSP, top + u64::from(ty.bytes()));
        value
    }
}

fn pop(l: &mut Lift<'_>) {
    let ty = l.stack_ty();
    if l.segment_operand(DEST).is_some() {
        let top = l.get(RSP);
        // Only the selector is read, whatever RSP moves by.
        let value = l.load(Ty::I16, top);
        l.set_segment(l.insn.op_register(DEST), value);
        l.set(RSP, top + u64::from(ty.bytes()));
        return;
    }
    if l.insn.op_kind(DEST) == OpKind::Register {
        let value = l.pop(ty);
        l.write(DEST, value);
        return;
    }
    // An address by RSP is computed after RSP has been moved (SDM 2B, POP).
    let top = l.get(RSP);
    let bytes = u64::from(ty.bytes());
    let value = l.load(ty, top);
    let by_rsp = l.insn.memory_base().full_register() == Register::RSP;
    let offset = if by_rsp { l.moved_offset(bytes) } else { l.offset() };
    l.store(l.segmented(l.insn.memory_segment(), offset), value);
    l.set(RSP, top + bytes);
}

/// ENTER. What lies below the stack pointer may have been written when it faults.
fn enter(l: &mut Lift<'_>) {
    let ty = l.stack_ty();
    let bytes = u64::from(ty.bytes());
    let size = l.insn.immediate(DEST);
    let level = l.insn.immediate(SRC) & 31;
    let frame = l.get(RBP);
    let top = l.get(RSP);
    let new_frame = top - bytes;
    l.store(new_frame, frame.trunc(ty));
    for n in 1..level {
        let outer = l.load(ty, frame - n * bytes);
        l.store(new_frame - n * bytes, outer);
    }
    if level > 0 {
        l.store(new_frame - level * bytes, new_frame.trunc(ty));
    }
    let new_top = new_frame - level * bytes - size;
    // The new top must be writable (SDM 2A, ENTER): written with what is there. One byte will do,
    // and is never a locked access across cache lines.
    l.b.rmw(Rmw::Or, super::ATOMIC, new_top, l.iconst(Ty::I8, 0));
    l.set_part(RBP, new_frame.trunc(ty));
    l.set(RSP, new_top);
}
