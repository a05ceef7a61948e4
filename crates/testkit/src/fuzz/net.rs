//! A hostile guest on the network: whatever frames it sends, the gateway goes on answering. The
//! network is one that reaches no other.

use super::{Target, Verdict, replay_seeds};
use crate::random::Rng;
use mynah_net::{GATEWAY, Options, User, Wire};
use std::time::{Duration, Instant};

/// The network. Each case is a new one.
#[derive(Default, Debug)]
pub struct NetTarget;

/// How long the gateway may take to answer at the end.
const PATIENCE: Duration = Duration::from_secs(30);

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Target for NetTarget {
    fn case(&mut self, rng: &mut Rng) -> Verdict {
        let mut user = Options::new().restricted(true).start().expect("the host has a thread");
        let count = rng.below(400);
        for _ in 0..count {
            user.send(&frame(rng));
            if rng.chance(30) {
                user.receive();
            }
        }
        answers(&mut user);
        Verdict::Passed { cases: 1, useful: 1 }
    }

    fn replay(&mut self, _: &str, text: &str) -> Result<usize, String> {
        replay_seeds(self, text)
    }
}

/// The gateway answers a question of ARP.
fn answers(user: &mut User) {
    user.clear();
    let start = Instant::now();
    loop {
        user.send(&ethernet(0x0806, &arp(1, GATEWAY.octets())));
        for _ in 0..100 {
            if user.receive().is_some_and(|frame| frame[12..14] == [8, 6] && frame[21] == 2) {
                return;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        assert!(start.elapsed() < PATIENCE, "the gateway answers");
    }
}

/// A frame that is right in most respects.
fn frame(rng: &mut Rng) -> Vec<u8> {
    let mut frame = match rng.below(10) {
        0 => (0..rng.below(1600)).map(|_| rng.bits() as u8).collect(),
        1 => {
            let target = rng.pick(&[[10, 0, 2, 2], [10, 0, 2, 3], [10, 0, 2, 15], [8, 8, 8, 8]]);
            ethernet(0x0806, &arp(rng.below(3) as u8, target))
        }
        _ => ethernet(0x0800, &ipv4(rng)),
    };
    for _ in 0..rng.below(4) / 3 * 3 {
        if !frame.is_empty() {
            let at = rng.below(frame.len());
            frame[at] = rng.edge() as u8;
        }
    }
    if rng.chance(5) {
        frame.truncate(rng.below(frame.len() + 1));
    }
    frame
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &MAC, &kind.to_be_bytes(), payload].concat()
}

fn arp(operation: u8, target: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    packet.extend(MAC);
    packet.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0]);
    packet.extend(target);
    packet
}

fn ipv4(rng: &mut Rng) -> Vec<u8> {
    let from =
        rng.pick(&[[10, 0, 2, 15], [10, 0, 2, 15], [10, 0, 2, 77], [0, 0, 0, 0], [1, 2, 3, 4]]);
    let to = rng.pick(&[[10, 0, 2, 2], [10, 0, 2, 3], [255, 255, 255, 255], [192, 0, 2, 1]]);
    let protocol = rng.pick(&[1_u8, 6, 6, 17, 17, 2]);
    let mut payload = match protocol {
        1 => [&[8, 0, 0, 0, 0, 1, 0, 1][..], &vec![0x5a; rng.below(100)]].concat(),
        6 => tcp(rng),
        _ => udp(rng),
    };
    let at = match protocol {
        1 => 2,
        6 => 16,
        _ => 6,
    };
    // The pseudo header counts, other than for ICMP.
    let mut whole = Vec::new();
    if protocol != 1 {
        whole.extend(from);
        whole.extend(to);
        whole.extend([0, protocol]);
        whole.extend((payload.len() as u16).to_be_bytes());
    }
    whole.extend_from_slice(&payload);
    payload[at..at + 2].copy_from_slice(&checksum(&whole).to_be_bytes());
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(rng.pick(&[0_u16, 0, 0, 0x4000, 0x2000, 0x2001]).to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn tcp(rng: &mut Rng) -> Vec<u8> {
    let port = |rng: &mut Rng| rng.pick(&[0_u16, 1, 22, 53, 50_000, 50_001, 65_535]).to_be_bytes();
    let mut segment = [port(rng), port(rng)].concat();
    segment.extend((rng.bits() as u32).to_be_bytes());
    segment.extend((rng.edge() as u32).to_be_bytes());
    let words = rng.pick(&[5_u8, 5, 5, 6, 15, 0]);
    segment.extend([words << 4, rng.pick(&[2, 2, 0x10, 0x12, 0x11, 4, 0x18, 0x3f, 0])]);
    segment.extend([0xff, 0xff, 0, 0, 0, 0]);
    segment.extend((0..rng.below(60)).map(|_| rng.edge() as u8));
    segment
}

fn udp(rng: &mut Rng) -> Vec<u8> {
    let to = rng.pick(&[67_u16, 67, 53, 40_000, 9]);
    let data = if to == 67 { dhcp(rng) } else { vec![0x5a; rng.below(300)] };
    let mut datagram = [68_u16.to_be_bytes(), to.to_be_bytes()].concat();
    datagram.extend((8 + data.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    datagram
}

fn dhcp(rng: &mut Rng) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0];
    message.extend([0; 16]);
    message.extend(MAC);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, rng.below(9) as u8]);
    for _ in 0..rng.below(4) {
        let len = rng.below(9);
        message.extend([rng.pick(&[50, 54, 55, 61, 57, 51]), len as u8]);
        message.extend((0..len).map(|_| rng.bits() as u8));
    }
    message.push(255);
    message
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u32::from(*byte));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
