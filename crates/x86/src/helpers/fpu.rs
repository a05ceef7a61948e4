//! x87 instructions: memory operands and waiting exceptions around [`crate::fpu::Fpu`].

use crate::flags::{CF, PF, ZF};
use crate::fpu::{MASK80, Stored, status};
use crate::host::Op;
use crate::{Space, X86, trap};
use mynah_guest::{Cpu, Fault, MemFault};
use mynah_mem::Memory;

/// An operation and its registers, as a helper's argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Code {
    pub(crate) op: Op,
    pub(crate) dest: u8,
    /// [`Code::MEMORY`] if the source is in memory.
    pub(crate) src: u8,
    pub(crate) pops: u8,
}

impl Code {
    /// Stands for a source in memory.
    pub(crate) const MEMORY: u8 = 8;

    pub(crate) fn pack(self) -> u64 {
        u64::from(u32::from_le_bytes([self.op as u8, self.dest, self.src, self.pops]))
    }

    fn unpack(code: u64) -> Code {
        let [op, dest, src, pops] = (code as u32).to_le_bytes();
        let op = Op::ALL[usize::from(op) % Op::ALL.len()];
        Code { op, dest: dest & 7, src, pops }
    }

    fn source(self) -> Option<usize> {
        (self.src != Code::MEMORY).then_some(usize::from(self.src) & 7)
    }
}

macro_rules! choices {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $each:literal])+ $choice:ident,)* })*) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum $name { $($(#[doc = $each])+ $choice,)* }

        impl $name {
            const ALL: &'static [$name] = &[$($name::$choice),*];

            fn unpack(code: u64) -> $name {
                $name::ALL[code as usize % $name::ALL.len()]
            }
        }
    )*};
}

choices! {
    /// Moves between registers, and to and from memory as it is.
    Move {
        /// FLD ST(i).
        Push,
        /// FLD m80.
        Load,
        /// FSTP m80.
        Store,
        /// FST ST(i).
        Copy,
        /// FSTP ST(i).
        CopyPop,
        /// FSTPNCE ST(i).
        CopyPopUnchecked,
        /// FXCH.
        Exchange,
        /// FCMOVcc whose condition holds.
        Conditional,
        /// FCMOVcc whose condition does not hold.
        Nothing,
        /// FFREE.
        Free,
        /// FFREEP.
        FreePop,
        /// FABS.
        Absolute,
        /// FCHS.
        Negate,
        /// FXAM.
        Examine,
        /// FINCSTP.
        Increment,
        /// FDECSTP.
        Decrement,
        /// FNOP, FWAIT: only waits.
        Wait,
        /// FLDCW.
        LoadControl,
    }
    /// Instructions that do not wait for exceptions, and MMX's.
    Control {
        /// FNINIT.
        Init,
        /// FNCLEX.
        ClearExceptions,
        /// FNSTCW.
        Fcw,
        /// FNSTSW.
        Fsw,
        /// After an MMX instruction.
        EnterMmx,
        /// EMMS.
        LeaveMmx,
    }
    /// Images of the unit in memory.
    Image {
        /// FNSTENV, 28 bytes.
        StoreEnvironment,
        /// FNSTENV, 14 bytes.
        StoreEnvironment16,
        /// FLDENV, 28 bytes.
        LoadEnvironment,
        /// FLDENV, 14 bytes.
        LoadEnvironment16,
        /// FNSAVE, 108 bytes.
        Save,
        /// FNSAVE, 94 bytes.
        Save16,
        /// FRSTOR, 108 bytes.
        Restore,
        /// FRSTOR, 94 bytes.
        Restore16,
    }
}

/// Stores `bytes`, which are no more than a page, at `address`: all of them or, on a fault, none.
pub(super) fn write_whole(
    memory: &mut impl Memory,
    address: u64,
    bytes: &[u8],
) -> Result<(), MemFault> {
    let last = address.wrapping_add(bytes.len() as u64 - 1);
    if last >> 12 != address >> 12 {
        // These fault as a write does, and change nothing.
        memory.compare_exchange(address, 1, 0, 0)?;
        memory.compare_exchange(last & !0xfff, 1, 0, 0)?;
    }
    memory.write(address, bytes)
}

/// Runs `f` unless an exception waits; raises what fails.
fn waiting<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    f: impl FnOnce(&mut Cpu<X86<M>>) -> Result<u64, MemFault>,
) -> u64 {
    if cpu.state.fpu.waits() {
        cpu.raise(Fault::Trap(trap::exception(trap::X87)));
        return 0;
    }
    not_waiting(cpu, f)
}

