//! gdb's remote serial protocol (the manual's appendix of this name), spoken by `gdbstub`.
//!
//! A debugger finds the vCPUs as threads. It stops all of them or none. Breakpoints are the
//! engine's, which stops before an instruction without changing guest memory; watchpoints are the
//! guest's lift's.

mod signals;
mod target;

use crate::control::{Control, Ended};
use crate::registers::Inspect;
use crate::seat::Stop;
use crate::{Listener, Stream};
use gdbstub::common::{Signal, Tid};
use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub, MultiThreadStopReason};
use gdbstub::target::ext::breakpoints::WatchKind;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use target::Session;

/// Which registers a debugger is told of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Width {
    /// The architecture's own.
    #[default]
    Full,
    /// Those of its 32-bit kind: i386 for x86.
    Narrow,
}

/// Bytes of a packet.
const PACKET: usize = 16 << 10;

/// What a session waits for.
enum Message {
    /// The debugger has sent this.
    Bytes(Vec<u8>),
    /// The debugger is gone.
    Closed,
    /// Something has happened to the machine.
    News,
}

/// Serves the debuggers that connect, one after the other, for as long as the process lives. While
/// one is connected, the machine stops when it says so; when it has gone, the guest goes on.
///
/// # Errors
/// Nobody can connect any more.
pub fn serve<G: Inspect>(
    listener: &Listener,
    control: &Arc<Control<G>>,
    width: Width,
) -> io::Result<()> {
    loop {
        let stream = listener.accept()?;
        match session(stream, control, width) {
            Ok(End::Left) => {}
            Ok(End::Killed) => {
                if let Some(machine) = control.machine() {
                    machine.kill();
                }
            }
            Ok(End::Told) => return Ok(()),
            Err(error) => tracing::warn!("the debugger's connection has ended: {error}"),
        }
        control.release();
    }
}

/// How a session has ended.
enum End {
    /// The debugger has gone.
    Left,
    /// It wants the machine to end.
    Killed,
    /// It knows that the machine has ended.
    Told,
}

/// The writing end of the connection, which sends whole packets.
struct Wire {
    stream: Stream,
    unsent: Vec<u8>,
}

impl Connection for Wire {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.unsent.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&std::mem::take(&mut self.unsent))
    }
}

fn session<G: Inspect>(stream: Stream, control: &Arc<Control<G>>, width: Width) -> io::Result<End> {
    let (send, messages) = mpsc::channel();
    let reader = stream.try_clone()?;
    let sender = send.clone();
    let thread = std::thread::Builder::new().name("mynah-gdb-input".to_owned());
    thread.spawn(move || read(reader, &sender))?;
    control.listen(Some(Arc::new(move || {
        // The session is over: nobody wants to know.
        let _ = send.send(Message::News);
    })));
    control.wait_for_vcpus();
    control.stop();
    let closer = stream.try_clone()?;
    let wire = Wire { stream, unsent: Vec::new() };
    let end = talk(wire, control, width, &messages);
    control.listen(None);
    closer.close();
    end
}

