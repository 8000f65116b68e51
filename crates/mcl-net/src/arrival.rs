//! Trains of datagrams as they arrive.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{Duration, SystemTime};

use crate::notes::Notes;

/// The largest train that receive offload hands over: one IPv6 datagram's worth
/// of payload (RFC 8200, section 3), rounded up.
const TRAIN_CAPACITY: usize = 64 * 1024;

/// Where the source of a datagram is not known.
const NOWHERE: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);

/// What came with a train of datagrams: all of one length, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    len: usize,
    stride: usize,
    source: SocketAddrV6,
    time: Option<Duration>,
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
        }
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

/// Room for a train of datagrams, 64 KiB; made once, filled many times.
#[derive(Debug)]
pub struct TrainBuffer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) arrival: Option<Arrival>,
}

impl TrainBuffer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; TRAIN_CAPACITY],
            arrival: None,
        }
    }

    /// What is known of the train that the last [`Receiver::recv`](crate::Receiver::recv) brought, if it
    /// brought one.
    #[must_use]
    pub fn arrival(&self) -> Option<Arrival> {
        self.arrival
    }

    /// The datagrams that the last [`Receiver::recv`](crate::Receiver::recv) brought, in order of sending;
    /// none if it brought none.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let arrival = self.arrival.iter();
        arrival.flat_map(|arrival| arrival.split(&self.bytes))
    }

    /// All the room, for [`Receiver::recv_vectored`](crate::Receiver::recv_vectored).
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Takes over a train that [`Receiver::recv_vectored`](crate::Receiver::recv_vectored) has put elsewhere: its
    /// bytes are those of `parts`, one after the other.
    pub fn gather<'a>(&mut self, arrival: Arrival, parts: impl Iterator<Item = &'a [u8]>) {
        let mut room = self.bytes.as_mut_slice();
        for part in parts {
            let len = part.len().min(room.len());
            let (place, rest) = room.split_at_mut(len);
            place.copy_from_slice(part.get(..len).unwrap_or_default());
            room = rest;
        }
        self.arrival = Some(arrival);
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
    fn a_train_is_cut_at_its_stride() {
        let arrival = |len| Arrival {
            len,
            stride: 2,
            source: NOWHERE,
            time: None,
        };
        let split = |len| arrival(len).split(b"aabbc rest").collect::<Vec<_>>();
        assert_eq!(split(5), [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(split(0), [&b""[..]]);
        assert_eq!((arrival(5).datagrams(), arrival(0).datagrams()), (3, 1));
    }
}
