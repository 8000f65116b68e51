//! What the lock that sends guards: the socket, the pacing, the numbers.

use std::io::IoSlice;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcl_net::{
    Blocking, Finder, InterfaceChoice, Pacer, Refusal, SendError, SendErrorKind, Sender,
};
use mcl_wire::{FRAGMENT_OVERHEAD, Fragmenter, OutgoingFragment, StreamId, whole_message_prefix};

use crate::error::PublishError;
use crate::interface::Place;
use crate::train::Train;
use crate::transmitter::{Job, Transmitter};

/// The most datagrams in a train; [`Sender::train_len`] never says more.
pub(crate) const MOST_DATAGRAMS: usize = 64;

/// How often a sender that is limited by the MTU looks whether it was raised.
const MTU_LOOK: Duration = Duration::from_secs(5);

/// How often the sender hears what became of its interface.
const ATTEND: Duration = Duration::from_millis(10);

/// The longest message body whose trains are put together before they are sent: the kernel copies
/// one piece of 64 KiB sooner than ninety, by more than that copy costs as long as the
/// message is in the processor's own cache. A payload of 1 MiB has a head besides.
const MOST_STAGED: usize = 2 << 20;

/// Of datagrams as long as this there are few in a train.
const LONG_DATAGRAM: usize = 4 << 10;

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) sender: Sender,
    pub(crate) pacer: Pacer,
    finder: Finder,
    place: Arc<Place>,
    /// Whether the interface is away, as far as sending has met it.
    away: bool,
    next_sequence: u64,
    next_number: u64,
    /// Where a train of fragments is put together.
    staging: Vec<u8>,
    /// When the MTU was looked at last.
    mtu_looked: Instant,
    /// When the sender last heard what became of its interface.
    attended: Instant,
}

/// A failed attempt to send a message.
pub(crate) enum Failure {
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

impl From<SendErrorKind> for Failure {
    fn from(kind: SendErrorKind) -> Self {
        match kind {
            SendErrorKind::TooLong { max, .. } => Self::Shrunk { max, sent: 0 },
            SendErrorKind::WouldBlock => PublishError::WouldBlock.into(),
            SendErrorKind::NotReady { soon: true, .. } => Self::NotYet(kind),
            kind => PublishError::Interface(kind).into(),
        }
    }
}

impl Line {
    pub(crate) fn new(sender: Sender, pacer: Pacer, finder: Finder, place: Arc<Place>) -> Self {
        Self {
            away: !place.is_there(),
            sender,
            pacer,
            finder,
            place,
            next_sequence: 0,
            next_number: 0,
            staging: Vec::new(),
            mtu_looked: Instant::now(),
            attended: Instant::now(),
        }
    }

    /// Lets the sender hear what became of its interface, now and then.
    #[inline]
    pub(crate) fn attend(&mut self, now: Instant) {
        if now.duration_since(self.attended) >= ATTEND {
            self.attended = now;
            let changed = self.sender.attend();
            // Sending goes on over an interface that has lost the address.
            if changed && matches!(self.finder.choice(), InterfaceChoice::Address(_)) {
                let _ = self.find();
            }
        }
    }

    /// Looks for the interface, and sends over it from now on; the error that is to be
    /// told if there is none.
    fn find(&mut self) -> Result<(), Option<SendErrorKind>> {
        let interface = match self.finder.find() {
            Ok(interface) => interface,
            Err(error) if matches!(error.refusal(), Refusal::Look(_)) => {
                self.place.failed();
                return Err(None);
            }
            Err(error) => {
                self.place.refused(&error);
                self.sender.hear_of_all(true);
                // One that was there has an error of its own.
                let awaited = self.sender.interface().is_none();
                let reason = error.into();
                return Err(awaited.then_some(SendErrorKind::NoInterface { reason }));
            }
        };
        self.sender.hear_of_all(false);
        if self.sender.interface() == Some(interface.index()) {
            self.place.found(interface, false);
            return Ok(());
        }
        if let Err(error) = self.sender.move_to(&interface) {
            self.place.failed();
            self.place.lost(error.to_string(), Vec::new());
            return Err(None);
        }
        self.place.found(interface, true);
        Ok(())
    }

