//! `mynah boot`: an operating system on an emulated PC.

use crate::run::TierName;
use mynah_disk::Format;
use mynah_engine::Config;
use mynah_pc::{
    Address, Console, Display, Drive, End, Focus, Interface, Machine, Panel, Serial, Switch, Width,
};
use std::path::PathBuf;
use std::process::ExitCode;

/// Boot an operating system on an emulated PC
///
/// Without a kernel it starts a small guest that Mynah carries: it goes through the processor's
/// modes, and has a prompt with `help`, `bench`, `mandelbrot` and `poweroff`.
///
/// The terminal is the machine's serial console, or with `--display text` its screen and keyboard:
/// Ctrl-A X ends the machine, Ctrl-A C asks for commands about it (`help` lists them), Ctrl-A H tells
/// what else there is. When the guest turns the machine off, Mynah's exit status is 0; a guest that
/// writes a value to the exit device (port f4h) ends it with status 2 x value + 1.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Firmware to start in place of a kernel: a BIOS, which starts what is on the disks
    #[arg(long, value_name = "FILE", conflicts_with = "kernel")]
    firmware: Option<PathBuf>,
    /// Write the firmware's log (what it writes to port 402h) to FILE
    #[arg(long, value_name = "FILE", requires = "firmware")]
    firmware_log: Option<PathBuf>,
    /// The BIOS of the display adapter; without this, vgabios-stdvga.bin beside the firmware if
    /// there is one
    #[arg(long, value_name = "FILE", requires = "firmware")]
    vga_firmware: Option<PathBuf>,
    /// A kernel to start: Linux (bzImage), multiboot, or ELF with a PVH entry (vmlinux)
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Its initial RAM disk; for a multiboot kernel its modules, "FILE WORDS,FILE WORDS"
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Its command line
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0")]
    append: String,
    /// A disk image, raw or qcow2: FILE[,if=virtio|ide][,format=raw|qcow2][,readonly]; may be
    /// repeated
    #[arg(long, value_name = "FILE", value_parser = disk)]
    disk: Vec<Drive>,
    /// A CD-ROM image; may be repeated
    #[arg(long, value_name = "FILE")]
    cdrom: Vec<PathBuf>,
    /// Leave disk images as they are: what the guest writes is thrown away at the end
    #[arg(long)]
    snapshot: bool,
    /// The network: `none`, or `user` with any number of `,hostfwd=tcp:ADDRESS:PORT-:PORT`, by
    /// which a port of this host leads to one of the guest
    #[arg(long, value_name = "NET", default_value = "user", value_parser = net)]
    net: Net,
    /// Write all frames of the network to FILE, for tcpdump and wireshark
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Where the display is shown: nowhere, or in the terminal, whose keys are then the machine's
    #[arg(long, value_enum, default_value_t, value_name = "DISPLAY")]
    display: DisplayName,
    /// Where the serial port leads: `stdio`, `none`, or a file for what it says [default: stdio, or
    /// none with --display text]
    #[arg(long, value_name = "SERIAL", value_parser = serial)]
    serial: Option<Serial>,

    /// Add a virtio console (hvc0 of Linux) that leads there: `stdio`, in place of the serial port,
    /// or a file for what it says
    #[arg(long, value_name = "SERIAL", value_parser = serial, default_value = "none")]
    virtio_console: Serial,

    /// At the end, write a picture of the screen to FILE, in PNG format
    #[arg(long, value_name = "FILE")]
    screenshot: Option<PathBuf>,
    /// Memory: a number of MiB, or with K, M or G behind it
    #[arg(long, short, value_name = "SIZE", default_value = "256M", value_parser = memory)]
    memory: u64,
    /// Number of vCPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    smp: u8,
    /// Listen for commands about the machine: on unix:PATH or tcp:ADDRESS:PORT; with `stdio` the
    /// terminal begins as the monitor
    #[arg(long, value_name = "ADDRESS", value_parser = monitor)]
    monitor: Option<Monitor>,
    /// Listen for gdb (its `target remote`) on tcp::PORT, ADDRESS:PORT or unix:PATH; with `,i386`
    /// behind it the registers are those of a 32-bit processor
    #[arg(long, value_name = "ADDRESS", value_parser = gdb)]
    gdb: Option<Gdb>,
    /// Wait before the first instruction, for gdb or for the monitor's `cont`
    #[arg(long)]
    stopped: bool,
    /// Which tiers run guest code
    #[arg(long, value_enum, default_value_t, value_name = "TIER")]
    tier: TierName,
    /// Executions after which `--tier auto` compiles a block
    #[arg(long, value_name = "N", default_value_t = Config::default().threshold)]
    threshold: u32,
    /// At the end, report on stderr what each tier did
    #[arg(long)]
    stats: bool,
}

