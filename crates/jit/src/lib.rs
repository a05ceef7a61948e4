//! Tiers 1 and 2: blocks compiled through Cranelift.
//!
//! A [`Compiler`] turns a *unit* (one block, or a region of blocks entered at the first) into one
//! host function; a [`CodeCache`] makes it executable. Guest registers live in SSA variables
//! inside the unit and are written back before every access that may fault and at every exit, so
//! that a fault finds the state of the instruction's start in memory.
//!
//! A unit leaves through a [`LinkSlot`], which holds its successor's host address, by looking the
//! computed guest address up in the vCPU's jump cache, or to the run loop with an exit word that
//! [`Exit::decode`] explains. Cranelift is known to this crate alone.

mod arena;
mod enter;
mod exit;
mod fill;
mod lower;
mod region;
mod stubs;
mod thunk;

pub use arena::CodeCache;
pub use enter::enter;
pub use exit::{Exit, LinkSlot};
pub use region::MAX_BLOCKS;

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, FinalizedMachReloc};
use cranelift_frontend::FunctionBuilderContext;
use mynah_guest::{Cpu, Guest};
use mynah_ir::{Block, Recover};
use std::marker::PhantomData;

/// How much work compiling may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effort {
    /// As little as possible.
    Quick,
    /// Cranelift's optimiser runs, unless the unit has floating-point operations.
    Optimise,
}

/// Why a unit was not compiled: a defect of ours, for the log. Its blocks stay interpreted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompileError(String);

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "compiling failed: {}", self.0)
    }
}

impl std::error::Error for CompileError {}

/// A unit's host code before it is installed.
#[derive(Debug)]
pub struct Artifact {
    code: Vec<u8>,
    slots: Box<[LinkSlot]>,
    starts: Box<[(u32, u32)]>,
    sites: Box<[Site]>,
}

/// A guest instruction of a unit, for faults.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its guest address.
    pub pc: u64,
    /// What its fault must write besides ([`mynah_ir::Block::recover`]).
    pub recover: Box<[Recover]>,
}

impl Artifact {
    /// The host code.
    pub fn code(&self) -> &[u8] {
        &self.code
    }
}

/// A unit's installed code. The code stays until its generation of the cache is flushed.
#[derive(Debug)]
pub struct Unit {
    /// Host address of the entry.
    pub entry: usize,
    /// Length of the host code in bytes.
    pub len: usize,
    /// Its exits to known guest addresses.
    pub slots: Box<[LinkSlot]>,
    /// Offsets in the host code at which the code of a site (its index) begins, ascending.
    starts: Box<[(u32, u32)]>,
    sites: Box<[Site]>,
}

impl Unit {
    /// The guest instruction that the host instruction at `host` belongs to.
    pub fn site(&self, host: usize) -> Option<&Site> {
        let offset = host.checked_sub(self.entry).filter(|&o| o < self.len)? as u32;
        let after = self.starts.partition_point(|&(start, _)| start <= offset);
        after.checked_sub(1).map(|i| &self.sites[self.starts[i].1 as usize])
    }
}

/// A unit as text, for people.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Cranelift's IR as it was handed over.
    pub clif: String,
    /// Number of Cranelift instructions.
    pub clif_insts: usize,
    /// Host code in the assembler's syntax.
    pub host: String,
    /// Length of the host code in bytes.
    pub host_len: usize,
}

/// Points the tables that compiled code calls through at this guest's helpers and at the thunks.
pub fn attach<G: Guest>(cpu: &mut Cpu<G>, helpers: &'static [HelperAddress]) {
    cpu.core.helpers = helpers.as_ptr() as usize;
    cpu.core.thunks = thunk::table().as_ptr() as usize;
    cpu.core.fill = fill::address::<G>();
}

/// The host address of a helper.
pub type HelperAddress = usize;

/// The addresses of `G`'s helpers, for [`attach`]: made once for an engine, never freed.
pub fn helper_table<G: Guest>() -> &'static [HelperAddress] {
    Vec::leak(G::HELPERS.iter().map(|helper| helper.function as usize).collect())
}

/// Compiles units for guest `G`; reuses its memory from one to the next.
pub struct Compiler<G: Guest> {
    quick: OwnedTargetIsa,
    optimise: OwnedTargetIsa,
    context: Context,
    frontend: FunctionBuilderContext,
    guest: PhantomData<G>,
}

