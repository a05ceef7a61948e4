//! Bytes to instructions, by iced-x86.

use crate::mode;
use iced_x86::{Decoder, DecoderError, DecoderOptions, Formatter, Instruction, IntelFormatter};

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
