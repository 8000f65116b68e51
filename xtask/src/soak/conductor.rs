//! Runs a soak: starts the processes, has things go wrong when the schedule says, hears
//! what everybody says, ends everything.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::book::{Book, Objections};
use super::broadcaster::{clear_ledger, read_ledger};
use super::options::Options;
use super::party::{Event, Party, What};
use super::resources::{Course, Resources};
use super::roles::{BROADCASTERS, LISTENERS};
use super::schedule::{Fault, Kill, Phase, Schedule};
use super::words::{BroadcasterTask, Found, ListenerTask, Word, now};
use super::world::{INTERFACE, Inflicted, World};

const GROUP: &str = "ff15::6d63:6c:736f:616b";

/// Broadcasters have the first places, listeners the next ones.
const LISTENERS_AT: usize = BROADCASTERS.len();
const PARTIES: usize = LISTENERS_AT + LISTENERS.len();

/// How long processes may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// After the last datagram: incomplete messages have expired by then.
const REST: Duration = Duration::from_millis(1600);

const LOOK_EVERY: Duration = Duration::from_millis(20);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What the end of a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// A surprise.
    None,
    /// It was killed, and another one takes its place.
    Killed,
    /// It was told to end.
    Told,
}

/// What a process has said about its progress, and those before it in its place.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    earlier: (u64, u64),
    current: (u64, u64),
}

impl Progress {
    fn total(&self) -> (u64, u64) {
        (
            self.earlier.0 + self.current.0,
            self.earlier.1 + self.current.1,
        )
    }

    fn starts_anew(&mut self) {
        self.earlier = self.total();
        self.current = (0, 0);
    }
}

struct Place {
    party: Option<Party>,
    ending: Ending,
    launch: u32,
    open: bool,
    progress: Progress,
    found: Found,
}

/// What is known at the end.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) book: Book,
    /// By place: broadcasters, listeners, and this process itself.
    pub(super) courses: Vec<Course>,
    pub(super) inflicted: Inflicted,
    pub(super) failures: Objections,
    pub(super) troubles: Objections,
    pub(super) lasted: Duration,
    pub(super) interrupted: bool,
    /// The most that a process kept when it had closed everything, beyond what it held before.
    pub(super) kept_kib: u64,
}

pub(super) struct Conductor {
    options: Options,
    world: World,
    schedule: Schedule,
    folder: Folder,
    to_events: SyncSender<Event>,
    events: Receiver<Event>,
    places: Vec<Place>,
    begun: Instant,
    interrupted: Arc<AtomicBool>,
    out: Outcome,
}

impl Conductor {
    pub(super) fn new(options: Options, interrupted: Arc<AtomicBool>) -> io::Result<Self> {
        let (to_events, events) = sync_channel(4096);
        let place = || Place {
            party: None,
            ending: Ending::None,
            launch: 0,
            open: false,
            progress: Progress::default(),
            found: Found::default(),
        };
        Ok(Self {
            world: World::new(options.seed)?,
            schedule: Schedule::new(Duration::from_secs(options.seconds), options.seed),
            folder: Folder::new()?,
            to_events,
            events,
            places: (0..PARTIES).map(|_| place()).collect(),
            begun: Instant::now(),
            interrupted,
            out: Outcome {
                book: Book::default(),
                courses: vec![Course::default(); PARTIES + 1],
                inflicted: Inflicted::default(),
                failures: Objections::default(),
                troubles: Objections::default(),
                lasted: Duration::ZERO,
                interrupted: false,
                kept_kib: 0,
            },
            options,
        })
    }

    /// Runs all of it.
    ///
    /// # Errors
    /// It cannot be set up. What goes wrong later is in the outcome.
    pub(super) fn run(mut self) -> Result<Outcome, Box<dyn Error>> {
        for slot in LISTENERS_AT..PARTIES {
            self.start(slot)?;
        }
        self.hear_until(PATIENCE, |it| {
            it.places[LISTENERS_AT..].iter().all(|place| place.open)
        })?;
        for slot in 0..LISTENERS_AT {
            self.start(slot)?;
        }
        self.begun = Instant::now();
        self.go_through_the_schedule()?;
        self.out.lasted = self.begun.elapsed();
        self.out.interrupted = self.interrupted.load(Ordering::Relaxed);
        self.finish()?;
        Ok(self.out)
    }

