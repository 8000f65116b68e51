//! The publish path, round trips, and what a topic filter costs, over real sockets
//! in a private network namespace, which it makes itself:
//!
//! ```sh
//! cargo bench -p mcl-benches --bench sockets
//! ```
#![allow(missing_docs, reason = "the macros of criterion make public items")]

mod settings;

use std::fmt::Write;
use std::iter;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Bencher, BenchmarkId, Criterion, Throughput};
use mcl_benches::namespace::{self, End, pin};
use mcl_benches::ratio::{self, Pairs, row};
use mcl_udp::{
    BroadcasterBuilder, Connection, Pacing, Queue, Raw, RawBroadcaster, RawListener,
    RawPullListener, RecvTimeoutError,
};

const GROUP: &str = "ff15::6d63:6c";
/// The ports of the two directions.
const THERE: u16 = 26_000;
const BACK: u16 = 26_001;

/// How long a message is waited for that cannot be lost: the buffers are never full.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the far end looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

fn connection(port: u16) -> Connection {
    let group = Connection::new(GROUP).expect("a group");
    group.with_port(port).expect("a port")
}

fn unpaced(port: u16) -> BroadcasterBuilder<[u8], Raw> {
    // As bare sockets do: without checksums of one's own.
    RawBroadcaster::builder(&connection(port))
        .pacing(Pacing::None)
        .crc(false)
}

fn open(port: u16) -> RawBroadcaster {
    unpaced(port).open().expect("a broadcaster")
}

/// What it takes to publish, to a group that nobody has joined: the datagrams end at
/// the bridge.
fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    for size in [64, 1 << 10, 64 << 10, 1 << 20] {
        let payload = vec![7; size];
        let alone = open(THERE);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("alone", size), |bencher| {
            bencher.iter(|| alone.publish(&payload).expect("sent"));
        });
        // Longer messages share nothing: they go as if alone.
        if size <= 1 << 10 {
            group.bench_function(BenchmarkId::new("coalesced", size), |bencher| {
                coalesced(bencher, &payload);
            });
            group.bench_function(BenchmarkId::new("batch", size), |bencher| {
                bencher.iter_custom(|messages| {
                    let batch = iter::repeat_n(payload.as_slice(), messages as usize);
                    let began = Instant::now();
                    alone.publish_batch(batch).expect("sent");
                    began.elapsed()
                });
            });
        }
    }
}

fn coalesced(bencher: &mut Bencher<'_>, payload: &[u8]) {
    let coalescing = unpaced(THERE).coalesce(Duration::from_millis(1));
    let broadcaster = coalescing.open().expect("a broadcaster");
    bencher.iter_custom(|messages| {
        let began = Instant::now();
        for _ in 0..messages {
            broadcaster.publish(payload).expect("accepted");
        }
        broadcaster.flush().expect("sent");
        began.elapsed()
    });
}

/// A way to receive, at both ends of a round trip.
#[derive(Clone, Copy)]
enum Way {
    /// On the thread that pings.
    Pull { spin: Duration },
    /// A callback on the listener's thread, which sends the next ping.
    Inline,
    /// On the listener's thread, then over to the one that pings.
    Queue,
}

/// Round trips, both directions multicast. Each end has a processor of its own, so
/// that a listener's thread and the one that it hands over to share one.
fn round_trip(criterion: &mut Criterion) {
    let ways = [
        (
            "pull",
            Way::Pull {
                spin: Duration::ZERO,
            },
        ),
        (
            "pull spinning",
            Way::Pull {
                spin: Duration::from_millis(1),
            },
        ),
        ("inline", Way::Inline),
        ("queue", Way::Queue),
    ];
    let mut group = criterion.benchmark_group("round trip");
    for size in [64, 64 << 10] {
        for (name, way) in ways {
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                with_echo(way, || {
                    let mut near = Near::open(way, size);
                    bencher.iter_custom(|round_trips| near.time(round_trips));
                });
            });
        }
    }
}

