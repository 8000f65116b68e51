//! The ways to receive on the measuring thread: through a queue, or directly.

use std::time::Duration;

use mcl_udp::{
    ListenerStatistics, Message, Payload, PullError, Queue, Raw, RawListener, RawPullListener,
};

use super::tuning::{ListenerSetup, Tuning};
use crate::failure::Failure;

/// Where the measuring thread takes messages from.
#[derive(Debug)]
pub(super) enum Inbox {
    Queue(Box<RawListener>, Queue<Payload, Raw>),
    Pull(Box<RawPullListener>),
}

impl Inbox {
    pub(super) fn open(setup: ListenerSetup, tuning: &Tuning) -> Result<Self, Failure> {
        if tuning.pull {
            return Ok(Self::Pull(Box::new(setup.open_pull()?)));
        }
        let listener = setup.open()?;
        let queue = listener.queue_with(tuning.queue());
        Ok(Self::Queue(Box::new(listener), queue))
    }

    /// The next message, waited for; `None` if there is none in time.
    #[inline]
    pub(super) fn recv_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Message<Payload>>, PullError> {
        match self {
            Self::Queue(_, queue) => Ok(queue.recv_timeout(timeout).ok()),
            Self::Pull(pull) => pull.recv_timeout(timeout),
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
