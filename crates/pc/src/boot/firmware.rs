//! Firmware: a BIOS in a ROM below 4 GiB, and what it is told of the board through the firmware
//! configuration device (its keys and file names are those that SeaBIOS and OVMF know, listed in
//! the specification `fw_cfg` of the device and in SeaBIOS's `paravirt.h`).

use super::map::{RAM, Range};
use super::{BootError, read, u16_at};
use crate::Options;
use crate::acpi::{ROOT_CHECKSUMS, RSDT_ADDRESS, Tables, XSDT_ADDRESS};
use crate::layout;
use mynah_bus::Ram;
use mynah_devices::fw_cfg::Items;
use mynah_devices::vga::Vga;
use std::path::Path;

/// The largest ROM: devices are below.
const MAX: usize = 16 << 20;

/// Keys of the items that are not files.
mod key {
    pub(super) const MEMORY: u16 = 0x03;
    pub(super) const CPUS: u16 = 0x05;
    pub(super) const MAX_CPUS: u16 = 0x0f;
}

/// Reads the firmware in `path`: memory for the ROM, which the guest must not write.
pub(crate) fn rom(path: &Path) -> Result<Ram, BootError> {
    let bad = |message: &str| BootError::of(path, message);
    let bytes = read(path)?;
    if bytes.is_empty() || bytes.len() > MAX || !bytes.len().is_multiple_of(4096) {
        return Err(bad("not firmware: its length is no multiple of 4 KiB up to 16 MiB"));
    }
    let start = layout::HIGH - bytes.len() as u64;
    let range = start..layout::HIGH;
    let rom = Ram::new(&[range]).map_err(|e| bad(&e.to_string()))?;
    rom.write(start, &bytes)?;
    Ok(rom)
}

/// The BIOS of the display adapter.
pub(crate) struct VgaRom(Vec<u8>);

impl VgaRom {
    /// The file's name, where it is not named: it lies beside the firmware.
    const NAME: &str = "vgabios-stdvga.bin";

    /// Reads the one that is named, or else the one beside the firmware, if there is one.
    pub(crate) fn find(options: &Options) -> Result<VgaRom, BootError> {
        let beside = || Some(options.firmware.as_ref()?.parent()?.join(VgaRom::NAME));
        let path = match &options.vga_firmware {
            Some(path) => path.clone(),
            None => match beside().filter(|path| path.exists()) {
                Some(path) => path,
                None => return Ok(VgaRom(Vec::new())),
            },
        };
        let bytes = read(&path)?;
        if !bytes.starts_with(&[0x55, 0xaa]) || bytes.len() > Vga::MAX_ROM {
            return Err(BootError::of(path, "not the BIOS of a display adapter"));
        }
        Ok(VgaRom(bytes))
    }

    /// Whether it has the header of a ROM on a PCI adapter (PCI Firmware Specification, 5.1).
    fn is_for_pci(&self) -> bool {
        let at = usize::from(u16_at(&self.0, 0x18));
        self.0.get(at..).is_some_and(|header| header.starts_with(b"PCIR"))
    }

    /// What is in the adapter's ROM.
    pub(crate) fn for_pci(&self) -> &[u8] {
        if self.is_for_pci() { &self.0 } else { &[] }
    }
}

/// What the firmware is told of a board with so many bytes of `memory`, `cpus` vCPUs and this BIOS
/// for the display.
pub(crate) fn items(memory: u64, cpus: usize, vga: &VgaRom) -> Items {
    let mut items = Items::new();
    let low = memory.min(layout::LOW_END);
    items.add(key::MEMORY, low.to_le_bytes());
    items.add(key::CPUS, (cpus as u16).to_le_bytes());
    items.add(key::MAX_CPUS, (cpus as u16).to_le_bytes());
    items.add_file("etc/max-cpus", (cpus as u16).to_le_bytes());
    items.add_file("etc/e820", e820(memory));
    // Messages of the firmware, and what programs print through it, go to the serial port.
    items.add_file("etc/sercon-port", (layout::port::COM1.start as u16).to_le_bytes());
    if !vga.0.is_empty() && !vga.is_for_pci() {
        items.add_file("vgaroms/vgabios.bin", vga.0.as_slice());
    }
    add_acpi(&mut items, cpus);
    items
}

