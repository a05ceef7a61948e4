//! A hostile guest at the devices of a PC: whatever it reads and writes, whatever arrives from outside
//! and however late its time passes, devices neither panic nor hang, and interrupts stay consistent.

use super::{Target, Verdict, lines};
use crate::random::Rng;
use mynah_bus::{
    Clock, CpuLine, Device, IrqLine, Map, Messages, Pins, Ram, Shared, Timers, ram::WriteLog,
};
use mynah_devices::acpi_pm::{AcpiPm, Apm, Piix4Pm};
use mynah_devices::apic::{ApicBus, IoApic, Lapic, MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC};
use mynah_devices::cmos::Cmos;
use mynah_devices::fw_cfg::{FwCfg, Items};
use mynah_devices::hpet::{Hpet, LegacyRoutes};
use mynah_devices::i8042::{Buttons, I8042};
use mynah_devices::i8254::I8254;
use mynah_devices::i8259::{I8259, I8259Ports};
use mynah_devices::pci::{
    Address, BarKind, Bus, Class, Config, ConfigPorts, Ecam, Function, I440fx, Identity, Piix3,
    PirqRouter, ROM,
};
use mynah_devices::system_control::{Control, DebugExit, PortA, Post, Reset, ResetControl};
use mynah_devices::uart16550::Uart16550;
use mynah_devices::vga::Vga;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The devices. Each case is a machine that has just been switched on.
#[derive(Default, Debug)]
pub struct DevicesTarget;

/// Bytes of RAM.
const RAM: u64 = 0x10_0000;
const HPET: u64 = 0xfed0_0000;
const IOAPIC: u64 = 0xfec0_0000;
const ECAM: u64 = 0xe000_0000;
const VGA: u64 = 0xa_0000;

/// Where something is worth trying: first port and how many.
const PORTS: &[(u64, usize)] = &[
    (0x20, 2),
    (0x40, 4),
    (0x60, 5),
    (0x70, 2),
    (0x80, 1),
    (0x92, 1),
    (0xa0, 2),
    (0xb2, 2),
    (0x3b0, 0x30),
    (0x3f8, 8),
    (0x4d0, 2),
    (0x510, 12),
    (0x600, 64),
    (0xcf8, 8),
    (0xc000, 32),
];

/// As [`PORTS`], of memory.
const MEMORY: &[(u64, usize)] = &[
    (VGA, 0x2_0000),
    (ECAM, 0x3_0000),
    (IOAPIC, 0x50),
    (HPET, 0x160),
    (0xfeb0_0000, 0x1000),
    (0x1_0000_0000, 0x4000),
];

/// A vCPU that sees its interrupt line.
#[derive(Default)]
struct Cpu(AtomicBool);

impl CpuLine for Cpu {
    fn interrupt(&self, level: bool) {
        let was = self.0.swap(level, Ordering::SeqCst);
        assert_ne!(was, level, "the level changes");
    }
    fn nmi(&self) {}
    fn init(&self) {}
    fn startup(&self, _: u8) {}
}

/// The machine around the devices: asked, it does nothing.
struct Board;

impl Control for Board {
    fn reset(&self, _: Reset) {}
    fn power_off(&self) {}
    fn exit(&self, _: u8) {}
    fn a20(&self, _: bool) {}
}

/// A PCI function with all that the configuration space offers.
struct Card(Config);

impl Function for Card {
    fn config(&mut self) -> &mut Config {
        &mut self.0
    }
    fn read(&mut self, _: u8, offset: u64, _: u8) -> u64 {
        offset
    }
    fn write(&mut self, _: u8, offset: u64, _: u8, value: u64) {
        self.0.set_intx(value & 1 != 0);
        self.0.send(offset as u16);
    }
    fn reset(&mut self) {}
}

fn card() -> Card {
    let mut config = Config::new(Identity {
        vendor: 0x1234,
        device: 0x5678,
        revision: 0,
        class: Class(0xff, 0, 0),
        subsystem_vendor: 0,
        subsystem: 0,
    });
    config.set_interrupt_pin(1);
    config.add_bar(0, BarKind::Io, 32);
    config.add_bar(1, BarKind::Memory, 0x1000);
    config.add_bar(2, BarKind::Memory64, 0x4000);
    config.add_bar(ROM, BarKind::Memory, 0x800);
    config.add_msi(8);
    config.add_msix(70, 1, 0, 0x800);
    Card(config)
}

