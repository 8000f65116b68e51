//! A train of datagrams that small messages share.

use std::borrow::Cow;
use std::ops::Range;

use mcl_net::Sender;
use mcl_wire::{
    BodyHead, DatagramWriter, Frame, HEADER_LEN, Header, StreamId, WHOLE_MESSAGE_OVERHEAD,
    WholeMessage, WriterState, shift_numbers,
};

/// The most bytes in a train: what [`Sender::send_train`] takes.
const MOST_BYTES: usize = 65_527;

/// A message on its way into a train.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) head: &'a BodyHead,
    /// The publish time, to be written over that in the head.
    pub(crate) time: Option<u64>,
    pub(crate) payload: &'a [u8],
}

impl Outgoing<'_> {
    /// Bytes of a datagram with this message alone.
    #[inline]
    pub(crate) fn datagram_len(&self) -> usize {
        WHOLE_MESSAGE_OVERHEAD + self.head.as_bytes().len() + self.payload.len()
    }

    /// The head with its time, for a message that goes by itself.
    pub(crate) fn stamped(&self) -> Cow<'_, BodyHead> {
        let mut head = Cow::Borrowed(self.head);
        if let Some(time) = self.time {
            head.to_mut().set_publish_time(time);
        }
        head
    }
}

/// Whole messages in datagrams of equal length, one after the other in one
/// buffer: a datagram is padded to the length of the first one when the next is
/// begun, and the last may be shorter. Knows no socket and no clock.
#[derive(Debug)]
pub(crate) struct Train {
    stream: StreamId,
    buffer: Box<[u8]>,
    /// Where the last datagram begins.
    start: usize,
    /// How far it has come; `None` before the first message.
    state: Option<WriterState>,
    /// The longest it may become: once the second is begun, the length of the first.
    segment: usize,
    datagrams: usize,
    messages: u64,
    bytes: u64,
    /// What has left it already: datagrams from its front, and messages.
    sent: usize,
    done: u64,
    /// The first message's number as it is written now, and whether that is final.
    first: u64,
    numbered: bool,
    /// Whether its messages go by themselves, and under which numbers they went.
    cut: bool,
    singly: Option<Range<u64>>,
}

impl Train {
    pub(crate) fn new(stream: StreamId) -> Self {
        Self {
            stream,
            buffer: vec![0; MOST_BYTES].into_boxed_slice(),
            start: 0,
            state: None,
            segment: 0,
            datagrams: 0,
            messages: 0,
            bytes: 0,
            sent: 0,
            done: 0,
            first: 0,
            numbered: false,
            cut: false,
            singly: None,
        }
    }

