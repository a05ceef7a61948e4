//! x86-64 as tests see it: registers by the manual's names, and the host CPU's view of them.

use crate::native::{self, Fx, Regs};
use crate::subject::{Part, State, Stop, Subject, Word};
use mynah_guest::{Cause, Cpu, Fault, Guest as _};
use mynah_ir::Trap;
use mynah_x86::{X86, trap};

const fn word(name: &'static str, bits: u32) -> Word {
    Word { name, bits, reset: 0 }
}

const GPR: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const XMM: [&str; 16] = [
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
    "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
];
const ST: [&str; 8] = ["st0", "st1", "st2", "st3", "st4", "st5", "st6", "st7"];
/// Flags by their bits in RFLAGS.
const FLAGS: [(&str, u32); 10] = [
    ("cf", 0),
    ("pf", 2),
    ("af", 4),
    ("zf", 6),
    ("sf", 7),
    ("of", 11),
    ("df", 10),
    ("id", 21),
    ("nt", 14),
    ("ac", 18),
];

/// Index of the first flag.
pub const FLAG0: usize = 16;
/// Position of the flag `name` from [`FLAG0`].
///
/// # Panics
/// If there is no such flag.
pub fn flag(name: &str) -> usize {
    FLAGS.iter().position(|f| f.0 == name).expect("a flag's name")
}

/// Index of the base of FS; that of GS follows.
pub const FS_BASE: usize = FLAG0 + FLAGS.len();
/// Index of MXCSR.
pub const MXCSR: usize = FS_BASE + 2;
/// Index of XMM0.
pub const XMM0: usize = MXCSR + 1;
/// Index of the x87 control word; status word and tags follow.
pub const FCW: usize = XMM0 + 16;
/// Index of ST0.
pub const ST0: usize = FCW + 3;
const COUNT: usize = ST0 + 8;

static WORDS: [Word; COUNT] = {
    let mut words = [word("", 64); COUNT];
    let mut n = 0;
    while n < 16 {
        words[n] = word(GPR[n], 64);
        words[XMM0 + n] = word(XMM[n], 128);
        n += 1;
    }
    let mut n = 0;
    while n < FLAGS.len() {
        words[FLAG0 + n] = word(FLAGS[n].0, 1);
        n += 1;
    }
    let mut n = 0;
    while n < 8 {
        words[ST0 + n] = word(ST[n], 80);
        n += 1;
    }
    words[FS_BASE] = word("fs_base", 64);
    words[FS_BASE + 1] = word("gs_base", 64);
    words[MXCSR] = Word { name: "mxcsr", bits: 32, reset: 0x1f80 };
    words[FCW] = Word { name: "fcw", bits: 16, reset: 0x37f };
    words[FCW + 1] = word("fsw", 16);
    words[FCW + 2] = word("ftw", 8);
    words
};

impl Subject for X86 {
    const FOLDER: &'static str = "x86";
    const WORDS: &'static [Word] = &WORDS;
    const ADDRESS: &'static str = "cr2";
    const FAULTS: &'static [&'static str] = &[
        "#DE", "#DB", "#BP", "#OF", "#UD", "#SS", "#GP", "#PF", "#MF", "#AC", "#XM", "#BUS",
        "syscall", "int", "other",
    ];

    fn alias(name: &str) -> Option<Part> {
        const LOW: [&str; 8] = ["al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"];
        const HIGH: [&str; 4] = ["ah", "ch", "dh", "bh"];
        let part = |word, shift, bits| Some(Part { word, shift, bits });
        if let Some(n) = LOW.iter().position(|&n| n == name) {
            return part(n, 0, 8);
        }
        if let Some(n) = HIGH.iter().position(|&n| n == name) {
            return part(n, 8, 8);
        }
        // EAX and AX are RAX's; R8D, R8W and R8B are R8's.
        if let Some(n) = GPR[..8].iter().position(|r| r[1..] == *name) {
            return part(n, 0, 16);
        }
        if let Some(rest) = name.strip_prefix('e') {
            let n = GPR[..8].iter().position(|r| r[1..] == *rest)?;
            return part(n, 0, 32);
        }
        if let Some(n) = name.strip_prefix("mm").and_then(|n| n.parse::<usize>().ok()) {
            return if n < 8 { part(ST0 + n, 0, 64) } else { None };
        }
        let (register, width) = name.split_at_checked(name.len().checked_sub(1)?)?;
        let n = GPR[8..].iter().position(|&r| r == register)? + 8;
        match width {
            "b" => part(n, 0, 8),
            "w" => part(n, 0, 16),
            "d" => part(n, 0, 32),
            _ => None,
        }
    }

    fn load(state: &State, cpu: &mut Cpu<X86>) {
        let regs = to_regs(state);
        cpu.core.pc = state.pc;
        mynah_x86::set_mxcsr(cpu, regs.fx.mxcsr);
        cpu.state.gpr = regs.gpr;
        cpu.state.set_rflags(regs.rflags);
        cpu.state.selectors = <X86>::reset().selectors;
        cpu.state.fs_base = regs.fs_base;
        cpu.state.gs_base = regs.gs_base;
        cpu.state.xmm = regs.fx.xmm;
        let fpu = &mut cpu.state.fpu;
        fpu.control = regs.fx.fcw;
        fpu.status = regs.fx.fsw;
        fpu.tags = regs.fx.ftw as u8;
        for (n, st) in regs.fx.st.into_iter().enumerate() {
            fpu.regs[physical(regs.fx.fsw, n)] = st;
        }
    }

    fn save(cpu: &Cpu<X86>) -> State {
        let fpu = &cpu.state.fpu;
        let mut st = [0; 8];
        for (n, to) in st.iter_mut().enumerate() {
            *to = fpu.regs[physical(fpu.status, n)];
        }
        from_regs(&Regs {
            gpr: cpu.state.gpr,
            rflags: cpu.state.rflags(),
            rip: cpu.core.pc,
            fs_base: cpu.state.fs_base,
            gs_base: cpu.state.gs_base,
            fx: Fx {
                fcw: fpu.control,
                fsw: fpu.status,
                ftw: fpu.tags.into(),
                mxcsr: cpu.core.fp_env,
                st,
                xmm: cpu.state.xmm,
                ..Fx::RESET
            },
        })
    }

    fn stop(fault: Fault) -> Stop {
        let (name, address) = match fault {
            Fault::Memory(fault) => match fault.cause {
                Cause::Unmapped | Cause::Protected | Cause::Refused(_) | Cause::Code => {
                    ("#PF", Some(fault.va))
                }
                Cause::Misaligned | Cause::NonCanonical => ("#GP", None),
                Cause::Bus => ("#BUS", Some(fault.va)),
            },
            Fault::Trap(Trap { code: trap::SYSCALL, .. }) => ("syscall", None),
            Fault::Trap(Trap { code: trap::INT, .. }) => ("int", None),
            Fault::Trap(Trap { code, .. }) => (exception(code), None),
        };
        Stop::Fault { name, address }
    }
}

