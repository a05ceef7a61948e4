//! A hostile guest at disks and virtio devices: whatever it writes to their registers, and has in its
//! memory for them to find there, they neither panic nor hang, and work after a reset.

use super::{Target, Verdict, replay_seeds};
use crate::random::Rng;
use mynah_bus::{IrqLine, Map, Messages, Pins, Ram, ram::WriteLog};
use mynah_devices::ide::{Attached, Ide, Unit};
use mynah_devices::pci::{Address, Bus, Function};
use mynah_devices::virtio::{self, Blk, Console, Model, Net, Virtio};
use mynah_disk::{Disk, Memory, SECTOR};
use mynah_net::Wire;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The devices. Each case is a machine that has just been switched on.
#[derive(Default, Debug)]
pub struct DisksTarget;

const RAM: u64 = 0x20_0000;
/// How long a device may take for what it is asked at the end.
const PATIENCE: Duration = Duration::from_secs(30);

const PRIMARY: u64 = 0x1f0;
const CONTROL: u64 = 0x3f6;
const MASTER: u64 = 0xc000;
const BARS: u64 = 0xe000_0000;
const BAR_STEP: u64 = 0x1_0000;
const MSIX: u64 = 0xf000_0000;

/// Where the guest puts tables, rings and buffers.
const TABLE: u64 = 0x1000;
const QUEUE: u64 = 0x1_0000;
const QUEUE_STEP: u64 = 0x4000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const BUFFERS: u64 = 0x10_0000;

/// Interrupts go nowhere.
struct Nowhere;

impl Pins for Nowhere {
    fn set(&self, _: u32, _: bool) {}
}

impl Messages for Nowhere {
    fn message(&self, _: u64, _: u32) {}
}

/// A wire that gives back what is sent.
struct Loop(Vec<Vec<u8>>);

impl Wire for Loop {
    fn send(&mut self, frame: &[u8]) {
        if self.0.len() < 16 {
            self.0.push(frame.to_vec());
        }
    }
    fn receive(&mut self) -> Option<Vec<u8>> {
        self.0.pop()
    }
    fn on_arrival(&mut self, _: Box<dyn Fn() + Send + Sync>) {}
}

fn disk(sectors: usize) -> Box<dyn Disk> {
    Box::new(Memory::new(vec![0x5a; sectors * SECTOR]))
}

struct Pc {
    ports: Arc<Map>,
    memory: Arc<Map>,
    bus: Arc<Bus>,
    ram: Ram,
    ide: Arc<Mutex<Ide>>,
    /// Block, network, console and entropy device, and the numbers of their queues.
    virtio: Vec<(Arc<Mutex<Virtio>>, u64)>,
    input: virtio::Input,
    writes: WriteLog,
}

impl Pc {
    fn new() -> Pc {
        let (ports, memory) = (Arc::new(Map::new()), Arc::new(Map::new()));
        let nowhere = Arc::new(Nowhere);
        let bus = Bus::new(ports.clone(), memory.clone(), nowhere.clone(), nowhere);
        let ram = Ram::flat(RAM).expect("the host has a little RAM");
        let writes = WriteLog::of(&ram);
        let mut ide = Ide::new(&ram, [IrqLine::nowhere(), IrqLine::nowhere()]);
        let [first, second, ..] = Unit::all();
        ide.attach(first, Attached::Disk(disk(2000)));
        ide.attach(second, Attached::Cdrom(Some(disk(400))));
        ports.add(PRIMARY..PRIMARY + 8, ide.command_block(0));
        ports.add(CONTROL..CONTROL + 1, ide.control_block(0));
        let ide = Arc::new(Mutex::new(ide));
        bus.plug(Address::new(1, 1), ide.clone());
        for (offset, value) in [(0x20, MASTER as u32), (4, 5)] {
            bus.write_config(Address::new(1, 1), offset, 4, value);
        }
        let (console, input) = Console::new(80, 25, Box::new(|_| {}));
        let models: [Box<dyn Model>; 4] = [
            Box::new(Blk::new(disk(1000))),
            Box::new(Net::new([2, 0, 0, 0, 0, 1], Box::new(Loop(Vec::new())))),
            Box::new(console),
            Box::new(virtio::Rng::new()),
        ];
        let mut virtio = Vec::new();
        for (at, model) in (0..).zip(models) {
            let queues = model.queues().len() as u64;
            let device = Virtio::new(model, &ram).expect("the host has threads");
            let address = Address::new(3 + at as u8, 0);
            bus.plug(address, device.clone());
            let bars = [(0x14, MSIX + at * 0x1000), (0x20, BARS + at * BAR_STEP), (4, 6)];
            for (offset, value) in bars {
                bus.write_config(address, offset, 4, value as u32);
            }
            virtio.push((device, queues));
        }
        Pc { ports, memory, bus, ram, ide, virtio, input, writes }
    }

