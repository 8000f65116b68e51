//! What all subcommands have in common: exit codes, errors, signals, pipes.

use std::time::Duration;

use crate::support::{GROUP, Running, mcl, network, number};

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn the_exit_code_tells_the_kind_of_failure_and_the_error_the_remedy() {
    let namespace = network();
    let lines = ["pub", GROUP, "--file", "/nonexistent/file"];
    let cases: [(&[&str], i32, &str); 16] = [
        (&["echo", "ff15::1%nope", "-q"], 3, "choose one of these"),
        (&["pub", "ff15::1%nope", "x"], 3, "choose one of these"),
        (
            &["list", GROUP, "--interface", "nope", "-q"],
            3,
            "choose one of these",
        ),
        (&["echo", "fe80::1"], 2, "multicast"),
        (&["pub", GROUP], 2, "--stdin-lines"),
        (
            &["pub", GROUP, "x", "--size", "3"],
            2,
            "cannot be used with",
        ),
        (
            &["pub", GROUP, "x", "--topic", "a", "--topic", "b"],
            2,
            "one `--topic`",
        ),
        (&["pub", GROUP, "x", "--rate", "inf"], 2, "--rate"),
        (
            &["pub", GROUP, "--size", "3", "--encode", "json"],
            2,
            "leave `--encode` away",
        ),
        (&["hz", GROUP, "--window", "0"], 2, "at least 0.001"),
        (
            &["pub", GROUP, "hello", "--encode", "json"],
            6,
            "--encode text",
        ),
        (&lines, 6, "/nonexistent/file"),
        (&["echo", GROUP, "-q", "--timeout", "0.1"], 5, "--timeout"),
        (
            &["echo", GROUP, "-q", "--count", "2", "--seconds", "0.1"],
            5,
            "--seconds",
        ),
        (&["list", GROUP, "-q", "--window", "0.1"], 5, "--window"),
        (&["hz", GROUP, "-q", "--seconds", "0.1"], 5, "--seconds"),
    ];
    for (arguments, code, remedy) in cases {
        let output = namespace.run(|| mcl(arguments).output()).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(remedy), "{arguments:?}: {errors}");
        assert!(!errors.contains('\u{1b}'), "{arguments:?}: {errors}");
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn fewer_than_asked_for_is_a_failure() {
    let namespace = network();
    let arguments = ["echo", GROUP, "--count", "3", "--timeout", "1"];
    let echo = Running::start(&namespace, &arguments).listening();
    assert!(
        namespace
            .run(|| mcl(&["pub", GROUP, "x"]).status())
            .unwrap()
            .success()
    );
    let ended = echo.ended();
    assert_eq!(ended.status.code(), Some(5), "{ended:?}");
    assert!(ended.errors.contains("1 of 3 messages"), "{ended:?}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_signal_ends_each_of_them_with_its_summary() {
    for signal in ["-INT", "-TERM"] {
        let namespace = network();
        let flow = ["pub", GROUP, "--size", "50", "--rate", "200", "--json"];
        let publisher = Running::start(&namespace, &flow);
        for command in ["echo", "hz", "bw", "list"] {
            let arguments = [command, GROUP, "--json"];
            let listener = Running::start(&namespace, &arguments).listening();
            std::thread::sleep(Duration::from_millis(400));
            listener.send(signal);
            let ended = listener.ended();
            assert!(ended.status.success(), "{command}: {ended:?}");
            let summary = ended.summary();
            assert_eq!(summary["role"], command);
            assert!(number(&summary, "msgs") > 10.0, "{summary}");
            assert_eq!(number(&summary, "bytes"), number(&summary, "msgs") * 50.0);
        }
        publisher.send(signal);
        let sent = publisher.json();
        assert!(
            number(&sent, "msgs") > 100.0 && sent["errors"] == 0,
            "{sent}"
        );
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_signal_ends_an_echo_whose_reader_does_not_read() {
    for (signal, more) in [("-INT", "--json"), ("-TERM", "--raw")] {
        let namespace = network();
        let echo = Running::start(&namespace, &["echo", GROUP, more]).listening();
        // A pipe takes 64 KiB, and as much waits in the process.
        let flow = ["pub", GROUP, "--size", "1000", "--rate", "2000"];
        let flow = [&flow[..], &["--count", "1000", "--json"]].concat();
        assert_eq!(Running::start(&namespace, &flow).json()["msgs"], 1000);
        echo.send(signal);
        // Nothing of its output is read before it has ended.
        let ended = echo.ended();
        assert!(ended.status.success(), "{ended:?}");
        assert!((1..1_000_000).contains(&ended.out.len()), "{more}");
        let errors: Vec<_> = ended.errors.lines().collect();
        assert!(errors[0].contains("nobody reads"), "{errors:?}");
        assert!(errors[1].contains("echo"), "{errors:?}");
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_signal_ends_a_publisher_that_waits_for_input() {
    let namespace = network();
    for (input, messages) in [("--stdin-lines", 1), ("--stdin", 0)] {
        let mut publisher = Running::with_input(&namespace, &["pub", GROUP, input, "--json"]);
        publisher.write(b"a line\n");
        std::thread::sleep(Duration::from_millis(300));
        publisher.send("-TERM");
        assert_eq!(publisher.json()["msgs"], messages);
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn nothing_arriving_is_no_failure_for_who_ends_it_by_hand() {
    let namespace = network();
    let listener = Running::start(&namespace, &["hz", GROUP]).listening();
    listener.send("-INT");
    let ended = listener.ended();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.errors.contains("hz: 0 messages"), "{ended:?}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_broken_pipe_is_quiet() {
    let namespace = network();
    let flow = ["pub", GROUP, "--size", "50", "--rate", "200"];
    let _publisher = Running::start(&namespace, &flow);
    for arguments in [
        &["echo", GROUP][..],
        &["echo", GROUP, "--json"],
        &["echo", GROUP, "--raw"],
        &["hz", GROUP, "--every", "0.1"],
        &["bw", GROUP, "--every", "0.1", "--json"],
    ] {
        let mut listener = Running::start(&namespace, arguments).listening();
        if arguments.contains(&"--raw") {
            listener.close_output();
        } else {
            assert!(!listener.head().is_empty());
        }
        let ended = listener.ended();
        assert!(ended.status.success(), "{arguments:?}: {ended:?}");
        assert_eq!(ended.errors, "", "{arguments:?}");
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_reader_that_is_gone_is_noticed_without_a_message() {
    let namespace = network();
    for arguments in [
        &["echo", GROUP][..],
        &["hz", GROUP],
        &["list", GROUP, "--window", "60"],
    ] {
        let mut listener = Running::start(&namespace, arguments).listening();
        listener.close_output();
        let ended = listener.ended();
        assert!(ended.status.success(), "{arguments:?}: {ended:?}");
        assert_eq!(ended.errors, "", "{arguments:?}");
    }
}
