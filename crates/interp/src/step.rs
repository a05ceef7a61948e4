//! Steps: what flattened code is made of, and the functions that run them.
//!
//! A step's function does its work and ends by calling the next step's, in tail position, so that
//! an optimised build threads through blocks without a loop. Nothing depends on that but speed and
//! a little stack, since control returns to the run loop every so many blocks.
//!
//! Scalars stand zero-extended in 8 bytes. A narrow operand is cut to its type as it is read, so
//! the low part of a wider value is the value at the same offset.
#![expect(unsafe_code, reason = "operands are reached by their offset in the vCPU")]

use crate::{Code, Link};
use mynah_guest::{Cause, Core, Cpu, Fault, Guest, HelperFn, MemFault};
use mynah_ir::ops::{Rule, ScalarOp, VectorOp, Visitor};
use mynah_ir::{Align, Args, MemOp, Op, Rmw, Ty};
use mynah_mem::{Access, Memory as _, Unit};
use std::sync::atomic::{Ordering, fence};

/// One step: a function and its operands. The offsets lie within the vCPU and are aligned to what
/// the function accesses.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Step {
    pub(crate) run: Run,
    pub(crate) dst: u16,
    pub(crate) a: u16,
    pub(crate) b: u16,
    pub(crate) c: u16,
    pub(crate) imm: u64,
}

/// A step's function. `hops` is how many more blocks may follow before it returns.
///
/// # Safety
/// `step` lies in `code`, a [`Code`] of some guest, its block's end behind it, and `cpu` is the
/// only pointer in use to a `Cpu` of that guest.
pub(crate) type Run =
    unsafe extern "C" fn(step: *const Step, cpu: *mut u8, code: *const (), hops: usize) -> Out;

/// How a block was left, and where.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Out {
    pub(crate) kind: Kind,
    /// A link, or the step that left.
    pub(crate) at: *const (),
}

/// How a block was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Kind {
    /// By the link at `at`; the code there is not known, or may not be entered just like that.
    Link,
    /// To `core.pc`.
    Indirect,
    /// To the environment, with the trap in the step's immediate; `core.pc` is set.
    Trap,
    /// A fault, which `core.fault` holds; `core.pc` and the state are those before the
    /// instruction.
    Fault,
}

