//! The vocabulary of the tables of system calls ([`crate::calls`]): one row describes one call, for
//! the dispatcher ([`crate::call`]) and for `--strace`.

use crate::{Call, Errno};

/// Named values of an argument or a result.
pub(crate) type Names = &'static [(u64, &'static str)];

/// What an argument is.
///
/// `In` kinds point at guest memory that the kernel reads, `Out` kinds at memory that it writes.
/// The length of a buffer is given by the index of the argument that holds it, or as a constant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `int`.
    Int,
    /// `unsigned int`.
    Uint,
    /// `long`, `off_t`.
    Long,
    /// `size_t`, in decimal.
    Size,
    /// Any 64 bits, in hexadecimal.
    Hex,
    /// An address that the call does not access.
    Address,
    /// A file descriptor.
    Fd,
    /// A file descriptor or AT_FDCWD.
    DirFd,
    /// A path; one that is absolute is looked up under `--sysroot` first.
    Path,
    /// A string that is not a path, or a path that is only named (a link's text).
    Text,
    /// A file mode, in octal.
    Mode,
    /// `|`-separated names.
    Flags(Names),
    /// One of the first names in the bits of the mask, and any of the others besides.
    Mixed(u64, Names, Names),
    /// One of the names.
    Enum(Names),
    /// A signal's number.
    Signal,
    /// `const sigset_t *` of eight bytes.
    SigSet,
    /// `const struct timespec *`, or an array of as many as given.
    Timespec(usize),
    /// The kernel reads as many bytes as argument `.0` says, shown as text.
    In(usize),
    /// The kernel reads `.0` bytes.
    InFixed(usize),
    /// The kernel reads a socket address of as many bytes as argument `.0` says.
    SockAddr(usize),
    /// The kernel reads an array of as many `struct iovec` as argument `.0` says, and the buffers.
    InIov(usize),
    /// The kernel writes up to as many bytes as argument `.0` says; shown as text as far as the
    /// result says.
    Out(usize),
    /// The kernel writes (and perhaps reads) `.0` bytes.
    OutFixed(usize),
    /// The kernel writes an array of as many elements of `.1` bytes as argument `.0` says.
    OutArray(usize, usize),
    /// The kernel writes up to as many bytes as the `u32` that argument `.0` points at says.
    OutSized(usize),
    /// The kernel fills the buffers of as many `struct iovec` as argument `.0` says.
    OutIov(usize),
    /// The kernel fills a `struct msghdr`.
    OutMsg,
    /// The kernel fills an array of as many `struct mmsghdr` as argument `.0` says.
    OutMsgs(usize),
}

/// One argument of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arg {
    /// Its name.
    #[expect(dead_code, reason = "for the reader of the table")]
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// A call implemented in Mynah.
pub(crate) type Handler = fn(&mut Call<'_>) -> Result<u64, Errno>;

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// The host's call of the same name with the same arguments. It does not block.
    Pass,
    /// As `Pass`, but signals interrupt it: EINTR is turned into the given error
    /// ([`Errno::ERESTARTSYS`], [`Errno::ERESTARTNOHAND`] or [`Errno::EINTR`] itself), by which the
    /// signal machinery decides whether the call is made again (signal(7), "Interruption of system
    /// calls").
    Block(Errno),
    /// By this function.
    Do(Handler),
    /// By the run loop, since it changes the vCPU or makes another ([`crate::task`]).
    Task,
    /// Not available to guests: fails with this.
    Refuse(Errno),
}

/// One system call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static [Arg],
    /// How it is made.
    pub run: Run,
}

/// A table of calls. A row reads `name(argument: Kind, …) = Run;`.
macro_rules! rows {
    ($($name:ident($($arg:ident: $kind:expr),*) = $run:expr;)*) => {
        /// The calls of this family.
        pub(crate) const ROWS: &[$crate::row::Row] = {
            #[allow(unused_imports, reason = "a table uses what it needs")]
            use $crate::{Errno, row::{Arg, Kind::*, Row, Run::*}};
            &[$(Row {
                name: stringify!($name),
                args: &[$(Arg { name: stringify!($arg), kind: $kind }),*],
                run: $run,
            }),*]
        };
    };
}

pub(crate) use rows;
