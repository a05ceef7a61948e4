//! Row tests: an instruction and what it does, as text.
//!
//! ```text
//! # A file of rows. A header line gives code, its disassembly and options; rows follow.
//! [00 d8]  add al,bl
//!   al=ff bl=1                  => al=0 cf=1 pf=1 af=1 zf=1
//! [01 18]  add [rax],ebx
//!   rax=0 ebx=1                 => #PF cr2=0 same      # nothing else changed
//!   rax=10000000 ebx=1 mem[10000000]=ffffffff  => mem[10000000]=00000000 cf=1 pf=1 af=1 zf=1
//! [0f 05]  syscall  {no-host}
//! ```
//!
//! Numbers are hexadecimal; `_` may separate digits. Left of `=>` stands the state before, on top of
//! the reset state; memory is given by byte in ascending order and zero elsewhere. Right of it stands
//! what changes: everything that is not named stays as it was before, and control goes on behind the
//! code unless `pc` or a fault is named. `=?` means that the value is not defined, `??` in memory that
//! the byte is not. `same` says that nothing changes. Text from a `#` that a space follows is
//! comment. A header's options are `{no-host}`: the host CPU is not asked.

use crate::pages::{DATA, DATA_BYTES, ENTRY, data_range};
use crate::subject::{Ignore, Outcome, State, Stop, Subject, hex};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What is wrong with a file of rows, or a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl std::fmt::Display for RowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for RowError {}

/// Code and the rows about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Line of the header, from 1.
    pub line: usize,
    /// The code.
    pub code: Vec<u8>,
    /// The disassembly that the header gives; empty if none.
    pub listing: String,
    /// Whether the host CPU is asked.
    pub host: bool,
    /// The rows.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its line, from 1.
    pub line: usize,
    /// Text left of `=>`.
    pub input: String,
    /// State before.
    pub state: State,
    /// Memory before: addresses and bytes.
    pub memory: Vec<(u64, Vec<u8>)>,
    /// What is expected; `None` if the row has no `=>`.
    pub expected: Option<Expected>,
}

/// The right side of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The outcome, for [`Ignore::default`] bits not ignored.
    pub outcome: Outcome,
    /// Bits that the row leaves open.
    pub ignore: Ignore,
    /// Addresses of bytes that the row leaves open.
    pub open: Vec<u64>,
}

/// The groups of a file.
pub fn parse<S: Subject>(text: &str) -> Result<Vec<Group>, RowError> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, whole) in text.lines().enumerate() {
        let line = index + 1;
        let (content, _) = split_comment(whole);
        let content = content.trim();
        let fail = |message| RowError { line, message };
        if content.is_empty() {
            continue;
        }
        if content.starts_with('[') {
            groups.push(header(line, content).map_err(fail)?);
            continue;
        }
        let group = groups.last_mut().ok_or_else(|| fail("a row before any header".into()))?;
        let row = row::<S>(line, content, group.code.len()).map_err(fail)?;
        group.rows.push(row);
    }
    Ok(groups)
}

/// The files of rows in `folder` of `tests/insn`, in order.
///
/// # Panics
/// If the folder cannot be read.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/insn").join(folder);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "ins"))
        .collect();
    files.sort();
    files
}

/// The line without its comment, and the comment with its `#`.
pub fn split_comment(line: &str) -> (&str, &str) {
    let starts = |(at, _): &(usize, &str)| {
        let rest = &line[at + 1..];
        rest.is_empty() || rest.starts_with(' ')
    };
    match line.match_indices('#').find(starts) {
        Some((at, _)) => line.split_at(at),
        None => (line, ""),
    }
}

fn header(line: usize, content: &str) -> Result<Group, String> {
    let (code, rest) = content[1..].split_once(']').ok_or("a header's code ends in ]")?;
    let code = bytes(&code.replace(' ', ""))?;
    let rest = rest.trim();
    let (listing, options) = match rest.split_once('{') {
        Some((listing, options)) => (listing.trim(), options.trim_end_matches('}')),
        None => (rest, ""),
    };
    let mut host = true;
    for option in options.split_whitespace() {
        match option {
            "no-host" => host = false,
            _ => return Err(format!("{option} is no option of a header")),
        }
    }
    if code.is_empty() {
        return Err("a header without code".into());
    }
    Ok(Group { line, code, listing: listing.into(), host, rows: Vec::new() })
}

