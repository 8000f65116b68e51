//! The table of streams.

use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::mem;
use core::time::Duration;

use hashbrown::HashMap;

use crate::demux::arena::{Arena, Key, List};
use crate::demux::assembly::{Assembly, Trust};
use crate::demux::counters::{MessageCounts, StreamReport};
use crate::demux::fetch::fetch;
use crate::demux::run::Run;
use crate::header::StreamId;
use crate::tracker::{Arrival, SequenceTracker};

/// How many sequence numbers are looked back upon.
pub(crate) const WINDOW: u64 = SequenceTracker::<16>::WINDOW;

/// Words of the bitmap of message numbers: 4096 numbers, because a train of
/// coalesced datagrams holds thousands of messages.
const NUMBER_WORDS: usize = 64;

/// Which streams give way first when the table is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// Unproven, nothing under reassembly.
    Idle,
    /// Unproven, something under reassembly.
    Busy,
    /// Has completed a message, when enough others had.
    Guest,
    /// Has completed a message, and keeps its place while it is heard.
    Settled,
}

/// How many of so many places are for settled streams. The rest is for those that
/// are new: whoever takes every place, and that costs a datagram each, must not
/// keep others out.
const fn places_to_settle(max_streams: usize) -> usize {
    max_streams.saturating_sub(max_streams / 4)
}

/// What a fragment needs comes first, in two lines of a cache and a word (but for the mark of a stream
/// that is there, for which the compiler finds a place).
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Stream {
    heard: Duration,
    /// The message under reassembly that advanced last, if it still is.
    last_number: u64,
    pub(crate) last: Option<Key>,
    /// Messages under reassembly, least recently advanced first.
    pub(crate) recent: List,
    /// Bytes charged for them.
    pub(crate) bytes: usize,
    /// Bytes of its datagrams.
    datagram_bytes: u64,
    pub(crate) id: StreamId,
    pub(crate) proven: bool,
    class: Class,
    /// Whether those right before the last datagram are missing for good.
    pub(crate) after_loss: bool,
    /// How often the receiver had lost datagrams when the stream was last heard.
    overflows: u32,
    pub(crate) datagrams: SequenceTracker,
    pub(crate) numbers: SequenceTracker<NUMBER_WORDS>,
    pub(crate) counts: MessageCounts,
    /// Messages under reassembly, ordered by number.
    pub(crate) pending: Vec<(u64, Key)>,
    /// Bytes of the longest message put together so far.
    pub(crate) longest: usize,
    /// The last sequence number that came before its predecessor.
    pub(crate) gap_at: Option<u64>,
    /// With which sequence number to look for messages that cannot become whole.
    pub(crate) look_at: u64,
}

impl Stream {
    const fn new(id: StreamId, now: Duration) -> Self {
        Self {
            heard: now,
            last_number: 0,
            last: None,
            recent: List::new(),
            bytes: 0,
            datagram_bytes: 0,
            id,
            proven: false,
            class: Class::Idle,
            after_loss: false,
            overflows: 0,
            datagrams: SequenceTracker::new(),
            numbers: SequenceTracker::new(),
            counts: MessageCounts::NONE,
            pending: Vec::new(),
            longest: 0,
            gap_at: None,
            look_at: u64::MAX,
        }
    }

    /// Notes that `assembly`, a message of this stream, has lost fragments before the
    /// datagram with `sequence`.
    pub(crate) fn note_loss(&mut self, assembly: &mut Assembly, sequence: u64) {
        assembly.note_loss(sequence);
        // It may turn out that the loss was in the middle of it.
        self.look_at = self.look_at.min(sequence.saturating_add(WINDOW));
    }

    #[inline]
    pub(crate) fn find(&self, number: u64) -> Option<Key> {
        if number == self.last_number && self.last.is_some() {
            return self.last;
        }
        let at = self.position(number).ok()?;
        self.pending.get(at).map(|(_, key)| *key)
    }

    /// Notes which message has advanced: mostly it is the next to be looked for.
    #[inline]
    pub(crate) const fn advanced(&mut self, number: u64, key: Key) {
        self.last_number = number;
        self.last = Some(key);
    }

    #[inline]
    fn position(&self, number: u64) -> Result<usize, usize> {
        self.pending
            .binary_search_by_key(&number, |(number, _)| *number)
    }

    pub(crate) fn add(&mut self, number: u64, key: Key) {
        if let Err(at) = self.position(number) {
            self.pending.insert(at, (number, key));
        }
        self.advanced(number, key);
    }

    pub(crate) fn forget(&mut self, number: u64) {
        if let Ok(at) = self.position(number) {
            self.pending.remove(at);
        }
        if number == self.last_number {
            self.last = None;
        }
    }

