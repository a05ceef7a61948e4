//! Registers of the system as rows spell them, and rows.

use super::image::{self, BYTES, CODE, HANDLERS};
use crate::machine::Guest86;
use mynah_guest::Cpu;
use mynah_testkit::subject::{changes, hex};
use mynah_x86::segment::{Segment, Table, attribute};
use std::fmt::Write as _;

/// Registers of a word.
pub(crate) const WORDS: [&str; 38] = [
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "rflags",
    "cr0",
    "cr2",
    "cr3",
    "cr4",
    "efer",
    "dr0",
    "dr1",
    "dr2",
    "dr3",
    "dr6",
    "dr7",
    "xcr0",
    "star",
    "lstar",
    "cstar",
    "fmask",
    "kernel_gs_base",
    "sysenter_cs",
    "sysenter_esp",
    "sysenter_eip",
    "pat",
];
/// Segment registers, those of the program in the order of their numbers.
pub(crate) const SEGMENTS: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];
/// Registers of descriptor tables.
const TABLES: [&str; 2] = ["gdtr", "idtr"];

/// The registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    /// The instruction pointer, as a linear address.
    pub(crate) pc: u64,
    /// In the order of [`WORDS`].
    pub(crate) words: [u64; WORDS.len()],
    /// In the order of [`SEGMENTS`].
    pub(crate) segments: [Segment; 8],
    /// GDTR and IDTR.
    pub(crate) tables: [Table; 2],
}

impl Default for State {
    fn default() -> State {
        State {
            pc: 0,
            words: [0; WORDS.len()],
            segments: [Segment::default(); 8],
            tables: [Table::default(); 2],
        }
    }
}

/// The index of a register of a word.
pub(crate) fn word(name: &str) -> Option<usize> {
    WORDS.iter().position(|&n| n == name)
}

fn segment(name: &str) -> Option<usize> {
    SEGMENTS.iter().position(|&n| n == name)
}

fn table(name: &str) -> Option<usize> {
    TABLES.iter().position(|&n| n == name)
}

/// Calls `each` with every register of a word, by its index and place in the vCPU, but RFLAGS.
fn each_word(cpu: &mut Cpu<Guest86>, mut each: impl FnMut(usize, &mut u64)) {
    let state = &mut cpu.state;
    for (n, register) in state.gpr.iter_mut().enumerate() {
        each(n, register);
    }
    let s = &mut state.system;
    let [dr0, dr1, dr2, dr3] = &mut s.dr;
    let others = [
        ("cr0", &mut s.cr0),
        ("cr2", &mut s.cr2),
        ("cr3", &mut s.cr3),
        ("cr4", &mut s.cr4),
        ("efer", &mut s.efer),
        ("dr0", dr0),
        ("dr1", dr1),
        ("dr2", dr2),
        ("dr3", dr3),
        ("dr6", &mut s.dr6),
        ("dr7", &mut s.dr7),
        ("xcr0", &mut s.xcr0),
        ("star", &mut s.star),
        ("lstar", &mut s.lstar),
        ("cstar", &mut s.cstar),
        ("fmask", &mut s.fmask),
        ("kernel_gs_base", &mut s.kernel_gs_base),
        ("sysenter_cs", &mut s.sysenter_cs),
        ("sysenter_esp", &mut s.sysenter_esp),
        ("sysenter_eip", &mut s.sysenter_eip),
        ("pat", &mut s.pat),
    ];
    for (name, register) in others {
        each(word(name).expect("a register"), register);
    }
}

const RFLAGS: usize = 16;
/// RF lasts for one instruction: at the end of a row it is not looked at.
const RF: u64 = 1 << 16;
/// Bits of a segment's attributes that rows show: all but those of the limit.
const RIGHTS: u32 = attribute::ALL;

