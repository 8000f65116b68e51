//! What a message says about itself beside its topic.

use core::fmt;

use crate::body::BodyError;
use crate::cursor::Reader;

/// Metadata item: how the payload is encoded, 1 byte.
pub const ITEM_ENCODING: u8 = 0x01;
/// Metadata item: which schema the payload follows, 8 bytes.
pub const ITEM_SCHEMA: u8 = 0x02;
/// Metadata item, ignorable: when the message was published, 8 bytes.
pub const ITEM_PUBLISH_TIME: u8 = 0x80;
/// Metadata item, ignorable: CRC-32C of the body, 4 bytes, always the last item.
pub const ITEM_CRC32C: u8 = 0x81;

/// The bit that tells an ignorable item from a critical one.
const IGNORABLE_ITEM: u8 = 0x80;

/// How a payload is encoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Encoding(pub u8);

impl Encoding {
    /// Bytes as they are; also what a message without the item has.
    pub const RAW: Self = Self(0);
    /// bincode 2 in its standard configuration.
    pub const BINCODE2: Self = Self(1);
    /// JSON (RFC 8259).
    pub const JSON: Self = Self(2);
    /// CBOR (RFC 8949).
    pub const CBOR: Self = Self(3);
    /// MessagePack.
    pub const MESSAGE_PACK: Self = Self(4);
    /// UTF-8 text.
    pub const TEXT: Self = Self(5);
    /// Protocol Buffers.
    pub const PROTOBUF: Self = Self(6);
    /// OMG Common Data Representation.
    pub const CDR: Self = Self(7);
    /// The first of the ids that applications may use as they like, to 255.
    pub const FIRST_PRIVATE: Self = Self(128);

    const NAMES: [&'static str; 8] = [
        "raw",
        "bincode 2",
        "JSON",
        "CBOR",
        "MessagePack",
        "text",
        "Protobuf",
        "CDR",
    ];
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None if *self >= Self::FIRST_PRIVATE => write!(f, "private encoding {}", self.0),
            None => write!(f, "unassigned encoding {}", self.0),
        }
    }
}

/// The metadata of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// How the payload is encoded.
    pub encoding: Encoding,
    /// Which schema the payload follows; its meaning is the applications'.
    pub schema: Option<u64>,
    /// When the message was published, in nanoseconds since the Unix epoch.
    pub publish_time: Option<u64>,
    /// CRC-32C (RFC 3720, appendix B.4) of the body before this item and of
    /// the payload.
    pub crc32c: Option<u32>,
}

impl Metadata {
    /// Raw payload and nothing else.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            encoding: Encoding::RAW,
            schema: None,
            publish_time: None,
            crc32c: None,
        }
    }

    /// With this encoding.
    #[must_use]
    pub const fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// With this schema.
    #[must_use]
    pub const fn with_schema(mut self, schema: u64) -> Self {
        self.schema = Some(schema);
        self
    }

    /// With this publish time, in nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn with_publish_time(mut self, nanoseconds: u64) -> Self {
        self.publish_time = Some(nanoseconds);
        self
    }

    /// With this CRC-32C, or with room for one when it is not known yet.
    #[must_use]
    pub const fn with_crc32c(mut self, crc: u32) -> Self {
        self.crc32c = Some(crc);
        self
    }

    /// Reads the items, and tells how many bytes precede the CRC item.
    #[inline(always)]
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, Option<usize>), BodyError> {
        if bytes.is_empty() {
            return Ok((Self::new(), None));
        }
        let mut items = Items::default();
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let before = bytes.len().saturating_sub(reader.len());
            let (item, value) = read_item(&mut reader)?;
            if items.crc_at.is_some() {
                return Err(BodyError::AfterCrc { item });
            }
            items.set(item, value)?;
            if item == ITEM_CRC32C {
                items.crc_at = Some(before);
            }
        }
        Ok((items.metadata, items.crc_at))
    }
}

/// Where the values of publish time and CRC are in metadata that were found well-formed.
#[cfg(feature = "alloc")]
pub(crate) fn values_at(bytes: &[u8]) -> (Option<usize>, Option<usize>) {
    let (mut time_at, mut crc_at) = (None, None);
    let mut reader = Reader::new(bytes);
    while let Ok((item, value)) = read_item(&mut reader) {
        let end = bytes.len().saturating_sub(reader.len());
        let at = end.saturating_sub(value.len());
        match item {
            ITEM_PUBLISH_TIME => time_at = Some(at),
            ITEM_CRC32C => crc_at = Some(at),
            _ => {}
        }
    }
    (time_at, crc_at)
}

#[inline(always)]
fn read_item<'a>(reader: &mut Reader<'a>) -> Result<(u8, &'a [u8]), BodyError> {
    let item = reader.u8().ok_or(BodyError::TruncatedItem { item: 0 })?;
    let truncated = BodyError::TruncatedItem { item };
    let len = reader.u8().ok_or(truncated)?;
    let value = reader.take(usize::from(len)).ok_or(truncated)?;
    Ok((item, value))
}

/// The items read so far.
#[derive(Default)]
struct Items {
    metadata: Metadata,
    // An encoding of 0 is the same as none, but may not be repeated either.
    encoding: Option<u8>,
    crc_at: Option<usize>,
}

impl Items {
    #[inline(always)]
    fn set(&mut self, item: u8, value: &[u8]) -> Result<(), BodyError> {
        let metadata = &mut self.metadata;
        match item {
            ITEM_ENCODING => {
                let id = fill(&mut self.encoding, item, value, u8::from_be_bytes)?;
                metadata.encoding = Encoding(id);
            }
            ITEM_SCHEMA => {
                fill(&mut metadata.schema, item, value, u64::from_be_bytes)?;
            }
            ITEM_PUBLISH_TIME => {
                fill(&mut metadata.publish_time, item, value, u64::from_be_bytes)?;
            }
            ITEM_CRC32C => {
                fill(&mut metadata.crc32c, item, value, u32::from_be_bytes)?;
            }
            0 => return Err(BodyError::InvalidItem),
            _ if item & IGNORABLE_ITEM == 0 => return Err(BodyError::CriticalItem { item }),
            _ => {}
        }
        Ok(())
    }
}

/// Puts the value of a known item, which must be the first of its type.
#[inline(always)]
fn fill<T: Copy, const N: usize>(
    place: &mut Option<T>,
    item: u8,
    value: &[u8],
    decode: fn([u8; N]) -> T,
) -> Result<T, BodyError> {
    let got = value.len();
    let value = <[u8; N]>::try_from(value).map_err(|_| BodyError::ItemLength { item, got })?;
    let value = decode(value);
    match place.replace(value) {
        None => Ok(value),
        Some(_) => Err(BodyError::RepeatedItem { item }),
    }
}
