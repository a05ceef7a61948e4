//! RISC-V as tests see it: registers by their ABI names, or `x5` and `f5`.

use crate::subject::{Part, State, Stop, Subject, Word};
use mynah_guest::{Cause, Cpu, Fault};
use mynah_riscv::state::{F_NAMES, NO_RESERVATION, X_NAMES};
use mynah_riscv::{RiscV, float, trap};

/// Index of F0; X1 is the first register.
const F0: usize = 31;
/// Index of FCSR.
const FCSR: usize = F0 + 32;
/// Index of the reserved address, plus 1; 0 if there is none.
const RESERVED: usize = FCSR + 1;
const COUNT: usize = RESERVED + 2;

static WORDS: [Word; COUNT] = {
    const fn word(name: &'static str, bits: u32) -> Word {
        Word { name, bits, reset: 0 }
    }
    let mut words = [word("", 64); COUNT];
    let mut n = 0;
    while n < 31 {
        words[n] = word(X_NAMES[n + 1], 64);
        n += 1;
    }
    n = 0;
    while n < 32 {
        words[F0 + n] = word(F_NAMES[n], 64);
        n += 1;
    }
    words[FCSR] = word("fcsr", 8);
    words[RESERVED] = word("reserved_at", 64);
    words[RESERVED + 1] = word("reserved", 64);
    words
};

impl Subject for RiscV {
    const FOLDER: &'static str = "riscv";
    const WORDS: &'static [Word] = &WORDS;
    const ADDRESS: &'static str = "va";
    const FAULTS: &'static [&'static str] =
        &["access", "misaligned", "illegal", "ecall", "ebreak", "other"];

    fn alias(name: &str) -> Option<Part> {
        let number = |prefix| name.strip_prefix(prefix)?.parse::<usize>().ok();
        let part = |word, bits| Some(Part { word, shift: 0, bits });
        match (number("x"), number("f"), name) {
            (Some(n @ 1..32), ..) => part(n - 1, 64),
            (_, Some(n @ 0..32), _) => part(F0 + n, 64),
            (.., "fp") => part(7, 64),
            (.., "fflags") => part(FCSR, 5),
            (.., "frm") => Some(Part { word: FCSR, shift: 5, bits: 3 }),
            _ => None,
        }
    }

    fn load(state: &State, cpu: &mut Cpu<RiscV>) {
        let w = &state.words;
        cpu.core.pc = state.pc;
        for n in 1..32 {
            cpu.state.x[n] = w[n - 1] as u64;
        }
        for n in 0..32 {
            cpu.state.f[n] = w[F0 + n] as u64;
        }
        (cpu.core.fp_env, cpu.state.frm) = float::split_fcsr(w[FCSR] as u64);
        cpu.state.reservation = (w[RESERVED] as u64).wrapping_sub(1);
        cpu.state.reserved = w[RESERVED + 1] as u64;
        cpu.state.request = 0;
    }

    fn save(cpu: &Cpu<RiscV>) -> State {
        let mut state = State::reset::<RiscV>(cpu.core.pc);
        let w = &mut state.words;
        for n in 1..32 {
            w[n - 1] = cpu.state.x[n].into();
        }
        for n in 0..32 {
            w[F0 + n] = cpu.state.f[n].into();
        }
        w[FCSR] = float::fcsr(cpu.core.fp_env, cpu.state.frm).into();
        const { assert!(NO_RESERVATION == u64::MAX) };
        w[RESERVED] = cpu.state.reservation.wrapping_add(1).into();
        w[RESERVED + 1] = cpu.state.reserved.into();
        state
    }

    fn stop(fault: Fault) -> Stop {
        let (name, address) = match fault {
            Fault::Memory(fault) => match fault.cause {
                Cause::Misaligned => ("misaligned", Some(fault.va)),
                _ => ("access", Some(fault.va)),
            },
            Fault::Trap(trap) => match trap.code {
                trap::ECALL => ("ecall", None),
                trap::EBREAK => ("ebreak", None),
                trap::ILLEGAL => ("illegal", None),
                _ => ("other", None),
            },
        };
        Stop::Fault { name, address }
    }
}
