//! Rates, intervals and sizes over a sliding window, per topic and stream.
//!
//! A [`Survey`] is fed with messages and asked for rows at any time. Times are those at
//! which the kernel received, so that they do not depend on when this program got
//! to run. Memory is bounded whatever the network sends: a window is some buckets, each
//! a sum of what fell into it, and there is a greatest number of windows.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV6;
use std::time::{Duration, SystemTime};

use mcl_udp::{Encoding, Message, StreamId, Topic};

use crate::output::counted;

/// How many pieces a window is divided into: it slides by one of them at a time.
const BUCKETS: u64 = 50;

/// How many pairs of topic and stream are kept apart.
const MAX_ENTRIES: usize = 4096;

/// Mean, extremes and standard deviation of values, in constant memory.
///
/// T. F. Chan, G. H. Golub, R. J. LeVeque: Updating formulae and a pairwise algorithm
/// for computing sample variances, 1979.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Sum of the squares of the differences from the mean.
    squares: f64,
}

impl Spread {
    pub(crate) const NONE: Self = Self {
        count: 0,
        mean: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        squares: 0.0,
    };

    const fn of(value: f64) -> Self {
        Self {
            count: 1,
            mean: value,
            min: value,
            max: value,
            squares: 0.0,
        }
    }

    pub(crate) fn add(&mut self, value: f64) {
        self.merge(&Self::of(value));
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let (all, apart) = (mine + theirs, other.mean - self.mean);
        self.count += other.count;
        self.mean += apart * theirs / all;
        self.squares += other.squares + apart * apart * mine * theirs / all;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Of the population, not of a sample.
    pub(crate) fn deviation(&self) -> f64 {
        match self.count {
            0 => 0.0,
            count => (self.squares / count as f64).max(0.0).sqrt(),
        }
    }

    pub(crate) fn sum(&self) -> f64 {
        self.mean * self.count as f64
    }

    /// None if there are no values.
    pub(crate) fn some(self) -> Option<Self> {
        (self.count > 0).then_some(self)
    }
}

/// What fell into a piece of a window.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    number: u64,
    sizes: Spread,
    intervals: Spread,
    latencies: Spread,
}

/// What arrived within a window that ends now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Sizes in bytes; how many there are is how many messages.
    pub(crate) sizes: Spread,
    /// Seconds from each message to the next.
    pub(crate) intervals: Spread,
    /// Seconds from publishing to receiving, by the clocks of the two machines: below
    /// zero where the sender's is ahead.
    pub(crate) latencies: Spread,
    /// Messages a second: how many intervals fit into one. Sinks when the next message
    /// is overdue.
    pub(crate) rate: f64,
}

impl Figures {
    /// Bytes a second at this rate and mean size.
    pub(crate) fn bandwidth(&self) -> f64 {
        self.rate * self.sizes.mean
    }
}

/// Arrivals within a sliding window. Knows no clock: times are arguments, counted from
/// wherever the caller likes.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    piece: Duration,
    buckets: VecDeque<Bucket>,
    last: Option<Duration>,
}

impl Window {
    pub(crate) fn new(length: Duration) -> Self {
        let piece = length.as_nanos() / u128::from(BUCKETS);
        let piece = u64::try_from(piece).unwrap_or(u64::MAX).max(1);
        Self {
            piece: Duration::from_nanos(piece),
            buckets: VecDeque::new(),
            last: None,
        }
    }

    pub(crate) fn add(&mut self, at: Duration, bytes: usize, latency: Option<f64>) {
        let number = self.number(at);
        self.forget(number);
        let newest = self.buckets.back().map(|bucket| bucket.number);
        // What a clock set back brings belongs to the newest piece.
        if newest.is_none_or(|newest| newest < number) {
            self.buckets.push_back(Bucket {
                number,
                sizes: Spread::NONE,
                intervals: Spread::NONE,
                latencies: Spread::NONE,
            });
        }
        if let Some(bucket) = self.buckets.back_mut() {
            bucket.sizes.add(bytes as f64);
            if let Some(latency) = latency {
                bucket.latencies.add(latency);
            }
            if let Some(last) = self.last {
                bucket.intervals.add(at.saturating_sub(last).as_secs_f64());
            }
        }
        self.last = Some(at);
    }

    pub(crate) fn figures(&self, now: Duration) -> Figures {
        let [mut sizes, mut intervals, mut latencies] = [Spread::NONE; 3];
        let oldest = self.oldest(self.number(now));
        for bucket in self.buckets.iter().filter(|it| it.number >= oldest) {
            sizes.merge(&bucket.sizes);
            intervals.merge(&bucket.intervals);
            latencies.merge(&bucket.latencies);
        }
        Figures {
            sizes,
            intervals,
            latencies,
            rate: self.rate(&intervals, now),
        }
    }