/// Defines step functions. The body is unsafe, sees the step as `$s`, the vCPU as `$cpu` and, if it
/// asks for them, the code and the hops, and yields `None` to go on with the next step.
macro_rules! steps {
    ($($(#[$attribute:meta])+ fn $name:ident $(<$($g:ident : $bound:ident),* $(; $($k:ident : $kt:ty),*)?>)?
        ($s:ident, $cpu:ident $(, $code:ident, $hops:ident)?) $body:block)*) => {$(
        $(#[$attribute])+
        pub(crate) unsafe extern "C" fn $name$(<$($g: $bound,)* $($(const $k: $kt),*)?>)?(
            step: *const Step,
            $cpu: *mut u8,
            code: *const (),
            hops: usize,
        ) -> Out {
            $(let ($code, $hops) = (code, hops);)?
            // SAFETY: the contract of `Run`: operands' offsets are valid for what the step
            // accesses, and a step that does not leave is followed by another.
            unsafe {
                let $s = &*step;
                let out: Option<Out> = $body;
                match out {
                    None => {
                        let next = step.add(1);
                        ((*next).run)(next, $cpu, code, hops)
                    }
                    Some(out) => out,
                }
            }
        }
    )*};
}

#[inline(always)]
unsafe fn read(cpu: *const u8, offset: u16) -> u64 {
    // SAFETY: the caller's offset is one of a step's.
    unsafe { cpu.add(offset.into()).cast::<u64>().read() }
}

#[inline(always)]
unsafe fn write(cpu: *mut u8, offset: u16, value: u64) {
    // SAFETY: the caller's offset is one of a step's.
    unsafe { cpu.add(offset.into()).cast::<u64>().write(value) }
}

#[inline(always)]
unsafe fn read128(cpu: *const u8, offset: u16) -> u128 {
    // SAFETY: the caller's offset is one of a step's.
    unsafe { cpu.add(offset.into()).cast::<u128>().read() }
}

#[inline(always)]
unsafe fn write128(cpu: *mut u8, offset: u16, value: u128) {
    // SAFETY: the caller's offset is one of a step's.
    unsafe { cpu.add(offset.into()).cast::<u128>().write(value) }
}

/// The type of code `ty`.
const fn ty(ty: usize) -> Ty {
    Ty::ALL[ty]
}

/// The type of argument `index` of an operation of type `ty`, as far as it must be cut to it.
const fn arg_ty(op: Op, ty: Ty, index: usize) -> Ty {
    let rules = op.info().args;
    if index >= rules.len() {
        return Ty::I64;
    }
    match rules[index] {
        Rule::T | Rule::SameWidth => ty,
        Rule::Is(is) => is,
        Rule::Narrower | Rule::Wider | Rule::AnyInt => Ty::I64,
    }
}

#[inline(always)]
unsafe fn scalar_args<O: ScalarOp, const T: usize>(s: &Step, cpu: *const u8) -> Args<u64> {
    let count = const { O::OP.info().args.len() };
    let mut x = Args { ty: ty(T), imm: s.imm, a: 0, b: 0, c: 0 };
    // SAFETY: as the caller's.
    unsafe {
        if count > 0 {
            x.a = read(cpu, s.a) & const { arg_ty(O::OP, ty(T), 0).mask() };
        }
        if count > 1 {
            x.b = read(cpu, s.b) & const { arg_ty(O::OP, ty(T), 1).mask() };
        }
        if count > 2 {
            x.c = read(cpu, s.c) & const { arg_ty(O::OP, ty(T), 2).mask() };
        }
    }
    x
}

/// As [`scalar_args`], with the immediate as second argument.
#[inline(always)]
unsafe fn constant_args<O: ScalarOp, const T: usize>(s: &Step, cpu: *const u8) -> Args<u64> {
    // SAFETY: as the caller's.
    let a = unsafe { read(cpu, s.a) } & const { arg_ty(O::OP, ty(T), 0).mask() };
    Args { ty: ty(T), imm: 0, a, b: s.imm, c: 0 }
}

#[inline(always)]
unsafe fn vector_arg<O: VectorOp, const T: usize>(cpu: *const u8, offset: u16, i: usize) -> u128 {
    let ty = arg_ty(O::OP, ty(T), i);
    // SAFETY: as the caller's; vectors' offsets are aligned to 16.
    unsafe {
        if matches!(ty, Ty::V128) {
            read128(cpu, offset)
        } else {
            (read(cpu, offset) & ty.mask()).into()
        }
    }
}

/// Leaves by one of the two links of the branch `step`.
#[inline(always)]
unsafe fn leave_by<G: Guest>(step: &Step, cpu: *mut u8, hops: usize, taken: bool) -> Out {
    // SAFETY: behind a branch stands a step whose immediate is the address of two links, that for
    // a true condition first.
    unsafe {
        let links = (*std::ptr::from_ref(step).add(1)).imm as *const Link<G>;
        follow(links.add(usize::from(!taken)), cpu, hops)
    }
}

/// Goes on in the code that `link` leads to, if that asks for nothing.
#[inline(always)]
unsafe fn follow<G: Guest>(link: *const Link<G>, cpu: *mut u8, hops: usize) -> Out {
    // SAFETY: the link is one of the running code's; a `Cpu` starts with its `Core`; code that is
    // linked is never freed while it may be entered.
    unsafe {
        let core = cpu.cast::<Core>();
        if let Some(next) = (*link).get()
            && hops != 0
            && (*core).attention.load(Ordering::Relaxed) == 0
            && next.enter_quietly()
        {
            (*core).interpreted += u64::from(next.guest_insts);
            let first = next.first_step();
            return ((*first).run)(first, cpu, std::ptr::from_ref(next).cast(), hops - 1);
        }
        // A call too, so that both ways are calls in tail position.
        stay(link.cast(), cpu, std::ptr::null(), 0)
    }
}

/// Returns to the run loop, which looks at the link.
#[inline(never)]
unsafe extern "C" fn stay(link: *const Step, _: *mut u8, _: *const (), _: usize) -> Out {
    Out { kind: Kind::Link, at: link.cast() }
}

/// Calls the helper in the immediate with the first `N` of a, b, c; the others are 0.
#[inline(always)]
unsafe fn call_helper<G: Guest, const N: usize>(s: &Step, cpu: *mut u8) -> u64 {
    // SAFETY: the immediate is the address of one of `G`'s helpers, and `cpu` a `Cpu<G>`.
    unsafe {
        let helper = std::mem::transmute::<usize, HelperFn<G>>(s.imm as usize);
        let a = if N > 0 { read(cpu, s.a) } else { 0 };
        let b = if N > 1 { read(cpu, s.b) } else { 0 };
        let c = if N > 2 { read(cpu, s.c) } else { 0 };
        helper(&mut *cpu.cast::<Cpu<G>>(), a, b, c)
    }
}

/// Leaves at a fault of `step`, which `core.fault` holds.
#[cold]
#[inline(never)]
unsafe fn faulted<G: Guest>(step: *const Step, cpu: *mut u8, code: *const ()) -> Out {
    // SAFETY: `cpu` is a `Cpu<G>`, and `code` a `Code<G>` in which `step` lies.
    unsafe {
        let (cpu, code) = (&mut *cpu.cast::<Cpu<G>>(), &*code.cast::<Code<G>>());
        cpu.core.pc = code.pc_at(step.offset_from_unsigned(code.first_step()));
        cpu.recover(code.recover(), cpu.core.pc);
    }
    Out { kind: Kind::Fault, at: std::ptr::null() }
}

/// Leaves with the memory fault of a failed access.
macro_rules! access {
    ($s:ident, $cpu:ident, $code:ident, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(fault) => {
                (*$cpu.cast::<Core>()).fault = Some(Fault::Memory(fault));
                return faulted::<G>($s, $cpu, $code);
            }
        }
    };
}

steps! {
    /// dst = the operation on a, b, c.
    fn scalar<O: ScalarOp; T: usize>(s, cpu) {
        write(cpu, s.dst, O::eval(scalar_args::<O, T>(s, cpu)));
        None
    }
    /// dst = the operation on a and the immediate.
    fn constant<O: ScalarOp; T: usize>(s, cpu) {
        write(cpu, s.dst, O::eval(constant_args::<O, T>(s, cpu)));
        None
    }
    /// Leaves by one of two links, as the comparison of a and b says.
    fn branch<O: ScalarOp, G: Guest; T: usize>(s, cpu, _code, hops) {
        Some(leave_by::<G>(s, cpu, hops, O::eval(scalar_args::<O, T>(s, cpu)) != 0))
    }
    /// Leaves by one of two links, as the comparison of a and the immediate says.
    fn branch_constant<O: ScalarOp, G: Guest; T: usize>(s, cpu, _code, hops) {
        Some(leave_by::<G>(s, cpu, hops, O::eval(constant_args::<O, T>(s, cpu)) != 0))
    }
    /// dst = the vector operation on a, b, c.
    fn vector<O: VectorOp; T: usize>(s, cpu) {
        let count = const { O::OP.info().args.len() };
        let mut x = Args { ty: ty(T), imm: s.imm, a: 0, b: 0, c: 0 };
        if count > 0 {
            x.a = vector_arg::<O, T>(cpu, s.a, 0);
        }
        if count > 1 {
            x.b = vector_arg::<O, T>(cpu, s.b, 1);
        }
        if count > 2 {
            x.c = vector_arg::<O, T>(cpu, s.c, 2);
        }
        let result = O::eval(x);
        if matches!(const { O::OP.result(ty(T)) }, Some(Ty::V128)) {
            write128(cpu, s.dst, result);
        } else {
            write(cpu, s.dst, result as u64);
        }
        None
    }

    /// dst = the immediate.
    fn set_constant(s, cpu) {
        write(cpu, s.dst, s.imm);
        None
    }
    /// dst = a, of the given type.
    fn copy<; T: usize>(s, cpu) {
        if matches!(ty(T), Ty::V128) {
            write128(cpu, s.dst, read128(cpu, s.a));
        } else {
            write(cpu, s.dst, read(cpu, s.a) & ty(T).mask());
        }
        None
    }
    /// The two words at dst = the immediate; a.
    fn set_two<; T: usize>(s, cpu) {
        let words = [s.imm, read(cpu, s.a) & ty(T).mask()];
        cpu.add(s.dst.into()).cast::<[u64; 2]>().write(words);
        None
    }
    /// The three words at dst = the immediate; a; b.
    fn set_three<; T: usize>(s, cpu) {
        let (a, b) = (read(cpu, s.a), read(cpu, s.b));
        let words = [s.imm, a & ty(T).mask(), b & ty(T).mask()];
        cpu.add(s.dst.into()).cast::<[u64; 3]>().write(words);
        None
    }
    /// The three words at dst = the immediate's low half; a; the immediate's high half, its sign
    /// above.
    fn set_three_constant<; T: usize>(s, cpu) {
        let a = read(cpu, s.a) & ty(T).mask();
        let words = [s.imm & 0xffff_ffff, a, ((s.imm as i64) >> 32) as u64];
        cpu.add(s.dst.into()).cast::<[u64; 3]>().write(words);
        None
    }
    /// dst = a of type `S`, its sign above, cut to type `T`.
    fn sext<; S: usize, T: usize>(s, cpu) {
        write(cpu, s.dst, ty(S).sext(read(cpu, s.a)) as u64 & ty(T).mask());
        None
    }

    /// dst = the helper in the immediate, called with the first `N` of a, b, c.
    fn call<G: Guest; N: usize>(s, cpu) {
        let result = call_helper::<G, N>(s, cpu);
        write(cpu, s.dst, result);
        None
    }
    /// As `call`, of a helper that may fault.
    fn call_faulting<G: Guest; N: usize>(s, cpu, code, _hops) {
        let result = call_helper::<G, N>(s, cpu);
        if (*cpu.cast::<Core>()).fault_pending != 0 {
            Some(faulted::<G>(s, cpu, code))
        } else {
            write(cpu, s.dst, result);
            None
        }
    }
    /// Orders memory accesses.
    fn full_fence(s, cpu) {
        let _ = s;
        fence(Ordering::SeqCst);
        None
    }

    /// Leaves with the trap in the immediate if a.
    fn trap_if<G: Guest>(s, cpu, code, _hops) {
        if read(cpu, s.a) & 1 == 0 {
            None
        } else {
            let trap = mynah_ir::Trap::unpack(s.imm);
            (*cpu.cast::<Core>()).fault = Some(Fault::Trap(trap));
            Some(faulted::<G>(s, cpu, code))
        }
    }
    /// Leaves by the link in the immediate if a.
    fn exit_if<G: Guest>(s, cpu, _code, hops) {
        if read(cpu, s.a) & 1 == 0 {
            None
        } else {
            Some(follow(s.imm as *const Link<G>, cpu, hops))
        }
    }
    /// Leaves by the link in the immediate.
    fn jump<G: Guest>(s, cpu, _code, hops) {
        Some(follow(s.imm as *const Link<G>, cpu, hops))
    }
    /// Leaves by one of two links, as the truth value a says.
    fn branch_if<G: Guest>(s, cpu, _code, hops) {
        Some(leave_by::<G>(s, cpu, hops, read(cpu, s.a) & 1 != 0))
    }
    /// Leaves to the guest address a.
    fn indirect(s, cpu) {
        (*cpu.cast::<Core>()).pc = read(cpu, s.a);
        Some(Out { kind: Kind::Indirect, at: std::ptr::null() })
    }
    /// Leaves with the trap in the immediate; the pc is the next step's immediate.
    fn trap(s, cpu) {
        (*cpu.cast::<Core>()).pc = (*std::ptr::from_ref(s).add(1)).imm;
        Some(Out { kind: Kind::Trap, at: std::ptr::from_ref(s).cast() })
    }
}

/// Holds data of the step before; never run.
pub(crate) unsafe extern "C" fn data(_: *const Step, _: *mut u8, _: *const (), _: usize) -> Out {
    std::process::abort()
}

/// How a memory step finds its address.
pub(crate) trait Form: 'static {
    /// The address.
    ///
    /// # Safety
    /// As [`Run`].
    unsafe fn address(s: &Step, cpu: *const u8) -> u64;
}

