//! The columns of the table, which of them there is room for, and orders by them.

use std::cmp::Ordering;
use std::time::SystemTime;

use mcl_udp::Account;
use ratatui::style::Style;
use ratatui::text::Line;

use super::detail::wrap;
use super::figures::{age, bandwidth, bars, bytes, count, rate, seconds};
use super::sources::Row;
use crate::view;

/// The greatest width that a topic gets, and the history.
const WIDEST_TOPIC: u16 = 60;
const WIDEST_HISTORY: u16 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Topic,
    Connection,
    Stream,
    Rate,
    Bandwidth,
    Size,
    Lost,
    Cause,
    Latency,
    Last,
    History,
}

impl Column {
    /// From left to right.
    const ALL: [Self; 11] = [
        Self::Topic,
        Self::Connection,
        Self::Stream,
        Self::Rate,
        Self::Bandwidth,
        Self::Size,
        Self::Lost,
        Self::Cause,
        Self::Latency,
        Self::Last,
        Self::History,
    ];

    /// What is left out last comes first.
    const BY_WORTH: [Self; 11] = [
        Self::Topic,
        Self::Rate,
        Self::Lost,
        Self::Connection,
        Self::Bandwidth,
        Self::Latency,
        Self::Last,
        Self::Size,
        Self::History,
        Self::Stream,
        Self::Cause,
    ];

    pub(super) const fn head(self) -> &'static str {
        match self {
            Self::Topic => "TOPIC",
            Self::Connection => "#",
            Self::Stream => "STREAM",
            Self::Rate => "RATE/s",
            Self::Bandwidth => "BANDWIDTH",
            Self::Size => "SIZE",
            Self::Lost => "LOST",
            Self::Cause => "CAUSE",
            Self::Latency => "LATENCY",
            Self::Last => "LAST",
            Self::History => "HISTORY",
        }
    }

    /// The width that it needs, with room for the arrow of the order.
    const fn width(self) -> u16 {
        match self {
            Self::Topic | Self::Cause | Self::History => 12,
            Self::Connection => 2,
            Self::Stream | Self::Latency => 9,
            Self::Rate => 7,
            Self::Bandwidth => 10,
            Self::Size => 8,
            Self::Lost | Self::Last => 6,
        }
    }

    pub(super) const fn is_flush_right(self) -> bool {
        !matches!(
            self,
            Self::Topic | Self::Connection | Self::Stream | Self::Cause
        )
    }

    pub(super) fn cell(self, row: &Row, now: SystemTime, width: u16) -> Line<'static> {
        let text = match self {
            Self::Topic => topic(row, usize::from(width)),
            Self::Connection => (row.key.connection + 1).to_string(),
            Self::Stream => short_stream(row),
            Self::Rate => rate(row.figures.rate),
            Self::Bandwidth => bandwidth(row.figures.bandwidth()),
            Self::Size => row
                .figures
                .sizes
                .some()
                .map_or("-".into(), |it| bytes(it.mean)),
            Self::Lost => row.account.map_or("-".into(), |it| count(it.lost())),
            Self::Cause => row.account.as_ref().map_or(String::new(), main_cause),
            Self::Latency => row
                .figures
                .latencies
                .some()
                .map_or("-".into(), |it| seconds(it.mean)),
            Self::Last => age(now.duration_since(row.last).unwrap_or_default()),
            Self::History => bars(&row.history, usize::from(width)),
        };
        let line = Line::styled(text, self.style(row));
        match self.is_flush_right() {
            true => line.right_aligned(),
            false => line,
        }
    }

    fn style(self, row: &Row) -> Style {
        let lost = row.account.is_some_and(|it| it.lost() > 0);
        match self {
            Self::Lost | Self::Cause if lost => Style::new().red(),
            Self::History => Style::new().cyan(),
            _ => Style::new(),
        }
    }

    /// Which columns fit into `width`, from left to right, each with its own width.
    pub(super) fn fitting(width: u16, several: bool, longest_topic: u16) -> Vec<(Self, u16)> {
        let mut chosen = Vec::new();
        let mut left = width;
        for column in Self::BY_WORTH {
            let wanted = several || column != Self::Connection;
            let gap = u16::from(!chosen.is_empty());
            if wanted && column.width() + gap <= left {
                left -= column.width() + gap;
                chosen.push(column);
            }
        }
        let of = |column: Self| {
            let more = match column {
                Self::Topic => longest_topic
                    .min(WIDEST_TOPIC)
                    .saturating_sub(column.width()),
                Self::History => WIDEST_HISTORY - column.width(),
                _ => 0,
            };
            let more = more.min(left);
            left -= more;
            (column, column.width() + more)
        };
        let shown = Self::ALL.into_iter().filter(|it| chosen.contains(it));
        shown.map(of).collect()
    }
}

