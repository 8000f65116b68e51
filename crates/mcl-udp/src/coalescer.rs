//! Small messages of several threads in shared trains, and who sends them when.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mcl_net::Blocking;

use crate::alarm::Alarm;
use crate::error::PublishError;
use crate::gate::Gate;
use crate::sync::lock;
use crate::tally::BroadcasterStatistics;
use crate::train::{Outgoing, Train};
use crate::transmitter::{Job, Transmitter, Upstream};

/// How many trains a publisher sends before it leaves the rest to the thread in
/// the background: its own call must come to an end.
const TRAINS_A_CALL: usize = 4;

/// How long closing waits for the pacing, or for an address, on behalf of what
/// waits to be sent.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// The coalescer of one broadcaster and the thread that sends what nobody else
/// does in time. Closes when dropped.
#[derive(Debug)]
pub(crate) struct Coalescing {
    coalescer: Arc<Coalescer>,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
pub(crate) struct Coalescer {
    transmitter: Arc<Transmitter>,
    shared: Mutex<Shared>,
    /// A train was settled, or the role of the sender given up.
    changed: Condvar,
    /// The flusher's.
    alarm: Alarm,
}

#[derive(Debug)]
struct Shared {
    gate: Gate,
    flusher: Flusher,
    /// Threads that wait for a change, and those among them that want the role.
    waiters: u32,
    claimants: u32,
    unsent: u64,
    /// What `flush` is to tell: how many, and why the first was not sent.
    error: Option<(u64, Arc<PublishError>)>,
}

type Guard<'a> = MutexGuard<'a, Shared>;

/// What the flusher does. It is rarely woken from another sleep than one without
/// end: any other ends before the next train is due, since deadlines come in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flusher {
    Awake,
    Asleep,
    AsleepUntilDue,
}

impl Coalescing {
    pub(crate) fn start(transmitter: Arc<Transmitter>, delay: Duration) -> io::Result<Self> {
        let shared = Shared {
            gate: Gate::new(transmitter.stream(), delay),
            flusher: Flusher::Awake,
            waiters: 0,
            claimants: 0,
            unsent: 0,
            error: None,
        };
        let coalescer = Arc::new(Coalescer {
            transmitter,
            shared: Mutex::new(shared),
            changed: Condvar::new(),
            alarm: Alarm::new(),
        });
        let for_thread = Arc::clone(&coalescer);
        let flusher = thread::Builder::new()
            .name("mcl-flush".to_owned())
            .spawn(move || {
                // A delay is a fraction of a millisecond. If that cannot be, it is longer.
                let _ = mcl_net::use_precise_timers();
                for_thread.flush_in_time();
            })?;
        Ok(Self {
            coalescer,
            flusher: Mutex::new(Some(flusher)),
        })
    }

    /// Sends what waits, for a limited time, and closes the socket.
    pub(crate) fn close(&self) {
        let Some(flusher) = lock(&self.flusher).take() else {
            return;
        };
        self.coalescer.close();
        // It runs no code of the user's and does not panic.
        let _ = flusher.join();
    }
}

impl Drop for Coalescing {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::ops::Deref for Coalescing {
    type Target = Coalescer;

    fn deref(&self) -> &Coalescer {
        &self.coalescer
    }
}

impl Coalescer {
    /// Accepts a message that fits a datagram, or sends one that does not, and
    /// tells its number.
    #[inline]
    pub(crate) fn publish(
        &self,
        message: &Outgoing<'_>,
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        let longest = self.transmitter.datagram_len();
        if message.datagram_len() > longest {
            return self.publish_large(message, blocking);
        }
        let mut shared = lock(&self.shared);
        let number = loop {
            if shared.gate.is_closed() {
                return Err(PublishError::Closed);
            }
            match shared.gate.push(message, longest) {
                Some(number) => break number,
                None => shared = self.make_room(shared, blocking)?,
            }
        };
        if shared.gate.needs_deadline() {
            shared.gate.set_deadline(Instant::now());
            self.set_alarm(&mut shared);
        }
        if shared.gate.wants_sender() {
            return self.send_after(shared, number, blocking);
        }
        Ok(number)
    }

