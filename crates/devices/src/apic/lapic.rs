//! The local APIC: one for each vCPU, as memory-mapped registers (xAPIC) and as MSRs (x2APIC).

use super::timer::{self, Mode, Tsc};
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

/// Registers by their offset divided by 16.
mod reg {
    pub(super) const ID: u32 = 0x02;
    pub(super) const VERSION: u32 = 0x03;
    pub(super) const TPR: u32 = 0x08;
    pub(super) const APR: u32 = 0x09;
    pub(super) const PPR: u32 = 0x0a;
    pub(super) const EOI: u32 = 0x0b;
    pub(super) const LDR: u32 = 0x0d;
    pub(super) const DFR: u32 = 0x0e;
    pub(super) const SVR: u32 = 0x0f;
    pub(super) const ISR: u32 = 0x10;
    pub(super) const TMR: u32 = 0x18;
    pub(super) const IRR: u32 = 0x20;
    pub(super) const ESR: u32 = 0x28;
    pub(super) const ICR: u32 = 0x30;
    pub(super) const ICR_HIGH: u32 = 0x31;
    pub(super) const LVT: u32 = 0x32;
    pub(super) const INITIAL_COUNT: u32 = 0x38;
    pub(super) const CURRENT_COUNT: u32 = 0x39;
    pub(super) const DIVIDE: u32 = 0x3e;
    pub(super) const SELF_IPI: u32 = 0x3f;
}

/// Entries of the local vector table, in the order of their registers.
mod lvt {
    pub(super) const TIMER: usize = 0;
    pub(super) const LINT0: usize = 3;
    pub(super) const LINT1: usize = 4;
    pub(super) const ERROR: usize = 5;
    pub(super) const COUNT: usize = 6;

    pub(super) const LEVEL: u32 = 1 << 15;
    pub(super) const MASKED: u32 = 1 << 16;
    /// The bits of each that can be written.
    pub(super) const WRITABLE: [u32; COUNT] =
        [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
}

/// Bits of the error status register.
mod esr {
    pub(super) const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub(super) const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub(super) const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// IA32_APIC_BASE.
mod base {
    pub(super) const BSP: u64 = 1 << 8;
    pub(super) const EXTD: u64 = 1 << 10;
    pub(super) const EN: u64 = 1 << 11;
    pub(super) const ADDRESS: u64 = 0xf_ffff_ffff_f000;
    pub(super) const RESET: u64 = 0xfee0_0000 | EN;
}

/// The version of an integrated APIC, with its number of LVT entries.
const VERSION: u32 = 0x14 | (lvt::COUNT as u32 - 1) << 16;

/// The spurious vector register: the APIC is enabled.
const SOFTWARE_ENABLE: u32 = 1 << 8;

/// A set of vectors.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Vectors([u64; 4]);

impl Vectors {
    fn has(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
    }

    fn set(&mut self, vector: u8, to: bool) {
        let bit = 1 << (vector & 63);
        let word = &mut self.0[usize::from(vector >> 6)];
        *word = if to { *word | bit } else { *word & !bit };
    }

    fn highest(&self) -> Option<u8> {
        let at = self.0.iter().rposition(|word| *word != 0)?;
        Some(at as u8 * 64 + self.0[at].ilog2() as u8)
    }

    /// Register `at` of the eight that hold the set.
    fn word(&self, at: u32) -> u32 {
        (self.0[at as usize / 2] >> (at % 2 * 32)) as u32
    }
}

impl fmt::Debug for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..=255).filter(|vector| self.has(*vector))).finish()
    }
}

#[derive(Clone, Debug)]
struct State {
    /// IA32_APIC_BASE.
    base: u64,
    tpr: u8,
    /// The xAPIC's logical id.
    ldr: u32,
    dfr: u32,
    svr: u32,
    irr: Vectors,
    isr: Vectors,
    tmr: Vectors,
    /// The error status that software sees, and what has come since.
    esr: u32,
    errors: u32,
    icr: u64,
    lvt: [u32; lvt::COUNT],
    timer: timer::State,
    /// Levels of LINT0 and LINT1.
    lines: [bool; 2],
    /// An ExtINT message is waiting.
    ext_int: bool,
    /// The level of INTR that the vCPU knows.
    intr: bool,
    tsc: Tsc,
}

