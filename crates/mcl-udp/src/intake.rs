//! From a socket to messages, on whichever thread it is.

use std::hash::RandomState;
use std::hint;
use std::io;
use std::net::SocketAddrV6;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use mcl_net::{Arrival, Received as Woke, Receiver, SocketError, Train, TrainBuffer, Wait};
use mcl_wire::{BodyBytes, Demux, FRAGMENT_OVERHEAD, Received, Sink, StreamId, TopicHash, Verdict};

use crate::blocks::Blocks;
use crate::depot::Stock;
use crate::filter::Filter;
use crate::handful::Handful;
use crate::herald::Herald;
use crate::landing::Landing;
use crate::message::TopicCache;
use crate::moderation::Moderation;
use crate::shared::Core;
use crate::sync::lock;
use crate::trace::ListenerTrace;
use crate::watch::Watch;

/// After how many messages out of one train they are handed over: while they, and
/// their payloads, are in the processor's first cache.
const HAND_OVER: usize = 64;

/// Bytes that are kept nevertheless: messages of moderate length find their memory
/// even after a rest.
const KEPT_AT_REST: usize = 1 << 20;

/// How long after the last datagrams memory that is kept for the next ones is freed.
const AT_REST: Duration = Duration::from_secs(1);

/// How often a spinning receiver looks at the clock: every so many tries, each of
/// a fraction of a microsecond.
const TRIES: u32 = 16;

/// A receiver, and what makes messages of what it brings.
#[derive(Debug)]
pub(crate) struct Intake {
    receiver: Receiver,
    watch: Watch,
    herald: Herald,
    /// Trains received, and how many; which is being taken in, and how many
    /// datagrams of it are done with.
    trains: TrainBuffer,
    filled: usize,
    place: usize,
    done: usize,
    /// How often in a row there was something to receive without waiting.
    streak: u32,
    /// How many trains to receive together then: the fewer, the less of the processor's caches.
    batch: usize,
    workshop: Workshop,
    started: Instant,
    /// How long to look for datagrams without sleeping, after some came.
    spin: Duration,
    moderation: Moderation,
    landing: Landing,
    /// When the last datagrams came.
    heard: Instant,
    /// Whether memory is to be freed when nothing has come for a while.
    tired: bool,
    trace: ListenerTrace,
}

/// What a listener asks of its intake.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) filter: Filter,
    /// Whether a message without a CRC is as good as a damaged one.
    pub(crate) require_crc: bool,
    /// How long to look for datagrams without sleeping, after some came.
    pub(crate) spin: Duration,
}

impl Intake {
    pub(crate) fn new(receiver: Receiver, watch: Watch, wanted: Wanted) -> Self {
        let started = Instant::now();
        Self {
            workshop: Workshop {
                filter: wanted.filter,
                require_crc: wanted.require_crc,
                interface: receiver.interface().unwrap_or(NonZeroU32::MIN),
                topics: TopicCache::default(),
                stock: Stock::default(),
                blocks: Blocks::default(),
                ready: Handful::default(),
            },
            trace: ListenerTrace::new(&receiver),
            receiver,
            watch,
            herald: Herald::default(),
            trains: TrainBuffer::new(),
            filled: 0,
            place: 0,
            done: 0,
            streak: 0,
            batch: 1,
            started,
            spin: wanted.spin,
            moderation: Moderation::new(started),
            landing: Landing::default(),
            heard: started,
            tired: false,
        }
    }

    /// Makes one descriptor of all, for [`AsFd`].
    pub(crate) fn bundle(&mut self) -> Result<(), SocketError> {
        self.receiver.bundle()
    }

    /// Receives the next train, until `deadline` at most; spins first if it is to,
    /// while `go_on` says so. What is due in time is done.
    pub(crate) fn receive(
        &mut self,
        core: &Mutex<Core>,
        deadline: Option<Instant>,
        go_on: impl Fn() -> bool,
    ) -> io::Result<Woke> {
        let (due, awaited) = {
            let core = lock(core);
            self.tell(&core);
            (self.due(&core), core.demux.awaited())
        };
        let until = deadline.into_iter().chain(due).min();
        let woke = self.wait_for_some(core, until, awaited, go_on);
        self.attend(core, woke)
    }

