//! From what a person wrote to what goes into a message.

use clap::ValueEnum;
use mcl_udp::Encoding;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encode {
    /// Bytes as they are
    Raw,
    /// Text, which must be UTF-8
    Text,
    /// JSON, which must be valid
    Json,
    /// MessagePack of what is given as JSON
    Msgpack,
    /// CBOR of what is given as JSON
    Cbor,
}

impl Encode {
    pub(super) const fn encoding(self) -> Encoding {
        match self {
            Self::Raw => Encoding::RAW,
            Self::Text => Encoding::TEXT,
            Self::Json => Encoding::JSON,
            Self::Msgpack => Encoding::MESSAGE_PACK,
            Self::Cbor => Encoding::CBOR,
        }
    }

    pub(super) fn payload(self, bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Raw => Ok(bytes),
            Self::Text => String::from_utf8(bytes)
                .map(String::into_bytes)
                .map_err(|error| {
                    Failure::Encode(format!(
                        "the input is no UTF-8 text: {error}; `--encode raw` publishes any bytes"
                    ))
                }),
            Self::Json => {
                let json: &RawValue = serde_json::from_slice(&bytes).map_err(no_json)?;
                Ok(json.get().into())
            }
            Self::Msgpack => rmp_serde::to_vec(&value(&bytes)?).map_err(no_form),
            Self::Cbor => {
                let mut encoded = Vec::new();
                ciborium::into_writer(&value(&bytes)?, &mut encoded).map_err(no_form)?;
                Ok(encoded)
            }
        }
    }
}

fn value(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(no_json)
}

fn no_json(error: serde_json::Error) -> Failure {
    Failure::Encode(format!(
        "the input is no JSON: {error}; a text is JSON in quotes, as in '\"hello\"', and `--encode text` takes it without"
    ))
}

fn no_form(error: impl std::fmt::Display) -> Failure {
    Failure::Encode(format!("the input cannot be encoded: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::View;

    #[test]
    fn what_is_encoded_is_shown_as_it_was_written() {
        let json = r#"{"a":[1,-2,2.5,null,true],"b":"c"}"#;
        for encode in [Encode::Json, Encode::Msgpack, Encode::Cbor] {
            let payload = encode.payload(format!(" {json}\n").into()).unwrap();
            let view = View::new(encode.encoding(), &payload, 1000);
            assert_eq!(view.text, json);
            assert_eq!(
                Some(view.form.name()),
                encode.to_possible_value().as_ref().map(|it| it.get_name())
            );
            let error = encode.payload(b"hello".into()).unwrap_err().to_string();
            assert!(error.contains("--encode text"), "{error}");
        }
    }

    #[test]
    fn text_is_utf8_and_raw_is_anything() {
        assert!(Encode::Text.payload(vec![0xff]).is_err());
        assert_eq!(Encode::Text.payload(b"ja\n".into()).unwrap(), b"ja\n");
        assert_eq!(Encode::Raw.payload(vec![0xff]).unwrap(), [0xff]);
    }
}
