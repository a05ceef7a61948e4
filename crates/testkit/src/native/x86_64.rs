//! The host CPU, entered by IRET and left by a signal.
//!
//! `enter` loads every register from [`FRAME`] and leaves to the guest code by IRETQ, which also
//! makes the processor fetch it anew. The code ends in INT3 or in an exception; the kernel delivers
//! either on the alternate stack, whatever the guest's RSP. The handler copies what the kernel
//! saved back to the frame and, instead of returning, restores the host's registers. Threads that
//! are not running guest code are told apart by their stack and passed on to the handler that was
//! installed before.
#![expect(unsafe_code, reason = "runs arbitrary code and handles the signals it ends in")]

use super::{Fx, Regs, Stop};
use crate::pages::{CODE, ENTRY, Pages, catch_faults};
use std::arch::naked_asm;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::sync::{MutexGuard, Once};

const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP];

/// Large enough for the kernel's frame, AVX-512 and AMX state included.
const STACK_BYTES: usize = 256 << 10;

/// RFLAGS bits that guest code may begin with: the arithmetic flags, DF, ID. TF, AC and NT would end
/// the run, not take part in it.
const FLAGS: u64 = 0x0020_0cd5;

/// What goes into a run and comes out of it, at addresses that assembly knows.
#[repr(C, align(64))]
struct Frame {
    regs: Regs,
    /// What IRETQ pops: RIP, CS, RFLAGS, RSP, SS.
    iret: [u64; 5],
    host_rsp: u64,
    host_fs: u64,
    host_gs: u64,
    host_mxcsr: u32,
    /// Whether the thread on [`STACK`] is in guest code.
    running: u32,
    vector: u64,
    error: u64,
    address: u64,
}

#[repr(transparent)]
struct Shared<T>(UnsafeCell<T>);

// SAFETY: reached only by the thread that holds a `Native`, of which there is one at a time.
unsafe impl<T> Sync for Shared<T> {}

static FRAME: Shared<Frame> = Shared(UnsafeCell::new(Frame {
    regs: Regs::RESET,
    iret: [0; 5],
    host_rsp: 0,
    host_fs: 0,
    host_gs: 0,
    host_mxcsr: 0x1f80,
    running: 0,
    vector: 0,
    error: 0,
    address: 0,
}));

#[repr(C, align(64))]
struct Stack([u8; STACK_BYTES]);

static STACK: Shared<Stack> = Shared(UnsafeCell::new(Stack([0; STACK_BYTES])));

/// Handlers that were installed before ours, by position in [`SIGNALS`].
static PREVIOUS: Shared<[Option<libc::sigaction>; 5]> = Shared(UnsafeCell::new([None; 5]));

/// The right to run guest code on the host CPU.
pub struct Native {
    host_stack: libc::stack_t,
    _turn: MutexGuard<'static, ()>,
    _thread: PhantomData<*const ()>,
}

