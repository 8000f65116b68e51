//! The part of a message body before its payload, as a sender writes it.

use core::fmt;

use crate::metadata::{
    Encoding, ITEM_CRC32C, ITEM_ENCODING, ITEM_PUBLISH_TIME, ITEM_SCHEMA, Metadata,
};
use crate::topic::{MAX_TOPIC_LEN, TopicHash};

/// Body flag: a topic is present.
pub const BODY_FLAG_TOPIC: u8 = 0x80;
/// Length of flags, topic length and metadata length, in bytes.
pub const BODY_PREFIX_LEN: usize = 4;
/// Type byte and length byte of a metadata item.
const ITEM_HEADER_LEN: usize = 2;
/// All four items of version 1.
const MAX_METADATA_LEN: usize = 4 * ITEM_HEADER_LEN + 1 + 8 + 8 + 4;
/// Longest head that version 1 writes: 288 bytes.
pub const MAX_BODY_HEAD_LEN: usize = BODY_PREFIX_LEN + MAX_TOPIC_LEN + MAX_METADATA_LEN;
/// The same, in the type of message lengths.
#[cfg(feature = "alloc")]
#[allow(clippy::cast_possible_truncation, reason = "288")]
pub(crate) const MAX_BODY_HEAD_LEN_U32: u32 = MAX_BODY_HEAD_LEN as u32;

/// The encoded head of a message body: prefix, topic and metadata.
///
/// Lives on the stack and is cheap to copy: encode one per topic, then
/// [`set_publish_time`](Self::set_publish_time) and
/// [`set_crc32c`](Self::set_crc32c) per message.
#[derive(Clone)]
pub struct BodyHead {
    bytes: [u8; MAX_BODY_HEAD_LEN],
    len: usize,
    topic_hash: TopicHash,
    time_at: Option<usize>,
    crc_at: Option<usize>,
}

impl BodyHead {
    /// Encodes the head for `topic` and `metadata`.
    ///
    /// # Errors
    ///
    /// [`TopicTooLong`] if the topic has more than 255 bytes.
    pub fn new(topic: Option<&str>, metadata: &Metadata) -> Result<Self, TopicTooLong> {
        let topic_bytes = topic.unwrap_or_default().as_bytes();
        let len = topic_bytes.len();
        let topic_len = u8::try_from(len).map_err(|_| TopicTooLong { len })?;
        let flags = if topic.is_some() { BODY_FLAG_TOPIC } else { 0 };
        let mut head = Self {
            bytes: [0; MAX_BODY_HEAD_LEN],
            len: 0,
            topic_hash: TopicHash::of(topic),
            time_at: None,
            crc_at: None,
        };
        head.put(&[flags, topic_len, 0, 0]);
        head.put(topic_bytes);
        head.put_metadata(metadata);
        Ok(head)
    }

    fn put_metadata(&mut self, metadata: &Metadata) {
        let before = self.len;
        if metadata.encoding != Encoding::RAW {
            self.put_item(ITEM_ENCODING, &[metadata.encoding.0]);
        }
        if let Some(schema) = metadata.schema {
            self.put_item(ITEM_SCHEMA, &schema.to_be_bytes());
        }
        self.time_at = metadata
            .publish_time
            .map(|time| self.put_item(ITEM_PUBLISH_TIME, &time.to_be_bytes()));
        self.crc_at = metadata
            .crc32c
            .map(|crc| self.put_item(ITEM_CRC32C, &crc.to_be_bytes()));
        let len = u16::try_from(self.len.saturating_sub(before)).unwrap_or(u16::MAX);
        self.patch(2, &len.to_be_bytes());
    }

    /// Appends an item and tells where its value begins.
    fn put_item(&mut self, item: u8, value: &[u8]) -> usize {
        // Values are 1, 4 or 8 bytes long.
        let len = u8::try_from(value.len()).unwrap_or(u8::MAX);
        self.put(&[item, len]);
        let at = self.len;
        self.put(value);
        at
    }

    fn put(&mut self, bytes: &[u8]) {
        self.patch(self.len, bytes);
        self.len = self.len.saturating_add(bytes.len());
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        let place = self.bytes.get_mut(at..).unwrap_or_default();
        if let Some((place, _)) = place.split_at_mut_checked(bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// The encoded bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Where in the head the publish time is.
    #[inline]
    pub(crate) const fn time_at(&self) -> Option<usize> {
        self.time_at
    }

    /// The hash of the topic, for fragments.
    #[must_use]
    pub const fn topic_hash(&self) -> TopicHash {
        self.topic_hash
    }

    /// Writes the publish time over the one given to [`new`](Self::new), in
    /// nanoseconds since the Unix epoch; `false` if there was none.
    pub fn set_publish_time(&mut self, nanoseconds: u64) -> bool {
        let Some(at) = self.time_at else {
            return false;
        };
        self.patch(at, &nanoseconds.to_be_bytes());
        true
    }

    /// Writes the CRC-32C over the one given to [`new`](Self::new); `false` if
    /// there was none.
    pub fn set_crc32c(&mut self, crc: u32) -> bool {
        let Some(at) = self.crc_at else {
            return false;
        };
        self.patch(at, &crc.to_be_bytes());
        true
    }

    /// The part of the head which the CRC-32C covers, before the payload.
    #[must_use]
    pub fn crc_covered(&self) -> &[u8] {
        let end = match self.crc_at {
            Some(at) => at.saturating_sub(ITEM_HEADER_LEN),
            None => self.len,
        };
        self.bytes.get(..end).unwrap_or_default()
    }
}

impl fmt::Debug for BodyHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyHead")
            .field("bytes", &self.as_bytes())
            .field("topic_hash", &self.topic_hash)
            .finish_non_exhaustive()
    }
}

impl PartialEq for BodyHead {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for BodyHead {}

/// A topic of more than 255 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicTooLong {
    /// Bytes in the topic.
    pub len: usize,
}

impl fmt::Display for TopicTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic of {} bytes is longer than 255", self.len)
    }
}

impl core::error::Error for TopicTooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_head_fits_exactly() {
        let metadata = Metadata::new()
            .with_encoding(Encoding::JSON)
            .with_schema(1)
            .with_publish_time(2)
            .with_crc32c(3);
        let topic = "t".repeat(255);
        let head = BodyHead::new(Some(&topic), &metadata).unwrap();
        assert_eq!(head.as_bytes().len(), MAX_BODY_HEAD_LEN);
        assert_eq!(head.as_bytes().last_chunk(), Some(&[0, 0, 0, 3]));
        assert_eq!(head.crc_covered().len(), MAX_BODY_HEAD_LEN - 6);
    }

    #[test]
    fn topics_of_256_bytes_are_refused() {
        let topic = "t".repeat(256);
        let error = BodyHead::new(Some(&topic), &Metadata::new()).unwrap_err();
        assert_eq!(error, TopicTooLong { len: 256 });
    }

    #[test]
    fn only_reserved_places_are_patched() {
        let mut head = BodyHead::new(None, &Metadata::new()).unwrap();
        assert!(!head.set_publish_time(1));
        assert!(!head.set_crc32c(1));
        assert_eq!(head.as_bytes(), [0; 4]);

        let metadata = Metadata::new().with_publish_time(0).with_crc32c(0);
        let mut head = BodyHead::new(None, &metadata).unwrap();
        assert!(head.set_publish_time(1) && head.set_crc32c(2));
        let patched = Metadata::new().with_publish_time(1).with_crc32c(2);
        assert_eq!(head, BodyHead::new(None, &patched).unwrap());
    }
}
