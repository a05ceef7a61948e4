//! The terminal as the machine's serial console.
//!
//! Ctrl-A is the escape: X ends the machine, H helps, Ctrl-A again is sent as it is.

use mynah_devices::uart16550::Uart16550;
use parking_lot::Mutex;
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

/// Hands what is typed to `uart`, until standard input ends or `quit` is called for.
pub(crate) fn type_into(uart: &Mutex<Uart16550>, quit: impl Fn()) {
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
                (true, b'x' | b'X') => return quit(),
                (true, b'h' | b'H' | b'?') => show(HELP.as_bytes()),
                (_, byte) => plain.push(byte),
            }
        }
        send(uart, &plain);
    }
}

/// Hands `bytes` to `uart`, as it takes them.
fn send(uart: &Mutex<Uart16550>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = uart.lock().receive(bytes);
        bytes = &bytes[taken..];
        if taken == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Writes `bytes` to standard output at once. An output that is closed loses them.
pub(crate) fn show(bytes: &[u8]) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(bytes).and_then(|()| output.flush());
}

/// A sink for the serial port's output.
pub(crate) fn sink() -> impl FnMut(&[u8]) + Send + 'static {
    |bytes: &[u8]| show(bytes)
}

/// What the uart is shared as.
pub(crate) type SharedUart = Arc<Mutex<Uart16550>>;
