//! A RISC-V program on every tier: same result, and the tiers really run.

use mynah_engine::{
    CodeSource, Config, Cpu, Engine, Env, Event, Exit, Fault, Flow, Tier, Vcpu, Watch,
};
use mynah_guest::MemFault;
use mynah_mem::{Flat, Memory as _};
use mynah_riscv::{RiscV, state, trap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Sums in a loop with a load, a store and a call in each turn; a0 turns, result in a1, a3 points
/// to eight bytes.
static PROGRAM: Aligned = Aligned([
    0x93, 0x05, 0x00, 0x00, 0x13, 0x06, 0x00, 0x00, 0xb3, 0x02, 0xc6, 0x02, 0x13, 0x53, 0x36, 0x00,
    0xb3, 0xc2, 0x62, 0x00, 0xb3, 0x85, 0x55, 0x00, 0x23, 0xb0, 0xb6, 0x00, 0x83, 0xb3, 0x06, 0x00,
    0xb3, 0x85, 0x75, 0x00, 0xef, 0x00, 0x00, 0x01, 0x13, 0x06, 0x16, 0x00, 0xe3, 0x4e, 0xa6, 0xfc,
    0x73, 0x00, 0x00, 0x00, 0x13, 0x7e, 0x76, 0x00, 0x63, 0x14, 0x0e, 0x00, 0x93, 0xc5, 0x55, 0x05,
    0x67, 0x80, 0x00, 0x00,
]);

/// RISC-V code begins at even addresses.
#[repr(align(8))]
struct Aligned([u8; 68]);

struct Bytes;

impl CodeSource for Bytes {
    fn watch(&self, _: std::ops::Range<u64>) -> Result<Watch, MemFault> {
        Ok(Watch::Caught)
    }
    fn fetch(&self, va: u64, buffer: &mut [u8]) -> Result<usize, MemFault> {
        let mut count = buffer.len();
        while let Err(fault) = Flat.read(va, &mut buffer[..count]) {
            count /= 2;
            if count == 0 {
                return Err(fault);
            }
        }
        Ok(count)
    }
}

struct UntilEcall(Option<Event>);

impl Env<RiscV> for UntilEcall {
    fn event(&mut self, _: &mut Cpu<RiscV>, event: Event) -> Flow {
        self.0 = Some(event);
        Flow::Stop
    }
}

fn run(tier: Tier, turns: u64, a3: u64) -> (Event, u64, u64, mynah_engine::Stats) {
    run_with(Config { tier, threshold: 50, ..Config::default() }, turns, a3)
}

fn run_with(config: Config, turns: u64, a3: u64) -> (Event, u64, u64, mynah_engine::Stats) {
    mynah_mem::host::signal::install(None);
    let engine = Engine::<RiscV>::new(config, Arc::new(Bytes)).expect("there is memory");
    let mut vcpu = Vcpu::new(engine.clone(), Flat);
    vcpu.cpu.core.pc = PROGRAM.0.as_ptr() as u64;
    vcpu.cpu.set_slot(state::x(10), turns.into());
    vcpu.cpu.set_slot(state::x(13), a3.into());
    let mut env = UntilEcall(None);
    assert_eq!(vcpu.run(&mut env), Exit::Env);
    let a1 = vcpu.cpu.slot(state::x(11)) as u64;
    let pc = vcpu.cpu.core.pc - PROGRAM.0.as_ptr() as u64;
    (env.0.expect("an event stopped it"), a1, pc, engine.stats())
}

fn expected(turns: u64) -> u64 {
    let mut sum = 0u64;
    for i in 0..turns {
        sum = sum.wrapping_add(i.wrapping_mul(i) ^ i >> 3).wrapping_mul(2);
        if i % 8 == 0 {
            sum ^= 0x55;
        }
    }
    sum
}

#[test]
fn every_tier_computes_the_same() {
    for tier in [Tier::Interpreter, Tier::Compiler, Tier::Auto] {
        let mut cell = 0u64;
        let at = std::ptr::from_mut(&mut cell) as u64;
        let (event, a1, _, stats) = run(tier, 1_000_000, at);
        assert_eq!(event, Event::Trap(trap::of(trap::ECALL)), "{tier:?}");
        assert_eq!(a1, expected(1_000_000), "{tier:?}");
        assert_eq!(stats.units_compiled > 0, tier != Tier::Interpreter, "{tier:?}: {stats:?}");
    }
}

#[test]
fn a_full_code_cache_is_flushed() {
    for tier in [Tier::Compiler, Tier::Auto] {
        let mut turns = 300;
        // Compiling in the background takes its time.
        while !is_flushed(tier, turns) {
            turns *= 10;
            assert!(tier == Tier::Auto && turns < 1_000_000_000, "{tier:?}: no flush");
        }
    }
}

/// Runs the program with room for one or two of its seven blocks, and none for all of them.
fn is_flushed(tier: Tier, turns: u64) -> bool {
    let mut cell = 0u64;
    let at = std::ptr::from_mut(&mut cell) as u64;
    let config = Config { tier, threshold: 5, code_cache: 256, ..Config::default() };
    let (_, a1, _, stats) = run_with(config, turns, at);
    assert_eq!(a1, expected(turns), "{tier:?}");
    stats.blocks_invalidated > 0
}

/// Several vCPUs while translations are freed all the time: there is room for fewer than the program
/// has, and another thread says that its code changes.
#[test]
fn translations_are_freed_under_running_vcpus() {
    mynah_mem::host::signal::install(None);
    let start = PROGRAM.0.as_ptr() as u64;
    for tier in [Tier::Interpreter, Tier::Compiler, Tier::Auto] {
        let config = Config { tier, threshold: 5, translations: 16 << 10, ..Config::default() };
        let engine = Engine::<RiscV>::new(config, Arc::new(Bytes)).expect("there is memory");
        let running = AtomicUsize::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut cell = 0u64;
                    let mut vcpu = Vcpu::new(engine.clone(), Flat);
                    for turns in (0..400).cycle() {
                        if engine.stats().blocks_lifted > 1000 {
                            break;
                        }
                        vcpu.cpu.core.pc = start;
                        vcpu.cpu.set_slot(state::x(10), turns.into());
                        vcpu.cpu
                            .set_slot(state::x(13), (std::ptr::from_mut(&mut cell) as u64).into());
                        vcpu.run(&mut UntilEcall(None));
                        let sum = vcpu.cpu.slot(state::x(11)) as u64;
                        assert_eq!(sum, expected(turns.max(1)), "{tier:?}");
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
            let mut at = 0;
            while running.load(Ordering::SeqCst) > 0 {
                engine.invalidate(start + at..start + at + 4);
                at = (at + 12) % 68;
                std::thread::sleep(Duration::from_micros(30));
            }
        });
    }
}

