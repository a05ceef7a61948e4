//! Where things are in the PC's physical address space and among its ports and interrupts.

use std::ops::Range;

/// End of conventional memory; the video adapter's window follows.
pub(crate) const CONVENTIONAL_END: u64 = 0xa_0000;
/// The video adapter's window.
pub(crate) const VIDEO: Range<u64> = 0xa_0000..0xc_0000;
/// Start of the extended BIOS data area.
pub(crate) const EBDA: u64 = 0x9_fc00;
/// Where option ROMs and the firmware's shadow lie.
pub(crate) const SHADOW: Range<u64> = 0xc_0000..0x10_0000;
/// How much of the end of the firmware's ROM is found below 1 MiB too.
pub(crate) const LOW_ROM: u64 = 128 << 10;
/// Where the board puts its tables when no firmware does.
pub(crate) const TABLES: Range<u64> = 0xe_0000..0x10_0000;
/// Start of extended memory.
pub(crate) const EXTENDED: u64 = 0x10_0000;
/// Most RAM below 4 GiB: devices have what is above.
pub(crate) const LOW_END: u64 = 0xc000_0000;
/// Start of RAM above 4 GiB.
pub(crate) const HIGH: u64 = 1 << 32;
/// Where PCI devices' memory windows are.
pub(crate) const PCI_MEMORY: Range<u64> = 0xc000_0000..0xe000_0000;
/// The memory-mapped configuration space of the PCI bus.
pub(crate) const ECAM: Range<u64> = 0xe000_0000..0xe010_0000;
/// The I/O APIC.
pub(crate) const IOAPIC: Range<u64> = 0xfec0_0000..0xfec0_1000;
/// The HPET.
pub(crate) const HPET: Range<u64> = 0xfed0_0000..0xfed0_0400;
/// Where each vCPU finds its local APIC after reset.
pub(crate) const LAPIC: Range<u64> = 0xfee0_0000..0xfee0_1000;

/// Interrupts of the ISA bus: inputs of the 8259 pair, and but for [`gsi`] of the I/O APIC too.
pub(crate) mod irq {
    /// The 8254.
    pub(crate) const TIMER: u32 = 0;
    /// The keyboard.
    pub(crate) const KEYBOARD: u32 = 1;
    /// The second 8259, which is on this input of the first.
    pub(crate) const CASCADE: u32 = 2;
    /// The first serial port.
    pub(crate) const COM1: u32 = 4;
    /// The real-time clock.
    pub(crate) const RTC: u32 = 8;
    /// ACPI events.
    pub(crate) const SCI: u32 = 9;
    /// The mouse.
    pub(crate) const MOUSE: u32 = 12;
    /// The first IDE channel.
    pub(crate) const IDE1: u32 = 14;
    /// The second IDE channel.
    pub(crate) const IDE2: u32 = 15;
}

/// Inputs of the I/O APIC that have another number than on the ISA bus, or are not there.
pub(crate) mod gsi {
    /// The 8254.
    pub(crate) const TIMER: u32 = 2;
    /// PIRQA; PIRQB to PIRQD follow.
    pub(crate) const PIRQ: u32 = 16;
    /// Number of inputs.
    pub(crate) const COUNT: u32 = 24;
}

/// Device numbers on the PCI bus.
pub(crate) mod slot {
    /// The host bridge.
    pub(crate) const HOST: u8 = 0;
    /// The ISA bridge, and the IDE controller and the power management that are part of it.
    pub(crate) const ISA: u8 = 1;
    /// The source of random numbers.
    pub(crate) const RANDOM: u8 = 2;
    /// The network device.
    pub(crate) const NET: u8 = 3;
    /// The first virtio disk; the others follow.
    pub(crate) const DISK: u8 = 4;
    /// The virtio console, behind the disks.
    pub(crate) const CONSOLE: u8 = 30;
    /// The display adapter.
    pub(crate) const DISPLAY: u8 = 31;
}

/// Ports.
pub(crate) mod port {
    use std::ops::Range;

    /// The first 8259.
    pub(crate) const PIC1: Range<u64> = 0x20..0x22;
    /// The second 8259.
    pub(crate) const PIC2: Range<u64> = 0xa0..0xa2;
    /// The 8259s' edge and level control.
    pub(crate) const ELCR: Range<u64> = 0x4d0..0x4d2;
    /// The 8254.
    pub(crate) const TIMER: Range<u64> = 0x40..0x44;
    /// The 8254's speaker gate.
    pub(crate) const SPEAKER: Range<u64> = 0x61..0x62;
    /// The clock and its memory.
    pub(crate) const CMOS: Range<u64> = 0x70..0x72;
    /// Where firmware reports its progress.
    pub(crate) const POST: Range<u64> = 0x80..0x81;
    /// Address bit 20 and reset.
    pub(crate) const PORT_A: Range<u64> = 0x92..0x93;
    /// The first serial port.
    pub(crate) const COM1: Range<u64> = 0x3f8..0x400;
    /// The keyboard controller's data.
    pub(crate) const KEYBOARD: Range<u64> = 0x60..0x61;
    /// Its commands and status.
    pub(crate) const KEYBOARD_COMMAND: Range<u64> = 0x64..0x65;
    /// How software turns ACPI on.
    pub(crate) const APM: Range<u64> = 0xb2..0xb4;
    /// The IDE channels: command block and control block.
    pub(crate) const IDE: [(Range<u64>, Range<u64>); 2] =
        [(0x1f0..0x1f8, 0x3f6..0x3f7), (0x170..0x178, 0x376..0x377)];
    /// The display adapter.
    pub(crate) const VGA: Range<u64> = 0x3b0..0x3e0;
    /// Its interface for modes that the VGA does not have.
    pub(crate) const DISPI: Range<u64> = 0x1ce..0x1d1;
    /// ACPI's registers.
    pub(crate) const ACPI_PM: u64 = 0x600;
    /// PCI configuration.
    pub(crate) const PCI: Range<u64> = 0xcf8..0xd00;
    /// The reset control register, in the midst of those.
    pub(crate) const RESET: u64 = 0xcf9;
    /// The firmware configuration device.
    pub(crate) const FW_CFG: Range<u64> = 0x510..0x51c;
    /// Where SeaBIOS writes its log.
    pub(crate) const DEBUG_CONSOLE: Range<u64> = 0x402..0x403;
    /// The exit device of tests.
    pub(crate) const DEBUG_EXIT: Range<u64> = 0xf4..0xf8;
}

/// The ranges of RAM for a machine with `memory` bytes, a multiple of 4 KiB.
pub(crate) fn ram(memory: u64) -> Vec<Range<u64>> {
    let low = memory.min(LOW_END);
    let conventional = 0..low.min(CONVENTIONAL_END);
    let mut ranges = Vec::from([conventional]);
    if low > SHADOW.start {
        ranges.push(SHADOW.start..low);
    }
    if memory > LOW_END {
        ranges.push(HIGH..HIGH + (memory - LOW_END));
    }
    ranges
}
