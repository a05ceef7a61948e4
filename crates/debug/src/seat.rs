//! A vCPU as other threads reach it.

use crate::control::Control;
use mynah_guest::{Cpu, Guest};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A vCPU that has not answered for so long does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a vCPU is asked to do between two instructions.
type Job<G> = Box<dyn FnOnce(&mut Cpu<G>) + Send>;

/// Why a vCPU has stopped by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It has come to a breakpoint, at which the pc is.
    Breakpoint,
    /// It has executed the one instruction it was asked to.
    Step,
    /// An instruction has made an access that is watched, at this address. The pc is behind it.
    Watch {
        /// The first byte of the access that is watched.
        va: u64,
        /// What is watched there.
        kind: crate::WatchKind,
    },
    /// The signal of this number is about to be delivered to the program, which has not seen it.
    Signal(i32),
}

/// What the vCPU's thread does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It goes on.
    Run,
    /// It executes one instruction by itself, having called [`Seat::begin_step`].
    Step,
}

/// Which signal the program sees after it has stopped for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    /// That one.
    Same,
    /// This one, or none.
    Other(Option<i32>),
}

/// How a vCPU is to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Run {
    Free,
    /// One instruction.
    Step,
    /// As `Step`, when the instruction has begun.
    Stepping,
    Stopped,
}

/// Where requests to one vCPU are left.
pub struct Seat<G: Guest> {
    id: u64,
    name: String,
    inner: Mutex<Inner<G>>,
    changed: Condvar,
    /// There may be something in `inner` to attend to: vCPUs look often, and mostly for nothing.
    due: AtomicBool,
    /// Makes the vCPU's thread call [`Seat::attend`] soon, whatever it waits for.
    wake: Box<dyn Fn() + Send + Sync>,
    control: Weak<Control<G>>,
}

struct Inner<G: Guest> {
    jobs: VecDeque<Job<G>>,
    run: Run,
    /// The vCPU's thread waits here, as `run` says.
    parked: bool,
    /// The vCPU's thread comes here no more.
    left: bool,
    /// The signal for which it has stopped, or what the debugger has made of it.
    signal: Option<i32>,
}

impl<G: Guest> Seat<G> {
    pub(crate) fn new(
        id: u64,
        name: String,
        run: Run,
        wake: Box<dyn Fn() + Send + Sync>,
        control: &Arc<Control<G>>,
    ) -> Arc<Seat<G>> {
        let inner = Inner { jobs: VecDeque::new(), run, parked: false, left: false, signal: None };
        let control = Arc::downgrade(control);
        let (inner, changed, due) = (Mutex::new(inner), Condvar::new(), AtomicBool::new(true));
        Arc::new(Seat { id, name, inner, changed, due, wake, control })
    }

    /// The vCPU's number: not 0.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What people call the vCPU.
    pub fn name(&self) -> &str {
        &self.name
    }

    // ── for the vCPU's thread ────────────────────────────────────────────────────────────────

    /// Does what others ask of the vCPU, and waits while it is stopped. To be called between two
    /// instructions: when the vCPU reports that it was asked for attention, and behind each
    /// single step.
    pub fn attend(&self, cpu: &mut Cpu<G>) -> Next {
        if !self.due.load(Ordering::SeqCst) {
            return Next::Run;
        }
        let mut inner = self.inner.lock();
        loop {
            if inner.left {
                return Next::Run;
            }
            if let Some(job) = inner.jobs.pop_front() {
                MutexGuard::unlocked(&mut inner, || job(cpu));
                continue;
            }
            match inner.run {
                Run::Free => {
                    // Whoever has something new waits for the lock, and says so then.
                    self.due.store(false, Ordering::SeqCst);
                    return Next::Run;
                }
                Run::Step => return Next::Step,
                Run::Stepping => self.report(&mut inner, Stop::Step),
                Run::Stopped => {
                    if !inner.parked {
                        inner.parked = true;
                        self.changed.notify_all();
                    }
                    self.changed.wait(&mut inner);
                }
            }
        }
    }

