//! What `info` shows.

use super::Info;
use crate::Interface;
use crate::front::Front;
use crate::processor::Guest;
use mynah_devices::pci::{BarKind, reg};
use mynah_engine::{Cpu, Tier};
use mynah_x86::paging::Mapping;
use mynah_x86::segment::{CS, DS, ES, FS, GS, SS, Segment};
use mynah_x86::{State, mode};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// Lines of a table at most: a guest can map more pages than anybody reads.
const MAX_LINES: usize = 2000;
/// Entries of page tables that are looked at, at most.
const MAX_ENTRIES: u64 = 4 << 20;

impl Front {
    /// What `job` makes of the state of vCPU `number`.
    pub(super) fn ask<R: Send + 'static>(
        &self,
        number: usize,
        job: impl FnOnce(&mut Cpu<Guest>) -> R + Send + 'static,
    ) -> Result<R, String> {
        let seat = self.control.upgrade().and_then(|control| control.seat(number as u64 + 1));
        let seat = seat.ok_or_else(|| format!("There is no vCPU {number}."))?;
        seat.ask(job).ok_or_else(|| format!("vCPU {number} does not answer."))
    }
}

pub(super) fn show(front: &Front, info: Info) -> Result<String, String> {
    let number = front.vcpu.load(Ordering::Relaxed);
    match info {
        Info::Status => Ok(status(front)),
        Info::Registers => front.ask(number, move |cpu| registers(cpu, number)),
        Info::Tlb => front.ask(number, |cpu| pages(cpu)),
        Info::Mem => front.ask(number, |cpu| ranges(cpu)),
        Info::Irq => Ok(interrupts(front)),
        Info::Pci => Ok(pci(front)),
        Info::Jit => Ok(translator(front)),
        Info::Block => Ok(drives(front)),
        Info::Network => Ok(network(front)),
    }
}

fn status(front: &Front) -> String {
    let running = front.control.upgrade().is_some_and(|control| control.is_running());
    let now = front.board.timers.clock().now();
    let mut text = String::new();
    let state = if running { "running" } else { "stopped" };
    let _ = writeln!(
        text,
        "{state}, {}.{:03} s after power-on",
        now / 1_000_000_000,
        now / 1_000_000 % 1000
    );
    let _ = writeln!(text, "memory {} MiB", front.options.memory >> 20);
    for number in 0..front.board.lines.len() {
        let what = front.ask(number, |cpu| (words(&cpu.state), cpu.core.pc));
        let chosen = if number == front.vcpu.load(Ordering::Relaxed) { "*" } else { " " };
        let doing = front.board.lines[number].doing();
        let _ = match what {
            Ok((mode, pc)) => writeln!(text, "{chosen} vCPU {number}: {doing}, {mode}, at {pc:#x}"),
            Err(error) => writeln!(text, "{chosen} {error}"),
        };
    }
    text
}

/// The mode in words.
fn words(state: &State) -> String {
    let bits = mode::bitness(state.system.mode);
    let name = match () {
        () if state.is_long() && bits == 64 => "long mode",
        () if state.is_long() => "compatibility mode",
        () if state.is_virtual() => "virtual-8086 mode",
        () if state.is_protected() => "protected mode",
        () => "real mode",
    };
    format!("{name}, {bits}-bit code, privilege level {}", state.system.cpl)
}

