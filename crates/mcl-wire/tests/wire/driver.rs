//! A [`Demux`] driven by bytes: each asks for a step, and after every step the
//! whole account is checked. The fuzz target `demux` and the replay of its
//! corpus are this function.
//!
//! Senders are honest: under one (stream, number) there is one body. Beside
//! them everything is said that a forger can say. What comes out must have been
//! put in: a body that an honest sender sent, or one that a forger sent whole,
//! or one all of whose fragments were sent under one total, size and topic hash
//! (who can forge those can forge a message; a seal is what helps).
//!
//! A second `Demux` is told the same, but for its datagrams one by one: nothing must tell
//! them apart.

use std::collections::HashSet;

use core::time::Duration;

use mcl_wire::{
    BodyBytes, BodyHead, Counters, DatagramWriter, Demux, DepartedCounts, Disposition, Encoding,
    FRAGMENT_OVERHEAD, FrameCounts, HEADER_LEN, Header, Limits, MessageCounts, Metadata, Received,
    Sink, StreamId, TopicHash, WHOLE_MESSAGE_OVERHEAD,
};

use crate::common::{Hasher, Rng, Sender, check_twins, demux, payload, receive, train_len};
use crate::hearsay::{Delivered, Honest, Name, Said, Shape};

/// Steps after which the rest of the bytes is not looked at.
const MAX_STEPS: usize = 400;
/// Datagrams kept to come again later.
const MAX_HISTORY: usize = 64;
/// Honest senders stop here, before their numbers end.
const LAST_NUMBER: u64 = u64::MAX - 100;

/// The bytes that say what happens. At their end everything is zero.
struct Plan<'a>(&'a [u8]);

impl<'a> Plan<'a> {
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let len = len.min(self.0.len());
        self.0.split_off(..len).unwrap_or_default()
    }

    /// Any 64-bit number; the interesting ones in few bytes.
    fn number(&mut self, near: u64) -> u64 {
        let by = u64::from(self.byte());
        match self.byte() % 8 {
            0 => by,
            1 => near.wrapping_add(by),
            2 => near.wrapping_sub(by),
            3 => u64::MAX - by,
            4 => near ^ (1 << (by % 64)),
            5 => near.wrapping_add(1 << (by % 64)),
            6 => near.wrapping_add(by << 8),
            _ => self.take(8).iter().fold(by, |n, b| n << 8 | u64::from(*b)),
        }
    }
}

#[derive(Default)]
struct Outbox {
    messages: Vec<Delivered>,
    not_stream: Option<StreamId>,
    not_hash: Option<TopicHash>,
    not_topic: Option<&'static str>,
}

impl Outbox {
    /// An empty one that does not want the same.
    fn as_choosy(&self) -> Self {
        Self {
            messages: Vec::new(),
            ..*self
        }
    }
}

impl Sink for Outbox {
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
        assert!(self.wants_topic(message.topic()));
        self.messages.push(Delivered {
            name: (message.stream, message.number),
            topic_hash: TopicHash::of(message.topic()),
            owned: matches!(message.bytes(), BodyBytes::Owned(_)),
            body: message.into_bytes().into_vec(),
        });
    }
}

const TOPICS: [Option<&str>; 4] = [None, Some(""), Some("t"), Some("a/topic")];

/// The one message that has this name.
fn content((stream, number): Name) -> (BodyHead, Vec<u8>) {
    let mut rng = Rng(stream.0.rotate_left(32) ^ number);
    let mut metadata = Metadata::new().with_encoding(Encoding(rng.below(3) as u8));
    metadata.schema = rng.percent(20).then(|| rng.next());
    metadata.publish_time = rng.percent(20).then(|| rng.next());
    let head = BodyHead::new(TOPICS[rng.below(TOPICS.len())], &metadata).unwrap();
    let len = [0, 5, 90, 250, 256, 600, 900, 2000, 5000][rng.below(9)];
    (head, payload(rng.next(), len))
}

fn limits(plan: &mut Plan<'_>) -> Limits {
    let mut limits = usual_limits(plan);
    // Mostly those; else whatever the bytes say.
    if plan.once_in(4) {
        let mut any = || plan.number(1 << 12) as usize % (1 << 20);
        limits.max_bytes = any();
        limits.unproven_bytes = any();
        limits.stream_bytes = any();
        limits.max_message_len = any() as u32;
        limits.max_incomplete = any() % 100;
        limits.max_incomplete_per_stream = any() % 100;
        limits.max_streams = any() % 20;
        limits.expiry = Duration::from_micros(any() as u64);
        limits.stream_idle = Duration::from_micros(any() as u64);
    }
    limits
}

