//! Instructions of operating systems (SDM 3A 2.8): privileged ones, and those whose answer depends
//! on the system's registers. Outside the system machine they are #GP or #UD, as in user mode.

use super::{DEST, Lift, SRC};
use crate::flags;
use crate::helpers::Id;
use crate::helpers::control::{Base, SystemWord};
use crate::helpers::segment::Inquiry;
use crate::state::{R11, RAX, RCX, RDX};
use crate::{mode, trap};
use iced_x86::{Code, Mnemonic, Register};
use mynah_ir::{End, Ty, V};
use mynah_mem::Access;

pub(super) fn lift(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    if !l.is(mode::SYSTEM) {
        return refused(l, mnemonic);
    }
    sensitive(l, mnemonic) || transfers(l, mnemonic) || {
        let known = is_privileged(mnemonic);
        // They are unknown there, whatever the privilege level.
        if matches!(mnemonic, Mnemonic::Lldt | Mnemonic::Ltr) && !l.needs_protected() {
            return true;
        }
        if known && mode::cpl(l.mode) != 0 {
            // These are unknown elsewhere, the others forbidden.
            use Mnemonic::*;
            let unknown = matches!(mnemonic, Stac | Clac | Monitor | Mwait);
            l.fault(if unknown { trap::UNDEFINED } else { trap::PROTECTION });
        } else if known {
            privileged(l, mnemonic);
        }
        known
    }
}

/// A process may not use them.
fn refused(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    let known = matches!(
        mnemonic,
        Cli | Sti | Sgdt | Sidt | Sldt | Str | Smsw | Rdpmc | In | Out | Sysret | Sysretq | Sysexit
    ) || is_privileged(mnemonic)
        && !matches!(mnemonic, Stac | Clac | Xsetbv | Monitor | Mwait)
        || mnemonic == Sysexitq;
    match mnemonic {
        // No descriptor can be looked up: every selector is one that may not be used.
        Verr | Verw | Lar | Lsl => {
            l.selector_operand();
            let others = l.flags_word() & !flags::ZF;
            l.flags(flags::eager(others));
            return true;
        }
        _ if known => l.fault(trap::PROTECTION),
        _ => {}
    }
    known
}

fn is_privileged(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Hlt | Clts
            | Invd
            | Wbinvd
            | Wbnoinvd
            | Invlpg
            | Invpcid
            | Lgdt
            | Lidt
            | Lldt
            | Ltr
            | Lmsw
            | Swapgs
            | Rdmsr
            | Wrmsr
            | Stac
            | Clac
            | Xsetbv
            | Monitor
            | Mwait
    )
}

fn privileged(l: &mut Lift<'_>, mnemonic: Mnemonic) {
    use Mnemonic::*;
    match mnemonic {
        Hlt => l.trap(trap::HALT, 0),
        Monitor => {
            let offset = match l.insn.code() {
                Code::Monitorw => l.part(RAX, Ty::I16).zext(Ty::I64),
                Code::Monitord => l.part(RAX, Ty::I32).zext(Ty::I64),
                _ => l.get(RAX),
            };
            let segment = match l.insn.segment_prefix() {
                Register::None => Register::DS,
                named => named,
            };
            let address = l.linear(segment, offset, 1, || Access::Read);
            l.call(Id::Monitor, &[address, l.part(RCX, Ty::I32)]);
        }
        Mwait => {
            l.call(Id::CheckWait, &[l.part(RCX, Ty::I32)]);
            l.trap(trap::WAIT, 0);
        }
        // Caches are not modelled.
        Invd | Wbinvd | Wbnoinvd => {}
        Clts => {
            l.call(Id::Clts, &[]);
            l.end_here();
        }
        Invlpg => {
            let address = l.ea_unchecked();
            l.call(Id::Invlpg, &[address]);
            l.end_here();
        }
        Invpcid => {
            let kind = l.read(DEST);
            let address = l.ea(SRC);
            l.call(Id::Invpcid, &[kind, address]);
            l.end_here();
        }
        Lgdt | Lidt => {
            let which = l.table(mnemonic == Lidt);
            let address = l.ea(DEST);
            l.call(Id::LoadTable, &[which, address]);
        }
        Lldt | Ltr => {
            let selector = l.selector_operand();
            l.call(if mnemonic == Lldt { Id::LoadLdt } else { Id::LoadTask }, &[selector]);
        }
        Lmsw => {
            let word = if l.is_memory(DEST) { l.load(Ty::I16, l.ea(DEST)) } else { l.read(DEST) };
            l.call(Id::Lmsw, &[word.trunc(Ty::I16)]);
            l.end_here();
        }
        Swapgs => {
            l.call(Id::Swapgs, &[]);
        }
        Rdmsr => {
            let value = l.call(Id::ReadMsr, &[l.part(RCX, Ty::I32)]);
            l.set_pair(value);
        }
        Wrmsr => {
            let value = l.pair();
            l.call(Id::WriteMsr, &[l.part(RCX, Ty::I32), value]);
            l.end_here();
        }
        Stac | Clac => {
            l.call(Id::SetAc, &[l.iconst(Ty::I64, u64::from(mnemonic == Stac))]);
            l.end_here();
        }
        _ => {
            let value = l.pair();
            l.call(Id::Xsetbv, &[l.part(RCX, Ty::I32), value]);
        }
    }
}

