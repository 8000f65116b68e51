//! The whole path in one thread: broadcasters, a network, a listener. No socket,
//! no sleep, no clock but the model's; a run is its seed, and nothing else.
//!
//! After each run the broadcasters' account and the listener's must agree to the
//! datagram and to the message. What failed says its seed:
//!
//! ```text
//! MCL_MODEL_SEED=1234 cargo test -p mcl-wire --test wire model
//! MCL_MODEL_RUNS=100000 cargo test -p mcl-wire --test wire model
//! ```

mod broadcast;
mod crc;
mod network;
mod witness;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::env;

use core::time::Duration;

use mcl_wire::{
    BodyBytes, DatagramCounts, Demux, Disposition, Frame, Header, Limits, Received, Sink, StreamId,
    StreamReport, Verdict,
};

use crate::common::{Hasher, Rng, check, demux, receive, train_len};
use broadcast::{Broadcast, Settings};
use crc::crc32c;
use network::{Arrival, Damage, Network};
use witness::Witness;

/// Runs of each mode, unless the environment says otherwise.
const RUNS: u64 = 1_000;

/// What a run is to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Room enough and no damage: it is known of every message what becomes of it.
    Exact,
    /// The same with damage to anything but identities.
    Damaged,
    /// Damage to anything.
    Mauled,
    /// Little memory.
    Tight,
}

/// What came out, and what the listener's application makes of it.
#[derive(Default)]
struct Inbox {
    good: Vec<(StreamId, u64, Option<String>, Vec<u8>)>,
    /// Whose CRC is wrong or gone.
    corrupt: Vec<StreamId>,
    buffers: Vec<Vec<u8>>,
}

impl Sink for Inbox {
    fn judge(&mut self, message: &Received<'_>) -> Verdict {
        let body = message.body();
        // Every message is sent with a CRC: one without is not as it was sent.
        if body.metadata().crc32c == Some(crc32c(body.crc_covered().into())) {
            return Verdict::Wanted;
        }
        self.corrupt.push(message.stream);
        Verdict::CrcMismatch
    }

    fn message(&mut self, message: Received<'_>) {
        let (stream, number) = (message.stream, message.number);
        let topic = message.topic().map(str::to_owned);
        let payload = message.payload().to_vec();
        self.good.push((stream, number, topic, payload));
        if let BodyBytes::Owned(buffer) = message.into_bytes() {
            self.buffers.push(buffer);
        }
    }
}

struct Run {
    mode: Mode,
    rng: Rng,
    broadcasts: Vec<Broadcast>,
    arrivals: Vec<Arrival>,
    demux: Demux<Hasher>,
    inbox: Inbox,
    witnesses: Vec<Witness>,
    verdicts: HashMap<Disposition, u64>,
    good: HashSet<(StreamId, u64)>,
    corrupt: HashMap<StreamId, u64>,
    /// Numbers of messages of which something was accepted, by broadcast.
    heard: Vec<BTreeSet<u64>>,
    /// Datagrams that were taken in with the one before.
    followed: u64,
}

fn settings(rng: &mut Rng, begin: Duration) -> Settings {
    let heavy = rng.percent(2);
    Settings {
        stream: StreamId(rng.next()),
        begin,
        messages: if heavy { 80 } else { 1 + rng.below(40) },
        datagram_len: [308, 308, 600, 1452][rng.below(4)],
        longest: if heavy { 60_000 } else { 6_000 },
        coalescing: rng.percent(50),
        pause: [10, 1_000, 20_000][rng.below(3)],
        at_the_end: rng.percent(20),
        start: if rng.percent(50) { 0 } else { rng.next() >> 1 },
        seed: rng.next(),
    }
}

/// Two broadcasters at most at a time, which are restarted now and then: as new
/// streams, while datagrams of the old ones are still on their way.
fn broadcasts(rng: &mut Rng) -> Vec<Broadcast> {
    let mut broadcasts = Vec::new();
    for _ in 0..=rng.below(2) {
        let mut begin = Duration::from_secs(1);
        for _ in 0..=rng.below(3) {
            let broadcast = settings(rng, begin).broadcast();
            begin = broadcast.datagrams.last().unwrap().at;
            broadcasts.push(broadcast);
        }
    }
    broadcasts
}

