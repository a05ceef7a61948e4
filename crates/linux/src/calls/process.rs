//! Processes and threads: who they are, how they begin and end.

use crate::row::rows;

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
}