/// Instructions whose answer depends on the privilege level or on CR4.
fn sensitive(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    match mnemonic {
        Cli => {
            l.call(Id::Cli, &[]);
        }
        Sti => {
            let next = l.iconst(Ty::I64, l.next());
            l.call(Id::Sti, &[next]);
            l.end_here();
        }
        In => input(l),
        Out => output(l),
        Sgdt | Sidt => {
            l.call(Id::CheckUmip, &[]);
            let which = l.table(mnemonic == Sidt);
            let address = l.ea(DEST);
            l.call(Id::StoreTable, &[which, address]);
        }
        Sldt | Str | Smsw => {
            if mnemonic != Smsw && !l.needs_protected() {
                return true;
            }
            l.call(Id::CheckUmip, &[]);
            let which = match mnemonic {
                Sldt => SystemWord::Ldtr,
                Str => SystemWord::Tr,
                _ => SystemWord::Cr0,
            };
            let value = l.call(Id::SystemWord, &[l.iconst(Ty::I64, which as u64)]);
            let ty = if l.is_memory(DEST) { Ty::I16 } else { l.ty(DEST) };
            l.write(DEST, value.trunc(ty));
        }
        Rdpmc => l.fault(trap::PROTECTION),
        Rdfsbase | Rdgsbase => {
            let which = if mnemonic == Rdfsbase { Base::Fs } else { Base::Gs };
            let value = l.call(Id::ReadBase, &[l.iconst(Ty::I64, which as u64)]);
            l.write(DEST, value.trunc(l.ty(DEST)));
        }
        Wrfsbase | Wrgsbase => {
            let which = if mnemonic == Wrfsbase { Base::Fs } else { Base::Gs };
            let value = l.read(DEST).zext(Ty::I64);
            l.call(Id::WriteBase, &[l.iconst(Ty::I64, which as u64), value]);
        }
        Verr | Verw | Lar | Lsl => inquire(l, mnemonic),
        Xgetbv => {
            let value = l.call(Id::Xgetbv, &[l.part(RCX, Ty::I32)]);
            l.set_pair(value);
        }
        Xsave | Xsave64 | Xrstor | Xrstor64 => {
            let address = l.ea(DEST);
            let mask = l.pair();
            let saves = matches!(mnemonic, Xsave | Xsave64);
            l.call(if saves { Id::Xsave } else { Id::Xrstor }, &[address, mask]);
            l.lifter.mmx = false;
            l.end_here();
        }
        _ => return false,
    }
    true
}

/// The quick ways into the system and back.
fn transfers(l: &mut Lift<'_>, mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    let next = l.iconst(Ty::I64, l.next());
    let bytes = |wide| l.iconst(Ty::I64, if wide { 8 } else { 4 });
    let target = match mnemonic {
        Syscall => {
            let rflags = l.call(Id::Rflags, &[]);
            let target = l.call(Id::Syscall, &[next]);
            l.set(R11, rflags & !flags::RF);
            l.set(RCX, next);
            target
        }
        Sysret | Sysretq => {
            l.call(Id::Sysret, &[bytes(mnemonic == Sysretq), l.get(RCX), l.get(R11)])
        }
        Sysenter => l.call(Id::Sysenter, &[]),
        Sysexit | Sysexitq => {
            l.call(Id::Sysexit, &[bytes(mnemonic == Sysexitq), l.get(RCX), l.get(RDX)])
        }
        _ => return false,
    };
    l.forget_flags();
    l.end(End::Dispatch(target.value()));
    true
}

fn inquire(l: &mut Lift<'_>, mnemonic: Mnemonic) {
    if !l.needs_protected() {
        return;
    }
    let selector = l.selector_operand();
    let which = match mnemonic {
        Mnemonic::Verr => Inquiry::Readable,
        Mnemonic::Verw => Inquiry::Writable,
        Mnemonic::Lar => Inquiry::Rights,
        _ => Inquiry::Limit,
    };
    let answer = l.call(Id::Inquire, &[l.iconst(Ty::I64, which as u64), selector]);
    let yes = answer.shr(32).trunc(Ty::I1);
    if matches!(mnemonic, Mnemonic::Lar | Mnemonic::Lsl) {
        let ty = l.ty(DEST);
        let (slot, found) = l.merged(l.insn.op_register(DEST), (answer & 0xffff_ffff).trunc(ty));
        l.set(slot, yes.select(found, l.get(slot)));
    }
    let others = l.flags_word() & !flags::ZF;
    l.flags(flags::eager(others | yes.zext(Ty::I64).shl(6)));
}

