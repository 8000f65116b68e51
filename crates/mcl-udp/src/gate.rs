//! Where messages wait for company: what happens when, without a socket, a
//! thread or a clock.

use std::mem;
use std::time::{Duration, Instant};

use mcl_wire::StreamId;

use crate::train::{Outgoing, Train};

/// Two trains: one is open and takes messages, the other is free, or full, or
/// with the one thread that sends.
///
/// One thread at a time has the *role* of the sender, and trains leave in the
/// order in which they were filled. Every train has a generation, from 0.
#[derive(Debug)]
pub(crate) struct Gate {
    open: Train,
    other: Other,
    next_number: u64,
    delay: Duration,
    /// When the open train is due; of no meaning while that is empty.
    deadline: Option<Instant>,
    /// The open train's.
    generation: u64,
    /// Trains of earlier generations do not wait for their time.
    forced: u64,
    role: Role,
    closed: bool,
}

#[derive(Debug)]
enum Other {
    Free(Train),
    /// To be sent before the open one.
    Full(Train),
    Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Free,
    Taken,
    /// Left to whoever has waited for it.
    Granted,
}

impl Gate {
    pub(crate) fn new(stream: StreamId, delay: Duration) -> Self {
        Self {
            open: Train::new(stream),
            other: Other::Free(Train::new(stream)),
            next_number: 0,
            delay,
            deadline: None,
            generation: 0,
            forced: 0,
            role: Role::Free,
            closed: false,
        }
    }

    /// How many message numbers were given out.
    pub(crate) fn numbers(&self) -> u64 {
        self.next_number
    }

    pub(crate) fn take_numbers(&mut self, count: u64) -> u64 {
        let first = self.next_number;
        self.next_number += count;
        first
    }

    /// Takes numbers back that nothing was sent under, if nobody got later ones.
    pub(crate) fn give_back(&mut self, first: u64, count: u64) {
        if self.next_number == first + count {
            self.next_number = first;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Refuses all that comes, and has sent what waits.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.force();
    }

    /// Puts the message into the open train and gives its number; `None` if the
    /// train is full.
    #[inline]
    pub(crate) fn push(&mut self, message: &Outgoing<'_>, longest: usize) -> Option<u64> {
        let number = self.next_number;
        self.open.push(number, message, longest).then(|| {
            self.next_number += 1;
            number
        })
    }

    /// Whether the message just put in is the first of its train, and waits.
    #[inline]
    pub(crate) fn needs_deadline(&self) -> bool {
        self.open.messages() == 1 && !self.delay.is_zero()
    }

    /// The first message of the open train came `now`.
    pub(crate) fn set_deadline(&mut self, now: Instant) {
        self.deadline = now.checked_add(self.delay);
    }

    /// Begins a new train in the free one; `false` if there is none.
    pub(crate) fn begin_train(&mut self) -> bool {
        match mem::replace(&mut self.other, Other::Leaving) {
            Other::Free(free) => {
                let mut full = mem::replace(&mut self.open, free);
                full.fix_numbers();
                self.other = Other::Full(full);
                self.generation += 1;
                true
            }
            other => {
                self.other = other;
                false
            }
        }
    }

    /// Whether a train waits that no message can join any more.
    #[inline]
    pub(crate) fn has_full(&self) -> bool {
        matches!(self.other, Other::Full(_))
    }

    /// Whether anything waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.has_full() || !self.open.is_empty()
    }

    /// Whether something waits that should wait no longer.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.has_full() || (!self.open.is_empty() && self.is_open_due(now))
    }

    fn is_open_due(&self, now: Instant) -> bool {
        self.delay.is_zero()
            || self.generation < self.forced
            || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// When the open train is due, if one waits for its time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| !self.open.is_empty())
    }

    /// The train to be sent next, for the sender.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Train> {
        if !self.has_full() && !self.open.is_empty() && self.is_open_due(now) {
            self.begin_train();
        }
        self.take_full()
    }

    /// The train that is full, for the sender.
    pub(crate) fn take_full(&mut self) -> Option<Train> {
        match mem::replace(&mut self.other, Other::Leaving) {
            Other::Full(train) => Some(train),
            other => {
                self.other = other;
                None
            }
        }
    }

    /// All that waits, in one train, for the sender who has taken what was full.
    pub(crate) fn take_open(&mut self) -> Option<Train> {
        if self.open.is_empty() || !self.begin_train() {
            return None;
        }
        self.take_full()
    }

    /// The sender gives a train back: sent, or given up.
    pub(crate) fn settle(&mut self, mut train: Train) {
        train.clear();
        self.other = Other::Free(train);
    }

    /// The sender gives a train back that is to be sent later.
    pub(crate) fn put_back(&mut self, train: Train) {
        self.other = Other::Full(train);
    }

    /// Makes all that waits due, and tells which generation is then the first
    /// that is not.
    pub(crate) fn force(&mut self) -> u64 {
        self.forced = self.generation + u64::from(!self.open.is_empty());
        self.forced
    }

    /// Trains of earlier generations are settled.
    pub(crate) fn settled(&self) -> u64 {
        self.generation - u64::from(!matches!(self.other, Other::Free(_)))
    }

    #[inline]
    pub(crate) fn is_role_free(&self) -> bool {
        self.role == Role::Free
    }

    /// Takes the role, which must be free or granted to the caller.
    pub(crate) fn take_role(&mut self) {
        self.role = Role::Taken;
    }

    pub(crate) fn is_role_granted(&self) -> bool {
        self.role == Role::Granted
    }

    /// Gives the role up, to whoever waits for it if there is one.
    pub(crate) fn leave_role(&mut self, claimed: bool) {
        self.role = if claimed { Role::Granted } else { Role::Free };
    }

    /// Whether the message just put in has to be sent by who put it in: nobody
    /// sends, and it or what was before it must not wait.
    #[inline]
    pub(crate) fn wants_sender(&self) -> bool {
        self.role == Role::Free && (self.delay.is_zero() || self.has_full())
    }
}
