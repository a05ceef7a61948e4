//! Connections: each is one of `smoltcp` with the guest, and one of the host.

use crate::forward::Listener;
use crate::resolver::PORT;
use crate::udp::{destination, is_guest};
use crate::{GATEWAY, NAME_SERVER};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration;
use smoltcp::wire::TcpPacket;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};

/// Connections at a time, at most: more are refused.
const FLOWS: usize = 256;
/// Bytes that wait in a connection, in each direction.
const BUFFER: usize = 128 * 1024;
/// When a connection ends whose guest does not answer.
const TIMEOUT: Duration = Duration::from_secs(120);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Connections that are accepted in a turn, of each listener.
const TURN: usize = 16;
/// The gateway's ports from which forwarded connections come.
const PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// Both ends of a connection, as the guest sees them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    guest: SocketAddrV4,
    other: SocketAddrV4,
}

struct Flow {
    handle: SocketHandle,
    host: TcpStream,
    /// The host's connection is not made yet.
    connecting: bool,
    /// The host has sent all; the guest has.
    host_done: bool,
    guest_done: bool,
    /// The host takes no more for now.
    full: bool,
    /// The host may have something: it is asked until it has not, and then waited for.
    ready: bool,
    /// It has been aborted, and is forgotten when the guest has been told.
    aborted: bool,
}

/// All connections.
pub(crate) struct Tcp {
    flows: HashMap<Key, Flow>,
    listeners: Vec<(TcpListener, SocketAddrV4)>,
    resolver: Option<SocketAddr>,
    restricted: bool,
    port: u16,
}

impl Tcp {
    pub(crate) fn new(
        listeners: Vec<(TcpListener, SocketAddrV4)>,
        resolver: Option<SocketAddr>,
        restricted: bool,
    ) -> Tcp {
        Tcp { flows: HashMap::new(), listeners, resolver, restricted, port: *PORTS.start() }
    }

    /// A segment from the guest is about to get to `smoltcp`, if this says so. For one that begins a
    /// connection, the host's is begun too; `smoltcp` answers when it is made.
    pub(crate) fn input(
        &mut self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        segment: &[u8],
        sockets: &mut SocketSet<'static>,
    ) -> bool {
        let Ok(segment) = TcpPacket::new_checked(segment) else { return false };
        let to_many = to.is_multicast() || to.is_broadcast() || to.octets() == [10, 0, 2, 255];
        if !is_guest(from) || to_many || segment.src_port() == 0 || segment.dst_port() == 0 {
            return false;
        }
        let key = Key {
            guest: SocketAddrV4::new(from, segment.src_port()),
            other: SocketAddrV4::new(to, segment.dst_port()),
        };
        let begins = segment.syn() && !segment.ack();
        if !begins || self.flows.contains_key(&key) || self.flows.len() >= FLOWS {
            // What belongs to no connection is refused.
            return true;
        }
        let Some(to) = self.destination(key.other) else { return true };
        let Ok((host, connecting)) = dial(to) else { return true };
        let mut socket = socket();
        socket.pause_synack(connecting);
        if socket.listen((*key.other.ip(), key.other.port())).is_ok() {
            self.add(key, sockets.add(socket), host, connecting);
        }
        true
    }

    fn destination(&self, to: SocketAddrV4) -> Option<SocketAddr> {
        if *to.ip() == NAME_SERVER {
            return self.resolver.filter(|_| to.port() == PORT);
        }
        if self.restricted { None } else { destination(to) }
    }

    fn add(&mut self, key: Key, handle: SocketHandle, host: TcpStream, connecting: bool) {
        // It is a matter of latency only.
        let _ = host.set_nodelay(true);
        let flow = Flow {
            handle,
            host,
            connecting,
            host_done: false,
            guest_done: false,
            full: false,
            ready: true,
            aborted: false,
        };
        self.flows.insert(key, flow);
    }

    /// Begins connections to the guest for those that were made to forwarded ports.
    pub(crate) fn accept(&mut self, interface: &mut Interface, sockets: &mut SocketSet<'static>) {
        for at in 0..self.listeners.len() {
            for _ in 0..TURN {
                if self.flows.len() >= FLOWS {
                    return;
                }
                let (listener, guest) = &self.listeners[at];
                let guest = *guest;
                let Ok((host, _)) = listener.accept() else { break };
                if host.set_nonblocking(true).is_err() {
                    continue;
                }
                let Some(key) = self.free_port(guest) else { continue };
                let mut socket = socket();
                let remote = (*guest.ip(), guest.port());
                let local = (GATEWAY, key.other.port());
                if socket.connect(interface.context(), remote, local).is_ok() {
                    self.add(key, sockets.add(socket), host, false);
                }
            }
        }
    }

    /// A connection to the guest from a port of the gateway that has none to there.
    fn free_port(&mut self, guest: SocketAddrV4) -> Option<Key> {
        for _ in PORTS {
            self.port = if self.port == *PORTS.end() { *PORTS.start() } else { self.port + 1 };
            let key = Key { guest, other: SocketAddrV4::new(GATEWAY, self.port) };
            if !self.flows.contains_key(&key) {
                return Some(key);
            }
        }
        None
    }

