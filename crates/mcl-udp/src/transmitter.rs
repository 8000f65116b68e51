//! From message bodies to trains of datagrams.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use mcl_net::{Blocking, Finder, Pacer, SendErrorKind, Sender};
use mcl_wire::{
    Body, BodyHead, FRAGMENT_OVERHEAD, FragmentError, Fragmenter, StreamId, WHOLE_MESSAGE_OVERHEAD,
    WholeMessage,
};

use crate::error::PublishError;
use crate::interface::Place;
use crate::line::{Failure, Line, MOST_DATAGRAMS};
use crate::sync::{lock, try_lock};
use crate::tally::Tally;
use crate::trace;
use crate::train::Train;

/// How often one message is begun anew because the MTU fell.
const MOST_RESTARTS: u32 = 8;

/// How long a publisher waits for the address of a fresh interface.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it looks whether the address is there.
const READY_POLL: Duration = Duration::from_millis(20);

/// How long a publisher sleeps at a time, so that closing is not kept waiting.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

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
    /// Whether anybody may publish, and whether what was begun may go on.
    open: AtomicBool,
    halted: AtomicBool,
    place: Arc<Place>,
    tally: Tally,
}

/// One message to be sent by itself.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) head: &'a BodyHead,
    pub(crate) payload: &'a [u8],
    pub(crate) blocking: Blocking,
    /// Its number, if it has one already; else the line gives it the next.
    pub(crate) number: Option<u64>,
    pub(crate) upstream: Option<&'a dyn Upstream>,
}

/// What stands before the transmitter and gives out the numbers instead of it.
pub(crate) trait Upstream {
    /// The number under which a message begins anew.
    fn take_number(&self) -> u64;

    /// Lets others go between two trains of a long message.
    fn between_trains(&self);
}

impl Transmitter {
    pub(crate) fn new(
        stream: StreamId,
        sender: Sender,
        pacer: Pacer,
        finder: Finder,
        place: Arc<Place>,
    ) -> Self {
        trace::broadcaster_opened(stream, sender.group());
        Self {
            stream,
            datagram_len: AtomicUsize::new(sender.datagram_len()),
            offload: AtomicBool::new(sender.offload()),
            line: Mutex::new(Some(Line::new(sender, pacer, finder, Arc::clone(&place)))),
            place,
            open: AtomicBool::new(true),
            halted: AtomicBool::new(false),
            tally: Tally::default(),
        }
    }

