//! The commands of a CD-ROM drive: those of ATA, and packets (SFF-8020i, MMC-3, SPC-2).

use super::Unit;
use super::ata::{bytes, common, sealed};
use super::channel::{Outcome, Registers, Via, error};
use mynah_disk::{Disk, SECTOR};

/// Bytes in a block, and sectors of the disk that it is.
const BLOCK: usize = 2048;
const SECTORS: u64 = (BLOCK / SECTOR) as u64;

/// Why a packet command failed: sense key, additional sense code and its qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sense(u8, u8, u8);

const NO_SENSE: Sense = Sense(0, 0, 0);
const MEDIUM_NOT_PRESENT: Sense = Sense(2, 0x3a, 0);
const READ_ERROR: Sense = Sense(3, 0x11, 0);
const INVALID_COMMAND: Sense = Sense(5, 0x20, 0);
const OUT_OF_RANGE: Sense = Sense(5, 0x21, 0);
const INVALID_FIELD: Sense = Sense(5, 0x24, 0);
const REMOVAL_PREVENTED: Sense = Sense(5, 0x53, 2);
const MEDIUM_CHANGED: Sense = Sense(6, 0x28, 0);
const POWER_ON: Sense = Sense(6, 0x29, 0);

/// A CD-ROM drive.
pub(super) struct Cd {
    /// Blocks of the disc that is in it.
    blocks: Option<u32>,
    serial: String,
    state: State,
}

/// What the guest can change, or must be told.
struct State {
    sense: Sense,
    /// What the next command fails with.
    attention: Option<Sense>,
    /// The event that GET EVENT STATUS NOTIFICATION has not yet reported: 2 is a new disc, 3 a
    /// removed one.
    event: u8,
    /// The guest has taken the disc out; the board's is in the open tray.
    ejected: bool,
    locked: bool,
    mdma: u8,
    udma: u8,
}

impl State {
    fn new() -> State {
        State {
            sense: NO_SENSE,
            attention: Some(POWER_ON),
            event: 0,
            ejected: false,
            locked: false,
            mdma: 0,
            udma: 1 << 5,
        }
    }
}

/// What a packet command comes to.
type Answer = Result<Outcome, Sense>;

impl Cd {
    pub(super) fn new(disc: Option<&dyn Disk>, unit: Unit) -> Cd {
        let serial = format!("MYNAH{}", unit.channel * 2 + unit.drive + 1);
        Cd { blocks: disc.map(blocks), serial, state: State::new() }
    }

    pub(super) fn reset(&mut self) {
        self.state = State::new();
    }

    /// Another disc is in the drive, or none.
    pub(super) fn change(&mut self, disc: Option<&dyn Disk>) {
        self.blocks = disc.map(blocks);
        self.state.ejected = false;
        self.state.event = if disc.is_some() { 2 } else { 3 };
        self.state.attention = Some(MEDIUM_CHANGED);
    }

    /// Carries out a command of ATA.
    pub(super) fn command(&mut self, code: u8, regs: &mut Registers) -> Outcome {
        match code {
            0xa0 => Outcome::Packet,
            0xa1 => Outcome::Reply(bytes(&self.identify()), Via::Pio(SECTOR)),
            0x90 => Outcome::Diagnose,
            // Power: the drive is always awake.
            0xe0..=0xe3 | 0xe6 => Outcome::Done,
            0xe5 => {
                regs.count.now = 0xff;
                Outcome::Done
            }
            // SET FEATURES: transfer mode, look-ahead and the like
            0xef => match (regs.features.now, regs.count.now >> 3, regs.count.now & 7) {
                (0x03, 0 | 1, 0..=4) | (0x55 | 0xaa | 0x66 | 0xcc, _, _) => Outcome::Done,
                (0x03, 4, mode @ 0..=2) => {
                    (self.state.mdma, self.state.udma) = (1 << mode, 0);
                    Outcome::Done
                }
                (0x03, 8, mode @ 0..=5) => {
                    (self.state.mdma, self.state.udma) = (0, 1 << mode);
                    Outcome::Done
                }
                _ => Outcome::Failed(error::ABRT),
            },
            _ => Outcome::Failed(error::ABRT),
        }
    }

