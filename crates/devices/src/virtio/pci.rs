//! The PCI transport (chapter 4.1).

use super::Model;
use super::ring::{Engine, Served, Setup};
use super::worker::{Bell, Reported, serve};
use crate::pci::{BarKind, Config, Function, Identity};
use mynah_bus::{Ram, ones};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

const DRIVER_OK: u8 = VIRTIO_CONFIG_S_DRIVER_OK as u8;
const FEATURES_OK: u8 = VIRTIO_CONFIG_S_FEATURES_OK as u8;
const NEEDS_RESET: u8 = VIRTIO_CONFIG_S_NEEDS_RESET as u8;

/// Features of every device.
const FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// The base address registers: MSI-X tables, and the structures.
const MSIX_BAR: u8 = 1;
const BAR: u8 = 4;
/// The structures are one after the other, with as many bytes for each.
const STEP: u64 = 0x1000;
const COMMON: u64 = 0;
const ISR: u64 = 1;
const DEVICE: u64 = 2;
const NOTIFY: u64 = 3;
/// The notification address of a queue is this times its number.
const NOTIFY_STEP: u32 = 4;

/// No MSI-X vector.
const NO_VECTOR: u16 = 0xffff;

/// Bits of the ISR status.
const ISR_QUEUE: u8 = 1 << 0;
const ISR_CONFIG: u8 = 1 << 1;

/// What the driver sets up.
struct State {
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_feature: u64,
    config_msix_vector: u16,
    device_status: u8,
    queue_select: u16,
    queues: Vec<Setup>,
    vectors: Vec<u16>,
    isr: u8,
}

impl State {
    fn new(sizes: &[u16]) -> State {
        let setup = |size: &u16| Setup { size: *size, ..Setup::default() };
        State {
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_feature: 0,
            config_msix_vector: NO_VECTOR,
            device_status: 0,
            queue_select: 0,
            queues: sizes.iter().map(setup).collect(),
            vectors: vec![NO_VECTOR; sizes.len()],
            isr: 0,
        }
    }
}

/// A device.
pub struct Virtio {
    config: Config,
    state: State,
    offered: u64,
    sizes: &'static [u16],
    /// The device-specific configuration.
    device: Vec<u8>,
    /// The capability through which configuration accesses reach the structures.
    window: u8,
    engine: Arc<Mutex<Engine>>,
    /// Has the thread let go of the engine soon.
    halt: Arc<AtomicBool>,
    /// Of the engine's epochs, the one that this is in.
    epoch: u64,
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

impl Virtio {
    /// A device and its thread.
    ///
    /// # Errors
    /// If the host has no thread for it.
    pub fn new(mut model: Box<dyn Model>, ram: &Ram) -> std::io::Result<Arc<Mutex<Virtio>>> {
        let mut config = Config::new(Identity {
            vendor: 0x1af4,
            device: 0x1040 + model.id(),
            revision: 1,
            class: model.class(),
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        });
        let sizes = model.queues();
        config.set_interrupt_pin(1);
        config.add_bar(MSIX_BAR, BarKind::Memory, 0x1000);
        config.add_bar(BAR, BarKind::Prefetchable64, 4 * STEP);
        config.add_msix(sizes.len() as u16 + 1, MSIX_BAR, 0, 0x800);
        for (kind, structure, extra) in
            [(1, COMMON, None), (3, ISR, None), (4, DEVICE, None), (2, NOTIFY, Some(NOTIFY_STEP))]
        {
            add_capability(&mut config, kind, structure, extra);
        }
        let window = add_capability(&mut config, 5, COMMON, Some(0));
        // cap.bar; cap.offset, cap.length and the data.
        config.set_writable(window + 4, &[0xff]);
        config.set_writable(window + 8, &[0xff; 8]);

        let (bell, halt) = (Bell::default(), Arc::new(AtomicBool::new(true)));
        let (offered, device) = (model.features() | FEATURES, model.config());
        model.start(bell.clone());
        let engine = Arc::new(Mutex::new(Engine::new(model, ram.clone(), halt.clone())));
        let virtio = Arc::new(Mutex::new(Virtio {
            config,
            state: State::new(sizes),
            offered,
            sizes,
            device,
            window,
            engine: engine.clone(),
            halt,
            epoch: 0,
            bell: bell.clone(),
            thread: None,
        }));
        let report = {
            let virtio = Arc::downgrade(&virtio);
            move |served| report(&virtio, served)
        };
        let thread = std::thread::Builder::new().name("virtio".to_owned());
        let thread = thread.spawn(move || serve(&bell, &engine, report))?;
        virtio.lock().thread = Some(thread);
        Ok(virtio)
    }

