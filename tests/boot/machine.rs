//! `mynah boot` as tests start it, and the guests that they boot.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A machine that runs longer hangs.
const PATIENCE: Duration = Duration::from_secs(400);

/// Between two characters: what BIOSes have room for is soon full.
const TYPING: Duration = Duration::from_millis(100);

/// The file that `cargo xtask guests` has put there; says so if it is missing.
pub(crate) fn guest(name: &str) -> Option<PathBuf> {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = tmp.parent().unwrap_or(tmp).join("guests").join(name);
    if file.exists() {
        return Some(file);
    }
    let _ = writeln!(std::io::stderr(), "no {name}: `cargo xtask guests` fetches it");
    assert!(std::env::var_os("CI").is_none(), "CI needs the guests");
    None
}

/// A file of this name for a test to write.
pub(crate) fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// What the last byte of output was part of.
#[derive(Clone, Copy)]
enum Within {
    Text,
    Escape,
    Sequence,
}

/// A machine that runs.
pub(crate) struct Machine {
    child: Child,
    keys: ChildStdin,
    chunks: Receiver<Vec<u8>>,
    within: Within,
    output: Vec<u8>,
    /// What is before this has been waited for.
    seen: usize,
    deadline: Instant,
}

impl Machine {
    /// Starts `mynah boot` with these options.
    pub(crate) fn start(options: &[&str]) -> Machine {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mynah"))
            .arg("boot")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mynah starts");
        let keys = child.stdin.take().expect("it is a pipe");
        let mut stdout = child.stdout.take().expect("it is a pipe");
        let (more, chunks) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let _ = more.send(buffer[..count].to_vec());
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let within = Within::Text;
        Machine { child, keys, chunks, within, output: Vec::new(), seen: 0, deadline }
    }

    /// Takes more output; `false` at its end.
    fn take(&mut self) -> bool {
        match self.chunks.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(chunk) => {
                chunk.into_iter().for_each(|byte| self.say(byte));
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                panic!("the machine hangs: {}", self.text())
            }
        }
    }

    /// Takes a byte of output, but for returns and the sequences of terminals: firmware moves the
    /// cursor in the midst of words.
    fn say(&mut self, byte: u8) {
        self.within = match (self.within, byte) {
            (Within::Text, 0x1b) => Within::Escape,
            (Within::Escape, b'[') => Within::Sequence,
            (Within::Sequence, ..0x40) => Within::Sequence,
            (Within::Text, _) => {
                self.output.extend((byte != b'\r').then_some(byte));
                Within::Text
            }
            _ => Within::Text,
        };
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Waits until the guest has said `text`, after what has been waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            let rest = &self.output[self.seen..];
            let at = rest.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = at {
                self.seen += at + text.len();
                return;
            }
            if !self.take() {
                panic!("the machine ended before it said `{text}`: {}", self.text());
            }
        }
    }

    /// Types `text`, as fast as people do.
    pub(crate) fn type_text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.keys.write_all(&[byte]).expect("the machine reads its keys");
            std::thread::sleep(TYPING);
        }
    }

    /// Types `text` all at once.
    pub(crate) fn paste(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("the machine reads its keys");
    }

    /// Ends the machine from outside.
    pub(crate) fn quit(mut self) -> String {
        self.keys.write_all(b"\x01x").expect("the machine reads its keys");
        let (text, status) = self.finish();
        assert!(status.success(), "{status}: {text}");
        text
    }

    /// Waits until the guest has ended the machine; all that it said, and the status.
    pub(crate) fn finish(mut self) -> (String, ExitStatus) {
        while self.take() {}
        let status = self.child.wait().expect("it is our child");
        (self.text(), status)
    }
}