fn usual_limits(plan: &mut Plan<'_>) -> Limits {
    let max_bytes = plan.of(&[1 << 20, 100_000, 20_000, 6_000, 1_500, 0]);
    let mut limits = Limits::new(plan.of(&[10_000, 1_500, 400]), max_bytes);
    limits.unproven_bytes = plan.of(&[max_bytes / 2, max_bytes, 3_000]);
    limits.stream_bytes = plan.of(&[max_bytes, max_bytes / 4 * 3, 8_000]);
    limits.max_incomplete = plan.of(&[32, 5, 2, 0]);
    limits.max_incomplete_per_stream = plan.of(&[8, 3, 1]);
    limits.max_streams = plan.of(&[16, 4, 2, 1]);
    limits.expiry = Duration::from_millis(plan.of(&[10, 1]));
    limits.stream_idle = Duration::from_millis(plan.of(&[50, 0]));
    limits
}

struct Drive<'a> {
    plan: Plan<'a>,
    demux: Demux<Hasher>,
    one_by_one: Demux<Hasher>,
    followed: u64,
    outbox: Outbox,
    now: Duration,
    /// Whether the clock has always gone forward.
    monotonic: bool,
    senders: [Sender; 4],
    said: Said,
    delivered: HashSet<Name>,
    in_flight: Vec<Vec<u8>>,
    history: Vec<Vec<u8>>,
    buffers: Vec<Vec<u8>>,
}

/// Does what `bytes` say and gives the final account, and how many datagrams were taken in with the
/// one before. Panics if an invariant does not hold.
pub(crate) fn drive(bytes: &[u8]) -> (Counters, u64) {
    let mut plan = Plan(bytes);
    let limits = limits(&mut plan);
    let mut drive = Drive {
        plan,
        demux: demux(limits),
        one_by_one: demux(limits),
        followed: 0,
        outbox: Outbox::default(),
        now: Duration::from_secs(1),
        monotonic: true,
        senders: [1, 2, 3, 4].map(Sender::new),
        said: Said::default(),
        delivered: HashSet::new(),
        in_flight: Vec::new(),
        history: Vec::new(),
        buffers: Vec::new(),
    };
    drive.start();
    drive.run();
    (drive.demux.counters(), drive.followed)
}

