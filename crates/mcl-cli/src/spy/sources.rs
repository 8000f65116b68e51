//! Listeners, and what they have seen.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV6;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use humantime::format_rfc3339_seconds;
use mcl_udp::{
    Account, Encoding, Event, Events, ListenerStatistics, Message, Payload, RawListener, StreamId,
    Topic,
};

use crate::account::Summary;
use crate::arguments::{Networks, Reception};
use crate::failure::Failure;
use crate::output::place;
use crate::sampling::{Entry, Figures, Survey};
use crate::view;

/// How many seconds of history each row has.
pub(super) const HISTORY: usize = 120;

/// How much is kept of the last payload of each row: enough to look at what was
/// published once, long ago. The whole is kept for the row that is looked at.
const HEAD: usize = 2048;

/// How long a row may have been silent when it must give way to another one.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(60);

/// One topic of one stream of one connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) topic: Option<Topic>,
    pub(super) connection: usize,
    pub(super) stream: StreamId,
}

/// All that is known at one time.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) time: SystemTime,
    pub(super) connections: Vec<Status>,
    pub(super) rows: Vec<Row>,
}

/// A listener.
#[derive(Clone, Debug)]
pub(super) struct Status {
    /// Its connection and where it is.
    pub(super) name: String,
    pub(super) interface_lost: bool,
    pub(super) rate: f64,
    pub(super) bandwidth: f64,
    pub(super) streams: usize,
    pub(super) lost: u64,
    pub(super) kernel_drops: Option<u64>,
    /// Messages of topics and streams for which there is no row.
    pub(super) unlisted: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) sender: SocketAddrV6,
    pub(super) encoding: Encoding,
    pub(super) last: SystemTime,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) figures: Figures,
    /// Of the whole stream; `None` if it has lost its place in the listener's table.
    pub(super) account: Option<Account>,
    /// Messages a second, a value a second, the latest at the end.
    pub(super) history: Vec<f32>,
    /// The last message, if it was asked for.
    pub(super) message: Option<Last>,
}

/// The last message of a row.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) payload: Payload,
    /// Length of the payload of which `payload` may be only the beginning.
    pub(super) size: usize,
    pub(super) number: u64,
    pub(super) published: Option<SystemTime>,
    pub(super) interface: Option<NonZeroU32>,
    pub(super) schema: Option<u64>,
}

/// For which rows the last messages are asked for.
#[derive(Clone, Debug)]
pub(super) enum Payloads {
    Of(Option<Key>),
    All,
}

/// What is kept per topic and stream beyond rates.
#[derive(Debug, Default)]
struct Extra {
    head: Vec<u8>,
    /// Only of what is looked at: it may be large.
    whole: Option<Payload>,
    size: usize,
    number: u64,
    published: Option<SystemTime>,
    interface: Option<NonZeroU32>,
    schema: Option<u64>,
    history: VecDeque<f32>,
    /// Messages at the last sample.
    sampled: u64,
}

impl Extra {
    fn take(&mut self, message: &Message<Payload>, watched: bool) {
        let payload = &message.payload;
        self.head.clear();
        self.head.extend(payload.iter().take(HEAD));
        self.whole = watched.then(|| payload.clone());
        self.size = payload.len();
        self.number = message.number;
        self.published = message.published;
        self.interface = Some(message.interface);
        self.schema = message.schema;
    }

    fn sample(&mut self, messages: u64, seconds: f64) {
        let new = messages - self.sampled;
        self.sampled = messages;
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((new as f64 / seconds) as f32);
    }

    fn last(&self) -> Last {
        let whole = self.whole.clone();
        Last {
            payload: whole.unwrap_or_else(|| Payload::from(self.head.clone())),
            size: self.size,
            number: self.number,
            published: self.published,
            interface: self.interface,
            schema: self.schema,
        }
    }
}

/// What the thread that receives writes.
#[derive(Debug)]
struct Ledger {
    survey: Survey<Extra>,
    watched: Option<(Option<Topic>, StreamId)>,
}

impl Ledger {
    fn take(&mut self, message: &Message<Payload>) {
        let watched = self
            .watched
            .as_ref()
            .is_some_and(|(topic, stream)| *stream == message.stream && *topic == message.topic);
        if let Some(entry) = self.survey.add(message, message.payload.len()) {
            entry.extra.take(message, watched);
        }
    }

    fn watch(&mut self, watched: Option<(Option<Topic>, StreamId)>) {
        if self.watched != watched {
            // What was looked at before need not be whole any more.
            for entry in self.survey.entries_mut() {
                entry.extra.whole = None;
            }
            self.watched = watched;
        }
    }

    fn sample(&mut self, seconds: f64, now: SystemTime) {
        for entry in self.survey.entries_mut() {
            entry.extra.sample(entry.messages, seconds);
        }
        self.survey.make_room(now - GIVES_WAY_AFTER);
    }
}

struct Source {
    listener: RawListener,
    events: Events,
    ledger: Arc<Mutex<Ledger>>,
}

