//! From datagrams to messages.

mod account;
mod ahead;
mod arena;
mod assembly;
mod counters;
mod familiar;
mod fetch;
mod landing;
mod limits;
mod plain;
mod pool;
mod received;
mod row;
mod run;
mod spares;
mod store;
mod streams;

use alloc::vec::Vec;
use core::fmt;
use core::hash::BuildHasher;
use core::time::Duration;

pub use account::Account;
pub use counters::{
    Counters, DatagramCounts, DepartedCounts, Disposition, FrameCounts, MessageCounts, StreamReport,
};
pub use landing::LANDING_LEN;
pub use limits::Limits;
pub use received::{BodyBytes, Received, Sink, Verdict};

use crate::body::{Body, BodyError};
use crate::frame::{Fragment, Frame, Frames, WholeMessage};
use crate::header::{Header, StreamId};
use crate::topic::TopicHash;
use crate::tracker::Arrival;
use arena::Key;
use assembly::Assembly;
use counters::FragmentFate;
use familiar::Familiar;
use plain::Plain;
use row::Checked;
use run::{Lead, Refusal};
use store::{Progress, Store};

/// Takes datagrams and gives messages: the receiving side of the protocol.
///
/// No socket and no clock: the caller hands in each datagram with the time at
/// which it came, on any monotonic clock. Messages come out through a [`Sink`]
/// while [`datagram`](Self::datagram) or [`follow`](Self::follow) runs, whole ones as slices of the
/// datagram, reassembled ones as the buffer they were put together in.
///
/// What the network sends is hashed with the caller's `hasher`, which should be
/// seeded at random (`std`'s `RandomState` is).
///
/// # Memory
///
/// A message costs what it has allocated: its buffer (which follows the bytes
/// received, not the length claimed; but a stream is believed up to twice the
/// longest message that it has completed), its bitmap, its stash of fragments that
/// came early, and a fixed amount. The sum, spare buffers included, never
/// exceeds [`Limits::max_bytes`], not even while a buffer grows. What gives
/// way, in this order:
///
/// 1. Messages without progress for [`Limits::expiry`] are gone already, and those that lack what the
///    receiver [has lost](Self::overflow). So are,
///    when another message of their stream begins or fragments of their own come,
///    those that lack a fragment which is out of the window of sequence numbers:
///    its datagram would be [`Stale`](Disposition::Stale). They are *stranded*.
///    For a loss within a message, that is certain once the datagram that showed
///    it is 1024 behind. For a loss that seems to have taken a message's end (its
///    last fragment is followed by missing numbers), others of the stream first get
///    their turns: 4096 datagrams.
/// 2. A claim that could not be met if everything below gave way is refused,
///    and nothing gives way for it.
/// 3. If the stream would exceed its own [`Limits::stream_bytes`] or
///    [`Limits::max_incomplete_per_stream`]: its own messages, least recently
///    advanced first.
/// 4. If the stream has not completed a message yet (it is *unproven*) and all
///    such streams together would exceed [`Limits::unproven_bytes`]: messages
///    of unproven streams, least recently advanced first.
/// 5. If the whole would exceed [`Limits::max_bytes`]: spare buffers, oldest
///    first.
/// 6. If it still would, or there are [`Limits::max_incomplete`] messages:
///    messages of unproven streams, least recently advanced first.
/// 7. Then, for a proven stream only: messages of proven streams, least
///    recently advanced first.
///
/// Buffers of stranded messages, and of those that gave way, become spare ones if
/// their stream is proven: there is a next message that needs one.
///
/// A fragment for which there is no room is dropped and counted. The message
/// for whose sake something gives way never does so itself. A stream becomes
/// proven with its first well-formed message; what it has under reassembly
/// counts as advanced at that moment.
///
/// With [`Limits::max_streams`] streams known, a new one takes the place of:
///
/// 1. the least recently heard unproven stream with nothing under reassembly;
/// 2. the least recently heard unproven stream;
/// 3. the least recently heard *settled* stream, if it has been silent for
///    [`Limits::stream_idle`];
/// 4. the least recently heard *guest*;
/// 5. otherwise none: its datagram is dropped ([`Disposition::StreamLimit`]).
///
/// Proven streams are settled, first come first served, as long as settled ones take
/// less than three quarters of the places (all of them, if there are fewer than
/// four). Then they are guests, and are settled when they are heard after a place for
/// that has become free. So streams that are known and go on do not lose their places
/// however many others come, and new ones are not kept out by those that hold many
/// places and keep them warm. Only who was there first decides: nothing that an open
/// group could ask of a stream would cost a forger more than an honest one. While more
/// streams than that are heard at once, guests replace each other: their whole
/// messages are delivered, their large ones may be
/// [abandoned](MessageCounts::abandoned).
///
/// A stream that lost its place and is heard again is a new one: what it had
/// under reassembly is gone, and a late duplicate of something delivered before
/// is delivered again.
pub struct Demux<S> {
    store: Store<S>,
    counters: Counters,
    lead: Option<Lead>,
    familiar: Familiar,
}

