//! Messages in the order in which they were received: files of several connections have
//! them nearly so.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What comes later than so much after another message comes out of order.
const SPAN_NANOS: u64 = 500_000_000;

/// And what comes after so many others, or so many bytes.
const MOST: usize = 4096;
const MOST_BYTES: usize = 16 << 20;

/// Holds messages back until nothing older can come.
#[derive(Debug)]
pub(super) struct Order<T> {
    held: BinaryHeap<Reverse<Held<T>>>,
    number: u64,
    newest: u64,
    bytes: usize,
}

/// Ordered by time, and then as they came.
#[derive(Debug)]
struct Held<T> {
    key: (u64, u64),
    bytes: usize,
    item: T,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self {
            held: BinaryHeap::new(),
            number: 0,
            newest: 0,
            bytes: 0,
        }
    }
}

impl<T> Order<T> {
    pub(super) fn push(&mut self, time: u64, bytes: usize, item: T) {
        self.held.push(Reverse(Held {
            key: (time, self.number),
            bytes,
            item,
        }));
        self.number += 1;
        self.bytes += bytes;
        self.newest = self.newest.max(time);
    }

    /// The oldest message, if it has been held back for long enough.
    pub(super) fn pop(&mut self) -> Option<T> {
        let Reverse(oldest) = self.held.peek()?;
        let is_old = self.newest - oldest.key.0 >= SPAN_NANOS;
        let is_full = self.held.len() > MOST || self.bytes > MOST_BYTES;
        (is_old || is_full).then(|| self.take()).flatten()
    }

    /// The oldest message. When there is none, another time may begin.
    pub(super) fn take(&mut self) -> Option<T> {
        let Some(Reverse(held)) = self.held.pop() else {
            self.newest = 0;
            return None;
        };
        self.bytes -= held.bytes;
        Some(held.item)
    }
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Held<T> {}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(times: &[u64]) -> Vec<u64> {
        let (mut order, mut out) = (Order::default(), Vec::new());
        for &time in times {
            order.push(time, 1, time);
            out.extend(std::iter::from_fn(|| order.pop()));
        }
        out.extend(std::iter::from_fn(|| order.take()));
        out
    }

    #[test]
    fn what_is_nearly_in_order_comes_in_order() {
        let ms = |ms: u64| ms * 1_000_000;
        let times: Vec<u64> = (0..2000_u64).map(|it| ms(10 * (it ^ 15))).collect();
        let mut sorted = times.clone();
        sorted.sort_unstable();
        assert_eq!(ordered(&times), sorted);
        assert_eq!(ordered(&[ms(0), ms(5000), ms(1)]), [ms(0), ms(1), ms(5000)]);
    }

    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let mut order = Order::default();
        for number in 0..10 {
            order.push(0, MOST_BYTES / 4, number);
            while order.pop().is_some() {}
            assert!(order.bytes <= MOST_BYTES);
        }
        // Those of the same time stay in the order in which they came.
        assert_eq!(order.take(), Some(6));
    }
}
