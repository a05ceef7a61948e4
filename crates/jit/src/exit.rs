//! How compiled code says why it returned to the run loop.
#![expect(unsafe_code, reason = "a link slot is named by its address")]

use mynah_ir::Trap;
use mynah_mem::Access;
use mynah_mem::host::signal::EXIT_FAULT;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An exit of a unit to a known guest address. Compiled code jumps to `target`; linking and
/// unlinking is one atomic store.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct LinkSlot {
    target: AtomicUsize,
    /// The guest address it leads to.
    pub pc: u64,
}

impl LinkSlot {
    /// An unlinked exit to `pc`.
    pub(crate) fn new(pc: u64) -> LinkSlot {
        LinkSlot { target: AtomicUsize::new(crate::stubs::unlinked()), pc }
    }

    /// The slot that [`Exit::Unlinked`] names.
    ///
    /// The unit that was left must not have been freed: the engine keeps units for good.
    pub fn at(address: usize) -> &'static LinkSlot {
        // SAFETY: compiled code returns the address that stands in it, its own slot's, which lives
        // as long as the unit.
        unsafe { &*(address as *const LinkSlot) }
    }

    /// Makes the exit jump to the unit entered at host address `entry`.
    pub fn link(&self, entry: usize) {
        self.target.store(entry, Ordering::Release);
    }

    /// Makes the exit return to the run loop.
    pub fn unlink(&self) {
        self.target.store(crate::stubs::unlinked(), Ordering::Release);
    }
}

/// Why compiled code returned. Unless said otherwise the guest's pc is in
/// [`mynah_guest::Core::pc`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Through the unlinked [`LinkSlot`] at this address; it holds the guest's pc.
    Unlinked(usize),
    /// The jump cache does not know the guest's pc.
    Lookup,
    /// The block ended with a trap.
    Trap(Trap),
    /// An instruction trapped; the guest's pc is its own.
    TrapFault(Trap),
    /// [`mynah_guest::Core::attention`] was set.
    Attention,
    /// A helper raised a fault; the guest's pc is that of its instruction.
    HelperFault,
    /// An access was not aligned as required; its address is in
    /// [`mynah_guest::Core::exit_value`].
    Misaligned(Access),
    /// The TLB could not answer an access; the guest's pc is that of its instruction, of which
    /// nothing has been done.
    Miss,
    /// The host refused an access; see [`mynah_mem::host::signal::last_fault`]. The guest's pc is
    /// [`crate::Unit::site`]'s, and the state is to be completed by its map.
    HostFault,
}

/// Tags in the low bits of the exit word. A link slot's address has none.
mod tag {
    pub(super) const LOOKUP: u64 = 1;
    pub(super) const TRAP: u64 = 2;
    pub(super) const TRAP_FAULT: u64 = 3;
    pub(super) const ATTENTION: u64 = 4;
    pub(super) const HELPER_FAULT: u64 = 5;
    pub(super) const MISALIGNED_READ: u64 = 6;
    pub(super) const MISALIGNED_WRITE: u64 = 7;
    pub(super) const MISS: u64 = 8;
    pub(super) const MASK: u64 = 15;
}

impl Exit {
    /// The word that compiled code returns.
    pub(crate) fn encode(self) -> u64 {
        match self {
            Exit::Unlinked(slot) => slot as u64,
            Exit::Lookup => tag::LOOKUP,
            Exit::Trap(trap) => trap.pack() << 8 | tag::TRAP,
            Exit::TrapFault(trap) => trap.pack() << 8 | tag::TRAP_FAULT,
            Exit::Attention => tag::ATTENTION,
            Exit::HelperFault => tag::HELPER_FAULT,
            Exit::Misaligned(Access::Write) => tag::MISALIGNED_WRITE,
            Exit::Misaligned(_) => tag::MISALIGNED_READ,
            Exit::Miss => tag::MISS,
            Exit::HostFault => EXIT_FAULT,
        }
    }

    /// What the word that [`crate::enter`] returned means.
    pub fn decode(word: u64) -> Exit {
        if word == EXIT_FAULT {
            return Exit::HostFault;
        }
        match word & tag::MASK {
            tag::LOOKUP => Exit::Lookup,
            tag::TRAP => Exit::Trap(Trap::unpack(word >> 8)),
            tag::TRAP_FAULT => Exit::TrapFault(Trap::unpack(word >> 8)),
            tag::ATTENTION => Exit::Attention,
            tag::HELPER_FAULT => Exit::HelperFault,
            tag::MISS => Exit::Miss,
            tag::MISALIGNED_READ => Exit::Misaligned(Access::Read),
            tag::MISALIGNED_WRITE => Exit::Misaligned(Access::Write),
            _ => Exit::Unlinked(word as usize),
        }
    }
}
