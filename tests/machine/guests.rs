//! The guests that machines are started from, and host programs that make disks for them.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The file that `cargo xtask guests` has put there; says so if it is missing.
pub(crate) fn guest(name: &str) -> Option<PathBuf> {
    let file = folder().join(name);
    if file.exists() {
        return Some(file);
    }
    let _ = writeln!(std::io::stderr(), "no {name}: `cargo xtask guests` fetches it");
    assert!(std::env::var_os("CI").is_none(), "CI needs the guests");
    None
}

/// The same for a file of another architecture's packages, which not every mirror of packages has.
pub(crate) fn foreign_guest(name: &str) -> Option<PathBuf> {
    let file = folder().join(name);
    if !file.exists() {
        let _ = writeln!(std::io::stderr(), "no {name}: left out");
    }
    file.exists().then_some(file)
}

fn folder() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).join("guests")
}

/// A file of this name for a test to write.
pub(crate) fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A path as an option of the command line.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A host program, with those that were unpacked on its search path, and with their libraries if it
/// is one of them.
pub(crate) fn program(program: &Path) -> Command {
    let root = folder().join("root");
    let mut command = Command::new(program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = [root.join("usr/bin")].into_iter().chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(path).expect("folders without colons"));
    command.env("MTOOLS_SKIP_CHECK", "1");
    if fs::canonicalize(program).is_ok_and(|file| file.starts_with(&root)) {
        command.env("LD_LIBRARY_PATH", libraries());
    }
    command
}

/// Where the libraries of unpacked programs are.
fn libraries() -> OsString {
    folder().join("root/usr/lib/x86_64-linux-gnu").into_os_string()
}

/// What becomes of the host program with these arguments.
pub(crate) fn output(file: &Path, arguments: &[&str]) -> Output {
    let output = program(file).args(arguments).output();
    output.unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// Runs a host program.
pub(crate) fn run(file: &Path, arguments: &[&str]) {
    let output = output(file, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {errors}", file.display());
}

/// What the host's shell makes of `command`.
pub(crate) fn host(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("there is a shell");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// The shared libraries of a program and its loader: where the program looks for each, and the file
/// that is there.
pub(crate) fn shared_libraries(file: &Path) -> Vec<(String, PathBuf)> {
    let output = Command::new("ldd").arg(file).env("LD_LIBRARY_PATH", libraries()).output();
    let output = output.expect("ldd comes with the C library");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found = Vec::new();
    for line in list.lines().map(str::trim) {
        match line.split_once(" => ") {
            Some((name, place)) => {
                let place = place.split(' ').next().unwrap_or_default();
                assert!(place.starts_with('/'), "{}: {line}", file.display());
                found.push((format!("lib/{name}"), PathBuf::from(place)));
            }
            None if line.starts_with('/') => {
                let loader = line.split(' ').next().unwrap_or_default();
                found.push((loader[1..].to_owned(), PathBuf::from(loader)));
            }
            None => {}
        }
    }
    found
}
