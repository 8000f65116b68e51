//! `mcl perf ping`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use mcl_udp::{Connection, PublishError, RawBroadcaster};

use super::inbox::Inbox;
use super::load::Load;
use super::pong::{connections, unpoisoned};
use super::report::{Received, Report, RoundTrip, Sent};
use super::tally::as_nanos;
use super::tuning::{ListenerSetup, Tuning};
use super::watch::LOOK_EVERY;
use super::{cpu, payload};
use crate::arguments::{Network, seconds};
use crate::failure::Failure;
use crate::output;
use crate::signals::Stop;

/// How long an echo is waited for; it counts as lost then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Room for round trips, so that no allocation disturbs the first million.
const ROOM: usize = 1 << 20;

#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("seconds", |it| it.help("Time to send for")),
    mut_arg("rate", |it| it.help(
        "Pings a second at most; 0 each as soon as the echo of the last one is back"
    )),
    mut_arg("count", |it| it.help("Payloads to send, if that is sooner")),
)]
pub(crate) struct Ping {
    #[command(flatten)]
    network: Network,
    /// Where the echoes come from; the same group and the next port by default
    #[arg(long, value_name = "CONN2")]
    reply: Option<Connection>,
    #[command(flatten)]
    load: Load,
    /// Go on until so many echoes came, but not longer than `--idle` beyond the time
    #[arg(long, value_name = "N", default_value_t = 0)]
    at_least: usize,
    /// Give up after so long without any echo
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    idle: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tuning: Tuning,
}

impl Ping {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let stop = Stop::on_signals()?;
        let (there, back) = connections(&self.network, self.reply.as_ref())?;
        let size = self.load.size;
        let broadcaster = self.tuning.broadcaster(&self.network, &there, size)?;
        let setup = self.tuning.listener(&self.network, &back, size);
        let schedule = Schedule {
            interval: self.load.interval()?,
            time: self.load.time()?,
            idle: seconds(self.idle)?,
            at_least: self.at_least,
            count: self.load.count(),
            stop,
        };
        let mut pinger = Pinger::new(broadcaster, size);
        let cpu_before = cpu::used();
        let received = if self.tuning.inline {
            let shared = Arc::new(Mutex::new(pinger));
            let received = inline(&shared, setup, &Arc::new(schedule))?;
            pinger = unpoisoned(&shared).take();
            received
        } else {
            taken(&mut pinger, Inbox::open(setup, &self.tuning)?, &schedule)?
        };
        let cpu = cpu::used() - cpu_before;
        pinger.report(received, cpu)?.print(self.json)?;
        Ok(())
    }
}

/// When to send, and when to end.
struct Schedule {
    interval: Option<f64>,
    time: Duration,
    idle: Duration,
    at_least: usize,
    count: u64,
    stop: Stop,
}

impl Schedule {
    /// When the ping with this number is due; at once without a rate.
    fn due(&self, begun: Instant, number: u64) -> Instant {
        let after = self.interval.map_or(0.0, |it| it * number as f64);
        begun + Duration::from_secs_f64(after)
    }

    fn goes_on(&self, pinger: &Pinger) -> Result<bool, Failure> {
        let running = pinger.begun.elapsed();
        if pinger.times.is_empty() && running >= self.idle {
            return Err(Failure::Silence {
                after: self.idle,
                option: "--idle",
            });
        }
        Ok(!self.is_over(pinger) && !self.stop.is_set())
    }

    /// Whether it has sent enough, or for long enough.
    fn is_over(&self, pinger: &Pinger) -> bool {
        let running = pinger.begun.elapsed();
        let latest = match pinger.times.len() < self.at_least {
            true => self.time + self.idle,
            false => self.time,
        };
        pinger.sent >= self.count || running >= latest
    }
}

/// Sends numbered payloads and takes the time of their echoes.
struct Pinger {
    broadcaster: Arc<RawBroadcaster>,
    payload: Vec<u8>,
    begun: Instant,
    sent: u64,
    /// The number that is on its way, and since when.
    awaited: Option<(u64, Instant)>,
    times: Vec<u64>,
    lost: u64,
    bad: u64,
    failed: Option<PublishError>,
}

impl Pinger {
    fn new(broadcaster: RawBroadcaster, size: usize) -> Self {
        Self {
            broadcaster: Arc::new(broadcaster),
            payload: vec![0x5a; size],
            begun: Instant::now(),
            sent: 0,
            awaited: None,
            times: Vec::with_capacity(ROOM),
            lost: 0,
            bad: 0,
            failed: None,
        }
    }