    /// Empties it; the buffer stays.
    pub(crate) fn clear(&mut self) {
        self.state = None;
        (self.start, self.segment, self.datagrams) = (0, 0, 0);
        (self.messages, self.bytes, self.sent, self.done) = (0, 0, 0, 0);
        (self.first, self.numbered, self.cut) = (0, false, false);
        self.singly = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Messages that are in it and have not been sent.
    pub(crate) fn messages_left(&self) -> u64 {
        self.messages - self.done
    }

    /// How many messages were put in.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Appends a message, or leaves everything as it was if it does not fit: the
    /// train is full then. In an empty train, datagrams may have up to `longest`
    /// bytes; a message that fits one fits an empty train.
    #[inline(always)]
    pub(crate) fn push(&mut self, number: u64, message: &Outgoing<'_>, longest: usize) -> bool {
        let written = match self.state {
            Some(state) => self.write(state, number, message) || self.push_next(number, message),
            None => {
                self.first = number;
                self.segment = longest.min(MOST_BYTES);
                self.begin(number, message)
            }
        };
        if written {
            self.messages += 1;
            self.bytes += message.payload.len() as u64;
        }
        written
    }

    #[inline(always)]
    fn write(&mut self, state: WriterState, number: u64, message: &Outgoing<'_>) -> bool {
        let end = self.start + self.segment;
        let place = self.buffer.get_mut(self.start..end).unwrap_or_default();
        let mut writer = DatagramWriter::resume(place, state);
        let written = match message.time {
            Some(time) => writer.message_published_at(time, number, message.head, message.payload),
            None => writer.message(number, message.head, message.payload),
        };
        self.state = Some(writer.suspend());
        written.is_ok()
    }

    /// Closes the last datagram and begins another with the message, if both fit.
    #[inline(never)]
    fn push_next(&mut self, number: u64, message: &Outgoing<'_>) -> bool {
        let Some(state) = self.state else {
            return false;
        };
        let segment = match self.datagrams {
            1 => state.len(),
            _ => self.segment,
        };
        if message.datagram_len() > segment || self.datagrams >= Sender::train_len(segment) {
            return false;
        }
        let place = self.buffer.get_mut(self.start..).unwrap_or_default();
        DatagramWriter::resume(place, state).pad_to(segment);
        self.start += segment;
        self.segment = segment;
        self.begin(number, message)
    }

    /// Begins a datagram at `start` with the message.
    #[inline(never)]
    fn begin(&mut self, number: u64, message: &Outgoing<'_>) -> bool {
        let end = self.start + self.segment;
        let place = self.buffer.get_mut(self.start..end).unwrap_or_default();
        // The sequence number follows when it is sent.
        let begun = DatagramWriter::new(place, Header::new(self.stream, 0));
        let Ok(state) = begun.map(DatagramWriter::suspend) else {
            return false;
        };
        let written = self.write(state, number, message);
        match written {
            true => self.datagrams += 1,
            false => self.state = None,
        }
        written
    }

    /// The length of every datagram but the last.
    pub(crate) fn segment_len(&self) -> usize {
        match self.datagrams {
            0 | 1 => self.len(),
            _ => self.segment,
        }
    }

    fn len(&self) -> usize {
        self.start + self.state.map_or(0, |state| state.len())
    }

    /// The datagrams that have not been sent, one after the other.
    pub(crate) fn bytes_left(&self) -> &[u8] {
        let from = self.sent * self.segment_len();
        self.buffer.get(from..self.len()).unwrap_or_default()
    }

    pub(crate) fn datagrams_left(&self) -> usize {
        self.datagrams - self.sent
    }

    /// Numbers the datagrams that have not been sent, from `sequence`.
    pub(crate) fn set_sequence(&mut self, sequence: u64) {
        let stream = self.stream;
        for (datagram, sequence) in self.chunks_left().zip(sequence..) {
            if let Some(header) = datagram.first_chunk_mut::<HEADER_LEN>() {
                *header = Header::new(stream, sequence).encode();
            }
        }
    }

    /// Numbers the messages from `first`, unless they have their final numbers.
    pub(crate) fn set_first_number(&mut self, first: u64) {
        if self.numbered {
            return;
        }
        let by = first.wrapping_sub(self.first);
        self.first = first;
        for datagram in self.chunks_left() {
            shift_numbers(datagram, by);
        }
    }

    fn chunks_left(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (segment, end) = (self.segment_len(), self.len());
        let from = self.sent * segment;
        let left = self.buffer.get_mut(from..end).unwrap_or_default();
        left.chunks_mut(segment.max(1))
    }

    /// Whether the messages' numbers are final.
    pub(crate) fn is_numbered(&self) -> bool {
        self.numbered
    }

    /// From now on the numbers of the messages stay as they are.
    pub(crate) fn fix_numbers(&mut self) {
        self.numbered = true;
    }

    /// The messages that have not been sent.
    pub(crate) fn left(&self) -> impl Iterator<Item = WholeMessage<'_>> {
        let all = self.buffer.get(..self.len()).unwrap_or_default();
        let datagrams = all.chunks(self.segment_len().max(1));
        let done = usize::try_from(self.done).unwrap_or(usize::MAX);
        datagrams.flat_map(messages_in).skip(done)
    }

    /// Whether message `number` is among those that have not been sent.
    pub(crate) fn holds(&self, number: u64) -> bool {
        self.left().any(|message| message.number == number)
    }