    fn rate(&self, intervals: &Spread, now: Duration) -> f64 {
        let open = now.saturating_sub(self.last.unwrap_or(now)).as_secs_f64();
        let overdue = (open - intervals.mean).max(0.0);
        match intervals.sum() + overdue {
            time if time > 0.0 => intervals.count as f64 / time,
            _ => 0.0,
        }
    }

    fn number(&self, at: Duration) -> u64 {
        u64::try_from(at.as_nanos() / self.piece.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The oldest piece of a window whose newest is `number`.
    fn oldest(&self, number: u64) -> u64 {
        number.saturating_sub(BUCKETS - 1)
    }

    fn forget(&mut self, newest: u64) {
        let oldest = self.oldest(newest);
        while self.buckets.front().is_some_and(|it| it.number < oldest) {
            self.buckets.pop_front();
        }
    }
}

/// What is known of one topic of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Entry<X = ()> {
    pub(crate) topic: Option<Topic>,
    pub(crate) stream: StreamId,
    /// As the last message says.
    pub(crate) sender: SocketAddrV6,
    pub(crate) encoding: Encoding,
    /// When the last message arrived.
    pub(crate) last: SystemTime,
    /// From the beginning on, not only in the window.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    window: Window,
    /// What else a subcommand wants to know of it.
    pub(crate) extra: X,
}

impl<X: Default> Entry<X> {
    fn new<T>(message: &Message<T>, window: Duration) -> Self {
        Self {
            topic: message.topic.clone(),
            stream: message.stream,
            sender: message.sender,
            encoding: message.encoding,
            last: message.received,
            messages: 0,
            bytes: 0,
            window: Window::new(window),
            extra: X::default(),
        }
    }
}

impl<X> Entry<X> {
    fn add<T>(&mut self, message: &Message<T>, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        (self.sender, self.encoding) = (message.sender, message.encoding);
        self.last = message.received;
        let latency = message.published.map(|at| signed(message.received, at));
        self.window
            .add(since_epoch(message.received), bytes, latency);
    }

    /// What arrived within the window that ends at `now`.
    pub(crate) fn figures(&self, now: SystemTime) -> Figures {
        self.window.figures(since_epoch(now))
    }
}

/// What was seen of which topics and streams.
#[derive(Debug)]
pub(crate) struct Survey<X = ()> {
    window: Duration,
    entries: HashMap<(Option<Topic>, StreamId), Entry<X>>,
    /// Messages so far, and their payload bytes.
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Of these, how many were of topics or streams beyond what is kept.
    pub(crate) unlisted: u64,
}

impl<X: Default> Survey<X> {
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            window,
            entries: HashMap::new(),
            messages: 0,
            bytes: 0,
            unlisted: 0,
        }
    }

    /// Takes a message with a payload of so many bytes into account. Gives its entry,
    /// unless there is no room for another one.
    pub(crate) fn add<T>(&mut self, message: &Message<T>, bytes: usize) -> Option<&mut Entry<X>> {
        self.messages += 1;
        self.bytes += bytes as u64;
        let key = (message.topic.clone(), message.stream);
        if self.is_full() && !self.entries.contains_key(&key) {
            self.unlisted += 1;
            return None;
        }
        let new = || Entry::new(message, self.window);
        let entry = self.entries.entry(key).or_insert_with(new);
        entry.add(message, bytes);
        Some(entry)
    }
}

impl<X> Survey<X> {
    fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES
    }

    /// All entries, by topic and then by stream.
    pub(crate) fn entries(&self) -> Vec<&Entry<X>> {
        let mut entries: Vec<_> = self.entries.values().collect();
        entries.sort_by(|one, two| (&one.topic, one.stream).cmp(&(&two.topic, two.stream)));
        entries
    }

    /// All entries, in no order.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry<X>> {
        self.entries.values_mut()
    }

    /// Makes room, if there is none, by forgetting what was last heard before `time`:
    /// each restart of a publisher is another stream.
    pub(crate) fn make_room(&mut self, time: SystemTime) {
        if self.is_full() {
            self.entries.retain(|_, entry| entry.last >= time);
        }
    }

    /// What is to be said if not all of it is listed.
    pub(crate) fn remark(&self) -> Option<String> {
        let unlisted = (self.unlisted > 0).then_some(self.unlisted)?;
        Some(format!(
            "{} of topics or streams beyond {MAX_ENTRIES} not listed (`--topic` chooses)",
            counted(unlisted, "message")
        ))
    }
}

