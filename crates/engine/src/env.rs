//! The two faces a machine turns to the engine: where code comes from, and what happens when
//! translated code asks for something.

use mynah_guest::{Cpu, Fault, Guest, MemFault};
use mynah_ir::Trap;
use mynah_mem::Phys;
use std::ops::Range;

/// Why translated code stopped. The guest's pc is in [`mynah_guest::Core::pc`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A block ended with a trap, such as a system call; pc is where the block said.
    Trap(Trap),
    /// An instruction could not complete, or could not be fetched; pc and state are those before
    /// it.
    Fault(Fault),
    /// [`mynah_guest::Core::attention`] was set. It has been cleared; state is between blocks.
    Attention,
    /// The instruction at the pc, which has not been executed, is one of
    /// [`crate::Engine::set_breakpoints`]. [`Flow::Step`] executes it, [`Flow::Resume`] comes back
    /// here.
    Breakpoint,
}

/// How the vCPU goes on after an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// At the guest's pc.
    Resume,
    /// At the guest's pc, with one instruction executed by itself, from bytes fetched anew and not
    /// watched: how an instruction that writes to its own code page makes progress.
    Step,
    /// [`crate::Vcpu::run`] returns [`Exit::Env`].
    Stop,
}

/// Why [`crate::Vcpu::run`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The environment said [`Flow::Stop`].
    Env,
}

/// The machine around a vCPU.
pub trait Env<G: Guest> {
    /// Deals with `event`. The state of `cpu` is complete and may be changed at will. Called on
    /// the vCPU's thread, outside translated code and outside the guest's floating-point
    /// environment.
    fn event(&mut self, cpu: &mut Cpu<G>, event: Event) -> Flow;
}

/// How writes to a code page come to the engine's knowledge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// A write to the page will be caught and reported by [`crate::Engine::invalidate`] before the
    /// written bytes can be executed.
    Caught,
    /// Writes to the page go unnoticed: code from it is compared with memory each time it is run.
    Compare,
}

/// Where guest code is fetched from. Addresses are what [`mynah_mem::Memory::locate`] makes of
/// virtual ones: the same in the process machine, physical addresses in the system machine.
pub trait CodeSource: Send + Sync {
    /// Declares that code in `range`, within a page (4 KiB), is about to be fetched and translated;
    /// from now on writes to it are watched as the answer says.
    fn watch(&self, range: Range<u64>) -> Result<Watch, MemFault>;

    /// Takes back `watch` for the code in `range`: its translations are about to be forgotten.
    fn unwatch(&self, _range: Range<u64>) {}

    /// Copies code bytes at `at` into `buffer`, as far as they are executable; at least one, or
    /// the fault that fetching at `at` causes. Never crosses into a page that is not executable.
    fn fetch(&self, at: u64, buffer: &mut [u8]) -> Result<usize, MemFault>;
}

impl CodeSource for Phys {
    fn watch(&self, range: Range<u64>) -> Result<Watch, MemFault> {
        Ok(if Phys::watch(self, range) { Watch::Caught } else { Watch::Compare })
    }

    fn unwatch(&self, range: Range<u64>) {
        Phys::unwatch(self, range);
    }

    fn fetch(&self, at: u64, buffer: &mut [u8]) -> Result<usize, MemFault> {
        self.read(at, buffer);
        Ok(buffer.len())
    }
}
