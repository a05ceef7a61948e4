//! The console device (chapter 5.3), with one port.

use super::{Bell, Model, Ring};
use crate::pci::Class;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;

const RECEIVE: usize = 0;

/// VIRTIO_CONSOLE_F_SIZE: the configuration has columns and rows.
const F_SIZE: u64 = 1 << 0;

/// Input that waits for buffers, at most.
const WAITING: usize = 4096;

/// Bytes between guest and host at a time.
const PIECE: usize = 4096;

/// Where a console's output goes.
type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// A console.
pub struct Console {
    size: (u16, u16),
    output: Sink,
    input: Input,
}

/// The host's end of a console: what is typed.
#[derive(Clone, Default)]
pub struct Input(Arc<Mutex<Typed>>);

#[derive(Default)]
struct Typed {
    waiting: VecDeque<u8>,
    bell: Option<Bell>,
}

impl Input {
    /// Types `bytes`. How many there was room for: the guest has not read the others.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let mut typed = self.0.lock();
        let n = bytes.len().min(WAITING - typed.waiting.len());
        typed.waiting.extend(&bytes[..n]);
        let bell = typed.bell.clone();
        drop(typed);
        if let Some(bell) = bell {
            bell.ring(RECEIVE);
        }
        n
    }
}

impl Console {
    /// A console of `columns` and `rows` that gives what it prints to `output`; and its keyboard.
    pub fn new(columns: u16, rows: u16, output: Sink) -> (Console, Input) {
        let input = Input::default();
        (Console { size: (columns, rows), output, input: input.clone() }, input)
    }
}

impl Model for Console {
    fn id(&self) -> u16 {
        VIRTIO_ID_CONSOLE as u16
    }

    fn class(&self) -> Class {
        Class(7, 0x80, 0)
    }

    fn features(&self) -> u64 {
        F_SIZE
    }

    fn queues(&self) -> &'static [u16] {
        &[64, 64]
    }

    /// 5.3.4.
    fn config(&self) -> Vec<u8> {
        let (columns, rows) = self.size;
        let mut config = [columns.to_le_bytes(), rows.to_le_bytes()].concat();
        config.extend(1_u32.to_le_bytes());
        config.extend([0; 4]);
        config
    }

    fn start(&mut self, bell: Bell) {
        self.input.0.lock().bell = Some(bell);
    }

    fn process(&mut self, queue: usize, ring: &mut Ring<'_>) {
        if queue == RECEIVE {
            let mut typed = self.input.0.lock();
            while !typed.waiting.is_empty()
                && let Some(mut chain) = ring.pop()
            {
                let n = chain.writable().min(typed.waiting.len());
                let bytes: Vec<u8> = typed.waiting.drain(..n).collect();
                // There is room for it.
                let _ = chain.write(&bytes);
                ring.push(chain);
            }
            return;
        }
        let mut piece = [0; PIECE];
        while let Some(mut chain) = ring.pop() {
            while chain.readable() > 0 && !ring.is_halted() {
                let n = chain.readable().min(PIECE);
                if chain.read(&mut piece[..n]).is_err() {
                    break;
                }
                (self.output)(&piece[..n]);
            }
            ring.push(chain);
        }
    }

    fn reset(&mut self) {
        self.input.0.lock().waiting.clear();
    }
}
