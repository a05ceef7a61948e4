//! Multiboot 1 (Multiboot Specification 0.6.96): a kernel that carries a header in its first 8 KiB,
//! as an ELF file or with load addresses in the header, and modules.

use super::information::{Information, words};
use super::map::memory_map;
use super::{
    BootError, Entry, Image, Piece, command_line, pieces, place, place_files, read, u32_at,
};
use crate::layout;
use mynah_bus::Ram;
use mynah_loader::Physical;
use std::path::Path;

/// What the header begins with.
const MAGIC: u32 = 0x1bad_b002;
/// What a kernel finds in EAX.
const LOADED: u32 = 0x2bad_b002;
/// The header lies in the file's first bytes.
const SEARCHED: usize = 8192;

/// Flags of the header (3.1.2).
mod wants {
    /// Modules start at pages, which they always do here.
    pub(super) const PAGES: u32 = 1 << 0;
    /// The memory fields of the information, which are always there.
    pub(super) const MEMORY: u32 = 1 << 1;
    /// The header says which video mode the kernel likes. It gets text, and is told of no other.
    pub(super) const VIDEO: u32 = 1 << 2;
    /// Those that must be known to who loads the kernel.
    pub(super) const REQUIRED: u32 = 0xffff;
    /// The header has the load addresses.
    pub(super) const ADDRESSES: u32 = 1 << 16;
}

/// Flags of the information (3.3).
mod tells {
    pub(super) const MEMORY: u32 = 1 << 0;
    pub(super) const COMMAND_LINE: u32 = 1 << 2;
    pub(super) const MODULES: u32 = 1 << 3;
    pub(super) const MAP: u32 = 1 << 6;
    pub(super) const LOADER: u32 = 1 << 9;
}

/// A kernel's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// Its offset in the file.
    at: usize,
    flags: u32,
}

impl Header {
    /// The header in `file`, if it has one.
    pub(crate) fn find(file: &[u8]) -> Option<Header> {
        let searched = &file[..file.len().min(SEARCHED)];
        (0..searched.len().saturating_sub(11)).step_by(4).find_map(|at| {
            let flags = u32_at(searched, at + 4);
            let sum = MAGIC.wrapping_add(flags).wrapping_add(u32_at(searched, at + 8));
            (u32_at(searched, at) == MAGIC && sum == 0).then_some(Header { at, flags })
        })
    }

    /// The kernel's one piece and its entry, by the header's load addresses (3.1.3).
    fn addresses<'f>(&self, file: &'f [u8]) -> Result<(Piece<'f>, u32), &'static str> {
        if file.len() < self.at + 32 {
            return Err("the multiboot header is cut short");
        }
        let field = |n: usize| u32_at(file, self.at + 12 + 4 * n);
        let (header, load, load_end, bss_end, entry) =
            (field(0), field(1), field(2), field(3), field(4));
        let wrong = "the addresses in its multiboot header contradict each other";
        // How much of the file is loaded lies before the header.
        let before = header.checked_sub(load).ok_or(wrong)? as usize;
        let start = self.at.checked_sub(before).ok_or(wrong)?;
        let bytes = match load_end {
            0 => &file[start..],
            end => {
                let len = end.checked_sub(load).ok_or(wrong)? as usize;
                file.get(start..).and_then(|rest| rest.get(..len)).ok_or("the file is cut short")?
            }
        };
        let len = match bss_end {
            0 => bytes.len() as u64,
            end => u64::from(end.checked_sub(load).ok_or(wrong)?).max(bytes.len() as u64),
        };
        Ok((Piece { pa: load.into(), bytes, len }, entry))
    }
}

/// The kernel's pieces and its entry.
fn parts<'f>(header: &Header, file: &'f [u8]) -> Result<(Vec<Piece<'f>>, u32), String> {
    if header.flags & wants::ADDRESSES != 0 {
        let (piece, entry) = header.addresses(file)?;
        return Ok((vec![piece], entry));
    }
    let kernel = Physical::parse(file).map_err(|e| e.to_string())?;
    let entry = u32::try_from(kernel.entry).map_err(|_| "its entry is above 4 GiB")?;
    Ok((pieces(&kernel, file), entry))
}