    /// Sends what must not wait, after message `number` was accepted.
    fn send_after(
        &self,
        mut shared: Guard<'_>,
        number: u64,
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        shared.gate.take_role();
        let (shared, error) = self.send_due(shared, Some(number), blocking);
        drop(self.leave_role(shared));
        error.map_or(Ok(number), Err)
    }

    /// Makes room for a message that the open train does not hold.
    fn make_room<'a>(
        &'a self,
        mut shared: Guard<'a>,
        blocking: Blocking,
    ) -> Result<Guard<'a>, PublishError> {
        if shared.gate.begin_train() {
            return Ok(shared);
        }
        if shared.gate.is_role_free() {
            shared.gate.take_role();
            (shared, _) = self.send_due(shared, None, blocking);
            shared = self.leave_role(shared);
            if shared.gate.begin_train() {
                return Ok(shared);
            }
        }
        match blocking {
            Blocking::No => Err(PublishError::WouldBlock),
            Blocking::Yes => Ok(self.wait(shared)),
        }
    }

    /// Waits for a train to be settled or the role to be given up.
    fn wait<'a>(&self, mut shared: Guard<'a>) -> Guard<'a> {
        shared.waiters += 1;
        let waited = self.changed.wait(shared);
        let mut shared = waited.unwrap_or_else(PoisonError::into_inner);
        shared.waiters -= 1;
        shared
    }

    fn tell_change(&self, shared: &Shared) {
        if shared.waiters > 0 {
            self.changed.notify_all();
        }
    }

    /// The open train has a deadline.
    fn set_alarm(&self, shared: &mut Shared) {
        // Awake, it looks at that before it sleeps.
        if shared.flusher == Flusher::Awake {
            return;
        }
        self.alarm.set(shared.gate.deadline());
        if shared.flusher == Flusher::Asleep {
            shared.flusher = Flusher::AsleepUntilDue;
            self.alarm.tell();
        }
    }

    fn wake_flusher(&self, shared: &mut Shared) {
        if shared.flusher != Flusher::Awake {
            shared.flusher = Flusher::Awake;
            self.alarm.ring();
        }
    }

    /// As the sender: sends what is due. Tells the error of the train that
    /// held message `own`; other errors are kept for `flush`.
    fn send_due<'a>(
        &'a self,
        mut shared: Guard<'a>,
        own: Option<u64>,
        blocking: Blocking,
    ) -> (Guard<'a>, Option<PublishError>) {
        let mut own_error = None;
        for _ in 0..TRAINS_A_CALL {
            let Some(train) = shared.gate.take_due(Instant::now()) else {
                break;
            };
            let sent;
            (shared, sent) = self.send_train(shared, train, own, blocking);
            match sent {
                Sent::Settled(error) => own_error = own_error.or(error),
                Sent::PutBack => break,
            }
        }
        (shared, own_error)
    }

    /// As the sender: sends a train, without the lock.
    fn send_train<'a>(
        &'a self,
        shared: Guard<'a>,
        mut train: Train,
        own: Option<u64>,
        blocking: Blocking,
    ) -> (Guard<'a>, Sent) {
        drop(shared);
        let upstream = Numbers {
            coalescer: self,
            yields: false,
        };
        let result = self
            .transmitter
            .transmit_train(&mut train, Some(&upstream), blocking);
        let mut shared = lock(&self.shared);
        let sent = match result {
            Err(error) if blocking == Blocking::No && is_for_later(&error) => {
                shared.gate.put_back(train);
                Sent::PutBack
            }
            result => {
                let error = result.err();
                let own_error = error.and_then(|error| shared.give_up(&train, own, error));
                shared.gate.settle(train);
                Sent::Settled(own_error)
            }
        };
        self.tell_change(&shared);
        (shared, sent)
    }

    /// Gives the role up; what is still to be done is left to the flusher.
    fn leave_role<'a>(&self, mut shared: Guard<'a>) -> Guard<'a> {
        let claimed = shared.claimants > 0;
        shared.gate.leave_role(claimed);
        let remains = shared.gate.is_waiting() || shared.gate.is_closed();
        if !claimed && remains {
            if shared.gate.is_closed() || shared.gate.is_due(Instant::now()) {
                self.wake_flusher(&mut shared);
            } else {
                self.set_alarm(&mut shared);
            }
        }
        self.tell_change(&shared);
        shared
    }

    /// Takes the role of the sender, and waits for it if need be.
    fn claim_role(&self, blocking: Blocking) -> Result<Guard<'_>, PublishError> {
        let mut shared = lock(&self.shared);
        if !shared.gate.is_role_free() {
            if blocking == Blocking::No {
                return Err(PublishError::WouldBlock);
            }
            shared.claimants += 1;
            while !shared.gate.is_role_granted() && !shared.gate.is_role_free() {
                shared = self.wait(shared);
            }
            shared.claimants -= 1;
        }
        shared.gate.take_role();
        if shared.gate.is_closed() {
            drop(self.leave_role(shared));
            return Err(PublishError::Closed);
        }
        Ok(shared)
    }

    /// Sends what waits, and then, under the `count` numbers that follow, what
    /// `send` sends; that tells the outcome, and whether anything of it was sent.
    pub(crate) fn exclusively<R>(
        &self,
        count: u64,
        blocking: Blocking,
        send: impl FnOnce(u64) -> (Result<R, PublishError>, bool),
    ) -> Result<R, PublishError> {
        let shared = self.claim_role(blocking)?;
        let (shared, first) = self.send_waiting(shared, count, blocking);
        let Some(first) = first else {
            drop(self.leave_role(shared));
            return Err(PublishError::WouldBlock);
        };
        drop(shared);
        let (result, begun) = send(first);
        let mut shared = lock(&self.shared);
        if !begun {
            shared.gate.give_back(first, count);
        }
        // Waiting for the pacing, if need be, is the flusher's.
        let (shared, _) = self.send_due(shared, None, Blocking::No);
        drop(self.leave_role(shared));
        result
    }

    /// As the sender: takes `count` numbers and sends all that was accepted
    /// before; `None`, with the numbers given back, if it had to wait.
    fn send_waiting<'a>(
        &'a self,
        mut shared: Guard<'a>,
        count: u64,
        blocking: Blocking,
    ) -> (Guard<'a>, Option<u64>) {
        while let Some(train) = shared.gate.take_full() {
            let sent;
            (shared, sent) = self.send_train(shared, train, None, blocking);
            if matches!(sent, Sent::PutBack) {
                return (shared, None);
            }
        }
        let first = shared.gate.take_numbers(count);
        if let Some(train) = shared.gate.take_open() {
            let sent;
            (shared, sent) = self.send_train(shared, train, None, blocking);
            if matches!(sent, Sent::PutBack) {
                shared.gate.give_back(first, count);
                return (shared, None);
            }
        }
        (shared, Some(first))
    }

    /// Sends a message that takes several datagrams.
    fn publish_large(
        &self,
        message: &Outgoing<'_>,
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        let head = message.stamped();
        let upstream = Numbers {
            coalescer: self,
            yields: true,
        };
        self.exclusively(1, blocking, |number| {
            let result = self.transmitter.transmit(&Job {
                head: &head,
                payload: message.payload,
                blocking,
                number: Some(number),
                upstream: Some(&upstream),
            });
            let begun = !result.as_ref().is_err_and(sent_nothing);
            (result, begun)
        })
    }

    /// Sends a train of the caller's own, whose messages have no numbers yet.
    pub(crate) fn send_own_train(&self, train: &mut Train) -> Result<(), PublishError> {
        let upstream = Numbers {
            coalescer: self,
            yields: false,
        };
        self.exclusively(train.messages(), Blocking::Yes, |first| {
            train.set_first_number(first);
            train.fix_numbers();
            let upstream: &dyn Upstream = &upstream;
            let result = self
                .transmitter
                .transmit_train(train, Some(upstream), Blocking::Yes);
            let begun = result.is_ok() || train.messages_left() < train.messages();
            (result, begun)
        })
    }

    /// Sends what waits, and tells an error that nobody has seen yet.
    pub(crate) fn flush(&self) -> Result<(), PublishError> {
        let mut shared = lock(&self.shared);
        let target = shared.gate.force();
        while shared.gate.settled() < target {
            if shared.gate.is_role_free() {
                shared.gate.take_role();
                (shared, _) = self.send_due(shared, None, Blocking::Yes);
                shared = self.leave_role(shared);
            } else {
                shared = self.wait(shared);
            }
        }
        match shared.error.take() {
            Some((messages, source)) => Err(PublishError::Unsent { messages, source }),
            None if shared.gate.is_closed() => Err(PublishError::Closed),
            None => Ok(()),
        }
    }

    /// Adds what is known here alone.
    pub(crate) fn complete(&self, statistics: &mut BroadcasterStatistics) {
        let shared = lock(&self.shared);
        statistics.numbers = shared.gate.numbers();
        statistics.unsent = shared.unsent;
    }

    fn close(&self) {
        let mut shared = lock(&self.shared);
        shared.gate.close();
        self.wake_flusher(&mut shared);
        shared.waiters += 1;
        let (mut shared, _) = self
            .changed
            .wait_timeout_while(shared, CLOSING_TIME, |shared| {
                shared.gate.is_waiting() || !shared.gate.is_role_free()
            })
            .unwrap_or_else(PoisonError::into_inner);
        shared.waiters -= 1;
        drop(shared);
        self.transmitter.halt();
    }

    /// The flusher: sends what is due and nobody else sends.
    fn flush_in_time(&self) {
        self.alarm.adopt();
        let mut shared = lock(&self.shared);
        loop {
            let now = Instant::now();
            if !shared.gate.is_role_free() {
                // Who has the role leaves nothing undone without a call.
                shared = self.sleep(shared, now);
            } else if shared.gate.is_due(now) {
                shared.gate.take_role();
                (shared, _) = self.send_due(shared, None, Blocking::Yes);
                shared = self.leave_role(shared);
            } else if shared.gate.is_closed() {
                return;
            } else {
                shared = self.sleep(shared, now);
            }
        }
    }

    /// Sleeps until a deadline that is not past, or without end.
    fn sleep<'a>(&'a self, mut shared: Guard<'a>, now: Instant) -> Guard<'a> {
        let deadline = shared.gate.deadline().filter(|deadline| *deadline > now);
        shared.flusher = match deadline {
            None => Flusher::Asleep,
            Some(_) => Flusher::AsleepUntilDue,
        };
        self.alarm.set(deadline);
        drop(shared);
        self.alarm.sleep();
        let mut shared = lock(&self.shared);
        shared.flusher = Flusher::Awake;
        shared
    }
}

