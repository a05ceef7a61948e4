//! The system machine: an emulated PC.
//!
//! [`Machine`] is what `mynah boot` runs. `board` has the devices and their wires, `layout` every
//! address, `processor` what a vCPU does about interrupts and traps, `boot` how a machine starts,
//! `console` the terminal. A [`Panel`] is the user's hold on it: `monitor` has the commands, and
//! debuggers connect to it.

mod acpi;
mod board;
mod boot;
mod buses;
mod console;
mod display;
mod drives;
mod font;
mod front;
mod keyboard;
mod layout;
mod monitor;
mod panel;
mod processor;
mod screen;
mod serial;
mod signals;
mod terminal;

pub use board::End;
pub use boot::BootError;
pub use console::{Console, Focus};
pub use display::Display;
pub use drives::{Drive, Interface};
pub use mynah_debug::gdb::Width;
pub use mynah_debug::{Address, Switch};
pub use panel::Panel;
pub use processor::Guest;
pub use serial::Serial;
pub use signals::die;

use board::Board;
use buses::ApicRegisters;
use console::Input;
use front::Front;
use keyboard::{FirmwareKeys, Typist};
use mynah_debug::Seat;
use mynah_engine::{Config, Engine, Stats, Vcpu};
use mynah_mem::Paged;
use mynah_x86::cpuid::Identity;
use mynah_x86::paging::Walker;
use parking_lot::{Condvar, Mutex};
use processor::Processor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    /// Where the virtio console leads; without one it leads nowhere, and is not there.
    pub virtio_console: Serial,
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
    vcpus: Vec<Vcpu<Guest>>,
    options: Options,
}

impl Machine {
    /// A guest that Mynah carries: a multiboot kernel that shows the machine's modes and devices
    /// and has a small prompt on the serial port. Its sources are in this crate's folder `guest`.
    pub const GUEST: &[u8] = include_bytes!("../guest/guest.elf");

    /// Who holds the board once everybody else has let go: the machine, and who waits for that.
    const HOLDERS: usize = 2;

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
        let engine = Engine::new(options.config, board.phys.clone())
            .map_err(|e| BootError::new(e.to_string()))?;
        let written = Arc::downgrade(&engine);
        board.phys.on_written(move |range| {
            if let Some(engine) = written.upgrade() {
                engine.rewritten(mynah_mem::Phys::lines_around(range));
            }
        });
        let lines = board.lines.clone();
        board.phys.on_unwatched(move |range| lines.iter().for_each(|line| line.written(&range)));
        let phys = Arc::downgrade(&board.phys);
        board.ram.on_write(move |range| {
            if let Some(phys) = phys.upgrade() {
                phys.wrote(range);
            }
        });
        let vcpus: Result<Vec<_>, _> = (0..board.lines.len())
            .map(|number| vcpu(&board, engine.clone(), number, entry))
            .collect();
        Ok(Machine { vcpus: vcpus?, board, engine, options: options.clone() })
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

    /// Turns the machine on, with the terminal as its serial console or as its display and
    /// keyboard, and waits until it ends. Until then it is what `panel` is about.
    ///
    /// # Errors
    /// The host has no threads for it; no guest code has been executed then.
    pub fn run(&mut self, console: &Console, panel: &Panel) -> Result<End, BootError> {
        let (board, control) = (self.board.clone(), &panel.control);
        control.connect(Arc::new(Front {
            board: board.clone(),
            engine: self.engine.clone(),
            control: Arc::downgrade(control),
            options: self.options.clone(),
            vcpu: AtomicUsize::new(0),
        }));
        panel.connect(&board);
        let started = Arc::new(Barrier::default());
        let mut threads = Vec::new();
        let made = self.spawn(console, panel, &started, &mut threads);
        let terminal = console::Terminal::raw();
        if made.is_ok() {
            self.connect(console, panel);
            if control.is_running() {
                board.timers.start();
            }
            // The time-stamp counters and the local APICs' deadlines go by the machine's clock.
            let clock = board.timers.clock();
            let ticks = mynah_x86::State::power_on().tsc();
            let tsc_offset = clock.now().wrapping_sub(ticks);
            started.open(Some(Start { tsc_offset, lag: clock.lag() }));
        } else {
            board.end(End::Quit);
            started.open(None);
        }
        board.wait();
        console.disconnect();
        control.disconnect();
        for thread in threads {
            let _ = thread.join();
        }
        drop(terminal);
        // Commands of the user that are still being answered hold the board, and the board its disks,
        // which another machine may want.
        let begun = Instant::now();
        while Arc::strong_count(&board) > Machine::HOLDERS && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Such a command may have asked for the end while the guest did for a reset.
        made.map(|()| board.wait())
    }

