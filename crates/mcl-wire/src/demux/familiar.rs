//! The heads of a sender's messages are the same but for publish time and CRC: one that is known
//! need not be read.

use crate::body::{Body, BodyError, Layout};
use crate::metadata;

/// Longer heads are read each time.
const MOST: usize = 64;
const WORD: usize = 8;

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
}

impl Familiar {
    pub(super) const NONE: Self = Self {
        head: [0; MOST / WORD],
        mask: [0; MOST / WORD],
        words: 0,
        layout: Layout::NONE,
        time_at: None,
        crc_at: None,
    };

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
