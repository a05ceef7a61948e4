//! The system machine: an emulated PC.
//!
//! [`Machine`] is what `mynah boot` runs. `board` has the devices and their wires, `layout` every
//! address, `processor` what a vCPU does about interrupts and traps, `boot` how a machine starts,
//! `console` the terminal.

mod acpi;
mod board;
mod boot;
mod buses;
mod console;
mod drives;
mod layout;
mod processor;
mod terminal;

pub use board::End;
pub use boot::BootError;
pub use console::Console;
pub use drives::{Drive, Interface};

use board::Board;
use buses::ApicRegisters;
use mynah_engine::{Config, Engine, Stats, Vcpu};
use mynah_mem::Paged;
use mynah_x86::cpuid::Identity;
use mynah_x86::paging::Walker;
use parking_lot::{Condvar, Mutex};
use processor::{Guest, Processor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What machine is made, and what it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of RAM.
    pub memory: u64,
    /// Number of vCPUs.
    pub cpus: usize,
    /// Firmware (a BIOS) to start in place of a kernel.
    pub firmware: Option<PathBuf>,
    /// A file for the log that firmware writes to port 402h.
    pub firmware_log: Option<PathBuf>,
    /// A kernel to start; without one and without firmware, [`Machine::GUEST`].
    pub kernel: Option<PathBuf>,
    /// The kernel's initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub append: String,
    /// Disks and CD-ROMs.
    pub drives: Vec<Drive>,
    /// The network, if there is one.
    pub net: Option<mynah_net::Options>,
    /// How guest code is run.
    pub config: Config,
}

/// A PC, ready to be turned on.
pub struct Machine {
    board: Arc<Board>,
    engine: Arc<Engine<Guest>>,
    vcpus: Vec<Vcpu<Guest>>,
}

impl Machine {
    /// A guest that Mynah carries: a multiboot kernel that shows the machine's modes and devices
    /// and has a small prompt on the serial port. Its sources are in this crate's folder `guest`.
    pub const GUEST: &[u8] = include_bytes!("../guest/guest.elf");

    /// Makes the machine and puts what it starts into its memory.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or the host lacks memory.
    pub fn new(options: &Options) -> Result<Machine, BootError> {
        let board = Board::new(options)?;
        // As firmware leaves it, and as the processor that starts is after reset.
        board.lapics.iter().for_each(|lapic| lapic.set_virtual_wire());
        let entry = match &board.rom {
            Some(rom) => {
                boot::firmware::shadow(rom, &board.ram)?;
                boot::Entry::Reset
            }
            None => Machine::load(options, &board)?,
        };
        mynah_mem::host::signal::install(None);
        let engine = Engine::new(options.config, board.phys.clone())
            .map_err(|e| BootError::new(e.to_string()))?;
        let written = Arc::downgrade(&engine);
        board.phys.on_written(move |range| {
            if let Some(engine) = written.upgrade() {
                engine.rewritten(mynah_mem::Phys::lines_around(range));
            }
        });
        let phys = Arc::downgrade(&board.phys);
        board.ram.on_write(move |range| {
            if let Some(phys) = phys.upgrade() {
                phys.wrote(range);
            }
        });
        let vcpus: Result<Vec<_>, _> = (0..board.lines.len())
            .map(|number| vcpu(&board, engine.clone(), number, entry))
            .collect();
        Ok(Machine { vcpus: vcpus?, board, engine })
    }

    /// Puts the kernel into memory, and the tables that firmware would make.
    fn load(options: &Options, board: &Board) -> Result<boot::Entry, BootError> {
        let rsdp = acpi::install(&board.ram, options.cpus)?;
        let (name, file) = match &options.kernel {
            Some(path) => (path.as_path(), boot::read(path)?),
            None => (Path::new("guest"), Machine::GUEST.to_vec()),
        };
        let image = boot::Image {
            name,
            file: &file,
            initrd: options.initrd.as_deref(),
            command_line: &options.append,
            rsdp: Some(rsdp),
            memory: options.memory,
        };
        boot::load(&image, &board.ram)
    }

