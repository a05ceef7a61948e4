//! The network's thread.

use crate::forward::Listener;
use crate::frame::{self, Carried, MAC};
use crate::pcap::Pcap;
use crate::port::{Ends, Port};
use crate::tcp::{self, Tcp};
use crate::udp::{Udp, is_guest};
use crate::{GATEWAY, NAME_SERVER, PREFIX, arp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, IpProtocol};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The thread looks after idle connections at least so often.
const ROUND: Duration = Duration::from_secs(5);

/// When the guest has no room, it is tried again after this at the latest.
const FULL: Duration = Duration::from_millis(5);

/// All of the network's state.
pub(crate) struct Stack {
    ends: Arc<Ends>,
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
    tcp: Tcp,
    udp: Udp,
    pcap: Option<Pcap>,
    /// The guest's hardware address: of its last frame.
    guest: EthernetAddress,
    start: std::time::Instant,
    ready: Ready,
}

impl Stack {
    pub(crate) fn new(
        ends: Arc<Ends>,
        listeners: Vec<Listener>,
        pcap: Option<Pcap>,
        resolver: Option<SocketAddr>,
        restricted: bool,
    ) -> Stack {
        let mut config = Config::new(HardwareAddress::Ethernet(MAC));
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        config.random_seed = seed.unwrap_or_default().as_nanos() as u64;
        let mut port = Port::default();
        let mut interface = Interface::new(config, &mut port, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for address in [GATEWAY, NAME_SERVER] {
                // There is room for two.
                let _ = addresses.push(IpCidr::new(address.into(), PREFIX));
            }
        });
        interface.set_any_ip(true);
        let (tcp, udp) = tcp::split(listeners);
        Stack {
            ends,
            port,
            interface,
            sockets: SocketSet::new(Vec::new()),
            tcp: Tcp::new(tcp, resolver, restricted),
            udp: Udp::new(udp, resolver, restricted),
            pcap,
            guest: EthernetAddress::BROADCAST,
            start: std::time::Instant::now(),
            ready: Ready::default(),
        }
    }

    /// Works until the guest's end is closed.
    pub(crate) fn run(mut self) {
        while !self.ends.is_closed() {
            let wait = self.turn();
            if let Some(pcap) = &mut self.pcap {
                pcap.flush();
            }
            self.wait(wait);
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// Does all there is to do. How long to wait afterwards.
    fn turn(&mut self) -> Duration {
        let mut out = Vec::new();
        for frame in self.ends.take() {
            self.input(frame, &mut out);
        }
        if self.ready.connections {
            self.tcp.accept(&mut self.interface, &mut self.sockets);
        }
        if self.ready.datagrams {
            self.udp.poll(self.guest, &mut out);
        }
        self.port.room = self.ends.room().saturating_sub(out.len());
        self.poll();
        // What smoltcp received goes to the host, and the other way round; each gives the other
        // more to do, within the size of the buffers.
        if self.tcp.pump(&mut self.sockets) {
            self.poll();
        }
        self.tcp.sweep(&mut self.sockets);
        self.udp.sweep();
        out.append(&mut self.port.outgoing);
        if let Some(pcap) = &mut self.pcap {
            out.iter().for_each(|frame| pcap.frame(frame));
        }
        let is_full = out.len() >= self.ends.room();
        self.ends.full.store(is_full, Ordering::Release);
        self.ends.deliver(out);
        let now = self.now();
        let delay = self.interface.poll_delay(now, &self.sockets);
        let delay = delay.map_or(ROUND, |delay| Duration::from_micros(delay.total_micros()));
        if is_full { delay.clamp(FULL, ROUND) } else { delay.min(ROUND) }
    }

    fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.port, &mut self.sockets);
    }

    /// A frame from the guest.
    fn input(&mut self, bytes: Vec<u8>, out: &mut Vec<Vec<u8>>) {
        if let Some(pcap) = &mut self.pcap {
            pcap.frame(&bytes);
        }
        let Some((mac, carried)) = frame::parse(&bytes) else { return };
        self.guest = mac;
        let goes_on = match carried {
            Carried::Arp(payload) => arp::is_for_us(payload),
            Carried::Ipv4 { from, to, protocol: IpProtocol::Udp, payload } => {
                self.udp.input(mac, from, to, payload, out);
                false
            }
            Carried::Ipv4 { from, to, protocol: IpProtocol::Tcp, payload } => {
                self.tcp.input(from, to, payload, &mut self.sockets)
            }
            Carried::Ipv4 { from, to, protocol: IpProtocol::Icmp, .. } => {
                is_guest(from) && [GATEWAY, NAME_SERVER].contains(&to)
            }
            Carried::Ipv4 { .. } => false,
        };
        if goes_on {
            self.port.room = 1;
            self.port.incoming.push_back(bytes);
            // At once: a segment that begins a connection must find the socket made for it.
            let now = self.now();
            self.interface.poll_ingress_single(now, &mut self.port, &mut self.sockets);
        }
    }

    /// Waits for the guest, the host or time.
    fn wait(&mut self, most: Duration) {
        let mut fds = vec![PollFd::new(self.ends.event(), PollFlags::IN)];
        fds.extend(self.udp.sockets().map(|socket| PollFd::new(socket, PollFlags::IN)));
        let others = fds.len();
        fds.extend(self.tcp.listeners().map(|socket| PollFd::new(socket, PollFlags::IN)));
        let flows = fds.len();
        let mut keys = Vec::new();
        for (key, socket, flags) in self.tcp.interests(&self.sockets) {
            keys.push(key);
            fds.push(PollFd::new(socket, flags));
        }
        let timeout =
            Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() };
        // If it is interrupted, nothing is ready, and there is a turn too many.
        let _ = poll(&mut fds, Some(&timeout));
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let ready = keys.iter().zip(&fds[flows..]).filter(|(_, fd)| is_ready(fd));
        let keys: Vec<_> = ready.map(|(key, _)| *key).collect();
        self.ready = Ready {
            datagrams: fds[1..others].iter().any(is_ready),
            connections: fds[others..flows].iter().any(is_ready),
        };
        self.tcp.wake(&keys);
    }
}

/// What the host has for the guest, other than on connections.
#[derive(Default)]
struct Ready {
    datagrams: bool,
    connections: bool,
}
