//! Large messages are received where they are put together: the kernel writes the
//! data of each datagram into the message's buffer, and only what precedes it
//! elsewhere.

use std::array;
use std::hash::RandomState;
use std::io::{self, IoSliceMut};

use mcl_net::{Arrival, Received as Woke, Receiver, TrainBuffer, Wait};
use mcl_wire::{Demux, FRAGMENT_OVERHEAD};

/// The most datagrams in a train (`UDP_MAX_SEGMENTS`, include/linux/udp.h).
const MOST_DATAGRAMS: usize = 64;

/// Trains shorter than this are not worth a prediction.
const LONG: usize = 16 << 10;

type Prefix = [u8; FRAGMENT_OVERHEAD];

/// Where the kernel puts a train of fragments.
#[derive(Debug)]
pub(crate) struct LandingStrip {
    /// What precedes the data of each datagram.
    prefixes: Box<[Prefix]>,
    /// What is beyond the places of the fragments expected.
    beyond: TrainBuffer,
    /// Whether the last train was a long one.
    long: bool,
    landed: Option<Landed>,
}

/// A train in its place, or so it is hoped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Landed {
    pub(crate) arrival: Arrival,
    /// Bytes of a place.
    fragment_len: usize,
    /// Bytes of all places.
    places_len: usize,
}

impl Default for LandingStrip {
    fn default() -> Self {
        Self {
            prefixes: vec![[0; FRAGMENT_OVERHEAD]; MOST_DATAGRAMS].into(),
            beyond: TrainBuffer::new(),
            long: false,
            landed: None,
        }
    }
}

impl LandingStrip {
    /// Takes note of what came.
    pub(crate) fn consider(&mut self, arrival: Arrival) {
        self.long = arrival.len() >= LONG;
    }

    /// Whether what comes next may be predictable.
    pub(crate) fn is_worth_it(&self) -> bool {
        self.long
    }

    /// Whether something has landed that was not taken in yet.
    pub(crate) fn is_occupied(&self) -> bool {
        self.landed.is_some()
    }

    /// Receives what is there, in the places where `demux` expects it; `None` if it
    /// expects nothing.
    pub(crate) fn receive(
        &mut self,
        receiver: &mut Receiver,
        demux: &mut Demux<RandomState>,
    ) -> Option<io::Result<Woke>> {
        let landing = demux.landing(MOST_DATAGRAMS)?;
        let fragment_len = landing.fragment_len;
        let places_len = landing.slots.len();
        let mut slices: [IoSliceMut<'_>; 2 * MOST_DATAGRAMS + 1] =
            array::from_fn(|_| IoSliceMut::new(&mut []));
        let mut places = 0;
        let slots = landing.slots.chunks_mut(fragment_len.max(1));
        let pairs = slices.chunks_exact_mut(2);
        for ((pair, prefix), slot) in pairs.zip(&mut self.prefixes).zip(slots) {
            pair[0] = IoSliceMut::new(prefix);
            pair[1] = IoSliceMut::new(slot);
            places += 1;
        }
        slices[2 * places] = IoSliceMut::new(self.beyond.room());
        let woke = receiver.recv_vectored(&mut slices[..=2 * places], Wait::No);
        if let Ok(Woke::Train(arrival)) = woke {
            self.consider(arrival);
            self.landed = Some(Landed {
                arrival,
                fragment_len,
                places_len,
            });
        }
        Some(woke)
    }

    /// Takes what has landed off the strip.
    pub(crate) fn clear(&mut self) -> Option<Landed> {
        self.landed.take()
    }

    /// What precedes the data of each datagram, and how much data the last has;
    /// `None` if these are not datagrams of the length expected.
    pub(crate) fn landed(&self, landed: Landed) -> Option<(&[Prefix], usize)> {
        let count = landed.arrival.datagrams();
        let full = FRAGMENT_OVERHEAD + landed.fragment_len;
        if count > 1 && landed.arrival.stride() != full {
            return None;
        }
        let before = (count - 1) * full;
        let last_len = landed
            .arrival
            .len()
            .checked_sub(before + FRAGMENT_OVERHEAD)?;
        let end = (count - 1) * landed.fragment_len + last_len;
        if last_len > landed.fragment_len || end > landed.places_len {
            return None;
        }
        Some((self.prefixes.get(..count)?, last_len))
    }

    /// Puts together in `train` what has landed in the wrong place.
    pub(crate) fn gather(
        &mut self,
        landed: Landed,
        demux: &mut Demux<RandomState>,
        train: &mut TrainBuffer,
    ) {
        // There as long as nothing was fed in.
        let slots: &[u8] = match demux.landing(MOST_DATAGRAMS) {
            Some(landing) => landing.slots,
            None => &[],
        };
        let pairs = self
            .prefixes
            .iter()
            .zip(slots.chunks(landed.fragment_len.max(1)));
        let parts = pairs.flat_map(|(prefix, slot)| [&prefix[..], slot]);
        let beyond: &[u8] = self.beyond.room();
        train.gather(landed.arrival, parts.chain([beyond]));
    }
}
