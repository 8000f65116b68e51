//! MessagePack.

use std::fmt;
use std::io::Cursor;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Full, MAX_DEPTH, Sink};

/// MessagePack as JSON, or its beginning of more than `limit` bytes; `None` if it
/// is no MessagePack up to there.
pub(crate) fn message_pack(payload: &[u8], limit: usize) -> Option<String> {
    let mut from = rmp_serde::Deserializer::new(Cursor::new(payload));
    from.set_max_depth(MAX_DEPTH);
    let mut sink = Sink::new(limit);
    let read = Writer(&mut sink).deserialize(&mut from);
    let whole = read.is_ok() && from.position() == payload.len() as u64;
    sink.finish(whole)
}

fn full<E: Error>(_: Full) -> E {
    E::custom("enough")
}

/// Writes the next value as JSON.
struct Writer<'a>(&'a mut Sink);

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0
            .push(if value { "true" } else { "false" })
            .map_err(full)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push(&value.to_string()).map_err(full)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.push(&value.to_string()).map_err(full)
    }

    fn visit_f32<E: Error>(self, value: f32) -> Result<(), E> {
        match value.is_finite() {
            // As a wider float it would show digits that it does not have.
            true => self.0.push(&format!("{value:?}")),
            false => self.0.push_float(value.into()),
        }
        .map_err(full)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push_float(value).map_err(full)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.0.push_string(value).map_err(full)
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<(), E> {
        self.0.push_bytes(value).map_err(full)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push("null").map_err(full)
    }

    /// MessagePack's extension: its type and its bytes.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.0.push("[").map_err(full)?;
        let start = self.0.text.len();
        loop {
            if self.0.text.len() > start {
                self.0.text.push(',');
            }
            if access.next_element_seed(Writer(self.0))?.is_none() {
                break;
            }
        }
        self.0.drop_comma();
        self.0.push("]").map_err(full)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.0.push("{").map_err(full)?;
        let start = self.0.text.len();
        loop {
            if self.0.text.len() > start {
                self.0.text.push(',');
            }
            let key_at = self.0.text.len();
            if access.next_key_seed(Writer(self.0))?.is_none() {
                break;
            }
            self.0.quote_key(key_at);
            self.0.push(":").map_err(full)?;
            access.next_value_seed(Writer(self.0))?;
        }
        self.0.drop_comma();
        self.0.push("}").map_err(full)
    }
}
