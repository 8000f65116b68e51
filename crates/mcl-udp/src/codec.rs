//! From values to bytes and back: the traits that the rest of the crate knows
//! instead of a serializer.
//!
//! A serde format plugs in through [`Codec`]. A format without serde, such as
//! protobuf, implements [`Encoder`] and [`Decoder`] themselves.

use std::error::Error;
use std::fmt;

pub use mcl_wire::Encoding;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::payload::Payload;

/// A serde format, plugged into a broadcaster and a listener.
///
/// ```
/// use mcl_udp::{Codec, CodecError, Encoding};
/// use serde::Serialize;
/// use serde::de::DeserializeOwned;
///
/// #[derive(Clone, Copy, Debug, Default)]
/// struct Json;
///
/// impl Codec for Json {
///     fn encoding(&self) -> Encoding {
///         Encoding::JSON
///     }
///
///     fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
///         serde_json::to_writer(out, value).map_err(CodecError::new)
///     }
///
///     fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
///         serde_json::from_slice(bytes).map_err(CodecError::new)
///     }
/// }
///
/// let mut out = Vec::new();
/// Json.encode(&(1, "two"), &mut out)?;
/// assert_eq!(out, br#"[1,"two"]"#);
/// # Ok::<(), CodecError>(())
/// ```
pub trait Codec: Send + Sync + 'static {
    /// What this format is called on the wire. A listener refuses a message that
    /// names another one.
    fn encoding(&self) -> Encoding;

    /// Appends `value` to `out`.
    ///
    /// # Errors
    /// The value has no form in this format. What `out` then holds beyond its
    /// former end is unspecified and not sent.
    fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>)
    -> Result<(), CodecError>;

    /// Reads a value that is to fill `bytes`.
    ///
    /// The bytes come from whoever can send to the group: an implementation must
    /// neither panic nor hang, nor allocate what a length among them merely claims.
    ///
    /// # Errors
    /// The bytes are no `T`.
    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError>;
}

/// Turns values into payloads: what a broadcaster asks of its codec.
///
/// Every [`Codec`] is one, and so is [`Raw`].
pub trait Encoder<T: ?Sized>: Send + Sync + 'static {
    /// What the payloads are called on the wire.
    fn encoding(&self) -> Encoding;

    /// The payload for `value`: bytes of the value itself where it has them,
    /// otherwise written to `scratch`, whose former content is of no interest and
    /// whose allocation is reused from message to message.
    ///
    /// # Errors
    /// The value has no form in this encoding.
    fn encode<'a>(&self, value: &'a T, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError>;
}

/// Turns payloads into values: what a listener asks of its codec.
///
/// Every [`Codec`] is one, and so is [`Raw`].
pub trait Decoder<T>: Send + Sync + 'static {
    /// Whether payloads of this encoding are to be tried at all.
    fn accepts(&self, encoding: Encoding) -> bool;

    /// The one encoding that is accepted, for the error that says so; `None` if
    /// there is no such one.
    fn expected(&self) -> Option<Encoding>;

    /// The value in `payload`. The demands on [`Codec::decode`] hold here too.
    ///
    /// # Errors
    /// The payload holds no `T`.
    fn decode(&self, payload: &Payload) -> Result<T, CodecError>;

    /// As [`decode`](Self::decode), of a payload that nobody else needs: a value
    /// can be made of it without sharing it. Need not be implemented.
    ///
    /// # Errors
    /// The payload holds no `T`; it comes back.
    fn decode_owned(&self, payload: Payload) -> Result<T, (CodecError, Payload)> {
        self.decode(&payload).map_err(|error| (error, payload))
    }
}

impl<C: Codec, T: Serialize + ?Sized> Encoder<T> for C {
    fn encoding(&self) -> Encoding {
        Codec::encoding(self)
    }

    fn encode<'a>(&self, value: &'a T, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        scratch.clear();
        Codec::encode(self, value, scratch)?;
        Ok(scratch)
    }
}

impl<C: Codec, T: DeserializeOwned> Decoder<T> for C {
    fn accepts(&self, encoding: Encoding) -> bool {
        encoding == Codec::encoding(self)
    }

    fn expected(&self) -> Option<Encoding> {
        Some(Codec::encoding(self))
    }

    fn decode(&self, payload: &Payload) -> Result<T, CodecError> {
        Codec::decode(self, payload)
    }
}

/// Bytes as they are, neither encoded nor decoded: received as a shared [`Payload`]
/// whatever their encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Raw;

impl Encoder<[u8]> for Raw {
    fn encoding(&self) -> Encoding {
        Encoding::RAW
    }

    fn encode<'a>(&self, value: &'a [u8], _: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
        Ok(value)
    }
}

