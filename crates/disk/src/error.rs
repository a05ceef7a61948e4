//! Why an image could not be opened.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why an image could not be opened: what, where, and what to do.
#[derive(Debug)]
pub struct Error {
    path: PathBuf,
    what: String,
    /// What the user may do; empty if there is nothing to say.
    remedy: String,
}

impl Error {
    pub(crate) fn new(path: &Path, what: impl fmt::Display) -> Error {
        Error { path: path.to_owned(), what: what.to_string(), remedy: String::new() }
    }

    pub(crate) fn remedy(self, remedy: impl fmt::Display) -> Error {
        Error { remedy: remedy.to_string(), ..self }
    }

    /// The file it is about.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk image {}: {}", self.path.display(), self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
