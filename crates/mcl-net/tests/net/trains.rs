//! Trains of datagrams, cut by the kernel or by us.

use mcl_net::{SendErrorKind, Sender};

use crate::world::{Host, group, until};

/// Bytes that tell where they belong.
fn pattern(len: usize) -> Vec<u8> {
    let word = |at: usize| u32::try_from(at).unwrap().to_be_bytes();
    (0..len.div_ceil(4)).flat_map(word).take(len).collect()
}

/// Sends trains of many shapes and compares what arrives.
fn trains_arrive_whole(here: &Host, there: &Host, sender: &mut Sender) {
    let mut receiver = there.receiver("v0", group("ff15::1"));
    let full = Sender::train_len(1452) * 1452;
    for (total, len) in [
        (1, 1),
        (64, 1),
        (1452, 1452),
        (1453, 1452),
        (full, 1452),
        (65_000, 1100),
        (6400, 100),
    ] {
        let bytes = pattern(total);
        here.send_train(sender, &bytes, len).unwrap();
        here.send(sender, b"end of the train");
        let mut arrived = until(&mut receiver, b"end of the train");
        arrived.pop();
        let expected: Vec<&[u8]> = bytes.chunks(len).collect();
        assert_eq!(arrived.len(), expected.len(), "{total} bytes by {len}");
        assert!(
            arrived == expected,
            "{total} bytes by {len} arrived changed"
        );
    }
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn trains_arrive_whole_with_offload() {
    let (here, there) = Host::pair();
    let mut sender = here.sender("v0", group("ff15::1"));
    trains_arrive_whole(&here, &there, &mut sender);
    assert!(sender.offload());
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn trains_arrive_whole_where_the_device_takes_no_more_than_one_datagram() {
    let (here, there) = Host::pair();
    let limit = ["link", "set", "dev", "v0", "gso_max_segs", "1"];
    here.0.ip(&limit).unwrap();
    let mut sender = here.sender("v0", group("ff15::1"));
    trains_arrive_whole(&here, &there, &mut sender);
    assert!(sender.offload());
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_lowered_mtu_is_said_and_sending_goes_on_at_the_new_length_with_offload() {
    let (here, there) = Host::pair();
    let mut receiver = there.receiver("v0", group("ff15::1"));
    let mut sender = here.sender("v0", group("ff15::1"));
    assert_eq!(sender.datagram_len(), 1452);
    let bytes = pattern(30_000);
    here.send_train(&mut sender, &bytes, 1452).unwrap();
    here.0.ip(&["link", "set", "v0", "mtu", "1400"]).unwrap();
    let error = here.send_train(&mut sender, &bytes, 1452).unwrap_err();
    assert_eq!(error.sent, 0);
    let max = match error.kind {
        SendErrorKind::TooLong { len: 1452, max } => max,
        other => panic!("{other}"),
    };
    assert_eq!((max, sender.datagram_len()), (1352, 1352));
    here.send_train(&mut sender, &bytes, max).unwrap();
    here.send(&mut sender, b"end");
    assert!(sender.offload());
    let mut arrived = until(&mut receiver, b"end");
    arrived.pop();
    let expected: Vec<&[u8]> = bytes.chunks(1452).chain(bytes.chunks(1352)).collect();
    assert!(arrived == expected);
    // A single datagram, which no offload cuts, is told the same.
    here.0.ip(&["link", "set", "v0", "mtu", "1300"]).unwrap();
    let error = here
        .send_train(&mut sender, &bytes[..1352], 1352)
        .unwrap_err();
    assert!(
        matches!(
            error.kind,
            SendErrorKind::TooLong {
                len: 1352,
                max: 1252
            }
        ),
        "{error}"
    );
    here.0.ip(&["link", "set", "v0", "mtu", "1500"]).unwrap();
    assert_eq!(here.0.run(|| sender.refresh_mtu()).unwrap(), 1452);
}

/// Left out by `cargo xtask test` where ethtool is not installed, which it then says.
mod with_ethtool {
    use super::{Host, group, trains_arrive_whole};

    fn switch_off(host: &Host, feature: &str) {
        let ethtool = ["-K", "v0", feature, "off"];
        host.0.command("ethtool", &ethtool).unwrap();
    }

    #[test]
    #[ignore = "needs a private network namespace and ethtool: cargo xtask test"]
    fn trains_arrive_whole_where_the_device_does_not_cut_them() {
        for feature in [
            "tx-udp-segmentation",
            "generic-segmentation-offload",
            "scatter-gather",
        ] {
            let (here, there) = Host::pair();
            switch_off(&here, feature);
            switch_off(&there, feature);
            let mut sender = here.sender("v0", group("ff15::1"));
            trains_arrive_whole(&here, &there, &mut sender);
            // The kernel cuts them itself, as late as it can.
            assert!(sender.offload(), "{feature}");
        }
    }

    #[test]
    #[ignore = "needs a private network namespace and ethtool: cargo xtask test"]
    fn trains_arrive_whole_where_the_device_computes_no_checksums() {
        let (here, there) = Host::pair();
        switch_off(&here, "tx-checksumming");
        let mut sender = here.sender("v0", group("ff15::1"));
        trains_arrive_whole(&here, &there, &mut sender);
        // Older kernels refuse offload here, and it is given up for good.
        println!("offload is on: {}", sender.offload());
    }

    #[test]
    #[ignore = "needs a private network namespace and ethtool: cargo xtask test"]
    fn trains_arrive_whole_where_the_receiver_does_not_coalesce() {
        let (here, there) = Host::pair();
        switch_off(&there, "generic-receive-offload");
        let mut sender = here.sender("v0", group("ff15::1"));
        trains_arrive_whole(&here, &there, &mut sender);
    }
}
