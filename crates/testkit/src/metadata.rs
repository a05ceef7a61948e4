//! iced's knowledge of registers and flags against what lifts do.
//!
//! iced tells for each instruction which registers and flags it reads and writes. [`check`] looks at
//! the IR of its lift as optimised for what slots it reads before it sets them and what it sets,
//! helpers included as far as their table says, and tells where a lift touches a register that the
//! instruction does not, sets none that it should, or reads or leaves alone flags wrongly.

use crate::generate::ARITHMETIC;
use crate::pages::ENTRY;
use crate::runner::lift;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, Mnemonic, OpAccess, Register,
};
use mynah_guest::Guest;
use mynah_ir::{Block, Op, Slot, SlotSet};
use mynah_x86::{X86, state};

/// What a lift does with slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Touched {
    read: SlotSet,
    set: SlotSet,
}

/// What the block surely does, and what it may do: a helper's table is allowed to be generous, but
/// for what a pure one reads.
fn touched(block: &Block) -> (Touched, Touched) {
    let (mut sure, mut may) = (Touched::default(), Touched::default());
    for inst in &block.insts {
        match inst.op {
            Op::Get => {
                let slot = Slot(inst.imm as u8);
                if !may.set.contains(slot) {
                    sure.read.insert(slot);
                    may.read.insert(slot);
                }
            }
            Op::Set => {
                sure.set.insert(Slot(inst.imm as u8));
                may.set.insert(Slot(inst.imm as u8));
            }
            Op::Call => {
                let helper = &<X86>::HELPERS[inst.imm as usize];
                may.read = may.read.union(helper.reads.minus(may.set));
                may.set = may.set.union(helper.writes);
                if helper.pure {
                    sure.read = sure.read.union(helper.reads.minus(may.set));
                }
            }
            _ => {}
        }
    }
    (sure, may)
}

/// What is wrong with the lift of the instruction at the start of `code`; `None` if nothing is, or
/// it is none.
pub fn check(code: &[u8]) -> Option<String> {
    let decoded = Decoder::with_ip(64, code, ENTRY, DecoderOptions::NONE).decode();
    if decoded.is_invalid() {
        return None;
    }
    // The environment does what these do.
    if matches!(decoded.flow_control(), FlowControl::Interrupt | FlowControl::Exception)
        || matches!(decoded.mnemonic(), Mnemonic::Syscall | Mnemonic::Cpuid)
    {
        return None;
    }
    let mut block = lift::<X86>(&code[..decoded.len()], ENTRY, 0).ok()?;
    mynah_opt::optimise::<X86>(&mut block);
    let (sure, may) = touched(&block);
    let mut factory = InstructionInfoFactory::new();
    let (mut may_read, mut may_set, mut must_set) = Default::default();
    for used in factory.info(&decoded).used_registers() {
        let Some(slot) = slot_of(used.register()) else { continue };
        classify(used.access(), slot, &mut may_read, &mut may_set, &mut must_set);
        // A part of a register is merged into it, and SSE's scalars are.
        if used.register().size() < 4 || used.register().is_xmm() {
            may_read.insert(slot);
        }
    }
    // SUB and XOR of a register with itself do not read it, says iced; a lift need not know.
    let same = same_register(&decoded);
    may_read = may_read.union(same);
    let named: SlotSet = (0..16).flat_map(|n| [state::gpr(n), state::xmm(n)]).collect();
    let names = |set: SlotSet| {
        set.iter().map(|slot| <X86>::SLOTS[slot.0 as usize].name).collect::<Vec<_>>().join(" ")
    };
    let mut wrong = Vec::new();
    let mut complain = |set: SlotSet, what: &str| {
        if !set.is_empty() {
            wrong.push(format!("{what} {}", names(set)));
        }
    };
    complain(sure.read.intersection(named).minus(may_read), "reads");
    complain(sure.set.intersection(named).minus(may_set), "sets");
    complain(must_set.minus(may.set).minus(same), "does not set");
    let any = |slots: SlotSet| !slots.intersection(state::FLAGS).is_empty();
    let modified = decoded.rflags_modified() & ARITHMETIC;
    if any(sure.set) && modified == 0 {
        wrong.push("sets flags".into());
    }
    if !any(may.set) && decoded.rflags_written() & ARITHMETIC != 0 {
        wrong.push("does not set flags".into());
    }
    // Flags that stay as they were are read to be kept, so that only an instruction that changes
    // all or none of them may not read them.
    let keeps = modified != 0 && modified != ARITHMETIC;
    if any(sure.read) && !keeps && decoded.rflags_read() & ARITHMETIC == 0 && !may_keep(&decoded) {
        wrong.push("reads flags".into());
    }
    // Both ways of a choice may be the same.
    let no_choice = !same.is_empty() || decoded.near_branch_target() == decoded.next_ip();
    if !any(may.read) && !no_choice && decoded.rflags_read() & ARITHMETIC != 0 {
        wrong.push("does not read flags".into());
    }
    if wrong.is_empty() { None } else { Some(wrong.join("; ")) }
}

fn classify(
    access: OpAccess,
    slot: Slot,
    may_read: &mut SlotSet,
    may_set: &mut SlotSet,
    must_set: &mut SlotSet,
) {
    match access {
        OpAccess::Read | OpAccess::CondRead => may_read.insert(slot),
        OpAccess::Write => {
            may_set.insert(slot);
            must_set.insert(slot);
        }
        OpAccess::ReadWrite => {
            may_read.insert(slot);
            may_set.insert(slot);
        }
        // What is not written is kept.
        OpAccess::CondWrite | OpAccess::ReadCondWrite => {
            may_read.insert(slot);
            may_set.insert(slot);
        }
        OpAccess::None | OpAccess::NoMemAccess => {}
    }
}

/// Shifts by a register keep the flags if the count is 0.
fn may_keep(decoded: &iced_x86::Instruction) -> bool {
    use Mnemonic as M;
    matches!(
        decoded.mnemonic(),
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shld | M::Shrd
    ) || decoded.has_rep_prefix()
        || decoded.has_repne_prefix()
}

/// The register that is moved to itself, if one is.
fn same_register(decoded: &iced_x86::Instruction) -> SlotSet {
    let same = decoded.op_count() >= 2 && decoded.op0_register() == decoded.op1_register();
    match slot_of(decoded.op0_register()) {
        Some(slot) if same => SlotSet::of(&[slot]),
        _ => SlotSet::EMPTY,
    }
}

fn slot_of(register: Register) -> Option<Slot> {
    if register.is_gpr() {
        return Some(state::gpr(register.full_register().number()));
    }
    register.is_xmm().then(|| state::xmm(register.number()))
}
