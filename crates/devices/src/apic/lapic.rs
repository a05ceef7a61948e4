//! The local APIC: one for each vCPU, as memory-mapped registers (xAPIC) and as MSRs (x2APIC).

use super::registers::{After, Face, State, base, esr, is_read_only, lvt, reg, x2_logical_id};
use super::timer::Tsc;
use super::{ApicBus, Delivery, Destination, Message};
use crate::i8259::I8259;
use mynah_bus::{CpuLine, Pins, Timer, Timers, ones};
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, Weak};

/// IA32_APIC_BASE.
pub const MSR_APIC_BASE: u32 = 0x1b;
/// IA32_TSC_DEADLINE.
pub const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// The first of the x2APIC's 256 MSRs: each is a register, by its offset divided by 16.
pub const MSR_X2APIC: u32 = 0x800;

/// An access to an MSR that raises #GP(0).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GeneralProtection;

/// A local APIC. Its [`Pins`] are LINT0, where the 8259 is, and LINT1, for NMI.
///
/// The vCPU accesses its own: [`Lapic::read`] and [`Lapic::write`] in the page at
/// [`Lapic::address`], the MSRs, CR8, and [`Lapic::acknowledge`] when it takes an interrupt. While
/// there is one to take, [`CpuLine::interrupt`] is high. `CpuLine`'s functions are called with the
/// APIC locked, so they do not call back.
pub struct Lapic {
    id: u32,
    state: Mutex<State>,
    cpu: Arc<dyn CpuLine>,
    pic: Option<Arc<I8259>>,
    bus: Weak<ApicBus>,
    timer: Timer,
}

impl Lapic {
    /// A local APIC on `bus`, with an id of its own (0 is the bootstrap processor's), for a vCPU
    /// whose time-stamp counter has `tsc_frequency` counts a second. `pic` answers ExtINT.
    pub fn new(
        id: u32,
        cpu: Arc<dyn CpuLine>,
        pic: Option<Arc<I8259>>,
        bus: &Arc<ApicBus>,
        timers: &Timers,
        tsc_frequency: u64,
    ) -> Arc<Lapic> {
        let lapic = Arc::new_cyclic(|this: &Weak<Lapic>| {
            let this = this.clone();
            let timer = timers.timer(move |_| {
                if let Some(lapic) = this.upgrade() {
                    lapic.change(|_| After::Nothing);
                }
            });
            let tsc = Tsc { frequency: tsc_frequency.max(1), offset: 0 };
            let state = Mutex::new(State::new(Lapic::reset_base(id), tsc));
            Lapic { id, state, cpu, pic, bus: Arc::downgrade(bus), timer }
        });
        bus.lapics.write().push(lapic.clone());
        lapic
    }

    fn reset_base(id: u32) -> u64 {
        base::RESET | if id == 0 { base::BSP } else { 0 }
    }

    /// The APIC id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What the machine's reset line does.
    pub fn reset(&self) {
        self.change(|state| {
            state.reset(Lapic::reset_base(self.id));
            After::Nothing
        });
    }

    /// What firmware does to run with the 8259 alone: LINT0 is ExtINT, LINT1 is NMI, and the APIC is
    /// enabled ("virtual wire mode" of the MultiProcessor Specification). For machines without
    /// firmware.
    pub fn set_virtual_wire(&self) {
        self.change(|state| {
            state.set_virtual_wire();
            After::Nothing
        });
    }

    /// The physical address of the page of registers, while the APIC is on and not an x2APIC.
    pub fn address(&self) -> Option<u64> {
        let state = self.state.lock();
        (state.is_on() && !state.is_x2()).then_some(state.base & base::ADDRESS)
    }

    /// Reads memory-mapped registers: `offset` is in their page.
    pub fn read(&self, offset: u64, bytes: u8) -> u64 {
        let now = self.timer.now();
        let register = (offset >> 4 & 0xff) as u32;
        let mut value = 0_u64;
        self.change(|state| {
            value = match state.read(register, Face::X, self.id, now) {
                Some(value) => value.into(),
                None => {
                    state.error(esr::ILLEGAL_REGISTER);
                    0
                }
            };
            After::Nothing
        });
        // Only the first four bytes of each sixteen are a register.
        value.checked_shr((offset as u32 & 15) * 8).unwrap_or(0) & ones(bytes)
    }

