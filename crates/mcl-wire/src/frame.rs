//! Frames: what a datagram holds after its header.

use core::fmt;
use core::num::NonZeroU32;

use crate::cursor::Reader;
use crate::topic::TopicHash;

/// Length of type, flags and length of a frame, in bytes.
pub const FRAME_HEADER_LEN: usize = 4;
/// Length of a FRAGMENT frame's fields before the fragment's bytes.
pub const FRAGMENT_FIELDS_LEN: usize = 24;
/// Smallest legal fragment size, in bytes.
pub const MIN_FRAGMENT_SIZE: u16 = 256;

/// Frame type: everything from here to the datagram's end is padding.
pub const FRAME_PADDING: u8 = 0x00;
/// Frame type: a whole message.
pub const FRAME_MESSAGE: u8 = 0x01;
/// Frame type: a fragment of a message.
pub const FRAME_FRAGMENT: u8 = 0x02;
/// Reserved frame type, ignorable: oldest held and highest sent sequence number.
pub const FRAME_HEARTBEAT: u8 = 0x80;
/// Reserved frame type, ignorable: ranges of datagrams to send again.
pub const FRAME_REPAIR_REQUEST: u8 = 0x81;
/// Reserved frame type, ignorable: datagrams that cannot be sent again.
pub const FRAME_UNAVAILABLE: u8 = 0x82;
/// Reserved frame type, ignorable: parity across fragments.
pub const FRAME_PARITY: u8 = 0x83;
/// Reserved frame type, ignorable: how far a listener can be sent to.
pub const FRAME_FLOW_CREDIT: u8 = 0x84;

/// MESSAGE flag: the message number precedes the body.
pub const FRAME_FLAG_NUMBERED: u8 = 0x10;

/// The bit that tells an ignorable frame type from a critical one.
const IGNORABLE_TYPE: u8 = 0x80;
/// The nibble of the frame flags which a receiver must understand.
pub(crate) const CRITICAL_FRAME_FLAGS: u8 = 0xF0;

/// One frame of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// A whole message.
    Message(WholeMessage<'a>),
    /// A fragment of a message.
    Fragment(Fragment<'a>),
    /// A frame of an ignorable type that version 1 does not act upon.
    Ignored {
        /// Its type, 0x80 to 0xFF.
        frame_type: u8,
        /// What it holds.
        body: &'a [u8],
    },
    /// Padding to the datagram's end.
    Padding {
        /// Bytes of padding, its type byte included.
        len: usize,
    },
}

/// A message that travels in one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct WholeMessage<'a> {
    /// The message's number in its stream, written or implied.
    pub number: u64,
    /// The message body, not yet looked at.
    pub body: &'a [u8],
}

/// A part of a message body. Its fields have been checked against each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Fragment<'a> {
    /// The message's number in its stream.
    pub number: u64,
    /// Length of the whole message body in bytes, at least 1.
    pub total: u32,
    /// Which fragment this is, from 0, below [`count`](Self::count).
    pub index: u32,
    /// Hash of the message's topic.
    pub topic_hash: TopicHash,
    /// Bytes in every fragment but the last, at least [`MIN_FRAGMENT_SIZE`].
    pub size: u16,
    /// The fragment's bytes; their number is what index, size and total demand.
    pub data: &'a [u8],
}

impl Fragment<'_> {
    /// How many fragments the message has.
    #[must_use]
    #[inline]
    pub const fn count(&self) -> NonZeroU32 {
        // total >= 1 and size >= 256 were checked when the frame was read.
        match NonZeroU32::new(fragment_count(self.total, self.size)) {
            Some(count) => count,
            None => NonZeroU32::MIN,
        }
    }

    /// Whether its fields fit each other. Says the same as [`check_fragment`],
    /// but not why.
    #[cfg(feature = "alloc")]
    #[inline(always)]
    pub(crate) fn is_consistent(&self) -> bool {
        // Every factor has 32 bits at most.
        let offset = u64::from(self.index).saturating_mul(u64::from(self.size));
        let left = u64::from(self.total).saturating_sub(offset);
        let expected = left.min(u64::from(self.size));
        self.size >= MIN_FRAGMENT_SIZE && expected > 0 && self.data.len() as u64 == expected
    }

    /// Where in the message body the fragment's bytes begin.
    #[must_use]
    #[inline]
    pub const fn offset(&self) -> usize {
        (self.index as usize).saturating_mul(self.size as usize)
    }
}

/// ceil(total / size); 0 for a total or size of 0.
#[inline]
pub(crate) const fn fragment_count(total: u32, size: u16) -> u32 {
    if size == 0 {
        return 0;
    }
    total.div_ceil(size as u32)
}

