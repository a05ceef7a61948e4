//! Frames of IPv4: taking them apart, and building those that carry datagrams.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr,
    UdpPacket, UdpRepr,
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The gateway's hardware address; it is the name server's as well.
pub(crate) const MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);

/// Bytes of an Ethernet header, of an IPv4 header without options, and of a UDP header.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;

/// Bytes that an Ethernet frame carries, at most; and of them, those after the IPv4 header, in the
/// units of eight bytes that fragments have.
pub(crate) const MTU: usize = 1500;
const FRAGMENT: usize = (MTU - IPV4) / 8 * 8;

/// What an Ethernet frame carries.
pub(crate) enum Carried<'a> {
    Arp(&'a [u8]),
    Ipv4 { from: Ipv4Addr, to: Ipv4Addr, protocol: IpProtocol, payload: &'a [u8] },
}

/// Takes a frame apart: where it comes from, and what it carries. None of what is damaged, of
/// fragments, and of other protocols.
pub(crate) fn parse(frame: &[u8]) -> Option<(EthernetAddress, Carried<'_>)> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let from = frame.src_addr();
    if !from.is_unicast() {
        return None;
    }
    let carried = match frame.ethertype() {
        EthernetProtocol::Arp => Carried::Arp(frame.payload()),
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
            let whole = packet.version() == 4
                && packet.verify_checksum()
                && !packet.more_frags()
                && packet.frag_offset() == 0;
            if !whole {
                return None;
            }
            Carried::Ipv4 {
                from: packet.src_addr(),
                to: packet.dst_addr(),
                protocol: packet.next_header(),
                payload: packet.payload(),
            }
        }
        _ => return None,
    };
    Some((from, carried))
}

/// A datagram in a packet's payload: ports and data.
pub(crate) fn datagram(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Option<(u16, u16, &[u8])> {
    let packet = UdpPacket::new_checked(payload).ok()?;
    let all = ChecksumCapabilities::default();
    UdpRepr::parse(&packet, &IpAddress::Ipv4(from), &IpAddress::Ipv4(to), &all).ok()?;
    Some((packet.src_port(), packet.dst_port(), packet.payload()))
}

/// The frames that carry a datagram: several if it is longer than a frame. `id` tells its fragments
/// from those of others.
pub(crate) fn carry(
    mac: EthernetAddress,
    from: SocketAddrV4,
    to: SocketAddrV4,
    data: &[u8],
    id: u16,
) -> Vec<Vec<u8>> {
    let all = ChecksumCapabilities::default();
    let mut udp = vec![0; UDP + data.len()];
    let repr = UdpRepr { src_port: from.port(), dst_port: to.port() };
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut udp),
        &IpAddress::Ipv4(*from.ip()),
        &IpAddress::Ipv4(*to.ip()),
        data.len(),
        |payload| payload.copy_from_slice(data),
        &all,
    );
    let pieces = udp.chunks(FRAGMENT).enumerate();
    let last = udp.len().div_ceil(FRAGMENT) - 1;
    let frame = |(at, piece): (usize, &[u8])| {
        let mut bytes = vec![0; ETHERNET + IPV4 + piece.len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        frame.set_src_addr(MAC);
        frame.set_dst_addr(mac);
        frame.set_ethertype(EthernetProtocol::Ipv4);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        let repr = Ipv4Repr {
            src_addr: *from.ip(),
            dst_addr: *to.ip(),
            next_header: IpProtocol::Udp,
            payload_len: piece.len(),
            hop_limit: 64,
        };
        repr.emit(&mut packet, &all);
        if last > 0 {
            packet.set_ident(id);
            packet.set_dont_frag(false);
            packet.set_more_frags(at < last);
            packet.set_frag_offset((at * FRAGMENT) as u16);
            packet.fill_checksum();
        }
        packet.payload_mut().copy_from_slice(piece);
        bytes
    };
    pieces.map(frame).collect()
}
