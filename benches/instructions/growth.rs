//! Large messages by number of streams and by length: what a fragment costs must not grow
//! with either.

use mcl_benches::traffic::{DATAGRAM, TRAIN, stream_id};
use mcl_net::Receiver;
use mcl_wire::Counters;

use super::intake::{Intake, Step, large, time};
use super::{Benchmark, LARGE, Work, fragments_of};

const MIB: usize = 1 << 20;

/// Streams, bytes of a message of each, and steps, by name.
type Size = (&'static str, usize, usize, usize);

/// None may cost much more than the first.
const SIZES: [Size; 6] = [
    ("64-kib", 1, LARGE, 16),
    ("1-mib", 1, MIB, 3),
    ("64-mib", 1, 64 * MIB, 1),
    ("10-streams", 10, LARGE, 8),
    ("100-streams", 100, LARGE, 3),
    ("1000-streams", 1000, LARGE, 1),
];

pub(crate) fn benchmarks() -> Vec<Benchmark> {
    let mut all = family("take-in", 1);
    all.extend(family("follow", TRAIN));
    all.push(refused());
    all.push(landed());
    all
}

/// What nobody wants, in trains.
fn refused() -> Benchmark {
    let fragments = (fragments_of(LARGE), "fragment");
    Benchmark::new("follow-unwanted-64-kib", fragments, 16, 1, |steps| {
        let steps = (0..steps).map(|at| interleaved(1, at, LARGE, TRAIN));
        let counted = |counters: &Counters| counters.messages.filtered_by_hash;
        Box::new(Trains(Intake::unwanted(steps.collect(), counted)))
    })
}

/// Trains that are written where the message goes on, where that can be: all but two of each message.
fn landed() -> Benchmark {
    let fragments = (fragments_of(MIB), "fragment");
    Benchmark::new("land-1-mib", fragments, 3, 1, |steps| {
        let steps = (0..steps).map(|at| interleaved(1, at, MIB, TRAIN));
        Box::new(Landings(Trains(Intake::new(steps.collect()))))
    })
}

/// All sizes, so many datagrams of a stream together.
fn family(what: &str, burst: usize) -> Vec<Benchmark> {
    let base = format!("{what}-{}", SIZES[0].0);
    let benchmark = |(size, streams, len, steps): Size| {
        let fragments = (streams * fragments_of(len), "fragment");
        let prepare = move |steps| -> Box<dyn Work> {
            let steps = (0..steps).map(|at| interleaved(streams, at, len, burst));
            let trains = Trains(Intake::new(steps.collect()));
            match burst {
                1 => Box::new(Singles(trains)),
                _ => Box::new(trains),
            }
        };
        let mut new = Benchmark::new(format!("{what}-{size}"), fragments, steps, streams, prepare);
        new.base = (new.name != base).then(|| base.clone());
        new
    };
    SIZES.map(benchmark).into()
}

/// Takes in as trains what is received together: the bytes of several full datagrams.
struct Trains(Intake);

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

impl Trains {
    fn take_in(&mut self, at: usize, train: usize) {
        let Intake {
            demux,
            taker,
            steps,
            ..
        } = &mut self.0;
        demux.train(time(at), &steps[at][train], DATAGRAM, taker);
        if let Some(buffer) = taker.last.take() {
            demux.recycle(buffer);
        }
    }

    /// `false` if there is no place for it. The copy is what the kernel does elsewhere.
    fn land(&mut self, at: usize, train: usize) -> bool {
        let Intake { demux, steps, .. } = &mut self.0;
        let train = &steps[at][train];
        let (Some(place), Some((prefix, rest))) = (demux.landing(), train.split_first_chunk())
        else {
            return false;
        };
        place[..rest.len()].copy_from_slice(rest);
        demux.land(time(at), prefix, train.len(), DATAGRAM)
    }
}

impl Work for Trains {
    fn step(&mut self, at: usize) {
        (0..self.0.steps[at].len()).for_each(|train| self.take_in(at, train));
    }

    fn outcome(&self) -> u64 {
        self.0.outcome()
    }
}

/// Takes in single datagrams as listeners do that receive several together.
struct Singles(Trains);

impl Work for Singles {
    fn step(&mut self, at: usize) {
        for first in 0..self.0.0.steps[at].len() {
            if first % Receiver::MOST_TRAINS == 0 {
                let Intake { demux, steps, .. } = &self.0.0;
                demux.prefetch(steps[at][first..].iter().map(Vec::as_slice));
            }
            self.0.take_in(at, first);
        }
    }

    fn outcome(&self) -> u64 {
        self.0.outcome()
    }
}

struct Landings(Trains);

impl Work for Landings {
    fn step(&mut self, at: usize) {
        for train in 0..self.0.0.steps[at].len() {
            if !self.0.land(at, train) {
                self.0.take_in(at, train);
            }
        }
    }

    fn outcome(&self) -> u64 {
        self.0.outcome()
    }
}