impl<G: Guest> Default for Compiler<G> {
    fn default() -> Compiler<G> {
        Compiler::new()
    }
}

/// The effort at which floating point is exact. Cranelift's optimiser knows neither flags nor
/// rounding modes: it moves an operation out of a loop, before what faults there, and takes its
/// result for that of the same operation under another mode. So it does not run where there is one.
fn exact(blocks: &[&Block], effort: Effort) -> Effort {
    if blocks.iter().any(|block| lower::has_floats(block)) { Effort::Quick } else { effort }
}

fn isa(effort: Effort) -> OwnedTargetIsa {
    let mut flags = settings::builder();
    let level = if effort == Effort::Optimise { "speed" } else { "none" };
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    for (name, value) in [
        ("opt_level", level),
        ("enable_verifier", verifier),
        ("preserve_frame_pointers", "true"), // tail calls, and the signal handler, need frames
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
        ("regalloc_algorithm", "backtracking"),
    ] {
        flags.set(name, value).unwrap_or_else(|e| panic!("Cranelift's setting {name}: {e}"));
    }
    let builder = cranelift_native::builder().expect("Cranelift generates code for this host");
    builder.finish(settings::Flags::new(flags)).expect("Cranelift accepts its own settings")
}

impl<G: Guest> Compiler<G> {
    /// A compiler for the host it runs on.
    pub fn new() -> Compiler<G> {
        Compiler {
            quick: isa(Effort::Quick),
            optimise: isa(Effort::Optimise),
            context: Context::new(),
            frontend: FunctionBuilderContext::new(),
            guest: PhantomData,
        }
    }

    /// Compiles the unit of `blocks`, which is entered at the first. Blocks must be verified and
    /// of one mode; at most [`MAX_BLOCKS`].
    pub fn compile(&mut self, blocks: &[&Block], effort: Effort) -> Result<Artifact, CompileError> {
        let effort = exact(blocks, effort);
        let (slots, sites) = self.lower(blocks, effort);
        let isa = if effort == Effort::Quick { &*self.quick } else { &*self.optimise };
        let compiled = self
            .context
            .compile(isa, &mut ControlPlane::default())
            .map_err(|e| CompileError(format!("{:?}", e.inner)))?;
        let relocs: &[FinalizedMachReloc] = compiled.buffer.relocs();
        if let Some(reloc) = relocs.first() {
            return Err(CompileError(format!("the code needs a relocation: {reloc:?}")));
        }
        let mut starts: Vec<(u32, u32)> = Vec::new();
        for loc in compiled.buffer.get_srclocs_sorted() {
            if loc.loc.is_default() {
                continue;
            }
            let site = loc.loc.bits();
            if starts.last().is_none_or(|&(_, last)| last != site) {
                starts.push((loc.start, site));
            }
        }
        let code = compiled.code_buffer().to_vec();
        self.context.clear();
        Ok(Artifact { code, slots, starts: starts.into(), sites: sites.into() })
    }

    /// The unit's Cranelift IR and host code as text.
    pub fn explain(&mut self, blocks: &[&Block], effort: Effort) -> Result<Listing, CompileError> {
        let effort = exact(blocks, effort);
        // The exits' addresses stand in the code: they must live as long as it is used.
        let (_slots, _) = self.lower(blocks, effort);
        let clif = self.context.func.display().to_string();
        let clif_insts = self.context.func.dfg.num_insts();
        self.context.set_disasm(true);
        let isa = if effort == Effort::Quick { &*self.quick } else { &*self.optimise };
        let compiled = self
            .context
            .compile(isa, &mut ControlPlane::default())
            .map_err(|e| CompileError(format!("{:?}", e.inner)))?;
        let host_len = compiled.code_buffer().len();
        let host = compiled.vcode.clone().unwrap_or_default();
        self.context.clear();
        self.context.set_disasm(false);
        Ok(Listing { clif, clif_insts, host, host_len })
    }

    /// Fills `context.func`; yields the exits and the site of each source location.
    fn lower(&mut self, blocks: &[&Block], effort: Effort) -> (Box<[LinkSlot]>, Vec<Site>) {
        self.context.func = Function::new();
        let isa = if effort == Effort::Quick { &*self.quick } else { &*self.optimise };
        lower::unit::<G>(isa, &mut self.context.func, &mut self.frontend, blocks)
    }
}
