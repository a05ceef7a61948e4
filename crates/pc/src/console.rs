//! The terminal: the machine's serial console or its keyboard, and its monitor.
//!
//! Ctrl-A is the escape: X ends the machine, C changes between console and monitor, H helps, Ctrl-A
//! again is sent as it is.

use crate::display::Curtain;
use crate::keyboard::{FirmwareKeys, Typist};
use crate::monitor::{EDIT_MAX, PROMPT};
use mynah_devices::uart16550::Uart16550;
use mynah_devices::virtio;
use parking_lot::{Condvar, Mutex};
use std::io::{IsTerminal as _, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

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

const HELP: &str = "\r\nCtrl-A X  ends the machine\r\nCtrl-A C  the monitor, and back\r\n\
    Ctrl-A H  this help\r\nCtrl-A Ctrl-A  sends Ctrl-A\r\n";

/// Bytes for the serial port that wait at most.
const TYPED_MAX: usize = 64 << 10;

/// Ctrl-A.
const ESCAPE: u8 = 1;

/// What the terminal is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Focus {
    /// The serial console, or the display and the keyboard.
    Serial,
    /// The monitor.
    Monitor,
}

/// Where what is typed goes.
#[derive(Clone)]
struct Target {
    input: Arc<Mutex<Input>>,
    quit: Arc<dyn Fn() + Send + Sync>,
    command: Arc<dyn Fn(&str) -> String + Send + Sync>,
}

/// What takes what is typed.
pub(crate) enum Input {
    /// The serial port, as it has room, and the keys of a BIOS, which may listen there.
    Uart(SharedUart, Option<FirmwareKeys>),
    /// The virtio console.
    Virtio(virtio::Input),
    /// The keyboard.
    Keyboard(Box<Typist>),
    /// Nothing.
    Nowhere,
}

impl Input {
    /// Takes some of `bytes`; how many. What is not taken is offered again.
    fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Input::Uart(uart, firmware) => {
                let mut uart = uart.lock();
                // A BIOS polls.
                let count = match firmware {
                    Some(firmware) if uart.is_polled() => {
                        firmware.portion(bytes.len(), uart.unread(), Instant::now())
                    }
                    _ => bytes.len(),
                };
                uart.receive(&bytes[..count])
            }
            Input::Virtio(console) => console.receive(bytes),
            Input::Keyboard(typist) => typist.take(bytes),
            Input::Nowhere => bytes.len(),
        }
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
    /// Hides the display while the terminal is the monitor.
    curtain: Arc<Curtain>,
}

impl Console {
    /// Begins to read standard input, for the first machine that [runs](crate::Machine::run).
    pub fn new(focus: Focus) -> Console {
        let keys = Arc::new(Keys::default());
        let (reader, sender) = (keys.clone(), keys.clone());
        let (send, sent) = mpsc::sync_channel(TYPED_MAX);
        std::thread::spawn(move || reader.read(focus, &send));
        std::thread::spawn(move || sender.send(&sent));
        Console(keys)
    }

    /// What is typed from now on goes to `input`, or in the monitor to `command`, whose answer is
    /// shown; Ctrl-A X calls `quit`.
    pub(crate) fn connect(
        &self,
        input: Input,
        quit: impl Fn() + Send + Sync + 'static,
        command: impl Fn(&str) -> String + Send + Sync + 'static,
    ) {
        let (quit, command) = (Arc::new(quit), Arc::new(command));
        let input = Arc::new(Mutex::new(input));
        *self.0.target.lock() = Some(Target { input, quit, command });
        self.0.connected.notify_all();
    }

    /// What hides the display.
    pub(crate) fn curtain(&self) -> Arc<Curtain> {
        self.0.curtain.clone()
    }

    /// What is typed from now on waits for the next machine.
    pub(crate) fn disconnect(&self) {
        *self.0.target.lock() = None;
    }
}

