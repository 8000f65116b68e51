//! The wire format without sockets: cutting a message up and putting it together
//! again, in order and shuffled, and what time and checksum would cost a message:
//!
//! ```sh
//! cargo bench -p mcl-benches --bench codec
//! ```
#![allow(missing_docs, reason = "the macros of criterion make public items")]

mod settings;

use std::cell::LazyCell;
use std::hash::RandomState;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Bencher, Criterion, Throughput, criterion_group, criterion_main};
use mcl_benches::interleaving::{
    ALL, FRAGMENT, Interleaving, Kept, LARGE, Scratch, Together, each_burst,
};
use mcl_benches::traffic::{DATAGRAM, Last, TRAIN, coalesce, fragmented, head, shuffle};
use mcl_net::Receiver;
use mcl_wire::{Demux, FRAGMENT_OVERHEAD, Fragmenter, Limits, StreamId};

const SIZES: [usize; 4] = [1 << 10, 64 << 10, 1 << 20, 8 << 20];

fn fragment(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fragment");
    for size in SIZES {
        let (head, payload) = (head(), vec![7; size]);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| {
                let fragments = Fragmenter::new(0, &head, &payload, DATAGRAM).expect("valid");
                fragments.for_each(|fragment| {
                    black_box(fragment.prefix(StreamId(1), 7));
                });
            });
        });
    }
}

fn reassemble(criterion: &mut Criterion) {
    for (name, shuffled) in [
        ("reassemble in order", false),
        ("reassemble shuffled", true),
    ] {
        let mut group = criterion.benchmark_group(name);
        for size in SIZES {
            let mut demux = Demux::new(Limits::default(), RandomState::new());
            let mut last = Last::default();
            let payload = vec![7; size];
            let (mut number, mut sequence) = (0, 0);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(size.to_string(), |bencher| {
                let set_up = || {
                    let mut datagrams = fragmented(StreamId(1), number, sequence, &payload);
                    number += 1;
                    sequence += datagrams.len() as u64;
                    if shuffled {
                        shuffle(&mut datagrams);
                    }
                    datagrams
                };
                let take_in = |datagrams: Vec<Vec<u8>>| {
                    for datagram in &datagrams {
                        demux.datagram(Duration::ZERO, datagram, &mut last);
                    }
                    if let Some(buffer) = last.0.take() {
                        demux.recycle(buffer);
                    }
                    datagrams
                };
                bencher.iter_batched(set_up, take_in, BatchSize::PerIteration);
            });
        }
    }
}

/// Reassembly.
struct Reassembly {
    way: Interleaving,
    demux: Demux<RandomState>,
    last: Last,
    kept: Kept<Vec<u8>>,
    scratch: Scratch,
    number: u64,
}

impl Reassembly {
    fn new(way: Interleaving) -> Self {
        let mut new = Self {
            way,
            demux: Demux::new(Limits::default(), RandomState::new()),
            last: Last::default(),
            kept: Kept::new(way),
            scratch: Scratch::new(way.total()),
            number: 0,
        };
        // Streams are proven and memory is there before anything is measured.
        (0..way.to_warm()).for_each(|_| new.round());
        new
    }

    fn round(&mut self) {
        let Self {
            way,
            demux,
            last,
            kept,
            ..
        } = self;
        self.scratch.round(*way, self.number, |bursts, datagrams| {
            for (at, (_, train)) in each_burst(bursts, datagrams).enumerate() {
                // As listeners do with single datagrams that they receive together.
                if way.burst == 1 && at % Receiver::MOST_TRAINS == 0 {
                    demux.prefetch(datagrams.chunks(DATAGRAM).skip(at));
                }
                demux.train(Duration::ZERO, train, DATAGRAM, last);
                let delivered = last.0.take();
                if let Some(oldest) = delivered.and_then(|it| kept.put(it)) {
                    demux.recycle(oldest);
                }
            }
        });
        self.number += 1;
    }

    fn bench(&mut self, bencher: &mut Bencher<'_>) {
        let way = self.way;
        bencher.iter_custom(|iterations| way.time(iterations, || self.round()));
        let delivered = self.demux.counters().messages.delivered;
        assert_eq!(delivered, self.number * way.streams, "nothing may be lost");
    }
}

/// The same bytes to as many buffers in the same order: what memory costs.
struct Copy {
    way: Interleaving,
    buffers: Vec<Vec<u8>>,
    scratch: Scratch,
    number: u64,
}

