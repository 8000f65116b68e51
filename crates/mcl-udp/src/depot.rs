//! Memory that goes round: from reassembly into payloads, and back when their
//! last owner lets go. In the steady state no large message allocates.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::payload::{Buffer, Payload};
use crate::sync::lock;

/// The most buffers that wait to be taken back.
const MOST: usize = 1024;

/// How many of them there is room for from the start.
const FEW: usize = 64;

/// The most bytes that wait to be taken back. A single buffer may be longer.
const MOST_BYTES: usize = 64 << 20;

/// Where payloads leave their memory.
#[derive(Debug, Default)]
pub(crate) struct Depot {
    returned: Mutex<Returned>,
    /// How many there are, to be read without the lock.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Returned {
    buffers: Vec<Arc<Buffer>>,
    bytes: usize,
    /// Whether nothing is kept: nobody would come and take it back for long.
    resting: bool,
}

impl Default for Returned {
    fn default() -> Self {
        Self {
            buffers: Vec::with_capacity(FEW),
            bytes: 0,
            resting: false,
        }
    }
}

impl Depot {
    /// Takes a buffer that has one owner left, or frees it: if there are enough, or
    /// the listener has heard nothing for a while.
    pub(crate) fn give_back(&self, buffer: Arc<Buffer>) {
        let bytes = buffer.bytes.capacity();
        let mut returned = lock(&self.returned);
        let few = returned.buffers.len() < MOST && !returned.resting;
        if few && (returned.bytes == 0 || returned.bytes + bytes <= MOST_BYTES) {
            returned.bytes += bytes;
            returned.buffers.push(buffer);
            self.waiting
                .store(returned.buffers.len(), Ordering::Relaxed);
        } else {
            drop(returned);
            drop(buffer);
        }
    }
}

/// The receiving side: what it makes payloads of.
#[derive(Debug)]
pub(crate) struct Stock {
    depot: Arc<Depot>,
    /// Buffers whose bytes went to reassembly.
    empty: Vec<Arc<Buffer>>,
    /// What came back, while it is sorted; swapped with the depot's.
    sorting: Vec<Arc<Buffer>>,
    /// Whether the depot was told to keep nothing.
    resting: bool,
}

impl Default for Stock {
    fn default() -> Self {
        Self {
            depot: Arc::default(),
            empty: Vec::with_capacity(FEW),
            sorting: Vec::with_capacity(FEW),
            resting: false,
        }
    }
}

impl Stock {
    /// Takes back what payloads left, for `recycle`.
    pub(crate) fn collect(&mut self, mut recycle: impl FnMut(Vec<u8>)) {
        if self.resting {
            self.rest(false);
        }
        if self.depot.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        {
            let mut returned = lock(&self.depot.returned);
            mem::swap(&mut returned.buffers, &mut self.sorting);
            returned.bytes = 0;
            self.depot.waiting.store(0, Ordering::Relaxed);
        }
        for mut buffer in self.sorting.drain(..) {
            if let Some(unique) = Arc::get_mut(&mut buffer) {
                recycle(mem::take(&mut unique.bytes));
                self.empty.push(buffer);
            }
        }
        self.empty.truncate(MOST);
    }

    /// A payload that owns `body` and shows the part from `start` on.
    pub(crate) fn adopt(&mut self, body: Vec<u8>, start: usize) -> Payload {
        let range = start..body.len();
        let mut whole = self.empty.pop().unwrap_or_else(|| self.another());
        if let Some(unique) = Arc::get_mut(&mut whole) {
            unique.bytes = body;
        }
        Payload::new(whole, range)
    }

    /// Frees what is kept for later, and has what comes back freed at once until the
    /// next [`collect`](Self::collect).
    pub(crate) fn trim(&mut self, recycle: impl FnMut(Vec<u8>)) {
        self.collect(recycle);
        self.rest(true);
        self.empty.clear();
        self.empty.shrink_to(FEW);
        self.sorting.shrink_to(FEW);
    }

    fn rest(&mut self, resting: bool) {
        self.resting = resting;
        let mut returned = lock(&self.depot.returned);
        returned.resting = resting;
        if resting {
            // What came since it was looked at.
            returned.buffers.clear();
            returned.bytes = 0;
            self.depot.waiting.store(0, Ordering::Relaxed);
        }
    }

    fn another(&self) -> Arc<Buffer> {
        Arc::new(Buffer {
            bytes: Vec::new(),
            home: Arc::downgrade(&self.depot),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_back_to_reassembly_when_the_last_owner_lets_go() {
        let mut stock = Stock::default();
        let payload = stock.adopt(vec![7; 100_000], 10);
        assert_eq!(payload.len(), 99_990);
        let shared = payload.clone();
        drop(payload);
        stock.collect(|_| panic!("it is shared still"));
        drop(shared);
        let mut recycled = Vec::new();
        stock.collect(|buffer| recycled.push(buffer.capacity()));
        assert_eq!(recycled, [100_000]);
        assert_eq!(stock.empty.len(), 1);
        drop(stock.adopt(vec![1], 0));
        assert!(stock.empty.is_empty());
    }

    #[test]
    fn a_payload_may_outlive_its_listener_and_be_taken_apart() {
        let mut stock = Stock::default();
        let kept = stock.adopt(b"kept".to_vec(), 0);
        let taken = stock.adopt(b"taken".to_vec(), 0);
        assert_eq!(taken.into_vec(), b"taken");
        drop(stock);
        assert_eq!(kept, b"kept");
        drop(kept);
    }

    #[test]
    fn at_rest_nothing_waits() {
        let mut stock = Stock::default();
        let [early, late, later] = [1, 2, 3].map(|it| stock.adopt(vec![it; 100], 0));
        drop(early);
        let mut recycled = 0;
        stock.trim(|_| recycled += 1);
        assert_eq!((recycled, stock.empty.len()), (1, 0));
        drop(late);
        assert_eq!(stock.depot.waiting.load(Ordering::Relaxed), 0);
        stock.collect(|_| panic!("it is freed"));
        drop(later);
        stock.collect(|_| recycled += 1);
        assert_eq!(recycled, 2);
    }

    #[test]
    fn what_waits_has_an_end() {
        let mut stock = Stock::default();
        let many: Vec<_> = (0..3 * MOST)
            .map(|_| stock.adopt(b"x".to_vec(), 0))
            .collect();
        drop(many);
        assert_eq!(stock.depot.waiting.load(Ordering::Relaxed), MOST);
        stock.collect(drop);
        assert_eq!(stock.empty.len(), MOST);
    }
}
