//! Segments: descriptors, and what a segment register caches of one (SDM 3A chapter 3).

use crate::trap;
use mynah_guest::Fault;

/// Number of ES in the arrays of segment registers.
pub const ES: usize = 0;
/// Number of CS.
pub const CS: usize = 1;
/// Number of SS.
pub const SS: usize = 2;
/// Number of DS.
pub const DS: usize = 3;
/// Number of FS.
pub const FS: usize = 4;
/// Number of GS.
pub const GS: usize = 5;

/// Bits of [`Segment::attributes`]: those of a descriptor's high half, at their places there.
pub mod attribute {
    /// Accessed (code and data).
    pub const ACCESSED: u32 = 1 << 8;
    /// Data: writable. Code: readable.
    pub const WRITABLE: u32 = 1 << 9;
    /// Data: expands down. Code: conforming.
    pub const CONFORMING: u32 = 1 << 10;
    /// Code, not data.
    pub const CODE: u32 = 1 << 11;
    /// Code or data, not a system segment.
    pub const MEMORY: u32 = 1 << 12;
    /// Present.
    pub const PRESENT: u32 = 1 << 15;
    /// 64-bit code.
    pub const LONG: u32 = 1 << 21;
    /// 32-bit code or stack.
    pub const BIG: u32 = 1 << 22;
    /// The limit counts pages.
    pub const PAGES: u32 = 1 << 23;
    /// All of them: type, privilege level and flags.
    pub const ALL: u32 = 0x00f0_ff00;
}

/// Types of system descriptors and gates.
pub mod kind {
    /// Available 16-bit TSS.
    pub const TSS16: u32 = 1;
    /// LDT.
    pub const LDT: u32 = 2;
    /// Busy 16-bit TSS.
    pub const BUSY16: u32 = 3;
    /// 16-bit call gate.
    pub const CALL16: u32 = 4;
    /// Task gate.
    pub const TASK: u32 = 5;
    /// 16-bit interrupt gate.
    pub const INTERRUPT16: u32 = 6;
    /// 16-bit trap gate.
    pub const TRAP16: u32 = 7;
    /// Available 32-bit or 64-bit TSS.
    pub const TSS32: u32 = 9;
    /// Busy 32-bit or 64-bit TSS.
    pub const BUSY32: u32 = 11;
    /// 32-bit or 64-bit call gate.
    pub const CALL32: u32 = 12;
    /// 32-bit or 64-bit interrupt gate.
    pub const INTERRUPT32: u32 = 14;
    /// 32-bit or 64-bit trap gate.
    pub const TRAP32: u32 = 15;
}

/// What a segment register holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// See [`attribute`]; 0 if the register was loaded with a null selector.
    pub attributes: u32,
    /// Linear address of its begin.
    pub base: u64,
    /// The highest offset in it, in bytes.
    pub limit: u32,
}

impl Segment {
    /// A segment of real mode at 0: data, readable and writable.
    pub const REAL: Segment = Segment {
        selector: 0,
        attributes: attribute::PRESENT
            | attribute::MEMORY
            | attribute::WRITABLE
            | attribute::ACCESSED,
        base: 0,
        limit: 0xffff,
    };

    /// A segment of virtual-8086 mode at 0.
    pub const VIRTUAL: Segment =
        Segment { attributes: Segment::REAL.attributes | 3 << 13, ..Segment::REAL };

    /// The segment of `selector` whose descriptor is `low` in 8 bytes.
    pub fn new(selector: u16, low: u64) -> Segment {
        let high = (low >> 32) as u32;
        let base = (low >> 16) as u32 & 0x00ff_ffff | high & 0xff00_0000;
        let count = low as u32 & 0xffff | high & 0x000f_0000;
        let limit = if high & attribute::PAGES != 0 { count << 12 | 0xfff } else { count };
        Segment { selector, attributes: high & attribute::ALL, base: base.into(), limit }
    }

    /// What loading `selector`, a null one, leaves.
    pub fn null(selector: u16) -> Segment {
        Segment { selector, ..Segment::default() }
    }

    /// Whether all these bits are among its attributes.
    pub fn has(&self, bits: u32) -> bool {
        self.attributes & bits == bits
    }

    /// The descriptor's privilege level.
    pub fn dpl(&self) -> u8 {
        (self.attributes >> 13 & 3) as u8
    }

    /// The type of a system segment (see [`kind`]); 16 and up for code and data.
    pub fn kind(&self) -> u32 {
        self.attributes >> 8 & 31
    }

