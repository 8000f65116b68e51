//! `mcl echo`: messages as they arrive.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use clap::Args;
use humantime::{format_rfc3339_micros, format_rfc3339_nanos};
use mcl_udp::{Message, Payload, Queue, QueueOptions, Raw, RawListener, RecvTimeoutError};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::account::Summary;
use crate::arguments::{Format, Network, Reception, Until, duration};
use crate::failure::Failure;
use crate::output::{self, Out, place};
use crate::record::nanos;
use crate::signals::{LONGEST_WAIT, Stop};
use crate::view::{self, View};

/// Room between the listener and the output, for as long as the output is slow.
const QUEUED_MESSAGES: usize = 65_536;

/// What the summary counts is more than was read then.
const UNREAD: &str = "nobody reads standard output: what was shown last is missing there";

#[derive(Args, Clone, Debug)]
pub(crate) struct Echo {
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    until: Until,
    /// End after so long without a message; with nothing so far that is an error
    #[arg(long, value_name = "S", value_parser = duration)]
    timeout: Option<Duration>,
    /// Write the payloads and nothing else, one after the other as they are
    #[arg(long, conflicts_with_all = ["json", "limit", "no_payload"])]
    raw: bool,
    /// Show at most so many characters of a payload; 0 shows all
    #[arg(
        long,
        value_name = "CHARACTERS",
        default_value_t = 200,
        conflicts_with = "json"
    )]
    limit: usize,
    /// Leave the payloads away
    #[arg(long)]
    no_payload: bool,
    #[command(flatten)]
    reception: Reception,
    #[command(flatten)]
    format: Format,
}

impl Echo {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let stop = Stop::on_signals()?;
        let connection = self.network.connection();
        let listener = self
            .reception
            .listener(&connection, &self.network.link)
            .open()?;
        let room = QueueOptions::default().with_max_messages(QUEUED_MESSAGES);
        let mut echoing = Echoing {
            queue: listener.queue_with(room),
            out: Out::until(&stop)?,
            begun: Instant::now(),
            messages: 0,
            bytes: 0,
            options: self,
        };
        self.format.note(&format!(
            "listening to {connection} on {}",
            place(listener.interface())
        ));
        match echoing.run(&stop) {
            Err(failure) if failure.is_unread() => self.format.note(UNREAD),
            done => done?,
        }
        let summary = echoing.summary(&listener);
        self.format.summary(&summary)?;
        echoing.verdict(&stop)
    }
}

struct Echoing<'a> {
    queue: Queue<Payload, Raw>,
    out: Out,
    begun: Instant,
    messages: u64,
    bytes: u64,
    options: &'a Echo,
}

impl Echoing<'_> {
    fn run(&mut self, stop: &Stop) -> Result<(), Failure> {
        let (count, deadline) = (self.options.until.count, self.options.until.deadline());
        let mut last = Instant::now();
        while !stop.is_set() && count.is_none_or(|count| self.messages < count) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            let next = [deadline, self.options.timeout.map(|timeout| last + timeout)];
            let left = |at: Instant| at.saturating_duration_since(Instant::now());
            let wait = next.into_iter().flatten().map(left).min();
            match self
                .queue
                .recv_timeout(wait.map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT)))
            {
                Ok(message) => {
                    self.show(&message)?;
                    last = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {
                    output::check_reader()?;
                    if self
                        .options
                        .timeout
                        .is_some_and(|timeout| last.elapsed() >= timeout)
                    {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        Ok(self.out.flush()?)
    }

    fn show(&mut self, message: &Message<Payload>) -> Result<(), Failure> {
        self.messages += 1;
        self.bytes += message.payload.len() as u64;
        if self.options.raw {
            self.out.bytes(&message.payload)?;
        } else if self.options.format.json {
            self.out
                .json(&Record::of(message, !self.options.no_payload))?;
        } else {
            self.out.line(&self.options.line(message))?;
        }
        // What follows at once may be written along with it.
        if self.queue.is_empty() {
            self.out.flush()?;
        }
        Ok(())
    }

    fn summary(&self, listener: &RawListener) -> Summary {
        let dropped = self.queue.statistics();
        Summary::new(
            "echo",
            (self.messages, self.bytes),
            self.begun.elapsed(),
            &listener.statistics(),
            dropped.dropped_oldest + dropped.dropped_newest,
        )
    }

    /// Whether it got what it was to wait for.
    fn verdict(&self, stop: &Stop) -> Result<(), Failure> {
        let (got, wanted) = (self.messages, self.options.until.count);
        match (self.options.timeout, wanted) {
            _ if stop.is_set() => Ok(()),
            (_, Some(wanted)) if 0 < got && got < wanted => Err(Failure::Fewer { got, wanted }),
            (Some(after), _) if got == 0 => Err(Failure::Silence {
                after,
                option: "--timeout",
            }),
            (None, Some(_)) if got == 0 => Err(Failure::Silence {
                after: self.options.until.seconds().unwrap_or_default(),
                option: "--seconds",
            }),
            _ => Ok(()),
        }
    }
}

impl Echo {
    /// A message on a line: time, topic, stream and number, size, form, payload.
    fn line(&self, message: &Message<Payload>) -> String {
        let head = format!(
            "{} {} {}:{} {} B",
            format_rfc3339_micros(message.received),
            view::topic(message.topic.as_deref()),
            message.stream,
            message.number,
            message.payload.len(),
        );
        if self.no_payload {
            return head;
        }
        let limit = match self.limit {
            0 => usize::MAX,
            limit => limit,
        };
        let View { form, text } = View::new(message.encoding, &message.payload, limit);
        format!("{head} {} {text}", form.name())
    }
}

/// A message as JSON. The names are stable.
#[derive(Debug, Serialize)]
struct Record<'a> {
    /// When it reached this machine's kernel.
    time: String,
    time_ns: u64,
    topic: Option<&'a str>,
    stream: String,
    number: u64,
    sender: String,
    interface: u32,
    /// When it was published, by the sender's clock.
    published_ns: Option<u64>,
    encoding: String,
    schema: Option<String>,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_as: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Cow<'a, str>>,
    /// The payload decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
}

impl<'a> Record<'a> {
    fn of(message: &'a Message<Payload>, with_payload: bool) -> Self {
        let payload = with_payload.then_some(&message.payload);
        let (payload_as, text) = payload.map(|payload| view::string(payload)).unzip();
        Self {
            time: format_rfc3339_nanos(message.received).to_string(),
            time_ns: nanos(message.received),
            topic: message.topic.as_deref(),
            stream: message.stream.to_string(),
            number: message.number,
            sender: message.sender.to_string(),
            interface: message.interface.get(),
            published_ns: message.published.map(nanos),
            encoding: message.encoding.to_string(),
            schema: message.schema.map(|schema| format!("{schema:#018x}")),
            size: message.payload.len(),
            payload_as,
            payload: text,
            value: payload.and_then(|payload| view::value(message.encoding, payload)),
        }
    }
}
