//! Payloads that are no value of the listener's type.

use std::sync::{Arc, Mutex};

use mcl_udp::{
    BincodeError, Broadcaster, Codec, CodecError, DecodeError, Encoding, Listener, Message,
    Payload, Queue, Raw, RawBroadcaster, RecvError, RecvTimeoutError, TryRecvError, Undecodable,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::support::{PATIENCE, connection, eventually, in_network, next, typed_listener};

#[derive(Clone, Copy, Debug, Default)]
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

fn claiming(encoding: Encoding) -> RawBroadcaster {
    RawBroadcaster::builder(&connection())
        .encoding(encoding)
        .open()
        .unwrap()
}

/// The error that comes next out of a queue.
#[track_caller]
fn next_error<T: DeserializeOwned + std::fmt::Debug>(queue: &Queue<T>) -> Undecodable {
    match queue.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Undecodable(error)) => *error,
        other => panic!("{other:?}"),
    }
}

fn bincode_error(error: &Undecodable) -> &BincodeError {
    let DecodeError::Malformed(error) = &error.reason else {
        panic!("{error:?}");
    };
    error.inner().downcast_ref().unwrap()
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn another_codec_plugs_in_on_both_sides() {
    in_network(|_| {
        let listener = Listener::<(u8, String), Json>::open(&connection()).unwrap();
        let queue = listener.queue();
        let built = Listener::<(u8, String)>::builder(&connection()).codec(Json);
        let built = built.open().unwrap();
        let built = built.queue();
        let broadcaster = Broadcaster::<(u8, String)>::builder(&connection()).codec(Json);
        let broadcaster = broadcaster.open().unwrap();
        let value = (7, "seven".to_owned());
        broadcaster.publish(&value).unwrap();
        let message = next(&queue);
        assert_eq!(
            (message.payload, message.encoding),
            (value.clone(), Encoding::JSON)
        );
        assert_eq!(next(&built).payload, value);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn another_encoding_is_an_error_for_that_message_alone() {
    in_network(|_| {
        let (listener, queue) = typed_listener::<String>();
        let json = Broadcaster::<str, Json>::open(&connection()).unwrap();
        let bincode = Broadcaster::<str>::open(&connection()).unwrap();
        json.publish_to("which", "in JSON").unwrap();
        bincode.publish("in bincode").unwrap();

        let error = next_error(&queue);
        let DecodeError::Encoding { expected, got } = &error.reason else {
            panic!("{error:?}");
        };
        assert_eq!(
            (*expected, *got),
            (Some(Encoding::BINCODE2), Encoding::JSON)
        );
        assert_eq!(error.message.payload, "\"in JSON\"");
        assert_eq!(error.message.stream, json.stream());
        assert_eq!(error.message.topic.as_deref(), Some("which"));
        assert!(std::error::Error::source(&error).is_some());
        assert_eq!(next(&queue).payload, "in bincode");
        assert_eq!(queue.statistics().undecodable, 1);
        assert!(listener.is_open());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn another_schema_or_none_is_an_error_where_one_is_expected() {
    in_network(|_| {
        let listener = Listener::<u16>::builder(&connection()).schema(7);
        let listener = listener.open().unwrap();
        let (queue, (_any, any)) = (listener.queue(), typed_listener::<u16>());
        for (value, schema) in [(1, Some(8)), (2, None), (3, Some(7))] {
            let mut builder = Broadcaster::<u16>::builder(&connection());
            if let Some(schema) = schema {
                builder = builder.schema(schema);
            }
            builder.open().unwrap().publish(&value).unwrap();
        }
        for wrong in [Some(8), None] {
            let error = next_error(&queue);
            assert_eq!(error.message.schema, wrong);
            let expected = matches!(
                error.reason,
                DecodeError::Schema { expected: 7, got } if got == wrong
            );
            assert!(expected, "{error:?}");
        }
        let message = next(&queue);
        assert_eq!((message.payload, message.schema), (3, Some(7)));
        // Who expects none takes them all.
        let values = [(); 3].map(|()| next(&any).payload);
        assert_eq!(values, [1, 2, 3]);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn undecodable_bytes_are_errors_in_queues_and_the_next_message_arrives() {
    in_network(|_| {
        let (_listener, queue) = typed_listener::<(u8, String)>();
        let raw = claiming(Encoding::BINCODE2);
        let good = Broadcaster::<(u8, String)>::open(&connection()).unwrap();
        let fine = (1, "fine".to_owned());
        let send = |bytes: &[u8]| {
            raw.publish(bytes).unwrap();
            good.publish(&fine).unwrap();
        };

        send(b"");
        let error = next_error(&queue);
        assert!(matches!(
            bincode_error(&error),
            BincodeError::Truncated { .. }
        ));
        assert_eq!(queue.recv().unwrap().payload, fine);

        send(b"\x01\x01xyz");
        let Err(RecvError::Undecodable(error)) = queue.recv() else {
            panic!("no error");
        };
        let trailing = matches!(
            bincode_error(&error),
            BincodeError::Trailing { used: 3, got: 5 }
        );
        assert!(trailing, "{error:?}");
        assert_eq!(next(&queue).payload, fine);

        send(b"\x01\x01\xff");
        eventually("both are queued", || queue.len() == 2);
        let Err(TryRecvError::Undecodable(error)) = queue.try_recv() else {
            panic!("no error");
        };
        assert!(matches!(
            bincode_error(&error),
            BincodeError::Malformed { .. }
        ));

        // Iterating gives it as well.
        assert_eq!(queue.iter().next().unwrap().unwrap().payload, fine);
        send(b"\xff");
        assert!(queue.iter().next().unwrap().is_err());
        assert_eq!(queue.recv().unwrap().payload, fine);
        assert_eq!(queue.statistics().undecodable, 4);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn for_callbacks_undecodable_messages_are_counted_and_go_to_the_hook() {
    in_network(|_| {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&heard);
        let listener = Listener::<String>::builder(&connection())
            .on_error(move |error: &Undecodable| {
                hear.lock().unwrap().push(error.message.payload.clone());
                if error.message.payload == "panic" {
                    std::panic::resume_unwind(Box::new("in the hook"));
                }
            })
            .open()
            .unwrap();
        let values = Arc::new(Mutex::new(Vec::new()));
        let collect = || {
            let values = Arc::clone(&values);
            move |message: Message<String>| values.lock().unwrap().push(message.payload)
        };
        let ids = [
            listener.subscribe(collect()),
            listener.subscribe_inline(collect()),
        ];
        let raw = RawBroadcaster::open(&connection()).unwrap();
        let good = Broadcaster::<str>::open(&connection()).unwrap();
        for bad in ["one", "panic", "two"] {
            raw.publish(bad.as_bytes()).unwrap();
            good.publish(bad).unwrap();
        }
        for id in ids {
            eventually("each is counted", || {
                let counts = listener.subscription_statistics(id).unwrap();
                (counts.undecodable, counts.panics, counts.delivered) == (3, 1, 6)
            });
        }
        eventually("what can be decoded arrives", || {
            values.lock().unwrap().len() == 6
        });
        let mut heard: Vec<Payload> = heard.lock().unwrap().clone();
        heard.sort_by_key(|payload| payload.to_vec());
        let expected = ["one", "one", "panic", "panic", "two", "two"];
        assert_eq!(
            heard,
            expected.map(|it| Payload::from(it.as_bytes().to_vec()))
        );
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn claims_of_half_a_thousand_million_units_in_five_bytes_fail_at_once() {
    in_network(|_| {
        // 252 announces a length of four bytes.
        const CLAIM: [u8; 5] = [252, 0xff, 0xff, 0xff, 0x1f];
        let (_texts, texts) = typed_listener::<String>();
        let (_units, units) = typed_listener::<Vec<()>>();
        let (_bytes, bytes) = typed_listener::<Vec<u8>>();
        let (_nested, nested) = typed_listener::<Vec<Vec<Option<u64>>>>();
        let raw = claiming(Encoding::BINCODE2);
        raw.publish(&CLAIM).unwrap();
        assert!(matches!(
            bincode_error(&next_error(&texts)),
            BincodeError::Truncated { .. }
        ));
        let error = next_error(&units);
        assert!(
            matches!(bincode_error(&error), BincodeError::TooManyElements { .. }),
            "{error}"
        );
        next_error(&bytes);
        next_error(&nested);
        // All of them live on.
        raw.publish(&[0]).unwrap();
        assert_eq!(next(&texts).payload, "");
        assert!(next(&units).payload.is_empty());
        assert!(next(&bytes).payload.is_empty());
        assert!(next(&nested).payload.is_empty());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_raw_listener_takes_every_encoding_and_says_which() {
    in_network(|_| {
        let listener = Listener::<Payload, Raw>::open(&connection()).unwrap();
        let queue = listener.queue();
        claiming(Encoding::CBOR).publish(b"cbor").unwrap();
        claiming(Encoding(200)).publish(b"own").unwrap();
        Broadcaster::<str>::open(&connection())
            .unwrap()
            .publish("text")
            .unwrap();
        RawBroadcaster::open(&connection())
            .unwrap()
            .publish(b"raw")
            .unwrap();
        let expected: [(Encoding, &[u8]); 4] = [
            (Encoding::CBOR, b"cbor"),
            (Encoding(200), b"own"),
            (Encoding::BINCODE2, b"\x04text"),
            (Encoding::RAW, b"raw"),
        ];
        for (encoding, payload) in expected {
            let message = next(&queue);
            assert_eq!(message.encoding, encoding);
            assert_eq!(message.payload, payload);
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_value_that_has_no_form_is_a_typed_error_and_nothing_is_sent() {
    in_network(|_| {
        struct Refusing;
        impl Serialize for Refusing {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no form"))
            }
        }
        let broadcaster = Broadcaster::<Refusing>::open(&connection()).unwrap();
        let error = broadcaster.publish(&Refusing).unwrap_err();
        assert!(
            matches!(error, mcl_udp::PublishError::Encode(_)),
            "{error:?}"
        );
        assert!(error.to_string().contains("no form"), "{error}");
        assert_eq!(broadcaster.statistics().datagrams, 0);
    });
}
