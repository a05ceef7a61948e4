//! Keeps the shape of the code: which crate may use which, where `unsafe` and the two large
//! dependencies may appear, and a few habits that a compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every crate and the crates of ours that it may use. An arrow that is not here is argued in the
/// commit that adds it.
const ARROWS: &[(&str, &[&str])] = &[
    ("bus", &[]),
    ("disk", &[]),
    ("net", &[]),
    ("devices", &["bus", "disk", "net"]),
    ("ir", &[]),
    ("mem", &[]),
    ("loader", &[]),
    ("guest", &["ir", "mem"]),
    ("opt", &["ir", "guest"]),
    ("interp", &["ir", "mem", "guest"]),
    ("jit", &["ir", "mem", "guest"]),
    ("x86", &["ir", "mem", "guest"]),
    ("riscv", &["ir", "mem", "guest"]),
    ("engine", &["ir", "mem", "guest", "opt", "interp", "jit"]),
    ("debug", &["ir", "mem", "guest", "x86", "riscv"]),
    ("linux", &["ir", "mem", "guest", "debug", "engine", "loader", "x86", "riscv"]),
    ("pc", &["bus", "debug", "devices", "disk", "net", "mem", "guest", "engine", "loader", "x86"]),
    (
        "testkit",
        &[
            "bus", "devices", "disk", "net", "ir", "mem", "guest", "opt", "interp", "jit",
            "loader", "x86", "riscv",
        ],
    ),
    (
        "cli",
        &[
            "ir", "guest", "opt", "jit", "engine", "x86", "riscv", "linux", "pc", "disk", "net",
            "loader",
        ],
    ),
    ("xtask", &[]),
    ("mynah", &["ir", "mem", "guest", "engine", "x86", "riscv", "linux", "cli"]),
];

/// Files that may contain `unsafe`; each, or the `mod.rs` beside it, says why at its top.
const UNSAFE: &[&str] = &[
    "crates/bus/src/ram.rs",
    "crates/guest/src/cpu.rs",
    "crates/interp/src/code.rs",
    "crates/interp/src/run.rs",
    "crates/interp/src/step.rs",
    "crates/ir/src/fp/packed_x86_64.rs",
    "crates/ir/src/fp/x86_64.rs",
    "crates/jit/src/arena.rs",
    "crates/jit/src/enter/mod.rs",
    "crates/jit/src/enter/x86_64.rs",
    "crates/jit/src/exit.rs",
    "crates/linux/src/host/mod.rs",
    "crates/linux/src/host/portable.rs",
    "crates/linux/src/host/x86_64.rs",
    "crates/linux/src/signal.rs",
    "crates/mem/src/host/portable.rs",
    "crates/mem/src/host/signal.rs",
    "crates/mem/src/host/x86_64.rs",
    "crates/pc/src/signals.rs",
    "crates/pc/src/terminal.rs",
    "crates/testkit/src/native/x86_64.rs",
    "crates/testkit/src/pages.rs",
    "crates/x86/src/host/x86_64.rs",
];

/// Words that name an external crate, and the folders of ours that may use it. The tests ask iced
/// what the manual says of an instruction; nothing else may, so that decoding has one place.
const CONFINED: &[(&str, &[&str])] =
    &[("cranelift", &["crates/jit/"]), ("iced_x86", &["crates/x86/", "crates/testkit/"])];

/// Longer files want a reason, given here.
const MAX_LINES: usize = 1500;
const LONG: &[(&str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The repository's text files as (path from the root, contents).
fn files() -> Vec<(String, String)> {
    const SKIP: &[&str] = &[".git", "target", "corpus", "artifacts"];
    const TEXT: &[&str] =
        &["rs", "toml", "md", "c", "h", "s", "S", "ins", "sh", "lua", "py", "pl", "txt", "svg"];
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("folders can be listed") {
            let path = entry.expect("folders can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !SKIP.contains(&name.as_str()) {
                    folders.push(path);
                }
                continue;
            }
            let is_text = path.extension().is_some_and(|e| TEXT.iter().any(|t| e == *t));
            if is_text || folder.ends_with(".ci") {
                let text =
                    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                found.push((relative(&path), text));
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn sources() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|(path, _)| path.ends_with(".rs"))
}

/// The line without its `//` comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether `text` has `word` as a whole word.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

/// Fails with all complaints at once.
fn report(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Names of the dependencies in the manifest's `[dependencies]` sections.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line.ends_with(".dependencies]");
        } else if inside && let Some((name, _)) = line.split_once(['.', '=']) {
            names.insert(name.trim().to_owned());
        }
    }
    names
}

