//! What `list`, `hz` and `bw` print: the same objects as JSON, each its own columns
//! to read.

use std::time::SystemTime;

use humantime::format_rfc3339_millis;
use mcl_udp::ListenerStatistics;
use serde::Serialize;

use crate::account::Losses;
use crate::arguments::Format;
use crate::failure::Failure;
use crate::output::Out;
use crate::sampling::{Entry, Spread};
use crate::view;

/// One topic of one stream. The names are stable.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// When this was found.
    time: String,
    topic: Option<String>,
    stream: String,
    sender: String,
    encoding: String,
    /// From the beginning on.
    msgs: u64,
    bytes: u64,
    /// In the window, as all that follows but the losses.
    window_msgs: u64,
    msgs_per_s: f64,
    bytes_per_s: f64,
    size: Option<Range>,
    interval_ms: Option<Range>,
    /// Seconds since the last message.
    silent_s: f64,
    /// Of the whole stream, whatever the topic, from the beginning on.
    #[serde(flatten)]
    losses: Losses,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Range {
    mean: f64,
    min: f64,
    max: f64,
    /// Standard deviation.
    stddev: f64,
}

impl Range {
    fn of(spread: Spread, unit: f64) -> Option<Self> {
        let spread = spread.some()?;
        Some(Self {
            mean: spread.mean * unit,
            min: spread.min * unit,
            max: spread.max * unit,
            stddev: spread.deviation() * unit,
        })
    }
}

impl Row {
    pub(super) fn new(entry: &Entry, statistics: &ListenerStatistics, now: SystemTime) -> Self {
        let figures = entry.figures(now);
        let account = statistics.stream(entry.stream).map(|it| it.account());
        let silent = now.duration_since(entry.last).unwrap_or_default();
        Self {
            time: format_rfc3339_millis(now).to_string(),
            topic: entry.topic.as_ref().map(ToString::to_string),
            stream: entry.stream.to_string(),
            sender: entry.sender.to_string(),
            encoding: entry.encoding.to_string(),
            msgs: entry.messages,
            bytes: entry.bytes,
            window_msgs: figures.sizes.count,
            msgs_per_s: figures.rate,
            bytes_per_s: figures.bandwidth(),
            size: Range::of(figures.sizes, 1.0),
            interval_ms: Range::of(figures.intervals, 1e3),
            silent_s: silent.as_secs_f64(),
            losses: Losses::new(&account.unwrap_or_default(), 0),
        }
    }

    fn topic(&self) -> String {
        view::topic(self.topic.as_deref()).into_owned()
    }

    /// Hours, minutes and seconds.
    fn clock(&self) -> String {
        self.time.get(11..).unwrap_or_default().to_owned()
    }
}

/// Which columns there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Rates,
    Bandwidth,
}

