//! What a terminal sends, as keys of the machine's keyboard.
//!
//! A terminal sends characters, and sequences that begin with ESC for other keys (ECMA-48, and
//! xterm's "ctlseqs").

use mynah_devices::i8042::{I8042, Stroke, key_by_name};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// ESC.
const ESC: u8 = 0x1b;
/// The left Alt, Shift and Control keys.
const ALT: u16 = 0x38;

/// How long a key waits for a guest that does not read its keyboard.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two keys that come at once, so that slow guests keep up.
const PAUSE: Duration = Duration::from_millis(8);

/// How keys change, in order: each key's code, as [`I8042::key`] has it, and whether it goes down.
type Changes = Vec<(u16, bool)>;

/// Modifiers of a key in a sequence: what is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Held {
    shift: bool,
    alt: bool,
    control: bool,
}

impl Held {
    /// The parameter of a sequence: one more than a number with a bit for each.
    fn of(parameter: u32) -> Held {
        let bits = parameter.saturating_sub(1);
        Held { shift: bits & 1 != 0, alt: bits & 2 != 0, control: bits & 4 != 0 }
    }

    /// The changes of keys by which key `code` is typed.
    fn type_key(self, code: u16) -> Changes {
        let stroke = Stroke { code, shift: self.shift, control: self.control };
        self.around(stroke.changes())
    }

    /// The same with Alt held, if it is.
    fn around(self, changes: Changes) -> Changes {
        if !self.alt {
            return changes;
        }
        [(ALT, true)].into_iter().chain(changes).chain([(ALT, false)]).collect()
    }
}

/// Reads what a terminal sends.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The beginning of a sequence.
    begun: Vec<u8>,
}

/// Longest sequence.
const LONGEST: usize = 16;

impl Keys {
    /// The changes of keys for `bytes`, a list for each key that is typed. An ESC at the end is the
    /// key of that name.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Changes> {
        let mut input = std::mem::take(&mut self.begun);
        input.extend_from_slice(bytes);
        let mut typed = Vec::new();
        let mut rest = &input[..];
        while let Some((&first, after)) = rest.split_first() {
            rest = match (first, after.first()) {
                (ESC, Some(b'[' | b'O')) => match sequence(after) {
                    Some((changes, len)) => {
                        typed.extend(changes);
                        &after[len..]
                    }
                    None if rest.len() < LONGEST => {
                        self.begun = rest.to_vec();
                        break;
                    }
                    None => after,
                },
                (ESC, Some(&byte)) if byte != ESC => {
                    let held = Held { alt: true, ..Held::default() };
                    typed.extend(Stroke::of(byte.into()).map(|s| held.around(s.changes())));
                    &after[1..]
                }
                _ => {
                    // Other characters than ASCII's have no key.
                    typed.extend(Stroke::of(first.into()).map(Stroke::changes));
                    after
                }
            };
        }
        typed
    }
}