    fn step(&self, rng: &mut Rng) {
        match rng.below(100) {
            0..30 => self.ide_registers(rng),
            30..40 => self.ide_data(rng),
            40..45 => self.packet(rng),
            45..52 => self.master(rng),
            52..55 => self.initialize(rng.below(4)),
            55..60 => self.virtio_registers(rng),
            60..80 => self.ring(rng),
            80..90 => self.notify(rng.below(4), rng.below(2) as u64),
            90..95 => {
                let pa = rng.below(RAM as usize - 8) as u64;
                self.put(pa, &rng.edge().to_le_bytes());
            }
            95 => _ = self.input.receive(&[0x41; 100][..rng.below(100)]),
            96 => {
                let disc = rng.chance(50).then(|| disk(rng.below(500)));
                self.ide.lock().change_disc(Unit { channel: 0, drive: 1 }, disc);
            }
            97 => {
                let address = Address::new(3 + rng.below(4) as u8, 0);
                let offset = rng.below(64) as u8 * 4;
                if rng.chance(50) {
                    self.bus.read_config(address, offset, 4);
                } else if !(0x10..0x28).contains(&offset) {
                    self.bus.write_config(address, offset, 4, rng.edge() as u32);
                    self.bus.write_config(address, 4, 2, 6);
                }
            }
            98 => self.ide.lock().reset(),
            _ => std::thread::sleep(Duration::from_micros(rng.below(200) as u64)),
        }
    }

    fn put(&self, pa: u64, bytes: &[u8]) {
        self.ram.write(pa, bytes).expect("what the guest writes is RAM");
    }

    fn out(&self, port: u64, value: u8) {
        self.ports.write(port, 1, value.into());
    }

    fn ide_registers(&self, rng: &mut Rng) {
        const COMMANDS: &[u8] = &[
            0x08, 0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x40, 0x90, 0x91, 0xa0,
            0xa1, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xce, 0xe7, 0xea, 0xec, 0xef, 0xf8,
        ];
        match rng.below(8) {
            0 => self.out(CONTROL, rng.pick(&[0, 0, 0, 2, 4, 0x80])),
            1 => _ = self.ports.read(PRIMARY + 1 + rng.below(7) as u64, 1),
            2 => _ = self.ports.read(CONTROL, 1),
            3 | 4 => {
                let value = if rng.chance(50) { rng.below(4) as u8 } else { rng.bits() as u8 };
                self.out(PRIMARY + 1 + rng.below(6) as u64, value);
            }
            5 => self.out(PRIMARY + 6, rng.pick(&[0xe0, 0xe0, 0xb0, 0xa0])),
            6 => self.out(PRIMARY + 7, rng.pick(COMMANDS)),
            _ => self.out(PRIMARY + 7, rng.bits() as u8),
        }
    }

    fn ide_data(&self, rng: &mut Rng) {
        let bytes = rng.pick(&[1, 2, 4, 8]);
        let writes = rng.chance(50);
        for _ in 0..rng.below(600) {
            if writes {
                self.ports.write(PRIMARY, bytes, rng.bits() & mynah_bus::ones(bytes));
            } else {
                self.ports.read(PRIMARY, bytes);
            }
        }
    }

    fn packet(&self, rng: &mut Rng) {
        const PACKETS: &[u8] = &[
            0, 3, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2b, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8,
            0xbd, 0xbe,
        ];
        for (register, value) in [(6, 0xb0), (1, rng.below(2) as u8), (5, rng.below(9) as u8)] {
            self.out(PRIMARY + register, value);
        }
        self.out(PRIMARY + 4, rng.bits() as u8);
        self.out(PRIMARY + 7, 0xa0);
        for at in 0..12 {
            let byte = match at {
                0 => rng.pick(PACKETS),
                _ if rng.chance(60) => 0,
                _ => rng.bits() as u8,
            };
            self.ports.write(PRIMARY, 1, byte.into());
        }
    }

    fn master(&self, rng: &mut Rng) {
        for at in 0..4 {
            let address = if rng.chance(80) { BUFFERS } else { rng.edge() } as u32;
            let count = rng.pick(&[512, 2048, 0, 2, 0x1ff]) | rng.below(4) as u32 / 3 << 31;
            self.put(TABLE + at * 8, &[address.to_le_bytes(), count.to_le_bytes()].concat());
        }
        let table = if rng.chance(90) { TABLE } else { rng.edge() };
        self.ports.write(MASTER + 4, 4, table & 0xffff_ffff);
        self.out(MASTER, rng.below(16) as u8);
        self.ports.read(MASTER + rng.below(16) as u64, 1);
        self.out(MASTER + 2, rng.bits() as u8);
    }

    fn bar(&self, device: usize) -> u64 {
        BARS + device as u64 * BAR_STEP
    }

    fn set(&self, device: usize, offset: u64, bytes: u8, value: u64) {
        self.memory.write(self.bar(device) + offset, bytes, value);
    }

    /// Initialises a virtio device as a driver would.
    fn initialize(&self, device: usize) {
        self.set(device, 0x14, 1, 0);
        self.set(device, 0x14, 1, 3);
        for half in 0..2 {
            self.set(device, 0, 4, half);
            let offered = self.memory.read(self.bar(device) + 4, 4);
            self.set(device, 8, 4, half);
            self.set(device, 12, 4, offered);
        }
        self.set(device, 0x14, 1, 11);
        for queue in 0..self.virtio[device].1 {
            let base = self.queue(device, queue);
            self.put(base, &[0; QUEUE_STEP as usize]);
            self.set(device, 0x16, 2, queue);
            self.set(device, 0x20, 8, base);
            self.set(device, 0x28, 8, base + AVAILABLE);
            self.set(device, 0x30, 8, base + USED);
            self.set(device, 0x1c, 2, 1);
        }
        self.set(device, 0x14, 1, 15);
    }