/// Seconds from `earlier` to `later`, below zero if it is the other way round.
fn signed(later: SystemTime, earlier: SystemTime) -> f64 {
    match later.duration_since(earlier) {
        Ok(time) => time.as_secs_f64(),
        Err(error) => -error.duration().as_secs_f64(),
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn near(one: f64, two: f64) -> bool {
        (one - two).abs() < 1e-9
    }

    #[test]
    fn merged_parts_are_as_the_whole() {
        let values = [0.1, 0.4, 0.2, 0.9, 0.1, 0.3];
        let spread = |values: &[f64]| {
            let mut spread = Spread::NONE;
            values.iter().for_each(|&value| spread.add(value));
            spread
        };
        let whole = spread(&values);
        let mean = values.iter().sum::<f64>() / 6.0;
        let square = |value: &f64| (value - mean) * (value - mean);
        let variance = values.iter().map(square).sum::<f64>() / 6.0;
        assert!(near(whole.mean, mean) && near(whole.deviation(), variance.sqrt()));
        assert_eq!((whole.count, whole.min, whole.max), (6, 0.1, 0.9));
        for at in 0..=6 {
            let mut parts = spread(&values[..at]);
            parts.merge(&spread(&values[at..]));
            assert!(near(parts.mean, mean) && near(parts.deviation(), whole.deviation()));
            assert_eq!((parts.count, parts.min, parts.max), (6, 0.1, 0.9));
        }
        assert_eq!(Spread::NONE.deviation(), 0.0);
    }

    #[test]
    fn a_steady_flow_has_its_rate_and_no_jitter() {
        let mut window = Window::new(ms(1000));
        for number in 0..300 {
            window.add(ms(number * 10), 50, None);
        }
        let figures = window.figures(ms(2990));
        assert!(near(figures.rate, 100.0), "{figures:?}");
        assert!(near(figures.bandwidth(), 5000.0));
        // The window holds a second of them, more or less a bucket.
        assert!((98..=102).contains(&figures.sizes.count), "{figures:?}");
        assert!(figures.intervals.deviation() < 1e-6);
        assert!(near(figures.intervals.min, 0.01) && near(figures.intervals.max, 0.01));
    }

    #[test]
    fn a_flow_that_ends_fades_and_is_gone_after_the_window() {
        let mut window = Window::new(ms(1000));
        (0..100).for_each(|number| window.add(ms(number * 10), 50, None));
        assert!(near(window.figures(ms(1000)).rate, 100.0));
        let halfway = window.figures(ms(1490));
        assert!(halfway.rate < 60.0 && halfway.rate > 40.0, "{halfway:?}");
        let after = window.figures(ms(2100));
        assert_eq!((after.sizes.count, after.rate), (0, 0.0));
    }

    #[test]
    fn one_message_has_no_rate_and_the_clock_may_be_set_back() {
        let mut window = Window::new(ms(1000));
        assert_eq!(window.figures(ms(0)).rate, 0.0);
        window.add(ms(500_000), 1, None);
        assert_eq!(window.figures(ms(500_000)).rate, 0.0);
        window.add(ms(100), 1, None);
        window.add(ms(200), 1, None);
        let figures = window.figures(ms(500_000));
        assert_eq!((figures.sizes.count, figures.intervals.min), (3, 0.0));
    }

    #[test]
    fn memory_does_not_follow_the_rate() {
        let mut window = Window::new(ms(1000));
        for micro in 0..100_000 {
            window.add(Duration::from_micros(micro * 100), 1, None);
        }
        assert!(window.buckets.len() <= BUCKETS as usize);
    }

    #[test]
    fn latencies_may_be_below_zero() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(signed(epoch + ms(500), epoch), 0.5);
        assert_eq!(signed(epoch, epoch + ms(500)), -0.5);
        let mut window = Window::new(ms(1000));
        window.add(ms(0), 1, Some(-0.5));
        window.add(ms(100), 1, Some(0.25));
        window.add(ms(200), 1, None);
        let latencies = window.figures(ms(300)).latencies;
        assert_eq!((latencies.count, latencies.mean), (2, -0.125));
        assert_eq!((latencies.min, latencies.max), (-0.5, 0.25));
    }

    #[test]
    fn what_is_silent_gives_way_only_when_there_is_no_room() {
        let now = SystemTime::UNIX_EPOCH + ms(100_000);
        let mut survey: Survey = Survey::new(ms(1000));
        for number in 0..MAX_ENTRIES as u64 {
            assert!(!survey.is_full());
            survey.make_room(now);
            let entry = Entry {
                topic: None,
                stream: StreamId(number),
                sender: SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, 0, 0, 0),
                encoding: Encoding::RAW,
                last: SystemTime::UNIX_EPOCH + ms(99_000 + 2000 * (number % 2)),
                messages: 1,
                bytes: 1,
                window: Window::new(ms(1000)),
                extra: (),
            };
            survey.entries.insert((None, entry.stream), entry);
        }
        assert!(survey.is_full());
        survey.make_room(now);
        assert_eq!(survey.entries().len(), MAX_ENTRIES / 2);
        assert!(survey.entries().iter().all(|entry| entry.last >= now));
        assert_eq!(survey.remark(), None);
        survey.unlisted = 1;
        assert!(survey.remark().unwrap().starts_with("1 message of"));
    }
}
