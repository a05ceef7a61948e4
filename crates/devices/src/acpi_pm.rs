//! ACPI's fixed hardware: PM1 events and control, the power management timer, the power button and
//! soft-off, as function 3 of the 82371AB (PIIX4) has them (ACPI specification, 4.8; PIIX4 data
//! sheet, 7.2).
//!
//! There is no system management mode, so what firmware would do on a write to the APM control port
//! (B2h) happens here: [`Apm`] switches ACPI on and off.

use crate::pci::{Class, Config, Function, Identity, reg};
use crate::system_control::Control;
use mynah_bus::map::Place;
use mynah_bus::time::{SECOND, scale, scale_up};
use mynah_bus::{Device, IrqLine, Map, Timer, Timers, read_bytes, write_bytes};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Ticks of the timer in a second.
pub const FREQUENCY: u64 = 3_579_545;

/// Bits of the timer's counter.
const TIMER_MASK: u64 = 0xff_ffff;

/// Offsets of the registers.
mod at {
    pub(super) const PM1_STS: u64 = 0x00;
    pub(super) const PM1_EN: u64 = 0x02;
    pub(super) const PM1_CNT: u64 = 0x04;
    pub(super) const PM_TMR: u64 = 0x08;
}

/// Bits of the status and enable registers.
mod pm1 {
    pub(super) const TMR: u16 = 1 << 0;
    pub(super) const PWRBTN: u16 = 1 << 8;
    /// TMR, BM, GBL, PWRBTN, SLPBTN, RTC and WAK.
    pub(super) const STATUS: u16 = 0x8731;
    pub(super) const ENABLE: u16 = 0x0721;
}

/// Bits of the control register.
mod cnt {
    pub(super) const SCI_EN: u16 = 1 << 0;
    pub(super) const WRITABLE: u16 = 0x1c06;
    pub(super) const SLP_EN: u16 = 1 << 13;
}

#[derive(Clone, Copy, Debug)]
struct State {
    sts: u16,
    en: u16,
    cnt: u16,
    /// The time up to which overflows of the timer have been noticed.
    seen: u64,
}

impl State {
    fn new() -> State {
        State { sts: 0, en: 0, cnt: 0, seen: 0 }
    }
}

/// The counter at a time.
fn count(now: u64) -> u64 {
    scale(now, FREQUENCY, SECOND)
}

/// How often the counter's highest bit has changed.
fn changes(now: u64) -> u64 {
    count(now) >> 23
}

/// The registers: a range of [`AcpiPm::PORTS`] ports.
pub struct AcpiPm {
    state: State,
    sci: IrqLine,
    timer: Timer,
    control: Arc<dyn Control>,
}

impl AcpiPm {
    /// Ports in the range.
    pub const PORTS: u64 = 64;
    /// The offset of the PM1 event block, of 4 ports.
    pub const PM1_EVT: u64 = at::PM1_STS;
    /// The offset of the PM1 control block, of 2 ports.
    pub const PM1_CNT: u64 = at::PM1_CNT;
    /// The offset of the timer, of 4 ports, with 24 bits.
    pub const PM_TMR: u64 = at::PM_TMR;
    /// The sleep type of soft-off, S5.
    pub const SLP_TYP_S5: u8 = 0;

    /// Registers that interrupt by `sci`, a level.
    pub fn new(sci: IrqLine, timers: &Timers, control: Arc<dyn Control>) -> Arc<Mutex<AcpiPm>> {
        Arc::new_cyclic(|device| {
            let timer = timers.timer_of(device, |device: &mut AcpiPm, _| device.update());
            Mutex::new(AcpiPm { state: State::new(), sci, timer, control })
        })
    }

    /// The user presses the power button.
    pub fn press_power_button(&mut self) {
        self.state.sts |= pm1::PWRBTN;
        self.update();
    }

    /// Whether the guest has taken over from firmware, and so listens to the power button.
    pub fn is_acpi_enabled(&self) -> bool {
        self.state.cnt & cnt::SCI_EN != 0
    }

    fn set_acpi_enabled(&mut self, on: bool) {
        self.state.cnt = self.state.cnt & !cnt::SCI_EN | if on { cnt::SCI_EN } else { 0 };
        self.update();
    }

    fn update(&mut self) {
        let now = self.timer.now();
        let state = &mut self.state;
        if changes(state.seen) != changes(now) {
            state.sts |= pm1::TMR;
        }
        state.seen = now;
        self.sci.set(state.sts & state.en != 0 && state.cnt & cnt::SCI_EN != 0);
        // There is nothing to wait for while the status is set.
        let waits = state.en & pm1::TMR != 0 && state.sts & pm1::TMR == 0;
        let next = || scale_up((changes(now) + 1) << 23, SECOND, FREQUENCY);
        self.timer.set_or_cancel(waits.then(next));
    }