/// What is left to do when the state is no longer locked.
#[derive(Clone, Copy)]
enum After {
    Nothing,
    Send(Message),
    EndOfInterrupt(u8),
}

/// How registers are accessed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Face {
    /// Memory-mapped.
    X,
    /// MSRs.
    X2,
}

impl State {
    fn new(base: u64, tsc: Tsc) -> State {
        State {
            base,
            tpr: 0,
            ldr: 0,
            dfr: !0,
            svr: 0xff,
            irr: Vectors::default(),
            isr: Vectors::default(),
            tmr: Vectors::default(),
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [lvt::MASKED; lvt::COUNT],
            timer: timer::State::new(),
            lines: [false; 2],
            ext_int: false,
            intr: false,
            tsc,
        }
    }

    fn is_x2(&self) -> bool {
        self.base & (base::EN | base::EXTD) == base::EN | base::EXTD
    }

    /// Enabled by IA32_APIC_BASE.
    fn is_on(&self) -> bool {
        self.base & base::EN != 0
    }

    /// Enabled by the spurious vector register as well.
    fn is_enabled(&self) -> bool {
        self.is_on() && self.svr & SOFTWARE_ENABLE != 0
    }

    fn mode(&self) -> Mode {
        Mode::of(self.lvt[lvt::TIMER])
    }

    /// The processor priority register.
    fn ppr(&self) -> u8 {
        let serving = self.isr.highest().unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= serving { self.tpr } else { serving }
    }

    /// The vector to deliver to the vCPU.
    fn deliverable(&self) -> Option<u8> {
        self.irr.highest().filter(|vector| self.is_enabled() && vector & 0xf0 > self.ppr() & 0xf0)
    }

    /// Whether the 8259 interrupts the vCPU.
    fn has_ext_int(&self) -> bool {
        let entry = self.lvt[lvt::LINT0];
        let wired = !self.is_on() || entry & (lvt::MASKED | 0x700) == 0x700;
        self.ext_int && self.is_enabled() || wired && self.lines[0]
    }

    /// Notes an error; the LVT's error entry interrupts.
    fn error(&mut self, bits: u32) {
        self.errors |= bits;
        let entry = self.lvt[lvt::ERROR];
        if entry & lvt::MASKED == 0 && entry & 0xff >= 16 {
            self.irr.set(entry as u8, true);
            self.tmr.set(entry as u8, false);
        }
    }

    /// An interrupt with a vector.
    fn request(&mut self, vector: u8, is_level: bool) {
        if vector < 16 {
            self.error(esr::RECEIVE_ILLEGAL_VECTOR);
            return;
        }
        self.irr.set(vector, true);
        self.tmr.set(vector, is_level);
    }

    /// Interrupts by an entry of the local vector table.
    fn local(&mut self, entry: usize, cpu: &dyn CpuLine) {
        let entry = self.lvt[entry];
        if entry & lvt::MASKED != 0 {
            return;
        }
        match Delivery::from_bits(entry >> 8) {
            Some(Delivery::Fixed) => self.request(entry as u8, entry & lvt::LEVEL != 0),
            Some(Delivery::Nmi) => cpu.nmi(),
            Some(Delivery::Smi) => cpu.smi(),
            Some(Delivery::Init) => cpu.init(),
            _ => {} // ExtINT is seen from the line's level.
        }
    }

    /// What EOI does. The vector, if IOAPICs want to know.
    fn end(&mut self) -> Option<u8> {
        let vector = self.isr.highest()?;
        self.isr.set(vector, false);
        // A level at a local line comes again while it lasts.
        for (line, entry) in [(0, lvt::LINT0), (1, lvt::LINT1)] {
            let entry = self.lvt[entry];
            let this = lvt::LEVEL | u32::from(vector);
            if self.lines[line] && entry & (lvt::LEVEL | lvt::MASKED | 0x7ff) == this {
                self.request(vector, true);
            }
        }
        self.tmr.has(vector).then_some(vector)
    }

