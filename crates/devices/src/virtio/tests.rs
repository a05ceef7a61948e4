//! Tests of the devices, through the transport.

use super::driver::*;
use super::*;
use mynah_disk::{Disk, Memory, SECTOR, Unmap};
use mynah_net::Wire;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn disk(sectors: usize) -> Box<dyn Disk> {
    let bytes = (0..sectors).flat_map(|at| [at as u8; SECTOR]).collect();
    Box::new(Memory::new(bytes))
}

fn blk() -> Box<dyn Model> {
    Box::new(Blk::new(disk(1000)))
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    let mut header = kind.to_le_bytes().to_vec();
    header.extend([0; 4]);
    header.extend(sector.to_le_bytes());
    header
}

/// Sends a request to a block device. Its status.
fn request(driver: &mut Driver, kind: u32, sector: u64, data: &[(u64, u32, bool)]) -> u8 {
    let (head, status) = (BUFFERS, BUFFERS + 0x100);
    driver.write(head, &header(kind, sector));
    driver.write(status, &[0xee]);
    let mut parts = vec![(head, 16, false)];
    parts.extend(data);
    parts.push((status, 1, true));
    let first = driver.offer(0, &parts);
    driver.notify(0);
    assert_eq!(driver.used(0).0, u32::from(first));
    driver.read(status, 1)[0]
}

const DATA: u64 = BUFFERS + 0x1000;