/// The datagram at hand.
#[derive(Clone, Copy)]
struct Context {
    stream: Key,
    id: StreamId,
    sequence: u64,
    now: Duration,
}

impl<S: BuildHasher> Demux<S> {
    /// A receiver that has heard nothing.
    #[must_use]
    pub fn new(limits: Limits, hasher: S) -> Self {
        Self {
            store: Store::new(limits, hasher),
            counters: Counters::default(),
            lead: None,
            familiar: Familiar::NONE,
        }
    }

    /// Takes in a datagram that arrived at `now`.
    ///
    /// A datagram that is not accepted has no effect but its count.
    pub fn datagram(&mut self, now: Duration, bytes: &[u8], sink: &mut impl Sink) -> Disposition {
        self.lead = None;
        self.store.expire(now);
        let disposition = match self.accept(now, bytes, sink) {
            Ok(()) => Disposition::Accepted,
            Err(reason) => reason,
        };
        self.counters.datagrams_fed += 1;
        self.counters.bytes_fed += bytes.len() as u64;
        self.counters.datagrams.count(disposition);
        disposition
    }

    #[inline(always)]
    fn accept(
        &mut self,
        now: Duration,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), Disposition> {
        match Plain::new(bytes) {
            Some(plain) => self.plain(now, &plain, sink),
            None => self.framed(now, bytes, sink),
        }
    }

    fn framed(
        &mut self,
        now: Duration,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), Disposition> {
        let (header, frames) = Header::decode(bytes)?;
        if !sink.wants_stream(header.stream) {
            return Err(Disposition::IgnoredStream);
        }
        let checked = Checked::new(&frames)?;
        if header.unsequenced {
            self.unsequenced(frames);
            return Ok(());
        }
        let at = Context {
            stream: self.observe(header.stream, header.sequence, bytes.len(), now)?,
            id: header.stream,
            sequence: header.sequence,
            now,
        };
        match checked {
            Checked::One(frame) => self.frame(&at, frame, sink),
            Checked::Row(row) => self.row(&at, &row, frames, bytes.len(), sink),
            Checked::Many => self.each(&at, frames, sink),
        }
        Ok(())
    }

    /// Takes in frames, which are well-formed, one after the other.
    fn each(&mut self, at: &Context, frames: Frames<'_>, sink: &mut impl Sink) {
        for frame in frames.flatten() {
            self.frame(at, frame, sink);
        }
    }

    /// The same for the most frequent kind.
    #[inline]
    fn plain(
        &mut self,
        now: Duration,
        plain: &Plain<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Disposition> {
        if !sink.wants_stream(plain.stream) {
            return Err(Disposition::IgnoredStream);
        }
        let stream = self.store.stream(plain.stream, now);
        let at = Context {
            stream: stream.ok_or(Disposition::StreamLimit)?,
            id: plain.stream,
            sequence: plain.sequence,
            now,
        };
        match self.store.continued(at.stream, plain) {
            Some(message) => self.next(&at, message, plain, sink),
            None => {
                self.store
                    .observe(at.stream, at.sequence, plain.len(), now)?;
                self.fragment(&at, &plain.fragment, sink);
            }
        }
        Ok(())
    }

    /// Takes note of a well-formed datagram in a stream's sequence.
    #[inline(always)]
    fn observe(
        &mut self,
        id: StreamId,
        sequence: u64,
        len: usize,
        now: Duration,
    ) -> Result<Key, Disposition> {
        let stream = self.store.stream(id, now);
        let stream = stream.ok_or(Disposition::StreamLimit)?;
        self.store.observe(stream, sequence, len, now)?;
        Ok(stream)
    }

    /// Control frames: version 1 acts upon none of them, and keeps no state
    /// for who sent them.
    fn unsequenced(&mut self, frames: Frames<'_>) {
        self.counters.unsequenced += 1;
        for frame in frames.flatten() {
            self.passive(&frame);
        }
    }

    #[inline(always)]
    fn frame(&mut self, at: &Context, frame: Frame<'_>, sink: &mut impl Sink) {
        match frame {
            Frame::Message(message) => self.whole(at, message, sink),
            Frame::Fragment(fragment) => self.fragment(at, &fragment, sink),
            Frame::Ignored { .. } | Frame::Padding { .. } => self.passive(&frame),
        }
    }

    const fn passive(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::Ignored { .. } => self.counters.frames.ignored += 1,
            Frame::Padding { .. } => self.counters.frames.padding += 1,
            Frame::Message(_) | Frame::Fragment(_) => {}
        }
    }

