//! Forwards: ports of the host that lead to the guest.

use crate::{Error, GUEST};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

/// Which transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// A port of the host that leads to one of the guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    pub(crate) transport: Transport,
    pub(crate) host: SocketAddrV4,
    pub(crate) guest: SocketAddrV4,
}

impl Forward {
    /// Reads `tcp:HOST-ADDRESS:PORT-GUEST-ADDRESS:PORT`, or with `udp`, where addresses may be left
    /// out: the host's is all of its addresses then, the guest's the one it has by DHCP. The host
    /// chooses a free port for port 0.
    pub fn parse(text: &str) -> Result<Forward, Error> {
        let wrong = |what: &str| {
            Error::new(format!(
                "hostfwd={text}: {what}; it looks like tcp:127.0.0.1:2222-:22, the host's address \
                 and port, then the guest's"
            ))
        };
        let (transport, rest) = text.split_once(':').ok_or_else(|| wrong("it has no colon"))?;
        let transport = match transport {
            "tcp" | "" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(wrong("it is neither tcp nor udp")),
        };
        let (host, guest) = rest.split_once('-').ok_or_else(|| wrong("it has no dash"))?;
        let end = |text: &str, default: Ipv4Addr| {
            let (address, port) =
                text.rsplit_once(':').ok_or_else(|| wrong("a port is missing"))?;
            let address = match address {
                "" => default,
                "localhost" => Ipv4Addr::LOCALHOST,
                text => text.parse().map_err(|_| wrong("an address has not four numbers"))?,
            };
            let port = port.parse().map_err(|_| wrong("a port is not a number below 65536"))?;
            Ok(SocketAddrV4::new(address, port))
        };
        let (host, guest) = (end(host, Ipv4Addr::UNSPECIFIED)?, end(guest, GUEST)?);
        if guest.port() == 0 {
            return Err(wrong("the guest's port is 0"));
        }
        if !crate::is_local(*guest.ip()) {
            return Err(wrong("the guest's address is not in 10.0.2.0/24"));
        }
        Ok(Forward { transport, host, guest })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        write!(f, "{transport}:{}-{}", self.host, self.guest)
    }
}

/// A forward's socket on the host.
pub(crate) enum Listener {
    Tcp { socket: TcpListener, guest: SocketAddrV4 },
    Udp { socket: UdpSocket, guest: SocketAddrV4 },
}

impl Listener {
    pub(crate) fn new(forward: Forward) -> Result<Listener, Error> {
        let Forward { transport, host, guest } = forward;
        let listener = match transport {
            Transport::Tcp => TcpListener::bind(host).and_then(|socket| {
                socket.set_nonblocking(true)?;
                Ok(Listener::Tcp { socket, guest })
            }),
            Transport::Udp => UdpSocket::bind(host).and_then(|socket| {
                socket.set_nonblocking(true)?;
                Ok(Listener::Udp { socket, guest })
            }),
        };
        listener.map_err(|error| {
            Error::new(format!(
                "hostfwd={forward}: the host's port cannot be used: {error}; choose another, or 0 \
                 for any"
            ))
        })
    }

    /// Where it listens.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp { socket, .. } => socket.local_addr().ok(),
            Listener::Udp { socket, .. } => socket.local_addr().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_as_qemus_users_write_them() {
        let rows = [
            ("tcp:127.0.0.1:2222-:22", "tcp:127.0.0.1:2222-10.0.2.15:22"),
            ("tcp::8080-10.0.2.16:80", "tcp:0.0.0.0:8080-10.0.2.16:80"),
            ("udp:localhost:0-:53", "udp:127.0.0.1:0-10.0.2.15:53"),
            (":10.1.2.3:5-:6", "tcp:10.1.2.3:5-10.0.2.15:6"),
        ];
        for (text, expected) in rows {
            let forward = Forward::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(forward.to_string(), expected);
        }
        for text in [
            "",
            "tcp",
            "tcp:1-2",
            "sctp::1-:2",
            "tcp::1",
            "tcp::70000-:1",
            "tcp:a:1-:2",
            "tcp::1-:0",
        ] {
            let error = Forward::parse(text).expect_err(text).to_string();
            assert!(error.contains("tcp:127.0.0.1:2222-:22"), "{error}");
        }
        assert!(Forward::parse("tcp::1-192.168.0.1:2").is_err());
    }

    #[test]
    fn a_busy_port_is_said() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let forward = Forward::parse(&format!("tcp:127.0.0.1:{port}-:22")).expect("a forward");
        let error = Listener::new(forward).err().expect("it is taken").to_string();
        assert!(error.contains("choose another") && !error.contains('\n'), "{error}");
    }
}
