//! One message under reassembly.
//!
//! What only a header claims is never allocated. The buffer's capacity follows
//! the bytes received: it may reach to twice those bytes and some slack, and goes
//! up in halvings of the message's length (1/8, 1/4, 1/2, all), so that growing
//! never needs more than 1.5 times the message for a moment. A stream that has
//! completed long messages has credit: a message that is no longer than that
//! gets its whole capacity at once, since growing by megabytes can take
//! milliseconds. Bytes are written within the reach only, whatever the capacity, or
//! where there are bytes already, of this message or of one that used the buffer before:
//! a fragment beyond waits in a stash until the reach gets there. So any order of
//! arrival works, and no byte is moved more than once beside the growing.

mod gap;
mod landing;
mod run;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::demux::arena::Key;
use crate::frame::Fragment;
use crate::topic::TopicHash;
use gap::Gap;

/// Charged for each message beside its buffers.
pub(crate) const MESSAGE_OVERHEAD: usize = size_of::<Assembly>() + size_of::<Stash>() + 64;
/// Charged for each stashed fragment beside its bytes: its share of a tree
/// node and of the allocator's own records.
const STASH_OVERHEAD: usize = 64;

/// What to do with a fragment, decided before anything is allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plan {
    Duplicate,
    Contradicting,
    /// There is room in the buffer and in the bitmap.
    Write,
    /// Buffer and bitmap must first have this capacity and this many words.
    Grow {
        capacity: usize,
        words: usize,
    },
    /// Beyond the reach.
    Stash,
}

/// How far a stream is believed before its bytes are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust {
    /// Bytes beyond twice those received.
    pub(crate) slack: usize,
    /// Length of a message that gets its capacity at once.
    pub(crate) credit: usize,
}

impl Trust {
    /// How far beyond twice the bytes received a buffer may reach: a train, or
    /// far less for a stream that has yet to show that it puts anything together;
    /// a message in one datagram shows nothing of the kind.
    const PROVEN_SLACK: usize = 64 << 10;
    const UNPROVEN_SLACK: usize = 8 << 10;

    /// In a stream that has completed nothing.
    pub(crate) const NONE: Self = Self {
        slack: Self::UNPROVEN_SLACK,
        credit: 0,
    };

    const fn slack(longest: usize) -> usize {
        if longest < Self::UNPROVEN_SLACK {
            Self::UNPROVEN_SLACK
        } else if longest < Self::PROVEN_SLACK {
            longest
        } else {
            Self::PROVEN_SLACK
        }
    }

    /// In a stream whose longest message so far, of those put together, had `longest` bytes.
    #[inline]
    pub(crate) const fn proven(longest: usize) -> Self {
        Self {
            slack: Self::slack(longest),
            credit: longest.saturating_mul(2),
        }
    }
}

/// What came too early, and its cost.
#[derive(Debug, Default)]
struct Stash {
    fragments: BTreeMap<u32, Box<[u8]>>,
    cost: usize,
}

/// Two lines of a cache, in one place: with a thousand messages at once, these
/// and the bytes themselves are what a fragment has to wait for.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Assembly {
    pub(crate) number: u64,
    pub(crate) stream: Key,
    pub(crate) topic_hash: TopicHash,
    total: u32,
    /// The first fragment that is not in the buffer.
    next: u32,
    /// How many beyond that are.
    ahead: u32,
    size: u16,
    /// Bytes, those in the stash included.
    received: u32,
    /// At most as long as the message. What lies in it beyond the fragments that came,
    /// or between them, is of a message before.
    buffer: Vec<u8>,
    /// When the last new fragment came.
    pub(crate) advanced: Duration,
    /// Bytes charged to the budget for this message.
    pub(crate) charged: usize,
    /// What is known about the first fragment that is missing.
    gap: Gap,
    /// A bit for each fragment in the buffer; those before `next` need none.
    seen: Vec<u64>,
    stash: Option<Box<Stash>>,
}

impl Assembly {
    /// An empty message of which `first` is the first fragment seen.
    pub(crate) const fn new(stream: Key, first: &Fragment<'_>, now: Duration) -> Self {
        Self {
            number: first.number,
            stream,
            topic_hash: first.topic_hash,
            total: first.total,
            next: 0,
            ahead: 0,
            size: first.size,
            received: 0,
            buffer: Vec::new(),
            advanced: now,
            charged: 0,
            gap: Gap::NONE,
            seen: Vec::new(),
            stash: None,
        }
    }

    pub(crate) const fn total(&self) -> usize {
        self.total as usize
    }

    /// Bytes that have not come.
    pub(crate) const fn missing(&self) -> usize {
        self.total.saturating_sub(self.received) as usize
    }

