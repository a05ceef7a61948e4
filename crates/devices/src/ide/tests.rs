//! Tests of the controller, as a driver would use it.

use super::*;
use mynah_bus::Pins;
use mynah_disk::{Memory, SECTOR};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const BSY: u8 = 0x80;
const DRQ: u8 = 0x08;
const ERR: u8 = 0x01;
const READY: u8 = 0x50;

const PRIMARY: Unit = Unit { channel: 0, drive: 0 };
const SLAVE: Unit = Unit { channel: 0, drive: 1 };

/// Counts the interrupts of both channels.
#[derive(Default)]
struct Count([AtomicU32; 2]);

impl Pins for Count {
    fn set(&self, pin: u32, level: bool) {
        if level {
            self.0[pin as usize].fetch_add(1, Ordering::SeqCst);
        }
    }
}

struct Rig {
    ide: Ide,
    ram: Ram,
    command: Shared,
    control: Shared,
    count: Arc<Count>,
}

/// A disk whose sectors hold their number's low byte.
fn disk(sectors: usize) -> Attached {
    let bytes = (0..sectors).flat_map(|at| [at as u8; SECTOR]).collect();
    Attached::Disk(Box::new(Memory::new(bytes)))
}

fn rig() -> Rig {
    let ram = Ram::flat(4 << 20).expect("RAM");
    let count = Arc::new(Count::default());
    let lines = [0, 1].map(|pin| IrqLine::new(count.clone(), pin));
    let mut ide = Ide::new(&ram, lines);
    ide.attach(PRIMARY, disk(5000));
    let disc = Memory::new((0..100_u8).flat_map(|block| [block; 2048]).collect());
    ide.attach(SLAVE, Attached::Cdrom(Some(Box::new(disc))));
    ide.config().write(reg::COMMAND, 2, 5);
    let (command, control) = (ide.command_block(0), ide.control_block(0));
    Rig { ide, ram, command, control, count }
}

impl Rig {
    fn get(&self, register: u64) -> u8 {
        self.command.lock().read(register, 1) as u8
    }

    fn set(&self, register: u64, value: u8) {
        self.command.lock().write(register, 1, value.into());
    }

