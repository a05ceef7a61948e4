//! Lifting: one instruction to IR.
//!
//! [`Lift`] is the vocabulary in which the families (one file each) write down instructions: read
//! operands, compute, write, flags. What instructions share is here or in a file of its own:
//! partial registers, addressing and segments (`operand`), LOCK, the stack. Whatever may fault comes
//! before the first write of an instruction, so that a fault finds the state before it.

mod alu;
mod bits;
mod control;
mod data;
mod far;
mod flag;
mod fpu;
mod legacy;
mod mmx;
mod muldiv;
mod operand;
mod privileged;
mod shift;
mod sse;
mod stack;
mod string;
mod system;

use crate::decode::Ahead;
use crate::flags::Known;
use crate::helpers::Id;
use crate::mode::{self, Class};
use crate::{state, trap};
use iced_x86::{Instruction, Mnemonic, Register};
use mynah_guest::{Access, Lifted};
use mynah_ir::{Builder, End, MemOp, Order, Rmw, Slot, Trap, Ty, V};

/// The first operand.
pub(crate) const DEST: u32 = 0;
/// The second operand.
pub(crate) const SRC: u32 = 1;
/// The third operand.
pub(crate) const SRC2: u32 = 2;

/// An atomic access.
const ATOMIC: MemOp = MemOp { order: Order::SeqCst, ..MemOp::TSO };

/// What a lift remembers from one instruction of a block to the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lifter {
    pub(crate) ahead: Ahead,
    pub(crate) flags: Known,
    /// The x87 unit is in the state that MMX instructions put it in.
    pub(crate) mmx: bool,
}

/// One instruction being lifted.
pub(crate) struct Lift<'b> {
    pub(crate) b: &'b Builder,
    pub(crate) lifter: &'b mut Lifter,
    pub(crate) insn: Instruction,
    pub(crate) pc: u64,
    pub(crate) mode: u32,
    end: Option<End>,
    fault: Option<Trap>,
}

/// Lifts the decoded instruction at `pc`.
pub(crate) fn lift(
    lifter: &mut Lifter,
    insn: &Instruction,
    pc: u64,
    mode: u32,
    builder: &Builder,
) -> Lifted {
    let len = insn.len() as u32;
    let mut l = Lift { b: builder, lifter, insn: *insn, pc, mode, end: None, fault: None };
    l.begin();
    if l.fault.is_none() && !dispatch(&mut l) {
        l.fault(trap::UNDEFINED);
    }
    // A block of one instruction finds its debug exceptions at its end; and what lies behind the
    // end of 32-bit addresses is at their begin.
    let ends = l.is(mode::DEBUG) || !l.is_64() && l.next() < pc;
    match (l.fault, l.end) {
        (Some(trap), _) => Lifted::Undefined { len, trap },
        (None, Some(end)) => Lifted::End { len, end },
        (None, None) if ends => Lifted::End { len, end: End::Jump(l.next()) },
        (None, None) => Lifted::Next { len },
    }
}

