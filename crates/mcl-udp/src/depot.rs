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
}

impl Default for Returned {
    fn default() -> Self {
        Self {
            buffers: Vec::with_capacity(FEW),
            bytes: 0,
        }
    }
}

impl Depot {
    /// Takes a buffer that has one owner left, or frees it.
    pub(crate) fn give_back(&self, buffer: Arc<Buffer>) {
        let bytes = buffer.bytes.capacity();
        let mut returned = lock(&self.returned);
        let few = returned.buffers.len() < MOST;
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
}

impl Default for Stock {
    fn default() -> Self {
        Self {
            depot: Arc::default(),
            empty: Vec::with_capacity(FEW),
            sorting: Vec::with_capacity(FEW),
        }
    }
}

impl Stock {
    /// Takes back what payloads left, for `recycle`.
    pub(crate) fn collect(&mut self, mut recycle: impl FnMut(Vec<u8>)) {
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

    /// Frees what is kept for later.
    pub(crate) fn trim(&mut self) {
        self.empty.clear();
        self.empty.shrink_to(FEW);
        self.sorting.shrink_to(FEW);
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