fn registers(cpu: &Cpu<Guest>, number: usize) -> String {
    const NAMES: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8 ", "r9 ", "r10", "r11", "r12",
        "r13", "r14", "r15",
    ];
    const FLAGS: [(u32, &str); 17] = [
        (0, "CF"),
        (2, "PF"),
        (4, "AF"),
        (6, "ZF"),
        (7, "SF"),
        (8, "TF"),
        (9, "IF"),
        (10, "DF"),
        (11, "OF"),
        (14, "NT"),
        (16, "RF"),
        (17, "VM"),
        (18, "AC"),
        (19, "VIF"),
        (20, "VIP"),
        (21, "ID"),
        (12, "IOPL"),
    ];
    let (state, system) = (&cpu.state, &cpu.state.system);
    let mut text = format!("vCPU {number}: {}\n", words(state));
    // Writing to a string does not fail.
    for (n, value) in state.gpr.iter().enumerate() {
        let _ = write!(text, "{} {value:016x}{}", NAMES[n], if n % 4 == 3 { "\n" } else { "  " });
    }
    let rflags = state.rflags();
    let _ = write!(text, "rip {:016x}  rflags {rflags:08x}", state.code_offset(cpu.core.pc));
    for (bit, name) in FLAGS {
        match (name, rflags >> bit) {
            ("IOPL", bits) if bits & 3 != 0 => _ = write!(text, " IOPL={}", bits & 3),
            ("IOPL", _) => {}
            (_, bits) if bits & 1 != 0 => _ = write!(text, " {name}"),
            _ => {}
        }
    }
    text.push('\n');
    let mut segment = |name: &str, segment: Segment| {
        let Segment { selector, attributes, base, limit } = segment;
        let _ = writeln!(
            text,
            "{name:<4} {selector:04x}  {base:016x}  {limit:08x}  {attributes:06x}  {}",
            kind(&segment)
        );
    };
    for (name, n) in [("es", ES), ("cs", CS), ("ss", SS), ("ds", DS), ("fs", FS), ("gs", GS)] {
        segment(name, state.segment(n));
    }
    segment("ldtr", system.ldtr);
    segment("tr", system.tr);
    for (name, table) in [("gdtr", system.gdtr), ("idtr", system.idtr)] {
        let _ = writeln!(text, "{name:<4}       {:016x}  {:08x}", table.base, table.limit);
    }
    let _ = writeln!(
        text,
        "cr0 {:08x}  cr2 {:016x}  cr3 {:016x}  cr4 {:08x}  efer {:04x}",
        system.cr0, system.cr2, system.cr3, system.cr4, system.efer
    );
    let [dr0, dr1, dr2, dr3] = system.dr;
    let _ = writeln!(text, "dr0 {dr0:016x}  dr1 {dr1:016x}  dr2 {dr2:016x}  dr3 {dr3:016x}");
    let _ = writeln!(text, "dr6 {:08x}  dr7 {:08x}", system.dr6, system.dr7);
    let fpu = &state.fpu;
    let _ = writeln!(
        text,
        "fcw {:04x}  fsw {:04x}  ftw {:02x}  mxcsr {:08x}",
        fpu.control, fpu.status, fpu.tags, cpu.core.fp_env
    );
    for (n, value) in fpu.regs.iter().enumerate() {
        let _ = write!(text, "fpr{n} {value:020x}{}", if n % 4 == 3 { "\n" } else { "  " });
    }
    for (n, value) in state.xmm.iter().enumerate() {
        let _ = write!(text, "xmm{n:02} {value:032x}{}", if n % 2 == 1 { "\n" } else { "  " });
    }
    text
}

fn kind(segment: &Segment) -> &'static str {
    match () {
        () if segment.attributes == 0 => "null",
        () if segment.is_code() => "code",
        () if segment.is_data() && segment.is_writable() => "data",
        () if segment.is_data() => "data, read only",
        () => "system",
    }
}

/// What a page's entries permit, in the letters of `ls`, and how it is marked.
fn rights(mapping: &Mapping) -> String {
    let letter = |on, letter| if on { letter } else { '-' };
    [
        letter(mapping.user, 'u'),
        'r',
        letter(mapping.writable, 'w'),
        letter(mapping.executable, 'x'),
        letter(mapping.global, 'g'),
    ]
    .iter()
    .collect()
}

const NO_PAGING: &str = "Paging is off: virtual addresses are physical ones.\n";

fn pages(cpu: &Cpu<Guest>) -> String {
    let mut text =
        String::from("virtual           physical          length  rights, accessed, dirty\n");
    let (mut lines, mut more) = (0, false);
    let whole = cpu.memory.walker.mappings(cpu.memory.phys(), MAX_ENTRIES, |mapping| {
        let Mapping { va, pa, span, accessed, dirty, .. } = mapping;
        let marks = [if accessed { 'a' } else { '-' }, if dirty { 'd' } else { '-' }];
        let marks: String = marks.iter().collect();
        let _ = writeln!(
            text,
            "{va:016x}  {pa:016x}  {:>6}  {}{marks}",
            length(span),
            rights(&mapping)
        );
        lines += 1;
        more = lines >= MAX_LINES;
        !more
    });
    match () {
        () if lines == 0 && whole => NO_PAGING.to_owned(),
        () if more || !whole => text + "There are more: `info mem` has them in ranges.\n",
        () => text,
    }
}

fn length(bytes: u64) -> String {
    match bytes.trailing_zeros() {
        30.. => format!("{}G", bytes >> 30),
        20.. => format!("{}M", bytes >> 20),
        _ => format!("{}K", bytes >> 10),
    }
}

fn ranges(cpu: &Cpu<Guest>) -> String {
    let mut text = String::from("from              to                          length  rights\n");
    let (mut lines, mut any) = (0, false);
    let mut range: Option<(u64, u64, String)> = None;
    let mut end = |range: Option<(u64, u64, String)>| {
        if let Some((first, last, rights)) = range {
            let len = last.wrapping_sub(first).wrapping_add(1) >> 10;
            let _ = writeln!(text, "{first:016x}  {last:016x}  {len:>15}K  {rights}");
            lines += 1;
        }
        lines < MAX_LINES
    };
    let whole = cpu.memory.walker.mappings(cpu.memory.phys(), MAX_ENTRIES, |mapping| {
        any = true;
        let (last, rights) = (mapping.va.wrapping_add(mapping.span - 1), rights(&mapping));
        match &mut range {
            Some(known) if known.1.wrapping_add(1) == mapping.va && known.2 == rights => {
                known.1 = last;
                true
            }
            _ => end(range.replace((mapping.va, last, rights))),
        }
    });
    let room = end(range.take());
    match () {
        () if !any && whole => NO_PAGING.to_owned(),
        () if !whole || !room => text + "There are more.\n",
        () => text,
    }
}

