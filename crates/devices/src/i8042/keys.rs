//! Names of keys, and which keys type a character on a keyboard with the layout of the United States:
//! for terminals and monitors that drive a guest.

/// A key, in scan code set 1 as [`I8042::key`](super::I8042::key) takes it, and what is held with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stroke {
    /// The key.
    pub code: u16,
    /// Shift is held.
    pub shift: bool,
    /// Control is held.
    pub control: bool,
}

/// The left shift key.
const SHIFT: u16 = 0x2a;
/// The left control key.
const CONTROL: u16 = 0x1d;

impl Stroke {
    /// The keys that type `character`: one of ASCII, of which control characters are typed with
    /// Control, but for those that have a key.
    pub fn of(character: char) -> Option<Stroke> {
        let key = |code, shift| Some(Stroke { code, shift, control: false });
        match character {
            '\u{8}' | '\u{7f}' => return key(0x0e, false),
            '\t' => return key(0x0f, false),
            '\n' | '\r' => return key(0x1c, false),
            '\u{1b}' => return key(0x01, false),
            '\u{1}'..='\u{1f}' => {
                let letter = char::from(character as u8 + 0x40).to_ascii_lowercase();
                return Stroke::of(letter).map(|stroke| Stroke { control: true, ..stroke });
            }
            _ => {}
        }
        ROWS.iter().find_map(|(first, plain, shifted)| {
            let at = |row: &str| row.chars().position(|one| one == character);
            let (at, shift) = match (at(plain), at(shifted)) {
                (Some(at), _) => (at, false),
                (None, Some(at)) => (at, true),
                (None, None) => return None,
            };
            key(first + at as u16, shift)
        })
    }

    /// The changes of keys that this takes, in order: the key, and whether it goes down.
    pub fn changes(self) -> Vec<(u16, bool)> {
        let held = [(self.control, CONTROL), (self.shift, SHIFT)];
        let held: Vec<u16> = held.into_iter().filter(|(on, _)| *on).map(|(_, code)| code).collect();
        let press = held.iter().map(|code| (*code, true));
        let release = held.iter().rev().map(|code| (*code, false));
        press.chain([(self.code, true), (self.code, false)]).chain(release).collect()
    }
}

/// Keys side by side: the code of the first, and what they type without and with Shift.
const ROWS: [(u16, &str, &str); 5] = [
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (0x39, " ", " "),
];

/// Keys that have names, but for those named after their character.
const NAMES: &[(&str, u16)] = &[
    ("esc", 0x01),
    ("backspace", 0x0e),
    ("tab", 0x0f),
    ("ret", 0x1c),
    ("enter", 0x1c),
    ("ctrl", CONTROL),
    ("ctrl_l", CONTROL),
    ("ctrl_r", 0xe01d),
    ("shift", SHIFT),
    ("shift_l", SHIFT),
    ("shift_r", 0x36),
    ("alt", 0x38),
    ("alt_l", 0x38),
    ("alt_r", 0xe038),
    ("meta_l", 0xe05b),
    ("meta_r", 0xe05c),
    ("menu", 0xe05d),
    ("spc", 0x39),
    ("space", 0x39),
    ("caps_lock", 0x3a),
    ("num_lock", 0x45),
    ("scroll_lock", 0x46),
    ("f1", 0x3b),
    ("f2", 0x3c),
    ("f3", 0x3d),
    ("f4", 0x3e),
    ("f5", 0x3f),
    ("f6", 0x40),
    ("f7", 0x41),
    ("f8", 0x42),
    ("f9", 0x43),
    ("f10", 0x44),
    ("f11", 0x57),
    ("f12", 0x58),
    ("print", 0xe037),
    ("sysrq", 0x54),
    ("pause", 0xe11d),
    ("insert", 0xe052),
    ("delete", 0xe053),
    ("home", 0xe047),
    ("end", 0xe04f),
    ("pgup", 0xe049),
    ("pgdn", 0xe051),
    ("up", 0xe048),
    ("down", 0xe050),
    ("left", 0xe04b),
    ("right", 0xe04d),
    ("minus", 0x0c),
    ("equal", 0x0d),
    ("comma", 0x33),
    ("dot", 0x34),
    ("slash", 0x35),
];

/// The key of a name, such as `f1`, `ret`, `ctrl` or `a`; in scan code set 1.
pub fn key_by_name(name: &str) -> Option<u16> {
    let mut characters = name.chars();
    if let (Some(one), None) = (characters.next(), characters.next()) {
        return Stroke::of(one.to_ascii_lowercase())
            .filter(|s| !s.shift && !s.control)
            .map(|s| s.code);
    }
    NAMES.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_keys() {
        let rows = [
            ('a', (0x1e, false, false)),
            ('A', (0x1e, true, false)),
            ('0', (0x0b, false, false)),
            ('_', (0x0c, true, false)),
            ('~', (0x29, true, false)),
            ('\\', (0x2b, false, false)),
            ('/', (0x35, false, false)),
            (' ', (0x39, false, false)),
            ('\r', (0x1c, false, false)),
            ('\u{3}', (0x2e, false, true)),
            ('\u{1b}', (0x01, false, false)),
        ];
        for (character, (code, shift, control)) in rows {
            assert_eq!(
                Stroke::of(character),
                Some(Stroke { code, shift, control }),
                "{character:?}"
            );
        }
        assert!((' '..='~').all(|character| Stroke::of(character).is_some()));
        assert_eq!((Stroke::of('ü'), Stroke::of('\0')), (None, None));
    }

    #[test]
    fn strokes_hold_and_let_go() {
        let stroke = Stroke { code: 0x1e, shift: true, control: true };
        let expected =
            [(0x1d, true), (0x2a, true), (0x1e, true), (0x1e, false), (0x2a, false), (0x1d, false)];
        assert_eq!(stroke.changes(), expected);
    }

    #[test]
    fn keys_have_names() {
        let rows =
            [("ret", 0x1c), ("F12", 0x58), ("a", 0x1e), ("A", 0x1e), ("-", 0x0c), ("up", 0xe048)];
        for (name, code) in rows {
            assert_eq!(key_by_name(name), Some(code), "{name}");
        }
        assert_eq!(
            (key_by_name("nonsense"), key_by_name("!"), key_by_name("")),
            (None, None, None)
        );
    }
}
