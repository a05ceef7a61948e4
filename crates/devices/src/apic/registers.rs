//! The state of a local APIC, and its registers.

use super::timer::{self, Mode, Tsc};
use super::{Delivery, Destination, Message};
use mynah_bus::CpuLine;
use std::fmt;

/// Registers by their offset divided by 16.
pub(super) mod reg {
    pub(in crate::apic) const ID: u32 = 0x02;
    pub(in crate::apic) const VERSION: u32 = 0x03;
    pub(in crate::apic) const TPR: u32 = 0x08;
    pub(in crate::apic) const APR: u32 = 0x09;
    pub(in crate::apic) const PPR: u32 = 0x0a;
    pub(in crate::apic) const EOI: u32 = 0x0b;
    pub(in crate::apic) const LDR: u32 = 0x0d;
    pub(in crate::apic) const DFR: u32 = 0x0e;
    pub(in crate::apic) const SVR: u32 = 0x0f;
    pub(in crate::apic) const ISR: u32 = 0x10;
    pub(in crate::apic) const TMR: u32 = 0x18;
    pub(in crate::apic) const IRR: u32 = 0x20;
    pub(in crate::apic) const ESR: u32 = 0x28;
    pub(in crate::apic) const ICR: u32 = 0x30;
    pub(in crate::apic) const ICR_HIGH: u32 = 0x31;
    pub(in crate::apic) const LVT: u32 = 0x32;
    pub(in crate::apic) const INITIAL_COUNT: u32 = 0x38;
    pub(in crate::apic) const CURRENT_COUNT: u32 = 0x39;
    pub(in crate::apic) const DIVIDE: u32 = 0x3e;
    pub(in crate::apic) const SELF_IPI: u32 = 0x3f;
}

/// Entries of the local vector table, in the order of their registers.
pub(super) mod lvt {
    pub(in crate::apic) const TIMER: usize = 0;
    pub(in crate::apic) const LINT0: usize = 3;
    pub(in crate::apic) const LINT1: usize = 4;
    pub(in crate::apic) const ERROR: usize = 5;
    pub(in crate::apic) const COUNT: usize = 6;

    pub(in crate::apic) const LEVEL: u32 = 1 << 15;
    pub(in crate::apic) const MASKED: u32 = 1 << 16;
    /// The bits of each that can be written.
    pub(in crate::apic) const WRITABLE: [u32; COUNT] =
        [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
}

/// Bits of the error status register.
pub(super) mod esr {
    pub(in crate::apic) const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub(in crate::apic) const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub(in crate::apic) const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// IA32_APIC_BASE.
pub(super) mod base {
    pub(in crate::apic) const BSP: u64 = 1 << 8;
    pub(in crate::apic) const EXTD: u64 = 1 << 10;
    pub(in crate::apic) const EN: u64 = 1 << 11;
    pub(in crate::apic) const ADDRESS: u64 = 0xf_ffff_ffff_f000;
    pub(in crate::apic) const RESET: u64 = 0xfee0_0000 | EN;
}

/// The version of an integrated APIC, with its number of LVT entries.
pub(super) const VERSION: u32 = 0x14 | (lvt::COUNT as u32 - 1) << 16;

/// The spurious vector register: the APIC is enabled.
pub(super) const SOFTWARE_ENABLE: u32 = 1 << 8;

/// A set of vectors.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Vectors([u64; 4]);

impl Vectors {
    pub(super) fn has(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
    }

