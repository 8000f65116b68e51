//! Streams and their messages together: what begins, goes on and gives way.

use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::time::Duration;

use crate::demux::arena::Key;
use crate::demux::assembly::{Assembly, Plan, Trust};
use crate::demux::counters::{DepartedCounts, Disposition, FragmentFate, MessageCounts};
use crate::demux::limits::Limits;
use crate::demux::pool::{Claim, Pool, Relief};
use crate::demux::streams::{Stream, Streams};
use crate::frame::Fragment;
use crate::header::StreamId;
use crate::topic::TopicHash;
use crate::tracker::Arrival;

/// How far beyond twice the bytes received a buffer may reach: a train, or far
/// less for a stream that has yet to show that it completes anything.
const PROVEN_SLACK: usize = 64 << 10;
const UNPROVEN_SLACK: usize = 8 << 10;

/// Why a message is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Expired,
    Evicted,
    Abandoned,
}

#[derive(Debug)]
pub(crate) struct Store<S> {
    pub(crate) limits: Limits,
    pub(crate) streams: Streams<S>,
    pub(crate) pool: Pool,
    pub(crate) totals: MessageCounts,
    pub(crate) departed: DepartedCounts,
    pub(crate) streams_started: u64,
}

impl<S: BuildHasher> Store<S> {
    pub(crate) fn new(limits: Limits, hasher: S) -> Self {
        Self {
            limits,
            streams: Streams::new(hasher),
            pool: Pool::new(&limits),
            totals: MessageCounts::default(),
            departed: DepartedCounts::default(),
            streams_started: 0,
        }
    }

    /// Counts for the stream and for all together.
    pub(crate) fn tally(&mut self, stream: Key, count: impl Fn(&mut MessageCounts)) {
        count(&mut self.totals);
        if let Some(stream) = self.streams.get_mut(stream) {
            count(&mut stream.counts);
        }
    }

