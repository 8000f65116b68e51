//! Damaged datagrams: never a panic, and either counted or harmless.

use core::time::Duration;

use mcl_wire::{BodyHead, DatagramWriter, Disposition, Header, Limits, Metadata, StreamId};
use proptest::prelude::*;

use crate::common::{Inbox, Rng, Sender, check, demux, payload};

fn specimens() -> Vec<Vec<u8>> {
    let mut sender = Sender::new(0x0102_0304_0506_0708);
    let metadata = Metadata::new()
        .with_schema(1)
        .with_publish_time(2)
        .with_crc32c(3);
    let head = BodyHead::new(Some("topic"), &metadata).unwrap();
    let mut datagrams = vec![sender.whole(&head, b"payload")];
    sender.datagram_len = 308;
    datagrams.extend(sender.fragments(&head, &payload(1, 700)));
    let mut buffer = [0; 300];
    let header = Header::new(StreamId(9), 9);
    let mut writer = DatagramWriter::new(&mut buffer, header).unwrap();
    for number in [1, 2, 9] {
        writer.message(number, &head, b"small").unwrap();
    }
    writer.pad_to(300);
    datagrams.push(buffer.to_vec());
    datagrams
}

#[test]
fn every_truncation_is_survived() {
    for datagram in specimens() {
        for len in 0..datagram.len() {
            let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
            let disposition = demux.datagram(Duration::ZERO, &datagram[..len], &mut inbox);
            check(&demux);
            if len < 24 {
                assert_eq!(disposition, Disposition::NotMcl);
            }
        }
    }
}

#[test]
fn every_single_byte_change_is_survived() {
    for datagram in specimens() {
        for at in 0..datagram.len().min(120) {
            for value in 0..=255 {
                let mut damaged = datagram.clone();
                damaged[at] = value;
                let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
                let disposition = demux.datagram(Duration::ZERO, &damaged, &mut inbox);
                check(&demux);
                let expected = match (at, value == datagram[at]) {
                    (_, true) => Disposition::Accepted,
                    (0 | 1, _) => Disposition::NotMcl,
                    (2, _) => Disposition::Version,
                    (3, _) if value < 24 || usize::from(value) > datagram.len() => {
                        Disposition::MalformedHeader
                    }
                    (4, _) if value == 1 => Disposition::MalformedFrame,
                    (4, _) => Disposition::CriticalFlag,
                    (5..24, _) => Disposition::Accepted,
                    _ => continue,
                };
                assert_eq!(disposition, expected, "byte {at} as {value:#04x}");
            }
        }
    }
}

#[test]
fn flipped_bits_leave_the_account_in_order() {
    // Damage in a payload passes: that is for UDP's checksum, or for a CRC-32C
    // in the body, to catch.
    let mut rng = Rng(7);
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    for round in 0..20_000_u64 {
        let mut datagrams = specimens();
        let chosen = rng.below(datagrams.len());
        let datagram = &mut datagrams[chosen];
        for _ in 0..=rng.below(4) {
            let at = rng.below(datagram.len());
            datagram[at] ^= 1 << rng.below(8);
        }
        demux.datagram(Duration::from_millis(round), datagram, &mut inbox);
        check(&demux);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(datagrams in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..200), 0..20,
    )) {
        let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
        for mut datagram in datagrams {
            // Every second one with a header that is let through.
            if datagram.len() > 24 && datagram[23] % 2 == 0 {
                datagram[..6].copy_from_slice(&[0xC1, 0x4D, 1, 24, 0, 0]);
            }
            demux.datagram(Duration::ZERO, &datagram, &mut inbox);
            check(&demux);
        }
    }

    #[test]
    fn arbitrary_bodies_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(body) = mcl_wire::Body::decode(&bytes) {
            let (covered, payload) = body.crc_covered();
            prop_assert!(covered.len() + payload.len() <= bytes.len());
            prop_assert_eq!(body.payload_offset() + payload.len(), bytes.len());
        }
    }
}
