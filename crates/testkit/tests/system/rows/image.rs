//! What rows begin with: one memory image with descriptor tables, task-state segments and page tables
//! for all modes, and *settings*, which are the registers of a mode.
//!
//! Memory that means nothing is [`FILL`], so that whatever is pushed shows. Linear addresses are
//! physical up to [`TEST`], the pages that paging is tested with. Code may be wherever
//! the bytes are [`LANDING`]'s: there a row ends.

use super::state::{Row, SEGMENTS, State, word};
use mynah_x86::registers::{DR6_RESET, DR7_RESET, cr0, cr4, efer};
use mynah_x86::segment::{CS, DS, ES, SS, Segment, Table};
use std::sync::OnceLock;

/// Bytes of memory, from physical address 0.
pub(crate) const BYTES: usize = 0x4_0000;
/// What stands where nothing else does.
const FILL: u8 = 0xa5;
/// Where the code under test is.
pub(crate) const CODE: u64 = 0x8000;
/// The handlers, 16 bytes for each vector.
pub(crate) const HANDLERS: u64 = 0x3000;
/// Code to go to, 16 bytes for each target.
const TARGETS: u64 = 0x4000;
/// Linear addresses of pages with all kinds of entries; physically they are [`TEST_FRAMES`].
const TEST: u64 = 0x2_0000;
const TEST_FRAMES: u64 = 0x3_0000;

const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const IDT64: u64 = 0x5000;
const TSS: u64 = 0x6000;
const TSS64: u64 = 0x6400;
const TSS16: u64 = 0x6800;
/// The tasks to switch to.
const NEW_TSS: u64 = 0x6a00;
const NEW_TSS16: u64 = 0x6c00;
const LDT: u64 = 0xd000;
/// Top of the stack in use.
const STACK: u64 = 0x9800;
/// Top of the stack of privilege level 0 in the TSS; those of levels 1 and 2 and of the interrupt
/// stack table lie below, 0x100 bytes apart.
const INNER: u64 = 0xa800;

const DIRECTORY: u64 = 0x1_0000;
const TABLE: u64 = 0x1_1000;
const PAE_POINTERS: u64 = 0x1_2000;
const PAE_DIRECTORY: u64 = 0x1_3000;
const PAE_TABLE: u64 = 0x1_4000;
const LEVEL4: u64 = 0x1_5000;
const POINTERS: u64 = 0x1_6000;

/// Where code may go: it tells the arithmetic flags, as Bochs needs it (LAHF; SETO AL), and halts.
pub(crate) const LANDING: [u8; 16] = {
    let mut bytes = [0xf4; 16];
    bytes[0] = 0x9f;
    bytes[1] = 0x0f;
    bytes[2] = 0x90;
    bytes[3] = 0xc0;
    bytes
};

/// A segment descriptor: base, limit (as it stands there), access byte and flags.
const fn descriptor(base: u64, limit: u64, access: u64, flags: u64) -> u64 {
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | access << 40
        | (limit >> 16 & 15) << 48
        | flags << 52
        | (base >> 24 & 0xff) << 56
}

/// A gate: selector, offset, access byte, and count of parameters or interrupt stack.
const fn gate(selector: u64, offset: u64, access: u64, count: u64) -> u64 {
    offset & 0xffff | selector << 16 | count << 32 | access << 40 | (offset >> 16 & 0xffff) << 48
}

/// A segment of 4 GiB; flags 0xc are 32-bit, 0xa 64-bit.
const fn flat(access: u64, flags: u64) -> u64 {
    descriptor(0, 0xfffff, access, flags)
}

