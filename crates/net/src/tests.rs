//! Tests with a guest made of `smoltcp`, and servers on the host's loopback interface.

use super::*;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{dhcpv4, icmp, tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv4Repr, IpCidr, IpEndpoint, Ipv4Cidr,
};
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// The guest's network card.
struct Card(User);
struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut User);

impl Device for Card {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;
    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let frame = self.0.receive()?;
        Some((Rx(frame), Tx(&mut self.0)))
    }
    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.0))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.send(&frame);
        result
    }
}

struct Guest {
    card: Card,
    interface: Interface,
    sockets: SocketSet<'static>,
    start: std::time::Instant,
}

impl Guest {
    /// A guest without an address.
    fn new(options: Options) -> Guest {
        let user = options.start().unwrap_or_else(|error| panic!("{error}"));
        let mut card = Card(user);
        let mac = HardwareAddress::Ethernet(EthernetAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        let mut config = Config::new(mac);
        config.random_seed = 7;
        let interface = Interface::new(config, &mut card, Instant::ZERO);
        let sockets = SocketSet::new(Vec::new());
        Guest { card, interface, sockets, start: std::time::Instant::now() }
    }

    /// A guest with the address that DHCP would have given it.
    fn at_home(options: Options) -> Guest {
        let mut guest = Guest::new(options);
        guest.configure(GUEST, GATEWAY);
        guest
    }

    fn configure(&mut self, address: Ipv4Addr, router: Ipv4Addr) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(address.into(), 24)).expect("room for an address");
        });
        self.interface.routes_mut().add_default_ipv4_route(router).expect("room for a route");
    }

    fn poll(&mut self) {
        let now = Instant::from_micros(self.start.elapsed().as_micros() as i64);
        self.interface.poll(now, &mut self.card, &mut self.sockets);
    }

    /// Lets the guest go on until `done` has a result.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Guest) -> Option<T>) -> T {
        let start = std::time::Instant::now();
        loop {
            self.poll();
            if let Some(result) = done(self) {
                return result;
            }
            assert!(start.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 16]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    fn connect(&mut self, to: SocketAddrV4, from: u16) -> SocketHandle {
        let handle = self.tcp();
        let socket: &mut tcp::Socket<'_> = self.sockets.get_mut(handle);
        let to = (*to.ip(), to.port());
        socket.connect(self.interface.context(), to, from).expect("connects");
        handle
    }

    fn stream(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn udp(&mut self, port: u16) -> SocketHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 1 << 14]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).expect("binds");
        self.sockets.add(socket)
    }

    fn datagram(&mut self, handle: SocketHandle) -> (Vec<u8>, IpEndpoint) {
        self.until("no datagram comes", |guest| {
            let socket: &mut udp::Socket<'_> = guest.sockets.get_mut(handle);
            let (data, meta) = socket.recv().ok()?;
            Some((data.to_vec(), meta.endpoint))
        })
    }
}

/// A server that sends back what it gets, until the end of that.
fn echo() -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let Ok(mut stream) = stream else { break };
            let mut buffer = [0; 4096];
            while let Ok(n) = stream.read(&mut buffer) {
                if n == 0 || stream.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
        }
    });
    SocketAddrV4::new(GATEWAY, port)
}

#[test]
fn many_connections_go_on_at_once() {
    let forward = Forward::parse("tcp:127.0.0.1:0-:80").expect("a forward");
    let mut guest = Guest::at_home(Options::new().forward(forward));
    let at = guest.card.0.forwarded()[0];
    let handles: Vec<_> = (0..20).map(|_| guest.tcp()).collect();
    for handle in &handles {
        guest.stream(*handle).listen(80).expect("listens");
    }
    let hosts: Vec<_> = (0..20_u8)
        .map(|number| {
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(at).expect("connects");
                stream.write_all(&[number; 50_000]).expect("sends");
                let mut back = vec![0; 50_000];
                stream.read_exact(&mut back).expect("an answer");
                assert_eq!(back, [number; 50_000]);
            })
        })
        .collect();
    let mut waiting = vec![Vec::new(); handles.len()];
    guest.until("the hosts go on", |guest| {
        for (handle, waiting) in handles.iter().zip(&mut waiting) {
            let socket = guest.stream(*handle);
            while socket.can_recv() {
                let taken = socket.recv(|bytes| {
                    waiting.extend_from_slice(bytes);
                    (bytes.len(), ())
                });
                taken.expect("receives");
            }
            if socket.can_send() && !waiting.is_empty() {
                let n = socket.send_slice(waiting).expect("sends");
                waiting.drain(..n);
            }
        }
        hosts.iter().all(|host| host.is_finished()).then_some(())
    });
    for host in hosts {
        host.join().expect("a host got its own bytes back");
    }
}

