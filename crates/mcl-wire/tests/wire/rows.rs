//! Messages that share a datagram are taken in as if each had come alone.

use core::time::Duration;

use mcl_wire::{
    BodyHead, DatagramWriter, Demux, Encoding, Header, Limits, Metadata, Sink, StreamId,
};

use crate::common::{Hasher, Inbox, Message, Rng, check, demux, payload};

const NOW: Duration = Duration::from_secs(1);
const STREAM: StreamId = StreamId(0x5eed);

/// A message as it is to be written.
struct Written {
    number: u64,
    head: BodyHead,
    payload: Vec<u8>,
    /// A byte of the head that is changed on the way.
    damage: Option<(usize, u8)>,
    padded: bool,
}

fn head(rng: &mut Rng) -> BodyHead {
    // Of the kinds that come in turn most are alike, but for their times and CRCs.
    let mut metadata = Metadata::new();
    if rng.percent(80) {
        metadata = metadata.with_publish_time(rng.next());
    }
    if rng.percent(20) {
        metadata = metadata.with_encoding(Encoding(rng.below(3) as u8));
    }
    if rng.percent(10) {
        metadata = metadata.with_schema(rng.next() % 2);
    }
    if rng.percent(40) {
        metadata = metadata.with_crc32c(rng.next() as u32);
    }
    let long = "long".repeat(20);
    let topics = [
        None,
        None,
        None,
        Some(""),
        Some("t"),
        Some("topic"),
        Some(&*long),
    ];
    BodyHead::new(topics[rng.below(topics.len())], &metadata).unwrap()
}

fn messages(rng: &mut Rng, damage: u64) -> Vec<Written> {
    let (mut written, mut number) = (Vec::new(), 7);
    let mut usual = head(rng);
    // Where they differ all the time, none is looked at to know it again.
    let changes = [10, 90][rng.below(2)];
    for _ in 0..400 {
        if rng.percent(changes) {
            usual = head(rng);
        }
        usual.set_publish_time(rng.next());
        usual.set_crc32c(rng.next() as u32);
        number += if rng.percent(95) {
            1
        } else {
            rng.below(4) as u64
        };
        let at = rng.below(usual.as_bytes().len());
        written.push(Written {
            number,
            head: usual.clone(),
            payload: payload(number, rng.below(100)),
            damage: rng.percent(damage).then(|| (at, 1 << rng.below(8))),
            padded: rng.percent(5),
        });
    }
    written
}

/// A datagram of these messages.
fn datagram(sequence: u64, messages: &[Written]) -> Vec<u8> {
    let mut buffer = vec![0; 60_000];
    let mut writer = DatagramWriter::new(&mut buffer, Header::new(STREAM, sequence)).unwrap();
    let mut damages = Vec::new();
    for it in messages {
        writer.message(it.number, &it.head, &it.payload).unwrap();
        let body_at = writer.len() - it.head.as_bytes().len() - it.payload.len();
        damages.extend(it.damage.map(|(at, bits)| (body_at + at, bits)));
    }
    if messages.iter().any(|it| it.padded) {
        writer.pad_to(writer.len() + 9);
    }
    let len = writer.finish();
    for (at, bits) in damages {
        buffer[at] ^= bits;
    }
    buffer.truncate(len);
    buffer
}

/// What becomes of the messages, so many in each datagram.
fn received(written: &[Written], most: usize, seed: u64) -> (Demux<Hasher>, Vec<Message>) {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    inbox.not_topic = Some("topic");
    let (mut rng, mut rest, mut sequence) = (Rng(seed), written, 0);
    while !rest.is_empty() {
        let (together, others) = rest.split_at(rest.len().min(1 + rng.below(most)));
        rest = others;
        demux.datagram(NOW, &datagram(sequence, together), &mut inbox);
        sequence += 1;
    }
    check(&demux);
    let messages = inbox.messages.into_iter();
    let messages = messages.map(|it| Message { sequence: 0, ..it });
    (demux, messages.collect())
}

#[test]
fn messages_that_share_a_datagram_are_taken_in_as_if_each_came_alone() {
    for seed in 0..60 {
        let written = messages(&mut Rng(seed), 8 * (seed % 2));
        let (alone, expected) = received(&written, 1, seed);
        let (shared, got) = received(&written, 1 + seed as usize % 40, seed);
        assert_eq!(got, expected, "seed {seed}");
        let report = |demux: &Demux<Hasher>| demux.stream(STREAM).unwrap();
        assert_eq!(report(&shared).messages, report(&alone).messages);
        assert_eq!(report(&shared).numbers, report(&alone).numbers);
        let frames = [&shared, &alone].map(|it| it.counters().frames.message_new);
        assert_eq!(frames[0], frames[1], "seed {seed}");
    }
}

#[test]
fn each_message_has_the_head_that_it_was_sent_with() {
    for seed in 100..130 {
        let mut written = messages(&mut Rng(seed), 0);
        written.dedup_by_key(|it| it.number);
        let (_, got) = received(&written, 30, seed);
        let wanted = written.iter().map(|it| {
            let body = [it.head.as_bytes(), &it.payload].concat();
            let body = mcl_wire::Body::decode(&body).unwrap();
            (
                body.topic().map(str::to_owned),
                body.metadata(),
                body.payload().to_vec(),
            )
        });
        let wanted: Vec<_> = wanted
            .filter(|(topic, ..)| topic.as_deref() != Some("topic"))
            .collect();
        let got = got
            .into_iter()
            .map(|it| (it.topic, it.metadata, it.payload));
        assert_eq!(got.collect::<Vec<_>>(), wanted, "seed {seed}");
    }
}

/// Wants nothing, and keeps what it is asked.
struct Asked(Vec<Option<String>>);

impl Sink for Asked {
    fn wants_topic(&mut self, topic: Option<&str>) -> bool {
        self.0.push(topic.map(str::to_owned));
        false
    }

    fn message(&mut self, _: mcl_wire::Received<'_>) {}
}

#[test]
fn the_sink_is_asked_for_each_message() {
    let mut demux = demux(Limits::default());
    let mut asked = Asked(Vec::new());
    let head = BodyHead::new(Some("a"), &Metadata::new()).unwrap();
    let message = |number| Written {
        number,
        head: head.clone(),
        payload: vec![1; 20],
        damage: None,
        padded: false,
    };
    for sequence in 0..3 {
        let written: Vec<_> = (0..5).map(|it| message(5 * sequence + it)).collect();
        demux.datagram(NOW, &datagram(sequence, &written), &mut asked);
    }
    assert_eq!(asked.0.len(), 15);
    assert!(asked.0.iter().all(|it| it.as_deref() == Some("a")));
    assert_eq!(demux.stream(STREAM).unwrap().messages.filtered, 15);
}