    fn queue(&self, device: usize, queue: u64) -> u64 {
        QUEUE + (device as u64 * 2 + queue) * QUEUE_STEP
    }

    fn notify(&self, device: usize, queue: u64) {
        self.set(device, 0x3000 + queue * 4, 2, queue);
    }

    fn virtio_registers(&self, rng: &mut Rng) {
        let at = self.bar(rng.below(4)) + rng.below(4) as u64 * 0x1000 + rng.below(0x40) as u64;
        let bytes = rng.pick(&[1, 2, 4, 8]);
        if rng.chance(50) {
            self.memory.read(at, bytes);
        } else {
            self.memory.write(at, bytes, rng.edge() & mynah_bus::ones(bytes));
        }
    }

    /// Puts descriptors into a ring, and makes some available.
    fn ring(&self, rng: &mut Rng) {
        let device = rng.below(4);
        let base = self.queue(device, rng.below(2) as u64);
        for _ in 0..rng.below(8) {
            let address = match rng.below(8) {
                0 => rng.edge(),
                1 => RAM - rng.below(64) as u64,
                _ => BUFFERS + rng.below(16) as u64 * 0x1000,
            };
            let len = rng.pick(&[16_u32, 1, 512, 4096, 12, 0, 0x1_0000, u32::MAX]);
            let mut bytes = address.to_le_bytes().to_vec();
            bytes.extend(len.to_le_bytes());
            bytes.extend(rng.pick(&[0_u16, 1, 1, 2, 3, 3, 4, 7, 0xffff]).to_le_bytes());
            bytes.extend((rng.below(10) as u16).to_le_bytes());
            self.put(base + rng.below(8) as u64 * 16, &bytes);
        }
        // A header of the block device.
        let kind = rng.pick(&[0_u32, 1, 4, 8, 11, 13, 99]);
        let sector = if rng.chance(80) { rng.below(1000) as u64 } else { rng.edge() };
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        self.put(BUFFERS + rng.below(16) as u64 * 0x1000, &header);
        let mut index = [0; 2];
        self.ram.read(base + AVAILABLE + 2, &mut index).expect("the ring is RAM");
        let index = u16::from_le_bytes(index);
        let count = if rng.chance(98) { rng.below(4) as u16 } else { rng.bits() as u16 };
        for at in 0..count.min(8) {
            let slot = u64::from(index.wrapping_add(at) % 64);
            let head = if rng.chance(95) { rng.below(8) as u16 } else { rng.bits() as u16 };
            self.put(base + AVAILABLE + 4 + slot * 2, &head.to_le_bytes());
        }
        self.put(base + AVAILABLE + 2, &index.wrapping_add(count).to_le_bytes());
    }

    /// After a reset all work: a sector is read, and each virtio device answers a buffer.
    fn works(&self) {
        let wait = |what: &str, done: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !done() {
                assert!(start.elapsed() < PATIENCE, "{what}");
                std::thread::sleep(Duration::from_micros(20));
            }
        };
        self.out(CONTROL, 4);
        self.out(CONTROL, 0);
        for (register, value) in [(6, 0xe0), (2, 1), (3, 0), (4, 0), (5, 0), (7, 0x20)] {
            self.out(PRIMARY + register, value);
        }
        wait("the disk reads", &|| self.ports.read(CONTROL, 1) & 0x88 == 8);
        for device in [0, 3] {
            self.initialize(device);
            let base = self.queue(device, 0);
            // A request to flush; or just room for random numbers.
            self.put(BUFFERS, &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let first = [&BUFFERS.to_le_bytes()[..], &[16, 0, 0, 0, 1, 0, 1, 0]].concat();
            let second = [&(BUFFERS + 64).to_le_bytes()[..], &[1, 0, 0, 0, 2, 0, 0, 0]].concat();
            self.put(base, &[first, second].concat());
            self.put(base + AVAILABLE + 2, &1_u16.to_le_bytes());
            self.notify(device, 0);
            wait("a virtio device answers", &|| {
                let mut used = [0; 2];
                self.ram.read(base + USED + 2, &mut used).is_ok() && used == [1, 0]
            });
        }
    }
}

impl Target for DisksTarget {
    fn case(&mut self, rng: &mut Rng) -> Verdict {
        let pc = Pc::new();
        for _ in 0..300 {
            pc.step(rng);
        }
        pc.works();
        for range in pc.writes.take() {
            assert!(range.start < range.end && range.end <= RAM, "devices write RAM: {range:x?}");
        }
        Verdict::Passed { cases: 1, useful: 1 }
    }

    fn replay(&mut self, _: &str, text: &str) -> Result<usize, String> {
        replay_seeds(self, text)
    }
}
