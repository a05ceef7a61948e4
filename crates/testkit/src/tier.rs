//! Mynah's tiers as runners.

use crate::check::listing;
use crate::pages::{ENTRY, Pages};
use crate::runner::{Runner, lift, lift_first};
use crate::subject::{State, Stop, Subject};
use mynah_guest::{Cause, Cpu, Fault, GuestNames, JumpEntry, MemFault};
use mynah_interp::{Outcome, OwnedCode};
use mynah_ir::{Block, BlockKey};
use mynah_jit::{CodeCache, Compiler, Effort, Exit, LinkSlot, Unit};
use mynah_mem::Flat;
use mynah_mem::host::signal::last_fault;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// Blocks that a run may execute before it counts as endless.
const LIMIT: usize = 20_000;

/// Memory for compiled code; flushed with each new piece of code under test.
const CODE_CACHE: usize = 1 << 20;

/// How code is executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// The IR as lifted is interpreted.
    Lifted,
    /// The optimised IR is interpreted.
    Interpreter,
    /// Each block is compiled; with the optimiser, as a region with what it leads to.
    Compiler(Effort),
}

impl Tier {
    /// All tiers, the reference first.
    pub const ALL: [Tier; 4] = [
        Tier::Lifted,
        Tier::Interpreter,
        Tier::Compiler(Effort::Quick),
        Tier::Compiler(Effort::Optimise),
    ];

    /// Its name in tests.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Lifted => "lifted",
            Tier::Interpreter => "tier0",
            Tier::Compiler(Effort::Quick) => "tier1",
            Tier::Compiler(Effort::Optimise) => "tier2",
        }
    }
}

/// A block ready to run.
enum Ready<S: Subject> {
    Interpreted(OwnedCode<S>),
    Compiled(Unit),
}

/// What compiling needs.
struct Jit<S: Subject> {
    effort: Effort,
    compiler: Compiler<S>,
    cache: CodeCache,
    _jumps: Box<[JumpEntry]>,
}

/// A tier, and the blocks of the code it last ran.
pub struct TierRunner<S: Subject> {
    tier: Tier,
    cpu: Box<Cpu<S>>,
    jit: Option<Jit<S>>,
    code: Vec<u8>,
    blocks: Vec<(BlockKey, Result<Ready<S>, Stop>)>,
}

impl<S: Subject> TierRunner<S> {
    /// A runner of that tier.
    pub fn new(tier: Tier) -> TierRunner<S> {
        let mut cpu = Cpu::new(Flat);
        let jit = match tier {
            Tier::Compiler(effort) => {
                let jumps = JumpEntry::cache();
                cpu.core.jump_cache = jumps.as_ptr() as usize;
                mynah_jit::attach(&mut cpu, mynah_jit::helper_table::<S>());
                let cache = CodeCache::new(CODE_CACHE);
                Some(Jit {
                    effort,
                    compiler: Compiler::new(),
                    cache: cache.unwrap_or_else(|e| panic!("no memory for code: {e}")),
                    _jumps: jumps,
                })
            }
            _ => None,
        };
        TierRunner { tier, cpu, jit, code: Vec::new(), blocks: Vec::new() }
    }

    /// Index of the block at `pc` in the present mode, made if it is not there.
    fn block(&mut self, pc: u64) -> usize {
        let key = BlockKey { pc, mode: self.cpu.core.mode };
        let found = self.blocks.iter().position(|(at, _)| *at == key);
        found.unwrap_or_else(|| {
            let made = self.prepare(pc);
            self.blocks.push((key, made));
            self.blocks.len() - 1
        })
    }

    fn prepare(&mut self, pc: u64) -> Result<Ready<S>, Stop> {
        let block = self.translate(pc)?;
        let mut blocks = vec![block];
        let Some(jit) = &self.jit else {
            let made = mynah_interp::flatten::<S>(&blocks[0]);
            return Ok(Ready::Interpreted(
                made.unwrap_or_else(|error| panic!("{error:?}: {}", listing::<S>(self.after(pc)))),
            ));
        };
        if jit.effort == Effort::Optimise {
            self.add_region(&mut blocks);
        }
        let blocks: Vec<&Block> = blocks.iter().collect();
        let code = self.code[(pc - ENTRY) as usize..].to_vec();
        let jit = self.jit.as_mut().expect("it was there");
        let made = jit.compiler.compile(&blocks, jit.effort);
        let artifact = made.unwrap_or_else(|error| panic!("{error}: {}", listing::<S>(&code)));
        let unit = jit.cache.install(artifact).expect("the code under test is small");
        Ok(Ready::Compiled(unit))
    }

    /// The code under test from `pc` on.
    fn after(&self, pc: u64) -> &[u8] {
        &self.code[(pc - ENTRY) as usize..]
    }

    fn is_inside(&self, pc: u64) -> bool {
        (ENTRY..ENTRY + self.code.len() as u64).contains(&pc)
    }

    /// The block at `pc` as this tier takes it.
    fn translate(&self, pc: u64) -> Result<Block, Stop> {
        let code = self.after(pc);
        let mut block = lift::<S>(code, pc, self.cpu.core.mode)?;
        verify::<S>(&block, code, "as lifted");
        if self.tier != Tier::Lifted {
            mynah_opt::optimise::<S>(&mut block);
            verify::<S>(&block, code, "optimised");
        }
        Ok(block)
    }

