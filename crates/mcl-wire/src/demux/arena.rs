//! Values with stable keys, on doubly linked lists that cost O(1) to change.

use alloc::vec::Vec;
use core::mem;

/// Names a value of an [`Arena`] while it is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key(u32);

impl Key {
    /// The name of nothing.
    pub(crate) const NIL: Self = Self(u32::MAX);

    #[inline]
    pub(crate) fn some(self) -> Option<Self> {
        (self != Self::NIL).then_some(self)
    }
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: Key,
    next: Key,
}

const LOOSE: Link = Link {
    previous: Key::NIL,
    next: Key::NIL,
};

/// The ends of a list; the links are with the values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    front: Key,
    back: Key,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self {
            front: Key::NIL,
            back: Key::NIL,
        }
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<Key> {
        self.front.some()
    }
}

/// A growing store of values, each of which can be on `LISTS` lists at once.
///
/// A value must be off its lists before it is removed.
///
/// The links are apart from the values: to move one value to the back of a list
/// changes the links of its neighbours, and those of a thousand values stay in
/// the nearest cache where the values themselves do not.
#[derive(Debug)]
pub(crate) struct Arena<T, const LISTS: usize> {
    values: Vec<Option<T>>,
    links: Vec<[Link; LISTS]>,
    free: Vec<Key>,
    len: usize,
}

impl<T, const LISTS: usize> Arena<T, LISTS> {
    pub(crate) const fn new() -> Self {
        Self {
            values: Vec::new(),
            links: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// `None` when there are as many values as keys.
    pub(crate) fn insert(&mut self, value: T) -> Option<Key> {
        let key = match self.free.pop() {
            Some(key) => key,
            None => self.grow()?,
        };
        *self.slot_mut(key)? = Some(value);
        self.len = self.len.saturating_add(1);
        Some(key)
    }

    fn grow(&mut self) -> Option<Key> {
        let key = Key(u32::try_from(self.values.len()).ok()?);
        key.some()?;
        self.values.push(None);
        self.links.push([LOOSE; LISTS]);
        Some(key)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let value = self.slot_mut(key)?.take()?;
        self.free.push(key);
        self.len = self.len.saturating_sub(1);
        Some(value)
    }

    #[inline]
    fn slot_mut(&mut self, key: Key) -> Option<&mut Option<T>> {
        self.values.get_mut(key.0 as usize)
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.values.get(key.0 as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slot_mut(key)?.as_mut()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten()
    }

    #[inline]
    fn link(&self, which: usize, key: Key) -> Link {
        let links = self.links.get(key.0 as usize);
        links
            .and_then(|links| links.get(which).copied())
            .unwrap_or(LOOSE)
    }

    #[inline]
    fn link_mut(&mut self, which: usize, key: Key) -> Option<&mut Link> {
        self.links.get_mut(key.0 as usize)?.get_mut(which)
    }

    /// The key after `key` on its list `which`.
    #[inline]
    pub(crate) fn next(&self, which: usize, key: Key) -> Option<Key> {
        self.link(which, key).next.some()
    }

    /// Puts `key`, which is on no list `which`, at the back of `list`.
    pub(crate) fn push_back(&mut self, which: usize, list: &mut List, key: Key) {
        if let Some(link) = self.link_mut(which, key) {
            *link = Link {
                previous: list.back,
                next: Key::NIL,
            };
        }
        match self.link_mut(which, list.back) {
            Some(back) => back.next = key,
            None => list.front = key,
        }
        list.back = key;
    }

    /// Takes `key` off `list`, on which it must be.
    pub(crate) fn unlink(&mut self, which: usize, list: &mut List, key: Key) {
        let Link { previous, next } = self.link(which, key);
        match self.link_mut(which, previous) {
            Some(link) => link.next = next,
            None => list.front = next,
        }
        match self.link_mut(which, next) {
            Some(link) => link.previous = previous,
            None => list.back = previous,
        }
    }

    /// Moves `key` to the back of `list`, on which it must be.
    #[inline]
    pub(crate) fn touch(&mut self, which: usize, list: &mut List, key: Key) {
        let back = list.back;
        if back == key {
            return;
        }
        // As `unlink` and `push_back` do, in one go: of many streams in turn, each datagram does this twice.
        let behind = Link {
            previous: back,
            next: Key::NIL,
        };
        let Some(link) = self.link_mut(which, key) else {
            return;
        };
        let Link { previous, next } = mem::replace(link, behind);
        match self.link_mut(which, previous) {
            Some(link) => link.next = next,
            None => list.front = next,
        }
        if let Some(link) = self.link_mut(which, next) {
            link.previous = previous;
        }
        if let Some(link) = self.link_mut(which, back) {
            link.next = key;
        }
        list.back = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn order(arena: &Arena<char, 1>, list: &List) -> Vec<char> {
        let first = list.front();
        core::iter::successors(first, |key| arena.next(0, *key))
            .filter_map(|key| arena.get(key).copied())
            .collect()
    }

    #[test]
    fn lists_keep_their_order_through_every_change() {
        let mut arena = Arena::<char, 1>::new();
        let mut list = List::new();
        let keys: Vec<Key> = "abcd"
            .chars()
            .map(|name| arena.insert(name).unwrap())
            .collect();
        for key in &keys {
            arena.push_back(0, &mut list, *key);
        }
        arena.touch(0, &mut list, keys[0]);
        arena.touch(0, &mut list, keys[2]);
        arena.touch(0, &mut list, keys[2]);
        assert_eq!(order(&arena, &list), ['b', 'd', 'a', 'c']);
        for (at, left) in [(3, "bac"), (1, "ac"), (2, "a"), (0, "")] {
            arena.unlink(0, &mut list, keys[at]);
            arena.remove(keys[at]);
            assert_eq!(order(&arena, &list).iter().collect::<String>(), left);
        }
        assert_eq!((arena.len(), list.front()), (0, None));
        assert_eq!(arena.insert('e'), Some(keys[0]), "freed last, reused first");
    }
}