impl Native {
    /// Waits for the right to run guest code on this thread. `None` if the host lacks the
    /// FSGSBASE instructions, which the entry needs.
    pub fn new() -> Option<Native> {
        static INSTALL: Once = Once::new();
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        const HWCAP2_FSGSBASE: u64 = 2;
        // SAFETY: a plain query.
        if unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE == 0 {
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        INSTALL.call_once(install);
        // SAFETY: the stack is static and, while the turn is held, no other thread's.
        unsafe {
            let ours =
                libc::stack_t { ss_sp: STACK.0.get().cast(), ss_flags: 0, ss_size: STACK_BYTES };
            let mut host_stack = std::mem::zeroed();
            if libc::sigaltstack(&raw const ours, &raw mut host_stack) != 0 {
                return None;
            }
            Some(Native { host_stack, _turn: turn, _thread: PhantomData })
        }
    }

    /// Runs `code` from `regs` (RIP is ignored) until control leaves it, and yields why and the
    /// registers then. Data is what `pages` hold and, whatever else the code can reach, all of
    /// the process: the caller answers for the code's harmlessness. RFLAGS bits other than the
    /// arithmetic flags, DF and ID are ignored, as are reserved ones of MXCSR.
    pub fn run(&mut self, pages: &mut Pages, code: &[u8], regs: &Regs) -> (Stop, Regs) {
        pages.set_code(code);
        let (cs, ss): (u64, u64);
        // SAFETY: reads two registers.
        unsafe {
            std::arch::asm!("mov {0:e}, cs", "mov {1:e}, ss", out(reg) cs, out(reg) ss,
                            options(nomem, nostack, preserves_flags));
        }
        let frame = FRAME.0.get();
        // SAFETY: the frame is this thread's while `self` lives; `enter` keeps the C ABI.
        let (mut after, vector, error, address) = unsafe {
            (*frame).regs = *regs;
            (*frame).regs.fx.mxcsr &= 0xffff;
            let rflags = regs.rflags & FLAGS | 2;
            (*frame).iret = [ENTRY, cs, rflags, regs.gpr[4], ss];
            enter();
            ((*frame).regs, (*frame).vector, (*frame).error, (*frame).address)
        };
        let page = CODE..CODE + 4096;
        // INT3 leaves RIP behind it; code under test may be an INT3 itself.
        let at = after.rip.wrapping_sub(1);
        let own = ENTRY..ENTRY + code.len() as u64;
        let stop = match vector {
            3 if page.contains(&at) && !own.contains(&at) => {
                after.rip = at;
                Stop::Left
            }
            // The fetch after a transfer failed.
            14 if address == after.rip && !page.contains(&after.rip) => Stop::Left,
            _ => Stop::Exception { vector: vector as u8, error, address },
        };
        (stop, after)
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: `new` found this stack in use on this thread.
        unsafe { libc::sigaltstack(&raw const self.host_stack, std::ptr::null_mut()) };
    }
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").finish_non_exhaustive()
    }
}

fn install() {
    catch_faults();
    for (index, &signal) in SIGNALS.iter().enumerate() {
        // SAFETY: `on_signal` has the signature that SA_SIGINFO asks for. PREVIOUS is written
        // before the handler that reads it is installed.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut before);
            (*PREVIOUS.0.get())[index] = Some(before);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Saves the host's registers, loads the guest's and goes to guest code. `leave` returns from it.
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "pushfq",
        "mov [rip + {f} + {host_rsp}], rsp",
        "stmxcsr [rip + {f} + {host_mxcsr}]",
        "rdfsbase rax",
        "mov [rip + {f} + {host_fs}], rax",
        "rdgsbase rax",
        "mov [rip + {f} + {host_gs}], rax",
        "fxrstor64 [rip + {f} + {fx}]",
        "mov dword ptr [rip + {f} + {running}], 1",
        // The selectors that a process begins with: earlier runs may have loaded others.
        "xor eax, eax",
        "mov ds, eax",
        "mov es, eax",
        "mov fs, eax",
        "mov gs, eax",
        "mov rax, [rip + {f} + {fs}]",
        "wrfsbase rax",
        "mov rax, [rip + {f} + {gs}]",
        "wrgsbase rax",
        "mov rax, [rip + {f} + 0x00]",
        "mov rcx, [rip + {f} + 0x08]",
        "mov rdx, [rip + {f} + 0x10]",
        "mov rbx, [rip + {f} + 0x18]",
        "mov rbp, [rip + {f} + 0x28]",
        "mov rsi, [rip + {f} + 0x30]",
        "mov rdi, [rip + {f} + 0x38]",
        "mov r8, [rip + {f} + 0x40]",
        "mov r9, [rip + {f} + 0x48]",
        "mov r10, [rip + {f} + 0x50]",
        "mov r11, [rip + {f} + 0x58]",
        "mov r12, [rip + {f} + 0x60]",
        "mov r13, [rip + {f} + 0x68]",
        "mov r14, [rip + {f} + 0x70]",
        "mov r15, [rip + {f} + 0x78]",
        "lea rsp, [rip + {f} + {iret}]",
        "iretq",
        f = sym FRAME,
        host_rsp = const offset_of!(Frame, host_rsp),
        host_mxcsr = const offset_of!(Frame, host_mxcsr),
        host_fs = const offset_of!(Frame, host_fs),
        host_gs = const offset_of!(Frame, host_gs),
        running = const offset_of!(Frame, running),
        fx = const offset_of!(Frame, regs) + offset_of!(Regs, fx),
        fs = const offset_of!(Frame, regs) + offset_of!(Regs, fs_base),
        gs = const offset_of!(Frame, regs) + offset_of!(Regs, gs_base),
        iret = const offset_of!(Frame, iret),
    )
}

