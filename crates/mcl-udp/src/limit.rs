//! A shell around any serde deserializer that bounds what hostile bytes can make it
//! do. A format may be careful with bytes and yet believe a count of elements that
//! take no bytes, recurse as deep as the bytes say, and reserve memory for what is
//! only claimed.
//!
//! Bounded here:
//! - Elements of sequences and entries of maps, all together: one of them that takes
//!   any byte at all has one that no other has, so no honest payload has more than
//!   its length and [`FREE_ELEMENTS`] for those that take none.
//! - Depth of options, enums, sequences and maps: a type that contains itself does
//!   so through one of these, or has no value.
//! - Announced lengths: a sequence and all those around it together announce no
//!   more elements than the payload has bytes. Each element takes a byte, or else no
//!   memory that is worth reserving; so an honest announcement never meets this
//!   bound, and a nest of lies reserves no more than one of them.
//! - Owned text and bytes: they are asked for as borrowed ones. A decoder that
//!   borrows has to have them before it hands them out, where one that owns may
//!   allocate what is claimed and look afterwards.
//!
//! Everything else passes through unchanged.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// How many elements a payload may have beyond one for each byte: elements without
/// content, such as those of a `Vec<()>`.
pub(crate) const FREE_ELEMENTS: usize = 65_536;

/// How deep values may be nested; `serde_json` has the same bound. A level costs the
/// decoding thread up to some kilobytes of stack.
pub(crate) const MAX_DEPTH: usize = 128;

/// What is left to one decoding.
#[derive(Debug)]
pub(crate) struct Budget {
    payload_len: usize,
    elements: Cell<usize>,
    /// How many elements may be announced here.
    announceable: Cell<usize>,
    depth: Cell<usize>,
    exceeded: Cell<Option<Exceeded>>,
}

/// The bound that a decoding ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Elements { limit: usize },
    Depth { limit: usize },
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elements { limit } => write!(f, "more than {limit} elements"),
            Self::Depth { limit } => write!(f, "nested more than {limit} deep"),
        }
    }
}

impl Budget {
    /// The budget of a payload of `len` bytes.
    pub(crate) fn for_payload(len: usize) -> Self {
        Self {
            payload_len: len,
            elements: Cell::new(max_elements(len)),
            announceable: Cell::new(len),
            depth: Cell::new(MAX_DEPTH),
            exceeded: Cell::new(None),
        }
    }

    /// The bound that was run into, if one was. The error that came of it may have
    /// lost its type on the way through the format.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded.get()
    }

    /// A seed that reads a `T` within this budget.
    pub(crate) fn seed<T: DeserializeOwned>(
        &self,
    ) -> impl for<'de> DeserializeSeed<'de, Value = T> {
        Limited {
            inner: PhantomData::<T>,
            budget: self,
            cost: 0,
            announced: 0,
        }
    }

    #[inline]
    fn spend<E: Error>(&self, cost: usize) -> Result<(), E> {
        match self.elements.get().checked_sub(cost) {
            Some(left) => {
                self.elements.set(left);
                Ok(())
            }
            None => Err(self.refuse(Exceeded::Elements {
                limit: max_elements(self.payload_len),
            })),
        }
    }

    fn descend<R, E: Error>(&self, read: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let depth = self.depth.get();
        let Some(below) = depth.checked_sub(1) else {
            return Err(self.refuse(Exceeded::Depth { limit: MAX_DEPTH }));
        };
        self.depth.set(below);
        let result = read();
        self.depth.set(depth);
        result
    }

    /// Reads something that would announce `hint` elements, and is told how many it
    /// may. What is within has that much less to announce.
    fn announce<R>(&self, hint: usize, read: impl FnOnce(usize) -> R) -> R {
        let announceable = self.announceable.get();
        let announced = hint.min(announceable);
        self.announceable.set(announceable - announced);
        let result = read(announced);
        self.announceable.set(announceable);
        result
    }

    #[cold]
    fn refuse<E: Error>(&self, exceeded: Exceeded) -> E {
        self.exceeded.set(Some(exceeded));
        E::custom(exceeded)
    }
}