/// The GDT by selector. Of a descriptor of 16 bytes in long mode the upper half is 0.
const DESCRIPTORS: &[(u64, u64)] = &[
    // Code and data of privilege levels 0 and 3, 32-bit; code of 64 bits.
    (0x08, flat(0x9b, 0xc)),
    (0x10, flat(0x93, 0xc)),
    (0x18, flat(0xfb, 0xc)),
    (0x20, flat(0xf3, 0xc)),
    (0x28, flat(0x9b, 0xa)),
    (0x30, flat(0xfb, 0xa)),
    // The TSS in use, of 32 and of 64 bits.
    (0x38, descriptor(TSS, 0x1ff, 0x8b, 0)),
    (0x40, descriptor(TSS64, 0x1ff, 0x8b, 0)),
    // A task to switch to.
    (0x50, descriptor(NEW_TSS, 0x67, 0x89, 0)),
    // 16-bit code and data.
    (0x58, descriptor(0, 0xffff, 0x9b, 0)),
    (0x60, descriptor(0, 0xffff, 0x93, 0)),
    // Code and data of privilege level 1.
    (0x68, flat(0xbb, 0xc)),
    (0x70, flat(0xb3, 0xc)),
    // Code: conforming, not present.
    (0x78, flat(0x9f, 0xc)),
    (0x80, flat(0x1b, 0xc)),
    // Data: read-only, expanding down (32-bit, 16-bit), not present.
    (0x88, flat(0x91, 0xc)),
    (0x90, descriptor(0, 0x8fff, 0x97, 4)),
    (0x98, descriptor(0, 0x8fff, 0x97, 0)),
    (0xa0, flat(0x13, 0xc)),
    // Code that cannot be read.
    (0xa8, flat(0x99, 0xc)),
    // Data and code that were not accessed.
    (0xb0, flat(0x92, 0xc)),
    (0xb8, flat(0x9a, 0xc)),
    // The LDT, of 16 bytes in long mode.
    (0xc0, descriptor(LDT, 0x3f, 0x82, 0)),
    // Call gates: for everyone with two parameters, for level 0, of 16 bits with one parameter.
    (0xd0, gate(0x08, TARGETS, 0xec, 2)),
    (0xd8, gate(0x08, TARGETS, 0x8c, 0)),
    (0xe0, gate(0x08, TARGETS, 0xe4, 1)),
    // Call gates to conforming code, not present, to nowhere.
    (0xe8, gate(0x78, TARGETS, 0xec, 0)),
    (0xf0, gate(0x08, TARGETS, 0x6c, 0)),
    (0xf8, gate(0, TARGETS, 0xec, 0)),
    // A task gate, and a task of 16 bits.
    (0x100, gate(0x50, 0, 0xe5, 0)),
    (0x108, descriptor(NEW_TSS16, 0x2b, 0x81, 0)),
    // Call gates of long mode: for everyone, for level 0, to code that is not 64-bit code.
    (0x110, gate(0x28, TARGETS, 0xec, 0)),
    (0x120, gate(0x28, TARGETS, 0x8c, 0)),
    (0x130, gate(0x08, TARGETS, 0xec, 0)),
    // An interrupt gate, which has no business here.
    (0x140, gate(0x08, TARGETS, 0xee, 0)),
    // Data of level 3 with a limit.
    (0x148, descriptor(0, 0xbfff, 0xf3, 4)),
    // Code of 64 and of 32 bits at once.
    (0x150, flat(0x9b, 0xe)),
    // A task that is in use.
    (0x158, descriptor(NEW_TSS, 0x67, 0x8b, 0)),
    // Conforming code of level 3; code that ends before the targets do.
    (0x160, flat(0xff, 0xc)),
    (0x168, descriptor(0, 0x3fff, 0x9b, 4)),
    // A call gate to level 1.
    (0x170, gate(0x68, TARGETS, 0xec, 0)),
    // Data of level 2.
    (0x178, flat(0xd3, 0xc)),
    // 16-bit code and data of level 3.
    (0x180, descriptor(0, 0xffff, 0xfb, 0)),
    (0x188, descriptor(0, 0xffff, 0xf3, 0)),
    // Tasks: too small, not present.
    (0x190, descriptor(NEW_TSS, 0x66, 0x89, 0)),
    (0x198, descriptor(NEW_TSS, 0x67, 0x09, 0)),
    // A call gate to data; system types that do not exist.
    (0x1a0, gate(0x10, TARGETS, 0xec, 0)),
    (0x1a8, descriptor(0, 0xfff, 0xe0, 0)),
    (0x1b0, descriptor(0, 0xfff, 0xe8, 0)),
    // Data of level 3 at an address of its own.
    (0x1b8, descriptor(0x100, 0xfffff, 0xf3, 0xc)),
    // A TSS of 16 bytes; an LDT that is not present; a call gate to code that is not.
    (0x1c0, descriptor(TSS64, 0x1ff, 0x89, 0)),
    (0x1d0, descriptor(LDT, 0x3f, 0x02, 0)),
    (0x1e0, gate(0x80, TARGETS, 0xec, 0)),
    // Conforming 64-bit code; 64-bit code that is not present.
    (0x1f0, flat(0x9f, 0xa)),
    (0x1f8, flat(0x1b, 0xa)),
    // A stack of level 0 that is small; one that is not present.
    (0x200, descriptor(0, 0x97ff, 0x93, 4)),
    (0x208, flat(0x13, 0xc)),
    // A data segment of level 0 with a base, byte-granular.
    (0x210, descriptor(0xb000, 0xff, 0x93, 4)),
];
/// The GDT's limit.
const GDT_LIMIT: u16 = 0x217;

