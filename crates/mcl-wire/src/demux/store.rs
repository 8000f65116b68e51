//! Streams and their messages together: what begins, goes on and gives way.

use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::time::Duration;

use crate::demux::Context;
use crate::demux::arena::Key;
use crate::demux::assembly::{Assembly, Plan, Trust};
use crate::demux::counters::{DepartedCounts, Disposition, FragmentFate, MessageCounts};
use crate::demux::limits::Limits;
use crate::demux::plain::Plain;
use crate::demux::pool::{Claim, Pool, Relief};
use crate::demux::run::Run;
use crate::demux::streams::{Stream, Streams};
use crate::frame::Fragment;
use crate::header::StreamId;
use crate::topic::TopicHash;
use crate::tracker::Arrival;

/// How long spare memory is kept that nothing needs.
const SPARE_TIME: Duration = Duration::from_secs(10);

/// Why a message is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Expired,
    Stranded,
    Evicted,
    Abandoned,
}

/// What came of a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    Stored(Key),
    /// Stored, and with it the message is complete.
    Complete(Key),
    Dropped(FragmentFate),
}

impl Progress {
    fn of(key: Key, assembly: &Assembly) -> Self {
        if assembly.is_complete() {
            Self::Complete(key)
        } else {
            Self::Stored(key)
        }
    }

