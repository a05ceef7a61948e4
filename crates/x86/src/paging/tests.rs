//! Walks over structures in a small memory.

use super::*;
use crate::space::SUPERVISOR_AC;
use std::cell::RefCell;
use std::collections::HashMap;

/// Memory as 4-byte words; 0 where nothing was stored.
#[derive(Default)]
struct Words(RefCell<HashMap<u64, u32>>);

impl Words {
    fn set(&self, pa: u64, value: u64) {
        self.0.borrow_mut().insert(pa, value as u32);
        self.0.borrow_mut().insert(pa + 4, (value >> 32) as u32);
    }

    fn set32(&self, pa: u64, value: u32) {
        self.0.borrow_mut().insert(pa, value);
    }
}

impl Structures for Words {
    fn load32(&self, pa: u64) -> u32 {
        self.0.borrow().get(&pa).copied().unwrap_or(0)
    }

    fn load64(&self, pa: u64) -> u64 {
        u64::from(self.load32(pa)) | u64::from(self.load32(pa + 4)) << 32
    }

    fn compare_exchange(&self, pa: u64, bytes: u32, old: u64, new: u64) -> u64 {
        let found = if bytes == 4 { self.load32(pa).into() } else { self.load64(pa) };
        if found == old {
            if bytes == 4 { self.set32(pa, new as u32) } else { self.set(pa, new) }
        }
        found
    }
}

const USABLE: u64 = entry::PRESENT | entry::WRITABLE | entry::USER;

/// Structures of four levels: the page of `va` has `leaf` at `level`, the entries above permit all.
fn four_levels(va: u64, level: u32, leaf: u64) -> (Words, Walker, u64) {
    let words = Words::default();
    let mut table = 0x1000;
    for n in (level + 1..=3).rev() {
        words.set(table + (va >> (12 + 9 * n) & 511) * 8, table + 0x1000 | USABLE);
        table += 0x1000;
    }
    let at = table + (va >> (12 + 9 * level) & 511) * 8;
    words.set(at, leaf);
    let walker = Walker {
        mode: Mode::Level4,
        cr3: 0x1000,
        write_protect: true,
        globals: true,
        no_execute: true,
        ..Walker::default()
    };
    (words, walker, at)
}

const VA: u64 = 0xffff_8123_4567_8abc;

#[test]
fn four_levels_lead_to_a_page() {
    let (words, walker, at) = four_levels(VA, 0, 0x1234_5000 | USABLE | entry::GLOBAL);
    let page = walker.find(&words, VA, Access::Read, USER);
    let expected = Page { pa: 0x1234_5000, writable: false, global: true, span: 4096 };
    assert_eq!(page, Ok(expected), "not dirty yet");
    assert_eq!(words.load64(at) & (entry::ACCESSED | entry::DIRTY), entry::ACCESSED);
    assert_eq!(words.load64(0x1000 + (VA >> 39 & 511) * 8) & entry::ACCESSED, entry::ACCESSED);
    let page = walker.find(&words, VA, Access::Write, USER);
    assert_eq!(page, Ok(Page { writable: true, ..expected }));
    assert_eq!(words.load64(at) & entry::DIRTY, entry::DIRTY);
    assert_eq!(
        walker.find(&words, VA, Access::Read, USER),
        Ok(Page { writable: true, ..expected })
    );
    assert_eq!(
        walker.find(&words, VA + 4096, Access::Fetch, USER),
        Err(error::USER | error::FETCH)
    );
    assert_eq!(walker.find(&words, 1 << 47, Access::Read, SUPERVISOR), Err(NON_CANONICAL));
}

#[test]
fn large_pages_span_their_level() {
    for (level, span) in [(1, 2 << 20), (2, 1 << 30)] {
        let leaf = 0x4000_0000 | USABLE | entry::LARGE;
        let (words, walker, _) = four_levels(VA, level, leaf);
        let page = walker.find(&words, VA, Access::Write, USER).expect("the page is there");
        assert_eq!((page.pa, page.span), (0x4000_0000 + (VA & (span - 1) & !0xfff), span));
        let (words, walker, _) = four_levels(VA, level, leaf | 1 << 13);
        let code = error::PRESENT | error::RESERVED | error::USER;
        assert_eq!(walker.find(&words, VA, Access::Read, USER), Err(code));
    }
}

