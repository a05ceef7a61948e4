//! Random x86 instructions and states: the host CPU against tier 0.

use super::{Target, Verdict};
use crate::check::listing;
use crate::generate::{self, Generator, Insn};
use crate::native::Native;
use crate::pages::{DATA, DATA_BYTES, Pages};
use crate::random::Rng;
use crate::rows;
use crate::runner::{Runner, outcome};
use crate::subject::{Ignore, Outcome, State, Stop, Subject, difference};
use crate::tier::{Tier, TierRunner};
use crate::x86::{FCW, MXCSR, ST0};
use iced_x86::Mnemonic;
use mynah_ir::fp::env::{INEXACT, OVERFLOW, UNDERFLOW};
use mynah_x86::X86;
use std::collections::HashSet;
use std::rc::Rc;

/// States that each instruction is tried with.
const STATES: u64 = 8;

/// The host CPU against tier 0.
pub struct InsnTarget {
    generator: Generator,
    native: Native,
    tier0: TierRunner<X86>,
    pages: Pages,
    data: Rc<[u8; DATA_BYTES]>,
    /// Kinds of failures that have been reported.
    reported: HashSet<String>,
}

/// All that a case is.
#[derive(Clone)]
struct Case {
    insn: Insn,
    state: State,
    data: Rc<[u8; DATA_BYTES]>,
}

/// What a case came to.
struct Comparison {
    /// Of tier 0 from the host CPU; empty if there is none.
    difference: String,
    host: Outcome,
    ours: Stop,
    ignore: Ignore,
}

impl InsnTarget {
    /// A target that tries instructions whose name contains `only`.
    pub fn new(only: &str) -> Result<InsnTarget, String> {
        let generator = Generator::new(only);
        if generator.is_empty() {
            return Err(format!("no instruction is called {only}"));
        }
        Ok(InsnTarget {
            generator,
            native: Native::new().ok_or("this host's CPU is no oracle")?,
            tier0: TierRunner::new(Tier::Interpreter),
            pages: Pages::lock(),
            data: Rc::from(generate::data(&mut Rng::new(0))),
            reported: HashSet::new(),
        })
    }

    /// Runs the case on both; `None` if it tests nothing.
    fn compare(&mut self, case: &Case) -> Option<Comparison> {
        if generate::is_undefined(&case.insn, &case.state) {
            return None;
        }
        let Case { insn, state, data } = case;
        let host = outcome(&mut self.native, &mut self.pages, &insn.bytes, state, data);
        if is_outside(insn, &host) {
            return None;
        }
        let ours = outcome(&mut self.tier0, &mut self.pages, &insn.bytes, state, data);
        if first_of_two(host.stop, ours.stop) {
            return None;
        }
        let mut ignore = generate::undefined(insn, state);
        if host.stop != Stop::Left && insn.repeats() && insn.compares() {
            // SDM 2B, REP: CMPS and SCAS may leave flags changed when they fault.
            generate::ignore_flags(&mut ignore, generate::ARITHMETIC);
        }
        if host.stop != Stop::Left && insn.stores_mmx() {
            // The processor makes the transition to MMX (SDM 1, 9.5) before the store faults.
            ignore.words[FCW + 1] |= 0x3800;
            ignore.words[ST0..ST0 + 8].fill(u128::MAX);
        }
        let mxcsr = host.state.words[MXCSR] as u32;
        if host.stop.name() == "#XM" && !(mxcsr >> 7) & mxcsr & (OVERFLOW | UNDERFLOW) != 0 {
            // Whether the result would be inexact if it had an exponent of any size.
            ignore.words[MXCSR] |= u128::from(INEXACT);
        }
        let difference = difference::<X86>(&ours, &host, &ignore);
        Some(Comparison { difference, host, ours: ours.stop, ignore })
    }

    /// Whether the case fails, the host ending in the same way as in `like`.
    fn fails(&mut self, case: &Case, like: &Outcome) -> bool {
        self.compare(case)
            .is_some_and(|c| !c.difference.is_empty() && c.host.stop.name() == like.stop.name())
    }

