//! The x86 guest: a 64-bit user process ([`X86<Flat>`](Flat)), or a whole CPU in all its modes
//! ([`X86<Paged>`](Paged)), both with the instructions of x86-64-v2 (see [`cpuid`]).
//!
//! [`X86`] is what the engine asks to lift instructions. `decode` turns bytes into instructions,
//! `lift` instructions into IR, one file for each family; [`flags`] hides how arithmetic flags are
//! kept, [`mode`] says what of the state a translation depends on, and [`helpers`] holds what the IR
//! calls instead of expressing. What operating systems see is in [`segment`], [`registers`],
//! [`paging`] and [`events`]: the machine around a vCPU calls [`events::deliver`].
//!
//! Addresses of code are linear: what the engine calls the pc is the instruction pointer plus the
//! base of CS.

pub mod cpuid;
mod decode;
pub mod events;
pub mod flags;
pub mod fpu;
pub mod helpers;
mod host;
mod lift;
pub mod mode;
pub mod paging;
pub mod registers;
pub mod segment;
mod space;
pub mod state;
mod time;
pub mod trap;

pub use helpers::float::set_mxcsr;
pub use space::{Space, refresh, remap};
pub use state::State;
pub use time::TSC_HZ;

use decode::Undecoded;
use mynah_guest::{Guest, Helper, Lifted};
use mynah_ir::{Builder, SlotInfo};
use mynah_mem::Flat;
#[cfg(doc)]
use mynah_mem::Paged;
use std::marker::PhantomData;

/// The x86 architecture over memory `M`, which tells the process from the system machine.
#[derive(Debug)]
pub struct X86<M = Flat>(PhantomData<fn() -> M>);

impl<M: Space> Guest for X86<M> {
    type State = State;
    type Memory = M;
    type Lifter = lift::Lifter;

    const NAME: &'static str = "x86_64";
    const SLOTS: &'static [SlotInfo] = &state::SLOTS;
    const HELPERS: &'static [Helper<X86<M>>] = helpers::Table::<M>::TABLE;
    const MAX_INSN: usize = decode::MAX_LEN;

    fn reset() -> State {
        M::reset()
    }

    fn mode(state: &State) -> u32 {
        state.system.mode
    }

    fn space(state: &State) -> u8 {
        state.system.space
    }

    fn lift(
        lifter: &mut lift::Lifter,
        code: &[u8],
        pc: u64,
        mode: u32,
        builder: &Builder,
    ) -> Lifted {
        match lifter.ahead.decode(code, pc, mode) {
            Ok(insn) => lift::lift(lifter, &insn, pc, mode, builder),
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
