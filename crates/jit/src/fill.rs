//! TLB misses of compiled code: it asks for the page to be walked and goes on.
//!
//! Such a call stands at every access and is rarely made, so it must not weigh on the code around
//! it: [`crate::stubs::fill`] keeps all registers, and the answer is in [`mynah_guest::Core`].

use mynah_guest::{Cpu, Guest};
use mynah_mem::{Access, Memory as _};

/// The access that is wanted, as a word: its bytes, and whether it writes and must be aligned.
pub(crate) fn request(bytes: u32, access: Access, natural: bool) -> u64 {
    u64::from(bytes) | u64::from(access == Access::Write) << 8 | u64::from(natural) << 9
}

extern "C" fn fill<G: Guest>(cpu: &mut Cpu<G>, va: u64, request: u64) {
    let bytes = request & 0xff;
    let access = if request >> 8 & 1 != 0 { Access::Write } else { Access::Read };
    let misaligned = request >> 9 & 1 != 0 && va & (bytes - 1) != 0;
    let filled = !misaligned && cpu.memory.fill(va, bytes as usize, access);
    cpu.core.filled = filled.into();
}

/// The address for [`mynah_guest::Core::fill`].
pub(crate) fn address<G: Guest>() -> usize {
    fill::<G> as *const () as usize
}
