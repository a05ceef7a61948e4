//! The IDE controller of the PIIX3: two channels with two drives each, at the ports of the ISA bus,
//! and a bus master for each channel (82371SB data sheet, chapters 2.3 and 2.7).
//!
//! A drive is a disk (ATA/ATAPI-6, T13/1410D) or a CD-ROM drive (ATAPI with the commands of SFF-8020
//! and MMC). What waits for the host's storage is the work of a thread for each channel, during
//! which the drive is busy, as a drive of metal would be.

mod ata;
mod atapi;
mod channel;
mod master;
mod worker;

use crate::pci::{BarKind, Class, Config, Function, Identity, reg, status};
use channel::{Channel, Drive};
use mynah_bus::{Device, IrqLine, Ram, Shared, ones};
use mynah_disk::Disk;
use parking_lot::Mutex;
use std::sync::Arc;
use worker::Worker;

/// IDETIM of the first channel; that of the second follows. Bit 15 enables the channel's ports.
const IDETIM: u8 = 0x40;
const DECODE: u16 = 1 << 15;
/// SIDETIM: timings of the second drives.
const SIDETIM: u8 = 0x44;

/// Which drive: the channel (0 is primary), and the drive on it (0 is the master).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit {
    /// 0 or 1.
    pub channel: usize,
    /// 0 or 1.
    pub drive: usize,
}

impl Unit {
    /// The drive after this, in the order in which they get their letters.
    pub fn all() -> [Unit; 4] {
        [0, 1, 2, 3].map(|n| Unit { channel: n / 2, drive: n % 2 })
    }
}

/// What is attached.
pub enum Attached {
    /// A disk.
    Disk(Box<dyn Disk>),
    /// A CD-ROM drive and what is in it. A disk of which a block of 2048 bytes is four sectors.
    Cdrom(Option<Box<dyn Disk>>),
}

/// The controller: function 1 of the PIIX3.
pub struct Ide {
    config: Config,
    channels: [Arc<Mutex<Channel>>; 2],
    workers: [Worker; 2],
}

impl Ide {
    /// A controller without drives; `lines` are the interrupts of its channels (ISA 14 and 15).
    ///
    /// Its channels are enabled as firmware would leave them, for guests that boot without.
    pub fn new(ram: &Ram, lines: [IrqLine; 2]) -> Ide {
        let mut config = Config::new(Identity {
            vendor: 0x8086,
            device: 0x7010,
            revision: 0,
            class: Class(1, 1, 0x80),
            subsystem_vendor: 0,
            subsystem: 0,
        });
        config.set_u16(reg::STATUS, status::DEVSEL_MEDIUM | 1 << 7);
        config.add_bar(4, BarKind::Io, 16);
        for at in [IDETIM, IDETIM + 2] {
            config.set_u16(at, DECODE);
            config.set_writable(at, &[0xff, 0xf3]);
        }
        config.set_writable(SIDETIM, &[0xff]);
        let channels = lines.map(|line| Channel::new(ram.clone(), line));
        let workers = channels.each_ref().map(Worker::new);
        Ide { config, channels, workers }
    }

    /// Attaches a drive, in place of what was there.
    pub fn attach(&mut self, unit: Unit, attached: Attached) {
        let media = &self.workers[unit.channel].media[unit.drive];
        let drive = match attached {
            Attached::Disk(disk) => {
                let drive = Drive::disk(&*disk, unit);
                *media.lock() = Some(disk);
                drive
            }
            Attached::Cdrom(disc) => {
                let drive = Drive::cdrom(disc.as_deref(), unit);
                *media.lock() = disc;
                drive
            }
        };
        self.channels[unit.channel].lock().attach(unit.drive, drive);
    }

    /// Puts another disc into a CD-ROM drive, or none, whatever the guest thinks of it; `false` if
    /// the drive is not one.
    pub fn change_disc(&mut self, unit: Unit, disc: Option<Box<dyn Disk>>) -> bool {
        let mut channel = self.channels[unit.channel].lock();
        let Some(cd) = channel.cdrom(unit.drive) else { return false };
        cd.change(disc.as_deref());
        // A request that is being worked on holds the lock, and does not want the channel's.
        *self.workers[unit.channel].media[unit.drive].lock() = disc;
        true
    }

    /// The command block of a channel, for a range of 8 ports (1F0h, 170h).
    pub fn command_block(&self, channel: usize) -> Shared {
        Arc::new(Mutex::new(CommandBlock(self.channels[channel].clone())))
    }

    /// The control block of a channel, for a range of one port (3F6h, 376h).
    pub fn control_block(&self, channel: usize) -> Shared {
        Arc::new(Mutex::new(ControlBlock(self.channels[channel].clone())))
    }
}

impl Drop for Ide {
    /// Waits until the workers are done with what the guest has written.
    fn drop(&mut self) {
        for (channel, worker) in self.channels.iter().zip(&mut self.workers) {
            channel.lock().close();
            worker.join();
        }
    }
}

impl Function for Ide {
    fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    fn read(&mut self, bar: u8, offset: u64, bytes: u8) -> u64 {
        match bar {
            4 => self.channels[(offset >> 3 & 1) as usize].lock().read_master(offset & 7, bytes),
            _ => ones(bytes),
        }
    }

    fn write(&mut self, bar: u8, offset: u64, bytes: u8, value: u64) {
        if bar == 4 {
            let may = self.config.is_bus_master();
            let mut channel = self.channels[(offset >> 3 & 1) as usize].lock();
            channel.write_master(offset & 7, bytes, value, may);
        }
    }

    fn reset(&mut self) {
        for channel in &self.channels {
            channel.lock().reset();
        }
    }
}

/// The ports of a channel's command block.
struct CommandBlock(Arc<Mutex<Channel>>);

impl Device for CommandBlock {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        let mut channel = self.0.lock();
        match offset {
            0 => channel.read_data(bytes),
            _ => mynah_bus::read_bytes(offset, bytes, |at| channel.read_register(at)),
        }
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        let mut channel = self.0.lock();
        match offset {
            0 => channel.write_data(bytes, value),
            _ => mynah_bus::write_bytes(offset, bytes, value, |at, byte| {
                channel.write_register(at, byte);
            }),
        }
    }

    /// The bus resets its functions.
    fn reset(&mut self) {}
}

/// The port of a channel's control block.
struct ControlBlock(Arc<Mutex<Channel>>);

impl Device for ControlBlock {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        if offset == 0 { u64::from(self.0.lock().alternate_status()) } else { ones(bytes) }
    }

    fn write(&mut self, offset: u64, _: u8, value: u64) {
        if offset == 0 {
            self.0.lock().write_control(value as u8);
        }
    }

    /// The bus resets its functions.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests;
