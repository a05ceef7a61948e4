//! A machine's monitor, over a socket.

use super::connect;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What asks for a command.
pub(crate) const PROMPT: &str = "(mynah) ";

/// A connection.
pub(crate) struct Monitor(UnixStream);

impl Monitor {
    pub(crate) fn connect(path: &Path) -> Monitor {
        Monitor::over(connect(path)).expect("the monitor says something")
    }

    /// A monitor that has just been connected to.
    pub(crate) fn over(stream: UnixStream) -> io::Result<Monitor> {
        stream.set_read_timeout(Some(Duration::from_secs(180)))?;
        let mut monitor = Monitor(stream);
        assert_eq!(monitor.read()?, "");
        Ok(monitor)
    }

    /// What is said up to the next prompt.
    fn read(&mut self) -> io::Result<String> {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(PROMPT.as_bytes()) {
            self.0.read_exact(&mut byte)?;
            text.push(byte[0]);
        }
        text.truncate(text.len() - PROMPT.len());
        Ok(String::from_utf8(text).expect("answers are text"))
    }

    /// The answer to `command`, unless the machine ends or there is none.
    pub(crate) fn try_ask(&mut self, command: &str) -> io::Result<String> {
        self.tell(command)?;
        self.read()
    }

    /// The answer to `command`.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.try_ask(command).unwrap_or_else(|e| panic!("{e}: no answer to `{command}`"))
    }

    /// Says `command` and does not wait.
    pub(crate) fn tell(&mut self, command: &str) -> io::Result<()> {
        self.0.write_all(format!("{command}\n").as_bytes())
    }
}
