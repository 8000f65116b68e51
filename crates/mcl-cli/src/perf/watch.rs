//! When a receiving side ends.

use std::time::{Duration, Instant};

use clap::Args;

use super::cpu;
use crate::arguments::seconds;
use crate::failure::Failure;
use crate::signals::Stop;

/// How often the progress is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Args, Clone, Debug)]
pub(super) struct Ending {
    /// End this long after the start at the latest
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Give up after so long without any message
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    idle: f64,
    // Without meaning for a receiver; both sides can be given the same.
    #[arg(long, value_name = "R", hide = true)]
    rate: Option<f64>,
}

/// Decides when a receiving side ends, and keeps the processor time at its last
/// progress, so that waiting for the end is not counted.
pub(super) struct Watch {
    stop: Stop,
    idle: Duration,
    /// Silence after the last message that is the end.
    tail: Duration,
    until: Option<Instant>,
    count: u64,
    progress: Instant,
    seen: u64,
    cpu: Duration,
}

impl Ending {
    /// Begins to watch; without `tail`, only the time to give up ends a silence.
    pub(super) fn watch(&self, stop: Stop, tail: Option<Duration>) -> Result<Watch, Failure> {
        let limit = self.seconds.map(seconds).transpose()?;
        let idle = seconds(self.idle)?;
        let now = Instant::now();
        Ok(Watch {
            stop,
            idle,
            tail: tail.unwrap_or(idle),
            until: limit.map(|limit| now + limit),
            count: self.count.unwrap_or(u64::MAX),
            progress: now,
            seen: 0,
            cpu: cpu::used(),
        })
    }
}

impl Watch {
    /// Whether to go on, `msgs` having come so far.
    ///
    /// # Errors
    /// Nothing came at all.
    pub(super) fn goes_on(&mut self, msgs: u64) -> Result<bool, Failure> {
        let now = Instant::now();
        if msgs != self.seen {
            self.seen = msgs;
            self.progress = now;
            self.cpu = cpu::used();
        }
        let quiet = now - self.progress;
        if msgs == 0 && quiet >= self.idle {
            return Err(Failure::Silence {
                after: self.idle,
                option: "--idle",
            });
        }
        let ended = (msgs > 0 && quiet >= self.tail)
            || msgs >= self.count
            || self.until.is_some_and(|until| now >= until)
            || self.stop.is_set();
        Ok(!ended)
    }

    /// Processor time of the process, as of the last message that was noticed.
    pub(super) fn cpu(&self) -> Duration {
        self.cpu
    }
}