    /// After sending failed for want of the interface: whether it is worth another try
    /// over the one that was found.
    fn finds_another(&mut self, error: &mut SendError) -> bool {
        let away = matches!(
            error.kind,
            SendErrorKind::NotReady { soon: false, .. } | SendErrorKind::NoInterface { .. }
        );
        if !away || error.sent > 0 {
            return false;
        }
        match self.find() {
            // The same, too: it has just become usable.
            Ok(()) => true,
            Err(kind) => {
                self.away = true;
                if let Some(kind) = kind {
                    error.kind = kind;
                }
                false
            }
        }
    }

    /// Sending works again.
    #[cold]
    fn is_back(&mut self) {
        self.away = false;
        if let Ok(interface) = self.finder.find() {
            self.place.found(interface, false);
        }
    }

    /// The number of the next message, where the line gives them out.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The next numbers are in use: something of their messages was sent.
    pub(crate) fn take_numbers(&mut self, transmitter: &Transmitter, count: u64) {
        self.next_number += count;
        transmitter.tally().numbers(self.next_number);
    }

    /// Whether `bytes` may go now, and at all, without waiting.
    pub(crate) fn admit(&self, bytes: usize, delay: Duration) -> Result<(), PublishError> {
        match self.pacer.rate() {
            Some(rate) if bytes > rate.burst => Err(PublishError::ExceedsBurst {
                len: bytes,
                burst: rate.burst,
            }),
            _ if delay.is_zero() => Ok(()),
            _ => Err(PublishError::WouldBlock),
        }
    }

    /// Makes use of an MTU that was raised again, now and then; tells the longest
    /// datagram if it has looked.
    pub(crate) fn look_at_mtu(&mut self, now: Instant) -> Option<usize> {
        if !self.sender.is_limited() || now.duration_since(self.mtu_looked) < MTU_LOOK {
            return None;
        }
        self.mtu_looked = now;
        self.sender.refresh_mtu().ok()
    }

    /// Sends a message that fits one datagram, under `number`.
    pub(crate) fn send_whole(
        &mut self,
        transmitter: &Transmitter,
        number: u64,
        job: &Job<'_>,
    ) -> Result<(), Failure> {
        let head = job.head.as_bytes();
        let body_len = head.len() + job.payload.len();
        let (stream, sequence) = (transmitter.stream(), self.next_sequence);
        let prefix =
            whole_message_prefix(stream, sequence, number, body_len).ok_or(Failure::Shrunk {
                max: self.sender.datagram_len(),
                sent: 0,
            })?;
        let slices = [
            IoSlice::new(&prefix),
            IoSlice::new(head),
            IoSlice::new(job.payload),
        ];
        let datagram_len = prefix.len() + body_len;
        self.send(transmitter, &slices, datagram_len, 1, job.blocking)
            .map_err(|error| error.kind.into())
    }

    /// Sends the next train of `fragments`, and takes from it what was sent.
    pub(crate) fn send_fragments(
        &mut self,
        transmitter: &Transmitter,
        fragments: &mut Fragmenter<'_>,
        in_train: usize,
        blocking: Blocking,
    ) -> Result<(), Failure> {
        let count = fragments.len().min(in_train);
        let numbered = numbered(fragments, transmitter.stream(), self.next_sequence, count);
        let datagram_len = usize::from(fragments.fragment_size()) + FRAGMENT_OVERHEAD;
        let sent = if fragments.body_len() <= MOST_STAGED && datagram_len < LONG_DATAGRAM {
            let mut staging = mem::take(&mut self.staging);
            stage(&mut staging, numbered);
            let slices = [IoSlice::new(&staging)];
            let sent = self.send(transmitter, &slices, datagram_len, count, blocking);
            self.staging = staging;
            sent
        } else {
            let mut prefixes = [[0; FRAGMENT_OVERHEAD]; MOST_DATAGRAMS];
            let mut slices = [IoSlice::new(&[]); 3 * MOST_DATAGRAMS];
            let used = gather(&mut slices, &mut prefixes, numbered);
            let slices = slices.get(..used).unwrap_or_default();
            self.send(transmitter, slices, datagram_len, count, blocking)
        };
        let (taken, result) = match sent {
            Ok(()) => (count, Ok(())),
            Err(error) => (error.sent, Err(error.kind.into())),
        };
        if taken > 0 {
            fragments.nth(taken - 1);
        }
        result
    }