    /// What the user should know before the guest starts, one line each.
    pub fn notes(&self) -> &[String] {
        &self.board.notes
    }

    /// Turns the machine on, with the terminal as its serial console, and waits until it ends.
    ///
    /// # Errors
    /// The host has no threads for it; no guest code has been executed then.
    pub fn run(mut self, console: &Console) -> Result<Ended, BootError> {
        let board = &self.board;
        let mut threads = Vec::new();
        let started = Arc::new(Barrier::default());
        for (number, vcpu) in std::mem::take(&mut self.vcpus).into_iter().enumerate() {
            let (board, go) = (board.clone(), started.clone());
            let run = move || {
                if let Some(tsc_offset) = go.wait() {
                    execute(vcpu, board, number, tsc_offset);
                }
            };
            match std::thread::Builder::new().name(format!("mynah-vcpu{number}")).spawn(run) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    started.open(None);
                    return Err(BootError::new(format!("vCPU {number} cannot start: {error}")));
                }
            }
        }
        let timers = board.timers.clone();
        let serve = std::thread::Builder::new().name("mynah-timers".to_owned());
        match serve.spawn(move || timers.serve()) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                started.open(None);
                return Err(BootError::new(format!("the timers cannot start: {error}")));
            }
        }
        let terminal = console::Terminal::raw();
        let input = board.clone();
        console.connect(board.uart.clone(), move || input.end(End::Quit));
        board.timers.start();
        // The time-stamp counters and the local APICs' deadlines go by the machine's clock.
        let ticks = mynah_x86::State::power_on().tsc();
        started.open(Some(board.timers.clock().now().wrapping_sub(ticks)));
        let end = board.wait();
        console.disconnect();
        for thread in threads {
            let _ = thread.join();
        }
        drop(terminal);
        Ok(Ended { end, stats: self.engine.stats() })
    }
}

/// A machine that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// How.
    pub end: End,
    /// What the tiers did.
    pub stats: Stats,
}

/// Where threads wait until all of them are there.
#[derive(Default)]
struct Barrier {
    /// Once it is open: the time-stamp counters' offset, or nothing if the machine does not start.
    open: Mutex<Option<Option<u64>>>,
    opened: Condvar,
}

impl Barrier {
    fn open(&self, how: Option<u64>) {
        *self.open.lock() = Some(how);
        self.opened.notify_all();
    }

    fn wait(&self) -> Option<u64> {
        let mut open = self.open.lock();
        loop {
            match *open {
                Some(how) => return how,
                None => self.opened.wait(&mut open),
            }
        }
    }
}

/// vCPU `number` as it is when the machine is turned on.
fn vcpu(
    board: &Board,
    engine: Arc<Engine<Guest>>,
    number: usize,
    entry: boot::Entry,
) -> Result<Vcpu<Guest>, BootError> {
    let state = mynah_x86::State::power_on();
    let memory = Paged::new(Walker::new(&state), board.phys.clone());
    let mut vcpu = Vcpu::new(engine, memory);
    let cpu = &mut vcpu.cpu;
    cpu.core.ports = Some(board.ports.clone());
    let lapic = board.lapics[number].clone();
    cpu.state.system.identity = Identity {
        apic_id: lapic.id(),
        cpus: board.lapics.len() as u32,
        x2apic: true,
        tsc_deadline: true,
        five_levels: false,
        smap: false,
    };
    cpu.state.system.devices = Some(Arc::new(ApicRegisters(lapic)));
    cpu.core.pc = mynah_x86::state::RESET_PC;
    if number == 0 {
        cpu.core.pc = entry.apply(&board.ram, &mut cpu.state)?;
        mynah_x86::remap(cpu, true);
    }
    board.lines[number].connect(cpu.core.attention.clone());
    Ok(vcpu)
}

/// What the thread of vCPU `number` does.
fn execute(mut vcpu: Vcpu<Guest>, board: Arc<Board>, number: usize, tsc_offset: u64) {
    buses::enter(number);
    vcpu.cpu.state.system.tsc_offset = tsc_offset;
    let line = board.lines[number].clone();
    vcpu.run(&mut Processor { board, line, number, waits: number != 0 });
}
