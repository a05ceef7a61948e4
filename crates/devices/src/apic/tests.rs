//! Tests of local APICs, an IOAPIC and an 8259 together.

use super::*;
use crate::i8259::I8259;
use mynah_bus::time::SECOND;
use mynah_bus::{Clock, CpuLine, Device, IrqLine, Pins, Timers};
use parking_lot::Mutex;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Intr(bool),
    Nmi,
    Init,
    StartUp(u8),
}

#[derive(Default)]
struct Cpu(Mutex<Vec<Event>>);

impl CpuLine for Cpu {
    fn interrupt(&self, level: bool) {
        self.0.lock().push(Event::Intr(level));
    }
    fn nmi(&self) {
        self.0.lock().push(Event::Nmi);
    }
    fn init(&self) {
        self.0.lock().push(Event::Init);
    }
    fn startup(&self, vector: u8) {
        self.0.lock().push(Event::StartUp(vector));
    }
}

/// Four vCPUs, whose time-stamp counters have 2 GHz.
struct Rig {
    bus: Arc<ApicBus>,
    lapics: Vec<Arc<Lapic>>,
    cpus: Vec<Arc<Cpu>>,
    pic: Arc<I8259>,
    ioapic: Arc<IoApic>,
    timers: Timers,
}

/// Registers of the xAPIC.
const TPR: u64 = 0x80;
const PPR: u64 = 0xa0;
const EOI: u64 = 0xb0;
const LDR: u64 = 0xd0;
const DFR: u64 = 0xe0;
const SVR: u64 = 0xf0;
const ESR: u64 = 0x280;
const ICR: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LVT_LINT0: u64 = 0x350;
const LVT_ERROR: u64 = 0x370;
const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3e0;

fn rig() -> Rig {
    let timers = Timers::new(Clock::stopped());
    let bus = ApicBus::new();
    // The 8259's INT leads to the first local APIC, which comes later.
    struct Late(Mutex<Option<Arc<Lapic>>>);
    impl Pins for Late {
        fn set(&self, _: u32, level: bool) {
            let lapic = self.0.lock().clone();
            if let Some(lapic) = lapic {
                lapic.set(0, level);
            }
        }
    }
    let late = Arc::new(Late(Mutex::new(None)));
    let pic = I8259::new(IrqLine::new(late.clone(), 0));
    let cpus: Vec<Arc<Cpu>> = (0..4).map(|_| Arc::default()).collect();
    let lapics: Vec<Arc<Lapic>> = (0..)
        .zip(&cpus)
        .map(|(id, cpu)| {
            let pic = (id == 0).then(|| pic.clone());
            Lapic::new(id, cpu.clone(), pic, &bus, &timers, 2 * SECOND)
        })
        .collect();
    *late.0.lock() = Some(lapics[0].clone());
    for lapic in &lapics {
        lapic.write(SVR, 4, 0x1ff);
    }
    let ioapic = IoApic::new(&bus);
    Rig { bus, lapics, cpus, pic, ioapic, timers }
}

impl Rig {
    fn events(&self, cpu: usize) -> Vec<Event> {
        std::mem::take(&mut self.cpus[cpu].0.lock())
    }
    /// Which vCPUs have an interrupt, which they take and end.
    fn served(&self) -> Vec<(usize, u8)> {
        let mut served = Vec::new();
        for (cpu, lapic) in self.lapics.iter().enumerate() {
            while let Some(vector) = lapic.acknowledge() {
                served.push((cpu, vector));
                lapic.write(EOI, 4, 0);
            }
        }
        served
    }
    fn read(&self, offset: u64) -> u64 {
        self.lapics[0].read(offset, 4)
    }
    fn write(&self, offset: u64, value: u64) {
        self.lapics[0].write(offset, 4, value);
    }
    fn ipi(&self, icr: u64, destination: u64) {
        self.write(ICR_HIGH, destination << 24);
        self.write(ICR, icr);
    }
    fn route(&self, pin: u64, entry: u64) {
        let mut registers = self.ioapic.registers();
        for (half, value) in [(1, entry >> 32), (0, entry & 0xffff_ffff)] {
            registers.write(0, 4, 0x10 + 2 * pin + half);
            registers.write(0x10, 4, value);
        }
    }
    fn msi(&self, address: u64, data: u32) {
        self.bus.message(address, data);
    }
}

