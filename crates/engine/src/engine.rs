//! What the vCPUs of one machine share.

use crate::compile::Compile;
use crate::shared::Shared;
use crate::stats::{Counters, Stats, add};
use crate::sync::{Mutex, RwLock};
use crate::table::{Table, Translation};
use crate::translate::Origin;
use crate::{CodeSource, Event, translate};
use hashbrown::HashSet;
use mynah_guest::{Guest, MemFault};
use mynah_ir::BlockKey;
use mynah_jit::HelperAddress;
use mynah_mem::PAGE;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Which tiers run guest code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// The interpreter alone.
    Interpreter,
    /// Compiled code alone: every block is compiled before it runs.
    Compiler,
    /// Cold code is interpreted, warm code compiled in the background.
    Auto,
}

/// How an engine works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which tiers run guest code.
    pub tier: Tier,
    /// Executions after which a block is compiled (with [`Tier::Auto`]).
    pub threshold: u32,
    /// Bytes of memory for compiled code; it is flushed when it is full.
    pub code_cache: usize,
    /// Bytes of memory for translations of blocks before all are forgotten and freed; a sixteenth of
    /// that if the blocks are gone. Compiled code is not among them.
    pub translations: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { tier: Tier::Auto, threshold: 2400, code_cache: 256 << 20, translations: 1 << 30 }
    }
}

/// Translations and compiled code of one machine.
pub struct Engine<G: Guest> {
    pub(crate) config: Config,
    pub(crate) source: Arc<dyn CodeSource>,
    pub(crate) table: RwLock<Table<G>>,
    pub(crate) vcpus: Mutex<Vec<Weak<Shared>>>,
    pub(crate) compile: Compile<G>,
    pub(crate) helpers: &'static [HelperAddress],
    pub(crate) counters: Counters,
    /// The generation of translations and of the code cache.
    pub(crate) generation: AtomicU64,
    /// Whether a new generation should begin, to free translations.
    pub(crate) full: AtomicBool,
}

impl<G: Guest> Engine<G> {
    /// An engine that fetches code from `source`. Where guest addresses are the host's, the machine
    /// installs the handler of refused accesses ([`mynah_mem::host::signal::install`]).
    ///
    /// # Errors
    /// The host has no address space or memory for the code cache.
    pub fn new(config: Config, source: Arc<dyn CodeSource>) -> std::io::Result<Arc<Engine<G>>> {
        let engine = Arc::new(Engine {
            config,
            source,
            table: RwLock::default(),
            vcpus: Mutex::default(),
            compile: Compile::new(config.code_cache)?,
            helpers: mynah_jit::helper_table::<G>(),
            counters: Counters::default(),
            generation: AtomicU64::new(1),
            full: AtomicBool::new(false),
        });
        if config.tier == Tier::Auto {
            engine.start_compile_thread();
        }
        Ok(engine)
    }