/// The port that operand `op` names.
fn port<'b>(l: &Lift<'b>, op: u32) -> V<'b> {
    match l.insn.op_kind(op) {
        iced_x86::OpKind::Register => l.part(RDX, Ty::I16).zext(Ty::I64),
        _ => l.iconst(Ty::I64, l.insn.immediate(op) & 0xff),
    }
}

fn input(l: &mut Lift<'_>) {
    let ty = l.ty(DEST);
    let port = port(l, SRC);
    let bytes = l.iconst(Ty::I64, ty.bytes().into());
    l.call(Id::CheckPort, &[port, bytes]);
    let value = l.call(Id::In, &[port, bytes]).trunc(ty);
    l.set_part(RAX, value);
}

/// OUT. What the device does, such as an interrupt, is to be seen by the next instruction.
fn output(l: &mut Lift<'_>) {
    let value = l.read(SRC);
    let port = port(l, DEST);
    let bytes = l.iconst(Ty::I64, value.ty().bytes().into());
    l.call(Id::CheckPort, &[port, bytes]);
    l.call(Id::Out, &[port, bytes, value]);
    l.end_here();
}

/// MOV from and to control, debug and test registers.
pub(super) fn move_register(l: &mut Lift<'_>) {
    let system = |register: Register| register.is_cr() || register.is_dr() || register.is_tr();
    let writes = system(l.insn.op_register(DEST));
    let register = l.insn.op_register(if writes { DEST } else { SRC });
    let n = register.number();
    let exists = matches!((register.is_cr(), n), (true, 0 | 2 | 3 | 4 | 8)) || register.is_dr();
    if l.is(mode::SYSTEM) && (!exists || n > 8) {
        return l.fault(trap::UNDEFINED);
    }
    // DR4 and DR5 may be unknown, which is more than forbidden.
    let maybe = register.is_dr() && matches!(n, 4 | 5);
    if !l.is(mode::SYSTEM) || mode::cpl(l.mode) != 0 && !maybe {
        return l.fault(trap::PROTECTION);
    }
    let number = l.iconst(Ty::I64, n as u64);
    if writes {
        let helper = if register.is_cr() { Id::WriteControl } else { Id::WriteDebug };
        l.call(helper, &[number, l.read(SRC).zext(Ty::I64)]);
        l.end_here();
    } else {
        let helper = if register.is_cr() { Id::ReadControl } else { Id::ReadDebug };
        let value = l.call(helper, &[number]);
        l.write(DEST, value.trunc(l.ty(DEST)));
    }
}

impl<'b> Lift<'b> {
    /// #UD outside protected mode; whether there is something to lift.
    fn needs_protected(&mut self) -> bool {
        let protected = self.is(mode::PROTECTED) && !self.is(mode::VIRTUAL);
        if !protected {
            self.fault(trap::UNDEFINED);
        }
        protected
    }

    /// The last operand, a selector.
    fn selector_operand(&self) -> V<'b> {
        let last = self.insn.op_count() - 1;
        if self.is_memory(last) {
            return self.load(Ty::I16, self.ea(last));
        }
        self.read(last).trunc(Ty::I16)
    }

    /// EDX:EAX.
    fn pair(&self) -> V<'b> {
        self.part(RAX, Ty::I32).zext(Ty::I64) | self.get(RDX).shl(32)
    }

    /// Sets EDX:EAX.
    pub(super) fn set_pair(&self, value: V<'b>) {
        self.set_part(RAX, value.trunc(Ty::I32));
        self.set_part(RDX, value.shr(32).trunc(Ty::I32));
    }

    /// What LGDT and its kin tell their helper: which table, and the bytes of its base.
    fn table(&self, interrupts: bool) -> V<'b> {
        use iced_x86::Code::*;
        let bytes: u64 = match self.insn.code() {
            _ if self.is_64() => 8,
            Lgdt_m1632_16 | Lidt_m1632_16 => 3,
            _ => 4,
        };
        self.iconst(Ty::I64, bytes | u64::from(interrupts) << 8)
    }

    /// The linear address of the memory operand, which is not accessed.
    fn ea_unchecked(&self) -> V<'b> {
        let segment = self.insn.memory_segment();
        let n = segment.number();
        let offset = self.offset();
        match segment {
            _ if !self.is_64() => self.based(n, offset),
            Register::FS | Register::GS => self.get(crate::state::base(n)) + offset,
            _ => offset,
        }
    }
}
