//! Opening images.

use crate::lock::{Lock, lock};
use crate::qcow2::Qcow2;
use crate::{Access, Disk, Error, Overlay, Raw, SECTOR};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::warn;

/// How an image keeps its sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One after the other.
    Raw,
    /// QEMU's format, version 2 or 3: it grows as it is written, and may have a backing file.
    Qcow2,
}

impl Format {
    /// The format of this name, if it is one.
    pub fn from_name(name: &str) -> Option<Format> {
        match name {
            "raw" => Some(Format::Raw),
            "qcow2" => Some(Format::Qcow2),
            _ => None,
        }
    }
}

/// What to open, and how.
#[derive(Clone, Debug)]
pub struct Options {
    path: PathBuf,
    format: Option<Format>,
    read_only: bool,
    scratch: Option<PathBuf>,
    id: String,
}

/// An open image.
pub struct Opened {
    /// The disk in it.
    pub disk: Box<dyn Disk>,
    /// What the user should know: one line each.
    pub notes: Vec<String>,
}

impl Options {
    /// The image at `path`, for reading and writing.
    pub fn new(path: impl Into<PathBuf>) -> Options {
        Options {
            path: path.into(),
            format: None,
            read_only: false,
            scratch: None,
            id: String::new(),
        }
    }

    /// The image's format. Without it, an image that does not look like anything else is taken for
    /// raw, and guests may not make it look like something else.
    pub fn format(self, format: Option<Format>) -> Options {
        Options { format, ..self }
    }

    /// Whether the guest may not write.
    pub fn read_only(self, read_only: bool) -> Options {
        Options { read_only, ..self }
    }

    /// Leaves the image as it is: what the guest writes goes to a file in the folder `scratch`,
    /// which is gone when the disk is closed.
    pub fn snapshot(self, scratch: impl Into<PathBuf>) -> Options {
        Options { scratch: Some(scratch.into()), ..self }
    }

    /// The serial number that the guest sees; only its first 20 characters, which are ASCII, count.
    pub fn id(self, id: &str) -> Options {
        let id = id.chars().filter(|c| c.is_ascii_graphic()).take(20).collect();
        Options { id, ..self }
    }