    #[inline]
    pub(crate) const fn trust(&self) -> Trust {
        if self.proven {
            Trust::proven(self.longest)
        } else {
            Trust::NONE
        }
    }

    const fn class_now(&self, may_settle: bool) -> Class {
        match (self.proven, self.pending.is_empty()) {
            (true, _) if may_settle || matches!(self.class, Class::Settled) => Class::Settled,
            (true, _) => Class::Guest,
            (false, true) => Class::Idle,
            (false, false) => Class::Busy,
        }
    }

    pub(crate) const fn report(&self) -> StreamReport {
        StreamReport {
            id: self.id,
            datagrams: self.datagrams.counts(),
            datagram_bytes: self.datagram_bytes,
            numbers: self.numbers.counts(),
            messages: self.counts,
            pending: self.pending.len(),
            bytes: self.bytes,
            proven: self.proven,
        }
    }
}

#[derive(Debug)]
struct Lists {
    idle: List,
    busy: List,
    guest: List,
    settled: List,
}

impl Lists {
    const fn of(&mut self, class: Class) -> &mut List {
        match class {
            Class::Idle => &mut self.idle,
            Class::Busy => &mut self.busy,
            Class::Guest => &mut self.guest,
            Class::Settled => &mut self.settled,
        }
    }
}

/// All streams, by id, and by who was heard least recently.
#[derive(Debug)]
pub(crate) struct Streams<S> {
    keys: HashMap<StreamId, Key, S>,
    arena: Arena<Stream, 1>,
    lists: Lists,
    /// How many are settled, and how many may be.
    settled: usize,
    max_settled: usize,
    recent: Recent,
    /// How often the receiver lost datagrams.
    overflows: u32,
}

/// Keys found lately, by the low bits of the stream's id: a look there costs less
/// than a hash that an enemy cannot foresee. One who makes ids collide here gains
/// that the hash is computed.
///
/// Whether it is the right stream tells the stream: what is here stays small, and that is read next anyway.
#[derive(Debug)]
struct Recent {
    /// A power of two, eight times as many as streams or more: of nine streams one shares its place.
    places: Vec<Key>,
}

impl Recent {
    const MAX_PLACES: usize = 8192;

    #[inline]
    fn place(&self, id: StreamId) -> Option<usize> {
        let mask = self.places.len().wrapping_sub(1) as u64;
        usize::try_from(id.0 & mask).ok()
    }

    #[inline]
    fn get(&self, id: StreamId) -> Option<Key> {
        self.places.get(self.place(id)?)?.some()
    }

    fn put(&mut self, id: StreamId, key: Key) {
        let place = self.place(id);
        if let Some(place) = place.and_then(|at| self.places.get_mut(at)) {
            *place = key;
        }
    }

    /// Has room for so many streams, if that is not too many.
    fn fit(&mut self, streams: usize) {
        let places = streams.saturating_mul(8).next_power_of_two();
        let places = places.min(Self::MAX_PLACES);
        if places > self.places.len() {
            self.places.clear();
            self.places.resize(places, Key::NIL);
        }
    }
}

impl<S: BuildHasher> Streams<S> {
    pub(crate) const fn new(hasher: S, max_streams: usize) -> Self {
        Self {
            keys: HashMap::with_hasher(hasher),
            arena: Arena::new(),
            lists: Lists {
                idle: List::new(),
                busy: List::new(),
                guest: List::new(),
                settled: List::new(),
            },
            settled: 0,
            max_settled: places_to_settle(max_streams),
            recent: Recent { places: Vec::new() },
            overflows: 0,
        }
    }

    /// Notes that the receiver has lost datagrams: what a stream lacks until it is heard again
    /// will not come late.
    pub(crate) const fn overflow(&mut self) {
        self.overflows = self.overflows.wrapping_add(1);
    }

