//! What a process says at its end.

use std::fmt;
use std::io;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// One JSON object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    pub(crate) bad: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: Duration,
    /// Bytes of receive buffer, where there is one.
    pub(crate) rcvbuf: usize,
    /// Times of the rounds, in order of length; for ping only.
    pub(crate) rounds: Option<Vec<Duration>>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = self.messages as f64;
        let per_second = |amount: f64| {
            if self.seconds > 0.0 {
                amount / self.seconds
            } else {
                0.0
            }
        };
        let cpu = self.cpu.as_nanos() as f64 / messages.max(1.0);
        write!(
            f,
            "{{\"msgs\":{},\"bytes\":{},\"lost\":{},\"bad\":{},\"seconds\":{:.6},",
            self.messages, self.bytes, self.lost, self.bad, self.seconds
        )?;
        write!(
            f,
            "\"msgs_per_s\":{:.1},\"mb_per_s\":{:.3},\"cpu_ns_per_msg\":{cpu:.1},\"rcvbuf\":{}",
            per_second(messages),
            per_second(self.bytes as f64 / 1e6),
            self.rcvbuf
        )?;
        if let Some(rounds) = &self.rounds {
            for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
                let time = quantile(rounds, share).as_nanos() as f64 / 1e3;
                write!(f, ",\"{name}_us\":{time:.3}")?;
            }
        }
        write!(f, "}}")
    }
}

/// The nearest rank: the smallest time that `share` of all do not exceed.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// User and system time of this process so far (getrusage(2)).
pub(crate) fn cpu_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let sorted: Vec<_> = (1..=1000).map(Duration::from_micros).collect();
        let micros = |share| quantile(&sorted, share).as_micros();
        assert_eq!([0.5, 0.99, 0.999, 1.0].map(micros), [500, 990, 999, 1000]);
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn a_report_is_one_json_object() {
        let report = Report {
            messages: 4,
            bytes: 4_000_000,
            seconds: 2.0,
            cpu: Duration::from_nanos(400),
            ..Report::default()
        };
        assert_eq!(
            report.to_string(),
            "{\"msgs\":4,\"bytes\":4000000,\"lost\":0,\"bad\":0,\"seconds\":2.000000,\
             \"msgs_per_s\":2.0,\"mb_per_s\":2.000,\"cpu_ns_per_msg\":100.0,\"rcvbuf\":0}"
        );
    }
}
