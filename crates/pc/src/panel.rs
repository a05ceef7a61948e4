//! The user's hold on the machine: monitors and debuggers, which stay when a reset makes another
//! machine.

use crate::board::{Board, End};
use crate::monitor::{EDIT_MAX, PROMPT};
use crate::processor::Guest;
use crate::signals;
use mynah_debug::gdb::{self, Width};
use mynah_debug::{Address, Control, Listener, Stream, Switch};
use parking_lot::Mutex;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The switches of a machine, or of one machine after the other.
pub struct Panel {
    pub(crate) control: Arc<Control<Guest>>,
    /// Where monitors and debuggers are listened for.
    addresses: Vec<Address>,
    /// What a signal ends.
    machine: Arc<Mutex<Weak<Board>>>,
}

impl Panel {
    /// For a machine that begins to run when it is turned on, or waits for `cont` or a debugger.
    pub fn new(switch: Switch) -> Panel {
        Panel { control: Control::new(switch), addresses: Vec::new(), machine: Arc::default() }
    }

    /// Has SIGHUP, SIGINT and SIGTERM end the machine with [`End::Signal`]. A second one, or one that
    /// comes while no machine runs, ends the process. To be called before there are other threads.
    ///
    /// # Errors
    /// The host has no threads.
    pub fn heed_signals(&self) -> io::Result<()> {
        let machine = self.machine.clone();
        signals::heed(move |signal| {
            let board = std::mem::take(&mut *machine.lock()).upgrade();
            board.map(|board| board.end(End::Signal(signal))).is_some()
        })
    }

    /// `board` is what a signal ends from now on.
    pub(crate) fn connect(&self, board: &Arc<Board>) {
        *self.machine.lock() = Arc::downgrade(board);
    }

    /// Listens for monitors: whoever connects is asked for commands.
    ///
    /// # Errors
    /// The address cannot be listened on, or the host has no threads.
    pub fn monitor(&mut self, address: &Address) -> io::Result<()> {
        let control = self.control.clone();
        let listener = self.listen(address)?;
        spawn("mynah-monitor", move || serve(&listener, &control))
    }

    /// Listens for debuggers that speak gdb's protocol, one at a time.
    ///
    /// # Errors
    /// The address cannot be listened on, or the host has no threads.
    pub fn gdb(&mut self, address: &Address, width: Width) -> io::Result<()> {
        let control = self.control.clone();
        let listener = self.listen(address)?;
        spawn("mynah-gdb", move || {
            if let Err(error) = gdb::serve(&listener, &control, width) {
                tracing::warn!("no debugger can connect any more: {error}");
            }
        })
    }

    fn listen(&mut self, address: &Address) -> io::Result<Listener> {
        let listener = address.listen()?;
        self.addresses.push(address.clone());
        Ok(listener)
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        self.addresses.iter().for_each(Address::clean);
    }
}

/// How long a command waits for a machine that is being reset.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the monitor answers to a command.
pub(crate) fn command(control: &Control<Guest>, line: &str) -> String {
    let begun = Instant::now();
    loop {
        match control.machine() {
            Some(machine) => return machine.command(line).unwrap_or_default(),
            None if begun.elapsed() > PATIENCE => {
                return "The machine is being reset: try again.\n".to_owned();
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Answers the monitors that connect.
fn serve(listener: &Listener, control: &Arc<Control<Guest>>) {
    loop {
        let served = listener.accept().and_then(|stream| {
            let control = control.clone();
            spawn("mynah-monitor", move || {
                // The user has gone, and nobody is left to be told.
                let _ = converse(stream, &control);
            })
        });
        if let Err(error) = served {
            tracing::warn!("no monitor can connect any more: {error}");
            return;
        }
    }
}

/// Answers the commands of one user.
fn converse(stream: Stream, control: &Control<Guest>) -> io::Result<()> {
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        output.write_all(PROMPT.as_bytes())?;
        let mut line = Vec::new();
        let count = input.by_ref().take(EDIT_MAX as u64).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(());
        }
        let answer = command(control, &String::from_utf8_lossy(&line));
        output.write_all(answer.as_bytes())?;
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