#[test]
fn interrupts_come_by_priority() {
    let rig = rig();
    rig.msi(0xfee0_0000, 0x41);
    rig.msi(0xfee0_0000, 0x55);
    rig.msi(0xfee0_0000, 0x52);
    assert_eq!(rig.events(0), [Event::Intr(true)]);
    assert_eq!(rig.lapics[0].acknowledge(), Some(0x55));
    // The same class does not interrupt.
    assert_eq!((rig.lapics[0].acknowledge(), rig.events(0)), (None, vec![Event::Intr(false)]));
    assert_eq!((rig.read(PPR), rig.read(0x100 + 0x20)), (0x50, 1 << (0x55 - 0x40)));
    rig.msi(0xfee0_0000, 0x61);
    assert_eq!(rig.lapics[0].acknowledge(), Some(0x61));
    rig.write(EOI, 0);
    assert!(!rig.lapics[0].has_interrupt());
    rig.write(EOI, 0);
    assert_eq!(rig.lapics[0].acknowledge(), Some(0x52));
    rig.write(EOI, 0);
    rig.write(TPR, 0x4f);
    assert_eq!((rig.lapics[0].acknowledge(), rig.lapics[0].cr8()), (None, 4));
    rig.lapics[0].set_cr8(3);
    assert_eq!(rig.lapics[0].acknowledge(), Some(0x41));
}

#[test]
fn interprocessor_interrupts_find_their_destinations() {
    let rig = rig();
    for (cpu, lapic) in rig.lapics.iter().enumerate() {
        lapic.write(LDR, 4, 1 << (24 + cpu));
    }
    type Served = [(usize, u8)];
    let rows: &[(u64, u64, &Served)] = &[
        (0x0040, 2, &[(2, 0x40)]),
        (0x0040, 9, &[]),
        (0x0040, 0xff, &[(0, 0x40), (1, 0x40), (2, 0x40), (3, 0x40)]),
        (0x0841, 0b1010, &[(1, 0x41), (3, 0x41)]),
        (0x0941, 0b1010, &[(1, 0x41)]),
        (0x4_0042, 0, &[(0, 0x42)]),
        (0x8_0042, 0, &[(0, 0x42), (1, 0x42), (2, 0x42), (3, 0x42)]),
        (0xc_0042, 0, &[(1, 0x42), (2, 0x42), (3, 0x42)]),
    ];
    for (icr, destination, served) in rows {
        rig.ipi(*icr, *destination);
        assert_eq!(rig.served(), *served, "{icr:#x} to {destination:#x}");
    }
    // The lowest priority is that of the one which is not busy.
    rig.lapics[1].write(TPR, 4, 0x20);
    rig.ipi(0x0941, 0b1010);
    assert_eq!(rig.served(), [(3, 0x41)]);
    // The cluster model: cluster 1 of two.
    for (cpu, lapic) in rig.lapics.iter().enumerate() {
        lapic.write(DFR, 4, 0x0fff_ffff);
        lapic.write(LDR, 4, ((cpu as u64 / 2) << 4 | 1 << (cpu % 2)) << 24);
    }
    rig.ipi(0x0843, 0x13);
    assert_eq!(rig.served(), [(2, 0x43), (3, 0x43)]);
    rig.ipi(0x0843, 0xf2);
    assert_eq!(rig.served(), [(1, 0x43), (3, 0x43)]);
}

#[test]
fn init_and_start_up() {
    let rig = rig();
    rig.lapics[1].write(TPR, 4, 0x20);
    rig.ipi(0x4500, 1);
    rig.ipi(0x8500, 1);
    rig.ipi(0x4608, 1);
    assert_eq!(rig.events(1), [Event::Init, Event::StartUp(8)]);
    assert_eq!((rig.lapics[1].read(TPR, 4), rig.lapics[1].read(SVR, 4)), (0, 0xff));
    rig.ipi(0xc_4400, 0);
    assert_eq!((rig.events(0), rig.events(3)), (vec![], vec![Event::Nmi]));
}

#[test]
fn a_disabled_apic_takes_no_interrupts() {
    let rig = rig();
    rig.write(LVT_TIMER, 0x40);
    rig.write(SVR, 0xff);
    assert_eq!(rig.read(LVT_TIMER), 0x1_0040);
    rig.write(LVT_TIMER, 0x40);
    assert_eq!(rig.read(LVT_TIMER), 0x1_0040);
    rig.msi(0xfee0_0000, 0x40);
    rig.msi(0xfee0_0000, 0x400);
    assert_eq!((rig.served(), rig.events(0)), (vec![], vec![Event::Nmi]));
}

#[test]
fn illegal_vectors_are_errors() {
    let rig = rig();
    rig.write(LVT_ERROR, 0xfe);
    rig.ipi(0x000f, 1);
    assert_eq!(rig.read(ESR), 0);
    rig.write(ESR, 0);
    assert_eq!((rig.read(ESR), rig.served()), (0x20, vec![(0, 0xfe)]));
    rig.msi(0xfee0_0000, 3);
    rig.read(0x40);
    rig.write(ESR, 0);
    assert_eq!(rig.read(ESR), 0xc0);
}

