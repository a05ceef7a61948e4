//! One vCPU and its run loop.

use crate::engine::Tier;
use crate::lookup::Lookup;
use crate::shared::Shared;
use crate::stats::add;
use crate::table::Translation;
use crate::translate::{self, Origin};
use crate::{Engine, Env, Event, Exit, Flow};
use mynah_guest::{Core, Cpu, Fault, Guest, MemFault};
use mynah_interp::{Leave, Link, Outcome};
use mynah_ir::BlockKey;
use mynah_jit::{Effort, LinkSlot};
use mynah_mem::host::signal::last_fault;
use mynah_mem::{Cause, Memory, Phys};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A vCPU: runs on the thread that calls [`Vcpu::run`].
pub struct Vcpu<G: Guest> {
    /// Its state. [`Core::ATTENTION`] may be set in `cpu.core.attention` by any thread, also from a
    /// signal handler, to make [`Vcpu::run`] report [`Event::Attention`] soon.
    pub cpu: Box<Cpu<G>>,
    engine: Arc<Engine<G>>,
    shared: Arc<Shared>,
    compiled_entries: u64,
    /// What `shared.generation` says while guest code runs.
    generation: u64,
    lookup: Lookup<G>,
}

impl<G: Guest> Vcpu<G> {
    /// A vCPU of `engine` in reset state.
    pub fn new(engine: Arc<Engine<G>>, memory: G::Memory) -> Vcpu<G> {
        let mut cpu = Cpu::new(memory);
        let lookup = Lookup::new();
        let shared = Arc::new(Shared::new(lookup.compiled.clone(), cpu.core.attention.clone()));
        cpu.core.jump_cache = lookup.jump_cache();
        mynah_jit::attach(&mut cpu, engine.helpers);
        let mut vcpus = engine.vcpus.lock();
        vcpus.retain(|v| v.strong_count() > 0);
        vcpus.push(Arc::downgrade(&shared));
        drop(vcpus);
        Vcpu { cpu, engine, shared, compiled_entries: 0, generation: 0, lookup }
    }

    /// Runs guest code from `cpu.core.pc` until `env` stops it.
    pub fn run(&mut self, env: &mut dyn Env<G>) -> Exit {
        loop {
            let mut event = Some(self.execute());
            self.count();
            while let Some(happened) = event {
                let code = Cause::Code;
                let flow = match happened {
                    Event::Fault(Fault::Memory(fault)) if fault.cause == code => {
                        self.rewrites(fault.va)
                    }
                    _ => env.event(&mut self.cpu, happened),
                };
                event = match flow {
                    Flow::Resume => None,
                    Flow::Step => self.step(),
                    Flow::Stop => return Exit::Env,
                };
            }
        }
    }

    /// Translated bytes at `va` are about to be written.
    fn rewrites(&mut self, va: u64) -> Flow {
        if let Ok(at) = self.cpu.memory.locate_write(va) {
            self.engine.rewritten(Phys::lines_around(at..at + 1));
        }
        Flow::Step
    }

    /// Executes the instruction at the guest's pc by itself.
    fn step(&mut self) -> Option<Event> {
        self.key();
        self.cpu.core.enter_fp();
        let event = self.interpret_one();
        self.cpu.core.leave_fp();
        event
    }

    /// The block that is to be executed next, after something that may have changed where code is
    /// found.
    fn key(&mut self) -> BlockKey {
        let mode = G::mode(&self.cpu.state);
        if self.lookup.change_mode(mode) {
            self.cpu.core.jump_cache = self.lookup.jump_cache();
            self.cpu.core.mode = mode;
        }
        self.cpu.set_space();
        self.lookup.forget(self.cpu.memory.take_moved());
        BlockKey { pc: self.cpu.core.pc, mode }
    }

    /// Runs translated code until something happens that the environment must see.
    fn execute(&mut self) -> Event {
        self.key();
        self.generation = self.engine.generation.load(Ordering::SeqCst);
        self.shared.enter(self.generation);
        self.cpu.core.enter_fp();
        let event = self.translated();
        self.cpu.core.leave_fp();
        self.shared.leave();
        event
    }

