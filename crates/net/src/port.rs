//! Between the guest's device and the network's thread: frames both ways.

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames that wait in a direction, at most. Others are lost, as on a real wire.
const WAITING: usize = 1024;

/// Bytes of a frame, without a checksum.
const FRAME: std::ops::RangeInclusive<usize> = 14..=1518;

/// Both ends of the wire.
pub(crate) struct Ends {
    from_guest: Mutex<VecDeque<Vec<u8>>>,
    to_guest: Mutex<VecDeque<Vec<u8>>>,
    arrival: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Readable when the thread has something to do.
    event: OwnedFd,
    /// The thread has frames that the guest had no room for.
    pub(crate) full: AtomicBool,
    closed: AtomicBool,
}

impl Ends {
    pub(crate) fn new() -> io::Result<Ends> {
        Ok(Ends {
            from_guest: Mutex::default(),
            to_guest: Mutex::default(),
            arrival: OnceLock::new(),
            event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            full: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    // The device's end.

    pub(crate) fn send(&self, frame: &[u8]) {
        if !FRAME.contains(&frame.len()) {
            return;
        }
        let mut queue = self.from_guest.lock();
        let was_empty = queue.is_empty();
        if queue.len() < WAITING {
            queue.push_back(frame.to_vec());
        }
        drop(queue);
        if was_empty {
            self.wake();
        }
    }

    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut queue = self.to_guest.lock();
        let frame = queue.pop_front();
        let has_room = queue.len() <= WAITING / 2;
        drop(queue);
        if has_room && self.full.swap(false, Ordering::AcqRel) {
            self.wake();
        }
        frame
    }

    pub(crate) fn on_arrival(&self, wake: Box<dyn Fn() + Send + Sync>) {
        // There is one device.
        let _ = self.arrival.set(wake);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // It can only fail if it is readable anyway.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    // The thread's end.

    pub(crate) fn event(&self) -> &OwnedFd {
        &self.event
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// All frames that the guest has sent. The event is quiet until there are new ones.
    pub(crate) fn take(&self) -> VecDeque<Vec<u8>> {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        std::mem::take(&mut *self.from_guest.lock())
    }

    /// How many frames the guest has room for.
    pub(crate) fn room(&self) -> usize {
        WAITING - self.to_guest.lock().len().min(WAITING)
    }

    /// Gives frames to the guest; those that it has no room for are lost.
    pub(crate) fn deliver(&self, frames: Vec<Vec<u8>>) {
        if frames.is_empty() {
            return;
        }
        let mut queue = self.to_guest.lock();
        let room = WAITING - queue.len().min(WAITING);
        queue.extend(frames.into_iter().take(room));
        drop(queue);
        if let Some(wake) = self.arrival.get() {
            wake();
        }
    }
}

/// The network's end of the wire, as `smoltcp` sees it.
#[derive(Default)]
pub(crate) struct Port {
    pub(crate) incoming: VecDeque<Vec<u8>>,
    pub(crate) outgoing: Vec<Vec<u8>>,
    /// Frames that may still go out.
    pub(crate) room: usize,
}

pub(crate) struct Incoming(Vec<u8>);
pub(crate) struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Port {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming, Outgoing<'_>)> {
        // An answer may be too many: it is one of few.
        let frame = self.incoming.pop_front()?;
        Some((Incoming(frame), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        (self.outgoing.len() < self.room).then_some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 14 + crate::frame::MTU;
        capabilities
    }
}

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}
