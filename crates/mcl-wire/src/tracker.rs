//! Which numbers of a sequence have been seen, in constant memory.

/// How far ahead a number may be and still go on with the sequence, once a second
/// one has confirmed that; what is further away (or that far behind) starts it anew.
pub const MAX_JUMP: u64 = 1 << 24;
/// How closely a second number must follow a jump to confirm it.
pub const RESTART_WINDOW: u64 = 64;

/// How many numbers older than the window must follow one another, with nothing
/// else between them, until the sequence is believed to be there: more than are in
/// a train, since a whole train may come late a second time.
const STALE_RUN: u32 = 64;

/// Bits in a word of the bitmap.
const WORD: u64 = 64;

/// What a number is to the sequence in which it was observed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Arrival {
    /// New: the first, the next one, or one from before the first.
    New,
    /// New, and numbers before it are missing so far.
    Gap {
        /// How many.
        missing: u64,
    },
    /// New: it had been counted as missing, and no longer is.
    Late,
    /// Seen before.
    Duplicate,
    /// Older than the window: cannot be told from a duplicate.
    Stale,
    /// New, and further ahead than the window is long. The next number to be observed
    /// decides whether it was an accident or where the sequence now is: until then the
    /// sequence stays where it was.
    Leap,
    /// More than [`MAX_JUMP`] away. The next number to be observed decides, as for a
    /// leap; but it is not to be used.
    Jump,
    /// New: the second number in a row near a jump, or the last of many in a row
    /// older than the window. The sequence starts here anew.
    Restarted,
}

impl Arrival {
    /// Whether the number is seen for the first time, and is to be used.
    #[must_use]
    #[inline]
    pub const fn is_new(self) -> bool {
        !matches!(self, Self::Duplicate | Self::Stale | Self::Jump)
    }
}

/// The account of a sequence.
///
/// `received + missing == spanned` always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
#[non_exhaustive]
pub struct SequenceCounts {
    /// The first number seen since the last restart. A receiver that was there
    /// from the start may count `first - before_first` numbers as missing too.
    pub first: u64,
    /// The highest number seen since the last restart.
    pub highest: u64,
    /// Numbers from first to highest, added up over all restarts.
    pub spanned: u64,
    /// Numbers seen, of those spanned; each once.
    pub received: u64,
    /// Numbers not seen, of those spanned.
    pub missing: u64,
    /// Numbers seen which precede the first; in neither of the above.
    pub before_first: u64,
    /// Numbers seen so far ahead that they are not part of what is spanned, unless
    /// the next number confirms them ([`Arrival::Leap`]); in none of the above.
    pub apart: u64,
    /// Numbers which were missing and came after all; in `received`.
    pub late: u64,
    /// Numbers seen again.
    pub duplicate: u64,
    /// Numbers older than the window.
    pub stale: u64,
    /// Numbers more than [`MAX_JUMP`] away.
    pub jumps: u64,
    /// How often the sequence started anew.
    pub restarts: u64,
}

impl SequenceCounts {
    /// Numbers that precede the first and were not seen, for senders that number from
    /// 0, as this library's do: sent before the receiver was there, or lost; it cannot
    /// know which. Of no meaning after a restart.
    ///
    /// Until `highest` such a sender has used
    /// `unheard() + before_first + spanned == highest + 1` numbers.
    #[must_use]
    pub const fn unheard(&self) -> u64 {
        self.first.saturating_sub(self.before_first)
    }
}

