//! A debugger of the process: `mynah run --gdb`.

use crate::abi::Abi;
use crate::space::Space;
use crate::thread::Thread;
use crate::{Errno, Error, host, signal};
use mynah_debug::gdb::{self, Width};
use mynah_debug::{Address, Control, Machine, Next, Seat, Stop, Switch};
use mynah_engine::{Engine, Event, Flow};
use mynah_guest::{Core, Cpu};
use mynah_mem::PAGE;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a debugger does to the process.
struct Front<A: Abi> {
    engine: Arc<Engine<A>>,
    space: Arc<Space>,
    auxiliary_vector: Vec<u8>,
}

/// Begins to listen for a debugger of `program`; the threads that join wait for it before their
/// first instruction.
///
/// # Errors
/// The address cannot be listened on, or the host has no threads.
pub(crate) fn listen<A: Abi>(
    address: &Address,
    program: &Path,
    engine: Arc<Engine<A>>,
    space: Arc<Space>,
    auxiliary_vector: Vec<u8>,
) -> Result<Arc<Control<A>>, Error> {
    let failed = |error: std::io::Error| {
        let errno = Errno(error.raw_os_error().unwrap_or(libc::EADDRINUSE));
        Error { path: program.to_owned(), errno, text: format!("--gdb: {error}") }
    };
    let listener = address.listen().map_err(failed)?;
    let control = Control::new(Switch::Stopped);
    control.connect(Arc::new(Front { engine, space, auxiliary_vector }));
    let (serves, at) = (Arc::clone(&control), address.clone());
    let thread = std::thread::Builder::new().name("mynah-gdb".to_owned());
    let served = thread.spawn(move || {
        if let Err(error) = gdb::serve(&listener, &serves, Width::Full) {
            tracing::warn!("no debugger can connect any more: {error}");
        }
        at.clean();
    });
    served.map_err(failed)?;
    Ok(control)
}

impl<A: Abi> Machine<A> for Front<A> {
    fn set_breakpoints(&self, pcs: &BTreeSet<u64>) {
        self.engine.set_breakpoints(pcs.iter().copied());
    }

    fn read(&self, _: &mut Cpu<A>, va: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let at = va.wrapping_add(done as u64);
            let count = ((PAGE - at % PAGE) as usize).min(buffer.len() - done);
            let part = &mut buffer[done..done + count];
            // What is not the guest's may be Mynah's.
            if !self.space.is_mapped(at) || self.space.read(at, part).is_err() {
                break;
            }
            done += count;
        }
        done
    }

    fn write(&self, _: &mut Cpu<A>, va: u64, bytes: &[u8]) -> bool {
        self.space.owns(va, bytes.len() as u64) && self.space.write(va, bytes).is_ok()
    }

    fn kill(&self) {
        _ = host::call(
            libc::SYS_kill,
            [std::process::id().into(), libc::SIGKILL as u64, 0, 0, 0, 0],
        );
    }

    fn auxiliary_vector(&self) -> Option<Vec<u8>> {
        Some(self.auxiliary_vector.clone())
    }
}

/// A guest thread that a debugger can stop.
pub(crate) struct Debugged<A: Abi> {
    pub(crate) control: Arc<Control<A>>,
    pub(crate) seat: Arc<Seat<A>>,
}

impl<A: Abi> Debugged<A> {
    /// The calling thread, whose vCPU has this attention word.
    pub(crate) fn new(control: &Arc<Control<A>>, attention: &Arc<AtomicU32>) -> Debugged<A> {
        let tid = Thread::id();
        let word = Arc::clone(attention);
        let wake = move || {
            word.fetch_or(Core::ATTENTION, Ordering::SeqCst);
            signal::ask(tid);
        };
        let seat = control.join(tid as u64, format!("thread {tid}"), wake);
        // It may be stopped before its first instruction.
        attention.fetch_or(Core::ATTENTION, Ordering::SeqCst);
        Debugged { control: Arc::clone(control), seat }
    }

    /// Stops the vCPU if that is what `event` means.
    pub(crate) fn look(&self, cpu: &mut Cpu<A>, event: Event) {
        match (event, A::take_watched(cpu)) {
            (Event::Breakpoint, _) => self.seat.stop(Stop::Breakpoint),
            // The access was not made.
            (Event::Fault(_), _) | (_, None) => {}
            (_, Some((va, kind))) => self.seat.stop(Stop::Watch { va, kind }),
        }
    }

    /// Does what is asked of the vCPU, and says how it goes on in place of `flow`. `again` says that
    /// the instruction has not been executed and is to be tried again.
    pub(crate) fn attend(&self, cpu: &mut Cpu<A>, flow: Flow, again: bool) -> Flow {
        let once = |cpu: &mut Cpu<A>| {
            cpu.core.attention.fetch_or(Core::ATTENTION, Ordering::SeqCst);
            Flow::Step
        };
        match flow {
            Flow::Stop => Flow::Stop,
            Flow::Step if self.seat.is_stepping() => once(cpu),
            Flow::Step => Flow::Step,
            Flow::Resume if again && self.seat.is_stepping() => once(cpu),
            Flow::Resume => match self.seat.attend(cpu) {
                Next::Run => Flow::Resume,
                Next::Step => {
                    self.seat.begin_step();
                    once(cpu)
                }
            },
        }
    }
}
