//! A machine of `mynah boot` for tests: its console is typed into and read.
#![allow(dead_code, reason = "each of the tests uses a part of it")]

pub(crate) mod guests;
pub(crate) mod monitor;

use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(400);

/// Between two characters: what BIOSes have room for is soon full.
const TYPING: Duration = Duration::from_millis(100);

/// A running machine, which ends with its test.
pub(crate) struct Machine {
    child: Child,
    stdin: ChildStdin,
    output: Arc<Said>,
    errors: Arc<Said>,
    /// They see the ends of `output` and `errors`.
    collectors: Vec<JoinHandle<()>>,
    /// What is before this has been waited for.
    seen: usize,
    patience: Duration,
}

impl Machine {
    /// Runs `mynah boot` with these options.
    pub(crate) fn start(options: &[&str]) -> Machine {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mynah"))
            .arg("boot")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mynah starts");
        let stdin = child.stdin.take().expect("it is a pipe");
        let (output, of_output) = collect(child.stdout.take().expect("it is a pipe"));
        let (errors, of_errors) = collect(child.stderr.take().expect("it is a pipe"));
        let collectors = vec![of_output, of_errors];
        Machine { child, stdin, output, errors, collectors, seen: 0, patience: PATIENCE }
    }

    /// Runs the guest that Mynah carries, with these options and 16 MiB.
    pub(crate) fn carried(options: &[&str]) -> Machine {
        Machine::start(&[&["--memory", "16M"], options].concat())
    }

    /// What takes longer than this hangs.
    pub(crate) fn patience(mut self, patience: Duration) -> Machine {
        self.patience = patience;
        self
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types `text` at once.
    pub(crate) fn type_in(&mut self, text: &str) {
        self.stdin.write_all(text.as_bytes()).expect("the pipe has room for a few lines");
    }

    /// Types `text`, as fast as people do.
    pub(crate) fn type_slowly(&mut self, text: &str) {
        for byte in text.bytes() {
            self.stdin.write_all(&[byte]).expect("the machine reads its keys");
            std::thread::sleep(TYPING);
        }
    }

    /// Waits until the guest has said `text`, after what has been waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + self.patience;
        let mut said = self.output.lock();
        loop {
            let rest = &said.text[self.seen..];
            let at = rest.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = at {
                self.seen += at + text.len();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if said.ended || left.is_zero() {
                let what = if said.ended { "ended before" } else { "hangs and never" };
                drop(said);
                let (output, errors) = (self.output(), self.errors());
                panic!("the machine {what} said `{text}`: {output}\n{errors}");
            }
            said = self.output.more.wait_timeout(said, left).expect(NOBODY).0;
        }
    }

    /// All that was said on the console.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().text).into_owned()
    }

    /// All that was said on standard error.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.errors.lock().text).into_owned()
    }

    /// The status with which it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Sends it the signal of this name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("there is a kill").success());
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(status) = self.ended() {
                for collector in self.collectors.drain(..) {
                    collector.join().expect("it does not panic");
                }
                return status;
            }
            assert!(Instant::now() < deadline, "the machine does not end: {}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the guest has ended the machine; all that it said, and the status.
    pub(crate) fn finish(mut self) -> (String, ExitStatus) {
        let status = self.wait();
        (self.output(), status)
    }

    /// Ends the machine from outside.
    pub(crate) fn quit(mut self) -> String {
        self.type_in("\x01x");
        let (text, status) = self.finish();
        assert!(status.success(), "{status}: {text}");
        text
    }

    /// Ends the machine as nothing can be prepared for: by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Why a lock can be had.
const NOBODY: &str = "nobody panics with it";

/// What comes out of a pipe.
#[derive(Default)]
struct Said {
    so_far: Mutex<SoFar>,
    more: Condvar,
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().expect(NOBODY)
    }
}

/// What has come out of a pipe, but for returns and the sequences of terminals: firmware moves the
/// cursor in the midst of words.
#[derive(Default)]
struct SoFar {
    text: Vec<u8>,
    within: Within,
    ended: bool,
}

/// What the last byte of output was part of.
#[derive(Clone, Copy, Default)]
enum Within {
    #[default]
    Text,
    Escape,
    Sequence,
}

impl SoFar {
    fn say(&mut self, byte: u8) {
        self.within = match (self.within, byte) {
            (Within::Text, 0x1b) => Within::Escape,
            (Within::Escape, b'[') => Within::Sequence,
            (Within::Sequence, ..0x40) => Within::Sequence,
            (Within::Text, _) => {
                self.text.extend((byte != b'\r').then_some(byte));
                Within::Text
            }
            _ => Within::Text,
        };
    }
}

/// What comes out of `pipe`, and the thread that collects it.
fn collect(mut pipe: impl Read + Send + 'static) -> (Arc<Said>, JoinHandle<()>) {
    let said = Arc::new(Said::default());
    let to = said.clone();
    let collector = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let mut said = to.lock();
            buffer[..count].iter().for_each(|byte| said.say(*byte));
            to.more.notify_all();
        }
        to.lock().ended = true;
        to.more.notify_all();
    });
    (said, collector)
}

/// A name for a socket of this test's own.
pub(crate) fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mynah-test-{name}-{}", std::process::id()))
}

/// Connects, as soon as somebody listens.
pub(crate) fn connect(path: &Path) -> UnixStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{}: {error}", path.display()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
