//! The C extension: 16-bit instructions, each expanded to the one it abbreviates.

use crate::decode::{Insn, Op};

const ZERO: u8 = 0;
const RA: u8 = 1;
const SP: u8 = 2;

/// An instruction of 16 bits; the rest of its fields are filled in below.
fn short(op: Op) -> Insn {
    Insn { op, len: 2, rd: 0, rs1: 0, rs2: 0, rs3: 0, rm: 0, order: 0, imm: 0 }
}

/// `rd, rs1, imm`
fn i(op: Op, rd: u8, rs1: u8, imm: i64) -> Option<Insn> {
    Some(Insn { rd, rs1, imm, ..short(op) })
}

/// `rs1, rs2, imm`
fn s(op: Op, rs1: u8, rs2: u8, imm: i64) -> Option<Insn> {
    Some(Insn { rs1, rs2, imm, ..short(op) })
}

/// `rd, rs1, rs2`
fn r(op: Op, rd: u8, rs1: u8, rs2: u8) -> Option<Insn> {
    Some(Insn { rd, rs1, rs2, ..short(op) })
}

/// The instruction that `parcel` abbreviates; `None` if it is reserved.
pub(crate) fn expand(parcel: u16) -> Option<Insn> {
    let word = u32::from(parcel);
    // Bits `high` to `low`, moved to bit `to` of an immediate.
    let part =
        |high: u32, low: u32, to: u32| i64::from((word >> low & ((2 << (high - low)) - 1)) << to);
    let sign = |to: u32| -part(12, 12, to);
    let register = |low: u32| (word >> low & 31) as u8;
    let popular = |low: u32| (word >> low & 7) as u8 + 8;

    // The immediates, by the formats of the manual's table of RVC formats.
    let six = || sign(5) | part(6, 2, 0);
    let shamt = || part(12, 12, 5) | part(6, 2, 0);
    let word_offset = || part(5, 5, 6) | part(12, 10, 3) | part(6, 6, 2);
    let double_offset = || part(6, 5, 6) | part(12, 10, 3);
    let word_from_sp = || part(3, 2, 6) | part(12, 12, 5) | part(6, 4, 2);
    let double_from_sp = || part(4, 2, 6) | part(12, 12, 5) | part(6, 5, 3);
    let word_to_sp = || part(8, 7, 6) | part(12, 9, 2);
    let double_to_sp = || part(9, 7, 6) | part(12, 10, 3);
    let branch = || sign(8) | part(6, 5, 6) | part(2, 2, 5) | part(11, 10, 3) | part(4, 3, 1);
    let jump = || {
        sign(11)
            | part(8, 8, 10)
            | part(10, 9, 8)
            | part(6, 6, 7)
            | part(7, 7, 6)
            | part(2, 2, 5)
            | part(11, 11, 4)
            | part(5, 3, 1)
    };

    let (rd, rs2) = (register(7), register(2));
    match (word & 3, word >> 13) {
        (0, 0) => {
            let imm = part(10, 7, 6) | part(12, 11, 4) | part(5, 5, 3) | part(6, 6, 2);
            if imm == 0 {
                return None;
            }
            i(Op::Addi, popular(2), SP, imm)
        }
        (0, 1) => i(Op::Fld, popular(2), popular(7), double_offset()),
        (0, 2) => i(Op::Lw, popular(2), popular(7), word_offset()),
        (0, 3) => i(Op::Ld, popular(2), popular(7), double_offset()),
        (0, 5) => s(Op::Fsd, popular(7), popular(2), double_offset()),
        (0, 6) => s(Op::Sw, popular(7), popular(2), word_offset()),
        (0, 7) => s(Op::Sd, popular(7), popular(2), double_offset()),

        (1, 0) => i(Op::Addi, rd, rd, six()),
        (1, 1) if rd != 0 => i(Op::Addiw, rd, rd, six()),
        (1, 2) => i(Op::Addi, rd, ZERO, six()),
        (1, 3) => {
            let from_sp = sign(9) | part(4, 3, 7) | part(5, 5, 6) | part(2, 2, 5) | part(6, 6, 4);
            match (rd, six()) {
                (_, 0) => None,
                (SP, _) => i(Op::Addi, SP, SP, from_sp),
                (_, imm) => i(Op::Lui, rd, ZERO, imm << 12),
            }
        }
        (1, 4) => {
            let (rd, rs2) = (popular(7), popular(2));
            match (word >> 10 & 3, word >> 12 & 1, word >> 5 & 3) {
                (0, ..) => i(Op::Srli, rd, rd, shamt()),
                (1, ..) => i(Op::Srai, rd, rd, shamt()),
                (2, ..) => i(Op::Andi, rd, rd, six()),
                (_, 0, 0) => r(Op::Sub, rd, rd, rs2),
                (_, 0, 1) => r(Op::Xor, rd, rd, rs2),
                (_, 0, 2) => r(Op::Or, rd, rd, rs2),
                (_, 0, _) => r(Op::And, rd, rd, rs2),
                (_, _, 0) => r(Op::Subw, rd, rd, rs2),
                (_, _, 1) => r(Op::Addw, rd, rd, rs2),
                _ => None,
            }
        }
        (1, 5) => i(Op::Jal, ZERO, ZERO, jump()),
        (1, 6) => s(Op::Beq, popular(7), ZERO, branch()),
        (1, 7) => s(Op::Bne, popular(7), ZERO, branch()),

        (2, 0) => i(Op::Slli, rd, rd, shamt()),
        (2, 1) => i(Op::Fld, rd, SP, double_from_sp()),
        (2, 2) if rd != 0 => i(Op::Lw, rd, SP, word_from_sp()),
        (2, 3) if rd != 0 => i(Op::Ld, rd, SP, double_from_sp()),
        (2, 4) => match (word >> 12 & 1, rd, rs2) {
            (0, ZERO, 0) => None,
            (0, _, 0) => i(Op::Jalr, ZERO, rd, 0),
            (0, ..) => r(Op::Add, rd, ZERO, rs2),
            (_, ZERO, 0) => Some(short(Op::Ebreak)),
            (_, _, 0) => i(Op::Jalr, RA, rd, 0),
            _ => r(Op::Add, rd, rd, rs2),
        },
        (2, 5) => s(Op::Fsd, SP, rs2, double_to_sp()),
        (2, 6) => s(Op::Sw, SP, rs2, word_to_sp()),
        (2, 7) => s(Op::Sd, SP, rs2, double_to_sp()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_zeros_is_illegal() {
        assert_eq!(expand(0), None);
    }

    #[test]
    fn expansions() {
        let is = |parcel, expected: Option<Insn>| assert_eq!(expand(parcel), expected);
        is(0x1141, i(Op::Addi, SP, SP, -16)); // c.addi sp, -16
        is(0xe406, s(Op::Sd, SP, RA, 8)); // c.sdsp ra, 8(sp)
        is(0x60a2, i(Op::Ld, RA, SP, 8)); // c.ldsp ra, 8(sp)
        is(0x0141, i(Op::Addi, SP, SP, 16)); // c.addi sp, 16
        is(0x8082, i(Op::Jalr, ZERO, RA, 0)); // c.jr ra
        is(0x9002, Some(short(Op::Ebreak)));
        is(0x7139, i(Op::Addi, SP, SP, -64)); // c.addi16sp sp, -64
        is(0x0808, i(Op::Addi, 10, SP, 16)); // c.addi4spn a0, sp, 16
        is(0xbfcd, i(Op::Jal, ZERO, ZERO, -14)); // c.j .-14
        is(0x77fd, i(Op::Lui, 15, ZERO, -0x1000)); // c.lui a5, 0xfffff
        is(0x852e, r(Op::Add, 10, ZERO, 11)); // c.mv a0, a1
    }
}
