//! A broadcaster's process: opens, publishes for some time, closes, opens again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mcl_udp::{
    Broadcaster, BroadcasterStatistics, Connection, OpenError, RawBroadcaster, StreamId,
};

use crate::Outcome;

use super::content::{Key, Sample, fill};
use super::dice::Dice;
use super::resources::Resources;
use super::roles::{BROADCASTERS, Broadcasting, Publishing, bytes_per_second};
use super::stop::Stop;
use super::words::{BroadcasterTask, Sent, Word, now, report_panics, say};

/// For how many seconds a broadcaster stays open.
const LIFE: (u64, u64) = (20, 50);

/// Lives of one process, at most.
const LIVES: u32 = 1 << 12;

/// What a message waits for company at most.
const COALESCE: Duration = Duration::from_millis(1);

/// The most messages of a batch.
const BATCH: u64 = 200;

/// How long to wait after something failed.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// How often it is told what was sent.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// A pace that was not held is not caught up with beyond this.
const MOST_BEHIND: Duration = Duration::from_millis(500);

pub(crate) fn main(arguments: &[String]) -> Outcome {
    report_panics();
    let task: BroadcasterTask =
        serde_json::from_str(arguments.first().ok_or("a task is missing")?)?;
    let stop = Stop::at_end_of_input()?;
    let mut process = Process::new(task)?;
    say(&Word::Ready(Resources::of("self")?))?;
    let mut life = 0;
    while !stop.is_set() && life < LIVES {
        match Station::open(process.role, &process.connection) {
            Ok(station) => {
                process.live(&station, life, &stop)?;
                life += 1;
            }
            Err(error) => {
                say(&Word::Trouble(format!("cannot open: {error}")))?;
                stop.sleep(AFTER_FAILURE * 10);
            }
        }
    }
    say(&Word::Closed(Resources::of("self")?))?;
    Ok(ExitCode::SUCCESS)
}

/// Where the numbers of a stream stand when its process is killed: in a file, whose
/// pages the kernel keeps.
#[derive(Debug)]
struct Ledger(File);

impl Ledger {
    fn write(&self, place: u64, number: u64) -> io::Result<()> {
        self.0.write_all_at(&number.to_le_bytes(), place * 8)
    }

    /// Numbers up to this may be given out from now on.
    fn begin(&self, numbers: u64) -> io::Result<()> {
        self.write(1, numbers)
    }

    fn done(&self, numbers: u64) -> io::Result<()> {
        self.write(0, numbers)
    }
}

struct Process {
    task: BroadcasterTask,
    role: &'static Broadcasting,
    connection: Connection,
    ledger: Ledger,
    dice: Dice,
    payload: Vec<u8>,
    messages: u64,
    bytes: u64,
    told: Instant,
}

