//! Bytes to instructions, by iced-x86.

use crate::mode;
use iced_x86::{
    Decoder, DecoderError, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter,
};

/// The longest instruction, in bytes; a longer one is a #GP.
pub(crate) const MAX_LEN: usize = 15;

/// Why bytes are no instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Undecoded {
    /// They end within one.
    Truncated,
    /// No instruction has this encoding; so many bytes tell.
    Invalid(usize),
    /// The instruction would be longer than [`MAX_LEN`].
    TooLong,
}

/// TZCNT and LZCNT are BSF and BSR, because CPUID reports neither BMI1 nor LZCNT.
const OPTIONS: u32 = DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD;

/// The instruction at the start of `code`.
pub(crate) fn decode(code: &[u8], pc: u64, mode: u32) -> Result<Instruction, Undecoded> {
    let window = &code[..code.len().min(MAX_LEN)];
    let mut decoder = Decoder::with_ip(mode::bitness(mode), window, pc, OPTIONS);
    let insn = decoder.decode();
    match decoder.last_error() {
        DecoderError::None => Ok(insn),
        DecoderError::NoMoreBytes if window.len() < MAX_LEN => Err(Undecoded::Truncated),
        DecoderError::NoMoreBytes => Err(Undecoded::TooLong),
        _ => Err(Undecoded::Invalid(insn.len().max(1))),
    }
}

/// Instructions of one block that were decoded together: a decoder takes longer to make than an
/// instruction to decode.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead {
    insns: [Instruction; Ahead::MOST],
    next: usize,
    count: usize,
}

impl Ahead {
    const MOST: usize = 4;

    /// As [`decode`]; the bytes at an address are the same at each call.
    pub(crate) fn decode(
        &mut self,
        code: &[u8],
        pc: u64,
        mode: u32,
    ) -> Result<Instruction, Undecoded> {
        if self.next == self.count || self.insns[self.next].ip() != pc {
            self.fill(code, pc, mode);
        }
        if self.count == 0 {
            return decode(code, pc, mode);
        }
        self.next += 1;
        Ok(self.insns[self.next - 1])
    }

    /// Decodes as far as there are whole instructions and none that transfers control.
    fn fill(&mut self, code: &[u8], pc: u64, mode: u32) {
        (self.next, self.count) = (0, 0);
        let window = &code[..code.len().min(MAX_LEN * Ahead::MOST)];
        let mut decoder = Decoder::with_ip(mode::bitness(mode), window, pc, OPTIONS);
        while self.count < Ahead::MOST && decoder.can_decode() {
            decoder.decode_out(&mut self.insns[self.count]);
            if decoder.last_error() != DecoderError::None {
                return;
            }
            self.count += 1;
            if self.insns[self.count - 1].flow_control() != FlowControl::Next {
                return;
            }
        }
    }
}

/// The instruction at the start of `code` in Intel syntax, and its length.
pub(crate) fn disassemble(code: &[u8], pc: u64, mode: u32) -> (String, usize) {
    let Ok(insn) = decode(code, pc, mode) else {
        let byte = code.first().map_or("(nothing)".to_owned(), |b| format!("{b:#04x}"));
        return (format!("db {byte}"), 1);
    };
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_rip_relative_addresses(false);
    options.set_branch_leading_zeros(false);
    let mut text = String::new();
    formatter.format(&insn, &mut text);
    (text, insn.len())
}
