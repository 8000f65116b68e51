//! Trains of datagrams, cut by the kernel or by us.

use std::env::consts::ARCH;
use std::net::SocketAddrV6;
use std::thread;

use mcl_net::{
    Arrival, Received, Receiver, ReceiverOptions, SendErrorKind, Sender, TrainBuffer, Wait,
};
use mcl_testbed::Namespace;
use nix::errno::Errno;
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

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

/// A train: stride, sender, and the datagrams.
type Train = (usize, SocketAddrV6, Vec<Vec<u8>>);

fn read<'a>(arrival: Arrival, datagrams: impl Iterator<Item = &'a [u8]>) -> Train {
    assert!(arrival.time().is_some());
    let datagrams = datagrams.map(<[u8]>::to_vec).collect();
    (arrival.stride(), arrival.source(), datagrams)
}

/// What waits in the socket, `None` for what is foreign.
fn one_by_one(receiver: &mut Receiver) -> Vec<Option<Train>> {
    let (mut buffer, mut all) = (TrainBuffer::new(), vec![]);
    loop {
        match receiver.recv(&mut buffer, Wait::No).unwrap() {
            Received::Train(arrival) => all.push(Some(read(arrival, buffer.datagrams()))),
            Received::Foreign => all.push(None),
            _ => return all,
        }
    }
}