fn not_waiting<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    f: impl FnOnce(&mut Cpu<X86<M>>) -> Result<u64, MemFault>,
) -> u64 {
    match f(cpu) {
        Ok(result) => result,
        Err(fault) => {
            cpu.raise(fault);
            0
        }
    }
}

/// Bytes of the operand in memory.
fn width(op: Op) -> usize {
    use Op::*;
    match op {
        AddI16 | MulI16 | SubI16 | SubrI16 | DivI16 | DivrI16 | ComI16 | LoadI16 | StoreI16
        | TruncI16 => 2,
        AddF64 | MulF64 | SubF64 | SubrF64 | DivF64 | DivrF64 | ComF64 | LoadF64 | LoadI64
        | StoreF64 | StoreI64 | TruncI64 => 8,
        LoadBcd | StoreBcd => 10,
        _ => 4,
    }
}

fn load<M: Space>(cpu: &mut Cpu<X86<M>>, address: u64, bytes: usize) -> Result<u128, MemFault> {
    let mut buffer = [0; 16];
    match bytes {
        2 => return cpu.memory.load::<u16>(address).map(u128::from),
        4 => return cpu.memory.load::<u32>(address).map(u128::from),
        8 => return cpu.memory.load::<u64>(address).map(u128::from),
        _ => cpu.memory.read(address, &mut buffer[..bytes])?,
    }
    Ok(u128::from_le_bytes(buffer))
}

fn source<M: Space>(cpu: &mut Cpu<X86<M>>, code: Code, address: u64) -> Result<u128, MemFault> {
    if code.src == Code::MEMORY { load(cpu, address, width(code.op)) } else { Ok(0) }
}

pub(super) extern "C" fn arithmetic<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    code: u64,
    address: u64,
    _: u64,
) -> u64 {
    waiting(cpu, |cpu| {
        let code = Code::unpack(code);
        let memory = source(cpu, code, address)?;
        let fpu = &mut cpu.state.fpu;
        fpu.arithmetic(code.op, code.dest.into(), code.source(), memory, code.pops != 0);
        Ok(0)
    })
}

pub(super) extern "C" fn compare<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    code: u64,
    address: u64,
    _: u64,
) -> u64 {
    waiting(cpu, |cpu| {
        let code = Code::unpack(code);
        let memory = source(cpu, code, address)?;
        cpu.state.fpu.compare(code.op, code.source(), memory, code.pops.into());
        Ok(0)
    })
}

/// The flags that FCOMI leaves.
pub(super) extern "C" fn compare_flags<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    code: u64,
    _: u64,
    _: u64,
) -> u64 {
    waiting(cpu, |cpu| {
        let code = Code::unpack(code);
        let source = code.source().unwrap_or(0);
        let found = cpu.state.fpu.compare_flags(code.op, source, code.pops != 0);
        Ok(match found {
            None => super::flags::flags(cpu, 0, 0, 0),
            Some(codes) => [(status::C0, CF), (status::C2, PF), (status::C3, ZF)]
                .into_iter()
                .filter(|&(code, _)| codes & code != 0)
                .map(|(_, flag)| flag)
                .sum(),
        })
    })
}

/// Loads that convert, and constants.
pub(super) extern "C" fn push<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    code: u64,
    address: u64,
    _: u64,
) -> u64 {
    waiting(cpu, |cpu| {
        let code = Code::unpack(code);
        let memory = source(cpu, code, address)?;
        cpu.state.fpu.load(code.op, memory);
        Ok(0)
    })
}

/// Stores that convert.
pub(super) extern "C" fn store<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    code: u64,
    address: u64,
    _: u64,
) -> u64 {
    waiting(cpu, |cpu| {
        let code = Code::unpack(code);
        let stored = cpu.state.fpu.store(code.op);
        finish(cpu, stored, address, width(code.op), code.pops != 0)
    })
}

fn finish<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    stored: Stored,
    address: u64,
    bytes: usize,
    pops: bool,
) -> Result<u64, MemFault> {
    match (stored.memory, bytes) {
        (None, _) => {}
        (Some(value), 2) => cpu.memory.store(address, value as u16)?,
        (Some(value), 4) => cpu.memory.store(address, value as u32)?,
        (Some(value), 8) => cpu.memory.store(address, value as u64)?,
        (Some(value), _) => {
            // In two parts, as the host CPU does it: a fault in the second leaves the first.
            cpu.memory.store(address, value as u64)?;
            cpu.memory.store(address.wrapping_add(8), (value >> 64) as u16)?;
        }
    }
    cpu.state.fpu.finish(stored, pops);
    Ok(0)
}

