//! What is compared: our own C programs, and programs every system has.

use crate::guests::Guests;
use crate::shell;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A guest command line and the class its time counts in.
#[derive(Debug)]
pub(super) struct Program {
    /// What kind of work it is.
    pub(super) class: &'static str,
    /// Its name in the table.
    pub(super) name: String,
    /// An ELF file.
    pub(super) file: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<String>,
}

/// Programs of tests/compare in C, by class.
pub(super) const COMPILED: &[(&str, &[&str])] = &[
    ("integer", &["crc32", "sieve", "matrix", "sort", "hash"]),
    ("calls", &["fib", "ackermann", "virtual"]),
    ("float", &["nbody", "spectral", "mandelbrot"]),
    ("simd", &["saxpy", "matmul", "blend"]),
];

/// A shell loop that starts no other program.
const SHELL_LOOP: &str = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); done; echo $i";

/// All programs that this host can supply; what is missing is said.
pub(super) fn collect(guests: &Guests) -> Result<Vec<Program>, String> {
    let sources = shell::root().join("tests/compare");
    let built = shell::target().join("compare");
    std::fs::create_dir_all(&built).map_err(|e| format!("{}: {e}", built.display()))?;
    let mut programs = Vec::new();
    let gcc = guests.get("gcc").ok_or("gcc is needed to build the programs that are compared")?;
    for (class, names) in COMPILED {
        for name in *names {
            let file = built.join(name);
            compile(gcc, &sources.join(format!("{name}.c")), &file, &[])?;
            programs.push(Program { class, name: (*name).to_owned(), file, args: Vec::new() });
        }
    }
    let input = built.join("input");
    std::fs::write(&input, sample(1 << 22)).map_err(|e| format!("{}: {e}", input.display()))?;
    let input = input.display().to_string();
    let script = |name: &str| sources.join(name).display().to_string();
    let mut add = |class, name: &str, program: &str, args: &[&str]| {
        let host = guests.get(program).map(Path::to_owned).or_else(|| shell::find(program));
        match host {
            Some(file) => programs.push(Program {
                class,
                name: name.to_owned(),
                file,
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            }),
            None => println!("compare: no {program}: {name} is left out"),
        }
    };
    add("interpreters", "lua", "lua5.4", &[&script("script.lua")]);
    add("interpreters", "python", "python3", &[&script("script.py")]);
    add("interpreters", "perl", "perl", &[&script("script.pl")]);
    add("interpreters", "sqlite", "sqlite3", &[":memory:", SQL]);
    add("compressors", "xz", "xz", &["-1", "-T1", "-c", "-k", &input]);
    add("compressors", "zstd", "zstd", &["-q", "-3", "-c", &input]);
    add("compressors", "gzip", "busybox", &["gzip", "-c", &input]);
    add("start-up", "true", "true", &[]);
    add("start-up", "sh loop", "sh", &["-c", SHELL_LOOP]);
    add("start-up", "python -c pass", "python3", &["-c", "pass"]);
    add("start-up", "ls /usr/lib", "ls", &["-l", "/usr/lib"]);
    Ok(programs)
}

const SQL: &str = "create table t(a integer primary key, b text, c integer);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
        insert into t select i, printf('row %d', i * 7919 % 10007), i * 31 % 997 from n;
    create index by_c on t(c);
    select c, count(*), max(b) from t group by c having c % 100 = 0;
    select count(*) from t x join t y on x.c = y.c where x.a < 1000;";

/// Compiles `source` to `file`, unless that is newer.
pub(super) fn compile(
    gcc: &Path,
    source: &Path,
    file: &Path,
    options: &[&str],
) -> Result<(), String> {
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    if modified(file) > modified(source) {
        return Ok(());
    }
    let mut command = Command::new(gcc);
    shell::run(command.args(["-O2", "-o"]).arg(file).args(options).arg(source).arg("-lm"))
}

/// Text-like bytes that compress about threefold.
fn sample(len: usize) -> Vec<u8> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let words: Vec<Vec<u8>> = (0..2000)
        .map(|_| {
            (0..2 + next() % 9).map(|_| b"etaoinshrdlcumwfgypbvk"[(next() % 22) as usize]).collect()
        })
        .collect();
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        // The product of two uniform numbers prefers small ones, as language prefers some words.
        let pick = (next() % 2000) * (next() % 2000) / 2000;
        text.extend_from_slice(&words[pick as usize]);
        text.push(if next() % 12 == 0 { b'\n' } else { b' ' });
    }
    text.truncate(len);
    text
}