    #[inline]
    pub(crate) fn stream(&self) -> StreamId {
        self.stream
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    #[inline]
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Lets nothing new in; `true` the first time.
    pub(crate) fn shut(&self) -> bool {
        let first = self.open.swap(false, Ordering::AcqRel);
        if first {
            trace::broadcaster_closing(self.stream);
        }
        first
    }

    /// Ends what is under way and closes the socket.
    pub(crate) fn halt(&self) {
        self.halted.store(true, Ordering::Release);
        *lock(&self.line) = None;
        self.place.hub().close();
    }

    fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Whether trains go out by segmentation offload.
    pub(crate) fn offload(&self) -> bool {
        self.offload.load(Ordering::Relaxed)
    }

    pub(crate) fn set_offload(&self, offload: bool) {
        self.offload.store(offload, Ordering::Relaxed);
    }

    /// The longest datagram.
    #[inline]
    pub(crate) fn datagram_len(&self) -> usize {
        self.datagram_len.load(Ordering::Relaxed)
    }

    pub(crate) fn set_datagram_len(&self, len: usize) {
        self.datagram_len.store(len, Ordering::Relaxed);
    }

    /// Sends one message and tells its number. Begins anew while that helps.
    pub(crate) fn transmit(&self, job: &Job<'_>) -> Result<u64, PublishError> {
        let (mut restarts, mut earlier) = (0, 0);
        let mut waiting = None;
        let mut job = *job;
        loop {
            let outcome = self.attempt(&job);
            self.place.tell();
            match outcome {
                Ok(number) => return Ok(number),
                Err(Failure::Publish(error)) => {
                    let of = job.datagrams(self.datagram_len());
                    return Err(after(earlier, of, error));
                }
                Err(Failure::Shrunk { max, sent }) => {
                    earlier += sent;
                    restarts += 1;
                    self.set_datagram_len(max);
                    self.tally.restarted();
                    if restarts == MOST_RESTARTS {
                        return Err(PublishError::MtuUnstable { times: restarts });
                    }
                    if sent > 0 {
                        job.number = job.upstream.map(Upstream::take_number);
                    }
                }
                Err(Failure::NotYet(kind)) => {
                    let since = *waiting.get_or_insert_with(Instant::now);
                    self.await_ready(since, kind, job.blocking)?;
                }
            }
        }
    }

    /// Sends what is left of a train that messages share. What cannot be sent
    /// stays in it.
    pub(crate) fn transmit_train(
        &self,
        train: &mut Train,
        upstream: Option<&dyn Upstream>,
        blocking: Blocking,
    ) -> Result<(), PublishError> {
        let mut waiting = None;
        while !train.is_cut() {
            let outcome = self.attempt_train(train, blocking);
            self.place.tell();
            match outcome {
                Ok(()) => return Ok(()),
                Err(Failure::Publish(error)) => return Err(error),
                Err(Failure::Shrunk { max, .. }) => {
                    self.set_datagram_len(max);
                    self.tally.restarted();
                    train.cut();
                }
                Err(Failure::NotYet(kind)) => {
                    let since = *waiting.get_or_insert_with(Instant::now);
                    self.await_ready(since, kind, blocking)?;
                }
            }
        }
        self.transmit_singly(train, upstream, blocking)
    }

    fn attempt_train(&self, train: &mut Train, blocking: Blocking) -> Result<(), Failure> {
        let mut guard = self.clear_to_send(train.bytes_left().len(), blocking)?;
        let line = guard.as_mut().ok_or(PublishError::Closed)?;
        line.send_train(self, train, blocking)
    }

    /// Sends each message of a train by itself, as the link carries them now. It
    /// is once for a fall of the MTU that this costs a system call a message.
    fn transmit_singly(
        &self,
        train: &mut Train,
        upstream: Option<&dyn Upstream>,
        blocking: Blocking,
    ) -> Result<(), PublishError> {
        let numbered = train.is_numbered();
        let (mut done, mut numbers) = (0, 0..0);
        let result = train.left().try_for_each(|message| {
            let number = self.transmit_again(&message, numbered, upstream, blocking)?;
            let first = if done == 0 { number } else { numbers.start };
            numbers = first..number + 1;
            done += 1;
            Ok(())
        });
        train.sent_singly(done, numbers);
        result
    }

    fn transmit_again(
        &self,
        message: &WholeMessage<'_>,
        numbered: bool,
        upstream: Option<&dyn Upstream>,
        blocking: Blocking,
    ) -> Result<u64, PublishError> {
        // It was written by us: it decodes, and its head is as it was.
        let body = Body::decode(message.body).map_err(unsendable)?;
        let head = BodyHead::new(body.topic(), &body.metadata()).map_err(unsendable)?;
        self.transmit(&Job {
            head: &head,
            payload: body.payload(),
            blocking,
            number: numbered.then_some(message.number),
            upstream,
        })
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
            Blocking::Yes if self.is_halted() => Err(PublishError::Closed),
            Blocking::Yes if since.elapsed() >= READY_TIMEOUT => Err(PublishError::Interface(kind)),
            Blocking::Yes => {
                thread::sleep(READY_POLL);
                Ok(())
            }
        }
    }

    fn attempt(&self, job: &Job<'_>) -> Result<u64, Failure> {
        let datagram_len = self.datagram_len();
        match job.datagrams(datagram_len) {
            1 => self.send_whole(job),
            of => self.send_fragments(job, datagram_len, of),
        }
    }

    fn send_whole(&self, job: &Job<'_>) -> Result<u64, Failure> {
        let datagram_len = WHOLE_MESSAGE_OVERHEAD + job.body_len();
        let mut guard = self.clear_to_send(datagram_len, job.blocking)?;
        let line = guard.as_mut().ok_or(PublishError::Closed)?;
        let number = job.number.unwrap_or(line.next_number());
        line.send_whole(self, number, job)?;
        if job.number.is_none() {
            line.take_numbers(self, 1);
        }
        self.tally.messages(1, job.payload.len() as u64);
        Ok(number)
    }

