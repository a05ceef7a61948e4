//! Paging (SDM 3A chapter 4): 32-bit, PAE, 4-level and 5-level.

use crate::State;
use crate::registers::{cr0, cr4, efer};
use crate::segment::is_canonical;
use crate::space::{SUPERVISOR, USER};
use mynah_mem::{Access, PAGE, Page, Phys, Walk};

/// Bits of physical addresses, as CPUID reports them.
pub const PHYSICAL_BITS: u32 = 46;
/// Bits of a page-directory-pointer-table entry of PAE paging that must be 0.
pub(crate) const PDPTE_RESERVED: u64 = 0x1e6 | BEYOND | 0xfff0_0000_0000_0000;
/// Instead of an error code of #PF: the address is not canonical, which is a #GP or #SS.
pub const NON_CANONICAL: u32 = 1 << 31;

/// Bits of #PF's error code.
pub mod error {
    /// The page was present: its rights do not permit the access.
    pub const PRESENT: u32 = 1 << 0;
    /// A write.
    pub const WRITE: u32 = 1 << 1;
    /// By code of privilege level 3.
    pub const USER: u32 = 1 << 2;
    /// A reserved bit was set in an entry.
    pub const RESERVED: u32 = 1 << 3;
    /// A fetch.
    pub const FETCH: u32 = 1 << 4;
}

/// Bits of an entry of a paging structure.
mod entry {
    pub(super) const PRESENT: u64 = 1 << 0;
    pub(super) const WRITABLE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const ACCESSED: u64 = 1 << 5;
    pub(super) const DIRTY: u64 = 1 << 6;
    pub(super) const LARGE: u64 = 1 << 7;
    pub(super) const GLOBAL: u64 = 1 << 8;
    pub(super) const NO_EXECUTE: u64 = 1 << 63;
}

/// Bits of an 8-byte entry that would be an address beyond what there is.
const BEYOND: u64 = 0x000f_ffff_ffff_f000 & !((1 << PHYSICAL_BITS) - 1);
/// The address in an 8-byte entry.
const ADDRESS: u64 = ((1 << PHYSICAL_BITS) - 1) & !0xfff;
/// Times that a walk begins anew because another vCPU has changed an entry.
const ATTEMPTS: u32 = 64;

/// How linear addresses are translated.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Mode {
    /// They are physical.
    #[default]
    Off,
    /// 4-byte entries in two levels.
    Bits32,
    /// 8-byte entries in two levels, below the four PDPTEs of the processor.
    Pae,
    /// 8-byte entries in four levels.
    Level4,
    /// 8-byte entries in five levels.
    Level5,
}

/// The registers that govern paging.
#[derive(Clone, Copy, Default, Debug)]
pub struct Walker {
    mode: Mode,
    cr3: u64,
    pdptes: [u64; 4],
    write_protect: bool,
    large_32: bool,
    globals: bool,
    no_execute: bool,
    smep: bool,
    smap: bool,
}

/// Where paging structures are read and marked.
pub(crate) trait Structures {
    fn load32(&self, pa: u64) -> u32;
    fn load64(&self, pa: u64) -> u64;
    /// Atomically replaces `old` of `bytes` (4, 8) with `new`; what was found.
    fn compare_exchange(&self, pa: u64, bytes: u32, old: u64, new: u64) -> u64;
}

impl Structures for Phys {
    fn load32(&self, pa: u64) -> u32 {
        self.load(pa)
    }

    fn load64(&self, pa: u64) -> u64 {
        self.load(pa)
    }

    fn compare_exchange(&self, pa: u64, bytes: u32, old: u64, new: u64) -> u64 {
        Phys::compare_exchange(self, pa, bytes, old, new)
    }
}

/// What the entries on the way permit together.
#[derive(Clone, Copy)]
struct Rights {
    writable: bool,
    user: bool,
    executable: bool,
}

impl Rights {
    const ALL: Rights = Rights { writable: true, user: true, executable: true };

    fn and(self, entry: u64) -> Rights {
        Rights {
            writable: self.writable && entry & entry::WRITABLE != 0,
            user: self.user && entry & entry::USER != 0,
            executable: self.executable && entry & entry::NO_EXECUTE == 0,
        }
    }
}

/// An entry that a walk has used.
#[derive(Clone, Copy, Default)]
struct Used {
    pa: u64,
    value: u64,
}

