//! The message body, as a receiver reads it.

use core::fmt;

use crate::cursor::Reader;
use crate::head::{BODY_FLAG_TOPIC, BODY_PREFIX_LEN};
use crate::metadata::Metadata;

/// The nibble of the body flags which a receiver must understand.
const CRITICAL_BODY_FLAGS: u8 = 0xF0;

/// Where things are in a body that has been checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    metadata: Metadata,
    metadata_offset: usize,
    /// Where the topic ends; 0 if there is none.
    topic_end: usize,
    crc_at: Option<usize>,
    payload_offset: usize,
}

#[cfg(feature = "alloc")]
impl Layout {
    /// That of no body.
    pub(crate) const NONE: Self = Self {
        metadata: Metadata::new(),
        metadata_offset: 0,
        topic_end: 0,
        crc_at: None,
        payload_offset: 0,
    };

    /// The same with another publish time and CRC.
    #[inline(always)]
    pub(crate) const fn with_values(mut self, time: Option<u64>, crc: Option<u32>) -> Self {
        self.metadata.publish_time = time;
        self.metadata.crc32c = crc;
        self
    }

    pub(crate) const fn metadata_offset(&self) -> usize {
        self.metadata_offset
    }

    #[inline(always)]
    pub(crate) const fn metadata(&self) -> Metadata {
        self.metadata
    }

    #[inline]
    pub(crate) const fn payload_offset(&self) -> usize {
        self.payload_offset
    }

    /// The topic in the bytes from which this layout was made.
    #[inline(always)]
    pub(crate) fn topic<'a>(&self, bytes: &'a [u8]) -> Option<&'a str> {
        let topic = bytes.get(BODY_PREFIX_LEN..self.topic_end)?;
        // Checked before; without unsafe code it must be checked again.
        Some(str::from_utf8(topic).unwrap_or_default())
    }
}

/// A decoded message body over borrowed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body<'a> {
    bytes: &'a [u8],
    topic: Option<&'a str>,
    layout: Layout,
}

impl<'a> Body<'a> {
    /// Reads a message body.
    ///
    /// The payload is not looked at, and a CRC is not verified: what it covers
    /// is given by [`crc_covered`](Self::crc_covered).
    ///
    /// # Errors
    ///
    /// Any [`BodyError`]; the message is then undeliverable.
    #[inline(always)]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(bytes);
        let [flags, topic_len, high, low] = prefix(&mut reader)?;
        check_flags(flags, topic_len)?;
        let topic_bytes = take(&mut reader, usize::from(topic_len))?;
        let metadata_len = usize::from(u16::from_be_bytes([high, low]));
        let (metadata, crc_at) = Metadata::decode(take(&mut reader, metadata_len)?)?;
        let present = flags & BODY_FLAG_TOPIC != 0;
        let topic = if present { topic(topic_bytes)? } else { "" };
        let metadata_offset = BODY_PREFIX_LEN.saturating_add(topic_bytes.len());
        Ok(Self {
            bytes,
            topic: present.then_some(topic),
            layout: Layout {
                metadata,
                metadata_offset,
                topic_end: if present { metadata_offset } else { 0 },
                crc_at: crc_at.map(|at| metadata_offset.saturating_add(at)),
                payload_offset: bytes.len().saturating_sub(reader.len()),
            },
        })
    }

    /// The body of `layout` in the bytes from which that was made.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn with_layout(bytes: &'a [u8], layout: Layout) -> Self {
        Self {
            bytes,
            topic: layout.topic(bytes),
            layout,
        }
    }

    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) const fn layout(&self) -> Layout {
        self.layout
    }

    /// The topic, if there is one. No topic and the empty topic differ.
    #[must_use]
    #[inline]
    pub const fn topic(&self) -> Option<&'a str> {
        self.topic
    }

    /// The metadata.
    #[must_use]
    #[inline]
    pub const fn metadata(&self) -> Metadata {
        self.layout.metadata
    }

    /// The payload.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes
            .get(self.layout.payload_offset..)
            .unwrap_or_default()
    }

    /// Where in the body the payload begins.
    #[must_use]
    #[inline]
    pub const fn payload_offset(&self) -> usize {
        self.layout.payload_offset
    }

    /// What the CRC-32C covers: the body before the CRC item (before the
    /// payload, if there is none), and the payload.
    #[must_use]
    pub fn crc_covered(&self) -> (&'a [u8], &'a [u8]) {
        let end = self.layout.crc_at.unwrap_or(self.layout.payload_offset);
        (self.bytes.get(..end).unwrap_or_default(), self.payload())
    }
}

