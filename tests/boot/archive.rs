//! Initial RAM disks.

use std::fs;
use std::path::{Path, PathBuf};

/// An archive in the "new ASCII" format of cpio.
#[derive(Default)]
pub(crate) struct Archive(Vec<u8>);

impl Archive {
    /// The root of a system whose first process is the shell script `init`, with BusyBox and what
    /// it needs.
    pub(crate) fn system(busybox: &Path, init: &str) -> Archive {
        let mut archive = Archive::default();
        for folder in ["bin", "dev", "proc", "sys", "tmp"] {
            archive.add(folder, 0o040_755, &[], (0, 0));
        }
        let program = fs::read(busybox).unwrap_or_else(|e| panic!("{}: {e}", busybox.display()));
        archive.add("bin/busybox", 0o100_755, &program, (0, 0));
        archive.add("init", 0o100_755, init.as_bytes(), (0, 0));
        archive.add("dev/console", 0o020_600, &[], (5, 1));
        archive.add("dev/null", 0o020_666, &[], (1, 3));
        archive
    }

    pub(crate) fn add(&mut self, name: &str, mode: u32, data: &[u8], device: (u32, u32)) {
        let number = self.0.len() as u32;
        let mut header = String::from("070701");
        let name_len = name.len() as u32 + 1;
        let len = data.len() as u32;
        let fields = [number, mode, 0, 0, 1, 0, len, 0, 0, device.0, device.1, name_len, 0];
        for field in fields {
            header += &format!("{field:08X}");
        }
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self.pad();
        self.0.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Writes the archive to `path`; yields that.
    pub(crate) fn write(mut self, path: PathBuf) -> PathBuf {
        self.add("TRAILER!!!", 0, &[], (0, 0));
        fs::write(&path, &self.0).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }
}
