//! All messages under reassembly, and what they cost.

use alloc::vec::Vec;
use core::time::Duration;

use crate::demux::arena::{Arena, Key, List};
use crate::demux::assembly::Assembly;
use crate::demux::limits::Limits;
use crate::demux::spares::Spares;
use crate::demux::streams::Stream;

/// Every message is on two lists, least recently advanced first: that of all
/// proven or all unproven streams, and that of its own stream.
const BY_ALL: usize = 0;
const BY_STREAM: usize = 1;

#[derive(Debug)]
struct Lists {
    unproven: List,
    proven: List,
}

impl Lists {
    #[inline]
    const fn of(&mut self, proven: bool) -> &mut List {
        if proven {
            &mut self.proven
        } else {
            &mut self.unproven
        }
    }
}

/// Someone who wants `need` more bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// The message that wants them, if it is in the pool; it does not give way.
    pub(crate) message: Option<Key>,
    pub(crate) need: usize,
}

/// What must give way next so that a claim can be met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relief {
    /// Nothing: there is room.
    None,
    /// A spare buffer.
    Spare,
    /// This message.
    Message(Key),
    /// Nothing that may give way is left.
    Hopeless,
}

impl Relief {
    fn message(key: Option<Key>) -> Self {
        key.map_or(Self::Hopeless, Self::Message)
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    messages: Arena<Assembly, 2>,
    lists: Lists,
    charged: usize,
    unproven: usize,
    spares: Spares,
}

impl Pool {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self {
            messages: Arena::new(),
            lists: Lists {
                unproven: List::new(),
                proven: List::new(),
            },
            charged: 0,
            unproven: 0,
            spares: Spares::new(limits.max_bytes / 2),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.messages.len()
    }