fn network(rng: &mut Rng, mode: Mode) -> Network {
    let corruption = match mode {
        Mode::Exact => 0,
        Mode::Tight => [0, 5][rng.below(2)],
        Mode::Damaged | Mode::Mauled => [1, 5, 30][rng.below(3)],
    };
    let partition = |rng: &mut Rng| {
        let begin = Duration::from_secs(1) + Duration::from_micros(rng.below(200_000) as u64);
        begin..begin + Duration::from_micros(rng.below(50_000) as u64)
    };
    Network {
        loss: [0, 1, 10, 40][rng.below(4)],
        duplication: [0, 0, 5, 50][rng.below(4)],
        corruption,
        damage: if mode == Mode::Mauled {
            Damage::Anything
        } else {
            Damage::Content
        },
        jitter: [1, 100, 10_000][rng.below(3)],
        slow: [0, 2, 20][rng.below(3)],
        very_slow: [0, 0, 2][rng.below(3)],
        partitions: (0..rng.below(3)).map(|_| partition(rng)).collect(),
    }
}

fn limits(rng: &mut Rng, mode: Mode) -> Limits {
    let mut limits = Limits::default();
    limits.max_incomplete = 10_000;
    limits.max_incomplete_per_stream = 10_000;
    limits.expiry = match mode {
        // When damage makes a stream proven earlier or later is not worked out,
        // and so nothing may depend on it.
        Mode::Damaged => Duration::from_secs(600),
        _ => Duration::from_millis([5, 50, 500][rng.below(3)]),
    };
    if mode == Mode::Tight {
        let expiry = limits.expiry;
        limits = Limits::new([1_500, 8_000][rng.below(2)], [5_000, 20_000][rng.below(2)]);
        limits.expiry = expiry;
        limits.max_incomplete = 1 + rng.below(8);
        limits.max_incomplete_per_stream = 1 + rng.below(4);
    }
    limits
}

impl Run {
    fn new(seed: u64, mode: Mode) -> Self {
        let mut rng = Rng(seed);
        let broadcasts = broadcasts(&mut rng);
        let arrivals = network(&mut rng, mode).carry(&broadcasts, &mut rng);
        Self {
            mode,
            arrivals,
            demux: demux(limits(&mut rng, mode)),
            rng,
            inbox: Inbox::default(),
            witnesses: broadcasts.iter().map(|_| Witness::default()).collect(),
            heard: vec![BTreeSet::new(); broadcasts.len()],
            broadcasts,
            verdicts: HashMap::new(),
            good: HashSet::new(),
            corrupt: HashMap::new(),
            followed: 0,
        }
    }

    fn listen(mut self) -> Self {
        let mut now = Duration::ZERO;
        let mut arrivals = core::mem::take(&mut self.arrivals);
        while !arrivals.is_empty() {
            now = self.arrive_together(&mut arrivals);
            if self.rng.percent(50)
                && let Some(buffer) = self.inbox.buffers.pop()
            {
                self.demux.recycle(buffer);
            }
        }
        self.demux.expire(now + self.demux.limits().expiry);
        check(&self.demux);
        assert_eq!(self.demux.pending(), 0);
        self
    }

    /// The next few are handed over at once, as a train if they could be one.
    fn arrive_together(&mut self, arrivals: &mut Vec<Arrival>) -> Duration {
        let few = arrivals.iter().take(self.rng.below(9));
        let bytes: Vec<Vec<u8>> = few.map(|it| self.bytes(it).to_vec()).collect();
        let count = train_len(&bytes, 8).max(1);
        let train: Vec<Arrival> = arrivals.drain(..count).collect();
        let now = train[count - 1].at;
        let bytes: Vec<Vec<u8>> = train.iter().map(|it| self.bytes(it).to_vec()).collect();
        let (verdicts, followed) = receive(&mut self.demux, now, &bytes, &mut self.inbox);
        self.followed += followed;
        check(&self.demux);
        for (arrival, disposition) in train.iter().zip(verdicts) {
            self.judge(arrival, disposition, now);
        }
        self.take_out();
        if self.mode != Mode::Mauled {
            self.audit_so_far();
        }
        now
    }

