//! Whole messages in a row, as senders that coalesce send them, are taken in together.

use core::hash::BuildHasher;

use super::familiar::Familiar;
use super::{Context, Demux};
use crate::demux::counters::MessageCounts;
use crate::demux::received::{BodyBytes, Received, Sink, Verdict};
use crate::frame::{Frame, FrameError, Frames, WholeMessage};

/// The frames of a datagram, all found well-formed: a malformed frame must not
/// follow one that has been acted upon.
pub(super) enum Checked<'a> {
    /// The only one, no message; it need not be read a second time.
    One(Frame<'a>),
    /// Whole messages with numbers in a row, and nothing else but padding.
    Row(Row),
    Many,
}

/// Messages in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The number of the first.
    first: u64,
    /// How many, at least one.
    count: u64,
    padded: bool,
}

impl<'a> Checked<'a> {
    #[inline(always)]
    pub(super) fn new(frames: &Frames<'a>) -> Result<Self, FrameError> {
        let mut frames = frames.clone();
        match frames.next().transpose()? {
            Some(Frame::Message(first)) => Self::beginning_with(&first, frames),
            first => Self::others(first, frames),
        }
    }

    #[inline(always)]
    fn beginning_with(first: &WholeMessage<'_>, frames: Frames<'_>) -> Result<Self, FrameError> {
        let mut row = Row {
            first: first.number,
            count: 1,
            padded: false,
        };
        let mut is_row = true;
        for frame in frames {
            match frame? {
                Frame::Message(next) if next.number == row.first.wrapping_add(row.count) => {
                    row.count += 1;
                }
                Frame::Padding { .. } => row.padded = true,
                _ => is_row = false,
            }
        }
        Ok(if is_row { Self::Row(row) } else { Self::Many })
    }

    fn others(first: Option<Frame<'a>>, frames: Frames<'a>) -> Result<Self, FrameError> {
        let mut only = first.map_or(Self::Many, Self::One);
        for frame in frames {
            frame?;
            only = Self::Many;
        }
        Ok(only)
    }
}

impl<S: BuildHasher> Demux<S> {
    /// Takes in a row that comes next in a stream which has completed messages before, together;
    /// each message by itself otherwise. None is longer than `len`.
    // Not to make the way longer which datagrams of long messages go.
    #[inline(never)]
    pub(super) fn row(
        &mut self,
        at: &Context,
        row: &Row,
        frames: Frames<'_>,
        len: usize,
        sink: &mut impl Sink,
    ) {
        let longest = self.store.limits.max_message_len as usize;
        let stream = self.store.streams.get_mut(at.stream);
        let next = stream.filter(|it| it.proven && it.numbers.is_next(row.first));
        let Some(stream) = next.filter(|_| len <= longest) else {
            return self.each(at, frames, sink);
        };
        stream.numbers.go_on(row.count);
        stream.counts.whole += row.count;
        self.counters.frames.message_new += row.count;
        self.counters.frames.padding += u64::from(row.padded);
        if !self.familiar.begins_row() {
            return self.read_row(at, frames, sink);
        }
        for frame in frames {
            if let Ok(Frame::Message(message)) = frame {
                deliver(&mut stream.counts, &mut self.familiar, at, &message, sink);
            }
        }
        // A row of one says nothing of what is next.
        self.familiar.ends_row(row.count.max(2));
    }

    /// Hands over the messages of a row that has been counted, and reads the head of each.
    #[inline(never)]
    fn read_row(&mut self, at: &Context, frames: Frames<'_>, sink: &mut impl Sink) {
        for frame in frames {
            if let Ok(Frame::Message(message)) = frame {
                let bytes = BodyBytes::Borrowed(message.body);
                self.deliver(at, message.number, None, bytes, sink);
            }
        }
    }
}

/// Hands a message of a stream over that has completed messages before.
#[inline(always)]
fn deliver(
    counts: &mut MessageCounts,
    familiar: &mut Familiar,
    at: &Context,
    message: &WholeMessage<'_>,
    sink: &mut impl Sink,
) {
    if let Err(error) = familiar.read(message.body) {
        return counts.count_malformed(&error);
    }
    let layout = familiar.layout(message.body);
    if !sink.wants_topic(layout.topic(message.body)) {
        counts.filtered += 1;
        return;
    }
    let received = Received {
        stream: at.id,
        number: message.number,
        sequence: at.sequence,
        bytes: BodyBytes::Borrowed(message.body),
        layout,
    };
    let verdict = sink.judge(&received);
    counts.count_judged(verdict, received.payload_range().len() as u64);
    if verdict == Verdict::Wanted {
        sink.message(received);
    }
}
