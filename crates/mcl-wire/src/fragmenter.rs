//! Cutting a message into fragments, without copying it.

use core::fmt;

use crate::cursor::Writer;
use crate::frame::{
    FRAGMENT_FIELDS_LEN, FRAME_FLAG_NUMBERED, FRAME_FRAGMENT, FRAME_HEADER_LEN, FRAME_MESSAGE,
    fragment_count,
};
use crate::head::BodyHead;
use crate::header::{HEADER_LEN, Header, MAX_DATAGRAM_LEN, MIN_DATAGRAM_LEN, StreamId};
use crate::topic::TopicHash;

/// Bytes of a datagram with one fragment before the fragment's bytes.
pub const FRAGMENT_OVERHEAD: usize = HEADER_LEN + FRAME_HEADER_LEN + FRAGMENT_FIELDS_LEN;
/// Bytes of a datagram with one whole message before the message body.
pub const WHOLE_MESSAGE_OVERHEAD: usize = HEADER_LEN + FRAME_HEADER_LEN + size_of::<u64>();

/// The bytes that make a datagram of one whole message, before its body:
/// header, MESSAGE frame header, message number.
///
/// The datagram is this, then the head, then the payload. `None` if the
/// datagram would be longer than [`MAX_DATAGRAM_LEN`].
#[must_use]
#[inline]
pub fn whole_message_prefix(
    stream: StreamId,
    sequence: u64,
    number: u64,
    body_len: usize,
) -> Option<[u8; WHOLE_MESSAGE_OVERHEAD]> {
    if body_len > MAX_DATAGRAM_LEN - WHOLE_MESSAGE_OVERHEAD {
        return None;
    }
    let frame_len = u16::try_from(body_len + size_of::<u64>()).ok()?;
    let mut prefix = [0; WHOLE_MESSAGE_OVERHEAD];
    Writer::new(&mut prefix)
        .put(&Header::new(stream, sequence).encode())
        .put(&[FRAME_MESSAGE, FRAME_FLAG_NUMBERED])
        .put(&frame_len.to_be_bytes())
        .put(&number.to_be_bytes());
    Some(prefix)
}

/// Cuts a message body into fragments for datagrams of equal length.
///
/// The body is never copied: each [`OutgoingFragment`] borrows its bytes from
/// the head and the payload. Skipping with [`nth`](Iterator::nth) is O(1).
#[derive(Clone, Debug)]
pub struct Fragmenter<'a> {
    number: u64,
    head: &'a [u8],
    payload: &'a [u8],
    topic_hash: TopicHash,
    total: u32,
    size: u16,
    next: u32,
    count: u32,
}

impl<'a> Fragmenter<'a> {
    /// Prepares message `number`, with `head` and `payload`, for datagrams of
    /// `datagram_len` bytes (the last one may be shorter).
    ///
    /// # Errors
    ///
    /// [`FragmentError`] if the body has more than `u32::MAX` bytes, or if the
    /// datagram length is below [`MIN_DATAGRAM_LEN`] or above
    /// [`MAX_DATAGRAM_LEN`].
    pub fn new(
        number: u64,
        head: &'a BodyHead,
        payload: &'a [u8],
        datagram_len: usize,
    ) -> Result<Self, FragmentError> {
        let size = fragment_size(datagram_len)?;
        let len = head.as_bytes().len().saturating_add(payload.len());
        let total = u32::try_from(len).map_err(|_| FragmentError::TooLong { len })?;
        Ok(Self {
            number,
            head: head.as_bytes(),
            payload,
            topic_hash: head.topic_hash(),
            total,
            size,
            next: 0,
            count: fragment_count(total, size),
        })
    }

    /// Bytes in every fragment but the last.
    #[must_use]
    pub const fn fragment_size(&self) -> u16 {
        self.size
    }

    /// Bytes of the whole body, head and payload.
    #[must_use]
    pub const fn body_len(&self) -> usize {
        self.total as usize
    }

    #[inline]
    fn fragment(&self, index: u32) -> OutgoingFragment<'a> {
        let size = usize::from(self.size);
        let start = (index as usize).saturating_mul(size);
        let end = start.saturating_add(size);
        let head_len = self.head.len();
        OutgoingFragment {
            number: self.number,
            total: self.total,
            index,
            topic_hash: self.topic_hash,
            size: self.size,
            head: part(self.head, start, end),
            payload: part(
                self.payload,
                start.saturating_sub(head_len),
                end.saturating_sub(head_len),
            ),
        }
    }
}

fn fragment_size(datagram_len: usize) -> Result<u16, FragmentError> {
    let len = datagram_len;
    if len < MIN_DATAGRAM_LEN {
        return Err(FragmentError::DatagramTooShort { len });
    }
    if len > MAX_DATAGRAM_LEN {
        return Err(FragmentError::DatagramTooLong { len });
    }
    u16::try_from(len - FRAGMENT_OVERHEAD).map_err(|_| FragmentError::DatagramTooLong { len })
}

/// `bytes[start..end]`, cut to what there is.
#[inline]
fn part(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    let len = bytes.len();
    bytes.get(start.min(len)..end.min(len)).unwrap_or_default()
}

