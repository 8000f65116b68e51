//! `mcl record`: what arrives, into MCAP files.
//!
//! The threads that receive put messages into the `inbox` of each `station`; one thread
//! takes them out and writes them to a `tape`, of which the `reel` has one or several;
//! the bytes go through a `sink` to a `spool`, which is considerate of the other threads.
//! The `ledger` sees to it that what is not there is told. `reader` reads it all back.

mod error;
pub(crate) mod format;
pub(crate) mod inbox;
mod ledger;
pub(crate) mod progress;
pub(crate) mod reader;
mod recorder;
mod reel;
mod sink;
mod spool;
mod station;
mod summary;
mod tape;
mod unpack;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

pub(crate) use self::error::RecordingError;
use self::inbox::Inbox;
use self::recorder::Recorder;
use self::reel::Reel;
use self::station::Station;
use self::tape::Compression;
pub(crate) use self::tape::{Volume, nanos};
use crate::arguments::{Format, Networks, Reception, Until, period};
use crate::failure::Failure;
use crate::output::place;
use crate::signals::Stop;

/// Shown below the long help.
pub(crate) const NOTES: &str = "\
The file is MCAP: Foxglove, the robotics tools and `mcl play` read it. Messages that were lost are told in
its channel `/mcl/losses`. Whatever ends the recording, the file can be read up to the last complete chunk:
one is complete after 4 MiB or a second.";

#[derive(Args, Clone, Debug)]
pub(crate) struct Record {
    #[command(flatten)]
    networks: Networks,
    /// File to write; `FILE_0001.mcap` and so on when it is split
    #[arg(long, short, value_name = "FILE.mcap")]
    output: PathBuf,
    /// Write to a file that exists
    #[arg(long)]
    force: bool,
    /// How chunks are compressed
    #[arg(long, value_enum, default_value_t = Compression::Lz4)]
    compression: Compression,
    /// Begin another file after so many bytes (`500M`, `2G`)
    #[arg(long, value_name = "BYTES", value_parser = size)]
    split_size: Option<u64>,
    /// Begin another file after so long
    #[arg(long, value_name = "S", value_parser = period)]
    split_time: Option<Duration>,
    /// Bytes that may wait for the disk before messages are dropped
    #[arg(long, value_name = "BYTES", default_value = "256M", value_parser = size)]
    buffer: u64,
    #[command(flatten)]
    until: Until,
    #[command(flatten)]
    reception: Reception,
    #[command(flatten)]
    format: Format,
}

impl Record {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let stop = Stop::on_signals()?;
        let mut reel = self.reel();
        let tape = reel.next()?;
        let inbox = Arc::new(Inbox::new(
            usize::try_from(self.buffer).unwrap_or(usize::MAX),
        ));
        let stations = self.stations(&inbox)?;
        for station in &stations {
            let (listener, name) = (&station.listener, &station.name);
            let place = place(listener.interface());
            self.format.note(&format!("listening to {name} on {place}"));
        }
        let mut recorder = Recorder::new(self, (reel, tape), stations, inbox);
        let recorded = recorder.run(&stop);
        self.format.summary(&recorder.summary())?;
        recorded?;
        recorder.verdict(&stop)
    }

    fn reel(&self) -> Reel {
        Reel {
            path: self.output.clone(),
            force: self.force,
            compression: self.compression,
            split_size: self.split_size,
            split_time: self.split_time,
            part: 0,
        }
    }

    fn stations(&self, inbox: &Arc<Inbox<station::Arrival>>) -> Result<Vec<Station>, Failure> {
        let how = (&self.reception, &self.networks.link);
        let open = |(index, connection)| Station::open(index, connection, how, inbox);
        let connections = self.networks.connections();
        connections.iter().enumerate().map(open).collect()
    }
}

/// Reads a number of bytes, with K, M or G for powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a number of bytes, as in `4096`, `500M` or `2G`")?;
    match number.checked_mul(1 << shift) {
        Some(bytes @ 1..) => Ok(bytes),
        _ => Err("from 1 byte to 2^64 are possible".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in [("1", 1), ("4k", 4096), ("500M", 500 << 20), ("2G", 2 << 30)] {
            assert_eq!(size(text), Ok(bytes));
        }
        for text in ["", "M", "0", "-1", "1T", "99999999999G", "ä"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
