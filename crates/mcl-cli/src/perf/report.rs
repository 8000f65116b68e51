//! What each of the four prints: one JSON object, or a summary to read.

use std::fmt;
use std::io;
use std::time::Duration;

use mcl_udp::{ListenerStatistics, RawBroadcaster};
use serde::Serialize;

use crate::output;

/// The result of a measurement. The names are stable.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) role: &'static str,
    pub(super) msgs: u64,
    pub(super) bytes: u64,
    pub(super) lost: u64,
    pub(super) bad: u64,
    /// From the first message to the last.
    pub(super) seconds: f64,
    pub(super) msgs_per_s: f64,
    pub(super) mb_per_s: f64,
    pub(super) cpu_ns_per_msg: f64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) round_trip: Option<RoundTrip>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) sent: Option<Sent>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) received: Option<Received>,
}

/// Quantiles of round trips in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RoundTrip {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) max_us: f64,
}

/// The account of a broadcaster.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sent {
    datagrams_sent: u64,
    datagram_len: Option<usize>,
    offload: Option<bool>,
    paced_seconds: f64,
}

/// The account of a listener.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Received {
    rcvbuf: usize,
    rcvbuf_requested: usize,
    kernel_drops: Option<u64>,
    datagrams_received: u64,
    datagrams_missing: u64,
    messages_lost: u64,
    queue_dropped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first: Option<u64>,
}

impl Report {
    /// `events` happened within `seconds`: all messages of a publisher, all but
    /// the first of a subscriber, whose time begins with it.
    pub(super) fn new(
        role: &'static str,
        (msgs, bytes): (u64, u64),
        (events, elapsed): (u64, Duration),
        cpu: Duration,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        let msgs_per_s = ratio(events as f64, seconds);
        let mean = ratio(bytes as f64, msgs as f64);
        Self {
            role,
            msgs,
            bytes,
            lost: 0,
            bad: 0,
            seconds,
            msgs_per_s,
            mb_per_s: msgs_per_s * mean / 1e6,
            cpu_ns_per_msg: ratio(cpu.as_secs_f64() * 1e9, msgs as f64),
            round_trip: None,
            sent: None,
            received: None,
        }
    }

    pub(super) fn print(&self, json: bool) -> io::Result<()> {
        match json {
            true => output::json(self),
            false => output::line(self.to_string().trim_end()),
        }
    }
}

fn ratio(value: f64, of: f64) -> f64 {
    if of > 0.0 { value / of } else { 0.0 }
}

impl RoundTrip {
    /// The quantiles of `times` in nanoseconds; `None` if there are none.
    pub(super) fn of(times: &mut [u64]) -> Option<Self> {
        times.sort_unstable();
        let (max, len) = (*times.last()?, times.len());
        // The smallest time that a fraction `per_mille` of them does not exceed.
        let quantile = |per_mille: usize| {
            let at = (len * per_mille).div_ceil(1000).clamp(1, len) - 1;
            micros(times[at])
        };
        Some(Self {
            p50_us: quantile(500),
            p99_us: quantile(990),
            p999_us: quantile(999),
            max_us: micros(max),
        })
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

impl Sent {
    pub(super) fn of(broadcaster: &RawBroadcaster) -> Self {
        let statistics = broadcaster.statistics();
        Self {
            datagrams_sent: statistics.datagrams,
            datagram_len: broadcaster.datagram_len(),
            offload: broadcaster.offload(),
            paced_seconds: statistics.paced.as_secs_f64(),
        }
    }
}

impl Received {
    pub(super) fn of(statistics: &ListenerStatistics, queue_dropped: u64) -> Self {
        Self {
            rcvbuf: statistics.receive_buffer.granted,
            rcvbuf_requested: statistics.receive_buffer.requested,
            kernel_drops: statistics.kernel_drops,
            datagrams_received: statistics.wire.datagrams.accepted,
            datagrams_missing: statistics.datagrams_missing(),
            messages_lost: statistics.messages_lost(),
            queue_dropped,
            first: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            msgs, lost, bad, ..
        } = self;
        writeln!(
            f,
            "{}: {msgs} messages in {:.3} s: {:.0} /s, {:.1} MB/s; {lost} lost, {bad} wrong; {:.0} ns of CPU each",
            self.role, self.seconds, self.msgs_per_s, self.mb_per_s, self.cpu_ns_per_msg
        )?;
        if let Some(it) = &self.round_trip {
            writeln!(
                f,
                "  round trip: median {:.1} us, 99 % {:.1} us, 99.9 % {:.1} us, longest {:.1} us",
                it.p50_us, it.p99_us, it.p999_us, it.max_us
            )?;
        }
        if let Some(it) = &self.sent {
            it.fmt(f)?;
        }
        if let Some(it) = &self.received {
            it.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trains = match self.offload {
            Some(true) => "in trains",
            _ => "one by one",
        };
        writeln!(
            f,
            "  sent {} datagrams {trains}; {:.3} s of waiting for the pacing",
            self.datagrams_sent, self.paced_seconds
        )
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  received {} datagrams, {} missing; {} messages lost on the way, {} by a full queue",
            self.datagrams_received, self.datagrams_missing, self.messages_lost, self.queue_dropped
        )?;
        write!(f, "  receive buffer {} B", self.rcvbuf)?;
        if self.rcvbuf < self.rcvbuf_requested {
            write!(
                f,
                " of {} asked for (`sudo sysctl -w net.core.rmem_max={}`)",
                self.rcvbuf_requested, self.rcvbuf_requested
            )?;
        }
        match self.kernel_drops {
            Some(drops) => writeln!(f, ", which overflowed {drops} times"),
            None => writeln!(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let mut times: Vec<u64> = (1..=1000).rev().map(|us| us * 1000).collect();
        let it = RoundTrip::of(&mut times).unwrap();
        assert_eq!(
            (it.p50_us, it.p99_us, it.p999_us, it.max_us),
            (500.0, 990.0, 999.0, 1000.0)
        );
        let one = RoundTrip::of(&mut [7000]).unwrap();
        assert_eq!((one.p50_us, one.p999_us), (7.0, 7.0));
        assert!(RoundTrip::of(&mut []).is_none());
    }

    #[test]
    fn rates_follow_from_the_numbers_and_nothing_divides_by_zero() {
        let cpu = Duration::from_micros(30);
        let it = Report::new("sub", (3, 3000), (2, Duration::from_secs(1)), cpu);
        assert_eq!((it.msgs_per_s, it.mb_per_s), (2.0, 0.002));
        assert_eq!(it.cpu_ns_per_msg, 10_000.0);
        let none = Report::new("sub", (0, 0), (0, Duration::ZERO), cpu);
        assert_eq!((none.msgs_per_s, none.cpu_ns_per_msg), (0.0, 0.0));
    }
}
