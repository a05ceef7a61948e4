//! Whole programs: what they print and how they end must be the same under Mynah, on every tier, as
//! without it.
//!
//! `tests/programs/*.c` are compiled for x86-64 and for RISC-V; `tests/scripts` are run by the
//! host's own shells, with every program they start. A program that the host lacks is left out with
//! a word about it; `cargo xtask guests` fetches what it can. Long ones are ignored unless asked
//! for: `cargo xtask test` runs them in a release build.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How `mynah run` is asked to work.
const WAYS: &[&[&str]] = &[
    &["--tier", "0"],
    &["--tier", "1"],
    &["--tier", "auto"],
    &["--tier", "auto", "--threshold", "10"],
];

/// A program that runs longer hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// A program and what it is given.
#[derive(Clone, Default)]
struct Case {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    stdin: String,
}

/// What a run came to.
#[derive(PartialEq)]
struct Outcome {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Case {
    fn new(name: &str, program: PathBuf, args: &[&str]) -> Case {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Case { name: name.to_owned(), program, args, stdin: String::new() }
    }

    /// Runs the program by itself, or as `way` says, in a new folder.
    fn run(&self, way: Option<&[&str]>) -> Result<Outcome, String> {
        let folder = scratch(&self.name);
        let mut command = match way {
            None => Command::new(&self.program),
            Some(options) => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_mynah"));
                command.arg("run").args(options).arg(&self.program);
                command
            }
        };
        command
            .args(&self.args)
            .current_dir(&folder)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", guests().join("bin").display()))
            .env("GUESTS", guests())
            .env("HOME", ".")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let libraries = guests().join("root/usr/lib/x86_64-linux-gnu");
        if libraries.is_dir() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let outcome =
            finish(command.spawn().map_err(|e| format!("{command:?}: {e}"))?, &self.stdin);
        // A folder that cannot be removed is removed with the target folder some day.
        let _ = fs::remove_dir_all(&folder);
        outcome.map_err(|e| format!("{command:?}: {e}"))
    }

    /// Complaints of the runs that differ from `expected`.
    fn compare(&self, expected: &Outcome) -> Vec<String> {
        let differs = |way: &&[&str]| match self.run(Some(way)) {
            Ok(outcome) if outcome == *expected => None,
            Ok(outcome) => Some(self.describe(way, expected, &outcome)),
            Err(e) => Some(e),
        };
        WAYS.iter().filter_map(differs).collect()
    }

    fn describe(&self, way: &[&str], expected: &Outcome, found: &Outcome) -> String {
        let mut text = format!("{} differs with {}:", self.name, way.join(" "));
        if expected.status != found.status {
            text += &format!("\n  {} instead of {}", found.status, expected.status);
        }
        text += &difference("stdout", &expected.stdout, &found.stdout);
        text += &difference("stderr", &expected.stderr, &found.stderr);
        text
    }
}

/// The first line where two texts part.
fn difference(stream: &str, expected: &[u8], found: &[u8]) -> String {
    if expected == found {
        return String::new();
    }
    let [mut want, mut have] = [expected, found].map(|text| text.split(|byte| *byte == b'\n'));
    let mut line = 1;
    loop {
        let (a, b) = (want.next(), have.next());
        if a != b || a.is_none() {
            let shown = |part: Option<&[u8]>| match part {
                Some(part) => {
                    format!("`{}`", String::from_utf8_lossy(&part[..part.len().min(200)]))
                }
                None => "the end".to_owned(),
            };
            return format!("\n  {stream}, line {line}: {} instead of {}", shown(b), shown(a));
        }
        line += 1;
    }
}

/// A new empty folder.
fn scratch(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    folder
}

