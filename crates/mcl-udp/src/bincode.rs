//! The default codec, and the only file that names the serializer behind it.

use std::error::Error;

use ::bincode::config;
use ::bincode::enc::write::Writer;
use ::bincode::error::{DecodeError, EncodeError};
use ::bincode::serde::{
    DecodeError as SerdeDecodeError, EncodeError as SerdeEncodeError, encode_into_writer,
    seed_decode_from_slice,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::codec::{Codec, CodecError, Encoding};
use crate::limit::{Budget, Exceeded, FREE_ELEMENTS, MAX_DEPTH};

/// bincode 2 in its standard configuration (little-endian, integers of variable
/// length): small and fast, for programs that share their types.
///
/// The format carries neither names nor types. A listener whose type has another
/// layout gets an error where the lengths differ, and a wrong value where they
/// happen to fit; set a schema id where that matters. serde attributes that need to
/// look ahead (`flatten`, `untagged`, `tag`, `skip_serializing_if`) do not work.
/// A field of bytes goes in one piece if it serializes as bytes (see the crate
/// `serde_bytes`), byte by byte as a plain `Vec<u8>`.
///
/// Decoding reserves no memory for what a payload merely claims, and refuses with
/// [`BincodeError`] more elements than a payload has bytes and 65,536, values nested
/// more than 128 deep (options, enums, sequences and maps count), and bytes left
/// over after the value.
///
/// ```
/// use mcl_udp::{Bincode, Codec};
///
/// let mut out = Vec::new();
/// Bincode.encode("hello", &mut out)?;
/// assert_eq!(out, b"\x05hello");
/// assert_eq!(Bincode.decode::<String>(&out)?, "hello");
/// # Ok::<(), mcl_udp::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bincode;

impl Codec for Bincode {
    fn encoding(&self) -> Encoding {
        Encoding::BINCODE2
    }

    fn encode<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        encode_into_writer(value, Append(out), config::standard())
            .map_err(|error| CodecError::new(BincodeError::encoding(error)))
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let budget = Budget::for_payload(bytes.len());
        // No limit of bincode's own: it can only be a constant, and it bounds what it
        // allocates before it looks whether the bytes are there. `Budget` has it
        // borrow all text and bytes, so that it looks first.
        let (value, used) = seed_decode_from_slice(budget.seed(), bytes, config::standard())
            .map_err(|error| CodecError::new(BincodeError::decoding(error, &budget)))?;
        if used < bytes.len() {
            return Err(CodecError::new(BincodeError::Trailing {
                used,
                got: bytes.len(),
            }));
        }
        Ok(value)
    }
}

/// Writes to the end of a vector.
struct Append<'a>(&'a mut Vec<u8>);

impl Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Why [`Bincode`] did not encode or decode a value; in a [`CodecError`], which
/// [`CodecError::inner`] opens.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BincodeError {
    /// The value has no form in this format, or its own `Serialize` refused.
    #[error("cannot encode the value: {source}")]
    Encode {
        /// What the serializer said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A sequence or map did not say its length beforehand, which the format needs.
    #[error(
        "cannot encode a sequence or map of unknown length, such as `#[serde(flatten)]` makes; collect it first, or use another codec"
    )]
    UnknownLength,
    /// The type asks the format what comes next, which the format does not know.
    #[error(
        "the type needs a self-describing format (`flatten`, `untagged`, `tag` or a dynamic value); use another codec, such as JSON"
    )]
    NotSelfDescribing,
    /// The payload ends before the value does.
    #[error("the payload ends {missing} bytes early; was another type published?")]
    Truncated {
        /// How many bytes the field at the end lacks.
        missing: usize,
    },
    /// The payload goes on after the value.
    #[error("the value ends after {used} of {got} bytes; was another type published?")]
    Trailing {
        /// The bytes that the value takes.
        used: usize,
        /// The bytes that the payload has.
        got: usize,
    },
    /// The payload claims more elements of sequences and maps than it can hold.
    #[error("the payload claims more than {limit} elements; was another type published?")]
    TooManyElements {
        /// How many a payload of this length may have.
        limit: usize,
    },
    /// Options, enums, sequences and maps are nested too deep.
    #[error("the value is nested more than {limit} deep")]
    TooDeep {
        /// How deep they may be nested.
        limit: usize,
    },
    /// The bytes are no value of the type, or its own `Deserialize` refused.
    #[error("the payload is no such value: {source}; was another type published?")]
    Malformed {
        /// What the deserializer said.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl BincodeError {
    fn encoding(error: EncodeError) -> Self {
        let source = match error {
            EncodeError::Serde(SerdeEncodeError::SequenceMustHaveLength) => {
                return Self::UnknownLength;
            }
            EncodeError::OtherString(text) => text.into(),
            EncodeError::Other(text) => text.into(),
            other => other.into(),
        };
        Self::Encode { source }
    }
