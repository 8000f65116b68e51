//! The datagram that nearly all of a long message's are: a header without
//! extensions and one fragment that fills the rest. Where everything is is known
//! beforehand, so that no frame need be looked for.

use crate::cursor::Reader;
use crate::fragmenter::FRAGMENT_OVERHEAD;
use crate::frame::{self, FRAME_FRAGMENT, Fragment};
use crate::header::{HEADER_LEN, MAGIC, StreamId, VERSION};
use crate::topic::TopicHash;

/// What precedes a fragment's bytes in such a datagram.
type Prefix = [u8; FRAGMENT_OVERHEAD];

/// A datagram that is well-formed and holds a fragment and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plain<'a> {
    pub(crate) stream: StreamId,
    pub(crate) sequence: u64,
    pub(crate) fragment: Fragment<'a>,
}

impl<'a> Plain<'a> {
    /// Bytes of the datagram.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        FRAGMENT_OVERHEAD.saturating_add(self.fragment.data.len())
    }

    /// `None` if the datagram is anything else, malformed for instance.
    #[inline(always)]
    pub(crate) fn new(datagram: &'a [u8]) -> Option<Self> {
        let (prefix, data) = datagram.split_first_chunk()?;
        Self::with_prefix(prefix, data)
    }

    #[inline(always)]
    pub(crate) fn with_prefix(prefix: &Prefix, data: &'a [u8]) -> Option<Self> {
        let Reading {
            plain, is_plain, ..
        } = Reading::of(prefix, data)?;
        is_plain.then_some(plain)
    }
}

/// What a datagram says if it is such a one, and whether it is.
struct Reading<'a> {
    plain: Plain<'a>,
    is_fragment: bool,
    is_plain: bool,
}

impl<'a> Reading<'a> {
    // What the caller does not look at is not read.
    #[inline(always)]
    fn of(prefix: &Prefix, data: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(prefix);
        let &[m0, m1, version, header_len] = reader.array()?;
        let &[critical_flags, _ignorable, _, _] = reader.array()?;
        let has_plain_header = [m0, m1] == MAGIC
            && version == VERSION
            && usize::from(header_len) == HEADER_LEN
            && critical_flags == 0;
        let stream = StreamId(reader.u64()?);
        let sequence = reader.u64()?;
        let &[frame_type, flags] = reader.array()?;
        let frame_len = usize::from(reader.u16()?);
        let fragment = Fragment {
            number: reader.u64()?,
            total: reader.u32()?,
            index: reader.u32()?,
            topic_hash: TopicHash(reader.u32()?),
            size: reader.u16()?,
            data,
        };
        let is_fragment = frame_type == FRAME_FRAGMENT;
        let is_plain = has_plain_header
            && is_fragment
            && flags & frame::CRITICAL_FRAME_FLAGS == 0
            && frame_len == frame::FRAGMENT_FIELDS_LEN.saturating_add(data.len())
            && fragment.is_consistent();
        let plain = Plain {
            stream,
            sequence,
            fragment,
        };
        Some(Self {
            plain,
            is_fragment,
            is_plain,
        })
    }
}

/// What such a datagram says of where its bytes belong, read without a look at the rest: whether it is one has yet to
/// be found out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    pub(crate) stream: StreamId,
    pub(crate) sequence: u64,
    /// The message's number.
    pub(crate) number: u64,
    /// Where in the message the bytes begin.
    pub(crate) start: usize,
    /// How many there are, of one fragment at most.
    pub(crate) len: usize,
}

impl Glance {
    #[inline(always)]
    pub(crate) fn at(datagram: &[u8]) -> Option<Self> {
        let (prefix, data) = datagram.split_first_chunk()?;
        let Reading {
            plain, is_fragment, ..
        } = Reading::of(prefix, data)?;
        let fragment = plain.fragment;
        let glance = Self {
            stream: plain.stream,
            sequence: plain.sequence,
            number: fragment.number,
            start: fragment.offset(),
            len: data.len().min(usize::from(fragment.size)),
        };
        is_fragment.then_some(glance)
    }
}

/// The prefixes that follow that of a fragment, if those after it are sent in a row and are as long:
/// nothing but the sequence number and the index tells them apart.
#[derive(Clone, Debug)]
pub(crate) struct Followers {
    before: [u8; 16],
    sequence: u64,
    between: [u8; 16],
    index: u32,
    after: [u8; 8],
}

impl Followers {
    #[inline]
    pub(crate) fn of(prefix: &Prefix) -> Option<Self> {
        let mut reader = Reader::new(prefix);
        Some(Self {
            before: *reader.array()?,
            sequence: reader.u64()?,
            between: *reader.array()?,
            index: reader.u32()?,
            after: *reader.array()?,
        })
    }

    /// Whether the next one is at the beginning of `datagram`.
    #[inline(always)]
    pub(crate) fn is_begun_by(&mut self, datagram: &[u8]) -> bool {
        let prefix = datagram.first_chunk();
        prefix.is_some_and(|prefix| self.is_next(prefix))
    }