impl State {
    /// Makes this the vCPU's state.
    pub(crate) fn load(&self, memory: &[u8], cpu: &mut Cpu<Guest86>) {
        each_word(cpu, |n, register| *register = self.words[n]);
        cpu.state.set_rflags_bits(self.words[RFLAGS], u64::MAX);
        for n in 0..6 {
            cpu.state.set_segment(n, self.segments[n]);
        }
        let s = &mut cpu.state.system;
        [s.ldtr, s.tr] = [self.segments[6], self.segments[7]];
        [s.gdtr, s.idtr] = self.tables;
        s.cpl = self.level();
        let pointers = s.cr3 as usize & 0xffff_ffe0;
        for (n, entry) in s.pdptes.iter_mut().enumerate() {
            let bytes = memory.get(pointers + 8 * n..pointers + 8 * n + 8);
            *entry = bytes.map_or(0, |b| u64::from_le_bytes(b.try_into().expect("8 bytes")));
        }
        cpu.state.refresh_mode();
    }

    /// The privilege level.
    fn level(&self) -> u8 {
        const VM: u64 = 1 << 17;
        let protected = self.words[RFLAGS + 1] & 1 != 0;
        match () {
            () if !protected => 0,
            () if self.words[RFLAGS] & VM != 0 => 3,
            () => (self.segments[1].selector & 3) as u8,
        }
    }

    /// The vCPU's state.
    pub(crate) fn save(cpu: &mut Cpu<Guest86>) -> State {
        let mut state = State { pc: cpu.core.pc, ..State::default() };
        each_word(cpu, |n, register| state.words[n] = *register);
        state.words[RFLAGS] = cpu.state.rflags() & !RF;
        for n in 0..6 {
            state.segments[n] = cpu.state.segment(n);
        }
        let s = &cpu.state.system;
        [state.segments[6], state.segments[7]] = [s.ldtr, s.tr];
        state.tables = [s.gdtr, s.idtr];
        assert_eq!(s.cpl, state.level(), "the privilege level is that of CS");
        for segment in &mut state.segments {
            if !segment.has(attribute::PRESENT) {
                *segment = Segment::null(segment.selector);
            }
        }
        state
    }

    /// Sets what `name` names to `value`.
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let parts: Result<Vec<u64>, String> = value.split(':').map(number).collect();
        let parts = parts?;
        match (name, parts.as_slice()) {
            ("pc", &[pc]) => self.pc = pc,
            (_, &[value]) if word(name).is_some() => {
                self.words[word(name).unwrap_or(0)] = value;
            }
            (_, &[selector, base, limit, rights]) if segment(name).is_some() => {
                self.segments[segment(name).unwrap_or(0)] = Segment {
                    selector: selector as u16,
                    base,
                    limit: limit as u32,
                    attributes: (rights as u32) << 8 & RIGHTS,
                };
            }
            (_, &[base, limit]) if table(name).is_some() => {
                self.tables[table(name).unwrap_or(0)] = Table { base, limit: limit as u16 };
            }
            _ => return Err(format!("{name}={value} names no register or has the wrong parts")),
        }
        Ok(())
    }

    /// Each register as rows spell it: name and value.
    pub(crate) fn spelled(&self) -> Vec<(&'static str, String)> {
        let words = WORDS.iter().zip(self.words).map(|(&name, w)| (name, format!("{w:x}")));
        let segments = SEGMENTS.iter().zip(self.segments).map(|(&name, s)| {
            let rights = (s.attributes & RIGHTS) >> 8;
            (name, format!("{:x}:{:x}:{:x}:{rights:x}", s.selector, s.base, s.limit))
        });
        let tables = TABLES
            .iter()
            .zip(self.tables)
            .map(|(&name, t)| (name, format!("{:x}:{:x}", t.base, t.limit)));
        words.chain(segments).chain(tables).collect()
    }
}

fn number(text: &str) -> Result<u64, String> {
    u64::from_str_radix(&text.replace('_', ""), 16)
        .map_err(|_| format!("{text} is no hexadecimal number"))
}

/// How a row ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Control is outside the code under test.
    At,
    /// HLT, with the pc behind it.
    Halt,
    /// A triple fault; the state is not looked at.
    Shutdown,
    /// It goes on and on.
    Endless,
}

