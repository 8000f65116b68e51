//! Several receivers of one group.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::world::{Host, group, texts_until};

/// Set for a process that is to receive; its value is the interface's name.
const ROLE: &str = "NET_TEST_RECEIVE_ON";

const LAST: &str = "datagram 9";

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn two_sockets_of_one_process_both_get_everything() {
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let group = group("ff15::1");
    let mut receivers = [host.receiver("br0", group), host.receiver("br0", group)];
    let sent = send_all(&host);
    for receiver in &mut receivers {
        assert_eq!(texts_until(receiver, LAST), sent);
    }
}

fn send_all(host: &Host) -> Vec<String> {
    let mut sender = host.sender("br0", group("ff15::1"));
    let datagrams: Vec<String> = (0..10).map(|count| format!("datagram {count}")).collect();
    for datagram in &datagrams {
        host.send(&mut sender, datagram.as_bytes());
    }
    datagrams
}

/// Runs this very test in two more processes, which find [`ROLE`] set and receive.
#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn two_processes_and_this_one_all_get_everything() {
    if let Ok(name) = env::var(ROLE) {
        return receive_in_this_process(&name);
    }
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let mut own = host.receiver("br0", group("ff15::1"));
    let mut children = [start(&host), start(&host)];
    for child in &mut children {
        line_from(child, "joined");
    }
    let sent = send_all(&host);
    assert_eq!(texts_until(&mut own, LAST), sent);
    for child in &mut children {
        let received = line_from(child, "received ");
        assert_eq!(received, format!("received {}", sent.join(", ")));
        assert!(child.wait().unwrap().success());
    }
}

fn start(host: &Host) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "sharing::two_processes_and_this_one_all_get_everything",
        ])
        .args(["--include-ignored", "--nocapture"])
        .env(ROLE, "br0")
        .stdout(Stdio::piped())
        .stdin(Stdio::null());
    host.0.spawn(&mut command).unwrap()
}

/// The next line of the child's output with this beginning; the test runner writes
/// lines of its own, and its own words before ours on one.
fn line_from(child: &mut Child, beginning: &str) -> String {
    let mut lines = BufReader::with_capacity(1, child.stdout.as_mut().unwrap()).lines();
    let found = lines.by_ref().take(20).find_map(|line| {
        let line = line.unwrap();
        line.find(beginning).map(|at| line[at..].to_owned())
    });
    found.unwrap_or_else(|| panic!("the process never said {beginning:?}"))
}

fn receive_in_this_process(name: &str) {
    let index = nix_index(name);
    let interface = mcl_net::Interface::by_index(index).unwrap();
    let options = mcl_net::ReceiverOptions::default();
    let mut receiver = mcl_net::Receiver::open(group("ff15::1"), &interface, &options).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "joined").unwrap();
    let received = texts_until(&mut receiver, LAST);
    writeln!(out, "received {}", received.join(", ")).unwrap();
}

fn nix_index(name: &str) -> std::num::NonZeroU32 {
    let all = mcl_net::interfaces().unwrap();
    let named = all.iter().find(|interface| interface.name() == name);
    named.unwrap().index()
}
