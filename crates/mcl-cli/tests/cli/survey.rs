//! `mcl list`, `mcl hz`, `mcl bw`.

use mcl_testbed::Namespace;
use serde_json::{Value, json};

use crate::support::{Ended, GROUP, Running, network, number, run};

/// Two topics of two streams: 100 messages a second of 1000 bytes, 20 of 20,000.
fn traffic(namespace: &Namespace) -> [Running; 2] {
    let flow = |topic, size, rate| {
        let options = ["--topic", topic, "--size", size, "--rate", rate];
        Running::start(namespace, &[&["pub", GROUP], &options[..]].concat())
    };
    [flow("imu", "1000", "100"), flow("camera", "20000", "20")]
}

fn survey(namespace: &Namespace, arguments: &[&str]) -> Ended {
    Running::start(namespace, arguments).listening().ended()
}

fn of_topic<'a>(rows: &'a [Value], topic: &str) -> &'a Value {
    rows.iter().rfind(|row| row["topic"] == topic).unwrap()
}

/// Rates are of a busy machine, what follows from them is exact.
fn check(row: &Value, rate: f64, size: f64) {
    let got = number(row, "msgs_per_s");
    assert!((0.5 * rate..1.5 * rate).contains(&got), "{row}");
    assert!(
        (number(row, "bytes_per_s") - got * size).abs() < 1.0,
        "{row}"
    );
    let sizes = &row["size"];
    assert_eq!((number(sizes, "min"), number(sizes, "max")), (size, size));
    assert_eq!(number(sizes, "stddev"), 0.0);
    let interval = &row["interval_ms"];
    let [min, mean, max] = ["min", "mean", "max"].map(|name| number(interval, name));
    assert!(min <= mean && mean <= max && mean > 0.0, "{row}");
    assert!(number(interval, "stddev") <= max - min, "{row}");
    assert_eq!(row["lost"], 0);
    assert_eq!(row["losses"]["missing"], 0);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_list_has_each_topic_and_stream_across_a_cable() {
    let (here, there) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    Namespace::veth(&here, "v0", &there, "v1").unwrap();
    let _traffic = traffic(&here);
    let listed = survey(&there, &["list", GROUP, "--window", "1.5", "--json"]);
    let rows = listed.objects();
    assert_eq!(rows.len(), 2, "{rows:?}");
    check(of_topic(&rows, "imu"), 100.0, 1000.0);
    check(of_topic(&rows, "camera"), 20.0, 20_000.0);
    assert!(
        of_topic(&rows, "imu")["sender"]
            .as_str()
            .unwrap()
            .starts_with("[fe80::")
    );
    let summary = listed.summary();
    assert_eq!(
        (&summary["role"], &summary["streams"]),
        (&json!("list"), &json!(2))
    );
    let messages: f64 = rows.iter().map(|row| number(row, "msgs")).sum();
    assert!(number(&summary, "msgs") >= messages);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn who_wants_quiet_gets_the_list_alone() {
    let namespace = network();
    let _traffic = traffic(&namespace);
    let listed = run(&namespace, &["list", GROUP, "--window", "1", "-q"]);
    assert_eq!(listed.text().lines().count(), 3, "{listed:?}");
    assert_eq!(listed.errors, "");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn rates_and_bandwidth_are_told_again_and_again() {
    let namespace = network();
    let _traffic = traffic(&namespace);
    for command in ["hz", "bw"] {
        let options = ["--every", "0.5", "--seconds", "2.2", "--json"];
        let rows = survey(&namespace, &[&[command, GROUP], &options[..]].concat()).objects();
        let imu = rows.iter().filter(|row| row["topic"] == "imu").count();
        assert!((3..=6).contains(&imu), "{imu}");
        check(of_topic(&rows, "imu"), 100.0, 1000.0);
        check(of_topic(&rows, "camera"), 20.0, 20_000.0);
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_table_has_its_heads_once_and_a_count_ends_it() {
    let namespace = network();
    let _traffic = traffic(&namespace);
    for (command, head) in [("hz", "STDDEV ms"), ("bw", "kB/s")] {
        let options = ["--topic", "imu", "--count", "150", "--every", "0.4"];
        let ended = survey(&namespace, &[&[command, GROUP], &options[..]].concat());
        let lines: Vec<&str> = ended.text().lines().collect();
        assert!(
            lines[0].starts_with("TIME") && lines[0].contains(head),
            "{lines:?}"
        );
        assert!(lines.len() > 2, "{lines:?}");
        assert!(!ended.text().contains("camera"));
        assert!(ended.errors.contains("; 0 lost"), "{}", ended.errors);
        // No colour, no progress bar, nothing that steers a terminal.
        assert!(!ended.text().contains(['\u{1b}', '\r']));
    }
}
