//! What `mcl pub` sends and `mcl echo` shows.

use std::fs;
use std::time::{Duration, Instant};

use mcl_testbed::Namespace;
use serde_json::{Value, json};

use crate::support::{Ended, GROUP, Running, mcl, network, number, run};

/// Starts an echo that ends after so many messages.
fn echo(namespace: &Namespace, count: &str, options: &[&str]) -> Running {
    let all = [
        &["echo", GROUP, "--count", count, "--seconds", "15"],
        options,
    ]
    .concat();
    Running::start(namespace, &all).listening()
}

fn publish(namespace: &Namespace, options: &[&str]) -> Ended {
    run(namespace, &[&["pub", GROUP], options].concat())
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_line_per_message_across_a_cable_and_the_payload_as_its_encoding_says() {
    let (here, there) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    Namespace::veth(&here, "v0", &there, "v1").unwrap();
    let echo = echo(&there, "6", &["--interface", "v1"]);
    let json = r#"{"x": 1, "y": [2.5, null]}"#;
    publish(&here, &["hello\nthere"]);
    publish(&here, &["in", "--topic", "two words", "--encode", "text"]);
    for encoding in ["json", "msgpack", "cbor"] {
        publish(&here, &[json, "--encode", encoding, "--topic", "pose"]);
    }
    publish(&here, &["--size", "300"]);
    let echo = echo.ended();
    assert!(echo.status.success(), "{echo:?}");
    let lines: Vec<&str> = echo.text().lines().collect();
    let compact = r#"{"x":1,"y":[2.5,null]}"#;
    let ends = [
        ":0 11 B text hello\\nthere".to_owned(),
        ":0 2 B text in".to_owned(),
        format!(":0 26 B json {compact}"),
        format!(" B msgpack {compact}"),
        format!(" B cbor {compact}"),
        "…".to_owned(),
    ];
    for (line, end) in lines.iter().zip(&ends) {
        assert!(line.ends_with(end), "{line}, not {end}");
    }
    assert!(lines[0].contains("Z - "), "{}", lines[0]);
    assert!(lines[1].contains("Z \"two words\" "), "{}", lines[1]);
    assert!(lines[5].contains(" 300 B hex "), "{}", lines[5]);
    assert!(lines[5].chars().count() < 300, "{}", lines[5]);
    assert!(
        echo.errors.contains("echo: 6 messages, "),
        "{}",
        echo.errors
    );
    assert!(echo.errors.ends_with("; 0 lost\n"), "{}", echo.errors);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn json_has_the_whole_message() {
    let namespace = network();
    let echo = echo(&namespace, "3", &["--json"]);
    let sent = publish(&namespace, &["a\u{1b}b", "--topic", "t", "--json"]).objects();
    publish(&namespace, &["[1,{\"a\":null}]", "--encode", "cbor"]);
    publish(&namespace, &["--size", "5000"]);
    let ended = echo.ended();
    let got = ended.objects();
    assert_eq!(got.len(), 3);
    let first = &got[0];
    let expected = [
        ("topic", json!("t")),
        ("stream", sent[0]["stream"].clone()),
        ("number", json!(0)),
        ("size", json!(3)),
        ("encoding", json!("raw")),
        ("payload_as", json!("text")),
        ("payload", json!("a\u{1b}b")),
        ("schema", Value::Null),
    ];
    for (name, value) in expected {
        assert_eq!(first[name], value, "{name}: {first}");
    }
    let delay = number(first, "time_ns") - number(first, "published_ns");
    assert!((0.0..5e9).contains(&delay), "{first}");
    assert!(first.get("value").is_none());
    assert_eq!(got[1]["topic"], Value::Null);
    assert_eq!(got[1]["value"], json!([1, { "a": null }]));
    assert_eq!(got[1]["payload_as"], "base64");
    assert_eq!(
        got[2]["payload"].as_str().unwrap().len(),
        5000_usize.div_ceil(3) * 4
    );
    let summary = ended.summary();
    assert_eq!((&summary["msgs"], &summary["lost"]), (&json!(3), &json!(0)));
    assert_eq!(summary["streams"], 3);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn raw_bytes_go_through_unchanged() {
    let namespace = network();
    let file = std::env::temp_dir().join(format!("mcl-raw-{}", std::process::id()));
    let bytes: Vec<u8> = (0..25_000_u32).map(|it| (it * 7 / 3) as u8).collect();
    fs::write(&file, &bytes).unwrap();
    let echo = echo(&namespace, "2", &["--raw"]);
    publish(
        &namespace,
        &["--file", file.to_str().unwrap(), "--count", "2"],
    );
    fs::remove_file(&file).unwrap();
    let ended = echo.ended();
    assert!(ended.out == [&bytes[..], &bytes[..]].concat());
    assert!(
        ended.errors.contains("2 messages, 50000 bytes"),
        "{}",
        ended.errors
    );
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn standard_input_is_one_message_and_its_lines_are_many_as_they_come() {
    let namespace = network();
    let echo = echo(&namespace, "4", &["--json"]);
    let mut whole = Running::with_input(&namespace, &["pub", GROUP, "--stdin"]);
    whole.write(b"all\nof it\n");
    whole.close_input();
    assert!(whole.ended().status.success());
    let mut lines = Running::with_input(&namespace, &["pub", GROUP, "--stdin-lines", "--json"]);
    lines.write(b"one\ntwo\r\n");
    // They are sent although the input goes on.
    std::thread::sleep(Duration::from_millis(300));
    lines.write(b"three");
    lines.close_input();
    let sent = lines.json();
    assert_eq!(
        (&sent["msgs"], &sent["bytes"], &sent["errors"]),
        (&json!(3), &json!(11), &json!(0))
    );
    let got = echo.ended().objects();
    let payloads: Vec<&str> = got
        .iter()
        .map(|it| it["payload"].as_str().unwrap())
        .collect();
    assert_eq!(payloads, ["all\nof it\n", "one", "two", "three"]);
    assert!(number(&got[3], "time_ns") - number(&got[2], "time_ns") > 0.2e9);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_rate_is_kept_and_a_count_is_the_end() {
    let namespace = network();
    let echo = echo(&namespace, "30", &["--json", "--no-payload"]);
    let begun = Instant::now();
    let options = ["--size", "100", "--rate", "100", "--count", "30", "--json"];
    let sent = publish(&namespace, &options).objects();
    assert!(begun.elapsed() > Duration::from_millis(290));
    assert_eq!(
        (&sent[0]["msgs"], &sent[0]["bytes"]),
        (&json!(30), &json!(3000))
    );
    let got = echo.ended().objects();
    let numbers: Vec<u64> = got
        .iter()
        .map(|it| it["number"].as_u64().unwrap())
        .collect();
    assert!(numbers.iter().copied().eq(0..30), "{numbers:?}");
    let span = number(&got[29], "time_ns") - number(&got[0], "time_ns");
    assert!((0.28e9..5e9).contains(&span), "{span}");
    assert!(got[0].get("payload").is_none());
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn only_the_topics_named_are_shown_and_what_is_filtered_is_not_lost() {
    let namespace = network();
    let echo = echo(&namespace, "2", &["--topic", "a", "--topic", "b", "--json"]);
    for topic in ["c", "a", "c", "b"] {
        publish(&namespace, &["x", "--topic", topic]);
    }
    let ended = echo.ended();
    let topics: Vec<Value> = ended
        .objects()
        .iter()
        .map(|it| it["topic"].clone())
        .collect();
    assert_eq!(topics, ["a", "b"]);
    assert_eq!(ended.summary()["lost"], 0);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn losses_are_told_by_cause_with_what_mends_them() {
    let namespace = network();
    let echo = echo(&namespace, "1", &["--max-message", "1000"]);
    publish(&namespace, &["--size", "5000"]);
    publish(&namespace, &["short"]);
    let errors = echo.ended().errors;
    assert!(errors.contains("1 lost (1 too large)"), "{errors}");
    assert!(errors.contains("`--max-message`"), "{errors}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn with_a_rate_publishing_outlives_a_link_that_is_down_and_says_so() {
    let namespace = network();
    let options = ["--rate", "50", "--count", "75", "--json"];
    let arguments = [&["pub", GROUP, "x"], &options[..]].concat();
    let publisher = Running::start(&namespace, &arguments);
    std::thread::sleep(Duration::from_millis(400));
    namespace.ip(&["link", "set", "br0", "down"]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    namespace.ip(&["link", "set", "br0", "up"]).unwrap();
    let ended = publisher.ended();
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    let sent: Value = serde_json::from_str(ended.text()).unwrap();
    let (msgs, errors) = (number(&sent, "msgs"), number(&sent, "errors"));
    assert!(
        msgs > 20.0 && errors > 0.0 && msgs + errors == 75.0,
        "{sent}"
    );
    assert_eq!(
        ended.errors.matches("going on").count(),
        1,
        "{}",
        ended.errors
    );
}

#[test]
fn man_pages_and_completions_are_written() {
    let directory = std::env::temp_dir().join(format!("mcl-man-{}", std::process::id()));
    let man = mcl(&["man", directory.to_str().unwrap()]).status().unwrap();
    assert!(man.success());
    for page in [
        "mcl",
        "mcl-pub",
        "mcl-echo",
        "mcl-list",
        "mcl-hz",
        "mcl-bw",
        "mcl-perf-ping",
    ] {
        let text = fs::read_to_string(directory.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH OPTIONS"), "{page}");
    }
    fs::remove_dir_all(&directory).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = mcl(&["completions", shell]).output().unwrap();
        assert!(script.status.success());
        assert!(
            String::from_utf8(script.stdout)
                .unwrap()
                .contains("stdin-lines")
        );
    }
}
