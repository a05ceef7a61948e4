//! Transfers of control between segments (SDM 3A 5.8): helpers do them in the system machine. A
//! process has one code segment to go to.

use super::{DEST, Lift};
use crate::flags::{ARITHMETIC, DF, USER};
use crate::helpers::Id;
use crate::state::RSP;
use crate::{mode, trap};
use iced_x86::{Code, Mnemonic, OpKind};
use mynah_ir::{End, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    let system = l.is(mode::SYSTEM);
    match mnemonic {
        Mnemonic::Jmp | Mnemonic::Call if system => transfer(l, mnemonic),
        Mnemonic::Retf if system => ret_system(l),
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq if system => iret_system(l),
        Mnemonic::Jmp => jmp(l),
        Mnemonic::Call => call(l),
        Mnemonic::Retf => ret(l),
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => iret(l),
        _ => return false,
    }
    true
}

/// The bytes of the operand size, as helpers are told.
fn bytes<'b>(l: &Lift<'b>, ty: Ty) -> V<'b> {
    l.iconst(Ty::I64, ty.bytes().into())
}

/// Ends the block where a helper says. The mode may have changed.
fn dispatch(l: &mut Lift<'_>, target: V<'_>) {
    l.forget_flags();
    l.end(End::Dispatch(target.value()));
}

/// Offset and selector of the far pointer in memory or in the instruction.
fn pointer<'b>(l: &Lift<'b>) -> (V<'b>, V<'b>) {
    match l.insn.op_kind(DEST) {
        OpKind::FarBranch16 => {
            let offset = l.iconst(Ty::I16, l.insn.far_branch16().into());
            (offset, l.iconst(Ty::I16, l.insn.far_branch_selector().into()))
        }
        OpKind::FarBranch32 => {
            let offset = l.iconst(Ty::I32, l.insn.far_branch32().into());
            (offset, l.iconst(Ty::I16, l.insn.far_branch_selector().into()))
        }
        _ => {
            let ty = match l.insn.memory_size().size() {
                4 => Ty::I16,
                6 => Ty::I32,
                _ => Ty::I64,
            };
            let address = l.ea(DEST);
            let offset = l.load(ty, address);
            (offset, l.load(Ty::I16, address + u64::from(ty.bytes())))
        }
    }
}

fn transfer(l: &mut Lift<'_>, mnemonic: Mnemonic) {
    let (offset, selector) = pointer(l);
    let helper = if mnemonic == Mnemonic::Call { Id::CallFar } else { Id::JumpFar };
    let shape = selector.zext(Ty::I64).shl(16) | u64::from(offset.ty().bytes());
    let next = l.iconst(Ty::I64, l.next());
    let target = l.call(helper, &[shape, offset, next]);
    dispatch(l, target);
}

fn ret_ty(l: &Lift<'_>) -> Ty {
    match l.insn.code() {
        Code::Retfw | Code::Retfw_imm16 => Ty::I16,
        Code::Retfd | Code::Retfd_imm16 => Ty::I32,
        _ => Ty::I64,
    }
}

fn iret_ty(mnemonic: Mnemonic) -> Ty {
    match mnemonic {
        Mnemonic::Iret => Ty::I16,
        Mnemonic::Iretd => Ty::I32,
        _ => Ty::I64,
    }
}

/// RET n: the bytes of parameters.
fn parameters(l: &Lift<'_>) -> u64 {
    if l.insn.op_count() > 0 { l.insn.immediate(DEST) } else { 0 }
}

fn ret_system(l: &mut Lift<'_>) {
    let parameters = l.iconst(Ty::I64, parameters(l));
    let target = l.call(Id::ReturnFar, &[bytes(l, ret_ty(l)), parameters]);
    dispatch(l, target);
}

fn iret_system(l: &mut Lift<'_>) {
    let bytes = bytes(l, iret_ty(l.insn.mnemonic()));
    let next = l.iconst(Ty::I64, l.next());
    let target = l.call(Id::ReturnInterrupt, &[bytes, next]);
    dispatch(l, target);
}

/// The code segment of a 64-bit process: far transfers may go there only.
const USER_CODE: u64 = 0x33;
/// Its stack segment.
const USER_STACK: u64 = 0x2b;

fn jmp(l: &mut Lift<'_>) {
    let (offset, selector) = pointer(l);
    l.fault_if(selector.ne(USER_CODE), trap::PROTECTION);
    l.end(End::Dispatch(offset.zext(Ty::I64).value()));
}

fn call(l: &mut Lift<'_>) {
    let (offset, selector) = pointer(l);
    l.fault_if(selector.ne(USER_CODE), trap::PROTECTION);
    let offset = offset.zext(Ty::I64);
    let bytes = l.insn.stack_pointer_increment().unsigned_abs() as u64 / 2;
    let ty = Ty::int(bytes as u32).unwrap_or(Ty::I64);
    let top = l.get(RSP) - 2 * bytes;
    // The upper slot first: it is the one that may lie on another, missing page.
    l.store(top + bytes, l.iconst(ty, USER_CODE));
    l.store(top, l.iconst(ty, l.next()));
    l.set(RSP, top);
    l.end(End::Dispatch(offset.value()));
}

/// Entry `n` of the stack, of the width this instruction pops.
fn entry<'b>(l: &Lift<'b>, ty: Ty, n: u64) -> V<'b> {
    l.load(ty, l.get(RSP) + n * u64::from(ty.bytes())).zext(Ty::I64)
}

fn ret(l: &mut Lift<'_>) {
    let ty = ret_ty(l);
    let target = entry(l, ty, 0);
    let selector = entry(l, ty, 1).trunc(Ty::I16);
    l.fault_if(selector.ne(USER_CODE), trap::PROTECTION);
    l.set(RSP, l.get(RSP) + (2 * u64::from(ty.bytes()) + parameters(l)));
    l.end(End::Dispatch(target.value()));
}

fn iret(l: &mut Lift<'_>) {
    let ty = iret_ty(l.insn.mnemonic());
    let [target, code, rflags, top, stack] = [0, 1, 2, 3, 4].map(|n| entry(l, ty, n));
    let bad_code = code.trunc(Ty::I16).ne(USER_CODE);
    let bad_stack = stack.trunc(Ty::I16).ne(USER_STACK);
    l.fault_if(bad_code | bad_stack, trap::PROTECTION);
    let mask = l.iconst(Ty::I64, (ARITHMETIC | DF | USER) & ty.mask());
    l.call(Id::SetRflags, &[rflags, mask]);
    l.forget_flags();
    l.set(RSP, top);
    l.end(End::Dispatch(target.value()));
}
