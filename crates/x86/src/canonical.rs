//! Accesses beyond the canonical addresses (SDM 1 3.3.7.1): which exception they are depends on the
//! instruction, which is decoded again. They are too rare for anything to be kept for them.

use crate::decode::{self, MAX_LEN};
use crate::paging::NON_CANONICAL;
use crate::segment::{fault, is_canonical};
use crate::{Space, X86, trap};
use iced_x86::{Instruction, OpKind, Register};
use mynah_guest::{Access, Cause, Cpu, Fault, MemFault};

/// The exception that `met`, the fault of the instruction at the pc, is: #SS or #GP for what is not
/// canonical, also where only a part of the access is.
pub(crate) fn exception<M: Space>(cpu: &mut Cpu<X86<M>>, met: Fault) -> Fault {
    let Fault::Memory(MemFault { va, access, cause: Cause::Refused(code) }) = met else {
        return met;
    };
    let five_levels = cpu.state.system.is_la57();
    // No access is larger than this, but for those that are made part by part.
    let beyond = |bytes: u64| !is_canonical(va.wrapping_add(bytes - 1), five_levels);
    if access == Access::Fetch || !cpu.state.is_64() || code != NON_CANONICAL && !beyond(64) {
        return met;
    }
    let Some(insn) = instruction(cpu) else { return met };
    let stack = is_stack(&insn, va, cpu.state.gpr[4]);
    let bytes = if is_implicit(&insn) { 8 } else { insn.memory_size().size().max(1) as u64 };
    if code != NON_CANONICAL && !beyond(bytes) {
        return met;
    }
    fault(if stack { trap::STACK } else { trap::PROTECTION }, 0)
}

/// The instruction at the pc.
fn instruction<M: Space>(cpu: &mut Cpu<X86<M>>) -> Option<Instruction> {
    let pc = cpu.core.pc;
    let mut code = [0; MAX_LEN];
    let mut len = 0;
    for byte in &mut code {
        let Ok(pa) = cpu.memory.locate(pc.wrapping_add(len as u64)) else { break };
        *byte = cpu.memory.load_physical(pa & !7).to_le_bytes()[(pa & 7) as usize];
        len += 1;
    }
    decode::decode(&code[..len], pc, cpu.state.system.mode).ok()
}

/// Whether all of its accesses are those of the stack.
fn is_implicit(insn: &Instruction) -> bool {
    insn.is_stack_instruction() && !has_memory_operand(insn)
}

fn has_memory_operand(insn: &Instruction) -> bool {
    (0..insn.op_count()).any(|op| insn.op_kind(op) == OpKind::Memory)
}

/// Whether the access at `va` goes through SS: the stack's own accesses, and those whose base is RSP
/// or RBP, but for the segments of their own, FS and GS.
fn is_stack(insn: &Instruction, va: u64, rsp: u64) -> bool {
    // An instruction with both kinds of access touches a few bytes at the top of the stack.
    const NEAR: u64 = 16;
    let near = va.wrapping_sub(rsp).wrapping_add(NEAR) < 2 * NEAR;
    if is_implicit(insn) || insn.is_stack_instruction() && near {
        return true;
    }
    let own = matches!(insn.segment_prefix(), Register::FS | Register::GS);
    matches!(insn.memory_base(), Register::RSP | Register::RBP | Register::ESP | Register::EBP)
        && !own
}
