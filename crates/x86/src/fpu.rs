//! The x87 unit (SDM 1 chapter 8): registers as a stack, tags, status, exceptions.
//!
//! Arithmetic is done by module `host`; this is what surrounds it. A masked exception yields the
//! result that the manual names; an unmasked one keeps the instruction from taking effect, if it
//! is found before the result is, and makes the next waiting instruction fault with #MF.
//!
//! The pointers to the last instruction and its operand are not kept: they read as 0.

use crate::host::{self, Op};

/// The x87 unit. MMX registers are the low halves of R0–R7.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct Fpu {
    /// R0–R7 in physical order, 80 bits each in the low bits.
    pub regs: [u128; 8],
    /// Control word.
    pub control: u16,
    /// Status word, TOP included.
    pub status: u16,
    /// Tags in the abridged form of FXSAVE: bit n is set if Rn is not empty.
    pub tags: u8,
}

/// The QNaN that an invalid operation yields.
pub(crate) const INDEFINITE: u128 = 0xffff_c000_0000_0000_0000;
/// Bits of a register.
pub(crate) const MASK80: u128 = u128::MAX >> 48;
/// The sign bit.
const SIGN: u128 = 1 << 79;

/// Bits of the status word.
pub(crate) mod status {
    /// Invalid operation.
    pub(crate) const INVALID: u16 = 1 << 0;
    /// Denormal operand.
    pub(crate) const DENORMAL: u16 = 1 << 1;
    /// Division by zero.
    pub(crate) const DIVIDE: u16 = 1 << 2;
    /// Overflow.
    pub(crate) const OVERFLOW: u16 = 1 << 3;
    /// Underflow.
    pub(crate) const UNDERFLOW: u16 = 1 << 4;
    /// All exception flags, which are also their masks' places in the control word.
    pub(crate) const EXCEPTIONS: u16 = 0x3f;
    /// The invalid operation was on the stack.
    pub(crate) const STACK: u16 = 1 << 6;
    /// An unmasked exception waits; bit 15 repeats it.
    pub(crate) const SUMMARY: u16 = 1 << 7 | 1 << 15;
    /// Condition codes.
    pub(crate) const C0: u16 = 1 << 8;
    /// See [`C0`].
    pub(crate) const C1: u16 = 1 << 9;
    /// See [`C0`].
    pub(crate) const C2: u16 = 1 << 10;
    /// See [`C0`].
    pub(crate) const C3: u16 = 1 << 14;
    /// All but C1.
    pub(crate) const C023: u16 = C0 | C2 | C3;
    /// Position of TOP.
    pub(crate) const TOP: u16 = 11;
}

use status::{C0, C1, C2, C3, C023};

/// What a store puts in memory and what comes after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// The bytes in memory; nothing is stored without.
    pub(crate) memory: Option<u128>,
    status: u16,
    completes: bool,
}

impl Fpu {
    /// State after FNINIT.
    pub const fn new() -> Fpu {
        Fpu { regs: [0; 8], control: 0x37f, status: 0, tags: 0 }
    }

    // ── registers ────────────────────────────────────────────────────────────────────────────

    fn top(&self) -> usize {
        usize::from(self.status >> status::TOP & 7)
    }

    fn turn(&mut self, by: u16) {
        let top = (self.top() as u16).wrapping_add(by) & 7;
        self.status = self.status & !(7 << status::TOP) | top << status::TOP;
    }

    fn index(&self, i: usize) -> usize {
        (self.top() + i) & 7
    }

    /// The bits of ST(i), empty or not.
    pub(crate) fn bits(&self, i: usize) -> u128 {
        self.regs[self.index(i)] & MASK80
    }

    fn is_empty(&self, i: usize) -> bool {
        self.tags >> self.index(i) & 1 == 0
    }

    fn set(&mut self, i: usize, value: u128) {
        let index = self.index(i);
        self.regs[index] = value & MASK80;
        self.tags |= 1 << index;
    }

    fn pop(&mut self) {
        self.tags &= !(1 << self.index(0));
        self.turn(1);
    }