    fn translated(&mut self) -> Event {
        // The exit of compiled code that led here, to be linked.
        let mut slot: Option<&'static LinkSlot> = None;
        loop {
            if self.cpu.core.attention.load(Ordering::Relaxed) != 0 {
                let bits = self.cpu.core.attention.swap(0, Ordering::SeqCst);
                if bits & Core::ATTENTION != 0 {
                    return Event::Attention;
                }
                self.key();
            }
            let now = self.engine.generation.load(Ordering::Acquire);
            if now != self.generation {
                self.generation = now;
                self.shared.enter(now);
                slot = None;
            }
            let key = BlockKey { pc: self.cpu.core.pc, mode: self.cpu.core.mode };
            let translation = match self.find(key) {
                Ok(translation) => translation,
                Err(event) => return event,
            };
            if self.engine.config.tier == Tier::Compiler
                && translation.entry().is_none()
                && translation.compare.is_none()
            {
                // Compiling may wait for this vCPU to be outside.
                self.shared.leave();
                self.engine.compile(translation, Effort::Quick);
                self.shared.enter(self.generation);
            }
            let left = match translation.entry() {
                Some(entry) => {
                    match slot.take() {
                        Some(slot) => translation.link(slot),
                        None => self.lookup.remember(translation, entry),
                    }
                    self.compiled(entry, &mut slot)
                }
                None => {
                    slot = None;
                    self.interpreted(translation)
                }
            };
            if let Some(event) = left {
                return event;
            }
        }
    }