/// The immediate.
pub(crate) struct Absolute;
/// a plus the immediate.
pub(crate) struct Base;
/// a plus b shifted left by c, plus the immediate.
pub(crate) struct Indexed;

impl Form for Absolute {
    #[inline(always)]
    unsafe fn address(s: &Step, _: *const u8) -> u64 {
        s.imm
    }
}

impl Form for Base {
    #[inline(always)]
    unsafe fn address(s: &Step, cpu: *const u8) -> u64 {
        // SAFETY: as the caller's.
        unsafe { read(cpu, s.a) }.wrapping_add(s.imm)
    }
}

impl Form for Indexed {
    #[inline(always)]
    unsafe fn address(s: &Step, cpu: *const u8) -> u64 {
        // SAFETY: as the caller's.
        let (a, b) = unsafe { (read(cpu, s.a), read(cpu, s.b)) };
        a.wrapping_add(b << (s.c & 63)).wrapping_add(s.imm)
    }
}

/// An access's unit as it stands among the operands.
pub(crate) trait Operand: Unit + 'static {
    /// # Safety
    /// As [`Run`].
    unsafe fn get(cpu: *const u8, offset: u16) -> Self;
    /// # Safety
    /// As [`Run`].
    unsafe fn put(self, cpu: *mut u8, offset: u16);
    /// The low bits of `value`.
    fn cut(value: u64) -> Self;
}

