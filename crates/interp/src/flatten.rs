//! From a block to steps.
//!
//! One pass backward counts uses; one forward emits steps. A value lives in a temporary, or in the
//! slot it was read from or written to for as long as that slot holds it. Where a slot is about to
//! change while it still serves as a value, the value moves to a temporary first.
//!
//! A pure operation whose first user is a `set` or the block's end is not emitted where it stands
//! but there, so that it computes straight into the slot, or decides the branch itself. Other
//! results are redirected into the slot afterwards, when nothing in between could see it.

use crate::OwnedCode;
use crate::address::{Address, constant};
use crate::step::{self, Absolute, Base, Indexed, Shape, Step};
use mynah_guest::{Cpu, Guest};
use mynah_ir::ops::Imm;
use mynah_ir::{Align, Block, Effect, End, Inst, MemOp, NONE, Op, Order, Slot, SlotSet, Ty, Value};
use std::cell::RefCell;
use std::marker::PhantomData;

/// The host orders plain accesses as x86 does.
const HOST_IS_TSO: bool = cfg!(target_arch = "x86_64");

/// Why a block cannot be flattened: more values live at once than a vCPU has temporaries. A block
/// of fewer instructions will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyValues;

impl std::fmt::Display for TooManyValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a block has too many values live at once")
    }
}

impl std::error::Error for TooManyValues {}

/// The steps of `block`, which keeps the rules of [`mynah_ir::verify`].
pub fn flatten<G: Guest>(block: &Block) -> Result<OwnedCode<G>, TooManyValues> {
    const { assert!(size_of::<Cpu<G>>() - size_of::<G::Memory>() < 1 << 16) };
    LISTS.with_borrow_mut(|lists| {
        let mut f = Flattener::<G>::new(block, lists);
        f.count_uses();
        f.emit_all()?;
        Ok(f.finish())
    })
}

/// Not emitted yet: no operand lies at offset 0.
const NOWHERE: u16 = 0;

/// Sets that are brought into a good order together, at most.
const GROUP: usize = 8;

/// What is known of the value of the same index.
#[derive(Clone, Copy)]
struct Info {
    /// The value whose place this one shares, and how many bytes further.
    root: u16,
    delta: u8,
    /// The place may hold bits beyond the value's type.
    dirty: bool,
    /// A pure operation that waits for its first user.
    waits: bool,
    /// Its place was read by a step.
    was_read: bool,
    /// Uses that are still to come, of this value and those that share its place.
    uses: u32,
    /// Offset of its place; [`NOWHERE`] before it is emitted.
    at: u16,
    /// The step that computes it.
    step: u32,
    /// The slot that is its place, and the next value whose place it is.
    slot: Option<Slot>,
    next: u16,
}

/// Ends a list of values.
const END: u16 = u16::MAX;

/// What is known of the slots.
struct SlotUses {
    /// First value whose place each is.
    values: [u16; SlotSet::CAPACITY],
    /// One more than the last step that read or wrote each.
    used: [u32; SlotSet::CAPACITY],
}

/// What is made and noted, in memory that is kept from one block to the next: to allocate it would
/// take a good part of the time.
#[derive(Default)]
struct Lists {
    info: Vec<Info>,
    steps: Vec<Step>,
    pcs: Vec<(u32, u64)>,
    links: Vec<u64>,
    /// Steps whose immediate is the index of a link.
    linking: Vec<u32>,
    free: Vec<u16>,
    /// Values in each temporary.
    residents: Vec<u16>,
    dying: Vec<u16>,
}

thread_local! {
    static LISTS: RefCell<Lists> = RefCell::default();
}

struct Flattener<'b, G: Guest> {
    block: &'b Block,
    lists: &'b mut Lists,
    slots: SlotUses,
    next_temp: usize,
    /// One more than the last step that may fault, leave, or see all slots.
    barrier: u32,
    tail: Tail,
    guest: PhantomData<G>,
}

