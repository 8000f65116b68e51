//! Payloads and topics as text: for a line on a terminal, whole for JSON.
//!
//! All of it came from the network: what would move the cursor, change colours or
//! turn the direction of writing is escaped.

use std::borrow::Cow;
use std::fmt::Write;

use data_encoding::{BASE64, HEXLOWER};
use mcl_udp::Encoding;
use serde_json::value::RawValue;

use crate::transcode;

/// How a payload is shown. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// UTF-8 without control characters but tabs and ends of lines.
    Text,
    /// JSON, on one line.
    Json,
    /// MessagePack, written as JSON.
    MessagePack,
    /// CBOR, written as JSON.
    Cbor,
    /// Anything else, two hexadecimal digits a byte.
    Hex,
}

impl Form {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::MessagePack => "msgpack",
            Self::Cbor => "cbor",
            Self::Hex => "hex",
        }
    }
}

/// A payload as one line of text that is safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) form: Form,
    pub(crate) text: String,
}

impl View {
    /// At most about `limit` characters of it; what was left away shows as `…`.
    ///
    /// The encoding is what the message claims: a payload that does not follow it is
    /// shown as text or hex.
    pub(crate) fn new(encoding: Encoding, payload: &[u8], limit: usize) -> Self {
        let (form, text) = match decoded(encoding, payload, limit) {
            Some(decoded) => decoded,
            None => match plain_text(encoding, payload, limit) {
                Some(text) => (Form::Text, text.to_owned()),
                // One more than is shown, so that cutting it shows.
                None => {
                    let shown = payload.len().min(limit / 2 + 1);
                    (Form::Hex, HEXLOWER.encode(&payload[..shown]))
                }
            },
        };
        let text = cut(&text, limit);
        Self { form, text }
    }
}

/// The whole payload as JSON, if it names an encoding that says what it means and
/// follows it.
pub(crate) fn value(encoding: Encoding, payload: &[u8]) -> Option<Box<RawValue>> {
    let (_, text) = decoded(encoding, payload, usize::MAX)?;
    RawValue::from_string(text).ok()
}

/// The whole payload as a string, and which kind of string: `text` if it is UTF-8,
/// else `base64`. The names are stable.
pub(crate) fn string(payload: &[u8]) -> (&'static str, Cow<'_, str>) {
    match std::str::from_utf8(payload) {
        Ok(text) => ("text", text.into()),
        Err(_) => ("base64", BASE64.encode(payload).into()),
    }
}

/// A topic as a word: `-` for none, in quotes if it would be mistaken for something
/// else.
pub(crate) fn topic(topic: Option<&str>) -> Cow<'_, str> {
    let ordinary = |char: char| !is_special(char) && !char.is_whitespace() && char != '"';
    match topic {
        None => "-".into(),
        Some(topic) if !matches!(topic, "" | "-") && topic.chars().all(ordinary) => topic.into(),
        Some(topic) => format!("\"{}\"", escaped(topic).replace('"', "\\\"")).into(),
    }
}

/// Text with what is no ordinary character escaped: `\n`, `\u{1b}`.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_special) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match is_special(char) {
            true => {
                // Writing to a string cannot fail.
                let _ = write!(safe, "{}", char.escape_default());
            }
            false => safe.push(char),
        }
    }
    safe.into()
}