    pub(crate) const fn fate(self) -> FragmentFate {
        match self {
            Self::Stored(_) | Self::Complete(_) => FragmentFate::Stored,
            Self::Dropped(fate) => fate,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Store<S> {
    pub(crate) limits: Limits,
    pub(crate) streams: Streams<S>,
    pub(crate) pool: Pool,
    /// Messages of streams that have departed.
    departed_messages: MessageCounts,
    pub(crate) departed: DepartedCounts,
    pub(crate) streams_started: u64,
    /// No message expires before this, and no spares are to be freed.
    due: Duration,
    /// When spares that were not needed are freed next.
    release: Duration,
}

impl<S: BuildHasher> Store<S> {
    pub(crate) fn new(limits: Limits, hasher: S) -> Self {
        Self {
            limits,
            streams: Streams::new(hasher, limits.max_streams),
            pool: Pool::new(&limits),
            departed_messages: MessageCounts::NONE,
            departed: DepartedCounts::default(),
            streams_started: 0,
            due: Duration::MAX,
            release: Duration::ZERO,
        }
    }

    /// Counts for the stream.
    #[inline]
    pub(crate) fn tally(&mut self, stream: Key, count: impl Fn(&mut MessageCounts)) {
        if let Some(stream) = self.streams.get_mut(stream) {
            count(&mut stream.counts);
        }
    }

    /// Messages of all streams. Added up when asked for, which is more seldom than
    /// messages are.
    pub(crate) fn messages(&self) -> MessageCounts {
        let mut messages = self.departed_messages;
        for stream in self.streams.values() {
            messages += stream.counts;
        }
        messages
    }

    /// The stream `id`, which takes another's place if the table is full.
    #[inline]
    pub(crate) fn stream(&mut self, id: StreamId, now: Duration) -> Option<Key> {
        if let Some(key) = self.streams.key(id) {
            return Some(key);
        }
        self.admit(id, now)
    }

    fn admit(&mut self, id: StreamId, now: Duration) -> Option<Key> {
        if self.streams.len() >= self.limits.max_streams {
            let victim = self.streams.victim(now, self.limits.stream_idle)?;
            self.depart(victim);
        }
        let key = self.streams.insert(id, now)?;
        self.streams_started += 1;
        Some(key)
    }

    fn depart(&mut self, key: Key) {
        self.abandon(key);
        if let Some(stream) = self.streams.remove(key) {
            let departed = &mut self.departed;
            departed.streams += 1;
            departed.datagrams_missing += stream.datagrams.counts().missing;
            departed.account += stream.report().account();
            self.departed_messages += stream.counts;
        }
    }

    /// Gives up all that `stream` has under reassembly.
    fn abandon(&mut self, stream: Key) {
        while let Some(message) = self.streams.get(stream).and_then(|s| s.recent.front()) {
            self.give_up(message, End::Abandoned);
        }
    }

    /// Takes note of a datagram's sequence number.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        key: Key,
        sequence: u64,
        len: usize,
        now: Duration,
    ) -> Result<(), Disposition> {
        match self.streams.observe(key, sequence, len, now) {
            Some(Arrival::Duplicate) => Err(Disposition::Duplicate),
            Some(Arrival::Stale) => Err(Disposition::Stale),
            Some(Arrival::Jump) => Err(Disposition::Jump),
            Some(Arrival::Restarted) => {
                // What was before is over: message numbers start anew, too.
                if let Some(stream) = self.streams.get_mut(key) {
                    stream.numbers.restart();
                }
                self.abandon(key);
                Ok(())
            }
            Some(Arrival::Gap { .. }) => {
                self.note_loss(key, sequence);
                Ok(())
            }
            Some(Arrival::New | Arrival::Late | Arrival::Leap) | None => Ok(()),
        }
    }

    /// Notes that datagrams before `sequence` are missing: fragments of the
    /// message that advanced last, unless that goes on where it was.
    fn note_loss(&mut self, key: Key, sequence: u64) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        stream.gap_at = Some(sequence);
        let last = stream.last.and_then(|last| self.pool.get_mut(last));
        if let Some(assembly) = last {
            stream.note_loss(assembly, sequence);
        }
    }

    /// Whether a message of which nothing has come before the fragment with `index`, in the datagram
    /// at hand, lacks for good what precedes that.
    pub(crate) fn is_beheaded(&self, stream: Key, index: u32) -> bool {
        index > 0 && self.streams.get(stream).is_some_and(|it| it.after_loss)
    }

    /// Gives up message `key` if what precedes `fragment`, in the datagram at hand, is lost for good.
    fn give_up_cut_short(&mut self, sender: Key, key: Key, fragment: &Fragment<'_>) {
        let stream = self.streams.get(sender);
        let lost = stream.is_some_and(|it| it.after_loss && it.last == Some(key));
        let message = self.pool.get(key).filter(|_| lost);
        if message.is_some_and(|message| message.is_cut_short_by(fragment)) {
            self.give_up(key, End::Stranded);
        }
    }

    /// Gives up messages of a stream that cannot become whole any more.
    fn give_up_stranded(&mut self, key: Key) {
        while let Some(message) = self.stranded(key) {
            if !self.give_up(message, End::Stranded) {
                return;
            }
        }
    }

    fn stranded(&mut self, key: Key) -> Option<Key> {
        let stream = self.streams.get_mut(key)?;
        let highest = stream.datagrams.highest();
        if highest < stream.look_at {
            return None;
        }
        let (stranded, look_at) = self.pool.stranded(stream, highest);
        stream.look_at = look_at;
        stranded
    }

    /// Takes note of a message number that the datagram `sequence` says.
    pub(crate) fn number(&mut self, stream: Key, number: u64, sequence: u64) -> Arrival {
        self.streams
            .get_mut(stream)
            .map_or(Arrival::Duplicate, |stream| {
                stream.numbers.observe_from(number, sequence)
            })
    }

    /// Whether the message number that was observed last will be a duplicate.
    #[inline]
    pub(crate) fn remembers(&self, stream: Key, number: u64) -> bool {
        let stream = self.streams.get(stream);
        stream.is_some_and(|stream| stream.numbers.remembers(number))
    }

    #[inline]
    pub(crate) fn pending(&self, stream: Key, number: u64) -> Option<Key> {
        self.streams.get(stream)?.find(number)
    }

    /// The message that advanced last, if `plain` is the next datagram of its stream and brings the next
    /// fragment of it, for which there is room.
    #[inline]
    pub(crate) fn continued(&self, stream: Key, plain: &Plain<'_>) -> Option<Key> {
        let stream = self.streams.get(stream)?;
        let last = stream.last?;
        let continued = stream.datagrams.is_next(plain.sequence)
            && self.pool.get(last)?.has_room_for_next(&plain.fragment);
        continued.then_some(last)
    }

    fn is_proven(&self, stream: Key) -> bool {
        self.streams.get(stream).is_some_and(|s| s.proven)
    }

    pub(crate) fn trust(&self, stream: Key) -> Trust {
        self.streams.get(stream).map_or(Trust::NONE, Stream::trust)
    }

    /// Begins the reassembly of a message with the first fragment seen of it.
    pub(crate) fn begin(&mut self, stream: Key, first: &Fragment<'_>, now: Duration) -> Progress {
        self.give_up_stranded(stream);
        let mut assembly = Assembly::new(stream, first, now);
        if self.is_proven(stream) {
            self.pool.lend_spares(&mut assembly);
        }
        let plan = assembly.plan(first, self.trust(stream));
        let need = assembly.cost() + assembly.cost_of(plan, first);
        let claim = Claim {
            message: None,
            need,
        };
        if !self.make_room(stream, &claim) || !self.make_place(stream) || !assembly.grow(plan) {
            self.keep(assembly);
            return Progress::Dropped(FragmentFate::NoRoom);
        }
        assembly.store(plan, first, now);
        self.wait_from(now);
        let sender = self.streams.get_mut(stream);
        let key = sender.and_then(|sender| {
            if sender.gap_at == Some(sender.datagrams.highest()) && first.index > 0 {
                sender.note_loss(&mut assembly, sender.datagrams.highest());
            }
            self.pool.insert(assembly, sender)
        });
        self.streams.settle(stream);
        let began = key.and_then(|key| Some(Progress::of(key, self.pool.get(key)?)));
        began.unwrap_or(Progress::Dropped(FragmentFate::NoRoom))
    }

    /// Takes a fragment into message `key`, which `sender` has under reassembly.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        sender: Key,
        key: Key,
        fragment: &Fragment<'_>,
        now: Duration,
    ) -> Progress {
        let (Some(stream), Some(assembly)) = (self.streams.get_mut(sender), self.pool.get_mut(key))
        else {
            return Progress::Dropped(FragmentFate::OfFinished);
        };
        let plan = assembly.plan(fragment, stream.trust());
        if plan != Plan::Write || assembly.has_stash() || assembly.has_gap() || stream.after_loss {
            return self.advance_by(sender, key, plan, fragment, now);
        }
        // Nothing is allocated and nothing freed: by far the most frequent case.
        assembly.store(plan, fragment, now);
        let progress = Progress::of(key, assembly);
        stream.advanced(fragment.number, key);
        self.pool.touch(key, stream);
        self.wait_from(now);
        progress
    }

