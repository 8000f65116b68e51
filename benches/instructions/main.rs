//! The hot paths that need no socket, to have their instructions counted:
//!
//! ```sh
//! cargo xtask ci instructions
//! ```
//!
//! That gate runs each of them twice under cachegrind, with the same preparations,
//! without and with the steps that are counted; the difference is theirs.
//! `--list` prints names, units, units in a step, steps, and what each must not cost much
//! more than (`-`: nothing); `--count NAME STEPS` goes through so many steps, and fails if
//! anything else comes of them than should.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program without a library"
)]

mod encode;
mod growth;
mod intake;
mod typed;

use std::env;
use std::hint::black_box;
use std::process::ExitCode;
use std::thread;

use mcl_benches::traffic::{DATAGRAM, TRAIN, coalesce, head};
use mcl_wire::{FRAGMENT_OVERHEAD, StreamId};

/// Steps before anything is counted: tables and buffers have their size then.
const WARM: usize = 4;

const STREAM: StreamId = StreamId(0x5eed_0f57_2ea3);
const SMALL: usize = 64;
const LARGE: usize = 64 << 10;

/// Something that is done step by step, each time with other numbers.
trait Work {
    fn step(&mut self, at: usize);

    /// What came of all the steps so far.
    fn outcome(&self) -> u64;
}

struct Benchmark {
    name: String,
    /// What the instructions are counted for, and how many of it a step has.
    unit: &'static str,
    units: usize,
    /// How many steps are counted.
    steps: usize,
    /// What has to come of each step.
    outcome: u64,
    /// The benchmark that it does more of, of which a unit must cost about as much.
    base: Option<String>,
    /// Makes everything that so many steps need.
    prepare: Box<dyn Fn(usize) -> Box<dyn Work> + Send>,
}

/// What counts, and how many of it a step has.
type Units = (usize, &'static str);

impl Benchmark {
    fn new(
        name: impl Into<String>,
        (units, unit): Units,
        steps: usize,
        outcome: usize,
        prepare: impl Fn(usize) -> Box<dyn Work> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            units,
            steps,
            outcome: outcome as u64,
            base: None,
            prepare: Box::new(prepare),
        }
    }

    /// Goes through the preparations and `steps` steps.
    ///
    /// # Panics
    /// What came of them is not what should.
    fn run(&self, steps: usize) {
        let mut work = (self.prepare)(WARM + self.steps);
        let all = WARM + steps;
        (0..all).for_each(|at| work.step(at));
        assert_eq!(work.outcome(), all as u64 * self.outcome, "{}", self.name);
    }
}

const MESSAGE: Units = (1, "message");

/// Fragments of a large message: its head comes before the payload.
fn fragments_of(payload: usize) -> usize {
    (head().as_bytes().len() + payload).div_ceil(DATAGRAM - FRAGMENT_OVERHEAD)
}

/// Small messages that share the datagrams of a train.
fn messages_in_train() -> usize {
    let (mut number, mut sequence) = (0, 0);
    coalesce(&mut [Vec::new()], &mut number, &mut sequence);
    TRAIN * number as usize
}

fn benchmarks() -> Vec<Benchmark> {
    let mut all = encode::benchmarks();
    all.extend(intake::benchmarks());
    all.extend(growth::benchmarks());
    all.extend(typed::benchmarks());
    all
}

/// What needs to keep nothing but a count.
struct Repeat<F> {
    act: F,
    outcome: u64,
}

impl<F: FnMut(u64) -> u64> Work for Repeat<F> {
    fn step(&mut self, at: usize) {
        self.outcome += (self.act)(black_box(at as u64));
    }

    fn outcome(&self) -> u64 {
        self.outcome
    }
}

fn repeat(act: impl FnMut(u64) -> u64 + 'static) -> Box<dyn Work> {
    Box::new(Repeat { act, outcome: 0 })
}

fn list() {
    for it in benchmarks() {
        let base = it.base.as_deref().unwrap_or("-");
        let (units, steps) = (it.units, it.steps);
        println!("{}\t{}\t{units}\t{steps}\t{base}", it.name, it.unit);
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--list"] => list(),
        ["--count", name, steps] => {
            let found = benchmarks().into_iter().find(|it| it.name == *name);
            let found = found.expect("a name of the list");
            let steps = steps.parse().expect("a number of steps");
            // The stack of the main thread begins where arguments and environment end,
            // and copies to it take more or less by their alignment.
            if thread::spawn(move || found.run(steps)).join().is_err() {
                return ExitCode::FAILURE;
            }
        }
        _ => {
            eprintln!("Usage: instructions --list | --count NAME STEPS");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_should_comes_of_every_step() {
        for benchmark in benchmarks() {
            for steps in [0, 1, benchmark.steps] {
                benchmark.run(steps);
            }
        }
    }

    #[test]
    fn no_two_have_the_same_name_and_every_base_is_there() {
        let benchmarks = benchmarks();
        let mut names: Vec<_> = benchmarks.iter().map(|it| it.name.as_str()).collect();
        let mut bases = benchmarks.iter().filter_map(|it| it.base.as_deref());
        assert!(bases.all(|base| names.contains(&base)));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
