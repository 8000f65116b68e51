//! The processes of a soak: starts them, hears what they say, starts another one in the
//! place of one that was killed, ends them.

use std::env;
use std::error::Error;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::process;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::book::{Book, Objections};
use super::broadcaster::{clear_ledger, read_ledger};
use super::options::Options;
use super::party::{Event, Party, What};
use super::resources::Resources;
use super::roles::{BROADCASTERS, LISTENERS};
use super::words::{BroadcasterTask, Found, ListenerTask, Word, now};
use super::world::{INTERFACE, World};

const GROUP: &str = "ff15::6d63:6c:736f:616b";

/// Broadcasters have the first places, listeners the next ones.
pub(super) const LISTENERS_AT: usize = BROADCASTERS.len();
pub(super) const PARTIES: usize = LISTENERS_AT + LISTENERS.len();

/// How long processes may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the end of a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    /// A surprise.
    #[default]
    None,
    /// It was killed, and another one takes its place.
    Killed,
    /// It was told to end.
    Told,
}

/// What a process has said about its progress, and those before it in its place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    earlier: (u64, u64),
    current: (u64, u64),
}

impl Progress {
    /// Messages and bytes.
    pub(super) fn total(&self) -> (u64, u64) {
        (
            self.earlier.0 + self.current.0,
            self.earlier.1 + self.current.1,
        )
    }

    fn starts_anew(&mut self) {
        self.earlier = self.total();
        self.current = (0, 0);
    }
}

/// Where one process after the other has the same role.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) party: Option<Party>,
    ending: Ending,
    launch: u32,
    open: bool,
    pub(super) progress: Progress,
    pub(super) found: Found,
}

/// All that the processes have said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) book: Book,
    pub(super) failures: Objections,
    pub(super) troubles: Objections,
    /// The most that a process kept when it had closed everything, beyond what it held
    /// before.
    pub(super) kept_kib: u64,
}

pub(super) struct Stage {
    options: Options,
    folder: Folder,
    to_events: SyncSender<Event>,
    events: Receiver<Event>,
    pub(super) world: World,
    pub(super) places: Vec<Place>,
    pub(super) heard: Heard,
}

impl Stage {
    pub(super) fn new(options: &Options) -> io::Result<Self> {
        let (to_events, events) = sync_channel(4096);
        Ok(Self {
            options: options.clone(),
            folder: Folder::new()?,
            to_events,
            events,
            world: World::new(options.seed)?,
            places: (0..PARTIES).map(|_| Place::default()).collect(),
            heard: Heard::default(),
        })
    }

    /// Starts the processes of these places; returns when their listeners are open.
    pub(super) fn start_all(&mut self, slots: Range<usize>) -> Result<(), Box<dyn Error>> {
        for slot in slots.clone() {
            self.start(slot)?;
        }
        let open = |place: &Place, slot| place.open || slot < LISTENERS_AT;
        self.hear_until(|it| slots.clone().all(|slot| open(&it.places[slot], slot)))
    }

    fn ledger(&self, broadcaster: usize) -> String {
        self.folder
            .0
            .join(broadcaster.to_string())
            .display()
            .to_string()
    }

    fn start(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        let connection = format!("[{GROUP}%{INTERFACE}]:26000");
        let seed = self.options.seed;
        let (host, command, task) = match slot.checked_sub(LISTENERS_AT) {
            None => {
                let ledger = self.ledger(slot);
                clear_ledger(&ledger)?;
                let task = BroadcasterTask {
                    role: slot,
                    seed,
                    launch: self.places[slot].launch,
                    load: self.options.load,
                    connection,
                    ledger,
                };
                (
                    BROADCASTERS[slot].host,
                    super::BROADCASTER,
                    serde_json::to_string(&task)?,
                )
            }
            Some(role) => {
                let task = ListenerTask {
                    role,
                    seed,
                    connection,
                };
                (
                    LISTENERS[role].host,
                    super::LISTENER,
                    serde_json::to_string(&task)?,
                )
            }
        };
        let party = Party::start(self.world.host(host), command, &task, slot, &self.to_events)?;
        let place = &mut self.places[slot];
        place.launch += 1;
        place.ending = Ending::None;
        place.party = Some(party);
        Ok(())
    }