    // ── exceptions ───────────────────────────────────────────────────────────────────────────

    /// Whether a waiting instruction faults.
    pub(crate) fn waits(&self) -> bool {
        self.status & status::SUMMARY != 0
    }

    /// Exception flags that are set and not masked.
    fn unmasked(&self, flags: u16) -> u16 {
        flags & !self.control & status::EXCEPTIONS
    }

    fn summarize(&mut self) {
        self.status &= !status::SUMMARY;
        if self.unmasked(self.status) != 0 {
            self.status |= status::SUMMARY;
        }
    }

    /// Takes over the flags and C1 of an operation's status word; whether none of `stopping` that
    /// it set is unmasked.
    fn take(&mut self, word: u16, stopping: u16) -> bool {
        const FLAGS: u16 = status::EXCEPTIONS | status::STACK;
        self.status = self.status & !C1 | word & (FLAGS | C1);
        self.summarize();
        self.unmasked(word) & stopping == 0
    }

    /// A register that must not be empty is; whether that is masked.
    fn underflow(&mut self) -> bool {
        self.take(status::INVALID | status::STACK, BEFORE)
    }

    /// A register that must be empty is not; whether that is masked.
    fn overflow(&mut self) -> bool {
        self.take(status::INVALID | status::STACK | C1, BEFORE)
    }

    // ── data transfer ────────────────────────────────────────────────────────────────────────

    /// Pushes `value`.
    pub(crate) fn push(&mut self, value: u128) {
        let value = if self.is_empty(7) {
            self.status &= !C1;
            value
        } else if self.overflow() {
            INDEFINITE
        } else {
            return;
        };
        self.turn(7);
        self.set(0, value);
    }

    /// FLD ST(i).
    pub(crate) fn push_register(&mut self, i: usize) {
        if !self.is_empty(i) {
            self.push(self.bits(i));
        } else if self.underflow() {
            self.turn(7);
            self.set(0, INDEFINITE);
        }
    }

    /// Loads: pushes what `op` makes of an operand in memory, or a constant.
    pub(crate) fn load(&mut self, op: Op, memory: u128) {
        if !self.is_empty(7) {
            return self.push(0);
        }
        let done = host::run(op, self.control, 0, 0, memory);
        if self.take(done.status & !C1, BEFORE) {
            self.turn(7);
            self.set(0, done.st0);
        }
    }

    /// Stores to memory: what `op` makes of ST0, in so many `bytes`.
    pub(crate) fn store(&self, op: Op) -> Stored {
        if self.is_empty(0) {
            let word = status::INVALID | status::STACK;
            let completes = self.unmasked(word) == 0;
            return Stored { memory: completes.then(|| indefinite(op)), status: word, completes };
        }
        let done = host::run(op, self.control, self.bits(0), 0, 0);
        const STOPPING: u16 = status::INVALID | status::OVERFLOW | status::UNDERFLOW;
        let completes = self.unmasked(done.status) & STOPPING == 0;
        Stored { memory: completes.then_some(done.memory), status: done.status, completes }
    }

    /// FSTP m80: ST0 as it is.
    pub(crate) fn store_whole(&self) -> Stored {
        if !self.is_empty(0) {
            return Stored { memory: Some(self.bits(0)), status: 0, completes: true };
        }
        let word = status::INVALID | status::STACK;
        let completes = self.unmasked(word) == 0;
        Stored { memory: completes.then_some(INDEFINITE), status: word, completes }
    }

    /// After a store that did not fault.
    pub(crate) fn finish(&mut self, stored: Stored, pops: bool) {
        self.take(stored.status, 0);
        if stored.completes && pops {
            self.pop();
        }
    }

    /// FST ST(i), FSTP ST(i).
    pub(crate) fn copy(&mut self, i: usize, pops: bool) {
        self.assign(i, self.is_empty(0), self.bits(0));
        if pops && self.unmasked(self.status) & BEFORE == 0 {
            self.pop();
        }
    }

