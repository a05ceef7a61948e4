//! The thread of a device.

use super::ring::{Engine, Served};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// Wakes a device's thread. Clones wake the same.
#[derive(Clone, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Default)]
struct Rung {
    /// Queues to look at, by bit.
    queues: u64,
    closed: bool,
}

impl Bell {
    /// Has the device look at a queue.
    pub fn ring(&self, queue: usize) {
        if queue < 64 {
            self.ring_all(1 << queue);
        }
    }

    /// Has the device look at the queues of these bits.
    pub(super) fn ring_all(&self, queues: u64) {
        let mut rung = self.0.rung.lock();
        let was = rung.queues;
        rung.queues |= queues;
        drop(rung);
        if was == 0 && queues != 0 {
            self.0.changed.notify_one();
        }
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        self.0.rung.lock().closed = true;
        self.0.changed.notify_one();
    }

    /// Waits for rings: the bits of the queues to look at, or none at the end.
    fn wait(&self) -> Option<u64> {
        let mut rung = self.0.rung.lock();
        loop {
            if rung.closed {
                return None;
            }
            if rung.queues != 0 {
                return Some(std::mem::take(&mut rung.queues));
            }
            self.0.changed.wait(&mut rung);
        }
    }
}

/// The work of a device's thread: serves queues, and has `report` tell the driver.
pub(super) fn serve(bell: &Bell, engine: &Mutex<Engine>, report: impl Fn(Served) -> Reported) {
    while let Some(queues) = bell.wait() {
        // The driver is told without the lock: telling needs that of the device's registers, and
        // who has that may want this one.
        let served = engine.lock().serve(queues);
        bell.ring_all(served.again);
        if served.has_news() && report(served) == Reported::Gone {
            break;
        }
    }
    engine.lock().close();
}

/// Whether there is still a device to report to.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Reported {
    Yes,
    Gone,
}
