//! Instruction encodings: the manual's tables, and the form that instructions are decoded to.

/// How an instruction's fields are laid out, and how its operands are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// No operands.
    None,
    /// `rd, rs1, rs2`
    R,
    /// `rd, rs1`
    R1,
    /// `rd, rs1, imm`
    I,
    /// `rd, rs1, shamt`
    Shift,
    /// `rd, imm(rs1)`
    Load,
    /// `rs2, imm(rs1)`
    Store,
    /// `rs1, rs2, target`
    B,
    /// `rd, imm`, the immediate in bits 31–12
    U,
    /// `rd, target`
    J,
    /// `rd, imm(rs1)`, a jump
    Jalr,
    /// `pred, succ`
    Fence,
    /// `rd, csr, rs1`
    Csr,
    /// `rd, csr, uimm`
    CsrI,
    /// `rd, (rs1)`
    Lr,
    /// `rd, rs2, (rs1)`
    Amo,
    /// `fd, imm(rs1)`
    FLoad,
    /// `fs2, imm(rs1)`
    FStore,
    /// `fd, fs1, fs2`
    F3,
    /// `fd, fs1, fs2, rm`
    F3Rm,
    /// `fd, fs1, rm`
    F2Rm,
    /// `fd, fs1, fs2, fs3, rm`
    F4,
    /// `rd, fs1, fs2`
    XFF,
    /// `rd, fs1`
    XF,
    /// `rd, fs1, rm`
    XFRm,
    /// `fd, rs1`
    FX,
    /// `fd, rs1, rm`
    FXRm,
}

impl Format {
    /// Whether bits 14–12 are a rounding mode.
    pub const fn rounds(self) -> bool {
        matches!(self, Format::F3Rm | Format::F2Rm | Format::F4 | Format::XFRm | Format::FXRm)
    }
}

/// One row of the encoding table.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    /// The instruction.
    pub op: Op,
    /// Its name.
    pub name: &'static str,
    /// Which bits are fixed.
    pub mask: u32,
    /// The values of the fixed bits.
    pub bits: u32,
    /// The layout of the others.
    pub format: Format,
}

/// A decoded instruction. Fields that its format does not have hold whatever the bits say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Insn {
    /// Which instruction.
    pub op: Op,
    /// Length in bytes: 2 or 4.
    pub len: u8,
    /// Destination register.
    pub rd: u8,
    /// First source register; the immediate of CSRRWI and its like.
    pub rs1: u8,
    /// Second source register.
    pub rs2: u8,
    /// Third source register.
    pub rs3: u8,
    /// Rounding mode.
    pub rm: u8,
    /// Acquire and release bits of an atomic: `aq` is bit 1, `rl` bit 0.
    pub order: u8,
    /// The immediate, extended; the shift amount; the CSR number; FENCE's `fm`, `pred`, `succ`.
    pub imm: i64,
}

/// What the bytes at an address are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// An instruction.
    Insn(Insn),
    /// The bytes end within it.
    Truncated,
    /// No instruction; its length in bytes.
    Illegal(u8),
}

/// Decodes the instruction at the start of `code`.
#[inline]
pub fn decode(code: &[u8]) -> Decoded {
    let Some(&[low, high]) = code.first_chunk() else {
        return Decoded::Truncated;
    };
    let parcel = u16::from_le_bytes([low, high]);
    if parcel & 3 != 3 {
        return match crate::compressed::expand(parcel) {
            Some(insn) => Decoded::Insn(insn),
            None => Decoded::Illegal(2),
        };
    }
    let Some(&word) = code.first_chunk() else {
        return Decoded::Truncated;
    };
    match decode_word(u32::from_le_bytes(word)) {
        Some(insn) => Decoded::Insn(insn),
        None => Decoded::Illegal(4),
    }
}