impl End {
    const ALL: [(End, &'static str); 4] = [
        (End::At, "at"),
        (End::Halt, "halt"),
        (End::Shutdown, "shutdown"),
        (End::Endless, "endless"),
    ];

    pub(crate) fn named(name: &str) -> Option<End> {
        End::ALL.iter().find(|(_, n)| *n == name).map(|&(end, _)| end)
    }

    fn name(self) -> &'static str {
        End::ALL.iter().find(|&&(end, _)| end == self).map_or("", |&(_, name)| name)
    }
}

/// What a row came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) state: State,
    pub(crate) memory: Vec<u8>,
}

impl Outcome {
    /// Reads the answer `END name=value ... mem=address:bytes,...` to a row whose memory was
    /// `before`.
    pub(crate) fn read(answer: &str, before: &[u8]) -> Result<Outcome, String> {
        let mut words = answer.split_whitespace();
        let end = words.next().and_then(End::named).ok_or(format!("answered {answer:?}"))?;
        let mut outcome = Outcome { end, state: State::default(), memory: before.to_vec() };
        for word in words {
            let (name, value) = word.split_once('=').ok_or("no name=value")?;
            if name != "mem" {
                outcome.state.set(name, value)?;
                outcome.state.words[RFLAGS] &= !RF;
                continue;
            }
            for part in value.split(',').filter(|part| !part.is_empty()) {
                let (at, bytes) = part.split_once(':').ok_or("no address:bytes")?;
                let at = number(at)? as usize;
                for (n, byte) in (0..bytes.len()).step_by(2).enumerate() {
                    outcome.memory[at + n] = number(&bytes[byte..byte + 2])? as u8;
                }
            }
        }
        Ok(outcome)
    }
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its line, from 1.
    pub(crate) line: usize,
    /// The code under test.
    pub(crate) code: Vec<u8>,
    /// The name of its setting.
    pub(crate) setting: String,
    /// Text left of `=>`.
    pub(crate) input: String,
    /// The words right of `=>`, if it is there.
    pub(crate) expected: Option<Vec<String>>,
    /// Whether Bochs is asked.
    pub(crate) bochs: bool,
    edits: Vec<(u64, Vec<u8>)>,
    pub(crate) state: State,
}

/// Names of exceptions by vector.
const EXCEPTIONS: [(u64, &str); 16] = [
    (0, "#DE"),
    (1, "#DB"),
    (2, "NMI"),
    (3, "#BP"),
    (4, "#OF"),
    (5, "#BR"),
    (6, "#UD"),
    (7, "#NM"),
    (8, "#DF"),
    (10, "#TS"),
    (11, "#NP"),
    (12, "#SS"),
    (13, "#GP"),
    (14, "#PF"),
    (16, "#MF"),
    (17, "#AC"),
];

/// The event whose handler begins at `pc`, as rows call it.
fn event(pc: u64) -> Option<String> {
    let inside = (HANDLERS..HANDLERS + 0x1000).contains(&pc) && pc.is_multiple_of(16);
    let vector = (pc.wrapping_sub(HANDLERS)) / 16;
    let name = EXCEPTIONS.iter().find(|&&(v, _)| v == vector).map(|&(_, name)| name.into());
    inside.then(|| name.unwrap_or_else(|| format!("int{vector:x}")))
}

/// The pc of the handler of the event `name`.
fn handler(name: &str) -> Option<u64> {
    let exception = EXCEPTIONS.iter().find(|(_, n)| *n == name).map(|&(v, _)| v);
    let vector = exception.or_else(|| number(name.strip_prefix("int")?).ok().filter(|&v| v < 256));
    vector.map(|v| HANDLERS + 16 * v)
}

