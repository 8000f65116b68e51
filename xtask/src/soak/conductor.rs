//! Runs a soak: has things go wrong when the schedule says, tells how it goes, and sees
//! to it that all come to rest before the account is drawn up.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::options::Options;
use super::party::Party;
use super::resources::{Course, Resources};
use super::schedule::{Fault, Phase, Schedule};
use super::stage::{Heard, LISTENERS_AT, PARTIES, Place, Stage};
use super::world::Inflicted;

/// After the last datagram: incomplete messages have expired by then.
const REST: Duration = Duration::from_millis(1600);

const LOOK_EVERY: Duration = Duration::from_millis(20);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What is known at the end.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) heard: Heard,
    /// By place: broadcasters, listeners, and this process itself.
    pub(super) courses: Vec<Course>,
    pub(super) inflicted: Inflicted,
    /// How often the interfaces were deleted and made anew.
    pub(super) made_anew: u64,
    pub(super) lasted: Duration,
    pub(super) interrupted: bool,
}

pub(super) struct Conductor {
    stage: Stage,
    schedule: Schedule,
    total: Duration,
    begun: Instant,
    phase: Option<Phase>,
    made_anew: u64,
    interrupted: Arc<AtomicBool>,
    courses: Vec<Course>,
}

impl Conductor {
    pub(super) fn new(options: &Options, interrupted: Arc<AtomicBool>) -> io::Result<Self> {
        let total = Duration::from_secs(options.seconds);
        Ok(Self {
            stage: Stage::new(options)?,
            schedule: Schedule::new(total, options.seed),
            total,
            begun: Instant::now(),
            phase: None,
            made_anew: 0,
            interrupted,
            courses: vec![Course::default(); PARTIES + 1],
        })
    }

    /// Runs all of it.
    ///
    /// # Errors
    /// It cannot be set up, or does not end. What goes wrong otherwise is in the outcome.
    pub(super) fn run(mut self) -> Result<Outcome, Box<dyn Error>> {
        self.stage.start_all(LISTENERS_AT..PARTIES)?;
        self.stage.start_all(0..LISTENERS_AT)?;
        self.begun = Instant::now();
        self.go_through_the_schedule()?;
        let lasted = self.begun.elapsed();
        let inflicted = self.finish()?;
        Ok(Outcome {
            heard: self.stage.heard,
            courses: self.courses,
            inflicted,
            made_anew: self.made_anew,
            lasted,
            interrupted: self.interrupted.load(Ordering::Relaxed),
        })
    }

    fn go_through_the_schedule(&mut self) -> Result<(), Box<dyn Error>> {
        let mut kills = self.schedule.kills.clone().into_iter().peekable();
        let (mut sampled, mut told) = (Duration::ZERO, Duration::ZERO);
        while self.begun.elapsed() < self.total && !self.interrupted.load(Ordering::Relaxed) {
            let time = self.begun.elapsed();
            let phase = self.schedule.at(time).copied();
            self.change(phase)?;
            if let Some(kill) = kills.next_if(|kill| kill.at <= time) {
                self.stage.kill(kill.broadcaster);
            }
            if time >= sampled {
                self.sample(time);
                sampled += SAMPLE_EVERY;
            }
            if time >= told + TELL_EVERY {
                self.tell()?;
                told += TELL_EVERY;
            }
            self.stage.hear_for(LOOK_EVERY)?;
        }
        self.change(None)
    }

    /// From one phase to the next one.
    fn change(&mut self, to: Option<Phase>) -> Result<(), Box<dyn Error>> {
        if self.phase == to {
            return Ok(());
        }
        let stopped = |phase: &Phase| phase.fault == Fault::Stopped;
        if let Some(phase) = self.phase.filter(stopped) {
            self.stage.signal(phase.victim, "CONT")?;
        }
        self.made_anew += u64::from(self.phase.is_some_and(|it| it.fault == Fault::LinkGone));
        let fault = to.map_or(Fault::Clean, |phase| phase.fault);
        self.stage.world.inflict(fault)?;
        if let Some(phase) = to.filter(stopped) {
            self.stage.signal(phase.victim, "STOP")?;
        }
        self.phase = to;
        Ok(())
    }

    fn sample(&mut self, time: Duration) {
        for (place, course) in self.stage.places.iter().zip(&mut self.courses) {
            // One that is just starting holds nothing yet.
            let party = place.party.as_ref().filter(|party| party.ready.is_some());
            // One that is just ending has nothing any more.
            if let Some(Ok(held)) = party.map(Party::resources) {
                course.note(held, time, self.total);
            }
        }
        if let Ok(held) = Resources::of("self") {
            self.courses[PARTIES].note(held, time, self.total);
        }
    }

    fn tell(&self) -> io::Result<()> {
        let (broadcasters, listeners) = self.stage.places.split_at(LISTENERS_AT);
        let (sent, heard) = (sum(broadcasters), sum(listeners));
        let wrong: u64 = listeners.iter().map(|place| place.found.wrong).sum();
        let rss: u64 = self.courses.iter().map(|course| course.end.rss_kib).sum();
        writeln!(
            io::stdout(),
            "{:5.0} s  {:<23}  sent {} messages, {:.0} MB; received {}, {:.0} MB; wrong {wrong}; {} MiB resident",
            self.begun.elapsed().as_secs_f64(),
            self.phase.map_or("", |phase| phase.fault.name()),
            sent.0,
            sent.1 as f64 / 1e6,
            heard.0,
            heard.1 as f64 / 1e6,
            rss >> 10,
        )
    }

    /// Ends the broadcasters, lets all come to rest, ends the listeners.
    fn finish(&mut self) -> Result<Inflicted, Box<dyn Error>> {
        self.stage.end(0..LISTENERS_AT)?;
        self.stage.hear_for(REST)?;
        let inflicted = self.stage.world.inflicted()?;
        self.stage.end(LISTENERS_AT..PARTIES)?;
        self.stage.heard.book.close();
        Ok(inflicted)
    }
}

/// Messages and bytes of some processes, and of those before them.
fn sum(places: &[Place]) -> (u64, u64) {
    let totals = places.iter().map(|place| place.progress.total());
    totals.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
}