    /// Whether all is there: each byte was received once.
    #[inline]
    pub(crate) const fn is_complete(&self) -> bool {
        self.received == self.total && self.stash.is_none()
    }

    /// Whether fragments right before `fragment` are missing where all came in order so far.
    pub(crate) fn is_cut_short_by(&self, fragment: &Fragment<'_>) -> bool {
        self.is_in_order() && fragment.index > self.next
    }

    #[inline]
    pub(crate) const fn has_stash(&self) -> bool {
        self.stash.is_some()
    }

    /// What this message has allocated, and its fixed cost.
    pub(crate) fn cost(&self) -> usize {
        MESSAGE_OVERHEAD
            .saturating_add(self.buffer.capacity())
            .saturating_add(self.seen.capacity().saturating_mul(size_of::<u64>()))
            .saturating_add(self.stash.as_ref().map_or(0, |stash| stash.cost))
    }

    /// What `plan` allocates for `fragment` before it frees anything: while a
    /// buffer grows, the old one and the new one may both be there.
    #[inline]
    pub(crate) fn cost_of(&self, plan: Plan, fragment: &Fragment<'_>) -> usize {
        match plan {
            Plan::Duplicate | Plan::Contradicting | Plan::Write => 0,
            Plan::Grow { capacity, words } => {
                let buffer = grown(capacity, self.buffer.capacity());
                let words = grown(words, self.seen.capacity());
                buffer.saturating_add(words.saturating_mul(size_of::<u64>()))
            }
            Plan::Stash => stash_cost(fragment.data),
        }
    }

    #[inline(always)]
    pub(crate) fn plan(&self, fragment: &Fragment<'_>, trust: Trust) -> Plan {
        if self.contradicts(fragment) {
            return Plan::Contradicting;
        }
        if self.has(fragment.index) {
            return Plan::Duplicate;
        }
        let end = fragment.offset().saturating_add(fragment.data.len());
        let reach = self.reach(fragment.data.len(), trust);
        let capacity = self.capacity_for(end, reach.max(trust.credit));
        let words = self.words_for(fragment.index, capacity);
        if end > capacity || end > reach {
            Plan::Stash
        } else if capacity > self.buffer.capacity() || words > self.seen.len() {
            Plan::Grow { capacity, words }
        } else {
            Plan::Write
        }
    }

    /// How far bytes may be written once `more` have come: also where there are some already.
    #[inline]
    fn reach(&self, more: usize, trust: Trust) -> usize {
        let received = (self.received as usize).saturating_add(more);
        let reach = received.saturating_mul(2).saturating_add(trust.slack);
        reach.max(self.buffer.len())
    }

    #[inline]
    fn contradicts(&self, fragment: &Fragment<'_>) -> bool {
        fragment.total != self.total
            || fragment.size != self.size
            || fragment.topic_hash != self.topic_hash
    }

    #[inline]
    fn has(&self, index: u32) -> bool {
        let stash = self.stash.as_ref();
        index < self.next
            || (self.ahead > 0 && self.is_marked(index))
            || stash.is_some_and(|stash| stash.fragments.contains_key(&index))
    }

    #[inline]
    fn is_marked(&self, index: u32) -> bool {
        let word = self.seen.get(index as usize / 64);
        word.is_some_and(|word| word & bit(index) != 0)
    }

    /// The capacity the buffer has, or may have within `allowed`.
    #[inline]
    fn capacity_for(&self, end: usize, allowed: usize) -> usize {
        let capacity = self.buffer.capacity();
        if end <= capacity {
            return capacity;
        }
        halving(self.total as usize, allowed).max(capacity)
    }

    /// Words of bitmap for all fragments that end within `capacity`; none as
    /// long as all come in order.
    #[inline]
    fn words_for(&self, index: u32, capacity: usize) -> usize {
        if index == self.next && self.stash.is_none() {
            return 0;
        }
        let bytes = capacity.min(self.total as usize);
        bytes.div_ceil(usize::from(self.size)).div_ceil(64)
    }

    /// Gets the memory that `plan` asks for; `false` if the system has none.
    #[inline]
    pub(crate) fn grow(&mut self, plan: Plan) -> bool {
        let Plan::Grow { capacity, words } = plan else {
            return true;
        };
        let more = capacity.saturating_sub(self.buffer.len());
        let more_words = words.saturating_sub(self.seen.len());
        if self.buffer.try_reserve_exact(more).is_err()
            || self.seen.try_reserve_exact(more_words).is_err()
        {
            return false;
        }
        self.seen.resize(words.max(self.seen.len()), 0);
        true
    }

