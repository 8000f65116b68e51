//! What `mcl record` writes, `mcl play` publishes and `mcl info` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mcap::MessageStream;
use mcl_testbed::Namespace;
use mcl_udp::{Connection, Encoding, RawBroadcaster};
use serde_json::{Value, json};

use crate::support::{Ended, GROUP, Running, mcl, network, number, run};

const OTHER: &str = "ff15::6d63:6c02";

/// A directory for the files of one test.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcl-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn names(&self) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| name(entry.unwrap()))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts a recorder of so many connections.
pub(crate) fn recorder(namespace: &Namespace, groups: &[&str], options: &[&str]) -> Running {
    let arguments = [&["record"], groups, options, &["--json"]].concat();
    let mut running = Running::start(namespace, &arguments);
    for _ in groups {
        running = running.listening();
    }
    running
}

/// Ends a recorder, which must succeed.
fn stopped(recorder: Running, signal: &str) -> Value {
    // What was published last arrives in no time, but on another thread.
    std::thread::sleep(Duration::from_millis(300));
    recorder.send(signal);
    let ended = recorder.ended();
    assert!(ended.status.success(), "{ended:?}");
    ended.summary()
}

pub(crate) fn info(file: &str) -> Value {
    let output = mcl(&["info", file, "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A message as the library `mcap` reads it.
#[derive(Debug, Clone, PartialEq)]
struct Recorded {
    topic: String,
    encoding: String,
    metadata: BTreeMap<String, String>,
    sequence: u32,
    log_time: u64,
    publish_time: u64,
    data: Vec<u8>,
}

fn recorded(file: &str) -> Vec<Recorded> {
    let bytes = fs::read(file).unwrap();
    let all = MessageStream::new(&bytes).unwrap().map(|message| {
        let message = message.unwrap();
        Recorded {
            topic: message.channel.topic.clone(),
            encoding: message.channel.message_encoding.clone(),
            metadata: message.channel.metadata.clone(),
            sequence: message.sequence,
            log_time: message.log_time,
            publish_time: message.publish_time,
            data: message.data.into_owned(),
        }
    });
    all.collect()
}

/// What must be the same after playing, in the order of each kind.
fn content(all: &[Recorded]) -> BTreeMap<Vec<Option<&str>>, Vec<&[u8]>> {
    let mut content = BTreeMap::<_, Vec<_>>::new();
    for message in all {
        let of = |key: &str| message.metadata.get(key).map(String::as_str);
        let keys = ["connection", "topic", "encoding", "schema"].map(of);
        let names = [
            Some(message.topic.as_str()),
            Some(message.encoding.as_str()),
        ];
        let key = [&keys[..], &names[..]].concat();
        content.entry(key).or_default().push(&message.data[..]);
    }
    content
}

/// Messages of all kinds over a second, on two connections.
fn publish_all_kinds(namespace: &Namespace) {
    let json = r#"{"x": 1.5}"#;
    let options = ["--encode", "json", "--topic", "pose", "--rate", "100"];
    let many = [&["pub", GROUP, json, "--count", "60"], &options[..]].concat();
    let poses = Running::start(namespace, &many);
    run(
        namespace,
        &[
            "pub", OTHER, "--size", "200000", "--topic", "", "--count", "3",
        ],
    );
    run(namespace, &["pub", GROUP, "no topic"]);
    run(
        namespace,
        &["pub", OTHER, json, "--encode", "cbor", "--topic", "pose"],
    );
    namespace.run(|| {
        let broadcaster = RawBroadcaster::builder(&Connection::new(GROUP).unwrap())
            .encoding(Encoding(200))
            .schema(0xabcd)
            .open()
            .unwrap();
        for payload in [&b""[..], b"own format"] {
            broadcaster.publish_to("own", payload).unwrap();
        }
    });
    assert!(poses.ended().status.success());
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_recording_that_is_played_is_recorded_as_the_same() {
    let (namespace, files) = (network(), Files::new("same"));
    let (one, two) = (files.path("one.mcap"), files.path("two.mcap"));
    let first = recorder(
        &namespace,
        &[GROUP, OTHER],
        &["-o", &one, "--compression", "zstd"],
    );
    publish_all_kinds(&namespace);
    let summary = stopped(first, "-INT");
    assert_eq!(
        (&summary["msgs"], &summary["lost"]),
        (&json!(67), &json!(0))
    );
    let second = recorder(&namespace, &[GROUP, OTHER], &["-o", &two]);
    let played = run(&namespace, &["play", &one, "--json"])
        .objects()
        .remove(0);
    assert_eq!(
        (&played["msgs"], &played["errors"]),
        (&json!(67), &json!(0))
    );
    assert_eq!(stopped(second, "-TERM")["msgs"], 67);

    let (one, two) = (recorded(&one), recorded(&two));
    assert_eq!(content(&one), content(&two));
    assert_eq!(content(&one).len(), 5);
    println!("late by {}", played["late"]);
    // Half a millisecond at most on a machine with nothing else to do.
    assert!(number(&played["late"], "p50_us") < 20_000.0, "{played}");
    let begins = |all: &[Recorded]| {
        let times: Vec<_> = all.iter().map(|it| it.log_time).collect();
        let first = *times.iter().min().unwrap();
        let mut since: Vec<_> = times
            .iter()
            .map(|time| (time - first) as f64 / 1e9)
            .collect();
        since.sort_by(f64::total_cmp);
        since
    };
    let mut errors: Vec<f64> = begins(&one)
        .iter()
        .zip(begins(&two))
        .map(|(one, two)| (one - two).abs())
        .collect();
    errors.sort_by(f64::total_cmp);
    println!("received {} s off in the median", errors[errors.len() / 2]);
    assert!(errors[errors.len() / 2] < 0.05, "{errors:?}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn channels_say_where_messages_came_from_and_info_says_what_there_is() {
    let (namespace, files) = (network(), Files::new("channels"));
    let file = files.path("a.mcap");
    let options = [
        "-o",
        &file,
        "--topic",
        "pose",
        "--count",
        "20",
        "--seconds",
        "15",
    ];
    let recorder = recorder(&namespace, &[GROUP], &options);
    let json = r#"{"x": 1}"#;
    let topic = ["--encode", "json", "--topic", "pose"];
    let more = [
        "pub", GROUP, json, "--rate", "100", "--count", "20", "--json",
    ];
    run(
        &namespace,
        &["pub", GROUP, "not wanted", "--topic", "other"],
    );
    let sent = run(&namespace, &[&more[..], &topic].concat())
        .objects()
        .remove(0);
    let ended = recorder.ended();
    assert!(ended.status.success(), "{ended:?}");
    let all = recorded(&file);
    assert!(all.iter().map(|it| it.sequence).eq(0..20));
    let first = &all[0];
    assert_eq!(
        (first.topic.as_str(), first.encoding.as_str()),
        ("pose", "json")
    );
    assert_eq!(first.metadata["connection"], format!("[{GROUP}]:26000"));
    assert_eq!(first.metadata["stream"], sent["stream"]);
    assert_eq!(first.metadata["first_number"], "0");
    assert!(
        all.iter().all(|it| it.publish_time <= it.log_time),
        "{all:?}"
    );

    let info = info(&file);
    assert_eq!(
        (&info["end"], &info["ended_by"]),
        (&json!("complete"), &json!("count"))
    );
    assert_eq!(
        (&info["msgs"], &info["bytes"], &info["lost"]),
        (&json!(20), &json!(160), &json!(0))
    );
    let channel = &info["channels"][0];
    assert_eq!(
        (&channel["topic"], &channel["encoding"]),
        (&json!("pose"), &json!("json"))
    );
    assert_eq!(channel["stream"], sent["stream"]);
    assert!(
        (60.0..140.0).contains(&number(channel, "msgs_per_s")),
        "{info}"
    );
    let text = mcl(&["info", &file]).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("complete (ended by count)\n20 messages, 160 bytes in "),
        "{text}"
    );
    assert!(text.contains("\npose   [ff15::6d63:6c]:26000  "), "{text}");
}

/// Plays a file with options, and gives what was recorded of it and how it ended.
fn played(
    namespace: &Namespace,
    files: &Files,
    group: &str,
    options: &[&str],
) -> (Vec<Recorded>, Ended) {
    let out = files.path("out.mcap");
    let recorder = recorder(namespace, &[group], &["-o", &out, "--force"]);
    let file = files.path("in.mcap");
    let ended = run(namespace, &[&["play", &file, "--json"], options].concat());
    stopped(recorder, "-INT");
    (recorded(&out), ended)
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_part_of_a_recording_can_be_played_elsewhere_under_other_names_and_faster() {
    let (namespace, files) = (network(), Files::new("part"));
    let recorder = recorder(&namespace, &[GROUP], &["-o", &files.path("in.mcap")]);
    for (text, topic) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "a")] {
        run(&namespace, &["pub", GROUP, text, "--topic", topic]);
        std::thread::sleep(Duration::from_millis(500));
    }
    stopped(recorder, "-INT");
    let texts = |all: &[Recorded]| -> Vec<String> {
        let text = |it: &Recorded| format!("{}{}", it.topic, String::from_utf8_lossy(&it.data));
        all.iter().map(text).collect()
    };
    let elsewhere = ["--to", OTHER, "--topic", "a", "--rename", "a=c"];
    let (all, _) = played(&namespace, &files, OTHER, &elsewhere);
    assert_eq!(texts(&all), ["c1", "c3", "c4"]);
    let (all, _) = played(
        &namespace,
        &files,
        GROUP,
        &["--start", "0.25", "--end", "1.25"],
    );
    assert_eq!(texts(&all), ["b2", "a3"]);
    let begun = Instant::now();
    let (all, ended) = played(&namespace, &files, GROUP, &["--speed", "10"]);
    assert_eq!(texts(&all), ["a1", "b2", "a3", "a4"]);
    let seconds = number(&ended.objects()[0], "seconds");
    assert!(
        (0.14..1.4).contains(&seconds),
        "{seconds} {:?}",
        begun.elapsed()
    );
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_loop_goes_on_until_a_signal() {
    let (namespace, files) = (network(), Files::new("loop"));
    let file = files.path("a.mcap");
    let first = recorder(&namespace, &[GROUP], &["-o", &file]);
    run(
        &namespace,
        &["pub", GROUP, "x", "--rate", "100", "--count", "10"],
    );
    stopped(first, "-INT");
    let again = recorder(
        &namespace,
        &[GROUP],
        &[
            "-o",
            &files.path("b.mcap"),
            "--count",
            "35",
            "--seconds",
            "15",
        ],
    );
    let player = Running::start(&namespace, &["play", &file, "--loop", "--json"]);
    assert!(again.ended().status.success());
    player.send("-INT");
    let summary = player.json();
    assert!(number(&summary, "loops") >= 3.0, "{summary}");
    assert!(number(&summary, "msgs") >= 35.0, "{summary}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_recording_is_split_by_size_and_by_time() {
    let (namespace, files) = (network(), Files::new("split"));
    let size = [
        "-o",
        &files.path("s.mcap"),
        "--split-size",
        "9M",
        "--compression",
        "none",
    ];
    let by_size = recorder(&namespace, &[GROUP], &size);
    let large = ["--size", "1000000", "--rate", "40", "--count", "40"];
    run(&namespace, &[&["pub", GROUP], &large[..]].concat());
    let summary = stopped(by_size, "-INT");
    // A chunk that is complete after a second may make it one more.
    let count = summary["files"].as_array().unwrap().len();
    assert!((4..=5).contains(&count), "{summary}");
    let names: Vec<_> = (1..=count)
        .map(|part| format!("s_{part:04}.mcap"))
        .collect();
    assert_eq!(files.names(), names);
    let parts: Vec<_> = names.iter().map(|name| info(&files.path(name))).collect();
    let msgs: f64 = parts.iter().map(|it| number(it, "msgs")).sum();
    assert_eq!(msgs + number(&summary, "lost"), 40.0, "{summary}");
    for part in &parts[..count - 1] {
        assert_eq!(part["ended_by"], "split");
        assert!(
            (9.4e6..15e6).contains(&number(part, "file_bytes")),
            "{part}"
        );
    }
    // All parts are one recording.
    let arguments: Vec<_> = names.iter().map(|name| files.path(name)).collect();
    let all: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let fast = ["--speed", "4", "--json"];
    let played = run(&namespace, &[&["play"], &all[..], &fast].concat()).objects();
    assert_eq!(number(&played[0], "msgs"), msgs);

    let time = ["-o", &files.path("t.mcap"), "--split-time", "0.5"];
    let by_time = recorder(&namespace, &[GROUP], &time);
    run(
        &namespace,
        &["pub", GROUP, "x", "--rate", "50", "--count", "80"],
    );
    let summary = stopped(by_time, "-INT");
    let parts = summary["files"].as_array().unwrap();
    assert!((3..=8).contains(&parts.len()), "{summary}");
    let msgs: f64 = parts
        .iter()
        .map(|it| number(&info(it.as_str().unwrap()), "msgs"))
        .sum();
    assert_eq!(msgs, 80.0);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn holes_are_in_the_file_by_stream_and_cause_with_nft() {
    let (namespace, files) = (network(), Files::new("holes"));
    let file = files.path("a.mcap");
    let recorder = recorder(&namespace, &[GROUP], &["-o", &file]);
    let nft = |command: &str| {
        let done = namespace.command("nft", &[command]).unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let stream = namespace.run(|| {
        let broadcaster = RawBroadcaster::open(&Connection::new(GROUP).unwrap()).unwrap();
        broadcaster.publish(b"first").unwrap();
        nft("add table ip6 t");
        nft("add chain ip6 t c { type filter hook input priority 0; }");
        nft("add rule ip6 t c udp dport 26000 numgen random mod 100 < 30 drop");
        (0..300_u32).for_each(|it| _ = broadcaster.publish(&it.to_le_bytes()).unwrap());
        nft("delete table ip6 t");
        broadcaster.publish(b"last").unwrap();
        broadcaster.stream().to_string()
    });
    let summary = stopped(recorder, "-INT");
    let all = recorded(&file);
    let (holes, messages): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.topic == "/mcl/losses");
    let missing = 302 - messages.len() as u64;
    assert!((30..200).contains(&missing), "{summary}");
    let last: Value = serde_json::from_slice(&holes.last().unwrap().data).unwrap();
    assert_eq!(last["stream"], stream.as_str());
    assert_eq!(last["connection"], format!("[{GROUP}]:26000"));
    assert_eq!(
        (&last["lost"], &last["losses"]["missing"]),
        (&json!(missing), &json!(missing))
    );
    let new: i64 = holes
        .iter()
        .map(|it| {
            serde_json::from_slice::<Value>(&it.data).unwrap()["new"]
                .as_i64()
                .unwrap()
        })
        .sum();
    assert_eq!(new.cast_unsigned(), missing);
    // The numbers say which they are.
    let numbers: Vec<_> = messages.iter().map(|it| it.sequence).collect();
    assert!(
        numbers.is_sorted() && numbers.last() == Some(&301),
        "{numbers:?}"
    );
    let info = info(&file);
    assert_eq!(
        (&info["msgs"], &info["lost"]),
        (&json!(messages.len()), &json!(missing))
    );
    assert_eq!(info["streams"][0]["losses"]["missing"], missing);
    assert_eq!(summary["losses"]["missing"], missing);
}

/// The interpreter that `.ci/run` made, or the system's.
fn python() -> PathBuf {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python3");
    match made.exists() {
        true => made,
        false => "python3".into(),
    }
}

/// Reads all of a file by its index and again from beginning to end.
const READ_BACK: &str = r"
import json, sys, zlib
from mcap.reader import NonSeekingReader, SeekingReader
path = sys.argv[1]
with open(path, 'rb') as file:
    reader = SeekingReader(file, validate_crcs=True)
    summary = reader.get_summary()
    messages = [[channel.topic, channel.message_encoding, channel.metadata.get('stream'),
                 message.sequence, message.log_time, message.publish_time,
                 len(message.data), zlib.crc32(message.data)]
                for _, channel, message in reader.iter_messages()]
    metadata = [it.name for it in reader.iter_metadata()]
with open(path, 'rb') as file:
    linear = sum(1 for _ in NonSeekingReader(file, validate_crcs=True).iter_messages())
print(json.dumps({'messages': messages, 'linear': linear, 'metadata': metadata,
                  'count': summary.statistics.message_count,
                  'schemas': [it.name for it in summary.schemas.values()]}))
";

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_independent_reader_finds_the_same_with_python_mcap() {
    let (namespace, files) = (network(), Files::new("python"));
    for compression in ["none", "lz4", "zstd"] {
        let file = files.path(&format!("{compression}.mcap"));
        let options = [
            "-o",
            &file,
            "--compression",
            compression,
            "--max-message",
            "250000",
        ];
        let recorder = recorder(&namespace, &[GROUP, OTHER], &options);
        publish_all_kinds(&namespace);
        run(&namespace, &["pub", GROUP, "--size", "300000"]);
        stopped(recorder, "-INT");
        let output = Command::new(python())
            .args(["-c", READ_BACK, &file])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut ours = recorded(&file);
        ours.sort_by_key(|it| it.log_time);
        // One of them tells that a message was too large.
        assert_eq!(ours.len(), 68);
        let mut theirs = read["messages"].as_array().unwrap().clone();
        theirs.sort_by_key(|it| it[4].as_u64());
        let ours: Vec<Value> = ours
            .iter()
            .map(|it| {
                json!([
                    it.topic,
                    it.encoding,
                    it.metadata.get("stream"),
                    it.sequence,
                    it.log_time,
                    it.publish_time,
                    it.data.len(),
                    crc32fast::hash(&it.data),
                ])
            })
            .collect();
        let sorted = |mut all: Vec<Value>| {
            all.sort_by_key(Value::to_string);
            all
        };
        assert_eq!(sorted(ours), sorted(theirs));
        assert_eq!((&read["count"], &read["linear"]), (&json!(68), &json!(68)));
        assert_eq!(
            read["metadata"],
            json!(["mcl.recording", "mcl.account", "mcl.account"])
        );
        let schemas = read["schemas"].as_array().unwrap();
        assert!(schemas.contains(&json!("mcl.Losses")), "{schemas:?}");
        assert!(
            schemas.contains(&json!("0x000000000000abcd")),
            "{schemas:?}"
        );
    }
}