/// Puts the kernel, its modules and its information into `ram`.
///
/// The modules are the files that the image's `initrd` lists, with commas between them; words
/// after a file's name are the module's command line.
pub(crate) fn load(image: &Image<'_>, header: &Header, ram: &Ram) -> Result<Entry, BootError> {
    let bad = |message: String| BootError::of(image.name, message);
    let unknown = header.flags & wants::REQUIRED & !(wants::PAGES | wants::MEMORY | wants::VIDEO);
    if unknown != 0 {
        return Err(bad(format!("its multiboot header needs what is not known: {unknown:#x}")));
    }
    let (parts, pc) = parts(header, image.file).map_err(bad)?;
    let end = place(&parts, image.name, ram)?;

    let list = image.initrd.map(Path::to_string_lossy).unwrap_or_default();
    let lines: Vec<&str> = list.split(',').filter(|line| !line.is_empty()).collect();
    let mut files = Vec::new();
    for line in &lines {
        let path = Path::new(line.split(' ').next().unwrap_or_default());
        files.push((path, read(path)?));
    }
    let mut information = Information::default();
    let mut modules = Vec::new();
    for (place, line) in place_files(&files, end, ram)?.iter().zip(&lines) {
        let line = information.text(line.as_bytes());
        modules.extend([place.start as u32, place.end as u32, line, 0]);
    }
    let modules = information.add(&words(&modules));

    let mut map = Vec::new();
    for range in memory_map(image.memory) {
        // The size of what follows it.
        map.extend(20_u32.to_le_bytes());
        map.extend(range.bytes());
    }
    let map_bytes = map.len() as u32;
    let map = information.add(&map);
    // By custom it begins with the kernel's name.
    let line = format!("{} {}", image.name.display(), image.command_line);
    let line = information.text(command_line(line.trim_end())?);
    let loader = information.text(b"Mynah");
    let upper = image.memory.min(layout::LOW_END).saturating_sub(layout::EXTENDED);

    let flags = tells::MEMORY | tells::COMMAND_LINE | tells::MODULES | tells::MAP | tells::LOADER;
    let mut fields = [0; 29];
    fields[0] = flags;
    fields[1] = (layout::EBDA >> 10) as u32;
    fields[2] = (upper >> 10) as u32;
    fields[4] = line;
    fields[5] = lines.len() as u32;
    fields[6] = modules;
    fields[11] = map_bytes;
    fields[12] = map;
    fields[16] = loader;
    let ebx = information.add(&words(&fields));
    information.write(ram)?;
    Ok(Entry::Protected { pc, eax: LOADED, ebx, esi: 0 })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{elf, image, machine, word};
    use super::*;

    fn header(flags: u32) -> [u32; 3] {
        [MAGIC, flags, 0_u32.wrapping_sub(MAGIC).wrapping_sub(flags)]
    }

    /// A kernel with load addresses: 16 bytes, the header, these addresses, 4 bytes.
    fn flat(addresses: [u32; 5]) -> Vec<u8> {
        let mut file = vec![0x90; 16];
        file.extend(words(&header(wants::ADDRESSES | wants::PAGES)));
        file.extend(words(&addresses));
        file.extend(b"data");
        file
    }

    const GOOD: [u32; 5] = [0x10_0010, 0x10_0000, 0, 0x10_1000, 0x10_0004];

    #[test]
    fn a_header_is_found_by_its_sum() {
        let mut file = words(&[1, 2]);
        file.extend(words(&header(3)));
        assert_eq!(Header::find(&file), Some(Header { at: 8, flags: 3 }));
        file[12] = 4;
        assert_eq!(Header::find(&file), None);
        let mut late = vec![0; SEARCHED - 8];
        late.extend(words(&header(0)));
        assert_eq!(Header::find(&late), None);
        assert_eq!(Header::find(b""), None);
    }

    #[test]
    fn a_kernel_with_load_addresses() {
        let (ram, memory) = machine();
        let file = flat(GOOD);
        let image = Image { command_line: "quiet", ..image(&file, memory) };
        let header = Header::find(&file).expect("a header");
        let entry = load(&image, &header, &ram).expect("it can be loaded");
        let Entry::Protected { pc: 0x10_0004, eax: LOADED, ebx, .. } = entry else {
            panic!("{entry:?}")
        };
        assert_eq!(word(&ram, 0x10_0010), MAGIC);
        assert_eq!(word(&ram, 0x10_0030), u32::from_le_bytes(*b"data"));
        let field = |n: u64| word(&ram, u64::from(ebx) + 4 * n);
        assert_eq!([field(1), field(2)], [639, ((memory - (1 << 20)) >> 10) as u32]);
        assert_eq!(word(&ram, field(4).into()), u32::from_le_bytes(*b"kern"));
        assert_eq!(field(11), 24 * memory_map(memory).len() as u32);
        assert_eq!(word(&ram, field(12).into()), 20);
    }

    #[test]
    fn an_elf_kernel_and_its_modules() {
        let (ram, memory) = machine();
        let file = elf(&[(1, 0x10_0000, &words(&header(0)), 0x1234)]);
        let folder = std::env::temp_dir().join(format!("mynah-modules-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder");
        let (one, two) = (folder.join("one"), folder.join("two"));
        std::fs::write(&one, b"first").expect("a file");
        std::fs::write(&two, b"second").expect("a file");
        let list = format!("{} with words,{}", one.display(), two.display());
        let image = Image { initrd: Some(Path::new(&list)), ..image(&file, memory) };
        let header = Header::find(&file).expect("a header");
        let entry = load(&image, &header, &ram);
        let _ = std::fs::remove_dir_all(&folder);
        let Ok(Entry::Protected { ebx, .. }) = entry else { panic!("{entry:?}") };
        let field = |n: u64| word(&ram, u64::from(ebx) + 4 * n);
        assert_eq!(field(5), 2);
        let module = |n: u64| word(&ram, u64::from(field(6)) + 4 * n);
        assert_eq!([module(0), module(1), module(4)], [0x10_2000, 0x10_2005, 0x10_3000]);
        assert_eq!(word(&ram, 0x10_2000), u32::from_le_bytes(*b"firs"));
        let mut line = vec![0; list.find(',').unwrap_or(0)];
        ram.read(module(2).into(), &mut line).expect("RAM");
        assert!(line.ends_with(b"one with words"));
    }

    #[test]
    fn hostile_headers_are_one_line() {
        let bad = |n: usize, value: u32| {
            let mut addresses = GOOD;
            addresses[n] = value;
            let (ram, memory) = machine();
            let file = flat(addresses);
            let header = Header::find(&file).expect("a header");
            let error = load(&image(&file, memory), &header, &ram).expect_err("bad").to_string();
            assert!(!error.contains('\n'), "{error}");
        };
        // Header below and far above the load address; load addresses that wrap, lie outside RAM or
        // on the board's tables; ends before starts and beyond file and memory.
        for (n, values) in [
            (0, &[0, 0xf_ffff, 0x20_0000, u32::MAX][..]),
            (1, &[0x10_0011, 0, u32::MAX]),
            (2, &[1, 0xf_ffff, 0x10_1000, u32::MAX]),
            (3, &[1, 0xf_ffff, u32::MAX]),
        ] {
            values.iter().for_each(|&value| bad(n, value));
        }
        let (ram, memory) = machine();
        for len in 0..48 {
            let file = &flat(GOOD)[..len];
            if let Some(header) = Header::find(file) {
                assert!(load(&image(file, memory), &header, &ram).is_err());
            }
        }
        let file = words(&header(8));
        let header = Header::find(&file).expect("a header");
        assert!(load(&image(&file, memory), &header, &ram).is_err());
    }
}
