//! The process machine: runs a Linux program of a guest architecture as a process of the host.

mod abi;
mod call;
mod calls;
mod debugger;
mod errno;
mod error;
mod exec;
mod host;
mod image;
mod numbers;
mod process;
mod row;
mod signal;
mod space;
mod strace;
mod task;
mod thread;
mod trace;

pub use errno::Errno;
pub use error::Error;
pub use mynah_debug::Address;

use abi::Abi;
use call::Call;
use mynah_engine::{Config, Engine, Vcpu};
use mynah_loader::Machine;
use mynah_mem::Flat;
use process::{CallTable, Process};
use signal::{Actions, AltStack, Pending, SigSet};
use space::Space;
use std::convert::Infallible;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Instant;
use task::Task;
use thread::Thread;

/// How to run a program.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program's file.
    pub program: PathBuf,
    /// What it is told as its name, if not `program`.
    pub argv0: Option<OsString>,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// Its environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where absolute paths are looked up first.
    pub sysroot: Option<PathBuf>,
    /// How the engine works.
    pub config: Config,
    /// Report each system call on stderr.
    pub strace: bool,
    /// Report what the engine did on stderr at the end.
    pub stats: bool,
    /// Where to listen for a debugger, for which the program waits before its first instruction. The
    /// programs that it executes do without.
    pub gdb: Option<Address>,
}

/// Runs a program as this process: its exit, or its death by a signal, is this process's. Returns
/// only when it could not be started.
///
/// To be called on the first thread, while there is no other that does anything for the caller.
///
/// # Errors
/// If the program cannot be started.
pub fn run(options: Options) -> Result<Infallible, Error> {
    let find = |path: &Path| process::find(&options, path);
    let resolved = exec::resolve(&options.program, find)?;
    let mut options = options.clone();
    if let Some(args) = resolved.args {
        let mut args = args.into_iter();
        options.argv0 = args.next();
        options.args = args.chain(options.args).collect();
    }
    match resolved.program.machine() {
        Machine::X86_64 => start::<mynah_x86::X86>(options, resolved.program),
        Machine::RiscV64 => start::<mynah_riscv::RiscV>(options, resolved.program),
    }
}

fn start<A: Abi>(options: Options, program: image::Program) -> Result<Infallible, Error> {
    let actions = Actions::inherited();
    // The engine's threads are to block all signals.
    let mask = signal::set_host_mask(SigSet::ALL);
    signal::install();
    host::keep_heap_apart();
    let space = Arc::new(Space::default());
    let find = |path: &Path| process::find(&options, path);
    let image = program.load(&space, &A::INFO, &options, find).inspect_err(|_| {
        signal::set_host_mask(mask);
    })?;
    let engine = Engine::<A>::new(options.config, Arc::clone(&space) as _).map_err(|error| {
        signal::set_host_mask(mask);
        let text = format!("no memory for compiled code: {error}");
        Error { path: program.path.clone(), errno: Errno::ENOMEM, text }
    })?;
    let weak = Arc::downgrade(&engine);
    space.connect(move |range| {
        if let Some(engine) = weak.upgrade() {
            engine.invalidate(range);
        }
    });
    let debugger = options.gdb.as_ref().map(|address| {
        let (engine, space) = (Arc::clone(&engine), Arc::clone(&space));
        debugger::listen::<A>(address, &program.path, engine, space, image.auxv.clone())
    });
    let debugger = debugger.transpose().inspect_err(|_| {
        signal::set_host_mask(mask);
    })?;
    set_name(&program);
    let exe = program.path.clone();
    // Closes its file: descriptors are the guest's.
    drop(program);
    let mut vcpu = Vcpu::new(Arc::clone(&engine), Flat);
    vcpu.cpu.core.pc = image.entry;
    A::set_sp(&mut vcpu.cpu.state, image.sp);
    let process = Process {
        abi: const { &A::INFO },
        calls: Arc::new(CallTable::new(&A::INFO)),
        options: Arc::new(options),
        space,
        actions: Arc::new(actions),
        exe,
        image: Arc::new(image),
        threads: Arc::new(AtomicUsize::new(1)),
        leader_status: Arc::new(AtomicI32::new(0)),
        first_tid: Thread::id(),
        started: Instant::now(),
    };
    let thread = Thread {
        process: Arc::new(process),
        pending: Pending::new(&vcpu.cpu.core.attention),
        mask: mask.less(SigSet::FIXED),
        alt_stack: AltStack::NONE,
        clear_tid: 0,
        robust_list: 0,
        began: None,
    };
    let mut task = Task::new(thread, engine);
    let pending = std::ptr::from_ref(&*task.thread.pending);
    let binding = signal::bind(pending);
    if let Some(control) = debugger {
        task.join(&control, &vcpu.cpu);
    }
    task.run(&mut vcpu);
    drop(binding);
    task.thread.process.leader_status.store(task.status, Ordering::Release);
    task.end();
    // The others go on; the last of them ends the process.
    loop {
        std::thread::park();
    }
}

/// Names the process after its program, as execve(2) does.
fn set_name(program: &image::Program) {
    let name = program.name.file_name().unwrap_or_default().as_encoded_bytes();
    let mut bytes = [0_u8; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name[..len]);
    let set = libc::PR_SET_NAME as u64;
    _ = host::call(libc::SYS_prctl, [set, bytes.as_ptr() as u64, 0, 0, 0, 0]);
}
