//! From message bodies to trains of datagrams.

use std::io::IoSlice;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use mcl_net::{Blocking, Interface, Pacer, SendError, SendErrorKind, Sender, Usability};
use mcl_wire::{
    BodyHead, FRAGMENT_OVERHEAD, FragmentError, Fragmenter, StreamId, WHOLE_MESSAGE_OVERHEAD,
    whole_message_prefix,
};

use crate::error::PublishError;
use crate::sync::{lock, try_lock};

/// The most datagrams in a train; [`Sender::train_len`] never says more.
const TRAIN: usize = 64;

/// How often one message is begun anew because the MTU fell.
const MOST_RESTARTS: u32 = 8;

/// The sending half of one stream. Threads share it: sequence numbers are given
/// out under the lock that sends, one train at a time, so that messages of
/// several threads interleave by trains and the stream stays in order.
#[derive(Debug)]
pub(crate) struct Transmitter {
    stream: StreamId,
    line: Mutex<Option<Line>>,
    /// The sender's, to be read without the lock.
    datagram_len: AtomicUsize,
    open: AtomicBool,
    tally: Tally,
}

/// What the lock guards.
#[derive(Debug)]
struct Line {
    sender: Sender,
    pacer: Pacer,
    next_sequence: u64,
    next_number: u64,
}

#[derive(Debug, Default)]
struct Tally {
    messages: AtomicU64,
    bytes: AtomicU64,
    datagrams: AtomicU64,
    failed: AtomicU64,
    restarted: AtomicU64,
    numbers: AtomicU64,
    paced_nanos: AtomicU64,
}

/// What a broadcaster has sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcasterStatistics {
    /// Messages published whole.
    pub messages: u64,
    /// Payload bytes of these.
    pub bytes: u64,
    /// Datagrams handed to the kernel, those of failed messages included. The
    /// datagrams of a stream are numbered from 0 to one less than this.
    pub datagrams: u64,
    /// Message numbers given out, those of failed and restarted messages
    /// included: `numbers - messages` is what no listener can have got whole.
    pub numbers: u64,
    /// Publish calls that failed, having sent something or not.
    pub failed: u64,
    /// Messages begun anew under a new number because the MTU fell.
    pub restarted: u64,
    /// Time that publishers spent waiting for the pacing.
    pub paced: Duration,
}

/// A failed attempt to send a message.
enum Failure {
    /// The MTU fell: begin anew with shorter datagrams.
    Shrunk,
    /// Final.
    Publish(PublishError),
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

impl Transmitter {
    pub(crate) fn new(stream: StreamId, sender: Sender, pacer: Pacer) -> Self {
        let line = Line {
            sender,
            pacer,
            next_sequence: 0,
            next_number: 0,
        };
        Self {
            stream,
            datagram_len: AtomicUsize::new(line.sender.datagram_len()),
            line: Mutex::new(Some(line)),
            open: AtomicBool::new(true),
            tally: Tally::default(),
        }
    }

    pub(crate) fn stream(&self) -> StreamId {
        self.stream
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Closes the socket; `true` the first time.
    pub(crate) fn close(&self) -> bool {
        let first = self.open.swap(false, Ordering::AcqRel);
        *lock(&self.line) = None;
        first
    }

    /// Whether trains go out by segmentation offload, and the longest datagram.
    pub(crate) fn offload_and_datagram_len(&self) -> Option<(bool, usize)> {
        let line = lock(&self.line);
        line.as_ref()
            .map(|line| (line.sender.offload(), line.sender.datagram_len()))
    }

    pub(crate) fn statistics(&self) -> BroadcasterStatistics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BroadcasterStatistics {
            messages: of(&self.tally.messages),
            bytes: of(&self.tally.bytes),
            datagrams: of(&self.tally.datagrams),
            numbers: of(&self.tally.numbers),
            failed: of(&self.tally.failed),
            restarted: of(&self.tally.restarted),
            paced: Duration::from_nanos(of(&self.tally.paced_nanos)),
        }
    }

