//! RISC-V as tests see it: registers by their ABI names, and FCSR.

use crate::subject::{Part, State, Stop, Subject, Word};
use mynah_guest::{Cause, Cpu, Fault};
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
                Cause::Unmapped | Cause::Protected | Cause::NonCanonical => {
                    ("page-fault", Some(fault.va))
                }
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
