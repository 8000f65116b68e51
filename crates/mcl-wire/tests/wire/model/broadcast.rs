//! The sending side: everything one broadcaster instance sends, made beforehand.

use core::ops::Range;
use core::time::Duration;

use mcl_wire::{
    BodyHead, DatagramWriter, Encoding, Fragmenter, Header, Metadata, StreamId,
    WHOLE_MESSAGE_OVERHEAD, WriterState, whole_message_prefix,
};

use super::crc::crc32c;
use crate::common::{Rng, payload};

/// A message, as the application gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Published {
    pub(crate) topic: Option<&'static str>,
    pub(crate) payload: Vec<u8>,
    /// Fragments it was cut into; 0 if it was sent whole.
    pub(crate) fragments: usize,
}

/// A datagram on its way out.
pub(crate) struct Outgoing {
    pub(crate) at: Duration,
    pub(crate) sequence: u64,
    pub(crate) bytes: Vec<u8>,
    /// Numbers of the messages of which it holds something.
    pub(crate) carries: Vec<u64>,
    /// Where it says which datagram of which stream it is, where its frames are
    /// and which messages they belong to. Only UDP's checksum guards these.
    pub(crate) identity: Vec<Range<usize>>,
}

/// What one stream sends. The last datagram and the last message close it: they
/// always arrive, so that its end is known.
pub(crate) struct Broadcast {
    pub(crate) stream: StreamId,
    pub(crate) first_sequence: u64,
    pub(crate) first_number: u64,
    pub(crate) messages: Vec<Published>,
    pub(crate) datagrams: Vec<Outgoing>,
}

impl Broadcast {
    pub(crate) fn message(&self, number: u64) -> Option<&Published> {
        let at = number.checked_sub(self.first_number)?;
        self.messages.get(usize::try_from(at).ok()?)
    }
}

/// How a broadcaster is set up.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) stream: StreamId,
    pub(crate) begin: Duration,
    pub(crate) messages: usize,
    pub(crate) datagram_len: usize,
    /// Longest payload.
    pub(crate) longest: usize,
    /// Whether small messages go together.
    pub(crate) coalescing: bool,
    /// Microseconds between messages, at most.
    pub(crate) pause: usize,
    /// Whether its numbers end with the last there is.
    pub(crate) at_the_end: bool,
    /// Where they begin otherwise.
    pub(crate) start: u64,
    pub(crate) seed: u64,
}

impl Settings {
    pub(crate) fn broadcast(&self) -> Broadcast {
        if !self.at_the_end {
            return Composer::new(self, self.start, self.start).compose();
        }
        // The number of datagrams depends on no number.
        let counted = Composer::new(self, 0, 0).compose();
        let before_last = |count: usize| u64::MAX - (count as u64 - 1);
        let sequence = before_last(counted.datagrams.len());
        let number = before_last(counted.messages.len());
        Composer::new(self, sequence, number).compose()
    }
}

/// Flags, length and message number of a frame that nothing follows.
const IDENTITY_OF_ONLY_FRAME: Range<usize> = 25..36;

/// A datagram that waits for company.
struct Open {
    buffer: Vec<u8>,
    state: WriterState,
    carries: Vec<u64>,
    identity: Vec<Range<usize>>,
}

struct Composer<'a> {
    settings: &'a Settings,
    rng: Rng,
    now: Duration,
    open: Option<Open>,
    sent: Broadcast,
}

impl<'a> Composer<'a> {
    fn new(settings: &'a Settings, first_sequence: u64, first_number: u64) -> Self {
        Self {
            settings,
            rng: Rng(settings.seed),
            now: settings.begin,
            open: None,
            sent: Broadcast {
                stream: settings.stream,
                first_sequence,
                first_number,
                messages: Vec::new(),
                datagrams: Vec::new(),
            },
        }
    }

    fn compose(mut self) -> Broadcast {
        for _ in 0..self.settings.messages {
            self.now += Duration::from_micros(self.rng.below(self.settings.pause) as u64);
            let len = self.len();
            self.publish(len);
            if self.rng.percent(5) {
                self.flush();
                self.keep_alive();
            }
        }
        self.flush();
        self.publish(1);
        self.flush();
        self.sent
    }

    fn len(&mut self) -> usize {
        let longest = self.settings.longest;
        match self.rng.below(10) {
            0..5 => self.rng.below(120),
            5..8 => self.rng.below(longest / 8),
            _ => self.rng.below(longest),
        }
    }

