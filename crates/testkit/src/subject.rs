//! A guest as tests see it: its registers by name, and how a run of its code ends.

use mynah_guest::{Cpu, Fault, Guest};
use std::fmt::Write as _;

/// A register: an entry of [`Subject::WORDS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// As rows and reports spell it.
    pub name: &'static str,
    /// Its width.
    pub bits: u32,
    /// Its value unless a row says otherwise.
    pub reset: u128,
}

/// A name for part of a register, such as AH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Index of the register in [`Subject::WORDS`].
    pub word: usize,
    /// Position of its lowest bit.
    pub shift: u32,
    /// Its width.
    pub bits: u32,
}

impl Part {
    /// The bits of the register that the part has.
    pub fn mask(self) -> u128 {
        (u128::MAX >> (128 - self.bits)) << self.shift
    }
}

/// The most registers a guest may show.
const WORDS: usize = 72;

/// All registers, in the order of [`Subject::WORDS`], and the pc.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// The pc.
    pub pc: u64,
    /// The registers; 0 beyond the last.
    pub words: [u128; WORDS],
}

impl State {
    /// Every register as a row that says nothing has it, at `pc`.
    pub fn reset<S: Subject>(pc: u64) -> State {
        let mut state = State { pc, words: [0; WORDS] };
        for (to, word) in state.words.iter_mut().zip(S::WORDS) {
            *to = word.reset;
        }
        state
    }

    /// Value of the part.
    pub fn part(&self, part: Part) -> u128 {
        (self.words[part.word] & part.mask()) >> part.shift
    }

    /// Makes `value`, cut to its width, the part's.
    pub fn set_part(&mut self, part: Part, value: u128) {
        let word = &mut self.words[part.word];
        *word = *word & !part.mask() | value << part.shift & part.mask();
    }
}

/// How a run of code under test ended. Where is in [`State::pc`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Control left the code, by its end or a transfer.
    Left,
    /// A fault, trap or exception.
    Fault {
        /// The manual's name for it.
        name: &'static str,
        /// The address it concerns, if it concerns one.
        address: Option<u64>,
    },
    /// It went on for longer than a test waits.
    Endless,
}

impl Stop {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Stop::Left => "left",
            Stop::Fault { name, .. } => name,
            Stop::Endless => "endless",
        }
    }
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        match self {
            Stop::Fault { address: Some(address), .. } => write!(f, " at {address:x}"),
            _ => Ok(()),
        }
    }
}

/// A guest architecture under test.
pub trait Subject: Guest<Memory = mynah_mem::Flat> + std::fmt::Debug {
    /// Folder of its rows.
    const FOLDER: &'static str;
    /// Its registers.
    const WORDS: &'static [Word];
    /// What rows call the address of a fault.
    const ADDRESS: &'static str;
    /// Names of its faults, of which rows may expect any.
    const FAULTS: &'static [&'static str];

    /// The part of a register that `name` names, if it is none of [`Subject::WORDS`].
    fn alias(name: &str) -> Option<Part>;

    /// Makes `state` the vCPU's.
    fn load(state: &State, cpu: &mut Cpu<Self>);

    /// The vCPU's state.
    fn save(cpu: &Cpu<Self>) -> State;

    /// How tests call the fault.
    fn stop(fault: Fault) -> Stop;

    /// The part of a register that `name` names.
    fn part(name: &str) -> Option<Part> {
        let word = Self::WORDS.iter().position(|w| w.name == name);
        word.map(|word| Part { word, shift: 0, bits: Self::WORDS[word].bits })
            .or_else(|| Self::alias(name))
    }
}

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// How it ended.
    pub stop: Stop,
    /// Registers at the end.
    pub state: State,
    /// Data that changed: addresses and bytes.
    pub data: Vec<(u64, Vec<u8>)>,
}

/// Bits in which two outcomes may differ without being counted as different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ignore {
    /// For each register.
    pub words: [u128; WORDS],
}

impl Default for Ignore {
    fn default() -> Ignore {
        Ignore { words: [0; WORDS] }
    }
}

/// Where `got` differs from `expected`, one line for each difference; empty if nowhere.
pub fn difference<S: Subject>(got: &Outcome, expected: &Outcome, ignore: &Ignore) -> String {
    let mut out = String::new();
    if got.stop != expected.stop {
        let _ = writeln!(out, "{:>8}: {} instead of {}", "end", got.stop, expected.stop);
    }
    if got.state.pc != expected.state.pc {
        let (got, expected) = (got.state.pc, expected.state.pc);
        let _ = writeln!(out, "{:>8}: {got:x} instead of {expected:x}", "pc");
    }
    for (index, word) in S::WORDS.iter().enumerate() {
        let keep = !ignore.words[index];
        let (got, expected) = (got.state.words[index] & keep, expected.state.words[index] & keep);
        if got != expected {
            let digits = word.bits.div_ceil(4) as usize;
            let name = word.name;
            let _ = writeln!(out, "{name:>8}: {got:0digits$x} instead of {expected:0digits$x}");
        }
    }
    if got.data != expected.data {
        let _ = writeln!(out, "{:>8}: {}", "memory", memory(&got.data));
        let _ = writeln!(out, "{:>8}  {}", "instead of", memory(&expected.data));
    }
    out
}

fn memory(changes: &[(u64, Vec<u8>)]) -> String {
    let mut out = String::new();
    for (va, bytes) in changes {
        let _ = write!(out, "mem[{va:x}]={} ", hex(bytes));
    }
    if out.is_empty() { "unchanged".into() } else { out }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The runs of bytes in which `after` differs from `before`, with their addresses.
pub fn changes(base: u64, before: &[u8], after: &[u8]) -> Vec<(u64, Vec<u8>)> {
    const CHUNK: usize = 64;
    if before == after {
        return Vec::new();
    }
    let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
    let chunks = before.chunks(CHUNK).zip(after.chunks(CHUNK)).enumerate();
    for (chunk, (b, a)) in chunks.filter(|(_, (b, a))| b != a) {
        for (i, _) in b.iter().zip(a).enumerate().filter(|(_, (b, a))| b != a) {
            let va = base + (chunk * CHUNK + i) as u64;
            match found.last_mut() {
                Some((start, bytes)) if *start + bytes.len() as u64 == va => bytes.push(a[i]),
                _ => found.push((va, vec![a[i]])),
            }
        }
    }
    found
}