    /// Takes note that so many more datagrams were sent; tells the messages in
    /// them and the bytes of their payloads.
    pub(crate) fn sent(&mut self, datagrams: usize) -> (u64, u64) {
        if self.done == 0 && datagrams == self.datagrams {
            (self.sent, self.done) = (datagrams, self.messages);
            return (self.messages, self.bytes);
        }
        let segment = self.segment_len().max(1);
        let (mut messages, mut bytes) = (0, 0);
        for datagram in self.bytes_left().chunks(segment).take(datagrams) {
            for message in messages_in(datagram) {
                messages += 1;
                bytes += payload_len(message.body) as u64;
            }
        }
        self.sent += datagrams;
        self.done += messages;
        (messages, bytes)
    }

    /// From now on its messages go by themselves.
    pub(crate) fn cut(&mut self) {
        self.cut = true;
    }

    /// Takes note that so many more messages were sent by themselves, under
    /// `numbers`, others possibly between them.
    pub(crate) fn sent_singly(&mut self, messages: u64, numbers: Range<u64>) {
        self.done += messages;
        if messages > 0 {
            let start = self.singly.take().map_or(numbers.start, |it| it.start);
            self.singly = Some(start..numbers.end);
        }
    }

    /// The numbers of its messages, once sent.
    pub(crate) fn numbers(&self) -> Range<u64> {
        let in_train = self.first..self.first + self.messages;
        match &self.singly {
            None => in_train,
            Some(singly) if self.sent > 0 => in_train.start..singly.end,
            Some(singly) => singly.clone(),
        }
    }

    /// Whether its messages go by themselves.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }
}

fn messages_in(datagram: &[u8]) -> impl Iterator<Item = WholeMessage<'_>> {
    let frames = Header::decode(datagram)
        .into_iter()
        .flat_map(|(_, frames)| frames);
    frames.filter_map(|frame| match frame {
        Ok(Frame::Message(message)) => Some(message),
        _ => None,
    })
}