/// Makes a line's far end later than the line.
#[derive(Default)]
struct Late(Mutex<Option<Arc<Lapic>>>);

impl Pins for Late {
    fn set(&self, pin: u32, level: bool) {
        let lapic = self.0.lock().clone();
        if let Some(lapic) = lapic {
            lapic.set(pin, level);
        }
    }
}

struct Pc {
    ports: Arc<Map>,
    memory: Arc<Map>,
    timers: Timers,
    lapics: Vec<Arc<Lapic>>,
    cpus: Vec<Arc<Cpu>>,
    bus: Arc<Bus>,
    apics: Arc<ApicBus>,
    uart: Arc<Mutex<Uart16550>>,
    keyboard: Arc<Mutex<I8042>>,
    pm: Arc<Mutex<AcpiPm>>,
    vga: Arc<Mutex<Vga>>,
    writes: WriteLog,
}

fn shared(device: impl Device + 'static) -> Shared {
    Arc::new(Mutex::new(device))
}

impl Pc {
    fn new() -> Pc {
        let timers = Timers::new(Clock::stopped());
        let (ports, memory) = (Arc::new(Map::new()), Arc::new(Map::new()));
        let ram = Ram::flat(RAM).expect("the host has a little RAM");
        let writes = WriteLog::of(&ram);
        let control: Arc<dyn Control> = Arc::new(Board);

        let apics = ApicBus::new();
        let late = Arc::new(Late::default());
        let pic = I8259::new(IrqLine::new(late.clone(), 0));
        let cpus: Vec<Arc<Cpu>> = vec![Arc::default(), Arc::default()];
        let pics = [Some(pic.clone()), None];
        let lapics: Vec<_> = (0..)
            .zip(cpus.iter().zip(pics))
            .map(|(id, (cpu, pic))| {
                Lapic::new(id, cpu.clone(), pic, &apics, &timers, 2_000_000_000)
            })
            .collect();
        *late.0.lock() = Some(lapics[0].clone());
        let ioapic = IoApic::new(&apics);
        let pin = |pin| IrqLine::new(ioapic.clone(), pin);
        // Interrupt 0 is at pin 2 of the IOAPIC.
        let isa: Vec<IrqLine> = (0..16)
            .map(|irq| {
                let first = IrqLine::new(pic.clone(), irq);
                IrqLine::fan(vec![first, pin(if irq == 0 { 2 } else { irq })])
            })
            .collect();
        let irq = |irq: usize| isa[irq].join();

        let legacy = LegacyRoutes::new(irq(0), irq(8));
        let pit = I8254::new(IrqLine::new(legacy.clone(), 0), &timers);
        let cmos = Cmos::new(IrqLine::new(legacy.clone(), 1), &timers, 1_700_000_000);
        let hpet = Hpet::new(legacy, (0..24).map(pin).collect(), apics.clone(), &timers);
        let uart = Arc::new(Mutex::new(Uart16550::new(irq(4), |_| {})));
        let keyboard = Arc::new(Mutex::new(I8042::new(irq(1), irq(12), control.clone())));
        let pm = AcpiPm::new(irq(9), &timers, control.clone());
        let vga = Arc::new(Mutex::new(Vga::new(timers.clock().clone(), &[0x55; 600])));
        vga.lock().set_text_mode(None);
        let mut items = Items::new();
        items.add_file("etc/file", vec![0x5a; 5000]);

        let router = PirqRouter::new([16, 17, 18, 19].map(pin), (0..16).map(irq).collect());
        let bus = Bus::new(ports.clone(), memory.clone(), apics.clone(), router.clone());
        let piix4 = Piix4Pm::new(pm.clone(), ports.clone(), 0x600);
        bus.plug(Address::new(0, 0), Arc::new(Mutex::new(I440fx::new(|_, _| {}))));
        bus.plug(Address::new(1, 0), Arc::new(Mutex::new(Piix3::new(router))));
        bus.plug(Address::new(1, 3), Arc::new(Mutex::new(piix4)));
        bus.plug(Address::new(2, 0), Arc::new(Mutex::new(card())));
        bus.plug(Address::new(3, 0), vga.clone());

        ports.add_at(0x20..0x22, I8259Ports::FIRST, shared(pic.ports()));
        ports.add_at(0xa0..0xa2, I8259Ports::SECOND, shared(pic.ports()));
        ports.add_at(0x4d0..0x4d2, I8259Ports::ELCR, shared(pic.ports()));
        ports.add(0x40..0x44, pit.clone());
        ports.add_at(0x61..0x62, I8254::PORT_B, pit);
        ports.add(0x60..0x61, keyboard.clone());
        ports.add_at(0x64..0x65, I8042::COMMAND, keyboard.clone());
        ports.add(0x70..0x72, cmos);
        ports.add(0x80..0x81, shared(Post::new()));
        ports.add(0x92..0x93, shared(PortA::new(control.clone())));
        ports.add(0xb2..0xb4, shared(Apm::new(pm.clone())));
        ports.add_at(0x3b0..0x3e0, Vga::PORTS, vga.clone());
        ports.add_at(0x1ce..0x1d1, Vga::DISPI, vga.clone());
        ports.add(0x3f8..0x400, uart.clone());
        ports.add(0xf4..0xf8, shared(DebugExit::new(control.clone())));
        ports.add(0x510..0x510 + FwCfg::PORTS, shared(FwCfg::new(items, ram)));
        let reset = ResetControl::new(control);
        ports.add(0xcf8..0xd00, shared(ConfigPorts::new(bus.clone(), reset)));
        memory.add_at(VGA..VGA + Vga::MEMORY_SIZE, Vga::MEMORY, vga.clone());
        memory.add(ECAM..ECAM + Ecam::BUS, shared(Ecam::new(bus.clone())));
        memory.add(IOAPIC..IOAPIC + 0x1000, shared(ioapic.registers()));
        memory.add(HPET..HPET + Hpet::SIZE, hpet);
        for (offset, value) in [(0x10, 0xc000), (0x14, 0xfeb0_0000), (0x18, 0), (0x1c, 1), (4, 7)] {
            bus.write_config(Address::new(2, 0), offset, 4, value);
        }
        for lapic in &lapics {
            lapic.set_virtual_wire();
        }
        Pc { ports, memory, timers, lapics, cpus, bus, apics, uart, keyboard, pm, vga, writes }
    }

