//! x86-64, and its 32-bit kind i386. The pc is the linear address of the instruction in every
//! mode, so that it can be disassembled and compared with symbols.

use super::{Inspect, Register};
use crate::{Watch, WatchKind};
use mynah_guest::Cpu;
use mynah_x86::segment::{CS, DS, ES, FS, GS, SS};
use mynah_x86::{Space, State, X86};

const CORE: &str = "org.gnu.gdb.i386.core";
const SSE: &str = "org.gnu.gdb.i386.sse";
const LINUX: &str = "org.gnu.gdb.i386.linux";
const SEGMENTS: &str = "org.gnu.gdb.i386.segments";
/// A name of our own: gdb shows its registers, and knows nothing more of them.
const SYSTEM: &str = "mynah.i386.system";

/// In the order in which gdb numbers them: it is not that of the encoding.
const WIDE: [(&str, usize); 16] = [
    ("rax", 0),
    ("rbx", 3),
    ("rcx", 1),
    ("rdx", 2),
    ("rsi", 6),
    ("rdi", 7),
    ("rbp", 5),
    ("rsp", 4),
    ("r8", 8),
    ("r9", 9),
    ("r10", 10),
    ("r11", 11),
    ("r12", 12),
    ("r13", 13),
    ("r14", 14),
    ("r15", 15),
];
const NARROW: [(&str, usize); 8] = [
    ("eax", 0),
    ("ecx", 1),
    ("edx", 2),
    ("ebx", 3),
    ("esp", 4),
    ("ebp", 5),
    ("esi", 6),
    ("edi", 7),
];
const SELECTORS: [(&str, usize); 6] =
    [("cs", CS), ("ss", SS), ("ds", DS), ("es", ES), ("fs", FS), ("gs", GS)];
const BASES: [(&str, usize); 6] = [
    ("fs_base", FS),
    ("gs_base", GS),
    ("cs_base", CS),
    ("ss_base", SS),
    ("ds_base", DS),
    ("es_base", ES),
];
const X87: [&str; 8] = ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"];
const CONTROL: [&str; 6] = ["cr0", "cr2", "cr3", "cr4", "cr8", "efer"];

/// The types of [`CORE`] and [`SSE`] that are not gdb's own.
const FLAGS: &str = "<flags id=\"i386_eflags\" size=\"4\">\
    <field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>\
    <field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>\
    <field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>\
    <field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>\
    <field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>\
    <field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>\
    <field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>\
    <field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>\
    <field name=\"ID\" start=\"21\" end=\"21\"/></flags>";
const VECTORS: &str = "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>\
    <vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>\
    <vector id=\"v16i8\" type=\"int8\" count=\"16\"/>\
    <vector id=\"v8i16\" type=\"int16\" count=\"8\"/>\
    <vector id=\"v4i32\" type=\"int32\" count=\"4\"/>\
    <vector id=\"v2i64\" type=\"int64\" count=\"2\"/>\
    <union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>\
    <field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>\
    <field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>\
    <field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>\
    <flags id=\"i386_mxcsr\" size=\"4\">\
    <field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/>\
    <field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>\
    <field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/>\
    <field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"IM\" start=\"7\" end=\"7\"/>\
    <field name=\"DM\" start=\"8\" end=\"8\"/><field name=\"ZM\" start=\"9\" end=\"9\"/>\
    <field name=\"OM\" start=\"10\" end=\"10\"/><field name=\"UM\" start=\"11\" end=\"11\"/>\
    <field name=\"PM\" start=\"12\" end=\"12\"/><field name=\"FZ\" start=\"15\" end=\"15\"/>\
    </flags>";

fn find(list: &[(&str, usize)], name: &str) -> Option<usize> {
    list.iter().find(|(known, _)| *known == name).map(|&(_, n)| n)
}

/// The number at the end of a register's name.
fn numbered(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.parse().ok()
}

