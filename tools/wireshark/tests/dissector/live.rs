//! What a real broadcaster sends is captured, and tshark must find it again: every byte.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mcl_dissector::folder;
use mcl_testbed::Namespace;
use mcl_udp::{BroadcasterBuilder, Connection, RawBroadcaster};

use crate::pdml::{self, Message, hex};
use crate::{blessing, scratch};

const GROUP: &str = "ff15::6d63:6c";

/// What was published, as it must be shown.
#[derive(Default)]
struct Published(Vec<Message>);

impl Published {
    fn add(&mut self, from: &RawBroadcaster, number: u64, topic: Option<&str>, payload: &[u8]) {
        self.0.push(Message {
            stream: format!("0x{:016x}", from.stream().0),
            number: number.to_string(),
            topic: topic.map(str::to_owned),
            encoding: None,
            payload: hex(payload),
            problems: Vec::new(),
        });
    }
}

/// Bytes of which no part looks like another.
fn bytes(len: usize) -> Vec<u8> {
    let numbers = (0_u32..).map(|at| at.wrapping_mul(0x9E37_79B9).to_be_bytes());
    numbers.flatten().take(len).collect()
}

fn open(
    how: impl FnOnce(BroadcasterBuilder<[u8], mcl_udp::Raw>) -> BroadcasterBuilder<[u8], mcl_udp::Raw>,
) -> RawBroadcaster {
    let connection = Connection::new(GROUP).unwrap();
    how(RawBroadcaster::builder(&connection)).open().unwrap()
}

/// Whole messages, with and without topic, of all kinds of metadata.
fn whole(published: &mut Published) {
    let plain = open(|it| it.publish_time(false).crc(false));
    for len in [0, 1, 40, 1300] {
        let number = plain.publish(&bytes(len)).unwrap();
        published.add(&plain, number, None, &bytes(len));
    }
    let long = "t".repeat(255);
    let rich = open(|it| it.schema(0x1122_3344_5566_7788));
    for topic in ["imu", "", "caméra/links", &long] {
        let number = rich.publish_to(topic, &bytes(60)).unwrap();
        published.add(&rich, number, Some(topic), &bytes(60));
    }
}

/// Values, serialized; and JSON, which has a dissector of its own.
fn typed(published: &mut Published) {
    let connection = Connection::new(GROUP).unwrap();
    let typed = mcl_udp::Broadcaster::<(f64, f64)>::builder(&connection);
    let typed = typed.topic("position").open().unwrap();
    let number = typed.publish(&(47.25, 8.5)).unwrap();
    let payload = [47.25_f64.to_le_bytes(), 8.5_f64.to_le_bytes()].concat();
    published.0.push(Message {
        stream: format!("0x{:016x}", typed.stream().0),
        number: number.to_string(),
        topic: Some("position".to_owned()),
        encoding: Some("1".to_owned()),
        payload: hex(&payload),
        problems: Vec::new(),
    });
    let json = open(|it| it.encoding(mcl_udp::Encoding::JSON).topic("state"));
    let text = br#"{"battery": 0.87, "mode": "dock"}"#;
    let number = json.publish(text).unwrap();
    published.add(&json, number, Some("state"), text);
    published.0.last_mut().unwrap().encoding = Some("2".to_owned());
}

/// Many small messages that share datagrams, and these a train.
fn coalesced(published: &mut Published, crc: bool, count: usize) {
    let together = open(|it| {
        let it = it.crc(crc).topic("tick");
        it.coalesce(Duration::from_millis(20))
    });
    let payloads: Vec<Vec<u8>> = (0..count).map(|at| bytes(10 + at % 50)).collect();
    let batch = together
        .publish_batch(payloads.iter().map(Vec::as_slice))
        .unwrap();
    let first = batch.numbers.start;
    for (number, payload) in (first..).zip(&payloads) {
        published.add(&together, number, Some("tick"), payload);
    }
}

/// Messages of many datagrams, of which none may end where the message does.
fn fragmented(published: &mut Published, crc: bool, datagram: Option<usize>, lens: &[usize]) {
    let large = open(|it| {
        let it = it.crc(crc).topic("cloud");
        match datagram {
            Some(len) => it.datagram_len(len),
            None => it,
        }
    });
    for &len in lens {
        let number = large.publish(&bytes(len)).unwrap();
        published.add(&large, number, Some("cloud"), &bytes(len));
    }
}

/// A little of everything: what is committed as a golden capture.
fn a_little_of_everything() -> Published {
    let mut published = Published::default();
    whole(&mut published);
    typed(&mut published);
    coalesced(&mut published, false, 90);
    fragmented(&mut published, true, None, &[1_500, 14_000]);
    fragmented(&mut published, false, Some(308), &[3_000]);
    published
}

/// More than is to be committed: several trains a message, and messages as long as fragments are.
fn more() -> Published {
    let mut published = Published::default();
    coalesced(&mut published, true, 3_000);
    let body = 4 + "cloud".len() + 10;
    let exact = 1_400 - body;
    let lens = [
        exact,
        exact + 1,
        exact + 1_400,
        exact + 1_401,
        65_536,
        300_000,
    ];
    fragmented(&mut published, false, None, &lens);
    fragmented(&mut published, true, None, &[65_536, 300_000]);
    fragmented(&mut published, true, Some(308), &[10_000]);
    fragmented(&mut published, true, Some(1_000), &[50_001]);
    published
}

