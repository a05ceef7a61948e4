//! The ACPI tables that the board hands to an operating system when no firmware makes them (ACPI
//! Specification 6.5, chapters 5 and 19; IA-PC HPET Specification 1.0a, 3.2.4).

use crate::layout::{self, TABLES, gsi, irq, port};
use acpi_tables::aml::{
    self, AddressSpace, AddressSpaceCacheable, EISAName, IO, Interrupt, Name, Package, Path,
    ResourceTemplate, Scope,
};
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace as GasSpace, GAS};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};
use mynah_bus::Ram;
use mynah_bus::ram::NotRam;
use mynah_devices::acpi_pm::{AcpiPm, Apm};
use mynah_devices::hpet::Hpet;
use mynah_devices::pci::{Ecam, intx_wire};
use std::ops::Range;

const OEM: [u8; 6] = *b"MYNAH ";
const OEM_TABLE: [u8; 8] = *b"MYNAHPC ";
const REVISION: u32 = 1;

/// Where the root has the addresses of the RSDT and of the XSDT, 4 and 8 bytes.
pub(crate) const RSDT_ADDRESS: usize = 16;
/// See [`RSDT_ADDRESS`].
pub(crate) const XSDT_ADDRESS: usize = 24;
/// Where the root has checksums, and of how many bytes from its start.
pub(crate) const ROOT_CHECKSUMS: [(usize, usize); 2] = [(8, 20), (32, 36)];

/// All tables but the root, one after the other, each at a multiple of 64.
pub(crate) struct Tables {
    /// The physical address of their first byte.
    base: u64,
    pub(crate) bytes: Vec<u8>,
    /// Where there are addresses of tables: offset and bytes of each.
    pub(crate) pointers: Vec<(usize, u8)>,
    /// Where each table is, by offsets.
    pub(crate) places: Vec<Range<usize>>,
    /// The address of the XSDT, which leads to the others.
    xsdt: u64,
    /// The address of the RSDT, which does so for those who know no 64-bit addresses.
    rsdt: u64,
}

/// Bytes of a table.
struct Bytes(Vec<u8>);

impl AmlSink for Bytes {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }
}

impl Tables {
    /// The tables of a machine with `cpus` vCPUs, for this address.
    pub(crate) fn new(base: u64, cpus: usize) -> Tables {
        let (bytes, pointers, places) = (Vec::new(), Vec::new(), Vec::new());
        let mut tables = Tables { base, bytes, pointers, places, xsdt: 0, rsdt: 0 };
        let facs = tables.add(&FACS::new(), &[]);
        // It has no checksum.
        tables.places.clear();
        let dsdt = tables.add(&dsdt(cpus), &[]);
        // FIRMWARE_CTRL, DSDT, X_DSDT.
        let fadt = tables.add(&fadt(facs, dsdt).finalize(), &[(36, 4), (40, 4), (140, 8)]);
        let madt = tables.add(&madt(cpus), &[]);
        let hpet = tables.add(&hpet(), &[]);
        let mut mcfg = MCFG::new(OEM, OEM_TABLE, REVISION);
        mcfg.add_ecam(layout::ECAM.start, 0, 0, 0);
        let mcfg = tables.add(&mcfg, &[]);
        let mut xsdt = XSDT::new(OEM, OEM_TABLE, REVISION);
        let mut rsdt = Sdt::new(*b"RSDT", 36, 1, OEM, OEM_TABLE, REVISION);
        for table in [fadt, madt, hpet, mcfg] {
            xsdt.add_entry(table);
            rsdt.append(table as u32);
        }
        tables.xsdt = tables.add(&xsdt, &[(36, 8), (44, 8), (52, 8), (60, 8)]);
        tables.rsdt = tables.add(&rsdt, &[(36, 4), (40, 4), (44, 4), (48, 4)]);
        tables
    }