/// Tells new numbers of a sequence from duplicates, and counts what is missing.
///
/// Remembers the last `64 * WORDS` numbers, 1024 unless said otherwise. The sequence
/// does not follow a number further ahead than that until a second one confirms
/// it, as in RFC 3550 appendix A.1: one forged or damaged datagram must not
/// disturb an honest stream, whose numbers would all be behind the window then.
/// The number itself is used nevertheless, unless it is more than [`MAX_JUMP`] away:
/// so long a gap costs nothing beyond itself. Where two led it astray, or the very
/// first: when 65 honest numbers came in a row, nothing else between them, the
/// sequence is where they are.
///
/// ```
/// use mcl_wire::{Arrival, SequenceTracker};
/// let mut tracker: SequenceTracker = SequenceTracker::new();
/// assert_eq!(tracker.observe(7), Arrival::New);
/// assert_eq!(tracker.observe(10), Arrival::Gap { missing: 2 });
/// assert_eq!(tracker.observe(8), Arrival::Late);
/// assert_eq!(tracker.observe(8), Arrival::Duplicate);
/// assert_eq!(tracker.counts().missing, 1);
/// ```
#[derive(Clone, Debug)]
// In this order: a number that comes in its turn changes the front and one word.
#[repr(C)]
pub struct SequenceTracker<const WORDS: usize = 16> {
    highest: u64,
    received: u64,
    /// The last number that was not believed.
    candidate: Candidate,
    /// Whether it was the last number of all: else it waits for nothing any more.
    waits: bool,
    /// How many in a row before it were too old, each near the one before.
    stale_run: u32,
    started: bool,
    seen: [u64; WORDS],
    /// What else is counted. Of the numbers spanned, those before the last
    /// restart; `highest`, `received` and `missing` are not kept here.
    rest: SequenceCounts,
}

/// A number that was not believed; if it was used all the same, with those before it
/// that it follows.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Above `last` if that was not used.
    first: u64,
    last: u64,
    /// What said the last one: what it says besides confirms nothing.
    source: u64,
}

impl Candidate {
    const NONE: Self = Self {
        first: u64::MAX,
        last: 0,
        source: 0,
    };

    const fn is_used(&self) -> bool {
        self.first <= self.last
    }
}

impl<const WORDS: usize> Default for SequenceTracker<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize> SequenceTracker<WORDS> {
    /// How many numbers are remembered.
    pub const WINDOW: u64 = {
        assert!(WORDS > 0, "a tracker needs room for a number");
        WORDS as u64 * WORD
    };