impl Copy {
    fn new(way: Interleaving) -> Self {
        Self {
            way,
            buffers: vec![vec![1; way.total()]; way.buffers],
            scratch: Scratch::new(way.total()),
            number: 0,
        }
    }

    fn round(&mut self) {
        let (way, number, buffers) = (self.way, self.number, &mut self.buffers);
        self.scratch.round(way, number, |bursts, datagrams| {
            for ((stream, indexes), train) in each_burst(bursts, datagrams) {
                let message = number * way.streams + stream;
                let buffer = &mut buffers[message as usize % way.buffers];
                for (datagram, index) in train.chunks(DATAGRAM).zip(indexes.clone()) {
                    let at = index as usize * FRAGMENT;
                    let place = &mut buffer[at..at + FRAGMENT];
                    place.copy_from_slice(&datagram[FRAGMENT_OVERHEAD..]);
                    black_box(place);
                }
            }
        });
        self.number += 1;
    }

    fn bench(&mut self, bencher: &mut Bencher<'_>) {
        let way = self.way;
        bencher.iter_custom(|iterations| way.time(iterations, || self.round()));
    }
}

/// Nanoseconds per fragment, by streams and by size; first of one stream whose buffer
/// stays in the cache.
fn growth(criterion: &mut Criterion) {
    for (name, together) in [
        ("fragment, singly", Together::Singly),
        ("fragment, in trains", Together::InTrains),
    ] {
        let mut group = criterion.benchmark_group(name);
        let mut pair = |streams, size, all| {
            let way = Interleaving::new(together, streams, size, all);
            growth_of(&mut group, size, way);
        };
        pair(1, LARGE, LARGE);
        for streams in [1, 10, 100, 1000] {
            pair(streams, LARGE, ALL);
        }
        for size in [1 << 20, 8 << 20, ALL] {
            pair(1, size, ALL);
        }
    }
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn growth_of(group: &mut Group<'_>, size: usize, way: Interleaving) {
    let (streams, buffers) = (way.streams, way.buffers);
    let name = format!("{streams} of {} KiB, {buffers} buffers", size >> 10);
    group.throughput(Throughput::Bytes(FRAGMENT as u64));
    // Nothing is made for what is not asked for.
    let mut copy = LazyCell::new(|| Copy::new(way));
    group.bench_function(format!("{name}, copied only"), |bencher| {
        copy.bench(bencher);
    });
    drop(copy);
    let mut reassembly = LazyCell::new(|| Reassembly::new(way));
    group.bench_function(name, |bencher| reassembly.bench(bencher));
}

/// Nanoseconds per whole message of 64 bytes, as many together as fit.
fn coalesced(criterion: &mut Criterion) {
    let mut datagrams = vec![Vec::new(); TRAIN];
    let (mut demux, mut last) = (
        Demux::new(Limits::default(), RandomState::new()),
        Last::default(),
    );
    let (mut number, mut sequence) = (0, 0);
    let mut group = criterion.benchmark_group("coalesced");
    group.throughput(Throughput::Elements(1));
    group.bench_function("64", |bencher| {
        bencher.iter_custom(|iterations| {
            let (first, mut elapsed) = (number, Duration::ZERO);
            while number - first < iterations {
                coalesce(&mut datagrams, &mut number, &mut sequence);
                let began = Instant::now();
                for datagram in &datagrams {
                    demux.datagram(Duration::ZERO, datagram, &mut last);
                }
                elapsed += began.elapsed();
            }
            elapsed.mul_f64(iterations as f64 / (number - first) as f64)
        });
    });
    assert_eq!(demux.counters().messages.delivered, number);
}

fn extras(criterion: &mut Criterion) {
    criterion.bench_function("publish time", |bencher| {
        let mut head = head();
        bencher.iter(|| {
            let time = mcl_net::nanoseconds_since_epoch();
            black_box(head.set_publish_time(time))
        });
    });
    let mut group = criterion.benchmark_group("crc32c");
    for size in [64].into_iter().chain(SIZES) {
        let payload = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| crc32c::crc32c(black_box(&payload)));
        });
    }
}

criterion_group! {
    name = benches;
    config = settings::criterion();
    targets = fragment, reassemble, growth, coalesced, extras
}
criterion_main!(benches);
