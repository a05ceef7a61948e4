//! The host's name server.

use std::net::{IpAddr, SocketAddr};

/// Where name servers listen.
pub(crate) const PORT: u16 = 53;

/// The first name server of the host's `/etc/resolv.conf`, if it has one.
pub fn resolver() -> Option<SocketAddr> {
    first(&std::fs::read_to_string("/etc/resolv.conf").ok()?)
}

fn first(text: &str) -> Option<SocketAddr> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_server = words.next() == Some("nameserver");
        let address: IpAddr = words.next().filter(|_| is_server)?.parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    })
}

#[cfg(test)]
mod tests {
    use super::first;

    #[test]
    fn the_first_name_server_counts() {
        let text = "# nameserver 1.1.1.1\nsearch a.b\nnameserver fe80::1%eth0\n\
                    nameserver\t127.0.0.53 # x\nnameserver 8.8.8.8\n";
        assert_eq!(first(text), Some(([127, 0, 0, 53], 53).into()));
        assert_eq!(first("nameserver ::1"), "[::1]:53".parse().ok());
        assert_eq!(first("options edns0\n"), None);
    }
}