    /// Adds a table with pointers at these offsets; its physical address.
    fn add(&mut self, table: &dyn Aml, pointers: &[(usize, u8)]) -> u64 {
        let start = self.bytes.len().next_multiple_of(64);
        self.bytes.resize(start, 0);
        let mut bytes = Bytes(std::mem::take(&mut self.bytes));
        table.to_aml_bytes(&mut bytes);
        self.bytes = bytes.0;
        self.pointers.extend(pointers.iter().map(|(at, width)| (start + at, *width)));
        self.places.push(start..self.bytes.len());
        self.base + start as u64
    }

    /// The root.
    pub(crate) fn rsdp(&self) -> Vec<u8> {
        let mut bytes = Bytes(Vec::new());
        Rsdp::new(OEM, self.xsdt).to_aml_bytes(&mut bytes);
        let mut bytes = bytes.0;
        bytes[RSDT_ADDRESS..RSDT_ADDRESS + 4].copy_from_slice(&(self.rsdt as u32).to_le_bytes());
        for (checksum, len) in ROOT_CHECKSUMS {
            bytes[checksum] = 0;
            let sum = bytes[..len].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            bytes[checksum] = sum.wrapping_neg();
        }
        bytes
    }
}

/// Puts the tables of a machine with `cpus` vCPUs into memory; the physical address of their root.
pub(crate) fn install(ram: &Ram, cpus: usize) -> Result<u64, NotRam> {
    // The root has a fixed place, where those look who are not told.
    let root = TABLES.start;
    let tables = Tables::new(root + 64, cpus);
    ram.write(tables.base, &tables.bytes)?;
    ram.write(root, &tables.rsdp())?;
    Ok(root)
}

fn fadt(facs: u64, dsdt: u64) -> FADTBuilder {
    let ports = |offset: u64| (port::ACPI_PM + offset) as u32;
    let gas = |address: u32, bits: u8, size| {
        GAS::new(GasSpace::SystemIo, bits, 0, size, u64::from(address))
    };
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, REVISION)
        .firmware_ctrl_32(facs as u32)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::RtcS4)
        .flag(Flags::ResetRegSup);
    // Old firmware looks only here; the builder knows one of the two.
    fadt.dsdt = (dsdt as u32).into();
    fadt.sci_int = (irq::SCI as u16).into();
    fadt.smi_cmd = (port::APM.start as u32).into();
    fadt.acpi_enable = Apm::ACPI_ENABLE;
    fadt.acpi_disable = Apm::ACPI_DISABLE;
    fadt.pm1a_evt_blk = ports(AcpiPm::PM1_EVT).into();
    fadt.pm1_evt_len = 4;
    fadt.pm1a_cnt_blk = ports(AcpiPm::PM1_CNT).into();
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_blk = ports(AcpiPm::PM_TMR).into();
    fadt.pm_tmr_len = 4;
    fadt.x_pm1a_evt_blk = gas(ports(AcpiPm::PM1_EVT), 32, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = gas(ports(AcpiPm::PM1_CNT), 16, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = gas(ports(AcpiPm::PM_TMR), 32, AccessSize::DwordAccess);
    // No C2, no C3.
    fadt.p_lvl2_lat = 0xfff.into();
    fadt.p_lvl3_lat = 0xfff.into();
    fadt.century = 0x32;
    // There are ISA devices and a keyboard controller.
    fadt.iapc_boot_arch = 3.into();
    fadt.reset_reg = gas(port::RESET as u32, 8, AccessSize::ByteAccess);
    fadt.reset_value = 6;
    fadt
}

fn madt(cpus: usize) -> Sdt {
    const PCAT_COMPATIBLE: u32 = 1;
    let mut madt = Sdt::new(*b"APIC", 36, 5, OEM, OEM_TABLE, REVISION);
    madt.append(layout::LAPIC.start as u32);
    madt.append(PCAT_COMPATIBLE);
    for n in 0..cpus as u32 {
        // Those beyond 8 bits need the other form.
        if n < 255 {
            madt.append_slice(&[0, 8, n as u8, n as u8, 1, 0, 0, 0]);
        } else {
            madt.append_slice(&[9, 16, 0, 0]);
            madt.append(n);
            madt.append(1_u32);
            madt.append(n);
        }
    }
    madt.append_slice(&[1, 12, cpus as u8, 0]);
    madt.append(layout::IOAPIC.start as u32);
    madt.append(0_u32);
    let mut redirect = |irq: u32, gsi: u32, flags: u16| {
        madt.append_slice(&[2, 10, 0, irq as u8]);
        madt.append(gsi);
        madt.append(flags);
    };
    redirect(irq::TIMER, gsi::TIMER, 0);
    // Level, active high.
    redirect(irq::SCI, irq::SCI, 0xd);
    // LINT1 of all is NMI.
    madt.append_slice(&[4, 6, 0xff, 0, 0, 1]);
    madt
}

fn hpet() -> Sdt {
    let mut hpet = Sdt::new(*b"HPET", 36, 1, OEM, OEM_TABLE, REVISION);
    hpet.append(Hpet::capabilities());
    hpet.append_slice(&[0, 64, 0, 0]);
    hpet.append(layout::HPET.start);
    // Its number, the shortest period in periodic mode, no page protection.
    hpet.append_slice(&[0, 100, 0, 0]);
    hpet
}

/// The differentiated description: processors, the PCI bus with its windows and routes, what is on
/// the ISA bus, and soft-off.
fn dsdt(cpus: usize) -> Sdt {
    let mut body = Bytes(Vec::new());
    soft_off().to_aml_bytes(&mut body);
    processors(cpus, &mut body);
    pci(&mut body);
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, REVISION);
    dsdt.append_slice(&body.0);
    dsdt
}