/// Each crate's dependencies, by folder name; the façade is `mynah`.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for (path, text) in files() {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["crates", name, "Cargo.toml"] => {
                all.insert(name.to_owned(), dependencies(&text));
            }
            ["Cargo.toml"] => {
                let own = text.split("[dependencies]").nth(1).unwrap_or_default();
                all.insert("mynah".to_owned(), dependencies(&format!("[dependencies]{own}")));
            }
            _ => {}
        }
    }
    all
}

#[test]
fn arrows_between_crates_are_the_agreed_ones() {
    let mut complaints = Vec::new();
    for (name, dependencies) in manifests() {
        let Some((_, allowed)) = ARROWS.iter().find(|(n, _)| *n == name) else {
            complaints.push(format!("crates/{name} is not in the table of arrows"));
            continue;
        };
        for dependency in dependencies {
            if let Some(ours) = dependency.strip_prefix("mynah-")
                && !allowed.contains(&ours)
            {
                complaints.push(format!("{name} must not use {ours}"));
            }
        }
    }
    report(complaints);
}

#[test]
fn unsafe_code_is_in_the_listed_files() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        if path == "tests/tidy.rs" || path.starts_with("fuzz/") {
            continue;
        }
        let found = text.lines().any(|line| has_word(code(line), "unsafe"));
        let listed = UNSAFE.contains(&path.as_str());
        if found && !listed {
            complaints.push(format!("{path}: `unsafe` outside the listed files"));
        }
        if listed && !found {
            complaints.push(format!("{path}: listed for `unsafe`, but has none"));
        }
        let says_why = |text: &str| text.contains("#![expect(unsafe_code, reason = ");
        let module = Path::new(&path).with_file_name("mod.rs");
        let above = fs::read_to_string(root().join(module)).unwrap_or_default();
        if found && !says_why(&text) && !says_why(&above) {
            complaints.push(format!("{path}: does not say why it has `unsafe`"));
        }
    }
    report(complaints);
}

#[test]
fn large_dependencies_are_confined() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        for (word, homes) in CONFINED {
            let used = text.lines().any(|line| {
                let line = code(line);
                line.contains(&format!("{word}::")) || line.contains(&format!("{word}_"))
            });
            let at_home = homes.iter().any(|home| path.starts_with(home));
            if used && !at_home && path != "tests/tidy.rs" {
                complaints.push(format!("{path}: `{word}` is used outside {}", homes.join(", ")));
            }
        }
    }
    for (name, dependencies) in manifests() {
        for dependency in dependencies {
            let homes = CONFINED
                .iter()
                .find(|(word, _)| dependency.replace('-', "_").starts_with(word))
                .map(|(_, homes)| *homes);
            if let Some(homes) = homes
                && !homes.contains(&format!("crates/{name}/").as_str())
            {
                complaints.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    report(complaints);
}

#[test]
fn files_are_of_readable_length_and_begin_with_their_subject() {
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > MAX_LINES && !LONG.iter().any(|(long, _)| *long == path) {
            complaints.push(format!("{path}: {lines} lines; split it or give a reason"));
        }
        if !text.starts_with("//!") {
            complaints.push(format!("{path}: does not begin with a module doc"));
        }
    }
    report(complaints);
}

#[test]
fn nothing_is_left_undone() {
    let mut complaints = Vec::new();
    for (path, text) in sources().filter(|(path, _)| path != "tests/tidy.rs") {
        for (number, line) in text.lines().enumerate() {
            for word in ["todo!", "unimplemented!", "dbg!", "FIXME", "XXX"] {
                if line.contains(word) {
                    complaints.push(format!("{path}:{}: {word}", number + 1));
                }
            }
        }
    }
    report(complaints);
}

#[test]
fn texts_name_no_place_on_a_developers_machine() {
    let folders = ["home", "root", "work", "Users"].map(|folder| format!("/{folder}/"));
    let mut complaints = Vec::new();
    for (path, text) in files() {
        for (number, line) in text.lines().enumerate() {
            for folder in &folders {
                // A path starts there; it does not merely go through a folder of that name.
                let starts = line.match_indices(folder.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c))
                });
                if starts {
                    complaints.push(format!("{path}:{}: names {folder}", number + 1));
                }
            }
        }
    }
    report(complaints);
}
