//! `mcl perf pub`.

use std::time::{Duration, Instant};

use clap::Args;
use mcl_udp::RawBroadcaster;

use super::load::Load;
use super::report::{Report, Sent};
use super::tuning::Tuning;
use super::{cpu, payload};
use crate::arguments::Network;
use crate::failure::Failure;
use crate::signals::Stop;

/// How many bytes may go without a look at the clock when going without a rate.
const LOOK_EVERY: usize = 64 << 10;

#[derive(Args, Clone, Debug)]
pub(crate) struct Pub {
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    load: Load,
    /// Fill payloads with random bytes, the same in each, which do not compress
    #[arg(long)]
    random: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tuning: Tuning,
}

impl Pub {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let stop = Stop::on_signals()?;
        let (interval, time) = (self.load.interval()?, self.load.time()?);
        let size = self.load.size;
        let connection = self.network.connection();
        let broadcaster = self.tuning.broadcaster(&self.network, &connection, size)?;
        let mut payload = vec![0x5a; size];
        if self.random {
            rand::fill(payload.as_mut_slice());
        }

        let before = cpu::used();
        let begun = Instant::now();
        let limit = Limit {
            until: begun + time,
            count: self.load.count(),
            stop,
        };
        let msgs = match (interval, self.tuning.batch) {
            (None, None) => blast(&broadcaster, &mut payload, &limit)?,
            (None, Some(batch)) => blast_batches(&broadcaster, &payload, batch.into(), &limit)?,
            (Some(interval), _) => paced(&broadcaster, &mut payload, &limit, (begun, interval))?,
        };
        // What coalescing holds back belongs to the time as well.
        broadcaster.flush()?;
        let (elapsed, cpu) = (begun.elapsed(), cpu::used() - before);

        let totals = (msgs, msgs * size as u64);
        let mut report = Report::new("pub", totals, (msgs, elapsed), cpu);
        report.sent = Some(Sent::of(&broadcaster));
        Ok(report.print(self.json)?)
    }
}

/// When to end.
struct Limit {
    until: Instant,
    count: u64,
    stop: Stop,
}

/// As fast as it goes; the clock is looked at now and then, because for small
/// messages it costs a good part of what sending costs.
fn blast(broadcaster: &RawBroadcaster, payload: &mut [u8], limit: &Limit) -> Result<u64, Failure> {
    let burst = (LOOK_EVERY / payload.len().max(1)).clamp(1, 64) as u64;
    let mut next = 0;
    while next < limit.count && !limit.stop.is_set() && Instant::now() < limit.until {
        for _ in 0..burst.min(limit.count - next) {
            payload::stamp(payload, next);
            broadcaster.publish(payload)?;
            next += 1;
        }
    }
    Ok(next)
}

/// The same by batches.
fn blast_batches(
    broadcaster: &RawBroadcaster,
    payload: &[u8],
    batch: usize,
    limit: &Limit,
) -> Result<u64, Failure> {
    let mut payloads = vec![payload.to_vec(); batch];
    let mut next = 0;
    while next < limit.count && !limit.stop.is_set() && Instant::now() < limit.until {
        let count = batch.min(usize::try_from(limit.count - next).unwrap_or(batch));
        for payload in &mut payloads[..count] {
            payload::stamp(payload, next);
            next += 1;
        }
        let batch = payloads[..count].iter().map(Vec::as_slice);
        broadcaster
            .publish_batch(batch)
            .map_err(|error| error.source)?;
    }
    Ok(next)
}

/// Each message at its time; what a late wake-up missed is made up for at once.
fn paced(
    broadcaster: &RawBroadcaster,
    payload: &mut [u8],
    limit: &Limit,
    (begun, interval): (Instant, f64),
) -> Result<u64, Failure> {
    let mut next = 0;
    while next < limit.count && !limit.stop.is_set() {
        let due = begun + Duration::from_secs_f64(next as f64 * interval);
        if due >= limit.until {
            break;
        }
        if !limit.stop.wait_until(due) {
            break;
        }
        payload::stamp(payload, next);
        broadcaster.publish(payload)?;
        next += 1;
    }
    Ok(next)
}