    /// Sends what is left of `train`, numbers its messages if nobody has yet, and
    /// takes note in it of what was sent.
    pub(crate) fn send_train(
        &mut self,
        transmitter: &Transmitter,
        train: &mut Train,
        blocking: Blocking,
    ) -> Result<(), Failure> {
        train.set_first_number(self.next_number);
        train.set_sequence(self.next_sequence);
        let count = train.datagrams_left();
        let slices = [IoSlice::new(train.bytes_left())];
        let result = self.send(transmitter, &slices, train.segment_len(), count, blocking);
        let sent = result.as_ref().map_or_else(|error| error.sent, |()| count);
        if sent > 0 {
            if !train.is_numbered() {
                self.take_numbers(transmitter, train.messages());
                train.fix_numbers();
            }
            let (messages, bytes) = train.sent(sent);
            transmitter.tally().messages(messages, bytes);
            transmitter.tally().train(messages);
        }
        result.map_err(|error| error.kind.into())
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
        let mut result = self.sender.send_train(slices, datagram_len, blocking);
        if let Err(error) = &mut result
            && self.finds_another(error)
        {
            transmitter.set_datagram_len(self.sender.datagram_len());
            result = self.sender.send_train(slices, datagram_len, blocking);
        }
        if self.away && result.is_ok() {
            self.is_back();
        }
        let sent = result.as_ref().map_or_else(|error| error.sent, |()| count) as u64;
        self.next_sequence += sent;
        transmitter.tally().datagrams(sent);
        transmitter.set_offload(self.sender.offload());
        result
    }
}

/// What precedes the data of a fragment, and the fragment.
type Numbered<'a> = ([u8; FRAGMENT_OVERHEAD], OutgoingFragment<'a>);

/// The next `count` fragments, the first of which has the number `sequence`.
fn numbered<'a>(
    fragments: &Fragmenter<'a>,
    stream: StreamId,
    mut sequence: u64,
    count: usize,
) -> impl Iterator<Item = Numbered<'a>> + use<'a> {
    fragments.clone().take(count).map(move |fragment| {
        let prefix = fragment.prefix(stream, sequence);
        sequence = sequence.wrapping_add(1);
        (prefix, fragment)
    })
}

/// Puts datagrams together.
fn stage<'a>(staging: &mut Vec<u8>, fragments: impl Iterator<Item = Numbered<'a>>) {
    staging.clear();
    for (prefix, fragment) in fragments {
        staging.extend_from_slice(&prefix);
        staging.extend_from_slice(fragment.head);
        staging.extend_from_slice(fragment.payload);
    }
}

/// Names the parts of datagrams where they are; how many there are.
fn gather<'a>(
    slices: &mut [IoSlice<'a>],
    prefixes: &'a mut [[u8; FRAGMENT_OVERHEAD]],
    fragments: impl Iterator<Item = Numbered<'a>>,
) -> usize {
    let parts = prefixes.iter_mut().zip(fragments);
    let parts = parts.flat_map(|(place, (prefix, fragment))| {
        *place = prefix;
        [&place[..], fragment.head, fragment.payload]
    });
    let mut used = 0;
    for (slice, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
        *slice = IoSlice::new(part);
        used += 1;
    }
    used
}
