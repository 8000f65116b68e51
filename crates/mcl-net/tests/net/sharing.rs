//! Several receivers of one group.

use mcl_testbed::{Peer, role, tell};

use crate::world::{Host, group, texts_until};

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

/// Runs this very test in two more processes, whose role is to receive on `br0`.
#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn two_processes_and_this_one_all_get_everything() {
    if let Some(name) = role() {
        return receive_in_this_process(&name);
    }
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let mut own = host.receiver("br0", group("ff15::1"));
    let mut children = [start(&host), start(&host)];
    for child in &mut children {
        child.expect("joined");
    }
    let sent = send_all(&host);
    assert_eq!(texts_until(&mut own, LAST), sent);
    for mut child in children {
        child.expect(&format!("received {}", sent.join(", ")));
        child.finish();
    }
}

fn start(host: &Host) -> Peer {
    let entry = "sharing::two_processes_and_this_one_all_get_everything";
    Peer::start(&host.0, entry, "br0", &[]).unwrap()
}

fn receive_in_this_process(name: &str) {
    let index = nix_index(name);
    let interface = mcl_net::Interface::by_index(index).unwrap();
    let options = mcl_net::ReceiverOptions::default();
    let mut receiver = mcl_net::Receiver::open(group("ff15::1"), &interface, &options).unwrap();
    tell("joined");
    let received = texts_until(&mut receiver, LAST);
    tell(format!("received {}", received.join(", ")));
}

fn nix_index(name: &str) -> std::num::NonZeroU32 {
    let all = mcl_net::interfaces().unwrap();
    let named = all.iter().find(|interface| interface.name() == name);
    named.unwrap().index()
}