    /// Waits until the drive is not busy. Its status.
    fn wait(&self) -> u8 {
        let start = Instant::now();
        loop {
            let status = self.control.lock().read(0, 1) as u8;
            if status & BSY == 0 {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "busy for ever");
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Interrupts of the first channel since the last time; reading status acknowledges.
    fn interrupts(&self) -> u32 {
        self.get(7);
        self.count.0[0].swap(0, Ordering::SeqCst)
    }

    /// Gives a command with a 28-bit address. The status when it needs something, or is done.
    fn short(&self, code: u8, sector: u32, count: u8) -> u8 {
        self.issue(code, sector, count);
        self.wait()
    }

    fn issue(&self, code: u8, sector: u32, count: u8) {
        let [a, b, c, d] = sector.to_le_bytes();
        for (register, value) in [(6, 0xe0 | d), (2, count), (3, a), (4, b), (5, c), (7, code)] {
            self.set(register, value);
        }
    }

    fn ext(&self, code: u8, sector: u64, count: u16) -> u8 {
        self.set(6, 0xe0);
        let b = sector.to_le_bytes();
        let [low, high] = count.to_le_bytes();
        for (register, before, now) in [(2, high, low), (3, b[3], b[0]), (4, b[4], b[1])] {
            self.set(register, before);
            self.set(register, now);
        }
        self.set(5, b[5]);
        self.set(5, b[2]);
        self.set(7, code);
        self.wait()
    }

    fn data(&self, bytes: usize) -> Vec<u8> {
        let mut port = self.command.lock();
        (0..bytes / 2).flat_map(|_| (port.read(0, 2) as u16).to_le_bytes()).collect()
    }

    fn give(&self, bytes: &[u8]) {
        let mut port = self.command.lock();
        for word in bytes.chunks(4) {
            let word = word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            port.write(0, 4, word);
        }
    }

    /// Sends a packet, with the guest's limit of bytes; 0 for DMA.
    fn packet(&self, limit: u16, packet: &[u8]) -> u8 {
        let [low, high] = limit.to_le_bytes();
        for (register, value) in
            [(6, 0xb0), (1, u8::from(limit == 0)), (4, low), (5, high), (7, 0xa0)]
        {
            self.set(register, value);
        }
        assert_eq!((self.wait(), self.get(2)), (READY | DRQ, 1));
        let mut all = [0; 12];
        all[..packet.len()].copy_from_slice(packet);
        self.give(&all);
        self.wait()
    }

    /// Reads all that a packet command has to say.
    fn reply(&self, limit: u16, packet: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut status = self.packet(limit, packet);
        while status & DRQ != 0 {
            assert_eq!(self.get(2), 2);
            let n = u16::from_le_bytes([self.get(4), self.get(5)]);
            assert!(n > 0 && n <= limit);
            bytes.extend(self.data(n.next_multiple_of(2).into()));
            status = self.wait();
        }
        assert_eq!((status, self.get(2)), (READY, 3), "{packet:x?}");
        bytes
    }

    /// Fails with this sense.
    fn refused(&self, packet: &[u8], sense: [u8; 3]) {
        assert_eq!(self.packet(2048, packet), READY | ERR, "{packet:x?}");
        assert_eq!(self.get(1), sense[0] << 4 | 4);
        let bytes = self.reply(2048, &[3, 0, 0, 0, 18]);
        assert_eq!([bytes[2], bytes[12], bytes[13]], sense, "{packet:x?}");
    }

    /// A table of regions at 1000h; the bus master starts in the direction of `bmic`.
    fn start(&mut self, bmic: u8, regions: &[(u32, u16)]) {
        for (at, (address, count)) in regions.iter().enumerate() {
            let last = if at + 1 == regions.len() { 0x8000_0000_u32 } else { 0 };
            let entry = [address.to_le_bytes(), (u32::from(*count) | last).to_le_bytes()].concat();
            self.ram.write(0x1000 + at as u64 * 8, &entry).expect("RAM");
        }
        self.ide.write(4, 4, 4, 0x1000);
        self.ide.write(4, 2, 1, 6);
        self.ide.write(4, 0, 1, u64::from(bmic));
        self.ide.write(4, 0, 1, u64::from(bmic | 1));
    }

    /// Waits for the bus master's interrupt, and stops it. Its status.
    fn stop(&mut self) -> u8 {
        self.wait();
        let status = self.ide.read(4, 2, 1) as u8;
        self.ide.write(4, 0, 1, 0);
        self.ide.write(4, 2, 1, 6);
        status & 7
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at * 2], bytes[at * 2 + 1]])
}

