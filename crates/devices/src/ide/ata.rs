//! The commands of a disk (ATA/ATAPI-6, chapter 8).

use super::Unit;
use super::channel::{Deep, LBA, Outcome, Registers, Via, error};
use mynah_disk::{Disk, SECTOR};

/// Sectors that READ MULTIPLE and WRITE MULTIPLE move at once, at most.
const MULTIPLE: u8 = 16;

/// What resets a disk: some settings last until the power is switched off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ResetBy {
    Power,
    Software,
}

/// How cylinders, heads and sectors count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Geometry {
    cylinders: u16,
    heads: u8,
    sectors: u8,
}

impl Geometry {
    /// As many cylinders as there are sectors for.
    fn new(total: u64, heads: u8, sectors: u8) -> Geometry {
        let cylinder = u64::from(heads.max(1)) * u64::from(sectors.max(1));
        Geometry { cylinders: (total / cylinder).min(16383) as u16, heads, sectors }
    }
}

/// A disk.
pub(super) struct Ata {
    sectors: u64,
    read_only: bool,
    serial: String,
    drive: usize,
    state: State,
}

/// Settings that the guest makes.
struct State {
    geometry: Geometry,
    /// Sectors for each block of the MULTIPLE commands, or 0.
    multiple: u8,
    write_cache: bool,
    /// The selected multiword and Ultra DMA modes, as bits of words 63 and 88.
    mdma: u8,
    udma: u8,
}

impl State {
    fn new(sectors: u64) -> State {
        State {
            geometry: Geometry::new(sectors, 16, 63),
            multiple: MULTIPLE,
            write_cache: true,
            mdma: 0,
            udma: 1 << 5,
        }
    }
}

impl Ata {
    pub(super) fn new(disk: &dyn Disk, unit: Unit) -> Ata {
        // What 48 bits can number.
        let sectors = disk.sectors().min(1 << 48);
        let serial = match disk.id() {
            "" => format!("MYNAH{}", unit.channel * 2 + unit.drive + 1),
            id => id.to_owned(),
        };
        let read_only = disk.is_read_only();
        Ata { sectors, read_only, serial, drive: unit.drive, state: State::new(sectors) }
    }

    pub(super) fn reset(&mut self, by: ResetBy) {
        match by {
            ResetBy::Power => self.state = State::new(self.sectors),
            ResetBy::Software => self.state.multiple = MULTIPLE,
        }
    }

    /// Carries out a command, or begins it.
    pub(super) fn command(&mut self, code: u8, regs: &mut Registers) -> Outcome {
        use Wide::{Ext, Short};
        match code {
            // RECALIBRATE, SEEK
            0x10..=0x1f | 0x70..=0x7f => Outcome::Done,
            // READ SECTOR(S), READ SECTOR(S) EXT
            0x20 | 0x21 => self.read(Short, Via::Pio(SECTOR), regs),
            0x24 => self.read(Ext, Via::Pio(SECTOR), regs),
            // READ DMA, READ DMA EXT
            0xc8 | 0xc9 => self.read(Short, Via::Dma, regs),
            0x25 => self.read(Ext, Via::Dma, regs),
            // READ MULTIPLE, READ MULTIPLE EXT
            0xc4 | 0x29 if self.state.multiple == 0 => Outcome::Failed(error::ABRT),
            0xc4 => self.read(Short, self.multiple(), regs),
            0x29 => self.read(Ext, self.multiple(), regs),
            // WRITE SECTOR(S), WRITE SECTOR(S) EXT
            0x30 | 0x31 => self.write(Short, Via::Pio(SECTOR), Force::No, regs),
            0x34 => self.write(Ext, Via::Pio(SECTOR), Force::No, regs),
            // WRITE DMA, WRITE DMA EXT, WRITE DMA FUA EXT
            0xca | 0xcb => self.write(Short, Via::Dma, Force::No, regs),
            0x35 => self.write(Ext, Via::Dma, Force::No, regs),
            0x3d => self.write(Ext, Via::Dma, Force::UnitAccess, regs),
            // WRITE MULTIPLE, WRITE MULTIPLE EXT, WRITE MULTIPLE FUA EXT
            0xc5 | 0x39 | 0xce if self.state.multiple == 0 => Outcome::Failed(error::ABRT),
            0xc5 => self.write(Short, self.multiple(), Force::No, regs),
            0x39 => self.write(Ext, self.multiple(), Force::No, regs),
            0xce => self.write(Ext, self.multiple(), Force::UnitAccess, regs),
            // READ VERIFY SECTOR(S), READ VERIFY SECTOR(S) EXT
            0x40 | 0x41 => self.verify(Short, regs),
            0x42 => self.verify(Ext, regs),
            // READ NATIVE MAX ADDRESS, READ NATIVE MAX ADDRESS EXT
            0xf8 => {
                let last = self.sectors.saturating_sub(1).min((1 << 28) - 1);
                set_lba(Short, last, regs);
                Outcome::Done
            }
            0x27 => {
                set_lba(Ext, self.sectors.saturating_sub(1), regs);
                Outcome::Done
            }
            // EXECUTE DEVICE DIAGNOSTIC
            0x90 => Outcome::Diagnose,
            // INITIALIZE DEVICE PARAMETERS
            0x91 => {
                let heads = (regs.device & 0xf) + 1;
                match regs.count.now {
                    0 => Outcome::Failed(error::ABRT),
                    sectors => {
                        self.state.geometry = Geometry::new(self.sectors, heads, sectors);
                        Outcome::Done
                    }
                }
            }
            // SET MULTIPLE MODE
            0xc6 => match regs.count.now {
                count if count > MULTIPLE || count != 0 && !count.is_power_of_two() => {
                    Outcome::Failed(error::ABRT)
                }
                count => {
                    self.state.multiple = count;
                    Outcome::Done
                }
            },
            // STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE, SLEEP: the disk is always awake
            0xe0..=0xe3 | 0xe6 | 0x94..=0x97 | 0x99 => Outcome::Done,
            // CHECK POWER MODE
            0xe5 | 0x98 => {
                regs.count.now = 0xff;
                Outcome::Done
            }
            // FLUSH CACHE, FLUSH CACHE EXT
            0xe7 | 0xea => Outcome::Flush,
            // IDENTIFY DEVICE
            0xec => Outcome::Reply(bytes(&self.identify()), Via::Pio(SECTOR)),
            // SET FEATURES
            0xef => self.set_features(regs),
            _ => Outcome::Failed(error::ABRT),
        }
    }