/// Runs `near` while a thread at the far end sends back what comes.
fn with_echo(way: Way, near: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let (ready, is_ready) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(End::Far);
            echo(way, &stop, ready);
        });
        is_ready.recv_timeout(PATIENCE).expect("the echo is there");
        let stopper = StopOnDrop(&stop);
        near();
        drop(stopper);
    });
}

/// Ends the echo also when its counterpart panics: the scope waits for it.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn echo(way: Way, stop: &AtomicBool, ready: mpsc::Sender<()>) {
    let broadcaster = open(BACK);
    let mut back = Receiving::open(way, THERE, {
        move |payload: &[u8]| {
            broadcaster.publish(payload).expect("sent");
        }
    });
    ready.send(()).expect("somebody waits");
    while !stop.load(Ordering::Relaxed) {
        back.wait(LOOK_EVERY);
    }
}

/// A listener that gives each payload to a function.
enum Receiving<F> {
    Pull(Box<RawPullListener>, F),
    /// The function is with the listener.
    Inline(#[expect(dead_code, reason = "it receives until it is dropped")] RawListener),
    Queue(
        Queue<mcl_udp::Payload, Raw>,
        F,
        #[expect(dead_code, reason = "as above")] RawListener,
    ),
}

impl<F: FnMut(&[u8]) + Send + 'static> Receiving<F> {
    fn open(way: Way, port: u16, mut then: F) -> Self {
        let connection = connection(port);
        match way {
            Way::Pull { spin } => {
                let listener = RawPullListener::builder(&connection).spin(spin);
                Self::Pull(Box::new(listener.open_pull().expect("a listener")), then)
            }
            Way::Inline => {
                let listener = RawListener::open(&connection).expect("a listener");
                listener.subscribe_inline(move |message| then(&message.payload));
                Self::Inline(listener)
            }
            Way::Queue => {
                let listener = RawListener::open(&connection).expect("a listener");
                Self::Queue(listener.queue(), then, listener)
            }
        }
    }

    /// Waits for a message and does with it what is to be done; or for the time, if
    /// another thread does so.
    fn wait(&mut self, at_most: Duration) {
        match self {
            Self::Pull(listener, then) => {
                if let Some(message) = listener.recv_timeout(at_most).expect("no error") {
                    then(&message.payload);
                }
            }
            Self::Inline(_) => thread::sleep(at_most),
            Self::Queue(queue, then, _) => match queue.recv_timeout(at_most) {
                Ok(message) => then(&message.payload),
                Err(RecvTimeoutError::Timeout) => {}
                Err(error) => panic!("{error}"),
            },
        }
    }
}

/// What is left to do of a series of round trips.
struct Series {
    broadcaster: RawBroadcaster,
    left: AtomicU64,
    payload: Vec<u8>,
}

impl Series {
    /// Takes an echo; the next ping is sent at once. Whether that was the last.
    fn returned(&self, echo: &[u8]) -> bool {
        assert_eq!(echo.len(), self.payload.len(), "another message came back");
        let last = self.left.fetch_sub(1, Ordering::Relaxed) == 1;
        if !last {
            self.ping();
        }
        last
    }

    fn ping(&self) {
        self.broadcaster.publish(&self.payload).expect("sent");
    }
}

/// The end that pings and measures.
struct Near {
    way: Way,
    series: Arc<Series>,
    receiving: Box<dyn FnMut(Duration)>,
    is_done: mpsc::Receiver<Instant>,
}

impl Near {
    fn open(way: Way, size: usize) -> Self {
        let series = Arc::new(Series {
            broadcaster: open(THERE),
            left: AtomicU64::new(0),
            payload: vec![7; size],
        });
        let (done, is_done) = mpsc::channel();
        let mut receiving = Receiving::open(way, BACK, {
            let series = Arc::clone(&series);
            move |echo: &[u8]| {
                if series.returned(echo) {
                    done.send(Instant::now()).expect("somebody waits");
                }
            }
        });
        Self {
            way,
            series,
            receiving: Box::new(move |at_most| receiving.wait(at_most)),
            is_done,
        }
    }

