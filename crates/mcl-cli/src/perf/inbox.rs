//! The ways to receive on the measuring thread: through a queue, or directly.

use std::time::Duration;

use mcl_udp::{ListenerStatistics, Message, Payload, Queue, Raw, RawListener};

use super::tuning::{ListenerSetup, Tuning};
use super::upcoming::{self, Pull};
use crate::failure::Failure;

/// Where the measuring thread takes messages from.
#[derive(Debug)]
pub(super) enum Inbox {
    Queue(Box<RawListener>, Queue<Payload, Raw>),
    Pull(Pull),
}

impl Inbox {
    pub(super) fn open(setup: ListenerSetup, tuning: &Tuning) -> Result<Self, Failure> {
        if tuning.pull {
            return upcoming::open_pull(setup).map(Self::Pull);
        }
        let listener = setup.open()?;
        let queue = listener.queue();
        Ok(Self::Queue(Box::new(listener), queue))
    }

    /// The next message, waited for; `None` if there is none in time.
    #[inline]
    pub(super) fn recv_timeout(&mut self, timeout: Duration) -> Option<Message<Payload>> {
        match self {
            Self::Queue(_, queue) => queue.recv_timeout(timeout).ok(),
            Self::Pull(pull) => pull.recv_timeout(timeout),
        }
    }

    /// The next message, if it is there.
    #[inline]
    pub(super) fn try_recv(&mut self) -> Option<Message<Payload>> {
        match self {
            Self::Queue(_, queue) => queue.try_recv().ok(),
            Self::Pull(pull) => pull.try_recv(),
        }
    }

    pub(super) fn statistics(&self) -> ListenerStatistics {
        match self {
            Self::Queue(listener, _) => listener.statistics(),
            Self::Pull(pull) => pull.statistics(),
        }
    }

    /// Messages that a full queue dropped.
    pub(super) fn dropped(&self) -> u64 {
        match self {
            Self::Queue(_, queue) => {
                let statistics = queue.statistics();
                statistics.dropped_oldest + statistics.dropped_newest
            }
            Self::Pull(_) => 0,
        }
    }
}
