//! The host bridge of the 440FX set, device 0: 82441FX PMC data sheet.

use super::{Class, Config, Function, Identity, status};
use std::fmt;
use std::ops::Range;

/// How the region under a programmable attribute map register reaches RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shadow {
    /// Reads find RAM (`true`), or the ROM behind PCI.
    pub read: bool,
    /// Writes go to RAM (`true`), or to PCI, where a ROM ignores them.
    pub write: bool,
}

/// What is told of a region's [`Shadow`].
type OnShadow = Box<dyn FnMut(Range<u64>, Shadow) + Send>;

const PAM0: u8 = 0x59;
const SMRAM: u8 = 0x72;

/// The host bridge.
pub struct I440fx {
    config: Config,
    on_shadow: OnShadow,
}

impl I440fx {
    /// The bridge. `on_shadow` is called when the guest changes how addresses from C0000h to FFFFFh
    /// reach RAM; after reset they do not.
    pub fn new(on_shadow: impl FnMut(Range<u64>, Shadow) + Send + 'static) -> I440fx {
        let mut config = Config::new(Identity {
            vendor: 0x8086,
            device: 0x1237,
            revision: 2,
            class: Class(6, 0, 0),
            // By these, SeaBIOS knows that there is a firmware configuration device.
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        });
        config.set_u16(super::reg::COMMAND, 0x0006);
        config.set_u16(super::reg::STATUS, status::DEVSEL_MEDIUM | 0x80);
        config.set_writable(0x50, &[0xff; 9]); // PMCCFG, DETURBO, DBC, AXC, DRT, DRAMC, DRAMT
        config.set_writable(PAM0, &[0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33]);
        config.set_writable(0x60, &[0xff; 8]); // DRB
        config.set_writable(0x68, &[0xff]); // FDHC
        config.set_u8(SMRAM, 0x02);
        config.set_writable(SMRAM, &[0x78]);
        I440fx { config, on_shadow: Box::new(on_shadow) }
    }

    /// The regions of the attribute map, each of which is switched as a whole.
    pub fn regions() -> [Range<u64>; 13] {
        std::array::from_fn(|nibble| I440fx::region(nibble as u64))
    }

    /// Makes all regions RAM, as firmware leaves them once it has copied itself. For machines
    /// without firmware.
    pub fn set_ram(&mut self) {
        self.write_config(PAM0, 4, 0x3333_3330);
        self.write_config(PAM0 + 4, 2, 0x3333);
        self.write_config(PAM0 + 6, 1, 0x33);
    }

    /// The region of a nibble of the registers, from the high one of PAM0 on.
    fn region(nibble: u64) -> Range<u64> {
        match nibble {
            0 => 0xf_0000..0x10_0000,
            _ => {
                let start = 0xc_0000 + (nibble - 1) * 0x4000;
                start..start + 0x4000
            }
        }
    }

    fn shadow(&self, nibble: u64) -> Shadow {
        let at = nibble + 1; // PAM0's low nibble is reserved.
        let bits = self.config.read(PAM0 + (at / 2) as u8, 1) >> (at % 2 * 4);
        Shadow { read: bits & 1 != 0, write: bits & 2 != 0 }
    }

    fn shadows(&self) -> [Shadow; 13] {
        std::array::from_fn(|nibble| self.shadow(nibble as u64))
    }

    fn report(&mut self, before: [Shadow; 13]) {
        for (nibble, (old, new)) in (0..).zip(before.into_iter().zip(self.shadows())) {
            if old != new {
                (self.on_shadow)(I440fx::region(nibble), new);
            }
        }
    }
}

impl Function for I440fx {
    fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    fn reset(&mut self) {
        for nibble in 0..13 {
            let shadow = self.shadow(nibble);
            (self.on_shadow)(I440fx::region(nibble), shadow);
        }
    }

    fn write_config(&mut self, offset: u8, bytes: u8, value: u32) {
        let before = self.shadows();
        self.config.write(offset, bytes, value);
        self.report(before);
    }
}

impl fmt::Debug for I440fx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("I440fx").field(&self.config).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[test]
    fn attribute_maps_report_what_changes() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let to = log.clone();
        let mut bridge = I440fx::new(move |range, shadow| to.lock().push((range, shadow)));
        let take = || std::mem::take(&mut *log.lock());
        let ram = Shadow { read: true, write: true };
        bridge.write_config(0x59, 1, 0x33);
        assert_eq!(take(), vec![(0xf_0000..0x10_0000, ram); 1]);
        bridge.write_config(0x59, 4, 0x0000_1330);
        let read = Shadow { read: true, write: false };
        let write = Shadow { read: false, write: true };
        assert_eq!(take(), [(0xc_0000..0xc_4000, ram), (0xc_4000..0xc_8000, read)]);
        bridge.write_config(0x5f, 1, 0x20);
        assert_eq!(take(), vec![(0xe_c000..0xf_0000, write); 1]);
        bridge.set_ram();
        assert_eq!(bridge.config.u32(0x5c), 0x3333_3333);
        assert_eq!(take().len(), 11);
        assert!(I440fx::regions().contains(&(0xe_c000..0xf_0000)));
    }
}
