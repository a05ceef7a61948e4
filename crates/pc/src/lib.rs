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
mod display;
mod drives;
mod font;
mod keyboard;
mod layout;
mod processor;
mod screen;
mod serial;
mod terminal;

pub use board::End;
pub use boot::BootError;
pub use console::Console;
pub use display::Display;
pub use drives::{Drive, Interface};
pub use serial::Serial;

use board::Board;
use buses::ApicRegisters;
use console::Input;
use mynah_engine::{Config, Engine, Stats, Vcpu};
use mynah_mem::Paged;
use mynah_x86::cpuid::Identity;
use mynah_x86::paging::Walker;
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
    /// The BIOS of the display adapter; without one, that which lies beside the firmware.
    pub vga_firmware: Option<PathBuf>,
    /// Where the serial port leads.
    pub serial: Serial,
    /// Where the display is shown.
    pub display: Display,
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
    entry: boot::Entry,
    serial: Serial,
    display: Display,
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
            Some(_) => boot::Entry::Reset,
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
        let (serial, display) = (options.serial.clone(), options.display);
        Ok(Machine { board, engine, entry, serial, display })
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

    /// Runs the machine, with the terminal as its serial console or as its display and keyboard,
    /// until it ends.
    pub fn run(&self, console: &Console) -> End {
        let terminal = console::Terminal::raw();
        let board = &self.board;
        let timers = board.timers.clone();
        let timer_thread = std::thread::spawn(move || timers.serve());
        let input = board.clone();
        let target = match (self.display, &self.serial) {
            (Display::Text, _) => {
                Input::Keyboard(Box::new(keyboard::typist(board.keyboard.clone())))
            }
            (Display::None, Serial::Stdio) => Input::Uart(board.uart.clone()),
            (Display::None, _) => Input::Nowhere,
        };
        console.connect(target, move || input.end(End::Quit));
        let screen = (self.display == Display::Text).then(|| {
            let board = board.clone();
            std::thread::spawn(move || display::show(&board))
        });
        board.timers.start();
        // The time-stamp counters and the local APICs' deadlines go by the machine's clock.
        let ticks = mynah_x86::State::power_on().tsc();
        let tsc_offset = board.timers.clock().now().wrapping_sub(ticks);
        let mut vcpus = Vec::new();
        for number in 0..board.lines.len() {
            let (board, engine, entry) = (board.clone(), self.engine.clone(), self.entry);
            let thread = std::thread::Builder::new().name(format!("mynah-vcpu{number}"));
            let started = thread.spawn(move || vcpu(&board, engine, number, entry, tsc_offset));
            match started {
                Ok(thread) => vcpus.push(thread),
                Err(error) => tracing::error!("vCPU {number} cannot start: {error}"),
            }
        }
        let end = board.wait();
        console.disconnect();
        for thread in vcpus {
            let _ = thread.join();
        }
        let _ = timer_thread.join();
        screen.map(|thread| thread.join());
        drop(terminal);
        end
    }

    /// A picture of the screen, as a file in PNG format.
    pub fn screenshot(&self) -> Vec<u8> {
        screen::png(&self.board.screen().image())
    }

    /// What the tiers did so far.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }
}

/// The thread of vCPU `number`.
fn vcpu(
    board: &Arc<Board>,
    engine: Arc<Engine<Guest>>,
    number: usize,
    entry: boot::Entry,
    tsc_offset: u64,
) {
    let state = mynah_x86::State::power_on();
    let memory = Paged::new(Walker::new(&state), board.phys.clone());
    let mut vcpu = Vcpu::new(engine, memory);
    let cpu = &mut vcpu.cpu;
    buses::enter(number);
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
    cpu.state.system.tsc_offset = tsc_offset;
    cpu.core.pc = mynah_x86::state::RESET_PC;
    if number == 0 {
        match entry.apply(&board.ram, &mut cpu.state) {
            Ok(pc) => cpu.core.pc = pc,
            Err(error) => tracing::error!("{error}"),
        }
        mynah_x86::remap(cpu, true);
    }
    let line = board.lines[number].clone();
    line.connect(cpu.core.attention.clone());
    let mut processor = Processor { board: board.clone(), line, number, waits: number != 0 };
    vcpu.run(&mut processor);
}
