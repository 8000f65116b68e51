//! Buffers kept for the next message.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

/// Most buffers, and most bitmaps, kept: as many as messages may be under reassembly by default, so
/// that none allocates where as many streams send in step.
const MAX_SPARES: usize = 1024;
/// Longest bitmap kept, in bytes of capacity.
const MAX_BITMAP_BYTES: usize = 64 << 10;
/// How many of a shelf are looked at for one that fits.
const MOST_LOOKED_AT: usize = 16;
/// One for each power of two up to the longest message.
const SHELVES: usize = 33;

/// Buffers that messages have done with. They count in the budget, give
/// way before any message does, and are for proven streams only: a claimed
/// length must not be enough to hold memory.
#[derive(Debug)]
pub(crate) struct Spares {
    /// By the power of two below the capacity.
    buffers: [Shelf<Vec<u8>>; SHELVES],
    bitmaps: Shelf<Vec<u64>>,
    /// Buffers kept, and buffers ever kept.
    count: usize,
    kept: u64,
    bytes: usize,
    max_bytes: usize,
}

/// Spares that are of use for the same, oldest first.
#[derive(Debug)]
struct Shelf<T> {
    spares: VecDeque<Spare<T>>,
    /// How many at least were there since [`Shelf::take_unneeded`].
    least: usize,
}

#[derive(Debug)]
struct Spare<T> {
    memory: T,
    age: u64,
}

impl<T> Shelf<T> {
    const fn new() -> Self {
        Self {
            spares: VecDeque::new(),
            least: 0,
        }
    }

    fn put(&mut self, memory: T, age: u64) {
        self.spares.push_back(Spare { memory, age });
    }

    /// The one kept last, of a few, that fits.
    fn take(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let first = self.spares.len().saturating_sub(MOST_LOOKED_AT);
        let mut few = self.spares.range(first..);
        let at = few.rposition(|spare| fits(&spare.memory))?;
        let taken = self.spares.remove(first + at)?;
        self.least = self.least.min(self.spares.len());
        Some(taken.memory)
    }

    fn take_oldest(&mut self) -> Option<T> {
        let oldest = self.spares.pop_front()?;
        self.least = self.least.min(self.spares.len());
        Some(oldest.memory)
    }

    fn oldest(&self) -> Option<u64> {
        self.spares.front().map(|oldest| oldest.age)
    }

    /// Takes what was not needed since this was called before.
    fn take_unneeded(&mut self) -> impl Iterator<Item = T> {
        let needed = self.spares.len().saturating_sub(self.least);
        let unneeded = mem::replace(&mut self.least, needed);
        self.spares.drain(..unneeded).map(|spare| spare.memory)
    }
}

