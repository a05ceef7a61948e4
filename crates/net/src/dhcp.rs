//! The DHCP server (RFC 2131): it has one address to give.

use crate::{GATEWAY, GUEST, NAME_SERVER};
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};
use std::net::Ipv4Addr;

pub(crate) const SERVER_PORT: u16 = 67;
pub(crate) const CLIENT_PORT: u16 = 68;

/// Seconds that the address is given for.
const LEASE: u32 = 24 * 60 * 60;

/// The answer to a client's message, and the address to send it to.
pub(crate) fn answer(message: &[u8]) -> Option<(Vec<u8>, Ipv4Addr)> {
    let packet = DhcpPacket::new_checked(message).ok()?;
    let asked = DhcpRepr::parse(&packet).ok()?;
    let for_us = asked.server_identifier.is_none_or(|server| server == GATEWAY);
    let kind = match asked.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Request if for_us => {
            let wanted = asked.requested_ip.unwrap_or(asked.client_ip);
            if wanted == GUEST { DhcpMessageType::Ack } else { DhcpMessageType::Nak }
        }
        DhcpMessageType::Inform => DhcpMessageType::Ack,
        _ => return None,
    };
    let is_nak = kind == DhcpMessageType::Nak;
    let is_inform = asked.message_type == DhcpMessageType::Inform;
    let some = |address: Ipv4Addr| Some(address).filter(|_| !is_nak);
    let repr = DhcpRepr {
        message_type: kind,
        transaction_id: asked.transaction_id,
        secs: 0,
        client_hardware_address: asked.client_hardware_address,
        client_ip: if is_nak { Ipv4Addr::UNSPECIFIED } else { asked.client_ip },
        your_ip: if is_nak || is_inform { Ipv4Addr::UNSPECIFIED } else { GUEST },
        server_ip: GATEWAY,
        router: some(GATEWAY),
        subnet_mask: some(Ipv4Addr::new(255, 255, 255, 0)),
        relay_agent_ip: asked.relay_agent_ip,
        broadcast: asked.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(GATEWAY),
        parameter_request_list: None,
        dns_servers: some(NAME_SERVER).map(|server| [server].into_iter().collect()),
        max_size: None,
        lease_duration: Some(LEASE).filter(|_| !is_nak && !is_inform),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).ok()?;
    // A client that has its address gets the answer there, others by broadcast, which every client
    // hears.
    let to = match asked.client_ip {
        address if is_nak || address.is_unspecified() => Ipv4Addr::BROADCAST,
        address => address,
    };
    Some((bytes, to))
}