    fn write_control(&mut self, value: u16) {
        let sci_en = self.state.cnt & cnt::SCI_EN;
        self.state.cnt = value & cnt::WRITABLE | sci_en;
        let sleep_type = (value >> 10 & 7) as u8;
        if value & cnt::SLP_EN != 0 && sleep_type == AcpiPm::SLP_TYP_S5 {
            self.control.power_off();
        }
    }
}

impl Device for AcpiPm {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        self.update();
        let state = self.state;
        let timer = count(state.seen) & TIMER_MASK;
        read_bytes(offset, bytes, |at| {
            let pick = |value: u64, base: u64| (value >> ((at - base) * 8)) as u8;
            match at {
                0..2 => pick(state.sts.into(), at::PM1_STS),
                2..4 => pick(state.en.into(), at::PM1_EN),
                4..6 => pick(state.cnt.into(), at::PM1_CNT),
                8..12 => pick(timer, at::PM_TMR),
                _ => 0,
            }
        })
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        self.update();
        let mut control = None;
        write_bytes(offset, bytes, value, |at, byte| {
            let place = |base: u64| u16::from(byte) << ((at - base) * 8);
            let keep = |base: u64| !(0xff << ((at - base) * 8));
            let state = &mut self.state;
            match at {
                0..2 => state.sts &= !(place(at::PM1_STS) & pm1::STATUS),
                2..4 => state.en = state.en & keep(at::PM1_EN) | place(at::PM1_EN) & pm1::ENABLE,
                4..6 => {
                    let old = control.unwrap_or(state.cnt);
                    control = Some(old & keep(at::PM1_CNT) | place(at::PM1_CNT));
                }
                _ => {}
            }
        });
        if let Some(value) = control {
            self.write_control(value);
        }
        self.update();
    }

    fn reset(&mut self) {
        self.state = State { seen: self.timer.now(), ..State::new() };
        self.update();
    }
}

impl fmt::Debug for AcpiPm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AcpiPm").field(&self.state).finish()
    }
}

/// Advanced power management control and status, ports B2h and B3h. The two commands here are those
/// of the board's ACPI table FADT.
#[derive(Debug)]
pub struct Apm {
    pm: Arc<Mutex<AcpiPm>>,
    state: [u8; 2],
}

impl Apm {
    /// The command that switches ACPI on.
    pub const ACPI_ENABLE: u8 = 0xf1;
    /// The command that switches ACPI off.
    pub const ACPI_DISABLE: u8 = 0xf0;

    /// The ports, for a range of 2.
    pub fn new(pm: Arc<Mutex<AcpiPm>>) -> Apm {
        Apm { pm, state: [0; 2] }
    }
}

impl Device for Apm {
    fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        read_bytes(offset, bytes, |at| self.state[at as usize & 1])
    }

    fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        write_bytes(offset, bytes, value, |at, byte| {
            self.state[at as usize & 1] = byte;
            match (at, byte) {
                (0, Apm::ACPI_ENABLE) => self.pm.lock().set_acpi_enabled(true),
                (0, Apm::ACPI_DISABLE) => self.pm.lock().set_acpi_enabled(false),
                _ => {}
            }
        });
    }

    fn reset(&mut self) {
        self.state = [0; 2];
    }
}

/// Where the registers are: bits 15 to 6, with bit 0 set.
const PMBA: u8 = 0x40;
/// Bit 0 enables them.
const PMREGMISC: u8 = 0x80;

/// The PCI function by which firmware finds the registers and moves them.
pub struct Piix4Pm {
    config: Config,
    ports: Arc<Map>,
    pm: Arc<Mutex<AcpiPm>>,
    place: Option<(u64, Place)>,
}

impl Piix4Pm {
    /// The function; after reset, `pm` is in `ports` at `base`, a multiple of [`AcpiPm::PORTS`].
    pub fn new(pm: Arc<Mutex<AcpiPm>>, ports: Arc<Map>, base: u16) -> Piix4Pm {
        let mut config = Config::new(Identity {
            vendor: 0x8086,
            device: 0x7113,
            revision: 3,
            class: Class(6, 0x80, 0),
            subsystem_vendor: 0,
            subsystem: 0,
        });
        config.set_u16(reg::STATUS, 0x0280);
        config.set_u8(0x5b, 0x02); // DEVACTB: SMIs by the APM port are set up, as there are none.
        config.set_writable(0x5b, &[0x02]);
        config.set_u16(PMBA, base & 0xffc0 | 1);
        config.set_writable(PMBA, &[0xc0, 0xff]);
        config.set_u8(PMREGMISC, 1);
        config.set_writable(PMREGMISC, &[1]);
        config.set_u16(0x90, 1); // SMBBA: there is no SMBus behind it.
        config.set_writable(0x90, &[0xf0, 0xff]);
        config.set_writable(0xd2, &[0x0f]);
        let mut function = Piix4Pm { config, ports, pm, place: None };
        function.update();
        function
    }

