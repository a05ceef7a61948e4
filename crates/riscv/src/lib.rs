//! RISC-V: RV64GC user mode (I, M, A, F, D, C, Zicsr, Zifencei) with Zba, Zbb and Zbs.
//!
//! Chapters and field names are those of *The RISC-V Instruction Set Manual, Volume I*. The
//! encodings stand in one table ([`decode`]), which also names the instructions for
//! [`mynah_guest::Guest::disassemble`]; compressed instructions (`compressed`) expand to the
//! same [`Insn`]. Each instruction's meaning is one arm of `lift`.
//!
//! Floating point runs in the IR's environment: `fflags` are the sticky flags of its MXCSR word,
//! and `frm` is mirrored in its rounding mode. Round-to-nearest-away, which that word cannot
//! express, is a fact of the block key ([`state::mode`]) and done by helpers ([`float`]).

mod compressed;
mod csr;
pub mod decode;
mod disasm;
pub mod float;
mod guest;
mod lift;
pub mod state;
pub mod trap;

pub use decode::{Insn, Op};
pub use guest::RiscV;
pub use state::State;