    /// A tracker that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            highest: 0,
            received: 0,
            candidate: Candidate::NONE,
            waits: false,
            stale_run: 0,
            started: false,
            seen: [0; WORDS],
            rest: SequenceCounts {
                first: 0,
                highest: 0,
                spanned: 0,
                received: 0,
                missing: 0,
                before_first: 0,
                apart: 0,
                late: 0,
                duplicate: 0,
                stale: 0,
                jumps: 0,
                restarts: 0,
            },
        }
    }

    /// The account so far.
    #[must_use]
    pub const fn counts(&self) -> SequenceCounts {
        let spanned = self.spanned();
        SequenceCounts {
            highest: self.highest,
            received: self.received,
            spanned,
            missing: spanned.saturating_sub(self.received),
            ..self.rest
        }
    }

    const fn spanned(&self) -> u64 {
        if !self.started {
            return self.rest.spanned;
        }
        let since = self.highest.saturating_sub(self.rest.first);
        self.rest.spanned.saturating_add(since).saturating_add(1)
    }

    /// Takes note of `number`.
    #[inline]
    pub fn observe(&mut self, number: u64) -> Arrival {
        // No two numbers confirm each other unless they differ.
        self.observe_from(number, number)
    }

    /// As [`observe`](Self::observe), of several numbers that one `source` says, such as
    /// a datagram: they do not confirm each other.
    #[inline]
    pub fn observe_from(&mut self, number: u64, source: u64) -> Arrival {
        if !self.started {
            self.start(number);
            return Arrival::New;
        }
        let highest = self.highest;
        match number.checked_sub(highest) {
            Some(0) => self.old(number, source),
            // However wrong it may be, all honest ones still are in the window then.
            Some(ahead) if ahead <= Self::WINDOW => self.ahead(number, ahead),
            Some(ahead) if ahead <= MAX_JUMP => self.leap(number, source),
            None if highest.saturating_sub(number) <= MAX_JUMP => self.old(number, source),
            _ => self.jump(number, source),
        }
    }

    /// The highest number seen, if any was.
    #[cfg(feature = "alloc")]
    pub(crate) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `number` is the one after the highest.
    #[cfg(feature = "alloc")]
    pub(crate) fn is_next(&self, number: u64) -> bool {
        self.started && self.highest.checked_add(1) == Some(number)
    }

    /// Takes note of the `count` numbers that follow the highest, of which the sequence has
    /// seen one: as if each were observed.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn go_on(&mut self, count: u64) {
        if count == 1 {
            self.ahead(self.highest.saturating_add(1), 1);
        } else if count > 0 {
            self.waits = false;
            self.fill(count);
            self.highest = self.highest.saturating_add(count);
            add(&mut self.received, count);
        }
    }

    /// Whether `number`, which was observed last, is in the window: to observe it again is to
    /// count a duplicate.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn remembers(&self, number: u64) -> bool {
        let age = self.highest.checked_sub(number);
        age.is_some_and(|age| age < Self::WINDOW)
    }

    /// Takes note `count` times of a number that it [remembers](Self::remembers).
    #[cfg(feature = "alloc")]
    pub(crate) const fn repeat(&mut self, count: u64) {
        if count > 0 {
            self.waits = false;
            add(&mut self.rest.duplicate, count);
        }
    }

    /// Where it is noted whether `number` was seen.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn place_of(&self, number: u64) -> Option<&u64> {
        self.seen.get(Self::index_of(number % Self::WINDOW)?)
    }

    /// Lets the next number start the sequence anew, wherever it is.
    pub fn restart(&mut self) {
        if self.started {
            self.rest.spanned = self.spanned();
            self.started = false;
            add(&mut self.rest.restarts, 1);
        }
    }

    fn start(&mut self, number: u64) {
        self.started = true;
        self.candidate = Candidate::NONE;
        self.waits = false;
        self.seen = [0; WORDS];
        self.mark(number);
        self.rest.first = number;
        self.highest = number;
        add(&mut self.received, 1);
    }

    #[inline]
    fn ahead(&mut self, number: u64, ahead: u64) -> Arrival {
        self.waits = false;
        if ahead > 1 {
            self.forget(ahead);
        }
        self.mark(number);
        self.highest = number;
        let missing = ahead.saturating_sub(1);
        add(&mut self.received, 1);
        if missing == 0 {
            Arrival::New
        } else {
            Arrival::Gap { missing }
        }
    }

    #[inline]
    fn old(&mut self, number: u64, source: u64) -> Arrival {
        let age = self.highest.saturating_sub(number);
        if age >= Self::WINDOW {
            return self.stale(number, source);
        }
        self.waits = false;
        if !self.mark(number) {
            add(&mut self.rest.duplicate, 1);
            return Arrival::Duplicate;
        }
        if number < self.rest.first {
            add(&mut self.rest.before_first, 1);
            return Arrival::New;
        }
        add(&mut self.received, 1);
        add(&mut self.rest.late, 1);
        Arrival::Late
    }

    #[cold]
    fn stale(&mut self, number: u64, source: u64) -> Arrival {
        let before = self.waiting();
        let step = before.and_then(|it| number.checked_sub(it.last));
        let other = before.is_some_and(|it| it.source != source);
        self.stale_run = match step {
            // As often as a message has fragments.
            Some(0) => self.stale_run,
            Some(1..=RESTART_WINDOW) => self.stale_run.saturating_add(other.into()),
            _ => 0,
        };
        if self.stale_run >= STALE_RUN {
            self.restart();
            self.start(number);
            return Arrival::Restarted;
        }
        self.suspect(number, source);
        add(&mut self.rest.stale, 1);
        Arrival::Stale
    }

    /// What the next number may confirm.
    fn waiting(&self) -> Option<Candidate> {
        self.waits.then_some(self.candidate)
    }

    /// A number beyond the window, which another one nearby may confirm, or may have
    /// been waiting for.
    #[cold]
    fn leap(&mut self, number: u64, source: u64) -> Arrival {
        let last = self.candidate;
        if (last.first..=last.last).contains(&number) {
            add(&mut self.rest.duplicate, 1);
            return Arrival::Duplicate;
        }
        if let Some(near) = self.leapt_near(number).filter(|it| it.source != source) {
            return self.follow(number, near);
        }
        let goes_on = self.waits && last.source == source;
        let goes_on = goes_on && last.is_used() && last.last.checked_add(1) == Some(number);
        self.suspect(number, source);
        self.stale_run = 0;
        self.candidate.first = if goes_on { last.first } else { number };
        add(&mut self.rest.apart, 1);
        Arrival::Leap
    }

    /// What leapt just before, if it is in one window with `number`.
    fn leapt_near(&self, number: u64) -> Option<Candidate> {
        let near = self.waiting().filter(Candidate::is_used)?;
        let leapt = near.last.checked_sub(self.highest)? > Self::WINDOW;
        (leapt && number.abs_diff(near.last) < Self::WINDOW).then_some(near)
    }

    /// The sequence goes where `number` and those in `apart` are.
    fn follow(&mut self, number: u64, apart: Candidate) -> Arrival {
        let before = self.highest;
        let top = number.max(apart.last);
        self.forget(top.saturating_sub(before));
        self.highest = top;
        self.waits = false;
        // What is out of the window by now is counted as what it is: seen.
        let count = apart.last.saturating_sub(apart.first).saturating_add(1);
        for at in apart.first.max(top.saturating_sub(Self::WINDOW - 1))..=apart.last {
            self.mark(at);
        }
        self.mark(number);
        self.rest.apart = self.rest.apart.saturating_sub(count);
        add(&mut self.received, count.saturating_add(1));
        let spanned = top.saturating_sub(before);
        Arrival::Gap {
            missing: spanned.saturating_sub(count.saturating_add(1)),
        }
    }

    fn jump(&mut self, number: u64, source: u64) -> Arrival {
        if self.is_confirmed_by(number, source) {
            self.restart();
            self.start(number);
            return Arrival::Restarted;
        }
        self.suspect(number, source);
        self.stale_run = 0;
        add(&mut self.rest.jumps, 1);
        Arrival::Jump
    }

    /// Whether `number` follows the last one closely, which was not believed.
    fn is_confirmed_by(&self, number: u64, source: u64) -> bool {
        self.waiting().is_some_and(|it| {
            let distance = number.checked_sub(it.last);
            it.source != source && matches!(distance, Some(1..=RESTART_WINDOW))
        })
    }

    fn suspect(&mut self, number: u64, source: u64) {
        self.waits = true;
        self.candidate = Candidate {
            first: u64::MAX,
            last: number,
            source,
        };
    }

    /// Marks `number` as seen; `false` if it was already.
    #[inline]
    fn mark(&mut self, number: u64) -> bool {
        let at = number % Self::WINDOW;
        let bit = 1_u64 << (at % WORD);
        let Some(word) = self.word(at) else {
            return false;
        };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    #[inline]
    fn word(&mut self, at: u64) -> Option<&mut u64> {
        self.seen.get_mut(Self::index_of(at)?)
    }

    /// Which word the place `at` in the window is in.
    #[inline]
    fn index_of(at: u64) -> Option<usize> {
        usize::try_from(at / WORD).ok()
    }

    /// Clears the places of the `ahead` numbers that follow the highest.
    fn forget(&mut self, ahead: u64) {
        self.places_ahead(ahead, |word, mask| *word &= !mask);
    }

    /// Marks the `ahead` numbers that follow the highest as seen.
    #[cfg(feature = "alloc")]
    fn fill(&mut self, ahead: u64) {
        self.places_ahead(ahead, |word, mask| *word |= mask);
    }

    /// Calls `each` for the words in which the places of the `ahead` numbers that follow the
    /// highest are, with their bits.
    #[inline]
    fn places_ahead(&mut self, ahead: u64, each: impl Fn(&mut u64, u64)) {
        if ahead >= Self::WINDOW {
            self.seen.iter_mut().for_each(|word| each(word, u64::MAX));
            return;
        }
        let mut at = (self.highest % Self::WINDOW + 1) % Self::WINDOW;
        let mut left = ahead;
        while left > 0 {
            let bits = (WORD - at % WORD).min(left);
            let mask = (u64::MAX >> (WORD - bits)) << (at % WORD);
            if let Some(word) = self.word(at) {
                each(word, mask);
            }
            at = (at + bits) % Self::WINDOW;
            left -= bits;
        }
    }
}