fn soft_off() -> Name {
    let kind = AcpiPm::SLP_TYP_S5;
    Name::new(Path::new("_S5_"), &Package::new(vec![&kind, &kind, &0_u8, &0_u8]))
}

fn processors(cpus: usize, body: &mut Bytes) {
    for n in 0..cpus as u32 {
        let id = Name::new(Path::new("_HID"), &"ACPI0007");
        let uid = Name::new(Path::new("_UID"), &n);
        let name = format!("_SB_.C{n:03X}");
        aml::Device::new(Path::new(&name), vec![&id, &uid]).to_aml_bytes(body);
    }
}

fn pci(body: &mut Bytes) {
    let id = Name::new(Path::new("_HID"), &EISAName::new("PNP0A03"));
    let address = Name::new(Path::new("_ADR"), &0_u8);
    let uid = Name::new(Path::new("_UID"), &0_u8);
    let buses = AddressSpace::new_bus_number(0_u16, 0);
    let config = io(&port::PCI);
    // Those of configuration are not for devices.
    let low = AddressSpace::new_io(0_u16, port::PCI.start as u16 - 1, None);
    let high = AddressSpace::new_io(port::PCI.end as u16, u16::MAX, None);
    let window = |range: &Range<u64>, cacheable| {
        AddressSpace::new_memory(cacheable, true, range.start as u32, (range.end - 1) as u32, None)
    };
    let video = window(&layout::VIDEO, AddressSpaceCacheable::Cacheable);
    let memory = window(&layout::PCI_MEMORY, AddressSpaceCacheable::NotCacheable);
    let template = ResourceTemplate::new(vec![&buses, &config, &low, &high, &video, &memory]);
    let resources = Name::new(Path::new("_CRS"), &template);
    let routes = routes();
    let isa = isa();
    let children: Vec<&dyn Aml> = vec![&id, &address, &uid, &resources, &routes, &isa];
    aml::Device::new(Path::new("_SB_.PCI0"), children).to_aml_bytes(body);
    reserved(body);
}

/// Where each device's INTA to INTD leads.
fn routes() -> Name {
    struct Route([u32; 4]);
    impl Aml for Route {
        fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
            let [address, pin, source, gsi] = &self.0;
            Package::new(vec![address, pin, source, gsi]).to_aml_bytes(sink);
        }
    }
    let mut all = Vec::new();
    for device in 1..32_u8 {
        for pin in 1..=4_u8 {
            let gsi = gsi::PIRQ + intx_wire(device, pin);
            let address = u32::from(device) << 16 | 0xffff;
            all.push(Route([address, u32::from(pin) - 1, 0, gsi]));
        }
    }
    let all: Vec<&dyn Aml> = all.iter().map(|route| route as &dyn Aml).collect();
    // A package of more than 255 elements would need another form.
    Name::new(Path::new("_PRT"), &Package::new(all))
}