/// Decodes a 32-bit instruction.
pub fn decode_word(word: u32) -> Option<Insn> {
    let bucket = bucket(word);
    let rows = &INDEX.rows[INDEX.start[bucket] as usize..INDEX.start[bucket + 1] as usize];
    let row = rows.iter().map(|&row| &ENCODINGS[row as usize]).find(|e| word & e.mask == e.bits)?;
    let field = |low: u32| (word >> low & 31) as u8;
    let rm = (word >> 12 & 7) as u8;
    if row.format.rounds() && (rm == 5 || rm == 6) {
        return None;
    }
    Some(Insn {
        op: row.op,
        len: 4,
        rd: field(7),
        rs1: field(15),
        rs2: field(20),
        rs3: field(27),
        rm,
        order: (word >> 25 & 3) as u8,
        imm: immediate(row.format, word),
    })
}

/// Section 2.3, "Immediate encoding variants".
fn immediate(format: Format, word: u32) -> i64 {
    let signed = word as i32;
    // Bits `high` to `low` of the word, moved to bit `to`.
    let part = |high: u32, low: u32, to: u32| {
        ((word >> low & (u32::MAX >> (31 - (high - low)))) << to) as i32
    };
    let sign = |to: u32| signed >> 31 << to;
    i64::from(match format {
        Format::I | Format::Load | Format::FLoad | Format::Jalr => signed >> 20,
        Format::Store | Format::FStore => sign(11) | part(30, 25, 5) | part(11, 7, 0),
        Format::B => sign(12) | part(7, 7, 11) | part(30, 25, 5) | part(11, 8, 1),
        Format::U => signed & !0xfff,
        Format::J => sign(20) | part(19, 12, 12) | part(20, 20, 11) | part(30, 21, 1),
        Format::Shift => part(25, 20, 0),
        Format::Csr | Format::CsrI | Format::Fence => part(31, 20, 0),
        _ => 0,
    })
}

/// The mask and bits of an encoding drawn as in the manual's tables, `.` for a bit of a field.
const fn parse(drawing: &str) -> (u32, u32) {
    let drawing = drawing.as_bytes();
    let (mut mask, mut bits, mut count, mut i) = (0u32, 0u32, 0, 0);
    while i < drawing.len() {
        if drawing[i] != b' ' {
            mask = mask << 1 | (drawing[i] != b'.') as u32;
            bits = bits << 1 | (drawing[i] == b'1') as u32;
            count += 1;
        }
        i += 1;
    }
    assert!(count == 32, "an encoding has 32 bits");
    (mask, bits)
}

/// The rows that may match a word, by its major opcode and `funct3`.
struct Index {
    start: [u16; BUCKETS + 1],
    rows: [u8; 1024],
}

const BUCKETS: usize = 256;

const fn bucket(word: u32) -> usize {
    (word >> 2 & 31) as usize | ((word >> 12 & 7) as usize) << 5
}

static INDEX: Index = {
    let mut index = Index { start: [0; BUCKETS + 1], rows: [0; 1024] };
    let (mut count, mut b) = (0, 0);
    while b < BUCKETS {
        index.start[b] = count as u16;
        let word = 3 | (b as u32 & 31) << 2 | (b as u32 >> 5) << 12;
        let mut row = 0;
        while row < ENCODINGS.len() {
            let e = &ENCODINGS[row];
            if word & e.mask & 0x707f == e.bits & 0x707f {
                index.rows[count] = row as u8;
                count += 1;
            }
            row += 1;
        }
        b += 1;
    }
    index.start[BUCKETS] = count as u16;
    index
};

macro_rules! encodings {
    ($($op:ident $name:literal $drawing:literal $format:ident;)*) => {
        /// An instruction. Compressed ones have no name of their own.
        #[expect(missing_docs, reason = "the names are the manual's")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Op { $($op,)* }

        /// Every instruction of 32 bits, in the order of [`Op`]'s discriminant.
        pub const ENCODINGS: &[Encoding] = &[$({
            let (mask, bits) = parse($drawing);
            Encoding { op: Op::$op, name: $name, mask, bits, format: Format::$format }
        }),*];
    };
}

impl Op {
    /// The instruction's encoding.
    pub const fn encoding(self) -> &'static Encoding {
        &ENCODINGS[self as usize]
    }
}

