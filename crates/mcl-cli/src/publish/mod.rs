//! `mcl pub`: messages from the command line, a file, standard input or chance.

mod encode;
mod feed;

use std::fmt;
use std::time::{Duration, Instant};

use clap::Args;
use mcl_udp::{DEFAULT_MAX_MESSAGE_LEN, PublishError, RawBroadcaster};
use serde::Serialize;

use self::encode::Encode;
use self::feed::{Feed, Source};
use crate::arguments::{Format, Network, at_least_one, interval};
use crate::failure::Failure;
use crate::output::{self, counted};
use crate::signals::Stop;

/// Shown below the long help.
pub(crate) const NOTES: &str = "\
What repeats: TEXT, a file and all of standard input are read once, before anything is sent, and the
same message is published `--count` times. `--size` makes other random bytes each time. With
`--stdin-lines` each line is a message; it ends with the input, or after `--count` lines.

How often: without `--rate`, one message, or each line as it comes. With `--rate` without `--count`,
until SIGINT or SIGTERM. Messages that the network does not take are then counted and the next one is
tried; without `--rate` the first such error is the end.";

/// By how much it may be behind its rate and make up for it.
const MOST_BEHIND: Duration = Duration::from_millis(100);

/// The longest payload that the wire carries.
pub(crate) const LONGEST: usize = u32::MAX as usize;

#[derive(Args, Clone, Debug)]
#[command(
    override_usage = "mcl pub [OPTIONS] <CONN> <TEXT|--file <F>|--stdin|--stdin-lines|--size <BYTES>>"
)]
pub(crate) struct Pub {
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    source: Source,
    /// Messages a second, at most; 0 as fast as it goes. Without `--count` they repeat
    /// until ended
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Messages to publish: 1 by default, all lines with `--stdin-lines`, no end with `--rate`
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    count: Option<u64>,
    /// How payloads are encoded, and what the messages say about it; `msgpack` and `cbor`
    /// are made of JSON
    #[arg(long, value_name = "ENCODING", default_value = "raw")]
    encode: Encode,
    #[command(flatten)]
    format: Format,
}

impl Pub {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let stop = Stop::on_signals()?;
        let pace = Pace::new(interval(self.rate.unwrap_or(0.0))?);
        let topic = self.network.link.topic()?;
        let feed = self.source.open(self.encode, &stop)?;
        if feed.len() > DEFAULT_MAX_MESSAGE_LEN {
            self.format.note(&format!(
                "a message of {} bytes: listeners take up to {DEFAULT_MAX_MESSAGE_LEN} unless told otherwise",
                feed.len()
            ));
        }
        let mut builder = RawBroadcaster::builder(&self.network.connection())
            .hops(self.network.link.hops)
            .max_message_len(LONGEST)
            .encoding(self.encode.encoding());
        if let Some(topic) = topic {
            builder = builder.topic(topic);
        }
        let publishing = Publishing {
            broadcaster: builder.open()?,
            count: self.count(&feed),
            // Who set a rate wants it kept up over a moment without network.
            goes_on: self.rate.is_some_and(|rate| rate > 0.0),
            format: self.format,
            stop,
            begun: Instant::now(),
            failed: 0,
        };
        publishing.run(feed, pace)
    }

    fn count(&self, feed: &Feed) -> u64 {
        let default = match (self.rate, feed) {
            (None, Feed::Fixed(_) | Feed::Random(_)) => 1,
            _ => u64::MAX,
        };
        self.count.unwrap_or(default)
    }
}

struct Publishing {
    broadcaster: RawBroadcaster,
    count: u64,
    goes_on: bool,
    format: Format,
    stop: Stop,
    begun: Instant,
    failed: u64,
}

impl Publishing {
    fn run(mut self, mut feed: Feed, pace: Pace) -> Result<(), Failure> {
        let ended = self.publish_all(&mut feed, pace);
        let summary = Summary::of(&self.broadcaster, self.begun.elapsed());
        if self.format.json {
            output::json(&summary)?;
        } else if !self.format.quiet {
            output::line(summary.to_string())?;
        }
        match (ended, self.failed) {
            (Ok(()), failed @ 1..) => Err(Failure::Unpublished(failed)),
            (ended, _) => ended,
        }
    }

    fn publish_all(&mut self, feed: &mut Feed, mut pace: Pace) -> Result<(), Failure> {
        for _ in 0..self.count {
            // What is waited for is not yet due, what is there already may be.
            let Some(payload) = feed.next(&self.stop)? else {
                break;
            };
            if !pace.wait(&self.stop) || self.stop.is_set() {
                break;
            }
            match self.broadcaster.publish(payload) {
                Ok(_) => {}
                Err(error) if self.goes_on && passes(&error) => self.failed_once(&error),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn failed_once(&mut self, error: &PublishError) {
        if self.failed == 0 {
            output::note(&format!("mcl: cannot publish: {error}; going on"));
        }
        self.failed += 1;
    }
}

/// Whether the next message may go although this one did not.
pub(crate) fn passes(error: &PublishError) -> bool {
    matches!(
        error,
        PublishError::Interface(_)
            | PublishError::Partial { .. }
            | PublishError::MtuUnstable { .. }
    )
}

/// Says when the next message is due.
struct Pace {
    interval: Option<f64>,
    due: Instant,
}

impl Pace {
    fn new(interval: Option<f64>) -> Self {
        let due = Instant::now();
        Self { interval, due }
    }

    /// Waits until the next message is due; `false` if a signal came first.
    fn wait(&mut self, stop: &Stop) -> bool {
        let Some(interval) = self.interval else {
            return true;
        };
        if self.due.elapsed() > MOST_BEHIND {
            self.due = Instant::now();
        }
        let in_time = stop.wait_until(self.due);
        self.due += Duration::try_from_secs_f64(interval).unwrap_or(Duration::MAX / 4);
        in_time
    }
}

/// What was published. The names are stable.
#[derive(Clone, Debug, Serialize)]
struct Summary {
    role: &'static str,
    msgs: u64,
    bytes: u64,
    errors: u64,
    seconds: f64,
    stream: String,
    topic: Option<String>,
    /// `None` while it was away.
    interface: Option<String>,
}

impl Summary {
    fn of(broadcaster: &RawBroadcaster, time: Duration) -> Self {
        let statistics = broadcaster.statistics();
        Self {
            role: "pub",
            msgs: statistics.messages,
            bytes: statistics.bytes,
            errors: statistics.failed,
            seconds: time.as_secs_f64(),
            stream: broadcaster.stream().to_string(),
            topic: broadcaster.topic().map(ToString::to_string),
            interface: broadcaster.interface().map(|it| it.name().to_owned()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            msgs,
            bytes,
            errors,
            seconds,
            stream,
            interface,
            ..
        } = self;
        write!(
            f,
            "published {}, {} in {seconds:.3} s over {}; {}; stream {stream}",
            counted(*msgs, "message"),
            counted(*bytes, "byte"),
            interface.as_deref().unwrap_or("no interface"),
            counted(*errors, "error"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_keeps_its_rate_and_does_not_make_up_for_a_long_pause() {
        let stop = Stop::default();
        let begun = Instant::now();
        let mut pace = Pace::new(Some(0.002));
        (0..26).for_each(|_| assert!(pace.wait(&stop)));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(50), "{took:?}");
        std::thread::sleep(Duration::from_millis(200));
        let resumed = Instant::now();
        (0..26).for_each(|_| assert!(pace.wait(&stop)));
        assert!(resumed.elapsed() >= Duration::from_millis(50));
    }
}
