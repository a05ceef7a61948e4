//! A channel: the registers of its two drives, and the state machine by which commands move data
//! (ATA/ATAPI-6, chapters 7 and 9).

use super::ata::Ata;
use super::atapi::Cd;
use super::master::{self, Master, Stop};
use super::worker::{Job, Jobs, Task};
use super::{Unit, ata};
use mynah_bus::{IrqLine, Ram, ones, read_bytes, write_bytes};
use mynah_disk::{Disk, SECTOR};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

/// Bits of the status register.
pub(super) mod status {
    pub(crate) const BSY: u8 = 1 << 7;
    pub(crate) const DRDY: u8 = 1 << 6;
    pub(crate) const DSC: u8 = 1 << 4;
    pub(crate) const DRQ: u8 = 1 << 3;
    pub(crate) const ERR: u8 = 1 << 0;
    pub(crate) const READY: u8 = DRDY | DSC;
}

/// Bits of the error register.
pub(super) mod error {
    pub(crate) const UNC: u8 = 1 << 6;
    pub(crate) const IDNF: u8 = 1 << 4;
    pub(crate) const ABRT: u8 = 1 << 2;
}

/// Bits of the device register.
pub(super) const LBA: u8 = 1 << 6;
const DEV: u8 = 1 << 4;
/// Bits that read as ones.
const OBSOLETE: u8 = 0xa0;

/// Bits of the device control register.
const HOB: u8 = 1 << 7;
const SRST: u8 = 1 << 2;
const NIEN: u8 = 1 << 1;

/// Bits of the interrupt reason, which is in the sector count register.
const CD: u8 = 1 << 0;
const IO: u8 = 1 << 1;

/// At most as many sectors are moved between two visits to the worker.
const CHUNK: u64 = 512;

/// A register of two bytes deep: what was written last, and before.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Deep {
    pub(super) now: u8,
    pub(super) before: u8,
}

impl Deep {
    pub(super) fn write(&mut self, value: u8) {
        *self = Deep { now: value, before: self.now };
    }

    fn read(self, hob: bool) -> u8 {
        if hob { self.before } else { self.now }
    }
}

/// The command block registers of a drive.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Registers {
    pub(super) features: Deep,
    pub(super) error: u8,
    pub(super) count: Deep,
    pub(super) low: Deep,
    pub(super) mid: Deep,
    pub(super) high: Deep,
    pub(super) device: u8,
    pub(super) status: u8,
}

/// What kind of drive.
pub(super) enum Kind {
    Disk(Ata),
    Cdrom(Cd),
}

/// A drive.
pub(super) struct Drive {
    pub(super) kind: Kind,
    pub(super) regs: Registers,
}

impl Drive {
    pub(super) fn disk(disk: &dyn Disk, unit: Unit) -> Drive {
        Drive { kind: Kind::Disk(Ata::new(disk, unit)), regs: Registers::default() }
    }

    pub(super) fn cdrom(disc: Option<&dyn Disk>, unit: Unit) -> Drive {
        Drive { kind: Kind::Cdrom(Cd::new(disc, unit)), regs: Registers::default() }
    }

    /// What a reset leaves: the signature that says which kind of drive this is.
    pub(super) fn signature(&mut self) {
        let cd = matches!(self.kind, Kind::Cdrom(_));
        let (mid, high) = if cd { (0x14, 0xeb) } else { (0, 0) };
        let deep = |now| Deep { now, before: 0 };
        self.regs = Registers {
            error: 1,
            count: deep(1),
            low: deep(1),
            mid: deep(mid),
            high: deep(high),
            // A packet device is not ready before its first command.
            status: if cd { 0 } else { status::READY },
            ..Registers::default()
        };
    }
}

/// How data gets between a drive and memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// Through the data register, in blocks of so many bytes.
    Pio(usize),
    /// By the bus master.
    Dma,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// To the guest.
    In,
    /// From the guest.
    Out,
}