// funct7 or imm, rs2, rs1, funct3 or rm, rd, opcode.
#[rustfmt::skip]
encodings! {
    // ── RV64I ───────────────────────────────────────────────────────────────────────────
    Lui       "lui"         "....... ..... ..... ... ..... 0110111" U;
    Auipc     "auipc"       "....... ..... ..... ... ..... 0010111" U;
    Jal       "jal"         "....... ..... ..... ... ..... 1101111" J;
    Jalr      "jalr"        "............ ..... 000 ..... 1100111" Jalr;
    Beq       "beq"         "............ ..... 000 ..... 1100011" B;
    Bne       "bne"         "............ ..... 001 ..... 1100011" B;
    Blt       "blt"         "............ ..... 100 ..... 1100011" B;
    Bge       "bge"         "............ ..... 101 ..... 1100011" B;
    Bltu      "bltu"        "............ ..... 110 ..... 1100011" B;
    Bgeu      "bgeu"        "............ ..... 111 ..... 1100011" B;
    Lb        "lb"          "............ ..... 000 ..... 0000011" Load;
    Lh        "lh"          "............ ..... 001 ..... 0000011" Load;
    Lw        "lw"          "............ ..... 010 ..... 0000011" Load;
    Ld        "ld"          "............ ..... 011 ..... 0000011" Load;
    Lbu       "lbu"         "............ ..... 100 ..... 0000011" Load;
    Lhu       "lhu"         "............ ..... 101 ..... 0000011" Load;
    Lwu       "lwu"         "............ ..... 110 ..... 0000011" Load;
    Sb        "sb"          "............ ..... 000 ..... 0100011" Store;
    Sh        "sh"          "............ ..... 001 ..... 0100011" Store;
    Sw        "sw"          "............ ..... 010 ..... 0100011" Store;
    Sd        "sd"          "............ ..... 011 ..... 0100011" Store;
    Addi      "addi"        "............ ..... 000 ..... 0010011" I;
    Slti      "slti"        "............ ..... 010 ..... 0010011" I;
    Sltiu     "sltiu"       "............ ..... 011 ..... 0010011" I;
    Xori      "xori"        "............ ..... 100 ..... 0010011" I;
    Ori       "ori"         "............ ..... 110 ..... 0010011" I;
    Andi      "andi"        "............ ..... 111 ..... 0010011" I;
    Slli      "slli"        "000000 ...... ..... 001 ..... 0010011" Shift;
    Srli      "srli"        "000000 ...... ..... 101 ..... 0010011" Shift;
    Srai      "srai"        "010000 ...... ..... 101 ..... 0010011" Shift;
    Add       "add"         "0000000 ..... ..... 000 ..... 0110011" R;
    Sub       "sub"         "0100000 ..... ..... 000 ..... 0110011" R;
    Sll       "sll"         "0000000 ..... ..... 001 ..... 0110011" R;
    Slt       "slt"         "0000000 ..... ..... 010 ..... 0110011" R;
    Sltu      "sltu"        "0000000 ..... ..... 011 ..... 0110011" R;
    Xor       "xor"         "0000000 ..... ..... 100 ..... 0110011" R;
    Srl       "srl"         "0000000 ..... ..... 101 ..... 0110011" R;
    Sra       "sra"         "0100000 ..... ..... 101 ..... 0110011" R;
    Or        "or"          "0000000 ..... ..... 110 ..... 0110011" R;
    And       "and"         "0000000 ..... ..... 111 ..... 0110011" R;
    Addiw     "addiw"       "............ ..... 000 ..... 0011011" I;
    Slliw     "slliw"       "0000000 ..... ..... 001 ..... 0011011" Shift;
    Srliw     "srliw"       "0000000 ..... ..... 101 ..... 0011011" Shift;
    Sraiw     "sraiw"       "0100000 ..... ..... 101 ..... 0011011" Shift;
    Addw      "addw"        "0000000 ..... ..... 000 ..... 0111011" R;
    Subw      "subw"        "0100000 ..... ..... 000 ..... 0111011" R;
    Sllw      "sllw"        "0000000 ..... ..... 001 ..... 0111011" R;
    Srlw      "srlw"        "0000000 ..... ..... 101 ..... 0111011" R;
    Sraw      "sraw"        "0100000 ..... ..... 101 ..... 0111011" R;
    Fence     "fence"       "............ ..... 000 ..... 0001111" Fence;
    Ecall     "ecall"       "0000000 00000 00000 000 00000 1110011" None;
    Ebreak    "ebreak"      "0000000 00001 00000 000 00000 1110011" None;
    // ── Zifencei and Zicsr ──────────────────────────────────────────────────────────────
    FenceI    "fence.i"     "............ ..... 001 ..... 0001111" None;
    Csrrw     "csrrw"       "............ ..... 001 ..... 1110011" Csr;
    Csrrs     "csrrs"       "............ ..... 010 ..... 1110011" Csr;
    Csrrc     "csrrc"       "............ ..... 011 ..... 1110011" Csr;
    Csrrwi    "csrrwi"      "............ ..... 101 ..... 1110011" CsrI;
    Csrrsi    "csrrsi"      "............ ..... 110 ..... 1110011" CsrI;
    Csrrci    "csrrci"      "............ ..... 111 ..... 1110011" CsrI;
    // ── M ───────────────────────────────────────────────────────────────────────────────
    Mul       "mul"         "0000001 ..... ..... 000 ..... 0110011" R;
    Mulh      "mulh"        "0000001 ..... ..... 001 ..... 0110011" R;
    Mulhsu    "mulhsu"      "0000001 ..... ..... 010 ..... 0110011" R;
    Mulhu     "mulhu"       "0000001 ..... ..... 011 ..... 0110011" R;
    Div       "div"         "0000001 ..... ..... 100 ..... 0110011" R;
    Divu      "divu"        "0000001 ..... ..... 101 ..... 0110011" R;
    Rem       "rem"         "0000001 ..... ..... 110 ..... 0110011" R;
    Remu      "remu"        "0000001 ..... ..... 111 ..... 0110011" R;
    Mulw      "mulw"        "0000001 ..... ..... 000 ..... 0111011" R;
    Divw      "divw"        "0000001 ..... ..... 100 ..... 0111011" R;
    Divuw     "divuw"       "0000001 ..... ..... 101 ..... 0111011" R;
    Remw      "remw"        "0000001 ..... ..... 110 ..... 0111011" R;
    Remuw     "remuw"       "0000001 ..... ..... 111 ..... 0111011" R;
    // ── A ───────────────────────────────────────────────────────────────────────────────
    LrW       "lr.w"        "00010 . . 00000 ..... 010 ..... 0101111" Lr;
    ScW       "sc.w"        "00011 . . ..... ..... 010 ..... 0101111" Amo;
    AmoswapW  "amoswap.w"   "00001 . . ..... ..... 010 ..... 0101111" Amo;
    AmoaddW   "amoadd.w"    "00000 . . ..... ..... 010 ..... 0101111" Amo;
    AmoxorW   "amoxor.w"    "00100 . . ..... ..... 010 ..... 0101111" Amo;
    AmoandW   "amoand.w"    "01100 . . ..... ..... 010 ..... 0101111" Amo;
    AmoorW    "amoor.w"     "01000 . . ..... ..... 010 ..... 0101111" Amo;
    AmominW   "amomin.w"    "10000 . . ..... ..... 010 ..... 0101111" Amo;
    AmomaxW   "amomax.w"    "10100 . . ..... ..... 010 ..... 0101111" Amo;
    AmominuW  "amominu.w"   "11000 . . ..... ..... 010 ..... 0101111" Amo;
    AmomaxuW  "amomaxu.w"   "11100 . . ..... ..... 010 ..... 0101111" Amo;
    LrD       "lr.d"        "00010 . . 00000 ..... 011 ..... 0101111" Lr;
    ScD       "sc.d"        "00011 . . ..... ..... 011 ..... 0101111" Amo;
    AmoswapD  "amoswap.d"   "00001 . . ..... ..... 011 ..... 0101111" Amo;
    AmoaddD   "amoadd.d"    "00000 . . ..... ..... 011 ..... 0101111" Amo;
    AmoxorD   "amoxor.d"    "00100 . . ..... ..... 011 ..... 0101111" Amo;
    AmoandD   "amoand.d"    "01100 . . ..... ..... 011 ..... 0101111" Amo;
    AmoorD    "amoor.d"     "01000 . . ..... ..... 011 ..... 0101111" Amo;
    AmominD   "amomin.d"    "10000 . . ..... ..... 011 ..... 0101111" Amo;
    AmomaxD   "amomax.d"    "10100 . . ..... ..... 011 ..... 0101111" Amo;
    AmominuD  "amominu.d"   "11000 . . ..... ..... 011 ..... 0101111" Amo;
    AmomaxuD  "amomaxu.d"   "11100 . . ..... ..... 011 ..... 0101111" Amo;
    // ── F ───────────────────────────────────────────────────────────────────────────────
    Flw       "flw"         "............ ..... 010 ..... 0000111" FLoad;
    Fsw       "fsw"         "............ ..... 010 ..... 0100111" FStore;
    FmaddS    "fmadd.s"     "..... 00 ..... ..... ... ..... 1000011" F4;
    FmsubS    "fmsub.s"     "..... 00 ..... ..... ... ..... 1000111" F4;
    FnmsubS   "fnmsub.s"    "..... 00 ..... ..... ... ..... 1001011" F4;
    FnmaddS   "fnmadd.s"    "..... 00 ..... ..... ... ..... 1001111" F4;
    FaddS     "fadd.s"      "00000 00 ..... ..... ... ..... 1010011" F3Rm;
    FsubS     "fsub.s"      "00001 00 ..... ..... ... ..... 1010011" F3Rm;
    FmulS     "fmul.s"      "00010 00 ..... ..... ... ..... 1010011" F3Rm;
    FdivS     "fdiv.s"      "00011 00 ..... ..... ... ..... 1010011" F3Rm;
    FsqrtS    "fsqrt.s"     "01011 00 00000 ..... ... ..... 1010011" F2Rm;
    FsgnjS    "fsgnj.s"     "00100 00 ..... ..... 000 ..... 1010011" F3;
    FsgnjnS   "fsgnjn.s"    "00100 00 ..... ..... 001 ..... 1010011" F3;
    FsgnjxS   "fsgnjx.s"    "00100 00 ..... ..... 010 ..... 1010011" F3;
    FminS     "fmin.s"      "00101 00 ..... ..... 000 ..... 1010011" F3;
    FmaxS     "fmax.s"      "00101 00 ..... ..... 001 ..... 1010011" F3;
    FeqS      "feq.s"       "10100 00 ..... ..... 010 ..... 1010011" XFF;
    FltS      "flt.s"       "10100 00 ..... ..... 001 ..... 1010011" XFF;
    FleS      "fle.s"       "10100 00 ..... ..... 000 ..... 1010011" XFF;
    FclassS   "fclass.s"    "11100 00 00000 ..... 001 ..... 1010011" XF;
    FcvtWS    "fcvt.w.s"    "11000 00 00000 ..... ... ..... 1010011" XFRm;
    FcvtWuS   "fcvt.wu.s"   "11000 00 00001 ..... ... ..... 1010011" XFRm;
    FcvtLS    "fcvt.l.s"    "11000 00 00010 ..... ... ..... 1010011" XFRm;
    FcvtLuS   "fcvt.lu.s"   "11000 00 00011 ..... ... ..... 1010011" XFRm;
    FcvtSW    "fcvt.s.w"    "11010 00 00000 ..... ... ..... 1010011" FXRm;
    FcvtSWu   "fcvt.s.wu"   "11010 00 00001 ..... ... ..... 1010011" FXRm;
    FcvtSL    "fcvt.s.l"    "11010 00 00010 ..... ... ..... 1010011" FXRm;
    FcvtSLu   "fcvt.s.lu"   "11010 00 00011 ..... ... ..... 1010011" FXRm;
    FmvXW     "fmv.x.w"     "11100 00 00000 ..... 000 ..... 1010011" XF;
    FmvWX     "fmv.w.x"     "11110 00 00000 ..... 000 ..... 1010011" FX;
    // ── D ───────────────────────────────────────────────────────────────────────────────
    Fld       "fld"         "............ ..... 011 ..... 0000111" FLoad;
    Fsd       "fsd"         "............ ..... 011 ..... 0100111" FStore;
    FmaddD    "fmadd.d"     "..... 01 ..... ..... ... ..... 1000011" F4;
    FmsubD    "fmsub.d"     "..... 01 ..... ..... ... ..... 1000111" F4;
    FnmsubD   "fnmsub.d"    "..... 01 ..... ..... ... ..... 1001011" F4;
    FnmaddD   "fnmadd.d"    "..... 01 ..... ..... ... ..... 1001111" F4;
    FaddD     "fadd.d"      "00000 01 ..... ..... ... ..... 1010011" F3Rm;
    FsubD     "fsub.d"      "00001 01 ..... ..... ... ..... 1010011" F3Rm;
    FmulD     "fmul.d"      "00010 01 ..... ..... ... ..... 1010011" F3Rm;
    FdivD     "fdiv.d"      "00011 01 ..... ..... ... ..... 1010011" F3Rm;
    FsqrtD    "fsqrt.d"     "01011 01 00000 ..... ... ..... 1010011" F2Rm;
    FsgnjD    "fsgnj.d"     "00100 01 ..... ..... 000 ..... 1010011" F3;
    FsgnjnD   "fsgnjn.d"    "00100 01 ..... ..... 001 ..... 1010011" F3;
    FsgnjxD   "fsgnjx.d"    "00100 01 ..... ..... 010 ..... 1010011" F3;
    FminD     "fmin.d"      "00101 01 ..... ..... 000 ..... 1010011" F3;
    FmaxD     "fmax.d"      "00101 01 ..... ..... 001 ..... 1010011" F3;
    FeqD      "feq.d"       "10100 01 ..... ..... 010 ..... 1010011" XFF;
    FltD      "flt.d"       "10100 01 ..... ..... 001 ..... 1010011" XFF;
    FleD      "fle.d"       "10100 01 ..... ..... 000 ..... 1010011" XFF;
    FclassD   "fclass.d"    "11100 01 00000 ..... 001 ..... 1010011" XF;
    FcvtWD    "fcvt.w.d"    "11000 01 00000 ..... ... ..... 1010011" XFRm;
    FcvtWuD   "fcvt.wu.d"   "11000 01 00001 ..... ... ..... 1010011" XFRm;
    FcvtLD    "fcvt.l.d"    "11000 01 00010 ..... ... ..... 1010011" XFRm;
    FcvtLuD   "fcvt.lu.d"   "11000 01 00011 ..... ... ..... 1010011" XFRm;
    FcvtDW    "fcvt.d.w"    "11010 01 00000 ..... ... ..... 1010011" FXRm;
    FcvtDWu   "fcvt.d.wu"   "11010 01 00001 ..... ... ..... 1010011" FXRm;
    FcvtDL    "fcvt.d.l"    "11010 01 00010 ..... ... ..... 1010011" FXRm;
    FcvtDLu   "fcvt.d.lu"   "11010 01 00011 ..... ... ..... 1010011" FXRm;
    FmvXD     "fmv.x.d"     "11100 01 00000 ..... 000 ..... 1010011" XF;
    FmvDX     "fmv.d.x"     "11110 01 00000 ..... 000 ..... 1010011" FX;
    FcvtSD    "fcvt.s.d"    "01000 00 00001 ..... ... ..... 1010011" F2Rm;
    FcvtDS    "fcvt.d.s"    "01000 01 00000 ..... ... ..... 1010011" F2Rm;
    // ── Zba ─────────────────────────────────────────────────────────────────────────────
    Sh1add    "sh1add"      "0010000 ..... ..... 010 ..... 0110011" R;
    Sh2add    "sh2add"      "0010000 ..... ..... 100 ..... 0110011" R;
    Sh3add    "sh3add"      "0010000 ..... ..... 110 ..... 0110011" R;
    AddUw     "add.uw"      "0000100 ..... ..... 000 ..... 0111011" R;
    Sh1addUw  "sh1add.uw"   "0010000 ..... ..... 010 ..... 0111011" R;
    Sh2addUw  "sh2add.uw"   "0010000 ..... ..... 100 ..... 0111011" R;
    Sh3addUw  "sh3add.uw"   "0010000 ..... ..... 110 ..... 0111011" R;
    SlliUw    "slli.uw"     "000010 ...... ..... 001 ..... 0011011" Shift;
    // ── Zbb ─────────────────────────────────────────────────────────────────────────────
    Andn      "andn"        "0100000 ..... ..... 111 ..... 0110011" R;
    Orn       "orn"         "0100000 ..... ..... 110 ..... 0110011" R;
    Xnor      "xnor"        "0100000 ..... ..... 100 ..... 0110011" R;
    Min       "min"         "0000101 ..... ..... 100 ..... 0110011" R;
    Minu      "minu"        "0000101 ..... ..... 101 ..... 0110011" R;
    Max       "max"         "0000101 ..... ..... 110 ..... 0110011" R;
    Maxu      "maxu"        "0000101 ..... ..... 111 ..... 0110011" R;
    Rol       "rol"         "0110000 ..... ..... 001 ..... 0110011" R;
    Ror       "ror"         "0110000 ..... ..... 101 ..... 0110011" R;
    Rolw      "rolw"        "0110000 ..... ..... 001 ..... 0111011" R;
    Rorw      "rorw"        "0110000 ..... ..... 101 ..... 0111011" R;
    Rori      "rori"        "011000 ...... ..... 101 ..... 0010011" Shift;
    Roriw     "roriw"       "0110000 ..... ..... 101 ..... 0011011" Shift;
    Clz       "clz"         "0110000 00000 ..... 001 ..... 0010011" R1;
    Ctz       "ctz"         "0110000 00001 ..... 001 ..... 0010011" R1;
    Cpop      "cpop"        "0110000 00010 ..... 001 ..... 0010011" R1;
    SextB     "sext.b"      "0110000 00100 ..... 001 ..... 0010011" R1;
    SextH     "sext.h"      "0110000 00101 ..... 001 ..... 0010011" R1;
    Clzw      "clzw"        "0110000 00000 ..... 001 ..... 0011011" R1;
    Ctzw      "ctzw"        "0110000 00001 ..... 001 ..... 0011011" R1;
    Cpopw     "cpopw"       "0110000 00010 ..... 001 ..... 0011011" R1;
    ZextH     "zext.h"      "0000100 00000 ..... 100 ..... 0111011" R1;
    Rev8      "rev8"        "0110101 11000 ..... 101 ..... 0010011" R1;
    OrcB      "orc.b"       "0010100 00111 ..... 101 ..... 0010011" R1;
    // ── Zbs ─────────────────────────────────────────────────────────────────────────────
    Bclr      "bclr"        "0100100 ..... ..... 001 ..... 0110011" R;
    Bclri     "bclri"       "010010 ...... ..... 001 ..... 0010011" Shift;
    Bext      "bext"        "0100100 ..... ..... 101 ..... 0110011" R;
    Bexti     "bexti"       "010010 ...... ..... 101 ..... 0010011" Shift;
    Binv      "binv"        "0110100 ..... ..... 001 ..... 0110011" R;
    Binvi     "binvi"       "011010 ...... ..... 001 ..... 0010011" Shift;
    Bset      "bset"        "0010100 ..... ..... 001 ..... 0110011" R;
    Bseti     "bseti"       "001010 ...... ..... 001 ..... 0010011" Shift;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_decodes_to_itself() {
        for e in ENCODINGS {
            // All ones in its fields, which is the dynamic rounding mode.
            for word in [e.bits, e.bits | !e.mask] {
                let found = decode_word(word).map(|i| i.op);
                let exact = ENCODINGS.iter().find(|o| word & o.mask == o.bits).map(|o| o.op);
                assert_eq!(found, exact, "{}", e.name);
            }
            assert_eq!(decode_word(e.bits).map(|i| i.op), Some(e.op), "{}", e.name);
        }
    }

    #[test]
    fn immediates() {
        let imm = |word| decode_word(word).unwrap().imm;
        assert_eq!(imm(0xfff0_0093), -1); // addi ra, zero, -1
        assert_eq!(imm(0xfe11_3c23), -8); // sd ra, -8(sp)
        assert_eq!(imm(0xfe00_0ee3), -4); // beq zero, zero, .-4
        assert_eq!(imm(0xffdf_f06f), -4); // j .-4
        assert_eq!(imm(0x8000_00b7), -0x8000_0000); // lui ra, 0x80000
        assert_eq!(imm(0x03f0_9093), 63); // slli ra, ra, 63
        assert_eq!(imm(0xc000_2573), 0xc00); // rdcycle a0
    }
}