impl Drive<'_> {
    fn start(&mut self) {
        for sender in &mut self.senders {
            sender.datagram_len = 308;
        }
        self.senders[1].datagram_len = 600;
        self.senders[2].sequence = LAST_NUMBER - 200;
        self.senders[2].number = LAST_NUMBER - 30;
        self.senders[3].number = 1 << 40;
    }

    fn run(&mut self) {
        for _ in 0..MAX_STEPS {
            if self.plan.is_over() {
                break;
            }
            self.step();
            self.compare();
        }
        self.arrive_all();
        self.now += self.demux.limits().expiry;
        self.expire();
        assert!(self.demux.pending() == 0 || !self.monotonic);
    }

    fn step(&mut self) {
        match self.plan.byte() % 16 {
            0 | 1 => self.send(false),
            2 => self.send(true),
            3 => self.send_together(),
            4 => self.arrive(true),
            5 => self.arrive_all(),
            6 => self.arrive(false),
            7 => drop(self.pick(true)),
            8 => self.arrive_late(),
            9 => self.damage(),
            10 => self.forge(),
            11 => self.rubbish(true),
            12 => self.rubbish(false),
            13 => self.wait(),
            14 => self.recycle(),
            _ => self.change(),
        }
    }

    /// The next message of a sender goes on its way.
    fn send(&mut self, fragmented: bool) {
        let at = self.plan.below(4);
        let sender = &mut self.senders[at];
        if sender.number > LAST_NUMBER || sender.sequence > LAST_NUMBER {
            return;
        }
        let name = (sender.stream, sender.number);
        let (head, payload) = content(name);
        let body = [head.as_bytes(), &payload].concat();
        let too_long = body.len() + WHOLE_MESSAGE_OVERHEAD > sender.datagram_len;
        let shape = (fragmented || too_long).then(|| Shape {
            total: body.len() as u32,
            size: (sender.datagram_len - FRAGMENT_OVERHEAD) as u16,
            hash: head.topic_hash(),
        });
        let datagrams = match shape {
            Some(_) => sender.fragments(&head, &payload),
            None => vec![sender.whole(&head, &payload)],
        };
        self.in_flight.extend(datagrams);
        self.said.honest.insert(name, Honest { body, shape });
    }

    /// Several messages of a sender in one datagram, as many as fit.
    fn send_together(&mut self) {
        let at = self.plan.below(4);
        let count = self.plan.below(5);
        let sender = &mut self.senders[at];
        let mut buffer = vec![0; sender.datagram_len];
        let header = Header::new(sender.stream, sender.sequence);
        let mut writer = DatagramWriter::new(&mut buffer, header).unwrap();
        while sender.number <= LAST_NUMBER && self.said.honest.len() < MAX_STEPS {
            let name = (sender.stream, sender.number);
            let (head, payload) = content(name);
            if writer.message(sender.number, &head, &payload).is_err() {
                break;
            }
            let body = [head.as_bytes(), &payload].concat();
            let shape = None;
            self.said.honest.insert(name, Honest { body, shape });
            // Now and then a number is left out.
            sender.number += 1 + u64::from(count == 4);
        }
        if sender.sequence > LAST_NUMBER {
            return;
        }
        sender.sequence += 1;
        writer.pad_to(writer.len() + count);
        let len = writer.finish();
        buffer.truncate(len);
        self.in_flight.push(buffer);
    }

    fn pick(&mut self, take: bool) -> Option<Vec<u8>> {
        let at = self.plan.below(self.in_flight.len());
        if take && at < self.in_flight.len() {
            return Some(self.in_flight.remove(at));
        }
        self.in_flight.get(at).cloned()
    }

    fn pick_late(&mut self) -> Option<Vec<u8>> {
        let at = self.plan.below(self.history.len());
        self.history.get(at).cloned()
    }

    fn arrive(&mut self, take: bool) {
        if let Some(datagram) = self.pick(take) {
            self.feed_honest(datagram);
        }
    }

    /// In trains.
    fn arrive_all(&mut self) {
        let mut queue = core::mem::take(&mut self.in_flight);
        while !queue.is_empty() {
            let train: Vec<_> = queue.drain(..train_len(&queue, 6)).collect();
            if self.plan.once_in(8) {
                self.meddle();
            }
            self.tell_time();
            let (fates, followed) = receive(&mut self.demux, self.now, &train, &mut self.outbox);
            self.followed += followed;
            self.feed_twin(&train, &fates);
            self.take_out();
            let room = MAX_HISTORY.saturating_sub(self.history.len());
            self.history.extend(train.into_iter().take(room));
        }
    }

    fn arrive_late(&mut self) {
        if let Some(datagram) = self.pick_late() {
            self.feed(&datagram);
        }
    }

    fn feed_honest(&mut self, datagram: Vec<u8>) {
        self.feed(&datagram);
        if self.history.len() < MAX_HISTORY {
            self.history.push(datagram);
        }
    }

    /// It comes at once, or in a train with others.
    fn feed_forged(&mut self, datagram: Vec<u8>) {
        self.said.forge(&datagram);
        if self.plan.once_in(4) {
            let at = self.plan.below(self.in_flight.len() + 1);
            self.in_flight.insert(at, datagram);
        } else {
            self.feed(&datagram);
        }
    }

    fn specimen(&mut self) -> Option<Vec<u8>> {
        if self.plan.once_in(2) {
            return self.pick(false);
        }
        self.pick_late()
    }

    /// Some bytes of a datagram are others, or it is shorter or longer.
    fn damage(&mut self) {
        let Some(mut datagram) = self.specimen() else {
            return;
        };
        for _ in 0..=self.plan.below(4) {
            let at = self.plan.below(datagram.len().min(96));
            if let Some(byte) = datagram.get_mut(at) {
                *byte ^= self.plan.byte();
            }
        }
        match self.plan.byte() % 4 {
            0 => datagram.truncate(self.plan.below(256)),
            1 => datagram.extend(self.plan.take(16)),
            _ => {}
        }
        self.feed_forged(datagram);
    }

    /// One field of a datagram is another, and the rest in order.
    fn forge(&mut self) {
        let Some(mut datagram) = self.specimen() else {
            return;
        };
        let place = match self.plan.byte() % 8 {
            0 => 8..16,
            1 => 16..24,
            2 => 28..36,
            3 => 36..40,
            4 => 40..44,
            5 => 44..48,
            6 => 48..50,
            // A byte of the body.
            _ => 60..61,
        };
        if let Some(place) = datagram.get_mut(place) {
            let near = place.iter().fold(0, |n, b| n << 8 | u64::from(*b));
            let other = self.plan.number(near).to_be_bytes();
            place.copy_from_slice(&other[8 - place.len()..]);
            // Mostly under a sequence number of its own.
            if !self.plan.once_in(4) {
                self.renumber(&mut datagram);
            }
        }
        self.feed_forged(datagram);
    }

    /// Gives a datagram the number that its honest stream will use next.
    fn renumber(&mut self, datagram: &mut [u8]) {
        let at = self.plan.below(4);
        let sender = &mut self.senders[at];
        if sender.sequence <= LAST_NUMBER && datagram.len() >= HEADER_LEN {
            datagram[8..16].copy_from_slice(&sender.stream.0.to_be_bytes());
            datagram[16..24].copy_from_slice(&sender.sequence.to_be_bytes());
            sender.sequence += 1;
        }
    }

    /// Bytes from the plan itself, with a header that is let through or without.
    fn rubbish(&mut self, with_header: bool) {
        let mut datagram = Vec::new();
        if with_header {
            let stream = self.plan.number(1);
            let sequence = self.plan.number(0);
            let header = Header::new(StreamId(stream), sequence);
            datagram.extend(header.encode());
        }
        let len = self.plan.below(64);
        datagram.extend(self.plan.take(len));
        // Fragments are long: zeros behind save the plan their bytes.
        let stretch = self.plan.of(&[0, 0, 256, 300]);
        datagram.resize(datagram.len() + stretch, 0);
        if self.plan.once_in(2) && datagram.len() >= HEADER_LEN + 4 {
            let len = (datagram.len() - HEADER_LEN - 4) as u16;
            datagram[26..28].copy_from_slice(&len.to_be_bytes());
        }
        self.feed_forged(datagram);
    }

    fn wait(&mut self) {
        self.tick();
        self.expire();
    }

    /// The clock goes on, or goes wrong.
    fn tick(&mut self) {
        let by = u64::from(self.plan.byte());
        let back = Duration::from_micros(by * 100);
        match self.plan.byte() % 6 {
            0 => self.now += Duration::from_micros(by),
            1 => self.now += Duration::from_millis(by),
            2 => self.now += self.demux.limits().expiry,
            3 => self.now += self.demux.limits().stream_idle,
            4 => self.now = self.now.saturating_add(Duration::from_secs(by << 40)),
            _ => {
                self.monotonic &= back.is_zero();
                self.now = self.now.saturating_sub(back);
            }
        }
    }

    fn tell_time(&mut self) {
        self.demux.expire(self.now);
        self.one_by_one.expire(self.now);
    }

    fn expire(&mut self) {
        self.tell_time();
        if self.monotonic && self.now < Duration::MAX {
            assert!(self.demux.next_expiry().is_none_or(|at| at > self.now));
        }
    }

    /// What a receiver may do at any moment.
    fn meddle(&mut self) {
        match self.plan.byte() % 4 {
            0 => self.wait(),
            1 => self.recycle(),
            2 => self.trim(),
            // Time passes and nobody says so.
            _ => self.tick(),
        }
        self.compare();
    }

    fn compare(&self) {
        check_twins(&self.demux, &self.one_by_one);
    }

    fn trim(&mut self) {
        let keep = self.plan.number(0) as usize;
        let (before, pending) = (self.demux.allocated_bytes(), self.demux.pending());
        self.demux.trim(keep);
        self.one_by_one.trim(keep);
        assert!(self.demux.allocated_bytes() <= before);
        assert_eq!(self.demux.pending(), pending);
        if keep == 0 {
            let charged: usize = self.demux.streams().map(|stream| stream.bytes).sum();
            assert_eq!(self.demux.allocated_bytes(), charged);
        }
    }

    /// A buffer comes back: one that came out, or any other.
    fn recycle(&mut self) {
        if self.plan.once_in(8) {
            return self.trim();
        }
        let own = self.buffers.pop();
        let other = Vec::with_capacity(self.plan.of(&[0, 1, 400, 1_000, 5_000, 200_000]));
        let given = if self.plan.once_in(4) {
            other
        } else {
            own.unwrap_or_default()
        };
        let twin = Vec::with_capacity(given.capacity());
        self.one_by_one.recycle(twin);
        self.demux.recycle(given);
    }

    /// A sender or the listener changes its mind.
    fn change(&mut self) {
        let at = self.plan.below(4);
        let by = self
            .plan
            .of(&[1, 2, 63, 64, 1_023, 1_025, 4_097, (1 << 24) + 1, 1 << 40]);
        let sender = &mut self.senders[at];
        match self.plan.byte() % 6 {
            0 => {
                sender.sequence = sender.sequence.saturating_add(by);
                // It was the receiver that lost them.
                if by < 64 {
                    self.demux.overflow();
                    self.one_by_one.overflow();
                }
            }
            1 => sender.number = sender.number.saturating_add(by),
            2 => sender.datagram_len = [308, 309, 600, 1452][by as usize % 4],
            3 => self.outbox.not_stream = (by > 2).then_some(sender.stream),
            4 => self.outbox.not_topic = TOPICS[by as usize % 4],
            _ => self.outbox.not_hash = (by > 2).then(|| TopicHash::of(TOPICS[at])),
        }
    }

    fn feed(&mut self, datagram: &[u8]) {
        self.tell_time();
        let before = self.trace();
        let (stream, frames) = subject(datagram);
        let restarts = self.restarts(stream);
        let disposition = self.demux.datagram(self.now, datagram, &mut self.outbox);
        if self.restarts(stream) > restarts {
            // What it had before is over; what it has is of this datagram.
            let report = self.demux.stream(stream).unwrap();
            assert!(report.pending <= frames);
        }
        if disposition != Disposition::Accepted {
            assert_eq!(self.trace(), before, "{disposition:?} leaves a trace");
        }
        self.feed_twin(&[datagram], &[disposition]);
        self.take_out();
    }

    /// The same datagrams, one by one, have the same fates.
    fn feed_twin(&mut self, train: &[impl AsRef<[u8]>], fates: &[Disposition]) {
        let mut outbox = self.outbox.as_choosy();
        assert_eq!(train.len(), fates.len());
        for (datagram, fate) in train.iter().zip(fates) {
            let datagram = datagram.as_ref();
            let twin = self.one_by_one.datagram(self.now, datagram, &mut outbox);
            assert_eq!(twin, *fate);
        }
        assert!(outbox.messages == self.outbox.messages);
        self.compare();
    }

    /// Whatever comes out was put in, and comes out once.
    fn take_out(&mut self) {
        for message in core::mem::take(&mut self.outbox.messages) {
            assert!(
                self.said.explains(&message),
                "nobody sent {:?}",
                message.name
            );
            assert!(self.is_first(message.name), "twice: {:?}", message.name);
            if message.owned {
                self.buffers.push(message.body);
            }
        }
    }

    /// How often the stream has begun anew.
    fn restarts(&self, stream: StreamId) -> u64 {
        let report = self.demux.stream(stream);
        report.map_or(0, |report| report.datagrams.restarts)
    }

    /// What a datagram that is dropped must not change.
    fn trace(&self) -> (FrameCounts, MessageCounts, DepartedCounts, [usize; 2]) {
        let counters = self.demux.counters();
        let room = [self.demux.allocated_bytes(), self.demux.stream_count()];
        (counters.frames, counters.messages, counters.departed, room)
    }

    /// Whether a message was not delivered before, as far as is promised: a
    /// stream that lost its place, or was led astray, may begin again; and of numbers
    /// that leapt and were not confirmed, only the last ones are remembered.
    fn is_first(&mut self, name: Name) -> bool {
        let new = self.delivered.insert(name);
        let report = self.demux.stream(name.0);
        let astray = report.is_none_or(|it| it.numbers.restarts > 0 || it.numbers.apart > 1);
        new || astray || self.demux.counters().departed.streams > 0
    }
}

/// Whose a datagram is, and how many frames it has.
fn subject(datagram: &[u8]) -> (StreamId, usize) {
    Header::decode(datagram).map_or((StreamId(0), 0), |(header, frames)| {
        (header.stream, frames.count())
    })
}