/// Bytes of what `b[`, `w[`, `d[` and `q[` name.
fn unit(name: &str) -> Option<(usize, &str)> {
    let bytes = [("b[", 1), ("w[", 2), ("d[", 4), ("q[", 8)];
    let inside = |(prefix, n)| Some((n, name.strip_prefix(prefix)?.strip_suffix(']')?));
    bytes.into_iter().find_map(inside)
}

impl Row {
    pub(crate) fn parse(line: usize, code: &[u8], bochs: bool, text: &str) -> Result<Row, String> {
        let (input, expected) = match text.split_once("=>") {
            Some((input, expected)) => (input.trim(), Some(expected)),
            None => (text.trim(), None),
        };
        let words: Vec<&str> = input.split_whitespace().collect();
        let (&setting, words) = words.split_first().ok_or("a row begins with its setting")?;
        let state = image::setting_state(setting).ok_or(format!("{setting} is no setting"))?;
        let mut row = Row {
            line,
            code: code.to_vec(),
            setting: setting.into(),
            input: input.into(),
            expected: expected.map(|e| e.split_whitespace().map(str::to_owned).collect()),
            bochs,
            edits: Vec::new(),
            state,
        };
        let assignment = |word| str::split_once(word, '=').ok_or(format!("{word}: no name=value"));
        for word in words {
            let (name, value) = assignment(word)?;
            if let Some((bytes, at)) = unit(name) {
                row.edits.push((number(at)?, elements(bytes, value)?));
            }
        }
        for word in words {
            let (name, value) = assignment(word)?;
            if unit(name).is_some() {
                continue;
            }
            match (segment(name), value.contains(':')) {
                // A selector alone stands for what its descriptor says.
                (Some(n), false) => {
                    let selector = number(value)? as u16;
                    let found = image::named_segment(&row, n, selector);
                    row.state.segments[n] = found.ok_or(format!("{word}: beyond the table"))?;
                }
                _ => row.state.set(name, value)?,
            }
        }
        Ok(row)
    }

