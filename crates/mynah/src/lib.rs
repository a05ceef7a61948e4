//! Mynah runs programs of one architecture on another by translating them as they run.
//!
//! Guest code is *lifted* to an intermediate representation, interpreted while it is cold, compiled
//! through Cranelift when it is warm, and kept. What guest code may not do by itself, such as a
//! system call, traps out to the machine around it.
//!
//! # Map
//!
//! ```text
//!     cli ──────► linux (the process machine) ──► loader
//!      │            │           │
//!      │            ▼           ▼
//!      │       x86, riscv     engine ──┬──► jit ────┐     Cranelift is used only in jit
//!      │            │           │      ├──► interp ─┤
//!      ▼            ▼           ▼      └──► opt     │
//!    this crate   guest ◄───────────────────┴───────┘
//!                  │ └────► mem
//!                  ▼
//!                  ir
//! ```
//!
//! | crate | is about |
//! |---|---|
//! | [`ir`] | operations, blocks, their text form, verifier and evaluator; the floating-point environment |
//! | `opt` | removal of dead register and flag writes, folding, forwarding |
//! | [`guest`] | what an architecture supplies: state, lift, helpers, disassembly |
//! | `mem` | guest memory: accesses that may fault, without bringing Mynah down |
//! | `interp` | tier 0: interprets the IR, and serves all cold code |
//! | `jit` | tier 1: compiles blocks to host code, links them, keeps them in the code cache |
//! | [`engine`] | vCPUs, block table, tier policy, compile thread, invalidation |
//! | [`x86`], [`riscv`] | guest architectures, as plug-ins |
//! | [`linux`] | a Linux process around the engine: address space, system calls, signals, threads |
//! | `loader` | executable files |
//!
//! # Five ideas
//!
//! 1. **One meaning per instruction.** What an instruction does is written once, as a lift to IR.
//!    Tier 0 interprets that IR and tier 1 compiles it, so the tiers test each other.
//! 2. **The core knows no guest and no machine.** Architectures plug in through [`guest::Guest`],
//!    machines through [`engine::Env`].
//! 3. **Fault before commit.** An instruction changes state after its last operation that may
//!    fault, so a fault finds the state as it was before the instruction.
//! 4. **Links are data.** A block leaves through a slot that holds its successor's address; code
//!    is never patched.
//! 5. **`unsafe` lives in a few named files**, and a test fails when it appears elsewhere.
//!
//! # Words
//!
//! *Instruction* is the guest's, *op* is the IR's. A *block* is straight guest code up to its first
//! transfer. *Lift* is guest to IR, *lower* is IR to host code. A *slot* is a named place in guest
//! state; a *helper* is a function that the IR calls. A *fault* stops an instruction before it
//! changes anything; a *trap* asks the environment for something; *attention* makes a vCPU leave
//! translated code soon.

pub use mynah_engine as engine;
pub use mynah_guest as guest;
pub use mynah_ir as ir;
pub use mynah_linux as linux;
pub use mynah_riscv as riscv;
pub use mynah_x86 as x86;