fn payload_len(body: &[u8]) -> usize {
    mcl_wire::Body::decode(body).map_or(0, |body| body.payload().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcl_wire::{Body, Metadata};

    const STREAM: StreamId = StreamId(5);
    const LONGEST: usize = 1452;

    fn head() -> BodyHead {
        BodyHead::new(Some("t"), &Metadata::new().with_publish_time(0)).unwrap()
    }

    fn push(train: &mut Train, number: u64, len: usize) -> bool {
        let payload = vec![number as u8; len];
        let message = Outgoing {
            head: &head(),
            time: Some(1000 + number),
            payload: &payload,
        };
        train.push(number, &message, LONGEST)
    }

    /// What a receiver reads from the datagrams that are left: lengths, sequence
    /// numbers, and each message's number, time and payload length.
    type Read = (Vec<usize>, Vec<u64>, Vec<(u64, u64, usize)>);

    fn read(train: &Train) -> Read {
        let (mut lengths, mut sequences, mut messages) = (vec![], vec![], vec![]);
        for datagram in train.bytes_left().chunks(train.segment_len().max(1)) {
            let (header, frames) = Header::decode(datagram).unwrap();
            assert_eq!(header.stream, STREAM);
            lengths.push(datagram.len());
            sequences.push(header.sequence);
            for frame in frames {
                match frame.unwrap() {
                    Frame::Message(message) => {
                        let body = Body::decode(message.body).unwrap();
                        let same = |byte| byte == body.payload()[0];
                        assert!(body.payload().iter().copied().all(same));
                        let time = body.metadata().publish_time.unwrap();
                        messages.push((message.number, time, body.payload().len()));
                    }
                    Frame::Padding { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(lengths.len(), train.datagrams_left());
        (lengths, sequences, messages)
    }

    fn filled(len: usize) -> Train {
        let mut train = Train::new(STREAM);
        let full = |train: &mut Train, number| !push(train, number, len);
        (0..).find(|number| full(&mut train, *number));
        train
    }

    #[test]
    fn small_messages_fill_datagrams_of_equal_length() {
        let mut train = filled(64);
        train.set_sequence(40);
        let (lengths, sequences, messages) = read(&train);
        assert_eq!(lengths.len(), Sender::train_len(lengths[0]));
        assert!(lengths[0] <= LONGEST && lengths[0] > LONGEST - 100);
        assert!(lengths.iter().all(|len| *len == lengths[0]));
        assert!(sequences.into_iter().eq((40..).take(lengths.len())));
        let expected = (0..train.messages()).map(|it| (it, 1000 + it, 64));
        assert!(messages.into_iter().eq(expected));
    }

    #[test]
    fn one_message_a_datagram_is_not_padded_to_the_longest() {
        let train = filled(1024);
        let (lengths, _, messages) = read(&train);
        assert_eq!(
            train.segment_len(),
            WHOLE_MESSAGE_OVERHEAD + 4 + 1 + 10 + 1024
        );
        assert_eq!(lengths.len(), Sender::train_len(train.segment_len()));
        assert_eq!(messages.len(), lengths.len());
    }

    #[test]
    fn no_more_datagrams_than_a_train_may_have() {
        let train = filled(726);
        assert_eq!(
            train.datagrams_left(),
            Sender::train_len(train.segment_len())
        );
        assert_eq!(train.datagrams_left(), 64);
    }

    #[test]
    fn what_is_longer_than_the_first_datagram_closes_the_train() {
        let mut train = Train::new(STREAM);
        assert!(push(&mut train, 0, 900) && push(&mut train, 1, 700));
        let before = read(&train);
        assert!(!push(&mut train, 2, 901));
        assert!(push(&mut train, 2, 10), "a refusal changes nothing");
        let mut after = read(&train);
        assert_eq!(after.2.pop(), Some((2, 1002, 10)));
        assert_eq!(before.2, after.2);

        let mut train = Train::new(STREAM);
        assert!(push(&mut train, 0, 900) && push(&mut train, 1, 100));
        assert!(push(&mut train, 2, 800));
        let (lengths, ..) = read(&train);
        assert!(lengths.len() == 2 && lengths[0] > lengths[1]);
        assert!(push(&mut train, 3, 900), "as long as the first with both");
        let (lengths, ..) = read(&train);
        assert_eq!(lengths[0], lengths[1], "padded");
    }

    #[test]
    fn numbers_are_given_until_they_are_final() {
        let mut train = filled(500);
        train.set_first_number(70);
        train.set_first_number(1 << 40);
        train.fix_numbers();
        train.set_first_number(3);
        let (.., messages) = read(&train);
        let numbers = messages.iter().map(|message| message.0);
        assert!(numbers.eq((1 << 40..).take(messages.len())));
        assert_eq!(train.numbers(), 1 << 40..(1 << 40) + train.messages());
        assert!(train.holds(1 << 40) && !train.holds(3));
    }

    #[test]
    fn what_left_from_the_front_is_not_left() {
        let mut train = filled(500);
        let all = read(&train).2;
        let in_two = all.len() - 2 * (all.len() / train.datagrams_left());
        assert_eq!(train.sent(2), (4, 2000));
        assert_eq!(read(&train).2, all[4..]);
        assert_eq!(train.messages_left() as usize, in_two);
        assert_eq!(train.left().next().unwrap().number, 4);
        train.cut();
        train.sent_singly(3, 4..7);
        assert_eq!(train.left().next().unwrap().number, 7);
        assert_eq!(train.numbers(), 0..7);
        assert!(!train.holds(6) && train.holds(7));
        train.clear();
        assert!(train.is_empty() && !train.is_cut() && train.bytes_left().is_empty());
        assert!(push(&mut train, 9, 10));
        assert_eq!(train.numbers(), 9..10);
    }

    #[test]
    fn all_that_is_sent_is_counted_without_reading_it_again() {
        let mut train = filled(500);
        let messages = train.messages();
        assert_eq!(
            train.sent(train.datagrams_left()),
            (messages, 500 * messages)
        );
        assert_eq!((train.messages_left(), train.datagrams_left()), (0, 0));
    }
}