/// The ACPI tables, and what the firmware does to put them where it likes: allocate room for the
/// files, add the addresses to the pointers, make the checksums right.
fn add_acpi(items: &mut Items, cpus: usize) {
    let tables = Tables::new(0, cpus);
    let mut script = Vec::new();
    // Pages in high memory for the tables; the root is where it is looked for, from F0000h on.
    script.extend(command(1, &[&name(TABLES), &64_u32.to_le_bytes(), &[1]]));
    script.extend(command(1, &[&name(ROOT), &16_u32.to_le_bytes(), &[2]]));
    let mut pointer = |file, at: usize, width: u8| {
        let at = (at as u32).to_le_bytes();
        script.extend(command(2, &[&name(file), &name(TABLES), &at, &[width]]));
    };
    tables.pointers.iter().for_each(|&(at, width)| pointer(TABLES, at, width));
    pointer(ROOT, RSDT_ADDRESS, 4);
    pointer(ROOT, XSDT_ADDRESS, 8);
    let mut sum = |file, at: usize, start: usize, len: usize| {
        let [at, start, len] = [at, start, len].map(|n| (n as u32).to_le_bytes());
        script.extend(command(3, &[&name(file), &at, &start, &len]));
    };
    tables.places.iter().for_each(|place| sum(TABLES, place.start + 9, place.start, place.len()));
    ROOT_CHECKSUMS.into_iter().for_each(|(at, len)| sum(ROOT, at, 0, len));
    items.add_file(ROOT, tables.rsdp());
    items.add_file(TABLES, tables.bytes);
    items.add_file("etc/table-loader", script);
}

/// The file of the tables.
const TABLES: &str = "etc/acpi/tables";
/// The file of their root.
const ROOT: &str = "etc/acpi/rsdp";

/// A file's name as it is in a command.
fn name(name: &str) -> [u8; 56] {
    let mut bytes = [0; 56];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// A command of the table loader: 128 bytes.
fn command(number: u32, fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    fields.iter().for_each(|field| bytes.extend_from_slice(field));
    bytes.resize(128, 0);
    bytes
}

/// RAM: start, length and kind of each range. The holes below 1 MiB are the firmware's to find.
fn e820(memory: u64) -> Vec<u8> {
    let high = memory.saturating_sub(layout::LOW_END);
    let ranges = [(0, memory - high), (layout::HIGH, high)];
    let ranges = ranges.into_iter().filter(|(_, len)| *len != 0);
    ranges.flat_map(|(start, len)| Range { start, len, kind: RAM }.bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rom_ends_at_4_gib() {
        let path = std::env::temp_dir().join(format!("mynah-rom-{}", std::process::id()));
        let mut bytes = vec![0; 256 << 10];
        bytes[0] = 1;
        *bytes.last_mut().expect("bytes") = 3;
        std::fs::write(&path, &bytes).expect("a file");
        let rom = rom(&path);
        let _ = std::fs::remove_file(&path);
        let rom = rom.expect("a ROM");
        let at = |ram: &Ram, pa| {
            let mut byte = [0];
            ram.read(pa, &mut byte).map(|()| byte[0])
        };
        assert_eq!(at(&rom, 0xfffc_0000), Ok(1));
        assert_eq!(at(&rom, 0xffff_ffff), Ok(3));
    }

    #[test]
    fn what_is_no_rom_is_refused() {
        assert!(rom(Path::new("/dev/null")).is_err());
        assert!(rom(Path::new("/nowhere/bios.bin")).is_err());
    }

    #[test]
    fn the_script_of_the_tables_is_made_of_whole_commands() {
        let script = command(2, &[&name(ROOT), &name(TABLES), &24_u32.to_le_bytes(), &[8]]);
        assert_eq!(script.len(), 128);
        assert_eq!(script[..18], *b"\x02\0\0\0etc/acpi/rsdp\0");
        assert_eq!(script[60..76], *b"etc/acpi/tables\0");
        assert_eq!(script[116..121], [24, 0, 0, 0, 8]);
    }

    #[test]
    fn memory_above_the_devices_is_listed_apart() {
        assert_eq!(e820(1 << 20).len(), 20);
        let map = e820(4 << 30);
        assert_eq!(map.len(), 40);
        assert_eq!(map[8..16], layout::LOW_END.to_le_bytes());
        assert_eq!(map[20..28], layout::HIGH.to_le_bytes());
    }
}
