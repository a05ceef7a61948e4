//! Which program a path leads to, and execve(2): Mynah executes itself with the same options, so
//! that the new program runs under it as well.

use crate::error::Error;
use crate::image::Program;
use crate::{Errno, Options, host};
use mynah_engine::Tier;
use std::ffi::{CString, OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Scripts that are interpreted by scripts that are … at most.
const MAX_SCRIPTS: usize = 5;

/// Bytes of a script's first line that are looked at.
const LINE: usize = 256;

/// A path's program, and how the arguments change when it is a script.
pub(crate) struct Resolved {
    /// The program.
    pub program: Program,
    /// What replaces the first argument, if scripts were followed.
    pub args: Option<Vec<OsString>>,
}

/// The program at `path`, behind any scripts (execve(2), "Interpreter scripts"). `find` tells
/// where an absolute path is found.
pub(crate) fn resolve(path: &Path, find: impl Fn(&Path) -> PathBuf) -> Result<Resolved, Error> {
    let given = path;
    let mut path = path.to_owned();
    let mut args: Option<Vec<OsString>> = None;
    for _ in 0..MAX_SCRIPTS {
        let fail = |errno: Errno| Error {
            path: given.to_owned(),
            errno,
            text: match path == given {
                true => errno.to_string(),
                false => format!("its interpreter {}: {errno}", path.display()),
            },
        };
        let name = c_string(path.as_os_str());
        let execute = [libc::AT_FDCWD as u64, name.as_ptr() as u64, libc::X_OK as u64, 0, 0, 0];
        host::call(libc::SYS_faccessat, execute).map_err(fail)?;
        if path.is_dir() {
            return Err(fail(Errno::EACCES));
        }
        let Some(line) = script(&path) else {
            return Ok(Resolved { program: Program::open(&path)?, args });
        };
        let (interpreter, argument) = line.ok_or_else(|| fail(Errno::ENOEXEC))?;
        // The interpreter is told its own name, perhaps an argument, and the script's path, which
        // replaces the script's name.
        let mut rest = args.unwrap_or_else(|| vec![OsString::new()]);
        rest[0] = path.into_os_string();
        args = Some([interpreter.clone()].into_iter().chain(argument).chain(rest).collect());
        path = find(Path::new(&interpreter));
    }
    let text = "too many scripts interpret each other".into();
    Err(Error { path: given.to_owned(), errno: Errno::ELOOP, text })
}

/// The interpreter and its argument if the file is a script; `Some(None)` if its line is bad.
#[expect(clippy::option_option, reason = "no script, a bad one, a good one")]
fn script(path: &Path) -> Option<Option<(OsString, Option<OsString>)>> {
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(LINE as u64).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?;
    let line = line.split(|&byte| byte == b'\n' || byte == 0).next().unwrap_or_default();
    let line = line.trim_ascii();
    let end = line.iter().position(|byte| byte.is_ascii_whitespace()).unwrap_or(line.len());
    let (name, argument) = line.split_at(end);
    let argument = argument.trim_ascii();
    let argument = (!argument.is_empty()).then(|| OsString::from_vec(argument.to_vec()));
    Some((!name.is_empty()).then(|| (OsString::from_vec(name.to_vec()), argument)))
}

fn c_string(text: &OsStr) -> CString {
    let bytes = text.as_bytes();
    CString::new(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).unwrap_or_default()
}

/// Whether the host's dynamic loader would obey this variable when it starts Mynah.
fn is_loaders(variable: &[u8]) -> bool {
    variable.starts_with(b"LD_") || variable.starts_with(b"GLIBC_TUNABLES=")
}

/// Executes Mynah with `options` for `program`, whose arguments are `args` with its name first.
/// Returns only on failure.
pub(crate) fn execute(
    options: &Options,
    program: &Path,
    args: &[OsString],
    env: &[CString],
) -> Errno {
    let mut line: Vec<OsString> = ["mynah", "run", "--tier"].map(OsString::from).into();
    line.push(
        match options.config.tier {
            Tier::Interpreter => "0",
            Tier::Compiler => "1",
            Tier::Auto => "auto",
        }
        .into(),
    );
    line.extend(["--threshold".into(), options.config.threshold.to_string().into()]);
    if let Some(sysroot) = &options.sysroot {
        line.extend(["--sysroot".into(), sysroot.clone().into_os_string()]);
    }
    line.extend(options.strace.then(|| "--strace".into()));
    line.extend(options.stats.then(|| "--stats".into()));
    let option = |name: &str, value: &[u8]| {
        OsString::from_vec([b"--", name.as_bytes(), b"=", value].concat())
    };
    if let Some(name) = args.first() {
        line.push(option("argv0", name.as_bytes()));
    }
    for variable in env.iter().filter(|variable| is_loaders(variable.as_bytes())) {
        line.push(option("env", variable.as_bytes()));
    }
    line.push("--".into());
    line.push(program.as_os_str().to_owned());
    line.extend(args.iter().skip(1).cloned());

    let line: Vec<CString> = line.iter().map(|arg| c_string(arg)).collect();
    let pointers = |list: &[&CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let argv = pointers(&line.iter().collect::<Vec<_>>());
    let env: Vec<&CString> =
        env.iter().filter(|variable| !is_loaders(variable.as_bytes())).collect();
    let envp = pointers(&env);
    let file = c"/proc/self/exe".as_ptr() as u64;
    let args = [file, argv.as_ptr() as u64, envp.as_ptr() as u64, 0, 0, 0];
    host::call(libc::SYS_execve, args).err().unwrap_or(Errno::ENOEXEC)
}