macro_rules! operands {
    ($($unit:ty)*) => {$(
        impl Operand for $unit {
            #[inline(always)]
            unsafe fn get(cpu: *const u8, offset: u16) -> $unit {
                // SAFETY: as the caller's.
                unsafe { read(cpu, offset) as $unit }
            }
            #[inline(always)]
            unsafe fn put(self, cpu: *mut u8, offset: u16) {
                // SAFETY: as the caller's.
                unsafe { write(cpu, offset, self.into()) }
            }
            #[inline(always)]
            fn cut(value: u64) -> $unit {
                value as $unit
            }
        }
    )*};
}

operands!(u8 u16 u32 u64);

impl Operand for u128 {
    #[inline(always)]
    unsafe fn get(cpu: *const u8, offset: u16) -> u128 {
        // SAFETY: as the caller's.
        unsafe { read128(cpu, offset) }
    }
    #[inline(always)]
    unsafe fn put(self, cpu: *mut u8, offset: u16) {
        // SAFETY: as the caller's.
        unsafe { write128(cpu, offset, self) }
    }
    #[inline(always)]
    fn cut(value: u64) -> u128 {
        value.into()
    }
}

/// Address and value of a [`store_constant`].
#[inline(always)]
unsafe fn constant_store<U: Operand>(s: &Step, cpu: *const u8) -> (u64, U) {
    // SAFETY: as the caller's.
    let va = unsafe { read(cpu, s.a) }.wrapping_add(s.imm as i32 as u64);
    (va, U::cut(((s.imm as i64) >> 32) as u64))
}

