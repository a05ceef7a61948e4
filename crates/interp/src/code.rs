//! Flattened blocks and the links between them.
#![expect(unsafe_code, reason = "code is one piece of memory, and links are pointers")]

use crate::step::Step;
use mynah_guest::{Guest, JumpEntry};
use mynah_ir::{Block, BlockKey, Recover};
use mynah_mem::{Memory, PAGE};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// A block ready to be interpreted: immutable but for its links and counters. Its steps, and behind
/// them its links, lie in the same piece of memory: cold code costs what the host's caches do not
/// hold.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Code<G: Guest> {
    fuel: AtomicU32,
    stopped: AtomicBool,
    /// Number of guest instructions.
    pub guest_insts: u32,
    /// What it translates.
    pub key: BlockKey,
    steps: u32,
    links: u32,
    faults: Box<Faults>,
    guest: PhantomData<fn(&Link<G>)>,
}

/// What a fault must know of a block.
#[derive(Debug)]
struct Faults {
    /// The index of the first step of each instruction, ascending, and how far behind the block's pc
    /// the instruction is.
    pcs: Box<[(u16, u16)]>,
    /// The block's state map.
    recover: Box<[Recover]>,
}

/// [`Code`] that nothing else leads to, made by [`crate::flatten`].
#[derive(Debug)]
pub struct OwnedCode<G: Guest>(NonNull<Code<G>>);

impl<G: Guest> OwnedCode<G> {
    /// The code of `block`. `linking` names the steps whose immediate is the index of a link in
    /// `links`, and is to be its address; `pcs` has the index of the first step of each instruction
    /// and the instruction's address.
    pub(crate) fn new(
        block: &Block,
        steps: &[Step],
        linking: &[u32],
        links: &[u64],
        pcs: &[(u32, u64)],
    ) -> OwnedCode<G> {
        let key = block.key;
        let short = |n: u64| u16::try_from(n).expect("a block is small");
        let pcs =
            pcs.iter().map(|&(step, pc)| (short(step.into()), short(pc.wrapping_sub(key.pc))));
        let faults = Faults { pcs: pcs.collect(), recover: block.recover.clone().into() };
        let code = Code::<G> {
            fuel: AtomicU32::new(u32::MAX),
            stopped: AtomicBool::new(false),
            guest_insts: block.guest_insts,
            key,
            steps: steps.len() as u32,
            links: links.len() as u32,
            faults: Box::new(faults),
            guest: PhantomData,
        };
        let layout = code.layout();
        // SAFETY: the layout is that of the header, `steps` and `links`, each aligned to 8 or less
        // behind the first; each part is written before anything reads it.
        unsafe {
            let memory = alloc(layout);
            let Some(at) = NonNull::new(memory.cast::<Code<G>>()) else {
                handle_alloc_error(layout)
            };
            memory.expose_provenance();
            at.write(code);
            let code = at.as_ref();
            let (to_steps, to_links) = (code.first_step().cast_mut(), code.first_link().cast_mut());
            for (index, &step) in steps.iter().enumerate() {
                to_steps.add(index).write(step);
            }
            for (index, &pc) in links.iter().enumerate() {
                to_links.add(index).write(Link::new(key.pc, pc));
            }
            for &step in linking {
                let imm = &mut (*to_steps.add(step as usize)).imm;
                *imm = to_links.add(*imm as usize) as u64;
            }
            OwnedCode(at)
        }
    }
}

impl<G: Guest> std::ops::Deref for OwnedCode<G> {
    type Target = Code<G>;

    fn deref(&self) -> &Code<G> {
        // SAFETY: it is freed when this is dropped.
        unsafe { self.0.as_ref() }
    }
}

impl<G: Guest> Drop for OwnedCode<G> {
    fn drop(&mut self) {
        let layout = self.layout();
        // SAFETY: made by `new` with this layout, and not used any more.
        unsafe {
            self.0.drop_in_place();
            dealloc(self.0.as_ptr().cast(), layout);
        }
    }
}

// SAFETY: as a `Box` of the code, which all threads may share.
unsafe impl<G: Guest> Send for OwnedCode<G> {}
// SAFETY: as above.
unsafe impl<G: Guest> Sync for OwnedCode<G> {}

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
        // what that leads to answers for that.
        unsafe { self.target.load(Ordering::Acquire).as_ref() }
    }
}

impl<G: Guest> Code<G> {
    /// Of the header, the steps and the links.
    fn layout(&self) -> Layout {
        let steps = self.steps as usize * size_of::<Step>();
        let links = self.links as usize * size_of::<Link<G>>();
        let size = size_of::<Code<G>>() + steps + links;
        Layout::from_size_align(size, align_of::<Code<G>>()).expect("a block is small")
    }

    /// Where the steps are.
    #[inline(always)]
    pub(crate) fn first_step(&self) -> *const Step {
        let at = std::ptr::from_ref(self).addr() + size_of::<Code<G>>();
        std::ptr::with_exposed_provenance(at)
    }

    fn first_link(&self) -> *const Link<G> {
        let steps = self.first_step().addr() + self.steps as usize * size_of::<Step>();
        std::ptr::with_exposed_provenance(steps)
    }

    /// Bytes of memory that it takes, about.
    pub fn bytes(&self) -> usize {
        let Faults { pcs, recover } = &*self.faults;
        self.layout().size() + size_of_val(&**pcs) + size_of_val(&**recover)
    }

    /// The ways out to known addresses, in the order of the block's exits; those of its end last.
    pub fn links(&self) -> &[Link<G>] {
        // SAFETY: `new` put that many there.
        unsafe { std::slice::from_raw_parts(self.first_link(), self.links as usize) }
    }

    /// How many steps it has: what it costs.
    pub fn step_count(&self) -> usize {
        self.steps as usize
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
        let pcs = &self.faults.pcs;
        let after = pcs.partition_point(|&(first, _)| usize::from(first) <= index);
        let behind = after.checked_sub(1).map_or(0, |i| pcs[i].1);
        self.key.pc.wrapping_add(behind.into())
    }

    /// The block's state map.
    pub(crate) fn recover(&self) -> &[Recover] {
        &self.faults.recover
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
