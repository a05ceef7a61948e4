//! Instructions in the manual's assembly syntax, registers by their ABI names.

use crate::decode::{Decoded, Format, Insn, decode};
use crate::state::{F_NAMES, X_NAMES};

/// The instruction at the start of `code`, and how many bytes it is.
pub(crate) fn disassemble(code: &[u8], pc: u64) -> (String, usize) {
    match decode(code) {
        Decoded::Insn(insn) => (text(&insn, pc), insn.len.into()),
        Decoded::Illegal(len) => (raw(&code[..len.into()]), len.into()),
        Decoded::Truncated => (raw(code), code.len().max(1)),
    }
}

fn raw(code: &[u8]) -> String {
    let value = code.iter().rev().fold(0u32, |value, &byte| value << 8 | u32::from(byte));
    format!(".{}byte {value:#x}", code.len())
}

fn text(insn: &Insn, pc: u64) -> String {
    let x = |n: u8| X_NAMES[usize::from(n)];
    let f = |n: u8| F_NAMES[usize::from(n)];
    let &Insn { op, rd, rs1, rs2, rs3, imm, .. } = insn;
    let target = || format!("{:#x}", pc.wrapping_add_signed(imm));
    let encoding = op.encoding();
    let operands = match encoding.format {
        Format::None => String::new(),
        Format::R => format!("{},{},{}", x(rd), x(rs1), x(rs2)),
        Format::R1 => format!("{},{}", x(rd), x(rs1)),
        Format::I => format!("{},{},{imm}", x(rd), x(rs1)),
        Format::Shift => format!("{},{},{imm:#x}", x(rd), x(rs1)),
        Format::Load | Format::Jalr => format!("{},{imm}({})", x(rd), x(rs1)),
        Format::Store => format!("{},{imm}({})", x(rs2), x(rs1)),
        Format::B => format!("{},{},{}", x(rs1), x(rs2), target()),
        Format::U => format!("{},{:#x}", x(rd), imm as u32 >> 12),
        Format::J => format!("{},{}", x(rd), target()),
        Format::Fence => match imm >> 8 {
            8 => String::new(),
            _ => format!("{},{}", accesses(imm >> 4), accesses(imm)),
        },
        Format::Csr => format!("{},{},{}", x(rd), csr(imm), x(rs1)),
        Format::CsrI => format!("{},{},{rs1}", x(rd), csr(imm)),
        Format::Lr => format!("{},({})", x(rd), x(rs1)),
        Format::Amo => format!("{},{},({})", x(rd), x(rs2), x(rs1)),
        Format::FLoad => format!("{},{imm}({})", f(rd), x(rs1)),
        Format::FStore => format!("{},{imm}({})", f(rs2), x(rs1)),
        Format::F3 | Format::F3Rm => format!("{},{},{}", f(rd), f(rs1), f(rs2)),
        Format::F2Rm => format!("{},{}", f(rd), f(rs1)),
        Format::F4 => format!("{},{},{},{}", f(rd), f(rs1), f(rs2), f(rs3)),
        Format::XFF => format!("{},{},{}", x(rd), f(rs1), f(rs2)),
        Format::XF | Format::XFRm => format!("{},{}", x(rd), f(rs1)),
        Format::FX | Format::FXRm => format!("{},{}", f(rd), x(rs1)),
    };
    let name = match encoding.format {
        Format::Fence if imm >> 8 == 8 => "fence.tso",
        _ => encoding.name,
    };
    let suffix = match (encoding.format, insn.order) {
        (Format::Lr | Format::Amo, 1) => ".rl",
        (Format::Lr | Format::Amo, 2) => ".aq",
        (Format::Lr | Format::Amo, 3) => ".aqrl",
        _ => "",
    };
    let rm = match insn.rm {
        rm if encoding.format.rounds() => {
            [",rne", ",rtz", ",rdn", ",rup", ",rmm"].get(usize::from(rm)).copied()
        }
        _ => None,
    };
    let rm = rm.unwrap_or_default();
    match operands.is_empty() {
        true => format!("{name}{suffix}"),
        false => format!("{name}{suffix} {operands}{rm}"),
    }
}

/// The accesses that a fence orders.
fn accesses(set: i64) -> String {
    let letters = [(8, 'i'), (4, 'o'), (2, 'r'), (1, 'w')];
    match set & 15 {
        0 => "0".into(),
        _ => letters.iter().filter(|(bit, _)| set & bit != 0).map(|(_, letter)| letter).collect(),
    }
}

fn csr(number: i64) -> String {
    match number {
        crate::csr::FFLAGS => "fflags".into(),
        crate::csr::FRM => "frm".into(),
        crate::csr::FCSR => "fcsr".into(),
        crate::csr::CYCLE => "cycle".into(),
        crate::csr::TIME => "time".into(),
        crate::csr::INSTRET => "instret".into(),
        other => format!("{other:#x}"),
    }
}
