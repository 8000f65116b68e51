//! Messages on their way from the receiving thread to a subscription.

use crate::message::Message;
use crate::payload::Payload;

/// Some messages, still encoded, taken one after the other.
///
/// A message has some 170 bytes: it is written and read where it lies, since moving
/// it about would cost more than all else that is done with a small one.
#[derive(Debug, Default)]
pub(crate) struct Handful {
    /// Beyond `len`, and before `taken`, what is there is of no meaning, and has
    /// neither topic nor payload.
    places: Vec<Message<Payload>>,
    len: usize,
    taken: usize,
}

impl Handful {
    /// How many there are, those taken included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether all were taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.len
    }

    /// Adds a message: the place to write all of it to.
    #[inline]
    pub(crate) fn add(&mut self) -> &mut Message<Payload> {
        if self.len == self.places.len() {
            self.places.push(Message::nothing());
        }
        self.len += 1;
        &mut self.places[self.len - 1]
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut Message<Payload>> {
        self.places.get_mut(place)
    }

    /// The next message, to take payload and topic out of.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<&mut Message<Payload>> {
        if self.taken == self.len {
            return None;
        }
        self.taken += 1;
        self.places.get_mut(self.taken - 1)
    }

    /// Adds clones of what was not taken of `other`.
    pub(crate) fn extend_from(&mut self, other: &Self) {
        for message in other.places.get(other.taken..other.len).unwrap_or_default() {
            *self.add() = message.clone();
        }
    }

    pub(crate) fn clear(&mut self) {
        while let Some(message) = self.next() {
            drop(message.take());
        }
        (self.len, self.taken) = (0, 0);
    }
}