impl Source {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    fn rows(
        &self,
        connection: usize,
        wanted: &Payloads,
        statistics: &ListenerStatistics,
        now: SystemTime,
    ) -> (Vec<Row>, u64) {
        let accounts = statistics.streams.iter().map(|it| (it.id, it.account()));
        let accounts: HashMap<StreamId, Account> = accounts.collect();
        let mut ledger = self.ledger();
        let mine = |key: &&Key| key.connection == connection;
        if let Payloads::Of(key) = wanted {
            let key = key.as_ref().filter(mine);
            ledger.watch(key.map(|key| (key.topic.clone(), key.stream)));
        }
        let row = |entry: &Entry<Extra>| {
            let account = accounts.get(&entry.stream).copied();
            row(connection, entry, wanted, account, now)
        };
        let rows = ledger.survey.entries().into_iter().map(row).collect();
        (rows, ledger.survey.unlisted)
    }
}

fn row(
    connection: usize,
    entry: &Entry<Extra>,
    wanted: &Payloads,
    account: Option<Account>,
    now: SystemTime,
) -> Row {
    let key = Key {
        topic: entry.topic.clone(),
        connection,
        stream: entry.stream,
    };
    let wanted = match wanted {
        Payloads::All => true,
        Payloads::Of(wanted) => wanted.as_ref() == Some(&key),
    };
    Row {
        key,
        sender: entry.sender,
        encoding: entry.encoding,
        last: entry.last,
        messages: entry.messages,
        bytes: entry.bytes,
        figures: entry.figures(now),
        account,
        history: entry.extra.history.iter().copied().collect(),
        message: wanted.then(|| entry.extra.last()),
    }
}

/// One or several listeners.
pub(super) struct Sources {
    sources: Vec<Source>,
    begun: Instant,
    sampled: Instant,
}

impl Sources {
    pub(super) fn open(
        networks: &Networks,
        reception: &Reception,
        window: Duration,
    ) -> Result<Self, Failure> {
        let open = |connection| -> Result<Source, Failure> {
            let listener = reception.listener(connection, &networks.link).open()?;
            let ledger = Arc::new(Mutex::new(Ledger {
                survey: Survey::new(window),
                watched: None,
            }));
            let written = Arc::clone(&ledger);
            listener.subscribe_inline(move |message| lock(&written).take(&message));
            Ok(Source {
                events: listener.events(),
                listener,
                ledger,
            })
        };
        let sources: Result<_, _> = networks.connections().iter().map(open).collect();
        let begun = Instant::now();
        Ok(Self {
            sources: sources?,
            begun,
            sampled: begun,
        })
    }

    /// Goes on with the history if it is time.
    pub(super) fn sample(&mut self) {
        let elapsed = self.sampled.elapsed();
        if elapsed >= Duration::from_secs(1) {
            self.sampled = Instant::now();
            for source in &self.sources {
                let mut ledger = source.ledger();
                ledger.sample(elapsed.as_secs_f64(), SystemTime::now());
            }
        }
    }

    /// What happened since it was last asked for, each a line.
    pub(super) fn news(&self) -> Vec<String> {
        let several = self.sources.len() > 1;
        let mut news = Vec::new();
        for source in &self.sources {
            while let Some(event) = source.events.try_recv() {
                // Streams come and go as rows.
                if !matches!(
                    event,
                    Event::StreamStarted { .. } | Event::StreamDeparted { .. }
                ) {
                    let of = match several {
                        true => format!("{}: ", source.listener.connection()),
                        false => String::new(),
                    };
                    news.push(format!(
                        "{} {of}{}",
                        clock(),
                        view::escaped(&event.to_string())
                    ));
                }
            }
        }
        news
    }

    pub(super) fn snapshot(&self, wanted: &Payloads) -> Snapshot {
        let time = SystemTime::now();
        let (mut rows, mut connections) = (Vec::new(), Vec::new());
        for (number, source) in self.sources.iter().enumerate() {
            let statistics = source.listener.statistics();
            let (own, unlisted) = source.rows(number, wanted, &statistics, time);
            let interface = source.listener.interface();
            connections.push(Status {
                name: format!(
                    "{} on {}",
                    source.listener.connection(),
                    place(interface.clone())
                ),
                interface_lost: interface.is_none(),
                rate: own.iter().map(|row| row.figures.rate).sum(),
                bandwidth: own.iter().map(|row| row.figures.bandwidth()).sum(),
                streams: statistics.streams.len(),
                lost: statistics.messages_lost(),
                kernel_drops: statistics.kernel_drops,
                unlisted,
            });
            rows.extend(own);
        }
        Snapshot {
            time,
            connections,
            rows,
        }
    }

    /// The account of each listener, for the end.
    pub(super) fn summaries(&self) -> Vec<Summary> {
        let summary = |source: &Source| {
            let totals = {
                let survey = &source.ledger().survey;
                (survey.messages, survey.bytes)
            };
            let statistics = source.listener.statistics();
            Summary::new("spy", totals, self.begun.elapsed(), &statistics, 0)
        };
        self.sources.iter().map(summary).collect()
    }
}

/// Hours, minutes and seconds (UTC).
fn clock() -> String {
    let now = format_rfc3339_seconds(SystemTime::now()).to_string();
    now.get(11..19).unwrap_or_default().to_owned()
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