    /// Whether `prefix` is the next one; none is after the end of the numbers.
    #[inline(always)]
    pub(crate) fn is_next(&mut self, prefix: &Prefix) -> bool {
        let next = (self.sequence.checked_add(1), self.index.checked_add(1));
        let (Some(sequence), Some(index), Some(it)) = (next.0, next.1, Self::of(prefix)) else {
            return false;
        };
        (self.sequence, self.index) = (sequence, index);
        // Each is of a length that needs no call.
        it.before == self.before
            && it.sequence == sequence
            && it.between == self.between
            && it.index == index
            && it.after == self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::{BodyHead, Fragmenter, Header, Metadata};
    use alloc::vec::Vec;

    fn datagrams(len: usize) -> Vec<Vec<u8>> {
        let head = BodyHead::new(Some("t"), &Metadata::new()).unwrap();
        let payload = alloc::vec![7; len];
        let fragments = Fragmenter::new(3, &head, &payload, 1452).unwrap();
        let concat = |fragment: crate::OutgoingFragment<'_>| {
            let prefix = fragment.prefix(StreamId(9), 5);
            [&prefix[..], fragment.head, fragment.payload].concat()
        };
        fragments.map(concat).collect()
    }

    /// What the general way makes of a datagram, if it is a lone fragment.
    fn generally(datagram: &[u8]) -> Option<(Header, Fragment<'_>)> {
        let (header, mut frames) = Header::decode(datagram).ok()?;
        match (frames.next()?.ok()?, frames.next()) {
            (Frame::Fragment(fragment), None) => Some((header, fragment)),
            _ => None,
        }
    }

    #[test]
    fn it_is_what_the_general_way_makes_of_it() {
        for datagram in datagrams(5000) {
            let plain = Plain::new(&datagram).unwrap();
            let (header, fragment) = generally(&datagram).unwrap();
            assert_eq!(plain.fragment, fragment);
            let identity = (plain.stream, plain.sequence);
            assert_eq!(identity, (header.stream, header.sequence));
        }
    }

    #[test]
    fn a_glance_says_where_the_bytes_belong() {
        let all = datagrams(5000);
        for datagram in &all {
            let plain = Plain::new(datagram).unwrap();
            let glance = Glance::at(datagram).unwrap();
            assert_eq!(glance.stream, plain.stream);
            assert_eq!(glance.sequence, plain.sequence);
            assert_eq!(glance.number, plain.fragment.number);
            assert_eq!(glance.start, plain.fragment.offset());
            assert_eq!(glance.len, plain.fragment.data.len());
        }
        let train = all[1..3].concat();
        assert_eq!(
            Glance::at(&train).unwrap().len,
            1400,
            "of a train the first"
        );
        assert!(Glance::at(&all[0][..FRAGMENT_OVERHEAD - 1]).is_none());
        let mut other = all[0].clone();
        other[HEADER_LEN] = frame::FRAME_MESSAGE;
        assert!(Glance::at(&other).is_none());
    }

    #[test]
    fn those_that_follow_are_known_by_their_prefixes() {
        let head = BodyHead::new(Some("t"), &Metadata::new()).unwrap();
        let payload = alloc::vec![7; 10_000];
        let fragments = Fragmenter::new(3, &head, &payload, 1452).unwrap();
        let prefixes = fragments.zip(u64::from(u32::MAX)..);
        let prefixes: Vec<Prefix> = prefixes
            .map(|(fragment, sequence)| fragment.prefix(StreamId(9), sequence))
            .collect();
        let followers = Followers::of(&prefixes[1]).unwrap();
        let mut all = followers.clone();
        let (last, equal) = prefixes.split_last().unwrap();
        assert!(equal.len() > 5 && equal[2..].iter().all(|it| all.is_next(it)));
        assert!(!all.is_next(last), "it is shorter");
        for at in 0..FRAGMENT_OVERHEAD {
            let mut damaged = prefixes[2];
            damaged[at] ^= 1;
            assert!(!followers.clone().is_next(&damaged), "{at}");
        }
    }

    #[test]
    fn whatever_byte_is_damaged_the_general_way_agrees() {
        let mut seen = [0; 2];
        for datagram in [0, 3].map(|at| datagrams(5000).remove(at)) {
            for at in 0..FRAGMENT_OVERHEAD {
                for value in 0..=255 {
                    let mut damaged = datagram.clone();
                    damaged[at] = value;
                    let general = generally(&damaged);
                    match Plain::new(&damaged) {
                        Some(plain) => {
                            let (header, fragment) = general.unwrap();
                            assert_eq!(plain.fragment, fragment, "{at} {value}");
                            assert_eq!(
                                (plain.stream, plain.sequence),
                                (header.stream, header.sequence)
                            );
                            seen[0] += 1;
                        }
                        // Header extensions are for the general way.
                        None if at == 3 => {}
                        None => {
                            assert_eq!(general, None, "{at} {value}");
                            seen[1] += 1;
                        }
                    }
                }
            }
            for len in [0, 51, 52, 53, datagram.len() - 1] {
                assert_eq!(Plain::new(&datagram[..len]), None);
            }
        }
        assert!(seen.iter().all(|times| *times > 1000), "{seen:?}");
    }
}