/// Data that a command moves.
#[derive(Debug)]
struct Transfer {
    direction: Direction,
    via: Via,
    /// It is that of a packet command.
    packet: bool,
    /// What is between the drive and the guest; what is before `at` has been moved.
    buffer: Vec<u8>,
    at: usize,
    /// Where the block that the guest is moving ends.
    end: usize,
    /// What is still to be asked of the disk, or to be given to it.
    sector: u64,
    left: u64,
    /// Written sectors are to last at once.
    through: bool,
}

/// What a channel is doing.
#[derive(Debug)]
enum Phase {
    Idle,
    /// A packet arrives: it, and how much of it.
    Packet([u8; 12], usize),
    /// The guest moves data by the data register.
    Pio(Transfer),
    /// The drive waits for the bus master.
    Master(Transfer),
    /// The worker is at it, perhaps for a transfer.
    Worker(Option<Transfer>),
}

/// What a command comes to.
pub(super) enum Outcome {
    /// It is done, with an interrupt.
    Done,
    /// It failed: what goes to the error register.
    Failed(u8),
    /// These bytes go to the guest.
    Reply(Vec<u8>, Via),
    /// Sectors go to the guest.
    Read { sector: u64, sectors: u64, via: Via },
    /// Sectors come from the guest.
    Write { sector: u64, sectors: u64, via: Via, through: bool },
    /// The disk is flushed.
    Flush,
    /// A packet is to be sent.
    Packet,
    /// Both drives diagnose themselves.
    Diagnose,
    /// The drive resets itself, without an interrupt.
    Reset,
}

/// What the guest can change of a channel, other than its drives.
struct State {
    selected: usize,
    control: u8,
    interrupt: bool,
    phase: Phase,
    /// The drive that the phase is of.
    at_work: usize,
    master: Master,
}

impl State {
    fn new() -> State {
        State {
            selected: 0,
            control: 0,
            interrupt: false,
            phase: Phase::Idle,
            at_work: 0,
            master: Master::default(),
        }
    }
}

/// A channel.
pub(super) struct Channel {
    state: State,
    drives: [Option<Drive>; 2],
    line: IrqLine,
    ram: Ram,
    jobs: Option<Jobs>,
    /// Jobs of earlier generations have been given up.
    generation: u64,
}

impl Channel {
    /// A channel without drives and without a worker.
    pub(super) fn new(ram: Ram, line: IrqLine) -> Arc<Mutex<Channel>> {
        Arc::new(Mutex::new(Channel {
            state: State::new(),
            drives: [None, None],
            line,
            ram,
            jobs: None,
            generation: 0,
        }))
    }

    /// Has jobs done by whoever receives them.
    pub(super) fn employ(&mut self, jobs: Jobs) {
        self.jobs = Some(jobs);
    }

    /// Ends the worker, when it is done with what it has.
    pub(super) fn close(&mut self) {
        self.jobs = None;
    }

    pub(super) fn attach(&mut self, at: usize, drive: Drive) {
        self.drives[at] = Some(drive);
        self.reset();
    }

    /// The CD-ROM drive at `at`, if there is one.
    pub(super) fn cdrom(&mut self, at: usize) -> Option<&mut Cd> {
        match &mut self.drives[at].as_mut()?.kind {
            Kind::Cdrom(cd) => Some(cd),
            Kind::Disk(_) => None,
        }
    }

    /// Reset by the bus.
    pub(super) fn reset(&mut self) {
        self.state = State::new();
        self.generation += 1;
        for drive in self.drives.iter_mut().flatten() {
            match &mut drive.kind {
                Kind::Disk(disk) => disk.reset(ata::ResetBy::Power),
                Kind::Cdrom(cd) => cd.reset(),
            }
            drive.signature();
        }
        self.update_irq();
    }

    /// Reset by the SRST bit.
    fn soft_reset(&mut self) {
        self.give_up();
        self.state.selected = 0;
        for drive in self.drives.iter_mut().flatten() {
            match &mut drive.kind {
                Kind::Disk(disk) => disk.reset(ata::ResetBy::Software),
                Kind::Cdrom(_) => {}
            }
            drive.signature();
        }
    }