fn exception(vector: u16) -> &'static str {
    match vector {
        0 => "#DE",
        1 => "#DB",
        3 => "#BP",
        4 => "#OF",
        6 => "#UD",
        13 => "#GP",
        16 => "#MF",
        17 => "#AC",
        19 => "#XM",
        _ => "other",
    }
}

/// How the host CPU's way to end a run is called. A stack-segment fault is what a general protection
/// fault is called when the access goes through RSP or RBP; Mynah does not tell them apart.
pub fn native_stop(stop: native::Stop) -> Stop {
    match stop {
        native::Stop::Left => Stop::Left,
        native::Stop::Exception { vector: 14, address, .. } => {
            Stop::Fault { name: "#PF", address: Some(address) }
        }
        native::Stop::Exception { vector: 12, .. } => Stop::Fault { name: "#GP", address: None },
        native::Stop::Exception { vector, .. } => {
            Stop::Fault { name: exception(vector.into()), address: None }
        }
    }
}

/// Number of the physical x87 register that is ST(n).
fn physical(fsw: u16, n: usize) -> usize {
    ((fsw >> 11) as usize + n) % 8
}

/// The state as the host CPU takes it.
pub fn to_regs(state: &State) -> Regs {
    let w = &state.words;
    let mut regs = Regs::RESET;
    for (to, from) in regs.gpr.iter_mut().zip(w) {
        *to = *from as u64;
    }
    for (i, (_, bit)) in FLAGS.iter().enumerate() {
        regs.rflags |= (w[FLAG0 + i] as u64) << bit;
    }
    regs.rip = state.pc;
    regs.fs_base = w[FS_BASE] as u64;
    regs.gs_base = w[FS_BASE + 1] as u64;
    regs.fx.mxcsr = w[MXCSR] as u32;
    regs.fx.xmm.copy_from_slice(&w[XMM0..XMM0 + 16]);
    regs.fx.fcw = w[FCW] as u16;
    regs.fx.fsw = w[FCW + 1] as u16;
    regs.fx.ftw = w[FCW + 2] as u16;
    regs.fx.st.copy_from_slice(&w[ST0..ST0 + 8]);
    regs
}

/// The inverse of [`to_regs`].
pub fn from_regs(regs: &Regs) -> State {
    let mut state = State::reset::<X86>(regs.rip);
    let w = &mut state.words;
    for (to, from) in w.iter_mut().zip(regs.gpr) {
        *to = from.into();
    }
    for (i, (_, bit)) in FLAGS.iter().enumerate() {
        w[FLAG0 + i] = (regs.rflags >> bit & 1).into();
    }
    w[FS_BASE] = regs.fs_base.into();
    w[FS_BASE + 1] = regs.gs_base.into();
    w[MXCSR] = regs.fx.mxcsr.into();
    w[XMM0..XMM0 + 16].copy_from_slice(&regs.fx.xmm);
    w[FCW] = regs.fx.fcw.into();
    w[FCW + 1] = regs.fx.fsw.into();
    w[FCW + 2] = regs.fx.ftw.into();
    for (to, from) in w[ST0..].iter_mut().zip(regs.fx.st) {
        *to = from & u128::MAX >> 48;
    }
    state
}