/// What became of a train.
enum Sent {
    /// It was sent, or given up; the error if that concerns the caller.
    Settled(Option<PublishError>),
    /// It waits, since the caller must not.
    PutBack,
}

impl Shared {
    /// Accounts for what could not be sent of `train`: for all but message `own`,
    /// whose publisher is told at once.
    fn give_up(
        &mut self,
        train: &Train,
        own: Option<u64>,
        error: PublishError,
    ) -> Option<PublishError> {
        let own = own.is_some_and(|own| train.holds(own));
        let others = train.messages_left() - u64::from(own);
        if others == 0 {
            return own.then_some(error);
        }
        let source = Arc::new(error);
        self.unsent += others;
        let kept = self.error.get_or_insert_with(|| (0, Arc::clone(&source)));
        kept.0 += others;
        own.then(|| PublishError::Unsent {
            messages: train.messages_left(),
            source,
        })
    }
}

/// The coalescer as the transmitter sees it.
struct Numbers<'a> {
    coalescer: &'a Coalescer,
    /// Whether what is due may go between the trains of a message.
    yields: bool,
}

impl Upstream for Numbers<'_> {
    fn take_number(&self) -> u64 {
        lock(&self.coalescer.shared).gate.take_numbers(1)
    }

    fn between_trains(&self) {
        if self.yields {
            let shared = lock(&self.coalescer.shared);
            let _ = self.coalescer.send_due(shared, None, Blocking::Yes);
        }
    }
}

/// Whether who may not wait leaves the train to who may.
fn is_for_later(error: &PublishError) -> bool {
    matches!(
        error,
        PublishError::WouldBlock | PublishError::ExceedsBurst { .. }
    )
}

/// Whether the error says that nothing was sent.
fn sent_nothing(error: &PublishError) -> bool {
    !matches!(
        error,
        PublishError::Partial { .. } | PublishError::MtuUnstable { .. }
    )
}