    /// The translation for `key` where `locate` says the code is, made if there is none. The error
    /// is what fetching caused, or a breakpoint.
    pub(crate) fn translation(
        &self,
        key: BlockKey,
        locate: &mut dyn FnMut(u64) -> Result<u64, MemFault>,
    ) -> Result<&'static Translation<G>, Event> {
        let at = locate(key.pc).map_err(|fault| Event::Fault(fault.into()))?;
        let found = self.table.read().get(key, at);
        if let Some(translation) = found {
            let next = translation.place.next;
            let second = (key.pc / PAGE + 1).wrapping_mul(PAGE);
            let moved = next.is_some() && next != locate(second).ok();
            if !moved && self.is_current(translation) {
                return Ok(translation);
            }
            self.invalidate(at..at + 1);
        }
        let breakpoints = self.table.read().breakpoints.clone();
        if breakpoints.contains(&key.pc) {
            return Err(Event::Breakpoint);
        }
        let start = Instant::now();
        let origin = Origin { source: &*self.source, locate };
        let translation =
            translate::translate::<G>(origin, key, &breakpoints).map_err(Event::Fault)?;
        let counters = &self.counters;
        add(&counters.blocks_lifted, 1);
        add(&counters.insts_lifted, translation.code.guest_insts.into());
        add(&counters.bytes_lifted, translation.len.into());
        add(&counters.lift_ns, start.elapsed().as_nanos() as u64);
        self.refuel(&translation);
        let mut table = self.table.write();
        if !Arc::ptr_eq(&table.breakpoints, &breakpoints) {
            drop(table);
            return self.translation(key, locate);
        }
        // Another vCPU may have been faster; both translations are right.
        let translation = table.insert(translation);
        if table.is_full(self.config.translations) {
            self.full.store(true, Ordering::Relaxed);
        }
        Ok(translation)
    }

    /// Whether a translation whose code is not watched still says what memory holds.
    fn is_current(&self, translation: &Translation<G>) -> bool {
        let Some(bytes) = &translation.compare else { return true };
        let mut now = vec![0; bytes.len()];
        let mut done = 0;
        while done < now.len() {
            let at = translation.place.at + done as u64;
            match self.source.fetch(at, &mut now[done..]) {
                Ok(count) if count > 0 => done += count,
                _ => return false,
            }
        }
        now[..] == bytes[..]
    }

    /// Forgets all translations of code in `range` (addresses as [`CodeSource`] knows them). When it
    /// returns, no vCPU starts to execute one of them again; those inside one leave it soon.
    pub fn invalidate(&self, range: Range<u64>) {
        let retired = self.table.write().invalidate(range);
        self.forget(&retired);
    }

    /// Has code in `range` no longer watched, and forgets all translations of it: what happens
    /// before translated bytes are written.
    pub fn rewritten(&self, range: Range<u64>) {
        self.source.unwatch(range.clone());
        self.invalidate(range);
    }

    /// Makes vCPUs report [`Event::Breakpoint`] before the instructions at these virtual addresses,
    /// in place of any set before. A change forgets all translations; without breakpoints nothing
    /// is slower.
    pub fn set_breakpoints(&self, pcs: impl IntoIterator<Item = u64>) {
        let set: HashSet<u64> = pcs.into_iter().collect();
        let mut table = self.table.write();
        if set == *table.breakpoints {
            return;
        }
        table.breakpoints = Arc::new(set);
        let retired = table.clear();
        drop(table);
        self.forget(&retired);
    }

    /// Makes the vCPUs' jump caches forget translations that were retired, by their addresses, and
    /// vCPUs inside them leave.
    pub(crate) fn forget(&self, retired: &[u64]) {
        if retired.is_empty() {
            return;
        }
        add(&self.counters.blocks_invalidated, retired.len() as u64);
        for vcpu in self.vcpus.lock().iter().filter_map(Weak::upgrade) {
            retired.iter().for_each(|pc| vcpu.forget(*pc));
            vcpu.kick();
        }
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        self.counters.read()
    }

    /// Calls `fork` (which forks the process and returns 0 in the child) at a moment when no lock
    /// of the engine is held, and makes the child's copy of the engine work by itself.
    ///
    /// # Errors
    /// In the child: the host had no memory for its copy of the compiled code.
    pub fn fork(self: &Arc<Self>, fork: impl FnOnce() -> i32) -> std::io::Result<i32> {
        let compiler = self.compile.pause();
        let table = self.table.write();
        let vcpus = self.vcpus.lock();
        let result = fork();
        if result == 0 {
            // The other threads are not here.
            for vcpu in vcpus.iter().filter_map(Weak::upgrade) {
                vcpu.leave();
            }
        }
        drop((vcpus, table, compiler));
        if result == 0 {
            self.compile.after_fork()?;
            if self.config.tier == Tier::Auto {
                self.start_compile_thread();
            }
        }
        Ok(result)
    }
}