impl<'b, G: Guest> Flattener<'b, G> {
    fn new(block: &'b Block, lists: &'b mut Lists) -> Flattener<'b, G> {
        let Lists { info, steps, pcs, links, linking, free, residents, dying } = lists;
        info.clear();
        steps.clear();
        pcs.clear();
        links.clear();
        linking.clear();
        free.clear();
        residents.clear();
        dying.clear();
        info.extend((0..block.insts.len()).map(|index| Info {
            root: index as u16,
            delta: 0,
            dirty: false,
            waits: false,
            was_read: false,
            uses: 0,
            at: NOWHERE,
            step: 0,
            slot: None,
            next: END,
        }));
        Flattener {
            block,
            lists,
            slots: SlotUses { values: [END; SlotSet::CAPACITY], used: [0; SlotSet::CAPACITY] },
            next_temp: 0,
            barrier: 0,
            tail: Tail::Closed,
            guest: PhantomData,
        }
    }

    // ── uses ─────────────────────────────────────────────────────────────────────────────────

    fn count_uses(&mut self) {
        for index in 0..self.block.insts.len() {
            self.find_root(index);
        }
        let block = self.block;
        if let Some(value) = block.end.value() {
            let waits = matches!(block.end, End::Branch { .. });
            self.count_use(value, waits);
        }
        for (index, inst) in block.insts.iter().enumerate().rev() {
            let info = self.lists.info[index];
            if info.root as usize != index || self.is_dead(index, inst) {
                continue;
            }
            match inst.op {
                Op::Load | Op::Store => {
                    if inst.op == Op::Store {
                        self.count_use(inst.args[1], false);
                    }
                    for value in Address::of(block, inst.args[0]).values() {
                        self.count_use(value, false);
                    }
                }
                Op::Set => self.count_use(inst.args[0], true),
                _ => {
                    for value in inst.args() {
                        self.count_use(value, false);
                    }
                }
            }
        }
    }

    /// Counts a use that comes before all counted so far.
    fn count_use(&mut self, value: Value, is_set: bool) {
        let root = self.lists.info[value.index()].root as usize;
        let inst = &self.block.insts[root];
        let info = &mut self.lists.info[root];
        info.uses += 1;
        info.waits = is_set && inst.op.info().effect == Effect::Pure;
    }

    fn is_dead(&self, index: usize, inst: &Inst) -> bool {
        let removable = match inst.op.info().effect {
            Effect::Pure | Effect::ReadsState => true,
            Effect::Helper => G::HELPERS[inst.imm as usize].pure,
            _ => false,
        };
        removable && self.lists.info[index].uses == 0
    }

    /// Finds out whether the value is another one under a different type.
    fn find_root(&mut self, index: usize) {
        let inst = &self.block.insts[index];
        let arg = inst.args[0];
        let Some(&of) = self.lists.info.get(arg.index()) else { return };
        let arg_ty = self.block.insts[arg.index()].result();
        let (shares, delta, dirty) = match inst.op {
            Op::Trunc => (true, 0, true),
            Op::Bitcast => (true, 0, of.dirty),
            Op::Zext => (!of.dirty, 0, false),
            Op::Vlow => (arg_ty == Some(Ty::V128), 0, false),
            Op::Vhigh => (arg_ty == Some(Ty::V128), 8, false),
            _ => return,
        };
        // A constant is no place.
        if shares && self.block.insts[of.root as usize].op != Op::Iconst {
            self.lists.info[index].root = of.root;
            self.lists.info[index].delta = of.delta + delta;
            self.lists.info[index].dirty = dirty;
        }
    }

    // ── places ───────────────────────────────────────────────────────────────────────────────

    fn temp(&mut self) -> Result<u16, TooManyValues> {
        if let Some(offset) = self.lists.free.pop() {
            return Ok(offset);
        }
        if self.next_temp == Cpu::<G>::TEMPS {
            return Err(TooManyValues);
        }
        self.next_temp += 1;
        self.lists.residents.push(0);
        Ok((Cpu::<G>::TEMPS_OFFSET + 16 * (self.next_temp - 1)) as u16)
    }

    /// The temporary at `offset`, if that is one.
    fn temp_index(offset: u16) -> Option<usize> {
        Some((usize::from(offset)).checked_sub(Cpu::<G>::TEMPS_OFFSET)? / 16)
    }

    /// Makes the temporary at `offset` the place of root `value`.
    fn settle(&mut self, value: usize, offset: u16) {
        self.lists.info[value].at = offset;
        self.lists.info[value].slot = None;
        if let Some(temp) = Self::temp_index(offset) {
            self.lists.residents[temp] += 1;
        }
    }

    fn vacate(&mut self, offset: u16) {
        if let Some(temp) = Self::temp_index(offset) {
            self.lists.residents[temp] -= 1;
            if self.lists.residents[temp] == 0 {
                self.lists.free.push(offset);
            }
        }
    }

    /// Makes `slot` the place of root `value`.
    fn settle_in_slot(&mut self, value: usize, slot: Slot) {
        let first = &mut self.slots.values[slot.0 as usize];
        let info = &mut self.lists.info[value];
        info.at = Cpu::<G>::offset(slot) as u16;
        info.slot = Some(slot);
        info.next = *first;
        *first = value as u16;
    }

    /// Whether a value that is still wanted has its place in `slot`.
    fn serves(&self, slot: Slot) -> bool {
        let mut value = self.slots.values[slot.0 as usize];
        while value != END {
            let info = &self.lists.info[value as usize];
            if info.uses > 0 {
                return true;
            }
            value = info.next;
        }
        false
    }

    /// Moves values out of `slot`, which is about to change.
    fn clear_slot(&mut self, slot: Slot) -> Result<(), TooManyValues> {
        let mut value = std::mem::replace(&mut self.slots.values[slot.0 as usize], END);
        let mut moved = NOWHERE;
        while value != END {
            let Info { next, uses, at, .. } = self.lists.info[value as usize];
            if uses > 0 {
                if moved == NOWHERE {
                    moved = self.temp()?;
                    let run = step::copying(G::SLOTS[slot.0 as usize].ty);
                    self.push(Step { run, dst: moved, a: at, b: 0, c: 0, imm: 0 });
                    self.note_slot(slot);
                }
                self.settle(value.into(), moved);
                // Its own step no longer writes its place.
                self.lists.info[usize::from(value)].was_read = true;
            }
            value = next;
        }
        Ok(())
    }

    /// Records that the last step touched `slot`.
    fn note_slot(&mut self, slot: Slot) {
        self.slots.used[slot.0 as usize] = self.lists.steps.len() as u32;
    }

    fn push(&mut self, step: Step) {
        self.lists.steps.push(step);
        self.tail = Tail::Closed;
    }

    // ── operands ─────────────────────────────────────────────────────────────────────────────

    /// The offset of `value`, for the next step that is emitted, which reads it.
    fn operand(&mut self, value: Value) -> Result<u16, TooManyValues> {
        let Info { root, delta, .. } = self.lists.info[value.index()];
        let root = usize::from(root);
        if self.lists.info[root].at == NOWHERE {
            self.emit_root(root)?;
        }
        let info = &mut self.lists.info[root];
        info.was_read = true;
        Ok(info.at + u16::from(delta))
    }

    /// The offset of `value`, which has its place at `offset`, without bits beyond its type.
    fn cleaned(&mut self, value: Value, offset: u16) -> Result<u16, TooManyValues> {
        if value == NONE || !self.lists.info[value.index()].dirty {
            return Ok(offset);
        }
        let ty = self.block.insts[value.index()].result().unwrap_or(Ty::I64);
        let temp = self.temp()?;
        self.push(Step { run: step::copying(ty), dst: temp, a: offset, b: 0, c: 0, imm: 0 });
        self.note_read(value);
        // Free again once the step that reads it is emitted.
        if let Some(index) = Self::temp_index(temp) {
            self.lists.residents[index] += 1;
        }
        self.lists.dying.push(temp);
        Ok(temp)
    }

    /// Records that the last step read `value`.
    fn note_read(&mut self, value: Value) {
        let root = self.lists.info[value.index()].root as usize;
        if let Some(slot) = self.lists.info[root].slot {
            self.note_slot(slot);
        }
    }

    /// One use of `value` is over, or is that of the step emitted next; its place stays as it is
    /// until [`Self::bury`].
    fn release(&mut self, value: Value) {
        let root = self.lists.info[value.index()].root as usize;
        let info = &mut self.lists.info[root];
        info.uses -= 1;
        if info.uses == 0 && info.at != NOWHERE && info.slot.is_none() {
            self.lists.dying.push(info.at);
        }
    }

    /// Frees the places of values that were released.
    fn bury(&mut self) {
        while let Some(offset) = self.lists.dying.pop() {
            self.vacate(offset);
        }
    }

    // ── operations ───────────────────────────────────────────────────────────────────────────

    fn emit_all(&mut self) -> Result<(), TooManyValues> {
        let block = self.block;
        let mut index = 0;
        while let Some(inst) = block.insts.get(index) {
            if inst.op == Op::Set {
                index = self.emit_sets(index)?;
                continue;
            }
            self.emit(index, inst)?;
            index += 1;
        }
        self.emit_end()
    }

    /// Emits what stands at `index`, unless it waits, is dead, or shares another's place.
    fn emit(&mut self, index: usize, inst: &Inst) -> Result<(), TooManyValues> {
        if inst.op == Op::Insn {
            self.lists.pcs.push((self.lists.steps.len() as u32, inst.imm));
            self.tail = Tail::Closed;
            return Ok(());
        }
        let info = &self.lists.info[index];
        if usize::from(info.root) != index || self.is_dead(index, inst) {
            return Ok(());
        }
        match inst.op {
            Op::Get => {
                self.settle_in_slot(index, Slot(inst.imm as u8));
                Ok(())
            }
            // Emitted by the first user that needs it in a place.
            Op::Iconst => Ok(()),
            _ if info.waits => Ok(()),
            _ => self.emit_root(index),
        }
    }

    /// Emits root `index`, its result into a temporary.
    fn emit_root(&mut self, index: usize) -> Result<(), TooManyValues> {
        let pending = self.prepare(index)?;
        self.complete(index, pending, None)
    }

    /// The step of root `index`, with its operands in their places.
    fn prepare(&mut self, index: usize) -> Result<Pending, TooManyValues> {
        let block = self.block;
        let inst = &block.insts[index];
        let mut p = Pending::new(inst);
        match inst.op {
            Op::Iconst => p.step.run = step::set_constant,
            Op::Load => {
                p.barrier = true;
                let address = Address::of(block, inst.args[0]);
                self.prepare_access(&mut p, address, inst, Access::Load)?;
            }
            Op::Store => {
                p.barrier = true;
                let address = Address::of(block, inst.args[0]);
                p.reads[2] = inst.args[1];
                if !self.prepare_constant_store(&mut p, address, inst)? {
                    self.prepare_access(&mut p, address, inst, Access::Store)?;
                    p.step.dst = self.operand(inst.args[1])?;
                }
            }
            Op::Rmw | Op::Cas => {
                p.barrier = true;
                p.step.run = match inst.op {
                    Op::Rmw => step::updating::<G>(inst.ty),
                    _ => step::comparing::<G>(inst.ty),
                };
                self.prepare_args(&mut p, inst)?;
            }
            Op::Fence => {
                p.barrier = true;
                p.step.run = step::full_fence;
            }
            Op::TrapIf => {
                p.barrier = true;
                p.step.run = step::trap_if::<G>;
                self.prepare_args(&mut p, inst)?;
            }
            Op::ExitIf => {
                p.barrier = true;
                p.step.run = step::exit_if::<G>;
                self.prepare_args(&mut p, inst)?;
                p.link = Some(inst.imm);
            }
            Op::Call => {
                let helper = &G::HELPERS[inst.imm as usize];
                p.barrier = true;
                p.clobbers = helper.writes;
                p.step.run = step::calling::<G>(inst.args().count(), helper.faults);
                self.prepare_args(&mut p, inst)?;
                // With the others in their places, since a cleaned one is not kept for long.
                p.step.a = self.cleaned(inst.args[0], p.step.a)?;
                p.step.b = self.cleaned(inst.args[1], p.step.b)?;
                p.step.c = self.cleaned(inst.args[2], p.step.c)?;
                p.step.imm = helper.function as usize as u64;
            }
            Op::Zext | Op::Sext => {
                let from = block.insts[inst.args[0].index()].result().unwrap_or(inst.ty);
                if inst.op == Op::Zext {
                    p.copies = Some(from);
                    p.step.run = step::copying(from);
                } else {
                    p.step.run = step::sign_extending(from, inst.ty);
                }
                self.prepare_args(&mut p, inst)?;
            }
            _ => self.prepare_evaluator(&mut p, inst, Shape::Plain, Shape::Constant)?,
        }
        Ok(p)
    }

    /// An operation with an evaluator: `constant` if its second operand is one, else `plain`.
    fn prepare_evaluator(
        &mut self,
        p: &mut Pending,
        inst: &Inst,
        plain: Shape,
        with_constant: Shape,
    ) -> Result<(), TooManyValues> {
        let [a, b, _] = inst.args;
        let two = inst.op.info().args.len() == 2 && inst.op.info().imm == Imm::None;
        let (a, c) = match (constant(self.block, a), constant(self.block, b)) {
            (_, Some(c)) => (a, Some(c)),
            (Some(c), None) if is_commutative(inst.op) => (b, Some(c)),
            _ => (a, None),
        };
        if let Some(c) = c.filter(|_| two)
            && let Some(run) = step::evaluator::<G>(inst.op, inst.ty, with_constant)
        {
            p.step.run = run;
            p.step.a = self.operand(a)?;
            p.step.imm = c;
            return Ok(());
        }
        let run = step::evaluator::<G>(inst.op, inst.ty, plain);
        p.step.run = run.unwrap_or_else(|| panic!("{inst:?} has no evaluator"));
        self.prepare_args(p, inst)
    }

    fn prepare_args(&mut self, p: &mut Pending, inst: &Inst) -> Result<(), TooManyValues> {
        let places = [&mut p.step.a, &mut p.step.b, &mut p.step.c];
        for (place, value) in places.into_iter().zip(inst.args()) {
            *place = self.operand(value)?;
        }
        Ok(())
    }

    fn prepare_access(
        &mut self,
        p: &mut Pending,
        address: Address,
        inst: &Inst,
        access: Access,
    ) -> Result<(), TooManyValues> {
        let mem = MemOp::unpack(inst.imm);
        p.order = Some((access, mem.order));
        p.step.imm = address.disp;
        p.reads[..2].copy_from_slice(&[address.base, address.index]);
        let ty = inst.ty;
        if address.base == NONE {
            p.step.run = match access {
                Access::Load => step::loading::<G, Absolute>(ty, mem),
                Access::Store => step::storing::<G, Absolute>(ty, mem),
            };
        } else if address.index == NONE {
            p.step.a = self.operand(address.base)?;
            p.step.run = match access {
                Access::Load => step::loading::<G, Base>(ty, mem),
                Access::Store => step::storing::<G, Base>(ty, mem),
            };
        } else {
            p.step.a = self.operand(address.base)?;
            p.step.b = self.operand(address.index)?;
            p.step.c = address.shift;
            p.step.run = match access {
                Access::Load => step::loading::<G, Indexed>(ty, mem),
                Access::Store => step::storing::<G, Indexed>(ty, mem),
            };
        }
        Ok(())
    }

    /// A store of a constant with a plain address; false if it is not one.
    fn prepare_constant_store(
        &mut self,
        p: &mut Pending,
        address: Address,
        inst: &Inst,
    ) -> Result<bool, TooManyValues> {
        let mem = MemOp::unpack(inst.imm);
        let Some(value) = constant(self.block, inst.args[1]) else { return Ok(false) };
        let value = inst.ty.sext(value);
        let fits = |x: i64| i64::from(x as i32) == x;
        let plain = address.base != NONE && address.index == NONE && mem.align == Align::Any;
        if !plain || !inst.ty.is_int() || !fits(value) || !fits(address.disp as i64) {
            return Ok(false);
        }
        p.order = Some((Access::Store, mem.order));
        p.reads[0] = address.base;
        p.step.run = step::storing_constant::<G>(inst.ty);
        p.step.a = self.operand(address.base)?;
        p.step.imm = (address.disp & 0xffff_ffff) | (value as u64) << 32;
        Ok(true)
    }

    /// Emits the step of root `index`; its result goes to `slot`, or else a temporary.
    fn complete(
        &mut self,
        index: usize,
        mut p: Pending,
        slot: Option<Slot>,
    ) -> Result<(), TooManyValues> {
        let reads = p.reads;
        let reads = reads.into_iter().filter(|&v| v != NONE);
        reads.clone().for_each(|v| self.release(v));
        for slot in p.clobbers.iter() {
            self.clear_slot(slot)?;
        }
        let has_result = self.block.insts[index].result().is_some();
        if let Some(slot) = slot {
            self.clear_slot(slot)?;
            p.step.dst = Cpu::<G>::offset(slot) as u16;
        } else if has_result {
            p.step.dst = self.temp()?;
        }
        if let Some((Access::Store, order)) = p.order
            && !HOST_IS_TSO
            && order != Order::Relaxed
        {
            self.push_fence();
        }
        if let Some(to) = p.link {
            p.step.imm = self.lists.links.len() as u64;
            self.lists.links.push(to);
            self.lists.linking.push(self.lists.steps.len() as u32);
        }
        match (p.copies, slot) {
            (Some(ty), Some(_)) => self.push_copy(p.step.dst, p.step.a, ty),
            _ => self.push(p.step),
        }
        reads.for_each(|v| self.note_read(v));
        let step = self.lists.steps.len() as u32 - 1;
        match p.order {
            Some((Access::Store, Order::SeqCst)) => self.push_fence(),
            Some((Access::Load, order)) if !HOST_IS_TSO && order != Order::Relaxed => {
                self.push_fence();
            }
            _ => {}
        }
        if p.barrier {
            self.barrier = self.lists.steps.len() as u32;
        }
        if let Some(slot) = slot {
            self.note_slot(slot);
            self.settle_in_slot(index, slot);
        } else if has_result {
            self.settle(index, p.step.dst);
            if self.lists.info[index].uses == 0 {
                self.lists.dying.push(p.step.dst);
            }
        }
        self.lists.info[index].step = step;
        self.lists.info[index].was_read = false;
        self.bury();
        Ok(())
    }

    fn push_fence(&mut self) {
        self.push(Step { run: step::full_fence, dst: 0, a: 0, b: 0, c: 0, imm: 0 });
    }

    // ── sets ─────────────────────────────────────────────────────────────────────────────────

    /// Emits the sets that start at `start`, in an order that spares copies; yields the index
    /// behind them.
    fn emit_sets(&mut self, start: usize) -> Result<usize, TooManyValues> {
        let block = self.block;
        let mut group = [(Slot(0), NONE); GROUP];
        let mut count = 0;
        let mut slots = SlotSet::EMPTY;
        let mut index = start;
        while let Some(inst) = block.insts.get(index)
            && count < GROUP
        {
            let slot = Slot(inst.imm as u8);
            if inst.op == Op::Set && !slots.contains(slot) {
                slots.insert(slot);
                group[count] = (slot, inst.args[0]);
                count += 1;
            } else if inst.op.info().effect != Effect::Pure || self.emits(index, inst) {
                break;
            }
            index += 1;
        }
        let mut group = &mut group[..count];
        while !group.is_empty() {
            let spares = |&(i, &(slot, _)): &(usize, &(Slot, Value))| {
                group.iter().enumerate().all(|(j, &(_, v))| i == j || !self.reads(v, slot))
            };
            let joins = |&(_, &(slot, _)): &(usize, &(Slot, Value))| self.tail.joins::<G>(slot);
            let candidates = || group.iter().enumerate().filter(spares);
            let next = match group.len() {
                1 => None,
                _ => candidates().find(joins).or_else(|| candidates().next()),
            };
            let next = next.map_or(0, |(i, _)| i);
            group[..=next].rotate_right(1);
            let (slot, value) = group[0];
            self.emit_set(slot, value)?;
            group = &mut group[1..];
        }
        Ok(index)
    }

    /// Whether [`Self::emit`] emits anything for the pure operation at `index`.
    fn emits(&self, index: usize, inst: &Inst) -> bool {
        let info = &self.lists.info[index];
        let shares = usize::from(info.root) != index;
        !(shares || info.waits || inst.op == Op::Iconst || self.is_dead(index, inst))
    }

    /// Whether emitting a set to `value` reads `slot`.
    fn reads(&self, value: Value, slot: Slot) -> bool {
        let root = self.lists.info[value.index()].root as usize;
        if self.lists.info[root].at != NOWHERE {
            return self.lists.info[root].slot == Some(slot);
        }
        self.block.insts[root].args().any(|arg| {
            let of = self.lists.info[arg.index()].root as usize;
            self.lists.info[of].slot == Some(slot)
        })
    }

    fn emit_set(&mut self, slot: Slot, value: Value) -> Result<(), TooManyValues> {
        let offset = Cpu::<G>::offset(slot) as u16;
        let ty = G::SLOTS[slot.0 as usize].ty;
        let Info { root, delta, .. } = self.lists.info[value.index()];
        let root = usize::from(root);
        let inst = &self.block.insts[root];
        let whole = delta == 0 && (inst.result() == Some(Ty::V128)) == (ty == Ty::V128);
        if inst.op == Op::Iconst {
            self.release(value);
            self.clear_slot(slot)?;
            self.push_constant(offset, inst.imm);
        } else if whole && self.lists.info[root].at == NOWHERE {
            let pending = self.prepare(root)?;
            self.complete(root, pending, Some(slot))?;
            self.release(value);
        } else if whole && self.can_redirect(root, slot) {
            let Info { at, step, .. } = self.lists.info[root];
            self.lists.steps[step as usize].dst = offset;
            self.vacate(at);
            self.clear_slot(slot)?;
            self.settle_in_slot(root, slot);
            self.release(value);
        } else {
            let from = self.operand(value)?;
            self.release(value);
            if from != offset {
                self.clear_slot(slot)?;
                self.push_copy(offset, from, ty);
                self.note_read(value);
            }
        }
        self.note_slot(slot);
        self.bury();
        Ok(())
    }

    /// Whether the step that computed root `value` may write `slot` instead of a temporary.
    fn can_redirect(&self, value: usize, slot: Slot) -> bool {
        let Info { at, step, was_read, .. } = self.lists.info[value];
        let unseen = self.barrier <= step + 1 && self.slots.used[slot.0 as usize] <= step + 1;
        unseen && !was_read && Self::temp_index(at).is_some() && !self.serves(slot)
    }

    // ── neighbouring words ───────────────────────────────────────────────────────────────────

    /// Emits `dst` = `value`, a word of a slot.
    fn push_constant(&mut self, dst: u16, value: u64) {
        if let Tail::Two(ty, next) = self.tail
            && next == dst
            && let Some(last) = self.lists.steps.last_mut()
            && last.imm >> 32 == 0
            && value as i32 as u64 == value
        {
            last.run = step::setting_three_constant(ty);
            last.imm |= value << 32;
            self.tail = Tail::Closed;
            return;
        }
        self.push(Step { run: step::set_constant, dst, a: 0, b: 0, c: 0, imm: value });
        self.tail = Tail::One(dst + 8);
    }

    /// Emits `dst` = the `ty` at `from`, where `dst` is a slot.
    fn push_copy(&mut self, dst: u16, from: u16, ty: Ty) {
        if let (Tail::One(next), Some(last)) = (self.tail, self.lists.steps.last_mut())
            && next == dst
            && ty != Ty::V128
            // The step reads before it writes.
            && from != dst - 8
        {
            (last.run, last.a) = (step::setting_two(ty), from);
            self.tail = Tail::Two(ty, dst + 8);
            return;
        }
        if let (Tail::Two(as_before, next), Some(last)) = (self.tail, self.lists.steps.last_mut())
            && next == dst
            && ty == as_before
            && from != dst - 16
        {
            let from = if from == dst - 8 { last.a } else { from };
            (last.run, last.b) = (step::setting_three(ty), from);
            self.tail = Tail::Closed;
            return;
        }
        self.push(Step { run: step::copying(ty), dst, a: from, b: 0, c: 0, imm: 0 });
    }

    // ── the end ──────────────────────────────────────────────────────────────────────────────

    fn emit_end(&mut self) -> Result<(), TooManyValues> {
        let block = self.block;
        let blank = Step { run: step::jump::<G>, dst: 0, a: 0, b: 0, c: 0, imm: 0 };
        match block.end {
            End::Jump(to) | End::Call { to, .. } => self.push_linking(blank, to),
            End::Branch { cond, taken, not } => {
                let root = cond.index();
                let inst = &block.insts[root];
                let info = &self.lists.info[root];
                let waits = usize::from(info.root) == root && info.at == NOWHERE;
                if waits && step::fuses_with_branch(inst.op) {
                    let mut p = Pending::new(inst);
                    let (plain, constant) = (Shape::Branch, Shape::BranchConstant);
                    self.prepare_evaluator(&mut p, inst, plain, constant)?;
                    self.push(p.step);
                } else {
                    let a = self.operand(cond)?;
                    self.push(Step { run: step::branch_if::<G>, a, ..blank });
                }
                self.push_linking(Step { run: step::data, ..blank }, taken);
                self.lists.links.push(not);
            }
            End::Dispatch(to) | End::Return(to) | End::CallIndirect { to, .. } => {
                let a = self.operand(to)?;
                self.push(Step { run: step::indirect, a, ..blank });
            }
            End::Trap { trap, pc } => {
                self.push(Step { run: step::trap, imm: trap.pack(), ..blank });
                self.push(Step { run: step::data, imm: pc, ..blank });
            }
        }
        Ok(())
    }

    /// Emits `step` with a new link to `to`.
    fn push_linking(&mut self, mut step: Step, to: u64) {
        step.imm = self.lists.links.len() as u64;
        self.lists.linking.push(self.lists.steps.len() as u32);
        self.lists.links.push(to);
        self.push(step);
    }

    fn finish(self) -> OwnedCode<G> {
        OwnedCode::new(
            self.block,
            &self.lists.steps,
            &self.lists.linking,
            &self.lists.links,
            &self.lists.pcs,
        )
    }
}

