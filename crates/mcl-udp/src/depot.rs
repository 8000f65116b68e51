//! Memory that goes round: from the receiving thread into payloads, and back when
//! their last owner lets go. In the steady state no message allocates.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::payload::{Buffer, Payload};
use crate::sync::lock;

/// The most buffers that wait to be taken back, and the most small ones kept.
const MOST: usize = 1024;

/// The most bytes that wait to be taken back. A single buffer may be longer.
const MOST_BYTES: usize = 64 << 20;

/// The most bytes kept for messages copied out of a datagram.
const MOST_SMALL_BYTES: usize = 4 << 20;

/// Where payloads leave their memory.
#[derive(Debug, Default)]
pub(crate) struct Depot {
    returned: Mutex<Returned>,
    /// How many there are, to be read without the lock.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Returned {
    buffers: Vec<Arc<Buffer>>,
    bytes: usize,
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

/// The receiving thread's side: what it makes payloads of.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    depot: Arc<Depot>,
    /// Buffers for messages copied out of a datagram.
    small: Vec<Arc<Buffer>>,
    small_bytes: usize,
    /// Buffers whose bytes went to reassembly.
    empty: Vec<Arc<Buffer>>,
    /// What came back, while it is sorted; swapped with the depot's.
    sorting: Vec<Arc<Buffer>>,
}

impl Stock {
    /// Takes back what payloads left; hands large buffers to `recycle`.
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
            let Some(unique) = Arc::get_mut(&mut buffer) else {
                continue;
            };
            if unique.reassembled {
                unique.reassembled = false;
                recycle(mem::take(&mut unique.bytes));
            }
            let bytes = unique.bytes.capacity();
            if bytes == 0 && self.empty.len() < MOST {
                self.empty.push(buffer);
            } else if self.small.len() < MOST && self.small_bytes + bytes <= MOST_SMALL_BYTES {
                self.small_bytes += bytes;
                self.small.push(buffer);
            }
        }
    }

    /// A payload that is a copy of `bytes`.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Payload {
        let mut whole = match self.small.pop() {
            Some(buffer) => {
                self.small_bytes -= buffer.bytes.capacity();
                buffer
            }
            None => self.another(),
        };
        if let Some(unique) = Arc::get_mut(&mut whole) {
            unique.bytes.clear();
            unique.bytes.extend_from_slice(bytes);
        }
        Payload::new(whole, 0..bytes.len())
    }

    /// A payload that owns `body` and shows the part from `start` on.
    pub(crate) fn adopt(&mut self, body: Vec<u8>, start: usize) -> Payload {
        let range = start..body.len();
        let mut whole = self.empty.pop().unwrap_or_else(|| self.another());
        if let Some(unique) = Arc::get_mut(&mut whole) {
            unique.bytes = body;
            unique.reassembled = true;
        }
        Payload::new(whole, range)
    }

    fn another(&self) -> Arc<Buffer> {
        let home: Weak<Depot> = Arc::downgrade(&self.depot);
        Arc::new(Buffer {
            home,
            ..Buffer::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_the_last_owner_lets_go() {
        let mut stock = Stock::default();
        let payload = stock.copy(b"small");
        let address = payload.as_ptr();
        let shared = payload.clone();
        drop(payload);
        stock.collect(|_| panic!("it is shared still"));
        assert!(stock.small.is_empty());

        drop(shared);
        stock.collect(|_| panic!("it is small"));
        let again = stock.copy(b"again");
        assert_eq!(again, b"again");
        assert_eq!(again.as_ptr(), address);
    }

    #[test]
    fn large_buffers_go_to_reassembly_and_their_shells_are_used_again() {
        let mut stock = Stock::default();
        let payload = stock.adopt(vec![7; 100_000], 10);
        assert_eq!(payload.len(), 99_990);
        drop(payload);
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
        let (kept, taken) = (stock.copy(b"kept"), stock.copy(b"taken"));
        assert_eq!(taken.into_vec(), b"taken");
        drop(stock);
        assert_eq!(kept, b"kept");
        drop(kept);
    }

    #[test]
    fn what_waits_has_an_end() {
        let mut stock = Stock::default();
        let many: Vec<_> = (0..3 * MOST).map(|_| stock.copy(b"x")).collect();
        drop(many);
        assert_eq!(stock.depot.waiting.load(Ordering::Relaxed), MOST);
        stock.collect(|_| {});
        assert_eq!(stock.small.len(), MOST);
    }
}
