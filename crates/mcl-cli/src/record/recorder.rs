//! The thread that writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use humantime::format_rfc3339_nanos;
use mcap::McapError;
use mcap::write::Metadata;
use mcl_udp::{Message, Payload};

use super::error::RecordingError;
use super::inbox::Inbox;
use super::ledger::Ledger;
use super::progress::Progress;
use super::reel::Reel;
use super::station::{Arrival, Station};
use super::summary::Summary;
use super::tape::{Tape, Torn, Volume};
use super::{Record, format};
use crate::failure::Failure;
use crate::signals::{LONGEST_WAIT, Stop};

/// Why a file ended, for its metadata. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Signal,
    Count,
    Time,
    Split,
    Disk,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Count => "count",
            Self::Time => "time",
            Self::Split => "split",
            Self::Disk => "disk",
        }
    }
}

/// Takes messages from the inbox to a file.
pub(super) struct Recorder<'a> {
    options: &'a Record,
    reel: Reel,
    /// `None` once it is complete, or cannot be.
    tape: Option<Tape>,
    stations: Vec<Station>,
    inbox: Arc<Inbox<Arrival>>,
    ledger: Ledger,
    progress: Progress,
    begun: Instant,
    /// Taken from the inbox.
    taken: u64,
    /// In the files that are complete.
    kept: Volume,
    /// Taken, and not in a file.
    disk: Volume,
    files: Vec<String>,
    file_bytes: u64,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        options: &'a Record,
        (reel, tape): (Reel, Tape),
        stations: Vec<Station>,
        inbox: Arc<Inbox<Arrival>>,
    ) -> Self {
        Self {
            options,
            reel,
            files: vec![tape.path.display().to_string()],
            tape: Some(tape),
            stations,
            inbox,
            ledger: Ledger::default(),
            progress: Progress::line(options.format),
            begun: Instant::now(),
            taken: 0,
            kept: Volume::default(),
            disk: Volume::default(),
            file_bytes: 0,
        }
    }

    /// Records until it is over, and completes the file.
    pub(super) fn run(&mut self, stop: &Stop) -> Result<(), RecordingError> {
        let end = self.record(stop);
        // Nothing arrives any more, and so nothing is lost from now on.
        self.stations.iter().for_each(|it| _ = it.listener.close());
        self.inbox.close();
        let done = end.and_then(|end| {
            self.drain(end)?;
            self.finish(end)
        });
        self.discard();
        self.progress.clear();
        done
    }

    fn record(&mut self, stop: &Stop) -> Result<End, RecordingError> {
        let deadline = self.options.until.deadline();
        let mut batch = Vec::new();
        loop {
            if stop.is_set() {
                return Ok(End::Signal);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(End::Time);
            }
            let left = deadline.map(|it| it.saturating_duration_since(Instant::now()));
            let wait = left.map_or(LONGEST_WAIT, |left| left.min(LONGEST_WAIT));
            self.inbox.take(&mut batch, wait);
            if self.keep_all(&mut batch)? {
                return Ok(End::Count);
            }
            self.tick()?;
        }
    }

    /// What came before the end.
    fn drain(&mut self, end: End) -> Result<(), RecordingError> {
        let mut batch = Vec::new();
        while end != End::Count && self.inbox.take(&mut batch, LONGEST_WAIT) {
            if self.keep_all(&mut batch)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether there are as many as were wanted. Those beyond are not taken.
    fn keep_all(&mut self, batch: &mut Vec<Arrival>) -> Result<bool, RecordingError> {
        let wanted = self.options.until.count.unwrap_or(u64::MAX);
        for (index, message) in batch.drain(..) {
            if self.taken >= wanted {
                break;
            }
            self.taken += 1;
            if let Err(error) = self.keep(index, &message) {
                return Err(self.tear(error));
            }
        }
        Ok(self.taken >= wanted)
    }

    fn keep(&mut self, index: usize, message: &Message<Payload>) -> Result<(), McapError> {
        let station = &self.stations[index];
        if let Some(tape) = &mut self.tape
            && !tape.message((index, &station.name), message)?
        {
            station.without_channel(message.stream);
        }
        Ok(())
    }

    /// What is due from time to time.
    fn tick(&mut self) -> Result<(), RecordingError> {
        let Some(tape) = &mut self.tape else {
            return Ok(());
        };
        let ticked = self.ledger.tick(&self.stations, tape);
        if let Err(error) = ticked.and_then(|()| tape.tick()) {
            return Err(self.tear(error));
        }
        if self.reel.is_over(tape) {
            self.finish(End::Split)?;
            let tape = self.reel.next()?;
            self.files.push(tape.path.display().to_string());
            self.tape = Some(tape);
            self.ledger.begin_file(&self.stations);
        }
        self.show();
        Ok(())
    }

    fn show(&mut self) {
        let (taken, (waiting, _)) = (self.taken, self.inbox.level());
        let bytes = self.file_bytes + self.tape.as_ref().map_or(0, Tape::len);
        let dropped: u64 = self.stations.iter().map(|it| it.dropped().queue).sum();
        let name = self.files.last().cloned().unwrap_or_default();
        let megabytes = bytes as f64 / 1e6;
        self.progress.show(0, || {
            format!("{taken} messages, {waiting} waiting, {dropped} dropped; {megabytes:.1} MB in {name}")
        });
    }

    fn finish(&mut self, end: End) -> Result<(), RecordingError> {
        let Some(mut tape) = self.tape.take() else {
            return Ok(());
        };
        if let Err(error) = self.ledger.tell(&self.stations, &mut tape) {
            self.tape = Some(tape);
            return Err(self.tear(error));
        }
        let begun = tape.begun_at;
        let account = |kept, lost: Option<Volume>| {
            let end = lost.map_or(end, |_| End::Disk);
            self.account(begun, end, kept, lost.unwrap_or_default())
        };
        match tape.finish(account) {
            Ok((kept, bytes)) => {
                self.kept.extend(kept);
                self.file_bytes += bytes;
                Ok(())
            }
            Err(torn) => Err(self.torn(torn)),
        }
    }

    /// Gives the file up, and says in it what it lacks.
    fn tear(&mut self, error: McapError) -> RecordingError {
        // What waits will not be written either.
        self.stations.iter().for_each(|it| _ = it.listener.close());
        self.inbox.close();
        self.discard();
        let Some(tape) = self.tape.take() else {
            return RecordingError::Write {
                path: self.reel.path.clone(),
                source: error,
            };
        };
        let mut missing = self.disk;
        missing.extend(tape.unwritten());
        let account = self.account(tape.begun_at, End::Disk, tape.kept(), missing);
        let torn = tape.tear(error, &account);
        self.torn(torn)
    }

    fn torn(&mut self, torn: Torn) -> RecordingError {
        self.kept.extend(torn.kept);
        self.file_bytes += torn.bytes;
        self.disk.extend(torn.lost);
        torn.error
    }

    /// Counts what is left in the inbox: more than was wanted, or what has no place.
    fn discard(&mut self) {
        let (mut batch, counted) = (Vec::new(), self.options.until.count.is_none());
        while self.inbox.take(&mut batch, LONGEST_WAIT) {
            for (_, message) in batch.drain(..).filter(|_| counted) {
                self.disk.add(message.payload.len());
            }
        }
    }

    /// What a file says of itself at its end.
    fn account(&self, begun: SystemTime, end: End, kept: Volume, disk: Volume) -> Vec<Metadata> {
        let mut metadata = BTreeMap::new();
        let mut set = |key: &str, value: String| metadata.insert(key.to_owned(), value);
        set("begun", format_rfc3339_nanos(begun).to_string());
        set("ended", format_rfc3339_nanos(SystemTime::now()).to_string());
        set("end", end.name().to_owned());
        set("part", self.reel.part.to_string());
        set("messages", kept.messages.to_string());
        set("bytes", kept.bytes.to_string());
        set("losses.disk", disk.messages.to_string());
        let recording = Metadata {
            name: format::RECORDING.to_owned(),
            metadata,
        };
        let accounts = self.ledger.accounts(&self.stations);
        [recording].into_iter().chain(accounts).collect()
    }

    pub(super) fn summary(&self) -> Summary {
        Summary::new(
            &self.stations,
            (self.kept, self.disk),
            self.begun.elapsed(),
            (self.files.clone(), self.file_bytes),
        )
    }

    /// Whether it got what it was to wait for.
    pub(super) fn verdict(&self, stop: &Stop) -> Result<(), Failure> {
        let (got, until) = (self.taken, &self.options.until);
        match (until.count, until.seconds()) {
            _ if stop.is_set() => Ok(()),
            (_, Some(after)) if got == 0 => Err(Failure::Silence {
                after,
                option: "--seconds",
            }),
            (Some(wanted), _) if got < wanted => Err(Failure::Fewer { got, wanted }),
            _ => Ok(()),
        }
    }
}