    #[inline(always)]
    fn whole(&mut self, at: &Context, message: WholeMessage<'_>, sink: &mut impl Sink) {
        let longest = self.store.limits.max_message_len as usize;
        let counts = &mut self.counters.frames;
        let Some(stream) = self.store.streams.get_mut(at.stream) else {
            return;
        };
        match stream.numbers.observe_from(message.number, at.sequence) {
            Arrival::Duplicate => return counts.message_duplicate += 1,
            Arrival::Stale => return counts.message_stale += 1,
            Arrival::Jump => return counts.message_jump += 1,
            Arrival::New
            | Arrival::Gap { .. }
            | Arrival::Late
            | Arrival::Leap
            | Arrival::Restarted => {}
        }
        counts.message_new += 1;
        let too_large = message.body.len() > longest;
        stream.counts.whole += u64::from(!too_large);
        stream.counts.whole_too_large += u64::from(too_large);
        if !too_large {
            let bytes = BodyBytes::Borrowed(message.body);
            self.deliver(at, message.number, None, bytes, sink);
        }
    }

    #[inline]
    fn fragment(&mut self, at: &Context, fragment: &Fragment<'_>, sink: &mut impl Sink) {
        let progress = match self.store.pending(at.stream, fragment.number) {
            Some(key) => self.store.advance(at.stream, key, fragment, at.now),
            None => self.first(at, fragment, sink),
        };
        self.counters.frames.count_fragment(progress.fate());
        match progress {
            Progress::Stored(message) => {
                self.lead = Some(Lead::Message {
                    stream: at.stream,
                    message,
                });
            }
            Progress::Complete(key) => self.complete(at, fragment.number, key, sink),
            Progress::Dropped(_) => {}
        }
    }

    #[inline(never)]
    fn complete(&mut self, at: &Context, number: u64, message: Key, sink: &mut impl Sink) {
        if let Some((hash, body)) = self.store.complete(at.stream, message) {
            self.store.tally(at.stream, |c| c.completed += 1);
            let bytes = BodyBytes::Owned(body);
            self.deliver(at, number, Some(hash), bytes, sink);
        }
    }

    /// A fragment of a message that is not under reassembly.
    fn first(&mut self, at: &Context, fragment: &Fragment<'_>, sink: &mut impl Sink) -> Progress {
        let filtered = !sink.wants_hash(fragment.topic_hash);
        let too_large = fragment.total > self.store.limits.max_message_len;
        let arrival = self.store.number(at.stream, fragment.number, at.sequence);
        let fate = match arrival {
            _ if filtered => {
                self.refuse(at, arrival, |c| c.filtered_by_hash += 1);
                FragmentFate::Filtered
            }
            _ if too_large => {
                self.refuse(at, arrival, |c| c.too_large += 1);
                FragmentFate::TooLarge
            }
            Arrival::Duplicate => FragmentFate::OfFinished,
            Arrival::Stale => FragmentFate::Stale,
            Arrival::Jump => FragmentFate::Jump,
            Arrival::New
            | Arrival::Gap { .. }
            | Arrival::Late
            | Arrival::Leap
            | Arrival::Restarted => {
                return self.begin(at, fragment);
            }
        };
        if self.store.remembers(at.stream, fragment.number) {
            self.lead = Refusal::of(at.stream, fragment, fate);
        }
        Progress::Dropped(fate)
    }

    /// Counts the message once, with the first fragment seen of it.
    fn refuse(&mut self, at: &Context, arrival: Arrival, count: impl Fn(&mut MessageCounts)) {
        if arrival.is_new() {
            self.store.tally(at.stream, count);
        }
    }

    fn begin(&mut self, at: &Context, fragment: &Fragment<'_>) -> Progress {
        if self.store.is_beheaded(at.stream, fragment.index) {
            self.store.tally(at.stream, |c| {
                c.started += 1;
                c.stranded += 1;
            });
            return Progress::Dropped(FragmentFate::OfFinished);
        }
        let progress = self.store.begin(at.stream, fragment, at.now);
        self.store.tally(at.stream, |c| match progress {
            Progress::Stored(_) | Progress::Complete(_) => c.started += 1,
            Progress::Dropped(_) => c.refused += 1,
        });
        progress
    }

