//! What the other modules share: generator, sink, sender, check of the account.

use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;

use core::time::Duration;

use mcl_wire::{
    Account, BodyBytes, BodyHead, Demux, Disposition, Fragmenter, Limits, Metadata, Received, Sink,
    StreamId, TopicHash, WHOLE_MESSAGE_OVERHEAD, whole_message_prefix,
};

pub(crate) type Hasher = BuildHasherDefault<DefaultHasher>;

pub(crate) fn demux(limits: Limits) -> Demux<Hasher> {
    Demux::new(limits, Hasher::default())
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// Bytes that differ between messages and between places in a message.
pub(crate) fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) stream: StreamId,
    pub(crate) number: u64,
    pub(crate) sequence: u64,
    pub(crate) topic: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) payload: Vec<u8>,
    pub(crate) owned: bool,
}

/// Keeps what it gets; wants everything but what it is told not to want.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) messages: Vec<Message>,
    pub(crate) not_stream: Option<StreamId>,
    pub(crate) not_hash: Option<TopicHash>,
    pub(crate) not_topic: Option<&'static str>,
}

impl Sink for Inbox {
    fn wants_stream(&mut self, stream: StreamId) -> bool {
        self.not_stream != Some(stream)
    }

    fn wants_hash(&mut self, hash: TopicHash) -> bool {
        self.not_hash != Some(hash)
    }

    fn wants_topic(&mut self, topic: Option<&str>) -> bool {
        topic.is_none() || self.not_topic != topic
    }

    fn message(&mut self, message: Received<'_>) {
        let owned = matches!(message.bytes(), BodyBytes::Owned(_));
        self.messages.push(Message {
            stream: message.stream,
            number: message.number,
            sequence: message.sequence,
            topic: message.topic().map(str::to_owned),
            metadata: message.metadata(),
            payload: message.payload().to_vec(),
            owned,
        });
    }
}

/// One stream, as a broadcaster sends it.
pub(crate) struct Sender {
    pub(crate) stream: StreamId,
    pub(crate) sequence: u64,
    pub(crate) number: u64,
    pub(crate) datagram_len: usize,
}

impl Sender {
    pub(crate) fn new(stream: u64) -> Self {
        Self {
            stream: StreamId(stream),
            sequence: 0,
            number: 0,
            datagram_len: 1452,
        }
    }

    fn take_sequence(&mut self) -> u64 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    /// The datagrams of the next message: one if it fits, else fragments.
    pub(crate) fn message(&mut self, topic: Option<&str>, payload: &[u8]) -> Vec<Vec<u8>> {
        let head = BodyHead::new(topic, &Metadata::new()).unwrap();
        if head.as_bytes().len() + payload.len() + WHOLE_MESSAGE_OVERHEAD <= self.datagram_len {
            vec![self.whole(&head, payload)]
        } else {
            self.fragments(&head, payload)
        }
    }

    pub(crate) fn whole(&mut self, head: &BodyHead, payload: &[u8]) -> Vec<u8> {
        let sequence = self.take_sequence();
        let body_len = head.as_bytes().len() + payload.len();
        let prefix = whole_message_prefix(self.stream, sequence, self.number, body_len).unwrap();
        self.number += 1;
        [&prefix, head.as_bytes(), payload].concat()
    }

    pub(crate) fn fragments(&mut self, head: &BodyHead, payload: &[u8]) -> Vec<Vec<u8>> {
        let fragments = Fragmenter::new(self.number, head, payload, self.datagram_len).unwrap();
        self.number += 1;
        fragments
            .map(|fragment| {
                let prefix = fragment.prefix(self.stream, self.take_sequence());
                let datagram = [&prefix, fragment.head, fragment.payload].concat();
                assert_eq!(datagram.len(), fragment.datagram_len());
                datagram
            })
            .collect()
    }
}

/// How many datagrams at the front the kernel would hand over as one train:
/// all of one length, but for a shorter last one.
pub(crate) fn train_len(queue: &[Vec<u8>], max: usize) -> usize {
    let Some(first) = queue.first() else { return 0 };
    let equal = queue.iter().take_while(|it| it.len() == first.len());
    let equal = equal.count().min(max);
    let shorter = |it: &Vec<u8>| !it.is_empty() && it.len() < first.len();
    equal + usize::from(equal < max && queue.get(equal).is_some_and(shorter))
}

