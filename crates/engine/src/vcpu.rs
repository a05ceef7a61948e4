//! One vCPU and its run loop.

use crate::{Engine, Env, Exit};
use mynah_guest::{Cpu, Guest};
use mynah_mem::Memory;
use std::sync::Arc;

/// A vCPU: runs on the thread that calls [`Vcpu::run`].
pub struct Vcpu<G: Guest> {
    /// Its state. `cpu.core.attention` may be set by any thread, also from a signal handler, to
    /// make [`Vcpu::run`] report [`crate::Event::Attention`] soon.
    pub cpu: Box<Cpu<G>>,
    _engine: Arc<Engine<G>>,
}

impl<G: Guest> Vcpu<G> {
    /// A vCPU of `engine` in reset state.
    pub fn new(engine: Arc<Engine<G>>, memory: Memory) -> Vcpu<G> {
        Vcpu { cpu: Cpu::new(memory), _engine: engine }
    }

    /// Runs guest code from `cpu.core.pc` until `env` stops it.
    pub fn run(&mut self, _env: &mut dyn Env<G>) -> Exit {
        todo!()
    }
}