#[test]
fn dhcp_gives_the_address() {
    let mut guest = Guest::new(Options::new());
    let handle = guest.sockets.add(dhcpv4::Socket::new());
    let (address, router, dns) = guest.until("no lease", |guest| {
        let socket: &mut dhcpv4::Socket<'_> = guest.sockets.get_mut(handle);
        match socket.poll() {
            Some(dhcpv4::Event::Configured(config)) => {
                Some((config.address, config.router, config.dns_servers.to_vec()))
            }
            _ => None,
        }
    });
    assert_eq!((address, router), (Ipv4Cidr::new(GUEST, 24), Some(GATEWAY)));
    assert_eq!(dns, [NAME_SERVER]);
}

#[test]
fn dhcp_refuses_other_addresses() {
    use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};
    let ask = |kind, wanted: Option<Ipv4Addr>, server: Option<Ipv4Addr>, client| {
        let repr = DhcpRepr {
            message_type: kind,
            transaction_id: 77,
            secs: 0,
            client_hardware_address: EthernetAddress([2; 6]),
            client_ip: client,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: wanted,
            client_identifier: None,
            server_identifier: server,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).expect("fits");
        let (answer, to) = dhcp::answer(&bytes)?;
        let packet = DhcpPacket::new_checked(&answer[..]).expect("a packet");
        let repr = DhcpRepr::parse(&packet).expect("a message");
        assert_eq!(repr.transaction_id, 77);
        Some((repr.message_type, repr.your_ip, to))
    };
    let (none, other) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 2, 99));
    let everyone = Ipv4Addr::BROADCAST;
    use DhcpMessageType::{Ack, Discover, Inform, Nak, Offer, Release, Request};
    assert_eq!(ask(Discover, None, None, none), Some((Offer, GUEST, everyone)));
    assert_eq!(ask(Request, Some(GUEST), Some(GATEWAY), none), Some((Ack, GUEST, everyone)));
    assert_eq!(ask(Request, None, None, GUEST), Some((Ack, GUEST, GUEST)));
    assert_eq!(ask(Request, Some(other), None, none), Some((Nak, none, everyone)));
    assert_eq!(ask(Request, Some(GUEST), Some(other), none), None);
    assert_eq!(ask(Inform, None, None, GUEST), Some((Ack, none, GUEST)));
    assert_eq!(ask(Release, None, None, GUEST), None);
    assert!(dhcp::answer(&[0; 300]).is_none());
}

#[test]
fn a_connection_to_the_host_carries_much_both_ways() {
    let server = echo();
    let mut guest = Guest::at_home(Options::new());
    let handle = guest.connect(server, 50_000);
    let data: Vec<u8> = (0..1_000_000_u32).map(|at| (at * 7 >> 3) as u8).collect();
    let (mut sent, mut back) = (0, Vec::new());
    guest.until("the echo ends", |guest| {
        let socket = guest.stream(handle);
        if socket.can_send() && sent < data.len() {
            sent += socket.send_slice(&data[sent..]).expect("sends");
        }
        while socket.can_recv() {
            let done = socket.recv(|bytes| {
                back.extend_from_slice(bytes);
                (bytes.len(), ())
            });
            done.expect("receives");
        }
        (back.len() == data.len()).then_some(())
    });
    assert!(back == data, "what comes back is what was sent");
    // The guest's end of stream gets to the server, and the server's to the guest.
    guest.stream(handle).close();
    guest.until("no end", |guest| {
        let state = guest.stream(handle).state();
        matches!(state, tcp::State::TimeWait | tcp::State::Closed).then_some(())
    });
}

#[test]
fn what_nobody_listens_to_is_refused() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let mut guest = Guest::at_home(Options::new());
    for to in [
        SocketAddrV4::new(GATEWAY, port),
        SocketAddrV4::new(NAME_SERVER, 54),
        SocketAddrV4::new(Ipv4Addr::new(240, 0, 0, 1), 80),
    ] {
        let handle = guest.connect(to, 50_000 + to.port() % 1000);
        guest.until("it is not refused", |guest| {
            (guest.stream(handle).state() == tcp::State::Closed).then_some(())
        });
    }
}

