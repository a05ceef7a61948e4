//! From the IR to Cranelift's: one exhaustive match over the operations.

mod control;
mod kept;
mod memory;
mod scalar;
mod vector;

pub(crate) use kept::has_floats;

use crate::region::{self, Flow, Shape};
use crate::stubs::unit_signature;
use crate::{Exit, LinkSlot, Site};
use cranelift_codegen::ir::{
    self as clif, Function, InstBuilder, MemFlagsData, SigRef, SourceLoc, types,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use mynah_guest::{Core, Cpu, Guest};
use mynah_ir::ops::Rule;
use mynah_ir::{Block, End, Inst, NONE, Op, Slot, SlotSet, Ty, Value};
use std::marker::PhantomData;
use std::mem::offset_of;

/// Lowers the unit into `func`; yields its exits and the site of each source location.
pub(crate) fn unit<G: Guest>(
    isa: &dyn TargetIsa,
    func: &mut Function,
    context: &mut FunctionBuilderContext,
    blocks: &[&Block],
) -> (Box<[LinkSlot]>, Vec<Site>) {
    func.signature = unit_signature();
    let mut b = FunctionBuilder::new(func, context);
    let shape = Shape::of(blocks);
    let flows = region::analyse::<G>(blocks, &shape);
    let lazily = region::is_lazy::<G>(&flows);
    let start = b.create_block();
    let bodies = blocks.iter().map(|_| b.create_block()).collect();
    b.append_block_params_for_function_params(start);
    b.switch_to_block(start);
    let cpu = b.block_params(start)[0];
    let entry_live = flows[0].live;
    let polls = !flows[0].is_loop;
    let unit_sig = b.import_signature(unit_signature());
    let mut lower = Lower::<G> {
        b,
        cpu,
        vars: vec![None; G::SLOTS.len()],
        exits: exits(blocks),
        used_exits: 0,
        bodies,
        shape,
        flows,
        lazily,
        dirty: SlotSet::EMPTY,
        values: Vec::new(),
        sites: Vec::new(),
        page: blocks[0].key.pc / mynah_mem::PAGE,
        unit_sig,
        helper_sig: None,
        thunk_sig: None,
        fill_sig: None,
        guest: PhantomData,
    };
    for slot in entry_live.iter() {
        lower.reload(slot);
    }
    if polls {
        lower.poll(blocks[0].key.pc);
    }
    let first = lower.bodies[0];
    lower.b.ins().jump(first, &[]);
    let kept = kept::for_flags::<G>(blocks, &lower.flows);
    for (index, block) in blocks.iter().enumerate() {
        lower.block(index, block, &kept[index]);
    }
    let Lower { mut b, exits, sites, .. } = lower;
    b.seal_all_blocks();
    b.finalize(isa.frontend_config());
    (exits, sites)
}

/// A slot for every exit that the unit may have; more than are used when successors are inside.
fn exits(blocks: &[&Block]) -> Box<[LinkSlot]> {
    let of_block = |block: &&Block| {
        let side = block.insts.iter().filter(|i| i.op == Op::ExitIf).map(|i| i.imm);
        side.chain(region::targets(&block.end)).collect::<Vec<_>>()
    };
    blocks.iter().flat_map(of_block).map(LinkSlot::new).collect()
}

/// A unit being lowered.
struct Lower<'f, G: Guest> {
    b: FunctionBuilder<'f>,
    /// The vCPU's address.
    cpu: clif::Value,
    /// The variable of each slot that the unit touches.
    vars: Vec<Option<Variable>>,
    exits: Box<[LinkSlot]>,
    used_exits: usize,
    bodies: Vec<clif::Block>,
    shape: Shape,
    flows: Vec<Flow>,
    /// [`region::is_lazy`].
    lazily: bool,
    /// Slots whose variable may be newer than the state.
    dirty: SlotSet,
    /// Values of the block being lowered.
    values: Vec<Option<clif::Value>>,
    /// Guest instructions, by source location; the last is being lowered.
    sites: Vec<Site>,
    /// The virtual page of the unit's code.
    page: u64,
    unit_sig: SigRef,
    helper_sig: Option<SigRef>,
    thunk_sig: Option<SigRef>,
    fill_sig: Option<SigRef>,
    guest: PhantomData<G>,
}

/// The Cranelift type that holds a value of type `ty`.
fn clif_type(ty: Ty) -> clif::Type {
    match ty {
        Ty::I1 | Ty::I8 => types::I8,
        Ty::I16 => types::I16,
        Ty::I32 => types::I32,
        Ty::I64 => types::I64,
        Ty::F32 => types::F32,
        Ty::F64 => types::F64,
        Ty::V128 => types::I8X16,
    }
}

/// Accesses to the vCPU's own memory: aligned, never refused.
fn own() -> MemFlagsData {
    MemFlagsData::trusted()
}

