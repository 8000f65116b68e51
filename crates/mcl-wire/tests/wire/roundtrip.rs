//! What is sent arrives: every size, order and datagram length.

use core::time::Duration;

use mcl_wire::{
    BodyHead, Demux, Disposition, Encoding, Fragmenter, Limits, MAX_DATAGRAM_LEN, MIN_DATAGRAM_LEN,
    Metadata,
};
use proptest::prelude::*;

use crate::common::{Hasher, Inbox, Rng, Sender, check, demux, payload};

fn feed(demux: &mut Demux<Hasher>, inbox: &mut Inbox, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        let disposition = demux.datagram(Duration::ZERO, datagram, inbox);
        assert_eq!(disposition, Disposition::Accepted);
        assert!(demux.allocated_bytes() <= demux.limits().max_bytes);
    }
    check(demux);
}

/// Sends payloads of `len` bytes on fresh streams, each in another order.
fn round_trip(len: usize, datagram_len: usize) {
    let sent = payload(len as u64, len);
    let mut demux = demux(Limits::default());
    let mut inbox = Inbox::default();
    let mut rng = Rng(len as u64);
    for order in 0..4_u64 {
        let mut sender = Sender::new(order);
        sender.datagram_len = datagram_len;
        let mut datagrams = sender.message(Some("topic"), &sent);
        match order {
            0 => {}
            1 => datagrams.reverse(),
            2 => datagrams.rotate_right(1),
            _ => rng.shuffle(&mut datagrams),
        }
        // Else megabytes in reverse would be older than the window of sequence
        // numbers; here only the order of fragments is the matter.
        for (sequence, datagram) in datagrams.iter_mut().enumerate() {
            datagram[16..24].copy_from_slice(&(sequence as u64).to_be_bytes());
        }
        feed(&mut demux, &mut inbox, &datagrams);
        let message = inbox.messages.pop().unwrap();
        assert!(message.payload == sent, "{len} bytes, order {order}");
        assert_eq!(message.topic.as_deref(), Some("topic"));
        assert_eq!(message.owned, datagrams.len() > 1);
        assert_eq!(demux.pending(), 0);
    }
}

#[test]
fn sizes_around_one_and_two_datagrams() {
    for datagram_len in [MIN_DATAGRAM_LEN, 1232, 1452, 8952, MAX_DATAGRAM_LEN] {
        // Head of the topic above: 9 bytes.
        let whole = datagram_len - 36 - 9;
        let fragment = datagram_len - 52;
        for len in [0, 1, 2, whole - 1, whole, whole + 1] {
            round_trip(len, datagram_len);
        }
        for count in [2, 3, 64, 65, 129] {
            for len in [
                count * fragment - 10,
                count * fragment - 9,
                count * fragment - 8,
            ] {
                round_trip(len, datagram_len);
            }
        }
    }
}

#[test]
fn no_empty_last_fragment() {
    let head = BodyHead::new(None, &Metadata::new()).unwrap();
    for (len, count) in [(1396, 1), (1397, 2), (2796, 2), (2797, 3)] {
        let payload = payload(0, len);
        let fragments = Fragmenter::new(0, &head, &payload, 1452).unwrap();
        assert_eq!(fragments.len(), count);
        assert!(
            fragments
                .clone()
                .all(|f| f.head.len() + f.payload.len() > 0)
        );
        let mut inner = fragments.take(count - 1);
        assert!(inner.all(|fragment| fragment.datagram_len() == 1452));
    }
}

#[test]
fn megabytes() {
    round_trip(1 << 20, 1452);
    round_trip(8 << 20, 1452);
    round_trip(8 << 20, MAX_DATAGRAM_LEN);
}

/// Fragments are made one by one, so that the test needs no more than the
/// payload and the reassembly.
fn round_trip_64_mib(order: impl Fn(usize, usize) -> usize) {
    let sent = payload(64, 64 << 20);
    let head = BodyHead::new(None, &Metadata::new()).unwrap();
    let fragments = Fragmenter::new(0, &head, &sent, 1452).unwrap();
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let mut peak = 0;
    let count = fragments.len();
    for step in 0..count {
        let fragment = fragments.clone().nth(order(step, count)).unwrap();
        let sequence = step as u64;
        let prefix = fragment.prefix(mcl_wire::StreamId(1), sequence);
        let datagram = [&prefix, fragment.head, fragment.payload].concat();
        demux.datagram(Duration::ZERO, &datagram, &mut inbox);
        peak = peak.max(demux.allocated_bytes());
        assert!(demux.allocated_bytes() <= demux.limits().unproven_bytes);
        assert!(demux.allocated_bytes() <= 3 * 1500 * (step + 1) + (64 << 10));
    }
    check(&demux);
    assert!(inbox.messages.pop().unwrap().payload == sent);
    assert!(peak < 97 << 20, "{peak}");
}

