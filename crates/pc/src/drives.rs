//! Disks, CD-ROMs, network: what the user plugs into the machine.

use crate::BootError;
use crate::Serial;
use crate::layout::slot;
use mynah_bus::Ram;
use mynah_devices::ide::{Attached, Ide, Unit};
use mynah_devices::pci::{Address, Bus};
use mynah_devices::virtio::{self, Blk, Model, Net, Rng, Virtio};
use std::path::PathBuf;

/// How a guest reaches a drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// As a virtio block device.
    Virtio,
    /// As a drive of the IDE controller.
    Ide,
    /// As a CD-ROM drive of the IDE controller.
    Cdrom,
}

/// A drive.
#[derive(Clone, Debug)]
pub struct Drive {
    /// The image in it.
    pub image: PathBuf,
    /// How the guest reaches it.
    pub interface: Interface,
    /// The image's format; none to look.
    pub format: Option<mynah_disk::Format>,
    /// Whether the guest may not write.
    pub read_only: bool,
    /// Whether the image stays as it is, and what the guest writes is thrown away.
    pub snapshot: bool,
}

/// The hardware address of the network device: QEMU's range, so that guests that know it do.
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// A virtio device as a function of the bus.
fn plug(bus: &Bus, device: u8, model: impl Model + 'static, ram: &Ram) -> Result<(), BootError> {
    let function = Virtio::new(Box::new(model), ram)
        .map_err(|e| BootError::new(format!("a thread for a device: {e}")))?;
    if device >= slot::DISPLAY || !bus.plug(Address::new(device, 0), function) {
        return Err(BootError::new("there are more devices than the PCI bus has slots"));
    }
    Ok(())
}

/// Plugs in a console that leads to `leads`; where it is typed into, if it is there.
pub(crate) fn attach_console(
    leads: &Serial,
    bus: &Bus,
    ram: &Ram,
) -> Result<Option<virtio::Input>, BootError> {
    if *leads == Serial::None {
        return Ok(None);
    }
    let (console, input) = virtio::Console::new(80, 25, leads.sink()?);
    plug(bus, slot::CONSOLE, console, ram)?;
    Ok(Some(input))
}

/// Plugs in the drives; yields what the user should know, one line each.
pub(crate) fn attach(
    drives: &[Drive],
    net: Option<mynah_net::Options>,
    bus: &Bus,
    ide: &mut Ide,
    ram: &Ram,
) -> Result<Vec<String>, BootError> {
    let mut notes = Vec::new();
    let mut units = Unit::all().into_iter();
    let mut device = slot::DISK;
    for (number, drive) in drives.iter().enumerate() {
        let options = mynah_disk::Options::new(&drive.image)
            .format(drive.format)
            .read_only(drive.read_only || drive.interface == Interface::Cdrom)
            .id(&format!("mynah-{number}"));
        let options = if drive.snapshot { options.snapshot(std::env::temp_dir()) } else { options };
        let opened = options.open().map_err(|e| BootError::new(e.to_string()))?;
        notes.extend(opened.notes);
        if drive.interface == Interface::Virtio {
            plug(bus, device, Blk::new(opened.disk), ram)?;
            device += 1;
            continue;
        }
        let unit = units.next().ok_or_else(|| BootError::new("IDE has room for four drives"))?;
        let attached = match drive.interface {
            Interface::Cdrom => Attached::Cdrom(Some(opened.disk)),
            _ => Attached::Disk(opened.disk),
        };
        ide.attach(unit, attached);
    }
    if let Some(net) = net {
        let wire = net.start().map_err(|e| BootError::new(e.to_string()))?;
        plug(bus, slot::NET, Net::new(MAC, Box::new(wire)), ram)?;
    }
    plug(bus, slot::RANDOM, Rng::new(), ram)?;
    Ok(notes)
}
