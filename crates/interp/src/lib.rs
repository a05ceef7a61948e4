//! Tier 0: runs optimised IR without compiling it.
//!
//! [`flatten`] turns a block into [`Code`]: an array of fixed-size steps, each a function pointer
//! with byte offsets of its operands from the vCPU's start. Guest registers are operands like any
//! temporary, so that a `get` costs nothing and a `set` only where the value is not computed
//! straight into its slot. [`run`] runs code from block to block through [`Link`]s until something
//! needs the engine ([`Leave`]).
//!
//! Every step's arithmetic is the evaluator of [`mynah_ir::ops`], compiled once per type.

mod address;
mod code;
mod flatten;
mod run;
mod step;

pub use code::{Code, JumpCache, Link, OwnedCode};
pub use flatten::{TooManyValues, flatten};
pub use run::{Leave, Outcome, eval, once, run};

const _: () = assert!(cfg!(target_endian = "little"), "narrow operands are read at their offset");