/// A capture that runs until it is ended.
struct Capturing {
    dumpcap: Child,
    file: PathBuf,
}

impl Capturing {
    fn start(namespace: &Namespace, interface: &str, file: PathBuf) -> Self {
        let mut command = Command::new("dumpcap");
        command.args(["-P", "-i", interface, "-f", "udp port 26000", "-w"]);
        command.arg(&file).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut dumpcap = namespace.spawn(&mut command).unwrap();
        let mut said = BufReader::new(dumpcap.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("File:") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "dumpcap ended");
        }
        // Nobody reads the rest; there must be somebody to write it to.
        thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { dumpcap, file }
    }

    /// Ends it when the file has not grown for a while.
    fn end(mut self) -> PathBuf {
        let deadline = Instant::now() + Duration::from_secs(20);
        let len = || fs::metadata(&self.file).map_or(0, |it| it.len());
        let mut before = 0;
        while before != len() || before <= 24 {
            assert!(Instant::now() < deadline, "nothing is captured");
            before = len();
            thread::sleep(Duration::from_millis(700));
        }
        let interrupt = format!("kill -INT {}", self.dumpcap.id());
        let sent = Command::new("sh").args(["-c", &interrupt]).status();
        assert!(sent.unwrap().success());
        while self.dumpcap.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "dumpcap does not end");
            thread::sleep(Duration::from_millis(20));
        }
        self.file.clone()
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        let _ = self.dumpcap.kill();
        let _ = self.dumpcap.wait();
    }
}

/// All messages that tshark finds are those that were published, and nothing is wrong.
fn is_shown_as_published(capture: &Path, published: Published) {
    for passes in [&[][..], &["-2"]] {
        let packets = pdml::read(capture, passes);
        let wrong = packets.iter().flatten().find(|it| it.name == "mcl.problem");
        assert_eq!(wrong.map(|it| &it.show), None);
        let shown: Vec<_> = packets.iter().flat_map(|it| pdml::messages(it)).collect();
        let brief = |of: &[Message]| {
            let brief = of
                .iter()
                .map(|it| (it.stream.clone(), it.number.clone(), it.payload.len()));
            brief.collect::<Vec<_>>()
        };
        assert_eq!(brief(&shown), brief(&published.0));
        let same = shown
            .iter()
            .zip(&published.0)
            .all(|(shown, sent)| shown == sent);
        assert!(same, "a topic, an encoding or a payload differs");
    }
}

/// How many trains and how many datagrams in all were captured.
fn trains(capture: &Path) -> usize {
    let packets = pdml::read(capture, &[]);
    let trains = packets.iter().flatten();
    trains.filter(|it| it.name == "mcl.train.datagrams").count()
}

fn crc_verdicts(capture: &Path) -> Vec<String> {
    let packets = pdml::read(capture, &[]);
    let verdicts = packets.into_iter().flatten();
    let verdicts = verdicts.filter(|it| it.name == "mcl.crc32c.status");
    verdicts.map(|it| it.show).collect()
}

/// Captures on the sending side what `publish` sends from one namespace to another.
fn captured(name: &str, offload: bool, publish: fn() -> Published) -> (PathBuf, Published) {
    let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    Namespace::veth(&left, "v0", &right, "v1").unwrap();
    if !offload {
        let off = ["-K", "v0", "tx-udp-segmentation", "off"];
        left.command("ethtool", &off).unwrap();
    }
    let capturing = Capturing::start(&left, "v0", scratch(name));
    let published = left.run(publish);
    (capturing.end(), published)
}

fn a_little_is_found_again(name: &str, offload: bool) {
    let (capture, published) = captured(name, offload, a_little_of_everything);
    if blessing() {
        let golden = folder().join("captures").join(name);
        fs::copy(&capture, golden).unwrap();
    }
    // Four with a schema, one typed, one JSON, two in fragments.
    assert_eq!(crc_verdicts(&capture), ["good"; 8]);
    is_shown_as_published(&capture, published);
    assert_eq!(trains(&capture) > 0, offload);
    fs::remove_file(capture).unwrap();
}

mod with_tshark {
    use super::*;

    /// As a sender's own capture shows them: several datagrams a packet.
    #[test]
    #[ignore = "needs a private network namespace, tshark and dumpcap: cargo xtask test"]
    fn trains_are_taken_apart() {
        a_little_is_found_again("train.pcap", true);
    }

    #[test]
    #[ignore = "needs a private network namespace, tshark and dumpcap: cargo xtask test"]
    fn long_trains_and_long_messages_are_found_again() {
        let (capture, published) = captured("more.pcap", true, more);
        let verdicts = crc_verdicts(&capture);
        assert_eq!(verdicts.len(), 3_000 + 4);
        assert!(verdicts.iter().all(|it| it == "good"));
        assert!(trains(&capture) >= 10);
        is_shown_as_published(&capture, published);
        fs::remove_file(capture).unwrap();
    }

    /// Left out as well where ethtool is not installed.
    mod with_ethtool {
        use super::*;

        /// As everybody else sees them: cut before the link.
        #[test]
        #[ignore = "needs a private network namespace, tshark, dumpcap and ethtool: cargo xtask test"]
        fn datagrams_are_put_together() {
            a_little_is_found_again("cut.pcap", false);
        }
    }
}