    /// Drops what is being done.
    fn give_up(&mut self) {
        self.generation += 1;
        self.state.phase = Phase::Idle;
        self.state.interrupt = false;
    }

    fn update_irq(&self) {
        self.line.set(self.state.interrupt && self.state.control & NIEN == 0);
    }

    fn interrupt(&mut self) {
        self.state.interrupt = true;
        self.state.master.bmis |= master::INTERRUPT;
        self.update_irq();
    }

    // Registers.

    /// Reads a register of the command block other than the data register.
    pub(super) fn read_register(&mut self, offset: u64) -> u8 {
        let hob = self.state.control & HOB != 0;
        let Some(drive) = &self.drives[self.state.selected] else { return 0 };
        let regs = &drive.regs;
        match offset {
            1 => regs.error,
            2 => regs.count.read(hob),
            3 => regs.low.read(hob),
            4 => regs.mid.read(hob),
            5 => regs.high.read(hob),
            6 => regs.device | OBSOLETE | if self.state.selected == 1 { DEV } else { 0 },
            7 => {
                let status = self.alternate_status();
                self.state.interrupt = false;
                self.update_irq();
                status
            }
            _ => 0xff,
        }
    }

    /// The status register, read without acknowledging the interrupt. Where no drive is, nothing
    /// but zeros is read.
    pub(super) fn alternate_status(&self) -> u8 {
        let Some(drive) = &self.drives[self.state.selected] else { return 0 };
        if self.state.control & SRST != 0 { status::BSY } else { drive.regs.status }
    }

    /// Writes a register of the command block other than the data register.
    pub(super) fn write_register(&mut self, offset: u64, value: u8) {
        self.state.control &= !HOB;
        if offset == 7 {
            self.command(value);
            return;
        }
        if self.is_busy() || self.state.control & SRST != 0 {
            return;
        }
        // Both drives listen.
        for drive in self.drives.iter_mut().flatten() {
            let regs = &mut drive.regs;
            match offset {
                1 => regs.features.write(value),
                2 => regs.count.write(value),
                3 => regs.low.write(value),
                4 => regs.mid.write(value),
                5 => regs.high.write(value),
                6 => regs.device = value & !DEV,
                _ => {}
            }
        }
        if offset == 6 {
            self.state.selected = usize::from(value & DEV != 0);
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self.state.phase, Phase::Worker(_) | Phase::Master(_))
    }

    /// Writes the device control register.
    pub(super) fn write_control(&mut self, value: u8) {
        let was = std::mem::replace(&mut self.state.control, value);
        if value & SRST != 0 && was & SRST == 0 {
            self.soft_reset();
        }
        self.update_irq();
    }

    /// Reads the bus master's registers.
    pub(super) fn read_master(&self, offset: u64, bytes: u8) -> u64 {
        read_bytes(offset, bytes, |at| self.state.master.read(at))
    }

    /// Writes the bus master's registers; it does not start unless it `may`.
    pub(super) fn write_master(&mut self, offset: u64, bytes: u8, value: u64, may: bool) {
        let mut starts = false;
        write_bytes(offset, bytes, value, |at, byte| {
            let byte = if at == 0 && !may { byte & !master::START } else { byte };
            starts |= self.state.master.write(at, byte);
        });
        if starts && let Phase::Master(_) = self.state.phase {
            let Phase::Master(transfer) = self.take_phase() else { return };
            self.master(transfer);
        }
    }

    // Commands.