/// The page at the end of a walk.
struct Leaf {
    /// Physical address of its begin.
    base: u64,
    span: u64,
    rights: Rights,
    entries: [Used; 5],
    count: usize,
}

/// A page of the page tables, as a debugger shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Its first virtual address.
    pub va: u64,
    /// Its first physical address.
    pub pa: u64,
    /// Its length in bytes.
    pub span: u64,
    /// Whether the entries permit writes.
    pub writable: bool,
    /// Whether the entries permit accesses at privilege level 3.
    pub user: bool,
    /// Whether the entries permit fetches.
    pub executable: bool,
    /// Whether it is marked accessed.
    pub accessed: bool,
    /// Whether it is marked dirty.
    pub dirty: bool,
    /// Whether it is global.
    pub global: bool,
}

/// Why there is no page: bits of the error code besides those of the access.
type Refusal = u32;

impl Walker {
    /// As the registers of `state` say.
    pub fn new(state: &State) -> Walker {
        let s = &state.system;
        let mode = match () {
            () if s.cr0 & cr0::PG == 0 => Mode::Off,
            () if s.cr4 & cr4::PAE == 0 => Mode::Bits32,
            () if s.efer & efer::LMA == 0 => Mode::Pae,
            () if s.cr4 & cr4::LA57 == 0 => Mode::Level4,
            () => Mode::Level5,
        };
        Walker {
            mode,
            cr3: s.cr3,
            pdptes: s.pdptes,
            write_protect: s.cr0 & cr0::WP != 0,
            large_32: s.cr4 & cr4::PSE != 0,
            globals: s.cr4 & cr4::PGE != 0,
            no_execute: s.efer & efer::NXE != 0 && mode != Mode::Bits32,
            smep: s.cr4 & cr4::SMEP != 0,
            smap: s.cr4 & cr4::SMAP != 0,
        }
    }

    /// The address that is translated for `va`: 32 bits of it, or all of it if it is canonical.
    fn translated(&self, va: u64) -> Option<u64> {
        match self.mode {
            Mode::Level4 | Mode::Level5 => {
                is_canonical(va, self.mode == Mode::Level5).then_some(va)
            }
            _ => Some(va & 0xffff_ffff),
        }
    }

    /// Where `va` leads, and what the entries on the way permit, whoever asks; nothing is marked.
    pub fn look(&self, phys: &Phys, va: u64) -> Option<Mapping> {
        self.mapping(phys, va)
    }

    /// As [`Walker::look`], over any structures.
    fn mapping(&self, structures: &impl Structures, va: u64) -> Option<Mapping> {
        let va = self.translated(va)?;
        let Rights { writable, user, executable } = Rights::ALL;
        if self.mode == Mode::Off {
            let page = va & !(PAGE - 1);
            let (accessed, dirty, global) = (false, false, false);
            let (va, pa, span) = (page, page, PAGE);
            return Some(Mapping {
                va,
                pa,
                span,
                writable,
                user,
                executable,
                accessed,
                dirty,
                global,
            });
        }
        let leaf = self.leaf(structures, va).ok()?;
        let last = leaf.entries[leaf.count - 1].value;
        let Rights { writable, user, executable } = leaf.rights;
        Some(Mapping {
            va: va & !(leaf.span - 1),
            pa: leaf.base,
            span: leaf.span,
            writable,
            user,
            executable: executable || !self.no_execute,
            accessed: last & entry::ACCESSED != 0,
            dirty: last & entry::DIRTY != 0,
            global: self.globals && last & entry::GLOBAL != 0,
        })
    }

    /// Calls `each` with the pages that are mapped, in the order of their addresses, until it says
    /// so by `false`. Guests can make more of them than can be looked at: at most `budget` entries
    /// are; whether that was enough.
    pub fn mappings(&self, phys: &Phys, budget: u64, each: impl FnMut(Mapping) -> bool) -> bool {
        self.each_mapping(phys, budget, each)
    }

