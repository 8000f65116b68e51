//! `mcl info`: what is in a recording, and what is missing.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use humantime::{format_rfc3339_millis, format_rfc3339_nanos};
use mcap::records::MessageHeader;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::output::{self, counted};
use crate::play::is_of_losses;
use crate::record::reader::{Channel, Entry, Reader, Tail};
use crate::record::{RecordingError, Volume, format};
use crate::view;

/// Shown below the long help.
pub(crate) const NOTES: &str = "\
The whole file is read and its checksums are checked. One that has no end, because its writer was killed or had
no more room, is read up to there. A damaged chunk is left out; then the status is 8.";

#[derive(Args, Clone, Debug)]
pub(crate) struct Info {
    /// MCAP files
    #[arg(value_name = "FILE.mcap", required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Info {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut damage = Ok(());
        for path in &self.files {
            let (report, damaged) = Examination::of(Reader::open(path)?)?;
            match self.json {
                true => output::json(&report)?,
                false => output::line(report.text().trim_end())?,
            }
            if damaged > 0 {
                damage = Err(RecordingError::Partial {
                    path: path.clone(),
                    parts: damaged,
                });
            }
        }
        Ok(damage?)
    }
}

/// What is in a file. The names are stable.
#[derive(Clone, Debug, Serialize)]
struct Report {
    file: String,
    file_bytes: u64,
    compression: Option<String>,
    /// `complete`, or `truncated`.
    end: &'static str,
    /// Why it was ended, if `mcl record` did: `signal`, `count`, `time`, `split`, `disk`.
    ended_by: Option<String>,
    damaged: u64,
    msgs: u64,
    /// Of payloads.
    bytes: u64,
    begun: Option<String>,
    begun_ns: Option<u64>,
    /// From the first message to the last.
    seconds: f64,
    lost: u64,
    /// Each cause, of all streams.
    losses: BTreeMap<String, u64>,
    channels: Vec<ChannelReport>,
    streams: Vec<StreamLosses>,
}

/// What is in a channel. The names are stable.
#[derive(Clone, Debug, Serialize)]
struct ChannelReport {
    /// Null for messages without a topic.
    topic: Option<String>,
    connection: Option<String>,
    stream: Option<String>,
    encoding: String,
    schema: Option<String>,
    msgs: u64,
    bytes: u64,
    msgs_per_s: f64,
    bytes_per_s: f64,
}

/// What of a stream was lost, as the file says last.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct StreamLosses {
    connection: String,
    stream: String,
    lost: u64,
    losses: BTreeMap<String, u64>,
}

/// First and last time.
type Times = Option<(u64, u64)>;

fn extended(times: Times, time: u64) -> Times {
    let (first, last) = times.unwrap_or((time, time));
    Some((first.min(time), last.max(time)))
}

fn span(times: Times) -> f64 {
    times.map_or(0.0, |(first, last)| {
        Duration::from_nanos(last - first).as_secs_f64()
    })
}

#[derive(Debug, Default)]
struct Seen {
    volume: Volume,
    times: Times,
}

/// A file under examination.
#[derive(Debug, Default)]
struct Examination {
    channels: HashMap<*const Channel, (Arc<Channel>, Seen)>,
    losses: BTreeMap<(String, String), StreamLosses>,
    recording: BTreeMap<String, String>,
    accounts: Vec<BTreeMap<String, String>>,
    damaged: u64,
    all: Seen,
}

