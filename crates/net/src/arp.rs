//! Which ARP frames `smoltcp` gets to see. It would answer for every address, as it takes part in
//! connections to any.

use crate::{GATEWAY, NAME_SERVER};
use smoltcp::wire::{ArpPacket, ArpRepr};

/// Whether a frame's ARP packet is for the gateway or the name server.
pub(crate) fn is_for_us(payload: &[u8]) -> bool {
    let packet = ArpPacket::new_checked(payload);
    match packet.and_then(|packet| ArpRepr::parse(&packet)) {
        Ok(ArpRepr::EthernetIpv4 { target_protocol_addr: target, .. }) => {
            [GATEWAY, NAME_SERVER].contains(&target)
        }
        _ => false,
    }
}