    /// As [`Walker::mappings`], over any structures.
    fn each_mapping(
        &self,
        structures: &impl Structures,
        mut budget: u64,
        mut each: impl FnMut(Mapping) -> bool,
    ) -> bool {
        let (top, wide) = match self.mode {
            Mode::Off => return true,
            Mode::Bits32 | Mode::Pae => (1 << 32, None),
            Mode::Level4 => (1 << 48, Some(47)),
            Mode::Level5 => (1 << 57, Some(56)),
        };
        let mut at: u64 = 0;
        while at < top {
            if budget == 0 {
                return false;
            }
            budget -= 1;
            let va = match wide {
                Some(bit) if at >> bit & 1 != 0 => at | !(top - 1),
                _ => at,
            };
            match self.mapping(structures, va) {
                Some(mapping) => {
                    if !each(mapping) {
                        return true;
                    }
                    at += mapping.span;
                }
                None => at = (at | (self.hole(structures, va) - 1)) + 1,
            }
        }
        true
    }

    /// How many bytes around `va`, which leads nowhere, have no page because of one entry.
    fn hole(&self, structures: &impl Structures, va: u64) -> u64 {
        if self.mode == Mode::Bits32 {
            let pa = (self.cr3 & 0xffff_f000) + (va >> 22) * 4;
            let large = structures.load32(pa) & entry::PRESENT as u32 == 0;
            return if large { 4 << 20 } else { PAGE };
        }
        let (mut table, top) = match self.mode {
            Mode::Pae => {
                let pdpte = self.pdptes[(va >> 30 & 3) as usize];
                if pdpte & entry::PRESENT == 0 {
                    return 1 << 30;
                }
                (pdpte & ADDRESS, 1)
            }
            Mode::Level4 => (self.cr3 & ADDRESS, 3),
            _ => (self.cr3 & ADDRESS, 4),
        };
        for level in (1..=top).rev() {
            let shift = 12 + 9 * level;
            let value = structures.load64(table + (va >> shift & 511) * 8);
            let large = value & entry::LARGE != 0;
            if value & entry::PRESENT == 0 || large || value & self.reserved(level, large) != 0 {
                return 1 << shift;
            }
            table = value & ADDRESS;
        }
        PAGE
    }

    /// As [`Walk::walk`], over any structures.
    pub(crate) fn find(
        &self,
        structures: &impl Structures,
        va: u64,
        access: Access,
        space: u8,
    ) -> Result<Page, u32> {
        let va = self.translated(va).ok_or(NON_CANONICAL)?;
        if self.mode == Mode::Off {
            return Ok(Page { pa: va & !(PAGE - 1), writable: true, global: false, span: PAGE });
        }
        for _ in 0..ATTEMPTS {
            let refused = |bits| self.code(bits, access, space);
            let leaf = self.leaf(structures, va).map_err(refused)?;
            if !self.permits(leaf.rights, access, space) {
                return Err(refused(error::PRESENT));
            }
            if let Some(dirty) = self.mark(structures, &leaf, access) {
                let last = leaf.entries[leaf.count - 1].value;
                return Ok(Page {
                    pa: leaf.base + (va & (leaf.span - 1) & !(PAGE - 1)),
                    writable: dirty && self.permits(leaf.rights, Access::Write, space),
                    global: self.globals && last & entry::GLOBAL != 0,
                    span: leaf.span,
                });
            }
        }
        // The entries change all the time: none of their values is the right one.
        Err(self.code(0, access, space))
    }

    /// The error code of an access.
    fn code(&self, bits: Refusal, access: Access, space: u8) -> u32 {
        let mut code = bits;
        if access == Access::Write {
            code |= error::WRITE;
        }
        if space == USER {
            code |= error::USER;
        }
        if access == Access::Fetch && (self.no_execute || self.smep) {
            code |= error::FETCH;
        }
        code
    }

    /// SDM 3A 4.6.1.
    fn permits(&self, rights: Rights, access: Access, space: u8) -> bool {
        let executable = rights.executable || !self.no_execute;
        if space == USER {
            return rights.user
                && match access {
                    Access::Read => true,
                    Access::Write => rights.writable,
                    Access::Fetch => executable,
                };
        }
        let guarded = rights.user && self.smap && space == SUPERVISOR;
        match access {
            Access::Read => !guarded,
            Access::Write => !guarded && (rights.writable || !self.write_protect),
            Access::Fetch => executable && !(rights.user && self.smep),
        }
    }

