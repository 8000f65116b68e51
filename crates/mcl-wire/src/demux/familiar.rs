//! The heads of a sender's messages are the same but for publish time and CRC: one that is known
//! need not be read.

use crate::body::{Body, BodyError, Layout};
use crate::metadata;

/// Longer heads are read each time.
const MOST: usize = 64;
const WORD: usize = 8;

/// For how many rows not to try again after one in which most heads were not known: to get to know
/// one takes longer than to read it, and topics that take turns would have nothing but that.
const AFTER_STRANGERS: u32 = 64;

/// The head that was read last.
#[derive(Debug)]
pub(super) struct Familiar {
    /// Its bytes, and which of them tell it from others; none beyond the first `words`, of which there
    /// are none if it is too long.
    head: [u64; MOST / WORD],
    mask: [u64; MOST / WORD],
    words: usize,
    layout: Layout,
    /// Where the values are in which others like it differ.
    time_at: Option<usize>,
    crc_at: Option<usize>,
    /// How many of the present row were not known.
    strangers: u64,
    /// How many rows to read before heads are looked at again.
    pause: u32,
}

impl Familiar {
    pub(super) const NONE: Self = Self {
        head: [0; MOST / WORD],
        mask: [0; MOST / WORD],
        words: 0,
        layout: Layout::NONE,
        time_at: None,
        crc_at: None,
        strangers: 0,
        pause: 0,
    };

    /// Whether the heads of the next row are to be [read](Self::read) here.
    pub(super) const fn begins_row(&mut self) -> bool {
        let is_to = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        self.strangers = 0;
        is_to
    }

    /// A row of `count` messages was read here.
    pub(super) const fn ends_row(&mut self, count: u64) {
        if self.strangers > count / 2 {
            self.pause = AFTER_STRANGERS;
        }
    }

    /// Reads the head of `body`: [`layout`](Self::layout) then is that of it, and of those that
    /// are like it.
    #[inline(always)]
    pub(super) fn read(&mut self, body: &[u8]) -> Result<(), BodyError> {
        if self.knows(body) {
            return Ok(());
        }
        self.learn(body)
    }

    #[inline(always)]
    fn knows(&self, body: &[u8]) -> bool {
        let (words, _) = body.as_chunks::<WORD>();
        let known = self.head.iter().zip(&self.mask).take(self.words);
        let differences = words
            .iter()
            .zip(known)
            .fold(0, |all, (word, (known, mask))| {
                all | ((u64::from_ne_bytes(*word) ^ known) & mask)
            });
        differences == 0 && (1..=words.len()).contains(&self.words)
    }

    #[inline(never)]
    fn learn(&mut self, body: &[u8]) -> Result<(), BodyError> {
        self.words = 0;
        self.strangers = self.strangers.saturating_add(1);
        let layout = Body::decode(body)?.layout();
        let metadata = body.get(layout.metadata_offset()..layout.payload_offset());
        let (time_at, crc_at) = metadata::values_at(metadata.unwrap_or_default());
        let in_body = |at: usize| layout.metadata_offset().saturating_add(at);
        (self.time_at, self.crc_at) = (time_at.map(in_body), crc_at.map(in_body));
        self.layout = layout;
        self.keep(body.get(..layout.payload_offset()).unwrap_or_default());
        Ok(())
    }

    /// Keeps the bytes to compare others with.
    fn keep(&mut self, head: &[u8]) {
        let (mut bytes, mut mask) = ([0; MOST], [0; MOST]);
        let Some(place) = bytes.get_mut(..head.len()) else {
            return;
        };
        place.copy_from_slice(head);
        mask.iter_mut()
            .take(head.len())
            .for_each(|it| *it = u8::MAX);
        for (at, len) in [(self.time_at, 8), (self.crc_at, 4)] {
            let value = at.and_then(|at| mask.get_mut(at..at.saturating_add(len)));
            value.unwrap_or_default().fill(0);
        }
        self.head = words(&bytes);
        self.mask = words(&mask);
        self.words = head.len().div_ceil(WORD);
    }

    /// The layout of a body that was [read](Self::read) last.
    #[inline(always)]
    pub(super) fn layout(&self, body: &[u8]) -> Layout {
        let time = self.time_at.and_then(|at| value(body, at));
        let crc = self.crc_at.and_then(|at| value(body, at));
        self.layout
            .with_values(time.map(u64::from_be_bytes), crc.map(u32::from_be_bytes))
    }
}

fn words(bytes: &[u8; MOST]) -> [u64; MOST / WORD] {
    let (words, _) = bytes.as_chunks::<WORD>();
    let mut kept = [0; MOST / WORD];
    for (place, word) in kept.iter_mut().zip(words) {
        *place = u64::from_ne_bytes(*word);
    }
    kept
}

#[inline(always)]
fn value<const N: usize>(body: &[u8], at: usize) -> Option<[u8; N]> {
    body.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BodyHead, Metadata};
    use alloc::vec::Vec;

    #[test]
    fn where_topics_take_turns_heads_are_left_alone_for_a_while() {
        let metadata = Metadata::new().with_publish_time(7);
        let [one, other] = ["one", "other"].map(|topic| {
            let head = BodyHead::new(Some(topic), &metadata).unwrap();
            [head.as_bytes(), &[7; 64]].concat()
        });
        let mut familiar = Familiar::NONE;
        let mut row = |bodies: &[&Vec<u8>]| {
            let is_read = familiar.begins_row();
            if is_read {
                bodies.iter().for_each(|it| familiar.read(it).unwrap());
                familiar.ends_row(bodies.len() as u64);
            }
            is_read
        };
        assert!(row(&[&one, &one, &other]), "two strangers of three");
        for _ in 0..AFTER_STRANGERS {
            assert!(!row(&[&one; 3]));
        }
        for _ in 0..3 {
            assert!(row(&[&one; 3]));
        }
    }
}
