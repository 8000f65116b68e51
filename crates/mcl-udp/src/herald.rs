//! Tells who takes events what a listener's datagrams bring about.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use mcl_net::Receiver;
use mcl_wire::StreamId;

use crate::events::{Event, Hub};
use crate::shared::Core;

/// How often it compares what is with what was told, at most.
const EVERY: Duration = Duration::from_millis(100);

/// What was told last. Tells at most ten times a second.
#[derive(Debug, Default)]
pub(crate) struct Herald {
    at: Option<Instant>,
    /// When to compare what came since.
    due: Option<Instant>,
    started: u64,
    departed: u64,
    streams: HashSet<StreamId>,
    drops: u64,
}

impl Herald {
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// To be called before waiting, so that what the last datagrams brought is told.
    pub(crate) fn attend(&mut self, now: Instant, hub: &Hub, core: &Core, receiver: &Receiver) {
        if let Some(at) = self.at.filter(|at| now.duration_since(*at) < EVERY) {
            self.due = Some(at + EVERY);
            return;
        }
        self.due = None;
        let told = [self.tell_streams(hub, core), self.tell_drops(hub, receiver)];
        if told.contains(&true) {
            self.at = Some(now);
        }
    }

    fn tell_streams(&mut self, hub: &Hub, core: &Core) -> bool {
        let counters = core.demux.counters();
        let now = (counters.streams_started, counters.departed.streams);
        if (self.started, self.departed) == now {
            return false;
        }
        (self.started, self.departed) = now;
        let streams: HashSet<_> = core.demux.streams().map(|stream| stream.id).collect();
        for &stream in self.streams.difference(&streams) {
            hub.post(|| Event::StreamDeparted { stream });
        }
        for &stream in streams.difference(&self.streams) {
            hub.post(|| Event::StreamStarted { stream });
        }
        self.streams = streams;
        true
    }

    fn tell_drops(&mut self, hub: &Hub, receiver: &Receiver) -> bool {
        let total = receiver.drops_noted();
        if total <= self.drops {
            return false;
        }
        self.drops = total;
        let remedy = receiver.receive_buffer().remedy();
        hub.post(|| Event::KernelDropped { total, remedy });
        true
    }
}