impl Process {
    fn new(task: BroadcasterTask) -> Result<Self, Box<dyn std::error::Error>> {
        let role = BROADCASTERS.get(task.role).ok_or("no such role")?;
        let ledger = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&task.ledger)?;
        Ok(Self {
            connection: Connection::new(&task.connection)?,
            role,
            ledger: Ledger(ledger),
            dice: Dice::of(
                task.seed,
                0x1000 + (task.role as u64) + (u64::from(task.launch) << 16),
            ),
            payload: Vec::new(),
            messages: 0,
            bytes: 0,
            told: Instant::now(),
            task,
        })
    }

    /// One stream, from its beginning to its end.
    fn live(&mut self, station: &Station, life: u32, stop: &Stop) -> io::Result<()> {
        let life = self.task.launch * LIVES + life;
        let id = station.stream().0;
        self.ledger.done(0)?;
        self.ledger.begin(0)?;
        say(&Word::Stream {
            id,
            life,
            at: now(),
        })?;
        let ends = Instant::now() + Duration::from_secs(self.dice.between(LIFE.0, LIFE.1));
        let mut pace = Pace::new(self.role, self.task.load);
        while !stop.is_set() && Instant::now() < ends {
            let before = station.statistics();
            if !self.publish(station, life, before.numbers)? {
                stop.sleep(AFTER_FAILURE);
            }
            let after = station.statistics();
            self.ledger.done(after.numbers)?;
            self.messages += after.numbers - before.numbers;
            self.bytes += after.bytes - before.bytes;
            self.tell()?;
            let messages = (after.numbers - before.numbers).max(1);
            stop.sleep_until(pace.next(messages, after.bytes - before.bytes));
        }
        station.close();
        let sent = sent(&station.statistics());
        say(&Word::Ended {
            id,
            sent,
            at: now(),
        })
    }

    /// Publishes the next message, or some, whose numbers are those from `next` on;
    /// `false` if that fails.
    fn publish(&mut self, station: &Station, life: u32, next: u64) -> io::Result<bool> {
        let count = match self.role.publishing {
            Publishing::Batches => self.dice.between(1, BATCH),
            _ => 1,
        };
        self.ledger.begin(next + count)?;
        let (seed, (least, most)) = (self.task.seed, self.role.len);
        let key = |number: u64| Key {
            broadcaster: self.task.role as u8,
            life,
            index: number as u32,
        };
        if self.role.publishing != Publishing::Batches {
            let len = self.dice.log_uniform(least, most);
            return Ok(station.publish(seed, self.role, key(next), len, &mut self.payload));
        }
        let payloads = (next..next + count).map(|number| {
            let len = self.dice.log_uniform(least, most);
            let mut payload = Vec::new();
            fill(seed, key(number), len, &mut payload);
            payload
        });
        Ok(station.publish_batch(payloads))
    }

    fn tell(&mut self) -> io::Result<()> {
        if self.told.elapsed() < TELL_EVERY {
            return Ok(());
        }
        self.told = Instant::now();
        say(&Word::Sending {
            messages: self.messages,
            bytes: self.bytes,
        })
    }
}

fn sent(statistics: &BroadcasterStatistics) -> Sent {
    Sent {
        numbers: statistics.numbers,
        messages: statistics.messages,
        bytes: statistics.bytes,
        datagrams: statistics.datagrams,
        failed: statistics.failed,
        unsent: statistics.unsent,
        restarted: statistics.restarted,
        rejoined: statistics.interface.rejoined,
    }
}

/// A broadcaster of bytes or of values.
enum Station {
    Raw(RawBroadcaster),
    Typed(Broadcaster<Sample>),
}

impl Station {
    fn open(role: &Broadcasting, connection: &Connection) -> Result<Self, OpenError> {
        let coalesced = matches!(
            role.publishing,
            Publishing::Coalesced | Publishing::TypedCoalesced
        );
        if role.publishing.is_typed() {
            let mut builder = Broadcaster::<Sample>::builder(connection);
            if coalesced {
                builder = builder.coalesce(COALESCE);
            }
            return builder.open().map(Self::Typed);
        }
        let mut builder =
            RawBroadcaster::builder(connection).crc(role.publishing == Publishing::Checked);
        if coalesced {
            builder = builder.coalesce(COALESCE);
        }
        if let (Publishing::Batches, Some(topic)) = (role.publishing, role.topics.first()) {
            builder = builder.topic(*topic);
        }
        builder.open().map(Self::Raw)
    }

    /// Publishes the message of this key; `false` if that fails, which is counted.
    fn publish(
        &self,
        seed: u64,
        role: &Broadcasting,
        key: Key,
        len: usize,
        payload: &mut Vec<u8>,
    ) -> bool {
        let topic = match role.topics {
            [] => None,
            topics => topics.get(key.index as usize % topics.len()),
        };
        let published = match self {
            Self::Raw(broadcaster) => {
                fill(seed, key, len, payload);
                match topic {
                    Some(topic) => broadcaster.publish_to(topic, payload),
                    None => broadcaster.publish(payload),
                }
            }
            Self::Typed(broadcaster) => {
                let sample = Sample::new(seed, key, len);
                match topic {
                    Some(topic) => broadcaster.publish_to(topic, &sample),
                    None => broadcaster.publish(&sample),
                }
            }
        };
        published.is_ok()
    }