const _: () = assert!(offset_of!(Frame, regs) + offset_of!(Regs, gpr) == 0);

/// The handler. On our stack and in guest code: takes the state and returns from `enter`.
#[unsafe(naked)]
unsafe extern "C" fn on_signal(_: i32, _: *mut libc::siginfo_t, _: *mut libc::ucontext_t) {
    naked_asm!(
        "lea rax, [rip + {stack}]",
        "mov rcx, rsp",
        "sub rcx, rax",
        "cmp rcx, {bytes}",
        "jae {chain}",
        "cmp dword ptr [rip + {f} + {running}], 0",
        "je {chain}",
        "mov dword ptr [rip + {f} + {running}], 0",
        "rdfsbase rax",
        "mov [rip + {f} + {fs}], rax",
        "rdgsbase rax",
        "mov [rip + {f} + {gs}], rax",
        "mov rax, [rip + {f} + {host_fs}]",
        "wrfsbase rax",
        "mov rax, [rip + {f} + {host_gs}]",
        "wrgsbase rax",
        "push rax",
        "mov rdi, rdx",
        "call {record}",
        "mov rsp, [rip + {f} + {host_rsp}]",
        "fninit",
        "ldmxcsr [rip + {f} + {host_mxcsr}]",
        "popfq",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        stack = sym STACK,
        bytes = const STACK_BYTES,
        chain = sym chain,
        record = sym record,
        f = sym FRAME,
        running = const offset_of!(Frame, running),
        host_rsp = const offset_of!(Frame, host_rsp),
        host_mxcsr = const offset_of!(Frame, host_mxcsr),
        host_fs = const offset_of!(Frame, host_fs),
        host_gs = const offset_of!(Frame, host_gs),
        fs = const offset_of!(Frame, regs) + offset_of!(Regs, fs_base),
        gs = const offset_of!(Frame, regs) + offset_of!(Regs, gs_base),
    )
}

/// Copies the interrupted state to the frame.
unsafe extern "C" fn record(context: &libc::ucontext_t) {
    use libc::{
        REG_CR2, REG_EFL, REG_ERR, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14,
        REG_R15, REG_RAX, REG_RBP, REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RIP, REG_RSI, REG_RSP,
        REG_TRAPNO,
    };
    const GPR: [i32; 16] = [
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9,
        REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    ];
    let from = &context.uc_mcontext;
    let get = |reg: i32| from.gregs[reg as usize] as u64;
    // SAFETY: the frame is this thread's. The kernel's image of the FPU begins as FXSAVE64's.
    unsafe {
        let frame = FRAME.0.get();
        (*frame).regs.gpr = GPR.map(get);
        (*frame).regs.rflags = get(REG_EFL);
        (*frame).regs.rip = get(REG_RIP);
        (*frame).regs.fx = from.fpregs.cast::<Fx>().read_unaligned();
        (*frame).vector = get(REG_TRAPNO);
        (*frame).error = get(REG_ERR);
        (*frame).address = get(REG_CR2);
    }
}