    fn advance_by(
        &mut self,
        sender: Key,
        key: Key,
        plan: Plan,
        fragment: &Fragment<'_>,
        now: Duration,
    ) -> Progress {
        if plan != Plan::Contradicting {
            self.give_up_cut_short(sender, key, fragment);
        }
        self.give_up_stranded(sender);
        let need = match plan {
            _ if self.pool.get(key).is_none() => {
                return Progress::Dropped(FragmentFate::OfFinished);
            }
            Plan::Duplicate => return Progress::Dropped(FragmentFate::Duplicate),
            Plan::Contradicting => return Progress::Dropped(FragmentFate::Contradicting),
            Plan::Write | Plan::Grow { .. } | Plan::Stash => {
                let assembly = self.pool.get(key);
                assembly.map_or(0, |assembly| assembly.cost_of(plan, fragment))
            }
        };
        let claim = Claim {
            message: Some(key),
            need,
        };
        if need > 0 && !self.make_room(sender, &claim) {
            return Progress::Dropped(FragmentFate::NoRoom);
        }
        self.take_in(sender, key, plan, fragment, now)
    }

    fn take_in(
        &mut self,
        sender: Key,
        key: Key,
        plan: Plan,
        fragment: &Fragment<'_>,
        now: Duration,
    ) -> Progress {
        let (Some(stream), Some(assembly)) = (self.streams.get_mut(sender), self.pool.get_mut(key))
        else {
            return Progress::Dropped(FragmentFate::NoRoom);
        };
        let grown = assembly.grow(plan);
        if grown {
            assembly.store(plan, fragment, now);
        }
        let progress = Progress::of(key, assembly);
        self.pool.recharge(key, stream);
        if !grown {
            return Progress::Dropped(FragmentFate::NoRoom);
        }
        stream.advanced(fragment.number, key);
        self.pool.touch(key, stream);
        self.wait_from(now);
        progress
    }

    /// Takes in a run of fragments of message `key`, which [it has room for](Assembly::room_for_run), in
    /// datagrams the last of which is `at`, as `take` does.
    #[inline]
    pub(crate) fn take_run(
        &mut self,
        key: Key,
        at: &Context,
        run: &Run,
        take: impl FnOnce(&mut Assembly),
    ) -> Progress {
        self.streams.observe_run(at.stream, run, at.now);
        let (Some(stream), Some(assembly)) =
            (self.streams.get_mut(at.stream), self.pool.get_mut(key))
        else {
            return Progress::Stored(key);
        };
        take(assembly);
        let progress = Progress::of(key, assembly);
        stream.advanced(assembly.number, key);
        self.pool.touch(key, stream);
        self.wait_from(at.now);
        progress
    }