    /// Bytes allocated for messages and spares.
    pub(crate) const fn used(&self) -> usize {
        self.charged.saturating_add(self.spares.bytes())
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&Assembly> {
        self.messages.get(key)
    }

    /// Has the processor fetch what is known of a message.
    #[inline]
    pub(crate) fn prefetch(&self, key: Key) {
        if let Some(message) = self.get(key) {
            message.prefetch();
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Assembly> {
        self.messages.get_mut(key)
    }

    /// Takes in a message of `stream` and charges for it.
    pub(crate) fn insert(&mut self, assembly: Assembly, stream: &mut Stream) -> Option<Key> {
        let number = assembly.number;
        let key = self.messages.insert(assembly)?;
        let list = self.lists.of(stream.proven);
        self.messages.push_back(BY_ALL, list, key);
        self.messages.push_back(BY_STREAM, &mut stream.recent, key);
        stream.add(number, key);
        self.recharge(key, stream);
        Some(key)
    }

    /// Takes a message of `stream` out, and its charge off.
    pub(crate) fn remove(&mut self, key: Key, stream: &mut Stream) -> Option<Assembly> {
        let number = self.messages.get(key)?.number;
        self.charge(key, stream, 0);
        let list = self.lists.of(stream.proven);
        self.messages.unlink(BY_ALL, list, key);
        self.messages.unlink(BY_STREAM, &mut stream.recent, key);
        stream.forget(number);
        self.messages.remove(key)
    }

    /// Brings the charge of a message up to date with what it has allocated.
    pub(crate) fn recharge(&mut self, key: Key, stream: &mut Stream) {
        let cost = self.messages.get(key).map_or(0, Assembly::cost);
        self.charge(key, stream, cost);
    }

    fn charge(&mut self, key: Key, stream: &mut Stream, cost: usize) {
        let Some(assembly) = self.messages.get_mut(key) else {
            return;
        };
        let before = core::mem::replace(&mut assembly.charged, cost);
        adjust(&mut self.charged, before, cost);
        adjust(&mut stream.bytes, before, cost);
        if !stream.proven {
            adjust(&mut self.unproven, before, cost);
        }
    }

    /// Notes that a message of `stream` has advanced.
    #[inline]
    pub(crate) fn touch(&mut self, key: Key, stream: &mut Stream) {
        let list = self.lists.of(stream.proven);
        self.messages.touch(BY_ALL, list, key);
        self.messages.touch(BY_STREAM, &mut stream.recent, key);
    }

    /// Makes `stream` proven. Its pending messages count as advanced by that,
    /// which keeps the list in order of time without a search.
    pub(crate) fn prove(&mut self, stream: &mut Stream, now: Duration) {
        stream.proven = true;
        self.unproven = self.unproven.saturating_sub(stream.bytes);
        let mut next = stream.recent.front();
        while let Some(key) = next {
            next = self.messages.next(BY_STREAM, key);
            self.messages.unlink(BY_ALL, &mut self.lists.unproven, key);
            self.messages.push_back(BY_ALL, &mut self.lists.proven, key);
            if let Some(assembly) = self.messages.get_mut(key) {
                assembly.advanced = now;
            }
        }
    }

    /// The least recently advanced of both kinds.
    #[inline]
    fn fronts(&self) -> impl Iterator<Item = (Key, &Assembly)> {
        let fronts = [self.lists.unproven.front(), self.lists.proven.front()];
        fronts
            .into_iter()
            .flatten()
            .filter_map(|key| Some((key, self.get(key)?)))
    }

    /// When the next message would expire, if it is at rest for `expiry`.
    pub(crate) fn next_expiry(&self, expiry: Duration) -> Option<Duration> {
        self.fronts()
            .map(|(_, assembly)| assembly.advanced.saturating_add(expiry))
            .min()
    }

    /// A message that has been at rest for `expiry`.
    #[inline]
    pub(crate) fn expired(&self, now: Duration, expiry: Duration) -> Option<Key> {
        self.fronts()
            .find(|(_, assembly)| now.saturating_sub(assembly.advanced) >= expiry)
            .map(|(key, _)| key)
    }

    /// A message of `stream`, which is at `highest`, that cannot become whole any
    /// more, if there is one, and the sequence number with which to look again.
    pub(crate) fn stranded(&mut self, stream: &Stream, highest: u64) -> (Option<Key>, u64) {
        let (mut next, mut again) = (stream.recent.front(), u64::MAX);
        while let Some(key) = next {
            next = self.messages.next(BY_STREAM, key);
            let message = self.messages.get_mut(key);
            match message.and_then(|message| message.stranded_at(highest)) {
                Some(at) if highest >= at => return (Some(key), highest),
                at => again = again.min(at.unwrap_or(u64::MAX)),
            }
        }
        (None, again)
    }

    fn oldest_unproven(&self, claim: &Claim) -> Option<Key> {
        self.oldest(BY_ALL, &self.lists.unproven, claim)
    }

    fn oldest_proven(&self, claim: &Claim) -> Option<Key> {
        self.oldest(BY_ALL, &self.lists.proven, claim)
    }

    fn oldest_of(&self, stream: &Stream, claim: &Claim) -> Option<Key> {
        self.oldest(BY_STREAM, &stream.recent, claim)
    }

    /// The first on the list that is not the one for whose sake it is.
    fn oldest(&self, which: usize, list: &List, claim: &Claim) -> Option<Key> {
        let front = list.front()?;
        if claim.message == Some(front) {
            return self.messages.next(which, front);
        }
        Some(front)
    }

    /// Whether a claim of `stream` could be met if all that may give way did.
    pub(crate) fn can_meet(&self, stream: &Stream, claim: &Claim, limits: &Limits) -> bool {
        let held = claim.message.and_then(|key| self.get(key));
        let own = held.map_or(0, |assembly| assembly.charged);
        let wanted = own.saturating_add(claim.need);
        let fixed = if stream.proven {
            0
        } else {
            self.charged.saturating_sub(self.unproven)
        };
        wanted <= limits.stream_bytes
            && (stream.proven || wanted <= limits.unproven_bytes)
            && fixed.saturating_add(wanted) <= limits.max_bytes
    }

    /// What must give way next for a claim of `stream` for bytes.
    pub(crate) fn relief(&self, stream: &Stream, claim: &Claim, limits: &Limits) -> Relief {
        let with = |used: usize| used.saturating_add(claim.need);
        if with(stream.bytes) > limits.stream_bytes {
            return Relief::message(self.oldest_of(stream, claim));
        }
        if !stream.proven && with(self.unproven) > limits.unproven_bytes {
            return Relief::message(self.oldest_unproven(claim));
        }
        if with(self.used()) <= limits.max_bytes {
            return Relief::None;
        }
        if self.spares.bytes() > 0 {
            return Relief::Spare;
        }
        self.oldest_for(stream, claim)
    }

    /// What must give way next for one more message of `stream`.
    pub(crate) fn place_relief(&self, stream: &Stream, claim: &Claim, limits: &Limits) -> Relief {
        if stream.pending.len() >= limits.max_incomplete_per_stream {
            return Relief::message(self.oldest_of(stream, claim));
        }
        if self.len() >= limits.max_incomplete {
            return self.oldest_for(stream, claim);
        }
        Relief::None
    }

    /// Unproven streams give way to all, proven ones to proven ones.
    fn oldest_for(&self, stream: &Stream, claim: &Claim) -> Relief {
        let proven = || {
            let key = self.oldest_proven(claim)?;
            stream.proven.then_some(key)
        };
        Relief::message(self.oldest_unproven(claim).or_else(proven))
    }

    pub(crate) fn drop_spare(&mut self) -> bool {
        self.spares.drop_one()
    }

    pub(crate) fn trim(&mut self, keep: usize) {
        while self.spares.bytes() > keep && self.spares.drop_one() {}
    }

    pub(crate) const fn has_spares(&self) -> bool {
        self.spares.bytes() > 0
    }

    /// Frees spares that were not needed since this was called before.
    pub(crate) fn release_spares(&mut self) {
        self.spares.release();
    }

    /// Gives an empty message of a proven stream the memory of another one.
    pub(crate) fn lend_spares(&mut self, assembly: &mut Assembly) {
        let buffer = self.spares.take_buffer(assembly.total());
        let bitmap = self.spares.take_bitmap();
        assembly.adopt(buffer, bitmap);
    }

    /// Keeps what fits into the budget of memory that is not needed any more.
    pub(crate) fn keep_spares(&mut self, buffer: Vec<u8>, bitmap: Vec<u64>, limits: &Limits) {
        let room = limits.max_bytes.saturating_sub(self.used());
        self.spares.put_buffer(buffer, room);
        let room = limits.max_bytes.saturating_sub(self.used());
        self.spares.put_bitmap(bitmap, room);
    }
}

fn adjust(sum: &mut usize, before: usize, after: usize) {
    *sum = sum.saturating_sub(before).saturating_add(after);
}
