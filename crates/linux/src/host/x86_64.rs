//! System calls of x86-64 hosts.
#![expect(unsafe_code, reason = "the SYSCALL instruction")]

use std::arch::{asm, global_asm};
use std::sync::atomic::AtomicU32;

/// SYSCALL.
pub(super) fn call(number: i64, args: [u64; 6]) -> i64 {
    let result;
    // SAFETY: the kernel changes RAX, RCX, R11 and the guest's memory; which calls are made with
    // which arguments is the guest's affair, whose memory Mynah's own is apart from.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

// i64 mynah_interruptible(pending: *const u32, number: i64, args: *const u64). Between the labels
// `start` and `end` the pending word has been or is about to be read and the kernel not yet been
// entered; a signal handler that interrupts there moves on to `out`.
global_asm!(
    ".pushsection .text.mynah_interruptible,\"ax\",@progbits",
    ".globl mynah_interruptible",
    ".hidden mynah_interruptible",
    ".globl mynah_interruptible_start",
    ".hidden mynah_interruptible_start",
    ".globl mynah_interruptible_end",
    ".hidden mynah_interruptible_end",
    ".globl mynah_interruptible_out",
    ".hidden mynah_interruptible_out",
    ".type mynah_interruptible,@function",
    "mynah_interruptible:",
    "mov rcx, rdi",
    "mov rax, rsi",
    "mov r11, rdx",
    "mov rdi, [r11]",
    "mov rsi, [r11+8]",
    "mov rdx, [r11+16]",
    "mov r10, [r11+24]",
    "mov r8, [r11+32]",
    "mov r9, [r11+40]",
    "mynah_interruptible_start:",
    "cmp dword ptr [rcx], 0",
    "jne mynah_interruptible_out",
    "syscall",
    "mynah_interruptible_end:",
    "ret",
    "mynah_interruptible_out:",
    "mov rax, -513",
    "ret",
    ".size mynah_interruptible, . - mynah_interruptible",
    ".globl mynah_restorer",
    ".hidden mynah_restorer",
    ".type mynah_restorer,@function",
    "mynah_restorer:",
    "mov eax, 15",
    "syscall",
    ".size mynah_restorer, . - mynah_restorer",
    ".popsection",
);

unsafe extern "C" {
    fn mynah_interruptible(pending: *const u32, number: i64, args: *const u64) -> i64;
    fn mynah_interruptible_start();
    fn mynah_interruptible_end();
    fn mynah_interruptible_out();
    fn mynah_restorer();
}

/// The code that returns from a signal handler installed by the kernel's own call.
pub(crate) const RESTORER: Option<unsafe extern "C" fn()> = Some(mynah_restorer);

/// SYSCALL unless `pending`.
pub(super) fn interruptible(pending: &AtomicU32, number: i64, args: [u64; 6]) -> i64 {
    // SAFETY: as for `call`; the stub reads the word and the six arguments.
    unsafe { mynah_interruptible(pending.as_ptr(), number, args.as_ptr()) }
}

/// For a signal handler that has made its thread's call pending: if `context` was interrupted in
/// the gap before the kernel is entered, it leaves the call.
pub(crate) fn leave_gap(context: &mut libc::ucontext_t) {
    let pc = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    let start = mynah_interruptible_start as *const () as usize;
    let end = mynah_interruptible_end as *const () as usize;
    // At `end` the call has been made: its result stands.
    if (start..end).contains(&pc) {
        let out = mynah_interruptible_out as *const () as usize;
        context.uc_mcontext.gregs[libc::REG_RIP as usize] = out as i64;
    }
}
