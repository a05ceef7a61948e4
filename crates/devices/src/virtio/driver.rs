//! A driver for tests: as little as the specification allows.

use super::{Model, Virtio};
use crate::pci::{Address, Bus, Function, command, reg};
use mynah_bus::{Map, Messages, Pins, Ram};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const COMMON: u64 = 0;
pub(super) const ISR: u64 = 0x1000;
pub(super) const DEVICE: u64 = 0x2000;
pub(super) const NOTIFY: u64 = 0x3000;

/// Descriptor flags.
pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;

/// Where the parts of a queue are, and the buffers.
const QUEUE: u64 = 0x1_0000;
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x8000;
pub(super) const BUFFERS: u64 = 0x10_0000;

/// How long tests wait.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Interrupts: levels of the pin, and messages.
#[derive(Default)]
pub(super) struct Seen(pub(super) Mutex<Vec<u32>>);

impl Pins for Seen {
    fn set(&self, _: u32, level: bool) {
        self.0.lock().push(u32::from(level));
    }
}

impl Messages for Seen {
    fn message(&self, _: u64, data: u32) {
        self.0.lock().push(data);
    }
}

pub(super) struct Driver {
    pub(super) virtio: Arc<Mutex<Virtio>>,
    pub(super) ram: Ram,
    pub(super) seen: Arc<Seen>,
    bus: Arc<Bus>,
    memory: Arc<Map>,
    /// The next descriptor, and what has been made available and seen used, of each queue.
    queues: Vec<(u16, u16, u16)>,
}

const SLOT: u8 = 3;

impl Driver {
    /// A driver that has done nothing yet.
    pub(super) fn new(model: Box<dyn Model>) -> Driver {
        let ram = Ram::flat(8 << 20).expect("RAM");
        let queues = vec![(0, 0, 0); model.queues().len()];
        let virtio = Virtio::new(model, &ram).expect("a device");
        let seen = Arc::new(Seen::default());
        let maps = [(); 2].map(|()| Arc::new(Map::new()));
        let [ports, memory] = maps;
        let bus = Bus::new(ports, memory.clone(), seen.clone(), seen.clone());
        assert!(bus.plug(Address::new(SLOT, 0), virtio.clone()));
        let driver = Driver { virtio, ram, seen, bus, memory, queues };
        driver.configure(reg::COMMAND, 2, (command::MEMORY_SPACE | command::BUS_MASTER).into());
        driver
    }

    /// A driver that is ready, and has accepted `features` with version 1.
    pub(super) fn ready(model: Box<dyn Model>, features: u64) -> Driver {
        let mut driver = Driver::new(model);
        driver.initialize(features);
        driver
    }

    pub(super) fn configure(&self, offset: u8, bytes: u8, value: u32) {
        self.bus.write_config(Address::new(SLOT, 0), offset, bytes, value);
    }

    pub(super) fn configuration(&self, offset: u8, bytes: u8) -> u32 {
        self.bus.read_config(Address::new(SLOT, 0), offset, bytes)
    }

    /// Programs and unmasks an entry of the MSI-X table.
    pub(super) fn msix(&self, vector: u64, data: u32) {
        let table = 0xe000_0000 + vector * 16;
        for (offset, value) in [(0, 0xfee0_0000), (4, 0), (8, u64::from(data)), (12, 0)] {
            self.memory.write(table + offset, 4, value);
        }
    }

    pub(super) fn get(&self, offset: u64, bytes: u8) -> u64 {
        self.virtio.lock().read(4, offset, bytes)
    }

    pub(super) fn set(&self, offset: u64, bytes: u8, value: u64) {
        self.virtio.lock().write(4, offset, bytes, value);
    }

    /// Initialises the device (3.1.1).
    pub(super) fn initialize(&mut self, features: u64) {
        self.set(0x14, 1, 0);
        assert_eq!(self.get(0x14, 1), 0);
        self.set(0x14, 1, 3);
        let features = features | 1 << 32;
        for half in [0, 1] {
            self.set(0x08, 4, half);
            self.set(0x0c, 4, features >> (half * 32) & 0xffff_ffff);
        }
        self.set(0x14, 1, 3 | 8);
        assert_eq!(self.get(0x14, 1), 11);
        for at in 0..self.queues.len() {
            self.queues[at] = (0, 0, 0);
            let base = QUEUE * (at as u64 + 1);
            self.ram.write(base, &[0; QUEUE as usize]).expect("RAM");
            self.set(0x16, 2, at as u64);
            self.set(0x1a, 2, at as u64);
            self.set(0x20, 8, base);
            self.set(0x28, 4, base + AVAILABLE);
            self.set(0x2c, 4, 0);
            self.set(0x30, 8, base + USED);
            self.set(0x1c, 2, 1);
        }
        self.set(0x14, 1, 15);
    }