    /// Carries out a packet command, or begins it.
    pub(super) fn packet(&mut self, packet: &[u8; 12], regs: &Registers) -> Outcome {
        let limit = match u16::from_le_bytes([regs.mid.now, regs.high.now]) {
            0 => 0xfffe,
            limit => usize::from(limit & !1).max(2),
        };
        let via = if regs.features.now & 1 != 0 { Via::Dma } else { Via::Pio(limit) };
        let quiet = matches!(packet[0], 0x03 | 0x12 | 0x46 | 0x4a);
        let answer = match self.state.attention.filter(|_| !quiet) {
            Some(sense) => {
                self.state.attention = None;
                Err(sense)
            }
            None => self.answer(packet, via),
        };
        match answer {
            Ok(outcome) => {
                if packet[0] != 0x03 {
                    self.state.sense = NO_SENSE;
                }
                outcome
            }
            Err(sense) => self.check(sense),
        }
    }

    /// CHECK CONDITION.
    fn check(&mut self, sense: Sense) -> Outcome {
        Outcome::Failed(self.note(sense))
    }

    /// Notes what REQUEST SENSE will say. What goes to the error register.
    fn note(&mut self, sense: Sense) -> u8 {
        self.state.sense = sense;
        sense.0 << 4 | error::ABRT
    }

    /// A read failed on the host: what goes to the error register.
    pub(super) fn failed(&mut self) -> u8 {
        self.note(READ_ERROR)
    }

