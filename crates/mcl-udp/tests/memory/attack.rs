//! What a hostile sender sends: trains of datagrams of one length, so that they
//! are as many as possible, each of another kind.

use std::io::IoSlice;

use mcl_net::{Blocking, Group, InterfaceChoice, Sender, SenderOptions};
use mcl_testbed::SplitMix64;
use mcl_wire::{
    BodyHead, FRAGMENT_OVERHEAD, FRAME_FLAG_NUMBERED, FRAME_FRAGMENT, FRAME_MESSAGE, Fragmenter,
    Header, Metadata, StreamId,
};

/// Lengths of datagrams: the shortest that say something, the shortest fragment
/// in the middle of a message, and what a link carries.
const LENGTHS: [usize; 4] = [64, 308, 700, 1452];
/// Streams that complete messages, and so are believed more than others.
const TRUSTED: usize = 64;
/// Streams whose sequence numbers jump.
const JUMPY: usize = 64;
/// Trains after which a train of messages in fragments comes, and after which a
/// number in an honest stream's name.
const EARN_EVERY: usize = 200;
const ACCUSE_EVERY: usize = 1000;
/// Datagrams of each length kept to come again.
const KEPT: usize = 4096;

/// A stream of the attacker's, and where it is.
#[derive(Clone, Copy)]
struct Stream {
    id: u64,
    sequence: u64,
    number: u64,
}

/// The fields of a fragment.
#[derive(Clone, Copy)]
struct Part {
    stream: Stream,
    total: usize,
    index: usize,
    hash: u32,
    size: usize,
}

pub(crate) struct Attack {
    sender: Sender,
    rng: SplitMix64,
    longest: usize,
    trusted: Vec<Stream>,
    jumpy: Vec<Stream>,
    honest: Vec<StreamId>,
    begun: Vec<Part>,
    kept: [Vec<Vec<u8>>; LENGTHS.len()],
    /// Datagrams that the kernel has taken.
    pub(crate) sent: u64,
}

impl Attack {
    /// An attacker who knows how long messages may be, and who else is there.
    pub(crate) fn new(group: Group, seed: u64, longest: usize, honest: Vec<StreamId>) -> Self {
        let interface = mcl_net::choose(&InterfaceChoice::System, &group).unwrap();
        let mut rng = SplitMix64::new(seed);
        let mut streams = |count| -> Vec<Stream> {
            let fresh = |_| Stream {
                id: rng.next_u64(),
                sequence: 0,
                number: 0,
            };
            (0..count).map(fresh).collect()
        };
        Self {
            sender: Sender::open(group, &interface, &SenderOptions::default()).unwrap(),
            trusted: streams(TRUSTED),
            jumpy: streams(JUMPY),
            rng,
            longest,
            honest,
            begun: Vec::new(),
            kept: Default::default(),
            sent: 0,
        }
    }

    /// Every trusted stream completes a message.
    pub(crate) fn begin(&mut self) {
        for at in 0..TRUSTED {
            self.complete(at, 200_000);
        }
    }

    /// Sends a train of anything; now and then a whole message in its fragments.
    pub(crate) fn strike(&mut self) {
        if self.rng.below(EARN_EVERY) == 0 {
            let len = [20_000, 200_000, self.longest / 4][self.rng.below(3)];
            let at = self.rng.below(TRUSTED);
            return self.complete(at, len);
        }
        if self.rng.below(ACCUSE_EVERY) == 0 {
            return self.accuse();
        }
        let which = self.rng.below(LENGTHS.len());
        let len = LENGTHS[which];
        let mut train = Vec::with_capacity(1 << 16);
        for _ in 0..Sender::train_len(len) {
            let datagram = self.datagram(which);
            assert_eq!(datagram.len(), len);
            train.extend_from_slice(&datagram);
            self.keep(which, datagram);
        }
        self.send(&train, len);
    }

    fn send(&mut self, train: &[u8], len: usize) {
        let sent = self
            .sender
            .send_train(&[IoSlice::new(train)], len, Blocking::Yes);
        sent.unwrap();
        self.sent += train.len().div_ceil(len) as u64;
    }

    fn keep(&mut self, which: usize, datagram: Vec<u8>) {
        let kept = &mut self.kept[which];
        if kept.len() < KEPT {
            kept.push(datagram);
        } else if self.rng.below(16) == 0 {
            let at = self.rng.below(KEPT);
            kept[at] = datagram;
        }
    }

