//! RISC-V as tests see it: registers by their ABI names, and FCSR.

use crate::pages::{DATA, DATA_BYTES, ENTRY};
use crate::random::Rng;
use crate::subject::{Part, State, Stop, Subject, Word};
use mynah_guest::{Cause, Cpu, Fault, Guest, Lifted};
use mynah_ir::Trap;
use mynah_riscv::state::{F_NAMES, NO_RESERVATION, X_NAMES};
use mynah_riscv::{RiscV, float, trap};

const F0: usize = 31;
const FCSR: usize = F0 + 32;
/// What LR remembers: the address and the value found there.
const RESERVATION: usize = FCSR + 1;
const COUNT: usize = RESERVATION + 2;

static WORDS: [Word; COUNT] = {
    let mut words = [Word { name: "", bits: 64, reset: 0 }; COUNT];
    let mut n = 0;
    while n < 32 {
        if n > 0 {
            words[n - 1].name = X_NAMES[n];
        }
        words[F0 + n].name = F_NAMES[n];
        n += 1;
    }
    words[FCSR] = Word { name: "fcsr", bits: 8, reset: 0 };
    words[RESERVATION] = Word { name: "reservation", bits: 64, reset: NO_RESERVATION as u128 };
    words[RESERVATION + 1].name = "reserved";
    words
};

impl Subject for RiscV {
    const FOLDER: &'static str = "riscv";
    const WORDS: &'static [Word] = &WORDS;
    const ADDRESS: &'static str = "addr";
    const FAULTS: &'static [&'static str] =
        &["page-fault", "misaligned", "bus-error", "illegal", "breakpoint", "ecall", "other"];

    fn alias(_: &str) -> Option<Part> {
        None
    }

    fn load(state: &State, cpu: &mut Cpu<RiscV>) {
        let words = state.words.map(|word| word as u64);
        let (env, frm) = float::split_fcsr(words[FCSR]);
        cpu.core.pc = state.pc;
        cpu.core.fp_env = env;
        cpu.state.frm = frm;
        cpu.state.x[1..].copy_from_slice(&words[..F0]);
        cpu.state.f.copy_from_slice(&words[F0..FCSR]);
        cpu.state.reservation = words[RESERVATION];
        cpu.state.reserved = words[RESERVATION + 1];
    }

    fn save(cpu: &Cpu<RiscV>) -> State {
        let mut state = State::reset::<RiscV>(cpu.core.pc);
        let mut set = |at: usize, value: u64| state.words[at] = value.into();
        for n in 0..32 {
            if n > 0 {
                set(n - 1, cpu.state.x[n]);
            }
            set(F0 + n, cpu.state.f[n]);
        }
        set(FCSR, float::fcsr(cpu.core.fp_env, cpu.state.frm));
        set(RESERVATION, cpu.state.reservation);
        set(RESERVATION + 1, cpu.state.reserved);
        state
    }

    fn stop(fault: Fault) -> Stop {
        let (name, address) = match fault {
            Fault::Memory(fault) => match fault.cause {
                Cause::Unmapped
                | Cause::Protected
                | Cause::NonCanonical
                | Cause::Refused(_)
                | Cause::Code => ("page-fault", Some(fault.va)),
                Cause::Misaligned => ("misaligned", Some(fault.va)),
                Cause::Bus => ("bus-error", Some(fault.va)),
            },
            Fault::Trap(Trap { code: trap::ILLEGAL, .. }) => ("illegal", None),
            Fault::Trap(Trap { code: trap::EBREAK, .. }) => ("breakpoint", None),
            Fault::Trap(Trap { code: trap::ECALL, .. }) => ("ecall", None),
            Fault::Trap(_) => ("other", None),
        };
        Stop::Fault { name, address }
    }
}

/// Bytes of a random instruction, now and then of none.
pub fn random_insn(rng: &mut Rng) -> Vec<u8> {
    // Major opcodes (chapter "RV32/64G Instruction Set Listings").
    const MAJOR: [u32; 19] = [
        0x03, 0x07, 0x0f, 0x13, 0x17, 0x1b, 0x23, 0x27, 0x2f, 0x33, 0x37, 0x3b, 0x43, 0x47, 0x4b,
        0x4f, 0x53, 0x63, 0x13,
    ];
    loop {
        let bytes = if rng.chance(25) {
            let bits = rng.bits() as u16;
            if bits & 3 == 3 {
                continue;
            }
            bits.to_le_bytes().to_vec()
        } else {
            let major = rng.pick(&MAJOR);
            let mut bits = rng.bits() as u32 & !0x7f | major;
            if matches!(major, 0x03 | 0x07 | 0x23 | 0x27) && rng.chance(80) {
                // Small displacements.
                bits &= if matches!(major, 0x03 | 0x07) { 0x07ff_ffff } else { 0x01ff_ffff };
            }
            if major == 0x33 || major == 0x3b {
                bits &= rng.pick(&[0x01ff_ffff, 0x03ff_ffff, 0x41ff_ffff, u32::MAX]);
            }
            bits.to_le_bytes().to_vec()
        };
        let mut lifter = <RiscV as mynah_guest::Guest>::Lifter::default();
        let builder = mynah_ir::Builder::new(RiscV::SLOTS);
        let lifted = RiscV::lift(&mut lifter, &bytes, ENTRY, 0, &builder);
        if !matches!(lifted, Lifted::Undefined { .. } | Lifted::Truncated) || rng.chance(1) {
            return bytes;
        }
    }
}

/// A transfer of some kind over `distance` bytes from its start: a conditional branch or JAL.
pub fn jump(kind: u64, distance: i32) -> Vec<u8> {
    let bits = |high: u32, low: u32| distance as u32 >> low & ((1 << (high - low + 1)) - 1);
    let (rd, rs1, rs2) = (kind as u32 & 1, (kind >> 1 & 31) as u32, (kind >> 6 & 31) as u32);
    let word = if (kind >> 32).is_multiple_of(4) {
        let imm = bits(20, 20) << 19 | bits(10, 1) << 9 | bits(11, 11) << 8 | bits(19, 12);
        imm << 12 | rd << 7 | 0x6f
    } else {
        let funct3 = [0, 1, 4, 5, 6, 7][(kind >> 16) as usize % 6];
        let (high, low) = (bits(12, 12) << 6 | bits(10, 5), bits(4, 1) << 1 | bits(11, 11));
        high << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | low << 7 | 0x63
    };
    word.to_le_bytes().to_vec()
}

/// A random state; half of the integer registers point into the data.
pub fn random_state(rng: &mut Rng) -> State {
    let mut state = State::reset::<RiscV>(ENTRY);
    for word in &mut state.words[..F0] {
        *word = if rng.chance(50) {
            u128::from(
                (DATA + rng.below(DATA_BYTES) as u64) & if rng.chance(80) { !15 } else { !0 },
            )
        } else {
            rng.edge().into()
        };
    }
    for word in &mut state.words[F0..F0 + 32] {
        let single = u64::from(rng.single()) | 0xffff_ffff_0000_0000;
        *word = if rng.chance(50) { single } else { rng.double() }.into();
    }
    let frm = if rng.chance(80) { rng.below(5) } else { rng.below(8) };
    state.words[FCSR] = (frm << 5 | rng.below(32)) as u128;
    state
}
