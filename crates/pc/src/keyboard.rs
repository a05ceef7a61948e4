//! What a terminal sends, as keys of the machine's keyboard.
//!
//! A terminal sends characters, and sequences that begin with ESC for other keys (ECMA-48, and
//! xterm's "ctlseqs").

use mynah_bus::Ram;
use mynah_devices::i8042::{I8042, Stroke, key_by_name};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// ESC.
const ESC: u8 = 0x1b;
/// The left Alt, Shift and Control keys.
const ALT: u16 = 0x38;

/// How long a key waits for a guest that has switched its keyboard off.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long keys wait for a program that asks its BIOS for none, before another system is taken to
/// have the keyboard: longer than a slow program works on a line.
const FIRMWARE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a BIOS has to make keys of the characters that it has read.
const UNDERWAY: Duration = Duration::from_millis(500);
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

/// The keys that a BIOS has read and programs have not: a ring in the BIOS's data area, whose head,
/// tail, begin and end are offsets in segment 40h. What does not fit is lost.
pub(crate) struct FirmwareKeys {
    ram: Ram,
    /// Head and tail when the ring was first seen full, and when that was.
    full: Option<([u8; 4], Instant)>,
    /// The tail when the last characters were given to the serial port, and when that was.
    given: Option<(u16, Instant)>,
}

impl FirmwareKeys {
    const POINTERS: u64 = 0x41a;
    const BOUNDS: u64 = 0x480;

    /// Of a machine with a BIOS and this memory.
    pub(crate) fn new(ram: Ram) -> FirmwareKeys {
        FirmwareKeys { ram, full: None, given: None }
    }

    fn words(&self, pa: u64) -> Option<([u8; 4], [u16; 2])> {
        let mut bytes = [0; 4];
        self.ram.read(pa, &mut bytes).ok()?;
        let [a, b, c, d] = bytes;
        Some((bytes, [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]))
    }

    /// The pointers, and how many more keys fit; nothing if the ring is none.
    fn free(&self) -> Option<([u8; 4], usize)> {
        let (_, [begin, end]) = self.words(FirmwareKeys::BOUNDS)?;
        let (pointers, [head, tail]) = self.words(FirmwareKeys::POINTERS)?;
        let size = end.checked_sub(begin).filter(|size| (8..=512).contains(size))?;
        let inside = |at: u16| (begin..end).contains(&at) && (at - begin).is_multiple_of(2);
        let used = (tail + size).wrapping_sub(head) % size;
        // A ring that is full leaves one place free.
        (inside(head) && inside(tail)).then_some((pointers, usize::from((size - used) / 2 - 1)))
    }

    /// How many of `count` characters the serial port, where `unread` wait to be read, may have now.
    /// A BIOS reads all that are there, and makes keys of them a little later. So there are never
    /// more than half of those that find room, and no others before one of them has become a key, or
    /// cannot be expected to.
    pub(crate) fn portion(&mut self, count: usize, unread: usize, now: Instant) -> usize {
        let room = self.room(now);
        let Some((_, [_, tail])) = self.words(FirmwareKeys::POINTERS) else { return count };
        if room == usize::MAX {
            return count;
        }
        let waits = self.given.is_some_and(|(then, at)| then == tail && now - at < UNDERWAY);
        if unread > 0 || waits {
            return 0;
        }
        let portion = count.min(room.div_ceil(2));
        if portion > 0 {
            self.given = Some((tail, now));
        }
        portion
    }

    /// How many keys that are typed now surely find room. A ring that stays full for long is
    /// nobody's: another system has taken over from the BIOS.
    pub(crate) fn room(&mut self, now: Instant) -> usize {
        match (self.free(), self.full) {
            (None, _) => usize::MAX,
            // One may be on its way.
            (Some((_, free @ 2..)), _) => {
                self.full = None;
                free - 1
            }
            (Some((pointers, _)), Some((known, since))) if known == pointers => {
                if now - since > FIRMWARE_PATIENCE { usize::MAX } else { 0 }
            }
            (Some((pointers, _)), _) => {
                self.full = Some((pointers, now));
                0
            }
        }
    }
}

/// Types what a terminal sends, as the guest takes it.
pub(crate) struct Typist {
    keyboard: Arc<Mutex<I8042>>,
    firmware: Option<FirmwareKeys>,
    keys: Keys,
    /// What is left of the bytes that are being typed: keys, and changes of the first.
    typed: Option<VecDeque<VecDeque<(u16, bool)>>>,
    /// When the last key was typed, and when the next one was first tried.
    last: Option<Instant>,
    tried: Option<Instant>,
}

impl Typist {
    /// Somebody at this keyboard of a machine, perhaps with a BIOS.
    pub(crate) fn new(keyboard: Arc<Mutex<I8042>>, firmware: Option<FirmwareKeys>) -> Typist {
        Typist { keyboard, firmware, keys: Keys::default(), typed: None, last: None, tried: None }
    }