/// The same, and how many came with each call.
fn many_at_once(receiver: &mut Receiver, most: usize) -> (Vec<Option<Train>>, Vec<usize>) {
    let mut buffer = TrainBuffer::for_trains(18);
    let (mut all, mut calls) = (vec![], vec![]);
    while let Some(count) = receiver.recv_many(&mut buffer, most).unwrap() {
        let came = |index| {
            let train = buffer.train(index)?;
            Some(read(train.arrival(), train.datagrams()))
        };
        all.extend((0..count).map(came));
        assert!((count..20).all(|index| buffer.train(index).is_none()));
        calls.push(count);
    }
    (all, calls)
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn a_train_in_two_pieces_is_what_it_is_in_one() {
    const HEAD: usize = 52;
    let (here, there) = Host::pair();
    let group = group("ff15::1");
    let mut sender = here.sender("v0", group);
    let (mut split, mut whole) = (there.receiver("v0", group), there.receiver("v0", group));
    for (len, segment) in [
        (45 * 1452, 1452),
        (1452, 1452),
        (HEAD, HEAD),
        (7, 7),
        (0, 1),
    ] {
        here.send_train(&mut sender, &pattern(len), segment)
            .unwrap();
    }
    let (mut buffer, mut place) = (TrainBuffer::new(), vec![0; (64 << 10) - HEAD]);
    let mut all = vec![];
    while let Received::Train(arrival) = split.recv_split(&mut buffer, HEAD, &mut place).unwrap() {
        assert_eq!(buffer.arrival(), None, "it is in pieces");
        let expected = pattern(arrival.len());
        let rest = expected.get(HEAD..).unwrap_or_default();
        assert_eq!(place[..rest.len()], *rest);
        let head: &[u8; HEAD] = buffer.head().unwrap();
        let len = expected.len().min(HEAD);
        assert_eq!(head[..len], expected[..len]);
        buffer.gather(&arrival, HEAD, &place);
        all.push(Some(read(arrival, buffer.datagrams())));
    }
    assert_eq!(all.len(), 5);
    assert_eq!(all, one_by_one(&mut whole));
    // A train might not fit.
    here.send(&mut sender, b"x");
    place.pop();
    let refused = split.recv_split(&mut buffer, HEAD, &mut place).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    let refused = split.recv_split(&mut buffer, usize::MAX, &mut place);
    assert!(refused.is_err());
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn an_arrival_tells_what_the_kernel_dropped_before_it() {
    let (here, there) = Host::pair();
    Namespace::veth(&here.0, "w0", &there.0, "w0").unwrap();
    let group = group("ff15::1");
    let mut options = ReceiverOptions::default();
    options.receive_buffer = 1;
    let mut receiver = there.receiver_with("v0", group, &options);
    // What it brings to the socket is for nobody.
    let _foreign = there.receiver("w0", group);
    let (mut sender, mut over_w) = (here.sender("v0", group), here.sender("w0", group));
    let mut buffer = TrainBuffer::new();
    let mut dropped = vec![];
    for round in 0..3 {
        for _ in 0..100 {
            here.send(&mut sender, &pattern(1000));
        }
        while let Received::Train(_) = receiver.recv(&mut buffer, Wait::No).unwrap() {}
        let counter = receiver.drop_counter();
        let drops = there.0.run(|| counter.read()).unwrap().unwrap();
        assert!(drops > 0, "there was room for all");
        if round == 1 {
            // Told with the next that is for this receiver.
            here.send(&mut over_w, b"foreign");
            assert_eq!(
                receiver.recv(&mut buffer, Wait::No).unwrap(),
                Received::Foreign
            );
        }
        for _ in 0..2 {
            here.send(&mut sender, b"x");
            match receiver.recv(&mut buffer, Wait::No).unwrap() {
                Received::Train(arrival) => dropped.push(arrival.dropped()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(dropped.iter().map(|it| u64::from(*it)).sum::<u64>(), drops);
    }
    assert!(
        dropped.chunks(2).all(|it| it[0] > 0 && it[1] == 0),
        "{dropped:?}"
    );
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn many_at_once_are_what_they_are_one_by_one() {
    let (here, there) = Host::pair();
    Namespace::veth(&here.0, "w0", &there.0, "w0").unwrap();
    let group = group("ff15::1");
    let mut receivers = [16, 20, 3, 1].map(|most| (there.receiver("v0", group), most));
    let mut single = there.receiver("v0", group);
    // That somebody has joined there brings its datagrams to all.
    let mut foreign = there.receiver("w0", group);
    let (mut one, mut two) = (here.sender("v0", group), here.sender("v0", group));
    let mut over_w = here.sender("w0", group);
    for round in 0..30 {
        here.send(&mut one, &pattern(round * 40));
        here.send(&mut two, &pattern(round));
        if round % 7 == 3 {
            here.send_train(&mut one, &pattern(12_000), 1000).unwrap();
            here.send(&mut over_w, b"not there");
            assert_eq!(until(&mut foreign, b"not there").len(), 1);
        }
    }
    here.send(&mut two, b"the end");
    let expected = one_by_one(&mut single);
    let trains = expected.iter().flatten();
    assert_eq!(trains.map(|(.., it)| it.len()).sum::<usize>(), 61 + 4 * 12);
    assert_eq!(single.foreign().other_interface, 4);
    for (receiver, most) in &mut receivers {
        let (all, calls) = many_at_once(receiver, *most);
        assert!(all == expected, "{most} at once");
        let full = calls.iter().filter(|it| **it == (*most).min(16)).count();
        assert!(full >= calls.len() - 1, "{most} at once: {calls:?}");
        assert_eq!(receiver.foreign(), single.foreign());
    }
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

/// Lets this thread make every system call but one, which fails with `errno`.
fn refuse(call: libc::c_long, errno: Errno) {
    let filter = SeccompFilter::new(
        [(call, vec![])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[test]
#[ignore = "needs a private network namespace: cargo xtask test"]
fn many_come_one_by_one_where_a_sandbox_refuses_the_call() {
    let (here, there) = Host::pair();
    let group = group("ff15::1");
    let mut receivers =
        [Errno::EPERM, Errno::ENOSYS].map(|errno| (there.receiver("v0", group), errno));
    let mut sender = here.sender("v0", group);
    for len in 0..20 {
        here.send(&mut sender, &pattern(len));
    }
    thread::scope(|scope| {
        for (receiver, errno) in &mut receivers {
            scope.spawn(|| {
                refuse(libc::SYS_recvmmsg, *errno);
                let (all, calls) = many_at_once(receiver, 16);
                let came: Vec<_> = all.into_iter().flatten().flat_map(|(.., it)| it).collect();
                assert_eq!(came, (0..20).map(pattern).collect::<Vec<_>>());
                assert_eq!(calls, [1; 20]);
            });
        }
    });
}
