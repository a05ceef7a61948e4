//! Random code of x86 and RISC-V, a block or a few: every pass and tier against the IR as lifted.

use super::{Target, Verdict};
use crate::check::listing;
use crate::generate::{self, Generator};
use crate::pages::{DATA, DATA_BYTES, ENTRY, Pages};
use crate::random::Rng;
use crate::riscv;
use crate::rows;
use crate::runner::{Runner, outcome};
use crate::subject::{Ignore, Outcome, State, Stop, Subject, difference};
use crate::tier::{Tier, TierRunner};
use mynah_riscv::RiscV;
use mynah_x86::X86;
use std::collections::HashSet;
use std::rc::Rc;

/// States that each block is tried with.
const STATES: u64 = 4;

/// Instructions in a block at most.
const INSNS: usize = 8;

/// Blocks of both guests on every tier.
pub struct TiersTarget {
    x86: Tiers<X86>,
    riscv: Tiers<RiscV>,
    generator: Generator,
    pages: Pages,
    data: Rc<[u8; DATA_BYTES]>,
    only: String,
}

/// The tiers of one guest.
struct Tiers<S: Subject> {
    reference: TierRunner<S>,
    others: Vec<TierRunner<S>>,
    /// Kinds of failures that have been reported.
    reported: HashSet<String>,
}

/// A block and what it begins from.
#[derive(Clone)]
struct Case {
    insns: Vec<Vec<u8>>,
    state: State,
    data: Rc<[u8; DATA_BYTES]>,
}

impl Case {
    fn code(&self) -> Vec<u8> {
        self.insns.concat()
    }
}

impl TiersTarget {
    /// A target that tries the guest called `only`, or both.
    pub fn new(only: &str) -> Result<TiersTarget, String> {
        if ![X86::FOLDER, RiscV::FOLDER, ""].contains(&only) {
            return Err(format!("{only} is neither x86 nor riscv"));
        }
        Ok(TiersTarget {
            x86: Tiers::new(),
            riscv: Tiers::new(),
            generator: Generator::new(""),
            pages: Pages::lock(),
            data: Rc::from(generate::data(&mut Rng::new(0))),
            only: only.into(),
        })
    }
}

impl Target for TiersTarget {
    fn case(&mut self, rng: &mut Rng) -> Verdict {
        if rng.chance(1) {
            self.data = Rc::from(generate::data(rng));
        }
        let riscv = match self.only.as_str() {
            "" => rng.chance(30),
            only => only == RiscV::FOLDER,
        };
        let count = rng.below(INSNS) + 1;
        if riscv {
            let mut insns: Vec<_> = (0..count).map(|_| riscv::random_insn(rng)).collect();
            add_jumps(rng, &mut insns, riscv::jump);
            let states = |rng: &mut Rng| Some((riscv::random_state(rng), self.data.clone()));
            return self.riscv.case(&mut self.pages, rng, insns, states);
        }
        // Where a locked access goes is only known at the start: see `generate::is_undefined`.
        let mut insns = vec![self.generator.insn(rng)];
        insns.extend((1..count).map(|_| self.generator.insn(rng)).filter(|insn| !insn.locks()));
        let mut bytes = insns.iter().map(|insn| insn.bytes.clone()).collect();
        add_jumps(rng, &mut bytes, generate::jump);
        let states = |rng: &mut Rng| {
            let mut data = self.data.clone();
            let state = generate::block_state(rng, &insns, &mut data);
            (!generate::is_undefined(&insns[0], &state)).then_some((state, data))
        };
        self.x86.case(&mut self.pages, rng, bytes, states)
    }

    /// Rows, whose right sides do not matter: the reference is asked. A file is named after its
    /// guest.
    fn replay(&mut self, name: &str, text: &str) -> Result<usize, String> {
        match name.split('.').next() {
            Some(X86::FOLDER) => self.x86.replay(&mut self.pages, text),
            Some(RiscV::FOLDER) => self.riscv.replay(&mut self.pages, text),
            _ => Err(format!("{name} is not named after a guest")),
        }
    }
}

/// Makes several blocks of some: `jump` encodes a transfer of a kind over a distance, counted from
/// its start, in a length that depends on the kind alone.
fn add_jumps(rng: &mut Rng, insns: &mut Vec<Vec<u8>>, jump: fn(u64, i32) -> Vec<u8>) {
    if rng.chance(60) {
        return;
    }
    let mut jumps: Vec<(usize, u64)> = Vec::new();
    for _ in 0..rng.below(4) + 1 {
        let (at, kind) = (rng.below(insns.len()) + 1, rng.bits());
        insns.insert(at, jump(kind, 0));
        for (other, _) in &mut jumps {
            *other += usize::from(*other >= at);
        }
        jumps.push((at, kind));
    }
    for (at, kind) in jumps {
        let offset = |n: usize| insns[..n].iter().map(Vec::len).sum::<usize>() as i32;
        // Loops often have no end.
        let to =
            if rng.chance(10) { rng.below(at + 1) } else { at + 1 + rng.below(insns.len() - at) };
        insns[at] = jump(kind, offset(to) - offset(at));
    }
}