    fn multiple(&self) -> Via {
        Via::Pio(usize::from(self.state.multiple) * SECTOR)
    }

    fn read(&self, wide: Wide, via: Via, regs: &Registers) -> Outcome {
        match self.sectors(wide, regs) {
            Some((sector, sectors)) => Outcome::Read { sector, sectors, via },
            None => Outcome::Failed(error::IDNF),
        }
    }

    fn write(&self, wide: Wide, via: Via, force: Force, regs: &Registers) -> Outcome {
        if self.read_only {
            return Outcome::Failed(error::ABRT);
        }
        let through = force == Force::UnitAccess || !self.state.write_cache;
        match self.sectors(wide, regs) {
            Some((sector, sectors)) => Outcome::Write { sector, sectors, via, through },
            None => Outcome::Failed(error::IDNF),
        }
    }

    fn verify(&self, wide: Wide, regs: &Registers) -> Outcome {
        match self.sectors(wide, regs) {
            Some(_) => Outcome::Done,
            None => Outcome::Failed(error::IDNF),
        }
    }

    /// The first sector that the registers name, and how many; none if they are not all there.
    fn sectors(&self, wide: Wide, regs: &Registers) -> Option<(u64, u64)> {
        let byte = |value: u8, shift: u32| u64::from(value) << shift;
        let now = byte(regs.low.now, 0) | byte(regs.mid.now, 8) | byte(regs.high.now, 16);
        let head = regs.device & 0xf;
        let sector = match wide {
            Wide::Ext if regs.device & LBA == 0 => return None,
            Wide::Ext => {
                let before = |deep: Deep, shift| byte(deep.before, shift);
                now | before(regs.low, 24) | before(regs.mid, 32) | before(regs.high, 40)
            }
            Wide::Short if regs.device & LBA != 0 => now | byte(head, 24),
            Wide::Short => {
                let Geometry { cylinders, heads, sectors } = self.state.geometry;
                let cylinder = u16::from_le_bytes([regs.mid.now, regs.high.now]);
                let sector = regs.low.now;
                if cylinder >= cylinders || head >= heads || !(1..=sectors).contains(&sector) {
                    return None;
                }
                let track = u64::from(cylinder) * u64::from(heads) + u64::from(head);
                track * u64::from(sectors) + u64::from(sector - 1)
            }
        };
        let count = match wide {
            Wide::Short => match regs.count.now {
                0 => 256,
                count => u64::from(count),
            },
            Wide::Ext => match u16::from_le_bytes([regs.count.now, regs.count.before]) {
                0 => 1 << 16,
                count => u64::from(count),
            },
        };
        (sector + count <= self.sectors).then_some((sector, count))
    }

    /// A request of sectors up to `end` failed on the host: what goes to the error register.
    pub(super) fn failed(&self, end: u64, regs: &mut Registers, is_transfer: bool) -> u8 {
        if !is_transfer {
            return error::ABRT;
        }
        let at = end.saturating_sub(1);
        set_lba(if at >> 28 == 0 { Wide::Short } else { Wide::Ext }, at, regs);
        error::UNC
    }

