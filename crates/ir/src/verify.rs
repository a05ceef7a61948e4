//! Checks that a block keeps the rules of the operation list.

use crate::ops::{Imm, Op, Rule};
use crate::{Block, Inst, SlotInfo, Ty, Value};

/// The first rule a block breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// Index of the operation; the number of operations for the block's end.
    pub index: usize,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for VerifyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "op {}: {}", self.index, self.message)
    }
}

impl std::error::Error for VerifyError {}

/// Checks types, definition before use, immediates and slots; `slots` is the guest's table.
pub fn verify(block: &Block, slots: &[SlotInfo]) -> Result<(), VerifyError> {
    for (index, inst) in block.insts.iter().enumerate() {
        verify_inst(block, index, inst, slots).map_err(|message| VerifyError { index, message })?;
    }
    let index = block.insts.len();
    let at_end = |message| VerifyError { index, message };
    if let Some(value) = block.end.value() {
        let ty = type_of(block, index, value).map_err(at_end)?;
        let expected = match block.end {
            crate::End::Branch { .. } => Ty::I1,
            _ => Ty::I64,
        };
        if ty != expected {
            return Err(at_end(format!("the end uses {ty:?}, not {expected:?}")));
        }
    }
    match block.insts.first() {
        Some(Inst { op: Op::Insn, .. }) | None => Ok(()),
        Some(_) => Err(VerifyError { index: 0, message: "an op before the first insn".into() }),
    }
}

fn type_of(block: &Block, user: usize, value: Value) -> Result<Ty, String> {
    match block.insts.get(value.index()) {
        Some(inst) if value.index() < user => {
            inst.result().ok_or_else(|| format!("v{} yields nothing", value.0))
        }
        _ => Err(format!("v{} is not defined before", value.0)),
    }
}

fn verify_inst(block: &Block, index: usize, inst: &Inst, slots: &[SlotInfo]) -> Result<(), String> {
    let info = inst.op.info();
    if !info.types.contains(&inst.ty) {
        return Err(format!("{} of type {:?}", info.name, inst.ty));
    }
    let count = inst.args().count();
    let optional = info.imm == Imm::Helper;
    if count > info.args.len() || (count < info.args.len() && !optional) {
        return Err(format!("{} takes {} arguments, has {count}", info.name, info.args.len()));
    }
    for (arg, rule) in inst.args().zip(info.args) {
        let ty = type_of(block, index, arg)?;
        let width = |t: Ty| t.bits();
        let fits = match *rule {
            Rule::T => ty == inst.ty,
            Rule::Is(is) => ty == is,
            Rule::Narrower => (ty.is_int() || ty == Ty::I1) && width(ty) < width(inst.ty),
            Rule::Wider => ty.is_int() && width(ty) > width(inst.ty),
            Rule::SameWidth => width(ty) == width(inst.ty),
            Rule::AnyInt => ty.is_int() || ty == Ty::I1,
        };
        if !fits {
            return Err(format!("{} of {:?}: v{} is {ty:?}", info.name, inst.ty, arg.0));
        }
        if info.imm == Imm::Ty && ty as u64 != inst.imm {
            return Err(format!("{} names a source type that v{} has not", info.name, arg.0));
        }
    }
    match info.imm {
        Imm::Const if inst.ty.wrap(inst.imm) != inst.imm => {
            Err(format!("constant {:#x} is wider than {:?}", inst.imm, inst.ty))
        }
        Imm::Slot => match slots.get(inst.imm as usize) {
            Some(slot) if slot.ty == inst.ty => Ok(()),
            Some(slot) => Err(format!("slot {} is {:?}", slot.name, slot.ty)),
            None => Err(format!("no slot {}", inst.imm)),
        },
        _ => Ok(()),
    }
}