    fn total(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    fn go_through_the_schedule(&mut self) -> Result<(), Box<dyn Error>> {
        let mut current: Option<Phase> = None;
        let mut kills = self.schedule.kills.clone().into_iter().peekable();
        let (mut sampled, mut told) = (Duration::ZERO, Duration::ZERO);
        loop {
            let time = self.begun.elapsed();
            if time >= self.total() || self.interrupted.load(Ordering::Relaxed) {
                break;
            }
            let phase = self.schedule.at(time).copied();
            if phase != current {
                self.change(current, phase)?;
                current = phase;
            }
            if let Some(Kill { broadcaster, .. }) = kills.next_if(|kill| kill.at <= time) {
                self.kill(broadcaster);
            }
            if time >= sampled {
                self.sample(time);
                sampled += SAMPLE_EVERY;
            }
            if time >= told + TELL_EVERY {
                told += TELL_EVERY;
                self.tell(current)?;
            }
            self.hear_for(LOOK_EVERY)?;
        }
        self.change(current, None)
    }

    fn change(&mut self, from: Option<Phase>, to: Option<Phase>) -> Result<(), Box<dyn Error>> {
        if let Some(phase) = from.filter(|phase| phase.fault == Fault::Stopped) {
            self.signal(phase.victim, "CONT")?;
        }
        self.world
            .inflict(to.map_or(Fault::Clean, |phase| phase.fault));
        if let Some(phase) = to.filter(|phase| phase.fault == Fault::Stopped) {
            self.signal(phase.victim, "STOP")?;
        }
        Ok(())
    }

    fn signal(&self, listener: usize, signal: &str) -> io::Result<()> {
        match &self.places[LISTENERS_AT + listener].party {
            Some(party) => party.signal(signal),
            None => Ok(()),
        }
    }

    fn ledger(&self, broadcaster: usize) -> String {
        self.folder
            .0
            .join(broadcaster.to_string())
            .display()
            .to_string()
    }

    fn start(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        let connection = format!("[{GROUP}%{INTERFACE}]:26000");
        let seed = self.options.seed;
        let (host, command, task) = match slot.checked_sub(LISTENERS_AT) {
            None => {
                let ledger = self.ledger(slot);
                clear_ledger(&ledger)?;
                let task = BroadcasterTask {
                    role: slot,
                    seed,
                    launch: self.places[slot].launch,
                    load: self.options.load,
                    connection,
                    ledger,
                };
                (
                    BROADCASTERS[slot].host,
                    super::BROADCASTER,
                    serde_json::to_string(&task)?,
                )
            }
            Some(role) => {
                let task = ListenerTask {
                    role,
                    seed,
                    connection,
                };
                (
                    LISTENERS[role].host,
                    super::LISTENER,
                    serde_json::to_string(&task)?,
                )
            }
        };
        let party = Party::start(self.world.host(host), command, &task, slot, &self.to_events)?;
        let place = &mut self.places[slot];
        place.launch += 1;
        place.ending = Ending::None;
        place.party = Some(party);
        Ok(())
    }

    fn kill(&mut self, broadcaster: usize) {
        let place = &mut self.places[broadcaster];
        if let Some(party) = &mut place.party {
            place.ending = Ending::Killed;
            if let Err(error) = party.kill() {
                self.out
                    .failures
                    .add(format!("cannot kill broadcaster {broadcaster}: {error}"));
            }
        }
    }

    fn sample(&mut self, time: Duration) {
        let total = self.total();
        for (place, course) in self.places.iter().zip(&mut self.out.courses) {
            // One that is just starting holds nothing yet.
            let party = place.party.as_ref().filter(|party| party.ready.is_some());
            // One that is just ending has nothing any more.
            if let Some(Ok(held)) = party.map(Party::resources) {
                course.note(held, time, total);
            }
        }
        if let Ok(held) = Resources::of("self") {
            self.out.courses[PARTIES].note(held, time, total);
        }
    }

    fn tell(&self, phase: Option<Phase>) -> io::Result<()> {
        let of = |places: &[Place]| {
            let totals = places.iter().map(|place| place.progress.total());
            totals.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
        };
        let (sent, heard) = (
            of(&self.places[..LISTENERS_AT]),
            of(&self.places[LISTENERS_AT..]),
        );
        let wrong: u64 = self.places.iter().map(|place| place.found.wrong).sum();
        let rss: u64 = self
            .out
            .courses
            .iter()
            .map(|course| course.end.rss_kib)
            .sum();
        writeln!(
            io::stdout(),
            "{:5.0} s  {:<24} sent {} messages, {:.0} MB; received {}, {:.0} MB; wrong {wrong}; {} MiB resident",
            self.begun.elapsed().as_secs_f64(),
            phase.map_or("", |phase| phase.fault.name()),
            sent.0,
            sent.1 as f64 / 1e6,
            heard.0,
            heard.1 as f64 / 1e6,
            rss >> 10,
        )
    }

    /// Ends the broadcasters, lets all come to rest, ends the listeners.
    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        self.end(0..LISTENERS_AT)?;
        self.hear_for(REST)?;
        match self.world.inflicted() {
            Ok(inflicted) => self.out.inflicted = inflicted,
            Err(error) => self.out.failures.add(format!("the cable: {error}")),
        }
        self.end(LISTENERS_AT..PARTIES)?;
        self.out.book.close();
        Ok(())
    }