    fn publish(&mut self, len: usize) {
        let number = self.sent.first_number + self.sent.messages.len() as u64;
        let topic = [None, Some(""), Some("t"), Some("a/long/topic")][self.rng.below(4)];
        let payload = payload(self.rng.next(), len);
        let head = self.head(topic, &payload);
        let whole = head.as_bytes().len() + len + WHOLE_MESSAGE_OVERHEAD;
        let fragments = if whole > self.settings.datagram_len {
            self.fragments(number, &head, &payload)
        } else if self.settings.coalescing {
            self.together(number, &head, &payload);
            0
        } else {
            self.whole(number, &head, &payload);
            0
        };
        self.sent.messages.push(Published {
            topic,
            payload,
            fragments,
        });
    }

    fn head(&mut self, topic: Option<&str>, payload: &[u8]) -> BodyHead {
        let mut metadata = Metadata::new()
            .with_encoding(Encoding(self.rng.below(3) as u8))
            .with_crc32c(0);
        metadata.publish_time = self.rng.percent(50).then(|| self.rng.next());
        let mut head = BodyHead::new(topic, &metadata).unwrap();
        let crc = crc32c([head.crc_covered(), payload]);
        assert!(head.set_crc32c(crc));
        head
    }

    fn next_sequence(&self) -> u64 {
        self.sent.first_sequence + self.sent.datagrams.len() as u64
    }

    fn send(&mut self, bytes: Vec<u8>, carries: Vec<u64>, frames: Vec<Range<usize>>) {
        let mut identity = frames;
        identity.push(8..24);
        self.sent.datagrams.push(Outgoing {
            at: self.now,
            sequence: self.next_sequence(),
            bytes,
            carries,
            identity,
        });
    }

    fn keep_alive(&mut self) {
        let header = Header::new(self.settings.stream, self.next_sequence());
        self.send(header.encode().to_vec(), Vec::new(), Vec::new());
    }

    fn whole(&mut self, number: u64, head: &BodyHead, payload: &[u8]) {
        let body_len = head.as_bytes().len() + payload.len();
        let stream = self.settings.stream;
        let prefix = whole_message_prefix(stream, self.next_sequence(), number, body_len).unwrap();
        let bytes = [&prefix, head.as_bytes(), payload].concat();
        self.send(bytes, vec![number], vec![IDENTITY_OF_ONLY_FRAME]);
    }

    fn fragments(&mut self, number: u64, head: &BodyHead, payload: &[u8]) -> usize {
        // Whether what waits goes first is the broadcaster's to choose.
        if self.rng.percent(70) {
            self.flush();
        }
        let len = self.settings.datagram_len;
        let fragments = Fragmenter::new(number, head, payload, len).unwrap();
        let count = fragments.len();
        for fragment in fragments {
            let prefix = fragment.prefix(self.settings.stream, self.next_sequence());
            let bytes = [&prefix, fragment.head, fragment.payload].concat();
            self.send(bytes, vec![number], vec![IDENTITY_OF_ONLY_FRAME]);
        }
        count
    }

    fn together(&mut self, number: u64, head: &BodyHead, payload: &[u8]) {
        let body_len = head.as_bytes().len() + payload.len();
        let fits = |open: &mut Open| open.writer().fits(number, body_len);
        if !self.open.as_mut().is_some_and(fits) {
            self.flush();
        }
        let len = self.settings.datagram_len;
        let open = self.open.get_or_insert_with(|| Open::new(len));
        open.message(number, head, payload);
        if self.rng.percent(10) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let header = Header::new(self.settings.stream, self.next_sequence());
        let padding = [0, 0, 1, 40][self.rng.below(4)];
        let mut writer = open.writer();
        writer.set_header(header).unwrap();
        writer.pad_to(writer.len() + padding);
        let len = writer.finish();
        open.buffer.truncate(len);
        self.send(open.buffer, open.carries, open.identity);
    }
}

impl Open {
    fn new(datagram_len: usize) -> Self {
        let mut buffer = vec![0xEE; datagram_len];
        let header = Header::new(StreamId(0), 0);
        let state = DatagramWriter::new(&mut buffer, header).unwrap().suspend();
        Self {
            buffer,
            state,
            carries: Vec::new(),
            identity: Vec::new(),
        }
    }

    fn writer(&mut self) -> DatagramWriter<'_> {
        DatagramWriter::resume(&mut self.buffer, self.state)
    }

    fn message(&mut self, number: u64, head: &BodyHead, payload: &[u8]) {
        let at = self.state.len();
        let mut writer = self.writer();
        writer.message(number, head, payload).unwrap();
        self.state = writer.suspend();
        let implied = 4 + head.as_bytes().len() + payload.len();
        let numbered = self.state.len() - at > implied;
        // The type, too: were it skipped, those that follow it would have other
        // numbers.
        self.identity.push(at..at + if numbered { 12 } else { 4 });
        self.carries.push(number);
    }
}
