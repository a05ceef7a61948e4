//! The run loop: from block to block until something needs the engine.
#![expect(unsafe_code, reason = "enters steps with the vCPU they were made for")]

use crate::step::{Kind, Out, Step};
use crate::{Code, JumpCache, Link, TooManyValues, flatten};
use mynah_guest::{Cpu, Fault, Guest};
use mynah_ir::{Block, BlockKey, Trap};
use std::sync::atomic::Ordering;

/// Why [`run`] returned. `core.pc` is where the guest stands.
#[derive(Debug)]
pub enum Leave<G: Guest> {
    /// The code for `core.pc` is not known here: by this link, or, if it was a computed address,
    /// in the jump cache.
    Pc(Option<&'static Link<G>>),
    /// Before `code` was entered: its fuel is used up, or it was stopped. `link` is how control
    /// came to it, unless it is where `run` began or the jump cache led to it.
    Stop {
        /// The code for `core.pc`.
        code: &'static Code<G>,
        /// The link that leads to it.
        link: Option<&'static Link<G>>,
    },
    /// `core.attention` is set; it still is.
    Attention,
    /// A block ended with a trap.
    Trap(Trap),
    /// The instruction at `core.pc` could not complete.
    Fault(Fault),
}

/// What running one block came to. `core.pc` is where the guest stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The block was run.
    Pc,
    /// The block ended with a trap.
    Trap(Trap),
    /// The instruction at `core.pc` could not complete.
    Fault(Fault),
}

/// How many blocks may follow one another without a return to the run loop: the stack's limit where
/// calls in tail position take room.
const HOPS: usize = 64;

/// Runs `code` and what its links and `cache` lead to. To be called within the guest's
/// floating-point environment ([`mynah_guest::Core::enter_fp`]); `core.mode` is the mode of `code`.
///
/// At least one block is run unless `code` itself is stopped, its fuel ends, or `core.attention`
/// is set.
pub fn run<G: Guest>(
    mut code: &'static Code<G>,
    cpu: &mut Cpu<G>,
    cache: &JumpCache<G>,
) -> Leave<G> {
    let mut link = None;
    loop {
        if code.enter() {
            cpu.core.pc = code.key.pc;
            return Leave::Stop { code, link };
        }
        if cpu.core.attention.load(Ordering::Relaxed) != 0 {
            cpu.core.pc = code.key.pc;
            return Leave::Attention;
        }
        cpu.core.interpreted += u64::from(code.guest_insts);
        let out = enter(code, cpu, HOPS);
        code = match out.kind {
            Kind::Link => {
                // SAFETY: the link is that of leaked code, which is never freed while it runs.
                let by: &'static Link<G> = unsafe { &*out.at.cast() };
                link = Some(by);
                match by.get() {
                    Some(next) => next,
                    None => {
                        cpu.core.pc = by.pc;
                        let key = BlockKey { pc: by.pc, mode: cpu.core.mode };
                        match cache.get(key) {
                            Some(next) if !by.is_local() => next,
                            _ => return Leave::Pc(link),
                        }
                    }
                }
            }
            Kind::Indirect => {
                link = None;
                let key = BlockKey { pc: cpu.core.pc, mode: cpu.core.mode };
                match cache.get(key) {
                    Some(next) => next,
                    None => return Leave::Pc(None),
                }
            }
            Kind::Trap => return Leave::Trap(trap_of(out)),
            Kind::Fault => return Leave::Fault(fault_of(cpu)),
        };
    }
}

/// Runs `code` by itself, once. To be called within the guest's floating-point environment.
pub fn once<G: Guest>(code: &Code<G>, cpu: &mut Cpu<G>) -> Outcome {
    let out = enter(code, cpu, 0);
    match out.kind {
        Kind::Link => {
            // SAFETY: the link is one of `code`'s.
            cpu.core.pc = unsafe { (*out.at.cast::<Link<G>>()).pc };
            Outcome::Pc
        }
        Kind::Indirect => Outcome::Pc,
        Kind::Trap => Outcome::Trap(trap_of(out)),
        Kind::Fault => Outcome::Fault(fault_of(cpu)),
    }
}

/// Runs `block` once, in the guest's floating-point environment: for tests and for instructions
/// that are executed by themselves.
pub fn eval<G: Guest>(block: &Block, cpu: &mut Cpu<G>) -> Result<Outcome, TooManyValues> {
    let code = flatten(block)?;
    cpu.core.enter_fp();
    let outcome = once(&code, cpu);
    cpu.core.leave_fp();
    Ok(outcome)
}

#[inline(always)]
fn enter<G: Guest>(code: &Code<G>, cpu: &mut Cpu<G>, hops: usize) -> Out {
    let first: *const Step = code.first_step();
    // SAFETY: `flatten` made the steps for a `Cpu<G>`; the last of them leaves the block.
    unsafe {
        let code = std::ptr::from_ref(code).cast();
        ((*first).run)(first, std::ptr::from_mut(cpu).cast(), code, hops)
    }
}

fn trap_of(out: Out) -> Trap {
    // SAFETY: a block that ends with a trap tells the step that does.
    Trap::unpack(unsafe { (*out.at.cast::<Step>()).imm })
}

#[cold]
fn fault_of<G: Guest>(cpu: &mut Cpu<G>) -> Fault {
    cpu.take_fault().expect("a step that faults leaves the fault in the vCPU")
}
