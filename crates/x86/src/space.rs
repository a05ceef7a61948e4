//! What tells the process from the system machine: the memory around a vCPU.

use crate::paging::Walker;
use crate::{State, X86};
use mynah_guest::Cpu;
use mynah_mem::{Flat, Memory, Paged};

/// Memory that an x86 vCPU can have.
pub trait Space: Memory {
    /// State after reset.
    fn reset() -> State;

    /// The page walker's registers; none in the process machine.
    fn paging(&mut self) -> Option<&mut Walker>;

    /// The 8 bytes at physical address `pa`, a multiple of 8; 0 in the process machine.
    fn load_physical(&self, pa: u64) -> u64;

    /// Watches for writes to the line of memory at `va`, and yields its physical address.
    fn monitor(&mut self, _va: u64) -> Option<u64> {
        None
    }

    /// Goes over to what is known of the pages of process-context identifier `pcid`.
    fn enter(&mut self, _pcid: u64) {}

    /// Forgets the page of `va` in process-context identifier `pcid`.
    fn flush_page_of(&mut self, _pcid: u64, _va: u64) {}

    /// Forgets all pages of process-context identifier `pcid`, or of all of them, but for global
    /// ones.
    fn flush_contexts(&mut self, _pcid: Option<u64>) {}
}

impl Space for Flat {
    fn reset() -> State {
        State::new()
    }

    fn paging(&mut self) -> Option<&mut Walker> {
        None
    }

    fn load_physical(&self, _: u64) -> u64 {
        0
    }
}

impl Space for Paged<Walker> {
    fn reset() -> State {
        State::power_on()
    }

    fn paging(&mut self) -> Option<&mut Walker> {
        Some(&mut self.walker)
    }

    fn load_physical(&self, pa: u64) -> u64 {
        self.phys().load(pa)
    }

    fn monitor(&mut self, va: u64) -> Option<u64> {
        let pa = self.physical(va)?;
        self.phys().monitor(pa)
    }

    fn enter(&mut self, pcid: u64) {
        Paged::enter(self, pcid);
    }

    fn flush_page_of(&mut self, pcid: u64, va: u64) {
        Paged::flush_page_of(self, pcid, va);
    }

    fn flush_contexts(&mut self, pcid: Option<u64>) {
        Paged::flush_contexts(self, pcid);
    }
}

/// The rights of accesses that the processor makes for itself, such as those of descriptors.
pub(crate) const SUPERVISOR: u8 = 0;
/// The rights of code at privilege level 3.
pub(crate) const USER: u8 = 1;
/// The rights of the system's code with AC set, which lifts SMAP.
pub(crate) const SUPERVISOR_AC: u8 = 2;

/// Does `f` with accesses that have the rights of `space`.
pub(crate) fn with_space<M: Space, R>(
    cpu: &mut Cpu<X86<M>>,
    space: u8,
    f: impl FnOnce(&mut Cpu<X86<M>>) -> R,
) -> R {
    let before = cpu.memory.space();
    cpu.memory.set_space(space);
    let result = f(cpu);
    cpu.memory.set_space(before);
    result
}

/// To be called after a change of what the mode and the rights of accesses follow from.
pub fn refresh<M: Space>(cpu: &mut Cpu<X86<M>>) {
    if cpu.state.refresh_mode() {
        cpu.mode_changed();
    }
}

/// To be called after a change of the registers that govern paging: tells the page walker, and which
/// process-context identifier is the current one.
pub(crate) fn refresh_paging<M: Space>(cpu: &mut Cpu<X86<M>>) {
    if let Some(walker) = cpu.memory.paging() {
        *walker = Walker::new(&cpu.state);
    }
    cpu.memory.enter(cpu.state.system.pcid());
    cpu.mapping_changed();
}

/// To be called after a change of the registers that govern paging: tells the page walker, and
/// forgets where pages are, all of them or (`globals` false) all but the global ones.
pub fn remap<M: Space>(cpu: &mut Cpu<X86<M>>, globals: bool) {
    refresh_paging(cpu);
    cpu.memory.flush(globals);
    cpu.mapping_changed();
}
