//! Fragments of many streams in turn, made as fast as they are taken in.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use mcl_wire::{FRAGMENT_OVERHEAD, HEADER_LEN, Header, StreamId};

use crate::traffic::{DATAGRAM, TRAIN, stream_id};

/// Bytes of a fragment.
pub const FRAGMENT: usize = DATAGRAM - FRAGMENT_OVERHEAD;

/// Bytes of a large message that is not very large.
pub const LARGE: usize = 64 << 10;

/// Bytes of the buffers that are used in turn: beyond the caches, and the same whatever the length of
/// a message and the number of streams, so that memory costs the same.
pub const ALL: usize = 64 << 20;

/// How many datagrams of a stream come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// One: nothing on the way joins them.
    Singly,
    /// As many as senders send: equal parts of the message, each of one train at most.
    InTrains,
}

/// Messages of several streams at once, each of equal fragments, that go to `buffers` which are all
/// used in turn.
#[derive(Clone, Copy, Debug)]
pub struct Interleaving {
    /// How many streams.
    pub streams: u64,
    /// How many fragments a message has.
    pub fragments: u32,
    /// How many datagrams of a stream are in a row.
    pub burst: u32,
    /// How many buffers.
    pub buffers: usize,
}

/// Fragments in a row of one stream's message: which stream, and which fragments.
pub type Burst = (u64, Range<u32>);

impl Interleaving {
    /// Messages of `size` bytes, rounded up to whole fragments, in buffers of `all` bytes together.
    #[must_use]
    pub fn new(together: Together, streams: u64, size: usize, all: usize) -> Self {
        let fragments = size.div_ceil(FRAGMENT) as u32;
        let burst = match together {
            Together::Singly => 1,
            Together::InTrains => fragments.div_ceil(fragments.div_ceil(TRAIN as u32)),
        };
        Self {
            streams,
            fragments,
            burst,
            buffers: all / size,
        }
    }

    /// The next message of every stream.
    fn round(self) -> impl Iterator<Item = Burst> {
        let bursts = (0..self.fragments).step_by(self.burst as usize);
        bursts.flat_map(move |first| {
            let end = self.fragments.min(first + self.burst);
            (0..self.streams).map(move |stream| (stream, first..end))
        })
    }

    /// Bytes of a message.
    #[must_use]
    pub const fn total(self) -> usize {
        self.fragments as usize * FRAGMENT
    }

    /// Fragments of a message of every stream.
    #[must_use]
    pub const fn in_round(self) -> u64 {
        self.streams * self.fragments as u64
    }

    /// Rounds in which every buffer is used twice.
    #[must_use]
    pub fn to_warm(self) -> u64 {
        2 * (self.buffers as u64).div_ceil(self.streams)
    }

    /// The time of `iterations` fragments, from that of whole rounds.
    pub fn time(self, iterations: u64, mut round: impl FnMut()) -> Duration {
        let each = self.in_round();
        let rounds = iterations.div_ceil(each);
        let began = Instant::now();
        (0..rounds).for_each(|_| round());
        began
            .elapsed()
            .mul_f64(iterations as f64 / (rounds * each) as f64)
    }
}

/// What a socket is read into, or sent from: always the same few pages, as hot as what the kernel has
/// just copied, whatever the number of streams.
///
/// It is filled with all that comes at once and then read. To read
/// each header right after it was written would wait until all that was written before is in
/// memory, which nothing does that receives.
#[derive(Debug)]
pub struct Scratch {
    datagrams: Vec<[u8; DATAGRAM]>,
    bursts: Vec<Burst>,
}

impl Scratch {
    /// For messages of `total` bytes.
    #[must_use]
    pub fn new(total: usize) -> Self {
        let mut datagram = [0; DATAGRAM];
        datagram[..HEADER_LEN].copy_from_slice(&Header::new(StreamId(0), 0).encode());
        let len = (DATAGRAM - HEADER_LEN - 4) as u16;
        datagram[24..28].copy_from_slice(&[2, 0, (len >> 8) as u8, len as u8]);
        datagram[36..40].copy_from_slice(&(total as u32).to_be_bytes());
        datagram[48..50].copy_from_slice(&(FRAGMENT as u16).to_be_bytes());
        Self {
            datagrams: vec![datagram; TRAIN],
            bursts: Vec::new(),
        }
    }

    /// Makes the datagrams of message `number` of every stream, without a topic and all of
    /// zeros. Calls `each` with those that come at once, a train of them at most.
    pub fn round(&mut self, way: Interleaving, number: u64, mut each: impl FnMut(&[Burst], &[u8])) {
        let mut round = way.round();
        loop {
            let at_once = round.by_ref().take(TRAIN / way.burst as usize);
            self.bursts.clear();
            self.bursts.extend(at_once);
            if self.bursts.is_empty() {
                return;
            }
            let filled = self.fill(way, number);
            each(&self.bursts, self.datagrams[..filled].as_flattened());
        }
    }

    fn fill(&mut self, way: Interleaving, number: u64) -> usize {
        let mut filled = 0;
        for (stream, indexes) in &self.bursts {
            for index in indexes.clone() {
                let sequence = number * u64::from(way.fragments) + u64::from(index);
                let datagram = &mut self.datagrams[filled];
                datagram[8..16].copy_from_slice(&stream_id(*stream).0.to_be_bytes());
                datagram[16..24].copy_from_slice(&sequence.to_be_bytes());
                datagram[28..36].copy_from_slice(&number.to_be_bytes());
                datagram[40..44].copy_from_slice(&index.to_be_bytes());
                filled += 1;
            }
        }
        filled
    }
}

/// What was delivered last, so that all buffers are used in turn.
#[derive(Debug)]
pub struct Kept<T> {
    most: usize,
    messages: VecDeque<T>,
}

impl<T> Kept<T> {
    /// As many as leave a buffer for the next message of every stream.
    #[must_use]
    pub fn new(way: Interleaving) -> Self {
        Self {
            most: way.buffers.saturating_sub(way.streams as usize),
            messages: VecDeque::new(),
        }
    }

    /// Keeps a message, and gives the oldest back if there are enough.
    pub fn put(&mut self, message: T) -> Option<T> {
        self.messages.push_back(message);
        let enough = self.messages.len() > self.most;
        enough.then(|| self.messages.pop_front())?
    }
}

/// Each burst with its datagrams.
pub fn each_burst<'a>(
    bursts: &'a [Burst],
    mut datagrams: &'a [u8],
) -> impl Iterator<Item = (&'a Burst, &'a [u8])> {
    bursts.iter().map(move |burst| {
        let (own, rest) = datagrams.split_at(burst.1.len() * DATAGRAM);
        datagrams = rest;
        (burst, own)
    })
}
