//! Tier 0 as a runner.

use crate::pages::{ENTRY, Pages};
use crate::runner::{Runner, lift};
use crate::subject::{State, Stop, Subject};
use mynah_guest::{Cpu, Fault, GuestNames};
use mynah_interp::{Code, Outcome};
use mynah_mem::Memory;
use std::fmt::Write as _;

/// Blocks that a run may execute before it counts as endless.
const LIMIT: usize = 100_000;

/// Which IR is interpreted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ir {
    /// As it was lifted.
    Lifted,
    /// After all passes.
    Optimised,
}

/// The interpreter, and the blocks of the code it last ran.
pub struct Interpreter<S: Subject> {
    ir: Ir,
    cpu: Box<Cpu<S>>,
    code: Vec<u8>,
    blocks: Vec<(u64, Result<Code<S>, Stop>)>,
}

impl<S: Subject> Interpreter<S> {
    /// An interpreter of that IR.
    pub fn new(ir: Ir) -> Interpreter<S> {
        Interpreter { ir, cpu: Cpu::new(Memory::FLAT), code: Vec::new(), blocks: Vec::new() }
    }

    /// Index of the block at `pc`, made if it is not there.
    fn block(&mut self, pc: u64) -> usize {
        let found = self.blocks.iter().position(|(at, _)| *at == pc);
        found.unwrap_or_else(|| {
            let mode = S::mode(&self.cpu.state);
            let code = &self.code[(pc - ENTRY) as usize..];
            let made = prepare::<S>(self.ir, code, pc, mode);
            self.blocks.push((pc, made));
            self.blocks.len() - 1
        })
    }
}

fn optimise<S: Subject>(_block: &mut mynah_ir::Block) {}

fn prepare<S: Subject>(ir: Ir, code: &[u8], pc: u64, mode: u32) -> Result<Code<S>, Stop> {
    let mut block = lift::<S>(code, pc, mode)?;
    if let Err(error) = mynah_ir::verify(&block, S::SLOTS) {
        let text = mynah_ir::print(&block, &GuestNames::<S>::new());
        panic!("{error} in\n{}\n{text}", crate::check::listing::<S>(code));
    }
    if ir == Ir::Optimised {
        optimise::<S>(&mut block);
        if let Err(error) = mynah_ir::verify(&block, S::SLOTS) {
            let text = mynah_ir::print(&block, &GuestNames::<S>::new());
            panic!("{error} in optimised\n{}\n{text}", crate::check::listing::<S>(code));
        }
    }
    let made = mynah_interp::flatten::<S>(&block);
    Ok(made.unwrap_or_else(|error| panic!("{error:?}: {}", crate::check::listing::<S>(code))))
}

impl<S: Subject> Runner<S> for Interpreter<S> {
    fn name(&self) -> &'static str {
        match self.ir {
            Ir::Lifted => "lifted",
            Ir::Optimised => "tier0",
        }
    }

    fn run(&mut self, _: &mut Pages, code: &[u8], state: &State) -> (Stop, State) {
        if self.code != code {
            self.code = code.to_vec();
            self.blocks.clear();
        }
        S::load(state, &mut self.cpu);
        self.cpu.core.mode = S::mode(&self.cpu.state);
        let stop = self.go();
        (stop, S::save(&self.cpu))
    }

    fn explain(&mut self, code: &[u8], pc: u64) -> String {
        let mode = S::mode(&self.cpu.state);
        let names = GuestNames::<S>::new();
        let mut out = String::new();
        let mut block = match lift::<S>(code, pc, mode) {
            Ok(block) => block,
            Err(stop) => return format!("not lifted: {stop:?}\n"),
        };
        let _ = write!(out, "as lifted: {}", mynah_ir::print(&block, &names));
        if self.ir == Ir::Optimised {
            optimise::<S>(&mut block);
            let _ = write!(out, "optimised: {}", mynah_ir::print(&block, &names));
        }
        if let Ok(code) = mynah_interp::flatten::<S>(&block) {
            let _ = writeln!(out, "flat: {code:?}");
        }
        out
    }
}

impl<S: Subject> Interpreter<S> {
    fn go(&mut self) -> Stop {
        for _ in 0..LIMIT {
            let pc = self.cpu.core.pc;
            let inside = pc >= ENTRY && pc < ENTRY + self.code.len() as u64;
            if !inside {
                return Stop::Left;
            }
            let index = self.block(pc);
            let code = match &self.blocks[index].1 {
                Ok(code) => code,
                Err(stop) => return *stop,
            };
            self.cpu.core.enter_fp();
            let outcome = mynah_interp::once(code, &mut self.cpu);
            self.cpu.core.leave_fp();
            match outcome {
                Outcome::Pc => {}
                Outcome::Trap(trap) => return S::stop(Fault::Trap(trap)),
                Outcome::Fault(fault) => return S::stop(fault),
            }
        }
        Stop::Endless
    }
}