    /// The page of `va`.
    fn leaf(&self, structures: &impl Structures, va: u64) -> Result<Leaf, Refusal> {
        if self.mode == Mode::Bits32 {
            return self.leaf_32(structures, va);
        }
        let mut leaf =
            Leaf { base: 0, span: 0, rights: Rights::ALL, entries: Default::default(), count: 0 };
        let (mut table, top) = match self.mode {
            Mode::Pae => {
                let pdpte = self.pdptes[(va >> 30 & 3) as usize];
                if pdpte & entry::PRESENT == 0 {
                    return Err(0);
                }
                (pdpte & ADDRESS, 1)
            }
            Mode::Level4 => (self.cr3 & ADDRESS, 3),
            _ => (self.cr3 & ADDRESS, 4),
        };
        for level in (0..=top).rev() {
            let shift = 12 + 9 * level;
            let pa = table + (va >> shift & 511) * 8;
            let value = structures.load64(pa);
            if value & entry::PRESENT == 0 {
                return Err(0);
            }
            let large = value & entry::LARGE != 0;
            if value & self.reserved(level, large) != 0 {
                return Err(error::PRESENT | error::RESERVED);
            }
            leaf.entries[leaf.count] = Used { pa, value };
            leaf.count += 1;
            leaf.rights = leaf.rights.and(value);
            if level == 0 || large {
                leaf.span = 1 << shift;
                leaf.base = value & ADDRESS & !(leaf.span - 1);
                return Ok(leaf);
            }
            table = value & ADDRESS;
        }
        unreachable!("the last level ends the walk")
    }

    /// Bits of an 8-byte entry that must be 0.
    fn reserved(&self, level: u32, large: bool) -> u64 {
        let mut bits = BEYOND;
        if !self.no_execute {
            bits |= entry::NO_EXECUTE;
        }
        if self.mode == Mode::Pae {
            bits |= 0x7ff0_0000_0000_0000;
        }
        match (level, large) {
            // The bits of the address below a large page, but for PAT.
            (1, true) => bits |= 0x001f_e000,
            (2, true) => bits |= 0x3fff_e000,
            (3 | 4, _) => bits |= entry::LARGE,
            _ => {}
        }
        bits
    }

    fn leaf_32(&self, structures: &impl Structures, va: u64) -> Result<Leaf, Refusal> {
        let pa = (self.cr3 & 0xffff_f000) + (va >> 22) * 4;
        let value = u64::from(structures.load32(pa));
        if value & entry::PRESENT == 0 {
            return Err(0);
        }
        let mut leaf = Leaf {
            base: 0,
            span: 4 << 20,
            rights: Rights::ALL.and(value),
            entries: Default::default(),
            count: 1,
        };
        leaf.entries[0] = Used { pa, value };
        if self.large_32 && value & entry::LARGE != 0 {
            if value & 1 << 21 != 0 {
                return Err(error::PRESENT | error::RESERVED);
            }
            // PSE-36: bits 13–20 are bits 32–39 of the address.
            leaf.base = value & 0xffc0_0000 | (value >> 13 & 0xff) << 32;
            return Ok(leaf);
        }
        let pa = (value & 0xffff_f000) + (va >> 12 & 1023) * 4;
        let value = u64::from(structures.load32(pa));
        if value & entry::PRESENT == 0 {
            return Err(0);
        }
        leaf.entries[1] = Used { pa, value };
        leaf.count = 2;
        leaf.rights = leaf.rights.and(value);
        leaf.base = value & 0xffff_f000;
        leaf.span = PAGE;
        Ok(leaf)
    }

    /// Marks the entries accessed, and the last one dirty for a write. Whether that is dirty;
    /// nothing if an entry has changed meanwhile.
    fn mark(&self, structures: &impl Structures, leaf: &Leaf, access: Access) -> Option<bool> {
        let bytes = if self.mode == Mode::Bits32 { 4 } else { 8 };
        let mut dirty = false;
        for (n, used) in leaf.entries[..leaf.count].iter().enumerate() {
            let mut marked = used.value | entry::ACCESSED;
            if n + 1 == leaf.count {
                if access == Access::Write {
                    marked |= entry::DIRTY;
                }
                dirty = marked & entry::DIRTY != 0;
            }
            let changed = marked != used.value;
            if changed
                && structures.compare_exchange(used.pa, bytes, used.value, marked) != used.value
            {
                return None;
            }
        }
        Some(dirty)
    }
}

impl Walk for Walker {
    fn walk(&mut self, phys: &Phys, va: u64, access: Access, space: u8) -> Result<Page, u32> {
        self.find(phys, va, access, space)
    }
}

#[cfg(test)]
mod tests;
