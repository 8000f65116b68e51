//! Buffers kept for the next message.

use alloc::vec::Vec;

/// Most buffers, and most bitmaps, kept.
const MAX_SPARES: usize = 16;
/// Longest bitmap kept, in bytes of capacity.
const MAX_BITMAP_BYTES: usize = 64 << 10;

/// A few buffers that messages have done with. They count in the budget, give
/// way before any message does, and are for proven streams only: a claimed
/// length must not be enough to hold memory.
#[derive(Debug)]
pub(crate) struct Spares {
    buffers: Vec<Vec<u8>>,
    bitmaps: Vec<Vec<u64>>,
    bytes: usize,
    max_bytes: usize,
}

impl Spares {
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self {
            buffers: Vec::new(),
            bitmaps: Vec::new(),
            bytes: 0,
            max_bytes,
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps `buffer` unless that took more than `room` bytes; the oldest
    /// buffer goes when there are enough of them.
    /// What it holds stays: to fill a buffer with zeros anew would cost as much
    /// as to fill it with a message.
    pub(crate) fn put_buffer(&mut self, buffer: Vec<u8>, room: usize) {
        let capacity = buffer.capacity();
        if capacity == 0 || capacity > room || !self.make_place(capacity) {
            return;
        }
        self.bytes = self.bytes.saturating_add(capacity);
        self.buffers.push(buffer);
    }

    fn make_place(&mut self, capacity: usize) -> bool {
        if capacity > self.max_bytes {
            return false;
        }
        while self.buffers.len() >= MAX_SPARES
            || self.bytes.saturating_add(capacity) > self.max_bytes
        {
            if !self.drop_one() {
                return false;
            }
        }
        true
    }

    pub(crate) fn put_bitmap(&mut self, mut bitmap: Vec<u64>, room: usize) {
        let bytes = bitmap_bytes(&bitmap);
        let limit = room.min(MAX_BITMAP_BYTES);
        if bytes == 0 || bytes > limit || self.bitmaps.len() >= MAX_SPARES {
            return;
        }
        bitmap.clear();
        self.bytes = self.bytes.saturating_add(bytes);
        self.bitmaps.push(bitmap);
    }

    /// A buffer for a message of `total` bytes, not more than twice as large.
    pub(crate) fn take_buffer(&mut self, total: usize) -> Option<Vec<u8>> {
        let fitting = total..=total.saturating_mul(2);
        let at = self
            .buffers
            .iter()
            .rposition(|buffer| fitting.contains(&buffer.capacity()))?;
        let buffer = self.buffers.swap_remove(at);
        self.bytes = self.bytes.saturating_sub(buffer.capacity());
        Some(buffer)
    }

    pub(crate) fn take_bitmap(&mut self) -> Option<Vec<u64>> {
        let bitmap = self.bitmaps.pop()?;
        self.bytes = self.bytes.saturating_sub(bitmap_bytes(&bitmap));
        Some(bitmap)
    }

    /// Frees the oldest; `false` if there is none.
    pub(crate) fn drop_one(&mut self) -> bool {
        let freed = if self.buffers.is_empty() {
            self.bitmaps.pop().map(|bitmap| bitmap_bytes(&bitmap))
        } else {
            Some(self.buffers.remove(0).capacity())
        };
        self.bytes = self.bytes.saturating_sub(freed.unwrap_or_default());
        freed.is_some()
    }
}

fn bitmap_bytes(bitmap: &Vec<u64>) -> usize {
    bitmap.capacity().saturating_mul(size_of::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_kept_and_the_oldest_goes_first() {
        let mut spares = Spares::new(1 << 20);
        for capacity in 101..=120 {
            spares.put_buffer(Vec::with_capacity(capacity), usize::MAX);
        }
        assert_eq!(spares.bytes(), (105..=120).sum::<usize>());
        assert!(spares.take_buffer(121).is_none());
        assert!(spares.take_buffer(50).is_none(), "more than twice as large");
        assert_eq!(spares.take_buffer(60).unwrap().capacity(), 120);
        while spares.drop_one() {}
        assert_eq!(spares.bytes(), 0);
    }

    #[test]
    fn the_budget_comes_first() {
        let mut spares = Spares::new(1000);
        spares.put_buffer(Vec::with_capacity(100), 99);
        spares.put_buffer(Vec::with_capacity(1001), usize::MAX);
        spares.put_bitmap(Vec::with_capacity(2), 15);
        assert_eq!(spares.bytes(), 0);
        spares.put_buffer(Vec::with_capacity(600), usize::MAX);
        spares.put_buffer(Vec::with_capacity(700), usize::MAX);
        assert_eq!(spares.bytes(), 700);
        spares.put_bitmap(Vec::with_capacity(2), 16);
        assert_eq!(spares.take_bitmap().unwrap().capacity(), 2);
        assert_eq!(spares.bytes(), 700);
    }
}