#[test]
fn sixty_four_mebibytes_in_order() {
    round_trip_64_mib(|step, _| step);
}

#[test]
fn sixty_four_mebibytes_in_reverse() {
    round_trip_64_mib(|step, count| count - 1 - step);
}

#[test]
fn sixty_four_mebibytes_shuffled() {
    // A prime that does not divide the count visits every fragment once.
    round_trip_64_mib(|step, count| (step * 7919 + count - 1) % count);
}

#[test]
fn recycled_buffers_are_used_again() {
    let mut demux = demux(Limits::default());
    let mut sender = Sender::new(1);
    let sent = payload(3, 1 << 20);
    let mut pointers = std::collections::HashSet::new();
    for _ in 0..10 {
        let mut taken = Vec::new();
        let mut sink = |received: mcl_wire::Received<'_>| {
            taken = received.into_bytes().into_vec();
        };
        for datagram in sender.message(None, &sent) {
            demux.datagram(Duration::ZERO, &datagram, &mut Closure(&mut sink));
        }
        assert_eq!(taken.len(), (1 << 20) + 4);
        pointers.insert(taken.as_ptr());
        demux.recycle(taken);
        check(&demux);
    }
    // The first grew while its stream was unproven.
    assert!(pointers.len() <= 2, "{}", pointers.len());
    assert!(
        demux.allocated_bytes() > 1 << 20,
        "spares are in the budget"
    );
}

struct Closure<'a, F>(&'a mut F);

impl<F: FnMut(mcl_wire::Received<'_>)> mcl_wire::Sink for Closure<'_, F> {
    fn message(&mut self, message: mcl_wire::Received<'_>) {
        (self.0)(message);
    }
}

fn metadata() -> impl Strategy<Value = Metadata> {
    (any::<u8>(), any::<[Option<u64>; 2]>(), any::<Option<u32>>()).prop_map(
        |(encoding, [schema, time], crc)| {
            let mut metadata = Metadata::new().with_encoding(Encoding(encoding));
            metadata.schema = schema;
            metadata.publish_time = time;
            metadata.crc32c = crc;
            metadata
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_message_arrives_in_any_order(
        topic in prop::option::of("\\PC{0,60}"),
        metadata in metadata(),
        len in prop_oneof![0_usize..4000, 0_usize..200_000],
        datagram_len in prop_oneof![Just(1452), MIN_DATAGRAM_LEN..=9000],
        seed in any::<u64>(),
        start in prop_oneof![Just(0), any::<u64>(), Just(u64::MAX - 5)],
        whole in any::<bool>(),
    ) {
        let sent = payload(seed, len);
        let head = BodyHead::new(topic.as_deref(), &metadata).unwrap();
        let mut sender = Sender::new(seed);
        sender.datagram_len = datagram_len;
        sender.number = start.min(u64::MAX - 1);
        sender.sequence = start.min(u64::MAX - 2000);
        let fits = head.as_bytes().len() + len + 36 <= MAX_DATAGRAM_LEN;
        let mut datagrams = if whole && fits {
            vec![sender.whole(&head, &sent)]
        } else {
            sender.fragments(&head, &sent)
        };
        let count = datagrams.len();
        datagrams.extend_from_within(..count.min(500));
        // Within the window of sequence numbers; beyond it, the first is stale.
        if count <= 1000 {
            Rng(seed).shuffle(&mut datagrams);
        }
        let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
        for datagram in &datagrams {
            demux.datagram(Duration::ZERO, datagram, &mut inbox);
            check(&demux);
        }
        prop_assert_eq!(inbox.messages.len(), 1);
        let message = &inbox.messages[0];
        prop_assert!(message.payload == sent);
        prop_assert_eq!(&message.topic, &topic);
        prop_assert_eq!(message.metadata, metadata);
        prop_assert_eq!(message.number, start.min(u64::MAX - 1));
    }
}