    /// Does what is to be done whatever was received, and were it an error.
    fn attend(&mut self, core: &Mutex<Core>, woke: io::Result<Woke>) -> io::Result<Woke> {
        let now = Instant::now();
        if let Ok(woke) = woke {
            self.keep_time(core, now, woke);
        }
        // Perhaps its interface is the reason; and neither may end for long.
        if matches!(woke, Ok(Woke::Foreign) | Err(_)) {
            self.watch.ask(now, &mut self.receiver);
        }
        if !matches!(woke, Ok(Woke::Train(_))) && self.watch.look_if_due(now, &mut self.receiver) {
            self.moved(&mut lock(core));
        }
        self.trace.look(now, core, &self.receiver);
        self.watch.place().tell();
        woke
    }

    /// The receiver has joined anew. Nothing is left of what came before.
    fn moved(&mut self, core: &mut Core) {
        core.receive_buffer = self.receiver.receive_buffer();
        if let Some(interface) = self.receiver.interface() {
            self.workshop.interface = interface;
        }
    }

    /// `awaited` bytes are to come of the message that is being received.
    fn wait_for_some(
        &mut self,
        core: &Mutex<Core>,
        until: Option<Instant>,
        awaited: usize,
        go_on: impl Fn() -> bool,
    ) -> io::Result<Woke> {
        self.landing.expects(awaited);
        let mut woke = self.receive_now(core)?;
        if woke == Woke::TimedOut {
            if !self.spin.is_zero() {
                woke = self.spin(core, until, go_on)?;
            } else if awaited > 0 {
                woke = self.rest(core, until, awaited)?;
            }
        }
        let wait = until.map_or(Wait::Forever, Wait::Until);
        while woke == Woke::TimedOut {
            if let Some(ended) = self.receiver.wait(wait)? {
                return Ok(ended);
            }
            woke = self.receive_now(core)?;
        }
        Ok(woke)
    }

    /// Lets what is to come of a long message gather, if it comes fast.
    fn rest(
        &mut self,
        core: &Mutex<Core>,
        until: Option<Instant>,
        awaited: usize,
    ) -> io::Result<Woke> {
        let now = Instant::now();
        let buffer = self.receiver.receive_buffer().granted;
        match self.moderation.rest(now, awaited, buffer) {
            Some(time) => self.rest_for(core, time, now, until),
            None => Ok(Woke::TimedOut),
        }
    }

    fn rest_for(
        &mut self,
        core: &Mutex<Core>,
        time: Duration,
        now: Instant,
        until: Option<Instant>,
    ) -> io::Result<Woke> {
        let left = until.map_or(time, |until| until.saturating_duration_since(now));
        let rested = self.receiver.rest(time.min(left));
        // It has taken the alarm.
        self.tired = self.receiver.set_alarm(AT_REST).is_ok();
        match rested {
            Ok(Some(ended)) => Ok(ended),
            Ok(None) => self.receive_now(core),
            // It can do without.
            Err(_) => Ok(Woke::TimedOut),
        }
    }

    /// Receives what is there, without waiting.
    pub(crate) fn try_receive(&mut self, core: &Mutex<Core>) -> io::Result<Woke> {
        let woke = self.receive_now(core);
        if let Ok(Woke::TimedOut) = woke {
            self.watch.ask(Instant::now(), &mut self.receiver);
            self.tell(&lock(core));
        }
        self.attend(core, woke)
    }

    fn receive_now(&mut self, core: &Mutex<Core>) -> io::Result<Woke> {
        (self.filled, self.place, self.done) = (0, 0, 0);
        // Where one follows the other, more will be there.
        if self.streak > 1 {
            return self.receive_many();
        }
        let woke = if self.landing.is_to_be_tried() {
            self.receive_in_place(&mut lock(core))?
        } else {
            self.receive_here()?
        };
        if let Woke::Train(arrival) = woke {
            self.moderation.received(arrival.len());
        }
        match woke {
            Woke::Train(arrival) if is_single(&arrival) => self.streak += 1,
            Woke::Foreign => {}
            _ => self.streak = 0,
        }
        Ok(woke)
    }

    fn receive_here(&mut self) -> io::Result<Woke> {
        let woke = self.receiver.recv(&mut self.trains, Wait::No)?;
        if let Woke::Train(_) = woke {
            self.filled = 1;
            self.landing.passed();
        }
        Ok(woke)
    }