impl Examination {
    fn of(mut reader: Reader) -> Result<(Report, u64), Failure> {
        let mut examination = Self::default();
        loop {
            match reader.next() {
                Ok(Some(Entry::Message {
                    channel,
                    header,
                    data,
                })) => examination.message(channel, &header, &data),
                Ok(Some(Entry::Metadata(metadata))) => match metadata.name.as_str() {
                    format::RECORDING => examination.recording = metadata.metadata,
                    format::ACCOUNT => examination.accounts.push(metadata.metadata),
                    _ => {}
                },
                Ok(None) => break,
                Err(error @ RecordingError::Damaged { .. }) => {
                    if examination.damaged == 0 {
                        output::note(&format!("mcl: {error}; going on after it"));
                    }
                    examination.damaged += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let damaged = examination.damaged;
        Ok((examination.report(&reader), damaged))
    }

    fn message(&mut self, channel: Arc<Channel>, header: &MessageHeader, data: &[u8]) {
        if is_of_losses(&channel) {
            // One that cannot be read says nothing.
            if let Ok(losses) = serde_json::from_slice::<StreamLosses>(data) {
                let key = (losses.connection.clone(), losses.stream.clone());
                self.losses.insert(key, losses);
            }
            return;
        }
        let entry = self.channels.entry(Arc::as_ptr(&channel));
        let (_, seen) = entry.or_insert_with(|| (channel, Seen::default()));
        for seen in [seen, &mut self.all] {
            seen.volume.add(data.len());
            seen.times = extended(seen.times, header.log_time);
        }
    }

    fn report(self, reader: &Reader) -> Report {
        let losses = self.all_losses();
        let seconds = span(self.all.times);
        let begun = self.all.times.map(|(first, _)| first);
        let mut channels: Vec<_> = self
            .channels
            .values()
            .map(|(channel, seen)| ChannelReport::new(channel, seen))
            .collect();
        channels.sort_by(|one, two| one.key().cmp(&two.key()));
        Report {
            file: reader.path().display().to_string(),
            file_bytes: reader.len(),
            compression: reader.compression.clone(),
            end: match reader.tail {
                Some(Tail::Complete) => "complete",
                _ => "truncated",
            },
            ended_by: self.recording.get("end").cloned(),
            damaged: self.damaged,
            msgs: self.all.volume.messages,
            bytes: self.all.volume.bytes,
            begun: begun.map(|nanos| format_rfc3339_nanos(time(nanos)).to_string()),
            begun_ns: begun,
            seconds,
            lost: losses.values().sum(),
            losses,
            channels,
            streams: self.losses.into_values().collect(),
        }
    }

    /// By the accounts at the end, or else by what streams said last.
    fn all_losses(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        let mut add = |cause: &str, count: u64| {
            *all.entry(cause.to_owned()).or_insert(0_u64) += count;
        };
        let counts = |map: &BTreeMap<String, String>, add: &mut dyn FnMut(&str, u64)| {
            for (key, value) in map {
                if let (Some(cause), Ok(count)) = (key.strip_prefix("losses."), value.parse()) {
                    add(cause, count);
                }
            }
        };
        counts(&self.recording, &mut add);
        for account in &self.accounts {
            counts(account, &mut add);
        }
        if self.accounts.is_empty() {
            for stream in self.losses.values() {
                stream
                    .losses
                    .iter()
                    .for_each(|(cause, count)| add(cause, *count));
            }
        }
        all
    }
}

impl ChannelReport {
    fn new(channel: &Channel, seen: &Seen) -> Self {
        let Volume { messages, bytes } = seen.volume;
        let owned = |key: &str| channel.get(key).map(str::to_owned);
        let stream = owned(format::STREAM);
        // n messages have n - 1 intervals between them.
        let seconds = span(seen.times);
        let per_second = match messages {
            2.. if seconds > 0.0 => (messages - 1) as f64 / seconds,
            _ => 0.0,
        };
        Self {
            topic: match stream {
                Some(_) => owned(format::TOPIC),
                None => Some(channel.topic.clone()),
            },
            connection: stream.as_ref().and_then(|_| owned(format::CONNECTION)),
            stream,
            encoding: match channel.encoding.as_str() {
                "" => "raw".to_owned(),
                name => name.to_owned(),
            },
            schema: owned(format::SCHEMA)
                .or_else(|| Some(channel.schema.clone()).filter(|it| !it.is_empty())),
            msgs: messages,
            bytes,
            msgs_per_s: per_second,
            bytes_per_s: per_second * bytes as f64 / messages.max(1) as f64,
        }
    }

    fn key(&self) -> (Option<&str>, Option<&str>, Option<&str>, &str) {
        let Self {
            connection,
            topic,
            stream,
            encoding,
            ..
        } = self;
        (
            connection.as_deref(),
            topic.as_deref(),
            stream.as_deref(),
            encoding,
        )
    }

    fn cells(&self, lost: Option<u64>) -> [String; 9] {
        let word = |text: &Option<String>| match text {
            Some(text) => view::topic(Some(text)).into_owned(),
            None => "-".to_owned(),
        };
        [
            word(&self.topic),
            word(&self.connection),
            word(&self.stream),
            view::topic(Some(&self.encoding)).into_owned(),
            self.msgs.to_string(),
            format!("{:.1}", self.msgs_per_s),
            format!("{:.3}", self.bytes_per_s / 1e3),
            (self.bytes / self.msgs.max(1)).to_string(),
            lost.map_or_else(|| "-".to_owned(), |lost| lost.to_string()),
        ]
    }
}

const HEADS: [&str; 9] = [
    "TOPIC",
    "CONNECTION",
    "STREAM",
    "ENCODING",
    "MESSAGES",
    "RATE/s",
    "kB/s",
    "MEAN B",
    "LOST",
];

/// How many columns are words, which are aligned to the left.
const WORDS: usize = 4;

impl Report {
    fn text(&self) -> String {
        let mut text = format!("{}: {}", self.file, counted(self.file_bytes, "byte"));
        // Writing to a string cannot fail.
        let _ = match self.compression.as_deref() {
            None => Ok(()),
            Some("") => write!(text, ", not compressed"),
            Some(name) => write!(text, ", {}", view::escaped(name)),
        };
        let _ = match (self.end, &self.ended_by) {
            ("complete", Some(by)) => write!(text, ", complete (ended by {})", view::escaped(by)),
            ("complete", None) => write!(text, ", complete"),
            _ => write!(
                text,
                ", truncated: its writer was killed, or had no more room; read up to there"
            ),
        };
        if self.damaged > 0 {
            let _ = write!(text, "; {} damaged", counted(self.damaged, "part"));
        }
        let messages = counted(self.msgs, "message");
        let _ = write!(text, "\n{messages}, {}", counted(self.bytes, "byte"));
        if let Some(begun) = self.begun_ns {
            let (begun, seconds) = (format_rfc3339_millis(time(begun)), self.seconds);
            let _ = write!(text, " in {seconds:.3} s from {begun}");
        }
        let _ = writeln!(text, "; {}", self.lost_text());
        text + &self.table()
    }

    fn lost_text(&self) -> String {
        let causes: Vec<_> = self
            .losses
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(cause, count)| format!("{count} {}", view::escaped(&cause.replace('_', " "))))
            .collect();
        match causes.is_empty() {
            true => format!("{} lost", self.lost),
            false => format!("{} lost ({})", self.lost, causes.join(", ")),
        }
    }

    fn table(&self) -> String {
        if self.channels.is_empty() {
            return String::new();
        }
        let row = |channel: &ChannelReport| channel.cells(self.lost_of(channel));
        let heads = HEADS.map(str::to_owned);
        let rows: Vec<_> = [heads]
            .into_iter()
            .chain(self.channels.iter().map(row))
            .collect();
        let width = |column: usize| rows.iter().map(|it| it[column].chars().count()).max();
        let widths: [usize; HEADS.len()] = std::array::from_fn(|it| width(it).unwrap_or(0));
        let mut text = String::new();
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let _ = match column < WORDS {
                    true => write!(line, "{cell:<width$}  "),
                    false => write!(line, "{cell:>width$}  "),
                };
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }

    /// What was lost of the channel's stream; unknown in files of others.
    fn lost_of(&self, channel: &ChannelReport) -> Option<u64> {
        let (stream, connection) = (channel.stream.as_ref()?, channel.connection.as_ref()?);
        let of = |it: &&StreamLosses| it.stream == *stream && it.connection == *connection;
        Some(self.streams.iter().find(of).map_or(0, |it| it.lost))
    }
}

fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}