/// A column: its head, whether it is flush right, and what is in it.
type Column = (&'static str, bool, fn(&Row) -> String);

const LIST: [Column; 9] = [
    ("TOPIC", false, Row::topic),
    ("STREAM", false, |row| row.stream.clone()),
    ("SENDER", false, |row| row.sender.clone()),
    ("ENCODING", false, |row| row.encoding.clone()),
    ("MESSAGES", true, |row| row.msgs.to_string()),
    ("RATE/s", true, |row| format!("{:.1}", row.msgs_per_s)),
    ("kB/s", true, |row| kilo(row.bytes_per_s)),
    ("MEAN B", true, |row| bytes(row.size, |it| it.mean)),
    ("LOST", true, |row| row.losses.lost.to_string()),
];

const RATES: [Column; 10] = [
    ("TIME", false, Row::clock),
    ("TOPIC", false, Row::topic),
    ("STREAM", false, |row| row.stream.clone()),
    ("RATE/s", true, |row| format!("{:.3}", row.msgs_per_s)),
    ("MEAN ms", true, |row| millis(row, |it| it.mean)),
    ("MIN ms", true, |row| millis(row, |it| it.min)),
    ("MAX ms", true, |row| millis(row, |it| it.max)),
    ("STDDEV ms", true, |row| millis(row, |it| it.stddev)),
    ("MESSAGES", true, |row| row.window_msgs.to_string()),
    ("LOST", true, |row| row.losses.lost.to_string()),
];

const BANDWIDTH: [Column; 10] = [
    ("TIME", false, Row::clock),
    ("TOPIC", false, Row::topic),
    ("STREAM", false, |row| row.stream.clone()),
    ("kB/s", true, |row| kilo(row.bytes_per_s)),
    ("RATE/s", true, |row| format!("{:.1}", row.msgs_per_s)),
    ("MEAN B", true, |row| bytes(row.size, |it| it.mean)),
    ("MIN B", true, |row| bytes(row.size, |it| it.min)),
    ("MAX B", true, |row| bytes(row.size, |it| it.max)),
    ("MESSAGES", true, |row| row.window_msgs.to_string()),
    ("LOST", true, |row| row.losses.lost.to_string()),
];

fn kilo(bytes: f64) -> String {
    format!("{:.3}", bytes / 1e3)
}

fn millis(row: &Row, of: fn(Range) -> f64) -> String {
    let interval = row.interval_ms;
    interval.map_or("-".into(), |it| format!("{:.3}", of(it)))
}

fn bytes(size: Option<Range>, of: fn(Range) -> f64) -> String {
    size.map_or("-".into(), |it| format!("{:.0}", of(it)))
}

impl Kind {
    const fn columns(self) -> &'static [Column] {
        match self {
            Self::List => &LIST,
            Self::Rates => &RATES,
            Self::Bandwidth => &BANDWIDTH,
        }
    }
}

/// Prints rows, and above them the heads when the columns have changed.
#[derive(Debug)]
pub(super) struct Table {
    kind: Kind,
    widths: Vec<usize>,
    reported: u64,
}

impl Table {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            widths: Vec::new(),
            reported: 0,
        }
    }

    /// How many messages there were at the last report.
    pub(super) fn reported(&self) -> u64 {
        self.reported
    }

    /// Prints what was found after so many messages.
    pub(super) fn print(
        &mut self,
        rows: &[Row],
        messages: u64,
        format: Format,
    ) -> Result<(), Failure> {
        self.reported = messages;
        let mut out = Out::new()?;
        if format.json {
            rows.iter().try_for_each(|row| out.json(row))?;
        } else {
            self.lines(rows)
                .iter()
                .try_for_each(|line| out.line(line))?;
        }
        Ok(out.flush()?)
    }

    fn lines(&mut self, rows: &[Row]) -> Vec<String> {
        if rows.is_empty() {
            return Vec::new();
        }
        let columns = self.kind.columns();
        let heads = columns.iter().map(|(head, ..)| (*head).to_owned());
        let heads: Vec<String> = heads.collect();
        let cells = |row| columns.iter().map(|(_, _, cell)| cell(row)).collect();
        let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let grown = self.widen(std::iter::once(&heads).chain(&cells));
        let shown = grown.then_some(&heads).into_iter().chain(&cells);
        shown.map(|cells| self.line(cells)).collect()
    }

    /// Makes the columns as wide as these need; whether any of them has grown.
    fn widen<'a>(&mut self, lines: impl Iterator<Item = &'a Vec<String>>) -> bool {
        let before = self.widths.clone();
        self.widths.resize(self.kind.columns().len(), 0);
        for line in lines {
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        before != self.widths
    }

    fn line(&self, cells: &[String]) -> String {
        let aligned = cells.iter().zip(self.kind.columns()).zip(&self.widths);
        let aligned = aligned.map(|((cell, (_, right, _)), width)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        let cells: Vec<String> = aligned.collect();
        cells.join("  ").trim_end().to_owned()
    }
}
