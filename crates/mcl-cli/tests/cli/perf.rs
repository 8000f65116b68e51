//! `mcl perf`.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::{GROUP, Running, mcl, network, number};

/// Publishes 500 paced messages of 1 KiB to a subscriber, both with these options.
fn a_paced_kilobyte_loses_nothing(way: &[&str]) {
    let namespace = network();
    let sub = [&["perf", "sub", GROUP, "--json", "--size", "1024"], way].concat();
    let sub = Running::start(&namespace, &sub).until("ready");
    let options = ["--size", "1024", "--count", "500", "--rate", "1000"];
    let publisher = [&["perf", "pub", GROUP, "--json"], &options[..], way].concat();
    let sent = Running::start(&namespace, &publisher).json();
    let got = sub.json();
    for (of, role) in [(&sent, "pub"), (&got, "sub")] {
        assert_eq!(of["role"], role);
        assert_eq!(of["msgs"], 500, "{of}");
        assert_eq!(of["bytes"], 512_000, "{of}");
        assert_eq!((&of["lost"], &of["bad"]), (&0.into(), &0.into()), "{of}");
        // 499 intervals of a millisecond, or more on a busy machine.
        assert!(number(of, "seconds") > 0.45, "{of}");
        assert!(number(of, "cpu_ns_per_msg") > 100.0, "{of}");
        let (rate, bytes) = (number(of, "msgs_per_s"), number(of, "mb_per_s"));
        assert!((bytes - rate * 1024.0 / 1e6).abs() < 1e-6 * bytes, "{of}");
    }
    assert_eq!(got["first"], 0);
    assert_eq!(got["datagrams_received"], sent["datagrams_sent"]);
    assert!(number(&got, "rcvbuf") > 0.0);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_paced_kilobyte_loses_nothing_through_a_queue() {
    a_paced_kilobyte_loses_nothing(&[]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_paced_kilobyte_loses_nothing_inline() {
    a_paced_kilobyte_loses_nothing(&["--inline"]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_paced_kilobyte_loses_nothing_pulled_and_spinning() {
    a_paced_kilobyte_loses_nothing(&["--pull", "--spin", "200"]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_paced_kilobyte_loses_nothing_coalesced() {
    a_paced_kilobyte_loses_nothing(&["--coalesce"]);
    a_paced_kilobyte_loses_nothing(&["--coalesce", "5000", "--inline"]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn batches_are_counted_by_messages_and_the_last_may_be_shorter() {
    let namespace = network();
    let sub = ["perf", "sub", GROUP, "--json", "--size", "64"];
    let sub = Running::start(&namespace, &sub).until("ready");
    let options = ["--size", "64", "--count", "2500", "--batch", "1000"];
    let publisher = [&["perf", "pub", GROUP, "--json"], &options[..]].concat();
    let sent = Running::start(&namespace, &publisher).json();
    let got = sub.json();
    for of in [&sent, &got] {
        assert_eq!(of["msgs"], 2500, "{of}");
        assert_eq!((&of["lost"], &of["bad"]), (&0.into(), &0.into()), "{of}");
    }
    assert!(number(&sent, "datagrams_sent") < 500.0, "{sent}");
}

/// 200 pings of a size that takes several datagrams, timed.
fn every_ping_is_answered(way: &[&str]) {
    let namespace = network();
    let topic = ["--size", "5000", "--topic", "t", "--json"];
    let pong = [&["perf", "pong", GROUP], &topic[..], way].concat();
    let pong = Running::start(&namespace, &pong).until("ready");
    let ping = [&["perf", "ping", GROUP, "--count", "200"], &topic[..], way].concat();
    let ping = Running::start(&namespace, &ping).json();
    pong.send("-TERM");
    let pong = pong.json();
    assert_eq!((&ping["msgs"], &pong["msgs"]), (&200.into(), &200.into()));
    assert_eq!((&ping["lost"], &ping["bad"]), (&0.into(), &0.into()));
    let quantiles = ["p50_us", "p99_us", "p999_us", "max_us"].map(|it| number(&ping, it));
    assert!(quantiles[0] > 1.0, "{ping}");
    assert!(quantiles.is_sorted(), "{ping}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn every_ping_is_answered_through_queues() {
    every_ping_is_answered(&[]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn every_ping_is_answered_inline() {
    every_ping_is_answered(&["--inline"]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn every_ping_is_answered_pulled() {
    every_ping_is_answered(&["--pull"]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_signal_ends_a_subscriber_with_its_account() {
    for signal in ["-TERM", "-INT"] {
        let namespace = network();
        let sub = Running::start(&namespace, &["perf", "sub", GROUP, "--json"]).until("ready");
        let endless = ["perf", "pub", GROUP, "--rate", "1000", "--seconds", "60"];
        let publisher = Running::start(&namespace, &[&endless[..], &["--json"]].concat());
        std::thread::sleep(Duration::from_millis(500));
        sub.send(signal);
        let got = sub.json();
        assert!(number(&got, "msgs") > 10.0, "{got}");
        assert_eq!(got["lost"], 0);
        publisher.send(signal);
        let sent = publisher.json();
        assert!(number(&sent, "msgs") >= number(&got, "msgs"));
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_exit_code_tells_the_kind_of_failure_and_the_error_the_remedy() {
    let namespace = network();
    let cases: [(&[&str], i32, &str); 4] = [
        (&["perf", "sub", GROUP, "--idle", "0.1"], 5, "--idle"),
        (&["perf", "sub", "ff15::1%nope"], 3, "choose one of these"),
        (&["perf", "sub", "fe80::1"], 2, "multicast"),
        (&["perf", "pub", GROUP, "--rate", "inf"], 2, "--rate"),
    ];
    for (arguments, code, remedy) in cases {
        let output = namespace.run(|| mcl(arguments).output()).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(remedy), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_broken_pipe_is_quiet() {
    let namespace = network();
    let mut command = mcl(&["perf", "pub", GROUP, "--count", "1"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = namespace.spawn(&mut command).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_matrix_measures_each_size() {
    let namespace = network();
    let sizes = ["--sizes", "64,5000", "--seconds", "0.2", "--json"];
    let options = ["--", "--topic", "t"];
    let all = [&["perf", "run", GROUP], &sizes[..], &options].concat();
    let output = namespace.run(|| mcl(&all).output()).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 2);
    for (row, size) in rows.iter().zip([64, 5000]) {
        assert_eq!(row["size"], size);
        for part in ["sub", "pub", "ping"] {
            assert!(number(&row[part], "msgs") > 10.0, "{row}");
        }
    }
}