    /// The translation for `key`, from the last ones found or the block table.
    fn find(&mut self, key: BlockKey) -> Result<&'static Translation<G>, Event> {
        if let Some(found) = self.lookup.find(key) {
            return Ok(found);
        }
        let memory = &mut self.cpu.memory;
        let translation = self.engine.translation(key, &mut |va| memory.locate(va))?;
        let lasts = translation.is_linkable() && memory.lasts(key.pc);
        self.lookup.insert(translation, lasts);
        Ok(translation)
    }

    /// Runs the compiled code at `entry`, which was found in this vCPU's generation.
    fn compiled(&mut self, entry: usize, slot: &mut Option<&'static LinkSlot>) -> Option<Event> {
        self.compiled_entries += 1;
        let word = mynah_jit::enter(&mut self.cpu, entry);
        let exit = mynah_jit::Exit::decode(word);
        match exit {
            mynah_jit::Exit::Unlinked(address) => {
                let unlinked = LinkSlot::at(address);
                self.cpu.core.pc = unlinked.pc;
                *slot = Some(unlinked);
                None
            }
            mynah_jit::Exit::Lookup | mynah_jit::Exit::Attention => None,
            mynah_jit::Exit::Miss => self.missed(),
            mynah_jit::Exit::Trap(trap) => Some(Event::Trap(trap)),
            mynah_jit::Exit::TrapFault(trap) => Some(Event::Fault(Fault::Trap(trap))),
            mynah_jit::Exit::HelperFault => {
                let fault = self.cpu.take_fault();
                Some(Event::Fault(fault.expect("the helper left its fault in the vCPU")))
            }
            mynah_jit::Exit::Misaligned(access) => {
                let va = self.cpu.core.exit_value;
                let fault = MemFault { va, access, cause: Cause::Misaligned };
                Some(Event::Fault(Fault::Memory(fault)))
            }
            mynah_jit::Exit::HostFault => {
                let fault = last_fault();
                let site = self.engine.compile.site(fault.pc);
                let site = site.expect("compiled code knows the instructions of its accesses");
                self.cpu.core.pc = site.pc;
                self.cpu.recover(&site.recover, site.pc);
                if fault.cause == Cause::NonCanonical {
                    // The host tells neither the address nor the access. The interpreter knows.
                    return self.interpret_one();
                }
                let fault = MemFault { va: fault.va, access: fault.access, cause: fault.cause };
                Some(Event::Fault(Fault::Memory(fault)))
            }
        }
    }

    /// Interprets what stands at the pc, whose access the TLB could not answer.
    fn missed(&mut self) -> Option<Event> {
        let key = BlockKey { pc: self.cpu.core.pc, mode: self.cpu.core.mode };
        match self.find(key) {
            Ok(translation) => event(mynah_interp::once(translation.code, &mut self.cpu)),
            Err(event) => Some(event),
        }
    }

    /// Interprets the instruction at the guest's pc, in the guest's floating-point environment.
    fn interpret_one(&mut self) -> Option<Event> {
        let key = BlockKey { pc: self.cpu.core.pc, mode: self.cpu.core.mode };
        let memory = &mut self.cpu.memory;
        let locate = &mut |va| memory.locate(va);
        let origin = Origin { source: &*self.engine.source, locate };
        match translate::single::<G>(origin, key) {
            Ok(code) => event(mynah_interp::once(&code, &mut self.cpu)),
            Err(fault) => Some(Event::Fault(fault)),
        }
    }

    /// Interprets from `translation` on.
    fn interpreted(&mut self, translation: &'static Translation<G>) -> Option<Event> {
        if translation.compare.is_some() || !translation.is_valid() {
            // Compared with memory each time: never linked, never remembered.
            return event(mynah_interp::once(translation.code, &mut self.cpu));
        }
        self.lookup.interpreted.insert(translation.code);
        let mut code = translation.code;
        loop {
            match mynah_interp::run(code, &mut self.cpu, &self.lookup.interpreted) {
                // How code is found may have changed.
                Leave::Pc(_) if self.cpu.core.attention.load(Ordering::Relaxed) != 0 => {
                    return None;
                }
                Leave::Pc(link) => {
                    let key = BlockKey { pc: self.cpu.core.pc, mode: self.cpu.core.mode };
                    let next = match self.find(key) {
                        Ok(next) => next,
                        Err(event) => return Some(event),
                    };
                    if next.compare.is_some() || next.entry().is_some() {
                        return None;
                    }
                    self.connect(link, next);
                    code = next.code;
                }
                Leave::Stop { code: stopped, link } => {
                    if !stopped.is_stopped() {
                        // Its fuel is used up: it is warm.
                        self.warm(stopped.key);
                        code = stopped;
                        continue;
                    }
                    let next = match self.find(stopped.key) {
                        Ok(next) => next,
                        Err(event) => return Some(event),
                    };
                    if next.compare.is_some() || next.entry().is_some() || !next.is_valid() {
                        return None;
                    }
                    self.connect(link, next);
                    code = next.code;
                }
                Leave::Attention => return None,
                Leave::Trap(trap) => return Some(Event::Trap(trap)),
                Leave::Fault(fault) => return Some(Event::Fault(fault)),
            }
        }
    }

    /// Has interpreted code find `next` without help, by `link` or by the jump cache.
    fn connect(&mut self, link: Option<&Link<G>>, next: &'static Translation<G>) {
        match link {
            Some(link) if link.is_local() && next.is_linkable() => link.set(next.code),
            _ => self.lookup.interpreted.insert(next.code),
        }
    }

    /// Adds this vCPU's counts since the last time to the engine's.
    fn count(&mut self) {
        let counters = &self.engine.counters;
        add(&counters.insts_interpreted, std::mem::take(&mut self.cpu.core.interpreted));
        add(&counters.compiled_entries, std::mem::take(&mut self.compiled_entries));
    }

    fn warm(&mut self, key: BlockKey) {
        if let Ok(translation) = self.find(key) {
            self.engine.enqueue(translation);
        }
    }
}

/// What the environment must see of an outcome.
fn event(outcome: Outcome) -> Option<Event> {
    match outcome {
        Outcome::Pc => None,
        Outcome::Trap(trap) => Some(Event::Trap(trap)),
        Outcome::Fault(fault) => Some(Event::Fault(fault)),
    }
}

impl<G: Guest> Drop for Vcpu<G> {
    fn drop(&mut self) {
        self.count();
    }
}