    /// The message that the interrupt command register describes.
    fn command(&mut self, id: u32) -> After {
        let low = self.icr as u32;
        let Some(delivery) = Delivery::from_bits(low >> 8) else { return After::Nothing };
        let vector = low as u8;
        let has_vector = matches!(delivery, Delivery::Fixed | Delivery::LowestPriority);
        if has_vector && vector < 16 {
            self.error(esr::SEND_ILLEGAL_VECTOR);
            return After::Nothing;
        }
        // The de-assertion of INIT only sets arbitration ids, which there are none of.
        if delivery == Delivery::Init && low & 0xc000 == 0x8000 {
            return After::Nothing;
        }
        let is_logical = low & 1 << 11 != 0;
        let field = (self.icr >> 32) as u32;
        let destination = match low >> 18 & 3 {
            0 if self.is_x2() => match (field, is_logical) {
                (u32::MAX, _) => Destination::All,
                (id, false) => Destination::Physical(id),
                (set, true) => Destination::Logical(set),
            },
            0 => Destination::from_field((field >> 24) as u8, is_logical),
            1 => Destination::Physical(id),
            2 => Destination::All,
            _ => Destination::AllBut(id),
        };
        After::Send(Message { destination, delivery, vector, is_level: false })
    }

    /// Reads a register. None if there is no such.
    fn read(&self, register: u32, face: Face, id: u32, now: u64) -> Option<u32> {
        Some(match register {
            reg::ID if face == Face::X => id << 24,
            reg::ID => id,
            reg::VERSION => VERSION,
            reg::TPR => self.tpr.into(),
            reg::APR if face == Face::X => self.ppr().into(),
            reg::PPR => self.ppr().into(),
            reg::EOI if face == Face::X => 0,
            reg::LDR if face == Face::X => self.ldr,
            reg::LDR => x2_logical_id(id),
            reg::DFR if face == Face::X => self.dfr,
            reg::SVR => self.svr,
            reg::ISR..reg::TMR => self.isr.word(register - reg::ISR),
            reg::TMR..reg::IRR => self.tmr.word(register - reg::TMR),
            reg::IRR..reg::ESR => self.irr.word(register - reg::IRR),
            reg::ESR => self.esr,
            reg::ICR => self.icr as u32,
            reg::ICR_HIGH if face == Face::X => (self.icr >> 32) as u32,
            reg::LVT..reg::INITIAL_COUNT => self.lvt[(register - reg::LVT) as usize],
            reg::INITIAL_COUNT => self.timer.initial,
            reg::CURRENT_COUNT => self.timer.current(now, self.mode()),
            reg::DIVIDE => self.timer.divide,
            _ => return None,
        })
    }

    /// Writes a register. None if there is no such that can be written.
    fn write(&mut self, register: u32, value: u32, face: Face, id: u32, now: u64) -> Option<After> {
        match register {
            reg::TPR => self.tpr = value as u8,
            reg::EOI => {
                if let Some(vector) = self.end() {
                    return Some(After::EndOfInterrupt(vector));
                }
            }
            reg::LDR if face == Face::X => self.ldr = value & 0xff00_0000,
            reg::DFR if face == Face::X => self.dfr = value | 0x0fff_ffff,
            reg::SVR => {
                self.svr = value & 0x3ff;
                if value & SOFTWARE_ENABLE == 0 {
                    for entry in &mut self.lvt {
                        *entry |= lvt::MASKED;
                    }
                }
            }
            reg::ESR => {
                self.esr = std::mem::take(&mut self.errors);
            }
            reg::ICR => {
                self.icr = self.icr & !0xffff_ffff | u64::from(value & 0xc_cfff);
                return Some(self.command(id));
            }
            reg::ICR_HIGH if face == Face::X => {
                self.icr = self.icr & 0xffff_ffff | u64::from(value & 0xff00_0000) << 32;
            }
            reg::LVT..reg::INITIAL_COUNT => {
                let at = (register - reg::LVT) as usize;
                let forced = if self.svr & SOFTWARE_ENABLE == 0 { lvt::MASKED } else { 0 };
                let old = self.mode();
                self.lvt[at] = value & lvt::WRITABLE[at] | forced;
                if at == lvt::TIMER {
                    let new = self.mode();
                    self.timer.set_mode(old, new);
                }
            }
            reg::INITIAL_COUNT => self.timer.set_initial(now, self.mode(), value),
            reg::DIVIDE => self.timer.set_divide(now, self.mode(), value),
            reg::SELF_IPI if face == Face::X2 => {
                if (value as u8) < 16 {
                    self.error(esr::SEND_ILLEGAL_VECTOR);
                } else {
                    self.request(value as u8, false);
                }
            }
            _ => return None,
        }
        Some(After::Nothing)
    }
}

