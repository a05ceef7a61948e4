//! Queues as models see them (chapter 2.7), and what serves them.

use super::Model;
use mynah_bus::Ram;
use mynah_bus::ram::{Memory, WrittenSlice};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT, Reader, Writer};

/// At most so many buffers are served before other queues get their turn.
const TURN: u32 = 64;

/// A queue, while a model works on it.
pub struct Ring<'a> {
    queue: &'a mut Queue,
    memory: &'a Memory,
    halt: &'a AtomicBool,
    /// Buffers that may still be taken in this turn.
    turn: u32,
    /// Buffers have been used.
    used: bool,
    /// The driver broke the rules.
    broken: bool,
}

/// A buffer: what the driver has written for the device, then room for what the device writes.
pub struct Chain<'a> {
    head: u16,
    reader: Reader<'a, WrittenSlice<'a>>,
    writer: Writer<'a, WrittenSlice<'a>>,
    /// The last byte of a writer that has been cut off.
    last: Option<Writer<'a, WrittenSlice<'a>>>,
}

impl<'a> Ring<'a> {
    /// The next buffer, if there is one.
    pub fn pop(&mut self) -> Option<Chain<'a>> {
        if self.turn == 0 || self.broken || self.is_halted() {
            return None;
        }
        let chain = match self.queue.iter(self.memory) {
            Ok(mut available) => available.next()?,
            Err(_) => {
                self.broken = true;
                return None;
            }
        };
        let head = chain.head_index();
        let parts = (Reader::new(self.memory, chain.clone()), Writer::new(self.memory, chain));
        let (Ok(reader), Ok(writer)) = parts else {
            self.broken = true;
            return None;
        };
        self.turn -= 1;
        Some(Chain { head, reader, writer, last: None })
    }

    /// Gives a buffer back to the driver, with what has been written to it.
    pub fn push(&mut self, chain: Chain<'_>) {
        let written = u32::try_from(chain.written()).unwrap_or(u32::MAX);
        match self.queue.add_used(self.memory, chain.head, written) {
            Ok(()) => self.used = true,
            Err(_) => self.broken = true,
        }
    }

    /// Leaves the last buffers for later.
    pub fn put_back(&mut self, chains: &[Chain<'_>]) {
        let count = chains.len() as u16;
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(count));
    }

    /// Whether the driver wants the device to stop. A request that takes long looks now and then.
    pub fn is_halted(&self) -> bool {
        self.halt.load(Ordering::Acquire)
    }
}

impl Chain<'_> {
    /// Bytes that can still be read.
    pub fn readable(&self) -> usize {
        self.reader.available_bytes()
    }

    /// Bytes that can still be written.
    pub fn writable(&self) -> usize {
        self.writer.available_bytes()
    }

    /// Bytes that have been written.
    pub fn written(&self) -> usize {
        self.writer.bytes_written() + self.last.as_ref().map_or(0, Writer::bytes_written)
    }

    /// Keeps the last byte that can be written for [`Chain::finish`]; `false` if there is none.
    pub fn keep_last(&mut self) -> bool {
        let Some(at) = self.writable().checked_sub(1) else { return false };
        self.last = self.writer.split_at(at).ok();
        self.last.is_some()
    }

    /// Writes the byte that was kept.
    pub fn finish(&mut self, byte: u8) {
        if let Some(last) = &mut self.last {
            // There is room for one.
            let _ = last.write_all(&[byte]);
        }
    }

    /// Fills `buffer`; an error if there are not so many bytes.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer)
    }

    /// Writes `bytes`; an error if there is not so much room.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }
}

/// How the guest has set up a queue.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Setup {
    pub(super) size: u16,
    pub(super) enabled: bool,
    pub(super) descriptors: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
}

/// What a device's thread works with.
pub(super) struct Engine {
    model: Box<dyn Model>,
    ram: Ram,
    queues: Vec<Option<Queue>>,
    /// Set to have the thread let go soon.
    halt: Arc<AtomicBool>,
    /// Counts resets, so that nothing is reported of before.
    pub(super) epoch: u64,
}

/// What there is to tell the driver, and to do.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Served {
    pub(super) epoch: u64,
    /// Queues whose interrupt the driver wants, by bit.
    pub(super) used: u64,
    /// The device needs a reset.
    pub(super) broken: bool,
    /// Queues with more to do, by bit.
    pub(super) again: u64,
}