fn aligned(va: u64, bytes: u64, access: Access) -> Result<(), MemFault> {
    if va & (bytes - 1) == 0 {
        return Ok(());
    }
    Err(MemFault { va, access, cause: Cause::Misaligned })
}

/// Whether `va` is as a `NATURAL` access of `bytes` wants it.
#[inline(always)]
fn is_fit<const NATURAL: bool>(va: u64, bytes: u64) -> bool {
    !NATURAL || va & (bytes - 1) == 0
}

steps! {
    /// dst = the value at the address.
    fn load<G: Guest, U: Operand, F: Form; NATURAL: bool>(s, cpu, code, hops) {
        let va = F::address(s, cpu);
        let memory = &mut (*cpu.cast::<Cpu<G>>()).memory;
        if is_fit::<NATURAL>(va, U::BYTES as u64) && let Some(value) = memory.try_load::<U>(va) {
            value.put(cpu, s.dst);
            None
        } else {
            Some(load_again::<G, U, F, NATURAL>(s, cpu, code, hops))
        }
    }
    /// The same, with the fault if there is one: `load` needs no frame for it.
    #[cold]
    #[inline(never)]
    fn load_again<G: Guest, U: Operand, F: Form; NATURAL: bool>(s, cpu, code, _hops) {
        let va = F::address(s, cpu);
        if NATURAL {
            access!(s, cpu, code, aligned(va, U::BYTES as u64, Access::Read));
        }
        let memory = &mut (*cpu.cast::<Cpu<G>>()).memory;
        access!(s, cpu, code, memory.load::<U>(va)).put(cpu, s.dst);
        None
    }
    /// The value at the address = dst.
    fn store<G: Guest, U: Operand, F: Form; NATURAL: bool>(s, cpu, code, hops) {
        let va = F::address(s, cpu);
        let memory = &mut (*cpu.cast::<Cpu<G>>()).memory;
        let fit = is_fit::<NATURAL>(va, U::BYTES as u64);
        if fit && memory.try_store(va, U::get(cpu, s.dst)).is_some() {
            None
        } else {
            Some(store_again::<G, U, F, NATURAL>(s, cpu, code, hops))
        }
    }
    /// The same, with the fault if there is one.
    #[cold]
    #[inline(never)]
    fn store_again<G: Guest, U: Operand, F: Form; NATURAL: bool>(s, cpu, code, _hops) {
        let va = F::address(s, cpu);
        if NATURAL {
            access!(s, cpu, code, aligned(va, U::BYTES as u64, Access::Write));
        }
        let memory = &mut (*cpu.cast::<Cpu<G>>()).memory;
        access!(s, cpu, code, memory.store(va, U::get(cpu, s.dst)));
        None
    }
    /// The value at a plus the immediate's low half, its sign above = the immediate's high half,
    /// its sign above.
    fn store_constant<G: Guest, U: Operand>(s, cpu, code, hops) {
        let (va, value) = constant_store::<U>(s, cpu);
        let memory = &mut (*cpu.cast::<Cpu<G>>()).memory;
        if memory.try_store(va, value).is_some() {
            None
        } else {
            Some(store_constant_again::<G, U>(s, cpu, code, hops))
        }
    }
    /// The same, with the fault if there is one.
    #[cold]
    #[inline(never)]
    fn store_constant_again<G: Guest, U: Operand>(s, cpu, code, _hops) {
        let (va, value) = constant_store::<U>(s, cpu);
        let memory = &mut (*cpu.cast::<Cpu<G>>()).memory;
        access!(s, cpu, code, memory.store(va, value));
        None
    }
    /// dst = the value at a, which is changed as c ([`Rmw`] and [`MemOp`]) says with b.
    fn rmw<G: Guest; T: usize>(s, cpu, code, _hops) {
        let (va, arg) = (read(cpu, s.a), read(cpu, s.b) & ty(T).mask());
        let bytes = ty(T).bytes();
        if MemOp::unpack(s.imm).align == Align::Natural {
            access!(s, cpu, code, aligned(va, bytes.into(), Access::Write));
        }
        let op = Rmw::unpack(s.imm);
        let memory = &mut (*cpu.cast::<Cpu<G>>()).memory;
        let old = access!(s, cpu, code, memory.update(va, bytes, |old| op.apply(ty(T), old, arg)));
        write(cpu, s.dst, old);
        None
    }
    /// dst = the value at a; if it is b, c takes its place.
    fn cas<G: Guest; T: usize>(s, cpu, code, _hops) {
        let va = read(cpu, s.a);
        let bytes = ty(T).bytes();
        if MemOp::unpack(s.imm).align == Align::Natural || matches!(ty(T), Ty::V128) {
            access!(s, cpu, code, aligned(va, bytes.into(), Access::Write));
        }
        let memory = &mut (*cpu.cast::<Cpu<G>>()).memory;
        if matches!(ty(T), Ty::V128) {
            let (expected, new) = (read128(cpu, s.b), read128(cpu, s.c));
            let old = access!(s, cpu, code, memory.compare_exchange128(va, expected, new));
            write128(cpu, s.dst, old);
        } else {
            let (expected, new) = (read(cpu, s.b) & ty(T).mask(), read(cpu, s.c) & ty(T).mask());
            let old = access!(s, cpu, code, memory.compare_exchange(va, bytes, expected, new));
            write(cpu, s.dst, old);
        }
        None
    }
}

