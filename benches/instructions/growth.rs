//! Large messages by number of streams and by length: what a fragment costs must not grow
//! with either.

use mcl_benches::traffic::{DATAGRAM, TRAIN, stream_id};
use mcl_wire::{Demux, Limits};

use super::intake::{Hasher, Step, Taker, large, time};
use super::{Benchmark, LARGE, Work, fragments_of};

const MIB: usize = 1 << 20;

pub(crate) fn benchmarks() -> Vec<Benchmark> {
    let singly = [
        ("take-in-64-kib", 1, LARGE, 16),
        ("take-in-1-mib", 1, MIB, 3),
        ("take-in-64-mib", 1, 64 * MIB, 1),
        ("take-in-10-streams", 10, LARGE, 8),
        ("take-in-100-streams", 100, LARGE, 3),
        ("take-in-1000-streams", 1000, LARGE, 1),
    ];
    let in_trains = [
        ("follow-64-kib", 1, LARGE, 16),
        ("follow-1-mib", 1, MIB, 3),
        ("follow-64-mib", 1, 64 * MIB, 1),
        ("follow-10-streams", 10, LARGE, 8),
        ("follow-100-streams", 100, LARGE, 3),
        ("follow-1000-streams", 1000, LARGE, 1),
    ];
    let mut all = family(1, &singly);
    all.extend(family(TRAIN, &in_trains));
    all
}

/// Streams, bytes of a message of each, and steps.
type Size = (&'static str, usize, usize, usize);

/// Of all sizes, so many datagrams of a stream together. None may cost much more than the first.
fn family(burst: usize, sizes: &[Size]) -> Vec<Benchmark> {
    let base = sizes.first().map(|size| size.0);
    let benchmark = |&(name, streams, len, steps): &Size| {
        let fragments = (streams * fragments_of(len), "fragment");
        let prepare = move |steps| Streams::boxed(streams, len, burst, steps);
        let mut new = Benchmark::new(name, fragments, steps, streams, prepare);
        new.base = base.filter(|base| *base != name);
        new
    };
    sizes.iter().map(benchmark).collect()
}

/// A message of each of several streams at a step, so many fragments of each in turn.
struct Streams {
    demux: Demux<Hasher>,
    taker: Taker,
    /// Bytes of as many full datagrams as are received together.
    steps: Vec<Step>,
}

impl Streams {
    fn boxed(streams: usize, len: usize, burst: usize, steps: usize) -> Box<dyn Work> {
        Box::new(Self {
            demux: Demux::new(Limits::default(), Hasher::default()),
            taker: Taker {
                wants: true,
                last: None,
            },
            steps: (0..steps)
                .map(|at| interleaved(streams, at, len, burst))
                .collect(),
        })
    }
}

/// The trains of a step: `burst` datagrams of each stream in turn.
fn interleaved(streams: usize, at: usize, len: usize, burst: usize) -> Step {
    let messages: Vec<Step> = (1..=streams as u64)
        .map(|stream| large(stream_id(stream), at, len))
        .collect();
    let mut trains = Vec::new();
    for first in (0..fragments_of(len)).step_by(burst) {
        for datagrams in &messages {
            let end = datagrams.len().min(first + burst);
            trains.push(datagrams[first..end].concat());
        }
    }
    trains
}

impl Work for Streams {
    fn step(&mut self, at: usize) {
        for train in &self.steps[at] {
            self.demux.train(time(at), train, DATAGRAM, &mut self.taker);
            if let Some(buffer) = self.taker.last.take() {
                self.demux.recycle(buffer);
            }
        }
    }

    fn outcome(&self) -> u64 {
        self.demux.counters().messages.delivered
    }
}