#[test]
fn drives_identify_themselves() {
    let rig = rig();
    assert_eq!(rig.short(0xec, 0, 0), READY | DRQ);
    let words = rig.data(512);
    assert_eq!((rig.wait(), rig.interrupts()), (READY, 1));
    assert_eq!(&words[54..64], b"YMAN HIDKS");
    assert_eq!((word(&words, 60), word(&words, 61), word(&words, 100)), (5000, 0, 5000));
    assert_eq!((word(&words, 1), word(&words, 3), word(&words, 6)), (4, 16, 63));
    assert_eq!(words.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    // A disk is not a packet device, and the other way round.
    assert_eq!(rig.short(0xa1, 0, 0), READY | ERR);
    assert_eq!(rig.get(1), 4);
    rig.set(6, 0xb0);
    rig.set(7, 0xec);
    assert_eq!((rig.wait() & ERR, rig.get(4), rig.get(5)), (ERR, 0x14, 0xeb));
    rig.set(7, 0xa1);
    assert_eq!(rig.wait(), READY | DRQ);
    assert_eq!(word(&rig.data(512), 0), 0x85c0);
    // The other channel is empty.
    let empty = rig.ide.command_block(1);
    empty.lock().write(2, 1, 0x55);
    assert_eq!([2, 7].map(|at| empty.lock().read(at, 1)), [0, 0]);
}

#[test]
fn resets_show_signatures() {
    let rig = rig();
    rig.short(0x20, 3, 1);
    rig.control.lock().write(0, 1, 4);
    assert_eq!(rig.control.lock().read(0, 1), u64::from(BSY));
    rig.control.lock().write(0, 1, 0);
    let signature = |rig: &Rig| [1, 2, 3, 4, 5, 7].map(|at| rig.get(at));
    assert_eq!(signature(&rig), [1, 1, 1, 0, 0, READY]);
    rig.set(6, 0xb0);
    assert_eq!(signature(&rig), [1, 1, 1, 0x14, 0xeb, 0]);
    rig.set(6, 0xa0);
    rig.interrupts();
    rig.set(7, 0x90);
    assert_eq!((rig.wait(), rig.get(1), rig.interrupts()), (READY, 1, 1));
}

#[test]
fn sectors_are_read_by_the_data_register() {
    let rig = rig();
    assert_eq!(rig.short(0x20, 7, 3), READY | DRQ);
    for sector in 7..10 {
        assert_eq!((rig.interrupts(), rig.wait()), (1, READY | DRQ));
        assert_eq!(rig.data(512), [sector; 512]);
    }
    assert_eq!((rig.wait(), rig.interrupts()), (READY, 0));
    // A whole chunk and more, in blocks of 16.
    assert_eq!(rig.ext(0x29, 0x102, 600), READY | DRQ);
    let mut seen = Vec::new();
    while rig.wait() & DRQ != 0 {
        let left = (600 - seen.len() / 512).min(16);
        rig.get(7);
        seen.extend(rig.data(left * 512));
    }
    assert!(seen.chunks(512).zip(2_usize..).all(|(bytes, at)| bytes == [at as u8; 512]));
    assert_eq!((seen.len(), rig.interrupts()), (600 * 512, 38));
    // By cylinder, head and sector: 1/2/3 is (1 * 16 + 2) * 63 + 2.
    for (register, value) in [(6, 0xa2), (2, 1), (3, 3), (4, 1), (5, 0), (7, 0x20)] {
        rig.set(register, value);
    }
    assert_eq!(rig.wait(), READY | DRQ);
    assert_eq!(rig.data(512), [((16 + 2) * 63 + 2) as u8; 512]);
    // Beyond the end.
    for (code, sector, count) in [(0x20, 4999, 2), (0xc4, 5000, 1), (0x40, 4900, 101)] {
        assert_eq!((rig.short(code, sector, count), rig.get(1)), (READY | ERR, 0x10));
    }
    assert_eq!((rig.short(0x40, 4900, 100), rig.short(0x70, 1, 1)), (READY, READY));
    assert_eq!((rig.ext(0x24, u64::MAX, 1), rig.get(1)), (READY | ERR, 0x10));
}

#[test]
fn sectors_are_written_by_the_data_register() {
    let rig = rig();
    assert_eq!((rig.short(0x30, 100, 2), rig.interrupts()), (READY | DRQ, 0));
    rig.give(&[0xaa; 512]);
    assert_eq!((rig.wait(), rig.interrupts()), (READY | DRQ, 1));
    rig.give(&[0xbb; 512]);
    assert_eq!((rig.wait(), rig.interrupts()), (READY, 1));
    assert_eq!(rig.ext(0xce, 102, 1), READY | DRQ);
    rig.give(&[0xcc; 512]);
    assert_eq!(rig.wait(), READY);
    assert_eq!((rig.short(0xe7, 0, 0), rig.ext(0xea, 0, 0)), (READY, READY));
    assert_eq!(rig.short(0x20, 99, 5), READY | DRQ);
    let seen = [(); 5].map(|()| {
        rig.wait();
        rig.data(512)[511]
    });
    assert_eq!(seen, [99, 0xaa, 0xbb, 0xcc, 103]);
}

#[test]
fn settings_are_checked() {
    let rig = rig();
    let features = |feature, count| {
        rig.set(1, feature);
        rig.short(0xef, 0, count)
    };
    assert_eq!(features(3, 0x22), READY);
    assert_eq!(features(0x82, 0), READY);
    assert_eq!((features(3, 0x47), features(0x99, 0)), (READY | ERR, READY | ERR));
    assert_eq!((rig.short(0xc6, 0, 8), rig.short(0xc6, 0, 3)), (READY, READY | ERR));
    assert_eq!(rig.short(0xec, 0, 0), READY | DRQ);
    let words = rig.data(512);
    assert_eq!((word(&words, 63), word(&words, 88) >> 8, word(&words, 59)), (0x407, 0, 0x108));
    assert_eq!(word(&words, 85) & 1 << 5, 0);
    assert_eq!((rig.short(0xe5, 0, 0), rig.get(2)), (READY, 0xff));
    assert_eq!((rig.short(0xf8, 0, 0), rig.get(3), rig.get(4)), (READY, 0x87, 0x13));
    assert_eq!(rig.short(0xff, 0, 0), READY | ERR);
}

#[test]
fn interrupts_can_be_disabled() {
    let rig = rig();
    rig.control.lock().write(0, 1, 2);
    rig.short(0xe7, 0, 0);
    assert_eq!(rig.count.0[0].load(Ordering::SeqCst), 0);
    rig.control.lock().write(0, 1, 0);
    assert_eq!((rig.interrupts(), rig.interrupts()), (1, 0));
}

#[test]
fn the_bus_master_moves_sectors() {
    let mut rig = rig();
    rig.issue(0xc8, 10, 4);
    rig.start(8, &[(0x2000, 1024), (0x5000, 512), (0x3ffe, 512)]);
    rig.wait();
    assert_eq!((rig.stop(), rig.interrupts()), (4, 1));
    let at = |pa| {
        let mut byte = [0];
        rig.ram.read(pa, &mut byte).expect("RAM");
        byte[0]
    };
    let seen = [0x2000, 0x23ff, 0x2400, 0x5000, 0x51ff, 0x3ffe, 0x41fd, 0x41fe].map(at);
    assert_eq!(seen, [10, 11, 0, 12, 12, 13, 13, 0]);
    // Started before the command, a table with room to spare, and more than one chunk.
    rig.start(8, &[(0x10_0000, 0), (0x11_0000, 0), (0x12_0000, 0), (0x13_0000, 0), (0x14_0000, 0)]);
    assert_eq!(rig.ext(0x25, 0, 600), READY);
    assert_eq!(rig.stop(), 5);
    // And back to another place.
    rig.start(0, &[(0x10_0000, 0), (0x11_0000, 0), (0x12_0000, 0), (0x13_0000, 0), (0x14_0000, 0)]);
    assert_eq!(rig.ext(0x35, 1001, 600), READY);
    assert_eq!(rig.stop(), 5);
    assert_eq!(rig.short(0x20, 1001 + 599, 2), READY | DRQ);
    assert_eq!(rig.data(512), [599_u32 as u8; 512]);
    rig.wait();
    assert_eq!(rig.data(512), [1601_u32 as u8; 512]);
}

#[test]
fn bad_tables_stop_the_bus_master() {
    let mut rig = rig();
    // Too short: the drive keeps waiting, until it is reset.
    rig.issue(0xc8, 0, 0);
    rig.start(8, &[(0x2000, 512)]);
    let start = Instant::now();
    while rig.ide.read(4, 2, 1) & 1 != 0 && start.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    assert_eq!(rig.ide.read(4, 2, 1) & 7, 0);
    assert_eq!(rig.control.lock().read(0, 1) as u8, BSY);
    rig.ide.write(4, 0, 1, 0);
    rig.control.lock().write(0, 1, 4);
    rig.control.lock().write(0, 1, 0);
    assert_eq!(rig.wait(), READY);
    // Not RAM.
    rig.start(8, &[(0x7000_0000, 512)]);
    assert_eq!((rig.short(0xc8, 0, 1), rig.get(1)), (READY | ERR, 4));
    assert_eq!(rig.stop(), 6);
    // A function that may not be a bus master does not start.
    rig.ide.config().write(reg::COMMAND, 2, 1);
    rig.start(8, &[(0x2000, 512)]);
    assert_eq!(rig.ide.read(4, 2, 1) & 1, 0);
}

#[test]
fn a_cdrom_drive_answers_packets() {
    let rig = rig();
    // A new drive has something to say first, but not to INQUIRY.
    let inquiry = rig.reply(2048, &[0x12, 0, 0, 0, 36]);
    assert_eq!((inquiry.len(), inquiry[0], &inquiry[8..13]), (36, 5, &b"MYNAH"[..]));
    rig.refused(&[0], [6, 0x29, 0]);
    assert_eq!(rig.packet(2048, &[0]), READY);
    assert_eq!(rig.reply(8, &[0x25]), [0, 0, 0, 99, 0, 0, 8, 0]);
    let toc = rig.reply(2048, &[0x43, 2, 0, 0, 0, 0, 0, 0, 100]);
    assert_eq!(toc, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x14, 0xaa, 0, 0, 0, 3, 25]);
    assert_eq!(rig.reply(2048, &[0x43, 0, 2, 0, 0, 0, 0, 0, 100]).len(), 4 + 44);
    let capabilities = rig.reply(2048, &[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64]);
    assert_eq!(
        (capabilities.len(), &capabilities[..3], capabilities[8]),
        (28, &[0, 26, 1][..], 0x2a)
    );
    let features = rig.reply(2048, &[0x46, 0, 0, 0, 0, 0, 0, 0, 64]);
    assert_eq!((features.len(), features[3], features[7]), (40, 36, 8));
    assert_eq!(rig.reply(2048, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])[3..6], [0x10, 0, 2]);
    rig.refused(&[0xff], [5, 0x20, 0]);
    rig.refused(&[0x43, 0, 9, 0, 0, 0, 0, 0, 8], [5, 0x24, 0]);
    rig.refused(&[0x28, 0, 0, 0, 0, 100, 0, 0, 1], [5, 0x21, 0]);
    rig.refused(&[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff], [5, 0x21, 0]);
}