    fn bytes<'a>(&'a self, arrival: &'a Arrival) -> &'a [u8] {
        let datagram = &self.broadcasts[arrival.from].datagrams[arrival.datagram];
        arrival.damaged.as_ref().unwrap_or(&datagram.bytes)
    }

    fn judge(&mut self, arrival: &Arrival, disposition: Disposition, now: Duration) {
        let broadcast = &self.broadcasts[arrival.from];
        let datagram = &broadcast.datagrams[arrival.datagram];
        let bytes = arrival.damaged.as_ref().unwrap_or(&datagram.bytes);
        *self.verdicts.entry(disposition).or_default() += 1;
        if disposition == Disposition::Accepted {
            self.heard[arrival.from].extend(numbers_in(bytes));
        }
        if self.mode != Mode::Mauled {
            let witness = &mut self.witnesses[arrival.from];
            assert_eq!(disposition, witness.judge(bytes));
            let (sequence, apart) = (&datagram.sequence, &witness.apart);
            if !witness.accepted.contains(sequence) && !apart.contains(sequence) {
                witness.refused.insert(datagram.sequence);
            } else if disposition == Disposition::Accepted && arrival.damaged.is_some() {
                witness.touched.extend(&datagram.carries);
            } else if disposition == Disposition::Accepted {
                let expiry = self.demux.limits().expiry;
                witness.intact(broadcast, datagram, now, expiry);
            }
        }
    }

    /// Whatever comes out was published so, and comes out once.
    fn take_out(&mut self) {
        for (stream, number, topic, payload) in core::mem::take(&mut self.inbox.good) {
            let mut senders = self.broadcasts.iter();
            let same = |published: &broadcast::Published| {
                published.topic == topic.as_deref() && published.payload == payload
            };
            let known = match self.mode {
                // A number may be damaged; the body may not.
                Mode::Mauled => senders.any(|it| it.messages.iter().any(same)),
                _ => {
                    let sender = senders.find(|it| it.stream == stream);
                    sender.and_then(|it| it.message(number)).is_some_and(same)
                }
            };
            assert!(known, "nobody published {number} of {stream}");
            let new = self.good.insert((stream, number));
            assert!(
                new || self.began_again(stream),
                "twice: {number} of {stream}"
            );
        }
        for stream in core::mem::take(&mut self.inbox.corrupt) {
            *self.corrupt.entry(stream).or_default() += 1;
        }
    }

    /// Whether damage has led a stream to begin anew, or put several numbers far off.
    fn began_again(&self, stream: StreamId) -> bool {
        let report = self.demux.stream(stream).unwrap();
        self.mode == Mode::Mauled && (report.numbers.restarts > 0 || report.numbers.apart > 1)
    }

    fn audit(&self) {
        let counted = self.demux.counters().datagrams;
        for (disposition, count) in &self.verdicts {
            assert_eq!(
                counted_as(&counted, *disposition),
                *count,
                "{disposition:?}"
            );
        }
        if self.mode == Mode::Mauled {
            return;
        }
        for (broadcast, witness) in self.broadcasts.iter().zip(&self.witnesses) {
            let report = self.demux.stream(broadcast.stream).unwrap();
            audit_datagrams(broadcast, witness, &report);
            self.audit_messages(broadcast, &report);
            if self.mode != Mode::Tight {
                self.audit_fates(broadcast, witness, &report);
            }
        }
    }

    /// Published = delivered + missing + dropped, by cause.
    fn audit_messages(&self, broadcast: &Broadcast, report: &StreamReport) {
        let (numbers, account) = (report.numbers, report.account());
        let published = broadcast.messages.len() as u64;
        let not_joined = numbers.first - broadcast.first_number - numbers.before_first;
        assert_eq!(numbers.highest, broadcast.first_number + (published - 1));
        assert_eq!(published, not_joined + account.total());
        if broadcast.first_number == 0 {
            assert_eq!(not_joined, numbers.unheard());
        }
        let good = self.good.iter().filter(|it| it.0 == broadcast.stream);
        assert_eq!(account.delivered, good.count() as u64);
        let corrupt = self.corrupt.get(&broadcast.stream).copied();
        assert_eq!(account.crc_mismatch, corrupt.unwrap_or_default());
        assert_eq!(
            (account.filtered, account.unclaimed, account.incomplete),
            (0, 0, 0)
        );
        assert_eq!(published, not_joined + account.delivered + account.lost());
    }

