//! What differs from one guest architecture to another: data ([`Info`]) and what touches the
//! vCPU's registers ([`Abi`]).

use crate::numbers::Numbers;

/// Facts about an architecture's Linux.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Info {
    /// As uname(2) names the machine.
    pub machine: &'static str,
    /// System-call numbers.
    pub numbers: Numbers,
    /// Layout of `struct stat`.
    pub stat: StatLayout,
    /// Whether `struct epoll_event` is packed (12 bytes).
    pub epoll_packed: bool,
}

/// Layouts of `struct stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StatLayout {
    /// x86-64's: 144 bytes, nlink before mode.
    X86_64,
    /// asm-generic's: 128 bytes.
    Generic,
}
