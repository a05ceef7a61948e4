//! Virtio devices on the PCI bus (Virtual I/O Device Version 1.2).
//!
//! A [`Model`] says what a device does with the buffers of its queues; [`Virtio`] is what all have
//! in common: configuration space, registers, negotiation and interrupts, and the thread that works
//! while vCPUs go on. Devices are modern ones, without the legacy interface.

mod blk;
mod console;
mod net;
mod pci;
mod ring;
mod rng;
mod worker;

pub use blk::Blk;
pub use console::{Console, Input};
pub use net::Net;
pub use pci::Virtio;
pub use ring::{Chain, Ring};
pub use rng::Rng;
pub use worker::Bell;

use crate::pci::Class;

/// What a device does.
///
/// All is called from the device's thread, except at the beginning.
pub trait Model: Send {
    /// The device's type (chapter 5).
    fn id(&self) -> u16;

    /// What it is to PCI.
    fn class(&self) -> Class;

    /// Feature bits that it offers, other than the reserved ones (24 to 40).
    fn features(&self) -> u64;

    /// The greatest size of each queue, a power of two.
    fn queues(&self) -> &'static [u16];

    /// Its configuration space, which the driver cannot change.
    fn config(&self) -> Vec<u8>;

    /// The thread that will work for it has this bell, for who brings input. Called once.
    fn start(&mut self, bell: Bell) {
        drop(bell);
    }

    /// The driver is ready, and has agreed to these features.
    fn activate(&mut self, features: u64) {
        let _ = features;
    }

    /// There may be buffers in this queue, or input for it.
    fn process(&mut self, queue: usize, ring: &mut Ring<'_>);

    /// The driver has reset the device: requests that have not been answered are forgotten.
    fn reset(&mut self) {}

    /// There will be no more requests.
    fn close(&mut self) {}
}

#[cfg(test)]
mod driver;
#[cfg(test)]
mod tests;