/// The LDT, by selector with its table bit.
const LOCAL: &[(u64, u64)] =
    &[(0x0c, flat(0x93, 0xc)), (0x14, flat(0xf3, 0xc)), (0x1c, flat(0x9b, 0xc))];

/// Vectors whose gates are odd: selector, access byte, and in long mode the interrupt stack. All
/// others below 0x20 are interrupt gates for level 0, but 3 and 4, which are for everyone.
const GATES: &[(u64, u64, u64, u64)] = &[
    (0x20, 0x08, 0xee, 0),
    (0x21, 0x08, 0xef, 0),
    (0x22, 0x08, 0xe6, 0),
    (0x23, 0x08, 0xe7, 0),
    (0x24, 0x50, 0xe5, 0),
    (0x25, 0x08, 0x6e, 0),
    (0x26, 0x10, 0xee, 0),
    (0x27, 0x00, 0xee, 0),
    (0x28, 0x78, 0xee, 0),
    (0x29, 0x80, 0xee, 0),
    (0x2a, 0x18, 0xee, 0),
    (0x2b, 0x400, 0xee, 0),
    (0x2c, 0x08, 0xec, 0),
    (0x2d, 0x08, 0x8e, 0),
    (0x2e, 0x68, 0xee, 0),
    (0x2f, 0x58, 0xee, 0),
    // Interrupt stacks; in protected mode the field means nothing.
    (0x31, 0x08, 0xee, 1),
    (0x37, 0x08, 0xee, 7),
    // A gate that stands for 32-bit code, in long mode too.
    (0x38, 0x08, 0xee, 0),
    (0x40, 0x58, 0xe6, 0),
    (0x41, 0x60, 0xee, 0),
    (0x42, 0x1c, 0xee, 0),
];

/// The memory that all rows begin with.
pub(crate) fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(build)
}