const EXAMPLES: &str = "\
Examples:
  mynah boot                                        the guest that Mynah carries
  echo mandelbrot | mynah boot                      type for it (Ctrl-C ends it)
  mynah boot --kernel vmlinuz --initrd initrd.img
  mynah boot --kernel vmlinuz --append \"console=ttyS0 quiet\" --memory 1G --smp 2
  mynah boot --kernel vmlinuz --disk disk.qcow2 --snapshot \\
             --append \"console=ttyS0 root=/dev/vda1\" --net user,hostfwd=tcp:127.0.0.1:2222-:22
                                                    then: ssh -p 2222 127.0.0.1
  mynah boot --kernel vmlinuz --tier 0 --stats      interpret everything
  mynah boot --firmware bios.bin --disk disk.qcow2  a BIOS, which starts the disk
  mynah boot --firmware bios.bin --cdrom memtest.iso --display text
                                                    its screen, and the keys for it
  mynah boot --kernel vmlinuz --display text --append \"console=tty0\" --serial log
                                                    the screen here, the serial port in a file
  mynah boot --kernel vmlinux                       an ELF kernel with a PVH entry
  mynah boot --kernel vmlinuz --monitor unix:/tmp/mynah.sock
                                                    then: socat - /tmp/mynah.sock
  mynah boot --kernel vmlinuz --gdb tcp::1234 --stopped
                                                    then: gdb -ex 'target remote :1234' vmlinux
  mynah boot --kernel xen --initrd \"vmlinuz quiet,initrd.img\"
                                                    a multiboot kernel and its modules";

/// The display of the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
enum DisplayName {
    #[default]
    None,
    Text,
}

impl From<DisplayName> for Display {
    fn from(name: DisplayName) -> Display {
        match name {
            DisplayName::None => Display::None,
            DisplayName::Text => Display::Text,
        }
    }
}

/// The network of the command line.
#[derive(Clone, Debug)]
struct Net(Option<mynah_net::Options>);

fn net(text: &str) -> Result<Net, String> {
    let mut words = text.split(',');
    match words.next() {
        Some("none") if words.next().is_none() => return Ok(Net(None)),
        Some("user") => {}
        _ => return Err("it is none, or user and what comes after a comma".to_owned()),
    }
    let mut options = mynah_net::Options::new();
    for word in words {
        options = match word.split_once('=') {
            Some(("hostfwd", forward)) => {
                let forward = mynah_net::Forward::parse(forward).map_err(|e| e.to_string())?;
                options.forward(forward)
            }
            Some(("restrict", "on" | "yes" | "y")) => options.restricted(true),
            _ => return Err(format!("`{word}` is not hostfwd=... or restrict=on")),
        };
    }
    Ok(Net(Some(options)))
}

/// Where the monitor is.
#[derive(Clone, Debug)]
enum Monitor {
    Terminal,
    Socket(Address),
}

fn monitor(text: &str) -> Result<Monitor, String> {
    match text {
        "stdio" => Ok(Monitor::Terminal),
        _ => Ok(Monitor::Socket(Address::parse(text)?)),
    }
}

/// Where a debugger connects, and what it sees.
#[derive(Clone, Debug)]
struct Gdb {
    address: Address,
    width: Width,
}

fn gdb(text: &str) -> Result<Gdb, String> {
    let (address, width) = match text.strip_suffix(",i386") {
        Some(address) => (address, Width::Narrow),
        None => (text, Width::Full),
    };
    Ok(Gdb { address: Address::parse(address)?, width })
}

/// Never an error, as any text is a file's name.
fn serial(text: &str) -> Result<Serial, std::convert::Infallible> {
    Ok(match text {
        "stdio" => Serial::Stdio,
        "none" => Serial::None,
        file => Serial::File(file.into()),
    })
}

fn disk(text: &str) -> Result<Drive, String> {
    let mut words = text.split(',');
    let image = words.next().unwrap_or_default();
    if image.is_empty() {
        return Err("no file is named".to_owned());
    }
    let mut drive = Drive {
        image: image.into(),
        interface: Interface::Virtio,
        format: None,
        read_only: false,
        snapshot: false,
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("if", "virtio") => drive.interface = Interface::Virtio,
            ("if", "ide") => drive.interface = Interface::Ide,
            ("format", name) => {
                let format = Format::from_name(name);
                drive.format = Some(format.ok_or_else(|| format!("no format is called {name}"))?);
            }
            ("readonly", "" | "on") => drive.read_only = true,
            _ => return Err(format!("`{word}` is not if=..., format=... or readonly")),
        }
    }
    Ok(drive)
}