#[test]
fn capabilities_lead_to_the_structures() {
    let driver = Driver::new(blk());
    assert_eq!(driver.configuration(0, 4), 0x1042_1af4);
    let mut at = driver.configuration(0x34, 1) as u8;
    let mut found = Vec::new();
    while at != 0 {
        if driver.configuration(at, 1) == 9 {
            let field = |offset: u8, bytes| driver.configuration(at + offset, bytes);
            found.push((field(3, 1), field(4, 1), field(8, 4), field(12, 4)));
        }
        at = driver.configuration(at + 1, 1) as u8;
    }
    let expected = [
        (1, 4, 0, 0x1000),
        (3, 4, 0x1000, 0x1000),
        (4, 4, 0x2000, 0x1000),
        (2, 4, 0x3000, 0x1000),
        (5, 4, 0, 0),
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_window_reaches_the_structures_without_memory_space() {
    let driver = Driver::new(blk());
    let mut at = driver.configuration(0x34, 1) as u8;
    while driver.configuration(at, 1) != 9 || driver.configuration(at + 3, 1) != 5 {
        at = driver.configuration(at + 1, 1) as u8;
    }
    let select = |offset, len| {
        driver.configure(at + 4, 1, 4);
        driver.configure(at + 8, 4, offset);
        driver.configure(at + 12, 4, len);
    };
    select(0x2000, 4);
    assert_eq!(driver.configuration(at + 16, 4), 1000);
    select(0x14, 1);
    driver.configure(at + 16, 1, 3);
    assert_eq!((driver.configuration(at + 16, 1), driver.get(COMMON + 0x14, 1)), (3, 3));
    // Nonsense reaches nothing.
    for (offset, len) in [(0x3fff, 4), (0x4000, 1), (0xffff_fffc, 4), (0, 0), (0, 3)] {
        select(offset, len);
        driver.configure(at + 16, 4, 0xffff_ffff);
        driver.configuration(at + 16, 4);
    }
    assert_eq!(driver.get(0x14, 1), 3);
}

#[test]
fn features_are_negotiated() {
    let driver = Driver::new(blk());
    driver.set(0, 4, 0);
    let low = driver.get(4, 4);
    driver.set(0, 4, 1);
    assert_eq!(
        (low & (1 << 9 | 1 << 13 | 1 << 29), driver.get(4, 4)),
        (1 << 9 | 1 << 13 | 1 << 29, 1)
    );
    driver.set(0, 4, 2);
    assert_eq!(driver.get(4, 4), 0);
    // Without version 1, or with what was not offered, there is no agreement.
    for (low, high) in [(0, 0), (1 << 31, 1)] {
        driver.set(0x14, 1, 0);
        driver.set(0x14, 1, 3);
        for (half, value) in [(0, low), (1, high)] {
            driver.set(8, 4, half);
            driver.set(12, 4, value);
        }
        driver.set(0x14, 1, 11);
        assert_eq!(driver.get(0x14, 1), 3);
        driver.set(0x14, 1, 7);
        assert_eq!(driver.get(0x14, 1), 3);
    }
}

#[test]
fn a_block_device_moves_sectors() {
    let mut driver = Driver::ready(blk(), 0);
    assert_eq!(driver.get(DEVICE, 8), 1000);
    // In three pieces, one of them odd.
    let pieces = [(DATA, 512, true), (DATA + 0x1000, 100, true), (DATA + 0x2000, 412, true)];
    assert_eq!(request(&mut driver, 0, 7, &pieces), 0);
    assert_eq!(driver.read(DATA, 512), [7; 512]);
    assert_eq!(
        (driver.read(DATA + 0x1063, 2), driver.read(DATA + 0x219b, 2)),
        (vec![8, 0], vec![8, 0])
    );
    driver.write(DATA, &[0xab; 1024]);
    assert_eq!(request(&mut driver, 1, 500, &[(DATA, 1000, false), (DATA + 1000, 24, false)]), 0);
    assert_eq!(request(&mut driver, 4, 0, &[]), 0);
    assert_eq!(request(&mut driver, 0, 499, &[(DATA, 2048, true)]), 0);
    let seen = driver.read(DATA, 2048);
    assert_eq!([0, 512, 1535, 1536].map(|at| seen[at]), [499_u32 as u8, 0xab, 0xab, 502_u32 as u8]);
    assert_eq!(request(&mut driver, 8, 0, &[(DATA, 20, true)]), 0);
    assert_eq!(driver.read(DATA, 7), b"MEMORY\0");
}

#[test]
fn a_block_device_refuses() {
    let mut driver = Driver::ready(blk(), 0);
    type Parts<'a> = &'a [(u64, u32, bool)];
    let rows: [(u32, u64, Parts<'_>, u8); 9] = [
        (0, 999, &[(DATA, 1024, true)], 1),
        (0, u64::MAX, &[(DATA, 512, true)], 1),
        (1, 1000, &[(DATA, 512, false)], 1),
        (0, 0, &[(DATA, 511, true)], 1),
        (1, 0, &[(DATA, 513, false)], 1),
        (99, 0, &[], 2),
        (11, 0, &[(DATA, 15, false)], 1),
        (13, 0, &[(DATA, 16, false)], 2),
        (0, 0, &[(DATA, 512, true)], 0),
    ];
    driver.write(DATA, &[0xff; 64]);
    for (kind, sector, data, status) in rows {
        assert_eq!(request(&mut driver, kind, sector, data), status, "{kind} {sector}");
    }
    // Without room for a status, or a whole header.
    for parts in [&[(BUFFERS, 16, false)][..], &[(BUFFERS, 8, false), (DATA, 1, true)]] {
        driver.offer(0, parts);
        driver.notify(0);
        driver.used(0);
    }
    assert_eq!(driver.read(DATA, 1), [1]);
}

#[test]
fn a_block_device_zeroes_and_discards() {
    let mut driver = Driver::ready(blk(), 0);
    let range = |sector: u64, count: u32, flags: u32| {
        [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat()
    };
    driver.write(DATA, &[range(10, 2, 1), range(20, 1, 0)].concat());
    assert_eq!(request(&mut driver, 13, 0, &[(DATA, 32, false)]), 0);
    driver.write(DATA, &range(30, 8, 0));
    assert_eq!(request(&mut driver, 11, 0, &[(DATA, 16, false)]), 0);
    driver.write(DATA, &range(999, 2, 0));
    assert_eq!(request(&mut driver, 13, 0, &[(DATA, 16, false)]), 1);
    assert_eq!(request(&mut driver, 0, 9, &[(DATA, 12 * 512, true)]), 0);
    let seen = driver.read(DATA, 12 * 512);
    assert_eq!([0, 1, 2, 3, 10, 11].map(|at| seen[at * 512]), [9, 0, 0, 12, 19, 0]);
}

#[test]
fn interrupts_by_pin_and_by_message() {
    let mut driver = Driver::ready(blk(), 0);
    assert_eq!(request(&mut driver, 4, 0, &[]), 0);
    assert_eq!(driver.interrupts(), [1]);
    assert_eq!((driver.get(ISR, 1), driver.get(ISR, 1)), (1, 0));
    assert_eq!(driver.interrupts(), [0]);
    // MSI-X: vector 0 has 0x40 to say.
    {
        let mut at = driver.configuration(0x34, 1) as u8;
        while driver.configuration(at, 1) != 0x11 {
            at = driver.configuration(at + 1, 1) as u8;
        }
        driver.configure(0x14, 4, 0xe000_0000);
        driver.configure(at + 2, 2, 0x8000);
        driver.msix(0, 0x40);
    }
    assert_eq!(request(&mut driver, 4, 0, &[]), 0);
    assert_eq!(driver.interrupts(), [0x40]);
    // Suppressed by flag.
    driver.write(0x1_4000, &[1, 0]);
    assert_eq!(request(&mut driver, 4, 0, &[]), 0);
    driver.write(0x1_4000, &[0, 0]);
    assert_eq!(request(&mut driver, 4, 0, &[]), 0);
    assert_eq!(driver.interrupts(), [0x40]);
    assert!(driver.seen.0.lock().is_empty());
}

#[test]
fn events_say_when_to_interrupt() {
    let mut driver = Driver::ready(blk(), 1 << 29);
    // used_event is after the ring: interrupt when the third buffer has been used.
    driver.write(0x1_4000 + 4 + 2 * 256, &[2, 0]);
    for _ in 0..2 {
        assert_eq!(request(&mut driver, 4, 0, &[]), 0);
    }
    std::thread::sleep(Duration::from_millis(5));
    assert!(driver.seen.0.lock().is_empty());
    assert_eq!(request(&mut driver, 4, 0, &[]), 0);
    assert_eq!(driver.interrupts(), [1]);
    // And the device says when it wants to be notified: at the next buffer.
    let start = Instant::now();
    while driver.read(0x1_8000 + 4 + 8 * 256, 2) != [3, 0] {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn indirect_descriptors_are_followed_once() {
    let mut driver = Driver::ready(blk(), 1 << 28);
    driver.write(BUFFERS, &header(4, 0));
    let table = BUFFERS + 0x800;
    driver.describe(table, BUFFERS, 16, NEXT, 1);
    driver.describe(table + 16, DATA, 1, WRITE, 0);
    driver.write(DATA, &[9]);
    driver.describe(0x1_0000, table, 32, INDIRECT, 0);
    driver.offer_head(0, 0);
    driver.notify(0);
    assert_eq!((driver.used(0), driver.read(DATA, 1)), ((0, 1), vec![0]));
    // A table that refers to itself.
    driver.describe(table, table, 32, INDIRECT, 0);
    driver.offer_head(0, 0);
    driver.notify(0);
    assert_eq!(driver.used(0), (0, 0));
}

#[test]
fn broken_rings_need_a_reset() {
    let mut driver = Driver::ready(blk(), 0);
    let break_it: [fn(&mut Driver); 4] = [
        // A buffer that is not in RAM.
        |driver| {
            driver.offer(0, &[(0xffff_ffff_ffff_f000, 4096, true)]);
        },
        |driver| {
            driver.offer(0, &[(8 << 20, 512, false), (DATA, 1, true)]);
        },
        // A descriptor that is not in the table.
        |driver| driver.offer_head(0, 256),
        // More buffers than the queue can have.
        |driver| driver.write(0x1_4002, &[0xff, 0xff]),
    ];
    for break_it in break_it {
        break_it(&mut driver);
        driver.notify(0);
        driver.wait_for_needs_reset();
        driver.initialize(0);
        assert_eq!(request(&mut driver, 4, 0, &[]), 0);
    }
    // A chain that is a circle ends.
    driver.describe(0x1_0000, DATA, 1, NEXT, 0);
    driver.offer_head(0, 0);
    driver.notify(0);
    driver.used(0);
    // A queue that is not in RAM.
    driver.set(0x14, 1, 0);
    driver.set(0x14, 1, 3);
    driver.set(8, 4, 1);
    driver.set(12, 4, 1);
    driver.set(0x14, 1, 11);
    driver.set(0x20, 8, 0xffff_ffff_0000);
    driver.set(0x28, 8, 0x1_0000);
    driver.set(0x30, 8, 0x2_0000);
    driver.set(0x1c, 2, 1);
    driver.set(0x14, 1, 15);
    assert_eq!(driver.get(0x14, 1), 15 | 64);
}

#[test]
fn without_bus_mastering_nothing_happens() {
    let mut driver = Driver::ready(blk(), 0);
    driver.configure(4, 2, 2);
    driver.offer(0, &[(BUFFERS, 16, false), (DATA, 1, true)]);
    driver.notify(0);
    std::thread::sleep(Duration::from_millis(5));
    assert!(driver.is_quiet(0));
    driver.configure(4, 2, 6);
    driver.used(0);
}

/// A disk that counts flushes, and may be read-only.
struct Watched {
    disk: Memory,
    read_only: bool,
    flushes: Arc<Mutex<u32>>,
}

impl Watched {
    fn writable(&self) -> io::Result<()> {
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

impl Disk for Watched {
    fn sectors(&self) -> u64 {
        self.disk.sectors()
    }
    fn is_read_only(&self) -> bool {
        self.read_only
    }
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.read(sector, buffer)
    }
    fn write(&mut self, sector: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        self.disk.write(sector, bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        *self.flushes.lock() += 1;
        Ok(())
    }
    fn write_zeroes(&mut self, sectors: Range<u64>, unmap: Unmap) -> io::Result<()> {
        self.writable()?;
        self.disk.write_zeroes(sectors, unmap)
    }
    fn discard(&mut self, sectors: Range<u64>) -> io::Result<()> {
        self.writable()?;
        self.disk.discard(sectors)
    }
    fn id(&self) -> &str {
        ""
    }
}

#[test]
fn a_read_only_disk_says_so() {
    let disk =
        Watched { disk: Memory::new(vec![1; 512]), read_only: true, flushes: Arc::default() };
    let mut driver = Driver::ready(Box::new(Blk::new(Box::new(disk))), 1 << 5);
    driver.write(DATA, &[0; 512]);
    assert_eq!(request(&mut driver, 1, 0, &[(DATA, 512, false)]), 1);
    assert_eq!(request(&mut driver, 13, 0, &[(DATA, 16, false)]), 1);
    assert_eq!(request(&mut driver, 0, 0, &[(DATA, 512, true)]), 0);
    assert_eq!(driver.read(DATA, 1), [1]);
}

#[test]
fn an_entropy_device_fills_buffers() {
    let mut driver = Driver::ready(Box::new(Rng::new()), 0);
    driver.offer(0, &[(DATA, 64, true), (DATA + 0x1000, 6000, true)]);
    driver.notify(0);
    assert_eq!(driver.used(0), (0, 4096));
    assert!(driver.read(DATA, 64).iter().any(|byte| *byte != 0));
    driver.offer(0, &[(DATA, 64, false)]);
    driver.notify(0);
    assert_eq!(driver.used(0).1, 0);
}

#[test]
fn a_console_prints_and_listens() {
    let output = Arc::new(Mutex::new(Vec::new()));
    let sink = output.clone();
    let print = Box::new(move |bytes: &[u8]| sink.lock().extend_from_slice(bytes));
    let (console, input) = Console::new(80, 25, print);
    assert_eq!(input.receive(b"early"), 5);
    let mut driver = Driver::ready(Box::new(console), 1);
    assert_eq!((driver.get(DEVICE, 2), driver.get(DEVICE + 2, 2)), (80, 25));
    driver.write(DATA, b"hello, world");
    driver.offer(1, &[(DATA, 7, false), (DATA + 7, 5, false)]);
    driver.notify(1);
    driver.used(1);
    assert_eq!(*output.lock(), b"hello, world");
    driver.offer(0, &[(DATA, 100, true)]);
    driver.offer(0, &[(DATA + 0x100, 3, true)]);
    driver.offer(0, &[(DATA + 0x200, 3, true)]);
    driver.notify(0);
    // What was typed before the driver came was forgotten when it reset the device.
    assert_eq!(input.receive(b"ab"), 2);
    assert_eq!((driver.used(0), driver.read(DATA, 2)), ((0, 2), b"ab".to_vec()));
    assert_eq!(input.receive(b"12345"), 5);
    assert_eq!((driver.used(0), driver.used(0)), ((1, 3), (2, 2)));
    assert_eq!(driver.read(DATA + 0x200, 2), b"45");
    assert_eq!(input.receive(&[0; 5000]), 4096);
}

/// A wire whose other end is the test's.
#[derive(Clone, Default)]
struct Cable(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    to_guest: VecDeque<Vec<u8>>,
    from_guest: Vec<Vec<u8>>,
    wake: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Wire for Cable {
    fn send(&mut self, frame: &[u8]) {
        self.0.lock().from_guest.push(frame.to_vec());
    }
    fn receive(&mut self) -> Option<Vec<u8>> {
        self.0.lock().to_guest.pop_front()
    }
    fn on_arrival(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.0.lock().wake = Some(wake);
    }
}

impl Cable {
    fn arrive(&self, frame: &[u8]) {
        let mut ends = self.0.lock();
        ends.to_guest.push_back(frame.to_vec());
        if let Some(wake) = &ends.wake {
            wake();
        }
    }
}

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

#[test]
fn a_network_device_carries_frames() {
    let cable = Cable::default();
    let mut driver = Driver::ready(Box::new(Net::new(MAC, Box::new(cable.clone()))), 1 << 5);
    assert_eq!(driver.get(DEVICE, 8), 0x0001_5634_1200_5452);
    driver.write(DATA, &[0; 12]);
    driver.write(DATA + 12, b"frame");
    driver.offer(1, &[(DATA, 12, false), (DATA + 12, 5, false)]);
    driver.offer(1, &[(DATA, 15, false)]);
    driver.offer(1, &[(DATA, 11, false)]); // not even a header
    driver.notify(1);
    for _ in 0..3 {
        driver.used(1);
    }
    assert_eq!(cable.0.lock().from_guest, [b"frame".to_vec(), b"fra".to_vec()]);
    // A frame waits for a buffer; one that is too small loses it.
    cable.arrive(b"first");
    cable.arrive(b"second");
    std::thread::sleep(Duration::from_millis(2));
    assert!(driver.is_quiet(0));
    driver.offer(0, &[(DATA, 12, true), (DATA + 0x100, 100, true)]);
    driver.offer(0, &[(DATA + 0x200, 14, true)]);
    driver.offer(0, &[(DATA + 0x300, 100, true)]);
    driver.notify(0);
    assert_eq!((driver.used(0), driver.used(0)), ((0, 17), (2, 0)));
    assert_eq!(
        (driver.read(DATA + 10, 2), driver.read(DATA + 0x100, 5)),
        (vec![1, 0], b"first".to_vec())
    );
    cable.arrive(b"third");
    assert_eq!(driver.used(0), (3, 17));
    assert_eq!(driver.read(DATA + 0x30c, 5), b"third");
}

#[test]
fn a_frame_goes_to_several_buffers() {
    let cable = Cable::default();
    let mut driver = Driver::ready(Box::new(Net::new(MAC, Box::new(cable.clone()))), 1 << 15);
    driver.offer(0, &[(DATA, 16, true)]);
    driver.offer(0, &[(DATA + 0x100, 16, true)]);
    driver.notify(0);
    let frame: Vec<u8> = (0..40).collect();
    cable.arrive(&frame);
    std::thread::sleep(Duration::from_millis(2));
    assert!(driver.is_quiet(0));
    driver.offer(0, &[(DATA + 0x200, 100, true)]);
    driver.notify(0);
    let used = [(); 3].map(|()| driver.used(0));
    assert_eq!(used, [(0, 16), (1, 16), (2, 20)]);
    assert_eq!(driver.read(DATA + 10, 6), [3, 0, 0, 1, 2, 3]);
    assert_eq!(driver.read(DATA + 0x200, 20), frame[20..]);
}

#[test]
fn a_reset_forgets() {
    let cable = Cable::default();
    let mut driver = Driver::ready(Box::new(Net::new(MAC, Box::new(cable.clone()))), 0);
    for _ in 0..20 {
        cable.arrive(b"old");
        driver.notify(0);
        driver.notify(1);
        driver.initialize(0);
        driver.offer(0, &[(DATA, 100, true)]);
        driver.notify(0);
        cable.arrive(b"new");
        assert_eq!((driver.used(0), driver.read(DATA + 12, 3)), ((0, 15), b"new".to_vec()));
    }
}

#[test]
fn the_gateway_answers_through_the_rings() {
    let network = mynah_net::Options::new().restricted(true).start();
    let network = network.unwrap_or_else(|error| panic!("{error}"));
    let mut driver = Driver::ready(Box::new(Net::new(MAC, Box::new(network))), 1 << 15);
    driver.offer(0, &[(DATA + 0x1000, 1600, true)]);
    driver.notify(0);
    let mut frame = vec![0xff; 6];
    frame.extend(MAC);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(MAC);
    frame.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    driver.write(DATA, &[0; 12]);
    driver.write(DATA + 12, &frame);
    driver.offer(1, &[(DATA, 12 + frame.len() as u32, false)]);
    driver.notify(1);
    assert_eq!(driver.used(0), (0, 12 + 42));
    let answer = driver.read(DATA + 0x1000 + 12, 42);
    assert_eq!(
        (&answer[..6], &answer[20..22], &answer[28..32]),
        (&MAC[..], &[0, 2][..], &[10, 0, 2, 2][..])
    );
}

#[test]
fn what_is_written_lasts_for_drivers_that_do_not_flush() {
    let flushes = Arc::new(Mutex::new(0));
    let make = || {
        let disk = Memory::new(vec![0; 4096]);
        Box::new(Blk::new(Box::new(Watched { disk, read_only: false, flushes: flushes.clone() })))
    };
    for (features, expected) in [(0, 1), (1 << 9, 0)] {
        *flushes.lock() = 0;
        let mut driver = Driver::ready(make(), features);
        assert_eq!(request(&mut driver, 1, 0, &[(DATA, 512, false)]), 0);
        assert_eq!(*flushes.lock(), expected);
        // The last one is at the end.
        drop(driver);
        let start = Instant::now();
        while *flushes.lock() != expected + 1 {
            assert!(start.elapsed() < PATIENCE, "no last flush");
            std::thread::yield_now();
        }
    }
}