    fn send_fragments(
        &self,
        job: &Job<'_>,
        datagram_len: usize,
        of: usize,
    ) -> Result<u64, Failure> {
        let blocking = job.blocking;
        let in_train = evenly(of, Sender::train_len(datagram_len).min(MOST_DATAGRAMS));
        let train_bytes = |left: usize| left.min(in_train) * datagram_len;
        let first = match blocking {
            Blocking::Yes => train_bytes(of),
            // Admitted as a whole: a message begun must not wait for the pacing.
            Blocking::No => job.body_len() + of * FRAGMENT_OVERHEAD,
        };
        let mut guard = self.clear_to_send(first, blocking)?;
        let line = guard.as_mut().ok_or(PublishError::Closed)?;
        let number = job.number.unwrap_or(line.next_number());
        let mut fragments = job.fragmenter(number, datagram_len)?;
        let mut outcome = line.send_fragments(self, &mut fragments, in_train, blocking);
        if fragments.len() < of && job.number.is_none() {
            line.take_numbers(self, 1);
        }
        while outcome.is_ok() && fragments.len() > 0 {
            // Others may go between the trains of a message that waits.
            if blocking == Blocking::Yes {
                drop(guard);
                if let Some(upstream) = job.upstream {
                    upstream.between_trains();
                }
                guard = self
                    .clear_to_send(train_bytes(fragments.len()), blocking)
                    .map_err(|error| after(of - fragments.len(), of, error))?;
            }
            outcome = match guard.as_mut() {
                Some(line) => line.send_fragments(self, &mut fragments, in_train, blocking),
                None => Err(PublishError::Closed.into()),
            };
        }
        if outcome.is_ok() {
            self.tally.messages(1, job.payload.len() as u64);
        }
        drop(guard);
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
        line.attend(now);
        let delay = line.pacer.delay(now, bytes);
        if blocking == Blocking::No {
            line.admit(bytes, delay)?;
        } else if let Some(len) = line.look_at_mtu(now) {
            self.set_datagram_len(len);
        }
        line.pacer.sent(now, bytes);
        if delay.is_zero() || blocking == Blocking::No {
            return Ok(guard);
        }
        drop(guard);
        self.pause(now, delay)?;
        Ok(lock(&self.line))
    }

    /// Sleeps until `delay` after `since`, or until halted.
    fn pause(&self, since: Instant, delay: Duration) -> Result<(), PublishError> {
        while let Some(left) = delay
            .checked_sub(since.elapsed())
            .filter(|it| !it.is_zero())
        {
            if self.is_halted() {
                return Err(PublishError::Closed);
            }
            thread::sleep(left.min(LONGEST_SLEEP));
        }
        self.tally.paced(since.elapsed());
        Ok(())
    }
}

impl<'a> Job<'a> {
    fn body_len(&self) -> usize {
        self.head.as_bytes().len() + self.payload.len()
    }

    /// How many datagrams of up to `datagram_len` bytes the message takes.
    fn datagrams(&self, datagram_len: usize) -> usize {
        let body_len = self.body_len();
        if body_len + WHOLE_MESSAGE_OVERHEAD <= datagram_len {
            return 1;
        }
        let fragment = datagram_len.saturating_sub(FRAGMENT_OVERHEAD).max(1);
        body_len.div_ceil(fragment)
    }

    fn fragmenter(&self, number: u64, datagram_len: usize) -> Result<Fragmenter<'a>, PublishError> {
        let fragments = Fragmenter::new(number, self.head, self.payload, datagram_len);
        fragments.map_err(|error| match error {
            FragmentError::TooLong { len } => PublishError::TooLarge {
                len,
                max: u32::MAX as usize - self.head.as_bytes().len(),
            },
            // The link's MTU fell below what IPv6 demands (1280).
            error => unsendable(error),
        })
    }
}

fn unsendable(error: impl std::error::Error + Send + Sync + 'static) -> PublishError {
    PublishError::Interface(SendErrorKind::Io(std::io::Error::other(error)))
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

/// How many of `count` datagrams go in each train, if as few trains as hold them, `most` in each,
/// are to be of one length: so the receiver is at work on one while the next is sent, and
/// a message that needs two is there sooner than with a long one and a short one.
const fn evenly(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trains_are_of_one_length_and_no_more_than_need_be() {
        assert_eq!(evenly(47, 45), 24);
        assert_eq!(evenly(45, 45), 45);
        assert_eq!(evenly(2, 45), 2);
        assert_eq!(evenly(751, 45), 45);
        assert_eq!(evenly(91, 45), 31);
        for count in 2..500 {
            let each = evenly(count, 45);
            assert!(
                each <= 45 && count.div_ceil(each) == count.div_ceil(45),
                "{count}"
            );
        }
    }
}
