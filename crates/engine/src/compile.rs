//! The compile thread, and what it makes units of.

use crate::generation::Leaked;
use crate::stats::add;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::table::Translation;
use crate::{Engine, Tier, translate};
use mynah_guest::Guest;
use mynah_ir::{Block, BlockKey};
use mynah_jit::{CodeCache, Compiler, Effort, MAX_BLOCKS, Site, Unit};
use mynah_mem::{Memory, PAGE};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The most guest instructions of a unit: compile time grows faster than the unit beyond.
const MAX_UNIT_INSTS: u32 = 200;

/// The most host bytes of a unit that is made part of another.
const INLINE_BYTES: usize = 1024;

/// The compiler and its queue.
pub(crate) struct Compile<G: Guest> {
    pub(crate) compiler: Mutex<Compiler<G>>,
    cache: CodeCache,
    queue: Arc<Queue<G>>,
    units: Mutex<Units>,
}

/// Installed units.
#[derive(Default)]
struct Units {
    /// By host address.
    by_address: BTreeMap<usize, &'static Unit>,
    owned: Vec<Leaked<Unit>>,
}

impl Units {
    fn insert(&mut self, unit: Unit) -> &'static Unit {
        let (unit, owned) = Leaked::new(unit);
        self.by_address.insert(unit.entry, unit);
        self.owned.push(owned);
        unit
    }
}

struct Queue<G: Guest> {
    waiting: Mutex<Waiting<G>>,
    filled: Condvar,
}

impl<G: Guest> Queue<G> {
    /// Waits until something waits; `false` if the engine is gone.
    fn wait(&self) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.blocks.is_empty() && !waiting.closed {
            waiting = self.filled.wait(waiting);
        }
        !waiting.closed
    }
}

struct Waiting<G: Guest> {
    blocks: VecDeque<&'static Translation<G>>,
    /// The engine is gone.
    closed: bool,
}

impl<G: Guest> Waiting<G> {
    /// Takes out the block that was interpreted most since it became warm.
    fn hottest(&mut self) -> Option<&'static Translation<G>> {
        // Fuel went on from 0 downwards.
        let since = |head: &Translation<G>| 0u32.wrapping_sub(head.code.fuel());
        let index = (0..self.blocks.len()).max_by_key(|&i| since(self.blocks[i]))?;
        self.blocks.swap_remove_back(index)
    }
}

/// Keeps the compiler idle.
pub(crate) struct Paused<'c, G: Guest> {
    _compiler: MutexGuard<'c, Compiler<G>>,
    _waiting: MutexGuard<'c, Waiting<G>>,
    _units: MutexGuard<'c, Units>,
}

impl<G: Guest> Compile<G> {
    pub(crate) fn new(cache: usize) -> std::io::Result<Compile<G>> {
        let cache = CodeCache::new(cache)?;
        let waiting = Mutex::new(Waiting { blocks: VecDeque::new(), closed: false });
        Ok(Compile {
            compiler: Mutex::default(),
            cache,
            queue: Arc::new(Queue { waiting, filled: Condvar::new() }),
            units: Mutex::default(),
        })
    }

    pub(crate) fn pause(&self) -> Paused<'_, G> {
        // In the order in which compiling takes them.
        let compiler = self.compiler.lock();
        let waiting = self.queue.waiting.lock();
        Paused { _compiler: compiler, _waiting: waiting, _units: self.units.lock() }
    }

    /// Forgets retired translations that wait, and all installed units, which it yields. The caller
    /// holds the compiler, and has made sure that no vCPU is in any of them.
    pub(crate) fn discard(&self) -> Vec<Leaked<Unit>> {
        self.queue.waiting.lock().blocks.retain(|translation| translation.is_valid());
        self.cache.flush();
        std::mem::take(&mut *self.units.lock()).owned
    }

    pub(crate) fn after_fork(&self) -> std::io::Result<()> {
        self.cache.after_fork()
    }

    /// The guest instruction that the host instruction at `host` belongs to.
    pub(crate) fn site(&self, host: usize) -> Option<&'static Site> {
        let units = self.units.lock();
        let (_, unit) = units.by_address.range(..=host).next_back()?;
        unit.site(host)
    }
}

impl<G: Guest> Engine<G> {
    pub(crate) fn start_compile_thread(self: &Arc<Self>) {
        let queue = self.compile.queue.clone();
        let engine = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name("mynah-compile".into());
        let thread = thread.spawn(move || run(&queue, &engine));
        if let Err(error) = thread {
            tracing::warn!("no compile thread, everything is interpreted: {error}");
        }
    }

    /// Hands `translation` to the compile thread.
    pub(crate) fn enqueue(&self, translation: &'static Translation<G>) {
        if translation.compare.is_some() || translation.queued.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.compile.queue.waiting.lock();
        waiting.blocks.push_back(translation);
        self.counters.queue_peak.fetch_max(waiting.blocks.len() as u64, Ordering::Relaxed);
        drop(waiting);
        self.compile.queue.filled.notify_one();
    }

    /// Compiles the block of `key` at `at`, if it is still there.
    pub(crate) fn compile_at(&self, key: BlockKey, at: u64) {
        let mut compiler = self.compile.compiler.lock();
        let head = self.table.read().get(key, at);
        if let Some(head) = head {
            self.compile(&mut compiler, head, Effort::Quick);
        }
    }

