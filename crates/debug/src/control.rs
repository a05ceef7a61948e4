//! All vCPUs of a machine: stopping and resuming them, breakpoints and watchpoints.

use crate::Watch;
use crate::registers::Inspect;
use crate::seat::{Pass, Run, Seat, Stop};
use mynah_guest::{Cpu, Guest};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What differs between machines.
pub trait Machine<G: Guest>: Send + Sync {
    /// Makes vCPUs stop before the instructions at these virtual addresses, in place of any before.
    fn set_breakpoints(&self, pcs: &BTreeSet<u64>);

    /// Copies guest memory at virtual address `va` into `buffer` as far as there is any; how much.
    /// Rights do not count, and nothing that the guest could see changes.
    fn read(&self, cpu: &mut Cpu<G>, va: u64, buffer: &mut [u8]) -> usize;

    /// Copies `bytes` into guest memory at virtual address `va`; whether all of it is there and
    /// takes them.
    fn write(&self, cpu: &mut Cpu<G>, va: u64, bytes: &[u8]) -> bool;

    /// How many vCPUs there are from the beginning.
    fn vcpus(&self) -> usize {
        1
    }

    /// All vCPUs are stopped.
    fn stopped(&self) {}

    /// The vCPUs are about to go on.
    fn resumes(&self) {}

    /// Ends the machine at once.
    fn kill(&self);

    /// The auxiliary vector of a process, as the program's loader finds it.
    fn auxiliary_vector(&self) -> Option<Vec<u8>> {
        None
    }

    /// The answer to a command of the debugger's user, if the machine has commands.
    fn command(&self, _line: &str) -> Option<String> {
        None
    }
}

/// How a machine ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// With this status.
    Exited(u8),
    /// By the signal of this number.
    Killed(i32),
}

/// The vCPUs of a machine, or of one machine after the other: a reset makes another.
pub struct Control<G: Guest> {
    inner: Mutex<Inner<G>>,
    /// `seats` or `told` has changed.
    changed: Condvar,
    /// Held by those who stop or resume the machine.
    switch: Mutex<()>,
}

struct Inner<G: Guest> {
    machine: Option<Arc<dyn Machine<G>>>,
    seats: BTreeMap<u64, Arc<Seat<G>>>,
    running: bool,
    /// Why vCPUs have stopped by themselves.
    stops: VecDeque<(u64, Stop)>,
    breakpoints: BTreeSet<u64>,
    watches: Vec<Watch>,
    ended: Option<Ended>,
    /// The debugger knows how the machine has ended.
    told: bool,
    /// Called when there is something new of that.
    listener: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// What the machine does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// It executes guest code from the beginning.
    Running,
    /// Its vCPUs wait before their first instruction.
    Stopped,
}

impl<G: Inspect> Control<G> {
    /// No vCPUs yet.
    pub fn new(switch: Switch) -> Arc<Control<G>> {
        let inner = Inner {
            machine: None,
            seats: BTreeMap::new(),
            running: switch == Switch::Running,
            stops: VecDeque::new(),
            breakpoints: BTreeSet::new(),
            watches: Vec::new(),
            ended: None,
            told: false,
            listener: None,
        };
        let (inner, changed) = (Mutex::new(inner), Condvar::new());
        Arc::new(Control { inner, changed, switch: Mutex::new(()) })
    }

    /// From now on the vCPUs are those of `machine`.
    pub fn connect(&self, machine: Arc<dyn Machine<G>>) {
        let mut inner = self.inner.lock();
        inner.seats.clear();
        inner.stops.clear();
        machine.set_breakpoints(&inner.breakpoints);
        if !inner.running {
            machine.stopped();
        }
        inner.machine = Some(machine);
    }

    /// The machine is no more.
    pub fn disconnect(&self) {
        let mut inner = self.inner.lock();
        inner.machine = None;
        inner.seats.clear();
        inner.stops.clear();
    }