    /// Takes note of a run of fragments, in datagrams the last of which is `at`, that meet the fate of the
    /// one before them, which was dropped.
    pub(crate) fn drop_run(&mut self, at: &Context, run: &Run) {
        self.streams.observe_run(at.stream, run, at.now);
        if let Some(stream) = self.streams.get_mut(at.stream) {
            stream.numbers.repeat(run.count as u64);
        }
    }

    /// Takes out a message all of which has arrived.
    pub(crate) fn complete(&mut self, stream: Key, key: Key) -> Option<(TopicHash, Vec<u8>)> {
        let sender = self.streams.get_mut(stream)?;
        let assembly = self.pool.remove(key, sender)?;
        sender.longest = sender.longest.max(assembly.total());
        self.streams.settle(stream);
        let hash = assembly.topic_hash;
        let (buffer, bitmap) = assembly.into_parts();
        self.keep_spares(Vec::new(), bitmap);
        Some((hash, buffer))
    }

    /// Notes that the stream has completed a message.
    #[inline]
    pub(crate) fn prove(&mut self, key: Key, now: Duration) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if !stream.proven {
            self.pool.prove(stream, now);
            self.streams.settle(key);
            self.wait_from(now);
        }
    }

    /// Makes room for bytes, or does nothing if that cannot be.
    fn make_room(&mut self, key: Key, claim: &Claim) -> bool {
        let possible = self
            .streams
            .get(key)
            .is_some_and(|stream| self.pool.can_meet(stream, claim, &self.limits));
        possible
            && self.relieve(key, |pool, stream, limits| {
                pool.relief(stream, claim, limits)
            })
    }

    /// Makes room for one more message.
    fn make_place(&mut self, key: Key) -> bool {
        let claim = Claim {
            message: None,
            need: 0,
        };
        self.relieve(key, |pool, stream, limits| {
            pool.place_relief(stream, &claim, limits)
        })
    }

    fn relieve(&mut self, key: Key, next: impl Fn(&Pool, &Stream, &Limits) -> Relief) -> bool {
        loop {
            let Some(stream) = self.streams.get(key) else {
                return false;
            };
            let freed = match next(&self.pool, stream, &self.limits) {
                Relief::None => return true,
                Relief::Spare => self.pool.drop_spare(),
                Relief::Message(message) => self.give_up(message, End::Evicted),
                Relief::Hopeless => false,
            };
            if !freed {
                return false;
            }
        }
    }

    fn give_up(&mut self, message: Key, end: End) -> bool {
        let Some(key) = self.pool.get(message).map(|assembly| assembly.stream) else {
            return false;
        };
        let Some(stream) = self.streams.get_mut(key) else {
            return false;
        };
        let proven = stream.proven;
        let removed = self.pool.remove(message, stream);
        self.streams.settle(key);
        self.tally(key, |counts| match end {
            End::Expired => counts.expired += 1,
            End::Stranded => counts.stranded += 1,
            End::Evicted => counts.evicted += 1,
            End::Abandoned => counts.abandoned += 1,
        });
        let Some(assembly) = removed else {
            return false;
        };
        // There is a next message which it made room for.
        if proven && matches!(end, End::Stranded | End::Evicted) {
            self.keep(assembly);
        }
        true
    }

    fn keep(&mut self, assembly: Assembly) {
        let (buffer, bitmap) = assembly.into_parts();
        self.keep_spares(buffer, bitmap);
    }

    /// Notes that a message has advanced at `now`, and expires no later than
    /// when that is too long ago.
    #[inline]
    fn wait_from(&mut self, now: Duration) {
        self.due = self.due.min(now.saturating_add(self.limits.expiry));
    }

    /// Gives up what has been at rest for too long.
    #[inline]
    pub(crate) fn expire(&mut self, now: Duration) {
        if now >= self.due {
            self.expire_due(now);
        }
    }

    fn expire_due(&mut self, now: Duration) {
        while let Some(message) = self.pool.expired(now, self.limits.expiry) {
            if !self.give_up(message, End::Expired) {
                return;
            }
        }
        let next = self.pool.next_expiry(self.limits.expiry);
        self.due = next.unwrap_or(Duration::MAX);
        if now >= self.release {
            self.pool.release_spares();
            self.release = now.saturating_add(SPARE_TIME);
        }
        if self.pool.has_spares() {
            self.due = self.due.min(self.release);
        }
    }

    /// Keeps memory for the next messages, within the budget.
    pub(crate) fn keep_spares(&mut self, buffer: Vec<u8>, bitmap: Vec<u64>) {
        self.pool.keep_spares(buffer, bitmap, &self.limits);
        self.due = self.due.min(self.release);
    }
}