/// Calls `$f` generic over the scalar or vector type `$ty`.
macro_rules! by_ty {
    ($ty:expr, $name:ident => $f:expr) => {
        match $ty {
            Ty::I1 => {
                const $name: usize = Ty::I1 as usize;
                $f
            }
            Ty::I8 => {
                const $name: usize = Ty::I8 as usize;
                $f
            }
            Ty::I16 => {
                const $name: usize = Ty::I16 as usize;
                $f
            }
            Ty::I32 => {
                const $name: usize = Ty::I32 as usize;
                $f
            }
            Ty::I64 => {
                const $name: usize = Ty::I64 as usize;
                $f
            }
            Ty::F32 => {
                const $name: usize = Ty::F32 as usize;
                $f
            }
            Ty::F64 => {
                const $name: usize = Ty::F64 as usize;
                $f
            }
            Ty::V128 => {
                const $name: usize = Ty::V128 as usize;
                $f
            }
        }
    };
}

/// What is done with an operation that has an evaluator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Computes from its operands.
    Plain,
    /// Its second operand is the immediate.
    Constant,
    /// A comparison that ends the block.
    Branch,
    /// A comparison with the immediate that ends the block.
    BranchConstant,
}

const fn supports(op: Op, ty: Ty) -> bool {
    let types = op.info().types;
    let mut i = 0;
    while i < types.len() {
        if types[i] as usize == ty as usize {
            return true;
        }
        i += 1;
    }
    false
}