    /// Receives a train where the message is put together that it is expected to go on with, and takes it in
    /// there if it does.
    fn receive_in_place(&mut self, core: &mut Core) -> io::Result<Woke> {
        let Some(place) = core.demux.landing() else {
            self.landing.expects(0);
            return self.receive_here();
        };
        let woke = self
            .receiver
            .recv_split(&mut self.trains, FRAGMENT_OVERHEAD, place)?;
        let Woke::Train(arrival) = woke else {
            return Ok(woke);
        };
        let now = self.started.elapsed();
        let landed = self.trains.head().is_some_and(|head| {
            let (len, stride) = (arrival.len(), arrival.stride());
            arrival.dropped() == 0 && core.demux.land(now, head, len, stride)
        });
        if !landed && let Some(place) = core.demux.landing() {
            self.trains.gather(&arrival, FRAGMENT_OVERHEAD, place);
            self.filled = 1;
        }
        self.landing.tried(landed, core.demux.awaited());
        Ok(woke)
    }

    /// Receives what is there, to be taken in together.
    fn receive_many(&mut self) -> io::Result<Woke> {
        // All at once: what is allocated later would be in the midst of the traffic.
        if self.trains.capacity() < Receiver::MOST_TRAINS {
            self.trains = TrainBuffer::for_trains(Receiver::MOST_TRAINS);
        }
        let received = self.receiver.recv_many(&mut self.trains, self.batch);
        let Ok(Some(count)) = received else {
            self.streak = 0;
            return received.map(|_| Woke::TimedOut);
        };
        // There may be more than there is room for.
        if count == self.batch {
            self.batch = Receiver::MOST_TRAINS.min(2 * count);
        }
        let mut woke = Woke::Foreign;
        for at in 0..count {
            let Some(train) = self.trains.train(at) else {
                continue;
            };
            let arrival = train.arrival();
            self.filled = at + 1;
            self.moderation.received(arrival.len());
            if !is_single(&arrival) {
                self.streak = 0;
            }
            woke = Woke::Train(arrival);
        }
        Ok(woke)
    }

    /// Tries again and again, until something comes or the time for that is over.
    fn spin(
        &mut self,
        core: &Mutex<Core>,
        until: Option<Instant>,
        go_on: impl Fn() -> bool,
    ) -> io::Result<Woke> {
        loop {
            for _ in 0..TRIES {
                let woke = self.receive_now(core)?;
                if woke != Woke::TimedOut {
                    return Ok(woke);
                }
                hint::spin_loop();
            }
            let now = Instant::now();
            self.watch.ask(now, &mut self.receiver);
            let changed = self.watch.due().is_some_and(|due| now >= due);
            let over = changed || now.duration_since(self.heard) >= self.spin;
            if over || until.is_some_and(|until| now >= until) || !go_on() {
                return Ok(Woke::TimedOut);
            }
        }
    }