/// Counters stop at their end rather than start again.
const fn add(counter: &mut u64, amount: u64) {
    *counter = counter.saturating_add(amount);
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    fn tracker(numbers: &[u64]) -> SequenceTracker {
        let mut tracker = SequenceTracker::new();
        for number in numbers {
            tracker.observe(*number);
        }
        tracker
    }

    #[test]
    fn numbers_before_the_first_are_new_but_were_never_missing() {
        let mut tracker = tracker(&[10, 12]);
        assert_eq!(tracker.observe(9), Arrival::New);
        assert_eq!(tracker.observe(9), Arrival::Duplicate);
        let counts = tracker.counts();
        assert_eq!((counts.first, counts.before_first), (10, 1));
        assert_eq!((counts.spanned, counts.received, counts.missing), (3, 2, 1));
    }

    #[test]
    fn the_window_ends_where_it_says() {
        let mut tracker = tracker(&[0, 4999, 5000]);
        assert_eq!(tracker.observe(5000 - 1023), Arrival::Late);
        assert_eq!(tracker.observe(5000 - 1024), Arrival::Stale);
        assert_eq!(tracker.counts().stale, 1);
    }

    #[test]
    fn one_jump_is_not_believed_two_in_a_row_are() {
        let mut tracker = tracker(&[7]);
        assert_eq!(tracker.observe(7 + MAX_JUMP + 1), Arrival::Jump);
        assert_eq!(tracker.observe(8), Arrival::New);
        // The honest number in between has withdrawn the candidate.
        assert_eq!(tracker.observe(7 + MAX_JUMP + 2), Arrival::Jump);
        assert_eq!(tracker.observe(7 + MAX_JUMP + 3), Arrival::Restarted);
        let counts = tracker.counts();
        assert_eq!((counts.jumps, counts.restarts), (2, 1));
        assert_eq!((counts.spanned, counts.received, counts.missing), (3, 3, 0));
        assert_eq!(counts.first, 7 + MAX_JUMP + 3);
    }

    #[test]
    fn a_sequence_that_was_led_astray_comes_back() {
        let mut tracker = tracker(&[6, 7, 6 + MAX_JUMP, 7 + MAX_JUMP]);
        for number in 8..8 + 64 {
            assert_eq!(tracker.observe(number), Arrival::Stale);
            assert_eq!(tracker.observe(number), Arrival::Stale, "counts once");
        }
        assert_eq!(
            tracker.observe(73),
            Arrival::Restarted,
            "one may be missing"
        );
        assert_eq!(tracker.observe(74), Arrival::New);
        let counts = tracker.counts();
        assert_eq!((counts.stale, counts.restarts, counts.first), (128, 1, 73));
        assert_eq!(counts.received + counts.missing, counts.spanned);
    }

    #[test]
    fn what_comes_late_between_others_leads_nobody_astray() {
        let mut tracker = tracker(&[0, 4999, 5000]);
        for late in 0..1000 {
            assert_eq!(tracker.observe(late), Arrival::Stale);
            if late % 60 == 0 {
                let next = tracker.counts().highest + 1;
                assert_eq!(tracker.observe(next), Arrival::New);
            }
        }
        // Nor does the same datagram, again and again, or what is out of order.
        for late in [3, 3, 3, 900, 2, 80].into_iter().cycle().take(1000) {
            assert_eq!(tracker.observe(late), Arrival::Stale);
        }
        assert_eq!(tracker.counts().restarts, 0);
    }

    #[test]
    fn a_jump_ends_a_run_of_old_numbers() {
        let mut tracker = tracker(&[MAX_JUMP + 99, 2 * MAX_JUMP, 2 * MAX_JUMP + 1]);
        let oldest = MAX_JUMP + 1;
        for number in oldest..oldest + 64 {
            assert_eq!(tracker.observe(number), Arrival::Stale);
        }
        assert_eq!(tracker.observe(oldest - 1), Arrival::Jump);
        assert_eq!(tracker.observe(oldest), Arrival::Stale);
    }

    #[test]
    fn a_repeated_jump_confirms_nothing() {
        let mut tracker = tracker(&[0]);
        for _ in 0..3 {
            assert_eq!(tracker.observe(1 << 40), Arrival::Jump);
        }
        let far = (1 << 40) + RESTART_WINDOW + 1;
        assert_eq!(tracker.observe(far), Arrival::Jump);
        assert_eq!(tracker.observe(far + RESTART_WINDOW), Arrival::Restarted);
    }

    #[test]
    fn the_largest_step_that_is_believed_at_once() {
        let mut tracker = tracker(&[1]);
        assert_eq!(tracker.observe(1 + 1024), Arrival::Gap { missing: 1023 });
        // Had it been an accident, the honest numbers would have gone on.
        assert_eq!(tracker.observe(2), Arrival::Late);
        assert_eq!(tracker.observe(1025 + 1025), Arrival::Leap);
        assert_eq!(tracker.observe(1026), Arrival::New);
    }

    #[test]
    fn a_gap_beyond_the_window_is_believed_once_it_is_confirmed() {
        for confirming in [5001, 4000, 6023] {
            let mut tracker = tracker(&[0]);
            assert_eq!(tracker.observe(5000), Arrival::Leap);
            assert_eq!(tracker.observe(5000), Arrival::Duplicate);
            let counts = tracker.counts();
            assert_eq!((counts.received, counts.spanned, counts.apart), (1, 1, 1));
            let top = confirming.max(5000);
            let missing = top - 2;
            assert_eq!(tracker.observe(confirming), Arrival::Gap { missing });
            let counts = tracker.counts();
            assert_eq!((counts.highest, counts.restarts, counts.apart), (top, 0, 0));
            assert_eq!((counts.received, counts.missing), (3, missing));
            assert_eq!(tracker.observe(5000), Arrival::Duplicate);
        }
    }

    #[test]
    fn a_leap_too_far_from_the_last_one_is_the_next_candidate() {
        let mut tracker = tracker(&[0]);
        for number in [5000, 6024, 5000] {
            assert_eq!(tracker.observe(number), Arrival::Leap);
        }
        assert_eq!(tracker.observe(1), Arrival::New);
        // It waits for nothing any more, but was used.
        assert_eq!(tracker.observe(5000), Arrival::Duplicate);
        assert_eq!(tracker.observe(5001), Arrival::Leap);
        assert_eq!(tracker.counts().apart, 4);
    }

    #[test]
    fn what_one_source_says_confirms_nothing_else_that_it_says() {
        let mut tracker = tracker(&[0]);
        for number in 5000..5100 {
            assert_eq!(tracker.observe_from(number, 7), Arrival::Leap);
            assert_eq!(tracker.observe_from(number, 7), Arrival::Duplicate);
        }
        assert_eq!(tracker.counts().apart, 100);
        let missing = 4999;
        assert_eq!(tracker.observe_from(5100, 8), Arrival::Gap { missing });
        let counts = tracker.counts();
        assert_eq!((counts.apart, counts.received), (0, 102));
        for number in 5000..=5100 {
            assert_eq!(tracker.observe(number), Arrival::Duplicate);
        }

        for number in 0..100 {
            assert_eq!(tracker.observe_from((1 << 40) + number, 9), Arrival::Jump);
        }
        assert_eq!(
            tracker.observe_from((1 << 40) + 100, 10),
            Arrival::Restarted
        );
        for number in 0..100 {
            assert_eq!(tracker.observe_from(1000 + number, 11), Arrival::Jump);
        }
        let mut late = self::tracker(&[0, 4999, 5000]);
        for number in 0..1000 {
            assert_eq!(late.observe_from(number, 12), Arrival::Stale);
        }
    }

    #[test]
    fn the_largest_step_that_goes_on_with_the_sequence() {
        let mut tracker = tracker(&[1, MAX_JUMP]);
        let missing = MAX_JUMP - 2;
        assert_eq!(tracker.observe(1 + MAX_JUMP), Arrival::Gap { missing });
        assert_eq!(tracker.observe(1), Arrival::Stale);
        assert_eq!(tracker.observe(0), Arrival::Jump, "that far behind");
    }

    #[test]
    #[cfg(feature = "alloc")]
    fn to_go_on_is_to_observe_each() {
        for before in [0, 1, 62, 63, 64, 1000] {
            for count in [0, 1, 2, 45, 64, 129, 1023, 1024, 1025, 3000] {
                // A leap waits to be confirmed; and one number is still missing.
                let mut one = tracker(&[5, 6 + before, 8 + before, 5000]);
                let mut other = one.clone();
                one.go_on(count);
                let numbers = 9 + before..9 + before + count;
                numbers.for_each(|number| _ = other.observe(number));
                assert_eq!(one.counts(), other.counts());
                for number in (0..9000).rev() {
                    let arrivals = [&mut one, &mut other].map(|it| it.clone().observe(number));
                    assert_eq!(arrivals[0], arrivals[1], "{before} {count} {number}");
                }
            }
        }
    }

    #[test]
    fn numbers_near_their_end() {
        let mut tracker = tracker(&[u64::MAX - 1]);
        assert_eq!(tracker.observe(u64::MAX), Arrival::New);
        assert_eq!(tracker.observe(u64::MAX), Arrival::Duplicate);
        assert_eq!(tracker.observe(u64::MAX - 1023), Arrival::New);
        assert_eq!(tracker.observe(0), Arrival::Jump);
        assert_eq!(tracker.observe(1), Arrival::Restarted);
        assert_eq!(tracker.observe(u64::MAX), Arrival::Jump);
    }

    #[test]
    fn restart_takes_the_next_number_wherever_it_is() {
        let mut tracker = tracker(&[5, 6]);
        tracker.restart();
        tracker.restart();
        assert_eq!(tracker.observe(1 << 50), Arrival::New);
        assert_eq!(tracker.counts().restarts, 1);
        assert_eq!(tracker.counts().received, 3);
    }

    /// A tracker that remembers everything.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
        /// Seen, and not confirmed.
        apart: BTreeSet<u64>,
        first: u64,
        /// The last that leapt, in one piece, and what said so.
        leapt: (BTreeSet<u64>, u64),
        waits: bool,
    }

    impl Model {
        fn observe(&mut self, number: u64, source: u64) -> Arrival {
            let Some(highest) = self.seen.last().copied() else {
                self.first = number;
                self.seen.insert(number);
                return Arrival::New;
            };
            if number > highest + 1024 {
                return self.leap(number, source, highest);
            }
            self.waits = false;
            if number + 1024 <= highest {
                self.leapt.0.clear();
                return Arrival::Stale;
            }
            match (self.seen.insert(number), number) {
                (false, _) => Arrival::Duplicate,
                _ if number == highest + 1 => Arrival::New,
                _ if number > highest => Arrival::Gap {
                    missing: number - highest - 1,
                },
                _ if number < self.first => Arrival::New,
                _ => Arrival::Late,
            }
        }

        fn leap(&mut self, number: u64, source: u64, highest: u64) -> Arrival {
            if self.leapt.0.contains(&number) {
                return Arrival::Duplicate;
            }
            let (mut all, by) = core::mem::take(&mut self.leapt);
            let last = all.last().copied().filter(|_| self.waits);
            self.waits = true;
            if by == source || last.is_none_or(|last| last.abs_diff(number) >= 1024) {
                let follows = by == source && last.is_some_and(|last| last + 1 == number);
                all.retain(|_| follows);
                all.insert(number);
                self.apart.insert(number);
                self.leapt = (all, source);
                return Arrival::Leap;
            }
            self.waits = false;
            all.insert(number);
            let missing = all.last().unwrap() - highest - all.len() as u64;
            for number in all {
                self.apart.remove(&number);
                self.seen.insert(number);
            }
            Arrival::Gap { missing }
        }
    }

    #[test]
    fn agrees_with_a_model_that_remembers_everything() {
        let mut state = 1_u64;
        let mut random = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut tracker: SequenceTracker = SequenceTracker::new();
        let mut model = Model::default();
        let (mut at, mut source) = (100_000_u64, 0);
        let mut leaps = [0; 2];
        for _ in 0..200_000 {
            let expected = model.observe(at, source);
            assert_eq!(tracker.observe_from(at, source), expected, "{at}");
            let counts = tracker.counts();
            leaps[0] += u64::from(matches!(expected, Arrival::Gap { missing: 1024.. }));
            leaps[1] += u64::from(expected == Arrival::Leap);
            assert_eq!(counts.received + counts.missing, counts.spanned);
            let seen = counts.received + counts.before_first;
            assert_eq!(seen, model.seen.len() as u64);
            assert_eq!(counts.restarts, 0);
            source += random(2);
            let step = [1, 1, 1, 3, 70, 1100, 3000][random(7) as usize];
            let leapt = expected == Arrival::Leap;
            let from = if leapt { at } else { counts.highest };
            at = from + 1 + random(step);
            at -= if random(3) == 0 { random(1200) } else { 0 };
        }
        assert!(leaps.iter().all(|it| *it > 100), "{leaps:?}");
    }
}