    /// FSTPNCE ST(i): as FSTP, but an empty ST0 is just popped.
    pub(crate) fn copy_unchecked(&mut self, i: usize) {
        if self.is_empty(0) {
            self.status &= !C1;
            self.pop();
        } else {
            self.copy(i, true);
        }
    }

    /// ST(i) := `value`, or the indefinite if an operand is empty.
    fn assign(&mut self, i: usize, empty: bool, value: u128) {
        if !empty {
            self.status &= !C1;
            self.set(i, value);
        } else if self.underflow() {
            self.set(i, INDEFINITE);
        }
    }

    /// FXCH ST(i).
    pub(crate) fn exchange(&mut self, i: usize) {
        self.status &= !C1;
        if (self.is_empty(0) || self.is_empty(i)) && !self.underflow() {
            return;
        }
        let or_indefinite = |j| if self.is_empty(j) { INDEFINITE } else { self.bits(j) };
        let (a, b) = (or_indefinite(0), or_indefinite(i));
        self.set(0, b);
        self.set(i, a);
    }

    /// FCMOVcc: ST0 := ST(i) if `holds`.
    pub(crate) fn conditional_move(&mut self, i: usize, holds: bool) {
        if self.is_empty(0) || self.is_empty(i) {
            self.assign(0, true, 0);
        } else if holds {
            self.set(0, self.bits(i));
        }
    }

    // ── arithmetic ───────────────────────────────────────────────────────────────────────────

    /// ST(dest) := ST(dest) op ST(src), or op memory if there is no `src`.
    pub(crate) fn arithmetic(
        &mut self,
        op: Op,
        dest: usize,
        src: Option<usize>,
        memory: u128,
        pops: bool,
    ) {
        if self.is_empty(dest) || src.is_some_and(|src| self.is_empty(src)) {
            if !self.underflow() {
                return;
            }
            self.set(dest, INDEFINITE);
        } else {
            let source = src.map_or(0, |src| self.bits(src));
            let done = host::run(op, self.control, self.bits(dest), source, memory);
            if !self.take(done.status, BEFORE) {
                return;
            }
            self.set(dest, done.st0);
        }
        if pops {
            self.pop();
        }
    }

    /// ST0 := f(ST0), or f(ST0, ST1).
    pub(crate) fn unary(&mut self, op: Op) {
        let two = matches!(op, Op::Scale | Op::Prem | Op::Prem1);
        if self.is_empty(0) || two && self.is_empty(1) {
            if matches!(op, Op::Prem | Op::Prem1 | Op::Sin | Op::Cos) {
                self.status &= !C2;
            }
            return self.assign(0, true, 0);
        }
        let done = host::run(op, self.control, self.bits(0), self.bits(1), 0);
        if self.take(done.status, BEFORE) {
            self.set(0, done.st0);
            match op {
                // Without a quotient its bits stay as they are.
                Op::Prem | Op::Prem1 if is_nan(done.st0) => self.status &= !C2,
                Op::Prem | Op::Prem1 => self.set_codes(done.status & C023),
                Op::Sin | Op::Cos => self.set_codes(self.status & (C0 | C3) | done.status & C2),
                _ => {}
            }
        }
    }

    /// ST1 := f(ST0, ST1), and pops.
    pub(crate) fn binary(&mut self, op: Op) {
        if self.is_empty(0) || self.is_empty(1) {
            if self.underflow() {
                self.set(1, INDEFINITE);
                self.pop();
            }
            return;
        }
        let done = host::run(op, self.control, self.bits(0), self.bits(1), 0);
        if self.take(done.status, BEFORE) {
            self.set(1, done.st0);
            self.pop();
        }
    }

    /// ST0 := one result of f(ST0), and pushes the other.
    pub(crate) fn split(&mut self, op: Op) {
        let trigonometric = op != Op::Extract;
        if trigonometric {
            self.status &= !C2;
        }
        if self.is_empty(0) || !self.is_empty(7) {
            let masked = if self.is_empty(0) { self.underflow() } else { self.overflow() };
            if masked {
                self.set(0, INDEFINITE);
                self.turn(7);
                self.set(0, INDEFINITE);
            }
            return;
        }
        let done = host::run(op, self.control, self.bits(0), 0, 0);
        if !self.take(done.status, BEFORE) {
            return;
        }
        if trigonometric {
            self.status |= done.status & C2;
            if done.status & C2 != 0 {
                return;
            }
        }
        self.set(0, done.st1);
        self.turn(7);
        self.set(0, done.st0);
    }