    /// How long that many round trips take, one after the other.
    fn time(&mut self, round_trips: u64) -> Duration {
        self.series.left.store(round_trips, Ordering::Relaxed);
        let began = Instant::now();
        self.series.ping();
        let ended = match self.way {
            Way::Inline => self.is_done.recv_timeout(Duration::from_secs(60)).ok(),
            _ => (0..round_trips).find_map(|_| {
                (self.receiving)(PATIENCE);
                self.is_done.try_recv().ok()
            }),
        };
        ended.expect("nothing was lost").duration_since(began)
    }
}

/// The round trips of other ways in those of a pull: pairs of short series.
fn compare_round_trips() {
    const ROUND_TRIPS: u64 = 1000;
    if !ratio::wanted("round trip") {
        return;
    }
    let micros = |way, size| {
        let mut elapsed = Duration::ZERO;
        with_echo(way, || {
            let mut near = Near::open(way, size);
            near.time(100);
            elapsed = near.time(ROUND_TRIPS);
        });
        elapsed.as_secs_f64() * 1e6 / ROUND_TRIPS as f64
    };
    let pull = Way::Pull {
        spin: Duration::ZERO,
    };
    row(&[&"round trip, us", &"pull", &"this", &"ratio (all)"]);
    row(&[&"---", &"---", &"---", &"---"]);
    for size in [64, 64 << 10] {
        for (name, way) in [("inline", Way::Inline), ("queue", Way::Queue)] {
            let pairs = Pairs::of(15, |_| {
                let pulled = micros(pull, size);
                (micros(way, size), pulled)
            });
            row(&[
                &format_args!("{name}, {size} B"),
                &format_args!("{:.1}", pairs.divisor()),
                &format_args!("{:.1}", pairs.dividend()),
                &pairs,
            ]);
        }
    }
}

/// Messages of a round: two trains, which the smallest receive buffers hold.
const ROUND: usize = 1000;
const LARGE_ROUND: usize = 2;
const LARGE: usize = 64 << 10;

/// What a round of messages consists of, for listeners to "sensor/0000" alone or to
/// all thousand sensors.
#[derive(Clone, Copy)]
enum Messages {
    OneWanted,
    OneUnwanted,
    ThousandUnwanted,
    LargeUnwanted,
}

impl Messages {
    const ALL: [(&str, Self); 4] = [
        ("64 B of one wanted topic", Self::OneWanted),
        ("64 B of one unwanted topic", Self::OneUnwanted),
        ("64 B of 1,000 unwanted topics", Self::ThousandUnwanted),
        ("64 KiB of an unwanted topic", Self::LargeUnwanted),
    ];

    fn in_round(self) -> usize {
        match self {
            Self::LargeUnwanted => LARGE_ROUND,
            _ => ROUND,
        }
    }

    fn payload(self) -> Vec<u8> {
        match self {
            Self::LargeUnwanted => vec![7; LARGE],
            _ => vec![7; 64],
        }
    }

    fn write_topic(self, topic: &mut String, index: usize) {
        let (kind, index) = match self {
            Self::OneWanted => ("sensor", 0),
            Self::OneUnwanted | Self::LargeUnwanted => ("drives", 0),
            Self::ThousandUnwanted => ("drives", index),
        };
        topic.clear();
        write!(topic, "{kind}/{index:04}").expect("room");
    }
}

/// A listener to one topic and one to a thousand, which get the same datagrams.
struct Filters {
    broadcaster: RawBroadcaster,
    one: RawPullListener,
    thousand: RawPullListener,
    topic: String,
}

impl Filters {
    fn open() -> Self {
        let topics: Vec<_> = (0..1000).map(|it| format!("sensor/{it:04}")).collect();
        let listener = |topics: &[String]| {
            let topics = topics.iter().map(String::as_str);
            let builder = RawPullListener::builder(&connection(THERE)).topics(topics);
            builder.open_pull().expect("a listener")
        };
        let coalescing = unpaced(THERE).coalesce(Duration::from_secs(1));
        Self {
            broadcaster: coalescing.open().expect("a broadcaster"),
            one: listener(&topics[..1]),
            thousand: listener(&topics),
            topic: String::new(),
        }
    }