/// Hands on what the debugger sends.
fn read(mut stream: Stream, messages: &Sender<Message>) {
    let mut buffer = [0; 4096];
    loop {
        let message = match stream.read(&mut buffer) {
            Ok(0) => Message::Closed,
            Ok(count) => Message::Bytes(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => Message::Closed,
        };
        let last = matches!(message, Message::Closed);
        if messages.send(message).is_err() || last {
            return;
        }
    }
}

fn talk<G: Inspect>(
    wire: Wire,
    control: &Arc<Control<G>>,
    width: Width,
    messages: &Receiver<Message>,
) -> io::Result<End> {
    let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    let mut session = Session::new(control.clone(), width);
    let stub = GdbStub::builder(wire).packet_buffer_size(PACKET).build();
    let stub = stub.map_err(|error| failed(&error))?;
    let mut machine = stub.run_state_machine(&mut session).map_err(|error| failed(&error))?;
    let mut input = Vec::new().into_iter();
    loop {
        machine = match machine {
            GdbStubStateMachine::Disconnected(mut stub) => {
                return Ok(match stub.get_reason() {
                    DisconnectReason::Kill => {
                        // The answer to vKill, for which `gdbstub` has none; nobody reads one to k.
                        let _ = stub.borrow_conn().stream.write_all(b"$OK#9a");
                        End::Killed
                    }
                    DisconnectReason::Disconnect => End::Left,
                    _ => End::Told,
                });
            }
            GdbStubStateMachine::CtrlCInterrupt(stub) => {
                control.stop();
                let reason = session.interrupted();
                stub.interrupt_handled(&mut session, Some(reason))
            }
            GdbStubStateMachine::Running(stub) if session.has_news() => {
                let reason = session.news();
                let known = stub.report_stop(&mut session, reason);
                if control.ended().is_some() {
                    control.told();
                }
                known
            }
            GdbStubStateMachine::Running(stub) => match next(&mut input, messages) {
                Some(Some(byte)) => stub.incoming_data(&mut session, byte),
                Some(None) => Ok(stub.into()),
                None => return Ok(End::Left),
            },
            GdbStubStateMachine::Idle(stub) => match next(&mut input, messages) {
                Some(Some(byte)) => stub.incoming_data(&mut session, byte),
                Some(None) if control.ended().is_some() => return Ok(End::Told),
                // Another has let the machine go on, and it has come to a breakpoint.
                Some(None) if control.is_running() && control.take_stop().is_some() => {
                    control.stop();
                    Ok(stub.into())
                }
                Some(None) => Ok(stub.into()),
                None => return Ok(End::Left),
            },
        }
        .map_err(|error| failed(&error))?;
    }
}

/// Waits for the next byte; an empty answer if there is news of the machine, none if the debugger
/// is gone.
#[expect(clippy::option_option, reason = "gone, news, a byte")]
fn next(input: &mut std::vec::IntoIter<u8>, messages: &Receiver<Message>) -> Option<Option<u8>> {
    loop {
        if let Some(byte) = input.next() {
            return Some(Some(byte));
        }
        match messages.recv() {
            Ok(Message::Bytes(bytes)) => *input = bytes.into_iter(),
            Ok(Message::News) => return Some(None),
            Ok(Message::Closed) | Err(_) => return None,
        }
    }
}

impl<G: Inspect> Session<G> {
    /// Whether a machine that was running has stopped or ended.
    fn has_news(&mut self) -> bool {
        if self.stopped.is_none() {
            self.stopped = self.control.take_stop();
        }
        self.stopped.is_some() || !self.control.is_running() || self.control.ended().is_some()
    }

    /// Stops the machine, as it has news, and says which.
    fn news(&mut self) -> MultiThreadStopReason<u64> {
        if let Some(ended) = self.control.ended() {
            return match ended {
                Ended::Exited(status) => MultiThreadStopReason::Exited(status),
                Ended::Killed(signal) => MultiThreadStopReason::Terminated(signals::to_gdb(signal)),
            };
        }
        let Some((id, stop)) = self.stopped.take() else { return self.interrupted() };
        self.control.stop();
        let Some(tid) = tid(id) else { return self.interrupted() };
        match stop {
            Stop::Breakpoint => MultiThreadStopReason::SwBreak(tid),
            Stop::Step => MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGTRAP },
            Stop::Watch { va, kind } => {
                let kind = match kind {
                    crate::WatchKind::Read => WatchKind::Read,
                    crate::WatchKind::Write => WatchKind::Write,
                    crate::WatchKind::Access => WatchKind::ReadWrite,
                };
                MultiThreadStopReason::Watch { tid, kind, addr: va }
            }
            Stop::Signal(number) => {
                let signal = signals::to_gdb(number);
                MultiThreadStopReason::SignalWithThread { tid, signal }
            }
        }
    }

    /// The machine has stopped because somebody wanted it to.
    fn interrupted(&self) -> MultiThreadStopReason<u64> {
        let signal = Signal::SIGINT;
        match self.control.seats().first().and_then(|seat| tid(seat.id())) {
            Some(tid) => MultiThreadStopReason::SignalWithThread { tid, signal },
            None => MultiThreadStopReason::Signal(signal),
        }
    }
}

/// A vCPU's number as gdb's thread.
fn tid(id: u64) -> Option<Tid> {
    Tid::new(usize::try_from(id).ok()?)
}