    /// Whether it is code.
    pub fn is_code(&self) -> bool {
        self.has(attribute::MEMORY | attribute::CODE)
    }

    /// Whether it is data.
    pub fn is_data(&self) -> bool {
        self.kind() & 0x18 == 0x10
    }

    /// Whether it is conforming code.
    pub fn is_conforming(&self) -> bool {
        self.is_code() && self.has(attribute::CONFORMING)
    }

    /// Whether it is data that expands down.
    pub fn is_expand_down(&self) -> bool {
        self.is_data() && self.has(attribute::CONFORMING)
    }

    /// Whether it is data that may be written.
    pub fn is_writable(&self) -> bool {
        self.is_data() && self.has(attribute::WRITABLE)
    }

    /// Whether it is data, or code that may be read.
    pub fn is_readable(&self) -> bool {
        self.is_data() || self.is_code() && self.has(attribute::WRITABLE)
    }

    /// Whether `bytes` bytes at `offset` lie within the limit.
    pub fn holds(&self, offset: u64, bytes: u64) -> bool {
        let last = offset + (bytes.max(1) - 1);
        if !self.is_expand_down() {
            return last <= self.limit.into();
        }
        let top = if self.has(attribute::BIG) { u32::MAX.into() } else { 0xffff };
        offset > self.limit.into() && last <= top
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Table {
    /// Linear address of its begin.
    pub base: u64,
    /// The highest offset in it.
    pub limit: u16,
}

/// Whether the selector is null: of any privilege level.
pub(crate) fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// The requested privilege level of a selector.
pub(crate) fn rpl(selector: u16) -> u8 {
    (selector & 3) as u8
}

/// An exception with an error code.
pub(crate) fn fault(vector: u16, error: u16) -> Fault {
    Fault::Trap(mynah_ir::Trap { code: vector, data: error.into() })
}

/// An exception about a selector: its error code is the selector without its privilege level.
pub(crate) fn selector_fault(vector: u16, selector: u16) -> Fault {
    fault(vector, selector & !3)
}

/// #GP about a selector.
pub(crate) fn protection(selector: u16) -> Fault {
    selector_fault(trap::PROTECTION, selector)
}

/// #GP with error code 0.
pub(crate) const GP: Fault = Fault::Trap(trap::exception(trap::PROTECTION));

/// #UD.
pub(crate) const UD: Fault = Fault::Trap(trap::exception(trap::UNDEFINED));

/// Whether an address is canonical: bits from 47 (56 with 5-level paging) on are equal.
pub(crate) fn is_canonical(va: u64, five_levels: bool) -> bool {
    let spare = if five_levels { 7 } else { 16 };
    ((va << spare) as i64 >> spare) as u64 == va
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_taken_apart() {
        let flat = Segment::new(8, 0x00cf_9b00_0000_ffff);
        assert_eq!((flat.base, flat.limit, flat.dpl()), (0, u32::MAX, 0));
        assert!(flat.is_code() && flat.is_readable() && !flat.is_writable());
        assert!(flat.has(attribute::BIG | attribute::PRESENT) && !flat.has(attribute::LONG));
        let odd = Segment::new(0x1b, 0x1240_f634_5678_9abc);
        assert_eq!((odd.base, odd.limit, odd.dpl()), (0x1234_5678, 0x9abc, 3));
        assert!(odd.is_expand_down() && odd.is_writable());
    }

    #[test]
    fn limits_hold_and_expand_down() {
        let up = Segment { limit: 0xffff, ..Segment::REAL };
        assert!(up.holds(0xffff, 1) && up.holds(0xfffe, 2) && !up.holds(0xffff, 2));
        let down = Segment { attributes: up.attributes | attribute::CONFORMING, ..up };
        let down = Segment { limit: 0xfff, ..down };
        assert!(!down.holds(0xfff, 1) && down.holds(0x1000, 4));
        assert!(down.holds(0xfffe, 2) && !down.holds(0xffff, 2));
        let big = Segment { attributes: down.attributes | attribute::BIG, ..down };
        assert!(big.holds(0xffff_fffc, 4) && !big.holds(0xffff_fffd, 4));
    }

    #[test]
    fn canonical_addresses() {
        assert!(is_canonical(0x7fff_ffff_ffff, false) && !is_canonical(0x8000_0000_0000, false));
        assert!(is_canonical(0xffff_8000_0000_0000, false) && is_canonical(1 << 55, true));
    }
}
