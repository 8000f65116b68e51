//! Trains of datagrams as they arrive.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, SystemTime};

use crate::notes::Notes;

/// The largest train that receive offload hands over: one IPv6 datagram's worth
/// of payload (RFC 8200, section 3), rounded up.
pub(crate) const TRAIN_CAPACITY: usize = 64 * 1024;

/// Where the source of a datagram is not known.
const NOWHERE: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);

/// What came with a train of datagrams: all of one length, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    len: usize,
    stride: usize,
    source: SocketAddrV6,
    time: Option<Duration>,
    pub(crate) dropped: u32,
}

impl Arrival {
    /// Of `len` bytes, from `source` if that is known.
    pub(crate) fn new(len: usize, source: Option<SocketAddrV6>, notes: &Notes) -> Self {
        Self {
            len,
            // An empty datagram has no stride, but is one.
            stride: notes.stride.unwrap_or(len).max(1),
            source: source.unwrap_or(NOWHERE),
            time: notes.time,
            dropped: 0,
        }
    }

    /// How many trains, or single datagrams, the kernel has dropped for want of room in the receive
    /// buffer since it took in the one that was received before (`SO_RXQ_OVFL`, socket(7)): those did come, and
    /// will not come again.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Bytes of all datagrams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is one datagram without a byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of each datagram but the last, which may be shorter; at least 1.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// How many datagrams, at least 1.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.len.div_ceil(self.stride).max(1)
    }

    /// The sender's address and port.
    #[must_use]
    pub fn source(&self) -> SocketAddrV6 {
        self.source
    }

    /// When the kernel received it (`SO_TIMESTAMPNS`, the system's clock), if
    /// the kernel says.
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        self.time
            .and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since))
    }

    /// The datagrams of a train whose bytes are `bytes`, in order of sending.
    pub fn split<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = bytes.get(..self.len).unwrap_or(bytes);
        // An empty datagram travels alone.
        let empty = bytes.is_empty().then_some(bytes);
        empty.into_iter().chain(bytes.chunks(self.stride))
    }
}

/// A train of datagrams where it was received.
#[derive(Clone, Copy, Debug)]
pub struct Train<'a> {
    arrival: Arrival,
    bytes: &'a [u8],
}

impl<'a> Train<'a> {
    /// What came with it.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// The bytes of its datagrams, in order of sending: each as long as its
    /// [stride](Arrival::stride), but for the last.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes.get(..self.arrival.len).unwrap_or(self.bytes)
    }

    /// Its datagrams, in order of sending.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.arrival.split(self.bytes)
    }
}

/// Room for trains of datagrams, 64 KiB each; made once, filled many times.
#[derive(Debug)]
pub struct TrainBuffer {
    bytes: Vec<u8>,
    /// What was received into each place; at least one.
    arrivals: Vec<Option<Arrival>>,
}

impl TrainBuffer {
    /// Room for one.
    #[must_use]
    pub fn new() -> Self {
        Self::for_trains(1)
    }

    /// Room for as many as [`Receiver::recv_many`](crate::Receiver::recv_many) is to receive at once;
    /// for one, if `count` is zero. One allocation for all their bytes: the system gives memory that is
    /// not written to only by name.
    #[must_use]
    pub fn for_trains(count: usize) -> Self {
        let count = count.max(1);
        Self {
            bytes: vec![0; count * TRAIN_CAPACITY],
            arrivals: vec![None; count],
        }
    }

    /// How many trains it has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.arrivals.len()
    }

    /// What is known of the train that the last [`Receiver::recv`](crate::Receiver::recv) brought, if it
    /// brought one; of several, the first.
    #[must_use]
    pub fn arrival(&self) -> Option<Arrival> {
        self.arrivals.first().copied().flatten()
    }

    /// The datagrams that the last [`Receiver::recv`](crate::Receiver::recv) brought, in order of sending;
    /// none if it brought none.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let train = self.train(0).into_iter();
        train.flat_map(|train| train.datagrams())
    }

    /// Of the trains that the last [`Receiver::recv_many`](crate::Receiver::recv_many) brought the one in place
    /// `index`; `None` if it brought none there.
    #[must_use]
    pub fn train(&self, index: usize) -> Option<Train<'_>> {
        let arrival = (*self.arrivals.get(index)?)?;
        let bytes = self.bytes.get(index * TRAIN_CAPACITY..)?;
        Some(Train { arrival, bytes })
    }

    /// Puts together the train that the last [`Receiver::recv_split`](crate::Receiver::recv_split) received
    /// into `place`, and into this behind `head` bytes: as if [`Receiver::recv`](crate::Receiver::recv) had
    /// received it.
    pub fn gather(&mut self, arrival: &Arrival, head: usize, place: &[u8]) {
        let len = arrival.len().saturating_sub(head);
        let rest = self.room().get_mut(head..).unwrap_or_default();
        if let (Some(to), Some(from)) = (rest.get_mut(..len), place.get(..len)) {
            to.copy_from_slice(from);
        }
        self.note([Some(*arrival)]);
    }

    /// What [`Receiver::recv_split`](crate::Receiver::recv_split) received first: `N` bytes, however many it was to.
    #[must_use]
    pub fn head<const N: usize>(&self) -> Option<&[u8; N]> {
        self.bytes.first_chunk()
    }

    /// The room for the first train.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.rooms().next().unwrap_or_default()
    }

    /// The room for each.
    pub(crate) fn rooms(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.bytes.chunks_exact_mut(TRAIN_CAPACITY)
    }

    /// Notes what was received into each place, from the first; nothing into others.
    pub(crate) fn note(&mut self, arrivals: impl IntoIterator<Item = Option<Arrival>>) {
        let mut arrivals = arrivals.into_iter();
        for place in &mut self.arrivals {
            *place = arrivals.next().flatten();
        }
    }
}

impl Default for TrainBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_several_is_in_one_piece() {
        let arrival = |len| Arrival {
            len,
            stride: 1,
            source: NOWHERE,
            time: None,
            dropped: 0,
        };
        let mut buffer = TrainBuffer::for_trains(3);
        for (room, byte) in buffer.rooms().zip(*b"abc") {
            room[..2].fill(byte);
        }
        buffer.note([Some(arrival(1)), None, Some(arrival(2))]);
        let datagrams = |index| {
            let train = buffer.train(index)?;
            Some(train.datagrams().collect::<Vec<_>>())
        };
        assert_eq!(datagrams(0), Some(vec![&b"a"[..]]));
        assert_eq!(datagrams(1), None);
        assert_eq!(datagrams(2), Some(vec![&b"c"[..], b"c"]));
        let bytes = [0, 2].map(|index| buffer.train(index).unwrap().bytes());
        assert_eq!(bytes, [&b"a"[..], b"cc"]);
        assert_eq!((datagrams(3), buffer.capacity()), (None, 3));
        assert_eq!(TrainBuffer::for_trains(0).capacity(), 1);
    }

    #[test]
    fn a_train_is_cut_at_its_stride() {
        let arrival = |len| Arrival {
            len,
            stride: 2,
            source: NOWHERE,
            time: None,
            dropped: 0,
        };
        let split = |len| arrival(len).split(b"aabbc rest").collect::<Vec<_>>();
        assert_eq!(split(5), [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(split(0), [&b""[..]]);
        assert_eq!((arrival(5).datagrams(), arrival(0).datagrams()), (3, 1));
    }
}
