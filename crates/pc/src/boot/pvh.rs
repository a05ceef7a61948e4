//! PVH, the boot protocol of Xen's "hardware virtual machine without emulation": an ELF kernel with
//! a note that names its entry in 32-bit protected mode (Xen, docs/misc/pvh.pandoc; the structures
//! are those of xen/include/public/arch-x86/hvm/start_info.h).

use super::information::{Information, words};
use super::map::memory_map;
use super::{BootError, Entry, Image, command_line, pieces, place, place_files, read};
use mynah_bus::Ram;
use mynah_loader::Physical;

/// XEN_HVM_START_MAGIC_VALUE.
const MAGIC: u32 = 0x336e_c578;
/// The version of the structure, which has the memory map.
const VERSION: u32 = 1;

/// The two words of a 64-bit field.
fn long(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Puts the kernel, its parameters and its RAM disk into `ram`.
pub(crate) fn load(image: &Image<'_>, ram: &Ram) -> Result<Entry, BootError> {
    let bad = |message: String| BootError::of(image.name, message);
    let kernel = Physical::parse(image.file).map_err(|e| bad(e.to_string()))?;
    let Some(entry) = kernel.pvh_entry else {
        return Err(bad("an ELF file without a multiboot header or a PVH entry".to_owned()));
    };
    let pc = u32::try_from(entry).map_err(|_| bad("its PVH entry is above 4 GiB".to_owned()))?;
    let end = place(&pieces(&kernel, image.file), image.name, ram)?;

    let files = match image.initrd {
        Some(path) => vec![(path, read(path)?)],
        None => Vec::new(),
    };
    let mut information = Information::default();
    let modules = place_files(&files, end, ram)?;
    let entries = modules.iter().map(|at| [at.start, at.end - at.start, 0, 0]);
    let entries: Vec<u32> = entries.flatten().flat_map(long).collect();
    let list = information.add(&words(&entries));
    let map = memory_map(image.memory);
    let ranges = map.iter().map(|range| (long(range.start), long(range.len), range.kind));
    let ranges: Vec<_> =
        ranges.flat_map(|(start, len, kind)| [start, len, [kind, 0]]).flatten().collect();
    let ranges = information.add(&words(&ranges));
    let line = information.text(command_line(image.command_line)?);
    let mut start = vec![MAGIC, VERSION, 0, modules.len() as u32];
    for address in [list.into(), line.into(), image.rsdp.unwrap_or(0), ranges.into()] {
        start.extend(long(address));
    }
    start.extend([map.len() as u32, 0]);
    let ebx = information.add(&words(&start));
    information.write(ram)?;
    Ok(Entry::Protected { pc, eax: 0, ebx, esi: 0 })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{elf, image, machine, word};
    use super::*;
    use crate::layout;

    /// A note of Xen's that names this entry.
    fn note(entry: u32) -> Vec<u8> {
        words(&[4, 4, 18, u32::from_le_bytes(*b"Xen\0"), entry])
    }

    #[test]
    fn the_start_information_leads_to_all_else() {
        let file = elf(&[(1, 0x10_0000, b"code", 0x2000), (4, 0, &note(0x10_0001), 0)]);
        let (ram, memory) = machine();
        let image = Image { command_line: "a b", rsdp: Some(0xe_0000), ..image(&file, memory) };
        let entry = load(&image, &ram).expect("it can be loaded");
        let Entry::Protected { pc: 0x10_0001, ebx, .. } = entry else { panic!("{entry:?}") };
        let field = |n: u64| word(&ram, u64::from(ebx) + 4 * n);
        assert_eq!([field(0), field(1), field(3)], [MAGIC, VERSION, 0]);
        assert_eq!(word(&ram, field(6).into()), u32::from_le_bytes(*b"a b\0"));
        assert_eq!([field(8), field(12)], [0xe_0000, memory_map(memory).len() as u32]);
        // The first range of the map: from 0, RAM.
        let map = u64::from(field(10));
        assert_eq!([0, 8, 16].map(|at| word(&ram, map + at)), [0, layout::EBDA as u32, 1]);
    }

    #[test]
    fn an_elf_file_without_a_note_is_no_kernel() {
        let file = elf(&[(1, 0x10_0000, b"code", 4)]);
        let (ram, memory) = machine();
        let error = load(&image(&file, memory), &ram).expect_err("no entry").to_string();
        assert!(error.contains("PVH"), "{error}");
    }
}