#[inline(always)]
fn prefix(reader: &mut Reader<'_>) -> Result<[u8; BODY_PREFIX_LEN], BodyError> {
    let got = reader.len();
    reader.array().copied().ok_or(BodyError::Truncated {
        needed: BODY_PREFIX_LEN,
        got,
    })
}

#[inline(always)]
fn check_flags(flags: u8, topic_len: u8) -> Result<(), BodyError> {
    let unknown = flags & CRITICAL_BODY_FLAGS & !BODY_FLAG_TOPIC;
    if unknown != 0 {
        return Err(BodyError::CriticalFlags { unknown });
    }
    if flags & BODY_FLAG_TOPIC == 0 && topic_len != 0 {
        return Err(BodyError::TopicWithoutFlag { topic_len });
    }
    Ok(())
}

#[inline]
fn topic(bytes: &[u8]) -> Result<&str, BodyError> {
    str::from_utf8(bytes).map_err(|error| BodyError::TopicNotUtf8 {
        valid_up_to: error.valid_up_to(),
    })
}

#[inline(always)]
fn take<'a>(reader: &mut Reader<'a>, needed: usize) -> Result<&'a [u8], BodyError> {
    let got = reader.len();
    reader
        .take(needed)
        .ok_or(BodyError::Truncated { needed, got })
}

/// Why a message body is undeliverable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BodyError {
    /// The body ends before its prefix, topic or metadata do.
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there were.
        got: usize,
    },
    /// A critical body flag is set which this version does not know.
    CriticalFlags {
        /// The unknown bits.
        unknown: u8,
    },
    /// There is a topic length but no topic.
    TopicWithoutFlag {
        /// That length.
        topic_len: u8,
    },
    /// The topic is not UTF-8.
    TopicNotUtf8 {
        /// How many of its bytes are.
        valid_up_to: usize,
    },
    /// A metadata item is of type 0.
    InvalidItem,
    /// A metadata item is of a critical type which this version does not know.
    CriticalItem {
        /// That type.
        item: u8,
    },
    /// A metadata item ends beyond the metadata.
    TruncatedItem {
        /// Its type.
        item: u8,
    },
    /// The value of a known metadata item has the wrong length.
    ItemLength {
        /// Its type.
        item: u8,
        /// Bytes in the value.
        got: usize,
    },
    /// A known metadata item appears twice.
    RepeatedItem {
        /// Its type.
        item: u8,
    },
    /// An item follows the CRC-32C, which must be the last.
    AfterCrc {
        /// Its type.
        item: u8,
    },
}

impl BodyError {
    /// Whether the body may be well-formed in a later version of the format.
    #[must_use]
    pub const fn is_critical(&self) -> bool {
        matches!(self, Self::CriticalFlags { .. } | Self::CriticalItem { .. })
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, got } => {
                write!(f, "body truncated: {needed} bytes needed, {got} there")
            }
            Self::CriticalFlags { unknown } => {
                write!(f, "unknown critical body flags {unknown:#04x}")
            }
            Self::TopicWithoutFlag { topic_len } => {
                write!(f, "topic length {topic_len} without a topic")
            }
            Self::TopicNotUtf8 { valid_up_to } => {
                write!(f, "topic is not UTF-8 after {valid_up_to} bytes")
            }
            Self::InvalidItem => f.write_str("metadata item of type 0"),
            Self::CriticalItem { item } => {
                write!(f, "unknown critical metadata item {item:#04x}")
            }
            Self::TruncatedItem { item } => write!(f, "metadata item {item:#04x} truncated"),
            Self::ItemLength { item, got } => {
                write!(f, "metadata item {item:#04x} with {got} bytes")
            }
            Self::RepeatedItem { item } => write!(f, "metadata item {item:#04x} repeated"),
            Self::AfterCrc { item } => {
                write!(f, "metadata item {item:#04x} after the CRC-32C")
            }
        }
    }
}

impl core::error::Error for BodyError {}
