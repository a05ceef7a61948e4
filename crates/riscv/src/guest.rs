//! The contract with the translator.

use crate::decode::{Decoded, decode};
use crate::state::{self, Mode, State};
use crate::{csr, disasm, float, lift, trap};
use mynah_guest::{Guest, Helper, Lifted};
use mynah_ir::{Builder, SlotInfo, SlotSet};

/// The guest architecture.
#[derive(Clone, Copy, Debug, Default)]
pub struct RiscV;

/// Indices of [`Guest::HELPERS`].
pub(crate) mod helper {
    pub(crate) const FLOAT_CSR: u16 = 0;
    pub(crate) const COUNTER: u16 = 1;
    pub(crate) const SLOW: u16 = 2;
    pub(crate) const CLASS: u16 = 3;
}

impl Guest for RiscV {
    type State = State;
    type Memory = mynah_mem::Flat;
    type Lifter = lift::Singles;

    const NAME: &'static str = "riscv64";
    const SLOTS: &'static [SlotInfo] = &state::SLOTS;
    const MAX_INSN: usize = 4;
    const HELPERS: &'static [Helper<RiscV>] = &[
        Helper {
            name: "float_csr",
            function: csr::float_csr,
            reads: SlotSet::of(&[state::FRM]),
            writes: SlotSet::of(&[state::FRM]),
            faults: false,
            pure: false,
        },
        Helper {
            name: "counter",
            function: csr::counter,
            reads: SlotSet::EMPTY,
            writes: SlotSet::EMPTY,
            faults: false,
            pure: false,
        },
        Helper {
            name: "slow_float",
            function: float::slow,
            reads: SlotSet::of(&[state::FRM, state::REQUEST]),
            writes: SlotSet::EMPTY,
            faults: false,
            pure: false,
        },
        Helper {
            name: "fclass",
            function: float::class,
            reads: SlotSet::EMPTY,
            writes: SlotSet::EMPTY,
            faults: false,
            pure: true,
        },
    ];

    fn reset() -> State {
        State::new()
    }

    fn mode(state: &State) -> u32 {
        state::mode(state.frm) as u32
    }

    fn lift(
        lifter: &mut lift::Singles,
        code: &[u8],
        pc: u64,
        mode: u32,
        builder: &Builder,
    ) -> Lifted {
        let mode = match mode {
            0 => Mode::Host,
            1 => Mode::Away,
            _ => Mode::Reserved,
        };
        match decode(code) {
            Decoded::Truncated => Lifted::Truncated,
            Decoded::Illegal(len) => undefined(len),
            Decoded::Insn(insn) => {
                let len = insn.len.into();
                match lift::lift(lifter, insn, pc, mode, builder) {
                    lift::Then::Next => Lifted::Next { len },
                    lift::Then::End(end) => Lifted::End { len, end },
                    lift::Then::Illegal => undefined(insn.len),
                }
            }
        }
    }

    fn disassemble(code: &[u8], pc: u64, _mode: u32) -> (String, usize) {
        disasm::disassemble(code, pc)
    }
}

fn undefined(len: u8) -> Lifted {
    Lifted::Undefined { len: len.into(), trap: trap::of(trap::ILLEGAL) }
}
