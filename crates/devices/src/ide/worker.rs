//! The threads that wait for the host's storage.

use super::channel::Channel;
use mynah_disk::{Disk, SECTOR};
use parking_lot::Mutex;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

/// Work on a drive's disk.
#[derive(Debug)]
pub(super) enum Job {
    /// Read as many sectors.
    Read { sector: u64, sectors: usize },
    /// Write these, and see to it that they last if the drive has no write cache.
    Write { sector: u64, bytes: Vec<u8>, through: bool },
    /// Make what was written last.
    Flush,
}

/// A job for a drive. Its result is of no interest any more if the channel's generation is another
/// one then.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) drive: usize,
    pub(super) generation: u64,
    pub(super) job: Job,
}

/// What is in a drive.
type Medium = Arc<Mutex<Option<Box<dyn Disk>>>>;

/// A channel's thread, and what its drives work on.
pub(super) struct Worker {
    pub(super) media: [Medium; 2],
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// The worker of a channel. It ends when the channel is closed.
    pub(super) fn new(of: &Arc<Mutex<Channel>>) -> Worker {
        let media = [Medium::default(), Medium::default()];
        let (sender, receiver) = channel();
        of.lock().employ(sender);
        let work = {
            let (of, media) = (Arc::downgrade(of), media.clone());
            move || serve(&receiver, &of, &media)
        };
        let thread = std::thread::Builder::new().name("ide".to_owned()).spawn(work);
        // Without a thread there is nobody to receive, and every job fails.
        Worker { media, thread: thread.ok() }
    }

    /// Waits for the thread's end.
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

/// Where a channel leaves its jobs.
pub(super) type Jobs = Sender<Task>;

fn serve(tasks: &Receiver<Task>, channel: &Weak<Mutex<Channel>>, media: &[Medium; 2]) {
    while let Ok(Task { drive, generation, job }) = tasks.recv() {
        let result = perform(media[drive].lock().as_mut(), job);
        let Some(channel) = channel.upgrade() else { break };
        channel.lock().done(generation, result);
    }
    for medium in media {
        if let Some(disk) = medium.lock().as_mut()
            && let Err(error) = disk.flush()
        {
            tracing::error!("the last flush of a disk: {error}");
        }
    }
}

fn perform(disk: Option<&mut Box<dyn Disk>>, job: Job) -> io::Result<Vec<u8>> {
    let Some(disk) = disk else { return Err(io::ErrorKind::NotFound.into()) };
    match job {
        Job::Read { sector, sectors } => {
            let mut buffer = vec![0; sectors * SECTOR];
            disk.read(sector, &mut buffer)?;
            Ok(buffer)
        }
        Job::Write { sector, bytes, through } => {
            disk.write(sector, &bytes)?;
            if through {
                disk.flush()?;
            }
            Ok(Vec::new())
        }
        Job::Flush => disk.flush().map(|()| Vec::new()),
    }
}
