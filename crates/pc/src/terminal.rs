//! The host terminal's settings.
#![expect(unsafe_code, reason = "termios is the C library's")]

/// Settings to be put back.
pub(crate) struct Saved(libc::termios);

impl Saved {
    /// Makes the terminal on standard input hand on every key as it is; none if there is no
    /// terminal.
    pub(crate) fn raw() -> Option<Saved> {
        // SAFETY: the structure is plain data that tcgetattr fills.
        unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(0, &raw mut settings) != 0 {
                return None;
            }
            let saved = Saved(settings);
            libc::cfmakeraw(&raw mut settings);
            // Output is the guest's, lines and all; what we print ends lines ourselves.
            settings.c_oflag = saved.0.c_oflag;
            libc::tcsetattr(0, libc::TCSADRAIN, &raw const settings);
            Some(saved)
        }
    }

    /// Puts the settings back.
    pub(crate) fn restore(&self) {
        // SAFETY: the settings are those that tcgetattr gave.
        unsafe {
            libc::tcsetattr(0, libc::TCSADRAIN, &raw const self.0);
        }
    }
}
