//! The account at the end of a recording.

use std::fmt;
use std::time::Duration;

use mcl_udp::{Account, ReceiveBuffer};
use serde::Serialize;

use super::station::Station;
use super::tape::Volume;
use crate::account::Losses;
use crate::output::counted;

/// What was recorded. The names are stable.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    role: &'static str,
    /// In the files.
    msgs: u64,
    /// Of their payloads.
    bytes: u64,
    /// From the beginning of listening to its end.
    seconds: f64,
    streams: u64,
    /// Also those that arrived and could not be kept: `queue`, `channels`, `disk`.
    #[serde(flatten)]
    losses: Losses,
    kernel_drops: Option<u64>,
    files: Vec<String>,
    file_bytes: u64,
    #[serde(skip)]
    buffers: Vec<ReceiveBuffer>,
    #[serde(skip)]
    slow: bool,
}

impl Summary {
    pub(crate) fn new(
        stations: &[Station],
        (kept, disk): (Volume, Volume),
        time: Duration,
        (files, file_bytes): (Vec<String>, u64),
    ) -> Self {
        let statistics: Vec<_> = stations.iter().map(|it| it.listener.statistics()).collect();
        let account: Account = statistics.iter().map(|it| it.account()).sum();
        let sum = |of: fn(&Station) -> u64| stations.iter().map(of).sum();
        let queue = sum(|it| it.dropped().queue);
        Self {
            role: "record",
            msgs: kept.messages,
            bytes: kept.bytes,
            seconds: time.as_secs_f64(),
            streams: statistics.iter().map(|it| it.wire.streams_started).sum(),
            losses: Losses::new(&account, queue)
                .with("channels", sum(|it| it.dropped().channels))
                .with("disk", disk.messages),
            kernel_drops: statistics.iter().map(|it| it.kernel_drops).sum(),
            files,
            file_bytes,
            buffers: statistics.iter().map(|it| it.receive_buffer).collect(),
            slow: queue > 0,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "record: {}, {}, {} in {:.3} s; {}; {} in {}",
            counted(self.msgs, "message"),
            counted(self.bytes, "byte"),
            counted(self.streams, "stream"),
            self.seconds,
            self.losses,
            counted(self.file_bytes, "byte"),
            self.files.join(", "),
        )?;
        let remedy = self.buffers.iter().find_map(ReceiveBuffer::remedy);
        if let (Some(command), 1..) = (remedy, self.losses.lost) {
            write!(f, "\n  for a larger receive buffer: `{command}`")?;
        }
        if self.slow {
            f.write_str("\n  the disk is too slow, or the compression: `--compression none`, or a larger `--buffer`")?;
        }
        Ok(())
    }
}
