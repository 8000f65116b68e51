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
use crate::limit::{Budget, Exceeded};

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
        // Not bincode's own limit: it is a constant, and below it a length is still
        // believed and allocated before anyone looks whether the bytes are there.
        // `Budget` has all text and bytes borrowed, which looks first.
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

    fn decoding(error: DecodeError, budget: &Budget) -> Self {
        match budget.exceeded() {
            Some(Exceeded::Elements { limit }) => return Self::TooManyElements { limit },
            Some(Exceeded::Depth { limit }) => return Self::TooDeep { limit },
            None => {}
        }
        let source = match error {
            DecodeError::UnexpectedEnd { additional } => {
                return Self::Truncated {
                    missing: additional,
                };
            }
            DecodeError::Serde(
                SerdeDecodeError::AnyNotSupported
                | SerdeDecodeError::IdentifierNotSupported
                | SerdeDecodeError::IgnoredAnyNotSupported,
            ) => return Self::NotSelfDescribing,
            DecodeError::OtherString(text) => text.into(),
            DecodeError::Other(text) => text.into(),
            other => other.into(),
        };
        Self::Malformed { source }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
    use std::fmt::{self, Debug};
    use std::marker::PhantomData;
    use std::net::IpAddr;
    use std::time::Duration;

    use serde::de::Visitor;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::*;
    use crate::connection::Connection;
    use crate::limit::{FREE_ELEMENTS, MAX_DEPTH};

    fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        Bincode.encode(value, &mut out).unwrap();
        out
    }

    #[track_caller]
    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
        assert_eq!(&Bincode.decode::<T>(&encode(value)).unwrap(), value);
    }

    #[track_caller]
    fn refusal<T: DeserializeOwned>(bytes: &[u8]) -> BincodeError {
        let Err(error) = Bincode.decode::<T>(bytes) else {
            panic!("{bytes:?} decodes");
        };
        *error.into_inner().downcast().unwrap()
    }

    /// A length of bincode's with nothing behind it: 5 bytes up to 4 GiB, then 9.
    fn claim(len: u64) -> Vec<u8> {
        encode(&len)
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Empty,
        Circle(f64),
        Line(i16, i16),
        Box { width: u128, depth: Option<i64> },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Scan {
        name: String,
        shapes: Vec<Shape>,
        by_name: BTreeMap<String, Vec<Option<f32>>>,
        matrix: [[f32; 3]; 2],
        marker: PhantomData<u8>,
        unit: (),
    }

    fn scan() -> Scan {
        Scan {
            name: "søndag".to_owned(),
            shapes: vec![
                Shape::Empty,
                Shape::Circle(f64::MIN_POSITIVE),
                Shape::Line(i16::MIN, 300),
                Shape::Box {
                    width: u128::MAX,
                    depth: Some(i64::MIN),
                },
            ],
            by_name: BTreeMap::from([
                (String::new(), vec![]),
                ("a".to_owned(), vec![None, Some(-0.5)]),
            ]),
            matrix: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
            marker: PhantomData,
            unit: (),
        }
    }

    /// Bytes that serialize in one piece, as `serde_bytes` makes them.
    #[derive(Debug, PartialEq)]
    struct Bytes(Vec<u8>);

    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_byte_buf(Self(Vec::new()))
        }
    }

    impl Visitor<'_> for Bytes {
        type Value = Self;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes of one's own")
        }

        fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Self, E> {
            Ok(Self(bytes))
        }
    }

    #[test]
    fn values_of_every_kind_round_trip() {
        round_trip(&scan());
        round_trip(&vec![scan(); 3]);
        round_trip(&(1_u32, 70_000_u32, "text".to_owned()));
        round_trip(&(true, 'ß', -1_i8, u64::MAX, i128::MIN, ()));
        round_trip(&(0..10_000).map(|it| it as f32).collect::<Vec<_>>());
        round_trip(&(0..10_000).map(f64::from).collect::<Vec<_>>());
        round_trip(&Some(Some(Box::new(None::<u8>))));
        round_trip(&HashMap::from([
            (1_u8, "one".to_owned()),
            (2, String::new()),
        ]));
        round_trip(&BTreeSet::from([[1_u16, 2], [3, 4]]));
        round_trip(&VecDeque::from([Duration::from_nanos(1_500_000_000)]));
        round_trip(&Bytes(vec![7; 100_000]));
        round_trip(&vec![7_u8; 100_000]);
        round_trip(&IpAddr::from([127, 0, 0, 1]));
        round_trip(&Ok::<u8, String>(3));
        round_trip(&Connection::new("ff15::1").unwrap());
        round_trip(&Connection::new("[ff15::1%eth0]:26001").unwrap());
    }

    #[test]
    fn the_format_is_that_of_the_standard_configuration() {
        assert_eq!(encode(&(250_u32, 251_u32)), [250, 251, 251, 0]);
        assert_eq!(encode(&-1_i64), [1]);
        assert_eq!(encode(&Some(1.0_f32)), [1, 0, 0, 0x80, 0x3f]);
        assert_eq!(encode("ab"), [2, b'a', b'b']);
        assert_eq!(encode(&Shape::Circle(0.0))[0], 1);
    }

    #[test]
    fn encoding_appends() {
        let mut out = vec![9];
        Bincode.encode(&7_u8, &mut out).unwrap();
        assert_eq!(out, [9, 7]);
    }

    #[test]
    fn as_many_elements_as_bytes_are_never_too_many() {
        // Each takes one byte, which is the least: in one sequence, in many, as
        // entries of maps, and with parts that take none.
        round_trip(&vec![0_u8; 300_000]);
        round_trip(&vec![Vec::<u8>::new(); 300_000]);
        round_trip(&vec![vec![vec![0_u8; 3]; 4]; 50_000]);
        round_trip(&vec![BTreeMap::from([((), 1_u8)]); 200_000]);
        round_trip(&vec![((), 1_u8, (), [(); 3]); 300_000]);
        round_trip(&vec![None::<u64>; 300_000]);
        round_trip(&vec![Shape::Empty; 300_000]);
        round_trip(&vec![(); FREE_ELEMENTS]);
    }

    #[test]
    fn five_bytes_do_not_make_half_a_billion_elements() {
        let bomb = claim(537_000_000);
        assert_eq!(bomb.len(), 5);
        let limit = 5 + FREE_ELEMENTS;
        let refused =
            |error| matches!(error, BincodeError::TooManyElements { limit: it } if it == limit);
        assert!(refused(refusal::<Vec<()>>(&bomb)));
        assert!(refused(refusal::<VecDeque<PhantomData<u64>>>(&bomb)));
        assert!(refused(refusal::<BTreeSet<()>>(&bomb)));
        assert!(refused(refusal::<HashMap<(), ()>>(&bomb)));
        assert!(refused(refusal::<Vec<[(); 32]>>(&bomb)));
    }

    #[test]
    fn many_small_claims_share_one_budget() {
        // 100 sequences of 60,000 units each, which would all pass alone.
        let body = encode(&vec![vec![(); 60_000]; 100]);
        let error = refusal::<Vec<Vec<()>>>(&body);
        assert!(
            matches!(error, BincodeError::TooManyElements { .. }),
            "{error}"
        );
    }

    #[test]
    fn what_is_claimed_but_not_there_is_not_allocated() {
        // Had it been allocated first, all but the first of these would abort the
        // process or panic.
        for len in [60 << 20, 1 << 47, i64::MAX as u64, u64::MAX] {
            let bomb = claim(len);
            let truncated = |error| matches!(error, BincodeError::Truncated { .. });
            assert!(truncated(refusal::<String>(&bomb)), "{len}");
            assert!(truncated(refusal::<Box<str>>(&bomb)), "{len}");
            assert!(truncated(refusal::<Bytes>(&bomb)), "{len}");
            assert!(truncated(refusal::<Vec<u8>>(&bomb)), "{len}");
            assert!(truncated(refusal::<Vec<u64>>(&bomb)), "{len}");
            assert!(truncated(refusal::<Vec<String>>(&bomb)), "{len}");
            assert!(truncated(refusal::<HashMap<u32, u32>>(&bomb)), "{len}");
            assert!(truncated(refusal::<HashMap<String, Bytes>>(&bomb)), "{len}");
        }
    }

    /// Reserves what it is told to expect, as careless implementations do.
    #[derive(Debug)]
    struct Careless(usize);

    impl<'de> Deserialize<'de> for Careless {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_seq(Self(0))
        }
    }

    impl<'de> Visitor<'de> for Careless {
        type Value = Self;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, access: A) -> Result<Self, A::Error> {
            let reserved: Vec<[u8; 1024]> = Vec::with_capacity(access.size_hint().unwrap_or(0));
            Ok(Self(reserved.capacity()))
        }
    }

    #[test]
    fn a_careless_type_reserves_no_more_elements_than_there_are_bytes() {
        assert_eq!(Bincode.decode::<Careless>(&claim(u64::MAX)).unwrap().0, 9);
    }

    thread_local! {
        static ANNOUNCED: Cell<usize> = const { Cell::new(0) };
    }

    /// A sequence of itself that adds up what it is told to expect.
    #[derive(Debug)]
    struct Nest;

    impl<'de> Deserialize<'de> for Nest {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_seq(Self)
        }
    }

    impl<'de> Visitor<'de> for Nest {
        type Value = Self;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
            let hint = access.size_hint().unwrap_or(0);
            ANNOUNCED.set(ANNOUNCED.get() + hint);
            while access.next_element::<Self>()?.is_some() {}
            Ok(Self)
        }
    }

    #[test]
    fn a_nest_of_claims_reserves_no_more_than_one() {
        // Each of 128 levels claims 200 elements: `Vec::with_capacity` of all of them
        // would come before the first is missed.
        let error = refusal::<Nest>(&[200; 250]);
        assert!(matches!(error, BincodeError::TooDeep { .. }), "{error}");
        assert_eq!(ANNOUNCED.get(), 250);

        refusal::<BTreeMap<u8, Nest>>(&[200; 250]);
        assert_eq!(ANNOUNCED.get(), 250 + 50);
    }

    #[test]
    fn honest_claims_are_believed_at_every_level() {
        let value = vec![vec![vec![1_u8; 3]; 2]; 2];
        let decoded: Vec<Vec<Vec<u8>>> = Bincode.decode(&encode(&value)).unwrap();
        assert_eq!(decoded, value);
        let exact = |inner: &Vec<u8>| inner.capacity() == 3;
        assert!(decoded.iter().flatten().all(exact));
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Tree(Vec<Tree>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum List {
        Nil,
        Cons(u8, Box<List>),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Chain {
        next: Option<Box<Chain>>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Directory(BTreeMap<u8, Directory>);

    #[test]
    fn no_depth_of_nesting_overflows_the_stack() {
        let deep = vec![1; 1 << 20];
        let too_deep = |error| matches!(error, BincodeError::TooDeep { limit: MAX_DEPTH });
        assert!(too_deep(refusal::<Tree>(&deep)));
        assert!(too_deep(refusal::<List>(&deep)));
        assert!(too_deep(refusal::<Chain>(&deep)));
        assert!(too_deep(refusal::<Directory>(&deep)));

        let list = |len| (1..len).fold(List::Nil, |rest, _| List::Cons(3, Box::new(rest)));
        round_trip(&list(MAX_DEPTH));
        assert!(too_deep(refusal::<List>(&encode(&list(MAX_DEPTH + 1)))));
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        let body = encode(&(1_u32, 2_u32, "text".to_owned()));
        let error = refusal::<(u8, u8, u8)>(&body);
        assert!(
            matches!(error, BincodeError::Trailing { used: 3, got: 7 }),
            "{error}"
        );
        let error = refusal::<()>(&[0]);
        assert!(
            matches!(error, BincodeError::Trailing { used: 0, got: 1 }),
            "{error}"
        );
    }

    #[test]
    fn every_truncation_is_an_error() {
        let body = encode(&scan());
        for len in 0..body.len() {
            let error = refusal::<Scan>(&body[..len]);
            assert!(
                matches!(error, BincodeError::Truncated { .. }),
                "{len}: {error}"
            );
        }
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        #[expect(dead_code, reason = "it is never read")]
        Number(u8),
    }

    #[derive(Debug)]
    struct Stubborn;

    impl Serialize for Stubborn {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }

    impl<'de> Deserialize<'de> for Stubborn {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("not today"))
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let encoding = |error: CodecError| error.to_string();
        let error = Bincode.encode(&Stubborn, &mut Vec::new()).unwrap_err();
        assert_eq!(encoding(error), "cannot encode the value: not today");
        let rest = BTreeMap::new();
        let error = Bincode.encode(&Flat { rest }, &mut Vec::new()).unwrap_err();
        assert!(encoding(error).starts_with("cannot encode a sequence or map of unknown"));

        let cases = [
            (
                refusal::<Untagged>(&[1]),
                "the type needs a self-describing format",
            ),
            (
                refusal::<Flat>(&[1, 1, b'a', 7]),
                "the type needs a self-describing format",
            ),
            (refusal::<u32>(&[251, 1]), "the payload ends 1 bytes early"),
            (
                refusal::<Stubborn>(&[]),
                "the payload is no such value: not today;",
            ),
            (
                refusal::<Shape>(&[9]),
                "the payload is no such value: invalid value: integer `9`, expected variant index",
            ),
            (
                refusal::<bool>(&[2]),
                "the payload is no such value: InvalidBooleanValue(2);",
            ),
            (
                refusal::<String>(&[1, 0xff]),
                "the payload is no such value: Utf8",
            ),
        ];
        for (error, expected) in cases {
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn body(&mut self) -> Vec<u8> {
            let len = self.next() % 64;
            // Small numbers are lengths and variants that lead on; the markers of
            // the long integers, from 251, make claims.
            let byte = |random: u64| match random % 4 {
                0 => (random >> 8) as u8,
                1 => 251 + (random >> 8) as u8 % 5,
                _ => (random >> 8) as u8 % 4,
            };
            (0..len).map(|_| byte(self.next())).collect()
        }
    }

    #[test]
    fn random_bytes_neither_panic_nor_hang() {
        let mut random = Random(2);
        let mut decoded = 0;
        for _ in 0..20_000 {
            let body = random.body();
            decoded += usize::from(Bincode.decode::<Scan>(&body).is_ok());
            decoded += usize::from(Bincode.decode::<Vec<Shape>>(&body).is_ok());
            decoded += usize::from(Bincode.decode::<HashMap<String, Bytes>>(&body).is_ok());
            decoded += usize::from(Bincode.decode::<Vec<Option<Chain>>>(&body).is_ok());
            decoded += usize::from(Bincode.decode::<(Tree, List)>(&body).is_ok());
            decoded += usize::from(Bincode.decode::<(Duration, char, IpAddr)>(&body).is_ok());
            decoded += usize::from(Bincode.decode::<Connection>(&body).is_ok());
        }
        // Not merely refused at the first byte.
        assert!(decoded > 100, "{decoded}");
    }
}