const fn compares(op: Op) -> bool {
    matches!(op, Op::Eq | Op::Ne | Op::Ult | Op::Ule | Op::Slt | Op::Sle)
}

/// Whether `op` can end a block by itself ([`Shape::Branch`]).
pub(crate) fn fuses_with_branch(op: Op) -> bool {
    compares(op)
}

struct Pick<G>(Ty, Shape, std::marker::PhantomData<G>);

impl<G: Guest> Visitor for Pick<G> {
    type Out = Option<Run>;

    fn scalar<O: ScalarOp>(self) -> Option<Run> {
        by_ty!(self.0, T => pick_scalar::<G, O, T>(self.1))
    }

    fn vector<O: VectorOp>(self) -> Option<Run> {
        if self.1 != Shape::Plain {
            return None;
        }
        by_ty!(self.0, T => {
            if const { supports(O::OP, ty(T)) } { Some(vector::<O, T> as Run) } else { None }
        })
    }

    fn other(self) -> Option<Run> {
        None
    }
}

fn pick_scalar<G: Guest, O: ScalarOp, const T: usize>(shape: Shape) -> Option<Run> {
    if const { !supports(O::OP, ty(T)) } {
        return None;
    }
    match shape {
        Shape::Plain => Some(scalar::<O, T>),
        Shape::Constant => {
            if const { O::OP.info().args.len() == 2 } {
                Some(constant::<O, T>)
            } else {
                None
            }
        }
        Shape::Branch => {
            if const { compares(O::OP) } {
                Some(branch::<O, G, T>)
            } else {
                None
            }
        }
        Shape::BranchConstant => {
            if const { compares(O::OP) } {
                Some(branch_constant::<O, G, T>)
            } else {
                None
            }
        }
    }
}

