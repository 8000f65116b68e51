//! The thread that publishes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcl_udp::{Connection, PublishError, RawBroadcaster, Topic};
use serde::Serialize;

use super::choice::Route;
use super::clock::{Clock, Late, Lateness};
use super::source::{Item, Span};
use crate::arguments::{Format, Link};
use crate::failure::Failure;
use crate::output::{counted, place};
use crate::publish::{LONGEST, passes};
use crate::record::Volume;
use crate::record::inbox::Inbox;
use crate::record::progress::Progress;
use crate::signals::{LONGEST_WAIT, Stop};

/// Sockets at once; beyond, the one that was used longest ago is closed.
const MAX_BROADCASTERS: usize = 64;

pub(super) struct Player<'a> {
    link: &'a Link,
    format: Format,
    span: Span,
    clock: Clock,
    lateness: Lateness,
    progress: Progress,
    broadcasters: HashMap<Route, (RawBroadcaster, u64)>,
    used: u64,
    played: Volume,
    errors: u64,
    rounds: u64,
    begun: Instant,
}

/// What was played. The names are stable.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    role: &'static str,
    msgs: u64,
    bytes: u64,
    errors: u64,
    seconds: f64,
    /// How often it began again.
    loops: u64,
    /// By how much messages were later than the recording says.
    late: Late,
}

impl<'a> Player<'a> {
    pub(super) fn new(speed: f64, link: &'a Link, format: Format, span: Span) -> Self {
        let millis = |span: &Span| {
            span.as_ref()
                .map_or(0, |it| (it.end() - it.start()) / 1_000_000)
        };
        Self {
            link,
            format,
            clock: Clock::new(speed),
            lateness: Lateness::default(),
            progress: match millis(&span) {
                0 => Progress::line(format),
                length => Progress::bar(format, length),
            },
            span,
            broadcasters: HashMap::new(),
            used: 0,
            played: Volume::default(),
            errors: 0,
            rounds: 0,
            begun: Instant::now(),
        }
    }

    /// Opens what will be needed: that takes time.
    pub(super) fn prepare<'r>(
        &mut self,
        routes: impl Iterator<Item = &'r Route>,
    ) -> Result<(), Failure> {
        for route in routes.take(MAX_BROADCASTERS) {
            self.broadcaster(route)?;
        }
        Ok(())
    }

    /// Plays what comes until there is no more, or a signal.
    pub(super) fn run(&mut self, inbox: &Inbox<Item>, stop: &Stop) -> Result<(), Failure> {
        self.begun = Instant::now();
        let played = self.play(inbox, stop);
        self.progress.clear();
        played
    }

    fn play(&mut self, inbox: &Inbox<Item>, stop: &Stop) -> Result<(), Failure> {
        let mut batch = Vec::new();
        while inbox.take(&mut batch, LONGEST_WAIT) && !stop.is_set() {
            for item in batch.drain(..) {
                match item {
                    Item::Message {
                        received,
                        route,
                        topic,
                        data,
                    } => {
                        if !self.wait(received, stop) {
                            return Ok(());
                        }
                        self.publish(&route, topic.as_ref(), &data)?;
                    }
                    Item::Again => {
                        self.clock.rewind();
                        self.rounds += 1;
                    }
                    Item::Note(text) => self.note(&text),
                }
            }
        }
        Ok(())
    }

    /// Waits until it is time; `false` if a signal came first.
    fn wait(&mut self, received: u64, stop: &Stop) -> bool {
        let due = self.clock.due(received);
        loop {
            self.show(received);
            let now = Instant::now();
            if now >= due {
                self.lateness.add(now - due);
                return !stop.is_set();
            }
            if !stop.wait_until(due.min(now + 4 * LONGEST_WAIT)) {
                return false;
            }
        }
    }

    fn note(&self, text: &str) {
        self.progress.aside(|| self.format.note(text));
    }

    fn show(&mut self, received: u64) {
        let begun = self.span.as_ref().map_or(received, |it| *it.start());
        let position = received.saturating_sub(begun) / 1_000_000;
        let (messages, rounds) = (self.played.messages, self.rounds);
        self.progress.show(position, || match rounds {
            0 => format!("{messages} messages"),
            _ => format!("{messages} messages, round {}", rounds + 1),
        });
    }

    fn publish(
        &mut self,
        route: &Arc<Route>,
        topic: Option<&Topic>,
        data: &[u8],
    ) -> Result<(), Failure> {
        let broadcaster = self.broadcaster(route)?;
        let published = match topic {
            Some(topic) => broadcaster.publish_to(topic, data),
            None => broadcaster.publish(data),
        };
        match published {
            Ok(_) => self.played.add(data.len()),
            Err(error) if passes(&error) || is_of_message(&error) => {
                if self.errors == 0 {
                    self.note(&format!("cannot publish: {error}; going on"));
                }
                self.errors += 1;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn broadcaster(&mut self, route: &Route) -> Result<&RawBroadcaster, Failure> {
        self.used += 1;
        if !self.broadcasters.contains_key(route) {
            self.make_room();
            let broadcaster = self.open(route)?;
            self.broadcasters.insert(route.clone(), (broadcaster, 0));
        }
        let known = self.broadcasters.get_mut(route);
        // It is there: it was just put in.
        let (broadcaster, used) = known.ok_or_else(|| Failure::Child("no broadcaster".into()))?;
        *used = self.used;
        Ok(broadcaster)
    }

    fn make_room(&mut self) {
        if self.broadcasters.len() >= MAX_BROADCASTERS {
            let oldest = self.broadcasters.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(route) = oldest.map(|(route, _)| route.clone()) {
                self.broadcasters.remove(&route);
            }
        }
    }

    fn open(&self, route: &Route) -> Result<RawBroadcaster, Failure> {
        let connection = Connection::new(&route.connection);
        let connection = connection.map_err(|error| Failure::Usage(error.to_string()))?;
        let connection = self.link.by_interface(&connection);
        let mut builder = RawBroadcaster::builder(&connection)
            .hops(self.link.hops)
            .max_message_len(LONGEST)
            .encoding(route.encoding);
        if let Some(schema) = route.schema {
            builder = builder.schema(schema);
        }
        let broadcaster = builder.open()?;
        let place = place(broadcaster.interface());
        self.note(&format!("playing to {connection} on {place}"));
        Ok(broadcaster)
    }

    pub(super) fn summary(&self) -> Summary {
        Summary {
            role: "play",
            msgs: self.played.messages,
            bytes: self.played.bytes,
            errors: self.errors,
            seconds: self.begun.elapsed().as_secs_f64(),
            loops: self.rounds,
            late: self.lateness.told(),
        }
    }

    /// Whether all of it was published.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match self.errors {
            0 => Ok(()),
            errors => Err(Failure::Unpublished(errors)),
        }
    }
}

/// Whether this message can never be published, but others can.
fn is_of_message(error: &PublishError) -> bool {
    matches!(
        error,
        PublishError::TooLarge { .. } | PublishError::TopicTooLong { .. }
    )
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1e3;
        let Late {
            p50_us,
            p99_us,
            max_us,
        } = self.late;
        write!(
            f,
            "played {}, {} in {:.3} s; {}; late by {:.3} ms in the median, {:.3} ms at most for 99 %, {:.3} ms at most",
            counted(self.msgs, "message"),
            counted(self.bytes, "byte"),
            self.seconds,
            counted(self.errors, "error"),
            millis(p50_us),
            millis(p99_us),
            millis(max_us),
        )
    }
}