    /// Writes memory-mapped registers: 4 bytes at a multiple of 16. Others are undefined, and do
    /// nothing here.
    pub fn write(&self, offset: u64, bytes: u8, value: u64) {
        if offset & 15 != 0 || bytes < 4 {
            return;
        }
        let now = self.timer.now();
        let register = (offset >> 4 & 0xff) as u32;
        self.change(|state| match state.write(register, value as u32, Face::X, self.id, now) {
            Some(after) => after,
            None if is_read_only(register) => After::Nothing,
            None => {
                state.error(esr::ILLEGAL_REGISTER);
                After::Nothing
            }
        });
    }

    /// Whether `msr` is one of this.
    pub fn has_msr(msr: u32) -> bool {
        matches!(msr, MSR_APIC_BASE | MSR_TSC_DEADLINE) || msr & !0xff == MSR_X2APIC
    }

    /// RDMSR.
    pub fn read_msr(&self, msr: u32) -> Result<u64, GeneralProtection> {
        let now = self.timer.now();
        let mut state = self.state.lock();
        self.settle(&mut state, now);
        match msr {
            MSR_APIC_BASE => Ok(state.base),
            MSR_TSC_DEADLINE => Ok(state.timer.tsc_deadline()),
            _ if !state.is_x2() || msr & !0xff != MSR_X2APIC => Err(GeneralProtection),
            _ if msr - MSR_X2APIC == reg::ICR => Ok(state.icr),
            _ => {
                let value = state.read(msr - MSR_X2APIC, Face::X2, self.id, now);
                value.map(u64::from).ok_or(GeneralProtection)
            }
        }
    }

    /// WRMSR.
    pub fn write_msr(&self, msr: u32, value: u64) -> Result<(), GeneralProtection> {
        let now = self.timer.now();
        let mut result = Ok(());
        self.change(|state| {
            let after = match msr {
                MSR_APIC_BASE => state.set_base(value),
                MSR_TSC_DEADLINE => {
                    let (mode, tsc) = (state.mode(), state.tsc);
                    state.timer.set_tsc_deadline(mode, value, tsc);
                    Some(After::Nothing)
                }
                _ if !state.is_x2() || msr & !0xff != MSR_X2APIC => None,
                _ => state.write_x2(msr - MSR_X2APIC, value, self.id, now),
            };
            after.unwrap_or_else(|| {
                result = Err(GeneralProtection);
                After::Nothing
            })
        });
        result
    }

    /// CR8: bits 7 to 4 of the task priority.
    pub fn cr8(&self) -> u8 {
        self.state.lock().tpr >> 4
    }

    /// Writes CR8.
    pub fn set_cr8(&self, priority: u8) {
        self.change(|state| {
            state.tpr = priority << 4;
            After::Nothing
        });
    }

    /// The vCPU's time-stamp counter is `adjust` more than it would be if it had started from 0 at
    /// power-on (IA32_TSC_ADJUST): after a write to one of them.
    pub fn set_tsc_adjust(&self, adjust: u64) {
        self.change(|state| {
            state.tsc.offset = adjust;
            let (mode, tsc) = (state.mode(), state.tsc);
            state.timer.tsc_changed(mode, tsc);
            After::Nothing
        });
    }

    /// Whether there is an interrupt for the vCPU to take.
    pub fn has_interrupt(&self) -> bool {
        self.state.lock().intr
    }

    /// The vCPU takes an interrupt: its vector. None if there is none any more.
    pub fn acknowledge(&self) -> Option<u8> {
        let mut state = self.state.lock();
        if state.has_ext_int()
            && let Some(pic) = &self.pic
        {
            state.ext_int = false;
            // The 8259 changes LINT0 when it is acknowledged.
            drop(state);
            let vector = pic.acknowledge();
            let more = pic.has_interrupt();
            self.change(|state| {
                // A message that came as an edge stands for all that the 8259 has.
                state.ext_int |= more && !state.lines[0];
                After::Nothing
            });
            return Some(vector);
        }
        let vector = state.deliverable()?;
        state.irr.set(vector, false);
        state.isr.set(vector, true);
        self.update(&mut state);
        Some(vector)
    }

