//! A guest thread on its vCPU: what happens when guest code asks for something, and the calls
//! that make, change or end vCPUs.

use crate::abi::{Abi, Asked, CloneArgs, Exception, Frame};
use crate::call::Call;
use crate::debugger::Debugged;
use crate::row::{Row, Run};
use crate::signal::{self, AltStack, Pending, SigInfo, SigSet};
use crate::space::Refused;
use crate::thread::Thread;
use crate::{Errno, Process, calls, exec, host, trace};
use mynah_debug::Control;
use mynah_engine::{Engine, Env, Event, Fault, Flow, Vcpu};
use mynah_guest::{Access, Cause, Cpu, MemFault};
use mynah_mem::Flat;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// Bytes of a guest thread's host stack: enough for the compiler.
const HOST_STACK: usize = 8 << 20;

/// Times that a refused write which ought to succeed is tried again.
const MAX_RETRIES: u32 = 1000;

/// A guest thread and its engine.
pub(crate) struct Task<A: Abi> {
    /// The thread.
    pub thread: Thread,
    /// What runs its code.
    pub engine: Arc<Engine<A>>,
    /// How it ended, as the argument of exit(2).
    pub status: i32,
    /// What [`Thread::began`] is if the next event is the interrupted call made again.
    again: Option<Instant>,
    /// The last write that was refused though it ought to succeed, and how often.
    retried: (u64, u64, u32),
    /// Where a debugger stops it, if there is one.
    debugger: Option<Debugged<A>>,
}

/// What came of a system call.
enum Outcome {
    /// It returned.
    Result(Result<u64, Errno>),
    /// The registers are as they should be.
    Done,
    /// The thread has ended.
    Stop,
}

impl<A: Abi> Task<A> {
    /// A task of `thread`.
    pub(crate) fn new(thread: Thread, engine: Arc<Engine<A>>) -> Task<A> {
        Task { thread, engine, status: 0, again: None, retried: (0, 0, 0), debugger: None }
    }

    /// Runs `vcpu` on the calling thread, whose signals are blocked, until the guest thread ends;
    /// then signals are blocked again.
    pub(crate) fn run(&mut self, vcpu: &mut Vcpu<A>) {
        let mask = self.thread.mask;
        self.thread.set_mask(mask);
        vcpu.run(self);
        signal::set_host_mask(SigSet::ALL);
    }

    /// Lets a debugger stop the thread, which is the calling one.
    pub(crate) fn join(&mut self, control: &Arc<Control<A>>, cpu: &Cpu<A>) {
        self.debugger = Some(Debugged::new(control, &cpu.core.attention));
    }

    fn process(&self) -> &Arc<Process> {
        &self.thread.process
    }

    /// Ends the process.
    fn finish(&self, status: i32) -> ! {
        trace::stats(self.process(), &self.engine.stats());
        if let Some(debugger) = &self.debugger {
            debugger.control.end(Ok(status as u8));
        }
        _ = host::call(libc::SYS_exit_group, [status as u64, 0, 0, 0, 0, 0]);
        std::process::abort()
    }

    /// Ends the process by `signal`.
    fn die(&self, signal: i32) -> ! {
        trace::killed(self.process(), signal);
        if let Some(debugger) = &self.debugger {
            debugger.control.end(Err(signal));
        }
        trace::stats(self.process(), &self.engine.stats());
        signal::die(signal)
    }