/// A train arrives at a receiver that takes in together what follows in a row. Tells what became
/// of each datagram, and how many followed.
pub(crate) fn receive(
    demux: &mut Demux<Hasher>,
    now: Duration,
    train: &[Vec<u8>],
    sink: &mut impl Sink,
) -> (Vec<Disposition>, u64) {
    let (bytes, stride) = (train.concat(), train.first().map_or(1, Vec::len).max(1));
    let (mut dispositions, mut followed) = (Vec::new(), 0);
    demux.prefetch(train.iter().map(Vec::as_slice));
    while let Some(datagram) = train.get(dispositions.len()) {
        dispositions.push(demux.datagram(now, datagram, sink));
        let rest = bytes.get(dispositions.len() * stride..).unwrap_or_default();
        let count = demux.follow(now, rest, stride, sink);
        dispositions.resize(dispositions.len() + count, Disposition::Accepted);
        followed += count as u64;
    }
    assert_eq!(dispositions.len(), train.len());
    (dispositions, followed)
}

/// Nothing tells the two apart.
pub(crate) fn check_twins(demux: &Demux<Hasher>, twin: &Demux<Hasher>) {
    check(demux);
    let both = [demux, twin];
    let [one, other] = both.map(Demux::counters);
    assert_eq!(one, other);
    let [one, other] = both.map(|it| it.streams().collect::<Vec<_>>());
    assert_eq!(one, other);
    let [one, other] = both.map(|it| (it.next_expiry(), it.awaited(), it.allocated_bytes()));
    assert_eq!(one, other);
}

/// Every equation that the documentation promises, and every bound.
pub(crate) fn check(demux: &Demux<Hasher>) {
    let (counters, limits) = (demux.counters(), demux.limits());
    assert_eq!(counters.datagrams_fed, counters.datagrams.total());
    let messages = counters.messages;
    assert_eq!(messages.pending(), demux.pending() as u64);
    assert_eq!(
        messages.started,
        messages.completed
            + messages.expired
            + messages.stranded
            + messages.evicted
            + messages.abandoned
            + messages.pending()
    );
    assert_eq!(
        messages.bodies(),
        messages.delivered
            + messages.crc_mismatch
            + messages.unclaimed
            + messages.filtered
            + messages.malformed()
    );
    assert_eq!(
        counters.frames.message_new,
        messages.whole + messages.whole_too_large
    );
    assert!(demux.allocated_bytes() <= limits.max_bytes);
    assert!(demux.pending() <= limits.max_incomplete);
    assert!(demux.stream_count() <= limits.max_streams);
    assert_eq!(demux.next_expiry().is_some(), demux.pending() > 0);
    check_streams(demux);
}

fn check_streams(demux: &Demux<Hasher>) {
    let (counters, limits) = (demux.counters(), demux.limits());
    let (mut bytes, mut unproven, mut datagrams, mut seen) = (0, 0, 0, 0);
    let mut account = counters.departed.account;
    for report in demux.streams() {
        for counts in [report.datagrams, report.numbers] {
            assert_eq!(counts.received + counts.missing, counts.spanned);
        }
        let numbers = report.numbers;
        assert_eq!(
            report.messages.seen(),
            numbers.received + numbers.before_first + numbers.apart
        );
        // Sent = delivered + missing + dropped, by cause.
        assert_eq!(
            report.account().total(),
            numbers.spanned + numbers.before_first + numbers.apart
        );
        account += report.account();
        assert_eq!(report.messages.pending(), report.pending as u64);
        assert!(report.pending <= limits.max_incomplete_per_stream);
        assert!(report.bytes <= limits.stream_bytes);
        bytes += report.bytes;
        unproven += if report.proven { 0 } else { report.bytes };
        let counts = report.datagrams;
        datagrams += counts.received + counts.before_first + counts.apart;
        seen += report.messages.seen();
    }
    assert!(bytes <= demux.allocated_bytes());
    assert!(unproven <= limits.unproven_bytes);
    check_sums(demux, &account);
    if counters.departed.streams == 0 {
        assert_eq!(
            datagrams,
            counters.datagrams.accepted - counters.unsequenced
        );
        assert_eq!(seen, counters.messages.seen());
    }
}

/// The streams' accounts, those of departed ones included, add up to the whole.
fn check_sums(demux: &Demux<Hasher>, account: &Account) {
    let messages = demux.counters().messages;
    assert_eq!(account.total(), messages.seen() + account.missing);
    assert_eq!(account.delivered, messages.delivered);
    assert_eq!(account.crc_mismatch, messages.crc_mismatch);
    assert_eq!(account.unclaimed, messages.unclaimed);
    assert_eq!(account.malformed, messages.malformed());
    assert_eq!(account.incomplete, messages.pending());
    let lost: u64 = account.causes().iter().map(|(_, count)| count).sum();
    assert_eq!(account.lost(), lost);
}
