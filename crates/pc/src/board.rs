//! The board: which devices there are, and what is wired to what.

use crate::Options;
use crate::boot::{BootError, firmware};
use crate::buses::{MemorySpace, PortSpace};
use crate::console::SharedUart;
use crate::drives;
use crate::font::font;
use crate::layout::{self, gsi, irq, port, slot};
use crate::processor::Line;
use mynah_bus::{Clock, CpuLine as _, Device, IrqLine, Map, Pins, Ram, Shared, Timers};
use mynah_devices::acpi_pm::{AcpiPm, Apm, Piix4Pm};
use mynah_devices::apic::{ApicBus, IoApic, Lapic};
use mynah_devices::cmos::Cmos;
use mynah_devices::fw_cfg::FwCfg;
use mynah_devices::hpet::{Hpet, LegacyRoutes};
use mynah_devices::i8042::I8042;
use mynah_devices::i8254::I8254;
use mynah_devices::i8259::{I8259, I8259Ports};
use mynah_devices::ide::Ide;
use mynah_devices::pci::{self, Address, ConfigPorts, Ecam, I440fx, Piix3, PirqRouter, Shadow};
use mynah_devices::system_control::{
    Control, DebugConsole, DebugExit, PortA, Post, Reset, ResetControl,
};
use mynah_devices::uart16550::Uart16550;
use mynah_devices::vga::Vga;
use mynah_devices::virtio;
use mynah_guest::Ports;
use mynah_mem::{Phys, Rights};
use mynah_x86::TSC_HZ;
use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How a machine ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The guest turned it off.
    PowerOff,
    /// The guest used the exit device: the status it asked for.
    Status(u8),
    /// The user ended it.
    Quit,
    /// The host ended it by this signal.
    Signal(i32),
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
    /// The firmware, if it is what the machine starts.
    pub(crate) rom: Option<Ram>,
    pub(crate) phys: Arc<Phys>,
    pub(crate) ports: Arc<dyn Ports>,
    /// Where devices answer: ports and memory.
    maps: [Arc<Map>; 2],
    pub(crate) timers: Timers,
    pub(crate) uart: SharedUart,
    /// What types into the virtio console, if there is one.
    pub(crate) hvc: Option<virtio::Input>,
    pub(crate) keyboard: Arc<Mutex<I8042>>,
    pub(crate) vga: Arc<Mutex<Vga>>,
    pub(crate) lines: Vec<Arc<Line>>,
    pub(crate) lapics: Vec<Arc<Lapic>>,
    pub(crate) pic: Arc<I8259>,
    pub(crate) ioapic: Arc<IoApic>,
    pub(crate) pci: Arc<pci::Bus>,
    pub(crate) power: Arc<Mutex<AcpiPm>>,
    /// What the user should know before the guest starts, one line each.
    pub(crate) notes: Vec<String>,
    end: Mutex<Option<End>>,
    ended: Condvar,
}

/// The ISA bus's interrupts: each leads to the 8259s and to the I/O APIC.
struct IsaLines(Vec<IrqLine>);

impl IsaLines {
    fn new(pic: &Arc<I8259>, ioapic: &Arc<IoApic>) -> IsaLines {
        let line = |irq: u32| {
            let pin = if irq == irq::TIMER { gsi::TIMER } else { irq };
            let to_pic = IrqLine::new(pic.clone(), irq);
            let to_ioapic = match irq {
                irq::CASCADE => IrqLine::nowhere(),
                _ => IrqLine::new(ioapic.clone(), pin),
            };
            IrqLine::fan(vec![to_pic, to_ioapic])
        };
        IsaLines((0..16).map(line).collect())
    }

