//! The wire format without sockets: cutting a message up and putting it together
//! again, in order and shuffled, and what time and checksum would cost a message:
//!
//! ```sh
//! cargo bench -p mcl-benches --bench codec
//! ```
#![allow(missing_docs, reason = "the macros of criterion make public items")]

use std::hash::RandomState;
use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mcl_wire::{
    BodyBytes, BodyHead, Demux, Fragmenter, Limits, Metadata, Received, Sink, StreamId,
};

const SIZES: [usize; 4] = [1 << 10, 64 << 10, 1 << 20, 8 << 20];
const DATAGRAM: usize = 1452;

/// Keeps the buffer of the last message, so that it can be recycled.
#[derive(Default)]
struct Last(Option<Vec<u8>>);

impl Sink for Last {
    fn message(&mut self, message: Received<'_>) {
        if let BodyBytes::Owned(buffer) = message.into_bytes() {
            self.0 = Some(buffer);
        }
    }
}

fn head() -> BodyHead {
    BodyHead::new(Some("bench"), &Metadata::new().with_publish_time(1)).expect("a short topic")
}

/// The datagrams of messages `first..first + messages`, numbered on.
fn datagrams(payload: &[u8], number: u64, sequence: u64) -> Vec<Vec<u8>> {
    let head = head();
    let fragments = Fragmenter::new(number, &head, payload, DATAGRAM).expect("a valid length");
    let datagram = |fragment: mcl_wire::OutgoingFragment<'_>| {
        let prefix = fragment.prefix(StreamId(1), sequence + u64::from(fragment.index));
        [&prefix[..], fragment.head, fragment.payload].concat()
    };
    fragments.map(datagram).collect()
}

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
                    let mut datagrams = datagrams(&payload, number, sequence);
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

/// Within windows of 64, as networks reorder.
fn shuffle(datagrams: &mut [Vec<u8>]) {
    let mut state = 1_u64;
    for window in datagrams.chunks_mut(64) {
        for at in (1..window.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            window.swap(at, (state >> 33) as usize % (at + 1));
        }
    }
}

fn extras(criterion: &mut Criterion) {
    criterion.bench_function("publish time", |bencher| {
        let mut head = head();
        bencher.iter(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let nanos = since.unwrap_or_default().as_nanos();
            black_box(head.set_publish_time(nanos as u64))
        });
    });
    let mut group = criterion.benchmark_group("crc32c");
    for size in SIZES {
        let payload = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(size.to_string(), |bencher| {
            bencher.iter(|| crc32c::crc32c(black_box(&payload)));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = fragment, reassemble, extras
}
criterion_main!(benches);