    /// FABS.
    pub(crate) fn absolute(&mut self) {
        self.assign(0, self.is_empty(0), self.bits(0) & !SIGN);
    }

    /// FCHS.
    pub(crate) fn negate(&mut self) {
        self.assign(0, self.is_empty(0), self.bits(0) ^ SIGN);
    }

    // ── comparison ───────────────────────────────────────────────────────────────────────────

    fn set_codes(&mut self, codes: u16) {
        self.status = self.status & !C023 | codes & C023;
    }

    /// Compares ST0 with ST(src), or memory if there is no `src`; the condition codes that follow,
    /// and whether the instruction completes.
    fn compare_codes(&mut self, op: Op, src: Option<usize>, memory: u128) -> (u16, bool) {
        if self.is_empty(0) || src.is_some_and(|src| self.is_empty(src)) {
            return (C023, self.underflow());
        }
        let source = src.map_or(0, |src| self.bits(src));
        let done = host::run(op, self.control, self.bits(0), source, memory);
        let completes = self.take(done.status & !C1 | self.status & C1, BEFORE);
        (done.status & C023, completes)
    }

    /// FCOM and its kin: the result goes to the condition codes.
    pub(crate) fn compare(&mut self, op: Op, src: Option<usize>, memory: u128, pops: u32) {
        let (codes, completes) = self.compare_codes(op, src, memory);
        if completes {
            self.status &= !C1;
            self.set_codes(codes);
            (0..pops).for_each(|_| self.pop());
        }
    }

    /// FCOMI and its kin: the result as condition codes, which are not changed; `None` if the
    /// instruction does not complete.
    pub(crate) fn compare_flags(&mut self, op: Op, src: usize, pops: bool) -> Option<u16> {
        let (codes, completes) = self.compare_codes(op, Some(src), 0);
        if !completes {
            return None;
        }
        if pops {
            self.pop();
        }
        Some(codes)
    }

    /// FXAM.
    pub(crate) fn examine(&mut self) {
        let bits = self.bits(0);
        let exponent = (bits >> 64) as u16 & 0x7fff;
        let significand = bits as u64;
        let integer = significand >> 63 != 0;
        let class = match (exponent, significand) {
            _ if self.is_empty(0) => C3 | C0,
            (0, 0) => C3,
            (0, _) => C3 | C2,
            (_, _) if !integer => 0,
            (0x7fff, 0x8000_0000_0000_0000) => C2 | C0,
            (0x7fff, _) => C0,
            _ => C2,
        };
        self.set_codes(class);
        self.status &= !C1;
        if bits & SIGN != 0 {
            self.status |= C1;
        }
    }

    // ── control ──────────────────────────────────────────────────────────────────────────────

    /// FNINIT.
    pub(crate) fn init(&mut self) {
        *self = Fpu { regs: self.regs, ..Fpu::new() };
    }

    /// FNCLEX.
    pub(crate) fn clear_exceptions(&mut self) {
        self.status &= !(status::EXCEPTIONS | status::STACK | status::SUMMARY);
    }

    /// FLDCW.
    pub(crate) fn set_control(&mut self, word: u16) {
        self.control = word & 0x1f3f | 0x40;
        self.summarize();
    }

    /// FINCSTP, or FDECSTP if `by` is 7.
    pub(crate) fn turn_stack(&mut self, by: u16) {
        self.status &= !C1;
        self.turn(by);
    }

    /// FFREE, FFREEP.
    pub(crate) fn free(&mut self, i: usize, pops: bool) {
        self.status &= !C1;
        self.tags &= !(1 << self.index(i));
        if pops {
            self.pop();
        }
    }