    /// Writes the command register.
    fn command(&mut self, code: u8) {
        let selected = self.state.selected;
        let Some(drive) = &mut self.drives[selected] else { return };
        const DEVICE_RESET: u8 = 0x08;
        let is_reset = code == DEVICE_RESET && matches!(drive.kind, Kind::Cdrom(_));
        let busy = matches!(self.state.phase, Phase::Worker(_) | Phase::Master(_));
        if self.state.control & SRST != 0 || busy && !is_reset {
            return;
        }
        // A command ends one that was waiting for the guest.
        self.generation += 1;
        self.state.phase = Phase::Idle;
        self.state.interrupt = false;
        self.state.at_work = selected;
        drive.regs.error = 0;
        drive.regs.status = status::READY;
        let outcome = match &mut drive.kind {
            Kind::Disk(disk) => disk.command(code, &mut drive.regs),
            Kind::Cdrom(_) if is_reset => Outcome::Reset,
            Kind::Cdrom(cd) => cd.command(code, &mut drive.regs),
        };
        if let Outcome::Failed(_) = outcome
            && matches!(drive.kind, Kind::Cdrom(_))
            && matches!(code, 0xec | 0x20 | 0x21)
        {
            // These are how software that knows no packets finds out.
            drive.signature();
        }
        self.begin(outcome, false);
        self.update_irq();
    }

    fn begin(&mut self, outcome: Outcome, packet: bool) {
        let transfer = |direction, via, buffer: Vec<u8>, sector, left, through| Transfer {
            direction,
            via,
            packet,
            buffer,
            at: 0,
            end: 0,
            sector,
            left,
            through,
        };
        match outcome {
            Outcome::Done => self.finish(packet),
            Outcome::Failed(error) => self.fail(error, packet),
            Outcome::Reply(bytes, via) => {
                let transfer = transfer(Direction::In, via, bytes, 0, 0, false);
                if transfer.buffer.is_empty() { self.finish(packet) } else { self.offer(transfer) }
            }
            Outcome::Read { sector, sectors, via } => {
                let transfer = transfer(Direction::In, via, Vec::new(), sector, sectors, false);
                self.next(transfer);
            }
            Outcome::Write { sector, sectors, via, through } => {
                let transfer = transfer(Direction::Out, via, Vec::new(), sector, sectors, through);
                self.collect(transfer, false);
            }
            Outcome::Flush => self.submit(Job::Flush, None),
            Outcome::Packet => {
                self.state.phase = Phase::Packet([0; 12], 0);
                self.set_reason(CD, 0);
                self.set_status(status::READY | status::DRQ);
            }
            Outcome::Diagnose => {
                for drive in self.drives.iter_mut().flatten() {
                    drive.signature();
                }
                self.state.selected = 0;
                self.interrupt();
            }
            Outcome::Reset => {
                if let Some(drive) = &mut self.drives[self.state.at_work] {
                    drive.signature();
                }
            }
        }
    }

    fn regs(&mut self) -> Option<&mut Registers> {
        self.drives[self.state.at_work].as_mut().map(|drive| &mut drive.regs)
    }

    fn set_status(&mut self, status: u8) {
        if let Some(regs) = self.regs() {
            regs.status = status;
        }
    }

    /// Sets the interrupt reason, and the byte count of a packet command's block.
    fn set_reason(&mut self, reason: u8, bytes: usize) {
        if let Some(regs) = self.regs() {
            regs.count.now = reason;
            if bytes > 0 {
                regs.mid.now = bytes as u8;
                regs.high.now = (bytes >> 8) as u8;
            }
        }
    }

    fn take_phase(&mut self) -> Phase {
        std::mem::replace(&mut self.state.phase, Phase::Idle)
    }

    /// The command has been carried out.
    fn finish(&mut self, packet: bool) {
        self.state.phase = Phase::Idle;
        self.set_status(status::READY);
        if packet {
            self.set_reason(CD | IO, 0);
        }
        self.interrupt();
    }

    fn fail(&mut self, error: u8, packet: bool) {
        self.state.phase = Phase::Idle;
        if let Some(regs) = self.regs() {
            // What a packet device said after IDENTIFY DEVICE stays.
            regs.error = error;
            regs.status = status::READY | status::ERR;
        }
        if packet {
            self.set_reason(CD | IO, 0);
        }
        self.interrupt();
    }

