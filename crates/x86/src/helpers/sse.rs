//! What SSE instructions ask beyond vector operations: the FXSAVE area, CRC32, masked
//! stores, and (in [`text`]) the string comparisons of SSE4.2.

use super::float;
use crate::segment::GP;
use crate::{Space, X86};
use mynah_guest::{Cause, Cpu, Fault};

pub(super) extern "C" fn masked_store<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    address: u64,
    _: u64,
    _: u64,
) -> u64 {
    // A mask of zeros stores nothing and faults only if the address can be none at all.
    if let Err(fault) = cpu.memory.load::<u8>(address)
        && fault.cause == Cause::NonCanonical
    {
        cpu.raise(fault);
        return 0;
    }
    let [data, mask] = cpu.state.scratch.map(u128::to_le_bytes);
    for i in (0..16).filter(|&i| mask[i] >> 7 != 0) {
        if let Err(fault) = cpu.memory.store::<u8>(address.wrapping_add(i as u64), data[i]) {
            cpu.raise(fault);
            break;
        }
    }
    0
}

/// CRC-32C of a byte, bits reflected.
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

pub(super) extern "C" fn crc32<M: Space>(
    _: &mut Cpu<X86<M>>,
    crc: u64,
    value: u64,
    bytes: u64,
) -> u64 {
    let value = value.to_le_bytes();
    let taken = value.iter().take(bytes as usize);
    let step = |crc: u32, &byte: &u8| crc >> 8 ^ CRC32C[usize::from(crc as u8 ^ byte)];
    taken.fold(crc as u32, step).into()
}

/// Bytes of the FXSAVE area that are written: the rest is reserved or the program's.
const AREA: usize = 416;
/// Where the area holds ST0 and XMM0.
const ST0: usize = 32;
const XMM0: usize = 160;

/// The image of the x87 and SSE state.
pub(super) type Area = [u8; AREA];

/// The x87 and SSE state as FXSAVE stores it.
pub(super) fn legacy_area<M: Space>(cpu: &Cpu<X86<M>>) -> Area {
    let mut area = [0; AREA];
    let mut put = |at: usize, bytes: &[u8]| area[at..at + bytes.len()].copy_from_slice(bytes);
    let fpu = &cpu.state.fpu;
    put(0, &fpu.control.to_le_bytes());
    put(2, &fpu.status.to_le_bytes());
    put(4, &[fpu.tags]);
    put(24, &cpu.core.live_fp().to_le_bytes());
    put(28, &float::MASK.to_le_bytes());
    let top = usize::from(fpu.status >> 11 & 7);
    for i in 0..8 {
        put(ST0 + 16 * i, &fpu.regs[(top + i) % 8].to_le_bytes()[..10]);
    }
    for (i, xmm) in cpu.state.xmm.iter().enumerate() {
        put(XMM0 + 16 * i, &xmm.to_le_bytes());
    }
    area
}

/// Makes the x87 and SSE state what the image says; #GP if it sets reserved bits of MXCSR.
pub(super) fn restore_area<M: Space>(cpu: &mut Cpu<X86<M>>, area: &Area) -> Result<(), Fault> {
    let half = |at: usize| u16::from_le_bytes([area[at], area[at + 1]]);
    let vector = |at: usize| u128::from_le_bytes(std::array::from_fn(|i| area[at + i]));
    let mxcsr = u32::from(half(24)) | u32::from(half(26)) << 16;
    if mxcsr & !float::MASK != 0 {
        return Err(GP);
    }
    let fpu = &mut cpu.state.fpu;
    fpu.control = half(0);
    fpu.status = half(2);
    fpu.tags = area[4];
    let top = usize::from(fpu.status >> 11 & 7);
    for i in 0..8 {
        fpu.regs[(top + i) % 8] = vector(ST0 + 16 * i) & (u128::MAX >> 48);
    }
    for i in 0..16 {
        cpu.state.xmm[i] = vector(XMM0 + 16 * i);
    }
    float::set_live(cpu, mxcsr);
    Ok(())
}

pub(super) extern "C" fn fxsave<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    address: u64,
    _: u64,
    _: u64,
) -> u64 {
    let area = legacy_area(cpu);
    let bytes = saved_bytes(cpu);
    let saved = super::fpu::write_whole(&mut cpu.memory, address, &area[..bytes]);
    if let Err(fault) = saved {
        cpu.raise(fault);
    }
    0
}

/// Outside 64-bit code FXSAVE leaves XMM8–XMM15 alone.
fn saved_bytes<M: Space>(cpu: &Cpu<X86<M>>) -> usize {
    if cpu.state.is_64() { AREA } else { XMM0 + 8 * 16 }
}