    /// Kills the process of a broadcaster; another one will take its place.
    pub(super) fn kill(&mut self, broadcaster: usize) {
        let place = &mut self.places[broadcaster];
        if let Some(party) = &mut place.party {
            place.ending = Ending::Killed;
            if let Err(error) = party.kill() {
                self.heard
                    .failures
                    .add(format!("cannot kill broadcaster {broadcaster}: {error}"));
            }
        }
    }

    /// Stops the process of a listener, or lets it go on.
    pub(super) fn signal(&self, listener: usize, signal: &str) -> io::Result<()> {
        match &self.places[LISTENERS_AT + listener].party {
            Some(party) => party.signal(signal),
            None => Ok(()),
        }
    }

    /// Tells the processes of these places to end, and waits for it.
    pub(super) fn end(&mut self, slots: Range<usize>) -> Result<(), Box<dyn Error>> {
        for place in &mut self.places[slots.clone()] {
            if let Some(party) = &mut place.party {
                place.ending = Ending::Told;
                party.end();
            }
        }
        let ended = |it: &Self| {
            it.places[slots.clone()]
                .iter()
                .all(|place| place.party.is_none())
        };
        self.hear_until(ended)
    }

    /// Takes in what is said for so long.
    pub(super) fn hear_for(&mut self, time: Duration) -> Result<(), Box<dyn Error>> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.hear(event)?,
                Err(_) => return Ok(()),
            }
        }
    }

    fn hear_until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > deadline {
                return Err("processes of the soak neither start nor end in time".into());
            }
            self.hear_for(LOOK_EVERY)?;
        }
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
        match event.what {
            What::Said(word) => self.take(event.slot, word),
            What::Babbled(line) => {
                let who = name(event.slot);
                self.heard.failures.add(format!("{who} said {line:?}"));
            }
            What::Silent => return self.bury(event.slot),
        }
        Ok(())
    }

    fn take(&mut self, slot: usize, word: Word) {
        let place = &mut self.places[slot];
        match word {
            Word::Ready(held) => {
                if let Some(party) = &mut place.party {
                    party.ready = Some(held);
                }
            }
            Word::Open => place.open = true,
            Word::Stream { id, life, at } => self.heard.book.stream(id, slot, life, at),
            Word::Ended { id, sent, at } => self.heard.book.ended(id, sent, at),
            Word::Sending { messages, bytes } => place.progress.current = (messages, bytes),
            Word::Finding(found) => {
                place.progress.current = (found.verified, found.bytes);
                place.found = found;
            }
            Word::Visit(visit) => self.heard.book.visit(slot - LISTENERS_AT, &visit),
            Word::Closed(held) => self.compare(slot, held),
            Word::Trouble(text) => self.heard.troubles.add(format!("{}: {text}", name(slot))),
            Word::Failure(text) => self.heard.failures.add(format!("{}: {text}", name(slot))),
        }
    }

    /// A process that has closed everything holds what it held before.
    fn compare(&mut self, slot: usize, after: Resources) {
        let Some(before) = self.places[slot]
            .party
            .as_ref()
            .and_then(|party| party.ready)
        else {
            return;
        };
        if after.threads > before.threads || after.descriptors > before.descriptors {
            let text = format!(
                "{} was left with {after:?}, having had {before:?}",
                name(slot)
            );
            self.heard.failures.add(text);
        }
        let kept = after.rss_kib.saturating_sub(before.rss_kib);
        self.heard.kept_kib = self.heard.kept_kib.max(kept);
    }

    /// A process has ended.
    fn bury(&mut self, slot: usize) -> Result<(), Box<dyn Error>> {
        let place = &mut self.places[slot];
        place.progress.starts_anew();
        let Some(mut party) = place.party.take() else {
            return Ok(());
        };
        let (status, ending) = (party.wait()?, place.ending);
        if ending == Ending::None || (ending == Ending::Told && !status.success()) {
            self.heard
                .failures
                .add(format!("{} ended by itself: {status}", name(slot)));
        }
        if slot < LISTENERS_AT && !status.success() {
            self.heard
                .book
                .killed(slot, read_ledger(&self.ledger(slot))?, now());
        }
        if ending != Ending::Told {
            self.start(slot)?;
        }
        Ok(())
    }
}

/// Where the ledgers are, as long as they are of use.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("mcl-soak-{}", process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is some bytes.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(slot: usize) -> String {
    match slot.checked_sub(LISTENERS_AT) {
        None => format!("broadcaster {slot} ({})", BROADCASTERS[slot].name),
        Some(role) => format!("listener {role} ({})", LISTENERS[role].name),
    }
}