    /// Publishes a round, and then a message that ends it.
    fn publish(&mut self, messages: Messages, payload: &[u8]) {
        for index in 0..messages.in_round() {
            messages.write_topic(&mut self.topic, index);
            self.broadcaster
                .publish_to(&self.topic, payload)
                .expect("accepted");
        }
        self.broadcaster
            .publish_to("sensor/0000", b"end")
            .expect("accepted");
        self.broadcaster.flush().expect("sent");
    }

    /// How long the listeners take for a round that waits in their sockets; which of
    /// them goes first alternates.
    fn round(&mut self, messages: Messages, payload: &[u8], turn: usize) -> (Duration, Duration) {
        self.publish(messages, payload);
        if turn.is_multiple_of(2) {
            let one = drain(&mut self.one);
            (one, drain(&mut self.thousand))
        } else {
            let thousand = drain(&mut self.thousand);
            (drain(&mut self.one), thousand)
        }
    }
}

/// Takes messages to the end of a round; from the socket to the caller's hands, on
/// one thread, without waiting.
fn drain(listener: &mut RawPullListener) -> Duration {
    let began = Instant::now();
    loop {
        let message = listener.recv_timeout(PATIENCE).expect("no error");
        let message = message.expect("the receive buffer holds a round");
        if message.payload == b"end" {
            return began.elapsed();
        }
    }
}

fn filter(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter");
    group.throughput(Throughput::Elements(1));
    let mut filters = Filters::open();
    for (name, messages) in Messages::ALL {
        let payload = messages.payload();
        for (topics, of_one) in [("1 topic", true), ("1000 topics", false)] {
            group.bench_function(BenchmarkId::new(name, topics), |bencher| {
                bencher.iter_custom(|iterations| {
                    let rounds = (iterations as usize).div_ceil(messages.in_round());
                    let elapsed: Duration = (0..rounds)
                        .map(|turn| filters.round(messages, &payload, turn))
                        .map(|(one, thousand)| if of_one { one } else { thousand })
                        .sum();
                    let taken = rounds * messages.in_round();
                    elapsed.mul_f64(iterations as f64 / taken as f64)
                });
            });
        }
    }
}

/// The time of a filter of 1,000 topics in that of a filter of one: pairs of many
/// rounds, each of the same datagrams for both.
fn compare_filters() {
    const ROUNDS: usize = 200;
    if !ratio::wanted("filter") {
        return;
    }
    row(&[
        &"messages",
        &"1 topic, ns",
        &"1,000 topics, ns",
        &"ratio (all)",
    ]);
    row(&[&"---", &"---", &"---", &"---"]);
    let mut filters = Filters::open();
    for (name, messages) in Messages::ALL {
        let payload = messages.payload();
        let pairs = Pairs::of(9, |_| {
            let rounds = (0..ROUNDS).map(|turn| filters.round(messages, &payload, turn));
            let (one, thousand): (Vec<_>, Vec<_>) = rounds.unzip();
            let nanos = |times: Vec<Duration>| {
                let whole: Duration = times.iter().sum();
                whole.as_nanos() as f64 / (ROUNDS * messages.in_round()) as f64
            };
            (nanos(thousand), nanos(one))
        });
        let (one, thousand) = (pairs.divisor(), pairs.dividend());
        row(&[
            &name,
            &format_args!("{one:.0}"),
            &format_args!("{thousand:.0}"),
            &pairs,
        ]);
    }
}

fn main() -> ExitCode {
    namespace::run(|| {
        let mut criterion = settings::criterion().configure_from_args();
        publish(&mut criterion);
        round_trip(&mut criterion);
        filter(&mut criterion);
        criterion.final_summary();
        compare_round_trips();
        compare_filters();
    })
}