#[test]
fn reserved_bits_are_refused() {
    let reserved = Err(error::PRESENT | error::RESERVED);
    for (level, bits) in [(0, 1 << 46), (0, 1 << 51), (3, entry::LARGE), (1, 1 << 46)] {
        let (words, walker, _) = four_levels(VA, level, 0x5000 | USABLE | bits);
        assert_eq!(walker.find(&words, VA, Access::Read, SUPERVISOR), reserved, "{bits:#x}");
    }
    let (words, mut walker, _) = four_levels(VA, 0, 0x5000 | USABLE | entry::NO_EXECUTE);
    assert!(walker.find(&words, VA, Access::Read, SUPERVISOR).is_ok());
    walker.no_execute = false;
    assert_eq!(walker.find(&words, VA, Access::Read, SUPERVISOR), reserved);
}

#[test]
fn rights_depend_on_level_and_access() {
    use Access::{Fetch, Read, Write};
    let supervisor_page = 0x5000 | entry::PRESENT | entry::WRITABLE;
    let read_only = 0x5000 | entry::PRESENT | entry::USER;
    let data = 0x5000 | USABLE | entry::NO_EXECUTE;
    let user = 0x5000 | USABLE;
    let protected = error::PRESENT;
    type Row = (u64, Access, u8, Result<(), u32>);
    let check = |change: fn(&mut Walker), rows: &[Row]| {
        for &(leaf, access, space, expected) in rows {
            let (words, mut walker, _) = four_levels(VA, 0, leaf);
            change(&mut walker);
            let found = walker.find(&words, VA, access, space).map(|_| ());
            assert_eq!(found, expected, "{leaf:#x} {access:?} {space}");
        }
    };
    check(
        |_| {},
        &[
            (supervisor_page, Read, USER, Err(protected | error::USER)),
            (supervisor_page, Write, SUPERVISOR, Ok(())),
            (read_only, Write, USER, Err(protected | error::USER | error::WRITE)),
            (read_only, Write, SUPERVISOR, Err(protected | error::WRITE)),
            (data, Fetch, USER, Err(protected | error::USER | error::FETCH)),
            (data, Fetch, SUPERVISOR, Err(protected | error::FETCH)),
            (user, Fetch, SUPERVISOR, Ok(())),
            (user, Read, SUPERVISOR, Ok(())),
        ],
    );
    check(|w| w.write_protect = false, &[(read_only, Write, SUPERVISOR, Ok(()))]);
    check(|w| w.smep = true, &[(user, Fetch, SUPERVISOR, Err(protected | error::FETCH))]);
    check(
        |w| w.smap = true,
        &[
            (user, Read, SUPERVISOR, Err(protected)),
            (user, Write, SUPERVISOR, Err(protected | error::WRITE)),
            (user, Write, SUPERVISOR_AC, Ok(())),
            (user, Read, USER, Ok(())),
            (user, Fetch, SUPERVISOR, Ok(())),
        ],
    );
    check(
        |w| w.no_execute = false,
        &[(supervisor_page, Fetch, USER, Err(protected | error::USER))],
    );
}

#[test]
fn five_levels_have_wider_addresses() {
    let va = 0x00ff_8123_4567_8000;
    let (words, four, _) = four_levels(va, 0, 0x5000 | USABLE);
    words.set(0x9000 + (va >> 48 & 511) * 8, 0x1000 | USABLE);
    let walker = Walker { mode: Mode::Level5, cr3: 0x9000, ..four };
    assert_eq!(walker.find(&words, va, Access::Read, USER).map(|page| page.pa), Ok(0x5000));
    assert_eq!(four.find(&words, va, Access::Read, USER), Err(NON_CANONICAL));
}

#[test]
fn pae_begins_with_the_processors_entries() {
    let va = 0xc040_3123;
    let words = Words::default();
    words.set(0x2000 + (va >> 21 & 511) * 8, 0x3000 | USABLE);
    words.set(0x3000 + (va >> 12 & 511) * 8, 0x1_0000_5000 | USABLE);
    let pdptes = [0, 0, 0, 0x2001];
    let walker = Walker { mode: Mode::Pae, pdptes, no_execute: true, ..Walker::default() };
    let find = |va| walker.find(&words, va, Access::Write, USER).map(|page| page.pa);
    assert_eq!(find(va), Ok(0x1_0000_5000));
    assert_eq!(find(va | 1 << 40), Ok(0x1_0000_5000), "addresses have 32 bits");
    assert_eq!(find(0x1000), Err(error::WRITE | error::USER));
    words.set(0x3000 + (va >> 12 & 511) * 8, 0x5000 | USABLE | 1 << 52);
    assert_eq!(find(va), Err(error::PRESENT | error::RESERVED | error::WRITE | error::USER));
}