    /// An end of interrupt `irq`'s wire.
    fn end(&self, irq: u32) -> IrqLine {
        self.0[irq as usize].join()
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

/// The 8259s' output: LINT0 of every vCPU.
struct Lint0(OnceLock<Vec<IrqLine>>);

impl Pins for Lint0 {
    fn set(&self, _: u32, level: bool) {
        self.0.get().into_iter().flatten().for_each(|line| line.set(level));
    }
}

fn shared(device: impl Device + 'static) -> Shared {
    Arc::new(Mutex::new(device))
}

fn shared_function(function: impl pci::Function + 'static) -> pci::Plugged {
    Arc::new(Mutex::new(function))
}

/// The guest's memory: RAM, and the firmware's ROM. Below 1 MiB the end of the ROM is read until the
/// host bridge switches RAM on.
fn areas(ram: &Ram, rom: Option<&Ram>) -> Vec<mynah_mem::Ram> {
    let area = |start, end, host, rights| mynah_mem::Ram {
        start,
        len: end - start,
        host,
        rights,
        behind: None,
    };
    let rom_regions = rom.map(Ram::regions).unwrap_or_default();
    let roms = rom_regions.iter().map(|r| area(r.start, layout::HIGH, r.host as u64, Rights::READ));
    let mut areas: Vec<_> = roms.collect();
    let low = rom.map_or(0, |rom| rom.len().min(layout::LOW_ROM));
    let mut cuts = vec![layout::SHADOW.end - low, layout::SHADOW.end];
    cuts.extend(I440fx::regions().iter().map(|region| region.start));
    cuts.sort_unstable();
    for region in ram.regions() {
        let (mut start, end) = (region.start, region.start + region.len);
        let within = cuts.iter().copied().filter(|cut| region.start < *cut && *cut < end);
        for cut in within.chain([end]).collect::<Vec<_>>() {
            let host = region.host as u64 + (start - region.start);
            let is_shadow = layout::SHADOW.contains(&start);
            let rights = if is_shadow { Rights::NONE } else { Rights::ALL };
            // As far from the end of the ROM as from 1 MiB.
            let behind = match rom_regions.first() {
                Some(rom) if is_shadow && layout::SHADOW.end - start <= low => {
                    Some(rom.host as u64 + rom.len - (layout::SHADOW.end - start))
                }
                _ => None,
            };
            areas.push(mynah_mem::Ram { behind, ..area(start, cut, host, rights) });
            start = cut;
        }
    }
    areas
}

impl Board {
    /// The board of such a machine.
    pub(crate) fn new(options: &Options) -> Result<Arc<Board>, BootError> {
        let (memory, cpus) = (options.memory, options.cpus);
        let ram = Ram::new(&layout::ram(memory))
            .map_err(|e| BootError::new(format!("memory of {} MiB: {e}", memory >> 20)))?;
        let ports = Arc::new(Map::new());
        let mmio = Arc::new(Map::new());
        let timers = Timers::new(Clock::stopped());
        let lines: Vec<_> = (0..cpus).map(|_| Line::new()).collect();
        let controls = Arc::new(Controls(OnceLock::new()));

        // Interrupt controllers. The 8259s are on LINT0 of all local APICs.
        let apics = ApicBus::new();
        let lint0 = Arc::new(Lint0(OnceLock::new()));
        let pic = I8259::new(IrqLine::new(lint0.clone(), 0));
        let lapic = |(number, line): (usize, &Arc<Line>)| {
            let pic = Some(pic.clone());
            Lapic::new(number as u32, line.clone(), pic, &apics, &timers, TSC_HZ)
        };
        let lapics: Vec<_> = lines.iter().enumerate().map(lapic).collect();
        let inputs = lapics.iter().map(|lapic| IrqLine::new(lapic.clone(), 0));
        let _ = lint0.0.set(inputs.collect());
        let ioapic = IoApic::new(&apics);
        let isa = IsaLines::new(&pic, &ioapic);

        let rom = options.firmware.as_deref().map(firmware::rom).transpose()?;
        let areas = areas(&ram, rom.as_ref());
        let space = MemorySpace {
            map: mmio.clone(),
            lapics: lapics.clone(),
            _memory: rom.iter().chain([&ram]).cloned().collect(),
        };
        let phys = Phys::new(areas, Arc::new(space));

        // Timers and clocks.
        let legacy = LegacyRoutes::new(isa.end(irq::TIMER), isa.end(irq::RTC));
        let pit = I8254::new(IrqLine::new(legacy.clone(), 0), &timers);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let cmos = Cmos::new(IrqLine::new(legacy.clone(), 1), &timers, now);
        let low = memory.min(layout::LOW_END);
        cmos.lock().set_memory(low, memory - low);
        let pins = (0..gsi::COUNT).map(|pin| IrqLine::new(ioapic.clone(), pin));
        let hpet = Hpet::new(legacy, pins.collect(), apics.clone(), &timers);
        let pm = AcpiPm::new(isa.end(irq::SCI), &timers, controls.clone());

        // What people touch.
        let uart = Uart16550::new(isa.end(irq::COM1), options.serial.sink()?);
        let uart = Arc::new(Mutex::new(uart));
        let keyboard = I8042::new(isa.end(irq::KEYBOARD), isa.end(irq::MOUSE), controls.clone());
        let keyboard = Arc::new(Mutex::new(keyboard));
        let vga_rom = firmware::VgaRom::find(options)?;
        let mut vga = Vga::new(timers.clock().clone(), vga_rom.for_pci());
        if rom.is_none() {
            vga.set_text_mode(Some(&font()));
        }
        let vga = Arc::new(Mutex::new(vga));

        // The PCI bus and its bridges.
        let direct = [0, 1, 2, 3].map(|n| IrqLine::new(ioapic.clone(), gsi::PIRQ + n));
        let to_isa = (0..16).map(|irq| IrqLine::new(pic.clone(), irq));
        let router = PirqRouter::new(direct, to_isa.collect());
        let bus = pci::Bus::new(ports.clone(), mmio.clone(), apics.clone(), router.clone());
        let bridge = |device, function, plugged| bus.plug(Address::new(device, function), plugged);
        let (shadowed, vcpus) = (phys.clone(), lines.clone());
        let mut host = I440fx::new(move |range, Shadow { read, write }| {
            shadowed.set_rights(range, Rights { read, write });
            vcpus.iter().for_each(|line| line.remap());
        });
        if rom.is_none() {
            host.set_ram();
        }
        bridge(slot::HOST, 0, shared_function(host));
        bridge(slot::ISA, 0, shared_function(Piix3::new(router)));
        bridge(slot::DISPLAY, 0, vga.clone());
        let power = Piix4Pm::new(pm.clone(), ports.clone(), port::ACPI_PM as u16);
        bridge(slot::ISA, 3, shared_function(power));

        let mut ide = Ide::new(&ram, [isa.end(irq::IDE1), isa.end(irq::IDE2)]);
        let net = options.net.clone();
        let hvc = drives::attach_console(&options.virtio_console, &bus, &ram)?;
        let notes = drives::attach(&options.drives, net, &bus, &mut ide, &ram)?;

        let add = |range: &std::ops::Range<u64>, offset, device: Shared| {
            ports.add_at(range.clone(), offset, device);
        };
        let chips = shared(pic.ports());
        add(&port::PIC1, I8259Ports::FIRST, chips.clone());
        add(&port::PIC2, I8259Ports::SECOND, chips.clone());
        add(&port::ELCR, I8259Ports::ELCR, chips);
        add(&port::TIMER, 0, pit.clone());
        add(&port::SPEAKER, I8254::PORT_B, pit);
        add(&port::CMOS, 0, cmos);
        add(&port::COM1, 0, uart.clone());
        add(&port::KEYBOARD, 0, keyboard.clone());
        add(&port::KEYBOARD_COMMAND, I8042::COMMAND, keyboard.clone());
        add(&port::VGA, Vga::PORTS, vga.clone());
        add(&port::DISPI, Vga::DISPI, vga.clone());
        add(&port::APM, 0, shared(Apm::new(pm.clone())));
        add(&port::POST, 0, shared(Post::new()));
        add(&port::PORT_A, 0, shared(PortA::new(controls.clone())));
        add(&port::DEBUG_EXIT, 0, shared(DebugExit::new(controls.clone())));
        if rom.is_some() {
            let items = firmware::items(memory, cpus, &vga_rom);
            add(&port::FW_CFG, 0, shared(FwCfg::new(items, ram.clone())));
        }
        if let Some(path) = &options.firmware_log {
            let log = File::create(path).map_err(|e| BootError::of(path, e.to_string()))?;
            // A log that cannot be written is lost; the machine goes on.
            let sink = move |bytes: &[u8]| drop((&log).write_all(bytes));
            add(&port::DEBUG_CONSOLE, 0, shared(DebugConsole::new(sink)));
        }
        for (channel, (command, control)) in port::IDE.iter().enumerate() {
            add(command, 0, ide.command_block(channel));
            add(control, 0, ide.control_block(channel));
        }
        bridge(slot::ISA, 1, shared_function(ide));
        let reset = ResetControl::new(controls.clone());
        add(&port::PCI, 0, shared(ConfigPorts::new(bus.clone(), reset)));
        mmio.add_at(layout::VIDEO, Vga::MEMORY, vga.clone());
        mmio.add(layout::ECAM, shared(Ecam::new(bus.clone())));
        mmio.add(layout::IOAPIC, shared(ioapic.registers()));
        mmio.add(layout::HPET, hpet);

        let board = Arc::new(Board {
            ram,
            rom,
            phys,
            maps: [ports.clone(), mmio],
            ports: Arc::new(PortSpace(ports)),
            timers,
            uart,
            hvc,
            keyboard,
            vga,
            lines,
            lapics,
            pic,
            ioapic,
            pci: bus,
            power: pm,
            notes,
            end: Mutex::default(),
            ended: Condvar::new(),
        });
        let _ = controls.0.set(Arc::downgrade(&board));
        Ok(board)
    }

    /// The vector of the interrupt that vCPU `number` takes now.
    pub(crate) fn acknowledge(&self, number: usize) -> Option<u8> {
        self.lapics[number].acknowledge()
    }

    /// Ends the machine. Only the first reason counts, but for a reset: who wants the machine to end
    /// wants no other one.
    pub(crate) fn end(&self, end: End) {
        let mut known = self.end.lock();
        let asked = matches!(end, End::Quit | End::Signal(_));
        if known.is_none() || *known == Some(End::Reset) && asked {
            *known = Some(end);
            self.ended.notify_all();
        }
        drop(known);
        for line in &self.lines {
            line.end();
        }
        self.timers.close();
    }

    /// Waits so long for the machine's end; it, if it has come.
    pub(crate) fn wait_for(&self, time: Duration) -> Option<End> {
        let mut end = self.end.lock();
        if end.is_none() {
            self.ended.wait_for(&mut end, time);
        }
        *end
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

impl Drop for Board {
    /// Takes the machine apart, so that each device ends what it is at: disks write what they hold.
    fn drop(&mut self) {
        self.maps.iter().for_each(|map| map.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Display, Serial};

    #[test]
    fn memory_outlives_the_board_for_who_still_reads_it() {
        let options = Options {
            memory: 2 << 20,
            cpus: 1,
            firmware: None,
            firmware_log: None,
            vga_firmware: None,
            serial: Serial::None,
            virtio_console: Serial::None,
            display: Display::None,
            kernel: None,
            initrd: None,
            append: String::new(),
            drives: Vec::new(),
            net: None,
            config: mynah_engine::Config::default(),
        };
        let board = Board::new(&options).expect("a small machine");
        board.ram.write(0x1000, &[1, 2, 3]).expect("RAM");
        let phys = board.phys.clone();
        drop(board);
        let mut bytes = [0; 3];
        phys.read(0x1000, &mut bytes);
        assert_eq!(bytes, [1, 2, 3]);
    }
}