/// Whether a terminal does something else with it than show it: control characters,
/// and those that turn the direction of writing or are ends of lines.
fn is_special(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn decoded(encoding: Encoding, payload: &[u8], limit: usize) -> Option<(Form, String)> {
    let (form, text) = match encoding {
        Encoding::JSON => (Form::Json, compact_json(payload)),
        Encoding::MESSAGE_PACK => (Form::MessagePack, transcode::message_pack(payload, limit)),
        Encoding::CBOR => (Form::Cbor, transcode::cbor(payload, limit)),
        _ => return None,
    };
    Some((form, text?))
}

/// JSON without the blanks between its parts; `None` if it is none.
fn compact_json(payload: &[u8]) -> Option<String> {
    let json: &RawValue = serde_json::from_slice(payload).ok()?;
    let (mut in_string, mut after_backslash) = (false, false);
    let keep = |char: &char| {
        let blank = !in_string && char.is_ascii_whitespace();
        if *char == '"' && !after_backslash {
            in_string = !in_string;
        }
        after_backslash = in_string && *char == '\\' && !after_backslash;
        !blank
    };
    Some(json.get().chars().filter(keep).collect())
}

/// The payload if it can be taken for text. Encodings that are known not to be text
/// are not, whatever their bytes look like.
fn plain_text(encoding: Encoding, payload: &[u8], limit: usize) -> Option<&str> {
    if matches!(
        encoding,
        Encoding::BINCODE2 | Encoding::PROTOBUF | Encoding::CDR
    ) {
        return None;
    }
    let text = std::str::from_utf8(payload).ok()?;
    let shown = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
    let end = text.char_indices().nth(limit.saturating_add(1));
    let text = &text[..end.map_or(text.len(), |(at, _)| at)];
    text.chars().all(shown).then_some(text)
}

/// At most `limit` characters, escaped.
fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{}…", escaped(&text[..at])),
        None => escaped(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(encoding: Encoding, payload: &[u8], limit: usize) -> (&'static str, String) {
        let view = View::new(encoding, payload, limit);
        (view.form.name(), view.text)
    }

    #[test]
    fn what_can_be_read_is_text_and_the_rest_hex() {
        let raw = |payload, limit| shown(Encoding::RAW, payload, limit);
        assert_eq!(raw(b"hello", 100), ("text", "hello".into()));
        assert_eq!(raw(b"", 100), ("text", String::new()));
        assert_eq!(
            raw("grün\n\tja".as_bytes(), 100),
            ("text", "grün\\n\\tja".into())
        );
        assert_eq!(raw(&[0, 1, 255], 100), ("hex", "0001ff".into()));
        assert_eq!(
            raw(b"a\x1b[31mred", 100),
            ("hex", "611b5b33316d726564".into())
        );
        assert_eq!(raw(b"hello", 3), ("text", "hel…".into()));
        assert_eq!(raw(b"hello", 5), ("text", "hello".into()));
        assert_eq!(raw(&[1, 2, 3, 4], 4), ("hex", "0102…".into()));
        assert_eq!(raw(&[1, 2], 4), ("hex", "0102".into()));
    }

    #[test]
    fn the_encoding_decides_and_need_not_be_believed() {
        assert_eq!(
            shown(Encoding::BINCODE2, b"abc", 9),
            ("hex", "616263".into())
        );
        assert_eq!(
            shown(Encoding::FIRST_PRIVATE, b"abc", 9),
            ("text", "abc".into())
        );
        let pretty = b"{\n  \"a b\": \"c\\\" \\\\\" ,\n \"d\": [1, 2]\n}\n";
        let compact = r#"{"a b":"c\" \\","d":[1,2]}"#;
        assert_eq!(shown(Encoding::JSON, pretty, 99), ("json", compact.into()));
        assert_eq!(
            shown(Encoding::JSON, b"not json", 99),
            ("text", "not json".into())
        );
        let map = [0x81, 0xa1, b'x', 0x93, 1, 2, 3];
        assert_eq!(
            shown(Encoding::MESSAGE_PACK, &map, 99),
            ("msgpack", r#"{"x":[1,2,3]}"#.into())
        );
        assert_eq!(
            shown(Encoding::MESSAGE_PACK, &map, 6),
            ("msgpack", "{\"x\":[…".into())
        );
        assert_eq!(
            shown(Encoding::MESSAGE_PACK, &map[..6], 99),
            ("hex", "81a178930102".into())
        );
        assert_eq!(
            shown(Encoding::CBOR, &[0x82, 0xf6, 0x20], 99),
            ("cbor", "[null,-1]".into())
        );
    }

    #[test]
    fn nothing_from_the_network_steers_the_terminal() {
        let json = "\"\\u001b \u{202e} \u{85}\"";
        let (_, text) = shown(Encoding::JSON, json.as_bytes(), 99);
        assert_eq!(text, "\"\\u001b \\u{202e} \\u{85}\"");
        assert_eq!(topic(Some("a\u{1b}]0;b")), "\"a\\u{1b}]0;b\"");
    }

    #[test]
    fn topics_are_words_and_no_topic_is_not_the_empty_one() {
        assert_eq!(topic(None), "-");
        assert_eq!(topic(Some("imu/0")), "imu/0");
        for (name, quoted) in [
            ("", "\"\""),
            ("-", "\"-\""),
            ("a b", "\"a b\""),
            ("\"", "\"\\\"\""),
        ] {
            assert_eq!(topic(Some(name)), quoted);
        }
    }

    #[test]
    fn the_whole_payload_goes_into_json() {
        assert_eq!(string(b"a\n\x1b"), ("text", "a\n\x1b".into()));
        assert_eq!(string(&[0xff, 0]), ("base64", "/wA=".into()));
        assert_eq!(value(Encoding::CBOR, &[0x81, 1]).unwrap().get(), "[1]");
        assert!(value(Encoding::RAW, b"1").is_none());
        assert!(value(Encoding::JSON, b"1 2").is_none());
    }
}
