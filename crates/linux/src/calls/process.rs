//! Processes and threads: who they are, how they begin and end.

use crate::row::rows;
use crate::thread::Thread;
use crate::{Call, Errno};

rows! {
    getpid() = Pass;
    gettid() = Pass;
    clone(flags: Hex, stack: Address, parent_tid: Address, a: Hex, b: Hex) = Task;
    clone3(args: Address, size: Size) = Task;
    fork() = Task;
    vfork() = Task;
    execve(path: Path, argv: Address, envp: Address) = Task;
    execveat(dir: DirFd, path: Path, argv: Address, envp: Address, flags: Hex) = Task;
    exit(status: Int) = Task;
    exit_group(status: Int) = Task;
    set_tid_address(tid: Address) = Do(set_tid_address);
    set_robust_list(head: Address, size: Size) = Do(set_robust_list);
    get_robust_list(tid: Int, head: OutFixed(8), size: OutFixed(8)) = Do(get_robust_list);
    arch_prctl(code: Hex, addr: Address) = Task;
}

/// Bytes of `struct robust_list_head`.
const HEAD_BYTES: u64 = 24;

// The host's own address is the C library's for its thread: the guest's is for Mynah to clear.
fn set_tid_address(call: &mut Call<'_>) -> Result<u64, Errno> {
    call.thread.clear_tid = call.args[0];
    Ok(Thread::id() as u64)
}

// The kernel is told as well: it walks the list if the whole process is killed.
fn set_robust_list(call: &mut Call<'_>) -> Result<u64, Errno> {
    if call.args[1] != HEAD_BYTES {
        return Err(Errno::EINVAL);
    }
    call.thread.robust_list = call.args[0];
    call.pass()
}

fn get_robust_list(call: &mut Call<'_>) -> Result<u64, Errno> {
    if call.int(0) != 0 && call.int(0) != Thread::id() {
        return call.pass();
    }
    let (head, [_, to, size, ..]) = (call.thread.robust_list, call.args);
    call.process().space.store(size, HEAD_BYTES)?;
    call.process().space.store(to, head)?;
    Ok(0)
}