    fn set_features(&mut self, regs: &Registers) -> Outcome {
        match regs.features.now {
            0x02 => self.state.write_cache = true,
            0x82 => {
                self.state.write_cache = false;
                // What is in the cache is written.
                return Outcome::Flush;
            }
            // Set transfer mode: the kind in the upper bits, the number in the lower.
            0x03 => {
                let (kind, mode) = (regs.count.now >> 3, regs.count.now & 7);
                match kind {
                    0 | 1 if mode <= 4 => {}
                    4 if mode <= 2 => (self.state.mdma, self.state.udma) = (1 << mode, 0),
                    8 if mode <= 5 => (self.state.mdma, self.state.udma) = (0, 1 << mode),
                    _ => return Outcome::Failed(error::ABRT),
                }
            }
            // Look-ahead, and whether a software reset restores settings.
            0x55 | 0xaa | 0x66 | 0xcc => {}
            _ => return Outcome::Failed(error::ABRT),
        }
        Outcome::Done
    }

    /// The words of IDENTIFY DEVICE (8.15).
    fn identify(&self) -> [u16; 256] {
        let mut words = [0; 256];
        let default = Geometry::new(self.sectors, 16, 63);
        words[0] = 1 << 6; // not removable
        words[1] = default.cylinders;
        words[3] = u16::from(default.heads);
        words[6] = u16::from(default.sectors);
        common(&mut words, &self.serial, "MYNAH DISK");
        words[47] = 0x8000 | u16::from(MULTIPLE);
        let now = self.state.geometry;
        words[54] = now.cylinders;
        words[55] = u16::from(now.heads);
        words[56] = u16::from(now.sectors);
        let chs = u32::from(now.cylinders) * u32::from(now.heads) * u32::from(now.sectors);
        (words[57], words[58]) = (chs as u16, (chs >> 16) as u16);
        words[59] = match self.state.multiple {
            0 => 0,
            count => 1 << 8 | u16::from(count),
        };
        let short = self.sectors.min((1 << 28) - 1);
        (words[60], words[61]) = (short as u16, (short >> 16) as u16);
        words[63] = u16::from(self.state.mdma) << 8 | 7;
        let cache = u16::from(self.state.write_cache) << 5;
        // Power management and write cache; 48-bit addresses, FLUSH CACHE, FLUSH CACHE EXT; WRITE
        // DMA FUA EXT. What is supported, then what is enabled.
        (words[82], words[83], words[84]) = (1 << 3 | 1 << 5, 0x7400, 0x4040);
        (words[85], words[86], words[87]) = (1 << 3 | cache, 0x3400, 0x4040);
        words[88] = u16::from(self.state.udma) << 8 | 0x3f;
        // Hardware reset result: the cable has 80 conductors, the drive was found by jumper.
        words[93] = if self.drive == 0 { 0x6001 } else { 0x6300 };
        for (at, word) in words[100..104].iter_mut().enumerate() {
            *word = (self.sectors >> (at * 16)) as u16;
        }
        sealed(words)
    }
}

/// Words that disks and CD-ROM drives have alike.
pub(super) fn common(words: &mut [u16; 256], serial: &str, model: &str) {
    text(&mut words[10..20], serial);
    text(&mut words[23..27], "1.0");
    text(&mut words[27..47], model);
    words[49] = 0x0f00; // DMA, LBA, IORDY
    words[50] = 0x4000;
    words[51] = 0x0200; // PIO mode 2 at least
    words[53] = 7; // words 54–58, 64–70 and 88 are valid
    words[64] = 3; // PIO modes 3 and 4
    words[65..69].fill(120); // cycle times in ns
    words[80] = 0x7e; // ATA-1 to ATA/ATAPI-6
}

/// Adds the integrity word: all 512 bytes add up to zero.
pub(super) fn sealed(mut words: [u16; 256]) -> [u16; 256] {
    words[255] = 0xa5;
    let sum = bytes(&words).iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    words[255] |= u16::from(sum.wrapping_neg()) << 8;
    words
}

/// The words as the data register gives them.
pub(super) fn bytes(words: &[u16; 256]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Text: the first character of each word is its high byte, and blanks fill the rest.
fn text(words: &mut [u16], text: &str) {
    let mut chars = text.bytes().chain(std::iter::repeat(b' '));
    for word in words {
        let mut next = || u16::from(chars.next().unwrap_or(b' '));
        *word = next() << 8 | next();
    }
}

fn set_lba(wide: Wide, sector: u64, regs: &mut Registers) {
    let byte = |shift: u32| (sector >> shift) as u8;
    (regs.low.now, regs.mid.now, regs.high.now) = (byte(0), byte(8), byte(16));
    match wide {
        Wide::Short => regs.device = regs.device & 0xf0 | byte(24) & 0xf,
        Wide::Ext => {
            (regs.low.before, regs.mid.before, regs.high.before) = (byte(24), byte(32), byte(40));
        }
    }
}

/// How wide addresses are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wide {
    /// 28 bits, or cylinder, head and sector.
    Short,
    /// 48 bits.
    Ext,
}

/// Whether the command itself wants its sectors to last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Force {
    No,
    UnitAccess,
}
