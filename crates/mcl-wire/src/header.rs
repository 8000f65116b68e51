//! The datagram header.

use core::fmt;

use crate::cursor::{Reader, Writer};
use crate::frame::Frames;

/// The first two bytes of every datagram. 0xC1 is the one byte that
/// MessagePack never uses, so that the Python library's listeners reject it.
pub const MAGIC: [u8; 2] = [0xC1, 0x4D];
/// The version of the wire format which this crate speaks.
pub const VERSION: u8 = 1;
/// Length of the header without extensions, in bytes.
pub const HEADER_LEN: usize = PLAIN_HEADER_LEN as usize;
/// The same, as the header says it.
const PLAIN_HEADER_LEN: u8 = 24;
/// Critical header flag: the datagram is not part of the stream's sequence.
pub const FLAG_UNSEQUENCED: u8 = 0x01;
/// Critical header flag, reserved: the frames are encrypted.
pub const FLAG_SEALED: u8 = 0x80;

/// Longest datagram: what an IPv6 packet of 65,535 bytes holds after 40 bytes
/// of IPv6 and 8 of UDP header.
pub const MAX_DATAGRAM_LEN: usize = 65_487;
/// Datagram length for a link with an MTU of 1500 bytes.
pub const DEFAULT_DATAGRAM_LEN: usize = 1_452;
/// Shortest datagram length to which a sender may be configured: a fragment of
/// the smallest legal size.
pub const MIN_DATAGRAM_LEN: usize = 308;

/// Names one stream: one broadcaster instance sending to one group and port.
///
/// Chosen at random when the broadcaster opens, so that two processes, two
/// broadcasters in one process and a restarted process are never mixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// As text: many programs that read numbers keep 53 bits of them.
#[cfg(feature = "serde")]
impl serde::Serialize for StreamId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for StreamId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hexadecimal;

        impl serde::de::Visitor<'_> for Hexadecimal {
            type Value = StreamId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("up to 16 hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<StreamId, E> {
                let id = u64::from_str_radix(text, 16);
                id.map(StreamId)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Hexadecimal)
    }
}

/// What a datagram says before its frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Header {
    /// The stream the datagram belongs to.
    pub stream: StreamId,
    /// Its number in the stream's sequence, from 0; 0 if `unsequenced`.
    pub sequence: u64,
    /// Whether the datagram stands outside the stream's sequence.
    pub unsequenced: bool,
    /// Flags which a receiver may ignore. Version 1 defines none.
    pub ignorable_flags: u8,
}

impl Header {
    /// The header of a datagram in the stream's sequence.
    #[must_use]
    #[inline]
    pub const fn new(stream: StreamId, sequence: u64) -> Self {
        Self {
            stream,
            sequence,
            unsequenced: false,
            ignorable_flags: 0,
        }
    }

    /// The header of a control datagram outside any sequence.
    #[must_use]
    pub const fn unsequenced(stream: StreamId) -> Self {
        Self {
            stream,
            sequence: 0,
            unsequenced: true,
            ignorable_flags: 0,
        }
    }

    /// The header as bytes, without extensions.
    #[must_use]
    #[inline]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let flags = if self.unsequenced {
            FLAG_UNSEQUENCED
        } else {
            0
        };
        let [high, low] = MAGIC;
        let mut bytes = [0; HEADER_LEN];
        Writer::new(&mut bytes)
            .put(&[high, low, VERSION, PLAIN_HEADER_LEN])
            .put(&[flags, self.ignorable_flags, 0, 0])
            .put(&self.stream.0.to_be_bytes())
            .put(&self.sequence.to_be_bytes());
        bytes
    }

    /// Reads the header of `datagram` and gives the frames that follow it.
    ///
    /// # Errors
    ///
    /// Any [`HeaderError`]; the whole datagram is then to be dropped.
    #[inline(always)]
    pub fn decode(datagram: &[u8]) -> Result<(Self, Frames<'_>), HeaderError> {
        let mut reader = Reader::new(datagram);
        let fixed = FixedHeader::read(&mut reader).ok_or(HeaderError::Truncated {
            needed: HEADER_LEN,
            got: datagram.len(),
        })?;
        let extensions = fixed.check(datagram.len())?;
        // `check` has seen that the extensions are within the datagram.
        reader.take(extensions);
        let header = fixed.header();
        Ok((header, Frames::new(reader.rest(), header.unsequenced)))
    }
}

/// The first 24 bytes, not yet judged.
struct FixedHeader {
    magic: [u8; 2],
    version: u8,
    header_len: u8,
    critical_flags: u8,
    ignorable_flags: u8,
    stream: u64,
    sequence: u64,
}

impl FixedHeader {
    #[inline(always)]
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let &[
            m0,
            m1,
            version,
            header_len,
            critical_flags,
            ignorable_flags,
            _,
            _,
        ] = reader.array()?;
        Some(Self {
            magic: [m0, m1],
            version,
            header_len,
            critical_flags,
            ignorable_flags,
            stream: reader.u64()?,
            sequence: reader.u64()?,
        })
    }

    /// How many bytes of header extensions follow.
    #[inline(always)]
    fn check(&self, datagram_len: usize) -> Result<usize, HeaderError> {
        let header_len = usize::from(self.header_len);
        if self.magic != MAGIC {
            return Err(HeaderError::Magic { got: self.magic });
        }
        if self.version != VERSION {
            return Err(HeaderError::Version { got: self.version });
        }
        if header_len < HEADER_LEN || header_len > datagram_len {
            return Err(HeaderError::HeaderLength {
                header_len: self.header_len,
                datagram_len,
            });
        }
        let unknown = self.critical_flags & !FLAG_UNSEQUENCED;
        if unknown != 0 {
            return Err(HeaderError::CriticalFlags { unknown });
        }
        Ok(header_len.saturating_sub(HEADER_LEN))
    }

    #[inline(always)]
    const fn header(&self) -> Header {
        let unsequenced = self.critical_flags & FLAG_UNSEQUENCED != 0;
        Header {
            stream: StreamId(self.stream),
            sequence: if unsequenced { 0 } else { self.sequence },
            unsequenced,
            ignorable_flags: self.ignorable_flags,
        }
    }
}

/// Why a datagram's header is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HeaderError {
    /// The datagram is shorter than a header.
    Truncated {
        /// Bytes in a header.
        needed: usize,
        /// Bytes in the datagram.
        got: usize,
    },
    /// The datagram does not begin with [`MAGIC`].
    Magic {
        /// Its first two bytes.
        got: [u8; 2],
    },
    /// The datagram is of another version of the format.
    Version {
        /// That version.
        got: u8,
    },
    /// The header length is below 24 or beyond the datagram's end.
    HeaderLength {
        /// The length that the header claims.
        header_len: u8,
        /// Bytes in the datagram.
        datagram_len: usize,
    },
    /// A critical flag is set which this version does not know.
    CriticalFlags {
        /// The unknown bits.
        unknown: u8,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { needed, got } => {
                write!(f, "datagram of {got} bytes is shorter than {needed}")
            }
            Self::Magic { got: [a, b] } => write!(f, "datagram begins with {a:02x} {b:02x}"),
            Self::Version { got } => write!(f, "wire format version {got}"),
            Self::HeaderLength {
                header_len,
                datagram_len,
            } => write!(
                f,
                "header length {header_len} in a datagram of {datagram_len} bytes"
            ),
            Self::CriticalFlags { unknown } => {
                write!(f, "unknown critical header flags {unknown:#04x}")
            }
        }
    }
}

impl core::error::Error for HeaderError {}
