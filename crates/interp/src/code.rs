//! Flattened blocks and the links between them.
#![expect(unsafe_code, reason = "links are raw pointers so that they can be one atomic store")]

use crate::step::Step;
use mynah_guest::{Guest, JumpEntry};
use mynah_ir::{BlockKey, Recover};
use mynah_mem::Memory;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// What moves together when address translation changes, in bytes.
const PAGE: u64 = 4096;

/// A block ready to be interpreted. Immutable but for its links and counters; made by
/// [`crate::flatten`], and kept for good by [`Code::leak`] before it can be linked.
#[derive(Debug)]
pub struct Code<G: Guest> {
    fuel: AtomicU32,
    stopped: AtomicBool,
    /// Number of guest instructions.
    pub guest_insts: u32,
    /// What it translates.
    pub key: BlockKey,
    pub(crate) steps: Box<[Step]>,
    pub(crate) links: Box<[Link<G>]>,
    /// Guest pcs by the index of the first step of their instruction, ascending.
    pub(crate) pcs: Box<[(u32, u64)]>,
    /// The block's state map.
    pub(crate) recover: Box<[Recover]>,
}

/// One way out of a block to a known guest address, and the code there once it is known.
#[derive(Debug)]
pub struct Link<G: Guest> {
    target: AtomicPtr<Code<G>>,
    /// Where it leads.
    pub pc: u64,
    local: bool,
}

impl<G: Guest> Link<G> {
    /// A link from code at `from` to `pc`.
    pub(crate) fn new(from: u64, pc: u64) -> Link<G> {
        let local = !G::Memory::PAGED || from / PAGE == pc / PAGE;
        Link { target: AtomicPtr::default(), pc, local }
    }

    /// Whether it may be set: what it leads to is where it is for as long as the block is where it
    /// is. If not, the jump cache leads on.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Makes control go on in `code`, which translates [`Link::pc`] in the block's mode.
    pub fn set(&self, code: &'static Code<G>) {
        debug_assert_eq!(code.key.pc, self.pc, "a link leads to its pc");
        self.target.store(std::ptr::from_ref(code).cast_mut(), Ordering::Release);
    }

    /// Makes control come back to the engine.
    pub fn clear(&self) {
        self.target.store(std::ptr::null_mut(), Ordering::Release);
    }

    /// Where control goes on.
    #[inline(always)]
    pub fn get(&self) -> Option<&'static Code<G>> {
        // SAFETY: only `set` stores a pointer other than null, made of a `&'static`; whoever frees
        // it answers for that (`Code::reclaim`).
        unsafe { self.target.load(Ordering::Acquire).as_ref() }
    }
}

impl<G: Guest> Code<G> {
    pub(crate) fn new(
        key: BlockKey,
        guest_insts: u32,
        steps: Box<[Step]>,
        links: Box<[Link<G>]>,
        pcs: Box<[(u32, u64)]>,
        recover: Box<[Recover]>,
    ) -> Code<G> {
        let (fuel, stopped) = (AtomicU32::new(u32::MAX), AtomicBool::new(false));
        Code { fuel, stopped, guest_insts, key, steps, links, pcs, recover }
    }

    /// Keeps the code for good, so that links and caches may lead to it.
    pub fn leak(self) -> &'static Code<G> {
        Box::leak(Box::new(self))
    }

    /// Frees leaked code.
    ///
    /// # Safety
    /// No thread runs it or holds a reference to it, and no [`Link`] or [`JumpCache`] that may be
    /// followed again leads to it.
    pub unsafe fn reclaim(code: &'static Code<G>) {
        // SAFETY: `leak` made it of a box, and by the caller's promise nobody else has it.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(code).cast_mut()) });
    }

    /// The ways out to known addresses, in the order of the block's exits; those of its end last.
    pub fn links(&self) -> &[Link<G>] {
        &self.links
    }

    /// How many steps it has: what it costs.
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// Lets the code be entered `entries` − 1 times before [`crate::run`] answers
    /// [`crate::Leave::Stop`] once. Fresh code has 2³² − 1. Entries of other threads at the same
    /// moment may be counted as one.
    pub fn set_fuel(&self, entries: u32) {
        self.fuel.store(entries, Ordering::Relaxed);
    }

    /// Entries left, as [`Code::set_fuel`] counts them.
    pub fn fuel(&self) -> u32 {
        self.fuel.load(Ordering::Relaxed)
    }

    /// Makes every later entry answer [`crate::Leave::Stop`]: the code is no longer valid, or
    /// there is something better to run.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether [`Code::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Counts an entry; whether the engine wants to know of it.
    #[inline(always)]
    pub(crate) fn enter(&self) -> bool {
        // Not an atomic subtraction: a lost count does no harm, and a locked one costs more than
        // the block.
        let fuel = self.fuel.load(Ordering::Relaxed).wrapping_sub(1);
        self.fuel.store(fuel, Ordering::Relaxed);
        fuel == 0 || self.is_stopped()
    }

    /// Counts an entry, unless [`Code::enter`] would want the engine to know of it.
    #[inline(always)]
    pub(crate) fn enter_quietly(&self) -> bool {
        let fuel = self.fuel.load(Ordering::Relaxed);
        if fuel == 1 || self.is_stopped() {
            return false;
        }
        self.fuel.store(fuel.wrapping_sub(1), Ordering::Relaxed);
        true
    }

    /// The pc of the guest instruction that the step at `index` belongs to.
    pub(crate) fn pc_at(&self, index: usize) -> u64 {
        let after = self.pcs.partition_point(|&(first, _)| first as usize <= index);
        after.checked_sub(1).map_or(self.key.pc, |i| self.pcs[i].1)
    }
}

/// A vCPU's cache of code by guest address, for jumps to computed addresses.
#[derive(Debug)]
pub struct JumpCache<G: Guest> {
    entries: Box<[Option<&'static Code<G>>]>,
}

impl<G: Guest> Default for JumpCache<G> {
    fn default() -> JumpCache<G> {
        JumpCache { entries: vec![None; JumpEntry::COUNT].into() }
    }
}

impl<G: Guest> JumpCache<G> {
    /// Remembers `code`.
    pub fn insert(&mut self, code: &'static Code<G>) {
        self.entries[JumpEntry::index(code.key.pc)] = Some(code);
    }

    /// Forgets the code at `index`, which is [`JumpEntry::index`] of its address.
    pub fn forget(&mut self, index: usize) {
        self.entries[index] = None;
    }

    /// The code for `key`, if it is remembered.
    #[inline(always)]
    pub fn get(&self, key: BlockKey) -> Option<&'static Code<G>> {
        let entry = self.entries[JumpEntry::index(key.pc) % JumpEntry::COUNT];
        entry.filter(|code| code.key == key)
    }
}
