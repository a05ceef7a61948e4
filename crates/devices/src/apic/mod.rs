//! The advanced programmable interrupt controllers: one [`Lapic`] for each vCPU, [`IoApic`]s for the
//! devices' lines, and the [`ApicBus`] that carries messages between them (SDM volume 3A, chapter
//! "Advanced Programmable Interrupt Controller").

mod ioapic;
mod lapic;
mod registers;
mod timer;

pub use ioapic::IoApic;
pub use lapic::{GeneralProtection, Lapic, MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC};

use mynah_bus::Messages;
use parking_lot::RwLock;
use std::fmt;
use std::sync::{Arc, Weak};

/// What a message does at its destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Interrupts with a vector.
    Fixed,
    /// As [`Delivery::Fixed`], at the one destination that is least busy.
    LowestPriority,
    /// A system management interrupt.
    Smi,
    /// A non-maskable interrupt.
    Nmi,
    /// Resets the vCPU.
    Init,
    /// Starts the vCPU at the page that the vector names.
    StartUp,
    /// Interrupts with the vector that the 8259 gives.
    ExtInt,
}

impl Delivery {
    /// From the three bits that registers and messages have. None for the reserved value.
    pub fn from_bits(bits: u32) -> Option<Delivery> {
        Some(match bits & 7 {
            0 => Delivery::Fixed,
            1 => Delivery::LowestPriority,
            2 => Delivery::Smi,
            4 => Delivery::Nmi,
            5 => Delivery::Init,
            6 => Delivery::StartUp,
            7 => Delivery::ExtInt,
            _ => return None,
        })
    }
}

/// Which local APICs a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// The one with this APIC id.
    Physical(u32),
    /// Those that the logical destination register and the model make members of this set.
    Logical(u32),
    /// All.
    All,
    /// All but the one with this APIC id.
    AllBut(u32),
}

/// What the bus carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// To whom.
    pub destination: Destination,
    /// What it does.
    pub delivery: Delivery,
    /// With which vector.
    pub vector: u8,
    /// Whether the end of the interrupt is to be told to the IOAPICs.
    pub is_level: bool,
}

/// The destination of all local APICs in eight bits.
const BROADCAST: u8 = 0xff;

impl Destination {
    /// From the 8-bit field of IOAPIC entries, message addresses and the xAPIC's ICR.
    fn from_field(field: u8, is_logical: bool) -> Destination {
        match (field, is_logical) {
            (BROADCAST, false) => Destination::All,
            (field, false) => Destination::Physical(field.into()),
            (field, true) => Destination::Logical(field.into()),
        }
    }
}

/// Carries messages to local APICs, and the ends of interrupts to IOAPICs.
#[derive(Default)]
pub struct ApicBus {
    lapics: RwLock<Vec<Arc<Lapic>>>,
    ioapics: RwLock<Vec<Weak<IoApic>>>,
}

impl ApicBus {
    /// A bus with nothing on it.
    pub fn new() -> Arc<ApicBus> {
        Arc::default()
    }

    /// The local APICs, by the order in which they were made.
    pub fn lapics(&self) -> Vec<Arc<Lapic>> {
        self.lapics.read().clone()
    }

    /// Delivers a message. One that nobody is a destination of is lost.
    pub fn send(&self, message: Message) {
        let lapics = self.lapics.read();
        let targets = lapics.iter().filter(|lapic| lapic.is_destination(message.destination));
        if message.delivery == Delivery::LowestPriority {
            if let Some(lapic) = targets.min_by_key(|lapic| lapic.processor_priority()) {
                lapic.accept(message);
            }
            return;
        }
        for lapic in targets {
            lapic.accept(message);
        }
    }

    /// Whether the interrupt with this vector waits at one of the destinations.
    fn has_requested(&self, destination: Destination, vector: u8) -> bool {
        let lapics = self.lapics.read();
        let mut targets = lapics.iter().filter(|lapic| lapic.is_destination(destination));
        targets.any(|lapic| lapic.has_requested(vector))
    }

    /// A level-triggered interrupt has ended.
    fn end_of_interrupt(&self, vector: u8) {
        for ioapic in self.ioapics.read().iter().filter_map(Weak::upgrade) {
            ioapic.end_of_interrupt(vector);
        }
    }
}

/// Writes of devices to FEE0_0000h to FEEF_FFFFh (SDM 3A, "Message Signalled Interrupts").
impl Messages for ApicBus {
    fn message(&self, address: u64, data: u32) {
        if address >> 20 != 0xfee {
            return;
        }
        let Some(delivery) = Delivery::from_bits(data >> 8) else { return };
        let is_logical = address & 4 != 0;
        let redirect = address & 8 != 0 && delivery == Delivery::Fixed;
        self.send(Message {
            destination: Destination::from_field((address >> 12) as u8, is_logical),
            delivery: if redirect { Delivery::LowestPriority } else { delivery },
            vector: data as u8,
            is_level: data & 1 << 15 != 0,
        });
    }
}

impl fmt::Debug for ApicBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApicBus").field("lapics", &self.lapics()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
