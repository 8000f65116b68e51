//! Numbers that leap: what a long gap costs, and what one datagram can do.

use core::time::Duration;

use mcl_wire::{BodyHead, DatagramWriter, Demux, Header, Limits, Metadata, StreamId};

use crate::common::{Hasher, Inbox, Sender, check, demux, payload};

/// A datagram that says whole messages of these numbers.
fn datagram(sequence: u64, numbers: core::ops::Range<u64>) -> Vec<u8> {
    let head = BodyHead::new(None, &Metadata::new()).unwrap();
    let mut buffer = [0; 1452];
    let header = Header::new(StreamId(1), sequence);
    let mut writer = DatagramWriter::new(&mut buffer, header).unwrap();
    for number in numbers {
        writer.message(number, &head, b"").unwrap();
    }
    let len = writer.finish();
    buffer[..len].to_vec()
}

fn hear(demux: &mut Demux<Hasher>, inbox: &mut Inbox, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        demux.datagram(Duration::ZERO, datagram, inbox);
        check(demux);
    }
}

#[test]
fn a_single_datagram_leads_the_message_numbers_nowhere() {
    for far in [5000, 1 << 24, 1 << 40] {
        let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
        let forged = datagram(2, far..far + 100);
        let honest = [datagram(0, 0..3), datagram(1, 3..6), forged];
        hear(&mut demux, &mut inbox, &honest);
        hear(&mut demux, &mut inbox, &[datagram(3, 6..9)]);
        let report = demux.stream(StreamId(1)).unwrap();
        assert_eq!((report.numbers.restarts, report.numbers.highest), (0, 8));
        assert_eq!(report.numbers.missing, 0);
        let numbers = inbox.messages.iter().map(|it| it.number);
        assert!(numbers.filter(|it| *it < 9).eq(0..9));
    }
}

#[test]
fn sixty_five_old_messages_in_one_datagram_begin_nothing_anew() {
    let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
    let far = [datagram(0, 9000..9002), datagram(1, 9002..9003)];
    hear(&mut demux, &mut inbox, &far);
    hear(&mut demux, &mut inbox, &[datagram(2, 0..100)]);
    let report = demux.stream(StreamId(1)).unwrap();
    assert_eq!((report.numbers.restarts, report.numbers.stale), (0, 100));
}

#[test]
fn a_long_gap_costs_nothing_beyond_itself() {
    for (lost, messages) in [(2000, 3), (5000, 5000), (100_000, 90_000)] {
        let (mut demux, mut inbox) = (demux(Limits::default()), Inbox::default());
        let mut sender = Sender::new(1);
        hear(&mut demux, &mut inbox, &sender.message(None, b"before"));
        sender.sequence += lost;
        sender.number += messages;
        hear(
            &mut demux,
            &mut inbox,
            &sender.message(None, &payload(1, 9_000)),
        );
        hear(&mut demux, &mut inbox, &sender.message(None, b"after"));
        let report = demux.stream(StreamId(1)).unwrap();
        assert_eq!(report.datagrams.missing, lost);
        assert_eq!(report.numbers.missing, messages);
        assert_eq!((report.datagrams.apart, report.numbers.apart), (0, 0));
        assert_eq!(inbox.messages.len(), 3);
        assert_eq!(demux.counters().datagrams.dropped(), 0);
    }
}
