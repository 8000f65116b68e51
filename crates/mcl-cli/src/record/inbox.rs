//! A bounded queue of bytes between threads that receive and the one that writes, or
//! between the one that reads and the one that publishes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What an item costs beyond its bytes.
const OVERHEAD: usize = 256;

/// How much is taken at once: the rest stays within the bound.
const HANDFUL: usize = 64;

#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    emptied: Condvar,
    max_bytes: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                closed: false,
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            max_bytes,
        }
    }

    /// Puts an item in if there is room, and gives it back otherwise.
    pub(crate) fn offer(&self, item: T, bytes: usize) -> Result<(), T> {
        let state = self.lock();
        match self.is_room(&state, bytes) {
            true => self.push(state, item, bytes),
            false => return Err(item),
        }
        Ok(())
    }

    /// Puts an item in as soon as there is room; `false` if nobody wants it any more.
    pub(crate) fn put(&self, item: T, bytes: usize) -> bool {
        let mut state = self.lock();
        while !state.closed && !self.is_room(&state, bytes) {
            state = self
                .emptied
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let wanted = !state.closed;
        if wanted {
            self.push(state, item, bytes);
        }
        wanted
    }

    /// Takes some items, waited for; `false` if it is closed and empty.
    pub(crate) fn take(&self, into: &mut Vec<T>, wait: Duration) -> bool {
        let mut state = self.lock();
        if state.items.is_empty() && !state.closed && !wait.is_zero() {
            let waited = self.filled.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let (mut count, mut bytes) = (0, 0);
        // Not more bytes at once than a part of the bound: they are beyond it then.
        while count < HANDFUL && bytes <= self.max_bytes / 16 {
            let Some((item, size)) = state.items.pop_front() else {
                break;
            };
            (count, bytes) = (count + 1, bytes + size);
            into.push(item);
        }
        state.bytes -= bytes;
        if count > 0 {
            self.emptied.notify_all();
        }
        count > 0 || !state.closed
    }

    /// Lets nothing in any more; what is in can still be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// Items and bytes that wait.
    pub(crate) fn level(&self) -> (usize, usize) {
        let state = self.lock();
        (state.items.len(), state.bytes)
    }

    /// Whatever its size, an item is let in when there is no other.
    fn is_room(&self, state: &State<T>, bytes: usize) -> bool {
        let after = state.bytes.saturating_add(bytes + OVERHEAD);
        !state.closed && (state.items.is_empty() || after <= self.max_bytes)
    }

    fn push(&self, mut state: MutexGuard<'_, State<T>>, item: T, bytes: usize) {
        let wakes = state.items.is_empty();
        state.bytes += bytes + OVERHEAD;
        state.items.push_back((item, bytes + OVERHEAD));
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn what_has_no_room_comes_back_and_a_large_one_is_alone() {
        let inbox = Inbox::new(10_000);
        assert_eq!(inbox.offer('a', 50_000), Ok(()));
        assert_eq!(inbox.offer('b', 1), Err('b'));
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken, Duration::ZERO));
        assert_eq!((inbox.level(), inbox.offer('b', 1)), ((0, 0), Ok(())));
        inbox.close();
        assert_eq!(inbox.offer('c', 1), Err('c'));
        assert!(inbox.take(&mut taken, Duration::ZERO));
        assert!(!inbox.take(&mut taken, Duration::ZERO));
        assert_eq!(taken, ['a', 'b']);
    }

    #[test]
    fn who_puts_waits_for_who_takes() {
        let inbox = Arc::new(Inbox::new(4096));
        let filling = Arc::clone(&inbox);
        let putter = thread::spawn(move || (0..1000).all(|it| filling.put(it, 100)));
        let mut taken = Vec::new();
        while taken.len() < 1000 {
            assert!(inbox.take(&mut taken, Duration::from_secs(5)));
            assert!(inbox.level().1 <= 4096);
        }
        assert!(putter.join().unwrap());
        assert!(taken.into_iter().eq(0..1000));
        inbox.close();
        assert!(!inbox.put(1, 1));
    }
}