    /// Moves into the buffer what has come within its reach and its capacity.
    fn unstash(&mut self) {
        let Some(mut stash) = self.stash.take() else {
            return;
        };
        let reach = self.received.saturating_mul(2) as usize;
        let reach = reach.max(self.buffer.len()).min(self.buffer.capacity());
        while let Some(entry) = stash.fragments.first_entry() {
            let index = *entry.key();
            let offset = (index as usize).saturating_mul(usize::from(self.size));
            let end = offset.saturating_add(entry.get().len());
            if end > reach || !self.can_mark(index) {
                self.stash = Some(stash);
                return;
            }
            let data = entry.remove();
            stash.cost = stash.cost.saturating_sub(stash_cost(&data));
            self.write(index, offset, &data);
        }
    }

    /// Takes in a new fragment for which [`grow`](Self::grow) has made room.
    #[inline]
    pub(crate) fn store(&mut self, plan: Plan, fragment: &Fragment<'_>, now: Duration) {
        if plan == Plan::Stash {
            let stash = self.stash.get_or_insert_default();
            stash.cost = stash.cost.saturating_add(stash_cost(fragment.data));
            stash.fragments.insert(fragment.index, fragment.data.into());
        } else {
            self.write(fragment.index, fragment.offset(), fragment.data);
        }
        self.received = self.received.saturating_add(short(fragment.data.len()));
        self.advanced = now;
        if self.has_stash() {
            self.unstash();
        }
    }

    #[inline]
    fn write(&mut self, index: u32, offset: usize, data: &[u8]) {
        self.mark(index);
        self.put(offset, data);
    }

    #[inline]
    fn put(&mut self, offset: usize, data: &[u8]) {
        let end = offset.saturating_add(data.len());
        if let Some(place) = self.buffer.get_mut(offset..end) {
            place.copy_from_slice(data);
            return;
        }
        // Up to here there are bytes already, of this message or of another.
        self.buffer.truncate(offset);
        if offset > self.buffer.len() {
            self.buffer.resize(offset, 0);
        }
        self.buffer.extend_from_slice(data);
    }

    fn can_mark(&self, index: u32) -> bool {
        index == self.next || index as usize / 64 < self.seen.len()
    }

    /// Notes that a fragment is in the buffer.
    #[inline]
    fn mark(&mut self, index: u32) {
        if index != self.next {
            if let Some(word) = self.seen.get_mut(index as usize / 64) {
                *word |= bit(index);
                self.ahead = self.ahead.saturating_add(1);
            }
            return;
        }
        self.next = self.next.saturating_add(1);
        while self.ahead > 0 && self.is_marked(self.next) {
            self.next = self.next.saturating_add(1);
            self.ahead = self.ahead.saturating_sub(1);
        }
        if self.gap != Gap::NONE {
            self.moved_on();
        }
    }

    /// Begins with memory that another message has used.
    pub(crate) fn adopt(&mut self, buffer: Option<Vec<u8>>, seen: Option<Vec<u64>>) {
        self.buffer = buffer.unwrap_or_default();
        self.buffer.truncate(self.total as usize);
        self.seen = seen.unwrap_or_default();
    }

    /// The message body (or what there is of it), and the bitmap for reuse.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Vec<u64>) {
        (self.buffer, self.seen)
    }
}

#[inline]
const fn bit(index: u32) -> u64 {
    1 << (index % 64)
}

/// A length or offset within a message.
#[inline]
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// `wanted`, if it takes an allocation to get there.
#[inline]
const fn grown(wanted: usize, capacity: usize) -> usize {
    if wanted > capacity { wanted } else { 0 }
}

const fn stash_cost(data: &[u8]) -> usize {
    data.len().saturating_add(STASH_OVERHEAD)
}

