//! A machine of `mynah boot` for tests: its console is typed into and read.
#![allow(dead_code, reason = "each of the tests uses a part of it")]

use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running machine, which ends with its test.
pub(crate) struct Machine {
    child: Child,
    stdin: ChildStdin,
    output: Arc<Mutex<String>>,
    errors: Arc<Mutex<String>>,
    /// They see the ends of `output` and `errors`.
    collectors: Vec<JoinHandle<()>>,
}

impl Machine {
    /// Runs `mynah boot` with these options and 16 MiB.
    pub(crate) fn boot(options: &[&str]) -> Machine {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mynah"))
            .args(["boot", "--memory", "16M"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mynah starts");
        let stdin = child.stdin.take().expect("it is a pipe");
        let (output, of_output) = collect(child.stdout.take().expect("it is a pipe"));
        let (errors, of_errors) = collect(child.stderr.take().expect("it is a pipe"));
        Machine { child, stdin, output, errors, collectors: vec![of_output, of_errors] }
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.stdin.write_all(text.as_bytes()).expect("the pipe has room for a few lines");
    }

    /// Waits until `text` has been said.
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_for_times(text, 1);
    }

    /// Waits until `text` has been said so many times.
    pub(crate) fn wait_for_times(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.output().matches(text).count() < times {
            assert!(Instant::now() < deadline, "no `{text}` in: {}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What was said on the console since the last [`Machine::clear`].
    pub(crate) fn output(&self) -> String {
        self.output.lock().expect("nobody panics with it").clone()
    }

    /// What was said on standard error.
    pub(crate) fn errors(&self) -> String {
        self.errors.lock().expect("nobody panics with it").clone()
    }

    /// Forgets what was said on the console.
    pub(crate) fn clear(&self) {
        self.output.lock().expect("nobody panics with it").clear();
    }

    /// Sends it the signal of this name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.expect("there is a kill").success());
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                for collector in self.collectors.drain(..) {
                    collector.join().expect("it does not panic");
                }
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of `pipe`, without carriage returns, and the thread that collects it.
fn collect(mut pipe: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let to = text.clone();
    let collector = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let more = String::from_utf8_lossy(&buffer[..count]).replace('\r', "");
            to.lock().expect("nobody panics with it").push_str(&more);
        }
    });
    (text, collector)
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