/// The line that is being typed in the monitor.
#[derive(Default)]
struct Line {
    text: Vec<u8>,
    /// Whether what is typed is shown: it comes from a terminal, which does not do so itself.
    echo: bool,
    /// The last byte was CR: an LF behind it is part of it.
    after_cr: bool,
}

impl Line {
    /// Takes a key; the line, if that ends it.
    fn key(&mut self, byte: u8) -> Option<String> {
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match byte {
            b'\n' if after_cr => {}
            b'\r' | b'\n' => {
                self.show(b"\n");
                return Some(String::from_utf8_lossy(&std::mem::take(&mut self.text)).into_owned());
            }
            // Backspace, and Ctrl-U.
            8 | 0x7f => self.erase(1),
            0x15 => self.erase(usize::MAX),
            b' '.. if self.text.len() < EDIT_MAX => {
                self.text.push(byte);
                self.show(&[byte]);
            }
            _ => {}
        }
        None
    }

    fn erase(&mut self, count: usize) {
        for _ in 0..count.min(self.text.len()) {
            // A character is erased with all its bytes.
            while self.text.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            self.show(b"\x08 \x08");
        }
    }

    fn show(&self, bytes: &[u8]) {
        if self.echo {
            show(bytes);
        }
    }
}

impl Keys {
    /// Hands on what is typed, until standard input ends.
    fn read(&self, mut focus: Focus, serial: &SyncSender<u8>) {
        let stdin = std::io::stdin();
        let mut line = Line { echo: stdin.is_terminal(), ..Line::default() };
        let mut input = stdin.lock();
        let mut escaped = false;
        let mut buffer = [0; 256];
        if focus == Focus::Monitor {
            self.curtain.hide(true);
            show(PROMPT.as_bytes());
        }
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            for &byte in &buffer[..count] {
                match (std::mem::take(&mut escaped), byte) {
                    (false, ESCAPE) => escaped = true,
                    (true, b'x' | b'X') => (self.target().quit)(),
                    (true, b'h' | b'H' | b'?') => show(HELP.as_bytes()),
                    (true, b'c' | b'C') if focus == Focus::Serial => {
                        focus = Focus::Monitor;
                        self.curtain.hide(true);
                        show(b"\n");
                        show(PROMPT.as_bytes());
                    }
                    (true, b'c' | b'C') => {
                        focus = Focus::Serial;
                        show(b"\n");
                        self.curtain.hide(false);
                    }
                    (_, byte) if focus == Focus::Serial => {
                        // The other thread lives as long as this one.
                        let _ = serial.send(byte);
                    }
                    (_, byte) => {
                        if let Some(line) = line.key(byte) {
                            let answer = (self.target().command)(&line);
                            show(answer.as_bytes());
                            show(PROMPT.as_bytes());
                        }
                    }
                }
            }
        }
    }

    /// The machine, once there is one.
    fn target(&self) -> Target {
        let mut target = self.target.lock();
        loop {
            match &*target {
                Some(target) => return target.clone(),
                None => self.connected.wait(&mut target),
            }
        }
    }

    /// Hands on what was typed as it is taken. A guest that takes nothing keeps nobody from the
    /// escapes.
    fn send(&self, typed: &Receiver<u8>) {
        while let Ok(first) = typed.recv() {
            let bytes: Vec<u8> = std::iter::once(first).chain(typed.try_iter().take(255)).collect();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let taken = self.target().input.lock().take(rest);
                rest = &rest[taken..];
                if taken == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_edited() {
        let mut line = Line::default();
        let mut typed = |text: &[u8]| -> Vec<String> {
            text.iter().filter_map(|&byte| line.key(byte)).collect()
        };
        assert_eq!(typed(b"hexx\x7flp\r\n"), ["hexlp"]);
        assert_eq!(typed("wr\u{f6}\x08ong\x15stop\n\n".as_bytes()), ["stop", ""]);
        assert_eq!(typed(&[b'a'; 4000]), [""; 0]);
        assert_eq!(typed(b"\r").first().map(String::len), Some(EDIT_MAX));
    }
}
