//! x87 and MMX registers.

/// The x87 unit (SDM 1 8.1).
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct Fpu {
    /// R0–R7 in physical order, 80 bits each in the low bits.
    pub regs: [u128; 8],
    /// Control word.
    pub control: u16,
    /// Status word, TOP included.
    pub status: u16,
    /// Tags in the abridged form of FXSAVE: bit n is set if Rn is not empty.
    pub tags: u8,
}

impl Fpu {
    /// State after FNINIT.
    pub const fn new() -> Fpu {
        Fpu { regs: [0; 8], control: 0x37f, status: 0, tags: 0 }
    }
}

impl Default for Fpu {
    fn default() -> Fpu {
        Fpu::new()
    }
}
