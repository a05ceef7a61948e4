//! Accesses on x86-64 hosts: plain instructions, each with an entry in a table that tells the
//! signal handler where to go on, with R11 set to 1, when the host refuses the access.
#![expect(unsafe_code, reason = "accesses at addresses that the guest chose")]

use super::signal::{HostFault, last_fault};
use crate::{Access, MemFault};
use std::arch::x86_64::__m128i;
use std::arch::{asm, global_asm};

/// `$insn` as an access that may be refused; R11 tells. `$option`s are `asm!` operands.
macro_rules! access {
    ($insn:literal, $($operand:tt)*) => {{
        let failed: u64;
        asm!(
            "xor r11d, r11d",
            concat!("2: ", $insn),
            "3:",
            ".pushsection mynah_fixups,\"aR\",@progbits",
            ".long 2b - .",
            ".long 3b - .",
            ".popsection",
            out("r11") failed,
            options(nostack),
            $($operand)*
        );
        failed != 0
    }};
}

// The table as a slice: the linker defines both names for a section whose name is an identifier.
unsafe extern "C" {
    #[link_name = "__start_mynah_fixups"]
    static FIXUPS_START: [i32; 2];
    #[link_name = "__stop_mynah_fixups"]
    static FIXUPS_STOP: [i32; 2];
}

// Makes the section exist in a program that uses no access.
global_asm!(".pushsection mynah_fixups,\"aR\",@progbits", ".popsection");

/// Where the access at host address `pc` goes on when it is refused. Safe in a signal handler.
pub(super) fn fixup(pc: usize) -> Option<usize> {
    let start = &raw const FIXUPS_START;
    let stop = &raw const FIXUPS_STOP;
    let mut entry = start;
    while entry < stop {
        // SAFETY: the entry lies between the section's start and stop, which hold pairs of offsets
        // relative to their own addresses.
        let [at, resume] = unsafe { *entry };
        if (entry as usize).wrapping_add_signed(at as isize) == pc {
            return Some((entry as usize + 4).wrapping_add_signed(resume as isize));
        }
        entry = entry.wrapping_add(1);
    }
    None
}

#[cold]
#[inline(never)]
fn refused(va: u64, access: Access) -> MemFault {
    let HostFault { cause, va: at, .. } = last_fault();
    MemFault { va: if at == 0 { va } else { at }, access, cause }
}

