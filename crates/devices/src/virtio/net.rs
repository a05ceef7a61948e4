//! The network device (chapter 5.1), with one pair of queues.

use super::{Bell, Chain, Model, Ring};
use crate::pci::Class;
use mynah_net::Wire;
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};

const RECEIVE: usize = 0;

/// Bytes of `virtio_net_hdr`.
const HEADER: usize = 12;
/// Where it says in how many buffers a frame is.
const NUM_BUFFERS: usize = 10;

/// A frame's bytes, at most: without offloads the driver sends no greater ones.
const FRAME: usize = 65_550;

/// Buffers of a frame, at most.
const BUFFERS: usize = 32;

/// A network device.
pub struct Net {
    mac: [u8; 6],
    wire: Box<dyn Wire>,
    /// The driver takes frames in several buffers.
    merge: bool,
    /// A frame that waits for buffers.
    held: Option<Vec<u8>>,
}

impl Net {
    /// A device with this address, plugged into `wire`.
    pub fn new(mac: [u8; 6], wire: Box<dyn Wire>) -> Net {
        Net { mac, wire, merge: false, held: None }
    }

    /// Gives the driver frames.
    fn receive(&mut self, ring: &mut Ring<'_>) {
        while let Some(frame) = self.held.take().or_else(|| self.wire.receive()) {
            if let Err(frame) = self.deliver(frame, ring) {
                self.held = Some(frame);
                break;
            }
        }
    }

    /// Puts a frame into buffers; it comes back if there are too few.
    fn deliver(&self, frame: Vec<u8>, ring: &mut Ring<'_>) -> Result<(), Vec<u8>> {
        let len = HEADER + frame.len();
        let (mut chains, mut room): (Vec<Chain<'_>>, usize) = (Vec::new(), 0);
        while room < len {
            match ring.pop() {
                Some(chain) => {
                    room += chain.writable();
                    chains.push(chain);
                }
                None => {
                    ring.put_back(&chains);
                    return Err(frame);
                }
            }
            if !self.merge || chains.len() == BUFFERS {
                break;
            }
        }
        let mut header = [0; HEADER];
        header[NUM_BUFFERS..].copy_from_slice(&(chains.len() as u16).to_le_bytes());
        let whole = [&header[..], &frame].concat();
        let mut rest = &whole[..];
        for mut chain in chains {
            // A frame that does not fit into its buffers is lost.
            if room >= len {
                let (piece, after) = rest.split_at(rest.len().min(chain.writable()));
                let _ = chain.write(piece);
                rest = after;
            }
            ring.push(chain);
        }
        Ok(())
    }

    fn send(&mut self, ring: &mut Ring<'_>) {
        let mut frame = Vec::new();
        while let Some(mut chain) = ring.pop() {
            let mut header = [0; HEADER];
            let len = chain.readable().saturating_sub(HEADER);
            if chain.read(&mut header).is_ok() && (1..=FRAME).contains(&len) {
                frame.resize(len, 0);
                if chain.read(&mut frame).is_ok() {
                    self.wire.send(&frame);
                }
            }
            ring.push(chain);
        }
    }
}

impl Model for Net {
    fn id(&self) -> u16 {
        VIRTIO_ID_NET as u16
    }

    fn class(&self) -> Class {
        Class(2, 0, 0)
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_STATUS | 1 << VIRTIO_NET_F_MRG_RXBUF
    }

    fn queues(&self) -> &'static [u16] {
        &[256, 256]
    }

    /// 5.1.4.
    fn config(&self) -> Vec<u8> {
        let mut config = self.mac.to_vec();
        config.extend((VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
        config.extend(1_u16.to_le_bytes());
        config
    }

    fn start(&mut self, bell: Bell) {
        self.wire.on_arrival(Box::new(move || bell.ring(RECEIVE)));
    }

    fn activate(&mut self, features: u64) {
        self.merge = features & 1 << VIRTIO_NET_F_MRG_RXBUF != 0;
    }

    fn process(&mut self, queue: usize, ring: &mut Ring<'_>) {
        if queue == RECEIVE { self.receive(ring) } else { self.send(ring) }
    }

    fn reset(&mut self) {
        self.held = None;
        self.merge = false;
        self.wire.clear();
    }
}