/// The largest of total, total/2, total/4, ... (rounded up) within `reach`.
fn halving(total: usize, reach: usize) -> usize {
    let mut length = total;
    while length > reach && length > 1 {
        length = length.div_ceil(2);
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::arena::Arena;

    /// Index `index` of a message of `total` bytes in fragments of 256.
    fn fragment(index: u32, total: u32) -> Fragment<'static> {
        static DATA: [u8; 256] = [7; 256];
        let left = total - index * 256;
        Fragment {
            number: 0,
            total,
            index,
            topic_hash: TopicHash::NONE,
            size: 256,
            data: &DATA[..left.min(256) as usize],
        }
    }

    const TRUST: Trust = Trust {
        slack: 1024,
        credit: 0,
    };

    fn take(assembly: &mut Assembly, fragment: &Fragment<'_>) -> Plan {
        let plan = assembly.plan(fragment, TRUST);
        let before = assembly.cost();
        let peak = before + assembly.cost_of(plan, fragment);
        assert!(assembly.grow(plan));
        assembly.store(plan, fragment, Duration::ZERO);
        assert!(assembly.cost() <= peak, "{plan:?}");
        plan
    }

    fn empty(total: u32) -> Assembly {
        let mut arena = Arena::<(), 1>::new();
        let key = arena.insert(()).unwrap();
        Assembly::new(key, &fragment(0, total), Duration::ZERO)
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn it_is_two_lines_of_a_cache() {
        assert_eq!(size_of::<Option<Assembly>>(), 128);
    }

    #[test]
    fn the_reach_goes_up_in_halvings() {
        assert_eq!(halving(1000, 1000), 1000);
        assert_eq!(halving(1000, 999), 500);
        assert_eq!(halving(1001, 501), 501);
        assert_eq!(halving(1001, 500), 251);
        assert_eq!(halving(1000, 0), 1);
    }

    #[test]
    fn in_order_nothing_is_stashed_or_filled_with_zeros() {
        for slack in [1024, 8 << 10, 64 << 10] {
            let total = 1_000_001;
            let mut assembly = empty(total);
            for index in 0..total.div_ceil(256) {
                let fragment = fragment(index, total);
                let plan = assembly.plan(&fragment, Trust { slack, ..TRUST });
                assert_ne!(plan, Plan::Stash, "fragment {index}");
                assert!(assembly.grow(plan));
                assert_eq!(assembly.buffer.len(), fragment.offset());
                assembly.store(plan, &fragment, Duration::ZERO);
            }
            assert!(assembly.is_complete());
            assert_eq!(assembly.buffer.capacity(), total as usize);
        }
    }

    #[test]
    fn what_comes_early_waits_and_is_moved_in() {
        let total = 20_000;
        let mut assembly = empty(total);
        let last = fragment(78, total);
        assert_eq!(take(&mut assembly, &last), Plan::Stash);
        assert_eq!(assembly.plan(&last, TRUST), Plan::Duplicate);
        assert_eq!(assembly.buffer.capacity(), 0);
        for index in 0..78 {
            assert_ne!(take(&mut assembly, &fragment(index, total)), Plan::Stash);
        }
        assert!(assembly.is_complete() && assembly.stash.is_none());
        let (body, _) = assembly.into_parts();
        assert_eq!((body.len(), body.iter().all(|b| *b == 7)), (20_000, true));
    }

    #[test]
    fn where_there_are_bytes_already_nothing_waits() {
        let total = 20_000;
        let mut assembly = empty(total);
        assembly.adopt(Some(alloc::vec![0xDB; 10_000]), None);
        for (index, expected) in [(39, false), (38, true), (0, true)] {
            let stashed = take(&mut assembly, &fragment(index, total)) == Plan::Stash;
            assert_eq!(stashed, !expected, "{index}");
        }
        for index in (1..38).chain(40..79) {
            take(&mut assembly, &fragment(index, total));
        }
        assert!(assembly.is_complete());
        let (body, _) = assembly.into_parts();
        assert_eq!((body.len(), body.iter().all(|b| *b == 7)), (20_000, true));
    }

    #[test]
    fn the_cost_is_what_is_allocated() {
        let total = 20_000;
        let mut assembly = empty(total);
        for index in (0..79).rev() {
            take(&mut assembly, &fragment(index, total));
            let stashed = assembly.stash.iter().flat_map(|it| it.fragments.values());
            let stashed: usize = stashed.map(|data| data.len() + 64).sum();
            let allocated = assembly.buffer.capacity() + 8 * assembly.seen.capacity() + stashed;
            assert_eq!(assembly.cost(), MESSAGE_OVERHEAD + allocated);
        }
        assert!(assembly.is_complete());
    }

    #[test]
    fn credit_is_capacity_at_once_but_no_bytes_before_they_came() {
        let total = 20_000;
        let trust = Trust {
            credit: 20_000,
            ..TRUST
        };
        let mut assembly = empty(total);
        let last = fragment(78, total);
        assert_eq!(assembly.plan(&last, trust), Plan::Stash);
        assembly.store(Plan::Stash, &last, Duration::ZERO);
        for index in 0..78 {
            let fragment = fragment(index, total);
            let plan = assembly.plan(&fragment, trust);
            assert!(assembly.grow(plan));
            assembly.store(plan, &fragment, Duration::ZERO);
            assert_eq!(assembly.buffer.capacity(), 20_000);
        }
        assert!(assembly.is_complete() && assembly.stash.is_none());
        assert_eq!(assembly.into_parts().0.len(), 20_000);
    }
}
