//! Who gets a datagram and who does not. That something does not arrive is shown
//! by what was sent after it and arrives alone: a cable keeps the order.

use mcl_net::SenderOptions;
use mcl_testbed::Namespace;

use crate::world::{Host, group, texts_until};

fn hops(hops: u8) -> SenderOptions {
    let mut options = SenderOptions::default();
    options.hops = hops;
    options
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn hop_limit_1_crosses_the_cable_and_0_stays_on_the_machine() {
    for address in ["ff12::1", "ff15::1", "ff1e::1"] {
        let (here, there) = Host::pair();
        let group = group(address);
        let mut local = here.receiver("v0", group);
        let mut remote = there.receiver("v0", group);
        let mut near = here.sender_with("v0", group, &hops(0));
        let mut far = here.sender("v0", group);
        here.send(&mut near, b"hop limit 0");
        here.send(&mut far, b"hop limit 1");
        assert_eq!(
            texts_until(&mut remote, "hop limit 1"),
            ["hop limit 1"],
            "{address}"
        );
        let both = ["hop limit 0", "hop limit 1"];
        assert_eq!(texts_until(&mut local, "hop limit 1"), both, "{address}");
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_local_group_reaches_this_machine_whatever_the_hop_limit() {
    let (here, there) = Host::pair();
    let (narrow, wide) = (group("ff11::1"), group("ff15::1"));
    let mut local = here.receiver("v0", narrow);
    let mut remote = there.receiver("v0", narrow);
    let mut witness = there.receiver("v0", wide);
    for limit in [0, 1, 255] {
        let mut sender = here.sender_with("v0", narrow, &hops(limit));
        here.send(&mut sender, b"ff11");
        assert_eq!(texts_until(&mut local, "ff11"), ["ff11"]);
    }
    let mut sender = here.sender("v0", wide);
    here.send(&mut sender, b"ff15");
    // The cable is empty now, and nothing of ff11 was on it.
    texts_until(&mut witness, "ff15");
    let mut train = mcl_net::TrainBuffer::new();
    let nothing = remote.recv(&mut train, mcl_net::Wait::No).unwrap();
    assert_eq!(nothing, mcl_net::Received::TimedOut);
}

/// Two hosts, two cables: `v0` and `w0` at both ends.
fn two_cables() -> (Host, Host) {
    let (here, there) = Host::pair();
    Namespace::veth(&here.0, "w0", &there.0, "w0").unwrap();
    (here, there)
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn of_two_interfaces_the_chosen_one_is_used_for_sending_and_for_joining() {
    for address in ["ff12::1", "ff15::1"] {
        let (here, there) = two_cables();
        let group = group(address);
        let mut on_v = there.receiver("v0", group);
        let mut on_w = there.receiver("w0", group);
        let mut over_v = here.sender("v0", group);
        let mut over_w = here.sender("w0", group);
        for round in ["one", "two", "last"] {
            here.send(&mut over_v, format!("v {round}").as_bytes());
            here.send(&mut over_w, format!("w {round}").as_bytes());
        }
        assert_eq!(
            texts_until(&mut on_v, "v last"),
            ["v one", "v two", "v last"],
            "{address}"
        );
        assert_eq!(
            texts_until(&mut on_w, "w last"),
            ["w one", "w two", "w last"],
            "{address}"
        );
        let joined = there
            .0
            .ip(&["-6", "maddress", "show", "dev", "v0"])
            .unwrap();
        assert!(joined.contains(address), "{joined}");
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_group_joined_on_one_interface_is_not_received_from_another() {
    let (here, there) = two_cables();
    let group = group("ff15::1");
    let mut on_v = there.receiver("v0", group);
    let left = there
        .0
        .ip(&["-6", "maddress", "show", "dev", "w0"])
        .unwrap();
    assert!(!left.contains("ff15::1"), "{left}");
    // Somebody else on the machine joins it there: without a check of the arrival
    // interface the kernel would now deliver it to every socket of the group.
    let mut on_w = there.receiver("w0", group);
    let mut over_w = here.sender("w0", group);
    here.send(&mut over_w, b"w");
    assert_eq!(texts_until(&mut on_w, "w"), ["w"]);
    let mut over_v = here.sender("v0", group);
    here.send(&mut over_v, b"v");
    assert_eq!(texts_until(&mut on_v, "v"), ["v"]);
    assert_eq!(on_v.foreign().other_interface, 1);
    assert_eq!(on_v.foreign().other_group, 0);
    // Its own datagram of the other cable never was on this socket's business.
    assert_eq!(on_w.foreign().other_group, 0);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn another_group_on_the_same_port_stays_out() {
    let (here, there) = Host::pair();
    let (ours, other) = (group("ff15::1"), group("ff15::2"));
    let mut our_receiver = there.receiver("v0", ours);
    let mut other_receiver = there.receiver("v0", other);
    let mut our_sender = here.sender("v0", ours);
    let mut other_sender = here.sender("v0", other);
    here.send(&mut other_sender, b"other");
    here.send(&mut our_sender, b"ours");
    assert_eq!(texts_until(&mut our_receiver, "ours"), ["ours"]);
    assert_eq!(texts_until(&mut other_receiver, "other"), ["other"]);
    assert_eq!(our_receiver.foreign().other_group, 0);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn without_loopback_only_the_others_hear() {
    let (here, there) = Host::pair();
    let group = group("ff15::1");
    let mut local = here.receiver("v0", group);
    let mut remote = there.receiver("v0", group);
    let mut silent = SenderOptions::default();
    silent.loopback = false;
    let mut quiet = here.sender_with("v0", group, &silent);
    let mut loud = here.sender("v0", group);
    here.send(&mut quiet, b"quiet");
    here.send(&mut loud, b"loud");
    assert_eq!(texts_until(&mut local, "loud"), ["loud"]);
    assert_eq!(texts_until(&mut remote, "loud"), ["quiet", "loud"]);
}