impl Decoder<Payload> for Raw {
    fn accepts(&self, _: Encoding) -> bool {
        true
    }

    fn expected(&self) -> Option<Encoding> {
        None
    }

    fn decode(&self, payload: &Payload) -> Result<Payload, CodecError> {
        Ok(payload.clone())
    }

    fn decode_owned(&self, payload: Payload) -> Result<Payload, (CodecError, Payload)> {
        Ok(payload)
    }
}

/// Why a value was not encoded or decoded: the error of the format in use.
///
/// It displays as that error and stands for it in a chain of sources;
/// [`inner`](Self::inner) gives it for a downcast.
pub struct CodecError(Box<dyn Error + Send + Sync>);

impl CodecError {
    /// Wraps the error of a format, or a text.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// The error of the format.
    #[must_use]
    pub fn inner(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }

    /// The error of the format, for keeps.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn Error + Send + Sync> {
        self.0
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CodecError").field(&self.0).finish()
    }
}

impl Error for CodecError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The inner error is displayed already: naming it as the source as well
        // would print it twice.
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    struct Json;

    impl Codec for Json {
        fn encoding(&self) -> Encoding {
            Encoding::JSON
        }

        fn encode<T: Serialize + ?Sized>(
            &self,
            value: &T,
            out: &mut Vec<u8>,
        ) -> Result<(), CodecError> {
            serde_json::to_writer(out, value).map_err(CodecError::new)
        }

        fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
            serde_json::from_slice(bytes).map_err(CodecError::new)
        }
    }

    /// A format without serde: a number as its decimal digits.
    struct Digits;

    impl Encoder<u64> for Digits {
        fn encoding(&self) -> Encoding {
            Encoding(200)
        }

        fn encode<'a>(
            &self,
            value: &'a u64,
            scratch: &'a mut Vec<u8>,
        ) -> Result<&'a [u8], CodecError> {
            *scratch = value.to_string().into_bytes();
            Ok(scratch)
        }
    }

    impl Decoder<u64> for Digits {
        fn accepts(&self, encoding: Encoding) -> bool {
            encoding == Encoding(200)
        }

        fn expected(&self) -> Option<Encoding> {
            Some(Encoding(200))
        }

        fn decode(&self, payload: &Payload) -> Result<u64, CodecError> {
            let text = std::str::from_utf8(payload).map_err(CodecError::new)?;
            text.parse().map_err(CodecError::new)
        }
    }

    fn round_trip<T, E>(codec: &E, value: &T) -> T
    where
        E: Encoder<T> + Decoder<T>,
    {
        // What a former message left behind must not show.
        let mut scratch = b"left over".to_vec();
        let bytes = Encoder::encode(codec, value, &mut scratch).unwrap();
        Decoder::decode(codec, &Payload::from(bytes.to_vec())).unwrap()
    }

    #[test]
    fn any_serde_format_plugs_in() {
        let value = (7_u32, "seven".to_owned());
        assert_eq!(round_trip(&Json, &value), value);
        assert!(Decoder::<u8>::accepts(&Json, Encoding::JSON));
        assert!(!Decoder::<u8>::accepts(&Json, Encoding::BINCODE2));
        assert_eq!(Decoder::<u8>::expected(&Json), Some(Encoding::JSON));
        assert_eq!(Encoder::<str>::encoding(&Json), Encoding::JSON);
    }

    #[test]
    fn a_format_without_serde_plugs_in() {
        assert_eq!(round_trip(&Digits, &345), 345);
    }

    #[test]
    fn raw_copies_neither_in_nor_out() {
        let value = b"bytes".as_slice();
        let mut scratch = Vec::new();
        assert_eq!(
            Raw.encode(value, &mut scratch).unwrap().as_ptr(),
            value.as_ptr()
        );
        assert_eq!(scratch.capacity(), 0);

        let payload = Payload::from(value.to_vec());
        assert_eq!(Raw.decode(&payload).unwrap().as_ptr(), payload.as_ptr());
        assert!(Raw.accepts(Encoding::JSON));
        assert_eq!(Raw.expected(), None);
    }

    #[test]
    fn the_error_of_the_format_is_kept() {
        let error = Codec::decode::<u8>(&Json, b"[").unwrap_err();
        let inner = error.inner().downcast_ref::<serde_json::Error>().unwrap();
        assert_eq!(error.to_string(), inner.to_string());

        let error = CodecError::new(io::Error::other(CodecError::new("the root")));
        assert_eq!(error.to_string(), "the root");
        assert!(error.source().is_none());
        assert!(error.into_inner().downcast::<io::Error>().is_ok());
    }
}
