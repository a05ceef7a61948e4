//! What an instruction says of its access that faulted: through which segment it was, and whether it
//! would have written what it read. The instruction is decoded again; nothing is kept for this.

use crate::decode::{self, MAX_LEN};
use crate::paging::{NON_CANONICAL, error};
use crate::segment::{fault, is_canonical};
use crate::{Space, X86, trap};
use iced_x86::{Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};
use mynah_guest::{Access, Cause, Cpu, Fault, MemFault};

/// The exception that `met`, the fault of the instruction at the pc, is: #SS or #GP for what is not
/// canonical, also where only a part of the access is not (SDM 1 3.3.7.1); a write's #PF where an
/// operand is read to be written.
pub(crate) fn exception<M: Space>(cpu: &mut Cpu<X86<M>>, met: Fault) -> Fault {
    let Fault::Memory(MemFault { va, access, cause: Cause::Refused(code) }) = met else {
        return met;
    };
    let five_levels = cpu.state.system.is_la57();
    let beyond = |bytes: u64| !is_canonical(va.wrapping_add(bytes - 1), five_levels);
    // No access is larger than this, but for those that are made part by part.
    let may_be_beyond = cpu.state.is_64() && (code == NON_CANONICAL || beyond(64));
    if access == Access::Fetch || access == Access::Write && !may_be_beyond {
        return met;
    }
    let Some(insn) = instruction(cpu) else { return met };
    let bytes = if is_implicit(&insn) { 8 } else { insn.memory_size().size().max(1) as u64 };
    if may_be_beyond && (code == NON_CANONICAL || beyond(bytes)) {
        let stack = is_stack(&insn, va, cpu.state.gpr[4]);
        return fault(if stack { trap::STACK } else { trap::PROTECTION }, 0);
    }
    let code = if access == Access::Read && writes(&insn) { code | error::WRITE } else { code };
    MemFault { va, access, cause: Cause::Refused(code) }.into()
}

/// The instruction at the pc.
fn instruction<M: Space>(cpu: &mut Cpu<X86<M>>) -> Option<Instruction> {
    const PAGE: u64 = 4096;
    let pc = cpu.core.pc;
    let mut code = [0; MAX_LEN];
    let mut len = 0;
    let mut pa = 0;
    for byte in &mut code {
        let va = pc.wrapping_add(len as u64);
        if len == 0 || va.is_multiple_of(PAGE) {
            let Ok(found) = cpu.memory.locate(va) else { break };
            pa = found;
        }
        *byte = cpu.memory.load_physical(pa & !7).to_le_bytes()[(pa & 7) as usize];
        (len, pa) = (len + 1, pa + 1);
    }
    decode::decode(&code[..len], pc, cpu.state.system.mode).ok()
}

/// Whether it writes the memory operand that it reads. What it does on the stack besides is a write
/// anyhow, or (POP) reads what no operand is.
fn writes(insn: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(insn);
    let written = |op| matches!(info.op_access(op), OpAccess::ReadWrite | OpAccess::ReadCondWrite);
    (0..insn.op_count()).any(|op| insn.op_kind(op) == OpKind::Memory && written(op))
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