    /// Whether [`Seat::attend`] would do something before a vCPU that sleeps is woken by the guest:
    /// a single step of such a one waits for that.
    pub fn is_wanted(&self) -> bool {
        let inner = self.inner.lock();
        let is_due = matches!(inner.run, Run::Stopped | Run::Stepping);
        !inner.left && (is_due || !inner.jobs.is_empty())
    }

    /// The single step begins: the next call of [`Seat::attend`] ends it.
    pub fn begin_step(&self) {
        let mut inner = self.inner.lock();
        if inner.run == Run::Step {
            inner.run = Run::Stepping;
        }
    }

    /// Whether the single step has begun.
    pub fn is_stepping(&self) -> bool {
        self.inner.lock().run == Run::Stepping
    }

    /// The vCPU stops by itself: it waits in the next [`Seat::attend`].
    pub fn stop(&self, why: Stop) {
        self.report(&mut self.inner.lock(), why);
    }

    /// Signal `number` is about to be delivered to the program; which one is delivered, if any.
    pub fn signal(&self, cpu: &mut Cpu<G>, number: i32) -> Option<i32> {
        let mut inner = self.inner.lock();
        inner.signal = Some(number);
        self.report(&mut inner, Stop::Signal(number));
        drop(inner);
        self.attend(cpu);
        self.inner.lock().signal.take()
    }

    /// The vCPU's thread comes here no more.
    pub fn leave(&self) {
        let mut inner = self.inner.lock();
        inner.left = true;
        inner.jobs.clear();
        self.due.store(true, Ordering::SeqCst);
        drop(inner);
        self.changed.notify_all();
        if let Some(control) = self.control.upgrade() {
            control.forget(self.id);
        }
    }

    /// Stops the vCPU, if somebody is told who can let it go on.
    fn report(&self, inner: &mut Inner<G>, why: Stop) {
        let told = self.control.upgrade().is_some_and(|control| control.report(self.id, why));
        inner.run = if told { Run::Stopped } else { Run::Free };
        self.due.store(true, Ordering::SeqCst);
    }

    // ── for others ───────────────────────────────────────────────────────────────────────────

    /// What `job` makes of the vCPU's state, in the vCPU's thread; nothing if that does not answer
    /// within a few seconds.
    pub fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Cpu<G>) -> R + Send + 'static,
    ) -> Option<R> {
        let (tell, told) = mpsc::sync_channel(1);
        let job = move |cpu: &mut Cpu<G>| {
            // Nobody listens any more: the answer came too late.
            let _ = tell.send(job(cpu));
        };
        let mut inner = self.inner.lock();
        if inner.left {
            return None;
        }
        inner.jobs.push_back(Box::new(job));
        self.due.store(true, Ordering::SeqCst);
        drop(inner);
        self.call();
        told.recv_timeout(PATIENCE).ok()
    }

    /// Has the vCPU do `job` before its next instruction.
    pub(crate) fn tell(&self, job: impl FnOnce(&mut Cpu<G>) + Send + 'static) {
        let mut inner = self.inner.lock();
        inner.jobs.push_back(Box::new(job));
        self.due.store(true, Ordering::SeqCst);
        drop(inner);
        self.call();
    }

    pub(crate) fn set_run(&self, run: Run, pass: Pass) {
        let mut inner = self.inner.lock();
        self.due.store(true, Ordering::SeqCst);
        inner.run = run;
        inner.parked &= run == Run::Stopped;
        if let Pass::Other(signal) = pass {
            inner.signal = signal;
        }
        drop(inner);
        self.call();
    }

    /// Waits until the vCPU's thread waits; whether it does.
    pub(crate) fn wait_parked(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        let mut inner = self.inner.lock();
        while !inner.parked && !inner.left && inner.run == Run::Stopped {
            if self.changed.wait_until(&mut inner, deadline).timed_out() {
                return false;
            }
        }
        true
    }

    fn call(&self) {
        self.changed.notify_all();
        (self.wake)();
    }
}