    /// When something is due that no datagram announces.
    fn due(&self, core: &Core) -> Option<Instant> {
        let expiry = core.demux.next_expiry();
        let expiry = expiry.and_then(|at| self.started.checked_add(at));
        let others = [self.watch.due(), self.herald.due()];
        expiry.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Does what is due whatever arrived, were it nothing of ours.
    fn keep_time(&mut self, core: &Mutex<Core>, now: Instant, woke: Woke) {
        if woke == Woke::Changed {
            self.watch.heard(now);
        }
        let mut core = lock(core);
        core.foreign = self.receiver.foreign();
        core.demux.expire(now.duration_since(self.started));
        let rest = now.duration_since(self.heard);
        if let Woke::Train(_) = woke {
            self.heard = now;
            self.tired = self.tired || self.receiver.set_alarm(AT_REST).is_ok();
        } else if self.tired && rest >= AT_REST {
            self.tired = false;
            (self.filled, self.place, self.done) = (0, 0, 0);
            self.workshop.trim(&mut core);
            if self.trains.capacity() > 1 {
                self.trains = TrainBuffer::new();
            }
            self.batch = 1;
        } else if self.tired && woke == Woke::Alarm {
            // Datagrams came since it was set.
            self.tired = self.receiver.set_alarm(AT_REST - rest).is_ok();
        }
    }

    /// Tells who takes events what came of the last datagrams.
    fn tell(&mut self, core: &Core) {
        let hub = self.watch.place().hub();
        if hub.is_wanted() {
            self.herald
                .attend(Instant::now(), hub, core, &self.receiver);
        }
    }

    /// Takes datagrams that were received in until a handful of messages are
    /// [`ready`](Self::ready); `false` if none are, and none are left.
    pub(crate) fn advance(
        &mut self,
        core: &Mutex<Core>,
        ignored: &[StreamId],
        claimed: bool,
    ) -> bool {
        if !self.has_more() {
            return false;
        }
        let mut core = lock(core);
        // When they came: to read the clock again would take as long as two messages.
        let now = self.heard.duration_since(self.started);
        let wants = Wants { ignored, claimed };
        // Once, before the first is taken in; what comes by itself is needed at once.
        if self.filled > 1 && (self.place, self.done) == (0, 0) {
            let trains = (0..self.filled).filter_map(|at| self.trains.train(at));
            core.demux.prefetch(trains.map(|train| train.bytes()));
        }
        let workshop = &mut self.workshop;
        while self.place < self.filled && !workshop.has_enough() {
            let train = self.trains.train(self.place);
            match train.and_then(|train| workshop.take_in(now, train, self.done, &mut core, wants))
            {
                Some(done) => self.done = done,
                None => (self.place, self.done) = (self.place + 1, 0),
            }
        }
        self.landing.expects(core.demux.awaited());
        !workshop.ready.is_empty()
    }

    /// Whether [`advance`](Self::advance) has datagrams to take.
    pub(crate) fn has_more(&self) -> bool {
        self.place < self.filled
    }

    /// The messages that [`advance`](Self::advance) found.
    pub(crate) fn ready(&mut self) -> &mut Handful {
        &mut self.workshop.ready
    }
}

/// Whether it is one datagram, as all are that receive offload does not join.
fn is_single(arrival: &Arrival) -> bool {
    arrival.datagrams() == 1
}

impl AsFd for Intake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// Makes messages.
#[derive(Debug)]
struct Workshop {
    filter: Filter,
    require_crc: bool,
    interface: NonZeroU32,
    topics: TopicCache,
    stock: Stock,
    blocks: Blocks,
    ready: Handful,
}

impl Workshop {
    /// Takes in datagrams of `train` after the first `done`. If there are enough
    /// messages before its end, tells how many are done with.
    fn take_in(
        &mut self,
        now: Duration,
        train: Train<'_>,
        done: usize,
        core: &mut Core,
        wants: Wants<'_>,
    ) -> Option<usize> {
        let arrival = train.arrival();
        if done == 0 && arrival.dropped() > 0 {
            core.demux.overflow();
        }
        self.prepare(&arrival, core);
        let (demux, mut collector) = self.collector(&arrival, core, wants);
        let stride = arrival.stride();
        let rest = train.bytes().get(done * stride..).unwrap_or_default();
        let taken = done + demux.train(now, rest, stride, &mut collector);
        self.blocks.seal(&mut self.ready);
        (taken < arrival.datagrams()).then_some(taken)
    }

    fn prepare(&mut self, arrival: &Arrival, core: &mut Core) {
        self.stock.collect(|buffer| core.demux.recycle(buffer));
        self.blocks.expect(arrival.len());
    }

    fn collector<'a>(
        &'a mut self,
        arrival: &Arrival,
        core: &'a mut Core,
        wants: Wants<'a>,
    ) -> (&'a mut Demux<RandomState>, Collector<'a>) {
        let collector = Collector {
            workshop: self,
            wants,
            sender: arrival.source(),
            received: arrival.time().unwrap_or_else(SystemTime::now),
        };
        (&mut core.demux, collector)
    }

    /// Frees what is kept for messages to come.
    fn trim(&mut self, core: &mut Core) {
        self.stock.trim(|buffer| core.demux.recycle(buffer));
        core.demux.trim(KEPT_AT_REST);
        self.blocks.trim();
    }

    fn has_enough(&self) -> bool {
        self.ready.len() >= HAND_OVER || self.blocks.is_full()
    }
}

/// What is wanted beside the topics.
#[derive(Clone, Copy)]
struct Wants<'a> {
    ignored: &'a [StreamId],
    /// Whether there is anyone to take messages.
    claimed: bool,
}

/// Takes messages out of the demultiplexer.
struct Collector<'a> {
    workshop: &'a mut Workshop,
    wants: Wants<'a>,
    sender: SocketAddrV6,
    received: SystemTime,
}

