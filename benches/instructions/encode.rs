//! Writing messages, as broadcasters do.

use std::hint::black_box;

use mcl_benches::traffic::{DATAGRAM, TRAIN, head};
use mcl_wire::{BodyHead, DatagramWriter, Fragmenter, Header, Metadata, whole_message_prefix};

use super::{
    Benchmark, LARGE, MESSAGE, SMALL, STREAM, Work, fragments_of, messages_in_train, repeat,
};

pub(crate) fn benchmarks() -> Vec<Benchmark> {
    let (train, large) = (messages_in_train(), fragments_of(LARGE));
    let (small, fragment) = ((train, "message"), (large, "fragment"));
    vec![
        Benchmark::new("encode-head", (1, "head"), 256, 1, head_of_topic),
        Benchmark::new("encode-whole", MESSAGE, 256, 1, whole),
        Benchmark::new("encode-coalesced", small, 8, train, coalesced),
        Benchmark::new("encode-fragments", fragment, 32, large, fragments),
    ]
}

/// The head that `publish_to` makes of a topic.
fn head_of_topic(_: usize) -> Box<dyn Work> {
    let metadata = Metadata::new().with_publish_time(1).with_crc32c(1);
    repeat(move |_| {
        let head = BodyHead::new(black_box(Some("robot/pose")), black_box(&metadata));
        u64::from(black_box(head).is_ok())
    })
}

/// All that is written of a message that has a datagram for itself: time, checksum, and
/// what precedes its body.
fn whole(_: usize) -> Box<dyn Work> {
    let metadata = Metadata::new().with_publish_time(1).with_crc32c(1);
    let (head, payload) = (BodyHead::new(Some("bench"), &metadata), [7; SMALL]);
    let head = head.expect("a short topic");
    repeat(move |number| {
        let (mut head, payload) = (black_box(&head).clone(), black_box(&payload));
        head.set_publish_time(number);
        let crc = crc32c::crc32c(head.crc_covered());
        head.set_crc32c(crc32c::crc32c_append(crc, payload));
        let prefix = whole_message_prefix(
            STREAM,
            number,
            number,
            head.as_bytes().len() + payload.len(),
        );
        u64::from(black_box((prefix, head)).0.is_some())
    })
}

/// A train filled with small messages.
fn coalesced(_: usize) -> Box<dyn Work> {
    let (head, payload) = (head(), [7; SMALL]);
    let mut datagrams = vec![[0; DATAGRAM]; TRAIN];
    let mut number = 0;
    repeat(move |step| {
        let first = number;
        for (at, datagram) in datagrams.iter_mut().enumerate() {
            let header = Header::new(STREAM, step * TRAIN as u64 + at as u64);
            let mut writer = DatagramWriter::new(datagram, header).expect("long enough");
            while writer
                .message_published_at(number, number, black_box(&head), black_box(&payload))
                .is_ok()
            {
                number += 1;
            }
            black_box(writer.finish());
        }
        number - first
    })
}

/// Where the fragments of a large message are, and what precedes each.
fn fragments(_: usize) -> Box<dyn Work> {
    let (head, payload) = (head(), vec![7; LARGE]);
    repeat(move |number| {
        let fragments = Fragmenter::new(number, black_box(&head), black_box(&payload), DATAGRAM);
        let mut count = 0;
        for fragment in fragments.expect("a valid length") {
            black_box((fragment.prefix(STREAM, number), fragment));
            count += 1;
        }
        count
    })
}
