//! A vCPU in the machine: the wires that lead to it, and what it does about events.

use crate::board::{Board, End};
use mynah_bus::CpuLine;
use mynah_bus::time::{SECOND, scale};
use mynah_debug::{Inspect as _, Next, Seat, Stop};
use mynah_engine::{Cpu, Env, Event, Flow};
use mynah_guest::Core;
use mynah_mem::{Memory as _, Paged};
use mynah_x86::events::{self, Shutdown};
use mynah_x86::paging::Walker;
use mynah_x86::{TSC_HZ, X86, trap};
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// An x86 vCPU of the system machine.
pub type Guest = X86<Paged<Walker>>;

/// What is asked of a vCPU.
#[derive(Clone, Copy, Default, Debug)]
struct Requests {
    /// INTR is high.
    interrupt: bool,
    nmi: bool,
    init: bool,
    startup: Option<u8>,
    /// The meaning of physical addresses has changed.
    remap: bool,
    /// The machine ends.
    end: bool,
}

/// The wires that lead to a vCPU.
pub(crate) struct Line {
    requests: Mutex<Requests>,
    changed: Condvar,
    /// The vCPU's attention word, once it is there.
    attention: Mutex<Option<Arc<AtomicU32>>>,
    /// The vCPU has nothing to execute and sleeps.
    sleeps: AtomicBool,
    /// Where the vCPU is stopped, once it is there.
    seat: OnceLock<Arc<Seat<Guest>>>,
}

impl Line {
    pub(crate) fn new() -> Arc<Line> {
        Arc::new(Line {
            requests: Mutex::default(),
            changed: Condvar::new(),
            attention: Mutex::default(),
            sleeps: AtomicBool::new(false),
            seat: OnceLock::new(),
        })
    }

    /// Leads to the vCPU whose attention word this is. Before its first instruction it looks at
    /// what is asked: there may be something, and all but the first wait for a start-up IPI.
    pub(crate) fn connect(&self, attention: Arc<AtomicU32>) {
        *self.attention.lock() = Some(attention);
        self.call();
    }

    /// The vCPU is stopped at this seat.
    pub(crate) fn sit(&self, seat: Arc<Seat<Guest>>) {
        // A vCPU has one seat all its life.
        let _ = self.seat.set(seat);
    }

    /// What the vCPU does, in a word.
    pub(crate) fn doing(&self) -> &'static str {
        if self.sleeps.load(Ordering::Relaxed) { "sleeping" } else { "awake" }
    }

    /// Makes the vCPU look at what is asked of it, also if it sleeps.
    pub(crate) fn wake(&self) {
        self.ask(|_| {});
    }

    /// Makes the vCPU forget where virtual addresses lead.
    pub(crate) fn remap(&self) {
        self.ask(|requests| requests.remap = true);
    }

    /// Makes the vCPU stop for good.
    pub(crate) fn end(&self) {
        self.ask(|requests| requests.end = true);
        if let Some(seat) = self.seat.get() {
            seat.leave();
        }
    }

    fn ask(&self, change: impl FnOnce(&mut Requests)) {
        change(&mut self.requests.lock());
        self.call();
        self.changed.notify_all();
    }

    fn call(&self) {
        if let Some(attention) = &*self.attention.lock() {
            attention.fetch_or(Core::ATTENTION, Ordering::SeqCst);
        }
    }
}

impl CpuLine for Line {
    fn interrupt(&self, level: bool) {
        if level {
            self.ask(|requests| requests.interrupt = true);
        } else {
            self.requests.lock().interrupt = false;
        }
    }

    fn nmi(&self) {
        self.ask(|requests| requests.nmi = true);
    }

    fn init(&self) {
        self.ask(|requests| requests.init = true);
    }

    fn startup(&self, vector: u8) {
        self.ask(|requests| requests.startup = Some(vector));
    }
}

/// The environment of one vCPU.
pub(crate) struct Processor {
    pub(crate) board: Arc<Board>,
    pub(crate) line: Arc<Line>,
    /// Its number; 0 is the one that starts the machine.
    pub(crate) number: usize,
    /// It waits for a start-up IPI.
    pub(crate) waits: bool,
    /// Where it is stopped.
    pub(crate) seat: Arc<Seat<Guest>>,
    /// The machine's clock's lag that the vCPU's time-stamp counter knows of.
    pub(crate) lag: u64,
}