    /// Adds what the engine would make a unit of with the first of `blocks`.
    fn add_region(&self, blocks: &mut Vec<Block>) {
        let mut next = 0;
        while next < blocks.len() {
            for pc in blocks[next].end.leads_to() {
                let known = blocks.iter().any(|block| block.key.pc == pc);
                if known || !self.is_inside(pc) || blocks.len() == mynah_jit::MAX_BLOCKS {
                    continue;
                }
                blocks.extend(self.translate(pc));
            }
            next += 1;
        }
    }

    fn go(&mut self) -> Stop {
        for _ in 0..LIMIT {
            let pc = self.cpu.core.pc;
            if !self.is_inside(pc) {
                return Stop::Left;
            }
            self.cpu.core.mode = S::mode(&self.cpu.state);
            self.cpu.core.attention.store(0, Ordering::Relaxed);
            let index = self.block(pc);
            let outcome = match &self.blocks[index].1 {
                Ok(Ready::Interpreted(code)) => {
                    self.cpu.core.enter_fp();
                    let outcome = mynah_interp::once(code, &mut self.cpu);
                    self.cpu.core.leave_fp();
                    outcome
                }
                Ok(Ready::Compiled(unit)) => match compiled(unit, &mut self.cpu) {
                    Some(outcome) => outcome,
                    None => self.interpret_one(),
                },
                Err(stop) => return *stop,
            };
            match outcome {
                Outcome::Pc => {}
                Outcome::Trap(trap) => return S::stop(Fault::Trap(trap)),
                Outcome::Fault(fault) => return S::stop(fault),
            }
        }
        Stop::Endless
    }

    /// Interprets the instruction at the pc.
    fn interpret_one(&mut self) -> Outcome {
        let Cpu { core, .. } = &*self.cpu;
        let block =
            lift_first::<S>(self.after(core.pc), core.pc, core.mode).expect("it was lifted before");
        let code = mynah_interp::flatten::<S>(&block).expect("one instruction fits");
        self.cpu.core.enter_fp();
        let outcome = mynah_interp::once(&code, &mut self.cpu);
        self.cpu.core.leave_fp();
        outcome
    }
}

/// Runs the unit once, as the engine does; `None` if the instruction at the pc is to be interpreted.
fn compiled<S: Subject>(unit: &Unit, cpu: &mut Cpu<S>) -> Option<Outcome> {
    cpu.core.enter_fp();
    let word = mynah_jit::enter(cpu, unit.entry);
    cpu.core.leave_fp();
    Some(match Exit::decode(word) {
        Exit::Unlinked(address) => {
            cpu.core.pc = LinkSlot::at(address).pc;
            Outcome::Pc
        }
        // A miss is the system machine's.
        Exit::Lookup | Exit::Attention | Exit::Miss => Outcome::Pc,
        Exit::Trap(trap) => Outcome::Trap(trap),
        Exit::TrapFault(trap) => Outcome::Fault(Fault::Trap(trap)),
        Exit::HelperFault => {
            Outcome::Fault(cpu.take_fault().expect("the helper left its fault in the vCPU"))
        }
        Exit::Misaligned(access) => {
            let va = cpu.core.exit_value;
            let fault = MemFault { va, access, cause: Cause::Misaligned };
            Outcome::Fault(Fault::Memory(fault))
        }
        Exit::HostFault => {
            let fault = last_fault();
            let site = unit.site(fault.pc).expect("compiled code knows its accesses");
            cpu.core.pc = site.pc;
            cpu.recover(&site.recover, site.pc);
            if fault.cause == Cause::NonCanonical {
                return None;
            }
            let fault = MemFault { va: fault.va, access: fault.access, cause: fault.cause };
            Outcome::Fault(Fault::Memory(fault))
        }
    })
}

fn verify<S: Subject>(block: &Block, code: &[u8], stage: &str) {
    if let Err(error) = mynah_ir::verify(block, S::SLOTS) {
        let text = mynah_ir::print(block, &GuestNames::<S>::new());
        panic!("{}, {stage}: {error}\n{text}", listing::<S>(code));
    }
}

impl<S: Subject> Runner<S> for TierRunner<S> {
    fn name(&self) -> &'static str {
        self.tier.name()
    }

    fn run(&mut self, _: &mut Pages, code: &[u8], state: &State) -> (Stop, State) {
        S::load(state, &mut self.cpu);
        if self.code != code {
            self.code = code.to_vec();
            self.blocks.clear();
            if let Some(jit) = &self.jit {
                jit.cache.flush();
            }
        }
        let stop = self.go();
        (stop, S::save(&self.cpu))
    }

    fn explain(&mut self, code: &[u8], pc: u64) -> String {
        let mode = S::mode(&self.cpu.state);
        let names = GuestNames::<S>::new();
        let mut out = String::new();
        let mut block = match lift::<S>(code, pc, mode) {
            Ok(block) => block,
            Err(stop) => return format!("not lifted: {stop}\n"),
        };
        let _ = write!(out, "as lifted: {}", mynah_ir::print(&block, &names));
        if self.tier == Tier::Lifted {
            return out;
        }
        mynah_opt::optimise::<S>(&mut block);
        let _ = write!(out, "optimised: {}", mynah_ir::print(&block, &names));
        if let Some(jit) = &mut self.jit
            && let Ok(listing) = jit.compiler.explain(&[&block], jit.effort)
        {
            let _ = write!(out, "{}\n{}", listing.clif, listing.host);
        }
        out
    }
}
