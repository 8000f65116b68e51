//! Binary encodings that say what they mean, written as JSON.
//!
//! JSON has no bytes, no keys but strings and no infinite numbers: these become the
//! strings `"0x0a0b"`, the key's own JSON, and `"NaN"`, `"inf"`, `"-inf"`. A tag (CBOR)
//! or a type (MessagePack) with its content becomes an array of the two.

mod cbor;
mod message_pack;

use data_encoding::HEXLOWER;

pub(crate) use self::cbor::cbor;
pub(crate) use self::message_pack::message_pack;

/// How deep values may lie in each other; beyond that it is not shown as what it is.
const MAX_DEPTH: usize = 128;

/// There is more text than was wanted.
#[derive(Clone, Copy, Debug)]
struct Full;

/// The text so far, and how long it may become.
struct Sink {
    text: String,
    limit: usize,
    is_full: bool,
}

impl Sink {
    fn new(limit: usize) -> Self {
        let text = String::new();
        Self {
            text,
            limit,
            is_full: false,
        }
    }

    /// The text, if it is all of it or as much as was wanted.
    fn finish(self, whole: bool) -> Option<String> {
        (whole || self.is_full).then_some(self.text)
    }

    /// Fails once there is more than was wanted, which ends the decoding.
    fn push(&mut self, text: &str) -> Result<(), Full> {
        self.text.push_str(text);
        self.is_full = self.text.len() > self.limit;
        match self.is_full {
            true => Err(Full),
            false => Ok(()),
        }
    }

    fn push_string(&mut self, text: &str) -> Result<(), Full> {
        let mut end = text.len().min(self.limit.saturating_add(1));
        while !text.is_char_boundary(end) {
            end += 1;
        }
        self.push(&quoted(&text[..end]))
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = bytes.len().min(self.limit.saturating_add(1));
        self.push(&format!("\"0x{}\"", HEXLOWER.encode(&bytes[..end])))
    }

    /// Always with a point or an exponent: `1.0` is no integer.
    fn push_float(&mut self, value: f64) -> Result<(), Full> {
        match value.is_finite() {
            true => self.push(&format!("{value:?}")),
            false => self.push(&format!("\"{value}\"")),
        }
    }

    /// Takes back the comma that no element followed.
    fn drop_comma(&mut self) {
        if self.text.ends_with(',') {
            self.text.pop();
        }
    }

    /// Makes a string of the key that was written last, unless it is one.
    fn quote_key(&mut self, at: usize) {
        if !self.text[at..].starts_with('"') {
            let quoted = quoted(&self.text[at..]);
            self.text.replace_range(at.., &quoted);
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = usize::MAX;

    #[test]
    fn all_of_message_pack_becomes_json() {
        let cases: [(&[u8], &str); 8] = [
            (&[0xc0], "null"),
            (&[0x90], "[]"),
            (&[0x80], "{}"),
            (
                &[0x93, 0xc3, 0xff, 0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0],
                "[true,-1,1.5]",
            ),
            (&[0xca, 0x3d, 0xcc, 0xcc, 0xcd], "0.1"),
            (&[0xc4, 2, 0xab, 0xcd], "\"0xabcd\""),
            (
                &[0x82, 7, 0xa1, b'a', 0x91, 8, 0xc2],
                r#"{"7":"a","[8]":false}"#,
            ),
            (&[0xd4, 5, 0xff], "[5,\"0xff\"]"),
        ];
        for (bytes, json) in cases {
            assert_eq!(
                message_pack(bytes, ALL).as_deref(),
                Some(json),
                "{bytes:x?}"
            );
            serde_json::from_str::<serde_json::Value>(json).unwrap();
        }
    }

    #[test]
    fn all_of_cbor_becomes_json() {
        let cases: [(&[u8], &str); 8] = [
            (&[0xf7], "null"),
            (&[0xf9, 0x3e, 0x00], "1.5"),
            (&[0xf9, 0x7c, 0x00], "\"inf\""),
            (&[0xc1, 0x1a, 0, 0, 0, 9], "[1,9]"),
            (&[0x9f, 1, 0x9f, 0xff, 0xff], "[1,[]]"),
            (&[0xbf, 0x20, 0xf5, 0xff], r#"{"-1":true}"#),
            (&[0x42, 1, 2], "\"0x0102\""),
            (&[0x63, b'a', b'"', b'\n'], r#""a\"\n""#),
        ];
        for (bytes, json) in cases {
            assert_eq!(cbor(bytes, ALL).as_deref(), Some(json), "{bytes:x?}");
            serde_json::from_str::<serde_json::Value>(json).unwrap();
        }
    }

    #[test]
    fn what_is_neither_whole_nor_all_is_refused() {
        for bytes in [
            &[][..],
            &[0x92, 1],
            &[1, 1],
            &[0xc1],
            &[0xdd, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(message_pack(bytes, ALL), None, "{bytes:x?}");
        }
        for bytes in [
            &[][..],
            &[0x82, 1],
            &[1, 1],
            &[0xff],
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(cbor(bytes, ALL), None, "{bytes:x?}");
        }
        // Claims 4 GiB, holds none of it.
        assert_eq!(
            message_pack(&[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'], ALL),
            None
        );
        assert_eq!(cbor(&[0x7a, 0xff, 0xff, 0xff, 0xff, b'a'], ALL), None);
    }

    #[test]
    fn depth_has_an_end() {
        assert_eq!(message_pack(&vec![0x91; 100_000], ALL), None);
        assert_eq!(cbor(&vec![0x81; 100_000], ALL), None);
    }

    #[test]
    fn a_beginning_is_enough() {
        let mut long = vec![0xdd, 0, 0, 0xff, 0xff];
        long.extend(vec![1; 0xffff]);
        let text = message_pack(&long, 10).unwrap();
        assert!(text.starts_with("[1,1,1,1,1") && text.len() < 20, "{text}");
        let text = message_pack(&[0xa4, 0xc3, 0xbc, 0xc3, 0xbc], 2).unwrap();
        assert_eq!(text, "\"üü\"");
    }
}