pub(super) extern "C" fn fxrstor<M: Space>(
    cpu: &mut Cpu<X86<M>>,
    address: u64,
    _: u64,
    _: u64,
) -> u64 {
    let mut area = legacy_area(cpu);
    let bytes = saved_bytes(cpu);
    let restored = match cpu.memory.read(address, &mut area[..bytes]) {
        Ok(()) => restore_area(cpu, &area),
        Err(fault) => Err(fault.into()),
    };
    if let Err(fault) = restored {
        cpu.raise(fault);
    }
    0
}

/// The string comparisons (SDM 2B 4.1).
pub(crate) mod text {
    use crate::flags::{CF, OF, SF, ZF};
    use crate::{Space, X86};
    use mynah_guest::Cpu;

    /// In the control word above the immediate: texts end before their first 0.
    pub(crate) const IMPLICIT: u64 = 1 << 8;
    /// Bits of the result that are the index.
    pub(crate) const INDEX: u64 = 0xff;
    /// Position of the arithmetic flags in the result.
    pub(crate) const FLAGS_SHIFT: u64 = 32;

    /// A text of at most 16 bytes or 8 words.
    struct Text {
        units: [i32; 16],
        len: usize,
    }

    /// Bytes or words of a vector, signed or not; immediate bits 0–1.
    fn text(vector: u128, control: u64, length: u64) -> Text {
        let count = count(control);
        let bits = 128 / count;
        let signed = control & 2 != 0;
        let units = std::array::from_fn(|i| {
            let spare = 32 - bits as u32;
            let unit = ((vector >> (i * bits % 128)) as u32) << spare;
            if signed { unit as i32 >> spare } else { (unit >> spare) as i32 }
        });
        let len = if control & IMPLICIT != 0 {
            units.iter().take(count).position(|&unit| unit == 0).unwrap_or(count)
        } else {
            (length as i64).unsigned_abs().min(count as u64) as usize
        };
        Text { units, len }
    }

    fn count(control: u64) -> usize {
        if control & 1 != 0 { 8 } else { 16 }
    }

    /// One bit for each unit of `b`: how it stands to `a`; immediate bits 2–3.
    fn compare(a: &Text, b: &Text, control: u64) -> u32 {
        let count = count(control);
        let holds = |j: usize| match control >> 2 & 3 {
            // Equal any.
            0 => j < b.len && a.units[..a.len].contains(&b.units[j]),
            // Ranges: pairs of units of a.
            1 => {
                let in_range = |r: &[i32]| r[0] <= b.units[j] && b.units[j] <= r[1];
                j < b.len && a.units[..a.len].chunks_exact(2).any(in_range)
            }
            // Equal each; two units behind the ends are equal.
            2 => match (j < a.len, j < b.len) {
                (true, true) => a.units[j] == b.units[j],
                (in_a, in_b) => in_a == in_b,
            },
            // Equal ordered: a is found at j, as far as the vector reaches.
            _ => (0..a.len.min(count - j)).all(|i| j + i < b.len && a.units[i] == b.units[j + i]),
        };
        (0..count).filter(|&j| holds(j)).map(|j| 1 << j).sum()
    }

    /// Compares the texts in the scratch vectors. Index and flags are the result, the mask goes to
    /// the first scratch vector.
    pub(in crate::helpers) extern "C" fn compare_text<M: Space>(
        cpu: &mut Cpu<X86<M>>,
        control: u64,
        a_length: u64,
        b_length: u64,
    ) -> u64 {
        let [a, b] = cpu.state.scratch;
        let (a, b) = (text(a, control, a_length), text(b, control, b_length));
        let count = count(control);
        let all = u32::MAX >> (32 - count);
        let inverted = match control >> 4 & 3 {
            1 => all,
            3 => (1 << b.len) - 1,
            _ => 0,
        };
        let bits = compare(&a, &b, control) ^ inverted;
        let from_top = control >> 6 & 1 != 0;
        let index = match (bits, from_top) {
            (0, _) => count as u32,
            (_, false) => bits.trailing_zeros(),
            (_, true) => bits.ilog2(),
        };
        // Bit 6 of a mask's immediate widens each bit to a unit.
        let width = 128 / count;
        let unit = u128::MAX >> (128 - width);
        let widened = (0..count).filter(|i| bits >> i & 1 != 0).map(|i| unit << (i * width)).sum();
        cpu.state.scratch[0] = if from_top { widened } else { bits.into() };
        let flags =
            [(CF, bits != 0), (ZF, b.len < count), (SF, a.len < count), (OF, bits & 1 != 0)];
        let flags: u64 = flags.iter().filter(|(_, set)| *set).map(|(flag, _)| flag).sum();
        u64::from(index) | flags << FLAGS_SHIFT
    }
}