    fn answer(&mut self, packet: &[u8; 12], via: Via) -> Answer {
        let u16_at = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        let u32_at = |at: usize| {
            u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
        };
        let reply = |mut bytes: Vec<u8>, allocated: usize| {
            bytes.truncate(allocated);
            Ok(Outcome::Reply(bytes, via))
        };
        match packet[0] {
            // TEST UNIT READY
            0x00 => self.disc().map(|_| Outcome::Done),
            // REQUEST SENSE
            0x03 => {
                let Sense(key, code, qualifier) = match self.state.attention.take() {
                    Some(sense) if self.state.sense == NO_SENSE => sense,
                    attention => {
                        self.state.attention = attention;
                        self.state.sense
                    }
                };
                self.state.sense = NO_SENSE;
                let mut bytes = vec![0; 18];
                (bytes[0], bytes[2], bytes[7]) = (0x70, key, 10);
                (bytes[12], bytes[13]) = (code, qualifier);
                reply(bytes, packet[4].into())
            }
            // INQUIRY
            0x12 if packet[1] & 3 != 0 => Err(INVALID_FIELD),
            0x12 => {
                let mut bytes = vec![5, 0x80, 0, 0x21, 31, 0, 0, 0];
                bytes.extend(b"MYNAH   MYNAH CD-ROM    1.0 ");
                reply(bytes, packet[4].into())
            }
            // START STOP UNIT: load or eject
            0x1b => match packet[4] & 3 {
                2 if self.state.locked => Err(REMOVAL_PREVENTED),
                2 => {
                    if !self.state.ejected {
                        (self.state.ejected, self.state.event) = (true, 3);
                    }
                    Ok(Outcome::Done)
                }
                3 => {
                    if std::mem::take(&mut self.state.ejected) && self.blocks.is_some() {
                        self.state.event = 2;
                        self.state.attention = Some(MEDIUM_CHANGED);
                    }
                    Ok(Outcome::Done)
                }
                _ => Ok(Outcome::Done),
            },
            // PREVENT ALLOW MEDIUM REMOVAL
            0x1e => {
                self.state.locked = packet[4] & 1 != 0;
                Ok(Outcome::Done)
            }
            // READ CAPACITY
            0x25 => {
                let last = self.disc()?.saturating_sub(1);
                reply([last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat(), 8)
            }
            // READ(10), READ(12)
            0x28 => self.read(u32_at(2), u16_at(7) as u32, via),
            0xa8 => self.read(u32_at(2), u32_at(6), via),
            // READ CD: of user data, if any
            0xbe => {
                let count = u32::from_be_bytes([0, packet[6], packet[7], packet[8]]);
                match packet[9] & 0xf8 {
                    0 => self.disc().map(|_| Outcome::Done),
                    0x10 if matches!(packet[1] >> 2 & 7, 0 | 2 | 4) => {
                        self.read(u32_at(2), count, via)
                    }
                    _ => Err(INVALID_FIELD),
                }
            }
            // SEEK
            0x2b => {
                let blocks = self.disc()?;
                if u32_at(2) < blocks { Ok(Outcome::Done) } else { Err(OUT_OF_RANGE) }
            }
            // READ TOC/PMA/ATIP
            0x43 => {
                let blocks = self.disc()?;
                let format = match packet[2] & 0xf {
                    0 => packet[9] >> 6,
                    format => format,
                };
                reply(toc(format, packet[1] & 2 != 0, packet[6], blocks)?, u16_at(7))
            }
            // GET CONFIGURATION
            0x46 => reply(self.configuration(packet[1] & 3, u16_at(2) as u16), u16_at(7)),
            // GET EVENT STATUS NOTIFICATION, of media only, and not asynchronously
            0x4a if packet[1] & 1 == 0 => Err(INVALID_FIELD),
            0x4a => {
                const MEDIA: u8 = 1 << 4;
                let bytes = if packet[4] & MEDIA == 0 {
                    vec![0, 2, 0x80, MEDIA]
                } else {
                    let event = std::mem::take(&mut self.state.event);
                    let (open, disc) = (self.state.ejected, self.disc().is_ok());
                    vec![0, 6, 4, MEDIA, event, u8::from(open) | u8::from(disc) << 1, 0, 0]
                };
                reply(bytes, u16_at(7))
            }
            // READ DISC INFORMATION: one complete session with one track
            0x51 if packet[1] & 7 != 0 => Err(INVALID_FIELD),
            0x51 => {
                self.disc()?;
                let mut bytes = vec![0; 34];
                (bytes[1], bytes[2], bytes[3]) = (32, 0x0e, 1);
                (bytes[4], bytes[5], bytes[6], bytes[7]) = (1, 1, 1, 0x20);
                reply(bytes, u16_at(7))
            }
            // MODE SENSE(6), MODE SENSE(10)
            0x1a | 0x5a if packet[2] >> 6 == 3 => Err(Sense(5, 0x39, 0)),
            0x1a => {
                let pages = self.mode_pages(packet[2] & 0x3f)?;
                let mut bytes = vec![3 + pages.len() as u8, 0, 0, 0];
                bytes.extend(pages);
                reply(bytes, packet[4].into())
            }
            0x5a => {
                let pages = self.mode_pages(packet[2] & 0x3f)?;
                let mut bytes = (6 + pages.len() as u16).to_be_bytes().to_vec();
                // The medium type: a 120 mm data disc, or none.
                bytes.push(if self.disc().is_ok() { 1 } else { 0x70 });
                bytes.extend([0; 5]);
                bytes.extend(pages);
                reply(bytes, u16_at(7))
            }
            // MECHANISM STATUS
            0xbd => {
                let door = u8::from(self.state.ejected) << 4;
                reply(vec![0, door, 0, 0, 0, 0, 0, 0], u16_at(8))
            }
            // STOP PLAY/SCAN, SYNCHRONIZE CACHE, SET CD SPEED
            0x4e | 0x35 | 0xbb => Ok(Outcome::Done),
            _ => Err(INVALID_COMMAND),
        }
    }

    /// Blocks of the disc, if one is in.
    fn disc(&self) -> Result<u32, Sense> {
        self.blocks.filter(|_| !self.state.ejected).ok_or(MEDIUM_NOT_PRESENT)
    }

    fn read(&self, block: u32, count: u32, via: Via) -> Answer {
        let blocks = self.disc()?;
        let end = block.checked_add(count).ok_or(OUT_OF_RANGE)?;
        if end > blocks {
            return Err(OUT_OF_RANGE);
        }
        if count == 0 {
            return Ok(Outcome::Done);
        }
        let (sector, sectors) = (u64::from(block) * SECTORS, u64::from(count) * SECTORS);
        Ok(Outcome::Read { sector, sectors, via })
    }

    /// Features of the drive (MMC-3 5.3).
    fn configuration(&self, which: u8, first: u16) -> Vec<u8> {
        const PROFILES: u16 = 0;
        const CDROM: u8 = 8;
        let current = u8::from(self.disc().is_ok());
        let features: [(u16, u8, Vec<u8>); 4] = [
            // The only profile: CD-ROM.
            (PROFILES, 3, vec![0, CDROM, current, 0]),
            // Core: the physical interface is ATAPI.
            (1, 3, vec![0, 0, 0, 2]),
            // Removable medium: a tray that can be locked and ejects.
            (3, 3, vec![0x29, 0, 0, 0]),
            // CD read.
            (0x1e, current, vec![0, 0, 0, 0]),
        ];
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, if current == 1 { CDROM } else { 0 }];
        for (code, flags, data) in features {
            let wanted = match which {
                0 => code >= first,
                1 => code >= first && flags & 1 != 0,
                _ => code == first,
            };
            if wanted {
                bytes.extend(code.to_be_bytes());
                bytes.extend([flags, data.len() as u8]);
                bytes.extend(data);
            }
        }
        let len = bytes.len() as u32 - 4;
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        bytes
    }

