//! A listener's process: opens a listener, looks at each message, closes it; and again,
//! if its role is to come and go.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mcl_udp::{Connection, OpenError};

use crate::Outcome;

use super::dice::Dice;
use super::ear::Ear;
use super::resources::Resources;
use super::roles::{LISTENERS, Listening, Receiving, WAYS};
use super::stop::Stop;
use super::words::{Found, ListenerTask, Word, now, report_panics, say};

/// How long to wait after something failed.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// How often it is told what was found.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long a listener that comes and goes is away, in milliseconds.
const AWAY: (u64, u64) = (100, 900);

/// Topics of which one that comes and goes wants some.
const SOME_TOPICS: [&[&str]; 5] = [
    &[],
    &[],
    &["image"],
    &["small", "value"],
    &["a", "b", "batch"],
];

pub(crate) fn main(arguments: &[String]) -> Outcome {
    report_panics();
    let task: ListenerTask = serde_json::from_str(arguments.first().ok_or("a task is missing")?)?;
    let role = LISTENERS.get(task.role).ok_or("no such role")?;
    let connection = Connection::new(&task.connection)?;
    let stop = Stop::at_end_of_input()?;
    let before = Resources::of("self")?;
    say(&Word::Ready(before))?;
    let mut process = Process {
        dice: Dice::of(task.seed, 0x2000 + task.role as u64),
        seed: task.seed,
        role,
        connection,
        earlier: Found::default(),
    };
    while !stop.is_set() {
        if let Err(error) = process.visit(&stop)? {
            say(&Word::Trouble(format!("cannot open: {error}")))?;
            stop.sleep(AFTER_FAILURE);
            continue;
        }
        process.check(before)?;
        if role.stays.is_some() {
            stop.sleep(Duration::from_millis(process.dice.between(AWAY.0, AWAY.1)));
        }
    }
    say(&Word::Closed(Resources::of("self")?))?;
    Ok(ExitCode::SUCCESS)
}

struct Process {
    seed: u64,
    role: &'static Listening,
    connection: Connection,
    dice: Dice,
    /// What was found by listeners that are closed.
    earlier: Found,
}

impl Process {
    /// One listener, from its opening to its closing.
    fn visit(&mut self, stop: &Stop) -> io::Result<Result<(), OpenError>> {
        let (receiving, topics) = self.choose();
        let ends = self.role.stays.map(|(least, most)| {
            let millis = self.dice.between(least * 1000, most * 1000);
            Instant::now() + Duration::from_millis(millis)
        });
        let opened = Ear::open(
            &self.connection,
            receiving,
            topics,
            self.seed,
            &mut self.dice,
        );
        let mut ear = match opened {
            Ok(ear) => ear,
            Err(error) => return Ok(Err(error)),
        };
        let opened = now();
        say(&Word::Open)?;
        let mut told = Instant::now();
        while !stop.is_set() && ends.is_none_or(|ends| Instant::now() < ends) {
            ear.listen(stop);
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                self.tell(ear.found())?;
            }
        }
        // One that is too slow is not at rest when the network is.
        let at_rest = stop.is_set() && receiving != Receiving::Slow;
        let visit = ear.close(receiving, opened, at_rest);
        for example in &visit.1 {
            say(&Word::Failure(format!("wrong payload: {example}")))?;
        }
        self.earlier.add(visit.0.found);
        say(&Word::Visit(Box::new(visit.0)))?;
        self.tell(Found::default())?;
        Ok(Ok(()))
    }

    fn choose(&mut self) -> (Receiving, &'static [&'static str]) {
        match self.role.receiving {
            Some(receiving) => (receiving, self.role.topics),
            None => {
                let mut below = |count: usize| self.dice.between(0, count as u64 - 1) as usize;
                (
                    WAYS[below(WAYS.len())],
                    SOME_TOPICS[below(SOME_TOPICS.len())],
                )
            }
        }
    }

    fn tell(&self, current: Found) -> io::Result<()> {
        let mut found = self.earlier;
        found.add(current);
        say(&Word::Finding(found))
    }

    /// A listener that is closed leaves no thread and no descriptor.
    fn check(&self, before: Resources) -> io::Result<()> {
        let after = Resources::of("self")?;
        let more = |name: &str, before: u64, after: u64| match after > before {
            true => say(&Word::Failure(format!(
                "{after} {name} after closing, {before} before opening"
            ))),
            false => Ok(()),
        };
        more("threads", before.threads, after.threads)?;
        more("descriptors", before.descriptors, after.descriptors)
    }
}