impl Env<Guest> for Processor {
    fn event(&mut self, cpu: &mut Cpu<Guest>, event: Event) -> Flow {
        match (event, Guest::take_watched(cpu)) {
            (Event::Breakpoint, _) => self.seat.stop(Stop::Breakpoint),
            (Event::Fault(_), _) | (_, None) => {}
            (_, Some((va, kind))) => self.seat.stop(Stop::Watch { va, kind }),
        }
        let flow = match event {
            Event::Attention | Event::Breakpoint => self.between(cpu, false),
            Event::Trap(trap) if matches!(trap.code, trap::HALT | trap::WAIT) => {
                self.between(cpu, true)
            }
            Event::Trap(trap) => events::deliver(cpu, events::Event::Trap(trap))
                .and_then(|()| self.between(cpu, false)),
            Event::Fault(fault) => events::deliver(cpu, events::Event::Fault(fault))
                .and_then(|()| self.between(cpu, false)),
        };
        flow.unwrap_or_else(|Shutdown| {
            self.board.end(End::TripleFault { vcpu: self.number, pc: cpu.core.pc });
            Flow::Stop
        })
    }
}

impl Processor {
    /// Does what is due between two instructions; a vCPU that `sleeps` waits until something is.
    fn between(&mut self, cpu: &mut Cpu<Guest>, sleeps: bool) -> Result<Flow, Shutdown> {
        self.line.sleeps.store(sleeps || self.waits, Ordering::Relaxed);
        let flow = self.settle(cpu, sleeps);
        self.line.sleeps.store(false, Ordering::Relaxed);
        flow
    }

    fn settle(&mut self, cpu: &mut Cpu<Guest>, mut sleeps: bool) -> Result<Flow, Shutdown> {
        loop {
            let steps = self.seat.attend(cpu) == Next::Step;
            self.keep_time(cpu);
            let mut requests = self.line.requests.lock();
            if requests.end {
                return Ok(Flow::Stop);
            }
            if std::mem::take(&mut requests.remap) {
                cpu.memory.flush(true);
                cpu.mapping_changed();
            }
            if std::mem::take(&mut requests.init) {
                drop(requests);
                cpu.state.init();
                cpu.core.pc = mynah_x86::state::RESET_PC;
                renew(cpu);
                self.waits = self.number != 0;
                sleeps = false;
                continue;
            }
            if let Some(vector) = requests.startup.take()
                && self.waits
            {
                drop(requests);
                cpu.core.pc = cpu.state.start_up(vector);
                renew(cpu);
                self.waits = false;
                continue;
            }
            if self.waits {
                if !self.seat.is_wanted() {
                    self.line.changed.wait(&mut requests);
                }
                continue;
            }
            let asked = *requests;
            drop(requests);
            match events::attend(cpu)? {
                events::Due::Delivered => sleeps = false,
                events::Due::Instruction => return Ok(self.step(cpu)),
                events::Due::Nothing => {}
            }
            // Who steps through a program wants to see its next instruction, not a handler's.
            let held = steps && !sleeps;
            if asked.nmi && !held && !cpu.state.system.nmi_blocked {
                self.line.requests.lock().nmi = false;
                events::deliver(cpu, events::Event::Nmi)?;
                sleeps = false;
                continue;
            }
            if asked.interrupt && !held && cpu.state.is_interruptible() {
                if let Some(vector) = self.board.acknowledge(self.number) {
                    events::deliver(cpu, events::Event::Interrupt(vector))?;
                    sleeps = false;
                }
                continue;
            }
            if held {
                return Ok(self.step(cpu));
            }
            if !sleeps {
                cpu.state.system.interrupt_waiting = asked.interrupt || asked.nmi;
                return Ok(Flow::Resume);
            }
            let mut requests = self.line.requests.lock();
            let open = cpu.state.is_interruptible();
            let wakes = |r: &Requests| {
                let asked = r.end || r.init || r.remap || r.nmi && !asked.nmi;
                asked || r.interrupt && open || self.seat.is_wanted()
            };
            if !wakes(&requests) {
                self.line.changed.wait(&mut requests);
            }
        }
    }

    /// The next instruction is executed by itself, and then the vCPU attends again.
    fn step(&self, cpu: &Cpu<Guest>) -> Flow {
        self.seat.begin_step();
        cpu.core.attention.fetch_or(Core::ATTENTION, Ordering::SeqCst);
        Flow::Step
    }

    /// The time-stamp counter stands while the machine's clock does.
    fn keep_time(&mut self, cpu: &mut Cpu<Guest>) {
        let lag = self.board.timers.clock().lag();
        let stood = lag.wrapping_sub(std::mem::replace(&mut self.lag, lag));
        let system = &mut cpu.state.system;
        system.tsc_offset = system.tsc_offset.wrapping_sub(scale(stood, TSC_HZ, SECOND));
    }
}

/// After a change of the whole state: of where code and data are found, and how code is read.
fn renew(cpu: &mut Cpu<Guest>) {
    mynah_x86::remap(cpu, true);
    mynah_x86::refresh(cpu);
    cpu.mode_changed();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_looks_at_what_is_asked_before_its_first_instruction() {
        let line = Line::new();
        let word = Arc::new(AtomicU32::new(0));
        line.connect(word.clone());
        assert_eq!(word.load(Ordering::SeqCst), Core::ATTENTION);
    }
}
