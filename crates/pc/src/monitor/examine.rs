//! `x` and `xp`: memory in the formats of gdb's command of this name.

use crate::front::{Front, read_physical, read_virtual};
use crate::processor::Guest;
use mynah_debug::Inspect as _;
use mynah_guest::Guest as _;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// How memory is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Format {
    pub(super) count: u64,
    pub(super) letter: Letter,
    pub(super) bytes: u64,
}

/// How a value is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Letter {
    Hex,
    Signed,
    Unsigned,
    Octal,
    Character,
    Text,
    Instruction,
}

/// Which addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Space {
    /// Those of the vCPU's code.
    Virtual,
    /// Those behind its page tables.
    Physical,
}

/// Where memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place<'l> {
    /// At this address.
    At(u64),
    /// Where this register points.
    Register(&'l str),
}

/// Things that are shown at most.
const MAX: u64 = 4096;
/// Bytes of an instruction at most.
const INSTRUCTION: u64 = 15;
/// Bytes of a text that are shown at most.
const TEXT: u64 = 256;

/// The format and the address of `/FMT ADDRESS`.
pub(super) fn parse(text: &str) -> Result<(Format, Place<'_>), String> {
    let mut format = Format { count: 1, letter: Letter::Hex, bytes: 4 };
    let mut rest = text.trim();
    if let Some(letters) = rest.strip_prefix('/') {
        let (letters, address) = letters.split_once(char::is_whitespace).unwrap_or((letters, ""));
        rest = address.trim();
        let digits = letters.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            format.count = letters[..digits].parse().unwrap_or(0);
        }
        if !(1..=MAX).contains(&format.count) {
            return Err(format!("A format counts 1 to {MAX} things."));
        }
        for letter in letters[digits..].chars() {
            match letter {
                'x' => format.letter = Letter::Hex,
                'd' => format.letter = Letter::Signed,
                'u' => format.letter = Letter::Unsigned,
                'o' => format.letter = Letter::Octal,
                'c' => format.letter = Letter::Character,
                's' => format.letter = Letter::Text,
                'i' => format.letter = Letter::Instruction,
                'b' => format.bytes = 1,
                'h' => format.bytes = 2,
                'w' => format.bytes = 4,
                'g' => format.bytes = 8,
                _ => {
                    return Err(format!(
                        "`{letter}` is no letter of a format: x d u o c s i, and b h w g."
                    ));
                }
            }
        }
    }
    if rest.is_empty() {
        return Err("An address is missing: x /4x 0x1000".to_owned());
    }
    if let Some(name) = rest.strip_prefix('$') {
        let name = match name {
            "pc" => "rip",
            "sp" => "rsp",
            name => name,
        };
        return match Guest::registers(false).iter().any(|known| known.name == name) {
            true => Ok((format, Place::Register(name))),
            false => Err(format!("`{name}` is no register.")),
        };
    }
    let wrong = |_| format!("`{rest}` is no address: 0x1000, say, 4096 or $pc.");
    let hex = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
    let address = hex.map_or_else(|| rest.parse(), |hex| u64::from_str_radix(hex, 16));
    Ok((format, Place::At(address.map_err(wrong)?)))
}

/// What is at `address`.
pub(super) fn show(
    front: &Front,
    format: Format,
    space: Space,
    place: Place<'_>,
) -> Result<String, String> {
    let each = match format.letter {
        Letter::Instruction => INSTRUCTION,
        Letter::Text => TEXT,
        Letter::Character => 1,
        _ => format.bytes,
    };
    let len = (format.count * each) as usize;
    let number = front.vcpu.load(Ordering::Relaxed);
    let address = match place {
        Place::At(address) => address,
        Place::Register(name) => {
            let name = name.to_owned();
            front.ask(number, move |cpu| Guest::read_register(cpu, &name) as u64)?
        }
    };
    let read = front.ask(number, move |cpu| {
        let mut bytes = vec![0; len];
        let count = match space {
            Space::Virtual => read_virtual(cpu, address, &mut bytes),
            Space::Physical => read_physical(cpu.memory.phys(), address, &mut bytes),
        };
        bytes.truncate(count);
        (bytes, cpu.state.system.mode)
    });
    let (bytes, mode) = read?;
    let digits = if mynah_x86::mode::bitness(mode) == 64 || address >> 32 != 0 { 16 } else { 8 };
    let lines = match format.letter {
        Letter::Instruction => instructions(&bytes, format.count, address, mode, digits),
        Letter::Text => texts(&bytes, format.count, address, digits),
        _ => values(&bytes, format, address, digits),
    };
    let missing = lines.1.map(|at| format!("There is no memory at {at:#x}.\n"));
    Ok(lines.0 + &missing.unwrap_or_default())
}

/// Lines, and where memory ended before them.
type Lines = (String, Option<u64>);

