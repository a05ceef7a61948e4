//! The board: which devices there are, and what is wired to what.

use crate::boot::BootError;
use crate::buses::{MemorySpace, PortSpace};
use crate::console::{self, SharedUart};
use crate::layout::{self, irq, port};
use crate::processor::Line;
use mynah_bus::{Clock, CpuLine, Device, IrqLine, Map, Pins, Ram, Timers};
use mynah_devices::cmos::Cmos;
use mynah_devices::i8254::I8254;
use mynah_devices::i8259::{I8259, I8259Ports};
use mynah_devices::system_control::{Control, DebugExit, PortA, Post, Reset};
use mynah_devices::uart16550::Uart16550;
use mynah_guest::Ports;
use mynah_mem::Phys;
use parking_lot::{Condvar, Mutex};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

/// How a machine ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The guest turned it off.
    PowerOff,
    /// The guest used the exit device: the status it asked for.
    Status(u8),
    /// The user ended it.
    Quit,
    /// A vCPU met an exception while it was delivering a double fault.
    TripleFault {
        /// The vCPU's number.
        vcpu: usize,
        /// The linear address of the instruction.
        pc: u64,
    },
    /// The guest asked for a reset.
    Reset,
}

/// The machine without its vCPUs.
pub(crate) struct Board {
    pub(crate) ram: Ram,
    pub(crate) phys: Arc<Phys>,
    pub(crate) ports: Arc<dyn Ports>,
    pub(crate) timers: Timers,
    pub(crate) uart: SharedUart,
    pub(crate) lines: Vec<Arc<Line>>,
    pic: Arc<I8259>,
    end: Mutex<Option<End>>,
    ended: Condvar,
}

/// The 8259's output, on the first vCPU.
struct Intr(Arc<Line>);

impl Pins for Intr {
    fn set(&self, _: u32, level: bool) {
        self.0.interrupt(level);
    }
}

/// What devices ask of the board, once it is there.
struct Controls(OnceLock<Weak<Board>>);

impl Controls {
    fn board(&self) -> Option<Arc<Board>> {
        self.0.get()?.upgrade()
    }
}

impl Control for Controls {
    fn reset(&self, what: Reset) {
        let Some(board) = self.board() else { return };
        match what {
            Reset::Machine => board.end(End::Reset),
            Reset::Cpus => board.lines.iter().for_each(|line| line.init()),
        }
    }

    fn power_off(&self) {
        if let Some(board) = self.board() {
            board.end(End::PowerOff);
        }
    }

    fn a20(&self, on: bool) {
        if let Some(board) = self.board()
            && board.phys.a20() != on
        {
            board.phys.set_a20(on);
            // Every vCPU forgets where addresses lead.
            board.lines.iter().for_each(|line| line.remap());
        }
    }

    fn exit(&self, status: u8) {
        if let Some(board) = self.board() {
            board.end(End::Status(status));
        }
    }
}

impl Board {
    /// A board for `cpus` vCPUs and `memory` bytes of RAM.
    pub(crate) fn new(memory: u64, cpus: usize) -> Result<Arc<Board>, BootError> {
        let ram = Ram::new(&layout::ram(memory))
            .map_err(|e| BootError::new(format!("memory of {} MiB: {e}", memory >> 20)))?;
        let ports = Arc::new(Map::new());
        let mmio = Arc::new(Map::new());
        let areas = ram.regions().into_iter().map(|region| mynah_mem::Ram {
            start: region.start,
            len: region.len,
            host: region.host as u64,
            read_only: false,
        });
        let phys = Phys::new(areas.collect(), Arc::new(MemorySpace(mmio)));
        let timers = Timers::new(Clock::stopped());
        let lines: Vec<_> = (0..cpus).map(|_| Line::new()).collect();
        let controls = Arc::new(Controls(OnceLock::new()));

        let pic = I8259::new(IrqLine::new(Arc::new(Intr(lines[0].clone())), 0));
        let wire = |pin: u32| IrqLine::new(pic.clone(), pin);
        let uart = Uart16550::new(wire(irq::COM1), console::sink());
        let uart = Arc::new(Mutex::new(uart));
        let pit = I8254::new(wire(irq::TIMER), &timers);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let cmos = Cmos::new(wire(irq::RTC), &timers, now);
        let low = memory.min(layout::LOW_END);
        cmos.lock().set_memory(low, memory - low);

        let add = |range: &std::ops::Range<u64>, offset, device: mynah_bus::Shared| {
            ports.add_at(range.clone(), offset, device);
        };
        let shared = |device: Arc<Mutex<dyn Device>>| device;
        let chips = shared(Arc::new(Mutex::new(pic.ports())));
        add(&port::PIC1, I8259Ports::FIRST, chips.clone());
        add(&port::PIC2, I8259Ports::SECOND, chips.clone());
        add(&port::ELCR, I8259Ports::ELCR, chips);
        add(&port::TIMER, 0, pit.clone());
        add(&port::SPEAKER, I8254::PORT_B, pit);
        add(&port::CMOS, 0, cmos);
        add(&port::COM1, 0, uart.clone());
        add(&port::POST, 0, shared(Arc::new(Mutex::new(Post::new()))));
        add(&port::PORT_A, 0, shared(Arc::new(Mutex::new(PortA::new(controls.clone())))));
        add(&port::DEBUG_EXIT, 0, shared(Arc::new(Mutex::new(DebugExit::new(controls.clone())))));

        let board = Arc::new(Board {
            ram,
            phys,
            ports: Arc::new(PortSpace(ports)),
            timers,
            uart,
            lines,
            pic,
            end: Mutex::default(),
            ended: Condvar::new(),
        });
        let _ = controls.0.set(Arc::downgrade(&board));
        Ok(board)
    }

    /// The vector of the interrupt that vCPU `number` takes now.
    pub(crate) fn acknowledge(&self, number: usize) -> Option<u8> {
        (number == 0 && self.pic.has_interrupt()).then(|| self.pic.acknowledge())
    }

    /// Ends the machine. Only the first reason counts.
    pub(crate) fn end(&self, end: End) {
        let mut known = self.end.lock();
        if known.is_none() {
            *known = Some(end);
            self.ended.notify_all();
        }
        drop(known);
        for line in &self.lines {
            line.end();
        }
        self.timers.close();
    }

    /// Waits until the machine ends.
    pub(crate) fn wait(&self) -> End {
        let mut end = self.end.lock();
        loop {
            match *end {
                Some(end) => return end,
                None => self.ended.wait(&mut end),
            }
        }
    }
}