impl<M: Space> Inspect for X86<M> {
    fn architecture(narrow: bool) -> &'static str {
        if narrow { "i386" } else { "i386:x86-64" }
    }

    fn registers(narrow: bool) -> Vec<Register> {
        let mut all = Vec::new();
        let mut add = |name: &str, bits, kind, feature| {
            all.push(Register { name: name.to_owned(), bits, kind, feature });
        };
        let (general, word, int, pc) = match narrow {
            true => (&NARROW[..], 32, "int32", "eip"),
            false => (&WIDE[..], 64, "int64", "rip"),
        };
        for (name, n) in general {
            add(name, word, if matches!(n, 4 | 5) { "data_ptr" } else { int }, CORE);
        }
        add(pc, word, "code_ptr", CORE);
        add("eflags", 32, "i386_eflags", CORE);
        SELECTORS.iter().for_each(|(name, _)| add(name, 32, "int32", CORE));
        (0..8).for_each(|n| add(&format!("st{n}"), 80, "i387_ext", CORE));
        X87.iter().for_each(|name| add(name, 32, "int", CORE));
        let vectors = if narrow { 8 } else { 16 };
        (0..vectors).for_each(|n| add(&format!("xmm{n}"), 128, "vec128", SSE));
        add("mxcsr", 32, "i386_mxcsr", SSE);
        if !M::PAGED {
            add("orig_rax", 64, "int", LINUX);
        }
        let bases = if M::PAGED { &BASES[..] } else { &BASES[..2] };
        for (at, (name, _)) in bases.iter().enumerate() {
            let feature = if at < 2 && !narrow { SEGMENTS } else { SYSTEM };
            add(name, word, "int", feature);
        }
        if M::PAGED {
            CONTROL.iter().for_each(|name| add(name, word, "int", SYSTEM));
        }
        all
    }

    fn types(feature: &str) -> &'static str {
        match feature {
            CORE => FLAGS,
            SSE => VECTORS,
            _ => "",
        }
    }

    fn read_register(cpu: &Cpu<X86<M>>, name: &str) -> u128 {
        let state = &cpu.state;
        if let Some(n) = find(&WIDE, name).or_else(|| find(&NARROW, name)) {
            return state.gpr[n].into();
        }
        if let Some(n) = find(&SELECTORS, name) {
            return state.selectors[n].into();
        }
        if let Some(n) = find(&BASES, name) {
            return state.segment(n).base.into();
        }
        if let Some(n) = numbered(name, "st") {
            return state.fpu.regs[physical(state, n)] & u128::MAX >> 48;
        }
        if let Some(n) = numbered(name, "xmm") {
            return state.xmm[n % 16];
        }
        let system = &state.system;
        u128::from(match name {
            "rip" | "eip" => cpu.core.pc,
            "eflags" => state.rflags(),
            "mxcsr" => cpu.core.fp_env.into(),
            "fctrl" => state.fpu.control.into(),
            "fstat" => state.fpu.status.into(),
            "ftag" => tags(state).into(),
            "cr0" => system.cr0,
            "cr2" => system.cr2,
            "cr3" => system.cr3,
            "cr4" => system.cr4,
            "cr8" => system.devices.as_ref().map_or(0, |devices| devices.task_priority().into()),
            "efer" => system.efer,
            // No system call is being made.
            "orig_rax" => u64::MAX,
            // The x87 unit does not keep its pointers.
            _ => 0,
        })
    }

    fn write_register(cpu: &mut Cpu<X86<M>>, name: &str, bits: u128) {
        let value = bits as u64;
        let state = &mut cpu.state;
        if let Some(n) = find(&WIDE, name).or_else(|| find(&NARROW, name)) {
            state.gpr[n] = value;
        } else if let Some(n) = numbered(name, "st") {
            let at = physical(state, n);
            state.fpu.regs[at] = bits & u128::MAX >> 48;
        } else if let Some(n) = numbered(name, "xmm") {
            state.xmm[n % 16] = bits;
        } else if let Some(n @ (FS | GS)) = find(&BASES, name) {
            let segment = mynah_x86::segment::Segment { base: value, ..state.segment(n) };
            state.set_segment(n, segment);
        } else {
            match name {
                "rip" | "eip" => cpu.core.pc = value,
                "eflags" => {
                    // What the program could set itself, and for the system all but VM.
                    match state.system.on {
                        true => state.set_rflags_bits(value, 0x003d_7fd5),
                        false => state.set_rflags(value),
                    }
                }
                "mxcsr" => mynah_x86::set_mxcsr(cpu, value as u32),
                "fctrl" => state.fpu.control = value as u16,
                "fstat" => state.fpu.status = value as u16,
                "ftag" => {
                    let full = |n: u64| value >> (2 * n) & 3 != 3;
                    state.fpu.tags = (0..8).map(|n| u8::from(full(n)) << n).sum();
                }
                "cr2" => state.system.cr2 = value,
                // Selectors, and what decides on how the vCPU works, stay: a value alone does not
                // say what the processor would do about it.
                _ => {}
            }
        }
        mynah_x86::refresh(cpu);
    }

    const WATCHES: bool = true;

    fn set_watches(cpu: &mut Cpu<X86<M>>, watches: &[Watch]) {
        let watch = |watch: &Watch| mynah_x86::state::Watch {
            start: watch.start,
            len: watch.len,
            reads: watch.kind != WatchKind::Write,
            writes: watch.kind != WatchKind::Read,
        };
        cpu.state.system.watches = watches.iter().map(watch).collect();
        cpu.state.system.watched = None;
        mynah_x86::refresh(cpu);
    }

    fn take_watched(cpu: &mut Cpu<X86<M>>) -> Option<(u64, WatchKind)> {
        let hit = cpu.state.system.watched.take()?;
        let kind = match (hit.watch.reads, hit.watch.writes) {
            (true, false) => WatchKind::Read,
            (false, _) => WatchKind::Write,
            _ => WatchKind::Access,
        };
        Some((hit.va, kind))
    }
}

/// Which register of the x87 unit ST(n) is.
fn physical(state: &State, n: usize) -> usize {
    (usize::from(state.fpu.status >> 11 & 7) + n) % 8
}

/// The tag word: two bits for each register, 0 valid, 1 zero, 2 special, 3 empty.
fn tags(state: &State) -> u16 {
    let tag = |n: usize| {
        let bits = state.fpu.regs[n];
        let (exponent, fraction) = (bits >> 64 & 0x7fff, bits as u64);
        match () {
            () if state.fpu.tags >> n & 1 == 0 => 3,
            () if exponent == 0 && fraction == 0 => 1,
            () if exponent == 0 || exponent == 0x7fff || fraction >> 63 == 0 => 2,
            () => 0,
        }
    };
    (0..8).map(|n| tag(n) << (2 * n)).sum()
}