/// Bytes, from a number with an optional unit; without one it counts MiB.
fn memory(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 20),
    };
    let number: u64 = number.parse().map_err(|_| "not a size such as 512M or 2G".to_owned())?;
    let bytes = number.checked_mul(1 << shift).filter(|&bytes| bytes <= 1 << 40);
    match bytes {
        None => Err("more than 1024G".to_owned()),
        Some(bytes) if bytes < 1 << 20 => Err("less than 1M".to_owned()),
        Some(bytes) => Ok(bytes & !0xfff),
    }
}

impl Options {
    fn drives(&self) -> Vec<Drive> {
        let cdrom = |image: &PathBuf| Drive {
            image: image.clone(),
            interface: Interface::Cdrom,
            format: Some(Format::Raw),
            read_only: true,
            snapshot: false,
        };
        let disk = |drive: &Drive| Drive { snapshot: self.snapshot, ..drive.clone() };
        self.disk.iter().map(disk).chain(self.cdrom.iter().map(cdrom)).collect()
    }

    /// The switches, with the monitor and the debugger listening.
    fn panel(&self) -> Result<Panel, String> {
        let mut panel = Panel::new(if self.stopped { Switch::Stopped } else { Switch::Running });
        panel.heed_signals().map_err(|error| format!("no thread for signals: {error}"))?;
        if let Some(Monitor::Socket(address)) = &self.monitor {
            panel.monitor(address).map_err(|error| format!("--monitor: {error}"))?;
        }
        if let Some(Gdb { address, width }) = &self.gdb {
            panel.gdb(address, *width).map_err(|error| format!("--gdb: {error}"))?;
        }
        Ok(panel)
    }

    fn network(&self) -> Option<mynah_net::Options> {
        let net = self.net.0.clone()?;
        Some(match &self.pcap {
            Some(file) => net.pcap(file),
            None => net,
        })
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    if options.kernel.is_none() && options.firmware.is_none() && !options.drives().is_empty() {
        crate::complain("a disk needs something that starts it: --firmware or --kernel");
        return ExitCode::FAILURE;
    }
    let display = options.display.into();
    let hvc = options.virtio_console == Serial::Stdio;
    let is_taken = hvc || display == Display::Text;
    let serial = match &options.serial {
        None if is_taken => Serial::None,
        None => Serial::Stdio,
        Some(serial) => serial.clone(),
    };
    if is_taken && serial == Serial::Stdio || hvc && display == Display::Text {
        crate::complain(
            "one of the display, the virtio console and the serial port has the terminal: \
             give the others a file or `none`",
        );
        return ExitCode::FAILURE;
    }
    let panel = match options.panel() {
        Ok(panel) => panel,
        Err(error) => {
            crate::complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let console = Console::new(match options.monitor {
        Some(Monitor::Terminal) => Focus::Monitor,
        _ => Focus::Serial,
    });
    loop {
        let machine = Machine::new(&mynah_pc::Options {
            memory: options.memory,
            cpus: options.smp.into(),
            firmware: options.firmware.clone(),
            firmware_log: options.firmware_log.clone(),
            vga_firmware: options.vga_firmware.clone(),
            serial: serial.clone(),
            virtio_console: options.virtio_console.clone(),
            display,
            kernel: options.kernel.clone(),
            initrd: options.initrd.clone(),
            append: options.append.clone(),
            drives: options.drives(),
            net: options.network(),
            config: Config {
                tier: options.tier.into(),
                threshold: options.threshold,
                ..Config::default()
            },
        });
        let mut machine = match machine {
            Ok(machine) => machine,
            Err(error) => {
                crate::complain(&error.to_string());
                return ExitCode::FAILURE;
            }
        };
        machine.notes().iter().for_each(|note| crate::complain(note));
        let end = match machine.run(&console, &panel) {
            Ok(end) => end,
            Err(error) => {
                crate::complain(&error.to_string());
                return ExitCode::FAILURE;
            }
        };
        if let Some(path) = &options.screenshot
            && let Err(error) = std::fs::write(path, machine.screenshot())
        {
            crate::complain(&format!("{}: {error}", path.display()));
        }
        if options.stats {
            crate::tell(&machine.stats().to_string());
        }
        return match end {
            End::PowerOff | End::Quit => ExitCode::SUCCESS,
            End::Signal(signal) => {
                drop((machine, panel));
                mynah_pc::die(signal)
            }
            End::Status(status) => ExitCode::from(status),
            End::Reset => continue,
            End::TripleFault { vcpu, pc } => {
                crate::complain(&format!("vCPU {vcpu} met a triple fault at {pc:#x}"));
                ExitCode::FAILURE
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn sizes_have_units() {
        assert_eq!(memory("512"), Ok(512 << 20));
        assert_eq!(memory("2G"), Ok(2 << 30));
        assert_eq!(memory("640k"), Err("less than 1M".to_owned()));
        assert!(memory("much").is_err());
        assert!(memory("99999999999G").is_err());
    }
}