/// Feeds the program, gathers what it prints, and kills it when patience is over.
fn finish(mut child: Child, stdin: &str) -> Result<Outcome, String> {
    if let Some(mut pipe) = child.stdin.take() {
        // A program need not read what it is given.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let (done, finished) = mpsc::channel();
    let stdout = gather(child.stdout.take(), done.clone());
    let stderr = gather(child.stderr.take(), done);
    for _ in 0..2 {
        if finished.recv_timeout(PATIENCE).is_err() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("not finished after {} s", PATIENCE.as_secs()));
        }
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    let text = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    Ok(Outcome { status, stdout: text(stdout), stderr: text(stderr) })
}

fn gather(
    pipe: Option<impl Read + Send + 'static>,
    done: mpsc::Sender<()>,
) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = done.send(());
        bytes
    })
}

/// Where `cargo xtask guests` puts programs.
fn guests() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guests")
}

/// An ELF file of that name; says so if there is none.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = [guests().join("bin"), "/usr/bin".into(), "/bin".into()]
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| {
            let mut magic = [0; 4];
            let read = fs::File::open(file).and_then(|mut f| f.read_exact(&mut magic));
            read.is_ok() && magic == *b"\x7fELF"
        });
    if found.is_none() {
        println!("left out: this host has no {name}");
    }
    found
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn report(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Compares a program of the host with itself under Mynah.
fn check(program: &str, args: &[&str]) {
    let Some(file) = find(program) else { return };
    let case = Case::new(program, file, args);
    let expected = case.run(None).unwrap_or_else(|e| panic!("by itself: {e}"));
    report(case.compare(&expected));
}

/// Compares a script from tests/scripts, which uses the host's `programs`.
fn check_script(shell: &[&str], script: &str, programs: &[&str]) {
    if programs.iter().any(|program| find(program).is_none()) {
        return;
    }
    let script = repository("tests/scripts").join(script).display().to_string();
    let args: Vec<&str> = shell[1..].iter().copied().chain([script.as_str()]).collect();
    check(shell[0], &args);
}

// ── programs in C ────────────────────────────────────────────────────────────────────────────

/// A program of tests/programs, and what its first lines say.
struct Source {
    name: String,
    path: PathBuf,
    args: Vec<String>,
    stdin: String,
    only: Option<String>,
    status: String,
}

impl Source {
    fn read(path: PathBuf) -> Source {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let line = |key: &str| {
            let mut lines = text.lines().take_while(|line| line.starts_with("//"));
            lines.find_map(|line| line.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(": "))
        };
        Source {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            args: line("args").map(words).unwrap_or_default(),
            stdin: line("stdin").map(|text| format!("{text}\n")).unwrap_or_default(),
            only: line("only").map(str::to_owned),
            status: line("status").unwrap_or("0").to_owned(),
            path,
        }
    }

    /// Whether a program ended as the source says it does.
    fn ends_so(&self, status: ExitStatus) -> bool {
        const SIGNALS: &[(&str, i32)] = &[
            ("SIGILL", 4),
            ("SIGABRT", 6),
            ("SIGFPE", 8),
            ("SIGKILL", 9),
            ("SIGSEGV", 11),
            ("SIGTERM", 15),
        ];
        match SIGNALS.iter().find(|(name, _)| *name == self.status) {
            Some((_, number)) => status.signal() == Some(*number),
            None => status.code().map(|code| code.to_string()).as_ref() == Some(&self.status),
        }
    }

    fn compile(&self, compiler: &Path, guest: &str, linking: &str) -> Case {
        let name = format!("{}.{guest}{linking}", self.name);
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        let mut command = Command::new(compiler);
        command.args(["-O2", "-pthread", "-ffp-contract=off", "-frounding-math", "-w"]);
        command.args((!linking.is_empty()).then_some(linking));
        command.arg("-o").arg(&program).arg(&self.path).arg("-lm").stdin(Stdio::null());
        let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        assert!(status.success(), "{command:?}: {status}");
        Case { name, program, args: self.args.clone(), stdin: self.stdin.clone() }
    }
}

/// Splits at spaces, but not between double quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in text.split('"').enumerate() {
        if i % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn sources() -> Vec<Source> {
    let folder = repository("tests/programs");
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "c"));
    paths.sort();
    paths.into_iter().map(Source::read).collect()
}

