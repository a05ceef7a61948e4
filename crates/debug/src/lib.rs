//! Stopping, looking into and stepping vCPUs from other threads, and the debugger that does so.
//!
//! A vCPU's state belongs to its thread. Its [`Seat`] is where other threads leave requests, which
//! the vCPU's thread carries out between two instructions. [`Control`] has the seats of a machine:
//! it stops and resumes them together, and knows breakpoints and watchpoints. [`gdb`] speaks the
//! remote protocol of gdb on top of it, for every guest that says what its registers are
//! ([`Inspect`]). What differs between machines is behind [`Machine`].

mod address;
mod control;
pub mod gdb;
mod registers;
mod seat;

pub use address::{Address, Listener, Stream};
pub use control::{Control, Machine, Switch};
pub use registers::{Inspect, Register};
pub use seat::{Next, Seat, Stop};

/// Accesses that are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watch {
    /// First virtual address.
    pub start: u64,
    /// Number of bytes, at least 1.
    pub len: u64,
    /// Which accesses.
    pub kind: WatchKind,
}

/// Kinds of accesses that are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchKind {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Both.
    Access,
}
