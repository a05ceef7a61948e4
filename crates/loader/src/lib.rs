//! Program files: what has to be mapped where, checked so far that nothing in a hostile file can
//! surprise the machine that maps it.

mod elf;
mod error;
mod physical;
mod symbols;

pub use elf::{Elf, Machine, Placement, Segment};
pub use error::Error;
pub use physical::{Physical, PhysicalSegment};
pub use symbols::{Function, functions};