/// Ports of a device, which cannot be moved.
fn io(ports: &Range<u64>) -> IO {
    IO::new(ports.start as u16, ports.start as u16, 1, (ports.end - ports.start) as u8)
}

/// The ISA bus and the devices on it that are not found otherwise.
fn isa() -> Bytes {
    let mut devices = Bytes(Vec::new());
    let mut device = |name: &str, id: &str, resources: Vec<&dyn Aml>| {
        let id = Name::new(Path::new("_HID"), &EISAName::new(id));
        let resources = Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources));
        aml::Device::new(Path::new(name), vec![&id, &resources]).to_aml_bytes(&mut devices);
    };
    let line = |irq: u32| Interrupt::new(true, true, false, false, irq);
    device("COM1", "PNP0501", vec![&io(&port::COM1), &line(irq::COM1)]);
    device("RTC_", "PNP0B00", vec![&io(&port::CMOS), &line(irq::RTC)]);
    let (data, command) = (io(&port::KEYBOARD), io(&port::KEYBOARD_COMMAND));
    device("KBD_", "PNP0303", vec![&data, &command, &line(irq::KEYBOARD)]);
    device("MOU_", "PNP0F13", vec![&line(irq::MOUSE)]);
    let address = Name::new(Path::new("_ADR"), &0x0001_0000_u32);
    let mut bridge = Bytes(Vec::new());
    aml::Device::new(Path::new("ISA_"), vec![&address, &devices]).to_aml_bytes(&mut bridge);
    bridge
}

impl Aml for Bytes {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// Memory that belongs to no device: the memory-mapped configuration space, the HPET.
fn reserved(body: &mut Bytes) {
    let fixed = |range: &Range<u64>| {
        aml::Memory32Fixed::new(true, range.start as u32, (range.end - range.start) as u32)
    };
    let id = Name::new(Path::new("_HID"), &EISAName::new("PNP0C02"));
    let (config, hpet) = (fixed(&layout::ECAM), fixed(&layout::HPET));
    let template = ResourceTemplate::new(vec![&config, &hpet]);
    let resources = Name::new(Path::new("_CRS"), &template);
    let device = aml::Device::new(Path::new("MRES"), vec![&id, &resources]);
    Scope::new(Path::new("_SB_"), vec![&device]).to_aml_bytes(body);
    const { assert!(Ecam::BUS == layout::ECAM.end - layout::ECAM.start) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_to_tables_whose_bytes_add_up_to_zero() {
        let base = 0x12_0000;
        let tables = Tables::new(base, 3);
        for place in &tables.places {
            let sum = tables.bytes[place.clone()].iter().fold(0_u8, |sum, b| sum.wrapping_add(*b));
            assert_eq!(sum, 0, "{place:x?}");
        }
        for &(at, width) in &tables.pointers {
            let mut pointer = [0; 8];
            let width = usize::from(width);
            pointer[..width].copy_from_slice(&tables.bytes[at..at + width]);
            let offset = (u64::from_le_bytes(pointer) - base) as usize;
            let is_table = tables.places.iter().any(|place| place.start == offset);
            assert!(
                is_table || tables.bytes[offset..].starts_with(b"FACS"),
                "{at:#x}: {offset:#x}"
            );
        }
        let rsdp = tables.rsdp();
        assert_eq!(rsdp[24..32], tables.xsdt.to_le_bytes());
        assert_eq!(rsdp[16..20], (tables.rsdt as u32).to_le_bytes());
        for len in [20, 36] {
            assert_eq!(rsdp[..len].iter().fold(0_u8, |sum, b| sum.wrapping_add(*b)), 0, "{len}");
        }
        assert_eq!(rsdp.len(), 36);
    }
}
