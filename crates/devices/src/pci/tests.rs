//! Tests of the bus with a function that has a bit of everything.

use super::*;
use crate::system_control::notes::{Asked, Notes};

/// What an interrupt controller and a local APIC would see.
#[derive(Default)]
struct Seen(Mutex<Vec<Event>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Pin(u32, bool),
    Message(u64, u32),
}

impl Seen {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Pins for Seen {
    fn set(&self, pin: u32, level: bool) {
        self.0.lock().push(Event::Pin(pin, level));
    }
}

impl Messages for Seen {
    fn message(&self, address: u64, data: u32) {
        self.0.lock().push(Event::Message(address, data));
    }
}

/// Reads as its register's number and offset; remembers the last write.
struct Card {
    config: Config,
    last: Option<(u8, u64, u8, u64)>,
}

impl Function for Card {
    fn config(&mut self) -> &mut Config {
        &mut self.config
    }
    fn read(&mut self, bar: u8, offset: u64, _: u8) -> u64 {
        u64::from(bar) << 16 | offset
    }
    fn write(&mut self, bar: u8, offset: u64, bytes: u8, value: u64) {
        self.last = Some((bar, offset, bytes, value));
    }
    fn reset(&mut self) {
        self.last = None;
    }
}

fn card() -> Card {
    let mut config = Config::new(Identity {
        vendor: 0x1af4,
        device: 0x1042,
        revision: 1,
        class: Class(1, 0x80, 2),
        subsystem_vendor: 0x1af4,
        subsystem: 2,
    });
    config.set_interrupt_pin(1);
    config.add_bar(0, BarKind::Io, 32);
    config.add_bar(1, BarKind::Memory, 0x1000);
    config.add_bar(4, BarKind::Prefetchable64, 0x4000);
    config.add_bar(ROM, BarKind::Memory, 0x800);
    config.add_msix(3, 1, 0x100, 0x800);
    config.add_msi(4);
    Card { config, last: None }
}

struct Rig {
    bus: Arc<Bus>,
    ports: Arc<Map>,
    memory: Arc<Map>,
    seen: Arc<Seen>,
    card: Arc<Mutex<Card>>,
    notes: Arc<Notes>,
}

const SLOT: Address = Address(3 << 3);

fn rig() -> Rig {
    let (ports, memory) = (Arc::new(Map::new()), Arc::new(Map::new()));
    let seen = Arc::new(Seen::default());
    let bus = Bus::new(ports.clone(), memory.clone(), seen.clone(), seen.clone());
    let card = Arc::new(Mutex::new(card()));
    assert!(bus.plug(SLOT, card.clone()));
    assert!(!bus.plug(SLOT, card.clone()));
    let notes = Notes::new();
    let control = ResetControl::new(notes.clone());
    ports.add(0xcf8..0xd00, Arc::new(Mutex::new(ConfigPorts::new(bus.clone(), control))));
    memory.add(0xe000_0000..0xe010_0000, Arc::new(Mutex::new(Ecam::new(bus.clone()))));
    Rig { bus, ports, memory, seen, card, notes }
}

impl Rig {
    fn read(&self, offset: u8, bytes: u8) -> u32 {
        self.bus.read_config(SLOT, offset, bytes)
    }
    fn write(&self, offset: u8, bytes: u8, value: u32) {
        self.bus.write_config(SLOT, offset, bytes, value);
    }
    /// The offset of a capability.
    fn capability(&self, id: u8) -> u8 {
        let mut at = self.read(reg::CAPABILITIES, 1) as u8;
        while at != 0 {
            if self.read(at, 1) == u32::from(id) {
                return at;
            }
            at = self.read(at + 1, 1) as u8;
        }
        panic!("no capability {id:#x}");
    }
}

#[test]
fn both_ways_lead_to_configuration_space() {
    let rig = rig();
    rig.ports.write(0xcf8, 4, 0x8000_1800);
    assert_eq!(rig.ports.read(0xcf8, 4), 0x8000_1800);
    assert_eq!(rig.ports.read(0xcfc, 4), 0x1042_1af4);
    assert_eq!(rig.ports.read(0xcfe, 2), 0x1042);
    assert_eq!(rig.ports.read(0xcff, 1), 0x10);
    assert_eq!(rig.memory.read(0xe001_8000, 4), 0x1042_1af4);
    assert_eq!(rig.memory.read(0xe001_8000, 8), 0x0010_0000_1042_1af4);
    assert_eq!(rig.memory.read(0xe001_8009, 1), 0x02);
    rig.ports.write(0xcf8, 4, 0x8000_183c);
    rig.ports.write(0xcfc, 1, 0x0b);
    assert_eq!(rig.memory.read(0xe001_803c, 2), 0x010b);
    // Nothing is there, or cannot be reached so.
    for confadd in [0x8000_2000, 0x8001_1800, 0x0000_1800] {
        rig.ports.write(0xcf8, 4, confadd);
        assert_eq!(rig.ports.read(0xcfc, 4), 0xffff_ffff, "{confadd:#x}");
    }
    assert_eq!(rig.memory.read(0xe001_8100, 4), 0xffff_ffff);
    assert_eq!(rig.bus.read_config(SLOT, 1, 2), 0xffff);
    rig.ports.write(0xcf9, 1, 6);
    assert_eq!(rig.notes.take(), [Asked::Reset(crate::system_control::Reset::Machine)]);
    assert_eq!(rig.ports.read(0xcf8, 4), 0x1800);
}

#[test]
fn ids_are_not_writable_and_sizes_can_be_found() {
    let rig = rig();
    for offset in (0..=0xfc).step_by(4) {
        rig.write(offset, 4, 0xffff_ffff);
    }
    let rows = [
        (0x00, 0x1042_1af4),
        (0x08, 0x0180_0201),
        (0x10, 0xffff_ffe1),
        (0x14, 0xffff_f000),
        (0x18, 0),
        (0x20, 0xffff_c00c),
        (0x24, 0xffff_ffff),
        (0x2c, 0x0002_1af4),
        (0x30, 0xffff_f801),
        (0x3c, 0x0000_01ff),
    ];
    for (offset, value) in rows {
        assert_eq!(rig.read(offset, 4), value, "{offset:#x}");
    }
}

#[test]
fn ranges_follow_their_registers() {
    let rig = rig();
    rig.write(reg::BAR0, 4, 0xc000);
    rig.write(reg::BAR0 + 4, 4, 0xfeb0_0000);
    rig.write(reg::BAR0 + 16, 4, 0x4000);
    rig.write(reg::BAR0 + 20, 4, 0x8);
    rig.write(reg::EXPANSION_ROM, 4, 0xfea0_0001);
    assert_eq!(rig.ports.read(0xc005, 1), 0xff);
    rig.write(reg::COMMAND, 2, 7);
    assert_eq!(rig.ports.read(0xc005, 4), 5);
    assert_eq!(rig.memory.read(0xfeb0_0ffc, 4), 0x1_0ffc);
    assert_eq!(rig.memory.read(0x8_0000_4010, 4), 0x4_0010);
    assert_eq!(rig.memory.read(0xfea0_0020, 4), 0x6_0020);
    rig.memory.write(0x8_0000_4018, 8, 77);
    assert_eq!(rig.card.lock().last, Some((4, 0x18, 8, 77)));
    rig.write(reg::BAR0, 4, 0xd000);
    assert_eq!((rig.ports.read(0xc005, 1), rig.ports.read(0xd005, 1)), (0xff, 5));
    rig.write(reg::EXPANSION_ROM, 4, 0xfea0_0000);
    assert_eq!(rig.memory.read(0xfea0_0020, 4), 0xffff_ffff);
    rig.write(reg::COMMAND, 2, 4);
    assert_eq!(rig.ports.read(0xd005, 1), 0xff);
    rig.write(reg::COMMAND, 2, 7);
    rig.bus.reset();
    assert_eq!(rig.ports.ranges(), vec![0xcf8..0xd00; 1]);
    assert_eq!((rig.read(reg::BAR0, 4), rig.card.lock().last), (1, None));
}

#[test]
fn intx_reaches_its_wire_unless_disabled() {
    let rig = rig();
    // INTA of device 3 is PIRQC.
    rig.card.lock().config.set_intx(true);
    assert_eq!(rig.seen.take(), [Event::Pin(2, true)]);
    assert_eq!(rig.read(reg::STATUS, 2) as u16 & status::INTERRUPT, status::INTERRUPT);
    rig.write(reg::COMMAND, 2, u32::from(command::INTERRUPT_DISABLE));
    assert_eq!(rig.seen.take(), [Event::Pin(2, false)]);
    assert_eq!(rig.read(reg::STATUS, 2) as u16 & status::INTERRUPT, status::INTERRUPT);
    rig.write(reg::COMMAND, 2, 0);
    rig.card.lock().config.set_intx(false);
    assert_eq!(rig.seen.take(), [Event::Pin(2, true), Event::Pin(2, false)]);
}

#[test]
fn wires_turn_from_slot_to_slot() {
    let rows = [((1, 1), 0), ((1, 4), 3), ((2, 1), 1), ((3, 1), 2), ((4, 4), 2), ((5, 1), 0)];
    for ((device, pin), wire) in rows {
        assert_eq!(intx_wire(device, pin), wire, "{device}, {pin}");
    }
}

#[test]
fn msix_sends_masks_and_remembers() {
    let rig = rig();
    rig.write(reg::BAR0 + 4, 4, 0xfeb0_0000);
    rig.write(reg::COMMAND, 2, 6);
    let table = 0xfeb0_0100;
    for vector in 0..3 {
        rig.memory.write(table + vector * 16, 8, 0xfee0_1000);
        rig.memory.write(table + vector * 16 + 8, 4, 0x40 + vector);
    }
    rig.memory.write(table + 12, 4, 0);
    let at = rig.capability(0x11);
    assert_eq!(rig.read(at + 2, 2), 2);
    assert_eq!((rig.read(at + 4, 4), rig.read(at + 8, 4)), (0x101, 0x801));
    rig.write(at + 2, 2, 0xffff);
    assert_eq!(rig.read(at + 2, 2), 0xc002);
    let send = |vector| rig.card.lock().config.send(vector);
    send(0);
    send(1);
    send(3);
    assert_eq!((rig.seen.take(), rig.memory.read(0xfeb0_0800, 8)), (vec![], 3));
    rig.write(at + 2, 2, 0x8000);
    assert_eq!(rig.seen.take(), [Event::Message(0xfee0_1000, 0x40)]);
    rig.memory.write(table + 16 + 12, 4, 0);
    assert_eq!(rig.seen.take(), [Event::Message(0xfee0_1000, 0x41)]);
    assert_eq!(rig.memory.read(0xfeb0_0800, 4), 0);
    send(1);
    assert_eq!(rig.seen.take(), [Event::Message(0xfee0_1000, 0x41)]);
    // With MSI-X on, there is no INTx; without it, no message.
    rig.card.lock().config.set_intx(true);
    assert_eq!(rig.seen.take(), []);
    rig.write(at + 2, 2, 0);
    send(0);
    assert_eq!(rig.seen.take(), [Event::Pin(2, true)]);
    rig.bus.reset();
    assert_eq!(rig.seen.take(), [Event::Pin(2, false)]);
}

#[test]
fn msi_sends_as_many_vectors_as_granted() {
    let rig = rig();
    let at = rig.capability(0x05);
    assert_eq!(rig.read(at + 2, 2), 0x0084);
    rig.write(at + 4, 4, 0xfee0_2003);
    rig.write(at + 12, 2, 0x4567);
    rig.write(reg::COMMAND, 2, u32::from(command::BUS_MASTER));
    rig.write(at + 2, 2, 0x0011);
    let send = |vector| rig.card.lock().config.send(vector);
    send(0);
    send(1);
    send(2);
    let message = |data| Event::Message(0xfee0_2000, data);
    assert_eq!(rig.seen.take(), [message(0x4566), message(0x4567), message(0x4566)]);
    rig.write(reg::COMMAND, 2, 0);
    send(0);
    assert_eq!(rig.seen.take(), []);
}

#[test]
fn piix3_routes_pci_interrupts_to_isa() {
    let seen = Arc::new(Seen::default());
    let lines = |from: u32, count| (from..from + count).map(|pin| IrqLine::new(seen.clone(), pin));
    let direct = lines(16, 4).collect::<Vec<_>>().try_into().expect("four lines");
    let router = PirqRouter::new(direct, lines(0, 16).collect());
    let mut bridge = Piix3::new(router.clone());
    router.set(0, true);
    assert_eq!(seen.take(), [Event::Pin(16, true)]);
    bridge.write_config(0x60, 4, 0x0a0b_0a0b);
    assert_eq!(seen.take(), [Event::Pin(11, true)]);
    router.set(2, true);
    router.set(0, false);
    assert_eq!(seen.take(), [Event::Pin(18, true), Event::Pin(16, false)]);
    bridge.write_config(0x62, 1, 0x05);
    assert_eq!(seen.take(), [Event::Pin(5, true), Event::Pin(11, false)]);
    bridge.config().reset();
    bridge.reset();
    assert_eq!(seen.take(), [Event::Pin(5, false)]);
}
