//! How a listener keeps up with its interface: when it looks, and what it does then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcl_net::{Finder, Interface, Receiver, Refusal};

use crate::interface::Place;

/// How soon after a look the next one is worth it: changes come in bursts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// After how long a look or a join that failed is tried again: at first, and at most.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// How often who never waits asks for changes, and who spins.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// Keeps a receiver on the interface that it is to receive on.
#[derive(Debug)]
pub(crate) struct Watch {
    finder: Finder,
    place: Arc<Place>,
    /// When to look, if there is a reason to.
    due: Option<Instant>,
    looked: Option<Instant>,
    asked: Instant,
    retry: Duration,
}

impl Watch {
    pub(crate) fn new(finder: Finder, place: Arc<Place>) -> Self {
        Self {
            finder,
            place,
            due: None,
            looked: None,
            asked: Instant::now(),
            retry: FIRST_RETRY,
        }
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Something changed.
    pub(crate) fn heard(&mut self, now: Instant) {
        let at = self
            .looked
            .map_or(now, |looked| now.max(looked + LOOK_EVERY));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Asks whether something changed, now and then: for who does not wait, and so is
    /// not told.
    pub(crate) fn ask(&mut self, now: Instant, receiver: &mut Receiver) {
        if now.duration_since(self.asked) >= ASK_EVERY {
            self.asked = now;
            if receiver.hear() {
                // At once: nobody may be there when it is due later.
                self.due = Some(now);
            }
        }
    }

    /// Looks if there is a reason to; `true` if the receiver has joined anew.
    pub(crate) fn look_if_due(&mut self, now: Instant, receiver: &mut Receiver) -> bool {
        self.due.is_some_and(|due| now >= due) && self.look(now, receiver)
    }

    pub(crate) fn look(&mut self, now: Instant, receiver: &mut Receiver) -> bool {
        (self.looked, self.due) = (Some(now), None);
        let joined = match self.finder.find() {
            Ok(interface) => self.settle(now, interface, receiver),
            Err(error) => {
                if let Refusal::Look(_) = error.refusal() {
                    self.retry_later(now);
                } else {
                    self.place.refused(&error);
                }
                false
            }
        };
        receiver.hear_of_all(!self.place.is_there());
        joined
    }

    fn settle(&mut self, now: Instant, interface: Interface, receiver: &mut Receiver) -> bool {
        match receiver.settle(&interface) {
            Ok(joined) => {
                self.retry = FIRST_RETRY;
                self.place.found(interface, joined);
                joined
            }
            Err(error) => {
                self.retry_later(now);
                self.place.lost(error.to_string(), Vec::new());
                false
            }
        }
    }

    /// What failed may go well later, without a notice: no memory, no descriptor.
    fn retry_later(&mut self, now: Instant) {
        self.place.failed();
        self.due = now.checked_add(self.retry);
        self.retry = (self.retry * 2).min(LONGEST_RETRY);
    }
}
