//! `mcl perf pong`.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use mcl_udp::{Connection, Message, Payload, PublishError, RawBroadcaster};

use super::cpu;
use super::inbox::Inbox;
use super::report::{Received, Report, Sent};
use super::tuning::{ListenerSetup, Tuning};
use super::watch::{Ending, LOOK_EVERY, Watch};
use crate::arguments::Network;
use crate::failure::Failure;
use crate::output;
use crate::signals::Stop;

#[derive(Args, Clone, Debug)]
pub(crate) struct Pong {
    #[command(flatten)]
    network: Network,
    /// Where the echoes go; the same group and the next port by default
    #[arg(long, value_name = "CONN2")]
    reply: Option<Connection>,
    /// Bytes of the longest payload
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    #[command(flatten)]
    ending: Ending,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tuning: Tuning,
}

impl Pong {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let watch = self.ending.watch(Stop::on_signals()?, None)?;
        let (there, back) = connections(&self.network, self.reply.as_ref())?;
        let broadcaster = self.tuning.broadcaster(&self.network, &back, self.size)?;
        let setup = self.tuning.listener(&self.network, &there, self.size);
        let echoer = Arc::new(Echoer::new(broadcaster));
        let (received, watch) = if self.tuning.inline {
            inline(&echoer, setup, watch)?
        } else {
            taken(&echoer, Inbox::open(setup, &self.tuning)?, watch)?
        };
        if let Some(error) = unpoisoned(&echoer.failed).take() {
            return Err(error.into());
        }
        report(&echoer, &watch, received).print(self.json)?;
        Ok(())
    }
}

fn report(echoer: &Echoer, watch: &Watch, received: Received) -> Report {
    let (begun, cpu_before, ended) = echoer.times();
    let elapsed = ended.saturating_duration_since(begun);
    let cpu = watch.cpu().saturating_sub(cpu_before);
    let (msgs, bytes) = (echoer.msgs(), echoer.bytes.load(Ordering::Relaxed));
    let times = (msgs.saturating_sub(1), elapsed);
    let mut report = Report::new("pong", (msgs, bytes), times, cpu);
    report.sent = Some(Sent::of(&echoer.broadcaster));
    report.received = Some(received);
    report
}

/// The connection of the pings and that of the echoes, for both sides.
pub(super) fn connections(
    network: &Network,
    reply: Option<&Connection>,
) -> Result<(Connection, Connection), Failure> {
    let there = network.connection();
    let back = match reply {
        Some(reply) => network.by_interface(reply.clone()),
        None => {
            let port = there.port().checked_add(1).ok_or_else(|| {
                Failure::Usage("port 65535 has no next one for the echoes; use `--reply`".into())
            })?;
            there
                .clone()
                .with_port(port)
                .map_err(|error| Failure::Usage(error.to_string()))?
        }
    };
    Ok((there, back))
}

/// Sends back what it is given.
struct Echoer {
    broadcaster: RawBroadcaster,
    msgs: AtomicU64,
    bytes: AtomicU64,
    /// When the first and the last message came, and the processor time at first.
    times: Mutex<Option<(Instant, Duration, Instant)>>,
    failed: Mutex<Option<PublishError>>,
}

impl Echoer {
    fn new(broadcaster: RawBroadcaster) -> Self {
        Self {
            broadcaster,
            msgs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            times: Mutex::new(None),
            failed: Mutex::new(None),
        }
    }

    fn echo(&self, message: &Message<Payload>) {
        if let Err(error) = self.broadcaster.publish(&message.payload) {
            *unpoisoned(&self.failed) = Some(error);
        }
        let now = Instant::now();
        let mut times = unpoisoned(&self.times);
        let times = times.get_or_insert_with(|| (now, cpu::used(), now));
        times.2 = now;
        self.bytes
            .fetch_add(message.payload.len() as u64, Ordering::Relaxed);
        self.msgs.fetch_add(1, Ordering::Relaxed);
    }

    fn is_well(&self) -> bool {
        unpoisoned(&self.failed).is_none()
    }

    fn msgs(&self) -> u64 {
        self.msgs.load(Ordering::Relaxed)
    }

    fn times(&self) -> (Instant, Duration, Instant) {
        let now = Instant::now();
        unpoisoned(&self.times).unwrap_or((now, cpu::used(), now))
    }
}

pub(super) fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn inline(
    echoer: &Arc<Echoer>,
    setup: ListenerSetup,
    mut watch: Watch,
) -> Result<(Received, Watch), Failure> {
    let listener = setup.open()?;
    let own = Arc::clone(echoer);
    listener.subscribe_inline(move |message| own.echo(&message));
    output::note("ready");
    while echoer.is_well() && watch.goes_on(echoer.msgs())? {
        thread::sleep(LOOK_EVERY);
    }
    let received = Received::of(&listener.statistics(), 0);
    listener.close();
    Ok((received, watch))
}

fn taken(
    echoer: &Echoer,
    mut inbox: Inbox,
    mut watch: Watch,
) -> Result<(Received, Watch), Failure> {
    output::note("ready");
    while echoer.is_well() && watch.goes_on(echoer.msgs())? {
        if let Some(message) = inbox.recv_timeout(LOOK_EVERY)? {
            echoer.echo(&message);
        }
    }
    let received = Received::of(&inbox.statistics(), inbox.dropped());
    Ok((received, watch))
}