/// A direction of an access, for its fences.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Load,
    Store,
}

/// What the last step set, as far as the next set may join it.
#[derive(Clone, Copy)]
enum Tail {
    /// Nothing to join.
    Closed,
    /// A constant; the next word is at the offset.
    One(u16),
    /// A constant and a copy of the type; the next word is at the offset.
    Two(Ty, u16),
}

impl Tail {
    /// Whether a set of `slot` may join.
    fn joins<G: Guest>(self, slot: Slot) -> bool {
        let offset = Cpu::<G>::offset(slot) as u16;
        matches!(self, Tail::One(next) | Tail::Two(_, next) if next == offset)
    }
}

/// A step about to be emitted.
struct Pending {
    step: Step,
    /// Values it reads, or that it was made from.
    reads: [Value; 3],
    /// It may fault, leave, or see all slots.
    barrier: bool,
    /// Slots it changes besides its result.
    clobbers: SlotSet,
    /// It is a copy of this type.
    copies: Option<Ty>,
    /// It accesses memory.
    order: Option<(Access, Order)>,
    /// It leaves to this address.
    link: Option<u64>,
}

impl Pending {
    fn new(inst: &Inst) -> Pending {
        let is_access = matches!(inst.op, Op::Load | Op::Store);
        Pending {
            step: Step { run: step::data, dst: 0, a: 0, b: 0, c: 0, imm: inst.imm },
            reads: if is_access { [NONE; 3] } else { inst.args },
            barrier: false,
            clobbers: SlotSet::EMPTY,
            copies: None,
            order: None,
            link: None,
        }
    }
}

fn is_commutative(op: Op) -> bool {
    matches!(
        op,
        Op::Add | Op::Mul | Op::Umulh | Op::Smulh | Op::And | Op::Or | Op::Xor | Op::Eq | Op::Ne
    )
}
