//! What MCL is in MCAP: how encodings, channels and accounts are called there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mcl_udp::{Encoding, Message, Payload};

/// The channel of the losses, and the name of its schema.
pub(crate) const LOSSES_TOPIC: &str = "/mcl/losses";
pub(crate) const LOSSES_SCHEMA: &str = "mcl.Losses";

/// The metadata record at the end of a file: what it holds, and why it ended.
pub(crate) const RECORDING: &str = "mcl.recording";

/// The metadata records at the end of a file: the account of each connection.
pub(crate) const ACCOUNT: &str = "mcl.account";

/// Keys of a channel's metadata.
pub(crate) const CONNECTION: &str = "connection";
pub(crate) const STREAM: &str = "stream";
/// Absent if messages have no topic, which is not the same as an empty one.
pub(crate) const TOPIC: &str = "topic";
pub(crate) const ENCODING: &str = "encoding";
pub(crate) const SCHEMA: &str = "schema";
pub(crate) const SENDER: &str = "sender";
/// The number of the channel's first message: `sequence` has but 32 bits.
pub(crate) const FIRST_NUMBER: &str = "first_number";

/// What a loss looks like, for programs that plot it.
pub(crate) const LOSSES_JSON_SCHEMA: &str = r#"{
  "title": "mcl.Losses",
  "description": "Messages of a stream that are not in this recording, by cause, since its beginning",
  "type": "object",
  "properties": {
    "connection": {"type": "string"},
    "stream": {"type": "string"},
    "lost": {"type": "integer"},
    "new": {"type": "integer", "description": "since the last such message of this stream"},
    "losses": {"type": "object", "additionalProperties": {"type": "integer"}},
    "last_number": {"type": ["integer", "null"], "description": "the last message of the stream before this one in the file"}
  }
}"#;

/// The names that MCAP has for encodings, and ours where it has none.
const NAMES: [(&str, Encoding); 8] = [
    ("", Encoding::RAW),
    ("bincode2", Encoding::BINCODE2),
    ("json", Encoding::JSON),
    ("cbor", Encoding::CBOR),
    ("msgpack", Encoding::MESSAGE_PACK),
    ("text", Encoding::TEXT),
    ("protobuf", Encoding::PROTOBUF),
    ("cdr", Encoding::CDR),
];

/// What MCAP calls an encoding.
pub(crate) fn encoding_name(encoding: Encoding) -> Cow<'static, str> {
    let known = NAMES.iter().find(|(_, it)| *it == encoding);
    known.map_or_else(
        || format!("mcl-{}", encoding.0).into(),
        |(name, _)| (*name).into(),
    )
}

/// The encoding that MCAP calls so; what MCL has no name for is raw bytes.
pub(crate) fn encoding_named(name: &str) -> Encoding {
    let known = NAMES.iter().find(|(it, _)| *it == name);
    let private = || name.strip_prefix("mcl-")?.parse().ok().map(Encoding);
    known
        .map(|(_, encoding)| *encoding)
        .or_else(private)
        .unwrap_or(Encoding::RAW)
}

/// A schema as text, and back.
pub(crate) fn schema_name(schema: u64) -> String {
    format!("{schema:#018x}")
}

/// The schema that is called so.
pub(crate) fn schema_named(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("0x")?, 16).ok()
}

/// What a channel's metadata says about its messages.
pub(crate) fn channel_metadata(
    connection: &str,
    message: &Message<Payload>,
) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    let mut set = |key: &str, value: String| metadata.insert(key.to_owned(), value);
    set(CONNECTION, connection.to_owned());
    set(STREAM, message.stream.to_string());
    set(ENCODING, message.encoding.0.to_string());
    set(SENDER, message.sender.to_string());
    set(FIRST_NUMBER, message.number.to_string());
    if let Some(topic) = &message.topic {
        set(TOPIC, topic.to_string());
    }
    if let Some(schema) = message.schema {
        set(SCHEMA, schema_name(schema));
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_and_schema_comes_back() {
        for id in 0..=255 {
            let encoding = Encoding(id);
            assert_eq!(encoding_named(&encoding_name(encoding)), encoding);
        }
        assert_eq!(encoding_named("ros1"), Encoding::RAW);
        assert_eq!(encoding_named("mcl-256"), Encoding::RAW);
        for schema in [0, 1, u64::MAX] {
            assert_eq!(schema_named(&schema_name(schema)), Some(schema));
        }
    }
}