/// Compares the programs in C, built for x86-64, with themselves.
fn check_x86(linking: &str) {
    let Some(compiler) = find("gcc") else { return };
    let mut complaints = Vec::new();
    for source in sources() {
        if source.only.as_deref().is_some_and(|only| only != "x86_64") {
            continue;
        }
        let case = source.compile(&compiler, "x86_64", linking);
        let expected = case.run(None).unwrap_or_else(|e| panic!("by itself: {e}"));
        let status = expected.status;
        assert!(
            source.ends_so(status),
            "{} by itself: {status}, not {}",
            source.name,
            source.status
        );
        complaints.extend(case.compare(&expected));
    }
    report(complaints);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn c_programs_linked_dynamically() {
    check_x86("");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn c_programs_linked_statically() {
    check_x86("-static");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn c_programs_linked_statically_and_position_independent() {
    check_x86("-static-pie");
}

/// What a program prints for RISC-V is what it prints for the host.
#[test]
fn c_programs_for_riscv() {
    let (Some(cross), Some(own)) = (find("riscv64-linux-gnu-gcc"), find("gcc")) else { return };
    let mut complaints = Vec::new();
    for source in sources() {
        if source.only.as_deref().is_some_and(|only| only != "riscv64") {
            continue;
        }
        let case = source.compile(&cross, "riscv64", "-static");
        let model = source.compile(&own, "host", "");
        let expected = model.run(None).unwrap_or_else(|e| panic!("on the host: {e}"));
        complaints.extend(case.compare(&expected));
    }
    report(complaints);
}

/// With the libraries that the cross compiler brings.
#[test]
fn a_dynamic_riscv_program_finds_its_libraries_below_the_sysroot() {
    let Some(cross) = find("riscv64-linux-gnu-gcc") else { return };
    let sysroot = Path::new("/usr/riscv64-linux-gnu");
    if !sysroot.join("lib/ld-linux-riscv64-lp64d.so.1").exists() {
        println!("left out: {} has no libraries", sysroot.display());
        return;
    }
    let source = Source::read(repository("tests/programs/integers.c"));
    let case = source.compile(&cross, "riscv64", "");
    let model = source.compile(&cross, "riscv64", "-static");
    let way: &[&str] = &["--sysroot", "/usr/riscv64-linux-gnu"];
    let [found, expected] = [case.run(Some(way)), model.run(Some(&[]))]
        .map(|run| run.unwrap_or_else(|e| panic!("{e}")));
    assert!(found == expected, "{}", case.describe(way, &expected, &found));
}

// ── programs of the host ─────────────────────────────────────────────────────────────────────

#[cfg(target_arch = "x86_64")]
mod host {
    use super::{check, check_script};

    #[test]
    fn true_and_false() {
        check("true", &[]);
        check("false", &[]);
    }

    #[test]
    fn ls() {
        check("ls", &["-l", "/usr/bin"]);
    }

    #[test]
    fn busybox() {
        check_script(&["busybox", "sh"], "busybox.sh", &["busybox"]);
    }

    #[test]
    fn bash() {
        check_script(&["bash"], "bash.sh", &["bash"]);
    }

    #[test]
    fn perl() {
        check(
            "perl",
            &["-e", "print join(',', map { $_ ** 2 } grep { $_ % 3 } 1 .. 20), \"\\n\"; exit 3"],
        );
    }

    #[test]
    fn python() {
        check(
            "python3",
            &[
                "-c",
                "import json, re; print(json.dumps({'a': [1, 2.5, None]}), re.sub('a+', 'b', 'caat'))",
            ],
        );
    }

    #[test]
    fn lua() {
        check("lua5.4", &["-e", "for i = 1, 5 do io.write(i, ' ', math.sqrt(i), '\\n') end"]);
    }

    #[test]
    #[ignore = "long: `cargo xtask test` runs it in a release build"]
    fn interpreters_at_work() {
        check_script(&["lua5.4"], "../compare/script.lua", &[]);
        check_script(&["python3"], "../compare/script.py", &[]);
        check_script(&["perl"], "../compare/script.pl", &[]);
    }

    #[test]
    #[ignore = "long: `cargo xtask test` runs it in a release build"]
    fn sqlite() {
        check_script(&["sh"], "sqlite.sh", &["sqlite3"]);
    }

    #[test]
    #[ignore = "long: `cargo xtask test` runs it in a release build"]
    fn compressors() {
        check_script(&["sh"], "compress.sh", &["xz"]);
    }

    #[test]
    #[ignore = "long: `cargo xtask test` runs it in a release build"]
    fn openssl() {
        check_script(&["sh"], "openssl.sh", &["openssl"]);
    }

    #[test]
    #[ignore = "long: `cargo xtask test` runs it in a release build"]
    fn git() {
        check_script(&["sh"], "git.sh", &["git"]);
    }

    #[test]
    #[ignore = "long: `cargo xtask test` runs it in a release build"]
    fn gcc() {
        check_script(&["sh"], "gcc.sh", &["gcc"]);
    }

    #[test]
    #[ignore = "long: `cargo xtask test` runs it in a release build"]
    fn pythons_own_tests() {
        check_script(&["python3"], "python_tests.py", &[]);
    }
}

// ── what cannot be run ───────────────────────────────────────────────────────────────────────

/// `mynah run` of `file` says one line and ends with `status`.
fn refuses(file: &Path, status: i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_mynah"))
        .arg("run")
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let shown = format!("{}: {}: {stderr}", file.display(), output.status);
    assert_eq!(output.status.code(), Some(status), "{shown}");
    assert!(stderr.starts_with("mynah: ") && stderr.lines().count() == 1, "{shown}");
}

#[test]
fn what_cannot_be_run_is_refused_in_one_line() {
    let folder = scratch("refused");
    let write = |name: &str, bytes: &[u8]| {
        use std::os::unix::fs::PermissionsExt as _;
        let file = folder.join(name);
        fs::write(&file, bytes).unwrap_or_else(|e| panic!("{e}"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
            .unwrap_or_else(|e| panic!("{e}"));
        file
    };
    let elf = include_bytes!("../crates/cli/demo/sieve.x86_64.elf");
    refuses(&folder.join("missing"), 127);
    refuses(Path::new("no-such-program-anywhere"), 127);
    refuses(&folder, 126);
    refuses(&write("text", b"no program\n"), 126);
    refuses(&write("empty", b""), 126);
    refuses(&write("truncated", &elf[..100]), 126);
    refuses(&write("header-only", &elf[..64]), 126);
    let mut other = elf.to_vec();
    other[18] = 0xb7; // EM_AARCH64
    refuses(&write("other-machine", &other), 126);
    let mut small = elf.to_vec();
    small[4] = 1; // ELFCLASS32
    refuses(&write("class", &small), 126);
    let _ = fs::remove_dir_all(&folder);
}

#[test]
fn the_demos_programs_agree_with_each_other() {
    for name in ["mandelbrot", "sieve", "nbody"] {
        let outputs = ["x86_64", "riscv64"].map(|guest| {
            let file = repository("crates/cli/demo").join(format!("{name}.{guest}.elf"));
            let case = Case::new(name, file, &["2"]);
            WAYS.iter()
                .map(|way| case.run(Some(way)).unwrap_or_else(|e| panic!("{e}")))
                .map(|outcome| (outcome.status.code(), outcome.stdout))
                .collect::<Vec<_>>()
        });
        let all: Vec<_> = outputs.iter().flatten().collect();
        assert!(all.iter().all(|one| one.0 == Some(0) && *one == all[0]), "{name}: {all:?}");
    }
}
