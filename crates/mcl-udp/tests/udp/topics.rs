//! Topics: given at open and at publish, filtered, none and the empty one.

use mcl_udp::{
    Broadcaster, Listener, ListenerBuilder, OpenError, Payload, PublishError, Queue, Raw,
    RawBroadcaster, RawListener, Topic,
};

use crate::support::{connection, eventually, in_network, next, noise, raw_listener};

/// Reads until the message with the payload `end` and gives the topics before it.
fn topics_until_end(queue: &Queue<Payload, Raw>) -> Vec<Option<String>> {
    let mut topics = Vec::new();
    loop {
        let message = next(queue);
        if message.payload == "end" {
            return topics;
        }
        topics.push(message.topic.map(|topic| topic.to_string()));
    }
}

fn some(topics: &[&str]) -> Vec<Option<String>> {
    topics
        .iter()
        .map(|topic| Some((*topic).to_owned()))
        .collect()
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_topic_given_at_open_holds_unless_publish_names_another() {
    in_network(|_| {
        let (_listener, queue) = raw_listener();
        let broadcaster = RawBroadcaster::builder(&connection()).topic("own");
        let broadcaster = broadcaster.open().unwrap();
        assert_eq!(broadcaster.topic().map(Topic::as_str), Some("own"));
        broadcaster.publish(b"").unwrap();
        broadcaster.publish_to("other", b"").unwrap();
        broadcaster.try_publish_to("third", b"").unwrap();
        broadcaster.publish(b"").unwrap();
        broadcaster.publish(b"end").unwrap();
        let expected = some(&["own", "other", "third", "own"]);
        assert_eq!(topics_until_end(&queue), expected);
    });
}

/// What a listener set up so gets of messages with each of these topics, small
/// ones and fragmented ones; and the small and the fragmented that it filtered.
fn wanted(
    set_up: impl FnOnce(ListenerBuilder<Payload, Raw>) -> ListenerBuilder<Payload, Raw>,
    end: Option<&str>,
) -> (Vec<Option<String>>, u64, u64) {
    let listener = set_up(RawListener::builder(&connection())).open().unwrap();
    let queue = listener.queue();
    let broadcaster = RawBroadcaster::open(&connection()).unwrap();
    for payload in [noise(1, 10), noise(2, 4000)] {
        broadcaster.publish(&payload).unwrap();
        for topic in ["", "a", "b", "c", "aa"] {
            broadcaster.publish_to(topic, &payload).unwrap();
        }
    }
    match end {
        None => broadcaster.publish(b"end").unwrap(),
        Some(topic) => broadcaster.publish_to(topic, b"end").unwrap(),
    };
    let topics = topics_until_end(&queue);
    let messages = listener.statistics().wire.messages;
    assert_eq!(messages.delivered, topics.len() as u64 + 1);
    assert_eq!(listener.statistics().messages_lost(), 0);
    (topics, messages.filtered, messages.filtered_by_hash)
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn without_topics_everything_is_wanted() {
    in_network(|_| {
        let (topics, filtered, by_hash) = wanted(|builder| builder, None);
        let mut all = vec![None];
        all.extend(some(&["", "a", "b", "c", "aa"]));
        assert_eq!(topics, [all.clone(), all].concat());
        assert_eq!((filtered, by_hash), (0, 0));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn one_topic_is_wanted_and_the_others_are_counted_as_filtered() {
    in_network(|_| {
        let (topics, filtered, by_hash) = wanted(|builder| builder.topic("a"), Some("a"));
        assert_eq!(topics, some(&["a", "a"]));
        assert_eq!((filtered, by_hash), (5, 5));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn several_topics_are_wanted() {
    in_network(|_| {
        let set_up = |builder: ListenerBuilder<_, _>| builder.topics(["a", "c"]).topic("none");
        let (topics, filtered, by_hash) = wanted(set_up, Some("c"));
        assert_eq!(topics, some(&["a", "c", "a", "c"]));
        assert_eq!((filtered, by_hash), (4, 4));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn no_topic_and_the_empty_topic_are_two_things() {
    in_network(|_| {
        let (topics, filtered, by_hash) = wanted(|builder| builder.topic(""), Some(""));
        assert_eq!(topics, some(&["", ""]));
        assert_eq!((filtered, by_hash), (5, 5));

        let (topics, filtered, by_hash) = wanted(ListenerBuilder::topicless, None);
        assert_eq!(topics, [None, None]);
        assert_eq!((filtered, by_hash), (5, 5));

        let (topics, ..) = wanted(|builder| builder.topicless().topic("b"), None);
        let both = [None, Some("b".to_owned())];
        assert_eq!(topics, [both.clone(), both].concat());
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn topics_of_255_bytes_and_beyond_ascii_travel_whole() {
    in_network(|_| {
        let longest = "x".repeat(255);
        let wide = "ü".repeat(127);
        let topics = [longest.as_str(), &wide, "日本語/センサー", "🦀", "a\0b\n"];
        for topic in topics {
            let listener = RawListener::builder(&connection()).topic(topic);
            let listener = listener.open().unwrap();
            assert_eq!(listener.topics(), [Topic::from(topic)]);
            let queue = listener.queue();
            let broadcaster = RawBroadcaster::builder(&connection()).topic(topic);
            let broadcaster = broadcaster.open().unwrap();
            broadcaster.publish(b"short").unwrap();
            broadcaster.publish_to(topic, &noise(1, 5000)).unwrap();
            for len in [5, 5000] {
                let message = next(&queue);
                assert_eq!(message.topic.as_deref(), Some(topic));
                assert_eq!(message.payload.len(), len);
            }
        }
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn topics_of_256_bytes_are_refused_everywhere() {
    in_network(|_| {
        // 254 characters, 256 bytes.
        let long = format!("{}üü", "x".repeat(252));
        assert_eq!(long.len(), 256);
        let refused = |error: OpenError| matches!(error, OpenError::TopicTooLong { len: 256 });

        let broadcaster = RawBroadcaster::builder(&connection()).topic(&long);
        assert!(refused(broadcaster.open().unwrap_err()));
        let listener = RawListener::builder(&connection()).topics(["short", &long]);
        assert!(refused(listener.open().unwrap_err()));

        let broadcaster = Broadcaster::<str>::open(&connection()).unwrap();
        let errors = [
            broadcaster.publish_to(&long, "text").unwrap_err(),
            broadcaster.try_publish_to(&long, "text").unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, PublishError::TopicTooLong { len: 256 }));
            assert!(error.to_string().contains("255"), "{error}");
        }
        assert_eq!(broadcaster.statistics().datagrams, 0);
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_topic_received_again_shares_its_text() {
    in_network(|_| {
        let listener = Listener::<u8>::open(&connection()).unwrap();
        let queue = listener.queue();
        let broadcaster = Broadcaster::<u8>::open(&connection()).unwrap();
        for topic in ["imu", "lidar", "imu", "lidar", "imu"] {
            broadcaster.publish_to(topic, &0).unwrap();
        }
        let topics: Vec<Topic> = (0..5).map(|_| next(&queue).topic.unwrap()).collect();
        let at = |index: usize| topics[index].as_str().as_ptr();
        assert_eq!((at(0), at(0), at(1)), (at(2), at(4), at(3)));
        assert_ne!(at(0), at(1));
    });
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_filtered_message_under_reassembly_costs_no_memory() {
    in_network(|_| {
        let listener = RawListener::builder(&connection()).topic("wanted");
        let listener = listener.open().unwrap();
        let _queue = listener.queue();
        let broadcaster = RawBroadcaster::open(&connection()).unwrap();
        broadcaster
            .publish_to("unwanted", &noise(1, 1 << 20))
            .unwrap();
        eventually("it was seen", || {
            let frames = listener.statistics().wire.frames;
            frames.fragment_filtered == broadcaster.statistics().datagrams
        });
        assert_eq!(listener.statistics().reassembly_bytes, 0);
        assert_eq!(listener.statistics().wire.messages.started, 0);
    });
}
