//! `mcl list`, `mcl hz`, `mcl bw`: what arrives, how often, how much.

mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use mcl_udp::RawListener;

use self::table::{Kind, Row, Table};
use crate::account::Summary;
use crate::arguments::{Format, Network, Reception, Until, period};
use crate::failure::Failure;
use crate::output::{self, place};
use crate::sampling::Survey;
use crate::signals::{LONGEST_WAIT, Stop};

#[derive(Args, Clone, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    network: Network,
    /// How long to listen
    #[arg(long, value_name = "S", default_value = "5", value_parser = period)]
    window: Duration,
    #[command(flatten)]
    reception: Reception,
    #[command(flatten)]
    format: Format,
}

impl List {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let stop = Stop::on_signals()?;
        let watch = Watch::open("list", &self.network, &self.reception, self.window)?;
        self.format.note(&watch.announcement());
        let until = watch.begun + self.window;
        while !stop.is_set() && Instant::now() < until {
            stop.wait_until(until.min(Instant::now() + LONGEST_WAIT));
            output::check_reader()?;
        }
        watch.report(&mut Table::new(Kind::List), self.format)?;
        watch.remark(self.format);
        self.format.summary(&watch.summary())?;
        watch.verdict(&stop, self.window, "--window")
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Periodic {
    #[command(flatten)]
    network: Network,
    /// Time over which rates, intervals and sizes are taken
    #[arg(long, value_name = "S", default_value = "10", value_parser = period)]
    window: Duration,
    /// Time from one report to the next
    #[arg(long, value_name = "S", default_value = "1", value_parser = period)]
    every: Duration,
    #[command(flatten)]
    until: Until,
    #[command(flatten)]
    reception: Reception,
    #[command(flatten)]
    format: Format,
}

impl Periodic {
    /// Rates and intervals.
    pub(crate) fn hz(&self) -> Result<(), Failure> {
        self.run("hz", Kind::Rates)
    }

    /// Bandwidth and sizes.
    pub(crate) fn bw(&self) -> Result<(), Failure> {
        self.run("bw", Kind::Bandwidth)
    }

    fn run(&self, role: &'static str, kind: Kind) -> Result<(), Failure> {
        let stop = Stop::on_signals()?;
        let watch = Watch::open(role, &self.network, &self.reception, self.window)?;
        self.format.note(&watch.announcement());
        let mut table = Table::new(kind);
        let (deadline, mut due) = (self.until.deadline(), watch.begun + self.every);
        while !stop.is_set() && !self.is_over(&watch, deadline) {
            let next = due.min(deadline.unwrap_or(due));
            stop.wait_until(next.min(Instant::now() + LONGEST_WAIT));
            output::check_reader()?;
            if Instant::now() >= due {
                watch.report(&mut table, self.format)?;
                due += self.every;
            }
        }
        // What came since the last report.
        if watch.survey().messages > table.reported() {
            watch.report(&mut table, self.format)?;
        }
        watch.remark(self.format);
        self.format.summary(&watch.summary())?;
        let time = self.until.seconds().unwrap_or_default();
        watch.verdict(&stop, time, "--seconds")
    }

    fn is_over(&self, watch: &Watch, deadline: Option<Instant>) -> bool {
        deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || self
                .until
                .count
                .is_some_and(|count| watch.survey().messages >= count)
    }
}

/// A listener whose messages are counted on the thread that receives them.
struct Watch {
    role: &'static str,
    listener: RawListener,
    survey: Arc<Mutex<Survey>>,
    begun: Instant,
}

impl Watch {
    fn open(
        role: &'static str,
        network: &Network,
        reception: &Reception,
        window: Duration,
    ) -> Result<Self, Failure> {
        let listener = reception
            .listener(&network.connection(), &network.link)
            .open()?;
        let survey: Arc<Mutex<Survey>> = Arc::new(Mutex::new(Survey::new(window)));
        let counted = Arc::clone(&survey);
        listener.subscribe_inline(move |message| {
            lock(&counted).add(&message, message.payload.len());
        });
        Ok(Self {
            role,
            listener,
            survey,
            begun: Instant::now(),
        })
    }

    fn announcement(&self) -> String {
        let listener = &self.listener;
        format!(
            "listening to {} on {}",
            listener.connection(),
            place(listener.interface())
        )
    }

    fn survey(&self) -> MutexGuard<'_, Survey> {
        lock(&self.survey)
    }

    fn report(&self, table: &mut Table, format: Format) -> Result<(), Failure> {
        let statistics = self.listener.statistics();
        let now = SystemTime::now();
        let (rows, messages) = {
            let survey = self.survey();
            let row = |entry| Row::new(entry, &statistics, now);
            let rows: Vec<Row> = survey.entries().into_iter().map(row).collect();
            (rows, survey.messages)
        };
        table.print(&rows, messages, format)
    }

    /// Says if not all is listed.
    fn remark(&self, format: Format) {
        // Not to be printed under the lock, which the receiving thread needs.
        let remark = self.survey().remark();
        if let Some(remark) = remark {
            format.note(&remark);
        }
    }

    fn summary(&self) -> Summary {
        let survey = self.survey();
        let totals = (survey.messages, survey.bytes);
        Summary::new(
            self.role,
            totals,
            self.begun.elapsed(),
            &self.listener.statistics(),
            0,
        )
    }

    /// Whether anything came, unless a person did not want to wait for it.
    fn verdict(&self, stop: &Stop, after: Duration, option: &'static str) -> Result<(), Failure> {
        match self.survey().messages {
            0 if !stop.is_set() => Err(Failure::Silence { after, option }),
            _ => Ok(()),
        }
    }
}

fn lock(survey: &Mutex<Survey>) -> MutexGuard<'_, Survey> {
    survey.lock().unwrap_or_else(PoisonError::into_inner)
}
