//! Programs of chance: whatever a guest does, the vCPU neither panics nor hangs. Tables, TSS and page
//! tables are made of what the programs are made of, which is for the most part instructions of
//! operating systems.

use crate::machine::{Machine, Style};
use mynah_x86::flags;
use mynah_x86::registers::{cr0, cr4, efer};
use mynah_x86::segment::{Segment, Table, attribute};

/// Where the program is.
const CODE: u64 = 0x8000;
/// Where tables are.
const TABLES: u64 = 0x10_0000;
/// Blocks that a program executes at most.
const TURNS: u32 = 60;
const PROGRAMS: u64 = 6_000;

/// Numbers of chance (xorshift64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Beginnings of instructions of operating systems.
const OPCODES: &[&[u8]] = &[
    &[0x0f, 0x00],
    &[0x0f, 0x01],
    &[0x0f, 0x02],
    &[0x0f, 0x03],
    &[0x0f, 0x05],
    &[0x0f, 0x06],
    &[0x0f, 0x07],
    &[0x0f, 0x20],
    &[0x0f, 0x21],
    &[0x0f, 0x22],
    &[0x0f, 0x23],
    &[0x0f, 0x30],
    &[0x0f, 0x32],
    &[0x0f, 0x34],
    &[0x0f, 0x35],
    &[0x0f, 0xae],
    &[0x0f, 0xb2],
    &[0x0f, 0xc7],
    &[0x66, 0x0f, 0x38, 0x82],
    &[0x8e],
    &[0x8c],
    &[0x9a],
    &[0x9c],
    &[0x9d],
    &[0xc4],
    &[0xc5],
    &[0xc8],
    &[0xc9],
    &[0xca],
    &[0xcb],
    &[0xcc],
    &[0xcd],
    &[0xce],
    &[0xcf],
    &[0xea],
    &[0xe4],
    &[0xee],
    &[0xf3, 0x6c],
    &[0xf3, 0x6f],
    &[0xf3, 0xa4],
    &[0xf3, 0xab],
    &[0xf3, 0xa6],
    &[0xfa],
    &[0xfb],
    &[0xff],
    &[0x62],
    &[0x63],
    &[0x60],
    &[0x61],
    &[0xe2],
    &[0xe3],
];

fn program(chance: &mut Chance) -> Vec<u8> {
    let mut code = Vec::new();
    while code.len() < 400 {
        if chance.once_in(4) {
            code.push(chance.pick(&[0x66, 0x67, 0x2e, 0x36, 0x65, 0x48, 0xf0, 0xf3]));
        }
        if chance.once_in(3) {
            code.extend(&chance.next().to_le_bytes()[..3]);
        } else {
            code.extend(chance.pick(OPCODES));
            code.push(chance.next() as u8);
        }
    }
    code
}

/// A descriptor, gate or page-table entry that may be one.
fn entry(chance: &mut Chance) -> u64 {
    let address = chance.pick(&[CODE, TABLES, TABLES + 0x1000, 0x20_0000, 0xffff_f000]);
    match chance.below(4) {
        // A page of a table or of memory.
        0 => address & !0xfff | chance.below(0x200) | 1,
        // A descriptor of 4 GiB or less.
        1 => {
            let rights = chance.below(0x80) | 0x80;
            let flags = chance.below(16);
            0xffff | rights << 40 | flags << 52 | chance.below(16) << 48
        }
        // A gate.
        2 => {
            let selector = chance.below(32) << 3 | chance.below(8);
            let kind = chance.below(0x80) | 0x80;
            address & 0xffff | selector << 16 | kind << 40 | chance.below(32) << 32
        }
        _ => chance.next(),
    }
}

fn segment(chance: &mut Chance) -> Segment {
    let attributes = chance.next() as u32 & attribute::ALL;
    let base = chance.pick(&[0, 0, 0, CODE, TABLES, 0xffff_0000]);
    let limit = chance.pick(&[u32::MAX, u32::MAX, 0xffff, 0xfff, 0]);
    let present = attribute::PRESENT | attribute::MEMORY | attribute::WRITABLE;
    let attributes = if chance.once_in(4) { attributes } else { attributes | present };
    Segment { selector: chance.next() as u16 & 0xff, attributes, base, limit }
}