fn row<S: Subject>(line: usize, content: &str, code_len: usize) -> Result<Row, String> {
    let (input, expected) = match content.split_once("=>") {
        Some((input, expected)) => (input.trim(), Some(expected)),
        None => (content, None),
    };
    let mut state = State::reset::<S>(ENTRY);
    let mut memory = Vec::new();
    for word in input.split_whitespace() {
        match assignment::<S>(word)? {
            Assignment::Part(part, value) => {
                let value = value.ok_or_else(|| format!("{word}: a state has no ?"))?;
                state.set_part(part, value);
            }
            Assignment::Memory(va, content) => {
                let content: Option<Vec<u8>> = content.into_iter().collect();
                memory.push((va, content.ok_or_else(|| format!("{word}: a state has no ?"))?));
            }
            Assignment::Pc(_) => return Err("code under test has a fixed pc".into()),
        }
    }
    let mut row = Row { line, input: input.into(), state, memory, expected: None };
    if let Some(text) = expected {
        row.expected = Some(right_side::<S>(&row, text, code_len)?);
    }
    Ok(row)
}

fn right_side<S: Subject>(row: &Row, text: &str, code_len: usize) -> Result<Expected, String> {
    let mut stop = Stop::Left;
    let mut state = row.state;
    state.pc = ENTRY + code_len as u64;
    let mut ignore = Ignore::default();
    let mut open = Vec::new();
    let before = image(row);
    let mut after = before.clone();
    let address = format!("{}=", S::ADDRESS);
    for word in text.split_whitespace() {
        if word == "same" {
            continue;
        }
        if let Some(&name) = S::FAULTS.iter().find(|&&name| name == word) {
            stop = Stop::Fault { name, address: None };
            state.pc = ENTRY;
            continue;
        }
        if let Some(value) = word.strip_prefix(&address) {
            match &mut stop {
                Stop::Fault { address, .. } => *address = Some(number(value)? as u64),
                _ => return Err(format!("{word} belongs behind a fault")),
            }
            continue;
        }
        match assignment::<S>(word)? {
            Assignment::Part(part, Some(value)) => {
                state.set_part(part, value);
                ignore.words[part.word] &= !part.mask();
            }
            Assignment::Part(part, None) => ignore.words[part.word] |= part.mask(),
            Assignment::Pc(pc) => state.pc = pc,
            Assignment::Memory(va, content) => {
                let range = data_range(va, content.len())
                    .ok_or_else(|| format!("{word}: the data lies at {DATA:x}"))?;
                for (i, byte) in content.iter().enumerate() {
                    match byte {
                        Some(byte) => after[range.start + i] = *byte,
                        None => open.push(va + i as u64),
                    }
                }
            }
        }
    }
    let data = crate::subject::changes(DATA, &before[..], &after[..]);
    Ok(Expected { outcome: Outcome { stop, state, data }, ignore, open })
}

enum Assignment {
    Part(crate::subject::Part, Option<u128>),
    Pc(u64),
    Memory(u64, Vec<Option<u8>>),
}

fn assignment<S: Subject>(word: &str) -> Result<Assignment, String> {
    let (name, value) =
        word.split_once('=').ok_or_else(|| format!("{word} is neither name=value nor a fault"))?;
    if let Some(va) = name.strip_prefix("mem[").and_then(|n| n.strip_suffix(']')) {
        let va = number(va)? as u64;
        let content = value.replace('_', "");
        if !content.len().is_multiple_of(2) || !content.is_ascii() {
            return Err(format!("{word}: a byte has two digits"));
        }
        let byte = |at: usize| match &content[at..at + 2] {
            "??" => Ok(None),
            digits => {
                u8::from_str_radix(digits, 16).map(Some).map_err(|_| format!("{digits} is no byte"))
            }
        };
        let content: Result<Vec<_>, String> = (0..content.len()).step_by(2).map(byte).collect();
        return Ok(Assignment::Memory(va, content?));
    }
    if name == "pc" {
        return Ok(Assignment::Pc(number(value)? as u64));
    }
    let part = S::part(name).ok_or_else(|| format!("there is no register {name}"))?;
    if value == "?" {
        return Ok(Assignment::Part(part, None));
    }
    let value = number(value)?;
    if part.bits < 128 && value >> part.bits != 0 {
        return Err(format!("{word}: {name} has {} bits", part.bits));
    }
    Ok(Assignment::Part(part, Some(value)))
}

fn number(text: &str) -> Result<u128, String> {
    u128::from_str_radix(&text.replace('_', ""), 16)
        .map_err(|_| format!("{text} is no hexadecimal number"))
}

