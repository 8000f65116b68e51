//! A `Demux` to be fed by hand.

use core::time::Duration;

use mcl_wire::{Demux, Disposition, Limits, StreamReport};

use crate::common::{Hasher, Inbox, Sender, check, demux, payload};

/// A listener without a socket: what it is fed comes a microsecond after the last, and
/// its account is checked each time.
pub(crate) struct Bench {
    pub(crate) demux: Demux<Hasher>,
    pub(crate) inbox: Inbox,
    pub(crate) now: Duration,
}

impl Bench {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            demux: demux(limits),
            inbox: Inbox::default(),
            now: Duration::from_secs(1),
        }
    }

    pub(crate) fn feed(&mut self, datagram: &[u8]) -> Disposition {
        self.now += Duration::from_micros(1);
        let disposition = self.demux.datagram(self.now, datagram, &mut self.inbox);
        check(&self.demux);
        disposition
    }

    /// The first fragments of the sender's next message; the rest is returned.
    pub(crate) fn begin(&mut self, sender: &mut Sender, len: usize, fed: usize) -> Vec<Vec<u8>> {
        let mut datagrams = sender.message(None, &payload(sender.number, len));
        for datagram in datagrams.drain(..fed) {
            self.feed(&datagram);
        }
        datagrams
    }

    pub(crate) fn prove(&mut self, sender: &mut Sender) {
        let datagram = sender.message(None, b"proof").remove(0);
        assert_eq!(self.feed(&datagram), Disposition::Accepted);
    }

    pub(crate) fn stream(&self, sender: &Sender) -> StreamReport {
        self.demux.stream(sender.stream).unwrap()
    }
}