    /// What follows when [`Task::run`] has returned: the last thread takes the process with it.
    pub(crate) fn end(&mut self) {
        self.thread.end();
        if let Some(debugger) = &self.debugger {
            debugger.seat.leave();
        }
        let process = self.process();
        if process.threads.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(process.leader_status.load(Ordering::Acquire));
        }
    }

    fn system_call(&mut self, cpu: &mut Cpu<A>) -> Flow {
        if self.thread.pending.any() {
            // The signal came before the call: it is delivered first.
            cpu.core.pc = cpu.core.pc.wrapping_sub(A::CALL_BYTES);
            return self.deliver(cpu);
        }
        self.thread.began = self.again.take();
        let (number, args) = A::call(&cpu.state);
        let Some(row) = self.process().calls.row(number) else {
            trace::unknown(self.process(), number, &args);
            A::set_result(&mut cpu.state, Errno::encode(Err(Errno::ENOSYS)));
            return Flow::Resume;
        };
        if matches!(row.name, "exit" | "exit_group" | "execve" | "execveat") {
            trace::call(self.process(), row, &args, None);
        }
        let outcome = match row.run {
            Run::Task => self.own_call(cpu, row, args),
            _ => {
                let result = Call { thread: &mut self.thread, row, args }.run();
                Outcome::Result(result)
            }
        };
        let result = match outcome {
            Outcome::Result(result) => result,
            Outcome::Done => {
                trace::call(self.process(), row, &args, None);
                return self.deliver(cpu);
            }
            Outcome::Stop => return Flow::Stop,
        };
        trace::call(self.process(), row, &args, Some(result));
        match result {
            Err(restart @ (Errno::ERESTARTSYS | Errno::ERESTARTNOINTR | Errno::ERESTARTNOHAND)) => {
                self.interrupted(cpu, restart)
            }
            _ => {
                A::set_result(&mut cpu.state, Errno::encode(result));
                self.deliver(cpu)
            }
        }
    }

    /// After a call that a signal has interrupted: fails with EINTR, or is made again.
    fn interrupted(&mut self, cpu: &mut Cpu<A>, restart: Errno) -> Flow {
        while let Some(info) = self.thread.pending.take(self.thread.mask) {
            let action = self.process().actions.get(info.signal());
            if matches!(action.handler, signal::DEFAULT | signal::IGNORE) {
                self.deliver_one(cpu, info, None);
                continue;
            }
            let again = match restart {
                Errno::ERESTARTSYS => action.flags & libc::SA_RESTART as u64 != 0,
                restart => restart == Errno::ERESTARTNOINTR,
            };
            if again {
                cpu.core.pc = cpu.core.pc.wrapping_sub(A::CALL_BYTES);
            } else {
                A::set_result(&mut cpu.state, Errno::encode(Err(Errno::EINTR)));
            }
            self.deliver_one(cpu, info, None);
            return self.deliver(cpu);
        }
        // No handler runs: the call goes on.
        self.again = self.thread.began;
        cpu.core.pc = cpu.core.pc.wrapping_sub(A::CALL_BYTES);
        Flow::Resume
    }

    /// Delivers what is pending.
    fn deliver(&mut self, cpu: &mut Cpu<A>) -> Flow {
        while let Some(info) = self.thread.pending.take(self.thread.mask) {
            self.deliver_one(cpu, info, None);
        }
        Flow::Resume
    }

    /// Does what the guest has said that the signal does.
    fn deliver_one(&mut self, cpu: &mut Cpu<A>, info: SigInfo, exception: Option<Exception>) {
        let Some((info, exception)) = self.permitted(cpu, info, exception) else {
            return self.thread.set_mask(self.thread.mask);
        };
        let number = info.signal();
        trace::signal(self.process(), &info);
        let mut action = self.process().actions.get(number);
        match action.handler {
            signal::DEFAULT if SigSet::FAULTS.has(number) || exception.is_some() => {
                self.die(number)
            }
            signal::DEFAULT => {
                // It became so after the host had accepted it: now the host does what it does.
                signal::send_self(number);
                return self.thread.set_mask(self.thread.mask);
            }
            signal::IGNORE => return self.thread.set_mask(self.thread.mask),
            _ => {}
        }
        self.again = None;
        let mut restored = action;
        if let Some(trampoline) = self.process().image.trampoline {
            restored.restorer = trampoline;
        }
        if action.flags & libc::SA_RESETHAND as u64 != 0 {
            action.handler = signal::DEFAULT;
            _ = self.process().actions.set(number, action);
        }
        let alt = self.thread.alt_stack;
        let sp = A::sp(&cpu.state);
        let mut top = sp.wrapping_sub(A::INFO.red_zone);
        let mut told = alt;
        if alt.holds(sp) && alt.flags & AltStack::AUTODISARM == 0 {
            told.flags |= AltStack::ONSTACK;
        } else if action.flags & libc::SA_ONSTACK as u64 != 0 && alt.enabled() {
            top = alt.sp.wrapping_add(alt.size);
        }
        if alt.flags & AltStack::AUTODISARM != 0 {
            self.thread.alt_stack = AltStack::NONE;
        }
        let mask = self.thread.mask;
        let space = Arc::clone(&self.process().space);
        let frame = Frame { action: restored, info, mask, stack: told, sp: top, exception };
        if A::push_frame(cpu, &space, &frame).is_err() {
            self.die(libc::SIGSEGV);
        }
        let mut blocked = mask.and(restored.mask);
        if restored.flags & libc::SA_NODEFER as u64 == 0 {
            blocked = blocked.and(SigSet::of(&[number]));
        }
        self.thread.set_mask(blocked);
    }

    /// The signal that a debugger lets the program see in place of this one.
    fn permitted(
        &self,
        cpu: &mut Cpu<A>,
        info: SigInfo,
        exception: Option<Exception>,
    ) -> Option<(SigInfo, Option<Exception>)> {
        let Some(debugger) = &self.debugger else { return Some((info, exception)) };
        let number = debugger.seat.signal(cpu, info.signal())?;
        Some(match number == info.signal() {
            true => (info, exception),
            false => (SigInfo::at(number, libc::SI_USER, 0), None),
        })
    }

    /// Delivers a synchronous signal, which the guest can neither block nor ignore.
    fn force(&mut self, cpu: &mut Cpu<A>, exception: Exception) -> Flow {
        let number = exception.signal;
        let action = self.process().actions.get(number);
        let info = SigInfo::at(number, exception.code, exception.address);
        if self.thread.mask.has(number) || action.handler == signal::IGNORE {
            trace::signal(self.process(), &info);
            self.die(number);
        }
        self.deliver_one(cpu, info, Some(exception));
        self.deliver(cpu)
    }

    fn memory_fault(&mut self, cpu: &mut Cpu<A>, fault: MemFault) -> Flow {
        const SI_KERNEL: i32 = 0x80;
        let va = fault.va;
        let space = &self.process().space;
        if fault.access == Access::Write && fault.cause == Cause::Protected {
            match space.write_refused(va) {
                Refused::Watched => return Flow::Step,
                Refused::Allowed => {
                    let (pc, last, count) = self.retried;
                    let count = if (pc, last) == (cpu.core.pc, va) { count + 1 } else { 0 };
                    self.retried = (cpu.core.pc, va, count);
                    if count < MAX_RETRIES {
                        return Flow::Resume;
                    }
                }
                Refused::Denied => {}
            }
        }
        // What the page-fault error code says: present, write, user, fetch.
        let present = fault.cause == Cause::Protected && self.process().space.is_mapped(va);
        let kind = match fault.access {
            Access::Read => 0,
            Access::Write => 2,
            Access::Fetch => 16,
        };
        let error = 4 | kind | u64::from(present);
        let page_fault = |signal, code| Exception { signal, code, address: va, vector: 14, error };
        let exception = match fault.cause {
            // The last two come of page tables, which a process does not see.
            Cause::Unmapped | Cause::Refused(_) | Cause::Code => {
                page_fault(libc::SIGSEGV, 1) // SEGV_MAPERR
            }
            Cause::Protected if present => page_fault(libc::SIGSEGV, 2), // SEGV_ACCERR
            Cause::Protected => page_fault(libc::SIGSEGV, 1),
            Cause::Misaligned => A::misaligned(va),
            Cause::NonCanonical => {
                let (signal, code) = (libc::SIGSEGV, SI_KERNEL);
                Exception { signal, code, address: 0, vector: 13, error: 0 }
            }
            Cause::Bus => page_fault(libc::SIGBUS, 2), // BUS_ADRERR
        };
        self.force(cpu, exception)
    }

    /// The calls that a table's function cannot make.
    fn own_call(&mut self, cpu: &mut Cpu<A>, row: &'static Row, args: [u64; 6]) -> Outcome {
        match row.name {
            "exit" => {
                self.status = args[0] as i32;
                Outcome::Stop
            }
            "exit_group" => {
                trace::exited(self.process(), args[0] as i32);
                self.finish(args[0] as i32)
            }
            "rt_sigreturn" => {
                let space = Arc::clone(&self.process().space);
                let Ok((mask, stack)) = A::pop_frame(cpu, &space) else {
                    self.die(libc::SIGSEGV);
                };
                self.thread.set_mask(mask);
                let flags = stack.flags & (libc::SS_DISABLE as u32 | AltStack::AUTODISARM);
                self.thread.alt_stack = AltStack { flags, ..stack };
                Outcome::Done
            }
            "sigaltstack" => {
                let sp = A::sp(&cpu.state);
                let mut call = Call { thread: &mut self.thread, row, args };
                Outcome::Result(calls::signal::sigaltstack(&mut call, sp))
            }
            "execve" => Outcome::Result(self.execve(row, args)),
            "execveat" => Outcome::Result(self.execveat(row, args)),
            "fork" => Outcome::Result(self.fork(
                cpu,
                &CloneArgs { exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() },
            )),
            "vfork" => {
                let flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
                let exit_signal = libc::SIGCHLD as u64;
                let args = CloneArgs { flags, exit_signal, ..CloneArgs::default() };
                Outcome::Result(self.clone(cpu, &args))
            }
            "clone" => {
                let args = A::clone_args(args);
                Outcome::Result(self.clone(cpu, &args))
            }
            "clone3" => Outcome::Result(self.clone3(cpu, args[0], args[1])),
            name => {
                let space = Arc::clone(&self.process().space);
                Outcome::Result(A::own_call(cpu, &space, name, args))
            }
        }
    }

    fn clone3(&mut self, cpu: &mut Cpu<A>, va: u64, size: u64) -> Result<u64, Errno> {
        // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size,
        // tls, set_tid, set_tid_size, cgroup.
        if size < 64 {
            return Err(Errno::EINVAL);
        }
        let space = &self.process().space;
        let mut words = [0_u64; 11];
        for (n, word) in words.iter_mut().enumerate().take((size / 8).min(11) as usize) {
            *word = space.load(va.wrapping_add(8 * n as u64))?;
        }
        let [flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, ..] = words;
        if words[9] != 0 || flags & 0x2_0000_0000 != 0 {
            // set_tid and CLONE_INTO_CGROUP.
            return Err(Errno::EINVAL);
        }
        let stack = stack.wrapping_add(stack_size);
        let args = CloneArgs { flags, stack, parent_tid, child_tid, tls, pidfd, exit_signal };
        self.clone(cpu, &args)
    }

    fn clone(&mut self, cpu: &mut Cpu<A>, args: &CloneArgs) -> Result<u64, Errno> {
        const THREAD: u64 = (libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD) as u64;
        let flags = args.flags;
        match flags & THREAD {
            THREAD => self.new_thread(cpu, args),
            f if f & libc::CLONE_THREAD as u64 != 0 => Err(Errno::EINVAL),
            // Processes that share memory for good are not supported; while the parent waits
            // there is no difference to be seen but one.
            _ if flags & libc::CLONE_VM as u64 != 0 && flags & libc::CLONE_VFORK as u64 == 0 => {
                Err(Errno::EINVAL)
            }
            _ if flags & libc::CLONE_VM as u64 != 0 => self.vfork(cpu, args),
            _ => self.fork(cpu, args),
        }
    }

    /// A vCPU with `cpu`'s registers as a child of clone(2) has them.
    fn child_vcpu(&self, cpu: &Cpu<A>, args: &CloneArgs) -> Vcpu<A> {
        let mut vcpu = Vcpu::new(Arc::clone(&self.engine), Flat);
        vcpu.cpu.state = cpu.state.clone();
        vcpu.cpu.core.pc = cpu.core.pc;
        vcpu.cpu.core.fp_env = cpu.core.fp_env;
        become_child(&mut vcpu.cpu, args);
        vcpu
    }

    fn new_thread(&mut self, cpu: &mut Cpu<A>, args: &CloneArgs) -> Result<u64, Errno> {
        let args = *args;
        let has = move |flag: i32| args.flags & flag as u64 != 0;
        let mut vcpu = self.child_vcpu(cpu, &args);
        let clear_tid = if has(libc::CLONE_CHILD_CLEARTID) { args.child_tid } else { 0 };
        let thread = Thread {
            process: Arc::clone(self.process()),
            pending: Pending::new(&vcpu.cpu.core.attention),
            mask: self.thread.mask,
            alt_stack: AltStack::NONE,
            clear_tid,
            robust_list: 0,
            began: None,
        };
        let mut task = Task::new(thread, Arc::clone(&self.engine));
        let control = self.debugger.as_ref().map(|debugger| Arc::clone(&debugger.control));
        let process = Arc::clone(self.process());
        let (tell, told) = mpsc::sync_channel(1);
        // The new thread starts with the signals blocked as they are here.
        signal::set_host_mask(SigSet::ALL);
        process.threads.fetch_add(1, Ordering::AcqRel);
        let spawned = std::thread::Builder::new().stack_size(HOST_STACK).spawn(move || {
            let tid = Thread::id();
            let space = &task.thread.process.space;
            if has(libc::CLONE_PARENT_SETTID) {
                _ = space.store(args.parent_tid, tid as u32);
            }
            if has(libc::CLONE_CHILD_SETTID) {
                _ = space.store(args.child_tid, tid as u32);
            }
            let pending = std::ptr::from_ref(&*task.thread.pending);
            let binding = signal::bind(pending);
            if let Some(control) = control {
                task.join(&control, &vcpu.cpu);
            }
            _ = tell.send(tid);
            task.run(&mut vcpu);
            drop(binding);
            task.end();
        });
        let tid = match spawned {
            Ok(_) => told.recv().ok(),
            Err(_) => None,
        };
        self.thread.set_mask(self.thread.mask);
        tid.map(|tid| tid as u64).ok_or_else(|| {
            process.threads.fetch_sub(1, Ordering::AcqRel);
            Errno::EAGAIN
        })
    }

    fn fork(&mut self, cpu: &mut Cpu<A>, args: &CloneArgs) -> Result<u64, Errno> {
        let process = Arc::clone(self.process());
        signal::set_host_mask(SigSet::ALL);
        let result = self.engine.fork(|| {
            // Held, so that the child's copies are whole.
            let _table = process.space.table();
            let _actions = process.actions.lock();
            host::fork(args.flags & !IN_MYNAH, args.exit_signal)
        });
        // Only in the child can it fail, which cannot go on then.
        let result = result.unwrap_or_else(|_| self.die(libc::SIGKILL));
        if result == 0 {
            self.thread.pending.clear();
            if self.debugger.take().is_some() {
                // Its threads, and what they held, are not here.
                self.engine.set_breakpoints([]);
                A::set_watches(cpu, &[]);
            }
            self.thread.robust_list = 0;
            process.threads.store(1, Ordering::Release);
            let has = |flag: i32| args.flags & flag as u64 != 0;
            let child_tid = args.child_tid;
            if has(libc::CLONE_CHILD_SETTID) {
                _ = process.space.store(child_tid, Thread::id() as u32);
            }
            self.thread.clear_tid = if has(libc::CLONE_CHILD_CLEARTID) { child_tid } else { 0 };
            become_child(cpu, args);
        } else if result > 0 {
            self.tell_parent(args, result);
        }
        self.thread.set_mask(self.thread.mask);
        Errno::decode(result.into())
    }

    /// The child runs on this thread's host stack's neighbour, in the same memory, while this
    /// thread waits in the kernel.
    fn vfork(&mut self, cpu: &mut Cpu<A>, args: &CloneArgs) -> Result<u64, Errno> {
        let process = Process {
            actions: Arc::new(self.process().actions.copy()),
            threads: Arc::new(AtomicUsize::new(1)),
            ..(**self.process()).clone()
        };
        // Made and dropped by the parent: the child never returns.
        let mut vcpu = self.child_vcpu(cpu, args);
        let thread = Thread {
            process: Arc::new(process),
            pending: Pending::new(&vcpu.cpu.core.attention),
            mask: self.thread.mask,
            alt_stack: if args.stack == 0 { self.thread.alt_stack } else { AltStack::NONE },
            clear_tid: 0,
            robust_list: 0,
            began: None,
        };
        let mut task = Task::new(thread, Arc::clone(&self.engine));
        signal::set_host_mask(SigSet::ALL);
        let binding = signal::bind(&*task.thread.pending);
        let flags = args.flags & !IN_MYNAH;
        let pid = host::vfork(flags, args.exit_signal, HOST_STACK, &mut || {
            task.run(&mut vcpu);
            task.finish(task.status);
        });
        drop(binding);
        if pid > 0 {
            self.tell_parent(args, pid);
        }
        self.thread.set_mask(self.thread.mask);
        Errno::decode(pid.into())
    }

    /// What the parent is told of its child by the flags of clone(2).
    fn tell_parent(&self, args: &CloneArgs, pid: i32) {
        let space = &self.process().space;
        if args.flags & libc::CLONE_PARENT_SETTID as u64 != 0 {
            _ = space.store(args.parent_tid, pid as u32);
        }
        if args.flags & libc::CLONE_PIDFD as u64 != 0 {
            let pidfd = host::call(libc::SYS_pidfd_open, [pid as u64, 0, 0, 0, 0, 0]);
            _ = space.store(args.pidfd, pidfd.map_or(u32::MAX, |fd| fd as u32));
        }
    }

    fn strings(&self, mut va: u64) -> Result<Vec<CString>, Errno> {
        let space = &self.process().space;
        let mut all = Vec::new();
        while va != 0 {
            let at = space.load::<u64>(va)?;
            if at == 0 {
                break;
            }
            all.push(space.cstr(at)?);
            va = va.wrapping_add(8);
        }
        Ok(all)
    }

    fn execve(&mut self, row: &'static Row, args: [u64; 6]) -> Result<u64, Errno> {
        let path = Call { thread: &mut self.thread, row, args }.path(0)?;
        self.execute(&OsString::from_vec(path.into_bytes()), args[1], args[2])
    }

    fn execveat(&mut self, row: &'static Row, args: [u64; 6]) -> Result<u64, Errno> {
        let [dir, _, argv, envp, flags, _] = args;
        let dir = dir as i32;
        let path = Call { thread: &mut self.thread, row, args }.path(1)?;
        let bytes = path.to_bytes();
        if bytes.starts_with(b"/") || dir == libc::AT_FDCWD && !bytes.is_empty() {
            return self.execute(&OsString::from_vec(bytes.to_vec()), argv, envp);
        }
        let base = format!("/proc/self/fd/{dir}");
        if !bytes.is_empty() {
            let path = [base.as_bytes(), b"/", bytes].concat();
            return self.execute(&OsString::from_vec(path), argv, envp);
        }
        if flags & libc::AT_EMPTY_PATH as u64 == 0 {
            return Err(Errno::ENOENT);
        }
        // By its name if it has one: the descriptor may be closed on the way.
        let named = std::fs::read_link(&base).ok().filter(|path| path.exists());
        let path = named.map_or_else(|| base.into(), std::path::PathBuf::into_os_string);
        self.execute(&path, argv, envp)
    }

    fn execute(&mut self, path: &OsString, argv: u64, envp: u64) -> Result<u64, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let process = self.process();
        let argv = self.strings(argv)?;
        let envp = self.strings(envp)?;
        let find = |path: &Path| process.find(path);
        let resolved = exec::resolve(Path::new(path), find).map_err(|e| e.errno)?;
        let given = argv.into_iter().map(|arg| OsString::from_vec(arg.into_bytes()));
        let args: Vec<OsString> = match resolved.args {
            None => given.collect(),
            Some(mut args) => {
                args.extend(given.skip(1));
                args
            }
        };
        Err(exec::execute(&process.options, &resolved.program.name, &args, &envp))
    }
}