fn instructions(bytes: &[u8], count: u64, address: u64, mode: u32, digits: usize) -> Lines {
    let mut lines = String::new();
    let mut at = 0;
    for _ in 0..count {
        let pc = address.wrapping_add(at as u64);
        if at >= bytes.len() {
            return (lines, Some(pc));
        }
        let code = &bytes[at..bytes.len().min(at + INSTRUCTION as usize)];
        let (text, len) = Guest::disassemble(code, pc, mode);
        let len = len.clamp(1, code.len());
        let hex: Vec<String> = code[..len].iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(lines, "{pc:0digits$x}:  {:<30}  {text}", hex.join(" "));
        at += len;
    }
    (lines, None)
}

fn texts(bytes: &[u8], count: u64, address: u64, digits: usize) -> Lines {
    let mut lines = String::new();
    let mut at = 0;
    for _ in 0..count {
        let from = address.wrapping_add(at as u64);
        let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else {
            return (lines, Some(from));
        };
        let end = rest.iter().take(TEXT as usize).position(|&byte| byte == 0);
        let text = &rest[..end.unwrap_or(rest.len().min(TEXT as usize))];
        let more = if end.is_none() { " ..." } else { "" };
        let _ = writeln!(lines, "{from:0digits$x}:  \"{}\"{more}", text.escape_ascii());
        at += text.len() + usize::from(end.is_some());
    }
    (lines, None)
}

fn values(bytes: &[u8], format: Format, address: u64, digits: usize) -> Lines {
    let size = if format.letter == Letter::Character { 1 } else { format.bytes as usize };
    let row = match format.letter {
        Letter::Character => 8,
        _ => 16 / size,
    };
    let mut lines = String::new();
    let whole = bytes.chunks_exact(size).take(format.count as usize);
    for (number, value) in whole.clone().enumerate() {
        if number % row == 0 {
            let at = address.wrapping_add((number * size) as u64);
            let _ = write!(lines, "{}{at:0digits$x}:", if number == 0 { "" } else { "\n" });
        }
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(value);
        let value = u64::from_le_bytes(wide);
        let unused = 64 - 8 * size as u32;
        let _ = match format.letter {
            Letter::Hex => write!(lines, " {value:0width$x}", width = 2 * size),
            Letter::Signed => {
                let signed = (value << unused) as i64 >> unused;
                write!(lines, " {signed:>width$}", width = [4, 6, 11, 20][size.ilog2() as usize])
            }
            Letter::Unsigned => {
                write!(lines, " {value:>width$}", width = [3, 5, 10, 20][size.ilog2() as usize])
            }
            Letter::Octal => {
                write!(lines, " {value:0>width$o}", width = (8 * size).div_ceil(3))
            }
            _ => write!(lines, " {value:3} {:<6}", format!("'{}'", (value as u8).escape_ascii())),
        };
    }
    let shown = whole.len();
    if shown > 0 {
        lines.push('\n');
    }
    let missing = (shown as u64) < format.count;
    (lines, missing.then(|| address.wrapping_add((shown * size) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], format: &str, address: u64) -> String {
        let (format, _) = parse(&format!("/{format} 0")).expect("a format");
        let (lines, missing) = values(bytes, format, address, 8);
        assert_eq!(missing, None);
        lines
    }

    #[test]
    fn values_are_shown_in_their_formats() {
        let bytes: Vec<u8> = (0xf8..=0xff).chain(0..=0x20).collect();
        assert_eq!(shown(&bytes, "3xh", 0x7c00), "00007c00: f9f8 fbfa fdfc\n");
        assert_eq!(shown(&bytes, "2ob", 0), "00000000: 370 371\n");
        assert_eq!(shown(b"a\n", "2c", 16), "00000010:  97 'a'     10 '\\n'  \n");
        let two = shown(&bytes, "3xg", 0xfff8);
        assert_eq!(two.lines().count(), 2, "{two}");
        assert!(two.lines().nth(1).is_some_and(|line| line.starts_with("00010008:")), "{two}");
    }

    #[test]
    fn memory_that_ends_is_told() {
        let (format, _) = parse("/4xw 0").expect("a format");
        let (lines, missing) = values(&[1, 0, 0, 0, 2, 0], format, 0x1000, 8);
        assert_eq!((lines.as_str(), missing), ("00001000: 00000001\n", Some(0x1004)));
        assert_eq!(
            texts(b"ab\0c", 3, 0, 8),
            ("00000000:  \"ab\"\n00000003:  \"c\" ...\n".into(), Some(4))
        );
    }

    #[test]
    fn code_is_disassembled_in_the_vcpus_mode() {
        // inc eax; nop, or a REX prefix before the nop.
        let (narrow, missing) = instructions(&[0x40, 0x90], 2, 0x10, mynah_x86::mode::CODE32, 8);
        assert_eq!((narrow.lines().count(), missing), (2, None), "{narrow}");
        let (wide, missing) = instructions(&[0x40, 0x90], 2, 0x10, mynah_x86::mode::CODE64, 16);
        assert_eq!((wide.lines().count(), missing), (1, Some(0x12)), "{wide}");
    }
}
