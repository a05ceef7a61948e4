//! What the vCPUs of one machine share.

use crate::CodeSource;
use mynah_guest::Guest;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

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
}

impl Default for Config {
    fn default() -> Config {
        Config { tier: Tier::Auto, threshold: 1000 }
    }
}

/// Counts since an engine was made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Blocks translated to IR.
    pub blocks_lifted: u64,
    /// Guest instructions in them.
    pub insts_lifted: u64,
    /// Blocks compiled.
    pub blocks_compiled: u64,
}

/// Translations and compiled code of one machine.
pub struct Engine<G: Guest> {
    _guest: PhantomData<G>,
}

impl<G: Guest> Engine<G> {
    /// An engine that fetches code from `code`.
    pub fn new(_config: Config, _code: Arc<dyn CodeSource>) -> Arc<Engine<G>> {
        todo!()
    }

    /// Forgets all translations of code in `range` (guest-virtual addresses). When it returns, no
    /// vCPU starts to execute one of them again; those inside one leave it at its end.
    pub fn invalidate(&self, _range: Range<u64>) {
        todo!()
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Calls `fork` (which forks the process and returns 0 in the child) at a moment when no lock
    /// of the engine is held, and makes the child's copy of the engine work by itself.
    pub fn fork(&self, _fork: impl FnOnce() -> i32) -> i32 {
        todo!()
    }
}