const fn max_elements(payload_len: usize) -> usize {
    payload_len.saturating_add(FREE_ELEMENTS)
}

/// One side of the conversation between a format and a type, watched: a
/// deserializer, a visitor, a seed or an access.
struct Limited<'b, X> {
    inner: X,
    budget: &'b Budget,
    /// What an element costs: nothing in tuples and structs, whose length is the
    /// type's and not the payload's.
    cost: usize,
    /// The most elements that an access announces.
    announced: usize,
}

impl<'b, X> Limited<'b, X> {
    fn wrap<Y>(&self, inner: Y, cost: usize) -> Limited<'b, Y> {
        Limited {
            inner,
            budget: self.budget,
            cost,
            announced: 0,
        }
    }

    /// Passes an element on for its cost. The end of a sequence is none: it takes
    /// no byte of its own.
    #[inline]
    fn charge<T, E: Error>(&self, element: Option<T>) -> Result<Option<T>, E> {
        if element.is_some() {
            self.budget.spend(self.cost)?;
        }
        Ok(element)
    }

    /// How many elements this may announce: in tuples and structs none, whose
    /// visitors reserve nothing for them.
    fn announceable(&self, hint: Option<usize>) -> usize {
        hint.filter(|_| self.cost > 0).unwrap_or(0)
    }
}

