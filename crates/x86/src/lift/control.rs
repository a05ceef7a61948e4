//! Transfers of control (SDM 1 7.3.8).

use super::{DEST, Lift};
use crate::flags::{ARITHMETIC, Cond, DF, SYSTEM};
use crate::helpers::Id;
use crate::state::{RCX, RSP};
use crate::trap;
use iced_x86::{Code, Mnemonic, OpKind};
use mynah_ir::{End, Ty, V};

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    match mnemonic {
        Mnemonic::Jmp if l.is_near_branch() => l.end(End::Jump(l.insn.near_branch_target())),
        Mnemonic::Jmp if l.insn.is_jmp_far_indirect() => jmp_far(l),
        Mnemonic::Jmp => {
            let target = l.read(DEST).value();
            l.end(End::Dispatch(target));
        }
        Mnemonic::Call if l.is_near_branch() => call(l),
        Mnemonic::Call if l.insn.is_call_far_indirect() => call_far(l),
        Mnemonic::Call => {
            let to = l.read(DEST).value();
            let ret = l.next();
            l.push(l.iconst(Ty::I64, ret));
            l.end(End::CallIndirect { to, ret });
        }
        Mnemonic::Ret => {
            let target = l.pop(Ty::I64);
            drop_parameters(l);
            l.end(End::Return(target.value()));
        }
        Mnemonic::Retf => ret_far(l),
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => iret(l),
        Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => {
            let taken = l.counter().eq(0);
            l.branch(taken);
        }
        Mnemonic::Loop => {
            let more = l.count_down();
            l.branch(more);
        }
        Mnemonic::Loope => {
            let more = l.count_down() & l.cond(Cond::E);
            l.branch(more);
        }
        Mnemonic::Loopne => {
            let more = l.count_down() & l.cond(Cond::E.negated());
            l.branch(more);
        }
        _ if l.insn.is_jcc_short_or_near() => {
            let cond = l.cond(Cond(l.insn.condition_code() as u8 - 1));
            l.branch(cond);
        }
        _ => return false,
    }
    true
}

impl<'b> Lift<'b> {
    fn is_near_branch(&self) -> bool {
        let kind = self.insn.op_kind(DEST);
        matches!(kind, OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
    }

    /// Ends the block: to the branch target if `taken`, else behind the instruction.
    fn branch(&mut self, taken: V<'b>) {
        let (to, not) = (self.insn.near_branch_target(), self.next());
        self.end(End::Branch { cond: taken.value(), taken: to, not });
    }

    /// RCX or ECX, as the address size says.
    fn counter(&self) -> V<'b> {
        let narrow = matches!(
            self.insn.code(),
            Code::Jecxz_rel8_64
                | Code::Loop_rel8_64_ECX
                | Code::Loope_rel8_64_ECX
                | Code::Loopne_rel8_64_ECX
        );
        self.part(RCX, if narrow { Ty::I32 } else { Ty::I64 })
    }

    /// Counts down; whether there is more.
    fn count_down(&self) -> V<'b> {
        let count = self.counter() - 1;
        self.set_part(RCX, count);
        count.ne(0)
    }
}

fn call(l: &mut Lift<'_>) {
    let (to, ret) = (l.insn.near_branch_target(), l.next());
    l.push(l.iconst(Ty::I64, ret));
    // A call of the next instruction reads the pc; nothing returns from it.
    l.end(if to == ret { End::Jump(to) } else { End::Call { to, ret } });
}

/// RET n: n bytes of parameters are dropped.
fn drop_parameters(l: &mut Lift<'_>) {
    if l.insn.op_count() > 0 {
        l.set(RSP, l.get(RSP) + l.insn.immediate(DEST));
    }
}

/// The code segment of a 64-bit process: far transfers may go there only.
const USER_CODE: u64 = 0x33;
/// Its stack segment.
const USER_STACK: u64 = 0x2b;

/// Offset and selector of a far pointer in memory.
fn far_pointer<'b>(l: &Lift<'b>) -> (V<'b>, V<'b>) {
    let ty = match l.insn.memory_size().size() {
        4 => Ty::I16,
        6 => Ty::I32,
        _ => Ty::I64,
    };
    let address = l.ea(DEST);
    let offset = l.load(ty, address).zext(Ty::I64);
    let selector = l.load(Ty::I16, address + u64::from(ty.bytes()));
    (offset, selector)
}

fn jmp_far(l: &mut Lift<'_>) {
    let (offset, selector) = far_pointer(l);
    l.fault_if(selector.ne(USER_CODE), trap::PROTECTION);
    l.end(End::Dispatch(offset.value()));
}

fn call_far(l: &mut Lift<'_>) {
    let (offset, selector) = far_pointer(l);
    l.fault_if(selector.ne(USER_CODE), trap::PROTECTION);
    let ty = l.stack_ty();
    let ty = if ty.bits() > 32 { Ty::I64 } else { ty };
    let bytes = l.insn.stack_pointer_increment().unsigned_abs() as u64 / 2;
    let ty = Ty::int(bytes as u32).unwrap_or(ty);
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

fn ret_far(l: &mut Lift<'_>) {
    let ty = match l.insn.code() {
        Code::Retfw | Code::Retfw_imm16 => Ty::I16,
        Code::Retfd | Code::Retfd_imm16 => Ty::I32,
        _ => Ty::I64,
    };
    let target = entry(l, ty, 0);
    let selector = entry(l, ty, 1).trunc(Ty::I16);
    l.fault_if(selector.ne(USER_CODE), trap::PROTECTION);
    l.set(RSP, l.get(RSP) + 2 * u64::from(ty.bytes()));
    drop_parameters(l);
    l.end(End::Dispatch(target.value()));
}

fn iret(l: &mut Lift<'_>) {
    let ty = match l.insn.mnemonic() {
        Mnemonic::Iret => Ty::I16,
        Mnemonic::Iretd => Ty::I32,
        _ => Ty::I64,
    };
    let [target, code, rflags, top, stack] = [0, 1, 2, 3, 4].map(|n| entry(l, ty, n));
    let bad_code = code.trunc(Ty::I16).ne(USER_CODE);
    let bad_stack = stack.trunc(Ty::I16).ne(USER_STACK);
    l.fault_if(bad_code | bad_stack, trap::PROTECTION);
    let mask = l.iconst(Ty::I64, (ARITHMETIC | DF | SYSTEM) & ty.mask());
    l.call(Id::SetRflags, &[rflags, mask]);
    l.forget_flags();
    l.set(RSP, top);
    l.end(End::Dispatch(target.value()));
}
