//! Mynah runs programs of one architecture on another, and systems on an emulated PC, by translating
//! their code as it runs.
//!
//! Guest code is *lifted* to an intermediate representation, interpreted while it is cold, compiled
//! through Cranelift when it is warm, and kept. What guest code may not do by itself, such as a
//! system call or an access of a device, traps out to the machine around it.
//!
//! # Map
//!
//! ```text
//!     cli ──┬───► linux (the process machine) ──► loader
//!      │    └───► pc (the system machine) ──► devices ──► disk, net, bus
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
//! | [`mem`] | guest memory: at host addresses, or behind page tables and a TLB |
//! | `interp` | tier 0: interprets the IR, and serves all cold code |
//! | `jit` | tier 1: compiles blocks to host code, links them, keeps them in the code cache |
//! | [`engine`] | vCPUs, block table, tier policy, compile thread, invalidation |
//! | [`x86`], [`riscv`] | guest architectures, as plug-ins |
//! | [`linux`] | a Linux process around the engine: address space, system calls, signals, threads |
//! | `loader` | executable files |
//! | `pc` | an emulated PC around the engine: what is wired to what, how it starts |
//! | `debug` | stopping and stepping vCPUs from outside, and the debugger that connects |
//! | `devices` | the PC's chips, one file or folder for each |
//! | `bus` | what devices share: address maps, interrupt wires, time, RAM as they see it |
//! | `disk`, `net` | disk images; the network that the guest sees |
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

//!
//! # A machine of one's own
//!
//! An embedder says where code comes from ([`engine::CodeSource`]) and what happens when it asks
//! for something ([`engine::Env`]). This machine has three instructions and ends at a system call.
//!
//! ```
//! use mynah::engine::{CodeSource, Config, Cpu, Engine, Env, Event, Flow, Vcpu, Watch};
//! use mynah::mem::{Access, Cause, Flat, MemFault};
//! use mynah::riscv::RiscV;
//! use std::ops::Range;
//! use std::sync::Arc;
//!
//! /// addi a0, zero, 40; addi a0, a0, 2; ecall
//! const CODE: [u8; 12] = [0x13, 0x05, 0x80, 0x02, 0x13, 0x05, 0x25, 0x00, 0x73, 0, 0, 0];
//! const BASE: u64 = 0x1000;
//!
//! struct Rom;
//!
//! impl CodeSource for Rom {
//!     fn watch(&self, _: Range<u64>) -> Result<Watch, MemFault> {
//!         Ok(Watch::Caught) // it never changes
//!     }
//!     fn fetch(&self, va: u64, buffer: &mut [u8]) -> Result<usize, MemFault> {
//!         let unmapped = MemFault { va, access: Access::Fetch, cause: Cause::Unmapped };
//!         let start = va.checked_sub(BASE).ok_or(unmapped)? as usize;
//!         let rest = CODE.get(start..).filter(|rest| !rest.is_empty()).ok_or(unmapped)?;
//!         let count = rest.len().min(buffer.len());
//!         buffer[..count].copy_from_slice(&rest[..count]);
//!         Ok(count)
//!     }
//! }
//!
//! struct Machine(Option<Event>);
//!
//! impl Env<RiscV> for Machine {
//!     fn event(&mut self, _: &mut Cpu<RiscV>, event: Event) -> Flow {
//!         self.0 = Some(event);
//!         Flow::Stop
//!     }
//! }
//!
//! let engine = Engine::<RiscV>::new(Config::default(), Arc::new(Rom)).unwrap();
//! let mut vcpu = Vcpu::new(engine, Flat);
//! vcpu.cpu.core.pc = BASE;
//! let mut machine = Machine(None);
//! vcpu.run(&mut machine);
//! assert_eq!(vcpu.cpu.state.x[10], 42);
//! assert!(matches!(machine.0, Some(Event::Trap(trap)) if trap.code == mynah::riscv::trap::ECALL));
//! ```

pub use mynah_engine as engine;
pub use mynah_guest as guest;
pub use mynah_ir as ir;
pub use mynah_linux as linux;
pub use mynah_mem as mem;
pub use mynah_riscv as riscv;
pub use mynah_x86 as x86;