fn build() -> Vec<u8> {
    let mut image = vec![FILL; BYTES];
    let mut put = |at: u64, value: u64, bytes: usize| {
        image[at as usize..][..bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    };
    // Page tables and descriptor tables are 0 where nothing is said.
    for at in (0..0x1000).chain(0x1000..0x3000).chain(0x5000..0x7000).chain(DIRECTORY..TEST) {
        put(at, 0, 1);
    }
    for vector in 0..256 {
        put(4 * vector, (HANDLERS >> 4) << 16 | 16 * vector, 4);
    }
    for at in (HANDLERS..TARGETS + 0x1000).step_by(16) {
        for (n, byte) in LANDING.into_iter().enumerate() {
            put(at + n as u64, byte.into(), 1);
        }
    }
    for &(selector, value) in DESCRIPTORS {
        put(GDT + selector, value, 8);
    }
    for at in (LDT..LDT + 0x40).step_by(8) {
        put(at, 0, 8);
    }
    for &(selector, value) in LOCAL {
        put(LDT + (selector & !7), value, 8);
    }
    let everyone = [3, 4];
    let plain = (0..0x20).map(|v| (v, 8, if everyone.contains(&v) { 0xee } else { 0x8e }, 0));
    for (vector, selector, access, stack) in plain.chain(GATES.iter().copied()) {
        let offset = HANDLERS + 16 * vector;
        put(IDT + 8 * vector, gate(selector, offset, access, 0), 8);
        let selector = if selector == 8 && vector != 0x38 { 0x28 } else { selector };
        let selector = if selector == 0x18 { 0x30 } else { selector };
        let selector = if selector == 0x78 { 0x1f0 } else { selector };
        let selector = if selector == 0x80 { 0x1f8 } else { selector };
        put(IDT64 + 16 * vector, gate(selector, offset, access, stack), 8);
    }
    tasks(&mut put);
    page_tables(&mut put);
    image
}

fn tasks(put: &mut impl FnMut(u64, u64, usize)) {
    let (code, stack) = (0x08, 0x10);
    for (level, selector) in [(0, stack), (1, 0x71), (2, 0x17a)] {
        put(TSS + 4 + 8 * level, INNER - 0x100 * level, 4);
        put(TSS + 8 + 8 * level, selector, 4);
        put(TSS64 + 4 + 8 * level, INNER - 0x100 * level, 8);
        put(TSS16 + 2 + 4 * level, INNER - 0x100 * level, 2);
        put(TSS16 + 4 + 4 * level, selector, 2);
    }
    for n in 1..8 {
        put(TSS64 + 0x24 + 8 * (n - 1), INNER + 0x100 * n, 8);
    }
    // The I/O map begins at 0x68: ports 0x20–0x2f and 0x3f8 are permitted.
    for tss in [TSS, TSS64] {
        put(tss + 0x66, 0x68, 2);
        for at in 0x68..0x200 {
            put(tss + at, 0xff, 1);
        }
        put(tss + 0x68 + 0x20 / 8, 0, 2);
        put(tss + 0x68 + 0x3f8 / 8, 0xfe, 1);
    }
    // The old task's CR3 is not saved, the new one's is loaded where paging is on.
    put(NEW_TSS + 0x1c, DIRECTORY, 4);
    put(NEW_TSS + 0x20, TARGETS + 0x20, 4);
    put(NEW_TSS + 0x24, 0x82, 4);
    for n in 0..8 {
        put(NEW_TSS + 0x28 + 4 * n, 0x1111_1111 * (n + 1), 4);
        put(NEW_TSS16 + 0x12 + 2 * n, 0x1111 * (n + 1), 2);
    }
    put(NEW_TSS + 0x38, INNER - 0x400, 4);
    put(NEW_TSS16 + 0x1a, INNER - 0x400, 2);
    put(NEW_TSS16 + 0x0e, TARGETS + 0x30, 2);
    put(NEW_TSS16 + 0x10, 0x82, 2);
    for (n, selector) in [0x10, code, stack, 0x10, 0x23, 0].into_iter().enumerate() {
        put(NEW_TSS + 0x48 + 4 * n as u64, selector, 4);
        if n < 4 {
            put(NEW_TSS16 + 0x22 + 2 * n as u64, selector, 2);
        }
    }
    put(NEW_TSS + 0x60, 0xc0, 4);
    put(NEW_TSS16 + 0x2a, 0xc0, 2);
}

/// Bits of page-table entries.
mod entry {
    pub(super) const P: u64 = 1;
    pub(super) const W: u64 = 2;
    pub(super) const U: u64 = 4;
    pub(super) const A: u64 = 0x20;
    pub(super) const D: u64 = 0x40;
    pub(super) const PS: u64 = 0x80;
    pub(super) const G: u64 = 0x100;
    pub(super) const NX: u64 = 1 << 63;
    pub(super) const RESERVED: u64 = 1 << 51;
}

/// Entries of the pages at [`TEST`], in order, without their frames.
const TEST_PAGES: [u64; 12] = {
    use entry::*;
    [
        P | W | U,
        P | U,
        P | W,
        P,
        W | U,
        P | W | U | NX,
        P | W | U | RESERVED,
        P | W | U | G,
        P | W | U | A,
        P | U | NX,
        P | W | NX,
        P | W | U | A | D,
    ]
};

fn page_tables(put: &mut impl FnMut(u64, u64, usize)) {
    use entry::*;
    let used = P | W | A | D;
    let user = [0x4, 0x8, 0x9, 0xb, 0xc];
    for n in 0..TEST >> 12 {
        let value = n << 12 | used | if user.contains(&n) { U } else { 0 };
        put(TABLE + 4 * n, value, 4);
        put(PAE_TABLE + 8 * n, value, 8);
    }
    for (n, value) in (0..).zip(TEST_PAGES) {
        let page = (TEST >> 12) + n;
        put(TABLE + 4 * page, value & 0xfff | TEST_FRAMES + (n << 12), 4);
        put(PAE_TABLE + 8 * page, value | TEST_FRAMES + (n << 12), 8);
    }
    // Large pages of the memory's begin: for everyone, for the system, with a reserved bit set.
    put(DIRECTORY, TABLE | P | W | U | A, 4);
    put(PAE_DIRECTORY, PAE_TABLE | P | W | U | A, 8);
    for (n, value) in (1..).zip([P | W | U | PS, P | W | PS, P | W | U | PS | 1 << 13, W]) {
        put(PAE_DIRECTORY + 8 * n, value, 8);
        let reserved = if value & 1 << 13 != 0 { 1 << 21 | 1 << 13 } else { 0 };
        put(DIRECTORY + 4 * n, value & 0xfff | reserved, 4);
    }
    put(PAE_POINTERS, PAE_DIRECTORY | P, 8);
    put(LEVEL4, POINTERS | P | W | U | A, 8);
    put(POINTERS, PAE_DIRECTORY | P | W | U | A, 8);
    // Pages of 1 GiB of the memory's begin, the second with a reserved bit set.
    put(POINTERS + 8, P | W | U | PS, 8);
    put(POINTERS + 16, P | W | U | PS | 1 << 13, 8);
    // All of this again, at the lowest of the high addresses, but not to be executed.
    put(LEVEL4 + 8 * 256, POINTERS | P | W | U | A | NX, 8);
}

/// What a setting is made of besides what all have in common.
struct Setting {
    name: &'static str,
    code: u16,
    stack: u16,
    data: u16,
    paging: Paging,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Paging {
    /// Real mode.
    Real,
    /// Virtual-8086 mode without paging.
    Virtual,
    /// Protected mode without paging.
    Off,
    Bits32,
    Pae,
    Long,
}

const fn setting(name: &'static str, code: u16, stack: u16, data: u16, paging: Paging) -> Setting {
    Setting { name, code, stack, data, paging }
}

const SETTINGS: &[Setting] = &[
    setting("real", 0x700, 0, 0xb00, Paging::Real),
    setting("v86", 0x700, 0, 0xb00, Paging::Virtual),
    setting("p16r0", 0x58, 0x60, 0x60, Paging::Off),
    setting("p16r3", 0x183, 0x18b, 0x18b, Paging::Off),
    setting("p32r0", 0x08, 0x10, 0x10, Paging::Off),
    setting("p32r1", 0x69, 0x71, 0x71, Paging::Off),
    setting("p32r3", 0x1b, 0x23, 0x23, Paging::Off),
    setting("pg32r0", 0x08, 0x10, 0x10, Paging::Bits32),
    setting("pg32r3", 0x1b, 0x23, 0x23, Paging::Bits32),
    setting("pae32r0", 0x08, 0x10, 0x10, Paging::Pae),
    setting("pae32r3", 0x1b, 0x23, 0x23, Paging::Pae),
    setting("long0", 0x28, 0x10, 0x10, Paging::Long),
    setting("long3", 0x33, 0x23, 0x23, Paging::Long),
    setting("comp0", 0x08, 0x10, 0x10, Paging::Long),
    setting("comp3", 0x1b, 0x23, 0x23, Paging::Long),
];

/// Bytes of the words that memory is shown in.
pub(crate) fn word_bytes(setting: &str) -> usize {
    match setting.as_bytes() {
        [b'r', ..] => 2,
        [b'l', ..] | [b'c', ..] => 8,
        _ => 4,
    }
}

/// The registers of the setting, with the segments that `row` names loaded from its memory.
pub(crate) fn setting_state(name: &str) -> Option<State> {
    let setting = SETTINGS.iter().find(|s| s.name == name)?;
    let mut state = State { pc: CODE, ..State::default() };
    let paging = setting.paging;
    let by_descriptor = !matches!(paging, Paging::Real | Paging::Virtual);
    let mut set = |name: &str, value: u64| state.words[word(name).expect("a register")] = value;
    let rflags = if paging == Paging::Virtual { 0x2_3202 } else { 0x202 };
    set("rflags", rflags);
    set("rsp", STACK);
    set("dr6", DR6_RESET);
    set("dr7", DR7_RESET);
    set("xcr0", 1);
    set("pat", 0x0007_0406_0007_0406);
    set("sysenter_cs", 0x08);
    set("sysenter_esp", INNER);
    set("sysenter_eip", TARGETS + 0x50);
    set("star", 0x0018_0028 << 32 | TARGETS + 0x60);
    set("lstar", TARGETS + 0x70);
    set("cstar", TARGETS + 0x80);
    set("fmask", 0x300);
    set("kernel_gs_base", 0x1_2345);
    let protected = if paging == Paging::Real { 0 } else { cr0::PE };
    let on = matches!(paging, Paging::Bits32 | Paging::Pae | Paging::Long);
    let on = if on { cr0::PG | cr0::WP } else { 0 };
    set("cr0", cr0::ET | cr0::NE | protected | on);
    let sse = cr4::OSFXSR | cr4::OSXMMEXCPT;
    let (tables, bits, features) = match paging {
        Paging::Bits32 => (DIRECTORY, cr4::PSE, 0),
        Paging::Pae => (PAE_POINTERS, cr4::PAE, efer::NXE),
        Paging::Long => {
            let long = efer::LME | efer::LMA;
            (LEVEL4, cr4::PAE | cr4::PGE, efer::NXE | efer::SCE | long)
        }
        _ => (0, 0, 0),
    };
    set("cr3", tables);
    set("cr4", bits | sse);
    set("efer", features);
    state.tables[0] = Table { base: GDT, limit: GDT_LIMIT };
    state.tables[1] = match paging {
        Paging::Real => Table { base: 0, limit: 0x3ff },
        Paging::Long => Table { base: IDT64, limit: 0xfff },
        _ => Table { base: IDT, limit: 0x7ff },
    };
    for (n, selector) in [(CS, setting.code), (SS, setting.stack), (DS, setting.data)] {
        state.segments[n] = match by_descriptor {
            true => loaded(image(), selector)?,
            false => plain(paging == Paging::Virtual, selector),
        };
    }
    state.segments[ES] = state.segments[DS];
    for n in [4, 5] {
        state.segments[n] = match by_descriptor {
            true => Segment::null(0),
            false => plain(paging == Paging::Virtual, 0xc00),
        };
    }
    let tr = if paging == Paging::Long { 0x40 } else { 0x38 };
    state.segments[6] = loaded(image(), 0xc0)?;
    state.segments[7] = loaded(image(), tr)?;
    Some(state)
}

/// A segment of real or virtual-8086 mode.
fn plain(virtual_8086: bool, selector: u16) -> Segment {
    let from = if virtual_8086 { Segment::VIRTUAL } else { Segment::REAL };
    Segment { selector, base: u64::from(selector) << 4, ..from }
}

/// What loading `selector` from the tables in `memory` gives, without any check.
pub(crate) fn loaded(memory: &[u8], selector: u16) -> Option<Segment> {
    if selector < 4 {
        return Some(Segment::null(selector));
    }
    let table = if selector & 4 == 0 { GDT } else { LDT };
    let at = table as usize + usize::from(selector & !7);
    let low = u64::from_le_bytes(memory.get(at..at + 8)?.try_into().ok()?);
    Some(Segment::new(selector, low))
}

/// Segment register `n` of the row as a selector alone names it.
pub(crate) fn named_segment(row: &Row, n: usize, selector: u16) -> Option<Segment> {
    if n < SEGMENTS.len() - 2 && matches!(row.setting.as_str(), "real" | "v86") {
        return Some(plain(row.setting == "v86", selector));
    }
    loaded(&row.memory(), selector)
}
