//! The sending half of a broadcaster, for payloads that are bytes already.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcl_net::{Blocking, nanoseconds_since_epoch};
use mcl_wire::BodyHead;

use crate::coalescer::Coalescing;
use crate::error::{BatchError, PublishError};
use crate::sync::lock;
use crate::tally::BroadcasterStatistics;
use crate::train::{Outgoing, Train};
use crate::transmitter::{Job, Transmitter};

/// A transmitter, and a coalescer before it if that was asked for.
#[derive(Debug)]
pub(crate) struct Publisher {
    // Dropped first: it sends what waits.
    coalescing: Option<Coalescing>,
    transmitter: Arc<Transmitter>,
    /// A train for batches, kept between them.
    spare: Mutex<Option<Train>>,
}

/// What became of the values given to
/// [`publish_batch`](crate::Broadcaster::publish_batch).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// How many messages were sent.
    pub messages: u64,
    /// From the number of the first to one past the number of the last. Other
    /// numbers in between are messages that other threads published meanwhile:
    /// without such, there are `messages` of them.
    pub numbers: Range<u64>,
}

impl Publisher {
    /// With `coalesce`, starts a thread.
    pub(crate) fn new(transmitter: Transmitter, coalesce: Option<Duration>) -> io::Result<Self> {
        let transmitter = Arc::new(transmitter);
        let start = |delay| Coalescing::start(Arc::clone(&transmitter), delay);
        Ok(Self {
            coalescing: coalesce.map(start).transpose()?,
            transmitter,
            spare: Mutex::new(None),
        })
    }

    #[inline]
    pub(crate) fn transmitter(&self) -> &Transmitter {
        &self.transmitter
    }

    /// Whether a publish time may be written while the message is copied, in
    /// place of the one in the head.
    #[inline]
    pub(crate) fn stamps(&self) -> bool {
        self.coalescing.is_some()
    }

    pub(crate) fn publish(
        &self,
        message: &Outgoing<'_>,
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        match &self.coalescing {
            Some(coalescing) => coalescing.publish(message, blocking),
            None if message.time.is_none() => self.transmit(message.head, message, blocking),
            None => self.transmit(&message.stamped(), message, blocking),
        }
    }

    fn transmit(
        &self,
        head: &BodyHead,
        message: &Outgoing<'_>,
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        self.transmitter.transmit(&Job {
            head,
            payload: message.payload,
            blocking,
            number: None,
            upstream: None,
        })
    }

    pub(crate) fn flush(&self) -> Result<(), PublishError> {
        match &self.coalescing {
            Some(coalescing) => coalescing.flush(),
            None if self.transmitter.is_open() => Ok(()),
            None => Err(PublishError::Closed),
        }
    }

    /// `true` the first time.
    pub(crate) fn close(&self) -> bool {
        let first = self.transmitter.shut();
        match &self.coalescing {
            Some(coalescing) => coalescing.close(),
            None => self.transmitter.halt(),
        }
        first
    }

    pub(crate) fn statistics(&self) -> BroadcasterStatistics {
        let mut statistics = self.transmitter.tally().statistics();
        statistics.interface = self.transmitter.place().changes();
        if let Some(coalescing) = &self.coalescing {
            coalescing.complete(&mut statistics);
        }
        statistics
    }

    /// Begins a batch.
    pub(crate) fn batch(&self) -> BatchSender<'_> {
        let spare = lock(&self.spare).take();
        let mut train = spare.unwrap_or_else(|| Train::new(self.transmitter.stream()));
        train.clear();
        BatchSender {
            publisher: self,
            train: Some(train),
            batch: Batch::default(),
            time: None,
        }
    }
}

/// A batch under way, in a train of its own.
#[derive(Debug)]
pub(crate) struct BatchSender<'a> {
    publisher: &'a Publisher,
    /// Gone only while dropped.
    train: Option<Train>,
    batch: Batch,
    /// The publish time of the next values.
    time: Option<u64>,
}

impl BatchSender<'_> {
    /// When the value at hand is published. To read the clock would take longer than to
    /// write a small message: it is read once for a datagram.
    #[inline]
    pub(crate) fn time(&mut self) -> u64 {
        *self.time.get_or_insert_with(nanoseconds_since_epoch)
    }

    /// Puts a message into the train, and sends that when it is full.
    pub(crate) fn add(&mut self, message: &Outgoing<'_>) -> Result<(), PublishError> {
        let longest = self.publisher.transmitter.datagram_len();
        if message.datagram_len() > longest {
            // To send it takes a while.
            self.time = None;
            self.send()?;
            let number = self.publisher.publish(message, Blocking::Yes)?;
            self.extend(1, number..number + 1);
            return Ok(());
        }
        if !self.push(message, longest) {
            self.send()?;
            self.push(message, longest);
        }
        Ok(())
    }

    fn push(&mut self, message: &Outgoing<'_>, longest: usize) -> bool {
        let Some(train) = &mut self.train else {
            return false;
        };
        let datagrams = train.datagrams_left();
        let pushed = train.push(train.messages(), message, longest);
        if train.datagrams_left() != datagrams {
            self.time = None;
        }
        pushed
    }

    /// Sends what the train holds.
    fn send(&mut self) -> Result<(), PublishError> {
        let Some(train) = self.train.as_mut().filter(|train| !train.is_empty()) else {
            return Ok(());
        };
        let result = match &self.publisher.coalescing {
            Some(coalescing) => coalescing.send_own_train(train),
            None => self
                .publisher
                .transmitter
                .transmit_train(train, None, Blocking::Yes),
        };
        let sent = train.messages() - train.messages_left();
        let numbers = train.numbers();
        train.clear();
        self.extend(sent, numbers);
        result
    }

    fn extend(&mut self, messages: u64, numbers: Range<u64>) {
        if messages == 0 {
            return;
        }
        let start = match self.batch.messages {
            0 => numbers.start,
            _ => self.batch.numbers.start,
        };
        self.batch.messages += messages;
        self.batch.numbers = start..numbers.end;
    }

    /// Sends the rest, and tells what became of all, with the error that ended it
    /// early if one did.
    pub(crate) fn finish(mut self, ended: Option<PublishError>) -> Result<Batch, BatchError> {
        // What came before a value that cannot be sent is sent.
        let rest = match (&self.publisher.coalescing, &self.train) {
            // An empty batch, too, returns after what waited before it.
            (Some(coalescing), Some(train)) if train.is_empty() && self.batch.messages == 0 => {
                coalescing.exclusively(0, Blocking::Yes, |_| (Ok(()), true))
            }
            _ => self.send(),
        };
        match ended.or(rest.err()) {
            Some(source) => Err(BatchError {
                sent: self.batch.messages,
                source,
            }),
            None => Ok(std::mem::take(&mut self.batch)),
        }
    }
}

impl Drop for BatchSender<'_> {
    fn drop(&mut self) {
        *lock(&self.publisher.spare) = self.train.take();
    }
}
