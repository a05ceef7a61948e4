//! Memory behind page tables: TLB, faults, devices, written code.

use mynah_mem::{
    Access, Cause, Flat, Io, MemFault, Memory, Moved, Page, Paged, Phys, Ram, Rights, TlbEntry,
    Walk,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const PAGE: u64 = 4096;

/// Virtual page n is physical page n − 0x1000, modulo the size of the TLB; refuses what `denied`
/// says.
#[derive(Default)]
struct Linear {
    denied: Vec<(u64, Access, u32)>,
    clean: bool,
    walks: u32,
}

impl Walk for Linear {
    fn walk(&mut self, _: &Phys, va: u64, access: Access, _: u8) -> Result<Page, u32> {
        self.walks += 1;
        let page = va / PAGE;
        if let Some(&(_, _, code)) = self.denied.iter().find(|(p, a, _)| *p == page && *a == access)
        {
            return Err(code);
        }
        let writable = !self.clean || access == Access::Write;
        let pa = (page - 0x1000) % TlbEntry::COUNT as u64 * PAGE;
        Ok(Page { pa, writable, global: page.is_multiple_of(2), span: PAGE })
    }
}

/// Where there is a counter, of its reads.
const COUNTER: u64 = 5 * PAGE + 0x800;

/// Remembers what is written; reads as the address, but for the counter.
#[derive(Default)]
struct Registers(Mutex<Vec<(u64, u8, u64)>>, AtomicU64);

impl Io for Registers {
    fn read(&self, pa: u64, _: u8) -> u64 {
        if pa == COUNTER { self.1.fetch_add(1, Ordering::Relaxed) + 1 } else { pa }
    }
    fn write(&self, pa: u64, bytes: u8, value: u64) {
        self.0.lock().expect("no test panics with it").push((pa, bytes, value));
    }
}

struct Rig {
    memory: Paged<Linear>,
    phys: Arc<Phys>,
    registers: Arc<Registers>,
}

/// Four pages of RAM at 0, one page of ROM at 8 pages; at 6 pages a page of RAM that is switched off,
/// behind which is the ROM. Devices are elsewhere.
fn rig() -> Rig {
    let backing: &'static mut [[u8; 4096]] = Vec::leak(vec![[0; 4096]; 7]);
    let host = (backing.as_mut_ptr() as u64).next_multiple_of(PAGE);
    let area = |start: u64, pages, host, rights| Ram {
        start: start * PAGE,
        len: pages * PAGE,
        host,
        rights,
        behind: None,
    };
    let rom = host + 4 * PAGE;
    let shadow = Ram { behind: Some(rom), ..area(6, 1, host + 5 * PAGE, Rights::NONE) };
    let areas = vec![area(0, 4, host, Rights::ALL), shadow, area(8, 1, rom, Rights::READ)];
    let registers = Arc::new(Registers::default());
    let phys = Phys::new(areas, registers.clone());
    mynah_mem::host::signal::install(None);
    Rig { memory: Paged::new(Linear::default(), phys.clone()), phys, registers }
}

const BASE: u64 = 0x1000 * PAGE;

#[test]
fn values_go_where_the_walk_says_and_the_tlb_remembers() {
    let mut rig = rig();
    assert_eq!(rig.memory.try_load::<u32>(BASE + 8), None);
    assert_eq!(rig.memory.store(BASE + 8, 0x1234_5678_u32), Ok(()));
    assert_eq!(rig.memory.try_load::<u32>(BASE + 8), Some(0x1234_5678));
    assert_eq!(rig.phys.load::<u16>(8), 0x5678);
    let walks = rig.memory.walker.walks;
    assert_eq!(rig.memory.load::<u64>(BASE), Ok(0));
    assert_eq!(rig.memory.walker.walks, walks);
}

#[test]
fn an_access_across_pages_checks_both_before_it_writes() {
    let mut rig = rig();
    rig.memory.walker.denied.push((0x1001, Access::Write, 7));
    let va = BASE + PAGE - 2;
    let fault = MemFault { va: BASE + PAGE, access: Access::Write, cause: Cause::Refused(7) };
    assert_eq!(rig.memory.store(va, u32::MAX), Err(fault));
    assert_eq!(rig.memory.load::<u32>(va), Ok(0));
    let va = va + 2 * PAGE;
    assert_eq!(rig.memory.store(va, 0xaabb_ccdd_u32), Ok(()));
    assert_eq!(rig.memory.load::<u32>(va), Ok(0xaabb_ccdd));
    assert_eq!(rig.memory.try_load::<u32>(va), None, "never by one entry");
}

#[test]
fn devices_are_asked_each_time_and_rom_is_not_written() {
    let mut rig = rig();
    let va = BASE + 5 * PAGE + 16;
    assert_eq!(rig.memory.load::<u32>(va), Ok((5 * PAGE + 16) as u32));
    assert_eq!(rig.memory.store(va, 7_u16), Ok(()));
    assert_eq!(*rig.registers.0.lock().expect("unpoisoned"), [(5 * PAGE + 16, 2, 7)]);
    let rom = BASE + 8 * PAGE;
    assert_eq!(rig.memory.store(rom, 1_u8), Ok(()));
    assert_eq!(rig.memory.load::<u8>(rom), Ok(0));
}

#[test]
fn a_device_is_asked_once_when_its_register_is_changed() {
    let mut rig = rig();
    let va = BASE + COUNTER;
    assert_eq!(rig.memory.update(va, 4, |old| old + 5), Ok(1));
    assert_eq!(rig.memory.update(va, 4, |old| old + 5), Ok(2));
    let written = rig.registers.0.lock().expect("unpoisoned").clone();
    assert_eq!(written, [(COUNTER, 4, 6), (COUNTER, 4, 7)]);
}

#[test]
fn a_change_is_checked_as_a_write() {
    let mut rig = rig();
    rig.memory.walker.denied.push((0x1001, Access::Write, 7));
    let fault = MemFault { va: BASE + PAGE, access: Access::Write, cause: Cause::Refused(7) };
    for va in [BASE + PAGE, BASE + PAGE - 1] {
        assert_eq!(rig.memory.update(va, 2, |_| 1), Err(fault));
        assert_eq!(rig.memory.check_write(va, 2), Err(fault));
        assert_eq!(rig.memory.load::<u16>(va), Ok(0));
    }
    assert_eq!(rig.memory.update(BASE + 2 * PAGE + PAGE - 1, 2, |old| old ^ 0x1234), Ok(0));
    assert_eq!(rig.memory.load::<u16>(BASE + 2 * PAGE + PAGE - 1), Ok(0x1234));
}

#[test]
fn the_process_machine_checks_each_page_and_changes_nothing() {
    mynah_mem::host::signal::install(None);
    let bytes = vec![7_u8; 2 * PAGE as usize + 2];
    let va = bytes.as_ptr() as u64;
    assert_eq!(Flat.check_write(va, bytes.len()), Ok(()));
    assert!(bytes.iter().all(|byte| *byte == 7));
    let fault = Flat.check_write(8, 4).expect_err("nothing is there");
    assert_eq!((fault.va, fault.access), (8, Access::Write));
}

#[test]
fn the_first_write_to_a_clean_page_walks_again() {
    let mut rig = rig();
    rig.memory.walker.clean = true;
    assert_eq!(rig.memory.load::<u8>(BASE), Ok(0));
    assert_eq!(rig.memory.try_store(BASE, 1_u8), None);
    assert_eq!(rig.memory.store(BASE, 1_u8), Ok(()));
    assert_eq!(rig.memory.try_store(BASE, 2_u8), Some(()));
}

#[test]
fn flushing_keeps_global_pages_unless_told() {
    let mut rig = rig();
    for page in 0..2 {
        assert_eq!(rig.memory.load::<u8>(BASE + page * PAGE), Ok(0));
    }
    rig.memory.flush(false);
    assert!(rig.memory.try_load::<u8>(BASE).is_some(), "even pages are global");
    assert!(rig.memory.try_load::<u8>(BASE + PAGE).is_none());
    rig.memory.flush_page(BASE);
    assert!(rig.memory.try_load::<u8>(BASE).is_none());
}

/// From a page to the next one that has its place in the TLB.
const TLB: u64 = TlbEntry::COUNT as u64 * PAGE;

#[test]
fn pages_that_share_a_place_are_walked_once() {
    let mut rig = rig();
    let local = BASE + PAGE;
    for va in [BASE, BASE + TLB, local, local + TLB] {
        assert_eq!(rig.memory.load::<u8>(va), Ok(0));
    }
    assert_eq!(rig.memory.walker.walks, 4);
    for turn in 0..3_u8 {
        for va in [BASE, BASE + TLB, local, local + TLB] {
            assert_eq!(rig.memory.try_load::<u8>(va), None, "another one has its place");
            assert_eq!(rig.memory.load::<u8>(va), Ok(0), "{turn}");
            assert_eq!(rig.memory.try_load::<u8>(va), Some(0));
        }
    }
    assert_eq!(rig.memory.walker.walks, 4);
    // A read said nothing about writes.
    assert_eq!(rig.memory.store(BASE, 1_u8), Ok(()));
    assert_eq!(rig.memory.walker.walks, 5);
    assert_eq!(rig.memory.load::<u8>(BASE + TLB), Ok(1));
    assert_eq!(rig.memory.store(BASE, 2_u8), Ok(()));
    assert_eq!(rig.memory.walker.walks, 5);
}

#[test]
fn pages_that_have_lost_their_places_are_flushed_like_others() {
    let mut rig = rig();
    let local = BASE + PAGE;
    let walks = |rig: &mut Rig, va| {
        let before = rig.memory.walker.walks;
        assert_eq!(rig.memory.load::<u8>(va), Ok(0));
        rig.memory.walker.walks - before
    };
    let touch = |rig: &mut Rig| {
        for va in [BASE, BASE + TLB, local, local + TLB] {
            walks(rig, va);
        }
    };
    touch(&mut rig);
    rig.memory.flush(false);
    assert_eq!((walks(&mut rig, BASE), walks(&mut rig, local)), (0, 1));
    touch(&mut rig);
    rig.memory.flush(true);
    assert_eq!((walks(&mut rig, BASE), walks(&mut rig, local)), (1, 1));
    touch(&mut rig);
    rig.memory.flush_page(BASE + 8);
    assert_eq!((walks(&mut rig, BASE), walks(&mut rig, local)), (1, 0));
    // Each address space has its own.
    touch(&mut rig);
    rig.memory.enter(1);
    assert_eq!((walks(&mut rig, BASE), walks(&mut rig, local)), (1, 1));
    rig.memory.enter(0);
    assert_eq!((walks(&mut rig, BASE), walks(&mut rig, local)), (0, 0));
}

#[test]
fn code_is_declared_while_its_page_has_no_place() {
    let mut rig = rig();
    let va = BASE + 64;
    assert_eq!(rig.memory.store(va, 1_u8), Ok(()));
    assert_eq!(rig.memory.load::<u8>(va + TLB), Ok(1));
    assert!(rig.phys.watch(64..66));
    assert_eq!(rig.memory.load::<u8>(va), Ok(1));
    assert_eq!(rig.memory.try_store(va, 2_u8), None);
    let fault = MemFault { va, access: Access::Write, cause: Cause::Code };
    assert_eq!(rig.memory.store(va, 2_u8), Err(fault));
    rig.phys.unwatch(64..66);
    assert_eq!(rig.memory.store(va, 2_u8), Ok(()));
}

#[test]
fn writes_to_translated_lines_are_caught_and_others_on_the_page_are_not() {
    let mut rig = rig();
    assert_eq!(rig.memory.store(BASE + 100, 1_u8), Ok(()));
    assert_eq!(rig.memory.locate(BASE + 64), Ok(64));
    assert!(rig.phys.watch(64..72));
    assert_eq!(rig.memory.try_store(BASE + 100, 1_u8), None, "the entry has become slow");
    let caught = |va| Err(MemFault { va, access: Access::Write, cause: Cause::Code });
    assert_eq!(rig.memory.store(BASE + 100, 1_u8), caught(BASE + 100));
    assert_eq!(rig.memory.write(BASE + 32, &[0; 64]), caught(BASE + 64));
    assert_eq!(rig.memory.store(BASE + 128, 1_u8), Ok(()));
    assert_eq!(rig.memory.locate_write(BASE + 100), Ok(100));
    rig.phys.unwatch(Phys::lines_around(100..101));
    assert_eq!(rig.memory.store(BASE + 100, 2_u8), Ok(()));
    assert!(rig.memory.try_store(BASE + 100, 3_u8).is_some(), "the page has no code any more");
}

#[test]
fn a_write_from_outside_to_translated_bytes_is_reported() {
    let rig = rig();
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    rig.phys.on_written(move |range| log.lock().expect("unpoisoned").push(range));
    rig.phys.wrote(0..PAGE);
    rig.phys.watch(PAGE + 8..PAGE + 16);
    rig.phys.wrote(0..PAGE);
    rig.phys.wrote(PAGE + 63..2 * PAGE);
    let (first, all) = (PAGE + 63..2 * PAGE, told.lock().expect("unpoisoned"));
    assert_eq!((all.first(), all.len()), (Some(&first), 1));
}

#[test]
fn who_monitors_a_line_hears_that_it_is_written() {
    let mut rig = rig();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    rig.phys.on_unwatched(move |range| {
        log.lock().expect("unpoisoned").push((range.start, range.end));
    });
    assert_eq!(rig.phys.monitor(9 * PAGE), None, "a device");
    assert_eq!(rig.phys.monitor(100), Some(64));
    assert!(rig.phys.is_watched(64) && !rig.phys.is_watched(128));
    assert_eq!(rig.memory.store(BASE + 128, 1_u8), Ok(()), "another line");
    let fault = MemFault { va: BASE + 127, access: Access::Write, cause: Cause::Code };
    assert_eq!(rig.memory.store(BASE + 127, 1_u8), Err(fault));
    rig.phys.unwatch(Phys::lines_around(127..128));
    assert!(!rig.phys.is_watched(64));
    assert_eq!(rig.memory.store(BASE + 127, 1_u8), Ok(()));
    assert_eq!(*heard.lock().expect("unpoisoned"), vec![(64, 128)]);
}

#[test]
fn code_is_forgotten_where_a_write_cannot_be_made_again() {
    let mut rig = rig();
    let phys = Arc::downgrade(&rig.phys);
    rig.phys.on_written(move |range| {
        phys.upgrade().expect("memory").unwatch(Phys::lines_around(range));
    });
    rig.phys.watch(64..72);
    let va = BASE + 70;
    let caught = MemFault { va, access: Access::Write, cause: Cause::Code };
    assert_eq!(rig.memory.store(va, 1_u8), Err(caught));
    rig.memory.forget_code(va);
    assert_eq!(rig.memory.store(va, 1_u8), Ok(()));
}

#[test]
fn a_change_of_mapping_is_told_once_and_only_if_code_was_located() {
    let mut rig = rig();
    assert_eq!(rig.memory.take_moved(), Moved::Nothing);
    assert_eq!(rig.memory.load::<u8>(BASE), Ok(0));
    rig.memory.flush_page(BASE);
    assert!(!rig.memory.has_moved());
    assert_eq!(rig.memory.take_moved(), Moved::Nothing, "a page of data");
    for (page, moved) in [(BASE, Moved::All), (BASE + 3 * PAGE, Moved::Locals)] {
        assert!(rig.memory.locate(page).is_ok());
        rig.memory.flush_page(page);
        assert_eq!(rig.memory.take_moved(), moved, "even pages are global");
        assert_eq!(rig.memory.take_moved(), Moved::Nothing);
    }
}

#[test]
fn a_global_page_of_code_is_remembered_after_others_have_moved() {
    let mut rig = rig();
    assert!(rig.memory.locate(BASE).is_ok() && rig.memory.lasts(BASE));
    assert!(rig.memory.locate(BASE + 3 * PAGE).is_ok() && !rig.memory.lasts(BASE + 3 * PAGE));
    rig.memory.flush(false);
    assert_eq!(rig.memory.take_moved(), Moved::Locals);
    assert!(rig.memory.lasts(BASE));
    rig.memory.flush_page(BASE + 3 * PAGE);
    assert_eq!(rig.memory.take_moved(), Moved::Nothing, "told already");
    rig.memory.flush_page(BASE);
    assert_eq!(rig.memory.take_moved(), Moved::All);
    rig.memory.flush(true);
    assert_eq!(rig.memory.take_moved(), Moved::All);
}

#[test]
fn address_spaces_are_remembered_when_they_are_left() {
    let mut rig = rig();
    let (global, local) = (BASE, BASE + PAGE);
    let known = |rig: &mut Rig, va| rig.memory.try_load::<u8>(va).is_some();
    for va in [global, local] {
        assert_eq!(rig.memory.load::<u8>(va), Ok(0));
    }
    rig.memory.enter(0);
    assert_eq!(rig.memory.take_moved(), Moved::Nothing, "it was there already");
    rig.memory.enter(5);
    assert_eq!(rig.memory.take_moved(), Moved::Locals);
    assert!(!known(&mut rig, local));
    assert_eq!(rig.memory.store(local, 1_u8), Ok(()));
    rig.memory.flush(false);
    rig.memory.enter(0);
    assert!(known(&mut rig, local) && known(&mut rig, global));
    // Code that is declared now is written the long way from every address space.
    assert_eq!(rig.memory.store(local, 1_u8), Ok(()));
    rig.memory.enter(5);
    assert!(rig.phys.watch(PAGE..PAGE + 8));
    rig.memory.enter(0);
    assert_eq!(rig.memory.try_store(local, 1_u8), None);
    // A page, a space, all spaces; a global page is forgotten in all of them.
    rig.memory.enter(5);
    rig.memory.flush_page_of(0, local);
    rig.memory.enter(0);
    assert!(!known(&mut rig, local) && known(&mut rig, global));
    for (flushed, stays) in [(Some(5), true), (Some(0), false), (None, false)] {
        assert_eq!(rig.memory.load::<u8>(local), Ok(1));
        rig.memory.enter(5);
        rig.memory.flush_contexts(flushed);
        rig.memory.enter(0);
        assert_eq!((known(&mut rig, local), known(&mut rig, global)), (stays, true));
    }
    rig.memory.enter(5);
    rig.memory.flush_page(global);
    rig.memory.enter(0);
    assert!(!known(&mut rig, global));
    assert_eq!(rig.memory.load::<u8>(local), Ok(1));
    rig.memory.enter(5);
    rig.memory.flush(true);
    rig.memory.enter(0);
    assert!(!known(&mut rig, local));
}

#[test]
fn code_is_where_it_was_when_its_era_is_back() {
    let mut rig = rig();
    // An odd page, not behind the global one, on which a block could begin.
    let (global, local) = (BASE, BASE + 3 * PAGE);
    let era = |rig: &mut Rig, context| {
        rig.memory.enter(context);
        rig.memory.take_moved();
        rig.memory.era()
    };
    let first = era(&mut rig, 1);
    assert!(rig.memory.locate(local).is_ok() && rig.memory.locate(global).is_ok());
    let second = era(&mut rig, 2);
    assert_ne!(first, second);
    // The first comes back as it was, and its pages of code are still known as such.
    assert_eq!(era(&mut rig, 1), first);
    rig.memory.flush_page(local);
    assert_eq!(rig.memory.take_moved(), Moved::Locals);
    let first = era(&mut rig, 1);
    // Whatever forgets its pages ends its era, and no other.
    type Flush = fn(&mut Paged<Linear>);
    let flushes: [(Flush, bool); 7] = [
        (|memory| memory.flush(false), true),
        (|memory| memory.flush_page(BASE + 3 * PAGE), true),
        (|memory| memory.flush_page_of(1, BASE + 3 * PAGE), false),
        (|memory| memory.flush_page_of(3, BASE + 3 * PAGE), true),
        (|memory| memory.flush_contexts(Some(1)), false),
        (|memory| memory.flush_contexts(None), false),
        (|memory| memory.flush(true), false),
    ];
    let mut known = first;
    for (n, (flush, stays)) in flushes.into_iter().enumerate() {
        assert!(rig.memory.locate(local).is_ok());
        era(&mut rig, 2);
        flush(&mut rig.memory);
        let now = era(&mut rig, 1);
        assert_eq!(now == known, stays, "{n}");
        known = now;
    }
}

#[test]
fn the_address_space_that_was_left_first_is_forgotten() {
    let mut rig = rig();
    let local = BASE + PAGE;
    for context in 0..20 {
        rig.memory.enter(context);
        assert_eq!(rig.memory.try_load::<u8>(local), None, "{context}");
        assert_eq!(rig.memory.load::<u8>(local), Ok(0));
    }
    rig.memory.enter(15);
    assert!(rig.memory.try_load::<u8>(local).is_some());
    rig.memory.enter(1);
    assert!(rig.memory.try_load::<u8>(local).is_none());
}

#[test]
fn the_address_line_at_bit_20_can_be_held_low() {
    let rig = rig();
    rig.phys.store(0, 5_u8);
    rig.phys.set_a20(false);
    assert_eq!(rig.phys.load::<u8>(1 << 20), 5);
    rig.phys.set_a20(true);
    assert_ne!(rig.phys.load::<u8>(1 << 20), 5);
}

#[test]
fn memory_is_switched_on_in_front_of_rom() {
    let mut rig = rig();
    let (shadow, rom) = (BASE + 6 * PAGE, BASE + 8 * PAGE);
    let home = rig.memory.locate(rom);
    let set = |rig: &mut Rig, rights| {
        rig.phys.set_rights(6 * PAGE..7 * PAGE, rights);
        rig.memory.flush(true);
    };
    // Off: the ROM is there, code in it is the ROM's, and writes are lost.
    assert_eq!(rig.memory.locate(shadow), home);
    assert_eq!(rig.memory.store(shadow, 1_u8), Ok(()));
    assert_eq!(rig.memory.load::<u8>(shadow), Ok(0));
    // Writes go to memory while reads find the ROM.
    set(&mut rig, Rights { read: false, write: true });
    assert_eq!(rig.memory.store(shadow, 2_u8), Ok(()));
    assert_eq!(rig.memory.load::<u8>(shadow), Ok(0));
    assert_eq!(rig.phys.load::<u8>(6 * PAGE), 0);
    set(&mut rig, Rights::READ);
    assert_eq!(rig.memory.load::<u8>(shadow), Ok(2));
    assert_eq!(rig.memory.store(shadow, 3_u8), Ok(()));
    assert_eq!(rig.memory.load::<u8>(shadow), Ok(2));
    assert_eq!(rig.memory.locate(shadow), Ok(6 * PAGE));
    set(&mut rig, Rights::ALL);
    assert_eq!(rig.memory.store(shadow, 3_u8), Ok(()));
    assert_eq!(rig.memory.load::<u8>(shadow), Ok(3));
    // The ROM has stayed as it is.
    assert_eq!(rig.memory.load::<u8>(rom), Ok(0));
    assert!(rig.registers.0.lock().expect("no test panics with it").is_empty());
}
