//! Runners: what can execute code under test, and the lifting that those of ours share.

use crate::native::Native;
use crate::pages::{DATA, DATA_BYTES, Pages};
use crate::subject::{Outcome, State, Stop, Subject, changes};
use crate::x86::{from_regs, native_stop, to_regs};
use mynah_guest::Lifted;
use mynah_ir::{Block, BlockKey, Builder, End};
use mynah_x86::X86;

/// Something that executes code.
pub trait Runner<S: Subject> {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Runs `code`, which is in `pages`, from `state` until control leaves it.
    fn run(&mut self, pages: &mut Pages, code: &[u8], state: &State) -> (Stop, State);

    /// What it makes of `code` at `pc`, for a report.
    fn explain(&mut self, _code: &[u8], _pc: u64) -> String {
        String::new()
    }
}

/// Runs `code` on `runner` from `state` and `data`.
pub fn outcome<S: Subject>(
    runner: &mut (impl Runner<S> + ?Sized),
    pages: &mut Pages,
    code: &[u8],
    state: &State,
    data: &[u8; DATA_BYTES],
) -> Outcome {
    pages.set_code(code);
    pages.set_data(data);
    let (stop, state) = runner.run(pages, code, state);
    let mut after = [0; DATA_BYTES];
    pages.data(&mut after);
    Outcome { stop, state, data: changes(DATA, data, &after) }
}

impl Runner<X86> for Native {
    fn name(&self) -> &'static str {
        "host"
    }

    fn run(&mut self, pages: &mut Pages, code: &[u8], state: &State) -> (Stop, State) {
        let (stop, regs) = Native::run(self, pages, code, &to_regs(state));
        (native_stop(stop), from_regs(&regs))
    }
}

/// Bytes that follow the code under test, as on the host.
const AFTER: [u8; 16] = [0xcc; 16];

/// Lifts the code at `pc`, of which `code` is left, up to its first transfer or its end. A `Stop`
/// if its first instruction is none.
pub fn lift<S: Subject>(code: &[u8], pc: u64, mode: u32) -> Result<Block, Stop> {
    lift_some::<S>(code, pc, mode, u32::MAX)
}

/// As [`lift`], of the first instruction alone.
pub fn lift_first<S: Subject>(code: &[u8], pc: u64, mode: u32) -> Result<Block, Stop> {
    lift_some::<S>(code, pc, mode, 1)
}

fn lift_some<S: Subject>(code: &[u8], pc: u64, mode: u32, most: u32) -> Result<Block, Stop> {
    let mut bytes = code.to_vec();
    bytes.extend(AFTER);
    let builder = Builder::new(S::SLOTS);
    let mut lifter = S::Lifter::default();
    let (mut len, mut insts) = (0usize, 0);
    let end = loop {
        let at = pc + len as u64;
        if len >= code.len() || insts == most {
            break End::Jump(at);
        }
        let mark = builder.len();
        builder.insn(at);
        match S::lift(&mut lifter, &bytes[len..], at, mode, &builder) {
            Lifted::Next { len: n } => {
                len += n as usize;
                insts += 1;
            }
            Lifted::End { len: n, end } => {
                len += n as usize;
                insts += 1;
                break end;
            }
            Lifted::Undefined { trap, .. } if insts == 0 => {
                return Err(S::stop(mynah_guest::Fault::Trap(trap)));
            }
            Lifted::Truncated | Lifted::Undefined { .. } => {
                builder.truncate(mark);
                break End::Jump(at);
            }
        }
    };
    Ok(builder.finish(BlockKey { pc, mode }, len as u32, insts, end))
}