    /// A seat for vCPU `id` (not 0), which waits there if the machine is stopped. `wake` makes the
    /// vCPU's thread call [`Seat::attend`] soon.
    pub fn join(
        self: &Arc<Self>,
        id: u64,
        name: String,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Seat<G>> {
        let mut inner = self.inner.lock();
        let run = if inner.running { Run::Free } else { Run::Stopped };
        let seat = Seat::new(id, name, run, Box::new(wake), self);
        inner.seats.insert(id, seat.clone());
        let watches = inner.watches.clone();
        drop(inner);
        self.changed.notify_all();
        if !watches.is_empty() {
            seat.tell(move |cpu| G::set_watches(cpu, &watches));
        }
        seat
    }

    /// The machine.
    pub fn machine(&self) -> Option<Arc<dyn Machine<G>>> {
        self.inner.lock().machine.clone()
    }

    /// The vCPUs, in the order of their numbers.
    pub fn seats(&self) -> Vec<Arc<Seat<G>>> {
        self.inner.lock().seats.values().cloned().collect()
    }

    /// vCPU `id`.
    pub fn seat(&self, id: u64) -> Option<Arc<Seat<G>>> {
        self.inner.lock().seats.get(&id).cloned()
    }

    /// Whether the machine executes guest code.
    pub fn is_running(&self) -> bool {
        self.inner.lock().running
    }

    /// Stops the machine; whether all vCPUs have stopped within a few seconds. Not to be called by
    /// a vCPU's thread.
    pub fn stop(&self) -> bool {
        let _alone = self.switch.lock();
        let (seats, machine) = {
            let mut inner = self.inner.lock();
            inner.running = false;
            (inner.seats.values().cloned().collect::<Vec<_>>(), inner.machine.clone())
        };
        seats.iter().for_each(|seat| seat.set_run(Run::Stopped, Pass::Same));
        // All are asked before the first is waited for.
        let parked = seats.iter().filter(|seat| seat.wait_parked()).count();
        if let Some(machine) = machine {
            machine.stopped();
        }
        self.notify();
        parked == seats.len()
    }

    /// Lets all vCPUs go on.
    pub fn resume(&self) {
        self.resume_as(|_| Some((Run::Free, Pass::Same)));
    }

    /// Lets the vCPUs go on as `how` says of each; those of which it says nothing stay.
    pub(crate) fn resume_as(&self, how: impl Fn(u64) -> Option<(Run, Pass)>) {
        let _alone = self.switch.lock();
        let (seats, machine) = {
            let mut inner = self.inner.lock();
            inner.running = true;
            // What others stopped for at the same time shows again when they go on.
            inner.stops.retain(|(_, stop)| matches!(stop, Stop::Watch { .. } | Stop::Signal(_)));
            // Single steps do not look at breakpoints: then a change of them waits, as the debugger
            // takes the one away that it steps over.
            let free = |id: &u64| matches!(how(*id), Some((Run::Free, _)));
            if let Some(machine) = &inner.machine
                && inner.seats.keys().any(free)
            {
                machine.set_breakpoints(&inner.breakpoints);
            }
            // Who has stopped for something that nobody knows yet waits until it is known.
            let waits = |id: &u64| inner.stops.iter().any(|(of, _)| of == id);
            let seats = inner.seats.iter().filter(|(id, _)| !waits(id)).map(|(_, seat)| seat);
            (seats.cloned().collect::<Vec<_>>(), inner.machine.clone())
        };
        if let Some(machine) = machine {
            machine.resumes();
        }
        for seat in seats {
            if let Some((run, pass)) = how(seat.id()) {
                seat.set_run(run, pass);
            }
        }
        self.notify();
    }

    /// Adds a breakpoint, or takes it away; it counts when the machine goes on.
    pub(crate) fn set_breakpoint(&self, pc: u64, on: bool) {
        let mut inner = self.inner.lock();
        if on {
            inner.breakpoints.insert(pc);
        } else {
            inner.breakpoints.remove(&pc);
        }
    }

    /// Adds a watchpoint, or takes it away.
    pub(crate) fn set_watch(&self, watch: Watch, on: bool) {
        let mut inner = self.inner.lock();
        inner.watches.retain(|known| *known != watch);
        if on {
            inner.watches.push(watch);
        }
        let (seats, watches) = (inner.seats.clone(), inner.watches.clone());
        drop(inner);
        for seat in seats.into_values() {
            let watches = watches.clone();
            seat.tell(move |cpu| G::set_watches(cpu, &watches));
        }
    }

    /// Takes all breakpoints and watchpoints away, and lets the machine go on.
    pub(crate) fn release(&self) {
        let watches = {
            let mut inner = self.inner.lock();
            inner.listener = None;
            inner.breakpoints.clear();
            inner.stops.clear();
            inner.watches.clone()
        };
        watches.into_iter().for_each(|watch| self.set_watch(watch, false));
        self.resume();
    }

    /// Waits until the machine has its vCPUs.
    pub(crate) fn wait_for_vcpus(&self) {
        let mut inner = self.inner.lock();
        let count = |inner: &Inner<G>| inner.machine.as_ref().map_or(1, |machine| machine.vcpus());
        while inner.ended.is_none() && inner.seats.len() < count(&inner) {
            self.changed.wait(&mut inner);
        }
    }

    /// What vCPU `id` stopped for.
    pub(crate) fn take_stop(&self) -> Option<(u64, Stop)> {
        self.inner.lock().stops.pop_front()
    }

    /// Has `listener` called whenever something happens that a debugger wants to know.
    pub(crate) fn listen(&self, listener: Option<Arc<dyn Fn() + Send + Sync>>) {
        self.inner.lock().listener = listener;
        self.changed.notify_all();
    }

    /// The debugger knows how the machine has ended.
    pub(crate) fn told(&self) {
        self.inner.lock().told = true;
        self.changed.notify_all();
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.inner.lock().ended
    }
}

impl<G: Guest> Control<G> {
    /// vCPU `id` has stopped; whether there is somebody to be told.
    pub(crate) fn report(&self, id: u64, why: Stop) -> bool {
        let mut inner = self.inner.lock();
        let Some(listener) = inner.listener.clone() else { return false };
        inner.stops.push_back((id, why));
        drop(inner);
        listener();
        true
    }