    /// A case that fails too, the host ending in the same way, and says less.
    fn minimise(&mut self, case: &Case, host: &Outcome) -> Case {
        let mut least = case.clone();
        let reset = State::reset::<X86>(least.state.pc);
        let mut attempt = |least: &mut Case, change: &dyn Fn(&mut Case)| {
            let mut smaller = least.clone();
            change(&mut smaller);
            if self.fails(&smaller, host) {
                *least = smaller;
            }
        };
        attempt(&mut least, &|c| Rc::make_mut(&mut c.data).fill(0));
        let mut size = DATA_BYTES / 2;
        while size >= 4 && least.data.iter().any(|&b| b != 0) {
            for at in (0..DATA_BYTES).step_by(size) {
                if least.data[at..at + size].iter().any(|&b| b != 0) {
                    attempt(&mut least, &|c| Rc::make_mut(&mut c.data)[at..at + size].fill(0));
                }
            }
            size /= 2;
        }
        for n in 0..X86::WORDS.len() {
            let plain = reset.words[n];
            for value in [plain, 1, least.state.words[n] & 0xff, least.state.words[n] & 0xffff_ffff]
            {
                if least.state.words[n] == plain || least.state.words[n] == value {
                    continue;
                }
                attempt(&mut least, &|c| c.state.words[n] = value);
            }
        }
        least
    }

    fn report(&mut self, case: &Case) -> String {
        let code = &case.insn.bytes;
        let Comparison { difference, host, ignore, .. } =
            self.compare(case).expect("the case fails");
        let header = rows::header_text(code, &listing::<X86>(code), true);
        let memory = crate::subject::changes(DATA, &[0; DATA_BYTES], &case.data[..]);
        let left = rows::left_side::<X86>(&case.state, &memory);
        let right = rows::right_side_text::<X86>(&case.state, &host, &ignore, code.len());
        let row = rows::line_text(&left, &right, "");
        let explained = self.tier0.explain(code, case.state.pc);
        format!("{header}\n{row}\ntier 0 differs:\n{difference}{explained}")
    }
}

impl Target for InsnTarget {
    fn case(&mut self, rng: &mut Rng) -> Verdict {
        if rng.chance(1) {
            self.data = Rc::from(generate::data(rng));
        }
        let insn = self.generator.insn(rng);
        let mut useful = 0;
        for _ in 0..STATES {
            let mut data = self.data.clone();
            let state = generate::state(rng, &insn, &mut data);
            let case = Case { insn: insn.clone(), state, data };
            let Some(found) = self.compare(&case) else { continue };
            useful += u64::from(found.host.stop == Stop::Left);
            if found.difference.is_empty() {
                continue;
            }
            let code = insn.decoded.code();
            if found.ours.name() == "#UD" && found.host.stop.name() != "#UD" {
                return Verdict::Missing(format!("{:?}", insn.decoded.mnemonic()));
            }
            let kind = format!("{code:?}");
            let mut report = String::new();
            if self.reported.insert(kind.clone()) {
                let least = self.minimise(&case, &found.host);
                report = self.report(&least);
            }
            return Verdict::Failed { kind, report };
        }
        Verdict::Passed { cases: STATES, useful }
    }

    /// Rows, whose right sides do not matter: the host CPU is asked.
    fn replay(&mut self, _: &str, text: &str) -> Result<usize, String> {
        let mut count = 0;
        for group in rows::parse::<X86>(text).map_err(|e| e.to_string())? {
            let insn = Insn::decode(&group.code).filter(|insn| insn.bytes == group.code);
            let insn = insn.ok_or(format!("line {} is not one instruction", group.line))?;
            for row in &group.rows {
                let data = rows::image(row).into();
                let case = Case { insn: insn.clone(), state: row.state, data };
                if self.compare(&case).is_some_and(|found| !found.difference.is_empty()) {
                    return Err(format!("line {}\n{}", row.line, self.report(&case)));
                }
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Whether the host CPU went where Mynah does not follow: a transfer to an address that is not
/// canonical faults in the instruction on Intel's processors, behind it in Mynah.
fn is_outside(insn: &Insn, host: &Outcome) -> bool {
    use iced_x86::FlowControl as F;
    let transfers =
        matches!(insn.decoded.flow_control(), F::IndirectBranch | F::IndirectCall | F::Return);
    let stop = host.stop.name();
    // A repetition of 32-bit address size may clear the upper halves of its registers early.
    // SDM 2B, MASKMOVDQU: whether a mask of zeros faults is the processor's own affair.
    let masked = matches!(insn.decoded.mnemonic(), Mnemonic::Maskmovdqu | Mnemonic::Maskmovq);
    masked && stop != "left"
        || transfers && stop == "#GP"
        || insn.repeats() && insn.has_address_prefix() && stop != "left"
}

/// Whether an access that is written to as well lies across an edge between a page that cannot be
/// written and one that is not there: processors differ in which of the two faults comes first.
fn first_of_two(host: Stop, ours: Stop) -> bool {
    match (host, ours) {
        (
            Stop::Fault { name: "#PF", address: Some(host) },
            Stop::Fault { name: "#PF", address: Some(ours) },
        ) => ours.is_multiple_of(4096) && host < ours && ours - host < 16,
        _ => false,
    }
}