    fn publish_batch(&self, payloads: impl Iterator<Item = Vec<u8>>) -> bool {
        match self {
            Self::Raw(broadcaster) => broadcaster.publish_batch(payloads).is_ok(),
            Self::Typed(_) => false,
        }
    }

    fn stream(&self) -> StreamId {
        match self {
            Self::Raw(broadcaster) => broadcaster.stream(),
            Self::Typed(broadcaster) => broadcaster.stream(),
        }
    }

    fn statistics(&self) -> BroadcasterStatistics {
        match self {
            Self::Raw(broadcaster) => broadcaster.statistics(),
            Self::Typed(broadcaster) => broadcaster.statistics(),
        }
    }

    fn close(&self) {
        match self {
            Self::Raw(broadcaster) => broadcaster.close(),
            Self::Typed(broadcaster) => broadcaster.close(),
        };
    }
}

/// When the next message may be published: no more bytes and no more messages per
/// second than the role allows.
#[derive(Debug)]
struct Pace {
    next: Instant,
    bytes_per_second: f64,
    messages_per_second: f64,
}

impl Pace {
    fn new(role: &Broadcasting, load: f64) -> Self {
        Self {
            next: Instant::now(),
            bytes_per_second: bytes_per_second(role, load),
            messages_per_second: role.rate,
        }
    }

    fn next(&mut self, messages: u64, bytes: u64) -> Instant {
        let of_bytes = bytes as f64 / self.bytes_per_second;
        let of_messages = messages as f64 / self.messages_per_second;
        let earliest = Instant::now().checked_sub(MOST_BEHIND).unwrap_or(self.next);
        self.next = self.next.max(earliest) + Duration::from_secs_f64(of_bytes.max(of_messages));
        self.next
    }
}

/// What a broadcaster that was killed left in its ledger: the numbers given out, and
/// those it was about to give out.
pub(super) fn read_ledger(path: &str) -> io::Result<(u64, u64)> {
    let file = File::open(path)?;
    let read = |place: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, place * 8)?;
        Ok::<u64, io::Error>(u64::from_le_bytes(bytes))
    };
    Ok((read(0)?, read(1)?))
}

/// So that a process that never opened leaves no ledger of another one.
pub(super) fn clear_ledger(path: &str) -> io::Result<()> {
    let ledger = Ledger(
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?,
    );
    ledger.done(0)?;
    ledger.begin(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_tells_what_was_given_out_and_what_was_about_to_be() {
        let path = std::env::temp_dir().join(format!("mcl-soak-ledger-{}", std::process::id()));
        let path = path.to_str().unwrap();
        clear_ledger(path).unwrap();
        assert_eq!(read_ledger(path).unwrap(), (0, 0));
        let ledger = Ledger(OpenOptions::new().write(true).open(path).unwrap());
        ledger.begin(201).unwrap();
        ledger.done(200).unwrap();
        assert_eq!(read_ledger(path).unwrap(), (200, 201));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_pace_holds_both_limits_and_does_not_catch_up() {
        let role = &BROADCASTERS[0];
        let mut pace = Pace::new(role, 12.0);
        let begun = pace.next;
        let by_messages = pace.next(1, 16) - begun;
        assert!((by_messages.as_secs_f64() - 1.0 / role.rate).abs() < 1e-6);
        let before = pace.next;
        let by_bytes = pace.next(1, 8 << 20) - before;
        assert!(by_bytes > Duration::from_secs(2), "{by_bytes:?}");
        pace.next = Instant::now() - Duration::from_secs(60);
        assert!(pace.next(1, 16) > Instant::now() - 2 * MOST_BEHIND);
    }
}
