//! The neutral part of a vCPU, at fixed offsets for compiled code.

use crate::{Fault, Ports};
use mynah_ir::fp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// An entry of a vCPU's jump cache: the compiled code last found for a guest address. Only the
/// vCPU's own thread fills entries; any thread may empty one.
#[derive(Debug)]
#[repr(C)]
pub struct JumpEntry {
    pc: AtomicU64,
    code: AtomicUsize,
}

impl JumpEntry {
    /// Number of entries of a jump cache.
    pub const COUNT: usize = 4096;
    /// Byte offset of the guest address.
    pub const PC: usize = std::mem::offset_of!(JumpEntry, pc);
    /// Byte offset of the code's host address.
    pub const CODE: usize = std::mem::offset_of!(JumpEntry, code);

    /// An empty cache.
    pub fn cache() -> Box<[JumpEntry]> {
        (0..JumpEntry::COUNT).map(JumpEntry::empty).collect()
    }

    /// An entry that no lookup at `index` matches: its guest address belongs to another index.
    fn empty(index: usize) -> JumpEntry {
        JumpEntry { pc: AtomicU64::new(index as u64 ^ 1), code: AtomicUsize::new(0) }
    }

    /// Empties the entry at `index` of a jump cache.
    pub fn clear(cache: &[JumpEntry], index: usize) {
        cache[index].pc.store(index as u64 ^ 1, Ordering::SeqCst);
    }

    /// The index of `pc`: folds bits 12 and up onto the low ones.
    #[inline(always)]
    pub const fn index(pc: u64) -> usize {
        ((pc ^ pc >> 12) as usize) % JumpEntry::COUNT
    }

    /// Remembers that the code for `pc` is at host address `code`.
    pub fn fill(&self, pc: u64, code: usize) {
        self.code.store(code, Ordering::Release);
        self.pc.store(pc, Ordering::SeqCst);
    }

    /// Whether the entry remembers just this.
    #[inline]
    pub fn leads_to(&self, pc: u64, code: usize) -> bool {
        self.pc.load(Ordering::Relaxed) == pc && self.code.load(Ordering::Relaxed) == code
    }

    /// Forgets the code for `pc`, if that is what the entry remembers.
    pub fn forget(&self, pc: u64) {
        let other = JumpEntry::index(pc) as u64 ^ 1;
        let _ = self.pc.compare_exchange(pc, other, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// What compiled code and the run loop share, whatever the guest.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Core {
    /// Not 0: leave translated code at the next poll. Set by any thread.
    pub attention: Arc<AtomicU32>,
    /// Address of what `attention` holds, for compiled code.
    pub(crate) attention_at: usize,
    /// The guest's floating-point environment while no guest code runs ([`fp`]).
    pub fp_env: u32,
    /// Guest pc at block boundaries and faults.
    pub pc: u64,
    /// Not 0: `fault` holds a fault that a helper raised.
    pub fault_pending: u32,
    /// Translation mode of the running code.
    pub mode: u32,
    /// Address of the jump cache: [`JumpEntry::COUNT`] entries.
    pub jump_cache: usize,
    /// Address of the TLB for the rights that accesses have ([`mynah_mem::Memory::tlb`]).
    pub tlb: usize,
    /// Address of the table of helper addresses.
    pub helpers: usize,
    /// Address of the table of operation thunks (see the code generator).
    pub thunks: usize,
    /// Address of what asks for [`mynah_mem::Memory::fill`] (see the code generator).
    pub fill: usize,
    /// What it answered: not 0 if the TLB knows the access now.
    pub filled: u64,
    /// A parameter of the exit that compiled code took, such as the address of a misaligned access.
    pub exit_value: u64,
    /// Arguments and result of an operation thunk.
    pub scratch: [u128; 4],
    /// Guest instructions interpreted so far, by blocks entered.
    pub interpreted: u64,
    /// The fault that was raised.
    pub fault: Option<Fault>,
    /// The machine's ports.
    pub ports: Option<Arc<dyn Ports>>,
}

impl Core {
    /// Puts the guest's floating-point environment in force on this thread.
    #[inline]
    pub fn enter_fp(&self) {
        fp::enter(self.fp_env);
    }

    /// Leaves the guest's floating-point environment; `fp_env` is up to date again.
    #[inline]
    pub fn leave_fp(&mut self) {
        self.fp_env = self.merge_fp(fp::leave());
    }

    /// The environment word as it stands while it is in force: for helpers.
    pub fn live_fp(&self) -> u32 {
        let live = fp::leave();
        fp::enter(live);
        self.merge_fp(live)
    }

    /// Changes the environment while it is in force: for helpers.
    pub fn set_live_fp(&mut self, word: u32) {
        fp::leave();
        fp::enter(word);
        self.fp_env = word;
    }

    /// The word in force with the guest's exception masks, of which the host's unit knows nothing.
    fn merge_fp(&self, live: u32) -> u32 {
        self.fp_env & fp::env::MASKS | live & !fp::env::MASKS
    }
}

impl Core {
    /// The bit of [`Core::attention`] that asks for the environment's attention.
    pub const ATTENTION: u32 = 1;
    /// The bit of [`Core::attention`] by which a vCPU is made to leave translated code and to look
    /// anew for what follows.
    pub const KICK: u32 = 2;
    /// Byte offset of the address of the attention word.
    pub const ATTENTION_AT: usize = std::mem::offset_of!(Core, attention_at);

    pub(crate) fn new(tlb: usize) -> Core {
        let attention = Arc::new(AtomicU32::new(0));
        Core {
            attention_at: Arc::as_ptr(&attention) as usize,
            attention,
            fp_env: fp::DEFAULT,
            pc: 0,
            fault_pending: 0,
            mode: 0,
            jump_cache: 0,
            tlb,
            helpers: 0,
            thunks: 0,
            fill: 0,
            filled: 0,
            exit_value: 0,
            scratch: [0; 4],
            interpreted: 0,
            fault: None,
            ports: None,
        }
    }
}