    /// What it has, leaving an empty one to a callback that still holds it.
    fn take(&mut self) -> Self {
        Self {
            broadcaster: Arc::clone(&self.broadcaster),
            payload: std::mem::take(&mut self.payload),
            begun: self.begun,
            sent: self.sent,
            awaited: None,
            times: std::mem::take(&mut self.times),
            lost: self.lost,
            bad: self.bad,
            failed: self.failed.take(),
        }
    }

    #[inline]
    fn send(&mut self) {
        payload::stamp(&mut self.payload, self.sent);
        self.awaited = Some((self.sent, Instant::now()));
        self.sent += 1;
        if let Err(error) = self.broadcaster.publish(&self.payload) {
            self.awaited = None;
            self.failed = Some(error);
        }
    }

    /// Whether this is the echo that was awaited. One that comes late is not.
    #[inline]
    fn take_echo(&mut self, echo: &[u8]) -> bool {
        let Some((number, since)) = self.awaited else {
            return false;
        };
        let whole = echo.len() == self.payload.len();
        match payload::sequence(echo, number).filter(|_| whole) {
            Some(echoed) if echoed == number => {
                self.times.push(as_nanos(since.elapsed()));
                self.awaited = None;
                true
            }
            Some(_) => false,
            None => {
                self.bad += 1;
                false
            }
        }
    }

    /// Gives an echo up that is not back in time.
    fn give_up_late(&mut self) {
        let late = |(_, since): &(u64, Instant)| since.elapsed() >= PATIENCE;
        if self.awaited.take_if(|it| late(it)).is_some() {
            self.lost += 1;
        }
    }

    fn report(mut self, received: Received, cpu: Duration) -> Result<Report, Failure> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        let elapsed = self.begun.elapsed();
        let msgs = self.times.len() as u64;
        let bytes = msgs * self.payload.len() as u64;
        let mut report = Report::new("ping", (msgs, bytes), (msgs, elapsed), cpu);
        (report.lost, report.bad) = (self.lost, self.bad);
        report.round_trip = RoundTrip::of(&mut self.times);
        report.sent = Some(Sent::of(&self.broadcaster));
        report.received = Some(received);
        Ok(report)
    }
}

/// The callback takes the time of an echo and sends the next ping at once, or
/// leaves that to this thread if there is a rate to keep.
fn inline(
    shared: &Arc<Mutex<Pinger>>,
    setup: ListenerSetup,
    schedule: &Arc<Schedule>,
) -> Result<Received, Failure> {
    let listener = setup.open()?;
    let (own, ending) = (Arc::clone(shared), Arc::clone(schedule));
    begin(&mut unpoisoned(shared));
    listener.subscribe_inline(move |message| {
        let mut pinger = unpoisoned(&own);
        let next = pinger.take_echo(&message.payload) && ending.interval.is_none();
        if next && !ending.is_over(&pinger) {
            pinger.send();
        }
    });
    while look_after(&mut unpoisoned(shared), schedule)? {
        let due = next_look(&unpoisoned(shared), schedule);
        schedule.stop.wait_until(due);
    }
    let received = Received::of(&listener.statistics(), 0);
    listener.close();
    Ok(received)
}

fn begin(pinger: &mut Pinger) {
    pinger.begun = Instant::now();
    output::note("ready");
}

/// Sends what is due and gives up what is late; whether to go on.
fn look_after(pinger: &mut Pinger, schedule: &Schedule) -> Result<bool, Failure> {
    pinger.give_up_late();
    if pinger.awaited.is_some() {
        return Ok(!schedule.stop.is_set());
    }
    let goes_on = pinger.failed.is_none() && schedule.goes_on(pinger)?;
    if goes_on && Instant::now() >= schedule.due(pinger.begun, pinger.sent) {
        pinger.send();
    }
    Ok(goes_on)
}

fn next_look(pinger: &Pinger, schedule: &Schedule) -> Instant {
    let soon = Instant::now() + LOOK_EVERY;
    match (pinger.awaited, schedule.interval) {
        (None, Some(_)) => schedule.due(pinger.begun, pinger.sent).min(soon),
        _ => soon,
    }
}

/// This thread sends and takes the echoes.
fn taken(pinger: &mut Pinger, mut inbox: Inbox, schedule: &Schedule) -> Result<Received, Failure> {
    begin(pinger);
    while pinger.failed.is_none() && schedule.goes_on(pinger)? {
        let due = schedule.due(pinger.begun, pinger.sent);
        schedule.stop.wait_until(due);
        pinger.send();
        while pinger.awaited.is_some() && !schedule.stop.is_set() {
            match inbox.recv_timeout(LOOK_EVERY)? {
                Some(echo) => {
                    pinger.take_echo(&echo.payload);
                }
                None => pinger.give_up_late(),
            }
        }
    }
    Ok(Received::of(&inbox.statistics(), inbox.dropped()))
}
