//! Rows on compiled code alone, by the engine that machines have.

use super::image::{BYTES, CODE};
use super::state::{End, Outcome, Row, State};
use crate::machine::{Guest86, Machine, Style};
use mynah_engine::{Config, Cpu, Engine, Env, Event, Flow, Tier, Vcpu};
use mynah_guest::{Core, Guest};
use mynah_mem::{Memory, Paged, Phys};
use mynah_x86::events::{self, Due, Shutdown};
use mynah_x86::paging::Walker;
use mynah_x86::trap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// Events that a row may meet.
const TURNS: u32 = 64;
/// Bytes of memory for compiled code.
const CODE_CACHE: usize = 16 << 20;
/// Where handlers and targets are: rows end there.
const LANDINGS: std::ops::Range<u64> = 0x3000..0x5000;

/// A vCPU whose every block is compiled before it runs.
pub(crate) struct Compiled {
    machine: Machine,
    engine: Arc<Engine<Guest86>>,
    vcpu: Vcpu<Guest86>,
}

impl Compiled {
    pub(crate) fn new() -> Compiled {
        mynah_mem::host::signal::install(None);
        let machine = Machine::new(Style::Single);
        let config = Config { tier: Tier::Compiler, code_cache: CODE_CACHE, ..Config::default() };
        let engine = Engine::new(config, machine.phys()).expect("memory for code");
        let written = Arc::downgrade(&engine);
        machine.phys().on_written(move |range| {
            if let Some(engine) = written.upgrade() {
                engine.rewritten(Phys::lines_around(range));
            }
        });
        let memory = Paged::new(Walker::default(), machine.phys());
        let mut vcpu = Vcpu::new(engine.clone(), memory);
        vcpu.cpu.core.ports = machine.cpu.core.ports.clone();
        Compiled { machine, engine, vcpu }
    }

    /// What compiled code does with the row.
    pub(crate) fn run(&mut self, row: &Row) -> Outcome {
        let before = row.memory();
        // What was compiled is another row's.
        for page in (0..BYTES as u64).step_by(4096) {
            self.engine.rewritten(page..page + 4096);
        }
        self.machine.fill(&before);
        let ends: HashSet<u64> = LANDINGS.chain(row.ends()).collect();
        self.engine.set_breakpoints(ends.iter().copied());
        let cpu = &mut self.vcpu.cpu;
        cpu.state = Guest86::reset();
        cpu.core.attention.store(0, SeqCst);
        cpu.take_fault();
        row.state.load(&before, cpu);
        cpu.memory.walker = Walker::new(&cpu.state);
        cpu.memory.flush(true);
        cpu.mapping_changed();
        cpu.core.pc = CODE;
        let mut bench = Bench { ends, turns: 0, end: End::Endless };
        self.vcpu.run(&mut bench);
        let mut memory = before;
        self.machine.load(0, &mut memory);
        Outcome { end: bench.end, state: State::save(&mut self.vcpu.cpu), memory }
    }
}

/// The environment of a row.
struct Bench {
    /// Addresses at which it ends.
    ends: HashSet<u64>,
    turns: u32,
    /// How it ended.
    end: End,
}

impl Bench {
    fn stop(&mut self, end: End) -> Flow {
        self.end = end;
        Flow::Stop
    }

    fn settle(&mut self, cpu: &mut Cpu<Guest86>, event: Event) -> Result<Flow, Shutdown> {
        match event {
            Event::Breakpoint => return Ok(self.stop(End::At)),
            Event::Trap(trap) if trap.code == trap::HALT => return Ok(self.stop(End::Halt)),
            // It may end at once.
            Event::Trap(trap) if trap.code == trap::WAIT => {}
            Event::Trap(trap) => events::deliver(cpu, events::Event::Trap(trap))?,
            Event::Fault(fault) => events::deliver(cpu, events::Event::Fault(fault))?,
            Event::Attention => match events::attend(cpu)? {
                Due::Instruction if self.ends.contains(&cpu.core.pc) => {
                    return Ok(self.stop(End::At));
                }
                Due::Instruction => {
                    cpu.core.attention.fetch_or(Core::ATTENTION, SeqCst);
                    return Ok(Flow::Step);
                }
                Due::Delivered | Due::Nothing => {}
            },
        }
        Ok(Flow::Resume)
    }
}

impl Env<Guest86> for Bench {
    fn event(&mut self, cpu: &mut Cpu<Guest86>, event: Event) -> Flow {
        self.turns += 1;
        if self.turns > TURNS {
            return self.stop(End::Endless);
        }
        self.settle(cpu, event).unwrap_or_else(|Shutdown| self.stop(End::Shutdown))
    }
}
