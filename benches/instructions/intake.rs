//! Taking datagrams in, as listeners do.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::hint::black_box;
use std::time::Duration;

use mcl_benches::traffic::{TRAIN, coalesce, fragmented, head, shuffle};
use mcl_wire::{
    BodyBytes, Counters, Demux, Limits, Received, Sink, StreamId, TopicHash, whole_message_prefix,
};

use super::{Benchmark, LARGE, MESSAGE, SMALL, STREAM, Work, fragments_of, messages_in_train};

pub(crate) fn benchmarks() -> Vec<Benchmark> {
    let (train, hostiles) = (messages_in_train(), hostile(0).len());
    let (small, fragment) = ((train, "message"), (fragments_of(LARGE), "fragment"));
    let refused = (hostiles, "datagram");
    vec![
        Benchmark::new("take-in-whole", MESSAGE, 256, 1, take_in_whole),
        Benchmark::new("take-in-coalesced", small, 8, train, take_in_coalesced),
        Benchmark::new("take-in-64-kib-shuffled", fragment, 16, 1, take_in_shuffled),
        Benchmark::new("filter-coalesced", small, 8, train, filter_coalesced),
        Benchmark::new("filter-64-kib", fragment, 16, 1, filter_large),
        Benchmark::new("refuse-hostile", refused, 32, hostiles, refuse_hostile),
    ]
}

/// Random keys would make every run another one; these are as long, and the function
/// is the same.
type Hasher = BuildHasherDefault<DefaultHasher>;

/// Who takes what comes out, or does not want it.
pub(crate) struct Taker {
    wants: bool,
    /// A large message, until its memory is given back.
    pub(crate) last: Option<Vec<u8>>,
}

impl Sink for Taker {
    fn wants_hash(&mut self, hash: TopicHash) -> bool {
        black_box(hash);
        self.wants
    }

    fn wants_topic(&mut self, topic: Option<&str>) -> bool {
        black_box(topic);
        self.wants
    }

    fn message(&mut self, message: Received<'_>) {
        black_box(message.payload());
        if let BodyBytes::Owned(buffer) = message.into_bytes() {
            self.last = Some(buffer);
        }
    }
}

/// The datagrams of a step.
pub(crate) type Step = Vec<Vec<u8>>;

/// Datagrams that are taken in, a train or a round of trains at a step.
pub(crate) struct Intake {
    pub(crate) demux: Demux<Hasher>,
    pub(crate) taker: Taker,
    pub(crate) steps: Vec<Step>,
    outcome: fn(&Counters) -> u64,
}

impl Intake {
    pub(crate) fn new(steps: Vec<Step>) -> Self {
        Self {
            demux: Demux::new(Limits::default(), Hasher::default()),
            taker: Taker {
                wants: true,
                last: None,
            },
            steps,
            outcome: |counters| counters.messages.delivered,
        }
    }

    fn boxed(steps: Vec<Step>) -> Box<dyn Work> {
        Box::new(Self::new(steps))
    }

    pub(crate) fn unwanted(steps: Vec<Step>, outcome: fn(&Counters) -> u64) -> Self {
        let mut new = Self::new(steps);
        (new.taker.wants, new.outcome) = (false, outcome);
        new
    }
}

/// When a step happens.
pub(crate) const fn time(at: usize) -> Duration {
    Duration::from_millis(at as u64)
}

impl Work for Intake {
    fn step(&mut self, at: usize) {
        for datagram in &self.steps[at] {
            self.demux.datagram(time(at), datagram, &mut self.taker);
            if let Some(buffer) = self.taker.last.take() {
                self.demux.recycle(buffer);
            }
        }
    }

    fn outcome(&self) -> u64 {
        (self.outcome)(&self.demux.counters())
    }
}

/// A small message alone in its datagram.
fn whole(number: u64) -> Vec<u8> {
    let head = head();
    let prefix = whole_message_prefix(STREAM, number, number, head.as_bytes().len() + SMALL);
    [
        &prefix.expect("it is short")[..],
        head.as_bytes(),
        &[7; SMALL],
    ]
    .concat()
}

fn take_in_whole(steps: usize) -> Box<dyn Work> {
    Intake::boxed((0..steps as u64).map(|at| vec![whole(at)]).collect())
}

fn trains_of_small(steps: usize) -> Vec<Step> {
    let (mut number, mut sequence) = (0, 0);
    let train = |_| {
        let mut train = vec![Vec::new(); TRAIN];
        coalesce(&mut train, &mut number, &mut sequence);
        train
    };
    (0..steps).map(train).collect()
}

fn take_in_coalesced(steps: usize) -> Box<dyn Work> {
    Intake::boxed(trains_of_small(steps))
}

fn filter_coalesced(steps: usize) -> Box<dyn Work> {
    let counted = |counters: &Counters| counters.messages.filtered;
    Box::new(Intake::unwanted(trains_of_small(steps), counted))
}

/// The message of a step.
pub(crate) fn large(stream: StreamId, at: usize, len: usize) -> Step {
    let sequence = at * fragments_of(len);
    fragmented(stream, at as u64, sequence as u64, &vec![7; len])
}

fn larges(steps: usize) -> Vec<Step> {
    (0..steps).map(|at| large(STREAM, at, LARGE)).collect()
}

fn take_in_shuffled(steps: usize) -> Box<dyn Work> {
    let mut steps = larges(steps);
    steps.iter_mut().for_each(|step| shuffle(step));
    Intake::boxed(steps)
}

fn filter_large(steps: usize) -> Box<dyn Work> {
    let counted = |counters: &Counters| counters.messages.filtered_by_hash;
    Box::new(Intake::unwanted(larges(steps), counted))
}

/// Datagrams of which each is refused, for another reason.
fn hostile(number: u64) -> Step {
    let good = |stream: u64| {
        let mut datagram = vec![Vec::new()];
        coalesce(&mut datagram, &mut number.clone(), &mut number.clone());
        let mut datagram = datagram.concat();
        datagram[8..16].copy_from_slice(&stream.to_be_bytes());
        datagram
    };
    let with = |at: usize, byte: u8| {
        let mut datagram = good(number);
        datagram[at] = byte;
        datagram
    };
    let mut cut = good(number);
    cut.pop();
    let mut critical = good(number);
    critical.extend([0x7f, 0, 0, 0]);
    vec![
        with(0, 0x82),
        with(2, 9),
        with(3, 255),
        with(4, 0x80),
        good(number)[..20].to_vec(),
        // All frames before the one that is cut are read by then.
        cut,
        critical,
    ]
}

fn refuse_hostile(steps: usize) -> Box<dyn Work> {
    let mut new = Intake::new((0..steps as u64).map(hostile).collect());
    new.outcome = |counters| counters.datagrams.dropped();
    Box::new(new)
}