    /// The tag word: two bits for each of R0–R7 (valid, zero, special, empty).
    fn tag_word(&self) -> u16 {
        let tag = |n: usize| {
            let bits = self.regs[n] & MASK80;
            let exponent = (bits >> 64) as u16 & 0x7fff;
            match (self.tags >> n & 1, exponent, bits as u64) {
                (0, ..) => 3,
                (_, 0, 0) => 1,
                (_, 0 | 0x7fff, _) => 2,
                (_, _, significand) if significand >> 63 == 0 => 2,
                _ => 0,
            }
        };
        (0..8).map(|n| tag(n) << (2 * n)).sum()
    }

    /// The environment as FNSTENV stores it; `wide` in its 32-bit form of 28 bytes, else 14.
    pub(crate) fn environment(&self, wide: bool) -> [u8; 28] {
        let mut bytes = [0; 28];
        let words = [self.control, self.status, self.tag_word()];
        let step = if wide { 4 } else { 2 };
        for (i, word) in words.into_iter().enumerate() {
            bytes[step * i..][..2].copy_from_slice(&word.to_le_bytes());
            if wide {
                bytes[step * i + 2..][..2].fill(0xff);
            }
        }
        if wide {
            bytes[26..].fill(0xff);
        }
        bytes
    }

    /// FLDENV.
    pub(crate) fn set_environment(&mut self, bytes: &[u8; 28], wide: bool) {
        let step = if wide { 4 } else { 2 };
        let word = |i: usize| u16::from_le_bytes([bytes[step * i], bytes[step * i + 1]]);
        let tags = word(2);
        self.tags = (0..8).filter(|n| tags >> (2 * n) & 3 != 3).map(|n| 1 << n).sum();
        self.status = word(1);
        self.set_control(word(0));
    }

    /// FNSTENV leaves all exceptions masked.
    pub(crate) fn mask_all(&mut self) {
        self.set_control(self.control | status::EXCEPTIONS);
    }

    /// The registers as FNSAVE stores them, ST0 first.
    pub(crate) fn stack_bytes(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        for (i, st) in bytes.chunks_exact_mut(10).enumerate() {
            st.copy_from_slice(&self.bits(i).to_le_bytes()[..10]);
        }
        bytes
    }

    /// The registers of FRSTOR; tags stay.
    pub(crate) fn set_stack_bytes(&mut self, bytes: &[u8; 80]) {
        for (i, st) in bytes.chunks_exact(10).enumerate() {
            let mut wide = [0; 16];
            wide[..10].copy_from_slice(st);
            let index = self.index(i);
            self.regs[index] = u128::from_le_bytes(wide);
        }
    }

    // ── MMX ──────────────────────────────────────────────────────────────────────────────────

    /// What every MMX instruction but EMMS does to the unit (SDM 1 9.5.1).
    pub(crate) fn enter_mmx(&mut self) {
        self.status &= !(7 << status::TOP);
        self.tags = 0xff;
    }

    /// EMMS.
    pub(crate) fn leave_mmx(&mut self) {
        self.enter_mmx();
        self.tags = 0;
    }
}

impl Default for Fpu {
    fn default() -> Fpu {
        Fpu::new()
    }
}

fn is_nan(bits: u128) -> bool {
    (bits >> 64) as u16 & 0x7fff == 0x7fff && bits as u64 != 1 << 63
}

/// Exceptions that keep an instruction from having a result.
const BEFORE: u16 = status::INVALID | status::DENORMAL | status::DIVIDE;

/// What a store of an empty register stores.
fn indefinite(op: Op) -> u128 {
    match op {
        Op::StoreF32 => 0xffc0_0000,
        Op::StoreF64 => 0xfff8_0000_0000_0000,
        Op::StoreI16 | Op::TruncI16 => 0x8000,
        Op::StoreI32 | Op::TruncI32 => 0x8000_0000,
        Op::StoreI64 | Op::TruncI64 => 0x8000_0000_0000_0000,
        _ => 0xffff_c000_0000_0000_0000,
    }
}
