//! The wire format without sockets: cutting a message up and putting it together
//! again, in order and shuffled, and what time and checksum would cost a message:
//!
//! ```sh
//! cargo bench -p mcl-benches --bench codec
//! ```
#![allow(missing_docs, reason = "the macros of criterion make public items")]

mod settings;

use std::hash::RandomState;
use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Bencher, Criterion, Throughput, criterion_group, criterion_main};
use mcl_benches::traffic::{DATAGRAM, Last, TRAIN, coalesce, fragmented, head, shuffle, stream_id};
use mcl_wire::{Demux, FRAGMENT_OVERHEAD, Fragmenter, HEADER_LEN, Header, Limits, StreamId};

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

/// Bytes of a fragment.
const FRAGMENT: usize = DATAGRAM - FRAGMENT_OVERHEAD;

/// Messages of several streams at once, each of `fragments` equal fragments,
/// `burst` datagrams of a stream in a row.
#[derive(Clone, Copy)]
struct Interleaving {
    streams: u64,
    fragments: u32,
    burst: u32,
}

impl Interleaving {
    /// Calls `each` for every train of the next message of every stream.
    fn round(self, mut each: impl FnMut(u64, Range<u32>)) {
        for first in (0..self.fragments).step_by(self.burst as usize) {
            let end = self.fragments.min(first + self.burst);
            (0..self.streams).for_each(|stream| each(stream, first..end));
        }
    }

    const fn total(self) -> usize {
        self.fragments as usize * FRAGMENT
    }

    /// The time of `iterations` fragments, from that of whole rounds.
    fn time(self, iterations: u64, mut round: impl FnMut()) -> Duration {
        let each = self.streams * u64::from(self.fragments);
        let rounds = iterations.div_ceil(each);
        let began = Instant::now();
        (0..rounds).for_each(|_| round());
        began
            .elapsed()
            .mul_f64(iterations as f64 / (rounds * each) as f64)
    }
}

/// What the socket is read into: always the same few pages, as hot as a train
/// that the kernel has just copied, whatever the number of streams.
struct Scratch {
    datagrams: Vec<[u8; DATAGRAM]>,
    next: usize,
}

impl Scratch {
    fn new(total: usize) -> Self {
        let mut datagram = [0; DATAGRAM];
        datagram[..HEADER_LEN].copy_from_slice(&Header::new(StreamId(0), 0).encode());
        let len = (DATAGRAM - HEADER_LEN - 4) as u16;
        datagram[24..28].copy_from_slice(&[2, 0, (len >> 8) as u8, len as u8]);
        datagram[36..40].copy_from_slice(&(total as u32).to_be_bytes());
        datagram[48..50].copy_from_slice(&(FRAGMENT as u16).to_be_bytes());
        Self {
            datagrams: vec![datagram; TRAIN],
            next: 0,
        }
    }

    /// Fragments in a row of a message without a topic, all of zeros, which begins with this sequence
    /// number.
    fn train(&mut self, stream: u64, sequence: u64, number: u64, indexes: Range<u32>) -> &[u8] {
        let len = indexes.len();
        self.next += len;
        if self.next > TRAIN {
            self.next = len;
        }
        let first = self.next - len;
        for (at, index) in (first..).zip(indexes) {
            self.put(at, stream, sequence + u64::from(index), number, index);
        }
        self.datagrams[first..self.next].as_flattened()
    }

    fn put(&mut self, at: usize, stream: u64, sequence: u64, number: u64, index: u32) {
        let datagram = &mut self.datagrams[at];
        datagram[8..16].copy_from_slice(&stream_id(stream).0.to_be_bytes());
        datagram[16..24].copy_from_slice(&sequence.to_be_bytes());
        datagram[28..36].copy_from_slice(&number.to_be_bytes());
        datagram[40..44].copy_from_slice(&index.to_be_bytes());
    }
}

/// Reassembly.
struct Reassembly {
    way: Interleaving,
    demux: Demux<RandomState>,
    last: Last,
    scratch: Scratch,
    number: u64,
}

impl Reassembly {
    fn new(way: Interleaving) -> Self {
        let mut new = Self {
            way,
            demux: Demux::new(Limits::default(), RandomState::new()),
            last: Last::default(),
            scratch: Scratch::new(way.total()),
            number: 0,
        };
        // Streams are proven and memory is there before anything is measured.
        (0..2).for_each(|_| new.round());
        new
    }

    fn round(&mut self) {
        let (way, number) = (self.way, self.number);
        way.round(|stream, indexes| {
            let sequence = number * u64::from(way.fragments);
            let train = self.scratch.train(stream, sequence, number, indexes);
            self.demux
                .train(Duration::ZERO, train, DATAGRAM, &mut self.last);
            if let Some(buffer) = self.last.0.take() {
                self.demux.recycle(buffer);
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
            buffers: vec![vec![1; way.total()]; way.streams as usize],
            scratch: Scratch::new(way.total()),
            number: 0,
        }
    }

    fn round(&mut self) {
        self.way.round(|stream, indexes| {
            let train = self.scratch.train(stream, 0, self.number, indexes.clone());
            for (datagram, index) in train.chunks(DATAGRAM).zip(indexes) {
                let at = index as usize * FRAGMENT;
                let place = &mut self.buffers[stream as usize][at..at + FRAGMENT];
                place.copy_from_slice(&datagram[FRAGMENT_OVERHEAD..]);
                black_box(place);
            }
        });
        self.number += 1;
    }

    fn bench(&mut self, bencher: &mut Bencher<'_>) {
        let way = self.way;
        bencher.iter_custom(|iterations| way.time(iterations, || self.round()));
    }
}

/// Nanoseconds per fragment, by streams and by size.
fn growth(criterion: &mut Criterion) {
    for burst in [1, TRAIN as u32] {
        let mut group = criterion.benchmark_group(format!("fragment of a train of {burst}"));
        for streams in [1, 10, 100, 1000] {
            pair(&mut group, streams, 64 << 10, burst);
        }
        if burst > 1 {
            for size in [1 << 20, 8 << 20, 64 << 20] {
                pair(&mut group, 1, size, burst);
            }
        }
    }
}

/// The same where as many bytes are under reassembly whatever the number of streams, so that memory
/// costs the same.
fn streams(criterion: &mut Criterion) {
    for (all, burst) in [(4 << 20, 1), (64 << 20, 1), (64 << 20, TRAIN as u32)] {
        let name = format!("fragment of a train of {burst}, {} MiB in all", all >> 20);
        let mut group = criterion.benchmark_group(name);
        for streams in [1, 10, 100, 1000] {
            pair(&mut group, streams, all / streams as usize, burst);
        }
    }
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn pair(group: &mut Group<'_>, streams: u64, size: usize, burst: u32) {
    let fragments = size.div_ceil(FRAGMENT) as u32;
    let way = Interleaving {
        streams,
        fragments,
        burst,
    };
    let name = format!("{streams} of {} KiB", size >> 10);
    group.throughput(Throughput::Bytes(FRAGMENT as u64));
    let mut copy = Copy::new(way);
    group.bench_function(format!("{name}, copied only"), |bencher| {
        copy.bench(bencher);
    });
    drop(copy);
    let mut reassembly = Reassembly::new(way);
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
    targets = fragment, reassemble, growth, streams, coalesced, extras
}
criterion_main!(benches);