    /// Sends one message and tells its number.
    pub(crate) fn transmit(
        &self,
        head: &BodyHead,
        payload: &[u8],
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        let done = self.begin(head, payload, blocking);
        match done {
            Ok(_) => {
                self.tally.messages.fetch_add(1, Ordering::Relaxed);
                self.tally
                    .bytes
                    .fetch_add(payload.len() as u64, Ordering::Relaxed);
            }
            Err(_) => {
                self.tally.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        done
    }

    fn begin(
        &self,
        head: &BodyHead,
        payload: &[u8],
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        for _ in 0..MOST_RESTARTS {
            match self.attempt(head, payload, blocking) {
                Ok(number) => return Ok(number),
                Err(Failure::Publish(error)) => return Err(error),
                Err(Failure::Shrunk) => self.shrink(),
            }
        }
        Err(PublishError::MtuUnstable {
            times: MOST_RESTARTS,
        })
    }

    fn attempt(&self, head: &BodyHead, payload: &[u8], blocking: Blocking) -> Result<u64, Failure> {
        let body_len = head.as_bytes().len() + payload.len();
        let datagram_len = self.datagram_len.load(Ordering::Relaxed);
        if body_len + WHOLE_MESSAGE_OVERHEAD <= datagram_len {
            self.send_whole(head, payload, blocking)
        } else {
            self.send_fragments(head, payload, datagram_len, blocking)
        }
    }

    /// The MTU fell: shorter datagrams from now on.
    fn shrink(&self) {
        if let Some(line) = &*lock(&self.line) {
            let len = line.sender.datagram_len();
            self.datagram_len.store(len, Ordering::Relaxed);
        }
        self.tally.restarted.fetch_add(1, Ordering::Relaxed);
    }

    fn send_whole(
        &self,
        head: &BodyHead,
        payload: &[u8],
        blocking: Blocking,
    ) -> Result<u64, Failure> {
        let body_len = head.as_bytes().len() + payload.len();
        let datagram_len = WHOLE_MESSAGE_OVERHEAD + body_len;
        let mut guard = self.clear_to_send(datagram_len, blocking)?;
        let line = guard.as_mut().ok_or(PublishError::Closed)?;
        let number = line.next_number;
        // Fits: `attempt` compared with the datagram length.
        let prefix = whole_message_prefix(self.stream, line.next_sequence, number, body_len)
            .ok_or(Failure::Shrunk)?;
        let slices = [
            IoSlice::new(&prefix),
            IoSlice::new(head.as_bytes()),
            IoSlice::new(payload),
        ];
        line.send(&self.tally, &slices, datagram_len, 1, blocking)
            .map_err(|error| failure(error.kind, blocking))?;
        line.take_number(&self.tally);
        Ok(number)
    }

    fn send_fragments(
        &self,
        head: &BodyHead,
        payload: &[u8],
        datagram_len: usize,
        blocking: Blocking,
    ) -> Result<u64, Failure> {
        let mut fragments = fragmenter(0, head, payload, datagram_len)?;
        let of = fragments.len();
        let wire_len = head.as_bytes().len() + payload.len() + of * FRAGMENT_OVERHEAD;
        let in_train = Sender::train_len(datagram_len).min(TRAIN);
        let train_bytes = |left: usize| left.min(in_train) * datagram_len;

        let first = match blocking {
            Blocking::Yes => train_bytes(of),
            // All of it or nothing: a message begun must not wait.
            Blocking::No => wire_len,
        };
        let mut guard = self.clear_to_send(first, blocking)?;
        let line = guard.as_mut().ok_or(PublishError::Closed)?;
        let number = line.next_number;
        fragments = fragmenter(number, head, payload, datagram_len)?;
        let mut outcome = line.send_fragments(self, &mut fragments, in_train, blocking);
        if fragments.len() < of {
            line.take_number(&self.tally);
        }
        while outcome.is_ok() && fragments.len() > 0 {
            // Others may go between the trains of a message, unless it was
            // admitted as a whole because it must not wait.
            if blocking == Blocking::Yes {
                drop(guard);
                guard = self
                    .clear_to_send(train_bytes(fragments.len()), blocking)
                    .map_err(|error| partial(of - fragments.len(), of, error))?;
            }
            outcome = match guard.as_mut() {
                Some(line) => line.send_fragments(self, &mut fragments, in_train, blocking),
                None => Err(PublishError::Closed.into()),
            };
        }
        match outcome {
            Ok(()) => Ok(number),
            Err(Failure::Publish(error)) => Err(partial(of - fragments.len(), of, error).into()),
            Err(Failure::Shrunk) => Err(Failure::Shrunk),
        }
    }

    /// Takes the lock; who must not wait does not wait for another publisher.
    fn acquire(&self, blocking: Blocking) -> Result<MutexGuard<'_, Option<Line>>, PublishError> {
        match blocking {
            Blocking::Yes => Ok(lock(&self.line)),
            Blocking::No => try_lock(&self.line).ok_or(PublishError::WouldBlock),
        }
    }

    /// Waits for the pacing to let `bytes` go, and returns with the lock held.
    /// Others send while this one waits.
    fn clear_to_send(
        &self,
        bytes: usize,
        blocking: Blocking,
    ) -> Result<MutexGuard<'_, Option<Line>>, PublishError> {
        loop {
            let mut guard = self.acquire(blocking)?;
            let line = guard.as_mut().ok_or(PublishError::Closed)?;
            let now = Instant::now();
            let delay = line.pacer.delay(now, bytes);
            if blocking == Blocking::No {
                line.admit(bytes, delay)?;
                return Ok(guard);
            }
            if delay.is_zero() {
                return Ok(guard);
            }
            drop(guard);
            thread::sleep(delay);
            let waited = u64::try_from(now.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.tally.paced_nanos.fetch_add(waited, Ordering::Relaxed);
        }
    }
}

impl Line {
    /// The next number is in use: something of its message was sent.
    fn take_number(&mut self, tally: &Tally) {
        self.next_number += 1;
        tally.numbers.store(self.next_number, Ordering::Relaxed);
    }