#[test]
fn a_code_cache_that_does_not_fit_is_an_error() {
    let config = Config { code_cache: 1 << 60, ..Config::default() };
    assert!(Engine::<RiscV>::new(config, Arc::new(Bytes)).is_err());
}

#[test]
fn a_refused_store_is_reported_at_its_instruction() {
    for tier in [Tier::Interpreter, Tier::Compiler] {
        let (event, a1, pc, _) = run(tier, 5, 16);
        let Event::Fault(Fault::Memory(fault)) = event else { panic!("{tier:?}: {event:?}") };
        assert_eq!(fault.va, 16, "{tier:?}");
        assert_eq!((pc, a1), (24, 0), "{tier:?}: the store is the fifth of the loop");
    }
}

/// Counts how often execution comes to its breakpoints, and goes on.
struct Counted {
    engine: Arc<Engine<RiscV>>,
    /// Where, and how often.
    hits: Vec<(u64, u64)>,
    /// When the breakpoints are taken away.
    until: u64,
}

impl Env<RiscV> for Counted {
    fn event(&mut self, cpu: &mut Cpu<RiscV>, event: Event) -> Flow {
        if event != Event::Breakpoint {
            assert_eq!(event, Event::Trap(trap::of(trap::ECALL)));
            return Flow::Stop;
        }
        let found = self.hits.iter_mut().find(|(pc, _)| *pc == cpu.core.pc);
        let hits = found.expect("it is one of the breakpoints");
        hits.1 += 1;
        if hits.1 == self.until {
            self.engine.set_breakpoints([]);
        }
        Flow::Step
    }
}

#[test]
fn breakpoints_are_met_before_they_are_executed_on_every_tier() {
    mynah_mem::host::signal::install(None);
    let start = PROGRAM.0.as_ptr() as u64;
    for tier in [Tier::Interpreter, Tier::Compiler, Tier::Auto] {
        let mut cell = 0u64;
        let config = Config { tier, threshold: 5, ..Config::default() };
        let engine = Engine::<RiscV>::new(config, Arc::new(Bytes)).expect("there is memory");
        let mut vcpu = Vcpu::new(engine.clone(), Flat);
        let mut go = |pcs: &[u64], until, turns: u64| {
            vcpu.cpu.core.pc = start;
            vcpu.cpu.set_slot(state::x(10), turns.into());
            vcpu.cpu.set_slot(state::x(13), (std::ptr::from_mut(&mut cell) as u64).into());
            let hits = pcs.iter().map(|pc| (start + pc, 0)).collect();
            engine.set_breakpoints(pcs.iter().map(|pc| start + pc));
            let mut env = Counted { engine: engine.clone(), hits, until };
            vcpu.run(&mut env);
            assert_eq!(vcpu.cpu.slot(state::x(11)) as u64, expected(turns), "{tier:?}");
            env.hits.into_iter().map(|(_, count)| count).collect::<Vec<_>>()
        };
        // All is translated and some of it compiled before there are any.
        assert_eq!(go(&[], 0, 100_000), [], "{tier:?}");
        // The loop's load, in the midst of a block, and its second block, which a branch leads to.
        assert_eq!(go(&[28, 40], 0, 300), [300, 300], "{tier:?}");
        assert_eq!(go(&[28, 0], 100, 300), [100, 1], "{tier:?}: until they are taken away");
        assert_eq!(go(&[], 0, 1000), [], "{tier:?}");
    }
}
