//! Which guest registers a unit must load on entry and which are dirty where.
//!
//! A slot is *dirty* where its variable may be newer than its place in the state. Every point at
//! which the state must be complete (an access that may fault, an exit, a helper) stores the dirty
//! slots; accesses of the system machine's loops do so out of line ([`is_lazy`]). A slot that is dirty on one way to a block counts as dirty there: its variable holds the
//! current value on every way, so storing it is never wrong.

use mynah_guest::Guest;
use mynah_ir::{Block, End, Inst, Op, Slot, SlotSet};
use mynah_mem::Memory;
use std::collections::HashMap;

/// The most blocks a unit may have.
pub const MAX_BLOCKS: usize = 64;

/// What is known of one block of a unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// Indices of successors inside the unit.
    pub(crate) successors: Vec<usize>,
    /// Slots that may be dirty on entry.
    pub(crate) dirty: SlotSet,
    /// Slots whose variable is used before the block writes it.
    pub(crate) live: SlotSet,
    /// Whether a successor edge leads back here: interrupts are polled.
    pub(crate) is_loop: bool,
}

/// The most places that a return is compared with before it is looked up.
const MAX_CONTINUATIONS: usize = 4;

/// Which blocks a unit has, and where its returns may lead inside it.
pub(crate) struct Shape {
    by_pc: HashMap<u64, usize>,
    /// Guest addresses after the unit's calls, as far as they are blocks of the unit.
    pub(crate) continuations: Vec<u64>,
}

impl Shape {
    pub(crate) fn of(blocks: &[&Block]) -> Shape {
        let by_pc: HashMap<u64, usize> =
            blocks.iter().enumerate().map(|(i, b)| (b.key.pc, i)).collect();
        let mut continuations = Vec::new();
        for block in blocks {
            if let End::Call { ret, .. } | End::CallIndirect { ret, .. } = block.end
                && by_pc.contains_key(&ret)
                && !continuations.contains(&ret)
                && continuations.len() < MAX_CONTINUATIONS
            {
                continuations.push(ret);
            }
        }
        Shape { by_pc, continuations }
    }

    /// The index of the unit's block at `pc`.
    pub(crate) fn block(&self, pc: u64) -> Option<usize> {
        self.by_pc.get(&pc).copied()
    }

    /// Where control may go inside the unit.
    fn successors(&self, end: &End) -> Vec<usize> {
        let inside = |pc: u64| self.block(pc);
        match end {
            End::Return(_) => self.continuations.iter().copied().filter_map(inside).collect(),
            _ => targets(end).filter_map(inside).collect(),
        }
    }
}

/// Known successors of a block's end.
pub(crate) fn targets(end: &End) -> impl Iterator<Item = u64> {
    let (a, b) = match *end {
        End::Jump(to) | End::Call { to, .. } => (Some(to), None),
        End::Branch { taken, not, .. } => (Some(taken), Some(not)),
        _ => (None, None),
    };
    a.into_iter().chain(b)
}

/// What an operation has to do with the state in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sync {
    /// Slots that are to be in memory, if they are dirty: before the operation, or where it leaves
    /// the unit.
    pub(crate) needed: SlotSet,
    /// Those of them that are stored before it in any case.
    pub(crate) stored: SlotSet,
    /// Slots whose variables it makes stale.
    pub(crate) stale: SlotSet,
}

/// What `inst` has to do with the state in memory; `lazily` as [`is_lazy`] says of its unit.
pub(crate) fn sync<G: Guest>(inst: &Inst, lazily: bool) -> Sync {
    let (needed, stored, stale) = match inst.op {
        Op::Load | Op::Store | Op::Rmw | Op::Cas => {
            let stored = if lazily { SlotSet::EMPTY } else { SlotSet::ALL };
            (SlotSet::ALL, stored, SlotSet::EMPTY)
        }
        Op::Call => {
            let helper = &G::HELPERS[inst.imm as usize];
            let before =
                if helper.faults { SlotSet::ALL } else { helper.reads.union(helper.writes) };
            (before, before, helper.writes)
        }
        _ => (SlotSet::EMPTY, SlotSet::EMPTY, SlotSet::EMPTY),
    };
    Sync { needed, stored, stale }
}

/// Whether the accesses of a unit store the state only where they leave it: in the system machine,
/// where that is out of line at each of them, if the unit has a loop. Its code is then longer, and
/// faster.
pub(crate) fn is_lazy<G: Guest>(flows: &[Flow]) -> bool {
    G::Memory::PAGED && flows.iter().any(|flow| flow.is_loop)
}

/// Analyses the unit.
pub(crate) fn analyse<G: Guest>(blocks: &[&Block], shape: &Shape) -> Vec<Flow> {
    let flow =
        |block: &&Block| Flow { successors: shape.successors(&block.end), ..Flow::default() };
    let mut flows: Vec<Flow> = blocks.iter().map(flow).collect();
    mark_loops(&mut flows);
    let lazily = is_lazy::<G>(&flows);
    let mut changed = true;
    while changed {
        changed = false;
        for i in 0..blocks.len() {
            let out = dirty_after::<G>(blocks[i], flows[i].dirty, lazily);
            for s in flows[i].successors.clone() {
                let dirty = flows[s].dirty.union(out);
                changed |= dirty != flows[s].dirty;
                flows[s].dirty = dirty;
            }
        }
    }
    changed = true;
    while changed {
        changed = false;
        for i in (0..blocks.len()).rev() {
            let after = flows[i].successors.iter().map(|&s| flows[s].live);
            let after = after.fold(SlotSet::EMPTY, SlotSet::union);
            let live = live_before::<G>(blocks[i], flows[i].dirty, after, lazily);
            changed |= live != flows[i].live;
            flows[i].live = live;
        }
    }
    flows
}

/// Marks the targets of edges that go back on a depth-first walk: every cycle has one.
fn mark_loops(flows: &mut [Flow]) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut state = vec![State::New; flows.len()];
    let mut path = vec![(0, 0)];
    state[0] = State::Open;
    while let Some((block, next)) = path.pop() {
        match flows[block].successors.get(next).copied() {
            None => state[block] = State::Done,
            Some(s) => {
                path.push((block, next + 1));
                match state[s] {
                    State::New => {
                        state[s] = State::Open;
                        path.push((s, 0));
                    }
                    State::Open => flows[s].is_loop = true,
                    State::Done => {}
                }
            }
        }
    }
}

fn dirty_after<G: Guest>(block: &Block, mut dirty: SlotSet, lazily: bool) -> SlotSet {
    for inst in &block.insts {
        dirty = dirty.minus(sync::<G>(inst, lazily).stored);
        if inst.op == Op::Set {
            dirty.insert(Slot(inst.imm as u8));
        }
    }
    dirty
}

/// Slots whose variables the block, or what follows with `after` live, uses before defining them.
fn live_before<G: Guest>(block: &Block, dirty: SlotSet, after: SlotSet, lazily: bool) -> SlotSet {
    let mut defined = SlotSet::EMPTY;
    // A loop header's poll stores what is dirty.
    let mut used = dirty;
    let mut now = dirty;
    for inst in &block.insts {
        let Sync { needed, stored, stale } = sync::<G>(inst, lazily);
        used = used.union(now.intersection(needed).minus(defined));
        now = now.minus(stored);
        defined = defined.union(stale);
        let slot = Slot(inst.imm as u8);
        match inst.op {
            Op::Get if !defined.contains(slot) => used.insert(slot),
            Op::Set => {
                defined.insert(slot);
                now.insert(slot);
            }
            _ => {}
        }
    }
    used.union(after.minus(defined))
}
