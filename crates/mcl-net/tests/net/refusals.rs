//! What cannot work says why, and what mends it.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use mcl_net::{
    Blocking, Group, GroupError, InterfaceChoice, Receiver, ReceiverOptions, Refusal,
    SendErrorKind, Sender, SenderOptions, Usability, choose,
};
use mcl_testbed::Dad;

use crate::world::{Host, group, texts_until};

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_tentative_address_is_waited_for_and_the_first_datagram_arrives() {
    let host = Host::new();
    host.0.bridge_with(Dad::On, "br0").unwrap();
    assert!(matches!(
        host.interface("br0").usability(),
        Usability::NotYet(_)
    ));
    let mut receiver = host.receiver("br0", group("ff15::1"));
    let mut sender = host.sender("br0", group("ff15::1"));
    let began = Instant::now();
    host.send(&mut sender, b"first");
    assert!(
        began.elapsed() > Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(texts_until(&mut receiver, "first"), ["first"]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_tentative_address_is_said_to_who_does_not_wait_or_waited_long_enough() {
    let host = Host::new();
    host.0.bridge_with(Dad::On, "br0").unwrap();
    let mut impatient = SenderOptions::default();
    impatient.ready_timeout = Duration::from_millis(50);
    let mut sender = host.sender_with("br0", group("ff15::1"), &impatient);
    for blocking in [Blocking::No, Blocking::Yes] {
        let slices = [IoSlice::new(b"first")];
        let sent = host.0.run(|| sender.send_train(&slices, 5, blocking));
        let error = sent.unwrap_err();
        assert!(
            matches!(error.kind, SendErrorKind::NotReady { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("tentative address"), "{error}");
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_that_goes_down_is_said_with_the_command_that_mends_it() {
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let mut receiver = host.receiver("br0", group("ff15::1"));
    let mut sender = host.sender("br0", group("ff15::1"));
    host.0.ip(&["link", "set", "br0", "down"]).unwrap();
    let error = host.send_train(&mut sender, b"x", 1).unwrap_err();
    assert!(
        matches!(error.kind, SendErrorKind::NotReady { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("`ip link set dev br0 up`"),
        "{error}"
    );
    host.0.ip(&["link", "set", "br0", "up"]).unwrap();
    host.0.wait_until_ready("br0").unwrap();
    host.send(&mut sender, b"again");
    assert_eq!(texts_until(&mut receiver, "again"), ["again"]);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn no_usable_interface_an_unknown_name_and_one_that_is_down_are_refused() {
    let host = Host::new();
    let refused = |choice: &str| {
        let choice: InterfaceChoice = choice.parse().unwrap();
        host.0
            .run(|| choose(&choice, &group("ff15::1")).unwrap_err())
    };
    let error = refused("system");
    assert!(matches!(error.refusal(), Refusal::NoneUsable), "{error}");
    assert!(
        error
            .to_string()
            .contains("ip link add name dummy0 type dummy"),
        "{error}"
    );
    let error = refused("nope0");
    assert!(matches!(error.refusal(), Refusal::NotFound), "{error}");
    assert!(
        error
            .to_string()
            .contains("interface nope0 for group [ff15::1]:26000"),
        "{error}"
    );
    host.0
        .ip(&["link", "add", "br0", "type", "bridge"])
        .unwrap();
    let error = refused("br0");
    assert!(matches!(error.refusal(), Refusal::Unusable(_)), "{error}");
    assert!(
        error.to_string().ends_with("\n  ip link set dev br0 up"),
        "{error}"
    );
}

#[test]
fn a_group_that_is_not_multicast_is_refused() {
    let address = "fd34::1".parse().unwrap();
    let error = Group::new(address, 26000).unwrap_err();
    assert_eq!(error, GroupError::NotMulticast { address });
    assert!(error.to_string().contains("ff15::1"), "{error}");
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_buffer_above_the_limit_is_reported_with_its_shortfall() {
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let mut options = ReceiverOptions::default();
    options.receive_buffer = 1 << 30;
    let greedy = host.receiver_with("br0", group("ff15::1"), &options);
    let granted = greedy.receive_buffer();
    assert_eq!(granted.requested, 1 << 30);
    assert_eq!(granted.shortfall(), (1 << 30) - granted.granted);
    assert!(granted.shortfall() > 0);
    let remedy = granted.remedy().unwrap();
    assert!(
        remedy.contains("sysctl -w net.core.rmem_max=1073741824"),
        "{remedy}"
    );
    options.receive_buffer = 65_536;
    let modest = host.receiver_with("br0", group("ff15::1"), &options);
    assert_eq!(modest.receive_buffer().shortfall(), 0);
    assert_eq!(modest.receive_buffer().remedy(), None);
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_interface_that_is_gone_is_said_for_joining_and_for_sending() {
    let host = Host::new();
    host.0.bridge("br0").unwrap();
    let gone = host.interface("br0");
    let mut sender = host.sender("br0", group("ff15::1"));
    host.0.ip(&["link", "del", "br0"]).unwrap();
    let group = group("ff15::1");
    let joined = host
        .0
        .run(|| Receiver::open(group, &gone, &ReceiverOptions::default()));
    let error = joined.unwrap_err().to_string();
    assert!(
        error.contains("[ff15::1]:26000 on interface br0"),
        "{error}"
    );
    let opened = host
        .0
        .run(|| Sender::open(group, &gone, &SenderOptions::default()));
    let error = opened.unwrap_err().to_string();
    assert!(
        error.contains("IPV6_MULTICAST_IF") && error.contains("br0"),
        "{error}"
    );
    let error = host.send_train(&mut sender, b"x", 1).unwrap_err();
    assert!(
        error.to_string().contains("no interface has index"),
        "{error}"
    );
}
