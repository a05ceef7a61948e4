//! Between processes and threads: waiting for children, futexes, queues.

use super::names;
use crate::Errno;
use crate::call::Call;
use crate::row::rows;

rows! {
    wait4(pid: Int, status: OutFixed(4), options: Flags(names::WAIT), usage: OutFixed(144)) = Block(Errno::ERESTARTSYS);
    waitid(kind: Enum(names::ID_TYPE), id: Int, info: OutFixed(128), options: Flags(names::WAITID), usage: OutFixed(144)) = Block(Errno::ERESTARTSYS);
    pidfd_open(pid: Int, flags: Flags(names::OPEN)) = Pass;
    pidfd_getfd(pidfd: Fd, fd: Fd, flags: Hex) = Pass;
    pidfd_send_signal(pidfd: Fd, signal: Signal, info: InFixed(128), flags: Hex) = Pass;
    kcmp(a: Int, b: Int, kind: Int, index_a: Hex, index_b: Hex) = Pass;

    futex(word: Address, operation: Mixed(0x7f, names::FUTEX, names::FUTEX_FLAGS), value: Uint, timeout: Hex, other: Address, value3: Hex) = Do(futex);
    futex_waitv(waiters: Address, count: Uint, flags: Hex, timeout: Timespec(1), clock: Enum(names::CLOCK)) = Block(Errno::ERESTARTNOHAND);
    membarrier(command: Int, flags: Hex, cpu: Int) = Pass;

    msgget(key: Int, flags: Hex) = Pass;
    msgsnd(queue: Int, message: Address, size: Size, flags: Hex) = Block(Errno::ERESTARTNOHAND);
    msgrcv(queue: Int, message: Address, size: Size, kind: Long, flags: Hex) = Do(msgrcv);
    msgctl(queue: Int, command: Int, buffer: OutFixed(120)) = Pass;
    semget(key: Int, count: Int, flags: Hex) = Pass;
    semop(set: Int, operations: Address, count: Size) = Do(semop);
    semtimedop(set: Int, operations: Address, count: Size, timeout: Timespec(1)) = Do(semtimedop);
    semctl(set: Int, index: Int, command: Int, argument: Hex) = Do(semctl);
    mq_open(name: Text, flags: Mixed(3, names::OPEN_MODE, names::OPEN), mode: Mode, attributes: InFixed(64)) = Pass;
    mq_unlink(name: Text) = Pass;
    mq_timedsend(queue: Fd, message: In(2), size: Size, priority: Uint, timeout: Timespec(1)) = Block(Errno::ERESTARTSYS);
    mq_timedreceive(queue: Fd, message: Out(2), size: Size, priority: OutFixed(4), timeout: Timespec(1)) = Block(Errno::ERESTARTSYS);
    mq_notify(queue: Fd, event: InFixed(64)) = Pass;
    mq_getsetattr(queue: Fd, new: InFixed(64), old: OutFixed(64)) = Pass;

    process_vm_readv(pid: Int, local: OutIov(2), local_count: Size, remote: Address, remote_count: Size, flags: Hex) = Pass;
    process_vm_writev(pid: Int, local: InIov(2), local_count: Size, remote: Address, remote_count: Size, flags: Hex) = Do(process_vm_writev);
}

fn futex(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [word, _, _, timeout, ..] = call.args;
    let operation = call.int(1) & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    match operation {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET if timeout == 0 => {
            call.block(Errno::ERESTARTSYS)
        }
        libc::FUTEX_WAIT_BITSET => call.block(Errno::ERESTARTNOHAND), // until a point in time
        libc::FUTEX_WAIT => {
            let time = call.time_left(timeout)?;
            let [word, operation, value, ..] = call.args;
            let args = [word, operation, value, time.as_ptr() as u64, 0, 0];
            call.host_block("futex", args, Errno::ERESTARTNOHAND)
        }
        // These write to the word; LOCK_PI waits.
        _ => {
            call.process().space.prepare(word, 4);
            call.block(Errno::ERESTARTSYS)
        }
    }
}

fn msgrcv(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [_, message, size, ..] = call.args;
    call.process().space.prepare(message, size.saturating_add(8));
    call.block(Errno::ERESTARTNOHAND)
}

fn semop(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [set, operations, count, ..] = call.args;
    call.host_block("semtimedop", [set, operations, count, 0, 0, 0], Errno::ERESTARTNOHAND)
}

fn semtimedop(call: &mut Call<'_>) -> Result<u64, Errno> {
    let [set, operations, count, timeout, ..] = call.args;
    if timeout == 0 {
        return semop(call);
    }
    let time = call.time_left(timeout)?;
    let args = [set, operations, count, time.as_ptr() as u64, 0, 0];
    call.host_block("semtimedop", args, Errno::ERESTARTNOHAND)
}

fn semctl(call: &mut Call<'_>) -> Result<u64, Errno> {
    match call.int(2) & !0x100 {
        // The layout of `struct semid_ds` depends on the architecture.
        libc::IPC_STAT | libc::IPC_SET | libc::SEM_STAT => Err(Errno::ENOSYS),
        _ => call.pass(),
    }
}

fn process_vm_writev(call: &mut Call<'_>) -> Result<u64, Errno> {
    // Code written into another process would not be noticed there.
    if call.int(0) as u32 != std::process::id() {
        return Err(Errno::EPERM);
    }
    call.pass()
}