/// The key of the sequence that follows an ESC, if it has one, and the sequence's bytes; none if its
/// end is missing.
fn sequence(bytes: &[u8]) -> Option<(Option<Changes>, usize)> {
    // Linux's own terminal sends ESC [ [ A to E for F1 to F5.
    let is_linux = bytes.starts_with(b"[[");
    let start = if is_linux { 2 } else { 1 };
    let end = start + bytes[start..].iter().position(|byte| (0x40..0x7f).contains(byte))?;
    let text = std::str::from_utf8(&bytes[start..end]).unwrap_or_default();
    let mut parameters = text.split(';').map(|number| number.parse::<u32>().unwrap_or(1));
    let number = parameters.next().unwrap_or(1);
    let held = Held::of(parameters.next().unwrap_or(1));
    let function = |n: u8| format!("f{n}");
    let name = match (bytes[end], number) {
        (last @ b'A'..=b'E', _) if is_linux => function(last - b'A' + 1),
        (b'A', _) => "up".to_owned(),
        (b'B', _) => "down".to_owned(),
        (b'C', _) => "right".to_owned(),
        (b'D', _) => "left".to_owned(),
        (b'H', _) | (b'~', 1 | 7) => "home".to_owned(),
        (b'F', _) | (b'~', 4 | 8) => "end".to_owned(),
        (last @ b'P'..=b'S', _) => function(last - b'P' + 1),
        (b'Z', _) => "tab".to_owned(),
        (b'~', 2) => "insert".to_owned(),
        (b'~', 3) => "delete".to_owned(),
        (b'~', 5) => "pgup".to_owned(),
        (b'~', 6) => "pgdn".to_owned(),
        (b'~', n @ 11..=15) => function(n as u8 - 10),
        (b'~', n @ 17..=21) => function(n as u8 - 11),
        (b'~', n @ 23..=24) => function(n as u8 - 12),
        _ => return Some((None, end + 1)),
    };
    let held = if bytes[end] == b'Z' { Held { shift: true, ..held } } else { held };
    Some((key_by_name(&name).map(|code| held.type_key(code)), end + 1))
}

/// What types what a terminal sends.
pub(crate) type Typist = Box<dyn FnMut(&[u8]) + Send>;

/// The typist at a keyboard. Keys that the guest does not take are lost.
pub(crate) fn typist(keyboard: Arc<Mutex<I8042>>) -> impl FnMut(&[u8]) + Send {
    let mut keys = Keys::default();
    move |bytes| {
        for (n, changes) in keys.read(bytes).into_iter().enumerate() {
            if n != 0 {
                std::thread::sleep(PAUSE);
            }
            for (code, is_down) in changes {
                let begun = Instant::now();
                while !keyboard.lock().key(code, is_down) && begun.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that go down for these bytes.
    fn pressed(bytes: &[u8]) -> Vec<u16> {
        let all = Keys::default().read(bytes).concat();
        all.iter().filter(|(_, is_down)| *is_down).map(|(code, _)| *code).collect()
    }

    #[test]
    fn characters_and_sequences_are_keys() {
        let rows: &[(&[u8], &[u16])] = &[
            (b"a", &[0x1e]),
            (b"A", &[0x2a, 0x1e]),
            (b"\r", &[0x1c]),
            (b"\x03", &[0x1d, 0x2e]),
            (b"\x1b", &[0x01]),
            (b"\x1b\x1b", &[0x01, 0x01]),
            (b"\x1ba", &[0x38, 0x1e]),
            (b"\x1b[A", &[0xe048]),
            (b"\x1bOB", &[0xe050]),
            (b"\x1b[1;5C", &[0x1d, 0xe04d]),
            (b"\x1b[3~", &[0xe053]),
            (b"\x1b[15~", &[0x3f]),
            (b"\x1b[24~", &[0x58]),
            (b"\x1bOP", &[0x3b]),
            (b"\x1b[[B", &[0x3c]),
            (b"\x1b[Z", &[0x2a, 0x0f]),
            (b"x\x1b[Dy", &[0x2d, 0xe04b, 0x15]),
            // What has no key is skipped.
            (b"\x1b[99~z", &[0x2c]),
            ("äb".as_bytes(), &[0x30]),
        ];
        for (bytes, codes) in rows {
            assert_eq!(pressed(bytes), *codes, "{bytes:x?}");
        }
    }

    #[test]
    fn a_sequence_may_come_in_two_parts() {
        let mut keys = Keys::default();
        assert!(keys.read(b"\x1b[1;").is_empty());
        assert_eq!(keys.read(b"2A").concat()[..2], [(0x2a, true), (0xe048, true)]);
        assert!(keys.begun.is_empty());
        // What never ends is given up.
        for _ in 0..100 {
            keys.read(b"\x1b[1111111111");
            assert!(keys.begun.len() <= 2 * LONGEST, "{:?}", keys.begun);
        }
    }
}