    fn submit(&mut self, job: Job, transfer: Option<Transfer>) {
        self.set_status(status::BSY);
        let (drive, generation) = (self.state.at_work, self.generation);
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(Task { drive, generation, job }).is_ok());
        self.state.phase = Phase::Worker(transfer);
        if !sent {
            self.done(generation, Err(io::ErrorKind::NotConnected.into()));
        }
    }

    /// Asks for the next sectors to offer.
    fn next(&mut self, mut transfer: Transfer) {
        let sectors = transfer.left.min(CHUNK);
        let job = Job::Read { sector: transfer.sector, sectors: sectors as usize };
        transfer.sector += sectors;
        transfer.left -= sectors;
        self.submit(job, Some(transfer));
    }

    /// Makes room for the next sectors, and asks the guest for them.
    fn collect(&mut self, mut transfer: Transfer, interrupt: bool) {
        let sectors = transfer.left.min(CHUNK);
        transfer.buffer = vec![0; sectors as usize * SECTOR];
        transfer.at = 0;
        transfer.left -= sectors;
        match transfer.via {
            Via::Pio(_) => self.block(transfer, interrupt),
            Via::Dma => self.wait_for_master(transfer),
        }
    }

    /// Gives the guest what is in the buffer.
    fn offer(&mut self, transfer: Transfer) {
        match transfer.via {
            Via::Pio(_) => self.block(transfer, true),
            Via::Dma => self.wait_for_master(transfer),
        }
    }

    /// Begins a block of the buffer.
    fn block(&mut self, mut transfer: Transfer, interrupt: bool) {
        let Via::Pio(block) = transfer.via else { return };
        transfer.end = transfer.buffer.len().min(transfer.at + block.max(2));
        if transfer.packet {
            let reason = if transfer.direction == Direction::In { IO } else { 0 };
            self.set_reason(reason, transfer.end - transfer.at);
        }
        self.set_status(status::READY | status::DRQ);
        self.state.phase = Phase::Pio(transfer);
        if interrupt {
            self.interrupt();
        }
    }

    /// The guest has moved a block.
    fn moved(&mut self, transfer: Transfer) {
        if transfer.at < transfer.buffer.len() {
            self.block(transfer, true);
            return;
        }
        match transfer.direction {
            Direction::Out => self.store(transfer),
            Direction::In if transfer.left > 0 => self.next(transfer),
            Direction::In if transfer.packet => self.finish(true),
            // A disk has nothing more to say.
            Direction::In => {
                self.state.phase = Phase::Idle;
                self.set_status(status::READY);
            }
        }
    }

    /// Writes what is in the buffer.
    fn store(&mut self, mut transfer: Transfer) {
        let bytes = std::mem::take(&mut transfer.buffer);
        let (sector, through) = (transfer.sector, transfer.through);
        transfer.sector += (bytes.len() / SECTOR) as u64;
        self.submit(Job::Write { sector, bytes, through }, Some(transfer));
    }

    fn wait_for_master(&mut self, transfer: Transfer) {
        self.set_status(status::BSY);
        if self.state.master.is_active() {
            self.master(transfer);
        } else {
            self.state.phase = Phase::Master(transfer);
        }
    }

    /// The bus master moves what is in the buffer.
    fn master(&mut self, mut transfer: Transfer) {
        let master = &mut self.state.master;
        let moved = match transfer.direction {
            Direction::In => master.to_memory(&self.ram, &transfer.buffer),
            Direction::Out => master.from_memory(&self.ram, &mut transfer.buffer),
        };
        match moved {
            Ok(()) => {}
            Err(Stop::TableEnds) => {
                // The drive has more and the master is done: the guest sees neither an interrupt
                // nor activity, and resets.
                master.bmis &= !master::ACTIVE;
                self.state.phase = Phase::Master(transfer);
                return;
            }
            Err(Stop::Fault) => {
                master.bmis = master.bmis & !master::ACTIVE | master::ERROR;
                self.fail(error::ABRT, transfer.packet);
                return;
            }
        }
        match transfer.direction {
            Direction::Out => self.store(transfer),
            Direction::In if transfer.left > 0 => self.next(transfer),
            Direction::In => {
                self.state.master.end();
                self.finish(transfer.packet);
            }
        }
    }

    /// The worker has done a job of this generation.
    pub(super) fn done(&mut self, generation: u64, result: io::Result<Vec<u8>>) {
        if generation != self.generation || !matches!(self.state.phase, Phase::Worker(_)) {
            return;
        }
        let Phase::Worker(transfer) = self.take_phase() else { return };
        match (result, transfer) {
            (Ok(_), None) => self.finish(false),
            (Ok(bytes), Some(mut transfer)) => match transfer.direction {
                Direction::In => {
                    transfer.buffer = bytes;
                    transfer.at = 0;
                    self.offer(transfer);
                }
                Direction::Out if transfer.left > 0 => self.collect(transfer, true),
                Direction::Out => {
                    if transfer.via == Via::Dma {
                        self.state.master.end();
                    }
                    self.finish(transfer.packet);
                }
            },
            (Err(why), transfer) => {
                tracing::warn!("a disk request failed: {why}");
                if let Some(Transfer { via: Via::Dma, .. }) = transfer {
                    self.state.master.bmis &= !master::ACTIVE;
                }
                let at_work = self.state.at_work;
                let Some(drive) = &mut self.drives[at_work] else { return };
                match &mut drive.kind {
                    Kind::Disk(disk) => {
                        let end = transfer.as_ref().map_or(0, |transfer| transfer.sector);
                        let error = disk.failed(end, &mut drive.regs, transfer.is_some());
                        self.fail(error, false);
                    }
                    Kind::Cdrom(cd) => {
                        let error = cd.failed();
                        self.fail(error, true);
                    }
                }
            }
        }
    }

    // Data.

    /// Reads the data register.
    pub(super) fn read_data(&mut self, bytes: u8) -> u64 {
        if self.state.at_work != self.state.selected {
            return ones(bytes);
        }
        let Phase::Pio(transfer) = &mut self.state.phase else { return ones(bytes) };
        if transfer.direction != Direction::In {
            return ones(bytes);
        }
        let mut value = 0;
        for i in 0..bytes {
            if transfer.at < transfer.end {
                value |= u64::from(transfer.buffer[transfer.at]) << (i * 8);
                transfer.at += 1;
            }
        }
        if transfer.at == transfer.end
            && let Phase::Pio(transfer) = self.take_phase()
        {
            self.moved(transfer);
        }
        value
    }

    /// Writes the data register.
    pub(super) fn write_data(&mut self, bytes: u8, value: u64) {
        if self.state.at_work != self.state.selected {
            return;
        }
        let value = value.to_le_bytes();
        let value = &value[..usize::from(bytes.min(8))];
        match &mut self.state.phase {
            Phase::Packet(packet, at) => {
                for byte in value {
                    if *at < packet.len() {
                        packet[*at] = *byte;
                        *at += 1;
                    }
                }
                if *at == packet.len() {
                    let packet = *packet;
                    self.packet(&packet);
                }
            }
            Phase::Pio(transfer) if transfer.direction == Direction::Out => {
                for byte in value {
                    if transfer.at < transfer.end {
                        transfer.buffer[transfer.at] = *byte;
                        transfer.at += 1;
                    }
                }
                if transfer.at == transfer.end
                    && let Phase::Pio(transfer) = self.take_phase()
                {
                    self.moved(transfer);
                }
            }
            _ => {}
        }
    }

    /// A packet has arrived.
    fn packet(&mut self, packet: &[u8; 12]) {
        self.state.phase = Phase::Idle;
        let Some(drive) = &mut self.drives[self.state.at_work] else { return };
        let Kind::Cdrom(cd) = &mut drive.kind else { return };
        let outcome = cd.packet(packet, &drive.regs);
        self.begin(outcome, true);
    }
}
