//! `mcl perf sub`.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::inbox::Inbox;
use super::report::{Received, Report};
use super::tally::{Tally, Totals};
use super::tuning::{ListenerSetup, Tuning};
use super::watch::{Ending, LOOK_EVERY, Watch};
use crate::arguments::Network;
use crate::failure::Failure;
use crate::output;
use crate::signals::Stop;

/// Silence after the last message that ends the measurement.
const TAIL: Duration = Duration::from_secs(1);

/// How many messages are taken without a look at the clock.
const BATCH: usize = 64;

#[derive(Args, Clone, Debug)]
pub(crate) struct Sub {
    #[command(flatten)]
    network: Network,
    /// Bytes of each payload; others count as wrong (without it, any length)
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
    #[command(flatten)]
    ending: Ending,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tuning: Tuning,
}

impl Sub {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let watch = self.ending.watch(Stop::on_signals()?, Some(TAIL))?;
        let connection = self.network.connection();
        let size = self.size.unwrap_or(0);
        let setup = self.tuning.listener(&self.network, &connection, size);
        let tally = Tally::new(self.size);
        let totals = tally.totals();
        let (received, watch) = if self.tuning.inline {
            inline(setup, tally, watch)?
        } else {
            taken(Inbox::open(setup, &self.tuning)?, tally, watch)?
        };
        report(&totals, &watch, received).print(self.json)?;
        Ok(())
    }
}

/// The callback counts; this thread only looks on.
fn inline(
    setup: ListenerSetup,
    mut tally: Tally,
    mut watch: Watch,
) -> Result<(Received, Watch), Failure> {
    let listener = setup.open()?;
    let totals = tally.totals();
    listener.subscribe_inline(move |message| tally.take(&message));
    output::note("ready");
    while watch.goes_on(totals.msgs())? {
        thread::sleep(LOOK_EVERY);
    }
    let received = Received::of(&listener.statistics(), 0);
    listener.close();
    Ok((received, watch))
}

/// This thread takes messages and counts.
fn taken(
    mut inbox: Inbox,
    mut tally: Tally,
    mut watch: Watch,
) -> Result<(Received, Watch), Failure> {
    let totals = tally.totals();
    output::note("ready");
    match &mut inbox {
        Inbox::Queue(_, queue) => {
            let mut waiting = queue.try_iter();
            while watch.goes_on(totals.msgs())? {
                let mut none = true;
                for message in waiting.by_ref().take(BATCH).flatten() {
                    tally.take(&message);
                    none = false;
                }
                if none && let Ok(message) = queue.recv_timeout(LOOK_EVERY) {
                    tally.take(&message);
                }
            }
        }
        Inbox::Pull(pull) => {
            while watch.goes_on(totals.msgs())? {
                let mut next = pull.recv_timeout(LOOK_EVERY)?;
                let mut left = BATCH;
                while let Some(message) = next {
                    tally.take(&message);
                    left -= 1;
                    next = if left > 0 { pull.try_recv()? } else { None };
                }
            }
        }
    }
    let received = Received::of(&inbox.statistics(), inbox.dropped());
    Ok((received, watch))
}

fn report(totals: &Arc<Totals>, watch: &Watch, mut received: Received) -> Report {
    let msgs = totals.msgs();
    let cpu = watch.cpu().saturating_sub(totals.cpu_at_first());
    // The time begins with the first message.
    let times = (msgs.saturating_sub(1), totals.elapsed());
    received.first = (msgs > 0).then(|| totals.first());
    let mut report = Report::new("sub", (msgs, totals.bytes()), times, cpu);
    (report.lost, report.bad) = (totals.lost(), totals.bad());
    report.received = Some(received);
    report
}