    /// A sequence number that is far off in an honest stream's name.
    fn accuse(&mut self) {
        let id = self.honest[self.rng.below(self.honest.len())].0;
        let sequence = 1 << (25 + self.rng.below(38));
        let stream = Stream {
            id,
            sequence,
            number: sequence,
        };
        let size = 308 - FRAGMENT_OVERHEAD;
        let (total, index, hash) = (2 * size, 0, 0);
        let part = Part {
            stream,
            total,
            index,
            hash,
            size,
        };
        // Not remembered: a second one near it would be believed.
        let datagram = fragment(&part, 308);
        self.send(&datagram, 308);
    }

    /// A trusted stream completes a message, and is believed twice its length.
    fn complete(&mut self, at: usize, len: usize) {
        let head = BodyHead::new(None, &Metadata::new()).unwrap();
        let payload = vec![0x66; len];
        let stream = &mut self.trusted[at];
        let fragments = Fragmenter::new(stream.number, &head, &payload, 1452).unwrap();
        stream.number += 1;
        let mut datagrams: Vec<Vec<u8>> = Vec::with_capacity(fragments.len());
        for fragment in fragments {
            let prefix = fragment.prefix(StreamId(stream.id), stream.sequence);
            stream.sequence += 1;
            datagrams.push([&prefix, fragment.head, fragment.payload].concat());
        }
        for train in datagrams.chunks(Sender::train_len(1452)) {
            self.send(&train.concat(), 1452);
        }
    }

    fn datagram(&mut self, which: usize) -> Vec<u8> {
        let len = LENGTHS[which];
        match self.rng.below(16) {
            0..4 => self.claim(len),
            4 => self.claim_too_much(len),
            5..8 => self.whole(len),
            8..11 => self.claim_of_trusted(len),
            11 => self.late(which),
            12 | 13 => self.contradict(len),
            14 => self.jump(len),
            _ => self.damaged(which),
        }
    }

    fn stranger(&mut self) -> Stream {
        Stream {
            id: self.rng.next_u64(),
            sequence: self.rng.next_u64() >> self.rng.below(64),
            number: self.rng.next_u64() >> self.rng.below(64),
        }
    }

    /// One fragment of a long message, in a stream of its own.
    fn claim(&mut self, len: usize) -> Vec<u8> {
        let (stream, total) = (self.stranger(), magnitude(&mut self.rng, self.longest));
        self.part_of(stream, total, len)
    }

    fn claim_too_much(&mut self, len: usize) -> Vec<u8> {
        let (stream, total) = (self.stranger(), u32::MAX as usize - self.rng.below(1000));
        self.part_of(stream, total, len)
    }

    /// The same in a stream that has completed messages.
    fn claim_of_trusted(&mut self, len: usize) -> Vec<u8> {
        let stream = self.next_of_trusted();
        let total = magnitude(&mut self.rng, self.longest);
        self.part_of(stream, total, len)
    }

    fn next_of_trusted(&mut self) -> Stream {
        let at = self.rng.below(TRUSTED);
        let stream = &mut self.trusted[at];
        stream.sequence += 1;
        stream.number += 1;
        *stream
    }

    /// A fragment of about `total` bytes that fills a datagram of `len`: any, or the
    /// last one if others must be longer.
    fn part_of(&mut self, stream: Stream, total: usize, len: usize) -> Vec<u8> {
        let data = len - FRAGMENT_OVERHEAD;
        let (total, index, size) = if data >= 256 {
            let count = (total / data).max(2);
            (count * data, self.rng.below(count - 1), data)
        } else {
            let size = 256 + self.rng.below(1144);
            let index = (total.saturating_sub(data) / size).max(1);
            (index * size + data, index, size)
        };
        let part = Part {
            stream,
            total,
            index,
            hash: 0,
            size,
        };
        self.remember(part);
        fragment(&part, len)
    }

    fn remember(&mut self, part: Part) {
        if self.begun.len() < KEPT {
            self.begun.push(part);
        } else {
            let at = self.rng.below(KEPT);
            self.begun[at] = part;
        }
    }

