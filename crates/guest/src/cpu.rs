//! One vCPU's memory: neutral core, guest state, interpreter temporaries.
#![expect(unsafe_code, reason = "slots are read and written by offset")]

use crate::{Core, Fault, Guest};
use mynah_ir::{Known, Recover, Slot, Ty};
use mynah_mem::Memory as _;
use std::sync::atomic::Ordering;

/// A vCPU's state. Compiled and interpreted code address it by byte offset from its start.
#[repr(C, align(64))]
pub struct Cpu<G: Guest> {
    /// What every guest has.
    pub core: Core,
    /// The guest's registers.
    pub state: G::State,
    /// Values of the block being interpreted.
    pub temps: [u128; TEMPS],
    /// Guest memory as this vCPU sees it.
    pub memory: G::Memory,
}

/// Temporaries that interpreted code may use.
const TEMPS: usize = 1024;

impl<G: Guest> Cpu<G> {
    /// Temporaries that interpreted code may use.
    pub const TEMPS: usize = TEMPS;
    /// Byte offset of the guest's registers.
    pub const STATE: usize = std::mem::offset_of!(Cpu<G>, state);
    /// Byte offset of the temporaries.
    pub const TEMPS_OFFSET: usize = std::mem::offset_of!(Cpu<G>, temps);

    /// A vCPU in reset state.
    pub fn new(memory: G::Memory) -> Box<Cpu<G>> {
        for slot in G::SLOTS {
            let bytes = slot.ty.bytes() as usize;
            let offset = Self::STATE + slot.offset as usize;
            let inside = slot.offset as usize + bytes <= size_of::<G::State>();
            assert!(inside && offset.is_multiple_of(bytes), "slot {} is misplaced", slot.name);
        }
        let core = Core::new(memory.tlb());
        Box::new(Cpu { core, state: G::reset(), temps: [0; TEMPS], memory })
    }

    /// Byte offset of `slot` from the start of the vCPU.
    #[inline]
    pub fn offset(slot: Slot) -> usize {
        Self::STATE + G::SLOTS[slot.0 as usize].offset as usize
    }

    /// Makes the instruction being executed fault: for helpers.
    #[cold]
    pub fn raise(&mut self, fault: impl Into<Fault>) {
        self.core.fault = Some(fault.into());
        self.core.fault_pending = 1;
    }

    /// Makes accesses have the rights that the state says ([`Guest::space`]).
    #[inline]
    pub fn set_space(&mut self) {
        self.memory.set_space(G::space(&self.state));
        self.core.tlb = self.memory.tlb();
    }

    /// To be called by a helper that has changed [`Guest::mode`]; the instruction ends its block.
    pub fn mode_changed(&self) {
        self.core.attention.fetch_or(Core::KICK, Ordering::SeqCst);
    }

    /// To be called by a helper after [`Memory::flush`](mynah_mem::Memory::flush) and its like: if
    /// code may have moved, caches of code by virtual address are looked at anew; the instruction
    /// ends its block.
    pub fn mapping_changed(&self) {
        if self.memory.has_moved() {
            self.core.attention.fetch_or(Core::KICK, Ordering::SeqCst);
        }
    }

    /// Takes the fault that was raised.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.core.fault_pending = 0;
        self.core.fault.take()
    }

    /// Completes the state at a fault of the instruction at `pc`, whose block has this state map.
    pub fn recover(&mut self, map: &[Recover], pc: u64) {
        for entry in map.iter().filter(|entry| entry.pc == pc) {
            let bits = match entry.known {
                Known::Const(value) => value.into(),
                Known::Slot(from) => self.slot(from),
            };
            self.set_slot(entry.slot, bits);
        }
    }

    /// The slot's bits, zero-extended.
    pub fn slot(&self, slot: Slot) -> u128 {
        let base = std::ptr::from_ref(self).cast::<u8>();
        let offset = Self::offset(slot);
        // SAFETY: `new` checked that the slot lies within the state and is aligned.
        unsafe {
            match G::SLOTS[slot.0 as usize].ty {
                Ty::V128 => base.add(offset).cast::<u128>().read(),
                _ => base.add(offset).cast::<u64>().read().into(),
            }
        }
    }

    /// Sets the slot's bits; those beyond its type are dropped.
    pub fn set_slot(&mut self, slot: Slot, bits: u128) {
        let base = std::ptr::from_mut(self).cast::<u8>();
        let offset = Self::offset(slot);
        // SAFETY: `new` checked that the slot lies within the state and is aligned.
        unsafe {
            match G::SLOTS[slot.0 as usize].ty {
                Ty::V128 => base.add(offset).cast::<u128>().write(bits),
                _ => base.add(offset).cast::<u64>().write(bits as u64),
            }
        }
    }
}