/// As [`own`], for what does not change while the unit runs.
fn constant() -> MemFlagsData {
    MemFlagsData::trusted().with_readonly().with_can_move()
}

impl<G: Guest> Lower<'_, G> {
    /// Lowers the block; results of the operations that are `kept` are stored, as if for use.
    fn block(&mut self, index: usize, block: &Block, kept: &[bool]) {
        let body = self.bodies[index];
        self.b.switch_to_block(body);
        self.dirty = self.flows[index].dirty;
        self.values.clear();
        self.values.resize(block.insts.len(), None);
        if self.flows[index].is_loop {
            self.poll(block.key.pc);
        }
        for (i, inst) in block.insts.iter().enumerate() {
            self.values[i] = self.inst(block, inst);
            if let (Some(true), Some(value)) = (kept.get(i), self.values[i]) {
                self.b.ins().store(own(), value, self.cpu, offset_of!(Core, scratch) as i32);
            }
        }
        self.end(&block.end);
    }

    fn inst(&mut self, block: &Block, inst: &Inst) -> Option<clif::Value> {
        match inst.op {
            Op::Insn => {
                self.b.set_srcloc(SourceLoc::new(self.sites.len() as u32));
                let recover = block.recover.iter().filter(|r| r.pc == inst.imm).copied();
                self.sites.push(Site { pc: inst.imm, recover: recover.collect() });
                None
            }
            Op::Get => Some(self.get(Slot(inst.imm as u8))),
            Op::Set => {
                let slot = Slot(inst.imm as u8);
                let value = self.arg(inst, 0);
                let var = self.var(slot);
                self.b.def_var(var, value);
                self.dirty.insert(slot);
                None
            }
            Op::Load => Some(self.load(inst)),
            Op::Store => {
                self.store(inst);
                None
            }
            Op::Rmw => Some(self.rmw(inst)),
            Op::Cas => Some(self.cas(inst)),
            Op::Fence => {
                self.b.ins().fence();
                None
            }
            Op::ExitIf => {
                self.exit_if(inst);
                None
            }
            Op::TrapIf => {
                self.trap_if(inst);
                None
            }
            Op::Call => Some(self.call(inst)),
            _ => Some(
                self.scalar(inst).or_else(|| self.vector(inst)).unwrap_or_else(|| self.thunk(inst)),
            ),
        }
    }

    fn arg(&self, inst: &Inst, index: usize) -> clif::Value {
        self.value(inst.args[index])
    }

    fn value(&self, value: Value) -> clif::Value {
        self.values[value.index()].expect("the verifier checked that it is defined")
    }

    // ── guest state ──────────────────────────────────────────────────────────────────────────

    fn var(&mut self, slot: Slot) -> Variable {
        let var = &mut self.vars[slot.0 as usize];
        *var.get_or_insert_with(|| self.b.declare_var(clif_type(G::SLOTS[slot.0 as usize].ty)))
    }

    fn get(&mut self, slot: Slot) -> clif::Value {
        let var = self.var(slot);
        self.b.use_var(var)
    }

    /// Makes the variable of `slot` what the state holds.
    fn reload(&mut self, slot: Slot) {
        let ty = clif_type(G::SLOTS[slot.0 as usize].ty);
        let value = self.b.ins().load(ty, own(), self.cpu, Cpu::<G>::offset(slot) as i32);
        let var = self.var(slot);
        self.b.def_var(var, value);
    }

    /// Stores those of `slots` that are dirty; they stay so if the caller does not say otherwise.
    fn write_back(&mut self, slots: SlotSet) {
        for slot in self.dirty.intersection(slots).iter() {
            let value = self.get(slot);
            self.b.ins().store(own(), value, self.cpu, Cpu::<G>::offset(slot) as i32);
        }
    }

    /// Brings the state up to date before `inst`; yields the slots that it makes stale.
    fn sync(&mut self, inst: &Inst) -> SlotSet {
        let sync = region::sync::<G>(inst, self.lazily);
        self.write_back(sync.stored);
        self.dirty = self.dirty.minus(sync.stored);
        sync.stale
    }

    // ── calls ────────────────────────────────────────────────────────────────────────────────

    fn core_load(&mut self, ty: clif::Type, flags: MemFlagsData, offset: usize) -> clif::Value {
        self.b.ins().load(ty, flags, self.cpu, offset as i32)
    }

    fn table_entry(&mut self, table: usize, index: usize) -> clif::Value {
        let table = self.core_load(types::I64, constant(), table);
        self.b.ins().load(types::I64, constant(), table, (index * 8) as i32)
    }

    fn call(&mut self, inst: &Inst) -> clif::Value {
        let stale = self.sync(inst);
        let signature = *self.helper_sig.get_or_insert_with(|| {
            let mut signature = clif::Signature::new(CallConv::SystemV);
            signature.params.extend([clif::AbiParam::new(types::I64); 4]);
            signature.returns.push(clif::AbiParam::new(types::I64));
            self.b.import_signature(signature)
        });
        let mut args = [self.cpu; 4];
        for i in 0..3 {
            args[i + 1] = if inst.args[i] == NONE {
                self.b.ins().iconst(types::I64, 0)
            } else {
                let value = self.arg(inst, i);
                self.widen(value)
            };
        }
        let function = self.table_entry(offset_of!(Core, helpers), inst.imm as usize);
        let call = self.b.ins().call_indirect(signature, function, &args);
        let result = self.b.inst_results(call)[0];
        if G::HELPERS[inst.imm as usize].faults {
            let pending = self.core_load(types::I32, own(), offset_of!(Core, fault_pending));
            self.leave_if(pending, Exit::HelperFault);
        }
        for slot in stale.iter() {
            self.reload(slot);
        }
        result
    }

    /// An integer as 64 bits, zeros above.
    fn widen(&mut self, value: clif::Value) -> clif::Value {
        if self.b.func.dfg.value_type(value) == types::I64 {
            value
        } else {
            self.b.ins().uextend(types::I64, value)
        }
    }

    /// Calls the operation's own evaluator.
    fn thunk(&mut self, inst: &Inst) -> clif::Value {
        let signature = *self.thunk_sig.get_or_insert_with(|| {
            let mut signature = clif::Signature::new(CallConv::SystemV);
            signature.params.extend([clif::AbiParam::new(types::I64); 3]);
            self.b.import_signature(signature)
        });
        let scratch = |i: usize| (offset_of!(Core, scratch) + 16 * i) as i32;
        let is_vector = inst.op.info().args.iter().any(|r| vector_rule(*r, inst.ty))
            || inst.result() == Some(Ty::V128);
        for (i, arg) in inst.args().enumerate() {
            let value = self.value(arg);
            let ty = self.b.func.dfg.value_type(value);
            let value = if ty == types::F32 {
                self.b.ins().bitcast(types::I32, MemFlagsData::new(), value)
            } else {
                value
            };
            let ty = self.b.func.dfg.value_type(value);
            let value = if ty.is_int() { self.widen(value) } else { value };
            self.b.ins().store(own(), value, self.cpu, scratch(i));
            if is_vector && ty.bytes() < 16 {
                let zero = self.b.ins().iconst(types::I64, 0);
                self.b.ins().store(own(), zero, self.cpu, scratch(i) + 8);
            }
        }
        let imm = self.b.ins().iconst(types::I64, inst.imm as i64);
        let ty = self.b.ins().iconst(types::I64, inst.ty as i64);
        let core = self.b.ins().iadd_imm_s(self.cpu, offset_of!(Cpu<G>, core) as i64);
        let function = self.table_entry(offset_of!(Core, thunks), inst.op as usize);
        self.b.ins().call_indirect(signature, function, &[core, imm, ty]);
        let result = inst.result().expect("an operation with an evaluator has a result");
        self.b.ins().load(clif_type(result), own(), self.cpu, scratch(3))
    }

    // ── the end ──────────────────────────────────────────────────────────────────────────────

    fn end(&mut self, end: &End) {
        match *end {
            End::Jump(to) | End::Call { to, .. } => self.goto(to),
            End::Branch { cond, taken, not } => {
                let cond = self.value(cond);
                let (yes, yes_outside) = self.branch_target(taken);
                let (no, no_outside) = self.branch_target(not);
                self.b.ins().brif(cond, yes, &[], no, &[]);
                for (block, pc, outside) in [(yes, taken, yes_outside), (no, not, no_outside)] {
                    if outside {
                        self.b.switch_to_block(block);
                        self.goto(pc);
                    }
                }
            }
            End::Return(to) => {
                let to = self.value(to);
                self.return_to(to);
            }
            End::Dispatch(to) | End::CallIndirect { to, .. } => {
                let to = self.value(to);
                self.dispatch(to);
            }
            End::Trap { trap, pc } => {
                self.write_back(SlotSet::ALL);
                self.set_pc(pc);
                self.leave(Exit::Trap(trap));
            }
        }
    }

    /// The Cranelift block for the successor `pc`, and whether it is a new one outside the unit.
    fn branch_target(&mut self, pc: u64) -> (clif::Block, bool) {
        match self.shape.block(pc) {
            Some(index) => (self.bodies[index], false),
            None => (self.b.create_block(), true),
        }
    }
}

fn vector_rule(rule: Rule, ty: Ty) -> bool {
    rule == Rule::Is(Ty::V128) || rule == Rule::T && ty == Ty::V128
}