/// The bytes that hexadecimal digits say.
pub fn bytes(digits: &str) -> Result<Vec<u8>, String> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return Err("a byte has two digits".into());
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16))
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{digits} are no bytes"))
}

/// All of the data before the row's code runs.
pub fn image(row: &Row) -> Box<[u8; DATA_BYTES]> {
    let mut image = Box::new([0; DATA_BYTES]);
    for (va, bytes) in &row.memory {
        if let Some(range) = data_range(*va, bytes.len()) {
            image[range].copy_from_slice(bytes);
        }
    }
    image
}

/// The left side of a row: what differs from the reset state.
pub fn left_side<S: Subject>(state: &State, memory: &[(u64, Vec<u8>)]) -> String {
    let reset = State::reset::<S>(ENTRY);
    let mut out = registers::<S>(&reset, state, &Ignore::default());
    for (va, bytes) in memory {
        let _ = write!(out, "mem[{va:x}]={} ", hex(bytes));
    }
    out.truncate(out.trim_end().len());
    out
}

/// The right side of a row: what `outcome` changes of `before`. Bits to ignore become `=?`.
pub fn right_side_text<S: Subject>(
    before: &State,
    outcome: &Outcome,
    ignore: &Ignore,
    code_len: usize,
) -> String {
    let mut out = String::new();
    let mut pc = ENTRY + code_len as u64;
    match outcome.stop {
        Stop::Left => {}
        Stop::Endless => out.push_str("endless "),
        Stop::Fault { name, address } => {
            pc = ENTRY;
            let _ = write!(out, "{name} ");
            if let Some(address) = address {
                let _ = write!(out, "{}={address:x} ", S::ADDRESS);
            }
        }
    }
    if outcome.state.pc != pc {
        let _ = write!(out, "pc={:x} ", outcome.state.pc);
    }
    let mut changed = registers::<S>(before, &outcome.state, ignore);
    for (va, bytes) in &outcome.data {
        let _ = write!(changed, "mem[{va:x}]={} ", hex(bytes));
    }
    if changed.is_empty() {
        changed.push_str("same");
    }
    out.push_str(changed.trim_end());
    out
}

fn registers<S: Subject>(from: &State, to: &State, ignore: &Ignore) -> String {
    let mut out = String::new();
    for (index, word) in S::WORDS.iter().enumerate() {
        let open = ignore.words[index];
        let value = to.words[index];
        if open != 0 && open == u128::MAX >> (128 - word.bits) {
            let _ = write!(out, "{}=? ", word.name);
        } else if (value ^ from.words[index]) & !open != 0 {
            let _ = write!(out, "{}={} ", word.name, digits(value, word.bits));
        }
    }
    out
}

/// A number as rows spell it: without leading zeros up to 64 bits, in groups beyond.
fn digits(value: u128, bits: u32) -> String {
    match bits {
        0..=64 => format!("{value:x}"),
        65..=80 => format!("{:x}_{:016x}", value >> 64, value as u64),
        _ => {
            let v = |i: u32| (value >> (32 * i)) as u32;
            format!("{:08x}_{:08x}_{:08x}_{:08x}", v(3), v(2), v(1), v(0))
        }
    }
}

/// A row as a line of a file, its comment kept.
pub fn line_text(input: &str, right: &str, comment: &str) -> String {
    let comment = if comment.is_empty() { String::new() } else { format!("    {comment}") };
    format!("  {input:<44} => {right}{comment}")
}

/// The file's text with the lines that `new` names replaced, comments kept. A header is given whole,
/// a row by its left and right side.
pub fn rewrite(text: &str, new: impl Fn(usize) -> Option<String>) -> String {
    let mut out = String::new();
    for (index, whole) in text.lines().enumerate() {
        match new(index + 1) {
            None => out.push_str(whole),
            Some(line) => {
                let (_, comment) = split_comment(whole);
                out.push_str(line.trim_end());
                if !comment.is_empty() {
                    let _ = write!(out, "    {comment}");
                }
            }
        }
        out.push('\n');
    }
    out
}

/// A header as a line of a file.
pub fn header_text(code: &[u8], listing: &str, host: bool) -> String {
    let code: Vec<String> = code.iter().map(|b| format!("{b:02x}")).collect();
    let options = if host { "" } else { "  {no-host}" };
    format!("[{}]  {listing}{options}", code.join(" "))
}