    fn access(&self, rng: &mut Rng, map: &Map, places: &[(u64, usize)]) {
        let address = if rng.chance(95) {
            let (start, len) = rng.pick(places);
            start + rng.below(len) as u64
        } else {
            rng.edge()
        };
        let bytes = rng.pick(&[1, 1, 2, 4, 4, 8]);
        if rng.chance(40) {
            let value = map.read(address, bytes);
            assert!(value <= mynah_bus::ones(bytes), "a value has as many bytes as were read");
        } else {
            let value = if rng.chance(50) { rng.edge() } else { rng.bits() };
            map.write(address, bytes, value);
        }
    }

    /// The vCPU's own APIC, and taking interrupts.
    fn local(&self, rng: &mut Rng) {
        let lapic = &self.lapics[rng.below(2)];
        let register = rng.below(0x40) as u64;
        let value = if rng.chance(50) { rng.edge() } else { rng.bits() };
        let msr = match rng.below(8) {
            0 => MSR_APIC_BASE,
            1 | 2 => MSR_TSC_DEADLINE,
            _ => MSR_X2APIC + register as u32,
        };
        match rng.below(8) {
            0 => _ = lapic.read(register * 16, 4),
            1 => _ = lapic.read(rng.below(0x1000) as u64, 4),
            2 => lapic.write(register * 16, 4, value),
            3 => _ = lapic.read_msr(msr),
            4 => {
                let value = if msr == MSR_APIC_BASE { 0xfee0_0000 | value & 0xd00 } else { value };
                _ = lapic.write_msr(msr, value);
            }
            5 => lapic.set_cr8(value as u8 & 15),
            6 => lapic.set_tsc_adjust(value),
            _ => {
                let had = lapic.has_interrupt();
                let vector = lapic.acknowledge();
                assert_eq!(vector.is_some(), had, "an interrupt is there when it is announced");
                if lapic.address().is_some() {
                    lapic.write(0xb0, 4, 0);
                }
            }
        }
    }

