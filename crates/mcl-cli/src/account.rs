//! What arrived and what was lost, by cause, as all subcommands that listen tell it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use mcl_udp::{Account, ListenerStatistics, ReceiveBuffer};
use serde::Serialize;

use crate::output::counted;

/// Messages lost, by cause.
///
/// As JSON it is `lost`, the sum, and `losses`, an object with each cause. The names
/// are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Losses {
    pub(crate) lost: u64,
    losses: BTreeMap<String, u64>,
}

impl Losses {
    /// Those of an account, and what a queue of this program dropped beyond.
    pub(crate) fn new(account: &Account, queue_dropped: u64) -> Self {
        let name = |cause: &str| cause.to_lowercase().replace(' ', "_");
        let causes = account
            .causes()
            .into_iter()
            .chain([("queue", queue_dropped)]);
        Self {
            lost: account.lost() + queue_dropped,
            losses: causes.map(|(cause, count)| (name(cause), count)).collect(),
        }
    }

    /// And what was lost by another cause, of this program.
    pub(crate) fn with(mut self, cause: &str, count: u64) -> Self {
        self.lost += count;
        self.losses.insert(cause.to_owned(), count);
        self
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lost", self.lost)?;
        let mut before = " (";
        for (cause, count) in self.losses.iter().filter(|(_, count)| **count > 0) {
            write!(f, "{before}{count} {}", cause.replace('_', " "))?;
            before = ", ";
        }
        match before {
            ", " => f.write_str(")"),
            _ => Ok(()),
        }
    }
}

/// The account at the end of a subcommand that listens. The names are stable.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// The subcommand.
    pub(crate) role: &'static str,
    pub(crate) msgs: u64,
    /// Of their payloads.
    pub(crate) bytes: u64,
    /// From the beginning of listening to its end.
    pub(crate) seconds: f64,
    pub(crate) streams: u64,
    #[serde(flatten)]
    pub(crate) losses: Losses,
    /// How often the kernel's receive buffer overflowed.
    pub(crate) kernel_drops: Option<u64>,
    pub(crate) rcvbuf: usize,
    pub(crate) rcvbuf_requested: usize,
    #[serde(skip)]
    buffer: ReceiveBuffer,
}

impl Summary {
    pub(crate) fn new(
        role: &'static str,
        (msgs, bytes): (u64, u64),
        time: Duration,
        statistics: &ListenerStatistics,
        queue_dropped: u64,
    ) -> Self {
        let buffer = statistics.receive_buffer;
        Self {
            role,
            msgs,
            bytes,
            seconds: time.as_secs_f64(),
            streams: statistics.wire.streams_started,
            losses: Losses::new(&statistics.account(), queue_dropped),
            kernel_drops: statistics.kernel_drops,
            rcvbuf: buffer.granted,
            rcvbuf_requested: buffer.requested,
            buffer,
        }
    }

    /// What may mend the losses that occurred.
    fn remedies(&self) -> Vec<String> {
        let of = |cause: &str| self.losses.losses.get(cause).copied().unwrap_or(0);
        let mut remedies = Vec::new();
        if of("too_large") > 0 {
            remedies.push("`--max-message` takes longer messages".to_owned());
        }
        if of("missing") + of("expired") + of("stranded") > 0
            && let Some(command) = self.buffer.remedy()
        {
            let granted = self.buffer.granted;
            remedies.push(format!(
                "the receive buffer has {granted} B; for more: `{command}`"
            ));
        }
        if of("queue") > 0 {
            remedies.push("the output is too slow: write to a file, or less".to_owned());
        }
        remedies
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            role,
            msgs,
            bytes,
            seconds,
            streams,
            losses,
            ..
        } = self;
        write!(
            f,
            "{role}: {}, {}, {} in {seconds:.3} s; {losses}",
            counted(*msgs, "message"),
            counted(*bytes, "byte"),
            counted(*streams, "stream"),
        )?;
        for remedy in self.remedies() {
            write!(f, "\n  {remedy}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_causes_that_occurred_are_read_and_all_are_in_json() {
        let mut account = Account::default();
        assert_eq!(Losses::new(&account, 0).to_string(), "0 lost");
        (account.missing, account.crc_mismatch) = (3, 1);
        let losses = Losses::new(&account, 2);
        assert_eq!(
            losses.to_string(),
            "6 lost (1 crc mismatch, 3 missing, 2 queue)"
        );
        let json = serde_json::to_value(&losses).unwrap();
        assert_eq!(json["lost"], 6);
        assert_eq!(json["losses"]["crc_mismatch"], 1);
        assert_eq!(json["losses"]["too_large"], 0);
        assert_eq!(json["losses"]["queue"], 2);
    }
}
