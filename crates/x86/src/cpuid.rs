//! What CPUID reports: x86-64-v2 and nothing else (SDM 2A, CPUID).

/// EAX, EBX, ECX, EDX of a leaf.
pub type Leaf = [u32; 4];

/// The bits of a list.
const fn bits(list: &[u32]) -> u32 {
    let mut word = 0;
    let mut i = 0;
    while i < list.len() {
        word |= 1 << list[i];
        i += 1;
    }
    word
}

/// Leaf 1 EDX: FPU, TSC, CX8, CMOV, CLFSH, MMX, FXSR, SSE, SSE2.
const FEATURES_D: u32 = bits(&[0, 4, 8, 15, 19, 23, 24, 25, 26]);
/// Leaf 1 ECX: SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT, and the mark of a hypervisor.
const FEATURES_C: u32 = bits(&[0, 9, 13, 19, 20, 23, 31]);
/// Leaf 0x8000_0001 EDX: SYSCALL, NX, RDTSCP, 64-bit mode.
const EXTENDED_D: u32 = bits(&[11, 20, 27, 29]);
/// Leaf 0x8000_0001 ECX: LAHF and SAHF in 64-bit mode, PREFETCHW.
const EXTENDED_C: u32 = bits(&[0, 8]);
/// Leaf 7 EBX: ERMS, because REP MOVSB and STOSB are moved in bulk.
const LEAF7_B: u32 = bits(&[9]);

const VENDOR: &[u8; 12] = b"GenuineIntel";
const BRAND: &[u8; 48] =
    b"Mynah virtual CPU\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Family 6, model 15, stepping 1.
const SIGNATURE: u32 = 0x6f1;
/// CLFLUSH line of 64 bytes; one logical processor.
const LINE_AND_COUNT: u32 = 0x0001_0800;
const HIGHEST: u32 = 0xd;
const HIGHEST_EXTENDED: u32 = 0x8000_0008;

const fn word(text: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]])
}

/// What CPUID yields for EAX = `leaf` and ECX = `subleaf`.
pub fn cpuid(leaf: u32, subleaf: u32) -> Leaf {
    match leaf {
        0 => [HIGHEST, word(VENDOR, 0), word(VENDOR, 8), word(VENDOR, 4)],
        1 => [SIGNATURE, LINE_AND_COUNT, FEATURES_C, FEATURES_D],
        4 => cache(subleaf),
        7 if subleaf == 0 => [0, LEAF7_B, 0, 0],
        0x8000_0000 => [HIGHEST_EXTENDED, 0, 0, 0],
        0x8000_0001 => [0, 0, EXTENDED_C, EXTENDED_D],
        0x8000_0002..=0x8000_0004 => {
            let at = (leaf - 0x8000_0002) as usize * 16;
            [word(BRAND, at), word(BRAND, at + 4), word(BRAND, at + 8), word(BRAND, at + 12)]
        }
        // 64 bytes a line, 8 ways, 1 MiB.
        0x8000_0006 => [0, 0, 0x0400_6040, 0],
        // Physical addresses of 46 bits, virtual ones of 48.
        0x8000_0008 => [0x302e, 0, 0, 0],
        _ => [0; 4],
    }
}

/// Deterministic cache parameters: level, kind (1 data, 2 code, 3 both), ways, sets.
fn cache(subleaf: u32) -> Leaf {
    let (level, kind, ways, sets) = match subleaf {
        0 => (1, 1, 8, 64),
        1 => (1, 2, 8, 64),
        2 => (2, 3, 16, 1024),
        3 => (3, 3, 16, 16384),
        _ => return [0; 4],
    };
    let self_initialising = 1 << 8;
    [kind | level << 5 | self_initialising, (ways - 1) << 22 | 63, sets - 1, 0]
}