    pub(crate) fn forget(&self, id: u64) {
        let mut inner = self.inner.lock();
        inner.seats.remove(&id);
        inner.stops.retain(|(of, _)| *of != id);
    }

    /// The machine has ended with this status, or by the signal of this number. Waits until the
    /// debugger has been told, if there is one.
    pub fn end(&self, status: Result<u8, i32>) {
        self.inner.lock().ended = Some(match status {
            Ok(status) => Ended::Exited(status),
            Err(signal) => Ended::Killed(signal),
        });
        self.changed.notify_all();
        self.notify();
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut inner = self.inner.lock();
        while inner.listener.is_some() && !inner.told {
            if self.changed.wait_until(&mut inner, deadline).timed_out() {
                return;
            }
        }
    }

    fn notify(&self) {
        let listener = self.inner.lock().listener.clone();
        if let Some(listener) = listener {
            listener();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seat::Next;
    use mynah_mem::Flat;
    use mynah_riscv::RiscV;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::mpsc;

    /// Counts what it is told.
    #[derive(Default)]
    struct Told {
        stopped: AtomicU64,
        resumed: AtomicU64,
        breakpoints: Mutex<BTreeSet<u64>>,
    }

    impl Machine<RiscV> for Told {
        fn set_breakpoints(&self, pcs: &BTreeSet<u64>) {
            *self.breakpoints.lock() = pcs.clone();
        }

        fn read(&self, _: &mut Cpu<RiscV>, _: u64, _: &mut [u8]) -> usize {
            0
        }

        fn write(&self, _: &mut Cpu<RiscV>, _: u64, _: &[u8]) -> bool {
            false
        }

        fn stopped(&self) {
            self.stopped.fetch_add(1, Ordering::SeqCst);
        }

        fn resumes(&self) {
            self.resumed.fetch_add(1, Ordering::SeqCst);
        }

        fn kill(&self) {}
    }

    /// A vCPU whose instructions add 4 to the pc, until it is told to end.
    fn vcpu(control: &Arc<Control<RiscV>>, id: u64, end: &Arc<AtomicBool>) -> Arc<Seat<RiscV>> {
        let seat = control.join(id, format!("vCPU {id}"), || {});
        let (own, end) = (seat.clone(), end.clone());
        std::thread::spawn(move || {
            let mut cpu = Cpu::<RiscV>::new(Flat);
            while !end.load(Ordering::SeqCst) {
                if own.attend(&mut cpu) == Next::Step {
                    own.begin_step();
                }
                cpu.core.pc += 4;
            }
            own.leave();
        });
        seat
    }

    fn pc(seat: &Seat<RiscV>) -> u64 {
        seat.ask(|cpu| cpu.core.pc).expect("it answers")
    }

    #[test]
    fn vcpus_stop_answer_step_and_go_on() {
        let (control, end) = (Control::<RiscV>::new(Switch::Stopped), Arc::default());
        let machine = Arc::new(Told::default());
        control.connect(machine.clone());
        let (one, two) = (vcpu(&control, 1, &end), vcpu(&control, 2, &end));
        assert_eq!((pc(&one), pc(&two)), (0, 0), "they wait before their first instruction");
        control.resume();
        while pc(&one) == 0 || pc(&two) == 0 {}
        assert!(control.stop() && !control.is_running());
        let (at, of_two) = (pc(&one), pc(&two));
        assert_eq!((pc(&one), pc(&two)), (at, of_two), "they stand");
        assert!(machine.stopped.load(Ordering::SeqCst) >= 2);

        // A single step of one, which is told; the other stays.
        let (news, told) = mpsc::channel();
        control.listen(Some(Arc::new(move || news.send(()).unwrap_or_default())));
        control.set_breakpoint(0x1000, true);
        control.resume_as(|id| (id == 1).then_some((Run::Step, Pass::Other(None))));
        while control.take_stop().inspect(|stop| assert_eq!(*stop, (1, Stop::Step))).is_none() {
            told.recv().expect("there is news");
        }
        assert!(control.stop());
        assert_eq!((pc(&one), pc(&two)), (at + 4, of_two));
        assert!(machine.breakpoints.lock().is_empty(), "steps do not look at them");
        control.resume();
        assert_eq!(machine.breakpoints.lock().first(), Some(&0x1000));

        // Whoever stops by itself waits only if somebody knows.
        control.release();
        assert!(machine.breakpoints.lock().is_empty());
        one.stop(Stop::Breakpoint);
        let at = pc(&one);
        while pc(&one) == at {}
        end.store(true, Ordering::SeqCst);
        while !control.seats().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(one.ask(|_| ()), None, "it has gone");
    }

    #[test]
    fn the_debugger_decides_on_signals() {
        let control = Control::<RiscV>::new(Switch::Running);
        let seat = control.join(1, String::new(), || {});
        let mut cpu = Cpu::<RiscV>::new(Flat);
        assert_eq!(seat.signal(&mut cpu, 10), Some(10), "there is none");
        let (send, told) = mpsc::channel();
        control.listen(Some(Arc::new(move || send.send(()).unwrap_or_default())));
        for (pass, seen) in
            [(Pass::Other(None), None), (Pass::Other(Some(12)), Some(12)), (Pass::Same, Some(10))]
        {
            let thread = {
                let seat = seat.clone();
                std::thread::spawn(move || seat.signal(&mut Cpu::<RiscV>::new(Flat), 10))
            };
            while control.take_stop() != Some((1, Stop::Signal(10))) {
                told.recv().expect("there is news");
            }
            control.resume_as(|_| Some((Run::Free, pass)));
            assert_eq!(thread.join().expect("it does not panic"), seen);
        }
    }
}