/// The logical id of an x2APIC: the cluster of 16, and a bit in it.
fn x2_logical_id(id: u32) -> u32 {
    (id >> 4) << 16 | 1 << (id & 15)
}

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
            let (lines, intr) = (state.lines, state.intr);
            let tsc = Tsc { offset: 0, ..state.tsc };
            *state = State { lines, intr, ..State::new(Lapic::reset_base(self.id), tsc) };
            After::Nothing
        });
    }

    /// What INIT does: as a reset, but for IA32_APIC_BASE.
    fn init(state: &mut State) {
        let (lines, intr) = (state.lines, state.intr);
        *state = State { lines, intr, ..State::new(state.base, state.tsc) };
    }

    /// What firmware does to run with the 8259 alone: LINT0 is ExtINT, LINT1 is NMI, and the APIC is
    /// enabled ("virtual wire mode" of the MultiProcessor Specification). For machines without
    /// firmware.
    pub fn set_virtual_wire(&self) {
        self.change(|state| {
            state.svr |= SOFTWARE_ENABLE;
            state.lvt[lvt::LINT0] = 0x700;
            state.lvt[lvt::LINT1] = 0x400;
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
        self.change(|state| {
            let read_only = matches!(
                register,
                reg::ID | reg::VERSION | reg::APR | reg::PPR | reg::ISR
                    ..reg::ESR | reg::CURRENT_COUNT
            );
            match state.write(register, value as u32, Face::X, self.id, now) {
                Some(after) => after,
                None if read_only => After::Nothing,
                None => {
                    state.error(esr::ILLEGAL_REGISTER);
                    After::Nothing
                }
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
                MSR_APIC_BASE => set_base(state, value),
                MSR_TSC_DEADLINE => {
                    let (mode, tsc) = (state.mode(), state.tsc);
                    state.timer.set_tsc_deadline(mode, value, tsc);
                    Some(After::Nothing)
                }
                _ if !state.is_x2() || msr & !0xff != MSR_X2APIC => None,
                _ => write_x2(state, msr - MSR_X2APIC, value, self.id, now),
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

    /// The vCPU's time-stamp counter is `offset` more than it would be if it had started from 0 at
    /// power-on: after a write to it.
    pub fn set_tsc_offset(&self, offset: u64) {
        self.change(|state| {
            state.tsc.offset = offset;
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
                    Lapic::init(state);
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

/// Writes IA32_APIC_BASE. None if it raises #GP.
fn set_base(state: &mut State, value: u64) -> Option<After> {
    let known = base::BSP | base::EXTD | base::EN | base::ADDRESS;
    let modes = base::EXTD | base::EN;
    let allowed = match (state.base & modes, value & modes) {
        (_, base::EXTD) => false,
        (0, new) => new != modes,
        (old, base::EN) => old != modes,
        _ => true,
    };
    if value & !known != 0 || !allowed {
        return None;
    }
    let was_on = state.is_on();
    state.base = value;
    if was_on && !state.is_on() {
        Lapic::init(state);
    }
    Some(After::Nothing)
}

/// Writes a register of the x2APIC. None if it raises #GP.
fn write_x2(state: &mut State, register: u32, value: u64, id: u32, now: u64) -> Option<After> {
    if register == reg::ICR {
        if value & 0xfff3_2000 != 0 {
            return None;
        }
        state.icr = value & !(1 << 12);
        return Some(state.command(id));
    }
    let writable = match register {
        reg::TPR | reg::SELF_IPI => 0xff,
        reg::EOI | reg::ESR => 0,
        reg::SVR => 0x3ff,
        reg::LVT..reg::INITIAL_COUNT => {
            // The delivery status and the remote IRR are read only.
            u64::from(lvt::WRITABLE[(register - reg::LVT) as usize]) | 0x5000
        }
        reg::DIVIDE => 0xb,
        _ => 0xffff_ffff,
    };
    if value & !writable != 0 {
        return None;
    }
    state.write(register, value as u32, Face::X2, id, now)
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
