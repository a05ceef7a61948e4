//! The Linux boot protocol (Documentation/arch/x86/boot.rst of the kernel): a bzImage and an
//! initial RAM disk.

use super::information::ROOM;
use super::map::memory_map;
use super::{BootError, Entry, Image, command_line, read, u16_at, u32_at};
use crate::layout;
use mynah_bus::Ram;

/// Physical address of the boot parameters, the "zero page".
const PARAMS: u64 = ROOM.start;
/// Physical address of the command line.
const COMMAND_LINE: u64 = ROOM.start + 0x1_0000;
/// Longest command line, with its zero, that fits there.
const COMMAND_LINE_ROOM: usize = (ROOM.end - COMMAND_LINE) as usize;

/// Offsets in the boot parameters and, the same, in the file's first sectors.
mod field {
    pub(super) const VIDEO_MODE: usize = 0x06;
    pub(super) const VIDEO_COLUMNS: usize = 0x07;
    pub(super) const VIDEO_LINES: usize = 0x0e;
    pub(super) const VIDEO_IS_VGA: usize = 0x0f;
    pub(super) const VIDEO_POINTS: usize = 0x10;
    pub(super) const ACPI_RSDP: usize = 0x70;
    pub(super) const E820_COUNT: usize = 0x1e8;
    pub(super) const SETUP_SECTS: usize = 0x1f1;
    pub(super) const BOOT_FLAG: usize = 0x1fe;
    pub(super) const JUMP: usize = 0x201;
    pub(super) const MAGIC: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const LOADER: usize = 0x210;
    pub(super) const FLAGS: usize = 0x211;
    pub(super) const CODE32: usize = 0x214;
    pub(super) const RAMDISK: usize = 0x218;
    pub(super) const RAMDISK_LEN: usize = 0x21c;
    pub(super) const HEAP_END: usize = 0x224;
    pub(super) const COMMAND_LINE: usize = 0x228;
    pub(super) const RAMDISK_MAX: usize = 0x22c;
    pub(super) const XFLAGS: usize = 0x236;
    pub(super) const COMMAND_LINE_MAX: usize = 0x238;
    pub(super) const INIT_SIZE: usize = 0x260;
    pub(super) const E820: usize = 0x2d0;
}

/// Whether a file with these first bytes is one for [`load`].
pub(crate) fn is_kernel(file: &[u8]) -> bool {
    u16_at(file, field::BOOT_FLAG) == 0xaa55
        && file.get(field::MAGIC..field::MAGIC + 4) == Some(b"HdrS")
}

/// Puts the kernel, its parameters and its RAM disk into `ram`.
pub(crate) fn load(image: &Image<'_>, ram: &Ram) -> Result<Entry, BootError> {
    let (file, memory) = (image.file, image.memory);
    let bad = |message: &str| BootError::of(image.name, message);
    let version = u16_at(file, field::VERSION);
    if version < 0x206 || file[field::FLAGS] & 1 == 0 {
        return Err(bad("a kernel of this age (boot protocol below 2.6, or zImage) is not known"));
    }
    let sectors = match file[field::SETUP_SECTS] {
        0 => 4,
        n => usize::from(n),
    };
    let code = file.get((sectors + 1) * 512..).filter(|code| !code.is_empty());
    let code = code.ok_or_else(|| bad("the file is cut short"))?;
    let start = layout::EXTENDED;
    ram.write(start, code)?;

    // What the kernel needs while it unpacks itself.
    let kernel_end = start + u64::from(u32_at(file, field::INIT_SIZE)).max(code.len() as u64);
    let low_end = memory.min(layout::LOW_END);
    if kernel_end > low_end {
        let needed = kernel_end.div_ceil(1 << 20);
        return Err(bad(&format!("the kernel needs at least {needed} MiB of memory")));
    }

    let mut params = vec![0; 4096];
    let header_end = (field::MAGIC + usize::from(file[field::JUMP])).min(params.len());
    params[field::SETUP_SECTS..header_end].copy_from_slice(&file[field::SETUP_SECTS..header_end]);
    let mut put = |at: usize, bytes: &[u8]| params[at..at + bytes.len()].copy_from_slice(bytes);
    // A boot loader without a number of its own.
    put(field::LOADER, &[0xff]);
    // The kernel's own low memory is ours to give: its heap is used.
    put(field::FLAGS, &[file[field::FLAGS] | 0x80]);
    put(field::HEAP_END, &0xfe00_u16.to_le_bytes());
    put(field::COMMAND_LINE, &(COMMAND_LINE as u32).to_le_bytes());
    put(field::CODE32, &(start as u32).to_le_bytes());
    // The display is in the mode of `Vga::set_text_mode`.
    put(field::VIDEO_MODE, &[3]);
    put(field::VIDEO_COLUMNS, &[80]);
    put(field::VIDEO_LINES, &[25]);
    put(field::VIDEO_IS_VGA, &[1]);
    put(field::VIDEO_POINTS, &16_u16.to_le_bytes());
    if let Some(rsdp) = image.rsdp {
        put(field::ACPI_RSDP, &rsdp.to_le_bytes());
    }

    if let Some(path) = image.initrd {
        let disk = read(path)?;
        let highest = u64::from(u32_at(file, field::RAMDISK_MAX)) + 1;
        let end = highest.min(low_end);
        let at = end.checked_sub(disk.len() as u64).map(|at| at & !0xfff);
        let at = at.filter(|&at| at >= kernel_end).ok_or_else(|| {
            let needed = (kernel_end + disk.len() as u64).div_ceil(1 << 20);
            BootError::of(path, format!("kernel and RAM disk need at least {needed} MiB of memory"))
        })?;
        ram.write(at, &disk)?;
        put(field::RAMDISK, &(at as u32).to_le_bytes());
        put(field::RAMDISK_LEN, &(disk.len() as u32).to_le_bytes());
    }

    let room = (u32_at(file, field::COMMAND_LINE_MAX) as usize).min(COMMAND_LINE_ROOM - 1);
    let line = command_line(image.command_line)?;
    if line.len() > room {
        return Err(bad(&format!("the command line is longer than the kernel's {room} bytes")));
    }
    ram.write(COMMAND_LINE, line)?;
    ram.write(COMMAND_LINE + line.len() as u64, &[0])?;

    let map = memory_map(memory);
    put(field::E820_COUNT, &[map.len() as u8]);
    for (n, range) in map.iter().enumerate() {
        put(field::E820 + 20 * n, &range.bytes());
    }
    ram.write(PARAMS, &params)?;

    let has_64 = version >= 0x20c && u16_at(file, field::XFLAGS) & 1 != 0;
    Ok(if has_64 {
        Entry::Long { pc: start + 0x200, rsi: PARAMS }
    } else {
        Entry::Protected { pc: start as u32, eax: 0, ebx: 0, esi: PARAMS as u32 }
    })
}