    /// Whether `bytes` may go now, and at all, without waiting.
    fn admit(&self, bytes: usize, delay: Duration) -> Result<(), PublishError> {
        match self.pacer.rate() {
            Some(rate) if bytes > rate.burst => Err(PublishError::ExceedsBurst {
                len: bytes,
                burst: rate.burst,
            }),
            _ if delay.is_zero() => Ok(()),
            _ => Err(PublishError::WouldBlock),
        }
    }

    /// Sends the next train of `fragments`, and takes from it what was sent.
    fn send_fragments(
        &mut self,
        transmitter: &Transmitter,
        fragments: &mut Fragmenter<'_>,
        in_train: usize,
        blocking: Blocking,
    ) -> Result<(), Failure> {
        let count = fragments.len().min(in_train);
        let mut prefixes = [[0; FRAGMENT_OVERHEAD]; TRAIN];
        let mut sequence = self.next_sequence;
        for (prefix, fragment) in prefixes.iter_mut().zip(fragments.clone().take(count)) {
            *prefix = fragment.prefix(transmitter.stream, sequence);
            sequence = sequence.wrapping_add(1);
        }
        let mut slices = [IoSlice::new(&[]); 3 * TRAIN];
        let parts = prefixes
            .iter()
            .zip(fragments.clone().take(count))
            .flat_map(|(prefix, fragment)| [&prefix[..], fragment.head, fragment.payload])
            .filter(|part| !part.is_empty());
        let mut used = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            used += 1;
        }
        let datagram_len = usize::from(fragments.fragment_size()) + FRAGMENT_OVERHEAD;
        let slices = slices.get(..used).unwrap_or_default();
        let sent = self.send(&transmitter.tally, slices, datagram_len, count, blocking);
        let (taken, result) = match sent {
            Ok(()) => (count, Ok(())),
            Err(error) => (error.sent, Err(failure(error.kind, blocking))),
        };
        if taken > 0 {
            fragments.nth(taken - 1);
        }
        result
    }

    /// Sends one train of `count` datagrams and accounts for it.
    fn send(
        &mut self,
        tally: &Tally,
        slices: &[IoSlice<'_>],
        datagram_len: usize,
        count: usize,
        blocking: Blocking,
    ) -> Result<(), SendError> {
        let result = self.sender.send_train(slices, datagram_len, blocking);
        let sent = result.as_ref().map_or_else(|error| error.sent, |()| count);
        if sent > 0 {
            self.next_sequence += sent as u64;
            self.pacer.sent(Instant::now(), sent * datagram_len);
            tally.datagrams.fetch_add(sent as u64, Ordering::Relaxed);
        }
        result
    }
}

fn fragmenter<'a>(
    number: u64,
    head: &'a BodyHead,
    payload: &'a [u8],
    datagram_len: usize,
) -> Result<Fragmenter<'a>, PublishError> {
    Fragmenter::new(number, head, payload, datagram_len).map_err(|error| match error {
        FragmentError::TooLong { len } => PublishError::TooLarge {
            len,
            max: u32::MAX as usize - head.as_bytes().len(),
        },
        // The link's MTU fell below what IPv6 demands (1280).
        error => PublishError::Interface(SendErrorKind::Io(std::io::Error::other(error))),
    })
}

fn failure(kind: SendErrorKind, blocking: Blocking) -> Failure {
    match kind {
        SendErrorKind::TooLong { .. } => Failure::Shrunk,
        SendErrorKind::WouldBlock => PublishError::WouldBlock.into(),
        SendErrorKind::NotReady { index, .. } if blocking == Blocking::No && soon(index) => {
            PublishError::WouldBlock.into()
        }
        kind => PublishError::Interface(kind).into(),
    }
}

/// Whether an interface that is not ready becomes so by waiting.
fn soon(index: NonZeroU32) -> bool {
    let interface = Interface::by_index(index);
    interface.is_ok_and(|it| !matches!(it.usability(), Usability::Unusable(_)))
}

fn partial(sent: usize, of: usize, error: PublishError) -> PublishError {
    if sent == 0 {
        error
    } else {
        PublishError::Partial {
            sent,
            of,
            source: Box::new(error),
        }
    }
}