/// Passes a signal that is not guest code's to the handler that was there before.
unsafe extern "C" fn chain(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::ucontext_t,
) {
    let index = SIGNALS.iter().position(|&s| s == signal);
    // SAFETY: PREVIOUS has not changed since the handler was installed. A handler with SA_SIGINFO
    // has this signature. With the default action a synchronous signal, raised again on return,
    // ends the process.
    unsafe {
        let previous = index.and_then(|i| (*PREVIOUS.0.get())[i]);
        match previous {
            Some(p) if p.sa_sigaction > 1 && p.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::ucontext_t) =
                    std::mem::transmute(p.sa_sigaction);
                handler(signal, info, context);
            }
            _ => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{DATA, READ_ONLY};

    fn run(code: &[u8], change: impl FnOnce(&mut Regs)) -> (Stop, Regs) {
        let mut pages = Pages::lock();
        let mut regs = Regs::RESET;
        change(&mut regs);
        Native::new().expect("an oracle").run(&mut pages, code, &regs)
    }

    #[test]
    fn straight_code_is_left_at_its_end() {
        // add al,bl
        let (stop, after) = run(&[0x00, 0xd8], |r| {
            r.gpr[0] = 0xff;
            r.gpr[3] = 1;
            r.gpr[4] = 0x8000_0000_0000_0000;
            r.fx.xmm[15] = 15;
        });
        assert_eq!(stop, Stop::Left);
        assert_eq!(after.rip, ENTRY + 2);
        assert_eq!(after.gpr[0], 0);
        assert_eq!(after.gpr[4], 0x8000_0000_0000_0000);
        assert_eq!(after.rflags & 0x8d5, 0x55);
        assert_eq!(after.fx.xmm[15], 15);
    }

    #[test]
    fn exceptions_come_with_their_vector_and_address() {
        let page_fault = |address, error| Stop::Exception { vector: 14, error, address };
        // mov eax,[rbx]
        let (stop, after) = run(&[0x8b, 0x03], |r| r.gpr[3] = 0x1000);
        assert_eq!(stop, page_fault(0x1000, 4));
        assert_eq!(after.rip, ENTRY);
        // mov [rbx],eax
        let (stop, _) = run(&[0x89, 0x03], |r| r.gpr[3] = READ_ONLY - 1);
        assert_eq!(stop, page_fault(READ_ONLY, 7));
        // div ecx
        let (stop, _) = run(&[0xf7, 0xf1], |_| ());
        assert!(matches!(stop, Stop::Exception { vector: 0, .. }));
        // ud2
        let (stop, after) = run(&[0x0f, 0x0b], |_| ());
        assert!(matches!(stop, Stop::Exception { vector: 6, .. }));
        assert_eq!(after.rip, ENTRY);
        // int3
        let (stop, after) = run(&[0xcc], |_| ());
        assert!(matches!(stop, Stop::Exception { vector: 3, .. }));
        assert_eq!(after.rip, ENTRY + 1);
        // hlt, and an access that is not canonical
        let (stop, _) = run(&[0xf4], |_| ());
        assert!(matches!(stop, Stop::Exception { vector: 13, .. }));
        let (stop, _) = run(&[0x8b, 0x03], |r| r.gpr[3] = 1 << 63);
        assert!(matches!(stop, Stop::Exception { vector: 13, .. }));
    }

    #[test]
    fn transfers_tell_their_target() {
        // jmp short; jmp rax; ret
        let (stop, after) = run(&[0xeb, 0x10], |_| ());
        assert_eq!((stop, after.rip), (Stop::Left, ENTRY + 0x12));
        let (stop, after) = run(&[0xff, 0xe0], |r| r.gpr[0] = 0x1234_5678_9abc);
        assert_eq!((stop, after.rip), (Stop::Left, 0x1234_5678_9abc));
        let (stop, after) = run(&[0xc3], |r| r.gpr[4] = DATA);
        assert_eq!((stop, after.gpr[4]), (Stop::Left, DATA + 8));
    }

    #[test]
    fn segment_bases_and_the_fpu_are_the_guests() {
        // mov rax,fs:[0]; mov rbx,gs:[8]; fld1
        let code = [
            0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x65, 0x48, 0x8b, 0x1c, 0x25, 8, 0, 0, 0,
            0xd9, 0xe8,
        ];
        let mut pages = Pages::lock();
        let mut data = [0; crate::pages::DATA_BYTES];
        data[..16].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        pages.set_data(&data);
        let regs = Regs { fs_base: DATA, gs_base: DATA, ..Regs::RESET };
        let mut native = Native::new().expect("an oracle");
        let (stop, after) = native.run(&mut pages, &code, &regs);
        assert_eq!((stop, after.gpr[0], after.gpr[3]), (Stop::Left, 1, 2));
        assert_eq!((after.fs_base, after.gs_base), (DATA, DATA));
        assert_eq!(after.fx.st[0], 0x3fff_8000_0000_0000_0000);
        assert_eq!(after.fx.fsw, 7 << 11);
    }

    #[test]
    fn accesses_of_the_thread_itself_are_not_mistaken_for_guest_code() {
        let mut pages = Pages::lock();
        let mut native = Native::new().expect("an oracle");
        let before = native.run(&mut pages, &[0x90], &Regs::RESET);
        use mynah_mem::Memory as _;
        let mut memory = mynah_mem::Flat;
        assert!(memory.load::<u64>(0x1000).is_err());
        assert_eq!(native.run(&mut pages, &[0x90], &Regs::RESET), before);
    }
}