/// With a sign if it does not fit.
fn topic(row: &Row, width: usize) -> String {
    let topic = view::topic(row.key.topic.as_deref());
    if Line::raw(&*topic).width() <= width {
        return topic.into_owned();
    }
    let mut shown = wrap(&topic, width - 1).swap_remove(0);
    shown.push('…');
    shown
}

/// Half of it: enough to tell streams apart by eye. The pane has the whole.
fn short_stream(row: &Row) -> String {
    let stream = row.key.stream.to_string();
    format!("{}…", stream.get(..8).unwrap_or(&stream))
}

/// The most frequent cause, with a `+` if there are others.
fn main_cause(account: &Account) -> String {
    let causes = account.causes();
    let occurred = causes.iter().filter(|(_, lost)| *lost > 0);
    let more = if occurred.clone().count() > 1 {
        "+"
    } else {
        ""
    };
    // The first of those that are equal.
    match occurred.rev().max_by_key(|(_, lost)| *lost) {
        Some((cause, _)) => format!(
            "{}{more}",
            cause.to_lowercase().replace("mismatch", "").trim()
        ),
        None => String::new(),
    }
}

/// By what rows are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Topic,
    Stream,
    Rate,
    Bandwidth,
    Size,
    Lost,
    Latency,
    Last,
}

impl Sort {
    const ALL: [Self; 8] = [
        Self::Topic,
        Self::Stream,
        Self::Rate,
        Self::Bandwidth,
        Self::Size,
        Self::Lost,
        Self::Latency,
        Self::Last,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Stream => "stream",
            Self::Rate => "rate",
            Self::Bandwidth => "bandwidth",
            Self::Size => "size",
            Self::Lost => "losses",
            Self::Latency => "latency",
            Self::Last => "last seen",
        }
    }

    pub(super) const fn column(self) -> Column {
        match self {
            Self::Topic => Column::Topic,
            Self::Stream => Column::Stream,
            Self::Rate => Column::Rate,
            Self::Bandwidth => Column::Bandwidth,
            Self::Size => Column::Size,
            Self::Lost => Column::Lost,
            Self::Latency => Column::Latency,
            Self::Last => Column::Last,
        }
    }

    /// Names go up; of figures the greatest come first, and the latest of times.
    pub(super) const fn goes_up(self) -> bool {
        matches!(self, Self::Topic | Self::Stream)
    }

    pub(super) fn next(self) -> Self {
        self.step(1)
    }

    pub(super) fn previous(self) -> Self {
        self.step(Self::ALL.len() - 1)
    }

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|it| *it == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()]
    }

    pub(super) fn compare(self, one: &Row, two: &Row) -> Ordering {
        let falling = |of: fn(&Row) -> f64| of(two).total_cmp(&of(one));
        match self {
            Self::Topic => one.key.topic.cmp(&two.key.topic),
            Self::Stream => one.key.stream.cmp(&two.key.stream),
            Self::Rate => falling(|row| row.figures.rate),
            Self::Bandwidth => falling(|row| row.figures.bandwidth()),
            Self::Size => falling(|row| row.figures.sizes.mean),
            Self::Lost => lost(two).cmp(&lost(one)),
            // What has none comes last.
            Self::Latency => falling(|row| {
                let latencies = row.figures.latencies.some();
                latencies.map_or(f64::NEG_INFINITY, |it| it.mean)
            }),
            Self::Last => two.last.cmp(&one.last),
        }
    }
}

fn lost(row: &Row) -> u64 {
    row.account.map_or(0, |account| account.lost())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(width: u16) -> Vec<&'static str> {
        let columns = Column::fitting(width, false, 20);
        columns.iter().map(|(column, _)| column.head()).collect()
    }

    #[test]
    fn columns_give_way_by_worth_and_never_exceed_the_width() {
        assert_eq!(names(27), ["TOPIC", "RATE/s", "LOST"]);
        assert_eq!(names(38), ["TOPIC", "RATE/s", "BANDWIDTH", "LOST"]);
        assert_eq!(names(200).len(), 10);
        for width in 12..300 {
            let columns = Column::fitting(width, true, 40);
            let sum: u16 = columns.iter().map(|(_, width)| width).sum();
            let gaps = columns.len() as u16 - 1;
            assert!(sum + gaps <= width, "{width}: {columns:?}");
        }
    }

    #[test]
    fn the_order_goes_around() {
        let all = Sort::ALL.iter().fold(Sort::Topic, |sort, _| sort.next());
        assert_eq!(all, Sort::Topic);
        assert_eq!(Sort::Topic.previous(), Sort::Last);
        assert_eq!(Sort::Topic.previous().next(), Sort::Topic);
    }

    #[test]
    fn the_main_cause_is_named_and_that_there_are_others() {
        let mut account = Account::default();
        assert_eq!(main_cause(&account), "");
        account.crc_mismatch = 2;
        assert_eq!(main_cause(&account), "crc");
        account.missing = 3;
        assert_eq!(main_cause(&account), "missing+");
        account.crc_mismatch = 3;
        assert_eq!(main_cause(&account), "missing+");
    }
}
