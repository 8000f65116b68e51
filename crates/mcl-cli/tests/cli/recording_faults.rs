//! What becomes of recordings when something goes wrong.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::recording::{Files, info, recorder};
use crate::support::{GROUP, Running, mcl, network, number, run};

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_recorder_that_is_killed_leaves_what_was_complete() {
    let (namespace, files) = (network(), Files::new("killed"));
    let file = files.path("a.mcap");
    let recorder = recorder(&namespace, &[GROUP], &["-o", &file]);
    let options = ["--size", "1000", "--rate", "200", "--topic", "t", "--quiet"];
    let publisher = Running::start(&namespace, &[&["pub", GROUP], &options[..]].concat());
    std::thread::sleep(Duration::from_millis(3500));
    recorder.send("-KILL");
    assert!(!recorder.ended().status.success());
    publisher.send("-INT");
    let info = info(&file);
    assert_eq!(
        (&info["end"], &info["damaged"]),
        (&json!("truncated"), &json!(0))
    );
    // All but the last second, and that is two at worst on a busy machine.
    assert!(number(&info, "msgs") > 200.0, "{info}");
    let text = mcl(&["info", &file]).output().unwrap().stdout;
    assert!(
        String::from_utf8(text)
            .unwrap()
            .contains("truncated: its writer was killed")
    );
    let played = run(&namespace, &["play", &file, "--speed", "20", "--json"]);
    assert!(played.errors.contains("has no end"), "{played:?}");
    assert_eq!(played.objects()[0]["msgs"], info["msgs"]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_full_disk_ends_a_recording_that_says_what_it_lacks() {
    let (namespace, files) = (network(), Files::new("full"));
    let (disk, kept) = (files.path("disk"), files.path("kept.mcap"));
    fs::create_dir(&disk).unwrap();
    let script = r#"
        mount -t tmpfs -o size=10m none "$1" || exit 99
        "$2" record "$4" -o "$1/a.mcap" --compression none --json
        code=$?
        cp "$1/a.mcap" "$3" || exit 98
        exit $code"#;
    let mut command = Command::new("unshare");
    command.args([
        "-m",
        "sh",
        "-c",
        script,
        "sh",
        &disk,
        env!("CARGO_BIN_EXE_mcl"),
        &kept,
        GROUP,
    ]);
    command.env_remove("MCL_INTERFACE").stdin(Stdio::null());
    let recorder = Running::spawn(&namespace, &mut command).listening();
    let options = ["--size", "700000", "--rate", "50", "--count", "60"];
    run(&namespace, &[&["pub", GROUP], &options[..]].concat());
    let ended = recorder.ended();
    assert_eq!(ended.status.code(), Some(8), "{ended:?}");
    assert!(
        ended.errors.contains("No space left on device"),
        "{ended:?}"
    );
    let line = ended
        .errors
        .lines()
        .find(|line| line.starts_with('{'))
        .unwrap();
    let summary: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(number(&summary["losses"], "disk") >= 1.0, "{summary}");
    let info = info(&kept);
    assert_eq!(
        (&info["end"], &info["ended_by"]),
        (&json!("complete"), &json!("disk"))
    );
    assert_eq!(info["msgs"], summary["msgs"]);
    assert_eq!(info["losses"]["disk"], summary["losses"]["disk"]);
    assert!((5.0..15.0).contains(&number(&info, "msgs")), "{info}");
    assert_eq!(info["file_bytes"], summary["file_bytes"]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn what_cannot_be_kept_for_want_of_room_is_counted_in_the_file() {
    let (namespace, files) = (network(), Files::new("queue"));
    let file = files.path("a.mcap");
    // A stopped process writes nothing, but its threads do not receive either: the
    // inbox is too small instead.
    let recorder = recorder(&namespace, &[GROUP], &["-o", &file, "--buffer", "2k"]);
    let options = ["--size", "500", "--count", "3000", "--rate", "0"];
    run(&namespace, &[&["pub", GROUP], &options[..]].concat());
    std::thread::sleep(Duration::from_millis(300));
    recorder.send("-INT");
    let summary = recorder.ended().summary();
    let info = info(&file);
    assert_eq!(info["losses"]["queue"], summary["losses"]["queue"]);
    assert!(number(&info["losses"], "queue") > 0.0, "{summary}");
    assert_eq!(
        number(&info, "msgs") + number(&info, "lost"),
        3000.0,
        "{info}"
    );
    assert_eq!(info["streams"][0]["lost"], info["lost"]);
}

#[test]
fn a_file_that_exists_or_cannot_be_written_is_refused() {
    let files = Files::new("exists");
    let file = files.path("a.mcap");
    fs::write(&file, "precious").unwrap();
    for (path, force, why) in [
        (file.as_str(), false, "exists; `--force` overwrites it"),
        ("/nonexistent/a.mcap", false, "No such file or directory"),
        ("/dev/full", true, "No space left on device"),
    ] {
        let force: &[&str] = if force { &["--force"] } else { &[] };
        let output = mcl(&[&["record", GROUP, "-o", path], force].concat())
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(8), "{errors}");
        assert!(errors.contains(why), "{errors}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[test]
fn what_is_no_recording_has_a_status_of_its_own() {
    let files = Files::new("no-recording");
    let file = files.path("a.mcap");
    fs::write(&file, [b'x'; 1000]).unwrap();
    for command in ["info", "play"] {
        for (path, why) in [
            (file.as_str(), "is no MCAP file"),
            ("/nonexistent", "cannot read"),
        ] {
            let output = mcl(&[command, path]).output().unwrap();
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(8), "{errors}");
            assert!(errors.contains(why), "{errors}");
        }
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_damaged_chunk_is_left_out_and_told() {
    let (namespace, files) = (network(), Files::new("damaged"));
    let file = files.path("a.mcap");
    let recorder = recorder(
        &namespace,
        &[GROUP],
        &["-o", &file, "--compression", "none"],
    );
    let options = ["--size", "1000000", "--rate", "20", "--count", "20"];
    run(&namespace, &[&["pub", GROUP], &options[..]].concat());
    std::thread::sleep(Duration::from_millis(300));
    recorder.send("-INT");
    let whole = recorder.ended().summary();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let output = mcl(&["info", &file, "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["damaged"], 1);
    let lacks = number(&whole, "msgs") - number(&report, "msgs");
    assert!((1.0..=6.0).contains(&lacks), "{report} {whole}");
    let fast = ["play", &file, "--speed", "5", "--json"];
    let played = Running::start(&namespace, &fast).ended();
    assert_eq!(played.status.code(), Some(8), "{played:?}");
    assert!(played.errors.contains("is damaged at byte"), "{played:?}");
    let played: serde_json::Value = serde_json::from_str(played.text()).unwrap();
    assert_eq!(played["msgs"], report["msgs"]);
}