#[test]
fn a_restricted_guest_reaches_nothing() {
    let server = echo();
    let mut guest = Guest::at_home(Options::new().restricted(true));
    let handle = guest.connect(server, 50_000);
    guest.until("it is not refused", |guest| {
        (guest.stream(handle).state() == tcp::State::Closed).then_some(())
    });
}

#[test]
fn a_forwarded_port_leads_to_the_guest() {
    let forward = Forward::parse("tcp:127.0.0.1:0-:22").expect("a forward");
    let mut guest = Guest::at_home(Options::new().forward(forward));
    let at = guest.card.0.forwarded()[0];
    let handle = guest.tcp();
    guest.stream(handle).listen(22).expect("listens");
    let host = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(at).expect("connects");
        stream.write_all(b"hello").expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    });
    guest.until("no greeting", |guest| {
        let socket = guest.stream(handle);
        let mut buffer = [0; 16];
        let n = if socket.can_recv() { socket.recv_slice(&mut buffer).ok()? } else { 0 };
        (&buffer[..n] == b"hello").then_some(())
    });
    let from = guest.stream(handle).remote_endpoint().expect("a peer");
    assert_eq!(from.addr, GATEWAY.into());
    guest.stream(handle).send_slice(b"goodbye").expect("sends");
    guest.stream(handle).close();
    guest.until("the host goes on", |_| host.is_finished().then_some(()));
    assert_eq!(host.join().expect("the host"), "goodbye");
}

#[test]
fn datagrams_go_both_ways_and_names_are_asked_for() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let names = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let resolver = names.local_addr().expect("its address");
    let port = server.local_addr().expect("its address").port();
    let mut guest = Guest::at_home(Options::new().resolver(resolver));
    let handle = guest.udp(5000);
    let to_server = IpEndpoint::new(GATEWAY.into(), port);
    let to_names = IpEndpoint::new(NAME_SERVER.into(), 53);
    for (socket, to) in [(&server, to_server), (&names, to_names)] {
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let guest_socket: &mut udp::Socket<'_> = guest.sockets.get_mut(handle);
        guest_socket.send_slice(b"question", to).expect("sends");
        // The address of the gateway must be found first.
        socket.set_nonblocking(true).expect("does not block");
        let mut buffer = [0; 64];
        let (n, from) = guest.until("no question", |_| socket.recv_from(&mut buffer).ok());
        assert_eq!(&buffer[..n], b"question");
        socket.send_to(b"answer", from).expect("sends");
        assert_eq!(guest.datagram(handle), (b"answer".to_vec(), to));
    }
}

#[test]
fn a_forwarded_datagram_finds_back() {
    let forward = Forward::parse("udp:127.0.0.1:0-:53").expect("a forward");
    let mut guest = Guest::at_home(Options::new().forward(forward));
    let at = guest.card.0.forwarded()[0];
    let handle = guest.udp(53);
    // The network must have heard of the guest.
    let hello = guest.udp(9);
    let socket: &mut udp::Socket<'_> = guest.sockets.get_mut(hello);
    socket.send_slice(b"", IpEndpoint::new(NAME_SERVER.into(), 9)).expect("sends");
    for _ in 0..20 {
        guest.poll();
        std::thread::sleep(Duration::from_millis(1));
    }
    let peers = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    for peer in &peers {
        peer.set_nonblocking(true).expect("does not block");
        peer.send_to(b"ping", at).expect("sends");
        let (data, from) = guest.datagram(handle);
        assert_eq!((&data[..], from.addr), (&b"ping"[..], GATEWAY.into()));
        let socket: &mut udp::Socket<'_> = guest.sockets.get_mut(handle);
        socket.send_slice(b"pong", from).expect("sends");
        let mut buffer = [0; 64];
        let n = guest.until("no answer", |_| peer.recv(&mut buffer).ok());
        assert_eq!(&buffer[..n], b"pong");
    }
}

#[test]
fn the_gateway_answers_pings_and_nobody_else() {
    let mut guest = Guest::at_home(Options::new());
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 8], vec![0; 4096]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(1)).expect("binds");
    let handle = guest.sockets.add(socket);
    for (seq_no, to) in [(1, Ipv4Addr::new(192, 0, 2, 1)), (2, GATEWAY), (3, NAME_SERVER)] {
        let repr = Icmpv4Repr::EchoRequest { ident: 1, seq_no, data: b"data" };
        let socket: &mut icmp::Socket<'_> = guest.sockets.get_mut(handle);
        let bytes = socket.send(repr.buffer_len(), to.into()).expect("sends");
        repr.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
    }
    for expected in [GATEWAY, NAME_SERVER] {
        let from = guest.until("no answer", |guest| {
            let socket: &mut icmp::Socket<'_> = guest.sockets.get_mut(handle);
            Some(socket.recv().ok()?.1)
        });
        assert_eq!(from, expected.into());
    }
}