#[test]
fn the_timer_counts_once_or_for_ever() {
    let rig = rig();
    rig.write(LVT_TIMER, 0x40);
    rig.write(DIVIDE, 3); // by 16
    rig.write(INITIAL_COUNT, 1000);
    rig.timers.advance(15_999);
    assert_eq!((rig.read(CURRENT_COUNT), rig.served()), (1, vec![]));
    rig.timers.advance(1);
    assert_eq!((rig.read(CURRENT_COUNT), rig.served()), (0, vec![(0, 0x40)]));
    rig.timers.advance(100_000);
    assert_eq!(rig.served(), []);
    rig.write(LVT_TIMER, 0x2_0041);
    rig.write(DIVIDE, 0xb); // by 1
    rig.write(INITIAL_COUNT, 1000);
    for _ in 0..5 {
        rig.timers.advance(1000);
        assert_eq!(rig.served(), [(0, 0x41)]);
    }
    rig.timers.advance(300);
    assert_eq!(rig.read(CURRENT_COUNT), 700);
    rig.write(DIVIDE, 0); // by 2
    assert_eq!(rig.read(CURRENT_COUNT), 700);
    rig.timers.advance(1399);
    assert_eq!(rig.served(), []);
    rig.timers.advance(1);
    assert_eq!(rig.served(), [(0, 0x41)]);
    rig.write(INITIAL_COUNT, 0);
    rig.timers.advance(10_000);
    assert_eq!(rig.served(), []);
}

#[test]
fn the_timer_waits_for_the_time_stamp_counter() {
    let rig = rig();
    let lapic = &rig.lapics[0];
    lapic.write_msr(MSR_TSC_DEADLINE, 1).expect("ignored");
    assert_eq!(lapic.read_msr(MSR_TSC_DEADLINE), Ok(0));
    rig.write(LVT_TIMER, 0x4_0040);
    lapic.write_msr(MSR_TSC_DEADLINE, 2000).expect("armed");
    assert_eq!(lapic.read_msr(MSR_TSC_DEADLINE), Ok(2000));
    rig.timers.advance(999);
    assert_eq!(rig.served(), []);
    rig.timers.advance(1);
    assert_eq!((rig.served(), lapic.read_msr(MSR_TSC_DEADLINE)), (vec![(0, 0x40)], Ok(0)));
    lapic.write_msr(MSR_TSC_DEADLINE, 1).expect("past");
    rig.timers.advance(0);
    assert_eq!(rig.served(), [(0, 0x40)]);
    // The guest sets its counter to 0 at 1000 ns.
    lapic.set_tsc_adjust(0_u64.wrapping_sub(2000));
    lapic.write_msr(MSR_TSC_DEADLINE, 400).expect("armed");
    rig.timers.advance(199);
    assert_eq!(rig.served(), []);
    rig.timers.advance(1);
    assert_eq!(rig.served(), [(0, 0x40)]);
    lapic.write_msr(MSR_TSC_DEADLINE, 1000).expect("armed");
    rig.write(LVT_TIMER, 0x40);
    rig.timers.advance(SECOND);
    assert_eq!(rig.served(), []);
}

#[test]
fn the_8259_interrupts_by_lint0() {
    let rig = rig();
    let mut ports = rig.pic.ports();
    for (offset, value) in [(0, 0x11), (1, 0x08), (1, 0x04), (1, 0x01)] {
        ports.write(offset, 1, value);
    }
    rig.pic.set(1, true);
    assert!(!rig.lapics[0].has_interrupt());
    rig.write(LVT_LINT0, 0x700);
    assert_eq!(rig.events(0), [Event::Intr(true)]);
    assert_eq!(rig.lapics[0].acknowledge(), Some(0x09));
    assert_eq!((rig.events(0), rig.lapics[0].acknowledge()), (vec![Event::Intr(false)], None));
    ports.write(0, 1, 0x20);
    // With the APIC off, LINT0 is INTR.
    rig.lapics[0].write_msr(MSR_APIC_BASE, 0xfee0_0100).expect("off");
    assert_eq!(rig.lapics[0].address(), None);
    rig.pic.set(0, true);
    assert_eq!(rig.lapics[0].acknowledge(), Some(0x08));
    rig.lapics[0].reset();
    rig.lapics[0].set_virtual_wire();
    ports.write(0, 1, 0x20);
    rig.pic.set(4, true);
    assert_eq!(rig.lapics[0].acknowledge(), Some(0x0c));
}

