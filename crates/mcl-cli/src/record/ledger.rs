//! The losses in a file: those since its beginning, told when they change.

use std::array;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use mcap::McapError;
use mcap::write::Metadata;
use mcl_udp::{Account, StreamId};
use serde::Serialize;

use super::format;
use super::station::{Dropped, Station};
use super::tape::Tape;

/// How often it looks for losses: they are told so long after they are known.
const EVERY: Duration = Duration::from_millis(100);

/// The causes of the library, and the two of the recorder.
const CAUSES: usize = 11;

/// How many messages were lost by each cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts([u64; CAUSES]);

impl Counts {
    fn new(account: &Account, dropped: Dropped) -> Self {
        let own = [dropped.queue, dropped.channels];
        let known = account.causes().map(|(_, count)| count);
        let mut all = known.into_iter().chain(own);
        Self(array::from_fn(|_| all.next().unwrap_or_default()))
    }

    fn names() -> impl Iterator<Item = String> {
        let known = Account::default().causes().map(|(name, _)| name);
        let all = known.into_iter().chain(["queue", "channels"]);
        all.map(|name| name.to_lowercase().replace(' ', "_"))
    }

    /// What was lost since; less only where what seemed missing came late.
    fn since(self, base: Self) -> Self {
        Self(array::from_fn(|at| self.0[at].saturating_sub(base.0[at])))
    }

    fn plus(self, other: Self) -> Self {
        Self(array::from_fn(|at| self.0[at] + other.0[at]))
    }

    fn sum(self) -> u64 {
        self.0.iter().sum()
    }

    fn named(self) -> BTreeMap<String, u64> {
        Self::names().zip(self.0).collect()
    }
}

/// What the channel of the losses holds. The names are stable.
#[derive(Debug, Serialize)]
struct Loss<'a> {
    connection: &'a str,
    stream: String,
    /// Since the beginning of the file.
    lost: u64,
    /// Since the last such message of the stream; below 0 if messages came late.
    new: i64,
    losses: BTreeMap<String, u64>,
    /// The last message of the stream that is in the file before this.
    last_number: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// What was lost before the file began.
    base: Counts,
    /// What the file says so far.
    told: Counts,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    streams: HashMap<(usize, StreamId), Line>,
    connections: Vec<Counts>,
    looked: Option<Instant>,
}

impl Ledger {
    /// Adds to the file what was lost since, if it is time.
    pub(crate) fn tick(&mut self, stations: &[Station], tape: &mut Tape) -> Result<(), McapError> {
        match self.looked {
            Some(looked) if looked.elapsed() < EVERY => Ok(()),
            _ => self.tell(stations, tape),
        }
    }

    /// Adds to the file what was lost since.
    pub(crate) fn tell(&mut self, stations: &[Station], tape: &mut Tape) -> Result<(), McapError> {
        self.looked = Some(Instant::now());
        let at = SystemTime::now();
        for (index, station) in stations.iter().enumerate() {
            for report in &station.listener.statistics().streams {
                let counts = Counts::new(&report.account(), station.dropped_of(report.id));
                let line = self.streams.get(&(index, report.id));
                if line.is_none() && counts == Counts::default() {
                    continue;
                }
                if let Some(loss) = self.line(index, report.id).loss(counts) {
                    let loss = loss.of(station, report.id, tape.last_number(index, report.id));
                    tape.losses(&serde_json::to_vec(&loss).unwrap_or_default(), at)?;
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, index: usize, stream: StreamId) -> &mut Line {
        self.streams.entry((index, stream)).or_default()
    }

    /// From now on it is another file.
    pub(crate) fn begin_file(&mut self, stations: &[Station]) {
        for line in self.streams.values_mut() {
            line.base = line.base.plus(line.told);
            line.told = Counts::default();
        }
        self.connections = stations.iter().map(altogether).collect();
    }

    /// The account of each connection, since the beginning of the file.
    pub(crate) fn accounts(&self, stations: &[Station]) -> Vec<Metadata> {
        let account = |(index, station)| {
            let base = self.connections.get(index).copied().unwrap_or_default();
            metadata(station, altogether(station).since(base))
        };
        stations.iter().enumerate().map(account).collect()
    }
}

impl Line {
    /// What is to be told, if anything is.
    fn loss(&mut self, counts: Counts) -> Option<Change> {
        let now = counts.since(self.base);
        let before = std::mem::replace(&mut self.told, now);
        (now != before).then(|| Change {
            now,
            new: now.sum().cast_signed() - before.sum().cast_signed(),
        })
    }
}

#[derive(Debug)]
struct Change {
    now: Counts,
    new: i64,
}

impl Change {
    fn of(self, station: &Station, stream: StreamId, last_number: Option<u64>) -> Loss<'_> {
        Loss {
            connection: &station.name,
            stream: stream.to_string(),
            lost: self.now.sum(),
            new: self.new,
            losses: self.now.named(),
            last_number,
        }
    }
}

fn altogether(station: &Station) -> Counts {
    let account = station.listener.statistics().account();
    Counts::new(&account, station.dropped())
}

fn metadata(station: &Station, counts: Counts) -> Metadata {
    let statistics = station.listener.statistics();
    let interface = station.listener.interface();
    let mut metadata = BTreeMap::new();
    let mut set = |key: &str, value: String| metadata.insert(key.to_owned(), value);
    set("connection", station.name.clone());
    set(
        "interface",
        interface.map_or_else(String::new, |it| it.name().to_owned()),
    );
    set("streams", statistics.streams.len().to_string());
    set("rcvbuf", statistics.receive_buffer.granted.to_string());
    if let Some(drops) = statistics.kernel_drops {
        set("kernel_drops", drops.to_string());
    }
    set("lost", counts.sum().to_string());
    for (name, count) in counts.named() {
        set(&format!("losses.{name}"), count.to_string());
    }
    Metadata {
        name: format::ACCOUNT.to_owned(),
        metadata,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(missing: u64, queue: u64) -> Counts {
        let mut account = Account::default();
        account.missing = missing;
        Counts::new(&account, Dropped { queue, channels: 0 })
    }

    #[test]
    fn a_line_tells_what_changed_since_the_beginning_of_its_file() {
        let mut ledger = Ledger::default();
        let stream = StreamId(1);
        let change = ledger.line(0, stream).loss(counts(3, 1)).unwrap();
        assert_eq!((change.now.sum(), change.new), (4, 4));
        assert!(ledger.line(0, stream).loss(counts(3, 1)).is_none());
        // One of them was only late.
        let change = ledger.line(0, stream).loss(counts(2, 1)).unwrap();
        assert_eq!((change.now.sum(), change.new), (3, -1));
        ledger.begin_file(&[]);
        assert!(ledger.line(0, stream).loss(counts(2, 1)).is_none());
        let change = ledger.line(0, stream).loss(counts(7, 1)).unwrap();
        assert_eq!((change.now.sum(), change.new), (5, 5));
        assert_eq!(change.now.named()["missing"], 5);
        assert_eq!(change.now.named()["queue"], 0);
    }

    #[test]
    fn every_cause_of_the_library_has_its_place() {
        assert_eq!(Account::default().causes().len() + 2, CAUSES);
        assert_eq!(Counts::names().count(), CAUSES);
    }
}
