//! `pub`: sends messages, as fast as it goes or at a rate.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use crate::network::Outlet;
use crate::options::Options;
use crate::report::{Report, cpu_time};

const DEFAULT_TIME: Duration = Duration::from_secs(2);

/// A bound for `--count` without `--seconds`.
const MOST_TIME: Duration = Duration::from_secs(600);

pub(crate) fn run(options: &Options, outlet: &mut Outlet) -> Result<Report, Box<dyn Error>> {
    let default = if options.count.is_some() {
        MOST_TIME
    } else {
        DEFAULT_TIME
    };
    let limit = options.seconds.unwrap_or(default);
    let count = options.count.unwrap_or(u64::MAX);
    let (start, cpu) = (Instant::now(), cpu_time()?);
    let mut sent = 0;
    while sent < count && start.elapsed() < limit {
        let due = due(options.rate, start.elapsed()).min(count);
        if due > sent {
            let now = (due - sent).min(outlet.batch());
            outlet.send(sent, now)?;
            sent += now;
        } else {
            thread::sleep(
                until(options.rate, sent)
                    .saturating_sub(start.elapsed())
                    .min(limit),
            );
        }
    }
    Ok(Report {
        messages: sent,
        bytes: sent * options.size as u64,
        seconds: start.elapsed().as_secs_f64(),
        cpu: cpu_time()? - cpu,
        ..Report::default()
    })
}

/// How many messages are due after `elapsed`. The schedule is absolute: what a
/// late wake-up missed is made up for.
fn due(rate: f64, elapsed: Duration) -> u64 {
    if rate == 0.0 {
        return u64::MAX;
    }
    // A truncating cast: a message is due when its time has come.
    (elapsed.as_secs_f64() * rate) as u64 + 1
}

/// When message `number` is due.
fn until(rate: f64, number: u64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_absolute() {
        let due = |millis| due(100.0, Duration::from_millis(millis));
        assert_eq!([0, 9, 10, 15, 1000].map(due), [1, 1, 2, 2, 101]);
        assert_eq!(until(100.0, 5), Duration::from_millis(50));
    }
}