/// The step function of an operation with an evaluator; `None` if there is none in that shape.
pub(crate) fn evaluator<G: Guest>(op: Op, ty: Ty, shape: Shape) -> Option<Run> {
    op.visit(Pick::<G>(ty, shape, std::marker::PhantomData))
}

/// The step function that copies a `ty`, with zeros above.
pub(crate) fn copying(ty: Ty) -> Run {
    by_ty!(ty, T => copy::<T>)
}

/// The step function that extends the sign of a `from` to `to`.
pub(crate) fn sign_extending(from: Ty, to: Ty) -> Run {
    by_ty!(from, S => by_ty!(to, T => sext::<S, T>))
}

/// Step functions that set neighbouring words; operands are `ty`.
pub(crate) fn setting_two(ty: Ty) -> Run {
    by_ty!(ty, T => set_two::<T>)
}

/// As [`setting_two`], three words.
pub(crate) fn setting_three(ty: Ty) -> Run {
    by_ty!(ty, T => set_three::<T>)
}

/// As [`setting_three`], the third constant.
pub(crate) fn setting_three_constant(ty: Ty) -> Run {
    by_ty!(ty, T => set_three_constant::<T>)
}

macro_rules! by_unit {
    ($ty:expr, $natural:expr, $step:ident, $form:ty) => {
        match ($ty, $natural) {
            (Ty::I1 | Ty::I8, _) => $step::<G, u8, $form, false>,
            (Ty::I16, false) => $step::<G, u16, $form, false>,
            (Ty::I16, true) => $step::<G, u16, $form, true>,
            (Ty::I32 | Ty::F32, false) => $step::<G, u32, $form, false>,
            (Ty::I32 | Ty::F32, true) => $step::<G, u32, $form, true>,
            (Ty::I64 | Ty::F64, false) => $step::<G, u64, $form, false>,
            (Ty::I64 | Ty::F64, true) => $step::<G, u64, $form, true>,
            (Ty::V128, false) => $step::<G, u128, $form, false>,
            (Ty::V128, true) => $step::<G, u128, $form, true>,
        }
    };
}

/// The step function of a load with this form of address.
pub(crate) fn loading<G: Guest, F: Form>(ty: Ty, mem: MemOp) -> Run {
    by_unit!(ty, mem.align == Align::Natural, load, F)
}

/// The step function of a store with this form of address.
pub(crate) fn storing<G: Guest, F: Form>(ty: Ty, mem: MemOp) -> Run {
    by_unit!(ty, mem.align == Align::Natural, store, F)
}

/// The step function that stores an integer constant.
pub(crate) fn storing_constant<G: Guest>(ty: Ty) -> Run {
    match ty {
        Ty::I8 => store_constant::<G, u8>,
        Ty::I16 => store_constant::<G, u16>,
        Ty::I32 => store_constant::<G, u32>,
        _ => store_constant::<G, u64>,
    }
}

/// The step function of a call of a helper with `count` arguments, which may fault.
pub(crate) fn calling<G: Guest>(count: usize, faults: bool) -> Run {
    match (count, faults) {
        (0, false) => call::<G, 0>,
        (1, false) => call::<G, 1>,
        (2, false) => call::<G, 2>,
        (_, false) => call::<G, 3>,
        (0, true) => call_faulting::<G, 0>,
        (1, true) => call_faulting::<G, 1>,
        (2, true) => call_faulting::<G, 2>,
        (_, true) => call_faulting::<G, 3>,
    }
}

/// The step function of an atomic read-modify-write.
pub(crate) fn updating<G: Guest>(ty: Ty) -> Run {
    by_ty!(ty, T => rmw::<G, T>)
}

/// The step function of a compare-and-swap.
pub(crate) fn comparing<G: Guest>(ty: Ty) -> Run {
    by_ty!(ty, T => cas::<G, T>)
}
