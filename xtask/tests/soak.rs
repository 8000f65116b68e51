//! A soak as one runs it, only short.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn out(name: &str) -> PathBuf {
    env::temp_dir().join(format!("mcl-{name}-{}.json", std::process::id()))
}

fn soak(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("soak")
        .args(arguments)
        .output()
        .expect("the program that cargo built can be started")
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_short_soak_accounts_for_every_message_with_ethtool() {
    let path = out("short-soak");
    let file = path.to_str().unwrap();
    let done = soak(&[
        "--seconds",
        "5",
        "--seed",
        "1",
        "--load",
        "4",
        "--out",
        file,
    ]);
    let text = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{text}{errors}");
    assert!(text.contains("Every account balances"), "{text}");

    let account: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fs::remove_file(&path).unwrap();
    let number = |pointer: &str| account.pointer(pointer).unwrap().as_u64().unwrap();
    // Eight broadcasters, and those that took the place of one that was killed.
    assert!(account["streams"].as_array().unwrap().len() >= 8);
    assert!(number("/total/pairs") >= 64, "{text}");
    assert!(number("/total/fates/delivered") > 1000, "{text}");
    // The faults were there, and left traces.
    assert!(number("/cable/partitioned") > 0, "{text}");
    assert!(number("/total/fates/missing") > 0, "{text}");
    for listener in 0..8 {
        let verified = format!("/listeners/{listener}/account/found/verified");
        assert!(number(&verified) > 0, "listener {listener}: {text}");
    }
}

#[test]
fn a_soak_says_what_it_takes() {
    let refused = soak(&["--seconds", "3"]);
    assert!(!refused.status.success());
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("--seconds 5..86400"), "{errors}");
}