    pub(super) fn is_destination(&self, destination: Destination) -> bool {
        match destination {
            Destination::All => true,
            Destination::AllBut(id) => id != self.id,
            Destination::Physical(id) => id == self.id,
            Destination::Logical(set) => {
                let state = self.state.lock();
                if state.is_x2() {
                    let own = x2_logical_id(self.id);
                    return set >> 16 == own >> 16 && set & own & 0xffff != 0;
                }
                let (set, own) = (set as u8, (state.ldr >> 24) as u8);
                match state.dfr >> 28 {
                    // The cluster model: 15 is all clusters.
                    0 => (set >> 4 == own >> 4 || set >> 4 == 15) && set & own & 15 != 0,
                    _ => set & own != 0,
                }
            }
        }
    }

    /// Whether the interrupt with this vector waits to be taken.
    pub(super) fn has_requested(&self, vector: u8) -> bool {
        self.state.lock().irr.has(vector)
    }

    pub(super) fn processor_priority(&self) -> u8 {
        let state = self.state.lock();
        // One that is not enabled does not take part.
        if state.is_enabled() { state.ppr() } else { 0xff }
    }

    /// A message has come.
    pub(super) fn accept(&self, message: Message) {
        self.change(|state| {
            match message.delivery {
                Delivery::Fixed | Delivery::LowestPriority if state.is_enabled() => {
                    state.request(message.vector, message.is_level);
                }
                Delivery::ExtInt if state.is_enabled() => state.ext_int = true,
                Delivery::Fixed | Delivery::LowestPriority | Delivery::ExtInt => {}
                Delivery::Smi => self.cpu.smi(),
                Delivery::Nmi => self.cpu.nmi(),
                Delivery::Init => {
                    state.init();
                    self.cpu.init();
                }
                Delivery::StartUp => self.cpu.startup(message.vector),
            }
            After::Nothing
        });
    }

    /// Changes the state, and does what follows from it.
    fn change(&self, change: impl FnOnce(&mut State) -> After) {
        let mut state = self.state.lock();
        let now = self.timer.now();
        self.settle(&mut state, now);
        let after = change(&mut state);
        // A deadline may be in the past already.
        self.settle(&mut state, now);
        self.update(&mut state);
        drop(state);
        let Some(bus) = self.bus.upgrade() else { return };
        match after {
            After::Nothing => {}
            After::Send(message) => bus.send(message),
            After::EndOfInterrupt(vector) => bus.end_of_interrupt(vector),
        }
    }

    /// Interrupts for a timer that has expired.
    fn settle(&self, state: &mut State, now: u64) {
        if state.timer.expire(now, state.mode()) {
            state.local(lvt::TIMER, &*self.cpu);
        }
    }

    /// Recomputes INTR and the timer's deadline.
    fn update(&self, state: &mut State) {
        self.timer.set_or_cancel(state.timer.deadline());
        let intr = state.deliverable().is_some() || state.has_ext_int() && self.pic.is_some();
        if intr != state.intr {
            state.intr = intr;
            self.cpu.interrupt(intr);
        }
    }
}

impl Pins for Lapic {
    fn set(&self, pin: u32, level: bool) {
        self.change(|state| {
            if let Some(line) = state.lines.get_mut(pin as usize) {
                let rises = level && !*line;
                *line = level;
                if rises && !state.is_on() {
                    // Without its APIC, the vCPU has the pins INTR and NMI.
                    if pin == 1 {
                        self.cpu.nmi();
                    }
                } else if rises {
                    state.local(lvt::LINT0 + pin as usize, &*self.cpu);
                }
            }
            After::Nothing
        });
    }
}

impl fmt::Debug for Lapic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().clone();
        f.debug_struct("Lapic").field("id", &self.id).field("state", &state).finish()
    }
}
