//! Random x86 instructions and states: the host CPU against tier 0.

use super::{Target, Verdict};
use crate::check::listing;
use crate::generate::{self, Generator, Insn};
use crate::interp::{Interpreter, Ir};
use crate::native::Native;
use crate::pages::{DATA, DATA_BYTES, Pages};
use crate::random::Rng;
use crate::rows;
use crate::runner::{Runner, outcome};
use crate::subject::{Ignore, Outcome, State, Stop, Subject, difference};
use mynah_x86::X86;

/// States that each instruction is tried with.
const STATES: usize = 4;

/// The host CPU against tier 0.
pub struct InsnTarget {
    generator: Generator,
    native: Native,
    tier0: Interpreter<X86>,
    pages: Pages,
    data: Box<[u8; DATA_BYTES]>,
}

/// All that a case is.
#[derive(Clone)]
struct Case {
    insn: Insn,
    state: State,
    data: Box<[u8; DATA_BYTES]>,
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
            tier0: Interpreter::new(Ir::Optimised),
            pages: Pages::lock(),
            data: generate::data(&mut Rng::new(0)),
        })
    }

    /// The difference between the host CPU and tier 0, and the host's outcome; `None` if the case
    /// tests nothing.
    fn compare(&mut self, case: &Case) -> Option<(String, Outcome, Ignore)> {
        if generate::is_undefined(&case.insn, &case.state) {
            return None;
        }
        let Case { insn, state, data } = case;
        let host = outcome(&mut self.native, &mut self.pages, &insn.bytes, state, data);
        if is_outside(insn, &host) {
            return None;
        }
        let ours = outcome(&mut self.tier0, &mut self.pages, &insn.bytes, state, data);
        let ignore = generate::undefined(insn, state);
        Some((difference::<X86>(&ours, &host, &ignore), host, ignore))
    }

    fn fails(&mut self, case: &Case) -> bool {
        self.compare(case).is_some_and(|(difference, ..)| !difference.is_empty())
    }

    /// A case that fails too and says less.
    fn minimise(&mut self, case: &Case) -> Case {
        let mut least = case.clone();
        let reset = State::reset::<X86>(least.state.pc);
        let mut attempt = |least: &mut Case, change: &dyn Fn(&mut Case)| {
            let mut smaller = least.clone();
            change(&mut smaller);
            if self.fails(&smaller) {
                *least = smaller;
            }
        };
        attempt(&mut least, &|c| c.data.fill(0));
        let mut size = DATA_BYTES / 2;
        while size >= 4 && least.data.iter().any(|&b| b != 0) {
            for at in (0..DATA_BYTES).step_by(size) {
                if least.data[at..at + size].iter().any(|&b| b != 0) {
                    attempt(&mut least, &|c| c.data[at..at + size].fill(0));
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
        let (difference, host, ignore) = self.compare(case).expect("the case fails");
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
            self.data = generate::data(rng);
        }
        let insn = self.generator.insn(rng);
        let mut useful = false;
        for _ in 0..STATES {
            let mut data = self.data.clone();
            let state = generate::state(rng, &insn, &mut data);
            let case = Case { insn: insn.clone(), state, data };
            let Some((difference, host, _)) = self.compare(&case) else { continue };
            useful |= host.stop == Stop::Left;
            if difference.is_empty() {
                continue;
            }
            let code = insn.decoded.code();
            if difference.contains("#UD") && matches!(host.stop, Stop::Left) {
                return Verdict::Missing(format!("{:?}", insn.decoded.mnemonic()));
            }
            let least = self.minimise(&case);
            return Verdict::Failed { kind: format!("{code:?}"), report: self.report(&least) };
        }
        if useful { Verdict::Useful } else { Verdict::Useless }
    }
}

/// Whether the host CPU went where Mynah does not follow: a transfer to an address that is not
/// canonical faults in the instruction on Intel's processors, behind it in Mynah.
fn is_outside(insn: &Insn, host: &Outcome) -> bool {
    use iced_x86::FlowControl as F;
    let transfers =
        matches!(insn.decoded.flow_control(), F::IndirectBranch | F::IndirectCall | F::Return);
    transfers && matches!(host.stop, Stop::Fault { name: "#GP", .. })
}