    /// The same at every moment: of each number up to the highest heard.
    fn audit_so_far(&self) {
        for (broadcast, heard) in self.broadcasts.iter().zip(&self.heard) {
            let report = self.demux.stream(broadcast.stream);
            let (Some(report), Some(highest)) = (report, heard.last()) else {
                continue;
            };
            let (numbers, account) = (report.numbers, report.account());
            let sent = highest - broadcast.first_number + 1;
            let not_joined = numbers.first - broadcast.first_number - numbers.before_first;
            assert_eq!(sent, not_joined + account.total());
            assert_eq!(account.total() - account.missing, heard.len() as u64);
            let good = self.good.iter().filter(|it| it.0 == broadcast.stream);
            assert_eq!(account.delivered, good.count() as u64);
            let corrupt = self.corrupt.get(&broadcast.stream).copied();
            assert_eq!(account.crc_mismatch, corrupt.unwrap_or_default());
        }
    }

    /// With room enough, of every message that no damage has touched.
    fn audit_fates(&self, broadcast: &Broadcast, witness: &Witness, report: &StreamReport) {
        for number in broadcast.first_number..=report.numbers.highest {
            if !witness.touched.contains(&number) {
                let delivered = self.good.contains(&(broadcast.stream, number));
                assert_eq!(delivered, witness.complete.contains(&number), "{number}");
            }
        }
        let messages = report.messages;
        let given_way = messages.evicted + messages.refused + messages.abandoned;
        assert_eq!(given_way, 0, "there was room");
        if self.mode == Mode::Exact {
            assert_eq!(messages.seen(), witness.seen.len() as u64);
            let incomplete = witness.seen.len() - witness.complete.len();
            assert_eq!(messages.expired + messages.stranded, incomplete as u64);
            assert_eq!(messages.malformed() + messages.filtered, 0);
        }
    }
}

/// Sent = accepted + missing + before the first, and each of these is known.
fn audit_datagrams(broadcast: &Broadcast, witness: &Witness, report: &StreamReport) {
    let counts = report.datagrams;
    let sent = broadcast.datagrams.len() as u64;
    let accepted = witness.accepted.len() as u64;
    let not_joined = counts.first - broadcast.first_sequence - counts.before_first;
    assert_eq!((counts.restarts, counts.jumps), (0, 0));
    assert_eq!(counts.highest, broadcast.first_sequence + (sent - 1));
    assert_eq!(counts.received + counts.before_first, accepted);
    assert_eq!(counts.apart, witness.apart.len() as u64);
    assert_eq!(sent, accepted + counts.missing + not_joined);
    let dropped = witness.refused.difference(&witness.accepted).count() as u64;
    assert!(
        counts.missing + not_joined >= dropped,
        "the rest never came"
    );
}

/// Of which messages a datagram says something. Damage may put it outside the
/// sequence, so that nobody acts upon it, or make a message of its padding.
fn numbers_in(bytes: &[u8]) -> Vec<u64> {
    let Ok((header, frames)) = Header::decode(bytes) else {
        return Vec::new();
    };
    let number = |frame| match frame {
        Ok(Frame::Message(message)) => Some(message.number),
        Ok(Frame::Fragment(fragment)) => Some(fragment.number),
        _ => None,
    };
    let frames = frames.filter(|_| !header.unsequenced);
    frames.filter_map(number).collect()
}

fn counted_as(counts: &DatagramCounts, disposition: Disposition) -> u64 {
    match disposition {
        Disposition::Accepted => counts.accepted,
        Disposition::NotMcl => counts.not_mcl,
        Disposition::Version => counts.version,
        Disposition::MalformedHeader => counts.malformed_header,
        Disposition::CriticalFlag => counts.critical_flag,
        Disposition::MalformedFrame => counts.malformed_frame,
        Disposition::CriticalFrame => counts.critical_frame,
        Disposition::Duplicate => counts.duplicate,
        Disposition::Stale => counts.stale,
        Disposition::Jump => counts.jump,
        other => panic!("nobody asked for {other:?}"),
    }
}

