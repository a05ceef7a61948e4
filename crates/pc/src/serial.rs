//! Where the output of the serial port, or of the virtio console, goes.

use crate::BootError;
use crate::console;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

/// Where the serial port, or the virtio console, leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Serial {
    /// To standard output; what is typed comes from there, unless the display has the keyboard.
    Stdio,
    /// Nowhere.
    None,
    /// Into this file, which is made anew.
    File(PathBuf),
}

/// What takes a device's bytes.
type Sink = Box<dyn FnMut(&[u8]) + Send>;

impl Serial {
    pub(crate) fn sink(&self) -> Result<Sink, BootError> {
        Ok(match self {
            Serial::Stdio => Box::new(console::show),
            Serial::None => Box::new(|_| {}),
            Serial::File(path) => {
                let file = File::create(path).map_err(|e| BootError::of(path, e.to_string()))?;
                // What cannot be written is lost; the machine goes on.
                Box::new(move |bytes| drop((&file).write_all(bytes)))
            }
        })
    }
}
