//! User networking: an Ethernet for one guest, which reaches the host's network by ordinary sockets
//! of this process, without privileges.
//!
//! The guest is at 10.0.2.15 by DHCP, its gateway at 10.0.2.2 (which is also the host's loopback
//! interface), and its name server at 10.0.2.3. Connections of TCP end here, in `smoltcp`, and go on
//! as the host's; datagrams of UDP are passed on from sockets of the host, one for each port of the
//! guest. [`Forward`]s lead from ports of the host to the guest. All that is one thread's work.

mod arp;
mod dhcp;
mod forward;
mod frame;
mod pcap;
mod port;
mod resolver;
mod stack;
mod tcp;
mod udp;

pub use forward::Forward;
pub use resolver::resolver;

use forward::Listener;
use pcap::Pcap;
use port::Ends;
use stack::Stack;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What a network device is plugged into.
pub trait Wire: Send {
    /// Sends an Ethernet frame, without its checksum. It may be lost.
    fn send(&mut self, frame: &[u8]);

    /// The next frame that has arrived.
    fn receive(&mut self) -> Option<Vec<u8>>;

    /// Has `wake` called when a frame arrives.
    fn on_arrival(&mut self, wake: Box<dyn Fn() + Send + Sync>);

    /// Forgets the frames that have arrived.
    fn clear(&mut self) {
        while self.receive().is_some() {}
    }
}

/// The guest's address, as DHCP gives it.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The gateway: the host.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The name server.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// Bits of an address that are the network's.
pub(crate) const PREFIX: u8 = 24;

/// Whether an address is in the guest's network.
pub(crate) fn is_local(address: Ipv4Addr) -> bool {
    address.octets()[..3] == GATEWAY.octets()[..3]
}

/// What the network is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    forwards: Vec<Forward>,
    pcap: Option<PathBuf>,
    resolver: Option<SocketAddr>,
    restricted: bool,
}

impl Options {
    /// A network with access to that of the host, and without forwards.
    pub fn new() -> Options {
        Options::default()
    }

    /// Adds a forward.
    pub fn forward(mut self, forward: Forward) -> Options {
        self.forwards.push(forward);
        self
    }

    /// Writes all frames to a file, for `tcpdump -r` and the like.
    pub fn pcap(self, path: impl Into<PathBuf>) -> Options {
        Options { pcap: Some(path.into()), ..self }
    }

    /// Asks this name server, in place of the first in the host's `resolv.conf`.
    pub fn resolver(self, resolver: SocketAddr) -> Options {
        Options { resolver: Some(resolver), ..self }
    }

    /// Whether the guest reaches only the gateway's own services, and the host only by forwards.
    pub fn restricted(self, restricted: bool) -> Options {
        Options { restricted, ..self }
    }

    /// Starts the network.
    pub fn start(self) -> Result<User, Error> {
        let listeners: Result<Vec<Listener>, Error> =
            self.forwards.into_iter().map(Listener::new).collect();
        let listeners = listeners?;
        let pcap = self.pcap.map(Pcap::create).transpose()?;
        let resolver = self.resolver.or_else(resolver);
        let ends =
            Ends::new().map_err(|error| Error::host("an event to wake the network", error))?;
        let ends = Arc::new(ends);
        let forwarded = listeners.iter().filter_map(Listener::local).collect();
        let stack = Stack::new(ends.clone(), listeners, pcap, resolver, self.restricted);
        let thread = std::thread::Builder::new()
            .name("net".to_owned())
            .spawn(move || stack.run())
            .map_err(|error| Error::host("a thread for the network", error))?;
        Ok(User { ends, thread: Some(thread), forwarded })
    }
}

impl fmt::Display for Options {
    /// A report of several lines, without a line break at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest {GUEST}, gateway {GATEWAY}, name server {NAME_SERVER}")?;
        if self.restricted {
            f.write_str("; nothing beyond the gateway is reached")?;
        }
        for forward in &self.forwards {
            write!(f, "\nforward {forward}")?;
        }
        if let Some(file) = &self.pcap {
            write!(f, "\nframes are written to {}", file.display())?;
        }
        Ok(())
    }
}

/// A network for one guest: the [`Wire`] of its device. It ends when it is dropped.
pub struct User {
    ends: Arc<Ends>,
    thread: Option<JoinHandle<()>>,
    forwarded: Vec<SocketAddr>,
}

impl User {
    /// The host's addresses that lead to the guest, in the order of the forwards: with the ports
    /// that the host chose where port 0 was asked for.
    pub fn forwarded(&self) -> &[SocketAddr] {
        &self.forwarded
    }
}

impl Wire for User {
    fn send(&mut self, frame: &[u8]) {
        self.ends.send(frame);
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        self.ends.receive()
    }

    fn on_arrival(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.ends.on_arrival(wake);
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.ends.close();
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

/// Why a network could not be started: what, where, and what to do.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(text: String) -> Error {
        Error(text)
    }

    fn host(what: &str, error: std::io::Error) -> Error {
        Error(format!("the host has not {what}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