impl<'a> Iterator for Fragmenter<'a> {
    type Item = OutgoingFragment<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.nth(0)
    }

    #[inline]
    fn nth(&mut self, skipped: usize) -> Option<Self::Item> {
        let skipped = u32::try_from(skipped).unwrap_or(u32::MAX);
        let index = self.next.saturating_add(skipped);
        if index >= self.count {
            self.next = self.count;
            return None;
        }
        self.next = index.saturating_add(1);
        Some(self.fragment(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.count.saturating_sub(self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fragmenter<'_> {}
impl core::iter::FusedIterator for Fragmenter<'_> {}

/// One fragment, ready to be sent: [`prefix`](Self::prefix), then `head`, then
/// `payload` make the datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct OutgoingFragment<'a> {
    /// The message's number in its stream.
    pub number: u64,
    /// Length of the whole message body in bytes.
    pub total: u32,
    /// Which fragment this is, from 0.
    pub index: u32,
    /// Hash of the message's topic.
    pub topic_hash: TopicHash,
    /// Bytes in every fragment but the last.
    pub size: u16,
    /// The part of the body's head which this fragment carries, often empty.
    pub head: &'a [u8],
    /// The part of the payload which this fragment carries.
    pub payload: &'a [u8],
}

impl OutgoingFragment<'_> {
    /// The bytes of the datagram before the fragment's own.
    #[must_use]
    #[inline]
    pub fn prefix(&self, stream: StreamId, sequence: u64) -> [u8; FRAGMENT_OVERHEAD] {
        let frame_len = FRAGMENT_FIELDS_LEN.saturating_add(self.len());
        // At most 65,435 + 24, by the limits that `Fragmenter::new` sets.
        let frame_len = u16::try_from(frame_len).unwrap_or(u16::MAX);
        let mut prefix = [0; FRAGMENT_OVERHEAD];
        Writer::new(&mut prefix)
            .put(&Header::new(stream, sequence).encode())
            .put(&[FRAME_FRAGMENT, 0])
            .put(&frame_len.to_be_bytes())
            .put(&self.number.to_be_bytes())
            .put(&self.total.to_be_bytes())
            .put(&self.index.to_be_bytes())
            .put(&self.topic_hash.0.to_be_bytes())
            .put(&self.size.to_be_bytes());
        prefix
    }

    #[inline]
    const fn len(&self) -> usize {
        self.head.len().saturating_add(self.payload.len())
    }

    /// Length of the whole datagram, in bytes.
    #[must_use]
    pub const fn datagram_len(&self) -> usize {
        self.len().saturating_add(FRAGMENT_OVERHEAD)
    }
}

/// Why a message cannot be cut into fragments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FragmentError {
    /// The body has more than `u32::MAX` bytes.
    TooLong {
        /// Bytes in the body.
        len: usize,
    },
    /// The datagram length is below [`MIN_DATAGRAM_LEN`].
    DatagramTooShort {
        /// That length.
        len: usize,
    },
    /// The datagram length is above [`MAX_DATAGRAM_LEN`].
    DatagramTooLong {
        /// That length.
        len: usize,
    },
}

impl fmt::Display for FragmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLong { len } => {
                write!(f, "message body of {len} bytes exceeds {}", u32::MAX)
            }
            Self::DatagramTooShort { len } => {
                write!(f, "datagram length {len} is below {MIN_DATAGRAM_LEN}")
            }
            Self::DatagramTooLong { len } => {
                write!(f, "datagram length {len} is above {MAX_DATAGRAM_LEN}")
            }
        }
    }
}

impl core::error::Error for FragmentError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;

    #[test]
    fn datagram_lengths_have_bounds() {
        let head = BodyHead::new(None, &Metadata::new()).unwrap();
        let new = |len| Fragmenter::new(0, &head, &[], len).map(|f| f.fragment_size());
        assert_eq!(new(307), Err(FragmentError::DatagramTooShort { len: 307 }));
        assert_eq!(new(308), Ok(256));
        assert_eq!(new(1452), Ok(1400));
        assert_eq!(new(65_487), Ok(65_435));
        assert_eq!(
            new(65_488),
            Err(FragmentError::DatagramTooLong { len: 65_488 })
        );
    }

    #[test]
    fn skipping_is_exact() {
        let head = BodyHead::new(None, &Metadata::new()).unwrap();
        let payload = [7; 2000];
        let all = Fragmenter::new(0, &head, &payload, 308).unwrap();
        assert_eq!(all.len(), 8);
        for at in 0..8 {
            let mut fragments = all.clone();
            let index = fragments.nth(at).map(|fragment| fragment.index as usize);
            assert_eq!((index, fragments.len()), (Some(at), 7 - at));
        }
        let mut fragments = all.clone();
        assert_eq!(fragments.nth(usize::MAX), None);
        assert_eq!((fragments.len(), fragments.next()), (0, None));
        #[cfg(target_pointer_width = "64")]
        assert_eq!(all.clone().nth(1 << 32), None);
    }

    #[test]
    fn a_head_longer_than_a_fragment_is_cut_too() {
        let topic = "t".repeat(255);
        let head = BodyHead::new(Some(&topic), &Metadata::new()).unwrap();
        let mut fragments = Fragmenter::new(0, &head, &[1, 2], 308).unwrap();
        let first = fragments.next().unwrap();
        assert_eq!((first.head.len(), first.payload.len()), (256, 0));
        let second = fragments.next().unwrap();
        assert_eq!((second.head.len(), second.payload), (3, &[1, 2][..]));
        assert_eq!(fragments.next(), None);
    }

    #[test]
    fn whole_messages_have_a_longest() {
        let prefix = |len| whole_message_prefix(StreamId(0), 0, 0, len).is_some();
        assert!(prefix(0) && prefix(65_451));
        assert!(!prefix(65_452) && !prefix(usize::MAX));
    }
}