    /// Moves bytes both ways: `true` if `smoltcp` has something to do now.
    pub(crate) fn pump(&mut self, sockets: &mut SocketSet<'static>) -> bool {
        let mut moved = false;
        for flow in self.flows.values_mut() {
            moved |= flow.pump(sockets.get_mut(flow.handle));
        }
        moved
    }

    /// Forgets connections that are over, after `smoltcp` has sent what it had.
    pub(crate) fn sweep(&mut self, sockets: &mut SocketSet<'static>) {
        self.flows.retain(|_, flow| {
            let socket: &Socket<'_> = sockets.get(flow.handle);
            // Still listening: the segment was no good. Closed, with nothing in it for the host.
            let is_over = match socket.state() {
                State::Listen => true,
                State::Closed => flow.aborted || socket.recv_queue() == 0,
                _ => false,
            };
            if is_over {
                sockets.remove(flow.handle);
            }
            !is_over
        });
    }

    /// What to wait for.
    pub(crate) fn interests<'a>(
        &'a self,
        sockets: &'a SocketSet<'static>,
    ) -> impl Iterator<Item = (Key, &'a TcpStream, PollFlags)> {
        self.flows.iter().filter_map(|(key, flow)| {
            let socket: &Socket<'_> = sockets.get(flow.handle);
            let mut flags = PollFlags::empty();
            if flow.connecting || flow.full && socket.recv_queue() > 0 {
                flags |= PollFlags::OUT;
            }
            if !flow.connecting && !flow.host_done && socket.can_send() {
                flags |= PollFlags::IN;
            }
            (!flags.is_empty()).then_some((*key, &flow.host, flags))
        })
    }

    /// The host has something to say of these connections.
    pub(crate) fn wake(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(flow) = self.flows.get_mut(key) {
                flow.ready = true;
            }
        }
    }

    /// The sockets that accept; none while there is no room for more connections.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &TcpListener> {
        let listeners = self.listeners.iter().filter(|_| self.flows.len() < FLOWS);
        listeners.map(|(listener, _)| listener)
    }
}

impl Flow {
    fn pump(&mut self, socket: &mut Socket<'static>) -> bool {
        if self.aborted {
            return false;
        }
        if self.connecting {
            if !std::mem::take(&mut self.ready) {
                return false;
            }
            match is_connected(&self.host) {
                Ok(false) => return false,
                Ok(true) => {
                    (self.connecting, self.ready) = (false, true);
                    socket.pause_synack(false);
                    return true;
                }
                Err(_) => return self.abort(socket),
            }
        }
        match self.to_guest(socket).and_then(|a| self.to_host(socket).map(|b| a | b)) {
            Ok(moved) => moved,
            Err(_) => self.abort(socket),
        }
    }

    fn abort(&mut self, socket: &mut Socket<'static>) -> bool {
        socket.abort();
        self.aborted = true;
        true
    }

    fn to_guest(&mut self, socket: &mut Socket<'static>) -> io::Result<bool> {
        let mut moved = false;
        while self.ready && !self.host_done && socket.can_send() {
            let read = socket.send(|buffer| match retry(|| self.host.read(buffer)) {
                Ok(n) => (n, Ok(n)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => {
                    self.host_done = true;
                    socket.close();
                    moved = true;
                }
                Ok(Ok(_)) => moved = true,
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
        }
        Ok(moved)
    }

    fn to_host(&mut self, socket: &mut Socket<'static>) -> io::Result<bool> {
        let mut moved = false;
        if self.full && !self.ready {
            return Ok(false);
        }
        self.full = false;
        while socket.can_recv() {
            let written = socket.recv(|buffer| match retry(|| self.host.write(buffer)) {
                Ok(n) => (n, Ok(n)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(n)) if n > 0 => moved = true,
                Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Ok(_) => {
                    self.full = true;
                    break;
                }
                Err(_) => break,
            }
        }
        let ended = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if ended && socket.recv_queue() == 0 && !self.guest_done {
            self.guest_done = true;
            // The other end may have closed it already.
            let _ = self.host.shutdown(Shutdown::Write);
        }
        Ok(moved)
    }
}

/// A connection's end with the guest.
fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_timeout(Some(TIMEOUT));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_nagle_enabled(false);
    socket
}

/// Begins a connection of the host: it, and whether it is still being made.
fn dial(to: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    let connecting = match connect(&socket, &to) {
        Ok(()) => false,
        Err(Errno::INPROGRESS) => true,
        Err(error) => return Err(error.into()),
    };
    Ok((socket.into(), connecting))
}

/// Whether a connection that was being made is; an error if it cannot be.
fn is_connected(host: &TcpStream) -> io::Result<bool> {
    if let Some(error) = host.take_error()? {
        return Err(error);
    }
    match host.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The listeners of TCP among all.
pub(crate) fn split(listeners: Vec<Listener>) -> (Vec<(TcpListener, SocketAddrV4)>, Vec<Listener>) {
    let (mut tcp, mut others) = (Vec::new(), Vec::new());
    for listener in listeners {
        match listener {
            Listener::Tcp { socket, guest } => tcp.push((socket, guest)),
            other => others.push(other),
        }
    }
    (tcp, others)
}