    fn end(&mut self, slots: std::ops::Range<usize>) -> Result<(), Box<dyn Error>> {
        for place in &mut self.places[slots.clone()] {
            if let Some(party) = &mut place.party {
                place.ending = Ending::Told;
                party.end();
            }
        }
        let ended = |it: &Self| {
            it.places[slots.clone()]
                .iter()
                .all(|place| place.party.is_none())
        };
        self.hear_until(PATIENCE, ended)
    }

    fn hear_for(&mut self, time: Duration) -> Result<(), Box<dyn Error>> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.hear(event)?,
                Err(_) => return Ok(()),
            }
        }
    }

    fn hear_until(
        &mut self,
        patience: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + patience;
        while !done(self) {
            if Instant::now() > deadline {
                return Err("processes of the soak neither start nor end in time".into());
            }
            self.hear_for(LOOK_EVERY)?;
        }
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
        match event.what {
            What::Said(word) => self.take(event.slot, word),
            What::Babbled(line) => {
                let who = name(event.slot);
                self.out.failures.add(format!("{who} said {line:?}"));
            }
            What::Silent => return self.bury(event.slot),
        }
        Ok(())
    }

    fn take(&mut self, slot: usize, word: Word) {
        let place = &mut self.places[slot];
        match word {
            Word::Ready(held) => {
                if let Some(party) = &mut place.party {
                    party.ready = Some(held);
                }
            }
            Word::Open => place.open = true,
            Word::Stream { id, life, at } => self.out.book.stream(id, slot, life, at),
            Word::Ended { id, sent, at } => self.out.book.ended(id, sent, at),
            Word::Sending { messages, bytes } => place.progress.current = (messages, bytes),
            Word::Finding(found) => {
                place.progress.current = (found.verified, found.bytes);
                place.found = found;
            }
            Word::Visit(visit) => self.out.book.visit(slot - LISTENERS_AT, &visit),
            Word::Closed(held) => self.compare(slot, held),
            Word::Trouble(text) => self.out.troubles.add(format!("{}: {text}", name(slot))),
            Word::Failure(text) => self.out.failures.add(format!("{}: {text}", name(slot))),
        }
    }

    /// A process that has closed everything holds what it held before.
    fn compare(&mut self, slot: usize, after: Resources) {
        let Some(before) = self.places[slot]
            .party
            .as_ref()
            .and_then(|party| party.ready)
        else {
            return;
        };
        if after.threads > before.threads || after.descriptors > before.descriptors {
            let text = format!(
                "{} was left with {after:?}, having had {before:?}",
                name(slot)
            );
            self.out.failures.add(text);
        }
        let kept = after.rss_kib.saturating_sub(before.rss_kib);
        self.out.kept_kib = self.out.kept_kib.max(kept);
    }

    /// A process has ended.
    fn bury(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        let place = &mut self.places[slot];
        place.progress.starts_anew();
        let Some(mut party) = place.party.take() else {
            return Ok(());
        };
        let (status, ending) = (party.wait()?, place.ending);
        if ending == Ending::None || (ending == Ending::Told && !status.success()) {
            self.out
                .failures
                .add(format!("{} ended by itself: {status}", name(slot)));
        }
        if slot < LISTENERS_AT && !status.success() {
            self.out
                .book
                .killed(slot, read_ledger(&self.ledger(slot))?, now());
        }
        if ending != Ending::Told {
            self.start(slot)?;
        }
        Ok(())
    }
}

/// Where the ledgers are, as long as they are of use.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("mcl-soak-{}", process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is some bytes.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(slot: usize) -> String {
    match slot.checked_sub(LISTENERS_AT) {
        None => format!("broadcaster {slot} ({})", BROADCASTERS[slot].name),
        Some(role) => format!("listener {role} ({})", LISTENERS[role].name),
    }
}