impl Sink for Collector<'_> {
    #[inline]
    fn wants_stream(&mut self, stream: StreamId) -> bool {
        !self.wants.ignored.contains(&stream)
    }

    #[inline]
    fn wants_hash(&mut self, hash: TopicHash) -> bool {
        self.workshop.filter.wants_hash(hash)
    }

    #[inline]
    fn wants_topic(&mut self, topic: Option<&str>) -> bool {
        self.workshop.filter.wants(topic)
    }

    #[inline(always)]
    fn judge(&mut self, received: &Received<'_>) -> Verdict {
        if !crc_matches(received, self.workshop.require_crc) {
            Verdict::CrcMismatch
        } else if !self.wants.claimed {
            Verdict::Unclaimed
        } else {
            Verdict::Wanted
        }
    }

    #[inline(always)]
    fn message(&mut self, received: Received<'_>) {
        self.add(received);
    }

    #[inline]
    fn has_enough(&self) -> bool {
        self.workshop.has_enough()
    }
}

impl Collector<'_> {
    #[inline(always)]
    fn add(&mut self, received: Received<'_>) {
        let workshop = &mut *self.workshop;
        let index = workshop.ready.len();
        let metadata = received.metadata();
        let published = metadata.publish_time.map(Duration::from_nanos);
        let topics = &mut workshop.topics;
        let message = workshop.ready.add();
        message.topic = received.topic().map(|topic| topics.intern(topic));
        message.stream = received.stream;
        message.number = received.number;
        message.sender = self.sender;
        message.interface = workshop.interface;
        message.published = published.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        message.received = self.received;
        message.encoding = metadata.encoding;
        message.schema = metadata.schema;
        let range = received.payload_range();
        match received.into_bytes() {
            // A message that was put together keeps its buffer.
            BodyBytes::Owned(body) => message.payload = workshop.stock.adopt(body, range.start),
            // A small one is copied out of the datagram; if its payload is to be shared, it gets it
            // when its block is sealed.
            bytes => {
                let payload = bytes.as_ref().get(range).unwrap_or_default();
                if !message.payload.copy_few(payload) {
                    workshop.blocks.copy(index, payload);
                }
            }
        }
    }
}

#[inline(always)]
fn crc_matches(received: &Received<'_>, required: bool) -> bool {
    match received.metadata().crc32c {
        None => !required,
        Some(expected) => {
            let (head, payload) = received.body().crc_covered();
            crc32c::crc32c_append(crc32c::crc32c(head), payload) == expected
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Raw;
    use crate::connection::Connection;
    use crate::listener::{ListenerBuilder, Opened};
    use crate::payload::Payload;

    /// Of a listener whose interface is yet to come: it receives nothing.
    fn opened() -> Opened {
        let connection = Connection::new("ff15::1%none-such").unwrap();
        let builder = ListenerBuilder::<Payload, _>::new(&connection, Raw);
        builder.await_interface().open_socket().unwrap()
    }

    #[test]
    fn a_rest_ends_after_its_time_or_at_a_deadline_or_when_woken() {
        let Opened {
            mut intake,
            core,
            waker,
            ..
        } = opened();
        let core = Mutex::new(core);
        let [short, long] = [20, 600_000].map(Duration::from_millis);
        let now = Instant::now();
        let woke = intake.rest_for(&core, short, now, None).unwrap();
        assert_eq!(woke, Woke::TimedOut, "nothing came");
        assert!(now.elapsed() >= short);
        let now = Instant::now();
        let woke = intake
            .rest_for(&core, long, now, Some(now + short))
            .unwrap();
        assert_eq!(woke, Woke::TimedOut);
        assert!((short..long).contains(&now.elapsed()));
        // A deadline that is over.
        intake.rest_for(&core, long, now, Some(now)).unwrap();
        waker.wake();
        let woke = intake.rest_for(&core, long, now, None).unwrap();
        assert_eq!(woke, Woke::Woken);
    }

    #[test]
    fn what_is_kept_is_freed_although_a_rest_took_the_alarm() {
        let Opened {
            mut intake, core, ..
        } = opened();
        let core = Mutex::new(core);
        lock(&core).demux.recycle(Vec::with_capacity(16 << 20));
        // As after the last train of a sender that died.
        intake.heard = Instant::now();
        intake.tired = intake.receiver.set_alarm(AT_REST).is_ok();
        let now = Instant::now();
        intake
            .rest_for(&core, Duration::from_micros(100), now, None)
            .unwrap();
        let deadline = now + Duration::from_secs(60);
        while lock(&core).demux.allocated_bytes() > KEPT_AT_REST {
            assert!(Instant::now() < deadline, "nothing was freed");
            // Interfaces of the machine may change meanwhile.
            let woke = intake.receive(&core, Some(deadline), || true).unwrap();
            assert_ne!(woke, Woke::TimedOut);
        }
        assert!(now.elapsed() >= AT_REST);
    }
}
