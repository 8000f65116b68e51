//! Counting what arrives: cheap enough for millions of messages a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mcl_udp::{Message, Payload, StreamId};

use super::{cpu, payload};
use crate::record::nanos;

/// A counter with one writer, which needs no locked instruction.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }
}

/// What was counted so far, readable by any thread.
#[derive(Debug, Default)]
pub(super) struct Totals {
    msgs: Count,
    bytes: Count,
    lost: Count,
    bad: Count,
    first: Count,
    /// Arrival of the first and of the last message in nanoseconds of the epoch,
    /// by the kernel's stamps: asking a clock per message would cost more than
    /// the message.
    begun: Count,
    ended: Count,
    cpu_at_first: Count,
}

impl Totals {
    pub(super) fn msgs(&self) -> u64 {
        self.msgs.get()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }

    pub(super) fn bad(&self) -> u64 {
        self.bad.get()
    }

    /// The first sequence number seen; what came before it counts as lost.
    pub(super) fn first(&self) -> u64 {
        self.first.get()
    }

    /// From the first message to the last.
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.ended.get().saturating_sub(self.begun.get()))
    }

    /// Processor time of the process when the first message came.
    pub(super) fn cpu_at_first(&self) -> Duration {
        Duration::from_nanos(self.cpu_at_first.get())
    }
}

/// Takes messages in and keeps the totals; one per subscription.
#[derive(Debug, Default)]
pub(super) struct Tally {
    totals: Arc<Totals>,
    /// The length of all payloads, if it is known.
    size: Option<usize>,
    stream: Option<StreamId>,
    /// When the last message came; those of one train came together.
    received: Option<(SystemTime, u64)>,
    expected: u64,
    /// What was expected next of streams that others have interrupted.
    others: Vec<(StreamId, u64)>,
}

impl Tally {
    pub(super) fn new(size: Option<usize>) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    pub(super) fn totals(&self) -> Arc<Totals> {
        Arc::clone(&self.totals)
    }

    #[inline]
    pub(super) fn take(&mut self, message: &Message<Payload>) {
        if self.stream != Some(message.stream) {
            self.change_to(message.stream);
        }
        let received = match self.received {
            Some((time, nanos)) if time == message.received => nanos,
            _ => nanos(message.received),
        };
        self.received = Some((message.received, received));
        self.count(&message.payload, received);
    }

    #[inline]
    fn count(&mut self, bytes: &[u8], received: u64) {
        let right = self.size.is_none_or(|size| size == bytes.len());
        let number = payload::sequence(bytes, self.expected).filter(|_| right);
        let totals = &*self.totals;
        if totals.msgs() == 0 {
            totals.begun.set(received);
            totals.first.set(number.unwrap_or(0));
            totals.cpu_at_first.set(as_nanos(cpu::used()));
        }
        totals.msgs.add(1);
        totals.bytes.add(bytes.len() as u64);
        totals.ended.set(received);
        match number {
            Some(number) if number == self.expected => self.expected += 1,
            Some(number) => self.out_of_order(number),
            None => {
                totals.bad.add(1);
                self.expected += 1;
            }
        }
    }

    /// A gap is lost until what fills it comes late; what fits no gap is wrong.
    fn out_of_order(&mut self, number: u64) {
        if number > self.expected {
            self.totals.lost.add(number - self.expected);
            self.expected = number + 1;
        } else if self.totals.lost() > 0 {
            self.totals.lost.set(self.totals.lost() - 1);
        } else {
            self.totals.bad.add(1);
        }
    }

    /// Another publisher, or one that was started again: it counts for itself.
    #[cold]
    fn change_to(&mut self, stream: StreamId) {
        if let Some(before) = self.stream.replace(stream) {
            self.others.push((before, self.expected));
        }
        let known = self.others.iter().position(|(id, _)| *id == stream);
        self.expected = known.map_or(0, |at| self.others.swap_remove(at).1);
    }
}

pub(super) fn as_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(numbers: &[u64]) -> Tally {
        let mut tally = Tally::default();
        let mut bytes = [0; 32];
        for (at, number) in numbers.iter().enumerate() {
            payload::stamp(&mut bytes, *number);
            tally.count(&bytes, 1_000 + at as u64);
        }
        tally
    }

    #[test]
    fn gaps_are_lost_and_what_comes_late_is_not() {
        let totals = counted(&[2, 3, 7, 5, 8]).totals();
        assert_eq!((totals.msgs(), totals.lost(), totals.bad()), (5, 4, 0));
        assert_eq!((totals.bytes(), totals.first()), (160, 2));
        assert_eq!(totals.elapsed(), Duration::from_nanos(4));
    }

    #[test]
    fn a_repeated_number_is_wrong() {
        let totals = counted(&[0, 1, 1]).totals();
        assert_eq!((totals.lost(), totals.bad()), (0, 1));
    }

    #[test]
    fn a_damaged_payload_is_wrong_and_not_lost_as_well() {
        let mut tally = counted(&[0]);
        let mut bytes = [0; 32];
        payload::stamp(&mut bytes, 1);
        bytes[31] = 1;
        tally.count(&bytes, 2_000);
        payload::stamp(&mut bytes, 2);
        tally.count(&bytes, 2_001);
        let totals = tally.totals();
        assert_eq!((totals.msgs(), totals.lost(), totals.bad()), (3, 0, 1));
    }

    #[test]
    fn a_payload_of_another_length_is_wrong() {
        let mut tally = Tally::new(Some(32));
        tally.count(&[0; 31], 0);
        let totals = tally.totals();
        assert_eq!((totals.msgs(), totals.lost(), totals.bad()), (1, 0, 1));
    }

    #[test]
    fn each_stream_has_its_own_numbers() {
        let mut tally = counted(&[]);
        let mut bytes = [0; 32];
        for (stream, number) in [(1, 0), (2, 0), (1, 1), (2, 3), (1, 2)] {
            tally.change_to_if_other(StreamId(stream));
            payload::stamp(&mut bytes, number);
            tally.count(&bytes, 0);
        }
        let totals = tally.totals();
        assert_eq!((totals.msgs(), totals.lost(), totals.bad()), (5, 2, 0));
    }

    impl Tally {
        fn change_to_if_other(&mut self, stream: StreamId) {
            if self.stream != Some(stream) {
                self.change_to(stream);
            }
        }
    }
}