    /// The size of a queue.
    fn size(&self, queue: usize) -> u16 {
        self.set(0x16, 2, queue as u64);
        self.get(0x18, 2) as u16
    }

    pub(super) fn write(&self, pa: u64, bytes: &[u8]) {
        self.ram.write(pa, bytes).expect("RAM");
    }

    pub(super) fn read(&self, pa: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read(pa, &mut bytes).expect("RAM");
        bytes
    }

    pub(super) fn describe(&self, at: u64, pa: u64, len: u32, flags: u16, next: u16) {
        let mut bytes = pa.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.write(at, &bytes);
    }

    /// Makes a buffer available: its parts by address, length and whether the device writes them.
    /// The number of its first descriptor.
    pub(super) fn offer(&mut self, queue: usize, parts: &[(u64, u32, bool)]) -> u16 {
        let size = self.size(queue);
        let base = QUEUE * (queue as u64 + 1);
        let head = self.queues[queue].0;
        for (i, &(pa, len, writes)) in parts.iter().enumerate() {
            let at = self.queues[queue].0;
            let next = (at + 1) % size;
            let chained = if i + 1 < parts.len() { NEXT } else { 0 };
            let flags = chained | if writes { WRITE } else { 0 };
            self.describe(base + u64::from(at) * 16, pa, len, flags, next);
            self.queues[queue].0 = next;
        }
        self.offer_head(queue, head);
        head
    }

    /// Makes the buffer with this first descriptor available.
    pub(super) fn offer_head(&mut self, queue: usize, head: u16) {
        let size = self.size(queue);
        let base = QUEUE * (queue as u64 + 1) + AVAILABLE;
        let available = &mut self.queues[queue].1;
        let slot = u64::from(*available % size);
        *available = available.wrapping_add(1);
        let available = *available;
        self.write(base + 4 + slot * 2, &head.to_le_bytes());
        self.write(base + 2, &available.to_le_bytes());
    }

    pub(super) fn notify(&self, queue: usize) {
        self.set(NOTIFY + queue as u64 * 4, 2, queue as u64);
    }

    /// The next used buffer: its first descriptor, and how many bytes were written.
    pub(super) fn used(&mut self, queue: usize) -> (u32, u32) {
        let size = self.size(queue);
        let base = QUEUE * (queue as u64 + 1) + USED;
        let start = Instant::now();
        let at = self.queues[queue].2;
        while self.read(base + 2, 2) == at.to_le_bytes() {
            assert!(start.elapsed() < PATIENCE, "no buffer comes back");
            std::thread::sleep(Duration::from_micros(50));
        }
        self.queues[queue].2 = at.wrapping_add(1);
        let entry = self.read(base + 4 + u64::from(at % size) * 8, 8);
        let word = |at: usize| {
            u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        (word(0), word(4))
    }

    /// Whether the device has used nothing more.
    pub(super) fn is_quiet(&self, queue: usize) -> bool {
        let base = QUEUE * (queue as u64 + 1) + USED;
        self.read(base + 2, 2) == self.queues[queue].2.to_le_bytes()
    }

    /// Waits until interrupts are seen.
    pub(super) fn interrupts(&self) -> Vec<u32> {
        let start = Instant::now();
        loop {
            let seen = std::mem::take(&mut *self.seen.0.lock());
            if !seen.is_empty() {
                return seen;
            }
            assert!(start.elapsed() < PATIENCE, "no interrupt comes");
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Waits until the device says that it needs a reset.
    pub(super) fn wait_for_needs_reset(&self) {
        let start = Instant::now();
        while self.get(0x14, 1) & 64 == 0 {
            assert!(start.elapsed() < PATIENCE, "the device goes on");
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}