impl<S: Subject> Tiers<S> {
    fn new() -> Tiers<S> {
        let others = Tier::ALL.into_iter().filter(|&tier| tier != Tier::Lifted);
        Tiers {
            reference: TierRunner::new(Tier::Lifted),
            others: others.map(TierRunner::new).collect(),
            reported: HashSet::new(),
        }
    }

    fn case(
        &mut self,
        pages: &mut Pages,
        rng: &mut Rng,
        insns: Vec<Vec<u8>>,
        mut states: impl FnMut(&mut Rng) -> Option<(State, Rc<[u8; DATA_BYTES]>)>,
    ) -> Verdict {
        let mut useful = 0;
        for _ in 0..STATES {
            let Some((state, data)) = states(rng) else { continue };
            let case = Case { insns: insns.clone(), state, data };
            let expected = self.expected(pages, &case);
            if expected.stop == Stop::Endless {
                continue;
            }
            let moved = expected.state.words != case.state.words || !expected.data.is_empty();
            useful += u64::from(moved || expected.stop == Stop::Left);
            for n in 0..self.others.len() {
                if self.fails(pages, &case, n).is_none() {
                    continue;
                }
                let least = self.minimise(pages, &case, n);
                let kind = format!("{}: {}", self.others[n].name(), listing::<S>(&least.insns[0]));
                let kind = kind.split(' ').take(2).collect::<Vec<_>>().join(" ");
                let mut report = String::new();
                if self.reported.insert(kind.clone()) {
                    report = self.report(pages, &least, n);
                }
                return Verdict::Failed { kind, report };
            }
        }
        Verdict::Passed { cases: STATES, useful }
    }

    fn replay(&mut self, pages: &mut Pages, text: &str) -> Result<usize, String> {
        let mut count = 0;
        for group in rows::parse::<S>(text).map_err(|e| e.to_string())? {
            for row in &group.rows {
                let insns = vec![group.code.clone()];
                let data = rows::image(row).into();
                let case = Case { insns, state: row.state, data };
                for n in 0..self.others.len() {
                    if self.fails(pages, &case, n).is_some() {
                        let report = self.report(pages, &case, n);
                        return Err(format!("line {}\n{report}", row.line));
                    }
                }
                count += 1;
            }
        }
        Ok(count)
    }

    fn expected(&mut self, pages: &mut Pages, case: &Case) -> Outcome {
        outcome(&mut self.reference, pages, &case.code(), &case.state, &case.data)
    }

    /// How tier `n` differs from the reference, if it does.
    fn fails(&mut self, pages: &mut Pages, case: &Case, n: usize) -> Option<String> {
        let expected = self.expected(pages, case);
        if expected.stop == Stop::Endless {
            return None;
        }
        let got = outcome(&mut self.others[n], pages, &case.code(), &case.state, &case.data);
        let difference = difference::<S>(&got, &expected, &Ignore::default());
        (!difference.is_empty()).then_some(difference)
    }

    /// A case on which tier `n` fails too, and that says less.
    fn minimise(&mut self, pages: &mut Pages, case: &Case, n: usize) -> Case {
        let mut least = case.clone();
        let mut attempt = |least: &mut Case, change: &dyn Fn(&mut Case)| {
            let mut smaller = least.clone();
            change(&mut smaller);
            if !smaller.insns.is_empty() && self.fails(pages, &smaller, n).is_some() {
                *least = smaller;
                return true;
            }
            false
        };
        for at in (0..least.insns.len()).rev() {
            attempt(&mut least, &|c| drop(c.insns.remove(at)));
        }
        attempt(&mut least, &|c| Rc::make_mut(&mut c.data).fill(0));
        let reset = State::reset::<S>(ENTRY);
        for word in 0..S::WORDS.len() {
            attempt(&mut least, &|c| c.state.words[word] = reset.words[word]);
        }
        least
    }

    fn report(&mut self, pages: &mut Pages, case: &Case, n: usize) -> String {
        let code = case.code();
        let difference = self.fails(pages, case, n).unwrap_or_default();
        let expected = self.expected(pages, case);
        let header = rows::header_text(&code, &listing::<S>(&code), true);
        let memory = crate::subject::changes(DATA, &[0; DATA_BYTES], &case.data[..]);
        let left = rows::left_side::<S>(&case.state, &memory);
        let ignore = Ignore::default();
        let right = rows::right_side_text::<S>(&case.state, &expected, &ignore, code.len());
        let row = rows::line_text(&left, &right, "");
        let explained = self.others[n].explain(&code, ENTRY);
        let name = self.others[n].name();
        format!("{header}\n{row}\n{name} differs from the IR as lifted:\n{difference}{explained}")
    }
}