#[test]
fn a_cdrom_drive_reads() {
    let mut rig = rig();
    rig.refused(&[0], [6, 0x29, 0]);
    let blocks = |bytes: &[u8]| bytes.chunks(2048).map(|block| block[0]).collect::<Vec<_>>();
    assert_eq!(blocks(&rig.reply(2048, &[0x28, 0, 0, 0, 0, 40, 0, 0, 3])), [40, 41, 42]);
    assert_eq!(blocks(&rig.reply(1000, &[0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 2])), [9, 10]);
    assert_eq!(blocks(&rig.reply(0xffff, &[0xbe, 0, 0, 0, 0, 1, 0, 0, 1, 0x10])), [1]);
    assert_eq!(rig.packet(2048, &[0x28, 0, 0, 0, 0, 1, 0, 0, 0]), READY);
    rig.start(8, &[(0x1_0000, 4096), (0x2_0000, 4096)]);
    rig.interrupts();
    assert_eq!(rig.packet(0, &[0x28, 0, 0, 0, 0, 96, 0, 0, 4]), READY);
    assert_eq!((rig.stop(), rig.interrupts(), rig.get(2)), (4, 1, 3));
    let mut byte = [0; 2];
    rig.ram.read(0x2_07ff, &mut byte).expect("RAM");
    assert_eq!(byte, [98, 99]);
}

