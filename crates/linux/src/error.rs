//! Why a program could not be started.

use crate::Errno;
use std::path::PathBuf;

/// Why a program could not be started. Displays as one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// The program's file.
    pub path: PathBuf,
    /// What execve(2) would have failed with: ENOENT is status 127 to a shell, all else 126.
    pub errno: Errno,
    /// The reason.
    pub text: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.text)
    }
}

impl std::error::Error for Error {}