    pub(crate) const fn len(&self) -> usize {
        self.arena.len()
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&Stream> {
        self.arena.get(key)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        self.arena.get_mut(key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Stream> {
        self.arena.values()
    }

    pub(crate) fn by_id(&self, id: StreamId) -> Option<&Stream> {
        self.get(*self.keys.get(&id)?)
    }

    /// The key of stream `id`.
    #[inline]
    pub(crate) fn key(&mut self, id: StreamId) -> Option<Key> {
        let found = self.recent.get(id);
        found
            .filter(|key| self.get(*key).is_some_and(|stream| stream.id == id))
            .or_else(|| self.look_up(id))
    }

    /// Has the processor fetch what `sequence` of stream `id` needs, if that was found lately; the key may be that of
    /// another.
    #[inline]
    pub(crate) fn prefetch(&self, id: StreamId, sequence: u64) -> Option<Key> {
        let key = self.recent.get(id)?;
        let stream = self.get(key)?;
        fetch(stream);
        fetch(&stream.datagrams);
        fetch(stream.datagrams.place_of(sequence)?);
        Some(key)
    }

    fn look_up(&mut self, id: StreamId) -> Option<Key> {
        let key = *self.keys.get(&id)?;
        self.recent.put(id, key);
        Some(key)
    }

    pub(crate) fn insert(&mut self, id: StreamId, now: Duration) -> Option<Key> {
        let stream = Stream {
            overflows: self.overflows,
            ..Stream::new(id, now)
        };
        let key = self.arena.insert(stream)?;
        self.arena.push_back(0, &mut self.lists.idle, key);
        self.keys.insert(id, key);
        self.recent.fit(self.arena.len());
        self.recent.put(id, key);
        Some(key)
    }

    /// Which stream gives way to a new one: those that have not completed a
    /// message, first without and then with something under reassembly; then
    /// those that are settled, if silent for `idle`; then guests; of each the least
    /// recently heard.
    pub(crate) fn victim(&self, now: Duration, idle: Duration) -> Option<Key> {
        let silent = |key: &Key| {
            self.get(*key)
                .is_some_and(|stream| now.saturating_sub(stream.heard) >= idle)
        };
        let unproven = self.lists.idle.front().or(self.lists.busy.front());
        unproven
            .or_else(|| self.lists.settled.front().filter(silent))
            .or_else(|| self.lists.guest.front())
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Stream> {
        let stream = self.arena.get(key)?;
        let (id, class) = (stream.id, stream.class);
        self.arena.unlink(0, self.lists.of(class), key);
        self.settled = self
            .settled
            .saturating_sub(usize::from(class == Class::Settled));
        self.keys.remove(&id);
        self.arena.remove(key)
    }

    /// Takes note of the sequence number of a datagram of `len` bytes, which if it is
    /// new has the stream heard.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        key: Key,
        sequence: u64,
        len: usize,
        now: Duration,
    ) -> Option<Arrival> {
        let stream = self.arena.get_mut(key)?;
        let arrival = stream.datagrams.observe(sequence);
        if arrival.is_new() {
            let before = mem::replace(&mut stream.overflows, self.overflows);
            stream.after_loss =
                before != self.overflows && matches!(arrival, Arrival::Gap { .. } | Arrival::Leap);
            stream.heard = now;
            stream.datagram_bytes += len as u64;
            let class = stream.class;
            self.touch(key, class);
        }
        Some(arrival)
    }

    /// The same for the datagrams of a run, the first of which is next in the sequence.
    pub(crate) fn observe_run(&mut self, key: Key, run: &Run, now: Duration) {
        if let Some(stream) = self.arena.get_mut(key) {
            stream.datagrams.go_on(run.count as u64);
            stream.overflows = self.overflows;
            stream.after_loss = false;
            stream.heard = now;
            stream.datagram_bytes += run.bytes as u64;
            let class = stream.class;
            self.touch(key, class);
        }
    }

    /// Puts the stream behind all others of its class, and lets it settle if there is a place.
    #[inline(always)]
    fn touch(&mut self, key: Key, class: Class) {
        self.arena.touch(0, self.lists.of(class), key);
        if class == Class::Guest && self.may_settle() {
            self.keep(key);
        }
    }

    /// Puts the stream on the list where it belongs by now.
    pub(crate) fn settle(&mut self, key: Key) {
        // Guests that are heard again come before those that are new.
        let may_settle = self.may_settle() && self.lists.guest.front().is_none();
        let Some(stream) = self.arena.get_mut(key) else {
            return;
        };
        let (before, after) = (stream.class, stream.class_now(may_settle));
        if before == after {
            return;
        }
        self.settled = self
            .settled
            .saturating_add(usize::from(after == Class::Settled));
        stream.class = after;
        self.arena.unlink(0, self.lists.of(before), key);
        self.arena.push_back(0, self.lists.of(after), key);
    }

    const fn may_settle(&self) -> bool {
        self.settled < self.max_settled
    }

    /// Lets a guest keep its place.
    #[cold]
    fn keep(&mut self, key: Key) {
        if let Some(stream) = self.arena.get_mut(key) {
            stream.class = Class::Settled;
            self.settled = self.settled.saturating_add(1);
            self.arena.unlink(0, &mut self.lists.guest, key);
            self.arena.push_back(0, &mut self.lists.settled, key);
        }
    }
}
