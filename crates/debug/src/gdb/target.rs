//! The machine as `gdbstub` asks for it.

use super::{Width, signals, tid};
use crate::control::{Control, Machine};
use crate::registers::{self, Inspect, Register};
use crate::seat::{Pass, Run, Seat, Stop};
use crate::{Watch, WatchKind};
use gdbstub::arch::{Arch, RegId, Registers};
use gdbstub::common::{Signal, Tid};
use gdbstub::target::ext::auxv::{Auxv, AuxvOps};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::single_register_access::{
    SingleRegisterAccess, SingleRegisterAccessOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps,
    SwBreakpoint, SwBreakpointOps, WatchKind as GdbWatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use std::collections::HashMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Error numbers of replies, which gdb shows.
mod errno {
    pub(super) const ESRCH: u8 = 3;
    pub(super) const EFAULT: u8 = 14;
    pub(super) const EINVAL: u8 = 22;
}

/// A debugger's view of a machine.
pub(super) struct Session<G: Inspect> {
    pub(super) control: Arc<Control<G>>,
    registers: Arc<[Register]>,
    description: String,
    auxiliary_vector: Option<Vec<u8>>,
    /// How threads are to go on.
    actions: HashMap<u64, (Run, Pass)>,
    /// Threads that `actions` does not name stay.
    locked: bool,
    /// What is to be told next.
    pub(super) stopped: Option<(u64, Stop)>,
}

/// Bytes of the registers in the order of the description.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Bytes(Vec<u8>);

impl Registers for Bytes {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        0
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.0.iter().for_each(|&byte| write_byte(Some(byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.0 = bytes.to_vec();
        Ok(())
    }
}

/// A register's number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(usize);

impl RegId for Number {
    fn from_raw_id(id: usize) -> Option<(Number, Option<NonZeroUsize>)> {
        Some((Number(id), None))
    }
}

/// Any guest: what differs is in its description.
pub(super) enum Any {}

impl Arch for Any {
    type Usize = u64;
    type Registers = Bytes;
    type BreakpointKind = usize;
    type RegId = Number;
}

impl<G: Inspect> Session<G> {
    pub(super) fn new(control: Arc<Control<G>>, width: Width) -> Session<G> {
        let narrow = width == Width::Narrow;
        let auxiliary_vector = control.machine().and_then(|machine| machine.auxiliary_vector());
        Session {
            control,
            auxiliary_vector,
            registers: G::registers(narrow).into(),
            description: registers::description::<G>(narrow),
            actions: HashMap::new(),
            locked: false,
            stopped: None,
        }
    }

    fn seat(&self, tid: Tid) -> TargetResult<Arc<Seat<G>>, Self> {
        self.control.seat(tid.get() as u64).ok_or(TargetError::Errno(errno::ESRCH))
    }

    fn machine(&self) -> TargetResult<Arc<dyn Machine<G>>, Self> {
        self.control.machine().ok_or(TargetError::Errno(errno::ESRCH))
    }

    /// Sets a breakpoint of any kind.
    fn set_breakpoint(&self, pc: u64, on: bool) -> bool {
        self.control.set_breakpoint(pc, on);
        true
    }

    fn set_watch(&self, start: u64, len: u64, kind: GdbWatchKind, on: bool) -> bool {
        let kind = match kind {
            GdbWatchKind::Write => WatchKind::Write,
            GdbWatchKind::Read => WatchKind::Read,
            GdbWatchKind::ReadWrite => WatchKind::Access,
        };
        if len > 0 {
            self.control.set_watch(Watch { start, len, kind }, on);
        }
        len > 0
    }
}

/// Bytes of a register.
fn bytes(register: &Register) -> usize {
    register.bits.div_ceil(8)
}

impl<G: Inspect> Target for Session<G> {
    type Arch = Any;
    type Error = Infallible;

    fn base_ops(&mut self) -> BaseOps<'_, Any, Infallible> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }

    fn support_auxv(&mut self) -> Option<AuxvOps<'_, Self>> {
        match self.auxiliary_vector.is_some() {
            true => Some(self),
            false => None,
        }
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl<G: Inspect> MultiThreadBase for Session<G> {
    fn read_registers(&mut self, regs: &mut Bytes, tid: Tid) -> TargetResult<(), Self> {
        let registers = self.registers.clone();
        let all = self.seat(tid)?.ask(move |cpu| {
            let value = |register: &Register| {
                let bits = G::read_register(cpu, &register.name);
                bits.to_le_bytes()[..bytes(register)].to_vec()
            };
            registers.iter().flat_map(value).collect()
        });
        *regs = Bytes(all.ok_or(TargetError::NonFatal)?);
        Ok(())
    }

    fn write_registers(&mut self, regs: &Bytes, tid: Tid) -> TargetResult<(), Self> {
        let (registers, all) = (self.registers.clone(), regs.0.clone());
        let written = self.seat(tid)?.ask(move |cpu| {
            let mut rest = &all[..];
            for register in registers.iter() {
                let Some((value, more)) = rest.split_at_checked(bytes(register)) else { return };
                rest = more;
                write(cpu, register, value);
            }
        });
        written.ok_or(TargetError::NonFatal)
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let (machine, len) = (self.machine()?, data.len());
        let read = self.seat(tid)?.ask(move |cpu| {
            let mut buffer = vec![0; len];
            let count = machine.read(cpu, start, &mut buffer);
            buffer.truncate(count);
            buffer
        });
        match read {
            Some(bytes) if !bytes.is_empty() || len == 0 => {
                data[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            _ => Err(TargetError::Errno(errno::EFAULT)),
        }
    }

    fn write_addrs(&mut self, start: u64, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let (machine, data) = (self.machine()?, data.to_vec());
        match self.seat(tid)?.ask(move |cpu| machine.write(cpu, start, &data)) {
            Some(true) => Ok(()),
            _ => Err(TargetError::Errno(errno::EFAULT)),
        }
    }

    fn list_active_threads(&mut self, each: &mut dyn FnMut(Tid)) -> Result<(), Infallible> {
        self.control.seats().iter().filter_map(|seat| tid(seat.id())).for_each(each);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

/// Writes a register if that changes it: some cannot be written, and the others are not asked to.
fn write<G: Inspect>(cpu: &mut mynah_guest::Cpu<G>, register: &Register, value: &[u8]) {
    let mut wide = [0; 16];
    wide[..value.len()].copy_from_slice(value);
    let bits = u128::from_le_bytes(wide);
    let mask = u128::MAX >> (128 - 8 * bytes(register));
    if G::read_register(cpu, &register.name) & mask != bits {
        G::write_register(cpu, &register.name, bits);
    }
}

impl<G: Inspect> SingleRegisterAccess<Tid> for Session<G> {
    fn read_register(
        &mut self,
        tid: Tid,
        Number(number): Number,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let register = self.registers.get(number).ok_or(TargetError::Errno(errno::EINVAL))?;
        let (len, register) = (bytes(register), register.clone());
        let bits = self.seat(tid)?.ask(move |cpu| G::read_register(cpu, &register.name));
        let bits = bits.ok_or(TargetError::NonFatal)?;
        let place = buffer.get_mut(..len).ok_or(TargetError::NonFatal)?;
        place.copy_from_slice(&bits.to_le_bytes()[..len]);
        Ok(len)
    }

    fn write_register(
        &mut self,
        tid: Tid,
        Number(number): Number,
        value: &[u8],
    ) -> TargetResult<(), Self> {
        let register = self.registers.get(number).ok_or(TargetError::Errno(errno::EINVAL))?;
        if value.len() != bytes(register) {
            return Err(TargetError::Errno(errno::EINVAL));
        }
        let (register, value) = (register.clone(), value.to_vec());
        let written = self.seat(tid)?.ask(move |cpu| write(cpu, &register, &value));
        written.ok_or(TargetError::NonFatal)
    }
}

impl<G: Inspect> MultiThreadResume for Session<G> {
    fn resume(&mut self) -> Result<(), Infallible> {
        let (actions, locked) = (std::mem::take(&mut self.actions), self.locked);
        self.control.resume_as(|id| match actions.get(&id) {
            Some(action) => Some(*action),
            None if locked => None,
            None => Some((Run::Free, Pass::Other(None))),
        });
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Infallible> {
        self.actions.clear();
        self.locked = false;
        Ok(())
    }

    fn set_resume_action_continue(
        &mut self,
        tid: Tid,
        signal: Option<Signal>,
    ) -> Result<(), Infallible> {
        let pass = Pass::Other(signal.and_then(signals::from_gdb));
        self.actions.insert(tid.get() as u64, (Run::Free, pass));
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl<G: Inspect> MultiThreadSingleStep for Session<G> {
    fn set_resume_action_step(
        &mut self,
        tid: Tid,
        signal: Option<Signal>,
    ) -> Result<(), Infallible> {
        let pass = Pass::Other(signal.and_then(signals::from_gdb));
        self.actions.insert(tid.get() as u64, (Run::Step, pass));
        Ok(())
    }
}

impl<G: Inspect> MultiThreadSchedulerLocking for Session<G> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Infallible> {
        self.locked = true;
        Ok(())
    }
}

impl<G: Inspect> ThreadExtraInfo for Session<G> {
    fn thread_extra_info(&self, tid: Tid, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let name =
            self.control.seat(tid.get() as u64).map_or(String::new(), |s| s.name().to_owned());
        let len = name.len().min(buffer.len());
        buffer[..len].copy_from_slice(&name.as_bytes()[..len]);
        Ok(len)
    }
}

impl<G: Inspect> Breakpoints for Session<G> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        // Without them the debugger steps and compares.
        if G::WATCHES { Some(self) } else { None }
    }
}

impl<G: Inspect> SwBreakpoint for Session<G> {
    fn add_sw_breakpoint(&mut self, pc: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.set_breakpoint(pc, true))
    }

    fn remove_sw_breakpoint(&mut self, pc: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.set_breakpoint(pc, false))
    }
}

impl<G: Inspect> HwBreakpoint for Session<G> {
    fn add_hw_breakpoint(&mut self, pc: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.set_breakpoint(pc, true))
    }

    fn remove_hw_breakpoint(&mut self, pc: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.set_breakpoint(pc, false))
    }
}

impl<G: Inspect> HwWatchpoint for Session<G> {
    fn add_hw_watchpoint(
        &mut self,
        start: u64,
        len: u64,
        kind: GdbWatchKind,
    ) -> TargetResult<bool, Self> {
        Ok(self.set_watch(start, len, kind, true))
    }

    fn remove_hw_watchpoint(
        &mut self,
        start: u64,
        len: u64,
        kind: GdbWatchKind,
    ) -> TargetResult<bool, Self> {
        Ok(self.set_watch(start, len, kind, false))
    }
}

impl<G: Inspect> TargetDescriptionXmlOverride for Session<G> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        match annex {
            b"target.xml" => Ok(part(self.description.as_bytes(), offset, length, buffer)),
            _ => Err(TargetError::NonFatal),
        }
    }
}

/// Copies `length` bytes at `offset` of `all`, as far as they are there; how much.
fn part(all: &[u8], offset: u64, length: usize, buffer: &mut [u8]) -> usize {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = all.get(offset..).unwrap_or(&[]);
    let len = rest.len().min(length).min(buffer.len());
    buffer[..len].copy_from_slice(&rest[..len]);
    len
}

impl<G: Inspect> Auxv for Session<G> {
    fn get_auxv(&self, offset: u64, length: usize, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        let vector = self.auxiliary_vector.as_deref().unwrap_or_default();
        Ok(part(vector, offset, length, buffer))
    }
}

impl<G: Inspect> MonitorCmd for Session<G> {
    fn handle_monitor_cmd(
        &mut self,
        line: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), Infallible> {
        let line = String::from_utf8_lossy(line);
        let answer = self.control.machine().and_then(|machine| machine.command(&line));
        let answer = answer.unwrap_or_else(|| "This machine has no commands.\n".to_owned());
        out.write_raw(answer.as_bytes());
        Ok(())
    }
}
