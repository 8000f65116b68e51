//! Captures in the classic format of libpcap: Ethernet, IPv6, UDP.

use std::net::Ipv6Addr;

/// Magic with microseconds, version 2.4, no zone, no accuracy, 256 KiB, Ethernet; little-endian.
const HEAD: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 1 << 18, 1];

/// The time of the first packet: 2023-11-14 22:13:20 UTC.
const EPOCH: u32 = 1_700_000_000;

/// One UDP datagram of a capture.
pub(crate) struct Packet {
    pub(crate) group: Ipv6Addr,
    pub(crate) port: u16,
    pub(crate) payload: Vec<u8>,
}

/// The capture's bytes, a second between packets.
pub(crate) fn capture(packets: &[Packet]) -> Vec<u8> {
    let mut bytes: Vec<u8> = HEAD.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (second, packet) in (EPOCH..).zip(packets) {
        let frame = packet.frame();
        let len = u32::try_from(frame.len()).unwrap();
        for word in [second, 0, len, len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    bytes
}

impl Packet {
    fn frame(&self) -> Vec<u8> {
        let source: Ipv6Addr = "fe80::1".parse().unwrap();
        let group = self.group.octets();
        let len = u16::try_from(8 + self.payload.len()).unwrap();
        let ports = [40_000, self.port];
        let mut udp: Vec<u8> = ports.iter().flat_map(|it| it.to_be_bytes()).collect();
        udp.extend(len.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let mut pseudo = [source.octets(), group].concat();
        pseudo.extend(u32::from(len).to_be_bytes());
        pseudo.extend([0, 0, 0, 17]);
        let checksum = checksum(&[pseudo, udp.clone()].concat());
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());
        let [.., a, b, c, d] = group;
        let mut frame = vec![0x33, 0x33, a, b, c, d, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(len.to_be_bytes());
        frame.extend([17, 1]);
        frame.extend(source.octets());
        frame.extend(group);
        frame.extend(udp);
        frame
    }
}

/// The Internet checksum (RFC 1071), where 0 is sent as its other zero (RFC 8200, 8.1).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !u16::try_from(sum).unwrap() {
        0 => 0xffff,
        checksum => checksum,
    }
}

/// Where the records of a capture have their packets' bytes.
pub(crate) fn packets(capture: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 24;
    while let Some(len) = capture.get(at + 8..at + 12) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        found.push(at + 16..at + 16 + len);
        at += 16 + len;
    }
    assert_eq!(at, capture.len());
    found
}