macro_rules! scalar {
    ($($(#[doc = $doc:literal])+ $load:ident $store:ident $try_load:ident $try_store:ident
       $ty:ty, $class:ident, $read:literal, $write:literal;)*) => {$(
        $(#[doc = $doc])+
        #[inline(always)]
        pub fn $try_load(va: u64) -> Option<$ty> {
            let mut value: $ty = 0;
            // SAFETY: the fixup table turns a refused access into a failure.
            let failed = unsafe { access!($read, p = in(reg) va, v = inout($class) value) };
            if failed { None } else { Some(value) }
        }

        $(#[doc = $doc])+
        #[inline(always)]
        pub fn $try_store(va: u64, value: $ty) -> Option<()> {
            // SAFETY: the fixup table turns a refused access into a failure; what is written is
            // the guest's memory.
            let failed = unsafe { access!($write, p = in(reg) va, v = in($class) value) };
            if failed { None } else { Some(()) }
        }

        $(#[doc = $doc])+
        #[inline(always)]
        pub fn $load(va: u64) -> Result<$ty, MemFault> {
            $try_load(va).ok_or_else(|| refused(va, Access::Read))
        }

        $(#[doc = $doc])+
        #[inline(always)]
        pub fn $store(va: u64, value: $ty) -> Result<(), MemFault> {
            $try_store(va, value).ok_or_else(|| refused(va, Access::Write))
        }
    )*};
}

scalar! {
    /// A byte at `va`.
    load8 store8 try_load8 try_store8 u8, reg_byte, "mov {v}, byte ptr [{p}]", "mov byte ptr [{p}], {v}";
    /// Two bytes at `va`.
    load16 store16 try_load16 try_store16 u16, reg, "mov {v:x}, word ptr [{p}]", "mov word ptr [{p}], {v:x}";
    /// Four bytes at `va`.
    load32 store32 try_load32 try_store32 u32, reg, "mov {v:e}, dword ptr [{p}]", "mov dword ptr [{p}], {v:e}";
    /// Eight bytes at `va`.
    load64 store64 try_load64 try_store64 u64, reg, "mov {v}, qword ptr [{p}]", "mov qword ptr [{p}], {v}";
}

fn vector(bits: u128) -> __m128i {
    // SAFETY: both are 16 bytes of any value.
    unsafe { std::mem::transmute(bits) }
}

fn bits(vector: __m128i) -> u128 {
    // SAFETY: both are 16 bytes of any value.
    unsafe { std::mem::transmute(vector) }
}

/// Sixteen bytes at `va`.
#[inline(always)]
pub fn try_load128(va: u64) -> Option<u128> {
    let mut value = vector(0);
    // SAFETY: as for the scalar accesses.
    let failed = unsafe {
        access!("movdqu {v}, xmmword ptr [{p}]", p = in(reg) va, v = inout(xmm_reg) value)
    };
    if failed { None } else { Some(bits(value)) }
}

/// Sixteen bytes at `va`.
#[inline(always)]
pub fn try_store128(va: u64, value: u128) -> Option<()> {
    // SAFETY: as for the scalar accesses.
    let failed = unsafe {
        access!("movdqu xmmword ptr [{p}], {v}", p = in(reg) va, v = in(xmm_reg) vector(value))
    };
    if failed { None } else { Some(()) }
}

/// Sixteen bytes at `va`.
#[inline(always)]
pub fn load128(va: u64) -> Result<u128, MemFault> {
    try_load128(va).ok_or_else(|| refused(va, Access::Read))
}

/// Sixteen bytes at `va`.
#[inline(always)]
pub fn store128(va: u64, value: u128) -> Result<(), MemFault> {
    try_store128(va, value).ok_or_else(|| refused(va, Access::Write))
}

/// LOCK CMPXCHG of 1, 2, 4 or 8 bytes.
#[inline(always)]
pub fn compare_exchange(va: u64, bytes: u32, expected: u64, new: u64) -> Result<u64, MemFault> {
    let mut old = expected;
    // SAFETY: as for the scalar accesses; CMPXCHG compares and returns in RAX.
    let failed = unsafe {
        match bytes {
            1 => access!("lock cmpxchg byte ptr [{p}], {v}", p = in(reg) va,
                         v = in(reg_byte) new as u8, inout("rax") old),
            2 => access!("lock cmpxchg word ptr [{p}], {v:x}", p = in(reg) va, v = in(reg) new,
                         inout("rax") old),
            4 => access!("lock cmpxchg dword ptr [{p}], {v:e}", p = in(reg) va, v = in(reg) new,
                         inout("rax") old),
            _ => access!("lock cmpxchg qword ptr [{p}], {v}", p = in(reg) va, v = in(reg) new,
                         inout("rax") old),
        }
    };
    if failed { Err(refused(va, Access::Write)) } else { Ok(old & u64::MAX >> (64 - 8 * bytes)) }
}

/// LOCK CMPXCHG16B; `va` must be a multiple of 16.
pub fn compare_exchange128(va: u64, expected: u128, new: u128) -> Result<u128, MemFault> {
    let mut low = expected as u64;
    let mut high = (expected >> 64) as u64;
    // SAFETY: as for the scalar accesses. RBX is LLVM's own, so it is exchanged around.
    let failed = unsafe {
        let failed: u64;
        asm!(
            "xor r11d, r11d",
            "xchg rbx, rsi",
            "2: lock cmpxchg16b xmmword ptr [rdi]",
            "3: xchg rbx, rsi",
            ".pushsection mynah_fixups,\"aR\",@progbits",
            ".long 2b - .",
            ".long 3b - .",
            ".popsection",
            out("r11") failed,
            in("rdi") va,
            inout("rsi") new as u64 => _,
            in("rcx") (new >> 64) as u64,
            inout("rax") low,
            inout("rdx") high,
            options(nostack),
        );
        failed != 0
    };
    if failed {
        Err(refused(va, Access::Write))
    } else {
        Ok(u128::from(low) | u128::from(high) << 64)
    }
}

/// Copies guest memory at `va` into `buffer`.
pub fn copy_in(va: u64, buffer: &mut [u8]) -> Result<(), MemFault> {
    // SAFETY: the destination is the buffer; refused reads stop the copy.
    let failed = unsafe {
        access!("rep movsb", inout("rsi") va => _, inout("rdi") buffer.as_mut_ptr() => _,
                inout("rcx") buffer.len() => _)
    };
    if failed { Err(refused(va, Access::Read)) } else { Ok(()) }
}

/// Copies `bytes` into guest memory at `va`.
pub fn copy_out(va: u64, bytes: &[u8]) -> Result<(), MemFault> {
    // SAFETY: the source is the slice; refused writes stop the copy.
    let failed = unsafe {
        access!("rep movsb", inout("rsi") bytes.as_ptr() => _, inout("rdi") va => _,
                inout("rcx") bytes.len() => _)
    };
    if failed { Err(refused(va, Access::Write)) } else { Ok(()) }
}