    #[inline(always)]
    fn deliver(
        &mut self,
        at: &Context,
        number: u64,
        hash: Option<TopicHash>,
        bytes: BodyBytes<'_>,
        sink: &mut impl Sink,
    ) {
        let body = match Body::decode(bytes.as_ref()) {
            Ok(body) => body,
            Err(error) => return self.malformed(at, &error, bytes),
        };
        if hash.is_some_and(|hash| hash != TopicHash::of(body.topic())) {
            self.store.tally(at.stream, |c| c.body_topic_hash += 1);
            return self.reuse(bytes);
        }
        self.store.prove(at.stream, at.now);
        if !sink.wants_topic(body.topic()) {
            self.store.tally(at.stream, |c| c.filtered += 1);
            return self.reuse(bytes);
        }
        let layout = body.layout();
        let message = Received {
            stream: at.id,
            number,
            sequence: at.sequence,
            bytes,
            layout,
        };
        let verdict = sink.judge(&message);
        let payload = message.payload_range().len() as u64;
        self.store
            .tally(at.stream, |counts| counts.count_judged(verdict, payload));
        match verdict {
            Verdict::Wanted => sink.message(message),
            Verdict::CrcMismatch | Verdict::Unclaimed => self.reuse(message.into_bytes()),
        }
    }

    fn malformed(&mut self, at: &Context, error: &BodyError, bytes: BodyBytes<'_>) {
        self.store
            .tally(at.stream, |counts| counts.count_malformed(error));
        self.reuse(bytes);
    }

    fn reuse(&mut self, bytes: BodyBytes<'_>) {
        if let BodyBytes::Owned(buffer) = bytes {
            self.recycle(buffer);
        }
    }

    /// Tells that the receiver has lost datagrams since the last one that was taken in, such as
    /// the kernel when its receive buffer was full (`SO_RXQ_OVFL`, socket(7)): what turns out to be
    /// missing right before the next datagram of a stream will not come late.
    ///
    /// A message that lacks a fragment there is given up at once, as stranded, and what is to come of it
    /// is not stored: a receiver that cannot keep up spends its time on messages that can become whole.
    pub fn overflow(&mut self) {
        self.store.streams.overflow();
    }

    /// Gives up messages that have made no progress for [`Limits::expiry`], and frees
    /// spare buffers that were not needed for 10 s.
    ///
    /// Each datagram that is taken in does this as well; a receiver that hears
    /// nothing must be told the time with this one.
    pub fn expire(&mut self, now: Duration) {
        self.store.expire(now);
    }

    /// When [`expire`](Self::expire) next has a message to give up.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Duration> {
        self.store.pool.next_expiry(self.store.limits.expiry)
    }

    /// Bytes that are missing of the message of which the last datagram brought a fragment; 0 if
    /// it brought none, none that was stored, or the last.
    ///
    /// For a receiver that need not be told of every datagram while a long message comes.
    #[must_use]
    pub fn awaited(&self) -> usize {
        let message = self.lead.and_then(Lead::message);
        let message = message.and_then(|key| self.store.pool.get(key));
        message.map_or(0, Assembly::missing)
    }

    /// Takes back a buffer that came out of [`BodyBytes::Owned`], for the next
    /// message. Up to 1,024 are kept, within half the budget, and none that were not
    /// needed for 10 s.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.store.keep_spares(buffer, Vec::new());
    }

    /// Frees spare buffers, oldest first, until they take no more than `keep`
    /// bytes. What is under reassembly stays as it is.
    ///
    /// For a receiver that has heard nothing for a while: by itself the demultiplexer
    /// frees them where it is told the time, and when something else needs the memory.
    pub fn trim(&mut self, keep: usize) {
        self.store.pool.trim(keep);
    }

    /// The account of everything fed in so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            messages: self.store.messages(),
            streams_started: self.store.streams_started,
            departed: self.store.departed,
            ..self.counters
        }
    }

    /// The account of each stream known.
    pub fn streams(&self) -> impl Iterator<Item = StreamReport> {
        self.store.streams.values().map(streams::Stream::report)
    }

    /// The account of one stream.
    #[must_use]
    pub fn stream(&self, id: StreamId) -> Option<StreamReport> {
        self.store.streams.by_id(id).map(streams::Stream::report)
    }

    /// How many streams are known.
    #[must_use]
    pub const fn stream_count(&self) -> usize {
        self.store.streams.len()
    }

    /// How many messages are under reassembly.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.store.pool.len()
    }

    /// Bytes allocated for messages under reassembly and spare buffers; never
    /// more than [`Limits::max_bytes`].
    #[must_use]
    pub const fn allocated_bytes(&self) -> usize {
        self.store.pool.used()
    }

    /// The limits in force.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.store.limits
    }
}

impl<S> fmt::Debug for Demux<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demux")
            .field("limits", &self.store.limits)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