    /// What comes from outside.
    fn outside(&self, rng: &mut Rng) {
        match rng.below(6) {
            0 => {
                let bytes = [0x41; 40];
                let count = rng.below(bytes.len());
                assert!(self.uart.lock().receive(&bytes[..count]) <= 16, "a FIFO has 16 bytes");
            }
            1 => _ = self.uart.lock().receive_break(),
            2 => _ = self.keyboard.lock().key(rng.bits() as u16, rng.chance(50)),
            3 => {
                let buttons = Buttons { left: rng.chance(50), ..Buttons::default() };
                let by = |rng: &mut Rng| rng.edge() as i32;
                self.keyboard.lock().mouse(by(rng), by(rng), by(rng), buttons);
            }
            4 => self.pm.lock().press_power_button(),
            _ => self.apics.message(0xfee0_0000 | rng.bits() & 0xf_ffff, rng.bits() as u32),
        }
    }

    fn step(&self, rng: &mut Rng) {
        match rng.below(100) {
            0..45 => self.access(rng, &self.ports, PORTS),
            45..65 => self.access(rng, &self.memory, MEMORY),
            65..80 => self.local(rng),
            80..90 => self.outside(rng),
            90..95 => self.timers.advance(rng.below(20_000) as u64),
            95..99 => self.timers.jump(rng.bits() >> rng.below(64)),
            _ => match rng.below(8) {
                0 => {
                    self.ports.reset();
                    self.memory.reset();
                    self.lapics.iter().for_each(|lapic| lapic.reset());
                }
                1 => _ = self.vga.lock().screen().image(),
                _ => {
                    let address = Address::new(rng.below(3) as u8, rng.below(4) as u8);
                    let value = rng.edge() as u32;
                    self.bus.write_config(address, rng.below(64) as u8 * 4, 4, value);
                }
            },
        }
        self.check();
    }

    fn check(&self) {
        for (lapic, cpu) in self.lapics.iter().zip(&self.cpus) {
            let level = cpu.0.load(Ordering::SeqCst);
            assert_eq!(lapic.has_interrupt(), level, "the vCPU knows of its interrupt");
        }
        for range in self.writes.take() {
            assert!(range.start < range.end && range.end <= RAM, "devices write RAM: {range:x?}");
        }
    }

    /// Does what a word of the corpus says; see [`DevicesTarget::replay`].
    fn obey(&self, word: &str) -> Option<()> {
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        if let Some(ns) = word.strip_prefix('+') {
            self.timers.advance(hex(ns)?);
            return Some(());
        }
        if let Some(ns) = word.strip_prefix('~') {
            self.timers.jump(hex(ns)?);
            return Some(());
        }
        let (map, word) = match word.strip_prefix('m') {
            Some(rest) => (&self.memory, rest),
            None => (&self.ports, word),
        };
        let width = |bytes: usize| [1, 2, 4, 8].into_iter().find(|one| usize::from(*one) == bytes);
        if let Some((address, value)) = word.split_once('=') {
            map.write(hex(address)?, width(value.len() / 2)?, hex(value)?);
        } else {
            let (address, bytes) = word.split_once('?')?;
            map.read(hex(address)?, width(hex(bytes)? as usize)?);
        }
        Some(())
    }
}

impl Target for DevicesTarget {
    fn case(&mut self, rng: &mut Rng) -> Verdict {
        let pc = Pc::new();
        for _ in 0..500 {
            pc.step(rng);
        }
        let ranges = pc.ports.ranges();
        assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "ranges of a map do not overlap");
        Verdict::Passed { cases: 1, useful: 1 }
    }

    /// A case is what one machine's guest does, all in hexadecimal: `port=value` writes as many bytes
    /// as the value has, `port?n` reads `n` of them, an `m` before makes the port a physical address,
    /// `+n` lets `n` nanoseconds pass, and `~n` does so at once. Or it is `seed n`, a random case, in
    /// decimal. To fail is to panic.
    fn replay(&mut self, _: &str, text: &str) -> Result<usize, String> {
        let mut count = 0;
        for (number, line) in lines(text) {
            count += 1;
            if let Some(seed) = line.strip_prefix("seed ") {
                let seed = seed.parse().map_err(|_| format!("line {number}: {seed} is no seed"))?;
                self.case(&mut Rng::new(seed));
                continue;
            }
            let pc = Pc::new();
            for word in line.split_whitespace() {
                pc.obey(word).ok_or_else(|| format!("line {number}: what is {word}?"))?;
                pc.check();
            }
        }
        Ok(count)
    }
}