    /// Makes the machine's threads, which wait for `started`.
    fn spawn(
        &mut self,
        console: &Console,
        panel: &Panel,
        started: &Arc<Barrier>,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> Result<(), BootError> {
        let board = &self.board;
        let mut spawn = |name: &str, run: Box<dyn FnOnce(Start) + Send>| -> Result<(), BootError> {
            let started = started.clone();
            let run = move || {
                if let Some(start) = started.wait() {
                    run(start);
                }
            };
            let thread = std::thread::Builder::new().name(format!("mynah-{name}")).spawn(run);
            let failed = |error| BootError::new(format!("a thread for {name}: {error}"));
            threads.push(thread.map_err(failed)?);
            Ok(())
        };
        for (number, vcpu) in std::mem::take(&mut self.vcpus).into_iter().enumerate() {
            let board = board.clone();
            let line = board.lines[number].clone();
            let wake = move || line.wake();
            let seat = panel.control.join(number as u64 + 1, format!("vCPU {number}"), wake);
            board.lines[number].sit(seat.clone());
            let run = move |start| execute(vcpu, board, number, seat, start);
            spawn(&format!("vcpu{number}"), Box::new(run))?;
        }
        let timers = board.timers.clone();
        spawn("timers", Box::new(move |_| timers.serve()))?;
        if self.options.display == Display::Text {
            let (board, curtain) = (board.clone(), console.curtain());
            spawn("display", Box::new(move |_| display::show(&board, &curtain)))?;
        }
        Ok(())
    }

    /// Has what is typed go to the machine.
    fn connect(&self, console: &Console, panel: &Panel) {
        let board = &self.board;
        let firmware = board.rom.as_ref().map(|_| FirmwareKeys::new(board.ram.clone()));
        let target = match (self.options.display, &self.options.serial) {
            (Display::Text, _) => {
                Input::Keyboard(Box::new(Typist::new(board.keyboard.clone(), firmware)))
            }
            (Display::None, Serial::Stdio) => Input::Uart(board.uart.clone(), firmware),
            (Display::None, _) if self.options.virtio_console == Serial::Stdio => {
                board.hvc.clone().map_or(Input::Nowhere, Input::Virtio)
            }
            (Display::None, _) => Input::Nowhere,
        };
        let (ended, control) = (board.clone(), panel.control.clone());
        let command = move |line: &str| panel::command(&control, line);
        console.connect(target, move || ended.end(End::Quit), command);
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

/// How long a machine that has ended waits for who still looks at it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What vCPUs are told when they start.
#[derive(Clone, Copy)]
struct Start {
    tsc_offset: u64,
    /// The clock's lag to which that belongs.
    lag: u64,
}

/// Where threads wait until all of them are there.
#[derive(Default)]
struct Barrier {
    /// Once it is open: how vCPUs start, or nothing if the machine does not.
    open: Mutex<Option<Option<Start>>>,
    opened: Condvar,
}

impl Barrier {
    fn open(&self, how: Option<Start>) {
        *self.open.lock() = Some(how);
        self.opened.notify_all();
    }

    fn wait(&self) -> Option<Start> {
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
fn execute(
    mut vcpu: Vcpu<Guest>,
    board: Arc<Board>,
    number: usize,
    seat: Arc<Seat<Guest>>,
    Start { tsc_offset, lag }: Start,
) {
    buses::enter(number);
    vcpu.cpu.state.system.tsc_offset = tsc_offset;
    let line = board.lines[number].clone();
    vcpu.run(&mut Processor { board, line, number, waits: number != 0, seat: seat.clone(), lag });
    seat.leave();
}