#[test]
fn discs_come_and_go() {
    let mut rig = rig();
    rig.refused(&[0], [6, 0x29, 0]);
    assert_eq!(rig.packet(8, &[0x1e, 0, 0, 0, 1]), READY);
    rig.refused(&[0x1b, 0, 0, 0, 2], [5, 0x53, 2]);
    assert_eq!(rig.packet(8, &[0x1e]), READY);
    assert_eq!(rig.packet(8, &[0x1b, 0, 0, 0, 2]), READY);
    rig.refused(&[0], [2, 0x3a, 0]);
    assert_eq!(rig.reply(8, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8])[4..6], [3, 1]);
    assert_eq!(rig.packet(8, &[0x1b, 0, 0, 0, 3]), READY);
    rig.refused(&[0], [6, 0x28, 0]);
    assert_eq!(rig.packet(8, &[0]), READY);
    assert!(rig.ide.change_disc(SLAVE, None));
    rig.refused(&[0], [6, 0x28, 0]);
    rig.refused(&[0x25], [2, 0x3a, 0]);
    assert!(rig.ide.change_disc(SLAVE, Some(Box::new(Memory::new(vec![7; 4096])))));
    rig.refused(&[0], [6, 0x28, 0]);
    assert_eq!(rig.reply(4096, &[0x28, 0, 0, 0, 0, 1, 0, 0, 1]), [7; 2048]);
    assert!(!rig.ide.change_disc(PRIMARY, None));
}

#[test]
fn a_reset_gives_up_what_is_being_done() {
    let mut rig = rig();
    for _ in 0..50 {
        rig.start(8, &[(0x2000, 0)]);
        for (register, value) in [(6, 0xe0), (2, 128), (3, 0), (4, 0), (5, 0), (7, 0xc8)] {
            rig.set(register, value);
        }
        rig.control.lock().write(0, 1, 4);
        rig.control.lock().write(0, 1, 0);
        assert_eq!(rig.wait(), READY);
        Function::reset(&mut rig.ide);
        assert_eq!((rig.wait(), rig.ide.read(4, 0, 8)), (READY, 0));
    }
}