    /// Opens the image. One that may not be written becomes read-only, with a note of it.
    pub fn open(self) -> Result<Opened, Error> {
        let Options { path, format, read_only, scratch, id } = self;
        let mut notes = Vec::new();
        let wanted = if read_only || scratch.is_some() { Access::Read } else { Access::Write };
        let (file, access) = match open_file(&path, wanted) {
            Ok(file) => (file, wanted),
            Err(error) if wanted == Access::Write && may_only_read(&error) => {
                let file = open_file(&path, Access::Read);
                let file = file.map_err(|error| unreadable(&path, &error))?;
                let why = if error.kind() == io::ErrorKind::PermissionDenied {
                    "its permissions do not allow writing"
                } else {
                    "its file system is read-only"
                };
                notes.push(format!("disk image {}: read-only, as {why}", path.display()));
                (file, Access::Read)
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let len = length(&file, &path)?;
        acquire(&file, &path, access)?;
        let probed = probe_file(&file).map_err(|error| unreadable(&path, &error))?;
        let disk: Box<dyn Disk> = match (format, probed) {
            (Some(Format::Raw), _) => Box::new(Raw::new(file, len, access, id)),
            (None, Probe::Unknown) => Box::new(Raw::new(file, len, access, id).guessed()),
            (Some(Format::Qcow2), Probe::Qcow2) | (None, Probe::Qcow2) => {
                Box::new(Qcow2::new(file, &path, access, id)?)
            }
            (Some(Format::Qcow2), _) => {
                return Err(Error::new(&path, "it is not a qcow2 image")
                    .remedy("leave the format out, or say raw"));
            }
            (None, Probe::Other(name)) => {
                return Err(Error::new(&path, format_args!("it is a {name} image"))
                    .remedy("qemu-img convert -O qcow2 makes one that can be used"));
            }
        };
        if disk.sectors() == 0 {
            return Err(Error::new(&path, "it has no sectors")
                .remedy("qemu-img create -f qcow2 FILE SIZE makes a disk"));
        }
        let disk = match scratch {
            Some(folder) => {
                let sectors = disk.sectors();
                let file = scratch_file(&folder).map_err(|error| {
                    Error::new(&folder, format_args!("a snapshot cannot be kept there: {error}"))
                })?;
                let len = sectors * SECTOR as u64;
                let scratch = Raw::new(file, len, Access::Write, String::new());
                Box::new(Overlay::new(disk, scratch))
            }
            None => disk,
        };
        Ok(Opened { disk, notes })
    }
}

/// Opens and locks a file.
pub(crate) fn file(path: &Path, access: Access) -> Result<File, Error> {
    let file = open_file(path, access).map_err(|error| unreadable(path, &error))?;
    length(&file, path)?;
    acquire(&file, path, access)?;
    Ok(file)
}

fn open_file(path: &Path, access: Access) -> io::Result<File> {
    OpenOptions::new().read(true).write(access == Access::Write).open(path)
}

fn may_only_read(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(path, "there is no such file")
            .remedy("qemu-img create -f qcow2 FILE SIZE makes a disk"),
        io::ErrorKind::IsADirectory => Error::new(path, "it is a folder"),
        io::ErrorKind::PermissionDenied => {
            Error::new(path, "it may not be read").remedy("its owner can allow that with chmod")
        }
        _ => Error::new(path, error),
    }
}

fn length(file: &File, path: &Path) -> Result<u64, Error> {
    let meta = file.metadata().map_err(|error| unreadable(path, &error))?;
    if meta.is_file() {
        return Ok(meta.len());
    }
    if meta.file_type().is_block_device() {
        use std::io::{Seek, SeekFrom};
        let mut file = file;
        return file.seek(SeekFrom::End(0)).map_err(|error| unreadable(path, &error));
    }
    let what = if meta.is_dir() { "it is a folder" } else { "it is neither a file nor a disk" };
    Err(Error::new(path, what))
}

fn acquire(file: &File, path: &Path, access: Access) -> Result<(), Error> {
    match lock(file, access) {
        Ok(Lock::Held) => Ok(()),
        Ok(Lock::Unsupported) => {
            warn!("{}: its file system has no locks; do not open it twice", path.display());
            Ok(())
        }
        Ok(Lock::Taken) => {
            let what = match access {
                Access::Read => "another machine writes it",
                Access::Write => "another machine uses it",
            };
            Err(Error::new(path, what).remedy("stop that one, or open both as snapshots"))
        }
        Err(error) => Err(Error::new(path, format_args!("it cannot be locked: {error}"))),
    }
}

/// An empty file without a name in `folder`.
fn scratch_file(folder: &Path) -> io::Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".mynah-snapshot-{}-{count}", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// What the first bytes of an image look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Probe {
    Qcow2,
    /// A format of this name, which cannot be used.
    Other(&'static str),
    /// None that is known: raw.
    Unknown,
}

pub(crate) fn probe(start: &[u8]) -> Probe {
    let at = |offset: usize, magic: &[u8]| {
        start.get(offset..).is_some_and(|rest| rest.starts_with(magic))
    };
    if at(0, b"QFI\xfb") {
        return match start.get(4..8) {
            Some([0, 0, 0, 2 | 3]) => Probe::Qcow2,
            _ => Probe::Other("qcow"),
        };
    }
    let others: [(usize, &[u8], &str); 9] = [
        (0, b"QED\0", "QED"),
        (0, b"KDMV", "VMDK"),
        (0, b"COWD", "VMDK"),
        (0, b"# Disk DescriptorFile", "VMDK"),
        (0, b"conectix", "VHD"),
        (0, b"vhdxfile", "VHDX"),
        (0x40, &[0x7f, 0x10, 0xda, 0xbe], "VDI"),
        (0, b"WithoutFreeSpace", "Parallels"),
        (0, b"LUKS\xba\xbe", "LUKS"),
    ];
    let found = others.iter().find(|(offset, magic, _)| at(*offset, magic));
    found.map_or(Probe::Unknown, |(_, _, name)| Probe::Other(name))
}

/// What the image in `file` looks like.
pub(crate) fn probe_file(file: &File) -> io::Result<Probe> {
    let mut start = [0; SECTOR];
    let mut len = 0;
    while len < start.len() {
        match file.read_at(&mut start[len..], len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(probe(&start[..len]))
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
