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
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// An x86 vCPU of the system machine.
pub type Guest = X86<Paged<Walker>>;

/// No line of memory.
const NO_LINE: u64 = u64::MAX;

/// MWAIT ends after so long by itself, as it may: a write that was on its way while MONITOR was
/// executed goes unnoticed.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// Why a vCPU has nothing to execute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sleep {
    /// It has.
    Awake,
    /// HLT.
    Halted,
    /// MWAIT, for a write to a line of memory. Interrupts may wake it though they are masked.
    Waiting { line: u64, masked: bool, until: Instant },
}

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
    /// The line of memory whose write wakes it; [`NO_LINE`] if none does.
    monitored: AtomicU64,
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
            monitored: AtomicU64::new(NO_LINE),
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

    /// Wakes the vCPU if it waits for memory in `range` to be written.
    pub(crate) fn written(&self, range: &Range<u64>) {
        if range.contains(&self.monitored.load(Ordering::SeqCst)) {
            self.wake();
        }
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
            Event::Attention | Event::Breakpoint => self.between(cpu, Sleep::Awake),
            Event::Trap(trap) if trap.code == trap::HALT => self.between(cpu, Sleep::Halted),
            Event::Trap(trap) if trap.code == trap::WAIT => {
                let sleep = waits(cpu);
                self.between(cpu, sleep)
            }
            Event::Trap(trap) => events::deliver(cpu, events::Event::Trap(trap))
                .and_then(|()| self.between(cpu, Sleep::Awake)),
            Event::Fault(fault) => events::deliver(cpu, events::Event::Fault(fault))
                .and_then(|()| self.between(cpu, Sleep::Awake)),
        };
        flow.unwrap_or_else(|Shutdown| {
            self.board.end(End::TripleFault { vcpu: self.number, pc: cpu.core.pc });
            Flow::Stop
        })
    }
}

impl Processor {
    /// Does what is due between two instructions; a vCPU that `sleeps` waits until something is.
    fn between(&mut self, cpu: &mut Cpu<Guest>, sleep: Sleep) -> Result<Flow, Shutdown> {
        let line = if let Sleep::Waiting { line, .. } = sleep { line } else { NO_LINE };
        self.line.monitored.store(line, Ordering::SeqCst);
        self.line.sleeps.store(sleep != Sleep::Awake || self.waits, Ordering::Relaxed);
        let flow = self.settle(cpu, sleep);
        self.line.sleeps.store(false, Ordering::Relaxed);
        self.line.monitored.store(NO_LINE, Ordering::SeqCst);
        flow
    }

    fn settle(&mut self, cpu: &mut Cpu<Guest>, mut sleep: Sleep) -> Result<Flow, Shutdown> {
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
                sleep = Sleep::Awake;
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
                events::Due::Delivered => sleep = Sleep::Awake,
                events::Due::Instruction => return Ok(self.step(cpu)),
                events::Due::Nothing => {}
            }
            // Who steps through a program wants to see its next instruction, not a handler's.
            let held = steps && sleep == Sleep::Awake;
            if asked.nmi && !held && !cpu.state.system.nmi_blocked {
                self.line.requests.lock().nmi = false;
                events::deliver(cpu, events::Event::Nmi)?;
                sleep = Sleep::Awake;
                continue;
            }
            if asked.interrupt && !held && cpu.state.is_interruptible() {
                if let Some(vector) = self.board.acknowledge(self.number) {
                    events::deliver(cpu, events::Event::Interrupt(vector))?;
                    sleep = Sleep::Awake;
                }
                continue;
            }
            if held {
                return Ok(self.step(cpu));
            }
            // Whether an interrupt wakes it.
            let open = match sleep {
                Sleep::Waiting { masked, .. } => masked || cpu.state.is_interruptible(),
                _ => cpu.state.is_interruptible(),
            };
            if let Sleep::Waiting { line, until, .. } = sleep {
                let written = !self.board.phys.is_watched(line);
                if written || asked.interrupt && open || until <= Instant::now() {
                    sleep = Sleep::Awake;
                }
            }
            if sleep == Sleep::Awake {
                cpu.state.system.interrupt_waiting = asked.interrupt || asked.nmi;
                return Ok(Flow::Resume);
            }
            let mut requests = self.line.requests.lock();
            let wakes = |r: &Requests| {
                let asked = r.end || r.init || r.remap || r.nmi && !asked.nmi;
                asked || r.interrupt && open || self.seat.is_wanted()
            };
            match sleep {
                _ if wakes(&requests) => {}
                // Who writes there asks for the lock afterwards.
                Sleep::Waiting { line, .. } if !self.board.phys.is_watched(line) => {}
                Sleep::Waiting { until, .. } => {
                    self.line.changed.wait_until(&mut requests, until);
                }
                _ => self.line.changed.wait(&mut requests),
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

/// What MWAIT does.
fn waits(cpu: &Cpu<Guest>) -> Sleep {
    let Some(line) = cpu.state.system.monitored else { return Sleep::Awake };
    let masked = cpu.state.gpr[1] & 1 != 0;
    Sleep::Waiting { line, masked, until: Instant::now() + LONGEST_WAIT }
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