    fn update(&mut self) {
        let base = u64::from(self.config.u16(PMBA) & 0xffc0);
        let on = self.config.read(PMREGMISC, 1) & 1 != 0 && base != 0;
        if self.place.map(|(base, _)| base) == on.then_some(base) {
            return;
        }
        if let Some((_, place)) = self.place.take() {
            self.ports.remove(place);
        }
        if on {
            let place = self.ports.add(base..base + AcpiPm::PORTS, self.pm.clone());
            self.place = Some((base, place));
        }
    }
}

impl Function for Piix4Pm {
    fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    fn reset(&mut self) {
        self.update();
        self.pm.lock().reset();
    }

    fn write_config(&mut self, offset: u8, bytes: u8, value: u32) {
        self.config.write(offset, bytes, value);
        self.update();
    }
}

impl fmt::Debug for Piix4Pm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Piix4Pm").field(&self.config).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system_control::notes::{Asked, Notes};
    use crate::testing::Levels;
    use mynah_bus::Clock;

    struct Rig {
        pm: Arc<Mutex<AcpiPm>>,
        ports: Arc<Map>,
        function: Piix4Pm,
        timers: Timers,
        levels: Arc<Levels>,
        notes: Arc<Notes>,
    }

    fn rig() -> Rig {
        let timers = Timers::new(Clock::stopped());
        let (levels, notes) = (Levels::new(), Notes::new());
        let pm = AcpiPm::new(levels.line(9), &timers, notes.clone());
        let ports = Arc::new(Map::new());
        ports.add(0xb2..0xb4, Arc::new(Mutex::new(Apm::new(pm.clone()))));
        let function = Piix4Pm::new(pm.clone(), ports.clone(), 0x600);
        Rig { pm, ports, function, timers, levels, notes }
    }

    #[test]
    fn the_timer_counts_at_its_rate_and_overflows() {
        let rig = rig();
        rig.ports.write(0xb2, 1, Apm::ACPI_ENABLE.into());
        rig.timers.advance(SECOND);
        assert_eq!(rig.ports.read(0x608, 4), FREQUENCY);
        rig.ports.write(0x602, 2, pm1::TMR.into());
        rig.timers.advance(SECOND);
        assert!(!rig.levels.is_high(9));
        rig.timers.advance(SECOND / 2); // The highest bit changes after 2.34 s.
        assert!(rig.levels.is_high(9));
        assert_eq!(rig.ports.read(0x600, 4), 0x1_0001);
        rig.ports.write(0x600, 2, 1);
        assert!(!rig.levels.is_high(9));
        rig.timers.advance(5 * SECOND);
        assert_eq!(rig.ports.read(0x608, 4), 7 * FREQUENCY + FREQUENCY / 2 & TIMER_MASK);
        assert!(rig.levels.is_high(9));
    }

    #[test]
    fn the_power_button_interrupts_in_acpi_mode() {
        let rig = rig();
        rig.ports.write(0x602, 2, 0xffff);
        assert_eq!(rig.ports.read(0x602, 2), u64::from(pm1::ENABLE));
        rig.pm.lock().press_power_button();
        assert!(!rig.levels.is_high(9) && !rig.pm.lock().is_acpi_enabled());
        rig.ports.write(0xb2, 1, Apm::ACPI_ENABLE.into());
        assert!(rig.levels.is_high(9));
        assert_eq!(rig.ports.read(0x604, 2), 1);
        rig.ports.write(0x601, 1, 1);
        assert!(!rig.levels.is_high(9));
    }

    #[test]
    fn soft_off() {
        let rig = rig();
        rig.ports.write(0x604, 2, 0x3c01);
        assert_eq!(rig.notes.take(), []);
        rig.ports.write(0x604, 2, 0x2001);
        assert_eq!(rig.notes.take(), [Asked::PowerOff]);
    }

    #[test]
    fn firmware_moves_the_registers() {
        let mut rig = rig();
        rig.function.write_config(PMBA, 4, 0xb001);
        assert_eq!((rig.ports.read(0x604, 2), rig.ports.read(0xb004, 2)), (0xffff, 0));
        rig.function.write_config(PMREGMISC, 1, 0);
        assert_eq!(rig.ports.read(0xb004, 2), 0xffff);
        rig.function.config().reset();
        rig.function.reset();
        assert_eq!(rig.ports.read(0x604, 2), 0);
    }
}
