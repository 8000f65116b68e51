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
    #[inline]
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

    #[inline]
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
