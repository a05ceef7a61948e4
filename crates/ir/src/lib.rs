//! The intermediate representation: what one block of guest code means.
//!
//! A [`Block`] is straight guest code up to its first transfer, as a list of [`Inst`]s in SSA form
//! followed by one [`End`]. An instruction's index is its [`Value`]. Guest registers are named
//! [`Slot`]s, read by `get` and written by `set`; guest memory is reached by `load`, `store`, `rmw`
//! and `cas`. Every operation stands once, in [`ops`], with its type rule, effect and evaluator.
//!
//! Conventions that every consumer relies on:
//!
//! - integer values are held zero-extended to 64 bits, `I1` as 0 or 1, floats as their bits;
//! - shift and rotate amounts are taken modulo the width of the type;
//! - `V128` is opaque: the lane shape belongs to the operation ([`Lane`]);
//! - floating-point operations use and change the floating-point environment ([`fp`]).

mod block;
mod builder;
pub mod fp;
mod inst;
mod lanes;
mod mem_op;
pub mod ops;
mod slot;
mod text;
mod ty;
mod vector;
mod verify;

pub use block::{Block, BlockKey, End, Known, Recover, Trap};
pub use builder::{Builder, V};
pub use inst::{Args, Inst, NONE, Value};
pub use mem_op::{Align, MemOp, Order, Rmw};
pub use ops::{Effect, Op};
pub use slot::{Slot, SlotInfo, SlotSet};
pub use text::{Names, NumericNames, ParseError, parse, print, print_inst};
pub use ty::{Lane, Ty};
pub use verify::{VerifyError, verify};
