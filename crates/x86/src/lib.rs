//! The x86-64 guest: 64-bit user mode, as x86-64-v2 defines it (see [`cpuid`]).
//!
//! [`X86`] is what the engine asks to lift instructions. `decode` turns bytes into instructions,
//! `lift` instructions into IR, one file for each family; [`flags`] hides how arithmetic flags are
//! kept, and [`helpers`] holds what the IR calls instead of expressing. Not modelled in user mode:
//! the trap flag, alignment checks (AC), and what only a debugger sees (RF, DR0–DR7).

pub mod cpuid;
mod decode;
pub mod flags;
pub mod fpu;
pub mod helpers;
mod host;
mod lift;
pub mod state;
pub mod trap;

pub use decode::mode;
pub use state::State;

use decode::Undecoded;
use mynah_guest::{Guest, Helper, Lifted};
use mynah_ir::{Builder, SlotInfo};

/// The x86-64 architecture.
#[derive(Clone, Copy, Debug)]
pub struct X86;

impl Guest for X86 {
    type State = State;
    type Memory = mynah_mem::Flat;
    type Lifter = lift::Lifter;

    const NAME: &'static str = "x86_64";
    const SLOTS: &'static [SlotInfo] = &state::SLOTS;
    const HELPERS: &'static [Helper<X86>] = helpers::TABLE;
    const MAX_INSN: usize = decode::MAX_LEN;

    fn reset() -> State {
        State::new()
    }

    fn mode(_state: &State) -> u32 {
        mode::CODE64
    }

    fn lift(
        lifter: &mut lift::Lifter,
        code: &[u8],
        pc: u64,
        mode: u32,
        builder: &Builder,
    ) -> Lifted {
        match decode::decode(code, pc, mode) {
            Ok(insn) => lift::lift(lifter, &insn, pc, builder),
            Err(Undecoded::Truncated) => Lifted::Truncated,
            Err(Undecoded::Invalid(len)) => {
                Lifted::Undefined { len: len as u32, trap: trap::exception(trap::UNDEFINED) }
            }
            Err(Undecoded::TooLong) => Lifted::Undefined {
                len: Self::MAX_INSN as u32,
                trap: trap::exception(trap::PROTECTION),
            },
        }
    }

    fn disassemble(code: &[u8], pc: u64, mode: u32) -> (String, usize) {
        decode::disassemble(code, pc, mode)
    }
}