/// Flags of clone(2) that Mynah carries out itself, for new processes.
const IN_MYNAH: u64 = (libc::CLONE_VM
    | libc::CLONE_VFORK
    | libc::CLONE_SIGHAND
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_PIDFD) as u64;

fn become_child<A: Abi>(cpu: &mut Cpu<A>, args: &CloneArgs) {
    A::set_result(&mut cpu.state, 0);
    if args.stack != 0 {
        A::set_sp(&mut cpu.state, args.stack);
    }
    if args.flags & libc::CLONE_SETTLS as u64 != 0 {
        A::set_tls(&mut cpu.state, args.tls);
    }
}

impl<A: Abi> Env<A> for Task<A> {
    fn event(&mut self, cpu: &mut Cpu<A>, event: Event) -> Flow {
        if let Some(debugger) = &self.debugger {
            self.thread.pending.answer();
            debugger.look(cpu, event);
        }
        let pc = cpu.core.pc;
        let flow = match event {
            Event::Attention => self.deliver(cpu),
            Event::Trap(trap) | Event::Fault(Fault::Trap(trap)) => match A::asked(cpu, trap) {
                Asked::Call => self.system_call(cpu),
                Asked::Signal(exception) => self.force(cpu, exception),
            },
            Event::Fault(Fault::Memory(fault)) => self.memory_fault(cpu, fault),
            Event::Breakpoint if self.debugger.is_some() => Flow::Resume,
            // A child that has its parent's memory meets its parent's breakpoints.
            Event::Breakpoint => Flow::Step,
        };
        match &self.debugger {
            Some(debugger) => {
                let again = matches!(event, Event::Fault(_)) && cpu.core.pc == pc;
                debugger.attend(cpu, flow, again)
            }
            None => flow,
        }
    }
}