/// Values without others inside: nothing to watch.
macro_rules! leaves {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Limited<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_bytes deserialize_unit deserialize_identifier
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_str(Owning(visitor))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_bytes(Owning(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 1);
        self.budget.descend(|| self.inner.deserialize_any(visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 1);
        let read = || self.inner.deserialize_ignored_any(visitor);
        self.budget.descend(read)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 0);
        let read = || self.inner.deserialize_option(visitor);
        self.budget.descend(read)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 1);
        self.budget.descend(|| self.inner.deserialize_seq(visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 1);
        self.budget.descend(|| self.inner.deserialize_map(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 0);
        let read = || self.inner.deserialize_enum(name, variants, visitor);
        self.budget.descend(read)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 0);
        self.inner.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 0);
        self.inner.deserialize_tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 0);
        self.inner.deserialize_tuple_struct(name, len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = self.wrap(visitor, 0);
        self.inner.deserialize_struct(name, fields, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Plain values that a format hands to a visitor.
macro_rules! values {
    ($($method:ident($value:ty))*) => {$(
        #[inline]
        fn $method<E: Error>(self, value: $value) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Limited<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    values! {
        visit_bool(bool)
        visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128)
        visit_f32(f32) visit_f64(f64) visit_char(char)
        visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap(deserializer, 0);
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap(deserializer, 0);
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let hint = self.announceable(access.size_hint());
        let mut access = self.wrap(access, self.cost);
        self.budget.announce(hint, |announced| {
            access.announced = announced;
            self.inner.visit_seq(access)
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let hint = self.announceable(access.size_hint());
        let mut access = self.wrap(access, self.cost);
        self.budget.announce(hint, |announced| {
            access.announced = announced;
            self.inner.visit_map(access)
        })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access, 0);
        self.inner.visit_enum(access)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Limited<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.wrap(deserializer, 0);
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Limited<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.wrap(seed, 0);
        let element = self.inner.next_element_seed(seed)?;
        self.charge(element)
    }

    fn size_hint(&self) -> Option<usize> {
        let hint = self.inner.size_hint()?;
        Some(hint.min(self.announced))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Limited<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.wrap(seed, 0);
        let key = self.inner.next_key_seed(seed)?;
        self.charge(key)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.wrap(seed, 0);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        let hint = self.inner.size_hint()?;
        Some(hint.min(self.announced))
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Limited<'b, A> {
    type Error = A::Error;
    type Variant = Limited<'b, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let seed = self.wrap(seed, 0);
        let budget = self.budget;
        let (value, inner) = self.inner.variant_seed(seed)?;
        Ok((
            value,
            Limited {
                inner,
                budget,
                cost: 0,
                announced: 0,
            },
        ))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Limited<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.wrap(seed, 0);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor, 0);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor, 0);
        self.inner.struct_variant(fields, visitor)
    }
}

/// Gives borrowed text and bytes to a visitor that asked for its own.
struct Owning<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Owning<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.0.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<V::Value, E> {
        self.0.visit_string(text)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<V::Value, E> {
        self.0.visit_byte_buf(bytes.to_owned())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<V::Value, E> {
        self.0.visit_byte_buf(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::iter::{repeat, repeat_n};
    use std::net::Ipv4Addr;

    use serde::Deserialize;
    use serde::de::IgnoredAny;
    use serde::de::value::{Error as ValueError, MapDeserializer, SeqDeserializer};

    use super::*;

    const ROOM: usize = 1000;

    fn within<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        budget: &Budget,
        deserializer: D,
    ) -> Result<T, D::Error> {
        budget.seed().deserialize(deserializer)
    }

    fn from_json<T: DeserializeOwned>(budget: &Budget, json: &str) -> serde_json::Result<T> {
        within(budget, &mut serde_json::Deserializer::from_str(json))
    }

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    enum Shape {
        Empty,
        Circle(f64),
        Line(i16, i16),
        Box { width: u8, depth: Option<u8> },
    }

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Shape(Shape),
        Many(Vec<Either>),
    }

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    struct Meters(f32);

    #[derive(Clone, Debug, PartialEq, Deserialize)]
    struct Everything {
        shapes: Vec<Shape>,
        either: BTreeMap<String, Either>,
        length: Meters,
        pair: (char, bool),
        none: Option<String>,
        some: Option<Box<str>>,
        unit: (),
        // Text only for a format that is human-readable.
        address: Ipv4Addr,
        #[serde(default)]
        missing: i128,
    }

    const EVERYTHING: &str = r#"{
        "shapes": ["Empty", {"Circle": 1.5}, {"Line": [-1, 300]}, {"Box": {"width": 7}}],
        "either": {"a": 1, "b": {"Circle": 2}, "c": [1, ["Empty", 2], []]},
        "length": 2.5, "pair": ["x", true], "none": null, "some": "text", "unit": null,
        "address": "127.0.0.1", "unknown": [{"to": "be"}, "skipped"]
    }"#;

    #[test]
    fn what_is_within_bounds_passes_unchanged() {
        let plain: Everything = serde_json::from_str(EVERYTHING).unwrap();
        let budget = Budget::for_payload(EVERYTHING.len());
        let limited: Everything = from_json(&budget, EVERYTHING).unwrap();
        assert_eq!(limited, plain);
        assert_eq!(budget.exceeded(), None);
        // All the way up again.
        assert_eq!(budget.depth.get(), MAX_DEPTH);
    }

    #[test]
    fn errors_pass_unchanged() {
        for json in ["", "{}", "3", &EVERYTHING.replace("7", "700")] {
            let plain = serde_json::from_str::<Everything>(json).unwrap_err();
            let budget = Budget::for_payload(json.len());
            let limited = from_json::<Everything>(&budget, json).unwrap_err();
            assert_eq!(limited.to_string(), plain.to_string());
            assert_eq!(budget.exceeded(), None);
        }
    }

    #[test]
    fn elements_are_charged_wherever_they_are() {
        let nested = "[[1, 2], [3], []]";
        let cases = [(nested, 6), ("[]", 0), ("[[], [], []]", 3)];
        for (json, charged) in cases {
            let budget = Budget::for_payload(ROOM);
            from_json::<Vec<Vec<u8>>>(&budget, json).unwrap();
            assert_eq!(
                budget.elements.get(),
                max_elements(ROOM) - charged,
                "{json}"
            );
            let budget = Budget::for_payload(ROOM);
            from_json::<serde_json::Value>(&budget, json).unwrap();
            assert_eq!(
                budget.elements.get(),
                max_elements(ROOM) - charged,
                "{json}"
            );
        }
        let budget = Budget::for_payload(ROOM);
        from_json::<BTreeMap<String, Vec<u8>>>(&budget, r#"{"a": [1], "b": []}"#).unwrap();
        assert_eq!(budget.elements.get(), max_elements(ROOM) - 3);
    }

    #[test]
    fn tuples_and_structs_cost_nothing() {
        let budget = Budget::for_payload(0);
        from_json::<(u8, [u8; 3], Meters)>(&budget, "[1, [2, 3, 4], 5]").unwrap();
        from_json::<Shape>(&budget, r#"{"Box": {"width": 1, "depth": 2}}"#).unwrap();
        from_json::<Shape>(&budget, r#"{"Line": [1, 2]}"#).unwrap();
        assert_eq!(budget.elements.get(), FREE_ELEMENTS);
    }

    #[test]
    fn the_last_element_that_fits_is_read_and_the_next_refused() {
        let units = |count| SeqDeserializer::<_, ValueError>::new(repeat_n((), count));
        let most = ROOM + FREE_ELEMENTS;

        let budget = Budget::for_payload(ROOM);
        let read: Vec<()> = within(&budget, units(most)).unwrap();
        assert_eq!(read.len(), most);

        let budget = Budget::for_payload(ROOM);
        let error = within::<Vec<()>, _>(&budget, units(most + 1)).unwrap_err();
        assert_eq!(error.to_string(), format!("more than {most} elements"));
        assert_eq!(budget.exceeded(), Some(Exceeded::Elements { limit: most }));
    }

    #[test]
    fn a_map_without_end_is_refused() {
        let endless = MapDeserializer::<_, ValueError>::new(repeat(((), ())));
        let budget = Budget::for_payload(ROOM);
        within::<BTreeMap<(), ()>, _>(&budget, endless).unwrap_err();
        assert!(matches!(budget.exceeded(), Some(Exceeded::Elements { .. })));
    }

    #[derive(Debug, Deserialize)]
    struct Tree(#[expect(dead_code, reason = "only its depth matters")] Vec<Tree>);

    #[test]
    fn depth_is_bounded() {
        // JSON has a bound of its own, which is to stay out of the way.
        let budget = Budget::for_payload(ROOM);
        budget.depth.set(3);
        from_json::<Tree>(&budget, "[[[], []], []]").unwrap();
        from_json::<Tree>(&budget, "[[[[]]]]").unwrap_err();
        let limit = MAX_DEPTH;
        assert_eq!(budget.exceeded(), Some(Exceeded::Depth { limit }));
    }

    /// Keeps what it was told to expect.
    #[derive(Debug, PartialEq)]
    struct Announced(Option<usize>);

    impl<'de> Deserialize<'de> for Announced {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Self(None))
        }
    }

    impl<'de> Visitor<'de> for Announced {
        type Value = Self;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("anything with a length")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
            let hint = access.size_hint();
            while access.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self(hint))
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self, A::Error> {
            let hint = access.size_hint();
            while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self(hint))
        }
    }

    #[test]
    fn no_more_elements_are_announced_than_the_payload_has_bytes() {
        for (count, announced) in [(2, 2), (ROOM, ROOM), (ROOM + 1, ROOM)] {
            let seq = SeqDeserializer::<_, ValueError>::new(repeat_n(1, count));
            let read: Announced = within(&Budget::for_payload(ROOM), seq).unwrap();
            assert_eq!(read, Announced(Some(announced)));

            let map = MapDeserializer::<_, ValueError>::new(repeat_n((1, 1), count));
            let read: Announced = within(&Budget::for_payload(ROOM), map).unwrap();
            assert_eq!(read, Announced(Some(announced)));
        }
    }

    /// Takes text only as its own.
    #[derive(Debug, PartialEq)]
    struct OwnedText(String);

    impl<'de> Deserialize<'de> for OwnedText {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_string(Self(String::new()))
        }
    }

    impl Visitor<'_> for OwnedText {
        type Value = Self;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text of one's own")
        }

        fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
            Err(E::custom("borrowed"))
        }

        fn visit_string<E: Error>(self, text: String) -> Result<Self, E> {
            Ok(Self(text))
        }
    }

    #[test]
    fn a_visitor_that_wants_its_own_text_gets_it() {
        let read: OwnedText = from_json(&Budget::for_payload(ROOM), r#""own""#).unwrap();
        assert_eq!(read, OwnedText("own".to_owned()));
    }
}
