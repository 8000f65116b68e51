//! Messages on their way from the receiving thread to a consumer.

use crate::message::Message;
use crate::payload::Payload;

/// Places that are there from the first message on; a power of two.
const FEW: usize = 64;

/// Some messages, still encoded, taken in the order in which they were added.
///
/// A message has some 190 bytes: it is written and read where it lies, since moving
/// it about would cost more than all else that is done with a small one.
#[derive(Debug, Default)]
pub(crate) struct Handful {
    /// A ring; as many as a power of two. What is in a place that is not in use is
    /// of no meaning, and has neither topic nor payload.
    places: Vec<Message<Payload>>,
    head: usize,
    len: usize,
}

impl Handful {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which place is `offset` after the first.
    #[inline]
    fn at(&self, offset: usize) -> usize {
        (self.head + offset) & self.places.len().wrapping_sub(1)
    }

    /// Adds a message: the place to write all of it to.
    #[inline]
    pub(crate) fn add(&mut self) -> &mut Message<Payload> {
        if self.len == self.places.len() {
            self.grow();
        }
        let at = self.at(self.len);
        self.len += 1;
        &mut self.places[at]
    }

    #[cold]
    fn grow(&mut self) {
        self.places.rotate_left(self.head);
        self.head = 0;
        let places = (2 * self.places.len()).max(FEW);
        self.places.resize_with(places, Message::nothing);
    }

    /// The message that is `offset` after the next one.
    #[inline]
    pub(crate) fn get_mut(&mut self, offset: usize) -> Option<&mut Message<Payload>> {
        let at = self.at(offset);
        self.places.get_mut(at).filter(|_| offset < self.len)
    }

    /// The next message, to take payload and topic out of.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<&mut Message<Payload>> {
        if self.len == 0 {
            return None;
        }
        let at = self.head;
        self.head = self.at(1);
        self.len -= 1;
        self.places.get_mut(at)
    }

    /// Adds clones of what is in `other`.
    pub(crate) fn extend_from(&mut self, other: &Self) {
        for offset in 0..other.len {
            *self.add() = other.places[other.at(offset)].clone();
        }
    }

    /// Drops what is in it. What is added then lies one after the other.
    pub(crate) fn clear(&mut self) {
        while let Some(message) = self.next() {
            drop(message.take());
        }
        self.head = 0;
    }

    /// Frees the places, if it is empty and there are more than `most`.
    pub(crate) fn shrink(&mut self, most: usize) {
        if self.is_empty() && self.places.len() > most {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(handful: &mut Handful, number: u64) {
        let message = handful.add();
        message.number = number;
        message.payload = Payload::from(number.to_le_bytes().to_vec());
    }

    fn next(handful: &mut Handful) -> Option<u64> {
        let message = handful.next()?.take();
        assert_eq!(message.payload, message.number.to_le_bytes());
        Some(message.number)
    }

    #[test]
    fn first_in_first_out_around_the_ring_and_while_it_grows() {
        let mut handful = Handful::default();
        let (mut added, mut taken) = (0, 0);
        for round in 0..1000_u64 {
            for _ in 0..round % 7 {
                add(&mut handful, added);
                added += 1;
            }
            for _ in 0..round % 5 {
                let expected = (taken < added).then_some(taken);
                assert_eq!(next(&mut handful), expected);
                taken += u64::from(expected.is_some());
            }
            assert_eq!(handful.len() as u64, added - taken);
        }
        assert!(handful.places.len() > FEW, "it has grown");
        let first = handful.get_mut(0).map(|message| message.number);
        assert_eq!(first, Some(taken));
        let mut copy = Handful::default();
        copy.extend_from(&handful);
        assert_eq!(next(&mut copy), Some(taken));
        handful.clear();
        assert_eq!(
            (next(&mut handful), handful.get_mut(0).is_none()),
            (None, true)
        );
        handful.shrink(FEW);
        assert_eq!(handful.places.len(), 0);
    }
}
