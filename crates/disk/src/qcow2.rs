//! qcow2 images and their backing files, through `imago`.

use crate::open::{self, Format, Probe};
use crate::{Access, Disk, Error, SECTOR, Unmap, bytes_of, check, extent, read_only};
use imago::file::File as Storage;
use imago::qcow2::Qcow2 as Image;
use imago::raw::Raw as RawImage;
use imago::{FormatAccess, StorageOpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Longer chains of backing files are taken for circles.
const DEPTH: u32 = 64;

/// Zeros are written in pieces of this many bytes.
const PIECE: usize = 1 << 16;

/// A disk in a qcow2 image.
pub(crate) struct Qcow2 {
    image: FormatAccess<Storage>,
    sectors: u64,
    access: Access,
    id: String,
}

impl Qcow2 {
    /// Opens the image at `path`, which has been opened as `file`.
    pub(crate) fn new(
        file: std::fs::File,
        path: &Path,
        access: Access,
        id: String,
    ) -> Result<Qcow2, Error> {
        let image = image(file, path, access, 0)?;
        // A last piece of a sector is out of the guest's reach.
        let sectors = image.size() / SECTOR as u64;
        Ok(Qcow2 { image, sectors, access, id })
    }

    fn writable(&self) -> io::Result<()> {
        if self.access == Access::Write { Ok(()) } else { Err(read_only()) }
    }

    /// Writes zeros as data.
    fn fill(&self, bytes: Range<u64>) -> io::Result<()> {
        let zeros = [0; PIECE];
        let mut at = bytes.start;
        while at < bytes.end {
            let n = (bytes.end - at).min(PIECE as u64);
            self.image.write(&zeros[..n as usize], at)?;
            at += n;
        }
        Ok(())
    }
}

/// The image in `file` with all that it refers to.
fn image(
    file: std::fs::File,
    path: &Path,
    access: Access,
    depth: u32,
) -> Result<FormatAccess<Storage>, Error> {
    if depth == DEPTH {
        return Err(Error::new(path, "its backing files refer to each other in a circle"));
    }
    let damaged = |error: io::Error| {
        Error::new(path, format_args!("it cannot be used as qcow2: {error}"))
            .remedy("qemu-img check says more about a damaged image")
    };
    if access == Access::Write
        && let Some(what) = check::damage(&file).map_err(damaged)?
    {
        let remedy = format_args!("qemu-img check -r all {} may repair it", path.display());
        return Err(Error::new(path, what).remedy(remedy));
    }
    let storage = storage(file, path, access)?;
    let mut image: Image<Storage> =
        Image::open_image(storage, access == Access::Write).map_err(damaged)?;
    let data = match image.implicit_external_data_file() {
        Some(name) if image.requires_external_data_file() => {
            let path = beside(path, name)?;
            let file = open::file(&path, access)?;
            Some(self::storage(file, &path, access)?)
        }
        _ if image.requires_external_data_file() => {
            return Err(Error::new(path, "it does not say where its data file is"));
        }
        _ => None,
    };
    image.set_data_file(data);
    let backing = match image.implicit_backing_file() {
        Some(name) => {
            let name = name.clone();
            let format = image.implicit_backing_format().cloned();
            Some(backing(path, &name, format.as_deref(), depth + 1)?)
        }
        None => None,
    };
    image.set_backing(backing);
    Ok(FormatAccess::new(image))
}

/// The backing file `name` of the image at `path`.
fn backing(
    path: &Path,
    name: &str,
    format: Option<&str>,
    depth: u32,
) -> Result<FormatAccess<Storage>, Error> {
    let below = beside(path, name)?;
    let file = open::file(&below, Access::Read)?;
    let probed = open::probe_file(&file).map_err(|error| open::unreadable(&below, &error))?;
    let format = match (format, probed) {
        (Some("qcow2"), _) => Format::Qcow2,
        (Some("raw" | "file" | "host_device"), _) | (None, Probe::Unknown) => Format::Raw,
        (None, _) => {
            // A guest may have written what makes a raw image look like that.
            let what = format_args!("it does not say which format its backing file {name} has");
            let path = path.display();
            let remedy = format_args!("add it: qemu-img rebase -u -F FORMAT -b {name} {path}");
            return Err(Error::new(&below, what).remedy(remedy));
        }
        (Some(other), _) => {
            let what = format_args!("its backing file {name} has the format {other}");
            return Err(Error::new(path, what).remedy("raw and qcow2 can be used"));
        }
    };
    match format {
        Format::Qcow2 => image(file, &below, Access::Read, depth),
        Format::Raw => {
            let storage = storage(file, &below, Access::Read)?;
            let raw = RawImage::open_image(storage, false);
            raw.map(FormatAccess::new).map_err(|error| open::unreadable(&below, &error))
        }
    }
}

/// The file that the image at `path` calls `name`.
fn beside(path: &Path, name: &str) -> Result<PathBuf, Error> {
    let name = name.strip_prefix("file:").unwrap_or(name);
    if name.starts_with("json:") || name.contains("://") {
        let what = format_args!("it refers to {name:?}, which is not a file");
        return Err(Error::new(path, what).remedy("qemu-img rebase can give it a file instead"));
    }
    Ok(path.parent().unwrap_or(Path::new("")).join(name))
}

fn storage(file: std::fs::File, path: &Path, access: Access) -> Result<Storage, Error> {
    let options = StorageOpenOptions::new().filename(path).write(access == Access::Write);
    Storage::from_open_file(file, options).map_err(|error| open::unreadable(path, &error))
}

impl Disk for Qcow2 {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::Read
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = extent(self.sectors, sector, buffer.len())?;
        self.image.read(buffer, bytes.start)
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        let at = extent(self.sectors, sector, bytes.len())?.start;
        self.image.write(bytes, at)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.access == Access::Read {
            return Ok(());
        }
        self.image.flush()?;
        self.image.sync()
    }

    fn write_zeroes(&mut self, sectors: Range<u64>, unmap: Unmap) -> io::Result<()> {
        self.writable()?;
        let bytes = bytes_of(self.sectors, sectors)?;
        let len = bytes.end - bytes.start;
        let zeroed = match unmap {
            Unmap::No => self.image.write_zeroes(bytes.start, len),
            Unmap::Allowed => self.image.discard_to_zero(bytes.start, len),
        };
        match zeroed {
            // Version 2 has no way to say it.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.fill(bytes),
            result => result,
        }
    }

    fn discard(&mut self, sectors: Range<u64>) -> io::Result<()> {
        self.writable()?;
        let bytes = bytes_of(self.sectors, sectors)?;
        self.image.discard_to_any(bytes.start, bytes.end - bytes.start).or_else(|error| {
            // The contents stay, which is as good.
            if error.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(error) }
        })
    }

    fn id(&self) -> &str {
        &self.id
    }
}
