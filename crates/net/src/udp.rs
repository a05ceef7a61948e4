//! Datagrams: from the guest to anywhere, by a socket of the host for each port of the guest, and
//! from forwarded ports to the guest.

use crate::forward::Listener;
use crate::resolver::PORT;
use crate::{GATEWAY, NAME_SERVER, dhcp, frame, is_local};
use smoltcp::wire::EthernetAddress;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// Ports of the guest that have a socket, at most: then the one that has been quiet for the longest
/// is given up.
const FLOWS: usize = 256;
/// When a quiet one is given up anyway.
const IDLE: Duration = Duration::from_secs(120);
/// Senders to a forwarded port whose answers find back, at most.
const PEERS: usize = 256;
/// The first port of the gateway that stands for such a sender.
const FIRST_PEER: u16 = 40_000;
/// Datagrams that are taken from a socket in a turn.
const TURN: usize = 32;

/// A port of the guest, and whether its datagrams go to the name server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    guest: SocketAddrV4,
    names: bool,
}

struct Flow {
    socket: UdpSocket,
    used: Instant,
}

/// A forwarded port.
struct Forwarded {
    socket: UdpSocket,
    guest: SocketAddrV4,
    /// Senders, by the gateway's port that stands for them, less [`FIRST_PEER`]; the oldest gives
    /// way to a new one.
    peers: Vec<SocketAddr>,
    next: usize,
}

/// All datagrams.
pub(crate) struct Udp {
    flows: HashMap<Key, Flow>,
    forwarded: Vec<Forwarded>,
    resolver: Option<SocketAddr>,
    restricted: bool,
    id: u16,
    buffer: Vec<u8>,
}