fn set_state(machine: &mut Machine, chance: &mut Chance) {
    let state = &mut machine.cpu.state;
    for n in 0..16 {
        let near = [CODE, CODE + 0x100, TABLES, 8, 0x10, 0x1b, 0xc000_0080, u64::MAX - 63];
        state.gpr[n] = if chance.once_in(4) { chance.next() } else { chance.pick(&near) };
    }
    state.gpr[4] = chance.pick(&[0x7000, TABLES + 0x3000, 2, 0xffff_8000_0000_1000]);
    for n in [0, 2, 3, 4, 5] {
        let segment = segment(chance);
        state.set_segment(n, segment);
    }
    let long = chance.once_in(3);
    let protected = long || !chance.once_in(3);
    let level = chance.pick(&[0, 0, 3, 1]);
    let width = chance.pick(&[0, attribute::BIG, attribute::BIG]);
    let code = attribute::PRESENT | attribute::MEMORY | attribute::CODE | attribute::WRITABLE;
    let width = if long && chance.once_in(2) { attribute::LONG } else { width };
    let code = Segment { selector: 8, attributes: code | width, base: 0, limit: u32::MAX };
    state.set_segment(1, code);
    let system = &mut state.system;
    system.gdtr = Table { base: TABLES, limit: 0xff };
    system.idtr = Table { base: TABLES + 0x100, limit: chance.pick(&[0xfff, 0xff, 0]) };
    system.tr = Segment {
        selector: 0x28,
        attributes: attribute::PRESENT | (chance.below(4) << 1 | 1) as u32 * 0x100,
        base: TABLES + 0x2000,
        limit: chance.pick(&[0xfff, 0x67, 0x10]),
    };
    system.ldtr = Segment { attributes: 0x8200, base: TABLES, limit: 0xff, selector: 0x18 };
    for register in [&mut system.star, &mut system.lstar, &mut system.fmask] {
        *register = chance.pick(&[0, CODE, 0x0008_0008_0000_0000]);
    }
    system.sysenter_cs = 8;
    system.sysenter_eip = CODE;
    system.cr3 = TABLES + 0x4000;
    system.cr4 = chance.next() & cr4::ALL & !(cr4::PCIDE | cr4::PAE);
    system.dr7 = if chance.once_in(3) { chance.next() & 0xffff_2bff } else { 0x400 };
    system.dr = [CODE, CODE + 3, TABLES, 0x7000];
    if protected {
        system.cr0 |= cr0::PE;
        system.cpl = level;
        if long || chance.once_in(3) {
            system.cr0 |= cr0::PG;
        }
    }
    if long {
        system.cr4 |= cr4::PAE;
        system.efer = efer::LME | efer::LMA | efer::SCE;
    }
    let all = flags::ARITHMETIC | flags::SYSTEM;
    let virtual_8086 = if protected && !long && chance.once_in(4) { 0 } else { flags::VM };
    state.set_rflags_bits(chance.next(), all & !virtual_8086);
    if state.is_virtual() {
        state.system.cpl = 3;
    }
    state.refresh_mode();
}

#[test]
fn nothing_that_a_guest_does_is_a_panic() {
    let mut machine = Machine::new(Style::Blocks);
    for seed in 1..=PROGRAMS {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        machine.reset();
        for pa in (TABLES..TABLES + 0x6000).step_by(8) {
            let value = entry(&mut chance);
            machine.store(pa, &value.to_le_bytes());
        }
        // The program's own pages are mapped, in all kinds of paging that begin with this table.
        for pa in [TABLES + 0x4000, TABLES + 0x1000] {
            machine.store(pa, &(TABLES + 0x1000 | 0x67).to_le_bytes());
            machine.store(pa + 8 * 8, &(CODE | 0x67).to_le_bytes());
        }
        machine.store(CODE, &program(&mut chance));
        set_state(&mut machine, &mut chance);
        machine.begin(CODE);
        machine.run_for(TURNS);
    }
}