/// Functions of the top of the stack.
pub(super) extern "C" fn transform<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    code: u64,
    _: u64,
    _: u64,
) -> u64 {
    waiting(cpu, |cpu| {
        let fpu = &mut cpu.state.fpu;
        match Code::unpack(code).op {
            op @ (Op::Log | Op::LogPlus1 | Op::Atan) => fpu.binary(op),
            op @ (Op::Tan | Op::SinCos | Op::Extract) => fpu.split(op),
            op => fpu.unary(op),
        }
        Ok(0)
    })
}

/// A [`Move`]: `a` is the register or the address.
pub(super) extern "C" fn transfer<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    which: u64,
    a: u64,
    _: u64,
) -> u64 {
    waiting(cpu, |cpu| {
        let register = a as usize & 7;
        match Move::unpack(which) {
            Move::Push => cpu.state.fpu.push_register(register),
            Move::Load => {
                let value = load(cpu, a, 10)? & MASK80;
                cpu.state.fpu.push(value);
            }
            Move::Store => {
                let stored = cpu.state.fpu.store_whole();
                return finish(cpu, stored, a, 10, true);
            }
            Move::Copy => cpu.state.fpu.copy(register, false),
            Move::CopyPop => cpu.state.fpu.copy(register, true),
            Move::CopyPopUnchecked => cpu.state.fpu.copy_unchecked(register),
            Move::Exchange => cpu.state.fpu.exchange(register),
            Move::Conditional => cpu.state.fpu.conditional_move(register, true),
            Move::Nothing => cpu.state.fpu.conditional_move(register, false),
            Move::Free => cpu.state.fpu.free(register, false),
            Move::FreePop => cpu.state.fpu.free(register, true),
            Move::Absolute => cpu.state.fpu.absolute(),
            Move::Negate => cpu.state.fpu.negate(),
            Move::Examine => cpu.state.fpu.examine(),
            Move::Increment => cpu.state.fpu.turn_stack(1),
            Move::Decrement => cpu.state.fpu.turn_stack(7),
            Move::Wait => {}
            Move::LoadControl => {
                let word = cpu.memory.load(a)?;
                cpu.state.fpu.set_control(word);
            }
        }
        Ok(0)
    })
}

/// A [`Control`]; the control or status word.
pub(super) extern "C" fn control<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    which: u64,
    _: u64,
    _: u64,
) -> u64 {
    let fpu = &mut cpu.state.fpu;
    match Control::unpack(which) {
        Control::Init => fpu.init(),
        Control::ClearExceptions => fpu.clear_exceptions(),
        Control::Fcw => return fpu.control.into(),
        Control::Fsw => return fpu.status.into(),
        Control::EnterMmx => fpu.enter_mmx(),
        Control::LeaveMmx => fpu.leave_mmx(),
    }
    0
}

/// An [`Image`] at `address`.
pub(super) extern "C" fn image<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    which: u64,
    address: u64,
    _: u64,
) -> u64 {
    use Image::*;
    let which = Image::unpack(which);
    let wide = matches!(which, StoreEnvironment | LoadEnvironment | Save | Restore);
    let len = if wide { 28 } else { 14 };
    match which {
        StoreEnvironment | StoreEnvironment16 => not_waiting(cpu, |cpu| {
            let environment = cpu.state.fpu.environment(wide);
            write_whole(&mut cpu.memory, address, &environment[..len])?;
            cpu.state.fpu.mask_all();
            Ok(0)
        }),
        Save | Save16 => not_waiting(cpu, |cpu| {
            let mut bytes = [0; 108];
            bytes[..len].copy_from_slice(&cpu.state.fpu.environment(wide)[..len]);
            bytes[len..len + 80].copy_from_slice(&cpu.state.fpu.stack_bytes());
            write_whole(&mut cpu.memory, address, &bytes[..len + 80])?;
            cpu.state.fpu.init();
            Ok(0)
        }),
        LoadEnvironment | LoadEnvironment16 | Restore | Restore16 => waiting(cpu, |cpu| {
            let stack = matches!(which, Restore | Restore16);
            let mut bytes = [0; 108];
            let total = if stack { len + 80 } else { len };
            cpu.memory.read(address, &mut bytes[..total])?;
            let mut environment = [0; 28];
            environment[..len].copy_from_slice(&bytes[..len]);
            cpu.state.fpu.set_environment(&environment, wide);
            if stack {
                let mut registers = [0; 80];
                registers.copy_from_slice(&bytes[len..len + 80]);
                cpu.state.fpu.set_stack_bytes(&registers);
            }
            Ok(0)
        }),
    }
}
