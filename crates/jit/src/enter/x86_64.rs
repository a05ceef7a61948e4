//! The trampoline on x86-64 hosts. Written by hand because a unit that is left by the signal
//! handler does not restore the registers it saved: the trampoline keeps its own copies.

use std::arch::naked_asm;

/// Calls the unit at `entry` with `cpu` and no link slot.
///
/// # Safety
/// As [`super::enter`].
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter(cpu: *mut u8, entry: usize) -> u64 {
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov rax, rsi",
        "xor esi, esi",
        "call rax",
        "mov rbx, [rbp - 8]",
        "mov r12, [rbp - 16]",
        "mov r13, [rbp - 24]",
        "mov r14, [rbp - 32]",
        "mov r15, [rbp - 40]",
        "leave",
        "ret",
    )
}
