//! The entropy device (chapter 5.4).

use super::{Model, Ring};
use crate::pci::Class;
use rustix::rand::{GetRandomFlags, getrandom};
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

/// At most so many bytes for a buffer: the device need not fill it.
const MOST: usize = 4096;

/// A source of random numbers: the host's.
#[derive(Default)]
pub struct Rng(());

impl Rng {
    /// The source.
    pub fn new() -> Rng {
        Rng(())
    }
}

impl Model for Rng {
    fn id(&self) -> u16 {
        VIRTIO_ID_RNG as u16
    }

    fn class(&self) -> Class {
        Class(0xff, 0, 0)
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> &'static [u16] {
        &[64]
    }

    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    fn process(&mut self, _: usize, ring: &mut Ring<'_>) {
        while let Some(mut chain) = ring.pop() {
            let mut bytes = [0; MOST];
            let wanted = chain.writable().min(MOST);
            let n = getrandom(&mut bytes[..wanted], GetRandomFlags::empty()).unwrap_or(0);
            // There is room for it.
            let _ = chain.write(&bytes[..n]);
            ring.push(chain);
        }
    }
}