/// Says how to run again what has panicked.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    #[allow(clippy::print_stdout, reason = "the seed is what to run again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed with MCL_MODEL_SEED={}", self.0);
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

/// Something that runs are to reach, lest they show nothing.
struct Place(&'static str, fn(&Run) -> bool);

/// Runs a mode and asserts that each of `places` was reached, by some run.
fn runs(mode: Mode, places: &[Place]) {
    let count = from_environment("MCL_MODEL_RUNS").unwrap_or(RUNS);
    let one = from_environment("MCL_MODEL_SEED");
    let seeds = one.map_or(0..count, |seed| seed..seed + 1);
    let mut reached = vec![0; places.len()];
    for seed in seeds {
        let guard = SeedOnPanic(seed);
        let run = Run::new(seed, mode).listen();
        run.audit();
        for (times, Place(_, is_there)) in reached.iter_mut().zip(places) {
            *times += u64::from(is_there(&run));
        }
        drop(guard);
    }
    let all = reached.iter().all(|times| *times >= 5);
    let names: Vec<_> = places.iter().map(|Place(name, _)| *name).collect();
    assert!(
        all || one.is_some() || count < RUNS,
        "{names:?}: {reached:?}"
    );
}

fn any(run: &Run, count: impl Fn(&StreamReport) -> u64) -> bool {
    run.demux.streams().any(|report| count(&report) > 0)
}

#[test]
fn every_loss_is_accounted_for() {
    runs(
        Mode::Exact,
        &[
            Place("all delivered", |run| !any(run, |it| it.numbers.missing)),
            Place("missing", |run| any(run, |it| it.datagrams.missing)),
            Place("late", |run| any(run, |it| it.datagrams.late)),
            Place("before the first", |run| {
                any(run, |it| it.numbers.before_first)
            }),
            Place("stale", |run| any(run, |it| it.datagrams.stale)),
            Place("duplicate", |run| any(run, |it| it.datagrams.duplicate)),
            Place("expired", |run| any(run, |it| it.messages.expired)),
            Place("stranded", |run| any(run, |it| it.messages.stranded)),
            Place("followed", |run| run.followed > 0),
            Place("the last number", |run| {
                run.demux.streams().any(|it| it.numbers.highest == u64::MAX)
            }),
        ],
    );
}

#[test]
fn damage_is_counted_or_harmless() {
    runs(
        Mode::Damaged,
        &[
            Place("refused", |run| {
                run.demux.counters().datagrams.malformed_frame > 0
            }),
            Place("wrong CRC", |run| !run.corrupt.is_empty()),
            Place("malformed", |run| any(run, |it| it.messages.malformed())),
            Place("contradicting", |run| {
                run.demux.counters().frames.fragment_contradicting > 0
            }),
            Place("harmless", |run| {
                let mut pairs = run.broadcasts.iter().zip(&run.witnesses);
                pairs.any(|(it, witness)| {
                    let mut touched = witness.touched.iter();
                    touched.any(|number| run.good.contains(&(it.stream, *number)))
                })
            }),
        ],
    );
}

#[test]
fn damage_to_anything_delivers_nothing_else() {
    runs(
        Mode::Mauled,
        &[
            Place("ghosts", |run| {
                run.demux.stream_count() > run.broadcasts.len()
            }),
            Place("jump", |run| run.demux.counters().datagrams.jump > 0),
            Place("version", |run| run.demux.counters().datagrams.version > 0),
        ],
    );
}

#[test]
fn little_memory_is_accounted_for() {
    runs(
        Mode::Tight,
        &[
            Place("evicted", |run| any(run, |it| it.messages.evicted)),
            Place("refused", |run| any(run, |it| it.messages.refused)),
            Place("too large", |run| any(run, |it| it.messages.too_large)),
            Place("no room", |run| {
                run.demux.counters().frames.fragment_no_room > 0
            }),
        ],
    );
}