    /// The stream `id`, which takes another's place if the table is full.
    pub(crate) fn stream(&mut self, id: StreamId, now: Duration) -> Option<Key> {
        if let Some(key) = self.streams.key(id) {
            return Some(key);
        }
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
            departed.messages_missing += stream.numbers.counts().missing;
        }
    }

    /// Gives up all that `stream` has under reassembly.
    fn abandon(&mut self, stream: Key) {
        while let Some(message) = self.streams.get(stream).and_then(|s| s.recent.front()) {
            self.give_up(message, End::Abandoned);
        }
    }

    /// Takes note of a datagram's sequence number.
    pub(crate) fn observe(
        &mut self,
        key: Key,
        sequence: u64,
        now: Duration,
    ) -> Result<(), Disposition> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Ok(());
        };
        match stream.datagrams.observe(sequence) {
            Arrival::Duplicate => return Err(Disposition::Duplicate),
            Arrival::Stale => return Err(Disposition::Stale),
            Arrival::Jump => return Err(Disposition::Jump),
            Arrival::Restarted => {
                // What was before is over: message numbers start anew, too.
                stream.numbers.restart();
                self.abandon(key);
            }
            Arrival::New | Arrival::Gap { .. } | Arrival::Late => {}
        }
        self.streams.heard(key, now);
        Ok(())
    }

    /// Takes note of a message number.
    pub(crate) fn number(&mut self, stream: Key, number: u64) -> Arrival {
        self.streams
            .get_mut(stream)
            .map_or(Arrival::Duplicate, |stream| stream.numbers.observe(number))
    }

    pub(crate) fn pending(&self, stream: Key, number: u64) -> Option<Key> {
        self.streams.get(stream)?.find(number)
    }

    fn is_proven(&self, stream: Key) -> bool {
        self.streams.get(stream).is_some_and(|s| s.proven)
    }

    fn trust(&self, stream: Key) -> Trust {
        match self.streams.get(stream).filter(|stream| stream.proven) {
            Some(stream) => Trust {
                slack: PROVEN_SLACK,
                credit: stream.longest.saturating_mul(2),
            },
            None => Trust {
                slack: UNPROVEN_SLACK,
                credit: 0,
            },
        }
    }

    /// Begins the reassembly of a message with the first fragment seen of it;
    /// `false` if there is no room.
    pub(crate) fn begin(&mut self, stream: Key, first: &Fragment<'_>, now: Duration) -> bool {
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
            return false;
        }
        assembly.store(plan, first, now);
        if let Some(stream) = self.streams.get_mut(stream) {
            self.pool.insert(assembly, stream);
        }
        self.streams.settle(stream);
        true
    }

    /// Takes a fragment into a message under reassembly.
    pub(crate) fn advance(
        &mut self,
        key: Key,
        fragment: &Fragment<'_>,
        now: Duration,
    ) -> FragmentFate {
        let Some(assembly) = self.pool.get(key) else {
            return FragmentFate::OfFinished;
        };
        let stream = assembly.stream;
        let plan = assembly.plan(fragment, self.trust(stream));
        let need = assembly.cost_of(plan, fragment);
        match plan {
            Plan::Duplicate => return FragmentFate::Duplicate,
            Plan::Contradicting => return FragmentFate::Contradicting,
            Plan::Write | Plan::Grow { .. } | Plan::Stash => {}
        }
        let claim = Claim {
            message: Some(key),
            need,
        };
        if need > 0 && !self.make_room(stream, &claim) {
            return FragmentFate::NoRoom;
        }
        self.take_in(key, plan, fragment, now)
    }

    fn take_in(
        &mut self,
        key: Key,
        plan: Plan,
        fragment: &Fragment<'_>,
        now: Duration,
    ) -> FragmentFate {
        let Some(assembly) = self.pool.get_mut(key) else {
            return FragmentFate::NoRoom;
        };
        let grown = assembly.grow(plan);
        if grown {
            assembly.store(plan, fragment, now);
        }
        let stream = assembly.stream;
        let changed = assembly.cost() != assembly.charged;
        if let Some(stream) = self.streams.get_mut(stream) {
            if changed {
                self.pool.recharge(key, stream);
            }
            if grown {
                self.pool.touch(key, stream);
            }
        }
        if grown {
            FragmentFate::Stored
        } else {
            FragmentFate::NoRoom
        }
    }

    /// Takes out message `number` if all of it has arrived.
    pub(crate) fn complete(&mut self, stream: Key, number: u64) -> Option<(TopicHash, Vec<u8>)> {
        let key = self.pending(stream, number)?;
        if !self.pool.get(key)?.is_complete() {
            return None;
        }
        let sender = self.streams.get_mut(stream)?;
        let assembly = self.pool.remove(key, sender)?;
        sender.longest = sender.longest.max(assembly.total());
        self.streams.settle(stream);
        let hash = assembly.topic_hash;
        let (buffer, bitmap) = assembly.into_parts();
        self.pool.keep_spares(Vec::new(), bitmap, &self.limits);
        Some((hash, buffer))
    }

    /// Notes that the stream has completed a message.
    pub(crate) fn prove(&mut self, key: Key, now: Duration) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        if !stream.proven {
            self.pool.prove(stream, now);
            self.streams.settle(key);
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
        let removed = self.pool.remove(message, stream).is_some();
        self.streams.settle(key);
        self.tally(key, |counts| match end {
            End::Expired => counts.expired += 1,
            End::Evicted => counts.evicted += 1,
            End::Abandoned => counts.abandoned += 1,
        });
        removed
    }

    fn keep(&mut self, assembly: Assembly) {
        let (buffer, bitmap) = assembly.into_parts();
        self.pool.keep_spares(buffer, bitmap, &self.limits);
    }

    /// Gives up what has been at rest for too long.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(message) = self.pool.expired(now, self.limits.expiry) {
            if !self.give_up(message, End::Expired) {
                return;
            }
        }
    }
}