    /// Types `bytes`, or goes on with them: all of them, or 0 if there is more to be typed than there
    /// is room for at the moment.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        let keys = &mut self.keys;
        let read = || keys.read(bytes).into_iter().map(VecDeque::from).collect();
        let mut typed = self.typed.take().unwrap_or_else(read);
        while let Some(key) = typed.front_mut() {
            if !self.types(key, Instant::now()) {
                self.typed = Some(typed);
                return 0;
            }
            typed.pop_front();
            self.tried = None;
        }
        bytes.len()
    }

    /// Types a key; whether it is done with it.
    fn types(&mut self, key: &mut VecDeque<(u16, bool)>, now: Instant) -> bool {
        let tried = *self.tried.get_or_insert(now);
        let mut keyboard = self.keyboard.lock();
        if !keyboard.takes_keys() {
            return now - tried > PATIENCE;
        }
        let waited = self.last.map_or(Duration::MAX, |last| now - last);
        let room = self.firmware.as_mut().map_or(usize::MAX, |firmware| firmware.room(now));
        if waited < PAUSE || !keyboard.is_quiet() || room == 0 {
            return false;
        }
        while let Some(&(code, is_down)) = key.front() {
            if !keyboard.key(code, is_down) {
                return false;
            }
            key.pop_front();
        }
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mynah_bus::{Device as _, IrqLine};
    use mynah_devices::system_control::{Control, Reset};

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

    /// Nothing else hangs at the keyboard.
    struct Alone;

    impl Control for Alone {
        fn reset(&self, _: Reset) {}
        fn power_off(&self) {}
        fn a20(&self, _: bool) {}
        fn exit(&self, _: u8) {}
    }

    /// A guest's keyboard.
    fn keyboard() -> Arc<Mutex<I8042>> {
        let line = IrqLine::nowhere;
        Arc::new(Mutex::new(I8042::new(line(), line(), Arc::new(Alone))))
    }

    /// What a guest reads.
    fn codes(keyboard: &Mutex<I8042>) -> Vec<u8> {
        let mut keyboard = keyboard.lock();
        let mut codes = Vec::new();
        while keyboard.read(I8042::COMMAND, 1) & 1 != 0 {
            codes.push(keyboard.read(0, 1) as u8);
        }
        codes
    }

    #[test]
    fn keys_wait_until_the_guest_has_read_the_one_before() {
        let keyboard = keyboard();
        let mut typist = Typist::new(keyboard.clone(), None);
        let text = b"a long line, much longer than any buffer";
        assert_eq!(typist.take(text), 0);
        std::thread::sleep(2 * PAUSE);
        assert_eq!(typist.take(text), 0, "nothing was read");
        let mut pressed = 0;
        let begun = Instant::now();
        loop {
            let done = typist.take(text) == text.len();
            let codes = codes(&keyboard);
            assert!(codes.len() <= 2, "one key at a time: {codes:x?}");
            pressed += codes.iter().filter(|code| **code < 0x80).count();
            if done {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(pressed, text.len());
        // What follows is typed as well.
        std::thread::sleep(2 * PAUSE);
        assert_eq!((typist.take(b"b"), codes(&keyboard)), (1, vec![0x30, 0xb0]));
    }

    #[test]
    fn a_keyboard_that_is_off_loses_keys_after_a_while() {
        let keyboard = keyboard();
        keyboard.lock().write(0, 1, 0xf5);
        codes(&keyboard);
        let mut typist = Typist::new(keyboard.clone(), None);
        assert_eq!(typist.take(b"a"), 0);
        std::thread::sleep(PATIENCE + PAUSE);
        assert_eq!((typist.take(b"a"), codes(&keyboard)), (1, vec![]));
    }

    /// Writes two words of the BIOS's data.
    fn put(ram: &Ram, pa: u64, words: [u16; 2]) {
        let bytes = words.map(u16::to_le_bytes).concat();
        ram.write(pa, &bytes).expect("it is memory");
    }

    #[test]
    fn keys_wait_for_room_in_the_firmware() {
        let ram = Ram::flat(1 << 20).expect("memory");
        let mut firmware = FirmwareKeys::new(ram.clone());
        let now = Instant::now();
        assert_eq!(firmware.room(now), usize::MAX, "there is no ring");
        let set = |pa, words| put(&ram, pa, words);
        set(FirmwareKeys::BOUNDS, [0x1e, 0x3e]);
        for (head, tail, room) in
            [(0x1e, 0x1e, 14), (0x3c, 0x3c, 14), (0x1e, 0x38, 1), (0x20, 0x1e, 0), (0x30, 0x2c, 0)]
        {
            set(FirmwareKeys::POINTERS, [head, tail]);
            assert_eq!(firmware.room(now), room, "{head:x} {tail:x}");
        }
        assert_eq!(firmware.room(now + 2 * FIRMWARE_PATIENCE), usize::MAX, "nobody takes them");
        set(FirmwareKeys::POINTERS, [0x32, 0x2e]);
        assert_eq!(firmware.room(now + 2 * FIRMWARE_PATIENCE), 0);
        set(FirmwareKeys::POINTERS, [0x33, 0x1000]);
        assert_eq!(firmware.room(now), usize::MAX, "not within the ring");
    }

    #[test]
    fn characters_wait_until_those_before_are_keys() {
        let ram = Ram::flat(1 << 20).expect("memory");
        let mut firmware = FirmwareKeys::new(ram.clone());
        let now = Instant::now();
        let set = |pa, words| put(&ram, pa, words);
        assert_eq!(firmware.portion(40, 0, now), 40, "there is no ring");
        set(FirmwareKeys::BOUNDS, [0x1e, 0x3e]);
        set(FirmwareKeys::POINTERS, [0x1e, 0x1e]);
        assert_eq!(firmware.portion(40, 3, now), 0, "some are unread");
        assert_eq!(firmware.portion(40, 0, now), 7);
        // They have been read, and are on their way.
        assert_eq!(firmware.portion(33, 0, now), 0);
        set(FirmwareKeys::POINTERS, [0x1e, 0x20]);
        assert_eq!(firmware.portion(33, 0, now), 7);
        // All of the first portion have arrived: the ring has room for the second.
        set(FirmwareKeys::POINTERS, [0x1e, 0x2c]);
        assert_eq!(firmware.portion(26, 0, now), 4);
        assert_eq!(firmware.portion(22, 0, now), 0);
        // Nothing became of them.
        assert_eq!(firmware.portion(22, 0, now + UNDERWAY), 4);
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