/// Whether some family knows the instruction.
fn dispatch(l: &mut Lift<'_>) -> bool {
    let mnemonic = l.insn.mnemonic();
    // iced gives the string and the SSE2 forms of MOVSD and CMPSD one mnemonic each.
    if l.insn.is_string_instruction() {
        return string::lift(l, mnemonic);
    }
    type Family = fn(&mut Lift<'_>, Mnemonic) -> bool;
    const FAMILIES: [Family; 15] = [
        data::lift,
        alu::lift,
        control::lift,
        far::lift,
        stack::lift,
        shift::lift,
        sse::lift,
        bits::lift,
        muldiv::lift,
        flag::lift,
        fpu::lift,
        mmx::lift,
        system::lift,
        privileged::lift,
        legacy::lift,
    ];
    FAMILIES.iter().any(|family| family(l, mnemonic))
}

impl<'b> Lift<'b> {
    /// What comes before every instruction of the system machine: the limit of CS, breakpoints,
    /// and whether there is a unit for it.
    fn begin(&mut self) {
        if !self.is(mode::SYSTEM) {
            return;
        }
        if !self.is_64() && self.class(Register::CS) > Class::Based {
            let last = self.iconst(Ty::I64, self.pc + self.insn.len() as u64 - 1);
            self.fault_if(self.get(state::CS_LAST).ult(last), trap::PROTECTION);
        }
        if self.is(mode::DEBUG) {
            self.call(Id::BeginStep, &[self.iconst(Ty::I64, self.pc)]);
        }
        const UNIT: u32 = mode::EMULATED | mode::SWITCHED | mode::MONITOR | mode::SSE;
        if self.mode & UNIT != mode::SSE {
            self.check_unit();
        }
    }

    /// Faults if the instruction is of a unit that CR0 and CR4 keep from use (SDM 3A 2.5 and
    /// 13.1).
    fn check_unit(&mut self) {
        use iced_x86::CpuidFeature::*;
        let unit = |feature: &iced_x86::CpuidFeature| {
            matches!(
                feature,
                FPU | FPU287 | FPU387 | MMX | SSE | SSE2 | SSE3 | SSSE3 | SSE4_1 | SSE4_2 | FXSR
            )
        };
        let Some(feature) = self.insn.cpuid_features().iter().find(|f| unit(f)).copied() else {
            return;
        };
        let (emulated, switched) = (self.is(mode::EMULATED), self.is(mode::SWITCHED));
        use Mnemonic::*;
        let fault = match (self.insn.mnemonic(), feature) {
            // They use no register of a unit.
            (
                Lfence | Sfence | Mfence | Pause | Clflush | Movnti | Crc32 | Prefetchnta
                | Prefetcht0 | Prefetcht1 | Prefetcht2,
                _,
            ) => None,
            (Wait, _) => (switched && self.is(mode::MONITOR)).then_some(trap::NO_UNIT),
            (_, FPU | FPU287 | FPU387 | FXSR) => (emulated || switched).then_some(trap::NO_UNIT),
            _ if emulated || feature != MMX && !self.is(mode::SSE) => Some(trap::UNDEFINED),
            _ => switched.then_some(trap::NO_UNIT),
        };
        if let Some(vector) = fault {
            self.fault(vector);
        }
    }

    /// Whether all these bits are in the mode.
    pub(crate) fn is(&self, bits: u32) -> bool {
        self.mode & bits == bits
    }

    /// Whether this is 64-bit code.
    pub(crate) fn is_64(&self) -> bool {
        self.mode & mode::CODE == mode::CODE64
    }

    /// What accesses through a segment register ask for, outside 64-bit code.
    pub(crate) fn class(&self, segment: Register) -> Class {
        mode::class(self.mode, segment.number())
    }

    /// The address of the instruction behind this one.
    pub(crate) fn next(&self) -> u64 {
        let next = self.insn.next_ip();
        if self.is_64() { next } else { next & 0xffff_ffff }
    }

    /// Ends the block behind this instruction, and compiled code's unit: what follows is entered
    /// anew, which sees interrupts, another mode, and other rights of accesses.
    pub(crate) fn end_here(&mut self) {
        let next = self.iconst(Ty::I64, self.next());
        self.end(End::Dispatch(next.value()));
    }

    /// How the block ends, after this instruction.
    pub(crate) fn end(&mut self, end: End) {
        self.end = Some(end);
    }

    /// The instruction always faults with this exception: nothing of it is lifted.
    pub(crate) fn fault(&mut self, vector: u16) {
        self.fault = Some(trap::exception(vector));
    }

    /// Faults with this exception if `cond`.
    pub(crate) fn fault_if(&self, cond: V<'b>, vector: u16) {
        self.b.trap_if(cond, trap::exception(vector));
    }

    /// A constant.
    pub(crate) fn iconst(&self, ty: Ty, value: u64) -> V<'b> {
        self.b.iconst(ty, value)
    }

    /// The value of a slot.
    pub(crate) fn get(&self, slot: Slot) -> V<'b> {
        self.b.get(slot)
    }

    /// Sets a slot; a narrower integer is zero-extended.
    pub(crate) fn set(&self, slot: Slot, value: V<'b>) {
        let value = if value.ty() == Ty::V128 { value } else { value.zext(Ty::I64) };
        self.b.set(slot, value);
    }

    /// Calls a helper.
    pub(crate) fn call(&self, helper: Id, args: &[V<'b>]) -> V<'b> {
        self.b.call(helper as u16, args)
    }

    /// The value in memory at `address`.
    pub(crate) fn load(&self, ty: Ty, address: V<'b>) -> V<'b> {
        self.b.load(ty, MemOp::TSO, address)
    }

    /// Stores `value` at `address`.
    pub(crate) fn store(&self, address: V<'b>, value: V<'b>) {
        self.b.store(MemOp::TSO, address, value);
    }

    /// `address`, of an access of so many bytes, is looked up among the data breakpoints.
    pub(super) fn watch(&self, address: V<'b>, bytes: u64, access: Access) {
        if self.is(mode::DEBUG) {
            let shape =
                self.iconst(Ty::I64, bytes.max(1) | u64::from(access == Access::Write) << 32);
            self.call(Id::Watch, &[address, shape]);
        }
    }

    /// Combines operand `op` with `arg`, atomically under LOCK; the value before and the value
    /// after.
    pub(crate) fn rmw(&self, op: u32, rmw: Rmw, arg: V<'b>) -> (V<'b>, V<'b>) {
        if !self.is_memory(op) {
            let old = self.read(op);
            let new = combine(rmw, old, arg);
            self.write(op, new);
            return (old, new);
        }
        self.rmw_at(self.ea(op), rmw, arg)
    }

    /// Combines what is at `address` with `arg`, atomically under LOCK; the value before and the
    /// value after.
    pub(crate) fn rmw_at(&self, address: V<'b>, rmw: Rmw, arg: V<'b>) -> (V<'b>, V<'b>) {
        // SDM 2D, XCHG: LOCK is implied.
        if self.insn.has_lock_prefix() || rmw == Rmw::Xchg {
            let old = self.b.rmw(rmw, ATOMIC, address, arg);
            return (old, combine(rmw, old, arg));
        }
        let old = self.load(arg.ty(), address);
        let new = combine(rmw, old, arg);
        self.store(address, new);
        (old, new)
    }

    /// Replaces operand `op` with what `change` makes of it, atomically under LOCK; the value
    /// before and the value after. For what [`Rmw`] has no word for: another vCPU's write in between repeats the
    /// instruction.
    pub(crate) fn update(&self, op: u32, change: impl FnOnce(V<'b>) -> V<'b>) -> (V<'b>, V<'b>) {
        if !self.is_memory(op) {
            let old = self.read(op);
            let new = change(old);
            self.write(op, new);
            return (old, new);
        }
        let address = self.ea(op);
        let old = self.load(self.ty(op), address);
        let new = change(old);
        if self.insn.has_lock_prefix() {
            let found = self.b.cas(ATOMIC, address, old, new);
            self.b.exit_if(found.ne(old), self.pc);
        } else {
            self.store(address, new);
        }
        (old, new)
    }
}

fn combine<'b>(rmw: Rmw, old: V<'b>, arg: V<'b>) -> V<'b> {
    match rmw {
        Rmw::Xchg => arg,
        Rmw::Add => old + arg,
        Rmw::Sub => old - arg,
        Rmw::And => old & arg,
        Rmw::Or => old | arg,
        Rmw::Xor => old ^ arg,
        Rmw::Smin => old.slt(arg).select(old, arg),
        Rmw::Smax => old.slt(arg).select(arg, old),
        Rmw::Umin => old.ult(arg).select(old, arg),
        Rmw::Umax => old.ult(arg).select(arg, old),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::X86;
    use mynah_guest::Guest;
    use mynah_ir::BlockKey;

    /// Lifts whatever `code` is in `mode`; the block must be well formed.
    fn check(code: &[u8], pc: u64, mode: u32) {
        let builder = Builder::new(<X86>::SLOTS);
        builder.insn(pc);
        let lifted = <X86>::lift(&mut Lifter::default(), code, pc, mode, &builder);
        let (len, end) = match lifted {
            Lifted::Next { len } => (len, End::Jump(pc + u64::from(len))),
            Lifted::End { len, end } => (len, end),
            Lifted::Undefined { .. } | Lifted::Truncated => return,
        };
        let block = builder.finish(BlockKey { pc, mode }, len, 1, end);
        let text = || <X86>::disassemble(code, pc, mode).0;
        assert_eq!(mynah_ir::verify(&block, <X86>::SLOTS), Ok(()), "{} in {mode:#x}", text());
    }

    #[test]
    fn any_bytes_in_any_mode_make_blocks() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let sse = mode::SYSTEM | mode::SSE;
        let mut modes = vec![mode::CODE64, sse, sse | mode::with_cpl(3), sse | mode::DEBUG];
        for code in [mode::CODE16, mode::CODE32] {
            let base = sse | code;
            modes.extend([base, base | mode::PROTECTED, base | mode::PROTECTED | mode::STACK32]);
            modes.push(base | mode::PROTECTED | mode::VIRTUAL | mode::with_cpl(3));
            modes.push(base | mode::EMULATED | mode::SWITCHED | mode::MONITOR);
            modes.push(base | mode::PROTECTED | mode::ALIGNED | mode::with_cpl(3) | mode::DEBUG);
            for class in [Class::Based, Class::Limited, Class::Odd] {
                let classes = (0..6).fold(0, |bits, n| bits | mode::with_class(n, class));
                modes.extend([base | classes, base | classes | mode::PROTECTED]);
            }
        }
        for n in 0..600_000 {
            let mut code = [random(), random()].map(u64::to_le_bytes).concat();
            if n % 3 == 0 {
                code[0] = 0x0f;
            }
            if n % 5 == 0 {
                code.rotate_right(1);
                code[0] = [0x66, 0x67, 0xf2, 0xf3, 0x2e][n / 5 % 5];
            }
            check(&code, 0xffff_f000 + (random() & 0xfff), modes[n % modes.len()]);
        }
    }
}
