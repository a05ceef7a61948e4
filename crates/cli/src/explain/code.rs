//! Where the code to explain comes from.

use mynah_loader::{Elf, Machine};
use std::path::Path;

/// Guest code and where it would be in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) machine: Machine,
    pub(super) pc: u64,
    pub(super) bytes: Vec<u8>,
    /// What it is called in its file.
    pub(super) name: Option<String>,
}

/// The bytes that hexadecimal digits spell, in pairs, with or without spaces.
pub(super) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|c| !c.is_ascii_whitespace() && *c != b',')
        .map(|c| {
            let digit = char::from(c).to_digit(16);
            digit.map(|d| d as u8).ok_or_else(|| format!("{:?} is no hexadecimal digit", c as char))
        })
        .collect::<Result<_, _>>()?;
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return Err("--hex takes bytes of two hexadecimal digits each".to_owned());
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// A number as people write addresses: hexadecimal after `0x`, else decimal.
pub(super) fn address(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no address: write 0x401000, say"))
}

/// Which place of a file is meant.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Where the program starts.
    Entry,
    /// A symbol.
    Symbol(String),
    /// A virtual address.
    Address(u64),
}

/// The code at `place` in `file`: to the end of the function, if the file says where that is, else
/// of the segment.
pub(super) fn in_file(file: &Path, place: &Place) -> Result<Code, String> {
    let shown = file.display();
    let data = std::fs::read(file).map_err(|e| format!("{shown}: {e}"))?;
    let elf = Elf::parse(&*data).map_err(|e| format!("{shown}: {e}"))?;
    let (pc, size, name) = match place {
        Place::Entry => (elf.entry, 0, Some("the program's entry".to_owned())),
        Place::Address(pc) => (*pc, 0, None),
        Place::Symbol(name) => {
            let symbols = mynah_loader::functions(&data);
            let found = symbols.iter().find(|s| s.name == *name).ok_or_else(|| {
                let close = symbols.iter().find(|s| s.name.contains(name.as_str()));
                let hint = match (close, symbols.len()) {
                    (Some(close), _) => format!("; it has `{}`", close.name),
                    (None, 0) => "; it names no functions at all: try --address".to_owned(),
                    (None, n) => format!("; it names {n} functions"),
                };
                format!("{shown}: no function `{name}`{hint}")
            })?;
            (found.va, found.size, Some(found.name.clone()))
        }
    };
    let segment = elf
        .segments
        .iter()
        .find(|s| s.execute && (s.va.start..s.va.start + (s.file.end - s.file.start)).contains(&pc))
        .ok_or_else(|| format!("{shown}: no code at {pc:#x}"))?;
    let start = segment.file.start + (pc - segment.va.start);
    let end = if size == 0 { segment.file.end } else { segment.file.end.min(start + size) };
    let bytes = data
        .get(start as usize..end as usize)
        .ok_or_else(|| format!("{shown}: the file ends before {pc:#x}"))?;
    Ok(Code { machine: elf.machine, pc, bytes: bytes.to_vec(), name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_bytes() {
        assert_eq!(hex("48 01 d8"), Ok(vec![0x48, 0x01, 0xd8]));
        assert_eq!(hex("4801d8c3"), Ok(vec![0x48, 0x01, 0xd8, 0xc3]));
        assert!(hex("480").is_err() && hex("").is_err() && hex("zz").is_err());
    }

    #[test]
    fn addresses() {
        assert_eq!((address("0x10"), address("10")), (Ok(16), Ok(10)));
        assert!(address("10h").is_err());
    }
}
