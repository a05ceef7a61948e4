//! The terminal as the machine's serial console, or as its keyboard.
//!
//! Ctrl-A is the escape: X ends the machine, H helps, Ctrl-A again is sent as it is.

use mynah_devices::uart16550::Uart16550;
use parking_lot::{Condvar, Mutex};
use std::io::{Read, Write};
use std::sync::Arc;

/// The terminal's settings, which are put back when this is dropped.
pub(crate) struct Terminal(Option<Saved>);

use crate::terminal::Saved;

impl Terminal {
    /// Makes the terminal on standard input, if it is one, hand on every key as it is.
    pub(crate) fn raw() -> Terminal {
        Terminal(Saved::raw())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = self.0.take() {
            saved.restore();
        }
    }
}

const HELP: &str =
    "\r\nCtrl-A X  ends the machine\r\nCtrl-A H  this help\r\nCtrl-A Ctrl-A  sends Ctrl-A\r\n";

/// Ctrl-A.
const ESCAPE: u8 = 1;

/// Where what is typed goes.
struct Target {
    input: Input,
    quit: Box<dyn Fn() + Send>,
}

/// What takes what is typed.
pub(crate) enum Input {
    /// The serial port, as it has room.
    Uart(SharedUart),
    /// The keyboard.
    Keyboard(crate::keyboard::Typist),
    /// Nothing.
    Nowhere,
}

impl Input {
    /// Takes some of `bytes`; how many.
    fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Input::Uart(uart) => return uart.lock().receive(bytes),
            Input::Keyboard(typist) => typist(bytes),
            Input::Nowhere => {}
        }
        bytes.len()
    }
}

/// Standard input, which is typed into one machine after the other.
///
/// Only one may be made: a thread reads standard input as long as the process lives.
pub struct Console(Arc<Keys>);

#[derive(Default)]
struct Keys {
    target: Mutex<Option<Target>>,
    connected: Condvar,
}

impl Console {
    /// Begins to read standard input, for the first machine that [runs](crate::Machine::run).
    pub fn new() -> Console {
        let keys = Arc::new(Keys::default());
        let reader = keys.clone();
        std::thread::spawn(move || reader.read());
        Console(keys)
    }

    /// What is typed from now on goes to `input`; Ctrl-A X calls `quit`.
    pub(crate) fn connect(&self, input: Input, quit: impl Fn() + Send + 'static) {
        *self.0.target.lock() = Some(Target { input, quit: Box::new(quit) });
        self.0.connected.notify_all();
    }

    /// What is typed from now on waits for the next machine.
    pub(crate) fn disconnect(&self) {
        *self.0.target.lock() = None;
    }
}

impl Default for Console {
    fn default() -> Console {
        Console::new()
    }
}

impl Keys {
    /// Hands on what is typed, until standard input ends.
    fn read(&self) {
        let mut input = std::io::stdin().lock();
        let mut escaped = false;
        let mut buffer = [0; 256];
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let mut plain = Vec::with_capacity(count);
            for &byte in &buffer[..count] {
                match (std::mem::take(&mut escaped), byte) {
                    (false, ESCAPE) => escaped = true,
                    (true, b'x' | b'X') => self.with(|target| (target.quit)()),
                    (true, b'h' | b'H' | b'?') => show(HELP.as_bytes()),
                    (_, byte) => plain.push(byte),
                }
            }
            self.send(&plain);
        }
    }

    /// Calls `act` with the machine, once there is one.
    fn with<T>(&self, act: impl FnOnce(&mut Target) -> T) -> T {
        let mut target = self.target.lock();
        loop {
            match &mut *target {
                Some(target) => return act(target),
                None => self.connected.wait(&mut target),
            }
        }
    }

    /// Hands on `bytes`, as they are taken.
    fn send(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.with(|target| target.input.take(bytes));
            bytes = &bytes[taken..];
            if taken == 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
}

/// Writes `bytes` to standard output at once. An output that is closed loses them.
pub(crate) fn show(bytes: &[u8]) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(bytes).and_then(|()| output.flush());
}

/// What the uart is shared as.
pub(crate) type SharedUart = Arc<Mutex<Uart16550>>;