impl Spares {
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self {
            buffers: [const { Shelf::new() }; SHELVES],
            bitmaps: Shelf::new(),
            count: 0,
            kept: 0,
            bytes: 0,
            max_bytes,
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps `buffer` unless that took more than `room` bytes; the oldest
    /// buffers go when there are enough of them.
    /// What it holds stays: to fill a buffer with zeros anew would cost as much
    /// as to fill it with a message.
    pub(crate) fn put_buffer(&mut self, buffer: Vec<u8>, room: usize) {
        let capacity = buffer.capacity();
        if capacity == 0 || capacity > room || !self.make_place(capacity) {
            return;
        }
        let age = self.kept;
        if let Some(shelf) = self.buffers.get_mut(shelf_of(capacity)) {
            shelf.put(buffer, age);
            self.kept += 1;
            self.count += 1;
            self.bytes = self.bytes.saturating_add(capacity);
        }
    }

    fn make_place(&mut self, capacity: usize) -> bool {
        if capacity > self.max_bytes {
            return false;
        }
        while self.count >= MAX_SPARES || self.bytes.saturating_add(capacity) > self.max_bytes {
            if !self.drop_one() {
                return false;
            }
        }
        true
    }

    pub(crate) fn put_bitmap(&mut self, mut bitmap: Vec<u64>, room: usize) {
        let bytes = bitmap_bytes(&bitmap);
        let left = self.max_bytes.saturating_sub(self.bytes);
        let limit = room.min(left).min(MAX_BITMAP_BYTES);
        if bytes == 0 || bytes > limit || self.bitmaps.spares.len() >= MAX_SPARES {
            return;
        }
        bitmap.clear();
        self.bytes = self.bytes.saturating_add(bytes);
        self.bitmaps.put(bitmap, 0);
    }

    /// A buffer for a message of `total` bytes, not more than twice as large.
    pub(crate) fn take_buffer(&mut self, total: usize) -> Option<Vec<u8>> {
        let fitting = total..=total.saturating_mul(2);
        let fits = |buffer: &Vec<u8>| fitting.contains(&buffer.capacity());
        let shelf = shelf_of(total);
        let shelves = self.buffers.get_mut(shelf..)?;
        let buffer = shelves.iter_mut().take(2).find_map(|it| it.take(fits))?;
        self.count -= 1;
        self.bytes = self.bytes.saturating_sub(buffer.capacity());
        Some(buffer)
    }

    pub(crate) fn take_bitmap(&mut self) -> Option<Vec<u64>> {
        let bitmap = self.bitmaps.take(|_| true)?;
        self.bytes = self.bytes.saturating_sub(bitmap_bytes(&bitmap));
        Some(bitmap)
    }

    /// Frees the oldest; `false` if there is none.
    pub(crate) fn drop_one(&mut self) -> bool {
        let oldest = self
            .buffers
            .iter_mut()
            .filter_map(|shelf| Some((shelf.oldest()?, shelf)))
            .min_by_key(|(age, _)| *age);
        let freed = if let Some((_, shelf)) = oldest {
            self.count -= 1;
            shelf.take_oldest().map(|buffer| buffer.capacity())
        } else {
            let bitmap = self.bitmaps.take_oldest();
            bitmap.map(|bitmap| bitmap_bytes(&bitmap))
        };
        self.bytes = self.bytes.saturating_sub(freed.unwrap_or_default());
        freed.is_some()
    }

    /// Frees what was not needed since this was called before.
    pub(crate) fn release(&mut self) {
        let mut freed = 0;
        for buffer in self.buffers.iter_mut().flat_map(Shelf::take_unneeded) {
            self.count -= 1;
            freed += buffer.capacity();
        }
        for bitmap in self.bitmaps.take_unneeded() {
            freed += bitmap_bytes(&bitmap);
        }
        self.bytes = self.bytes.saturating_sub(freed);
    }
}

const fn bitmap_bytes(bitmap: &Vec<u64>) -> usize {
    bitmap.capacity().saturating_mul(size_of::<u64>())
}

/// Where buffers of this capacity are, and some for this length; the other ones for that are on the next.
fn shelf_of(capacity: usize) -> usize {
    let power = capacity.checked_ilog2().unwrap_or_default();
    (power as usize).min(SHELVES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_when_there_are_enough() {
        let mut spares = Spares::new(1 << 20);
        for capacity in 101..=104 + MAX_SPARES {
            spares.put_buffer(Vec::with_capacity(capacity), usize::MAX);
        }
        assert_eq!(spares.bytes(), (105..=104 + MAX_SPARES).sum::<usize>());
        assert!(spares.take_buffer(105 + MAX_SPARES).is_none());
        assert!(spares.take_buffer(50).is_none(), "more than twice as large");
        assert_eq!(spares.take_buffer(64).unwrap().capacity(), 127);
        assert_eq!(spares.take_buffer(127).unwrap().capacity(), 254);
        while spares.drop_one() {}
        assert_eq!((spares.bytes(), spares.count), (0, 0));
    }

    #[test]
    fn a_buffer_is_found_however_many_of_other_sizes_came_after_it() {
        let mut spares = Spares::new(1 << 20);
        spares.put_buffer(Vec::with_capacity(1000), usize::MAX);
        for _ in 0..100 {
            spares.put_buffer(Vec::with_capacity(5000), usize::MAX);
        }
        assert_eq!(spares.take_buffer(900).unwrap().capacity(), 1000);
        assert_eq!(spares.take_buffer(4999).unwrap().capacity(), 5000);
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
        spares.put_bitmap(Vec::with_capacity(36), usize::MAX);
        assert_eq!(spares.bytes(), 716);
        assert_eq!(spares.take_bitmap().unwrap().capacity(), 2);
        assert_eq!(spares.bytes(), 700);
    }

    #[test]
    fn what_was_not_needed_is_freed() {
        let mut spares = Spares::new(1 << 20);
        for _ in 0..10 {
            spares.put_buffer(Vec::with_capacity(100), usize::MAX);
            spares.put_bitmap(Vec::with_capacity(2), usize::MAX);
        }
        spares.release();
        assert_eq!(spares.bytes(), 1160, "they have only come");
        let used: Vec<_> = (0..3).filter_map(|_| spares.take_buffer(100)).collect();
        let bitmap = spares.take_bitmap().unwrap();
        for buffer in used {
            spares.put_buffer(buffer, usize::MAX);
        }
        spares.put_bitmap(bitmap, usize::MAX);
        spares.release();
        assert_eq!((spares.bytes(), spares.count), (316, 3));
        spares.release();
        assert_eq!((spares.bytes(), spares.count), (0, 0));
    }
}