    /// Mode pages: error recovery, and capabilities and mechanical status.
    fn mode_pages(&self, page: u8) -> Result<Vec<u8>, Sense> {
        let recovery = [0x01, 6, 0, 5, 0, 0, 0, 0];
        let mut status = [0; 20];
        (status[0], status[1]) = (0x2a, 18);
        status[2] = 0x03; // reads CD-R and CD-RW
        status[4] = 0x70; // mode 2 forms, and sessions
        status[6] = 0x29 | u8::from(self.state.locked) << 1; // as the removable medium feature
        for at in [8, 14] {
            // Speed in kB/s: 24 times that of a CD.
            status[at..at + 2].copy_from_slice(&(24_u16 * 176).to_be_bytes());
        }
        match page {
            0x01 => Ok(recovery.to_vec()),
            0x2a => Ok(status.to_vec()),
            0x3f => Ok([&recovery[..], &status].concat()),
            _ => Err(INVALID_FIELD),
        }
    }

    /// The words of IDENTIFY PACKET DEVICE (ATA/ATAPI-6 8.16).
    fn identify(&self) -> [u16; 256] {
        let mut words = [0; 256];
        // A packet device, CD-ROM, removable, that takes packets of 12 bytes within 50 µs.
        words[0] = 2 << 14 | 5 << 8 | 1 << 7 | 2 << 5;
        common(&mut words, &self.serial, "MYNAH CD-ROM");
        words[63] = u16::from(self.state.mdma) << 8 | 7;
        // Power management, PACKET and DEVICE RESET: supported, then enabled.
        (words[82], words[83], words[84]) = (1 << 3 | 1 << 4 | 1 << 9, 0x4000, 0x4000);
        (words[85], words[86], words[87]) = (1 << 3 | 1 << 4 | 1 << 9, 0, 0x4000);
        words[88] = u16::from(self.state.udma) << 8 | 0x3f;
        words[93] = 0x6001;
        sealed(words)
    }
}

/// Blocks of a disc.
fn blocks(disc: &dyn Disk) -> u32 {
    // The last block may be addressed, and the one after it in a table of contents.
    u32::try_from(disc.sectors() / SECTORS).unwrap_or(u32::MAX)
}

/// An address as a table of contents has it: a block, or minute, second and frame.
fn toc_address(msf: bool, block: u32) -> [u8; 4] {
    if !msf {
        return block.to_be_bytes();
    }
    let frames = block.saturating_add(150);
    let minutes = (frames / 75 / 60).min(255);
    [0, minutes as u8, (frames / 75 % 60) as u8, (frames % 75) as u8]
}

/// A table of contents (MMC-3 5.23): one data track, and the lead-out.
fn toc(format: u8, msf: bool, first: u8, blocks: u32) -> Result<Vec<u8>, Sense> {
    const DATA: u8 = 0x14;
    const LEAD_OUT: u8 = 0xaa;
    let entry = |track: u8, block| {
        let mut entry = vec![0, DATA, track, 0];
        entry.extend(toc_address(msf, block));
        entry
    };
    let mut bytes = vec![0, 0, 1, 1];
    match format {
        0 if first > 1 && first != LEAD_OUT => return Err(INVALID_FIELD),
        0 => {
            if first <= 1 {
                bytes.extend(entry(1, 0));
            }
            bytes.extend(entry(LEAD_OUT, blocks));
        }
        // The first track of the last session.
        1 => bytes.extend(entry(1, 0)),
        // The lead-in's: first and last track, lead-out, track 1.
        2 => {
            let mut raw = |point: u8, address: [u8; 3]| {
                bytes.extend([1, DATA, 0, point, 0, 0, 0, 0]);
                bytes.extend(address);
            };
            let of = |block| {
                let [_, m, s, f] = toc_address(true, block);
                [m, s, f]
            };
            raw(0xa0, [1, 0, 0]);
            raw(0xa1, [1, 0, 0]);
            raw(0xa2, of(blocks));
            raw(1, of(0));
        }
        _ => return Err(INVALID_FIELD),
    }
    let len = bytes.len() as u16 - 2;
    bytes[..2].copy_from_slice(&len.to_be_bytes());
    Ok(bytes)
}
