//! Numbers that were forged or damaged: what they cost the honest ones beside them.

use mcl_wire::{BodyHead, DatagramWriter, Disposition, Header, Limits, Metadata, StreamId};

use crate::bench::Bench;
use crate::common::Sender;

/// A forger who knows a stream says something in its name, as far ahead as is
/// believed at once. Tells which honest messages came.
fn led_astray(forged: usize, forge: impl FnOnce(&mut Sender)) -> Vec<u64> {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    bench.prove(&mut sender);
    let mut forger = Sender::new(1);
    (forger.sequence, forger.number) = (sender.sequence, sender.number);
    forge(&mut forger);
    for _ in 0..forged {
        let datagram = forger.message(None, b"forged").remove(0);
        bench.feed(&datagram);
    }
    for _ in 0..100 {
        let datagram = sender.message(None, b"honest").remove(0);
        bench.feed(&datagram);
    }
    let numbers = bench.inbox.messages.iter().map(|it| it.number);
    // What is forged is taken as well, unless it is too far away.
    numbers.filter(|number| *number <= 100).collect()
}

#[test]
fn one_forged_datagram_silences_nobody() {
    for ahead in [1025, 5000, 1 << 24, 1 << 40] {
        let came = led_astray(1, |forger| forger.sequence += ahead);
        assert!(came.into_iter().eq(0..=100), "by its sequence number");
        let came = led_astray(1, |forger| {
            forger.number += 4 * ahead;
            // Its place in the sequence is free as yet.
            forger.sequence += 500;
        });
        assert!(came.into_iter().eq(0..=100), "by its message number");
    }
}

#[test]
fn two_forged_datagrams_silence_nobody_for_long() {
    let ahead = 1 << 24;
    let came = led_astray(2, |forger| forger.sequence += ahead - 2);
    assert_eq!(came.last(), Some(&100), "by their sequence numbers");
    // The two have the numbers of honest ones, and came first.
    assert_eq!(came.len(), 1 + 2 + 36);
    let came = led_astray(2, |forger| {
        forger.number += ahead - 2;
        // Their places in the sequence are free as yet.
        forger.sequence += 500;
    });
    assert_eq!(came.last(), Some(&100), "by their message numbers");
    assert_eq!(came.len(), 1 + 36);
}

/// Three datagrams of ten messages each, whose payload is their number.
fn coalesced() -> Vec<Vec<u8>> {
    let head = BodyHead::new(None, &Metadata::new()).unwrap();
    let datagram = |sequence| {
        let mut buffer = vec![0; 1452];
        let mut writer =
            DatagramWriter::new(&mut buffer, Header::new(StreamId(1), sequence)).unwrap();
        for number in 10 * sequence..10 * sequence + 10 {
            let payload = number.to_be_bytes();
            writer.message(number, &head, &payload).unwrap();
        }
        let len = writer.finish();
        buffer.truncate(len);
        buffer
    };
    (0..3).map(datagram).collect()
}

/// Numbers under which messages come, and those that they had when they were sent.
fn renamed(datagrams: &[Vec<u8>]) -> (Bench, Vec<(u64, u64)>) {
    let mut bench = Bench::new(Limits::default());
    for datagram in datagrams {
        assert_eq!(bench.feed(datagram), Disposition::Accepted);
    }
    let came = bench.inbox.messages.iter().map(|it| {
        let payload = it.payload.clone().try_into().unwrap();
        (it.number, u64::from_be_bytes(payload))
    });
    let came = came.collect();
    (bench, came)
}

#[test]
fn a_frame_that_damage_has_ignored_renames_those_behind_it_in_its_datagram_only() {
    let mut datagrams = coalesced();
    // The second frame of the second datagram, behind one of 24 bytes: a type that
    // may be ignored.
    let second = 24 + 4 + 8 + 4 + 8;
    assert_eq!(datagrams[1][second], datagrams[1][24]);
    datagrams[1][second] = 0xff;
    let (bench, came) = renamed(&datagrams);
    let expected = (0..11).map(|it| (it, it));
    let expected = expected.chain((11..19).map(|it| (it, it + 1)));
    let expected = expected.chain((20..30).map(|it| (it, it)));
    assert!(came.into_iter().eq(expected));
    assert_eq!(bench.stream(&Sender::new(1)).numbers.missing, 1);
}

#[test]
fn a_message_number_that_damage_put_far_off_costs_its_datagram_at_most() {
    // The number of the second datagram's first message: 2^62 too large, and 2^16.
    for (at, came_right, came, jumps) in [(28, 20, 20, 10), (33, 20, 30, 0)] {
        let mut datagrams = coalesced();
        datagrams[1][at] ^= 0x40;
        let (bench, messages) = renamed(&datagrams);
        let right = messages.iter().filter(|(number, was)| number == was);
        assert_eq!((right.count(), messages.len()), (came_right, came));
        assert_eq!(messages.last(), Some(&(29, 29)));
        assert_eq!(bench.demux.counters().frames.message_jump, jumps);
        let numbers = bench.stream(&Sender::new(1)).numbers;
        assert_eq!((numbers.restarts, numbers.missing), (0, 10));
        assert_eq!(numbers.apart, (came - 20) as u64);
    }
}
