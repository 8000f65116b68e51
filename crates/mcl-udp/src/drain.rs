//! The thread that drains a listener's socket.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mcl_net::Received as Woke;

use crate::handful::Handful;
use crate::intake::Intake;
use crate::shared::{Routing, Shared};
use crate::sync::lock;

/// How long to stay away from a socket that gave an error.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// Receives messages and hands them to the routes.
pub(crate) struct Drain {
    intake: Intake,
    shared: Arc<Shared>,
    /// Messages for all subscriptions but the last.
    copies: Handful,
}

impl Drain {
    pub(crate) fn new(intake: Intake, shared: Arc<Shared>) -> Self {
        Self {
            intake,
            shared,
            copies: Handful::default(),
        }
    }

    /// Works until the listener closes. Sleeps in the kernel while nothing
    /// arrives and no incomplete message waits for its end.
    pub(crate) fn run(mut self) {
        let _close = CloseAtEnd(Arc::clone(&self.shared));
        while self.shared.is_open() {
            let shared = &self.shared;
            match self
                .intake
                .receive(shared.core(), None, || shared.is_open())
            {
                Ok(Woke::Train(_)) => self.hand_over(),
                Ok(_) => {}
                Err(_) => {
                    lock(self.shared.core()).receive_errors += 1;
                    thread::sleep(AFTER_ERROR);
                }
            }
        }
        self.shared.keep_kernel_drops();
    }

    fn hand_over(&mut self) {
        while self.intake.has_more() {
            // Taken after the datagrams have arrived: who subscribed before a
            // message was published gets it.
            let routing = self.shared.routing();
            let claimed = !routing.routes.is_empty();
            let core = self.shared.core();
            if !self.intake.advance(core, &routing.ignored, claimed) {
                return;
            }
            // The lock is not held here: callbacks may look at the statistics.
            self.deliver(&routing);
        }
    }

    fn deliver(&mut self, routing: &Routing) {
        let ready = self.intake.ready();
        let Some((last, others)) = routing.routes.split_last() else {
            return ready.clear();
        };
        for route in others {
            self.copies.extend_from(ready);
            route.deliver(&mut self.copies);
        }
        last.deliver(ready);
    }
}

/// Closes the listener when its receiving thread ends, whatever ended it: nobody
/// shall wait for messages that cannot come.
struct CloseAtEnd(Arc<Shared>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}