    pub(super) fn set(&mut self, vector: u8, to: bool) {
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
pub(super) struct State {
    /// IA32_APIC_BASE.
    pub(super) base: u64,
    pub(super) tpr: u8,
    /// The xAPIC's logical id.
    pub(super) ldr: u32,
    pub(super) dfr: u32,
    pub(super) svr: u32,
    pub(super) irr: Vectors,
    pub(super) isr: Vectors,
    pub(super) tmr: Vectors,
    /// The error status that software sees, and what has come since.
    pub(super) esr: u32,
    pub(super) errors: u32,
    pub(super) icr: u64,
    pub(super) lvt: [u32; lvt::COUNT],
    pub(super) timer: timer::State,
    /// Levels of LINT0 and LINT1.
    pub(super) lines: [bool; 2],
    /// An ExtINT message is waiting.
    pub(super) ext_int: bool,
    /// The level of INTR that the vCPU knows.
    pub(super) intr: bool,
    pub(super) tsc: Tsc,
}

/// What is left to do when the state is no longer locked.
#[derive(Clone, Copy)]
pub(super) enum After {
    Nothing,
    Send(Message),
    EndOfInterrupt(u8),
}

/// How registers are accessed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    /// Memory-mapped.
    X,
    /// MSRs.
    X2,
}

impl State {
    pub(super) fn new(base: u64, tsc: Tsc) -> State {
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

    /// What the machine's reset line does.
    pub(super) fn reset(&mut self, base: u64) {
        let (lines, intr) = (self.lines, self.intr);
        let tsc = Tsc { offset: 0, ..self.tsc };
        *self = State { lines, intr, ..State::new(base, tsc) };
    }

    /// What INIT does: as a reset, but for IA32_APIC_BASE.
    pub(super) fn init(&mut self) {
        let (lines, intr) = (self.lines, self.intr);
        *self = State { lines, intr, ..State::new(self.base, self.tsc) };
    }

    /// See [`Lapic::set_virtual_wire`](super::Lapic::set_virtual_wire).
    pub(super) fn set_virtual_wire(&mut self) {
        self.svr |= SOFTWARE_ENABLE;
        self.lvt[lvt::LINT0] = 0x700;
        self.lvt[lvt::LINT1] = 0x400;
    }

    pub(super) fn is_x2(&self) -> bool {
        self.base & (base::EN | base::EXTD) == base::EN | base::EXTD
    }

    /// Enabled by IA32_APIC_BASE.
    pub(super) fn is_on(&self) -> bool {
        self.base & base::EN != 0
    }

    /// Enabled by the spurious vector register as well.
    pub(super) fn is_enabled(&self) -> bool {
        self.is_on() && self.svr & SOFTWARE_ENABLE != 0
    }

    pub(super) fn mode(&self) -> Mode {
        Mode::of(self.lvt[lvt::TIMER])
    }

    /// The processor priority register.
    pub(super) fn ppr(&self) -> u8 {
        let serving = self.isr.highest().unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= serving { self.tpr } else { serving }
    }

    /// The vector to deliver to the vCPU.
    pub(super) fn deliverable(&self) -> Option<u8> {
        self.irr.highest().filter(|vector| self.is_enabled() && vector & 0xf0 > self.ppr() & 0xf0)
    }

    /// Whether the 8259 interrupts the vCPU.
    pub(super) fn has_ext_int(&self) -> bool {
        let entry = self.lvt[lvt::LINT0];
        let wired = !self.is_on() || entry & (lvt::MASKED | 0x700) == 0x700;
        self.ext_int && self.is_enabled() || wired && self.lines[0]
    }

    /// Notes an error; the LVT's error entry interrupts.
    pub(super) fn error(&mut self, bits: u32) {
        self.errors |= bits;
        let entry = self.lvt[lvt::ERROR];
        if entry & lvt::MASKED == 0 && entry & 0xff >= 16 {
            self.irr.set(entry as u8, true);
            self.tmr.set(entry as u8, false);
        }
    }

    /// An interrupt with a vector.
    pub(super) fn request(&mut self, vector: u8, is_level: bool) {
        if vector < 16 {
            self.error(esr::RECEIVE_ILLEGAL_VECTOR);
            return;
        }
        self.irr.set(vector, true);
        self.tmr.set(vector, is_level);
    }

    /// Interrupts by an entry of the local vector table.
    pub(super) fn local(&mut self, entry: usize, cpu: &dyn CpuLine) {
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
    pub(super) fn end(&mut self) -> Option<u8> {
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
    pub(super) fn command(&mut self, id: u32) -> After {
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
    pub(super) fn read(&self, register: u32, face: Face, id: u32, now: u64) -> Option<u32> {
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
    pub(super) fn write(
        &mut self,
        register: u32,
        value: u32,
        face: Face,
        id: u32,
        now: u64,
    ) -> Option<After> {
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

    /// Writes IA32_APIC_BASE. None if it raises #GP.
    pub(super) fn set_base(&mut self, value: u64) -> Option<After> {
        let known = base::BSP | base::EXTD | base::EN | base::ADDRESS;
        let modes = base::EXTD | base::EN;
        let allowed = match (self.base & modes, value & modes) {
            (_, base::EXTD) => false,
            (0, new) => new != modes,
            (old, base::EN) => old != modes,
            _ => true,
        };
        if value & !known != 0 || !allowed {
            return None;
        }
        let was_on = self.is_on();
        self.base = value;
        if was_on && !self.is_on() {
            self.init();
        }
        Some(After::Nothing)
    }

    /// Writes a register of the x2APIC. None if it raises #GP.
    pub(super) fn write_x2(
        &mut self,
        register: u32,
        value: u64,
        id: u32,
        now: u64,
    ) -> Option<After> {
        if register == reg::ICR {
            if value & 0xfff3_2000 != 0 {
                return None;
            }
            self.icr = value & !(1 << 12);
            return Some(self.command(id));
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
        self.write(register, value as u32, Face::X2, id, now)
    }
}

/// The logical id of an x2APIC: the cluster of 16, and a bit in it.
pub(super) fn x2_logical_id(id: u32) -> u32 {
    (id >> 4) << 16 | 1 << (id & 15)
}

/// Whether a register is there, but can only be read.
pub(super) fn is_read_only(register: u32) -> bool {
    matches!(
        register,
        reg::ID | reg::VERSION | reg::APR | reg::PPR | reg::ISR..reg::ESR | reg::CURRENT_COUNT
    )
}
