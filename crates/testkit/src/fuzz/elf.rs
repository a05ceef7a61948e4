//! Hostile program files: reading one yields an error or a program that can be mapped, never a panic.

use super::{Target, Verdict, lines};
use crate::random::Rng;
use crate::rows;
use mynah_loader::Elf;

/// The reader of program files.
#[derive(Debug)]
pub struct ElfTarget {
    /// Files to damage.
    seeds: Vec<Vec<u8>>,
}

impl Default for ElfTarget {
    fn default() -> ElfTarget {
        let mut seeds = vec![minimal()];
        // The program that runs is a file with everything in it, and the host's loader another.
        for path in ["/proc/self/exe", "/bin/true"] {
            let file = std::fs::read(path).unwrap_or_default();
            seeds.extend((file.len() > 64).then(|| file[..file.len().min(1 << 16)].to_vec()));
        }
        ElfTarget { seeds }
    }
}

impl Target for ElfTarget {
    fn case(&mut self, rng: &mut Rng) -> Verdict {
        let seed = rng.below(self.seeds.len());
        let mut file = self.seeds[seed].clone();
        // The file header and the program headers, mostly.
        let near = file.len().min(if rng.chance(90) { 64 + 56 * 8 } else { usize::MAX });
        for _ in 0..rng.below(6) {
            let at = rng.below(near);
            match rng.below(3) {
                0 => file[at] ^= 1 << rng.below(8),
                1 => file[at] = rng.bits() as u8,
                _ => {
                    let at = at & !7;
                    let value = rng.edge().to_le_bytes();
                    let end = file.len().min(at + 8);
                    file[at..end].copy_from_slice(&value[..end - at]);
                }
            }
        }
        if rng.chance(10) {
            let len = rng.below(file.len() + 1);
            file.truncate(len);
        }
        Verdict::Passed { cases: 1, useful: u64::from(check(&file)) }
    }

    /// A case is what becomes of the least program file: `at=bytes` writes bytes at an offset,
    /// `len=n` cuts it there, both in hexadecimal. To fail is to panic.
    fn replay(&mut self, _: &str, text: &str) -> Result<usize, String> {
        let mut count = 0;
        for (number, line) in lines(text) {
            let mut file = minimal();
            for change in line.split_whitespace() {
                change_file(&mut file, change)
                    .ok_or_else(|| format!("line {number}: {change} is no change of the file"))?;
            }
            check(&file);
            count += 1;
        }
        Ok(count)
    }
}

fn change_file(file: &mut Vec<u8>, change: &str) -> Option<()> {
    let (at, value) = change.split_once('=')?;
    if at == "len" {
        file.truncate(usize::from_str_radix(value, 16).ok()?);
        return Some(());
    }
    let at = usize::from_str_radix(at, 16).ok()?;
    let bytes = rows::bytes(value).ok()?;
    file.get_mut(at..at + bytes.len())?.copy_from_slice(&bytes);
    Some(())
}

/// Reads the file; whether it is a program.
fn check(file: &[u8]) -> bool {
    let parsed = Elf::parse(file);
    match &parsed {
        Ok(elf) => {
            let span = elf.span();
            assert!(span.start <= span.end, "a program ends before it begins");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error says something"),
    }
    mynah_loader::functions(file);
    parsed.is_ok()
}

/// A program of one segment: the least that can be read.
fn minimal() -> Vec<u8> {
    let mut file = Vec::new();
    let half = |file: &mut Vec<u8>, v: u16| file.extend(v.to_le_bytes());
    let word = |file: &mut Vec<u8>, v: u32| file.extend(v.to_le_bytes());
    let wide = |file: &mut Vec<u8>, v: u64| file.extend(v.to_le_bytes());
    file.extend(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    half(&mut file, 2); // ET_EXEC
    half(&mut file, 62); // EM_X86_64
    word(&mut file, 1);
    wide(&mut file, 0x40_1000); // entry
    wide(&mut file, 64); // program headers
    wide(&mut file, 0);
    word(&mut file, 0);
    for v in [64, 56, 1, 64, 0, 0] {
        half(&mut file, v);
    }
    word(&mut file, 1); // PT_LOAD
    word(&mut file, 5); // readable, executable
    wide(&mut file, 0);
    wide(&mut file, 0x40_0000);
    wide(&mut file, 0x40_0000);
    wide(&mut file, 0x1100);
    wide(&mut file, 0x1100);
    wide(&mut file, 0x1000);
    file.resize(0x1100, 0x90);
    file
}
