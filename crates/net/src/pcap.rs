//! Files of frames, in the format of libpcap.

use crate::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a frame that are kept, at most.
const SNAP: u32 = 262_144;

/// A file of frames.
pub(crate) struct Pcap {
    file: Option<BufWriter<File>>,
    path: PathBuf,
}

impl Pcap {
    pub(crate) fn create(path: PathBuf) -> Result<Pcap, Error> {
        let file = File::create(&path).map_err(|error| {
            Error::new(format!("the file of frames {} cannot be written: {error}", path.display()))
        })?;
        let mut pcap = Pcap { file: Some(BufWriter::new(file)), path };
        let mut header = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        header.extend(2_u16.to_le_bytes());
        header.extend(4_u16.to_le_bytes());
        header.extend([0; 8]);
        header.extend(SNAP.to_le_bytes());
        header.extend(1_u32.to_le_bytes()); // Ethernet
        pcap.put(&header);
        Ok(pcap)
    }

    /// Adds a frame.
    pub(crate) fn frame(&mut self, frame: &[u8]) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let kept = &frame[..frame.len().min(SNAP as usize)];
        let words =
            [time.as_secs() as u32, time.subsec_micros(), kept.len() as u32, frame.len() as u32];
        let mut record: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        record.extend(kept);
        self.put(&record);
    }

    /// Has what was added in the file.
    pub(crate) fn flush(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(Write::flush) {
            self.fail(&error);
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.write_all(bytes)) {
            self.fail(&error);
        }
    }

    /// Says so, once; the network goes on.
    fn fail(&mut self, error: &std::io::Error) {
        tracing::error!("no more frames in {}: {error}", self.path.display());
        self.file = None;
    }
}
