//! The ISA bridge of the 440FX set, device 1: 82371SB (PIIX3) data sheet. Here it is the router of
//! PCI interrupts; its other functions are the chips of their own names.

use super::{Class, Config, Function, Identity, status};
use mynah_bus::{IrqLine, Pins};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Route control: bit 7 disables, bits 3 to 0 are the ISA interrupt.
const PIRQRC: u8 = 0x60;
const DISABLED: u8 = 0x80;

/// Routes PIRQA to PIRQD, its pins 0 to 3: each to an input of its own, and to the ISA interrupt
/// that PIIX3 is programmed for.
pub struct PirqRouter {
    direct: [IrqLine; 4],
    isa: Vec<IrqLine>,
    state: Mutex<Routes>,
}

#[derive(Clone, Copy)]
struct Routes {
    level: [bool; 4],
    pirqrc: [u8; 4],
}

impl PirqRouter {
    /// A router to `direct` (inputs of an IOAPIC) and `isa`, lines by the number of the ISA
    /// interrupt. ISA interrupts without a line cannot be routed to.
    pub fn new(direct: [IrqLine; 4], isa: Vec<IrqLine>) -> Arc<PirqRouter> {
        let state = Routes { level: [false; 4], pirqrc: [DISABLED; 4] };
        Arc::new(PirqRouter { direct, isa, state: Mutex::new(state) })
    }

    fn change(&self, change: impl FnOnce(&mut Routes)) {
        let mut state = self.state.lock();
        change(&mut state);
        for (line, level) in self.direct.iter().zip(state.level) {
            line.set(level);
        }
        for (irq, line) in (0..).zip(&self.isa) {
            // A disabled route has bit 7 set, and is no interrupt's number.
            let routed = |(rc, level): (&u8, &bool)| *rc == irq && *level;
            line.set(state.pirqrc.iter().zip(&state.level).any(routed));
        }
    }
}

impl Pins for PirqRouter {
    fn set(&self, pin: u32, level: bool) {
        self.change(|routes| {
            if let Some(at) = routes.level.get_mut(pin as usize) {
                *at = level;
            }
        });
    }
}

impl fmt::Debug for PirqRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = *self.state.lock();
        f.debug_struct("PirqRouter")
            .field("level", &state.level)
            .field("pirqrc", &state.pirqrc)
            .finish()
    }
}

/// The ISA bridge.
#[derive(Debug)]
pub struct Piix3 {
    config: Config,
    router: Arc<PirqRouter>,
}

impl Piix3 {
    /// The bridge, which programs `router`.
    pub fn new(router: Arc<PirqRouter>) -> Piix3 {
        let mut config = Config::new(Identity {
            vendor: 0x8086,
            device: 0x7000,
            revision: 0,
            class: Class(6, 1, 0),
            subsystem_vendor: 0,
            subsystem: 0,
        });
        config.set_multifunction();
        config.set_u16(super::reg::COMMAND, 0x0007);
        config.set_u16(super::reg::STATUS, status::DEVSEL_MEDIUM);
        config.set_u8(0x4c, 0x4d); // IORT
        config.set_u8(0x4e, 0x03); // XBCS
        config.set_writable(0x4c, &[0xff, 0, 0xff, 0x01]);
        for pirq in 0..4 {
            config.set_u8(PIRQRC + pirq, DISABLED);
        }
        config.set_writable(PIRQRC, &[0x8f; 4]);
        config.set_u8(0x69, 0x02); // TOM
        config.set_writable(0x69, &[0xfe]);
        config.set_u8(0x70, 0x80); // MBIRQ
        config.set_writable(0x70, &[0xef, 0xef]);
        config.set_writable(0x76, &[0x87, 0x87]); // MBDMA
        config.set_writable(0x78, &[0xff, 0xff]); // PCSC
        config.set_writable(0x80, &[0x7f]); // APICBASE
        config.set_writable(0x82, &[0x0f]); // DLC
        config.set_writable(0xa0, &[0x1f, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0xff]);
        Piix3 { config, router }
    }

    fn update(&self) {
        let pirqrc = self.config.u32(PIRQRC).to_le_bytes();
        self.router.change(|routes| routes.pirqrc = pirqrc);
    }
}

impl Function for Piix3 {
    fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    fn reset(&mut self) {
        self.update();
    }

    fn write_config(&mut self, offset: u8, bytes: u8, value: u32) {
        self.config.write(offset, bytes, value);
        self.update();
    }
}