#[test]
fn two_levels_and_their_large_pages() {
    let words = Words::default();
    words.set32(0x1000 + 4, 0x2000 | USABLE as u32);
    words.set32(0x2000 + 8, 0x5000 | USABLE as u32);
    // A page of 4 MiB at 0x3_0080_0000.
    words.set32(0x1000 + 8, 0x0080_0000 | 3 << 13 | (USABLE | entry::LARGE) as u32);
    let walker = Walker { mode: Mode::Bits32, cr3: 0x1000, large_32: true, ..Walker::default() };
    let find = |va| walker.find(&words, va, Access::Write, USER);
    let small = Page { pa: 0x5000, writable: true, global: false, span: 4096 };
    assert_eq!(find(0x0040_2abc), Ok(small));
    assert_eq!(words.load32(0x2008) as u64 & 0x60, entry::ACCESSED | entry::DIRTY);
    let large = Page { pa: 0x3_0080_1000, span: 4 << 20, ..small };
    assert_eq!(find(0x0080_1fff), Ok(large));
    assert_eq!(find(0x0040_0000), Err(error::WRITE | error::USER));
    words.set32(0x1000 + 8, 0x0080_0000 | 1 << 21 | (USABLE | entry::LARGE) as u32);
    let reserved = error::PRESENT | error::RESERVED | error::WRITE | error::USER;
    assert_eq!(find(0x0080_0000), Err(reserved));
    let without = Walker { large_32: false, ..walker };
    assert_eq!(without.find(&words, 0x0080_0000, Access::Read, USER), Err(error::USER));
}

#[test]
fn without_paging_addresses_are_physical() {
    let page = Walker::default().find(&Words::default(), 0xffff_fff0, Access::Fetch, SUPERVISOR);
    let expected = Page { pa: 0xffff_f000, writable: true, global: false, span: 4096 };
    assert_eq!(page, Ok(expected));
}

/// Another vCPU changes the entry whenever it is about to be marked.
struct Restless(Words, u64);

impl Structures for Restless {
    fn load32(&self, pa: u64) -> u32 {
        self.0.load32(pa)
    }

    fn load64(&self, pa: u64) -> u64 {
        self.0.load64(pa)
    }

    fn compare_exchange(&self, pa: u64, bytes: u32, old: u64, new: u64) -> u64 {
        if pa == self.1 {
            self.0.set(pa, self.0.load64(pa) ^ 1 << 9);
        }
        self.0.compare_exchange(pa, bytes, old, new)
    }
}

#[test]
fn a_walk_ends_though_entries_change() {
    let (words, walker, at) = four_levels(VA, 0, 0x5000 | USABLE);
    let restless = Restless(words, at);
    assert_eq!(walker.find(&restless, VA, Access::Read, USER), Err(error::USER));
}

#[test]
fn a_debugger_sees_what_is_mapped_and_marks_nothing() {
    let (words, walker, at) = four_levels(VA, 0, 0x1234_5000 | entry::PRESENT | entry::GLOBAL);
    let low = 0x0000_0001_4000_0000;
    // A large page in the lower half, behind the same tables of the first levels' size.
    words.set(0x1000 + (low >> 39 & 511) * 8, 0x8000 | USABLE);
    words.set(0x8000 + (low >> 30 & 511) * 8, 0x9000 | USABLE);
    words.set(0x9000 + (low >> 21 & 511) * 8, 0x0060_0000 | USABLE | entry::LARGE | entry::DIRTY);
    let mut found = Vec::new();
    let whole = walker.each_mapping(&words, 100_000, |mapping| {
        found.push(mapping);
        true
    });
    assert!(whole);
    let page = |va, pa, span| Mapping {
        va,
        pa,
        span,
        writable: true,
        user: true,
        executable: true,
        accessed: false,
        dirty: false,
        global: false,
    };
    let large = Mapping { dirty: true, ..page(low, 0x0060_0000, 2 << 20) };
    let small = page(VA & !0xfff, 0x1234_5000, 4096);
    let small = Mapping { writable: false, user: false, global: true, ..small };
    assert_eq!(found, [large, small]);
    assert_eq!(walker.mapping(&words, VA), Some(small));
    assert_eq!(walker.mapping(&words, low + 0x12_3456), Some(large));
    assert_eq!(walker.mapping(&words, 0x8000_0000_0000_0000), None);
    assert_eq!(words.load64(at) & entry::ACCESSED, 0);
    assert!(!walker.each_mapping(&words, 10, |_| true), "there is more than can be looked at");

    // Tables that lead to themselves are not followed for ever.
    let loops = Words::default();
    (0..512).for_each(|n| loops.set(0x1000 + n * 8, 0x1000 | USABLE));
    let mut count = 0;
    assert!(!walker.each_mapping(&loops, 1000, |_| {
        count += 1;
        true
    }));
    assert_eq!(count, 1000);
}