#[test]
fn arp_answers_for_gateway_and_name_server() {
    let mut user = Options::new().start().unwrap_or_else(|error| panic!("{error}"));
    let mut ask = |target: Ipv4Addr| {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend([2, 0, 0, 0, 0, 1, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0]);
        frame.extend(target.octets());
        user.send(&frame);
    };
    for target in [GUEST, Ipv4Addr::new(10, 0, 2, 4), GATEWAY, NAME_SERVER] {
        ask(target);
    }
    let start = std::time::Instant::now();
    let mut heard = Vec::new();
    while heard.len() < 2 && start.elapsed() < PATIENCE {
        heard.extend(user.receive().map(|frame| frame[28..32].to_vec()));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(heard, [GATEWAY.octets(), NAME_SERVER.octets()]);
    std::thread::sleep(Duration::from_millis(5));
    assert!(user.receive().is_none());
}

#[test]
fn long_datagrams_are_cut_into_fragments() {
    use smoltcp::wire::{EthernetFrame, Ipv4Packet, UdpPacket};
    let (from, to) = (SocketAddrV4::new(GATEWAY, 1), SocketAddrV4::new(GUEST, 2));
    let data: Vec<u8> = (0..5000_u32).map(|at| at as u8).collect();
    let frames = frame::carry(EthernetAddress([2; 6]), from, to, &data, 9);
    let mut whole = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        assert!(frame.len() <= 1514);
        let frame = EthernetFrame::new_checked(&frame[..]).expect("a frame");
        let packet = Ipv4Packet::new_checked(frame.payload()).expect("a packet");
        assert!(packet.verify_checksum() && packet.ident() == 9);
        assert_eq!(usize::from(packet.frag_offset()), whole.len());
        assert_eq!(packet.more_frags(), at + 1 < frames.len());
        whole.extend_from_slice(packet.payload());
    }
    let udp = UdpPacket::new_checked(&whole[..]).expect("a datagram");
    assert!(udp.verify_checksum(&GATEWAY.into(), &GUEST.into()));
    assert_eq!((frames.len(), udp.payload()), (4, &data[..]));
}

#[test]
fn frames_are_kept_in_a_file() {
    let path = std::env::temp_dir().join(format!("mynah-net-{}.pcap", std::process::id()));
    let mut guest = Guest::at_home(Options::new().pcap(&path));
    let handle = guest.connect(SocketAddrV4::new(NAME_SERVER, 54), 50_000);
    guest.until("it is not refused", |guest| {
        (guest.stream(handle).state() == tcp::State::Closed).then_some(())
    });
    drop(guest);
    let bytes = std::fs::read(&path).expect("the file");
    let _ = std::fs::remove_file(&path);
    let word = |at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
    };
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 1));
    let (mut at, mut frames) = (24, 0);
    while at < bytes.len() {
        assert_eq!(word(at + 8), word(at + 12));
        at += 16 + word(at + 8);
        frames += 1;
    }
    // A question and an answer of ARP, a connection and its refusal.
    assert_eq!((at, frames >= 4), (bytes.len(), true));
    let error = Options::new().pcap("/no/such/folder/x.pcap").start().err().expect("refused");
    assert!(error.to_string().contains("/no/such/folder/x.pcap"), "{error}");
}

#[test]
fn nonsense_is_survived() {
    let mut guest = Guest::at_home(Options::new().restricted(true));
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for _ in 0..2000 {
        let len = random() % 1600;
        let mut frame: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        if len > 24 {
            frame[12..16].copy_from_slice(&[8, if random() % 4 == 0 { 6 } else { 0 }, 0x45, 0]);
            frame[23] = [1, 6, 17, 2][random() % 4];
        }
        guest.card.0.send(&frame);
    }
    let handle = guest.connect(SocketAddrV4::new(NAME_SERVER, 54), 50_000);
    guest.until("it still works", |guest| {
        (guest.stream(handle).state() == tcp::State::Closed).then_some(())
    });
}