    // Registers.

    /// The common configuration structure (4.1.4.3).
    fn common(&self) -> [u8; 0x38] {
        let state = &self.state;
        let queue = self.queue();
        let setup = queue.map_or(Setup::default(), |at| state.queues[at]);
        let vector = queue.map_or(NO_VECTOR, |at| state.vectors[at]);
        let half = |features: u64, select: u32| match select {
            0 => features as u32,
            1 => (features >> 32) as u32,
            _ => 0,
        };
        let mut bytes = [0; 0x38];
        let mut at = 0;
        let mut put = |value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        };
        put(&state.device_feature_select.to_le_bytes());
        put(&half(self.offered, state.device_feature_select).to_le_bytes());
        put(&state.driver_feature_select.to_le_bytes());
        put(&half(state.driver_feature, state.driver_feature_select).to_le_bytes());
        put(&state.config_msix_vector.to_le_bytes());
        put(&(state.queues.len() as u16).to_le_bytes());
        put(&[state.device_status, 0]);
        put(&state.queue_select.to_le_bytes());
        put(&setup.size.to_le_bytes());
        put(&vector.to_le_bytes());
        put(&u16::from(setup.enabled).to_le_bytes());
        put(&queue.map_or(0, |at| at as u16).to_le_bytes());
        put(&setup.descriptors.to_le_bytes());
        put(&setup.driver.to_le_bytes());
        put(&setup.device.to_le_bytes());
        bytes
    }

    /// The selected queue, if there is such.
    fn queue(&self) -> Option<usize> {
        let at = usize::from(self.state.queue_select);
        (at < self.state.queues.len()).then_some(at)
    }

