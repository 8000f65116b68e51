//! From message bodies to trains of datagrams.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use mcl_net::{Blocking, Pacer, SendError, SendErrorKind, Sender};
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

/// How long a publisher waits for the address of a fresh interface.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it looks whether the address is there.
const READY_POLL: Duration = Duration::from_millis(20);

/// How long a publisher sleeps at a time, so that closing is not kept waiting.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// How often a sender that is limited by the MTU looks whether it was raised.
const MTU_LOOK: Duration = Duration::from_secs(5);

/// The sending half of one stream. Threads share it: sequence numbers are given
/// out under the lock that sends, one train at a time, so that messages of
/// several threads interleave by trains and the stream stays in order.
#[derive(Debug)]
pub(crate) struct Transmitter {
    stream: StreamId,
    line: Mutex<Option<Line>>,
    /// The sender's, to be read without the lock.
    datagram_len: AtomicUsize,
    offload: AtomicBool,
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
    /// When the MTU was looked at last.
    mtu_looked: Instant,
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
    /// How often a message was begun anew because the MTU fell; under a new
    /// number if some of it had gone out.
    pub restarted: u64,
    /// Time that publishers spent waiting for the pacing.
    pub paced: Duration,
}

/// A failed attempt to send a message.
enum Failure {
    /// The MTU fell, after so many datagrams: begin anew with shorter ones.
    Shrunk { max: usize, sent: usize },
    /// Nothing was sent: the interface's address is not usable yet.
    NotYet(SendErrorKind),
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
            mtu_looked: Instant::now(),
        };
        Self {
            stream,
            datagram_len: AtomicUsize::new(line.sender.datagram_len()),
            offload: AtomicBool::new(line.sender.offload()),
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

    /// Whether trains go out by segmentation offload.
    pub(crate) fn offload(&self) -> bool {
        self.offload.load(Ordering::Relaxed)
    }

    /// The longest datagram.
    pub(crate) fn datagram_len(&self) -> usize {
        self.datagram_len.load(Ordering::Relaxed)
    }

    pub(crate) fn count_failure(&self) {
        self.tally.failed.fetch_add(1, Ordering::Relaxed);
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
        let number = self.persist(head, payload, blocking)?;
        self.tally.messages.fetch_add(1, Ordering::Relaxed);
        let len = payload.len() as u64;
        self.tally.bytes.fetch_add(len, Ordering::Relaxed);
        Ok(number)
    }

    /// Begins anew while that helps.
    fn persist(
        &self,
        head: &BodyHead,
        payload: &[u8],
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        let (mut restarts, mut earlier) = (0, 0);
        let mut waiting = None;
        loop {
            match self.attempt(head, payload, blocking) {
                Ok(number) => return Ok(number),
                Err(Failure::Publish(error)) => {
                    let of = datagrams(head, payload, self.datagram_len());
                    return Err(after(earlier, of, error));
                }
                Err(Failure::Shrunk { max, sent }) => {
                    earlier += sent;
                    restarts += 1;
                    self.datagram_len.store(max, Ordering::Relaxed);
                    self.tally.restarted.fetch_add(1, Ordering::Relaxed);
                    if restarts == MOST_RESTARTS {
                        return Err(PublishError::MtuUnstable { times: restarts });
                    }
                }
                Err(Failure::NotYet(kind)) => {
                    let since = *waiting.get_or_insert_with(Instant::now);
                    self.await_ready(since, kind, blocking)?;
                }
            }
        }
    }

    /// Sleeps a moment, without the lock, if there is time left.
    fn await_ready(
        &self,
        since: Instant,
        kind: SendErrorKind,
        blocking: Blocking,
    ) -> Result<(), PublishError> {
        match blocking {
            Blocking::No => Err(PublishError::WouldBlock),
            Blocking::Yes if !self.is_open() => Err(PublishError::Closed),
            Blocking::Yes if since.elapsed() >= READY_TIMEOUT => Err(PublishError::Interface(kind)),
            Blocking::Yes => {
                thread::sleep(READY_POLL);
                Ok(())
            }
        }
    }

    fn attempt(&self, head: &BodyHead, payload: &[u8], blocking: Blocking) -> Result<u64, Failure> {
        let datagram_len = self.datagram_len();
        match datagrams(head, payload, datagram_len) {
            1 => self.send_whole(head, payload, blocking),
            of => self.send_fragments(head, payload, datagram_len, of, blocking),
        }
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
        let prefix = whole_message_prefix(self.stream, line.next_sequence, number, body_len)
            .ok_or_else(|| Failure::Shrunk {
                max: line.sender.datagram_len(),
                sent: 0,
            })?;
        let slices = [
            IoSlice::new(&prefix),
            IoSlice::new(head.as_bytes()),
            IoSlice::new(payload),
        ];
        line.send(self, &slices, datagram_len, 1, blocking)
            .map_err(|error| failure(error.kind))?;
        line.take_number(&self.tally);
        Ok(number)
    }

    fn send_fragments(
        &self,
        head: &BodyHead,
        payload: &[u8],
        datagram_len: usize,
        of: usize,
        blocking: Blocking,
    ) -> Result<u64, Failure> {
        let in_train = Sender::train_len(datagram_len).min(TRAIN);
        let train_bytes = |left: usize| left.min(in_train) * datagram_len;
        let first = match blocking {
            Blocking::Yes => train_bytes(of),
            // Admitted as a whole: a message begun must not wait for the pacing.
            Blocking::No => head.as_bytes().len() + payload.len() + of * FRAGMENT_OVERHEAD,
        };
        let mut guard = self.clear_to_send(first, blocking)?;
        let line = guard.as_mut().ok_or(PublishError::Closed)?;
        let number = line.next_number;
        let mut fragments = fragmenter(number, head, payload, datagram_len)?;
        let mut outcome = line.send_fragments(self, &mut fragments, in_train, blocking);
        if fragments.len() < of {
            line.take_number(&self.tally);
        }
        while outcome.is_ok() && fragments.len() > 0 {
            // Others may go between the trains of a message that waits.
            if blocking == Blocking::Yes {
                drop(guard);
                guard = self
                    .clear_to_send(train_bytes(fragments.len()), blocking)
                    .map_err(|error| after(of - fragments.len(), of, error))?;
            }
            outcome = match guard.as_mut() {
                Some(line) => line.send_fragments(self, &mut fragments, in_train, blocking),
                None => Err(PublishError::Closed.into()),
            };
        }
        let sent = of - fragments.len();
        outcome.map(|()| number).map_err(|failure| match failure {
            Failure::Publish(error) => after(sent, of, error).into(),
            Failure::Shrunk { max, .. } => Failure::Shrunk { max, sent },
            Failure::NotYet(kind) if sent > 0 => {
                after(sent, of, PublishError::Interface(kind)).into()
            }
            failure => failure,
        })
    }

    /// Takes the lock; who must not wait does not wait for another publisher.
    fn acquire(&self, blocking: Blocking) -> Result<MutexGuard<'_, Option<Line>>, PublishError> {
        match blocking {
            Blocking::Yes => Ok(lock(&self.line)),
            Blocking::No => try_lock(&self.line).ok_or(PublishError::WouldBlock),
        }
    }

    /// Takes the share of the pacing that `bytes` need, waits until they may go,
    /// and returns with the lock held. Who comes first goes first, whatever its
    /// size; the lock is free while anyone waits.
    fn clear_to_send(
        &self,
        bytes: usize,
        blocking: Blocking,
    ) -> Result<MutexGuard<'_, Option<Line>>, PublishError> {
        let mut guard = self.acquire(blocking)?;
        let line = guard.as_mut().ok_or(PublishError::Closed)?;
        let now = Instant::now();
        let delay = line.pacer.delay(now, bytes);
        if blocking == Blocking::No {
            line.admit(bytes, delay)?;
        } else {
            self.look_at_mtu(line, now);
        }
        line.pacer.sent(now, bytes);
        if delay.is_zero() || blocking == Blocking::No {
            return Ok(guard);
        }
        drop(guard);
        self.pause(now, delay)?;
        Ok(lock(&self.line))
    }

    /// Sleeps until `delay` after `since`, or until closed.
    fn pause(&self, since: Instant, delay: Duration) -> Result<(), PublishError> {
        while let Some(left) = delay
            .checked_sub(since.elapsed())
            .filter(|it| !it.is_zero())
        {
            if !self.is_open() {
                return Err(PublishError::Closed);
            }
            thread::sleep(left.min(LONGEST_SLEEP));
        }
        let waited = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.tally.paced_nanos.fetch_add(waited, Ordering::Relaxed);
        Ok(())
    }

    /// Makes use of an MTU that was raised again, now and then.
    fn look_at_mtu(&self, line: &mut Line, now: Instant) {
        if line.sender.is_limited() && now.duration_since(line.mtu_looked) >= MTU_LOOK {
            line.mtu_looked = now;
            if let Ok(len) = line.sender.refresh_mtu() {
                self.datagram_len.store(len, Ordering::Relaxed);
            }
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
        let sent = self.send(transmitter, slices, datagram_len, count, blocking);
        let (taken, result) = match sent {
            Ok(()) => (count, Ok(())),
            Err(error) => (error.sent, Err(failure(error.kind))),
        };
        if taken > 0 {
            fragments.nth(taken - 1);
        }
        result
    }

    /// Sends one train of `count` datagrams and accounts for it.
    fn send(
        &mut self,
        transmitter: &Transmitter,
        slices: &[IoSlice<'_>],
        datagram_len: usize,
        count: usize,
        blocking: Blocking,
    ) -> Result<(), SendError> {
        let result = self.sender.send_train(slices, datagram_len, blocking);
        let sent = result.as_ref().map_or_else(|error| error.sent, |()| count) as u64;
        self.next_sequence += sent;
        let tally = &transmitter.tally;
        tally.datagrams.fetch_add(sent, Ordering::Relaxed);
        let offload = self.sender.offload();
        transmitter.offload.store(offload, Ordering::Relaxed);
        result
    }
}

/// How many datagrams of up to `datagram_len` bytes a message takes.
fn datagrams(head: &BodyHead, payload: &[u8], datagram_len: usize) -> usize {
    let body_len = head.as_bytes().len() + payload.len();
    if body_len + WHOLE_MESSAGE_OVERHEAD <= datagram_len {
        return 1;
    }
    let fragment = datagram_len.saturating_sub(FRAGMENT_OVERHEAD).max(1);
    body_len.div_ceil(fragment)
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

fn failure(kind: SendErrorKind) -> Failure {
    match kind {
        SendErrorKind::TooLong { max, .. } => Failure::Shrunk { max, sent: 0 },
        SendErrorKind::WouldBlock => PublishError::WouldBlock.into(),
        SendErrorKind::NotReady { soon: true, .. } => Failure::NotYet(kind),
        kind => PublishError::Interface(kind).into(),
    }
}

/// The error that came after `earlier` datagrams of a message had been sent, which
/// takes `of` of them.
fn after(earlier: usize, of: usize, error: PublishError) -> PublishError {
    match error {
        error if earlier == 0 => error,
        PublishError::Partial { sent, of, source } => PublishError::Partial {
            sent: sent + earlier,
            of,
            source,
        },
        error => PublishError::Partial {
            sent: earlier,
            of,
            source: Box::new(error),
        },
    }
}