impl Served {
    pub(super) fn has_news(&self) -> bool {
        self.used != 0 || self.broken
    }
}

impl Engine {
    pub(super) fn new(model: Box<dyn Model>, ram: Ram, halt: Arc<AtomicBool>) -> Engine {
        Engine { model, ram, queues: Vec::new(), halt, epoch: 0 }
    }

    /// The driver is ready: `false` if its queues are not where they can be.
    pub(super) fn activate(&mut self, features: u64, event_idx: bool, setups: &[Setup]) -> bool {
        self.queues = setups.iter().map(|setup| queue(setup, event_idx, &self.ram)).collect();
        self.model.activate(features);
        let mut pairs = self.queues.iter().zip(setups);
        pairs.all(|(queue, setup)| queue.is_some() == setup.enabled)
    }

    /// The driver resets the device.
    pub(super) fn reset(&mut self) {
        self.queues.clear();
        self.epoch += 1;
        self.model.reset();
    }

    /// Looks at the queues of these bits.
    pub(super) fn serve(&mut self, queues: u64) -> Served {
        let mut served = Served { epoch: self.epoch, ..Served::default() };
        for at in 0..self.queues.len() {
            let bit = 1 << at;
            if queues & bit == 0 || served.broken {
                continue;
            }
            match self.serve_one(at) {
                Ok(Turn { interrupt, again }) => {
                    served.used |= if interrupt { bit } else { 0 };
                    served.again |= if again { bit } else { 0 };
                }
                Err(Broken) => served.broken = true,
            }
        }
        if served.broken {
            // Until the reset.
            self.queues.fill_with(|| None);
        }
        served
    }

    fn serve_one(&mut self, at: usize) -> Result<Turn, Broken> {
        let memory = self.ram.memory();
        let Some(queue) = &mut self.queues[at] else { return Ok(Turn::default()) };
        let (mut left, mut used) = (TURN, false);
        let again = loop {
            queue.disable_notification(memory)?;
            let before = queue.avail_idx(memory, Ordering::Acquire)?;
            let mut ring =
                Ring { queue, memory, halt: &self.halt, turn: left, used: false, broken: false };
            self.model.process(at, &mut ring);
            used |= ring.used;
            if ring.broken {
                return Err(Broken);
            }
            // A round that takes nothing counts as well, so that there is an end.
            left = ring.turn.min(left - 1);
            queue.enable_notification(memory)?;
            // What came meanwhile was not announced.
            let quiet = queue.avail_idx(memory, Ordering::Acquire)? == before;
            if quiet || left == 0 {
                break left == 0;
            }
        };
        Ok(Turn { interrupt: used && wants_interrupt(queue, memory)?, again })
    }

    pub(super) fn close(&mut self) {
        self.queues.clear();
        self.model.close();
    }
}

#[derive(Default)]
struct Turn {
    interrupt: bool,
    again: bool,
}

/// The driver broke the rules.
struct Broken;

impl From<virtio_queue::Error> for Broken {
    fn from(_: virtio_queue::Error) -> Broken {
        Broken
    }
}

fn queue(setup: &Setup, event_idx: bool, ram: &Ram) -> Option<Queue> {
    use mynah_bus::ram::vm_memory::GuestAddress;
    if !setup.enabled {
        return None;
    }
    let mut queue = Queue::new(setup.size).ok()?;
    queue.try_set_desc_table_address(GuestAddress(setup.descriptors)).ok()?;
    queue.try_set_avail_ring_address(GuestAddress(setup.driver)).ok()?;
    queue.try_set_used_ring_address(GuestAddress(setup.device)).ok()?;
    queue.set_event_idx(event_idx);
    queue.set_ready(true);
    queue.is_valid(ram.memory()).then_some(queue)
}

fn wants_interrupt(queue: &mut Queue, memory: &Memory) -> Result<bool, Broken> {
    use mynah_bus::ram::vm_memory::{Bytes, GuestAddress};
    if queue.event_idx_enabled() {
        return Ok(queue.needs_notification(memory)?);
    }
    // What was used is seen before the flags are looked at.
    std::sync::atomic::fence(Ordering::SeqCst);
    let flags: u16 =
        memory.load(GuestAddress(queue.avail_ring()), Ordering::Relaxed).map_err(|_| Broken)?;
    Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
}