#[test]
fn x2apic_registers_are_msrs() {
    let rig = rig();
    let lapic = &rig.lapics[1];
    let on = |bits: u64| lapic.write_msr(MSR_APIC_BASE, 0xfee0_0000 | bits);
    assert_eq!(lapic.read_msr(0x802), Err(GeneralProtection));
    assert_eq!(on(0x400), Err(GeneralProtection));
    assert_eq!(on(0xc01), Err(GeneralProtection));
    assert_eq!(on(0xc00), Ok(()));
    assert_eq!(on(0x800), Err(GeneralProtection));
    assert_eq!(lapic.address(), None);
    assert_eq!((lapic.read_msr(0x802), lapic.read_msr(0x80d)), (Ok(1), Ok(2)));
    for (msr, value) in
        [(0x802, 0), (0x80b, 1), (0x808, 0x100), (0x80e, 0), (0x831, 0), (0x830, 1 << 13)]
    {
        assert_eq!(lapic.write_msr(msr, value), Err(GeneralProtection), "{msr:#x}");
    }
    assert_eq!(lapic.read_msr(0x83f), Err(GeneralProtection));
    lapic.write_msr(0x83f, 0x77).expect("self IPI");
    assert_eq!(lapic.acknowledge(), Some(0x77));
    lapic.write_msr(0x80b, 0).expect("EOI");
    lapic.write_msr(0x830, 3 << 32 | 0x4040).expect("IPI");
    assert_eq!((lapic.read_msr(0x830), rig.served()), (Ok(3 << 32 | 0x4040), vec![(3, 0x40)]));
    lapic.write_msr(0x830, 0xffff_ffff << 32 | 0x41).expect("IPI");
    assert_eq!(rig.served().len(), 4);
    lapic.write_msr(0x830, 0b11 << 32 | 0x842).expect("IPI");
    assert_eq!(rig.served(), [(1, 0x42)]);
    assert_eq!((on(0), on(0xc00), on(0x800)), (Ok(()), Err(GeneralProtection), Ok(())));
}

#[test]
fn ioapic_edges_come_once_and_levels_until_they_end() {
    let rig = rig();
    rig.route(4, 1 << 56 | 0x44);
    rig.ioapic.set(4, true);
    assert_eq!(rig.served(), [(1, 0x44)]);
    rig.ioapic.set(4, false);
    rig.route(10, 2 << 56 | 0xa055); // level, active low
    rig.ioapic.set(10, true);
    assert_eq!(rig.lapics[2].acknowledge(), Some(0x55));
    assert_eq!(rig.ioapic.entries()[10] & 1 << 14, 1 << 14);
    rig.lapics[2].write(EOI, 4, 0);
    assert_eq!(rig.lapics[2].acknowledge(), Some(0x55));
    rig.ioapic.set(10, false);
    rig.lapics[2].write(EOI, 4, 0);
    assert_eq!((rig.served(), rig.ioapic.entries()[10] & 1 << 14), (vec![], 0));
    // Masked: a level waits, an edge is lost.
    rig.route(10, 2 << 56 | 0x1_a055);
    rig.route(4, 1 << 56 | 0x1_0044);
    rig.ioapic.set(10, true);
    rig.ioapic.set(4, true);
    assert_eq!(rig.served(), []);
    rig.route(4, 1 << 56 | 0x44);
    rig.route(10, 2 << 56 | 0x8055);
    assert_eq!(rig.lapics[2].acknowledge(), Some(0x55));
    rig.ioapic.set(10, false);
    rig.ioapic.registers().write(0x40, 4, 0x55);
    assert_eq!(rig.ioapic.entries()[10], 2 << 56 | 0x8055);
}

#[test]
fn ioapic_registers() {
    let rig = rig();
    let mut registers = rig.ioapic.registers();
    registers.write(0, 4, 1);
    assert_eq!((registers.read(0, 4), registers.read(0x10, 4)), (1, 0x17_0020));
    registers.write(0, 4, 0);
    registers.write(0x10, 4, 0x0200_0000);
    assert_eq!(registers.read(0x10, 4), 0x0200_0000);
    registers.write(0, 4, 0x10 + 47);
    registers.write(0x10, 4, 0xffff_ffff);
    registers.write(0, 4, 0x10 + 46);
    registers.write(0x10, 4, 0xffff_ffff);
    assert_eq!(rig.ioapic.entries()[23], 0xff00_0000_0001_afff);
    registers.write(0, 4, 0x10 + 48);
    registers.write(0x10, 4, 0);
    assert_eq!(registers.read(0x10, 4), 0);
    registers.reset();
    assert_eq!(rig.ioapic.entries(), [1 << 16; 24]);
}
