//! What was lost, by cause, as all subcommands that listen tell it.

use std::fmt;

use mcl_udp::{ListenerStatistics, MessageCounts, StreamReport};
use serde::Serialize;

/// Messages lost, by cause. The names are stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Losses {
    /// All of the following.
    pub(crate) lost: u64,
    /// Nothing was seen of them: numbers are missing.
    pub(crate) lost_unseen: u64,
    /// Fragments were missing until they were given up.
    pub(crate) lost_incomplete: u64,
    /// No memory was left for them.
    pub(crate) lost_no_room: u64,
    /// Longer than the listener takes.
    pub(crate) lost_too_large: u64,
    /// Came whole and were not as the format wants them.
    pub(crate) lost_malformed: u64,
    /// This program was too slow to take them.
    pub(crate) lost_queue: u64,
}

impl Losses {
    /// Those of a listener, and of a queue that dropped so many.
    pub(crate) fn of(statistics: &ListenerStatistics, queue_dropped: u64) -> Self {
        let numbers = statistics.streams.iter().map(|it| it.numbers.missing);
        let unseen = numbers.sum::<u64>() + statistics.wire.departed.messages_missing;
        let mut losses = Self::by_cause(&statistics.wire.messages, unseen);
        losses.lost_malformed += statistics.crc_mismatch;
        losses.lost_queue = queue_dropped;
        losses.lost = statistics.messages_lost() + queue_dropped;
        losses
    }

    /// Those of one stream.
    pub(crate) fn of_stream(report: &StreamReport) -> Self {
        let mut losses = Self::by_cause(&report.messages, report.numbers.missing);
        losses.lost = losses.lost_unseen
            + losses.lost_incomplete
            + losses.lost_no_room
            + losses.lost_too_large
            + losses.lost_malformed;
        losses
    }

    fn by_cause(messages: &MessageCounts, unseen: u64) -> Self {
        Self {
            lost_unseen: unseen,
            lost_incomplete: messages.expired + messages.stranded + messages.abandoned,
            lost_no_room: messages.evicted + messages.refused,
            lost_too_large: messages.too_large + messages.whole_too_large,
            lost_malformed: messages.malformed(),
            ..Self::default()
        }
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lost", self.lost)?;
        let causes = [
            (self.lost_unseen, "never seen"),
            (self.lost_incomplete, "incomplete"),
            (self.lost_no_room, "for want of memory"),
            (self.lost_too_large, "too large: see `--max-message`"),
            (self.lost_malformed, "malformed"),
            (self.lost_queue, "because this program was too slow"),
        ];
        let mut before = " (";
        for (count, cause) in causes.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{before}{count} {cause}")?;
            before = ", ";
        }
        match before {
            ", " => f.write_str(")"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_causes_that_occurred_are_named() {
        assert_eq!(Losses::default().to_string(), "0 lost");
        let losses = Losses {
            lost: 5,
            lost_unseen: 3,
            lost_queue: 2,
            ..Losses::default()
        };
        let text = "5 lost (3 never seen, 2 because this program was too slow)";
        assert_eq!(losses.to_string(), text);
    }
}