/// Bytes of fragment `index`, if there is one: `size`, or what the last one has left.
#[inline]
fn fragment_len(total: u32, size: u16, index: u32) -> Option<usize> {
    let offset = index.checked_mul(u32::from(size))?;
    let left = total.checked_sub(offset)?;
    Some(left.min(u32::from(size)) as usize)
}

/// The frames of a datagram, one after the other; nothing follows an error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
    previous: Option<u64>,
    unsequenced: bool,
}

impl<'a> Frames<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8], unsequenced: bool) -> Self {
        Self {
            reader: Reader::new(bytes),
            previous: None,
            unsequenced,
        }
    }

    #[inline(always)]
    fn frame(&mut self) -> Result<Frame<'a>, FrameError> {
        if self.reader.rest().first() == Some(&FRAME_PADDING) {
            let len = self.reader.len();
            self.reader = Reader::new(&[]);
            return Ok(Frame::Padding { len });
        }
        let [frame_type, flags, high, low] = self.header()?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let body = self.take(len)?;
        match frame_type {
            FRAME_MESSAGE => self.message(flags, body).map(Frame::Message),
            FRAME_FRAGMENT => self.fragment(flags, body).map(Frame::Fragment),
            // Its flags belong to a type that is skipped: they bind nobody here.
            IGNORABLE_TYPE.. => Ok(Frame::Ignored { frame_type, body }),
            _ => Err(FrameError::CriticalType { frame_type }),
        }
    }

    #[inline(always)]
    fn header(&mut self) -> Result<[u8; FRAME_HEADER_LEN], FrameError> {
        let got = self.reader.len();
        let needed = FRAME_HEADER_LEN;
        self.reader
            .array()
            .copied()
            .ok_or(FrameError::Truncated { needed, got })
    }

    #[inline(always)]
    fn take(&mut self, needed: usize) -> Result<&'a [u8], FrameError> {
        let got = self.reader.len();
        self.reader
            .take(needed)
            .ok_or(FrameError::Truncated { needed, got })
    }

    #[inline(always)]
    fn message(&mut self, flags: u8, body: &'a [u8]) -> Result<WholeMessage<'a>, FrameError> {
        self.check_flags(FRAME_MESSAGE, flags, FRAME_FLAG_NUMBERED)?;
        let mut reader = Reader::new(body);
        let number = if flags & FRAME_FLAG_NUMBERED == 0 {
            self.implied_number()?
        } else {
            reader.u64().ok_or(FrameError::Truncated {
                needed: size_of::<u64>(),
                got: body.len(),
            })?
        };
        self.previous = Some(number);
        Ok(WholeMessage {
            number,
            body: reader.rest(),
        })
    }

    #[inline(always)]
    fn implied_number(&self) -> Result<u64, FrameError> {
        let previous = self.previous.ok_or(FrameError::Unnumbered)?;
        previous.checked_add(1).ok_or(FrameError::NumberOverflow)
    }

    #[inline(always)]
    fn fragment(&self, flags: u8, body: &'a [u8]) -> Result<Fragment<'a>, FrameError> {
        self.check_flags(FRAME_FRAGMENT, flags, 0)?;
        let fragment = read_fragment(body).ok_or(FrameError::Truncated {
            needed: FRAGMENT_FIELDS_LEN,
            got: body.len(),
        })?;
        check_fragment(&fragment)?;
        Ok(fragment)
    }

    #[inline(always)]
    fn check_flags(&self, frame_type: u8, flags: u8, known: u8) -> Result<(), FrameError> {
        let unknown = flags & CRITICAL_FRAME_FLAGS & !known;
        if unknown != 0 {
            return Err(FrameError::CriticalFlags {
                frame_type,
                unknown,
            });
        }
        // Outside the sequence nothing would tell a duplicate from a message.
        if self.unsequenced {
            return Err(FrameError::NotSequenced { frame_type });
        }
        Ok(())
    }
}

#[inline(always)]
fn read_fragment(body: &[u8]) -> Option<Fragment<'_>> {
    let mut reader = Reader::new(body);
    let number = reader.u64()?;
    let total = reader.u32()?;
    let index = reader.u32()?;
    let topic_hash = TopicHash(reader.u32()?);
    let size = reader.u16()?;
    let _reserved = reader.u16()?;
    Some(Fragment {
        number,
        total,
        index,
        topic_hash,
        size,
        data: reader.rest(),
    })
}