    /// Compiles the hottest of what waits.
    fn compile_next(&self) {
        // No generation begins while the lock is held.
        let mut compiler = self.compile.compiler.lock();
        let Some(head) = self.compile.queue.waiting.lock().hottest() else { return };
        if head.covered.swap(false, Ordering::Relaxed) {
            // Most of its executions will be in that unit. If not, it becomes warm once more.
            head.queued.store(false, Ordering::Relaxed);
            self.refuel(head);
        } else {
            self.compile(&mut compiler, head, Effort::Optimise);
        }
    }

    /// Compiles the unit headed by `head` and publishes it.
    fn compile(&self, compiler: &mut Compiler<G>, head: &'static Translation<G>, effort: Effort) {
        if !head.is_valid() || head.entry().is_some() {
            return;
        }
        let start = Instant::now();
        let members = match effort {
            Effort::Quick => vec![head],
            Effort::Optimise => self.region(head),
        };
        // The bytes that were translated stand there still if the members are valid later on.
        let blocks = members.iter().map(|member| translate::again(&*self.source, member));
        let Ok(blocks) = blocks.collect::<Result<Vec<Block>, _>>() else { return };
        let blocks: Vec<&Block> = blocks.iter().collect();
        let artifact = match compiler.compile(&blocks, effort) {
            Ok(artifact) => artifact,
            Err(error) => {
                tracing::error!("{error} at {:#x}", head.key().pc);
                return;
            }
        };
        let counters = &self.counters;
        add(&counters.units_compiled, 1);
        add(&counters.blocks_compiled, blocks.len() as u64);
        add(&counters.insts_compiled, blocks.iter().map(|b| u64::from(b.guest_insts)).sum());
        add(&counters.host_bytes, artifact.code().len() as u64);
        let unit = match self.compile.cache.install(artifact) {
            Some(unit) => self.compile.units.lock().insert(unit),
            None => {
                // The block's next execution asks again.
                self.flush();
                return;
            }
        };
        add(&counters.compile_ns, start.elapsed().as_nanos() as u64);
        // No member may be retired between the check and the publication; and what is checked
        // comes after the bytes were fetched.
        let table = self.table.read();
        fence(Ordering::SeqCst);
        if members.iter().all(|m| m.is_valid()) {
            for member in &members[1..] {
                member.compiled.lock().heads.push(head);
                member.covered.store(true, Ordering::Relaxed);
            }
            head.publish(unit);
        }
        drop(table);
    }

    /// The blocks that a unit headed by `head` is made of: what is translated and reachable from
    /// it without a computed jump, breadth first.
    fn region(&self, head: &'static Translation<G>) -> Vec<&'static Translation<G>> {
        let table = self.table.read();
        let mut members = vec![head];
        let mut insts = head.code.guest_insts;
        let mut next = 0;
        while next < members.len() {
            for pc in members[next].leads_to.into_iter().flatten() {
                let key = BlockKey { pc, ..head.key() };
                let Some(at) = beside(head, pc) else { continue };
                let Some(found) = table.get(key, at) else { continue };
                let known = members.iter().any(|m| m.key() == key);
                let room = insts + found.code.guest_insts <= MAX_UNIT_INSTS;
                let room = room && members.len() < MAX_BLOCKS;
                let fits = room && found.is_linkable() && found.compare.is_none();
                if !known && fits && !is_big_unit(found) && self.is_lukewarm(found) {
                    insts += found.code.guest_insts;
                    members.push(found);
                }
            }
            next += 1;
        }
        members
    }

    /// Has the interpreter count executions of the block from 0 until it is warm.
    pub(crate) fn refuel(&self, translation: &Translation<G>) {
        if self.config.tier == Tier::Auto && translation.compare.is_none() {
            translation.code.set_fuel(self.config.threshold.max(1));
        }
    }

    /// Whether a block has run often enough to be worth a place in another's unit.
    fn is_lukewarm(&self, translation: &Translation<G>) -> bool {
        let left = translation.code.fuel();
        // Fuel starts over when it is used up.
        left > self.config.threshold || left <= self.config.threshold / 16 * 15
    }
}

/// Where code at virtual address `pc` is, as far as `head`'s place tells.
fn beside<G: Guest>(head: &Translation<G>, pc: u64) -> Option<u64> {
    if !G::Memory::PAGED {
        return Some(pc);
    }
    let same_page = pc / PAGE == head.key().pc / PAGE;
    same_page.then_some(head.place.at / PAGE * PAGE + pc % PAGE)
}

/// Whether the block heads a unit that is better jumped to than compiled once more.
fn is_big_unit<G: Guest>(translation: &Translation<G>) -> bool {
    translation.entry().is_some()
        && translation.compiled.lock().unit.is_some_and(|unit| unit.len > INLINE_BYTES)
}

/// The compile thread.
fn run<G: Guest>(queue: &Queue<G>, engine: &Weak<Engine<G>>) {
    while queue.wait() {
        let Some(engine) = engine.upgrade() else { return };
        engine.compile_next();
    }
}

impl<G: Guest> Drop for Engine<G> {
    fn drop(&mut self) {
        self.compile.queue.waiting.lock().closed = true;
        self.compile.queue.filled.notify_all();
    }
}
