//! What differs from one guest architecture to another: data ([`Info`]) and what touches the
//! vCPU's registers ([`Abi`]).

mod riscv64;
mod x86_64;

use crate::Errno;
use crate::numbers::Numbers;
use crate::signal::{Action, AltStack, SigInfo, SigSet};
use crate::space::Space;
use mynah_debug::Inspect;
use mynah_guest::{Cpu, Guest};
use mynah_ir::Trap;

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
    /// AT_PLATFORM, if the kernel gives one.
    pub platform: Option<&'static str>,
    /// AT_HWCAP.
    pub hwcap: u64,
    /// Bytes below the stack pointer that belong to the running function.
    pub red_zone: u64,
    /// Whether `struct sigaction` has a restorer, which SA_RESTORER declares.
    pub restorer: bool,
    /// What handlers return to where there are no restorers: code that calls rt_sigreturn(2).
    pub trampoline: Option<&'static [u8]>,
}

/// Layouts of `struct stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StatLayout {
    /// x86-64's: 144 bytes, nlink before mode.
    X86_64,
    /// asm-generic's: 128 bytes.
    Generic,
}

/// What an instruction asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// A system call.
    Call,
    /// A signal.
    Signal(Exception),
}

/// A synchronous signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Exception {
    /// Its number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub address: u64,
    /// The hardware's number of the exception, where the context has a place for it.
    pub vector: u64,
    /// Its error code.
    pub error: u64,
}

/// The arguments of clone(2) in the order of clone3(2).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CloneArgs {
    /// CLONE_VM and others; the signal in the low byte.
    pub flags: u64,
    /// The child's stack pointer; 0 for the parent's.
    pub stack: u64,
    /// Where CLONE_PARENT_SETTID stores.
    pub parent_tid: u64,
    /// Where CLONE_CHILD_SETTID and CLONE_CHILD_CLEARTID store.
    pub child_tid: u64,
    /// The child's thread pointer, with CLONE_SETTLS.
    pub tls: u64,
    /// Where CLONE_PIDFD stores.
    pub pidfd: u64,
    /// The signal sent to the parent at the end.
    pub exit_signal: u64,
}

/// What a signal frame holds besides the registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// What the signal does.
    pub action: Action,
    /// What the handler is told.
    pub info: SigInfo,
    /// The mask to return to.
    pub mask: SigSet,
    /// The alternate stack, as sigaltstack(2) tells.
    pub stack: AltStack,
    /// The frame lies below this.
    pub sp: u64,
    /// What caused the signal, if an instruction did.
    pub exception: Option<Exception>,
}

/// A guest architecture's Linux: conventions of registers.
pub(crate) trait Abi: Inspect + Guest<State: Clone, Memory = mynah_mem::Flat> {
    /// The facts.
    const INFO: Info;

    /// The system call being made: number and arguments.
    fn call(state: &Self::State) -> (u64, [u64; 6]);

    /// Sets the result of the system call.
    fn set_result(state: &mut Self::State, result: u64);

    /// Bytes of the system-call instruction. As its result is set last, going back by as much
    /// makes the call again.
    const CALL_BYTES: u64;

    /// The stack pointer.
    fn sp(state: &Self::State) -> u64;

    /// Sets the stack pointer.
    fn set_sp(state: &mut Self::State, sp: u64);

    /// Sets the thread pointer.
    fn set_tls(state: &mut Self::State, tls: u64);

    /// The arguments of clone(2) in this architecture's order.
    fn clone_args(args: [u64; 6]) -> CloneArgs;

    /// What `trap` asks for. May correct the pc.
    fn asked(cpu: &mut Cpu<Self>, trap: Trap) -> Asked;

    /// The signal for an access whose address is not a multiple of what it must be.
    fn misaligned(va: u64) -> Exception;

    /// Writes a signal frame and enters the handler.
    fn push_frame(cpu: &mut Cpu<Self>, space: &Space, frame: &Frame) -> Result<(), Errno>;

    /// Restores the registers from the frame that the handler has returned from; yields the mask
    /// and the alternate stack in it.
    fn pop_frame(cpu: &mut Cpu<Self>, space: &Space) -> Result<(SigSet, AltStack), Errno>;

    /// The architecture's own calls.
    fn own_call(
        cpu: &mut Cpu<Self>,
        space: &Space,
        name: &str,
        args: [u64; 6],
    ) -> Result<u64, Errno>;
}