    fn write_common(&mut self, offset: u64, bytes: u8, value: u64) {
        let vector = |value: u64| {
            let value = value as u16;
            if usize::from(value) <= self.sizes.len() { value } else { NO_VECTOR }
        };
        let negotiating = self.state.device_status & FEATURES_OK == 0;
        let running = self.state.device_status & DRIVER_OK != 0;
        let queue = self.queue();
        match (offset, bytes) {
            (0x00, 4) => self.state.device_feature_select = value as u32,
            (0x08, 4) => self.state.driver_feature_select = value as u32,
            (0x0c, 4) if negotiating => {
                let shift = match self.state.driver_feature_select {
                    0 => 0,
                    1 => 32,
                    _ => return,
                };
                let kept = self.state.driver_feature & !(0xffff_ffff << shift);
                self.state.driver_feature = kept | value << shift;
            }
            (0x10, 2) => self.state.config_msix_vector = vector(value),
            (0x14, 1) => self.write_status(value as u8),
            (0x16, 2) => self.state.queue_select = value as u16,
            (0x1a, 2) => {
                let vector = vector(value);
                if let Some(at) = queue {
                    self.state.vectors[at] = vector;
                }
            }
            // The rest is of the queue, before the driver is ready.
            (0x18..0x38, _) if !running => {
                let Some(at) = queue else { return };
                let max = self.sizes[at];
                let setup = &mut self.state.queues[at];
                let set = |address: &mut u64, high: bool| match (bytes, high) {
                    (8, false) => *address = value,
                    (4, false) => *address = *address & !0xffff_ffff | value,
                    (4, true) => *address = *address & 0xffff_ffff | value << 32,
                    _ => {}
                };
                match (offset, bytes) {
                    (0x18, 2) => {
                        let size = value as u16;
                        if size.is_power_of_two() && size <= max {
                            setup.size = size;
                        }
                    }
                    // A queue is enabled until the device is reset.
                    (0x1c, 2) => setup.enabled |= value == 1,
                    (0x20 | 0x24, _) => set(&mut setup.descriptors, offset & 4 != 0),
                    (0x28 | 0x2c, _) => set(&mut setup.driver, offset & 4 != 0),
                    (0x30 | 0x34, _) => set(&mut setup.device, offset & 4 != 0),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn write_status(&mut self, value: u8) {
        if value == 0 {
            self.reset_device();
            return;
        }
        let old = self.state.device_status;
        // The driver does not clear bits, other than all.
        let mut new = value | old;
        let rising = new & !old;
        if rising & FEATURES_OK != 0 {
            let driver = self.state.driver_feature;
            let agreed = driver & !self.offered == 0 && driver & 1 << VIRTIO_F_VERSION_1 != 0;
            if !agreed {
                new &= !FEATURES_OK;
            }
        }
        if new & FEATURES_OK == 0 {
            new &= !DRIVER_OK;
        }
        self.state.device_status = new;
        if new & !old & DRIVER_OK != 0 {
            let features = self.state.driver_feature;
            let event_idx = features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
            if self.engine.lock().activate(features, event_idx, &self.state.queues) {
                self.update_halt();
            } else {
                self.needs_reset();
            }
        }
    }

    /// The thread works if the driver is ready and the device may access memory.
    fn update_halt(&mut self) {
        let runs = self.state.device_status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK;
        let may = runs && self.config.is_bus_master();
        let halted = self.halt.swap(!may, Ordering::AcqRel);
        if may && halted {
            // What the driver did before, and what waited.
            self.bell.ring_all(ones_of(self.sizes.len()));
        }
    }

    fn reset_device(&mut self) {
        self.halt.store(true, Ordering::Release);
        // Waits for the request that is being worked on.
        let mut engine = self.engine.lock();
        engine.reset();
        self.epoch = engine.epoch;
        drop(engine);
        self.state = State::new(self.sizes);
        self.config.set_intx(false);
    }

    fn needs_reset(&mut self) {
        tracing::warn!("the driver of a virtio device broke the rules");
        self.state.device_status |= NEEDS_RESET;
        self.update_halt();
        self.interrupt(self.state.config_msix_vector, ISR_CONFIG);
    }

    fn interrupt(&mut self, vector: u16, isr: u8) {
        if self.config.is_msix_enabled() {
            if vector != NO_VECTOR {
                self.config.send(vector);
            }
        } else {
            self.state.isr |= isr;
            self.config.set_intx(true);
        }
    }

    /// Tells the driver what the thread has done.
    fn report(&mut self, served: Served) {
        if served.epoch != self.epoch {
            return;
        }
        if served.broken {
            self.needs_reset();
        }
        // Queues may share a vector.
        let mut sent = Vec::new();
        for at in 0..self.sizes.len() {
            let vector = self.state.vectors[at];
            if served.used >> at & 1 != 0 && !sent.contains(&vector) {
                sent.push(vector);
                self.interrupt(vector, ISR_QUEUE);
            }
        }
    }

    // The structures.

    fn read_structure(&mut self, offset: u64, bytes: u8) -> u64 {
        let (structure, at) = (offset / STEP, (offset % STEP) as usize);
        let slice = |from: &[u8]| {
            let byte = |i: usize| from.get(at + i).copied().map_or(0, u64::from);
            (0..usize::from(bytes.min(8))).fold(0, |value, i| value | byte(i) << (i * 8))
        };
        match structure {
            COMMON => slice(&self.common()),
            ISR if at == 0 => {
                let isr = std::mem::take(&mut self.state.isr);
                self.config.set_intx(false);
                u64::from(isr)
            }
            DEVICE => slice(&self.device),
            _ => 0,
        }
    }

    fn write_structure(&mut self, offset: u64, bytes: u8, value: u64) {
        let (structure, at) = (offset / STEP, offset % STEP);
        match structure {
            COMMON => self.write_common(at, bytes, value),
            NOTIFY => {
                let queue = (at / u64::from(NOTIFY_STEP)) as usize;
                if queue < self.sizes.len() {
                    self.bell.ring(queue);
                }
            }
            _ => {}
        }
    }

    /// What the window capability is set to: an offset in the structures, and bytes.
    fn window(&self) -> Option<(u64, u8)> {
        let bar = self.config.read(self.window + 4, 1) as u8;
        let offset = u64::from(self.config.u32(self.window + 8));
        let len = self.config.u32(self.window + 12) as u8;
        let fits = bar == BAR
            && matches!(len, 1 | 2 | 4)
            && offset.is_multiple_of(len.into())
            && offset < 4 * STEP;
        fits.then_some((offset, len))
    }
}

impl Function for Virtio {
    fn config(&mut self) -> &mut Config {
        &mut self.config
    }

    fn read(&mut self, bar: u8, offset: u64, bytes: u8) -> u64 {
        if bar == BAR { self.read_structure(offset, bytes) } else { ones(bytes) }
    }

    fn write(&mut self, bar: u8, offset: u64, bytes: u8, value: u64) {
        if bar == BAR {
            self.write_structure(offset, bytes, value);
        }
    }

    fn reset(&mut self) {
        self.reset_device();
    }

    fn read_config(&mut self, offset: u8, bytes: u8) -> u32 {
        let data = self.window + 16;
        if (data..data + 4).contains(&offset)
            && let Some((at, len)) = self.window()
        {
            let value = self.read_structure(at, len) as u32;
            self.config.put(data, &value.to_le_bytes()[..usize::from(len)]);
        }
        self.config.read(offset, bytes)
    }

    fn write_config(&mut self, offset: u8, bytes: u8, value: u32) {
        let data = self.window + 16;
        if (data..data + 4).contains(&offset) {
            let mut all = self.config.u32(data).to_le_bytes();
            for (byte, new) in all[usize::from(offset - data)..].iter_mut().zip(value.to_le_bytes())
            {
                *byte = new;
            }
            if let Some((at, len)) = self.window() {
                let value = u64::from(u32::from_le_bytes(all)) & ones(len);
                self.write_structure(at, len, value);
            }
            return;
        }
        self.config.write(offset, bytes, value);
        self.update_halt();
    }
}

impl Drop for Virtio {
    fn drop(&mut self) {
        self.halt.store(true, Ordering::Release);
        self.bell.close();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

/// Adds a capability of a structure (4.1.4). Where it is.
fn add_capability(config: &mut Config, kind: u8, structure: u64, extra: Option<u32>) -> u8 {
    let len = if extra.is_some() { 20 } else { 16 };
    let mut body = vec![len, kind, BAR, 0, 0, 0];
    let is_window = kind == 5;
    let (offset, size) = if is_window { (0, 0) } else { (structure * STEP, STEP) };
    body.extend((offset as u32).to_le_bytes());
    body.extend((size as u32).to_le_bytes());
    body.extend(extra.map(u32::to_le_bytes).into_iter().flatten());
    config.add_capability(0x09, &body)
}

fn ones_of(bits: usize) -> u64 {
    (1 << bits) - 1
}

fn report(virtio: &Weak<Mutex<Virtio>>, served: Served) -> Reported {
    match virtio.upgrade() {
        Some(virtio) => {
            virtio.lock().report(served);
            Reported::Yes
        }
        None => Reported::Gone,
    }
}