impl Udp {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        resolver: Option<SocketAddr>,
        restricted: bool,
    ) -> Udp {
        let forwarded = listeners.into_iter().filter_map(|listener| match listener {
            Listener::Udp { socket, guest } => {
                Some(Forwarded { socket, guest, peers: Vec::new(), next: 0 })
            }
            Listener::Tcp { .. } => None,
        });
        Udp {
            flows: HashMap::new(),
            forwarded: forwarded.collect(),
            resolver,
            restricted,
            id: 0,
            buffer: vec![0; 1 << 16],
        }
    }

    /// A packet from the guest. Frames that answer it at once go to `out`.
    pub(crate) fn input(
        &mut self,
        mac: EthernetAddress,
        from: Ipv4Addr,
        to: Ipv4Addr,
        packet: &[u8],
        out: &mut Vec<Vec<u8>>,
    ) {
        let Some((from_port, to_port, data)) = frame::datagram(from, to, packet) else { return };
        if to_port == dhcp::SERVER_PORT {
            let heard = to == Ipv4Addr::BROADCAST || to == GATEWAY;
            if let Some((answer, to)) = dhcp::answer(data).filter(|_| heard) {
                let from = SocketAddrV4::new(GATEWAY, dhcp::SERVER_PORT);
                let to = SocketAddrV4::new(to, dhcp::CLIENT_PORT);
                out.extend(frame::carry(mac, from, to, &answer, self.next_id()));
            }
            return;
        }
        if !is_guest(from) || from_port == 0 || to_port == 0 {
            return;
        }
        let guest = SocketAddrV4::new(from, from_port);
        if to == GATEWAY && self.answer_peer(guest, to_port, data) {
            return;
        }
        let Some((names, to)) = self.destination(SocketAddrV4::new(to, to_port)) else { return };
        // A datagram that cannot be sent is lost: that is what datagrams are like.
        if let Some(flow) = self.flow(Key { guest, names }, to) {
            flow.used = Instant::now();
            let _ = flow.socket.send_to(data, to);
        }
    }

    /// Where on the host's network an address of the guest's is, and whether it is the name server.
    fn destination(&self, to: SocketAddrV4) -> Option<(bool, SocketAddr)> {
        if *to.ip() == NAME_SERVER {
            return (to.port() == PORT).then_some(()).and(self.resolver).map(|to| (true, to));
        }
        if self.restricted {
            return None;
        }
        destination(to).map(|to| (false, to))
    }

    fn flow(&mut self, key: Key, to: SocketAddr) -> Option<&mut Flow> {
        if !self.flows.contains_key(&key) {
            if self.flows.len() >= FLOWS {
                let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.used);
                let oldest = oldest.map(|(key, _)| *key)?;
                self.flows.remove(&oldest);
            }
            let any: IpAddr = match to {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.set_nonblocking(true).ok()?;
            self.flows.insert(key, Flow { socket, used: Instant::now() });
        }
        self.flows.get_mut(&key)
    }

    /// Sends a datagram to the peer that a port of the gateway stands for, if it does.
    fn answer_peer(&self, guest: SocketAddrV4, port: u16, data: &[u8]) -> bool {
        let Some(at) = port.checked_sub(FIRST_PEER) else { return false };
        for forwarded in self.forwarded.iter().filter(|forwarded| forwarded.guest == guest) {
            if let Some(peer) = forwarded.peers.get(usize::from(at)) {
                let _ = forwarded.socket.send_to(data, peer);
                return true;
            }
        }
        false
    }

    /// The sockets to wait for.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        let flows = self.flows.values().map(|flow| &flow.socket);
        flows.chain(self.forwarded.iter().map(|forwarded| &forwarded.socket))
    }

    /// Gives up the sockets of ports that have been quiet.
    pub(crate) fn sweep(&mut self) {
        let now = Instant::now();
        self.flows.retain(|_, flow| now.duration_since(flow.used) < IDLE);
    }

    /// Takes what has arrived on the host; frames for the guest go to `out`.
    pub(crate) fn poll(&mut self, mac: EthernetAddress, out: &mut Vec<Vec<u8>>) {
        let now = Instant::now();
        let Udp { flows, forwarded, id, buffer, .. } = self;
        for (key, flow) in flows.iter_mut() {
            for _ in 0..TURN {
                let Some((n, peer)) = receive(&flow.socket, buffer) else { break };
                flow.used = now;
                let from = match peer {
                    _ if key.names => SocketAddrV4::new(NAME_SERVER, PORT),
                    SocketAddr::V4(peer) if peer.ip().is_loopback() => {
                        SocketAddrV4::new(GATEWAY, peer.port())
                    }
                    SocketAddr::V4(peer) => peer,
                    SocketAddr::V6(_) => continue,
                };
                *id = id.wrapping_add(1);
                out.extend(frame::carry(mac, from, key.guest, &buffer[..n], *id));
            }
        }
        for forwarded in forwarded {
            for _ in 0..TURN {
                let Some((n, peer)) = receive(&forwarded.socket, buffer) else { break };
                let from = SocketAddrV4::new(GATEWAY, forwarded.port_of(peer));
                *id = id.wrapping_add(1);
                out.extend(frame::carry(mac, from, forwarded.guest, &buffer[..n], *id));
            }
        }
    }

    fn next_id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1);
        self.id
    }
}

impl Forwarded {
    /// The port of the gateway that stands for a sender.
    fn port_of(&mut self, peer: SocketAddr) -> u16 {
        let at = match self.peers.iter().position(|known| *known == peer) {
            Some(at) => at,
            None if self.peers.len() < PEERS => {
                self.peers.push(peer);
                self.peers.len() - 1
            }
            None => {
                self.next = (self.next + 1) % PEERS;
                self.peers[self.next] = peer;
                self.next
            }
        };
        FIRST_PEER + at as u16
    }
}

/// Where on the host's network an address of the guest's is, other than the name server: the gateway
/// is the host itself.
pub(crate) fn destination(to: SocketAddrV4) -> Option<SocketAddr> {
    let ip = *to.ip();
    if ip == GATEWAY {
        return Some((Ipv4Addr::LOCALHOST, to.port()).into());
    }
    let nowhere = is_local(ip)
        || ip.is_loopback()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.octets()[0] == 0
        || ip.octets()[0] >= 240;
    (!nowhere).then_some(to.into())
}

/// Whether an address may be the guest's.
pub(crate) fn is_guest(address: Ipv4Addr) -> bool {
    let last = address.octets()[3];
    is_local(address) && address != GATEWAY && address != NAME_SERVER && last != 0 && last != 255
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Ok(received) => return Some(received),
            // An earlier datagram was refused, which is not the end of the socket.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
                ) => {}
            Err(_) => return None,
        }
    }
}
