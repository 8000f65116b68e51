//! What is not taken though there is room: filtered, above the limit, a body that cannot
//! be read, a fragment that contradicts another; and how it is counted.

use mcl_wire::{BodyHead, Disposition, Limits, Metadata, StreamId, TopicHash};

use crate::bench::Bench;
use crate::common::{Sender, payload};

#[test]
fn streams_nobody_wants_are_ignored() {
    let mut bench = Bench::new(Limits::default());
    bench.inbox.not_stream = Some(StreamId(1));
    let datagram = Sender::new(1).message(None, b"x").remove(0);
    assert_eq!(bench.feed(&datagram), Disposition::IgnoredStream);
    assert_eq!(bench.demux.stream_count(), 0);
}

#[test]
fn topics_nobody_wants_are_seen_but_not_kept() {
    let mut bench = Bench::new(Limits::default());
    bench.inbox.not_hash = Some(TopicHash::of(Some("large")));
    bench.inbox.not_topic = Some("small");
    let mut sender = Sender::new(1);
    for (topic, len) in [
        ("large", 5000),
        ("small", 10),
        ("small", 5000),
        ("other", 5000),
    ] {
        for datagram in sender.message(Some(topic), &payload(1, len)) {
            bench.feed(&datagram);
        }
    }
    assert_eq!(bench.inbox.messages.len(), 1);
    let report = bench.stream(&sender);
    assert_eq!(report.numbers.missing, 0);
    assert_eq!(report.messages.filtered_by_hash, 1);
    assert_eq!(report.messages.filtered, 2);
    assert_eq!(bench.demux.counters().frames.fragment_filtered, 4);
}

#[test]
fn a_topic_hash_that_is_not_the_topics_is_malformed() {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    for mut datagram in sender.message(Some("topic"), &payload(1, 5000)) {
        datagram[44..48].copy_from_slice(&TopicHash::of(Some("other")).0.to_be_bytes());
        bench.feed(&datagram);
    }
    assert!(bench.inbox.messages.is_empty());
    let report = bench.stream(&sender);
    assert_eq!(report.messages.body_topic_hash, 1);
    assert!(!report.proven);
}

#[test]
fn bodies_are_counted_by_what_is_wrong_with_them() {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    let head = BodyHead::new(Some("t"), &Metadata::new().with_schema(1)).unwrap();
    for (at, value) in [(36, 0xC0), (40, 0xFF), (41, 0x03), (41, 0x00), (42, 7)] {
        let mut datagram = sender.whole(&head, b"x");
        datagram[at] = value;
        assert_eq!(bench.feed(&datagram), Disposition::Accepted);
    }
    let messages = bench.stream(&sender).messages;
    assert_eq!(messages.body_critical, 2);
    assert_eq!(messages.body_topic_not_utf8, 1);
    assert_eq!(messages.body_malformed, 2);
    assert!(!bench.stream(&sender).proven);
}

#[test]
fn messages_above_the_limit_are_counted_once() {
    let mut bench = Bench::new(Limits::new(1000, 1 << 20));
    let mut sender = Sender::new(1);
    for len in [1000, 1390, 5000] {
        for datagram in sender.message(None, &payload(1, len)) {
            bench.feed(&datagram);
        }
    }
    let messages = bench.stream(&sender).messages;
    assert_eq!(messages.delivered, 1);
    assert_eq!(messages.whole_too_large, 1);
    assert_eq!(messages.too_large, 1);
    assert_eq!(bench.demux.counters().frames.fragment_too_large, 4);
}

#[test]
fn each_field_that_contradicts_the_first_fragment_is_noticed() {
    let mut bench = Bench::new(Limits::default());
    let mut sender = Sender::new(1);
    sender.datagram_len = 52 + 1024;
    let rest = bench.begin(&mut sender, 10_000, 1);
    // Each is well-formed by itself: total, topic hash, and a fragment of 512
    // bytes that is number 2 of a message cut more finely.
    let mut contradictions = [(); 3].map(|()| rest[1].clone());
    let [total, hash, size] = &mut contradictions;
    total[38] ^= 1;
    hash[47] ^= 1;
    size.truncate(52 + 512);
    size[26..28].copy_from_slice(&(24 + 512_u16).to_be_bytes());
    size[48..50].copy_from_slice(&512_u16.to_be_bytes());
    for (count, mut datagram) in (1_u64..).zip(contradictions) {
        datagram[16..24].copy_from_slice(&(100 + count).to_be_bytes());
        assert_eq!(bench.feed(&datagram), Disposition::Accepted);
        let frames = bench.demux.counters().frames;
        assert_eq!(frames.fragment_contradicting, count);
    }
    for datagram in &rest {
        bench.feed(datagram);
    }
    assert_eq!(bench.inbox.messages[0].payload, payload(0, 10_000));
}