fn interrupts(front: &Front) -> String {
    let board = &front.board;
    let [irr, isr, imr, elcr] = board.pic.registers();
    let lines = |bits: u16| list((0..16).filter(|n| bits >> n & 1 != 0));
    let mut text = String::new();
    let _ = writeln!(
        text,
        "8259s    requested {}; in service {}; masked {}; by level {}",
        lines(irr),
        lines(isr),
        lines(imr),
        lines(elcr)
    );
    for (pin, entry) in board.ioapic.entries().into_iter().enumerate() {
        let has = |bit: u32| entry >> bit & 1 != 0;
        // Pins that nobody has set up say nothing.
        if has(16) && entry as u8 == 0 {
            continue;
        }
        let delivery =
            ["fixed", "lowest", "SMI", "", "NMI", "INIT", "", "ExtINT"][(entry >> 8 & 7) as usize];
        let _ = writeln!(
            text,
            "I/O APIC pin {pin:>2}: vector {:02x}, {delivery}, to {} {:02x}, {}{}{}{}",
            entry as u8,
            if has(11) { "the logical APICs" } else { "APIC" },
            entry >> 56,
            if has(15) { "level" } else { "edge" },
            if has(13) { ", low" } else { "" },
            if has(14) { ", waits for its end" } else { "" },
            if has(16) { ", masked" } else { "" },
        );
    }
    for (number, lapic) in board.lapics.iter().enumerate() {
        let word = |register: u64| lapic.read(register << 4, 4);
        let vectors = |first: u64| {
            let words: Vec<u64> = (0..8).map(|n| word(first + n)).collect();
            list(
                (0..256).filter(|n| words[n / 32] >> (n % 32) & 1 != 0).map(|n| format!("{n:02x}")),
            )
        };
        let timer = word(0x32);
        let mode = ["once", "periodic", "TSC deadline", ""][(timer >> 17 & 3) as usize];
        let _ = writeln!(
            text,
            "APIC {number}: requested {}; in service {}; priority {:02x}; timer {:02x} {mode}{}",
            vectors(0x20),
            vectors(0x10),
            word(0x8),
            timer as u8,
            if timer >> 16 & 1 != 0 { ", masked" } else { "" },
        );
    }
    text
}

/// `a b c`, or `none`.
fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(" ") }
}

fn pci(front: &Front) -> String {
    let mut text = String::new();
    for (address, function) in front.board.pci.functions() {
        let mut function = function.lock();
        let config = function.config();
        let class = config.u32(reg::REVISION_ID) >> 8;
        let _ = write!(
            text,
            "{address:?}  {:04x}:{:04x}  class {class:06x}",
            config.u16(reg::VENDOR_ID),
            config.u16(reg::DEVICE_ID)
        );
        match config.interrupt_pin() {
            pin @ 1..=4 => _ = writeln!(text, "  INT{}", char::from(b'A' + pin - 1)),
            _ => text.push('\n'),
        }
        for (number, bar) in config.decoded().into_iter().enumerate() {
            let Some(bar) = bar else { continue };
            let name = if number == 6 { "ROM ".to_owned() } else { format!("BAR{number}") };
            let kind = match bar.kind {
                BarKind::Io => "ports",
                BarKind::Memory => "memory",
                BarKind::Memory64 => "memory, 64-bit",
                BarKind::Prefetchable64 => "memory, 64-bit, prefetchable",
            };
            let last = bar.address + (bar.size - 1);
            let _ = writeln!(text, "         {name} {:#x} to {last:#x}  {kind}", bar.address);
        }
    }
    text
}

fn translator(front: &Front) -> String {
    let config = front.options.config;
    let tier = match config.tier {
        Tier::Interpreter => "everything is interpreted".to_owned(),
        Tier::Compiler => "everything is compiled before it runs".to_owned(),
        Tier::Auto => format!("blocks are compiled after {} executions", config.threshold),
    };
    format!("{tier}; code cache {} MiB\n{}\n", config.code_cache >> 20, front.engine.stats())
}

fn drives(front: &Front) -> String {
    let mut text = String::new();
    for drive in front.drives() {
        let interface = match drive.interface {
            Interface::Virtio => "virtio disk",
            Interface::Ide => "IDE disk",
            Interface::Cdrom => "IDE CD-ROM",
        };
        let _ = write!(text, "{interface:<12} {}", drive.image.display());
        if drive.read_only {
            text += ", read only";
        }
        if drive.snapshot {
            text += ", what is written is thrown away";
        }
        text.push('\n');
    }
    if text.is_empty() { "There are no disks.\n".to_owned() } else { text }
}

fn network(front: &Front) -> String {
    match &front.options.net {
        Some(options) => format!("{options}\n"),
        None => "There is no network.\n".to_owned(),
    }
}