    /// Memory before.
    pub(crate) fn memory(&self) -> Vec<u8> {
        let mut memory = image::image().to_vec();
        for (at, bytes) in self.all_edits() {
            let at = at as usize;
            if let Some(place) = memory.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(&bytes);
            }
        }
        memory
    }

    fn all_edits(&self) -> Vec<(u64, Vec<u8>)> {
        let mut edits = self.edits.clone();
        edits.push((CODE, self.code.clone()));
        // Where the code falls through to, unless something else stands there.
        edits.insert(0, (CODE + self.code.len() as u64, image::LANDING.to_vec()));
        edits
    }

    /// The request that Bochs is sent.
    pub(crate) fn request(&self) -> String {
        let mut out = format!("row {} pc={:x}", hex(&self.code), self.state.pc);
        for (name, value) in self.state.spelled() {
            let _ = write!(out, " {name}={value}");
        }
        let edits = self.all_edits();
        let edits: Vec<String> =
            edits.iter().map(|(at, bytes)| format!("{at:x}:{}", hex(bytes))).collect();
        let _ = write!(out, " mem={}", edits.join(","));
        out
    }

    /// The right side that says what `outcome` is. Where it fits what the row has with digits left
    /// open, it is that.
    pub(crate) fn right_side(&self, outcome: &Outcome) -> String {
        let mut words = Vec::new();
        let pc = outcome.state.pc;
        match (outcome.end, event(pc)) {
            (End::Shutdown, _) => return End::Shutdown.name().into(),
            (End::At, Some(event)) => words.push(event),
            (End::At, None) if pc == CODE + self.code.len() as u64 => {}
            (End::At, None) => words.push(format!("pc={pc:x}")),
            (end, _) => {
                words.push(end.name().into());
                if pc != CODE + self.code.len() as u64 {
                    words.push(format!("pc={pc:x}"));
                }
            }
        }
        let before = self.state.spelled();
        for ((name, value), (_, was)) in outcome.state.spelled().into_iter().zip(before) {
            let word = self.fitted(format!("{name}={value}"));
            if value != was || word.contains('?') {
                words.push(word);
            }
        }
        let bytes = image::word_bytes(&self.setting);
        let memory = memory_words(&self.memory(), &outcome.memory, bytes);
        words.extend(memory.into_iter().map(|word| self.fitted(word)));
        if words.is_empty() { "same".into() } else { words.join(" ") }
    }

    /// The word of the right side that leaves digits of `word` open and is like it otherwise, or
    /// else `word`.
    fn fitted(&self, word: String) -> String {
        let Some((name, value)) = word.split_once('=') else { return word };
        let fits = |expected: &&String| {
            let Some((n, pattern)) = expected.split_once('=') else { return false };
            n == name && (pattern == "?" || pattern.contains('?') && is_like(value, pattern))
        };
        self.expected.iter().flatten().find(fits).cloned().unwrap_or(word)
    }

    /// Where control may be at its end besides handlers and targets: behind the code, and where the
    /// right side says.
    pub(crate) fn ends(&self) -> Vec<u64> {
        let words = self.expected.iter().flatten();
        let named = words.filter_map(|word| number(word.strip_prefix("pc=")?).ok());
        named.chain([CODE + self.code.len() as u64]).collect()
    }

    /// Whether `outcome` is as the row expects; the right side that it would have if not.
    pub(crate) fn check(&self, outcome: &Outcome) -> Result<(), String> {
        let right = self.right_side(outcome);
        match &self.expected {
            Some(expected) if expected.join(" ") == right => Ok(()),
            _ => Err(right),
        }
    }

    /// What the right side says, checked for words that no outcome has.
    pub(crate) fn check_words(&self) -> Result<(), String> {
        for word in self.expected.iter().flatten() {
            let known = match word.split_once('=') {
                None => word == "same" || End::named(word).is_some() || handler(word).is_some(),
                Some((name, "?")) => self::word(name).is_some() || segment(name).is_some(),
                Some((name, value)) => {
                    let value = value.replace('?', "0");
                    match unit(name) {
                        Some((bytes, at)) => number(at).is_ok() && elements(bytes, &value).is_ok(),
                        None => State::default().set(name, &value).is_ok(),
                    }
                }
            };
            if !known {
                return Err(format!("{word} is nothing that a row can come to"));
            }
        }
        Ok(())
    }
}

/// Whether the numbers of `value` are those of `pattern` but for digits that are `?` there.
fn is_like(value: &str, pattern: &str) -> bool {
    let (values, patterns) = (value.split(':'), pattern.split(':'));
    values.clone().count() == patterns.clone().count()
        && values.zip(patterns).all(|(value, pattern)| {
            let value = format!("{value:0>width$}", width = pattern.len());
            let digits = value.chars().zip(pattern.chars());
            value.len() == pattern.len() && digits.into_iter().all(|(v, p)| p == '?' || v == p)
        })
}

/// The bytes of `value`, elements of `bytes` bytes separated by colons.
fn elements(bytes: usize, value: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for part in value.split(':') {
        let element = number(part)?;
        if bytes < 8 && element >> (8 * bytes) != 0 {
            return Err(format!("{part} has more than {bytes} bytes"));
        }
        out.extend(&element.to_le_bytes()[..bytes]);
    }
    Ok(out)
}

/// The words of memory that changed, those beside each other together.
fn memory_words(before: &[u8], after: &[u8], bytes: usize) -> Vec<String> {
    let name = ["b", "w", "d", "q"][bytes.trailing_zeros() as usize];
    let mut out: Vec<String> = Vec::new();
    let mut end = usize::MAX;
    if changes(0, before, after).is_empty() {
        return out;
    }
    for at in (0..BYTES).step_by(bytes) {
        let (was, is) = (&before[at..at + bytes], &after[at..at + bytes]);
        if was == is {
            continue;
        }
        let value = is.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        match out.last_mut() {
            Some(last) if end == at => {
                let _ = write!(last, ":{value:x}");
            }
            _ => out.push(format!("{name}[{at:x}]={value:x}")),
        }
        end = at + bytes;
    }
    out
}