#[inline(always)]
fn check_fragment(fragment: &Fragment<'_>) -> Result<(), FrameError> {
    let Fragment {
        total, index, size, ..
    } = *fragment;
    if total == 0 {
        return Err(FrameError::EmptyTotal);
    }
    if size < MIN_FRAGMENT_SIZE {
        return Err(FrameError::FragmentSize { size });
    }
    let count = fragment_count(total, size);
    if index >= count {
        return Err(FrameError::FragmentIndex { index, count });
    }
    let got = fragment.data.len();
    let expected = fragment_len(total, size, index).unwrap_or(0);
    if got != expected {
        return Err(FrameError::FragmentLength { expected, got });
    }
    Ok(())
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let frame = self.frame();
        if frame.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(frame)
    }
}

impl core::iter::FusedIterator for Frames<'_> {}

/// Why a frame, and with it the whole datagram, is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// The datagram or the frame ends too early.
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there were.
        got: usize,
    },
    /// The frame is of a critical type which this version does not know.
    CriticalType {
        /// That type.
        frame_type: u8,
    },
    /// A critical frame flag is set which this version does not know.
    CriticalFlags {
        /// The frame's type.
        frame_type: u8,
        /// The unknown bits.
        unknown: u8,
    },
    /// A MESSAGE or FRAGMENT frame in a datagram outside the sequence.
    NotSequenced {
        /// The frame's type.
        frame_type: u8,
    },
    /// The first MESSAGE frame of a datagram carries no number.
    Unnumbered,
    /// A MESSAGE frame without a number follows the highest number there is.
    NumberOverflow,
    /// A fragment of a message of no bytes.
    EmptyTotal,
    /// A fragment size below [`MIN_FRAGMENT_SIZE`].
    FragmentSize {
        /// That size.
        size: u16,
    },
    /// A fragment index at or beyond the number of fragments.
    FragmentIndex {
        /// That index.
        index: u32,
        /// How many fragments the message has.
        count: u32,
    },
    /// A fragment with more or fewer bytes than its fields demand.
    FragmentLength {
        /// The bytes demanded.
        expected: usize,
        /// The bytes there were.
        got: usize,
    },
}

impl FrameError {
    /// Whether the frame may be well-formed in a later version of the format.
    #[must_use]
    pub const fn is_critical(&self) -> bool {
        matches!(self, Self::CriticalType { .. } | Self::CriticalFlags { .. })
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, got } => {
                write!(f, "frame truncated: {needed} bytes needed, {got} there")
            }
            Self::CriticalType { frame_type } => {
                write!(f, "unknown critical frame type {frame_type:#04x}")
            }
            Self::CriticalFlags {
                frame_type,
                unknown,
            } => write!(
                f,
                "unknown critical flags {unknown:#04x} on frame type {frame_type:#04x}"
            ),
            Self::NotSequenced { frame_type } => {
                write!(f, "frame type {frame_type:#04x} outside the sequence")
            }
            Self::Unnumbered => f.write_str("first message frame without a number"),
            Self::NumberOverflow => f.write_str("message number beyond 64 bits"),
            Self::EmptyTotal => f.write_str("fragment of an empty message"),
            Self::FragmentSize { size } => write!(f, "fragment size {size} below 256"),
            Self::FragmentIndex { index, count } => {
                write!(f, "fragment index {index} of {count} fragments")
            }
            Self::FragmentLength { expected, got } => {
                write!(f, "fragment of {got} bytes where {expected} belong")
            }
        }
    }
}

impl core::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_an_error() {
        let bytes = [0x03, 0, 0, 0, 0x80, 0, 0, 0];
        let mut frames = Frames::new(&bytes, false);
        let error = FrameError::CriticalType { frame_type: 3 };
        assert_eq!(frames.next(), Some(Err(error)));
        assert_eq!(frames.next(), None);
    }

    #[test]
    fn fragments_know_their_place() {
        let fragment = Fragment {
            number: 0,
            total: u32::MAX,
            index: 16_777_215,
            topic_hash: TopicHash::NONE,
            size: 256,
            data: &[0; 255],
        };
        assert_eq!(check_fragment(&fragment), Ok(()));
        assert_eq!(fragment.count().get(), 16_777_216);
        assert_eq!(fragment.offset(), 0xFFFF_FF00);
        let beyond = Fragment {
            index: 16_777_216,
            ..fragment
        };
        let error = FrameError::FragmentIndex {
            index: 16_777_216,
            count: 16_777_216,
        };
        assert_eq!(check_fragment(&beyond), Err(error));
    }

    #[test]
    fn errors_say_what_was_found() {
        use alloc::string::ToString;
        let error = FrameError::FragmentLength {
            expected: 88,
            got: 87,
        };
        assert_eq!(error.to_string(), "fragment of 87 bytes where 88 belong");
        let error = FrameError::CriticalFlags {
            frame_type: 1,
            unknown: 0x20,
        };
        assert_eq!(
            error.to_string(),
            "unknown critical flags 0x20 on frame type 0x01"
        );
    }
}