    /// A message in one datagram: it is delivered, under any topic.
    fn whole(&mut self, len: usize) -> Vec<u8> {
        let stream = if self.rng.below(4) == 0 {
            self.next_of_trusted()
        } else {
            self.stranger()
        };
        let topic = format!(
            "{:0>width$}",
            self.rng.next_u64(),
            width = (len - 40).min(255)
        );
        let head = BodyHead::new(Some(&topic[..topic.len().min(len - 40)]), &Metadata::new());
        let header = Header::new(StreamId(stream.id), stream.sequence).encode();
        let frame_len = u16::try_from(len - header.len() - 4).unwrap().to_be_bytes();
        let mut datagram = [
            &header[..],
            &[FRAME_MESSAGE, FRAME_FLAG_NUMBERED],
            &frame_len,
            &stream.number.to_be_bytes(),
            head.unwrap().as_bytes(),
        ]
        .concat();
        datagram.resize(len, 0x77);
        datagram
    }

    /// What was sent before, again.
    fn late(&mut self, which: usize) -> Vec<u8> {
        let at = self.rng.below(self.kept[which].len());
        match self.kept[which].get(at) {
            Some(kept) => kept.clone(),
            None => self.whole(LENGTHS[which]),
        }
    }

    /// Another fragment of a message begun: overlapping, or at odds with the first.
    fn contradict(&mut self, len: usize) -> Vec<u8> {
        let at = self.rng.below(self.begun.len());
        let Some(mut part) = self.begun.get(at).copied() else {
            return self.claim(len);
        };
        part.stream.sequence = part
            .stream
            .sequence
            .wrapping_add(1 + self.rng.next_u64() % 1000);
        let data = len - FRAGMENT_OVERHEAD;
        match self.rng.below(3) {
            0 => part.hash ^= 1,
            1 => part.total += part.size,
            _ => {}
        }
        if data >= 256 {
            // Fits the first one if that was of a datagram as long as this.
            part.total = (part.total / data).max(2) * data;
            part.size = data;
            part.index = self.rng.below(part.total / data - 1);
        } else {
            part.index = part.total / part.size;
            part.total = part.index.max(1) * part.size + data;
            part.index = part.index.max(1);
        }
        fragment(&part, len)
    }

    /// A sequence number far from the last, or the next one, which confirms it.
    fn jump(&mut self, len: usize) -> Vec<u8> {
        let at = self.rng.below(JUMPY);
        let far = [1, 1 << self.rng.below(64)][self.rng.below(2)];
        let stream = &mut self.jumpy[at];
        stream.sequence = stream.sequence.wrapping_add(far);
        stream.number = stream.number.wrapping_add(1);
        let stream = *stream;
        let total = magnitude(&mut self.rng, self.longest);
        self.part_of(stream, total, len)
    }

    /// What was sent before, some bytes of which are others.
    fn damaged(&mut self, which: usize) -> Vec<u8> {
        let mut datagram = self.late(which);
        for _ in 0..=self.rng.below(4) {
            let at = self.rng.below(datagram.len().min(64));
            datagram[at] ^= 1 << self.rng.below(8);
        }
        datagram
    }
}

/// A number up to `bound` of any magnitude.
fn magnitude(rng: &mut SplitMix64, bound: usize) -> usize {
    let bits = bound.max(1).ilog2() as usize + 1;
    let mask = (1_usize << (1 + rng.below(bits))) - 1;
    1 + (rng.below(usize::MAX) & mask) % bound.max(1)
}

fn fragment(part: &Part, len: usize) -> Vec<u8> {
    let header = Header::new(StreamId(part.stream.id), part.stream.sequence).encode();
    let mut datagram = Vec::with_capacity(len);
    datagram.extend_from_slice(&header);
    datagram.extend_from_slice(&[FRAME_FRAGMENT, 0]);
    let frame_len = u16::try_from(len - header.len() - 4).unwrap();
    datagram.extend_from_slice(&frame_len.to_be_bytes());
    datagram.extend_from_slice(&part.stream.number.to_be_bytes());
    for word in [part.total, part.index, part.hash as usize] {
        // A claim above the wire's own limit is cut: any will do.
        let word = u32::try_from(word).unwrap_or(u32::MAX);
        datagram.extend_from_slice(&word.to_be_bytes());
    }
    let size = u16::try_from(part.size).unwrap();
    datagram.extend_from_slice(&size.to_be_bytes());
    datagram.extend_from_slice(&[0; 2]);
    datagram.resize(len, 0x55);
    datagram
}
