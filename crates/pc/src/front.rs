//! A machine's front: what its user does to it from outside.

use crate::board::{Board, End};
use crate::monitor;
use crate::processor::Guest;
use crate::{Drive, Options};
use mynah_debug::{Control, Machine};
use mynah_engine::{Cpu, Engine};
use mynah_mem::{Access, PAGE, Phys};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

/// The front of a machine that is on.
pub(crate) struct Front {
    pub(crate) board: Arc<Board>,
    pub(crate) engine: Arc<Engine<Guest>>,
    pub(crate) control: Weak<Control<Guest>>,
    /// What it was made of, for reports.
    pub(crate) options: Options,
    /// The vCPU that the monitor's commands are about.
    pub(crate) vcpu: AtomicUsize,
}

/// The physical address of `va` in the vCPU's address space, if there is memory for `access`.
fn locate(cpu: &Cpu<Guest>, va: u64, access: Access) -> Option<u64> {
    let phys = cpu.memory.phys();
    let mapping = cpu.memory.walker.look(phys, va)?;
    let pa = mapping.pa + (va - mapping.va);
    phys.is_memory(pa, access).then_some(pa)
}

/// Copies memory at virtual address `va` as far as there is any; how much.
pub(crate) fn read_virtual(cpu: &Cpu<Guest>, va: u64, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    while done < buffer.len() {
        let at = va.wrapping_add(done as u64);
        let Some(pa) = locate(cpu, linear(cpu, at), Access::Read) else { break };
        let count = ((PAGE - at % PAGE) as usize).min(buffer.len() - done);
        cpu.memory.phys().read(pa, &mut buffer[done..done + count]);
        done += count;
    }
    done
}

/// Copies memory at physical address `pa` as far as there is any; how much.
pub(crate) fn read_physical(phys: &Phys, pa: u64, buffer: &mut [u8]) -> usize {
    let mut done = 0;
    while done < buffer.len() {
        let at = pa.wrapping_add(done as u64);
        if !phys.is_memory(at, Access::Read) {
            break;
        }
        let count = ((PAGE - at % PAGE) as usize).min(buffer.len() - done);
        phys.read(at, &mut buffer[done..done + count]);
        done += count;
    }
    done
}

/// Addresses outside long mode have 32 bits.
fn linear(cpu: &Cpu<Guest>, va: u64) -> u64 {
    if cpu.state.is_long() { va } else { va & 0xffff_ffff }
}

impl Machine<Guest> for Front {
    fn set_breakpoints(&self, pcs: &BTreeSet<u64>) {
        self.engine.set_breakpoints(pcs.iter().copied());
    }

    fn read(&self, cpu: &mut Cpu<Guest>, va: u64, buffer: &mut [u8]) -> usize {
        read_virtual(cpu, va, buffer)
    }

    fn write(&self, cpu: &mut Cpu<Guest>, va: u64, bytes: &[u8]) -> bool {
        // All of it is there, or none of it is written.
        let at = |n: usize| locate(cpu, linear(cpu, va.wrapping_add(n as u64)), Access::Write);
        let Some(pas) = (0..bytes.len()).map(at).collect::<Option<Vec<u64>>>() else {
            return false;
        };
        let phys = cpu.memory.phys();
        pas.iter().zip(bytes).for_each(|(&pa, &byte)| phys.store(pa, byte));
        true
    }

    fn vcpus(&self) -> usize {
        self.board.lines.len()
    }

    fn stopped(&self) {
        self.board.timers.stop();
    }

    fn resumes(&self) {
        self.board.timers.start();
    }

    fn kill(&self) {
        self.board.end(End::Quit);
    }

    fn command(&self, line: &str) -> Option<String> {
        Some(monitor::execute(self, line))
    }
}

impl Front {
    pub(crate) fn drives(&self) -> &[Drive] {
        &self.options.drives
    }
}
